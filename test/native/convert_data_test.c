/* Moving the data of the program, the C library and the dynamic linker while all are in use. */

#include <dlfcn.h>
#include <link.h>
#include <sys/wait.h>

#include "file_field.h"

/* Data, not a part of bss, with whole pages of its own. */
#define OWN_PAGES 9UL
static _Alignas(PAGE) uint64_t own[OWN_PAGES * WORDS_PER_PAGE] = {1};

struct library_use {
    atomic_bool stop;
    bool contend;
    _Atomic uint64_t rounds[2];
};

struct user {
    struct library_use *use;
    int number;
};

static int count_objects(struct dl_phdr_info *info, size_t size, void *count) {
    (void)info;
    (void)size;
    (*(int *)count)++;
    return 0;
}

static void *use_libraries(void *argument) {
    struct user user = *(struct user *)argument;
    struct library_use *use = user.use;
    FILE *sink = fopen("/dev/null", "w");
    CHECK(sink != NULL);
    free(argument);
    for (uint64_t round = 0; !atomic_load(&use->stop); round++) {
        char text[64];
        int objects = 0;
        char *block = malloc(1 + round % 300000);
        CHECK(block != NULL);
        block[0] = 1;
        snprintf(text, sizeof text, "%llu %g", (unsigned long long)round, (double)round);
        CHECK(strtoull(text, NULL, 10) == round);
        CHECK(fprintf(sink, "%s %s\n", text, strerror((int)(round % 30))) > 0);
        free(block);
        /* What takes locks that lie in the data. */
        if (user.number == 0 || use->contend) {
            CHECK(rand() >= 0);
            CHECK(dl_iterate_phdr(count_objects, &objects) == 0 && objects > 1);
            CHECK(dlsym(RTLD_DEFAULT, "malloc") != NULL);
        }
        /* Has every thread run a handler that reads the data of the C library. */
        if (use->contend && round % 2048 == 1)
            CHECK_EQUAL(setegid(getegid()), 0);
        atomic_fetch_add(&use->rounds[user.number], 1);
    }
    fclose(sink);
    return NULL;
}

static void await_use(struct library_use *use) {
    for (int i = 0; i < 2; i++) {
        uint64_t before = atomic_load(&use->rounds[i]);
        WAIT_UNTIL(atomic_load(&use->rounds[i]) > before + 10);
    }
}

struct segment {
    void *start;
    size_t length;
};

/* The writable mapping of a file whose name has this in it, or that has this address in it. */
static struct segment find_segment(const char *name, const void *address) {
    static char buffer[16384];
    struct segment segment = {NULL, 0};
    struct xm_maps maps;
    struct xm_vma vma;
    CHECK_EQUAL(xm_maps_open(&maps, buffer, sizeof buffer), 0);
    while (xm_maps_next(&maps, &vma) > 0) {
        bool here = (uintptr_t)address >= vma.start && (uintptr_t)address < vma.end;
        if (!vma.shared && vma.inode != 0 && vma.protection == (PROT_READ | PROT_WRITE) &&
            (here || (name != NULL && strstr(vma.name, name) != NULL)))
            segment = (struct segment){(void *)(uintptr_t)vma.start, vma.end - vma.start};
    }
    xm_maps_close(&maps);
    CHECK(segment.length > 0);
    return segment;
}

static void move_segment(struct segment segment) {
    int into = make_memfd(segment.length);
    CHECK_EQUAL(move_file(segment.start, segment.length, PROT_READ | PROT_WRITE, into, 0), 0);
    CHECK_EQUAL(shared_bytes(segment.start, segment.length), segment.length);
    close(into);
}

static void move_all_data(void) {
    struct xm_userfault_ability ability;
    struct field field;
    struct library_use use = {.stop = false};
    pthread_t users[2];
    xm_userfault_query(&ability);
    /* Without a full userfaultfd the C library does not survive waiting for a frozen lock. */
    use.contend = ability.mode == XM_USERFAULT_FULL;
    for (int i = 0; i < 2; i++) {
        struct user *user = malloc(sizeof *user);
        *user = (struct user){&use, i};
        users[i] = start_thread(use_libraries, user);
    }
    start_field(&field, own, sizeof own);
    await_progress(&field);
    await_use(&use);
    move_segment(find_segment(NULL, own));
    move_segment(find_segment("/libc.so", NULL));
    move_segment(find_segment("/ld-linux", NULL));
    await_use(&use);
    await_progress(&field);
    end_field(&field);
    CHECK_EQUAL(shared_bytes(own, sizeof own), sizeof own);
    atomic_store(&use.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(users[i], NULL);
}

/* Each in a process that has not moved anything yet, and shares its pages with its parent. */
static void move_all_data_in_children(int rounds, uid_t user) {
    for (int round = 0; round < rounds; round++) {
        int status;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            start_watchdog();
            if (user != geteuid())
                CHECK(setgid(user) == 0 && setuid(user) == 0);
            move_all_data();
            _exit(0);
        }
        CHECK_EQUAL(waitpid(child, &status, 0), child);
        CHECK_EQUAL(status, 0);
    }
}

static void the_data_of_program_and_libraries_moves_while_it_is_used(void) {
    move_all_data_in_children(20, geteuid());
}

static void the_data_of_program_and_libraries_moves_without_privilege(void) {
    move_all_data_in_children(20, 65534);
}

int main(void) {
    start_watchdog();
    for (size_t word = 0; word < sizeof own / sizeof *own; word++)
        own[word] = initial_word(word);
    RUN(the_data_of_program_and_libraries_moves_while_it_is_used);
    if (geteuid() == 0)
        RUN(the_data_of_program_and_libraries_moves_without_privilege);
    return 0;
}
