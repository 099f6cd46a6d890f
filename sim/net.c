/*
 * net.c - messages between the core and each edge, as the transport above nng would show them.
 *
 * Small requests go over the control connection, two at a time; those for data over connections of
 * their own, two each, dialled when there are more requests than connections (proto/node/dialer.c
 * and requests.c say why). A request ends once: with its reply, with its connection, or at its
 * time-out. A publisher's queue holds 1,024 messages for each edge; what comes on top is lost.
 *
 * What TCP would not let through is put in here, for swarms and attacks: messages that vanish, come
 * twice, late or damaged. The late ones travel beside TCP, as events of their own.
 *
 * Read next: conn.c.
 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>

#define PUB_QUEUE 1024u
#define PER_CONNECTION 2u
#define IDLE (30 * SIM_S)
#define QUIET (500 * SIM_MS)

/* ---- faults of messages ---- */

static sim_us latency(struct sim *sim, const struct link_profile *p)
{
    return p->delay + (p->jitter == 0 ? 0 : rng_below(&sim->rng_net, p->jitter));
}

/* The packet, or a damaged copy in its place. */
static struct packet *spoil(struct sim *sim, const struct link_profile *p, struct packet *packet)
{
    if (packet->len == 0 || !rng_chance(&sim->rng_net, p->corrupt)) {
        return packet;
    }
    struct packet *copy = packet_new(packet->bytes, packet->len);
    packet_unref(packet);
    copy->bytes[rng_below(&sim->rng_net, copy->len)] ^=
        (uint8_t)(1u << rng_below(&sim->rng_net, 8));
    mark_hit(sim, MARK_CORRUPTED);
    return copy;
}

static bool is_dropped(struct sim *sim, struct link *l)
{
    bool dropped = rng_chance(&sim->rng_net, l->profile.drop);
    l->messages_lost += dropped;
    return dropped;
}

/* A message beside the connection, at that time. */
static struct event *stray(struct sim *sim, sim_us at, enum event_type type, uint32_t node,
                           const struct packet *p)
{
    struct event *ev = sim_at(sim, at, type, node);
    ev->bytes = malloc(p->len + 1);
    HF_ASSERT(ev->bytes != NULL);
    memcpy(ev->bytes, p->bytes, p->len);
    ev->len = p->len;
    return ev;
}

/* ---- stream ---- */

static void stream_send(struct sim *sim, struct node *edge, struct packet *packet)
{
    struct link *l = &edge->link;
    const struct link_profile *p = &l->profile;
    bool batch = packet->len > 3 && packet->bytes[3] == HF_KIND_BATCH;
    if (batch && l->lose_next > 0) {
        l->lose_next--;
        l->messages_lost++;
        return;
    }
    if (is_dropped(sim, l)) {
        return;
    }
    if (tcp_waiting(&l->conn[HF_CHANNEL_STREAM].down) >= PUB_QUEUE) {
        l->messages_lost++;
        return;
    }
    if (rng_chance(&sim->rng_net, p->duplicate)) {
        mark_hit(sim, MARK_DUPLICATED);
        sim_us at = sim->now + latency(sim, p) + rng_below(&sim->rng_net, 20 * p->delay + 1);
        stray(sim, at, EV_STREAM, edge->index, packet);
    }
    struct packet *sent = spoil(sim, p, packet_ref(packet));
    if (rng_chance(&sim->rng_net, p->reorder)) {
        mark_hit(sim, MARK_REORDERED);
        sim_us at = sim->now + latency(sim, p) + rng_below(&sim->rng_net, 10 * p->delay + 1);
        stray(sim, at, EV_STREAM, edge->index, sent);
        packet_unref(sent);
        return;
    }
    (void)conn_write(sim, edge, HF_CHANNEL_STREAM, true, sent, 0);
}

void net_publish(struct sim *sim, struct hf_slice message)
{
    struct hf_frame f;
    struct hf_id stream;
    if (hf_frame_decode(message, &stream, &f) == HF_OK) {
        oracle_published(sim, &f.h, f.header);
        sim->last_frame = realloc(sim->last_frame, message.len);
        HF_ASSERT(sim->last_frame != NULL);
        memcpy(sim->last_frame, message.data, message.len);
        sim->last_frame_len = message.len;
    }
    fault_capture(sim, message);
    struct packet *packet = packet_new(message.data, message.len);
    for (uint32_t i = 1; i < sim->node_count; i++) {
        struct node *edge = &sim->node[i];
        if (edge->link.conn[HF_CHANNEL_STREAM].alive && edge->alive) {
            stream_send(sim, edge, packet);
        }
    }
    packet_unref(packet);
}

static void stream_arrived(struct node *edge, struct hf_slice message)
{
    if (edge->link.conn[HF_CHANNEL_STREAM].up && edge->link.subscribed) {
        hf_edge_on_message(edge->edge, message);
    }
}

void net_on_stream(struct sim *sim, struct event *ev)
{
    struct node *edge = &sim->node[ev->node];
    if (!edge->link.down.cut) {
        stream_arrived(edge, hf_slice_of(ev->bytes, ev->len));
    }
}

/* ---- the table of requests ---- */

static struct ask *ask_of(struct link *l, uint64_t number)
{
    for (uint32_t i = 0; i < LINK_ASKS_MAX; i++) {
        if (l->ask[i].number == number) {
            return &l->ask[i];
        }
    }
    return NULL;
}

static void ask_free(struct ask *a)
{
    if (a->packet != NULL) {
        packet_unref(a->packet);
    }
    *a = (struct ask){0};
}

static bool is_flying(const struct ask *a)
{
    return a->number != 0 && a->packet == NULL;
}

static uint32_t flying_on(const struct link *l, uint32_t conn, bool data_only)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < LINK_ASKS_MAX; i++) {
        const struct ask *a = &l->ask[i];
        n += is_flying(a) && a->conn == conn && (a->data || !data_only);
    }
    return n;
}

/* LINK_CONNS: none has room now. */
static uint32_t conn_for(const struct link *l, bool data)
{
    bool any = false;
    for (uint32_t load = 0; data && load < PER_CONNECTION; load++) {
        for (uint32_t i = HF_CHANNELS; i < LINK_CONNS; i++) {
            any = any || l->conn[i].up;
            if (l->conn[i].up && flying_on(l, i, false) == load) {
                return i;
            }
        }
    }
    bool free = l->conn[HF_CHANNEL_CONTROL].up &&
                flying_on(l, HF_CHANNEL_CONTROL, false) < PER_CONNECTION &&
                (!data || (!any && flying_on(l, HF_CHANNEL_CONTROL, true) == 0));
    return free ? HF_CHANNEL_CONTROL : LINK_CONNS;
}

static struct ask *oldest_waiting(struct link *l, bool data)
{
    struct ask *best = NULL;
    for (uint32_t i = 0; i < LINK_ASKS_MAX; i++) {
        struct ask *a = &l->ask[i];
        if (a->packet != NULL && a->data == data && (best == NULL || a->number < best->number)) {
            best = a;
        }
    }
    return best;
}

static void request_fly(struct sim *sim, struct node *edge, struct ask *a, uint32_t conn)
{
    struct link *l = &edge->link;
    const struct link_profile *p = &l->profile;
    struct packet *packet = a->packet;
    a->packet = NULL;
    a->conn = conn;
    l->conn[conn].used_at = sim->now;
    if (is_dropped(sim, l)) {
        packet_unref(packet);
        return;
    }
    if (rng_chance(&sim->rng_net, p->duplicate)) {
        struct event *ev = stray(sim, sim->now + latency(sim, p), EV_REQUEST, SIM_CORE, packet);
        ev->a = a->number;
        ev->b = edge->index | (uint64_t)conn << 8;
        ev->peer_life = edge->life;
    }
    (void)conn_write(sim, edge, conn, false, spoil(sim, p, packet), a->number);
}

static void start_waiting(struct sim *sim, struct node *edge)
{
    for (int data = 0; data <= 1; data++) {
        struct ask *a = NULL;
        uint32_t conn = LINK_CONNS;
        while ((a = oldest_waiting(&edge->link, data == 1)) != NULL &&
               (conn = conn_for(&edge->link, data == 1)) < LINK_CONNS) {
            request_fly(sim, edge, a, conn);
        }
    }
}

/* ---- connections for data ---- */

static void pool_shrink(struct sim *sim, struct node *edge)
{
    for (uint32_t i = HF_CHANNELS; i < LINK_CONNS; i++) {
        const struct conn *c = &edge->link.conn[i];
        if (c->up && sim->now - c->used_at >= IDLE && flying_on(&edge->link, i, false) == 0) {
            conn_end(sim, edge, i);
        }
    }
}

void net_expect(struct sim *sim, struct node *edge, uint32_t requests)
{
    struct link *l = &edge->link;
    uint32_t have = 0;
    if (!l->conn[HF_CHANNEL_CONTROL].up) {
        return;
    }
    for (uint32_t i = HF_CHANNELS; i < LINK_CONNS; i++) {
        have += l->conn[i].up || l->conn[i].dialling;
    }
    for (uint32_t i = HF_CHANNELS; i < LINK_CONNS && have < requests; i++) {
        if (!l->conn[i].up && !l->conn[i].dialling) {
            conn_dial(sim, edge, i, 0);
            have++;
        }
    }
}

static void pool_grow(struct sim *sim, struct node *edge)
{
    uint32_t need = 0;
    for (uint32_t i = 0; i < LINK_ASKS_MAX; i++) {
        need += edge->link.ask[i].number != 0 && edge->link.ask[i].data;
    }
    pool_shrink(sim, edge);
    net_expect(sim, edge, need);
}

/* ---- requests and replies ----
 * A handle is (edge, its life, connection, number of the request); one of a dead life finds
 * nothing. */

void net_request(struct sim *sim, struct node *edge, uint64_t id, bool data,
                 struct hf_slice message, hf_ms timeout)
{
    struct link *l = &edge->link;
    struct ask *a = ask_of(l, 0);
    if (a == NULL) { /* an edge whose disk fails gives up request after request */
        sim_at(sim, sim->now + SIM_MS, EV_TIMEOUT, edge->index)->b = id;
        return; /* the daemon, too, hears of that at its next tick (edge/main.c) */
    }
    *a = (struct ask){.number = ++l->asked,
                      .id = id,
                      .data = data,
                      .packet = packet_new(message.data, message.len)};
    struct event *end = sim_at(sim, sim->now + (sim_us)timeout * SIM_MS, EV_TIMEOUT, edge->index);
    end->a = l->asked;
    if (data) {
        pool_grow(sim, edge);
    }
    start_waiting(sim, edge);
}

static void request_arrived(struct sim *sim, uint64_t edge_and_conn, uint32_t life, uint64_t number,
                            struct hf_slice message)
{
    char peer[24];
    snprintf(peer, sizeof(peer), "10.0.0.%u", (unsigned)(edge_and_conn & 0xff));
    uint64_t handle = number << 32 | (uint64_t)(life & 0xffff) << 16 | edge_and_conn;
    (void)hf_core_on_request(sim->node[SIM_CORE].core, handle, message, peer);
    hf_core_requests_end(sim->node[SIM_CORE].core);
}

void net_on_request(struct sim *sim, struct event *ev)
{
    if (!sim->node[ev->b & 0xff].link.up.cut) {
        request_arrived(sim, ev->b, ev->peer_life, ev->a, hf_slice_of(ev->bytes, ev->len));
    }
}

void net_reply(struct sim *sim, uint64_t handle, struct hf_slice message)
{
    struct node *edge = &sim->node[handle & 0xff];
    uint32_t conn = (uint32_t)(handle >> 8 & 0xff);
    if (message.len == 0 || (edge->life & 0xffff) != (handle >> 16 & 0xffff) ||
        !edge->link.conn[conn].alive || is_dropped(sim, &edge->link)) {
        return;
    }
    struct packet *p = packet_new(message.data, message.len);
    (void)conn_write(sim, edge, conn, true, spoil(sim, &edge->link.profile, p), handle >> 32);
}

static void reply_arrived(struct sim *sim, struct node *edge, uint32_t conn, struct packet *p,
                          uint64_t number)
{
    struct ask *a = ask_of(&edge->link, number);
    if (a == NULL || !is_flying(a) || a->conn != conn) {
        return; /* it had ended already */
    }
    uint64_t id = a->id;
    edge->link.conn[conn].used_at = sim->now;
    ask_free(a);
    start_waiting(sim, edge);
    hf_edge_on_reply(edge->edge, id, hf_slice_of(p->bytes, p->len));
}

void net_on_timeout(struct sim *sim, struct event *ev)
{
    struct node *edge = &sim->node[ev->node];
    struct link *l = &edge->link;
    if (ev->b != 0) { /* it was refused at once, for want of a place in the table */
        hf_edge_on_reply(edge->edge, ev->b, (struct hf_slice){0});
        return;
    }
    struct ask *a = ask_of(l, ev->a);
    if (a == NULL) {
        return;
    }
    bool suspect =
        is_flying(a) && a->conn >= HF_CHANNELS && sim->now - l->conn[a->conn].heard_at >= QUIET;
    uint32_t conn = a->conn;
    uint64_t id = a->id;
    ask_free(a);
    if (suspect) {
        conn_end(sim, edge, conn);
    }
    start_waiting(sim, edge);
    hf_edge_on_reply(edge->edge, id, (struct hf_slice){0});
}

/* ---- what connections tell ---- */

void net_arrived(struct sim *sim, struct node *edge, uint32_t conn, bool down, struct packet *p,
                 uint64_t tag)
{
    uint64_t from = edge->index | (uint64_t)conn << 8;
    if (!down && sim->node[SIM_CORE].paused) {
        /* Its kernel takes it, and it waits there with all else that is the core's. */
        struct event *ev = stray(sim, sim->now, EV_REQUEST, SIM_CORE, p);
        ev->a = tag;
        ev->b = from;
        ev->peer_life = edge->life;
        return;
    }
    if (!down) {
        request_arrived(sim, from, edge->life, tag, hf_slice_of(p->bytes, p->len));
        return;
    }
    edge->told_at = sim->now; /* also what TCP still had of a core that has stopped since */
    if (conn == HF_CHANNEL_STREAM) {
        stream_arrived(edge, hf_slice_of(p->bytes, p->len));
    } else {
        reply_arrived(sim, edge, conn, p, tag);
    }
}

void net_conn_up(struct sim *sim, struct node *edge, uint32_t conn)
{
    if (conn < HF_CHANNELS) {
        hf_edge_on_link(edge->edge, (enum hf_channel)conn, true);
    }
    if (conn == HF_CHANNEL_CONTROL) {
        pool_grow(sim, edge);
    }
    start_waiting(sim, edge);
}

/* What was under way on it fails at once. */
void net_conn_down(struct sim *sim, struct node *edge, uint32_t conn)
{
    struct link *l = &edge->link;
    for (uint32_t i = 0; i < LINK_ASKS_MAX; i++) {
        if (is_flying(&l->ask[i]) && l->ask[i].conn == conn) {
            sim_at(sim, sim->now, EV_TIMEOUT, edge->index)->a = l->ask[i].number;
        }
    }
    if (conn < HF_CHANNELS) {
        hf_edge_on_link(edge->edge, (enum hf_channel)conn, false);
    }
}
