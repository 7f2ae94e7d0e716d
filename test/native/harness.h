/* What every test program here uses. A failed check ends the program and says where. */

#ifndef XM_HARNESS_H
#define XM_HARNESS_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../../native/core/maps.h"

#define PAGE 4096UL
#define MIB (1024UL * 1024)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s is false (errno %d)\n", __FILE__, __LINE__, #condition,     \
                    errno);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* Equality of integers, telling both. */
#define CHECK_EQUAL(actual, expected)                                                              \
    do {                                                                                           \
        long long actual_ = (long long)(actual);                                                   \
        long long expected_ = (long long)(expected);                                               \
        if (actual_ != expected_) {                                                                \
            fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #actual, actual_, \
                    expected_);                                                                    \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* Runs one test and names it. A test that hangs is ended by the program's watchdog. */
#define RUN(test)                                                                                  \
    do {                                                                                           \
        test();                                                                                    \
        printf("ok %s: %s\n", __FILE__, #test);                                                    \
        fflush(stdout);                                                                            \
    } while (0)

/* Ends the program by SIGALRM if it takes longer than any machine needs. */
static inline void start_watchdog(void) {
    alarm(900);
}

/* Lets other threads run while a condition is awaited; the watchdog bounds it. */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        while (!(condition))                                                                       \
            sched_yield();                                                                         \
    } while (0)

static inline pthread_t start_thread(void *(*run)(void *), void *argument) {
    pthread_t thread;
    CHECK_EQUAL(pthread_create(&thread, NULL, run, argument), 0);
    return thread;
}

static inline void *map_private(size_t length) {
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

/* Bytes of a range that are shared mappings of a file. */
static inline uint64_t shared_bytes(const void *memory, uint64_t length) {
    static char buffer[16384];
    struct xm_maps maps;
    struct xm_vma vma;
    uint64_t start = (uintptr_t)memory;
    uint64_t total = 0;
    CHECK_EQUAL(xm_maps_open(&maps, buffer, sizeof buffer), 0);
    while (xm_maps_next(&maps, &vma) > 0) {
        uint64_t from = vma.start > start ? vma.start : start;
        uint64_t to = vma.end < start + length ? vma.end : start + length;
        if (vma.shared && from < to)
            total += to - from;
    }
    xm_maps_close(&maps);
    return total;
}

#endif
