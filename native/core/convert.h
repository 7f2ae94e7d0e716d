/*
 * Moving live memory into a memfd, in place: no store is lost and no pointer changes.
 *
 * Chunk by chunk: write-protect (stores wait), copy into the memfd, map the memfd over it, wake.
 * While a chunk is frozen the calling thread makes nothing but system calls; its stack must not
 * lie in the range. Pages that hold nothing but zeros stay holes in the memfd.
 */

#ifndef XM_CONVERT_H
#define XM_CONVERT_H

#include <stdint.h>

#include "userfault.h"

/*
 * Bytes frozen at a time. Measured (2 cores, 256 MiB under a writer, Linux 6.18): about 1.9 GB/s
 * from 1 MiB on, and the longest that a store waited 1 ms at 1 MiB, 1.5 ms at 2 MiB, 2.7 ms at 4
 * MiB.
 */
#define XM_CHUNK_BYTES (UINT64_C(1) << 20)

/* One mapping, or a page-aligned part of one. */
struct xm_conversion {
    uint64_t address;
    uint64_t length;
    /* Its protection, which the new mapping gets: readable at least. */
    int protection;
    /* The memfd that it is a shared mapping of, and where; -1 if it is private and anonymous. */
    int from;
    uint64_t from_offset;
    /* The memfd to move it into, and where: a part that was never written. */
    int into;
    uint64_t into_offset;
};

/*
 * Moves it. `features` are those of xm_userfault_query. 0 or a negative errno; after a failure some
 * chunks from the start on may have been moved, and the others are as they were. -ENOTSUP: this
 * kernel or process has no write-protecting userfaultfd for such memory.
 */
int xm_convert(const struct xm_conversion *conversion, uint64_t features);

#endif
