/* What of a range is shared how, as the agent tells it. */

#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "../../native/core/agent_parts.h"
#include "../../native/core/userfault.h"
#include "../../native/core/withheld.h"
#include "moving.h"

#define CHUNK (16 * PAGE)

static struct service service;
static struct counting_listener listener;
static struct xm_agent *agent;

static void begin(void) {
    agent = connect_agent(&service, &listener);
}

static void end(void) {
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* Has a range shared, in which there may be holes. The rows are the service's. */
static const struct xm_row_extent *share_holes(const void *memory, size_t length, size_t rows) {
    struct xm_msg_share request = {{XM_CODE_SHARE, 0, ++service.requests},
                                   (uintptr_t)memory,
                                   length,
                                   INT64_MAX,
                                   XM_SHARE_FLAG_HOLES,
                                   0};
    service_send(&service, &request, XM_BYTES_SHARE);
    service_receive(&service);
    CHECK_EQUAL(service.message.header.code, XM_CODE_EXTENTS);
    CHECK_EQUAL(service_extent_count(&service), rows);
    service_close_descriptors(&service);
    return service_extents(&service);
}

static void share_fails(const void *memory, size_t length) {
    service_ask(&service, XM_CODE_SHARE, (uintptr_t)memory, length, XM_BYTES_SHARE,
                XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EFAULT);
}

static void check_withheld(const struct xm_row_extent *row, const char *memory, uint32_t reason) {
    struct xm_vma vma = mapping_of(memory + row->offset);
    CHECK_EQUAL(row->descriptor, XM_HOLE);
    CHECK_EQUAL(row->flags, XM_EXTENT_FLAG_WITHHELD | reason << XM_WITHHELD_SHIFT);
    CHECK_EQUAL(row->file_offset, xm_withheld_mark(&vma, (uintptr_t)memory + row->offset));
}

/* A file that nobody finds, of that many pages. */
static int make_file(size_t pages) {
    char path[] = "/tmp/xpmem-test-file-XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0 && unlink(path) == 0);
    CHECK_EQUAL(ftruncate(file, (off_t)(pages * PAGE)), 0);
    return file;
}

/* Maps a file over a part of memory. */
static void map_file_at(char *memory, size_t pages, int protection, int file) {
    CHECK(mmap(memory, pages * PAGE, protection, MAP_PRIVATE | MAP_FIXED, file, 0) == memory);
    close(file);
}

static void text_is_withheld_between_other_memory(void) {
    begin();
    char *memory = map_private(5 * PAGE);
    memset(memory, 1, 5 * PAGE);
    map_file_at(memory + 2 * PAGE, 1, PROT_READ | PROT_EXEC, make_file(1));
    offer(agent, &listener, memory, 5 * PAGE);
    share_fails(memory, 5 * PAGE);
    const struct xm_row_extent *rows = share_holes(memory, 5 * PAGE, 3);
    CHECK_EQUAL(rows[0].length, 2 * PAGE);
    check_withheld(&rows[1], memory, XM_WITHHELD_TEXT);
    CHECK_EQUAL(rows[2].offset, 3 * PAGE);
    CHECK_EQUAL(shared_bytes(memory, 5 * PAGE), 4 * PAGE);
    end();
}

static void the_memory_of_threads_of_xpmem_is_withheld(void) {
    begin();
    const char *stack = agent->arena->stack;
    offer(agent, &listener, stack, 4 * PAGE);
    share_fails(stack, 4 * PAGE);
    check_withheld(share_holes(stack, 4 * PAGE, 1), stack, XM_WITHHELD_OWN);
    /* Of its last page there is only a part. */
    uintptr_t arena_end = (uintptr_t)(agent->arena + 1);
    const char *last = (const char *)(arena_end & ~(PAGE - 1));
    CHECK(arena_end % PAGE != 0);
    offer(agent, &listener, last, PAGE);
    check_withheld(share_holes(last, PAGE, 1), last, XM_WITHHELD_OWN);
    end();
}

static void a_mark_tells_one_mapping_from_another(void) {
    struct xm_vma vma = {.start = 8 * PAGE,
                         .end = 16 * PAGE,
                         .protection = PROT_READ,
                         .device = 1,
                         .inode = 2,
                         .file_offset = PAGE};
    uint64_t mark = xm_withheld_mark(&vma, 8 * PAGE);
    CHECK(mark % PAGE == 0 && mark < UINT64_C(1) << 52);
    CHECK_EQUAL(xm_withheld_mark(&vma, 10 * PAGE), mark + 2 * PAGE);
    struct xm_vma others[] = {vma, vma, vma, vma, vma, vma};
    others[0].start -= PAGE;
    others[1].protection |= PROT_WRITE;
    others[2].device = 2;
    others[3].inode = 3;
    others[4].file_offset = 0;
    others[5].shared = true;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CHECK(xm_withheld_mark(&others[i], 8 * PAGE) != mark);
    /* A part of it was cut off. */
    struct xm_vma rest = vma;
    rest.start += 2 * PAGE;
    rest.file_offset += 2 * PAGE;
    rest.end -= PAGE;
    CHECK_EQUAL(xm_withheld_mark(&rest, 10 * PAGE), mark + 2 * PAGE);
    struct xm_vma stack = {.start = 8 * PAGE, .end = 16 * PAGE, .protection = PROT_READ};
    mark = xm_withheld_mark(&stack, 8 * PAGE);
    stack.end -= 7 * PAGE;
    CHECK_EQUAL(xm_withheld_mark(&stack, 8 * PAGE), mark);
    stack.start -= PAGE;
    CHECK(xm_withheld_mark(&stack, 8 * PAGE) != mark);
}

/* As far as there are pages it is moved, a chunk at a time. */
static void a_private_mapping_past_the_end_of_its_file_is_withheld(void) {
    struct xm_userfault_ability ability;
    xm_userfault_query(&ability);
    if (ability.mode != XM_USERFAULT_FULL)
        return;
    begin();
    char *memory = map_private(2 * CHUNK + PAGE);
    memset(memory, 1, 2 * CHUNK + PAGE);
    map_file_at(memory, 2 * CHUNK / PAGE, PROT_READ | PROT_WRITE, make_file(CHUNK / PAGE));
    offer(agent, &listener, memory, 2 * CHUNK + PAGE);
    const struct xm_row_extent *rows = share_holes(memory, 2 * CHUNK + PAGE, 3);
    CHECK_EQUAL(rows[0].length, CHUNK);
    CHECK(rows[0].descriptor != XM_HOLE);
    check_withheld(&rows[1], memory, XM_WITHHELD_IMMOVABLE);
    CHECK_EQUAL(rows[2].offset, 2 * CHUNK);
    CHECK(rows[2].descriptor != XM_HOLE);
    end();
}

/* Of the heap, of which whole chunks are moved otherwise. */
static void what_is_moved_for_a_small_offer_does_not_reach_beyond_it(void) {
    begin();
    uintptr_t start = (uintptr_t)sbrk((intptr_t)(4 * MIB));
    CHECK(start != (uintptr_t)-1);
    char *memory = (char *)((start + PAGE - 1) & ~(PAGE - 1));
    size_t length = 3 * MIB;
    memset(memory, 1, length);
    offer(agent, &listener, memory, length);
    offer(agent, &listener, memory + MIB + 5 * PAGE, PAGE);
    offer(agent, &listener, memory + MIB, MIB);
    const struct xm_row_extent *rows = share_holes(memory + MIB + 5 * PAGE, PAGE, 1);
    CHECK_EQUAL(rows[0].file_offset, 0);
    CHECK_EQUAL(shared_bytes(memory, length), PAGE);
    /* And of one that is offered with more its neighbours are moved. */
    share_holes(memory, PAGE, 1);
    CHECK(shared_bytes(memory, length) > 2 * PAGE);
    end();
}

/* A file that is mapped, and what has its name when it has none any more. */
struct swapped {
    char directory[40];
    char path[60];
    char *memory;
    int watch;
};

static void map_path(struct swapped *swapped) {
    strcpy(swapped->directory, "/tmp/xpmem-test-swap-XXXXXX");
    CHECK(mkdtemp(swapped->directory) != NULL && chmod(swapped->directory, 0755) == 0);
    snprintf(swapped->path, sizeof swapped->path, "%s/file", swapped->directory);
    int file = open(swapped->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(file >= 0 && ftruncate(file, PAGE) == 0 && fchmod(file, 0666) == 0);
    swapped->memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(swapped->memory != MAP_FAILED);
    close(file);
}

/* The kernel says so of a file that was unlinked. What opens the pipe is told of. */
static void swap(struct swapped *swapped) {
    CHECK_EQUAL(unlink(swapped->path), 0);
    strcat(swapped->path, " (deleted)");
    CHECK_EQUAL(strcmp(mapping_of(swapped->memory).name, swapped->path), 0);
    CHECK(mkfifo(swapped->path, 0600) == 0 && chmod(swapped->path, 0666) == 0);
    swapped->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    CHECK(inotify_add_watch(swapped->watch, swapped->path, IN_OPEN) >= 0);
}

/* All threads, so that the agent may not open what is mapped through /proc/self/map_files. */
static void become(uid_t user) {
    CHECK_EQUAL(seteuid(user), 0);
    CHECK_EQUAL(prctl(PR_SET_DUMPABLE, 1), 0);
}

static void what_came_in_the_place_of_a_file_is_not_opened(void) {
    struct swapped swapped;
    struct inotify_event event;
    uid_t user = geteuid();
    begin();
    map_path(&swapped);
    offer(agent, &listener, swapped.memory, PAGE);
    become(user == 0 ? 65534 : user);
    CHECK_EQUAL(share_holes(swapped.memory, PAGE, 1)->flags, 0);
    become(user);
    swap(&swapped);
    become(user == 0 ? 65534 : user);
    share_fails(swapped.memory, PAGE);
    become(user);
    CHECK_EQUAL(read(swapped.watch, &event, sizeof event), -1);
    CHECK_EQUAL(errno, EAGAIN);
    /* The test would have noticed. */
    close(open(swapped.path, O_RDWR | O_NONBLOCK | O_CLOEXEC));
    CHECK(read(swapped.watch, &event, sizeof event) > 0);
    CHECK_EQUAL(unlink(swapped.path), 0);
    CHECK_EQUAL(rmdir(swapped.directory), 0);
    end();
}

int main(void) {
    start_watchdog();
    RUN(text_is_withheld_between_other_memory);
    RUN(the_memory_of_threads_of_xpmem_is_withheld);
    RUN(a_mark_tells_one_mapping_from_another);
    RUN(a_private_mapping_past_the_end_of_its_file_is_withheld);
    RUN(what_is_moved_for_a_small_offer_does_not_reach_beyond_it);
    RUN(what_came_in_the_place_of_a_file_is_not_opened);
    return 0;
}
