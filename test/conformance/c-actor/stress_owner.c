/*
 * The owner of the stress test: threads that allocate, fill, check and free all the time, in a
 * process whose whole address space is offered.
 */
#include "actor.h"
#include "stress.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WORKERS 4
#define OWN_SLOTS (SLOTS / WORKERS)

struct worker {
    pthread_t thread;
    uint32_t random;
    unsigned index;
    uint64_t buffers;
    char failure[200];
};

static struct control *control;
static struct worker workers[WORKERS];

uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static bool is_word(uint64_t at, uint64_t length) {
    return length >= SMALLEST_WITH_WORDS && at >= WORDS_AT && at < WORDS_AT + 4 * ATTACHERS;
}

uint64_t first_wrong(const uint8_t *buffer, uint64_t length, uint32_t seed) {
    uint64_t at = 0;
    while (at < length && (is_word(at, length) || buffer[at] == pattern(at, seed)))
        at += 1;
    return at;
}

static bool wrong(struct worker *worker, const struct slot *slot, const char *what, uint64_t at,
                  unsigned value, unsigned expected) {
    snprintf(worker->failure, sizeof worker->failure,
             "%s: %#x instead of %#x at byte %" PRIu64 " of %" PRIu64 " at %#" PRIx64, what, value,
             expected, at, slot->length, slot->address);
    atomic_store(&control->stop, 1);
    return false;
}

static uint64_t random_length(uint32_t *random) {
    unsigned bits = 4 + next_random(random) % 18;
    return (UINT64_C(1) << bits) + next_random(random) % (UINT32_C(1) << bits);
}

static void publish(struct worker *worker, struct slot *slot, uint8_t *buffer, uint64_t length) {
    slot->address = (uintptr_t)buffer;
    slot->length = length;
    slot->seed = next_random(&worker->random);
    memset(slot->written, 0, sizeof slot->written);
    for (uint64_t at = 0; at < length; at += 1)
        buffer[at] = is_word(at, length) ? 0 : pattern(at, slot->seed);
    worker->buffers += 1;
    atomic_store(&slot->state, LIVE);
}

/* A new buffer; what calloc gives must be zero. */
static bool fill_slot(struct worker *worker, struct slot *slot) {
    uint64_t length = random_length(&worker->random);
    bool zeroed = next_random(&worker->random) % 2 == 0;
    uint8_t *buffer = zeroed ? calloc(1, length) : malloc(length);
    if (buffer == NULL)
        die("malloc");
    slot->address = (uintptr_t)buffer;
    slot->length = length;
    for (uint64_t at = 0; zeroed && at < length; at += 1)
        if (buffer[at] != 0)
            return wrong(worker, slot, "calloc", at, buffer[at], 0);
    publish(worker, slot, buffer, length);
    return true;
}

/* The buffer is as it was filled, and holds the words that attachers say they wrote. */
static bool check(struct worker *worker, const struct slot *slot, const uint8_t *buffer,
                  uint64_t length, const char *what) {
    uint64_t at = first_wrong(buffer, length, slot->seed);
    if (at < length)
        return wrong(worker, slot, what, at, buffer[at], pattern(at, slot->seed));
    for (unsigned index = 0; length >= SMALLEST_WITH_WORDS && index < ATTACHERS; index += 1) {
        uint32_t word;
        memcpy(&word, buffer + WORDS_AT + 4 * index, sizeof word);
        if (word != slot->written[index])
            return wrong(worker, slot, "an attacher's word", WORDS_AT + 4 * index, word,
                         slot->written[index]);
    }
    return true;
}

/* realloc keeps what was there, as far as both lengths go. */
static bool resize(struct worker *worker, struct slot *slot) {
    uint64_t length = random_length(&worker->random);
    uint64_t kept = length < slot->length ? length : slot->length;
    uint8_t *buffer = realloc((void *)(uintptr_t)slot->address, length);
    if (buffer == NULL)
        die("realloc");
    slot->address = (uintptr_t)buffer;
    if (slot->length >= SMALLEST_WITH_WORDS && kept < SMALLEST_WITH_WORDS)
        kept = kept < WORDS_AT ? kept : WORDS_AT;
    if (!check(worker, slot, buffer, kept, "realloc"))
        return false;
    publish(worker, slot, buffer, length);
    return true;
}

/* Takes a buffer back if nobody looks at it, and frees or resizes it. */
static bool turn_over(struct worker *worker, struct slot *slot) {
    int32_t unseen = LIVE;
    if (!atomic_compare_exchange_strong(&slot->state, &unseen, 0))
        return true;
    uint8_t *buffer = (uint8_t *)(uintptr_t)slot->address;
    if (!check(worker, slot, buffer, slot->length, "the owner's own view"))
        return false;
    if (next_random(&worker->random) % 3 == 0)
        return resize(worker, slot);
    free(buffer);
    return true;
}

static void *start_and_end(void *argument) {
    free(malloc(1000));
    return argument;
}

/* What else a process does with its address space. */
static void disturb(uint32_t *random) {
    if (next_random(random) % 2 == 0) {
        void *library = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
        if (library == NULL || dlclose(library) != 0)
            die("dlopen");
    } else {
        pthread_t thread;
        if (pthread_create(&thread, NULL, start_and_end, NULL) != 0 ||
            pthread_join(thread, NULL) != 0)
            die("pthread_create");
    }
}

static void *work(void *argument) {
    struct worker *worker = argument;
    struct slot *own = &control->slots[worker->index * OWN_SLOTS];
    bool right = true;
    while (right && atomic_load(&control->stop) == 0) {
        struct slot *slot = &own[next_random(&worker->random) % OWN_SLOTS];
        right = atomic_load(&slot->state) == 0 ? fill_slot(worker, slot) : turn_over(worker, slot);
        if (next_random(&worker->random) % 256 == 0)
            disturb(&worker->random);
    }
    return NULL;
}

/* stressOwner SEED: starts the threads; where the control area lies */
static void call_start(struct request *request) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (control == MAP_FAILED)
        die("mmap");
    for (unsigned index = 0; index < WORKERS; index += 1) {
        struct worker *worker = &workers[index];
        worker->index = index;
        worker->random = (uint32_t)number(request, 0) * (index + 1) | 1;
        if (pthread_create(&worker->thread, NULL, work, worker) != 0)
            die("pthread_create");
    }
    answer(request, "b:%" PRIuPTR, (uintptr_t)control);
}

/* stressEnd: ends everybody and looks at every buffer; how many buffers there were */
static void call_end(struct request *request) {
    uint64_t buffers = 0;
    atomic_store(&control->stop, 1);
    for (unsigned index = 0; index < WORKERS; index += 1)
        pthread_join(workers[index].thread, NULL);
    for (unsigned index = 0; index < WORKERS; index += 1) {
        struct worker *worker = &workers[index];
        for (unsigned at = 0; worker->failure[0] == '\0' && at < OWN_SLOTS; at += 1) {
            struct slot *slot = &control->slots[index * OWN_SLOTS + at];
            if (atomic_load(&slot->state) == LIVE)
                check(worker, slot, (uint8_t *)(uintptr_t)slot->address, slot->length,
                      "at the end");
        }
        if (worker->failure[0] != '\0')
            return fail(request, "EWRONG", "thread %u, %s", index, worker->failure);
        buffers += worker->buffers;
    }
    answer(request, "n:%" PRIu64, buffers);
}

const struct call stress_calls[] = {
    {"stressOwner", call_start, false},
    {"stressEnd", call_end, true},
    {NULL, NULL, false},
};
