/* A process that has memory of the test's mapped, as an attacher has. */

#ifndef XM_ATTACHER_H
#define XM_ATTACHER_H

#include <sys/socket.h>
#include <sys/wait.h>

#include "../../native/core/seqpacket.h"
#include "fake_service.h"

/* 64-bit counters at every `step`-th place from `first` on, in `bytes` of a file. */
struct counters {
    uint64_t file_offset;
    uint64_t bytes;
    uint32_t first;
    uint32_t step;
};

struct attacher {
    pid_t process;
    int socket;
};

/* Adds 1 to each counter in turn until something is said; answers with how often it did. */
static inline void attacher_count(int socket, int file, const struct counters *counters) {
    _Atomic uint64_t *words = mmap(NULL, counters->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file,
                                   (off_t)counters->file_offset);
    CHECK(words != MAP_FAILED);
    close(file);
    uint64_t added = 0;
    size_t count = counters->bytes / sizeof *words;
    struct pollfd said = {socket, POLLIN, 0};
    while (poll(&said, 1, 0) == 0) {
        for (size_t i = counters->first; i < count; i += counters->step, added++)
            atomic_fetch_add(&words[i], 1);
    }
    char word;
    CHECK_EQUAL(recv(socket, &word, 1, 0), 1);
    munmap((void *)words, counters->bytes);
    CHECK_EQUAL(send(socket, &added, sizeof added, 0), sizeof added);
}

static inline void attacher_run(int socket) {
    struct counters counters;
    struct xm_received beside;
    start_watchdog();
    for (;;) {
        await_readable(socket);
        ssize_t length = xm_seqpacket_receive(socket, &counters, sizeof counters, &beside);
        if (length == 0)
            _exit(0);
        CHECK_EQUAL(length, sizeof counters);
        CHECK_EQUAL(beside.count, 1);
        attacher_count(socket, beside.descriptors[0], &counters);
    }
}

/* Before there is an agent or a second thread. */
static inline void attacher_start(struct attacher *attacher) {
    int sockets[2];
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    attacher->process = fork();
    CHECK(attacher->process >= 0);
    if (attacher->process == 0) {
        close(sockets[0]);
        attacher_run(sockets[1]);
    }
    close(sockets[1]);
    attacher->socket = sockets[0];
}

static inline void attacher_begin(struct attacher *attacher, int file,
                                  const struct counters *counters) {
    CHECK_EQUAL(xm_seqpacket_send(attacher->socket, counters, sizeof *counters, &file, 1), 0);
}

/* How often it added. */
static inline uint64_t attacher_end(struct attacher *attacher) {
    uint64_t added;
    CHECK_EQUAL(send(attacher->socket, "", 1, 0), 1);
    CHECK_EQUAL(recv(attacher->socket, &added, sizeof added, 0), sizeof added);
    return added;
}

static inline void attacher_stop(struct attacher *attacher) {
    int status;
    close(attacher->socket);
    CHECK_EQUAL(waitpid(attacher->process, &status, 0), attacher->process);
    CHECK_EQUAL(status, 0);
}

#endif
