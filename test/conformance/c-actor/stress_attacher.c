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
    /* Bytes that are attached before and after a buffer, half of the time. */
    uint64_t margin;
    unsigned index;
    uint32_t random;
    uint64_t visits;
    char failure[400];
};

static bool failed(struct visitor *visitor, const char *what) {
    snprintf(visitor->failure, sizeof visitor->failure, "%s: %s", what, strerror(errno));
    return false;
}

/* Attaches memory of the owner with so many bytes before and after it; where the memory begins. */
static void *attach(xpmem_apid_t apid, uint64_t address, uint64_t length, uint64_t margin) {
    uint64_t start = (address - margin) & ~(uint64_t)(PAGE - 1);
    struct xpmem_addr where = {apid, (off_t)start};
    char *attached = xpmem_attach(where, address + length + margin - start, NULL);
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

/*
 * Attaches a buffer, or it and what lies around it: that is allocated, filled and freed meanwhile
 * and has to be moved under it. The library's own memory there cannot be had.
 */
static uint8_t *attach_around(struct visitor *visitor, const struct slot *slot) {
    void *buffer = FAILED;
    errno = EFAULT;
    if (visitor->margin > 0 && next_random(&visitor->random) % 2 == 0)
        buffer = attach(visitor->apid, slot->address, slot->length, visitor->margin);
    if (buffer == FAILED && errno == EFAULT)
        buffer = attach(visitor->apid, slot->address, slot->length, 0);
    return buffer;
}

/* Says what is wrong, how far it goes, and whether another attachment shows the same. */
static bool wrong(struct visitor *visitor, const struct slot *slot, const uint8_t *buffer) {
    uint64_t at = first_wrong(buffer, slot->length, slot->seed);
    uint64_t last = slot->length - 1;
    while (last > at && buffer[last] == pattern(last, slot->seed))
        last -= 1;
    const uint8_t *again = attach(visitor->apid, slot->address, slot->length, 0);
    bool same = again != FAILED && first_wrong(again, slot->length, slot->seed) < slot->length;
    snprintf(visitor->failure, sizeof visitor->failure,
             "%#x instead of %#x at byte %" PRIu64 " of %" PRIu64 " at %#" PRIx64
             ", the last wrong one is %" PRIu64 "; attached again it is %s",
             buffer[at], pattern(at, slot->seed), at, slot->length, slot->address, last,
             same ? "wrong, too" : "right");
    return false;
}

static bool look(struct visitor *visitor, struct slot *slot) {
    uint8_t *buffer = attach_around(visitor, slot);
    if (buffer == FAILED)
        return failed(visitor, "xpmem_attach");
    if (first_wrong(buffer, slot->length, slot->seed) < slot->length)
        return wrong(visitor, slot, buffer);
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

/* stressAttach SEGID CONTROL INDEX SEED [margin=]: until the area says stop; how many buffers it
 * saw */
static void call_attach(struct request *request) {
    struct visitor visitor = {.index = (unsigned)number(request, 2),
                              .margin = option(request, "margin", 0),
                              .random = (uint32_t)number(request, 3) | 1};
    visitor.apid =
        xpmem_get((xpmem_segid_t)number(request, 0), XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL);
    if (visitor.apid < 0)
        return fail_errno(request, errno);
    visitor.control = attach(visitor.apid, number(request, 1), sizeof *visitor.control, 0);
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
