/*
 * replica_box.h - the replica engine alone in a box: a clock, a history of made-up frames, and a
 * memory of every effect.
 *
 * The box plays driver, store and core only as far as a test tells it to: nothing completes by
 * itself, so that a test chooses every order; but for MARK, unless it is told to wait. After each
 * step it asserts what must hold after any: the effects fit their list, the next tick is in the
 * future, at most one store operation is under way, and applied never goes back.
 *
 * Frame n of branch 0 is the true one; other branches are signed histories that should not exist.
 */
#ifndef HF_TESTS_REPLICA_BOX_H
#define HF_TESTS_REPLICA_BOX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hf/replica.h"

#include <stdlib.h>
#include <string.h>

#define BOX_LOG_MAX 20000u
#define BOX_BYTES 1000u /* of a frame, as the engine counts it */

struct box {
    struct hf_replica *r;
    struct hf_replica_config cfg;
    hf_ms now;
    uint64_t entropy;
    uint32_t next_slot;
    struct hf_position at; /* what the store holds */
    uint32_t parts;        /* that the next transfer begins with; 0 = one */
    struct hf_stage stage;
    struct hf_replica_effect op; /* the store operation under way */
    bool unverified;             /* the verification in a TAKE fails */
    bool busy;
    bool damaged;     /* as the last MARK that was stored says */
    bool marks_wait;  /* for box_done, as all else */
    uint64_t counter; /* of beacons */
    struct hf_replica_effect log[BOX_LOG_MAX];
    uint32_t log_count;
};

static const struct hf_id box_epoch = {{0xe1, 2, 3}};

/* ---- the history ---- */

static inline struct hf_hash box_hash(uint8_t what, hf_seq seq, uint8_t branch)
{
    struct hf_hash h = {{what, branch}};
    memcpy(h.b + 8, &seq, sizeof(seq));
    return h;
}

static inline struct hf_hash box_chain(hf_seq seq, uint8_t branch)
{
    return box_hash('c', seq, branch);
}

static inline struct hf_position box_position(hf_seq seq)
{
    return (struct hf_position){.epoch_id = box_epoch,
                                .seq = seq,
                                .chain = box_chain(seq, 0),
                                .digest = box_hash('d', seq, 0)};
}

static inline struct hf_header box_header(hf_seq seq, uint8_t branch)
{
    return (struct hf_header){.epoch_id = box_epoch,
                              .seq = seq,
                              .prev = box_chain(seq - 1, branch),
                              .digest = box_hash('d', seq, branch)};
}

/* ---- effects ---- */

static inline void box_clear(struct box *b)
{
    b->log_count = 0;
}

static inline struct hf_replica_effect *box_nth(struct box *b, enum hf_replica_effect_type type,
                                                uint32_t n)
{
    for (uint32_t i = 0; i < b->log_count; i++) {
        if (b->log[i].type == type && n-- == 0) {
            return &b->log[i];
        }
    }
    return NULL;
}

static inline uint32_t box_count(struct box *b, enum hf_replica_effect_type type)
{
    uint32_t n = 0;
    while (box_nth(b, type, n) != NULL) {
        n++;
    }
    return n;
}

static inline struct hf_replica_effect *box_sent(struct box *b, enum hf_replica_request kind,
                                                 uint32_t n)
{
    for (uint32_t i = 0; i < b->log_count; i++) {
        if (b->log[i].type == HF_REPFX_SEND && b->log[i].kind == kind && n-- == 0) {
            return &b->log[i];
        }
    }
    return NULL;
}

static inline uint32_t box_sends(struct box *b, enum hf_replica_request kind)
{
    uint32_t n = 0;
    while (box_sent(b, kind, n) != NULL) {
        n++;
    }
    return n;
}

static inline struct hf_replica_effect *box_noted(struct box *b, enum hf_replica_note note)
{
    for (uint32_t i = 0; i < b->log_count; i++) {
        if (b->log[i].type == HF_REPFX_NOTE && b->log[i].note == note) {
            return &b->log[i];
        }
    }
    return NULL;
}

/* ---- events ---- */

static inline void box_marked(struct box *b, enum hf_err code);

static inline void box_step(struct box *b, struct hf_replica_event *ev)
{
    struct hf_replica_effects fx;
    struct hf_replica_status before;
    struct hf_replica_status after;
    hf_replica_status(b->r, b->now, &before);
    ev->now = b->now;
    b->entropy = b->entropy * 6364136223846793005u + 12345u;
    ev->entropy = b->entropy;
    hf_replica_step(b->r, ev, &fx);
    assert_true(fx.count <= HF_REPLICA_EFFECTS_MAX);
    assert_true(hf_replica_deadline(b->r) > b->now);
    hf_replica_status(b->r, b->now, &after);
    assert_true(after.applied >= before.applied && after.head >= after.applied);
    assert_true(after.held_now <= b->cfg.hold_frames_max);
    for (uint32_t i = 0; i < fx.count; i++) {
        assert_true(b->log_count < BOX_LOG_MAX);
        b->log[b->log_count++] = fx.at[i];
        if (fx.at[i].type >= HF_REPFX_APPLY) {
            assert_false(b->busy);
            b->busy = true;
            b->op = fx.at[i];
        }
    }
    if (b->busy && b->op.type == HF_REPFX_MARK && !b->marks_wait) {
        box_marked(b, HF_OK);
    }
}

static inline void box_marked(struct box *b, enum hf_err code)
{
    struct hf_replica_event ev = {.type = HF_REPEV_STORE_DONE,
                                  .op = HF_REPFX_MARK,
                                  .code = code,
                                  .position = &b->at,
                                  .stage = &b->stage};
    assert_true(b->busy && b->op.type == HF_REPFX_MARK);
    b->damaged = code == HF_OK ? b->op.first != 0 : b->damaged;
    b->busy = false;
    box_step(b, &ev);
}

static inline void box_event(struct box *b, enum hf_replica_event_type type)
{
    struct hf_replica_event ev = {.type = type};
    box_step(b, &ev);
}

static inline void box_tick(struct box *b)
{
    box_event(b, HF_REPEV_TICK);
}

/* Ticks as a driver does, at every deadline, for ms. Returns how many ticks that took. */
static inline uint32_t box_pass(struct box *b, hf_ms ms)
{
    hf_ms end = b->now + ms;
    uint32_t ticks = 0;
    while (hf_replica_deadline(b->r) <= end) {
        b->now = hf_replica_deadline(b->r);
        box_tick(b);
        ticks++;
    }
    b->now = end;
    return ticks;
}

static inline void box_link(struct box *b, enum hf_channel channel, bool up)
{
    struct hf_replica_event ev = {.type = HF_REPEV_LINK, .channel = channel, .ok = up};
    box_step(b, &ev);
}

struct box_frame {
    hf_seq seq;
    uint8_t branch;
    bool header_only;
    bool restored;
    uint64_t request; /* whose reply brings it; 0 = the stream */
    uint32_t bytes;   /* 0 = BOX_BYTES */
};

/* Returns its slot. */
static inline uint32_t box_arrive(struct box *b, struct box_frame f)
{
    struct hf_header h = box_header(f.seq, f.branch);
    struct hf_replica_event ev = {.type = f.restored ? HF_REPEV_RESTORED : HF_REPEV_FRAME,
                                  .slot = b->next_slot++,
                                  .header = &h,
                                  .bytes = f.bytes != 0 ? f.bytes : BOX_BYTES,
                                  .chain = box_chain(f.seq, f.branch),
                                  .request = f.request,
                                  .ok = !f.header_only};
    box_step(b, &ev);
    return ev.slot;
}

static inline void box_verified(struct box *b, uint32_t slot, enum hf_err code)
{
    struct hf_replica_event ev = {.type = HF_REPEV_VERIFIED, .slot = slot, .code = code};
    box_step(b, &ev);
}

static inline bool box_verifies(struct box *b, uint32_t slot)
{
    for (uint32_t i = b->log_count; i > 0; i--) {
        const struct hf_replica_effect *e = &b->log[i - 1];
        if (e->slot == slot && (e->type == HF_REPFX_VERIFY || e->type == HF_REPFX_DROP)) {
            return e->type == HF_REPFX_VERIFY;
        }
    }
    return false;
}

/* A true frame comes over the stream and is verified. Returns its slot. */
static inline uint32_t box_frame(struct box *b, hf_seq seq)
{
    uint32_t slot = box_arrive(b, (struct box_frame){.seq = seq});
    if (box_verifies(b, slot)) {
        box_verified(b, slot, HF_OK);
    }
    return slot;
}

static inline void box_stored(struct box *b, enum hf_err code, hf_seq seq)
{
    struct hf_replica_event ev = {.type = HF_REPEV_STORE_DONE,
                                  .op = b->op.type,
                                  .code = code,
                                  .seq = seq,
                                  .position = &b->at,
                                  .stage = &b->stage};
    ev.ok = b->op.type == HF_REPFX_TAKE && !b->unverified;
    ev.ok |= b->op.type == HF_REPFX_COLLECT;
    ev.seq = b->op.type == HF_REPFX_COLLECT ? b->op.last : ev.seq;
    ev.seq = b->op.type == HF_REPFX_HOLD ? b->op.first : ev.seq;
    assert_true(b->busy);
    b->busy = false;
    box_step(b, &ev);
}

/* The range up to the target in so many parts, all of them untouched. */
static inline void box_parts(struct box *b, uint32_t count)
{
    bool empty = b->stage.covered >= b->stage.target &&
                 (b->stage.kind == HF_PLAN_DELTA || b->stage.keys_done);
    b->stage.part_count = empty ? 0 : count == 0 ? 1 : count;
    for (uint32_t i = 0; i < b->stage.part_count; i++) {
        b->stage.part[i] = (struct hf_stage_part){.until = {.seq = b->stage.target}};
    }
}

/* The store operation under way ends well. */
static inline void box_done(struct box *b)
{
    assert_true(b->busy);
    switch ((int)b->op.type) {
    case HF_REPFX_APPLY:
    case HF_REPFX_TAKE:
        assert_int_equal(b->op.first, b->at.seq + 1);
        b->at = b->op.commit ? box_position(b->op.last) : b->at;
        break;
    case HF_REPFX_STAGE_BEGIN:
        b->stage = (struct hf_stage){.active = true,
                                     .kind = b->op.plan,
                                     .epoch_id = box_epoch,
                                     .base = b->at.seq,
                                     .target = b->op.last,
                                     .covered = b->at.seq};
        if (b->op.plan == HF_PLAN_SNAPSHOT) {
            b->stage.keys_head = b->stage.covered = b->op.last;
        }
        b->stage.tail = b->stage.covered;
        b->stage.keys_done = b->op.plan == HF_PLAN_REPAIR && b->parts == 0;
        box_parts(b, b->parts);
        break;
    case HF_REPFX_STAGE_TARGET:
        b->stage.target = b->op.last;
        box_parts(b, 1);
        break;
    case HF_REPFX_STAGE_FRAME:
        b->stage.tail++;
        break;
    case HF_REPFX_STAGE_SWITCH:
        b->at = box_position(b->stage.tail);
        b->stage = (struct hf_stage){0};
        break;
    case HF_REPFX_STAGE_DROP:
        b->stage = (struct hf_stage){0};
        break;
    }
    box_stored(b, HF_OK, b->at.seq);
}

/* The chunk under way is stored; it was the last of its range when `end`. */
static inline void box_chunk_done(struct box *b, hf_seq asof, bool end)
{
    assert_true(b->busy && b->op.type == HF_REPFX_STAGE_CHUNK);
    b->stage.bytes += 1000;
    b->stage.asof = asof > b->stage.asof ? asof : b->stage.asof;
    b->stage.part_count = end ? 0 : b->stage.part_count;
    if (end && b->stage.kind != HF_PLAN_DELTA && !b->stage.keys_done) {
        b->stage.keys_done = true;
    } else if (end) {
        b->stage.covered = b->stage.target;
    }
    b->stage.tail = b->stage.tail > b->stage.covered ? b->stage.tail : b->stage.covered;
    box_stored(b, HF_OK, b->at.seq);
}

static inline void box_fail(struct box *b, enum hf_err code, hf_seq seq)
{
    box_stored(b, code, seq);
}

static inline void box_idle(struct box *b)
{
    while (b->busy) {
        box_done(b);
    }
}

static inline void box_answer(struct box *b, const struct hf_replica_effect *sent,
                              struct hf_replica_event ev)
{
    assert_non_null(sent);
    ev.type = HF_REPEV_REPLY;
    ev.request = sent->request;
    box_step(b, &ev);
}

static inline void box_reply(struct box *b, const struct hf_replica_effect *sent, enum hf_err code)
{
    assert_non_null(sent);
    struct hf_replica_event ev = {.code = code, .position = &b->at, .seq = sent->last};
    box_answer(b, sent, ev);
}

static inline void box_timeout(struct box *b, const struct hf_replica_effect *sent)
{
    assert_non_null(sent);
    struct hf_replica_event ev = {.type = HF_REPEV_TIMEOUT, .request = sent->request};
    box_step(b, &ev);
}

/* The frames that a LOG request asked for come in its reply. */
static inline void box_grant_log(struct box *b, const struct hf_replica_effect *sent)
{
    assert_non_null(sent);
    struct hf_replica_effect q = *sent;
    for (hf_seq seq = q.first; seq <= q.last; seq++) {
        uint32_t slot = box_arrive(b, (struct box_frame){.seq = seq, .request = q.request});
        if (box_verifies(b, slot)) {
            box_verified(b, slot, HF_OK);
        }
    }
    box_reply(b, &q, HF_OK);
}

static inline struct hf_beacon box_beacon_of(struct box *b, hf_seq head)
{
    return (struct hf_beacon){.epoch_id = box_epoch,
                              .head = head,
                              .chain = box_chain(head, 0),
                              .digest = box_hash('d', head, 0),
                              .log_floor = 1,
                              .counter = ++b->counter};
}

static inline void box_beacon_event(struct box *b, const struct hf_beacon *beacon, hf_ms t0,
                                    uint64_t request)
{
    struct hf_replica_event ev = {
        .type = HF_REPEV_BEACON, .beacon = beacon, .t0 = t0, .request = request};
    box_step(b, &ev);
}

/* A beacon of the stream. */
static inline void box_beacon(struct box *b, hf_seq head)
{
    struct hf_beacon beacon = box_beacon_of(b, head);
    box_beacon_event(b, &beacon, -1, 0);
}

/* REPORT or HELLO is answered with a beacon that names head; t0 is when it was sent. */
static inline void box_answer_head(struct box *b, const struct hf_replica_effect *sent, hf_ms t0,
                                   hf_seq head)
{
    assert_non_null(sent);
    struct hf_replica_effect q = *sent;
    struct hf_beacon beacon = box_beacon_of(b, head);
    box_beacon_event(b, &beacon, t0, q.request);
    box_reply(b, &q, HF_OK);
}

static inline struct hf_replica_status box_status(struct box *b)
{
    struct hf_replica_status s;
    hf_replica_status(b->r, b->now, &s);
    return s;
}

/* ---- life ---- */

/* A new engine over what the store holds: a start, or a crash and a restart. */
static inline void box_start(struct box *b, bool genesis, bool join)
{
    struct hf_replica_event ev = {.type = HF_REPEV_START,
                                  .position = &b->at,
                                  .stage = &b->stage,
                                  .ok = genesis,
                                  .join = join,
                                  .damaged = b->damaged};
    hf_replica_free(b->r);
    b->r = hf_replica_new(&b->cfg);
    assert_non_null(b->r);
    b->busy = false;
    box_clear(b);
    box_step(b, &ev);
}

static inline struct box *box_new(hf_seq applied)
{
    struct box *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    hf_replica_defaults(&b->cfg);
    b->cfg.take_next = false; /* the long way; test_take.c has the short one */
    b->now = 1000000;
    b->at = box_position(applied);
    return b;
}

static inline void box_free(struct box *b)
{
    hf_replica_free(b->r);
    free(b);
}

/* Both links up, HELLO and the first REPORT answered, nothing missing. */
static inline void box_connect(struct box *b)
{
    hf_seq applied = b->at.seq;
    box_start(b, true, false);
    box_link(b, HF_CHANNEL_STREAM, true);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, b->cfg.backoff_ms_min);
    box_answer_head(b, box_sent(b, HF_REPRQ_HELLO, 0), b->now, applied);
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, applied);
    box_clear(b);
}

static inline struct box *box_live(hf_seq applied)
{
    struct box *b = box_new(applied);
    box_connect(b);
    return b;
}

#endif
