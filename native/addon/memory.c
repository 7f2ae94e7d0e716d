#include "../core/memory.h"

#include <errno.h>
#include <unistd.h>

#include "../core/backing.h"
#include "../core/userfault.h"
#include "values.h"

/* The ArrayBuffer is gone, or detached; its memory with it. */
static void region_released(napi_env env, void *data, void *hint) {
    (void)env;
    (void)data;
    xm_region_destroy(hint);
}

static napi_value js_allocate(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    uint64_t length;
    bool huge_pages;
    if (!xm_arguments(env, info, 2, arguments, &e) ||
        !xm_get_size(env, arguments[0], "length", &length) ||
        !xm_get_bool(env, arguments[1], "hugePages", &huge_pages))
        return NULL;
    if (length == 0 || length % xm_page_size() != 0)
        return xm_throw_text(env, EINVAL, "allocate",
                             "length must be a positive multiple of the page size");
    if (length > e->largest_buffer)
        return xm_throw_text(env, EFBIG, "allocate",
                             "this Node.js makes no ArrayBuffer that large (4 GiB in Node.js 20)");
    struct xm_region *region;
    int error = xm_region_create(length, huge_pages, &region);
    if (error != 0)
        return xm_throw(env, error, "allocate");
    napi_value buffer;
    /* If it fails Node calls the finalizer or not; unmapping twice would be worse than never. */
    if (!xm_ok(env, napi_create_external_arraybuffer(env, (void *)(uintptr_t)region->span.address,
                                                     length, region_released, region, &buffer)))
        return NULL;
    return buffer;
}

/*
 * Makes a Uint8Array over memory that Node-API itself has no accessor for (SharedArrayBuffer).
 * Other objects would be copied from: they are refused.
 */
static bool view_over(napi_env env, napi_value memory, napi_value *view) {
    napi_value global;
    napi_value constructor;
    napi_value buffer;
    bool same = false;
    if (!xm_ok(env, napi_get_global(env, &global)) ||
        !xm_ok(env, napi_get_named_property(env, global, "Uint8Array", &constructor)))
        return false;
    bool made = napi_new_instance(env, constructor, 1, &memory, view) == napi_ok &&
                napi_get_named_property(env, *view, "buffer", &buffer) == napi_ok &&
                napi_strict_equals(env, buffer, memory, &same) == napi_ok;
    if (made)
        return same;
    napi_value ignored;
    napi_get_and_clear_last_exception(env, &ignored);
    return false;
}

static bool get_memory(napi_env env, napi_value memory, void **data, size_t *length) {
    bool is = false;
    if (napi_is_arraybuffer(env, memory, &is) == napi_ok && is)
        return xm_ok(env, napi_get_arraybuffer_info(env, memory, data, length));
    if (napi_is_dataview(env, memory, &is) == napi_ok && is)
        return xm_ok(env, napi_get_dataview_info(env, memory, length, data, NULL, NULL));
    napi_valuetype type;
    napi_value view = memory;
    if (napi_is_typedarray(env, memory, &is) != napi_ok ||
        napi_typeof(env, memory, &type) != napi_ok ||
        (!is && (type != napi_object || !view_over(env, memory, &view))))
        return xm_misuse(env, "memory must be an ArrayBuffer, SharedArrayBuffer or view");
    /* The length is in elements, which is all the same for whether there are any. */
    return xm_ok(env, napi_get_typedarray_info(env, view, NULL, length, data, NULL, NULL));
}

static napi_value js_address_of(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    void *data = NULL;
    size_t length = 0;
    if (!xm_arguments(env, info, 1, &argument, &e) || !get_memory(env, argument, &data, &length))
        return NULL;
    napi_value address;
    return xm_ok(env, napi_create_bigint_uint64(env, length == 0 ? 0 : (uintptr_t)data, &address))
               ? address
               : NULL;
}

static napi_value backing(napi_env env, const int descriptors[2], uint64_t file_offset) {
    napi_value result;
    napi_value pair;
    bool made = xm_ok(env, napi_create_object(env, &result)) &&
                xm_ok(env, napi_create_array_with_length(env, 2, &pair));
    for (uint32_t i = 0; made && i < 2; i++) {
        napi_value descriptor = xm_number(env, descriptors[i]);
        made = descriptor != NULL && xm_ok(env, napi_set_element(env, pair, i, descriptor));
    }
    made = made && xm_set(env, result, "descriptors", pair) &&
           xm_set_number(env, result, "fileOffset", (double)file_offset);
    return made ? result : NULL;
}

static napi_value js_backing_of(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    uint64_t address;
    uint64_t length;
    if (!xm_arguments(env, info, 2, arguments, &e) ||
        !xm_get_u64(env, arguments[0], "address", &address) ||
        !xm_get_size(env, arguments[1], "length", &length))
        return NULL;
    int descriptors[2];
    uint64_t file_offset;
    int error = xm_backing_of(address, length, descriptors, &file_offset);
    if (error == -ENOENT)
        return xm_undefined(env);
    if (error != 0)
        return xm_throw(env, error, "backingOf");
    napi_value result = backing(env, descriptors, file_offset);
    if (result == NULL) {
        close(descriptors[0]);
        close(descriptors[1]);
    }
    return result;
}

static napi_value js_userfault(napi_env env, napi_callback_info info) {
    static const char *const modes[] = {
        [XM_USERFAULT_NONE] = "none",
        [XM_USERFAULT_USER] = "user",
        [XM_USERFAULT_FULL] = "full",
    };
    (void)info;
    struct xm_userfault_ability ability;
    xm_userfault_query(&ability);
    char refusal[32] = "";
    if (ability.refusal != 0)
        uv_err_name_r(-ability.refusal, refusal, sizeof refusal);
    napi_value result;
    bool made = xm_ok(env, napi_create_object(env, &result)) &&
                xm_set_string(env, result, "mode", modes[ability.mode]) &&
                xm_set_u64(env, result, "features", ability.features) &&
                xm_set_string(env, result, "refusal", refusal);
    return made ? result : NULL;
}

bool xm_add_memory(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"allocate", js_allocate},
        {"addressOf", js_address_of},
        {"backingOf", js_backing_of},
        {"userfault", js_userfault},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
