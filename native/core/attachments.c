#include "grants.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backing.h"
#include "lock.h"
#include "map_range.h"
#include "maps.h"
#include "memory.h"
#include "pager.h"
#include "place.h"
#include "still_mapped.h"
#include "strays.h"

static struct xm_span_index index_by_address;

void xm_owner_open(struct xm_owner *owner, void (*notify)(struct xm_owner *owner)) {
    xm_link_init(&owner->attachments);
    xm_link_init(&owner->notes);
    owner->notify = notify;
    owner->program = false;
}

static void *at(uint64_t address) {
    return (void *)(uintptr_t)address;
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

/* The end of a record that nobody else keeps. */
static void drop(struct xm_attachment *attachment) {
    if (attachment->owner->program)
        free(attachment);
}

/* The end of one that is not mapped where it was; it may be elsewhere. */
static void depart(struct xm_attachment *attachment) {
    if (!attachment->owner->program || attachment->grant == NULL) {
        forget(attachment);
        drop(attachment);
        return;
    }
    attachment->mapped = false;
    xm_link_remove(&attachment->in_notes);
    xm_span_remove(&index_by_address, &attachment->span);
    xm_stray_keep(attachment);
}

static int unmap_part(const struct xm_attachment *attachment, uint64_t address, uint64_t length,
                      void *unmapped) {
    (void)attachment;
    /* Inside the lock, so that a revocation is over when it says so. */
    if (munmap(at(address), length) != 0)
        return -errno;
    *(uint64_t *)unmapped += length;
    return 0;
}

static int each_part(const struct xm_attachment *attachment, enum xm_unreadable unreadable,
                     xm_part_function function, void *context) {
    if (attachment->owner->program)
        return xm_still_mapped(attachment, unreadable, function, context);
    return function(attachment, attachment->span.address, attachment->span.length, context);
}

/* Unmaps a part of an attachment, of which the rest stays. */
static void shorten(struct xm_attachment *attachment, uint64_t address, uint64_t length,
                    struct xm_span rest) {
    uint64_t unmapped = 0;
    attachment->span = (struct xm_span){address, length};
    if (length != 0)
        (void)each_part(attachment, XM_UNREADABLE_FAILS, unmap_part, &unmapped);
    attachment->span = rest;
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
        struct xm_attachment *attachment = (struct xm_attachment *)span;
        if (below == 0 && above == 0)
            depart(attachment);
        else if (below >= above)
            shorten(attachment, address + length, above, (struct xm_span){span->address, below});
        else
            shorten(attachment, span->address, below, (struct xm_span){address + length, above});
    }
}

/* The record of what a plan maps at an address; NULL if there is no memory. */
static struct xm_attachment *make_record(const struct xm_attach_request *request,
                                         const struct xm_plan *plan) {
    size_t count = xm_plan_count(plan);
    /* A revocation needs one. */
    size_t room = count == 0 ? 1 : count;
    struct xm_attachment *made = calloc(1, sizeof *made + room * sizeof *made->pieces);
    if (made == NULL)
        return NULL;
    made->span.length = request->length;
    made->agent = request->agent;
    made->apid = request->apid;
    made->owner = request->owner;
    made->style = request->style;
    made->keep_on_owner_exit = request->keep_on_owner_exit;
    made->mapped = true;
    made->piece_count = count;
    xm_plan_pieces(plan, made->pieces);
    xm_link_init(&made->in_notes);
    return made;
}

static bool paged(const struct xm_attachment *attachment, const struct xm_mapped_piece *piece) {
    return xm_pager_has(attachment->agent, piece->device, piece->inode);
}

/* Registers what the service answers faults of, before anybody can touch it. */
static int arm_pieces(struct xm_attachment *made) {
    int error = 0;
    for (size_t i = 0; error == 0 && i < made->piece_count; i++) {
        const struct xm_mapped_piece *piece = &made->pieces[i];
        if (!paged(made, piece))
            continue;
        made->paged = true;
        error = xm_pager_register(made->agent, made->span.address + piece->offset, piece->length);
    }
    return error;
}

size_t xm_attachment_paged(uint64_t address, size_t *at, struct xm_row_mapping *rows,
                           size_t capacity) {
    size_t count = 0;
    xm_lock();
    const struct xm_attachment *attachment =
        (const struct xm_attachment *)xm_span_find(&index_by_address, address);
    if (attachment == NULL || !attachment->paged || attachment->grant == NULL)
        *at = SIZE_MAX;
    for (; count < capacity && *at != SIZE_MAX && *at < attachment->piece_count; ++*at) {
        const struct xm_mapped_piece *piece = &attachment->pieces[*at];
        if (!paged(attachment, piece))
            continue;
        rows[count++] = (struct xm_row_mapping){.address = attachment->origin + piece->offset,
                                                .length = piece->length,
                                                .file_offset = piece->file_offset,
                                                .device = piece->device,
                                                .inode = piece->inode};
    }
    xm_unlock();
    return count;
}

/*
 * Threads that wait for a page of memory that is not there any more find that out. It may have
 * become paged after it was attached.
 */
static void wake_waiting(const struct xm_attachment *attachment) {
    xm_pager_wake(attachment->agent, attachment->span.address, attachment->span.length);
}

/* How an address that is given is used. */
enum placing {
    /* Nothing may be mapped there. -EEXIST if something is. */
    PLACE_FREE,
    /* What is mapped there is replaced. The conversion lock is held. */
    PLACE_OVER,
};

static int refuse_part(const struct xm_attachment *attachment, uint64_t address, uint64_t length,
                       void *context) {
    const struct xm_span *range = context;
    (void)attachment;
    return xm_spans_meet(range, address, length) ? -EINVAL : 0;
}

int xm_attachments_refuse(uint64_t address, uint64_t length) {
    struct xm_span range = {address, length};
    uint64_t end = address + length;
    const struct xm_span *span;
    int error = xm_strays_touch(address, length) ? -EINVAL : 0;
    for (uint64_t next = address;
         error == 0 && next < end &&
         (span = xm_span_overlap(&index_by_address, next, end - next)) != NULL;
         next = span->address + span->length)
        error =
            each_part((const struct xm_attachment *)span, XM_UNREADABLE_FAILS, refuse_part, &range);
    return error;
}

/* Maps what a plan says and notes it. 0 or a negative errno. */
static int carry_out(const struct xm_attach_request *request, const struct xm_plan *plan,
                     enum placing placing, struct xm_grant *grant,
                     struct xm_attachment **attachment) {
    struct xm_attachment *made = make_record(request, plan);
    if (made == NULL)
        return -ENOMEM;
    void *base = at(request->address);
    int error = placing == PLACE_OVER ? xm_place_over(request, plan) : xm_map_range(plan, &base);
    if (error != 0) {
        free(made);
        return error;
    }
    made->span.address = (uintptr_t)base;
    made->origin = (uintptr_t)base;
    error = arm_pieces(made);
    if (error != 0) {
        munmap(base, made->span.length);
        free(made);
        return error;
    }
    made->grant = grant;
    forget_unmapped(made->span.address, made->span.length);
    xm_link_append(&grant->attachments, &made->in_grant);
    xm_link_append(&request->owner->attachments, &made->in_owner);
    xm_span_insert(&index_by_address, &made->span);
    xm_strays_sweep();
    *attachment = made;
    return 0;
}

static int attach(const struct xm_attach_request *request, enum placing placing,
                  struct xm_attachment **attachment) {
    struct xm_grant *grant = xm_grants_find(request->agent, request->apid);
    if (grant == NULL || grant->revoked)
        return -ENOENT;
    bool inside = request->length <= grant->facts.length &&
                  request->offset <= grant->facts.length - request->length;
    int error = inside ? xm_span_reserve(&index_by_address) : -EINVAL;
    if (error != 0)
        return error;
    struct xm_none none;
    struct xm_plan plan = {.extents = request->extents != NULL ? request->extents : &grant->extents,
                           .offset = request->offset,
                           .length = request->length,
                           .writable = grant->facts.writable,
                           .none = &none};
    bool holes = xm_plan_has_holes(&plan);
    error = holes ? xm_none_open(&none) : 0;
    if (error != 0)
        return error;
    error = carry_out(request, &plan, placing, grant, attachment);
    if (holes)
        xm_none_close(&none);
    return error;
}

static bool request_valid(const struct xm_attach_request *request) {
    uint64_t page = xm_page_size();
    bool aligned = (request->offset | request->length | request->address) % page == 0;
    return aligned && request->length != 0 && request->address <= INT64_MAX;
}

int xm_attach(const struct xm_attach_request *request, struct xm_attachment **attachment) {
    xm_lock();
    int error = request_valid(request) ? attach(request, PLACE_FREE, attachment) : -EINVAL;
    xm_unlock();
    return error == -EEXIST ? -EINVAL : error;
}

static int owner_attach(const struct xm_attach_request *request, enum placing placing,
                        uint64_t *address) {
    struct xm_attachment *attachment;
    xm_lock();
    int error = request_valid(request) ? attach(request, placing, &attachment) : -EINVAL;
    /* Under the lock, since another thread may end it at once. */
    if (error == 0)
        *address = attachment->span.address;
    xm_unlock();
    return error;
}

int xm_owner_attach(const struct xm_attach_request *request, uint64_t *address) {
    int error = owner_attach(request, PLACE_FREE, address);
    if (error != -EEXIST)
        return error;
    if (!request->replaces)
        return -EINVAL;
    /* What is there may be just being moved. */
    xm_lock_conversion();
    error = owner_attach(request, PLACE_OVER, address);
    xm_unlock_conversion();
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

int xm_attachment_parts(const struct xm_attachment *attachment, xm_part_function function,
                        void *context) {
    return each_part(attachment, XM_UNREADABLE_ALL, function, context);
}

bool xm_attachments_touch(uint64_t address, uint64_t length) {
    return xm_span_overlap(&index_by_address, address, length) != NULL;
}

static void unmap(struct xm_attachment *attachment) {
    uint64_t unmapped = 0;
    if (!attachment->mapped)
        return;
    (void)each_part(attachment, XM_UNREADABLE_FAILS, unmap_part, &unmapped);
    wake_waiting(attachment);
    forget(attachment);
}

/* Ends one of a program's. 0, or a negative errno and it is still there. */
static int detach(struct xm_attachment *attachment) {
    uint64_t unmapped = 0;
    int error = each_part(attachment, XM_UNREADABLE_FAILS, unmap_part, &unmapped);
    if (error != 0)
        return error;
    wake_waiting(attachment);
    if (unmapped == attachment->span.length) {
        forget(attachment);
        drop(attachment);
    } else {
        depart(attachment);
        xm_strays_sweep();
    }
    return 0;
}

int xm_owner_detach(struct xm_owner *owner, uint64_t address) {
    xm_lock();
    struct xm_attachment *attachment = find(address);
    bool found = attachment != NULL && attachment->owner == owner;
    int error = found ? detach(attachment) : -ENOENT;
    xm_unlock();
    return error;
}

void xm_owner_detach_all(struct xm_owner *owner, const void *agent, uint64_t apid) {
    struct xm_link *next;
    xm_lock();
    for (struct xm_link *link = owner->attachments.next; link != &owner->attachments; link = next) {
        struct xm_attachment *attachment = XM_MEMBER(link, struct xm_attachment, in_owner);
        next = link->next;
        /* What cannot be unmapped now stays to be detached. */
        if (attachment->agent == agent && attachment->apid == apid)
            (void)detach(attachment);
    }
    xm_unlock();
}

void xm_attachment_unmap(struct xm_attachment *attachment) {
    xm_lock();
    unmap(attachment);
    xm_unlock();
}

void xm_attachment_free(struct xm_attachment *attachment) {
    free(attachment);
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
            if (attachment->owner == owner && attachment->mapped)
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
        drop(attachment);
    }
    index_by_address.count = 0;
    xm_strays_forget();
    xm_still_mapped_forget();
}
