#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

/* From linux/memfd.h of Linux 6.3: not executable, and sealed so. */
#define NOEXEC_SEAL 0x8U

#define REQUIRED_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

size_t xm_page_size(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

bool xm_range_valid(uint64_t address, uint64_t length) {
    uint64_t page = xm_page_size();
    /* No user address space of a 64-bit Linux reaches beyond its lower half. */
    return length != 0 && address % page == 0 && length % page == 0 && address < INT64_MAX &&
           length < INT64_MAX - address;
}

/* Kernels before 6.3 know no NOEXEC_SEAL, and some later ones insist on it (vm.memfd_noexec=2). */
static int create_unsealed(void) {
    int descriptor = memfd_create("xpmem", MFD_CLOEXEC | MFD_ALLOW_SEALING | NOEXEC_SEAL);
    if (descriptor < 0 && errno == EINVAL)
        descriptor = memfd_create("xpmem", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return descriptor < 0 ? -errno : descriptor;
}

int xm_memfd_create(uint64_t size) {
    if (size == 0 || size > INT64_MAX)
        return -EINVAL;
    int descriptor = create_unsealed();
    if (descriptor < 0)
        return descriptor;
    if (fchmod(descriptor, 0600) != 0 || ftruncate(descriptor, (off_t)size) != 0 ||
        fcntl(descriptor, F_ADD_SEALS, REQUIRED_SEALS) != 0) {
        int error = -errno;
        close(descriptor);
        return error;
    }
    return descriptor;
}

int xm_reopen_read_only(int descriptor) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    return opened < 0 ? -errno : opened;
}

/* Asks for what the kernel knows already: a file system in user space could keep fstat waiting. */
int xm_inspect(int descriptor, struct xm_descriptor_facts *facts) {
    struct statx status;
    unsigned wanted = STATX_TYPE | STATX_INO | STATX_SIZE | STATX_BLOCKS;
    if (statx(descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, wanted, &status) != 0)
        return -errno;
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0)
        return -errno;
    int mode = flags & O_ACCMODE;
    bool usable = (flags & O_PATH) == 0;
    facts->device = makedev(status.stx_dev_major, status.stx_dev_minor);
    facts->inode = status.stx_ino;
    facts->size = S_ISREG(status.stx_mode) ? (int64_t)status.stx_size : -1;
    facts->used = status.stx_blocks * 512;
    facts->seals = fcntl(descriptor, F_GET_SEALS);
    /* Huge pages are mapped and unmapped by their own size, beyond what was asked for. Only memfds
     * and hugetlbfs have seals, and neither keeps a fstatfs waiting. */
    struct statfs system;
    if (facts->seals >= 0 &&
        (fstatfs(descriptor, &system) != 0 || (uint32_t)system.f_type == HUGETLBFS_MAGIC)) {
        facts->seals = -1;
        facts->size = -1;
    }
    facts->readable = usable && (mode == O_RDONLY || mode == O_RDWR);
    facts->writable = usable && (mode == O_WRONLY || mode == O_RDWR);
    return 0;
}

/* Without what ThreadSanitizer adds, which may wait for a thread that forks. */
__attribute__((no_sanitize("thread"))) bool xm_descriptor_is(int descriptor, dev_t device,
                                                             ino_t inode) {
    struct statx status;
    return syscall(SYS_statx, descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO,
                   &status) == 0 &&
           status.stx_ino == inode && makedev(status.stx_dev_major, status.stx_dev_minor) == device;
}

bool xm_memfd_sealed(const struct xm_descriptor_facts *facts) {
    return facts->seals >= 0 && (facts->seals & REQUIRED_SEALS) == REQUIRED_SEALS;
}

int xm_memfd_accept(int descriptor, bool writable, struct xm_descriptor_facts *facts) {
    if (xm_inspect(descriptor, facts) != 0)
        return -EPROTO;
    bool sealed = xm_memfd_sealed(facts);
    bool permitted = facts->readable && facts->writable == writable;
    return facts->size > 0 && sealed && permitted ? 0 : -EPROTO;
}

int xm_lock_file(const char *path) {
    int descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (descriptor < 0)
        return -errno;
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        int error = -errno;
        close(descriptor);
        return error;
    }
    return descriptor;
}
