/*
 * How the benchmark drives a limit program: it writes one command a line, a word and numbers, and
 * reads a line of numbers, mostly one, so that rounds of the product and of its limit can alternate.
 */

#ifndef BENCH_ROUNDS_H
#define BENCH_ROUNDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct round_command {
    char word[32];
    uint64_t numbers[3];
};

/* The next command; false at the end of the input. */
bool round_next(struct round_command *command);
/* Whether it is the command of that name. */
bool round_is(const struct round_command *command, const char *word);
void round_answer(double number);
void round_answers(const double *numbers, size_t count);

/* The monotonic clock, nanoseconds. */
uint64_t now_ns(void);
/* The median of `count` numbers, which are sorted by it. */
double median_of(double *numbers, size_t count);
/* Every number below `pages`, a power of two, once: an order that no read-ahead guesses. */
uint64_t next_page(uint64_t page, uint64_t pages);
/* Ends the program with the reason on stderr. */
_Noreturn void die(const char *what);

/* A fresh sparse memfd of that length. */
int fresh_memfd(uint64_t length);
/* Maps it for reading and writing. */
char *map_shared(int descriptor, uint64_t length);

#endif
