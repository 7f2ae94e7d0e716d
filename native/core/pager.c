#include "pager.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "maps.h"
#include "memory.h"
#include "userfault.h"

static struct xm_link pagers = {&pagers, &pagers};

void xm_pager_init(struct xm_pager *pager, const void *agent,
                   bool (*concerns)(const void *agent, const struct xm_vma *vma)) {
    *pager = (struct xm_pager){.agent = agent, .concerns = concerns, .userfault = -1};
    xm_link_append(&pagers, &pager->link);
}

/* Forgets the files that are armed, or those that are not any more. */
static void forget_files(struct xm_pager *pager, bool put_back) {
    size_t kept = 0;
    for (size_t i = 0; i < pager->count; i++) {
        struct xm_paged_file *file = &pager->files[i];
        if (file->put_back != put_back)
            pager->files[kept++] = *file;
        else if (file->aside >= 0)
            close(file->aside);
    }
    pager->count = kept;
}

void xm_pager_close(struct xm_pager *pager) {
    forget_files(pager, false);
    forget_files(pager, true);
    free(pager->files);
    pager->files = NULL;
    pager->capacity = 0;
    if (pager->userfault >= 0)
        close(pager->userfault);
    pager->userfault = -1;
    xm_link_remove(&pager->link);
}

static struct xm_pager *pager_of(const void *agent) {
    for (struct xm_link *link = pagers.next; link != &pagers; link = link->next) {
        struct xm_pager *pager = XM_MEMBER(link, struct xm_pager, link);
        if (pager->agent == agent)
            return pager;
    }
    return NULL;
}

static struct xm_paged_file *find_either(const struct xm_pager *pager, dev_t device, ino_t inode,
                                         bool put_back) {
    for (size_t i = 0; i < pager->count; i++) {
        struct xm_paged_file *file = &pager->files[i];
        if (file->device == device && file->inode == inode && file->put_back == put_back)
            return file;
    }
    return NULL;
}

static struct xm_paged_file *find(const struct xm_pager *pager, dev_t device, ino_t inode) {
    return find_either(pager, device, inode, false);
}

static int open_userfault(struct xm_pager *pager) {
    struct xm_userfault_ability ability;
    /* Memory that is moved stays registered, and the service is told where it is. */
    uint64_t needed = XM_FEATURE_MISSING_SHMEM | XM_FEATURE_WP_PRIVATE | XM_FEATURE_WP_SHMEM |
                      XM_FEATURE_EVENT_REMAP;
    if (pager->userfault >= 0)
        return 0;
    xm_userfault_query(&ability);
    if (ability.mode == XM_USERFAULT_NONE || (ability.features & needed) != needed)
        return -ENOTSUP;
    int opened = xm_userfault_open(needed);
    pager->userfault = opened < 0 ? -1 : opened;
    return opened < 0 ? opened : 0;
}

static int add(struct xm_pager *pager, dev_t device, ino_t inode, int aside) {
    if (pager->count == pager->capacity) {
        size_t capacity = pager->capacity == 0 ? 16 : pager->capacity * 2;
        struct xm_paged_file *files = realloc(pager->files, capacity * sizeof *files);
        if (files == NULL)
            return -ENOMEM;
        pager->files = files;
        pager->capacity = capacity;
    }
    pager->files[pager->count++] = (struct xm_paged_file){device, inode, aside, false};
    return 0;
}

static int register_range(const struct xm_pager *pager, uint64_t address, uint64_t length) {
    return xm_userfault_register(pager->userfault, address, length,
                                 XM_REGISTER_MISSING | XM_REGISTER_WP, NULL);
}

/* Calls a function for each mapping of a file. The first error, which ends it, or 0. */
static int each_mapping(const struct xm_paged_file *file,
                        int (*function)(const struct xm_vma *vma, void *context), void *context) {
    char buffer[4096];
    struct xm_maps maps;
    struct xm_vma vma;
    int error = xm_maps_open(&maps, buffer, sizeof buffer);
    if (error != 0)
        return error;
    while ((error = xm_maps_next(&maps, &vma)) > 0) {
        if (!vma.shared || vma.device != file->device || vma.inode != file->inode)
            continue;
        error = function(&vma, context);
        if (error != 0)
            break;
    }
    xm_maps_close(&maps);
    return error;
}

struct registering {
    const struct xm_pager *pager;
    struct xm_row_mapping *rows;
    size_t count;
    size_t capacity;
};

static int register_one(const struct xm_vma *vma, void *context) {
    struct registering *registering = context;
    if (registering->count == registering->capacity)
        return -E2BIG;
    if (!registering->pager->concerns(registering->pager->agent, vma))
        return -EACCES;
    struct xm_row_mapping *row = &registering->rows[registering->count];
    *row = (struct xm_row_mapping){.address = vma->start,
                                   .length = vma->end - vma->start,
                                   .file_offset = vma->file_offset,
                                   .device = vma->device,
                                   .inode = vma->inode};
    int error = register_range(registering->pager, vma->start, vma->end - vma->start);
    /* What was mapped with a read-only descriptor cannot be (VM_MAYWRITE). */
    if (error == -EPERM)
        row->flags = XM_MAPPING_FLAG_READONLY;
    /* Or it is mapped no more. */
    else if (error != 0)
        return error == -ENOMEM || error == -EINVAL ? 0 : error;
    registering->count++;
    return 0;
}

static int unregister_one(const struct xm_vma *vma, void *context) {
    const struct xm_pager *pager = context;
    /* Those that could not be registered need not be. */
    (void)xm_userfault_unregister(pager->userfault, vma->start, vma->end - vma->start);
    return 0;
}

static void forget_file(struct xm_pager *pager, struct xm_paged_file *file) {
    if (file->aside >= 0)
        close(file->aside);
    *file = pager->files[--pager->count];
}

ssize_t xm_pager_arm(struct xm_pager *pager, dev_t device, ino_t inode, int aside,
                     struct xm_row_mapping *rows, size_t capacity) {
    struct xm_paged_file *file = find(pager, device, inode);
    int error = open_userfault(pager);
    if (error == 0 && file != NULL) {
        if (file->aside >= 0)
            close(file->aside);
        file->aside = aside;
    } else {
        error = error != 0 ? error : add(pager, device, inode, aside);
        if (error != 0) {
            if (aside >= 0)
                close(aside);
            return error;
        }
        file = &pager->files[pager->count - 1];
    }
    struct registering registering = {pager, rows, 0, capacity};
    error = each_mapping(file, register_one, &registering);
    if (error == 0)
        return (ssize_t)registering.count;
    (void)each_mapping(file, unregister_one, pager);
    forget_file(pager, file);
    return error;
}

int xm_pager_disarm(struct xm_pager *pager, dev_t device, ino_t inode) {
    struct xm_paged_file *file = find(pager, device, inode);
    if (file == NULL)
        return -ENOENT;
    int error = each_mapping(file, unregister_one, pager);
    forget_file(pager, file);
    return error;
}

struct restoring {
    const struct xm_pager *pager;
    const struct xm_paged_file *file;
};

/* One page, unless it is there: whoever wrote it since had it from its last writer. */
static int restore_page(const struct restoring *restoring, uint64_t address, off_t offset) {
    char page[65536] __attribute__((aligned(16)));
    size_t size = xm_page_size();
    if (size > sizeof page || pread(restoring->file->aside, page, size, offset) != (ssize_t)size)
        return -EIO;
    struct uffdio_copy copy = {.dst = address, .src = (uintptr_t)page, .len = size};
    while (ioctl(restoring->pager->userfault, UFFDIO_COPY, &copy) != 0) {
        if (errno == EEXIST)
            return 0;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
    }
    return 0;
}

static int restore_one(const struct xm_vma *vma, void *context) {
    const struct restoring *restoring = context;
    off_t begin = (off_t)vma->file_offset;
    off_t end = begin + (off_t)(vma->end - vma->start);
    int error = 0;
    for (off_t at = begin; error == 0;) {
        at = lseek(restoring->file->aside, at, SEEK_DATA);
        if (at < 0 || at >= end)
            break;
        error = restore_page(restoring, vma->start + (uint64_t)(at - begin), at);
        at += (off_t)xm_page_size();
    }
    return error;
}

static bool has_content(int aside) {
    return aside >= 0 && lseek(aside, 0, SEEK_DATA) >= 0;
}

void xm_pager_end(struct xm_pager *pager, bool restore) {
    if (pager->userfault < 0)
        return;
    for (size_t i = 0; restore && i < pager->count; i++) {
        struct restoring restoring = {pager, &pager->files[i]};
        if (pager->files[i].aside >= 0)
            (void)each_mapping(&pager->files[i], restore_one, &restoring);
    }
    /* Not by closing it alone: a forked child may have a copy, which keeps everything registered.
     */
    for (size_t i = 0; i < pager->count; i++)
        (void)each_mapping(&pager->files[i], unregister_one, pager);
    for (size_t i = 0; restore && i < pager->count; i++)
        pager->files[i].put_back = has_content(pager->files[i].aside);
    forget_files(pager, false);
    close(pager->userfault);
    pager->userfault = -1;
}

struct telling {
    struct xm_row_range *rows;
    size_t count;
    size_t capacity;
};

static void tell_range(struct telling *telling, uint64_t address, uint64_t length) {
    if (telling->count < telling->capacity) {
        telling->rows[telling->count++] = (struct xm_row_range){address, length};
    } else {
        struct xm_row_range *last = &telling->rows[telling->count - 1];
        last->length = address + length - last->address;
    }
}

static void tell_mapping(struct telling *telling, const struct xm_vma *vma, int aside) {
    off_t begin = (off_t)vma->file_offset;
    off_t end = begin + (off_t)(vma->end - vma->start);
    for (off_t at = begin; at < end;) {
        off_t from = lseek(aside, at, SEEK_DATA);
        if (from < 0 || from >= end)
            return;
        /* There is one behind the end of the file at the latest. */
        at = lseek(aside, from, SEEK_HOLE);
        if (at < 0 || at > end)
            at = end;
        tell_range(telling, vma->start + (uint64_t)(from - begin), (uint64_t)(at - from));
    }
}

ssize_t xm_pager_put_back(const struct xm_pager *pager, struct xm_row_range *rows,
                          size_t capacity) {
    struct telling telling = {rows, 0, capacity};
    char buffer[4096];
    struct xm_maps maps;
    struct xm_vma vma;
    if (pager->count == 0)
        return 0;
    int error = xm_maps_open(&maps, buffer, sizeof buffer);
    if (error != 0)
        return error;
    while ((error = xm_maps_next(&maps, &vma)) > 0) {
        struct xm_paged_file *file = find_either(pager, vma.device, vma.inode, true);
        if (vma.shared && file != NULL)
            tell_mapping(&telling, &vma, file->aside);
    }
    xm_maps_close(&maps);
    return error < 0 ? error : (ssize_t)telling.count;
}

void xm_pager_told(struct xm_pager *pager) {
    forget_files(pager, true);
}

bool xm_pager_has(const void *agent, dev_t device, ino_t inode) {
    const struct xm_pager *pager = pager_of(agent);
    return pager != NULL && find(pager, device, inode) != NULL;
}

bool xm_pager_has_copy(const void *agent, dev_t device, ino_t inode) {
    const struct xm_pager *pager = pager_of(agent);
    const struct xm_paged_file *file = pager == NULL ? NULL : find(pager, device, inode);
    return file != NULL && file->aside < 0;
}

int xm_pager_register(const void *agent, uint64_t address, uint64_t length) {
    const struct xm_pager *pager = pager_of(agent);
    return pager == NULL || pager->userfault < 0 ? -ENOTSUP
                                                 : register_range(pager, address, length);
}

void xm_pager_wake(const void *agent, uint64_t address, uint64_t length) {
    const struct xm_pager *pager = pager_of(agent);
    if (pager != NULL && pager->userfault >= 0)
        (void)xm_userfault_wake(pager->userfault, address, length);
}
