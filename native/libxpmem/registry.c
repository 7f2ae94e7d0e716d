#include "registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct xm_registry xm_own_segments;
struct xm_registry xm_own_permits;

/* Where the first entry above `id` is, or would be. */
static size_t after(const struct xm_registry *registry, uint64_t id) {
    size_t low = 0;
    size_t high = registry->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (registry->items[middle]->id <= id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int xm_registry_promise(struct xm_registry *registry) {
    if (registry->count + registry->promised == registry->capacity) {
        size_t capacity = registry->capacity == 0 ? 16 : registry->capacity * 2;
        struct xm_entry **items = realloc(registry->items, capacity * sizeof *items);
        if (items == NULL)
            return -ENOMEM;
        registry->items = items;
        registry->capacity = capacity;
    }
    registry->promised++;
    return 0;
}

void xm_registry_renounce(struct xm_registry *registry) {
    registry->promised--;
}

void xm_registry_add(struct xm_registry *registry, struct xm_entry *entry) {
    size_t at = after(registry, entry->id);
    struct xm_entry **items = registry->items;
    registry->promised--;
    if (at > 0 && items[at - 1]->id == entry->id) {
        free(items[at - 1]);
        items[at - 1] = entry;
        return;
    }
    memmove(&items[at + 1], &items[at], (registry->count - at) * sizeof *items);
    items[at] = entry;
    registry->count++;
}

struct xm_entry *xm_registry_take(struct xm_registry *registry, uint64_t id) {
    size_t at = after(registry, id);
    if (at == 0 || registry->items[at - 1]->id != id)
        return NULL;
    struct xm_entry **items = registry->items;
    struct xm_entry *entry = items[at - 1];
    memmove(&items[at - 1], &items[at], (registry->count - at) * sizeof *items);
    registry->count--;
    return entry;
}

struct xm_entry *xm_registry_after(const struct xm_registry *registry, uint64_t id) {
    size_t at = after(registry, id);
    return at < registry->count ? registry->items[at] : NULL;
}

void xm_registry_clear(struct xm_registry *registry) {
    for (size_t i = 0; i < registry->count; i++)
        free(registry->items[i]);
    free(registry->items);
    *registry = (struct xm_registry){0};
}
