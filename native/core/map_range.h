/* Mapping a range of a segment by its extents. */

#ifndef XM_MAP_RANGE_H
#define XM_MAP_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "extents.h"
#include "table.h"

/* A file that has no byte: what is mapped of it raises SIGBUS. */
struct xm_none {
    int descriptor;
    dev_t device;
    ino_t inode;
};

/* 0 or a negative errno. */
int xm_none_open(struct xm_none *none);
void xm_none_close(struct xm_none *none);

/* What of a segment is mapped, and how. */
struct xm_plan {
    const struct xm_extents *extents;
    uint64_t offset;
    uint64_t length;
    bool writable;
    /* What holes show, each byte at its offset in the attachment. */
    const struct xm_none *none;
};

/* Whether it needs `none`. */
bool xm_plan_has_holes(const struct xm_plan *plan);

/*
 * Maps it. `*base` is the address wanted, or NULL; it gets the one given. 0; -ENODATA: extents are
 * missing; -EEXIST: something is mapped there; or another negative errno.
 */
int xm_map_range(const struct xm_plan *plan, void **base);
/*
 * Maps it over whatever is mapped at an address. It is put together elsewhere, so that if it fails
 * the old mappings are as they were; unless the kernel, after it has replaced some, has no memory
 * to replace the others: then nothing is mapped where it had. 0 or a negative errno.
 */
int xm_map_range_over(const struct xm_plan *plan, void *base);

/* How many pieces the range is mapped in. */
size_t xm_plan_count(const struct xm_plan *plan);
/* Which. `pieces` has room for xm_plan_count. */
void xm_plan_pieces(const struct xm_plan *plan, struct xm_mapped_piece *pieces);

#endif
