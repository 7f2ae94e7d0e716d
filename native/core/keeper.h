/*
 * The keeper: two threads that keep memory and its memfds together over forks.
 *
 * While a fork goes on, the memory that was moved is mapped privately in this process. The first
 * store to a page of it is a fault that the server answers: it notes what the page was and gives
 * the process a copy. Stores of other threads than the forking one wait until all is shared again,
 * unless the forking thread waits for them in turn. At the end the joiner merges the copies.
 *
 * They take no lock and wait for no other thread, so a fork can wait for them anywhere: in the
 * agent's thread as well, or while the agent waits for the conversion lock that the fork holds.
 *
 * A program may unmap moved memory at any time, and what is mapped next gets its place. That must
 * not be mapped over. The kernel tells the server of an unmap and lets the program go on when that
 * was read; so before anything is mapped over memory, it is looked whether that is still there, and
 * until it is done the server reads nothing. That wants two threads: what is mapped over is
 * unmapped, too, and the kernel waits for that to be read.
 *
 * The conversion lock is held in all of these.
 */

#ifndef XM_KEEPER_H
#define XM_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "backing.h"
#include "maps.h"
#include "span.h"

/* Starts the threads if they are not there. 0 or a negative errno. */
int xm_keeper_start(void);
/* Ends them. */
void xm_keeper_end(void);
/* In a forked child: they are not there. */
void xm_keeper_forget(void);
/* Whether they are there, and have all their descriptors. */
bool xm_keeper_there(void);
/* Their own memory, which must not be moved; of length 0 if they are not there. */
struct xm_span xm_keeper_memory(void);

/*
 * Connected sockets, which were kept since a process that forks may have no descriptor left to
 * open. They are the caller's then. 0 or a negative errno.
 */
int xm_keeper_take_pair(int ends[2]);
/* Opens a pair for the next fork. 0 or a negative errno. */
int xm_keeper_renew_pair(void);

/* The calling thread is about to fork: what is parted from now on is merged again in the end. */
void xm_keeper_begin(void);
/* /proc/self/maps from its beginning, with a descriptor that is kept for this. */
int xm_keeper_maps(struct xm_maps *maps, char *buffer, size_t capacity);
/*
 * Maps a shared mapping of moved memory privately, without any moment in which a store would go
 * unnoticed. 0; -EBUSY if someone else answers its faults; -ENOENT if something else is mapped
 * there by now; or another negative errno, after which it is as it was.
 */
int xm_keeper_part(const struct xm_vma *vma, const struct xm_file *file);
/* The thread does nothing now but wait for the child. */
void xm_keeper_await_child(void);
/* Merges all that was parted, and what was mapped privately instead. */
void xm_keeper_merge(void);

#endif
