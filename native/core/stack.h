/* Stacks: what of them can be moved. */

#ifndef XM_STACK_H
#define XM_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "maps.h"

/*
 * Where the lowest mapping of the main thread's stack begins; 0 if that is not known. It is the one
 * that grows, and goes on growing when the mappings above it were moved, but it is no longer called
 * [stack] then. `buffer` is for reading /proc/self/maps.
 */
uint64_t xm_stack_low(char *buffer, size_t capacity);
/* Whether memory that ends at an address may be, or reach beyond, the main thread's stack. */
bool xm_stack_near(uint64_t address);
/* Has the kernel grow it by a page. */
void xm_stack_grow(uint64_t low);

/*
 * Whether a part of an anonymous mapping is a thread's stack, or holds a thread's descriptor, so
 * that the kernel itself stores there: signal frames, restartable sequences. `buffer` is for
 * reading /proc/self/task. Where that cannot be read, it is.
 *
 * A thread of the C library has its descriptor at the upper end of its stack, and in it a list that
 * the kernel knows (get_robust_list). Stacks that it does not tell of cannot be recognised: those
 * of sigaltstack, of coroutines, and of threads that were not made by the C library.
 */
bool xm_stack_of_thread(const struct xm_vma *vma, uint64_t start, uint64_t end, char *buffer,
                        size_t capacity);

#endif
