/* The wire structures, usable beside <errno.h>: one of their fields is named errno, a macro there.
 */

#ifndef XM_PROTOCOL_H
#define XM_PROTOCOL_H

#pragma push_macro("errno")
#undef errno
#include "wire.h"
#pragma pop_macro("errno")

#endif
