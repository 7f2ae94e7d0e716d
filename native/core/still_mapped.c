#include "still_mapped.h"

#include <errno.h>
#include <unistd.h>

/* Mappings looked at together. */
#define SOME_MAPPINGS 32

static uint64_t least(uint64_t one, uint64_t other) {
    return one < other ? one : other;
}

static uint64_t most(uint64_t one, uint64_t other) {
    return one > other ? one : other;
}

bool xm_shows_attachment(const struct xm_attachment *attachment, const struct xm_vma *vma) {
    uint64_t length = vma->end - vma->start;
    for (size_t i = 0; vma->shared && i < attachment->piece_count; i++) {
        const struct xm_mapped_piece *piece = &attachment->pieces[i];
        if (piece->device == vma->device && piece->inode == vma->inode &&
            vma->file_offset < piece->file_offset + piece->length &&
            piece->file_offset < vma->file_offset + length)
            return true;
    }
    return false;
}

/* The parts of one mapping that are pieces of the attachment in their places. */
static int each_piece(const struct xm_attachment *attachment, const struct xm_vma *vma,
                      xm_part_function function, void *context) {
    uint64_t end = attachment->span.address + attachment->span.length;
    int error = 0;
    for (size_t i = 0; vma->shared && i < attachment->piece_count; i++) {
        const struct xm_mapped_piece *piece = &attachment->pieces[i];
        uint64_t start = attachment->origin + piece->offset;
        uint64_t from = most(most(start, vma->start), attachment->span.address);
        uint64_t to = least(least(start + piece->length, vma->end), end);
        bool same = from < to && piece->device == vma->device && piece->inode == vma->inode &&
                    vma->file_offset + (from - vma->start) == piece->file_offset + (from - start);
        if (!same)
            continue;
        int failed = function(attachment, from, to - from, context);
        error = error == 0 ? failed : error;
    }
    return error;
}

/* Opened once: that takes longer than all the rest. */
static int own_mappings = -1;

void xm_still_mapped_forget(void) {
    if (own_mappings >= 0)
        close(own_mappings);
    own_mappings = -1;
}

int xm_still_mapped(const struct xm_attachment *attachment, xm_part_function function,
                    void *context) {
    struct xm_vma vmas[SOME_MAPPINGS];
    uint64_t end = attachment->span.address + attachment->span.length;
    int error = 0;
    if (own_mappings < 0)
        own_mappings = xm_mappings_open(0);
    for (uint64_t next = attachment->span.address; next < end;) {
        ssize_t count = xm_mappings(own_mappings, next, end - next, vmas, SOME_MAPPINGS);
        if (count < 0 && count != -E2BIG)
            return function(attachment, next, end - next, context);
        size_t filled = count == -E2BIG ? SOME_MAPPINGS : (size_t)count;
        for (size_t i = 0; i < filled; i++) {
            int failed = each_piece(attachment, &vmas[i], function, context);
            error = error == 0 ? failed : error;
        }
        next = count == -E2BIG ? vmas[SOME_MAPPINGS - 1].end : end;
    }
    return error;
}
