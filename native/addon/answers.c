#include "answers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "values.h"

void xm_answer_done(struct xm_answer *answer) {
    free(answer->rows);
}

void xm_answer_drop(struct xm_answer *answer) {
    for (size_t i = 0; i < answer->descriptor_count; i++)
        close(answer->descriptors[i]);
    xm_answer_done(answer);
}

static bool get_rows(napi_env env, napi_value value, struct xm_answer *answer) {
    uint8_t *bytes;
    size_t length;
    if (!xm_get_bytes(env, value, "rows", &bytes, &length))
        return false;
    if (length % XM_ROW_BYTES_EXTENT != 0)
        return xm_misuse(env, "rows must be whole");
    /* A view may begin anywhere. */
    answer->rows = malloc(length + 1);
    if (answer->rows == NULL) {
        xm_throw(env, ENOMEM, "attach");
        return false;
    }
    memcpy(answer->rows, bytes, length);
    answer->row_count = length / XM_ROW_BYTES_EXTENT;
    return true;
}

bool xm_get_answer(napi_env env, napi_value value, struct xm_answer *answer) {
    napi_value rows;
    napi_value descriptors;
    *answer = (struct xm_answer){.rows = NULL};
    if (!xm_ok(env, napi_get_named_property(env, value, "descriptors", &descriptors)) ||
        !xm_get_descriptors(env, descriptors, answer->descriptors, &answer->descriptor_count))
        return false;
    if (xm_ok(env, napi_get_named_property(env, value, "rows", &rows)) &&
        get_rows(env, rows, answer))
        return true;
    xm_answer_drop(answer);
    return false;
}

napi_value xm_throw_extents(napi_env env, int error, const char *call) {
    if (error == -EPROTO)
        return xm_throw_text(env, error, call,
                             "the service sent extents or descriptors that do not fit the segment");
    return xm_throw(env, error, call);
}

/* The answers from one on. */
static void drop_from(napi_env env, napi_value answers, uint32_t first) {
    uint32_t count = 0;
    napi_value value;
    struct xm_answer answer;
    (void)napi_get_array_length(env, answers, &count);
    for (uint32_t i = first; i < count; i++) {
        if (napi_get_element(env, answers, i, &value) == napi_ok &&
            xm_get_answer(env, value, &answer))
            xm_answer_drop(&answer);
    }
}

void xm_drop_answers(napi_env env, napi_value answers) {
    drop_from(env, answers, 0);
}

bool xm_get_extents(napi_env env, napi_value answers, uint64_t length, bool writable,
                    struct xm_extents *extents) {
    uint32_t count;
    *extents = (struct xm_extents){0};
    if (!xm_ok(env, napi_get_array_length(env, answers, &count)))
        return false;
    bool added = true;
    for (uint32_t i = 0; added && i < count; i++) {
        napi_value value;
        struct xm_answer answer;
        added = xm_ok(env, napi_get_element(env, answers, i, &value)) &&
                xm_get_answer(env, value, &answer);
        if (!added)
            break;
        int error = xm_extents_add(extents, length, writable ? XM_EXTENTS_WRITABLE : 0, answer.rows,
                                   answer.row_count, answer.descriptors, answer.descriptor_count);
        xm_answer_done(&answer);
        added = error == 0;
        if (!added) {
            drop_from(env, answers, i + 1);
            xm_throw_extents(env, error, "attach");
        }
    }
    if (!added)
        xm_extents_clear(extents);
    return added;
}
