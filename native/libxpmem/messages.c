#include "messages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "../core/protocol.h"
#include "debug.h"

/* Errno values end before this. */
#define ERRNO_END 4096

bool xm_message_valid(const void *message, size_t length) {
    static const struct {
        uint16_t code;
        uint16_t bytes;
        /* Of what its tail consists; 0: there is none. */
        uint16_t row_bytes;
    } known[] = {
        {XM_CODE_WELCOME, XM_BYTES_WELCOME, 1},
        {XM_CODE_FAILURE, XM_BYTES_FAILURE, 1},
        {XM_CODE_DONE, XM_BYTES_DONE, 0},
        {XM_CODE_EXTENTS, XM_BYTES_EXTENTS, XM_ROW_BYTES_EXTENT},
        {XM_CODE_MADE, XM_BYTES_MADE, 0},
        {XM_CODE_GOT, XM_BYTES_GOT, 0},
        {XM_CODE_ROLLED_BACK, XM_BYTES_ROLLED_BACK, XM_ROW_BYTES_ROLLBACK},
    };
    const struct xm_header *header = message;
    if (length < sizeof *header)
        return false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].code != header->code)
            continue;
        size_t tail = length - known[i].bytes;
        if (length < known[i].bytes)
            return false;
        return known[i].row_bytes == 0 ? tail == 0 : tail % known[i].row_bytes == 0;
    }
    return false;
}

int xm_failure_error(const void *failure) {
    uint32_t number;
    memcpy(&number, (const char *)failure + sizeof(struct xm_header), sizeof number);
    return number > 0 && number < ERRNO_END ? -(int)number : -EPROTO;
}

void xm_failure_text(const void *failure, size_t length, char *into, size_t capacity) {
    size_t bytes = length - XM_BYTES_FAILURE;
    bytes = bytes < capacity - 1 ? bytes : capacity - 1;
    memcpy(into, (const char *)failure + XM_BYTES_FAILURE, bytes);
    into[bytes] = '\0';
}

void xm_rolled_back_report(const void *message, size_t length) {
    struct xm_row_rollback row;
    uint64_t segid;
    memcpy(&segid, (const char *)message + offsetof(struct xm_msg_rolled_back, segid),
           sizeof segid);
    for (size_t at = XM_BYTES_ROLLED_BACK; at < length; at += XM_ROW_BYTES_ROLLBACK) {
        memcpy(&row, (const char *)message + at, sizeof row);
        xm_debug_report("rolled back", 0,
                        "%" PRIu64 " bytes at %" PRIu64 " of segment 0x%016" PRIx64
                        " have an earlier content again: the partition that wrote them is lost",
                        row.length, row.offset, segid);
    }
}
