/* What this process has attached. One owner in the core's sense stands for all its threads. */

#ifndef XM_ATTACHED_H
#define XM_ATTACHED_H

#include <stdint.h>

/* Unmaps all that was attached with a permit, and has the core forget it. */
void xm_attached_release(uint64_t apid);

/* The lock of those who unmap. The session's lock may be taken inside. */
void xm_attached_lock(void);
void xm_attached_unlock(void);
/* In a forked child, with the lock held: nothing is attached. */
void xm_attached_forget(void);

#endif
