/*
 * watch.c - asks all daemons how they are, every few milliseconds, and keeps what they say.
 *
 * A round asks the emulator for its counters and each daemon for HF.STATUS; a daemon that has not
 * answered the last round is not asked again. A sample is kept of each answer, and of each round in
 * which a node does not run, so a report can be made of the samples alone.
 *
 * Next: judge.c, which gets every sample.
 */
#include "sim/real/judge.h"
#include "sim/real/writer.h"

#include "hf/err.h"
#include "hf/replica.h"

#include <stdlib.h>
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

static void follow_cut(struct real_node *n, const struct real_sample *before)
{
    struct real_figures *f = &n->figures;
    bool was = before->cut_down || before->cut_up;
    bool is = n->last.cut_down || n->last.cut_up;
    if (is && !was) {
        f->cuts++;
        f->cut_since_us = n->last.at_us;
    } else if (was && !is) {
        f->cut_us += n->last.at_us - f->cut_since_us;
    }
}

static void follow_recovery(struct real_node *n)
{
    struct real_figures *f = &n->figures;
    if (n->last.staleness_ms != UINT64_MAX && n->last.staleness_ms > f->staleness_most_ms) {
        f->staleness_most_ms = n->last.staleness_ms;
    }
    if (!f->recovering || !n->last.running || n->last.applied < f->recovering_to) {
        return;
    }
    uint64_t took = n->last.at_us - f->recovering_since_us;
    f->recovering = false;
    f->recoveries++;
    f->recovery_most_us = took > f->recovery_most_us ? took : f->recovery_most_us;
}

static void keep(struct real_node *n)
{
    struct real_sample before = n->last;
    if (n->sample_count == n->sample_room) {
        n->sample_room = n->sample_room == 0 ? 1024 : 2 * n->sample_room;
        n->sample = realloc(n->sample, n->sample_room * sizeof(*n->sample));
        HF_ASSERT(n->sample != NULL);
    }
    n->last.at_us = real_now_us(n->run);
    n->last.head = n->run->node[SCRIPT_CORE].last.head;
    n->last.running = is_running(n);
    n->last.cut_down = n->cut_down;
    n->last.cut_up = n->cut_up;
    n->sample[n->sample_count++] = n->last;
    if (n->index != SCRIPT_CORE) {
        follow_cut(n, &before);
        follow_recovery(n);
        real_judge_sample(n->run->judge, n);
    }
}

void real_watch_recovering(struct real_node *n)
{
    struct real_writer_status s;
    real_writer_status(n->run->writer, &s);
    n->figures.recovering = true;
    n->figures.recovering_since_us = real_now_us(n->run);
    n->figures.recovering_to = s.acked_seq;
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
        if (!is_running(n)) {
            n->last.staleness_ms = UINT64_MAX;
            keep(n);
        } else if (!n->asked) {
            n->asked = real_client_say(&n->status, on_status, n, words);
        }
    }
    real_player_round(r);
}

void real_watch_start(struct real *r)
{
    uint64_t every = ROUND_MS + (uint64_t)ROUND_MS_EDGE * r->node_count;
    (void)uv_timer_start(&r->watch_timer, on_round, 0, every);
}

bool real_is_equal(const struct real *r, const struct real_node *edge)
{
    const struct real_node *core = &r->node[SCRIPT_CORE];
    return edge->heard && edge->last.running && edge->last.applied == core->last.head &&
           strcmp(edge->digest, core->digest) == 0;
}
