/*
 * test_ranges.c - the bounded set of sequence numbers, by examples and against a plain bit set.
 */
#include "hf/ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { CAP = 8, UNIVERSE = 40 };

struct fixture {
    struct hf_ranges set;
    struct hf_range memory[CAP];
};

/* An empty set of at most cap ranges, in memory of the caller's. */
static struct hf_ranges *set_new(struct fixture *f, size_t cap)
{
    hf_ranges_init(&f->set, f->memory, cap);
    return &f->set;
}

static void assert_range(const struct hf_ranges *s, size_t i, hf_seq first, hf_seq last)
{
    assert_true(i < s->count);
    assert_true(s->at[i].first == first);
    assert_true(s->at[i].last == last);
}

static void empty_set_has_nothing_and_one_gap(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, CAP);
    struct hf_range gap;

    (void)state;
    assert_false(hf_ranges_has(s, 1));
    assert_true(hf_ranges_total(s) == 0);
    assert_true(hf_ranges_last(s) == 0);
    assert_true(hf_ranges_gap(s, 3, 9, &gap));
    assert_true(gap.first == 3 && gap.last == 9);
    assert_false(hf_ranges_gap(s, 9, 3, &gap));
}

static void ranges_that_touch_or_overlap_are_merged(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, CAP);

    (void)state;
    assert_int_equal(hf_ranges_add(s, 5, 6), HF_OK);
    assert_int_equal(hf_ranges_add(s, 7, 8), HF_OK);
    assert_int_equal(s->count, 1);
    assert_int_equal(hf_ranges_add(s, 3, 4), HF_OK);
    assert_int_equal(s->count, 1);
    assert_range(s, 0, 3, 8);
    assert_int_equal(hf_ranges_add(s, 10, 11), HF_OK);
    assert_int_equal(hf_ranges_add(s, 20, 30), HF_OK);
    assert_int_equal(s->count, 3);
    assert_int_equal(hf_ranges_add(s, 4, 22), HF_OK);
    assert_int_equal(s->count, 1);
    assert_range(s, 0, 3, 30);
    assert_int_equal(hf_ranges_add(s, 5, 6), HF_OK);
    assert_range(s, 0, 3, 30);
}

static void number_between_two_ranges_joins_them(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, 2);

    (void)state;
    assert_int_equal(hf_ranges_add(s, 1, 4), HF_OK);
    assert_int_equal(hf_ranges_add(s, 6, 9), HF_OK);
    assert_int_equal(hf_ranges_add(s, 5, 5), HF_OK);
    assert_int_equal(s->count, 1);
    assert_range(s, 0, 1, 9);
}

static void adding_to_a_full_set_fails_and_changes_nothing(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, 2);

    (void)state;
    assert_int_equal(hf_ranges_add(s, 10, 11), HF_OK);
    assert_int_equal(hf_ranges_add(s, 20, 21), HF_OK);
    assert_int_equal(hf_ranges_add(s, 1, 1), HF_FULL);
    assert_int_equal(hf_ranges_add(s, 15, 15), HF_FULL);
    assert_int_equal(hf_ranges_add(s, 30, 30), HF_FULL);
    assert_int_equal(s->count, 2);
    assert_range(s, 0, 10, 11);
    assert_range(s, 1, 20, 21);
    /* What can be merged still goes in. */
    assert_int_equal(hf_ranges_add(s, 12, 12), HF_OK);
    assert_range(s, 0, 10, 12);
}

static void cutting_a_range_in_a_full_set_fails_and_changes_nothing(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, 1);

    (void)state;
    assert_int_equal(hf_ranges_add(s, 10, 20), HF_OK);
    assert_int_equal(hf_ranges_remove(s, 15, 15), HF_FULL);
    assert_range(s, 0, 10, 20);
    assert_int_equal(hf_ranges_remove(s, 15, 25), HF_OK);
    assert_range(s, 0, 10, 14);
    assert_int_equal(hf_ranges_remove(s, 1, 10), HF_OK);
    assert_range(s, 0, 11, 14);
}

static void removing_spans_several_ranges(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, CAP);

    (void)state;
    assert_int_equal(hf_ranges_add(s, 1, 5), HF_OK);
    assert_int_equal(hf_ranges_add(s, 10, 15), HF_OK);
    assert_int_equal(hf_ranges_add(s, 20, 25), HF_OK);
    assert_int_equal(hf_ranges_remove(s, 4, 21), HF_OK);
    assert_int_equal(s->count, 2);
    assert_range(s, 0, 1, 3);
    assert_range(s, 1, 22, 25);
    assert_int_equal(hf_ranges_remove(s, 0, UINT64_MAX), HF_OK);
    assert_int_equal(s->count, 0);
}

static void hole_in_the_middle_is_the_first_gap(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, CAP);
    struct hf_range gap;

    (void)state;
    assert_int_equal(hf_ranges_add(s, 1, 5), HF_OK);
    assert_int_equal(hf_ranges_add(s, 9, 12), HF_OK);
    assert_int_equal(hf_ranges_add(s, 20, 20), HF_OK);
    assert_true(hf_ranges_gap(s, 1, 30, &gap));
    assert_true(gap.first == 6 && gap.last == 8);
    assert_true(hf_ranges_gap(s, 7, 30, &gap));
    assert_true(gap.first == 7 && gap.last == 8);
    assert_true(hf_ranges_gap(s, 9, 30, &gap));
    assert_true(gap.first == 13 && gap.last == 19);
    assert_true(hf_ranges_gap(s, 9, 15, &gap));
    assert_true(gap.first == 13 && gap.last == 15);
    assert_false(hf_ranges_gap(s, 10, 12, &gap));
    assert_true(hf_ranges_gap(s, 20, 30, &gap));
    assert_true(gap.first == 21 && gap.last == 30);
}

static void top_of_the_number_range_does_not_wrap(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, CAP);
    struct hf_range gap;

    (void)state;
    assert_int_equal(hf_ranges_add(s, UINT64_MAX, UINT64_MAX), HF_OK);
    assert_int_equal(hf_ranges_add(s, 1, 2), HF_OK);
    assert_int_equal(hf_ranges_add(s, UINT64_MAX, UINT64_MAX), HF_OK);
    assert_int_equal(s->count, 2);
    assert_true(hf_ranges_last(s) == UINT64_MAX);
    assert_true(hf_ranges_gap(s, 1, UINT64_MAX, &gap));
    assert_true(gap.first == 3 && gap.last == UINT64_MAX - 1);
    assert_false(hf_ranges_gap(s, UINT64_MAX, UINT64_MAX, &gap));
    assert_int_equal(hf_ranges_add(s, 3, UINT64_MAX - 1), HF_OK);
    assert_int_equal(s->count, 1);
    assert_true(hf_ranges_total(s) == UINT64_MAX);
    assert_int_equal(hf_ranges_remove(s, UINT64_MAX, UINT64_MAX), HF_OK);
    assert_true(hf_ranges_last(s) == UINT64_MAX - 1);
}

static void zero_and_reversed_bounds_are_refused(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, CAP);
    struct hf_range gap;

    (void)state;
    assert_int_equal(hf_ranges_add(s, 0, 3), HF_ARG);
    assert_int_equal(hf_ranges_add(s, 4, 3), HF_ARG);
    assert_int_equal(hf_ranges_remove(s, 4, 3), HF_ARG);
    assert_int_equal(s->count, 0);
    assert_true(hf_ranges_gap(s, 0, 3, &gap));
    assert_true(gap.first == 1);
}

static void clear_empties_the_set(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, CAP);

    (void)state;
    assert_int_equal(hf_ranges_add(s, 1, 9), HF_OK);
    hf_ranges_clear(s);
    assert_false(hf_ranges_has(s, 5));
    assert_true(hf_ranges_total(s) == 0);
}

/* ---- against a bit set ---- */

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static size_t runs_of(const bool *in)
{
    size_t runs = 0;

    for (int i = 1; i <= UNIVERSE; i++) {
        runs += in[i] && !in[i - 1];
    }
    return runs;
}

static void assert_same(const struct hf_ranges *s, const bool *in)
{
    uint64_t total = 0;
    hf_seq last = 0;

    assert_int_equal(s->count, runs_of(in));
    for (int i = 1; i <= UNIVERSE; i++) {
        assert_int_equal(hf_ranges_has(s, (hf_seq)i), in[i]);
        total += in[i];
        last = in[i] ? (hf_seq)i : last;
    }
    assert_true(hf_ranges_total(s) == total);
    assert_true(hf_ranges_last(s) == last);
}

static void assert_same_gap(const struct hf_ranges *s, const bool *in, int from, int to)
{
    struct hf_range gap = {0, 0};
    int first = from;
    int last;

    while (first <= to && in[first]) {
        first++;
    }
    for (last = first; last < to && !in[last + 1]; last++) {
    }
    assert_int_equal(hf_ranges_gap(s, (hf_seq)from, (hf_seq)to, &gap), first <= to);
    if (first <= to) {
        assert_int_equal(gap.first, first);
        assert_int_equal(gap.last, last);
    }
}

static void random_calls_agree_with_a_bit_set(void **state)
{
    struct fixture f;
    struct hf_ranges *s = set_new(&f, CAP);
    bool in[UNIVERSE + 2] = {false};
    uint64_t seed = 88172645463325252u;
    size_t refused = 0;

    (void)state;
    for (int step = 0; step < 50000; step++) {
        int first = 1 + (int)(next_random(&seed) % UNIVERSE);
        int last = first + (int)(next_random(&seed) % 6);
        bool adding = next_random(&seed) % 2 == 0;
        bool want[UNIVERSE + 2];
        enum hf_err err;

        last = last > UNIVERSE ? UNIVERSE : last;
        memcpy(want, in, sizeof(in));
        for (int i = first; i <= last; i++) {
            want[i] = adding;
        }
        err = adding ? hf_ranges_add(s, (hf_seq)first, (hf_seq)last)
                     : hf_ranges_remove(s, (hf_seq)first, (hf_seq)last);
        assert_int_equal(err, runs_of(want) > CAP ? HF_FULL : HF_OK);
        refused += err != HF_OK;
        memcpy(in, err == HF_OK ? want : in, sizeof(in));
        assert_same(s, in);
        assert_same_gap(s, in, first, last);
        assert_same_gap(s, in, 1, UNIVERSE);
    }
    /* The bound was really reached. */
    assert_true(refused > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_set_has_nothing_and_one_gap),
        cmocka_unit_test(ranges_that_touch_or_overlap_are_merged),
        cmocka_unit_test(number_between_two_ranges_joins_them),
        cmocka_unit_test(adding_to_a_full_set_fails_and_changes_nothing),
        cmocka_unit_test(cutting_a_range_in_a_full_set_fails_and_changes_nothing),
        cmocka_unit_test(removing_spans_several_ranges),
        cmocka_unit_test(hole_in_the_middle_is_the_first_gap),
        cmocka_unit_test(top_of_the_number_range_does_not_wrap),
        cmocka_unit_test(zero_and_reversed_bounds_are_refused),
        cmocka_unit_test(clear_empties_the_set),
        cmocka_unit_test(random_calls_agree_with_a_bit_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
