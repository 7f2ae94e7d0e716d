#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "values.h"

/*
 * Bytes of a file that are copied and sent at once. They are in the processor's cache then: over
 * loopback sendfile, which spares the copy, costs the receiver more than that.
 */
#define MOST_COPIED (128 * 1024)

ssize_t xm_receive(int socket, uint8_t *into, size_t length) {
    ssize_t moved;
    do {
        moved = recv(socket, into, length, MSG_DONTWAIT);
    } while (moved < 0 && errno == EINTR);
    return moved < 0 ? -errno : moved;
}

/* How many bytes went; -1 if none can now. */
static napi_value outcome(napi_env env, ssize_t moved, const char *call) {
    if (moved < 0 && errno != EAGAIN)
        return xm_throw(env, errno, call);
    return xm_number(env, (double)moved);
}

static napi_value js_send_bytes(napi_env env, napi_callback_info info) {
    napi_value arguments[5];
    struct xm_env *e;
    int descriptor;
    uint8_t *data;
    size_t length;
    bool more;
    if (!xm_arguments(env, info, 5, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &descriptor) ||
        !xm_get_part(env, arguments + 1, &data, &length) ||
        !xm_get_bool(env, arguments[4], "more", &more))
        return NULL;
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
    ssize_t moved;
    do {
        moved = send(descriptor, data, length, flags);
    } while (moved < 0 && errno == EINTR);
    return outcome(env, moved, "send");
}

/* Reads part of a file; zeros for what it has not. -errno, or 0. */
static int read_part(int file, uint8_t *into, size_t length, uint64_t offset) {
    for (size_t done = 0; done < length;) {
        ssize_t got = pread(file, into + done, length - done, (off_t)(offset + done));
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got == 0) {
            memset(into + done, 0, length - done);
            return 0;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static napi_value js_send_with_file(napi_env env, napi_callback_info info) {
    napi_value arguments[7];
    struct xm_env *e;
    int descriptor;
    uint8_t *data;
    size_t length;
    int file;
    uint64_t offset;
    uint64_t wanted;
    if (!xm_arguments(env, info, 7, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &descriptor) ||
        !xm_get_part(env, arguments + 1, &data, &length) ||
        !xm_get_descriptor(env, arguments[4], &file) ||
        !xm_get_size(env, arguments[5], "fileOffset", &offset) ||
        !xm_get_size(env, arguments[6], "fileLength", &wanted))
        return NULL;
    uint8_t copy[MOST_COPIED];
    if (wanted > sizeof copy)
        return xm_misuse(env, "fileLength is more than is copied at once"), NULL;
    int error = read_part(file, copy, wanted, offset);
    if (error != 0)
        return xm_throw(env, error, "pread");
    struct iovec parts[] = {{data, length}, {copy, wanted}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t moved;
    do {
        moved = sendmsg(descriptor, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (moved < 0 && errno == EINTR);
    return outcome(env, moved, "sendmsg");
}

static napi_value js_finish(napi_env env, napi_callback_info info) {
    int descriptor;
    if (!xm_descriptor_argument(env, info, &descriptor))
        return NULL;
    /* The other end may have gone. */
    if (shutdown(descriptor, SHUT_WR) != 0 && errno != ENOTCONN)
        return xm_throw(env, errno, "shutdown");
    return xm_undefined(env);
}

bool xm_add_streams(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"sendBytes", js_send_bytes},
        {"sendWithFile", js_send_with_file},
        {"finish", js_finish},
    };
    return xm_set_number(e->env, exports, "mostCopied", MOST_COPIED) &&
           xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
