/* SOCK_SEQPACKET over a Unix socket: one message, one datagram, descriptors beside it. */

#ifndef XM_SEQPACKET_H
#define XM_SEQPACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "protocol.h"

/*
 * Descriptors that Linux lets one datagram bring (SCM_MAX_FD), more than a message may have. All
 * are taken: one that found no room would be closed inside of the receiving call, which may wait.
 */
#define XM_MOST_RECEIVED 253

/* What came beside the bytes of a datagram. */
struct xm_received {
    /* Close-on-exec, owned by the receiver. */
    int descriptors[XM_MOST_RECEIVED];
    size_t count;
    /* Bytes or descriptors were cut off, or there are more descriptors than a message may have. */
    bool truncated;
    /* The sender, if the socket has SO_PASSCRED; else 0. */
    pid_t pid;
};

/* Who is at the other end, as the kernel noted at connect. */
struct xm_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    /* A pidfd, owned by the caller. */
    int pidfd;
    /* Supplementary groups, to be freed by the caller; NULL if there are none. */
    gid_t *groups;
    size_t group_count;
};

/* A non-blocking listening socket with file mode 0666. The descriptor, or a negative errno. */
int xm_seqpacket_listen(const char *path, int backlog);
/* A non-blocking connection, or a negative errno: -EAGAIN if the listener's backlog is full. */
int xm_seqpacket_connect(const char *path);
/* The next waiting connection, non-blocking, with SO_PASSCRED; -EAGAIN if none waits. */
int xm_seqpacket_accept(int listener);

/* Sends one datagram without waiting. 0, -EAGAIN if it would have to wait, or a negative errno. */
int xm_seqpacket_send(int socket, const void *message, size_t length, const int *descriptors,
                      size_t count);
/*
 * Receives one datagram without waiting. Its length, 0 at the end of the stream, -EAGAIN if none
 * waits, or another negative errno.
 */
ssize_t xm_seqpacket_receive(int socket, void *into, size_t capacity, struct xm_received *received);

/* A pidfd of the process at the other end, owned by the caller, or a negative errno. */
int xm_seqpacket_peer_pidfd(int socket);
/* 0 if the other end is a process of this one's user or of root; -EACCES, or another errno. */
int xm_seqpacket_own_user(int socket);
/* Fills in `peer`. 0 or a negative errno: -ESRCH if the process is gone. */
int xm_seqpacket_peer(int socket, struct xm_peer *peer);

#endif
