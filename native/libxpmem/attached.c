#include "attached.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../core/lock.h"
#include "../core/memory.h"
#include "../core/withheld.h"
#include "address_space.h"
#include "debug.h"
#include "environment.h"
#include "permits.h"
#include "registry.h"
#include "session.h"
#include "steps.h"

static void ignore_note(struct xm_owner *owner) {
    (void)owner;
}

static struct xm_owner owner = {
    .attachments = {&owner.attachments, &owner.attachments},
    .notes = {&owner.notes, &owner.notes},
    .program = true,
    .notify = ignore_note,
};

void xm_attached_forget(void) {
    xm_owner_open(&owner, ignore_note);
    owner.program = true;
}

/* A range to attach. */
struct range {
    uint64_t apid;
    uint64_t offset;
    uint64_t length;
    uint64_t address;
    /* Where it lies in this process, if this is its owner. */
    struct xm_span source;
};

struct question {
    struct xm_call call;
    struct xm_msg_attach message;
    /* The answer: rows from malloc, and descriptors for the asker. */
    struct xm_row_extent *rows;
    size_t row_count;
    int descriptors[XM_MAX_DESCRIPTORS];
    size_t count;
};

static int take_extents(struct xm_call *call, const void *answer, size_t length,
                        struct xm_received *beside) {
    struct question *question = XM_MEMBER(call, struct question, call);
    size_t bytes = length - XM_BYTES_EXTENTS;
    question->rows = malloc(bytes + 1);
    if (question->rows == NULL)
        return -ENOMEM;
    memcpy(question->rows, (const char *)answer + XM_BYTES_EXTENTS, bytes);
    question->row_count = bytes / XM_ROW_BYTES_EXTENT;
    memcpy(question->descriptors, beside->descriptors, sizeof question->descriptors);
    question->count = beside->count;
    beside->count = 0;
    return 0;
}

/* Asks where a range lies. */
static int ask(struct question *question, uint64_t apid, uint64_t offset, uint64_t end,
               uint32_t flags) {
    *question = (struct question){.call = {.message = &question->message,
                                           .length = XM_BYTES_ATTACH,
                                           .answer = XM_CODE_EXTENTS,
                                           .take = take_extents},
                                  .message = {.header = {XM_CODE_ATTACH, 0, 0},
                                              .apid = apid,
                                              .offset = offset,
                                              .length = end - offset,
                                              .flags = flags}};
    return xm_session_call(&question->call);
}

static int nonsense(void) {
    return xm_fail(-EPROTO, "the service did not say where the range lies");
}

/* How far the rows tell of memory without a gap, from `offset` on. */
static uint64_t told_until(const struct question *question, uint64_t offset) {
    for (size_t i = 0; i < question->row_count; i++) {
        const struct xm_row_extent *row = &question->rows[i];
        if (row->offset <= offset && row->length > offset - row->offset)
            offset = row->offset + row->length;
    }
    return offset;
}

/* Has the core keep where a range of a stable segment lies. */
static int learn(const struct range *range) {
    uint64_t end = range->offset + range->length;
    int error = 0;
    for (uint64_t at = range->offset; error == 0 && at < end;) {
        struct question question;
        error = ask(&question, range->apid, at, end, 0);
        if (error != 0)
            return error;
        uint64_t next = told_until(&question, at);
        error = xm_grant_extents(xm_session_agent(), range->apid, question.rows, question.row_count,
                                 question.descriptors, question.count);
        free(question.rows);
        if (error == -EPROTO || (error == 0 && next == at))
            return nonsense();
        at = next;
    }
    return error;
}

/* What of a range is in files, and what the first part is that is withheld. */
struct finding {
    bool shared;
    struct xm_row_extent withheld;
};

static uint32_t reason_of(const struct xm_row_extent *row) {
    return row->flags >> XM_WITHHELD_SHIFT;
}

static void note_rows(const struct question *question, struct finding *finding) {
    for (size_t i = 0; i < question->row_count; i++) {
        const struct xm_row_extent *row = &question->rows[i];
        finding->shared = finding->shared || row->descriptor != XM_HOLE;
        if ((row->flags & XM_EXTENT_FLAG_WITHHELD) == 0)
            continue;
        if (finding->withheld.length == 0)
            finding->withheld = *row;
        xm_debug_report("attach", 0, "0x%" PRIx64 " bytes at offset 0x%" PRIx64 " are a hole: %s",
                        row->length, row->offset, xm_withheld_text(reason_of(row)));
    }
}

/* Where some can be shared, what is withheld is a hole. */
static int judge(const struct finding *finding) {
    const struct xm_row_extent *row = &finding->withheld;
    if (finding->shared || row->length == 0)
        return 0;
    return xm_fail(-EFAULT, "0x%" PRIx64 " bytes at offset 0x%" PRIx64 ": %s", row->length,
                   row->offset, xm_withheld_text(reason_of(row)));
}

/* Finds out where a range lies now. `extents` are to be cleared in any case. */
static int look(const struct range *range, const struct xm_grant_facts *facts,
                struct xm_extents *extents) {
    uint64_t end = range->offset + range->length;
    unsigned allowed = XM_EXTENTS_BUS | (facts->writable ? XM_EXTENTS_WRITABLE : 0);
    struct finding finding = {0};
    for (uint64_t at = range->offset; at < end;) {
        struct question question;
        int error = ask(&question, range->apid, at, end, XM_ATTACH_FLAG_BUS);
        if (error != 0)
            return error;
        error = xm_extents_add(extents, facts->length, allowed, question.rows, question.row_count,
                               question.descriptors, question.count);
        if (error == 0)
            note_rows(&question, &finding);
        free(question.rows);
        uint64_t next = xm_extents_gap(extents, range->offset, end);
        if (error == -EPROTO || (error == 0 && next <= at))
            return nonsense();
        if (error != 0)
            return error;
        at = next;
    }
    return judge(&finding);
}

struct announcement {
    struct xm_msg_mapped message;
    struct xm_row_mapping rows[64];
};

/* Has the service answer the faults of a fresh attachment where it must, before anybody uses it. */
static int tell_paged(uint64_t address) {
    struct announcement said;
    size_t at = 0;
    size_t count;
    while ((count = xm_attachment_paged(address, &at, said.rows,
                                        sizeof said.rows / sizeof *said.rows)) > 0) {
        said.message = (struct xm_msg_mapped){{XM_CODE_MAPPED, 0, 0}};
        struct xm_call call = {.message = &said,
                               .length = XM_BYTES_MAPPED + count * XM_ROW_BYTES_MAPPING,
                               .answer = XM_CODE_DONE};
        int error = xm_session_call(&call);
        if (error != 0)
            return error;
    }
    return 0;
}

/* Maps the range; `extents` NULL: as the core has kept it. */
static int map(const struct range *range, const struct xm_extents *extents, void **attached) {
    const char *keep = xm_environment_get("XPMEM_OWNER_EXIT");
    struct xm_attach_request request = {.agent = xm_session_agent(),
                                        .apid = range->apid,
                                        .offset = range->offset,
                                        .length = range->length,
                                        .address = range->address,
                                        .replaces = true,
                                        .source = range->source,
                                        .owner = &owner,
                                        .style = XM_REVOKED_BUS,
                                        .keep_on_owner_exit =
                                            keep != NULL && strcmp(keep, "keep") == 0,
                                        .extents = extents};
    uint64_t address;
    int error = xm_owner_attach(&request, &address);
    if (error == 0 && (error = tell_paged(address)) != 0) {
        (void)xm_owner_detach(&owner, address);
        return error;
    }
    if (error == 0)
        *attached = (void *)(uintptr_t)address;
    if (error == -EINVAL)
        return xm_fail(error, "at the address is an attachment, or the memory itself");
    return error == -ENOENT ? xm_fail(error, "the segment is gone") : error;
}

static int attach_stable(const struct range *range, void **attached) {
    int error = map(range, NULL, attached);
    if (error != -ENODATA)
        return error;
    error = learn(range);
    if (error == 0)
        error = map(range, NULL, attached);
    return error == -ENODATA ? nonsense() : error;
}

static int attach_changing(const struct range *range, const struct xm_grant_facts *facts,
                           void **attached) {
    struct xm_extents extents = {0};
    int error = look(range, facts, &extents);
    if (error == 0)
        error = map(range, &extents, attached);
    xm_extents_clear(&extents);
    return error;
}

/* What can be told without knowing the permit. */
static int check(struct xpmem_addr addr, size_t size, uint64_t address, struct range *range) {
    uint64_t page = xm_page_size();
    uint64_t end = xm_address_space_end();
    if (addr.apid <= 0)
        return xm_fail(-EINVAL, "an apid is positive");
    if (addr.offset < 0 || (uint64_t)addr.offset % page != 0)
        return xm_fail(-EINVAL, "the offset is a multiple of the page size, %zu, and not negative",
                       (size_t)page);
    if (size == 0 || size > end)
        return xm_fail(-EINVAL, "the size is more than 0 bytes and fits the address space");
    uint64_t length = (size + page - 1) / page * page;
    if (address % page != 0 || (address != 0 && address > end - length))
        return xm_fail(-EINVAL, "the address is a multiple of the page size with room above it");
    *range = (struct range){.apid = (uint64_t)addr.apid,
                            .offset = (uint64_t)addr.offset,
                            .length = length,
                            .address = address};
    return 0;
}

/* The memory of a range of a segment, if this process made that. */
static struct xm_span source_of(uint64_t segid, const struct range *range) {
    xm_session_lock();
    const struct xm_own_segment *own =
        (const struct xm_own_segment *)xm_registry_after(&xm_own_segments, segid - 1);
    struct xm_span source = {0, 0};
    if (own != NULL && own->entry.id == segid)
        source = (struct xm_span){own->address + range->offset, range->length};
    xm_session_unlock();
    return source;
}

int xm_do_attach(struct xpmem_addr addr, size_t size, void *vaddr, void **attached) {
    struct xm_grant_facts facts;
    struct range range;
    int error = check(addr, size, (uintptr_t)vaddr, &range);
    if (error == 0)
        error = xm_permit_facts(addr.apid, &facts);
    if (error != 0)
        return error;
    if (range.length > facts.length || range.offset > facts.length - range.length)
        return xm_fail(-EINVAL, "the range ends after the segment's %llu bytes",
                       (unsigned long long)facts.length);
    range.source = source_of(facts.segid, &range);
    return facts.stable ? attach_stable(&range, attached)
                        : attach_changing(&range, &facts, attached);
}

void xm_attached_release(uint64_t apid) {
    const struct xm_agent *agent = xm_session_agent();
    /* This first: it takes away, too, what the program has moved elsewhere. */
    xm_grant_close(agent, apid);
    xm_owner_detach_all(&owner, agent, apid);
}

/* Nothing mapped at an address: 0; memory that is no attachment: -EINVAL. */
static int detach_other(uintptr_t address) {
    uintptr_t page = xm_page_size();
    unsigned char resident;
    /* While memory is being moved the kernel may not be able to write to `resident`. */
    xm_lock_conversion();
    bool nothing =
        mincore((void *)(address - address % page), page, &resident) != 0 && errno == ENOMEM;
    xm_unlock_conversion();
    return nothing ? 0 : xm_fail(-EINVAL, "this memory is no attachment");
}

int xm_do_detach(void *vaddr) {
    uintptr_t address = (uintptr_t)vaddr;
    int error = xm_owner_detach(&owner, address);
    if (error == -ENOENT)
        return detach_other(address);
    return error == 0 ? 0 : xm_fail(error, "this process's mappings cannot be looked at");
}
