#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "command.h"
#include "debug.h"
#include "environment.h"
#include "registry.h"
#include "session_parts.h"
#include "start.h"

/* Tries after a loss that leave it to others, or to a service manager, to start the next service.
 */
#define PATIENT_TRIES 2

/* A service that ends as soon as it is started may have met one that was just leaving. */
#define MOST_STARTS 2

/* How long a service may take until it accepts clients. */
#define START_MS 10000

/* How long another process that is starting the service is waited for. */
#define TURN_MS 3000

/* How long a process that had a service waits until it tries to start the next one again. */
#define REST_MS 10000

static struct xm_session *const session = &xm_session;

/* Used by the agent's thread, and in a forked child before there is one. */
static struct {
    /* Tries to connect since there was a connection. */
    unsigned tries;
    unsigned starts;
    /* The service while it is coming up, or -1. */
    int pidfd;
    /* The right to start it, or -1. */
    int right;
    int64_t started_at;
    /* Since when another process has the right; 0: none has. */
    int64_t waiting_since;
    int64_t rest_until;
} starting = {.pidfd = -1, .right = -1};

static void let_go(int *descriptor) {
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

void xm_starting_over(void) {
    let_go(&starting.pidfd);
    let_go(&starting.right);
    starting.tries = 0;
    starting.starts = 0;
    starting.waiting_since = 0;
}

static void give_up(int error, const char *text) {
    let_go(&starting.right);
    starting.starts = 0;
    starting.rest_until = xm_now_ms() + REST_MS;
    xm_debug_report("start", error, "%s", text);
    xm_session_lock();
    xm_session_give_up(error, text);
    xm_session_unlock();
}

/* Tries to connect again soon. */
static void look_again(int descriptor, int64_t wait_ms) {
    int64_t ms = wait_ms < 5 ? 5 : wait_ms;
    if (xm_agent_pause(session->agent, descriptor, POLLIN, ms > 100 ? 100 : (int)ms) != -ECANCELED)
        xm_agent_nudge(session->agent);
}

static void wait_for_start(void) {
    int64_t age = xm_now_ms() - starting.started_at;
    if (xm_service_ended(starting.pidfd)) {
        let_go(&starting.pidfd);
        look_again(-1, 0);
    } else if (age > START_MS) {
        xm_service_kill(starting.pidfd);
        let_go(&starting.pidfd);
        give_up(-ETIMEDOUT, "the service that was started does not accept clients");
    } else {
        look_again(starting.pidfd, age / 4);
    }
}

/* Whether this process may start the service now, which many may want to do at the same time. */
static bool my_turn(void) {
    int64_t now = xm_now_ms();
    if (starting.right >= 0 || xm_start_right(&session->paths, &starting.right))
        return true;
    if (starting.waiting_since == 0)
        starting.waiting_since = now;
    return now - starting.waiting_since > TURN_MS;
}

static void start(void) {
    char command[PATH_MAX];
    if (xm_environment_foreign())
        return give_up(-ENOENT, "no service runs, and a set-user-id program does not start one");
    if (starting.starts == MOST_STARTS)
        return give_up(-ENOENT, "the service was started, and ended at once: try 'xpmem serve'");
    if (!my_turn())
        return look_again(-1, (xm_now_ms() - starting.waiting_since) / 4);
    int error = xm_command_find(command);
    int pidfd = error == 0 ? xm_service_start(&session->paths, command) : error;
    if (pidfd < 0)
        return give_up(error == 0 ? pidfd : error, xm_fail_text());
    starting.starts++;
    starting.pidfd = pidfd;
    starting.started_at = xm_now_ms();
    look_again(pidfd, 0);
}

/* While it rests: who calls now hears of the failure before. */
static void refuse_calls(void) {
    char text[sizeof session->failure_text];
    xm_session_lock();
    memcpy(text, session->failure_text, sizeof text);
    xm_session_give_up(session->failure, text);
    xm_session_unlock();
}

/* Whether a service is any use to this process. */
static bool needed(bool *waited_for) {
    xm_session_lock();
    *waited_for = !xm_link_alone(&session->calls);
    bool needed = *waited_for || xm_own_segments.count > 0 || xm_own_permits.count > 0;
    xm_session_unlock();
    return needed;
}

/* What the agent hears of a service that is there, and may not be for long. */
static bool passes(int error) {
    return error == -EAGAIN || error == -ECONNRESET || error == -EPIPE || error == -EEXIST ||
           error == -ETIMEDOUT;
}

void xm_session_missing(struct xm_listener *listener, int error) {
    bool waited_for;
    (void)listener;
    starting.tries++;
    if (error != -ENOENT && error != -ECONNREFUSED) {
        if (!passes(error))
            give_up(error, strerror(-error));
        return;
    }
    if (starting.pidfd >= 0)
        return wait_for_start();
    if (!needed(&waited_for))
        return;
    bool rests = xm_now_ms() < starting.rest_until;
    if (!session->known ? waited_for : !rests && starting.tries > PATIENT_TRIES)
        start();
    else if (session->known && rests)
        refuse_calls();
}
