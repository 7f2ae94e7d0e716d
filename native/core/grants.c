#include "grants.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lock.h"
#include "pager.h"
#include "strays.h"

struct xm_grants xm_grants;

size_t xm_grants_after(const void *agent, uint64_t apid) {
    size_t low = 0;
    size_t high = xm_grants.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct xm_grant *grant = xm_grants.items[middle];
        bool below = (uintptr_t)grant->agent < (uintptr_t)agent ||
                     (grant->agent == agent && grant->facts.apid <= apid);
        if (below)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct xm_grant *xm_grants_find(const void *agent, uint64_t apid) {
    size_t after = xm_grants_after(agent, apid);
    if (after == 0)
        return NULL;
    struct xm_grant *grant = xm_grants.items[after - 1];
    return grant->agent == agent && grant->facts.apid == apid ? grant : NULL;
}

static int reserve(void) {
    if (xm_grants.count < xm_grants.capacity)
        return 0;
    size_t capacity = xm_grants.capacity == 0 ? 64 : xm_grants.capacity * 2;
    struct xm_grant **items = realloc(xm_grants.items, capacity * sizeof *items);
    if (items == NULL)
        return -ENOMEM;
    xm_grants.items = items;
    xm_grants.capacity = capacity;
    return 0;
}

static int insert(const void *agent, const struct xm_grant_facts *facts) {
    if (xm_grants_find(agent, facts->apid) != NULL)
        return 0;
    if (reserve() != 0)
        return -ENOMEM;
    struct xm_grant *grant = calloc(1, sizeof *grant);
    if (grant == NULL)
        return -ENOMEM;
    grant->agent = agent;
    grant->facts = *facts;
    xm_link_init(&grant->attachments);
    size_t at = xm_grants_after(agent, facts->apid);
    struct xm_grant **items = xm_grants.items;
    memmove(&items[at + 1], &items[at], (xm_grants.count - at) * sizeof *items);
    items[at] = grant;
    xm_grants.count++;
    return 0;
}

int xm_grant_open(const void *agent, const struct xm_grant_facts *facts) {
    xm_lock();
    int error = insert(agent, facts);
    xm_unlock();
    return error;
}

int xm_grant_facts(const void *agent, uint64_t apid, struct xm_grant_facts *facts) {
    xm_lock();
    const struct xm_grant *grant = xm_grants_find(agent, apid);
    if (grant != NULL)
        *facts = grant->facts;
    xm_unlock();
    return grant == NULL ? -ENOENT : 0;
}

int xm_grant_any(const void *agent, uint64_t *apid) {
    xm_lock();
    size_t at = xm_grants_after(agent, 0);
    bool found = at < xm_grants.count && xm_grants.items[at]->agent == agent;
    if (found)
        *apid = xm_grants.items[at]->facts.apid;
    xm_unlock();
    return found ? 0 : -ENOENT;
}

int xm_grant_extents(const void *agent, uint64_t apid, const struct xm_row_extent *rows,
                     size_t row_count, const int *descriptors, size_t descriptor_count) {
    xm_lock();
    struct xm_grant *grant = xm_grants_find(agent, apid);
    int error = grant == NULL || grant->revoked ? -ENOENT : 0;
    if (error == 0) {
        error = xm_extents_add(&grant->extents, grant->facts.length,
                               grant->facts.writable ? XM_EXTENTS_WRITABLE : 0, rows, row_count,
                               descriptors, descriptor_count);
    } else {
        for (size_t i = 0; i < descriptor_count; i++)
            close(descriptors[i]);
    }
    xm_unlock();
    return error;
}

/* Whether a C program has some of its attachments. */
static bool has_program(const struct xm_grant *grant) {
    for (const struct xm_link *link = grant->attachments.next; link != &grant->attachments;
         link = link->next) {
        if (XM_MEMBER(link, const struct xm_attachment, in_grant)->owner->program)
            return true;
    }
    return false;
}

/* Replaces the attachments of a permit but those to be kept. The first error, or 0. */
static int replace_all(struct xm_grant *grant, uint32_t reason) {
    bool strays = reason != XM_REASON_OWNER_EXIT && has_program(grant);
    int error = strays ? xm_strays_cover(grant) : 0;
    struct xm_link *next;
    for (struct xm_link *link = grant->attachments.next; link != &grant->attachments; link = next) {
        next = link->next;
        struct xm_attachment *attachment = XM_MEMBER(link, struct xm_attachment, in_grant);
        if (reason == XM_REASON_OWNER_EXIT &&
            (attachment->keep_on_owner_exit || !attachment->mapped))
            continue;
        if (!attachment->mapped) {
            xm_stray_drop(attachment);
            continue;
        }
        int failed = xm_attachment_replace(attachment, reason);
        error = error == 0 ? failed : error;
    }
    return error;
}

void xm_grant_close(const void *agent, uint64_t apid) {
    xm_lock();
    struct xm_grant *grant = xm_grants_find(agent, apid);
    if (grant != NULL) {
        /* One that cannot be replaced stays mapped, owned by whoever has it, until it is detached.
         */
        (void)replace_all(grant, XM_REASON_REMOVED);
        while (!xm_link_alone(&grant->attachments)) {
            struct xm_link *link = grant->attachments.next;
            xm_link_remove(link);
            XM_MEMBER(link, struct xm_attachment, in_grant)->grant = NULL;
        }
        xm_extents_clear(&grant->extents);
        size_t after = xm_grants_after(agent, apid);
        xm_grants.count--;
        memmove(&xm_grants.items[after - 1], &xm_grants.items[after],
                (xm_grants.count - (after - 1)) * sizeof *xm_grants.items);
        free(grant);
    }
    xm_unlock();
}

int xm_revoke(const void *agent, uint64_t segid, uint32_t reason) {
    int error = 0;
    xm_lock();
    for (size_t i = xm_grants_after(agent, 0);
         i < xm_grants.count && xm_grants.items[i]->agent == agent; i++) {
        struct xm_grant *grant = xm_grants.items[i];
        if (grant->facts.segid != segid)
            continue;
        grant->revoked = true;
        xm_extents_clear(&grant->extents);
        int failed = replace_all(grant, reason);
        error = error == 0 ? failed : error;
    }
    xm_unlock();
    return error;
}

/* Whether something that is attached through it shows a copy. */
static bool shows_copy(const struct xm_grant *grant) {
    for (const struct xm_link *link = grant->attachments.next; link != &grant->attachments;
         link = link->next) {
        const struct xm_attachment *attachment =
            XM_MEMBER(link, const struct xm_attachment, in_grant);
        for (size_t i = 0; attachment->paged && i < attachment->piece_count; i++) {
            const struct xm_mapped_piece *piece = &attachment->pieces[i];
            if (xm_pager_has_copy(grant->agent, piece->device, piece->inode))
                return true;
        }
    }
    return false;
}

void xm_revoke_copies(const void *agent) {
    xm_lock();
    for (size_t i = xm_grants_after(agent, 0);
         i < xm_grants.count && xm_grants.items[i]->agent == agent; i++) {
        struct xm_grant *grant = xm_grants.items[i];
        if (grant->revoked || !shows_copy(grant))
            continue;
        grant->revoked = true;
        xm_extents_clear(&grant->extents);
        /* One that cannot be replaced waits in its faults for ever, as nobody answers them. */
        (void)replace_all(grant, XM_REASON_PARTITION);
    }
    xm_unlock();
}

size_t xm_held(const void *agent, uint64_t *apid, struct xm_row_held *rows, size_t capacity) {
    size_t count = 0;
    xm_lock();
    for (size_t i = xm_grants_after(agent, *apid);
         count < capacity && i < xm_grants.count && xm_grants.items[i]->agent == agent; i++) {
        const struct xm_grant *grant = xm_grants.items[i];
        *apid = grant->facts.apid;
        bool holds = grant->extents.source_count != 0 || !xm_link_alone(&grant->attachments);
        if (grant->revoked || !holds)
            continue;
        size_t same = 0;
        while (same < count && rows[same].segid != grant->facts.segid)
            same++;
        if (same == count)
            rows[count++] = (struct xm_row_held){grant->facts.segid, grant->facts.owner_start,
                                                 grant->facts.owner_pid, 0};
    }
    xm_unlock();
    return count;
}

size_t xm_holdings(const void *agent, struct xm_row_holding *rows, size_t capacity) {
    size_t count = 0;
    xm_lock();
    for (size_t i = xm_grants_after(agent, 0);
         i < xm_grants.count && xm_grants.items[i]->agent == agent; i++) {
        const struct xm_grant *grant = xm_grants.items[i];
        if (xm_link_alone(&grant->attachments))
            continue;
        size_t row = 0;
        while (row < count && rows[row].segid != grant->facts.segid)
            row++;
        if (row == capacity)
            continue;
        if (row == count)
            rows[count++] = (struct xm_row_holding){.segid = grant->facts.segid};
        for (struct xm_link *link = grant->attachments.next; link != &grant->attachments;
             link = link->next) {
            rows[row].attachments++;
            rows[row].bytes += XM_MEMBER(link, struct xm_attachment, in_grant)->span.length;
        }
    }
    xm_unlock();
    return count;
}

void xm_table_forget(void) {
    xm_attachments_forget();
    for (size_t i = 0; i < xm_grants.count; i++) {
        xm_extents_clear(&xm_grants.items[i]->extents);
        free(xm_grants.items[i]);
    }
    xm_grants.count = 0;
}
