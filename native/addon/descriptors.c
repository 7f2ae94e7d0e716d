#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "../core/memory.h"
#include "values.h"

static napi_value js_close(napi_env env, napi_callback_info info) {
    int descriptor;
    if (!xm_descriptor_argument(env, info, &descriptor))
        return NULL;
    /* Linux has closed it even when it says EINTR. */
    if (close(descriptor) != 0 && errno != EINTR)
        return xm_throw(env, errno, "close");
    return xm_undefined(env);
}

static napi_value js_lock_file(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    char path[PATH_MAX + 2];
    if (!xm_arguments(env, info, 1, &argument, &e) ||
        !xm_get_string(env, argument, "path", path, sizeof path))
        return NULL;
    int descriptor = xm_lock_file(path);
    if (descriptor < 0 && descriptor != -EWOULDBLOCK)
        return xm_throw(env, descriptor, "open");
    return xm_number(env, descriptor < 0 ? -1 : descriptor);
}

static napi_value js_inspect(napi_env env, napi_callback_info info) {
    int descriptor;
    if (!xm_descriptor_argument(env, info, &descriptor))
        return NULL;
    struct xm_descriptor_facts facts;
    int error = xm_inspect(descriptor, &facts);
    if (error != 0)
        return xm_throw(env, error, "fstat");
    char identity[XM_IDENTITY_BYTES];
    xm_identity(facts.device, facts.inode, identity);
    napi_value result;
    bool made = xm_ok(env, napi_create_object(env, &result)) &&
                xm_set_number(env, result, "size", (double)facts.size) &&
                xm_set_number(env, result, "usedBytes", (double)facts.used) &&
                xm_set_number(env, result, "seals", facts.seals) &&
                xm_set_bool(env, result, "readable", facts.readable) &&
                xm_set_bool(env, result, "writable", facts.writable) &&
                xm_set_string(env, result, "identity", identity);
    return made ? result : NULL;
}

bool xm_add_descriptors(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"close", js_close},
        {"lockFile", js_lock_file},
        {"inspect", js_inspect},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
