/* What goes over the control connection. */

#include "../../native/core/agent.h"
#include "fake.h"

#define THREADS 8

static struct fake fake;

static void version_is_that_of_the_interface(void) {
    fake_start(&fake);
    open_session(&fake);
    fake_stop(&fake);
}

static void make_says_what_is_offered(void) {
    void *memory = map_private(2 * PAGE);
    fake_start(&fake);
    make_segment(&fake, memory, 2 * PAGE, 5);
    const struct xm_msg_make *make = &fake.message.make;
    CHECK_EQUAL(make->segid, 0);
    CHECK_EQUAL(make->address, (uintptr_t)memory);
    CHECK_EQUAL(make->length, 2 * PAGE);
    CHECK_EQUAL(make->data_length, 2 * PAGE);
    CHECK_EQUAL(make->mode, 0640);
    CHECK_EQUAL(make->flags, 0);
    CHECK_EQUAL(fake.length, XM_BYTES_MAKE);
    CHECK_EQUAL(xm_agents_offered((uintptr_t)memory, 2 * PAGE), 1);
    fake_stop(&fake);
}

static void a_removed_segment_is_offered_no_more(void) {
    void *memory = map_private(PAGE);
    static const uint32_t refusals[] = {0, ENOENT, ETIMEDOUT};
    fake_start(&fake);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct job remove = {.call = JOB_REMOVE, .id = (int64_t)(5 + i)};
        make_segment(&fake, memory, PAGE, 5 + i);
        job_start(&remove);
        fake_receive(&fake, XM_CODE_REMOVE);
        CHECK_EQUAL(fake.message.remove.segid, 5 + i);
        CHECK_EQUAL(xm_agents_offered((uintptr_t)memory, PAGE), 1);
        if (refusals[i] == 0)
            fake_done(&fake, fake.message.header.request);
        else
            fake_fail(&fake, fake.message.header.request, refusals[i]);
        CHECK_EQUAL(job_end(&remove), refusals[i] == 0 ? 0 : -1);
        CHECK_EQUAL(remove.error, refusals[i]);
        CHECK_EQUAL(xm_agents_offered((uintptr_t)memory, PAGE), 0);
    }
    fake_stop(&fake);
}

static void a_refusal_is_the_errno_of_the_call(void) {
    struct job get = {.call = JOB_GET, .id = 4};
    void *memory = map_private(PAGE);
    struct job make = {.call = JOB_MAKE, .memory = memory, .size = PAGE};
    fake_start(&fake);
    job_start(&get);
    fake_connect(&fake);
    fake_receive(&fake, XM_CODE_GET);
    fake_fail(&fake, fake.message.header.request, ESRCH);
    job_fails(&get, ESRCH);
    job_start(&make);
    fake_receive(&fake, XM_CODE_MAKE);
    fake_fail(&fake, fake.message.header.request, EMFILE);
    job_fails(&make, EMFILE);
    CHECK_EQUAL(xm_agents_offered((uintptr_t)memory, PAGE), 0);
    fake_stop(&fake);
}

static void calls_of_eight_threads_are_answered_in_any_order(void) {
    fake_start(&fake);
    for (int round = 0; round < 100; round++) {
        struct job jobs[THREADS];
        uint32_t requests[THREADS];
        for (int i = 0; i < THREADS; i++) {
            jobs[i] = (struct job){.call = JOB_GET, .id = 100 + i};
            job_start(&jobs[i]);
        }
        if (round == 0)
            fake_connect(&fake);
        for (int i = 0; i < THREADS; i++) {
            fake_receive(&fake, XM_CODE_GET);
            requests[fake.message.get.segid - 100] = fake.message.header.request;
        }
        for (int i = THREADS - 1; i >= 0; i--)
            fake_got(&fake, requests[(i + round) % THREADS],
                     (uint64_t)(1 + round * THREADS + (i + round) % THREADS), 0);
        for (int i = 0; i < THREADS; i++)
            CHECK_EQUAL(job_end(&jobs[i]), 1 + round * THREADS + i);
    }
    fake_stop(&fake);
}

static void a_call_that_waits_does_not_hold_up_others(void) {
    struct job slow = {.call = JOB_REMOVE, .id = 3};
    fake_start(&fake);
    job_start(&slow);
    fake_connect(&fake);
    fake_receive(&fake, XM_CODE_REMOVE);
    uint32_t request = fake.message.header.request;
    for (uint64_t apid = 1; apid <= 20; apid++)
        get_permit(&fake, apid, 0);
    fake_done(&fake, request);
    CHECK_EQUAL(job_end(&slow), 0);
    fake_stop(&fake);
}

/* Answers a get with something; the process must then connect again, and the get has failed. */
static void answer_nonsense(const void *message, size_t length) {
    struct job get = {.call = JOB_GET, .id = 42};
    job_start(&get);
    fake_receive(&fake, XM_CODE_GET);
    send_to(fake.control, message, length, NULL, 0);
    fake_receive_from(&fake, fake.control);
    CHECK_EQUAL(fake.length, 0);
    fake_close(&fake.control);
    CHECK_EQUAL(fake_accept(&fake), XM_ROLE_CONTROL);
    fake_welcome(&fake, fake.control);
    job_fails(&get, ECONNRESET);
}

static void what_is_no_message_ends_the_connection(void) {
    struct {
        struct xm_msg_got got;
        uint64_t more;
    } long_got = {.got = {.header = {XM_CODE_GOT, 0, 2}, .apid = 1}};
    struct xm_msg_done unknown = {{999, 0, 2}};
    char extents[XM_BYTES_EXTENTS + XM_ROW_BYTES_EXTENT] = {XM_CODE_EXTENTS};
    fake_start(&fake);
    open_session(&fake);
    answer_nonsense(&long_got, XM_BYTES_GOT - 8);
    answer_nonsense(&long_got, XM_BYTES_GOT + 8);
    answer_nonsense(&unknown, sizeof unknown);
    answer_nonsense(extents, sizeof extents - 1);
    answer_nonsense("x", 1);
    get_permit(&fake, 7, 0);
    fake_stop(&fake);
}

static void another_answer_than_the_one_that_fits_is_EPROTO(void) {
    struct job get = {.call = JOB_GET, .id = 42};
    fake_start(&fake);
    get_permit(&fake, 6, 0);
    job_start(&get);
    fake_receive(&fake, XM_CODE_GET);
    fake_done(&fake, fake.message.header.request);
    job_fails(&get, EPROTO);
    get_permit(&fake, 7, 0);
    fake_stop(&fake);
}

static void arguments_that_cannot_be_are_EINVAL_without_a_service(void) {
    char *memory = map_private(PAGE);
    struct xpmem_addr negative = {4, -(off_t)PAGE};
    struct xpmem_addr odd = {4, 8};
    struct xpmem_addr none = {0, 0};
    struct xpmem_addr fine = {4, 0};
    fake_prepare(&fake);
#define EINVAL_OF(call)                                                                            \
    do {                                                                                           \
        errno = 0;                                                                                 \
        CHECK_EQUAL((int64_t)(call), -1);                                                          \
        CHECK_EQUAL(errno, EINVAL);                                                                \
    } while (0)
    EINVAL_OF(xpmem_make(memory, 0, XPMEM_PERMIT_MODE, (void *)0600));
    EINVAL_OF(xpmem_make(memory, PAGE + 1, XPMEM_PERMIT_MODE, (void *)0600));
    EINVAL_OF(xpmem_make(memory + 1, PAGE, XPMEM_PERMIT_MODE, (void *)0600));
    EINVAL_OF(xpmem_make(memory, PAGE, 2, (void *)0600));
    EINVAL_OF(xpmem_make(memory, PAGE, XPMEM_PERMIT_MODE, (void *)01000));
    EINVAL_OF(xpmem_make(memory, XPMEM_MAXADDR_SIZE, XPMEM_PERMIT_MODE, (void *)0600));
    EINVAL_OF(xpmem_make(memory, UINT64_C(1) << 62, XPMEM_PERMIT_MODE, (void *)0600));
    EINVAL_OF(xpmem_make((void *)-PAGE, PAGE, XPMEM_PERMIT_MODE, (void *)0600));
    EINVAL_OF(xpmem_remove(0));
    EINVAL_OF(xpmem_remove(-1));
    EINVAL_OF(xpmem_get(0, XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL));
    EINVAL_OF(xpmem_get(-1, XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL));
    EINVAL_OF(xpmem_get(4, 3, XPMEM_PERMIT_MODE, NULL));
    EINVAL_OF(xpmem_get(4, 4, XPMEM_PERMIT_MODE, NULL));
    EINVAL_OF(xpmem_get(4, XPMEM_RDWR, 0, NULL));
    EINVAL_OF(xpmem_release(0));
    EINVAL_OF(xpmem_release(-1));
    EINVAL_OF((intptr_t)xpmem_attach(none, PAGE, NULL));
    EINVAL_OF((intptr_t)xpmem_attach(negative, PAGE, NULL));
    EINVAL_OF((intptr_t)xpmem_attach(odd, PAGE, NULL));
    EINVAL_OF((intptr_t)xpmem_attach(fine, 0, NULL));
    EINVAL_OF((intptr_t)xpmem_attach(fine, XPMEM_MAXADDR_SIZE, NULL));
    EINVAL_OF((intptr_t)xpmem_attach(fine, PAGE, memory + 1));
    EINVAL_OF((intptr_t)xpmem_attach(fine, PAGE, (void *)-PAGE));
    EINVAL_OF(xpmem_detach(memory));
    CHECK_EQUAL(munmap(memory, PAGE), 0);
    CHECK_EQUAL(xpmem_detach(memory), 0);
    CHECK_EQUAL(xpmem_detach(NULL), 0);
    fake_stop(&fake);
}

static void the_whole_address_space_is_offered_from_0(void) {
    struct job make = {.call = JOB_MAKE, .memory = NULL, .size = XPMEM_MAXADDR_SIZE};
    fake_start(&fake);
    job_start(&make);
    fake_connect(&fake);
    fake_receive(&fake, XM_CODE_MAKE);
    CHECK_EQUAL(fake.message.make.address, 0);
    uint64_t end = fake.message.make.length;
    CHECK((uintptr_t)&end < end && (uintptr_t)environ[0] < end);
    CHECK_EQUAL(end & (end - 1), 0);
#ifdef __x86_64__
    CHECK_EQUAL(end, UINT64_C(1) << 47);
#endif
    fake_made(&fake, fake.message.header.request, 5);
    CHECK_EQUAL(job_end(&make), 5);
    fake_stop(&fake);
}

static void use_in_child(void) {
    struct job get = {.call = JOB_GET, .id = 42};
    start_watchdog();
    job_run(&get);
    CHECK_EQUAL(get.result, 9);
    struct job release = {.call = JOB_RELEASE, .id = 6};
    job_run(&release);
    CHECK_EQUAL(release.error, EACCES);
    /* What the core forgets of its parent in a child, it leaves behind. */
    _exit(0);
}

static void a_forked_child_has_a_session_of_its_own(void) {
    void *memory = map_private(PAGE);
    int status;
    fake_start(&fake);
    make_segment(&fake, memory, PAGE, 5);
    get_permit(&fake, 6, 0);
    pid_t child = fork();
    if (child == 0) {
        fake_close(&fake.listener);
        fake_close(&fake.agent);
        fake_close(&fake.control);
        use_in_child();
    }
    int agent = fake.agent;
    int control = fake.control;
    fake_connect(&fake);
    CHECK_EQUAL(fake.beside.pid, child);
    /* It restores nothing of its parent's. */
    fake_receive(&fake, XM_CODE_GET);
    fake_got(&fake, fake.message.header.request, 9, 0);
    fake_receive(&fake, XM_CODE_RELEASE);
    fake_fail(&fake, fake.message.header.request, EACCES);
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    fake_close(&fake.agent);
    fake_close(&fake.control);
    fake.agent = agent;
    fake.control = control;
    get_permit(&fake, 7, 0);
    CHECK_EQUAL(xm_agents_offered((uintptr_t)memory, PAGE), 1);
    fake_stop(&fake);
}

static void what_went_back_is_no_answer_and_no_end(void) {
    struct job get = {.call = JOB_GET, .id = 4};
    void *memory = map_private(PAGE);
    fake_start(&fake);
    make_segment(&fake, memory, PAGE, 5);
    job_start(&get);
    fake_receive(&fake, XM_CODE_GET);
    fake_rolled_back(&fake, 5);
    fake_got(&fake, fake.message.header.request, 7, 0);
    CHECK_EQUAL(job_end(&get), 7);
    fake_stop(&fake);
}

int main(void) {
    RUN_ALONE(version_is_that_of_the_interface);
    RUN_ALONE(make_says_what_is_offered);
    RUN_ALONE(a_removed_segment_is_offered_no_more);
    RUN_ALONE(a_refusal_is_the_errno_of_the_call);
    RUN_ALONE(calls_of_eight_threads_are_answered_in_any_order);
    RUN_ALONE(a_call_that_waits_does_not_hold_up_others);
    RUN_ALONE(what_is_no_message_ends_the_connection);
    RUN_ALONE(what_went_back_is_no_answer_and_no_end);
    RUN_ALONE(another_answer_than_the_one_that_fits_is_EPROTO);
    RUN_ALONE(arguments_that_cannot_be_are_EINVAL_without_a_service);
    RUN_ALONE(the_whole_address_space_is_offered_from_0);
    RUN_ALONE(a_forked_child_has_a_session_of_its_own);
    return 0;
}
