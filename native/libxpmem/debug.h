/* Why calls fail, for people: on standard error if XPMEM_DEBUG is 1. */

#ifndef XM_DEBUG_H
#define XM_DEBUG_H

#include <stdbool.h>

/* As XPMEM_DEBUG says; as it said, once that is settled. */
bool xm_debug_enabled(void);
/* Settles it, on a thread of the program, before there are others that may not look. */
void xm_debug_settle(void);

/* Notes why the calling thread's call fails. `error`, a negative errno. */
int xm_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What was noted; '' if nothing was. */
const char *xm_fail_text(void);
/* Forgets it. */
void xm_fail_forget(void);
/* Says how a call failed, with what was noted. */
void xm_fail_report(const char *call, int error);

/* Says what happened beside any call; `error` is 0 where nothing failed. */
void xm_debug_report(const char *what, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
