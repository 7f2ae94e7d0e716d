/* Where the parts of a segment lie, as its service told: pieces of memfds, by offset. */

#ifndef XM_EXTENTS_H
#define XM_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

/* A received file. */
struct xm_source {
    int descriptor;
    bool writable;
    /* A memfd whose size stays, so that no access to it raises SIGBUS. */
    bool sealed;
    dev_t device;
    ino_t inode;
    uint64_t size;
};

struct xm_extent {
    uint64_t offset;
    uint64_t length;
    uint64_t file_offset;
    /* Which of the sources; XM_HOLE: nothing is mapped there in the owner. */
    uint32_t source;
};

/* What the rows and descriptors of an answer may be. */
enum {
    /*
     * Descriptors are open for writing; without it they must not be. Those of copies always are
     * (XM_EXTENT_FLAG_COPY).
     */
    XM_EXTENTS_WRITABLE = 1,
    /*
     * Memory that raises SIGBUS is welcome: holes, and files that are no sealed memfds. Of these a
     * descriptor may be read-only although writable ones were asked for.
     */
    XM_EXTENTS_BUS = 2,
};

/* Zero knows nothing. */
struct xm_extents {
    struct xm_source *sources;
    size_t source_count;
    /* Sorted by offset; they do not overlap. */
    struct xm_extent *items;
    size_t count;
};

/*
 * Adds what a message said of a segment of `segment_length` bytes; where it speaks of a part that
 * is known, the new word holds. Nothing changes on failure. Takes the descriptors in any case. 0,
 * -ENOMEM, or -EPROTO for rows that do not fit the segment or the files, or a descriptor that is
 * not what `allowed` (XM_EXTENTS_…) says.
 */
int xm_extents_add(struct xm_extents *extents, uint64_t segment_length, unsigned allowed,
                   const struct xm_row_extent *rows, size_t row_count, const int *descriptors,
                   size_t descriptor_count);

/* The first offset from `offset` to before `end` that nothing is known of, or `end`. */
uint64_t xm_extents_gap(const struct xm_extents *extents, uint64_t offset, uint64_t end);

/* The extent that holds `offset`, or NULL. Those after it in `items` follow by offset. */
const struct xm_extent *xm_extents_find(const struct xm_extents *extents, uint64_t offset);

/* Closes the descriptors and forgets everything. */
void xm_extents_clear(struct xm_extents *extents);

#endif
