/*
 * Files whose faults the service answers, since another partition uses them: all mappings of such a
 * file in this process are registered with one userfaultfd (missing and write-protect), which the
 * service reads. One pager for each agent. The state lock is held in all of these.
 */

#ifndef XM_PAGER_H
#define XM_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "list.h"
#include "protocol.h"

struct xm_paged_file {
    dev_t device;
    ino_t inode;
    /* The content that pages had before they were given away for writing; -1: none is given away.
     */
    int aside;
    /* Armed no more: its service has ended, and what is aside was put back. */
    bool put_back;
};

struct xm_vma;

struct xm_pager {
    struct xm_link link;
    const void *agent;
    /* Whether a mapping is one that the service has to do with. */
    bool (*concerns)(const void *agent, const struct xm_vma *vma);
    /* -1 until it is needed. */
    int userfault;
    struct xm_paged_file *files;
    size_t count;
    size_t capacity;
};

void xm_pager_init(struct xm_pager *pager, const void *agent,
                   bool (*concerns)(const void *agent, const struct xm_vma *vma));
/* Closes the userfaultfd and forgets the files; in the child of a fork nothing is registered. */
void xm_pager_close(struct xm_pager *pager);

/*
 * From now on every mapping of the file is registered, by this and by xm_pager_register; `aside`
 * (or -1) is taken in any case. Fills in those that there are, how many, which is -E2BIG if they
 * are more than `capacity`; -ENOTSUP: no such userfaultfd here; -EACCES: a mapping is none of the
 * service's business.
 */
ssize_t xm_pager_arm(struct xm_pager *pager, dev_t device, ino_t inode, int aside,
                     struct xm_row_mapping *rows, size_t capacity);
/* Ends that, and lets waiting threads go on. 0 or -ENOENT. */
int xm_pager_disarm(struct xm_pager *pager, dev_t device, ino_t inode);
/*
 * Nobody answers faults any more: ends all registrations and lets waiting threads go on. `restore`:
 * puts pages that are given away back first, as they were before.
 */
void xm_pager_end(struct xm_pager *pager, bool restore);

/*
 * The memory that shows what was put back, as it is mapped now, ascending: what is aside is kept
 * until a service was told. A page that was on its way home at that moment may be among it, and
 * lost nothing. Where there is no room for more, the last range reaches to the end. How many, or a
 * negative errno.
 */
ssize_t xm_pager_put_back(const struct xm_pager *pager, struct xm_row_range *rows, size_t capacity);
/* A service was told. */
void xm_pager_told(struct xm_pager *pager);

/* Whether the agent's service answers the faults of a file. */
bool xm_pager_has(const void *agent, dev_t device, ino_t inode);
/* Whether it is, besides, one of which nobody but the service has the pages: a copy. */
bool xm_pager_has_copy(const void *agent, dev_t device, ino_t inode);
/* Registers fresh memory of such a file. 0 or a negative errno. */
int xm_pager_register(const void *agent, uint64_t address, uint64_t length);
/* Lets threads try again that wait in memory that is mapped no more, or another way. */
void xm_pager_wake(const void *agent, uint64_t address, uint64_t length);

#endif
