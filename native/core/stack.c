#include "stack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

/* Bytes around the robust list's head that a thread's descriptor may take. */
#define DESCRIPTOR_BYTES 8192

/* The kernel puts these bytes at the stack's upper end. */
static uint64_t top(void) {
    return getauxval(AT_RANDOM);
}

bool xm_stack_near(uint64_t address) {
    struct rlimit limit;
    if (address >= top() || getrlimit(RLIMIT_STACK, &limit) != 0)
        return true;
    /* What was mapped over does not count for the limit any more, so it may be twice as large. */
    return limit.rlim_cur == RLIM_INFINITY || (top() - address) / 2 <= limit.rlim_cur;
}

uint64_t xm_stack_low(char *buffer, size_t capacity) {
    struct xm_maps maps;
    struct xm_vma vma;
    uint64_t low = 0;
    uint64_t next = 0;
    int found = 0;
    if (xm_maps_open(&maps, buffer, capacity) != 0)
        return 0;
    /* Nothing else is mapped directly below what grows: the kernel leaves a gap. */
    while (next <= top() && (found = xm_maps_next(&maps, &vma)) > 0) {
        if (vma.start != next)
            low = vma.start;
        next = vma.end;
    }
    xm_maps_close(&maps);
    return found > 0 ? low : 0;
}

void xm_stack_grow(uint64_t low) {
    struct timespec none = {0, 0};
    /* The kernel loads a word there, and waits no time for it to change. */
    (void)syscall(SYS_futex, low - xm_page_size(), FUTEX_WAIT_PRIVATE, -1, &none, NULL, 0);
}

/* The next thread's id in a directory that was read; 0: not a thread. */
static long next_thread(const char **at) {
    const struct dirent64 *entry = (const void *)*at;
    long id = 0;
    for (const char *c = entry->d_name; *c >= '0' && *c <= '9'; c++)
        id = id * 10 + (*c - '0');
    *at += entry->d_reclen;
    return id;
}

static bool holds_thread(const struct xm_vma *vma, uint64_t start, uint64_t end, long thread) {
    uint64_t head = 0;
    size_t length;
    if (syscall(SYS_get_robust_list, thread, &head, &length) != 0)
        /* It has just ended; or nobody may ask. */
        return errno != ESRCH;
    uint64_t from = head < DESCRIPTOR_BYTES ? 0 : head - DESCRIPTOR_BYTES;
    /* The main thread's stack is elsewhere. */
    if (thread != getpid() && head >= vma->start && head < vma->end)
        from = vma->start;
    return start < head + DESCRIPTOR_BYTES && end > from;
}

bool xm_stack_of_thread(const struct xm_vma *vma, uint64_t start, uint64_t end, char *buffer,
                        size_t capacity) {
    int directory = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool holds = directory < 0;
    long got = 0;
    while (!holds && (got = syscall(SYS_getdents64, directory, buffer, capacity)) > 0) {
        for (const char *at = buffer; !holds && at < buffer + got;) {
            long thread = next_thread(&at);
            holds = thread != 0 && holds_thread(vma, start, end, thread);
        }
    }
    if (directory >= 0)
        close(directory);
    return holds || got < 0;
}
