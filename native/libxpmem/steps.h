/* What the calls of xpmem.h do. Each gives 0 or a negative errno, and notes why it failed. */

#ifndef XM_STEPS_H
#define XM_STEPS_H

#include "xpmem.h"

int xm_do_version(void);
int xm_do_make(void *vaddr, size_t size, int permit_type, void *permit_value, xpmem_segid_t *segid);
int xm_do_remove(xpmem_segid_t segid);
int xm_do_get(xpmem_segid_t segid, int flags, int permit_type, xpmem_apid_t *apid);
int xm_do_release(xpmem_apid_t apid);
int xm_do_attach(struct xpmem_addr addr, size_t size, void *vaddr, void **attached);
int xm_do_detach(void *vaddr);

#endif
