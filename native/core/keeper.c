#include "keeper_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "futex.h"
#include "memory.h"
#include "thread.h"

/* Covers every address: a snapshot has a page at the offset that is its address. */
#define SNAPSHOT_BYTES INT64_MAX

static struct xm_keeper *keeper;

/* Notes which file a descriptor is of. 0 or a negative errno. */
static int note(struct xm_keeper_descriptor *opened, int number) {
    struct xm_descriptor_facts facts;
    int error = xm_inspect(number, &facts);
    if (error == 0)
        *opened = (struct xm_keeper_descriptor){number, facts.device, facts.inode};
    return error;
}

static int note_opened(struct xm_keeper *k) {
    const int numbers[XM_KEEPER_DESCRIPTORS] = {k->server_bell, k->maps,          k->userfault,
                                                k->snapshot,    k->space.pagemap, k->space.scratch};
    int error = 0;
    for (size_t i = 0; error == 0 && i < XM_KEEPER_DESCRIPTORS; i++)
        error = note(&k->opened[i], numbers[i]);
    return error;
}

XM_UNWATCHED static bool is_own(const struct xm_keeper_descriptor *opened) {
    return xm_descriptor_is(opened->number, opened->device, opened->inode);
}

XM_UNWATCHED bool xm_keeper_intact(const struct xm_keeper *k) {
    bool intact = __atomic_load_n(&k->lost, __ATOMIC_ACQUIRE) == 0;
    for (size_t i = 0; intact && i < XM_KEEPER_DESCRIPTORS; i++)
        intact = is_own(&k->opened[i]);
    return intact;
}

static void close_pair(const struct xm_keeper *k) {
    for (size_t i = XM_KEEPER_PAIR; i < XM_KEEPER_PAIR + 2; i++) {
        if (is_own(&k->opened[i]))
            close(k->opened[i].number);
    }
}

static int open_pair(struct xm_keeper *k) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    int error = note(&k->opened[XM_KEEPER_PAIR], ends[0]);
    return error == 0 ? note(&k->opened[XM_KEEPER_PAIR + 1], ends[1]) : error;
}

static void close_own(const struct xm_keeper *k) {
    close_pair(k);
    for (size_t i = 0; i < XM_KEEPER_DESCRIPTORS; i++) {
        if (is_own(&k->opened[i]))
            close(k->opened[i].number);
    }
}

static void close_opened(const struct xm_keeper *k) {
    const int numbers[] = {k->server_bell, k->maps, k->userfault, k->snapshot};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i] >= 0)
            close(numbers[i]);
    }
}

/* Kept from now on: when a process forks it may have no descriptor left to open. */
static int open_all(struct xm_keeper *k) {
    struct xm_userfault_ability ability;
    xm_userfault_query(&ability);
    uint64_t wanted = XM_FEATURE_WP_SHMEM | XM_FEATURE_EVENT_REMAP | XM_FEATURE_EVENT_UNMAP |
                      XM_FEATURE_THREAD_ID;
    k->server_bell = eventfd(0, EFD_CLOEXEC);
    if (k->server_bell < 0)
        return -errno;
    k->maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (k->maps < 0)
        return -errno;
    k->snapshot = memfd_create("xpmem-snapshot", MFD_CLOEXEC);
    if (k->snapshot < 0 || ftruncate(k->snapshot, SNAPSHOT_BYTES) != 0)
        return -errno;
    k->watches = ability.mode == XM_USERFAULT_FULL && (ability.features & wanted) == wanted;
    k->userfault =
        xm_userfault_open(ability.features & (k->watches ? wanted : XM_FEATURE_WP_SHMEM));
    return k->userfault < 0 ? k->userfault : 0;
}

static int guard(char *bytes, size_t length) {
    return mprotect(bytes, length, PROT_NONE) == 0 ? 0 : -errno;
}

void xm_keeper_enter(struct xm_keeper *k, enum xm_keeper_phase phase) {
    uint64_t one = 1;
    __atomic_store_n(&k->phase, phase, __ATOMIC_SEQ_CST);
    (void)xm_futex_wake(&k->phase, 1);
    /* An eventfd always takes 1: its thread reads it long before it is full. */
    if (xm_keeper_intact(k))
        (void)!syscall(SYS_write, k->server_bell, &one, sizeof one);
}

static int start_threads(struct xm_keeper *k) {
    int error =
        xm_thread_start(&k->server, k->server_stack, sizeof k->server_stack, xm_keeper_server, k);
    if (error != 0)
        return error;
    error =
        xm_thread_start(&k->joiner, k->joiner_stack, sizeof k->joiner_stack, xm_keeper_joiner, k);
    if (error != 0) {
        xm_keeper_enter(k, XM_KEEPER_ENDING);
        pthread_join(k->server, NULL);
    }
    return error;
}

static int make(struct xm_keeper *k) {
    k->server_bell = k->maps = k->userfault = k->snapshot = -1;
    k->opened[XM_KEEPER_PAIR].number = k->opened[XM_KEEPER_PAIR + 1].number = -1;
    k->page = xm_page_size();
    int error = guard(k->guard, sizeof k->guard);
    if (error == 0)
        error = guard(k->joiner_guard, sizeof k->joiner_guard);
    if (error == 0)
        error = open_all(k);
    if (error == 0)
        error = xm_merge_open(&k->space);
    if (error != 0) {
        close_opened(k);
        return error;
    }
    error = note_opened(k);
    if (error == 0)
        error = open_pair(k);
    if (error == 0)
        error = start_threads(k);
    if (error != 0) {
        xm_merge_close(&k->space);
        close_pair(k);
        close_opened(k);
    }
    return error;
}

/* Leaves its memory, where a thread may still be. */
static void abandon(void) {
    munmap((void *)(uintptr_t)keeper->space.view, keeper->page);
    close_own(keeper);
    keeper = NULL;
}

int xm_keeper_start(void) {
    if (xm_keeper_there())
        return 0;
    xm_keeper_end();
    void *memory = mmap(NULL, sizeof *keeper, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    int error = make(memory);
    if (error == 0)
        keeper = memory;
    else
        munmap(memory, sizeof *keeper);
    return error;
}

void xm_keeper_end(void) {
    if (keeper == NULL)
        return;
    bool intact = xm_keeper_intact(keeper);
    xm_keeper_enter(keeper, XM_KEEPER_ENDING);
    pthread_join(keeper->joiner, NULL);
    if (!intact) {
        /* The server may wait at what the program has closed, and cannot be told. */
        pthread_detach(keeper->server);
        abandon();
        return;
    }
    pthread_join(keeper->server, NULL);
    xm_merge_close(&keeper->space);
    close_pair(keeper);
    close_opened(keeper);
    munmap(keeper, sizeof *keeper);
    keeper = NULL;
}

void xm_keeper_forget(void) {
    if (keeper == NULL)
        return;
    /* Its memory stays, as an agent's does: it has the descriptors of threads, which others may
     * have noted by their addresses. */
    abandon();
}

bool xm_keeper_there(void) {
    return keeper != NULL && xm_keeper_intact(keeper);
}

struct xm_span xm_keeper_memory(void) {
    return (struct xm_span){(uintptr_t)keeper, keeper == NULL ? 0 : sizeof *keeper};
}

int xm_keeper_take_pair(int ends[2]) {
    struct xm_keeper_descriptor *pair = &keeper->opened[XM_KEEPER_PAIR];
    if (!is_own(&pair[0]) || !is_own(&pair[1]))
        return -EBADF;
    for (int i = 0; i < 2; i++) {
        ends[i] = pair[i].number;
        pair[i].number = -1;
    }
    return 0;
}

int xm_keeper_renew_pair(void) {
    close_pair(keeper);
    return open_pair(keeper);
}

void xm_keeper_begin(void) {
    keeper->range_count = 0;
    keeper->unsure = false;
    keeper->merged = 0;
    keeper->forks++;
    xm_task_find_own(&keeper->forker_task);
    keeper->exit_count = xm_exits_note(0, UINT64_MAX, keeper->exits, XM_KEEPER_EXITS);
    xm_keeper_enter(keeper, XM_KEEPER_FORKING);
}

int xm_keeper_maps(struct xm_maps *maps, char *buffer, size_t capacity) {
    if (lseek(keeper->maps, 0, SEEK_SET) != 0)
        return -errno;
    *maps = (struct xm_maps){
        .descriptor = keeper->maps, .buffer = buffer, .capacity = capacity, .fresh = true};
    return 0;
}

/*
 * A mapping elsewhere that is watched from the start, to be moved over the shared one. Where new
 * memory is locked (mlockall) its pages would be there, and be copies, before they are watched: so
 * it has no access at first, and is not locked.
 */
static int map_watched(const struct xm_vma *vma, int descriptor, uint64_t *address) {
    uint64_t length = vma->end - vma->start;
    long mapped = syscall(SYS_mmap, NULL, length, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE,
                          descriptor, (off_t)vma->file_offset);
    if (mapped == -1)
        return -errno;
    *address = (uint64_t)mapped;
    int error = syscall(SYS_munlock, *address, length) == 0 ? 0 : -errno;
    if (error == 0)
        error = xm_userfault_register(keeper->userfault, *address, length, XM_REGISTER_WP, NULL);
    if (error == 0)
        error = xm_userfault_protect(keeper->userfault, *address, length, true);
    if (error == 0 && syscall(SYS_mprotect, *address, length, vma->protection) != 0)
        error = -errno;
    if (error != 0)
        (void)syscall(SYS_munmap, *address, length);
    return error;
}

/*
 * Registers the mapping that is to be replaced, which shows two things: that nobody else answers
 * its faults, and, as long as it is registered, that the program has not replaced it.
 */
static int claim(const struct xm_vma *vma) {
    return xm_userfault_register(keeper->userfault, vma->start, vma->end - vma->start,
                                 XM_REGISTER_WP, NULL);
}

static int replace(const struct xm_vma *vma, uint64_t spare) {
    uint64_t length = vma->end - vma->start;
    int error = xm_userfault_look(keeper->userfault, vma->start, length, false, &keeper->gate);
    if (error == 0 &&
        syscall(SYS_mremap, spare, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, vma->start) == -1)
        error = -errno;
    xm_userfault_looked(&keeper->gate);
    return error;
}

/* Notes a mapping, so that it is merged. Whether there was room. */
static struct xm_keeper_range *note_range(const struct xm_vma *vma, const struct xm_file *file,
                                          bool watched) {
    if (keeper->range_count == XM_KEEPER_RANGES)
        return NULL;
    struct xm_keeper_range *range = &keeper->ranges[keeper->range_count];
    *range = (struct xm_keeper_range){.start = vma->start,
                                      .end = vma->end,
                                      .file_offset = vma->file_offset,
                                      .device = file->device,
                                      .inode = file->inode,
                                      .descriptor = file->descriptor,
                                      .watched = watched};
    /* It is there before its faults come. */
    __atomic_store_n(&keeper->range_count, keeper->range_count + 1, __ATOMIC_RELEASE);
    return range;
}

int xm_keeper_part(const struct xm_vma *vma, const struct xm_file *file) {
    uint64_t length = vma->end - vma->start;
    uint64_t spare = 0;
    int error = claim(vma);
    if (error == -EBUSY)
        return error;
    if (error == 0)
        error = keeper->watches ? map_watched(vma, file->descriptor, &spare) : -ENOTSUP;
    struct xm_keeper_range *range = note_range(vma, file, error == 0);
    if (error == 0 && range != NULL)
        error = replace(vma, spare);
    else
        error = error == 0 ? -ENOSPC : error;
    if (error == 0)
        return 0;
    if (range != NULL)
        range->watched = false;
    (void)xm_userfault_unregister(keeper->userfault, vma->start, length);
    if (spare != 0)
        (void)syscall(SYS_munmap, spare, length);
    return error;
}

void xm_keeper_await_child(void) {
    __atomic_store_n(&keeper->phase, XM_KEEPER_AWAITING, __ATOMIC_RELEASE);
}

void xm_keeper_merge(void) {
    xm_keeper_enter(keeper, XM_KEEPER_MERGING);
    while (__atomic_load_n(&keeper->merged, __ATOMIC_ACQUIRE) == 0)
        (void)xm_futex_wait(&keeper->merged, 0, -1);
    xm_exits_tell(keeper->exits, keeper->exit_count);
}
