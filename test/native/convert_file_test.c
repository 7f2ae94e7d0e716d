/* Moving a live private mapping of a file: no store is lost and no wrong byte is read. */

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "file_field.h"

#define BOTH (PROT_READ | PROT_WRITE)

/* Many chunks, and one that is not full. */
#define LENGTH (4 * MIB + 5 * PAGE)

static void check_file_unwritten(int file, size_t length) {
    uint64_t *words = mmap(NULL, length, PROT_READ, MAP_SHARED, file, 0);
    CHECK(words != MAP_FAILED);
    for (size_t word = 0; word < length / sizeof *words; word++)
        CHECK_EQUAL(words[word], initial_word(word));
    munmap(words, length);
}

/* Memory and another mapping of the memfd are the same pages. */
static void check_same_memory(uint64_t *memory, size_t length, int into, off_t offset) {
    uint64_t *view = mmap(NULL, length, BOTH, MAP_SHARED, into, offset);
    CHECK(view != MAP_FAILED);
    CHECK(memcmp(view, memory, length) == 0);
    for (size_t word = 0; word < length / sizeof *view; word += WORDS_PER_PAGE) {
        view[word] = ~view[word];
        CHECK_EQUAL(memory[word], view[word]);
        memory[word + 1] = ~memory[word + 1];
        CHECK_EQUAL(view[word + 1], memory[word + 1]);
    }
    munmap(view, length);
}

static void move_under_threads(int rounds) {
    for (int round = 0; round < rounds; round++) {
        struct field field;
        int file = make_file(LENGTH);
        int into = make_memfd(LENGTH + PAGE);
        void *memory = map_file(file, LENGTH, BOTH);
        start_field(&field, memory, LENGTH);
        await_progress(&field);
        CHECK_EQUAL(move_file(memory, LENGTH, BOTH, into, PAGE), 0);
        await_progress(&field);
        end_field(&field);
        CHECK_EQUAL(shared_bytes(memory, LENGTH), LENGTH);
        check_same_memory(memory, LENGTH, into, (off_t)PAGE);
        check_file_unwritten(file, LENGTH);
        munmap(memory, LENGTH);
        close(file);
        close(into);
    }
}

static void no_store_is_lost_and_no_value_goes_back(void) {
    move_under_threads(20);
}

#define FIRST_PAGES 16UL

struct first_touch {
    uint64_t *memory;
    uint32_t delay;
    atomic_bool go;
};

static void *touch_pages(void *argument) {
    struct first_touch *touch = argument;
    WAIT_UNTIL(atomic_load(&touch->go));
    for (volatile uint32_t i = 0; i < touch->delay; i++)
        continue;
    for (size_t page = 0; page < FIRST_PAGES; page++)
        touch->memory[page * WORDS_PER_PAGE] = page + 1000;
    return NULL;
}

/* The stores begin at a different moment of the move each time. */
static void no_first_store_to_a_page_is_lost(void) {
    size_t length = FIRST_PAGES * PAGE;
    int file = make_file(length);
    uint32_t state = 1;
    for (int round = 0; round < 2000; round++) {
        int into = make_memfd(length);
        struct first_touch touch = {map_file(file, length, BOTH), next_random(&state) % 65536,
                                    false};
        pthread_t thread = start_thread(touch_pages, &touch);
        atomic_store(&touch.go, true);
        CHECK_EQUAL(move_file(touch.memory, length, BOTH, into, 0), 0);
        pthread_join(thread, NULL);
        for (size_t page = 0; page < FIRST_PAGES; page++)
            CHECK_EQUAL(touch.memory[page * WORDS_PER_PAGE], page + 1000);
        munmap(touch.memory, length);
        close(into);
    }
    close(file);
}

static void untouched_pages_keep_the_bytes_of_the_file(void) {
    int file = make_file(LENGTH);
    int into = make_memfd(LENGTH);
    uint64_t *memory = map_file(file, LENGTH, BOTH);
    CHECK_EQUAL(move_file(memory, LENGTH, BOTH, into, 0), 0);
    for (size_t word = 0; word < LENGTH / sizeof *memory; word++)
        CHECK_EQUAL(memory[word], initial_word(word));
    check_same_memory(memory, LENGTH, into, 0);
    check_file_unwritten(file, LENGTH);
    munmap(memory, LENGTH);
    close(file);
    close(into);
}

static void a_mapping_that_is_only_read_is_moved_and_stays_so(void) {
    static char buffer[4096];
    struct xm_maps maps;
    struct xm_vma vma = {0};
    int file = make_file(LENGTH);
    int into = make_memfd(LENGTH);
    uint64_t *memory = map_file(file, LENGTH, BOTH);
    memory[WORDS_PER_PAGE] = 5;
    CHECK_EQUAL(mprotect(memory, LENGTH, PROT_READ), 0);
    CHECK_EQUAL(move_file(memory, LENGTH, PROT_READ, into, 0), 0);
    for (size_t word = 0; word < LENGTH / sizeof *memory; word++)
        CHECK_EQUAL(memory[word], word == WORDS_PER_PAGE ? 5 : initial_word(word));
    CHECK_EQUAL(shared_bytes(memory, LENGTH), LENGTH);
    CHECK_EQUAL(xm_maps_open(&maps, buffer, sizeof buffer), 0);
    while (vma.end <= (uintptr_t)memory)
        CHECK(xm_maps_next(&maps, &vma) > 0);
    CHECK_EQUAL(vma.protection, PROT_READ);
    xm_maps_close(&maps);
    munmap(memory, LENGTH);
    close(file);
    close(into);
}

static void bytes_behind_the_end_of_the_file_are_kept(void) {
    size_t length = 4 * PAGE;
    int file = make_file(3 * PAGE + 104);
    int into = make_memfd(length);
    char *memory = map_file(file, length, BOTH);
    memory[3 * PAGE + 104] = 'a';
    memory[length - 1] = 'z';
    CHECK_EQUAL(move_file(memory, length, BOTH, into, 0), 0);
    CHECK(memory[3 * PAGE + 104] == 'a' && memory[3 * PAGE + 105] == 0);
    CHECK(memory[length - 1] == 'z' && ((uint64_t *)memory)[9] == initial_word(9));
    CHECK_EQUAL(shared_bytes(memory, length), length);
    munmap(memory, length);
    close(file);
    close(into);
}

static void pages_behind_the_end_of_the_file_fail_and_the_others_stay(void) {
    size_t length = 2 * MIB;
    int protections[2] = {BOTH, PROT_READ};
    for (int i = 0; i < 2; i++) {
        int file = make_file(length - 3 * PAGE);
        int into = make_memfd(length);
        uint64_t *memory = map_file(file, length, protections[i]);
        CHECK_EQUAL(move_file(memory, length, protections[i], into, 0), -EFAULT);
        for (size_t word = 0; word < (length - 3 * PAGE) / sizeof *memory; word++)
            CHECK_EQUAL(memory[word], initial_word(word));
        munmap(memory, length);
        close(file);
        close(into);
    }
}

static void a_memfd_that_is_too_small_fails_and_loses_nothing(void) {
    struct field field;
    int file = make_file(LENGTH);
    int into = make_memfd(2 * MIB + PAGE);
    void *memory = map_file(file, LENGTH, BOTH);
    start_field(&field, memory, LENGTH);
    await_progress(&field);
    CHECK_EQUAL(move_file(memory, LENGTH, BOTH, into, 0), -EFAULT);
    await_progress(&field);
    CHECK_EQUAL(shared_bytes(memory, LENGTH), 2 * MIB);
    /* The rest can be moved later, elsewhere. */
    int other = make_memfd(LENGTH);
    char *rest = (char *)memory + 2 * MIB;
    CHECK_EQUAL(move_file(rest, LENGTH - 2 * MIB, BOTH, other, 2 * MIB), 0);
    await_progress(&field);
    end_field(&field);
    CHECK_EQUAL(shared_bytes(memory, LENGTH), LENGTH);
    munmap(memory, LENGTH);
    close(file);
    close(into);
    close(other);
}

static void a_range_with_a_hole_fails_and_stays(void) {
    int file = make_file(LENGTH);
    int into = make_memfd(LENGTH);
    uint64_t *memory = map_file(file, LENGTH, BOTH);
    munmap((char *)memory + 3 * MIB, PAGE);
    CHECK_EQUAL(move_file(memory, LENGTH, BOTH, into, 0), -ENOMEM);
    for (size_t word = 0; word < 3 * MIB / sizeof *memory; word++)
        CHECK_EQUAL(memory[word]++, initial_word(word));
    munmap(memory, LENGTH);
    close(file);
    close(into);
}

struct vanishing {
    char *memory;
    size_t length;
    atomic_bool started;
    atomic_bool over;
};

static void *unmap_odd_pages(void *argument) {
    struct vanishing *vanishing = argument;
    WAIT_UNTIL(atomic_load(&vanishing->started));
    for (size_t at = PAGE; at < vanishing->length; at += 2 * PAGE)
        munmap(vanishing->memory + at, PAGE);
    return NULL;
}

static void *store_to_even_pages(void *argument) {
    struct vanishing *vanishing = argument;
    size_t at = 0;
    while (!atomic_load(&vanishing->over)) {
        atomic_fetch_add((_Atomic uint64_t *)(vanishing->memory + at), 1);
        atomic_store(&vanishing->started, true);
        at = (at + 2 * PAGE) % vanishing->length;
    }
    return NULL;
}

/* Whatever it is that comes of it. */
static void nobody_hangs_when_pages_are_unmapped_meanwhile(void) {
    for (int round = 0; round < 100; round++) {
        size_t length = 64 * PAGE;
        int file = make_file(length);
        int into = make_memfd(length);
        struct vanishing vanishing = {map_file(file, length, BOTH), length, false, false};
        pthread_t storing = start_thread(store_to_even_pages, &vanishing);
        pthread_t unmapping = start_thread(unmap_odd_pages, &vanishing);
        WAIT_UNTIL(atomic_load(&vanishing.started));
        (void)move_file(vanishing.memory, length, BOTH, into, 0);
        pthread_join(unmapping, NULL);
        atomic_store(&vanishing.over, true);
        pthread_join(storing, NULL);
        munmap(vanishing.memory, length);
        close(file);
        close(into);
    }
}

static struct field *watched;
static atomic_ulong watches;

/* Looks at every page and waits for every other thread. */
static void await_everybody(int number) {
    (void)number;
    for (size_t word = 1; word < watched->length / sizeof(uint64_t); word += WORDS_PER_PAGE)
        CHECK_EQUAL(atomic_load(&watched->words[word]), initial_word(word));
    for (int i = 0; i < WRITERS + READERS; i++) {
        uint64_t before = atomic_load(&watched->done[i]);
        WAIT_UNTIL(atomic_load(&watched->done[i]) > before);
    }
    atomic_fetch_add(&watches, 1);
}

struct sender {
    pthread_t target;
    atomic_bool stop;
};

/* Each when the target has done something since the one before, or it would do nothing else. */
static void *send_signals(void *argument) {
    struct sender *sender = argument;
    uint64_t before = 0;
    while (!atomic_load(&sender->stop)) {
        unsigned long seen = atomic_load(&watches);
        CHECK_EQUAL(pthread_kill(sender->target, SIGUSR1), 0);
        WAIT_UNTIL(atomic_load(&watches) > seen);
        WAIT_UNTIL(shared_bytes((void *)watched->words, LENGTH) > before ||
                   atomic_load(&sender->stop));
        before = shared_bytes((void *)watched->words, LENGTH);
    }
    return NULL;
}

/* The moving thread is interrupted again and again: nobody may wait for the end of the move. */
static void everybody_goes_on_before_the_next_part_is_moved(void) {
    struct field field;
    struct sender sender = {pthread_self(), false};
    int file = make_file(LENGTH);
    int into = make_memfd(LENGTH);
    void *memory = map_file(file, LENGTH, BOTH);
    start_field(&field, memory, LENGTH);
    watched = &field;
    CHECK(signal(SIGUSR1, await_everybody) != SIG_ERR);
    pthread_t thread = start_thread(send_signals, &sender);
    WAIT_UNTIL(atomic_load(&watches) > 0);
    CHECK_EQUAL(move_file(memory, LENGTH, BOTH, into, 0), 0);
    atomic_store(&sender.stop, true);
    pthread_join(thread, NULL);
    CHECK(signal(SIGUSR1, SIG_DFL) != SIG_ERR);
    end_field(&field);
    CHECK_EQUAL(shared_bytes(memory, LENGTH), LENGTH);
    munmap(memory, LENGTH);
    close(file);
    close(into);
}

static int open_descriptors(void) {
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* Every descriptor that it opens is refused once. */
static void no_descriptor_is_left_open(void) {
    size_t length = 40 * PAGE;
    int file = make_file(length);
    int into = make_memfd(length);
    uint64_t *memory = map_file(file, length, BOTH);
    struct rlimit before;
    int error = -EMFILE;
    int open = open_descriptors();
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (rlim_t more = 1; error == -EMFILE; more++) {
        struct xm_conversion conversion = {(uintptr_t)memory, length, BOTH, -1, 0, into, 0};
        struct rlimit limit = {(rlim_t)into + more, before.rlim_max};
        CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
        error = xm_convert_file(&conversion, UINT64_MAX);
        CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
        CHECK_EQUAL(open_descriptors(), open);
        CHECK_EQUAL(shared_bytes(memory, length), error == 0 ? length : 0);
        CHECK_EQUAL(memory[WORDS_PER_PAGE], initial_word(WORDS_PER_PAGE));
    }
    CHECK_EQUAL(error, 0);
    munmap(memory, length);
    close(file);
    close(into);
}

static void a_kernel_without_the_features_is_told_from_a_failure(void) {
    int file = make_file(PAGE);
    int into = make_memfd(PAGE);
    void *memory = map_file(file, PAGE, BOTH);
    struct xm_conversion conversion = {(uintptr_t)memory, PAGE, BOTH, -1, 0, into, 0};
    CHECK_EQUAL(xm_convert_file(&conversion, XM_FEATURE_WP_PRIVATE), -ENOTSUP);
    CHECK_EQUAL(shared_bytes(memory, PAGE), 0);
    munmap(memory, PAGE);
    close(file);
    close(into);
}

static void in_a_child(void (*run)(void)) {
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        start_watchdog();
        run();
        _exit(0);
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
}

/* New mappings are filled with pages at once; the bare call, which sanitizers leave out. */
static void move_locked(void) {
    CHECK_EQUAL(syscall(SYS_mlockall, MCL_FUTURE), 0);
    move_under_threads(5);
}

static void no_store_is_lost_where_all_memory_is_locked(void) {
    in_a_child(move_locked);
}

static void move_unprivileged(void) {
    struct xm_userfault_ability ability;
    CHECK_EQUAL(setgid(65534), 0);
    CHECK_EQUAL(setuid(65534), 0);
    xm_userfault_query(&ability);
    /* Where the machine gives everyone a full one there is nothing to see. */
    CHECK((ability.mode == XM_USERFAULT_USER) == (ability.refusal != 0));
    move_under_threads(10);
}

static void no_store_is_lost_without_privilege(void) {
    in_a_child(move_unprivileged);
}

int main(void) {
    start_watchdog();
    if (geteuid() == 0) {
        RUN(no_store_is_lost_without_privilege);
        RUN(no_store_is_lost_where_all_memory_is_locked);
    }
    RUN(no_store_is_lost_and_no_value_goes_back);
    RUN(no_first_store_to_a_page_is_lost);
    RUN(untouched_pages_keep_the_bytes_of_the_file);
    RUN(a_mapping_that_is_only_read_is_moved_and_stays_so);
    RUN(bytes_behind_the_end_of_the_file_are_kept);
    RUN(pages_behind_the_end_of_the_file_fail_and_the_others_stay);
    RUN(a_memfd_that_is_too_small_fails_and_loses_nothing);
    RUN(a_range_with_a_hole_fails_and_stays);
    RUN(nobody_hangs_when_pages_are_unmapped_meanwhile);
    RUN(everybody_goes_on_before_the_next_part_is_moved);
    RUN(no_descriptor_is_left_open);
    RUN(a_kernel_without_the_features_is_told_from_a_failure);
    return 0;
}
