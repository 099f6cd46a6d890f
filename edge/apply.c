/*
 * apply.c - the store operation under way: applying frames, holding them, staging a transfer.
 *
 * One operation at a time, so that its result always refers to the state that ordered it; what
 * comes meanwhile joins the next one, which is group commit. The closing rule of a transfer
 * (PROTOCOL.md section 8): the switch is legal at a seq N >= the largest asof of its chunks,
 * against the signed header of N, and never before, because states in between are not prefixes
 * (G1).
 *
 * Trouble: a full disk or an I/O error changes nothing but time; the same work is ordered again. A
 * digest that does not match stops applying until the store's own digest was recomputed: if the
 * store is wrong it is repaired (repair.c); if it is right, a frame proves that the edge has
 * diverged, which it says, and a transfer that it was wrong itself.
 */
#include "edge/replica_impl.h"

#define VAIN_MS_MOST 30000 /* between transfers that came to nothing: each crosses the link */
#define STORE_RETRY_MS 500 /* a full disk is looked at twice a second: recovers within 2 s */

hf_seq stage_at(const struct hf_replica *r)
{
    return r->stage.tail > r->stage.covered ? r->stage.tail : r->stage.covered;
}

bool stage_in_keys(const struct hf_replica *r)
{
    return r->stage.kind != HF_PLAN_DELTA && !r->stage.keys_done;
}

bool stage_in_tail(const struct hf_replica *r)
{
    return r->stage.active && !stage_in_keys(r) && r->stage.part_count == 0 &&
           r->stage.covered >= r->stage.target;
}

bool store_does(const struct hf_replica *r, enum hf_replica_effect_type op)
{
    return r->store_busy && r->store_op == op;
}

bool stage_begins(const struct hf_replica *r)
{
    return r->begin != HF_PLAN_NONE || store_does(r, HF_REPFX_STAGE_BEGIN);
}

void stage_replace(struct hf_replica *r, enum hf_plan_kind plan, hf_seq head)
{
    r->begin = plan;
    r->begin_head = head;
    r->transfer_total = r->transfer_done = r->transfer_from = 0; /* no plan told how much it is */
    r->drop_stage = r->stage.active;
}

static struct hf_replica_effect *order(struct hf_replica *r, enum hf_replica_effect_type op)
{
    HF_ASSERT(!r->store_busy);
    r->ordered_at = r->now;
    r->store_busy = true;
    r->store_op = op;
    struct hf_replica_effect *e = fx_add(r, op);
    e->a = r->transfer_total;
    e->b = r->transfer_done;
    return e;
}

/* ---- what is due ---- */

/* Every commit writes the pages that its keys are on. While more frames come than single commits
 * can take, a rest of a few commits' time lets more of them share one: without it an edge under
 * load wrote 3 GB for 100,000 changes, and the disk slowed the core beside it. */
#define REST_COMMITS 3
#define REST_MS_MAX 100
/* Nothing is won by waiting for frames that do not come. A pause is four times what a frame of this
 * run took to come since the store's last operation began, and a little for clocks of
 * milliseconds. */
#define PAUSE_GAPS 4
#define PAUSE_MS_MIN 2

hf_ms frames_pause_at(const struct hf_replica *r)
{
    return r->frame_at + r->pause_ms;
}

static bool is_resting(const struct hf_replica *r)
{
    bool roomy =
        r->held_count < r->cfg.hold_frames_max / 4 && r->held_bytes < r->cfg.hold_bytes_max / 4;
    bool coming = r->now < frames_pause_at(r);
    return r->now < r->rest_until && coming && r->now >= r->survey_until && roomy;
}

/* After a commit of `count` frames. */
static void rest(struct hf_replica *r, hf_seq count)
{
    hf_ms took = REST_COMMITS * r->run_ms;
    if (count > 1) {
        r->rest_until = r->now + (took < REST_MS_MAX ? took : REST_MS_MAX);
    }
}

/* How many frames behind the applied one can be applied, those ahead among them; none if there is
 * a fork. */
static hf_seq find_run(struct hf_replica *r)
{
    hf_seq base = r->applied.seq;
    hf_seq limit = repair_limit(r);
    limit = limit > base ? limit - base : 0;
    if (r->ahead > limit) {
        r->ahead = 0; /* the store undoes what is too much */
    }
    hf_seq most = limit < r->cfg.apply_frames_max ? limit : r->cfg.apply_frames_max;
    hf_seq count = r->ahead;
    const struct held *h = held_find(r, base + 1);
    if (h == NULL) {
        HF_ASSERT(count == 0);
        return 0;
    }
    const struct held *end = r->held + r->held_count;
    const struct hf_hash *prev = count == 0 ? &r->applied.chain : &h[count - 1].chain;
    for (h += count; h < end && count < most; h++) {
        if (h->seq != base + count + 1 || h->state != HELD_READY) {
            break;
        }
        if (!hf_hash_eq(&h->prev, prev)) {
            fx_add(r, HF_REPFX_EVIDENCE)->slot = h->slot;
            diverge(r, HF_NOTE_FORK, h->seq, 0);
            return 0;
        }
        prev = &h->chain;
        count++;
    }
    return count;
}

/* During a rest, what comes is applied ahead of the commit; else all of it would still be to do
 * when the rest is over, and the last of 100,000 changes be visible 50 ms after its acknowledgement
 * instead of 14. */
static void order_apply(struct hf_replica *r)
{
    hf_seq count = find_run(r);
    hf_seq fresh = count - r->ahead;
    bool commit = !is_resting(r) || count == r->cfg.apply_frames_max;
    if (count == 0 || (!commit && fresh < r->cfg.ahead_frames_min)) {
        return;
    }
    if (fresh > 0) {
        r->pause_ms = PAUSE_MS_MIN + PAUSE_GAPS * (r->now - r->ordered_at) / (hf_ms)fresh;
    }
    r->run_ms = r->ahead == 0 ? 0 : r->run_ms;
    struct hf_replica_effect *e = order(r, HF_REPFX_APPLY);
    e->first = r->applied.seq + 1;
    e->last = r->apply_last = r->applied.seq + count;
    e->commit = commit;
}

/* The store has work of its own before anything is applied, or must not be touched. */
static bool store_is_taken(const struct hf_replica *r)
{
    return r->store_busy || r->checking || r->now < r->store_retry || !r->has_genesis ||
           r->reopen || r->drop_stage || r->diverged || r->stage.active || r->begin != HF_PLAN_NONE;
}

bool order_take(struct hf_replica *r, const struct held *h)
{
    bool next = r->cfg.take_next && r->held_count == 1 && h->seq == r->applied.seq + 1 &&
                h->has_body && hf_hash_eq(&h->prev, &r->applied.chain);
    if (!next || store_is_taken(r) || r->now < r->rest_until || h->seq > repair_limit(r)) {
        return false;
    }
    struct hf_replica_effect *e = order(r, HF_REPFX_TAKE);
    e->slot = h->slot;
    e->commit = true;
    e->first = e->last = r->apply_last = h->seq;
    return true;
}

#define STORE_CHUNKS_MOST 8u

/* What is staged is committed now and then: each commit writes all pages that its keys are on. */
static bool is_save_due(const struct hf_replica *r)
{
    return r->staged_since >= 0 && (r->now - r->staged_since >= r->cfg.stage_ms ||
                                    r->stage.bytes - r->staged_saved >= r->cfg.stage_bytes);
}

/* The next chunk of a part is asked for when the one before it is stored. Were all that wait taken
 * at once, or a commit made with them, the core and the link would have nothing to do meanwhile. */
static void order_chunks(struct hf_replica *r)
{
    uint32_t parts = 0;
    struct request *q = request_waiting(r);
    for (uint32_t n = 0; q != NULL && n < STORE_CHUNKS_MOST; n++) {
        q->state = REQUEST_STORED;
        parts |= 1u << q->part;
        q = request_waiting(r);
    }
    order(r, HF_REPFX_STAGE_CHUNK)->parts = parts;
}

static void order_skip(struct hf_replica *r)
{
    uint32_t part = 0;
    while ((r->skip_parts >> part & 1) == 0) {
        part++;
    }
    r->skip_parts &= ~(1u << part);
    order(r, HF_REPFX_STAGE_SKIP)->part = part;
}

/* The frame that decides, or the next one of the tail. */
static void order_tail(struct hf_replica *r)
{
    hf_seq at = stage_at(r);
    if (repair_needs_no_frame(r)) {
        order(r, HF_REPFX_STAGE_SWITCH)->slot = UINT32_MAX;
        return;
    }
    if (at >= r->stage.asof) {
        const struct held *h = held_find(r, at);
        if (h != NULL && (h->state == HELD_READY || h->state == HELD_NO_BODY)) {
            order(r, HF_REPFX_STAGE_SWITCH)->slot = h->slot;
        }
        return;
    }
    const struct held *h = held_find(r, at + 1);
    if (h != NULL && h->state == HELD_READY) {
        order(r, HF_REPFX_STAGE_FRAME)->slot = h->slot;
    }
}

static void order_stage(struct hf_replica *r)
{
    if (is_save_due(r)) {
        order(r, HF_REPFX_STAGE_SAVE);
    } else if (request_waiting(r) != NULL) {
        order_chunks(r);
    } else if (r->skip_parts != 0) {
        order_skip(r);
    } else if (stage_in_tail(r)) {
        if (r->extend_target) {
            order(r, HF_REPFX_STAGE_TARGET)->last = r->head;
            r->extend_target = false;
        } else {
            order_tail(r);
        }
    }
}

static bool is_whole(const struct held *h)
{
    return h->state == HELD_READY || (h->state == HELD_SEALED && h->has_body);
}

/* Frames that wait behind a hole for long are worth a disk write: they survive a restart. */
static void order_hold(struct hf_replica *r)
{
    hf_seq first = 0;
    hf_seq last = 0;
    for (uint32_t i = 0; i < r->held_count; i++) {
        const struct held *h = &r->held[i];
        if (is_whole(h) && !h->stored && r->now - h->since >= r->cfg.hold_ms) {
            first = first == 0 ? h->seq : first;
            last = h->seq;
        }
    }
    if (first == 0) {
        return;
    }
    struct hf_replica_effect *e = order(r, HF_REPFX_HOLD);
    e->first = first;
    e->last = last;
    for (uint32_t i = 0; i < r->held_count; i++) {
        struct held *h = &r->held[i];
        h->storing = is_whole(h) && h->seq >= first && h->seq <= last;
    }
}

/* ---- tombstones ---- */

/* Between two steps: readers and the stream have the disk for themselves. */
#define COLLECT_STEP_MS 100

static hf_seq collect_floor(const struct hf_replica *r)
{
    return r->delta_floor < r->applied.seq ? r->delta_floor : r->applied.seq;
}

bool collect_due(const struct hf_replica *r)
{
    return !r->store_busy && !r->stage.active && r->applied.seq >= r->head &&
           collect_floor(r) > r->collected;
}

/* What the core has forgotten it cannot be asked for, so an edge need not keep it either: its own
 * applied is at or above the floor, and a deleted key is one that is not there. */
static void order_collect(struct hf_replica *r)
{
    if (collect_due(r) && r->now >= r->collect_at) {
        order(r, HF_REPFX_COLLECT)->last = collect_floor(r);
    }
}

static void on_collected(struct hf_replica *r, const struct hf_replica_event *ev)
{
    if (ev->ok) {
        r->collected = ev->seq;
    }
    r->collect_at = r->now + (ev->ok ? r->cfg.collect_ms : COLLECT_STEP_MS);
}

void duty_store(struct hf_replica *r)
{
    if (r->store_busy || r->checking || !r->has_genesis || !fx_room(r)) {
        return;
    }
    if (r->reopen && (r->reopen_now || r->now >= r->store_retry)) {
        r->reopen_now = false;
        order(r, HF_REPFX_REOPEN);
        return;
    }
    if (r->now < r->store_retry) {
        return;
    }
    if (repair_mark_due(r)) {
        r->repair.marking = r->repair.damaged;
        order(r, HF_REPFX_MARK)->first = r->repair.marking;
        return;
    }
    if (r->stage.active && r->drop_stage) {
        order(r, HF_REPFX_STAGE_DROP);
        return;
    }
    r->drop_stage = false;
    if (r->diverged) {
        return; /* what is ahead is undone with the next operation, or at the end */
    }
    if (r->stage.active) {
        order_stage(r);
    } else if (r->begin != HF_PLAN_NONE) {
        struct hf_replica_effect *e = order(r, HF_REPFX_STAGE_BEGIN);
        e->plan = r->begin;
        e->last = r->begin_head;
        r->begin = HF_PLAN_NONE;
    } else {
        order_apply(r);
    }
    if (!r->store_busy && r->ahead == 0 && fx_room(r)) {
        order_hold(r);
    }
    if (!r->store_busy && fx_room(r)) {
        order_collect(r);
    }
}

/* ---- what came of it ---- */

static void moved(struct hf_replica *r, const struct hf_position *at)
{
    HF_ASSERT(at->seq >= r->applied.seq); /* G6 */
    if (at->seq == r->applied.seq) {
        return;
    }
    const struct held *h = held_find(r, r->applied.seq + 1);
    bool repair = r->stage.active || (h != NULL && !h->streamed);
    r->applied = *at;
    r->transfer_wait = r->transfer_at = 0;
    r->detours = 0;
    r->progress_at = r->now;
    if (r->now < r->survey_until) {
        r->report_due = r->now; /* somebody at the core waits for this */
    }
    backoff_reset(r);
    if (at->seq > r->received) {
        r->received = at->seq;
    }
    head_raise(r, at->seq);
    fx_add(r, HF_REPFX_APPLIED)->last = at->seq;
    if (repair && r->healed_at >= 0 && !r->repair_noted) {
        r->repair_noted = true;
        note(r, HF_NOTE_FIRST_REPAIR, at->seq, (uint64_t)(r->now - r->healed_at));
    }
    freshen(r);
}

static bool is_staging(enum hf_replica_effect_type op)
{
    return op >= HF_REPFX_STAGE_BEGIN && op <= HF_REPFX_STAGE_DROP;
}

/* What was meant for a transfer ends with it, or it would keep the next one, or LOG, from asking.
 */
static void stage_is(struct hf_replica *r, const struct hf_stage *stage)
{
    r->stage = *stage;
    /* One that comes to be there while another waits to begin has to go, or neither would move: the
     * store was just beginning it, or has found it again when it was opened anew. */
    r->drop_stage |= stage->active && r->begin != HF_PLAN_NONE;
    if (!stage->active) {
        requests_abandon_stage(r);
        r->skip_parts = 0;
        r->extend_target = false;
        r->staged_since = -1;
    }
}

/* The chunks that the operation took are stored, or were refused and are asked for again. */
static void chunks_stored(struct hf_replica *r)
{
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        if (r->request[i].state == REQUEST_STORED) {
            r->request[i].id = 0;
        }
    }
}

/* Whether it is committed: staging alone leaves that for later, all else commits what was staged
 * before it too. */
static void saved(struct hf_replica *r, const struct hf_replica_event *ev)
{
    bool open = ev->op == HF_REPFX_STAGE_CHUNK || ev->op == HF_REPFX_STAGE_FRAME;
    if (!open) {
        r->staged_since = -1;
        r->staged_saved = r->stage.bytes;
    } else if (r->staged_since < 0) {
        r->staged_since = r->now;
    }
}

#define PROGRESS_MS 5000

static void progress_note(struct hf_replica *r)
{
    struct hf_replica_status s;
    if (r->now - r->progress_noted < PROGRESS_MS || r->transfer_total == 0) {
        return;
    }
    hf_replica_status(r, r->now, &s);
    if (s.transfer_eta_ms == UINT64_MAX) {
        return; /* nothing came since it was taken up */
    }
    r->progress_noted = r->now;
    note(r, HF_NOTE_PROGRESS, 100 * s.transfer_done / s.transfer_total, s.transfer_eta_ms / 1000);
}

static void on_stored(struct hf_replica *r, const struct hf_replica_event *ev)
{
    if (ev->op == HF_REPFX_REOPEN) {
        r->reopen = false; /* it can be read; whether it can be written, the next operation says */
    } else if (ev->op == HF_REPFX_STAGE_DROP || ev->op == HF_REPFX_STAGE_BEGIN) {
        ; /* hardly a byte: there may be as little room as before */
    } else if (r->store_state == HF_STORE_FULL || r->store_state == HF_STORE_FAILED) {
        r->store_state = HF_STORE_OK;
        note(r, HF_NOTE_STORE_WELL, ev->position->seq, 0);
    }
    if (ev->op == HF_REPFX_HOLD) {
        for (uint32_t i = 0; i < r->held_count; i++) {
            r->held[i].stored |= r->held[i].storing;
            r->held[i].storing = false;
        }
    }
    if (ev->op == HF_REPFX_COLLECT) {
        on_collected(r, ev);
    }
    if (ev->op == HF_REPFX_MARK) {
        r->repair.marked = r->repair.marking;
    }
    if (ev->op == HF_REPFX_APPLY) {
        r->run_ms += r->now - r->ordered_at;
        rest(r, ev->position->seq - r->applied.seq);
    }
    /* Any other operation, or a commit, left nothing open. */
    bool open = ev->op == HF_REPFX_APPLY && ev->position->seq < r->apply_last;
    r->ahead = open ? r->apply_last - r->applied.seq : 0;
    uint64_t bytes = r->stage.bytes;
    bool switched = ev->op == HF_REPFX_STAGE_SWITCH;
    enum hf_plan_kind kind = r->stage.kind;
    repair_staged(r, ev->stage);
    moved(r, ev->position);
    stage_is(r, ev->stage);
    saved(r, ev);
    if (switched) {
        note(r, HF_NOTE_SWITCHED, ev->position->seq, bytes);
        r->transfer_total = r->transfer_done = 0;
    }
    if (switched && kind == HF_PLAN_REPAIR) {
        repair_switched(r);
    } else if (switched && kind == HF_PLAN_SNAPSHOT) {
        repair_replaced(r);
    }
    if (r->stage.active && is_staging(ev->op)) {
        r->progress_at = r->now;
        r->detours = ev->op == HF_REPFX_STAGE_CHUNK ? 0 : r->detours;
        progress_note(r);
        backoff_reset(r);
    }
    held_release(r, want_first(r) - 1);
}

/* It is dropped and fetched again, later and later, until something was applied. */
static void transfer_in_vain(struct hf_replica *r, hf_ms least)
{
    hf_ms wait = 2 * r->transfer_wait > least ? 2 * r->transfer_wait : least;
    r->drop_stage = true;
    r->transfer_wait = wait < VAIN_MS_MOST ? wait : VAIN_MS_MOST;
    r->transfer_at = r->now + r->transfer_wait;
}

static void on_trouble(struct hf_replica *r, const struct hf_replica_event *ev)
{
    bool failed = ev->code != HF_FULL && ev->code != HF_NOMEM;
    enum hf_store_state now = failed ? HF_STORE_FAILED : HF_STORE_FULL;
    if (r->store_state != now) {
        note(r, HF_NOTE_STORE_TROUBLE, ev->seq, (uint64_t)ev->code);
    }
    r->store_state = now;
    r->reopen |= failed;
    /* Most faults of a disk are over at once. */
    r->reopen_now = failed && ev->op != HF_REPFX_REOPEN;
    /* Staged data is the first to go when there is no room: the served state is not. */
    if (ev->code == HF_FULL && r->stage.active) {
        transfer_in_vain(r, STORE_RETRY_MS);
    }
}

static void order_check(struct hf_replica *r)
{
    r->checking = true;
    fx_add(r, HF_REPFX_CHECK);
}

/* HF_ARG from staging is no word on the data: what was not committed went with a transaction that
 * failed. stage_is has told what is left; the rest is asked for again. */
static void on_refused(struct hf_replica *r, const struct hf_replica_event *ev)
{
    r->store_retry = r->now + STORE_RETRY_MS; /* whatever it was: not again at once */
    /* A store that cannot be opened anew, whatever the reason, is no reason to doubt what is open.
     */
    bool trouble = ev->code == HF_FULL || ev->code == HF_IO || ev->code == HF_NOMEM;
    if (trouble || ev->op == HF_REPFX_REOPEN) {
        on_trouble(r, ev);
    } else if (ev->op == HF_REPFX_MARK) {
        r->repair.marked = r->repair.marking; /* a store that cannot keep even this is seen again */
    } else if (is_staging(ev->op) && ev->code != HF_ARG) {
        note(r, HF_NOTE_STAGE_REFUSED, ev->seq, (uint64_t)ev->code);
        transfer_in_vain(r, r->cfg.backoff_ms_max);
        r->store_retry = r->now + r->cfg.backoff_ms_max;
        repair_refused(r, ev->code);
        /* Over a base that is damaged every DELTA is refused; only a look at it can tell. */
        bool doubt = hf_err_is_damage(ev->code);
        if (doubt && r->stage.kind == HF_PLAN_DELTA) {
            order_check(r);
        }
    } else if (hf_err_is_damage(ev->code)) {
        note(r, HF_NOTE_STORE_TROUBLE, ev->seq, (uint64_t)ev->code);
        order_check(r);
    } else if (ev->op == HF_REPFX_APPLY || ev->op == HF_REPFX_TAKE) {
        struct held *h = held_find(r, ev->seq);
        r->bad_frames++;
        note(r, HF_NOTE_BAD_FRAME, ev->seq, (uint64_t)ev->code);
        if (h != NULL) {
            held_drop(r, h);
        }
    }
}

/* The first half of a TAKE's result: what VERIFIED would have said. False: there is no second half.
 */
static bool taken(struct hf_replica *r, const struct hf_replica_event *ev)
{
    struct held *h = held_find(r, r->apply_last);
    HF_ASSERT(h != NULL && h->state == HELD_VERIFYING);
    enum hf_err code = ev->ok ? HF_OK : ev->code;
    return held_verified(r, h, code) && ev->ok;
}

void on_store_done(struct hf_replica *r, const struct hf_replica_event *ev)
{
    HF_ASSERT(store_does(r, ev->op));
    r->store_busy = false;
    chunks_stored(r);
    if (ev->op == HF_REPFX_TAKE && !taken(r, ev)) {
        return;
    }
    if (ev->code == HF_OK) {
        on_stored(r, ev);
        return;
    }
    moved(r, ev->position); /* a run of frames may have been applied in part */
    stage_is(r, ev->stage); /* as at the last commit */
    r->staged_since = -1;
    r->ahead = 0;
    held_release(r, want_first(r) - 1);
    on_refused(r, ev);
}

void on_checked(struct hf_replica *r, const struct hf_replica_event *ev)
{
    if (repair_checked(r, ev->code) || !r->checking) {
        return;
    }
    r->checking = false;
    if (hf_err_is_damage(ev->code)) {
        r->drop_stage = r->stage.active;
        repair_want(r, true);
    } else if (ev->code != HF_OK) {
        /* It could not be looked at. The work that led here is ordered again, and leads here again.
         */
        r->reopen |= ev->code == HF_IO;
        r->store_retry = r->now + STORE_RETRY_MS;
    } else if (!r->drop_stage) { /* a frame led here, not a transfer */
        diverge(r, HF_NOTE_DIVERGED, r->applied.seq + 1, HF_DIGEST);
    }
}
