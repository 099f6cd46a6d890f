/*
 * test_rest.c - the replica engine's rest after a commit: frames gather for the next one, and are
 * applied ahead of it.
 */
#include "replica_box.h"

#include "edge/replica_impl.h"

static void frames(struct box *b, hf_seq first, hf_seq last)
{
    for (hf_seq seq = first; seq <= last; seq++) {
        box_frame(b, seq);
    }
}

static void a_busy_store_rests_so_that_frames_share_a_commit(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_frame(b, 11);
    box_frame(b, 12);
    box_frame(b, 13);
    box_done(b); /* 11 alone: no rest */
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 2);
    b->now += 10; /* the commit of 12 and 13 takes 10 ms */
    box_done(b);
    box_clear(b);
    box_frame(b, 14);
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 0);
    box_pass(b, 31);
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 1);
    box_done(b);
    assert_int_equal(box_status(b).applied, 14);
    box_free(b);
}

static void a_resting_store_goes_on_when_the_frames_pause(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_frame(b, 11);
    for (hf_seq seq = 12; seq <= 15; seq++) {
        b->now += 5;
        box_frame(b, seq);
    }
    box_done(b); /* 12 to 15 are next: 5 ms from one to the next */
    b->now += 20;
    box_done(b); /* their commit took 20 ms, so the rest is 60 */
    box_clear(b);
    for (hf_seq seq = 16; seq <= 18; seq++) {
        box_frame(b, seq);
        box_pass(b, 10);
    }
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 0);
    box_pass(b, 15); /* none came for 25 ms, and 15 of the rest are left */
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 1);
    assert_int_equal(b->op.last, 18);
    box_free(b);
}

/* 13 are applied, which took so long, and the store rests; 3 frames are worth going ahead. */
static struct box *box_resting(hf_ms took, uint32_t apply_frames_max)
{
    struct box *b = box_new(10);
    b->cfg.ahead_frames_min = 3;
    b->cfg.apply_frames_max = apply_frames_max;
    box_connect(b);
    frames(b, 11, 13);
    box_done(b);
    b->now += took;
    box_done(b);
    assert_int_equal(box_status(b).applied, 13);
    box_clear(b);
    return b;
}

/* The same, and 14 to 16 are applied without a commit. */
static struct box *box_ahead(void)
{
    struct box *b = box_resting(10, 256);
    for (hf_seq seq = 14; seq <= 16; seq++) {
        assert_false(b->busy);
        box_frame(b, seq);
    }
    assert_int_equal(b->op.type, HF_REPFX_APPLY);
    assert_false(b->op.commit);
    assert_int_equal(b->op.last, 16);
    box_done(b);
    assert_int_equal(box_status(b).held_ahead, 3);
    return b;
}

static void what_comes_during_a_rest_is_applied_ahead_of_its_commit(void **state)
{
    (void)state;
    struct box *b = box_ahead();
    assert_int_equal(box_status(b).applied, 13);
    assert_int_equal(box_count(b, HF_REPFX_APPLIED), 0);
    assert_int_equal(box_count(b, HF_REPFX_RELEASE), 0); /* they may have to be applied again */
    assert_int_equal(box_status(b).held_now, 3);
    box_frame(b, 17);
    assert_false(b->busy); /* one is too few */
    box_pass(b, 30);
    assert_true(b->busy && b->op.commit);
    assert_int_equal(b->op.first, 14);
    assert_int_equal(b->op.last, 17);
    box_done(b);
    assert_int_equal(box_status(b).applied, 17);
    assert_int_equal(box_status(b).held_ahead, 0);
    assert_int_equal(box_status(b).held_now, 0);
    box_free(b);
}

static void what_is_ahead_is_committed_when_nothing_more_comes(void **state)
{
    (void)state;
    struct box *b = box_ahead();
    box_pass(b, 30);
    assert_true(b->busy && b->op.commit);
    assert_int_equal(b->op.last, 16);
    box_done(b);
    assert_int_equal(box_status(b).applied, 16);
    box_pass(b, 1000);
    assert_false(b->busy);
    box_free(b);
}

/* What was applied ahead took its time too: 10 ms, and 5 for the commit. */
static void the_next_rest_is_as_long_as_all_of_the_run_took(void **state)
{
    (void)state;
    struct box *b = box_resting(10, 256);
    frames(b, 14, 16);
    b->now += 10;
    box_done(b);
    while (!b->busy) { /* until so long nothing came */
        box_pass(b, 1);
    }
    assert_true(b->op.commit);
    b->now += 5;
    box_done(b);
    hf_ms rested = 0;
    for (hf_seq seq = 17; !b->busy || !b->op.commit; seq++, rested++) {
        box_frame(b, seq);
        if (b->busy && !b->op.commit) {
            box_done(b);
        }
        box_pass(b, 1);
    }
    assert_in_range(rested, 44, 46);
    box_free(b);
}

static void a_pause_is_measured_by_what_came_since_the_last_operation(void **state)
{
    (void)state;
    struct box *b = box_resting(30, 256);
    for (hf_seq seq = 14; seq <= 19; seq++) {
        b->now += 5;
        box_frame(b, seq);
        if (b->busy) {
            box_done(b);
        }
    }
    assert_int_equal(box_status(b).held_ahead, 6);
    box_pass(b, 15);
    assert_false(b->busy);
    box_pass(b, 10);
    assert_true(b->busy && b->op.commit);
    box_free(b);
}

static void a_failed_commit_takes_what_was_ahead_with_it(void **state)
{
    (void)state;
    struct box *b = box_ahead();
    box_pass(b, 30);
    box_fail(b, HF_FULL, 14);
    assert_int_equal(box_status(b).held_ahead, 0);
    assert_int_equal(box_status(b).applied, 13);
    frames(b, 17, 20);
    assert_false(b->busy);
    box_pass(b, 600);
    assert_true(b->busy && b->op.commit);
    assert_int_equal(b->op.first, 14);
    assert_int_equal(b->op.last, 20);
    box_done(b);
    assert_int_equal(box_status(b).applied, 20);
    assert_int_equal(box_status(b).store_state, HF_STORE_OK);
    box_free(b);
}

/* The store undoes what is open before it does anything else. */
static void another_operation_takes_what_was_ahead_with_it(void **state)
{
    (void)state;
    struct box *b = box_ahead();
    box_beacon(b, 1000);
    box_answer(b, box_sent(b, HF_REPRQ_PLAN, 0),
               (struct hf_replica_event){.plan = HF_PLAN_DELTA, .seq = 1000, .total = 1u << 16});
    assert_true(b->busy && b->op.type == HF_REPFX_STAGE_BEGIN);
    assert_int_equal(box_status(b).held_ahead, 3);
    box_done(b);
    assert_int_equal(box_status(b).held_ahead, 0);
    assert_int_equal(box_status(b).applied, 13);
    box_free(b);
}

/* Nothing is applied while the core is asked what its ranges look like. */
static void a_comparison_keeps_what_is_ahead_from_its_commit(void **state)
{
    (void)state;
    struct box *b = box_ahead();
    struct hf_replica_event ask = {.type = HF_REPEV_REPAIR};
    b->r->cfg.hold_ms = 1000000;
    box_step(b, &ask);
    box_pass(b, 100);
    assert_false(b->busy);
    assert_int_equal(box_status(b).held_ahead, 0);
    assert_int_equal(box_status(b).applied, 13);
    box_pass(b, 10000); /* no answer comes */
    assert_true(b->busy && b->op.type == HF_REPFX_APPLY && b->op.commit);
    assert_int_equal(b->op.first, 14);
    assert_int_equal(b->op.last, 16);
    box_free(b);
}

/* It would undo what is ahead, and the next commit is near. */
static void frames_behind_a_hole_are_not_stored_before_what_is_ahead(void **state)
{
    (void)state;
    struct box *b = box_resting(10, 256);
    b->r->cfg.hold_ms = 10;
    box_frame(b, 20);
    frames(b, 14, 16);
    assert_true(b->busy && !b->op.commit);
    box_done(b);
    box_clear(b);
    while (!b->busy) {
        box_frame(b, 17);
        box_pass(b, 1);
    }
    assert_true(b->op.type == HF_REPFX_APPLY && b->op.commit);
    box_done(b);
    assert_int_equal(b->op.type, HF_REPFX_HOLD);
    box_free(b);
}

static void a_forgery_does_not_drop_what_is_ahead(void **state)
{
    (void)state;
    struct box *b = box_ahead();
    uint32_t bytes = (uint32_t)b->cfg.hold_bytes_max;
    uint32_t twin = box_arrive(b, (struct box_frame){.seq = 13, .branch = 1, .bytes = bytes});
    assert_false(box_verifies(b, twin));
    assert_int_equal(box_status(b).held_now, 3);
    box_pass(b, 30);
    assert_int_equal(b->op.last, 16);
    box_free(b);
}

static void a_fork_is_seen_behind_what_is_ahead(void **state)
{
    (void)state;
    struct box *b = box_ahead();
    uint32_t slot = box_arrive(b, (struct box_frame){.seq = 17, .branch = 1});
    box_verified(b, slot, HF_OK);
    box_pass(b, 30);
    assert_non_null(box_noted(b, HF_NOTE_FORK));
    assert_int_equal(box_nth(b, HF_REPFX_EVIDENCE, 0)->slot, slot);
    assert_int_equal(box_status(b).state, HF_REPLICA_DIVERGED);
    box_free(b);
}

static void a_transaction_has_no_more_frames_than_it_may(void **state)
{
    (void)state;
    struct box *b = box_resting(10, 4);
    frames(b, 14, 16);
    box_done(b);
    box_frame(b, 17);
    assert_true(b->busy && b->op.commit); /* no more may join them, so that there is no rest */
    assert_int_equal(b->op.last, 17);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_busy_store_rests_so_that_frames_share_a_commit),
        cmocka_unit_test(a_resting_store_goes_on_when_the_frames_pause),
        cmocka_unit_test(what_comes_during_a_rest_is_applied_ahead_of_its_commit),
        cmocka_unit_test(what_is_ahead_is_committed_when_nothing_more_comes),
        cmocka_unit_test(the_next_rest_is_as_long_as_all_of_the_run_took),
        cmocka_unit_test(a_pause_is_measured_by_what_came_since_the_last_operation),
        cmocka_unit_test(a_failed_commit_takes_what_was_ahead_with_it),
        cmocka_unit_test(another_operation_takes_what_was_ahead_with_it),
        cmocka_unit_test(a_comparison_keeps_what_is_ahead_from_its_commit),
        cmocka_unit_test(frames_behind_a_hole_are_not_stored_before_what_is_ahead),
        cmocka_unit_test(a_forgery_does_not_drop_what_is_ahead),
        cmocka_unit_test(a_fork_is_seen_behind_what_is_ahead),
        cmocka_unit_test(a_transaction_has_no_more_frames_than_it_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
