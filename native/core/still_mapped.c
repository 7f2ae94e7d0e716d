#include "still_mapped.h"

#include <errno.h>
#include <unistd.h>

#include "memory.h"

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

/*
 * The parts of one mapping that are pieces of the attachment in their places. Mappings come in
 * ascending order, as the pieces are: those before `next` end before this one.
 */
static int each_piece(const struct xm_attachment *attachment, const struct xm_vma *vma,
                      size_t *next, xm_part_function function, void *context) {
    uint64_t end = attachment->span.address + attachment->span.length;
    int error = 0;
    for (size_t i = *next; i < attachment->piece_count; i++) {
        const struct xm_mapped_piece *piece = &attachment->pieces[i];
        uint64_t start = attachment->origin + piece->offset;
        if (start + piece->length <= vma->start) {
            *next = i + 1;
            continue;
        }
        if (start >= vma->end)
            return error;
        uint64_t from = most(most(start, vma->start), attachment->span.address);
        uint64_t to = least(least(start + piece->length, vma->end), end);
        bool same = vma->shared && from < to && piece->device == vma->device &&
                    piece->inode == vma->inode &&
                    vma->file_offset + (from - vma->start) == piece->file_offset + (from - start);
        int failed = same ? function(attachment, from, to - from, context) : 0;
        error = error == 0 ? failed : error;
    }
    return error;
}

/* Opened once: that takes longer than all the rest. */
static int own_mappings = -1;
static struct xm_descriptor_facts own_facts;

void xm_still_mapped_forget(void) {
    if (own_mappings >= 0 && xm_descriptor_is(own_mappings, own_facts.device, own_facts.inode))
        close(own_mappings);
    own_mappings = -1;
}

/* 0 or a negative errno. */
static int open_mappings(void) {
    /* The program may have closed it. */
    if (own_mappings >= 0 && !xm_descriptor_is(own_mappings, own_facts.device, own_facts.inode))
        own_mappings = -1;
    if (own_mappings < 0)
        own_mappings = xm_mappings_open(0);
    int error = own_mappings < 0 ? own_mappings : xm_inspect(own_mappings, &own_facts);
    return error;
}

int xm_still_mapped(const struct xm_attachment *attachment, enum xm_unreadable unreadable,
                    xm_part_function function, void *context) {
    struct xm_vma vmas[SOME_MAPPINGS];
    uint64_t end = attachment->span.address + attachment->span.length;
    size_t next_piece = 0;
    ssize_t count = open_mappings();
    int error = 0;
    for (uint64_t next = attachment->span.address; next < end;) {
        if (count == 0)
            count = xm_mappings(own_mappings, next, end - next, vmas, SOME_MAPPINGS);
        if (count < 0 && count != -E2BIG)
            return unreadable == XM_UNREADABLE_FAILS
                       ? (int)count
                       : function(attachment, next, end - next, context);
        size_t filled = count == -E2BIG ? SOME_MAPPINGS : (size_t)count;
        for (size_t i = 0; i < filled; i++) {
            int failed = each_piece(attachment, &vmas[i], &next_piece, function, context);
            error = error == 0 ? failed : error;
        }
        next = count == -E2BIG ? vmas[SOME_MAPPINGS - 1].end : end;
        count = 0;
    }
    return error;
}
