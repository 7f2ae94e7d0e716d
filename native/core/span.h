/* Address ranges that do not overlap, found by any address inside them. */

#ifndef XM_SPAN_H
#define XM_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first member of what a span index holds. */
struct xm_span {
    uint64_t address;
    uint64_t length;
};

/* Whether it has some of a range. One of no length has nothing. */
bool xm_spans_meet(const struct xm_span *span, uint64_t address, uint64_t length);

/* Pointers sorted by address. Zero is an empty index. */
struct xm_span_index {
    struct xm_span **items;
    size_t count;
    size_t capacity;
};

/* Makes room for one more, so that the next insert cannot fail. 0 or -ENOMEM. */
int xm_span_reserve(struct xm_span_index *index);
/* Inserts a span that overlaps no other; xm_span_reserve came before. */
void xm_span_insert(struct xm_span_index *index, struct xm_span *span);
/* Takes a span out; it must be there. */
void xm_span_remove(struct xm_span_index *index, const struct xm_span *span);
/* The first span that has some of a range, or NULL. */
struct xm_span *xm_span_overlap(const struct xm_span_index *index, uint64_t address,
                                uint64_t length);
/* The span that `address` lies in, or NULL. */
struct xm_span *xm_span_find(const struct xm_span_index *index, uint64_t address);

#endif
