#include "backing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"
#include "maps.h"
#include "memory.h"

#define MAPS_BUFFER 16384

static struct xm_link files = {&files, &files};

struct xm_file *xm_file_find(dev_t device, ino_t inode) {
    for (struct xm_link *link = files.next; link != &files; link = link->next) {
        struct xm_file *file = XM_MEMBER(link, struct xm_file, link);
        if (file->inode == inode && file->device == device)
            return file;
    }
    return NULL;
}

bool xm_file_is_open(const struct xm_file *file) {
    return xm_descriptor_is(file->descriptor, file->device, file->inode);
}

static void close_file(const struct xm_file *file) {
    if (xm_file_is_open(file))
        close(file->descriptor);
}

static void discard(struct xm_file *file) {
    xm_link_remove(&file->link);
    close_file(file);
    free(file);
}

/* Takes memfds that are mapped somewhere, privately too, out of the list `idle`. 0 or a negative
 * errno. */
static int keep_mapped(struct xm_link *idle) {
    char buffer[MAPS_BUFFER];
    struct xm_maps maps;
    struct xm_vma vma;
    int found = xm_maps_open(&maps, buffer, sizeof buffer);
    if (found < 0)
        return found;
    while ((found = xm_maps_next(&maps, &vma)) > 0) {
        for (struct xm_link *link = idle->next; vma.inode != 0 && link != idle; link = link->next) {
            struct xm_file *file = XM_MEMBER(link, struct xm_file, link);
            if (file->inode == vma.inode && file->device == vma.device) {
                xm_link_remove(&file->link);
                xm_link_append(&files, &file->link);
                file->missed = false;
                break;
            }
        }
    }
    xm_maps_close(&maps);
    return found;
}

/*
 * Closes memfds that nobody holds or maps, and that no look before this one found either,
 * `capacity` at the most, and tells which in `rows`. The state lock is held. How many, or a
 * negative errno.
 */
static ssize_t sweep(struct xm_row_file *rows, size_t capacity) {
    struct xm_link idle;
    size_t count = 0;
    xm_link_init(&idle);
    struct xm_link *next;
    for (struct xm_link *link = files.next; link != &files && count < capacity; link = next) {
        next = link->next;
        if (XM_MEMBER(link, struct xm_file, link)->holders != 0)
            continue;
        xm_link_remove(link);
        xm_link_append(&idle, link);
        count++;
    }
    int error = count == 0 ? 0 : keep_mapped(&idle);
    count = 0;
    while (!xm_link_alone(&idle)) {
        struct xm_file *file = XM_MEMBER(idle.next, struct xm_file, link);
        xm_link_remove(&file->link);
        xm_link_append(&files, &file->link);
        bool known = error >= 0 && file->missed;
        file->missed = error >= 0;
        if (!known)
            continue;
        rows[count] = (struct xm_row_file){file->device, file->inode};
        count++;
        discard(file);
    }
    return error < 0 ? error : (ssize_t)count;
}

ssize_t xm_files_trim(struct xm_row_file *rows, size_t capacity) {
    xm_lock();
    ssize_t count = sweep(rows, capacity);
    xm_unlock();
    return count;
}

/* Takes the descriptor. */
static int wrap(int descriptor, enum xm_file_kind kind, struct xm_file **file) {
    struct xm_descriptor_facts facts;
    struct xm_file *made = calloc(1, sizeof *made);
    int error = made == NULL ? -ENOMEM : xm_inspect(descriptor, &facts);
    if (error != 0) {
        close(descriptor);
        free(made);
        return error;
    }
    xm_link_init(&made->link);
    made->kind = kind;
    made->descriptor = descriptor;
    made->device = facts.device;
    made->inode = facts.inode;
    made->size = facts.size < 0 ? 0 : (uint64_t)facts.size;
    made->holders = 1;
    *file = made;
    return 0;
}

int xm_file_create(uint64_t size, enum xm_file_kind kind, struct xm_file **file) {
    int descriptor = xm_memfd_create(size);
    int error = descriptor < 0 ? descriptor : wrap(descriptor, kind, file);
    if (error != 0)
        return error;
    xm_lock();
    xm_link_append(&files, &(*file)->link);
    xm_unlock();
    return 0;
}

/* Opens again what a descriptor is of: for writing where that may be, else for reading. */
static int open_again(int found) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", found);
    int descriptor = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return descriptor < 0 ? -errno : descriptor;
}

/*
 * A descriptor of the mapped file, by a path that may name another by now. That is looked at before
 * it is opened, since to open a device or a pipe may do something.
 */
static int open_mapped(const struct xm_vma *vma, const char *path) {
    struct stat status;
    int found = open(path, O_PATH | O_CLOEXEC);
    if (found < 0)
        return -errno;
    bool same = fstat(found, &status) == 0 && S_ISREG(status.st_mode) &&
                status.st_ino == vma->inode && status.st_dev == vma->device;
    int descriptor = same ? open_again(found) : -ENOENT;
    close(found);
    return descriptor;
}

int xm_file_open_foreign(const struct xm_vma *vma, struct xm_file **file) {
    char path[64];
    /* The kernel's own way to it, for those who may. */
    snprintf(path, sizeof path, "/proc/self/map_files/%" PRIx64 "-%" PRIx64, vma->start, vma->end);
    int descriptor = open_mapped(vma, path);
    if (descriptor < 0 && vma->name[0] == '/')
        descriptor = open_mapped(vma, vma->name);
    struct xm_descriptor_facts facts;
    if (descriptor >= 0 && (xm_inspect(descriptor, &facts) != 0 || facts.size < 0)) {
        close(descriptor);
        return -ENOTSUP;
    }
    return descriptor < 0 ? descriptor : wrap(descriptor, XM_FILE_FOREIGN, file);
}

struct xm_file *xm_file_hold(dev_t device, ino_t inode) {
    xm_lock();
    struct xm_file *file = xm_file_find(device, inode);
    if (file != NULL) {
        file->holders++;
        file->missed = false;
    }
    xm_unlock();
    return file;
}

void xm_file_release(struct xm_file *file) {
    if (file == NULL)
        return;
    xm_lock();
    bool over = --file->holders == 0 && file->kind == XM_FILE_FOREIGN;
    if (over)
        discard(file);
    xm_unlock();
}

void xm_file_discard(struct xm_file *file) {
    if (file == NULL)
        return;
    xm_lock();
    if (--file->holders == 0)
        discard(file);
    xm_unlock();
}

bool xm_files_there(void) {
    return !xm_link_alone(&files);
}

/* Adds to the holders of all memfds of moved memory. Whether there are some. */
static bool hold_moved(int more) {
    bool some = false;
    for (struct xm_link *link = files.next; link != &files; link = link->next) {
        struct xm_file *file = XM_MEMBER(link, struct xm_file, link);
        if (file->kind != XM_FILE_MOVED)
            continue;
        file->holders += (unsigned)more;
        some = true;
    }
    return some;
}

bool xm_files_pin(void) {
    return hold_moved(1);
}

void xm_files_unpin(void) {
    (void)hold_moved(-1);
}

void xm_files_forget(void) {
    for (struct xm_link *link = files.next; link != &files; link = link->next)
        close_file(XM_MEMBER(link, struct xm_file, link));
    xm_link_init(&files);
    xm_regions_forget();
}
