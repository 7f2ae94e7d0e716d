#include "futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The longest wait that is counted; beyond it there is no limit. */
#define LONGEST_MS 1e15

static struct timespec deadline_after(double timeout_ms) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    double seconds = timeout_ms / 1e3;
    at.tv_sec += (time_t)seconds;
    at.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

int xm_futex_wait(int32_t *word, int32_t expected, double timeout_ms) {
    bool limited = timeout_ms >= 0 && timeout_ms < LONGEST_MS;
    struct timespec deadline = {0, 0};
    if (limited)
        deadline = deadline_after(timeout_ms);
    for (;;) {
        /* The bitset form takes an absolute time, so a signal does not prolong the wait. */
        long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected,
                              limited ? &deadline : NULL, NULL, FUTEX_BITSET_MATCH_ANY);
        if (result == 0)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

int xm_futex_wake(int32_t *word, int count) {
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
    return woken < 0 ? -errno : (int)woken;
}
