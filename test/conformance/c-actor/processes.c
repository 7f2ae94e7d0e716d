/* Children of this process, its descriptors, and its end. */
#include "actor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The child is an actor, too: it takes its requests from the test's socket at a path. */
static _Noreturn void serve_in_child(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int socket_ = socket(AF_UNIX, SOCK_STREAM, 0);
    if (socket_ < 0 || connect(socket_, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    if (dup2(socket_, STDIN_FILENO) < 0 || dup2(socket_, STDOUT_FILENO) < 0)
        die("dup2");
    close(socket_);
    tell("ready");
    _exit(serve(STDIN_FILENO));
}

/* fork PATH: the child's pid */
static void call_fork(struct request *request) {
    hold_answers();
    pid_t pid = fork();
    let_answers();
    if (pid == 0)
        serve_in_child(text(request, 0));
    if (pid < 0)
        fail_errno(request, errno);
    else
        answer(request, "n:%d", (int)pid);
}

static void answer_status(struct request *request, int status) {
    if (WIFEXITED(status))
        answer(request, "s:exit%%20%d", WEXITSTATUS(status));
    else
        answer(request, "s:signal%%20%d", WTERMSIG(status));
}

/* reap PID: waits for a child, and how it ended */
static void call_reap(struct request *request) {
    int status;
    pid_t pid;
    do {
        pid = waitpid((pid_t)number(request, 0), &status, 0);
    } while (pid < 0 && errno == EINTR);
    if (pid < 0)
        fail_errno(request, errno);
    else
        answer_status(request, status);
}

static char *const arguments[] = {"true", NULL};

static pid_t start_child(const char *way) {
    pid_t pid = -1;
    if (strcmp(way, "posix_spawn") == 0) {
        errno = posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ);
        return errno == 0 ? pid : -1;
    }
    if (strcmp(way, "vfork") == 0)
        pid = vfork();
    else
        pid = fork();
    if (pid == 0) {
        execv("/bin/true", arguments);
        _exit(127);
    }
    return pid;
}

static int run_command(const char *way) {
    char line[16] = "";
    if (strcmp(way, "system") == 0)
        return system("true");
    FILE *child = popen("echo popen", "re");
    if (child == NULL)
        return -1;
    bool said = fgets(line, sizeof line, child) != NULL && strcmp(line, "popen\n") == 0;
    int status = pclose(child);
    return said ? status : -1;
}

/* spawn fork|vfork|posix_spawn|popen|system: a child that runs another program; how it ended */
static void call_spawn(struct request *request) {
    const char *way = text(request, 0);
    int status = -1;
    if (strcmp(way, "popen") == 0 || strcmp(way, "system") == 0) {
        status = run_command(way);
    } else {
        pid_t pid = start_child(way);
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            return fail_errno(request, errno);
    }
    if (status < 0)
        fail_errno(request, errno);
    else
        answer_status(request, status);
}

/* closeDuplicates ROUNDS: close(dup(fd)) of every descriptor; how many were closed */
static void call_close_duplicates(struct request *request) {
    size_t closed = 0;
    for (uint64_t round = number(request, 0); round > 0; round -= 1) {
        DIR *directory = opendir("/proc/self/fd");
        if (directory == NULL)
            return fail_errno(request, errno);
        struct dirent *entry;
        while ((entry = readdir(directory)) != NULL) {
            int descriptor = atoi(entry->d_name);
            if (entry->d_name[0] == '.' || descriptor == dirfd(directory))
                continue;
            /* Past ThreadSanitizer, for which a descriptor is memory of the thread that uses it. */
            long duplicate = syscall(SYS_dup, descriptor);
            if (duplicate >= 0 && syscall(SYS_close, duplicate) == 0)
                closed += 1;
        }
        closedir(directory);
    }
    answer(request, "n:%zu", closed);
}

/* exec PATH: another program from here on, by whichever thread; no answer unless it fails */
static void call_exec(struct request *request) {
    execl(text(request, 0), text(request, 0), (char *)NULL);
    fail_errno(request, errno);
}

/* closeOthers: closes all descriptors but the standard ones; how many */
static void call_close_others(struct request *request) {
    size_t closed = 0;
    for (int descriptor = STDERR_FILENO + 1; descriptor < 1024; descriptor += 1)
        closed += close(descriptor) == 0;
    answer(request, "n:%zu", closed);
}

/* exit: as a program that returns from main */
static void call_exit(struct request *request) {
    (void)request;
    exit(0);
}

static void call_exit_now(struct request *request) {
    (void)request;
    _exit(0);
}

static void call_abort(struct request *request) {
    (void)request;
    abort();
}

static void call_environment(struct request *request) {
    if (setenv(text(request, 0), text(request, 1), 1) != 0)
        fail_errno(request, errno);
    else
        answer(request, "%s", "");
}

const struct call process_calls[] = {
    {"fork", call_fork, false},
    {"reap", call_reap, true},
    {"spawn", call_spawn, false},
    {"exec", call_exec, false},
    {"execInThread", call_exec, true},
    {"closeDuplicates", call_close_duplicates, false},
    {"closeOthers", call_close_others, false},
    {"exit", call_exit, false},
    {"_exit", call_exit_now, false},
    {"abort", call_abort, false},
    {"setenv", call_environment, false},
    {NULL, NULL, false},
};
