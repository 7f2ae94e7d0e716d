#include "actor.h"

#include <stdatomic.h>

#define MAX_THINGS 4096

/* One thread keeps a thing and another uses it, as the test says; no lock, which a fork would copy.
 */
static struct {
    struct thing thing;
    atomic_bool kept;
} things[MAX_THINGS];
static _Atomic size_t used;

size_t keep(struct thing thing) {
    size_t handle = atomic_fetch_add(&used, 1) + 1;
    if (handle >= MAX_THINGS)
        die("too many things");
    things[handle].thing = thing;
    atomic_store(&things[handle].kept, true);
    return handle;
}

struct thing *thing(const struct request *request, size_t index) {
    size_t handle = number(request, index);
    if (handle >= MAX_THINGS || !atomic_load(&things[handle].kept))
        die("no such handle");
    return &things[handle].thing;
}
