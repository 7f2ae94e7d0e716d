#include <stdlib.h>

#include "../core/memory.h"
#include "values.h"

/* Bytes of Node 20's largest Buffer, where Node does not say. */
#define USUAL_LARGEST_BUFFER (UINT64_C(1) << 32)

bool xm_add_methods(struct xm_env *e, napi_value object, const struct xm_method *methods,
                    size_t count) {
    for (size_t i = 0; i < count; i++) {
        napi_value function;
        if (!xm_ok(e->env, napi_create_function(e->env, methods[i].name, NAPI_AUTO_LENGTH,
                                                methods[i].function, e, &function)) ||
            !xm_set(e->env, object, methods[i].name, function))
            return false;
    }
    return true;
}

void xm_raise_uncaught(napi_env env) {
    bool pending = false;
    napi_value thrown;
    napi_is_exception_pending(env, &pending);
    if (pending && napi_get_and_clear_last_exception(env, &thrown) == napi_ok)
        napi_fatal_exception(env, thrown);
}

void xm_call_method(struct xm_env *e, napi_ref object, const char *method, size_t argc,
                    const napi_value *argv) {
    napi_value receiver;
    napi_value function;
    if (napi_get_reference_value(e->env, object, &receiver) == napi_ok && receiver != NULL &&
        napi_get_named_property(e->env, receiver, method, &function) == napi_ok)
        napi_make_callback(e->env, NULL, receiver, function, argc, argv, NULL);
    xm_raise_uncaught(e->env);
}

void xm_env_handle_closed(struct xm_env *e) {
    if (--e->handles_open != 0 || !e->ending)
        return;
    napi_remove_async_cleanup_hook(e->cleanup);
    free(e);
}

static void async_closed(uv_handle_t *handle) {
    xm_env_handle_closed(XM_MEMBER(handle, struct xm_env, async));
}

/* The environment ends: everything that could call into it or that only it can use goes first. */
static void end(napi_async_cleanup_hook_handle handle, void *argument) {
    struct xm_env *e = argument;
    (void)handle;
    e->ending = true;
    xm_end_polls(e);
    xm_end_farewells(e);
    xm_end_agents(e);
    xm_owner_close(&e->owner);
    uv_close((uv_handle_t *)&e->async, async_closed);
}

static bool get_path(napi_env env, napi_value *value, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (napi_get_named_property(env, *value, names[i], value) != napi_ok)
            return false;
    }
    return true;
}

/* buffer.constants.MAX_LENGTH: a larger mapping cannot be an ArrayBuffer. */
static uint64_t largest_buffer(napi_env env) {
    static const char *const to_process[] = {"process"};
    static const char *const to_getter[] = {"getBuiltinModule"};
    static const char *const to_limit[] = {"constants", "MAX_LENGTH"};
    napi_value process;
    napi_value value;
    napi_value name;
    double limit = 0;
    bool found =
        napi_get_global(env, &process) == napi_ok && get_path(env, &process, to_process, 1);
    if (found) {
        napi_value getter = process;
        found = get_path(env, &getter, to_getter, 1) &&
                napi_create_string_utf8(env, "buffer", NAPI_AUTO_LENGTH, &name) == napi_ok &&
                napi_call_function(env, process, getter, 1, &name, &value) == napi_ok &&
                get_path(env, &value, to_limit, 2) &&
                napi_get_value_double(env, value, &limit) == napi_ok;
    }
    if (!found) {
        napi_value ignored;
        napi_get_and_clear_last_exception(env, &ignored);
    }
    return found && limit > 0 ? (uint64_t)limit : USUAL_LARGEST_BUFFER;
}

/* Defined beside what it delivers. */
void xm_deliver(uv_async_t *async);
void xm_owner_noted(struct xm_owner *owner);

static struct xm_env *create(napi_env env) {
    struct xm_env *e = calloc(1, sizeof *e);
    if (e == NULL) {
        napi_throw_error(env, "ENOMEM", "out of memory");
        return NULL;
    }
    e->env = env;
    xm_link_init(&e->handles);
    xm_link_init(&e->polls);
    e->largest_buffer = largest_buffer(env);
    if (!xm_ok(env, napi_get_uv_event_loop(env, &e->loop)) ||
        uv_async_init(e->loop, &e->async, xm_deliver) != 0) {
        free(e);
        napi_throw_error(env, "ENOMEM", "no libuv handle");
        return NULL;
    }
    uv_unref((uv_handle_t *)&e->async);
    e->handles_open = 1;
    xm_owner_open(&e->owner, xm_owner_noted);
    if (!xm_ok(env, napi_add_async_cleanup_hook(env, end, e, &e->cleanup))) {
        e->ending = true;
        uv_close((uv_handle_t *)&e->async, async_closed);
        return NULL;
    }
    return e;
}

NAPI_MODULE_INIT() {
    struct xm_env *e = create(env);
    if (e == NULL)
        return NULL;
    bool added =
        xm_set_number(env, exports, "pageSize", (double)xm_page_size()) &&
        xm_add_descriptors(e, exports) && xm_add_closing(e, exports) &&
        xm_add_sockets(e, exports) && xm_add_poll(e, exports) && xm_add_farewell(e, exports) &&
        xm_add_processes(e, exports) && xm_add_memory(e, exports) && xm_add_agents(e, exports) &&
        xm_add_grants(e, exports) && xm_add_attachments(e, exports) && xm_add_paging(e, exports) &&
        xm_add_streams(e, exports) && xm_add_timers(e, exports);
    return added ? exports : NULL;
}
