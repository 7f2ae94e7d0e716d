/* What becomes of calls, and of what was made and got, when the service is lost. */

#include "../../native/core/agent.h"
#include "fake.h"

static struct fake fake;

/* Checks what a service that came back is told of segment 5 and permit 6. */
static void receive_restored(uintptr_t address) {
    fake_receive(&fake, XM_CODE_MAKE);
    CHECK_EQUAL(fake.message.make.segid, 5);
    CHECK_EQUAL(fake.message.make.token_high, 1005);
    CHECK_EQUAL(fake.message.make.token_low, 2005);
    CHECK_EQUAL(fake.message.make.address, address);
    CHECK_EQUAL(fake.message.make.length, PAGE);
    CHECK_EQUAL(fake.message.make.mode, 0640);
    fake_made(&fake, fake.message.header.request, 5);
    fake_receive(&fake, XM_CODE_RESTORE);
    CHECK_EQUAL(fake.message.restore.apid, 6);
    CHECK_EQUAL(fake.message.restore.segid, 506);
    CHECK_EQUAL(fake.message.restore.token_high, 1006);
    CHECK_EQUAL(fake.message.restore.token_low, 2006);
    CHECK_EQUAL(fake.message.restore.owner_pid, 88);
    CHECK_EQUAL(fake.message.restore.owner_start, 77);
    CHECK_EQUAL(fake.message.restore.access, XM_ACCESS_READWRITE);
    fake_done(&fake, fake.message.header.request);
}

static void a_new_service_is_told_what_the_old_one_knew_and_asked_what_it_left_open(void) {
    void *memory = map_private(PAGE);
    struct job get = {.call = JOB_GET, .id = 42};
    fake_start(&fake);
    make_segment(&fake, memory, PAGE, 5);
    get_permit(&fake, 6, 0);
    job_start(&get);
    fake_receive(&fake, XM_CODE_GET);
    fake_die(&fake);
    fake_connect(&fake);
    receive_restored((uintptr_t)memory);
    fake_receive(&fake, XM_CODE_GET);
    CHECK_EQUAL(fake.message.get.segid, 42);
    fake_got(&fake, fake.message.header.request, 7, 0);
    CHECK_EQUAL(job_end(&get), 7);
    fake_stop(&fake);
}

static void an_owner_that_makes_no_call_comes_back_by_itself(void) {
    void *memory = map_private(PAGE);
    fake_start(&fake);
    make_segment(&fake, memory, PAGE, 5);
    get_permit(&fake, 6, 0);
    for (int i = 0; i < 3; i++) {
        fake_die(&fake);
        fake_connect(&fake);
        /* Told in the midst of it. */
        fake_rolled_back(&fake, 5);
        receive_restored((uintptr_t)memory);
    }
    fake_stop(&fake);
}

static void a_segment_that_a_new_service_refuses_is_as_if_removed(void) {
    void *memory = map_private(PAGE);
    struct job remove = {.call = JOB_REMOVE, .id = 5};
    fake_start(&fake);
    make_segment(&fake, memory, PAGE, 5);
    fake_die(&fake);
    fake_connect(&fake);
    fake_receive(&fake, XM_CODE_MAKE);
    fake_fail(&fake, fake.message.header.request, EACCES);
    job_start(&remove);
    fake_receive(&fake, XM_CODE_REMOVE);
    CHECK_EQUAL(xm_agents_offered((uintptr_t)memory, PAGE), 0);
    fake_fail(&fake, fake.message.header.request, ENOENT);
    job_fails(&remove, ENOENT);
    fake_die(&fake);
    fake_connect(&fake);
    get_permit(&fake, 6, 0);
    fake_stop(&fake);
}

static void a_service_that_closes_the_connection_is_ECONNRESET(void) {
    struct job get = {.call = JOB_GET, .id = 42};
    fake_start(&fake);
    job_start(&get);
    fake_connect(&fake);
    fake_receive(&fake, XM_CODE_GET);
    fake_close(&fake.control);
    CHECK_EQUAL(fake_accept(&fake), XM_ROLE_CONTROL);
    fake_welcome(&fake, fake.control);
    job_fails(&get, ECONNRESET);
    get_permit(&fake, 6, 0);
    fake_stop(&fake);
}

static void a_silent_service_is_asked_and_then_ETIMEDOUT_and_late_gifts_go_back(void) {
    void *memory = map_private(PAGE);
    struct job make = {.call = JOB_MAKE, .memory = memory, .size = PAGE};
    struct job get = {.call = JOB_GET, .id = 42};
    fake_start(&fake);
    job_start(&make);
    fake_connect(&fake);
    fake_receive(&fake, XM_CODE_MAKE);
    uint32_t made = fake.message.header.request;
    job_start(&get);
    fake_receive(&fake, XM_CODE_GET);
    uint32_t got = fake.message.header.request;
    fake_receive(&fake, XM_CODE_PING);
    job_fails(&make, ETIMEDOUT);
    job_fails(&get, ETIMEDOUT);
    CHECK_EQUAL(xm_agents_offered((uintptr_t)memory, PAGE), 0);
    fake_made(&fake, made, 5);
    fake_got(&fake, got, 6, 0);
    struct job release = {.call = JOB_RELEASE, .id = 9};
    job_start(&release);
    fake_receive(&fake, XM_CODE_RELEASE);
    CHECK_EQUAL(fake.message.release.apid, 9);
    uint32_t request = fake.message.header.request;
    fake_receive(&fake, XM_CODE_REMOVE);
    CHECK_EQUAL(fake.message.remove.segid, 5);
    fake_receive(&fake, XM_CODE_RELEASE);
    CHECK_EQUAL(fake.message.release.apid, 6);
    fake_fail(&fake, request, ENOENT);
    job_fails(&release, ENOENT);
    fake_stop(&fake);
}

static void a_service_that_takes_the_connection_and_says_nothing_is_ETIMEDOUT(void) {
    struct job get = {.call = JOB_GET, .id = 42};
    fake_start(&fake);
    job_start(&get);
    CHECK_EQUAL(fake_accept(&fake), XM_ROLE_AGENT);
    fake_welcome(&fake, fake.agent);
    CHECK_EQUAL(fake_accept(&fake), XM_ROLE_CONTROL);
    job_fails(&get, ETIMEDOUT);
    fake_stop(&fake);
}

static void a_service_that_does_not_come_back_is_ETIMEDOUT(void) {
    struct job get = {.call = JOB_GET, .id = 42};
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    fake_close(&fake.listener);
    fake_die(&fake);
    job_start(&get);
    job_fails(&get, ETIMEDOUT);
    fake_stop(&fake);
}

static void a_service_of_another_version_is_EPROTO_at_once(void) {
    struct job get = {.call = JOB_GET, .id = 42};
    struct xm_msg_failure failure = {{XM_CODE_FAILURE, 0, 0}, EPROTO, 0};
    fake_start(&fake);
    job_start(&get);
    CHECK_EQUAL(fake_accept(&fake), XM_ROLE_AGENT);
    send_to(fake.agent, &failure, XM_BYTES_FAILURE, NULL, 0);
    job_fails(&get, EPROTO);
    fake_stop(&fake);
}

static void without_service_and_command_calls_are_ENOENT_until_there_is_one(void) {
    void *memory = map_private(PAGE);
    fake_prepare(&fake);
    errno = 0;
    CHECK_EQUAL(xpmem_version(), -1);
    CHECK_EQUAL(errno, ENOENT);
    CHECK_EQUAL(xpmem_make(memory, PAGE, XPMEM_PERMIT_MODE, (void *)0600), -1);
    CHECK_EQUAL(errno, ENOENT);
    fake_listen(&fake);
    get_permit(&fake, 6, 0);
    fake_stop(&fake);
}

static atomic_uint tries;

static void count_try(struct xm_listener *listener, int error) {
    (void)listener;
    CHECK(error != 0);
    atomic_fetch_add(&tries, 1);
}

static void ignore_change(struct xm_listener *listener) {
    (void)listener;
}

static void a_process_that_needs_no_service_starts_none(void) {
    static struct xm_listener listener = {.changed = ignore_change, .missing = count_try};
    struct xm_agent *agent;
    char started[128];
    fake_start(&fake);
    CHECK_EQUAL(setenv("XPMEM_COMMAND", PROBE, 1), 0);
    open_session(&fake);
    CHECK_EQUAL(xm_agent_open(fake.path, XM_TRUST_ANYBODY, &listener, &agent), 0);
    fake_close(&fake.listener);
    CHECK_EQUAL(unlink(fake.path), 0);
    fake_die(&fake);
    /* The listener hears of each try after the library did. */
    WAIT_UNTIL(atomic_load(&tries) > 6);
    snprintf(started, sizeof started, "%s/probe", fake.directory);
    CHECK_EQUAL(access(started, F_OK), -1);
    fake_stop(&fake);
}

/* The service ends, and nothing is left that listens. */
static void leave_nothing(void) {
    fake_close(&fake.listener);
    CHECK_EQUAL(unlink(fake.path), 0);
    fake_die(&fake);
}

/* A command that does not serve. */
static void write_command(const char *path, const char *text) {
    FILE *script = fopen(path, "we");
    CHECK(script != NULL);
    fputs(text, script);
    fclose(script);
    CHECK_EQUAL(chmod(path, 0700), 0);
}

static void the_environment_of_the_first_call_counts(void) {
    char first[128];
    char second[128];
    char trace[128];
    struct job get = {.call = JOB_GET, .id = 42};
    fake_start(&fake);
    snprintf(first, sizeof first, "%s/first", fake.directory);
    snprintf(second, sizeof second, "%s/second", fake.directory);
    snprintf(trace, sizeof trace, "%s/trace", fake.directory);
    write_command(first, "#!/bin/sh\necho \"$KEPT\" >\"$5/trace.new\"\n"
                         "mv \"$5/trace.new\" \"$5/trace\"\n");
    write_command(second, "#!/bin/sh\n");
    setenv("XPMEM_COMMAND", first, 1);
    setenv("KEPT", "before", 1);
    open_session(&fake);
    setenv("XPMEM_COMMAND", second, 1);
    setenv("KEPT", "after", 1);
    leave_nothing();
    job_start(&get);
    WAIT_UNTIL(access(trace, F_OK) == 0);
    FILE *file = fopen(trace, "re");
    char kept[16] = "";
    CHECK(file != NULL && fgets(kept, sizeof kept, file) != NULL);
    fclose(file);
    CHECK_EQUAL(strcmp(kept, "before\n"), 0);
    job_fails(&get, ETIMEDOUT);
    unlink(first);
    unlink(second);
    unlink(trace);
    fake_stop(&fake);
}

/* For the sanitizers, which would see the agent's thread look at what is being changed. */
static void a_program_may_change_its_environment_while_a_service_is_started(void) {
    char started[128];
    char name[32];
    struct job get = {.call = JOB_GET, .id = 42};
    fake_start(&fake);
    setenv("XPMEM_COMMAND", PROBE, 1);
    open_session(&fake);
    leave_nothing();
    snprintf(started, sizeof started, "%s/probe", fake.directory);
    job_start(&get);
    for (unsigned i = 0; access(started, F_OK) != 0; i++) {
        snprintf(name, sizeof name, "VARIABLE_%u", i % 5000);
        CHECK_EQUAL(setenv(name, "value", 1), 0);
    }
    job_fails(&get, ETIMEDOUT);
    unlink(started);
    fake_stop(&fake);
}

static void get_nothing(void) {
    CHECK_EQUAL(xpmem_get(42, XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL), -1);
    CHECK_EQUAL(errno, ETIMEDOUT);
}

static void a_process_that_holds_nothing_starts_a_service_once_there_is_a_command(void) {
    char started[128];
    char command[128];
    fake_start(&fake);
    snprintf(command, sizeof command, "%s/command", fake.directory);
    snprintf(started, sizeof started, "%s/started", fake.directory);
    setenv("XPMEM_COMMAND", command, 1);
    open_session(&fake);
    leave_nothing();
    get_nothing();
    get_nothing();
    write_command(command, "#!/bin/sh\n: >\"$5/started\"\n");
    while (access(started, F_OK) != 0)
        get_nothing();
    fake_listen(&fake);
    get_permit(&fake, 6, 0);
    unlink(command);
    unlink(started);
    fake_stop(&fake);
}

int main(void) {
    RUN_ALONE(a_new_service_is_told_what_the_old_one_knew_and_asked_what_it_left_open);
    RUN_ALONE(an_owner_that_makes_no_call_comes_back_by_itself);
    RUN_ALONE(a_segment_that_a_new_service_refuses_is_as_if_removed);
    RUN_ALONE(a_service_that_closes_the_connection_is_ECONNRESET);
    RUN_ALONE(a_silent_service_is_asked_and_then_ETIMEDOUT_and_late_gifts_go_back);
    RUN_ALONE(a_service_that_takes_the_connection_and_says_nothing_is_ETIMEDOUT);
    RUN_ALONE(a_service_that_does_not_come_back_is_ETIMEDOUT);
    RUN_ALONE(a_service_of_another_version_is_EPROTO_at_once);
    RUN_ALONE(without_service_and_command_calls_are_ENOENT_until_there_is_one);
    RUN_ALONE(a_process_that_needs_no_service_starts_none);
    RUN_ALONE(the_environment_of_the_first_call_counts);
    RUN_ALONE(a_program_may_change_its_environment_while_a_service_is_started);
    RUN_ALONE(a_process_that_holds_nothing_starts_a_service_once_there_is_a_command);
    return 0;
}
