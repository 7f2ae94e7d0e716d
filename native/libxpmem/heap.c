#include "heap.h"

#include <malloc.h>
#include <pthread.h>

static void keep(void) {
    /* -1 is no trimming at all (mallopt(3)). It cannot fail; other allocators do not look at it. */
    (void)mallopt(M_TRIM_THRESHOLD, -1);
}

void xm_heap_keep(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, keep);
}
