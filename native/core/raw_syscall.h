/*
 * System calls that touch no memory but their arguments: no procedure linkage table, no errno, no C
 * library. For functions that run while the data of any library, this one included, may be frozen.
 */

#ifndef XM_RAW_SYSCALL_H
#define XM_RAW_SYSCALL_H

#include <sys/syscall.h>

/* The stack protector's canary is a global of the dynamic linker on some machines. */
#if __has_attribute(no_stack_protector)
#define XM_RAW_UNPROTECTED __attribute__((no_stack_protector))
#else
#define XM_RAW_UNPROTECTED
#endif

/* The thread sanitizer of clang takes another attribute for its hooks. */
#if __has_attribute(disable_sanitizer_instrumentation)
#define XM_RAW_UNHOOKED __attribute__((disable_sanitizer_instrumentation))
#else
#define XM_RAW_UNHOOKED
#endif

#define XM_RAW_UNCHECKED                                                                           \
    XM_RAW_UNPROTECTED XM_RAW_UNHOOKED                                                             \
        __attribute__((no_sanitize("address", "undefined", "thread")))

/*
 * Marks a function that calls nothing but xm_raw_syscall and reads and writes nothing but its stack
 * and what its caller keeps on a stack. It must stay a function of its own: a sanitizer's checks
 * and hooks are left out of it, and would come back where it was inlined.
 */
#define XM_RAW __attribute__((noinline)) XM_RAW_UNCHECKED

/* The result, or a negative errno from -4095 on. */
static inline __attribute__((always_inline)) XM_RAW_UNCHECKED long
xm_raw_syscall(long number, long a, long b, long c, long d, long e) {
#if defined(__x86_64__)
    register long fourth __asm__("r10") = d;
    register long fifth __asm__("r8") = e;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long result __asm__("x0") = a;
    register long second __asm__("x1") = b;
    register long third __asm__("x2") = c;
    register long fourth __asm__("x3") = d;
    register long fifth __asm__("x4") = e;
    register long which __asm__("x8") = number;
    __asm__ volatile("svc #0"
                     : "+r"(result)
                     : "r"(second), "r"(third), "r"(fourth), "r"(fifth), "r"(which)
                     : "memory");
    return result;
#else
#error "system calls of this machine are not known here"
#endif
}

#endif
