/* An attacher of the stress test: looks at live buffers of the owner and writes its word in them.
 */
#include "actor.h"
#include "stress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <xpmem.h>

#define FAILED ((void *)-1)

struct visitor {
    xpmem_apid_t apid;
    struct control *control;
    unsigned index;
    uint32_t random;
    uint64_t visits;
    char failure[200];
};

static bool failed(struct visitor *visitor, const char *what) {
    snprintf(visitor->failure, sizeof visitor->failure, "%s: %s", what, strerror(errno));
    return false;
}

static void *attach(xpmem_apid_t apid, uint64_t address, uint64_t length) {
    uint64_t start = address & ~(uint64_t)(PAGE - 1);
    struct xpmem_addr where = {apid, (off_t)start};
    char *attached = xpmem_attach(where, address + length - start, NULL);
    return attached == FAILED ? FAILED : attached + (address - start);
}

/* A buffer stays as long as it is pinned. */
static bool pin(struct slot *slot) {
    int32_t state = atomic_load(&slot->state);
    while ((state & LIVE) != 0)
        if (atomic_compare_exchange_weak(&slot->state, &state, state + 1))
            return true;
    return false;
}

static bool look(struct visitor *visitor, struct slot *slot) {
    uint8_t *buffer = attach(visitor->apid, slot->address, slot->length);
    if (buffer == FAILED)
        return failed(visitor, "xpmem_attach");
    uint64_t at = first_wrong(buffer, slot->length, slot->seed);
    if (at < slot->length) {
        snprintf(visitor->failure, sizeof visitor->failure,
                 "%#x instead of %#x at byte %" PRIu64 " of %" PRIu64 " at %#" PRIx64, buffer[at],
                 pattern(at, slot->seed), at, slot->length, slot->address);
        return false;
    }
    if (slot->length >= SMALLEST_WITH_WORDS) {
        uint32_t word = next_random(&visitor->random);
        memcpy(buffer + WORDS_AT + 4 * visitor->index, &word, sizeof word);
        slot->written[visitor->index] = word;
    }
    visitor->visits += 1;
    return xpmem_detach(buffer) == 0 || failed(visitor, "xpmem_detach");
}

static bool visit(struct visitor *visitor) {
    struct slot *slot = &visitor->control->slots[next_random(&visitor->random) % SLOTS];
    if (!pin(slot))
        return true;
    bool right = look(visitor, slot);
    atomic_fetch_sub(&slot->state, 1);
    return right;
}

/* stressAttach SEGID CONTROL INDEX SEED: until the control area says stop; how many buffers it saw
 */
static void call_attach(struct request *request) {
    struct visitor visitor = {.index = (unsigned)number(request, 2),
                              .random = (uint32_t)number(request, 3) | 1};
    visitor.apid =
        xpmem_get((xpmem_segid_t)number(request, 0), XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL);
    if (visitor.apid < 0)
        return fail_errno(request, errno);
    visitor.control = attach(visitor.apid, number(request, 1), sizeof *visitor.control);
    if (visitor.control == FAILED)
        return fail_errno(request, errno);
    while (atomic_load(&visitor.control->stop) == 0 && visit(&visitor))
        continue;
    atomic_store(&visitor.control->stop, 1);
    if (visitor.failure[0] != '\0')
        fail(request, "EWRONG", "%s", visitor.failure);
    else
        answer(request, "n:%" PRIu64, visitor.visits);
}

const struct call visitor_calls[] = {{"stressAttach", call_attach, true}, {NULL, NULL, false}};
