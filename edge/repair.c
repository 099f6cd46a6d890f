/*
 * repair.c - where the own state differs from the core's, and what is done about it.
 *
 * All keys are compared with the core in ranges of GRAIN_WIDE records, by a fingerprint and a count
 * for each; what differs once more in ranges of GRAIN_FINE; what differs then is fetched as KEYS,
 * and takes the place of what is here (proto/store/repair.c says what that can heal). That costs
 * 50 bytes for each 2,048 keys, and for each difference some kilobytes. With no difference the
 * check says whether the sum or the index is what is wrong. What cannot be healed so is fetched
 * anew: SNAPSHOT.
 *
 * Fingerprints only say where to look. Whether it is healed is decided at the switch, by the digest
 * that the core signed, under the closing rule of every transfer.
 *
 * Both sides must be at one seq to be compared, or every key that is written meanwhile would look
 * like damage. So frames are not applied while a RANGES is asked for, and then up to the seq that
 * it was read at, unless the damage itself keeps them from being applied.
 *
 * A repair is at most one comparison at a time at the core, and gives way to a transfer unless
 * damage is known. Over a restart only that is kept, since it may not be seen again for as long as
 * the scrub takes: comparing then begins anew. The mark goes once a digest that the core signed was
 * computed from all records again, here or by a SNAPSHOT. Read edge/compare.c for the driver's
 * part, PROTOCOL.md section 8.5.
 */
#include "edge/replica_impl.h"

/* The core's state is committed within a second, and frames behind it are there by then. So long
 * nothing is applied for a comparison; then frames have their turn for as long, at least. */
#define REACH_MS 2000
#define AGAIN_MS 100
/* A core that does not know RANGES, or cannot answer, is not asked for ever. */
#define FAILURES_MAX 6u

static void enter(struct hf_replica *r, enum repair_phase phase)
{
    r->repair.phase = phase;
    r->repair.step++;
    if (phase == REPAIR_STAGES) {
        r->repair.status.result = HF_REPAIR_FETCHING;
    } else if (phase != REPAIR_IDLE) {
        r->repair.status.result = HF_REPAIR_COMPARING;
    }
}

static void ended(struct hf_replica *r, enum hf_repair_result result)
{
    enter(r, REPAIR_IDLE);
    r->repair.status.result = result;
    r->repair.status.ended++;
    r->repair.wanted = r->repair.known = r->repair.blocked = false;
    r->repair.failures = 0;
}

/* From now on it goes before transfers, and may end in a snapshot. */
static void know(struct hf_replica *r)
{
    r->repair.known = r->repair.damaged = true;
}

static void give_up(struct hf_replica *r, enum hf_err why)
{
    /* A snapshot of batch 0 would be one that no frame ever completes. */
    bool snapshot = r->repair.known && r->head > 0;
    note(r, HF_NOTE_REPAIR_GIVEN_UP, 0, (uint64_t)why);
    if (snapshot) {
        stage_replace(r, HF_PLAN_SNAPSHOT, r->head);
    }
    ended(r, snapshot ? HF_REPAIR_SNAPSHOT : HF_REPAIR_FAILED);
}

/* Waits for its turn again, from the start. */
static void put_off(struct hf_replica *r)
{
    enter(r, REPAIR_IDLE);
    r->repair.frozen_until = 0;
    r->repair.status.result = HF_REPAIR_WAITING;
}

/* ---- what is due ---- */

static void narrow(struct hf_replica *r, uint32_t level)
{
    r->repair.level = level;
    enter(r, REPAIR_ASKING);
    fx_add(r, HF_REPFX_NARROW)->first = level;
}

static void begin(struct hf_replica *r)
{
    struct hf_repair_status *s = &r->repair.status;
    bool may = r->has_genesis && !r->join && !r->revoked && !r->diverged && !r->stage.active &&
               !stage_begins(r) && !r->checking && !r->reopen && !r->repair.comparing;
    if (!may || r->now < r->store_retry || is_held_back(r, HF_REPRQ_RANGES)) {
        return;
    }
    if (r->applied.seq == 0) {
        give_up(r, HF_NOTFOUND); /* there is no state that the core could be asked about */
        return;
    }
    s->compared = s->ranges = s->records = s->bytes = 0;
    note(r, HF_NOTE_REPAIR, r->applied.seq, 0);
    narrow(r, 0);
}

static void ask(struct hf_replica *r)
{
    bool may = r->link[HF_CHANNEL_CONTROL] && !is_held_back(r, HF_REPRQ_RANGES) && !r->store_busy &&
               r->now >= r->repair.ask_at;
    if (may && !request_open(r, HF_REPRQ_RANGES)) {
        if (r->now >= r->repair.frozen_until) {
            r->repair.frozen_until = r->now + REACH_MS;
        }
        request_send(r, &(struct request){.kind = HF_REPRQ_RANGES, .first = r->repair.step});
    }
}

static void compare(struct hf_replica *r)
{
    bool reached = r->applied.seq >= r->repair.asof || r->repair.blocked ||
                   r->now - r->repair.replied_at >= REACH_MS;
    if (reached && !r->store_busy) {
        enter(r, REPAIR_COMPARES);
        r->repair.comparing = true;
        fx_add(r, HF_REPFX_COMPARE);
    }
}

static bool stage_is_gone(const struct hf_replica *r)
{
    return r->begin == HF_PLAN_NONE && !r->stage.active && !r->store_busy;
}

void duty_repair(struct hf_replica *r)
{
    struct repair *p = &r->repair;
    bool transfers = r->stage.active || stage_begins(r);
    if (!fx_room(r)) {
        return;
    }
    bool compares =
        p->phase == REPAIR_ASKING || p->phase == REPAIR_REPLIED || p->phase == REPAIR_COMPARES;
    if (compares && transfers) {
        put_off(r);
    }
    if (p->phase == REPAIR_STAGES && stage_is_gone(r)) {
        put_off(r); /* a full disk, or the core has moved on */
    }
    if (p->phase == REPAIR_IDLE && p->wanted) {
        begin(r);
    }
    if (p->phase == REPAIR_ASKING && !r->checking) {
        ask(r);
    } else if (p->phase == REPAIR_REPLIED && !r->checking) {
        compare(r);
    }
}

hf_seq repair_limit(const struct hf_replica *r)
{
    if (r->repair.blocked) {
        return r->applied.seq; /* it would fail again, and each time lead to a check */
    }
    switch (r->repair.phase) {
    case REPAIR_ASKING:
        return r->now < r->repair.frozen_until ? r->applied.seq : UINT64_MAX;
    case REPAIR_REPLIED:
        return r->repair.asof;
    case REPAIR_COMPARES:
        return r->applied.seq;
    case REPAIR_IDLE:
    case REPAIR_CHECKS:
    case REPAIR_STAGES:
        return UINT64_MAX;
    }
    HF_UNREACHABLE();
}

bool repair_needs_no_frame(const struct hf_replica *r)
{
    return r->stage.kind == HF_PLAN_REPAIR && stage_in_tail(r) && stage_at(r) == r->applied.seq &&
           r->stage.asof <= r->applied.seq;
}

bool repair_goes_first(const struct hf_replica *r)
{
    return r->repair.wanted && r->repair.known && !r->diverged;
}

hf_ms repair_deadline(const struct hf_replica *r)
{
    const struct repair *p = &r->repair;
    hf_ms at = INT64_MAX;
    if (p->phase == REPAIR_REPLIED && p->replied_at + REACH_MS > r->now) {
        return p->replied_at + REACH_MS;
    }
    if (p->phase == REPAIR_ASKING) {
        at = p->ask_at > r->now ? p->ask_at : at;
        at = p->frozen_until > r->now && p->frozen_until < at ? p->frozen_until : at;
    }
    return at;
}

/* ---- who wants it ---- */

static void want(struct hf_replica *r)
{
    if (!r->repair.wanted) {
        r->repair.wanted = true;
        r->repair.status.result = HF_REPAIR_WAITING;
    }
}

void repair_want(struct hf_replica *r, bool blocked)
{
    want(r);
    know(r);
    r->repair.blocked |= blocked;
    if (blocked && r->repair.healed && r->repair.healed_at == r->applied.seq) {
        give_up(r, HF_DIGEST); /* it was repaired, and that has not helped */
    }
}

void on_repair(struct hf_replica *r, const struct hf_replica_event *ev)
{
    if (r->diverged) {
        r->repair.status.result = HF_REPAIR_FAILED;
        r->repair.status.ended++;
        return;
    }
    want(r);
    if (ev->ok) {
        know(r);
    }
}

/* ---- what came back ---- */

void repair_replied(struct hf_replica *r, const struct request *q, hf_seq asof)
{
    if (r->repair.phase != REPAIR_ASKING || q->first != r->repair.step) {
        return;
    }
    r->repair.asof = asof;
    r->repair.replied_at = r->now;
    enter(r, REPAIR_REPLIED);
}

/* The core has not committed what is applied here. While writes go on, that stays so for as long as
 * frames are applied: it is asked again soon, and meanwhile none are. */
void repair_not_yet(struct hf_replica *r)
{
    bool frozen = r->now + AGAIN_MS < r->repair.frozen_until;
    r->repair.ask_at = r->now + (frozen ? AGAIN_MS : REACH_MS + AGAIN_MS);
}

/* A table of its own: that the core has no room for it says nothing about other requests. */
void repair_busy(struct hf_replica *r, hf_ms told)
{
    r->repair.ask_at = r->now + later(told, r->cfg.backoff_ms_min);
}

void repair_unanswered(struct hf_replica *r, enum hf_err why)
{
    if (r->repair.phase == REPAIR_ASKING && ++r->repair.failures >= FAILURES_MAX) {
        give_up(r, why);
    }
}

void repair_counts(struct hf_replica *r, const struct request *q, uint32_t bytes)
{
    bool fetching = r->stage.active && r->stage.kind == HF_PLAN_REPAIR && is_data(q->kind);
    if (r->repair.phase != REPAIR_IDLE && (fetching || q->kind == HF_REPRQ_RANGES)) {
        r->repair.status.bytes += bytes;
    }
}

static void fetch_ranges(struct hf_replica *r)
{
    stage_replace(r, HF_PLAN_REPAIR, r->applied.seq);
    enter(r, REPAIR_STAGES);
}

static void none_differs(struct hf_replica *r)
{
    if (r->repair.known) {
        fetch_ranges(r); /* none: the recount at the switch is what is needed */
        return;
    }
    enter(r, REPAIR_CHECKS); /* of a view: frames are applied meanwhile */
    fx_add(r, HF_REPFX_CHECK);
}

static void narrowed(struct hf_replica *r, uint64_t ranges)
{
    r->repair.status.ranges = ranges;
    if (ranges == 0) {
        none_differs(r);
    } else if (r->repair.level == 0) {
        narrow(r, 1);
    } else {
        note(r, HF_NOTE_REPAIR_FOUND, ranges, r->repair.status.compared);
        r->repair.damaged = true;
        fetch_ranges(r);
    }
}

void on_compared(struct hf_replica *r, const struct hf_replica_event *ev)
{
    r->repair.comparing = false;
    if (r->repair.phase != REPAIR_COMPARES) {
        return;
    }
    r->progress_at = r->now;
    r->repair.failures = ev->code == HF_OK ? 0 : r->repair.failures;
    if (ev->code == HF_TOO_BIG || ev->code == HF_CORRUPT) {
        know(r); /* too much differs, or the table itself cannot be read */
        give_up(r, ev->code);
    } else if (ev->code != HF_OK) {
        enter(r, REPAIR_ASKING);
        repair_unanswered(r, ev->code);
        if (r->repair.phase == REPAIR_ASKING) {
            put_off(r); /* what it found is not whole: all over again */
            back_off(r, HF_REPRQ_RANGES, 0);
        }
    } else {
        r->repair.status.compared += r->repair.level == 0 ? ev->offset : 0;
        if (ev->ok) {
            narrowed(r, ev->total);
        } else {
            enter(r, REPAIR_ASKING);
        }
    }
}

bool repair_checked(struct hf_replica *r, enum hf_err code)
{
    if (r->repair.phase != REPAIR_CHECKS) {
        return false;
    }
    if (code == HF_OK) {
        note(r, HF_NOTE_REPAIR_SOUND, r->repair.status.compared, 0);
        r->repair.damaged = false;
        ended(r, HF_REPAIR_SOUND);
    } else if (hf_err_is_damage(code)) {
        know(r);
        fetch_ranges(r);
    } else if (code == HF_BUSY) {
        put_off(r); /* it gave way to the writer */
    } else {
        give_up(r, code);
    }
    return true;
}

/* ---- the stage ---- */

void repair_staged(struct hf_replica *r, const struct hf_stage *now)
{
    if (r->repair.phase == REPAIR_STAGES && now->active && now->kind == HF_PLAN_REPAIR) {
        r->repair.status.records = now->records;
    }
}

void repair_switched(struct hf_replica *r)
{
    struct hf_repair_status *s = &r->repair.status;
    note(r, HF_NOTE_REPAIR_DONE, s->ranges, s->records);
    s->repairs++;
    s->ranges_healed += s->ranges;
    r->repair.damaged = false;
    r->repair.healed = true;
    r->repair.healed_at = r->applied.seq;
    ended(r, HF_REPAIR_DONE);
}

void repair_replaced(struct hf_replica *r)
{
    r->repair.damaged = false;
    if (r->repair.wanted && r->repair.phase == REPAIR_IDLE) {
        ended(r, HF_REPAIR_SNAPSHOT); /* it waited for the transfer: what it was to heal is gone */
    }
}

bool repair_mark_due(const struct hf_replica *r)
{
    return r->repair.damaged != r->repair.marked;
}

void repair_refused(struct hf_replica *r, enum hf_err code)
{
    bool ours = r->stage.kind == HF_PLAN_REPAIR || !r->stage.active;
    if (r->repair.phase == REPAIR_STAGES && ours) {
        know(r); /* the digest says so */
        give_up(r, code);
    }
}

const char *hf_repair_result_name(enum hf_repair_result result)
{
    static const char *const names[] = {"none",  "waiting",  "comparing", "fetching",
                                        "sound", "repaired", "snapshot",  "failed"};
    HF_ASSERT((size_t)result < sizeof(names) / sizeof(names[0]));
    return names[result];
}
