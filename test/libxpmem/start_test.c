/* The service is started without the program noticing. */

#include <fcntl.h>

#include "../../native/libxpmem/environment.h"
#include "../../native/libxpmem/start.h"
#include "fake.h"

static struct fake fake;
static atomic_int children;

static void count_child(int number) {
    (void)number;
    atomic_fetch_add(&children, 1);
}

/* Paths as the environment of fake_prepare says. */
static struct xm_paths prepare(void) {
    struct xm_paths paths;
    fake_prepare(&fake);
    CHECK_EQUAL(xm_paths_find(&paths), 0);
    CHECK_EQUAL(xm_environment_copy(), 0);
    return paths;
}

/* Starts the probe, waits for its end, and reads what it told. */
static void run_probe(const struct xm_paths *paths, char *told, size_t capacity) {
    char path[128];
    CHECK_EQUAL(xm_environment_copy(), 0);
    int pidfd = xm_service_start(paths, PROBE);
    CHECK(pidfd >= 0);
    struct pollfd watched = {pidfd, POLLIN, 0};
    CHECK_EQUAL(poll(&watched, 1, -1), 1);
    CHECK(xm_service_ended(pidfd));
    close(pidfd);
    snprintf(path, sizeof path, "%s/probe", paths->directory);
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    told[fread(told, 1, capacity - 1, file)] = '\0';
    fclose(file);
    unlink(path);
}

static void check_told(const char *told, const char *line) {
    if (strstr(told, line) == NULL)
        fprintf(stderr, "'%s' is not in:\n%s", line, told);
    CHECK(strstr(told, line) != NULL);
}

static void the_service_inherits_nothing_but_the_environment(void) {
    char told[4096];
    char line[256];
    sigset_t blocked;
    struct xm_paths paths = prepare();
    int inherited = fcntl(STDOUT_FILENO, F_DUPFD, 100);
    CHECK(inherited >= 100);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    setenv("NODE_OPTIONS", "--nonsense", 1);
    setenv("KEPT", "yes", 1);
    unsetenv("XPMEM_DEBUG");
    run_probe(&paths, told, sizeof told);
    check_told(told, "descriptors 0=/dev/null 1=/dev/null 2=/dev/null\n");
    check_told(told, "SigBlk:\t0000000000000000\n");
    check_told(told, "SigIgn:\t0000000000000000\n");
    check_told(told, "session own\n");
    check_told(told, "folder /\n");
    check_told(told, "NODE_OPTIONS --max-semi-space-size=1 --v8-pool-size=1\n");
    check_told(told, "KEPT yes\n");
    snprintf(line, sizeof line,
             "arguments serve --partition default --runtime-dir %s --idle-exit 30\n",
             paths.directory);
    check_told(told, line);
    /* What this process has is as it was. */
    CHECK(signal(SIGPIPE, SIG_DFL) == SIG_IGN);
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    CHECK(sigismember(&blocked, SIGUSR1) && !sigismember(&blocked, SIGUSR2));
    fake_stop(&fake);
}

static void standard_error_stays_when_debugging(void) {
    char told[4096];
    struct xm_paths paths = prepare();
    setenv("XPMEM_DEBUG", "1", 1);
    run_probe(&paths, told, sizeof told);
    CHECK(strstr(told, "2=/dev/null") == NULL && strstr(told, " 2=") != NULL);
    fake_stop(&fake);
}

static void closed_standard_descriptors_are_no_trouble(void) {
    char told[4096];
    struct xm_paths paths = prepare();
    close(STDIN_FILENO);
    run_probe(&paths, told, sizeof told);
    check_told(told, "descriptors 0=/dev/null 1=/dev/null");
    CHECK_EQUAL(fcntl(STDIN_FILENO, F_GETFD), -1);
    fake_stop(&fake);
}

static void the_program_has_no_child_and_gets_no_signal(void) {
    char told[4096];
    struct sigaction action = {.sa_handler = count_child};
    struct xm_paths paths = prepare();
    sigaction(SIGCHLD, &action, NULL);
    for (int i = 0; i < 10; i++)
        run_probe(&paths, told, sizeof told);
    CHECK_EQUAL(wait(NULL), -1);
    CHECK_EQUAL(errno, ECHILD);
    CHECK_EQUAL(waitpid(-1, NULL, __WALL), -1);
    CHECK_EQUAL(errno, ECHILD);
    CHECK_EQUAL(atomic_load(&children), 0);
    fake_stop(&fake);
}

static void a_command_that_cannot_be_run_is_an_error(void) {
    struct xm_paths paths = prepare();
    CHECK_EQUAL(xm_service_start(&paths, "/nonexistent/xpmem"), -ENOENT);
    CHECK_EQUAL(xm_service_start(&paths, "/proc/self/status"), -EACCES);
    CHECK_EQUAL(waitpid(-1, NULL, __WALL), -1);
    fake_stop(&fake);
}

static void a_service_that_does_not_serve_is_ended(void) {
    char path[160];
    struct xm_paths paths = prepare();
    snprintf(path, sizeof path, "%s/stuck", paths.directory);
    FILE *script = fopen(path, "we");
    CHECK(script != NULL);
    fputs("#!/bin/sh\nexec tail -f /dev/null\n", script);
    fclose(script);
    CHECK_EQUAL(chmod(path, 0700), 0);
    int pidfd = xm_service_start(&paths, path);
    CHECK(pidfd >= 0);
    CHECK(!xm_service_ended(pidfd));
    xm_service_kill(pidfd);
    struct pollfd watched = {pidfd, POLLIN, 0};
    CHECK_EQUAL(poll(&watched, 1, -1), 1);
    CHECK(xm_service_ended(pidfd));
    close(pidfd);
    unlink(path);
    fake_stop(&fake);
}

static void only_one_process_has_the_right_to_start_it(void) {
    int right;
    int other;
    struct xm_paths paths = prepare();
    CHECK(xm_start_right(&paths, &right) && right >= 0);
    CHECK(!xm_start_right(&paths, &other));
    CHECK_EQUAL(other, -1);
    close(right);
    CHECK(xm_start_right(&paths, &other) && other >= 0);
    close(other);
    fake_stop(&fake);
    CHECK(xm_start_right(&paths, &right));
    CHECK_EQUAL(right, -1);
}

int main(void) {
    RUN_ALONE(the_service_inherits_nothing_but_the_environment);
    RUN_ALONE(standard_error_stays_when_debugging);
    RUN_ALONE(closed_standard_descriptors_are_no_trouble);
    RUN_ALONE(the_program_has_no_child_and_gets_no_signal);
    RUN_ALONE(a_command_that_cannot_be_run_is_an_error);
    RUN_ALONE(a_service_that_does_not_serve_is_ended);
    RUN_ALONE(only_one_process_has_the_right_to_start_it);
    return 0;
}
