#include "command.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "debug.h"
#include "environment.h"

/* From the folder that the library lies in: as installed, and in the npm package's prebuilds. */
static const char *const places[] = {"xpmem", "../bin/xpmem", "../../dist/src/cli/main.js"};

/* Whether a program is there; then `path` is its real, absolute path. */
static bool is_program(const char *candidate, char *path) {
    struct stat status;
    return realpath(candidate, path) != NULL && stat(path, &status) == 0 &&
           S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

static bool find_beside_library(char *path) {
    char candidate[PATH_MAX];
    char library[PATH_MAX];
    Dl_info info;
    if (dladdr(places, &info) == 0 || info.dli_fname == NULL ||
        realpath(info.dli_fname, library) == NULL)
        return false;
    *strrchr(library, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int length = snprintf(candidate, sizeof candidate, "%s/%s", library, places[i]);
        if (length < (int)sizeof candidate && is_program(candidate, path))
            return true;
    }
    return false;
}

static bool find_in_path(char *path) {
    char candidate[PATH_MAX];
    const char *folder = xm_environment_get("PATH");
    while (folder != NULL && *folder != '\0') {
        size_t length = strcspn(folder, ":");
        int needed = snprintf(candidate, sizeof candidate, "%.*s/xpmem", (int)length, folder);
        /* An empty or relative entry would be wherever the program happens to be. */
        if (folder[0] == '/' && needed < (int)sizeof candidate && is_program(candidate, path))
            return true;
        folder += length;
        folder += *folder == ':' ? 1 : 0;
    }
    return false;
}

int xm_command_find(char *path) {
    const char *chosen = xm_environment_get("XPMEM_COMMAND");
    if (chosen != NULL && chosen[0] != '\0') {
        if (is_program(chosen, path))
            return 0;
        return xm_fail(-ENOENT, "XPMEM_COMMAND, '%.200s', is no program", chosen);
    }
    if (find_beside_library(path) || find_in_path(path))
        return 0;
    return xm_fail(-ENOENT, "no service runs, and no 'xpmem' command to start one is beside "
                            "libxpmem or in PATH: set XPMEM_COMMAND");
}
