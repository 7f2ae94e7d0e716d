#include "span.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool xm_spans_meet(const struct xm_span *span, uint64_t address, uint64_t length) {
    return span->length != 0 && span->address < address + length &&
           address < span->address + span->length;
}

int xm_span_reserve(struct xm_span_index *index) {
    if (index->count < index->capacity)
        return 0;
    size_t capacity = index->capacity == 0 ? 64 : index->capacity * 2;
    struct xm_span **items = realloc(index->items, capacity * sizeof *items);
    if (items == NULL)
        return -ENOMEM;
    index->items = items;
    index->capacity = capacity;
    return 0;
}

/* How many spans begin at or below `address`. */
static size_t rank(const struct xm_span_index *index, uint64_t address) {
    size_t low = 0;
    size_t high = index->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->items[middle]->address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void xm_span_insert(struct xm_span_index *index, struct xm_span *span) {
    size_t at = rank(index, span->address);
    memmove(&index->items[at + 1], &index->items[at], (index->count - at) * sizeof *index->items);
    index->items[at] = span;
    index->count++;
}

void xm_span_remove(struct xm_span_index *index, const struct xm_span *span) {
    size_t at = rank(index, span->address) - 1;
    index->count--;
    memmove(&index->items[at], &index->items[at + 1], (index->count - at) * sizeof *index->items);
}

struct xm_span *xm_span_find(const struct xm_span_index *index, uint64_t address) {
    size_t after = rank(index, address);
    if (after == 0)
        return NULL;
    struct xm_span *span = index->items[after - 1];
    return address - span->address < span->length ? span : NULL;
}

struct xm_span *xm_span_overlap(const struct xm_span_index *index, uint64_t address,
                                uint64_t length) {
    struct xm_span *holds = xm_span_find(index, address);
    size_t after = rank(index, address);
    if (holds != NULL || after == index->count)
        return holds;
    return index->items[after]->address - address < length ? index->items[after] : NULL;
}
