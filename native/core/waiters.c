#include "waiters.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"

/* Waits that begin while others are looked for; that does not happen often in a row. */
#define MOST_ROUNDS 100

/* Calls a function with the address that a thread waits at. 0 or an error, which ends the look. */
typedef int (*visitor)(void *context, uint64_t address);

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

/* Where a thread waits at a futex, which others may; 0: nowhere. */
static uint64_t place_of(int directory, const char *thread) {
    char path[NAME_MAX + 16];
    char text[256];
    size_t length = 0;
    for (; thread[length] != '\0'; length++)
        path[length] = thread[length];
    for (size_t i = 0; i < sizeof "/syscall"; i++)
        path[length + i] = "/syscall"[i];
    long file = syscall(SYS_openat, directory, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    long got = syscall(SYS_read, file, text, sizeof text - 1);
    (void)syscall(SYS_close, file);
    text[got < 0 ? 0 : got] = '\0';
    const char *at = text;
    if (*at < '0' || *at > '9' || number(&at, 10) != SYS_futex)
        return 0;
    uint64_t address = argument(&at);
    uint64_t operation = argument(&at);
    bool waits = (operation & ~(uint64_t)FUTEX_CLOCK_REALTIME) == FUTEX_WAIT ||
                 (operation & ~(uint64_t)FUTEX_CLOCK_REALTIME) == FUTEX_WAIT_BITSET;
    return waits ? address : 0;
}

/* Looks at all threads. The visitor's error, or 0. */
static int each_waiter(visitor visit, void *context) {
    char buffer[1024] __attribute__((aligned(8)));
    long got;
    int error = 0;
    long directory =
        syscall(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return 0;
    while (error == 0 && (got = syscall(SYS_getdents64, directory, buffer, sizeof buffer)) > 0) {
        for (const char *at = buffer; error == 0 && at < buffer + got;) {
            const struct dirent64 *entry = (const void *)at;
            uint64_t address =
                entry->d_name[0] == '.' ? 0 : place_of((int)directory, entry->d_name);
            if (address != 0)
                error = visit(context, address);
            at += entry->d_reclen;
        }
    }
    (void)syscall(SYS_close, directory);
    return error;
}

static void wake(uint64_t address) {
    (void)syscall(SYS_futex, address, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

struct search {
    const struct xm_waiters_range *range;
    uint64_t page_size;
    long moved;
};

/* Maps the page where a waiter will be looked for. 0: it is none of the range's, or cannot be. */
static uint64_t map_goal(const struct search *search, uint64_t page) {
    const struct xm_waiters_range *range = search->range;
    if (page < range->address || page - range->address >= range->length ||
        (range->filter != NULL && !range->filter(range->context, page)))
        return 0;
    long mapped = syscall(SYS_mmap, NULL, search->page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                          range->into, (off_t)(range->into_offset + (page - range->address)));
    return mapped == -1 ? 0 : (uint64_t)mapped;
}

static int take_along(void *context, uint64_t address) {
    struct search *search = context;
    const struct xm_waiters_range *range = search->range;
    uint64_t page = address & ~(search->page_size - 1);
    uint64_t goal = map_goal(search, page);
    if (goal == 0)
        return 0;
    /* This, too, needs the page to be writable. */
    int error = range->protect(range->context, page, false);
    if (error == 0) {
        long moved = syscall(SYS_futex, address, FUTEX_REQUEUE, 0, (long)INT_MAX,
                             goal + (address - page), 0);
        search->moved += moved > 0 ? moved : 0;
        error = range->protect(range->context, page, true);
    }
    (void)syscall(SYS_munmap, goal, search->page_size);
    return error;
}

int xm_waiters_take_along(const struct xm_waiters_range *range) {
    struct search search = {.range = range, .page_size = xm_page_size(), .moved = 1};
    int error = 0;
    for (int round = 0; error == 0 && search.moved != 0 && round < MOST_ROUNDS; round++) {
        search.moved = 0;
        error = each_waiter(take_along, &search);
    }
    return error;
}

static int give_back(void *context, uint64_t address) {
    const struct search *search = context;
    uint64_t page = address & ~(search->page_size - 1);
    uint64_t goal = map_goal(search, page);
    if (goal != 0) {
        wake(goal + (address - page));
        (void)syscall(SYS_munmap, goal, search->page_size);
    }
    return 0;
}

void xm_waiters_give_back(const struct xm_waiters_range *range) {
    struct search search = {.range = range, .page_size = xm_page_size()};
    (void)each_waiter(give_back, &search);
}

struct pages {
    xm_page_filter filter;
    const void *context;
    uint64_t page_size;
};

static int wake_filtered(void *context, uint64_t address) {
    const struct pages *pages = context;
    if (pages->filter(pages->context, address & ~(pages->page_size - 1)))
        wake(address);
    return 0;
}

void xm_waiters_wake(xm_page_filter filter, const void *context) {
    struct pages pages = {filter, context, xm_page_size()};
    (void)each_waiter(wake_filtered, &pages);
}
