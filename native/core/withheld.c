#include "withheld.h"

#include <stddef.h>

#include "memory.h"
#include "protocol.h"

/* Marks leave room below 2^53, up to which JavaScript counts, for any offset in a mapping. */
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
    uint64_t hash = mix(vma->start, vma->end);
    hash = mix(hash, (uint64_t)vma->protection << 1 | (vma->shared ? 1 : 0));
    hash = mix(hash, vma->device);
    hash = mix(hash, vma->inode);
    /* Of memory with no file under it kernels do not agree what the offset is. */
    hash = mix(hash, vma->inode == 0 ? 0 : vma->file_offset);
    uint64_t page = xm_page_size();
    return (hash >> (64 - MARK_BITS)) / page * page + (address - vma->start);
}
