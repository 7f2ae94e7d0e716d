/*
 * What runs while memory of the process is frozen so that even loads from it wait, and it may be
 * the data of any library: the functions marked XM_RAW, which see raw_syscall.h.
 */

#ifndef XM_FROZEN_H
#define XM_FROZEN_H

#include <stdint.h>

#include "raw_syscall.h"

enum xm_reader_state { XM_READER_STARTS, XM_READER_READS, XM_READER_ENDS };

/*
 * A thread that reads a userfaultfd: the move of a registered mapping is not over for its caller
 * until the event that tells of it was read. On the stack of who started it.
 */
struct xm_reader {
    int userfault;
    /* An eventfd that is readable when the thread must end. */
    int stop;
    /* A futex that holds an xm_reader_state. */
    int32_t state;
};

/* The reader's whole life. */
XM_RAW void xm_reader_run(struct xm_reader *reader);

struct xm_frozen_move {
    /* A mapping of a memfd, registered with the reader's userfaultfd for minor faults. */
    uint64_t trap;
    /* Where it must go. */
    uint64_t address;
    uint64_t length;
    /* A pipe that has references to the pages at `address`, and nothing else. */
    int pipe;
    /* The same part of the memfd, mapped for writing, its pages present. */
    uint64_t view;
    struct xm_reader *reader;
};

/*
 * Moves the trap to the address, fills it from the pipe and lets everybody go on. 0, or a negative
 * errno and all is as it was. 1: moved, but the range was changed by others meanwhile; to let
 * everybody go on the reader was ended and the userfaultfd closed.
 */
XM_RAW int xm_frozen_move(const struct xm_frozen_move *move);

#endif
