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
    /* Each mapping as it is when it is returned, not some time before; most of its name is cut. */
    bool fresh;
};

/* 0 or a negative errno. */
int xm_maps_open(struct xm_maps *maps, char *buffer, size_t capacity);
/* The next mapping in ascending order: 1, or 0 after the last, or a negative errno. */
int xm_maps_next(struct xm_maps *maps, struct xm_vma *vma);
void xm_maps_close(struct xm_maps *maps);

/*
 * A descriptor for xm_mappings, of a process or (0) of this one; in the child of a fork it is still
 * of the parent. A negative errno: -EACCES if this process may not know.
 */
int xm_mappings_open(pid_t pid);
/*
 * The mappings that have some of a range, in ascending order, without their names. How many; -E2BIG
 * if there are more than `capacity`, which are filled in; -ESRCH of a process that is gone; or
 * another negative errno.
 */
ssize_t xm_mappings(int descriptor, uint64_t address, uint64_t length, struct xm_vma *vmas,
                    size_t capacity);

/* Private memory with no file under it, which a conversion can move. */
bool xm_vma_anonymous(const struct xm_vma *vma);

#endif
