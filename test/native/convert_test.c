/* Moving live memory: no store is lost, whatever happens meanwhile. */

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../../native/core/convert.h"
#include "../../native/core/memory.h"
#include "harness.h"

#define WRITERS 2

/* Counters that threads add to at random places. */
struct field {
    _Atomic uint64_t *counters;
    size_t count;
    atomic_bool stop;
    pthread_t threads[WRITERS];
    _Atomic uint64_t added[WRITERS];
};

struct writer {
    struct field *field;
    int number;
};

static void *write_at_random(void *argument) {
    struct writer writer = *(struct writer *)argument;
    struct field *field = writer.field;
    free(argument);
    uint32_t state = (uint32_t)writer.number + 1;
    while (!atomic_load(&field->stop)) {
        state = state * 1103515245 + 12345;
        atomic_fetch_add(&field->counters[(state >> 4) % field->count], 1);
        atomic_fetch_add(&field->added[writer.number], 1);
    }
    return NULL;
}

static void start_writers(struct field *field, void *memory, size_t length) {
    field->counters = memory;
    field->count = length / sizeof *field->counters;
    atomic_store(&field->stop, false);
    for (int i = 0; i < WRITERS; i++) {
        struct writer *writer = malloc(sizeof *writer);
        *writer = (struct writer){field, i};
        atomic_store(&field->added[i], 0);
        field->threads[i] = start_thread(write_at_random, writer);
    }
}

/* Waits until all writers have gone on after now. */
static void await_progress(struct field *field) {
    for (int i = 0; i < WRITERS; i++) {
        uint64_t before = atomic_load(&field->added[i]);
        WAIT_UNTIL(atomic_load(&field->added[i]) > before + 1000);
    }
}

/* Ends the writers and counts whether every addition is there. */
static void check_nothing_lost(struct field *field) {
    atomic_store(&field->stop, true);
    uint64_t added = 0;
    uint64_t seen = 0;
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(field->threads[i], NULL);
        added += atomic_load(&field->added[i]);
    }
    for (size_t i = 0; i < field->count; i++)
        seen += atomic_load(&field->counters[i]);
    CHECK_EQUAL(seen, added);
}

static uint64_t features(void) {
    struct xm_userfault_ability ability;
    xm_userfault_query(&ability);
    CHECK(ability.mode != XM_USERFAULT_NONE);
    return ability.features;
}

static int convert(void *memory, size_t length, int from, int into, uint64_t enabled) {
    struct xm_conversion conversion = {.address = (uintptr_t)memory,
                                       .length = length,
                                       .protection = PROT_READ | PROT_WRITE,
                                       .from = from,
                                       .into = into};
    return xm_convert(&conversion, enabled);
}

static uint64_t used_bytes(int descriptor) {
    struct stat status;
    CHECK_EQUAL(fstat(descriptor, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static int make_memfd(size_t length) {
    int descriptor = xm_memfd_create(length);
    CHECK(descriptor >= 0);
    return descriptor;
}

static void convert_under_writers(size_t length, int rounds, uint64_t enabled) {
    for (int round = 0; round < rounds; round++) {
        struct field field;
        char *memory = map_private(length);
        int into = make_memfd(length);
        start_writers(&field, memory, length);
        await_progress(&field);
        CHECK_EQUAL(convert(memory, length, -1, into, enabled), 0);
        await_progress(&field);
        check_nothing_lost(&field);
        CHECK_EQUAL(shared_bytes(memory, length), length);
        char *view = mmap(NULL, length, PROT_READ, MAP_SHARED, into, 0);
        CHECK(view != MAP_FAILED && memcmp(view, memory, length) == 0);
        munmap(view, length);
        munmap(memory, length);
        close(into);
    }
}

static void no_store_is_lost(void) {
    convert_under_writers(16 * MIB, 15, features());
    convert_under_writers(64 * MIB, 2, features());
}

/* As on kernels before 6.4. */
static void no_store_is_lost_without_wp_unpopulated(void) {
    convert_under_writers(16 * MIB, 8, features() & ~XM_FEATURE_WP_UNPOPULATED);
}

#define FIRST_PAGES 32768UL

struct first_touch {
    uint32_t *memory;
    atomic_ulong touched;
};

/* Touches every page for the first time, in an order that is all over the range. */
static void *touch_pages(void *argument) {
    struct first_touch *touch = argument;
    for (unsigned long i = 0; i < FIRST_PAGES; i++) {
        unsigned long page = i * 12345 % FIRST_PAGES;
        touch->memory[page * PAGE / sizeof *touch->memory] = (uint32_t)i + 1;
        atomic_fetch_add(&touch->touched, 1);
    }
    return NULL;
}

static void touch_while_converting(uint64_t enabled) {
    size_t length = FIRST_PAGES * PAGE;
    struct first_touch touch = {map_private(length), 0};
    int into = make_memfd(length);
    pthread_t toucher = start_thread(touch_pages, &touch);
    WAIT_UNTIL(atomic_load(&touch.touched) > FIRST_PAGES / 100);
    CHECK_EQUAL(convert(touch.memory, length, -1, into, enabled), 0);
    pthread_join(toucher, NULL);
    for (unsigned long i = 0; i < FIRST_PAGES; i++)
        CHECK_EQUAL(touch.memory[i * 12345 % FIRST_PAGES * PAGE / sizeof *touch.memory], i + 1);
    munmap(touch.memory, length);
    close(into);
}

static void no_first_store_to_a_page_is_lost(void) {
    for (int round = 0; round < 8; round++) {
        touch_while_converting(features());
        touch_while_converting(features() & ~XM_FEATURE_WP_UNPOPULATED);
    }
}

static void no_store_is_lost_when_a_memfd_is_moved(void) {
    for (int round = 0; round < 8; round++) {
        size_t length = 16 * MIB;
        struct field field;
        int from = make_memfd(length);
        int into = make_memfd(length);
        char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, from, 0);
        CHECK(memory != MAP_FAILED);
        start_writers(&field, memory, length);
        await_progress(&field);
        CHECK_EQUAL(convert(memory, length, from, into, features()), 0);
        await_progress(&field);
        check_nothing_lost(&field);
        char *view = mmap(NULL, length, PROT_READ, MAP_SHARED, into, 0);
        CHECK(memcmp(view, memory, length) == 0);
        munmap(view, length);
        munmap(memory, length);
        close(from);
        close(into);
    }
}

static void untouched_pages_stay_holes(void) {
    uint64_t enabled[2] = {features(), features() & ~XM_FEATURE_WP_UNPOPULATED};
    for (int i = 0; i < 2; i++) {
        size_t length = 64 * MIB;
        char *memory = map_private(length);
        int into = make_memfd(length);
        memory[0] = 1;
        memory[33 * MIB + 5] = 2;
        memory[length - 1] = 3;
        CHECK_EQUAL(convert(memory, length, -1, into, enabled[i]), 0);
        CHECK(memory[0] == 1 && memory[33 * MIB + 5] == 2 && memory[length - 1] == 3);
        CHECK_EQUAL(used_bytes(into), 3 * PAGE);
        munmap(memory, length);
        close(into);
    }
}

static void a_moved_memfd_keeps_its_holes(void) {
    size_t length = 64 * MIB;
    int from = make_memfd(length);
    int into = make_memfd(length);
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, from, 0);
    memory[9 * MIB] = 1;
    memory[length - 1] = 3;
    CHECK_EQUAL(convert(memory, length, from, into, features()), 0);
    CHECK(memory[9 * MIB] == 1 && memory[length - 1] == 3);
    CHECK_EQUAL(used_bytes(from), 2 * PAGE);
    CHECK_EQUAL(used_bytes(into), 2 * PAGE);
    munmap(memory, length);
    close(from);
    close(into);
}

/* The file size limit stops the copy in the middle; what is not moved stays private and writable.
 */
static void a_failure_on_the_way_loses_nothing(void) {
    size_t length = 16 * MIB;
    size_t moved = 3 * XM_CHUNK_BYTES;
    struct rlimit before;
    struct field field;
    char *memory = map_private(length);
    int into = make_memfd(length);
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQUAL(getrlimit(RLIMIT_FSIZE, &before), 0);
    start_writers(&field, memory, length);
    await_progress(&field);
    struct rlimit limit = {moved + XM_CHUNK_BYTES / 2, before.rlim_max};
    CHECK_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CHECK_EQUAL(convert(memory, length, -1, into, features()), -EFBIG);
    CHECK_EQUAL(setrlimit(RLIMIT_FSIZE, &before), 0);
    await_progress(&field);
    CHECK_EQUAL(shared_bytes(memory, length), moved);
    check_nothing_lost(&field);
    char *view = mmap(NULL, length, PROT_READ, MAP_SHARED, into, 0);
    CHECK(memcmp(view, memory, moved) == 0);
    munmap(view, length);
    /* The rest can be moved later, elsewhere. */
    int other = make_memfd(length);
    CHECK_EQUAL(convert(memory + moved, length - moved, -1, other, features()), 0);
    munmap(memory, length);
    close(into);
    close(other);
}

static void a_range_with_a_hole_fails_and_stays(void) {
    char *memory = map_private(4 * MIB);
    int into = make_memfd(4 * MIB);
    memset(memory, 7, 4 * MIB);
    munmap(memory + 3 * MIB, PAGE);
    CHECK(convert(memory, 4 * MIB, -1, into, features()) != 0);
    for (size_t i = 0; i < 3 * MIB; i += PAGE)
        CHECK_EQUAL(memory[i], 7);
    memory[0] = 8;
    munmap(memory, 4 * MIB);
    close(into);
}

/* An ordinary user gets a userfaultfd for faults in user mode only. */
static void no_store_is_lost_without_privilege(void) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct xm_userfault_ability ability;
        start_watchdog();
        CHECK_EQUAL(setgid(65534), 0);
        CHECK_EQUAL(setuid(65534), 0);
        xm_userfault_query(&ability);
        /* Where the machine gives everyone a full one there is nothing to see. */
        CHECK(ability.mode != XM_USERFAULT_NONE);
        CHECK((ability.mode == XM_USERFAULT_USER) == (ability.refusal != 0));
        convert_under_writers(16 * MIB, 5, ability.features);
        _exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
}

int main(void) {
    start_watchdog();
    if (geteuid() == 0)
        RUN(no_store_is_lost_without_privilege);
    RUN(no_store_is_lost);
    RUN(no_store_is_lost_without_wp_unpopulated);
    RUN(no_first_store_to_a_page_is_lost);
    RUN(no_store_is_lost_when_a_memfd_is_moved);
    RUN(untouched_pages_stay_holes);
    RUN(a_moved_memfd_keeps_its_holes);
    RUN(a_failure_on_the_way_loses_nothing);
    RUN(a_range_with_a_hole_fails_and_stays);
    return 0;
}
