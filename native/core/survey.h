/* What is mapped in a range, and what of it can be shared how. */

#ifndef XM_SURVEY_H
#define XM_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backing.h"
#include "protocol.h"
#include "span.h"

/* Files of one answer: each goes as a read-write and a read-only descriptor. */
#define XM_SURVEY_FILES 7
/* Pieces of one answer. */
#define XM_SURVEY_PIECES ((XM_MAX_MESSAGE_BYTES - XM_BYTES_EXTENTS) / XM_ROW_BYTES_EXTENT)

/* Threads whose memory is not moved. */
#define XM_SURVEY_OWN 2

enum xm_piece_kind {
    /* A shared mapping of a file that can be handed out. */
    XM_PIECE_SHARED,
    /* A private mapping of a memfd of ours, left by a fork; once merged it is shared. */
    XM_PIECE_PARTED,
    /* Private memory with no file under it, or a copy that a forked child has of its parent's. */
    XM_PIECE_ANONYMOUS,
    /* A private mapping of a file: a data segment, say. */
    XM_PIECE_FILE,
    /* Nothing that could be read. */
    XM_PIECE_HOLE,
    /* Memory that is not shared. */
    XM_PIECE_WITHHELD,
};

/* A part of the range as it is mapped. */
struct xm_piece {
    enum xm_piece_kind kind;
    uint64_t address;
    uint64_t length;
    int protection;
    /* Of a mapping of a file: held through the survey's `files`. */
    struct xm_file *file;
    uint64_t file_offset;
    /* Of a mapping: by what it is known again, as xm_withheld_mark has it. */
    uint64_t mark;
    /* Of what is withheld: why, XM_WITHHELD_… */
    uint32_t reason;
    /* Of private memory: what around it is of the same kind and may be moved with it. */
    uint64_t low;
    uint64_t high;
};

/* What is asked for. */
enum xm_survey_mode {
    /* All of it must be fit to be shared. */
    XM_SURVEY_STRICT,
    /* What cannot be read is a hole, and what cannot be shared is withheld. */
    XM_SURVEY_HOLES,
    /* Only memfds of ours count, the rest is passed over. */
    XM_SURVEY_OURS,
};

/* A survey's work space and result; too large for a stack. */
struct xm_survey {
    /* Memory of xpmem's own threads, which they need while a range is frozen: the caller's and the
     * keeper's. */
    struct xm_span own[XM_SURVEY_OWN];
    /* A system call that touches a frozen page waits. Otherwise memory stays where it is that could
     * not do without: stacks, and data in which the C library has locks. */
    bool patient;

    struct xm_piece pieces[XM_SURVEY_PIECES];
    size_t piece_count;
    /* Where they end. */
    uint64_t end;
    struct xm_file *files[XM_SURVEY_FILES];
    size_t file_count;
    /* Why it failed, for people. */
    char text[256];
    char maps[16384];
    /* Where the main thread's stack begins; 0 if the range is far from it. The page there stays. */
    uint64_t stack_low;
    char tasks[4096];
};

/* Whether it has to be moved to be shared. */
bool xm_piece_moves(const struct xm_piece *piece);

/* Pieces from `low` to `high` may be moved together. */
struct xm_bounds {
    uint64_t low;
    uint64_t high;
};

/*
 * Fills in the pieces of a range, as many from its start as an answer has room for, and keeps the
 * files that they lie in beside those that are there. 0 or a negative errno with `text`.
 */
int xm_survey(struct xm_survey *survey, uint64_t address, uint64_t end, struct xm_bounds bounds,
              enum xm_survey_mode mode);
/* Puts a held file among the files, or lets go of it. Whether it is there. */
bool xm_survey_keep(struct xm_survey *survey, struct xm_file *file);
/* Notes why something failed. `error`. */
int xm_survey_fail(struct xm_survey *survey, int error, uint64_t start, uint64_t end,
                   const char *why);
/* Lets go of the files. */
void xm_survey_end(struct xm_survey *survey);

#endif
