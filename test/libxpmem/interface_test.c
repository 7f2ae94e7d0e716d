/* The interface is that of the original library, to the byte. */

#include <limits.h>

#include "../../native/libxpmem/xpmem.h"
#include "../native/harness.h"

_Static_assert(sizeof(xpmem_segid_t) == 8 && (xpmem_segid_t)-1 < 0, "segid: signed, 64 bits");
_Static_assert(sizeof(xpmem_apid_t) == 8 && (xpmem_apid_t)-1 < 0, "apid: signed, 64 bits");
_Static_assert(_Generic((xpmem_segid_t)0, long long : 1, default : 0), "as __s64");
_Static_assert(sizeof(struct xpmem_addr) == 16, "addr");
_Static_assert(offsetof(struct xpmem_addr, apid) == 0, "addr.apid");
_Static_assert(offsetof(struct xpmem_addr, offset) == 8, "addr.offset");
_Static_assert(sizeof(((struct xpmem_addr *)0)->offset) == 8, "addr.offset: 64 bits");
_Static_assert(XPMEM_RDONLY == 1 && XPMEM_RDWR == 2 && XPMEM_PERMIT_MODE == 1, "constants");
_Static_assert(XPMEM_MAXADDR_SIZE == SIZE_MAX, "the whole address space");

/* That they have these very types the compiler checks. */
static void the_calls_have_the_types_of_the_original(void) {
    int (*version)(void) = xpmem_version;
    xpmem_segid_t (*make)(void *, size_t, int, void *) = xpmem_make;
    int (*remove)(xpmem_segid_t) = xpmem_remove;
    xpmem_apid_t (*get)(xpmem_segid_t, int, int, void *) = xpmem_get;
    int (*release)(xpmem_apid_t) = xpmem_release;
    void *(*attach)(struct xpmem_addr, size_t, void *) = xpmem_attach;
    int (*detach)(void *) = xpmem_detach;
    CHECK(version != NULL && make != NULL && remove != NULL && get != NULL && release != NULL &&
          attach != NULL && detach != NULL);
}

int main(void) {
    RUN(the_calls_have_the_types_of_the_original);
    return 0;
}
