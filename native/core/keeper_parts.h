/* The keeper's insides, between its own files. */

#ifndef XM_KEEPER_PARTS_H
#define XM_KEEPER_PARTS_H

#include <pthread.h>

#include "exits.h"
#include "keeper.h"
#include "merge.h"

#define XM_KEEPER_STACK_BYTES (2 * 1024 * 1024)
/* As many as a process may have mappings, by default. */
#define XM_KEEPER_RANGES 65536
/* As many threads as may end during a fork, and be noted. */
#define XM_KEEPER_EXITS 65536

enum xm_keeper_phase {
    /* There is no fork. The joiner comes back to this when all is merged. */
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

/* A thread that the server looks at. */
struct xm_task {
    pid_t id;
    /* What /proc/self/task calls it, which may be of another PID namespace; empty if unknown. */
    char name[16];
};

/* What is known of a thread at some time. */
struct xm_task_facts {
    /* As in proc(5), 0 if it cannot be had. */
    char state;
    /* Whether it is told how much it ran, and a number that changes when it runs. */
    bool known;
    uint64_t history;
};

/* What is known of all threads but the server and the one that forks. */
struct xm_tasks {
    /* Whether each was found and looked at. */
    bool known;
    /* How many do not sleep. */
    uint32_t running;
    /* If it is the same and none ran before, none ran meanwhile. */
    uint64_t history;
};

/* A descriptor, and the file that it must be of. */
struct xm_keeper_descriptor {
    int number;
    dev_t device;
    ino_t inode;
};

/* Of these the threads need all; after them comes the pair for the next fork. */
#define XM_KEEPER_DESCRIPTORS 6
#define XM_KEEPER_PAIR XM_KEEPER_DESCRIPTORS

/* All that the threads touch, as struct xm_arena. */
struct xm_keeper {
    /* Left without access, so that a stack overflow is a fault. */
    char guard[65536];
    char server_stack[XM_KEEPER_STACK_BYTES] __attribute__((aligned(16)));
    char joiner_guard[65536];
    char joiner_stack[XM_KEEPER_STACK_BYTES] __attribute__((aligned(16)));
    pthread_t server;
    pthread_t joiner;
    /* An eventfd that is readable when the server must look at the phase. */
    int server_bell;
    int maps;
    int userfault;
    /* See struct xm_merge. */
    int snapshot;
    /* What they and the work space's were when they were opened, and a pair of sockets, or -1. */
    struct xm_keeper_descriptor opened[XM_KEEPER_DESCRIPTORS + 2];
    /* The server ended, since its descriptors were closed. */
    int32_t lost;
    /* Whether first stores can be watched: the userfaultfd is a full one. */
    bool watches;
    /* enum xm_keeper_phase; a futex that the joiner waits at. */
    int32_t phase;
    /* The server answers a fault. */
    int32_t answering;
    /* How many forks there were. */
    uint32_t forks;
    /* A futex: 1 when all is merged. */
    int32_t merged;
    /* Of the thread that forks, or in the end of the joiner. */
    struct xm_userfault_gate gate;
    struct xm_task forker_task;
    struct xm_task joiner_task;
    struct xm_task server_task;
    /* A copy is not in the snapshot. */
    bool unsure;
    size_t page;
    /* The server's. */
    char base[XM_LARGEST_PAGE] __attribute__((aligned(8)));
    struct xm_merge_space space;
    char maps_buffer[4096];
    size_t exit_count;
    struct xm_exit exits[XM_KEEPER_EXITS];
    size_t range_count;
    struct xm_keeper_range ranges[XM_KEEPER_RANGES];
};

/*
 * For what runs while a fork goes on: ThreadSanitizer holds locks of its own then, so that what it
 * adds to code could wait for the thread that forks.
 */
#define XM_UNWATCHED __attribute__((no_sanitize("thread")))

/* Answers faults and reads events. */
void *xm_keeper_server(void *keeper);
/* Merges. */
void *xm_keeper_joiner(void *keeper);
/* Notes the calling thread. */
void xm_task_find_own(struct xm_task *task);
struct xm_task_facts xm_task_look(const struct xm_task *task);
/* Whether it waits for a fault or event to be read; so it is taken where the kernel does not say.
 */
bool xm_task_waits_for_userfault(const struct xm_task *task);
/* Looks at those. It stops as soon as a fault is to be answered. */
struct xm_tasks xm_tasks_look(struct xm_keeper *keeper);
/* Whether the userfaultfd has something to tell. */
bool xm_keeper_is_asked(const struct xm_keeper *keeper);
/* Enters a phase and tells the threads. */
void xm_keeper_enter(struct xm_keeper *keeper, enum xm_keeper_phase phase);
/* Whether all descriptors are still the keeper's: a program may close what it did not open. */
bool xm_keeper_intact(const struct xm_keeper *keeper);

#endif
