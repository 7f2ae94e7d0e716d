#include "inherit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backing.h"
#include "maps.h"
#include "memory.h"
#include "merge.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Bytes of the stack above the current frame that are copied at once. */
#define STACK_ABOVE XM_CHUNK_BYTES
/* Bytes below it that may be used meanwhile. */
#define STACK_BELOW 32768
/* Holes from this length on are mapped anew; shorter ones are filled, to have fewer mappings. */
#define LEAST_HOLE_PAGES 16
/* Entries of /proc/self/pagemap looked at together. */
#define ENTRIES 64

/* A file's mapping in the child, writable for now. */
struct mapping {
    const struct xm_vma *vma;
    int file;
    int pagemap;
    size_t page;
    /* Holes may be pages that another partition has: to touch one would put zeros into the file. */
    bool is_paged;
};

/* Copies all pages of a range. */
static void copy(uint64_t start, uint64_t end, size_t page) {
    int result;
    if (start == end)
        return;
    do {
        result = madvise((void *)(uintptr_t)start, end - start, MADV_POPULATE_WRITE);
    } while (result != 0 && (errno == EAGAIN || errno == EINTR));
    /* Before Linux 5.14. No other thread is there. */
    if (result != 0 && errno == EINVAL) {
        for (uint64_t at = start; at < end; at += page) {
            volatile char *byte = (volatile char *)(uintptr_t)at;
            *byte = *byte;
        }
    }
}

/* Pages of a hole of the file, none of which was copied. */
static void fill(const struct mapping *m, uint64_t start, uint64_t end) {
    uint64_t least = m->is_paged ? 1 : LEAST_HOLE_PAGES;
    if (end - start < least * m->page ||
        mmap((void *)(uintptr_t)start, end - start, m->vma->protection | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        copy(start, end, m->page);
}

/*
 * A hole of the file: what is not copied there is zero, and stays so. Where it cannot be known what
 * was copied, all of it is.
 */
static void keep_zero(const struct mapping *m, uint64_t start, uint64_t end) {
    uint64_t entries[ENTRIES];
    uint64_t begin = start;
    for (uint64_t at = start; at < end;) {
        uint64_t count = (end - at) / m->page;
        count = count < ENTRIES ? count : ENTRIES;
        ssize_t bytes = (ssize_t)(count * sizeof *entries);
        if (pread(m->pagemap, entries, (size_t)bytes, (off_t)(at / m->page * sizeof *entries)) !=
            bytes) {
            /* Nobody may look at it, after a setuid for example. */
            copy(begin, end, m->page);
            return;
        }
        for (uint64_t i = 0; i < count; i++, at += m->page) {
            if (!xm_page_copied(entries[i]))
                continue;
            if (at > begin)
                fill(m, begin, at);
            begin = at + m->page;
        }
    }
    if (end > begin)
        fill(m, begin, end);
}

/* Copies what a range maps, and keeps its holes. */
static void copy_range(const struct mapping *m, uint64_t start, uint64_t end) {
    for (uint64_t at = start; at < end;) {
        off_t offset = (off_t)(m->vma->file_offset + (at - m->vma->start));
        off_t data = lseek(m->file, offset, SEEK_DATA);
        uint64_t stop =
            data < 0 || (uint64_t)(data - offset) > end - at ? end : at + (uint64_t)(data - offset);
        if (stop > at)
            keep_zero(m, at, stop);
        at = stop;
        if (at == end)
            return;
        off_t hole = lseek(m->file, data, SEEK_HOLE);
        stop = hole < 0 || (uint64_t)(hole - data) > end - at ? end : at + (uint64_t)(hole - data);
        copy(at, stop, m->page);
        at = stop;
    }
}

/* Its protection as far as it has a part; again as it was in the end. */
static void copy_mapping(const struct mapping *m, bool all, uint64_t frame) {
    uint64_t start = m->vma->start;
    uint64_t end = m->vma->end;
    bool writable = (m->vma->protection & PROT_WRITE) != 0;
    if (frame >= start && frame < end) {
        uint64_t low = frame - start < STACK_BELOW ? start : (frame - STACK_BELOW) & ~(m->page - 1);
        uint64_t high = end - frame < STACK_ABOVE ? end : (frame + STACK_ABOVE) & ~(m->page - 1);
        /* Of the stack that is in use nothing is mapped anew. */
        copy(low, high, m->page);
    }
    if (!all)
        return;
    if (!writable && mprotect((void *)(uintptr_t)start, end - start, PROT_READ | PROT_WRITE) != 0)
        return;
    copy_range(m, start, end);
    if (!writable)
        (void)mprotect((void *)(uintptr_t)start, end - start, m->vma->protection);
}

/* Not all of a fork's snapshot: a page that nobody wrote since is the parent's, until one does. */
static void make_private(const struct xm_vma *vma, const struct xm_file *file) {
    void *start = (void *)(uintptr_t)vma->start;
    if (!xm_file_is_open(file) ||
        mmap(start, vma->end - vma->start, vma->protection, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED,
             file->descriptor, (off_t)vma->file_offset) == MAP_FAILED)
        (void)mprotect(start, vma->end - vma->start, PROT_NONE);
}

void xm_inherit(bool all, char *buffer, size_t capacity) {
    struct xm_maps maps;
    struct xm_vma vma;
    uint64_t frame = (uintptr_t)__builtin_frame_address(0);
    /* It may lie in a hole itself, and what is read into it must not be taken for one. */
    memset(buffer, 1, capacity);
    /* Descriptors were closed just before, so these can be had. */
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (xm_maps_open(&maps, buffer, capacity) == 0) {
        while (xm_maps_next(&maps, &vma) > 0) {
            const struct xm_file *file = xm_file_find(vma.device, vma.inode);
            if (file == NULL)
                continue;
            if (vma.shared)
                make_private(&vma, file);
            struct mapping mapping = {&vma, file->descriptor, pagemap, xm_page_size(), vma.shared};
            if (file->kind == XM_FILE_MOVED)
                copy_mapping(&mapping, all, frame);
        }
        xm_maps_close(&maps);
    }
    if (pagemap >= 0)
        close(pagemap);
}
