#include "copy.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"

/*
 * Bytes looked at together. They pass through a memfd of our own: the program may unmap the range
 * at any moment, which is an EFAULT to a system call but would be the end of a thread that loads.
 */
#define SCRATCH_BYTES (UINT64_C(256) << 10)

int xm_scratch_open(struct xm_scratch *scratch) {
    scratch->descriptor = xm_memfd_create(SCRATCH_BYTES);
    if (scratch->descriptor < 0)
        return scratch->descriptor;
    void *memory = mmap(NULL, SCRATCH_BYTES, PROT_READ, MAP_SHARED, scratch->descriptor, 0);
    int error = memory == MAP_FAILED ? -errno : 0;
    if (error != 0)
        close(scratch->descriptor);
    scratch->words = memory;
    scratch->page = xm_page_size();
    return error;
}

void xm_scratch_close(struct xm_scratch *scratch) {
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
int xm_write_all(int descriptor, const void *bytes, uint64_t length, uint64_t offset) {
    const char *next = bytes;
    while (length != 0) {
        long written = syscall(SYS_pwrite64, descriptor, next, length, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        next += written;
        length -= (uint64_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

/* Writes what of a scratchful is not zero, run by run of pages. */
static int write_runs(const struct xm_scratch *scratch, uint64_t length, int into,
                      uint64_t offset) {
    size_t page = scratch->page;
    uint64_t begin = 0;
    for (uint64_t at = 0; at <= length; at += page) {
        if (at < length && !all_zero(scratch->words + at / sizeof(uint64_t), page))
            continue;
        if (at > begin) {
            const uint64_t *from = scratch->words + begin / sizeof(uint64_t);
            int error = xm_write_all(into, from, at - begin, offset + begin);
            if (error != 0)
                return error;
        }
        begin = at + page;
    }
    return 0;
}

int xm_copy_pages(const struct xm_scratch *scratch, uint64_t address, uint64_t length, int into,
                  uint64_t into_offset) {
    for (uint64_t at = 0; at < length; at += SCRATCH_BYTES) {
        uint64_t part = length - at < SCRATCH_BYTES ? length - at : SCRATCH_BYTES;
        const void *from = (const void *)(uintptr_t)(address + at);
        int error = xm_write_all(scratch->descriptor, from, part, 0);
        if (error == 0)
            error = write_runs(scratch, part, into, into_offset + at);
        if (error != 0)
            return error;
    }
    return 0;
}

/* Again the bare system call, which means no store to the range by this thread. */
int xm_map_over(const struct xm_conversion *c, uint64_t at, uint64_t length) {
    long mapped = syscall(SYS_mmap, c->address + at, length, c->protection, MAP_SHARED | MAP_FIXED,
                          c->into, (off_t)(c->into_offset + at));
    return mapped == -1 ? -errno : 0;
}
