#include "convert.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "copy.h"
#include "exits.h"
#include "memory.h"
#include "thread.h"
#include "waiters.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* Looks only where the old memfd has data: loading from a hole would fill it. */
static int copy_data(const struct xm_conversion *c, const struct xm_scratch *scratch, uint64_t at,
                     uint64_t length) {
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
        int error = xm_copy_pages(scratch, c->address + skip, (uint64_t)(stop - data), c->into,
                                  c->into_offset + skip);
        if (error != 0)
            return error;
        data = stop;
    }
    return 0;
}

static int protect_page(const void *userfault, uint64_t page, bool protect) {
    int error;
    do {
        error = xm_userfault_try_protect(*(const int *)userfault, page, xm_page_size(), protect);
    } while (error == -EAGAIN);
    return error;
}

static int move_chunk(const struct xm_conversion *c, const struct xm_scratch *scratch,
                      int userfault, uint64_t at, uint64_t length) {
    uint64_t address = c->address + at;
    const struct xm_waiters_range waiting = {.address = address,
                                             .length = length,
                                             .into = c->into,
                                             .into_offset = c->into_offset + at,
                                             .protect = protect_page,
                                             .context = &userfault};
    struct xm_exit exits[XM_CHUNK_BYTES / XM_LEAST_STACK_BYTES + 1];
    size_t exit_count =
        xm_exits_note(address, address + length, exits, sizeof exits / sizeof *exits);
    uint64_t before = xm_signals_block();
    int error = xm_userfault_protect(userfault, address, length, true);
    if (error == 0)
        error = xm_waiters_take_along(&waiting);
    if (error == 0 && c->from >= 0)
        error = copy_data(c, scratch, at, length);
    else if (error == 0)
        error = xm_copy_pages(scratch, address, length, c->into, c->into_offset + at);
    /* Once more, at the last moment: it fails if the program has mapped something else there. */
    if (error == 0)
        error = xm_userfault_protect(userfault, address, length, true);
    if (error == 0)
        error = xm_map_over(c, at, length);
    /* The memory under a failure is thawed; under a success it is no longer registered. */
    if (error != 0)
        (void)xm_userfault_protect(userfault, address, length, false);
    (void)xm_userfault_wake(userfault, address, length);
    if (error != 0)
        xm_waiters_give_back(&waiting);
    xm_signals_restore(before);
    xm_exits_tell(exits, exit_count);
    return error;
}

static int move_chunks(const struct xm_conversion *c, const struct xm_scratch *scratch,
                       int userfault, bool populate) {
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
    /* Of shared memory also for private: a fork parts it from its memfd and has to merge it again.
     */
    uint64_t needed = XM_FEATURE_WP_PRIVATE | XM_FEATURE_WP_SHMEM;
    if ((features & needed) != needed)
        return -ENOTSUP;
    struct xm_scratch scratch;
    int error = xm_scratch_open(&scratch);
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
    xm_scratch_close(&scratch);
    return userfault < 0 ? userfault : error;
}
