#include <errno.h>
#include <sys/mman.h>

#include "grants.h"
#include "map_range.h"
#include "pager.h"

static void *at(uint64_t address) {
    return (void *)(uintptr_t)address;
}

int xm_attachment_cover(const struct xm_attachment *attachment, uint64_t address, uint64_t length,
                        void *context) {
    const struct xm_none *none = context;
    /* Of what the program moved, it may lie anywhere. */
    off_t offset = address < attachment->origin ? 0 : (off_t)(address - attachment->origin);
    int flags = none == NULL ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
    void *mapped = mmap(at(address), length, PROT_READ | PROT_WRITE, flags | MAP_FIXED,
                        none == NULL ? -1 : none->descriptor, none == NULL ? 0 : offset);
    if (mapped != MAP_FAILED && madvise(mapped, length, MADV_DONTFORK) == 0)
        return 0;
    int error = -errno;
    /* Still no access, if there is no memory for a new mapping. */
    return mprotect(at(address), length, PROT_NONE) == 0 ? 0 : error;
}

/* Covers what is mapped of an attachment. 0 or a negative errno. */
static int cover_all(struct xm_attachment *attachment) {
    struct xm_none none;
    if (attachment->style == XM_REVOKED_ZERO)
        return xm_attachment_parts(attachment, xm_attachment_cover, NULL);
    /* Without a descriptor the mappings fail, and only the access is taken away. */
    if (xm_none_open(&none) != 0) {
        none.descriptor = -1;
        return xm_attachment_parts(attachment, xm_attachment_cover, &none);
    }
    int error = xm_attachment_parts(attachment, xm_attachment_cover, &none);
    attachment->piece_count = 1;
    attachment->pieces[0] =
        (struct xm_mapped_piece){.offset = attachment->span.address - attachment->origin,
                                 .length = attachment->span.length,
                                 .device = none.device,
                                 .inode = none.inode,
                                 .file_offset = attachment->span.address - attachment->origin};
    xm_none_close(&none);
    return error;
}

int xm_attachment_replace(struct xm_attachment *attachment, uint32_t reason) {
    int error = cover_all(attachment);
    /* Threads that wait for a page of it find out. */
    xm_pager_wake(attachment->agent, attachment->span.address, attachment->span.length);
    if (error != 0)
        return error;
    xm_link_remove(&attachment->in_grant);
    attachment->grant = NULL;
    attachment->reason = reason;
    if (reason != 0) {
        xm_link_append(&attachment->owner->notes, &attachment->in_notes);
        attachment->owner->notify(attachment->owner);
    }
    return 0;
}
