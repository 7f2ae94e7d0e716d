#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "clock.h"
#include "debug.h"
#include "messages.h"
#include "session_parts.h"

static struct xm_session *const session = &xm_session;

void xm_call_finish(struct xm_call *call, int error, const char *text) {
    call->state = XM_CALL_DONE;
    call->error = error;
    snprintf(call->text, sizeof call->text, "%s", text);
    xm_link_remove(&call->link);
    pthread_cond_signal(&call->changed);
}

void xm_calls_wake(void) {
    for (struct xm_link *link = session->calls.next; link != &session->calls; link = link->next)
        pthread_cond_signal(&XM_MEMBER(link, struct xm_call, link)->changed);
}

void xm_session_lost(void) {
    if (!session->open)
        return;
    session->open = false;
    session->lost_at = xm_now_ms();
    shutdown(session->socket, SHUT_RDWR);
    xm_calls_wake();
    xm_agent_nudge(session->agent);
}

void xm_session_give_up(int error, const char *text) {
    session->failures++;
    session->failure = error;
    snprintf(session->failure_text, sizeof session->failure_text, "%s", text);
    xm_calls_wake();
}

/* Sends something that nobody waits for an answer to. */
static void tell(void *message, size_t length) {
    /* Where there is no room for it the service has more to do than this. */
    (void)xm_seqpacket_send(session->socket, message, length, NULL, 0);
}

/* An answer that comes after its caller was told ETIMEDOUT: what it gave is given back. */
static void undo(const void *answer) {
    const struct xm_header *header = answer;
    if (header->code == XM_CODE_MADE) {
        const struct xm_msg_made *made = answer;
        struct xm_msg_remove remove = {{XM_CODE_REMOVE, 0, 0}, made->segid};
        tell(&remove, XM_BYTES_REMOVE);
    } else if (header->code == XM_CODE_GOT) {
        const struct xm_msg_got *got = answer;
        struct xm_msg_release release = {{XM_CODE_RELEASE, 0, 0}, got->apid};
        tell(&release, XM_BYTES_RELEASE);
    }
}

static struct xm_call *find_sent(uint32_t number) {
    for (struct xm_link *link = session->calls.next; link != &session->calls; link = link->next) {
        struct xm_call *call = XM_MEMBER(link, struct xm_call, link);
        if (call->number == number && call->state == XM_CALL_SENT)
            return call;
    }
    return NULL;
}

static void settle(struct xm_call *call, size_t length, struct xm_received *beside) {
    const void *answer = session->received.bytes;
    uint16_t code = session->received.header.code;
    if (code == XM_CODE_FAILURE) {
        char text[sizeof call->text];
        xm_failure_text(answer, length, text, sizeof text);
        xm_call_finish(call, xm_failure_error(answer), text);
    } else if (code != call->answer) {
        xm_call_finish(call, -EPROTO, "the service answered with something else");
    } else if (beside->truncated) {
        xm_call_finish(call, -EMFILE, "this process can have no more open files");
    } else {
        int error = call->take == NULL ? 0 : call->take(call, answer, length, beside);
        xm_call_finish(call, error, "");
    }
}

static void take_message(size_t length, struct xm_received *beside) {
    const struct xm_header *header = &session->received.header;
    bool valid =
        xm_message_valid(header, length) && (!beside->truncated || header->code == XM_CODE_EXTENTS);
    struct xm_call *call = valid ? find_sent(header->request) : NULL;
    session->quiet_since = xm_now_ms();
    session->pinged = false;
    if (!valid) {
        xm_debug_report("service", -EPROTO, "it sent what is no message");
        xm_session_lost();
    } else if (header->code == XM_CODE_ROLLED_BACK) {
        xm_rolled_back_report(header, length);
    } else if (call != NULL) {
        settle(call, length, beside);
    } else if (header->code == XM_CODE_FAILURE) {
        char text[256];
        xm_failure_text(header, length, text, sizeof text);
        xm_debug_report("service", xm_failure_error(header), "%s", text);
    } else {
        undo(header);
    }
    xm_close_received(beside);
}

static int until_beat_ms(void) {
    int64_t left = session->quiet_since + XM_PULSE_MS - xm_now_ms();
    return left > 0 ? (int)left : 0;
}

/* A service that answers neither a request nor a ping is stuck: who waits is told. */
static void beat(void) {
    if (until_beat_ms() > 0)
        return;
    session->quiet_since = xm_now_ms();
    if (!session->pinged) {
        struct xm_msg_ping ping = {{XM_CODE_PING, 0, 0}};
        session->pinged = true;
        tell(&ping, XM_BYTES_PING);
        return;
    }
    while (!xm_link_alone(&session->calls))
        xm_call_finish(XM_MEMBER(session->calls.next, struct xm_call, link), -ETIMEDOUT,
                       "the service does not answer");
}

/* Waits on the socket, without the lock. What poll(2) says happened; 0 after a time. */
static short wait_for(short events) {
    struct pollfd watched = {session->socket, events, 0};
    int timeout_ms = until_beat_ms();
    xm_session_unlock();
    /* A failure is an interruption; or memory just being moved, which will be moved soon. */
    int ready = poll(&watched, 1, timeout_ms);
    xm_session_lock();
    return ready > 0 ? watched.revents : 0;
}

static void leave_socket(void) {
    session->users--;
    if (session->users == 0)
        pthread_cond_signal(&session->unused);
}

/* Waits for a message and takes it; with POLLOUT, also for room to send one. */
static void read_for_all(short events) {
    struct xm_received beside = {.count = 0};
    ssize_t length = -EAGAIN;
    session->reading = true;
    session->users++;
    short happened = wait_for(events);
    if ((happened & ~POLLOUT) != 0) {
        int socket = session->socket;
        xm_session_unlock();
        length = xm_session_receive(socket, &beside);
        xm_session_lock();
    }
    if (length > 0)
        take_message((size_t)length, &beside);
    else if (length != -EAGAIN)
        xm_session_lost();
    else
        beat();
    session->reading = false;
    leave_socket();
}

static void wait_for_room(void) {
    session->users++;
    (void)wait_for(POLLOUT);
    beat();
    leave_socket();
}

static void send_call(struct xm_call *call) {
    int error = xm_seqpacket_send(session->socket, call->message, call->length, NULL, 0);
    if (error == 0)
        call->state = XM_CALL_SENT;
    else if (error != -EAGAIN)
        session->refused = true;
    else if (session->reading)
        wait_for_room();
    else
        read_for_all(POLLIN | POLLOUT);
}

/*
 * Whether a call waits for a service of its own accord: nobody has waited for one before, or all
 * who did have given up.
 */
static bool is_first(const struct xm_call *call) {
    return !session->known || call->since >= session->lost_at + XM_GIVE_UP_MS;
}

static void await_open(struct xm_call *call) {
    bool first = is_first(call);
    int64_t deadline = (first ? call->since : session->lost_at) + XM_GIVE_UP_MS;
    struct timespec until = {deadline / 1000, deadline % 1000 * 1000000};
    if (first && call->failures != session->failures)
        xm_call_finish(call, session->known ? -ETIMEDOUT : session->failure, session->failure_text);
    else if (xm_now_ms() < deadline)
        pthread_cond_timedwait(&call->changed, &session->lock, &until);
    else
        xm_call_finish(call, -ETIMEDOUT,
                       session->known ? "the service is gone and has not come back"
                                      : "the service does not come up");
}

static void step(struct xm_call *call) {
    if (!session->open)
        await_open(call);
    else if (call->state == XM_CALL_NEW && !session->refused)
        send_call(call);
    else if (!session->reading)
        read_for_all(POLLIN);
    else
        pthread_cond_wait(&call->changed, &session->lock);
}

static void add(struct xm_call *call) {
    struct xm_header *header = call->message;
    session->last_request += session->last_request == UINT32_MAX ? 2 : 1;
    if (xm_link_alone(&session->calls)) {
        session->quiet_since = xm_now_ms();
        session->pinged = false;
    }
    call->state = XM_CALL_NEW;
    call->number = session->last_request;
    call->since = xm_now_ms();
    header->request = call->number;
    xm_link_append(&session->calls, &call->link);
    if (!session->open && is_first(call))
        xm_agent_nudge(session->agent);
}

/* If nobody reads any more, another who waits for an answer does. */
static void hand_on(void) {
    if (session->reading)
        return;
    for (struct xm_link *link = session->calls.next; link != &session->calls; link = link->next) {
        struct xm_call *call = XM_MEMBER(link, struct xm_call, link);
        if (call->state == XM_CALL_SENT || session->refused) {
            pthread_cond_signal(&call->changed);
            return;
        }
    }
}

int xm_session_call(struct xm_call *call) {
    pthread_condattr_t attributes;
    /* Before the session is opened, which can fail at once. */
    xm_session_lock();
    call->failures = session->failures;
    xm_session_unlock();
    int error = xm_session_open();
    if (error != 0)
        return error;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&call->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    xm_session_lock();
    add(call);
    while (call->state != XM_CALL_DONE)
        step(call);
    hand_on();
    xm_session_unlock();
    pthread_cond_destroy(&call->changed);
    if (call->error != 0 && call->text[0] != '\0')
        return xm_fail(call->error, "%s", call->text);
    return call->error;
}
