/*
 * XPMEM: a process gives names to pieces of its memory, and other processes of the same machine map
 * them into theirs and use them with plain loads and stores.
 *
 * The interface is that of hpc/xpmem 2.6. What is behind it is no kernel module but the service of
 * the xpmem project, which the first call starts if there is none.
 *
 * Every call may be made from any thread. A call that fails returns -1 (xpmem_attach: (void *)-1)
 * and sets errno. Beside the errors told below, every call but xpmem_detach may fail with
 *
 *   ENOENT      no service runs and none can be started, since there is no command or the runtime
 *               directory is not fit for one; or a process that never had one gets no answer;
 *               a set-user-id program starts none
 *   EACCES      the runtime directory or its socket is not this user's to enter
 *   EINVAL, ENAMETOOLONG  XPMEM_PARTITION or XPMEM_RUNTIME_DIR cannot be what they are
 *   EPROTO      the service speaks another version of the protocol, or nonsense
 *   ETIMEDOUT   the service does not answer, or is gone and did not come back within 10 s
 *   ECONNRESET  the service closed the connection before it answered
 *   EMFILE, ENOMEM  something has run out
 *
 * Environment, as it is at the process's first call, and unheeded in a set-user-id program:
 *
 *   XPMEM_PARTITION    the partition's name; `default` otherwise
 *   XPMEM_RUNTIME_DIR  where its service's socket lies; otherwise /run/xpmem for root,
 *                      $XDG_RUNTIME_DIR/xpmem, or /tmp/xpmem-UID
 *   XPMEM_COMMAND      the `xpmem` command that starts the service; otherwise the one beside the
 *                      library, or in PATH
 *   XPMEM_OWNER_EXIT   `keep`: when an owner's process ends, attachments keep the last content
 *                      instead of raising SIGBUS
 *   XPMEM_DEBUG        `1`: says on standard error why a call failed
 */

#ifndef _XPMEM_H
#define _XPMEM_H

#include <linux/types.h>
#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Names a segment: memory that a process offers. Valid ones are positive. */
typedef __s64 xpmem_segid_t;
/* Names a permit: the right of one process to attach a segment. Valid ones are positive. */
typedef __s64 xpmem_apid_t;

/* A place in a segment that one has a permit for. */
struct xpmem_addr {
    xpmem_apid_t apid;
    /* Bytes from the segment's start, a multiple of the page size. */
    off_t offset;
};

/* The size of a segment that is a whole address space. Its offsets are addresses in its owner. */
#define XPMEM_MAXADDR_SIZE ((size_t)-1L)

/* What a permit is asked for: reading, or reading and writing. */
#define XPMEM_RDONLY 0x1
#define XPMEM_RDWR 0x2

/* The one type of permission: a mode of owner, group and others, as System V IPC has it. */
#define XPMEM_PERMIT_MODE 0x1

/* The version of the interface, 0x00026005: 2.6.5. */
int xpmem_version(void);

/*
 * Offers `size` bytes at `vaddr`, both multiples of the page size, or with (NULL,
 * XPMEM_MAXADDR_SIZE) all memory that the process has and will have. `permit_type` is
 * XPMEM_PERMIT_MODE, and `permit_value` the mode, cast to a pointer: (void *)0600. Memory that is
 * not mapped may be offered. It is offered until xpmem_remove or the end of the process. The segid.
 *
 *   EINVAL  size 0, address or size not page-aligned, another permit_type, bits outside of 0777, or
 *           a range that ends past the address space
 */
xpmem_segid_t xpmem_make(void *vaddr, size_t size, int permit_type, void *permit_value);

/*
 * Takes a segment of this process back. When it returns nobody else can read or write the memory:
 * an access to what was attached raises SIGBUS. 0.
 *
 *   EINVAL     a segid that is 0 or negative
 *   ENOENT     an unknown segid, or one removed before
 *   EACCES     another process's segment
 *   ETIMEDOUT  a process that had it attached did not give it up and may still see it
 */
int xpmem_remove(xpmem_segid_t segid);

/*
 * Asks for a permit. `flags`: XPMEM_RDWR, or XPMEM_RDONLY, which 0 means too; `permit_type`:
 * XPMEM_PERMIT_MODE; `permit_value` is ignored. The permit is this process's alone; a forked child
 * gets its own. The apid.
 *
 *   EINVAL  a segid that is 0 or negative, other flags, another permit_type
 *   ENOENT  an unknown or removed segment, or one whose owner is gone
 *   EACCES  the segment's mode does not allow it
 */
xpmem_apid_t xpmem_get(xpmem_segid_t segid, int flags, int permit_type, void *permit_value);

/*
 * Gives a permit back; what was attached with it is unmapped. 0.
 *
 *   EINVAL  an apid that is 0 or negative
 *   ENOENT  an unknown apid, or one released before
 *   EACCES  another process's permit
 */
int xpmem_release(xpmem_apid_t apid);

/*
 * Maps `size` bytes, rounded up to whole pages, of a segment: at `vaddr`, over whatever else is
 * mapped there, or wherever there is room if that is NULL. With a permit for reading the mapping is
 * read-only. An access to a part where the owner has nothing mapped, or memory of a kind that
 * cannot be shared, raises SIGBUS, and so does any once the segment is removed or its owner gone. A
 * forked child does not have the mapping. The address.
 *
 *   EINVAL     an apid that is 0 or negative; size 0; an offset or address not page-aligned; an
 *              offset that is negative; a range that ends past the segment; a `vaddr` over
 *              another attachment, the memory itself or that of the library's threads
 *   ENOENT     an unknown or released permit, or its segment is removed or the owner gone
 *   EACCES     another process's permit
 *   EFAULT     a range with memory of a kind that cannot be shared, and no other
 *   ETIMEDOUT  the owner does not answer: it may be stopped
 */
void *xpmem_attach(struct xpmem_addr addr, size_t size, void *vaddr);

/*
 * Unmaps the attachment that the address lies in, all of it. 0, also where nothing is mapped.
 *
 *   EINVAL  memory that is no attachment
 *   EMFILE  no descriptor is left to look at what of it is still mapped; it stays
 */
int xpmem_detach(void *vaddr);

#ifdef __cplusplus
}
#endif

#endif
