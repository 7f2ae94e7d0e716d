#include "survey.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "maps.h"
#include "memory.h"
#include "stack.h"
#include "withheld.h"

int xm_survey_fail(struct xm_survey *survey, int error, uint64_t start, uint64_t end,
                   const char *why) {
    snprintf(survey->text, sizeof survey->text, "0x%" PRIx64 "-0x%" PRIx64 ": %s", start, end, why);
    return error;
}

bool xm_survey_keep(struct xm_survey *survey, struct xm_file *file) {
    size_t i = 0;
    while (i < survey->file_count && survey->files[i] != file)
        i++;
    if (i < survey->file_count || i == XM_SURVEY_FILES)
        xm_file_release(file);
    else
        survey->files[survey->file_count++] = file;
    return i < XM_SURVEY_FILES;
}

static bool is_memfd(const struct xm_vma *vma) {
    return strncmp(vma->name, "/memfd:xpmem", strlen("/memfd:xpmem")) == 0;
}

/* Whether there is only now no descriptor or memory for something. */
static bool is_passing(int error) {
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

/* Finds the file of a shared mapping, which is held then. 0, or as `judge`. */
static int find_file(struct xm_survey *survey, const struct xm_vma *vma, struct xm_file **file) {
    *file = xm_file_hold(vma->device, vma->inode);
    for (size_t i = 0; *file == NULL && i < survey->file_count; i++) {
        struct xm_file *known = survey->files[i];
        if (known->device == vma->device && known->inode == vma->inode) {
            known->holders++;
            *file = known;
        }
    }
    if (*file != NULL)
        return 0;
    if (is_memfd(vma))
        return XM_WITHHELD_ATTACHMENT;
    int error = xm_file_open_foreign(vma, file);
    return error == 0 || is_passing(error) ? error : XM_WITHHELD_FILE;
}

/* A private mapping of a file: as `judge`. */
static int judge_file(const struct xm_survey *survey, const struct xm_vma *vma,
                      struct xm_piece *piece) {
    if (vma->inode == 0)
        return XM_WITHHELD_KERNEL;
    if ((vma->protection & PROT_EXEC) != 0)
        return XM_WITHHELD_TEXT;
    /* A part of a huge page cannot be replaced. */
    if (strncmp(vma->name, "/anon_hugepage", strlen("/anon_hugepage")) == 0)
        return XM_WITHHELD_IMMOVABLE;
    if ((vma->protection & PROT_WRITE) != 0 && !survey->patient)
        return XM_WITHHELD_DATA;
    piece->kind = XM_PIECE_FILE;
    return 0;
}

/* A private mapping: as `judge`. */
static int judge_private(struct xm_survey *survey, const struct xm_vma *vma,
                         struct xm_piece *piece) {
    uint64_t end = piece->address + piece->length;
    piece->file = vma->inode != 0 ? xm_file_hold(vma->device, vma->inode) : NULL;
    piece->kind = piece->file != NULL ? XM_PIECE_PARTED : XM_PIECE_ANONYMOUS;
    /* A child of a fork does not know the memfds of its parent. */
    if (piece->file == NULL && !xm_vma_anonymous(vma) && !is_memfd(vma))
        return judge_file(survey, vma, piece);
    bool stack = !survey->patient && (strncmp(vma->name, "[stack", 6) == 0 ||
                                      xm_stack_of_thread(vma, piece->address, end, survey->tasks,
                                                         sizeof survey->tasks));
    if (!stack)
        return 0;
    xm_file_release(piece->file);
    piece->file = NULL;
    return XM_WITHHELD_STACK;
}

static bool is_own(const struct xm_survey *survey, uint64_t address) {
    bool own = false;
    for (size_t i = 0; i < XM_SURVEY_OWN; i++)
        own = own || (address >= survey->own[i].address &&
                      address - survey->own[i].address < survey->own[i].length);
    return own;
}

/* Where what begins at an address ends: one piece is of xpmem's own memory, or the page of the
 * stack that stays, or nothing of these. */
static uint64_t part_end(const struct xm_survey *survey, uint64_t start, uint64_t end) {
    uint64_t page = xm_page_size();
    uint64_t edges[2 * XM_SURVEY_OWN + 2];
    size_t count = 0;
    for (size_t i = 0; i < XM_SURVEY_OWN; i++) {
        edges[count++] = survey->own[i].address;
        edges[count++] = survey->own[i].address + survey->own[i].length;
    }
    edges[count++] = survey->stack_low;
    edges[count++] = survey->stack_low + page;
    for (size_t i = 0; i < count; i++)
        end = edges[i] > start && edges[i] < end ? edges[i] : end;
    return end;
}

/*
 * Fills in the kind of a piece of a mapping, and its file, which is held. 0; why it is not shared,
 * XM_WITHHELD_…; or a negative errno if that cannot be told now.
 */
static int judge(struct xm_survey *survey, const struct xm_vma *vma, struct xm_piece *piece) {
    if ((vma->protection & PROT_READ) == 0)
        return XM_WITHHELD_HIDDEN;
    if (is_own(survey, piece->address))
        return XM_WITHHELD_OWN;
    if (piece->address == survey->stack_low)
        return XM_WITHHELD_STACK_END;
    if (!vma->shared)
        return judge_private(survey, vma, piece);
    piece->kind = XM_PIECE_SHARED;
    return find_file(survey, vma, &piece->file);
}

/* Makes a hole of a piece. What cannot be read is as what is not there. */
static void withhold(struct xm_piece *piece, uint32_t reason) {
    piece->kind = reason == XM_WITHHELD_HIDDEN ? XM_PIECE_HOLE : XM_PIECE_WITHHELD;
    piece->reason = reason;
    /* A thread may end and leave its mapping to others, so each time it is looked at anew. */
    if (reason == XM_WITHHELD_STACK)
        piece->mark = 0;
}

bool xm_piece_moves(const struct xm_piece *piece) {
    return piece->kind == XM_PIECE_ANONYMOUS || piece->kind == XM_PIECE_FILE;
}

/* False: an answer has no room for it. Each piece that is moved may need a memfd of its own. */
static bool add_piece(struct xm_survey *survey, const struct xm_piece *piece, size_t *to_move) {
    bool moves = xm_piece_moves(piece);
    bool fresh = piece->file != NULL;
    for (size_t i = 0; i < survey->file_count; i++)
        fresh = fresh && survey->files[i] != piece->file;
    size_t files = survey->file_count + *to_move + (moves || fresh ? 1 : 0);
    if (survey->piece_count == XM_SURVEY_PIECES || files > XM_SURVEY_FILES) {
        xm_file_release(piece->file);
        return false;
    }
    if (piece->file != NULL)
        (void)xm_survey_keep(survey, piece->file);
    *to_move += moves ? 1 : 0;
    survey->pieces[survey->piece_count++] = *piece;
    return true;
}

/*
 * What is moved with a piece: only of the heap, which stays where it is while the piece is in use,
 * is it more than the piece. Elsewhere the program may unmap its neighbours at any moment, and map
 * something in their place, over which the memfd would be mapped then.
 */
static void set_bounds(const struct xm_survey *survey, struct xm_piece *piece,
                       const struct xm_vma *vma, struct xm_bounds bounds) {
    piece->low = piece->address;
    piece->high = piece->address + piece->length;
    if (piece->kind != XM_PIECE_ANONYMOUS || strcmp(vma->name, "[heap]") != 0)
        return;
    piece->low = vma->start > bounds.low ? vma->start : bounds.low;
    piece->high = vma->end < bounds.high ? vma->end : bounds.high;
    for (size_t i = 0; i < XM_SURVEY_OWN; i++) {
        uint64_t own = survey->own[i].address;
        uint64_t own_end = own + survey->own[i].length;
        if (own_end <= piece->address && own_end > piece->low)
            piece->low = own_end;
        if (own > piece->address && own < piece->high)
            piece->high = own;
    }
}

/* A part with nothing mapped. 1: go on; 0: no room; or a negative errno. */
static int add_gap(struct xm_survey *survey, uint64_t start, uint64_t end, enum xm_survey_mode mode,
                   size_t *to_move) {
    if (mode == XM_SURVEY_STRICT)
        return xm_survey_fail(survey, -EFAULT, start, end, "no memory is mapped here");
    if (mode == XM_SURVEY_OURS)
        return 1;
    struct xm_piece piece = {.kind = XM_PIECE_HOLE, .address = start, .length = end - start};
    return add_piece(survey, &piece, to_move) ? 1 : 0;
}

/* One mapping's part of the range. 1: go on; 0: no room; or a negative errno. */
static int add_mapping(struct xm_survey *survey, const struct xm_vma *vma, uint64_t start,
                       uint64_t end, struct xm_bounds bounds, enum xm_survey_mode mode,
                       size_t *to_move) {
    struct xm_piece piece = {.address = start,
                             .length = end - start,
                             .protection = vma->protection,
                             .file_offset = vma->file_offset + (start - vma->start),
                             .mark = xm_withheld_mark(vma, start)};
    if (mode == XM_SURVEY_OURS) {
        piece.kind = XM_PIECE_SHARED;
        piece.file = vma->shared ? xm_file_hold(vma->device, vma->inode) : NULL;
        if (piece.file == NULL)
            return 1;
    } else {
        int reason = judge(survey, vma, &piece);
        if (reason < 0)
            return xm_survey_fail(survey, reason, start, end, strerror(-reason));
        if (reason != 0 && mode == XM_SURVEY_STRICT)
            return xm_survey_fail(survey, -EFAULT, start, end, xm_withheld_text((uint32_t)reason));
        if (reason != 0)
            withhold(&piece, (uint32_t)reason);
    }
    set_bounds(survey, &piece, vma, bounds);
    return add_piece(survey, &piece, to_move) ? 1 : 0;
}

static int survey_with(struct xm_survey *survey, struct xm_maps *maps, uint64_t end,
                       struct xm_bounds bounds, enum xm_survey_mode mode) {
    struct xm_vma vma;
    size_t to_move = 0;
    int found = 0;
    int went = 1;
    while (survey->end < end && (found = xm_maps_next(maps, &vma)) > 0 && vma.start < end) {
        if (vma.end <= survey->end)
            continue;
        if (vma.start > survey->end) {
            went = add_gap(survey, survey->end, vma.start, mode, &to_move);
            if (went <= 0)
                return went;
            survey->end = vma.start;
        }
        uint64_t stop = vma.end < end ? vma.end : end;
        while (survey->end < stop) {
            uint64_t part = part_end(survey, survey->end, stop);
            went = add_mapping(survey, &vma, survey->end, part, bounds, mode, &to_move);
            if (went <= 0)
                return went;
            survey->end = part;
        }
    }
    if (found < 0)
        return xm_survey_fail(survey, found, survey->end, end, "/proc/self/maps cannot be read");
    if (survey->end < end)
        went = add_gap(survey, survey->end, end, mode, &to_move);
    if (went > 0)
        survey->end = end;
    return went < 0 ? went : 0;
}

/* Where the main thread's stack begins, below what is asked for if that can be. */
static uint64_t find_stack(struct xm_survey *survey, uint64_t address) {
    uint64_t low = xm_stack_low(survey->maps, sizeof survey->maps);
    if (low != address || low == 0)
        return low;
    xm_stack_grow(low);
    return xm_stack_low(survey->maps, sizeof survey->maps);
}

/* What else is on the last page of some memory goes with it. */
static void take_whole_pages(struct xm_span *span) {
    uint64_t page = xm_page_size();
    span->length = (span->length + page - 1) / page * page;
}

int xm_survey(struct xm_survey *survey, uint64_t address, uint64_t end, struct xm_bounds bounds,
              enum xm_survey_mode mode) {
    struct xm_maps maps;
    survey->piece_count = 0;
    survey->end = address;
    for (size_t i = 0; i < XM_SURVEY_OWN; i++)
        take_whole_pages(&survey->own[i]);
    survey->stack_low =
        mode != XM_SURVEY_OURS && xm_stack_near(end) ? find_stack(survey, address) : 0;
    int error = xm_maps_open(&maps, survey->maps, sizeof survey->maps);
    if (error != 0)
        return xm_survey_fail(survey, error, address, end, "/proc/self/maps cannot be opened");
    error = survey_with(survey, &maps, end, bounds, mode);
    xm_maps_close(&maps);
    return error;
}

void xm_survey_end(struct xm_survey *survey) {
    for (size_t i = 0; i < survey->file_count; i++)
        xm_file_release(survey->files[i]);
    survey->file_count = 0;
}
