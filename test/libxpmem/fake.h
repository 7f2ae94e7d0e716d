/* The service's side of a program that uses libxpmem, in the test's own thread; and the program's.
 */

#ifndef XM_FAKE_H
#define XM_FAKE_H

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../../native/core/memory.h"
#include "../../native/core/protocol.h"
#include "../../native/core/seqpacket.h"
#include "../../native/libxpmem/xpmem.h"
#include "../native/harness.h"

/* Forked children use threads, which ThreadSanitizer allows only when told. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0";
}

struct fake {
    char directory[64];
    char path[96];
    int listener;
    int agent;
    int control;
    /* When the service started, as it says. */
    uint64_t start;
    /* The last message received. */
    struct xm_received beside;
    ssize_t length;
    union {
        struct xm_header header;
        struct xm_msg_hello hello;
        struct xm_msg_make make;
        struct xm_msg_get get;
        struct xm_msg_describe describe;
        struct xm_msg_restore restore;
        struct xm_msg_attach attach;
        struct xm_msg_release release;
        struct xm_msg_remove remove;
        char bytes[XM_MAX_MESSAGE_BYTES];
    } message;
};

/* Each test has a process of its own, since a process has one session. */
static inline void run_alone(void (*test)(void), const char *file, const char *name) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        start_watchdog();
        test();
        exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    if (status != 0)
        fprintf(stderr, "%s: %s failed\n", file, name);
    CHECK_EQUAL(status, 0);
    printf("ok %s: %s\n", file, name);
}

#define RUN_ALONE(test) run_alone(test, __FILE__, #test)

/* A directory that XPMEM_RUNTIME_DIR names, with no service in it and no command to start one. */
static inline void fake_prepare(struct fake *fake) {
    memset(fake, 0, sizeof *fake);
    strcpy(fake->directory, "/tmp/xpmem-test-XXXXXX");
    CHECK(mkdtemp(fake->directory) != NULL);
    snprintf(fake->path, sizeof fake->path, "%s/default.sock", fake->directory);
    CHECK_EQUAL(setenv("XPMEM_RUNTIME_DIR", fake->directory, 1), 0);
    CHECK_EQUAL(setenv("XPMEM_COMMAND", "/nonexistent/xpmem", 1), 0);
    CHECK_EQUAL(unsetenv("XPMEM_PARTITION"), 0);
    fake->agent = -1;
    fake->control = -1;
    fake->listener = -1;
    fake->start = 1;
}

static inline void fake_listen(struct fake *fake) {
    fake->listener = xm_seqpacket_listen(fake->path, 16);
    CHECK(fake->listener >= 0);
}

static inline void fake_start(struct fake *fake) {
    fake_prepare(fake);
    fake_listen(fake);
}

static inline void fake_close(int *descriptor) {
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

static inline void fake_stop(struct fake *fake) {
    fake_close(&fake->listener);
    fake_close(&fake->agent);
    fake_close(&fake->control);
    unlink(fake->path);
    CHECK_EQUAL(rmdir(fake->directory), 0);
}

static inline void fake_receive_from(struct fake *fake, int socket) {
    struct pollfd watched = {socket, POLLIN, 0};
    CHECK_EQUAL(poll(&watched, 1, -1), 1);
    fake->length = xm_seqpacket_receive(socket, fake->message.bytes, sizeof fake->message.bytes,
                                        &fake->beside);
    CHECK(!fake->beside.truncated);
    CHECK_EQUAL(fake->beside.count, 0);
}

/* Receives the client's next request, which must have that code. */
static inline void fake_receive(struct fake *fake, uint16_t code) {
    fake_receive_from(fake, fake->control);
    CHECK(fake->length > 0);
    CHECK_EQUAL(fake->message.header.code, code);
}

static inline void send_to(int socket, const void *message, size_t length, const int *descriptors,
                           size_t count) {
    CHECK_EQUAL(xm_seqpacket_send(socket, message, length, descriptors, count), 0);
}

static inline void fake_send(const struct fake *fake, const void *message, size_t length) {
    send_to(fake->control, message, length, NULL, 0);
}

/* Accepts a connection and reads its hello. Its role. */
static inline uint32_t fake_accept(struct fake *fake) {
    struct pollfd watched = {fake->listener, POLLIN, 0};
    CHECK_EQUAL(poll(&watched, 1, -1), 1);
    int socket = xm_seqpacket_accept(fake->listener);
    CHECK(socket >= 0);
    fake_receive_from(fake, socket);
    CHECK_EQUAL(fake->length, XM_BYTES_HELLO);
    CHECK_EQUAL(fake->message.hello.version, XM_PROTOCOL_VERSION);
    uint32_t role = fake->message.hello.role;
    *(role == XM_ROLE_AGENT ? &fake->agent : &fake->control) = socket;
    return role;
}

static inline void fake_welcome(const struct fake *fake, int socket) {
    struct {
        struct xm_msg_welcome message;
        char name[7];
    } welcome = {{{XM_CODE_WELCOME, 0, fake->message.header.request}, fake->start, 2, 3},
                 "default"};
    send_to(socket, &welcome, XM_BYTES_WELCOME + sizeof welcome.name, NULL, 0);
}

/* Accepts a process: its agent, and then its control connection. */
static inline void fake_connect(struct fake *fake) {
    CHECK_EQUAL(fake_accept(fake), XM_ROLE_AGENT);
    fake_welcome(fake, fake->agent);
    CHECK_EQUAL(fake_accept(fake), XM_ROLE_CONTROL);
    fake_welcome(fake, fake->control);
}

/* Ends as a service does that is killed; the next one is another. */
static inline void fake_die(struct fake *fake) {
    fake_close(&fake->agent);
    fake_close(&fake->control);
    fake->start++;
}

static inline void fake_done(const struct fake *fake, uint32_t request) {
    struct xm_msg_done done = {{XM_CODE_DONE, 0, request}};
    fake_send(fake, &done, XM_BYTES_DONE);
}

/* Two pieces of a segment went back. */
static inline void fake_rolled_back(const struct fake *fake, uint64_t segid) {
    char message[XM_BYTES_ROLLED_BACK + 2 * XM_ROW_BYTES_ROLLBACK];
    struct xm_msg_rolled_back head = {{XM_CODE_ROLLED_BACK, 0, 0}, segid};
    memcpy(message, &head, XM_BYTES_ROLLED_BACK);
    for (size_t i = 0; i < 2; i++) {
        struct xm_row_rollback row = {.offset = 2 * i * PAGE, .length = PAGE, .age_ms = 1000};
        memcpy(message + XM_BYTES_ROLLED_BACK + i * XM_ROW_BYTES_ROLLBACK, &row,
               XM_ROW_BYTES_ROLLBACK);
    }
    fake_send(fake, message, sizeof message);
}

static inline void fake_fail(const struct fake *fake, uint32_t request, uint32_t number) {
    struct {
        struct xm_msg_failure message;
        char text[4];
    } failure = {{{XM_CODE_FAILURE, 0, request}, number, 0}, "why\n"};
    fake_send(fake, &failure, XM_BYTES_FAILURE + sizeof failure.text);
}

static inline void fake_made(const struct fake *fake, uint32_t request, uint64_t segid) {
    struct xm_msg_made made = {{XM_CODE_MADE, 0, request}, segid, segid + 1000, segid + 2000};
    fake_send(fake, &made, XM_BYTES_MADE);
}

/* A permit for a segment of four pages. */
static inline void fake_got(const struct fake *fake, uint32_t request, uint64_t apid,
                            uint32_t flags) {
    struct xm_msg_got got = {.header = {XM_CODE_GOT, 0, request},
                             .apid = apid,
                             .segid = apid + 500,
                             .token_high = apid + 1000,
                             .token_low = apid + 2000,
                             .length = 4 * PAGE,
                             .data_length = 4 * PAGE,
                             .owner_start = 77,
                             .owner_pid = 88,
                             .access = XM_ACCESS_READWRITE,
                             .flags = flags};
    fake_send(fake, &got, XM_BYTES_GOT);
}

/* Takes the descriptors. */
static inline void fake_extents(const struct fake *fake, uint32_t request,
                                const struct xm_row_extent *rows, size_t row_count,
                                const int *descriptors, size_t count) {
    struct {
        struct xm_msg_extents message;
        struct xm_row_extent rows[8];
    } extents = {.message = {{XM_CODE_EXTENTS, 0, request}}};
    memcpy(extents.rows, rows, row_count * sizeof *rows);
    send_to(fake->control, &extents, XM_BYTES_EXTENTS + row_count * XM_ROW_BYTES_EXTENT,
            descriptors, count);
    for (size_t i = 0; i < count; i++)
        close(descriptors[i]);
}

/* A memfd of pages that begin with that letter. */
static inline int file_of(size_t pages, char letter) {
    int file = xm_memfd_create(pages * PAGE);
    CHECK(file >= 0);
    for (size_t i = 0; i < pages; i++)
        CHECK_EQUAL(pwrite(file, &letter, 1, (off_t)(i * PAGE)), 1);
    return file;
}

/* Has the agent revoke a segment, and waits for its word. */
static inline void fake_revoke(struct fake *fake, uint64_t segid, uint32_t reason) {
    struct xm_msg_revoke revoke = {{XM_CODE_REVOKE, 0, 9}, segid, reason, 0};
    send_to(fake->agent, &revoke, XM_BYTES_REVOKE, NULL, 0);
    fake_receive_from(fake, fake->agent);
    CHECK_EQUAL(fake->message.header.code, XM_CODE_DONE);
}

/* A call of the program's, in a thread of its own. */
struct job {
    pthread_t thread;
    enum { JOB_VERSION, JOB_MAKE, JOB_GET, JOB_ATTACH, JOB_RELEASE, JOB_REMOVE } call;
    int64_t id;
    off_t offset;
    void *memory;
    size_t size;
    int64_t result;
    int error;
};

static inline void *job_run(void *argument) {
    struct job *job = argument;
    struct xpmem_addr address = {job->id, job->offset};
    errno = 0;
    switch (job->call) {
    case JOB_VERSION:
        job->result = xpmem_version();
        break;
    case JOB_MAKE:
        job->result = xpmem_make(job->memory, job->size, XPMEM_PERMIT_MODE, (void *)0640);
        break;
    case JOB_GET:
        job->result = xpmem_get(job->id, XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL);
        break;
    case JOB_ATTACH:
        job->result = (int64_t)(intptr_t)xpmem_attach(address, job->size, job->memory);
        break;
    case JOB_RELEASE:
        job->result = xpmem_release(job->id);
        break;
    case JOB_REMOVE:
        job->result = xpmem_remove(job->id);
        break;
    }
    job->error = errno;
    return NULL;
}

static inline void job_start(struct job *job) {
    job->thread = start_thread(job_run, job);
}

static inline int64_t job_end(struct job *job) {
    CHECK_EQUAL(pthread_join(job->thread, NULL), 0);
    return job->result;
}

static inline void job_fails(struct job *job, int error) {
    CHECK_EQUAL(job_end(job), -1);
    CHECK_EQUAL(job->error, error);
}

/* Makes a segment of that memory, through to its segid. */
static inline void make_segment(struct fake *fake, void *memory, size_t size, uint64_t segid) {
    struct job make = {.call = JOB_MAKE, .memory = memory, .size = size};
    job_start(&make);
    if (fake->control < 0)
        fake_connect(fake);
    fake_receive(fake, XM_CODE_MAKE);
    fake_made(fake, fake->message.header.request, segid);
    CHECK_EQUAL(job_end(&make), segid);
}

/* Gets a permit, through to its apid. */
static inline void get_permit(struct fake *fake, uint64_t apid, uint32_t flags) {
    struct job get = {.call = JOB_GET, .id = (int64_t)apid + 500};
    job_start(&get);
    if (fake->control < 0)
        fake_connect(fake);
    fake_receive(fake, XM_CODE_GET);
    fake_got(fake, fake->message.header.request, apid, flags);
    CHECK_EQUAL(job_end(&get), apid);
}

/* Opens the session with a call that leaves nothing. */
static inline void open_session(struct fake *fake) {
    struct job version = {.call = JOB_VERSION};
    job_start(&version);
    fake_connect(fake);
    fake_receive(fake, XM_CODE_PING);
    fake_done(fake, fake->message.header.request);
    CHECK_EQUAL(job_end(&version), 0x00026005);
    CHECK_EQUAL(version.error, 0);
}

static sigjmp_buf fault_jump;

static inline void on_fault(int number) {
    siglongjmp(fault_jump, number);
}

/* The signal that a load of a byte raises; 0: none. */
static inline int fault_at(const void *memory) {
    struct sigaction action = {.sa_handler = on_fault};
    struct sigaction bus;
    struct sigaction segv;
    sigaction(SIGBUS, &action, &bus);
    sigaction(SIGSEGV, &action, &segv);
    int number = sigsetjmp(fault_jump, 1);
    if (number == 0)
        (void)*(const volatile char *)memory;
    sigaction(SIGBUS, &bus, NULL);
    sigaction(SIGSEGV, &segv, NULL);
    return number;
}

#endif
