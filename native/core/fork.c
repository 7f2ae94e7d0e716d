#include "fork.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "backing.h"
#include "inherit.h"
#include "keeper.h"
#include "lock.h"
#include "maps.h"
#include "table.h"

static bool copies;

/*
 * A fork under way. The thread that forks holds both locks from before it until after it, so that
 * it has all this to itself. Handlers of others may fork in turn; that is a fork within the fork.
 */
static struct {
    /* pthread_self() of the thread; 0: no fork is under way. */
    uintptr_t thread;
    unsigned depth;
    /* Children that have not said yet that they have their copies: also those of forks within. */
    unsigned children;
    /* The thread's cancellation state before: a fork does not end half-way. */
    int cancel_state;
    /* Some memory was moved. */
    bool moved;
    /* The keeper was told, and merges in the end. */
    bool kept;
    /* Some of it could not be mapped privately, so that the child does not get it. */
    bool withheld;
    /* The parent's end and the child's, which it closes when it has its copies; or -1. */
    int parent_end;
    int child_end;
    /* For /proc/self/maps: there is no malloc here, and little stack. */
    char maps[16384];
} current;

void xm_fork_copies(bool wanted) {
    xm_lock();
    copies = wanted;
    xm_unlock();
}

/* True only of what this thread wrote itself, so it needs no lock. */
static bool within_own_fork(void) {
    return __atomic_load_n(&current.thread, __ATOMIC_RELAXED) == (uintptr_t)pthread_self();
}

static int open_maps(struct xm_maps *maps) {
    int error = current.kept ? xm_keeper_maps(maps, current.maps, sizeof current.maps)
                             : xm_maps_open(maps, current.maps, sizeof current.maps);
    maps->fresh = true;
    return error;
}

static void close_maps(struct xm_maps *maps) {
    if (!current.kept)
        xm_maps_close(maps);
}

/* 0 or a negative errno. */
static int map_privately(const struct xm_vma *vma, const struct xm_file *file) {
    /* What the program has closed may be a file of its own by now. */
    if (!xm_file_is_open(file))
        return -EBADF;
    int error = current.kept ? xm_keeper_part(vma, file) : -ENOTSUP;
    /* Armed memory stays shared until the child maps it; what was replaced is none of ours. */
    if (error == 0 || error == -EBUSY || error == -ENOENT)
        return 0;
    long mapped =
        syscall(SYS_mmap, vma->start, vma->end - vma->start, vma->protection,
                MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, file->descriptor, (off_t)vma->file_offset);
    return mapped == -1 ? -errno : 0;
}

/* A child that cannot have moved memory for its own gets none: it would write to its parent's. */
static void part(const struct xm_vma *vma, const struct xm_file *file) {
    if (map_privately(vma, file) != 0 &&
        madvise((void *)(uintptr_t)vma->start, vma->end - vma->start, MADV_DONTFORK) == 0)
        current.withheld = true;
}

/* Calls a function for each shared mapping of moved memory. Attachments are none: no child has
 * them. */
static void each_moved(void (*function)(const struct xm_vma *vma, const struct xm_file *file)) {
    struct xm_maps maps;
    struct xm_vma vma;
    if (open_maps(&maps) != 0)
        return;
    while (xm_maps_next(&maps, &vma) > 0) {
        const struct xm_file *file = vma.shared ? xm_file_find(vma.device, vma.inode) : NULL;
        if (file != NULL && file->kind == XM_FILE_MOVED &&
            !xm_attachments_touch(vma.start, vma.end - vma.start))
            function(&vma, file);
    }
    close_maps(&maps);
}

/* Without them the parent cannot wait, and pages of the child may show what it stores next. */
static void open_ends(void) {
    int ends[2];
    bool had = current.kept && xm_keeper_take_pair(ends) == 0;
    if (!had && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return;
    current.parent_end = ends[0];
    current.child_end = ends[1];
}

static void before_fork(void) {
    int cancel_state;
    if (within_own_fork()) {
        current.depth++;
        current.children++;
        return;
    }
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    xm_lock_conversion();
    xm_lock();
    current.cancel_state = cancel_state;
    current.children = 1;
    __atomic_store_n(&current.thread, (uintptr_t)pthread_self(), __ATOMIC_RELAXED);
    current.depth = 1;
    current.withheld = false;
    current.moved = xm_files_pin();
    current.parent_end = current.child_end = -1;
    if (!current.moved)
        return;
    current.kept = xm_keeper_there();
    open_ends();
    if (current.kept)
        xm_keeper_begin();
    each_moved(part);
}

static void close_end(int *end) {
    if (*end >= 0)
        close(*end);
    *end = -1;
}

/* Until the children say that they have their copies, or are gone. */
static void await_child(void) {
    char said;
    close_end(&current.child_end);
    for (unsigned left = current.children; current.parent_end >= 0 && left != 0;) {
        ssize_t got = read(current.parent_end, &said, 1);
        if (got == 1)
            left--;
        else if (got == 0 || errno != EINTR)
            break;
    }
    close_end(&current.parent_end);
}

static void give_again(const struct xm_vma *vma, const struct xm_file *file) {
    (void)file;
    (void)madvise((void *)(uintptr_t)vma->start, vma->end - vma->start, MADV_DOFORK);
}

static void after_fork_in_parent(void) {
    if (--current.depth != 0)
        return;
    if (current.withheld)
        each_moved(give_again);
    bool kept = current.moved && current.kept;
    if (kept)
        xm_keeper_await_child();
    /* Other threads may go on with all but conversions. */
    xm_unlock();
    if (current.moved) {
        await_child();
        if (kept) {
            xm_keeper_merge();
            /* If there is no room now, the next fork tries again. */
            (void)xm_keeper_renew_pair();
        }
        xm_lock();
        xm_files_unpin();
        xm_unlock();
    }
    int cancel_state = current.cancel_state;
    __atomic_store_n(&current.thread, 0, __ATOMIC_RELAXED);
    xm_unlock_conversion();
    pthread_setcancelstate(cancel_state, NULL);
}

/* The child has none of the threads that may have held or awaited the locks. */
static void after_fork_in_child(void) {
    xm_locks_forget();
    xm_agents_forget();
    xm_keeper_forget();
    xm_table_forget();
    if (xm_files_there())
        xm_inherit(copies, current.maps, sizeof current.maps);
    xm_files_forget();
    close_end(&current.parent_end);
    if (current.child_end >= 0)
        (void)send(current.child_end, "", 1, MSG_NOSIGNAL);
    close_end(&current.child_end);
    current.moved = false;
    current.kept = false;
    if (--current.depth != 0)
        return;
    int cancel_state = current.cancel_state;
    __atomic_store_n(&current.thread, 0, __ATOMIC_RELAXED);
    xm_unlock();
    xm_unlock_conversion();
    pthread_setcancelstate(cancel_state, NULL);
}

__attribute__((constructor)) static void watch_forks(void) {
    /* It fails for want of memory only, while the library is loaded; nothing works without it. */
    if (pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0)
        abort();
}
