/*
 * net.c - the network between the core and each edge, as the transport above nng would show it.
 *
 * The stream is a sequence of messages that may be lost, doubled, held back or damaged; a request
 * is lost or arrives, perhaps twice, and its reply likewise; each direction can be cut alone. A
 * connection whose peer dies is reported down, unless the news cannot pass: then it stays half-open
 * until the edge redials. Bytes are counted as they are sent.
 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>

static sim_us travel(struct sim *sim, const struct link_profile *p)
{
    return p->delay + (p->jitter == 0 ? 0 : rng_below(&sim->rng_net, p->jitter));
}

static void set_bytes(struct sim *sim, struct event *ev, struct hf_slice message, double corrupt)
{
    ev->bytes = malloc(message.len + 1);
    HF_ASSERT(ev->bytes != NULL);
    memcpy(ev->bytes, message.data, message.len);
    ev->len = message.len;
    if (message.len > 0 && rng_chance(&sim->rng_net, corrupt)) {
        mark_hit(sim, MARK_CORRUPTED);
        ev->bytes[rng_below(&sim->rng_net, message.len)] ^=
            (uint8_t)(1u << rng_below(&sim->rng_net, 8));
    }
}

/* ---- stream ---- */

static void stream_send(struct sim *sim, struct node *edge, struct hf_slice message)
{
    struct link *l = &edge->link;
    const struct link_profile *p = &l->profile;
    sim_us at = sim->now + travel(sim, p);
    if (rng_chance(&sim->rng_net, p->reorder)) {
        mark_hit(sim, MARK_REORDERED);
        at += rng_below(&sim->rng_net, 10 * p->delay + 1);
    } else {
        at = at > l->last_down ? at : l->last_down;
        l->last_down = at;
    }
    l->bytes_down += message.len;
    bool batch = message.len > 3 && message.data[3] == HF_KIND_BATCH;
    if ((batch && l->lose_next > 0) || l->cut_down || rng_chance(&sim->rng_net, p->loss)) {
        l->lose_next -= batch && l->lose_next > 0;
        l->messages_lost++;
        return;
    }
    set_bytes(sim, sim_at(sim, at, EV_STREAM, edge->index), message, p->corrupt);
    if (rng_chance(&sim->rng_net, p->duplicate)) {
        mark_hit(sim, MARK_DUPLICATED);
        at += rng_below(&sim->rng_net, 20 * p->delay + 1);
        set_bytes(sim, sim_at(sim, at, EV_STREAM, edge->index), message, 0);
    }
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
    for (uint32_t i = 1; i < sim->node_count; i++) {
        struct node *edge = &sim->node[i];
        if (edge->link.alive[HF_CHANNEL_STREAM] && edge->alive) {
            stream_send(sim, edge, message);
        }
    }
}

void net_on_stream(struct sim *sim, struct event *ev)
{
    struct node *edge = &sim->node[ev->node];
    if (edge->link.up[HF_CHANNEL_STREAM] && edge->link.subscribed && !edge->link.cut_down) {
        hf_edge_on_message(edge->edge, hf_slice_of(ev->bytes, ev->len));
    }
}

/* ---- requests ----
 * A handle is (edge index, request id); a reply to a dead life of the edge finds nothing. */

static void request_send(struct sim *sim, struct node *edge, uint64_t id, struct hf_slice message,
                         double corrupt)
{
    struct event *ev =
        sim_at(sim, sim->now + travel(sim, &edge->link.profile), EV_REQUEST, SIM_CORE);
    ev->a = id;
    ev->b = edge->index;
    ev->peer_life = edge->life;
    set_bytes(sim, ev, message, corrupt);
}

void net_request(struct sim *sim, struct node *edge, uint64_t id, struct hf_slice message,
                 hf_ms timeout)
{
    struct link *l = &edge->link;
    const struct link_profile *p = &l->profile;
    struct event *out = sim_at(sim, sim->now + (sim_us)timeout * SIM_MS, EV_REPLY, edge->index);
    out->a = id;
    out->b = 1; /* time-out */
    if (!l->up[HF_CHANNEL_CONTROL] || !l->alive[HF_CHANNEL_CONTROL]) {
        return;
    }
    l->bytes_up += message.len;
    if (l->cut_up || rng_chance(&sim->rng_net, p->loss)) {
        l->messages_lost++;
        return;
    }
    request_send(sim, edge, id, message, p->corrupt);
    if (rng_chance(&sim->rng_net, p->duplicate)) {
        request_send(sim, edge, id, message, 0);
    }
}

void net_on_request(struct sim *sim, struct event *ev)
{
    char peer[24];
    struct node *edge = &sim->node[ev->b];
    if (edge->link.cut_up) {
        return;
    }
    snprintf(peer, sizeof(peer), "10.0.0.%u", edge->index);
    uint64_t handle = ev->a << 24 | (uint64_t)(ev->peer_life & 0xffff) << 8 | ev->b;
    hf_core_on_request(sim->node[SIM_CORE].core, handle, hf_slice_of(ev->bytes, ev->len), peer);
    hf_core_requests_end(sim->node[SIM_CORE].core);
}

void net_reply(struct sim *sim, uint64_t handle, struct hf_slice message)
{
    struct node *edge = &sim->node[handle & 0xff];
    struct link *l = &edge->link;
    if (message.len == 0 || (edge->life & 0xffff) != (handle >> 8 & 0xffff)) {
        return;
    }
    l->bytes_down += message.len;
    if (l->cut_down || rng_chance(&sim->rng_net, l->profile.loss)) {
        l->messages_lost++;
        return;
    }
    struct event *ev = sim_at(sim, sim->now + travel(sim, &l->profile), EV_REPLY, edge->index);
    ev->a = handle >> 24;
    set_bytes(sim, ev, message, l->profile.corrupt);
}

void net_on_reply(struct sim *sim, struct event *ev)
{
    struct node *edge = &sim->node[ev->node];
    if (ev->b == 1) {
        hf_edge_on_reply(edge->edge, ev->a, (struct hf_slice){0});
    } else if (!edge->link.cut_down) {
        hf_edge_on_reply(edge->edge, ev->a, hf_slice_of(ev->bytes, ev->len));
    }
}

/* ---- connections ---- */

void net_dial(struct sim *sim, struct node *edge, enum hf_channel channel, sim_us after)
{
    if (edge->link.dialling[channel]) {
        return;
    }
    edge->link.dialling[channel] = true;
    struct event *ev = sim_at(sim, sim->now + after, EV_LINK, edge->index);
    ev->a = (uint64_t)channel;
    ev->b = 1;
}

static void go_down(struct sim *sim, struct node *edge, enum hf_channel channel)
{
    struct link *l = &edge->link;
    l->alive[channel] = false;
    if (l->up[channel]) {
        l->up[channel] = false;
        hf_edge_on_link(edge->edge, channel, false);
    }
    net_dial(sim, edge, channel, 2 * l->profile.delay + 10 * SIM_MS);
}

void net_redial(struct sim *sim, struct node *edge, enum hf_channel channel)
{
    struct event *ev = sim_at(sim, sim->now, EV_LINK, edge->index);
    ev->a = (uint64_t)channel;
    ev->b = 0;
}

void net_on_link(struct sim *sim, struct event *ev)
{
    struct node *edge = &sim->node[ev->node];
    struct link *l = &edge->link;
    enum hf_channel channel = (enum hf_channel)ev->a;
    if (ev->b == 0) {
        go_down(sim, edge, channel);
        return;
    }
    l->dialling[channel] = false;
    if (l->up[channel] && l->alive[channel]) {
        return;
    }
    if (l->cut_down || l->cut_up || !sim->node[SIM_CORE].alive) {
        net_dial(sim, edge, channel, 500 * SIM_MS); /* SYNs go unanswered; the guard dials anew */
        return;
    }
    l->up[channel] = l->alive[channel] = true;
    hf_edge_on_link(edge->edge, channel, true);
}

void net_node_gone(struct sim *sim, struct node *n)
{
    for (uint32_t i = 1; i < sim->node_count; i++) {
        struct node *edge = &sim->node[i];
        if (n->index != SIM_CORE && edge != n) {
            continue;
        }
        struct link *l = &edge->link;
        bool told = !l->cut_down;
        for (uint32_t c = 0; c < HF_CHANNELS; c++) {
            l->alive[c] = false;
            if (edge == n) {
                l->up[c] = false;
                l->dialling[c] = false;
            } else if (l->up[c] && told && edge->alive) {
                struct event *ev = sim_at(sim, sim->now + l->profile.delay, EV_LINK, edge->index);
                ev->a = c;
                ev->b = 0;
            }
        }
        if (edge == n) {
            l->subscribed = false;
        }
    }
}

void net_cut(struct sim *sim, struct node *edge, bool down, bool up)
{
    edge->link.cut_down |= down;
    edge->link.cut_up |= up;
    mark_hit(sim, down && up ? MARK_CUT : MARK_ONE_WAY);
    sim_trace(sim, edge, "net: cut down=%d up=%d", down, up);
}

void net_heal(struct sim *sim, struct node *edge)
{
    if (edge->link.cut_down || edge->link.cut_up) {
        sim_trace(sim, edge, "net: healed");
        edge->healed_at = sim->now;
    }
    edge->link.cut_down = edge->link.cut_up = false;
}
