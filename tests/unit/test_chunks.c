/*
 * test_chunks.c - a chunk on the pool: what becomes of it when nobody waits for it any more.
 */
#include "edge_box.h"

/* An edge with the first chunk of a SNAPSHOT on the pool, which has not begun with it. */
static void rig_open_chunk(struct rig *rig)
{
    rig_begin_snapshot(rig);
    while (rig->asked_count[HF_MSG_PLAN] == 0) {
        rig_answer_one(rig);
    }
    rig_jobs(rig);
    struct asked *a = rig_keys_asked(rig);
    rig_answer(rig, a);
    asked_free(a);
    assert_non_null(rig->jobs);
    assert_null(rig->jobs->next);
}

static void the_engine_hears_of_a_chunk_when_it_is_open(void **state)
{
    struct rig *rig = *state;
    rig_open_chunk(rig);
    assert_int_equal(rig_status(rig).transfer_done, 0);
    rig_jobs(rig);
    assert_true(rig_status(rig).transfer_done > 0);
    rig_pass(rig, 1000);
    assert_int_equal(rig_status(rig).applied, hf_state_position(rig->core->s).seq);
}

/* It is of an older state than the next transfer, whose chunks the writer would take it with: there
 * it passed for a forgery. */
static void a_chunk_of_a_transfer_that_was_given_up_is_let_go(void **state)
{
    struct rig *rig = *state;
    rig->parts = 2;
    rig_open_chunk(rig);
    struct hf_job *late = rig_next_job(rig);
    rig_puts(rig, 100, 20);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, false);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
    rig->refuse = HF_BELOW_FLOOR;
    while (rig->asked_count[HF_MSG_PLAN] == 1) {
        rig_answer_one(rig);
    }
    rig->refuse = HF_OK;
    rig_jobs(rig);
    struct asked *first = rig_keys_asked(rig);
    struct asked *second = rig_keys_asked(rig);
    late->work(late);
    late->done(late);
    rig_answer(rig, second);
    rig_jobs(rig);
    rig_answer(rig, first);
    asked_free(first);
    asked_free(second);
    rig_pass(rig, 1000);
    assert_int_equal(rig_status(rig).applied, hf_state_position(rig->core->s).seq);
    assert_int_equal(rig->asked_count[HF_MSG_PLAN], 2);
}

/* LeakSanitizer says what was not freed. */
static void an_edge_that_closes_frees_what_the_pool_did_not_come_to(void **state)
{
    struct rig *rig = *state;
    rig_open_chunk(rig);
    (void)rig_next_job(rig);
    hf_edge_close(rig->edge);
    rig->edge = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_engine_hears_of_a_chunk_when_it_is_open, rig_setup,
                                        rig_teardown),
        cmocka_unit_test_setup_teardown(a_chunk_of_a_transfer_that_was_given_up_is_let_go,
                                        rig_setup, rig_teardown),
        cmocka_unit_test_setup_teardown(an_edge_that_closes_frees_what_the_pool_did_not_come_to,
                                        rig_setup, rig_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
