#include "environment.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* V8 settings that keep the service small: it allocates little and lives long. */
#define NODE_OPTIONS "NODE_OPTIONS=--max-semi-space-size=1 --v8-pool-size=1"

/* In one block of memory with what it points at; NULL until there is a copy. */
static char **copied;

static bool is_kept(const char *variable) {
    return strncmp(variable, NODE_OPTIONS, sizeof "NODE_OPTIONS=" - 1) != 0;
}

static char **make_copy(void) {
    static char options[] = NODE_OPTIONS;
    size_t count = 0;
    size_t bytes = 0;
    for (; environ != NULL && environ[count] != NULL; count++)
        bytes += strlen(environ[count]) + 1;
    char **copy = malloc((count + 2) * sizeof *copy + bytes);
    if (copy == NULL)
        return NULL;
    char *text = (char *)(copy + count + 2);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_kept(environ[i]))
            continue;
        copy[kept++] = text;
        text = stpcpy(text, environ[i]) + 1;
    }
    copy[kept++] = options;
    copy[kept] = NULL;
    return copy;
}

int xm_environment_copy(void) {
    char **copy = make_copy();
    if (copy == NULL)
        return -ENOMEM;
    free(copied);
    copied = copy;
    return 0;
}

const char *xm_environment_get(const char *name) {
    size_t length = strlen(name);
    if (copied == NULL || xm_environment_foreign())
        return NULL;
    for (char **variable = copied; *variable != NULL; variable++) {
        if (strncmp(*variable, name, length) == 0 && (*variable)[length] == '=')
            return *variable + length + 1;
    }
    return NULL;
}

bool xm_environment_foreign(void) {
    return getauxval(AT_SECURE) != 0;
}

char *const *xm_environment_for_service(void) {
    return copied;
}
