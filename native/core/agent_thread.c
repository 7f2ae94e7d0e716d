#include "agent_parts.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lock.h"
#include "process.h"
#include "seqpacket.h"
#include "table.h"

#define FIRST_BACKOFF_MS 20
#define LONGEST_BACKOFF_MS 1000
/* How much later than its connections a process may end. */
#define SERVICE_END_MS 100

static void run_errands(struct xm_agent *agent) {
    /* Listeners with errands are never closed, so the list may change but not from under them. */
    xm_lock();
    struct xm_link *link = agent->listeners.next;
    while (link != &agent->listeners) {
        struct xm_listener *listener = XM_MEMBER(link, struct xm_listener, link);
        if (listener->errand != NULL) {
            xm_unlock();
            listener->errand(listener);
            xm_lock();
        }
        link = link->next;
    }
    xm_unlock();
}

static void tell_missing(struct xm_agent *agent, int error) {
    xm_lock();
    struct xm_link *link = agent->listeners.next;
    while (link != &agent->listeners) {
        struct xm_listener *listener = XM_MEMBER(link, struct xm_listener, link);
        if (listener->missing != NULL) {
            xm_unlock();
            listener->missing(listener, error);
            xm_lock();
        }
        link = link->next;
    }
    xm_unlock();
}

int xm_agent_pause(const struct xm_agent *agent, int descriptor, short events, int timeout_ms) {
    struct pollfd watched[2] = {{agent->stop, POLLIN, 0}, {descriptor, events, 0}};
    int ready;
    do {
        ready = poll(watched, 2, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0)
        return -errno;
    if (watched[0].revents != 0)
        return -ECANCELED;
    return ready == 0 ? -ETIMEDOUT : 0;
}

/* Waits for a message, running errands meanwhile. Results as xm_agent_pause. */
static int await_message(struct xm_agent *agent) {
    /* What is rung for before the welcome is run after it. */
    int errands = agent->connected ? agent->errands : -1;
    for (;;) {
        struct pollfd watched[3] = {
            {agent->stop, POLLIN, 0}, {errands, POLLIN, 0}, {agent->socket, POLLIN, 0}};
        int ready = poll(watched, 3, -1);
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready <= 0)
            continue;
        /* What the program has closed is always ready. */
        if (watched[0].revents != 0 || (watched[1].revents & POLLNVAL) != 0)
            return -ECANCELED;
        /* Before errands, which have no use for a connection that has just ended. */
        if (watched[2].revents != 0)
            return 0;
        uint64_t rung;
        if (watched[1].revents != 0 && read(agent->errands, &rung, sizeof rung) > 0)
            run_errands(agent);
    }
}

int xm_agent_wait(struct xm_agent *agent, short events) {
    return xm_agent_pause(agent, agent->socket, events, -1);
}

int xm_agent_send(struct xm_agent *agent, const void *message, size_t length,
                  const int *descriptors, size_t count) {
    for (;;) {
        int error = xm_seqpacket_send(agent->socket, message, length, descriptors, count);
        if (error != -EAGAIN)
            return error;
        error = xm_agent_wait(agent, POLLOUT);
        if (error != 0)
            return error;
    }
}

ssize_t xm_agent_receive(struct xm_agent *agent) {
    struct xm_received beside;
    ssize_t length;
    do {
        int error = await_message(agent);
        if (error != 0)
            return error;
        length = xm_seqpacket_receive(agent->socket, agent->arena->received,
                                      sizeof agent->arena->received, &beside);
    } while (length == -EAGAIN);
    if (length < 0)
        return length;
    memcpy(agent->descriptors, beside.descriptors, sizeof agent->descriptors);
    agent->descriptor_count = beside.count;
    if (length == 0)
        return -ECONNRESET;
    bool whole = !beside.truncated && length >= (ssize_t)sizeof(struct xm_header);
    return whole ? length : -EPROTO;
}

/* Closes what came with a message and nobody took. 0, or -EPROTO if there was something. */
static int drop_descriptors(struct xm_agent *agent) {
    size_t count = agent->descriptor_count;
    for (size_t i = 0; i < count; i++)
        close(agent->descriptors[i]);
    agent->descriptor_count = 0;
    return count == 0 ? 0 : -EPROTO;
}

/* Tells a service that may have been started anew what this process holds. */
static int tell_held(struct xm_agent *agent) {
    struct {
        struct xm_msg_held message;
        struct xm_row_held rows[(XM_MAX_MESSAGE_BYTES - XM_BYTES_HELD) / XM_ROW_BYTES_HELD];
    } *held = (void *)agent->arena->sent;
    uint64_t apid = 0;
    held->message = (struct xm_msg_held){{XM_CODE_HELD, 0, 0}};
    size_t count;
    while ((count = xm_held(agent, &apid, held->rows, sizeof held->rows / sizeof *held->rows)) >
           0) {
        int error = xm_agent_send(agent, held, XM_BYTES_HELD + count * XM_ROW_BYTES_HELD, NULL, 0);
        if (error != 0)
            return error;
    }
    return 0;
}

/* Tells it what memory has earlier content again since the service before has ended. */
static int tell_put_back(struct xm_agent *agent) {
    struct {
        struct xm_msg_put_back message;
        struct xm_row_range rows[(XM_MAX_MESSAGE_BYTES - XM_BYTES_PUT_BACK) / XM_ROW_BYTES_RANGE];
    } *told = (void *)agent->arena->sent;
    told->message = (struct xm_msg_put_back){{XM_CODE_PUT_BACK, 0, 0}};
    xm_lock();
    ssize_t count =
        xm_pager_put_back(&agent->pager, told->rows, sizeof told->rows / sizeof *told->rows);
    xm_unlock();
    if (count < 0)
        return (int)count;
    size_t length = XM_BYTES_PUT_BACK + (size_t)count * XM_ROW_BYTES_RANGE;
    int error = count == 0 ? 0 : xm_agent_send(agent, told, length, NULL, 0);
    if (error != 0)
        return error;
    xm_lock();
    xm_pager_told(&agent->pager);
    xm_unlock();
    return 0;
}

/* Why a service will not have the agent. */
static int refusal(const void *failure) {
    uint32_t number;
    memcpy(&number, (const char *)failure + sizeof(struct xm_header), sizeof number);
    return number > 0 && number < 4096 ? -(int)number : -EPROTO;
}

static int greet(struct xm_agent *agent) {
    struct xm_msg_hello hello = {.header = {XM_CODE_HELLO, 0, 0},
                                 .version = XM_PROTOCOL_VERSION,
                                 .role = XM_ROLE_AGENT,
                                 .thread = (uint32_t)syscall(SYS_gettid)};
    int error = xm_image(&hello.image);
    if (error == 0)
        error = xm_agent_send(agent, &hello, XM_BYTES_HELLO, NULL, 0);
    if (error != 0)
        return error;
    ssize_t length = xm_agent_receive(agent);
    if (length < 0)
        return (int)length;
    const struct xm_header *header = (const struct xm_header *)agent->arena->received;
    if (header->code == XM_CODE_FAILURE && length >= XM_BYTES_FAILURE)
        return refusal(agent->arena->received);
    if (header->code != XM_CODE_WELCOME || length < XM_BYTES_WELCOME)
        return -EPROTO;
    error = tell_held(agent);
    return error == 0 ? tell_put_back(agent) : error;
}

static void set_connected(struct xm_agent *agent, bool connected) {
    xm_lock();
    agent->connected = connected;
    agent->connections += connected ? 1 : 0;
    for (struct xm_link *link = agent->listeners.next; link != &agent->listeners;
         link = link->next) {
        struct xm_listener *listener = XM_MEMBER(link, struct xm_listener, link);
        listener->changed(listener);
    }
    xm_unlock();
}

/* The state lock lets a fork find the descriptor as it is. */
static void set_socket(struct xm_agent *agent, int descriptor) {
    xm_lock();
    if (agent->socket >= 0)
        close(agent->socket);
    agent->socket = descriptor;
    xm_unlock();
}

/* Whether the service's process has ended, or is about to: its connections end a moment earlier. */
static bool service_gone(const struct xm_agent *agent) {
    struct pollfd watched = {agent->service, POLLIN, 0};
    int ready;
    do {
        ready = poll(&watched, 1, SERVICE_END_MS);
    } while (ready < 0 && errno == EINTR);
    return agent->service < 0 || ready != 0;
}

/*
 * The connection has ended. Copies are of no use then. Home's pages that are given away are put
 * back if nobody can get them any more; of a service that lives they are not, and who waits for one
 * waits until the agent is connected again.
 */
static void give_up_paging(struct xm_agent *agent, int error) {
    xm_revoke_copies(agent);
    bool ending = error == -ECANCELED;
    if (!ending && !service_gone(agent))
        return;
    xm_lock();
    xm_pager_end(&agent->pager, !ending);
    xm_unlock();
}

static void set_service(struct xm_agent *agent, int pidfd) {
    xm_lock();
    if (agent->service >= 0)
        close(agent->service);
    agent->service = pidfd;
    xm_unlock();
}

/* 0 if the agent may speak to who listens there, -EACCES if it may not, or another errno. */
static int check_trust(struct xm_agent *agent, int descriptor) {
    xm_lock();
    enum xm_trust trust = agent->trust;
    xm_unlock();
    return trust == XM_TRUST_ANYBODY ? 0 : xm_seqpacket_own_user(descriptor);
}

/* One connection from its start to its end. `greeted` becomes whether the service welcomed it. */
static int live(struct xm_agent *agent, bool *greeted) {
    /* It may have been alive when the connection to it ended. */
    if (agent->pager.userfault >= 0)
        give_up_paging(agent, 0);
    int descriptor = xm_seqpacket_connect(agent->path);
    if (descriptor < 0)
        return descriptor;
    set_socket(agent, descriptor);
    int error = check_trust(agent, descriptor);
    if (error == 0)
        error = greet(agent);
    if (error == 0) {
        *greeted = true;
        int pidfd = xm_seqpacket_peer_pidfd(descriptor);
        set_service(agent, pidfd < 0 ? -1 : pidfd);
        set_connected(agent, true);
        xm_agent_nudge(agent);
        while (error == 0) {
            ssize_t length = xm_agent_receive(agent);
            error = length < 0 ? (int)length : xm_agent_serve(agent, (size_t)length);
            if (error == 0)
                error = drop_descriptors(agent);
        }
        give_up_paging(agent, error);
        set_connected(agent, false);
    }
    (void)drop_descriptors(agent);
    set_socket(agent, -1);
    return error;
}

/* Waits before the next try, or until it is nudged. Whether the thread goes on. */
static bool wait_to_retry(const struct xm_agent *agent, int backoff_ms) {
    uint64_t rung;
    int error = xm_agent_pause(agent, agent->errands, POLLIN, backoff_ms);
    /* What was rung for is this very try, and the errands that follow it. */
    if (error == 0 && read(agent->errands, &rung, sizeof rung) < 0)
        error = -errno;
    /* A descriptor that the program has closed is always ready. */
    return error != -ECANCELED && error != -EBADF;
}

void *xm_agent_main(void *argument) {
    struct xm_agent *agent = argument;
    int backoff_ms = FIRST_BACKOFF_MS;
    pthread_setname_np(pthread_self(), "xpmem-agent");
    for (;;) {
        bool greeted = false;
        int error = live(agent, &greeted);
        if (greeted)
            backoff_ms = FIRST_BACKOFF_MS;
        if (error != -ECANCELED)
            tell_missing(agent, error);
        if (error == -ECANCELED || !wait_to_retry(agent, backoff_ms))
            return NULL;
        backoff_ms = backoff_ms * 2 < LONGEST_BACKOFF_MS ? backoff_ms * 2 : LONGEST_BACKOFF_MS;
    }
}
