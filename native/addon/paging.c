#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../core/memory.h"
#include "../core/userfault.h"
#include "values.h"

/* Faults read at once. */
#define MOST_FAULTS 64

/* Bits of a fault's kind. */
#define FAULT_WRITE 1
#define FAULT_PROTECTED 2
/* No fault: memory was moved from there; the next pair says where to, and how much. */
#define FAULT_MOVED 4

static bool get_range(napi_env env, const napi_value *arguments, int *userfault, uint64_t *address,
                      uint64_t *length) {
    return xm_get_descriptor(env, arguments[0], userfault) &&
           xm_get_size(env, arguments[1], "address", address) &&
           xm_get_size(env, arguments[2], "length", length);
}

static void put(double *into, size_t *count, double first, double second) {
    into[2 * *count] = first;
    into[2 * *count + 1] = second;
    ++*count;
}

static double kind_of(const struct uffd_msg *fault) {
    uint64_t flags = fault->arg.pagefault.flags;
    double kind = (flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0 ? FAULT_WRITE : 0;
    return (flags & UFFD_PAGEFAULT_FLAG_WP) != 0 ? kind + FAULT_PROTECTED : kind;
}

ssize_t xm_read_faults(int userfault, double *into, size_t capacity) {
    struct uffd_msg faults[MOST_FAULTS];
    /* An event may take two pairs. */
    size_t most = capacity / 4 < MOST_FAULTS ? capacity / 4 : MOST_FAULTS;
    ssize_t length = read(userfault, faults, most * sizeof *faults);
    if (length < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    size_t count = 0;
    for (size_t i = 0; i < (size_t)length / sizeof *faults; i++) {
        if (faults[i].event == UFFD_EVENT_REMAP) {
            put(into, &count, (double)faults[i].arg.remap.from, FAULT_MOVED);
            put(into, &count, (double)faults[i].arg.remap.to, (double)faults[i].arg.remap.len);
        } else if (faults[i].event == UFFD_EVENT_PAGEFAULT) {
            put(into, &count, (double)faults[i].arg.pagefault.address, kind_of(&faults[i]));
        }
    }
    return (ssize_t)count;
}

static napi_value js_faults(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    int userfault;
    double *into;
    size_t capacity;
    napi_typedarray_type type;
    if (!xm_arguments(env, info, 2, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &userfault) ||
        !xm_ok(env, napi_get_typedarray_info(env, arguments[1], &type, &capacity, (void **)&into,
                                             NULL, NULL)))
        return NULL;
    if (type != napi_float64_array || capacity < 4)
        return xm_misuse(env, "into must be a Float64Array of 4 numbers or more"), NULL;
    ssize_t count = xm_read_faults(userfault, into, capacity);
    return count < 0 ? xm_throw(env, (int)count, "read") : xm_number(env, (double)count);
}

/* Nothing registered is mapped there any more. */
static bool is_gone(int64_t error) {
    return error == -ENOENT || error == -EINVAL || error == -ESRCH;
}

static napi_value js_protect(napi_env env, napi_callback_info info) {
    napi_value arguments[4];
    struct xm_env *e;
    int userfault;
    uint64_t address;
    uint64_t length;
    bool protect;
    if (!xm_arguments(env, info, 4, arguments, &e) ||
        !get_range(env, arguments, &userfault, &address, &length) ||
        !xm_get_bool(env, arguments[3], "protect", &protect))
        return NULL;
    int error = xm_userfault_protect_once(userfault, address, length, protect);
    /* Nobody is left who could store there. */
    if (error == 0 || error == -ESRCH)
        return xm_number(env, (double)length);
    if (is_gone(error))
        return xm_number(env, 0);
    return error == -EAGAIN ? xm_number(env, -1) : xm_throw(env, error, "protect");
}

static napi_value js_fill(napi_env env, napi_callback_info info) {
    napi_value arguments[6];
    struct xm_env *e;
    int userfault;
    uint64_t address;
    uint8_t *from;
    size_t length;
    bool protect;
    if (!xm_arguments(env, info, 6, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &userfault) ||
        !xm_get_size(env, arguments[1], "address", &address) ||
        !xm_get_part(env, arguments + 2, &from, &length) ||
        !xm_get_bool(env, arguments[5], "protect", &protect))
        return NULL;
    int64_t filled = xm_userfault_copy(userfault, address, from, length, protect);
    if (filled >= 0 || is_gone(filled) || filled == -EEXIST)
        return xm_number(env, filled >= 0 ? (double)filled : 0);
    return filled == -EAGAIN ? xm_number(env, -1) : xm_throw(env, (int)filled, "fill");
}

static napi_value js_map(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    struct xm_env *e;
    int userfault;
    uint64_t address;
    uint64_t length;
    if (!xm_arguments(env, info, 3, arguments, &e) ||
        !get_range(env, arguments, &userfault, &address, &length))
        return NULL;
    int64_t mapped = xm_userfault_map(userfault, address, length);
    return xm_number(env, mapped > 0 ? (double)mapped : 0);
}

static napi_value js_wake(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    struct xm_env *e;
    int userfault;
    uint64_t address;
    uint64_t length;
    if (!xm_arguments(env, info, 3, arguments, &e) ||
        !get_range(env, arguments, &userfault, &address, &length))
        return NULL;
    int error = xm_userfault_wake(userfault, address, length);
    return error == 0 || is_gone(error) ? xm_undefined(env) : xm_throw(env, error, "wake");
}

static napi_value allocate(napi_env env, napi_callback_info info, int mode) {
    napi_value arguments[3];
    struct xm_env *e;
    int descriptor;
    uint64_t offset;
    uint64_t length;
    if (!xm_arguments(env, info, 3, arguments, &e) ||
        !get_range(env, arguments, &descriptor, &offset, &length))
        return NULL;
    while (fallocate(descriptor, mode, (off_t)offset, (off_t)length) != 0) {
        if (errno != EINTR)
            return xm_throw(env, errno, "fallocate");
    }
    return xm_undefined(env);
}

static napi_value js_punch(napi_env env, napi_callback_info info) {
    return allocate(env, info, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

static napi_value js_populate(napi_env env, napi_callback_info info) {
    return allocate(env, info, FALLOC_FL_KEEP_SIZE);
}

static napi_value js_create_file(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    uint64_t length;
    if (!xm_arguments(env, info, 1, &argument, &e) ||
        !xm_get_size(env, argument, "length", &length))
        return NULL;
    int descriptor = xm_memfd_create(length);
    return descriptor < 0 ? xm_throw(env, descriptor, "memfd_create") : xm_number(env, descriptor);
}

static napi_value js_duplicate(napi_env env, napi_callback_info info) {
    int descriptor;
    if (!xm_descriptor_argument(env, info, &descriptor))
        return NULL;
    int duplicate = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    return duplicate < 0 ? xm_throw(env, errno, "fcntl") : xm_number(env, duplicate);
}

/* pread or pwrite of a whole range. */
static napi_value transfer(napi_env env, napi_callback_info info, bool writing) {
    napi_value arguments[5];
    struct xm_env *e;
    int descriptor;
    uint64_t offset;
    uint8_t *data;
    size_t length;
    if (!xm_arguments(env, info, 5, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &descriptor) ||
        !xm_get_size(env, arguments[1], "offset", &offset) ||
        !xm_get_part(env, arguments + 2, &data, &length))
        return NULL;
    for (size_t done = 0; done < length;) {
        uint8_t *at = data + done;
        size_t left = length - done;
        ssize_t moved = writing ? pwrite(descriptor, at, left, (off_t)(offset + done))
                                : pread(descriptor, at, left, (off_t)(offset + done));
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved <= 0)
            return xm_throw(env, moved < 0 ? errno : EIO, writing ? "pwrite" : "pread");
        done += (size_t)moved;
    }
    return xm_undefined(env);
}

static napi_value js_read_at(napi_env env, napi_callback_info info) {
    return transfer(env, info, false);
}

static napi_value js_write_at(napi_env env, napi_callback_info info) {
    return transfer(env, info, true);
}

static napi_value js_copy_part(napi_env env, napi_callback_info info) {
    napi_value arguments[4];
    struct xm_env *e;
    int from;
    int to;
    uint64_t offset;
    uint64_t length;
    if (!xm_arguments(env, info, 4, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &from) ||
        !xm_get_descriptor(env, arguments[1], &to) ||
        !xm_get_size(env, arguments[2], "offset", &offset) ||
        !xm_get_size(env, arguments[3], "length", &length))
        return NULL;
    uint8_t some[65536];
    for (uint64_t done = 0; done < length;) {
        uint64_t left = length - done;
        ssize_t got =
            pread(from, some, left < sizeof some ? left : sizeof some, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return xm_throw(env, got < 0 ? errno : EIO, "pread");
        ssize_t put = pwrite(to, some, (size_t)got, (off_t)(offset + done));
        if (put < 0 && errno != EINTR)
            return xm_throw(env, errno, "pwrite");
        /* What it did not take is read again. */
        done += put > 0 ? (uint64_t)put : 0;
    }
    return xm_undefined(env);
}

bool xm_add_paging(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"faults", js_faults},       {"protect", js_protect},    {"fill", js_fill},
        {"wake", js_wake},           {"punch", js_punch},        {"populate", js_populate},
        {"readAt", js_read_at},      {"writeAt", js_write_at},   {"createFile", js_create_file},
        {"duplicate", js_duplicate}, {"copyPart", js_copy_part}, {"map", js_map},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
