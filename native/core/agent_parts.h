/* The agent's insides, between its own files. */

#ifndef XM_AGENT_PARTS_H
#define XM_AGENT_PARTS_H

#include <pthread.h>
#include <stdint.h>

#include "agent.h"
#include "memory.h"
#include "offers.h"
#include "pager.h"
#include "protocol.h"
#include "share.h"

/* Address space, of which little is ever touched; sanitizers need most of it. */
#define XM_AGENT_STACK_BYTES (2 * 1024 * 1024)

/*
 * All memory that the thread writes while a range of the process is frozen: its stack (with its
 * thread-local variables) and its buffers, in one private mapping that it never shares. It is not a
 * shared mapping, since the C library writes to thread descriptors in the child of a fork.
 */
struct xm_arena {
    /* Left without access, so that a stack overflow is a fault. */
    char guard[65536];
    char stack[XM_AGENT_STACK_BYTES] __attribute__((aligned(16)));
    char received[XM_MAX_MESSAGE_BYTES] __attribute__((aligned(16)));
    char sent[XM_MAX_MESSAGE_BYTES] __attribute__((aligned(16)));
    struct xm_share share;
};

struct xm_agent {
    struct xm_link link;
    struct xm_link listeners;
    char *path;
    enum xm_trust trust;
    pthread_t thread;
    /* An eventfd that is readable when the thread must end. */
    int stop;
    /* An eventfd that is readable when there are errands. */
    int errands;
    /* The connection, or -1. */
    int socket;
    /* A pidfd of the service of the last connection, or -1. */
    int service;
    bool connected;
    uint64_t connections;
    struct xm_offers offers;
    /* With the state lock. */
    struct xm_pager pager;
    /* Used by the thread only. Descriptors that came with the message in arena->received. */
    int descriptors[XM_MAX_DESCRIPTORS];
    size_t descriptor_count;
    struct xm_arena *arena;
    /* In the child of a fork: nothing is behind it any more. */
    bool forgotten;
};

/* The thread. */
void *xm_agent_main(void *agent);

/* Waits for `events` on the connection. 0, -ECANCELED when the thread must end, or another errno.
 */
int xm_agent_wait(struct xm_agent *agent, short events);
/* Sends a message, waiting for room. 0 or a negative errno. */
int xm_agent_send(struct xm_agent *agent, const void *message, size_t length,
                  const int *descriptors, size_t count);
/*
 * Receives a message into arena->received, waiting for it. Its length, or a negative errno:
 * -ECONNRESET at the end of the connection, -EPROTO for one that a service never sends.
 */
ssize_t xm_agent_receive(struct xm_agent *agent);
/* Does what a message asks and answers it. 0, or a negative errno that ends the connection. */
int xm_agent_serve(struct xm_agent *agent, size_t length);

#endif
