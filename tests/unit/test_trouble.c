/*
 * test_trouble.c - the replica engine over a store in trouble: full disks, I/O errors, states that
 * turn out wrong, and runs of frames of which one is bad. Transfers are test_apply.c's.
 */
#include "replica_box.h"

static void a_full_disk_publishes_nothing_retries_and_recovers(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_frame(b, 11);
    box_fail(b, HF_FULL, 11);
    assert_int_equal(box_status(b).store_state, HF_STORE_FULL);
    assert_int_equal(box_count(b, HF_REPFX_APPLIED), 0);
    assert_int_equal(box_status(b).applied, 10);
    assert_false(b->busy); /* not at once */
    for (int i = 0; i < 5; i++) {
        box_pass(b, 1000);
        assert_int_equal(b->op.type, HF_REPFX_APPLY);
        assert_true(b->busy);
        box_fail(b, HF_FULL, 11);
    }
    box_pass(b, 2000);
    box_done(b);
    assert_int_equal(box_status(b).store_state, HF_STORE_OK);
    assert_non_null(box_noted(b, HF_NOTE_STORE_WELL));
    assert_int_equal(box_nth(b, HF_REPFX_APPLIED, 0)->last, 11);
    box_free(b);
}

static void an_io_error_reopens_the_store_before_it_writes_again(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_frame(b, 11);
    box_fail(b, HF_IO, 11);
    assert_int_equal(box_status(b).store_state, HF_STORE_FAILED);
    assert_true(b->busy); /* at once: most faults are over */
    assert_int_equal(b->op.type, HF_REPFX_REOPEN);
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 1);
    box_done(b);
    assert_false(b->busy); /* whether it can be written, the next try says */
    assert_int_equal(box_status(b).store_state, HF_STORE_FAILED);
    box_pass(b, 1000);
    assert_int_equal(b->op.type, HF_REPFX_APPLY);
    box_done(b);
    assert_int_equal(box_status(b).applied, 11);
    assert_int_equal(box_status(b).store_state, HF_STORE_OK);
    box_free(b);
}

static void a_store_that_does_not_reopen_is_tried_twice_a_second(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    uint32_t orders = 0;
    box_frame(b, 11);
    box_fail(b, HF_IO, 11);
    for (hf_ms end = b->now + 10000; b->now < end; box_pass(b, 1)) {
        if (b->busy) {
            orders++;
            box_fail(b, HF_IO, 11);
        }
    }
    assert_in_range(orders, 18, 24);
    box_free(b);
}

/* What is open is as good as it was, so nothing led to this but the file. */
static void a_store_whose_file_reads_damaged_at_a_reopen_is_no_divergence(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_frame(b, 11);
    box_fail(b, HF_IO, 11);
    assert_int_equal(b->op.type, HF_REPFX_REOPEN);
    box_fail(b, HF_CORRUPT, 11);
    assert_int_equal(box_count(b, HF_REPFX_CHECK), 0);
    assert_int_equal(box_status(b).store_state, HF_STORE_FAILED);
    box_pass(b, 1000);
    assert_int_equal(b->op.type, HF_REPFX_REOPEN);
    box_done(b);
    box_pass(b, 1000);
    assert_int_equal(b->op.type, HF_REPFX_APPLY);
    box_done(b);
    assert_int_equal(box_status(b).store_state, HF_STORE_OK);
    box_free(b);
}

static void a_store_that_refuses_for_any_reason_is_not_asked_in_a_loop(void **state)
{
    (void)state;
    static const enum hf_err codes[] = {HF_ARG, HF_TOO_BIG, HF_CORRUPT, HF_LOCKED, HF_NOTFOUND};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct box *b = box_live(10);
        uint32_t orders = 0;
        box_frame(b, 12);
        hf_ms end = b->now + 10000;
        while (b->now < end) {
            box_pass(b, 1);
            if (b->busy) {
                orders++;
                box_fail(b, codes[i], 12);
            }
            if (box_count(b, HF_REPFX_CHECK) > 0) {
                struct hf_replica_event ev = {.type = HF_REPEV_CHECKED, .code = HF_IO};
                box_clear(b);
                box_step(b, &ev);
            }
        }
        assert_in_range(orders, 1, 30);
        box_free(b);
    }
}

static void a_wrong_digest_leads_to_a_check_and_a_damaged_state_to_a_repair(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_frame(b, 11);
    box_fail(b, HF_DIGEST, 11);
    assert_int_equal(box_count(b, HF_REPFX_CHECK), 1);
    box_frame(b, 12);
    box_pass(b, 3000);
    assert_false(b->busy); /* nothing is written while it is not known what is wrong */
    struct hf_replica_event ev = {.type = HF_REPEV_CHECKED, .code = HF_CORRUPT};
    box_step(b, &ev);
    assert_int_equal(box_sends(b, HF_REPRQ_RANGES), 1);
    /* What failed is not tried again before it is healed, though the store is free; and that is
     * longer than any comparison keeps frames waiting. */
    for (int i = 0; i < 9; i++) {
        box_pass(b, 1000);
        box_idle(b); /* the frames behind it are written to the inbox */
    }
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 1);
    box_free(b);
}

static void a_wrong_digest_over_a_sound_state_is_divergence(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_frame(b, 11);
    box_fail(b, HF_DIGEST, 11);
    struct hf_replica_event ev = {.type = HF_REPEV_CHECKED, .code = HF_OK};
    box_step(b, &ev);
    assert_non_null(box_noted(b, HF_NOTE_DIVERGED));
    assert_int_equal(box_status(b).state, HF_REPLICA_DIVERGED);
    assert_int_equal(box_status(b).store_state, HF_STORE_DIVERGED);
    box_frame(b, 12);
    box_beacon(b, 500);
    box_pass(b, 5000);
    assert_false(b->busy);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 0); /* never a snapshot from the same core */
    assert_true(box_sends(b, HF_REPRQ_REPORT) > 0);   /* which is told of it */
    box_free(b);
}

static void a_check_that_could_not_be_made_proves_nothing(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_frame(b, 11);
    box_fail(b, HF_DIGEST, 11);
    struct hf_replica_event ev = {.type = HF_REPEV_CHECKED, .code = HF_NOMEM};
    box_step(b, &ev);
    assert_int_equal(box_count(b, HF_REPFX_STAGE_BEGIN), 0);
    box_pass(b, 2000);
    assert_int_equal(b->op.type, HF_REPFX_APPLY); /* and if it fails again, another check */
    box_done(b);
    assert_int_equal(box_status(b).applied, 11);
    box_free(b);
}

static void the_good_part_of_a_run_is_published_when_a_later_frame_fails(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_frame(b, 11);
    box_frame(b, 12);
    box_frame(b, 13);
    box_done(b);
    b->at = box_position(12);
    box_fail(b, HF_DIGEST, 13);
    assert_int_equal(box_nth(b, HF_REPFX_APPLIED, 1)->last, 12);
    assert_int_equal(box_count(b, HF_REPFX_CHECK), 1);
    assert_int_equal(box_status(b).applied, 12);
    box_free(b);
}

static void a_restored_frame_below_what_a_transfer_reached_is_dropped(void **state)
{
    (void)state;
    struct box *b = box_new(10);
    b->stage = (struct hf_stage){.active = true,
                                 .kind = HF_PLAN_DELTA,
                                 .epoch_id = box_epoch,
                                 .base = 10,
                                 .target = 50,
                                 .covered = 50,
                                 .tail = 50,
                                 .asof = 60};
    box_start(b, true, false);
    uint32_t low = box_arrive(b, (struct box_frame){.seq = 12, .restored = true});
    uint32_t high = box_arrive(b, (struct box_frame){.seq = 55, .restored = true});
    assert_false(box_verifies(b, low));
    assert_true(box_verifies(b, high));
    assert_int_equal(box_status(b).held_now, 1);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_publishes_nothing_retries_and_recovers),
        cmocka_unit_test(an_io_error_reopens_the_store_before_it_writes_again),
        cmocka_unit_test(a_store_that_does_not_reopen_is_tried_twice_a_second),
        cmocka_unit_test(a_store_whose_file_reads_damaged_at_a_reopen_is_no_divergence),
        cmocka_unit_test(a_store_that_refuses_for_any_reason_is_not_asked_in_a_loop),
        cmocka_unit_test(a_wrong_digest_leads_to_a_check_and_a_damaged_state_to_a_repair),
        cmocka_unit_test(a_wrong_digest_over_a_sound_state_is_divergence),
        cmocka_unit_test(a_check_that_could_not_be_made_proves_nothing),
        cmocka_unit_test(the_good_part_of_a_run_is_published_when_a_later_frame_fails),
        cmocka_unit_test(a_restored_frame_below_what_a_transfer_reached_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
