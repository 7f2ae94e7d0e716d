#include <errno.h>
#include <stdlib.h>

#include "../core/fork.h"
#include "../core/memory.h"
#include "address_space.h"
#include "debug.h"
#include "heap.h"
#include "registry.h"
#include "session.h"
#include "steps.h"

#define PERMISSION_BITS UINT64_C(0777)

struct make {
    struct xm_call call;
    struct xm_msg_make message;
    struct xm_own_segment *own;
    uint64_t segid;
};

/* From here on the entry is the registry's. */
static int take_made(struct xm_call *call, const void *answer, size_t length,
                     struct xm_received *beside) {
    struct make *make = XM_MEMBER(call, struct make, call);
    const struct xm_msg_made *made = answer;
    (void)length;
    (void)beside;
    make->segid = made->segid;
    make->own->entry.id = made->segid;
    make->own->token_high = made->token_high;
    make->own->token_low = made->token_low;
    xm_registry_add(&xm_own_segments, &make->own->entry);
    return 0;
}

/* Asks the service for a segid of memory that the agent offers already. */
static int register_segment(struct xm_own_segment *own, xpmem_segid_t *segid) {
    struct make make = {.call = {.message = &make.message,
                                 .length = XM_BYTES_MAKE,
                                 .answer = XM_CODE_MADE,
                                 .take = take_made},
                        .message = {.header = {XM_CODE_MAKE, 0, 0},
                                    .address = own->address,
                                    .length = own->length,
                                    .data_length = own->length,
                                    .mode = own->mode},
                        .own = own};
    xm_session_lock();
    int error = xm_registry_promise(&xm_own_segments);
    xm_session_unlock();
    if (error != 0)
        return error;
    error = xm_session_call(&make.call);
    if (error == 0) {
        *segid = (xpmem_segid_t)make.segid;
        return 0;
    }
    xm_session_lock();
    xm_registry_renounce(&xm_own_segments);
    xm_session_unlock();
    return error;
}

static int offer(uint64_t address, uint64_t length, uint32_t mode, xpmem_segid_t *segid) {
    int error = xm_session_open();
    if (error != 0)
        return error;
    struct xm_agent *agent = xm_session_agent();
    struct xm_own_segment *own = calloc(1, sizeof *own);
    if (own == NULL)
        return -ENOMEM;
    own->address = address;
    own->length = length;
    own->mode = mode;
    xm_heap_keep();
    xm_fork_copies(true);
    error = xm_agent_offer(agent, xm_session_listener(), address, length, &own->offer);
    uint32_t number = own->offer;
    if (error == 0)
        error = register_segment(own, segid);
    if (error == 0)
        return 0;
    xm_agent_withdraw(agent, xm_session_listener(), number);
    free(own);
    return error;
}

int xm_do_make(void *vaddr, size_t size, int permit_type, void *permit_value,
               xpmem_segid_t *segid) {
    uint64_t address = (uintptr_t)vaddr;
    uint64_t mode = (uintptr_t)permit_value;
    uint64_t end = xm_address_space_end();
    uint64_t length = address == 0 && size == XPMEM_MAXADDR_SIZE ? end : size;
    if (permit_type != XPMEM_PERMIT_MODE)
        return xm_fail(-EINVAL, "the permit type is XPMEM_PERMIT_MODE, not %d", permit_type);
    if ((mode & ~PERMISSION_BITS) != 0)
        return xm_fail(-EINVAL, "the mode has permission bits only, 0 to 0777");
    if (length == 0 || (address | length) % xm_page_size() != 0)
        return xm_fail(-EINVAL,
                       "address and size are multiples of the page size, %zu, and the "
                       "size is not 0",
                       xm_page_size());
    if (length > end || address > end - length)
        return xm_fail(-EINVAL, "the range ends after the address space");
    return offer(address, length, (uint32_t)mode, segid);
}

int xm_do_remove(xpmem_segid_t segid) {
    struct xm_msg_remove message = {{XM_CODE_REMOVE, 0, 0}, (uint64_t)segid};
    struct xm_call call = {.message = &message, .length = XM_BYTES_REMOVE, .answer = XM_CODE_DONE};
    if (segid <= 0)
        return xm_fail(-EINVAL, "a segid is positive");
    int error = xm_session_call(&call);
    xm_session_lock();
    struct xm_own_segment *own =
        (struct xm_own_segment *)xm_registry_take(&xm_own_segments, (uint64_t)segid);
    xm_session_unlock();
    /* Not before it was removed: the service may have to have the memory moved. */
    if (own != NULL)
        xm_agent_withdraw(xm_session_agent(), xm_session_listener(), own->offer);
    free(own);
    return error;
}
