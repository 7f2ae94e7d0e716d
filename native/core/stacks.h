/* Stacks of threads that may fork, which are never moved. */

#ifndef XM_STACKS_H
#define XM_STACKS_H

#include <stdbool.h>
#include <stdint.h>

#include "list.h"

struct xm_stack {
    struct xm_link link;
    uint64_t start;
    uint64_t end;
};

/* Notes the calling thread's stack. 0 or a negative errno; then it is not noted. */
int xm_stack_note(struct xm_stack *stack);
/* Takes it off the list; nothing happens if it is not there. */
void xm_stack_drop(struct xm_stack *stack);
/* Whether a range touches a noted stack. */
bool xm_stacks_touch(uint64_t start, uint64_t end);

#endif
