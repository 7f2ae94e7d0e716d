#include "strays.h"

#include <stdlib.h>

#include "backing.h"
#include "grants.h"
#include "map_range.h"
#include "maps.h"
#include "still_mapped.h"

static struct xm_link strays = {&strays, &strays};

void xm_stray_keep(struct xm_attachment *attachment) {
    xm_link_remove(&attachment->in_owner);
    xm_link_append(&strays, &attachment->in_owner);
}

void xm_stray_drop(struct xm_attachment *attachment) {
    xm_link_remove(&attachment->in_grant);
    xm_link_remove(&attachment->in_owner);
    free(attachment);
}

static void drop_all(struct xm_link *list) {
    while (!xm_link_alone(list))
        xm_stray_drop(XM_MEMBER(list->next, struct xm_attachment, in_owner));
}

/* Takes those that a mapping shows out of the list `idle`. */
static void keep_shown(struct xm_link *idle, const struct xm_vma *vma) {
    struct xm_link *next;
    for (struct xm_link *link = idle->next; link != idle; link = next) {
        next = link->next;
        struct xm_attachment *attachment = XM_MEMBER(link, struct xm_attachment, in_owner);
        if (xm_shows_attachment(attachment, vma))
            xm_stray_keep(attachment);
    }
}

void xm_strays_sweep(void) {
    char buffer[4096];
    struct xm_maps maps;
    struct xm_vma vma;
    struct xm_link idle;
    if (xm_link_alone(&strays) || xm_maps_open(&maps, buffer, sizeof buffer) != 0)
        return;
    idle = strays;
    idle.next->previous = idle.previous->next = &idle;
    xm_link_init(&strays);
    int found;
    while ((found = xm_maps_next(&maps, &vma)) > 0) {
        if (!xm_attachments_touch(vma.start, vma.end - vma.start))
            keep_shown(&idle, &vma);
    }
    xm_maps_close(&maps);
    if (found == 0)
        drop_all(&idle);
    while (!xm_link_alone(&idle))
        xm_stray_keep(XM_MEMBER(idle.next, struct xm_attachment, in_owner));
}

/* Whether a mapping shows some of them. */
static bool is_stray(const struct xm_vma *vma) {
    for (struct xm_link *link = strays.next; link != &strays; link = link->next) {
        if (xm_shows_attachment(XM_MEMBER(link, struct xm_attachment, in_owner), vma))
            return true;
    }
    return false;
}

bool xm_strays_touch(uint64_t address, uint64_t length) {
    char buffer[4096];
    struct xm_maps maps;
    struct xm_vma vma;
    bool touch = false;
    if (xm_link_alone(&strays))
        return false;
    if (xm_maps_open(&maps, buffer, sizeof buffer) != 0)
        return true;
    while (!touch && xm_maps_next(&maps, &vma) > 0 && vma.start < address + length)
        touch = vma.end > address && is_stray(&vma);
    xm_maps_close(&maps);
    return touch;
}

/* The attachment of a permit whose memory a mapping outside of all attachments shows, or NULL. */
static const struct xm_attachment *stray_of(const struct xm_grant *grant,
                                            const struct xm_vma *vma) {
    if (!vma->shared || xm_file_find(vma->device, vma->inode) != NULL ||
        xm_attachments_touch(vma->start, vma->end - vma->start))
        return NULL;
    for (const struct xm_link *link = grant->attachments.next; link != &grant->attachments;
         link = link->next) {
        const struct xm_attachment *attachment =
            XM_MEMBER(link, const struct xm_attachment, in_grant);
        if (attachment->owner->program && xm_shows_attachment(attachment, vma))
            return attachment;
    }
    return NULL;
}

int xm_strays_cover(const struct xm_grant *grant) {
    char buffer[4096];
    struct xm_maps maps;
    struct xm_vma vma;
    struct xm_none none = {.descriptor = -1};
    int error = 0;
    int found = xm_maps_open(&maps, buffer, sizeof buffer);
    if (found < 0)
        return 0;
    while ((found = xm_maps_next(&maps, &vma)) > 0) {
        const struct xm_attachment *attachment = stray_of(grant, &vma);
        if (attachment == NULL)
            continue;
        if (none.descriptor < 0)
            (void)xm_none_open(&none);
        int failed = xm_attachment_cover(attachment, vma.start, vma.end - vma.start, &none);
        error = error == 0 ? failed : error;
    }
    xm_maps_close(&maps);
    if (none.descriptor >= 0)
        xm_none_close(&none);
    return error;
}

void xm_strays_forget(void) {
    drop_all(&strays);
}
