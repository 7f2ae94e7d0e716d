#include "copies.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "grants.h"
#include "memory.h"

struct showing {
    struct xm_pager *pager;
    int copy;
    dev_t device;
    ino_t inode;
    dev_t copy_device;
    ino_t copy_inode;
    struct xm_row_mapping *rows;
    size_t count;
    size_t capacity;
};

static void *at(uint64_t address) {
    return (void *)(uintptr_t)address;
}

/*
 * Maps the copy somewhere, registers it there and moves it into place, so that nobody ever sees it
 * unregistered: a load from a hole would make a page that the service does not know of.
 */
static int show(const struct showing *showing, uint64_t address, uint64_t length,
                uint64_t file_offset) {
    void *fresh = mmap(NULL, length, PROT_READ, MAP_SHARED, showing->copy, (off_t)file_offset);
    if (fresh == MAP_FAILED)
        return -errno;
    int error = madvise(fresh, length, MADV_DONTFORK) == 0 ? 0 : -errno;
    if (error == 0)
        error = xm_pager_register(showing->pager->agent, (uintptr_t)fresh, length);
    if (error == 0 &&
        mremap(fresh, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, at(address)) == MAP_FAILED)
        error = -errno;
    if (error != 0)
        munmap(fresh, length);
    return error;
}

static int show_part(const struct xm_attachment *attachment, uint64_t address, uint64_t length,
                     void *context) {
    struct showing *showing = context;
    uint64_t end = address + length;
    for (size_t i = 0; i < attachment->piece_count; i++) {
        const struct xm_mapped_piece *piece = &attachment->pieces[i];
        uint64_t begin = attachment->origin + piece->offset;
        uint64_t from = begin > address ? begin : address;
        uint64_t to = begin + piece->length < end ? begin + piece->length : end;
        if (piece->device != showing->device || piece->inode != showing->inode || from >= to)
            continue;
        if (showing->count == showing->capacity)
            return -E2BIG;
        uint64_t file_offset = piece->file_offset + (from - begin);
        int error = show(showing, from, to - from, file_offset);
        if (error != 0)
            return error;
        showing->rows[showing->count++] = (struct xm_row_mapping){.address = from,
                                                                  .length = to - from,
                                                                  .file_offset = file_offset,
                                                                  .device = showing->copy_device,
                                                                  .inode = showing->copy_inode};
    }
    return 0;
}

/* What is said of an attachment must be what is mapped. */
static void rename_pieces(const struct showing *showing, struct xm_attachment *attachment) {
    for (size_t i = 0; i < attachment->piece_count; i++) {
        struct xm_mapped_piece *piece = &attachment->pieces[i];
        if (piece->device != showing->device || piece->inode != showing->inode)
            continue;
        piece->device = showing->copy_device;
        piece->inode = showing->copy_inode;
        attachment->paged = true;
    }
}

static int show_in_grant(struct showing *showing, struct xm_grant *grant) {
    xm_extents_clear(&grant->extents);
    for (struct xm_link *link = grant->attachments.next; link != &grant->attachments;
         link = link->next) {
        struct xm_attachment *attachment = XM_MEMBER(link, struct xm_attachment, in_grant);
        int error = xm_attachment_parts(attachment, show_part, showing);
        if (error != 0)
            return error;
        rename_pieces(showing, attachment);
    }
    return 0;
}

ssize_t xm_copies_show(struct xm_pager *pager, dev_t device, ino_t inode, int copy,
                       struct xm_row_mapping *rows, size_t capacity) {
    struct xm_descriptor_facts facts;
    int error = xm_memfd_accept(copy, true, &facts);
    if (error != 0)
        return error;
    struct showing showing = {.pager = pager,
                              .copy = copy,
                              .device = device,
                              .inode = inode,
                              .copy_device = facts.device,
                              .copy_inode = facts.inode,
                              .rows = rows,
                              .capacity = capacity};
    ssize_t armed = xm_pager_arm(pager, facts.device, facts.inode, -1, rows, capacity);
    for (size_t i = xm_grants_after(pager->agent, 0);
         armed >= 0 && i < xm_grants.count && xm_grants.items[i]->agent == pager->agent; i++) {
        struct xm_grant *grant = xm_grants.items[i];
        error = grant->facts.writable || grant->revoked ? 0 : show_in_grant(&showing, grant);
        if (error != 0)
            return error;
    }
    return armed < 0 ? armed : (ssize_t)showing.count;
}
