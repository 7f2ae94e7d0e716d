/* Permits and attachments, also from many threads at once. */

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>

#include "../../native/core/memory.h"
#include "../../native/core/table.h"
#include "harness.h"

#define SEGMENT (16 * PAGE)
#define SEGMENTS 4

/* Any address does for an agent. */
static char agent[1];

static atomic_uint notices;

static void notice(struct xm_owner *owner) {
    (void)owner;
    atomic_fetch_add(&notices, 1);
}

static int make_memfd(void) {
    int descriptor = xm_memfd_create(SEGMENT);
    CHECK(descriptor >= 0);
    return descriptor;
}

static void open_grant(uint64_t apid, uint64_t segid) {
    struct xm_grant_facts facts = {
        .apid = apid, .segid = segid, .length = SEGMENT, .writable = true};
    CHECK_EQUAL(xm_grant_open(agent, &facts), 0);
}

static int give_extents(uint64_t apid, int descriptor) {
    struct xm_row_extent row = {0, SEGMENT, 0, 0, 0};
    return xm_grant_extents(agent, apid, &row, 1, &descriptor, 1);
}

static struct xm_attach_request request_of(struct xm_owner *owner, uint64_t apid) {
    return (struct xm_attach_request){
        .agent = agent, .apid = apid, .length = SEGMENT, .owner = owner};
}

static char *memory_of(const struct xm_attachment *attachment) {
    return (char *)(uintptr_t)attachment->span.address;
}

static void end(struct xm_attachment *attachment) {
    xm_attachment_unmap(attachment);
    xm_attachment_free(attachment);
}

static void an_answer_after_the_revocation_gives_nothing(void) {
    struct xm_owner owner;
    struct xm_attachment *attachment;
    xm_owner_open(&owner, notice);
    open_grant(1, 10);
    struct xm_attach_request request = request_of(&owner, 1);
    CHECK_EQUAL(xm_attach(&request, &attachment), -ENODATA);
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_REMOVED), 0);
    int file = make_memfd();
    CHECK_EQUAL(give_extents(1, file), -ENOENT);
    CHECK(fcntl(file, F_GETFD) < 0);
    CHECK_EQUAL(xm_attach(&request, &attachment), -ENOENT);
    xm_grant_close(agent, 1);
    CHECK_EQUAL(xm_attach(&request, &attachment), -ENOENT);
    xm_owner_close(&owner);
}

static void pieces_of_several_memfds_are_one_range(void) {
    struct xm_owner owner;
    struct xm_attachment *attachment;
    xm_owner_open(&owner, notice);
    open_grant(1, 10);
    int files[2] = {make_memfd(), make_memfd()};
    struct xm_row_extent rows[3] = {
        {0, 4 * PAGE, 8 * PAGE, 0, 0}, {4 * PAGE, 4 * PAGE, 0, 1, 0}, {8 * PAGE, PAGE, 0, 0, 0}};
    char byte = 'a';
    CHECK_EQUAL(pwrite(files[0], &byte, 1, 9 * PAGE), 1);
    byte = 'b';
    CHECK_EQUAL(pwrite(files[1], &byte, 1, 0), 1);
    CHECK_EQUAL(xm_grant_extents(agent, 1, rows, 3, files, 2), 0);
    struct xm_attach_request request = request_of(&owner, 1);
    CHECK_EQUAL(xm_attach(&request, &attachment), -ENODATA);
    request.offset = PAGE;
    request.length = 8 * PAGE;
    CHECK_EQUAL(xm_attach(&request, &attachment), 0);
    char *memory = memory_of(attachment);
    CHECK_EQUAL(memory[0], 'a');
    CHECK_EQUAL(memory[3 * PAGE], 'b');
    CHECK(xm_owner_attachment(&owner, (uintptr_t)memory + 5 * PAGE + 1) == attachment);
    request.address = (uintptr_t)memory;
    struct xm_attachment *other;
    CHECK_EQUAL(xm_attach(&request, &other), -EINVAL);
    end(attachment);
    CHECK_EQUAL(xm_attach(&request, &other), 0);
    CHECK(memory_of(other) == memory);
    end(other);
    xm_grant_close(agent, 1);
    xm_owner_close(&owner);
}

static void a_gap_between_extents_is_not_mapped(void) {
    struct xm_owner owner;
    struct xm_attachment *attachment;
    xm_owner_open(&owner, notice);
    open_grant(1, 10);
    int file = make_memfd();
    struct xm_row_extent rows[2] = {{0, 4 * PAGE, 0, 0, 0}, {5 * PAGE, 4 * PAGE, 5 * PAGE, 0, 0}};
    uint64_t before = shared_bytes(NULL, (uint64_t)INT64_MAX);
    CHECK_EQUAL(xm_grant_extents(agent, 1, rows, 2, &file, 1), 0);
    struct xm_attach_request request = request_of(&owner, 1);
    request.length = 8 * PAGE;
    CHECK_EQUAL(xm_attach(&request, &attachment), -ENODATA);
    CHECK_EQUAL(shared_bytes(NULL, (uint64_t)INT64_MAX), before);
    xm_grant_close(agent, 1);
    xm_owner_close(&owner);
}

static void what_is_kept_outlives_its_owner_only(void) {
    struct xm_owner owner;
    struct xm_attachment *kept;
    struct xm_attachment *plain;
    xm_owner_open(&owner, notice);
    open_grant(1, 10);
    CHECK_EQUAL(give_extents(1, make_memfd()), 0);
    struct xm_attach_request request = request_of(&owner, 1);
    CHECK_EQUAL(xm_attach(&request, &plain), 0);
    request.keep_on_owner_exit = true;
    CHECK_EQUAL(xm_attach(&request, &kept), 0);
    memory_of(kept)[5] = 7;
    CHECK_EQUAL(memory_of(plain)[5], 7);
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_OWNER_EXIT), 0);
    CHECK_EQUAL(memory_of(kept)[5], 7);
    CHECK_EQUAL(memory_of(plain)[5], 0);
    memory_of(plain)[5] = 1;
    CHECK(xm_owner_note(&owner) == plain);
    CHECK_EQUAL(plain->reason, XM_REASON_OWNER_EXIT);
    CHECK(xm_owner_note(&owner) == NULL);
    CHECK_EQUAL(xm_attach(&request, &plain), -ENOENT);
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_REMOVED), 0);
    CHECK_EQUAL(memory_of(kept)[5], 0);
    CHECK(xm_owner_note(&owner) == kept);
    xm_grant_close(agent, 1);
    xm_owner_close(&owner);
    CHECK(!kept->mapped);
    xm_attachment_free(kept);
    xm_attachment_free(plain);
}

/* The kernel gives its addresses to the next. */
static void an_munmap_counts_as_a_detach(void) {
    struct xm_owner owner;
    struct xm_attachment *first;
    struct xm_attachment *second;
    xm_owner_open(&owner, notice);
    open_grant(1, 10);
    CHECK_EQUAL(give_extents(1, make_memfd()), 0);
    struct xm_attach_request request = request_of(&owner, 1);
    CHECK_EQUAL(xm_attach(&request, &first), 0);
    char *memory = memory_of(first);
    CHECK_EQUAL(munmap(memory, SEGMENT), 0);
    request.address = (uintptr_t)memory;
    CHECK_EQUAL(xm_attach(&request, &second), 0);
    CHECK(!first->mapped);
    memory[0] = 1;
    end(first);
    CHECK_EQUAL(memory[0], 1);
    CHECK(xm_owner_attachment(&owner, (uintptr_t)memory) == second);
    /* A part of it. */
    CHECK_EQUAL(munmap(memory + 4 * PAGE, 2 * PAGE), 0);
    request.address = (uintptr_t)memory + 4 * PAGE;
    request.length = 2 * PAGE;
    CHECK_EQUAL(xm_attach(&request, &first), 0);
    CHECK_EQUAL(memory_of(second) - memory, 6 * PAGE);
    CHECK_EQUAL(second->span.length, SEGMENT - 6 * PAGE);
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_REMOVED), 0);
    CHECK_EQUAL(shared_bytes(memory, SEGMENT), 0);
    end(first);
    end(second);
    xm_grant_close(agent, 1);
    xm_owner_close(&owner);
}

static sigjmp_buf after_fault;

static void jump_back(int number) {
    siglongjmp(after_fault, number);
}

static void the_bus_style_raises_sigbus(void) {
    struct xm_owner owner;
    struct xm_attachment *attachment;
    xm_owner_open(&owner, notice);
    open_grant(1, 10);
    CHECK_EQUAL(give_extents(1, make_memfd()), 0);
    struct xm_attach_request request = request_of(&owner, 1);
    request.style = XM_REVOKED_BUS;
    CHECK_EQUAL(xm_attach(&request, &attachment), 0);
    volatile char *memory = memory_of(attachment);
    memory[0] = 1;
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_REMOVED), 0);
    struct sigaction action = {.sa_handler = jump_back};
    struct sigaction before;
    CHECK_EQUAL(sigaction(SIGBUS, &action, &before), 0);
    int signaled = sigsetjmp(after_fault, 1);
    if (signaled == 0)
        memory[0] = 2;
    CHECK_EQUAL(signaled, SIGBUS);
    CHECK_EQUAL(sigaction(SIGBUS, &before, NULL), 0);
    end(attachment);
    xm_grant_close(agent, 1);
    xm_owner_close(&owner);
}

static void what_is_held_and_mapped_is_told(void) {
    struct xm_owner owner;
    struct xm_attachment *attachments[2];
    struct xm_row_held held[8];
    struct xm_row_holding holdings[8];
    xm_owner_open(&owner, notice);
    for (uint64_t apid = 1; apid <= 4; apid++) {
        open_grant(apid, 10 + apid / 2);
        if (apid != 4)
            CHECK_EQUAL(give_extents(apid, make_memfd()), 0);
    }
    struct xm_attach_request request = request_of(&owner, 2);
    CHECK_EQUAL(xm_attach(&request, &attachments[0]), 0);
    request.apid = 3;
    CHECK_EQUAL(xm_attach(&request, &attachments[1]), 0);
    uint64_t apid = 0;
    CHECK_EQUAL(xm_held(agent, &apid, held, 8), 2);
    CHECK(held[0].segid == 10 && held[1].segid == 11);
    CHECK_EQUAL(xm_held(agent, &apid, held, 8), 0);
    CHECK_EQUAL(xm_holdings(agent, holdings, 8), 1);
    CHECK(holdings[0].segid == 11 && holdings[0].attachments == 2);
    CHECK_EQUAL(holdings[0].bytes, 2 * SEGMENT);
    while (xm_grant_any(agent, &apid) == 0)
        xm_grant_close(agent, apid);
    CHECK_EQUAL(xm_holdings(agent, holdings, 8), 0);
    xm_owner_close(&owner);
    xm_attachment_free(attachments[0]);
    xm_attachment_free(attachments[1]);
}

static atomic_bool stop;
static atomic_ulong attached;
static _Atomic uint64_t some_address;

/* Whatever happens to the mapping meanwhile, which is what is tested, an access is no crash. */
__attribute__((no_sanitize("thread"))) static void touch(char *memory) {
    *(volatile char *)memory = 1;
}

/* Attaches, touches and detaches as an owner does; sees to its notes. */
static void *use_segments(void *argument) {
    uint32_t state = (uint32_t)(uintptr_t)argument;
    struct xm_owner owner;
    struct xm_attachment *live[8] = {NULL};
    xm_owner_open(&owner, notice);
    while (!atomic_load(&stop)) {
        state = state * 1103515245 + 12345;
        struct xm_attachment **slot = &live[(state >> 8) % 8];
        struct xm_attach_request request = request_of(&owner, 1 + (state >> 12) % SEGMENTS);
        if (*slot != NULL) {
            CHECK(xm_owner_attachment(&owner, (*slot)->span.address) == *slot);
            end(*slot);
            *slot = NULL;
        } else if (xm_attach(&request, slot) == 0) {
            touch(memory_of(*slot));
            atomic_fetch_add(&attached, 1);
            atomic_store(&some_address, (*slot)->span.address);
        } else {
            *slot = NULL;
        }
        while (xm_owner_note(&owner) != NULL) {
        }
    }
    xm_owner_close(&owner);
    for (int i = 0; i < 8; i++)
        xm_attachment_free(live[i]);
    return NULL;
}

/* Ends others' attachments by address, as a detach from another environment does. */
static void *detach_others(void *argument) {
    (void)argument;
    while (!atomic_load(&stop)) {
        uint64_t address = atomic_load(&some_address);
        if (address != 0)
            (void)xm_attachment_revoke_at(address, XM_REASON_REMOVED);
    }
    return NULL;
}

static uint64_t mapped_memfds(void) {
    return shared_bytes(NULL, (uint64_t)INT64_MAX);
}

static void owners_and_revocations_race(void) {
    pthread_t users[3];
    uint64_t before = mapped_memfds();
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < 3; i++)
        users[i] = start_thread(use_segments, (void *)(i + 1));
    pthread_t other = start_thread(detach_others, NULL);
    for (unsigned round = 0; round < 2000; round++) {
        uint64_t apid = 1 + round % SEGMENTS;
        open_grant(apid, 100 + round);
        CHECK_EQUAL(give_extents(apid, make_memfd()), 0);
        unsigned long count = atomic_load(&attached);
        if (round % 50 == 0)
            WAIT_UNTIL(atomic_load(&attached) > count);
        CHECK_EQUAL(xm_revoke(agent, 100 + round, XM_REASON_REMOVED), 0);
        struct xm_row_holding rows[8];
        size_t told = xm_holdings(agent, rows, 8);
        for (size_t i = 0; i < told; i++)
            CHECK(rows[i].segid != 100 + round);
        xm_grant_close(agent, apid);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(users[i], NULL);
    pthread_join(other, NULL);
    CHECK(atomic_load(&attached) > 40);
    CHECK(atomic_load(&notices) > 0);
    CHECK_EQUAL(mapped_memfds(), before);
}

int main(void) {
    start_watchdog();
    RUN(an_answer_after_the_revocation_gives_nothing);
    RUN(pieces_of_several_memfds_are_one_range);
    RUN(a_gap_between_extents_is_not_mapped);
    RUN(what_is_kept_outlives_its_owner_only);
    RUN(an_munmap_counts_as_a_detach);
    RUN(the_bus_style_raises_sigbus);
    RUN(what_is_held_and_mapped_is_told);
    RUN(owners_and_revocations_race);
    return 0;
}
