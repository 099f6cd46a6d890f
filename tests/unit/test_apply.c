/*
 * test_apply.c - the replica engine and its store: transfers, their closing rule, and what becomes
 * of one that goes wrong. Other trouble with a store is test_trouble.c's.
 */
#include "replica_box.h"

/* ---- transfers ---- */

/* The core plans `kind` at its head; the engine has begun to stage. */
static void plan(struct box *b, enum hf_plan_kind kind, hf_seq head)
{
    box_beacon(b, head);
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_PLAN, 0);
    assert_int_equal(box_sends(b, HF_REPRQ_LOG), 0);
    box_clear(b);
    box_answer(b, &q, (struct hf_replica_event){.plan = kind, .seq = head, .total = 5000});
    assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
    assert_int_equal(b->op.plan, kind);
    assert_int_equal(b->op.last, head);
    box_done(b);
}

/* One chunk is asked for, comes and is staged. */
static void chunk(struct box *b, enum hf_replica_request kind, hf_seq asof, bool end)
{
    struct hf_replica_effect q = *box_sent(b, kind, 0);
    assert_int_equal(box_sends(b, kind), 1);
    box_clear(b);
    box_reply(b, &q, HF_OK);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    assert_null(box_sent(b, kind, 0)); /* the next begins where this one ends */
    box_chunk_done(b, asof, end);
}

static struct box *begin(enum hf_plan_kind kind, hf_seq head)
{
    struct box *b = box_live(10);
    plan(b, kind, head);
    return b;
}

/* A DELTA to 500 whose last chunk was read at 502: in the tail, frames 501 and 502 are missing. */
static struct box *begin_tail(void)
{
    struct box *b = begin(HF_PLAN_DELTA, 500);
    chunk(b, HF_REPRQ_DELTA, 500, false);
    chunk(b, HF_REPRQ_DELTA, 502, true);
    return b;
}

static void a_wide_gap_asks_for_a_plan_and_a_plan_for_log_fetches_frames(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_beacon(b, 10 + b->cfg.plan_batches + 1);
    box_pass(b, b->cfg.gap_ms);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 1);
    assert_int_equal(box_sends(b, HF_REPRQ_LOG), 0);
    struct hf_replica_event ev = {.plan = HF_PLAN_LOG, .seq = 75};
    box_answer(b, box_sent(b, HF_REPRQ_PLAN, 0), ev);
    box_pass(b, b->cfg.gap_ms);
    assert_int_equal(box_sends(b, HF_REPRQ_LOG),
                     4); /* 65 frames, 16 in a request; as a width begins */
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 1);
    box_free(b);
}

static void below_floor_leads_to_plan_then_stage(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_beacon(b, 14);
    box_pass(b, b->cfg.gap_ms);
    box_reply(b, box_sent(b, HF_REPRQ_LOG, 0), HF_BELOW_FLOOR);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 1);
    struct hf_replica_event ev = {.plan = HF_PLAN_SNAPSHOT, .seq = 14, .total = 9};
    box_answer(b, box_sent(b, HF_REPRQ_PLAN, 0), ev);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
    assert_int_equal(b->op.plan, HF_PLAN_SNAPSHOT);
    box_done(b);
    assert_int_equal(box_sends(b, HF_REPRQ_KEYS), 1);
    assert_int_equal(box_status(b).state, HF_REPLICA_CATCHING_UP);
    assert_int_equal(box_status(b).applied, 10);
    box_free(b);
}

static void delta_is_switched_at_no_seq_below_its_largest_asof(void **state)
{
    (void)state;
    struct box *b = begin_tail();
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_LOG, 0);
    assert_int_equal(q.first, 501);
    assert_int_equal(q.last, 502);
    box_grant_log(b, &q);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_FRAME);
    box_done(b);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_FRAME);
    assert_int_equal(box_count(b, HF_REPFX_STAGE_SWITCH), 0);
    assert_int_equal(box_count(b, HF_REPFX_APPLIED), 0);
    box_done(b);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    box_done(b);
    assert_int_equal(box_nth(b, HF_REPFX_APPLIED, 0)->last, 502);
    assert_int_equal(box_noted(b, HF_NOTE_SWITCHED)->a, 502);
    assert_int_equal(box_status(b).applied, 502);
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 0);
    box_frame(b, 503);
    assert_int_equal(b->op.type, HF_REPFX_APPLY);
    box_free(b);
}

static void snapshot_takes_keys_and_then_the_frame_that_decides(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_SNAPSHOT, 500);
    chunk(b, HF_REPRQ_KEYS, 500, false);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_LOG, 0);
    assert_int_equal(q.first, 500); /* its header signs the digest: asked for beside the chunks */
    assert_int_equal(q.last, 500);
    chunk(b, HF_REPRQ_KEYS, 500, true);
    box_pass(b, b->cfg.gap_ms);
    assert_int_equal(box_sends(b, HF_REPRQ_LOG), 0);
    /* The body is not needed. */
    uint32_t slot =
        box_arrive(b, (struct box_frame){.seq = 500, .header_only = true, .request = q.request});
    box_verified(b, slot, HF_OK);
    assert_int_equal(box_sends(b, HF_REPRQ_BODY), 0);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    assert_int_equal(b->op.slot, slot);
    box_done(b);
    assert_int_equal(box_status(b).applied, 500);
    assert_null(hf_replica_pending(b->r));
    box_free(b);
}

/* What was staged is the state of the applied seq, whose own header decides: no other frame may
 * keep that out. */
static void the_frame_that_decides_finds_room_among_higher_ones(void **state)
{
    (void)state;
    struct box *b = box_new(10);
    b->cfg.hold_frames_max = 2;
    b->stage = (struct hf_stage){.active = true,
                                 .kind = HF_PLAN_DELTA,
                                 .epoch_id = box_epoch,
                                 .base = 5,
                                 .target = 10,
                                 .covered = 10,
                                 .tail = 10,
                                 .asof = 10};
    box_connect(b);
    box_frame(b, 12);
    box_frame(b, 13);
    uint32_t slot = box_arrive(
        b, (struct box_frame){.seq = 10, .header_only = true, .request = UINT64_MAX - 1});
    assert_true(box_verifies(b, slot));
    box_verified(b, slot, HF_OK);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    assert_int_equal(b->op.slot, slot);
    box_free(b);
}

/* The core keeps tombstones above it: without them a DELTA is below its floor, and all begins anew.
 */
static void a_transfer_reports_from_where_on_it_needs_deletes(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_DELTA, 500);
    assert_int_equal(box_status(b).transfer_base, 10);
    box_free(b);
    b = begin(HF_PLAN_SNAPSHOT, 500);
    assert_int_equal(box_status(b).transfer_base, 500); /* the DELTA that follows begins there */
    box_free(b);
}

static void snapshot_whose_keys_were_read_late_needs_the_tail_up_to_there(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_SNAPSHOT, 500);
    chunk(b, HF_REPRQ_KEYS, 503, true);
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_LOG, 0);
    assert_int_equal(q.first, 501);
    assert_int_equal(q.last, 503);
    box_grant_log(b, &q);
    box_idle(b);
    assert_int_equal(box_status(b).applied, 503);
    assert_int_equal(box_count(b, HF_REPFX_STAGE_FRAME), 3);
    box_free(b);
}

static void log_below_floor_during_the_tail_extends_the_target(void **state)
{
    (void)state;
    struct box *b = begin_tail();
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_LOG, 0);
    box_beacon(b, 600);
    box_reply(b, &q, HF_BELOW_FLOOR);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_TARGET);
    assert_int_equal(b->op.last, 600);
    box_clear(b);
    box_done(b);
    chunk(b, HF_REPRQ_DELTA, 600, true);
    box_pass(b, b->cfg.gap_ms);
    assert_int_equal(box_sent(b, HF_REPRQ_LOG, 0)->first, 600);
    box_grant_log(b, box_sent(b, HF_REPRQ_LOG, 0));
    box_idle(b);
    assert_int_equal(box_status(b).applied, 600);
    box_free(b);
}

static void a_fragment_that_moved_is_skipped(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_DELTA, 500);
    box_reply(b, box_sent(b, HF_REPRQ_DELTA, 0), HF_MOVED);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SKIP);
    box_clear(b);
    box_done(b);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 1);
    box_free(b);
}

static struct box *begin_parts(enum hf_plan_kind kind, hf_seq head, uint32_t parts)
{
    struct box *b = box_live(10);
    b->parts = parts;
    plan(b, kind, head);
    return b;
}

/* What moved away is of the transfer that it was asked for, and not of the next one. */
static void what_moved_away_is_forgotten_with_its_transfer(void **state)
{
    (void)state;
    struct box *b = begin_parts(HF_PLAN_DELTA, 500, 2);
    struct hf_replica_effect first = *box_sent(b, HF_REPRQ_DELTA, 0);
    struct hf_replica_effect second = *box_sent(b, HF_REPRQ_DELTA, 1);
    box_reply(b, &first, HF_OK);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    box_reply(b, &second, HF_MOVED); /* while the store is busy */
    box_fail(b, HF_FULL, 10);
    box_pass(b, 500);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_DROP);
    box_clear(b);
    box_done(b);
    struct hf_replica_event ev = {.plan = HF_PLAN_DELTA, .seq = 500, .total = 5000};
    box_answer(b, box_sent(b, HF_REPRQ_PLAN, 0), ev);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
    box_done(b);
    assert_int_equal(box_count(b, HF_REPFX_STAGE_SKIP), 0);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 2);
    box_free(b);
}

static void each_part_of_a_range_has_one_request_under_way(void **state)
{
    (void)state;
    struct box *b = begin_parts(HF_PLAN_DELTA, 500, 4);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(box_sent(b, HF_REPRQ_DELTA, i)->part, i);
    }
    struct hf_replica_effect second = *box_sent(b, HF_REPRQ_DELTA, 1);
    struct hf_replica_effect fourth = *box_sent(b, HF_REPRQ_DELTA, 3);
    box_clear(b);
    box_reply(b, &second, HF_OK);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    box_reply(b, &fourth, HF_OK); /* while the store is busy: it joins the next order */
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 0);
    box_chunk_done(b, 500, false);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 1);
    assert_int_equal(box_sent(b, HF_REPRQ_DELTA, 0)->part, 1);
    box_chunk_done(b, 500, false);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 2);
    assert_int_equal(box_sent(b, HF_REPRQ_DELTA, 1)->part, 3);
    assert_false(b->busy);
    box_free(b);
}

static void a_part_that_is_done_is_not_asked_for(void **state)
{
    (void)state;
    struct box *b = begin_parts(HF_PLAN_SNAPSHOT, 500, 3);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_KEYS, 1);
    box_clear(b);
    box_reply(b, &q, HF_OK);
    b->stage.part[1].done = true;
    box_chunk_done(b, 500, false);
    box_pass(b, 100);
    assert_int_equal(box_sends(b, HF_REPRQ_KEYS), 0);
    box_free(b);
}

static void staged_chunks_are_committed_after_a_while_and_at_once_when_they_are_many(void **state)
{
    (void)state;
    struct box *b = begin_parts(HF_PLAN_DELTA, 500, 2);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_DELTA, 0);
    box_reply(b, &q, HF_OK);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    box_chunk_done(b, 500, false);
    assert_false(b->busy);
    box_pass(b, b->cfg.stage_ms + 1);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SAVE); /* nothing else came: it is saved alone */
    box_done(b);
    box_pass(b, b->cfg.stage_ms + 1);
    assert_false(b->busy);
    q = *box_sent(b, HF_REPRQ_DELTA, 2);
    box_reply(b, &q, HF_OK);
    b->stage.bytes += b->cfg.stage_bytes;
    box_clear(b);
    box_chunk_done(b, 500, false);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SAVE);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 1); /* the link is not idle meanwhile */
    box_free(b);
}

static void a_commit_that_is_due_goes_before_chunks_that_wait(void **state)
{
    (void)state;
    struct box *b = begin_parts(HF_PLAN_DELTA, 500, 2);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_DELTA, 0);
    struct hf_replica_effect other = *box_sent(b, HF_REPRQ_DELTA, 1);
    box_reply(b, &q, HF_OK);
    box_reply(b, &other, HF_OK);
    b->stage.bytes += b->cfg.stage_bytes;
    box_chunk_done(b, 500, false);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SAVE);
    box_done(b);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    assert_int_equal(b->op.parts, 1u << 1);
    box_free(b);
}

static void staged_frames_of_the_tail_are_committed_after_a_while(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_DELTA, 500);
    chunk(b, HF_REPRQ_DELTA, 510, true); /* read from a newer state: frames up to 510 follow */
    box_frame(b, 500);
    box_frame(b, 501);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_FRAME);
    box_done(b);
    assert_false(b->busy);
    box_pass(b, b->cfg.stage_ms + 1);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SAVE);
    box_free(b);
}

static void what_went_back_with_an_abort_is_asked_for_again(void **state)
{
    (void)state;
    struct box *b = begin_parts(HF_PLAN_DELTA, 500, 2);
    struct hf_stage before = b->stage;
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_DELTA, 0);
    box_reply(b, &q, HF_OK);
    b->stage.part[0].done = true;
    box_chunk_done(b, 500, false);
    q = *box_sent(b, HF_REPRQ_DELTA, 1);
    box_reply(b, &q, HF_OK);
    b->stage = before;
    box_clear(b);
    box_fail(b, HF_NOMEM, 0);
    box_pass(b, 1000);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 2);
    box_free(b);
}

/* A store whose disk fails may not find its stage, and then again, when it is opened anew. By then
 * another one waits to begin, and of two that stand in each other's way neither would move. */
static void a_stage_that_comes_back_gives_way_to_the_one_that_waits(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_SNAPSHOT, 500);
    struct hf_stage kept = b->stage;
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_KEYS, 0);
    box_clear(b);
    box_reply(b, &q, HF_OK);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    b->stage = (struct hf_stage){0};
    box_fail(b, HF_IO, 10);
    assert_int_equal(b->op.type, HF_REPFX_REOPEN);
    box_pass(b, 1000);
    struct hf_replica_event ev = {.plan = HF_PLAN_SNAPSHOT, .seq = 500, .total = 5000};
    box_answer(b, box_sent(b, HF_REPRQ_PLAN, 0), ev);
    assert_int_equal(b->op.type, HF_REPFX_REOPEN);
    b->stage = kept;
    box_done(b);
    box_pass(b, 1000);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_DROP);
    box_done(b);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
    box_clear(b);
    box_done(b);
    assert_int_equal(box_sends(b, HF_REPRQ_KEYS), 1);
    box_free(b);
}

/* A switch that met a full map: what was staged and not committed went when the map grew. */
static void a_switch_whose_stage_went_back_asks_for_the_rest_again(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_SNAPSHOT, 500);
    chunk(b, HF_REPRQ_KEYS, 500, false);
    struct hf_stage before = b->stage;
    chunk(b, HF_REPRQ_KEYS, 500, true);
    box_frame(b, 500);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    b->stage = before;
    box_clear(b);
    box_fail(b, HF_ARG, 500);
    box_pass(b, 1000);
    box_idle(b);
    assert_null(box_noted(b, HF_NOTE_STAGE_REFUSED));
    assert_int_equal(box_count(b, HF_REPFX_STAGE_DROP), 0);
    chunk(b, HF_REPRQ_KEYS, 500, true);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    box_done(b);
    assert_int_equal(box_status(b).applied, 500);
    box_free(b);
}

static void digest_mismatch_at_switch_drops_the_stage_and_keeps_the_state(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_SNAPSHOT, 500);
    chunk(b, HF_REPRQ_KEYS, 500, true);
    box_frame(b, 500);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    box_fail(b, HF_DIGEST, 500);
    assert_non_null(box_noted(b, HF_NOTE_STAGE_REFUSED));
    box_pass(b, b->cfg.backoff_ms_max + 1000);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_DROP);
    assert_int_equal(box_status(b).applied, 10);
    assert_int_equal(box_count(b, HF_REPFX_APPLIED), 0);
    box_clear(b);
    box_done(b);
    box_pass(b, 1000);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 1);
    box_free(b);
}

static void a_refused_delta_makes_the_edge_check_its_own_state(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool sound = i % 2 != 0;
        struct box *b = begin(HF_PLAN_DELTA, 500);
        chunk(b, HF_REPRQ_DELTA, 500, true);
        box_frame(b, 500);
        /* A damaged record is met when another takes its place, or the digest differs. */
        box_fail(b, i < 2 ? HF_DIGEST : HF_CORRUPT, 500);
        assert_int_equal(box_count(b, HF_REPFX_CHECK), 1);
        struct hf_replica_event ev = {.type = HF_REPEV_CHECKED, .code = sound ? HF_OK : HF_CORRUPT};
        box_step(b, &ev);
        box_pass(b, b->cfg.backoff_ms_max + 1000);
        assert_int_equal(b->op.type, HF_REPFX_STAGE_DROP);
        box_clear(b);
        box_done(b);
        box_pass(b, 1000);
        /* A base that is wrong makes every delta wrong: it is repaired before the next. A delta
         * that is wrong over a sound base says nothing about the edge. */
        assert_int_equal(box_sends(b, HF_REPRQ_RANGES), !sound);
        assert_int_equal(box_sends(b, HF_REPRQ_PLAN), sound);
        assert_int_equal(box_status(b).store_state, HF_STORE_OK);
        box_free(b);
    }
}

static void a_transfer_that_ends_leaves_no_order_behind(void **state)
{
    (void)state;
    struct box *b = begin_tail();
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_LOG, 0);
    box_frame(b, 501);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_FRAME);
    box_beacon(b, 510);
    box_reply(b, &q, HF_BELOW_FLOOR); /* wants a longer target, but the disk fills up */
    box_fail(b, HF_FULL, 501);
    box_pass(b, 600);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_DROP);
    box_clear(b);
    box_done(b);
    box_pass(b, 500);
    struct hf_replica_event ev = {.plan = HF_PLAN_LOG, .seq = 510};
    box_answer(b, box_sent(b, HF_REPRQ_PLAN, 0), ev);
    box_pass(b, 500);
    assert_true(box_sends(b, HF_REPRQ_LOG) > 0);
    assert_int_equal(box_count(b, HF_REPFX_STAGE_TARGET), 0);
    box_free(b);
}

static void a_transfer_goes_on_after_a_restart(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_DELTA, 500);
    chunk(b, HF_REPRQ_DELTA, 500, false);
    box_start(b, true, false);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 200);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 0);
    chunk(b, HF_REPRQ_DELTA, 500, true);
    box_pass(b, b->cfg.gap_ms);
    box_grant_log(b, box_sent(b, HF_REPRQ_LOG, 0));
    box_idle(b);
    assert_int_equal(box_status(b).applied, 500);
    box_free(b);
}

static void a_slow_chunk_is_waited_for_longer_than_the_stall_time(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_DELTA, 500);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_DELTA, 0);
    box_clear(b);
    for (hf_ms slow = b->cfg.stall_ms + 2000; slow > 0; slow -= 1000) {
        box_pass(b, 1000);
        box_beacon(b, 500);
    }
    box_reply(b, &q, HF_OK);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    assert_null(box_noted(b, HF_NOTE_STALLED));
    box_free(b);
}

static void frames_written_to_the_inbox_do_not_hide_a_transfer_that_stalls(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_DELTA, 500);
    hf_seq seq = 501;
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_DELTA, 0);
    for (int i = 0; i < 40 && box_noted(b, HF_NOTE_STALLED) == NULL; i++) {
        box_clear(b);
        box_reply(b, &q, HF_NOT_YET);
        box_frame(b, seq++);
        box_pass(b, 1000);
        box_idle(b);
        q = box_sent(b, HF_REPRQ_DELTA, 0) != NULL ? *box_sent(b, HF_REPRQ_DELTA, 0) : q;
    }
    assert_non_null(box_noted(b, HF_NOTE_STALLED));
    box_free(b);
}

/* ---- trouble ---- */

/* A transfer to 500 ends with that code, and is dropped after `drop`; it is planned again `due`
 * after its end, and no sooner. */
static void in_vain(struct box *b, enum hf_err code, hf_ms drop, hf_ms due)
{
    box_reply(b, box_sent(b, HF_REPRQ_DELTA, 0), HF_OK);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    box_clear(b);
    box_fail(b, code, 10);
    box_pass(b, drop - 1);
    assert_false(b->busy);
    box_pass(b, 1);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_DROP);
    box_done(b);
    enum hf_store_state store = box_status(b).store_state;
    assert_int_equal(store, code == HF_FULL ? HF_STORE_FULL : HF_STORE_OK);
    for (hf_ms left = due - drop; left > 0; left -= 500) {
        assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 0);
        box_beacon(b, 500);
        box_pass(b, 500); /* it is a deadline of its own: nothing comes just then */
    }
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 1);
    struct hf_replica_event ev = {.plan = HF_PLAN_DELTA, .seq = 500, .total = 5000};
    box_answer(b, box_sent(b, HF_REPRQ_PLAN, 0), ev);
    box_done(b);                                        /* STAGE_BEGIN */
    assert_int_equal(box_status(b).store_state, store); /* it hardly needs room */
}

/* Each time it is asked for, all of it crosses the link for nothing. */
static void a_transfer_that_finds_no_room_is_asked_for_later_and_later(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_DELTA, 500);
    const hf_ms due[] = {500, 1000, 2000, 4000, 8000, 16000, 30000, 30000};
    for (uint32_t i = 0; i < sizeof(due) / sizeof(due[0]); i++) {
        in_vain(b, HF_FULL, 500, due[i]);
    }
    chunk(b, HF_REPRQ_DELTA, 500, true);
    box_pass(b, b->cfg.gap_ms);
    box_grant_log(b, box_sent(b, HF_REPRQ_LOG, 0));
    box_idle(b);
    assert_int_equal(box_status(b).applied, 500); /* so it begins anew */
    box_clear(b);
    plan(b, HF_PLAN_DELTA, 1000);
    in_vain(b, HF_FULL, 500, 500);
    box_free(b);
}

/* So it does when what came does not hold. */
static void a_transfer_that_is_refused_is_asked_for_later_and_later(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_DELTA, 500);
    const hf_ms due[] = {5000, 10000, 20000, 30000, 30000};
    for (uint32_t i = 0; i < sizeof(due) / sizeof(due[0]); i++) {
        in_vain(b, HF_MALFORMED, b->cfg.backoff_ms_max, due[i]);
    }
    box_free(b);
}

static void a_damaged_state_under_a_transfer_gives_the_transfer_up_first(void **state)
{
    (void)state;
    struct box *b = begin(HF_PLAN_DELTA, 500);
    box_reply(b, box_sent(b, HF_REPRQ_DELTA, 0), HF_NOT_YET);
    box_frame(b, 505);
    b->now += 2000;
    box_tick(b);
    assert_int_equal(b->op.type, HF_REPFX_HOLD);
    box_fail(b, HF_CORRUPT, 505);
    struct hf_replica_event ev = {.type = HF_REPEV_CHECKED, .code = HF_CORRUPT};
    box_step(b, &ev);
    box_pass(b, 1000);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_DROP);
    box_clear(b);
    box_done(b);
    box_pass(b, 1000);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 0);
    box_free(b);
}

/* A tick for which nothing can be done is not due at once, again and again. */
static void an_edge_that_waits_for_its_store_does_not_tick_in_a_loop(void **state)
{
    (void)state;
    struct box *b = begin_parts(HF_PLAN_DELTA, 500, 4);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_DELTA, 0);
    box_reply(b, &q, HF_OK);
    box_chunk_done(b, 500, false);
    struct hf_beacon fork = box_beacon_of(b, 10);
    fork.chain = box_chain(10, 1);
    box_beacon_event(b, &fork, -1, 0);
    while (b->busy) {
        box_done(b);
    }
    assert_int_equal(box_status(b).state, HF_REPLICA_DIVERGED);
    box_clear(b);
    box_pass(b, 2000);
    box_clear(b);
    assert_in_range(box_pass(b, 10000), 1, 40);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wide_gap_asks_for_a_plan_and_a_plan_for_log_fetches_frames),
        cmocka_unit_test(below_floor_leads_to_plan_then_stage),
        cmocka_unit_test(delta_is_switched_at_no_seq_below_its_largest_asof),
        cmocka_unit_test(snapshot_takes_keys_and_then_the_frame_that_decides),
        cmocka_unit_test(the_frame_that_decides_finds_room_among_higher_ones),
        cmocka_unit_test(a_transfer_reports_from_where_on_it_needs_deletes),
        cmocka_unit_test(snapshot_whose_keys_were_read_late_needs_the_tail_up_to_there),
        cmocka_unit_test(log_below_floor_during_the_tail_extends_the_target),
        cmocka_unit_test(a_fragment_that_moved_is_skipped),
        cmocka_unit_test(what_moved_away_is_forgotten_with_its_transfer),
        cmocka_unit_test(each_part_of_a_range_has_one_request_under_way),
        cmocka_unit_test(a_part_that_is_done_is_not_asked_for),
        cmocka_unit_test(staged_chunks_are_committed_after_a_while_and_at_once_when_they_are_many),
        cmocka_unit_test(an_edge_that_waits_for_its_store_does_not_tick_in_a_loop),
        cmocka_unit_test(a_commit_that_is_due_goes_before_chunks_that_wait),
        cmocka_unit_test(what_went_back_with_an_abort_is_asked_for_again),
        cmocka_unit_test(staged_frames_of_the_tail_are_committed_after_a_while),
        cmocka_unit_test(a_stage_that_comes_back_gives_way_to_the_one_that_waits),
        cmocka_unit_test(a_switch_whose_stage_went_back_asks_for_the_rest_again),
        cmocka_unit_test(digest_mismatch_at_switch_drops_the_stage_and_keeps_the_state),
        cmocka_unit_test(a_refused_delta_makes_the_edge_check_its_own_state),
        cmocka_unit_test(a_transfer_that_ends_leaves_no_order_behind),
        cmocka_unit_test(a_transfer_goes_on_after_a_restart),
        cmocka_unit_test(a_slow_chunk_is_waited_for_longer_than_the_stall_time),
        cmocka_unit_test(frames_written_to_the_inbox_do_not_hide_a_transfer_that_stalls),
        cmocka_unit_test(a_transfer_that_finds_no_room_is_asked_for_later_and_later),
        cmocka_unit_test(a_transfer_that_is_refused_is_asked_for_later_and_later),
        cmocka_unit_test(a_damaged_state_under_a_transfer_gives_the_transfer_up_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
