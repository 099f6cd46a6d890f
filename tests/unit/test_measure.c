/*
 * test_measure.c - what a scenario's expectations make of what happened: limits that are just
 * reached and just missed, actions that follow each other, and the edge that decides.
 */
#include "sim/measure.h"

#include "hf/replica.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define LIMIT_US 5000000u
#define LIMIT_MS (LIMIT_US / 1000)

static const struct measure_end nothing = {.running = true};

static struct script_nodes nodes_of(uint64_t bits)
{
    return (struct script_nodes){.bits = {bits}};
}

/* ---- WITHIN ---- */

static struct script_expectation converged_after(enum script_verb of)
{
    return (struct script_expectation){
        .kind = SCRIPT_EXPECT_WITHIN, .of = of, .limit_us = LIMIT_US};
}

static void act(struct measure *m, const struct script_expectation *x, enum script_verb verb,
                uint64_t now_us)
{
    struct measure_load load = {.ordered_done = true, .acked = 10};
    measure_action(m, x, verb, now_us, &load);
}

static void applied(struct measure *m, const struct script_expectation *x, hf_seq seq,
                    uint64_t now_us)
{
    struct measure_edge edge = {.state = HF_REPLICA_LIVE, .applied = seq};
    struct measure_load load = {.ordered_done = true, .acked = 10};
    measure_result(m, x, now_us, &edge, &load);
}

static struct verdict judged(struct measure *m, const struct script_expectation *x, uint64_t now_us)
{
    struct measure_worst worst = {.count = 0};
    measure_judge(&worst, m, x, now_us, "lagos", &nothing);
    return worst.verdict;
}

static bool held_when_it_took(uint64_t took_us)
{
    struct script_expectation x = converged_after(SCRIPT_HEAL);
    struct measure m = {.pending = false};
    act(&m, &x, SCRIPT_HEAL, 100);
    applied(&m, &x, 10, 100 + took_us);
    struct verdict v = judged(&m, &x, 100 + 2 * LIMIT_US);
    assert_true(v.measured && !v.idle);
    assert_true(v.amount == (double)took_us / 1e6);
    return v.held;
}

static void result_may_take_the_whole_limit_and_no_longer(void **state)
{
    (void)state;
    assert_true(held_when_it_took(1));
    assert_true(held_when_it_took(LIMIT_US));
    assert_false(held_when_it_took(LIMIT_US + 1));
}

static void slowest_of_several_results_is_what_it_took(void **state)
{
    struct script_expectation x = converged_after(SCRIPT_HEAL);
    struct measure m = {.pending = false};
    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        static const uint64_t took_us[] = {2000000, 4000000, 1000000};
        act(&m, &x, SCRIPT_HEAL, i * LIMIT_US);
        applied(&m, &x, 10, i * LIMIT_US + took_us[i]);
    }
    struct verdict v = judged(&m, &x, 4 * LIMIT_US);
    assert_true(v.held && v.amount == 4.0);
}

static void result_is_there_with_the_last_batch_that_was_acknowledged(void **state)
{
    struct script_expectation x = converged_after(SCRIPT_HEAL);
    struct measure m = {.pending = false};
    (void)state;
    act(&m, &x, SCRIPT_HEAL, 0);
    applied(&m, &x, 9, 1);
    assert_true(m.pending);
    applied(&m, &x, 10, 2);
    assert_false(m.pending);
    assert_true(judged(&m, &x, 3).held);
}

/* What the action writes is not answered at once, and the goal not known before. */
static void goal_waits_for_what_the_timeline_ordered(void **state)
{
    struct script_expectation x = converged_after(SCRIPT_WRITE);
    struct measure_edge edge = {.applied = 20};
    struct measure_load load = {.ordered_done = false, .acked = 5};
    struct measure m = {.pending = false};
    (void)state;
    measure_action(&m, &x, SCRIPT_WRITE, 0, &load);
    measure_result(&m, &x, 1, &edge, &load);
    assert_true(m.pending);
    load = (struct measure_load){.ordered_done = true, .acked = 21};
    measure_result(&m, &x, 2, &edge, &load);
    assert_true(m.pending);
    load.acked = 99; /* by others, and later */
    edge.applied = 21;
    measure_result(&m, &x, 3, &edge, &load);
    assert_false(m.pending);
}

static void result_may_be_a_state(void **state)
{
    struct script_expectation x = converged_after(SCRIPT_CUT);
    struct measure_edge edge = {.state = HF_REPLICA_LIVE, .applied = 10};
    struct measure_load load = {.ordered_done = true, .acked = 10};
    struct measure m = {.pending = false};
    (void)state;
    strcpy(x.word, hf_replica_state_name(HF_REPLICA_CUT_OFF));
    act(&m, &x, SCRIPT_CUT, 0);
    measure_result(&m, &x, 1, &edge, &load);
    assert_true(m.pending);
    edge.state = HF_REPLICA_CUT_OFF;
    measure_result(&m, &x, 2, &edge, &load);
    assert_false(m.pending);
}

static void what_never_came_true_does_not_hold(void **state)
{
    struct script_expectation x = converged_after(SCRIPT_HEAL);
    struct measure m = {.pending = false};
    (void)state;
    act(&m, &x, SCRIPT_HEAL, 0);
    struct verdict v = judged(&m, &x, 1000000); /* the run was over before the limit */
    assert_true(v.measured && !v.held && v.amount == 1.0);
}

/* It is not counted unless it was too late already. */
static void next_action_ends_what_is_pending(void **state)
{
    struct script_expectation x = converged_after(SCRIPT_HEAL);
    struct measure m = {.pending = false};
    (void)state;
    act(&m, &x, SCRIPT_HEAL, 0);
    act(&m, &x, SCRIPT_HEAL, LIMIT_US);
    assert_false(m.measured);
    applied(&m, &x, 10, LIMIT_US + 1000000);
    assert_true(m.measured && !m.late && m.worst_us == 1000000);
    act(&m, &x, SCRIPT_HEAL, 10 * LIMIT_US);
    act(&m, &x, SCRIPT_HEAL, 11 * LIMIT_US + 1);
    assert_true(m.late && m.worst_us == LIMIT_US + 1);
}

static bool ends(enum script_verb of, enum script_verb verb)
{
    struct script_expectation x = converged_after(of);
    struct measure m = {.pending = false};
    act(&m, &x, of, 0);
    act(&m, &x, verb, 1);
    assert_false(m.measured);
    return !m.pending;
}

static void each_harm_has_the_action_that_undoes_it(void **state)
{
    static const enum script_verb disk[] = {SCRIPT_DISK_SLOW, SCRIPT_DISK_FULL,
                                            SCRIPT_DISK_FAILING};
    (void)state;
    assert_true(ends(SCRIPT_CUT, SCRIPT_HEAL));
    assert_true(ends(SCRIPT_CRASH, SCRIPT_START));
    assert_true(ends(SCRIPT_PAUSE, SCRIPT_RESUME));
    for (size_t i = 0; i < sizeof(disk) / sizeof(disk[0]); i++) {
        assert_true(ends(disk[i], SCRIPT_DISK_WELL));
        assert_false(ends(disk[i], SCRIPT_HEAL));
    }
    assert_false(ends(SCRIPT_CUT, SCRIPT_START));
    assert_false(ends(SCRIPT_CRASH, SCRIPT_RESUME));
    assert_false(ends(SCRIPT_PAUSE, SCRIPT_HEAL));
    assert_false(ends(SCRIPT_RESUME, SCRIPT_DISK_WELL));
    assert_false(ends(SCRIPT_DAMAGE, SCRIPT_DISK_WELL));
}

static void new_harm_ends_what_is_pending_and_traffic_does_not(void **state)
{
    (void)state;
    assert_true(ends(SCRIPT_HEAL, SCRIPT_CUT));
    assert_true(ends(SCRIPT_HEAL, SCRIPT_CRASH));
    assert_true(ends(SCRIPT_HEAL, SCRIPT_PAUSE));
    assert_true(ends(SCRIPT_HEAL, SCRIPT_RESTORE));
    assert_true(ends(SCRIPT_HEAL, SCRIPT_REVOKE));
    assert_false(ends(SCRIPT_HEAL, SCRIPT_WRITE));
    assert_false(ends(SCRIPT_HEAL, SCRIPT_DROP));
}

static void core_concerns_every_edge_that_it_reaches(void **state)
{
    struct script_action named = {.nodes = nodes_of(1u << 2)};
    struct script_action core = {.nodes = nodes_of(1u << SCRIPT_CORE)};
    struct script_action written = {.verb = SCRIPT_WRITE};
    (void)state;
    assert_true(measure_concerns(&named, 2, true));
    assert_true(measure_concerns(&named, 2, false));
    assert_false(measure_concerns(&named, 1, true));
    assert_true(measure_concerns(&core, 1, true));
    assert_false(measure_concerns(&core, 1, false));
    assert_true(measure_concerns(&written, 1, true));
    assert_false(measure_concerns(&written, 1, false));
}

/* ---- STALENESS ---- */

static void said(struct measure *m, const struct script_expectation *x, bool apart, hf_seq seq,
                 uint64_t staleness_ms)
{
    struct measure_edge edge = {
        .state = HF_REPLICA_LIVE, .applied = seq, .staleness_ms = staleness_ms};
    measure_staleness(m, x, 0, apart, &edge, 10);
}

static bool stale_holds(bool at_least, uint64_t ms)
{
    struct script_expectation x = {
        .kind = SCRIPT_EXPECT_STALENESS, .limit_us = LIMIT_US, .at_least = at_least};
    struct measure m = {.pending = false};
    said(&m, &x, false, 10, ms / 2);
    said(&m, &x, false, 10, ms);
    said(&m, &x, false, 10, 1);
    struct verdict v = judged(&m, &x, 0);
    assert_true(v.measured && v.amount == (double)ms / 1e3);
    return v.held;
}

static void staleness_may_be_all_of_its_limit_and_no_more(void **state)
{
    (void)state;
    assert_true(stale_holds(false, LIMIT_MS));
    assert_false(stale_holds(false, LIMIT_MS + 1));
    assert_true(stale_holds(true, LIMIT_MS));
    assert_false(stale_holds(true, LIMIT_MS - 1));
}

static void staleness_that_nobody_knows_says_nothing(void **state)
{
    struct script_expectation x = {.kind = SCRIPT_EXPECT_STALENESS, .limit_us = LIMIT_US};
    struct measure m = {.pending = false};
    (void)state;
    said(&m, &x, false, 10, UINT64_MAX);
    measure_staleness(&m, &x, 0, false, NULL, 10);
    struct verdict v = judged(&m, &x, 0);
    assert_false(v.held || v.measured);
}

/* An edge that was restarted while it was cut off answers, and has no bound. */
static void staleness_that_nobody_knows_any_more_grows(void **state)
{
    struct script_expectation x = {.kind = SCRIPT_EXPECT_STALENESS, .limit_us = LIMIT_US};
    struct measure m = {.pending = false};
    struct measure_edge unknown = {
        .state = HF_REPLICA_CUT_OFF, .applied = 10, .staleness_ms = UINT64_MAX};
    (void)state;
    said(&m, &x, true, 10, 300);
    measure_staleness(&m, &x, 50000000, true, NULL, 10);
    assert_int_equal(m.worst_ms, 300);
    measure_staleness(&m, &x, 60000000, true, &unknown, 10);
    assert_int_equal(m.worst_ms, 60300);
}

/* ... for as long again as the cut, and a minute at least. */
static void linked_staleness_counts_again_in_the_end(void **state)
{
    (void)state;
    for (uint64_t cut_s = 10; cut_s <= 100; cut_s += 90) {
        struct script_expectation x = {
            .kind = SCRIPT_EXPECT_STALENESS, .limit_us = LIMIT_US, .linked = true};
        struct measure m = {.pending = false};
        struct measure_edge behind = {
            .state = HF_REPLICA_CATCHING_UP, .applied = 5, .staleness_ms = 7000};
        uint64_t back_s = cut_s > 60 ? cut_s : 60;
        measure_staleness(&m, &x, 0, true, &behind, 10);
        measure_staleness(&m, &x, cut_s * 1000000, false, &behind, 10);
        measure_staleness(&m, &x, (cut_s + back_s) * 1000000 - 1, false, &behind, 10);
        assert_false(m.counted);
        measure_staleness(&m, &x, (cut_s + back_s) * 1000000, false, &behind, 10);
        assert_int_equal(m.worst_ms, 7000);
    }
}

/* How long nothing counts is: until all there was when it came back is here, and it is live. */
static uint64_t worst_of_a_cut(bool linked)
{
    struct script_expectation x = {
        .kind = SCRIPT_EXPECT_STALENESS, .limit_us = LIMIT_US, .linked = linked};
    struct measure m = {.pending = false};
    struct measure_edge behind = {
        .state = HF_REPLICA_CATCHING_UP, .applied = 10, .staleness_ms = 6000};
    said(&m, &x, false, 5, 100);
    said(&m, &x, true, 5, 9000);
    measure_staleness(&m, &x, 0, true, NULL, 10); /* stopped, too */
    said(&m, &x, false, 5, 8000);
    said(&m, &x, false, 9, 7000);
    measure_staleness(&m, &x, 0, false, &behind, 10);
    said(&m, &x, false, 10, 200);
    return m.worst_ms;
}

static void linked_staleness_leaves_out_a_cut_until_it_is_made_up_for(void **state)
{
    (void)state;
    assert_int_equal(worst_of_a_cut(true), 200);
    assert_int_equal(worst_of_a_cut(false), 9000);
}

/* ---- at the end ---- */

static struct verdict judged_end(const struct script_expectation *x, const struct measure_end *end)
{
    struct measure_worst worst = {.count = 0};
    struct measure m = {.pending = false};
    measure_judge(&worst, &m, x, 0, "lagos", end);
    return worst.verdict;
}

static void bytes_may_be_all_of_their_limit_and_no_more(void **state)
{
    struct script_expectation x = {.kind = SCRIPT_EXPECT_BYTES, .limit_bytes = 1000};
    struct measure_end end = {.bytes_down = 1000, .bytes_up = 1};
    (void)state;
    assert_true(judged_end(&x, &end).held);
    end.bytes_down = 1001;
    assert_false(judged_end(&x, &end).held);
    x.at_least = true;
    assert_true(judged_end(&x, &end).held);
    end.bytes_down = 1000;
    assert_true(judged_end(&x, &end).held);
    end.bytes_down = 999;
    assert_false(judged_end(&x, &end).held);
    x.from = true;
    end.bytes_up = 1234;
    struct verdict v = judged_end(&x, &end);
    assert_true(v.held && v.amount == 1234.0);
}

static void state_is_that_of_an_edge_that_runs(void **state)
{
    struct script_expectation x = {.kind = SCRIPT_EXPECT_STATE};
    struct measure_end end = {.running = true, .state = HF_REPLICA_LIVE};
    (void)state;
    strcpy(x.word, hf_replica_state_name(HF_REPLICA_LIVE));
    assert_true(judged_end(&x, &end).held);
    end.running = false;
    assert_false(judged_end(&x, &end).held);
    end = (struct measure_end){.running = true, .state = HF_REPLICA_CUT_OFF};
    assert_false(judged_end(&x, &end).held);
}

static void reads_hold_when_there_were_some_and_none_failed(void **state)
{
    struct script_expectation x = {.kind = SCRIPT_EXPECT_READS};
    struct measure_end end = {.reads = 1};
    (void)state;
    assert_true(judged_end(&x, &end).held);
    end.reads_failed = 1;
    assert_false(judged_end(&x, &end).held);
    end = (struct measure_end){.reads = 0};
    assert_false(judged_end(&x, &end).held || judged_end(&x, &end).measured);
}

static void edge_that_needed_no_plan_went_by_the_log(void **state)
{
    struct script_expectation x = {.kind = SCRIPT_EXPECT_PLAN, .plan = HF_PLAN_LOG};
    struct measure_end end = {.plan = HF_PLAN_NONE};
    (void)state;
    assert_true(judged_end(&x, &end).held);
    end.plan = HF_PLAN_LOG;
    assert_true(judged_end(&x, &end).held);
    end.plan = HF_PLAN_SNAPSHOT;
    assert_false(judged_end(&x, &end).held);
    x.plan = HF_PLAN_SNAPSHOT;
    assert_true(judged_end(&x, &end).held);
}

static void writes_hold_by_whether_one_was_refused(void **state)
{
    struct script_expectation x = {.kind = SCRIPT_EXPECT_WRITES};
    struct sim_expectation out;
    (void)state;
    measure_writes(&x, 0, 7, &out);
    assert_true(out.held);
    assert_string_equal(out.measured, "0 of 7 refused");
    measure_writes(&x, 1, 7, &out);
    assert_false(out.held);
    strcpy(x.word, "refused");
    measure_writes(&x, 1, 7, &out);
    assert_true(out.held);
    measure_writes(&x, 0, 7, &out);
    assert_false(out.held);
}

/* ---- the edge that decides ---- */

/* The sentence on two edges to which so many bytes were sent. */
static void assert_of_two(const struct script_expectation *x, uint64_t lagos, uint64_t lima,
                          bool held, const char *measured)
{
    struct measure_worst worst = {.count = 0};
    struct measure m = {.pending = false};
    struct measure_end end[2] = {{.bytes_down = lagos}, {.bytes_down = lima}};
    struct sim_expectation out;
    measure_judge(&worst, &m, x, 0, "lagos", &end[0]);
    measure_judge(&worst, &m, x, 0, "lima", &end[1]);
    measure_conclude(&worst, x, &out);
    assert_int_equal(out.held, held);
    assert_string_equal(out.measured, measured);
}

static void worst_edge_decides_and_is_named(void **state)
{
    struct script_expectation x = {.kind = SCRIPT_EXPECT_BYTES, .limit_bytes = 1000};
    (void)state;
    assert_of_two(&x, 10, 20, true, "20 bytes at lima");
    assert_of_two(&x, 20, 10, true, "20 bytes at lagos");
    assert_of_two(&x, 2000, 10, false, "2000 bytes at lagos");
    assert_of_two(&x, 10, 2000, false, "2000 bytes at lima");
    x.at_least = true;
    assert_of_two(&x, 3000, 2000, true, "2000 bytes at lima");
    assert_of_two(&x, 2000, 3000, true, "2000 bytes at lagos");
    assert_of_two(&x, 3000, 10, false, "10 bytes at lima");
}

static void one_that_does_not_hold_is_worse_than_any_amount(void **state)
{
    struct script_expectation x = converged_after(SCRIPT_HEAL);
    struct measure never = {.pending = true, .since_us = 0};
    struct measure slow = {.measured = true, .worst_us = LIMIT_US};
    struct measure_worst worst = {.count = 0};
    struct sim_expectation out;
    (void)state;
    measure_judge(&worst, &slow, &x, 1000000, "lagos", &nothing);
    measure_judge(&worst, &never, &x, 1000000, "lima", &nothing);
    measure_conclude(&worst, &x, &out);
    assert_false(out.held);
    assert_string_equal(out.measured, "1.000 s at lima");
}

static void it_is_enough_that_it_happened_at_one_edge(void **state)
{
    struct script_expectation x = converged_after(SCRIPT_HEAL);
    struct measure idle = {.pending = false};
    struct measure done = {.measured = true, .worst_us = 1000000};
    struct sim_expectation out;
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct measure_worst worst = {.count = 0};
        measure_judge(&worst, first == 0 ? &idle : &done, &x, 0, "lagos", &nothing);
        measure_judge(&worst, first == 0 ? &done : &idle, &x, 0, "lima", &nothing);
        measure_conclude(&worst, &x, &out);
        assert_true(out.held);
        assert_string_equal(out.measured, first == 0 ? "1.000 s at lima" : "1.000 s at lagos");
    }
    struct measure_worst worst = {.count = 0};
    measure_judge(&worst, &idle, &x, 0, "lagos", &nothing);
    measure_conclude(&worst, &x, &out);
    assert_false(out.held);
    assert_string_equal(out.measured, "never happened"); /* and one edge alone is not named */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(result_may_take_the_whole_limit_and_no_longer),
        cmocka_unit_test(slowest_of_several_results_is_what_it_took),
        cmocka_unit_test(result_is_there_with_the_last_batch_that_was_acknowledged),
        cmocka_unit_test(goal_waits_for_what_the_timeline_ordered),
        cmocka_unit_test(result_may_be_a_state),
        cmocka_unit_test(what_never_came_true_does_not_hold),
        cmocka_unit_test(next_action_ends_what_is_pending),
        cmocka_unit_test(each_harm_has_the_action_that_undoes_it),
        cmocka_unit_test(new_harm_ends_what_is_pending_and_traffic_does_not),
        cmocka_unit_test(core_concerns_every_edge_that_it_reaches),
        cmocka_unit_test(staleness_may_be_all_of_its_limit_and_no_more),
        cmocka_unit_test(staleness_that_nobody_knows_says_nothing),
        cmocka_unit_test(staleness_that_nobody_knows_any_more_grows),
        cmocka_unit_test(linked_staleness_counts_again_in_the_end),
        cmocka_unit_test(linked_staleness_leaves_out_a_cut_until_it_is_made_up_for),
        cmocka_unit_test(bytes_may_be_all_of_their_limit_and_no_more),
        cmocka_unit_test(state_is_that_of_an_edge_that_runs),
        cmocka_unit_test(reads_hold_when_there_were_some_and_none_failed),
        cmocka_unit_test(edge_that_needed_no_plan_went_by_the_log),
        cmocka_unit_test(writes_hold_by_whether_one_was_refused),
        cmocka_unit_test(worst_edge_decides_and_is_named),
        cmocka_unit_test(one_that_does_not_hold_is_worse_than_any_amount),
        cmocka_unit_test(it_is_enough_that_it_happened_at_one_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
