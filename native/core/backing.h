/*
 * The memfds that xpmem made in this process, and the regions born in them.
 *
 * Which memory lies in which memfd is not recorded but read from /proc/self/maps: a program may
 * have unmapped, moved or replaced it meanwhile. What is recorded is which memfds are ours, so that
 * a shared mapping of one of them can be handed out as it is.
 */

#ifndef XM_BACKING_H
#define XM_BACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "list.h"
#include "span.h"

/* A part of a memfd, from `start` to before `end`. */
struct xm_claim {
    uint64_t start;
    uint64_t end;
};

/* A memfd of ours. Its descriptor is open at least as long as someone holds it. */
struct xm_file {
    struct xm_link link;
    dev_t device;
    ino_t inode;
    int descriptor;
    uint64_t size;
    /* Offers, regions and requests under way that hold it. */
    unsigned holders;
    /* Where memory was put in it, sorted and merged; never reused, as it may be mapped elsewhere.
     */
    struct xm_claim *used;
    size_t used_count;
};

/* Fresh shared memory. */
struct xm_region {
    struct xm_span span;
    /* The one memfd that all of it lies in from its start; NULL once part of it was moved. */
    struct xm_file *file;
};

/* Makes a memfd, held once. It also lets go of those that nobody holds or maps any more. */
int xm_file_create(uint64_t size, struct xm_file **file);
/* The memfd of that identity, held once more; NULL if it is none of ours. */
struct xm_file *xm_file_hold(dev_t device, ino_t inode);
/* NULL is nothing. A memfd that nobody holds stays open while it may be mapped. */
void xm_file_release(struct xm_file *file);
/* Releases a memfd that is mapped no more (NULL is nothing), and closes it if nobody holds it. */
void xm_file_discard(struct xm_file *file);
/* Claims a part for memory to be put there. 0, -EEXIST if some of it is taken, or -ENOMEM. */
int xm_file_claim(struct xm_file *file, uint64_t start, uint64_t end);

/* Maps a fresh region. `length` in bytes, a multiple of the page size. 0 or a negative errno. */
int xm_region_create(uint64_t length, bool huge_pages, struct xm_region **region);
/* Unmaps and frees it. */
void xm_region_destroy(struct xm_region *region);
/* Notes that a range was moved to other memfds, so regions are looked up in /proc/self/maps. */
void xm_regions_moved(uint64_t address, uint64_t length);

/*
 * Where a range of one region lies: read-write and read-only descriptors for the caller to close,
 * and the offset in the file. 0, -ENOENT if no region or no one file holds all of it, or another
 * negative errno.
 */
int xm_backing_of(uint64_t address, uint64_t length, int descriptors[2], uint64_t *file_offset);

/*
 * In a forked child, with the state lock held: its mappings of the memfds become private, so that
 * it has its own copy and the parent sees none of its stores. They are no memfds of this process's
 * then.
 */
void xm_files_forget(void);
/* The part of that which concerns regions. */
void xm_regions_forget(void);

#endif
