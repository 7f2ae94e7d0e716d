/* Permits, between table's own files. The state lock is held in all of these. */

#ifndef XM_GRANTS_H
#define XM_GRANTS_H

#include "still_mapped.h"
#include "table.h"

struct xm_grant {
    const void *agent;
    struct xm_grant_facts facts;
    struct xm_extents extents;
    struct xm_link attachments;
    bool revoked;
};

/* All permits of the process, sorted by agent and apid. */
struct xm_grants {
    struct xm_grant **items;
    size_t count;
    size_t capacity;
};

extern struct xm_grants xm_grants;

/* The permit, or NULL. */
struct xm_grant *xm_grants_find(const void *agent, uint64_t apid);
/* Where the first permit of that agent with an apid above `apid` is, or would be. */
size_t xm_grants_after(const void *agent, uint64_t apid);

/* Replaces a mapping by what its style says and takes it off its permit. 0 or a negative errno. */
int xm_attachment_replace(struct xm_attachment *attachment, uint32_t reason);
/* Calls a function for each part of an attachment that is mapped, as far as can be told. */
int xm_attachment_parts(const struct xm_attachment *attachment, xm_part_function function,
                        void *context);
/*
 * Maps what a style shows over a part, or at least takes the access away. An xm_part_function,
 * whose context is a struct xm_none; NULL for zero pages.
 */
int xm_attachment_cover(const struct xm_attachment *attachment, uint64_t address, uint64_t length,
                        void *none);
/*
 * 0; -EINVAL if attachments' memory is mapped in a range; or another negative errno if that cannot
 * be told.
 */
int xm_attachments_refuse(uint64_t address, uint64_t length);
/* Drops all attachments without touching memory. */
void xm_attachments_forget(void);

#endif
