/*
 * fetch.c - everything that the edge asks the core for: what and when, and what the answers mean.
 *
 * Requests carry no state that matters: what is asked is computed afresh from what is missing, so a
 * lost reply or a time-out needs no clean-up but freeing its entry. Several are in flight at once:
 * LOG for disjoint spans of the holes, lowest first, and DELTA or KEYS for the parts of a
 * transfer's range, one for each part. How many frames a span asks for follows how many the last
 * replies brought; how many requests and how large is up to pace.c.
 */
#include "edge/replica_impl.h"

#define REVOKED_RETRY_MS 60000
#define SPAN_MAX 512u
/* The parts of a transfer each meet a value that moved, a floor rises once or twice. */
#define DETOURS_FREE 32u

hf_seq want_first(const struct hf_replica *r)
{
    if (!r->stage.active) {
        return r->applied.seq + 1;
    }
    if (!stage_in_tail(r)) {
        return r->stage.target > 0 ? r->stage.target : 1;
    }
    hf_seq at = stage_at(r);
    /* The frame `at` itself is wanted once its digest is to decide the switch. */
    return at >= r->stage.asof && at > 0 ? at : at + 1;
}

static hf_seq want_last(const struct hf_replica *r)
{
    hf_seq first = want_first(r);
    hf_seq window = first + r->cfg.hold_frames_max / 2;
    hf_seq last = r->stage.active && r->stage.asof > first ? r->stage.asof : r->head;
    last = r->stage.active && r->stage.asof <= first ? first : last;
    /* A store that stands still must not make us fetch what the table will have no room for: half
     * of it is for what is under way, and for filling holes below. */
    hf_seq top = held_last(r);
    if (r->held_bytes >= r->cfg.hold_bytes_max / 2 && top >= first && top < window) {
        window = top;
    }
    return last < window ? last : window;
}

/* ---- what is due ---- */

void duty_control(struct hf_replica *r)
{
    if (!r->link[HF_CHANNEL_CONTROL] || !fx_room(r)) {
        return;
    }
    bool greeting = request_open(r, HF_REPRQ_JOIN) || request_open(r, HF_REPRQ_HELLO);
    if (r->need_hello && !greeting && !is_held_back(r, HF_REPRQ_HELLO)) {
        request_send(r, &(struct request){.kind = r->join ? HF_REPRQ_JOIN : HF_REPRQ_HELLO});
    }
    bool may_report = r->has_genesis && !r->revoked && !r->join && r->now >= r->report_hold;
    if (may_report && r->now >= r->report_due && !request_open(r, HF_REPRQ_REPORT)) {
        request_send(r, &(struct request){.kind = HF_REPRQ_REPORT});
        r->report_due = r->now + r->cfg.report_ms;
    }
}

/* The next span in [from, to] that is neither held nor asked for. */
static bool missing(const struct hf_replica *r, hf_seq from, hf_seq to, struct hf_range *span)
{
    bool again = true;
    while (again) {
        if (from > to || !held_gap(r, from, to, span)) {
            return false;
        }
        again = false;
        for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
            const struct request *q = &r->request[i];
            if (q->id == 0 || q->kind != HF_REPRQ_LOG || q->last < span->first ||
                q->first > span->last) {
                continue;
            }
            if (q->first <= span->first) {
                from = q->last + 1;
                again = true;
                break;
            }
            span->last = q->first - 1;
        }
    }
    return true;
}

static void fetch_holes(struct hf_replica *r)
{
    struct hf_range span;
    hf_seq last = want_last(r);
    while (fx_room(r) && missing(r, want_first(r), last, &span)) {
        if (r->hole_since < 0) {
            r->hole_since = r->now;
        }
        if (!r->repairing && r->now - r->hole_since < r->cfg.gap_ms) {
            return;
        }
        r->repairing = true;
        if (!data_room(r)) {
            return;
        }
        if (span.last - span.first >= r->span) {
            span.last = span.first + r->span - 1;
        }
        note(r, HF_NOTE_HOLE, span.first, span.last);
        request_send(
            r, &(struct request){.kind = HF_REPRQ_LOG, .first = span.first, .last = span.last});
    }
    if (fx_room(r) && !request_open(r, HF_REPRQ_LOG)) {
        r->hole_since = -1;
        r->repairing = false;
    }
}

/* A frame too large for a message came as its header: its body is fetched when it is the next. */
static void fetch_body(struct hf_replica *r)
{
    hf_seq first = want_first(r);
    const struct held *h = held_find(r, first);
    bool decides = r->stage.active && first == stage_at(r);
    if (h == NULL || h->state != HELD_NO_BODY || decides || request_open(r, HF_REPRQ_BODY)) {
        return;
    }
    request_send(r, &(struct request){.kind = HF_REPRQ_BODY, .first = first, .last = first});
}

/* In turns: were the lower ones always first, the highest would be left at the end, one request
 * after another. */
static void fetch_stage(struct hf_replica *r)
{
    bool keys = stage_in_keys(r);
    if (store_does(r, HF_REPFX_STAGE_SKIP)) {
        return; /* it moves a cursor that is not known yet */
    }
    uint32_t count = r->stage.part_count;
    uint32_t turn = r->part_turn;
    for (uint32_t n = 0; n < count && !r->drop_stage; n++) {
        uint32_t i = (turn + n) % count;
        bool idle = !r->stage.part[i].done && (r->skip_parts >> i & 1) == 0;
        if (!idle || request_of_part(r, i)) {
            continue;
        }
        if (!fx_room(r) || !data_room(r)) {
            requests_give_up_late(r, false); /* all that may be under way may hang */
            return;
        }
        request_send(r, &(struct request){.kind = keys ? HF_REPRQ_KEYS : HF_REPRQ_DELTA,
                                          .part = i,
                                          .last = r->stage.part[i].until.seq});
        r->part_turn = i + 1;
    }
    requests_give_up_late(r, true);
}

/* The header that will decide the switch is of the newest state that a chunk was read from: asked
 * for now, it is there when the last chunk is. */
static void fetch_decider(struct hf_replica *r)
{
    hf_seq asof = r->stage.asof;
    bool wanted = asof > 0 && asof >= r->stage.target && asof <= r->head;
    if (!wanted || held_find(r, asof) != NULL || request_open(r, HF_REPRQ_LOG) || !fx_room(r) ||
        !data_room(r)) {
        return;
    }
    request_send(r, &(struct request){.kind = HF_REPRQ_LOG, .first = asof, .last = asof});
}

static bool plan_due(const struct hf_replica *r)
{
    hf_seq next = r->applied.seq + 1;
    bool wide = r->head - r->applied.seq > r->cfg.plan_batches && r->plan_until < next;
    return r->plan_now || r->log_floor > next || wide;
}

void duty_fetch(struct hf_replica *r)
{
    bool may = r->link[HF_CHANNEL_CONTROL] && r->has_genesis && !r->join && !r->revoked &&
               !r->diverged && !r->checking && r->begin == HF_PLAN_NONE;
    if (!may || is_held_back(r, HF_REPRQ_LOG) || !fx_room(r)) {
        return;
    }
    if (r->stage.active && !stage_in_tail(r)) {
        fetch_stage(r);
        fetch_decider(r);
        return;
    }
    if (repair_needs_no_frame(r)) {
        return;
    }
    if (!r->stage.active && r->head <= r->applied.seq) {
        r->hole_since = -1;
        r->repairing = false;
        return;
    }
    /* What is being stored may be just what is missing, or the transfer that a plan asked for. */
    bool applying = store_does(r, HF_REPFX_APPLY) || store_does(r, HF_REPFX_TAKE);
    if (store_does(r, HF_REPFX_STAGE_BEGIN)) {
        return;
    }
    if (!r->stage.active && plan_due(r) && !applying) {
        /* A DELTA over a damaged base would be refused, and there may be no room for one. */
        if (repair_goes_first(r) || r->now < r->transfer_at) {
            return;
        }
        if (!request_open(r, HF_REPRQ_PLAN)) {
            request_send(r, &(struct request){.kind = HF_REPRQ_PLAN});
        }
        return;
    }
    if (!r->extend_target) {
        fetch_body(r);
        fetch_holes(r);
    }
}

/* ---- what came back ---- */

static void on_greeted(struct hf_replica *r, const struct hf_replica_event *ev, bool joined)
{
    if (joined) {
        r->join = false;
        note(r, HF_NOTE_ENROLLED, 0, 0);
    }
    if (!r->has_genesis) {
        HF_ASSERT(ev->position != NULL);
        r->applied = *ev->position;
        r->has_genesis = true;
    }
    r->need_hello = false;
    r->revoked = false;
    r->keys_fresh = true;
}

static void on_plan(struct hf_replica *r, const struct hf_replica_event *ev)
{
    note(r, HF_NOTE_PLAN, (uint64_t)ev->plan, ev->total);
    r->plan_now = false;
    pace_transfer(r, ev->total);
    if (ev->plan == HF_PLAN_NONE || ev->plan == HF_PLAN_LOG) {
        r->plan_until = ev->seq > r->applied.seq ? ev->seq : r->applied.seq + 1;
        r->log_floor = 0; /* the core knows better than the beacon that said so */
        return;
    }
    if (!r->stage.active && !stage_begins(r) && !repair_goes_first(r)) {
        r->begin = ev->plan;
        r->begin_head = ev->seq;
        r->transfer_total = ev->total;
        r->transfer_done = r->transfer_from = 0;
        r->transfer_began = r->progress_noted = r->now;
        head_raise(r, ev->seq);
    }
}

static void on_log(struct hf_replica *r, const struct request *q, const struct hf_replica_event *ev)
{
    if (ev->seq >= q->last) {
        r->span = 2 * r->span < SPAN_MAX ? 2 * r->span : SPAN_MAX;
    } else if (ev->seq >= q->first) {
        r->span = ev->seq - q->first + 1;
    }
}

static void on_body(struct hf_replica *r, const struct request *q,
                    const struct hf_replica_event *ev)
{
    struct held *h = held_find(r, q->first);
    if (h == NULL || h->state != HELD_NO_BODY) {
        return;
    }
    r->progress_at = r->now;
    if (ev->offset >= ev->total) {
        h->has_body = true;
        h->state = HELD_VERIFYING;
        fx_add(r, HF_REPFX_VERIFY)->slot = h->slot;
    }
}

static void on_chunk(struct hf_replica *r, const struct request *q, uint32_t bytes)
{
    if (r->stage.active) {
        r->transfer_done += bytes;
        struct request *kept = request_unused(r);
        *kept = *q;
        kept->state = REQUEST_WAITS;
    }
}

static void on_granted(struct hf_replica *r, const struct request *q,
                       const struct hf_replica_event *ev)
{
    switch (q->kind) {
    case HF_REPRQ_NONE:
        break;
    case HF_REPRQ_REPORT:
        r->report_wait = r->cfg.report_ms;
        break;
    case HF_REPRQ_JOIN:
    case HF_REPRQ_HELLO:
        on_greeted(r, ev, q->kind == HF_REPRQ_JOIN);
        break;
    case HF_REPRQ_PLAN:
        on_plan(r, ev);
        break;
    case HF_REPRQ_LOG:
        on_log(r, q, ev);
        break;
    case HF_REPRQ_BODY:
        on_body(r, q, ev);
        break;
    case HF_REPRQ_DELTA:
    case HF_REPRQ_KEYS:
        on_chunk(r, q, ev->bytes);
        break;
    case HF_REPRQ_RANGES:
        repair_replied(r, q, ev->seq);
        break;
    }
}

/* True when the refusal says what to do next; otherwise it is noted and asked again later. */
static bool refusal_understood(struct hf_replica *r, const struct request *q, enum hf_err code)
{
    bool chunk = q->kind == HF_REPRQ_DELTA || q->kind == HF_REPRQ_KEYS;
    bool log = q->kind == HF_REPRQ_LOG || q->kind == HF_REPRQ_BODY;
    if (code == HF_NOT_YET && q->kind == HF_REPRQ_RANGES) {
        repair_not_yet(r);
        return true;
    }
    if (code == HF_MOVED && chunk) {
        r->skip_parts |= r->stage.active ? 1u << q->part : 0;
        return true;
    }
    /* A core that has not even the frame of its own head cannot be helped by asking again at once.
     */
    bool hopeless = r->stage.active && r->head <= r->stage.covered;
    if (code == HF_BELOW_FLOOR && log && !hopeless) {
        r->extend_target = r->stage.active;
        r->plan_now = !r->stage.active;
        return true;
    }
    if (code == HF_BELOW_FLOOR && chunk) {
        r->drop_stage = r->plan_now = true;
        /* The ranges are of a newer state, and neither frames nor keys lead there any more. */
        repair_refused(r, code);
        return true;
    }
    return false;
}

static void on_refusal(struct hf_replica *r, const struct request *q,
                       const struct hf_replica_event *ev)
{
    if (refusal_understood(r, q, ev->code)) {
        /* A core may send us round in circles for ever. */
        if (q->kind != HF_REPRQ_RANGES && ++r->detours > DETOURS_FREE) {
            back_off(r, HF_REPRQ_PLAN, 0);
        }
        return;
    }
    if (ev->code == HF_REVOKED) {
        if (!r->revoked) {
            note(r, HF_NOTE_REVOKED, 0, 0);
        }
        r->revoked = r->need_hello = true;
        back_off_all(r, jitter(r, REVOKED_RETRY_MS));
        return;
    }
    if (q->kind == HF_REPRQ_JOIN && ev->code == HF_AUTH) {
        note(r, HF_NOTE_JOIN_REFUSED, 0, 0);
        back_off_all(r, jitter(r, REVOKED_RETRY_MS)); /* only the operator can change that */
        return;
    }
    if (ev->code == HF_FORK) {
        diverge(r, HF_NOTE_FORK, r->applied.seq, 0);
    }
    bool ask_hello = ev->code == HF_UNKNOWN_EPOCH || ev->code == HF_SEALED;
    r->need_hello |= ask_hello;
    if (ev->code != HF_BUSY && ev->code != HF_NOT_YET) {
        note(r, HF_NOTE_REFUSED, (uint64_t)q->kind, (uint64_t)ev->code);
    }
    if (ev->code == HF_BUSY) {
        pace_busy(r, q, ev->retry_ms);
    }
    if (q->kind == HF_REPRQ_REPORT) {
        report_back_off(r, ev->code);
    } else if (q->kind == HF_REPRQ_RANGES && ev->code == HF_BUSY) {
        repair_busy(r, ev->retry_ms);
    } else {
        /* Not one HELLO for each request that was under way. */
        back_off(r, ask_hello ? HF_REPRQ_HELLO : q->kind, ev->code == HF_BUSY ? ev->retry_ms : 0);
    }
    if (q->kind == HF_REPRQ_RANGES && ev->code != HF_BUSY && ev->code != HF_NOT_YET) {
        repair_unanswered(r, ev->code);
    }
}

void on_reply(struct hf_replica *r, const struct hf_replica_event *ev)
{
    struct request *open = request_sent(r, ev->request);
    if (open == NULL) {
        return; /* abandoned */
    }
    struct request q = *open;
    open->id = 0;
    pace_replied(r, &q, ev->bytes, ev->code == HF_OK);
    heard_from(r, HF_CHANNEL_CONTROL);
    repair_counts(r, &q, ev->bytes);
    if (ev->code == HF_OK) {
        on_granted(r, &q, ev);
    } else {
        on_refusal(r, &q, ev);
    }
}

void on_timeout(struct hf_replica *r, const struct hf_replica_event *ev)
{
    struct request *open = request_sent(r, ev->request);
    if (open == NULL) {
        return;
    }
    struct request q = *open;
    open->id = 0;
    r->timeouts++;
    r->timeouts_in_row++;
    r->span = r->span > 1 ? r->span / 2 : 1;
    pace_timed_out(r, &q);
    if (q.kind == HF_REPRQ_RANGES) {
        repair_unanswered(r, HF_TIMEOUT);
    }
}
