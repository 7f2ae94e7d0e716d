#include "maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int xm_mappings_open(pid_t pid) {
    char path[32];
    if (pid == 0)
        snprintf(path, sizeof path, "/proc/self/maps");
    else
        snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

int xm_maps_open(struct xm_maps *maps, char *buffer, size_t capacity) {
    int descriptor = xm_mappings_open(0);
    if (descriptor < 0)
        return descriptor;
    *maps = (struct xm_maps){.descriptor = descriptor, .buffer = buffer, .capacity = capacity};
    return 0;
}

void xm_maps_close(struct xm_maps *maps) {
    close(maps->descriptor);
}

/*
 * The start of a line that has all but the name. The kernel makes lines as they are read: while the
 * rest of one is still to be read, the next is not made.
 */
#define FIELDS_BYTES 72

/* Moves what is left to the buffer's start and reads on. Bytes read, 0 at the end, or -errno. */
static ssize_t fill(struct xm_maps *maps) {
    memmove(maps->buffer, maps->buffer + maps->begin, maps->end - maps->begin);
    maps->end -= maps->begin;
    maps->begin = 0;
    /* One byte stays free to end a cut-off line. */
    size_t room = maps->capacity - 1 - maps->end;
    if (room == 0)
        return 0;
    if (maps->fresh)
        room = maps->end < FIELDS_BYTES ? FIELDS_BYTES - maps->end : FIELDS_BYTES;
    ssize_t got;
    do {
        got = read(maps->descriptor, maps->buffer + maps->end, room);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    maps->end += (size_t)got;
    return got;
}

/* The next line, ended by NUL: 1, or 0 after the last, or a negative errno. */
static int next_line(struct xm_maps *maps, char **line) {
    for (;;) {
        char *begin = maps->buffer + maps->begin;
        char *newline = memchr(begin, '\n', maps->end - maps->begin);
        if (newline != NULL) {
            maps->begin = (size_t)(newline + 1 - maps->buffer);
            *newline = '\0';
            *line = begin;
            bool rest = maps->skipping;
            maps->skipping = false;
            if (rest)
                continue;
            return 1;
        }
        bool enough = maps->fresh && maps->end - maps->begin >= FIELDS_BYTES;
        ssize_t got = enough ? 0 : fill(maps);
        if (got < 0)
            return (int)got;
        if (got > 0)
            continue;
        if (maps->end == maps->begin)
            return 0;
        /* A line longer than is wanted: its start is all that matters. */
        maps->buffer[maps->end] = '\0';
        *line = maps->buffer + maps->begin;
        maps->begin = maps->end;
        bool rest = maps->skipping;
        maps->skipping = true;
        if (!rest)
            return 1;
    }
}

/* Reads digits of a base up to 16 and steps over one separator. */
static uint64_t number(const char **text, unsigned base) {
    uint64_t value = 0;
    const char *at = *text;
    for (;; at++) {
        unsigned digit;
        if (*at >= '0' && *at <= '9')
            digit = (unsigned)(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            digit = (unsigned)(*at - 'a') + 10;
        else
            break;
        if (digit >= base)
            break;
        value = value * base + digit;
    }
    *text = *at == '\0' ? at : at + 1;
    return value;
}

int xm_maps_next(struct xm_maps *maps, struct xm_vma *vma) {
    char *line = NULL;
    int found = next_line(maps, &line);
    if (found <= 0)
        return found;
    const char *at = line;
    vma->start = number(&at, 16);
    vma->end = number(&at, 16);
    if (strnlen(at, 5) < 5)
        return -EPROTO;
    vma->protection = (at[0] == 'r' ? PROT_READ : 0) | (at[1] == 'w' ? PROT_WRITE : 0) |
                      (at[2] == 'x' ? PROT_EXEC : 0);
    vma->shared = at[3] == 's';
    at += 5;
    vma->file_offset = number(&at, 16);
    unsigned major_number = (unsigned)number(&at, 16);
    unsigned minor_number = (unsigned)number(&at, 16);
    vma->device = makedev(major_number, minor_number);
    vma->inode = number(&at, 10);
    while (*at == ' ')
        at++;
    vma->name = at;
    return 1;
}

bool xm_vma_anonymous(const struct xm_vma *vma) {
    if (vma->shared || vma->inode != 0 || vma->device != 0)
        return false;
    /* Other bracketed names ([vdso], [vvar]) are the kernel's own. */
    return vma->name[0] == '\0' || strcmp(vma->name, "[heap]") == 0 ||
           strncmp(vma->name, "[stack", 6) == 0 || strncmp(vma->name, "[anon:", 6) == 0;
}
