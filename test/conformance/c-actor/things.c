#include "actor.h"

#include <stdatomic.h>

#define MAX_THINGS 4096

static struct thing things[MAX_THINGS];
static _Atomic size_t used;

size_t keep(struct thing thing) {
    size_t handle = atomic_fetch_add(&used, 1) + 1;
    if (handle >= MAX_THINGS)
        die("too many things");
    things[handle] = thing;
    return handle;
}

struct thing *thing(const struct request *request, size_t index) {
    size_t handle = number(request, index);
    if (handle == 0 || handle > atomic_load(&used))
        die("no such handle");
    return &things[handle];
}
