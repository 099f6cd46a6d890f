/*
 * tcp.c - flights, losses, time-outs. Read tcp.h for the model, cubic.h for how much may be on the
 * way, hop.h for what is under it.
 *
 * A flight has two ends. At the receiver it counts when it and all before it have arrived. At the
 * sender it is on the way until an acknowledgement tells that it arrived, or that something sent
 * later did: then what is missing is marked, and sent again in a flight of its own, as the window
 * allows. Where nothing tells, a timer does: a probe, which is one segment that makes the receiver
 * tell, then time-outs, which mark everything. A cut has no code of its own here but that what
 * arrives in it is lost, data or acknowledgement.
 *
 * The constants are Linux 6's: RFC 8985 (what was sent before something that arrived is lost; a
 * probe after two round trips), 200 ms as the least time-out.
 */
#include "sim/tcp.h"

#include <stdlib.h>
#include <string.h>

#define FLIGHT_LEAST 4u
/* So far each segment is acknowledged, later every other. */
#define QUICK_ACKS (16u * HOP_SEGMENT)
/* Beyond two round trips; one segment may be acknowledged late. */
#define PROBE_LATE (8 * SIM_MS)
#define PROBE_LATE_FOR_ONE (200 * SIM_MS)
#define TIMEOUT_LEAST (200 * SIM_MS)
#define TIMEOUT_MOST (120 * SIM_S)
#define DOUBLINGS_MOST 10u

struct tcp_flight {
    uint64_t begin, end;    /* of its bytes in the stream */
    sim_us sent, sent_last; /* packets */
    uint64_t order;         /* of sending */
    sim_us reaches;  /* what of it is not lost is at the receiver; the path must not be cut then */
    sim_us arrives;  /* all of it is; SIM_NEVER while something is missing */
    sim_us acked;    /* the sender begins to hear of that; SIM_NEVER: it does not */
    sim_us heard;    /* it has heard all */
    sim_us spread;   /* between the first packet and the last */
    uint32_t out;    /* segments on the way, as far as the sender knows */
    uint32_t lost;   /* of them */
    uint32_t marked; /* segments that the sender knows to be lost */
    bool behind;     /* packets of its own come behind the last lost one, and tell of it */
    bool again;      /* not for the first time: its round trip says nothing */
    bool mends;      /* a probe whose first copy was lost */
    bool arrived;    /* with all before it */
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
    *c = (struct tcp){.rtt = rtt,
                      .slack = 2 * rtt > TIMEOUT_LEAST ? 2 * rtt : TIMEOUT_LEAST,
                      .sent_at = now,
                      .flight = c->flight,
                      .flight_room = c->flight_room};
    c->end = &c->first;
    cubic_begin(&c->cubic, now);
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
    c->messages = c->flight_count = c->in_flight = c->marked = 0;
    c->sent = c->arrived = c->acked = c->written;
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

/* Cuts flight i in two; the second, a copy otherwise, has the last `segments`. */
static struct tcp_flight *flight_split(struct tcp *c, uint32_t i, uint32_t segments)
{
    (void)flight_add(c);
    for (uint32_t k = c->flight_count - 1; k > i + 1; k--) {
        *flight_at(c, k) = *flight_at(c, k - 1);
    }
    struct tcp_flight *f = flight_at(c, i);
    struct tcp_flight *rest = flight_at(c, i + 1);
    *rest = *f;
    uint64_t all = (f->end - f->begin + HOP_SEGMENT - 1) / HOP_SEGMENT;
    f->end = rest->begin = f->begin + (all - segments) * HOP_SEGMENT;
    return rest;
}

/* ---- sending ---- */

static sim_us timeout_of(const struct tcp *c)
{
    return c->rtt + c->slack;
}

/* Two round trips after the last that was sent or heard, or earlier. */
static void arm_probe(struct tcp *c, sim_us from, sim_us latest)
{
    c->probe_at = from + 2 * c->rtt + (c->in_flight > 1 ? PROBE_LATE : PROBE_LATE_FOR_ONE);
    c->probe_at = c->probe_at < latest ? c->probe_at : latest;
}

/* What goes in one step, evenly between two times: acknowledgements come one after another, and
 * each lets its part go. */
struct pace {
    sim_us first, last;
    uint32_t segments, done; /* in all, so far */
};

static struct hop_burst offer(const struct tcp_path *path, const struct link_profile *p,
                              const struct tcp_flight *f, uint64_t bytes)
{
    uint32_t n = f->out;
    if (path->hub == NULL) {
        return hop_offer(path->hop, p, f->sent, f->sent_last, n, bytes);
    }
    struct hop_burst h = hop_offer(path->hub, path->hub_profile, f->sent, f->sent_last, n, bytes);
    if (h.lost == n) {
        h.arrives = h.last + p->delay;
        return h;
    }
    struct hop_burst b =
        hop_offer(path->hop, p, h.first, h.last, n - h.lost, bytes * (n - h.lost) / n);
    b.behind = h.lost > 0 ? 0 : b.behind;
    b.lost += h.lost;
    return b;
}

static uint32_t acks_for(const struct tcp_flight *f, uint32_t segments)
{
    return f->end < QUICK_ACKS || f->again ? segments : (segments + 1) / 2;
}

/* `segments` of the flight go now; no more of it is on the way. */
static void transmit(struct tcp *c, const struct tcp_path *path, struct tcp_flight *f,
                     struct pace *pace, uint32_t segments)
{
    uint64_t all = f->end - f->begin;
    uint64_t bytes = (uint64_t)segments * HOP_SEGMENT < all ? segments * HOP_SEGMENT : all;
    const struct link_profile p = hop_profile_at(path->profile, pace->first);
    sim_us time = pace->last - pace->first;
    HF_ASSERT(f->out == 0 && f->marked == 0);
    f->sent = pace->first + time * pace->done / pace->segments;
    pace->done += segments;
    f->sent_last = pace->first + time * pace->done / pace->segments;
    f->order = ++c->sends;
    f->out = segments;
    struct hop_burst b = offer(path, &p, f, bytes + (uint64_t)segments * HOP_HEADERS);
    hop_count(path->back, (uint64_t)acks_for(f, segments) * HOP_HEADERS);
    f->lost = b.lost;
    f->behind = b.lost > 0 && b.lost < segments && b.behind > 0;
    f->reaches = b.arrives;
    f->arrives = f->arrived ? f->arrives : b.lost == 0 ? b.arrives : SIM_NEVER;
    f->spread = b.last - b.first;
    f->heard = b.arrives + p.delay;
    f->acked = b.lost == segments    ? SIM_NEVER
               : f->spread < p.delay ? f->heard - f->spread
                                     : f->reaches;
    c->in_flight += segments;
    c->again_bytes += f->again ? bytes : 0;
    c->sent_at = f->sent_last;
}

static void send_new(struct tcp *c, const struct tcp_path *path, struct pace *pace, uint32_t room)
{
    uint64_t left = c->written - c->sent;
    uint64_t segments = (left + HOP_SEGMENT - 1) / HOP_SEGMENT;
    uint32_t most = (uint32_t)(c->cubic.window / 4);
    most = most > FLIGHT_LEAST ? most : FLIGHT_LEAST;
    most = most < room ? most : room;
    uint32_t n = segments < most ? (uint32_t)segments : most;
    uint64_t bytes = segments <= most ? left : (uint64_t)n * HOP_SEGMENT;
    struct tcp_flight *f = flight_add(c);
    *f = (struct tcp_flight){.begin = c->sent, .end = c->sent + bytes};
    c->sent += bytes;
    transmit(c, path, f, pace, n);
}

/* As many as the window allows of the first that are marked. */
static void send_marked(struct tcp *c, const struct tcp_path *path, struct pace *pace,
                        uint32_t room)
{
    uint32_t i = 0;
    while (flight_at(c, i)->marked == 0) {
        i++;
    }
    struct tcp_flight *f = flight_at(c, i);
    uint32_t n = f->marked < room ? f->marked : room;
    if (n < f->marked) {
        flight_split(c, i, f->marked - n)->marked -= n;
        f = flight_at(c, i);
    }
    f->marked = 0;
    f->mends = false;
    f->again = true;
    c->marked -= n;
    transmit(c, path, f, pace, n);
}

static uint32_t room_of(const struct tcp *c)
{
    return c->cubic.window > c->in_flight ? (uint32_t)(c->cubic.window - c->in_flight) : 0;
}

static struct pace pace_of(const struct tcp *c, const struct tcp_path *path, uint32_t room,
                           sim_us now)
{
    uint64_t rate = hop_profile_at(path->profile, now).rate_bps;
    uint64_t left = (c->written - c->sent + HOP_SEGMENT - 1) / HOP_SEGMENT + c->marked;
    struct pace p = {.first = now, .last = now, .segments = left < room ? (uint32_t)left : room};
    if (c->heard_at > now && rate > 0) {
        sim_us most = p.segments * (uint64_t)(HOP_SEGMENT + HOP_HEADERS) * 8 * SIM_S / rate;
        p.last += c->heard_at - now < most ? c->heard_at - now : most;
    }
    return p;
}

static sim_us oldest_sent(const struct tcp *c)
{
    uint32_t i = 0;
    while (flight_at(c, i)->out == 0) {
        i++;
    }
    return flight_at(c, i)->sent;
}

static void send_all(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    uint32_t before = c->in_flight;
    if (c->marked == 0 && c->sent == c->written) {
        return;
    }
    if (c->in_flight == 0 && c->marked == 0 && now > c->sent_at) {
        cubic_rested(&c->cubic, now - c->sent_at, timeout_of(c));
    }
    c->timer_from = c->in_flight == 0 && c->marked == 0 ? now : c->timer_from;
    struct pace pace = pace_of(c, path, room_of(c), now);
    for (uint32_t room = room_of(c); room > 0; room = room_of(c)) {
        if (c->marked > 0) {
            send_marked(c, path, &pace, room);
        } else if (c->sent < c->written) {
            send_new(c, path, &pace, room);
        } else {
            break;
        }
    }
    if (c->in_flight > before) {
        sim_us latest = oldest_sent(c) + timeout_of(c);
        arm_probe(c, c->sent_at, latest > now ? latest : SIM_NEVER);
    }
    cubic_sent(&c->cubic, &(struct cubic_send){.now = now,
                                               .timeout = timeout_of(c),
                                               .segments = c->in_flight - before,
                                               .in_flight = c->in_flight,
                                               .acked = c->acked,
                                               .end = c->sent,
                                               .full = c->marked > 0 || c->sent < c->written});
}

/* ---- what the receiver has ---- */

static bool is_cut(const struct tcp_path *path, const struct hop *l, sim_us at)
{
    return path->swallowed || hop_was_cut(l, at);
}

/* Whether what was sent of the flight came through; if not, it is lost wholly. */
static bool came_through(const struct tcp_path *path, struct tcp_flight *f)
{
    if (f->out == 0 || !is_cut(path, path->hop, f->reaches)) {
        return true;
    }
    f->lost = f->out;
    f->arrives = f->arrived ? f->arrives : SIM_NEVER;
    f->acked = SIM_NEVER;
    f->behind = false;
    return false;
}

static void arrive(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    for (uint32_t i = 0; i < c->flight_count; i++) {
        struct tcp_flight *f = flight_at(c, i);
        if (f->arrived) {
            continue;
        }
        if (f->arrives > now || !came_through(path, f)) {
            return;
        }
        f->arrived = true;
        c->arrived = f->end;
    }
}

/* ---- what the sender knows ---- */

/* What acknowledgements tell that came by now. */
struct news {
    sim_us reached; /* what had arrived by then is acknowledged */
    uint64_t order; /* what was sent before that and is not acknowledged is lost */
    uint32_t delivered, marked;
    bool any;
    bool lost; /* some were, be they mended already */
};

static void hear(struct tcp *c, const struct tcp_path *path, sim_us now, struct news *n)
{
    for (uint32_t i = 0; i < c->flight_count; i++) {
        struct tcp_flight *f = flight_at(c, i);
        if (f->out == f->lost || f->reaches > now || !came_through(path, f) || f->acked > now) {
            continue;
        }
        if (is_cut(path, path->back, f->acked)) {
            f->acked = SIM_NEVER;
            continue;
        }
        uint64_t order = f->order + (f->behind ? 1 : 0);
        n->any = true;
        n->reached = f->reaches > n->reached ? f->reaches : n->reached;
        n->order = order > n->order ? order : n->order;
        c->heard_at = f->heard > c->heard_at ? f->heard : c->heard_at;
    }
}

static void mark(struct tcp *c, struct tcp_flight *f)
{
    c->in_flight -= f->lost;
    c->marked += f->lost;
    f->marked += f->lost;
    f->out -= f->lost;
    f->lost = 0;
}

static void acknowledge(struct tcp *c, struct tcp_flight *f, sim_us now)
{
    bool timed = !f->again && f->acked <= now; /* not by one that came later */
    sim_us heard = f->acked <= now ? f->heard : now;
    struct cubic_ack a = {.segments = f->out - f->lost,
                          .end = f->end,
                          .sent_end = c->sent,
                          .written_end = c->written,
                          .first_at = heard - f->spread,
                          .last_at = heard};
    a.acks = acks_for(f, a.segments);
    c->in_flight -= a.segments;
    f->out = f->lost;
    if (timed) {
        a.first_rtt = a.first_at - f->sent;
        a.last_rtt = a.last_at - f->sent_last;
        for (uint32_t i = 0; i < a.acks; i++) {
            c->rtt = (7 * c->rtt + a.last_rtt) / 8;
        }
        if (f->end > c->slack_end) { /* once a round trip */
            c->slack -= (c->slack - TIMEOUT_LEAST) / 4;
            c->slack_end = c->sent;
        }
    }
    cubic_acked(&c->cubic, &a);
}

/* Forgets what is done with; what waits for something before it is kept. */
static bool forget(struct tcp *c)
{
    uint64_t before = c->acked;
    while (c->flight_count > 0) {
        const struct tcp_flight *f = flight_at(c, 0);
        if (!f->arrived || f->out > 0 || f->marked > 0) {
            break;
        }
        c->acked = f->end;
        c->flight_first = (c->flight_first + 1) % c->flight_room;
        c->flight_count--;
    }
    return c->acked > before;
}

static void collect(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    struct news n = {0};
    hear(c, path, now, &n);
    if (!n.any) {
        return;
    }
    for (uint32_t i = 0; i < c->flight_count; i++) {
        struct tcp_flight *f = flight_at(c, i);
        if (f->out > f->lost && f->reaches <= n.reached) {
            n.delivered += f->out - f->lost;
            n.lost |= f->mends;
            acknowledge(c, f, now);
        }
        if (f->lost > 0 && f->lost == f->out && f->order < n.order) {
            n.marked += f->lost;
            n.lost = true;
            mark(c, f);
        }
    }
    c->retries = 0;
    c->probed = false;
    c->timer_from = c->heard_at;
    bool advanced = forget(c);
    if (c->acked >= c->mending_until) {
        cubic_mended(&c->cubic);
    }
    if (n.lost && c->cubic.state == CUBIC_OPEN) {
        cubic_lost(&c->cubic);
        c->mending_until = c->sent;
        if (n.marked == 0) { /* by the probe */
            cubic_mended(&c->cubic);
        }
    }
    cubic_delivered(&c->cubic, n.delivered, c->in_flight, advanced && n.marked == 0);
    arm_probe(c, c->heard_at, c->heard_at + timeout_of(c));
}

/* ---- the timer ---- */

/* What became of it is not known, and nobody may tell. */
static bool in_doubt(const struct tcp_flight *f)
{
    return f->lost > 0 || f->marked > 0 || (f->out > 0 && f->acked == SIM_NEVER);
}

/* As long as nothing is heard. */
static sim_us timer_of(const struct tcp *c)
{
    if (c->cubic.state == CUBIC_OPEN && !c->probed) {
        return c->probe_at;
    }
    sim_us timeout = timeout_of(c) << (c->retries < DOUBLINGS_MOST ? c->retries : DOUBLINGS_MOST);
    return c->timer_from + (timeout < TIMEOUT_MOST ? timeout : TIMEOUT_MOST);
}

/* The last segment on the way goes again: when that arrives, all is known. */
static void probe(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    uint32_t i = c->flight_count - 1;
    while (i > 0 && flight_at(c, i)->out == 0) {
        i--;
    }
    struct tcp_flight *last = flight_at(c, i);
    bool lost = last->lost > 0;
    if (last->out > 1) {
        last = flight_split(c, i, 1);
        struct tcp_flight *f = flight_at(c, i);
        f->out--;
        f->lost -= lost;
        f->arrives = f->lost > 0 ? SIM_NEVER : f->reaches;
        last->marked = 0;
    }
    c->in_flight -= 1;
    last->out = 0;
    last->again = true;
    last->mends = lost;
    transmit(c, path, last, &(struct pace){.first = now, .last = now, .segments = 1}, 1);
}

/* All that is in doubt is taken for lost. */
static void mark_doubtful(struct tcp *c)
{
    for (uint32_t i = 0; i < c->flight_count; i++) {
        struct tcp_flight *f = flight_at(c, i);
        if (f->out == f->lost || f->acked == SIM_NEVER) {
            mark(c, f);
            c->in_flight -= f->out; /* arrived, and its acknowledgement was lost */
            f->out = 0;
        }
    }
}

static void look_at_timer(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    bool doubt = false;
    bool lost = false;
    for (uint32_t i = 0; i < c->flight_count; i++) {
        const struct tcp_flight *f = flight_at(c, i);
        doubt |= in_doubt(f);
        lost |= f->lost > 0 || f->marked > 0;
    }
    if (!doubt || timer_of(c) > now) {
        return;
    }
    bool first = c->cubic.state == CUBIC_OPEN && !c->probed;
    c->timer_from = now;
    if (!first) {
        c->retries++;
        cubic_timed_out(&c->cubic);
        c->mending_until = c->sent;
    }
    if (!first && lost) {
        mark_doubtful(c);
    } else {
        c->probed = true;
        probe(c, path, now);
    }
}

/* ---- what is due ---- */

static sim_us next_due(const struct tcp *c, const struct tcp_path *path)
{
    bool doubt = c->marked > 0;
    bool ordered = true;
    sim_us due = SIM_NEVER;
    sim_us heard = SIM_NEVER;
    if (c->first != NULL && c->first->end <= c->arrived) {
        return 0; /* to be taken */
    }
    for (uint32_t i = 0; i < c->flight_count; i++) {
        const struct tcp_flight *f = flight_at(c, i);
        if (!f->arrived && ordered) {
            due = f->arrives;
            ordered = false;
        }
        if (f->out > f->lost) {
            heard = f->acked < heard ? f->acked : heard;
        }
        doubt |= in_doubt(f);
    }
    /* Else it is early enough to look at acknowledgements with the next write. */
    if (doubt || c->sent < c->written || path->swallowed || path->back->cut) {
        due = heard < due ? heard : due;
    }
    sim_us timer = doubt ? timer_of(c) : SIM_NEVER;
    return timer < due ? timer : due;
}

sim_us tcp_step(struct tcp *c, const struct tcp_path *path, sim_us now)
{
    arrive(c, path, now);
    collect(c, path, now);
    look_at_timer(c, path, now);
    send_all(c, path, now);
    sim_us due = next_due(c, path);
    return due > now ? due : now;
}
