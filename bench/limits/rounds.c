#include "rounds.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

bool round_next(struct round_command *command) {
    char line[128];
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    *command = (struct round_command){0};
    int found = sscanf(line, "%31s %" SCNu64 " %" SCNu64 " %" SCNu64, command->word,
                       &command->numbers[0], &command->numbers[1], &command->numbers[2]);
    return found >= 1;
}

bool round_is(const struct round_command *command, const char *word) {
    return strcmp(command->word, word) == 0;
}

void round_answer(double number) {
    round_answers(&number, 1);
}

void round_answers(const double *numbers, size_t count) {
    for (size_t i = 0; i < count; i++)
        printf("%.1f%c", numbers[i], i + 1 < count ? ' ' : '\n');
    fflush(stdout);
}

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

double median_of(double *numbers, size_t count) {
    qsort(numbers, count, sizeof *numbers, compare);
    return numbers[count / 2];
}

uint64_t next_page(uint64_t page, uint64_t pages) {
    return (page * 5 + 12345) % pages;
}

_Noreturn void die(const char *what) {
    perror(what);
    exit(1);
}

int fresh_memfd(uint64_t length) {
    int descriptor = memfd_create("bench", MFD_CLOEXEC);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)length) != 0)
        die("memfd");
    return descriptor;
}

char *map_shared(int descriptor, uint64_t length) {
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    return memory;
}
