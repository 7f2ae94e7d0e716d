#include "extents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"

/* A new set while it is being put together. */
struct draft {
    struct xm_extent *items;
    size_t count;
    size_t capacity;
};

static int push(struct draft *draft, struct xm_extent extent) {
    if (draft->count > 0) {
        struct xm_extent *last = &draft->items[draft->count - 1];
        bool adjacent = last->offset + last->length == extent.offset &&
                        last->file_offset + last->length == extent.file_offset;
        if (adjacent && last->source == extent.source) {
            last->length += extent.length;
            return 0;
        }
    }
    if (draft->count == draft->capacity) {
        size_t capacity = draft->capacity == 0 ? 8 : draft->capacity * 2;
        struct xm_extent *items = realloc(draft->items, capacity * sizeof *items);
        if (items == NULL)
            return -ENOMEM;
        draft->items = items;
        draft->capacity = capacity;
    }
    draft->items[draft->count++] = extent;
    return 0;
}

/* What is left of `old` in [start, end). */
static int push_part(struct draft *draft, const struct xm_extent *old, uint64_t start,
                     uint64_t end) {
    uint64_t from = old->offset > start ? old->offset : start;
    uint64_t to = old->offset + old->length < end ? old->offset + old->length : end;
    if (from >= to)
        return 0;
    struct xm_extent part = {from, to - from, old->file_offset + (from - old->offset), old->source};
    return push(draft, part);
}

/* Replaces the set by itself with `extent` laid over it. */
static int lay_over(struct draft *set, struct xm_extent extent) {
    struct draft next = {0};
    uint64_t end = extent.offset + extent.length;
    int error = 0;
    size_t i = 0;
    for (; error == 0 && i < set->count && set->items[i].offset < extent.offset; i++)
        error = push_part(&next, &set->items[i], 0, extent.offset);
    if (error == 0)
        error = push(&next, extent);
    /* One that reaches past the new extent began before its end, perhaps before its start. */
    for (i = i > 0 ? i - 1 : 0; error == 0 && i < set->count; i++)
        error = push_part(&next, &set->items[i], end, UINT64_MAX);
    if (error != 0) {
        free(next.items);
        return error;
    }
    free(set->items);
    *set = next;
    return 0;
}

static bool row_valid(const struct xm_row_extent *row, uint64_t segment_length) {
    uint64_t page = xm_page_size();
    bool aligned = (row->offset | row->length | row->file_offset) % page == 0;
    return aligned && row->length != 0 && row->length <= segment_length &&
           row->offset <= segment_length - row->length &&
           row->file_offset <= INT64_MAX - row->length;
}

/* A plain file may be shorter than its mapping: what lies beyond its end raises SIGBUS. */
static bool fits(const struct xm_row_extent *row, const struct xm_source *source) {
    bool within = row->length <= source->size && row->file_offset <= source->size - row->length;
    return within || !source->sealed;
}

/* The source of that identity, taking the descriptor over if it is new. Room is there. */
static uint32_t intern(struct xm_source *sources, size_t *count, int *descriptor,
                       const struct xm_descriptor_facts *facts) {
    for (size_t i = 0; i < *count; i++) {
        if (sources[i].inode == facts->inode && sources[i].device == facts->device)
            return (uint32_t)i;
    }
    sources[*count] = (struct xm_source){.descriptor = *descriptor,
                                         .writable = facts->writable,
                                         .sealed = xm_memfd_sealed(facts),
                                         .device = facts->device,
                                         .inode = facts->inode,
                                         .size = (uint64_t)facts->size};
    *descriptor = -1;
    return (uint32_t)(*count)++;
}

/* Whether a row says of a descriptor that it is of a copy of this process's own. */
static bool is_copy(const struct xm_row_extent *rows, size_t row_count, size_t descriptor) {
    for (size_t i = 0; i < row_count; i++) {
        if (rows[i].descriptor == descriptor && (rows[i].flags & XM_EXTENT_FLAG_COPY) != 0)
            return true;
    }
    return false;
}

static int accept(int descriptor, unsigned allowed, struct xm_descriptor_facts *facts) {
    bool writable = (allowed & XM_EXTENTS_WRITABLE) != 0;
    int error = xm_memfd_accept(descriptor, writable, facts);
    if (error == 0 || (allowed & XM_EXTENTS_BUS) == 0)
        return error;
    return xm_inspect(descriptor, facts) == 0 && facts->size >= 0 && !xm_memfd_sealed(facts) &&
                   facts->readable && (writable || !facts->writable)
               ? 0
               : -EPROTO;
}

/* `sources` has room for all descriptors; those it takes over become -1. */
static int build(struct draft *set, struct xm_source *sources, size_t *source_count,
                 uint64_t segment_length, unsigned allowed, const struct xm_row_extent *rows,
                 size_t row_count, int *descriptors, size_t descriptor_count) {
    uint32_t source_of[XM_MAX_DESCRIPTORS];
    for (size_t i = 0; i < descriptor_count; i++) {
        struct xm_descriptor_facts facts;
        bool copy = is_copy(rows, row_count, i);
        int error = accept(descriptors[i], copy ? XM_EXTENTS_WRITABLE : allowed, &facts);
        if (error != 0)
            return error;
        source_of[i] = intern(sources, source_count, &descriptors[i], &facts);
    }
    for (size_t i = 0; i < row_count; i++) {
        const struct xm_row_extent *row = &rows[i];
        bool hole = row->descriptor == XM_HOLE && (allowed & XM_EXTENTS_BUS) != 0;
        if ((!hole && row->descriptor >= descriptor_count) || !row_valid(row, segment_length))
            return -EPROTO;
        uint32_t source = hole ? XM_HOLE : source_of[row->descriptor];
        if (!hole && !fits(row, &sources[source]))
            return -EPROTO;
        struct xm_extent extent = {row->offset, row->length, row->file_offset, source};
        int error = lay_over(set, extent);
        if (error != 0)
            return error;
    }
    return 0;
}

static int copy_set(const struct xm_extents *extents, struct draft *set) {
    for (size_t i = 0; i < extents->count; i++) {
        int error = push(set, extents->items[i]);
        if (error != 0)
            return error;
    }
    return 0;
}

int xm_extents_add(struct xm_extents *extents, uint64_t segment_length, unsigned allowed,
                   const struct xm_row_extent *rows, size_t row_count, const int *descriptors,
                   size_t descriptor_count) {
    int owned[XM_MAX_DESCRIPTORS];
    size_t known = extents->source_count;
    size_t count = known;
    struct draft set = {0};
    int error = descriptor_count > XM_MAX_DESCRIPTORS ? -EPROTO : 0;
    struct xm_source *sources = NULL;
    if (error == 0) {
        for (size_t i = 0; i < descriptor_count; i++)
            owned[i] = descriptors[i];
        sources = calloc(known + descriptor_count + 1, sizeof *sources);
        error = sources == NULL ? -ENOMEM : copy_set(extents, &set);
    }
    if (error == 0) {
        if (known != 0)
            memcpy(sources, extents->sources, known * sizeof *sources);
        error = build(&set, sources, &count, segment_length, allowed, rows, row_count, owned,
                      descriptor_count);
    }
    for (size_t i = 0; i < descriptor_count; i++) {
        bool ours = descriptor_count > XM_MAX_DESCRIPTORS || owned[i] >= 0;
        if (ours)
            close(descriptors[i]);
    }
    if (error != 0) {
        for (size_t i = known; i < count; i++)
            close(sources[i].descriptor);
        free(sources);
        free(set.items);
        return error;
    }
    free(extents->sources);
    free(extents->items);
    *extents = (struct xm_extents){sources, count, set.items, set.count};
    return 0;
}

const struct xm_extent *xm_extents_find(const struct xm_extents *extents, uint64_t offset) {
    size_t low = 0;
    size_t high = extents->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (extents->items[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct xm_extent *extent = &extents->items[low - 1];
    return offset - extent->offset < extent->length ? extent : NULL;
}

uint64_t xm_extents_gap(const struct xm_extents *extents, uint64_t offset, uint64_t end) {
    const struct xm_extent *extent = xm_extents_find(extents, offset);
    const struct xm_extent *last = extents->items + extents->count;
    for (; offset < end && extent != NULL && extent != last && extent->offset <= offset; extent++)
        offset = extent->offset + extent->length;
    return offset < end ? offset : end;
}

void xm_extents_clear(struct xm_extents *extents) {
    for (size_t i = 0; i < extents->source_count; i++) {
        const struct xm_source *source = &extents->sources[i];
        /* The program may have closed it and got the number for its own. */
        if (xm_descriptor_is(source->descriptor, source->device, source->inode))
            close(source->descriptor);
    }
    free(extents->sources);
    free(extents->items);
    *extents = (struct xm_extents){0};
}
