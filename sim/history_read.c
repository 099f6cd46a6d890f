/*
 * history_read.c - from JSON lines to a history (format: sim/README.md, "Histories").
 *
 * Invariant: a line that is not understood ends the reading with its number and what was expected.
 * A checker that skipped lines could call a broken history right.
 *
 * It must not judge what the lines say about holdfast: history.c does.
 */
#include "sim/history.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PROCESSES_MAX 4096u
/* Many times what the clients of the tests write; a request of the largest values, all of them
 * escaped, would not fit. */
#define LINE_MAX_BYTES ((size_t)4 << 20)

struct reader {
    struct history *h;
    uint64_t line;
    int64_t time_us;
    size_t open[PROCESSES_MAX]; /* index + 1 of the operation that a process has under way */
    char *error;
    size_t cap;
};

__attribute__((format(printf, 2, 3))) static bool wrong(struct reader *r, const char *format, ...)
{
    va_list args;
    int n = snprintf(r->error, r->cap, "line %" PRIu64 ": ", r->line);

    va_start(args, format);
    vsnprintf(r->error + n, r->cap - (size_t)n, format, args);
    va_end(args);
    return false;
}

/* ---- fields ---- */

static char *copy(const char *text)
{
    char *s = strdup(text);

    if (s == NULL) {
        abort(); /* a test tool has nothing better to do without memory */
    }
    return s;
}

/* Leaves *out alone when there is no such field and it is not required. */
static bool get_number(struct reader *r, json_t *o, const char *name, bool required, uint64_t *out)
{
    json_t *v = json_object_get(o, name);

    if (v == NULL && !required) {
        return true;
    }
    if (!json_is_integer(v) || json_integer_value(v) < 0) {
        return wrong(r, "\"%s\" must be a number, 0 or above", name);
    }
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static bool get_text(struct reader *r, json_t *o, const char *name, char **out)
{
    const char *text = json_string_value(json_object_get(o, name));

    if (text == NULL) {
        return wrong(r, "\"%s\" must be a text", name);
    }
    free(*out);
    *out = copy(text);
    return true;
}

static struct history_pair *new_pairs(size_t count)
{
    struct history_pair *p = calloc(count + 1, sizeof(*p));

    if (p == NULL) {
        abort();
    }
    return p;
}

/* [[key, value or null], ...] */
static bool get_changes(struct reader *r, json_t *o, struct history_op *op)
{
    json_t *list = json_object_get(o, "changes"), *e;
    size_t i;

    op->pair = new_pairs(json_array_size(list));
    json_array_foreach(list, i, e)
    {
        const char *key = json_string_value(json_array_get(e, 0));
        json_t *value = json_array_get(e, 1);

        if (key == NULL || (!json_is_string(value) && !json_is_null(value))) {
            return wrong(r, "\"changes\" must be a list of [key, value or null]");
        }
        op->pair[i].key = copy(key);
        op->pair[i].value = json_is_null(value) ? NULL : copy(json_string_value(value));
        op->pair_count = i + 1;
    }
    return op->pair_count > 0 || wrong(r, "a write needs \"changes\": [[key, value or null], ...]");
}

static bool get_keys(struct reader *r, json_t *o, struct history_op *op)
{
    json_t *list = json_object_get(o, "keys"), *e;
    size_t i;

    op->pair = new_pairs(json_array_size(list));
    json_array_foreach(list, i, e)
    {
        if (!json_is_string(e)) {
            return wrong(r, "\"keys\" must be a list of texts");
        }
        op->pair[i].key = copy(json_string_value(e));
        op->pair_count = i + 1;
    }
    return op->pair_count > 0 || wrong(r, "a read needs \"keys\": [key, ...]");
}

static bool get_values(struct reader *r, json_t *o, struct history_op *op)
{
    json_t *list = json_object_get(o, "values"), *e;
    size_t i;

    if (json_array_size(list) != op->pair_count) {
        return wrong(r, "\"values\" must be a list of %zu, as many as \"keys\" had",
                     op->pair_count);
    }
    json_array_foreach(list, i, e)
    {
        if (!json_is_string(e) && !json_is_null(e)) {
            return wrong(r, "\"values\" must be texts, null for an absent key");
        }
        op->pair[i].value = json_is_null(e) ? NULL : copy(json_string_value(e));
    }
    return true;
}

/* ---- lines ---- */

static struct history_op *add_op(struct reader *r, enum history_kind kind)
{
    struct history *h = r->h;

    if (h->count == h->cap) {
        h->cap = h->cap == 0 ? 1024 : 2 * h->cap;
        h->op = realloc(h->op, h->cap * sizeof(*h->op));
        if (h->op == NULL) {
            abort();
        }
    }
    h->op[h->count] = (struct history_op){.kind = kind,
                                          .from_line = r->line,
                                          .from_us = r->time_us,
                                          .to_us = INT64_MAX,
                                          .seq = HISTORY_NONE,
                                          .staleness_ms = HISTORY_NONE,
                                          .epoch = 1};
    return &h->op[h->count++];
}

static bool take_invoke(struct reader *r, json_t *o, uint64_t process)
{
    const char *kind = json_string_value(json_object_get(o, "op"));
    struct history_op *op;

    if (r->open[process] != 0) {
        return wrong(r, "process %" PRIu64 " has an operation under way since line %" PRIu64,
                     process, r->h->op[r->open[process] - 1].from_line);
    }
    op = add_op(r, HISTORY_READ);
    op->process = process;
    r->open[process] = r->h->count;
    if (!get_text(r, o, "node", &op->node)) {
        return false;
    }
    if (kind != NULL && strcmp(kind, "write") == 0) {
        op->kind = HISTORY_WRITE;
        return get_text(r, o, "id", &op->id) && get_changes(r, o, op);
    }
    if (kind != NULL && strcmp(kind, "read") == 0) {
        return get_keys(r, o, op) && get_number(r, o, "min_seq", false, &op->min_seq);
    }
    if (kind != NULL && strcmp(kind, "status") == 0) {
        op->kind = HISTORY_STATUS;
        return true;
    }
    return wrong(r, "\"op\" must be write, read or status");
}

static bool take_ok(struct reader *r, json_t *o, struct history_op *op)
{
    op->end = HISTORY_OK;
    switch (op->kind) {
    case HISTORY_WRITE:
        op->repeated = json_is_true(json_object_get(o, "repeated"));
        return get_number(r, o, "seq", true, &op->seq);
    case HISTORY_READ:
        return get_values(r, o, op) && get_number(r, o, "seq", false, &op->seq) &&
               get_number(r, o, "staleness_ms", false, &op->staleness_ms);
    case HISTORY_STATUS:
        return get_number(r, o, "seq", true, &op->seq) &&
               get_number(r, o, "epoch", false, &op->epoch) &&
               get_text(r, o, "digest", &op->digest);
    case HISTORY_ACK:
    case HISTORY_START:
        break;
    }
    return wrong(r, "an operation without an answer was answered");
}

static bool take_end(struct reader *r, json_t *o, uint64_t process, const char *type)
{
    struct history_op *op;

    if (r->open[process] == 0) {
        return wrong(r, "process %" PRIu64 " has no operation under way", process);
    }
    op = &r->h->op[r->open[process] - 1];
    r->open[process] = 0;
    op->to_line = r->line;
    if (strcmp(type, "info") == 0) {
        return true;
    }
    op->to_us = r->time_us;
    if (strcmp(type, "fail") == 0) {
        op->end = HISTORY_FAIL;
        return true;
    }
    return take_ok(r, o, op);
}

/* An event of a node, at one moment. */
static bool take_event(struct reader *r, json_t *o, enum history_kind kind)
{
    struct history_op *op = add_op(r, kind);

    op->end = HISTORY_OK;
    op->to_us = r->time_us;
    op->to_line = r->line;
    return get_text(r, o, "node", &op->node) &&
           (kind == HISTORY_START || get_number(r, o, "seq", true, &op->seq));
}

static bool take_line(struct reader *r, json_t *o)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    uint64_t process = 0, time_us = 0;

    if (type == NULL) {
        return wrong(r, "\"type\" must be a text");
    }
    if (!get_number(r, o, "time_us", true, &time_us)) {
        return false;
    }
    if ((int64_t)time_us < r->time_us) {
        return wrong(r, "\"time_us\" goes back; lines must be in order of time");
    }
    r->time_us = (int64_t)time_us;
    if (strcmp(type, "start") == 0) {
        return take_event(r, o, HISTORY_START);
    }
    if (strcmp(type, "ack") == 0) {
        return take_event(r, o, HISTORY_ACK);
    }
    if (!get_number(r, o, "process", true, &process) || process >= PROCESSES_MAX) {
        return wrong(r, "\"process\" must be a number below %u", PROCESSES_MAX);
    }
    if (strcmp(type, "invoke") == 0) {
        return take_invoke(r, o, process);
    }
    if (strcmp(type, "ok") == 0 || strcmp(type, "fail") == 0 || strcmp(type, "info") == 0) {
        return take_end(r, o, process, type);
    }
    return wrong(r, "\"type\" must be invoke, ok, fail, info, start or ack");
}

/* ---- files ---- */

/* A line without its end; -1 is the end of the file, LINE_MAX_BYTES too long a line. */
static ssize_t line_read(FILE *file, char *text)
{
    size_t len = 0;
    int c = getc_unlocked(file);

    if (c == EOF) {
        return -1;
    }
    for (; c != EOF && c != '\n' && len < LINE_MAX_BYTES; c = getc_unlocked(file)) {
        text[len++] = (char)c;
    }
    return (ssize_t)len;
}

bool history_read(FILE *file, struct history *h, char *error, size_t cap)
{
    struct reader *r = calloc(1, sizeof(*r));
    char *text = malloc(LINE_MAX_BYTES);
    ssize_t len;
    bool good = r != NULL && text != NULL;

    memset(h, 0, sizeof(*h));
    if (!good) {
        snprintf(error, cap, "out of memory");
        free(text);
        free(r);
        return false;
    }
    *r = (struct reader){.h = h, .error = error, .cap = cap};
    while (good && (len = line_read(file, text)) >= 0) {
        json_error_t e;

        r->line++;
        if ((size_t)len == LINE_MAX_BYTES) {
            good = wrong(r, "longer than %zu bytes", LINE_MAX_BYTES - 1);
            break;
        }
        /* What stands behind a zero byte must not be skipped, and one that follows a number is
         * passed over by the library. */
        if (memchr(text, 0, (size_t)len) != NULL) {
            good = wrong(r, "not a JSON object: it has a zero byte");
            break;
        }
        json_t *o = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, &e);

        good = json_is_object(o) ? take_line(r, o)
                                 : wrong(r, "not a JSON object: %s", o == NULL ? e.text : "");
        json_decref(o);
    }
    if (good && ferror(file)) {
        good = wrong(r, "the file cannot be read further");
    }
    h->lines = r->line;
    free(text);
    free(r);
    if (!good) {
        history_free(h);
    }
    return good;
}

void history_free(struct history *h)
{
    for (size_t i = 0; i < h->count; i++) {
        struct history_op *op = &h->op[i];

        for (size_t k = 0; op->pair != NULL && k < op->pair_count; k++) {
            free(op->pair[k].key);
            free(op->pair[k].value);
        }
        free(op->pair);
        free(op->node);
        free(op->id);
        free(op->digest);
    }
    free(h->op);
    memset(h, 0, sizeof(*h));
}
