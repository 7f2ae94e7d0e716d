#include <errno.h>
#include <sys/socket.h>

#include "values.h"

struct range {
    int descriptor;
    uint8_t *data;
    size_t length;
};

/* A descriptor, and a range of bytes: Uint8Array, offset, length. */
static bool get_range(napi_env env, const napi_value *arguments, struct range *range) {
    uint64_t offset;
    uint64_t length;
    size_t room;
    if (!xm_get_descriptor(env, arguments[0], &range->descriptor) ||
        !xm_get_bytes(env, arguments[1], "bytes", &range->data, &room) ||
        !xm_get_size(env, arguments[2], "offset", &offset) ||
        !xm_get_size(env, arguments[3], "length", &length))
        return false;
    if (offset > room || length > room - offset)
        return xm_misuse(env, "the range lies outside of the bytes");
    range->data += offset;
    range->length = length;
    return true;
}

static napi_value transfer(napi_env env, napi_callback_info info, bool sending) {
    napi_value arguments[4];
    struct xm_env *e;
    struct range range;
    if (!xm_arguments(env, info, 4, arguments, &e) || !get_range(env, arguments, &range))
        return NULL;
    ssize_t moved;
    do {
        moved = sending
                    ? send(range.descriptor, range.data, range.length, MSG_NOSIGNAL | MSG_DONTWAIT)
                    : recv(range.descriptor, range.data, range.length, MSG_DONTWAIT);
    } while (moved < 0 && errno == EINTR);
    if (moved < 0 && errno != EAGAIN)
        return xm_throw(env, errno, sending ? "send" : "recv");
    return xm_number(env, (double)moved);
}

static napi_value js_receive_bytes(napi_env env, napi_callback_info info) {
    return transfer(env, info, false);
}

static napi_value js_send_bytes(napi_env env, napi_callback_info info) {
    return transfer(env, info, true);
}

static napi_value js_finish(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    int descriptor;
    if (!xm_arguments(env, info, 1, &argument, &e) ||
        !xm_get_descriptor(env, argument, &descriptor))
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
        {"finish", js_finish},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
