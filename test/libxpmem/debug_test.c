/* XPMEM_DEBUG tells why calls fail. */

#include "../../native/libxpmem/debug.h"
#include "fake.h"

static struct fake fake;

/* What a call that fails writes on standard error. */
static const char *said_by(struct job *job, void (*answer)(void)) {
    static char said[1024];
    int pipes[2];
    int before = dup(STDERR_FILENO);
    CHECK_EQUAL(pipe(pipes), 0);
    CHECK_EQUAL(dup2(pipes[1], STDERR_FILENO), STDERR_FILENO);
    close(pipes[1]);
    job_start(job);
    if (answer != NULL)
        answer();
    CHECK_EQUAL(job_end(job), -1);
    CHECK_EQUAL(dup2(before, STDERR_FILENO), STDERR_FILENO);
    close(before);
    ssize_t length = read(pipes[0], said, sizeof said - 1);
    CHECK(length >= 0);
    said[length] = '\0';
    close(pipes[0]);
    return said;
}

static void refuse(void) {
    fake_connect(&fake);
    fake_receive(&fake, XM_CODE_GET);
    fake_fail(&fake, fake.message.header.request, EACCES);
}

static void each_failure_is_one_line(void) {
    struct job get = {.call = JOB_GET, .id = 42};
    struct job release = {.call = JOB_RELEASE, .id = 0};
    fake_start(&fake);
    CHECK_EQUAL(setenv("XPMEM_DEBUG", "1", 1), 0);
    /* The text of the service has a line's end in it. */
    CHECK_EQUAL(strcmp(said_by(&get, refuse), "xpmem: get: EACCES: why?\n"), 0);
    CHECK_EQUAL(strcmp(said_by(&release, NULL), "xpmem: release: EINVAL: an apid is positive\n"),
                0);
    fake_stop(&fake);
}

static void nothing_is_said_unless_it_is_asked_for(void) {
    struct job release = {.call = JOB_RELEASE, .id = 0};
    CHECK_EQUAL(unsetenv("XPMEM_DEBUG"), 0);
    CHECK_EQUAL(said_by(&release, NULL)[0], 0);
    CHECK_EQUAL(setenv("XPMEM_DEBUG", "0", 1), 0);
    CHECK_EQUAL(said_by(&release, NULL)[0], 0);
}

static void a_long_text_is_cut(void) {
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    CHECK_EQUAL(xm_fail(-ENOENT, "%s", text), -ENOENT);
    CHECK(strlen(xm_fail_text()) < sizeof text - 1 && xm_fail_text()[0] == 'x');
    xm_fail_forget();
    CHECK_EQUAL(strcmp(xm_fail_text(), ""), 0);
}

int main(void) {
    RUN_ALONE(each_failure_is_one_line);
    RUN_ALONE(nothing_is_said_unless_it_is_asked_for);
    RUN_ALONE(a_long_text_is_cut);
    return 0;
}
