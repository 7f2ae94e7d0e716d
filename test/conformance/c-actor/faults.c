/*
 * Accesses to memory that may not be there. The handlers are this test program's own; nothing in
 * libxpmem needs one.
 */
#include "actor.h"

#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Volatile: that a handler reads it is nothing the compiler can see. */
static _Thread_local sigjmp_buf *volatile landing;

static void land(int number) {
    if (landing != NULL)
        siglongjmp(*landing, number);
    signal(number, SIG_DFL);
    raise(number);
}

void catch_faults(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = land;
    if (sigaction(SIGSEGV, &action, NULL) != 0 || sigaction(SIGBUS, &action, NULL) != 0)
        die("sigaction");
}

/* Byte by byte and unseen by sanitizers, which would look up what this memory is to them. */
__attribute__((no_sanitize("address", "thread", "undefined"))) static void
copy(volatile uint8_t *to, const volatile uint8_t *from, size_t length) {
    for (size_t at = 0; at < length; at += 1)
        to[at] = from[at];
}

static int guarded_copy(uint8_t *to, const uint8_t *from, size_t length) {
    sigjmp_buf here;
    int number = sigsetjmp(here, 1);
    if (number == 0) {
        landing = &here;
        copy(to, from, length);
    }
    landing = NULL;
    return number;
}

int guarded_read(uint8_t *into, const void *from, size_t length) {
    return guarded_copy(into, from, length);
}

int guarded_write(void *to, const uint8_t *from, size_t length) {
    return guarded_copy(to, from, length);
}
