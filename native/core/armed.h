/* Ranges whose faults a service answers. */

#ifndef XM_ARMED_H
#define XM_ARMED_H

#include <stdint.h>

#include "list.h"

/*
 * Registers a range with a userfaultfd (missing and write-protect) and notes it in `list`. The
 * descriptor, which the list owns, or a negative errno; -ENOTSUP: no such userfaultfd here.
 */
int xm_arm(struct xm_link *list, uint64_t address, uint64_t length, uint64_t *features,
           uint64_t *ioctls);
/* Ends what xm_arm did for that very range. 0 or -ENOENT. */
int xm_disarm(struct xm_link *list, uint64_t address, uint64_t length);
/* Ends all: when nobody answers the faults any more, waiting threads must go on. */
void xm_disarm_all(struct xm_link *list);

#endif
