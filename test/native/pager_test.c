/* Files whose faults the service answers: what is registered, and what happens when nobody answers.
 */

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../../native/core/memory.h"
#include "../../native/core/table.h"
#include "fake_service.h"

#define PAGE 4096UL
#define PAGES 8
#define BYTES (PAGES * PAGE)

static struct service service;
static struct counting_listener listener;
static struct xm_owner owner;

static void ignore_note(struct xm_owner *of) {
    (void)of;
}

static void *load_byte(void *argument) {
    return (void *)(uintptr_t) * (volatile unsigned char *)argument;
}

static uintptr_t joined(pthread_t thread) {
    void *loaded;
    CHECK_EQUAL(pthread_join(thread, &loaded), 0);
    return (uintptr_t)loaded;
}

struct file {
    int descriptor;
    dev_t device;
    ino_t inode;
};

static struct file make_file(void) {
    struct stat status;
    int descriptor = xm_memfd_create(BYTES);
    CHECK(descriptor >= 0);
    CHECK_EQUAL(fstat(descriptor, &status), 0);
    return (struct file){descriptor, status.st_dev, status.st_ino};
}

static void put_byte(const struct file *file, size_t page, unsigned char byte) {
    CHECK_EQUAL(pwrite(file->descriptor, &byte, 1, (off_t)(page * PAGE)), 1);
}

static const struct xm_row_mapping *rows(size_t *count) {
    *count = (size_t)(service.length - XM_BYTES_ARMED) / XM_ROW_BYTES_MAPPING;
    return (const void *)(service.message.bytes + XM_BYTES_ARMED);
}

static void offer(struct xm_agent *agent, char *memory, size_t count) {
    uint32_t id;
    CHECK_EQUAL(xm_agent_offer(agent, &listener.listener, (uintptr_t)memory, count * PAGE, &id), 0);
}

/* Has the agent arm a file; the userfaultfd. */
static int arm(const struct file *file, int aside) {
    if (aside >= 0)
        service_ask_with(&service, XM_CODE_ARM, file->device, file->inode, aside, XM_CODE_ARMED);
    else
        service_ask(&service, XM_CODE_ARM, file->device, file->inode, XM_BYTES_ARM, XM_CODE_ARMED);
    CHECK_EQUAL(service.beside.count, 1);
    return service.beside.descriptors[0];
}

static void await_fault(int userfault, const char *address, bool protected) {
    struct uffd_msg fault;
    await_readable(userfault);
    CHECK_EQUAL(read(userfault, &fault, sizeof fault), sizeof fault);
    CHECK_EQUAL(fault.event, UFFD_EVENT_PAGEFAULT);
    CHECK_EQUAL(fault.arg.pagefault.address & ~(PAGE - 1), (uintptr_t)address & ~(PAGE - 1));
    CHECK_EQUAL((fault.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) != 0, protected);
}

static void wake(int userfault, const char *address) {
    struct uffdio_range range = {(uintptr_t)address & ~(PAGE - 1), PAGE};
    CHECK_EQUAL(ioctl(userfault, UFFDIO_WAKE, &range), 0);
}

static char *map(const struct file *file, size_t first, size_t count) {
    void *memory = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file->descriptor,
                        (off_t)(first * PAGE));
    CHECK(memory != MAP_FAILED);
    return memory;
}

static void mappings_of_an_armed_file_fault_to_the_service(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct file file = make_file();
    struct file other = make_file();
    char *memory = map(&file, 2, 4);
    char *elsewhere = map(&other, 0, PAGES);
    service_ask(&service, XM_CODE_ARM, file.device, file.inode, XM_BYTES_ARM, XM_CODE_FAILURE);
    CHECK_EQUAL(service_failure(&service), EACCES);
    CHECK_EQUAL(*(volatile char *)memory, 0);
    CHECK_EQUAL(fallocate(file.descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BYTES),
                0);
    offer(agent, memory, 4);
    int userfault = arm(&file, -1);
    size_t count;
    const struct xm_row_mapping *row = rows(&count);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(row->address, (uintptr_t)memory);
    CHECK_EQUAL(row->length, 4 * PAGE);
    CHECK_EQUAL(row->file_offset, 2 * PAGE);
    CHECK_EQUAL(row->flags, 0);
    CHECK_EQUAL(*(volatile char *)elsewhere, 0);
    pthread_t loader = start_thread(load_byte, memory + PAGE);
    await_fault(userfault, memory + PAGE, false);
    put_byte(&file, 3, 42);
    wake(userfault, memory + PAGE);
    CHECK_EQUAL(joined(loader), 42);
    service_ask(&service, XM_CODE_DISARM, file.device, file.inode, XM_BYTES_DISARM, XM_CODE_DONE);
    CHECK_EQUAL(*(volatile char *)memory, 0);
    service_ask(&service, XM_CODE_DISARM, file.device, file.inode, XM_BYTES_DISARM,
                XM_CODE_FAILURE);
    close(userfault);
    munmap(memory, 4 * PAGE);
    munmap(elsewhere, BYTES);
    close(file.descriptor);
    close(other.descriptor);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* A service in a process of its own, which has one file armed and then waits for its end. */
static pid_t start_service(const struct file *file, const struct file *aside, int ready,
                           int offered) {
    char byte;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child != 0)
        return child;
    /* Whoever listens is the process at the other end of a connection. */
    close(service.listener);
    unlink(service.path);
    service.listener = xm_seqpacket_listen(service.path, 4);
    CHECK(service.listener >= 0);
    CHECK_EQUAL(write(ready, "", 1), 1);
    service_accept_of(&service, getppid());
    service_welcome(&service);
    CHECK_EQUAL(read(offered, &byte, 1), 1);
    int userfault = arm(file, aside->descriptor);
    CHECK_EQUAL(write(ready, "", 1), 1);
    for (;;)
        await_readable(userfault);
}

/* The next service is told what was put back, and the one after that is not. */
static void check_put_back(const char *memory) {
    close(service.listener);
    unlink(service.path);
    service.listener = xm_seqpacket_listen(service.path, 4);
    CHECK(service.listener >= 0);
    service_accept(&service);
    service_welcome(&service);
    service_receive(&service);
    CHECK_EQUAL(service.message.header.code, XM_CODE_PUT_BACK);
    const struct xm_row_range *row = (const void *)(service.message.bytes + XM_BYTES_PUT_BACK);
    CHECK_EQUAL(service.length, XM_BYTES_PUT_BACK + 2 * XM_ROW_BYTES_RANGE);
    CHECK_EQUAL(row[0].address, (uintptr_t)memory);
    CHECK_EQUAL(row[0].length, PAGE);
    CHECK_EQUAL(row[1].address, (uintptr_t)memory + 3 * PAGE);
    CHECK_EQUAL(row[1].length, 2 * PAGE);
    service_hang_up(&service);
    service_accept(&service);
    service_welcome(&service);
    service_ask(&service, XM_CODE_REPORT, 0, 0, XM_BYTES_REPORT, XM_CODE_HOLDINGS);
}

static void pages_that_are_given_away_come_back_when_the_service_ends(void) {
    struct file file = make_file();
    struct file aside = make_file();
    char *memory = map(&file, 0, PAGES);
    int ends[2];
    char byte;
    /* Pages 0 and 3 are given away; page 4 just came back, and what is aside of it is old. */
    put_byte(&aside, 0, 30);
    put_byte(&aside, 3, 33);
    put_byte(&aside, 4, 44);
    put_byte(&file, 4, 45);
    int back[2];
    CHECK_EQUAL(pipe(ends), 0);
    CHECK_EQUAL(pipe(back), 0);
    service_start(&service);
    pid_t child = start_service(&file, &aside, ends[1], back[0]);
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    struct xm_agent *agent = open_agent(&service, &listener);
    offer(agent, memory, PAGES);
    CHECK_EQUAL(write(back[1], "", 1), 1);
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    pthread_t given = start_thread(load_byte, memory + 3 * PAGE);
    pthread_t untouched = start_thread(load_byte, memory + 7 * PAGE);
    kill(child, SIGKILL);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
    CHECK_EQUAL(joined(given), 33);
    CHECK_EQUAL(joined(untouched), 0);
    CHECK_EQUAL(memory[0], 30);
    CHECK_EQUAL(memory[4 * PAGE], 45);
    check_put_back(memory);
    close(ends[0]);
    close(ends[1]);
    close(back[0]);
    close(back[1]);
    munmap(memory, BYTES);
    close(file.descriptor);
    close(aside.descriptor);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static void pages_stay_away_when_only_the_connection_ends(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct file file = make_file();
    struct file aside = make_file();
    char *memory = map(&file, 0, PAGES);
    put_byte(&aside, 3, 33);
    offer(agent, memory, PAGES);
    int userfault = arm(&file, aside.descriptor);
    pthread_t loader = start_thread(load_byte, memory + 3 * PAGE);
    await_fault(userfault, memory + 3 * PAGE, false);
    close(userfault);
    service_hang_up(&service);
    /* The agent comes back, and the page still waits for who has it. */
    service_accept(&service);
    service_welcome(&service);
    userfault = arm(&file, aside.descriptor);
    put_byte(&file, 3, 34);
    wake(userfault, memory + 3 * PAGE);
    CHECK_EQUAL(joined(loader), 34);
    close(userfault);
    munmap(memory, BYTES);
    close(file.descriptor);
    close(aside.descriptor);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static void an_agent_that_is_closed_puts_no_page_back(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct file file = make_file();
    struct file aside = make_file();
    char *memory = map(&file, 0, PAGES);
    struct stat status;
    put_byte(&aside, 3, 33);
    offer(agent, memory, PAGES);
    int userfault = arm(&file, aside.descriptor);
    xm_agent_close(agent, &listener.listener);
    CHECK_EQUAL(fstat(file.descriptor, &status), 0);
    CHECK_EQUAL(status.st_blocks, 0);
    close(userfault);
    munmap(memory, BYTES);
    close(file.descriptor);
    close(aside.descriptor);
    service_stop(&service);
}

/* Attaches all of a file. */
static struct xm_attachment *attach(struct xm_agent *agent, uint64_t apid, int file, bool copy,
                                    bool writable) {
    struct xm_grant_facts facts = {
        .apid = apid, .segid = 40, .length = BYTES, .writable = writable, .stable = true};
    struct xm_row_extent row = {0, BYTES, 0, 0, copy ? XM_EXTENT_FLAG_COPY : 0};
    int descriptor = writable || copy ? dup(file) : xm_reopen_read_only(file);
    struct xm_attach_request request = {
        .agent = agent, .apid = apid, .length = BYTES, .owner = &owner, .style = XM_REVOKED_ZERO};
    struct xm_attachment *attachment;
    CHECK_EQUAL(xm_grant_open(agent, &facts), 0);
    CHECK_EQUAL(xm_grant_extents(agent, apid, &row, 1, &descriptor, 1), 0);
    int error = xm_attach(&request, &attachment);
    return error == 0 ? attachment : NULL;
}

static void end(struct xm_agent *agent, struct xm_attachment *attachment) {
    xm_attachment_unmap(attachment);
    xm_attachment_free(attachment);
    CHECK(xm_owner_note(&owner) == NULL);
    (void)agent;
}

static void what_is_attached_of_an_armed_file_is_registered_and_told(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct file file = make_file();
    xm_owner_open(&owner, ignore_note);
    int userfault = arm(&file, -1);
    struct xm_attachment *attachment = attach(agent, 4, file.descriptor, false, true);
    CHECK(attachment != NULL);
    struct xm_row_mapping told[2];
    size_t at = 0;
    CHECK_EQUAL(xm_attachment_paged(attachment->span.address, &at, told, 2), 1);
    CHECK_EQUAL(told[0].address, attachment->span.address);
    CHECK_EQUAL(told[0].length, BYTES);
    CHECK_EQUAL(told[0].inode, file.inode);
    CHECK_EQUAL(xm_attachment_paged(attachment->span.address, &at, told, 2), 0);
    char *memory = (char *)(uintptr_t)attachment->span.address;
    pthread_t loader = start_thread(load_byte, memory);
    await_fault(userfault, memory, false);
    put_byte(&file, 0, 7);
    wake(userfault, memory);
    CHECK_EQUAL(joined(loader), 7);
    /* The kernel registers nothing that is mapped with a read-only descriptor. */
    CHECK(attach(agent, 5, file.descriptor, false, false) == NULL);
    end(agent, attachment);
    close(userfault);
    close(file.descriptor);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static void copies_are_revoked_when_the_service_ends(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct file file = make_file();
    xm_owner_open(&owner, ignore_note);
    int userfault = arm(&file, -1);
    struct xm_attachment *attachment = attach(agent, 4, file.descriptor, true, false);
    CHECK(attachment != NULL);
    char *memory = (char *)(uintptr_t)attachment->span.address;
    pthread_t loader = start_thread(load_byte, memory);
    await_readable(userfault);
    close(userfault);
    service_hang_up(&service);
    CHECK_EQUAL(joined(loader), 0);
    const struct xm_attachment *noted;
    WAIT_UNTIL((noted = xm_owner_note(&owner)) != NULL);
    CHECK(noted == attachment);
    CHECK_EQUAL(attachment->reason, XM_REASON_PARTITION);
    end(agent, attachment);
    close(file.descriptor);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* The service's answer to the move of a copy into place, which waits until it is read. */
static void *read_move(void *argument) {
    struct uffd_msg event;
    int userfault = *(int *)argument;
    await_readable(userfault);
    CHECK_EQUAL(read(userfault, &event, sizeof event), sizeof event);
    CHECK_EQUAL(event.event, UFFD_EVENT_REMAP);
    return (void *)(uintptr_t)event.arg.remap.to;
}

static void read_only_attachments_show_a_copy(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct file file = make_file();
    struct file copy = make_file();
    xm_owner_open(&owner, ignore_note);
    put_byte(&file, 0, 1);
    struct xm_attachment *attachment = attach(agent, 4, file.descriptor, false, false);
    CHECK(attachment != NULL);
    char *memory = (char *)(uintptr_t)attachment->span.address;
    CHECK_EQUAL(memory[0], 1);
    int userfault = arm(&file, -1);
    size_t count;
    const struct xm_row_mapping *row = rows(&count);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(row->flags, XM_MAPPING_FLAG_READONLY);
    pthread_t reader = start_thread(read_move, &userfault);
    service_ask_with(&service, XM_CODE_COPY, file.device, file.inode, copy.descriptor,
                     XM_CODE_ARMED);
    service_close_descriptors(&service);
    CHECK_EQUAL(joined(reader), attachment->span.address);
    row = rows(&count);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(row->address, attachment->span.address);
    CHECK_EQUAL(row->inode, copy.inode);
    pthread_t loader = start_thread(load_byte, memory);
    await_fault(userfault, memory, false);
    put_byte(&copy, 0, 2);
    wake(userfault, memory);
    CHECK_EQUAL(joined(loader), 2);
    /* A revocation finds what is mapped now. */
    service_ask(&service, XM_CODE_REVOKE, 40, XM_REASON_REMOVED, XM_BYTES_REVOKE, XM_CODE_DONE);
    CHECK_EQUAL(memory[0], 0);
    CHECK(xm_owner_note(&owner) == attachment);
    end(agent, attachment);
    close(userfault);
    close(file.descriptor);
    close(copy.descriptor);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static void a_revocation_wakes_who_waits_for_a_page(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct file file = make_file();
    xm_owner_open(&owner, ignore_note);
    int userfault = arm(&file, -1);
    struct xm_attachment *attachment = attach(agent, 4, file.descriptor, true, true);
    CHECK(attachment != NULL);
    char *memory = (char *)(uintptr_t)attachment->span.address;
    pthread_t loader = start_thread(load_byte, memory);
    await_fault(userfault, memory, false);
    service_ask(&service, XM_CODE_REVOKE, 40, XM_REASON_REMOVED, XM_BYTES_REVOKE, XM_CODE_DONE);
    CHECK_EQUAL(joined(loader), 0);
    CHECK(xm_owner_note(&owner) == attachment);
    end(agent, attachment);
    close(userfault);
    close(file.descriptor);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

static void a_revocation_wakes_who_waits_in_what_was_armed_after_it_was_attached(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct file file = make_file();
    xm_owner_open(&owner, ignore_note);
    struct xm_attachment *attachment = attach(agent, 4, file.descriptor, false, true);
    CHECK(attachment != NULL);
    int userfault = arm(&file, -1);
    char *memory = (char *)(uintptr_t)attachment->span.address;
    pthread_t loader = start_thread(load_byte, memory);
    await_fault(userfault, memory, false);
    service_ask(&service, XM_CODE_REVOKE, 40, XM_REASON_REMOVED, XM_BYTES_REVOKE, XM_CODE_DONE);
    CHECK_EQUAL(joined(loader), 0);
    CHECK(xm_owner_note(&owner) == attachment);
    end(agent, attachment);
    close(userfault);
    close(file.descriptor);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

/* The child has a copy of the userfaultfd. */
static void a_child_keeps_no_file_armed(void) {
    struct xm_agent *agent = connect_agent(&service, &listener);
    struct file file = make_file();
    char *memory = map(&file, 0, PAGES);
    offer(agent, memory, PAGES);
    int userfault = arm(&file, -1);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        pause();
        _exit(0);
    }
    pthread_t loader = start_thread(load_byte, memory + PAGE);
    await_readable(userfault);
    service_ask(&service, XM_CODE_DISARM, file.device, file.inode, XM_BYTES_DISARM, XM_CODE_DONE);
    CHECK_EQUAL(joined(loader), 0);
    kill(child, SIGKILL);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
    close(userfault);
    munmap(memory, BYTES);
    close(file.descriptor);
    xm_agent_close(agent, &listener.listener);
    service_stop(&service);
}

int main(void) {
    start_watchdog();
    RUN(mappings_of_an_armed_file_fault_to_the_service);
    RUN(pages_that_are_given_away_come_back_when_the_service_ends);
    RUN(pages_stay_away_when_only_the_connection_ends);
    RUN(an_agent_that_is_closed_puts_no_page_back);
    RUN(what_is_attached_of_an_armed_file_is_registered_and_told);
    RUN(copies_are_revoked_when_the_service_ends);
    RUN(read_only_attachments_show_a_copy);
    RUN(a_revocation_wakes_who_waits_for_a_page);
    RUN(a_revocation_wakes_who_waits_in_what_was_armed_after_it_was_attached);
    RUN(a_child_keeps_no_file_armed);
    return 0;
}
