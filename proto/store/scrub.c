/*
 * scrub.c - small steps of a walk over the whole state, spread over days.
 *
 * Invariant: every record is read once between two ends of the table, since each step begins behind
 * the last record of the one before it. A process that is started often would read the beginning
 * again and again; so the first round begins at a random place, an even sample says where.
 *
 * A step holds its view for the time that STEP_BYTES take: a millisecond from memory, a few from a
 * disk. It must not write, nor judge what damage means. Read walk.c next.
 */
#include "hf/scrub.h"

#include "hf/repair.h"

#include <stdlib.h>

#define STEP_BYTES (64u << 10)
#define RATE_MAX 1000000u /* bytes per second */
#define REST_MS_MIN ((hf_ms)STEP_BYTES * 1000 / RATE_MAX)
#define REST_MS_MAX (3600 * 1000)
#define FIRST_MS 5000 /* a process that has just started has other work */
#define RETRY_MS 10000

struct hf_scrub {
    struct hf_job job; /* first */
    struct hf_scrub_config cfg;
    struct hf_world world;
    bool busy;
    hf_ms due; /* -1 before the first tick */
    /* The step under way: the job's, until it has ended. */
    struct hf_view *view; /* owned; NULL before the first step */
    bool placed;          /* the first place was chosen */
    uint64_t random;
    size_t after_len;
    uint8_t after[HF_STORE_KEY_MAX];
    uint64_t done; /* records of this round, the part before a first place included */
    uint64_t total, total_bytes;
    struct hf_walk walk; /* its slices are gone */
    size_t damaged_len;
    uint8_t damaged[HF_STORE_KEY_MAX];
    enum hf_err code;

    struct hf_scrub_status status;
};

struct hf_scrub *hf_scrub_new(const struct hf_scrub_config *c)
{
    struct hf_scrub *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->cfg = *c;
    s->world = *c->world;
    s->due = -1;
    return s;
}

void hf_scrub_free(struct hf_scrub *s)
{
    if (s != NULL) {
        hf_view_close(s->view);
        free(s);
    }
}

/* ---- the job ---- */

static size_t key_copy(uint8_t to[HF_STORE_KEY_MAX], struct hf_slice key)
{
    size_t len = key.len < HF_STORE_KEY_MAX ? key.len : HF_STORE_KEY_MAX;
    if (len > 0) {
        memcpy(to, key.data, len);
    }
    return len;
}

/* Without a sample it begins at the beginning. */
static void place_first(struct hf_scrub *s)
{
    struct hf_sample *sample = calloc(1, sizeof(*sample));
    s->placed = true;
    if (sample != NULL && hf_view_sample_keys(s->view, sample) == HF_OK && sample->count > 0) {
        uint32_t i = (uint32_t)(s->random % sample->count);
        s->after_len = i == 0 ? 0 : key_copy(s->after, sample->point[i - 1].key);
        s->done = s->total * i / sample->count;
    }
    free(sample);
}

static enum hf_err step(struct hf_scrub *s)
{
    struct hf_walk *w = &s->walk;
    enum hf_err err = hf_view_size(s->view, &s->total, &s->total_bytes);
    if (err != HF_OK) {
        return err;
    }
    if (!s->placed) {
        place_first(s);
    }
    *w = (struct hf_walk){.after = hf_slice_of(s->after, s->after_len), .byte_max = STEP_BYTES};
    err = hf_view_walk(s->view, w);
    s->damaged_len = key_copy(s->damaged, w->unreadable > 0 ? w->damaged : w->after);
    if (err == HF_OK || w->last.len > 0) {
        s->after_len = key_copy(s->after, w->end ? hf_slice_of(NULL, 0) : w->last);
    }
    return err;
}

static void work(struct hf_job *job)
{
    struct hf_scrub *s = (struct hf_scrub *)job;
    memset(&s->walk, 0, sizeof(s->walk));
    s->code = s->view == NULL ? hf_view_open(s->cfg.state, &s->view) : hf_view_renew(s->view);
    if (s->code == HF_OK) {
        s->code = step(s);
        hf_view_reset(s->view);
    }
}

/* ---- the owner's side ---- */

/* So that the whole takes the period. */
static hf_ms rest_of(const struct hf_scrub *s)
{
    uint64_t total = s->total_bytes > s->walk.bytes ? s->total_bytes : s->walk.bytes + 1;
    double part = (double)(s->walk.bytes + 1) / (double)total;
    double rest = part * (double)s->cfg.period_ms;
    if (s->code != HF_OK) {
        return RETRY_MS;
    }
    hf_ms ms = rest < 1e15 ? (hf_ms)rest : REST_MS_MAX;
    ms = ms > REST_MS_MIN ? ms : REST_MS_MIN;
    return ms < REST_MS_MAX ? ms : REST_MS_MAX;
}

static void done(struct hf_job *job)
{
    struct hf_scrub *s = (struct hf_scrub *)job;
    uint64_t errors = s->walk.unreadable + (s->code == HF_CORRUPT);
    s->busy = false;
    s->status.records += s->walk.records;
    s->status.errors += errors;
    s->done += s->walk.records;
    if (s->walk.end) {
        s->status.rounds++;
        s->done = 0;
    }
    uint64_t permille = s->total > 0 ? s->done * 1000 / s->total : 0;
    s->status.permille = permille < 1000 ? (uint32_t)permille : 1000;
    s->due = s->world.now(s->world.ctx) + rest_of(s);
    s->world.wake_at(s->world.ctx, s->due);
    if (errors > 0) {
        s->cfg.on_damage(s->cfg.ctx, errors, hf_slice_of(s->damaged, s->damaged_len));
    }
}

hf_ms hf_scrub_tick(struct hf_scrub *s, hf_ms now)
{
    if (s->busy || s->cfg.period_ms == 0) {
        return INT64_MAX;
    }
    if (s->due < 0) {
        s->due = now + FIRST_MS;
        s->world.random(s->world.ctx, &s->random, sizeof(s->random));
    }
    if (now < s->due) {
        return s->due;
    }
    s->busy = true;
    s->job = (struct hf_job){.work = work, .done = done};
    s->world.run(s->world.ctx, HF_LANE_POOL, &s->job);
    return INT64_MAX;
}

bool hf_scrub_busy(const struct hf_scrub *s)
{
    return s->busy;
}

void hf_scrub_status(const struct hf_scrub *s, struct hf_scrub_status *out)
{
    *out = s->status;
}
