/* Permits of this process. */

#ifndef XM_PERMITS_H
#define XM_PERMITS_H

#include "../core/table.h"
#include "xpmem.h"

/* What is known of a permit, asking the service if this process has not heard of it. 0 or a
 * negative errno: -ENOENT if it is unknown or released, -EACCES if it is another process's. */
int xm_permit_facts(xpmem_apid_t apid, struct xm_grant_facts *facts);

#endif
