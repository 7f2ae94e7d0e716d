/* How far a process's own addresses reach. */

#ifndef XM_ADDRESS_SPACE_H
#define XM_ADDRESS_SPACE_H

#include <stdint.h>

/* The first address that no user memory has, unless a program asks for more than the usual. */
uint64_t xm_address_space_end(void);

#endif
