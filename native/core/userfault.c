#include "userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From linux/userfaultfd.h of Linux 6.1 and 5.11. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

static int open_by_call(int flags) {
    long descriptor = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);
    return descriptor < 0 ? -errno : (int)descriptor;
}

static int open_by_device(void) {
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0)
        return -errno;
    int descriptor = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    int error = -errno;
    close(device);
    return descriptor < 0 ? error : descriptor;
}

/* A userfaultfd without its handshake. `refusal` gets why it is not a full one, or 0. */
static int open_best(enum xm_userfault_mode *mode, int *refusal) {
    *mode = XM_USERFAULT_FULL;
    *refusal = 0;
    int descriptor = open_by_call(0);
    if (descriptor >= 0)
        return descriptor;
    *refusal = -descriptor;
    descriptor = open_by_device();
    if (descriptor >= 0) {
        *refusal = 0;
        return descriptor;
    }
    descriptor = open_by_call(UFFD_USER_MODE_ONLY);
    *mode = descriptor >= 0 ? XM_USERFAULT_USER : XM_USERFAULT_NONE;
    return descriptor;
}

void xm_userfault_query(struct xm_userfault_ability *ability) {
    ability->features = 0;
    int descriptor = open_best(&ability->mode, &ability->refusal);
    if (descriptor < 0)
        return;
    /* The handshake can be made once: this descriptor is thrown away. */
    struct uffdio_api handshake = {.api = UFFD_API};
    if (ioctl(descriptor, UFFDIO_API, &handshake) == 0)
        ability->features = handshake.features;
    else
        ability->mode = XM_USERFAULT_NONE;
    close(descriptor);
}

int xm_userfault_open(uint64_t features) {
    enum xm_userfault_mode mode;
    int refusal;
    int descriptor = open_best(&mode, &refusal);
    if (descriptor < 0)
        return descriptor;
    struct uffdio_api handshake = {.api = UFFD_API, .features = features};
    if (ioctl(descriptor, UFFDIO_API, &handshake) != 0) {
        int error = -errno;
        close(descriptor);
        return error;
    }
    return descriptor;
}

int xm_userfault_register(int userfault, uint64_t address, uint64_t length, uint64_t modes,
                          uint64_t *ioctls) {
    struct uffdio_register request = {.range = {address, length}, .mode = modes};
    if (ioctl(userfault, UFFDIO_REGISTER, &request) != 0)
        return -errno;
    if (ioctls != NULL)
        *ioctls = request.ioctls;
    return 0;
}

int xm_userfault_unregister(int userfault, uint64_t address, uint64_t length) {
    struct uffdio_range range = {address, length};
    return ioctl(userfault, UFFDIO_UNREGISTER, &range) == 0 ? 0 : -errno;
}

static int protect_once(int userfault, uint64_t address, uint64_t length, uint64_t mode) {
    struct uffdio_writeprotect request = {.range = {address, length}, .mode = mode};
    int error;
    do {
        error = ioctl(userfault, UFFDIO_WRITEPROTECT, &request) == 0 ? 0 : -errno;
    } while (error == -EINTR);
    return error;
}

int xm_userfault_try_protect(int userfault, uint64_t address, uint64_t length, bool protect) {
    return protect_once(userfault, address, length,
                        protect ? UFFDIO_WRITEPROTECT_MODE_WP : UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
}

int xm_userfault_protect_once(int userfault, uint64_t address, uint64_t length, bool protect) {
    return protect_once(userfault, address, length, protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0);
}

int64_t xm_userfault_copy(int userfault, uint64_t address, const void *from, uint64_t length,
                          bool protect) {
    struct uffdio_copy copy;
    for (;;) {
        copy = (struct uffdio_copy){.dst = address,
                                    .src = (uintptr_t)from,
                                    .len = length,
                                    .mode = protect ? UFFDIO_COPY_MODE_WP : 0};
        if (ioctl(userfault, UFFDIO_COPY, &copy) == 0)
            return (int64_t)length;
        if (copy.copy > 0)
            return copy.copy;
        if (errno != EINTR)
            return -errno;
    }
}

int64_t xm_userfault_map(int userfault, uint64_t address, uint64_t length) {
    struct uffdio_continue map;
    for (;;) {
        map = (struct uffdio_continue){.range = {address, length}, .mode = XM_CONTINUE_MODE_WP};
        if (ioctl(userfault, UFFDIO_CONTINUE, &map) == 0)
            return (int64_t)length;
        if (map.mapped > 0)
            return map.mapped;
        if (errno != EINTR)
            return -errno;
    }
}

int xm_userfault_protect(int userfault, uint64_t address, uint64_t length, bool protect) {
    int error;
    do {
        /* Nothing is lost by asking again. */
        error = xm_userfault_protect_once(userfault, address, length, protect);
    } while (error == -EAGAIN);
    return error;
}

int xm_userfault_look(int userfault, uint64_t address, uint64_t length, bool protect,
                      struct xm_userfault_gate *gate) {
    for (;;) {
        __atomic_store_n(&gate->mapping, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&gate->reading, __ATOMIC_SEQ_CST) != 0)
            (void)syscall(SYS_sched_yield);
        int error = xm_userfault_try_protect(userfault, address, length, protect);
        if (error != -EAGAIN)
            return error;
        /* An event is still to be read. */
        xm_userfault_looked(gate);
        (void)syscall(SYS_sched_yield);
    }
}

void xm_userfault_looked(struct xm_userfault_gate *gate) {
    __atomic_store_n(&gate->mapping, 0, __ATOMIC_SEQ_CST);
}

int xm_userfault_wake(int userfault, uint64_t address, uint64_t length) {
    struct uffdio_range range = {address, length};
    return ioctl(userfault, UFFDIO_WAKE, &range) == 0 ? 0 : -errno;
}
