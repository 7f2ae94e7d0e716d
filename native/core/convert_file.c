#include "convert_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "copy.h"
#include "frozen.h"
#include "futex.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Bits that linux/userfaultfd.h of an older kernel may lack. */
#define FEATURE_EVENT_REMAP (UINT64_C(1) << 2)
#define FEATURE_MINOR_SHMEM (UINT64_C(1) << 10)
#define REGISTER_MINOR (UINT64_C(1) << 2)

/*
 * WP_SHMEM is not used. It came with Linux 5.19, as did the promise that a page of the process's
 * own stays the same page while somebody has a reference to it (PageAnonExclusive).
 */
#define NEEDED_FEATURES (FEATURE_EVENT_REMAP | FEATURE_MINOR_SHMEM | XM_FEATURE_WP_SHMEM)

struct mover {
    const struct xm_conversion *conversion;
    /* -1: not open. */
    int userfault;
    int pipe[2];
    /* Bytes that fit into the pipe: what is frozen at a time. */
    uint64_t chunk;
    struct xm_reader reader;
    pthread_t thread;
    /* The memfd's part twice: to be moved over the range, and to write to. NULL: not mapped. */
    char *trap;
    char *view;
    /* Bytes from the start on that are not the trap's any more. */
    uint64_t moved;
};

/* The bare system call, as in copy.c. A pipe that copies at once would miss later stores. */
static int refer(const struct mover *m, const volatile void *from, uint64_t length) {
    struct iovec part = {(void *)from, length};
    long spliced = syscall(SYS_vmsplice, m->pipe[1], &part, 1, 0);
    if (spliced < 0)
        return errno == ENOSYS || errno == EPERM ? -ENOTSUP : -errno;
    return (uint64_t)spliced == length ? 0 : -EFAULT;
}

/* Whether what is stored after a splice is seen; there is no promise of it in the manual. */
static int try_pipe(const struct mover *m) {
    volatile char byte = 1;
    char seen = 0;
    int error = refer(m, &byte, sizeof byte);
    if (error != 0)
        return error;
    byte = 2;
    if (read(m->pipe[0], &seen, sizeof seen) != sizeof seen)
        return -EIO;
    return seen == byte ? 0 : -ENOTSUP;
}

/* The pipe stays as small as it is given: a chunk is the shorter frozen. */
static int open_pipe(struct mover *m) {
    if (pipe2(m->pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return -errno;
    int room = fcntl(m->pipe[0], F_GETPIPE_SZ);
    if (room < 0)
        return -errno;
    m->chunk = (uint64_t)room;
    return try_pipe(m);
}

static char *map_part(const struct xm_conversion *c, int protection) {
    void *memory = mmap(NULL, c->length, protection, MAP_SHARED, c->into, (off_t)c->into_offset);
    return memory == MAP_FAILED ? NULL : memory;
}

static int open_mappings(struct mover *m) {
    const struct xm_conversion *c = m->conversion;
    m->view = map_part(c, PROT_READ | PROT_WRITE);
    if (m->view == NULL)
        return -errno;
    /* Without access at first: where new memory is locked (mlockall), all of it would be present
     * from the start, and nobody would fault. */
    m->trap = map_part(c, PROT_NONE);
    if (m->trap == NULL)
        return -errno;
    int error =
        xm_userfault_register(m->userfault, (uintptr_t)m->trap, c->length, REGISTER_MINOR, NULL);
    if (error == 0 && mprotect(m->trap, c->length, c->protection) != 0)
        error = -errno;
    return error;
}

static void *read_events(void *reader) {
    xm_reader_run(reader);
    return NULL;
}

/* Returns when the thread no longer needs anything but its stack. */
static int start_reader(struct mover *m) {
    struct xm_reader *reader = &m->reader;
    reader->userfault = m->userfault;
    reader->stop = eventfd(0, EFD_CLOEXEC);
    if (reader->stop < 0)
        return -errno;
    int error = pthread_create(&m->thread, NULL, read_events, reader);
    if (error != 0) {
        close(reader->stop);
        return -error;
    }
    while (__atomic_load_n(&reader->state, __ATOMIC_ACQUIRE) == XM_READER_STARTS)
        (void)xm_futex_wait(&reader->state, XM_READER_STARTS, -1);
    return 0;
}

static void end_reader(struct mover *m) {
    /* It is the counter's first or second increment: there is room for it. */
    (void)eventfd_write(m->reader.stop, 1);
    pthread_join(m->thread, NULL);
    close(m->reader.stop);
}

static int move_chunk(struct mover *m, uint64_t length) {
    uint64_t address = m->conversion->address + m->moved;
    char *memory = (char *)(uintptr_t)address;
    char *view = m->view + m->moved;
    if (madvise(memory, length, MADV_POPULATE_WRITE) != 0 ||
        madvise(view, length, MADV_POPULATE_WRITE) != 0)
        return -errno;
    int error = refer(m, memory, length);
    if (error != 0)
        return error;
    struct xm_frozen_move move = {.trap = (uintptr_t)m->trap + m->moved,
                                  .address = address,
                                  .length = length,
                                  .pipe = m->pipe[0],
                                  .view = (uintptr_t)view,
                                  .reader = &m->reader};
    error = xm_frozen_move(&move);
    if (error < 0)
        return error;
    m->moved += length;
    if (error > 0)
        m->userfault = -1;
    return error > 0 ? -EFAULT : 0;
}

static int move_chunks(struct mover *m) {
    uint64_t length = m->conversion->length;
    int error = start_reader(m);
    if (error != 0)
        return error;
    while (error == 0 && m->moved < length) {
        uint64_t left = length - m->moved;
        error = move_chunk(m, left < m->chunk ? left : m->chunk);
    }
    end_reader(m);
    return error;
}

/* What was moved from the trap is not its any more, and may be somebody else's by now. */
static void close_mover(struct mover *m) {
    uint64_t length = m->conversion->length;
    if (m->trap != NULL && m->moved < length)
        munmap(m->trap + m->moved, length - m->moved);
    if (m->view != NULL)
        munmap(m->view, length);
    for (int i = 0; i < 2; i++) {
        if (m->pipe[i] >= 0)
            close(m->pipe[i]);
    }
    if (m->userfault >= 0)
        close(m->userfault);
}

static int move_writable(const struct xm_conversion *c) {
    struct mover mover = {.conversion = c, .pipe = {-1, -1}};
    mover.userfault = xm_userfault_open(NEEDED_FEATURES);
    if (mover.userfault < 0)
        return mover.userfault;
    int error = open_pipe(&mover);
    if (error == 0)
        error = open_mappings(&mover);
    if (error == 0)
        error = move_chunks(&mover);
    close_mover(&mover);
    return error;
}

/* Nobody stores to it, so there is nothing to hold up. */
static int move_read_only(const struct xm_conversion *c) {
    struct xm_scratch scratch;
    int error = xm_scratch_open(&scratch);
    if (error != 0)
        return error;
    error = xm_copy_pages(&scratch, c->address, c->length, c->into, c->into_offset);
    if (error == 0)
        error = xm_map_over(c, 0, c->length);
    xm_scratch_close(&scratch);
    return error;
}

int xm_convert_file(const struct xm_conversion *c, uint64_t features) {
    if ((c->protection & PROT_WRITE) == 0)
        return move_read_only(c);
    if ((features & NEEDED_FEATURES) != NEEDED_FEATURES)
        return -ENOTSUP;
    return move_writable(c);
}
