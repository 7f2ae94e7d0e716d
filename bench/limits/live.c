/*
 * Moving memory that is in use: memcpy into a fresh memfd, and the core's live conversion.
 *
 *   memcpy BYTES WRITERS  nanoseconds of mmap and memcpy, while WRITERS threads write to the source
 *   core BYTES WRITERS    nanoseconds of xm_convert, the same; fails if a write is lost
 *
 * Each writer increments random 32-bit counters in the memory, atomically, and counts.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../native/core/convert.h"
#include "../../native/core/memory.h"
#include "../../native/core/userfault.h"
#include "rounds.h"

#define MAX_WRITERS 8
/* Every byte is 1 at first: the core leaves out pages of zeros, which would not be a copy. */
#define FIRST_VALUE UINT32_C(0x01010101)
#define TURN 1024

struct writer {
    pthread_t thread;
    uint64_t writes;
    uint32_t seed;
};

static _Atomic uint32_t *counters;
static uint64_t counter_count;
static atomic_bool stopping;

static void *write_on(void *argument) {
    struct writer *writer = argument;
    uint32_t random = writer->seed;
    while (!atomic_load(&stopping)) {
        for (int i = 0; i < TURN; i++) {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            atomic_fetch_add_explicit(&counters[random % counter_count], 1, memory_order_relaxed);
        }
        writer->writes += TURN;
    }
    return NULL;
}

static void start(struct writer *writers, uint64_t count) {
    atomic_store(&stopping, false);
    for (uint64_t i = 0; i < count; i++) {
        writers[i] = (struct writer){.seed = (uint32_t)(i + 1) * 2654435761u};
        if (pthread_create(&writers[i].thread, NULL, write_on, &writers[i]) != 0)
            die("pthread_create");
    }
    usleep(20000);
}

/* Ends the writers; how often they wrote. */
static uint64_t stop(struct writer *writers, uint64_t count) {
    uint64_t writes = 0;
    usleep(20000);
    atomic_store(&stopping, true);
    for (uint64_t i = 0; i < count; i++) {
        pthread_join(writers[i].thread, NULL);
        writes += writers[i].writes;
    }
    return writes;
}

static uint64_t copy(const char *source, uint64_t length) {
    int descriptor = fresh_memfd(length);
    uint64_t begin = now_ns();
    char *into = map_shared(descriptor, length);
    memcpy(into, source, length);
    uint64_t took = now_ns() - begin;
    munmap(into, length);
    close(descriptor);
    return took;
}

static uint64_t convert(char *source, uint64_t length) {
    struct xm_userfault_ability ability;
    xm_userfault_query(&ability);
    uint64_t begin = now_ns();
    int descriptor = xm_memfd_create(length);
    struct xm_conversion conversion = {.address = (uintptr_t)source,
                                       .length = length,
                                       .protection = PROT_READ | PROT_WRITE,
                                       .from = -1,
                                       .into = descriptor};
    if (descriptor < 0 || xm_convert(&conversion, ability.features) != 0)
        die("xm_convert");
    uint64_t took = now_ns() - begin;
    close(descriptor);
    return took;
}

static void check(uint64_t writes) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < counter_count; i++)
        sum += counters[i];
    if (sum == counter_count * FIRST_VALUE + writes)
        return;
    fprintf(stderr, "live: writes were lost\n");
    _exit(1);
}

static double run(bool core, uint64_t length, uint64_t count) {
    struct writer writers[MAX_WRITERS];
    char *source = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (source == MAP_FAILED || count > MAX_WRITERS)
        die("source");
    memset(source, 1, length);
    counters = (_Atomic uint32_t *)source;
    counter_count = length / sizeof *counters;
    start(writers, count);
    uint64_t took = core ? convert(source, length) : copy(source, length);
    check(stop(writers, count));
    munmap(source, length);
    return (double)took;
}

int main(void) {
    struct round_command command;
    while (round_next(&command))
        round_answer(run(round_is(&command, "core"), command.numbers[0], command.numbers[1]));
    return 0;
}
