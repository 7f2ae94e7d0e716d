/*
 * The agent: a thread in every process that uses xpmem, with its own connection to the service. It
 * shares, moves and arms the process's memory and revokes attachments, whatever the other threads
 * are doing. One per process and service.
 */

#ifndef XM_AGENT_H
#define XM_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"

struct xm_agent;

/*
 * Whose service the agent may speak to. A directory that somebody named is theirs to trust; in the
 * default one, where another user may be first after a clean-up, it must be this user's or root's.
 */
enum xm_trust { XM_TRUST_ANYBODY, XM_TRUST_OWN_USER };

/* Whoever opened an agent. */
struct xm_listener {
    struct xm_link link;
    /* Called with the state lock held when the connection came up or went down. It must not block.
     */
    void (*changed)(struct xm_listener *listener);
    /*
     * These may be NULL; a listener that has one is never closed. They are called on the agent's
     * thread with no lock held: `errand` after each time the connection came up and after
     * xm_agent_nudge; `missing` when there is no connection, before the thread waits and tries
     * again, with what connect or the service said (a negative errno).
     */
    void (*errand)(struct xm_listener *listener);
    void (*missing)(struct xm_listener *listener, int error);
};

/*
 * Opens the process's agent for the service at a socket path; the first opener starts its thread.
 * It reconnects by itself, trusting as little as any opener did. 0, -ENAMETOOLONG, or another
 * negative errno.
 */
int xm_agent_open(const char *path, enum xm_trust trust, struct xm_listener *listener,
                  struct xm_agent **agent);
/*
 * Withdraws what the listener offered; the last one joins the thread and ends all permits, revoking
 * what is attached through them.
 */
void xm_agent_close(struct xm_agent *agent, struct xm_listener *listener);
/* Whether the agent is connected now, and how often it has been. */
bool xm_agent_connected(struct xm_agent *agent, uint64_t *connections);

/* Has the agent's thread run its listeners' errands soon, or if it is not connected try again. */
void xm_agent_nudge(struct xm_agent *agent);
/*
 * For errands and `missing`: waits for events on a descriptor (-1: on none), `timeout_ms` at the
 * most (-1: for ever). 0, -ETIMEDOUT, -ECANCELED when the thread must end, or another errno.
 */
int xm_agent_pause(const struct xm_agent *agent, int descriptor, short events, int timeout_ms);

/* As xm_offer_add and xm_offer_withdraw. */
int xm_agent_offer(struct xm_agent *agent, const struct xm_listener *listener, uint64_t address,
                   uint64_t length, uint32_t *id);
void xm_agent_withdraw(struct xm_agent *agent, const struct xm_listener *listener, uint32_t id);

/* How many offers of all agents have some of a range. */
size_t xm_agents_offered(uint64_t address, uint64_t length);

/* Whether a range has memory of agents' threads. The state lock is held. */
bool xm_agents_need(uint64_t address, uint64_t length);

/* In a forked child, with the state lock held: there is no such thread, and no connection of it. */
void xm_agents_forget(void);

#endif
