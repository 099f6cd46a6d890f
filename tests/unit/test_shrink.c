/*
 * test_shrink.c - a failing run gets smaller, and what is left is needed.
 */
#include "sim/shrink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define BIT(f) (UINT64_C(1) << (f))

/* A bug that needs these faults, so many edges and so much time. */
struct bug {
    uint64_t faults;
    uint32_t edges;
    uint64_t ms;
    uint32_t asked;
};

static bool fails(void *ctx, const struct sim_spec *s)
{
    struct bug *b = ctx;
    b->asked++;
    assert_true(s->faults_given);
    return (s->faults & b->faults) == b->faults && s->edges >= b->edges && s->duration_ms >= b->ms;
}

static struct sim_spec everything(void)
{
    struct sim_spec s;
    spec_usual(&s, 7);
    s.faults = FAULTS_ALL;
    s.faults_given = true;
    return s;
}

static void only_the_faults_that_are_needed_stay(void **state)
{
    (void)state;
    struct bug b = {.faults = BIT(FAULT_CUT) | BIT(FAULT_LATE_EDGES), .edges = 3, .ms = 14200};
    struct sim_spec s = everything();
    uint32_t tries = shrink(&s, fails, &b);
    assert_int_equal(tries, b.asked);
    assert_int_equal(s.faults, b.faults);
    assert_int_equal(s.edges, 3);
    assert_in_range(s.duration_ms, 14200, 14300);
    assert_int_equal(s.seed, 7);
}

static void a_bug_that_needs_nothing_becomes_a_quiet_short_run_with_one_edge(void **state)
{
    (void)state;
    struct bug b = {.edges = 1};
    struct sim_spec s = everything();
    shrink(&s, fails, &b);
    assert_int_equal(s.faults, 0);
    assert_int_equal(s.edges, 1);
    assert_in_range(s.duration_ms, 1, 100);
}

static void a_bug_that_needs_everything_stays_as_it_is(void **state)
{
    (void)state;
    struct sim_spec s = everything();
    struct bug b = {.faults = FAULTS_ALL, .edges = s.edges, .ms = s.duration_ms};
    shrink(&s, fails, &b);
    assert_int_equal(s.faults, FAULTS_ALL);
    assert_int_equal(s.edges, 4);
    assert_int_equal(s.duration_ms, 60000);
}

/* The cut was only there because the crash hid what the loss did. */
static bool masked(void *ctx, const struct sim_spec *s)
{
    (void)ctx;
    bool crash = (s->faults & BIT(FAULT_EDGE_CRASH)) != 0;
    bool cut = (s->faults & BIT(FAULT_CUT)) != 0;
    return (s->faults & BIT(FAULT_DROP)) != 0 && (!crash || cut);
}

static void a_fault_is_tried_again_when_another_one_is_gone(void **state)
{
    (void)state;
    struct sim_spec s = everything();
    shrink(&s, masked, NULL);
    assert_int_equal(s.faults, BIT(FAULT_DROP));
}

/* Nothing but the very first run fails. */
static bool never(void *ctx, const struct sim_spec *s)
{
    (void)s;
    ++*(uint32_t *)ctx;
    return false;
}

static void what_does_not_fail_again_is_given_back_unchanged_after_a_bounded_search(void **state)
{
    (void)state;
    uint32_t asked = 0;
    struct sim_spec s = everything();
    s.edges = 200;
    s.duration_ms = 100000000000;
    uint32_t tries = shrink(&s, never, &asked);
    assert_int_equal(tries, asked);
    assert_in_range(tries, 1, SHRINK_TRIES_MAX);
    assert_int_equal(s.faults, FAULTS_ALL);
    assert_int_equal(s.edges, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_faults_that_are_needed_stay),
        cmocka_unit_test(a_bug_that_needs_nothing_becomes_a_quiet_short_run_with_one_edge),
        cmocka_unit_test(a_bug_that_needs_everything_stays_as_it_is),
        cmocka_unit_test(a_fault_is_tried_again_when_another_one_is_gone),
        cmocka_unit_test(what_does_not_fail_again_is_given_back_unchanged_after_a_bounded_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
