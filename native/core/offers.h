/* Memory that a service may have shared, moved or armed through an agent. */

#ifndef XM_OFFERS_H
#define XM_OFFERS_H

#include <stdint.h>

#include "backing.h"
#include "list.h"

struct xm_offer {
    struct xm_link link;
    const void *holder;
    uint32_t id;
    uint64_t address;
    uint64_t length;
    /*
     * Where its private memory is moved to: a sparse memfd as long as the offer, laid out like it.
     * NULL until the first share. Only the agent's thread uses it, while the offer is busy.
     */
    struct xm_file *file;
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
/* The agent begins to work on a range: an offer that holds all of it, or NULL. It is busy then. */
struct xm_offer *xm_offer_begin(struct xm_offers *offers, uint64_t address, uint64_t length);
void xm_offer_end(struct xm_offer *offer);

#endif
