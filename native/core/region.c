#include "backing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lock.h"
#include "maps.h"
#include "memory.h"

#define MAPS_BUFFER 16384

static struct xm_span_index regions;

static struct xm_region *find(uint64_t address) {
    return (struct xm_region *)xm_span_find(&regions, address);
}

static int map_region(struct xm_region *region, bool huge_pages) {
    void *memory = mmap(NULL, region->span.length, PROT_READ | PROT_WRITE, MAP_SHARED,
                        region->file->descriptor, 0);
    if (memory == MAP_FAILED)
        return -errno;
    /* A wish: kernels without huge pages for memfds, or told not to, refuse it. */
    if (huge_pages)
        (void)madvise(memory, region->span.length, MADV_HUGEPAGE);
    region->span.address = (uintptr_t)memory;
    xm_lock();
    int error = xm_span_reserve(&regions);
    if (error == 0)
        xm_span_insert(&regions, &region->span);
    xm_unlock();
    if (error != 0)
        munmap(memory, region->span.length);
    return error;
}

int xm_region_create(uint64_t length, bool huge_pages, struct xm_region **region) {
    struct xm_region *made = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    made->span.length = length;
    int error = xm_file_create(length, XM_FILE_REGION, &made->file);
    if (error == 0) {
        error = map_region(made, huge_pages);
        if (error != 0)
            xm_file_discard(made->file);
    }
    if (error != 0) {
        free(made);
        return error;
    }
    *region = made;
    return 0;
}

void xm_region_destroy(struct xm_region *region) {
    /* No conversion may be about to map a memfd over what is given back here. */
    xm_lock_conversion();
    xm_lock();
    xm_span_remove(&regions, &region->span);
    struct xm_file *file = region->file;
    xm_unlock();
    munmap((void *)(uintptr_t)region->span.address, region->span.length);
    xm_unlock_conversion();
    xm_file_discard(file);
    free(region);
}

void xm_regions_moved(uint64_t address, uint64_t length) {
    uint64_t end = address + length;
    xm_lock();
    for (size_t i = 0; i < regions.count; i++) {
        struct xm_region *region = (struct xm_region *)regions.items[i];
        bool apart =
            region->span.address >= end || region->span.address + region->span.length <= address;
        if (apart || region->file == NULL)
            continue;
        region->file->holders--;
        region->file = NULL;
    }
    xm_unlock();
}

void xm_regions_forget(void) {
    for (size_t i = 0; i < regions.count; i++)
        ((struct xm_region *)regions.items[i])->file = NULL;
}

/* What one file maps a range in one piece; -ENOENT if that is not so. */
static int look_up(uint64_t address, uint64_t length, struct xm_file **file, uint64_t *offset) {
    char buffer[MAPS_BUFFER];
    struct xm_maps maps;
    struct xm_vma vma;
    uint64_t next = address;
    struct xm_vma first = {0};
    int found = xm_maps_open(&maps, buffer, sizeof buffer);
    if (found < 0)
        return found;
    while (next < address + length && (found = xm_maps_next(&maps, &vma)) > 0) {
        if (vma.end <= next)
            continue;
        uint64_t at = vma.file_offset + (next - vma.start);
        if (next == address) {
            first = vma;
            *offset = at;
        }
        bool same = vma.shared && vma.inode == first.inode && vma.device == first.device;
        if (vma.start > next || !same || at != *offset + (next - address))
            break;
        next = vma.end;
    }
    xm_maps_close(&maps);
    if (found < 0)
        return found;
    *file = next >= address + length ? xm_file_hold(first.device, first.inode) : NULL;
    return *file == NULL ? -ENOENT : 0;
}

/* The file of a range of a region, held. The conversion lock is held: none is being moved. */
static int find_file(uint64_t address, uint64_t length, struct xm_file **held,
                     uint64_t *file_offset) {
    xm_lock();
    struct xm_region *region = find(address);
    bool inside = region != NULL && length != 0 &&
                  length <= region->span.length - (address - region->span.address);
    struct xm_file *file = inside ? region->file : NULL;
    if (file != NULL) {
        file->holders++;
        *file_offset = address - region->span.address;
    }
    xm_unlock();
    if (!inside)
        return -ENOENT;
    int error = file != NULL ? 0 : look_up(address, length, &file, file_offset);
    *held = file;
    return error;
}

int xm_backing_of(uint64_t address, uint64_t length, int descriptors[2], uint64_t *file_offset) {
    struct xm_file *file;
    xm_lock_conversion();
    int error = find_file(address, length, &file, file_offset);
    xm_unlock_conversion();
    if (error != 0)
        return error;
    descriptors[0] = fcntl(file->descriptor, F_DUPFD_CLOEXEC, 0);
    error = descriptors[0] < 0 ? -errno : 0;
    if (error == 0) {
        descriptors[1] = xm_reopen_read_only(file->descriptor);
        error = descriptors[1] < 0 ? descriptors[1] : 0;
        if (error != 0)
            close(descriptors[0]);
    }
    xm_file_release(file);
    return error;
}
