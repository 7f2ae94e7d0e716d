/* The only symbols that the library exports. */
#pragma GCC visibility push(default)
#include "xpmem.h"
#pragma GCC visibility pop

#include <errno.h>
#include <pthread.h>

#include "debug.h"
#include "steps.h"

/* The version of XPMEM's interface that this is: 2.6.5. */
#define INTERFACE_VERSION 0x00026005

/* What the calling thread gets back after a call. */
struct entry {
    int cancel_state;
    int errno_before;
};

/* The calls were no cancellation points, and others depend on what a waiting thread does. */
static struct entry begin(void) {
    struct entry entry = {.errno_before = errno};
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &entry.cancel_state);
    xm_fail_forget();
    return entry;
}

/* 0, or -1 with errno. */
static int end(struct entry entry, const char *call, int error) {
    if (error != 0)
        xm_fail_report(call, error);
    pthread_setcancelstate(entry.cancel_state, NULL);
    errno = error != 0 ? -error : entry.errno_before;
    return error != 0 ? -1 : 0;
}

int xpmem_version(void) {
    struct entry entry = begin();
    int error = xm_do_version();
    return end(entry, "version", error) == 0 ? INTERFACE_VERSION : -1;
}

xpmem_segid_t xpmem_make(void *vaddr, size_t size, int permit_type, void *permit_value) {
    struct entry entry = begin();
    xpmem_segid_t segid = -1;
    int error = xm_do_make(vaddr, size, permit_type, permit_value, &segid);
    return end(entry, "make", error) == 0 ? segid : -1;
}

int xpmem_remove(xpmem_segid_t segid) {
    struct entry entry = begin();
    return end(entry, "remove", xm_do_remove(segid));
}

xpmem_apid_t xpmem_get(xpmem_segid_t segid, int flags, int permit_type, void *permit_value) {
    struct entry entry = begin();
    xpmem_apid_t apid = -1;
    (void)permit_value;
    int error = xm_do_get(segid, flags, permit_type, &apid);
    return end(entry, "get", error) == 0 ? apid : -1;
}

int xpmem_release(xpmem_apid_t apid) {
    struct entry entry = begin();
    return end(entry, "release", xm_do_release(apid));
}

void *xpmem_attach(struct xpmem_addr addr, size_t size, void *vaddr) {
    struct entry entry = begin();
    void *attached = NULL;
    int error = xm_do_attach(addr, size, vaddr, &attached);
    return end(entry, "attach", error) == 0 ? attached : (void *)-1;
}

int xpmem_detach(void *vaddr) {
    struct entry entry = begin();
    return end(entry, "detach", xm_do_detach(vaddr));
}
