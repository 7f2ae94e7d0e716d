/*
 * A program that uses libxpmem, as owner or consumer, and a bare round trip beside it. Answers are
 * nanoseconds; of COUNT operations the median.
 *
 *   offer BYTES            makes a segment of its own memory, all of it written: the segid
 *   permit SEGID COUNT     xpmem_get and xpmem_release
 *   page SEGID COUNT       xpmem_attach, a store, xpmem_detach, of one page
 *   read SEGID BYTES       xpmem_attach of all of it, and a load from each page
 *   write SEGID BYTES      the same with stores
 *   crowd SEGID THREADS PAGES
 *                          a load from each page of a segment full of ones, once, by one of so many
 *                          threads at once: from the first load of any thread to the last one's end
 *   listen                 waits for the other end of the round trip on $BENCH_ECHO
 *   round BYTES COUNT      a datagram there and back
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
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
#define READER_STACK ((size_t)64 * 1024)

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

/* One thread of a crowd. */
struct reader {
    pthread_t thread;
    pthread_barrier_t *start;
    const volatile char *memory;
    /* The pages of its own, in the order in which it reads them. */
    const uint64_t *pages;
    uint64_t count;
    uint64_t began;
    uint64_t ended;
};

static void *read_pages(void *argument) {
    struct reader *reader = argument;
    pthread_barrier_wait(reader->start);
    reader->began = now_ns();
    for (uint64_t i = 0; i < reader->count; i++) {
        if (*(const volatile double *)(reader->memory + reader->pages[i] * PAGE) != 1.0)
            die("a far page is not what its home wrote");
    }
    reader->ended = now_ns();
    return NULL;
}

static void start_reader(struct reader *reader) {
    pthread_attr_t attributes;
    if ((errno = pthread_attr_init(&attributes)) != 0 ||
        (errno = pthread_attr_setstacksize(&attributes, READER_STACK)) != 0 ||
        (errno = pthread_create(&reader->thread, &attributes, read_pages, reader)) != 0)
        die("pthread_create");
    pthread_attr_destroy(&attributes);
}

/* However many threads there are, together they read the same pages. */
static double time_readers(const char *memory, uint64_t threads, uint64_t count) {
    struct reader *readers = calloc(threads, sizeof *readers);
    uint64_t *pages = calloc(count, sizeof *pages);
    pthread_barrier_t start;
    if (readers == NULL || pages == NULL)
        die("calloc");
    if ((errno = pthread_barrier_init(&start, NULL, (unsigned)threads)) != 0)
        die("pthread_barrier_init");
    for (uint64_t i = 1; i < count; i++)
        pages[i] = next_page(pages[i - 1], count);
    for (uint64_t i = 0; i < threads; i++) {
        uint64_t first = i * count / threads;
        uint64_t end = (i + 1) * count / threads;
        readers[i] = (struct reader){
            .start = &start, .memory = memory, .pages = pages + first, .count = end - first};
        start_reader(&readers[i]);
    }
    uint64_t began = UINT64_MAX;
    uint64_t ended = 0;
    for (uint64_t i = 0; i < threads; i++) {
        pthread_join(readers[i].thread, NULL);
        began = readers[i].began < began ? readers[i].began : began;
        ended = readers[i].ended > ended ? readers[i].ended : ended;
    }
    pthread_barrier_destroy(&start);
    free(pages);
    free(readers);
    return (double)(ended - began);
}

static double time_crowd(uint64_t segid, uint64_t threads, uint64_t pages) {
    xpmem_apid_t apid = get(segid);
    double time = time_readers(attach(apid, pages * PAGE), threads, pages);
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
    } else if (round_is(command, "crowd")) {
        round_answer(time_crowd(first, second, command->numbers[2]));
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
