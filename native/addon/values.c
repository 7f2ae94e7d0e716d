#include "values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/protocol.h"

/* Number.MAX_SAFE_INTEGER */
#define MAX_SAFE 9007199254740991.0

napi_value xm_throw_text(napi_env env, int error, const char *syscall, const char *text) {
    char code[32];
    char message[512];
    int number = abs(error);
    uv_err_name_r(-number, code, sizeof code);
    snprintf(message, sizeof message, "%s: %s", syscall, text);
    napi_value code_value;
    napi_value message_value;
    napi_value thrown;
    if (xm_ok(env, napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &code_value)) &&
        xm_ok(env, napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &message_value)) &&
        xm_ok(env, napi_create_error(env, code_value, message_value, &thrown)) &&
        xm_set_number(env, thrown, "errno", number) &&
        xm_set_string(env, thrown, "syscall", syscall))
        (void)xm_ok(env, napi_throw(env, thrown));
    return NULL;
}

napi_value xm_throw(napi_env env, int error, const char *syscall) {
    return xm_throw_text(env, error, syscall, strerror(abs(error)));
}

bool xm_misuse(napi_env env, const char *text) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", text);
    return false;
}

static bool wrong_type(napi_env env, const char *name, const char *expected) {
    char text[128];
    snprintf(text, sizeof text, "%s must be %s", name, expected);
    return xm_misuse(env, text);
}

bool xm_ok(napi_env env, napi_status status) {
    if (status == napi_ok)
        return true;
    bool pending = false;
    napi_is_exception_pending(env, &pending);
    if (!pending) {
        const napi_extended_error_info *info = NULL;
        napi_get_last_error_info(env, &info);
        const char *text = info != NULL && info->error_message != NULL ? info->error_message
                                                                       : "Node-API call failed";
        napi_throw_error(env, "ERR_NAPI", text);
    }
    return false;
}

bool xm_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *arguments,
                  struct xm_env **e) {
    size_t given = count;
    return xm_ok(env, napi_get_cb_info(env, info, &given, arguments, NULL, (void **)e));
}

static bool get_integer(napi_env env, napi_value value, const char *name, double least, double most,
                        double *result) {
    if (napi_get_value_double(env, value, result) != napi_ok)
        return wrong_type(env, name, "a number");
    if (!(*result >= least && *result <= most) || *result != (double)(int64_t)*result)
        return wrong_type(env, name, "an integer in range");
    return true;
}

bool xm_descriptor_argument(napi_env env, napi_callback_info info, int *descriptor) {
    napi_value argument;
    struct xm_env *e;
    return xm_arguments(env, info, 1, &argument, &e) &&
           xm_get_descriptor(env, argument, descriptor);
}

bool xm_get_int(napi_env env, napi_value value, const char *name, int32_t least, int32_t *result) {
    double number;
    if (!get_integer(env, value, name, least, INT32_MAX, &number))
        return false;
    *result = (int32_t)number;
    return true;
}

bool xm_get_descriptor(napi_env env, napi_value value, int *descriptor) {
    return xm_get_int(env, value, "descriptor", 0, descriptor);
}

bool xm_get_size(napi_env env, napi_value value, const char *name, uint64_t *result) {
    double number;
    if (!get_integer(env, value, name, 0, MAX_SAFE, &number))
        return false;
    *result = (uint64_t)number;
    return true;
}

bool xm_get_u64(napi_env env, napi_value value, const char *name, uint64_t *result) {
    bool lossless = false;
    if (napi_get_value_bigint_uint64(env, value, result, &lossless) != napi_ok || !lossless)
        return wrong_type(env, name, "a bigint from 0 to 2^64-1");
    return true;
}

bool xm_get_bool(napi_env env, napi_value value, const char *name, bool *result) {
    if (napi_get_value_bool(env, value, result) != napi_ok)
        return wrong_type(env, name, "a boolean");
    return true;
}

bool xm_get_string(napi_env env, napi_value value, const char *name, char *into, size_t capacity) {
    size_t length;
    if (napi_get_value_string_utf8(env, value, into, capacity, &length) != napi_ok)
        return wrong_type(env, name, "a string");
    /* A string that fills all of it was probably cut off. */
    if (length + 1 >= capacity || strlen(into) != length)
        return wrong_type(env, name, "a shorter string without NUL");
    return true;
}

bool xm_get_bytes(napi_env env, napi_value value, const char *name, uint8_t **data,
                  size_t *length) {
    napi_typedarray_type type;
    if (napi_get_typedarray_info(env, value, &type, length, (void **)data, NULL, NULL) != napi_ok ||
        type != napi_uint8_array)
        return wrong_type(env, name, "a Uint8Array");
    return true;
}

bool xm_get_part(napi_env env, const napi_value arguments[3], uint8_t **data, size_t *length) {
    size_t room;
    uint64_t offset;
    uint64_t wanted;
    if (!xm_get_bytes(env, arguments[0], "bytes", data, &room) ||
        !xm_get_size(env, arguments[1], "offset", &offset) ||
        !xm_get_size(env, arguments[2], "length", &wanted))
        return false;
    if (offset > room || wanted > room - offset)
        return xm_misuse(env, "the range lies outside of the bytes");
    *data += offset;
    *length = wanted;
    return true;
}

bool xm_get_int32s(napi_env env, napi_value value, const char *name, int32_t **data,
                   size_t *length) {
    napi_typedarray_type type;
    if (napi_get_typedarray_info(env, value, &type, length, (void **)data, NULL, NULL) != napi_ok ||
        type != napi_int32_array)
        return wrong_type(env, name, "an Int32Array");
    return true;
}

bool xm_get_descriptors(napi_env env, napi_value value, int *descriptors, size_t *count) {
    uint32_t length;
    *count = 0;
    if (napi_get_array_length(env, value, &length) != napi_ok || length > XM_MAX_DESCRIPTORS)
        return wrong_type(env, "descriptors", "an array of at most 16 descriptors");
    for (uint32_t i = 0; i < length; i++) {
        napi_value item;
        if (!xm_ok(env, napi_get_element(env, value, i, &item)) ||
            !xm_get_descriptor(env, item, &descriptors[i]))
            return false;
        *count = i + 1;
    }
    return true;
}

bool xm_set(napi_env env, napi_value object, const char *name, napi_value value) {
    return value != NULL && xm_ok(env, napi_set_named_property(env, object, name, value));
}

bool xm_set_number(napi_env env, napi_value object, const char *name, double number) {
    return xm_set(env, object, name, xm_number(env, number));
}

bool xm_set_u64(napi_env env, napi_value object, const char *name, uint64_t number) {
    napi_value value;
    return xm_ok(env, napi_create_bigint_uint64(env, number, &value)) &&
           xm_set(env, object, name, value);
}

bool xm_set_bool(napi_env env, napi_value object, const char *name, bool truth) {
    return xm_set(env, object, name, xm_truth(env, truth));
}

bool xm_set_string(napi_env env, napi_value object, const char *name, const char *text) {
    napi_value value;
    return xm_ok(env, napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value)) &&
           xm_set(env, object, name, value);
}

void xm_identity(dev_t device, ino_t inode, char *text) {
    snprintf(text, XM_IDENTITY_BYTES, "%ju:%ju", (uintmax_t)device, (uintmax_t)inode);
}

napi_value xm_number(napi_env env, double number) {
    napi_value value;
    return xm_ok(env, napi_create_double(env, number, &value)) ? value : NULL;
}

napi_value xm_truth(napi_env env, bool truth) {
    napi_value value;
    return xm_ok(env, napi_get_boolean(env, truth, &value)) ? value : NULL;
}

napi_value xm_undefined(napi_env env) {
    napi_value value;
    return xm_ok(env, napi_get_undefined(env, &value)) ? value : NULL;
}
