/* An environment's open agents. */

#ifndef XM_AGENTS_H
#define XM_AGENTS_H

#include "../core/agent.h"
#include "addon.h"

struct xm_handle {
    struct xm_link link;
    uint32_t id;
    struct xm_env *e;
    struct xm_agent *agent;
    struct xm_listener listener;
    napi_ref events;
    /* What `connected` was last called with, and at which connection. */
    bool told_connected;
    uint64_t told_connections;
};

/* The handle that a number argument names; NULL with a TypeError pending. */
struct xm_handle *xm_get_handle(struct xm_env *e, napi_value value);
/* The handle of an agent, or NULL. */
struct xm_handle *xm_handle_of(struct xm_env *e, const void *agent);
/* Detaches the buffers of attachments that were revoked and tells of them. */
void xm_deliver_revoked(struct xm_env *e);

#endif
