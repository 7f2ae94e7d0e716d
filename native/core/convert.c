#include "convert.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* Other threads may be writing before the page is frozen, or anything else they like with it. */
__attribute__((no_sanitize("thread", "address"))) static bool all_zero(const char *page,
                                                                       size_t bytes) {
    const volatile uint64_t *words = (const volatile uint64_t *)page;
    for (size_t i = 0; i < bytes / sizeof *words; i += 4) {
        if ((words[i] | words[i + 1] | words[i + 2] | words[i + 3]) != 0)
            return false;
    }
    return true;
}

/* The bare system call: a checking wrapper would read the range as if it were this thread's own. */
static int write_all(int descriptor, const char *bytes, size_t length, uint64_t offset) {
    while (length != 0) {
        long written = syscall(SYS_pwrite64, descriptor, bytes, length, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        bytes += written;
        length -= (size_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

/* Writes runs of pages that hold something. */
static int copy_pages(const char *from, uint64_t length, int into, uint64_t into_offset,
                      size_t page) {
    uint64_t begin = 0;
    for (uint64_t at = 0; at <= length; at += page) {
        if (at < length && !all_zero(from + at, page))
            continue;
        if (at > begin) {
            int error = write_all(into, from + begin, at - begin, into_offset + begin);
            if (error != 0)
                return error;
        }
        begin = at + page;
    }
    return 0;
}

/* Looks only where the old memfd has data: loading from a hole would fill it. */
static int copy_data(const struct xm_conversion *c, uint64_t at, uint64_t length, size_t page) {
    off_t base = (off_t)(c->from_offset + at);
    off_t end = base + (off_t)length;
    for (off_t data = base; data < end;) {
        data = lseek(c->from, data, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return 0;
        if (data < 0)
            return -errno;
        if (data >= end)
            return 0;
        off_t hole = lseek(c->from, data, SEEK_HOLE);
        if (hole < 0)
            return -errno;
        off_t stop = hole < end ? hole : end;
        uint64_t skip = at + (uint64_t)(data - base);
        int error = copy_pages((const char *)(uintptr_t)(c->address + skip),
                               (uint64_t)(stop - data), c->into, c->into_offset + skip, page);
        if (error != 0)
            return error;
        data = stop;
    }
    return 0;
}

static int move_chunk(const struct xm_conversion *c, int userfault, uint64_t at, uint64_t length,
                      size_t page) {
    char *memory = (char *)(uintptr_t)(c->address + at);
    int error = xm_userfault_protect(userfault, c->address + at, length, true);
    if (error == 0) {
        error = c->from >= 0 ? copy_data(c, at, length, page)
                             : copy_pages(memory, length, c->into, c->into_offset + at, page);
    }
    if (error == 0 && mmap(memory, length, c->protection, MAP_SHARED | MAP_FIXED, c->into,
                           (off_t)(c->into_offset + at)) == MAP_FAILED)
        error = -errno;
    /* The memory under a failure is thawed; under a success it is no longer registered. */
    if (error != 0)
        (void)xm_userfault_protect(userfault, c->address + at, length, false);
    (void)xm_userfault_wake(userfault, c->address + at, length);
    return error;
}

int xm_convert(const struct xm_conversion *c, uint64_t features) {
    uint64_t needed =
        c->from >= 0 ? XM_FEATURE_WP_PRIVATE | XM_FEATURE_WP_SHMEM : XM_FEATURE_WP_PRIVATE;
    if ((features & needed) != needed)
        return -ENOTSUP;
    size_t page = xm_page_size();
    bool unpopulated = (features & XM_FEATURE_WP_UNPOPULATED) != 0;
    int userfault = xm_userfault_open(needed | (features & XM_FEATURE_WP_UNPOPULATED));
    if (userfault < 0)
        return userfault;
    int error = xm_userfault_register(userfault, c->address, c->length, XM_REGISTER_WP, NULL);
    for (uint64_t at = 0; error == 0 && at < c->length; at += XM_CHUNK_BYTES) {
        uint64_t left = c->length - at;
        uint64_t length = left < XM_CHUNK_BYTES ? left : XM_CHUNK_BYTES;
        /* Without it protection holds on present pages only; reading makes them present. */
        if (c->from < 0 && !unpopulated &&
            madvise((void *)(uintptr_t)(c->address + at), length, MADV_POPULATE_READ) != 0)
            error = -errno;
        if (error == 0)
            error = move_chunk(c, userfault, at, length, page);
    }
    /* Closing unregisters what was not moved and wakes whoever still waits. */
    close(userfault);
    return error;
}
