#include "armed.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "userfault.h"

struct armed {
    struct xm_link link;
    uint64_t address;
    uint64_t length;
    int userfault;
};

int xm_arm(struct xm_link *list, uint64_t address, uint64_t length, uint64_t *features,
           uint64_t *ioctls) {
    struct xm_userfault_ability ability;
    uint64_t needed = XM_FEATURE_WP_PRIVATE | XM_FEATURE_MISSING_SHMEM | XM_FEATURE_WP_SHMEM;
    xm_userfault_query(&ability);
    if (ability.mode == XM_USERFAULT_NONE || (ability.features & needed) != needed)
        return -ENOTSUP;
    *features = needed | (ability.features & XM_FEATURE_WP_UNPOPULATED);
    struct armed *armed = malloc(sizeof *armed);
    if (armed == NULL)
        return -ENOMEM;
    *armed = (struct armed){.address = address, .length = length};
    armed->userfault = xm_userfault_open(*features);
    int error = armed->userfault < 0 ? armed->userfault : 0;
    if (error == 0) {
        error = xm_userfault_register(armed->userfault, address, length,
                                      XM_REGISTER_MISSING | XM_REGISTER_WP, ioctls);
        if (error != 0)
            close(armed->userfault);
    }
    if (error != 0) {
        free(armed);
        return error;
    }
    xm_link_append(list, &armed->link);
    return armed->userfault;
}

/* Copies of the descriptor, in the service or in a forked child, do not keep the registration. */
static void end(struct armed *armed) {
    xm_link_remove(&armed->link);
    /* Of memory that was unmapped or replaced meanwhile nothing is registered any more. */
    (void)xm_userfault_unregister(armed->userfault, armed->address, armed->length);
    close(armed->userfault);
    free(armed);
}

int xm_disarm(struct xm_link *list, uint64_t address, uint64_t length) {
    for (struct xm_link *link = list->next; link != list; link = link->next) {
        struct armed *armed = XM_MEMBER(link, struct armed, link);
        if (armed->address != address || armed->length != length)
            continue;
        end(armed);
        return 0;
    }
    return -ENOENT;
}

void xm_disarm_all(struct xm_link *list) {
    while (!xm_link_alone(list))
        end(XM_MEMBER(list->next, struct armed, link));
}
