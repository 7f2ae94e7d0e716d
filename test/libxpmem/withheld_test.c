/* Memory that its owner cannot share, in the range of an attach. */

#include <fcntl.h>

#include "fake.h"

static struct fake fake;

#define WITHHELD(reason) (XM_EXTENT_FLAG_WITHHELD | (reason) << XM_WITHHELD_SHIFT)

static struct xm_row_extent withheld(uint64_t page, uint32_t reason) {
    return (struct xm_row_extent){page * PAGE, PAGE, 0, XM_HOLE, WITHHELD(reason)};
}

/* Answers the attach of all four pages, of which as many as files are told are shared. */
static void answer(const struct xm_row_extent *rows, size_t row_count, size_t files) {
    int file = files == 0 ? -1 : file_of(1, 'a');
    fake_receive(&fake, XM_CODE_ATTACH);
    fake_extents(&fake, fake.message.header.request, rows, row_count, &file, files);
}

static struct job attach_job(size_t pages) {
    return (struct job){.call = JOB_ATTACH, .id = 6, .size = pages * PAGE};
}

/* Standard error goes there until `end_listening`. */
static int begin_listening(int pipes[2]) {
    int before = dup(STDERR_FILENO);
    CHECK_EQUAL(pipe(pipes), 0);
    CHECK_EQUAL(dup2(pipes[1], STDERR_FILENO), STDERR_FILENO);
    close(pipes[1]);
    return before;
}

/* Has the attach begin, with a permit, and listens to what is said of it. */
static int begin(struct job *attach, int pipes[2]) {
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    int before = begin_listening(pipes);
    job_start(attach);
    return before;
}

static const char *end_listening(const int pipes[2], int before) {
    static char said[1024];
    CHECK_EQUAL(dup2(before, STDERR_FILENO), STDERR_FILENO);
    close(before);
    ssize_t length = read(pipes[0], said, sizeof said - 1);
    close(pipes[0]);
    CHECK(length >= 0);
    said[length] = '\0';
    return said;
}

static void it_is_a_hole_beside_what_is_shared_and_the_reason_is_told(void) {
    struct job attach = attach_job(3);
    const struct xm_row_extent first[] = {withheld(0, XM_WITHHELD_TEXT)};
    const struct xm_row_extent rest[] = {{PAGE, PAGE, 0, 0, 0},
                                         withheld(2, XM_WITHHELD_ATTACHMENT)};
    int pipes[2];
    int before = begin(&attach, pipes);
    answer(first, 1, 0);
    answer(rest, 2, 1);
    char *memory = (char *)(intptr_t)job_end(&attach);
    const char *said = end_listening(pipes, before);
    CHECK(memory != (char *)-1);
    CHECK_EQUAL(fault_at(memory), SIGBUS);
    CHECK_EQUAL(memory[PAGE], 'a');
    CHECK_EQUAL(fault_at(memory + 2 * PAGE), SIGBUS);
    CHECK(strstr(said, "0x1000 bytes at offset 0x0 are a hole: this is a program's text") != NULL);
    CHECK(strstr(said, "0x1000 bytes at offset 0x2000 are a hole: this is an attachment") != NULL);
    fake_stop(&fake);
}

static void with_nothing_beside_it_it_is_EFAULT(void) {
    struct job attach = attach_job(2);
    const struct xm_row_extent first[] = {{0, PAGE, 0, XM_HOLE, 0}};
    /* A service that is younger may know more reasons. */
    const struct xm_row_extent rest[] = {withheld(1, 999)};
    int pipes[2];
    int before = begin(&attach, pipes);
    answer(first, 1, 0);
    answer(rest, 1, 0);
    job_fails(&attach, EFAULT);
    const char *said = end_listening(pipes, before);
    CHECK(strstr(said, "xpmem: attach: EFAULT: 0x1000 bytes at offset 0x1000: this memory cannot "
                       "be shared\n") != NULL);
    fake_stop(&fake);
}

int main(void) {
    /* It counts as it is at the first call. */
    CHECK_EQUAL(setenv("XPMEM_DEBUG", "1", 1), 0);
    RUN_ALONE(it_is_a_hole_beside_what_is_shared_and_the_reason_is_told);
    RUN_ALONE(with_nothing_beside_it_it_is_EFAULT);
    return 0;
}
