/* Where the partition's service is. The rules are those of src/runtime-directory.ts. */

#ifndef XM_PATHS_H
#define XM_PATHS_H

#include <stdbool.h>
#include <sys/un.h>

#define XM_PARTITION_BYTES 64
#define XM_SOCKET_PATH_BYTES sizeof((struct sockaddr_un *)0)->sun_path

struct xm_paths {
    char partition[XM_PARTITION_BYTES + 1];
    /* Absolute. */
    char directory[XM_SOCKET_PATH_BYTES];
    char socket[XM_SOCKET_PATH_BYTES];
    /* The directory is this user's default, not one that was named. */
    bool is_default;
};

/*
 * What the environment says. 0; -EINVAL for a name that no partition has; -ENAMETOOLONG for a
 * socket's path that cannot be; or another negative errno. Notes why.
 */
int xm_paths_find(struct xm_paths *paths);
/*
 * -EACCES if a default directory could hold another user's service: it belongs to neither this user
 * nor root, or others can write in it. 0 also if there is none. Notes why.
 */
int xm_paths_check(const struct xm_paths *paths);

#endif
