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
#include "maps.h"
#include "protocol.h"
#include "span.h"

enum xm_file_kind {
    /* Born with a region of xm_region_create. */
    XM_FILE_REGION,
    /* Made for memory of the program that was moved. */
    XM_FILE_MOVED,
    /* Not ours: opened for one answer, and known to nobody else. */
    XM_FILE_FOREIGN,
};

/* A memfd of ours. Its descriptor is open at least as long as someone holds it. */
struct xm_file {
    struct xm_link link;
    enum xm_file_kind kind;
    dev_t device;
    ino_t inode;
    int descriptor;
    uint64_t size;
    /* Offers, regions and requests under way that hold it. */
    unsigned holders;
    /* The last look at the mappings, which change while they are read, did not find it. */
    bool missed;
};

/* Fresh shared memory. */
struct xm_region {
    struct xm_span span;
    /* The one memfd that all of it lies in from its start; NULL once part of it was moved. */
    struct xm_file *file;
};

/* Makes a memfd, held once. */
int xm_file_create(uint64_t size, enum xm_file_kind kind, struct xm_file **file);
/*
 * Opens the file that a shared mapping maps and we did not make, held once: for writing where that
 * may be, else for reading. 0 or a negative errno.
 */
int xm_file_open_foreign(const struct xm_vma *vma, struct xm_file **file);
/*
 * Lets go of memfds that nobody holds or maps, as many as there is room to tell of. How many, or a
 * negative errno.
 */
ssize_t xm_files_trim(struct xm_row_file *rows, size_t capacity);
/* The memfd of that identity, held once more; NULL if it is none of ours. */
struct xm_file *xm_file_hold(dev_t device, ino_t inode);
/* NULL is nothing. A memfd that nobody holds stays open while it may be mapped. */
void xm_file_release(struct xm_file *file);
/* Releases a memfd that is mapped no more (NULL is nothing), and closes it if nobody holds it. */
void xm_file_discard(struct xm_file *file);

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

/* Whether its descriptor is still there: a program may have closed what it did not open. */
bool xm_file_is_open(const struct xm_file *file);
/* The memfd of that identity, or NULL. The state lock is held. */
struct xm_file *xm_file_find(dev_t device, ino_t inode);
/* Whether there are any. The state lock is held. */
bool xm_files_there(void);
/* Holds all memfds of moved memory once more. Whether there are some. The state lock is held. */
bool xm_files_pin(void);
void xm_files_unpin(void);

/*
 * In a forked child, with the state lock held: the memfds are none of this process's. Its mappings
 * of them are private by now.
 */
void xm_files_forget(void);
/* The part of that which concerns regions. */
void xm_regions_forget(void);

#endif
