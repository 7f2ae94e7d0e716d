/*
 * The first touch of every page of a plain shared mapping of a memfd.
 *
 *   read BYTES            pages that the memfd has already: nanoseconds of mmap and the loads
 *   write-populated BYTES the same, with stores
 *   write-fresh BYTES     stores into an empty memfd
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rounds.h"

#define PAGE 4096

static volatile uint64_t sink;

static void touch_read(const volatile unsigned char *memory, uint64_t length) {
    uint64_t sum = 0;
    for (uint64_t at = 0; at < length; at += PAGE)
        sum += memory[at];
    sink = sum;
}

static void touch_write(volatile unsigned char *memory, uint64_t length) {
    for (uint64_t at = 0; at < length; at += PAGE)
        memory[at] = 1;
}

static double time_touch(int descriptor, uint64_t length, bool write) {
    uint64_t start = now_ns();
    unsigned char *memory = (unsigned char *)map_shared(descriptor, length);
    if (write)
        touch_write(memory, length);
    else
        touch_read(memory, length);
    uint64_t end = now_ns();
    munmap(memory, length);
    return (double)(end - start);
}

/* A memfd that has all its pages, kept for the rounds that follow. */
static int populated(uint64_t length) {
    static int descriptor = -1;
    static uint64_t size;
    if (descriptor >= 0 && size == length)
        return descriptor;
    descriptor = fresh_memfd(length);
    size = length;
    char *memory = map_shared(descriptor, length);
    memset(memory, 1, length);
    munmap(memory, length);
    return descriptor;
}

int main(void) {
    struct round_command command;
    while (round_next(&command)) {
        uint64_t length = command.numbers[0];
        if (round_is(&command, "read")) {
            round_answer(time_touch(populated(length), length, false));
        } else if (round_is(&command, "write-populated")) {
            round_answer(time_touch(populated(length), length, true));
        } else if (round_is(&command, "write-fresh")) {
            int descriptor = fresh_memfd(length);
            round_answer(time_touch(descriptor, length, true));
            close(descriptor);
        } else {
            fprintf(stderr, "touch: unknown command\n");
            return 1;
        }
    }
    return 0;
}
