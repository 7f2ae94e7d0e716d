/*
 * What this process has made and got, with what it takes to make it known to a service that has
 * forgotten. The session lock is held in all of these.
 */

#ifndef XM_REGISTRY_H
#define XM_REGISTRY_H

#include <stddef.h>
#include <stdint.h>

/* The first member of what a registry holds: a segid or apid. */
struct xm_entry {
    uint64_t id;
};

struct xm_own_segment {
    struct xm_entry entry;
    uint64_t token_high;
    uint64_t token_low;
    uint64_t address;
    uint64_t length;
    uint32_t mode;
    /* The agent's number for it. */
    uint32_t offer;
};

struct xm_own_permit {
    struct xm_entry entry;
    uint64_t segid;
    uint64_t token_high;
    uint64_t token_low;
    uint64_t owner_start;
    uint32_t owner_pid;
    uint32_t access;
};

/* Entries of one kind, from malloc, sorted by id. Zero is empty. */
struct xm_registry {
    struct xm_entry **items;
    size_t count;
    size_t capacity;
    /* Places kept for entries that will be added. */
    size_t promised;
};

extern struct xm_registry xm_own_segments;
extern struct xm_registry xm_own_permits;

/* Keeps a place, so that one xm_registry_add cannot fail. 0 or -ENOMEM. */
int xm_registry_promise(struct xm_registry *registry);
/* Gives up a place that was kept. */
void xm_registry_renounce(struct xm_registry *registry);
/* Adds an entry in a place that was kept, instead of one of that id; the registry has it then. */
void xm_registry_add(struct xm_registry *registry, struct xm_entry *entry);
/* Takes the entry out and hands it over; NULL if there is none. */
struct xm_entry *xm_registry_take(struct xm_registry *registry, uint64_t id);
/* The entry with the lowest id above `id`, or NULL. */
struct xm_entry *xm_registry_after(const struct xm_registry *registry, uint64_t id);
/* Frees all entries; places are kept no more. */
void xm_registry_clear(struct xm_registry *registry);

#endif
