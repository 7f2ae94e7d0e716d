/* A forked child has the memory that was moved as it was at the fork, and it is its own. */

#include "../../native/core/fork.h"
#include "moving.h"

#define BYTES (8 * MIB)

static struct service service;
static struct counting_listener listener;

/* Waits for the other side of a pipe to say something. */
static void await_word(int pipe) {
    char word;
    CHECK_EQUAL(read(pipe, &word, 1), 1);
}

static void say_word(int pipe) {
    CHECK_EQUAL(write(pipe, "", 1), 1);
}

/* What the page holds before the fork: every third is a hole, and the last part is one. */
static char content(size_t page) {
    return page % 3 == 0 || page * PAGE >= BYTES - MIB ? 0 : (char)(page % 100 + 1);
}

static char *make_memory(struct xm_agent *agent) {
    char *memory = map_private(BYTES);
    for (size_t i = 0; i < BYTES / PAGE; i++) {
        if (content(i) != 0)
            memory[i * PAGE + i % PAGE] = content(i);
    }
    move(&service, agent, &listener, memory, BYTES);
    CHECK_EQUAL(mprotect(memory + MIB, MIB, PROT_READ), 0);
    CHECK_EQUAL(mprotect(memory + 2 * MIB, MIB, PROT_NONE), 0);
    return memory;
}

static void check_content(char *memory) {
    for (size_t i = 0; i < BYTES / PAGE; i++)
        CHECK_EQUAL(memory[i * PAGE + i % PAGE], content(i));
}

static void check_in_child(char *memory, int pipe) {
    start_watchdog();
    await_word(pipe);
    CHECK_EQUAL(mprotect(memory + 2 * MIB, MIB, PROT_READ | PROT_WRITE), 0);
    check_content(memory);
    CHECK_EQUAL(mapping_of(memory + MIB).protection, PROT_READ);
    CHECK_EQUAL(mprotect(memory + MIB, MIB, PROT_READ | PROT_WRITE), 0);
    memset(memory, 'c', BYTES);
    _exit(0);
}

static void the_child_sees_nothing_later_and_shows_nothing(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    xm_fork_copies(true);
    for (int round = 0; round < 10; round++) {
        int pipes[2];
        char *memory = make_memory(agent);
        CHECK_EQUAL(pipe(pipes), 0);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            check_in_child(memory, pipes[0]);
        CHECK_EQUAL(shared_bytes(memory, BYTES), BYTES);
        CHECK_EQUAL(mprotect(memory, BYTES, PROT_READ | PROT_WRITE), 0);
        memset(memory, 'p', BYTES);
        say_word(pipes[1]);
        await_exit(child);
        for (size_t i = 0; i < BYTES; i++)
            CHECK_EQUAL(memory[i], 'p');
        munmap(memory, BYTES);
        close(pipes[0]);
        close(pipes[1]);
    }
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* Pages that the process has for its own now, of all its memory. */
static uint64_t resident_bytes(void) {
    char text[128] = {0};
    int file = open("/proc/self/statm", O_RDONLY);
    CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0);
    close(file);
    char *next;
    (void)strtoul(text, &next, 10);
    return strtoul(next, NULL, 10) * PAGE;
}

static void a_child_does_not_fill_large_holes(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    uint64_t length = 4096 * MIB;
    xm_fork_copies(true);
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    for (uint64_t at = 0; at < length; at += 256 * MIB)
        memory[at] = 1;
    move(&service, agent, &listener, memory, length);
    uint64_t before = resident_bytes();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(resident_bytes() < before + 16 * MIB);
        for (uint64_t at = 0; at < length; at += 256 * MIB)
            CHECK(memory[at] == 1 && memory[at + 100 * MIB] == 0);
        _exit(0);
    }
    await_exit(child);
    munmap(memory, length);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static pid_t fork_sleeper(int pipe) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        await_word(pipe);
        _exit(0);
    }
    return child;
}

/* The parent returns from here and stores to its stack, while the child is still to return. */
static __attribute__((noinline)) pid_t fork_deep(int depth, int pipe) {
    volatile char frame[2 * PAGE];
    memset((char *)frame, depth, sizeof frame);
    pid_t child = depth > 0 ? fork_deep(depth - 1, pipe) : fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (depth == 0)
            await_word(pipe);
        for (size_t i = 0; i < sizeof frame; i++)
            CHECK_EQUAL(frame[i], depth);
    }
    return child;
}

static __attribute__((noinline)) void store_deep(int depth) {
    volatile char frame[2 * PAGE];
    memset((char *)frame, 99, sizeof frame);
    if (depth > 0)
        store_deep(depth - 1);
    frame[0] = 1;
}

static void *fork_on_moved_stack(void *argument) {
    struct xm_agent *agent = argument;
    int pipes[2];
    struct xm_vma stack = mapping_of(__builtin_frame_address(0));
    move(&service, agent, &listener, (void *)(uintptr_t)stack.start, stack.end - stack.start);
    for (int round = 0; round < 50; round++) {
        xm_fork_copies(round % 2 == 0);
        CHECK_EQUAL(pipe(pipes), 0);
        pid_t child = fork_deep(4, pipes[0]);
        if (child == 0)
            _exit(0);
        store_deep(4);
        say_word(pipes[1]);
        await_exit(child);
        close(pipes[0]);
        close(pipes[1]);
        CHECK_EQUAL(shared_bytes((void *)(uintptr_t)stack.start, stack.end - stack.start),
                    stack.end - stack.start);
    }
    return NULL;
}

static void a_thread_on_a_moved_stack_forks(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    pthread_join(start_thread(fork_on_moved_stack, agent), NULL);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static size_t count_descriptors(void) {
    size_t count = 0;
    for (int i = 0; i < 1024; i++)
        count += fcntl(i, F_GETFD) >= 0 ? 1 : 0;
    return count;
}

static size_t count_mappings(void) {
    static char buffer[16384];
    struct xm_maps maps;
    struct xm_vma vma;
    size_t count = 0;
    CHECK_EQUAL(xm_maps_open(&maps, buffer, sizeof buffer), 0);
    while (xm_maps_next(&maps, &vma) > 0)
        count++;
    xm_maps_close(&maps);
    return count;
}

static void a_fork_leaves_nothing_in_the_parent(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    xm_fork_copies(true);
    char *memory = map_private(MIB);
    memset(memory, 1, MIB);
    move(&service, agent, &listener, memory, MIB);
    size_t descriptors = 0;
    size_t mappings = 0;
    for (int i = 0; i < 200; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            /* Standard streams, the service's own, and what the harness is run with. */
            CHECK(count_descriptors() < descriptors || i == 0);
            _exit(0);
        }
        await_exit(child);
        if (i == 0) {
            descriptors = count_descriptors();
            mappings = count_mappings();
        }
    }
    CHECK_EQUAL(count_descriptors(), descriptors);
    CHECK_EQUAL(count_mappings(), mappings);
    munmap(memory, MIB);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* Once with nobody to connect to, so that the agent is in its back-off or trying. */
static void it_works_without_a_connection(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    xm_fork_copies(true);
    char *memory = map_private(MIB);
    memset(memory, 1, MIB);
    move(&service, agent, &listener, memory, MIB);
    service_stop(&service);
    service.socket = -1;
    WAIT_UNTIL(!is_connected(agent));
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_EQUAL(memory[MIB - 1], i + 1);
            _exit(0);
        }
        memset(memory, i + 2, MIB);
        await_exit(child);
        CHECK_EQUAL(shared_bytes(memory, MIB), MIB);
    }
    munmap(memory, MIB);
    xm_agent_close(agent, &listener.listener);
}

static void it_is_shared_again_by_the_next_agent(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    char *memory = map_private(MIB);
    memset(memory, 1, MIB);
    move(&service, agent, &listener, memory, MIB);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
    int pipes[2];
    CHECK_EQUAL(pipe(pipes), 0);
    pid_t child = fork_sleeper(pipes[0]);
    CHECK_EQUAL(shared_bytes(memory, MIB), 0);
    memory[5 * PAGE] = 2;
    agent = connect_agent(&service, &listener);
    move(&service, agent, &listener, memory, MIB);
    for (size_t i = 0; i < MIB; i += PAGE)
        CHECK_EQUAL(memory[i], i == 5 * PAGE ? 2 : 1);
    say_word(pipes[1]);
    await_exit(child);
    close(pipes[0]);
    close(pipes[1]);
    munmap(memory, MIB);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

int main(void) {
    start_watchdog();
    RUN(the_child_sees_nothing_later_and_shows_nothing);
    RUN(a_child_does_not_fill_large_holes);
    RUN(a_thread_on_a_moved_stack_forks);
    RUN(a_fork_leaves_nothing_in_the_parent);
    RUN(it_works_without_a_connection);
    RUN(it_is_shared_again_by_the_next_agent);
    return 0;
}
