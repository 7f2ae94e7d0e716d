/* One environment (the main thread or a worker) in which the addon is loaded. */

#ifndef XM_ADDON_H
#define XM_ADDON_H

#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "../core/list.h"
#include "../core/table.h"

struct xm_env {
    napi_env env;
    uv_loop_t *loop;
    /* Wakes this environment's thread for what other threads noted. */
    uv_async_t async;
    struct xm_owner owner;
    /* Open agent handles and polls. */
    struct xm_link handles;
    uint32_t last_handle;
    struct xm_link polls;
    napi_ref poll_class;
    /* Bytes of the largest ArrayBuffer that can be laid over a mapping. */
    uint64_t largest_buffer;
    napi_async_cleanup_hook_handle cleanup;
    /* libuv handles whose close callback is still to come; the environment ends after the last. */
    unsigned handles_open;
    bool ending;
};

/* A libuv handle of the environment closed; frees the environment when it was the last. */
void xm_env_handle_closed(struct xm_env *e);

typedef napi_value (*xm_function)(napi_env env, napi_callback_info info);

/* Adds functions to an object; each gets the environment as its data. False: an exception is
 * pending. */
struct xm_method {
    const char *name;
    xm_function function;
};
bool xm_add_methods(struct xm_env *e, napi_value object, const struct xm_method *methods,
                    size_t count);

/* What each file offers to JavaScript. False: an exception is pending. */
bool xm_add_descriptors(struct xm_env *e, napi_value exports);
bool xm_add_closing(struct xm_env *e, napi_value exports);
bool xm_add_sockets(struct xm_env *e, napi_value exports);
bool xm_add_poll(struct xm_env *e, napi_value exports);
bool xm_add_farewell(struct xm_env *e, napi_value exports);
bool xm_add_processes(struct xm_env *e, napi_value exports);
bool xm_add_memory(struct xm_env *e, napi_value exports);
bool xm_add_agents(struct xm_env *e, napi_value exports);
bool xm_add_grants(struct xm_env *e, napi_value exports);
bool xm_add_attachments(struct xm_env *e, napi_value exports);
bool xm_add_paging(struct xm_env *e, napi_value exports);
bool xm_add_streams(struct xm_env *e, napi_value exports);
bool xm_add_timers(struct xm_env *e, napi_value exports);

/* The ends of an environment's things. */
void xm_end_polls(struct xm_env *e);
void xm_end_farewells(struct xm_env *e);
void xm_end_agents(struct xm_env *e);

/* What a poll takes before it calls back. How many bytes, or numbers in pairs; -errno. */
ssize_t xm_receive(int socket, uint8_t *into, size_t length);
ssize_t xm_read_faults(int userfault, double *into, size_t capacity);

/* Calls the JavaScript method of an object, with microtasks; an exception is uncaught. */
void xm_call_method(struct xm_env *e, napi_ref object, const char *method, size_t argc,
                    const napi_value *argv);
/* Hands an exception that is pending in a callback to process.on('uncaughtException'). */
void xm_raise_uncaught(napi_env env);

#endif
