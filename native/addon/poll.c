#include <errno.h>
#include <stdlib.h>

#include "values.h"

#define READABLE 1
#define WRITABLE 2

/* Freed when both its libuv handle is closed and its JavaScript object is collected. */
struct poll {
    struct xm_link link;
    struct xm_env *e;
    uv_poll_t handle;
    int descriptor;
    napi_ref callback;
    /* Where what can be read is put before the callback comes, from `at` on; NULL: nowhere. */
    napi_ref into;
    size_t at;
    /* The object itself: strong while it is started, so that events find it. */
    napi_ref self;
    bool started;
    /* As libuv names them. */
    int watched;
    bool closing;
    bool closed;
    bool collected;
};

static void free_if_done(struct poll *poll) {
    if (poll->closed && poll->collected)
        free(poll);
}

static void handle_closed(uv_handle_t *handle) {
    struct poll *poll = XM_MEMBER(handle, struct poll, handle);
    struct xm_env *e = poll->e;
    poll->closed = true;
    free_if_done(poll);
    xm_env_handle_closed(e);
}

/* Holds the object while started, and only then. */
static void set_started(struct poll *poll, bool started) {
    if (poll->started == started)
        return;
    poll->started = started;
    if (started)
        napi_reference_ref(poll->e->env, poll->self, NULL);
    else
        napi_reference_unref(poll->e->env, poll->self, NULL);
}

static void forget_into(struct poll *poll) {
    if (poll->into != NULL)
        napi_delete_reference(poll->e->env, poll->into);
    poll->into = NULL;
}

static void close_poll(struct poll *poll) {
    if (poll->closing)
        return;
    poll->closing = true;
    set_started(poll, false);
    xm_link_remove(&poll->link);
    napi_delete_reference(poll->e->env, poll->callback);
    forget_into(poll);
    uv_close((uv_handle_t *)&poll->handle, handle_closed);
}

void xm_end_polls(struct xm_env *e) {
    while (!xm_link_alone(&e->polls))
        close_poll(XM_MEMBER(e->polls.next, struct poll, link));
}

static void collected(napi_env env, void *data, void *hint) {
    struct poll *poll = data;
    (void)hint;
    close_poll(poll);
    napi_delete_reference(env, poll->self);
    poll->collected = true;
    free_if_done(poll);
}

/* Takes what can be read: how much, or -errno. */
static ssize_t take(struct poll *poll) {
    napi_env env = poll->e->env;
    napi_value into;
    napi_typedarray_type type;
    size_t length;
    void *data;
    if (napi_get_reference_value(env, poll->into, &into) != napi_ok ||
        napi_get_typedarray_info(env, into, &type, &length, &data, NULL, NULL) != napi_ok)
        return -EINVAL;
    if (type == napi_float64_array)
        return xm_read_faults(poll->descriptor, data, length);
    /* The memory may have been detached. */
    return poll->at >= length
               ? -ENOBUFS
               : xm_receive(poll->descriptor, (uint8_t *)data + poll->at, length - poll->at);
}

static void polled(uv_poll_t *handle, int status, int events);

/* libuv stops a handle at an error, which may come before all is read: it is told of again. */
static void go_on(struct poll *poll) {
    if (!poll->started || poll->closing || uv_is_active((uv_handle_t *)&poll->handle))
        return;
    if (uv_poll_start(&poll->handle, poll->watched, polled) != 0)
        set_started(poll, false);
}

/* An error is told as both events, so that the receive or send that follows finds it. */
static void polled(uv_poll_t *handle, int status, int events) {
    struct poll *poll = XM_MEMBER(handle, struct poll, handle);
    napi_env env = poll->e->env;
    int32_t told = ((events & (UV_READABLE | UV_DISCONNECT)) != 0 ? READABLE : 0) |
                   ((events & UV_WRITABLE) != 0 ? WRITABLE : 0);
    napi_handle_scope scope;
    if (status < 0)
        told = READABLE | WRITABLE;
    if (napi_open_handle_scope(env, &scope) != napi_ok)
        return;
    ssize_t taken = poll->into != NULL && (told & READABLE) != 0 ? take(poll) : 0;
    napi_value receiver;
    napi_value callback;
    napi_value arguments[2];
    if (napi_get_global(env, &receiver) == napi_ok &&
        napi_get_reference_value(env, poll->callback, &callback) == napi_ok &&
        napi_create_int32(env, told, &arguments[0]) == napi_ok &&
        napi_create_int32(env, (int32_t)taken, &arguments[1]) == napi_ok)
        napi_make_callback(env, NULL, receiver, callback, 2, arguments, NULL);
    xm_raise_uncaught(env);
    go_on(poll);
    napi_close_handle_scope(env, scope);
}

/* The poll behind `this`; NULL with an exception pending. */
static struct poll *receiver_of(napi_env env, napi_callback_info info, size_t count,
                                napi_value *arguments) {
    napi_value receiver;
    void *poll;
    if (!xm_ok(env, napi_get_cb_info(env, info, &count, arguments, &receiver, NULL)))
        return NULL;
    if (napi_unwrap(env, receiver, &poll) != napi_ok) {
        xm_misuse(env, "this is no Poll");
        return NULL;
    }
    return poll;
}

static napi_value js_start(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct poll *poll = receiver_of(env, info, 1, &argument);
    int32_t events;
    if (poll == NULL || !xm_get_int(env, argument, "events", 1, &events))
        return NULL;
    if (events > (READABLE | WRITABLE)) {
        xm_misuse(env, "events must be 1, 2 or 3");
        return NULL;
    }
    if (poll->closing)
        return xm_throw(env, UV_EBADF, "epoll_ctl");
    poll->watched =
        ((events & READABLE) != 0 ? UV_READABLE : 0) | ((events & WRITABLE) != 0 ? UV_WRITABLE : 0);
    int error = uv_poll_start(&poll->handle, poll->watched, polled);
    if (error != 0)
        return xm_throw(env, error, "epoll_ctl");
    set_started(poll, true);
    return xm_undefined(env);
}

static napi_value js_stop(napi_env env, napi_callback_info info) {
    struct poll *poll = receiver_of(env, info, 0, NULL);
    if (poll == NULL)
        return NULL;
    if (!poll->closing) {
        uv_poll_stop(&poll->handle);
        set_started(poll, false);
    }
    return xm_undefined(env);
}

static napi_value js_take(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct poll *poll = receiver_of(env, info, 2, arguments);
    uint64_t at;
    napi_typedarray_type type;
    size_t length;
    napi_ref into;
    if (poll == NULL || !xm_get_size(env, arguments[1], "at", &at))
        return NULL;
    if (napi_get_typedarray_info(env, arguments[0], &type, &length, NULL, NULL, NULL) != napi_ok ||
        !(type == napi_uint8_array ? at < length && length <= INT32_MAX
                                   : type == napi_float64_array && at == 0 && length >= 4)) {
        xm_misuse(env,
                  "into must be a Uint8Array with room, or a Float64Array of 4 numbers or more");
        return NULL;
    }
    if (poll->closing)
        return xm_undefined(env);
    if (!xm_ok(env, napi_create_reference(env, arguments[0], 1, &into)))
        return NULL;
    forget_into(poll);
    poll->into = into;
    poll->at = at;
    return xm_undefined(env);
}

static napi_value js_ref(napi_env env, napi_callback_info info) {
    struct poll *poll = receiver_of(env, info, 0, NULL);
    if (poll == NULL)
        return NULL;
    if (!poll->closing)
        uv_ref((uv_handle_t *)&poll->handle);
    return xm_undefined(env);
}

static napi_value js_unref(napi_env env, napi_callback_info info) {
    struct poll *poll = receiver_of(env, info, 0, NULL);
    if (poll == NULL)
        return NULL;
    if (!poll->closing)
        uv_unref((uv_handle_t *)&poll->handle);
    return xm_undefined(env);
}

static napi_value js_close(napi_env env, napi_callback_info info) {
    struct poll *poll = receiver_of(env, info, 0, NULL);
    if (poll == NULL)
        return NULL;
    close_poll(poll);
    return xm_undefined(env);
}

static napi_value construct(napi_env env, napi_callback_info info) {
    napi_value receiver;
    size_t none = 0;
    return xm_ok(env, napi_get_cb_info(env, info, &none, NULL, &receiver, NULL)) ? receiver : NULL;
}

/* Makes the object around a fresh poll, which it owns from then on. */
static napi_value wrap(struct xm_env *e, struct poll *poll, napi_value callback) {
    napi_env env = e->env;
    napi_value class;
    napi_value object;
    if (!xm_ok(env, napi_get_reference_value(env, e->poll_class, &class)) ||
        !xm_ok(env, napi_new_instance(env, class, 0, NULL, &object)) ||
        !xm_ok(env, napi_create_reference(env, callback, 1, &poll->callback)))
        return NULL;
    if (!xm_ok(env, napi_wrap(env, object, poll, collected, NULL, NULL))) {
        napi_delete_reference(env, poll->callback);
        return NULL;
    }
    if (!xm_ok(env, napi_create_reference(env, object, 0, &poll->self))) {
        napi_remove_wrap(env, object, NULL);
        napi_delete_reference(env, poll->callback);
        return NULL;
    }
    return object;
}

static napi_value js_poll(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    int descriptor;
    if (!xm_arguments(env, info, 2, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &descriptor))
        return NULL;
    napi_valuetype type;
    if (!xm_ok(env, napi_typeof(env, arguments[1], &type)))
        return NULL;
    if (type != napi_function) {
        xm_misuse(env, "callback must be a function");
        return NULL;
    }
    struct poll *poll = calloc(1, sizeof *poll);
    if (poll == NULL)
        return xm_throw(env, UV_ENOMEM, "epoll_ctl");
    napi_value object = wrap(e, poll, arguments[1]);
    if (object == NULL) {
        free(poll);
        return NULL;
    }
    poll->e = e;
    poll->descriptor = descriptor;
    xm_link_init(&poll->link);
    int error = uv_poll_init(e->loop, &poll->handle, descriptor);
    if (error != 0) {
        /* No handle to close: the object is an empty shell until it is collected. */
        poll->closing = true;
        poll->closed = true;
        napi_delete_reference(env, poll->callback);
        return xm_throw(env, error, "epoll_ctl");
    }
    e->handles_open++;
    uv_unref((uv_handle_t *)&poll->handle);
    xm_link_append(&e->polls, &poll->link);
    return object;
}

bool xm_add_poll(struct xm_env *e, napi_value exports) {
    static const napi_property_descriptor properties[] = {
        {"start", NULL, js_start, NULL, NULL, NULL, napi_default_method, NULL},
        {"take", NULL, js_take, NULL, NULL, NULL, napi_default_method, NULL},
        {"stop", NULL, js_stop, NULL, NULL, NULL, napi_default_method, NULL},
        {"ref", NULL, js_ref, NULL, NULL, NULL, napi_default_method, NULL},
        {"unref", NULL, js_unref, NULL, NULL, NULL, napi_default_method, NULL},
        {"close", NULL, js_close, NULL, NULL, NULL, napi_default_method, NULL},
    };
    static const struct xm_method methods[] = {{"poll", js_poll}};
    napi_value class;
    return xm_ok(e->env,
                 napi_define_class(e->env, "Poll", NAPI_AUTO_LENGTH, construct, NULL,
                                   sizeof properties / sizeof *properties, properties, &class)) &&
           xm_ok(e->env, napi_create_reference(e->env, class, 1, &e->poll_class)) &&
           xm_add_methods(e, exports, methods, 1);
}
