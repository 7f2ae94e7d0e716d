#include "share.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "convert.h"
#include "convert_file.h"
#include "keeper.h"
#include "lock.h"
#include "memory.h"

/*
 * A memfd for moved memory is this much longer than that. A program that makes its memory longer
 * (mremap) gets fresh pages of the same memfd then, and not the end of the file.
 */
#define ROOM_BYTES (UINT64_C(1) << 40)

/* How often a range is looked at again that the program changes all the while. */
#define MOST_TRIES 64

static int convert(struct xm_share *share, const struct xm_conversion *conversion,
                   enum xm_piece_kind kind) {
    uint64_t end = conversion->address + conversion->length;
    int error = kind == XM_PIECE_FILE ? xm_convert_file(conversion, share->features)
                                      : xm_convert(conversion, share->features);
    if (error == -ENOTSUP)
        return xm_survey_fail(&share->survey, error, conversion->address, end,
                              "moving live memory needs a write-protecting userfaultfd, which this "
                              "kernel or container refuses; share memory made by allocate instead");
    /* The program has unmapped it since it was looked at, or mapped something else there. */
    if (error == -ENOENT || error == -EINVAL || error == -EFAULT)
        error = kind == XM_PIECE_FILE ? -EFAULT : -EAGAIN;
    return error == 0
               ? 0
               : xm_survey_fail(&share->survey, error, conversion->address, end, strerror(-error));
}

static uint64_t least(uint64_t one, uint64_t other) {
    return one < other ? one : other;
}

static uint64_t chunk_start(uint64_t address) {
    return address - address % XM_CHUNK_BYTES;
}

static uint64_t chunk_end(uint64_t address) {
    return chunk_start(address + XM_CHUNK_BYTES - 1);
}

/* Sees to it that the offer's growth begins at or before a piece. */
static int begin_growth(struct xm_share *share, struct xm_offer *offer,
                        const struct xm_piece *piece, const struct xm_share_request *request) {
    struct xm_growth *growth = &offer->growth;
    bool goes_on = request->more && growth->file != NULL && growth->next == piece->address;
    if (goes_on && growth->limit <= piece->high)
        return 0;
    uint64_t start = chunk_start(piece->address);
    start = start < piece->low ? piece->low : start;
    uint64_t limit = least(chunk_end(request->address + request->length), piece->high);
    struct xm_file *file;
    int error = xm_file_create(limit - start + ROOM_BYTES, XM_FILE_MOVED, &file);
    if (error != 0)
        return xm_survey_fail(&share->survey, error, start, limit, strerror(-error));
    xm_file_release(growth->file);
    *growth = (struct xm_growth){file, start, 0, limit};
    return 0;
}

/* Moves a piece, or as much of it as `most` allows, to which it is cut then. */
static int move_piece(struct xm_share *share, struct xm_offer *offer, struct xm_piece *piece,
                      const struct xm_share_request *request, uint64_t *moved) {
    struct xm_growth *growth = &offer->growth;
    int error = begin_growth(share, offer, piece, request);
    if (error != 0)
        return error;
    uint64_t left = request->most > *moved ? request->most - *moved : XM_CHUNK_BYTES;
    uint64_t stop = least(chunk_end(piece->address + piece->length), growth->limit);
    stop = least(stop, chunk_end(piece->address + left));
    struct xm_conversion conversion = {.address = growth->next,
                                       .length = stop - growth->next,
                                       .protection = piece->protection,
                                       .from = -1,
                                       .into = growth->file->descriptor,
                                       .into_offset = growth->file_offset};
    error = convert(share, &conversion, piece->kind);
    if (error != 0) {
        /* Some of it may have been written, and what is zero by the next try would not be. */
        xm_file_release(growth->file);
        *growth = (struct xm_growth){0};
        return error;
    }
    piece->file = xm_file_hold(growth->file->device, growth->file->inode);
    piece->file_offset = growth->file_offset + (piece->address - growth->next);
    piece->length = least(piece->length, stop - piece->address);
    /* The survey left room. */
    (void)xm_survey_keep(&share->survey, piece->file);
    growth->file_offset += stop - growth->next;
    growth->next = stop;
    *moved += conversion.length;
    return 0;
}

/* Makes a private mapping of a memfd of ours shared again. */
static int join(struct xm_share *share, const struct xm_piece *piece) {
    uint64_t end = piece->address + piece->length;
    struct xm_userfault_gate gate = {0, 0};
    struct xm_merge merge = {.address = piece->address,
                             .length = piece->length,
                             .protection = piece->protection,
                             .into = piece->file->descriptor,
                             .into_offset = piece->file_offset,
                             .snapshot = -1,
                             .gate = &gate};
    int error = (share->features & XM_FEATURE_WP_SHMEM) != 0 ? 0 : -ENOTSUP;
    if (error == 0)
        error = xm_merge_open(&share->merging);
    if (error == 0) {
        merge.userfault = xm_userfault_open(XM_FEATURE_WP_SHMEM);
        error = merge.userfault < 0 ? merge.userfault : xm_merge(&merge, &share->merging);
        if (merge.userfault >= 0)
            close(merge.userfault);
        xm_merge_close(&share->merging);
    }
    return error == 0 ? 0
                      : xm_survey_fail(&share->survey, error, piece->address, end,
                                       "a fork made this memory private, and it cannot be shared "
                                       "again");
}

static void add_row(struct xm_share *share, const struct xm_piece *piece, uint64_t address) {
    bool withheld = piece->kind == XM_PIECE_WITHHELD;
    bool hole = withheld || piece->kind == XM_PIECE_HOLE;
    uint32_t number = hole ? XM_HOLE : 0;
    while (!hole && share->survey.files[number] != piece->file)
        number++;
    struct xm_row_extent row = {
        .offset = piece->address - address,
        .length = piece->length,
        .file_offset = withheld ? piece->mark : (hole ? 0 : piece->file_offset),
        .descriptor = number,
        .flags = withheld ? XM_EXTENT_FLAG_WITHHELD | piece->reason << XM_WITHHELD_SHIFT : 0};
    share->rows[share->row_count++] = row;
}

static void begin(struct xm_share *share) {
    share->row_count = 0;
    share->survey.file_count = 0;
    share->survey.text[0] = '\0';
}

/* Whether a fork will have to do with some of it. */
static bool moves(const struct xm_survey *survey) {
    bool some = false;
    for (size_t i = 0; i < survey->piece_count; i++) {
        const struct xm_piece *piece = &survey->pieces[i];
        some = some || xm_piece_moves(piece) ||
               (piece->file != NULL && piece->file->kind == XM_FILE_MOVED);
    }
    return some;
}

static int start_keeper(struct xm_share *share, uint64_t address, uint64_t end) {
    int error = moves(&share->survey) ? xm_keeper_start() : 0;
    return error == 0 ? 0
                      : xm_survey_fail(&share->survey, error, address, end,
                                       "the thread that sees to forks cannot be started");
}

/*
 * What to do about a piece that could not be moved: 0, it is withheld; or an error, -EAGAIN to look
 * again at what of it was moved. Huge pages can only be mapped over whole, and of a file that is
 * shorter than its mapping there is nothing to be read.
 */
static int give_up(struct xm_share *share, struct xm_piece *piece,
                   const struct xm_share_request *request, int error) {
    if (error != -EFAULT || piece->kind != XM_PIECE_FILE || !request->holes)
        return error;
    for (size_t i = 0; i < share->stuck_count; i++) {
        if (share->stuck[i] != piece->address)
            continue;
        piece->kind = XM_PIECE_WITHHELD;
        piece->reason = XM_WITHHELD_IMMOVABLE;
        return 0;
    }
    if (share->stuck_count == XM_SURVEY_FILES)
        return error;
    share->stuck[share->stuck_count++] = piece->address;
    return -EAGAIN;
}

/* The pieces in turn, until one was cut. */
static int share_pieces(struct xm_share *share, struct xm_offer *offer,
                        const struct xm_share_request *request) {
    uint64_t moved = 0;
    for (size_t i = 0; i < share->survey.piece_count; i++) {
        struct xm_piece *piece = &share->survey.pieces[i];
        uint64_t whole = piece->length;
        int error = 0;
        if (xm_piece_moves(piece)) {
            if (moved != 0 && moved >= request->most)
                return 0;
            error = move_piece(share, offer, piece, request, &moved);
            if (error != 0)
                error = give_up(share, piece, request, error);
        } else if (piece->kind == XM_PIECE_PARTED) {
            error = join(share, piece);
        }
        if (error != 0)
            return error;
        add_row(share, piece, request->address);
        if (piece->length < whole)
            return 0;
    }
    return 0;
}

/* Looks at the range and shares it as it is. -EAGAIN: it is no longer so. */
static int share_as_it_is(struct xm_share *share, struct xm_offer *offer,
                          const struct xm_share_request *request) {
    struct xm_bounds bounds = {offer->address, offer->address + offer->length};
    uint64_t end = request->address + request->length;
    share->survey.own[1] = xm_keeper_memory();
    int error = xm_survey(&share->survey, request->address, end, bounds,
                          request->holes ? XM_SURVEY_HOLES : XM_SURVEY_STRICT);
    if (error == 0)
        error = start_keeper(share, request->address, end);
    return error == 0 ? share_pieces(share, offer, request) : error;
}

int xm_share(struct xm_share *share, struct xm_offer *offer,
             const struct xm_share_request *request) {
    int error = -EAGAIN;
    share->stuck_count = 0;
    xm_lock_conversion();
    for (int tries = 0; error == -EAGAIN && tries < MOST_TRIES; tries++) {
        xm_share_end(share);
        begin(share);
        error = share_as_it_is(share, offer, request);
    }
    xm_unlock_conversion();
    return error;
}

/* The fresh memfd for an old one, among the pairs made so far: files[0], files[1] and so on. */
static int renew(struct xm_share *share, struct xm_file **renewed, struct xm_file *old,
                 struct xm_file **fresh) {
    size_t i = 0;
    while (share->survey.files[i] != old)
        i++;
    int error = renewed[i] != NULL ? 0 : xm_file_create(old->size, old->kind, &renewed[i]);
    *fresh = renewed[i];
    return error;
}

static int move_all(struct xm_share *share, uint64_t address, uint64_t end) {
    struct xm_file *renewed[XM_SURVEY_FILES] = {NULL};
    struct xm_survey *survey = &share->survey;
    int error = xm_survey(survey, address, end, (struct xm_bounds){0, 0}, XM_SURVEY_OURS);
    for (size_t i = 0; error == 0 && i < survey->piece_count; i++) {
        const struct xm_piece *piece = &survey->pieces[i];
        struct xm_file *fresh;
        error = renew(share, renewed, piece->file, &fresh);
        if (error != 0)
            continue;
        struct xm_conversion conversion = {.address = piece->address,
                                           .length = piece->length,
                                           .protection = piece->protection,
                                           .from = piece->file->descriptor,
                                           .from_offset = piece->file_offset,
                                           .into = fresh->descriptor,
                                           .into_offset = piece->file_offset};
        error = convert(share, &conversion, piece->kind);
    }
    for (size_t i = 0; i < XM_SURVEY_FILES; i++)
        xm_file_release(renewed[i]);
    xm_survey_end(survey);
    return error;
}

int xm_move(struct xm_share *share, uint64_t address, uint64_t length) {
    uint64_t end = address + length;
    int error = 0;
    begin(share);
    xm_lock_conversion();
    /* An offer that comes later looks for its memory's file when this is over. */
    if (xm_agents_offered(address, length) > 1) {
        xm_unlock_conversion();
        return xm_survey_fail(&share->survey, -EBUSY, address, end, "it is offered again");
    }
    share->survey.end = address;
    while (error == 0 && share->survey.end < end)
        error = move_all(share, share->survey.end, end);
    xm_regions_moved(address, length);
    xm_unlock_conversion();
    return error;
}

void xm_share_end(struct xm_share *share) {
    xm_survey_end(&share->survey);
}
