/* What the service's answers to an attach are made into, and how attachments end. */

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "fake.h"

static struct fake fake;

static size_t open_descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;
    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

static bool is_mapped(const void *memory) {
    unsigned char resident;
    return mincore((void *)(uintptr_t)memory, PAGE, &resident) == 0;
}

/* Receives the question for where a range of permit 6 lies. */
static uint32_t receive_question(uint64_t offset, uint64_t length, uint32_t flags) {
    fake_receive(&fake, XM_CODE_ATTACH);
    CHECK_EQUAL(fake.message.attach.apid, 6);
    CHECK_EQUAL(fake.message.attach.offset, offset);
    CHECK_EQUAL(fake.message.attach.length, length);
    CHECK_EQUAL(fake.message.attach.flags, flags);
    return fake.message.header.request;
}

static void answer_row(uint32_t request, struct xm_row_extent row, int file) {
    fake_extents(&fake, request, &row, 1, &file, 1);
}

static struct job attach_job(off_t offset, size_t size, void *address) {
    return (struct job){
        .call = JOB_ATTACH, .id = 6, .offset = offset, .size = size, .memory = address};
}

/* Attaches all four pages of permit 6, which begin with 'a'. */
static char *attach_all(void) {
    struct job attach = attach_job(0, 4 * PAGE, NULL);
    job_start(&attach);
    uint32_t request = receive_question(0, 4 * PAGE, XM_ATTACH_FLAG_BUS);
    answer_row(request, (struct xm_row_extent){0, 4 * PAGE, 0, 0, 0}, file_of(4, 'a'));
    char *memory = (char *)(intptr_t)job_end(&attach);
    CHECK(memory != (char *)-1 && memory[0] == 'a');
    return memory;
}

static void release_permit(uint64_t apid) {
    struct job release = {.call = JOB_RELEASE, .id = (int64_t)apid};
    job_start(&release);
    fake_receive(&fake, XM_CODE_RELEASE);
    CHECK_EQUAL(fake.message.release.apid, apid);
    fake_done(&fake, fake.message.header.request);
    CHECK_EQUAL(job_end(&release), 0);
}

static void an_answer_in_parts_is_put_together(void) {
    struct job attach = attach_job(0, 4 * PAGE - 100, NULL);
    struct xm_row_extent rest[] = {{2 * PAGE, PAGE, 0, XM_HOLE, 0}, {3 * PAGE, PAGE, PAGE, 0, 0}};
    int file = file_of(2, 'c');
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    size_t before = open_descriptors();
    job_start(&attach);
    uint32_t request = receive_question(0, 4 * PAGE, XM_ATTACH_FLAG_BUS);
    answer_row(request, (struct xm_row_extent){0, PAGE, 0, 0, 0}, file_of(1, 'a'));
    request = receive_question(PAGE, 3 * PAGE, XM_ATTACH_FLAG_BUS);
    answer_row(request, (struct xm_row_extent){PAGE, PAGE, 0, 0, 0}, file_of(1, 'b'));
    request = receive_question(2 * PAGE, 2 * PAGE, XM_ATTACH_FLAG_BUS);
    fake_extents(&fake, request, rest, 2, &file, 1);
    char *memory = (char *)(intptr_t)job_end(&attach);
    CHECK(memory != (char *)-1);
    CHECK_EQUAL(memory[0], 'a');
    CHECK_EQUAL(memory[PAGE], 'b');
    CHECK_EQUAL(fault_at(memory + 2 * PAGE), SIGBUS);
    CHECK_EQUAL(memory[3 * PAGE], 'c');
    memory[3 * PAGE] = 'd';
    CHECK_EQUAL(open_descriptors(), before - 1);
    fake_stop(&fake);
}

static void an_answer_that_brings_nothing_is_EPROTO(void) {
    struct job attach = attach_job(PAGE, 2 * PAGE, NULL);
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    size_t before = open_descriptors();
    job_start(&attach);
    uint32_t request = receive_question(PAGE, 2 * PAGE, XM_ATTACH_FLAG_BUS);
    answer_row(request, (struct xm_row_extent){PAGE, PAGE, 0, 0, 0}, file_of(1, 'a'));
    request = receive_question(2 * PAGE, PAGE, XM_ATTACH_FLAG_BUS);
    answer_row(request, (struct xm_row_extent){PAGE, PAGE, 0, 0, 0}, file_of(1, 'a'));
    job_fails(&attach, EPROTO);
    CHECK_EQUAL(open_descriptors(), before);
    fake_stop(&fake);
}

static void rows_and_descriptors_that_do_not_fit_are_EPROTO(void) {
    static const struct xm_row_extent rows[] = {
        {0, 5 * PAGE, 0, 0, 0}, {0, PAGE, 0, 1, 0}, {8, PAGE, 0, 0, 0}, {0, PAGE, 4 * PAGE, 0, 0}};
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    size_t before = open_descriptors();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct job attach = attach_job(0, PAGE, NULL);
        job_start(&attach);
        answer_row(receive_question(0, PAGE, XM_ATTACH_FLAG_BUS), rows[i], file_of(4, 'a'));
        job_fails(&attach, EPROTO);
    }
    struct job attach = attach_job(0, PAGE, NULL);
    job_start(&attach);
    uint32_t request = receive_question(0, PAGE, XM_ATTACH_FLAG_BUS);
    answer_row(request, (struct xm_row_extent){0, PAGE, 0, 0, 0},
               open("/dev/null", O_RDWR | O_CLOEXEC));
    job_fails(&attach, EPROTO);
    CHECK_EQUAL(open_descriptors(), before);
    fake_stop(&fake);
}

static void descriptors_that_there_is_no_room_for_are_EMFILE(void) {
    struct job attach = attach_job(0, PAGE, NULL);
    struct rlimit before;
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    job_start(&attach);
    uint32_t request = receive_question(0, PAGE, XM_ATTACH_FLAG_BUS);
    int file = file_of(1, 'a');
    int next = dup(file);
    CHECK_EQUAL(close(next), 0);
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit full = {(rlim_t)next, before.rlim_max};
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &full), 0);
    struct xm_row_extent row = {0, PAGE, 0, 0, 0};
    struct {
        struct xm_msg_extents message;
        struct xm_row_extent row;
    } extents = {{{XM_CODE_EXTENTS, 0, request}}, row};
    send_to(fake.control, &extents, sizeof extents, &file, 1);
    job_fails(&attach, EMFILE);
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(file);
    (void)attach_all();
    fake_stop(&fake);
}

static void a_stable_segment_is_asked_for_once(void) {
    struct job attach = attach_job(0, 4 * PAGE, NULL);
    fake_start(&fake);
    get_permit(&fake, 6, XM_GOT_FLAG_STABLE);
    job_start(&attach);
    uint32_t request = receive_question(0, 4 * PAGE, 0);
    answer_row(request, (struct xm_row_extent){0, PAGE, 0, 0, 0}, file_of(1, 'a'));
    request = receive_question(PAGE, 3 * PAGE, 0);
    answer_row(request, (struct xm_row_extent){PAGE, 3 * PAGE, 0, 0, 0}, file_of(3, 'b'));
    char *memory = (char *)(intptr_t)job_end(&attach);
    CHECK_EQUAL(memory[0], 'a');
    CHECK_EQUAL(memory[3 * PAGE], 'b');
    for (int page = 0; page < 4; page++) {
        struct xpmem_addr address = {6, page * (off_t)PAGE};
        char *one = xpmem_attach(address, PAGE, NULL);
        CHECK(one != (char *)-1 && *one == (page == 0 ? 'a' : 'b'));
    }
    fake_stop(&fake);
}

static void another_segment_is_asked_for_each_time(void) {
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    char *first = attach_all();
    char *second = attach_all();
    first[1] = 'x';
    CHECK(first != second && second[1] == 0);
    fake_stop(&fake);
}

static void a_range_past_the_end_is_EINVAL(void) {
    struct xpmem_addr far = {6, 4 * PAGE};
    struct xpmem_addr near = {6, 3 * PAGE};
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    CHECK(xpmem_attach(far, PAGE, NULL) == (void *)-1);
    CHECK_EQUAL(errno, EINVAL);
    CHECK(xpmem_attach(near, PAGE + 1, NULL) == (void *)-1);
    CHECK_EQUAL(errno, EINVAL);
    fake_stop(&fake);
}

/* Starts to attach the first page, which begins with 'a', at an address, and answers. */
static void attach_page(struct job *attach) {
    job_start(attach);
    uint32_t request = receive_question(0, PAGE, XM_ATTACH_FLAG_BUS);
    answer_row(request, (struct xm_row_extent){0, PAGE, 0, 0, 0}, file_of(1, 'a'));
}

static void ordinary_memory_is_attached_over_and_an_attachment_is_EINVAL(void) {
    /* Far from where the kernel and sanitizers put things by themselves. */
    char *room = mmap((void *)0x7e9000000000, 4 * PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct job attach = attach_job(0, PAGE, room);
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    attach_page(&attach);
    CHECK_EQUAL(job_end(&attach), (intptr_t)room);
    CHECK_EQUAL(room[0], 'a');
    CHECK_EQUAL(room[PAGE], 0);
    room[0] = 'b';
    attach_page(&attach);
    job_fails(&attach, EINVAL);
    CHECK_EQUAL(room[0], 'b');
    CHECK_EQUAL(xpmem_detach(room), 0);
    attach_page(&attach);
    CHECK_EQUAL(job_end(&attach), (intptr_t)room);
    CHECK_EQUAL(room[0], 'a');
    fake_stop(&fake);
}

static void a_revocation_that_overtakes_the_answer_is_ENOENT(void) {
    struct job attach = attach_job(0, PAGE, NULL);
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    size_t before = open_descriptors();
    job_start(&attach);
    uint32_t request = receive_question(0, PAGE, XM_ATTACH_FLAG_BUS);
    fake_revoke(&fake, 506, XM_REASON_REMOVED);
    answer_row(request, (struct xm_row_extent){0, PAGE, 0, 0, 0}, file_of(1, 'a'));
    job_fails(&attach, ENOENT);
    CHECK_EQUAL(open_descriptors(), before);
    fake_stop(&fake);
}

static void what_is_revoked_raises_SIGBUS_and_can_be_detached_and_released(void) {
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    char *first = attach_all();
    char *second = attach_all();
    fake_revoke(&fake, 506, XM_REASON_REMOVED);
    CHECK_EQUAL(fault_at(first), SIGBUS);
    CHECK_EQUAL(fault_at(second + 3 * PAGE), SIGBUS);
    CHECK_EQUAL(xpmem_detach(first), 0);
    CHECK(!is_mapped(first));
    release_permit(6);
    CHECK(!is_mapped(second));
    CHECK_EQUAL(xpmem_detach(second), 0);
    fake_stop(&fake);
}

static void what_an_owner_leaves_is_taken_unless_it_was_to_be_kept_at_the_first_call(void) {
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    CHECK_EQUAL(setenv("XPMEM_OWNER_EXIT", "keep", 1), 0);
    char *taken = attach_all();
    fake_revoke(&fake, 506, XM_REASON_OWNER_EXIT);
    CHECK_EQUAL(fault_at(taken), SIGBUS);
    fake_stop(&fake);
}

static void what_is_to_be_kept_stays_when_the_owner_ends_and_goes_when_it_removes(void) {
    fake_start(&fake);
    CHECK_EQUAL(setenv("XPMEM_OWNER_EXIT", "keep", 1), 0);
    get_permit(&fake, 6, 0);
    char *kept = attach_all();
    fake_revoke(&fake, 506, XM_REASON_OWNER_EXIT);
    CHECK_EQUAL(fault_at(kept), 0);
    fake_revoke(&fake, 506, XM_REASON_REMOVED);
    CHECK_EQUAL(fault_at(kept), SIGBUS);
    fake_stop(&fake);
}

static void a_detach_takes_the_whole_attachment(void) {
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    char *memory = attach_all();
    char *other = attach_all();
    CHECK_EQUAL(xpmem_detach(memory + 2 * PAGE + 5), 0);
    CHECK(!is_mapped(memory) && !is_mapped(memory + 3 * PAGE));
    CHECK_EQUAL(xpmem_detach(memory), 0);
    CHECK_EQUAL(other[0], 'a');
    fake_stop(&fake);
}

static void a_release_takes_all_attachments_of_the_permit(void) {
    fake_start(&fake);
    get_permit(&fake, 5, 0);
    get_permit(&fake, 6, 0);
    char *first = attach_all();
    char *second = attach_all();
    release_permit(5);
    CHECK_EQUAL(first[0], 'a');
    release_permit(6);
    CHECK_EQUAL(fault_at(first), SIGSEGV);
    CHECK_EQUAL(fault_at(second), SIGSEGV);
    struct job again = {.call = JOB_RELEASE, .id = 6};
    job_start(&again);
    fake_receive(&fake, XM_CODE_RELEASE);
    fake_fail(&fake, fake.message.header.request, ENOENT);
    job_fails(&again, ENOENT);
    fake_stop(&fake);
}

static void a_permit_that_its_service_forgot_can_be_released_once(void) {
    struct job release = {.call = JOB_RELEASE, .id = 6};
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    fake_die(&fake);
    fake_connect(&fake);
    fake_receive(&fake, XM_CODE_RESTORE);
    fake_fail(&fake, fake.message.header.request, ENOENT);
    job_start(&release);
    fake_receive(&fake, XM_CODE_RELEASE);
    fake_fail(&fake, fake.message.header.request, ENOENT);
    CHECK_EQUAL(job_end(&release), 0);
    fake_stop(&fake);
}

static void a_permit_that_is_not_known_here_is_asked_for(void) {
    struct job attach = attach_job(0, PAGE, NULL);
    fake_start(&fake);
    for (int number = 0; number < 2; number++) {
        job_start(&attach);
        if (fake.control < 0)
            fake_connect(&fake);
        fake_receive(&fake, XM_CODE_DESCRIBE);
        CHECK_EQUAL(fake.message.describe.apid, 6);
        fake_fail(&fake, fake.message.header.request, number == 0 ? EACCES : ENOENT);
        job_fails(&attach, number == 0 ? EACCES : ENOENT);
    }
    job_start(&attach);
    fake_receive(&fake, XM_CODE_DESCRIBE);
    fake_got(&fake, fake.message.header.request, 6, 0);
    uint32_t request = receive_question(0, PAGE, XM_ATTACH_FLAG_BUS);
    answer_row(request, (struct xm_row_extent){0, PAGE, 0, 0, 0}, file_of(1, 'a'));
    CHECK_EQUAL(*(char *)(intptr_t)job_end(&attach), 'a');
    fake_stop(&fake);
}

static void a_forked_child_has_no_attachment(void) {
    int status;
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    char *memory = attach_all();
    pid_t child = fork();
    if (child == 0) {
        CHECK(!is_mapped(memory));
        CHECK_EQUAL(xpmem_detach(memory), 0);
        _exit(0);
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(memory[0], 'a');
    CHECK_EQUAL(xpmem_detach(memory), 0);
    fake_stop(&fake);
}

#define THREADS 4
#define ROUNDS 200

/* Attaches and detaches a stable segment, which takes no service. */
static void *attach_and_detach(void *argument) {
    struct xpmem_addr address = {6, 0};
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        char *memory = xpmem_attach(address, 4 * PAGE, NULL);
        CHECK(memory != (char *)-1 && memory[0] == 'a');
        CHECK_EQUAL(xpmem_detach(memory + i % 4 * PAGE), 0);
    }
    return NULL;
}

static void many_threads_attach_and_detach_at_once(void) {
    struct job attach = attach_job(0, 4 * PAGE, NULL);
    pthread_t threads[THREADS];
    fake_start(&fake);
    get_permit(&fake, 6, XM_GOT_FLAG_STABLE);
    job_start(&attach);
    uint32_t request = receive_question(0, 4 * PAGE, 0);
    answer_row(request, (struct xm_row_extent){0, 4 * PAGE, 0, 0, 0}, file_of(4, 'a'));
    char *memory = (char *)(intptr_t)job_end(&attach);
    for (int i = 0; i < THREADS; i++)
        threads[i] = start_thread(attach_and_detach, NULL);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
    CHECK_EQUAL(memory[0], 'a');
    fake_stop(&fake);
}

int main(void) {
    RUN_ALONE(an_answer_in_parts_is_put_together);
    RUN_ALONE(an_answer_that_brings_nothing_is_EPROTO);
    RUN_ALONE(rows_and_descriptors_that_do_not_fit_are_EPROTO);
    RUN_ALONE(descriptors_that_there_is_no_room_for_are_EMFILE);
    RUN_ALONE(a_stable_segment_is_asked_for_once);
    RUN_ALONE(another_segment_is_asked_for_each_time);
    RUN_ALONE(a_range_past_the_end_is_EINVAL);
    RUN_ALONE(ordinary_memory_is_attached_over_and_an_attachment_is_EINVAL);
    RUN_ALONE(a_revocation_that_overtakes_the_answer_is_ENOENT);
    RUN_ALONE(what_is_revoked_raises_SIGBUS_and_can_be_detached_and_released);
    RUN_ALONE(what_an_owner_leaves_is_taken_unless_it_was_to_be_kept_at_the_first_call);
    RUN_ALONE(what_is_to_be_kept_stays_when_the_owner_ends_and_goes_when_it_removes);
    RUN_ALONE(a_detach_takes_the_whole_attachment);
    RUN_ALONE(a_release_takes_all_attachments_of_the_permit);
    RUN_ALONE(a_permit_that_its_service_forgot_can_be_released_once);
    RUN_ALONE(a_permit_that_is_not_known_here_is_asked_for);
    RUN_ALONE(a_forked_child_has_no_attachment);
    RUN_ALONE(many_threads_attach_and_detach_at_once);
    return 0;
}
