/*
 * Mapping and unmapping: bare, and with the core's own calls. Each answer is the median, in
 * nanoseconds, of COUNT operations.
 *
 *   bare COUNT         mmap, a store, munmap, of one page of a memfd
 *   core COUNT         xm_attach, a store, xm_attachment_unmap, of one page of a segment
 *   whole BYTES COUNT  xm_attach and xm_attachment_unmap of a whole sparse segment of that length
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
        .apid = ++last, .segid = last, .length = length, .writable = true};
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

static double time_attach(uint64_t apid, uint64_t length, bool touch) {
    struct xm_attach_request request = {
        .agent = &agent, .apid = apid, .length = length, .owner = owner_of_all()};
    struct xm_attachment *attachment;
    uint64_t start = now_ns();
    if (xm_attach(&request, &attachment) != 0)
        die("xm_attach");
    if (touch)
        *(volatile char *)(uintptr_t)attachment->span.address = 1;
    xm_attachment_unmap(attachment);
    xm_attachment_free(attachment);
    return (double)(now_ns() - start);
}

static double time_map(int descriptor) {
    uint64_t start = now_ns();
    char *memory = map_shared(descriptor, PAGE);
    *(volatile char *)memory = 1;
    munmap(memory, PAGE);
    return (double)(now_ns() - start);
}

static double run_bare(double *times, uint64_t count) {
    int descriptor = fresh_memfd(PAGE);
    for (uint64_t i = 0; i < count; i++)
        times[i] = time_map(descriptor);
    close(descriptor);
    return median_of(times, count);
}

static double run_core(double *times, uint64_t count, uint64_t length, bool touch) {
    uint64_t apid = open_permit(length);
    for (uint64_t i = 0; i < count; i++)
        times[i] = time_attach(apid, length, touch);
    xm_grant_close(&agent, apid);
    return median_of(times, count);
}

int main(void) {
    struct round_command command;
    while (round_next(&command)) {
        bool whole = round_is(&command, "whole");
        uint64_t count = command.numbers[whole ? 1 : 0];
        double *times = calloc(count, sizeof *times);
        if (times == NULL || count == 0)
            die("count");
        if (whole)
            round_answer(run_core(times, count, command.numbers[0], false));
        else if (round_is(&command, "core"))
            round_answer(run_core(times, count, PAGE, true));
        else
            round_answer(run_bare(times, count));
        free(times);
    }
    return 0;
}
