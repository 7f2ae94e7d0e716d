/*
 * A program that uses XPMEM as its users do, told on standard input what to do. Each line is
 * answered with one: what the call gave, or `errno` and the number.
 *
 *   version | offer TEXT | shown | open SEGID | read | write TEXT | close
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xpmem.h>

#define BYTES (64 * 1024)

static char *offered;
static char *attached;
static xpmem_apid_t permit;

static void answer_id(long long id) {
    if (id == -1)
        printf("errno %d\n", errno);
    else
        printf("0x%016llx\n", id);
}

static void offer(const char *text) {
    void *memory;
    if (posix_memalign(&memory, (size_t)sysconf(_SC_PAGESIZE), BYTES) != 0)
        exit(1);
    offered = memory;
    snprintf(offered, BYTES, "%s", text);
    answer_id(xpmem_make(offered, BYTES, XPMEM_PERMIT_MODE, (void *)0600));
}

static void open_segment(xpmem_segid_t segid) {
    permit = xpmem_get(segid, XPMEM_RDWR, XPMEM_PERMIT_MODE, NULL);
    struct xpmem_addr address = {permit, 0};
    void *memory = permit == -1 ? (void *)-1 : xpmem_attach(address, BYTES, NULL);
    if (memory == (void *)-1) {
        printf("errno %d\n", errno);
        return;
    }
    attached = memory;
    printf("%s\n", attached);
}

static void close_segment(void) {
    if (xpmem_detach(attached) != 0 || xpmem_release(permit) != 0)
        printf("errno %d\n", errno);
    else
        printf("closed\n");
}

static void obey(const char *line) {
    const char *word = strchr(line, ' ');
    const char *rest = word != NULL ? word + 1 : "";
    if (strcmp(line, "version") == 0) {
        answer_id(xpmem_version());
    } else if (strncmp(line, "offer ", 6) == 0) {
        offer(rest);
    } else if (strcmp(line, "shown") == 0) {
        printf("%s\n", offered);
    } else if (strncmp(line, "open ", 5) == 0) {
        open_segment(strtoll(rest, NULL, 16));
    } else if (strcmp(line, "read") == 0) {
        printf("%s\n", attached);
    } else if (strncmp(line, "write ", 6) == 0) {
        snprintf(attached, BYTES, "%s", rest);
        printf("written\n");
    } else if (strcmp(line, "close") == 0) {
        close_segment();
    } else {
        exit(2);
    }
}

int main(void) {
    char line[256];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
    }
    return 0;
}
