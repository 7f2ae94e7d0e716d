#include "keeper_parts.h"

#include <sched.h>
#include <unistd.h>

#include "futex.h"
#include "maps.h"
#include "memory.h"
#include "waiters.h"

/* Passes over all mappings, which may change meanwhile. */
#define MOST_PASSES 16

/* Some range that maps the file of a private mapping; NULL if it is none of ours. */
static const struct xm_keeper_range *find_file(const struct xm_keeper *k, const struct xm_vma *vma,
                                               size_t *hint) {
    for (size_t i = 0; i < k->range_count; i++) {
        size_t at = (*hint + i) % k->range_count;
        if (k->ranges[at].inode != vma->inode || k->ranges[at].device != vma->device)
            continue;
        *hint = at;
        return &k->ranges[at];
    }
    return NULL;
}

/* How far what holds at an address goes, and whether it is watched there. */
static uint64_t extent(const struct xm_keeper *k, uint64_t address, uint64_t end, size_t hint,
                       bool *watched) {
    uint64_t stop = end;
    for (size_t i = 0; i < k->range_count; i++) {
        const struct xm_keeper_range *range = &k->ranges[(hint + i) % k->range_count];
        if (!range->watched)
            continue;
        if (address >= range->start && address < range->end) {
            *watched = true;
            return range->end < end ? range->end : end;
        }
        if (range->start > address && range->start < stop)
            stop = range->start;
    }
    *watched = false;
    return stop;
}

/* Whether all of it was merged. */
static bool merge_mapping(struct xm_keeper *k, const struct xm_vma *vma, int into, size_t hint) {
    bool whole = true;
    for (uint64_t at = vma->start; at < vma->end;) {
        bool watched;
        uint64_t stop = extent(k, at, vma->end, hint, &watched);
        struct xm_merge merge = {.address = at,
                                 .length = stop - at,
                                 .protection = vma->protection,
                                 .into = into,
                                 .into_offset = vma->file_offset + (at - vma->start),
                                 .userfault = k->userfault,
                                 .snapshot = watched && !k->unsure ? k->snapshot : -1,
                                 .gate = &k->gate};
        whole = xm_merge(&merge, &k->space) == 0 && whole;
        at = stop;
    }
    return whole;
}

/* Merges what is found. Whether something was that may have to be looked for again. */
static bool merge_pass(struct xm_keeper *k) {
    struct xm_maps maps;
    struct xm_vma vma;
    size_t hint = 0;
    bool found = false;
    if (xm_keeper_maps(&maps, k->maps_buffer, sizeof k->maps_buffer) != 0)
        return false;
    while (xm_maps_next(&maps, &vma) > 0) {
        const struct xm_keeper_range *range = vma.shared ? NULL : find_file(k, &vma, &hint);
        if (range != NULL && xm_descriptor_is(range->descriptor, range->device, range->inode))
            found = merge_mapping(k, &vma, range->descriptor, hint) || found;
    }
    return found;
}

static bool was_parted(const void *context, uint64_t page) {
    const struct xm_keeper *k = context;
    bool found = false;
    for (size_t i = 0; !found && i < k->range_count; i++)
        found = page >= k->ranges[i].start && page < k->ranges[i].end;
    return found;
}

static void merge_all(struct xm_keeper *k) {
    for (int pass = 0; pass < MOST_PASSES && xm_keeper_intact(k) && merge_pass(k);)
        pass++;
    /* Whoever waits for a page that is not there any more. */
    for (size_t i = 0; i < k->range_count; i++)
        (void)xm_userfault_wake(k->userfault, k->ranges[i].start,
                                k->ranges[i].end - k->ranges[i].start);
    /* Whoever waits at a futex since before, and was looked for at a copy. */
    xm_waiters_wake(was_parted, k);
    k->range_count = 0;
    /* The snapshot is empty again. */
    if (xm_keeper_intact(k) &&
        (ftruncate(k->snapshot, 0) != 0 || ftruncate(k->snapshot, INT64_MAX) != 0))
        k->watches = false;
}

void *xm_keeper_joiner(void *argument) {
    struct xm_keeper *k = argument;
    pthread_setname_np(pthread_self(), "xpmem-joiner");
    xm_task_find_own(&k->joiner_task);
    for (;;) {
        int32_t phase = __atomic_load_n(&k->phase, __ATOMIC_SEQ_CST);
        if (phase == XM_KEEPER_ENDING)
            return NULL;
        if (phase != XM_KEEPER_MERGING) {
            (void)xm_futex_wait(&k->phase, phase, -1);
            continue;
        }
        while (__atomic_load_n(&k->answering, __ATOMIC_SEQ_CST) != 0)
            sched_yield();
        merge_all(k);
        /* Before the next fork can begin. */
        xm_keeper_enter(k, XM_KEEPER_IDLE);
        __atomic_store_n(&k->merged, 1, __ATOMIC_RELEASE);
        (void)xm_futex_wake(&k->merged, 1);
    }
}
