/*
 * recorder.c - one line for each invocation and each end, under one lock and one clock
 * (recorder.h).
 *
 * The time is taken inside the lock, so the lines are in its order. The places of fields in replies
 * are those of PROTOCOL.md section 10.
 *
 * It must not judge an answer, nor retry: the client decides.
 */
#include "tests/reliability/recorder.h"
#include "tests/e2e/network.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct recorder {
    pthread_mutex_t mutex;
    FILE *file;
    uint64_t lines;
};

#define PATIENCE_S 5

struct recorder *recorder_new(const char *path)
{
    struct recorder *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        return NULL;
    }
    pthread_mutex_init(&r->mutex, NULL);
    r->file = fopen(path, "we");
    if (r->file != NULL) {
        return r;
    }
    free(r);
    return NULL;
}

int recorder_free(struct recorder *r)
{
    if (r == NULL) {
        return 0;
    }
    bool bad = ferror(r->file) != 0;
    bad = fclose(r->file) != 0 || bad;
    pthread_mutex_destroy(&r->mutex);
    free(r);
    return bad ? -1 : 0;
}

uint64_t recorder_lines(const struct recorder *r)
{
    return r->lines;
}

__attribute__((format(printf, 2, 3))) static void line(struct recorder *r, const char *format, ...)
{
    struct timespec t;
    va_list args;

    pthread_mutex_lock(&r->mutex);
    clock_gettime(CLOCK_MONOTONIC, &t);
    fprintf(r->file, "{\"time_us\":%lld,", (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000);
    va_start(args, format);
    vfprintf(r->file, format, args);
    va_end(args);
    fputs("}\n", r->file);
    r->lines++;
    pthread_mutex_unlock(&r->mutex);
}

void recorder_start(struct recorder *r, const char *node)
{
    line(r, "\"type\":\"start\",\"node\":\"%s\"", node);
}

/* ---- connections ---- */

void recorder_disconnect(struct recorder_client *c)
{
    redisFree(c->c);
    c->c = NULL;
}

static bool connected(struct recorder_client *c)
{
    const struct timeval patience = {PATIENCE_S, 0};

    if (c->c == NULL) {
        int own = network_enter(c->netns);
        c->c = redisConnectWithTimeout("127.0.0.1", c->port, patience);
        network_leave(own);
        if (c->c == NULL || c->c->err != 0) {
            recorder_disconnect(c);
            return false;
        }
        redisSetTimeout(c->c, patience);
    }
    return true;
}

static void ended(struct recorder_client *c, const char *type)
{
    line(c->recorder, "\"type\":\"%s\",\"process\":%u", type, c->process);
}

/* The answer, or NULL when there is none: the connection is closed then. */
static redisReply *ask(struct recorder_client *c, const char *const *argv, size_t argc)
{
    redisReply *r = redisCommandArgv(c->c, (int)argc, (const char **)(uintptr_t)argv, NULL);

    if (r == NULL) {
        recorder_disconnect(c);
    }
    return r;
}

/* ---- text ---- */

struct text {
    char bytes[4096];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(t->bytes + t->len, sizeof(t->bytes) - t->len, format, args);
    va_end(args);
    t->len += (size_t)n;
    if (t->len >= sizeof(t->bytes)) {
        abort(); /* keys and values of campaigns are short */
    }
}

static void add_quoted(struct text *t, const char *word)
{
    if (word == NULL) {
        add(t, "null");
    } else {
        add(t, "\"%s\"", word);
    }
}

static const char *text_of(const redisReply *r)
{
    return r->type == REDIS_REPLY_STRING ? r->str : NULL;
}

/* ---- operations ---- */

enum recorder_end recorder_write(struct recorder_client *c, const char *id,
                                 const struct recorder_change *change, size_t count, uint64_t *seq)
{
    const char *argv[2 + 3 * RECORDER_CHANGES_MAX] = {"HF.APPLY", id};
    size_t argc = 2;
    struct text t = {.len = 0};

    if (count > RECORDER_CHANGES_MAX || !connected(c)) {
        return RECORDER_BROKEN;
    }
    for (size_t i = 0; i < count; i++) {
        argv[argc++] = change[i].value == NULL ? "DEL" : "SET";
        argv[argc++] = change[i].key;
        add(&t, "%s[\"%s\",", i == 0 ? "" : ",", change[i].key);
        add_quoted(&t, change[i].value);
        add(&t, "]");
        if (change[i].value != NULL) {
            argv[argc++] = change[i].value;
        }
    }
    line(c->recorder,
         "\"type\":\"invoke\",\"process\":%u,\"op\":\"write\",\"node\":\"%s\",\"id\":\"%s\","
         "\"changes\":[%s]",
         c->process, c->node, id, t.bytes);
    redisReply *r = ask(c, argv, argc);
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 2) {
        enum recorder_end end = r == NULL ? RECORDER_BROKEN : RECORDER_REFUSED;
        ended(c, "info");
        freeReplyObject(r);
        return end;
    }
    *seq = (uint64_t)r->element[0]->integer;
    line(c->recorder, "\"type\":\"ok\",\"process\":%u,\"seq\":%" PRIu64 ",\"repeated\":%s",
         c->process, *seq, strcmp(r->element[1]->str, "repeated") == 0 ? "true" : "false");
    freeReplyObject(r);
    return RECORDER_OK;
}

static void invoke_read(struct recorder_client *c, const char *const *key, size_t count,
                        uint64_t min_seq)
{
    struct text t = {.len = 0};

    for (size_t i = 0; i < count; i++) {
        add(&t, "%s\"%s\"", i == 0 ? "" : ",", key[i]);
    }
    line(c->recorder,
         "\"type\":\"invoke\",\"process\":%u,\"op\":\"read\",\"node\":\"%s\",\"keys\":[%s],"
         "\"min_seq\":%" PRIu64,
         c->process, c->node, t.bytes, min_seq);
}

/* What is no answer to a read: an error, or none. */
static enum recorder_end no_answer(struct recorder_client *c, redisReply *r)
{
    enum recorder_end end = r == NULL ? RECORDER_BROKEN : RECORDER_REFUSED;

    ended(c, "fail");
    freeReplyObject(r);
    return end;
}

enum recorder_end recorder_get(struct recorder_client *c, const char *key, uint64_t min_seq)
{
    char number[32];
    const char *const argv[] = {"HF.GET", key, "MINSEQ", number};
    struct text t = {.len = 0};

    if (!connected(c)) {
        return RECORDER_BROKEN;
    }
    snprintf(number, sizeof(number), "%" PRIu64, min_seq);
    invoke_read(c, &key, 1, min_seq);
    redisReply *r = ask(c, argv, 4);
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 4) {
        return no_answer(c, r);
    }
    add_quoted(&t, text_of(r->element[0]));
    add(&t, "],\"seq\":%lld", r->element[1]->integer);
    if (r->element[2]->type == REDIS_REPLY_INTEGER) {
        add(&t, ",\"staleness_ms\":%lld", r->element[2]->integer);
    }
    line(c->recorder, "\"type\":\"ok\",\"process\":%u,\"values\":[%s", c->process, t.bytes);
    freeReplyObject(r);
    return RECORDER_OK;
}

enum recorder_end recorder_mget(struct recorder_client *c, const char *const *key, size_t count)
{
    const char *argv[1 + RECORDER_CHANGES_MAX] = {"MGET"};
    struct text t = {.len = 0};

    if (count > RECORDER_CHANGES_MAX || !connected(c)) {
        return RECORDER_BROKEN;
    }
    memcpy(argv + 1, key, count * sizeof(*key));
    invoke_read(c, key, count, 0);
    redisReply *r = ask(c, argv, count + 1);
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != count) {
        return no_answer(c, r);
    }
    for (size_t i = 0; i < count; i++) {
        if (r->element[i]->type == REDIS_REPLY_ERROR) {
            return no_answer(c, r);
        }
        add(&t, "%s", i == 0 ? "" : ",");
        add_quoted(&t, text_of(r->element[i]));
    }
    line(c->recorder, "\"type\":\"ok\",\"process\":%u,\"values\":[%s]", c->process, t.bytes);
    freeReplyObject(r);
    return RECORDER_OK;
}

enum recorder_end recorder_status(struct recorder_client *c)
{
    const char *const argv[] = {"HF.STATUS"};
    bool core = strcmp(c->node, "core") == 0;

    if (!connected(c)) {
        return RECORDER_BROKEN;
    }
    line(c->recorder, "\"type\":\"invoke\",\"process\":%u,\"op\":\"status\",\"node\":\"%s\"",
         c->process, c->node);
    redisReply *r = ask(c, argv, 1);
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements < (core ? 12 : 17)) {
        return no_answer(c, r);
    }
    /* A core's digest is that of its head, an edge's that of what it has applied. */
    line(c->recorder,
         "\"type\":\"ok\",\"process\":%u,\"epoch\":%lld,\"seq\":%lld,\"digest\":\"%s\"", c->process,
         r->element[2]->integer, r->element[core ? 4 : 5]->integer, r->element[core ? 6 : 7]->str);
    for (size_t i = 0; core && i < r->element[11]->elements; i++) {
        const redisReply *row = r->element[11]->element[i];

        if (row->element[5]->type == REDIS_REPLY_INTEGER) {
            line(c->recorder, "\"type\":\"ack\",\"node\":\"%s\",\"seq\":%lld", row->element[0]->str,
                 row->element[5]->integer);
        }
    }
    freeReplyObject(r);
    return RECORDER_OK;
}
