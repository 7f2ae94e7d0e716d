#include "share.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "agent.h"
#include "convert.h"
#include "lock.h"
#include "maps.h"
#include "memory.h"
#include "stacks.h"

static int fail(struct xm_share *share, int error, uint64_t start, uint64_t end, const char *why) {
    snprintf(share->text, sizeof share->text, "0x%" PRIx64 "-0x%" PRIx64 ": %s", start, end, why);
    return error;
}

/* Puts a held memfd among the first `limit` of the result, or lets go of it. Whether it is there.
 */
static bool keep_file(struct xm_share *share, struct xm_file *file, size_t limit) {
    size_t i = 0;
    while (i < share->file_count && share->files[i] != file)
        i++;
    if (i < share->file_count || i >= limit)
        xm_file_release(file);
    else
        share->files[share->file_count++] = file;
    return i < limit;
}

/* Why a mapping cannot be shared, or NULL. `file` gets the memfd of ours that it maps, held. */
static const char *judge(const struct xm_share *share, const struct xm_vma *vma, uint64_t start,
                         uint64_t end, struct xm_file **file) {
    *file = NULL;
    if (start < share->own_address + share->own_length && end > share->own_address)
        return "this is the memory of xpmem's own thread";
    if ((vma->protection & PROT_READ) == 0)
        return "this memory is not readable";
    /* A fork runs parent and child on the same stack until the child can do something about it, and
     * what is mapped over the main thread's stack does not grow. */
    if (xm_stacks_touch(start, end) || strncmp(vma->name, "[stack", 6) == 0)
        return "this is a thread's stack";
    if (vma->shared) {
        *file = xm_file_hold(vma->device, vma->inode);
        return *file != NULL ? NULL : "this is a shared mapping that xpmem did not make";
    }
    return xm_vma_anonymous(vma) ? NULL
                                 : "a file is mapped here; only anonymous memory can be shared";
}

/* False: an answer has no room for it. One memfd's room is the offer's own. */
static bool add_piece(struct xm_share *share, const struct xm_vma *vma, uint64_t start,
                      uint64_t end, struct xm_file *file) {
    if (share->piece_count == XM_SHARE_ROWS) {
        xm_file_release(file);
        return false;
    }
    if (file != NULL && !keep_file(share, file, XM_SHARE_FILES - 1))
        return false;
    share->pieces[share->piece_count++] = (struct xm_piece){
        start, end - start, vma->protection, file, vma->file_offset + (start - vma->start)};
    return true;
}

/*
 * Fills in the pieces of a range, as many from its start as an answer has room for: up to
 * `surveyed`. `strict`: all of it must be fit; otherwise only our memfds count.
 */
static int survey_with(struct xm_share *share, struct xm_maps *maps, uint64_t address, uint64_t end,
                       bool strict) {
    struct xm_vma vma;
    uint64_t next = address;
    int found = 0;
    while (next < end && (found = xm_maps_next(maps, &vma)) > 0 && vma.start < end) {
        if (vma.end <= next)
            continue;
        if (vma.start > next) {
            if (strict)
                return fail(share, -EFAULT, next, vma.start, "no memory is mapped here");
            next = vma.start;
        }
        uint64_t stop = vma.end < end ? vma.end : end;
        struct xm_file *file;
        const char *why = judge(share, &vma, next, stop, &file);
        if (why != NULL && strict)
            return fail(share, -EFAULT, next, stop, why);
        if ((file != NULL || strict) && !add_piece(share, &vma, next, stop, file)) {
            share->surveyed = next;
            return 0;
        }
        next = stop;
    }
    if (found < 0)
        return fail(share, found, address, end, "/proc/self/maps cannot be read");
    return next < end && strict ? fail(share, -EFAULT, next, end, "no memory is mapped here") : 0;
}

static int survey(struct xm_share *share, uint64_t address, uint64_t end, bool strict) {
    struct xm_maps maps;
    share->piece_count = 0;
    share->surveyed = end;
    int error = xm_maps_open(&maps, share->maps, sizeof share->maps);
    if (error != 0)
        return fail(share, error, address, end, "/proc/self/maps cannot be opened");
    error = survey_with(share, &maps, address, end, strict);
    xm_maps_close(&maps);
    return error;
}

/* Makes the offer's memfd one in which the part from `offset` was never used, and claims that. */
static int prepare_file(struct xm_offer *offer, uint64_t offset, uint64_t length) {
    int error = offer->file == NULL ? -EEXIST : xm_file_claim(offer->file, offset, offset + length);
    if (error != -EEXIST)
        return error;
    struct xm_file *fresh;
    error = xm_file_create(offer->length, &fresh);
    if (error != 0)
        return error;
    xm_file_release(offer->file);
    offer->file = fresh;
    return xm_file_claim(fresh, offset, offset + length);
}

/* Moves a piece into the offer's memfd. */
static int move_piece(struct xm_share *share, struct xm_offer *offer, struct xm_piece *piece) {
    uint64_t end = piece->address + piece->length;
    uint64_t offset = piece->address - offer->address;
    int error = prepare_file(offer, offset, piece->length);
    if (error != 0)
        return fail(share, error, piece->address, end, strerror(-error));
    struct xm_file *file = xm_file_hold(offer->file->device, offer->file->inode);
    /* There is room, but for more than one of its own, each of which replaces the one before. */
    if (!keep_file(share, file, XM_SHARE_FILES))
        return fail(share, -E2BIG, piece->address, end, "the range lies in too many memfds");
    struct xm_conversion conversion = {.address = piece->address,
                                       .length = piece->length,
                                       .protection = piece->protection,
                                       .from = piece->file == NULL ? -1 : piece->file->descriptor,
                                       .from_offset = piece->file_offset,
                                       .into = file->descriptor,
                                       .into_offset = offset};
    error = xm_convert(&conversion, share->features);
    if (error == -ENOTSUP)
        return fail(share, error, piece->address, end,
                    "moving live memory needs a write-protecting userfaultfd, which this kernel or "
                    "container refuses; share memory made by allocate instead");
    if (error != 0)
        return fail(share, error, piece->address, end, strerror(-error));
    piece->file = file;
    piece->file_offset = offset;
    return 0;
}

static void add_rows(struct xm_share *share, uint64_t address) {
    for (size_t i = 0; i < share->piece_count; i++) {
        const struct xm_piece *piece = &share->pieces[i];
        uint32_t number = 0;
        while (share->files[number] != piece->file)
            number++;
        struct xm_row_extent row = {piece->address - address, piece->length, piece->file_offset,
                                    number, 0};
        struct xm_row_extent *last =
            share->row_count > 0 ? &share->rows[share->row_count - 1] : NULL;
        if (last != NULL && last->descriptor == number &&
            last->offset + last->length == row.offset &&
            last->file_offset + last->length == row.file_offset)
            last->length += row.length;
        else if (share->row_count < XM_SHARE_ROWS)
            share->rows[share->row_count++] = row;
    }
}

static void begin(struct xm_share *share) {
    share->row_count = 0;
    share->file_count = 0;
    share->text[0] = '\0';
}

int xm_share(struct xm_share *share, struct xm_offer *offer, uint64_t address, uint64_t length) {
    begin(share);
    xm_lock_conversion();
    int error = survey(share, address, address + length, true);
    for (size_t i = 0; error == 0 && i < share->piece_count; i++) {
        if (share->pieces[i].file == NULL)
            error = move_piece(share, offer, &share->pieces[i]);
    }
    xm_unlock_conversion();
    if (error == 0)
        add_rows(share, address);
    return error;
}

/* The memfds that the range is moved out of are no part of the answer. */
static void drop_old_files(struct xm_share *share, const struct xm_file *fresh) {
    size_t kept = 0;
    for (size_t i = 0; i < share->file_count; i++) {
        if (share->files[i] == fresh)
            share->files[kept++] = share->files[i];
        else
            xm_file_release(share->files[i]);
    }
    share->file_count = kept;
}

int xm_move(struct xm_share *share, struct xm_offer *offer, uint64_t address, uint64_t length) {
    uint64_t end = address + length;
    int error = 0;
    begin(share);
    xm_lock_conversion();
    /* An offer that comes later looks for its memory's file when this is over. */
    if (xm_agents_offered(address, length) > 1) {
        xm_unlock_conversion();
        return fail(share, -EBUSY, address, end, "it is offered again");
    }
    /* The offer's own memfd is among those that must see nothing more. */
    xm_file_release(offer->file);
    offer->file = NULL;
    share->surveyed = address;
    while (error == 0 && share->surveyed < end) {
        error = survey(share, share->surveyed, end, false);
        for (size_t i = 0; error == 0 && i < share->piece_count; i++)
            error = move_piece(share, offer, &share->pieces[i]);
        drop_old_files(share, offer->file);
        if (error == 0)
            add_rows(share, address);
    }
    xm_regions_moved(address, length);
    xm_unlock_conversion();
    return error;
}

void xm_share_end(struct xm_share *share) {
    for (size_t i = 0; i < share->file_count; i++)
        xm_file_release(share->files[i]);
    share->file_count = 0;
}
