#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/process.h"
#include "clock.h"
#include "debug.h"
#include "messages.h"
#include "registry.h"
#include "session_parts.h"

/* Waits before a connection is tried again while the agent has its own. */
#define RETRY_MS 50

static struct xm_session *const session = &xm_session;

/*
 * Gets an old connection out of the way. False if there is nothing to do: the one that there is
 * belongs to the agent's connection, and they live and end together.
 */
static bool make_way(uint64_t *connection) {
    xm_session_lock();
    (void)xm_agent_connected(session->agent, connection);
    bool needed = !session->open || session->connection != *connection;
    if (needed) {
        xm_session_lost();
        while (session->users > 0)
            pthread_cond_wait(&session->unused, &session->lock);
        if (session->socket >= 0)
            close(session->socket);
        session->socket = -1;
    }
    xm_session_unlock();
    return needed;
}

static int send_message(int socket, const void *message, size_t length) {
    int error;
    while ((error = xm_seqpacket_send(socket, message, length, NULL, 0)) == -EAGAIN) {
        error = xm_agent_pause(session->agent, socket, POLLOUT, XM_GIVE_UP_MS);
        if (error != 0)
            return error;
    }
    return error;
}

/* Receives a message into session->received. Its length, or a negative errno. */
static ssize_t receive_message(int socket) {
    struct xm_received beside;
    ssize_t length;
    do {
        int error = xm_agent_pause(session->agent, socket, POLLIN, XM_GIVE_UP_MS);
        if (error != 0)
            return error;
        length = xm_session_receive(socket, &beside);
    } while (length == -EAGAIN);
    if (length < 0)
        return length;
    xm_close_received(&beside);
    if (length == 0)
        return -ECONNRESET;
    return xm_message_valid(session->received.bytes, (size_t)length) ? length : -EPROTO;
}

/*
 * Sends a request and waits for its answer, which is in session->received then: 0, or the negative
 * errno of a failure with a note. `*refused` becomes whether it was the answer that said so.
 */
static int ask(int socket, struct xm_header *message, size_t length, uint16_t code, bool *refused) {
    const struct xm_header *answer = &session->received.header;
    *refused = false;
    message->request = 1;
    int error = send_message(socket, message, length);
    if (error != 0)
        return error;
    ssize_t received;
    while ((received = receive_message(socket)) >= 0 && answer->code == XM_CODE_ROLLED_BACK)
        xm_rolled_back_report(answer, (size_t)received);
    if (received < 0)
        return (int)received;
    if (answer->code == XM_CODE_FAILURE) {
        char text[256];
        *refused = answer->request == message->request;
        xm_failure_text(answer, (size_t)received, text, sizeof text);
        return xm_fail(xm_failure_error(answer), "%s", text);
    }
    return answer->code == code && answer->request == message->request ? 0 : -EPROTO;
}

/* The segment was not taken back: it is as if it had been removed. */
static void lose_segment(uint64_t segid, int error) {
    xm_session_lock();
    struct xm_own_segment *own = (struct xm_own_segment *)xm_registry_take(&xm_own_segments, segid);
    xm_session_unlock();
    xm_debug_report("restore", error, "segment 0x%016llx is lost: %s", (unsigned long long)segid,
                    xm_fail_text());
    if (own != NULL)
        xm_agent_withdraw(session->agent, &session->listener, own->offer);
    free(own);
}

static int restore_segment(int socket, const struct xm_own_segment *own) {
    struct xm_msg_make make = {.header = {XM_CODE_MAKE, 0, 0},
                               .segid = own->entry.id,
                               .token_high = own->token_high,
                               .token_low = own->token_low,
                               .address = own->address,
                               .length = own->length,
                               .data_length = own->length,
                               .mode = own->mode};
    bool refused;
    int error = ask(socket, &make.header, XM_BYTES_MAKE, XM_CODE_MADE, &refused);
    bool lost = refused && (error == -EACCES || error == -EEXIST || error == -EINVAL ||
                            error == -EMFILE || error == -ENOENT);
    if (lost)
        lose_segment(own->entry.id, error);
    return lost ? 0 : error;
}

/* A permit whose segment is gone is not restored; its attachments hear of it by the agent. */
static int restore_permit(int socket, const struct xm_own_permit *own) {
    struct xm_msg_restore restore = {.header = {XM_CODE_RESTORE, 0, 0},
                                     .apid = own->entry.id,
                                     .segid = own->segid,
                                     .token_high = own->token_high,
                                     .token_low = own->token_low,
                                     .owner_start = own->owner_start,
                                     .owner_pid = own->owner_pid,
                                     .access = own->access};
    bool refused;
    int error = ask(socket, &restore.header, XM_BYTES_RESTORE, XM_CODE_DONE, &refused);
    return refused && (error == -ENOENT || error == -EACCES) ? 0 : error;
}

/* Copies the entry after `id`, since others may take it out meanwhile. False: there is none. */
static bool copy_after(const struct xm_registry *registry, uint64_t id, void *copy, size_t bytes) {
    xm_session_lock();
    const struct xm_entry *entry = xm_registry_after(registry, id);
    if (entry != NULL)
        memcpy(copy, entry, bytes);
    xm_session_unlock();
    return entry != NULL;
}

/* Makes everything known to a service that may have forgotten. */
static int restore(int socket) {
    struct xm_own_segment segment = {.entry = {0}};
    struct xm_own_permit permit = {.entry = {0}};
    int error = 0;
    while (error == 0 && copy_after(&xm_own_segments, segment.entry.id, &segment, sizeof segment))
        error = restore_segment(socket, &segment);
    while (error == 0 && copy_after(&xm_own_permits, permit.entry.id, &permit, sizeof permit))
        error = restore_permit(socket, &permit);
    return error;
}

static int greet(int socket, uint64_t *service_start) {
    struct xm_msg_hello hello = {
        .header = {XM_CODE_HELLO, 0, 0}, .version = XM_PROTOCOL_VERSION, .role = XM_ROLE_CONTROL};
    bool refused;
    int error = xm_image(&hello.image);
    if (error == 0)
        error = ask(socket, &hello.header, XM_BYTES_HELLO, XM_CODE_WELCOME, &refused);
    if (error == 0)
        *service_start = ((const struct xm_msg_welcome *)session->received.bytes)->service_start;
    return error;
}

/*
 * Lets the calls go on. A new service has done nothing of what the last one was asked; one that
 * closed the connection may have.
 */
static void go_on(int socket, uint64_t connection, uint64_t service_start) {
    xm_session_lock();
    bool same = session->known && session->service_start == service_start;
    session->socket = socket;
    session->connection = connection;
    session->service_start = service_start;
    session->open = true;
    session->known = true;
    session->refused = false;
    session->pinged = false;
    session->quiet_since = xm_now_ms();
    struct xm_link *next;
    for (struct xm_link *link = session->calls.next; link != &session->calls; link = next) {
        struct xm_call *call = XM_MEMBER(link, struct xm_call, link);
        next = link->next;
        if (same && call->state == XM_CALL_SENT)
            xm_call_finish(call, -ECONNRESET,
                           "the service closed the connection before it answered");
        else
            call->state = XM_CALL_NEW;
    }
    xm_calls_wake();
    xm_session_unlock();
}

/* Whether it may well be different at the next try. */
static bool passes(int error) {
    return error == -ENOENT || error == -ECONNREFUSED || error == -ECONNRESET || error == -EAGAIN ||
           error == -EPIPE || error == -ETIMEDOUT;
}

static void try_again(int error) {
    const char *text = xm_fail_text()[0] != '\0' ? xm_fail_text() : strerror(-error);
    xm_debug_report("connect", error, "%s", text);
    xm_session_lock();
    if (!passes(error))
        xm_session_give_up(error, text);
    xm_session_unlock();
    if (xm_agent_pause(session->agent, -1, 0, RETRY_MS) == -ETIMEDOUT)
        xm_agent_nudge(session->agent);
}

void xm_session_errand(struct xm_listener *listener) {
    uint64_t connection;
    uint64_t service_start = 0;
    (void)listener;
    xm_starting_over();
    if (!make_way(&connection))
        return;
    xm_fail_forget();
    int error = xm_paths_check(&session->paths);
    int socket = error == 0 ? xm_seqpacket_connect(session->paths.socket) : error;
    error = socket < 0 ? socket : greet(socket, &service_start);
    if (error == 0)
        error = restore(socket);
    if (error == 0)
        return go_on(socket, connection, service_start);
    if (socket >= 0)
        close(socket);
    if (error != -ECANCELED)
        try_again(error);
}
