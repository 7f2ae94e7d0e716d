/*
 * What this process may use and what it has mapped: permits ("grants") and attachments.
 *
 * An attachment belongs to an owner: a JavaScript environment, or a C program. Only its owner's
 * thread unmaps it. Any other thread that has to end it (the agent on a revocation, another owner
 * on a detach) replaces the mapping and leaves a note for the owner.
 */

#ifndef XM_TABLE_H
#define XM_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "extents.h"
#include "list.h"
#include "span.h"

/* Told by the service in `got`. */
struct xm_grant_facts {
    uint64_t apid;
    uint64_t segid;
    /* Bytes of the segment. */
    uint64_t length;
    uint64_t owner_start;
    /* 0: the segment was made in another partition. */
    uint32_t owner_pid;
    bool writable;
    /* Where it lies does not change, so extents are kept. */
    bool stable;
};

/* Who holds attachments. */
struct xm_owner {
    struct xm_link attachments;
    struct xm_link notes;
    /*
     * A C program: it may unmap, replace and move attachments itself, so what is mapped is looked
     * at before it is touched. It keeps no pointers to their records, which go when they end.
     */
    bool program;
    /* Called with the state lock held when there is a note, from any thread. It must not block. */
    void (*notify)(struct xm_owner *owner);
};

/* What an access finds after a revocation. */
enum xm_revoked_style {
    /* Zero pages of its own: nothing crashes. */
    XM_REVOKED_ZERO,
    /* SIGBUS, as the kernel driver did. */
    XM_REVOKED_BUS,
};

/* A part of an attachment as it was mapped: a range of a file. */
struct xm_mapped_piece {
    /* Bytes from where the attachment began. */
    uint64_t offset;
    uint64_t length;
    dev_t device;
    ino_t inode;
    uint64_t file_offset;
};

struct xm_attachment {
    struct xm_span span;
    const void *agent;
    uint64_t apid;
    struct xm_grant *grant;
    struct xm_owner *owner;
    struct xm_link in_grant;
    struct xm_link in_owner;
    struct xm_link in_notes;
    /* Why it was revoked (XM_REASON_…); 0 while it was not. */
    uint32_t reason;
    enum xm_revoked_style style;
    bool keep_on_owner_exit;
    /* The service answers faults in some of it. */
    bool paged;
    /* False once its memory was unmapped. */
    bool mapped;
    /* For the owner's own use. */
    void *face;
    /* Where it began, which is not where it begins if the program unmapped a part. */
    uint64_t origin;
    size_t piece_count;
    struct xm_mapped_piece pieces[];
};

/* How to attach. */
struct xm_attach_request {
    const void *agent;
    uint64_t apid;
    /* Bytes, page-aligned, within the segment. */
    uint64_t offset;
    uint64_t length;
    /* 0: anywhere. */
    uint64_t address;
    /*
     * For a program: what is mapped at the address is replaced, if it is neither an attachment nor
     * the segment's own memory, which is here if this process is its owner, nor xpmem's.
     */
    bool replaces;
    struct xm_span source;
    struct xm_owner *owner;
    enum xm_revoked_style style;
    bool keep_on_owner_exit;
    /*
     * What the service has just said of the range; NULL: what is kept of a stable segment. Holes
     * raise SIGBUS, whatever the style.
     */
    const struct xm_extents *extents;
};

void xm_owner_open(struct xm_owner *owner, void (*notify)(struct xm_owner *owner));
/* For a program: as xm_attach, telling the address of what was mapped. */
int xm_owner_attach(const struct xm_attach_request *request, uint64_t *address);
/*
 * For a program: unmaps the attachment that an address lies in. 0; -ENOENT if there is none; or
 * another negative errno if this process's mappings cannot be looked at or changed.
 */
int xm_owner_detach(struct xm_owner *owner, uint64_t address);
/* For a program: unmaps what is attached through a permit. */
void xm_owner_detach_all(struct xm_owner *owner, const void *agent, uint64_t apid);
/* Unmaps all its attachments. Their records stay valid until xm_attachment_free. */
void xm_owner_close(struct xm_owner *owner);
/* The next attachment of this owner that was revoked, or NULL. */
struct xm_attachment *xm_owner_note(struct xm_owner *owner);

/* Makes a permit known; nothing happens if it is. 0 or -ENOMEM. */
int xm_grant_open(const void *agent, const struct xm_grant_facts *facts);
/* 0 or -ENOENT. */
int xm_grant_facts(const void *agent, uint64_t apid, struct xm_grant_facts *facts);
/*
 * Keeps extents of a stable segment. As xm_extents_add, and -ENOENT if the permit is unknown or its
 * segment was revoked.
 */
int xm_grant_extents(const void *agent, uint64_t apid, const struct xm_row_extent *rows,
                     size_t row_count, const int *descriptors, size_t descriptor_count);
/* Some attachment of the permit that this owner holds, not revoked; or NULL. */
struct xm_attachment *xm_grant_attachment(const void *agent, uint64_t apid,
                                          const struct xm_owner *owner);
/* Revokes what is attached through it, closes its descriptors and forgets it. */
void xm_grant_close(const void *agent, uint64_t apid);
/* The lowest permit of an agent, so that all can be closed. 0 or -ENOENT. */
int xm_grant_any(const void *agent, uint64_t *apid);

/*
 * Maps a range of a segment. 0; -ENOENT: the permit is unknown or its segment was revoked;
 * -ENODATA: extents are not given and not all known; -EINVAL: not page-aligned, outside of the
 * segment, or at the address is what is not replaced; or another negative errno.
 */
int xm_attach(const struct xm_attach_request *request, struct xm_attachment **attachment);
/* The attachment of that owner that an address lies in, revoked or not; NULL if there is none. */
struct xm_attachment *xm_owner_attachment(const struct xm_owner *owner, uint64_t address);
/*
 * What of an attachment the service must know of before it may be used, since it answers faults
 * there: fills in rows from the piece `*at` on (0 at first), which is advanced. How many; 0 at the
 * end. For the one that an address lies in.
 */
size_t xm_attachment_paged(uint64_t address, size_t *at, struct xm_row_mapping *rows,
                           size_t capacity);
/* Unmaps it; for its owner's thread. Nothing happens if that was done. */
void xm_attachment_unmap(struct xm_attachment *attachment);
/* Replaces its mapping and notes it with `reason`; 0: without a note. 0 or a negative errno. */
int xm_attachment_revoke(struct xm_attachment *attachment, uint32_t reason);
/* Revokes the attachment that an address lies in, whoever has it. Whether there was one. */
bool xm_attachment_revoke_at(uint64_t address, uint32_t reason);
/* Whether the range lies in attachments' memory of that agent. */
bool xm_attachment_covers(const void *agent, uint64_t address, uint64_t length);
/* Whether a range touches an attachment. The state lock is held. */
bool xm_attachments_touch(uint64_t address, uint64_t length);
/* Frees the record of an unmapped attachment. */
void xm_attachment_free(struct xm_attachment *attachment);

/*
 * Ends the use of a segment: no more attaches, descriptors closed, attachments replaced, except
 * those to be kept if `reason` is XM_REASON_OWNER_EXIT. 0 when nothing of it can be accessed any
 * more, or the errno of a mapping that could not be replaced.
 */
int xm_revoke(const void *agent, uint64_t segid, uint32_t reason);

/*
 * Likewise of every segment of which copies are attached that the service no longer keeps coherent,
 * for the reason XM_REASON_PARTITION.
 */
void xm_revoke_copies(const void *agent);

/*
 * Fills in rows for segments that descriptors are held of, going on after `*apid` (0 at first),
 * which is advanced. How many rows; 0 at the end.
 */
size_t xm_held(const void *agent, uint64_t *apid, struct xm_row_held *rows, size_t capacity);
/* Fills in what is mapped, one row a segment. How many rows; segments beyond `capacity` are left
 * out. */
size_t xm_holdings(const void *agent, struct xm_row_holding *rows, size_t capacity);

/* In a forked child, with the state lock held: no attachment is mapped here, no descriptor needed.
 */
void xm_table_forget(void);

#endif
