/* What a service may say of a segment, and what must not be believed. */

#include <fcntl.h>
#include <sys/socket.h>

#include "../../native/core/extents.h"
#include "../../native/core/memory.h"
#include "harness.h"

#define SEGMENT (64 * PAGE)

static int make_memfd(void) {
    int descriptor = xm_memfd_create(SEGMENT);
    CHECK(descriptor >= 0);
    return descriptor;
}

static int add(struct xm_extents *extents, struct xm_row_extent row, int descriptor) {
    return xm_extents_add(extents, SEGMENT, XM_EXTENTS_WRITABLE, &row, 1, &descriptor, 1);
}

static void check_extent(const struct xm_extents *extents, size_t number, uint64_t offset,
                         uint64_t length, uint64_t file_offset) {
    CHECK(number < extents->count);
    CHECK_EQUAL(extents->items[number].offset, offset);
    CHECK_EQUAL(extents->items[number].length, length);
    CHECK_EQUAL(extents->items[number].file_offset, file_offset);
}

static void neighbours_are_merged_and_the_file_is_kept_once(void) {
    struct xm_extents extents = {0};
    int file = make_memfd();
    CHECK_EQUAL(add(&extents, (struct xm_row_extent){0, PAGE, 0, 0, 0}, dup(file)), 0);
    CHECK_EQUAL(add(&extents, (struct xm_row_extent){2 * PAGE, PAGE, 2 * PAGE, 0, 0}, dup(file)),
                0);
    CHECK_EQUAL(extents.count, 2);
    CHECK_EQUAL(add(&extents, (struct xm_row_extent){PAGE, PAGE, PAGE, 0, 0}, dup(file)), 0);
    CHECK_EQUAL(extents.source_count, 1);
    CHECK_EQUAL(extents.count, 1);
    check_extent(&extents, 0, 0, 3 * PAGE, 0);
    CHECK(xm_extents_find(&extents, 3 * PAGE - 1) == &extents.items[0]);
    CHECK(xm_extents_find(&extents, 3 * PAGE) == NULL);
    xm_extents_clear(&extents);
    close(file);
}

static void the_latest_word_holds(void) {
    struct xm_extents extents = {0};
    CHECK_EQUAL(add(&extents, (struct xm_row_extent){0, 10 * PAGE, 0, 0, 0}, make_memfd()), 0);
    CHECK_EQUAL(add(&extents, (struct xm_row_extent){4 * PAGE, 2 * PAGE, 0, 0, 0}, make_memfd()),
                0);
    CHECK_EQUAL(extents.count, 3);
    check_extent(&extents, 0, 0, 4 * PAGE, 0);
    check_extent(&extents, 1, 4 * PAGE, 2 * PAGE, 0);
    check_extent(&extents, 2, 6 * PAGE, 4 * PAGE, 6 * PAGE);
    CHECK_EQUAL(add(&extents, (struct xm_row_extent){0, SEGMENT, 0, 0, 0}, make_memfd()), 0);
    CHECK_EQUAL(extents.count, 1);
    xm_extents_clear(&extents);
}

static void rows_that_do_not_fit_are_refused(void) {
    static const struct xm_row_extent bad[] = {
        {1, PAGE, 0, 0, 0},
        {0, PAGE - 1, 0, 0, 0},
        {0, PAGE, 7, 0, 0},
        {0, 0, 0, 0, 0},
        {SEGMENT, PAGE, 0, 0, 0},
        {0, SEGMENT + PAGE, 0, 0, 0},
        {-PAGE, 2 * PAGE, 0, 0, 0},
        {0, -PAGE, PAGE, 0, 0},
        {0, 2 * PAGE, SEGMENT - PAGE, 0, 0},
        {0, 2 * PAGE, -PAGE, 0, 0},
        {0, PAGE, 0, 1, 0},
        {0, PAGE, 0, UINT32_MAX, 0},
    };
    struct xm_extents extents = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int file = make_memfd();
        CHECK_EQUAL(add(&extents, bad[i], file), -EPROTO);
        CHECK(fcntl(file, F_GETFD) < 0);
        CHECK_EQUAL(extents.count, 0);
        CHECK_EQUAL(extents.source_count, 0);
    }
}

static void descriptors_of_another_kind_are_refused(void) {
    struct xm_extents extents = {0};
    struct xm_row_extent row = {0, PAGE, 0, 0, 0};
    int pair[2];
    CHECK_EQUAL(add(&extents, row, open("/dev/zero", O_RDWR)), -EPROTO);
    CHECK_EQUAL(add(&extents, row, open("/proc/self/exe", O_RDONLY)), -EPROTO);
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CHECK_EQUAL(add(&extents, row, pair[0]), -EPROTO);
    close(pair[1]);
    /* It could be shrunk under the mapping. */
    int unsealed = memfd_create("unsealed", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    CHECK_EQUAL(ftruncate(unsealed, SEGMENT), 0);
    CHECK_EQUAL(add(&extents, row, unsealed), -EPROTO);
    /* A permit for writing needs a writable one, a permit for reading must not get one. */
    int file = make_memfd();
    CHECK_EQUAL(add(&extents, row, xm_reopen_read_only(file)), -EPROTO);
    int copy = dup(file);
    CHECK_EQUAL(xm_extents_add(&extents, SEGMENT, 0, &row, 1, &copy, 1), -EPROTO);
    int readable = xm_reopen_read_only(file);
    CHECK_EQUAL(xm_extents_add(&extents, SEGMENT, 0, &row, 1, &readable, 1), 0);
    xm_extents_clear(&extents);
    close(file);
}

int main(void) {
    start_watchdog();
    RUN(neighbours_are_merged_and_the_file_is_kept_once);
    RUN(the_latest_word_holds);
    RUN(rows_that_do_not_fit_are_refused);
    RUN(descriptors_of_another_kind_are_refused);
    return 0;
}
