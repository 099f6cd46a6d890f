/*
 * liveness.c - links, beacons, staleness, and what readers are told of all that.
 *
 * G8: the staleness bound is now - t0 of the newest request whose answering beacon's head is
 * applied, t0 being taken before the request was handed to the transport; a beacon of the stream
 * proves life but never freshness, and after a restart the bound is unknown. G13: a core whose
 * answer to a request of ours names a head below what we had applied when we asked has lost data;
 * an answer that was merely overtaken by the stream has not. G14: silence for three beacons is a
 * dead link, whatever TCP thinks.
 */
#include "edge/replica_impl.h"

#define BEACONS_MISSED 3
#define LINKS_TOLD 3u
#define LINKS_MS 60000

static hf_ms patience(const struct hf_replica *r)
{
    return BEACONS_MISSED * r->cfg.beacon_ms;
}

/* Where the core is full, or another one answers, links come and go several times a second without
 * a word from it: LINKS_TOLD of them are told in a minute, and one that is heard after all. */
static void link_note(struct hf_replica *r, enum hf_channel channel, enum hf_replica_note what,
                      uint64_t b)
{
    hf_ms since = r->wordless_since[channel];
    if (what == HF_NOTE_LINK_UP) {
        if (r->heard[channel] >= since || r->now - since >= LINKS_MS) {
            r->wordless_since[channel] = r->now;
            r->wordless[channel] = 0;
        }
        r->link_quiet[channel] = ++r->wordless[channel] > LINKS_TOLD;
    }
    if (!r->link_quiet[channel]) {
        note(r, what, (uint64_t)channel, b);
    }
}

void heard_from(struct hf_replica *r, enum hf_channel channel)
{
    if (r->link[channel] && r->link_quiet[channel]) {
        r->link_quiet[channel] = false;
        note(r, HF_NOTE_LINK_UP, (uint64_t)channel, 0);
    }
    r->heard[channel] = r->now;
}

void head_raise(struct hf_replica *r, hf_seq head)
{
    if (head > r->head) {
        r->head = head;
    }
    if (r->head <= r->applied.seq) {
        r->behind_since = -1;
        r->waits = false;
    } else if (r->behind_since < 0) {
        r->behind_since = r->progress_at = r->now;
    }
}

void diverge(struct hf_replica *r, enum hf_replica_note why, uint64_t a, uint64_t b)
{
    if (!r->diverged) {
        note(r, why, a, b);
    }
    r->diverged = true;
    r->store_state = HF_STORE_DIVERGED;
}

/* ---- links ---- */

void on_link(struct hf_replica *r, const struct hf_replica_event *ev)
{
    HF_ASSERT(ev->channel < HF_CHANNELS);
    if (r->link[ev->channel] == ev->ok) {
        return;
    }
    bool first = r->link_since[ev->channel] < 0;
    r->link[ev->channel] = ev->ok;
    r->link_since[ev->channel] = r->now;
    link_note(r, ev->channel, ev->ok ? HF_NOTE_LINK_UP : HF_NOTE_LINK_DOWN, 0);
    if (ev->channel != HF_CHANNEL_CONTROL || !ev->ok) {
        return;
    }
    /* Whatever was asked over the old connection is asked again, at once but for a little jitter;
     * not the parts of a transfer, while others are left to ask for. */
    requests_outlive_link(r);
    pace_restart(r);
    width_restart(r);
    share_measure(r);
    r->timeouts_in_row = 0;
    r->need_hello = true;
    r->healed_at = r->now;
    r->repair_noted = false;
    r->report_due = r->report_hold = r->now;
    r->report_wait = r->cfg.report_ms;
    r->progress_at = r->now;
    /* Who comes back comes with all that the same cut held off; who starts mostly comes by itself.
     * Who joins with many others and had no answer dials anew, too, and must not come earlier by
     * it. */
    bool joins_later = r->join && is_held_back(r, HF_REPRQ_JOIN);
    if (!first && !r->revoked && !joins_later) {
        back_off_all(r, jitter(r, r->cfg.backoff_ms_min) - r->cfg.backoff_ms_min / 2);
    }
}

static void redial(struct hf_replica *r, enum hf_channel channel, hf_ms silent)
{
    fx_add(r, HF_REPFX_REDIAL)->channel = channel;
    link_note(r, channel, HF_NOTE_LINK_SILENT, (uint64_t)silent);
    r->link_since[channel] = r->now;
    r->redials++;
    bool unknown = !r->has_genesis || (r->heard[channel] < 0 && !r->link_quiet[channel]);
    if (channel == HF_CHANNEL_CONTROL && unknown && !r->join) {
        note(r, HF_NOTE_UNKNOWN, 0, 0);
    }
}

static bool is_silent(const struct hf_replica *r)
{
    hf_ms heard = later(r->heard[0], r->heard[1]);
    return heard < 0 || r->now - heard >= patience(r);
}

/* Silence on the stream, or two unanswered requests in a row, and the link is dialled anew: TCP
 * alone may take a quarter of an hour to notice. */
static void watch_links(struct hf_replica *r)
{
    enum hf_channel s = HF_CHANNEL_STREAM;
    enum hf_channel c = HF_CHANNEL_CONTROL;
    hf_ms silent = r->now - later(r->heard[s], r->link_since[s]);
    if (r->link[s] && r->has_genesis && silent >= patience(r)) {
        redial(r, s, silent);
    }
    silent = r->now - later(r->heard[c], r->link_since[c]);
    bool unanswered = r->timeouts_in_row >= 2 || (r->timeouts_in_row == 1 && is_silent(r));
    if (r->link[c] && unanswered && silent >= patience(r)) {
        redial(r, c, silent);
        r->timeouts_in_row = 0;
    }
}

/* The forced check: the head is ahead and nothing has moved, so nothing that is remembered counts.
 */
static void watch_progress(struct hf_replica *r)
{
    bool waiting = r->head > r->applied.seq || r->stage.active;
    if (!waiting || !r->link[HF_CHANNEL_CONTROL] || r->store_busy || r->diverged || r->revoked ||
        r->now - r->progress_at < r->cfg.stall_ms) {
        return;
    }
    /* A thin link may need longer for one reply; giving it up would have it sent again for ever. */
    if (reply_is_slow(r, r->cfg.stall_ms / 2)) {
        return;
    }
    note(r, HF_NOTE_STALLED, r->head, r->applied.seq);
    /* What is given up here cannot time out any more, and it may be the link that took it. */
    r->timeouts_in_row += r->now - r->heard[HF_CHANNEL_CONTROL] >= r->cfg.stall_ms;
    requests_abandon(r);
    r->need_hello = true;
    r->plan_until = 0;
    r->span = 16;
    r->progress_at = r->now;
}

void duty_links(struct hf_replica *r)
{
    if (!fx_room(r)) {
        return;
    }
    watch_links(r);
    watch_progress(r);
    bool fresh = r->beacon_at >= 0 && r->beacon_at >= r->healed_at;
    bool even = r->applied.seq >= r->head && !r->stage.active && !r->diverged;
    if (r->healed_at >= 0 && fresh && even) {
        note(r, HF_NOTE_CAUGHT_UP, r->applied.seq, (uint64_t)(r->now - r->healed_at));
        r->healed_at = -1;
        if (r->repair_noted) {
            r->report_due = r->now; /* another edge may be waiting for its turn */
        }
    }
}

hf_ms links_deadline(const struct hf_replica *r)
{
    enum hf_channel s = HF_CHANNEL_STREAM;
    if (!r->link[s] || !r->has_genesis) {
        return r->now + patience(r);
    }
    return later(r->heard[s], r->link_since[s]) + patience(r);
}

/* ---- beacons ---- */

static void candidate_add(struct hf_replica *r, hf_ms t0, hf_seq head)
{
    if (r->candidate_count == CANDIDATES_MAX) {
        /* The newest two may merge: the later t0 needs the higher head, the bound stays honest. */
        r->candidate_count--;
    }
    r->candidate[r->candidate_count++] = (struct candidate){t0, head};
}

void freshen(struct hf_replica *r)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->candidate_count; i++) {
        if (r->candidate[i].head <= r->applied.seq) {
            r->fresh_t0 = later(r->fresh_t0, r->candidate[i].t0);
        } else {
            r->candidate[kept++] = r->candidate[i];
        }
    }
    r->candidate_count = kept;
    r->loaded |= r->load_known && r->applied.seq >= r->load_head;
    head_raise(r, r->applied.seq);
}

/* A HELLO shows the core the signed header of what is applied here, which a REPORT only claims:
 * what was held when this edge greeted may have been applied since. */
static void rolled_back(struct hf_replica *r, hf_seq head, hf_seq applied)
{
    r->need_hello |= !r->diverged;
    r->rolled_back |= !r->diverged;
    diverge(r, HF_NOTE_ROLLBACK, head, applied);
}

/* The operator gave the core its newer data back. Nothing here was ever wrong; where the two
 * histories are not the same after all, the chain of the next frame or beacon says so. */
static void rolled_forward(struct hf_replica *r)
{
    r->rolled_back = r->diverged = false;
    r->store_state = HF_STORE_OK;
    r->need_hello = true;
    note(r, HF_NOTE_ROLLED_FORWARD, r->head, r->applied.seq);
}

/* What the answer to our own request proves. */
static void on_answer(struct hf_replica *r, const struct hf_replica_event *ev)
{
    const struct hf_beacon *b = ev->beacon;
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        const struct request *q = &r->request[i];
        if (q->id != 0 && q->id == ev->request && b->head < q->applied) {
            rolled_back(r, b->head, q->applied);
            return;
        }
    }
    if (r->rolled_back && b->head >= r->applied.seq) {
        rolled_forward(r);
    }
    if (!r->load_known) {
        r->load_known = true;
        r->load_head = b->head;
    }
    candidate_add(r, ev->t0, b->head);
    freshen(r);
}

void on_beacon(struct hf_replica *r, const struct hf_replica_event *ev)
{
    const struct hf_beacon *b = ev->beacon;
    if (!r->has_genesis || !hf_id_eq(&b->epoch_id, &r->applied.epoch_id)) {
        r->need_hello = true;
        return;
    }
    bool answer = ev->t0 >= 0;
    if (!answer && b->counter <= r->beacon_counter) {
        r->duplicates++; /* a recording proves nothing, not even life */
        return;
    }
    heard_from(r, answer ? HF_CHANNEL_CONTROL : HF_CHANNEL_STREAM);
    r->answered_t0 = later(r->answered_t0, ev->t0);
    /* Whoever records or delays the stream keeps its order. That its beacons are of now shows an
     * answer to our own request, for as long as the next one may take. */
    if (r->answered_t0 >= 0 && r->now - r->answered_t0 < r->cfg.request_ms_max) {
        r->beacon_at = r->now;
    }
    if (b->head == r->applied.seq && (!hf_hash_eq(&b->chain, &r->applied.chain) ||
                                      !hf_hash_eq(&b->digest, &r->applied.digest))) {
        diverge(r, HF_NOTE_FORK, b->head, 0);
        return;
    }
    if (b->counter > r->beacon_counter) {
        r->beacon_counter = b->counter;
        r->log_floor = b->log_floor;
        r->delta_floor = b->delta_floor;
    }
    head_raise(r, b->head);
    if (answer) {
        on_answer(r, ev);
    }
}

/* ---- status ---- */

static enum hf_replica_state state_of(const struct hf_replica *r, hf_ms now)
{
    hf_ms heard = later(r->heard[0], r->heard[1]);
    bool current = r->beacon_at >= 0 && now - r->beacon_at < patience(r);
    bool stalled = r->behind_since >= 0 && now - r->progress_at >= r->cfg.stall_ms;
    /* A frame may be a recording: only an answer to a request of ours shows that it is served. */
    hf_ms answered = r->heard[HF_CHANNEL_CONTROL];
    bool served = current || (answered >= 0 && now - answered < patience(r));
    bool wide = r->head - r->applied.seq > r->cfg.plan_batches;
    if (r->diverged) {
        return HF_REPLICA_DIVERGED;
    }
    if (r->revoked) {
        return HF_REPLICA_REVOKED;
    }
    if (!r->has_genesis || !r->loaded) {
        return HF_REPLICA_JOINING;
    }
    if (heard < 0 || now - heard >= patience(r)) {
        return HF_REPLICA_CUT_OFF;
    }
    if (served && (r->stage.active || (r->head > r->applied.seq && wide))) {
        return HF_REPLICA_CATCHING_UP;
    }
    if (!current || stalled) {
        return HF_REPLICA_FROZEN;
    }
    return r->head > r->applied.seq ? HF_REPLICA_LAGGING : HF_REPLICA_LIVE;
}

static void status_holes(const struct hf_replica *r, struct hf_replica_status *out)
{
    struct hf_range gap;
    hf_seq from = r->applied.seq + 1;
    while (from <= r->head && held_gap(r, from, r->head, &gap)) {
        if (out->hole_count < HF_REPORT_HOLES_MAX) {
            out->hole[out->hole_count++] = gap;
        }
        out->holes_total++;
        from = gap.last + 1;
    }
}

static void status_transfer(const struct hf_replica *r, hf_ms now, struct hf_replica_status *out)
{
    uint64_t done = r->transfer_done;
    if (!r->stage.active) {
        return;
    }
    out->transfer_done = done;
    /* The plan's estimate may have been low. */
    out->transfer_total =
        r->transfer_total > 0 && r->transfer_total < done ? done : r->transfer_total;
    if (out->transfer_total > 0 && done > r->transfer_from) {
        /* Of terabytes over weeks the product would not fit into 64 bits. */
        double rest = (double)(out->transfer_total - done) / (double)(done - r->transfer_from);
        double eta = rest * (double)(now - r->transfer_began);
        out->transfer_eta_ms = eta < 1e15 ? (uint64_t)eta : UINT64_MAX;
    }
}

void hf_replica_status(const struct hf_replica *r, hf_ms now, struct hf_replica_status *out)
{
    *out = (struct hf_replica_status){
        .state = state_of(r, now),
        .head = r->head,
        .applied = r->applied.seq,
        .received = r->received,
        .staleness_ms = r->fresh_t0 < 0 ? UINT64_MAX : (uint64_t)(now - r->fresh_t0),
        .store_state = r->store_state,
        .transfer_eta_ms = UINT64_MAX,
        .transfer_base = r->stage.active ? r->stage.covered : 0,
        .link_up = {r->link[0], r->link[1]},
        .last_heard_ms = -1,
        .duplicates = r->duplicates,
        .bad_frames = r->bad_frames,
        .redials = r->redials,
        .timeouts = r->timeouts,
        .requests = r->requests,
        .held_now = r->held_count,
        .held_bytes = r->held_bytes,
        .held_ahead = r->ahead,
    };
    hf_ms heard = later(r->heard[0], r->heard[1]);
    if (heard >= 0) {
        out->last_heard_ms = now - heard;
    }
    out->repair = r->repair.status;
    status_transfer(r, now, out);
    status_holes(r, out);
}

bool hf_replica_loaded(const struct hf_replica *r)
{
    return r->loaded;
}

const char *hf_replica_state_name(enum hf_replica_state s)
{
    static const char *const names[] = {"joining", "live",   "lagging", "catching-up",
                                        "cut-off", "frozen", "revoked", "diverged"};
    HF_ASSERT((size_t)s < sizeof(names) / sizeof(names[0]));
    return names[s];
}
