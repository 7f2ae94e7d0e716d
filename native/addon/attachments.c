#include "attachments.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "../core/memory.h"
#include "agents.h"
#include "answers.h"
#include "values.h"

/*
 * An attachment's `face` is a weak reference to its ArrayBuffer, or NULL after xpmem detached that.
 * The record lives until the ArrayBuffer's finalizer has run, which may be inside of the detaching
 * call: `detaching` keeps it alive then.
 */
static _Thread_local struct xm_attachment *detaching;

/* V8 has let go of the memory, on this thread. */
static void released(napi_env env, void *data, void *hint) {
    struct xm_attachment *attachment = hint;
    (void)data;
    if (attachment->face != NULL)
        napi_delete_reference(env, attachment->face);
    attachment->face = NULL;
    xm_attachment_unmap(attachment);
    if (detaching == attachment)
        detaching = NULL;
    else
        xm_attachment_free(attachment);
}

/* Detaches the buffer if it is there and whole: `*buffer`, else NULL. The weak reference goes. */
static void detach_buffer(napi_env env, struct xm_attachment *attachment, napi_value *buffer) {
    napi_ref reference = attachment->face;
    bool gone = false;
    *buffer = NULL;
    if (napi_get_reference_value(env, reference, buffer) != napi_ok || *buffer == NULL)
        return;
    if (napi_is_detached_arraybuffer(env, *buffer, &gone) != napi_ok || gone) {
        *buffer = NULL;
        return;
    }
    attachment->face = NULL;
    napi_delete_reference(env, reference);
    if (napi_detach_arraybuffer(env, *buffer) != napi_ok)
        *buffer = NULL;
}

void xm_detach(napi_env env, struct xm_attachment *attachment) {
    napi_value buffer;
    bool ours = attachment->face == NULL;
    detaching = attachment;
    if (!ours) {
        detach_buffer(env, attachment, &buffer);
        ours = buffer != NULL;
    }
    bool finalized = detaching == NULL;
    detaching = NULL;
    if (ours)
        xm_attachment_unmap(attachment);
    else
        (void)xm_attachment_revoke(attachment, 0);
    if (finalized)
        xm_attachment_free(attachment);
}

void xm_deliver_revoked(struct xm_env *e) {
    struct xm_attachment *attachment;
    while ((attachment = xm_owner_note(&e->owner)) != NULL) {
        napi_value arguments[2] = {NULL, xm_number(e->env, attachment->reason)};
        const void *agent = attachment->agent;
        if (attachment->face != NULL)
            detach_buffer(e->env, attachment, &arguments[0]);
        /* The attachment may be freed now. It may also have been detached by a call before. */
        struct xm_handle *handle = xm_handle_of(e, agent);
        if (arguments[0] != NULL && arguments[1] != NULL && handle != NULL)
            xm_call_method(e, handle->events, "revoked", 2, arguments);
    }
}

/* Lays an ArrayBuffer over a fresh attachment. */
static napi_value make_buffer(napi_env env, struct xm_attachment *attachment) {
    napi_value buffer;
    napi_ref reference;
    /* If it fails Node calls the finalizer or not; unmapping twice would be worse than never. */
    if (!xm_ok(env, napi_create_external_arraybuffer(
                        env, (void *)(uintptr_t)attachment->span.address, attachment->span.length,
                        released, attachment, &buffer)))
        return NULL;
    if (!xm_ok(env, napi_create_reference(env, buffer, 0, &reference)))
        return NULL;
    attachment->face = reference;
    return buffer;
}

/* Attaches with the extents that an array of answers has. NULL: an exception is pending. */
static napi_value attach_with(napi_env env, struct xm_attach_request *request, napi_value answers) {
    struct xm_grant_facts facts;
    struct xm_extents extents;
    int error = xm_grant_facts(request->agent, request->apid, &facts);
    if (error != 0) {
        xm_drop_answers(env, answers);
        return xm_throw(env, error, "attach");
    }
    if (!xm_get_extents(env, answers, facts.length, facts.writable, &extents))
        return NULL;
    struct xm_attachment *attachment;
    request->extents = &extents;
    error = xm_attach(request, &attachment);
    xm_extents_clear(&extents);
    return error != 0 ? xm_throw(env, error, "attach") : make_buffer(env, attachment);
}

static napi_value js_attach(napi_env env, napi_callback_info info) {
    napi_value arguments[7];
    struct xm_env *e;
    napi_valuetype type;
    if (!xm_arguments(env, info, 7, arguments, &e) ||
        !xm_ok(env, napi_typeof(env, arguments[6], &type)))
        return NULL;
    const struct xm_handle *handle = xm_get_handle(e, arguments[0]);
    struct xm_attach_request request = {.owner = &e->owner, .style = XM_REVOKED_ZERO};
    if (handle == NULL || !xm_get_u64(env, arguments[1], "apid", &request.apid) ||
        !xm_get_size(env, arguments[2], "offset", &request.offset) ||
        !xm_get_size(env, arguments[3], "length", &request.length) ||
        !xm_get_u64(env, arguments[4], "address", &request.address) ||
        !xm_get_bool(env, arguments[5], "keepOnOwnerExit", &request.keep_on_owner_exit))
        return NULL;
    if (request.length > e->largest_buffer)
        return xm_throw_text(env, EFBIG, "attach",
                             "this Node.js makes no ArrayBuffer that large (4 GiB in Node.js 20)");
    request.agent = handle->agent;
    if (type != napi_undefined)
        return attach_with(env, &request, arguments[6]);
    struct xm_attachment *attachment;
    int error = xm_attach(&request, &attachment);
    if (error == -ENODATA)
        return xm_undefined(env);
    return error != 0 ? xm_throw(env, error, "attach") : make_buffer(env, attachment);
}

/* Nothing mapped at an address: false; memory that is no attachment: EINVAL. */
static napi_value detach_other(napi_env env, uint64_t address) {
    uint64_t page = xm_page_size();
    unsigned char resident;
    if (mincore((void *)(uintptr_t)(address - address % page), page, &resident) != 0 &&
        errno == ENOMEM)
        return xm_truth(env, false);
    return xm_throw_text(env, EINVAL, "detach", "this memory is no attachment");
}

static napi_value js_detach(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    uint64_t address;
    if (!xm_arguments(env, info, 1, &argument, &e) ||
        !xm_get_u64(env, argument, "address", &address))
        return NULL;
    struct xm_attachment *attachment = xm_owner_attachment(&e->owner, address);
    if (attachment == NULL && !xm_attachment_revoke_at(address, XM_REASON_REMOVED))
        return detach_other(env, address);
    if (attachment != NULL)
        xm_detach(env, attachment);
    return xm_truth(env, true);
}

/* Rows of one message. */
#define MOST_ROWS ((XM_MAX_MESSAGE_BYTES - XM_BYTES_MAPPED) / XM_ROW_BYTES_MAPPING)

static napi_value js_paged(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    uint64_t address;
    uint64_t from;
    struct xm_row_mapping rows[MOST_ROWS];
    void *data;
    napi_value buffer;
    if (!xm_arguments(env, info, 2, arguments, &e) ||
        !xm_get_u64(env, arguments[0], "address", &address) ||
        !xm_get_size(env, arguments[1], "from", &from))
        return NULL;
    size_t at = from;
    size_t count = xm_attachment_paged(address, &at, rows, MOST_ROWS);
    if (count == 0)
        return xm_undefined(env);
    napi_value result;
    size_t bytes = count * XM_ROW_BYTES_MAPPING;
    if (!xm_ok(env, napi_create_arraybuffer(env, bytes, &data, &buffer)))
        return NULL;
    memcpy(data, rows, bytes);
    bool made = xm_ok(env, napi_create_object(env, &result)) &&
                xm_set(env, result, "rows", buffer) &&
                xm_set_number(env, result, "next", (double)at);
    return made ? result : NULL;
}

bool xm_add_attachments(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"attach", js_attach},
        {"detach", js_detach},
        {"paged", js_paged},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
