/*
 * The environment as it was at the process's first call. The agent's thread uses this copy alone:
 * the program may change its own at any time (setenv), and no lock covers that.
 */

#ifndef XM_ENVIRONMENT_H
#define XM_ENVIRONMENT_H

#include <stdbool.h>

/* Takes the copy, on a thread of the program, with the session lock held. 0 or -ENOMEM. */
int xm_environment_copy(void);
/* A variable's value. NULL: it is not set, or this is a set-user-id program, or there is no copy.
 */
const char *xm_environment_get(const char *name);
/*
 * Whether the program has rights that its caller may not have (set-user-id, file capabilities), so
 * that its environment is not to be trusted.
 */
bool xm_environment_foreign(void);
/* For the service: as it was, with other NODE_OPTIONS. */
char *const *xm_environment_for_service(void);

#endif
