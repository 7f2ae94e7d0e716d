#include "agent_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper.h"
#include "lock.h"
#include "maps.h"
#include "table.h"
#include "thread.h"

static struct xm_link agents = {&agents, &agents};

static struct xm_agent *find(const char *path) {
    for (struct xm_link *link = agents.next; link != &agents; link = link->next) {
        struct xm_agent *agent = XM_MEMBER(link, struct xm_agent, link);
        if (strcmp(agent->path, path) == 0)
            return agent;
    }
    return NULL;
}

static void discard(struct xm_agent *agent) {
    xm_pager_close(&agent->pager);
    if (agent->arena != NULL)
        munmap(agent->arena, sizeof *agent->arena);
    if (agent->stop >= 0)
        close(agent->stop);
    if (agent->errands >= 0)
        close(agent->errands);
    if (agent->service >= 0)
        close(agent->service);
    free(agent->path);
    free(agent);
}

/* What is offered to it, or attached from it. */
static bool concerns_service(const void *of, const struct xm_vma *vma) {
    const struct xm_agent *agent = of;
    uint64_t length = vma->end - vma->start;
    return xm_attachments_touch(vma->start, length) ||
           xm_offers_touching(&agent->offers, vma->start, length) > 0;
}

static int make_parts(struct xm_agent *agent, const char *path) {
    agent->socket = -1;
    agent->service = -1;
    xm_link_init(&agent->listeners);
    xm_pager_init(&agent->pager, agent, concerns_service);
    xm_offers_init(&agent->offers);
    agent->path = strdup(path);
    agent->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    agent->errands = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (agent->stop < 0 || agent->errands < 0)
        return -errno;
    if (agent->path == NULL)
        return -ENOMEM;
    void *arena = mmap(NULL, sizeof *agent->arena, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return -errno;
    agent->arena = arena;
    return mprotect(agent->arena->guard, sizeof agent->arena->guard, PROT_NONE) == 0 ? 0 : -errno;
}

static int make(const char *path, enum xm_trust trust, struct xm_agent **agent) {
    struct xm_agent *made = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    made->trust = trust;
    made->stop = -1;
    made->errands = -1;
    int error = make_parts(made, path);
    if (error == 0)
        error = xm_thread_start(&made->thread, made->arena->stack, sizeof made->arena->stack,
                                xm_agent_main, made);
    if (error != 0) {
        discard(made);
        return error;
    }
    xm_link_append(&agents, &made->link);
    *agent = made;
    return 0;
}

/* An eventfd always takes 1: its thread reads it long before it is full. */
static void ring(int eventfd) {
    uint64_t one = 1;
    ssize_t written = write(eventfd, &one, sizeof one);
    (void)written;
}

/* Without an agent nobody is told of memory, and it need not be kept. */
static void end_keeper(void) {
    xm_lock_conversion();
    xm_lock();
    bool alone = xm_link_alone(&agents);
    xm_unlock();
    if (alone)
        xm_keeper_end();
    xm_unlock_conversion();
}

/* Ends the thread of an agent that is on no list any more. */
static void finish(struct xm_agent *agent) {
    ring(agent->stop);
    pthread_join(agent->thread, NULL);
    uint64_t apid;
    while (xm_grant_any(agent, &apid) == 0)
        xm_grant_close(agent, apid);
    discard(agent);
    end_keeper();
}

/* A process that exits takes its agents along before anything of it is torn down. */
static void finish_all(void) {
    xm_lock();
    while (!xm_link_alone(&agents)) {
        struct xm_agent *agent = XM_MEMBER(agents.next, struct xm_agent, link);
        xm_link_remove(&agent->link);
        agent->forgotten = true;
        xm_unlock();
        uint64_t one = 1;
        if (write(agent->stop, &one, sizeof one) > 0)
            pthread_join(agent->thread, NULL);
        xm_lock();
    }
    xm_unlock();
    end_keeper();
}

int xm_agent_open(const char *path, enum xm_trust trust, struct xm_listener *listener,
                  struct xm_agent **agent) {
    static bool registered;
    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return -ENAMETOOLONG;
    int error = 0;
    xm_lock();
    if (!registered)
        error = atexit(finish_all) == 0 ? 0 : -ENOMEM;
    registered = error == 0;
    struct xm_agent *found = find(path);
    if (error == 0 && found == NULL)
        error = make(path, trust, &found);
    if (error == 0) {
        if (trust == XM_TRUST_OWN_USER)
            found->trust = trust;
        xm_link_append(&found->listeners, &listener->link);
        *agent = found;
    }
    xm_unlock();
    return error;
}

void xm_agent_close(struct xm_agent *agent, struct xm_listener *listener) {
    if (!agent->forgotten)
        xm_offers_withdraw(&agent->offers, listener);
    xm_lock();
    xm_link_remove(&listener->link);
    bool last = xm_link_alone(&agent->listeners) && !agent->forgotten;
    if (last)
        xm_link_remove(&agent->link);
    xm_unlock();
    if (last)
        finish(agent);
}

bool xm_agent_connected(struct xm_agent *agent, uint64_t *connections) {
    xm_lock();
    bool connected = agent->connected;
    *connections = agent->connections;
    xm_unlock();
    return connected;
}

int xm_agent_offer(struct xm_agent *agent, const struct xm_listener *listener, uint64_t address,
                   uint64_t length, uint32_t *id) {
    return xm_offer_add(&agent->offers, listener, address, length, id);
}

void xm_agent_withdraw(struct xm_agent *agent, const struct xm_listener *listener, uint32_t id) {
    xm_offer_withdraw(&agent->offers, listener, id);
}

size_t xm_agents_offered(uint64_t address, uint64_t length) {
    size_t count = 0;
    xm_lock();
    for (struct xm_link *link = agents.next; link != &agents; link = link->next)
        count +=
            xm_offers_touching(&XM_MEMBER(link, struct xm_agent, link)->offers, address, length);
    xm_unlock();
    return count;
}

bool xm_agents_need(uint64_t address, uint64_t length) {
    bool need = false;
    for (struct xm_link *link = agents.next; link != &agents; link = link->next) {
        const struct xm_arena *arena = XM_MEMBER(link, struct xm_agent, link)->arena;
        struct xm_span memory = {(uintptr_t)arena, sizeof *arena};
        need = need || xm_spans_meet(&memory, address, length);
    }
    return need;
}

void xm_agent_nudge(struct xm_agent *agent) {
    ring(agent->errands);
}

void xm_agents_forget(void) {
    for (struct xm_link *link = agents.next; link != &agents; link = link->next) {
        struct xm_agent *agent = XM_MEMBER(link, struct xm_agent, link);
        if (agent->socket >= 0)
            close(agent->socket);
        close(agent->stop);
        close(agent->errands);
        xm_pager_close(&agent->pager);
        if (agent->service >= 0)
            close(agent->service);
        agent->socket = -1;
        agent->service = -1;
        agent->connected = false;
        agent->forgotten = true;
    }
    xm_link_init(&agents);
}
