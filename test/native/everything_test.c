/* A process goes on forking when all its memory was moved: heap, arenas, stacks, thread-local data.
 */

#include <spawn.h>
#include <sys/prctl.h>

#include "../../native/core/fork.h"
#include "../../native/core/userfault.h"
#include "moving.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define ROUNDS 100
#define ALLOCATORS 3

static struct service service;
static struct counting_listener listener;
static atomic_bool stop;
static _Thread_local unsigned local = 7;

struct work {
    pthread_t thread;
    atomic_ulong rounds;
    atomic_bool started;
};

/* Keeps taking locks of the C library, and keeps pages of its arena and stack busy. */
static void *allocate(void *argument) {
    struct work *work = argument;
    char *kept[64] = {NULL};
    while (!atomic_load(&stop)) {
        for (size_t i = 0; i < 64; i++) {
            free(kept[i]);
            kept[i] = malloc(100 + i * 37);
            memset(kept[i], (int)i, 100 + i * 37);
        }
        for (size_t i = 0; i < 64; i++)
            CHECK_EQUAL(kept[i][99], i);
        local++;
        atomic_fetch_add(&work->rounds, 1);
        atomic_store(&work->started, true);
    }
    for (size_t i = 0; i < 64; i++)
        free(kept[i]);
    return NULL;
}

static void *answer(void *argument) {
    local = 8;
    return argument;
}

static void use_everything_in_child(FILE *file) {
    void *answered;
    start_watchdog();
    CHECK_EQUAL(local, 7);
    local = 9;
    for (int i = 0; i < 50; i++) {
        char *memory = malloc(1000 * (size_t)i + 1);
        memset(memory, 1, 1000 * (size_t)i + 1);
        free(memory);
    }
    CHECK(fprintf(file, "child %d\n", local) > 0 && fflush(file) == 0);
    CHECK_EQUAL(pthread_join(start_thread(answer, file), &answered), 0);
    CHECK(answered == file);
    CHECK_EQUAL(local, 9);
    pid_t grandchild = fork();
    if (grandchild == 0)
        _exit(0);
    await_exit(grandchild);
    _exit(0);
}

static void fork_round(FILE *file) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        use_everything_in_child(file);
    await_exit(child);
    child = fork();
    if (child == 0) {
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    await_exit(child);
    char *const arguments[] = {"true", NULL};
    CHECK_EQUAL(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, NULL), 0);
    await_exit(child);
    CHECK_EQUAL(system("true"), 0);
    CHECK_EQUAL(local, 7);
}

static void *fork_rounds(void *argument) {
    for (int i = 0; i < ROUNDS; i++)
        fork_round(argument);
    return NULL;
}

/* The process has moved what it works with, as far as this thread is concerned. */
static void check_moved(const void *heap, const void *stack) {
    CHECK(mapping_of(heap).shared);
    CHECK(mapping_of(stack).shared);
    CHECK(mapping_of(&local).shared);
}

static void check_goes_on(struct work *works) {
    for (int i = 0; i < ALLOCATORS; i++) {
        unsigned long before = atomic_load(&works[i].rounds);
        WAIT_UNTIL(atomic_load(&works[i].rounds) > before + 100);
    }
}

static void fork_with_all_moved(bool copies) {
    static struct work works[ALLOCATORS];
    FILE *file = fopen("/dev/null", "w");
    struct xm_agent *agent = connect_agent(&service, &listener);
    xm_fork_copies(copies);
    atomic_store(&stop, false);
    for (int i = 0; i < ALLOCATORS; i++) {
        works[i].thread = start_thread(allocate, &works[i]);
        WAIT_UNTIL(atomic_load(&works[i].started));
    }
    move_everything(&service, agent, &listener);
    check_moved(file, __builtin_frame_address(0));
    /* On the main thread's stack, and then on another's, that was moved as little or as much. */
    fork_rounds(file);
    check_goes_on(works);
    check_moved(file, __builtin_frame_address(0));
    pthread_t forker = start_thread(fork_rounds, file);
    fork_rounds(file);
    pthread_join(forker, NULL);
    check_goes_on(works);
    atomic_store(&stop, true);
    for (int i = 0; i < ALLOCATORS; i++)
        pthread_join(works[i].thread, NULL);
    fclose(file);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static void all_memory_is_moved_and_children_copy(void) {
    fork_with_all_moved(true);
}

static void all_memory_is_moved_and_children_do_not_copy(void) {
    fork_with_all_moved(false);
}

static size_t use_stack(size_t depth) {
    volatile char frame[PAGE];
    frame[0] = (char)depth;
    return depth == 0 ? (size_t)frame[0] : use_stack(depth - 1) + (size_t)frame[0] * 0 + 1;
}

/* In a child, since what stack was used stays used. */
static void the_moved_main_stack_still_grows(void) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        start_watchdog();
        struct xm_agent *agent = connect_agent(&service, &listener);
        struct xm_vma stack = mapping_of(__builtin_frame_address(0));
        move(&service, agent, &listener, (void *)(uintptr_t)stack.start, stack.end - stack.start);
        CHECK_EQUAL(use_stack(1000), 1000);
        /* What has grown is moved, too, and grows again. */
        struct xm_vma rest = mapping_of((void *)(uintptr_t)(stack.start - 100 * PAGE));
        CHECK(!rest.shared && rest.start < stack.start - 900 * PAGE);
        move(&service, agent, &listener, (void *)(uintptr_t)rest.start, rest.end - rest.start);
        CHECK_EQUAL(use_stack(1500), 1500);
        xm_agent_close(agent, &listener.listener);
        service_stop(&service);
        _exit(0);
    }
    await_exit(child);
}

/* Where a system call that stores to a frozen stack fails, stacks stay where they are. */
static void *refuse_own_stack(void *argument) {
    struct xm_agent *agent = argument;
    uint64_t page = (uintptr_t)__builtin_frame_address(0) & ~(PAGE - 1);
    offer(agent, &listener, (void *)(uintptr_t)page, PAGE);
    service_ask(&service, XM_CODE_SHARE, page, PAGE, XM_BYTES_SHARE, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EFAULT);
    page = (uintptr_t)&local & ~(PAGE - 1);
    offer(agent, &listener, (void *)(uintptr_t)page, PAGE);
    service_ask(&service, XM_CODE_SHARE, page, PAGE, XM_BYTES_SHARE, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EFAULT);
    return NULL;
}

static void without_privilege_stacks_stay(void) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct xm_userfault_ability ability;
        start_watchdog();
        CHECK_EQUAL(setgid(65534), 0);
        CHECK_EQUAL(setuid(65534), 0);
        /* As a program has it that was started so. */
        CHECK_EQUAL(prctl(PR_SET_DUMPABLE, 1), 0);
        xm_userfault_query(&ability);
        if (ability.mode == XM_USERFAULT_USER) {
            struct xm_agent *agent = connect_agent(&service, &listener);
            refuse_own_stack(agent);
            pthread_join(start_thread(refuse_own_stack, agent), NULL);
            char *memory = map_private(MIB);
            memset(memory, 1, MIB);
            move(&service, agent, &listener, memory, MIB);
            for (int i = 0; i < 20; i++) {
                pid_t grandchild = fork();
                if (grandchild == 0)
                    _exit(memory[i] - 1);
                await_exit(grandchild);
                CHECK_EQUAL(shared_bytes(memory, MIB), MIB);
            }
            xm_agent_close(agent, &listener.listener);
            service_stop(&service);
        }
        _exit(0);
    }
    await_exit(child);
}

int main(void) {
    start_watchdog();
    if (geteuid() == 0)
        RUN(without_privilege_stacks_stay);
    if (SANITIZED) {
        fprintf(stderr,
                "SKIPPED %s: a sanitizer's own memory is anonymous, too, and cannot be "
                "moved under it\n",
                __FILE__);
        return 0;
    }
    RUN(the_moved_main_stack_still_grows);
    RUN(all_memory_is_moved_and_children_copy);
    RUN(all_memory_is_moved_and_children_do_not_copy);
    return 0;
}
