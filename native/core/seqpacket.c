#include "seqpacket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Room for the descriptors and the sender's credentials. */
union control {
    struct cmsghdr alignment;
    char bytes[CMSG_SPACE(sizeof(int) * XM_MOST_RECEIVED) + CMSG_SPACE(sizeof(struct ucred))];
};

static int fill_address(const char *path, struct sockaddr_un *address) {
    size_t length = strlen(path);
    if (length == 0)
        return -ENOENT;
    if (length >= sizeof address->sun_path)
        return -ENAMETOOLONG;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, length + 1);
    return 0;
}

static int open_socket(void) {
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return descriptor < 0 ? -errno : descriptor;
}

static int pass_credentials(int descriptor) {
    int on = 1;
    return setsockopt(descriptor, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 ? 0 : -errno;
}

int xm_seqpacket_listen(const char *path, int backlog) {
    struct sockaddr_un address;
    int error = fill_address(path, &address);
    if (error != 0)
        return error;
    int descriptor = open_socket();
    if (descriptor < 0)
        return descriptor;
    /* Accepted sockets inherit SO_PASSCRED, so not even a first datagram comes without a sender. */
    error = pass_credentials(descriptor);
    if (error != 0 || bind(descriptor, (struct sockaddr *)&address, sizeof address) != 0) {
        error = error != 0 ? error : -errno;
        close(descriptor);
        return error;
    }
    if (chmod(path, 0666) != 0 || listen(descriptor, backlog) != 0) {
        error = -errno;
        unlink(path);
        close(descriptor);
        return error;
    }
    return descriptor;
}

int xm_seqpacket_connect(const char *path) {
    struct sockaddr_un address;
    int error = fill_address(path, &address);
    if (error != 0)
        return error;
    int descriptor = open_socket();
    if (descriptor < 0)
        return descriptor;
    while (connect(descriptor, (struct sockaddr *)&address, sizeof address) != 0) {
        if (errno == EINTR)
            continue;
        error = -errno;
        close(descriptor);
        return error;
    }
    return descriptor;
}

int xm_seqpacket_accept(int listener) {
    int descriptor;
    do {
        descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (descriptor < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (descriptor < 0)
        return -errno;
    int error = pass_credentials(descriptor);
    if (error != 0) {
        close(descriptor);
        return error;
    }
    return descriptor;
}

int xm_seqpacket_send(int socket, const void *message, size_t length, const int *descriptors,
                      size_t count) {
    if (count > XM_MAX_DESCRIPTORS)
        return -EINVAL;
    struct iovec bytes = {(void *)(uintptr_t)message, length};
    struct msghdr header = {.msg_iov = &bytes, .msg_iovlen = 1};
    union control control;
    if (count != 0) {
        memset(&control, 0, sizeof control);
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(rights), descriptors, sizeof(int) * count);
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

static void take_descriptors(const struct cmsghdr *rights, struct xm_received *received) {
    size_t count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
        int descriptor;
        memcpy(&descriptor, CMSG_DATA(rights) + i * sizeof(int), sizeof descriptor);
        if (received->count < XM_MOST_RECEIVED)
            received->descriptors[received->count++] = descriptor;
        else
            close(descriptor);
    }
    if (received->count > XM_MAX_DESCRIPTORS)
        received->truncated = true;
}

ssize_t xm_seqpacket_receive(int socket, void *into, size_t capacity,
                             struct xm_received *received) {
    union control control;
    struct iovec bytes = {into, capacity};
    struct msghdr header = {.msg_iov = &bytes,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    received->count = 0;
    received->truncated = false;
    received->pid = 0;
    ssize_t length;
    do {
        length = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (length < 0 && errno == EINTR);
    if (length < 0)
        return -errno;
    received->truncated = (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&header); item != NULL;
         item = CMSG_NXTHDR(&header, item)) {
        if (item->cmsg_level != SOL_SOCKET)
            continue;
        if (item->cmsg_type == SCM_RIGHTS)
            take_descriptors(item, received);
        if (item->cmsg_type == SCM_CREDENTIALS) {
            struct ucred sender;
            memcpy(&sender, CMSG_DATA(item), sizeof sender);
            received->pid = sender.pid;
        }
    }
    return length;
}
