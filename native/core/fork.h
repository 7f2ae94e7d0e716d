/*
 * Forks of a process whose memory lies in memfds.
 *
 * From before the fork until after it, memory that was moved is mapped privately: the C library
 * writes to thread descriptors, locks and the stack in the child before anyone is asked, and
 * through a shared mapping all that would be the parent's. Then the parent merges what was stored
 * meanwhile and shares again; the child keeps private copies, and has no agent and no attachments.
 */

#ifndef XM_FORK_H
#define XM_FORK_H

#include <stdbool.h>

/*
 * Whether a forked child copies all memory that was moved before fork() returns in either process.
 * Without it, which is the default and enough for a child that will exec, a page of the child can
 * show what its parent stores later, until one of them is stored to in the child; except what lies
 * on the stack of the thread that forked.
 */
void xm_fork_copies(bool copies);

#endif
