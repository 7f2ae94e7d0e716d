#include "debug.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Until the first call, when nobody looks but threads of the program. */
#define UNSETTLED (-1)

static _Thread_local char noted[400];

static atomic_int settled = UNSETTLED;

static bool is_asked_for(void) {
    const char *value = secure_getenv("XPMEM_DEBUG");
    return value != NULL && strcmp(value, "1") == 0;
}

bool xm_debug_enabled(void) {
    int enabled = atomic_load(&settled);
    return enabled == UNSETTLED ? is_asked_for() : enabled != 0;
}

void xm_debug_settle(void) {
    atomic_store(&settled, is_asked_for());
}

/* strerrorname_np is younger than some C libraries this runs on. */
static const char *name_of(int number) {
    static const struct {
        int number;
        const char *name;
    } names[] = {
        {EACCES, "EACCES"}, {EAGAIN, "EAGAIN"},   {ECONNREFUSED, "ECONNREFUSED"},
        {EBUSY, "EBUSY"},   {EEXIST, "EEXIST"},   {ECONNRESET, "ECONNRESET"},
        {EFAULT, "EFAULT"}, {EINVAL, "EINVAL"},   {ENAMETOOLONG, "ENAMETOOLONG"},
        {EMFILE, "EMFILE"}, {ENFILE, "ENFILE"},   {EPROTO, "EPROTO"},
        {ENOENT, "ENOENT"}, {ENOMEM, "ENOMEM"},   {ENOTSUP, "ENOTSUP"},
        {ESRCH, "ESRCH"},   {ENOTDIR, "ENOTDIR"}, {ETIMEDOUT, "ETIMEDOUT"},
        {EPERM, "EPERM"},   {EPIPE, "EPIPE"},     {EBADF, "EBADF"},
        {EFBIG, "EFBIG"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].number == number)
            return names[i].name;
    }
    return NULL;
}

/* What stands before the text: the error's name, or nothing where none is told. */
static const char *prefix_of(int error, char *into, size_t capacity) {
    const char *name = name_of(-error);
    if (error == 0)
        return "";
    if (name != NULL)
        snprintf(into, capacity, "%s: ", name);
    else
        snprintf(into, capacity, "errno %d: ", -error);
    return into;
}

/* One line, whatever characters are in the text; the service tells what others said. */
static void say(const char *what, int error, const char *text) {
    char line[600];
    char prefix[24];
    int length = snprintf(line, sizeof line - 1, "xpmem: %s: %s%s", what,
                          prefix_of(error, prefix, sizeof prefix), text);
    size_t end = (size_t)length < sizeof line - 1 ? (size_t)length : sizeof line - 2;
    for (size_t i = 0; i < end; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    }
    line[end] = '\n';
    ssize_t written = write(STDERR_FILENO, line, end + 1);
    (void)written;
}

int xm_fail(int error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(noted, sizeof noted, format, arguments);
    va_end(arguments);
    return error;
}

const char *xm_fail_text(void) {
    return noted;
}

void xm_fail_forget(void) {
    noted[0] = '\0';
}

void xm_fail_report(const char *call, int error) {
    if (xm_debug_enabled())
        say(call, error, noted[0] != '\0' ? noted : strerror(-error));
}

void xm_debug_report(const char *what, int error, const char *format, ...) {
    char text[400];
    va_list arguments;
    if (!xm_debug_enabled())
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    say(what, error, text);
}
