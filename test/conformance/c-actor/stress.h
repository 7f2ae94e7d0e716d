/*
 * The stress test's control area, through which an owner tells attachers of its live buffers; see
 * `test/stress/control.ts` for the same in TypeScript.
 *
 * A buffer of generation `seed` holds the pattern of that seed, but for one word of each attacher,
 * at byte `WORDS_AT`, which that attacher writes (and notes in `written`) and the owner checks.
 * Buffers of less than `SMALLEST_WITH_WORDS` bytes have no words.
 */

#ifndef STRESS_H
#define STRESS_H

#include <stdatomic.h>
#include <stdint.h>

#define ATTACHERS 3
#define SLOTS 128
#define SLOTS_AT 4096
#define WORDS_AT 16
#define SMALLEST_WITH_WORDS 32
/* The bit of a slot's state that says that there is a buffer; below it those that look are counted.
 */
#define LIVE (1 << 30)

struct slot {
    _Atomic int32_t state;
    uint32_t seed;
    uint64_t address;
    uint64_t length;
    uint32_t written[ATTACHERS];
    uint32_t unused[7];
};

struct control {
    _Atomic int32_t stop;
    char unused[SLOTS_AT - 4];
    struct slot slots[SLOTS];
};

_Static_assert(sizeof(struct slot) == 64, "as in control.ts");

/* Where the first byte of a buffer is that is not as it should be (words apart), or `length`. */
uint64_t first_wrong(const uint8_t *buffer, uint64_t length, uint32_t seed);
/* A step of a generator of numbers; the state is not 0. */
uint32_t next_random(uint32_t *state);

#endif
