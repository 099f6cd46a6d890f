/*
 * plan.c - PLAN: what each way to the head costs, which is the cheapest, and where to cut it.
 *
 * Prices are bytes as they travel. That of the LOG is exact: frames are kept compressed and sealed,
 * and the log knows how many bytes lie before each. A DELTA or SNAPSHOT is records, of which the
 * store gives an even sample; what packing makes of them is measured on chunks of the range, made
 * for that and thrown away. Both figures go into the reason.
 *
 * Cuts: a part for each HF_PLAN_PART_BYTES, 32 at most. Edges that come back together have other
 * bases, but if they ask for the same ranges the core reads each once (cache.h). So places are
 * counted from the head backwards in steps of HF_PLAN_PART_BYTES << n, whatever the base, and kept
 * for a minute for those who come later, who may add to them at the lower end. A SNAPSHOT's keys
 * are kept likewise, together with the head that they were made at: chunks read since then are good
 * for every edge that is told that head.
 *
 * Invariant: places rise, and lie inside of the range. They are advice: whatever an edge makes of
 * them, any range may be asked for.
 *
 * It must not scan: a sample and a few chunks, 10 ms when warm. Runs on the pool, several at a
 * time; what is kept is under the planner's lock. Read proto/store/sample.c, PROTOCOL.md 7.3.
 */
#include "core/transfer_impl.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define PARTS_MAX (HF_PLAN_SPLITS_MAX + 1u)
/* HF_PLAN_PART_BYTES << 31 is more than any disk. */
#define LEVELS 32u
/* About as long as it takes until all edges have dialled again after an outage. */
#define KEPT_MS 60000
/* Chunks that are made to see how records pack. */
#define PROBES 6u
/* Prices are estimates, so an eighth of one is a draw. Then an edge that serves takes LOG, which it
 * applies as it comes; one that has nothing yet takes the SNAPSHOT, since keys in order are written
 * in a third of the time that it takes to write them as they changed. */
#define DRAW(price) ((price) / 8 + HF_MESSAGE_MAX)

/* Where DELTAs of 8 to 16 steps are cut: places fall, each a step below the one before. */
struct seq_cuts {
    hf_ms made;
    uint32_t count;
    hf_seq place[HF_PLAN_SPLITS_MAX];
};

struct key_cuts {
    bool there;
    hf_ms made;
    hf_seq head;
    double bytes;
    uint32_t count;
    uint32_t len[HF_PLAN_SPLITS_MAX];
    uint8_t place[HF_PLAN_SPLITS_MAX][HF_STORE_KEY_MAX];
};

struct hf_planner {
    pthread_mutex_t lock;
    struct seq_cuts level[LEVELS];
    struct key_cuts keys;
};

struct prices {
    bool log_reaches;
    uint64_t log;
    bool delta_reaches;
    double other; /* of a DELTA if one reaches, else of a SNAPSHOT */
};

struct hf_planner *hf_planner_new(void)
{
    struct hf_planner *p = calloc(1, sizeof(*p));
    if (p != NULL && pthread_mutex_init(&p->lock, NULL) != 0) {
        free(p);
        return NULL;
    }
    return p;
}

void hf_planner_free(struct hf_planner *p)
{
    if (p != NULL) {
        pthread_mutex_destroy(&p->lock);
        free(p);
    }
}

/* ---- prices ---- */

static struct hf_bound after(hf_seq seq)
{
    return (struct hf_bound){.seq = seq, .ordinal = UINT32_MAX, .offset = HF_OFFSET_END};
}

/* Makes the bytes of the sample those that travel. Chunks are made at places spread evenly over it,
 * or of all of it when that is not more. */
static enum hf_err pack_sample(struct hf_transfer *t, struct hf_fetch_request *range)
{
    struct hf_sample *s = t->sample;
    bool all = s->bytes < PROBES * HF_FETCH_DATA_MAX;
    double weight = 0;
    double sent = 0;
    double below = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < PROBES && s->count > 0; i++) {
        struct hf_probe_result r;
        double middle = s->bytes * (i + 0.5) / PROBES;
        while (!all && at + 1 < s->count && below + s->point[at].bytes < middle) {
            below += s->point[at++].bytes;
        }
        if (!all) {
            range->from = range->want == HF_WANT_DELTA ? after(s->point[at].seq - 1) : after(0);
            range->from.key = s->point[at].key;
        }
        enum hf_err err = hf_transfer_probe(t, range, &range->from, &r);
        if (err != HF_OK) {
            return err;
        }
        weight += (double)r.weight;
        sent += (double)r.sent_bytes;
        if (all && r.end) {
            break;
        }
    }
    double ratio = weight > 0 ? sent / weight : 1;
    for (uint32_t i = 0; i < s->count; i++) {
        s->point[i].bytes *= ratio;
    }
    s->bytes *= ratio;
    return HF_OK;
}

static enum hf_err prices_find(struct hf_transfer *t, hf_seq last, const struct hf_applied *a,
                               struct prices *c)
{
    hf_seq applied = t->q.plan.applied;
    struct hf_fetch_request range = {.want = HF_WANT_KEYS, .from = after(0)};
    c->log_reaches = applied + 1 >= hf_transfer_log_first(t);
    c->log = c->log_reaches ? hf_changelog_bytes(t->cfg->log, applied + 1, last) : 0;
    c->delta_reaches = applied > 0 && applied >= a->delta_floor && applied < a->at.seq;
    if (t->sample == NULL) {
        t->sample = malloc(sizeof(*t->sample));
    }
    if (t->sample == NULL) {
        return HF_NOMEM;
    }
    if (c->delta_reaches) {
        range = (struct hf_fetch_request){
            .want = HF_WANT_DELTA, .from = after(applied), .last = a->at.seq};
    }
    enum hf_err err = c->delta_reaches ? hf_view_sample_changes(t->view, applied, t->sample)
                                       : hf_view_sample_keys(t->view, t->sample);
    err = err == HF_OK ? pack_sample(t, &range) : err;
    c->other = err == HF_OK ? t->sample->bytes : 0;
    return err;
}

/* ---- cuts of a DELTA ---- */

static double bytes_above(const struct hf_sample *s, hf_seq seq)
{
    double sum = 0;
    for (uint32_t i = s->count; i-- > 0 && s->point[i].seq > seq;) {
        sum += s->point[i].bytes;
    }
    return sum;
}

/* Adds places below `from`, as far as the sample goes. */
static void cut_below(struct seq_cuts *c, const struct hf_sample *s, hf_seq from, hf_seq lo,
                      double step)
{
    double sum = 0;
    for (uint32_t i = s->count; i-- > 0 && c->count < HF_PLAN_SPLITS_MAX;) {
        hf_seq place = s->point[i].seq - 1;
        if (place >= from) {
            continue;
        }
        sum += s->point[i].bytes;
        if (sum >= step && place > lo) {
            c->place[c->count++] = place;
            from = place;
            sum = 0;
        }
    }
}

static void delta_cut(struct hf_transfer *t, struct hf_plan_reply *p)
{
    const struct hf_sample *s = t->sample;
    hf_seq lo = t->q.plan.applied;
    double step = HF_PLAN_PART_BYTES;
    uint32_t n = 0;
    while (s->bytes > step * PARTS_MAX && n < LEVELS - 1) {
        step *= 2;
        n++;
    }
    pthread_mutex_lock(&t->planner->lock);
    struct seq_cuts *c = &t->planner->level[n];
    /* Kept ones are good while what came since fits into the topmost part. */
    if (c->count == 0 || t->now - c->made > KEPT_MS || bytes_above(s, c->place[0]) > 2 * step) {
        *c = (struct seq_cuts){.made = t->now};
        cut_below(c, s, p->head, lo, step);
    } else {
        cut_below(c, s, c->place[c->count - 1], lo, step);
    }
    for (uint32_t i = c->count; i-- > 0;) {
        /* What is left at the lower end may be too little to be a part. */
        bool worth = p->split_count > 0 || s->bytes - bytes_above(s, c->place[i]) > step / 4;
        if (c->place[i] > lo && c->place[i] < p->head && worth) {
            p->split[p->split_count++] = c->place[i];
        }
    }
    pthread_mutex_unlock(&t->planner->lock);
}

/* ---- cuts of a SNAPSHOT ---- */

/* Kept ones are good while the size is about the same, and what came since their head can still be
 * had. */
static bool keys_kept(const struct hf_transfer *t, const struct hf_applied *a)
{
    const struct key_cuts *c = &t->planner->keys;
    double grown = t->sample->bytes - c->bytes;
    if (t->asker.answer != NULL) {
        return false; /* a file, which nobody shares, and which is to end at the newest state */
    }
    return c->there && t->now - c->made <= KEPT_MS && c->head > t->q.plan.applied &&
           grown <= c->bytes / 4 && grown >= -c->bytes / 4 &&
           (c->head + 1 >= hf_transfer_log_first(t) || c->head >= a->delta_floor);
}

static void keys_make(struct hf_transfer *t, hf_seq head)
{
    struct key_cuts *c = &t->planner->keys;
    struct hf_slice place[HF_PLAN_SPLITS_MAX];
    c->there = true;
    c->made = t->now;
    c->head = head;
    c->bytes = t->sample->bytes;
    c->count = hf_sample_cut_keys(t->sample, HF_PLAN_PART_BYTES, HF_PLAN_SPLITS_MAX, place);
    for (uint32_t i = 0; i < c->count; i++) {
        memcpy(c->place[i], place[i].data, place[i].len);
        c->len[i] = (uint32_t)place[i].len;
    }
}

static void snapshot_cut(struct hf_transfer *t, const struct hf_applied *a, struct hf_plan_reply *p)
{
    const struct key_cuts *c = &t->planner->keys;
    pthread_mutex_lock(&t->planner->lock);
    if (!keys_kept(t, a)) {
        keys_make(t, a->at.seq);
    }
    p->head = c->head;
    p->split_count = c->count;
    for (uint32_t i = 0; i < c->count; i++) {
        memcpy(t->split_key[i], c->place[i], c->len[i]);
        p->split_key[i] = hf_slice_of(t->split_key[i], c->len[i]);
    }
    pthread_mutex_unlock(&t->planner->lock);
}

/* ---- the choice ---- */

static bool log_wins(const struct hf_transfer *t, const struct prices *c)
{
    uint64_t other = (uint64_t)c->other;
    if (t->q.plan.applied == 0) {
        return c->log <= HF_MESSAGE_MAX || c->log + DRAW(c->log) <= other;
    }
    return c->log <= other + DRAW(other);
}

static void plan_choose(struct hf_transfer *t, const struct prices *c, hf_seq last,
                        struct hf_plan_reply *p)
{
    uint64_t other = (uint64_t)c->other;
    const char *name = c->delta_reaches ? "delta" : "snapshot";
    int n;
    if (c->log_reaches && (log_wins(t, c) || p->head <= t->q.plan.applied)) {
        p->kind = HF_PLAN_LOG;
        p->bytes = c->log;
        p->head = last;
        n = snprintf(t->reason, sizeof(t->reason),
                     "log of %" PRIu64 " bytes is hardly dearer than a %s of about %" PRIu64,
                     c->log, name, other);
    } else if (c->log_reaches) {
        p->kind = c->delta_reaches ? HF_PLAN_DELTA : HF_PLAN_SNAPSHOT;
        p->bytes = other;
        n = snprintf(t->reason, sizeof(t->reason),
                     "%s of about %" PRIu64 " bytes is %s than a log of %" PRIu64, name, other,
                     other < c->log ? "cheaper" : "sooner in place", c->log);
    } else {
        p->kind = c->delta_reaches ? HF_PLAN_DELTA : HF_PLAN_SNAPSHOT;
        p->bytes = other;
        n = snprintf(t->reason, sizeof(t->reason),
                     "%s of about %" PRIu64 " bytes, since the log begins at %" PRIu64, name, other,
                     hf_transfer_log_first(t));
    }
    p->reason = hf_slice_of(t->reason, (size_t)n);
}

static enum hf_err plan_view(struct hf_transfer *t, hf_seq last, struct hf_plan_reply *p)
{
    struct hf_applied a;
    struct prices c = {.log = 0};
    enum hf_err err = hf_transfer_shown(t, &a);
    err = err == HF_OK ? prices_find(t, last, &a, &c) : err;
    if (err != HF_OK) {
        return err;
    }
    p->head = a.at.seq;
    plan_choose(t, &c, last, p);
    if (p->kind == HF_PLAN_DELTA) {
        delta_cut(t, p);
    } else if (p->kind == HF_PLAN_SNAPSHOT) {
        snapshot_cut(t, &a, p);
    }
    return HF_OK;
}

enum hf_err hf_transfer_plan(struct hf_transfer *t, struct hf_plan_reply *p)
{
    if (!hf_id_eq(&t->q.plan.epoch_id, &t->cfg->epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    hf_seq last = hf_transfer_log_last(t);
    if (t->q.plan.applied >= last) {
        p->kind = HF_PLAN_NONE;
        p->head = last;
        p->reason = hf_slice_str("nothing is missing");
        return HF_OK;
    }
    enum hf_err err = hf_view_renew(t->view);
    if (err == HF_OK) {
        err = plan_view(t, last, p);
    }
    hf_view_reset(t->view);
    return err;
}
