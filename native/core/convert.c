#include "convert.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"
#include "waiters.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/*
 * Bytes looked at together. They pass through a memfd of our own: the program may unmap the range
 * at any moment, which is an EFAULT to a system call but would be the end of a thread that loads.
 */
#define SCRATCH_BYTES (UINT64_C(256) << 10)

struct scratch {
    int descriptor;
    const uint64_t *words;
};

static int scratch_open(struct scratch *scratch) {
    scratch->descriptor = xm_memfd_create(SCRATCH_BYTES);
    if (scratch->descriptor < 0)
        return scratch->descriptor;
    void *memory = mmap(NULL, SCRATCH_BYTES, PROT_READ, MAP_SHARED, scratch->descriptor, 0);
    int error = memory == MAP_FAILED ? -errno : 0;
    if (error != 0)
        close(scratch->descriptor);
    scratch->words = memory;
    return error;
}

static void scratch_close(struct scratch *scratch) {
    munmap((void *)(uintptr_t)scratch->words, SCRATCH_BYTES);
    close(scratch->descriptor);
}

static bool all_zero(const uint64_t *words, size_t bytes) {
    for (size_t i = 0; i < bytes / sizeof *words; i += 4) {
        if ((words[i] | words[i + 1] | words[i + 2] | words[i + 3]) != 0)
            return false;
    }
    return true;
}

/* The bare system call: a checking wrapper would read the range as if it were this thread's own. */
static int write_all(int descriptor, const void *bytes, size_t length, uint64_t offset) {
    const char *next = bytes;
    while (length != 0) {
        long written = syscall(SYS_pwrite64, descriptor, next, length, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        next += written;
        length -= (size_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

/* Writes what of a scratchful is not zero, run by run of pages. */
static int write_runs(const struct scratch *scratch, uint64_t length, int into, uint64_t offset,
                      size_t page) {
    uint64_t begin = 0;
    for (uint64_t at = 0; at <= length; at += page) {
        if (at < length && !all_zero(scratch->words + at / sizeof(uint64_t), page))
            continue;
        if (at > begin) {
            const uint64_t *from = scratch->words + begin / sizeof(uint64_t);
            int error = write_all(into, from, at - begin, offset + begin);
            if (error != 0)
                return error;
        }
        begin = at + page;
    }
    return 0;
}

static int copy_pages(const struct scratch *scratch, const char *from, uint64_t length, int into,
                      uint64_t into_offset, size_t page) {
    for (uint64_t at = 0; at < length; at += SCRATCH_BYTES) {
        uint64_t part = length - at < SCRATCH_BYTES ? length - at : SCRATCH_BYTES;
        int error = write_all(scratch->descriptor, from + at, part, 0);
        if (error == 0)
            error = write_runs(scratch, part, into, into_offset + at, page);
        if (error != 0)
            return error;
    }
    return 0;
}

/* Looks only where the old memfd has data: loading from a hole would fill it. */
static int copy_data(const struct xm_conversion *c, const struct scratch *scratch, uint64_t at,
                     uint64_t length, size_t page) {
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
        int error = copy_pages(scratch, (const char *)(uintptr_t)(c->address + skip),
                               (uint64_t)(stop - data), c->into, c->into_offset + skip, page);
        if (error != 0)
            return error;
        data = stop;
    }
    return 0;
}

/* Again the bare system call, which means no store to the range by this thread. */
static int map_over(const struct xm_conversion *c, uint64_t at, uint64_t length) {
    long mapped = syscall(SYS_mmap, c->address + at, length, c->protection, MAP_SHARED | MAP_FIXED,
                          c->into, (off_t)(c->into_offset + at));
    return mapped == -1 ? -errno : 0;
}

static int protect_page(const void *userfault, uint64_t page, bool protect) {
    int error;
    do {
        error = xm_userfault_try_protect(*(const int *)userfault, page, xm_page_size(), protect);
    } while (error == -EAGAIN);
    return error;
}

static int move_chunk(const struct xm_conversion *c, const struct scratch *scratch, int userfault,
                      uint64_t at, uint64_t length) {
    size_t page = xm_page_size();
    uint64_t address = c->address + at;
    int error = xm_userfault_protect(userfault, address, length, true);
    if (error == 0)
        error = xm_waiters_rouse(address, length, protect_page, NULL, &userfault);
    if (error == 0 && c->from >= 0)
        error = copy_data(c, scratch, at, length, page);
    else if (error == 0)
        error = copy_pages(scratch, (const char *)(uintptr_t)address, length, c->into,
                           c->into_offset + at, page);
    /* Once more, at the last moment: it fails if the program has mapped something else there. */
    if (error == 0)
        error = xm_userfault_protect(userfault, address, length, true);
    if (error == 0)
        error = map_over(c, at, length);
    /* The memory under a failure is thawed; under a success it is no longer registered. */
    if (error != 0)
        (void)xm_userfault_protect(userfault, address, length, false);
    (void)xm_userfault_wake(userfault, address, length);
    return error;
}

static int move_chunks(const struct xm_conversion *c, const struct scratch *scratch, int userfault,
                       bool populate) {
    int error = xm_userfault_register(userfault, c->address, c->length, XM_REGISTER_WP, NULL);
    for (uint64_t at = 0; error == 0 && at < c->length; at += XM_CHUNK_BYTES) {
        uint64_t left = c->length - at;
        uint64_t length = left < XM_CHUNK_BYTES ? left : XM_CHUNK_BYTES;
        if (populate &&
            madvise((void *)(uintptr_t)(c->address + at), length, MADV_POPULATE_READ) != 0)
            error = -errno;
        if (error == 0)
            error = move_chunk(c, scratch, userfault, at, length);
    }
    return error;
}

int xm_convert(const struct xm_conversion *c, uint64_t features) {
    uint64_t unpopulated = features & XM_FEATURE_WP_UNPOPULATED;
    uint64_t needed = XM_FEATURE_WP_PRIVATE | (c->from >= 0 ? XM_FEATURE_WP_SHMEM : 0);
    if ((features & needed) != needed)
        return -ENOTSUP;
    struct scratch scratch;
    int error = scratch_open(&scratch);
    if (error != 0)
        return error;
    int userfault = xm_userfault_open(needed | unpopulated);
    if (userfault >= 0) {
        /* Without it protection holds on present pages only; reading makes them present. */
        error = move_chunks(c, &scratch, userfault, c->from < 0 && unpopulated == 0);
        /* Closing unregisters what was not moved and wakes whoever still waits, unless a child that
         * was forked meanwhile has a copy of the descriptor. */
        if (error != 0)
            (void)xm_userfault_unregister(userfault, c->address, c->length);
        close(userfault);
    }
    scratch_close(&scratch);
    return userfault < 0 ? userfault : error;
}
