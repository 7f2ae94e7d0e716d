/* Memory that a service may have shared, moved or armed through an agent. */

#ifndef XM_OFFERS_H
#define XM_OFFERS_H

#include <stdint.h>

#include "backing.h"
#include "list.h"

/*
 * Memory of which only a part has been moved yet: a request for a long range is carried out in
 * steps, and the next one goes on in the same memfd.
 */
struct xm_growth {
    /* Held; NULL: none. */
    struct xm_file *file;
    /* Where the moved part ends, and where in the memfd that is. */
    uint64_t next;
    uint64_t file_offset;
    /* Up to where the memfd was made for. */
    uint64_t limit;
};

struct xm_offer {
    struct xm_link link;
    const void *holder;
    uint32_t id;
    uint64_t address;
    uint64_t length;
    /* Only the agent's thread uses it, while the offer is busy. */
    struct xm_growth growth;
    bool busy;
};

/* An agent's offers. */
struct xm_offers {
    struct xm_link list;
    uint32_t last_id;
};

void xm_offers_init(struct xm_offers *offers);
/* Adds one for `holder` and gives its number. 0, -EINVAL for a range that cannot be, or -ENOMEM. */
int xm_offer_add(struct xm_offers *offers, const void *holder, uint64_t address, uint64_t length,
                 uint32_t *id);
/* Ends an offer of `holder`, when the agent is done with what it is doing there. Unknown: nothing.
 */
void xm_offer_withdraw(struct xm_offers *offers, const void *holder, uint32_t id);
/* Ends all offers of `holder`; NULL: of everyone. */
void xm_offers_withdraw(struct xm_offers *offers, const void *holder);
/* How many offers have some of a range. The state lock is held. */
size_t xm_offers_touching(const struct xm_offers *offers, uint64_t address, uint64_t length);
/*
 * The agent begins to work on a range: the smallest offer that holds all of it, or NULL. What is
 * moved together does not reach beyond that, so that who may attach it is given no more. It is busy
 * then.
 */
struct xm_offer *xm_offer_begin(struct xm_offers *offers, uint64_t address, uint64_t length);
void xm_offer_end(struct xm_offer *offer);
/* Ends the growth of all offers, so that they hold no memfd. */
void xm_offers_settle(struct xm_offers *offers);

#endif
