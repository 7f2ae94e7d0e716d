/*
 * A program that uses libxpmem, as owner or consumer, and a bare round trip beside it. Answers are
 * nanoseconds; of COUNT operations the median.
 *
 *   offer BYTES            makes a segment of its own memory, all of it written: the segid
 *   permit SEGID COUNT     xpmem_get and xpmem_release
 *   page SEGID COUNT       xpmem_attach, a store, xpmem_detach, of one page
 *   read SEGID BYTES       xpmem_attach of all of it, and a load from each page
 *   write SEGID BYTES      the same with stores
 *   listen                 waits for the other end of the round trip on $BENCH_ECHO
 *   round BYTES COUNT      a datagram there and back
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../native/libxpmem/xpmem.h"
#include "rounds.h"

#define PAGE 4096

static volatile uint64_t sink;

static void offer(uint64_t length) {
    char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    memset(memory, 1, length);
    xpmem_segid_t segid = xpmem_make(memory, length, XPMEM_PERMIT_MODE, (void *)0600);
    if (segid < 0)
        die("xpmem_make");
    /* As text: a segid has more digits than a number of a benchmark. */
    printf("%" PRIu64 "\n", (uint64_t)segid);
    fflush(stdout);
}

static xpmem_apid_t get(uint64_t segid) {
    xpmem_apid_t apid = xpmem_get((xpmem_segid_t)segid, XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL);
    if (apid < 0)
        die("xpmem_get");
    return apid;
}

static char *attach(xpmem_apid_t apid, uint64_t length) {
    struct xpmem_addr address = {apid, 0};
    char *memory = xpmem_attach(address, length, NULL);
    if (memory == (void *)-1)
        die("xpmem_attach");
    return memory;
}

static void permit_once(uint64_t segid) {
    if (xpmem_release(get(segid)) != 0)
        die("xpmem_release");
}

static void page_once(uint64_t apid) {
    char *memory = attach((xpmem_apid_t)apid, PAGE);
    *(volatile char *)memory = 1;
    if (xpmem_detach(memory) != 0)
        die("xpmem_detach");
}

static double median_time(void (*once)(uint64_t), uint64_t argument, uint64_t count) {
    double *times = calloc(count, sizeof *times);
    if (times == NULL)
        die("calloc");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t start = now_ns();
        once(argument);
        times[i] = (double)(now_ns() - start);
    }
    double median = median_of(times, count);
    free(times);
    return median;
}

static double time_touch(uint64_t segid, uint64_t length, bool write) {
    xpmem_apid_t apid = get(segid);
    uint64_t start = now_ns();
    volatile unsigned char *memory = (unsigned char *)attach(apid, length);
    uint64_t sum = 0;
    for (uint64_t at = 0; at < length; at += PAGE) {
        if (write)
            memory[at] = 1;
        else
            sum += memory[at];
    }
    sink = sum;
    double time = (double)(now_ns() - start);
    if (xpmem_release(apid) != 0)
        die("xpmem_release");
    return time;
}

static int echo = -1;

static void await_peer(void) {
    const char *path = getenv("BENCH_ECHO");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (path == NULL || listener < 0)
        die("BENCH_ECHO");
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 1) != 0)
        die("bind");
    round_answer(0);
    echo = accept(listener, NULL, NULL);
    if (echo < 0)
        die("accept");
    close(listener);
}

/* As the library waits: a poll before it reads. */
static void round_once(uint64_t bytes) {
    static char datagram[4096];
    struct pollfd watched = {echo, POLLIN, 0};
    if (send(echo, datagram, bytes, 0) < 0 || poll(&watched, 1, -1) != 1 ||
        recv(echo, datagram, sizeof datagram, 0) < 0)
        die("echo");
}

static bool carry_out(const struct round_command *command) {
    uint64_t first = command->numbers[0];
    uint64_t second = command->numbers[1];
    if (round_is(command, "offer")) {
        offer(first);
    } else if (round_is(command, "permit")) {
        round_answer(median_time(permit_once, first, second));
    } else if (round_is(command, "page")) {
        xpmem_apid_t apid = get(first);
        double median = median_time(page_once, (uint64_t)apid, second);
        if (xpmem_release(apid) != 0)
            die("xpmem_release");
        round_answer(median);
    } else if (round_is(command, "read") || round_is(command, "write")) {
        round_answer(time_touch(first, second, round_is(command, "write")));
    } else if (round_is(command, "listen")) {
        await_peer();
    } else if (round_is(command, "round")) {
        round_answer(median_time(round_once, first, second));
    } else {
        return false;
    }
    return true;
}

int main(void) {
    struct round_command command;
    while (round_next(&command)) {
        if (!carry_out(&command)) {
            fprintf(stderr, "xpmem: unknown command\n");
            return 1;
        }
    }
    return 0;
}
