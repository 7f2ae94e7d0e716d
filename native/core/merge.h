/*
 * Joining private copies of shared memory with their memfd again.
 *
 * Around a fork, memory that was moved is mapped privately (see fork.c): what is stored there goes
 * to copies of pages. Here these go back into the memfd, and the memfd is mapped over them. No
 * store of this process is lost, since stores to a chunk wait meanwhile.
 */

#ifndef XM_MERGE_H
#define XM_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "convert.h"

/* The largest page of any machine that this runs on, and how many of the smallest a chunk has. */
#define XM_LARGEST_PAGE 65536
#define XM_CHUNK_PAGES (XM_CHUNK_BYTES / 4096)

/* A private mapping of a memfd of ours, or a page-aligned part of one. */
struct xm_merge {
    uint64_t address;
    uint64_t length;
    /* Its protection, which the new mapping gets. */
    int protection;
    /* The memfd that it maps, and where. */
    int into;
    uint64_t into_offset;
    /* A userfaultfd with XM_FEATURE_WP_SHMEM. If it has events, another thread reads them. */
    int userfault;
    /*
     * A memfd that has, at the offset that is a page's address, what the page was when its copy was
     * made. Pages that it does not have were not copied, and only bytes that were changed are
     * written. -1: there is none; copies are found in /proc/self/pagemap and written whole, so that
     * what others stored to such a page since it was copied is lost.
     */
    int snapshot;
    struct xm_userfault_gate *gate;
};

/* Work space, which must not lie in memory that is merged. */
struct xm_merge_space {
    int pagemap;
    /* A memfd of one page, which pages pass through on the way to be compared. */
    int scratch;
    const char *view;
    uint64_t before[XM_CHUNK_PAGES];
    uint64_t after[XM_CHUNK_PAGES];
    char base[XM_LARGEST_PAGE];
};

/* 0 or a negative errno. */
int xm_merge_open(struct xm_merge_space *space);
void xm_merge_close(struct xm_merge_space *space);

/*
 * Merges it. 0 or a negative errno; after a failure some chunks from the start on may be shared
 * again, the others are private and as they were, and no store waits.
 */
int xm_merge(const struct xm_merge *merge, struct xm_merge_space *space);

/* Whether an entry of /proc/self/pagemap is a page of a process's own, not one of a file. */
bool xm_page_copied(uint64_t entry);

#endif
