#include <errno.h>

#include "agents.h"
#include "answers.h"
#include "attachments.h"
#include "values.h"

/* The agent and apid that calls about a permit begin with. */
static struct xm_handle *get_permit(struct xm_env *e, const napi_value *arguments, uint64_t *apid) {
    struct xm_handle *handle = xm_get_handle(e, arguments[0]);
    if (handle == NULL || !xm_get_u64(e->env, arguments[1], "apid", apid))
        return NULL;
    return handle;
}

static bool get_u64_of(napi_env env, napi_value object, const char *name, uint64_t *result) {
    napi_value value;
    return xm_ok(env, napi_get_named_property(env, object, name, &value)) &&
           xm_get_u64(env, value, name, result);
}

static bool get_facts(napi_env env, napi_value object, struct xm_grant_facts *facts) {
    napi_value length;
    napi_value writable;
    napi_value stable;
    napi_value owner_pid;
    uint64_t pid;
    if (!get_u64_of(env, object, "apid", &facts->apid) ||
        !get_u64_of(env, object, "segid", &facts->segid) ||
        !get_u64_of(env, object, "ownerStart", &facts->owner_start) ||
        !xm_ok(env, napi_get_named_property(env, object, "length", &length)) ||
        !xm_get_size(env, length, "length", &facts->length) ||
        !xm_ok(env, napi_get_named_property(env, object, "writable", &writable)) ||
        !xm_get_bool(env, writable, "writable", &facts->writable) ||
        !xm_ok(env, napi_get_named_property(env, object, "stable", &stable)) ||
        !xm_get_bool(env, stable, "stable", &facts->stable) ||
        !xm_ok(env, napi_get_named_property(env, object, "ownerPid", &owner_pid)) ||
        !xm_get_size(env, owner_pid, "ownerPid", &pid))
        return false;
    facts->owner_pid = (uint32_t)pid;
    return true;
}

static napi_value js_grant_open(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    struct xm_grant_facts facts;
    if (!xm_arguments(env, info, 2, arguments, &e))
        return NULL;
    const struct xm_handle *handle = xm_get_handle(e, arguments[0]);
    if (handle == NULL || !get_facts(env, arguments[1], &facts))
        return NULL;
    int error = facts.apid == 0 ? -EINVAL : xm_grant_open(handle->agent, &facts);
    return error != 0 ? xm_throw(env, error, "grantOpen") : xm_undefined(env);
}

static napi_value js_grant_of(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    uint64_t apid;
    if (!xm_arguments(env, info, 2, arguments, &e))
        return NULL;
    const struct xm_handle *handle = get_permit(e, arguments, &apid);
    if (handle == NULL)
        return NULL;
    struct xm_grant_facts facts;
    if (xm_grant_facts(handle->agent, apid, &facts) != 0)
        return xm_undefined(env);
    napi_value result;
    bool made = xm_ok(env, napi_create_object(env, &result)) &&
                xm_set_u64(env, result, "apid", facts.apid) &&
                xm_set_u64(env, result, "segid", facts.segid) &&
                xm_set_number(env, result, "length", (double)facts.length) &&
                xm_set_bool(env, result, "writable", facts.writable) &&
                xm_set_bool(env, result, "stable", facts.stable) &&
                xm_set_number(env, result, "ownerPid", facts.owner_pid) &&
                xm_set_u64(env, result, "ownerStart", facts.owner_start);
    return made ? result : NULL;
}

static napi_value js_grant_extents(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    struct xm_env *e;
    uint64_t apid;
    struct xm_answer answer;
    if (!xm_arguments(env, info, 3, arguments, &e) || !xm_get_answer(env, arguments[2], &answer))
        return NULL;
    const struct xm_handle *handle = get_permit(e, arguments, &apid);
    if (handle == NULL) {
        xm_answer_drop(&answer);
        return NULL;
    }
    int error = xm_grant_extents(handle->agent, apid, answer.rows, answer.row_count,
                                 answer.descriptors, answer.descriptor_count);
    xm_answer_done(&answer);
    return error != 0 ? xm_throw_extents(env, error, "grantExtents") : xm_undefined(env);
}

static napi_value js_grant_close(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    uint64_t apid;
    if (!xm_arguments(env, info, 2, arguments, &e))
        return NULL;
    const struct xm_handle *handle = get_permit(e, arguments, &apid);
    if (handle == NULL)
        return NULL;
    struct xm_attachment *attachment;
    while ((attachment = xm_grant_attachment(handle->agent, apid, &e->owner)) != NULL)
        xm_detach(env, attachment);
    xm_grant_close(handle->agent, apid);
    return xm_undefined(env);
}

bool xm_add_grants(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"grantOpen", js_grant_open},
        {"grantOf", js_grant_of},
        {"grantExtents", js_grant_extents},
        {"grantClose", js_grant_close},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
