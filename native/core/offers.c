#include "offers.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "lock.h"
#include "memory.h"

void xm_offers_init(struct xm_offers *offers) {
    xm_link_init(&offers->list);
    offers->last_id = 0;
}

int xm_offer_add(struct xm_offers *offers, const void *holder, uint64_t address, uint64_t length,
                 uint32_t *id) {
    if (!xm_range_valid(address, length))
        return -EINVAL;
    struct xm_offer *offer = calloc(1, sizeof *offer);
    if (offer == NULL)
        return -ENOMEM;
    offer->holder = holder;
    offer->address = address;
    offer->length = length;
    xm_lock();
    offer->id = ++offers->last_id;
    xm_link_append(&offers->list, &offer->link);
    *id = offer->id;
    xm_unlock();
    return 0;
}

/* The next offer of `holder` (NULL: of anyone) with that number (0: any), or NULL. */
static struct xm_offer *find(const struct xm_offers *offers, const void *holder, uint32_t id) {
    for (struct xm_link *link = offers->list.next; link != &offers->list; link = link->next) {
        struct xm_offer *offer = XM_MEMBER(link, struct xm_offer, link);
        if ((holder == NULL || offer->holder == holder) && (id == 0 || offer->id == id))
            return offer;
    }
    return NULL;
}

static void settle(struct xm_offer *offer) {
    if (offer->growth.file != NULL)
        offer->growth.file->holders--;
    offer->growth = (struct xm_growth){0};
}

static void withdraw(struct xm_offers *offers, const void *holder, uint32_t id) {
    struct xm_offer *offer;
    xm_lock();
    while ((offer = find(offers, holder, id)) != NULL) {
        if (offer->busy) {
            xm_await();
            continue;
        }
        xm_link_remove(&offer->link);
        settle(offer);
        free(offer);
    }
    xm_unlock();
}

void xm_offer_withdraw(struct xm_offers *offers, const void *holder, uint32_t id) {
    if (id != 0)
        withdraw(offers, holder, id);
}

void xm_offers_withdraw(struct xm_offers *offers, const void *holder) {
    withdraw(offers, holder, 0);
}

struct xm_offer *xm_offer_begin(struct xm_offers *offers, uint64_t address, uint64_t length) {
    struct xm_offer *found = NULL;
    xm_lock();
    for (struct xm_link *link = offers->list.next; link != &offers->list; link = link->next) {
        struct xm_offer *offer = XM_MEMBER(link, struct xm_offer, link);
        bool holds = address >= offer->address && length <= offer->length &&
                     address - offer->address <= offer->length - length;
        if (holds && (found == NULL || offer->length < found->length))
            found = offer;
    }
    if (found != NULL)
        found->busy = true;
    xm_unlock();
    return found;
}

size_t xm_offers_touching(const struct xm_offers *offers, uint64_t address, uint64_t length) {
    size_t count = 0;
    for (struct xm_link *link = offers->list.next; link != &offers->list; link = link->next) {
        const struct xm_offer *offer = XM_MEMBER(link, struct xm_offer, link);
        if (offer->address < address + length && address < offer->address + offer->length)
            count++;
    }
    return count;
}

void xm_offers_settle(struct xm_offers *offers) {
    xm_lock();
    for (struct xm_link *link = offers->list.next; link != &offers->list; link = link->next)
        settle(XM_MEMBER(link, struct xm_offer, link));
    xm_unlock();
}

void xm_offer_end(struct xm_offer *offer) {
    xm_lock();
    offer->busy = false;
    xm_signal();
    xm_unlock();
}
