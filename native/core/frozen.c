/*
 * Nothing in this file may call a function, read a global, constant data or errno: each may be in
 * the frozen chunk, and who touches that waits for the thread that is in here. Compiled without
 * sanitizers it has no undefined symbol and no relocation; the tests' Makefile looks.
 */

#include "frozen.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define RAW_INLINE static inline __attribute__((always_inline)) XM_RAW_UNCHECKED

/* Bytes of the kernel's signal set. */
#define SIGNAL_SET_BYTES 8

/* All of them: a handler may be anywhere, and those that the C library sends to every thread
 * (setuid) are not left out by its own functions. */
RAW_INLINE uint64_t block_signals(void) {
    uint64_t all = UINT64_MAX;
    uint64_t before = 0;
    xm_raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&before, SIGNAL_SET_BYTES, 0);
    return before;
}

RAW_INLINE void restore_signals(uint64_t before) {
    xm_raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&before, 0, SIGNAL_SET_BYTES, 0);
}

RAW_INLINE void tell(struct xm_reader *reader, int32_t state) {
    __atomic_store_n(&reader->state, state, __ATOMIC_RELEASE);
    xm_raw_syscall(SYS_futex, (long)&reader->state, FUTEX_WAKE, 1, 0, 0);
}

XM_RAW void xm_reader_run(struct xm_reader *reader) {
    uint64_t before = block_signals();
    tell(reader, XM_READER_READS);
    for (;;) {
        /* Field by field: a compiler would take the events of both from a constant in memory. */
        volatile struct pollfd waiting[2];
        waiting[0].fd = reader->userfault;
        waiting[0].events = POLLIN;
        waiting[1].fd = reader->stop;
        waiting[1].events = POLLIN;
        waiting[1].revents = 0;
        struct uffd_msg message;
        xm_raw_syscall(SYS_ppoll, (long)waiting, 2, 0, 0, 0);
        if (waiting[1].revents != 0)
            break;
        /* It does not block. What is read is of no interest: faults are ended by their range. */
        xm_raw_syscall(SYS_read, reader->userfault, (long)&message, sizeof message, 0, 0);
    }
    tell(reader, XM_READER_ENDS);
    restore_signals(before);
}

/* Closing lets everybody go on, once no call of another thread holds the descriptor. */
RAW_INLINE void close_userfault(struct xm_reader *reader) {
    uint64_t one = 1;
    int32_t state;
    xm_raw_syscall(SYS_write, reader->stop, (long)&one, sizeof one, 0, 0);
    while ((state = __atomic_load_n(&reader->state, __ATOMIC_ACQUIRE)) != XM_READER_ENDS)
        xm_raw_syscall(SYS_futex, (long)&reader->state, FUTEX_WAIT, state, 0, 0);
    xm_raw_syscall(SYS_close, reader->userfault, 0, 0, 0, 0);
}

XM_RAW int xm_frozen_move(const struct xm_frozen_move *move) {
    uint64_t before = block_signals();
    long result =
        xm_raw_syscall(SYS_mremap, (long)move->trap, (long)move->length, (long)move->length,
                       MREMAP_MAYMOVE | MREMAP_FIXED, (long)move->address);
    if (result >= 0) {
        uint64_t done = 0;
        while (done < move->length) {
            long got = xm_raw_syscall(SYS_read, move->pipe, (long)(move->view + done),
                                      (long)(move->length - done), 0, 0);
            /* Want of memory, which a swapped-out page may need: to give up would lose bytes. */
            if (got <= 0)
                xm_raw_syscall(SYS_sched_yield, 0, 0, 0, 0, 0);
            else
                done += (uint64_t)got;
        }
        /* In this order: who is woken while it is registered waits again, and ending a registration
         * for minor faults wakes nobody. */
        struct uffdio_range range = {move->address, move->length};
        result = xm_raw_syscall(SYS_ioctl, move->reader->userfault, UFFDIO_UNREGISTER, (long)&range,
                                0, 0);
        if (result >= 0)
            result =
                xm_raw_syscall(SYS_ioctl, move->reader->userfault, UFFDIO_WAKE, (long)&range, 0, 0);
        if (result < 0) {
            close_userfault(move->reader);
            result = 1;
        }
    }
    restore_signals(before);
    return (int)result;
}
