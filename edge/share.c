/*
 * share.c - how fast data may be asked for beside a live stream, and at all.
 *
 * While the stream is busy, data is asked for at a share of the measured rate of the link, and
 * never faster than the operator allows. The rate is what came, of data and of the stream, while
 * nothing was limited: for a second and a half at the beginning of a transfer, and of every half
 * minute, and anew after a time in which nothing came. What a request asks for is taken from a
 * credit that grows at the allowed rate, and what its reply did not use is given back.
 *
 * It must not judge the link by replies that only say how little was missing.
 */
#include "edge/replica_impl.h"

/* The stream counts as busy for so long after a frame; the rate is measured for so long, and kept
 * to for so long. */
#define LIVE_MS 1000
/* Something comes more often on a link that lives, unless replies take longer as a rule. */
#define SILENT_MS 1000
#define MEASURE_MS 1500
#define LIMITED_MS 30000
#define LIMITED_PER_MEASURED 12
#define SAMPLE_MS 500

static bool stream_is_busy(const struct hf_replica *r)
{
    return r->throttle.live_at >= 0 && r->now - r->throttle.live_at < LIVE_MS;
}

/* Bytes per second that data may be asked for at; 0 = no limit. */
static uint64_t rate_limit(const struct hf_replica *r)
{
    const struct throttle *t = &r->throttle;
    uint64_t most = r->cfg.catchup_rate_max;
    if (!t->limited || t->link_rate == 0 || !stream_is_busy(r)) {
        return most;
    }
    uint64_t share = t->link_rate * r->cfg.catchup_share / 100 + 1;
    return most == 0 || share < most ? share : most;
}

/* A quarter of a second, or one reply, may be saved up. */
static int64_t credit_now(const struct hf_replica *r)
{
    uint64_t rate = rate_limit(r);
    int64_t most = (int64_t)(rate / 4) + r->size.data_max;
    uint64_t elapsed = (uint64_t)(r->now - r->throttle.credit_at);
    int64_t credit = r->throttle.credit + (int64_t)(rate * elapsed / 1000);
    return rate == 0 || credit > most ? most : credit;
}

/* ---- the rate of the link ---- */

static void sample_begin(struct hf_replica *r)
{
    r->throttle.sample_at = r->now;
    r->throttle.sample_from = r->throttle.delivered;
    r->throttle.sample_filled = false;
}

static void phase_begin(struct hf_replica *r, bool limited)
{
    r->throttle.limited = limited;
    r->throttle.phase_at = r->now;
    r->throttle.best_rate = 0;
    sample_begin(r);
}

void share_measure(struct hf_replica *r)
{
    phase_begin(r, false);
}

/* The best sample of a phase without a limit is what the link can. Shorter samples would be of
 * bunches: TCP holds replies up behind a loss, and delivers them together. */
static void sample(struct hf_replica *r)
{
    struct throttle *t = &r->throttle;
    hf_ms took = r->now - t->sample_at;
    if (took < SAMPLE_MS) {
        return;
    }
    uint64_t rate = (t->delivered - t->sample_from) * 1000 / (uint64_t)took;
    t->best_rate = rate > t->best_rate ? rate : t->best_rate;
    if (t->sample_filled) {
        sample_begin(r);
    } else {
        phase_begin(r, false); /* there was little to fetch */
    }
}

/* What is under way was asked for without a limit, and is charged for. */
static void limit(struct hf_replica *r, hf_ms measured)
{
    struct throttle *t = &r->throttle;
    t->link_rate = t->best_rate;
    /* On a thin link it takes long until there is a sample, all without a limit. */
    t->limited_ms = LIMITED_PER_MEASURED * measured;
    t->limited_ms = t->limited_ms > LIMITED_MS ? t->limited_ms : LIMITED_MS;
    phase_begin(r, true);
    t->credit = 0;
    t->credit_at = r->now;
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        const struct request *q = &r->request[i];
        t->credit -= q->id != 0 && q->state == REQUEST_SENT ? q->data_max : 0;
    }
}

/* What came in a time of silence says nothing of the rate: measured over a cut it would be a
 * crawl, and kept to for half a minute. */
void share_heard(struct hf_replica *r, uint32_t bytes)
{
    struct throttle *t = &r->throttle;
    t->delivered += bytes; /* those that end a silence were sent in it, and count as little */
    hf_ms silence = later(SILENT_MS, r->pace[1].rtt_mean);
    if (!t->limited && r->now - t->heard_at >= silence) {
        phase_begin(r, false);
    }
    t->heard_at = r->now;
}

void share_replied(struct hf_replica *r, const struct request *q, uint32_t bytes)
{
    struct throttle *t = &r->throttle;
    hf_ms took = r->now - t->phase_at;
    t->credit += (int64_t)q->data_max - bytes;
    if (t->limited) {
        if (took >= t->limited_ms) {
            phase_begin(r, false);
        }
        return;
    }
    t->sample_filled |= reply_is_filled(q, bytes);
    sample(r);
    if (took >= MEASURE_MS && t->best_rate > 0) {
        limit(r, took);
    }
}

void share_stream(struct hf_replica *r, uint32_t bytes)
{
    share_heard(r, bytes); /* its share is of the whole link */
    r->throttle.live_at = r->now;
}

/* ---- asking ---- */

bool share_room(const struct hf_replica *r)
{
    return credit_now(r) > 0;
}

void share_charge(struct hf_replica *r, uint32_t bytes)
{
    r->throttle.credit = credit_now(r) - bytes;
    r->throttle.credit_at = r->now;
}

void share_refund(struct hf_replica *r, uint32_t bytes)
{
    r->throttle.credit += bytes;
}

hf_ms share_deadline(const struct hf_replica *r)
{
    uint64_t rate = rate_limit(r);
    int64_t credit = credit_now(r);
    return credit > 0 ? r->now + LIMITED_MS : r->now + 1 - credit * 1000 / (int64_t)rate;
}
