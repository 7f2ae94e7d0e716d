/* Waiting for one another through shared memory, and files. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int32_t *word(struct request *request) {
    return (int32_t *)(void *)thing(request, 0)->address + number(request, 1);
}

/* futexWait HANDLE INDEX EXPECTED: 'ok' when it was woken, 'not-equal' if the word holds another
 * value */
static void call_futex_wait(struct request *request) {
    int32_t expected = (int32_t)number(request, 2);
    long result;
    do {
        result = syscall(SYS_futex, word(request), FUTEX_WAIT, expected, NULL, NULL, 0);
    } while (result != 0 && errno == EINTR);
    if (result != 0 && errno != EAGAIN)
        fail_errno(request, errno);
    else
        answer(request, "s:%s", result == 0 ? "ok" : "not-equal");
}

/* futexWake HANDLE INDEX: how many waited */
static void call_futex_wake(struct request *request) {
    long woken = syscall(SYS_futex, word(request), FUTEX_WAKE, 1, NULL, NULL, 0);
    if (woken < 0)
        fail_errno(request, errno);
    else
        answer(request, "n:%ld", woken);
}

/* A mutex of processes and what it guards, as they lie in shared memory. */
struct guarded {
    pthread_mutex_t mutex;
    uint64_t count;
};

static struct guarded *guarded(struct request *request) {
    return (struct guarded *)(void *)thing(request, 0)->address;
}

/* mutexInit HANDLE: a mutex of processes at its start */
static void call_mutex_init(struct request *request) {
    pthread_mutexattr_t shared;
    struct guarded *at = guarded(request);
    if (pthread_mutexattr_init(&shared) != 0 ||
        pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED) != 0 ||
        pthread_mutex_init(&at->mutex, &shared) != 0)
        die("pthread_mutex_init");
    at->count = 0;
    answer(request, "%s", "");
}

/* mutexCount HANDLE ROUNDS: adds that much, one at a time, holding the mutex; the count at the end
 */
static void call_mutex_count(struct request *request) {
    struct guarded *at = guarded(request);
    uint64_t count = 0;
    for (uint64_t round = number(request, 1); round > 0; round -= 1) {
        int error = pthread_mutex_lock(&at->mutex);
        if (error != 0)
            return fail_errno(request, error);
        count = at->count + 1;
        at->count = count;
        pthread_mutex_unlock(&at->mutex);
    }
    answer(request, "n:%llu", (unsigned long long)count);
}

/* throughFile HANDLE FROM TO LENGTH: write(2) from it to a file and read(2) back to another place
 * in it */
static void call_through_file(struct request *request) {
    char *memory = thing(request, 0)->address;
    size_t length = number(request, 3);
    const char *directory = getenv("TMPDIR");
    int file = open(directory == NULL ? "/tmp" : directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0)
        return fail_errno(request, errno);
    ssize_t written = write(file, memory + number(request, 1), length);
    int error = errno;
    ssize_t got = written < 0 ? -1 : pread(file, memory + number(request, 2), length, 0);
    error = written < 0 ? error : errno;
    close(file);
    if (got < 0)
        fail_errno(request, error);
    else
        answer_bytes(request, (uint8_t *)memory + number(request, 2), (size_t)got);
}

const struct call sync_calls[] = {
    {"futexWait", call_futex_wait, true},      {"futexWake", call_futex_wake, false},
    {"mutexInit", call_mutex_init, false},     {"mutexCount", call_mutex_count, true},
    {"throughFile", call_through_file, false}, {NULL, NULL, false},
};
