/* What of an attachment is mapped where it was, whatever the program did meanwhile. */

#ifndef XM_STILL_MAPPED_H
#define XM_STILL_MAPPED_H

#include <stdint.h>

#include "maps.h"
#include "table.h"

/* Does something with a part of an attachment's memory. 0 or a negative errno. */
typedef int (*xm_part_function)(const struct xm_attachment *attachment, uint64_t address,
                                uint64_t length, void *context);

/* What happens if the process's mappings cannot be read. */
enum xm_unreadable {
    XM_UNREADABLE_FAILS,
    /* All of the attachment is taken to be mapped. */
    XM_UNREADABLE_ALL,
};

/*
 * Calls a function for each part of an attachment that is still mapped. The first error, or 0. The
 * state lock is held.
 */
int xm_still_mapped(const struct xm_attachment *attachment, enum xm_unreadable unreadable,
                    xm_part_function function, void *context);
/* In the child of a fork: what was opened for it is of the parent. */
void xm_still_mapped_forget(void);
/* Whether a shared mapping shows memory that was attached as part of this attachment. */
bool xm_shows_attachment(const struct xm_attachment *attachment, const struct xm_vma *vma);

#endif
