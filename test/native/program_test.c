/* A C program unmaps, replaces and moves its attachments itself. */

#include <setjmp.h>
#include <signal.h>

#include <sys/resource.h>

#include "../../native/core/memory.h"
#include "../../native/core/still_mapped.h"
#include "../../native/core/table.h"
#include "harness.h"

#define SEGMENT (8 * PAGE)

static const void *const agent = "an agent";
static struct xm_owner owner;

static void ignore_note(struct xm_owner *noted) {
    (void)noted;
}

static sigjmp_buf fault;

static void jump(int signal) {
    siglongjmp(fault, signal);
}

/* Loads a byte: its value, or the negative signal that the load raised. */
static int load(const char *memory) {
    int raised = sigsetjmp(fault, 1);
    return raised != 0 ? -raised : *(const volatile char *)memory;
}

static int file;

/* A permit on a segment in one file, whose first byte of each page is the page's number plus 1. */
static void open_permit(uint64_t apid) {
    struct xm_grant_facts facts = {
        .apid = apid, .segid = apid * 10, .length = SEGMENT, .writable = true};
    CHECK_EQUAL(xm_grant_open(agent, &facts), 0);
}

static char *attach_at(char *address, uint64_t apid, const struct xm_row_extent *rows,
                       size_t count) {
    struct xm_extents extents = {0};
    int given = dup(file);
    CHECK_EQUAL(xm_extents_add(&extents, SEGMENT, XM_EXTENTS_WRITABLE | XM_EXTENTS_BUS, rows, count,
                               &given, 1),
                0);
    struct xm_attach_request request = {.agent = agent,
                                        .apid = apid,
                                        .length = SEGMENT,
                                        .address = (uintptr_t)address,
                                        .owner = &owner,
                                        .style = XM_REVOKED_BUS,
                                        .extents = &extents};
    struct xm_attachment *attachment;
    CHECK_EQUAL(xm_attach(&request, &attachment), 0);
    xm_extents_clear(&extents);
    return (char *)(uintptr_t)attachment->span.address;
}

static const struct xm_row_extent whole = {0, SEGMENT, 0, 0, 0};

static char *attach(uint64_t apid) {
    return attach_at(NULL, apid, &whole, 1);
}

/* Moves an attachment elsewhere, as programs do. */
static char *move_away(char *memory) {
    char *moved =
        mremap(memory, SEGMENT, SEGMENT, MREMAP_MAYMOVE | MREMAP_FIXED, map_private(SEGMENT));
    CHECK(moved != MAP_FAILED && moved != memory);
    CHECK_EQUAL(load(moved + PAGE), 2);
    return moved;
}

static size_t count_held(void) {
    struct xm_row_held rows[8];
    uint64_t apid = 0;
    return xm_held(agent, &apid, rows, 8);
}

/* The program's own memory in place of an attachment's. */
static void put_own_memory(char *address, size_t length) {
    CHECK(mmap(address, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) == address);
    memset(address, 77, length);
}

static void own_memory_in_its_place_is_not_revoked(void) {
    open_permit(1);
    char *memory = attach(1);
    CHECK_EQUAL(munmap(memory, SEGMENT), 0);
    put_own_memory(memory + PAGE, PAGE);
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_REMOVED), 0);
    CHECK_EQUAL(memory[PAGE], 77);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), 0);
    CHECK_EQUAL(memory[PAGE], 77);
    xm_grant_close(agent, 1);
    munmap(memory + PAGE, PAGE);
}

static void own_memory_put_there_after_a_revocation_stays(void) {
    open_permit(1);
    char *memory = attach(1);
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_REMOVED), 0);
    CHECK_EQUAL(load(memory), -SIGBUS);
    put_own_memory(memory + 3 * PAGE, PAGE);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory + 5), 0);
    CHECK_EQUAL(memory[3 * PAGE], 77);
    CHECK_EQUAL(load(memory), -SIGSEGV);
    CHECK_EQUAL(load(memory + 4 * PAGE), -SIGSEGV);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), -ENOENT);
    munmap(memory + 3 * PAGE, PAGE);
    xm_grant_close(agent, 1);
}

static void a_release_takes_what_is_left_and_no_more(void) {
    open_permit(1);
    char *memory = attach(1);
    put_own_memory(memory + 2 * PAGE, PAGE);
    CHECK_EQUAL(mprotect(memory + 5 * PAGE, PAGE, PROT_READ), 0);
    xm_owner_detach_all(&owner, agent, 1);
    CHECK_EQUAL(memory[2 * PAGE], 77);
    for (size_t page = 0; page < 8; page++)
        CHECK_EQUAL(load(memory + page * PAGE), page == 2 ? 77 : -SIGSEGV);
    munmap(memory + 2 * PAGE, PAGE);
    xm_grant_close(agent, 1);
}

static void what_was_moved_is_revoked_where_it_is(void) {
    open_permit(1);
    open_permit(2);
    char *memory = attach(1);
    char *other = attach(2);
    char *moved = move_away(memory);
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_REMOVED), 0);
    CHECK_EQUAL(load(moved + PAGE), -SIGBUS);
    CHECK_EQUAL(load(other + PAGE), 2);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), 0);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)other), 0);
    munmap(moved, SEGMENT);
    xm_grant_close(agent, 1);
    xm_grant_close(agent, 2);
}

static void what_was_moved_is_revoked_after_a_detach_of_its_old_place(void) {
    open_permit(1);
    char *memory = attach(1);
    char *moved = move_away(memory);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), 0);
    CHECK_EQUAL(load(moved + PAGE), 2);
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_REMOVED), 0);
    CHECK_EQUAL(load(moved + PAGE), -SIGBUS);
    munmap(moved, SEGMENT);
    xm_grant_close(agent, 1);
}

static void what_was_moved_is_revoked_after_its_old_place_was_taken(void) {
    open_permit(1);
    open_permit(2);
    char *memory = attach(1);
    char *moved = move_away(memory);
    CHECK(attach_at(memory, 2, &whole, 1) == memory);
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_REMOVED), 0);
    CHECK_EQUAL(load(moved + PAGE), -SIGBUS);
    CHECK_EQUAL(load(memory + PAGE), 2);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), 0);
    munmap(moved, SEGMENT);
    xm_grant_close(agent, 1);
    xm_grant_close(agent, 2);
}

static void what_was_moved_is_forgotten_when_it_is_mapped_no_more(void) {
    open_permit(1);
    char *memory = attach(1);
    char *moved = move_away(memory);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), 0);
    CHECK_EQUAL(count_held(), 1);
    munmap(moved, SEGMENT);
    memory = attach(1);
    munmap(memory, SEGMENT);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), 0);
    CHECK_EQUAL(count_held(), 0);
    xm_grant_close(agent, 1);
}

static void a_detach_that_cannot_look_at_the_mappings_fails(void) {
    struct rlimit limit;
    open_permit(1);
    char *memory = attach(1);
    put_own_memory(memory + 2 * PAGE, PAGE);
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit none = {0, limit.rlim_max};
    xm_still_mapped_forget();
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), -EMFILE);
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_EQUAL(memory[2 * PAGE], 77);
    CHECK_EQUAL(load(memory + PAGE), 2);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), 0);
    CHECK_EQUAL(memory[2 * PAGE], 77);
    CHECK_EQUAL(load(memory + PAGE), -SIGSEGV);
    munmap(memory + 2 * PAGE, PAGE);
    xm_grant_close(agent, 1);
}

/* Pieces that are one mapping, pieces that are several, holes, and what is the program's. */
static void many_pieces_are_found_in_their_places(void) {
    struct xm_row_extent rows[] = {
        {0, PAGE, 0, 0, 0},
        {PAGE, PAGE, PAGE, 0, 0},
        {2 * PAGE, PAGE, 0, XM_HOLE, 0},
        {3 * PAGE, PAGE, 7 * PAGE, 0, 0},
        {4 * PAGE, 3 * PAGE, 0, 0, 0},
        {7 * PAGE, PAGE, 3 * PAGE, 0, 0},
    };
    open_permit(1);
    char *memory = attach_at(NULL, 1, rows, 6);
    CHECK_EQUAL(mprotect(memory + PAGE, PAGE, PROT_READ), 0);
    put_own_memory(memory + 5 * PAGE, PAGE);
    CHECK_EQUAL(munmap(memory + 3 * PAGE, PAGE), 0);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), 0);
    for (size_t page = 0; page < 8; page++)
        CHECK_EQUAL(load(memory + page * PAGE), page == 5 ? 77 : -SIGSEGV);
    munmap(memory + 5 * PAGE, PAGE);
    xm_grant_close(agent, 1);
}

static void holes_raise_sigbus_and_go_with_the_rest(void) {
    struct xm_row_extent rows[] = {{0, 2 * PAGE, 0, 0, 0},
                                   {2 * PAGE, 3 * PAGE, 0, XM_HOLE, 0},
                                   {5 * PAGE, 3 * PAGE, 5 * PAGE, 0, 0}};
    open_permit(1);
    char *memory = attach_at(NULL, 1, rows, 3);
    for (int page = 0; page < 8; page++)
        CHECK_EQUAL(load(memory + (size_t)page * PAGE), page >= 2 && page < 5 ? -SIGBUS : page + 1);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), 0);
    for (size_t page = 0; page < 8; page++)
        CHECK_EQUAL(load(memory + page * PAGE), -SIGSEGV);
    xm_grant_close(agent, 1);
}

/* Attaching nothing but holes, and then revoked. */
static void an_attachment_of_holes_alone_is_one(void) {
    struct xm_row_extent rows[] = {{0, SEGMENT, 0, XM_HOLE, 0}};
    open_permit(1);
    struct xm_extents extents = {0};
    CHECK_EQUAL(xm_extents_add(&extents, SEGMENT, XM_EXTENTS_BUS, rows, 1, NULL, 0), 0);
    struct xm_attach_request request = {.agent = agent,
                                        .apid = 1,
                                        .length = SEGMENT,
                                        .owner = &owner,
                                        .style = XM_REVOKED_BUS,
                                        .extents = &extents};
    struct xm_attachment *attachment;
    CHECK_EQUAL(xm_attach(&request, &attachment), 0);
    char *memory = (char *)(uintptr_t)attachment->span.address;
    xm_extents_clear(&extents);
    CHECK_EQUAL(load(memory), -SIGBUS);
    CHECK_EQUAL(xm_revoke(agent, 10, XM_REASON_REMOVED), 0);
    CHECK_EQUAL(load(memory), -SIGBUS);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory), 0);
    CHECK_EQUAL(load(memory), -SIGSEGV);
    xm_grant_close(agent, 1);
}

int main(void) {
    struct sigaction action = {.sa_handler = jump, .sa_flags = SA_NODEFER};
    start_watchdog();
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
    file = xm_memfd_create(SEGMENT);
    for (size_t page = 0; page < 8; page++) {
        char number = (char)(page + 1);
        CHECK_EQUAL(pwrite(file, &number, 1, (off_t)(page * PAGE)), 1);
    }
    xm_owner_open(&owner, ignore_note);
    owner.program = true;
    RUN(own_memory_in_its_place_is_not_revoked);
    RUN(own_memory_put_there_after_a_revocation_stays);
    RUN(a_release_takes_what_is_left_and_no_more);
    RUN(what_was_moved_is_revoked_where_it_is);
    RUN(what_was_moved_is_revoked_after_a_detach_of_its_old_place);
    RUN(what_was_moved_is_revoked_after_its_old_place_was_taken);
    RUN(what_was_moved_is_forgotten_when_it_is_mapped_no_more);
    RUN(a_detach_that_cannot_look_at_the_mappings_fails);
    RUN(many_pieces_are_found_in_their_places);
    RUN(holes_raise_sigbus_and_go_with_the_rest);
    RUN(an_attachment_of_holes_alone_is_one);
    close(file);
    return 0;
}
