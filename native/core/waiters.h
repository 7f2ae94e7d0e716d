/*
 * Threads that wait at futexes while the memory under these is replaced.
 *
 * The kernel keeps those who wait by what is mapped there, unless the futex is declared private:
 * private memory by its address, a file's by its place in the file. Whoever waits since before the
 * memory was replaced would not be found by a wake after it. pthread_join waits so. So before that
 * they are requeued to where the memory will lie, without waking: whoever is woken may begin to
 * wait again in the very moment in which the page can be written. Such a wait needs a page that can
 * be written, so in a frozen range none begins.
 */

#ifndef XM_WAITERS_H
#define XM_WAITERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes a page of a frozen range writable, without waking anyone, or freezes it again. 0 or a
 * negative errno. */
typedef int (*xm_page_protect)(const void *context, uint64_t page, bool protect);
/* Whether someone may be waiting at a page; NULL: at all. */
typedef bool (*xm_page_filter)(const void *context, uint64_t page);

/* A frozen range, and where in a memfd it will lie. */
struct xm_waiters_range {
    uint64_t address;
    uint64_t length;
    int into;
    uint64_t into_offset;
    xm_page_protect protect;
    xm_page_filter filter;
    const void *context;
};

/*
 * Has this process's threads that wait in the range wait where it will lie. System calls only. 0 or
 * a negative errno, if a page could not be frozen again. Without /proc/self/task, or a descriptor
 * to read it, nothing happens.
 */
int xm_waiters_take_along(const struct xm_waiters_range *range);
/* The range stays what it was: wakes them, so that they wait there again. */
void xm_waiters_give_back(const struct xm_waiters_range *range);
/* Wakes those that wait in pages of the filter's, which are not frozen. */
void xm_waiters_wake(xm_page_filter filter, const void *context);

#endif
