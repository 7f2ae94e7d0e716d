/* The session's insides, between its own files. */

#ifndef XM_SESSION_PARTS_H
#define XM_SESSION_PARTS_H

#include "paths.h"
#include "session.h"

/* How long a call waits for a service. */
#define XM_GIVE_UP_MS 10000

/* How long the service may be silent while it is waited for, until it is asked, and then again. */
#define XM_PULSE_MS 5000

struct xm_session {
    pthread_mutex_t lock;
    struct xm_paths paths;
    /* NULL until the first use in this process. */
    struct xm_agent *agent;
    struct xm_listener listener;

    /* The connection, or -1. It is closed by the agent's thread, when nobody uses it. */
    int socket;
    /* Requests go out and answers come in; if not, calls wait. */
    bool open;
    /* It takes nothing any more; what it has said is still to be read. */
    bool refused;
    /* A thread reads for all. */
    bool reading;
    /* Threads that wait on the socket, without the lock. */
    unsigned users;
    /* Signalled when there are none. */
    pthread_cond_t unused;
    /* Which connection of the agent it belongs to. */
    uint64_t connection;
    /* There has been one, to a service that started then. */
    bool known;
    uint64_t service_start;
    int64_t lost_at;

    /* Calls that are not done, oldest first. */
    struct xm_link calls;
    uint32_t last_request;
    /* Since when the service has been silent, or asked whether it turns. */
    int64_t quiet_since;
    bool pinged;

    /* How often a service could not be had, and why the last time. */
    unsigned failures;
    int failure;
    char failure_text[256];

    /* A system call that writes to memory just being moved fails here. */
    bool guarded;
    /* Used by the thread that reads, or by the agent's while nobody does. */
    union {
        struct xm_header header;
        char bytes[XM_MAX_MESSAGE_BYTES];
    } received;
};

extern struct xm_session xm_session;

/* The rest is called with the lock held unless told otherwise. */

/* The connection cannot be used any more; the agent's thread is to open the next. */
void xm_session_lost(void);
/* A call is over. */
void xm_call_finish(struct xm_call *call, int error, const char *text);
/* All calls look again. */
void xm_calls_wake(void);
/* The service does not come: calls fail that wait for one of their own accord. */
void xm_session_give_up(int error, const char *text);
/*
 * Receives a message if there is one, into `received`. Its length, 0 at the end, -EAGAIN, or
 * another negative errno. Without the lock.
 */
ssize_t xm_session_receive(int socket, struct xm_received *beside);
/* Closes what came beside a message. */
void xm_close_received(struct xm_received *beside);

/* The listener's callbacks, on the agent's thread, without the lock. */
void xm_session_errand(struct xm_listener *listener);
void xm_session_missing(struct xm_listener *listener, int error);

/* Of the service that is being started: it is there, or this process is a forked child. */
void xm_starting_over(void);

#endif
