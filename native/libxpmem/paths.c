#include "paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "debug.h"

/* NULL for what is not set or empty, or not to be trusted (a set-user-id program's). */
static const char *setting(const char *name) {
    const char *value = secure_getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool partition_char(char c, bool first) {
    bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return letter || (c >= '0' && c <= '9') || c == '_' || c == '-' || (c == '.' && !first);
}

static int find_partition(struct xm_paths *paths) {
    const char *name = setting("XPMEM_PARTITION");
    name = name != NULL ? name : "default";
    size_t length = strlen(name);
    bool valid = length <= XM_PARTITION_BYTES;
    for (size_t i = 0; valid && i < length; i++)
        valid = partition_char(name[i], i == 0);
    if (!valid)
        return xm_fail(-EINVAL,
                       "'%.80s' cannot name a partition: use up to %d letters, digits, '.', '_' "
                       "and '-', not beginning with '.'",
                       name, XM_PARTITION_BYTES);
    memcpy(paths->partition, name, length + 1);
    return 0;
}

/* Adds a path's components to the absolute one in `into`, PATH_MAX bytes. 0 or -ENAMETOOLONG. */
static int add_components(char *into, const char *path) {
    size_t length = strlen(into);
    while (*path != '\0') {
        size_t part = strcspn(path, "/");
        if (part == 2 && memcmp(path, "..", 2) == 0) {
            while (length > 0 && into[--length] != '/')
                continue;
        } else if (part > 0 && !(part == 1 && *path == '.')) {
            if (length + part + 2 > PATH_MAX)
                return -ENAMETOOLONG;
            into[length++] = '/';
            memcpy(into + length, path, part);
            length += part;
        }
        into[length] = '\0';
        path += part;
        path += strspn(path, "/");
    }
    return 0;
}

/* Makes a path absolute and plain, looking at nothing but its text; the root becomes "". */
static int resolve(const char *path, char *into) {
    char working[PATH_MAX];
    int error = 0;
    into[0] = '\0';
    if (path[0] != '/') {
        if (getcwd(working, sizeof working) == NULL)
            return -errno;
        error = add_components(into, working);
    }
    return error == 0 ? add_components(into, path) : error;
}

static int find_directory(struct xm_paths *paths, char *directory) {
    const char *chosen = setting("XPMEM_RUNTIME_DIR");
    const char *runtime = setting("XDG_RUNTIME_DIR");
    paths->is_default = chosen == NULL;
    if (chosen != NULL)
        return resolve(chosen, directory);
    if (geteuid() == 0)
        return resolve("/run/xpmem", directory);
    if (runtime == NULL) {
        snprintf(directory, PATH_MAX, "/tmp/xpmem-%u", (unsigned)geteuid());
        return 0;
    }
    int error = resolve(runtime, directory);
    return error == 0 ? add_components(directory, "xpmem") : error;
}

int xm_paths_find(struct xm_paths *paths) {
    char directory[PATH_MAX];
    int error = find_partition(paths);
    if (error != 0)
        return error;
    error = find_directory(paths, directory);
    size_t needed = error == 0 ? strlen(directory) + strlen(paths->partition) + sizeof "/.sock" : 0;
    if (error == -ENAMETOOLONG || needed > sizeof paths->socket)
        return xm_fail(-ENAMETOOLONG,
                       "the socket's path is longer than the %zu bytes it may have: choose a "
                       "shorter runtime directory",
                       sizeof paths->socket - 1);
    if (error != 0)
        return xm_fail(error, "the working directory is gone, and XPMEM_RUNTIME_DIR is relative");
    strcpy(paths->directory, directory[0] == '\0' ? "/" : directory);
    strcpy(paths->socket, directory);
    strcat(strcat(strcat(paths->socket, "/"), paths->partition), ".sock");
    return 0;
}

static int refuse(const struct xm_paths *paths, const char *why) {
    return xm_fail(-EACCES, "%s %s: remove it, or set XPMEM_RUNTIME_DIR", paths->directory, why);
}

int xm_paths_check(const struct xm_paths *paths) {
    struct stat status;
    /* Who names a directory knows whose it is; the default may be anybody's who was there first. */
    if (!paths->is_default)
        return 0;
    if (lstat(paths->directory, &status) != 0)
        return errno == ENOENT ? 0 : xm_fail(-errno, "%s cannot be looked at", paths->directory);
    if (!S_ISDIR(status.st_mode))
        return refuse(paths, "is not a directory");
    if (status.st_uid != geteuid() && status.st_uid != 0)
        return refuse(paths, "belongs to another user");
    return (status.st_mode & 022) != 0 ? refuse(paths, "can be written by others") : 0;
}
