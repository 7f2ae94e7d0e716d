#include "map_range.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int xm_none_open(struct xm_none *none) {
    struct stat status;
    none->descriptor = memfd_create("xpmem-none", MFD_CLOEXEC);
    if (none->descriptor < 0)
        return -errno;
    if (fstat(none->descriptor, &status) != 0) {
        int error = -errno;
        close(none->descriptor);
        return error;
    }
    none->device = status.st_dev;
    none->inode = status.st_ino;
    return 0;
}

void xm_none_close(struct xm_none *none) {
    close(none->descriptor);
}

static int protection_of(const struct xm_plan *plan, const struct xm_extent *extent) {
    /* A file that its owner can only read is no more than that to those who may write. */
    bool writable = extent->source == XM_HOLE || plan->extents->sources[extent->source].writable;
    return plan->writable && writable ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* Maps a part of an extent at an address, by mmap's `flags`. The address, or MAP_FAILED. */
static void *map_extent(const struct xm_plan *plan, const struct xm_extent *extent, uint64_t skip,
                        uint64_t length, void *address, int flags) {
    bool hole = extent->source == XM_HOLE;
    int descriptor =
        hole ? plan->none->descriptor : plan->extents->sources[extent->source].descriptor;
    uint64_t offset = hole ? extent->offset + skip - plan->offset : extent->file_offset + skip;
    return mmap(address, length, protection_of(plan, extent), MAP_SHARED | flags, descriptor,
                (off_t)offset);
}

/* Does something with a part of an extent, `done` bytes from the range's start. 0 or a negative
 * errno. */
typedef int (*piece_function)(const struct xm_plan *plan, const struct xm_extent *extent,
                              uint64_t done, uint64_t length, void *context);

/* Calls it for the pieces of the range in turn. The first error, which ends it; -ENODATA; or 0. */
static int each_piece(const struct xm_plan *plan, piece_function function, void *context) {
    const struct xm_extent *extent = xm_extents_find(plan->extents, plan->offset);
    const struct xm_extent *end = plan->extents->items + plan->extents->count;
    for (uint64_t done = 0; done < plan->length; extent++) {
        if (extent == NULL || extent == end || extent->offset > plan->offset + done)
            return -ENODATA;
        uint64_t piece = extent->length - (plan->offset + done - extent->offset);
        piece = piece < plan->length - done ? piece : plan->length - done;
        int error = function(plan, extent, done, piece, context);
        if (error != 0)
            return error;
        done += piece;
    }
    return 0;
}

/* Maps a piece over what is reserved at `base`. */
static int map_piece(const struct xm_plan *plan, const struct xm_extent *extent, uint64_t done,
                     uint64_t length, void *base) {
    void *mapped = map_extent(plan, extent, plan->offset + done - extent->offset, length,
                              (char *)base + done, MAP_FIXED);
    return mapped == MAP_FAILED ? -errno : 0;
}

int xm_map_range(const struct xm_plan *plan, void **base) {
    const struct xm_extent *first = xm_extents_find(plan->extents, plan->offset);
    if (first == NULL)
        return -ENODATA;
    int exactly = *base == NULL ? 0 : MAP_FIXED_NOREPLACE;
    uint64_t skip = plan->offset - first->offset;
    bool single = plan->length <= first->length - skip;
    void *wanted = *base;
    void *mapped = single ? map_extent(plan, first, skip, plan->length, wanted, exactly)
                          : mmap(wanted, plan->length, PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | exactly, -1, 0);
    if (mapped == MAP_FAILED)
        return -errno;
    /* Kernels before 4.17 take the address for a hint. */
    int error = wanted != NULL && mapped != wanted ? -EEXIST : 0;
    if (error == 0 && !single)
        error = each_piece(plan, map_piece, mapped);
    /* The child of a fork has none of it, as with the kernel driver. */
    if (error == 0 && madvise(mapped, plan->length, MADV_DONTFORK) != 0)
        error = -errno;
    if (error != 0)
        munmap(mapped, plan->length);
    *base = mapped;
    return error;
}

struct moving {
    char *from;
    char *to;
    uint64_t moved;
};

/* The kernel moves one mapping at a time. */
static int move_piece(const struct xm_plan *plan, const struct xm_extent *extent, uint64_t done,
                      uint64_t length, void *context) {
    struct moving *moving = context;
    (void)plan;
    (void)extent;
    if (mremap(moving->from + done, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
               moving->to + done) == MAP_FAILED)
        return -errno;
    moving->moved = done + length;
    return 0;
}

/*
 * Address space of a length that has nothing of a range of that length, of which parts may be free;
 * or MAP_FAILED.
 */
static char *reserve_beside(const char *range, uint64_t length) {
    char *room = length > SIZE_MAX / 3 ? MAP_FAILED
                                       : mmap(NULL, 3 * length, PROT_NONE,
                                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return MAP_FAILED;
    /* One of its outer thirds is free of the range. */
    bool meets = range < room + length && room < range + length;
    munmap(meets ? room : room + length, 2 * length);
    return meets ? room + 2 * length : room;
}

int xm_map_range_over(const struct xm_plan *plan, void *base) {
    char *made = reserve_beside(base, plan->length);
    if (made == MAP_FAILED)
        return -ENOMEM;
    struct moving moving = {.from = made, .to = base};
    int error = each_piece(plan, map_piece, made);
    if (error == 0 && madvise(made, plan->length, MADV_DONTFORK) != 0)
        error = -errno;
    if (error == 0)
        error = each_piece(plan, move_piece, &moving);
    if (error == 0)
        return 0;
    munmap(made + moving.moved, plan->length - moving.moved);
    if (moving.moved != 0)
        munmap(base, moving.moved);
    return error;
}

/* One piece of the mapping: what of an extent lies in the range. */
static struct xm_mapped_piece piece_of(const struct xm_plan *plan, const struct xm_extent *extent) {
    uint64_t stop = plan->offset + plan->length;
    uint64_t from = extent->offset > plan->offset ? extent->offset : plan->offset;
    uint64_t to = extent->offset + extent->length;
    struct xm_mapped_piece piece = {.offset = from - plan->offset,
                                    .length = (to < stop ? to : stop) - from};
    if (extent->source == XM_HOLE) {
        piece.device = plan->none->device;
        piece.inode = plan->none->inode;
        piece.file_offset = piece.offset;
    } else {
        const struct xm_source *source = &plan->extents->sources[extent->source];
        piece.device = source->device;
        piece.inode = source->inode;
        piece.file_offset = extent->file_offset + (from - extent->offset);
    }
    return piece;
}

/* The first extent of the range; `*end` is behind the last. */
static const struct xm_extent *extents_of(const struct xm_plan *plan,
                                          const struct xm_extent **end) {
    const struct xm_extent *first = xm_extents_find(plan->extents, plan->offset);
    const struct xm_extent *last = plan->extents->items + plan->extents->count;
    const struct xm_extent *next = first;
    while (next != NULL && next != last && next->offset < plan->offset + plan->length)
        next++;
    *end = next;
    return first;
}

bool xm_plan_has_holes(const struct xm_plan *plan) {
    const struct xm_extent *end;
    for (const struct xm_extent *extent = extents_of(plan, &end); extent != end; extent++) {
        if (extent->source == XM_HOLE)
            return true;
    }
    return false;
}

size_t xm_plan_count(const struct xm_plan *plan) {
    const struct xm_extent *end;
    const struct xm_extent *first = extents_of(plan, &end);
    return (size_t)(end - first);
}

void xm_plan_pieces(const struct xm_plan *plan, struct xm_mapped_piece *pieces) {
    const struct xm_extent *end;
    for (const struct xm_extent *extent = extents_of(plan, &end); extent != end; extent++)
        *pieces++ = piece_of(plan, extent);
}
