#include "process.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int xm_image(uint64_t *image) {
    /* 0 until somebody asked. */
    static _Atomic uint64_t drawn;
    uint64_t fresh;
    uint64_t before = atomic_load(&drawn);
    while (before == 0) {
        ssize_t length = getrandom(&fresh, sizeof fresh, 0);
        if (length < 0 && errno != EINTR)
            return -errno;
        if (length == sizeof fresh && atomic_compare_exchange_strong(&drawn, &before, fresh))
            before = fresh;
    }
    *image = before;
    return 0;
}

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
