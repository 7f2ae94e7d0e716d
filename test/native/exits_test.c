/* A thread that ends while the page of its descriptor is frozen can be joined. */

#include <sys/syscall.h>

#include "../../native/core/exits.h"
#include "../../native/core/raw_syscall.h"
#include "../../native/core/userfault.h"
#include "moving.h"

#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

static struct service service;
static struct counting_listener listener;
static atomic_int ready;
static atomic_int stop;
static pid_t runner;
static struct xm_vma stack;
static bool stop_in_fork;

/* The kernel would store to the descriptor at each return to the thread. */
static void end_restartable_sequences(void) {
#ifdef RSEQ_SIG
    char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
    (void)syscall(SYS_rseq, area, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
#endif
}

/* Ends without a store to its stack. */
static XM_RAW void run_until_stopped(void) {
    while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
    }
    xm_raw_syscall(SYS_exit, 0, 0, 0, 0, 0);
}

static void *run(void *argument) {
    stack = mapping_of(__builtin_frame_address(0));
    if (argument != NULL)
        move(&service, argument, &listener, (void *)(uintptr_t)stack.start,
             stack.end - stack.start);
    end_restartable_sequences();
    runner = (pid_t)syscall(SYS_gettid);
    atomic_store(&ready, 1);
    run_until_stopped();
    return NULL;
}

static pthread_t start_runner(struct xm_agent *mover) {
    atomic_store(&ready, 0);
    atomic_store(&stop, 0);
    pthread_t thread = start_thread(run, mover);
    WAIT_UNTIL(atomic_load(&ready) != 0);
    return thread;
}

static void stop_runner(void) {
    atomic_store(&stop, 1);
    WAIT_UNTIL(syscall(SYS_tgkill, getpid(), runner, 0) != 0);
}

static void a_thread_that_ended_at_a_frozen_page_is_told_of(void) {
    struct xm_exit exits[4];
    pthread_t thread = start_runner(NULL);
    uint64_t length = stack.end - stack.start;
    int userfault = xm_userfault_open(XM_FEATURE_WP_PRIVATE);
    CHECK(userfault >= 0);
    CHECK_EQUAL(xm_exits_note(stack.start, stack.end, exits, 4), 1);
    CHECK_EQUAL(exits[0].thread, runner);
    CHECK_EQUAL(xm_userfault_register(userfault, stack.start, length, XM_REGISTER_WP, NULL), 0);
    CHECK_EQUAL(xm_userfault_protect(userfault, stack.start, length, true), 0);
    stop_runner();
    CHECK_EQUAL(xm_userfault_protect(userfault, stack.start, length, false), 0);
    close(userfault);
    CHECK_EQUAL(*(const volatile pid_t *)(uintptr_t)exits[0].word, runner);
    xm_exits_tell(exits, 1);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

/* Before the handlers of xpmem are there, so that this runs when all was parted. */
static void stop_meanwhile(void) {
    if (stop_in_fork)
        stop_runner();
}

__attribute__((constructor(101))) static void watch_early(void) {
    pthread_atfork(stop_meanwhile, NULL, NULL);
}

static void a_thread_that_ends_while_its_process_forks_can_be_joined(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    pthread_t thread = start_runner(agent);
    stop_in_fork = true;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(0);
    await_exit(child);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

int main(void) {
    start_watchdog();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    fprintf(stderr, "SKIPPED %s: a sanitizer must know of each thread's end\n", __FILE__);
    return 0;
#endif
    RUN(a_thread_that_ended_at_a_frozen_page_is_told_of);
    RUN(a_thread_that_ends_while_its_process_forks_can_be_joined);
    return 0;
}
