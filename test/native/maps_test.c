/* /proc/self/maps through buffers of any size. */

#include <fcntl.h>
#include <sys/stat.h>

#include "harness.h"

/* The mapping that holds an address, read through a buffer of that size. */
static struct xm_vma look_up(const void *memory, char *buffer, size_t capacity) {
    struct xm_maps maps;
    struct xm_vma vma;
    CHECK_EQUAL(xm_maps_open(&maps, buffer, capacity), 0);
    do {
        CHECK_EQUAL(xm_maps_next(&maps, &vma), 1);
    } while (vma.end <= (uintptr_t)memory);
    xm_maps_close(&maps);
    CHECK(vma.start <= (uintptr_t)memory);
    return vma;
}

static void protection_and_kind_are_told(void) {
    char buffer[XM_MAPS_LEAST_BUFFER];
    char *memory = map_private(3 * PAGE);
    CHECK_EQUAL(mprotect(memory + PAGE, PAGE, PROT_READ), 0);
    struct xm_vma vma = look_up(memory + PAGE, buffer, sizeof buffer);
    CHECK_EQUAL(vma.start, (uintptr_t)memory + PAGE);
    CHECK_EQUAL(vma.end, (uintptr_t)memory + 2 * PAGE);
    CHECK_EQUAL(vma.protection, PROT_READ);
    CHECK(xm_vma_anonymous(&vma));
    vma = look_up((void *)(uintptr_t)look_up, buffer, sizeof buffer);
    CHECK((vma.protection & PROT_EXEC) != 0);
    CHECK(!xm_vma_anonymous(&vma));
    munmap(memory, 3 * PAGE);
}

static void a_file_mapping_has_its_identity_and_offset(void) {
    char buffer[16384];
    int file = memfd_create("maps test", MFD_CLOEXEC);
    CHECK_EQUAL(ftruncate(file, 4 * PAGE), 0);
    char *memory = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, file, 2 * PAGE);
    CHECK(memory != MAP_FAILED);
    struct xm_vma vma = look_up(memory, buffer, sizeof buffer);
    CHECK(vma.shared && vma.inode != 0);
    CHECK_EQUAL(vma.file_offset, 2 * PAGE);
    CHECK(strstr(vma.name, "maps test") != NULL);
    munmap(memory, 2 * PAGE);
    close(file);
}

/* A name longer than the buffer is cut, and the next lines are whole. */
static void a_line_longer_than_the_buffer_is_cut(void) {
    char directory[200];
    char path[3000] = "/tmp";
    char small[XM_MAPS_LEAST_BUFFER];
    snprintf(directory, sizeof directory, "/%0180d", (int)getpid());
    for (int i = 0; i < 8; i++) {
        strcat(path, directory);
        CHECK_EQUAL(mkdir(path, 0700), 0);
    }
    size_t folders = strlen(path);
    strcat(path, "/file");
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_EQUAL(ftruncate(file, PAGE), 0);
    char *memory = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
    CHECK(memory != MAP_FAILED);
    struct xm_vma vma = look_up(memory, small, sizeof small);
    CHECK_EQUAL(vma.start, (uintptr_t)memory);
    char large[16384];
    struct xm_maps few;
    struct xm_maps many;
    struct xm_vma one;
    struct xm_vma other;
    CHECK_EQUAL(xm_maps_open(&few, small, sizeof small), 0);
    CHECK_EQUAL(xm_maps_open(&many, large, sizeof large), 0);
    int found;
    do {
        found = xm_maps_next(&few, &one);
        CHECK_EQUAL(xm_maps_next(&many, &other), found);
        CHECK(found == 0 || (one.start == other.start && one.end == other.end));
    } while (found > 0);
    xm_maps_close(&few);
    xm_maps_close(&many);
    munmap(memory, PAGE);
    close(file);
    unlink(path);
    for (path[folders] = '\0'; strlen(path) > 4; *strrchr(path, '/') = '\0')
        rmdir(path);
}

int main(void) {
    start_watchdog();
    RUN(protection_and_kind_are_told);
    RUN(a_file_mapping_has_its_identity_and_offset);
    RUN(a_line_longer_than_the_buffer_is_cut);
    return 0;
}
