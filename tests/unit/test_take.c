/*
 * test_take.c - the replica engine and the next frame of an idle edge: verified and applied in one
 * job of the store.
 */
#include "replica_box.h"

static struct box *box_taker(hf_seq applied)
{
    struct box *b = box_new(applied);
    b->cfg.take_next = true;
    box_connect(b);
    return b;
}

static void the_next_frame_of_an_idle_edge_is_taken_in_one_job(void **state)
{
    (void)state;
    struct box *b = box_taker(10);
    box_arrive(b, (struct box_frame){.seq = 11});
    assert_int_equal(box_count(b, HF_REPFX_TAKE), 1);
    assert_int_equal(box_count(b, HF_REPFX_VERIFY), 0);
    assert_int_equal(box_status(b).received, 10); /* not before it verified */
    box_done(b);
    assert_int_equal(box_status(b).applied, 11);
    assert_int_equal(box_status(b).received, 11);
    assert_int_equal(box_count(b, HF_REPFX_APPLIED), 1);
    box_free(b);
}

static void only_a_frame_that_continues_the_chain_alone_is_taken(void **state)
{
    (void)state;
    const struct box_frame others[] = {
        {.seq = 12}, {.seq = 11, .branch = 1}, {.seq = 11, .header_only = true}};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct box *b = box_taker(10);
        box_arrive(b, others[i]);
        assert_int_equal(box_count(b, HF_REPFX_TAKE), 0);
        assert_int_equal(box_count(b, HF_REPFX_VERIFY), 1);
        box_free(b);
    }
    struct box *b = box_taker(10);
    box_arrive(b, (struct box_frame){.seq = 11});
    box_frame(b, 12); /* while the store is busy */
    assert_int_equal(box_count(b, HF_REPFX_TAKE), 1);
    box_done(b);
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 1);
    box_done(b);
    assert_int_equal(box_status(b).applied, 12);
    box_free(b);
}

static void a_taken_frame_that_does_not_verify_changes_nothing(void **state)
{
    (void)state;
    struct box *b = box_taker(10);
    box_arrive(b, (struct box_frame){.seq = 11});
    b->unverified = true;
    box_fail(b, HF_AUTH, 11);
    assert_int_equal(box_status(b).applied, 10);
    assert_int_equal(box_status(b).head, 10);
    assert_int_equal(box_status(b).bad_frames, 1);
    assert_int_equal(box_count(b, HF_REPFX_DROP), 1);
    b->unverified = false;
    box_arrive(b, (struct box_frame){.seq = 11});
    box_done(b);
    assert_int_equal(box_status(b).applied, 11);
    box_free(b);
}

static void a_taken_frame_that_is_sealed_waits_for_its_key(void **state)
{
    (void)state;
    struct box *b = box_taker(10);
    box_arrive(b, (struct box_frame){.seq = 11});
    b->unverified = true;
    box_fail(b, HF_SEALED, 11);
    assert_int_equal(box_sends(b, HF_REPRQ_HELLO), 1);
    assert_int_equal(box_status(b).held_now, 1);
    assert_int_equal(box_count(b, HF_REPFX_DROP), 0);
    box_free(b);
}

static void a_taken_frame_that_the_disk_refuses_is_applied_later(void **state)
{
    (void)state;
    struct box *b = box_taker(10);
    box_arrive(b, (struct box_frame){.seq = 11});
    box_fail(b, HF_FULL, 11);
    assert_int_equal(box_status(b).applied, 10);
    assert_int_equal(box_status(b).store_state, HF_STORE_FULL);
    box_pass(b, 600);
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 1);
    box_done(b);
    assert_int_equal(box_status(b).applied, 11);
    assert_int_equal(box_status(b).store_state, HF_STORE_OK);
    box_free(b);
}

/* A proof of a fork, perhaps, and perhaps a forgery: the store works on the frame that would go. */
static void a_double_of_the_applied_frame_makes_no_room_for_itself(void **state)
{
    (void)state;
    struct box *b = box_new(10);
    b->cfg.take_next = true;
    b->cfg.hold_bytes_max = 1u << 20;
    box_connect(b);
    box_pass(b, 100);
    box_arrive(b, (struct box_frame){.seq = 11});
    assert_int_equal(b->op.type, HF_REPFX_TAKE);
    uint32_t twin = box_arrive(b, (struct box_frame){.seq = 10, .branch = 1, .bytes = 4u << 20});
    assert_false(box_verifies(b, twin));
    assert_int_equal(box_status(b).held_now, 1);
    box_done(b);
    assert_int_equal(box_status(b).applied, 11);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_frame_of_an_idle_edge_is_taken_in_one_job),
        cmocka_unit_test(only_a_frame_that_continues_the_chain_alone_is_taken),
        cmocka_unit_test(a_taken_frame_that_does_not_verify_changes_nothing),
        cmocka_unit_test(a_taken_frame_that_is_sealed_waits_for_its_key),
        cmocka_unit_test(a_taken_frame_that_the_disk_refuses_is_applied_later),
        cmocka_unit_test(a_double_of_the_applied_frame_makes_no_room_for_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
