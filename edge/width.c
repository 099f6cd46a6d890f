/*
 * width.c - how many requests for data are under way at once: as many as bring something.
 *
 * Each has a connection of its own while there are enough, so this is also how many connections
 * are made. A transfer begins with 4, or with one for each 64 KiB that its plan names, since a
 * connection that brings less costs more to make; until the first round is measured each answer
 * opens it by one, up to twice that, unless one was slow: what is under way when a thin link is cut
 * is late, and the part of it that is asked for again is lost. From there on it is tried: half as
 * many again are kept when goodput rises by a tenth with them, which it does on a link that loses,
 * where a TCP connection carries only a part of the rate; a quarter less are kept when goodput
 * stays. Steps are that large because replies over a lossy link vary.
 *
 * A round counts only when the width was what bound it: not at the end of a transfer, and not while
 * the stream has its share. It must not take loss for a lack of room: the width closes only when
 * the core's line is full, and when all requests time out together (pace.c).
 */
#include "edge/replica_impl.h"

#define WIDTH_FIRST 4u
#define WIDTH_PLANNED_MOST 16u
#define WIDTH_PLANNED_BYTES (64u << 10)
#define WIDTH_LEAST 2u
#define OPENING_MS_MOST 2000
/* A round is so long, and has two answers to each of the requests. */
#define ROUND_MS 1000
#define ROUND_ANSWERS 2u
#define WIDER_PERCENT 110u
#define NARROWER_PERCENT 95u
/* After a wider and a narrower one that were no better. */
#define REST_MS 8000

static uint32_t within(const struct hf_replica *r, uint32_t width)
{
    width = width > WIDTH_LEAST ? width : WIDTH_LEAST;
    return width < r->cfg.fetch_max ? width : r->cfg.fetch_max;
}

void width_restart(struct hf_replica *r)
{
    r->width.round_at = r->now;
    r->width.measured_at = -1;
}

void width_begin(struct hf_replica *r, uint64_t bytes)
{
    struct width *w = &r->width;
    uint64_t first = bytes / WIDTH_PLANNED_BYTES;
    first = first < WIDTH_PLANNED_MOST ? first : WIDTH_PLANNED_MOST;
    first = first > WIDTH_FIRST ? first : WIDTH_FIRST;
    w->opening = w->kept == 0;
    /* What the last transfer found enough is enough. */
    w->now = within(r, w->opening || first < w->kept ? (uint32_t)first : w->kept);
    w->open_to = within(r, 2 * w->now);
    width_restart(r);
}

/* Requests that were under way together are refused together: that counts once. */
void width_refused(struct hf_replica *r, hf_ms sent)
{
    if (sent >= r->width.round_at) {
        width_close(r);
    }
}

void width_close(struct hf_replica *r)
{
    r->width = (struct width){.now = within(r, r->width.now / 2)};
    width_restart(r);
}

/* ---- trials ---- */

static void try_next(struct hf_replica *r)
{
    struct width *w = &r->width;
    for (int i = 0; i < 2 && w->now == w->kept; i++) {
        w->now = within(r, w->narrower ? w->kept - w->kept / 4 : w->kept + w->kept / 2);
        w->narrower = w->now == w->kept ? !w->narrower : w->narrower;
    }
}

static void judge(struct hf_replica *r, uint64_t rate)
{
    struct width *w = &r->width;
    uint32_t percent = w->now > w->kept ? WIDER_PERCENT : NARROWER_PERCENT;
    if (w->kept == 0 || w->now == w->kept) {
        w->kept = w->now;
        w->kept_rate = rate;
    } else if (rate >= w->kept_rate / 100 * percent) {
        w->kept = w->now;
        /* Many steps that each cost a little would cost much. */
        w->kept_rate = rate > w->kept_rate ? rate : w->kept_rate;
        w->in_vain = 0;
    } else {
        w->now = w->kept;
        w->narrower = !w->narrower;
        if (++w->in_vain == 2) {
            w->in_vain = 0;
            w->rest_until = r->now + REST_MS;
        }
    }
    if (r->now >= w->rest_until) {
        try_next(r);
    }
}

void width_replied(struct hf_replica *r, hf_ms sent, uint32_t open)
{
    struct width *w = &r->width;
    if (w->opening) {
        w->opening = r->now - sent < OPENING_MS_MOST && ++w->now < w->open_to;
        width_restart(r);
        return;
    }
    if (sent < w->round_at) {
        return; /* of another width */
    }
    if (w->measured_at < 0) {
        w->measured_at = r->now;
        w->delivered = r->throttle.delivered;
        w->answers = w->bound = 0;
        return;
    }
    w->answers++;
    w->bound += open >= w->now;
    hf_ms took = r->now - w->measured_at;
    if (took < ROUND_MS || w->answers < ROUND_ANSWERS * w->now) {
        return;
    }
    if (w->bound >= w->answers - w->answers / 4) {
        judge(r, (r->throttle.delivered - w->delivered) * 1000 / (uint64_t)took);
    }
    width_restart(r);
}
