/*
 * watch.c - asks all daemons how they are, every few milliseconds, and keeps what they say.
 *
 * A round asks the emulator for its counters and each daemon for HF.STATUS; a daemon that has not
 * answered the last round is not asked again. A sample is recorded of each answer, and of each
 * round in which a node does not run; events of the recording come from the daemons' logs.
 *
 * Next: judge.c, which gets every sample.
 */
#include "sim/real/history.h"
#include "sim/real/judge.h"

#include "hf/err.h"
#include "hf/replica.h"

#include <stdarg.h>
#include <string.h>

/* Times are as exact as this; each edge more makes a round longer, so that asking takes a small
 * part of a processor however many there are. */
#define ROUND_MS 10u
#define ROUND_MS_EDGE 2u

/* ---- samples ---- */

static bool is_running(const struct real_node *n)
{
    return n->alive && !n->ending && !n->paused;
}

static void keep(struct real_node *n)
{
    struct real_sample *s = &n->last;
    s->at_us = real_now_us(n->run);
    s->head = n->run->node[SCRIPT_CORE].last.head;
    s->running = is_running(n);
    s->cut_down = n->cut_down;
    s->cut_up = n->cut_up;
    struct record_sample sample = {.head = s->head,
                                   .applied = s->applied,
                                   .staleness_ms = s->staleness_ms,
                                   .bytes_down = s->bytes_down,
                                   .bytes_up = s->bytes_up,
                                   .state = n->alive ? s->state : RECORD_NOT_RUNNING,
                                   .cut_down = s->cut_down,
                                   .cut_up = s->cut_up};
    record_sample(n->run->record, n->index, (hf_ms)(s->at_us / 1000), &sample);
    if (n->index != SCRIPT_CORE) {
        real_judge_sample(n->run->judge, n);
    }
}

/* ---- logs ---- */

void real_watch_note(struct real_node *n, const char *format, ...)
{
    char line[200];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    record_line(n->run->record, n->index, (hf_ms)(real_now_us(n->run) / 1000), line);
}

/* What the daemon has logged since the last round. A line that is not whole yet is left for the
 * next one. The time in front is that of the wall clock, which may have been stepped. */
static void read_log(struct real_node *n)
{
    char path[REAL_DIR_MAX + 8];
    char line[1024];
    snprintf(path, sizeof(path), "%s.log", n->dir);
    if (n->log == NULL && (n->log = fopen(path, "re")) == NULL) {
        return;
    }
    clearerr(n->log);
    for (;;) {
        long begin = ftell(n->log);
        if (fgets(line, sizeof(line), n->log) == NULL) {
            return;
        }
        char *end = strchr(line, '\n');
        if (end == NULL && strlen(line) + 1 < sizeof(line)) {
            (void)fseek(n->log, begin, SEEK_SET);
            return;
        }
        if (end != NULL) {
            *end = '\0';
        }
        char *text = strchr(line, ' '); /* after the time and the level */
        text = text == NULL ? NULL : strchr(text + 1, ' ');
        real_watch_note(n, "%s", text == NULL ? line : text + 1);
    }
}

/* ---- answers ---- */

static uint64_t number_at(const redisReply *reply, size_t i, uint64_t otherwise)
{
    const redisReply *e = reply->element[i];
    return e->type == REDIS_REPLY_INTEGER && e->integer >= 0 ? (uint64_t)e->integer : otherwise;
}

static void text_at(const redisReply *reply, size_t i, char *out, size_t cap)
{
    const redisReply *e = reply->element[i];
    snprintf(out, cap, "%s", e->type == REDIS_REPLY_STRING ? e->str : "");
}

static uint8_t state_at(const redisReply *reply, size_t i)
{
    char name[32];
    text_at(reply, i, name, sizeof(name));
    for (unsigned s = 0; s <= HF_REPLICA_DIVERGED; s++) {
        if (strcmp(hf_replica_state_name((enum hf_replica_state)s), name) == 0) {
            return (uint8_t)s;
        }
    }
    return HF_REPLICA_JOINING;
}

static void on_core(struct real_node *n, const redisReply *reply)
{
    n->last.head = number_at(reply, 4, n->last.head);
    n->last.applied = number_at(reply, 5, 0);
    text_at(reply, 6, n->digest, sizeof(n->digest));
    text_at(reply, 10, n->run->refusing, sizeof(n->run->refusing));
}

static void on_edge(struct real_node *n, const redisReply *reply)
{
    n->last.applied = number_at(reply, 5, 0);
    text_at(reply, 7, n->digest, sizeof(n->digest));
    n->last.state = state_at(reply, 8);
    n->last.staleness_ms = number_at(reply, 10, UINT64_MAX);
}

/* PROTOCOL.md section 10 has the columns. */
static void on_status(void *ctx, const redisReply *reply)
{
    struct real_node *n = ctx;
    bool core = n->index == SCRIPT_CORE;
    n->asked = false;
    real_history_state(n->run->history, n, reply);
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements < (core ? 12u : 17u)) {
        return;
    }
    n->heard = true;
    if (core) {
        on_core(n, reply);
    } else {
        on_edge(n, reply);
    }
    keep(n);
}

/* ---- rounds ---- */

static void on_round(uv_timer_t *timer)
{
    static const char *const words[] = {"HF.STATUS", NULL};
    struct real *r = timer->data;
    real_links_count(r);
    for (uint32_t i = 0; i < r->node_count; i++) {
        struct real_node *n = &r->node[i];
        read_log(n);
        if (!is_running(n)) {
            n->last.staleness_ms = UINT64_MAX;
            keep(n);
        } else if (!n->asked) {
            real_history_ask(r->history, n);
            n->asked = real_client_say(&n->status, on_status, n, words);
            if (!n->asked) {
                real_history_state(r->history, n, NULL);
            }
        }
    }
    real_player_round(r);
}

void real_watch_start(struct real *r)
{
    uint64_t every = ROUND_MS + (uint64_t)ROUND_MS_EDGE * r->node_count;
    for (uint32_t i = 1; i < r->node_count; i++) {
        uint32_t track = record_add(r->record, r->node[i].name);
        HF_ASSERT(track == i);
    }
    record_interval(r->record, (hf_ms)every);
    (void)uv_timer_start(&r->watch_timer, on_round, 0, every);
}

void real_watch_end(struct real *r)
{
    for (uint32_t i = 0; i < r->node_count; i++) {
        if (r->node[i].log != NULL) {
            read_log(&r->node[i]);
            (void)fclose(r->node[i].log);
            r->node[i].log = NULL;
        }
    }
    record_end(r->record, (hf_ms)(real_now_us(r) / 1000));
}

bool real_is_equal(const struct real *r, const struct real_node *edge)
{
    const struct real_node *core = &r->node[SCRIPT_CORE];
    return edge->heard && edge->last.running && edge->last.applied == core->last.head &&
           strcmp(edge->digest, core->digest) == 0;
}
