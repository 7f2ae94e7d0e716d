#include <errno.h>
#include <sys/mman.h>

#include "../core/futex.h"
#include "../core/maps.h"
#include "../core/process.h"
#include "../core/withheld.h"
#include "values.h"

static napi_value js_image(napi_env env, napi_callback_info info) {
    struct xm_env *e;
    uint64_t image;
    if (!xm_arguments(env, info, 0, NULL, &e))
        return NULL;
    int error = xm_image(&image);
    napi_value value;
    if (error != 0)
        return xm_throw(env, error, "getrandom");
    return xm_ok(env, napi_create_bigint_uint64(env, image, &value)) ? value : NULL;
}

static napi_value js_pidfd_open(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    int32_t pid;
    if (!xm_arguments(env, info, 1, &argument, &e) || !xm_get_int(env, argument, "pid", 1, &pid))
        return NULL;
    int descriptor = xm_pidfd_open(pid);
    return descriptor < 0 ? xm_throw(env, descriptor, "pidfd_open") : xm_number(env, descriptor);
}

static napi_value js_read_process_memory(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    struct xm_env *e;
    int32_t pid;
    uint64_t address;
    uint8_t *into;
    size_t length;
    if (!xm_arguments(env, info, 3, arguments, &e) ||
        !xm_get_int(env, arguments[0], "pid", 1, &pid) ||
        !xm_get_u64(env, arguments[1], "address", &address) ||
        !xm_get_bytes(env, arguments[2], "into", &into, &length))
        return NULL;
    ssize_t got = xm_process_read(pid, address, into, length);
    return got < 0 ? xm_throw(env, (int)got, "process_vm_readv") : xm_number(env, (double)got);
}

/* Mappings of a range that a service looks at; a range in more pieces is asked of its owner. */
#define MAX_MAPPINGS 512

static napi_value mapping(napi_env env, const struct xm_vma *vma) {
    napi_value result;
    char identity[XM_IDENTITY_BYTES];
    xm_identity(vma->device, vma->inode, identity);
    bool made = xm_ok(env, napi_create_object(env, &result)) &&
                xm_set_u64(env, result, "start", vma->start) &&
                xm_set_u64(env, result, "end", vma->end) &&
                xm_set_bool(env, result, "readable", (vma->protection & PROT_READ) != 0) &&
                xm_set_bool(env, result, "shared", vma->shared) &&
                xm_set_string(env, result, "identity", identity) &&
                xm_set_number(env, result, "fileOffset", (double)vma->file_offset) &&
                xm_set_number(env, result, "mark", (double)xm_withheld_mark(vma, vma->start));
    return made ? result : NULL;
}

static napi_value js_mappings_open(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    int32_t pid;
    if (!xm_arguments(env, info, 1, &argument, &e) || !xm_get_int(env, argument, "pid", 1, &pid))
        return NULL;
    int descriptor = xm_mappings_open(pid);
    return descriptor < 0 ? xm_throw(env, descriptor, "open") : xm_number(env, descriptor);
}

static napi_value js_mappings(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    struct xm_env *e;
    int descriptor;
    uint64_t address;
    uint64_t length;
    struct xm_vma vmas[MAX_MAPPINGS];
    if (!xm_arguments(env, info, 3, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &descriptor) ||
        !xm_get_u64(env, arguments[1], "address", &address) ||
        !xm_get_size(env, arguments[2], "length", &length))
        return NULL;
    ssize_t count = xm_mappings(descriptor, address, length, vmas, MAX_MAPPINGS);
    if (count < 0)
        return xm_undefined(env);
    napi_value result;
    bool made = xm_ok(env, napi_create_array_with_length(env, (size_t)count, &result));
    for (uint32_t i = 0; made && i < (uint32_t)count; i++) {
        napi_value item = mapping(env, &vmas[i]);
        made = item != NULL && xm_ok(env, napi_set_element(env, result, i, item));
    }
    return made ? result : NULL;
}

/* The word of an Int32Array argument at an index argument. */
static bool get_word(napi_env env, const napi_value *arguments, int32_t **word) {
    size_t length;
    int32_t index;
    if (!xm_get_int32s(env, arguments[0], "array", word, &length) ||
        !xm_get_int(env, arguments[1], "index", 0, &index))
        return false;
    if ((size_t)index >= length)
        return xm_misuse(env, "index must lie in the array");
    *word += index;
    return true;
}

static napi_value js_futex_wait(napi_env env, napi_callback_info info) {
    napi_value arguments[4];
    struct xm_env *e;
    int32_t *word;
    int32_t expected;
    double timeout_ms;
    if (!xm_arguments(env, info, 4, arguments, &e) || !get_word(env, arguments, &word) ||
        !xm_get_int(env, arguments[2], "expected", INT32_MIN, &expected))
        return NULL;
    if (napi_get_value_double(env, arguments[3], &timeout_ms) != napi_ok ||
        timeout_ms != timeout_ms) {
        xm_misuse(env, "timeoutMs must be a number");
        return NULL;
    }
    int error = xm_futex_wait(word, expected, timeout_ms);
    const char *result = error == 0            ? "ok"
                         : error == -EAGAIN    ? "not-equal"
                         : error == -ETIMEDOUT ? "timed-out"
                                               : NULL;
    if (result == NULL)
        return xm_throw(env, error, "futex");
    napi_value value;
    return xm_ok(env, napi_create_string_utf8(env, result, NAPI_AUTO_LENGTH, &value)) ? value
                                                                                      : NULL;
}

static napi_value js_futex_wake(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    struct xm_env *e;
    int32_t *word;
    int32_t count;
    if (!xm_arguments(env, info, 3, arguments, &e) || !get_word(env, arguments, &word) ||
        !xm_get_int(env, arguments[2], "count", 0, &count))
        return NULL;
    int woken = xm_futex_wake(word, count);
    return woken < 0 ? xm_throw(env, woken, "futex") : xm_number(env, woken);
}

bool xm_add_processes(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"image", js_image},
        {"pidfdOpen", js_pidfd_open},
        {"readProcessMemory", js_read_process_memory},
        {"mappingsOpen", js_mappings_open},
        {"mappings", js_mappings},
        {"futexWait", js_futex_wait},
        {"futexWake", js_futex_wake},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
