/*
 * Memory that a C program has moved out of its attachments (mremap). A revocation must find it
 * wherever it is, so the record of an attachment that ended at its place is kept for as long as
 * some mapping shows its memory.
 */

#ifndef XM_STRAYS_H
#define XM_STRAYS_H

#include "grants.h"

/* Keeps the record of one that ended where it was. The state lock is held in all of these. */
void xm_stray_keep(struct xm_attachment *attachment);
/* Lets go of a record. */
void xm_stray_drop(struct xm_attachment *attachment);
/* Lets go of those whose memory is mapped nowhere any more. */
void xm_strays_sweep(void);
/* Whether a range shows some of their memory, or may. */
bool xm_strays_touch(uint64_t address, uint64_t length);
/* Takes away what was moved out of a permit's attachments. 0 or a negative errno. */
int xm_strays_cover(const struct xm_grant *grant);
/* Lets go of all. */
void xm_strays_forget(void);

#endif
