#include "process.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int xm_pidfd_open(pid_t pid) {
    long descriptor = syscall(SYS_pidfd_open, pid, 0);
    return descriptor < 0 ? -errno : (int)descriptor;
}

ssize_t xm_process_read(pid_t pid, uint64_t address, void *into, size_t length) {
    struct iovec local = {into, length};
    struct iovec remote = {(void *)(uintptr_t)address, length};
    ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    return got < 0 ? -errno : got;
}
