/*
 * cubic.c - see cubic.h. One acknowledgement stands for some segments, as tcp.c sends them.
 */
#include "sim/cubic.h"

#include <math.h>

#define WINDOW_FIRST 10.0
#define WINDOW_LEAST 2.0
#define C 0.4
#define BETA 0.7
#define RENO_GROWTH (3 * (1 - BETA) / (1 + BETA)) /* segments a round trip; RFC 9438, 4.3 */
#define GROWTH_UNKNOWN 0.05                       /* a segment, as long as nothing was ever lost */
#define HYSTART_WINDOW 16.0
#define HYSTART_SAMPLES 8u
#define HYSTART_LEAST (4 * SIM_MS)
#define HYSTART_MOST (16 * SIM_MS)
#define HYSTART_GAP (2 * SIM_MS) /* a longer one ends the train */

static double greater(double a, double b)
{
    return a > b ? a : b;
}

static double lesser(double a, double b)
{
    return a < b ? a : b;
}

void cubic_begin(struct cubic *w, sim_us now)
{
    *w = (struct cubic){
        .window = WINDOW_FIRST, .threshold = 1e9, .rtt_least = SIM_NEVER, .full_at = now};
}

/* ---- slow start ---- */

/* Linux's hystart_update for one acknowledgement, of the segments up to the `done`th: the queue has
 * grown by an eighth of the round trip, or half of it has passed in one train. */
static bool path_is_full(struct cubic *w, const struct cubic_ack *a, uint32_t done, uint32_t each)
{
    double part = a->segments == 1 ? 1 : (double)(done - 1) / (a->segments - 1);
    sim_us at = a->first_at + (sim_us)(part * (double)(a->last_at - a->first_at));
    sim_us rtt = (sim_us)((1 - part) * (double)a->first_rtt + part * (double)a->last_rtt);
    sim_us late = w->rtt_least / 8;
    late = late < HYSTART_LEAST ? HYSTART_LEAST : late > HYSTART_MOST ? HYSTART_MOST : late;
    at = at > w->train ? at : w->train; /* of flights that overtook each other */
    if (a->end - (uint64_t)(a->segments - done) * HOP_SEGMENT > w->round_end) {
        /* Two segments have gone for each that is acknowledged. */
        uint64_t sent = a->sent_end + 2 * (uint64_t)(done - each) * HOP_SEGMENT;
        w->round_end = sent < a->written_end ? sent : a->written_end;
        w->round_began = w->train = at;
        w->round_least = SIM_NEVER;
        w->round_samples = 0;
    }
    w->train = at <= w->train + HYSTART_GAP ? at : w->train;
    w->round_least = rtt < w->round_least ? rtt : w->round_least;
    w->round_samples++;
    return 2 * (w->train - w->round_began) > w->rtt_least ||
           (w->round_samples > HYSTART_SAMPLES && w->round_least > w->rtt_least + late);
}

static void start_slowly(struct cubic *w, const struct cubic_ack *a)
{
    uint32_t each = (a->segments + a->acks - 1) / a->acks;
    for (uint32_t done = 0; done < a->segments && w->window < w->threshold;) {
        uint32_t n = a->segments - done < each ? a->segments - done : each;
        done += n;
        if (!w->found && a->first_rtt > 0 && w->window >= HYSTART_WINDOW &&
            path_is_full(w, a, done, n)) {
            w->found = true;
            w->threshold = w->window;
            return;
        }
        w->window = lesser(w->window + n, w->threshold);
    }
}

/* ---- the curve ---- */

static double growth(struct cubic *w, const struct cubic_ack *a)
{
    if (w->began == 0) {
        w->began = a->last_at;
        w->reno = w->window;
        w->origin = greater(w->most, w->window);
        w->k = cbrt((w->origin - w->window) / C);
    }
    double rtt = w->rtt_least == SIM_NEVER ? 0 : (double)w->rtt_least;
    double since = a->last_at > w->began ? (double)(a->last_at - w->began) : 0;
    double t = (since + rtt) / (double)SIM_S - w->k;
    double goal = w->origin + C * t * t * t;
    w->reno += RENO_GROWTH * a->segments / w->window;
    double each = (greater(goal, w->reno) - w->window) / w->window;
    each = greater(each, w->most > 0 ? 0 : GROWTH_UNKNOWN);
    return lesser(each, 0.5) * a->segments; /* RFC 9438, 4.4: target at most 1.5 windows */
}

void cubic_acked(struct cubic *w, const struct cubic_ack *a)
{
    w->rtt_least = a->first_rtt > 0 && a->first_rtt < w->rtt_least ? a->first_rtt : w->rtt_least;
    bool starting = w->window < w->threshold;
    bool limits = w->limited || (starting && w->window < 2.0 * w->most_out);
    if (w->state == CUBIC_MENDING || !limits) {
        return;
    }
    if (starting) {
        start_slowly(w, a);
    } else {
        w->window += growth(w, a);
    }
}

/* ---- losses ---- */

static void reduce(struct cubic *w)
{
    /* Others want to grow: leave room sooner than where it was too much last time. */
    w->most = w->window < w->most ? w->window * (1 + BETA) / 2 : w->window;
    w->began = 0;
    w->threshold = greater(w->window * BETA, WINDOW_LEAST);
}

void cubic_lost(struct cubic *w)
{
    if (w->state == CUBIC_OPEN) {
        w->before = w->window;
        w->delivered = w->sent = 0;
        w->state = CUBIC_MENDING;
        reduce(w);
    }
}

void cubic_timed_out(struct cubic *w)
{
    if (w->state == CUBIC_OPEN) {
        reduce(w);
    }
    w->state = CUBIC_TIMED_OUT;
    w->window = 1;
    w->most = 0;
    w->began = 0;
    w->found = false;
}

void cubic_mended(struct cubic *w)
{
    if (w->state == CUBIC_MENDING) {
        w->window = w->threshold;
    }
    w->state = CUBIC_OPEN;
}

void cubic_delivered(struct cubic *w, uint32_t segments, uint32_t in_flight, bool advanced)
{
    if (w->state != CUBIC_MENDING) {
        return;
    }
    double may = 0;
    w->delivered += segments;
    if (in_flight > w->threshold) {
        may = ceil(w->threshold * w->delivered / w->before) - w->sent;
    } else {
        /* Each acknowledgement lets one more go than it tells of. */
        may = greater(w->delivered - w->sent, segments) + (advanced ? segments : 0);
        may = lesser(may, w->threshold - in_flight);
    }
    w->window = in_flight + greater(may, w->sent > 0 ? 0 : 1);
}

/* ---- windows that are not used ---- */

static void shrink(struct cubic *w, double window)
{
    w->threshold = greater(w->threshold, 0.75 * w->window);
    w->window = window;
}

void cubic_sent(struct cubic *w, const struct cubic_send *s)
{
    w->sent += s->segments;
    if (s->acked >= w->limited_end || s->full || (!w->limited && s->in_flight > w->most_out)) {
        w->limited = s->full;
        w->most_out = s->in_flight;
        w->limited_end = s->end;
    }
    if (s->full) {
        w->used = 0;
        w->full_at = s->now;
        return;
    }
    w->used = greater(w->used, s->in_flight);
    if (s->now - w->full_at < s->timeout) {
        return;
    }
    double used = greater(w->used, WINDOW_FIRST);
    if (w->state == CUBIC_OPEN && used < w->window) {
        shrink(w, (w->window + used) / 2);
    }
    w->used = 0;
    w->full_at = s->now;
}

void cubic_rested(struct cubic *w, sim_us idle, sim_us timeout)
{
    w->began += w->began > 0 ? idle : 0; /* the curve stands still meanwhile */
    while (idle > timeout && w->window > WINDOW_FIRST) {
        shrink(w, greater(w->window / 2, WINDOW_FIRST));
        idle -= timeout;
    }
}
