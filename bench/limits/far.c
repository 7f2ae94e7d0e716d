/*
 * Far memory without xpmem: a home that sends pages over TCP (loopback) and a pager in a process of
 * its own that answers this one's faults (userfaultfd), and what the same connection does bare.
 * Answers are nanoseconds.
 *
 *   fault COUNT       pages in random order, each seen for the first time: the median and the 99th
 *                     percentile
 *   coherent COUNT    the same, with a home that does for each page what one must whose program may
 *                     store to it: protects it, in another process, and reads it from a memfd
 *   sequence          all pages in order, of a memfd of the home's: the least that a pager can do,
 *                     which asks for all of them at the first fault
 *   stream BYTES      receives so much, the same MiB again and again
 *   round-trip COUNT  a byte there and back: the median
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rounds.h"

#define PAGE 4096UL
#define PAGES 65536UL
#define BLOCK (1024 * 1024)
/* Sent and placed at once. */
#define PART (32 * PAGE)

/* What is asked of the home: a page number, or one of these. */
#define ASK_STREAM UINT64_MAX
#define ASK_ECHO (UINT64_MAX - 1)
#define ASK_FILE (UINT64_MAX - 2)

static void send_all(int socket, const void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t sent = send(socket, (const char *)bytes + done, length - done, MSG_NOSIGNAL);
        if (sent <= 0)
            die("send");
        done += (size_t)sent;
    }
}

/* False at the end. */
static bool receive_all(int socket, void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t got = recv(socket, (char *)bytes + done, length - done, 0);
        if (got == 0)
            return false;
        if (got < 0)
            die("recv");
        done += (size_t)got;
    }
    return true;
}

/* Two ends of a TCP connection over loopback. */
static void connect_pair(int ends[2]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        die("listen");
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (ends[0] < 0 || connect(ends[0], (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    ends[1] = accept(listener, NULL, NULL);
    if (ends[1] < 0)
        die("accept");
    close(listener);
    for (int i = 0; i < 2; i++)
        setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* In parts, which are in the cache when they leave. */
static void send_file(int socket, int file) {
    static char part[PART];
    for (uint64_t at = 0; at < PAGES * PAGE; at += PART) {
        if (pread(file, part, PART, (off_t)at) != (ssize_t)PART)
            die("pread");
        send_all(socket, part, PART);
    }
}

/* What a home sends: pages of a file, protected before if there is a userfaultfd; -1: no file, and
 * every page alike. */
struct content {
    int file;
    int userfault;
    const char *memory;
};

static void read_page(const struct content *content, uint64_t page, char *into) {
    struct uffdio_writeprotect protect = {.range = {(uintptr_t)content->memory + page * PAGE, PAGE},
                                          .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    if (ioctl(content->userfault, UFFDIO_WRITEPROTECT, &protect) != 0)
        die("UFFDIO_WRITEPROTECT");
    if (pread(content->file, into, PAGE, (off_t)(page * PAGE)) != (ssize_t)PAGE)
        die("pread");
}

static _Noreturn void be_home(int socket, const struct content *content) {
    static char memory[BLOCK];
    uint64_t ask[2];
    while (receive_all(socket, ask, sizeof ask)) {
        if (ask[0] == ASK_ECHO) {
            send_all(socket, memory, 1);
        } else if (ask[0] == ASK_FILE) {
            send_file(socket, content->file);
        } else if (ask[0] == ASK_STREAM) {
            for (uint64_t left = ask[1]; left > 0; left -= left < BLOCK ? left : BLOCK)
                send_all(socket, memory, left < BLOCK ? left : BLOCK);
        } else {
            if (content->file < 0)
                *(uint64_t *)memory = ask[0];
            else
                read_page(content, ask[0], memory);
            send_all(socket, memory, PAGE);
        }
    }
    _exit(0);
}

static void place(int userfault, uint64_t address, const char *content, uint64_t length) {
    struct uffdio_copy copy = {
        .dst = address, .src = (uintptr_t)content, .len = length, .mode = UFFDIO_COPY_MODE_WP};
    if (ioctl(userfault, UFFDIO_COPY, &copy) != 0 && errno != EEXIST)
        die("UFFDIO_COPY");
}

static _Noreturn void be_pager(int userfault, uint64_t base, int socket, bool in_order) {
    static char part[PART] __attribute__((aligned(4096)));
    struct uffd_msg fault;
    while (read(userfault, &fault, sizeof fault) == sizeof fault) {
        uint64_t address = fault.arg.pagefault.address & ~(PAGE - 1);
        uint64_t ask[2] = {in_order ? ASK_FILE : (address - base) / PAGE, 0};
        uint64_t length = in_order ? PART : PAGE;
        uint64_t end = in_order ? base + PAGES * PAGE : address + PAGE;
        send_all(socket, ask, sizeof ask);
        for (uint64_t at = address; at < end; at += length) {
            if (!receive_all(socket, part, length))
                _exit(0);
            place(userfault, at, part, length);
        }
    }
    _exit(0);
}

static int open_userfault(void) {
    int descriptor = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (descriptor < 0)
        descriptor = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    struct uffdio_api api = {.api = UFFD_API,
                             .features = UFFD_FEATURE_MISSING_SHMEM | (UINT64_C(1) << 12)};
    if (descriptor < 0 || ioctl(descriptor, UFFDIO_API, &api) != 0)
        die("userfaultfd");
    return descriptor;
}

struct paged {
    volatile char *memory;
    int descriptor;
    int userfault;
    pid_t pager;
    pid_t home;
};

/* `in_order`: the pager asks for all of the content when the first page is wanted. */
static void page_in(struct paged *paged, const struct content *content, bool in_order) {
    int ends[2];
    paged->descriptor = fresh_memfd(PAGES * PAGE);
    paged->memory = map_shared(paged->descriptor, PAGES * PAGE);
    paged->userfault = open_userfault();
    struct uffdio_register request = {.range = {(uintptr_t)paged->memory, PAGES * PAGE},
                                      .mode =
                                          UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP};
    if (ioctl(paged->userfault, UFFDIO_REGISTER, &request) != 0)
        die("UFFDIO_REGISTER");
    connect_pair(ends);
    paged->home = fork();
    if (paged->home == 0) {
        close(ends[0]);
        be_home(ends[1], content);
    }
    close(ends[1]);
    paged->pager = fork();
    if (paged->pager == 0)
        be_pager(paged->userfault, (uintptr_t)paged->memory, ends[0], in_order);
    close(ends[0]);
}

static void end(struct paged *paged) {
    kill(paged->pager, SIGKILL);
    waitpid(paged->pager, NULL, 0);
    waitpid(paged->home, NULL, 0);
    munmap((void *)(uintptr_t)paged->memory, PAGES * PAGE);
    close(paged->userfault);
    close(paged->descriptor);
}

static const struct content no_file = {.file = -1, .userfault = -1};

/* A file in which every page begins with its number, mapped here, and so that stores can wait. */
static struct content make_content(void) {
    int file = fresh_memfd(PAGES * PAGE);
    char *memory = map_shared(file, PAGES * PAGE);
    for (uint64_t page = 0; page < PAGES; page++)
        *(uint64_t *)(memory + page * PAGE) = page;
    struct content content = {.file = file, .userfault = open_userfault(), .memory = memory};
    struct uffdio_register request = {.range = {(uintptr_t)memory, PAGES * PAGE},
                                      .mode = UFFDIO_REGISTER_MODE_WP};
    if (ioctl(content.userfault, UFFDIO_REGISTER, &request) != 0)
        die("UFFDIO_REGISTER");
    return content;
}

static void drop_content(const struct content *content) {
    munmap((void *)(uintptr_t)content->memory, PAGES * PAGE);
    close(content->userfault);
    close(content->file);
}

static void answer_faults(uint64_t count, const struct content *content) {
    struct paged paged;
    double *times = calloc(count, sizeof *times);
    if (times == NULL)
        die("calloc");
    page_in(&paged, content, false);
    uint64_t page = 1;
    for (uint64_t i = 0; i < count; i++, page = next_page(page, PAGES)) {
        uint64_t start = now_ns();
        if (*(volatile uint64_t *)(paged.memory + page * PAGE) != page)
            die("a wrong page");
        times[i] = (double)(now_ns() - start);
    }
    end(&paged);
    double median = median_of(times, count);
    double slow = times[count * 99 / 100];
    round_answers((double[]){median, slow}, 2);
    free(times);
}

static void answer_coherent_faults(uint64_t count) {
    struct content content = make_content();
    answer_faults(count, &content);
    drop_content(&content);
}

static double time_sequence(void) {
    struct paged paged;
    struct content content = make_content();
    page_in(&paged, &content, true);
    uint64_t start = now_ns();
    for (uint64_t page = 0; page < PAGES; page++)
        if (*(volatile uint64_t *)(paged.memory + page * PAGE) != page)
            die("a wrong page");
    double result = (double)(now_ns() - start);
    end(&paged);
    drop_content(&content);
    return result;
}

static double time_stream(int socket, uint64_t bytes) {
    static char block[BLOCK];
    uint64_t ask[2] = {ASK_STREAM, bytes};
    uint64_t start = now_ns();
    send_all(socket, ask, sizeof ask);
    for (uint64_t left = bytes; left > 0;) {
        ssize_t got = recv(socket, block, left < BLOCK ? left : BLOCK, 0);
        if (got <= 0)
            die("recv");
        left -= (uint64_t)got;
    }
    return (double)(now_ns() - start);
}

static double time_round_trips(int socket, uint64_t count) {
    double *times = calloc(count, sizeof *times);
    if (times == NULL)
        die("calloc");
    for (uint64_t i = 0; i < count; i++) {
        char byte;
        uint64_t ask[2] = {ASK_ECHO, 0};
        uint64_t start = now_ns();
        send_all(socket, ask, sizeof ask);
        if (!receive_all(socket, &byte, 1))
            die("the home has gone");
        times[i] = (double)(now_ns() - start);
    }
    double result = median_of(times, count);
    free(times);
    return result;
}

int main(void) {
    struct round_command command;
    int ends[2];
    connect_pair(ends);
    pid_t home = fork();
    if (home == 0) {
        close(ends[0]);
        be_home(ends[1], &no_file);
    }
    close(ends[1]);
    while (round_next(&command)) {
        uint64_t number = command.numbers[0];
        if (round_is(&command, "fault"))
            answer_faults(number, &no_file);
        else if (round_is(&command, "coherent"))
            answer_coherent_faults(number);
        else if (round_is(&command, "stream"))
            round_answer(time_stream(ends[0], number));
        else if (round_is(&command, "sequence"))
            round_answer(time_sequence());
        else if (round_is(&command, "round-trip"))
            round_answer(time_round_trips(ends[0], number));
        else
            return fprintf(stderr, "far: unknown command\n"), 1;
    }
    close(ends[0]);
    waitpid(home, NULL, 0);
    return 0;
}
