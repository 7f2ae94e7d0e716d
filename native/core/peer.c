#include "seqpacket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "process.h"

/* From asm-generic/socket.h of Linux 6.5. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static int read_groups(int socket, struct xm_peer *peer) {
    socklen_t bytes = 0;
    peer->groups = NULL;
    peer->group_count = 0;
    while (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer->groups, &bytes) != 0) {
        if (errno == ENODATA || errno == ENOPROTOOPT)
            return 0;
        if (errno != ERANGE)
            return -errno;
        /* The kernel said in `bytes` how many are needed. */
        gid_t *larger = realloc(peer->groups, bytes);
        if (larger == NULL)
            return -ENOMEM;
        peer->groups = larger;
    }
    peer->group_count = peer->groups == NULL ? 0 : bytes / sizeof(gid_t);
    return 0;
}

/* Before Linux 6.5 the pid is looked up again, which is right as long as that process lives. */
static int open_pidfd(int socket, pid_t pid) {
    int pidfd;
    socklen_t bytes = sizeof pidfd;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) == 0)
        return pidfd;
    if (errno == ENOPROTOOPT)
        return xm_pidfd_open(pid);
    /* A process that is gone is EINVAL to some kernels. */
    return errno == EINVAL ? -ESRCH : -errno;
}

int xm_seqpacket_peer_pidfd(int socket) {
    struct ucred credentials;
    socklen_t bytes = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0)
        return -errno;
    return open_pidfd(socket, credentials.pid);
}

int xm_seqpacket_own_user(int socket) {
    struct ucred credentials;
    socklen_t bytes = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0)
        return -errno;
    return credentials.uid == geteuid() || credentials.uid == 0 ? 0 : -EACCES;
}

int xm_seqpacket_peer(int socket, struct xm_peer *peer) {
    struct ucred credentials;
    socklen_t bytes = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0)
        return -errno;
    peer->pid = credentials.pid;
    peer->uid = credentials.uid;
    peer->gid = credentials.gid;
    int error = read_groups(socket, peer);
    if (error == 0) {
        peer->pidfd = open_pidfd(socket, credentials.pid);
        error = peer->pidfd < 0 ? peer->pidfd : 0;
    }
    if (error != 0)
        free(peer->groups);
    return error;
}
