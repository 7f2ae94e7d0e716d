/* The keeper's insides, between its own files. */

#ifndef XM_KEEPER_PARTS_H
#define XM_KEEPER_PARTS_H

#include <pthread.h>

#include "keeper.h"
#include "merge.h"

#define XM_KEEPER_STACK_BYTES (2 * 1024 * 1024)
/* As many as a process may have mappings, by default. */
#define XM_KEEPER_RANGES 65536

enum xm_keeper_phase {
    /* There is no fork. The thread itself comes back to this when all is merged. */
    XM_KEEPER_IDLE,
    /* The thread that forks may wait for others. */
    XM_KEEPER_FORKING,
    /* It waits for the child only. */
    XM_KEEPER_AWAITING,
    XM_KEEPER_MERGING,
    XM_KEEPER_ENDING,
};

/* What a part of the process's memory maps. */
struct xm_keeper_range {
    uint64_t start;
    uint64_t end;
    uint64_t file_offset;
    dev_t device;
    ino_t inode;
    int descriptor;
    /* Its first stores are faults. */
    bool watched;
};

/* All that the thread touches, as struct xm_arena. */
struct xm_keeper {
    /* Left without access, so that a stack overflow is a fault. */
    char guard[65536];
    char stack[XM_KEEPER_STACK_BYTES] __attribute__((aligned(16)));
    pthread_t thread;
    /* An eventfd that is readable when the phase is another. */
    int bell;
    int maps;
    int userfault;
    /* See struct xm_merge. */
    int snapshot;
    /* Whether first stores can be watched: the userfaultfd is a full one. */
    bool watches;
    /* enum xm_keeper_phase. */
    int32_t phase;
    /* A futex: 1 when all is merged. */
    int32_t merged;
    pid_t forker;
    /* /proc/self/task/TID/stat of the thread that forks. */
    char forker_stat[64];
    /* A copy is not in the snapshot. */
    bool unsure;
    size_t page;
    struct xm_merge_space space;
    char maps_buffer[16384];
    size_t range_count;
    struct xm_keeper_range ranges[XM_KEEPER_RANGES];
};

/*
 * For what runs while a fork goes on: ThreadSanitizer holds locks of its own then, so that what it
 * adds to code could wait for the thread that forks.
 */
#define XM_UNWATCHED __attribute__((no_sanitize("thread")))

/* The thread. */
void *xm_keeper_main(void *keeper);
/* Answers faults until the phase is another. */
void xm_keeper_serve(struct xm_keeper *keeper);
/*
 * Reads what the userfaultfd has to tell. With `answer`, faults of the thread that forks are
 * answered, and with `all` those of the others, too. Whether some thread was left waiting.
 */
bool xm_keeper_read(struct xm_keeper *keeper, bool answer, bool all);

#endif
