/*
 * test_rest.c - the replica engine's rest after a commit: frames gather for the next one, and are
 * applied ahead of it.
 */
#include "replica_box.h"

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

/* 13 are applied, and the store rests for 30 ms; 3 frames are worth going ahead. */
static struct box *box_resting(uint32_t apply_frames_max)
{
    struct box *b = box_new(10);
    b->cfg.ahead_frames_min = 3;
    b->cfg.apply_frames_max = apply_frames_max;
    box_connect(b);
    for (hf_seq seq = 11; seq <= 13; seq++) {
        box_frame(b, seq);
    }
    box_done(b);
    b->now += 10;
    box_done(b);
    assert_int_equal(box_status(b).applied, 13);
    box_clear(b);
    return b;
}

/* The same, and 14 to 16 are applied without a commit. */
static struct box *box_ahead(void)
{
    struct box *b = box_resting(256);
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
    struct box *b = box_resting(256);
    for (hf_seq seq = 14; seq <= 16; seq++) {
        box_frame(b, seq);
    }
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

static void a_failed_commit_takes_what_was_ahead_with_it(void **state)
{
    (void)state;
    struct box *b = box_ahead();
    box_pass(b, 30);
    box_fail(b, HF_FULL, 14);
    assert_int_equal(box_status(b).held_ahead, 0);
    assert_int_equal(box_status(b).applied, 13);
    for (hf_seq seq = 17; seq <= 20; seq++) {
        box_frame(b, seq);
    }
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
    b->marks_wait = true;
    struct hf_replica_event damage = {.type = HF_REPEV_REPAIR, .ok = true};
    box_step(b, &damage);
    assert_true(b->busy && b->op.type == HF_REPFX_MARK);
    assert_int_equal(box_status(b).held_ahead, 3);
    box_marked(b, HF_OK);
    assert_int_equal(box_status(b).held_ahead, 0);
    box_free(b);
}

/* Nothing is applied while the core is asked what its ranges look like. */
static void a_comparison_undoes_what_is_ahead(void **state)
{
    (void)state;
    struct box *b = box_ahead();
    struct hf_replica_event ask = {.type = HF_REPEV_REPAIR};
    box_step(b, &ask);
    box_pass(b, 100);
    assert_false(b->busy);
    assert_int_equal(box_status(b).held_ahead, 0);
    assert_int_equal(box_status(b).applied, 13);
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
    struct box *b = box_resting(4);
    for (hf_seq seq = 14; seq <= 16; seq++) {
        box_frame(b, seq);
    }
    box_done(b);
    for (hf_seq seq = 17; seq <= 20; seq++) {
        box_frame(b, seq);
    }
    assert_false(b->busy); /* one more is allowed, which is too few */
    box_pass(b, 30);
    assert_true(b->busy && b->op.commit);
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
        cmocka_unit_test(a_failed_commit_takes_what_was_ahead_with_it),
        cmocka_unit_test(another_operation_takes_what_was_ahead_with_it),
        cmocka_unit_test(a_comparison_undoes_what_is_ahead),
        cmocka_unit_test(a_fork_is_seen_behind_what_is_ahead),
        cmocka_unit_test(a_transaction_has_no_more_frames_than_it_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
