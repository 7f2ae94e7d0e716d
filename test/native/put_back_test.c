/* What is told of pages that were put back after a service had ended. */

#include <sys/mman.h>
#include <sys/stat.h>

#include "../../native/core/lock.h"
#include "../../native/core/memory.h"
#include "../../native/core/pager.h"
#include "harness.h"

#define PAGE 4096UL
#define PAGES 8
#define BYTES (PAGES * PAGE)

static bool all_concern(const void *agent, const struct xm_vma *vma) {
    (void)agent;
    (void)vma;
    return true;
}

static void check_range(const struct xm_row_range *range, const char *memory, size_t first,
                        size_t count) {
    CHECK_EQUAL(range->address, (uintptr_t)memory + first * PAGE);
    CHECK_EQUAL(range->length, count * PAGE);
}

static const size_t away[] = {1, 3, 5, 6};
#define AWAY (sizeof away / sizeof *away)

/* A pager that has put so many of these pages of some memory back. */
static char *put_back(struct xm_pager *pager, size_t count) {
    struct xm_row_mapping mappings[1];
    struct stat status;
    int file = xm_memfd_create(BYTES);
    int aside = xm_memfd_create(BYTES);
    CHECK(file >= 0 && aside >= 0);
    for (size_t i = 0; i < count; i++)
        CHECK_EQUAL(pwrite(aside, "x", 1, (off_t)(away[i] * PAGE)), 1);
    char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(memory != MAP_FAILED);
    CHECK_EQUAL(fstat(file, &status), 0);
    xm_pager_init(pager, NULL, all_concern);
    CHECK_EQUAL(xm_pager_arm(pager, status.st_dev, status.st_ino, aside, mappings, 1), 1);
    xm_pager_end(pager, true);
    CHECK(!xm_pager_has(NULL, status.st_dev, status.st_ino));
    for (size_t i = 0; i < count; i++)
        CHECK_EQUAL(memory[away[i] * PAGE], 'x');
    close(file);
    return memory;
}

static void each_run_of_pages_is_told_until_a_service_was(void) {
    struct xm_pager pager;
    struct xm_row_range ranges[4];
    xm_lock();
    char *memory = put_back(&pager, AWAY);
    for (int times = 0; times < 2; times++) {
        CHECK_EQUAL(xm_pager_put_back(&pager, ranges, 4), 3);
        check_range(&ranges[0], memory, 1, 1);
        check_range(&ranges[1], memory, 3, 1);
        check_range(&ranges[2], memory, 5, 2);
    }
    xm_pager_told(&pager);
    CHECK_EQUAL(xm_pager_put_back(&pager, ranges, 4), 0);
    xm_pager_close(&pager);
    xm_unlock();
    munmap(memory, BYTES);
}

static void the_last_range_reaches_to_the_end_where_there_is_no_room(void) {
    struct xm_pager pager;
    struct xm_row_range ranges[2];
    xm_lock();
    char *memory = put_back(&pager, AWAY);
    CHECK_EQUAL(xm_pager_put_back(&pager, ranges, 2), 2);
    check_range(&ranges[0], memory, 1, 1);
    check_range(&ranges[1], memory, 3, 4);
    xm_pager_close(&pager);
    xm_unlock();
    munmap(memory, BYTES);
}

static void what_was_unmapped_since_is_not_told(void) {
    struct xm_pager pager;
    struct xm_row_range ranges[4];
    xm_lock();
    char *memory = put_back(&pager, AWAY);
    munmap(memory + 2 * PAGE, 4 * PAGE);
    CHECK_EQUAL(xm_pager_put_back(&pager, ranges, 4), 2);
    check_range(&ranges[0], memory, 1, 1);
    check_range(&ranges[1], memory, 6, 1);
    xm_pager_close(&pager);
    xm_unlock();
    munmap(memory, BYTES);
}

static void nothing_is_kept_of_a_file_that_has_nothing_aside(void) {
    struct xm_pager pager;
    struct xm_row_range ranges[4];
    xm_lock();
    char *memory = put_back(&pager, 0);
    CHECK_EQUAL(pager.count, 0);
    CHECK_EQUAL(xm_pager_put_back(&pager, ranges, 4), 0);
    xm_pager_close(&pager);
    xm_unlock();
    munmap(memory, BYTES);
}

int main(void) {
    start_watchdog();
    RUN(each_run_of_pages_is_told_until_a_service_was);
    RUN(the_last_range_reaches_to_the_end_where_there_is_no_room);
    RUN(what_was_unmapped_since_is_not_told);
    RUN(nothing_is_kept_of_a_file_that_has_nothing_aside);
    return 0;
}
