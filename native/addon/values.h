/* Arguments from JavaScript and values to it. Where these return false an exception is pending. */

#ifndef XM_VALUES_H
#define XM_VALUES_H

#include "addon.h"

/* Throws a system error; `error` is an errno, of either sign. Gives NULL, to be returned. */
napi_value xm_throw(napi_env env, int error, const char *syscall);
/* The same with a text of its own. */
napi_value xm_throw_text(napi_env env, int error, const char *syscall, const char *text);
/* Throws a TypeError. Gives false. */
bool xm_misuse(napi_env env, const char *text);
/* Throws what a Node-API call failed with, unless an exception is pending already. */
bool xm_ok(napi_env env, napi_status status);

/* Exactly `count` arguments (missing ones are undefined). */
bool xm_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *arguments,
                  struct xm_env **e);

/* The one argument of a function that takes a descriptor. */
bool xm_descriptor_argument(napi_env env, napi_callback_info info, int *descriptor);
bool xm_get_descriptor(napi_env env, napi_value value, int *descriptor);
bool xm_get_int(napi_env env, napi_value value, const char *name, int32_t least, int32_t *result);
/* A safe integer, not negative. */
bool xm_get_size(napi_env env, napi_value value, const char *name, uint64_t *result);
/* A bigint of 64 bits, not negative. */
bool xm_get_u64(napi_env env, napi_value value, const char *name, uint64_t *result);
bool xm_get_bool(napi_env env, napi_value value, const char *name, bool *result);
/* A string of less than `capacity` bytes, without NUL. */
bool xm_get_string(napi_env env, napi_value value, const char *name, char *into, size_t capacity);
bool xm_get_bytes(napi_env env, napi_value value, const char *name, uint8_t **data, size_t *length);
/* A part of bytes: a Uint8Array, an offset and a length. */
bool xm_get_part(napi_env env, const napi_value arguments[3], uint8_t **data, size_t *length);
bool xm_get_int32s(napi_env env, napi_value value, const char *name, int32_t **data,
                   size_t *length);
/* An array of at most XM_MAX_DESCRIPTORS descriptors. */
bool xm_get_descriptors(napi_env env, napi_value value, int *descriptors, size_t *count);

bool xm_set(napi_env env, napi_value object, const char *name, napi_value value);
bool xm_set_number(napi_env env, napi_value object, const char *name, double number);
bool xm_set_u64(napi_env env, napi_value object, const char *name, uint64_t number);
bool xm_set_bool(napi_env env, napi_value object, const char *name, bool truth);
bool xm_set_string(napi_env env, napi_value object, const char *name, const char *text);

/* Bytes of a file's identity as text. */
#define XM_IDENTITY_BYTES 64
/* The same text for the same file, by the numbers of fstat(2). */
void xm_identity(dev_t device, ino_t inode, char *text);

/* NULL on failure, with an exception pending. */
napi_value xm_number(napi_env env, double number);
napi_value xm_truth(napi_env env, bool truth);
napi_value xm_undefined(napi_env env);

#endif
