#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "values.h"

/* A thread that only closes needs little. */
#define STACK_BYTES (128 * 1024)

struct closing {
    int descriptor;
    int tell;
    uint32_t number;
};

static void *close_and_tell(void *argument) {
    struct closing *closing = argument;
    ssize_t told;
    close(closing->descriptor);
    /* The pipe has room for the numbers of more threads than there are. */
    do {
        told = write(closing->tell, &closing->number, sizeof closing->number);
    } while (told < 0 && errno == EINTR);
    free(closing);
    return NULL;
}

/* A detached thread with all signals blocked. 0 or an errno. */
static int start(struct closing *closing) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    int error = pthread_attr_init(&attributes);
    if (error != 0)
        return error;
    error = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (error == 0)
        error = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (error == 0) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(&thread, &attributes, close_and_tell, closing);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    return error;
}

static napi_value js_close_apart(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    struct xm_env *e;
    struct closing wanted;
    int32_t number;
    if (!xm_arguments(env, info, 3, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &wanted.descriptor) ||
        !xm_get_descriptor(env, arguments[1], &wanted.tell) ||
        !xm_get_int(env, arguments[2], "number", 0, &number))
        return NULL;
    struct closing *closing = malloc(sizeof *closing);
    if (closing == NULL)
        return xm_truth(env, false);
    *closing = wanted;
    closing->number = (uint32_t)number;
    int error = start(closing);
    if (error != 0)
        free(closing);
    return xm_truth(env, error == 0);
}

static napi_value js_pipe(napi_env env, napi_callback_info info) {
    struct xm_env *e;
    int ends[2];
    if (!xm_arguments(env, info, 0, NULL, &e))
        return NULL;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return xm_throw(env, errno, "pipe");
    napi_value result;
    bool made = xm_ok(env, napi_create_array_with_length(env, 2, &result));
    for (uint32_t i = 0; made && i < 2; i++) {
        napi_value end = xm_number(env, ends[i]);
        made = end != NULL && xm_ok(env, napi_set_element(env, result, i, end));
    }
    if (!made) {
        close(ends[0]);
        close(ends[1]);
    }
    return made ? result : NULL;
}

static napi_value js_is_memory(napi_env env, napi_callback_info info) {
    int descriptor;
    if (!xm_descriptor_argument(env, info, &descriptor))
        return NULL;
    return xm_truth(env, fcntl(descriptor, F_GET_SEALS) >= 0);
}

/* Whether a datagram is there: credentials that find no room are cut off, the end of the stream has
 * none. */
static bool has_unread(int socket) {
    struct msghdr header = {0};
    ssize_t length;
    do {
        length = recvmsg(socket, &header, MSG_PEEK | MSG_DONTWAIT);
        /* A peer that closed with something of ours unread is told of first, once. */
    } while (length < 0 && (errno == EINTR || errno == ECONNRESET));
    return length == 0 && header.msg_flags != 0;
}

static napi_value js_hang_up(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    int socket;
    if (!xm_arguments(env, info, 1, &argument, &e) || !xm_get_descriptor(env, argument, &socket))
        return NULL;
    /* It fails where the peer is gone already. */
    (void)shutdown(socket, SHUT_RDWR);
    return xm_truth(env, !has_unread(socket));
}

bool xm_add_closing(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"closeApart", js_close_apart},
        {"pipe", js_pipe},
        {"isMemory", js_is_memory},
        {"hangUp", js_hang_up},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
