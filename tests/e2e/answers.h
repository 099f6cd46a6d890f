/*
 * answers.h - the harness's part that asks daemons: connections, commands, HF.STATUS as structs.
 *
 * Every call waits for its answer, 20 s at most, and fails the test when none comes or one of
 * another kind, so a test reads as what it expects. Connections are counted in the box, which
 * closes those that a failed test leaves open.
 *
 * It must not be included by anything but harness.c, which does so at its end: the box is there.
 * Next: harness.h.
 */
#ifndef HF_TESTS_E2E_ANSWERS_H
#define HF_TESTS_E2E_ANSWERS_H

/* ---- clients ---- */

redisContext *e2e_try_connect(const struct e2e_node *n)
{
    const struct timeval patience = {20, 0};
    int own = network_enter(n->netns);
    redisContext *c = redisConnectWithTimeout("127.0.0.1", n->resp_port, patience);

    network_leave(own);
    if (c == NULL || c->err != 0) {
        redisFree(c);
        return NULL;
    }
    redisSetTimeout(c, patience);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (box.connection[i] == NULL) {
            box.connection[i] = c;
            return c;
        }
    }
    fail_msg("too many connections");
    return NULL;
}

redisContext *e2e_connect(const struct e2e_node *n)
{
    redisContext *c = e2e_try_connect(n);

    assert_non_null(c);
    return c;
}

void e2e_disconnect(redisContext *c)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (box.connection[i] == c) {
            box.connection[i] = NULL;
        }
    }
    redisFree(c);
}

static redisReply *call(redisContext *c, const char *format, va_list args)
{
    redisReply *r = redisvCommand(c, format, args);

    if (r == NULL) {
        fail_msg("%s: no answer: %s", format, c->errstr);
    }
    return r;
}

void e2e_ok(redisContext *c, const char *format, ...)
{
    va_list args;
    redisReply *r;

    va_start(args, format);
    r = call(c, format, args);
    va_end(args);
    if (r->type != REDIS_REPLY_STATUS || strcmp(r->str, "OK") != 0) {
        fail_msg("%s: expected OK, got type %d %s", format, r->type, r->str ? r->str : "");
    }
    freeReplyObject(r);
}

int64_t e2e_integer(redisContext *c, const char *format, ...)
{
    int64_t value;
    va_list args;
    redisReply *r;

    va_start(args, format);
    r = call(c, format, args);
    va_end(args);
    if (r->type != REDIS_REPLY_INTEGER) {
        fail_msg("%s: expected a number, got type %d %s", format, r->type, r->str ? r->str : "");
    }
    value = r->integer;
    freeReplyObject(r);
    return value;
}

const char *e2e_text(redisContext *c, const char *format, ...)
{
    char *text = next_text();
    va_list args;
    redisReply *r;

    va_start(args, format);
    r = call(c, format, args);
    va_end(args);
    snprintf(text, TEXT_BYTES, "%s", r->type == REDIS_REPLY_NIL ? "(nil)" : r->str ? r->str : "");
    freeReplyObject(r);
    return text;
}

int64_t e2e_counter(redisContext *c, const char *name)
{
    char line[80];
    const char *at;

    snprintf(line, sizeof line, "\n%s:", name);
    at = strstr(e2e_text(c, "INFO"), line);
    if (at == NULL) {
        fail_msg("INFO has no %s", name);
    }
    return strtoll(at + strlen(line), NULL, 10);
}

void e2e_error(redisContext *c, const char *word, const char *format, ...)
{
    va_list args;
    redisReply *r;

    va_start(args, format);
    r = call(c, format, args);
    va_end(args);
    if (r->type != REDIS_REPLY_ERROR || strncmp(r->str, word, strlen(word)) != 0) {
        fail_msg("%s: expected %s, got type %d %s", format, word, r->type, r->str ? r->str : "");
    }
    freeReplyObject(r);
}

/* ---- HF.STATUS ---- */

static redisReply *status_reply(redisContext *c, size_t elements)
{
    redisReply *r = redisCommand(c, "HF.STATUS");

    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements < elements) {
        fail_msg("HF.STATUS: %s", r == NULL ? c->errstr : r->str ? r->str : "too short");
    }
    return r;
}

static int64_t number_at(const redisReply *r, size_t i)
{
    return r->element[i]->type == REDIS_REPLY_INTEGER ? r->element[i]->integer : E2E_UNKNOWN;
}

static void text_at(const redisReply *r, size_t i, char *out, size_t cap)
{
    const redisReply *e = r->element[i];

    snprintf(out, cap, "%s", e->type == REDIS_REPLY_STRING ? e->str : "");
}

struct e2e_core_status e2e_core_status(redisContext *c)
{
    redisReply *r = status_reply(c, 12);
    struct e2e_core_status s = {
        .epoch = number_at(r, 2),
        .head = number_at(r, 4),
        .committed = number_at(r, 5),
        .log_first = number_at(r, 7),
        .live_keys = number_at(r, 9),
        .edge_count = (int64_t)r->element[11]->elements,
    };

    text_at(r, 6, s.digest, sizeof s.digest);
    text_at(r, 10, s.refusing, sizeof s.refusing);
    freeReplyObject(r);
    return s;
}

bool e2e_row(redisContext *c, const char *name, struct e2e_row *row)
{
    redisReply *r = status_reply(c, 12);
    const redisReply *edges = r->element[11];
    bool found = false;

    for (size_t i = 0; i < edges->elements && !found; i++) {
        const redisReply *e = edges->element[i];

        assert_true(e->elements >= 17);
        found = strcmp(e->element[0]->str, name) == 0;
        if (!found) {
            continue;
        }
        *row = (struct e2e_row){.head = number_at(e, 3),
                                .received = number_at(e, 4),
                                .applied = number_at(e, 5),
                                .lag_batches = number_at(e, 6),
                                .lag_ms = number_at(e, 8),
                                .holes = number_at(e, 9),
                                .staleness_ms = number_at(e, 10),
                                .digest_ok = number_at(e, 11),
                                .heard_ms = number_at(e, 12)};
        text_at(e, 1, row->key, sizeof row->key);
        text_at(e, 2, row->state, sizeof row->state);
        text_at(e, 16, row->store, sizeof row->store);
    }
    freeReplyObject(r);
    return found;
}

struct e2e_edge_status e2e_edge_status(redisContext *c)
{
    redisReply *r = status_reply(c, 17);
    struct e2e_edge_status s = {
        .epoch = number_at(r, 2),
        .head = number_at(r, 4),
        .applied = number_at(r, 5),
        .received = number_at(r, 6),
        .holes = number_at(r, 9),
        .staleness_ms = number_at(r, 10),
        .live_keys = number_at(r, 11),
        .done = number_at(r, 13),
        .total = number_at(r, 14),
    };

    text_at(r, 7, s.digest, sizeof s.digest);
    text_at(r, 8, s.state, sizeof s.state);
    text_at(r, 12, s.store, sizeof s.store);
    text_at(r, 16, s.name, sizeof s.name);
    freeReplyObject(r);
    return s;
}

bool e2e_equal(redisContext *core, redisContext *edge)
{
    struct e2e_core_status c = e2e_core_status(core);
    struct e2e_edge_status e = e2e_edge_status(edge);

    return c.head == e.applied && strcmp(c.digest, e.digest) == 0;
}

bool e2e_core_says(redisContext *core, const char *edge, const char *state)
{
    struct e2e_row row;

    return e2e_row(core, edge, &row) && strcmp(row.state, state) == 0;
}

bool e2e_edge_says(redisContext *edge, const char *state)
{
    return strcmp(e2e_edge_status(edge).state, state) == 0;
}

#endif
