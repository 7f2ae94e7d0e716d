/* The kinds of memory that a C program has, and reading and writing it. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STATIC_BYTES (4 * PAGE)
#define STACK_BYTES (64 * PAGE)

static char initialised[STATIC_BYTES] = "initialised data";
static char uninitialised[STATIC_BYTES];
static struct thing main_stack;

void lend_main_stack(char *bytes, size_t length) {
    main_stack = (struct thing){.address = bytes, .length = length};
}

uint8_t pattern(uint64_t index, uint32_t seed) {
    return (uint8_t)((((uint32_t)index ^ seed) * UINT32_C(0x9e3779b1)) >> 24);
}

/* A mapping, and room before and after it so that nothing merges with it or moves beside it. */
static char *map(size_t length, int protection, int flags, int file) {
    char *room = mmap(NULL, length + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return NULL;
    char *memory = mmap(room + PAGE, length, protection, flags | MAP_FIXED, file, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static char *map_anonymous(size_t length) {
    return map(length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* Memory that can be read only, with a pattern of seed 1 in it. */
static char *map_read_only(size_t length) {
    char *memory = map_anonymous(length);
    for (size_t at = 0; memory != NULL && at < length; at += 1)
        memory[at] = (char)pattern(at, 1);
    if (memory != NULL && mprotect(memory, length, PROT_READ) != 0)
        return NULL;
    return memory;
}

static char *map_file(const char *path, size_t length, int flags) {
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return NULL;
    char *memory = map(length, PROT_READ | PROT_WRITE, flags, file);
    int error = errno;
    close(file);
    errno = error;
    return memory;
}

/* Huge pages that are not reserved, so that there need be none; behind them is a page as any other.
 */
static char *map_huge(size_t length) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *room = mmap(NULL, 3 * length, PROT_NONE, flags, -1, 0);
    if (room == MAP_FAILED)
        return NULL;
    char *start = room + (length - (uintptr_t)room % length);
    char *huge =
        mmap(start, length, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB | MAP_FIXED, -1, 0);
    char *beside = mmap(start + length, PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return huge == MAP_FAILED || beside == MAP_FAILED ? NULL : huge;
}

static char *map_hole(size_t length) {
    char *memory = map_anonymous(length);
    if (memory != NULL && munmap(memory, length) != 0)
        return NULL;
    return memory;
}

struct guest {
    pthread_mutex_t mutex;
    pthread_cond_t arrived;
    char *address;
};

/* Lends its stack. It counts in the first word as long as the second is 0, then it ends. */
static void *lend_stack(void *argument) {
    struct guest *guest = argument;
    _Alignas(PAGE) char stack[4 * PAGE];
    memset(stack, 0, sizeof stack);
    volatile uint64_t *words = (volatile uint64_t *)(void *)stack;
    pthread_mutex_lock(&guest->mutex);
    guest->address = stack;
    pthread_cond_signal(&guest->arrived);
    pthread_mutex_unlock(&guest->mutex);
    while (__atomic_load_n(&words[1], __ATOMIC_ACQUIRE) == 0) {
        __atomic_add_fetch(&words[0], 1, __ATOMIC_RELEASE);
        sched_yield();
    }
    tell("guest ended");
    return NULL;
}

static char *borrow_stack(void) {
    static struct guest guest = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};
    pthread_t thread;
    if (pthread_create(&thread, NULL, lend_stack, &guest) != 0 || pthread_detach(thread) != 0)
        die("pthread_create");
    pthread_mutex_lock(&guest.mutex);
    while (guest.address == NULL)
        pthread_cond_wait(&guest.arrived, &guest.mutex);
    char *address = guest.address;
    guest.address = NULL;
    pthread_mutex_unlock(&guest.mutex);
    return address;
}

/* The page with this function's code. */
static char *find_text(void) {
    uintptr_t code = (uintptr_t)&find_text;
    return (char *)(code - code % PAGE);
}

/* Memory of a kind, or an address of NULL with errno set. */
static struct thing provide(const char *kind, size_t length, const char *path) {
    const size_t whole = (length + PAGE - 1) & ~(PAGE - 1);
    const int both = PROT_READ | PROT_WRITE;
    if (strcmp(kind, "malloc") == 0)
        return (struct thing){calloc(1, length), length, 0};
    if (strcmp(kind, "anonymous") == 0)
        return (struct thing){map_anonymous(whole), whole, 0};
    if (strcmp(kind, "data") == 0)
        return (struct thing){initialised, STATIC_BYTES, 0};
    if (strcmp(kind, "text") == 0)
        return (struct thing){find_text(), PAGE, 0};
    if (strcmp(kind, "huge") == 0)
        return (struct thing){map_huge(whole), whole, 0};
    if (strcmp(kind, "bss") == 0)
        return (struct thing){uninitialised, STATIC_BYTES, 0};
    if (strcmp(kind, "main stack") == 0)
        return main_stack;
    if (strcmp(kind, "thread stack") == 0)
        return (struct thing){borrow_stack(), 4 * PAGE, 0};
    if (strcmp(kind, "read-only") == 0)
        return (struct thing){map_read_only(whole), whole, 0};
    if (strcmp(kind, "private file") == 0)
        return (struct thing){map_file(path, whole, MAP_PRIVATE), whole, 0};
    if (strcmp(kind, "shared file") == 0)
        return (struct thing){map_file(path, whole, MAP_SHARED), whole, 0};
    if (strcmp(kind, "shared anonymous") == 0)
        return (struct thing){map(whole, both, MAP_SHARED | MAP_ANONYMOUS, -1), whole, 0};
    if (strcmp(kind, "inaccessible") == 0)
        return (struct thing){map(whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1), whole, 0};
    if (strcmp(kind, "hole") == 0)
        return (struct thing){map_hole(whole), whole, 0};
    errno = ENOSYS;
    return (struct thing){NULL, 0, 0};
}

/* memory KIND LENGTH [PATH] */
static void call_memory(struct request *request) {
    const char *path = request->count > 2 ? text(request, 2) : "";
    struct thing memory = provide(text(request, 0), number(request, 1), path);
    if (memory.address == NULL)
        fail_errno(request, errno);
    else
        answer(request, "n:%zu", keep(memory));
}

/* allocate LENGTH: anonymous memory, of whole pages; live LENGTH is the same in C */
static void call_allocate(struct request *request) {
    struct thing memory = provide("anonymous", number(request, 0), "");
    if (memory.address == NULL)
        fail_errno(request, errno);
    else
        answer(request, "n:%zu", keep(memory));
}

/* read HANDLE OFFSET LENGTH */
static void call_read(struct request *request) {
    size_t length = number(request, 2);
    uint8_t *into = calloc(1, length + 1);
    if (into == NULL)
        die("malloc");
    int raised = guarded_read(into, thing(request, 0)->address + number(request, 1), length);
    if (raised != 0)
        fail_signal(request, raised);
    else
        answer_bytes(request, into, length);
    free(into);
}

/* write HANDLE OFFSET BYTES */
static void call_write(struct request *request) {
    size_t length;
    uint8_t *from = bytes(request, 2, &length);
    int raised = guarded_write(thing(request, 0)->address + number(request, 1), from, length);
    free(from);
    if (raised != 0)
        fail_signal(request, raised);
    else
        answer(request, "%s", "");
}

/* fill HANDLE OFFSET LENGTH SEED: writes the pattern, which begins at the offset */
static void call_fill(struct request *request) {
    uint8_t *to = (uint8_t *)thing(request, 0)->address + number(request, 1);
    uint64_t length = number(request, 2);
    uint32_t seed = (uint32_t)number(request, 3);
    uint8_t piece[PAGE];
    for (uint64_t start = 0; start < length; start += sizeof piece) {
        size_t part = length - start < sizeof piece ? (size_t)(length - start) : sizeof piece;
        for (size_t at = 0; at < part; at += 1)
            piece[at] = pattern(start + at, seed);
        int raised = guarded_write(to + start, piece, part);
        if (raised != 0)
            return fail_signal(request, raised);
    }
    answer(request, "%s", "");
}

/* compare HANDLE OFFSET LENGTH SEED: where the first byte is that is not the pattern's, or -1 */
static void call_compare(struct request *request) {
    const uint8_t *from = (uint8_t *)thing(request, 0)->address + number(request, 1);
    uint64_t length = number(request, 2);
    uint32_t seed = (uint32_t)number(request, 3);
    uint8_t piece[PAGE];
    for (uint64_t start = 0; start < length; start += sizeof piece) {
        size_t part = length - start < sizeof piece ? (size_t)(length - start) : sizeof piece;
        int raised = guarded_read(piece, from + start, part);
        if (raised != 0)
            return fail_signal(request, raised);
        for (size_t at = 0; at < part; at += 1)
            if (piece[at] != pattern(start + at, seed))
                return answer(request, "n:%llu", (unsigned long long)(start + at));
    }
    answer(request, "n:-1");
}

/* free HANDLE: of malloc'ed memory */
static void call_free(struct request *request) {
    free(thing(request, 0)->address);
    answer(request, "%s", "");
}

/* realloc HANDLE LENGTH: whether it moved */
static void call_realloc(struct request *request) {
    struct thing *memory = thing(request, 0);
    uintptr_t before = (uintptr_t)memory->address;
    char *now = realloc(memory->address, number(request, 1));
    if (now == NULL)
        return fail_errno(request, errno);
    memory->address = now;
    memory->length = number(request, 1);
    answer(request, "f:%s", (uintptr_t)now == before ? "false" : "true");
}

const struct call memory_calls[] = {
    {"memory", call_memory, false},   {"allocate", call_allocate, false},
    {"live", call_allocate, false},   {"read", call_read, false},
    {"write", call_write, false},     {"fill", call_fill, false},
    {"compare", call_compare, false}, {"free", call_free, false},
    {"realloc", call_realloc, false}, {NULL, NULL, false},
};
