/* The address space itself: what is mapped, and changing it. */
#include "actor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

struct vma {
    uintptr_t start;
    uintptr_t end;
};

/* The mapping that an address lies in; one of no bytes if there is none. */
static struct vma mapping_at(uintptr_t address) {
    struct vma found = {0, 0};
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL)
        die("/proc/self/maps");
    while (found.end == 0 && fgets(line, sizeof line, maps) != NULL) {
        struct vma vma;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &vma.start, &vma.end) == 2 &&
            vma.start <= address && address < vma.end)
            found = vma;
    }
    fclose(maps);
    return found;
}

/* isMapped ADDRESS */
static void call_is_mapped(struct request *request) {
    struct vma vma = mapping_at(number(request, 0));
    answer(request, "f:%s", vma.end != 0 ? "true" : "false");
}

/* byteLength HANDLE: how long the mapping is from the thing's address on */
static void call_byte_length(struct request *request) {
    uintptr_t address = (uintptr_t)thing(request, 0)->address;
    struct vma vma = mapping_at(address);
    answer(request, "n:%zu", vma.end == 0 ? 0 : (size_t)(vma.end - address));
}

/* mapped TEXT: how many lines of the process's maps have the text */
static void call_mapped(struct request *request) {
    char line[512];
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL)
        die("/proc/self/maps");
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, text(request, 0)) != NULL ? 1 : 0;
    fclose(maps);
    answer(request, "n:%zu", count);
}

static void call_address_of(struct request *request) {
    answer(request, "b:%" PRIuPTR, (uintptr_t)thing(request, 0)->address);
}

/* hole LENGTH: an address with nothing mapped in the bytes after it, nor near it */
static void call_hole(struct request *request) {
    const size_t margin = 16 * 1024 * 1024;
    size_t length = number(request, 0) + 2 * margin;
    char *memory = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || munmap(memory, length) != 0)
        return fail_errno(request, errno);
    answer(request, "b:%" PRIuPTR, (uintptr_t)memory + margin);
}

static void answer_result(struct request *request, int result) {
    if (result != 0)
        fail_errno(request, errno);
    else
        answer(request, "%s", "");
}

/* munmap HANDLE OFFSET LENGTH */
static void call_munmap(struct request *request) {
    char *address = thing(request, 0)->address + number(request, 1);
    answer_result(request, munmap(address, number(request, 2)));
}

/* dropMemory HANDLE ADDRESS: all of it; the address is for faces whose memory is collected */
static void call_drop_memory(struct request *request) {
    struct thing *memory = thing(request, 0);
    answer_result(request, munmap(memory->address, memory->length));
}

static void map_anew(struct request *request, char *address, size_t length) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    void *mapped = mmap(address, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    answer_result(request, mapped == MAP_FAILED ? -1 : 0);
}

/* mapAnew HANDLE: anonymous memory where the thing was, which is gone */
static void call_map_anew(struct request *request) {
    map_anew(request, thing(request, 0)->address, thing(request, 0)->length);
}

/* mapAnewAt HANDLE OFFSET LENGTH: in a part of it */
static void call_map_anew_at(struct request *request) {
    map_anew(request, thing(request, 0)->address + number(request, 1), number(request, 2));
}

/* mremap HANDLE LENGTH: grows or shrinks it; it may move */
static void call_mremap(struct request *request) {
    struct thing *memory = thing(request, 0);
    size_t length = number(request, 1);
    void *moved = mremap(memory->address, memory->length, length, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED)
        return fail_errno(request, errno);
    memory->address = moved;
    memory->length = length;
    answer(request, "b:%" PRIuPTR, (uintptr_t)moved);
}

/* move HANDLE: to another address, as it is */
static void call_move(struct request *request) {
    struct thing *memory = thing(request, 0);
    void *room = mmap(NULL, memory->length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return fail_errno(request, errno);
    const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    void *moved = mremap(memory->address, memory->length, memory->length, flags, room);
    if (moved == MAP_FAILED)
        return fail_errno(request, errno);
    memory->address = moved;
    answer(request, "b:%" PRIuPTR, (uintptr_t)moved);
}

static int protection_of(const char *word) {
    if (strcmp(word, "none") == 0)
        return PROT_NONE;
    return strcmp(word, "read") == 0 ? PROT_READ : PROT_READ | PROT_WRITE;
}

/* mprotect HANDLE OFFSET LENGTH none|read|readwrite */
static void call_mprotect(struct request *request) {
    char *address = thing(request, 0)->address + number(request, 1);
    answer_result(request, mprotect(address, number(request, 2), protection_of(text(request, 3))));
}

/* dontneed HANDLE OFFSET LENGTH */
static void call_dontneed(struct request *request) {
    char *address = thing(request, 0)->address + number(request, 1);
    answer_result(request, madvise(address, number(request, 2), MADV_DONTNEED));
}

/* peek PID ADDRESS LENGTH: another process's memory past all of xpmem; no bytes if nothing is there
 */
static void call_peek(struct request *request) {
    uint8_t into[PAGE];
    size_t length = number(request, 2);
    if (length > sizeof into)
        die("peek of more than a page");
    struct iovec local = {into, length};
    struct iovec remote = {(void *)(uintptr_t)number(request, 1), length};
    ssize_t got = process_vm_readv((pid_t)number(request, 0), &local, 1, &remote, 1, 0);
    if (got < 0 && errno != EFAULT)
        return fail_errno(request, errno);
    answer_bytes(request, into, got < 0 ? 0 : (size_t)got);
}

const struct call mapping_calls[] = {
    {"isMapped", call_is_mapped, false},
    {"byteLength", call_byte_length, false},
    {"mapped", call_mapped, false},
    {"addressOf", call_address_of, false},
    {"addressOfMemory", call_address_of, false},
    {"hole", call_hole, false},
    {"munmap", call_munmap, false},
    {"dropMemory", call_drop_memory, false},
    {"mapAnew", call_map_anew, false},
    {"mapAnewAt", call_map_anew_at, false},
    {"mremap", call_mremap, false},
    {"move", call_move, true},
    {"mprotect", call_mprotect, false},
    {"dontneed", call_dontneed, false},
    {"peek", call_peek, false},
    {NULL, NULL, false},
};
