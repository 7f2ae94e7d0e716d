/* Threads that wait at futexes in memory that is moved, however many they are, can be woken after.
 */

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "../../native/core/convert.h"
#include "../../native/core/memory.h"
#include "moving.h"

#define THREADS 100

static struct service service;
static struct counting_listener listener;
static pthread_t threads[THREADS];
/* A word for each thread, a page apart. */
static char *memory;
static atomic_bool released;
static atomic_bool release_in_fork;

static void *word_of(size_t thread) {
    return memory + thread * PAGE;
}

static void *wait_for_word(void *argument) {
    while (!atomic_load(&released))
        (void)syscall(SYS_futex, argument, FUTEX_WAIT, 0, NULL, NULL, 0);
    return NULL;
}

static void release_all(void) {
    atomic_store(&released, true);
    for (size_t i = 0; i < THREADS; i++)
        (void)syscall(SYS_futex, word_of(i), FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Whoever is just about to wait again does not. */
static void change_words(void) {
    for (size_t i = 0; i < THREADS; i++)
        atomic_store((_Atomic int32_t *)word_of(i), 1);
}

static bool waits(size_t thread) {
    return syscall(SYS_futex, word_of(thread), FUTEX_CMP_REQUEUE, 0, INT_MAX, word_of(thread), 0) ==
           1;
}

static void start_waiters(void) {
    memset(memory, 0, THREADS * PAGE);
    atomic_store(&released, false);
    for (size_t i = 0; i < THREADS; i++)
        threads[i] = start_thread(wait_for_word, word_of(i));
    for (size_t i = 0; i < THREADS; i++)
        WAIT_UNTIL(waits(i));
}

static void join_waiters(void) {
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
}

static void all_that_wait_while_memory_is_moved_are_found_later(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    memory = map_private(THREADS * PAGE);
    start_waiters();
    move(&service, agent, &listener, memory, THREADS * PAGE);
    change_words();
    release_all();
    join_waiters();
    munmap(memory, THREADS * PAGE);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* The file has room for half of the memory only. */
static void all_that_wait_are_found_after_a_move_that_failed(void) {
    struct xm_userfault_ability ability;
    xm_userfault_query(&ability);
    memory = map_private(2 * THREADS * PAGE);
    memset(memory, 1, 2 * THREADS * PAGE);
    start_waiters();
    struct xm_conversion conversion = {.address = (uintptr_t)memory,
                                       .length = 2 * THREADS * PAGE,
                                       .protection = PROT_READ | PROT_WRITE,
                                       .from = -1,
                                       .into = xm_memfd_create(THREADS * PAGE)};
    CHECK(xm_convert(&conversion, ability.features) < 0);
    CHECK_EQUAL(shared_bytes(memory, 2 * THREADS * PAGE), 0);
    change_words();
    release_all();
    join_waiters();
    munmap(memory, 2 * THREADS * PAGE);
    close(conversion.into);
}

/* Before the handlers of xpmem are there, so that this runs when all was parted. No word changes,
 * or who waits at it would be found by that. */
static void release_meanwhile(void) {
    if (atomic_load(&release_in_fork))
        release_all();
}

__attribute__((constructor(101))) static void watch_early(void) {
    pthread_atfork(release_meanwhile, NULL, NULL);
}

static void all_that_are_woken_while_a_process_forks_go_on(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    memory = map_private(THREADS * PAGE);
    memset(memory, 0, THREADS * PAGE);
    move(&service, agent, &listener, memory, THREADS * PAGE);
    start_waiters();
    atomic_store(&release_in_fork, true);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(0);
    await_exit(child);
    join_waiters();
    munmap(memory, THREADS * PAGE);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

int main(void) {
    start_watchdog();
    RUN(all_that_wait_while_memory_is_moved_are_found_later);
    RUN(all_that_wait_are_found_after_a_move_that_failed);
    RUN(all_that_are_woken_while_a_process_forks_go_on);
    return 0;
}
