/*
 * Mapping and unmapping: bare, and with the core's own calls. Each answer is the median, in
 * nanoseconds, of COUNT operations.
 *
 *   bare-page COUNT     mmap, a store, munmap, of one page of a memfd
 *   core-page COUNT     xm_attach, a store, xm_attachment_unmap, of one page of a segment
 *   attach COUNT BYTES  xm_attach of a whole sparse segment of that length, without its end
 *   detach COUNT BYTES  xm_attachment_unmap of it
 *   munmap COUNT BYTES  munmap of a whole sparse memfd of that length
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../native/core/memory.h"
#include "../../native/core/table.h"
#include "rounds.h"

#define PAGE 4096

/* Stands for the agent, of which permits need the identity only. */
static const int agent;

static void ignore_note(struct xm_owner *owner) {
    (void)owner;
}

/* A permit on a segment that lies in one sparse memfd; its apid. */
static uint64_t open_permit(uint64_t length) {
    static uint64_t last;
    struct xm_grant_facts facts = {
        .apid = ++last, .segid = last, .length = length, .writable = true, .stable = true};
    struct xm_row_extent row = {.length = length};
    int descriptor = xm_memfd_create(length);
    if (descriptor < 0 || xm_grant_open(&agent, &facts) != 0 ||
        xm_grant_extents(&agent, facts.apid, &row, 1, &descriptor, 1) != 0)
        die("permit");
    return facts.apid;
}

static struct xm_owner *owner_of_all(void) {
    static struct xm_owner owner;
    if (owner.notify == NULL)
        xm_owner_open(&owner, ignore_note);
    return &owner;
}

/* When an operation on a mapping began, was mapped and touched, and ended. */
struct lap {
    uint64_t start;
    uint64_t mapped;
    uint64_t end;
};

static struct lap attach_once(uint64_t apid, uint64_t length, bool touch) {
    struct xm_attach_request request = {
        .agent = &agent, .apid = apid, .length = length, .owner = owner_of_all()};
    struct xm_attachment *attachment;
    struct lap lap = {.start = now_ns()};
    if (xm_attach(&request, &attachment) != 0)
        die("xm_attach");
    if (touch)
        *(volatile char *)(uintptr_t)attachment->span.address = 1;
    lap.mapped = now_ns();
    xm_attachment_unmap(attachment);
    xm_attachment_free(attachment);
    lap.end = now_ns();
    return lap;
}

static struct lap map_once(int descriptor, uint64_t length, bool touch) {
    struct lap lap = {.start = now_ns()};
    char *memory = map_shared(descriptor, length);
    if (touch)
        *(volatile char *)memory = 1;
    lap.mapped = now_ns();
    munmap(memory, length);
    lap.end = now_ns();
    return lap;
}

static void run_bare(struct lap *laps, uint64_t count, uint64_t length, bool touch) {
    int descriptor = fresh_memfd(length);
    for (uint64_t i = 0; i < count; i++)
        laps[i] = map_once(descriptor, length, touch);
    close(descriptor);
}

static void run_core(struct lap *laps, uint64_t count, uint64_t length, bool touch) {
    uint64_t apid = open_permit(length);
    for (uint64_t i = 0; i < count; i++)
        laps[i] = attach_once(apid, length, touch);
    xm_grant_close(&agent, apid);
}

/* The median of what a command measures: all of it, or one of its parts. */
static double summary(const struct round_command *command, const struct lap *laps, uint64_t count) {
    bool begin = round_is(command, "attach");
    bool finish = round_is(command, "detach") || round_is(command, "munmap");
    double *times = calloc(count, sizeof *times);
    if (times == NULL)
        die("calloc");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t from = finish ? laps[i].mapped : laps[i].start;
        times[i] = (double)((begin ? laps[i].mapped : laps[i].end) - from);
    }
    double median = median_of(times, count);
    free(times);
    return median;
}

int main(void) {
    struct round_command command;
    while (round_next(&command)) {
        bool page = round_is(&command, "core-page") || round_is(&command, "bare-page");
        bool bare = round_is(&command, "bare-page") || round_is(&command, "munmap");
        uint64_t count = command.numbers[0];
        uint64_t length = page ? PAGE : command.numbers[1];
        struct lap *laps = calloc(count, sizeof *laps);
        if (laps == NULL || count == 0)
            die("count");
        (bare ? run_bare : run_core)(laps, count, length, page);
        round_answer(summary(&command, laps, count));
        free(laps);
    }
    return 0;
}
