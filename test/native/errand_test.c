/* What a library has the agent's thread do for it. */

#include <sys/wait.h>

#include "fake_service.h"

static struct service service;

/* What a listener with errands has seen. */
static struct {
    _Atomic(struct xm_agent *) agent;
    atomic_uint errands;
    atomic_uint without_connection;
    atomic_uint missing;
    atomic_int error;
    atomic_bool waits;
} seen;

static void ignore_change(struct xm_listener *changed) {
    (void)changed;
}

static void run_errand(struct xm_listener *listener) {
    uint64_t connections;
    (void)listener;
    WAIT_UNTIL(atomic_load(&seen.agent) != NULL);
    if (!xm_agent_connected(atomic_load(&seen.agent), &connections))
        atomic_fetch_add(&seen.without_connection, 1);
    atomic_fetch_add(&seen.errands, 1);
    if (atomic_load(&seen.waits))
        (void)xm_agent_pause(atomic_load(&seen.agent), -1, 0, -1);
}

static void note_missing(struct xm_listener *listener, int error) {
    (void)listener;
    atomic_store(&seen.error, error);
    atomic_fetch_add(&seen.missing, 1);
}

static struct xm_agent *open_with_errands(void) {
    static struct xm_listener listener = {
        .changed = ignore_change, .errand = run_errand, .missing = note_missing};
    static struct xm_agent *agent;
    CHECK_EQUAL(xm_agent_open(service.path, XM_TRUST_ANYBODY, &listener, &agent), 0);
    atomic_store(&seen.agent, agent);
    return agent;
}

static void errands_are_run_after_the_welcome(void) {
    service_start(&service);
    struct xm_agent *agent = open_with_errands();
    xm_agent_nudge(agent);
    service_accept(&service);
    xm_agent_nudge(agent);
    service_welcome(&service);
    WAIT_UNTIL(atomic_load(&seen.errands) > 0);
    for (unsigned i = 0; i < 3; i++) {
        unsigned before = atomic_load(&seen.errands);
        xm_agent_nudge(agent);
        WAIT_UNTIL(atomic_load(&seen.errands) > before);
    }
    CHECK_EQUAL(atomic_load(&seen.without_connection), 0);
    service_stop(&service);
}

static void what_a_service_refuses_the_agent_with_is_told(void) {
    struct xm_msg_failure failure = {{XM_CODE_FAILURE, 0, 0}, EMFILE, 0};
    service_start(&service);
    (void)open_with_errands();
    service_accept(&service);
    service_send(&service, &failure, XM_BYTES_FAILURE);
    WAIT_UNTIL(atomic_load(&seen.missing) == 1);
    CHECK_EQUAL(atomic_load(&seen.error), -EMFILE);
    CHECK_EQUAL(atomic_load(&seen.errands), 0);
    service_stop(&service);
}

/* What the agent of a process of the test's user makes of a service of a user's: 0 if it says
 * hello. */
static int outcome_with_service_of(uid_t uid) {
    static struct xm_listener listener = {.changed = ignore_change, .missing = note_missing};
    static struct xm_agent *agent;
    int ready[2];
    char byte;
    service_start(&service);
    close(service.listener);
    CHECK_EQUAL(unlink(service.path), 0);
    CHECK_EQUAL(chmod(service.directory, 0777), 0);
    CHECK_EQUAL(pipe(ready), 0);
    pid_t server = fork();
    if (server == 0) {
        CHECK_EQUAL(setuid(uid), 0);
        service.listener = xm_seqpacket_listen(service.path, 4);
        CHECK(service.listener >= 0);
        close(ready[0]);
        CHECK_EQUAL(write(ready[1], "", 1), 1);
        await_readable(service.listener);
        service.socket = xm_seqpacket_accept(service.listener);
        await_readable(service.socket);
        bool hello = xm_seqpacket_receive(service.socket, service.message.bytes,
                                          sizeof service.message.bytes, &service.beside) > 0;
        _exit(hello ? 1 : 0);
    }
    CHECK_EQUAL(read(ready[0], &byte, 1), 1);
    CHECK_EQUAL(xm_agent_open(service.path, XM_TRUST_OWN_USER, &listener, &agent), 0);
    int status;
    CHECK_EQUAL(waitpid(server, &status, 0), server);
    CHECK(WIFEXITED(status));
    int error = 0;
    if (WEXITSTATUS(status) == 0) {
        WAIT_UNTIL(atomic_load(&seen.missing) > 0);
        error = atomic_load(&seen.error);
    }
    unlink(service.path);
    rmdir(service.directory);
    return error;
}

static void an_agent_of_the_default_directory_says_nothing_to_another_users_service(void) {
    if (geteuid() != 0) {
        printf("NOT RUN: there is no other user without root\n");
        return;
    }
    CHECK_EQUAL(outcome_with_service_of(65534), -EACCES);
}

static void an_agent_of_the_default_directory_greets_its_own_users_service(void) {
    CHECK_EQUAL(outcome_with_service_of(geteuid()), 0);
}

static void a_service_that_is_not_there_is_told_at_each_try(void) {
    service_start(&service);
    close(service.listener);
    struct xm_agent *agent = open_with_errands();
    for (unsigned i = 1; i <= 20; i++) {
        WAIT_UNTIL(atomic_load(&seen.missing) >= i);
        CHECK_EQUAL(atomic_load(&seen.error), -ECONNREFUSED);
        xm_agent_nudge(agent);
    }
    unlink(service.path);
    WAIT_UNTIL(atomic_load(&seen.error) == -ENOENT);
    rmdir(service.directory);
}

/* Its exit joins the agent's thread, which waits in an errand. */
static void a_process_ends_although_an_errand_waits(void) {
    service_start(&service);
    atomic_store(&seen.waits, true);
    (void)open_with_errands();
    service_accept(&service);
    service_welcome(&service);
    WAIT_UNTIL(atomic_load(&seen.errands) == 1);
    service_stop(&service);
}

/* Listeners with errands are never closed, so each test has a process of its own. */
static void run_alone(void (*test)(void), const char *name) {
    int status;
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        start_watchdog();
        test();
        exit(0);
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    printf("ok %s: %s\n", __FILE__, name);
}

int main(void) {
    run_alone(errands_are_run_after_the_welcome, "errands_are_run_after_the_welcome");
    run_alone(what_a_service_refuses_the_agent_with_is_told,
              "what_a_service_refuses_the_agent_with_is_told");
    run_alone(a_service_that_is_not_there_is_told_at_each_try,
              "a_service_that_is_not_there_is_told_at_each_try");
    run_alone(an_agent_of_the_default_directory_says_nothing_to_another_users_service,
              "an_agent_of_the_default_directory_says_nothing_to_another_users_service");
    run_alone(an_agent_of_the_default_directory_greets_its_own_users_service,
              "an_agent_of_the_default_directory_greets_its_own_users_service");
    run_alone(a_process_ends_although_an_errand_waits, "a_process_ends_although_an_errand_waits");
    return 0;
}
