#include "exits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How long a thread may take from the store that failed to its end, in waits of 1 ms. */
#define LONGEST_END_MS 100

/* Where a thread's list is, 0 if it ends just now; or a negative errno. */
static int find_list(pid_t thread, uint64_t *list) {
    size_t length;
    *list = 0;
    return syscall(SYS_get_robust_list, thread, list, &length) == 0 ? 0 : -errno;
}

static pid_t number(const char *text) {
    pid_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (*text - '0');
    return value;
}

size_t xm_exits_note(uint64_t start, uint64_t end, struct xm_exit *exits, size_t capacity) {
    char buffer[1024] __attribute__((aligned(8)));
    uint64_t own_word = 0;
    uint64_t own_list;
    size_t count = 0;
    long got;
    if (prctl(PR_GET_TID_ADDRESS, &own_word) != 0 || find_list(0, &own_list) != 0 || own_list == 0)
        return 0;
    long directory =
        syscall(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return 0;
    while ((got = syscall(SYS_getdents64, directory, buffer, sizeof buffer)) > 0) {
        for (const char *at = buffer; at < buffer + got && count < capacity;) {
            const struct dirent64 *entry = (const void *)at;
            pid_t thread = number(entry->d_name);
            uint64_t list = 0;
            at += entry->d_reclen;
            if (thread == 0 || find_list(thread, &list) != 0 || list == 0)
                continue;
            uint64_t word = list + (own_word - own_list);
            if (word >= start && word < end)
                exits[count++] = (struct xm_exit){word, thread};
        }
    }
    (void)syscall(SYS_close, directory);
    return count;
}

/* Whether a thread has ended, or does so while this waits. */
static bool has_ended(pid_t thread) {
    const struct timespec tick = {0, 1000000};
    for (int waited = 0; waited < LONGEST_END_MS; waited++) {
        uint64_t list;
        int error = find_list(thread, &list);
        if (error != 0 || list != 0)
            return error == -ESRCH;
        /* It may be about to store, and whoever is told now may give its memory to others. */
        (void)syscall(SYS_nanosleep, &tick, NULL);
    }
    return false;
}

void xm_exits_tell(const struct xm_exit *exits, size_t count) {
    const int set_zero = FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_EQ, 0);
    for (size_t i = 0; i < count; i++) {
        uint64_t word = exits[i].word;
        /* The kernel loads and stores, since the program may have unmapped it. */
        bool told = !has_ended(exits[i].thread) ||
                    syscall(SYS_futex, word, FUTEX_CMP_REQUEUE, 0, 0L, word, exits[i].thread) != 0;
        if (!told)
            (void)syscall(SYS_futex, word, FUTEX_WAKE_OP, INT_MAX, 0L, word, set_zero);
    }
}
