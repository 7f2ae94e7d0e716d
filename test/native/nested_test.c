/* Forks where nobody expects them: in handlers of others, in children, in callbacks, all at once.
 */

#include "../../native/core/fork.h"
#include "moving.h"

/* Children start threads, which ThreadSanitizer allows only when told. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0";
}

static struct service service;
static struct counting_listener listener;
static char *memory;
/* How many forks handlers are still to make: early ones, and such that came after xpmem. */
static atomic_int early_forks;
static atomic_int late_forks;

#define BYTES (2 * MIB)

static void check_memory(char expected) {
    for (size_t i = 0; i < BYTES; i += PAGE)
        CHECK_EQUAL(memory[i], expected);
}

static void fork_once(atomic_int *left) {
    if (atomic_load(left) == 0)
        return;
    atomic_fetch_sub(left, 1);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        check_memory(1);
        memset(memory, 9, BYTES);
        _exit(0);
    }
    await_exit(child);
}

static void fork_early(void) {
    fork_once(&early_forks);
}

static void fork_late(void) {
    fork_once(&late_forks);
}

static struct xm_agent *begin(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    xm_fork_copies(true);
    memory = map_private(BYTES);
    memset(memory, 1, BYTES);
    move(&service, agent, &listener, memory, BYTES);
    return agent;
}

static void end(struct xm_agent *agent) {
    CHECK_EQUAL(shared_bytes(memory, BYTES), BYTES);
    munmap(memory, BYTES);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static void fork_and_check(void) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        start_watchdog();
        check_memory(1);
        memset(memory, 2, BYTES);
        _exit(0);
    }
    await_exit(child);
    check_memory(1);
}

/* One fork in a handler before the fork and one in the next, which may be in the fork within. */
static void handlers_of_others_may_fork(void) {
    struct xm_agent *agent = begin();
    for (int i = 0; i < 40; i++) {
        atomic_store(i % 2 == 0 ? &early_forks : &late_forks, i % 3 + 1);
        fork_and_check();
        atomic_store(&early_forks, 0);
        atomic_store(&late_forks, 0);
        CHECK_EQUAL(shared_bytes(memory, BYTES), BYTES);
    }
    end(agent);
}

static void *fork_many(void *argument) {
    for (int i = 0; i < 25; i++)
        fork_and_check();
    return argument;
}

static void many_threads_fork_at_once(void) {
    pthread_t threads[4];
    struct xm_agent *agent = begin();
    for (int i = 0; i < 4; i++)
        threads[i] = start_thread(fork_many, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    end(agent);
}

static pid_t hand_down(int generations);

/* Has a session of its own, moves what it got and something new, and forks in turn. */
static void live_as_child(int generations) {
    struct service own;
    struct counting_listener listening;
    start_watchdog();
    check_memory(1);
    struct xm_agent *agent = connect_agent(&own, &listening);
    move(&own, agent, &listening, memory, BYTES);
    char *more = map_private(MIB);
    memset(more, 3, MIB);
    move(&own, agent, &listening, more, MIB);
    check_memory(1);
    if (generations > 0)
        await_exit(hand_down(generations - 1));
    check_memory(1);
    CHECK_EQUAL(more[MIB - 1], 3);
    CHECK_EQUAL(shared_bytes(memory, BYTES) + shared_bytes(more, MIB), BYTES + MIB);
    memset(memory, generations + 10, BYTES);
    xm_agent_close(agent, &listening.listener);
    service_stop(&own);
    _exit(0);
}

static pid_t hand_down(int generations) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        live_as_child(generations);
    return child;
}

static void a_child_moves_its_copy_and_forks(void) {
    struct xm_agent *agent = begin();
    for (int i = 0; i < 10; i++) {
        await_exit(hand_down(3));
        check_memory(1);
    }
    end(agent);
}

/* An agent's thread that forks in its callbacks, and one that is stuck in them. */
static atomic_int errands;
static atomic_bool hold_errand;

static void fork_on_errand(struct xm_listener *that) {
    (void)that;
    if (memory != NULL && !atomic_load(&hold_errand))
        fork_and_check();
    atomic_fetch_add(&errands, 1);
    WAIT_UNTIL(!atomic_load(&hold_errand));
}

static void ignore_change(struct xm_listener *that) {
    (void)that;
}

static void the_agent_may_fork_or_be_stuck_in_a_callback(void) {
    static struct xm_listener forking = {.changed = ignore_change, .errand = fork_on_errand};
    struct xm_agent *agent = begin();
    struct xm_agent *same;
    CHECK_EQUAL(xm_agent_open(service.path, XM_TRUST_ANYBODY, &forking, &same), 0);
    for (int i = 0; i < 10; i++) {
        int before = atomic_load(&errands);
        xm_agent_nudge(agent);
        fork_and_check();
        WAIT_UNTIL(atomic_load(&errands) > before);
    }
    atomic_store(&hold_errand, true);
    int before = atomic_load(&errands);
    xm_agent_nudge(agent);
    WAIT_UNTIL(atomic_load(&errands) > before);
    for (int i = 0; i < 10; i++)
        fork_and_check();
    CHECK_EQUAL(shared_bytes(memory, BYTES), BYTES);
    atomic_store(&hold_errand, false);
    munmap(memory, BYTES);
    memory = NULL;
    /* A listener with errands stays, and its agent with it. */
    service_hang_up(&service);
    service_stop(&service);
}

/* Before the handlers of xpmem are there. */
__attribute__((constructor(101))) static void watch_early(void) {
    pthread_atfork(fork_early, fork_early, NULL);
}

int main(void) {
    start_watchdog();
    pthread_atfork(fork_late, fork_late, NULL);
    RUN(handlers_of_others_may_fork);
    RUN(many_threads_fork_at_once);
    RUN(a_child_moves_its_copy_and_forks);
    RUN(the_agent_may_fork_or_be_stuck_in_a_callback);
    return 0;
}
