/* Memory that is shared stays so over forks: no store of its owner or of an attacher is lost. */

#include <grp.h>
#include <limits.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <time.h>

#include "../../native/core/fork.h"
#include "attacher.h"
#include "moving.h"

#define FORKS 200
#define BYTES (16 * PAGE)
#define WORDS (BYTES / sizeof(uint64_t))
#define OWNERS 2
/* Places of the attacher, of each owner thread and of the thread that forks; the last is of all. */
#define STEP (OWNERS + 3)

static struct service service;
static struct counting_listener listener;
static struct attacher attacher;
static struct attacher rival;
static _Atomic uint64_t *words;
static atomic_bool stop;

struct owner {
    uint32_t first;
    uint64_t added;
    uint64_t added_to_all;
    pthread_t thread;
};

/* Adds to a thread's own counters, and to those of all, once each. */
static void add(struct owner *owner) {
    for (size_t i = owner->first; i < WORDS; i += STEP, owner->added++)
        atomic_fetch_add(&words[i], 1);
    for (size_t i = STEP - 1; i < WORDS; i += STEP, owner->added_to_all++)
        atomic_fetch_add(&words[i], 1);
}

static void *keep_adding(void *argument) {
    while (!atomic_load(&stop))
        add(argument);
    return NULL;
}

static uint64_t sum(uint32_t first) {
    uint64_t total = 0;
    for (size_t i = first; i < WORDS; i += STEP)
        total += atomic_load(&words[i]);
    return total;
}

/* Whether no descriptor is left to open while the process forks. */
static bool lacks_descriptors;

static struct rlimit limit_descriptors(void) {
    struct rlimit before;
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    CHECK(next > 0);
    close(next);
    struct rlimit limit = {(rlim_t)next, before.rlim_max};
    if (lacks_descriptors)
        CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

static void fork_and_wait(void) {
    struct rlimit limit = limit_descriptors();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(0);
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    await_exit(child);
}

static void count_over_forks(bool copies, int forks) {
    struct owner owners[OWNERS + 1] = {{0}};
    uint64_t added_to_all = 0;
    xm_fork_copies(copies);
    struct xm_agent *agent = connect_agent(&service, &listener);
    words = map_private(BYTES);
    offer(agent, &listener, (void *)words, BYTES);
    CHECK_EQUAL(share_some(&service, (uintptr_t)words, BYTES), BYTES);
    uint64_t offset = service_extents(&service)->file_offset;
    struct counters counters = {offset, BYTES, OWNERS + 1, STEP};
    attacher_begin(&attacher, service.beside.descriptors[0], &counters);
    counters.first = STEP - 1;
    attacher_begin(&rival, service.beside.descriptors[0], &counters);
    service_close_descriptors(&service);
    atomic_store(&stop, false);
    for (uint32_t i = 0; i <= OWNERS; i++)
        owners[i].first = i;
    for (uint32_t i = 0; i < OWNERS; i++)
        owners[i].thread = start_thread(keep_adding, &owners[i]);
    for (int i = 0; i < forks; i++) {
        add(&owners[OWNERS]);
        fork_and_wait();
        CHECK_EQUAL(shared_bytes((void *)words, BYTES), BYTES);
    }
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < OWNERS; i++)
        pthread_join(owners[i].thread, NULL);
    uint64_t attached = attacher_end(&attacher);
    CHECK_EQUAL(sum(OWNERS + 1), attached);
    added_to_all = attacher_end(&rival);
    for (uint32_t i = 0; i <= OWNERS; i++) {
        CHECK_EQUAL(sum(owners[i].first), owners[i].added);
        added_to_all += owners[i].added_to_all;
    }
    CHECK_EQUAL(sum(STEP - 1), added_to_all);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
    munmap((void *)words, BYTES);
}

static void no_increment_is_lost_when_children_copy(void) {
    count_over_forks(true, FORKS);
}

static void no_increment_is_lost_when_children_do_not_copy(void) {
    count_over_forks(false, FORKS);
}

/* A fork waits in a handler, once memory is parted, for a thread that works for some time. */
static struct {
    /* How often; 0: not at all. */
    atomic_int times;
    /* It mostly sleeps. */
    atomic_bool naps;
    atomic_bool ends;
    sem_t asked;
    sem_t done;
} work;

#define WORK_NS 5000000
#define NAPS 20
#define NAP_NS 200000

static int64_t own_cpu_ns(void) {
    struct timespec now;
    CHECK_EQUAL(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void work_once(void) {
    const struct timespec nap = {0, NAP_NS};
    int64_t end = own_cpu_ns() + WORK_NS;
    if (!atomic_load(&work.naps)) {
        while (own_cpu_ns() < end)
            continue;
        return;
    }
    for (int i = 0; i < NAPS; i++)
        CHECK_EQUAL(nanosleep(&nap, NULL), 0);
}

static void *keep_working(void *argument) {
    while (sem_wait(&work.asked) == 0 && !atomic_load(&work.ends)) {
        work_once();
        sem_post(&work.done);
    }
    return argument;
}

static void await_work(void) {
    int times = atomic_load(&work.times);
    for (int i = 0; i < times; i++) {
        sem_post(&work.asked);
        while (sem_wait(&work.done) != 0)
            continue;
    }
}

/* Before the handlers of xpmem are there, so that it runs after them. */
__attribute__((constructor(101))) static void watch_early(void) {
    pthread_atfork(await_work, NULL, NULL);
}

static void count_over_forks_that_wait(int forks, int times) {
    CHECK(sem_init(&work.asked, 0, 0) == 0 && sem_init(&work.done, 0, 0) == 0);
    atomic_store(&work.ends, false);
    pthread_t worker = start_thread(keep_working, NULL);
    atomic_store(&work.times, times);
    count_over_forks(false, forks);
    atomic_store(&work.times, 0);
    atomic_store(&work.ends, true);
    sem_post(&work.asked);
    pthread_join(worker, NULL);
}

static void no_increment_is_lost_while_a_fork_waits_for_a_thread_that_works(void) {
    count_over_forks_that_wait(FORKS, 1);
}

static void no_increment_is_lost_while_a_fork_waits_many_times(void) {
    count_over_forks_that_wait(FORKS / 10, 40);
}

#define PARKED 1000

static sem_t parked;

static void *park(void *argument) {
    while (sem_wait(&parked) != 0)
        continue;
    return argument;
}

static void no_increment_is_lost_among_many_threads(void) {
    static pthread_t threads[PARKED];
    CHECK_EQUAL(sem_init(&parked, 0, 0), 0);
    for (size_t i = 0; i < PARKED; i++)
        threads[i] = start_thread(park, NULL);
    count_over_forks_that_wait(FORKS / 10, 10);
    for (size_t i = 0; i < PARKED; i++)
        sem_post(&parked);
    for (size_t i = 0; i < PARKED; i++)
        pthread_join(threads[i], NULL);
}

/* Then nothing can be read that tells of the process's threads. */
static void no_increment_is_lost_where_no_descriptor_is_left(void) {
    lacks_descriptors = true;
    count_over_forks_that_wait(FORKS / 10, 10);
    lacks_descriptors = false;
}

#define GROUPS 400

/* Then what the kernel tells of a thread is long. */
static void no_increment_is_lost_in_a_member_of_many_groups(void) {
    gid_t groups[GROUPS];
    gid_t before[NGROUPS_MAX];
    int count = getgroups(NGROUPS_MAX, before);
    CHECK(count >= 0);
    for (gid_t i = 0; i < GROUPS; i++)
        groups[i] = 4000000000U + i;
    CHECK_EQUAL(setgroups(GROUPS, groups), 0);
    atomic_store(&work.naps, true);
    count_over_forks_that_wait(FORKS / 10, 10);
    atomic_store(&work.naps, false);
    CHECK_EQUAL(setgroups((size_t)count, before), 0);
}

int main(void) {
    start_watchdog();
    attacher_start(&attacher);
    attacher_start(&rival);
    RUN(no_increment_is_lost_when_children_copy);
    RUN(no_increment_is_lost_when_children_do_not_copy);
    RUN(no_increment_is_lost_while_a_fork_waits_for_a_thread_that_works);
    RUN(no_increment_is_lost_while_a_fork_waits_many_times);
    RUN(no_increment_is_lost_among_many_threads);
    RUN(no_increment_is_lost_where_no_descriptor_is_left);
    if (geteuid() == 0)
        RUN(no_increment_is_lost_in_a_member_of_many_groups);
    attacher_stop(&rival);
    attacher_stop(&attacher);
    return 0;
}
