/*
 * replica.c - the replica engine's front door: an event in, the duties in order, effects out.
 *
 * Invariants that the whole engine protects: applied grows by one contiguous, verified frame after
 * another, or by one switch to a staged state whose digest was signed (G1, G6, G11); nothing is
 * reported as applied before STORE_DONE said it is durable (G2); nothing unverified is held as
 * received (G12); tables are bounded and when full keep the lowest frames, which are needed first
 * (G16).
 *
 * It must not: read a clock, allocate after _new, or remember an intent that the state does not
 * show. Every duty looks at the state and does what is missing, so that a lost reply, a spurious
 * tick or a restart at any point changes nothing but time. Read hf/replica.h first, then held.c,
 * apply.c, fetch.c with pace.c, share.c and width.c, repair.c and liveness.c.
 */
#include "edge/replica_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void hf_replica_defaults(struct hf_replica_config *c)
{
    *c = (struct hf_replica_config){
        .beacon_ms = 1000,
        .report_ms = 1000,
        /* Below 1 s a satellite link (600 ms) with one retransmission would look dead. */
        .request_ms_min = 1500,
        /* One reply of 64 KiB takes 55 s over 9.6 kbit/s. */
        .request_ms_max = 60000,
        .backoff_ms_min = 100,
        /* A core that comes back is found within this; 1,000 edges then cost it 200 HELLOs a
           second. */
        .backoff_ms_max = 5000,
        .stable_ms = 10000,
        /* TCP does not reorder: what is missing after the queues of both sides had their turn is
           lost. */
        .gap_ms = 20,
        .stall_ms = 10000,
        /* A hole that is repaired sooner is not worth a disk write. */
        .hold_ms = 1000,
        .hold_frames_max = 4096,
        .hold_bytes_max = 32u << 20,
        /* Two on each of the 16 connections that the transport makes at most: enough for 20 Mbit/s
           at 100 ms and 0.5 % loss, where one connection makes 2 to 4. width.c finds out how many
           of them bring anything. */
        .fetch_max = HF_STAGE_PARTS_MAX,
        .catchup_share = 70,
        /* What a crash may cost of a transfer; its parts wait while so much is synced. */
        .stage_ms = 500,
        .stage_bytes = 8u << 20,
        /* At 100 changes a frame this is 0.1 s of writing, which bounds the loss of a failed
           commit. */
        .apply_frames_max = 256,
        /* A frame of 100 changes is 0.2 ms of writing, the way to the writer and back 0.05. */
        .ahead_frames_min = 8,
        /* Two hand-overs between threads less for a change that comes alone. */
        .take_next = true,
        .plan_batches = 64,
        /* The core's floor moves all the time; a commit a minute is nothing, one a second is. */
        .collect_ms = 60000,
    };
}

struct hf_replica *hf_replica_new(const struct hf_replica_config *c)
{
    HF_ASSERT(c->hold_frames_max >= 2 && c->apply_frames_max >= 1 && c->ahead_frames_min >= 1);
    HF_ASSERT(c->fetch_max >= 1 && c->fetch_max <= HF_STAGE_PARTS_MAX);
    struct hf_replica *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return NULL;
    }
    r->held = calloc(c->hold_frames_max, sizeof(*r->held));
    if (r->held == NULL) {
        free(r);
        return NULL;
    }
    r->cfg = *c;
    r->cfg.report_ms = sooner(c->report_ms, c->beacon_ms);
    r->next_id = 1;
    r->span = 16;
    pace_begin(r);
    r->staged_since = -1;
    r->report_wait = r->cfg.report_ms;
    r->hole_since = r->heard[0] = r->heard[1] = r->beacon_at = -1;
    r->link_since[0] = r->link_since[1] = -1;
    r->wordless_since[0] = r->wordless_since[1] = -1;
    r->healed_at = r->behind_since = r->fresh_t0 = r->answered_t0 = -1;
    return r;
}

void hf_replica_free(struct hf_replica *r)
{
    if (r != NULL) {
        free(r->held);
        free(r);
    }
}

/* ---- effects ---- */

#define EFFECTS_RESERVE 8u /* the most that one event's handler or one round of a duty adds */

bool fx_room(const struct hf_replica *r)
{
    return r->fx->count + EFFECTS_RESERVE <= HF_REPLICA_EFFECTS_MAX;
}

struct hf_replica_effect *fx_add(struct hf_replica *r, enum hf_replica_effect_type type)
{
    HF_ASSERT(r->fx->count < HF_REPLICA_EFFECTS_MAX);
    struct hf_replica_effect *e = &r->fx->at[r->fx->count++];
    memset(e, 0, sizeof(*e));
    e->type = type;
    return e;
}

void note(struct hf_replica *r, enum hf_replica_note n, uint64_t a, uint64_t b)
{
    struct hf_replica_effect *e = fx_add(r, HF_REPFX_NOTE);
    e->note = n;
    e->a = a;
    e->b = b;
}

hf_ms jitter(struct hf_replica *r, hf_ms whole)
{
    /* One event may jitter more than once: stir, so that the draws differ. */
    r->entropy = r->entropy * 6364136223846793005u + 1442695040888963407u;
    hf_ms half = whole / 2;
    return whole - half + (hf_ms)((r->entropy >> 33) % (uint64_t)(half + 1));
}

/* How long after a survey every step forward is reported at once. One REPORT is in flight at a
 * time, so a flood of surveys costs a request per round trip. */
#define SURVEY_MS 5000

/* ---- step ---- */

static void on_start(struct hf_replica *r, const struct hf_replica_event *ev)
{
    HF_ASSERT(!r->started && ev->position != NULL && ev->stage != NULL);
    r->started = true;
    r->has_genesis = ev->ok;
    r->join = ev->join;
    r->need_hello = true;
    r->applied = *ev->position;
    r->loaded = ev->position->seq > 0;
    r->stage = *ev->stage;
    if (r->stage.active) {
        r->transfer_total = ev->total;
        r->transfer_done = r->transfer_from = ev->offset;
        r->transfer_began = r->progress_noted = ev->now;
    }
    r->repair.damaged = r->repair.marked = ev->damaged;
    if (ev->damaged && r->applied.seq > 0) {
        repair_want(r, false);
    }
    width_begin(r, (uint64_t)stage_parts_left(r) << 16); /* about what a part has, or more */
    r->head = r->received = ev->position->seq;
    r->progress_at = r->report_due = ev->now;
}

static void dispatch(struct hf_replica *r, const struct hf_replica_event *ev)
{
    switch (ev->type) {
    case HF_REPEV_START:
        on_start(r, ev);
        break;
    case HF_REPEV_RESTORED:
        on_restored(r, ev);
        break;
    case HF_REPEV_LINK:
        on_link(r, ev);
        break;
    case HF_REPEV_FRAME:
        on_frame(r, ev);
        break;
    case HF_REPEV_VERIFIED:
        on_verified(r, ev);
        break;
    case HF_REPEV_BEACON:
        on_beacon(r, ev);
        break;
    case HF_REPEV_REPLY:
        on_reply(r, ev);
        break;
    case HF_REPEV_TIMEOUT:
        on_timeout(r, ev);
        break;
    case HF_REPEV_STORE_DONE:
        on_store_done(r, ev);
        break;
    case HF_REPEV_CHECKED:
        on_checked(r, ev);
        break;
    case HF_REPEV_SURVEY:
        r->report_due = ev->now;
        r->survey_until = ev->now + SURVEY_MS;
        break;
    case HF_REPEV_REPAIR:
        on_repair(r, ev);
        break;
    case HF_REPEV_COMPARED:
        on_compared(r, ev);
        break;
    case HF_REPEV_TICK:
        break;
    }
}

void hf_replica_step(struct hf_replica *r, const struct hf_replica_event *ev,
                     struct hf_replica_effects *fx)
{
    fx->count = 0;
    r->fx = fx;
    HF_ASSERT(ev->now >= r->now);
    r->now = ev->now;
    r->entropy ^= ev->entropy;
    dispatch(r, ev);
    if (r->started) {
        retry_sealed(r);
        duty_repair(r);
        duty_store(r);
        duty_links(r);
        duty_control(r);
        duty_fetch(r);
    }
    r->more_due = !fx_room(r);
    r->fx = NULL;
}

/* A time that has passed is not waited for: what it was for was done then, or is blocked by
 * something that ends with an event or has a time of its own. */
static hf_ms upcoming(const struct hf_replica *r, hf_ms at, hf_ms t)
{
    return t > r->now ? sooner(at, t) : at;
}

hf_ms hf_replica_deadline(const struct hf_replica *r)
{
    if (r->more_due) {
        return r->now + 1;
    }
    hf_ms at = sooner(r->now + r->cfg.report_ms, links_deadline(r));
    at = upcoming(r, at, r->report_due);
    at = upcoming(r, at, r->report_hold);
    at = upcoming(r, at, r->pace[0].retry_at);
    at = upcoming(r, at, r->pace[1].retry_at);
    if (r->rest_until > r->now && !r->store_busy) {
        at = upcoming(r, sooner(at, r->rest_until), frames_pause_at(r));
    }
    at = upcoming(r, at, r->store_retry);
    at = upcoming(r, at, r->transfer_at);
    at = sooner(at, repair_deadline(r));
    if (r->staged_since >= 0) {
        at = upcoming(r, at, r->staged_since + r->cfg.stage_ms);
    }
    if (r->stage.active || r->head > r->applied.seq) {
        at = sooner(at, share_deadline(r));
    }
    if (collect_due(r)) {
        at = upcoming(r, at, r->collect_at);
    }
    if (r->hole_since >= 0) {
        at = upcoming(r, at, r->hole_since + r->cfg.gap_ms);
    }
    return at > r->now ? at : r->now + 1;
}

/* ---- inspection ---- */

static const struct {
    enum hf_level level;
    const char *format; /* %a and %b are the operands */
} notes[HF_NOTE_COUNT] = {
    [HF_NOTE_LINK_UP] = {HF_LEVEL_INFO, "link up channel=%a"},
    [HF_NOTE_LINK_DOWN] = {HF_LEVEL_WARN, "link down channel=%a"},
    [HF_NOTE_LINK_SILENT] = {HF_LEVEL_WARN, "link silent, dialling again channel=%a silent_ms=%b"},
    [HF_NOTE_CAUGHT_UP] = {HF_LEVEL_INFO, "caught up seq=%a after_ms=%b"},
    [HF_NOTE_FIRST_REPAIR] = {HF_LEVEL_INFO, "first repaired batch seq=%a after_ms=%b"},
    [HF_NOTE_HOLE] = {HF_LEVEL_DEBUG, "asking for missing batches first=%a last=%b"},
    [HF_NOTE_PLAN] = {HF_LEVEL_INFO, "plan for the gap kind=%p bytes=%b"},
    [HF_NOTE_PROGRESS] = {HF_LEVEL_INFO, "transfer under way percent=%a eta_s=%b"},
    [HF_NOTE_SWITCHED] = {HF_LEVEL_INFO, "transferred state is visible seq=%a bytes=%b"},
    [HF_NOTE_STAGE_REFUSED] = {HF_LEVEL_ERROR,
                               "transferred state is refused, dropped seq=%a reason=%e"},
    [HF_NOTE_BAD_FRAME] = {HF_LEVEL_WARN, "frame refused seq=%a reason=%e"},
    [HF_NOTE_KEY_MISSING] = {HF_LEVEL_INFO,
                             "content key or dictionary missing, asking the core seq=%a"},
    [HF_NOTE_HOLD_FULL] = {HF_LEVEL_DEBUG, "held frames at their limit, given up seq=%a"},
    [HF_NOTE_STORE_TROUBLE] = {HF_LEVEL_ERROR,
                               "store refused, serving what is there seq=%a reason=%e"},
    [HF_NOTE_STORE_WELL] = {HF_LEVEL_INFO, "store writes again seq=%a"},
    [HF_NOTE_DIVERGED] = {HF_LEVEL_ERROR,
                          "state differs from what the core signed seq=%a reason=%e"},
    [HF_NOTE_ROLLBACK] = {HF_LEVEL_ERROR, "core is behind this edge: rolled back? core=%a here=%b"},
    [HF_NOTE_ROLLED_FORWARD] = {HF_LEVEL_WARN,
                                "the core has its newer batches again head=%a here=%b"},
    [HF_NOTE_FORK] = {HF_LEVEL_ERROR, "two signed histories, evidence kept seq=%a"},
    [HF_NOTE_REVOKED] = {HF_LEVEL_ERROR, "this edge is revoked; serving what it has"},
    [HF_NOTE_REFUSED] = {HF_LEVEL_WARN, "core refused a request kind=%a reason=%e"},
    [HF_NOTE_STALLED] = {HF_LEVEL_WARN, "nothing moves, asking again head=%a applied=%b"},
    [HF_NOTE_WAITS] = {HF_LEVEL_INFO,
                       "the core serves others first, waiting for a turn head=%a applied=%b"},
    [HF_NOTE_UNKNOWN] = {HF_LEVEL_WARN,
                         "the core has never answered; does it know this edge's key, "
                         "and is core_key the core's?"},
    [HF_NOTE_JOIN_REFUSED] = {HF_LEVEL_ERROR,
                              "the core refused the join: the token is used up, void "
                              "or another edge's; its log says which"},
    [HF_NOTE_ENROLLED] = {HF_LEVEL_INFO, "enrolled at the core"},
    [HF_NOTE_REPAIR] = {HF_LEVEL_INFO, "comparing own records with the core seq=%a"},
    [HF_NOTE_REPAIR_FOUND] = {HF_LEVEL_WARN, "own records differ, fetching ranges=%a compared=%b"},
    [HF_NOTE_REPAIR_SOUND] = {HF_LEVEL_INFO, "own records are sound compared=%a"},
    [HF_NOTE_REPAIR_DONE] = {HF_LEVEL_INFO, "repaired, the digest is right ranges=%a records=%b"},
    [HF_NOTE_REPAIR_GIVEN_UP] = {HF_LEVEL_WARN, "cannot be repaired in place reason=%e"},
};

enum hf_level hf_replica_note_level(enum hf_replica_note n)
{
    HF_ASSERT(n < HF_NOTE_COUNT);
    return notes[n].level;
}

void hf_replica_note_text(enum hf_replica_note n, uint64_t a, uint64_t b, char *out, size_t cap)
{
    static const char *const plans[] = {"none", "log", "delta", "snapshot"};
    HF_ASSERT(n < HF_NOTE_COUNT && cap > 0);
    int used = snprintf(out, cap, "replica: ");
    size_t at = (size_t)used < cap ? (size_t)used : cap - 1;
    for (const char *f = notes[n].format; *f != '\0' && at + 1 < cap; f++) {
        if (*f != '%') {
            out[at++] = *f;
            continue;
        }
        char text[24];
        const char *operand = text;
        f++;
        if (*f == 'e') {
            operand = hf_err_name((enum hf_err)b);
        } else if (*f == 'p') {
            operand = a < 4 ? plans[a] : "?";
        } else {
            snprintf(text, sizeof(text), "%" PRIu64, *f == 'a' ? a : b);
        }
        for (; *operand != '\0' && at + 1 < cap; operand++) {
            out[at++] = *operand;
        }
    }
    out[at] = '\0';
}

const char *hf_replica_pending(const struct hf_replica *r)
{
    if (!r->started) {
        return "not started";
    }
    if (r->diverged) {
        return "diverged from the core";
    }
    if (r->revoked) {
        return "revoked";
    }
    if (!r->has_genesis) {
        return "no HELLO answered yet";
    }
    if (r->applied.seq >= r->head && !r->stage.active) {
        return NULL;
    }
    if (r->store_state != HF_STORE_OK) {
        return "store does not write";
    }
    if (r->store_busy) {
        return "store operation under way";
    }
    if (!r->link[HF_CHANNEL_CONTROL]) {
        return "no control link";
    }
    if (r->stage.active) {
        return "transfer under way";
    }
    if (r->sealed_count > 0) {
        return "content key or dictionary missing";
    }
    return is_held_back(r, HF_REPRQ_LOG) ? "backing off" : "holes are being fetched";
}
