/*
 * conn.c - the connections of each edge: the stream, the control connection, and up to 16 for data.
 *
 * It does what proto/node/link.c and dialer.c do with real ones: attempts every 250 ms while a link
 * is down (fewer after a minute, and one that leads), two round trips until a connection can be
 * used, data connections on demand and closed after 30 s. A connection whose peer dies is reported
 * down, unless the news cannot pass: then it stays half-open until something is sent over it or the
 * edge gives it up.
 *
 * Attempts of an outage begin at a phase that is drawn: with timers that are never late, those of a
 * timeline in whole seconds would always come just before its heals.
 *
 * Each connection has at most one FLOW event that counts: the earliest moment at which one of its
 * directions has something to do. Only that event delivers, so nothing is called back from a write.
 *
 * Must not: look into messages. Read next: tcp.h; net.c for what goes over connections.
 */
#include "sim/sim.h"

#define PACE (250 * SIM_MS)
#define MINUTE (60 * SIM_S)
#define LEAD (700 * SIM_MS)
#define SLOW_AFTER (300 * SIM_S)
#define SLOW (10 * SIM_S)
#define QUIET (500 * SIM_MS)
/* What a try costs whose answer never comes: a SYN, and half of the time one more, since the kernel
 * sends those of patient tries again. Of a real edge 140 bytes a second were measured. */
#define SYN_BYTES 92u
#define HANDSHAKE_BYTES 240u /* each way: TCP's packets and the SP header */

/* event.b of LINK: what happens */
enum link_step {
    STEP_DOWN = 0,
    STEP_ATTEMPT,
    STEP_UP,
};

void net_init(struct sim *sim, struct node *edge)
{
    struct link *l = &edge->link;
    l->profile = sim->opt.profile;
    l->late = PACE;
    hop_init(&l->down, sim->opt.seed, 10000 + edge->index);
    hop_init(&l->up, sim->opt.seed, 20000 + edge->index);
}

static void forget(struct conn *c)
{
    tcp_close(&c->down);
    tcp_close(&c->out);
    c->up = c->alive = c->dialling = c->swallowed = false;
    c->step_at = 0;
    c->waits = false;
    c->life++;
}

void net_free(struct node *edge)
{
    for (uint32_t i = 0; i < LINK_CONNS; i++) {
        tcp_free(&edge->link.conn[i].down);
        tcp_free(&edge->link.conn[i].out);
    }
    for (uint32_t i = 0; i < LINK_ASKS_MAX; i++) {
        if (edge->link.ask[i].packet != NULL) {
            packet_unref(edge->link.ask[i].packet);
        }
    }
}

/* ---- flow ---- */

static struct tcp_path path_of(struct sim *sim, struct node *edge, const struct conn *c, bool down)
{
    struct link *l = &edge->link;
    bool hub = sim->opt.hub.rate_bps > 0;
    return (struct tcp_path){.hub = !hub   ? NULL
                                    : down ? &sim->hub_down
                                           : &sim->hub_up,
                             .hub_profile = &sim->opt.hub,
                             .hop = down ? &l->down : &l->up,
                             .back = down ? &l->up : &l->down,
                             .profile = &l->profile,
                             .swallowed = c->swallowed};
}

static void wake_at(struct sim *sim, struct node *edge, uint32_t i, sim_us due)
{
    struct conn *c = &edge->link.conn[i];
    if (due == SIM_NEVER || (c->step_at != 0 && c->step_at <= due)) {
        return;
    }
    struct event *ev = sim_at(sim, due, EV_FLOW, edge->index);
    c->step_at = ev->at;
    ev->a = i;
    ev->b = c->life;
}

static void step(struct sim *sim, struct node *edge, uint32_t i, bool down)
{
    struct conn *c = &edge->link.conn[i];
    struct tcp_path path = path_of(sim, edge, c, down);
    wake_at(sim, edge, i, tcp_step(down ? &c->down : &c->out, &path, sim->now));
}

bool conn_write(struct sim *sim, struct node *edge, uint32_t i, bool down, struct packet *p,
                uint64_t tag)
{
    struct conn *c = &edge->link.conn[i];
    const struct link *l = &edge->link;
    if (c->up && c->alive) {
        tcp_write(down ? &c->down : &c->out, p, i == HF_CHANNEL_STREAM ? 8 : 12, tag); /* SP's */
        step(sim, edge, i, down);
        return true;
    }
    packet_unref(p);
    /* The core's machine knows of no such connection, and says so if it can. */
    if (!down && c->up && !c->swallowed && !l->up.cut && !l->down.cut &&
        sim->node[SIM_CORE].alive) {
        struct event *ev = sim_at(sim, sim->now + 2 * l->profile.delay, EV_LINK, edge->index);
        ev->a = i;
        ev->b = STEP_DOWN;
    }
    return false;
}

static void deliver(struct sim *sim, struct node *edge, uint32_t i, bool down)
{
    struct conn *c = &edge->link.conn[i];
    uint32_t life = c->life;
    struct packet *p;
    uint64_t tag;
    while (c->life == life && tcp_take(down ? &c->down : &c->out, &p, &tag)) {
        XXH3_64bits_update(sim->trace, p->bytes, p->len);
        net_arrived(sim, edge, i, down, p, tag);
        packet_unref(p);
    }
}

void net_on_flow(struct sim *sim, struct event *ev)
{
    struct node *edge = &sim->node[ev->node];
    uint32_t i = (uint32_t)ev->a;
    struct conn *c = &edge->link.conn[i];
    if (c->life != ev->b || c->step_at != ev->at) {
        return; /* an earlier one has taken its place */
    }
    c->step_at = 0;
    for (int way = 0; way < 2 && c->life == ev->b; way++) {
        bool down = way == 0;
        struct tcp_path path = path_of(sim, edge, c, down);
        uint64_t before = c->down.arrived;
        (void)tcp_step(down ? &c->down : &c->out, &path, sim->now);
        c->heard_at = c->down.arrived > before ? sim->now : c->heard_at;
        deliver(sim, edge, i, down);
        if (c->life == ev->b) {
            step(sim, edge, i, down);
        }
    }
}

/* A cut or its end changes what is due. */
static void step_all(struct sim *sim, struct node *edge)
{
    for (uint32_t i = 0; i < LINK_CONNS; i++) {
        if (edge->link.conn[i].up && edge->link.conn[i].alive) {
            step(sim, edge, i, true);
            step(sim, edge, i, false);
        }
    }
}

/* ---- dialling ---- */

static struct event *link_event(struct sim *sim, struct node *edge, uint32_t i, sim_us at,
                                enum link_step what)
{
    struct event *ev = sim_at(sim, at, EV_LINK, edge->index);
    ev->a = i;
    ev->b = what;
    return ev;
}

/* As link.c: the edges behind one broken link must not keep step in a long outage. */
static sim_us pace_of(struct sim *sim, const struct node *edge, uint32_t i)
{
    sim_us down = sim->now - edge->link.conn[i].lost_at;
    if (down == 0) {
        return edge->link.late;
    }
    sim_us slow = down < SLOW_AFTER ? SIM_S : SLOW;
    sim_us mean = i == HF_CHANNEL_CONTROL ? LEAD : slow;
    return down < MINUTE ? PACE : mean - mean / 4 + rng_below(&sim->rng_net, mean / 2);
}

static void try_after(struct sim *sim, struct node *edge, uint32_t i, sim_us after)
{
    struct conn *c = &edge->link.conn[i];
    link_event(sim, edge, i, sim->now + after, STEP_ATTEMPT)->peer_life = ++c->attempt;
    c->waits = true;
}

void conn_dial(struct sim *sim, struct node *edge, uint32_t i, sim_us after)
{
    struct conn *c = &edge->link.conn[i];
    if (!c->dialling) {
        c->dialling = true;
        try_after(sim, edge, i, after);
    }
}

/* Another one is up: the outage is over. */
static void hurry(struct sim *sim, struct node *edge, uint32_t i)
{
    struct conn *c = &edge->link.conn[i];
    if (c->waits) {
        c->lost_at = sim->now;
        try_after(sim, edge, i, 0);
    }
}

static bool reaches_core(struct sim *sim, const struct node *edge)
{
    return !edge->link.down.cut && !edge->link.up.cut && sim->node[SIM_CORE].alive;
}

static void attempt(struct sim *sim, struct node *edge, uint32_t i)
{
    struct link *l = &edge->link;
    l->conn[i].waits = false;
    const struct link_profile p = hop_profile_at(&l->profile, sim->now);
    bool lost = rng_chance(&sim->rng_net, p.loss) || rng_chance(&sim->rng_net, p.loss);
    if (lost || !reaches_core(sim, edge)) {
        hop_count(&l->up, SYN_BYTES);
        try_after(sim, edge, i, pace_of(sim, edge, i));
        return;
    }
    hop_count(&l->up, HANDSHAKE_BYTES);
    hop_count(&l->down, HANDSHAKE_BYTES);
    link_event(sim, edge, i, sim->now + 4 * p.delay, STEP_UP);
}

static void come_up(struct sim *sim, struct node *edge, uint32_t i)
{
    struct conn *c = &edge->link.conn[i];
    if (!reaches_core(sim, edge)) {
        try_after(sim, edge, i, pace_of(sim, edge, i));
        return;
    }
    forget(c);
    c->up = c->alive = true;
    c->used_at = c->heard_at = sim->now;
    sim_us rtt = 2 * hop_profile_at(&edge->link.profile, sim->now).delay;
    tcp_open(&c->down, sim->now, rtt);
    tcp_open(&c->out, sim->now, rtt);
    net_conn_up(sim, edge, i);
    if (i < HF_CHANNELS) {
        hurry(sim, edge, i == HF_CHANNEL_STREAM ? HF_CHANNEL_CONTROL : HF_CHANNEL_STREAM);
    }
}

/* ---- breaking ---- */

void conn_end(struct sim *sim, struct node *edge, uint32_t i)
{
    struct conn *c = &edge->link.conn[i];
    struct link *l = &edge->link;
    if (c->up) {
        forget(c);
        if (l->outage_at != sim->now) {
            l->outage_at = sim->now;
            l->late = rng_between(&sim->rng_net, 1, PACE);
        }
        c->lost_at = sim->now;
        net_conn_down(sim, edge, i);
    }
}

static void pool_suspect(struct sim *sim, struct node *edge)
{
    for (uint32_t i = HF_CHANNELS; i < LINK_CONNS; i++) {
        if (sim->now - edge->link.conn[i].heard_at >= QUIET) {
            conn_end(sim, edge, i);
        }
    }
}

void net_redial(struct sim *sim, struct node *edge, enum hf_channel channel)
{
    link_event(sim, edge, channel, sim->now, STEP_DOWN);
}

void net_on_link(struct sim *sim, struct event *ev)
{
    struct node *edge = &sim->node[ev->node];
    uint32_t i = (uint32_t)ev->a;
    switch ((enum link_step)ev->b) {
    case STEP_DOWN:
        conn_end(sim, edge, i);
        if (i == HF_CHANNEL_CONTROL) {
            pool_suspect(sim, edge);
        }
        if (i < HF_CHANNELS) { /* nng dials at once every other time, link.c at its pace */
            conn_dial(sim, edge, i, rng_below(&sim->rng_net, 2) * PACE);
        }
        break;
    case STEP_ATTEMPT:
        if (edge->link.conn[i].attempt == ev->peer_life) { /* else an earlier one took its place */
            attempt(sim, edge, i);
        }
        break;
    case STEP_UP:
        come_up(sim, edge, i);
        break;
    }
}

static void break_all(struct sim *sim, struct node *edge, bool own)
{
    struct link *l = &edge->link;
    for (uint32_t i = 0; i < LINK_CONNS; i++) {
        struct conn *c = &l->conn[i];
        if (own) {
            forget(c);
        } else if (c->up) {
            tcp_close(&c->down);
            tcp_close(&c->out);
            c->alive = false;
            if (!l->down.cut && edge->alive) {
                link_event(sim, edge, i, sim->now + l->profile.delay, STEP_DOWN);
            }
        }
    }
    for (uint32_t i = 0; own && i < LINK_ASKS_MAX; i++) {
        if (l->ask[i].packet != NULL) {
            packet_unref(l->ask[i].packet);
        }
        l->ask[i] = (struct ask){0};
    }
    l->subscribed = l->subscribed && !own;
}

void net_node_gone(struct sim *sim, struct node *n)
{
    for (uint32_t i = 1; i < sim->node_count; i++) {
        struct node *edge = &sim->node[i];
        if (n->index == SIM_CORE || edge == n) {
            break_all(sim, edge, edge == n);
        }
    }
}

/* ---- cuts ---- */

void net_cut(struct sim *sim, struct node *edge, bool down, bool up)
{
    if (down) {
        hop_cut(&edge->link.down, sim->now);
    }
    if (up) {
        hop_cut(&edge->link.up, sim->now);
    }
    mark_hit(sim, down && up ? MARK_CUT : MARK_ONE_WAY);
    sim_trace(sim, edge, "net: cut down=%d up=%d", down, up);
    step_all(sim, edge); /* senders wait for acknowledgements now */
}

void net_heal(struct sim *sim, struct node *edge)
{
    struct link *l = &edge->link;
    if (l->down.cut || l->up.cut) {
        sim_trace(sim, edge, "net: healed");
        edge->healed_at = sim->now;
    }
    hop_heal(&l->down, sim->now);
    hop_heal(&l->up, sim->now);
    step_all(sim, edge);
}

void net_half_open(struct sim *sim, struct node *edge)
{
    sim_trace(sim, edge, "net: connections become half-open");
    for (uint32_t i = 0; i < LINK_CONNS; i++) {
        edge->link.conn[i].swallowed = edge->link.conn[i].up;
    }
}
