/* Futexes between processes: the kernel finds the waiters by the page, not by the address space. */

#ifndef XM_FUTEX_H
#define XM_FUTEX_H

#include <stdint.h>

/*
 * Blocks until `word` is woken, if it holds `expected`. `timeout_ms` negative: no limit.
 * 0, -EAGAIN (it held something else), -ETIMEDOUT, or another negative errno.
 */
int xm_futex_wait(int32_t *word, int32_t expected, double timeout_ms);

/* Wakes up to `count` waiters; how many there were, or a negative errno. */
int xm_futex_wake(int32_t *word, int count);

#endif
