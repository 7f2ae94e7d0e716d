/* memfds and mappings: what shared memory is made of. */

#ifndef XM_MEMORY_H
#define XM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a descriptor is. */
struct xm_descriptor_facts {
    dev_t device;
    ino_t inode;
    /* Bytes; -1 if it is not a regular file. */
    int64_t size;
    /* Bytes of memory or disk the file takes now. */
    uint64_t used;
    /* F_GET_SEALS; -1 where the file cannot be sealed. */
    int seals;
    bool readable;
    bool writable;
};

size_t xm_page_size(void);

/* Whether a range is not empty, page-aligned at both ends and inside the user address space. */
bool xm_range_valid(uint64_t address, uint64_t length);

/*
 * A memfd of `size` bytes that nobody can resize (sealed SHRINK, GROW, SEAL), with mode 0600 so
 * that another user who was given a read-only descriptor cannot reopen it for writing through
 * /proc. The descriptor, or a negative errno.
 */
int xm_memfd_create(uint64_t size);

/* Opens the file of a descriptor again for reading only. The descriptor, or a negative errno. */
int xm_reopen_read_only(int descriptor);

/* Fills in `facts`. 0 or a negative errno. */
int xm_inspect(int descriptor, struct xm_descriptor_facts *facts);

/*
 * Whether a descriptor is open and of that file: a program may close descriptors that it did not
 * open, and get their numbers for its own. A bare system call.
 */
bool xm_descriptor_is(int descriptor, dev_t device, ino_t inode);

/* Whether it is a memfd that nobody can resize. */
bool xm_memfd_sealed(const struct xm_descriptor_facts *facts);

/*
 * Whether a descriptor that came from elsewhere is one that can be mapped without ever raising
 * SIGBUS, and gives just the access that was promised: a memfd sealed SHRINK, GROW and SEAL, open
 * for reading and, if `writable`, writing; otherwise not writable. 0 or -EPROTO.
 */
int xm_memfd_accept(int descriptor, bool writable, struct xm_descriptor_facts *facts);

/*
 * Opens (creating it 0600, never following a link) and flocks a file. The descriptor, -EWOULDBLOCK
 * if another process holds the lock, or another negative errno.
 */
int xm_lock_file(const char *path);

#endif
