#include <errno.h>
#include <sys/socket.h>

#include "values.h"

static napi_value transfer(napi_env env, napi_callback_info info, bool sending) {
    napi_value arguments[4];
    struct xm_env *e;
    int descriptor;
    uint8_t *data;
    size_t length;
    if (!xm_arguments(env, info, 4, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &descriptor) ||
        !xm_get_part(env, arguments + 1, &data, &length))
        return NULL;
    ssize_t moved;
    do {
        moved = sending ? send(descriptor, data, length, MSG_NOSIGNAL | MSG_DONTWAIT)
                        : recv(descriptor, data, length, MSG_DONTWAIT);
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
        {"finish", js_finish},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
