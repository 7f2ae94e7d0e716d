/*
 * Copying memory of the program into a memfd by system calls alone: it may be unmapped at any
 * moment, and part of the process may be frozen. Pages of nothing but zeros stay holes.
 */

#ifndef XM_COPY_H
#define XM_COPY_H

#include <stddef.h>
#include <stdint.h>

#include "convert.h"

/* What the bytes pass through. */
struct xm_scratch {
    int descriptor;
    const uint64_t *words;
    size_t page;
};

/* 0 or a negative errno. */
int xm_scratch_open(struct xm_scratch *scratch);
void xm_scratch_close(struct xm_scratch *scratch);

/* Writes all of `length` bytes by system calls alone. 0 or a negative errno. */
int xm_write_all(int descriptor, const void *bytes, uint64_t length, uint64_t offset);

/* Copies whole pages into a memfd. 0 or a negative errno. */
int xm_copy_pages(const struct xm_scratch *scratch, uint64_t address, uint64_t length, int into,
                  uint64_t into_offset);

/*
 * Maps the memfd over `length` bytes of the conversion, from `at` on, without a store by this
 * thread. 0 or a negative errno.
 */
int xm_map_over(const struct xm_conversion *conversion, uint64_t at, uint64_t length);

#endif
