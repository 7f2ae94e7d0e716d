#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "values.h"

static napi_value js_timer_open(napi_env env, napi_callback_info info) {
    (void)info;
    int descriptor = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return descriptor < 0 ? xm_throw(env, errno, "timerfd_create") : xm_number(env, descriptor);
}

static napi_value js_timer_set(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    int descriptor;
    uint64_t microseconds;
    if (!xm_arguments(env, info, 2, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &descriptor) ||
        !xm_get_size(env, arguments[1], "microseconds", &microseconds))
        return NULL;
    /* Zero would mean never. */
    uint64_t wait = microseconds == 0 ? 1 : microseconds;
    struct itimerspec when = {
        .it_value = {(time_t)(wait / 1000000), (long)(wait % 1000000) * 1000}};
    return timerfd_settime(descriptor, 0, &when, NULL) == 0
               ? xm_undefined(env)
               : xm_throw(env, errno, "timerfd_settime");
}

static napi_value js_timer_clear(napi_env env, napi_callback_info info) {
    int descriptor;
    uint64_t times;
    if (!xm_descriptor_argument(env, info, &descriptor))
        return NULL;
    if (read(descriptor, &times, sizeof times) < 0 && errno != EAGAIN)
        return xm_throw(env, errno, "read");
    return xm_undefined(env);
}

bool xm_add_timers(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"timerOpen", js_timer_open},
        {"timerSet", js_timer_set},
        {"timerClear", js_timer_clear},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
