/* The six calls, and what the cases ask around them. */
#include "actor.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xpmem.h>

#define FAILED ((void *)-1)

static void answer_made(struct request *request, struct thing made) {
    if (made.id < 0)
        fail_errno(request, errno);
    else
        answer(request, "handle=n:%zu segid=b:%" PRId64, keep(made), made.id);
}

static void make(struct request *request, char *address, size_t length, int type, uint64_t value) {
    void *permit = (void *)(uintptr_t)value;
    answer_made(request,
                (struct thing){address, length, xpmem_make(address, length, type, permit)});
}

/* make MEMORY [mode=MODE] */
static void call_make(struct request *request) {
    struct thing *memory = thing(request, 0);
    uint64_t mode = option(request, "mode", 0600);
    make(request, memory->address, memory->length, XPMEM_PERMIT_MODE, mode);
}

/* makeRange ADDRESS LENGTH [mode=MODE] [type=TYPE] */
static void call_make_range(struct request *request) {
    int type = (int)option(request, "type", XPMEM_PERMIT_MODE);
    uint64_t mode = option(request, "mode", 0600);
    make(request, (char *)(uintptr_t)number(request, 0), number(request, 1), type, mode);
}

/* makeEverything [mode=MODE]: the whole address space */
static void call_make_everything(struct request *request) {
    make(request, NULL, XPMEM_MAXADDR_SIZE, XPMEM_PERMIT_MODE, option(request, "mode", 0600));
}

static void answer_result(struct request *request, int result) {
    if (result != 0)
        fail_errno(request, errno);
    else
        answer(request, "%s", "");
}

static void call_remove(struct request *request) {
    answer_result(request, xpmem_remove(thing(request, 0)->id));
}

static void call_remove_segid(struct request *request) {
    answer_result(request, xpmem_remove((xpmem_segid_t)number(request, 0)));
}

static void get(struct request *request, int flags, int type, uint64_t value) {
    xpmem_apid_t apid =
        xpmem_get((xpmem_segid_t)number(request, 0), flags, type, (void *)(uintptr_t)value);
    if (apid < 0)
        return fail_errno(request, errno);
    size_t handle = keep((struct thing){NULL, 0, apid});
    answer(request, "handle=n:%zu apid=b:%" PRId64, handle, (int64_t)apid);
}

/* get SEGID [read|readwrite]: reading, if nothing is said */
static void call_get(struct request *request) {
    const char *access = request->count > 1 ? text(request, 1) : "read";
    int flags = strcmp(access, "readwrite") == 0 ? XPMEM_RDWR : XPMEM_RDONLY;
    get(request, flags, XPMEM_PERMIT_MODE, 0);
}

/* getWith SEGID FLAGS TYPE VALUE */
static void call_get_with(struct request *request) {
    get(request, (int)number(request, 1), (int)number(request, 2), number(request, 3));
}

static void call_release(struct request *request) {
    answer_result(request, xpmem_release(thing(request, 0)->id));
}

static void call_release_apid(struct request *request) {
    answer_result(request, xpmem_release((xpmem_apid_t)number(request, 0)));
}

static void attach(struct request *request, xpmem_apid_t apid) {
    struct xpmem_addr where = {.apid = apid, .offset = (off_t)option(request, "offset", 0)};
    size_t length = option(request, "length", PAGE);
    void *at = (void *)(uintptr_t)option(request, "address", 0);
    char *attached = xpmem_attach(where, length, at);
    if (attached == FAILED)
        fail_errno(request, errno);
    else
        answer(request, "n:%zu", keep((struct thing){attached, length, 0}));
}

/* attach PERMIT [offset=] [length=] [address=]: one page, if no length is said */
static void call_attach(struct request *request) {
    attach(request, thing(request, 0)->id);
}

static void call_attach_apid(struct request *request) {
    attach(request, (xpmem_apid_t)number(request, 0));
}

static void call_detach(struct request *request) {
    answer_result(request, xpmem_detach(thing(request, 0)->address));
}

static void call_detach_address(struct request *request) {
    answer_result(request, xpmem_detach((void *)(uintptr_t)number(request, 0)));
}

static void call_version(struct request *request) {
    int version = xpmem_version();
    if (version < 0)
        fail_errno(request, errno);
    else
        answer(request, "n:%d", version);
}

static int look(const struct thing *attachment) {
    uint8_t byte;
    return guarded_read(&byte, attachment->address, 1);
}

static void call_revoked(struct request *request) {
    answer(request, "f:%s", look(thing(request, 0)) == SIGBUS ? "true" : "false");
}

static void call_until_revoked(struct request *request) {
    while (look(thing(request, 0)) != SIGBUS)
        sched_yield();
    answer(request, "%s", "");
}

/* untilGone SEGID: until get says that there is no such segment */
static void call_until_gone(struct request *request) {
    xpmem_segid_t segid = (xpmem_segid_t)number(request, 0);
    xpmem_apid_t apid;
    while ((apid = xpmem_get(segid, XPMEM_RDONLY, XPMEM_PERMIT_MODE, NULL)) >= 0) {
        xpmem_release(apid);
        sched_yield();
    }
    if (errno == ENOENT)
        answer(request, "%s", "");
    else
        fail_errno(request, errno);
}

/* become UID GID [GROUP]: for good, before the first call of xpmem */
static void call_become(struct request *request) {
    gid_t groups[MAX_ARGUMENTS];
    size_t count = 0;
    for (size_t index = 2; index < request->count; index += 1)
        groups[count++] = (gid_t)number(request, index);
    if (setgroups(count, groups) != 0 || setgid((gid_t)number(request, 1)) != 0)
        return fail_errno(request, errno);
    answer_result(request, setuid((uid_t)number(request, 0)));
}

const struct call xpmem_calls[] = {
    {"make", call_make, false},
    {"makeRange", call_make_range, false},
    {"makeEverything", call_make_everything, false},
    {"remove", call_remove, true},
    {"removeSegid", call_remove_segid, true},
    {"get", call_get, true},
    {"getWith", call_get_with, false},
    {"release", call_release, false},
    {"releaseApid", call_release_apid, false},
    {"attach", call_attach, true},
    {"attachApid", call_attach_apid, true},
    {"detach", call_detach, false},
    {"detachAddress", call_detach_address, false},
    {"version", call_version, false},
    {"revoked", call_revoked, false},
    {"untilRevoked", call_until_revoked, true},
    {"untilGone", call_until_gone, true},
    {"become", call_become, false},
    {NULL, NULL, false},
};
