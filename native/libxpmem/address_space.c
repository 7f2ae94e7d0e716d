#include "address_space.h"

#include <sys/auxv.h>

/* Where the kernel does not tell: what x86_64 has. */
#define USUAL_END (UINT64_C(1) << 47)

uint64_t xm_address_space_end(void) {
    /* The program's name lies above the first stack, at the top of the address space but for what
     * randomization takes; the end is a power of two: 2^47 on x86_64, mostly 2^48 on aarch64. */
    uint64_t top = getauxval(AT_EXECFN);
    if (top == 0 || top > INT64_MAX / 2)
        return USUAL_END;
    uint64_t end = 1;
    while (end <= top)
        end <<= 1;
    return end;
}
