#include "actor.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t answers = PTHREAD_MUTEX_INITIALIZER;

static int digit(char character) {
    static const char digits[] = "0123456789abcdef";
    const char *found = character == '\0' ? NULL : strchr(digits, character);
    return found == NULL ? -1 : (int)(found - digits);
}

static void percent_decode(char *token) {
    char *to = token;
    for (const char *from = token; *from != '\0'; from += 1) {
        if (*from == '%' && digit(from[1]) >= 0 && digit(from[2]) >= 0) {
            *to++ = (char)(digit(from[1]) * 16 + digit(from[2]));
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

struct request *parse_request(const char *line, size_t length) {
    struct request *request = calloc(1, sizeof *request);
    if (request == NULL || (request->line = strndup(line, length)) == NULL)
        die("malloc");
    char *rest = NULL;
    request->id = strtok_r(request->line, " ", &rest);
    request->name = strtok_r(NULL, " ", &rest);
    if (request->id == NULL || request->name == NULL)
        die("a request without a name");
    char *token;
    while ((token = strtok_r(NULL, " ", &rest)) != NULL) {
        if (request->count == MAX_ARGUMENTS)
            die("too many arguments");
        percent_decode(token);
        request->arguments[request->count++] = token;
    }
    return request;
}

void free_request(struct request *request) {
    free(request->line);
    free(request);
}

const char *text(const struct request *request, size_t index) {
    if (index >= request->count)
        die("an argument is missing");
    return request->arguments[index];
}

static uint64_t parse_number(const char *token) {
    char *end;
    errno = 0;
    uint64_t value =
        token[0] == '-' ? (uint64_t)strtoll(token, &end, 10) : strtoull(token, &end, 10);
    if (errno != 0 || end == token || *end != '\0')
        die(token);
    return value;
}

uint64_t number(const struct request *request, size_t index) {
    return parse_number(text(request, index));
}

uint8_t *bytes(const struct request *request, size_t index, size_t *length) {
    const char *token = text(request, index);
    *length = strlen(token) / 2;
    uint8_t *decoded = malloc(*length + 1);
    if (decoded == NULL)
        die("malloc");
    for (size_t at = 0; at < *length; at += 1)
        decoded[at] = (uint8_t)(digit(token[2 * at]) * 16 + digit(token[2 * at + 1]));
    return decoded;
}

const char *text_option(const struct request *request, const char *key) {
    size_t length = strlen(key);
    for (size_t index = 0; index < request->count; index += 1) {
        const char *token = request->arguments[index];
        if (strncmp(token, key, length) == 0 && token[length] == '=')
            return token + length + 1;
    }
    return NULL;
}

uint64_t option(const struct request *request, const char *key, uint64_t otherwise) {
    const char *value = text_option(request, key);
    return value == NULL ? otherwise : parse_number(value);
}

static void write_all(const char *line, size_t length) {
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, line, length);
        if (written < 0 && errno != EINTR)
            die("the test does not read");
        if (written > 0) {
            line += written;
            length -= (size_t)written;
        }
    }
}

/* Writes a line whole, whichever threads write at the same time. */
static void put_line(const char *line) {
    pthread_mutex_lock(&answers);
    write_all(line, strlen(line));
    write_all("\n", 1);
    pthread_mutex_unlock(&answers);
}

static void put_answer(const struct request *request, const char *word, const char *rest) {
    char *line;
    if (asprintf(&line, "%s %s %s", request->id, word, rest) < 0)
        die("asprintf");
    put_line(line);
    free(line);
}

void answer(const struct request *request, const char *format, ...) {
    char *rest;
    va_list values;
    va_start(values, format);
    if (vasprintf(&rest, format, values) < 0)
        die("vasprintf");
    va_end(values);
    put_answer(request, "ok", rest);
    free(rest);
}

void answer_bytes(const struct request *request, const uint8_t *bytes, size_t length) {
    char *rest = malloc(2 * length + 3);
    if (rest == NULL)
        die("malloc");
    memcpy(rest, "x:", 3);
    for (size_t at = 0; at < length; at += 1)
        snprintf(rest + 2 + 2 * at, 3, "%02x", bytes[at]);
    put_answer(request, "ok", rest);
    free(rest);
}

void fail(const struct request *request, const char *code, const char *format, ...) {
    char *said;
    char *rest;
    va_list values;
    va_start(values, format);
    if (vasprintf(&said, format, values) < 0 || asprintf(&rest, "%s %s", code, said) < 0)
        die("vasprintf");
    va_end(values);
    put_answer(request, "error", rest);
    free(said);
    free(rest);
}

void fail_errno(const struct request *request, int error) {
    const char *name = strerrorname_np(error);
    fail(request, name == NULL ? "EUNKNOWN" : name, "%s: %s", request->name, strerror(error));
}

void fail_signal(const struct request *request, int signal) {
    const char *name = signal == SIGBUS ? "SIGBUS" : "SIGSEGV";
    fail(request, name, "%s: the access raised %s", request->name, name);
}

void tell(const char *event) {
    char *line;
    if (asprintf(&line, "! %s", event) < 0)
        die("asprintf");
    put_line(line);
    free(line);
}

void hold_answers(void) {
    pthread_mutex_lock(&answers);
}

void let_answers(void) {
    pthread_mutex_unlock(&answers);
}
