/* The agent's conversation with a service. */

#include <dirent.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "../../native/core/backing.h"
#include "../../native/core/memory.h"
#include "../../native/core/share.h"
#include "../../native/core/table.h"
#include "fake_service.h"

static struct service service;
static struct counting_listener listener;

static uint32_t offer(struct xm_agent *agent, const void *memory, size_t length) {
    uint32_t id;
    CHECK_EQUAL(xm_agent_offer(agent, &listener.listener, (uintptr_t)memory, length, &id), 0);
    return id;
}

static void share(const void *memory, size_t length, uint16_t answer) {
    service_ask(&service, XM_CODE_SHARE, (uintptr_t)memory, length, XM_BYTES_SHARE, answer);
}

static void close_all(struct xm_agent *agent) {
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* The agents' threads in this process. */
static int agent_threads(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    while ((task = readdir(tasks)) != NULL) {
        char path[300];
        char name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0)
            continue;
        if (read(file, name, sizeof name - 1) > 0 && strcmp(name, "xpmem-agent\n") == 0)
            count++;
        close(file);
    }
    closedir(tasks);
    return count;
}

static void it_comes_and_goes(void) {
    for (int i = 0; i < 20; i++) {
        struct xm_agent *agent = connect_agent(&service, &listener);
        struct counting_listener second;
        CHECK(open_agent(&service, &second) == agent);
        CHECK_EQUAL(agent_threads(), 1);
        xm_agent_close(agent, &second.listener);
        CHECK_EQUAL(agent_threads(), 1);
        close_all(agent);
        /* A joined thread may be listed for a moment. */
        WAIT_UNTIL(agent_threads() == 0);
    }
}

/* Without a service, with one that never answers, with one that vanishes. */
static void it_can_be_closed_at_any_time(void) {
    service_start(&service);
    unlink(service.path);
    struct xm_agent *agent = open_agent(&service, &listener);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
    service_start(&service);
    agent = open_agent(&service, &listener);
    service_accept(&service);
    CHECK(!is_connected(agent));
    close_all(agent);
    agent = connect_agent(&service, &listener);
    service_hang_up(&service);
    close_all(agent);
}

static void it_reconnects_and_tells_what_it_holds(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct xm_grant_facts facts = {.apid = 4,
                                   .segid = 40,
                                   .length = PAGE,
                                   .owner_start = 123,
                                   .owner_pid = 7,
                                   .writable = true,
                                   .stable = true};
    struct xm_row_extent row = {0, PAGE, 0, 0, 0};
    int file = xm_memfd_create(PAGE);
    CHECK_EQUAL(xm_grant_open(agent, &facts), 0);
    CHECK_EQUAL(xm_grant_extents(agent, 4, &row, 1, &file, 1), 0);
    service_hang_up(&service);
    service_accept(&service);
    service_welcome(&service);
    service_receive(&service);
    CHECK_EQUAL(service.message.header.code, XM_CODE_HELD);
    CHECK_EQUAL(service.length, XM_BYTES_HELD + XM_ROW_BYTES_HELD);
    const struct xm_row_held *held = (const void *)(service.message.bytes + XM_BYTES_HELD);
    CHECK(held->segid == 40 && held->owner_pid == 7 && held->owner_start == 123);
    WAIT_UNTIL(atomic_load(&listener.changes) == 3);
    /* What a service never sends ends the connection. */
    static const struct xm_header nonsense[] = {
        {XM_CODE_GET, 0, 1}, {XM_CODE_SHARE, 0, 1}, {999, 0, 1}};
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        service_send(&service, &nonsense[i], sizeof nonsense[i]);
        service_receive(&service);
        CHECK_EQUAL(service.length, 0);
        service_hang_up(&service);
        service_accept(&service);
        service_welcome(&service);
        service_receive(&service);
        CHECK_EQUAL(service.message.header.code, XM_CODE_HELD);
    }
    close_all(agent);
    struct xm_grant_facts gone;
    CHECK_EQUAL(xm_grant_facts(agent, 4, &gone), -ENOENT);
}

static atomic_bool stop;

static void *count_up(void *argument) {
    _Atomic uint64_t *counter = argument;
    uint64_t count = 0;
    while (!atomic_load(&stop)) {
        for (size_t i = 0; i < 8 * MIB / sizeof *counter; i += 600)
            atomic_fetch_add(&counter[i], 1);
        count++;
    }
    return (void *)(uintptr_t)count;
}

/* Maps what the service was told last, which is all of `length` bytes, for reading. */
static const void *view_extents(uint64_t length) {
    char *view = map_private(length);
    uint64_t end = 0;
    for (size_t i = 0; i < service_extent_count(&service); i++) {
        const struct xm_row_extent *row = &service_extents(&service)[i];
        CHECK_EQUAL(row->offset, end);
        CHECK(mmap(view + end, row->length, PROT_READ, MAP_SHARED | MAP_FIXED,
                   service.beside.descriptors[row->descriptor * 2 + 1],
                   (off_t)row->file_offset) != MAP_FAILED);
        end += row->length;
    }
    CHECK_EQUAL(end, length);
    return view;
}

static void live_memory_is_shared(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    char *memory = map_private(8 * MIB);
    atomic_store(&stop, false);
    pthread_t writer = start_thread(count_up, memory);
    offer(agent, memory, 8 * MIB);
    share(memory + MIB, 2 * MIB, XM_CODE_EXTENTS);
    CHECK_EQUAL(service_extent_count(&service), 1);
    CHECK_EQUAL(service_extents(&service)->length, 2 * MIB);
    CHECK_EQUAL(service.beside.count, 2);
    struct xm_descriptor_facts facts;
    CHECK_EQUAL(xm_memfd_accept(service.beside.descriptors[0], true, &facts), 0);
    CHECK_EQUAL(xm_memfd_accept(service.beside.descriptors[1], false, &facts), 0);
    service_close_descriptors(&service);
    share(memory, 8 * MIB, XM_CODE_EXTENTS);
    const _Atomic uint64_t *view = view_extents(8 * MIB);
    uint64_t now = atomic_load(&view[0]);
    WAIT_UNTIL(atomic_load(&view[0]) > now);
    atomic_store(&stop, true);
    void *count;
    pthread_join(writer, &count);
    for (size_t i = 0; i < 8 * MIB / sizeof *view; i += 600)
        CHECK_EQUAL(atomic_load(&view[i]), (uintptr_t)count);
    munmap((void *)(uintptr_t)view, 8 * MIB);
    service_close_descriptors(&service);
    munmap(memory, 8 * MIB);
    close_all(agent);
}

static void only_fit_and_offered_memory_is_shared(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    char *memory = map_private(16 * PAGE);
    share(memory, PAGE, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EACCES);
    uint32_t id = offer(agent, memory, 16 * PAGE);
    share(memory, 17 * PAGE, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EACCES);
    share(memory + 1, PAGE, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EINVAL);
    share(memory, -PAGE, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EINVAL);
    /* A read-only part stays so, a hole and an attachment are refused. */
    memory[0] = 5;
    CHECK_EQUAL(mprotect(memory, PAGE, PROT_READ), 0);
    share(memory, 2 * PAGE, XM_CODE_EXTENTS);
    service_close_descriptors(&service);
    CHECK_EQUAL(memory[0], 5);
    CHECK_EQUAL(shared_bytes(memory, 2 * PAGE), 2 * PAGE);
    int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    CHECK(read(zeros, memory, 1) < 0 && errno == EFAULT);
    CHECK_EQUAL(read(zeros, memory + PAGE, 1), 1);
    close(zeros);
    CHECK_EQUAL(munmap(memory + 4 * PAGE, PAGE), 0);
    share(memory + 3 * PAGE, 2 * PAGE, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EFAULT);
    /* Moved into no memfd of ours: somebody's attachment. */
    int attached = xm_memfd_create(PAGE);
    CHECK(mmap(memory + 6 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, attached,
               0) != MAP_FAILED);
    close(attached);
    share(memory + 5 * PAGE, 2 * PAGE, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EFAULT);
    CHECK_EQUAL(mprotect(memory + 8 * PAGE, PAGE, PROT_NONE), 0);
    share(memory + 8 * PAGE, PAGE, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EFAULT);
    xm_agent_withdraw(agent, &listener.listener, id);
    share(memory, PAGE, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EACCES);
    munmap(memory, 16 * PAGE);
    close_all(agent);
}

/* The place in the memfd is mapped elsewhere by now, so new memory at the old address gets another.
 */
static void memory_that_moved_away_is_not_overwritten(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    char *memory = map_private(4 * PAGE);
    offer(agent, memory, 4 * PAGE);
    strcpy(memory, "first");
    share(memory, 4 * PAGE, XM_CODE_EXTENTS);
    service_close_descriptors(&service);
    char *moved =
        mremap(memory, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, map_private(4 * PAGE));
    CHECK(moved != MAP_FAILED);
    CHECK(mmap(memory, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
               -1, 0) != MAP_FAILED);
    strcpy(memory, "second");
    share(memory, 4 * PAGE, XM_CODE_EXTENTS);
    service_close_descriptors(&service);
    CHECK(strcmp(moved, "first") == 0 && strcmp(memory, "second") == 0);
    munmap(memory, 4 * PAGE);
    munmap(moved, 4 * PAGE);
    close_all(agent);
}

static void a_rogue_sees_nothing_after_a_move(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct xm_region *region;
    CHECK_EQUAL(xm_region_create(4 * PAGE, false, &region), 0);
    char *memory = (char *)(uintptr_t)region->span.address;
    offer(agent, memory, 4 * PAGE);
    share(memory, 4 * PAGE, XM_CODE_EXTENTS);
    int kept = service.beside.descriptors[0];
    close(service.beside.descriptors[1]);
    volatile char *rogue = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, kept, 0);
    memory[PAGE] = 1;
    CHECK_EQUAL(rogue[PAGE], 1);
    service_ask(&service, XM_CODE_MOVE, (uintptr_t)memory, 4 * PAGE, XM_BYTES_MOVE, XM_CODE_DONE);
    CHECK_EQUAL(memory[PAGE], 1);
    memory[PAGE] = 2;
    memory[2 * PAGE] = 3;
    CHECK(rogue[PAGE] == 1 && rogue[2 * PAGE] == 0);
    rogue[3 * PAGE] = 9;
    CHECK_EQUAL(memory[3 * PAGE], 0);
    char seen = 0;
    int backing[2];
    uint64_t offset;
    CHECK_EQUAL(xm_backing_of((uintptr_t)memory + PAGE, PAGE, backing, &offset), 0);
    CHECK_EQUAL(pread(backing[1], &seen, 1, (off_t)offset), 1);
    CHECK_EQUAL(seen, 2);
    close(backing[0]);
    close(backing[1]);
    munmap((void *)(uintptr_t)rogue, 4 * PAGE);
    close(kept);
    close_all(agent);
    xm_region_destroy(region);
}

/* The attachers of the one that stays go on seeing it. */
static void memory_that_is_offered_twice_is_not_moved(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct xm_region *region;
    int backing[2];
    uint64_t offset;
    CHECK_EQUAL(xm_region_create(4 * PAGE, false, &region), 0);
    char *memory = (char *)(uintptr_t)region->span.address;
    uint32_t id = offer(agent, memory, 4 * PAGE);
    offer(agent, memory + 3 * PAGE, PAGE);
    CHECK_EQUAL(xm_backing_of((uintptr_t)memory + 3 * PAGE, PAGE, backing, &offset), 0);
    CHECK_EQUAL(offset, 3 * PAGE);
    service_ask(&service, XM_CODE_MOVE, (uintptr_t)memory, 4 * PAGE, XM_BYTES_MOVE,
                XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EBUSY);
    char seen = 0;
    memory[3 * PAGE] = 1;
    CHECK_EQUAL(pread(backing[1], &seen, 1, (off_t)offset), 1);
    CHECK_EQUAL(seen, 1);
    xm_agent_withdraw(agent, &listener.listener, id);
    service_ask(&service, XM_CODE_MOVE, (uintptr_t)memory + 3 * PAGE, PAGE, XM_BYTES_MOVE,
                XM_CODE_DONE);
    memory[3 * PAGE] = 2;
    CHECK_EQUAL(pread(backing[1], &seen, 1, (off_t)offset), 1);
    CHECK_EQUAL(seen, 1);
    close(backing[0]);
    close(backing[1]);
    close_all(agent);
    xm_region_destroy(region);
}

static void ignore_note(struct xm_owner *owner) {
    (void)owner;
}

static void a_revocation_is_over_when_it_is_answered(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct xm_owner owner;
    struct xm_grant_facts facts = {
        .apid = 4, .segid = 40, .length = PAGE, .writable = true, .stable = true};
    struct xm_row_extent row = {0, PAGE, 0, 0, 0};
    int file = xm_memfd_create(PAGE);
    int view = dup(file);
    xm_owner_open(&owner, ignore_note);
    CHECK_EQUAL(xm_grant_open(agent, &facts), 0);
    CHECK_EQUAL(xm_grant_extents(agent, 4, &row, 1, &file, 1), 0);
    struct xm_attach_request request = {.agent = agent, .apid = 4, .length = PAGE, .owner = &owner};
    struct xm_attachment *attachment;
    CHECK_EQUAL(xm_attach(&request, &attachment), 0);
    volatile char *memory = (char *)(uintptr_t)attachment->span.address;
    memory[0] = 1;
    service_ask(&service, XM_CODE_REPORT, 0, 0, XM_BYTES_REPORT, XM_CODE_HOLDINGS);
    CHECK_EQUAL(service.length, XM_BYTES_HOLDINGS + XM_ROW_BYTES_HOLDING);
    service_ask(&service, XM_CODE_REVOKE, 40, XM_REASON_REMOVED, XM_BYTES_REVOKE, XM_CODE_DONE);
    CHECK_EQUAL(memory[0], 0);
    memory[0] = 2;
    char seen;
    CHECK_EQUAL(pread(view, &seen, 1, 0), 1);
    CHECK_EQUAL(seen, 1);
    CHECK(fcntl(file, F_GETFD) < 0);
    service_ask(&service, XM_CODE_REPORT, 0, 0, XM_BYTES_REPORT, XM_CODE_HOLDINGS);
    CHECK_EQUAL(service.length, XM_BYTES_HOLDINGS);
    xm_owner_close(&owner);
    xm_attachment_free(attachment);
    close(view);
    close_all(agent);
}

/* Regions side by side: more memfds than an answer has room for, none of them too many. */
static void many_memfds_are_shared_bit_by_bit(void) {
    enum { REGIONS = 3 * XM_SURVEY_FILES };
    struct xm_agent *agent = connect_agent(&service, &listener);
    char *memory = map_private(REGIONS * PAGE);
    int old[REGIONS];
    for (size_t i = 0; i < REGIONS; i++) {
        struct xm_file *file;
        CHECK_EQUAL(xm_file_create(PAGE, XM_FILE_MOVED, &file), 0);
        old[i] = dup(file->descriptor);
        CHECK(mmap(memory + i * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                   file->descriptor, 0) != MAP_FAILED);
        memory[i * PAGE] = (char)(i + 1);
        xm_file_release(file);
    }
    offer(agent, memory, REGIONS * PAGE);
    size_t pages = 0;
    while (pages < REGIONS) {
        share(memory + pages * PAGE, (REGIONS - pages) * PAGE, XM_CODE_EXTENTS);
        CHECK(service_extent_count(&service) > 0);
        for (size_t i = 0; i < service_extent_count(&service); i++)
            CHECK_EQUAL(service_extents(&service)[i].offset, i * PAGE);
        pages += service_extent_count(&service);
        service_close_descriptors(&service);
    }
    CHECK_EQUAL(pages, REGIONS);
    service_ask(&service, XM_CODE_MOVE, (uintptr_t)memory, REGIONS * PAGE, XM_BYTES_MOVE,
                XM_CODE_DONE);
    for (size_t i = 0; i < REGIONS; i++) {
        char seen = 0;
        CHECK_EQUAL(memory[i * PAGE], (char)(i + 1));
        memory[i * PAGE] = 100;
        CHECK_EQUAL(pread(old[i], &seen, 1, 0), 1);
        CHECK_EQUAL(seen, (char)(i + 1));
        close(old[i]);
    }
    munmap(memory, REGIONS * PAGE);
    close_all(agent);
}

int main(void) {
    start_watchdog();
    RUN(it_comes_and_goes);
    RUN(it_can_be_closed_at_any_time);
    RUN(it_reconnects_and_tells_what_it_holds);
    RUN(live_memory_is_shared);
    RUN(only_fit_and_offered_memory_is_shared);
    RUN(memory_that_moved_away_is_not_overwritten);
    RUN(a_rogue_sees_nothing_after_a_move);
    RUN(memory_that_is_offered_twice_is_not_moved);
    RUN(a_revocation_is_over_when_it_is_answered);
    RUN(many_memfds_are_shared_bit_by_bit);
    return 0;
}
