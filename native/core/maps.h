/*
 * /proc/self/maps, read with open and read only, into a buffer of the caller's: no allocation and
 * no stdio, so that it serves on the agent's thread whatever state the rest of the process is in.
 */

#ifndef XM_MAPS_H
#define XM_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The least capacity of the buffer, bytes: names in longer lines are cut off. */
#define XM_MAPS_LEAST_BUFFER 1024

struct xm_vma {
    uint64_t start;
    uint64_t end;
    /* PROT_READ, PROT_WRITE, PROT_EXEC. */
    int protection;
    bool shared;
    dev_t device;
    ino_t inode;
    uint64_t file_offset;
    /* Path or kernel name, '' if there is none; in the reader's buffer until the next call. */
    const char *name;
};

struct xm_maps {
    int descriptor;
    char *buffer;
    size_t capacity;
    size_t begin;
    size_t end;
    bool skipping;
};

/* 0: this process. 0 or a negative errno: -EACCES for a process of somebody else's. */
int xm_maps_open_of(struct xm_maps *maps, pid_t pid, char *buffer, size_t capacity);
/* Of this process. 0 or a negative errno. */
int xm_maps_open(struct xm_maps *maps, char *buffer, size_t capacity);
/* The next mapping in ascending order: 1, or 0 after the last, or a negative errno. */
int xm_maps_next(struct xm_maps *maps, struct xm_vma *vma);
void xm_maps_close(struct xm_maps *maps);

/*
 * The mappings of a process that have some of a range, in ascending order, without their names. How
 * many; -EACCES if this process may not know, -E2BIG if there are more than `capacity`, or another
 * negative errno.
 */
ssize_t xm_mappings(pid_t pid, uint64_t address, uint64_t length, struct xm_vma *vmas,
                    size_t capacity);

/* Private memory with no file under it, which a conversion can move. */
bool xm_vma_anonymous(const struct xm_vma *vma);

#endif
