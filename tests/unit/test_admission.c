/*
 * test_admission.c - which edges begin when many come back: turns, places, and who loses them.
 */
#include "core/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 600u
#define HEAD 1000u

static int setup(void **state)
{
    *state = hf_admission_new(ROWS);
    return *state == NULL;
}

static int teardown(void **state)
{
    hf_admission_free(*state);
    return 0;
}

static bool ask(struct hf_admission *a, uint32_t row, hf_ms now)
{
    uint32_t wait_ms;
    return hf_admission_ask(a, row, HEAD, now, &wait_ms);
}

static void fill(struct hf_admission *a, hf_ms now)
{
    for (uint32_t i = 0; i < HF_PLACES; i++) {
        assert_true(ask(a, i, now));
    }
}

static void the_first_that_come_begin_and_the_others_are_told_when_to_ask_again(void **state)
{
    struct hf_admission *a = *state;
    uint32_t wait_ms = 0;
    uint32_t placed;
    uint32_t waiting;
    fill(a, 0);
    assert_true(ask(a, 0, 10)); /* who has a place asks as often as it likes */
    for (uint32_t i = HF_PLACES; i < 2 * HF_PLACES; i++) {
        assert_false(hf_admission_ask(a, i, HEAD, 10, &wait_ms));
        assert_int_equal(wait_ms, HF_PLACE_RETRY_MS);
    }
    assert_false(hf_admission_ask(a, 2 * HF_PLACES, HEAD, 10, &wait_ms));
    assert_int_equal(wait_ms, 2 * HF_PLACE_RETRY_MS);
    hf_admission_counts(a, 10, &placed, &waiting);
    assert_int_equal(placed, HF_PLACES);
    assert_int_equal(waiting, HF_PLACES + 1);
    for (uint32_t i = 2 * HF_PLACES + 1; i < ROWS; i++) {
        assert_false(hf_admission_ask(a, i, HEAD, 10, &wait_ms));
    }
    assert_int_equal(wait_ms, 5000); /* however many are before it */
}

static void a_place_that_is_free_is_for_who_waited_longest(void **state)
{
    struct hf_admission *a = *state;
    fill(a, 0);
    assert_false(ask(a, 100, 1));
    assert_false(ask(a, 101, 2));
    hf_admission_leave(a, 7);
    assert_false(ask(a, 102, 3));
    assert_false(ask(a, 101, 4));
    assert_true(ask(a, 100, 5));
    hf_admission_leave(a, 8);
    assert_false(ask(a, 102, 6));
    assert_true(ask(a, 101, 7));
}

static void who_left_waits_like_any_other_when_it_comes_again(void **state)
{
    struct hf_admission *a = *state;
    fill(a, 0);
    assert_false(ask(a, 100, 1));
    hf_admission_leave(a, 7);
    assert_false(ask(a, 7, 2));
    assert_true(ask(a, 100, 3));
    assert_false(ask(a, 7, 4));
}

static void who_has_what_there_was_when_it_began_is_served_on_while_another_begins(void **state)
{
    struct hf_admission *a = *state;
    uint32_t placed;
    uint32_t waiting;
    fill(a, 0);
    hf_admission_has(a, 7, HEAD - 1, 1);
    assert_false(ask(a, 100, 2));
    hf_admission_has(a, 7, HEAD, 3);
    hf_admission_has(a, 100, HEAD, 3); /* who waits has no place to give up */
    assert_true(ask(a, 7, 4));
    assert_true(ask(a, 100, 5));
    assert_false(ask(a, 101, 6));
    hf_admission_counts(a, 6, &placed, &waiting);
    assert_int_equal(placed, HF_PLACES);
    assert_int_equal(waiting, 1);
}

static void who_is_slow_is_served_on_while_another_begins(void **state)
{
    struct hf_admission *a = *state;
    fill(a, 0);
    assert_false(ask(a, 100, HF_PLACE_MS - 1));
    assert_true(ask(a, 100, HF_PLACE_MS));
    for (hf_ms now = HF_PLACE_MS; now < 60000; now += 9000) {
        assert_true(ask(a, 0, now));
    }
    for (hf_ms now = 60000; now < 400000; now += 55000) {
        hf_admission_leave(a, 100);
        for (uint32_t i = 200; i < 200 + HF_PLACES; i++) { /* it would find no place */
            hf_admission_leave(a, i);
            assert_true(ask(a, i, now));
        }
        assert_true(ask(a, 0, now));
    }
}

static void who_was_served_and_is_not_heard_of_for_long_begins_anew(void **state)
{
    struct hf_admission *a = *state;
    hf_ms gone = HF_PLACE_MS + 60000;
    fill(a, 0);
    for (uint32_t i = 0; i < HF_PLACES; i++) {
        assert_true(ask(a, 100 + i, gone - 1));
    }
    assert_false(ask(a, 0, gone));
}

static void who_waits_and_does_not_come_back_holds_up_nobody(void **state)
{
    struct hf_admission *a = *state;
    uint32_t placed;
    uint32_t waiting;
    fill(a, 0);
    for (uint32_t i = 100; i < 100 + HF_PLACES; i++) {
        assert_false(ask(a, i, 0));
    }
    hf_ms later =
        2 * (hf_ms)HF_PLACE_RETRY_MS + 6000; /* places are taken by those who began then */
    for (uint32_t i = 0; i < HF_PLACES; i++) {
        hf_admission_leave(a, i);
    }
    assert_false(ask(a, 300, later - 1)); /* all free, but for those whose turn it is */
    hf_admission_counts(a, later, &placed, &waiting);
    assert_int_equal(placed, 0);
    assert_int_equal(waiting, 1);
    assert_true(ask(a, 300, later));
}

/* Nobody starves: edges whose transfers never end, as over thin links of their own. */
static void the_last_of_many_begins_within_the_bound(void **state)
{
    struct hf_admission *a = *state;
    static hf_ms due[ROWS];
    uint32_t begun = 0;
    hf_ms bound = (hf_ms)(ROWS / HF_PLACES + 1) * HF_PLACE_MS;
    memset(due, 0, sizeof(due));
    hf_ms now = 0;
    for (; begun < ROWS && now <= 2 * bound; now += 10) {
        for (uint32_t i = 0; i < ROWS; i++) {
            uint32_t wait_ms = 1000; /* those that are served ask once a second */
            if (now < due[i]) {
                continue;
            }
            bool in = hf_admission_ask(a, i, HEAD, now, &wait_ms);
            begun += in && due[i] % 2 == 0;
            /* Odd: it has begun. */
            due[i] = in ? (now + 1000) | 1 : (now + wait_ms) & ~1LL;
        }
    }
    assert_int_equal(begun, ROWS);
    assert_in_range(now, bound / 2, bound + bound / 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_first_that_come_begin_and_the_others_are_told_when_to_ask_again),
        TEST(a_place_that_is_free_is_for_who_waited_longest),
        TEST(who_left_waits_like_any_other_when_it_comes_again),
        TEST(who_has_what_there_was_when_it_began_is_served_on_while_another_begins),
        TEST(who_is_slow_is_served_on_while_another_begins),
        TEST(who_was_served_and_is_not_heard_of_for_long_begins_anew),
        TEST(who_waits_and_does_not_come_back_holds_up_nobody),
        TEST(the_last_of_many_begins_within_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
