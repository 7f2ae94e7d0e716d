/* Read-only attachments of files that become paged: they show copies of this process's own. */

#ifndef XM_COPIES_H
#define XM_COPIES_H

#include <stddef.h>
#include <sys/types.h>

#include "pager.h"

/*
 * The kernel answers no faults of memory that was mapped with a read-only descriptor. Maps `copy`,
 * a memfd of the same size that is open for writing, in the place of every read-only attachment of
 * a file, for reading and registered; permits forget where they knew the file. Fills in what was
 * mapped; how many, or a negative errno. The state lock is held.
 */
ssize_t xm_copies_show(struct xm_pager *pager, dev_t device, ino_t inode, int copy,
                       struct xm_row_mapping *rows, size_t capacity);

#endif
