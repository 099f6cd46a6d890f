/*
 * tcp.c - windows, flights, losses. Read tcp.h for the model, hop.h for what is under it.
 *
 * A flight has two ends. At the receiver it counts when it and all before it have arrived: a loss
 * delays it and those behind it. At the sender it leaves the window when it is acknowledged, which
 * a loss in it does not delay, thanks to SACK. A flight that would arrive while the path is cut is
 * lost with all after it, and sent again once a time-out falls into a time without a cut.
 *
 * The constants are Linux 6's: RFC 6928 (10 segments), RFC 9438 (CUBIC: 0.4, 0.7), RFC 8985 (a
 * tail loss probe after two round trips), 200 ms as the least time-out.
 */
#include "sim/tcp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_FIRST 10.0
#define WINDOW_LEAST 2.0
#define FLIGHT_LEAST 4u
/* So far each segment is acknowledged, later every other. */
#define QUICK_ACKS (16u * HOP_SEGMENT)
#define CUBIC_C 0.4
#define CUBIC_BETA 0.7
#define RENO_GROWTH (3 * (1 - CUBIC_BETA) / (1 + CUBIC_BETA)) /* a round trip; RFC 9438, 4.3 */
#define TIMEOUT_LEAST (200 * SIM_MS)
#define TIMEOUT_MOST (120 * SIM_S)
/* HyStart: slow start ends when the round trip has grown by an eighth, 4 to 16 ms. */
#define HYSTART_WINDOW 16.0
#define HYSTART_LEAST (4 * SIM_MS)
#define HYSTART_MOST (16 * SIM_MS)

struct tcp_flight {
    uint64_t end; /* of its bytes in the stream */
    sim_us sent;
    sim_us first_arrives; /* its packets that were not lost; the path must not be cut then */
    sim_us arrives;       /* all of it; SIM_NEVER while something is missing */
    sim_us acked;
    sim_us waited; /* in queues */
    uint32_t segments, missing;
    sim_us again_at; /* what is missing is sent again */
    uint32_t tries;
    bool lost, timed_out; /* at least one of it; nothing but a time-out told so */
    bool full;            /* the window was what held the sender back */
    bool arrived;         /* with all before it */
};

/* ---- packets ---- */

struct packet *packet_new(const void *bytes, size_t len)
{
    struct packet *p = malloc(sizeof(*p) + len);
    HF_ASSERT(p != NULL);
    p->refs = 1;
    p->len = len;
    memcpy(p->bytes, bytes, len);
    return p;
}

struct packet *packet_ref(struct packet *p)
{
    p->refs++;
    return p;
}

void packet_unref(struct packet *p)
{
    if (--p->refs == 0) {
        free(p);
    }
}

/* ---- open, write, take ---- */

void tcp_open(struct tcp *c, sim_us now, sim_us rtt)
{
    tcp_close(c);
    *c = (struct tcp){.window = WINDOW_FIRST,
                      .threshold = 1e9,
                      .rtt = rtt,
                      .rtt_least = rtt,
                      .last_sent = now,
                      .flight = c->flight,
                      .flight_room = c->flight_room};
    c->end = &c->first;
}

void tcp_close(struct tcp *c)
{
    while (c->first != NULL) {
        struct tcp_message *m = c->first;
        c->first = m->next;
        packet_unref(m->packet);
        free(m);
    }
    c->end = &c->first;
    c->messages = c->flight_count = c->in_flight = 0;
    c->sent = c->arrived = c->written;
    c->retry_at = 0;
}

void tcp_free(struct tcp *c)
{
    tcp_close(c);
    free(c->flight);
    *c = (struct tcp){0};
}

void tcp_write(struct tcp *c, struct packet *p, uint32_t overhead, uint64_t tag)
{
    struct tcp_message *m = malloc(sizeof(*m));
    HF_ASSERT(m != NULL);
    c->written += p->len + overhead;
    *m = (struct tcp_message){.packet = p, .tag = tag, .end = c->written};
    *c->end = m;
    c->end = &m->next;
    c->messages++;
}

bool tcp_take(struct tcp *c, struct packet **p, uint64_t *tag)
{
    struct tcp_message *m = c->first;
    if (m == NULL || m->end > c->arrived) {
        return false;
    }
    c->first = m->next;
    c->end = c->first == NULL ? &c->first : c->end;
    c->messages--;
    *p = m->packet;
    *tag = m->tag;
    free(m);
    return true;
}

uint32_t tcp_waiting(const struct tcp *c)
{
    uint32_t n = 0;
    if (c->sent == c->written) {
        return 0;
    }
    for (const struct tcp_message *m = c->first; m != NULL; m = m->next) {
        n += m->end > c->sent;
    }
    return n;
}

/* ---- the ring ---- */

static struct tcp_flight *flight_at(const struct tcp *c, uint32_t i)
{
    return &c->flight[(c->flight_first + i) % c->flight_room];
}

static struct tcp_flight *flight_add(struct tcp *c)
{
    if (c->flight_count == c->flight_room) {
        uint32_t room = c->flight_room == 0 ? 4 : 2 * c->flight_room;
        struct tcp_flight *grown = malloc(room * sizeof(*grown));
        HF_ASSERT(grown != NULL);
        for (uint32_t i = 0; i < c->flight_count; i++) {
            grown[i] = *flight_at(c, i);
        }
        free(c->flight);
        c->flight = grown;
        c->flight_room = room;
        c->flight_first = 0;
    }
    return flight_at(c, c->flight_count++);
}

/* ---- the window ---- */

static sim_us timeout_of(const struct tcp *c)
{
    return c->rtt + TIMEOUT_LEAST;
}

static double seconds_between(sim_us from, sim_us to)
{
    return (double)(to - from) / (double)SIM_S;
}

/* CUBIC's curve, or Reno's line where that is higher. */
static double target(const struct tcp *c, sim_us now)
{
    double t = seconds_between(c->reduced_at, now);
    double k = cbrt(c->most * (1 - CUBIC_BETA) / CUBIC_C);
    double cubic = CUBIC_C * (t - k) * (t - k) * (t - k) + c->most;
    double rounds = t / (seconds_between(0, c->rtt) + 1e-6);
    double reno = c->most * CUBIC_BETA + RENO_GROWTH * rounds;
    return cubic > reno ? cubic : reno;
}

static void grow(struct tcp *c, const struct tcp_flight *f, sim_us now)
{
    if (c->window < c->threshold) {
        sim_us eighth = c->rtt_least / 8;
        sim_us late = eighth < HYSTART_LEAST ? HYSTART_LEAST : eighth;
        late = late > HYSTART_MOST ? HYSTART_MOST : late;
        c->window += f->segments;
        if (f->waited > late && c->window >= HYSTART_WINDOW) {
            c->threshold = c->most = c->window;
            c->reduced_at = now;
        }
        return;
    }
    double goal = target(c, now);
    double step = goal > c->window ? (goal - c->window) / c->window : 0.01 / c->window;
    step = step > 0.5 ? 0.5 : step; /* RFC 9438: at most half a segment for each */
    c->window += step * f->segments;
}

static void reduce(struct tcp *c, sim_us now, bool timed_out)
{
    c->most = c->window;
    c->reduced_at = now;
    c->threshold = c->window * CUBIC_BETA;
    c->threshold = c->threshold > WINDOW_LEAST ? c->threshold : WINDOW_LEAST;
    c->window = timed_out ? 1 : c->threshold;
}

static void acknowledge(struct tcp *c, const struct tcp_flight *f, sim_us now)
{
    sim_us took = f->acked - f->sent;
    c->in_flight -= f->segments;
    c->retries = 0;
    if (!f->lost) {
        c->rtt = c->rtt == 0 ? took : (7 * c->rtt + took) / 8;
        c->rtt_least = took < c->rtt_least ? took : c->rtt_least;
        if (f->full) {
            grow(c, f, now);
        }
    } else if (f->sent >= c->reduced_at) { /* once for all losses of a round trip */
        reduce(c, now, f->timed_out);
    }
}

/* A window that was not used for long says nothing about the path (RFC 2861). */
static void rest(struct tcp *c, sim_us now)
{
    sim_us idle = now - c->last_sent;
    sim_us timeout = timeout_of(c);
    while (c->in_flight == 0 && idle > timeout && c->window > WINDOW_FIRST) {
        c->threshold = c->threshold < 0.75 * c->window ? 0.75 * c->window : c->threshold;
        c->window = c->window / 2 > WINDOW_FIRST ? c->window / 2 : WINDOW_FIRST;
        idle -= timeout;
    }
}

/* ---- sending ---- */

static struct hop_burst offer(const struct tcp_path *path, const struct link_profile *p, sim_us now,
                              uint32_t segments, uint64_t bytes)
{
    if (path->hub == NULL) {
        return hop_offer(path->hop, p, now, now, segments, bytes);
    }
    struct hop_burst h = hop_offer(path->hub, path->hub_profile, now, now, segments, bytes);
    if (h.lost == segments) {
        h.arrives = h.last + p->delay;
        return h;
    }
    struct hop_burst b = hop_offer(path->hop, p, h.first, h.last, segments - h.lost,
                                   bytes * (segments - h.lost) / segments);
    b.behind = h.lost > 0 ? 0 : b.behind;
    b.waited += h.waited;
    b.lost += h.lost;
    return b;
}

/* When the sender learns of the loss: from packets behind it, with a probe, or by a time-out. */
static void notice_loss(const struct tcp *c, const struct hop_burst *b, struct tcp_flight *f,
                        bool more, sim_us delay)
{
    bool told = more || b->behind > 0;
    bool probe = c->in_flight + f->segments > 1;
    f->lost = true;
    f->missing = b->lost;
    f->arrives = SIM_NEVER;
    f->again_at = told    ? f->first_arrives + delay
                  : probe ? f->sent + 2 * c->rtt
                          : f->sent + timeout_of(c);
    f->timed_out = !told && !probe;
    f->acked = b->lost < f->segments ? f->acked : SIM_NEVER;
}

static void send_flight(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    const struct link_profile p = hop_profile_at(path->profile, now);
    uint64_t left = c->written - c->sent;
    uint64_t segments = (left + HOP_SEGMENT - 1) / HOP_SEGMENT;
    uint32_t room = (uint32_t)c->window - c->in_flight;
    uint32_t most = (uint32_t)(c->window / 4);
    most = most > FLIGHT_LEAST ? most : FLIGHT_LEAST;
    most = most < room ? most : room;
    uint32_t n = segments < most ? (uint32_t)segments : most;
    uint64_t bytes = segments <= most ? left : (uint64_t)n * HOP_SEGMENT;
    struct hop_burst b = offer(path, &p, now, n, bytes + (uint64_t)n * HOP_HEADERS);
    hop_count(path->back, (uint64_t)(c->sent < QUICK_ACKS ? n : (n + 1) / 2) * HOP_HEADERS);

    struct tcp_flight *f = flight_add(c);
    *f = (struct tcp_flight){.end = c->sent + bytes,
                             .sent = now,
                             .first_arrives = b.arrives,
                             .arrives = b.arrives,
                             .acked = b.arrives + p.delay,
                             .waited = b.waited,
                             .segments = n,
                             .full = segments > room || 2.0 * (c->in_flight + n) > c->window};
    if (b.lost > 0) {
        notice_loss(c, &b, f, segments > n, p.delay);
    }
    c->sent = f->end;
    c->in_flight += n;
    c->last_sent = now;
}

/* What is missing goes once more, as much as the window allows; it can be lost again, and then only
 * a time-out tells. */
static void send_again(struct tcp *c, const struct tcp_path *path, struct tcp_flight *f, sim_us now)
{
    const struct link_profile p = hop_profile_at(path->profile, now);
    if (f->timed_out && f->sent >= c->reduced_at) {
        reduce(c, now, true);
    }
    uint32_t most = c->window > 1 ? (uint32_t)c->window : 1;
    uint32_t n = f->missing < most ? f->missing : most;
    struct hop_burst b = offer(path, &p, now, n, (uint64_t)n * (HOP_SEGMENT + HOP_HEADERS));
    c->again_bytes += (uint64_t)n * HOP_SEGMENT;
    f->missing -= n - b.lost;
    f->first_arrives = b.lost < n ? b.arrives : f->first_arrives;
    if (f->missing == 0) {
        f->arrives = b.arrives;
        f->acked = f->acked == SIM_NEVER ? b.arrives + p.delay : f->acked;
    } else if (b.lost == 0 || (b.lost < n && !f->timed_out)) {
        f->again_at = b.arrives + p.delay;
    } else {
        f->again_at = now + (timeout_of(c) << (f->tries < 8 ? f->tries++ : 8));
    }
}

/* ---- what is due ---- */

static bool is_cut(const struct tcp_path *path, const struct hop *l, sim_us at)
{
    return path->swallowed || hop_was_cut(l, at);
}

/* All that has not arrived will be sent again, when a time-out meets an open path. The probe that
 * comes before the first time-out is lost as well. */
static void lose_all(struct tcp *c, uint32_t from, sim_us now)
{
    sim_us due = flight_at(c, from)->sent + 2 * c->rtt + timeout_of(c);
    while (c->flight_count > from) {
        c->in_flight -= flight_at(c, --c->flight_count)->segments;
    }
    c->again_bytes += c->sent - c->arrived;
    c->sent = c->arrived;
    c->retry_at = due > now ? due : now;
    if (c->retries++ == 0) {
        reduce(c, now, true);
    }
}

static void repair(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    for (uint32_t i = 0; i < c->flight_count; i++) {
        struct tcp_flight *f = flight_at(c, i);
        if (f->missing > 0 && f->again_at <= now) {
            if (is_cut(path, path->hop, now) || is_cut(path, path->hop, f->first_arrives)) {
                lose_all(c, i, now);
                return;
            }
            send_again(c, path, f, now);
        }
    }
}

static void arrive(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    for (uint32_t i = 0; i < c->flight_count; i++) {
        struct tcp_flight *f = flight_at(c, i);
        if (f->arrived) {
            continue;
        }
        if (f->arrives > now) {
            return;
        }
        if (is_cut(path, path->hop, f->first_arrives) || is_cut(path, path->hop, f->arrives)) {
            lose_all(c, i, now);
            return;
        }
        f->arrived = true;
        c->arrived = f->end;
    }
}

/* One that a cut swallowed comes again with the first time-out after it; or a later one serves. */
static sim_us ack_time(const struct tcp *c, const struct tcp_path *path, const struct tcp_flight *f)
{
    if (!f->arrived && is_cut(path, path->hop, f->first_arrives)) {
        return SIM_NEVER;
    }
    if (is_cut(path, path->back, f->acked)) {
        return path->back->cut || path->swallowed ? SIM_NEVER
                                                  : path->back->cut_until + timeout_of(c);
    }
    return f->acked;
}

static void collect(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    uint32_t through = 0;
    for (uint32_t i = 0; i < c->flight_count; i++) {
        through = ack_time(c, path, flight_at(c, i)) <= now ? i + 1 : through;
    }
    /* Those whose order waits for one before them are out of the window, but not yet away. */
    for (uint32_t i = 0; i < through; i++) {
        struct tcp_flight *f = flight_at(c, i);
        if (f->segments > 0) {
            acknowledge(c, f, now);
            f->segments = 0;
        }
    }
    while (c->flight_count > 0 && flight_at(c, 0)->arrived && flight_at(c, 0)->segments == 0) {
        c->flight_first = (c->flight_first + 1) % c->flight_room;
        c->flight_count--;
    }
}

static void retry(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    if (c->retry_at == 0 || c->retry_at > now) {
        return;
    }
    if (is_cut(path, path->hop, now) || is_cut(path, path->back, now)) {
        uint32_t doublings = c->retries < 10 ? c->retries++ : 10;
        sim_us timeout = timeout_of(c) << doublings;
        c->retry_at = now + (timeout < TIMEOUT_MOST ? timeout : TIMEOUT_MOST);
        hop_count(path->hop, HOP_SEGMENT + HOP_HEADERS);
        return;
    }
    c->retry_at = 0;
}

static sim_us next_due(const struct tcp *c, const struct tcp_path *path, sim_us now)
{
    sim_us due = c->retry_at > 0 ? c->retry_at : SIM_NEVER;
    bool blocked = c->sent < c->written && c->retry_at == 0;
    bool ordered = true;
    if (c->first != NULL && c->first->end <= c->arrived) {
        return now; /* to be taken */
    }
    for (uint32_t i = 0; i < c->flight_count; i++) {
        const struct tcp_flight *f = flight_at(c, i);
        if (!f->arrived && ordered) {
            due = f->arrives < due ? f->arrives : due;
            ordered = false;
        }
        if (f->missing > 0) {
            due = f->again_at < due ? f->again_at : due;
        }
        if (blocked && f->segments > 0) {
            sim_us acked = ack_time(c, path, f);
            due = acked < due ? acked : due;
        }
    }
    return due;
}

sim_us tcp_step(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    repair(c, path, now);
    arrive(c, path, now);
    collect(c, path, now);
    retry(c, path, now);
    if (c->sent < c->written && c->retry_at == 0) {
        rest(c, now);
        while (c->sent < c->written && (double)c->in_flight + 1 <= c->window) {
            send_flight(c, path, now);
        }
    }
    return next_due(c, path, now);
}
