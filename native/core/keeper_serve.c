#include "keeper_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * How long stores of other threads wait at the most, in waits of 1 ms. A fork that is held up for
 * longer, by a child under a debugger for example, does not hold up the rest of its process.
 */
#define LONGEST_HOLD_MS 1000

/* The range of an address; NULL if it is not known. Later ones overrule what was moved there. */
XM_UNWATCHED static const struct xm_keeper_range *find(const struct xm_keeper *k,
                                                       uint64_t address) {
    for (size_t i = k->range_count; i-- > 0;) {
        const struct xm_keeper_range *range = &k->ranges[i];
        if (range->watched && address >= range->start && address < range->end)
            return range;
    }
    return NULL;
}

XM_UNWATCHED static bool recorded(const struct xm_keeper *k, uint64_t address) {
    return syscall(SYS_lseek, k->snapshot, (off_t)address, SEEK_DATA) == (long)address;
}

/* Lets the kernel make the copy: what the page was is not known then. */
XM_UNWATCHED static void give_up(struct xm_keeper *k, uint64_t address) {
    struct uffdio_writeprotect request = {.range = {address, k->page}, .mode = 0};
    k->unsure = true;
    (void)syscall(SYS_ioctl, k->userfault, UFFDIO_WRITEPROTECT, &request);
}

XM_UNWATCHED static void erase(const struct xm_keeper *k, uint64_t address) {
    (void)syscall(SYS_fallocate, k->snapshot, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)address, (off_t)k->page);
}

/* Notes what a page is and makes a copy of just that. Afterwards its threads try again. */
XM_UNWATCHED static void copy_page(struct xm_keeper *k, const struct xm_keeper_range *range,
                                   uint64_t address) {
    char *base = k->space.base;
    uint64_t offset = range->file_offset + (address - range->start);
    long page = (long)k->page;
    if (syscall(SYS_pread64, range->descriptor, base, page, (off_t)offset) != page ||
        syscall(SYS_pwrite64, k->snapshot, base, page, (off_t)address) != page) {
        erase(k, address);
        give_up(k, address);
        return;
    }
    /* The kernel may have made a copy already, before it looked for protection; nobody stored to
     * it. A load can make the page of the memfd present again meanwhile. */
    struct uffdio_copy copy;
    int result;
    do {
        (void)syscall(SYS_madvise, address, page, MADV_DONTNEED);
        copy = (struct uffdio_copy){.dst = address, .src = (uintptr_t)base, .len = k->page};
        result = (int)syscall(SYS_ioctl, k->userfault, UFFDIO_COPY, &copy);
    } while (result != 0 && errno == EEXIST);
    /* It is another mapping by now, or the address space is changing: nothing was copied. */
    if (result != 0)
        erase(k, address);
}

XM_UNWATCHED static void wake(const struct xm_keeper *k, uint64_t start, uint64_t length) {
    struct uffdio_range range = {start, length};
    (void)syscall(SYS_ioctl, k->userfault, UFFDIO_WAKE, &range);
}

XM_UNWATCHED static void answer_fault(struct xm_keeper *k, uint64_t address) {
    address &= ~((uint64_t)k->page - 1);
    const struct xm_keeper_range *range = find(k, address);
    if (range != NULL && !recorded(k, address))
        copy_page(k, range, address);
    wake(k, address, k->page);
}

/* Takes what the snapshot has of a part of the memory to where that part lies now. */
XM_UNWATCHED static void move_record(struct xm_keeper *k, uint64_t from, uint64_t to,
                                     uint64_t length) {
    long page = (long)k->page;
    char *base = k->space.base;
    for (uint64_t at = from; at < from + length; at += k->page) {
        long data = syscall(SYS_lseek, k->snapshot, (off_t)at, SEEK_DATA);
        if (data < 0 || (uint64_t)data >= from + length)
            return;
        at = (uint64_t)data;
        if (syscall(SYS_pread64, k->snapshot, base, page, data) != page ||
            syscall(SYS_pwrite64, k->snapshot, base, page, (off_t)(to + (at - from))) != page)
            k->unsure = true;
        erase(k, at);
    }
}

/* The program moved a part of its memory elsewhere. */
XM_UNWATCHED static void follow(struct xm_keeper *k, uint64_t from, uint64_t to, uint64_t length) {
    const struct xm_keeper_range *range = find(k, from);
    if (range == NULL)
        return;
    if (k->range_count == XM_KEEPER_RANGES) {
        struct uffdio_range whole = {to, length};
        k->unsure = true;
        (void)syscall(SYS_ioctl, k->userfault, UFFDIO_UNREGISTER, &whole);
        return;
    }
    struct xm_keeper_range moved = *range;
    moved.file_offset += from - range->start;
    moved.start = to;
    moved.end = to + length;
    k->ranges[k->range_count++] = moved;
    move_record(k, from, to, length);
}

XM_UNWATCHED bool xm_keeper_read(struct xm_keeper *k, bool answer, bool all) {
    struct uffd_msg message;
    bool left = false;
    while (syscall(SYS_read, k->userfault, &message, sizeof message) == sizeof message) {
        if (message.event == UFFD_EVENT_REMAP) {
            follow(k, message.arg.remap.from, message.arg.remap.to, message.arg.remap.len);
            continue;
        }
        bool own = (pid_t)message.arg.pagefault.feat.ptid == k->forker;
        if (message.event != UFFD_EVENT_PAGEFAULT)
            continue;
        if (answer && (own || all))
            answer_fault(k, message.arg.pagefault.address);
        else
            left = true;
    }
    return left;
}

/* Whether the thread that forks sleeps: it may wait for a thread that waits for us. */
XM_UNWATCHED static bool forker_sleeps(const struct xm_keeper *k) {
    char text[256];
    long descriptor = syscall(SYS_openat, AT_FDCWD, k->forker_stat, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return true;
    long got = syscall(SYS_read, descriptor, text, sizeof text);
    (void)syscall(SYS_close, descriptor);
    /* The state follows the name, which is in parentheses and may have some. */
    while (got > 0 && text[got - 1] != ')')
        got--;
    return got < 1 || got + 1 >= (long)sizeof text || text[got + 1] == 'S';
}

/* Whether the thread that forks waits for something else than us, maybe for one that we hold. */
XM_UNWATCHED static bool forker_is_stuck(const struct xm_keeper *k) {
    struct pollfd faults = {k->userfault, POLLIN, 0};
    struct timespec now = {0, 0};
    /* In this order: it tells of the phase, and its faults are there, before it sleeps. */
    return forker_sleeps(k) && __atomic_load_n(&k->phase, __ATOMIC_ACQUIRE) == XM_KEEPER_FORKING &&
           syscall(SYS_ppoll, &faults, 1, &now, NULL, 0) == 0;
}

XM_UNWATCHED static void wake_all(const struct xm_keeper *k) {
    for (size_t i = 0; i < k->range_count; i++)
        wake(k, k->ranges[i].start, k->ranges[i].end - k->ranges[i].start);
}

XM_UNWATCHED void xm_keeper_serve(struct xm_keeper *k) {
    bool holds = false;
    bool all = false;
    for (unsigned held_ms = 0;;) {
        struct pollfd watched[2] = {{k->bell, POLLIN, 0}, {k->userfault, POLLIN, 0}};
        struct timespec tick = {0, 1000000};
        long ready = syscall(SYS_ppoll, watched, 2, holds && !all ? &tick : NULL, NULL, 0);
        if (ready > 0 && watched[0].revents != 0)
            return;
        if (ready == 0 && (++held_ms >= LONGEST_HOLD_MS || forker_is_stuck(k))) {
            all = true;
            wake_all(k);
        }
        holds = xm_keeper_read(k, true, all) || holds;
    }
}
