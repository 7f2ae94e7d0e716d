/*
 * The process's one control connection to the service. Calls of many threads go over it at the same
 * time: one of the threads that wait for answers reads for all of them. When it is lost, calls wait
 * while the agent's thread opens the next one.
 */

#ifndef XM_SESSION_H
#define XM_SESSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../core/agent.h"
#include "../core/list.h"
#include "../core/protocol.h"
#include "../core/seqpacket.h"

enum xm_call_state {
    XM_CALL_NEW,
    /* It is with the service. */
    XM_CALL_SENT,
    XM_CALL_DONE,
};

/* A request and what becomes of it; on the stack of the thread that waits for it. */
struct xm_call {
    /* The message; its request number is filled in. */
    void *message;
    size_t length;
    /* The code of the answer that is hoped for. */
    uint16_t answer;
    /*
     * Takes that answer, whichever thread reads it, with the session lock held: what it gives is
     * noted before the connection can be lost. Descriptors that it keeps it takes out of `beside`.
     * NULL: there is nothing in it. 0 or a negative errno.
     */
    int (*take)(struct xm_call *call, const void *answer, size_t length,
                struct xm_received *beside);

    /* The session's own. */
    struct xm_link link;
    pthread_cond_t changed;
    enum xm_call_state state;
    uint32_t number;
    int64_t since;
    unsigned failures;
    int error;
    char text[256];
};

/* Opens the session if it is not, without waiting for the service. 0 or a negative errno, noted. */
int xm_session_open(void);
/* The agent of an open session. */
struct xm_agent *xm_session_agent(void);
/* What the session gives its agent; the holder of its offers. */
const struct xm_listener *xm_session_listener(void);

/*
 * Sends a request and waits for the answer. 0; the service's refusal; -ETIMEDOUT if there is no
 * service for 10 s or it says nothing; -ECONNRESET if it closed the connection; -EPROTO if it
 * answered with something else; or another negative errno. What failed is noted.
 */
int xm_session_call(struct xm_call *call);

/* The lock that covers the session and the registries. The state lock may be taken inside. */
void xm_session_lock(void);
void xm_session_unlock(void);

#endif
