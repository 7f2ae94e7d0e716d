/* What a service may send over a control connection. */

#ifndef XM_MESSAGES_H
#define XM_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>

/* Whether it is just one such message. */
bool xm_message_valid(const void *message, size_t length);
/* The errno of a failure, negative. */
int xm_failure_error(const void *failure);
/* Copies its text, cut to fit and ended by a zero. */
void xm_failure_text(const void *failure, size_t length, char *into, size_t capacity);
/* Says which memory of a segment went back, for people: the interface has no word for it. */
void xm_rolled_back_report(const void *message, size_t length);

#endif
