#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/seqpacket.h"
#include "values.h"

/* A last datagram, for an environment or a process that ends without having said goodbye. */
struct farewell {
    struct xm_link link;
    const struct xm_env *e;
    /* Not sent by a forked child, whose parent goes on. */
    pid_t process;
    int socket;
    size_t length;
    uint8_t message[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct xm_link farewells = {&farewells, &farewells};

/* The next farewell of that environment (NULL: any) and socket (-1: any), taken off the list. */
static struct farewell *take(const struct xm_env *e, int socket) {
    struct farewell *found = NULL;
    pthread_mutex_lock(&lock);
    for (struct xm_link *link = farewells.next; found == NULL && link != &farewells;
         link = link->next) {
        struct farewell *farewell = XM_MEMBER(link, struct farewell, link);
        if ((e == NULL || farewell->e == e) && (socket < 0 || farewell->socket == socket))
            found = farewell;
    }
    if (found != NULL)
        xm_link_remove(&found->link);
    pthread_mutex_unlock(&lock);
    return found;
}

static void say(const struct xm_env *e) {
    struct farewell *farewell;
    while ((farewell = take(e, -1)) != NULL) {
        if (farewell->process == getpid()) {
            /* A service that is gone or has no room learns of the end from the pidfd. */
            (void)xm_seqpacket_send(farewell->socket, farewell->message, farewell->length, NULL, 0);
            close(farewell->socket);
        }
        free(farewell);
    }
}

void xm_end_farewells(struct xm_env *e) {
    say(e);
}

/* process.exit() runs no cleanup hooks in the main thread. */
static void say_all(void) {
    say(NULL);
}

static napi_value js_set_farewell(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    int socket;
    uint8_t *message;
    size_t length;
    if (!xm_arguments(env, info, 2, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &socket) ||
        !xm_get_bytes(env, arguments[1], "message", &message, &length))
        return NULL;
    struct farewell *farewell = malloc(sizeof *farewell + length);
    if (farewell == NULL)
        return xm_throw(env, UV_ENOMEM, "sendmsg");
    farewell->e = e;
    farewell->process = getpid();
    farewell->socket = socket;
    farewell->length = length;
    memcpy(farewell->message, message, length);
    free(take(e, socket));
    pthread_mutex_lock(&lock);
    static bool registered;
    if (!registered)
        registered = atexit(say_all) == 0;
    xm_link_append(&farewells, &farewell->link);
    pthread_mutex_unlock(&lock);
    return xm_undefined(env);
}

static napi_value js_forget_farewell(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    int socket;
    if (!xm_arguments(env, info, 1, &argument, &e) || !xm_get_descriptor(env, argument, &socket))
        return NULL;
    free(take(e, socket));
    return xm_undefined(env);
}

bool xm_add_farewell(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"setFarewell", js_set_farewell},
        {"forgetFarewell", js_forget_farewell},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
