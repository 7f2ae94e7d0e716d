#include "session.h"

#include <errno.h>
#include <unistd.h>

#include "../core/lock.h"
#include "../core/userfault.h"
#include "attached.h"
#include "debug.h"
#include "environment.h"
#include "registry.h"
#include "session_parts.h"

struct xm_session xm_session = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .unused = PTHREAD_COND_INITIALIZER,
    .socket = -1,
    .calls = {&xm_session.calls, &xm_session.calls},
};

static struct xm_session *const session = &xm_session;

void xm_session_lock(void) {
    pthread_mutex_lock(&session->lock);
}

void xm_session_unlock(void) {
    pthread_mutex_unlock(&session->lock);
}

static void before_fork(void) {
    xm_session_lock();
}

static void after_fork(void) {
    xm_session_unlock();
}

/* The child has nothing of what the parent made and got, and none of its threads and connections.
 */
static void after_fork_in_child(void) {
    if (session->socket >= 0)
        close(session->socket);
    session->socket = -1;
    session->agent = NULL;
    session->open = false;
    session->reading = false;
    session->known = false;
    session->users = 0;
    session->failures = 0;
    xm_link_init(&session->calls);
    pthread_cond_init(&session->unused, NULL);
    xm_starting_over();
    xm_registry_clear(&xm_own_segments);
    xm_registry_clear(&xm_own_permits);
    xm_attached_forget();
    after_fork();
}

static int watching_forks;

/*
 * Not when the library is loaded: the core's own handlers must be there already, since those that
 * were registered last run first before a fork, and these locks come before the core's.
 */
static void watch_forks(void) {
    watching_forks = pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

static void ignore_change(struct xm_listener *listener) {
    (void)listener;
}

static int begin(void) {
    int error = xm_environment_copy();
    if (error != 0)
        return xm_fail(error, "there is no memory for the environment");
    xm_debug_settle();
    error = xm_paths_find(&session->paths);
    if (error == 0)
        error = xm_paths_check(&session->paths);
    if (error != 0)
        return error;
    struct xm_userfault_ability ability;
    xm_userfault_query(&ability);
    session->guarded = ability.mode == XM_USERFAULT_USER;
    session->listener = (struct xm_listener){
        .changed = ignore_change, .errand = xm_session_errand, .missing = xm_session_missing};
    enum xm_trust trust = session->paths.is_default ? XM_TRUST_OWN_USER : XM_TRUST_ANYBODY;
    error = xm_agent_open(session->paths.socket, trust, &session->listener, &session->agent);
    return error == 0 ? 0 : xm_fail(error, "the agent's thread cannot be started");
}

int xm_session_open(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    if (watching_forks != 0)
        return xm_fail(-watching_forks, "forks cannot be watched");
    xm_session_lock();
    int error = session->agent == NULL ? begin() : 0;
    xm_session_unlock();
    return error;
}

struct xm_agent *xm_session_agent(void) {
    return session->agent;
}

const struct xm_listener *xm_session_listener(void) {
    return &session->listener;
}

ssize_t xm_session_receive(int socket, struct xm_received *beside) {
    if (session->guarded)
        xm_lock_conversion();
    ssize_t length = xm_seqpacket_receive(socket, session->received.bytes,
                                          sizeof session->received.bytes, beside);
    if (session->guarded)
        xm_unlock_conversion();
    /* Said once of a peer that closed before it read all, ahead of what it said itself. */
    return length == -ECONNRESET ? -EAGAIN : length;
}

void xm_close_received(struct xm_received *beside) {
    for (size_t i = 0; i < beside->count; i++)
        close(beside->descriptors[i]);
    beside->count = 0;
}
