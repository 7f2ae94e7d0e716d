#include "stacks.h"

#include <pthread.h>
#include <stddef.h>

#include "lock.h"

static struct xm_link stacks = {&stacks, &stacks};

int xm_stack_note(struct xm_stack *stack) {
    pthread_attr_t attributes;
    void *start = NULL;
    size_t length = 0;
    xm_link_init(&stack->link);
    int error = pthread_getattr_np(pthread_self(), &attributes);
    if (error != 0)
        return -error;
    error = pthread_attr_getstack(&attributes, &start, &length);
    pthread_attr_destroy(&attributes);
    if (error != 0)
        return -error;
    stack->start = (uintptr_t)start;
    stack->end = stack->start + length;
    xm_lock();
    xm_link_append(&stacks, &stack->link);
    xm_unlock();
    return 0;
}

void xm_stack_drop(struct xm_stack *stack) {
    xm_lock();
    xm_link_remove(&stack->link);
    xm_unlock();
}

bool xm_stacks_touch(uint64_t start, uint64_t end) {
    bool touch = false;
    xm_lock();
    for (struct xm_link *link = stacks.next; !touch && link != &stacks; link = link->next) {
        const struct xm_stack *stack = XM_MEMBER(link, struct xm_stack, link);
        touch = start < stack->end && end > stack->start;
    }
    xm_unlock();
    return touch;
}
