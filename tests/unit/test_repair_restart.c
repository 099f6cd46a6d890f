/*
 * test_repair_restart.c - what the replica engine has marked as damaged, and what it does after a
 * restart on a store that has the mark.
 */
#include "replica_box.h"

static void want_repair(struct box *b, bool damaged)
{
    struct hf_replica_event ev = {.type = HF_REPEV_REPAIR, .ok = damaged};
    box_step(b, &ev);
}

/* The RANGES that is under way is answered, and the answer compared: so many ranges differ. */
static void compared(struct box *b, enum hf_err code, uint64_t ranges)
{
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_RANGES, 0);
    struct hf_replica_event ev = {
        .type = HF_REPEV_COMPARED, .code = code, .ok = true, .offset = 1000, .total = ranges};
    box_clear(b);
    box_answer(b, &q, (struct hf_replica_event){.seq = b->at.seq, .bytes = 500});
    assert_int_equal(box_count(b, HF_REPFX_COMPARE), 1);
    box_clear(b);
    box_step(b, &ev);
}

static void checked(struct box *b, enum hf_err code)
{
    struct hf_replica_event ev = {.type = HF_REPEV_CHECKED, .code = code};
    box_step(b, &ev);
}

/* Not a word of it from outside. */
static void restart(struct box *b)
{
    b->stage = (struct hf_stage){0}; /* a REPAIR does not outlive it */
    box_start(b, true, false);
    box_link(b, HF_CHANNEL_STREAM, true);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 1000);
}

static void known_damage_is_compared_again_after_a_restart(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, true);
    assert_true(b->damaged);
    restart(b);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    compared(b, HF_OK, 1);
    compared(b, HF_OK, 1);
    assert_int_equal(b->op.plan, HF_PLAN_REPAIR);
    restart(b); /* and after the next, which came before the end */
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    box_free(b);
}

static void mark_goes_when_it_is_healed(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, true);
    compared(b, HF_OK, 0);
    box_done(b); /* STAGE_BEGIN */
    assert_true(b->damaged);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    box_done(b);
    assert_false(b->damaged);
    restart(b);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 0);
    box_free(b);
}

static void what_a_comparison_finds_is_damage_too(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, false); /* an operator is curious */
    compared(b, HF_OK, 1);
    assert_false(b->damaged);
    compared(b, HF_OK, 1);
    assert_true(b->damaged);
    box_free(b);
}

static void sound_state_is_not_marked(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, false);
    compared(b, HF_OK, 0);
    checked(b, HF_OK);
    assert_int_equal(box_count(b, HF_REPFX_MARK), 0);
    box_free(b);
}

/* The snapshot may never be asked for: the process dies first. */
static void damage_that_cannot_be_repaired_stays_marked_until_the_snapshot_is_there(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, true);
    compared(b, HF_TOO_BIG, 0);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_BEGIN);
    assert_int_equal(b->op.plan, HF_PLAN_SNAPSHOT);
    assert_true(b->damaged);
    restart(b);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    box_free(b);
}

static void snapshot_heals_what_waited_for_it(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    want_repair(b, true);
    /* A restart in the middle of it: all keys are there, the frame that decides is not. */
    b->stage = (struct hf_stage){.active = true,
                                 .kind = HF_PLAN_SNAPSHOT,
                                 .epoch_id = box_epoch,
                                 .keys_head = 12,
                                 .keys_done = true,
                                 .covered = 12,
                                 .target = 12,
                                 .asof = 12,
                                 .tail = 12};
    box_connect(b);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 0);
    box_beacon(b, 12);
    box_frame(b, 12);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_SWITCH);
    box_done(b);
    assert_false(b->damaged);
    box_pass(b, 1000);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 0);
    assert_int_equal(box_status(b).repair.result, HF_REPAIR_SNAPSHOT);
    box_free(b);
}

static void mark_is_tried_again_on_a_full_disk_and_not_on_a_damaged_store(void **state)
{
    struct box *b = box_live(10);
    (void)state;
    b->marks_wait = true;
    want_repair(b, true);
    box_marked(b, HF_FULL);
    box_pass(b, 1000);
    assert_int_equal(box_count(b, HF_REPFX_MARK), 2);
    box_marked(b, HF_CORRUPT);
    assert_int_equal(box_count(b, HF_REPFX_CHECK), 0); /* that it is damaged is known */
    box_pass(b, 1000);
    assert_int_equal(box_count(b, HF_REPFX_MARK), 2);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_damage_is_compared_again_after_a_restart),
        cmocka_unit_test(mark_goes_when_it_is_healed),
        cmocka_unit_test(what_a_comparison_finds_is_damage_too),
        cmocka_unit_test(sound_state_is_not_marked),
        cmocka_unit_test(damage_that_cannot_be_repaired_stays_marked_until_the_snapshot_is_there),
        cmocka_unit_test(snapshot_heals_what_waited_for_it),
        cmocka_unit_test(mark_is_tried_again_on_a_full_disk_and_not_on_a_damaged_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
