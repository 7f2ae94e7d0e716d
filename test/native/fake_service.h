/* The service's side of an agent's connection, in the test's own thread. */

#ifndef XM_FAKE_SERVICE_H
#define XM_FAKE_SERVICE_H

#include <poll.h>
#include <sys/stat.h>

#include "../../native/core/agent.h"
#include "../../native/core/lock.h"
#include "../../native/core/protocol.h"
#include "../../native/core/seqpacket.h"
#include "harness.h"

struct service {
    char directory[64];
    char path[80];
    int listener;
    int socket;
    uint32_t requests;
    /* The last message received. */
    struct xm_received beside;
    ssize_t length;
    union {
        struct xm_header header;
        char bytes[XM_MAX_MESSAGE_BYTES];
    } message;
};

static inline void await_readable(int descriptor) {
    struct pollfd watched = {descriptor, POLLIN, 0};
    CHECK_EQUAL(poll(&watched, 1, -1), 1);
}

static inline void service_start(struct service *service) {
    memset(service, 0, sizeof *service);
    strcpy(service->directory, "/tmp/xpmem-test-XXXXXX");
    CHECK(mkdtemp(service->directory) != NULL);
    snprintf(service->path, sizeof service->path, "%s/sock", service->directory);
    service->listener = xm_seqpacket_listen(service->path, 4);
    CHECK(service->listener >= 0);
    service->socket = -1;
}

static inline void service_stop(struct service *service) {
    if (service->socket >= 0)
        close(service->socket);
    close(service->listener);
    unlink(service->path);
    rmdir(service->directory);
}

static inline void service_receive(struct service *service) {
    await_readable(service->socket);
    service->length = xm_seqpacket_receive(service->socket, service->message.bytes,
                                           sizeof service->message.bytes, &service->beside);
    CHECK(!service->beside.truncated);
}

static inline void service_send(struct service *service, const void *message, size_t length) {
    CHECK_EQUAL(xm_seqpacket_send(service->socket, message, length, NULL, 0), 0);
}

/* Accepts the connection of a process's agent and reads its hello. */
static inline void service_accept_of(struct service *service, pid_t pid) {
    await_readable(service->listener);
    service->socket = xm_seqpacket_accept(service->listener);
    CHECK(service->socket >= 0);
    service_receive(service);
    const struct xm_msg_hello *hello = (const void *)service->message.bytes;
    CHECK_EQUAL(service->length, XM_BYTES_HELLO);
    CHECK_EQUAL(hello->header.code, XM_CODE_HELLO);
    CHECK_EQUAL(hello->version, XM_PROTOCOL_VERSION);
    CHECK_EQUAL(hello->role, XM_ROLE_AGENT);
    CHECK_EQUAL(service->beside.pid, pid);
}

/* Likewise of this process. */
static inline void service_accept(struct service *service) {
    service_accept_of(service, getpid());
}

static inline void service_welcome(struct service *service) {
    struct {
        struct xm_msg_welcome message;
        char name[4];
    } welcome = {{{XM_CODE_WELCOME, 0, 0}, 1, 2, 3}, "test"};
    service_send(service, &welcome, XM_BYTES_WELCOME + 4);
}

static inline void service_hang_up(struct service *service) {
    close(service->socket);
    service->socket = -1;
}

/* Sends a request whose fields are words, and reads the answer, which must have that code. */
static inline void service_ask(struct service *service, uint16_t code, uint64_t first,
                               uint64_t second, size_t bytes, uint16_t answer) {
    struct {
        struct xm_header header;
        uint64_t first;
        uint64_t second;
        /* Of a share: as much as it likes, and no holes. */
        uint64_t most;
        uint64_t flags;
    } request = {{code, 0, ++service->requests}, first, second, INT64_MAX, 0};
    service_send(service, &request, bytes);
    service_receive(service);
    if (service->message.header.code == XM_CODE_FAILURE && answer != XM_CODE_FAILURE)
        fprintf(stderr, "%.*s\n", (int)(service->length - XM_BYTES_FAILURE),
                service->message.bytes + XM_BYTES_FAILURE);
    CHECK_EQUAL(service->message.header.code, answer);
    CHECK_EQUAL(service->message.header.request, service->requests);
}

/* Likewise, of a message with two words and a descriptor. */
static inline void service_ask_with(struct service *service, uint16_t code, uint64_t first,
                                    uint64_t second, int descriptor, uint16_t answer) {
    struct {
        struct xm_header header;
        uint64_t first;
        uint64_t second;
    } request = {{code, 0, ++service->requests}, first, second};
    CHECK_EQUAL(xm_seqpacket_send(service->socket, &request, sizeof request, &descriptor, 1), 0);
    service_receive(service);
    CHECK_EQUAL(service->message.header.code, answer);
    CHECK_EQUAL(service->message.header.request, service->requests);
}

/* The errno of the failure that was received. */
static inline uint32_t service_failure(const struct service *service) {
    uint32_t number;
    memcpy(&number, service->message.bytes + sizeof(struct xm_header), sizeof number);
    return number;
}

static inline const struct xm_row_extent *service_extents(const struct service *service) {
    return (const void *)(service->message.bytes + XM_BYTES_EXTENTS);
}

static inline size_t service_extent_count(const struct service *service) {
    return (size_t)(service->length - XM_BYTES_EXTENTS) / XM_ROW_BYTES_EXTENT;
}

static inline void service_close_descriptors(struct service *service) {
    for (size_t i = 0; i < service->beside.count; i++)
        close(service->beside.descriptors[i]);
    service->beside.count = 0;
}

/* A listener that counts. */
struct counting_listener {
    struct xm_listener listener;
    atomic_uint changes;
};

static inline void count_change(struct xm_listener *listener) {
    atomic_fetch_add(&XM_MEMBER(listener, struct counting_listener, listener)->changes, 1);
}

static inline struct xm_agent *open_agent(struct service *service,
                                          struct counting_listener *counting) {
    struct xm_agent *agent;
    *counting = (struct counting_listener){.listener = {.changed = count_change}};
    CHECK_EQUAL(xm_agent_open(service->path, XM_TRUST_ANYBODY, &counting->listener, &agent), 0);
    return agent;
}

static inline bool is_connected(struct xm_agent *agent) {
    uint64_t connections;
    return xm_agent_connected(agent, &connections);
}

/* Starts a service and an agent that is connected to it. */
static inline struct xm_agent *connect_agent(struct service *service,
                                             struct counting_listener *counting) {
    service_start(service);
    struct xm_agent *agent = open_agent(service, counting);
    service_accept(service);
    service_welcome(service);
    WAIT_UNTIL(is_connected(agent));
    return agent;
}

#endif
