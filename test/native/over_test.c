/* Attaching at an address where something is mapped already. */

#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../../native/core/agent_parts.h"
#include "../../native/core/keeper.h"
#include "../../native/core/lock.h"
#include "../../native/core/table.h"
#include "moving.h"

#define SEGMENT (4 * PAGE)
#define APID 6
#define OLD 77

static struct service service;
static struct counting_listener listener;
static struct xm_agent *agent;
static int file;

static void ignore_note(struct xm_owner *noted) {
    (void)noted;
}

static struct xm_owner owner;

static sigjmp_buf fault;

static void jump(int signal) {
    siglongjmp(fault, signal);
}

/* Loads a byte: its value, or the negative signal that the load raised. */
static int load(const char *memory) {
    int raised = sigsetjmp(fault, 1);
    return raised != 0 ? -raised : *(const volatile char *)memory;
}

/* Its pages 0 to 2, in two pieces with a hole between them, and its first page again. */
static const struct xm_row_extent rows[] = {
    {0, PAGE, 2 * PAGE, 0, 0}, {PAGE, PAGE, 0, XM_HOLE, 0}, {2 * PAGE, 2 * PAGE, 0, 0, 0}};
#define ROWS (sizeof rows / sizeof *rows)

/* Attaches as many rows as are told of at an address. 0 or a negative errno. */
static int attach_rows(const void *address, uint64_t length, size_t count, struct xm_span source) {
    struct xm_extents extents = {0};
    int given = dup(file);
    CHECK_EQUAL(xm_extents_add(&extents, SEGMENT, XM_EXTENTS_WRITABLE | XM_EXTENTS_BUS, rows, count,
                               &given, 1),
                0);
    struct xm_attach_request request = {.agent = agent,
                                        .apid = APID,
                                        .length = length,
                                        .address = (uintptr_t)address,
                                        .owner = &owner,
                                        .style = XM_REVOKED_BUS,
                                        .replaces = true,
                                        .source = source,
                                        .extents = &extents};
    uint64_t attached;
    int error = xm_owner_attach(&request, &attached);
    CHECK(error != 0 || attached == (uintptr_t)address);
    xm_extents_clear(&extents);
    return error;
}

static int attach(const void *address) {
    return attach_rows(address, SEGMENT, ROWS, (struct xm_span){0, 0});
}

static void check_attached(const char *memory) {
    CHECK_EQUAL(load(memory), 3);
    CHECK_EQUAL(load(memory + PAGE), -SIGBUS);
    CHECK_EQUAL(load(memory + 2 * PAGE), 1);
    CHECK_EQUAL(load(memory + 3 * PAGE), 2);
}

static char *map_old(size_t length) {
    char *memory = map_private(length);
    memset(memory, OLD, length);
    return memory;
}

static void check_old(const char *memory, size_t length) {
    for (size_t i = 0; i < length; i += PAGE)
        CHECK_EQUAL(load(memory + i), OLD);
}

static void begin(void) {
    agent = connect_agent(&service, &listener);
    struct xm_grant_facts facts = {
        .apid = APID, .segid = 60, .length = SEGMENT, .owner_pid = 7, .writable = true};
    xm_owner_open(&owner, ignore_note);
    owner.program = true;
    CHECK_EQUAL(xm_grant_open(agent, &facts), 0);
    file = xm_memfd_create(SEGMENT);
    for (char i = 0; i < 4; i++) {
        char number = (char)(i + 1);
        CHECK_EQUAL(pwrite(file, &number, 1, i * (off_t)PAGE), 1);
    }
}

static void end(void) {
    xm_owner_detach_all(&owner, agent, APID);
    close(file);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static void memory_is_replaced_and_its_neighbours_stay(void) {
    begin();
    char *memory = map_old(6 * PAGE);
    CHECK_EQUAL(attach(memory + PAGE), 0);
    check_attached(memory + PAGE);
    check_old(memory, PAGE);
    check_old(memory + 5 * PAGE, PAGE);
    char *reserved = mmap(NULL, SEGMENT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_EQUAL(attach(reserved), 0);
    check_attached(reserved);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)reserved), 0);
    CHECK_EQUAL(load(reserved), -SIGSEGV);
    /* Partly free. */
    CHECK(mmap(reserved + PAGE, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
          MAP_FAILED);
    CHECK_EQUAL(attach(reserved), 0);
    check_attached(reserved);
    end();
}

static void an_attachment_is_not_replaced_wherever_it_is(void) {
    begin();
    char *memory = map_old(12 * PAGE);
    CHECK_EQUAL(attach(memory + 4 * PAGE), 0);
    for (size_t i = 1; i < 8; i++)
        CHECK_EQUAL(attach(memory + i * PAGE), -EINVAL);
    check_attached(memory + 4 * PAGE);
    check_old(memory, 4 * PAGE);
    check_old(memory + 8 * PAGE, 4 * PAGE);
    /* What the program has put in its place is ordinary memory. */
    CHECK(mmap(memory + 4 * PAGE, SEGMENT, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) != MAP_FAILED);
    CHECK_EQUAL(attach(memory + 4 * PAGE), 0);
    /* Where the program has moved it, and it was found to be gone from its place. */
    char *moved = map_old(SEGMENT);
    CHECK(mremap(memory + 4 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == moved);
    CHECK_EQUAL(xm_owner_detach(&owner, (uintptr_t)memory + 4 * PAGE), 0);
    CHECK_EQUAL(attach(moved), -EINVAL);
    CHECK_EQUAL(load(moved), 3);
    CHECK_EQUAL(munmap(moved, PAGE), 0);
    CHECK_EQUAL(attach(moved), 0);
    end();
}

static void the_source_and_the_memory_of_threads_of_xpmem_are_not_replaced(void) {
    begin();
    char *memory = map_old(8 * PAGE);
    struct xm_span source = {(uintptr_t)memory + 2 * PAGE, SEGMENT};
    for (size_t i = 0; i < 5; i++)
        CHECK_EQUAL(attach_rows(memory + i * PAGE, SEGMENT, ROWS, source), -EINVAL);
    check_old(memory, 8 * PAGE);
    CHECK_EQUAL(attach(agent->arena->stack), -EINVAL);
    CHECK_EQUAL(attach(agent->arena->stack + sizeof agent->arena->stack - PAGE), -EINVAL);
    /* The keeper is there when memory was moved. */
    move(&service, agent, &listener, memory, PAGE);
    struct xm_span keeper = xm_keeper_memory();
    CHECK(keeper.length != 0);
    CHECK_EQUAL(attach((void *)(uintptr_t)(keeper.address & ~(PAGE - 1))), -EINVAL);
    CHECK(xm_keeper_there());
    end();
}

static void a_failure_leaves_what_was_mapped(void) {
    begin();
    char *memory = map_old(SEGMENT);
    CHECK_EQUAL(attach_rows(memory, SEGMENT, 1, (struct xm_span){0, 0}), -ENODATA);
    check_old(memory, SEGMENT);
    struct rlimit before;
    CHECK_EQUAL(getrlimit(RLIMIT_AS, &before), 0);
    struct rlimit none = {PAGE, before.rlim_max};
    CHECK_EQUAL(setrlimit(RLIMIT_AS, &none), 0);
    CHECK_EQUAL(attach(memory), -ENOMEM);
    CHECK_EQUAL(setrlimit(RLIMIT_AS, &before), 0);
    check_old(memory, SEGMENT);
    CHECK_EQUAL(attach(memory), 0);
    end();
}

static atomic_int waiting;
static atomic_bool attached;

static void *attach_apart(void *memory) {
    atomic_store(&waiting, (int)syscall(SYS_gettid));
    CHECK_EQUAL(attach(memory), 0);
    atomic_store(&attached, true);
    return NULL;
}

/* Whether a thread is in a system call that waits for a lock; not if it has ended. */
static bool waits_for_lock(int thread) {
    char path[64];
    char call[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", thread);
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    if (opened < 0)
        return false;
    CHECK(read(opened, call, sizeof call - 1) >= 0);
    close(opened);
    return strtol(call, NULL, 10) == SYS_futex;
}

static void memory_that_is_being_moved_is_not_replaced_before_that_is_done(void) {
    begin();
    char *memory = map_old(SEGMENT);
    xm_lock_conversion();
    pthread_t thread = start_thread(attach_apart, memory);
    WAIT_UNTIL(atomic_load(&waiting) != 0 &&
               (waits_for_lock(atomic_load(&waiting)) || atomic_load(&attached)));
    CHECK(!atomic_load(&attached));
    check_old(memory, SEGMENT);
    xm_unlock_conversion();
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    check_attached(memory);
    end();
}

int main(void) {
    struct sigaction action = {.sa_handler = jump};
    start_watchdog();
    CHECK_EQUAL(sigaction(SIGBUS, &action, NULL), 0);
    CHECK_EQUAL(sigaction(SIGSEGV, &action, NULL), 0);
    RUN(memory_is_replaced_and_its_neighbours_stay);
    RUN(an_attachment_is_not_replaced_wherever_it_is);
    RUN(the_source_and_the_memory_of_threads_of_xpmem_are_not_replaced);
    RUN(a_failure_leaves_what_was_mapped);
    RUN(memory_that_is_being_moved_is_not_replaced_before_that_is_done);
    return 0;
}
