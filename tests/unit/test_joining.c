/*
 * test_joining.c - the first requests of an edge that is not enrolled yet, and when it has begun.
 */
#include "replica_box.h"

/* Milliseconds from the last of so many time-outs of its JOIN to the next one. */
static hf_ms join_again_after(uint64_t entropy, int times)
{
    struct box *b = box_new(0);
    hf_ms since = 0;
    b->entropy = entropy;
    box_start(b, false, true);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 200);
    for (int i = 0; i < times; i++) {
        struct hf_replica_effect q = *box_sent(b, HF_REPRQ_JOIN, 0);
        assert_int_equal(q.timeout_ms,
                         2 * b->cfg.request_ms_min << i / 2); /* a thin link needs it */
        box_pass(b, q.timeout_ms);
        box_clear(b);
        box_timeout(b, &q);
        since = b->now;
        /* A core that never answered may be a link that is dead: it is dialled anew. */
        box_link(b, HF_CHANNEL_CONTROL, false);
        box_link(b, HF_CHANNEL_CONTROL, true);
        while (box_sends(b, HF_REPRQ_JOIN) == 0 && b->now < since + 60000) {
            box_pass(b, 10);
        }
    }
    hf_ms after = b->now - since;
    box_free(b);
    return after;
}

static void edges_that_joined_together_and_had_no_answer_come_back_one_by_one(void **state)
{
    static const hf_ms most_ms[] = {0, 6000, 12000, 24000, 24000};
    (void)state;
    for (int times = 1; times <= 4; times++) {
        hf_ms least = INT64_MAX;
        hf_ms most = 0;
        for (uint64_t i = 0; i < 50; i++) {
            hf_ms after = join_again_after(i * UINT64_C(0x9e3779b97f4a7c15), times);
            least = after < least ? after : least;
            most = after > most ? after : most;
        }
        assert_in_range(least, 0, most_ms[times] / 8);
        assert_in_range(most, most_ms[times] * 7 / 8, most_ms[times] + 200);
    }
}

static void a_token_is_spent_by_join_and_then_everything_goes_on_as_ever(void **state)
{
    (void)state;
    struct box *b = box_new(0);
    box_start(b, false, true);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 200);
    assert_int_equal(box_sends(b, HF_REPRQ_JOIN), 1);
    assert_int_equal(box_count(b, HF_REPFX_SEND), 1);
    box_reply(b, box_sent(b, HF_REPRQ_JOIN, 0), HF_OK);
    assert_non_null(box_noted(b, HF_NOTE_ENROLLED));
    box_pass(b, 200);
    assert_int_equal(box_sends(b, HF_REPRQ_JOIN), 1);
    assert_int_equal(box_sends(b, HF_REPRQ_REPORT), 1);
    box_frame(b, 1);
    box_done(b);
    assert_int_equal(box_status(b).applied, 1);
    box_free(b);
}

static void an_edge_that_began_with_nothing_is_loaded_once_it_has_what_the_core_had(void **state)
{
    (void)state;
    struct box *b = box_new(0);
    box_start(b, true, false);
    assert_false(hf_replica_loaded(b->r));
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_link(b, HF_CHANNEL_STREAM, true);
    box_pass(b, 200);
    /* A beacon of the stream may be a recording of when the core had nothing. */
    box_beacon(b, 0);
    assert_false(hf_replica_loaded(b->r));
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, 2);
    box_frame(b, 1);
    box_idle(b);
    assert_false(hf_replica_loaded(b->r));
    assert_int_equal(box_status(b).applied, 1);
    assert_int_equal(box_status(b).state, HF_REPLICA_JOINING);
    box_frame(b, 2);
    box_idle(b);
    assert_true(hf_replica_loaded(b->r));
    assert_int_not_equal(box_status(b).state, HF_REPLICA_JOINING);
    /* From then on it lags, as any edge does. */
    box_beacon(b, 500);
    assert_true(hf_replica_loaded(b->r));
    box_free(b);
}

static void an_edge_of_an_empty_core_or_with_data_of_its_own_is_loaded(void **state)
{
    (void)state;
    struct box *b = box_new(0);
    box_start(b, true, false);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 200);
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, 0);
    assert_true(hf_replica_loaded(b->r));
    box_free(b);
    b = box_new(10);
    box_start(b, true, false);
    assert_true(hf_replica_loaded(b->r));
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges_that_joined_together_and_had_no_answer_come_back_one_by_one),
        cmocka_unit_test(a_token_is_spent_by_join_and_then_everything_goes_on_as_ever),
        cmocka_unit_test(an_edge_that_began_with_nothing_is_loaded_once_it_has_what_the_core_had),
        cmocka_unit_test(an_edge_of_an_empty_core_or_with_data_of_its_own_is_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
