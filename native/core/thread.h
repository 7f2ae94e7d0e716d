/* Starting xpmem's own threads. */

#ifndef XM_THREAD_H
#define XM_THREAD_H

#include <pthread.h>
#include <stddef.h>

/*
 * Starts a thread on a stack that is given, with all signals blocked: they are for the program's
 * own threads. 0 or a negative errno.
 */
int xm_thread_start(pthread_t *thread, void *stack, size_t bytes, void *(*run)(void *),
                    void *argument);

#endif
