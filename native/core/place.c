#include "place.h"

#include <errno.h>

#include "agent.h"
#include "grants.h"
#include "keeper.h"

int xm_place_over(const struct xm_attach_request *request, const struct xm_plan *plan) {
    uint64_t address = request->address;
    uint64_t length = request->length;
    struct xm_span keeper = xm_keeper_memory();
    if (xm_spans_meet(&request->source, address, length) ||
        xm_spans_meet(&keeper, address, length) || xm_agents_need(address, length))
        return -EINVAL;
    int error = xm_attachments_refuse(address, length);
    return error == 0 ? xm_map_range_over(plan, (void *)(uintptr_t)address) : error;
}
