/* Which program runs in this process; the death of others, and for diagnosis their memory. */

#ifndef XM_PROCESS_H
#define XM_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A random number of the program that runs in this process: the program that an exec puts in its
 * place has another, and nobody else knows either. 0 or a negative errno.
 */
int xm_image(uint64_t *image);

/* A pidfd of the process, close-on-exec, or a negative errno: -ESRCH if there is none. */
int xm_pidfd_open(pid_t pid);

/* process_vm_readv: bytes read, which may be fewer than asked for, or a negative errno. */
ssize_t xm_process_read(pid_t pid, uint64_t address, void *into, size_t length);

#endif
