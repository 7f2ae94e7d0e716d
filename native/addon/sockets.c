#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "../core/seqpacket.h"
#include "values.h"

/* Longer than any socket's path can be, so that too long a one is the call's own error. */
#define PATH_CAPACITY 4096

/* Where in `meta` of receive the descriptors begin. */
#define META_DESCRIPTORS 3

static napi_value js_listen(napi_env env, napi_callback_info info) {
    napi_value arguments[2];
    struct xm_env *e;
    char path[PATH_CAPACITY];
    int32_t backlog;
    if (!xm_arguments(env, info, 2, arguments, &e) ||
        !xm_get_string(env, arguments[0], "path", path, sizeof path) ||
        !xm_get_int(env, arguments[1], "backlog", 0, &backlog))
        return NULL;
    int descriptor = xm_seqpacket_listen(path, backlog);
    return descriptor < 0 ? xm_throw(env, descriptor, "listen") : xm_number(env, descriptor);
}

static napi_value js_connect(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    char path[PATH_CAPACITY];
    if (!xm_arguments(env, info, 1, &argument, &e) ||
        !xm_get_string(env, argument, "path", path, sizeof path))
        return NULL;
    int descriptor = xm_seqpacket_connect(path);
    return descriptor < 0 ? xm_throw(env, descriptor, "connect") : xm_number(env, descriptor);
}

static napi_value js_accept(napi_env env, napi_callback_info info) {
    napi_value argument;
    struct xm_env *e;
    int listener;
    if (!xm_arguments(env, info, 1, &argument, &e) || !xm_get_descriptor(env, argument, &listener))
        return NULL;
    int descriptor = xm_seqpacket_accept(listener);
    if (descriptor < 0 && descriptor != -EAGAIN)
        return xm_throw(env, descriptor, "accept");
    return xm_number(env, descriptor < 0 ? -1 : descriptor);
}

static bool set_groups(napi_env env, napi_value object, const struct xm_peer *peer) {
    napi_value groups;
    if (!xm_ok(env, napi_create_array_with_length(env, peer->group_count, &groups)))
        return false;
    for (size_t i = 0; i < peer->group_count; i++) {
        napi_value group = xm_number(env, peer->groups[i]);
        if (group == NULL || !xm_ok(env, napi_set_element(env, groups, (uint32_t)i, group)))
            return false;
    }
    return xm_set(env, object, "groups", groups);
}

static napi_value js_peer(napi_env env, napi_callback_info info) {
    int descriptor;
    if (!xm_descriptor_argument(env, info, &descriptor))
        return NULL;
    struct xm_peer peer;
    int error = xm_seqpacket_peer(descriptor, &peer);
    if (error != 0)
        return xm_throw(env, error, "getsockopt");
    napi_value result;
    bool made = xm_ok(env, napi_create_object(env, &result)) &&
                xm_set_number(env, result, "pid", peer.pid) &&
                xm_set_number(env, result, "uid", peer.uid) &&
                xm_set_number(env, result, "gid", peer.gid) && set_groups(env, result, &peer) &&
                xm_set_number(env, result, "pidfd", peer.pidfd);
    free(peer.groups);
    if (!made)
        close(peer.pidfd);
    return made ? result : NULL;
}

static napi_value js_send(napi_env env, napi_callback_info info) {
    napi_value arguments[4];
    struct xm_env *e;
    int descriptor;
    uint8_t *message;
    size_t capacity;
    uint64_t length;
    int descriptors[XM_MAX_DESCRIPTORS];
    size_t count;
    if (!xm_arguments(env, info, 4, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &descriptor) ||
        !xm_get_bytes(env, arguments[1], "message", &message, &capacity) ||
        !xm_get_size(env, arguments[2], "length", &length) ||
        !xm_get_descriptors(env, arguments[3], descriptors, &count))
        return NULL;
    if (length > capacity) {
        xm_misuse(env, "length must not exceed the message");
        return NULL;
    }
    int error = xm_seqpacket_send(descriptor, message, length, descriptors, count);
    if (error != 0 && error != -EAGAIN)
        return xm_throw(env, error, "sendmsg");
    return xm_truth(env, error == 0);
}

static napi_value js_receive(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    struct xm_env *e;
    int descriptor;
    uint8_t *into;
    size_t capacity;
    int32_t *meta;
    size_t meta_length;
    if (!xm_arguments(env, info, 3, arguments, &e) ||
        !xm_get_descriptor(env, arguments[0], &descriptor) ||
        !xm_get_bytes(env, arguments[1], "into", &into, &capacity) ||
        !xm_get_int32s(env, arguments[2], "meta", &meta, &meta_length))
        return NULL;
    if (meta_length < META_DESCRIPTORS + XM_MOST_RECEIVED) {
        xm_misuse(env, "meta must have 256 elements");
        return NULL;
    }
    struct xm_received received;
    ssize_t length = xm_seqpacket_receive(descriptor, into, capacity, &received);
    if (length < 0 && length != -EAGAIN)
        return xm_throw(env, (int)length, "recvmsg");
    meta[0] = (int32_t)received.count;
    meta[1] = received.truncated ? 1 : 0;
    meta[2] = received.pid;
    for (size_t i = 0; i < received.count; i++)
        meta[META_DESCRIPTORS + i] = received.descriptors[i];
    return xm_number(env, length < 0 ? -1 : (double)length);
}

bool xm_add_sockets(struct xm_env *e, napi_value exports) {
    static const struct xm_method methods[] = {
        {"listen", js_listen}, {"connect", js_connect}, {"accept", js_accept},
        {"peer", js_peer},     {"send", js_send},       {"receive", js_receive},
    };
    return xm_add_methods(e, exports, methods, sizeof methods / sizeof *methods);
}
