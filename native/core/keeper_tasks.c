/* What the keeper's server sees of the process's threads. */

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper_parts.h"

#define TASKS "/proc/self/task/"
/* So many threads are looked at between two looks for faults. */
#define TASKS_AT_ONCE 16

/* Copies a name of digits. Whether it is one. */
XM_UNWATCHED static bool name_task(struct xm_task *task, const char *name) {
    size_t length = 0;
    for (; name[length] >= '0' && name[length] <= '9' && length < sizeof task->name - 1; length++)
        task->name[length] = name[length];
    bool named = length > 0 && name[length] == '\0';
    task->name[named ? length : 0] = '\0';
    return named;
}

XM_UNWATCHED void xm_task_find_own(struct xm_task *task) {
    char path[64];
    task->id = (pid_t)syscall(SYS_gettid);
    task->name[0] = '\0';
    long length = syscall(SYS_readlinkat, AT_FDCWD, "/proc/thread-self", path, sizeof path - 1);
    if (length <= 0)
        return;
    path[length] = '\0';
    while (length > 0 && path[length - 1] != '/')
        length--;
    (void)name_task(task, path + length);
}

XM_UNWATCHED static void join(char *path, const char *name, const char *file) {
    const char *parts[] = {TASKS, name, file};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        for (const char *next = parts[i]; *next != '\0'; next++)
            *path++ = *next;
    }
    *path = '\0';
}

/* The start of a thread's file as a string, which is empty if it cannot be had. Its length. */
XM_UNWATCHED static size_t read_file(const struct xm_task *task, const char *file, char *text,
                                     size_t capacity) {
    char path[64];
    long got = -1;
    long descriptor = -1;
    join(path, task->name, file);
    if (task->name[0] != '\0')
        descriptor = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (descriptor >= 0) {
        got = syscall(SYS_read, descriptor, text, capacity - 1);
        (void)syscall(SYS_close, descriptor);
    }
    size_t length = got < 0 ? 0 : (size_t)got;
    text[length] = '\0';
    return length;
}

/* The state, which follows a name that may itself have parentheses. */
XM_UNWATCHED static char find_state(const char *text, size_t length) {
    size_t at = length;
    while (at > 0 && text[at - 1] != ')')
        at--;
    return at > 0 && at + 1 < length ? text[at + 1] : '\0';
}

/*
 * From the time a thread ran, the time it waited for a processor and the number of times it was
 * given one, which is 0 where the kernel does not count.
 */
XM_UNWATCHED static bool find_history(const char *text, uint64_t *history) {
    uint64_t number = 0;
    int numbers = 0;
    for (*history = 0; *text != '\0'; text++) {
        if (*text >= '0' && *text <= '9') {
            number = number * 10 + (uint64_t)(*text - '0');
            continue;
        }
        *history = *history * 31 + number;
        if (++numbers == 3)
            return number > 0;
        number = 0;
    }
    return false;
}

XM_UNWATCHED struct xm_task_facts xm_task_look(const struct xm_task *task) {
    char text[512];
    struct xm_task_facts facts = {0};
    facts.state = find_state(text, read_file(task, "/stat", text, sizeof text));
    (void)read_file(task, "/schedstat", text, sizeof text);
    facts.known = find_history(text, &facts.history) && facts.state != '\0';
    return facts;
}

XM_UNWATCHED static bool contains(const char *text, const char *word) {
    for (; *text != '\0'; text++) {
        size_t same = 0;
        while (word[same] != '\0' && text[same] == word[same])
            same++;
        if (word[same] == '\0')
            return true;
    }
    return false;
}

XM_UNWATCHED bool xm_task_waits_for_userfault(const struct xm_task *task) {
    char text[64];
    if (read_file(task, "/wchan", text, sizeof text) <= 1)
        return xm_task_look(task).state != 'R';
    return contains(text, "userfault");
}

XM_UNWATCHED static bool is_same(const struct xm_task *one, const struct xm_task *other) {
    size_t at = 0;
    while (one->name[at] != '\0' && one->name[at] == other->name[at])
        at++;
    return one->name[at] == other->name[at];
}

/* Adds a thread, which also sleeps when it waits for a page that someone else must give. */
XM_UNWATCHED static void add_task(struct xm_tasks *tasks, const struct xm_task *task) {
    struct xm_task_facts facts = xm_task_look(task);
    bool sleeps = facts.state != 'R' && (facts.state != 'D' || xm_task_waits_for_userfault(task));
    tasks->known = tasks->known && facts.known;
    tasks->running += sleeps ? 0 : 1;
    for (const char *digit = task->name; *digit != '\0'; digit++)
        tasks->history = tasks->history * 31 + (uint64_t)*digit;
    tasks->history = tasks->history * 31 + facts.history;
}

/* Adds those of a part of the directory. */
XM_UNWATCHED static void add_tasks(struct xm_keeper *k, struct xm_tasks *tasks, long length) {
    size_t looked = 0;
    for (long at = 0; tasks->known && at < length;) {
        /* The kernel aligns them. */
        const struct dirent64 *entry = (const void *)(k->base + at);
        struct xm_task task;
        if (looked++ % TASKS_AT_ONCE == 0 && xm_keeper_is_asked(k))
            tasks->known = false;
        else if (name_task(&task, entry->d_name) && !is_same(&task, &k->server_task) &&
                 !is_same(&task, &k->forker_task))
            add_task(tasks, &task);
        at += entry->d_reclen;
    }
}

XM_UNWATCHED struct xm_tasks xm_tasks_look(struct xm_keeper *k) {
    struct xm_tasks tasks = {0};
    long length = 0;
    long directory = syscall(SYS_openat, AT_FDCWD, TASKS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return tasks;
    tasks.known = k->server_task.name[0] != '\0' && k->forker_task.name[0] != '\0';
    while (tasks.known &&
           (length = syscall(SYS_getdents64, directory, k->base, sizeof k->base)) > 0)
        add_tasks(k, &tasks, length);
    tasks.known = tasks.known && length == 0;
    (void)syscall(SYS_close, directory);
    return tasks;
}
