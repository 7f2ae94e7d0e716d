/*
 * Moving a private mapping of a file into a memfd, in place and live, as convert.h does with
 * anonymous memory. userfaultfd cannot write-protect such a mapping, so it is taken away instead.
 *
 * Chunk by chunk: every page becomes one of the process's own (as its first store would make it), a
 * pipe gets references to these very page frames, and a mapping of the memfd on which every access
 * waits is moved over them: the frames hold the final bytes then. They are read out of the pipe
 * into the memfd, and the accesses go on. What nobody may store to is copied and mapped over.
 *
 * While a chunk is frozen even loads from it wait. It may be the data of the C library or of this
 * one: see raw_syscall.h.
 */

#ifndef XM_CONVERT_FILE_H
#define XM_CONVERT_FILE_H

#include <stdint.h>

#include "convert.h"

/*
 * Moves it: a private mapping of a regular file, readable and not executable; `from` is -1. Results
 * as of xm_convert. -EFAULT also if pages of it lie wholly beyond the end of the file, and if the
 * memfd is too small.
 *
 * Meanwhile the process must not fork, as that would part the frames from the memory, and no
 * thread may discard a part (MADV_DONTNEED: its bytes could come back, or stores be lost), unmap it
 * (it could be mapped again) or change its protection; nobody waits for ever if one does. The stack
 * and the thread descriptor of the calling thread must not lie in the range. Two kinds of stores
 * are not seen: those that are made through references to the old frames (O_DIRECT,
 * process_vm_writev under way), and those that ignore protection (/proc/self/mem).
 *
 * Where only a userfaultfd for user mode is to be had, a system call of another thread that
 * touches a frozen chunk fails with EFAULT. The C library ends the process if that happens to the
 * wait for one of its locks, which a thread comes to when it finds a lock in the chunk taken just
 * before the chunk is frozen.
 */
int xm_convert_file(const struct xm_conversion *conversion, uint64_t features);

#endif
