/* Answering where offered memory lies, after moving what is not in a memfd of ours yet. */

#ifndef XM_SHARE_H
#define XM_SHARE_H

#include <stddef.h>
#include <stdint.h>

#include "backing.h"
#include "merge.h"
#include "offers.h"
#include "protocol.h"
#include "survey.h"

/* A request's work space and result; too large for a stack. */
struct xm_share {
    /* Features of xm_userfault_query. */
    uint64_t features;

    /* The result: rows relative to the range, whose descriptor counts in `survey.files`. */
    struct xm_row_extent rows[XM_SURVEY_PIECES];
    size_t row_count;

    /* Where private mappings of files begin that could not be moved, nothing of them. */
    uint64_t stuck[XM_SURVEY_FILES];
    size_t stuck_count;

    struct xm_survey survey;
    struct xm_merge_space merging;
};

/* What is to be shared. */
struct xm_share_request {
    uint64_t address;
    uint64_t length;
    /* Bytes to move at the most, beyond the first chunk. */
    uint64_t most;
    /* What cannot be read or shared is a hole, not an error. */
    bool holes;
    /* Goes on where the request before ended. */
    bool more;
};

/*
 * Shares a range of an offer, or as much from its start as one answer has room for, or as `most`
 * allows. Of the heap whole chunks are moved, so that the next request finds its neighbours moved.
 * 0 or a negative errno with `survey.text`: -EFAULT where nothing or something unfit is mapped.
 * Call xm_share_end in any case.
 */
int xm_share(struct xm_share *share, struct xm_offer *offer,
             const struct xm_share_request *request);

/*
 * Moves what of a range lies in memfds of ours to fresh ones, in which it lies as it did; whoever
 * kept a descriptor or mapping of the old ones sees nothing more of it. 0 or a negative errno with
 * `survey.text`: -EBUSY if memory of it is offered more than once, since other attachers' view of
 * it would end, too. Call xm_share_end in any case.
 */
int xm_move(struct xm_share *share, uint64_t address, uint64_t length);

/* Lets go of the result's memfds. */
void xm_share_end(struct xm_share *share);

#endif
