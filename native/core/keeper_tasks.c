/* What the keeper's server sees of the process's threads. */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper_parts.h"

#define TASKS "/proc/self/task"

void xm_task_find_own(struct xm_task *task) {
    task->id = (pid_t)syscall(SYS_gettid);
    snprintf(task->status, sizeof task->status, TASKS "/%d/status", (int)task->id);
    snprintf(task->wchan, sizeof task->wchan, TASKS "/%d/wchan", (int)task->id);
}

/* The start of a file as a string, which is empty if it cannot be had. Its length. */
XM_UNWATCHED static size_t read_file(const char *path, char *text, size_t capacity) {
    long got = -1;
    long descriptor = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (descriptor >= 0) {
        got = syscall(SYS_read, descriptor, text, capacity - 1);
        (void)syscall(SYS_close, descriptor);
    }
    size_t length = got < 0 ? 0 : (size_t)got;
    text[length] = '\0';
    return length;
}

/* What follows a word in a text; NULL if it has none. */
XM_UNWATCHED static const char *after(const char *text, const char *word) {
    for (; *text != '\0'; text++) {
        size_t same = 0;
        while (word[same] != '\0' && text[same] == word[same])
            same++;
        if (word[same] == '\0')
            return text + same;
    }
    return NULL;
}

struct status {
    char state;
    uint64_t sleeps;
};

XM_UNWATCHED static struct status status_of(const struct xm_task *task) {
    char text[4096];
    (void)read_file(task->status, text, sizeof text);
    const char *state = after(text, "\nState:\t");
    const char *digit = after(text, "\nvoluntary_ctxt_switches:\t");
    struct status status = {state == NULL ? '\0' : *state, 0};
    for (; digit != NULL && *digit >= '0' && *digit <= '9'; digit++)
        status.sleeps = status.sleeps * 10 + (uint64_t)(*digit - '0');
    return status;
}

XM_UNWATCHED char xm_task_state(const struct xm_task *task) {
    return status_of(task).state;
}

XM_UNWATCHED bool xm_task_waits_for_userfault(const struct xm_task *task) {
    char text[64];
    if (read_file(task->wchan, text, sizeof text) <= 1)
        return xm_task_state(task) != 'R';
    return after(text, "userfault") != NULL;
}

XM_UNWATCHED static void join(char *path, const char *name, const char *file) {
    const char *parts[] = {TASKS "/", name, file};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        for (const char *next = parts[i]; *next != '\0'; next++)
            *path++ = *next;
    }
    *path = '\0';
}

/* The thread that a directory is of; its number is 0 where the name is none. */
XM_UNWATCHED static void name_task(struct xm_task *task, const char *name) {
    pid_t id = 0;
    size_t length = 0;
    for (; name[length] >= '0' && name[length] <= '9' && length < 10; length++)
        id = id * 10 + (name[length] - '0');
    task->id = name[length] == '\0' ? id : 0;
    if (task->id == 0)
        return;
    join(task->status, name, "/status");
    join(task->wchan, name, "/wchan");
}

/* Notes what a thread did so far. Whether it sleeps, also for a page that someone else must give.
 */
XM_UNWATCHED static bool note_sleep(const struct xm_task *task, uint64_t *history) {
    struct status status = status_of(task);
    *history = *history * 31 + (uint64_t)task->id;
    *history = *history * 31 + status.sleeps;
    return status.state != 'R' && (status.state != 'D' || xm_task_waits_for_userfault(task));
}

XM_UNWATCHED bool xm_tasks_sleep(char *buffer, size_t capacity, uint64_t *history) {
    pid_t own = (pid_t)syscall(SYS_gettid);
    bool sleep = true;
    long length;
    *history = 0;
    long tasks = syscall(SYS_openat, AT_FDCWD, TASKS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tasks < 0)
        return true;
    while (sleep && (length = syscall(SYS_getdents64, tasks, buffer, capacity)) > 0) {
        for (long at = 0; sleep && at < length;) {
            /* The kernel aligns them. */
            const struct dirent64 *entry = (const void *)(buffer + at);
            struct xm_task task;
            name_task(&task, entry->d_name);
            sleep = task.id == 0 || task.id == own || note_sleep(&task, history);
            at += entry->d_reclen;
        }
    }
    (void)syscall(SYS_close, tasks);
    return sleep;
}
