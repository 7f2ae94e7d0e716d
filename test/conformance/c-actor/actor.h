/*
 * The C process that the conformance cases drive: it does what lines on its standard input say and
 * answers on its standard output. `test/support/c-actor.ts` is the other end.
 *
 * A request is `ID NAME ARGUMENT… KEY=VALUE…`; the answer `ID ok VALUE…` or `ID error CODE TEXT`.
 * Numbers are decimal, bytes hexadecimal, text is percent-encoded.
 */

#ifndef ACTOR_H
#define ACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_ARGUMENTS 12
#define PAGE ((size_t)4096)

struct request {
    char *line;
    const char *id;
    const char *name;
    const char *arguments[MAX_ARGUMENTS];
    size_t count;
};

/* What a call is: its name, what it does, and whether it may take long and so gets a thread. */
struct call {
    const char *name;
    void (*run)(struct request *request);
    bool blocks;
};

/* Each ends with a call that has no name. */
extern const struct call memory_calls[];
extern const struct call mapping_calls[];
extern const struct call xpmem_calls[];
extern const struct call sync_calls[];
extern const struct call thread_calls[];
extern const struct call process_calls[];
extern const struct call stress_calls[];
extern const struct call visitor_calls[];

/* lines.c: requests and answers. What is no number, or not there, ends the program. */
struct request *parse_request(const char *line, size_t length);
void free_request(struct request *request);
uint64_t number(const struct request *request, size_t index);
const char *text(const struct request *request, size_t index);
/* The bytes, to be freed, and their count. */
uint8_t *bytes(const struct request *request, size_t index, size_t *length);
/* The value of `key=`, or `otherwise`. */
uint64_t option(const struct request *request, const char *key, uint64_t otherwise);
const char *text_option(const struct request *request, const char *key);

/* Answers `ok` and what the format makes; an empty format answers `ok` alone. */
void answer(const struct request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void answer_bytes(const struct request *request, const uint8_t *bytes, size_t length);
void fail(const struct request *request, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void fail_errno(const struct request *request, int error);
void fail_signal(const struct request *request, int signal);
/* Tells something that was not asked for. */
void tell(const char *event);
/* Holds back all answers over a fork, so that the child does not inherit a held lock. */
void hold_answers(void);
void let_answers(void);

/* things.c: what the test refers to by small numbers. */
struct thing {
    char *address;
    size_t length;
    /* A segid or an apid. */
    int64_t id;
};

size_t keep(struct thing thing);
struct thing *thing(const struct request *request, size_t index);

/* faults.c: memory that may not be there. The signal that an access raised, or 0. */
void catch_faults(void);
int guarded_read(uint8_t *into, const void *from, size_t length);
int guarded_write(void *to, const uint8_t *from, size_t length);

/* memory.c: the addresses of the main thread's stack, which `main` lends. */
void lend_main_stack(char *bytes, size_t length);

/* A byte of the pattern of a seed; the same in `test/support/pattern.ts`. */
uint8_t pattern(uint64_t index, uint32_t seed);

/* main.c: reads requests from a descriptor until it ends. */
int serve(int descriptor);

/* Says what went wrong in the test program itself and ends it. */
_Noreturn void die(const char *what);

#endif
