/* Having an agent move memory, through the fake service. */

#ifndef XM_MOVING_H
#define XM_MOVING_H

#include <fcntl.h>
#include <sys/wait.h>

#include "fake_service.h"

/* Asks to share a range that is offered, from its start on. Bytes that lie in memfds now, from 0.
 */
static inline uint64_t share_some(struct service *service, uint64_t address, uint64_t length) {
    struct xm_msg_share request = {
        {XM_CODE_SHARE, 0, ++service->requests}, address, length, INT64_MAX, 0, 0};
    service_send(service, &request, XM_BYTES_SHARE);
    service_receive(service);
    CHECK_EQUAL(service->message.header.request, service->requests);
    if (service->message.header.code != XM_CODE_EXTENTS)
        return 0;
    const struct xm_row_extent *last = service_extents(service) + service_extent_count(service) - 1;
    return last->offset + last->length;
}

/* Moves all of a range. What went wrong is in the service's message. */
static inline bool move_range(struct service *service, uint64_t address, uint64_t length) {
    for (uint64_t done = 0; done < length;) {
        uint64_t some = share_some(service, address + done, length - done);
        if (some == 0)
            return false;
        service_close_descriptors(service);
        done += some;
    }
    return true;
}

static inline uint32_t offer(struct xm_agent *agent, struct counting_listener *listener,
                             const void *memory, uint64_t length) {
    uint32_t id;
    CHECK_EQUAL(xm_agent_offer(agent, &listener->listener, (uintptr_t)memory, length, &id), 0);
    return id;
}

/* Moves memory that must be fit to be moved. */
static inline void move(struct service *service, struct xm_agent *agent,
                        struct counting_listener *listener, void *memory, uint64_t length) {
    uint32_t id = offer(agent, listener, memory, length);
    bool moved = move_range(service, (uintptr_t)memory, length);
    if (!moved)
        fprintf(stderr, "%.*s\n", (int)(service->length - XM_BYTES_FAILURE),
                service->message.bytes + XM_BYTES_FAILURE);
    CHECK(moved);
    xm_agent_withdraw(agent, &listener->listener, id);
    CHECK_EQUAL(shared_bytes(memory, length), length);
}

/* The mapping that an address lies in. */
static inline struct xm_vma mapping_of(const void *address) {
    static char buffer[16384];
    struct xm_maps maps;
    struct xm_vma vma;
    CHECK_EQUAL(xm_maps_open(&maps, buffer, sizeof buffer), 0);
    do {
        CHECK_EQUAL(xm_maps_next(&maps, &vma), 1);
    } while ((uintptr_t)address >= vma.end);
    xm_maps_close(&maps);
    CHECK(vma.start <= (uintptr_t)address);
    return vma;
}

struct range {
    uint64_t start;
    uint64_t length;
};

/* Moves all anonymous memory of the process that can be moved. */
static inline void move_everything(struct service *service, struct xm_agent *agent,
                                   struct counting_listener *listener) {
    static char buffer[16384];
    static struct range ranges[4096];
    size_t count = 0;
    struct xm_maps maps;
    struct xm_vma vma;
    CHECK_EQUAL(xm_maps_open(&maps, buffer, sizeof buffer), 0);
    while (xm_maps_next(&maps, &vma) > 0 && count < 4096) {
        if (xm_vma_anonymous(&vma) && (vma.protection & PROT_WRITE) != 0)
            ranges[count++] = (struct range){vma.start, vma.end - vma.start};
    }
    xm_maps_close(&maps);
    for (size_t i = 0; i < count; i++) {
        uint32_t id = offer(agent, listener, (void *)(uintptr_t)ranges[i].start, ranges[i].length);
        (void)move_range(service, ranges[i].start, ranges[i].length);
        xm_agent_withdraw(agent, &listener->listener, id);
    }
}

static inline void await_exit(pid_t child) {
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
}

#endif
