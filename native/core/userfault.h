/* userfaultfd: how a thread's stores are held up while its memory is moved. */

#ifndef XM_USERFAULT_H
#define XM_USERFAULT_H

#include <stdbool.h>
#include <stdint.h>

/* Feature bits that linux/userfaultfd.h of an older kernel may lack. */
#define XM_FEATURE_WP_PRIVATE (UINT64_C(1) << 0)
#define XM_FEATURE_EVENT_REMAP (UINT64_C(1) << 2)
#define XM_FEATURE_MISSING_SHMEM (UINT64_C(1) << 5)
#define XM_FEATURE_EVENT_UNMAP (UINT64_C(1) << 6)
#define XM_FEATURE_THREAD_ID (UINT64_C(1) << 8)
#define XM_FEATURE_WP_SHMEM (UINT64_C(1) << 12)
/* Linux 6.4: write protection holds on private pages that were never touched. */
#define XM_FEATURE_WP_UNPOPULATED (UINT64_C(1) << 13)

/* Linux 6.4: pages can be mapped write-protected. */
#define XM_CONTINUE_MODE_WP (UINT64_C(1) << 1)

enum xm_userfault_mode {
    XM_USERFAULT_NONE,
    /* A system call that faults fails with EFAULT; a load or store waits. */
    XM_USERFAULT_USER,
    /* A system call that faults waits too. */
    XM_USERFAULT_FULL,
};

struct xm_userfault_ability {
    enum xm_userfault_mode mode;
    uint64_t features;
    /* The errno with which a full userfaultfd was refused; 0 where it is given. */
    int refusal;
};

/* Asks the kernel what this process may do now. */
void xm_userfault_query(struct xm_userfault_ability *ability);

/* The best userfaultfd there is, with those features enabled. The descriptor, or a negative errno.
 */
int xm_userfault_open(uint64_t features);

/* What faults a range is registered for. */
#define XM_REGISTER_MISSING (UINT64_C(1) << 0)
#define XM_REGISTER_WP (UINT64_C(1) << 1)

/* 0 or a negative errno; `ioctls` (may be NULL) gets the calls the range supports. */
int xm_userfault_register(int userfault, uint64_t address, uint64_t length, uint64_t modes,
                          uint64_t *ioctls);
/*
 * Ends what a range is registered for and lets its threads go on, as a close does unless a forked
 * child has a copy of the descriptor. 0 or a negative errno.
 */
int xm_userfault_unregister(int userfault, uint64_t address, uint64_t length);
/* Makes stores to the range wait, or lets them go on. 0 or a negative errno. */
int xm_userfault_protect(int userfault, uint64_t address, uint64_t length, bool protect);
/* As that, but -EAGAIN when the address space is changing, and nobody is woken. */
int xm_userfault_try_protect(int userfault, uint64_t address, uint64_t length, bool protect);
/*
 * As xm_userfault_protect, but -EAGAIN when the address space is changing: for who reads the
 * events, without which it would be changing for ever.
 */
int xm_userfault_protect_once(int userfault, uint64_t address, uint64_t length, bool protect);
/*
 * Puts content where a range of shared memory has holes, mapped at once, and wakes who waits there;
 * write-protected if `protect`. How many bytes of it, which may be less than all, or a negative
 * errno: -EAGAIN as above, -EEXIST if the first page is there.
 */
int64_t xm_userfault_copy(int userfault, uint64_t address, const void *from, uint64_t length,
                          bool protect);
/*
 * Maps pages that the file under shared memory has, whatever file that is, write-protected, and
 * wakes who waits there. As above; -EEXIST if the first page is mapped, -EFAULT if the file does
 * not have it, -EINVAL of a kernel that cannot map write-protected (before 6.4).
 */
int64_t xm_userfault_map(int userfault, uint64_t address, uint64_t length);
/* Between who maps something over registered memory and who reads the events. */
struct xm_userfault_gate {
    int32_t mapping;
    int32_t reading;
};

/*
 * As that, to see whether a range is still registered just before something is mapped over it:
 * -ENOENT if something else is mapped there. It was seen while `mapping` was set and nobody was
 * reading events; with none read until the caller clears it, no program that unmapped something
 * since then has gone on.
 */
int xm_userfault_look(int userfault, uint64_t address, uint64_t length, bool protect,
                      struct xm_userfault_gate *gate);
void xm_userfault_looked(struct xm_userfault_gate *gate);
/* Lets threads that wait in the range try again. 0 or a negative errno. */
int xm_userfault_wake(int userfault, uint64_t address, uint64_t length);

#endif
