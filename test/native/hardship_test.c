/* Forks of processes that make it hard: locked memory, no descriptors, closed ones. */

#include "../../native/core/fork.h"
#include "moving.h"

#define BYTES (2 * MIB)

static struct service service;
static struct counting_listener listener;
static char *memory;
/* What the thread that forks stores while it does; NULL: nothing. */
static char *volatile stored_meanwhile;
/* Whether it locks that before. */
static volatile bool locked_meanwhile;

/* Before the handlers of xpmem are there, so that this runs after all was parted. */
static void store_meanwhile(void) {
    if (stored_meanwhile == NULL)
        return;
    if (locked_meanwhile)
        CHECK_EQUAL(mlock(stored_meanwhile, PAGE), 0);
    stored_meanwhile[0] = 2;
}

__attribute__((constructor(101))) static void watch_early(void) {
    pthread_atfork(store_meanwhile, NULL, NULL);
}

static struct xm_agent *begin(void) {
    start_watchdog();
    struct xm_agent *agent = connect_agent(&service, &listener);
    xm_fork_copies(true);
    memory = map_private(BYTES);
    memset(memory, 1, BYTES);
    move(&service, agent, &listener, memory, BYTES);
    return agent;
}

static void end(struct xm_agent *agent) {
    munmap(memory, BYTES);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* In a child, whose settings are its own. */
static void in_child(void (*test)(void)) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        test();
        _exit(0);
    }
    await_exit(child);
}

static void store_over_forks(void) {
    struct xm_agent *agent = begin();
    stored_meanwhile = memory + 5 * PAGE;
    for (int i = 0; i < 5; i++) {
        memory[5 * PAGE] = 1;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_EQUAL(memory[5 * PAGE], 2);
            CHECK_EQUAL(memory[6 * PAGE], 1);
            _exit(0);
        }
        await_exit(child);
        CHECK_EQUAL(memory[5 * PAGE], 2);
        CHECK_EQUAL(shared_bytes(memory, BYTES), BYTES);
    }
    end(agent);
}

static void fork_locked(void) {
    CHECK_EQUAL(mlockall(MCL_FUTURE), 0);
    store_over_forks();
}

static void a_process_whose_memory_is_locked_may_fork(void) {
    in_child(fork_locked);
}

static void lock_over_forks(void) {
    locked_meanwhile = true;
    store_over_forks();
}

static void memory_may_be_locked_while_its_process_forks(void) {
    in_child(lock_over_forks);
}

#define FILES 64

/* The descriptors that are open, of the first FILES. */
static uint64_t open_descriptors(void) {
    uint64_t open = 0;
    for (int i = 0; i < FILES; i++)
        open |= fcntl(i, F_GETFD) >= 0 ? UINT64_C(1) << i : 0;
    return open;
}

/* Closes all that was opened since, and gets the numbers for files of its own. */
static uint64_t take_descriptors(uint64_t before) {
    uint64_t taken = open_descriptors() & ~before;
    for (int i = 0; i < FILES; i++) {
        if ((taken & UINT64_C(1) << i) == 0)
            continue;
        int own = memfd_create("own", MFD_CLOEXEC);
        CHECK(own >= 0);
        CHECK_EQUAL(write(own, "own", 3), 3);
        CHECK_EQUAL(dup3(own, i, O_CLOEXEC), i);
        close(own);
    }
    return taken;
}

static void check_taken(uint64_t taken) {
    char text[8];
    for (int i = 0; i < FILES; i++) {
        if ((taken & UINT64_C(1) << i) == 0)
            continue;
        CHECK_EQUAL(pread(i, text, sizeof text, 0), 3);
        CHECK(memcmp(text, "own", 3) == 0);
        CHECK_EQUAL(lseek(i, 0, SEEK_CUR), 3);
    }
}

static void check_forks_of(const char *more, uint64_t taken) {
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            check_taken(taken);
            _exit(more == NULL ? 0 : more[0] - 3);
        }
        await_exit(child);
        check_taken(taken);
    }
}

static void fork_with_taken_descriptors(void) {
    start_watchdog();
    struct xm_agent *agent = connect_agent(&service, &listener);
    uint64_t before = open_descriptors();
    memory = map_private(BYTES);
    memset(memory, 1, BYTES);
    move(&service, agent, &listener, memory, BYTES);
    /* The agent has closed what it sent when it answers again. */
    service_ask(&service, XM_CODE_REPORT, 0, 0, XM_BYTES_REPORT, XM_CODE_HOLDINGS);
    uint64_t taken = take_descriptors(before);
    CHECK(taken != 0);
    check_forks_of(NULL, taken);
    CHECK_EQUAL(shared_bytes(memory, BYTES), BYTES);
    /* What is moved from now on is kept again. */
    char *more = map_private(BYTES);
    memset(more, 3, BYTES);
    move(&service, agent, &listener, more, BYTES);
    check_forks_of(more, taken);
    CHECK_EQUAL(shared_bytes(more, BYTES), BYTES);
    for (size_t i = 0; i < BYTES; i += PAGE)
        CHECK(memory[i] == 1 && more[i] == 3);
    munmap(more, BYTES);
    end(agent);
    check_taken(taken);
}

static void files_that_got_the_numbers_of_descriptors_are_left_alone(void) {
    in_child(fork_with_taken_descriptors);
}

static void fork_with_closed_descriptors(void) {
    start_watchdog();
    struct xm_agent *agent = connect_agent(&service, &listener);
    memory = map_private(BYTES);
    memset(memory, 1, BYTES);
    move(&service, agent, &listener, memory, BYTES);
    CHECK_EQUAL(close_range(3, ~0U, 0), 0);
    check_forks_of(NULL, 0);
    CHECK_EQUAL(shared_bytes(memory, BYTES), BYTES);
    /* Neither its thread nor the keeper's waits at what is closed. */
    xm_agent_close(agent, &listener.listener);
}

static void a_process_may_close_all_descriptors_and_fork(void) {
    in_child(fork_with_closed_descriptors);
}

/* The child must have its copies before the parent goes on, also of what was never stored to. */
static void check_that_the_parent_waits(void) {
    int pipes[2];
    char word;
    for (int i = 0; i < 20; i++) {
        memset(memory, 1, BYTES / 2);
        CHECK_EQUAL(madvise(memory + BYTES / 2, BYTES / 2, MADV_REMOVE), 0);
        CHECK_EQUAL(pipe(pipes), 0);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_EQUAL(read(pipes[0], &word, 1), 1);
            for (size_t at = 0; at < BYTES; at += PAGE)
                CHECK_EQUAL(memory[at], at < BYTES / 2 ? 1 : 0);
            _exit(0);
        }
        memset(memory, 2, BYTES);
        CHECK_EQUAL(write(pipes[1], "", 1), 1);
        await_exit(child);
        CHECK_EQUAL(shared_bytes(memory, BYTES), BYTES);
        close(pipes[0]);
        close(pipes[1]);
    }
}

static void fork_as_another_user(void) {
    struct xm_agent *agent = begin();
    CHECK_EQUAL(chown(service.directory, 65534, 65534), 0);
    CHECK_EQUAL(setgid(65534), 0);
    CHECK_EQUAL(setuid(65534), 0);
    CHECK_EQUAL(open("/proc/self/pagemap", O_RDONLY), -1);
    check_that_the_parent_waits();
    end(agent);
}

static void a_child_has_its_copies_after_a_setuid(void) {
    in_child(fork_as_another_user);
}

static void fork_without_descriptors(void) {
    struct xm_agent *agent = begin();
    /* For the pipe, and for a look at the mappings. */
    int spare[3] = {dup(0), dup(0), dup(0)};
    while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
    }
    CHECK_EQUAL(errno, EMFILE);
    for (int i = 0; i < 3; i++)
        close(spare[i]);
    check_that_the_parent_waits();
    end(agent);
}

static void a_child_has_its_copies_where_no_descriptor_is_left(void) {
    in_child(fork_without_descriptors);
}

int main(void) {
    start_watchdog();
    if (geteuid() == 0)
        RUN(a_process_whose_memory_is_locked_may_fork);
    RUN(memory_may_be_locked_while_its_process_forks);
    RUN(files_that_got_the_numbers_of_descriptors_are_left_alone);
    RUN(a_process_may_close_all_descriptors_and_fork);
    if (geteuid() == 0)
        RUN(a_child_has_its_copies_after_a_setuid);
    RUN(a_child_has_its_copies_where_no_descriptor_is_left);
    return 0;
}
