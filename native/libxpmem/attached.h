/* What this process has attached. One owner in the core's sense stands for all its threads. */

#ifndef XM_ATTACHED_H
#define XM_ATTACHED_H

#include <stdint.h>

/* Unmaps all that was attached with a permit, and has the core forget it. */
void xm_attached_release(uint64_t apid);

/* In a forked child: nothing is attached. */
void xm_attached_forget(void);

#endif
