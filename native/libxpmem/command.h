/* Which command starts the service. */

#ifndef XM_COMMAND_H
#define XM_COMMAND_H

#include <stddef.h>

/*
 * Finds `xpmem`: what XPMEM_COMMAND names, else beside this library, else in PATH. `path` becomes
 * absolute; it has room for PATH_MAX bytes. 0 or -ENOENT. Notes why. The variables are as they were
 * at the process's first call.
 */
int xm_command_find(char *path);

#endif
