/*
 * test_repair_engine.c - the replica engine and a repair: what it asks, when it compares, what it
 * has fetched, and when it gives up.
 */
#include "replica_box.h"

static void want_repair(struct box *b, bool damaged)
{
    struct hf_replica_event ev = {.type = HF_REPEV_REPAIR, .ok = damaged};
    box_step(b, &ev);
}

/* The RANGES that is under way is answered from the core's state at `asof`. */
static void ranges_come(struct box *b, hf_seq asof)
{
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_RANGES, 0);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    box_clear(b);
    box_answer(b, &q, (struct hf_replica_event){.seq = asof, .bytes = 500});
}

static void compared(struct box *b, enum hf_err code, bool all, uint64_t ranges)
{
    struct hf_replica_event ev = {
        .type = HF_REPEV_COMPARED, .code = code, .ok = all, .offset = 1000, .total = ranges};
    assert_int_equal(box_count(b, HF_REPFX_COMPARE), 1);
    box_clear(b);
    box_step(b, &ev);
}

/* One step of a comparison, with ranges that differ or without. */
static void narrowed(struct box *b, hf_seq asof, bool all, uint64_t ranges)
{
    ranges_come(b, asof);
    compared(b, HF_OK, all, ranges);
}

static void assert_begins(struct box *b, enum hf_plan_kind plan)
{
    assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
    assert_int_equal(b->op.plan, plan);
}

static void checked(struct box *b, enum hf_err code)
{
    struct hf_replica_event ev = {.type = HF_REPEV_CHECKED, .code = code};
    box_clear(b);
    box_step(b, &ev);
}

/* A repair that found one range of keys to differ, and has asked for them. */
static struct box *box_fetching(void)
{
    struct box *b = box_live(10);
    want_repair(b, true);
    narrowed(b, 10, true, 1);
    narrowed(b, 10, true, 1);
    b->parts = 1;
    box_clear(b);
    box_done(b);
    return b;
}

static enum hf_repair_result result_of(struct box *b)
{
    return box_status(b).repair.result;
}

static void a_sound_edge_asks_for_ranges_and_ends_with_a_check(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, false);
    assert_int_equal(box_nth(b, HF_REPFX_NARROW, 0)->first, 0);
    narrowed(b, 10, false, 0);
    narrowed(b, 10, true, 0); /* the next stretch of keys */
    assert_int_equal(box_count(b, HF_REPFX_CHECK), 1);
    checked(b, HF_OK);
    assert_int_equal(result_of(b), HF_REPAIR_SOUND);
    assert_int_equal(box_status(b).repair.compared, 2000);
    assert_int_equal(box_status(b).repair.bytes, 1000);
    assert_int_equal(box_status(b).state, HF_REPLICA_LIVE);
    assert_false(b->busy);
    box_free(b);
}

/* It gave way to the writer: the comparison is made again, and nothing is taken for damage. */
static void a_check_that_gave_way_is_made_again(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, false);
    narrowed(b, 10, true, 0);
    checked(b, HF_BUSY);
    assert_null(box_noted(b, HF_NOTE_REPAIR_GIVEN_UP));
    assert_int_equal(result_of(b), HF_REPAIR_COMPARING);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    narrowed(b, 10, true, 0);
    checked(b, HF_OK);
    assert_int_equal(result_of(b), HF_REPAIR_SOUND);
    box_free(b);
}

static void what_differs_is_narrowed_down_and_fetched(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, false);
    narrowed(b, 10, true, 2);
    assert_int_equal(box_nth(b, HF_REPFX_NARROW, 0)->first, 1);
    narrowed(b, 10, true, 3);
    assert_begins(b, HF_PLAN_REPAIR);
    b->parts = 3;
    box_clear(b);
    box_done(b);
    assert_int_equal(box_sends(b, HF_REPRQ_KEYS), 3);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_KEYS, 0);
    box_answer(b, &q, (struct hf_replica_event){.bytes = 700});
    b->stage.records = 64;
    box_chunk_done(b, 10, true);
    /* The state is of the applied seq: its own header decides, and no frame is fetched. */
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    assert_int_equal(b->op.slot, UINT32_MAX);
    assert_int_equal(box_sends(b, HF_REPRQ_LOG), 0);
    box_done(b);
    struct hf_repair_status s = box_status(b).repair;
    assert_int_equal(s.result, HF_REPAIR_DONE);
    assert_int_equal(s.repairs, 1);
    assert_int_equal(s.ranges_healed, 3);
    assert_int_equal(s.records, 64);
    assert_int_equal(s.bytes, 1700);
    assert_non_null(box_noted(b, HF_NOTE_REPAIR_DONE));
    box_frame(b, 11);
    assert_int_equal(b->op.type, HF_REPFX_APPLY);
    box_free(b);
}

/* The core was ahead when it was asked: frames are applied up to there, and not beyond. */
static void both_sides_are_compared_at_one_seq(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, false);
    box_frame(b, 11);
    assert_false(b->busy); /* nothing is applied while the answer is on its way */
    ranges_come(b, 12);
    assert_int_equal(b->op.type, HF_REPFX_APPLY);
    assert_int_equal(box_count(b, HF_REPFX_COMPARE), 0);
    box_frame(b, 12);
    box_frame(b, 13);
    box_done(b);
    assert_int_equal(b->op.last, 12);
    box_done(b);
    assert_int_equal(box_status(b).applied, 12);
    assert_int_equal(box_count(b, HF_REPFX_COMPARE), 1);
    assert_false(b->busy);
    compared(b, HF_OK, true, 0);
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 1); /* and then goes on */
    assert_int_equal(b->op.last, 13);
    box_free(b);
}

static void a_frame_that_does_not_come_is_not_waited_for_long(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, false);
    ranges_come(b, 12);
    box_pass(b, 1000);
    assert_int_equal(box_count(b, HF_REPFX_COMPARE), 0);
    box_pass(b, 1500);
    assert_int_equal(box_count(b, HF_REPFX_COMPARE), 1);
    box_free(b);
}

/* Apply fails, the check says that the own state is wrong. */
static struct box *box_damaged(void)
{
    struct box *b = box_live(10);
    box_frame(b, 11);
    box_fail(b, HF_DIGEST, 11);
    checked(b, HF_DIGEST);
    box_pass(b, 600);
    return b;
}

static void known_damage_without_a_difference_is_a_recount(void **state)
{
    struct box *b = box_damaged();
    (void)state;
    narrowed(b, 10, true, 0);
    assert_int_equal(box_count(b, HF_REPFX_CHECK), 0);
    assert_begins(b, HF_PLAN_REPAIR);
    b->parts = 0;
    box_done(b);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    box_done(b);
    assert_int_equal(result_of(b), HF_REPAIR_DONE);
    box_pass(b, 1000);
    assert_int_equal(b->op.type, HF_REPFX_APPLY); /* what had failed */
    box_done(b);
    assert_int_equal(box_status(b).applied, 11);
    box_free(b);
}

static void a_repair_that_does_not_help_ends_in_a_snapshot(void **state)
{
    struct box *b = box_damaged();
    (void)state;
    narrowed(b, 10, true, 0);
    box_done(b);
    box_done(b);
    box_pass(b, 1000);
    assert_int_equal(b->op.type, HF_REPFX_APPLY);
    box_fail(b, HF_DIGEST, 11);
    checked(b, HF_DIGEST);
    box_pass(b, 1000);
    assert_begins(b, HF_PLAN_SNAPSHOT);
    assert_int_equal(result_of(b), HF_REPAIR_SNAPSHOT);
    box_free(b);
}

static void a_refused_repair_ends_in_a_snapshot(void **state)
{
    struct box *b = box_fetching();
    (void)state;
    box_reply(b, box_sent(b, HF_REPRQ_KEYS, 0), HF_OK);
    box_chunk_done(b, 10, true);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    box_fail(b, HF_DIGEST, 10);
    box_pass(b, b->cfg.backoff_ms_max + 1000);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_DROP);
    box_done(b);
    assert_begins(b, HF_PLAN_SNAPSHOT);
    box_free(b);
}

/* The ranges are of a newer state, and what lies between is neither in the log nor remembered. */
static void a_repair_behind_both_floors_ends_in_a_snapshot(void **state)
{
    struct box *b = box_fetching();
    (void)state;
    box_beacon(b, 40);
    box_reply(b, box_sent(b, HF_REPRQ_KEYS, 0), HF_OK);
    box_chunk_done(b, 40, true);
    box_pass(b, b->cfg.gap_ms);
    box_reply(b, box_sent(b, HF_REPRQ_LOG, 0), HF_BELOW_FLOOR);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_TARGET);
    box_done(b);
    box_reply(b, box_sent(b, HF_REPRQ_DELTA, 0), HF_BELOW_FLOOR);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_DROP);
    box_done(b);
    assert_begins(b, HF_PLAN_SNAPSHOT);
    assert_int_equal(result_of(b), HF_REPAIR_SNAPSHOT);
    box_free(b);
}

static void too_many_ranges_end_in_a_snapshot(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, false);
    ranges_come(b, 10);
    compared(b, HF_TOO_BIG, false, 256);
    assert_int_equal(b->op.plan, HF_PLAN_SNAPSHOT);
    assert_non_null(box_noted(b, HF_NOTE_REPAIR_GIVEN_UP));
    box_free(b);
}

/* An older core, say. */
static void a_core_that_cannot_answer_is_not_asked_for_ever(void **state)
{
    (void)state;
    for (int known = 0; known < 2; known++) {
        struct box *b = box_live(10);
        uint32_t asked = 0;
        want_repair(b, known);
        for (hf_ms end = b->now + 60000; b->now < end; box_pass(b, 100)) {
            if (box_sends(b, HF_REPRQ_RANGES) > 0) {
                struct hf_replica_effect q = *box_sent(b, HF_REPRQ_RANGES, 0);
                asked++;
                box_clear(b);
                box_reply(b, &q, HF_MALFORMED);
            }
        }
        assert_in_range(asked, 2, 10);
        assert_int_equal(result_of(b), known ? HF_REPAIR_SNAPSHOT : HF_REPAIR_FAILED);
        assert_int_equal(b->busy && b->op.plan == HF_PLAN_SNAPSHOT, known);
        box_free(b);
    }
}

static void a_core_that_is_busy_or_behind_is_asked_again(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, true);
    for (int i = 0; i < 20; i++) {
        struct hf_replica_effect q = *box_sent(b, HF_REPRQ_RANGES, 0);
        box_clear(b);
        box_reply(b, &q, i % 2 == 0 ? HF_NOT_YET : HF_BUSY);
        box_pass(b, b->cfg.backoff_ms_max + 100);
        assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    }
    box_free(b);
}

/* While writes go on, the core's committed state is behind an edge that applies them at once. */
static void nothing_is_applied_for_a_while_so_that_the_core_can_catch_up(void **state)
{
    struct box *b = box_live(10);
    uint32_t asked = 0;
    (void)state;
    want_repair(b, false);
    box_frame(b, 11);
    for (hf_ms end = b->now + 3500; b->now < end; box_pass(b, 10)) {
        if (box_sends(b, HF_REPRQ_RANGES) > 0) {
            struct hf_replica_effect q = *box_sent(b, HF_REPRQ_RANGES, 0);
            asked++;
            box_clear(b);
            box_reply(b, &q, HF_NOT_YET);
        }
        if (b->busy && b->op.type == HF_REPFX_HOLD) {
            box_done(b);
        }
        if (b->now < end - 1600) {
            assert_false(b->busy);
        }
    }
    assert_in_range(asked, 15, 22); /* each 100 ms, until frames have their turn */
    assert_int_equal(b->op.type, HF_REPFX_APPLY);
    box_done(b);
    assert_int_equal(box_status(b).applied, 11);
    box_pass(b, 2000);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    box_free(b);
}

/* It was put off for a transfer while the answer was on its way, and has begun anew since. */
static void an_answer_to_something_older_is_not_compared(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_beacon(b, 500);
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect plan = *box_sent(b, HF_REPRQ_PLAN, 0);
    want_repair(b, false);
    struct hf_replica_effect first = *box_sent(b, HF_REPRQ_RANGES, 0);
    box_answer(b, &plan, (struct hf_replica_event){.plan = HF_PLAN_DELTA, .seq = 500, .total = 9});
    assert_int_equal(result_of(b), HF_REPAIR_WAITING);
    box_done(b);
    box_reply(b, box_sent(b, HF_REPRQ_DELTA, 0), HF_OK);
    box_chunk_done(b, 500, true);
    box_pass(b, b->cfg.gap_ms);
    box_grant_log(b, box_sent(b, HF_REPRQ_LOG, 0));
    box_idle(b);
    assert_int_equal(result_of(b), HF_REPAIR_COMPARING);
    box_clear(b);
    box_answer(b, &first, (struct hf_replica_event){.seq = 10});
    assert_int_equal(box_count(b, HF_REPFX_COMPARE), 0);
    ranges_come(b, 500);
    assert_int_equal(box_count(b, HF_REPFX_COMPARE), 1);
    box_free(b);
}

/* Only failures in a row are: a long repair may meet more of them. */
static void core_that_answers_now_and_then_is_not_given_up(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, true);
    for (int i = 0; i < 20; i++) {
        if (i % 4 == 3) {
            narrowed(b, 10, false, 0);
        } else {
            struct hf_replica_effect q = *box_sent(b, HF_REPRQ_RANGES, 0);
            box_clear(b);
            box_reply(b, &q, HF_MALFORMED);
        }
        box_pass(b, b->cfg.backoff_ms_max + 100);
        assert_int_equal(result_of(b), HF_REPAIR_COMPARING);
    }
    box_free(b);
}

static void a_transfer_goes_before_a_repair_unless_damage_is_known(void **state)
{
    (void)state;
    for (int known = 0; known < 2; known++) {
        struct box *b = box_live(10);
        box_beacon(b, 500);
        box_pass(b, b->cfg.gap_ms);
        struct hf_replica_effect q = *box_sent(b, HF_REPRQ_PLAN, 0);
        want_repair(b, known);
        assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
        box_answer(b, &q,
                   (struct hf_replica_event){.plan = HF_PLAN_DELTA, .seq = 500, .total = 5000});
        assert_int_equal(b->busy && b->op.type == HF_REPFX_STAGE_BEGIN, !known);
        assert_int_equal(result_of(b), known ? HF_REPAIR_COMPARING : HF_REPAIR_WAITING);
        box_free(b);
    }
}

static void no_plan_is_asked_for_over_known_damage(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, true);
    box_beacon(b, 500);
    box_pass(b, 1000);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 0);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    box_free(b);
}

static void a_repair_before_anything_is_known_of_the_core_leaves_joining_alone(void **state)
{
    struct box *b = box_new(0);
    (void)state;
    box_start(b, true, false);
    want_repair(b, true);
    box_pass(b, 1000);
    assert_int_equal(result_of(b), HF_REPAIR_FAILED);
    assert_int_equal(box_count(b, HF_REPFX_STAGE_BEGIN), 0);
    box_link(b, HF_CHANNEL_STREAM, true);
    box_frame(b, 1);
    box_done(b);
    assert_int_equal(box_status(b).applied, 1);
    box_free(b);
}

static void known_damage_before_the_first_batch_ends_in_a_snapshot(void **state)
{
    struct box *b = box_new(0);
    (void)state;
    box_start(b, true, false);
    box_beacon(b, 10);
    want_repair(b, true);
    box_pass(b, 1000);
    assert_int_equal(result_of(b), HF_REPAIR_SNAPSHOT);
    assert_begins(b, HF_PLAN_SNAPSHOT);
    box_free(b);
}

/* An edge at 0 whose core has 200 asks for a plan. */
static struct box *asks_for_a_plan(struct hf_replica_effect *asked)
{
    struct box *b = box_new(0);
    box_start(b, true, false);
    box_connect(b);
    box_beacon(b, 200);
    box_pass(b, b->cfg.gap_ms);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 1);
    *asked = *box_sent(b, HF_REPRQ_PLAN, 0);
    box_clear(b);
    return b;
}

static void plan_comes(struct box *b, const struct hf_replica_effect *asked, enum hf_plan_kind kind)
{
    box_answer(b, asked, (struct hf_replica_event){.plan = kind, .seq = 200, .total = 5000});
}

/* It wanted a snapshot of its own once, behind which the one that had just begun stood still. */
static void damage_waits_for_the_transfer_that_the_store_begins(void **state)
{
    struct hf_replica_effect asked;
    struct box *b = asks_for_a_plan(&asked);
    (void)state;
    plan_comes(b, &asked, HF_PLAN_SNAPSHOT);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
    want_repair(b, true);
    box_done(b);
    assert_int_equal(result_of(b), HF_REPAIR_WAITING);
    assert_int_equal(box_sends(b, HF_REPRQ_KEYS), 1);
    box_free(b);
}

static void a_plan_that_comes_while_a_transfer_begins_is_late(void **state)
{
    struct hf_replica_effect asked;
    struct box *b = asks_for_a_plan(&asked);
    (void)state;
    want_repair(b, true);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
    plan_comes(b, &asked, HF_PLAN_SNAPSHOT);
    box_done(b);
    assert_int_equal(box_sends(b, HF_REPRQ_KEYS), 1);
    box_free(b);
}

/* The own records are read through when a gap opens, and the core plans a DELTA. */
static struct box *checks_while_a_delta_begins(void)
{
    struct box *b = box_live(10);
    want_repair(b, false);
    narrowed(b, 10, true, 0);
    assert_int_equal(box_count(b, HF_REPFX_CHECK), 1);
    box_beacon(b, 200);
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect asked = *box_sent(b, HF_REPRQ_PLAN, 0);
    plan_comes(b, &asked, HF_PLAN_DELTA);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
    return b;
}

static void damage_that_a_check_finds_ends_a_transfer_that_has_begun(void **state)
{
    (void)state;
    for (int done = 0; done < 2; done++) {
        struct box *b = checks_while_a_delta_begins();
        if (done == 1) {
            box_done(b);
            checked(b, HF_CORRUPT);
        } else {
            checked(b, HF_CORRUPT);
            box_done(b);
        }
        assert_int_equal(b->op.type, HF_REPFX_STAGE_DROP);
        box_done(b);
        assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
        assert_int_equal(b->op.plan, HF_PLAN_REPAIR);
        box_free(b);
    }
}

static void a_full_disk_puts_a_repair_off(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, true);
    narrowed(b, 10, true, 0);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
    box_fail(b, HF_FULL, 10);
    assert_int_equal(result_of(b), HF_REPAIR_WAITING);
    box_clear(b);
    box_pass(b, 1000);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    box_free(b);
}

static void a_comparison_that_waits_for_a_commit_does_not_tick_in_a_loop(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    struct hf_replica_event ev = {.type = HF_REPEV_REPAIR};
    box_step(b, &ev);
    while (b->busy) {
        box_done(b);
    }
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_RANGES, 0);
    box_answer(b, &q, (struct hf_replica_event){.code = HF_OK, .seq = 12});
    box_clear(b);
    box_frame(b, 11); /* its commit takes long */
    assert_true(b->busy);
    box_pass(b, 3000);
    box_clear(b);
    assert_in_range(box_pass(b, 3000), 1, 20);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_edge_asks_for_ranges_and_ends_with_a_check),
        cmocka_unit_test(a_check_that_gave_way_is_made_again),
        cmocka_unit_test(what_differs_is_narrowed_down_and_fetched),
        cmocka_unit_test(both_sides_are_compared_at_one_seq),
        cmocka_unit_test(a_frame_that_does_not_come_is_not_waited_for_long),
        cmocka_unit_test(known_damage_without_a_difference_is_a_recount),
        cmocka_unit_test(a_repair_that_does_not_help_ends_in_a_snapshot),
        cmocka_unit_test(a_refused_repair_ends_in_a_snapshot),
        cmocka_unit_test(a_repair_behind_both_floors_ends_in_a_snapshot),
        cmocka_unit_test(too_many_ranges_end_in_a_snapshot),
        cmocka_unit_test(a_core_that_cannot_answer_is_not_asked_for_ever),
        cmocka_unit_test(a_core_that_is_busy_or_behind_is_asked_again),
        cmocka_unit_test(nothing_is_applied_for_a_while_so_that_the_core_can_catch_up),
        cmocka_unit_test(an_answer_to_something_older_is_not_compared),
        cmocka_unit_test(core_that_answers_now_and_then_is_not_given_up),
        cmocka_unit_test(a_transfer_goes_before_a_repair_unless_damage_is_known),
        cmocka_unit_test(no_plan_is_asked_for_over_known_damage),
        cmocka_unit_test(a_repair_before_anything_is_known_of_the_core_leaves_joining_alone),
        cmocka_unit_test(known_damage_before_the_first_batch_ends_in_a_snapshot),
        cmocka_unit_test(damage_waits_for_the_transfer_that_the_store_begins),
        cmocka_unit_test(a_plan_that_comes_while_a_transfer_begins_is_late),
        cmocka_unit_test(damage_that_a_check_finds_ends_a_transfer_that_has_begun),
        cmocka_unit_test(a_full_disk_puts_a_repair_off),
        cmocka_unit_test(a_comparison_that_waits_for_a_commit_does_not_tick_in_a_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
