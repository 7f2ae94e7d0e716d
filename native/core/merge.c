#include "merge.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "copy.h"
#include "memory.h"
#include "thread.h"
#include "waiters.h"

/* From Documentation/admin-guide/mm/pagemap.rst. */
#define PRESENT (UINT64_C(1) << 63)
#define SWAPPED (UINT64_C(1) << 62)
#define OF_FILE (UINT64_C(1) << 61)
#define WRITE_PROTECTED (UINT64_C(1) << 57)

bool xm_page_copied(uint64_t entry) {
    if ((entry & OF_FILE) != 0)
        return false;
    /* The mark of protection on a page that is not there looks like a page that was swapped out. */
    return (entry & PRESENT) != 0 || (entry & (SWAPPED | WRITE_PROTECTED)) == SWAPPED;
}

int xm_merge_open(struct xm_merge_space *space) {
    size_t page = xm_page_size();
    space->scratch = xm_memfd_create(page);
    if (space->scratch < 0)
        return space->scratch;
    space->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    int error = space->pagemap < 0 ? -errno : 0;
    if (error == 0) {
        void *view = mmap(NULL, page, PROT_READ, MAP_SHARED, space->scratch, 0);
        error = view == MAP_FAILED ? -errno : 0;
        space->view = view;
        if (error != 0)
            close(space->pagemap);
    }
    if (error != 0)
        close(space->scratch);
    return error;
}

void xm_merge_close(struct xm_merge_space *space) {
    munmap((void *)(uintptr_t)space->view, xm_page_size());
    close(space->pagemap);
    close(space->scratch);
}

/* Bare system calls from here on, since wrappers that check would touch the range. */
static int read_all(int descriptor, void *bytes, uint64_t length, uint64_t offset) {
    char *next = bytes;
    while (length != 0) {
        long got = syscall(SYS_pread64, descriptor, next, length, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        next += got;
        length -= (uint64_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

/* A chunk of the range: its address, and where it goes. */
struct chunk {
    uint64_t address;
    uint64_t length;
    uint64_t into_offset;
    size_t page;
};

static int protect(const struct xm_merge *m, uint64_t address, uint64_t length, bool on) {
    int error;
    /* While the address space is changing. */
    while ((error = xm_userfault_try_protect(m->userfault, address, length, on)) == -EAGAIN)
        (void)syscall(SYS_sched_yield);
    return error;
}

static int protect_page(const void *merge, uint64_t page, bool on) {
    return protect(merge, page, xm_page_size(), on);
}

static bool is_recorded(const void *merge, uint64_t page) {
    int snapshot = ((const struct xm_merge *)merge)->snapshot;
    return lseek(snapshot, (off_t)page, SEEK_DATA) == (off_t)page;
}

/* Whoever waits at a copy is not found by a wake any more. Waits at other pages are held. */
static struct xm_waiters_range waiting_at(const struct xm_merge *m, const struct chunk *chunk) {
    return (struct xm_waiters_range){.address = chunk->address,
                                     .length = chunk->length,
                                     .into = m->into,
                                     .into_offset = chunk->into_offset,
                                     .protect = protect_page,
                                     .filter = m->snapshot < 0 ? NULL : is_recorded,
                                     .context = m};
}

/* Whether some page of a chunk may be a copy. */
static bool has_copies(const struct xm_merge *m, const struct chunk *chunk) {
    if (m->snapshot < 0)
        return true;
    off_t data = lseek(m->snapshot, (off_t)chunk->address, SEEK_DATA);
    return data >= 0 && (uint64_t)data < chunk->address + chunk->length;
}

static int read_pagemap(const struct xm_merge_space *space, const struct chunk *chunk,
                        uint64_t *entries) {
    size_t bytes = sizeof *entries;
    return read_all(space->pagemap, entries, chunk->length / chunk->page * bytes,
                    chunk->address / chunk->page * bytes);
}

static int write_range(const struct xm_merge *m, const struct chunk *chunk, uint64_t from,
                       uint64_t to) {
    return from == to ? 0
                      : xm_write_all(m->into, (const char *)(uintptr_t)(chunk->address + from),
                                     to - from, chunk->into_offset + from);
}

/* Writes all copies, whole. */
static int write_copies(const struct xm_merge *m, struct xm_merge_space *space,
                        const struct chunk *chunk) {
    uint64_t begin = 0;
    int error = read_pagemap(space, chunk, space->after);
    for (uint64_t at = 0; error == 0 && at < chunk->length; at += chunk->page) {
        size_t i = at / chunk->page;
        if (xm_page_copied(space->before[i]) || xm_page_copied(space->after[i]))
            continue;
        error = write_range(m, chunk, begin, at);
        begin = at + chunk->page;
    }
    return error != 0 ? error : write_range(m, chunk, begin, chunk->length);
}

/*
 * Wakes whoever waits at words of a page of the memfd that were changed: a wake by this process may
 * have looked for them at its private copy.
 */
static void wake_changed(const struct xm_merge *m, const struct xm_merge_space *space,
                         const struct chunk *chunk, uint64_t at) {
    long page = syscall(SYS_mmap, NULL, chunk->page, PROT_READ | PROT_WRITE, MAP_SHARED, m->into,
                        (off_t)(chunk->into_offset + at));
    if (page == -1)
        return;
    for (size_t i = 0; i < chunk->page; i += sizeof(uint32_t)) {
        if (memcmp(space->view + i, space->base + i, sizeof(uint32_t)) != 0)
            (void)syscall(SYS_futex, page + (long)i, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
    (void)syscall(SYS_munmap, page, chunk->page);
}

/* Writes the bytes of a copy that are not what they were. */
static int write_changes(const struct xm_merge *m, struct xm_merge_space *space,
                         const struct chunk *chunk, uint64_t at) {
    uint64_t address = chunk->address + at;
    int error = xm_write_all(space->scratch, (const char *)(uintptr_t)address, chunk->page, 0);
    if (error == 0)
        error = read_all(m->snapshot, space->base, chunk->page, address);
    for (size_t i = 0; error == 0 && i < chunk->page;) {
        size_t begin = i;
        while (i < chunk->page && space->view[i] != space->base[i])
            i++;
        if (i > begin)
            error = xm_write_all(m->into, space->view + begin, i - begin,
                                 chunk->into_offset + at + begin);
        else
            i++;
    }
    if (error == 0)
        wake_changed(m, space, chunk, at);
    return error;
}

/* Writes the copies that the snapshot tells of. */
static int write_recorded(const struct xm_merge *m, struct xm_merge_space *space,
                          const struct chunk *chunk) {
    for (uint64_t at = 0; at < chunk->length; at += chunk->page) {
        off_t data = lseek(m->snapshot, (off_t)(chunk->address + at), SEEK_DATA);
        if (data < 0)
            return errno == ENXIO ? 0 : -errno;
        at = (uint64_t)data - chunk->address;
        if (at >= chunk->length)
            return 0;
        int error = write_changes(m, space, chunk, at);
        if (error != 0)
            return error;
    }
    return 0;
}

static int map_shared(const struct xm_merge *m, const struct chunk *chunk) {
    /* Once more, at the last moment: it fails if the program has mapped something else there. */
    int error = xm_userfault_look(m->userfault, chunk->address, chunk->length, true, m->gate);
    if (error == 0 && syscall(SYS_mmap, chunk->address, chunk->length, m->protection,
                              MAP_SHARED | MAP_FIXED, m->into, (off_t)chunk->into_offset) == -1)
        error = -errno;
    xm_userfault_looked(m->gate);
    return error;
}

static int merge_chunk(const struct xm_merge *m, struct xm_merge_space *space,
                       const struct chunk *chunk) {
    bool recorded = m->snapshot >= 0;
    bool copies = has_copies(m, chunk);
    const struct xm_waiters_range waiting = waiting_at(m, chunk);
    int error = recorded ? 0 : read_pagemap(space, chunk, space->before);
    uint64_t before = xm_signals_block();
    if (error == 0)
        error = protect(m, chunk->address, chunk->length, true);
    if (error == 0 && copies)
        error = xm_waiters_take_along(&waiting);
    if (error == 0)
        error = recorded ? write_recorded(m, space, chunk) : write_copies(m, space, chunk);
    if (error == 0)
        error = map_shared(m, chunk);
    (void)xm_userfault_wake(m->userfault, chunk->address, chunk->length);
    if (error != 0 && copies)
        xm_waiters_give_back(&waiting);
    xm_signals_restore(before);
    return error;
}

int xm_merge(const struct xm_merge *m, struct xm_merge_space *space) {
    uint64_t done = 0;
    /* What is recorded is registered since it was parted; if it is not, it was replaced. */
    int error = m->snapshot >= 0 ? 0
                                 : xm_userfault_register(m->userfault, m->address, m->length,
                                                         XM_REGISTER_WP, NULL);
    /* To be read; stores end the thread as before. */
    if (error == 0 && (m->protection & PROT_READ) == 0 &&
        syscall(SYS_mprotect, m->address, m->length, PROT_READ) != 0)
        error = -errno;
    while (error == 0 && done < m->length) {
        uint64_t left = m->length - done;
        struct chunk chunk = {.address = m->address + done,
                              .length = left < XM_CHUNK_BYTES ? left : XM_CHUNK_BYTES,
                              .into_offset = m->into_offset + done,
                              .page = xm_page_size()};
        error = merge_chunk(m, space, &chunk);
        if (error == 0)
            done += chunk.length;
    }
    if (error == 0)
        return 0;
    if ((m->protection & PROT_READ) == 0)
        (void)syscall(SYS_mprotect, m->address + done, m->length - done, m->protection);
    /* Which lets all stores go on. */
    (void)xm_userfault_unregister(m->userfault, m->address + done, m->length - done);
    (void)xm_userfault_wake(m->userfault, m->address + done, m->length - done);
    return error;
}
