#include "withheld.h"

#include <stdbool.h>
#include <stddef.h>

#include "memory.h"
#include "protocol.h"

/* A mark is less than twice that: below 2^53, up to which JavaScript counts, is room for an offset
 * from it. */
#define MARK_BITS 51

const char *xm_withheld_text(uint32_t reason) {
    static const char *const texts[] = {
        [XM_WITHHELD_KERNEL] = "this is the kernel's own memory",
        [XM_WITHHELD_TEXT] = "this is a program's text",
        [XM_WITHHELD_DATA] =
            "this is a data segment, which only a process can move that has a full userfaultfd",
        [XM_WITHHELD_STACK] =
            "this is a thread's stack, which only a process can move that has a full userfaultfd",
        [XM_WITHHELD_STACK_END] = "this is the lowest page of the main thread's stack, which "
                                  "cannot grow any more",
        [XM_WITHHELD_OWN] = "this is the memory of xpmem's own threads",
        [XM_WITHHELD_ATTACHMENT] =
            "this is an attachment: get and attach what it is an attachment of",
        [XM_WITHHELD_FILE] = "this is a shared mapping of a file that cannot be opened again",
        [XM_WITHHELD_IMMOVABLE] = "this is a private mapping of a file that cannot be moved",
        [XM_WITHHELD_HIDDEN] = "this memory is not readable",
    };
    const char *text = reason < sizeof texts / sizeof *texts ? texts[reason] : NULL;
    return text != NULL ? text : "this memory cannot be shared";
}

/* One step of a hash: any bit of both changes about half of the result's. */
static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

uint64_t xm_withheld_mark(const struct xm_vma *vma, uint64_t address) {
    uint64_t offset = address - vma->start;
    bool file = vma->inode != 0;
    uint64_t hash = mix((uint64_t)vma->protection << 1 | (vma->shared ? 1 : 0), vma->device);
    hash = mix(mix(hash, vma->inode), file ? 0 : vma->start);
    uint64_t position = (file ? vma->file_offset + offset : offset) % (UINT64_C(1) << MARK_BITS);
    return (hash >> (64 - MARK_BITS)) / xm_page_size() * xm_page_size() + position;
}
