#include "actor.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STACK_LENT (8 * PAGE)

static const struct call *const tables[] = {
    memory_calls, mapping_calls, xpmem_calls,  sync_calls,
    thread_calls, process_calls, stress_calls, visitor_calls,
};

void die(const char *what) {
    fprintf(stderr, "c-actor: %s: %s\n", what, strerror(errno));
    _exit(2);
}

static const struct call *find(const char *name) {
    for (size_t table = 0; table < sizeof tables / sizeof tables[0]; table += 1)
        for (const struct call *call = tables[table]; call->name != NULL; call += 1)
            if (strcmp(call->name, name) == 0)
                return call;
    return NULL;
}

struct errand {
    const struct call *call;
    struct request *request;
};

static void *run_errand(void *argument) {
    struct errand errand = *(struct errand *)argument;
    free(argument);
    errand.call->run(errand.request);
    free_request(errand.request);
    return NULL;
}

static void run_apart(const struct call *call, struct request *request) {
    struct errand *errand = malloc(sizeof *errand);
    pthread_t thread;
    if (errand == NULL)
        die("malloc");
    *errand = (struct errand){call, request};
    if (pthread_create(&thread, NULL, run_errand, errand) != 0 || pthread_detach(thread) != 0)
        die("pthread_create");
}

static void handle(const char *line, size_t length) {
    struct request *request = parse_request(line, length);
    const struct call *call = find(request->name);
    if (call == NULL) {
        fail(request, "ENOSYS", "the C actor has no call %s", request->name);
    } else if (call->blocks) {
        run_apart(call, request);
        return;
    } else {
        call->run(request);
    }
    free_request(request);
}

int serve(int descriptor) {
    size_t capacity = 65536;
    size_t used = 0;
    char *buffer = malloc(capacity);
    if (buffer == NULL)
        die("malloc");
    for (;;) {
        ssize_t got = read(descriptor, buffer + used, capacity - used);
        if (got == 0 || (got < 0 && errno != EINTR))
            break;
        used += got > 0 ? (size_t)got : 0;
        char *end;
        size_t start = 0;
        while ((end = memchr(buffer + start, '\n', used - start)) != NULL) {
            size_t length = (size_t)(end - buffer) - start;
            handle(buffer + start, length);
            start += length + 1;
        }
        memmove(buffer, buffer + start, used - start);
        used -= start;
        if (used == capacity) {
            capacity *= 2;
            buffer = realloc(buffer, capacity);
            if (buffer == NULL)
                die("realloc");
        }
    }
    free(buffer);
    return 0;
}

int main(void) {
    char lent[STACK_LENT];
    memset(lent, 0, sizeof lent);
    lend_main_stack(lent, sizeof lent);
    catch_faults();
    tell("ready");
    return serve(STDIN_FILENO);
}
