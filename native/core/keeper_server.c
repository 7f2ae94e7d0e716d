#include "keeper_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

/* Linux 5.18, before faults of memfds could be watched. */
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/*
 * How long stores of other threads wait at the most: while the thread that forks waits for others
 * and does not run, while it waits for others, and in all. A fork that is held up for longer, by a
 * child under a debugger for example, does not hold up the rest of its process.
 */
#define LONGEST_SLEEP_NS INT64_C(1000000000)
#define LONGEST_WAIT_NS INT64_C(3000000000)
#define LONGEST_HOLD_NS INT64_C(10000000000)
/* As long as what passed between two looks counts, at the most: the process may have been stopped.
 */
#define LONGEST_STEP_NS INT64_C(100000000)
/* Between two looks, which are not all that is done either. */
#define LOOK_NS INT64_C(1000000)
/* As many looks show all threads asleep before they are taken to wait for each other and not for a
 * short time or a disk. */
#define MOST_STILL 10

/*
 * How much work the other threads do, for each that runs, while the thread that forks sleeps,
 * before it is taken to wait for one that is held up and not for one of those that run. It is no
 * span of time, which would say nothing of a thread that waits for a processor. Stores that do not
 * wait are lost where an attacher stores to the same bytes meanwhile.
 */
#define MOST_WORK_NS INT64_C(100000000)

/* The range of an address; NULL if it is not known. Later ones overrule what was moved there. */
XM_UNWATCHED static const struct xm_keeper_range *find(const struct xm_keeper *k,
                                                       uint64_t address) {
    for (size_t i = k->range_count; i-- > 0;) {
        const struct xm_keeper_range *range = &k->ranges[i];
        if (range->watched && address >= range->start && address < range->end)
            return range;
    }
    return NULL;
}

XM_UNWATCHED static bool recorded(const struct xm_keeper *k, uint64_t address) {
    return syscall(SYS_lseek, k->snapshot, (off_t)address, SEEK_DATA) == (long)address;
}

/* Lets the kernel make the copy: what the page was is not known then. */
XM_UNWATCHED static void give_up(struct xm_keeper *k, uint64_t address) {
    struct uffdio_writeprotect request = {.range = {address, k->page}, .mode = 0};
    k->unsure = true;
    (void)syscall(SYS_ioctl, k->userfault, UFFDIO_WRITEPROTECT, &request);
}

XM_UNWATCHED static void erase(const struct xm_keeper *k, uint64_t address) {
    (void)syscall(SYS_fallocate, k->snapshot, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)address, (off_t)k->page);
}

/* Notes what a page is and makes a copy of just that. Afterwards its threads try again. */
XM_UNWATCHED static void copy_page(struct xm_keeper *k, const struct xm_keeper_range *range,
                                   uint64_t address) {
    char *base = k->base;
    uint64_t offset = range->file_offset + (address - range->start);
    long page = (long)k->page;
    if (!xm_descriptor_is(range->descriptor, range->device, range->inode) ||
        syscall(SYS_pread64, range->descriptor, base, page, (off_t)offset) != page ||
        syscall(SYS_pwrite64, k->snapshot, base, page, (off_t)address) != page) {
        erase(k, address);
        give_up(k, address);
        return;
    }
    /* The kernel may have made a copy already, before it looked for protection; nobody stored to
     * it. A load can make the page of the memfd present again meanwhile. */
    struct uffdio_copy copy;
    long result;
    do {
        copy = (struct uffdio_copy){.dst = address, .src = (uintptr_t)base, .len = k->page};
        result = syscall(SYS_madvise, address, page, MADV_DONTNEED_LOCKED);
        if (result == 0)
            result = syscall(SYS_ioctl, k->userfault, UFFDIO_COPY, &copy);
    } while (result != 0 && errno == EEXIST);
    /* It is another mapping by now, or the address space is changing: nothing was copied. */
    if (result != 0)
        erase(k, address);
}

XM_UNWATCHED static void wake(const struct xm_keeper *k, uint64_t start, uint64_t length) {
    struct uffdio_range range = {start, length};
    (void)syscall(SYS_ioctl, k->userfault, UFFDIO_WAKE, &range);
}

XM_UNWATCHED static void answer_fault(struct xm_keeper *k, uint64_t address) {
    address &= ~((uint64_t)k->page - 1);
    const struct xm_keeper_range *range = find(k, address);
    if (range != NULL && !recorded(k, address))
        copy_page(k, range, address);
    wake(k, address, k->page);
}

/* Takes what the snapshot has of a part of the memory to where that part lies now. */
XM_UNWATCHED static void move_record(struct xm_keeper *k, uint64_t from, uint64_t to,
                                     uint64_t length) {
    long page = (long)k->page;
    char *base = k->base;
    for (uint64_t at = from; at < from + length; at += k->page) {
        long data = syscall(SYS_lseek, k->snapshot, (off_t)at, SEEK_DATA);
        if (data < 0 || (uint64_t)data >= from + length)
            return;
        at = (uint64_t)data;
        if (syscall(SYS_pread64, k->snapshot, base, page, data) != page ||
            syscall(SYS_pwrite64, k->snapshot, base, page, (off_t)(to + (at - from))) != page)
            k->unsure = true;
        erase(k, at);
    }
}

/* The program moved a part of its memory elsewhere. */
XM_UNWATCHED static void follow(struct xm_keeper *k, uint64_t from, uint64_t to, uint64_t length) {
    const struct xm_keeper_range *range = find(k, from);
    if (range == NULL)
        return;
    if (k->range_count == XM_KEEPER_RANGES) {
        struct uffdio_range whole = {to, length};
        k->unsure = true;
        (void)syscall(SYS_ioctl, k->userfault, UFFDIO_UNREGISTER, &whole);
        return;
    }
    struct xm_keeper_range moved = *range;
    moved.file_offset += from - range->start;
    moved.start = to;
    moved.end = to + length;
    k->ranges[k->range_count] = moved;
    __atomic_store_n(&k->range_count, k->range_count + 1, __ATOMIC_RELEASE);
    move_record(k, from, to, length);
}

XM_UNWATCHED bool xm_keeper_is_asked(const struct xm_keeper *k) {
    struct pollfd faults = {k->userfault, POLLIN, 0};
    struct timespec now = {0, 0};
    return syscall(SYS_ppoll, &faults, 1, &now, NULL, 0) != 0;
}

/* Whether the thread that forks waits for something else than us; its state was seen before. */
XM_UNWATCHED static bool forker_sleeps(const struct xm_keeper *k, char state) {
    /* In this order: it tells of the phase, and its faults are there, before it sleeps. */
    return state == 'S' && __atomic_load_n(&k->phase, __ATOMIC_ACQUIRE) == XM_KEEPER_FORKING &&
           !xm_keeper_is_asked(k);
}

/* Whether nothing must be read now, see xm_userfault_look. */
XM_UNWATCHED static bool is_mapping(const struct xm_keeper *k) {
    bool merging = __atomic_load_n(&k->phase, __ATOMIC_ACQUIRE) == XM_KEEPER_MERGING;
    return __atomic_load_n(&k->gate.mapping, __ATOMIC_SEQ_CST) != 0 &&
           !xm_task_waits_for_userfault(merging ? &k->joiner_task : &k->forker_task);
}

/* The next message, if there is one that may be read. */
XM_UNWATCHED static bool read_message(struct xm_keeper *k, struct uffd_msg *message) {
    __atomic_store_n(&k->gate.reading, 1, __ATOMIC_SEQ_CST);
    bool got = !is_mapping(k) &&
               syscall(SYS_read, k->userfault, message, sizeof *message) == sizeof *message;
    __atomic_store_n(&k->gate.reading, 0, __ATOMIC_SEQ_CST);
    return got;
}

/* Answers a fault unless it is left waiting. Whether it is. */
XM_UNWATCHED static bool answer(struct xm_keeper *k, const struct uffd_msg *message, bool all) {
    bool own = (pid_t)message->arg.pagefault.feat.ptid == k->forker_task.id;
    /* The joiner waits for this before it begins. */
    __atomic_store_n(&k->answering, 1, __ATOMIC_SEQ_CST);
    int32_t phase = __atomic_load_n(&k->phase, __ATOMIC_SEQ_CST);
    bool answers = (own || all) && (phase == XM_KEEPER_FORKING || phase == XM_KEEPER_AWAITING);
    if (answers)
        answer_fault(k, message->arg.pagefault.address);
    __atomic_store_n(&k->answering, 0, __ATOMIC_SEQ_CST);
    return !answers;
}

/*
 * Reads what the userfaultfd has to tell. Until all is merged, faults of the thread that forks are
 * answered, and with `all` those of the others, too. Whether some thread was left waiting.
 */
XM_UNWATCHED static bool read_faults(struct xm_keeper *k, bool all) {
    struct uffd_msg message;
    bool left = false;
    while (read_message(k, &message)) {
        if (message.event == UFFD_EVENT_REMAP)
            follow(k, message.arg.remap.from, message.arg.remap.to, message.arg.remap.len);
        else if (message.event == UFFD_EVENT_PAGEFAULT)
            left = answer(k, &message, all) || left;
    }
    return left;
}

XM_UNWATCHED static void wake_all(const struct xm_keeper *k) {
    for (size_t i = 0; i < k->range_count; i++)
        wake(k, k->ranges[i].start, k->ranges[i].end - k->ranges[i].start);
}

/* What the server knows of a fork. */
struct service {
    uint32_t fork;
    /* Stores wait, or waited; for how long. */
    bool holds;
    int64_t held_ns;
    /* How much of that not for the child, and how long the thread that forks has not run in it. */
    int64_t waited_ns;
    int64_t slept_ns;
    /* They do not wait any more. */
    bool all;
    /* When it looked, and when it will. */
    int64_t looked_ns;
    int64_t next_look_ns;
    /* What it saw; the work that was done when the thread that forks fell asleep, and how many ran
     * since then. */
    struct xm_task_facts forker;
    struct xm_tasks tasks;
    /* How often it found that none had run. */
    int still;
    int64_t work_ns;
    uint32_t running;
};

XM_UNWATCHED static int64_t read_clock(clockid_t clock) {
    struct timespec time = {0, 0};
    (void)syscall(SYS_clock_gettime, clock, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/* The processor time of all threads but this. */
XM_UNWATCHED static int64_t others_work_ns(void) {
    int64_t own = read_clock(CLOCK_THREAD_CPUTIME_ID);
    return read_clock(CLOCK_PROCESS_CPUTIME_ID) - own;
}

/* Whether none of the others ran between two looks. */
XM_UNWATCHED static bool all_slept(const struct xm_tasks *before, const struct xm_tasks *after) {
    return before->known && after->known && before->running == 0 && after->running == 0 &&
           before->history == after->history;
}

/*
 * Whether the thread that forks waits for one that is held up: so it is taken when none of the
 * others runs any more, though it may itself wake up now and then, for a signal or to look at a
 * lock, or when those that do run have done enough.
 */
XM_UNWATCHED static bool forker_is_stuck(struct xm_keeper *k, struct service *service) {
    int64_t work = others_work_ns();
    struct xm_task_facts forker = xm_task_look(&k->forker_task);
    bool sleeps = forker.known && forker_sleeps(k, forker.state);
    bool slept = sleeps && service->forker.known && forker.history == service->forker.history;
    struct xm_tasks tasks = sleeps ? xm_tasks_look(k) : (struct xm_tasks){0};
    service->still = sleeps && all_slept(&service->tasks, &tasks) ? service->still + 1 : 0;
    if (!slept) {
        service->work_ns = work;
        service->running = 1;
    }
    if (forker.known && forker.history != service->forker.history)
        service->slept_ns = 0;
    if (tasks.running > service->running)
        service->running = tasks.running;
    service->forker = forker;
    service->tasks = tasks;
    return service->still >= MOST_STILL ||
           (slept && tasks.known && work - service->work_ns >= service->running * MOST_WORK_NS);
}

/* Looks, unless it did just now, whether stores have waited for long enough. */
XM_UNWATCHED static void look(struct xm_keeper *k, struct service *service, int32_t phase) {
    int64_t now = read_clock(CLOCK_MONOTONIC);
    if (now < service->next_look_ns)
        return;
    int64_t step = service->looked_ns == 0 ? 0 : now - service->looked_ns;
    if (step > LONGEST_STEP_NS)
        step = LONGEST_STEP_NS;
    service->held_ns += step;
    service->waited_ns += phase == XM_KEEPER_FORKING ? step : 0;
    service->slept_ns += phase == XM_KEEPER_FORKING ? step : 0;
    service->looked_ns = now;
    bool late = service->held_ns >= LONGEST_HOLD_NS || service->waited_ns >= LONGEST_WAIT_NS;
    if (forker_is_stuck(k, service) || late || service->slept_ns >= LONGEST_SLEEP_NS) {
        service->all = true;
        wake_all(k);
    }
    int64_t end = read_clock(CLOCK_MONOTONIC);
    service->next_look_ns = end + (end - now > LOOK_NS ? end - now : LOOK_NS);
}

XM_UNWATCHED static void serve(struct xm_keeper *k, struct service *service, int32_t phase) {
    bool forks = phase == XM_KEEPER_FORKING || phase == XM_KEEPER_AWAITING;
    if (service->fork != k->forks)
        *service = (struct service){.fork = k->forks};
    if (forks && service->holds && !service->all)
        look(k, service, phase);
    service->holds = read_faults(k, service->all) || service->holds;
}

/* While a fork goes on, this must not wait for anything else. */
XM_UNWATCHED void *xm_keeper_server(void *argument) {
    struct xm_keeper *k = argument;
    struct service service = {0};
    xm_task_find_own(&k->server_task);
    pthread_setname_np(pthread_self(), "xpmem-keeper");
    for (;;) {
        struct pollfd watched[2] = {{k->server_bell, POLLIN, 0}, {k->userfault, POLLIN, 0}};
        struct timespec tick = {0, LOOK_NS};
        bool ticks = service.holds && !service.all;
        long ready = syscall(SYS_ppoll, watched, 2, ticks ? &tick : NULL, NULL, 0);
        uint64_t rung;
        if (ready > 0 && !xm_keeper_intact(k)) {
            __atomic_store_n(&k->lost, 1, __ATOMIC_RELEASE);
            return NULL;
        }
        if (ready > 0 && watched[0].revents != 0)
            (void)syscall(SYS_read, k->server_bell, &rung, sizeof rung);
        int32_t phase = __atomic_load_n(&k->phase, __ATOMIC_ACQUIRE);
        if (phase == XM_KEEPER_ENDING)
            return NULL;
        if (phase == XM_KEEPER_IDLE)
            service.holds = false;
        serve(k, &service, phase);
    }
}
