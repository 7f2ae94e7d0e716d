/* Forks of processes that make it hard: locked memory, no descriptors, closed ones. */

#include "../../native/core/fork.h"
#include "moving.h"

#define BYTES (2 * MIB)

static struct service service;
static struct counting_listener listener;
static char *memory;
/* What the thread that forks stores while it does; NULL: nothing. */
static char *volatile stored_meanwhile;
/* Whether it locks that before. */
static volatile bool locked_meanwhile;

/* Before the handlers of xpmem are there, so that this runs after all was parted. */
static void store_meanwhile(void) {
    if (stored_meanwhile == NULL)
        return;
    if (locked_meanwhile)
        CHECK_EQUAL(mlock(stored_meanwhile, PAGE), 0);
    stored_meanwhile[0] = 2;
}

__attribute__((constructor(101))) static void watch_early(void) {
    pthread_atfork(store_meanwhile, NULL, NULL);
}

static struct xm_agent *begin(void) {
    start_watchdog();
    struct xm_agent *agent = connect_agent(&service, &listener);
    xm_fork_copies(true);
    memory = map_private(BYTES);
    memset(memory, 1, BYTES);
    move(&service, agent, &listener, memory, BYTES);
    return agent;
}

static void end(struct xm_agent *agent) {
    munmap(memory, BYTES);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* In a child, whose settings are its own. */
static void in_child(void (*test)(void)) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        test();
        _exit(0);
    }
    await_exit(child);
}

static void store_over_forks(void) {
    struct xm_agent *agent = begin();
    stored_meanwhile = memory + 5 * PAGE;
    for (int i = 0; i < 5; i++) {
        memory[5 * PAGE] = 1;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_EQUAL(memory[5 * PAGE], 2);
            CHECK_EQUAL(memory[6 * PAGE], 1);
            _exit(0);
        }
        await_exit(child);
        CHECK_EQUAL(memory[5 * PAGE], 2);
        CHECK_EQUAL(shared_bytes(memory, BYTES), BYTES);
    }
    end(agent);
}

static void fork_locked(void) {
    CHECK_EQUAL(mlockall(MCL_FUTURE), 0);
    store_over_forks();
}

static void a_process_whose_memory_is_locked_may_fork(void) {
    in_child(fork_locked);
}

static void lock_over_forks(void) {
    locked_meanwhile = true;
    store_over_forks();
}

static void memory_may_be_locked_while_its_process_forks(void) {
    in_child(lock_over_forks);
}

int main(void) {
    start_watchdog();
    if (geteuid() == 0)
        RUN(a_process_whose_memory_is_locked_may_fork);
    RUN(memory_may_be_locked_while_its_process_forks);
    return 0;
}
