/* What a forked child makes of the memory that its parent had moved. */

#ifndef XM_INHERIT_H
#define XM_INHERIT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * In a forked child, with the state lock held and before xm_files_forget: shared mappings of the
 * memfds become private, and private ones get copies of all their pages (`all`), or of those of the
 * calling thread's stack. `buffer` is for reading /proc/self/maps.
 */
void xm_inherit(bool all, char *buffer, size_t capacity);

#endif
