#include "permits.h"

#include <errno.h>
#include <stdlib.h>

#include "attached.h"
#include "debug.h"
#include "registry.h"
#include "session.h"
#include "steps.h"

struct get {
    struct xm_call call;
    union {
        struct xm_header header;
        struct xm_msg_get get;
        struct xm_msg_describe describe;
    } message;
    struct xm_own_permit *own;
    struct xm_grant_facts facts;
};

/* From here on the entry is the registry's. */
static int take_got(struct xm_call *call, const void *answer, size_t length,
                    struct xm_received *beside) {
    struct get *get = XM_MEMBER(call, struct get, call);
    const struct xm_msg_got *got = answer;
    (void)length;
    (void)beside;
    *get->own = (struct xm_own_permit){.entry = {got->apid},
                                       .segid = got->segid,
                                       .token_high = got->token_high,
                                       .token_low = got->token_low,
                                       .owner_start = got->owner_start,
                                       .owner_pid = got->owner_pid,
                                       .access = got->access};
    get->facts = (struct xm_grant_facts){.apid = got->apid,
                                         .segid = got->segid,
                                         .length = got->length,
                                         .owner_start = got->owner_start,
                                         .owner_pid = got->owner_pid,
                                         .writable = got->access == XM_ACCESS_READWRITE,
                                         .stable = (got->flags & XM_GOT_FLAG_STABLE) != 0};
    xm_registry_add(&xm_own_permits, &get->own->entry);
    return 0;
}

static int tell_release(uint64_t apid) {
    struct xm_msg_release message = {{XM_CODE_RELEASE, 0, 0}, apid};
    struct xm_call call = {.message = &message, .length = XM_BYTES_RELEASE, .answer = XM_CODE_DONE};
    return xm_session_call(&call);
}

/* Whether the permit was this process's, which it is no more. */
static bool forget(uint64_t apid) {
    xm_session_lock();
    struct xm_entry *own = xm_registry_take(&xm_own_permits, apid);
    xm_session_unlock();
    free(own);
    return own != NULL;
}

/* Carries out a request that is answered with `got`. The agent knows of the permit then. */
static int ask(struct get *get) {
    get->call.message = &get->message;
    get->call.answer = XM_CODE_GOT;
    get->call.take = take_got;
    get->own = calloc(1, sizeof *get->own);
    if (get->own == NULL)
        return -ENOMEM;
    xm_session_lock();
    int error = xm_registry_promise(&xm_own_permits);
    xm_session_unlock();
    if (error == 0) {
        error = xm_session_call(&get->call);
        if (error == 0)
            return xm_grant_open(xm_session_agent(), &get->facts);
        xm_session_lock();
        xm_registry_renounce(&xm_own_permits);
        xm_session_unlock();
    }
    free(get->own);
    return error;
}

int xm_do_get(xpmem_segid_t segid, int flags, int permit_type, xpmem_apid_t *apid) {
    struct get get = {
        .call = {.length = XM_BYTES_GET},
        .message = {.get = {.header = {XM_CODE_GET, 0, 0},
                            .segid = (uint64_t)segid,
                            .access = flags == XPMEM_RDWR ? XM_ACCESS_READWRITE : XM_ACCESS_READ}}};
    if (segid <= 0)
        return xm_fail(-EINVAL, "a segid is positive");
    if (permit_type != XPMEM_PERMIT_MODE)
        return xm_fail(-EINVAL, "the permit type is XPMEM_PERMIT_MODE, not %d", permit_type);
    if (flags != 0 && flags != XPMEM_RDONLY && flags != XPMEM_RDWR)
        return xm_fail(-EINVAL, "the flags are XPMEM_RDONLY or XPMEM_RDWR, not %#x",
                       (unsigned)flags);
    int error = ask(&get);
    if (error == 0) {
        *apid = (xpmem_apid_t)get.facts.apid;
    } else if (get.facts.apid != 0) {
        /* It was given, and there is no memory to keep it. */
        (void)forget(get.facts.apid);
        (void)tell_release(get.facts.apid);
    }
    return error;
}

int xm_permit_facts(xpmem_apid_t apid, struct xm_grant_facts *facts) {
    struct get get = {.call = {.length = XM_BYTES_DESCRIBE},
                      .message = {.describe = {{XM_CODE_DESCRIBE, 0, 0}, (uint64_t)apid}}};
    int error = xm_session_open();
    if (error != 0 || xm_grant_facts(xm_session_agent(), (uint64_t)apid, facts) == 0)
        return error;
    error = ask(&get);
    *facts = get.facts;
    return error;
}

int xm_do_release(xpmem_apid_t apid) {
    if (apid <= 0)
        return xm_fail(-EINVAL, "an apid is positive");
    int error = xm_session_open();
    if (error != 0)
        return error;
    bool own = forget((uint64_t)apid);
    xm_attached_release((uint64_t)apid);
    error = tell_release((uint64_t)apid);
    /* A service that came back does not know the permits of segments that are gone. */
    return own && error == -ENOENT ? 0 : error;
}
