/* Starting xpmem's own threads. */

#ifndef XM_THREAD_H
#define XM_THREAD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Starts a thread on a stack that is given, with all signals blocked: they are for the program's
 * own threads. 0 or a negative errno.
 */
int xm_thread_start(pthread_t *thread, void *stack, size_t bytes, void *(*run)(void *),
                    void *argument);

/*
 * Blocks every signal of the calling thread while a range is frozen, also the one that the C
 * library sends to all threads at setuid, whose handler stores to the stack of the thread that
 * called it, and which no function of the C library blocks. The mask before, for
 * xm_signals_restore.
 */
uint64_t xm_signals_block(void);
void xm_signals_restore(uint64_t before);

#endif
