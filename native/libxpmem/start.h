/* Starting the service. */

#ifndef XM_START_H
#define XM_START_H

#include <stdbool.h>

#include "paths.h"

/*
 * Starts `command serve` for the partition: in a session of its own, with no descriptor, signal or
 * working directory of this process. It is no child of this process, which gets no SIGCHLD of it
 * and cannot reap it by mistake. Two at once are harmless: the second finds the partition served
 * and ends. A pidfd for the caller to close, or a negative errno with a note.
 */
int xm_service_start(const struct xm_paths *paths, const char *command);
/* Whether it has ended. */
bool xm_service_ended(int pidfd);
/* Ends it. */
void xm_service_kill(int pidfd);

/*
 * Takes the right to start the partition's service, so that many processes at once do not start
 * many. False if another process has it. `*right` is to be closed when the service is there or has
 * failed; it is -1 where there is no directory yet to have a right on.
 */
bool xm_start_right(const struct xm_paths *paths, int *right);

#endif
