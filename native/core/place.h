/* Attaching at an address where something is mapped already. */

#ifndef XM_PLACE_H
#define XM_PLACE_H

#include "map_range.h"
#include "table.h"

/*
 * Maps what a plan says where a request wants it, over what is there. -EINVAL if that is what is
 * not replaced; or as xm_map_range_over. The conversion lock is held, since what is there may be
 * just being moved, and the state lock.
 */
int xm_place_over(const struct xm_attach_request *request, const struct xm_plan *plan);

#endif
