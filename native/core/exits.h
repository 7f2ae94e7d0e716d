/*
 * Threads that end while their memory is frozen.
 *
 * The kernel tells of a thread's end by storing 0 to a word of its descriptor, and waking whoever
 * waits there (pthread_join). A thread that ends does not wait any more: at a frozen page the store
 * fails, nobody hears of it, and the thread would never be joined. So threads are noted before
 * memory is frozen, and afterwards it is done for those that have ended meanwhile.
 *
 * A word is found by the list that the kernel knows of each thread (get_robust_list): it lies as
 * far from it as in the calling thread. That is so of all threads of the C library.
 */

#ifndef XM_EXITS_H
#define XM_EXITS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The least stack of a thread, at whose end its descriptor is. */
#define XM_LEAST_STACK_BYTES 16384

struct xm_exit {
    uint64_t word;
    pid_t thread;
};

/* Notes threads whose words lie in a range, as many as there is room for. How many. */
size_t xm_exits_note(uint64_t start, uint64_t end, struct xm_exit *exits, size_t capacity);
/* The memory is not frozen any more. */
void xm_exits_tell(const struct xm_exit *exits, size_t count);

#endif
