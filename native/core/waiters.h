/*
 * Threads that wait at futexes while the memory under these is replaced.
 *
 * The kernel keeps those who wait by what is mapped there, unless the futex is declared private:
 * private memory by its address, a file's by its place in the file. Whoever waits since before the
 * memory was replaced would not be found by a wake after it. pthread_join waits so. Such a wait
 * needs a page that can be written, so in a frozen range none begins.
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

/*
 * Wakes this process's threads that wait in a frozen range, so that they look again and wait, if
 * they must, where it lies then. System calls only. 0 or a negative errno, if a page could not be
 * frozen again. Without /proc/self/task, or a descriptor to read it, nobody is woken.
 */
int xm_waiters_rouse(uint64_t address, uint64_t length, xm_page_protect protect,
                     xm_page_filter filter, const void *context);
/* Wakes those that wait in pages of the filter's, which are not frozen. */
void xm_waiters_wake(xm_page_filter filter, const void *context);

#endif
