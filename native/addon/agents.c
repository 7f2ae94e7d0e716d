#include "agents.h"

#include <stdlib.h>

#include "values.h"

struct xm_handle *xm_handle_of(struct xm_env *e, const void *agent) {
    for (struct xm_link *link = e->handles.next; link != &e->handles; link = link->next) {
        struct xm_handle *handle = XM_MEMBER(link, struct xm_handle, link);
        if (handle->agent == agent)
            return handle;
    }
    return NULL;
}

static struct xm_handle *find(struct xm_env *e, uint32_t id) {
    for (struct xm_link *link = e->handles.next; link != &e->handles; link = link->next) {
        struct xm_handle *handle = XM_MEMBER(link, struct xm_handle, link);
        if (handle->id == id)
            return handle;
    }
    return NULL;
}

struct xm_handle *xm_get_handle(struct xm_env *e, napi_value value) {
    int32_t id;
    if (!xm_get_int(e->env, value, "agent", 1, &id))
        return NULL;
    struct xm_handle *handle = find(e, (uint32_t)id);
    if (handle == NULL)
        xm_misuse(e->env, "agent must be open");
    return handle;
}

static void changed(struct xm_listener *listener) {
    uv_async_send(&XM_MEMBER(listener, struct xm_handle, listener)->e->async);
}

/* Called by other threads with the state lock held, which the environment's end takes. */
void xm_owner_noted(struct xm_owner *owner) {
    uv_async_send(&XM_MEMBER(owner, struct xm_env, owner)->async);
}

/* Tells one handle of one change. False: there is none. */
static bool tell_one(struct xm_env *e) {
    for (struct xm_link *link = e->handles.next; link != &e->handles; link = link->next) {
        struct xm_handle *handle = XM_MEMBER(link, struct xm_handle, link);
        uint64_t connections;
        bool connected = xm_agent_connected(handle->agent, &connections);
        /* A connection that went and came again is told as two changes. */
        if (handle->told_connected && connections != handle->told_connections)
            connected = false;
        if (connected == handle->told_connected)
            continue;
        handle->told_connected = connected;
        handle->told_connections = connections;
        napi_value argument = xm_truth(e->env, connected);
        if (argument != NULL)
            xm_call_method(e, handle->events, "connected", 1, &argument);
        return true;
    }
    return false;
}

void xm_deliver(uv_async_t *async) {
    struct xm_env *e = XM_MEMBER(async, struct xm_env, async);
    napi_handle_scope scope;
    if (e->ending || napi_open_handle_scope(e->env, &scope) != napi_ok)
        return;
    xm_deliver_revoked(e);
    /* Each call may open or close handles. */
    while (tell_one(e)) {
    }
    napi_close_handle_scope(e->env, scope);
}

static napi_value js_agent_open(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    struct xm_env *e;
    char path[4096];
    int32_t trust;
    if (!xm_arguments(env, info, 3, arguments, &e) ||
        !xm_get_string(env, arguments[0], "socketPath", path, sizeof path) ||
        !xm_get_int(env, arguments[1], "trust", XM_TRUST_ANYBODY, &trust))
        return NULL;
    if (trust > XM_TRUST_OWN_USER) {
        xm_misuse(env, "trust must be 0 or 1");
        return NULL;
    }
    struct xm_handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL)
        return xm_throw(env, UV_ENOMEM, "agentOpen");
    handle->e = e;
    handle->listener.changed = changed;
    if (!xm_ok(env, napi_create_reference(env, arguments[2], 1, &handle->events))) {
        free(handle);
        return NULL;
    }
    int error = xm_agent_open(path, (enum xm_trust)trust, &handle->listener, &handle->agent);
    if (error != 0) {
        napi_delete_reference(env, handle->events);
        free(handle);
        return xm_throw(env, error, "agentOpen");
    }
    handle->id = ++e->last_handle;
    xm_link_append(&e->handles, &handle->link);
    /* Another environment's agent may be connected long since. */
    uv_async_send(&e->async);
    return xm_number(env, handle->id);
}

static void close_handle(struct xm_handle *handle) {
    xm_link_remove(&handle->link);
    xm_agent_close(handle->agent, &handle->listener);
    napi_delete_reference(handle->e->env, handle->events);
    free(handle);
}

void xm_end_agents(struct xm_env *e) {
    while (!xm_link_alone(&e->handles))
        close_handle(XM_MEMBER(e->handles.next, struct xm_handle, link));
}

static napi_value js_agent_close(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    if (!xm_arguments(env, info, 1, &argument, &e))
        return NULL;
    struct xm_handle *handle = xm_get_handle(e, argument);
    if (handle == NULL)
        return NULL;
    close_handle(handle);
    return xm_undefined(env);
}

static napi_value js_offer(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    struct xm_env *e;
    uint64_t address;
    uint64_t length;
    if (!xm_arguments(env, info, 3, arguments, &e))
        return NULL;
    struct xm_handle *handle = xm_get_handle(e, arguments[0]);
    if (handle == NULL || !xm_get_u64(env, arguments[1], "address", &address) ||
        !xm_get_size(env, arguments[2], "length", &length))
        return NULL;
    uint32_t id;
    int error = xm_agent_offer(handle->agent, &handle->listener, address, length, &id);
    return error != 0 ? xm_throw(env, error, "offer") : xm_number(env, id);
}

static napi_value js_withdraw(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    int32_t offer;
    if (!xm_arguments(env, info, 2, arguments, &e))
        return NULL;
    struct xm_handle *handle = xm_get_handle(e, arguments[0]);
    if (handle == NULL || !xm_get_int(env, arguments[1], "offer", 1, &offer))
        return NULL;
    xm_agent_withdraw(handle->agent, &handle->listener, (uint32_t)offer);
    return xm_undefined(env);
}

bool xm_add_agents(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"agentOpen", js_agent_open},
        {"agentClose", js_agent_close},
        {"offer", js_offer},
        {"withdraw", js_withdraw},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
