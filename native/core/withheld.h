/*
 * Memory that is mapped and cannot be shared, or must not be. In the middle of a range that
 * somebody attaches it is a hole.
 */

#ifndef XM_WITHHELD_H
#define XM_WITHHELD_H

#include <stdint.h>

#include "maps.h"

/* Why, for people. `reason` is XM_WITHHELD_…; of 0 and others something that is always true. */
const char *xm_withheld_text(uint32_t reason);

/*
 * A number for an address in a mapping, by which a process that looks at the mappings later can
 * tell that it shows the same: as if the mapping were one of a file, and this the offset. It is a
 * multiple of the page size. It changes with the protection and with the file or the place in it;
 * where no file is under the mapping, with its start, which moves when a stack grows.
 */
uint64_t xm_withheld_mark(const struct xm_vma *vma, uint64_t address);

#endif
