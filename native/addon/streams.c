#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "values.h"

/* How many bytes went; -1 if none can now. */
static napi_value outcome(napi_env env, ssize_t moved, const char *call) {
    if (moved < 0 && errno != EAGAIN)
        return xm_throw(env, errno, call);
    return xm_number(env, (double)moved);
}

/* A socket, and memory: the first four of the arguments. */
static bool get_transfer(napi_env env, napi_callback_info info, size_t count, napi_value *arguments,
                         int *socket, uint8_t **data, size_t *length) {
    struct xm_env *e;
    return xm_arguments(env, info, count, arguments, &e) &&
           xm_get_descriptor(env, arguments[0], socket) &&
           xm_get_part(env, arguments + 1, data, length);
}

static napi_value js_receive_bytes(napi_env env, napi_callback_info info) {
    napi_value arguments[4];
    int descriptor;
    uint8_t *data;
    size_t length;
    if (!get_transfer(env, info, 4, arguments, &descriptor, &data, &length))
        return NULL;
    ssize_t moved;
    do {
        moved = recv(descriptor, data, length, MSG_DONTWAIT);
    } while (moved < 0 && errno == EINTR);
    return outcome(env, moved, "recv");
}

static napi_value js_send_bytes(napi_env env, napi_callback_info info) {
    napi_value arguments[5];
    int descriptor;
    uint8_t *data;
    size_t length;
    bool more;
    if (!get_transfer(env, info, 5, arguments, &descriptor, &data, &length) ||
        !xm_get_bool(env, arguments[4], "more", &more))
        return NULL;
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
    ssize_t moved;
    do {
        moved = send(descriptor, data, length, flags);
    } while (moved < 0 && errno == EINTR);
    return outcome(env, moved, "send");
}

/* The socket does not block, or this would. */
static napi_value js_send_file(napi_env env, napi_callback_info info) {
    napi_value arguments[4];
    struct xm_env *e;
    int descriptor;
    int file;
    uint64_t offset;
    uint64_t length;
    if (!xm_arguments(env, info, 4, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &descriptor) ||
        !xm_get_descriptor(env, arguments[1], &file) ||
        !xm_get_size(env, arguments[2], "offset", &offset) ||
        !xm_get_size(env, arguments[3], "length", &length))
        return NULL;
    ssize_t moved;
    do {
        off_t from = (off_t)offset;
        moved = sendfile(descriptor, file, &from, length);
    } while (moved < 0 && errno == EINTR);
    return outcome(env, moved, "sendfile");
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
        {"receiveBytes", js_receive_bytes},
        {"sendBytes", js_send_bytes},
        {"sendFile", js_send_file},
        {"finish", js_finish},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
