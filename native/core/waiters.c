#include "waiters.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"

/* Addresses looked for together. */
#define ADDRESSES 32
/* Who is woken may wait again before the page is frozen; that does not happen often in a row. */
#define MOST_ROUNDS 100

struct waiters {
    uint64_t start;
    uint64_t end;
    uint64_t addresses[ADDRESSES];
    size_t count;
};

static uint64_t number(const char **text, unsigned base) {
    uint64_t value = 0;
    for (const char *at = *text;; at++) {
        unsigned digit = *at >= 'a' ? (unsigned)(*at - 'a') + 10 : (unsigned)(*at - '0');
        if (digit >= base) {
            *text = at;
            return value;
        }
        value = value * base + digit;
    }
}

/* The next argument of a line of /proc/self/task/TID/syscall. */
static uint64_t argument(const char **text) {
    if ((*text)[0] != ' ' || (*text)[1] != '0' || (*text)[2] != 'x')
        return 0;
    *text += 3;
    return number(text, 16);
}

/* Notes where a thread waits. */
static void look_at(struct waiters *waiters, int directory, const char *thread) {
    char path[NAME_MAX + 16];
    char text[256];
    size_t length = 0;
    for (; thread[length] != '\0'; length++)
        path[length] = thread[length];
    for (size_t i = 0; i < sizeof "/syscall"; i++)
        path[length + i] = "/syscall"[i];
    long file = syscall(SYS_openat, directory, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    long got = syscall(SYS_read, file, text, sizeof text - 1);
    (void)syscall(SYS_close, file);
    text[got < 0 ? 0 : got] = '\0';
    const char *at = text;
    if (*at < '0' || *at > '9' || number(&at, 10) != SYS_futex)
        return;
    uint64_t address = argument(&at);
    uint64_t operation = argument(&at);
    bool waits = (operation & ~(uint64_t)FUTEX_CLOCK_REALTIME) == FUTEX_WAIT ||
                 (operation & ~(uint64_t)FUTEX_CLOCK_REALTIME) == FUTEX_WAIT_BITSET;
    if (waits && address >= waiters->start && address < waiters->end)
        waiters->addresses[waiters->count++] = address;
}

static void find(struct waiters *waiters) {
    char buffer[1024] __attribute__((aligned(8)));
    long got;
    waiters->count = 0;
    long directory =
        syscall(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return;
    while ((got = syscall(SYS_getdents64, directory, buffer, sizeof buffer)) > 0) {
        for (const char *at = buffer; at < buffer + got && waiters->count < ADDRESSES;) {
            const struct dirent64 *entry = (const void *)at;
            if (entry->d_name[0] != '.')
                look_at(waiters, (int)directory, entry->d_name);
            at += entry->d_reclen;
        }
    }
    (void)syscall(SYS_close, directory);
}

static long wake(uint64_t address) {
    long woken = syscall(SYS_futex, address, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    return woken < 0 ? 0 : woken;
}

int xm_waiters_rouse(uint64_t address, uint64_t length, xm_page_protect protect,
                     xm_page_filter filter, const void *context) {
    struct waiters waiters = {.start = address, .end = address + length};
    uint64_t page_size = xm_page_size();
    long woken = 1;
    for (int round = 0; woken != 0 && round < MOST_ROUNDS; round++) {
        woken = 0;
        find(&waiters);
        for (size_t i = 0; i < waiters.count; i++) {
            uint64_t page = waiters.addresses[i] & ~(page_size - 1);
            if (filter != NULL && !filter(context, page))
                continue;
            /* A wake, too, needs the page to be writable. */
            int error = protect(context, page, false);
            if (error == 0) {
                woken += wake(waiters.addresses[i]);
                error = protect(context, page, true);
            }
            if (error != 0)
                return error;
        }
    }
    return 0;
}

void xm_waiters_wake(xm_page_filter filter, const void *context) {
    struct waiters waiters = {.start = 0, .end = UINT64_MAX};
    find(&waiters);
    for (size_t i = 0; i < waiters.count; i++) {
        if (filter(context, waiters.addresses[i] & ~((uint64_t)xm_page_size() - 1)))
            (void)wake(waiters.addresses[i]);
    }
}
