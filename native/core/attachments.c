#include "grants.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lock.h"
#include "memory.h"

static struct xm_span_index index_by_address;

void xm_owner_open(struct xm_owner *owner, void (*notify)(struct xm_owner *owner)) {
    xm_link_init(&owner->attachments);
    xm_link_init(&owner->notes);
    owner->notify = notify;
}

static void *at(uint64_t address) {
    return (void *)(uintptr_t)address;
}

/* Maps memory that raises SIGBUS: a file that has no byte. 0 or a negative errno. */
static int map_bus(void *address, uint64_t length, int protection) {
    int empty = memfd_create("xpmem-none", MFD_CLOEXEC);
    if (empty < 0)
        return -errno;
    void *mapped = mmap(address, length, protection, MAP_SHARED | MAP_FIXED, empty, 0);
    int error = mapped == MAP_FAILED ? -errno : 0;
    close(empty);
    return error;
}

/* What of a segment is mapped, and how. */
struct plan {
    const struct xm_extents *extents;
    uint64_t offset;
    uint64_t length;
    bool writable;
};

static int protection_of(const struct plan *plan, const struct xm_extent *extent) {
    /* A file that its owner can only read is no more than that to those who may write. */
    bool writable = extent->source == XM_HOLE || plan->extents->sources[extent->source].writable;
    return plan->writable && writable ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* Maps a part of an extent at an address, by mmap's `flags`. The address, or MAP_FAILED. */
static void *map_extent(const struct plan *plan, const struct xm_extent *extent, uint64_t skip,
                        uint64_t length, void *address, int flags) {
    return mmap(address, length, protection_of(plan, extent), MAP_SHARED | flags,
                plan->extents->sources[extent->source].descriptor,
                (off_t)(extent->file_offset + skip));
}

/* Maps the pieces of a range over what is reserved at `base`. 0, -ENODATA, or a negative errno. */
static int map_pieces(const struct plan *plan, char *base) {
    const struct xm_extent *extent = xm_extents_find(plan->extents, plan->offset);
    const struct xm_extent *end = plan->extents->items + plan->extents->count;
    for (uint64_t done = 0; done < plan->length; extent++) {
        if (extent == NULL || extent == end || extent->offset > plan->offset + done)
            return -ENODATA;
        uint64_t skip = plan->offset + done - extent->offset;
        uint64_t piece = extent->length - skip;
        piece = piece < plan->length - done ? piece : plan->length - done;
        int error = 0;
        if (extent->source == XM_HOLE)
            error = map_bus(base + done, piece, protection_of(plan, extent));
        else if (map_extent(plan, extent, skip, piece, base + done, MAP_FIXED) == MAP_FAILED)
            error = -errno;
        if (error != 0)
            return error;
        done += piece;
    }
    return 0;
}

/* Maps a range of a segment. `*base` is the address wanted, or NULL; it gets the one given. */
static int map_range(const struct plan *plan, void **base) {
    const struct xm_extent *first = xm_extents_find(plan->extents, plan->offset);
    if (first == NULL)
        return -ENODATA;
    int exactly = *base == NULL ? 0 : MAP_FIXED_NOREPLACE;
    uint64_t skip = plan->offset - first->offset;
    bool single = plan->length <= first->length - skip && first->source != XM_HOLE;
    void *wanted = *base;
    void *mapped = single ? map_extent(plan, first, skip, plan->length, wanted, exactly)
                          : mmap(wanted, plan->length, PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | exactly, -1, 0);
    if (mapped == MAP_FAILED)
        return errno == EEXIST ? -EINVAL : -errno;
    /* Kernels before 4.17 take the address for a hint. */
    int error = wanted != NULL && mapped != wanted ? -EINVAL : 0;
    if (error == 0 && !single)
        error = map_pieces(plan, mapped);
    /* The child of a fork has none of it, as with the kernel driver. */
    if (error == 0 && madvise(mapped, plan->length, MADV_DONTFORK) != 0)
        error = -errno;
    if (error != 0)
        munmap(mapped, plan->length);
    *base = mapped;
    return error;
}

/* Takes an attachment off all lists; its memory is not touched. */
static void forget(struct xm_attachment *attachment) {
    attachment->mapped = false;
    attachment->grant = NULL;
    xm_link_remove(&attachment->in_grant);
    xm_link_remove(&attachment->in_owner);
    xm_link_remove(&attachment->in_notes);
    xm_span_remove(&index_by_address, &attachment->span);
}

/*
 * What was free to be mapped has been unmapped by the program if attachments are noted there, which
 * counts as a detach. Of one that was unmapped in part the longer rest stays attached.
 */
static void forget_unmapped(uint64_t address, uint64_t length) {
    struct xm_span *span;
    while ((span = xm_span_overlap(&index_by_address, address, length)) != NULL) {
        uint64_t end = span->address + span->length;
        uint64_t below = span->address < address ? address - span->address : 0;
        uint64_t above = end > address + length ? end - (address + length) : 0;
        if (below == 0 && above == 0) {
            forget((struct xm_attachment *)span);
        } else if (below >= above) {
            if (above != 0)
                munmap(at(address + length), above);
            span->length = below;
        } else {
            if (below != 0)
                munmap(at(span->address), below);
            span->address = address + length;
            span->length = above;
        }
    }
}

static int attach(const struct xm_attach_request *request, struct xm_attachment *made) {
    struct xm_grant *grant = xm_grants_find(request->agent, request->apid);
    if (grant == NULL || grant->revoked)
        return -ENOENT;
    bool inside = request->length <= grant->facts.length &&
                  request->offset <= grant->facts.length - request->length;
    int error = inside ? xm_span_reserve(&index_by_address) : -EINVAL;
    if (error != 0)
        return error;
    struct plan plan = {.extents = request->extents != NULL ? request->extents : &grant->extents,
                        .offset = request->offset,
                        .length = request->length,
                        .writable = grant->facts.writable};
    void *base = at(request->address);
    error = map_range(&plan, &base);
    if (error != 0)
        return error;
    *made = (struct xm_attachment){.span = {(uintptr_t)base, request->length},
                                   .agent = request->agent,
                                   .grant = grant,
                                   .owner = request->owner,
                                   .style = request->style,
                                   .keep_on_owner_exit = request->keep_on_owner_exit,
                                   .mapped = true};
    forget_unmapped(made->span.address, made->span.length);
    xm_link_init(&made->in_notes);
    xm_link_append(&grant->attachments, &made->in_grant);
    xm_link_append(&request->owner->attachments, &made->in_owner);
    xm_span_insert(&index_by_address, &made->span);
    return 0;
}

int xm_attach(const struct xm_attach_request *request, struct xm_attachment **attachment) {
    uint64_t page = xm_page_size();
    bool aligned = (request->offset | request->length | request->address) % page == 0;
    if (!aligned || request->length == 0 || request->address > INT64_MAX)
        return -EINVAL;
    struct xm_attachment *made = malloc(sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    xm_lock();
    int error = attach(request, made);
    xm_unlock();
    if (error != 0)
        free(made);
    else
        *attachment = made;
    return error;
}

static struct xm_attachment *find(uint64_t address) {
    return (struct xm_attachment *)xm_span_find(&index_by_address, address);
}

struct xm_attachment *xm_owner_attachment(const struct xm_owner *owner, uint64_t address) {
    xm_lock();
    struct xm_attachment *attachment = find(address);
    /* The record is read under the lock: another owner may free its own at any time. */
    if (attachment != NULL && attachment->owner != owner)
        attachment = NULL;
    xm_unlock();
    return attachment;
}

bool xm_attachments_touch(uint64_t address, uint64_t length) {
    return xm_span_overlap(&index_by_address, address, length) != NULL;
}

static void unmap(struct xm_attachment *attachment) {
    if (!attachment->mapped)
        return;
    forget(attachment);
    /* It fails for a bad range only; inside the lock, so that a revocation is over when it says so.
     */
    munmap(at(attachment->span.address), attachment->span.length);
}

void xm_attachment_unmap(struct xm_attachment *attachment) {
    xm_lock();
    unmap(attachment);
    xm_unlock();
}

void xm_attachment_free(struct xm_attachment *attachment) {
    free(attachment);
}

/* Maps what a style shows over a range. */
static int cover(const struct xm_attachment *attachment) {
    void *memory = at(attachment->span.address);
    uint64_t length = attachment->span.length;
    int error = 0;
    if (attachment->style == XM_REVOKED_BUS)
        error = map_bus(memory, length, PROT_READ | PROT_WRITE);
    else if (mmap(memory, length, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        error = -errno;
    if (error == 0 && madvise(memory, length, MADV_DONTFORK) != 0)
        error = -errno;
    return error;
}

int xm_attachment_replace(struct xm_attachment *attachment, uint32_t reason) {
    int error = cover(attachment);
    /* Still no access, if there is no memory for a new mapping. */
    if (error != 0)
        error = mprotect(at(attachment->span.address), attachment->span.length, PROT_NONE) == 0
                    ? 0
                    : error;
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

int xm_attachment_revoke(struct xm_attachment *attachment, uint32_t reason) {
    xm_lock();
    int error = attachment->mapped && attachment->grant != NULL
                    ? xm_attachment_replace(attachment, reason)
                    : 0;
    xm_unlock();
    return error;
}

bool xm_attachment_revoke_at(uint64_t address, uint32_t reason) {
    xm_lock();
    struct xm_attachment *attachment = find(address);
    if (attachment != NULL && attachment->grant != NULL)
        (void)xm_attachment_replace(attachment, reason);
    xm_unlock();
    return attachment != NULL;
}

bool xm_attachment_covers(const void *agent, uint64_t address, uint64_t length) {
    xm_lock();
    const struct xm_attachment *attachment = find(address);
    bool covers = attachment != NULL && attachment->agent == agent && attachment->grant != NULL &&
                  length <= attachment->span.length - (address - attachment->span.address);
    xm_unlock();
    return covers;
}

struct xm_attachment *xm_grant_attachment(const void *agent, uint64_t apid,
                                          const struct xm_owner *owner) {
    struct xm_attachment *found = NULL;
    xm_lock();
    const struct xm_grant *grant = xm_grants_find(agent, apid);
    if (grant != NULL) {
        for (struct xm_link *link = grant->attachments.next;
             found == NULL && link != &grant->attachments; link = link->next) {
            struct xm_attachment *attachment = XM_MEMBER(link, struct xm_attachment, in_grant);
            if (attachment->owner == owner)
                found = attachment;
        }
    }
    xm_unlock();
    return found;
}

struct xm_attachment *xm_owner_note(struct xm_owner *owner) {
    struct xm_attachment *attachment = NULL;
    xm_lock();
    if (!xm_link_alone(&owner->notes)) {
        attachment = XM_MEMBER(owner->notes.next, struct xm_attachment, in_notes);
        xm_link_remove(&attachment->in_notes);
    }
    xm_unlock();
    return attachment;
}

void xm_owner_close(struct xm_owner *owner) {
    xm_lock();
    while (!xm_link_alone(&owner->attachments))
        unmap(XM_MEMBER(owner->attachments.next, struct xm_attachment, in_owner));
    xm_unlock();
}

void xm_attachments_forget(void) {
    for (size_t i = 0; i < index_by_address.count; i++) {
        struct xm_attachment *attachment = (struct xm_attachment *)index_by_address.items[i];
        attachment->mapped = false;
        attachment->grant = NULL;
        xm_link_remove(&attachment->in_grant);
        xm_link_remove(&attachment->in_owner);
        xm_link_remove(&attachment->in_notes);
    }
    index_by_address.count = 0;
}
