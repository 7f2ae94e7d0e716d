#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "debug.h"
#include "environment.h"

/* How long a service that a client started stays without clients. */
#define IDLE_EXIT_SECONDS "30"

#define STACK_BYTES (256 * 1024)

#define SIGNALS 64

#ifdef __SANITIZE_THREAD__
/* ThreadSanitizer takes a clone for a fork, and what it does in the child for the child's alone. */
int __clone(int (*run)(void *), void *stack, int flags, void *argument, ...);
#define clone __clone
#endif

/* What the new process needs, in memory that it shares with this one until it execs. */
struct launch {
    const char *command;
    char *const *arguments;
    char *const *environment;
    /* /dev/null, above the standard descriptors. */
    int null;
    bool keep_stderr;
    rlim_t descriptors;
    char *stack;
    /* What becomes of it. */
    int pidfd;
    int error;
};

static void set_default_signals(void) {
    /* A struct sigaction of the kernel's with SIG_DFL in it, and an empty signal set. */
    static const unsigned long zeros[8];
    for (int number = 1; number <= SIGNALS; number++)
        syscall(SYS_rt_sigaction, number, zeros, NULL, SIGNALS / 8);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, zeros, NULL, SIGNALS / 8);
}

static void close_descriptors(rlim_t count) {
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) == 0)
        return;
    for (rlim_t descriptor = STDERR_FILENO + 1; descriptor < count; descriptor++)
        syscall(SYS_close, descriptor);
}

/*
 * The process that becomes the service. It runs in this process's memory: system calls only, and
 * none by way of the C library, which would note in that memory what is true of the child alone.
 */
static int become_service(void *argument) {
    struct launch *launch = argument;
    syscall(SYS_setsid);
    syscall(SYS_dup3, launch->null, STDIN_FILENO, 0);
    syscall(SYS_dup3, launch->null, STDOUT_FILENO, 0);
    if (!launch->keep_stderr)
        syscall(SYS_dup3, launch->null, STDERR_FILENO, 0);
    close_descriptors(launch->descriptors);
    set_default_signals();
    if (syscall(SYS_chdir, "/") == 0)
        syscall(SYS_execve, launch->command, launch->arguments, launch->environment);
    launch->error = -errno;
    syscall(SYS_exit_group, 127);
    return 0;
}

/*
 * The process between: it ends at once, so that the service is nobody's child. An exec would give
 * a child of this process SIGCHLD for its exit signal, whatever it was born with.
 */
static int stand_between(void *argument) {
    struct launch *launch = argument;
    if (clone(become_service, launch->stack + STACK_BYTES,
              CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, launch, &launch->pidfd) < 0)
        launch->error = -errno;
    syscall(SYS_exit_group, 0);
    return 0;
}

/* Runs both until the service has begun or failed to. 0 or a negative errno. */
static int run(struct launch *launch) {
    sigset_t all;
    sigset_t before;
    char *stacks = mmap(NULL, 2 * STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stacks == MAP_FAILED)
        return -errno;
    launch->stack = stacks;
    launch->pidfd = -1;
    /* No handler of the program may run in a process that shares its memory. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t between = clone(stand_between, stacks + 2 * STACK_BYTES,
                          CLONE_VM | CLONE_VFORK | CLONE_FILES, launch);
    int error = between < 0 ? -errno : launch->error;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (between > 0)
        waitpid(between, NULL, __WCLONE);
    munmap(stacks, 2 * STACK_BYTES);
    if (error != 0 && launch->pidfd >= 0)
        close(launch->pidfd);
    return error;
}

static int open_null(void) {
    int opened = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (opened < 0)
        return -errno;
    int null = fcntl(opened, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int error = -errno;
    close(opened);
    return null < 0 ? error : null;
}

int xm_service_start(const struct xm_paths *paths, const char *command) {
    const char *arguments[] = {command,          "serve",           "--partition",
                               paths->partition, "--runtime-dir",   paths->directory,
                               "--idle-exit",    IDLE_EXIT_SECONDS, NULL};
    struct rlimit files = {.rlim_cur = 1024};
    getrlimit(RLIMIT_NOFILE, &files);
    struct launch launch = {.command = command,
                            .arguments = (char *const *)(uintptr_t)arguments,
                            .environment = xm_environment_for_service(),
                            .keep_stderr = xm_debug_enabled(),
                            .descriptors = files.rlim_cur};
    launch.null = launch.environment == NULL ? -ENOMEM : open_null();
    int error = launch.null < 0 ? launch.null : run(&launch);
    if (launch.null >= 0)
        close(launch.null);
    return error == 0 ? launch.pidfd : xm_fail(error, "%s cannot be started", command);
}

bool xm_service_ended(int pidfd) {
    struct pollfd watched = {pidfd, POLLIN, 0};
    return poll(&watched, 1, 0) > 0;
}

void xm_service_kill(int pidfd) {
    syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

bool xm_start_right(const struct xm_paths *paths, int *right) {
    *right = open(paths->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*right < 0 || flock(*right, LOCK_EX | LOCK_NB) == 0)
        return true;
    bool taken = errno == EWOULDBLOCK;
    close(*right);
    *right = -1;
    return !taken;
}
