#include "maps.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAPS_BUFFER 16384

/* From linux/fs.h of Linux 6.11: finds one mapping without writing down those before it. */
struct procmap_query {
    uint64_t size;
    uint64_t query_flags;
    uint64_t query_addr;
    uint64_t vma_start;
    uint64_t vma_end;
    uint64_t vma_flags;
    uint64_t vma_page_size;
    uint64_t vma_offset;
    uint64_t inode;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint32_t vma_name_size;
    uint32_t build_id_size;
    uint64_t vma_name_addr;
    uint64_t build_id_addr;
};
#define PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)
#define VMA_READABLE 0x01
#define VMA_WRITABLE 0x02
#define VMA_EXECUTABLE 0x04
#define VMA_SHARED 0x08
#define COVERING_OR_NEXT_VMA 0x10

/* The mapping that holds an address, or the next one: 1, 0 if there is none, or a negative errno.
 */
static int query(int descriptor, uint64_t address, struct xm_vma *vma) {
    struct procmap_query answer = {
        .size = sizeof answer, .query_flags = COVERING_OR_NEXT_VMA, .query_addr = address};
    if (ioctl(descriptor, PROCMAP_QUERY, &answer) != 0)
        return errno == ENOENT ? 0 : -errno;
    uint64_t flags = answer.vma_flags;
    *vma = (struct xm_vma){.start = answer.vma_start,
                           .end = answer.vma_end,
                           .protection = ((flags & VMA_READABLE) != 0 ? PROT_READ : 0) |
                                         ((flags & VMA_WRITABLE) != 0 ? PROT_WRITE : 0) |
                                         ((flags & VMA_EXECUTABLE) != 0 ? PROT_EXEC : 0),
                           .shared = (flags & VMA_SHARED) != 0,
                           .device = makedev(answer.dev_major, answer.dev_minor),
                           .inode = answer.inode,
                           .file_offset = answer.vma_offset,
                           .name = ""};
    return 1;
}

/* By one query a mapping; -ENOTTY where the kernel has none. */
static ssize_t by_query(int descriptor, uint64_t address, uint64_t end, struct xm_vma *vmas,
                        size_t capacity) {
    size_t count = 0;
    while (address < end) {
        struct xm_vma vma;
        int found = query(descriptor, address, &vma);
        if (found < 0)
            return found;
        if (found == 0 || vma.start >= end)
            break;
        if (count == capacity)
            return -E2BIG;
        address = vma.end;
        vmas[count++] = vma;
    }
    return (ssize_t)count;
}

static ssize_t by_text(int descriptor, uint64_t address, uint64_t end, struct xm_vma *vmas,
                       size_t capacity) {
    char buffer[MAPS_BUFFER];
    struct xm_maps maps = {.descriptor = descriptor, .buffer = buffer, .capacity = sizeof buffer};
    struct xm_vma vma;
    size_t count = 0;
    int found;
    if (lseek(descriptor, 0, SEEK_SET) < 0)
        return -errno;
    while ((found = xm_maps_next(&maps, &vma)) > 0 && vma.start < end) {
        if (vma.end <= address)
            continue;
        if (count == capacity)
            return -E2BIG;
        vma.name = "";
        vmas[count++] = vma;
    }
    return found < 0 ? found : (ssize_t)count;
}

ssize_t xm_mappings(int descriptor, uint64_t address, uint64_t length, struct xm_vma *vmas,
                    size_t capacity) {
    ssize_t count = by_query(descriptor, address, address + length, vmas, capacity);
    if (count != -ENOTTY && count != -EINVAL)
        return count;
    return by_text(descriptor, address, address + length, vmas, capacity);
}
