/* A private mapping of a file, counters all over it, and threads that add to them and watch them.
 */

#ifndef XM_FILE_FIELD_H
#define XM_FILE_FIELD_H

#include <fcntl.h>

#include "../../native/core/convert_file.h"
#include "../../native/core/memory.h"
#include "harness.h"

#define WRITERS 2
#define READERS 2
#define WORDS_PER_PAGE (PAGE / sizeof(uint64_t))
/* So few that each is looked at again and again. */
#define COUNTERS_PER_PAGE 4UL

struct field {
    _Atomic uint64_t *words;
    size_t length;
    atomic_bool stop;
    pthread_t threads[WRITERS + READERS];
    _Atomic uint64_t done[WRITERS + READERS];
};

struct hand {
    struct field *field;
    int number;
};

static inline size_t counter_count(const struct field *field) {
    return field->length / PAGE * COUNTERS_PER_PAGE;
}

static inline size_t counter_word(size_t counter) {
    return counter * (WORDS_PER_PAGE / COUNTERS_PER_PAGE);
}

/* What the file holds at a word. */
static inline uint64_t initial_word(size_t word) {
    return word * 7 + 1;
}

static inline uint32_t next_random(uint32_t *state) {
    *state = *state * 1103515245 + 12345;
    return *state >> 8;
}

static inline void *add_at_random(void *argument) {
    struct hand hand = *(struct hand *)argument;
    struct field *field = hand.field;
    uint32_t state = (uint32_t)hand.number + 1;
    free(argument);
    while (!atomic_load(&field->stop)) {
        size_t counter = next_random(&state) % counter_count(field);
        atomic_fetch_add(&field->words[counter_word(counter)], 1);
        atomic_fetch_add(&field->done[hand.number], 1);
    }
    return NULL;
}

static inline void *watch_at_random(void *argument) {
    struct hand hand = *(struct hand *)argument;
    struct field *field = hand.field;
    size_t count = counter_count(field);
    uint64_t *least = malloc(count * sizeof *least);
    uint32_t state = (uint32_t)hand.number + 1;
    free(argument);
    for (size_t i = 0; i < count; i++)
        least[i] = initial_word(counter_word(i));
    while (!atomic_load(&field->stop)) {
        size_t counter = next_random(&state) % count;
        size_t word = counter_word(counter);
        uint64_t value = atomic_load(&field->words[word]);
        CHECK(value >= least[counter]);
        least[counter] = value;
        CHECK_EQUAL(atomic_load(&field->words[word + 1]), initial_word(word + 1));
        atomic_fetch_add(&field->done[hand.number], 1);
    }
    free(least);
    return NULL;
}

static inline void start_field(struct field *field, void *memory, size_t length) {
    field->words = memory;
    field->length = length;
    atomic_store(&field->stop, false);
    for (int i = 0; i < WRITERS + READERS; i++) {
        struct hand *hand = malloc(sizeof *hand);
        *hand = (struct hand){field, i};
        atomic_store(&field->done[i], 0);
        field->threads[i] = start_thread(i < WRITERS ? add_at_random : watch_at_random, hand);
    }
}

/* Waits until all threads have gone on after now. */
static inline void await_progress(struct field *field) {
    for (int i = 0; i < WRITERS + READERS; i++) {
        uint64_t before = atomic_load(&field->done[i]);
        WAIT_UNTIL(atomic_load(&field->done[i]) > before + 1000);
    }
}

/* Ends the threads; every addition must be there and every other word as it was. */
static inline void end_field(struct field *field) {
    uint64_t added = 0;
    uint64_t seen = 0;
    atomic_store(&field->stop, true);
    for (int i = 0; i < WRITERS + READERS; i++) {
        pthread_join(field->threads[i], NULL);
        added += i < WRITERS ? atomic_load(&field->done[i]) : 0;
    }
    for (size_t word = 0; word < field->length / sizeof(uint64_t); word++) {
        uint64_t more = atomic_load(&field->words[word]) - initial_word(word);
        if (word % (WORDS_PER_PAGE / COUNTERS_PER_PAGE) == 0)
            seen += more;
        else
            CHECK_EQUAL(more, 0);
    }
    CHECK_EQUAL(seen, added);
}

/* A file that has lost its name, of so many initial words and perhaps part of another. */
static inline int make_file(size_t length) {
    char name[] = "/tmp/xpmem-file-XXXXXX";
    int descriptor = mkstemp(name);
    CHECK(descriptor >= 0);
    CHECK_EQUAL(unlink(name), 0);
    CHECK_EQUAL(ftruncate(descriptor, (off_t)length), 0);
    size_t mapped = (length + PAGE - 1) / PAGE * PAGE;
    uint64_t *words = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    CHECK(words != MAP_FAILED);
    for (size_t word = 0; word < length / sizeof *words; word++)
        words[word] = initial_word(word);
    munmap(words, mapped);
    return descriptor;
}

static inline void *map_file(int descriptor, size_t length, int protection) {
    void *memory = mmap(NULL, length, protection, MAP_PRIVATE, descriptor, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static inline int make_memfd(size_t length) {
    int descriptor = xm_memfd_create(length);
    CHECK(descriptor >= 0);
    return descriptor;
}

static inline int move_file(void *memory, size_t length, int protection, int into,
                            uint64_t into_offset) {
    struct xm_userfault_ability ability;
    struct xm_conversion conversion = {.address = (uintptr_t)memory,
                                       .length = length,
                                       .protection = protection,
                                       .from = -1,
                                       .into = into,
                                       .into_offset = into_offset};
    xm_userfault_query(&ability);
    CHECK(ability.mode != XM_USERFAULT_NONE);
    return xm_convert_file(&conversion, ability.features);
}

#endif
