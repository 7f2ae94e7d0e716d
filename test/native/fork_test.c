/* A forked child has no agent and no attachments, and its parent notices nothing. */

#include <signal.h>
#include <sys/wait.h>

#include "../../native/core/backing.h"
#include "../../native/core/memory.h"
#include "../../native/core/table.h"
#include "fake_service.h"

/* The child starts a thread, which ThreadSanitizer allows only when told. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0";
}

static struct service service;
static struct counting_listener listener;

static void ignore_note(struct xm_owner *owner) {
    (void)owner;
}

static bool is_mapped(const void *memory) {
    unsigned char resident;
    return mincore((void *)(uintptr_t)memory, PAGE, &resident) == 0;
}

static void check_child(struct xm_agent *agent, struct xm_owner *owner,
                        struct xm_attachment *attachment) {
    struct xm_attachment *other;
    struct xm_attach_request request = {.agent = agent, .apid = 4, .length = PAGE, .owner = owner};
    struct xm_row_holding rows[4];
    start_watchdog();
    CHECK(!is_mapped((void *)(uintptr_t)attachment->span.address));
    CHECK(!is_connected(agent));
    CHECK_EQUAL(xm_attach(&request, &other), -ENOENT);
    CHECK_EQUAL(xm_holdings(agent, rows, 4), 0);
    xm_attachment_unmap(attachment);
    xm_owner_close(owner);
    xm_agent_close(agent, &listener.listener);
    /* It can have an agent of its own. */
    struct counting_listener own;
    struct xm_agent *fresh = open_agent(&service, &own);
    xm_agent_close(fresh, &own.listener);
    exit(0);
}

static void the_parent_goes_on(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct xm_owner owner;
    struct xm_grant_facts facts = {
        .apid = 4, .segid = 40, .length = PAGE, .writable = true, .stable = true};
    struct xm_row_extent row = {0, PAGE, 0, 0, 0};
    int file = xm_memfd_create(PAGE);
    xm_owner_open(&owner, ignore_note);
    CHECK_EQUAL(xm_grant_open(agent, &facts), 0);
    CHECK_EQUAL(xm_grant_extents(agent, 4, &row, 1, &file, 1), 0);
    struct xm_attach_request request = {.agent = agent, .apid = 4, .length = PAGE, .owner = &owner};
    struct xm_attachment *attachment;
    CHECK_EQUAL(xm_attach(&request, &attachment), 0);
    volatile char *memory = (char *)(uintptr_t)attachment->span.address;
    memory[0] = 1;
    unsigned changes = atomic_load(&listener.changes);
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            check_child(agent, &owner, attachment);
        int status;
        CHECK_EQUAL(waitpid(child, &status, 0), child);
        CHECK_EQUAL(status, 0);
    }
    CHECK_EQUAL(memory[0], 1);
    service_ask(&service, XM_CODE_REPORT, 0, 0, XM_BYTES_REPORT, XM_CODE_HOLDINGS);
    CHECK_EQUAL(service.length, XM_BYTES_HOLDINGS + XM_ROW_BYTES_HOLDING);
    CHECK_EQUAL(atomic_load(&listener.changes), changes);
    xm_owner_close(&owner);
    xm_attachment_free(attachment);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* Memory that was moved, and memory that was born in a memfd. */
static void a_child_has_its_own_copy(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct xm_region *region;
    char *moved = map_private(4 * PAGE);
    uint32_t id;
    CHECK_EQUAL(xm_region_create(4 * PAGE, false, &region), 0);
    char *born = (char *)(uintptr_t)region->span.address;
    strcpy(moved, "parent");
    strcpy(born, "parent");
    CHECK_EQUAL(xm_agent_offer(agent, &listener.listener, (uintptr_t)moved, 4 * PAGE, &id), 0);
    service_ask(&service, XM_CODE_SHARE, (uintptr_t)moved, 4 * PAGE, XM_BYTES_SHARE,
                XM_CODE_EXTENTS);
    service_close_descriptors(&service);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        start_watchdog();
        CHECK(strcmp(moved, "parent") == 0 && strcmp(born, "parent") == 0);
        strcpy(moved, "child");
        strcpy(born, "child");
        int backing[2];
        uint64_t offset;
        CHECK_EQUAL(xm_backing_of((uintptr_t)born, PAGE, backing, &offset), -ENOENT);
        xm_region_destroy(region);
        _exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    CHECK(strcmp(moved, "parent") == 0 && strcmp(born, "parent") == 0);
    CHECK_EQUAL(shared_bytes(moved, 4 * PAGE) + shared_bytes(born, 4 * PAGE), 8 * PAGE);
    xm_region_destroy(region);
    munmap(moved, 4 * PAGE);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static atomic_bool stop;

static void *fork_children(void *argument) {
    (void)argument;
    while (!atomic_load(&stop)) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        int status;
        CHECK_EQUAL(waitpid(child, &status, 0), child);
        CHECK_EQUAL(status, 0);
    }
    return NULL;
}

/* Forks while memory is being moved: the child's copy is whole, the parent's conversion too. */
static void forks_race_with_conversions(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    atomic_store(&stop, false);
    pthread_t forker = start_thread(fork_children, NULL);
    for (int i = 0; i < 40; i++) {
        char *memory = map_private(4 * MIB);
        uint32_t id;
        memset(memory, i + 1, 4 * MIB);
        CHECK_EQUAL(xm_agent_offer(agent, &listener.listener, (uintptr_t)memory, 4 * MIB, &id), 0);
        service_ask(&service, XM_CODE_SHARE, (uintptr_t)memory, 4 * MIB, XM_BYTES_SHARE,
                    XM_CODE_EXTENTS);
        service_close_descriptors(&service);
        for (size_t j = 0; j < 4 * MIB; j += PAGE)
            CHECK_EQUAL(memory[j], i + 1);
        xm_agent_withdraw(agent, &listener.listener, id);
        munmap(memory, 4 * MIB);
    }
    atomic_store(&stop, true);
    pthread_join(forker, NULL);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

int main(void) {
    start_watchdog();
    RUN(the_parent_goes_on);
    RUN(a_child_has_its_own_copy);
    RUN(forks_race_with_conversions);
    return 0;
}
