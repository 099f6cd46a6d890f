/*
 * hop.c - bursts of packets through a transmitter, its queue and a lossy wire; and recordings.
 *
 * A burst is computed as one: where it begins and ends on the transmitter, how many packets the
 * queue had no room for, and where the losses fall in it. Read hop.h for the model.
 */
#include "sim/hop.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define QUEUE_DEFAULT (100 * SIM_MS) /* what sim/wan takes, and routers are told to have */
/* A detour is as long as parallel paths differ by. */
#define DETOUR (3 * SIM_MS)
#define LINE_BYTES 254u                /* of a recording; comments are lines, too */
#define FAR UINT64_C(1000000000000000) /* packets; nobody sends so many */

void hop_init(struct hop *l, uint64_t seed, uint64_t stream)
{
    memset(l, 0, sizeof(*l));
    rng_seed(&l->rng, seed, stream);
}

struct link_profile hop_profile_at(const struct link_profile *p, sim_us now)
{
    struct link_profile at = *p;
    const struct hop_trace *t = p->trace;
    if (t == NULL) {
        return at;
    }
    sim_us when = now % t->period;
    uint32_t low = 0;
    for (uint32_t high = t->count; high - low > 1;) {
        uint32_t middle = (low + high) / 2;
        *(t->point[middle].at <= when ? &low : &high) = middle;
    }
    const struct hop_point *point = &t->point[low];
    at.delay = point->delay;
    at.loss = point->loss;
    at.rate_bps = point->rate_bps > 0 ? point->rate_bps : p->rate_bps;
    return at;
}

/* ---- losses ---- */

/* Failures before the first success of chance p, by inversion: one draw however many. */
static uint64_t failures(struct rng *r, double p)
{
    double u = (double)(rng_next(r) >> 11) * 0x1.0p-53;
    double n = p >= 1 ? 0 : floor(log1p(-u) / log1p(-p));
    return n < (double)FAR ? (uint64_t)n : FAR;
}

static uint64_t draw_good(struct hop *l, const struct link_profile *p)
{
    if (p->burst <= 1 || p->loss >= 1) {
        return failures(&l->rng, p->loss);
    }
    /* In the stationary state the mean burst and the mean gap make the loss that was asked for. */
    double enter = p->loss / (1 - p->loss) / p->burst;
    return 1 + failures(&l->rng, enter < 1 ? enter : 1);
}

static uint64_t draw_bad(struct hop *l, const struct link_profile *p)
{
    return p->burst <= 1 || p->loss >= 1 ? 1 : 1 + failures(&l->rng, 1 / p->burst);
}

/* How many of the next `count` packets the wire loses, and how many come behind the last of them.
 */
static uint32_t draw_losses(struct hop *l, const struct link_profile *p, uint32_t count,
                            uint32_t *behind)
{
    uint32_t lost = 0;
    uint32_t last = 0;
    *behind = count;
    if (p->loss <= 0) {
        l->drawn_loss = 0;
        return 0;
    }
    if (l->drawn_loss != p->loss || l->drawn_burst != p->burst) {
        l->drawn_loss = p->loss;
        l->drawn_burst = p->burst;
        l->good_left = draw_good(l, p);
        l->bad_left = 0;
    }
    for (uint32_t at = 0; at < count;) {
        bool bad = l->good_left == 0;
        if (bad && l->bad_left == 0) {
            l->bad_left = draw_bad(l, p);
        }
        uint64_t *left = bad ? &l->bad_left : &l->good_left;
        uint32_t run = *left < count - at ? (uint32_t)*left : count - at;
        *left -= run;
        at += run;
        if (bad) {
            lost += run;
            last = at;
            l->good_left = l->bad_left == 0 ? draw_good(l, p) : 0;
        }
    }
    *behind = lost > 0 ? count - last : count;
    return lost;
}

/* ---- transmitter and delay ---- */

static sim_us send_time(const struct link_profile *p, uint64_t bytes)
{
    return p->rate_bps == 0 ? 0 : bytes * 8 * SIM_S / p->rate_bps;
}

/* Of `count` packets, those that find room; what is sent while they come makes more of it. An idle
 * transmitter takes one, however small the queue is. */
static uint32_t fitting(const struct link_profile *p, sim_us waited, sim_us meanwhile,
                        uint32_t count, sim_us each)
{
    sim_us most = p->queue > 0 ? p->queue : QUEUE_DEFAULT;
    if (p->queue_bytes > 0) {
        most = send_time(p, p->queue_bytes);
    }
    if (each == 0) {
        return count;
    }
    sim_us room = most + meanwhile > waited ? most + meanwhile - waited : 0;
    uint64_t fits = room / each;
    fits = fits == 0 && waited == 0 ? 1 : fits;
    return fits < count ? (uint32_t)fits : count;
}

static sim_us delay_of(struct hop *l, const struct link_profile *p, uint32_t count)
{
    sim_us delay = p->delay;
    if (p->jitter > 0) {
        sim_us low = p->delay > p->jitter ? p->delay - p->jitter : 0;
        delay = rng_between(&l->rng, low, p->delay + p->jitter);
    }
    if (p->packet_reorder > 0 &&
        rng_chance(&l->rng, 1 - pow(1 - p->packet_reorder, (double)count))) {
        delay += DETOUR;
    }
    return delay;
}

struct hop_burst hop_offer(struct hop *l, const struct link_profile *p, sim_us first, sim_us last,
                           uint32_t count, uint64_t bytes)
{
    struct hop_burst b = {0};
    sim_us each = send_time(p, bytes / count);
    sim_us start = l->busy_until > first ? l->busy_until : first;
    b.waited = start - first;
    uint32_t taken = fitting(p, b.waited, last - first, count, each);
    uint32_t behind = 0;
    uint32_t lost = draw_losses(l, p, taken, &behind);
    b.first = start + each;
    b.last = start + send_time(p, bytes * taken / count);
    b.last = b.last > last + each || taken == 0 ? b.last : last + each;
    b.lost = lost + (count - taken);
    b.behind = taken < count ? 0 : behind;
    b.arrives = b.last + delay_of(l, p, count);
    l->busy_until = taken == 0 ? l->busy_until : b.last;
    l->bytes += bytes * taken / count;
    l->packets += taken;
    l->lost += lost;
    l->overflowed += count - taken;
    if (p->packet_duplicate > 0) {
        hop_count(l, (uint64_t)((double)bytes * p->packet_duplicate));
    }
    return b;
}

void hop_count(struct hop *l, uint64_t bytes)
{
    l->bytes += bytes;
}

/* ---- cuts ---- */

void hop_cut(struct hop *l, sim_us now)
{
    if (!l->cut) {
        l->cut = true;
        l->cut_from = now;
        l->cut_until = SIM_NEVER;
    }
}

void hop_heal(struct hop *l, sim_us now)
{
    if (l->cut) {
        l->cut = false;
        l->cut_until = now;
    }
}

bool hop_was_cut(const struct hop *l, sim_us at)
{
    return at >= l->cut_from && at < l->cut_until;
}

/* ---- recordings ---- */

static bool parse_point(const char *text, struct hop_point *out)
{
    double at = 0;
    double rtt = 0;
    double loss = 0;
    double rate = 0;
    char rest[2];
    int n = sscanf(text, "%lf %lf %lf %lf %1s", &at, &rtt, &loss, &rate, rest);
    /* A NaN fails every comparison. */
    if (n < 3 || n > 4 || !(at >= 0 && at <= 1e9) || !(rtt >= 0 && rtt <= 120000) ||
        !(loss >= 0 && loss <= 100) || !(rate >= 0 && rate <= 100000)) {
        return false;
    }
    *out = (struct hop_point){.at = (sim_us)(at * 1e6),
                              .delay = (sim_us)(rtt * 500),
                              .loss = loss / 100,
                              .rate_bps = (uint64_t)(rate * 1e6)};
    return true;
}

static enum hf_err trace_add(struct hop_trace *t, const struct hop_point *p, struct hf_error *e)
{
    if (t->count == HOP_POINTS_MAX) {
        return hf_error_set(e, HF_ARG, "more than %u points", HOP_POINTS_MAX);
    }
    if (t->count == 0 ? p->at != 0 : p->at <= t->point[t->count - 1].at) {
        return hf_error_set(e, HF_ARG, "times begin at 0 and grow");
    }
    if ((t->count & (t->count - 1)) == 0) { /* full at each power of two */
        size_t room = t->count == 0 ? 1 : 2 * (size_t)t->count;
        struct hop_point *grown = realloc(t->point, room * sizeof(*grown));
        if (grown == NULL) {
            return hf_error_set(e, HF_NOMEM, "no memory");
        }
        t->point = grown;
    }
    t->point[t->count++] = *p;
    return HF_OK;
}

static enum hf_err trace_text(struct hop_trace *t, char *text, struct hf_error *e)
{
    struct hop_point p;
    text[strcspn(text, "#\r")] = '\0';
    if (text[strspn(text, " \t")] == '\0') {
        return HF_OK;
    }
    if (!parse_point(text, &p)) {
        return hf_error_set(e, HF_ARG, "expected SECONDS RTT_MS LOSS_PERCENT [RATE_MBIT]");
    }
    return trace_add(t, &p, e);
}

/* The next line without its end; HF_NOTFOUND behind the last. */
static enum hf_err trace_line(FILE *f, char text[LINE_BYTES + 1], struct hf_error *e)
{
    size_t n = 0;
    int c;
    while ((c = getc(f)) != EOF && c != '\n') {
        if (c == '\0') {
            return hf_error_set(e, HF_ARG, "a byte of the line is zero");
        }
        if (n == LINE_BYTES) {
            return hf_error_set(e, HF_ARG, "the line is longer than %u bytes", LINE_BYTES);
        }
        text[n++] = (char)c;
    }
    text[n] = '\0';
    return c == EOF && n == 0 ? HF_NOTFOUND : HF_OK;
}

/* A pipe could keep the simulator waiting, and a device has no end. */
static FILE *trace_open(const char *path, struct hf_error *e)
{
    struct stat st;
    bool there = stat(path, &st) == 0;
    if (there && !S_ISREG(st.st_mode)) {
        hf_error_set(e, HF_IO, "%s: no regular file", path);
        return NULL;
    }
    FILE *f = there ? fopen(path, "re") : NULL;
    if (f == NULL) {
        hf_error_set(e, HF_IO, "%s: %s", path, strerror(errno));
    }
    return f;
}

enum hf_err hop_trace_load(struct hop_trace *t, const char *path, struct hf_error *e)
{
    char text[LINE_BYTES + 1];
    struct hf_error inner = {.code = HF_OK};
    enum hf_err err = HF_OK;
    int number = 0;
    *t = (struct hop_trace){0};
    FILE *f = trace_open(path, e);
    if (f == NULL) {
        return HF_IO;
    }
    while (err == HF_OK) {
        number++;
        err = trace_line(f, text, &inner);
        err = err == HF_OK ? trace_text(t, text, &inner) : err;
    }
    (void)fclose(f);
    err = err == HF_NOTFOUND ? HF_OK : err;
    if (err != HF_OK) {
        hf_error_set(e, err, "%s:%d: %s", path, number, inner.text);
    } else if (t->count < 2) {
        err = hf_error_set(e, HF_ARG, "%s: a recording has at least two points", path);
    }
    if (err != HF_OK) {
        hop_trace_free(t);
        return err;
    }
    t->period = 2 * t->point[t->count - 1].at - t->point[t->count - 2].at;
    return HF_OK;
}

void hop_trace_free(struct hop_trace *t)
{
    free(t->point);
    *t = (struct hop_trace){0};
}
