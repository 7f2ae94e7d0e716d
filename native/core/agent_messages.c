#include "agent_parts.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "copies.h"
#include "lock.h"
#include "table.h"
#include "userfault.h"

static int send_done(struct xm_agent *agent, uint32_t request) {
    struct xm_msg_done done = {{XM_CODE_DONE, 0, request}};
    return xm_agent_send(agent, &done, XM_BYTES_DONE, NULL, 0);
}

/* `error` is negative; `text` NULL: what the number says. */
static int send_failure(struct xm_agent *agent, uint32_t request, int error, const char *text) {
    struct {
        struct xm_msg_failure message;
        char text[512];
    } failure = {{{XM_CODE_FAILURE, 0, request}, (uint32_t)-error, 0}, ""};
    const char *said = text != NULL ? text : strerror(-error);
    size_t length = strnlen(said, sizeof failure.text);
    memcpy(failure.text, said, length);
    return xm_agent_send(agent, &failure, XM_BYTES_FAILURE + length, NULL, 0);
}

static int send_result(struct xm_agent *agent, uint32_t request, int error) {
    return error == 0 ? send_done(agent, request) : send_failure(agent, request, error, NULL);
}

/* Sends the rows of a share and a read-write and a read-only descriptor of each memfd. */
static int send_extents(struct xm_agent *agent, uint32_t request, const struct xm_share *share) {
    int descriptors[XM_SURVEY_FILES * 2];
    int error = 0;
    size_t opened = 0;
    for (; error == 0 && opened < share->survey.file_count; opened++) {
        int descriptor = share->survey.files[opened]->descriptor;
        descriptors[opened * 2] = descriptor;
        descriptors[opened * 2 + 1] = xm_reopen_read_only(descriptor);
        error = descriptors[opened * 2 + 1] < 0 ? descriptors[opened * 2 + 1] : 0;
    }
    if (error != 0) {
        opened--;
        error = send_failure(agent, request, error, "a memfd cannot be opened again");
    } else {
        struct xm_msg_extents message = {{XM_CODE_EXTENTS, 0, request}};
        size_t bytes = share->row_count * XM_ROW_BYTES_EXTENT;
        memcpy(agent->arena->sent, &message, XM_BYTES_EXTENTS);
        memcpy(agent->arena->sent + XM_BYTES_EXTENTS, share->rows, bytes);
        error = xm_agent_send(agent, agent->arena->sent, XM_BYTES_EXTENTS + bytes, descriptors,
                              opened * 2);
    }
    for (size_t i = 0; i < opened; i++)
        close(descriptors[i * 2 + 1]);
    return error;
}

static int no_offer(struct xm_agent *agent, uint32_t request) {
    return send_failure(agent, request, -EACCES, "the range is not offered by this process");
}

/* The work space, made ready. */
static struct xm_share *prepare(struct xm_agent *agent) {
    struct xm_share *share = &agent->arena->share;
    struct xm_userfault_ability ability;
    xm_userfault_query(&ability);
    share->survey.own[0] = (struct xm_span){(uintptr_t)agent->arena, sizeof *agent->arena};
    share->survey.patient = ability.mode == XM_USERFAULT_FULL;
    share->features = ability.features;
    return share;
}

static int serve_share(struct xm_agent *agent, const void *argument) {
    const struct xm_msg_share *message = argument;
    uint32_t request = message->header.request;
    if (!xm_range_valid(message->address, message->length))
        return send_failure(agent, request, -EINVAL, NULL);
    struct xm_offer *offer = xm_offer_begin(&agent->offers, message->address, message->length);
    if (offer == NULL)
        return no_offer(agent, request);
    struct xm_share *share = prepare(agent);
    struct xm_share_request wanted = {.address = message->address,
                                      .length = message->length,
                                      .most = message->most,
                                      .holes = (message->flags & XM_SHARE_FLAG_HOLES) != 0,
                                      .more = (message->flags & XM_SHARE_FLAG_MORE) != 0};
    int error = xm_share(share, offer, &wanted);
    xm_offer_end(offer);
    error = error == 0 ? send_extents(agent, request, share)
                       : send_failure(agent, request, error, share->survey.text);
    xm_share_end(share);
    return error;
}

static int serve_move(struct xm_agent *agent, const void *argument) {
    const struct xm_msg_move *message = argument;
    uint32_t request = message->header.request;
    if (!xm_range_valid(message->address, message->length))
        return send_failure(agent, request, -EINVAL, NULL);
    struct xm_offer *offer = xm_offer_begin(&agent->offers, message->address, message->length);
    if (offer == NULL)
        return no_offer(agent, request);
    struct xm_share *share = prepare(agent);
    int error = xm_move(share, message->address, message->length);
    xm_offer_end(offer);
    error = error == 0 ? send_done(agent, request)
                       : send_failure(agent, request, error, share->survey.text);
    xm_share_end(share);
    return error;
}

static int serve_revoke(struct xm_agent *agent, const void *argument) {
    const struct xm_msg_revoke *message = argument;
    if (message->reason < XM_REASON_REMOVED || message->reason > XM_REASON_PARTITION)
        return -EPROTO;
    return send_result(agent, message->header.request,
                       xm_revoke(agent, message->segid, message->reason));
}

/* What is registered of a file, as the agent tells it. */
struct mapped_answer {
    struct xm_msg_armed message;
    struct xm_row_mapping rows[(XM_MAX_MESSAGE_BYTES - XM_BYTES_ARMED) / XM_ROW_BYTES_MAPPING];
};
#define MOST_MAPPED                                                                                \
    (sizeof((struct mapped_answer *)0)->rows / sizeof *((struct mapped_answer *)0)->rows)

static struct mapped_answer *begin_mapped(struct xm_agent *agent, uint32_t request) {
    struct mapped_answer *answer = (void *)agent->arena->sent;
    answer->message = (struct xm_msg_armed){{XM_CODE_ARMED, 0, request}};
    return answer;
}

static int send_mapped(struct xm_agent *agent, uint32_t request, ssize_t count) {
    if (count < 0)
        return send_failure(agent, request, (int)count, NULL);
    return xm_agent_send(agent, agent->arena->sent,
                         XM_BYTES_ARMED + (size_t)count * XM_ROW_BYTES_MAPPING,
                         &agent->pager.userfault, 1);
}

/* The descriptor that came with a message, or -1; the caller's now. */
static int take_descriptor(struct xm_agent *agent) {
    return agent->descriptor_count == 0 ? -1 : agent->descriptors[--agent->descriptor_count];
}

static int serve_arm(struct xm_agent *agent, const void *argument) {
    const struct xm_msg_arm *message = argument;
    uint32_t request = message->header.request;
    struct mapped_answer *answer = begin_mapped(agent, request);
    xm_lock();
    ssize_t count = xm_pager_arm(&agent->pager, (dev_t)message->device, (ino_t)message->inode,
                                 take_descriptor(agent), answer->rows, MOST_MAPPED);
    xm_unlock();
    return send_mapped(agent, request, count);
}

static int serve_copy(struct xm_agent *agent, const void *argument) {
    const struct xm_msg_copy *message = argument;
    uint32_t request = message->header.request;
    struct mapped_answer *answer = begin_mapped(agent, request);
    int copy = take_descriptor(agent);
    if (copy < 0)
        return -EPROTO;
    xm_lock();
    ssize_t count = xm_copies_show(&agent->pager, (dev_t)message->device, (ino_t)message->inode,
                                   copy, answer->rows, MOST_MAPPED);
    xm_unlock();
    close(copy);
    return send_mapped(agent, request, count);
}

static int serve_disarm(struct xm_agent *agent, const void *argument) {
    const struct xm_msg_disarm *message = argument;
    xm_lock();
    int error = xm_pager_disarm(&agent->pager, (dev_t)message->device, (ino_t)message->inode);
    xm_unlock();
    return send_result(agent, message->header.request, error);
}

static int serve_report(struct xm_agent *agent, const void *argument) {
    const struct xm_msg_report *message = argument;
    struct {
        struct xm_msg_holdings message;
        struct xm_row_holding
            rows[(XM_MAX_MESSAGE_BYTES - XM_BYTES_HOLDINGS) / XM_ROW_BYTES_HOLDING];
    } *holdings = (void *)agent->arena->sent;
    holdings->message = (struct xm_msg_holdings){{XM_CODE_HOLDINGS, 0, message->header.request}};
    size_t count =
        xm_holdings(agent, holdings->rows, sizeof holdings->rows / sizeof *holdings->rows);
    return xm_agent_send(agent, holdings, XM_BYTES_HOLDINGS + count * XM_ROW_BYTES_HOLDING, NULL,
                         0);
}

static int serve_trim(struct xm_agent *agent, const void *argument) {
    const struct xm_msg_trim *message = argument;
    struct {
        struct xm_msg_trimmed message;
        struct xm_row_file rows[(XM_MAX_MESSAGE_BYTES - XM_BYTES_TRIMMED) / XM_ROW_BYTES_FILE];
    } *trimmed = (void *)agent->arena->sent;
    trimmed->message = (struct xm_msg_trimmed){{XM_CODE_TRIMMED, 0, message->header.request}};
    xm_offers_settle(&agent->offers);
    ssize_t count = xm_files_trim(trimmed->rows, sizeof trimmed->rows / sizeof *trimmed->rows);
    if (count < 0)
        return send_failure(agent, message->header.request, (int)count, NULL);
    return xm_agent_send(agent, trimmed, XM_BYTES_TRIMMED + (size_t)count * XM_ROW_BYTES_FILE, NULL,
                         0);
}

int xm_agent_serve(struct xm_agent *agent, size_t length) {
    static const struct {
        uint16_t code;
        size_t bytes;
        int (*serve)(struct xm_agent *agent, const void *message);
    } served[] = {
        {XM_CODE_SHARE, XM_BYTES_SHARE, serve_share},
        {XM_CODE_REVOKE, XM_BYTES_REVOKE, serve_revoke},
        {XM_CODE_MOVE, XM_BYTES_MOVE, serve_move},
        {XM_CODE_ARM, XM_BYTES_ARM, serve_arm},
        {XM_CODE_DISARM, XM_BYTES_DISARM, serve_disarm},
        {XM_CODE_COPY, XM_BYTES_COPY, serve_copy},
        {XM_CODE_REPORT, XM_BYTES_REPORT, serve_report},
        {XM_CODE_TRIM, XM_BYTES_TRIM, serve_trim},
    };
    const struct xm_header *header = (const struct xm_header *)agent->arena->received;
    for (size_t i = 0; i < sizeof served / sizeof *served; i++) {
        if (served[i].code == header->code)
            return served[i].bytes == length ? served[i].serve(agent, header) : -EPROTO;
    }
    return -EPROTO;
}
