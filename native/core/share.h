/* Answering where offered memory lies, after moving what is not in a memfd of ours yet. */

#ifndef XM_SHARE_H
#define XM_SHARE_H

#include <stddef.h>
#include <stdint.h>

#include "backing.h"
#include "offers.h"
#include "protocol.h"

/* memfds of one answer: each goes as a read-write and a read-only descriptor. */
#define XM_SHARE_FILES 7
/* Pieces of one answer. */
#define XM_SHARE_ROWS ((XM_MAX_MESSAGE_BYTES - XM_BYTES_EXTENTS) / XM_ROW_BYTES_EXTENT)

/* A part of the range as it is mapped. */
struct xm_piece {
    uint64_t address;
    uint64_t length;
    int protection;
    /* Held through the share's `files`; NULL: private memory. */
    struct xm_file *file;
    uint64_t file_offset;
};

/* A request's work space and result; too large for a stack. */
struct xm_share {
    /* The caller's own memory, which it needs while a range is frozen. */
    uint64_t own_address;
    uint64_t own_length;
    /* Features of xm_userfault_query. */
    uint64_t features;

    /* The result: rows relative to the range, whose descriptor counts in `files`. */
    struct xm_row_extent rows[XM_SHARE_ROWS];
    size_t row_count;
    struct xm_file *files[XM_SHARE_FILES];
    size_t file_count;
    /* Why it failed, for people. */
    char text[256];

    struct xm_piece pieces[XM_SHARE_ROWS];
    size_t piece_count;
    /* Where they end. */
    uint64_t surveyed;
    char maps[16384];
};

/*
 * Shares a range of an offer, or as much from its start as one answer has room for. 0 or a negative
 * errno with `text`: -EFAULT where nothing or something unfit is mapped. Call xm_share_end in any
 * case.
 */
int xm_share(struct xm_share *share, struct xm_offer *offer, uint64_t address, uint64_t length);

/*
 * Moves what of a range lies in memfds of ours to a fresh one; whoever kept a descriptor or mapping
 * of the old ones sees nothing more of it. Results as xm_share; the rest of the range is left out.
 * -EBUSY if memory of it is offered more than once: other attachers' view of it would end, too.
 */
int xm_move(struct xm_share *share, struct xm_offer *offer, uint64_t address, uint64_t length);

/* Lets go of the result's memfds. */
void xm_share_end(struct xm_share *share);

#endif
