/* Answers to attach requests as JavaScript hands them on: rows of extents and descriptors. */

#ifndef XM_ANSWERS_H
#define XM_ANSWERS_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>

#include "../core/extents.h"

struct xm_answer {
    /* A copy, to be freed. */
    struct xm_row_extent *rows;
    size_t row_count;
    int descriptors[XM_MAX_DESCRIPTORS];
    size_t descriptor_count;
};

/*
 * Reads `{ rows: Uint8Array, descriptors: number[] }`. False: an exception is pending, and the
 * descriptors are closed if they could be read.
 */
bool xm_get_answer(napi_env env, napi_value value, struct xm_answer *answer);
/* Frees the rows; somebody else has the descriptors. */
void xm_answer_done(struct xm_answer *answer);
/* Frees the rows and closes the descriptors. */
void xm_answer_drop(struct xm_answer *answer);

/* Collects an array of answers for a segment of `length` bytes. False: an exception is pending. */
bool xm_get_extents(napi_env env, napi_value answers, uint64_t length, bool writable,
                    struct xm_extents *extents);
/* Closes the descriptors of an array of answers. */
void xm_drop_answers(napi_env env, napi_value answers);
/* Throws what adding extents failed with. NULL. */
napi_value xm_throw_extents(napi_env env, int error, const char *call);

#endif
