/* Many threads at once, and threads whose own memory is shared. */
#include "actor.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <xpmem.h>

#define MAX_THREADS 32
#define FAILED ((void *)-1)

struct crowd {
    /* 0: each round makes a segment of its own. */
    xpmem_segid_t segid;
    unsigned rounds;
    unsigned index;
    /* What failed first; empty: nothing. */
    char failure[128];
};

static bool failed(struct crowd *crowd, const char *what) {
    snprintf(crowd->failure, sizeof crowd->failure, "%s: %s", what, strerror(errno));
    return false;
}

/* Attaches a page, adds 1 to the thread's counter in it, and gives everything back. */
static bool visit(struct crowd *crowd, xpmem_segid_t segid) {
    xpmem_apid_t apid = xpmem_get(segid, XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL);
    if (apid < 0)
        return failed(crowd, "xpmem_get");
    struct xpmem_addr where = {apid, 0};
    uint32_t *counters = xpmem_attach(where, PAGE, NULL);
    if (counters == FAILED)
        return failed(crowd, "xpmem_attach");
    __atomic_add_fetch(&counters[crowd->index], 1, __ATOMIC_SEQ_CST);
    if (xpmem_detach(counters) != 0)
        return failed(crowd, "xpmem_detach");
    if (xpmem_release(apid) != 0)
        return failed(crowd, "xpmem_release");
    return true;
}

static bool offer_and_visit(struct crowd *crowd) {
    uint32_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return failed(crowd, "mmap");
    xpmem_segid_t segid = xpmem_make(page, PAGE, XPMEM_PERMIT_MODE, (void *)0600);
    if (segid < 0)
        return failed(crowd, "xpmem_make");
    if (!visit(crowd, segid))
        return false;
    if (page[crowd->index] != 1)
        return failed(crowd, "the alias is another memory");
    if (xpmem_remove(segid) != 0)
        return failed(crowd, "xpmem_remove");
    return munmap(page, PAGE) == 0 || failed(crowd, "munmap");
}

static void *run_crowd(void *argument) {
    struct crowd *crowd = argument;
    for (unsigned round = 0; round < crowd->rounds; round += 1)
        if (!(crowd->segid == 0 ? offer_and_visit(crowd) : visit(crowd, crowd->segid)))
            break;
    return NULL;
}

/* crowd THREADS ROUNDS [segid=]: each thread makes, gets, attaches, detaches, releases, removes */
static void call_crowd(struct request *request) {
    static struct crowd crowds[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    size_t count = number(request, 0);
    if (count > MAX_THREADS)
        die("too many threads");
    for (size_t index = 0; index < count; index += 1) {
        crowds[index] = (struct crowd){.segid = (xpmem_segid_t)option(request, "segid", 0),
                                       .rounds = (unsigned)number(request, 1),
                                       .index = (unsigned)index};
        if (pthread_create(&threads[index], NULL, run_crowd, &crowds[index]) != 0)
            die("pthread_create");
    }
    for (size_t index = 0; index < count; index += 1)
        pthread_join(threads[index], NULL);
    for (size_t index = 0; index < count; index += 1)
        if (crowds[index].failure[0] != '\0')
            return fail(request, "ECROWD", "thread %zu, %s", index, crowds[index].failure);
    answer(request, "%s", "");
}

static atomic_bool churning;
static atomic_uint churners;
static atomic_ulong wrong_bytes;

/* Allocates and frees, and counts what is not zero in what calloc gives. */
static void *churn(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    char *held[64] = {NULL};
    while (atomic_load(&churning)) {
        size_t slot = (size_t)rand_r(&seed) % 64;
        size_t length = (size_t)1 << (4 + rand_r(&seed) % 15);
        free(held[slot]);
        held[slot] = calloc(1, length);
        for (size_t at = 0; held[slot] != NULL && at < length; at += 1)
            if (held[slot][at] != 0)
                atomic_fetch_add(&wrong_bytes, 1);
        if (held[slot] != NULL)
            memset(held[slot], 0x5a, length);
    }
    for (size_t slot = 0; slot < 64; slot += 1)
        free(held[slot]);
    atomic_fetch_sub(&churners, 1);
    return NULL;
}

/* churn THREADS: until stopChurn */
static void call_churn(struct request *request) {
    size_t count = number(request, 0);
    atomic_store(&churning, true);
    for (size_t index = 0; index < count; index += 1) {
        pthread_t thread;
        atomic_fetch_add(&churners, 1);
        if (pthread_create(&thread, NULL, churn, (void *)(uintptr_t)(index + 1)) != 0 ||
            pthread_detach(thread) != 0)
            die("pthread_create");
    }
    answer(request, "%s", "");
}

/* stopChurn: how many bytes of calloc were not zero */
static void call_stop_churn(struct request *request) {
    atomic_store(&churning, false);
    while (atomic_load(&churners) != 0)
        sched_yield();
    answer(request, "n:%lu", atomic_load(&wrong_bytes));
}

/* aliasOwnStack SEGID: a page of this thread's stack, attached by this thread; whether both are one
 */
static void call_alias_own_stack(struct request *request) {
    _Alignas(PAGE) volatile char own[PAGE];
    xpmem_segid_t segid = (xpmem_segid_t)number(request, 0);
    own[7] = 'a';
    xpmem_apid_t apid = xpmem_get(segid, XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL);
    if (apid < 0)
        return fail_errno(request, errno);
    struct xpmem_addr where = {apid, (off_t)(uintptr_t)own};
    volatile char *alias = xpmem_attach(where, PAGE, NULL);
    if (alias == FAILED)
        return fail_errno(request, errno);
    bool seen = alias[7] == 'a';
    alias[8] = 'b';
    bool written = own[8] == 'b';
    if (xpmem_release(apid) != 0)
        return fail_errno(request, errno);
    answer(request, "f:%s", seen && written ? "true" : "false");
}

const struct call thread_calls[] = {
    {"crowd", call_crowd, true},
    {"churn", call_churn, false},
    {"stopChurn", call_stop_churn, true},
    /* On the main thread, and on a thread of its own. */
    {"aliasMainStack", call_alias_own_stack, false},
    {"aliasThreadStack", call_alias_own_stack, true},
    {NULL, NULL, false},
};
