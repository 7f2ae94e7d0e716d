/* A doubly linked list threaded through its members: no allocation, removal in constant time. */

#ifndef XM_LIST_H
#define XM_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct xm_link {
    struct xm_link *previous;
    struct xm_link *next;
};

/* The structure that `link` is the member `field` of. */
#define XM_MEMBER(link, type, field) ((type *)((char *)(link)-offsetof(type, field)))

/* Makes a list head, or an unlinked member. */
static inline void xm_link_init(struct xm_link *link) {
    link->previous = link;
    link->next = link;
}

static inline bool xm_link_alone(const struct xm_link *link) {
    return link->next == link;
}

static inline void xm_link_append(struct xm_link *head, struct xm_link *link) {
    link->previous = head->previous;
    link->next = head;
    head->previous->next = link;
    head->previous = link;
}

/* Takes a member out of its list; nothing happens if it is in none. */
static inline void xm_link_remove(struct xm_link *link) {
    link->previous->next = link->next;
    link->next->previous = link->previous;
    xm_link_init(link);
}

#endif
