/*
 * test_collect.c - when an edge forgets its tombstones: what the core has forgotten, what it has
 * applied itself, and only while it has nothing else to do.
 *
 * The replica engine in its box; what a step does to the store is in test_state.c. Next:
 * edge/apply.c, order_collect.
 */
#include "replica_box.h"

static void floor_is_told(struct box *b, hf_seq head, hf_seq delta_floor)
{
    struct hf_beacon beacon = box_beacon_of(b, head);
    beacon.delta_floor = delta_floor;
    box_beacon_event(b, &beacon, -1, 0);
}

static void an_idle_edge_collects_up_to_the_floor_of_the_core(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    floor_is_told(b, 10, 4);
    box_pass(b, 1000);
    assert_int_equal(box_count(b, HF_REPFX_COLLECT), 1);
    assert_int_equal(b->op.last, 4);
    box_done(b);
    box_pass(b, b->cfg.collect_ms * 2); /* nothing more is due */
    assert_int_equal(box_count(b, HF_REPFX_COLLECT), 1);
    box_free(b);
}

static void an_edge_never_collects_above_what_it_applied(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    floor_is_told(b, 10, 50);
    box_pass(b, 1000);
    assert_true(b->busy);
    assert_int_equal(b->op.last, 10);
    box_done(b);
    box_free(b);
}

static void an_edge_that_is_behind_does_not_collect(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    floor_is_told(b, 12, 4);
    box_pass(b, 2000);
    assert_int_equal(box_count(b, HF_REPFX_COLLECT), 0);
    box_free(b);
}

static void a_floor_that_moves_all_the_time_costs_a_commit_a_minute(void **state)
{
    (void)state;
    struct box *b = box_live(200);
    for (hf_seq floor = 1; floor <= 180; floor++) {
        floor_is_told(b, 200, floor);
        box_pass(b, 1000);
        box_idle(b);
    }
    uint32_t n = box_count(b, HF_REPFX_COLLECT);
    assert_true(n >= 3 && n <= 4);
    box_free(b);
}

static void a_step_that_was_not_all_is_followed_by_another(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    floor_is_told(b, 10, 9);
    box_pass(b, 1000);
    struct hf_replica_event ev = {.type = HF_REPEV_STORE_DONE,
                                  .op = HF_REPFX_COLLECT,
                                  .seq = 9,
                                  .ok = false,
                                  .position = &b->at,
                                  .stage = &b->stage};
    b->busy = false;
    box_step(b, &ev);
    assert_false(b->busy); /* not at once: readers come first */
    box_pass(b, 200);
    assert_true(b->busy);
    assert_int_equal(box_count(b, HF_REPFX_COLLECT), 2);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_edge_collects_up_to_the_floor_of_the_core),
        cmocka_unit_test(an_edge_never_collects_above_what_it_applied),
        cmocka_unit_test(an_edge_that_is_behind_does_not_collect),
        cmocka_unit_test(a_floor_that_moves_all_the_time_costs_a_commit_a_minute),
        cmocka_unit_test(a_step_that_was_not_all_is_followed_by_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
