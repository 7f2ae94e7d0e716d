/*
 * How the benchmark drives a limit program: it writes one command a line, a word and numbers, and
 * reads one number a line, so that rounds of the product and of its limit can alternate.
 */

#ifndef BENCH_ROUNDS_H
#define BENCH_ROUNDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct round_command {
    char word[32];
    uint64_t numbers[2];
};

/* The next command; false at the end of the input. */
bool round_next(struct round_command *command);
/* Whether it is the command of that name. */
bool round_is(const struct round_command *command, const char *word);
void round_answer(double number);

/* The monotonic clock, nanoseconds. */
uint64_t now_ns(void);
/* The median of `count` numbers, which are sorted by it. */
double median_of(double *numbers, size_t count);
/* Ends the program with the reason on stderr. */
_Noreturn void die(const char *what);

/* A fresh sparse memfd of that length. */
int fresh_memfd(uint64_t length);
/* Maps it for reading and writing. */
char *map_shared(int descriptor, uint64_t length);

#endif
