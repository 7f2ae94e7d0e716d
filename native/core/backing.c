#include "backing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lock.h"
#include "maps.h"
#include "memory.h"

#define MAPS_BUFFER 16384

static struct xm_link files = {&files, &files};

static struct xm_file *find(dev_t device, ino_t inode) {
    for (struct xm_link *link = files.next; link != &files; link = link->next) {
        struct xm_file *file = XM_MEMBER(link, struct xm_file, link);
        if (file->inode == inode && file->device == device)
            return file;
    }
    return NULL;
}

static void discard(struct xm_file *file) {
    xm_link_remove(&file->link);
    close(file->descriptor);
    free(file->used);
    free(file);
}

/* Takes memfds that are mapped somewhere out of the list `idle`. 0 or a negative errno. */
static int keep_mapped(struct xm_link *idle) {
    char buffer[MAPS_BUFFER];
    struct xm_maps maps;
    struct xm_vma vma;
    int found = xm_maps_open(&maps, buffer, sizeof buffer);
    if (found < 0)
        return found;
    while ((found = xm_maps_next(&maps, &vma)) > 0) {
        for (struct xm_link *link = idle->next; vma.shared && link != idle; link = link->next) {
            struct xm_file *file = XM_MEMBER(link, struct xm_file, link);
            if (file->inode == vma.inode && file->device == vma.device) {
                xm_link_remove(&file->link);
                xm_link_append(&files, &file->link);
                break;
            }
        }
    }
    xm_maps_close(&maps);
    return found;
}

/* Closes the memfds that nobody holds or maps. The state lock is held. */
static void sweep(void) {
    struct xm_link idle;
    xm_link_init(&idle);
    struct xm_link *next;
    for (struct xm_link *link = files.next; link != &files; link = next) {
        next = link->next;
        if (XM_MEMBER(link, struct xm_file, link)->holders != 0)
            continue;
        xm_link_remove(link);
        xm_link_append(&idle, link);
    }
    if (xm_link_alone(&idle))
        return;
    bool known = keep_mapped(&idle) == 0;
    while (!xm_link_alone(&idle)) {
        struct xm_file *file = XM_MEMBER(idle.next, struct xm_file, link);
        xm_link_remove(&file->link);
        xm_link_append(&files, &file->link);
        if (known)
            discard(file);
    }
}

int xm_file_create(uint64_t size, struct xm_file **file) {
    struct xm_file *made = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    made->descriptor = xm_memfd_create(size);
    struct xm_descriptor_facts facts;
    int error = made->descriptor < 0 ? made->descriptor : xm_inspect(made->descriptor, &facts);
    if (error != 0) {
        if (made->descriptor >= 0)
            close(made->descriptor);
        free(made);
        return error;
    }
    made->device = facts.device;
    made->inode = facts.inode;
    made->size = size;
    made->holders = 1;
    xm_lock();
    sweep();
    xm_link_append(&files, &made->link);
    xm_unlock();
    *file = made;
    return 0;
}

struct xm_file *xm_file_hold(dev_t device, ino_t inode) {
    xm_lock();
    struct xm_file *file = find(device, inode);
    if (file != NULL)
        file->holders++;
    xm_unlock();
    return file;
}

void xm_file_release(struct xm_file *file) {
    if (file == NULL)
        return;
    xm_lock();
    file->holders--;
    xm_unlock();
}

int xm_file_claim(struct xm_file *file, uint64_t start, uint64_t end) {
    size_t at = 0;
    while (at < file->used_count && file->used[at].end < start)
        at++;
    bool touches_left = at < file->used_count && file->used[at].end == start;
    size_t right = touches_left ? at + 1 : at;
    if (right < file->used_count && file->used[right].start < end)
        return -EEXIST;
    bool touches_right = right < file->used_count && file->used[right].start == end;
    if (touches_left && touches_right) {
        file->used[at].end = file->used[right].end;
        file->used_count--;
        memmove(&file->used[right], &file->used[right + 1],
                (file->used_count - right) * sizeof *file->used);
    } else if (touches_left) {
        file->used[at].end = end;
    } else if (touches_right) {
        file->used[right].start = start;
    } else {
        struct xm_claim *larger = realloc(file->used, (file->used_count + 1) * sizeof *file->used);
        if (larger == NULL)
            return -ENOMEM;
        file->used = larger;
        memmove(&larger[at + 1], &larger[at], (file->used_count - at) * sizeof *larger);
        larger[at] = (struct xm_claim){start, end};
        file->used_count++;
    }
    return 0;
}

void xm_file_discard(struct xm_file *file) {
    if (file == NULL)
        return;
    xm_lock();
    if (--file->holders == 0)
        discard(file);
    xm_unlock();
}

/* Not all of a fork's snapshot: a page that nobody wrote since is the parent's, until one does. */
static void make_private(const struct xm_vma *vma, const struct xm_file *file) {
    void *start = (void *)(uintptr_t)vma->start;
    if (mmap(start, vma->end - vma->start, vma->protection, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED,
             file->descriptor, (off_t)vma->file_offset) == MAP_FAILED)
        (void)mprotect(start, vma->end - vma->start, PROT_NONE);
}

void xm_files_forget(void) {
    char buffer[MAPS_BUFFER];
    struct xm_maps maps;
    struct xm_vma vma;
    if (xm_link_alone(&files))
        return;
    if (xm_maps_open(&maps, buffer, sizeof buffer) == 0) {
        while (xm_maps_next(&maps, &vma) > 0) {
            const struct xm_file *file = vma.shared ? find(vma.device, vma.inode) : NULL;
            if (file != NULL)
                make_private(&vma, file);
        }
        xm_maps_close(&maps);
    }
    for (struct xm_link *link = files.next; link != &files; link = link->next)
        close(XM_MEMBER(link, struct xm_file, link)->descriptor);
    xm_link_init(&files);
    xm_regions_forget();
}
