/*
 * test_workload.c - what the clients of a scenario write: the same for the same seed, and as the
 * script asks.
 */
#include "sim/workload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { SAMPLE = 20000 };

static struct script_load load_of(uint32_t keys)
{
    return (struct script_load){.write_every_us = 1000000,
                                .steady = true,
                                .keys = keys,
                                .changes_max = 4,
                                .deletes = 0.15,
                                .value_max = 90000};
}

static void same_seed_writes_the_same_and_another_one_does_not(void **state)
{
    struct script_load load = load_of(1000);
    struct workload a;
    struct workload b;
    struct workload other;
    unsigned differ = 0;
    (void)state;
    assert_int_equal(workload_init(&a, &load, 7), HF_OK);
    assert_int_equal(workload_init(&b, &load, 7), HF_OK);
    assert_int_equal(workload_init(&other, &load, 8), HF_OK);
    for (int i = 0; i < 100; i++) {
        struct workload_change x[SCRIPT_CHANGES_MAX];
        struct workload_change y[SCRIPT_CHANGES_MAX];
        struct workload_change z[SCRIPT_CHANGES_MAX];
        uint32_t n = workload_write(&a, x);
        assert_int_equal(n, workload_write(&b, y));
        for (uint32_t c = 0; c < n; c++) {
            assert_true(x[c].key == y[c].key && x[c].value == y[c].value);
        }
        assert_true(workload_wait(&a) == workload_wait(&b));
        differ += workload_write(&other, z) != n || z[0].key != x[0].key;
    }
    assert_true(differ > 90);
}

static void write_changes_each_key_once_and_deletes_as_many_as_asked(void **state)
{
    struct script_load load = load_of(5);
    struct workload w;
    uint32_t changes = 0;
    uint32_t deletes = 0;
    uint64_t last = 0;
    (void)state;
    assert_int_equal(workload_init(&w, &load, 1), HF_OK);
    for (int i = 0; i < SAMPLE; i++) {
        struct workload_change c[SCRIPT_CHANGES_MAX];
        uint32_t seen = 0;
        uint32_t n = workload_write(&w, c);
        assert_in_range(n, 1, 4);
        for (uint32_t k = 0; k < n; k++) {
            assert_true(c[k].key < 5 && (seen >> c[k].key & 1) == 0);
            seen |= 1u << c[k].key;
            deletes += c[k].value == 0;
            assert_true(c[k].value == 0 || c[k].value == ++last);
        }
        changes += n;
    }
    assert_in_range(changes, 2.4 * SAMPLE, 2.6 * SAMPLE);
    assert_in_range(deletes, 0.14 * changes, 0.16 * changes);
}

static void skewed_keys_are_as_popular_as_zipf_says(void **state)
{
    struct script_load load = load_of(1000);
    struct workload w;
    uint32_t count[1000] = {0};
    (void)state;
    load.zipf = 1;
    load.changes_max = 1;
    assert_int_equal(workload_init(&w, &load, 1), HF_OK);
    for (int i = 0; i < SAMPLE; i++) {
        struct workload_change c[SCRIPT_CHANGES_MAX];
        (void)workload_write(&w, c);
        count[c[0].key]++;
    }
    /* The harmonic number of 1,000 is 7.485. */
    assert_in_range(count[0], SAMPLE / 7.485 * 0.93, SAMPLE / 7.485 * 1.07);
    assert_in_range(count[1], count[0] / 2.0 * 0.9, count[0] / 2.0 * 1.1);
    workload_deinit(&w);
}

static void popular_keys_end_a_write_that_wants_more_of_them(void **state)
{
    struct script_load load = load_of(64);
    struct workload_change c[SCRIPT_CHANGES_MAX];
    struct workload w;
    (void)state;
    load.zipf = 4;
    load.changes_max = 64;
    assert_int_equal(workload_init(&w, &load, 1), HF_OK);
    for (int i = 0; i < 100; i++) {
        assert_in_range(workload_write(&w, c), 1, 64);
    }
    workload_deinit(&w);
}

static void turns_come_at_the_mean_rate(void **state)
{
    struct script_load load = load_of(10);
    struct workload w;
    uint64_t sum = 0;
    uint32_t tens = 0;
    (void)state;
    assert_int_equal(workload_init(&w, &load, 1), HF_OK);
    for (int i = 0; i < SAMPLE; i++) {
        assert_int_equal(workload_turn(&w), 1);
        sum += workload_wait(&w);
    }
    assert_in_range(sum / SAMPLE, 970000, 1030000);
    load.steady = false;
    for (int i = 0; i < SAMPLE; i++) {
        tens += workload_turn(&w) == 10;
    }
    assert_in_range(tens, 0.04 * SAMPLE, 0.06 * SAMPLE);
}

static void idle_time_is_the_last_part_of_its_period(void **state)
{
    struct script_load load = load_of(10);
    (void)state;
    assert_true(workload_idle_until(&load, 5) == 0);
    load.idle_us = 30;
    load.idle_every_us = 100;
    assert_true(workload_idle_until(&load, 0) == 0);
    assert_true(workload_idle_until(&load, 69) == 0);
    assert_true(workload_idle_until(&load, 70) == 100);
    assert_true(workload_idle_until(&load, 199) == 200);
    assert_true(workload_idle_until(&load, 200) == 0);
}

static void values_have_the_sizes_that_were_asked_and_tell_their_number(void **state)
{
    struct script_load load = load_of(10);
    uint8_t bytes[2000];
    uint64_t number;
    uint32_t large = 0;
    (void)state;
    for (uint64_t v = 1; v <= SAMPLE; v++) {
        size_t len = workload_value_len(&load, v);
        assert_in_range(len, 8, 90008);
        large += len > 208;
    }
    assert_in_range(large, SAMPLE / 64.0 * 0.8, SAMPLE / 64.0 * 1.2);
    load.value_min = 100;
    load.value_max = 2000;
    size_t least = 2000;
    size_t most = 0;
    for (uint64_t v = 1; v <= SAMPLE; v++) {
        size_t len = workload_value_len(&load, v);
        least = len < least ? len : least;
        most = len > most ? len : most;
        workload_value_fill(v, bytes, len);
        memcpy(&number, bytes, sizeof(number));
        assert_true(number == v);
    }
    assert_int_equal(least, 100);
    assert_int_equal(most, 2000);
}

static void value_is_known_by_all_of_its_bytes(void **state)
{
    uint8_t bytes[100];
    (void)state;
    for (uint64_t v = 1; v <= 8; v++) {
        for (size_t len = 8; len <= sizeof(bytes); len++) {
            workload_value_fill(v, bytes, len);
            assert_true(workload_value_ok(hf_slice_of(bytes, len), v));
            assert_false(workload_value_ok(hf_slice_of(bytes, len), v + 4));
            bytes[len - 1] ^= 1;
            assert_false(workload_value_ok(hf_slice_of(bytes, len), v));
        }
        assert_false(workload_value_ok(hf_slice_of(bytes, 7), v));
    }
}

static void write_stays_below_what_the_core_takes_at_once(void **state)
{
    struct script_load load = load_of(1000);
    struct workload_change c[SCRIPT_CHANGES_MAX];
    struct workload w;
    (void)state;
    load.changes_max = 64;
    load.value_max = SCRIPT_VALUE_MAX;
    assert_int_equal(workload_init(&w, &load, 1), HF_OK);
    for (int i = 0; i < 1000; i++) {
        assert_in_range(workload_write(&w, c), 1, 3);
    }
    assert_int_equal(workload_release_keys(&load), 3);
    load.value_max = 100;
    assert_int_equal(workload_release_keys(&load), SCRIPT_CHANGES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_writes_the_same_and_another_one_does_not),
        cmocka_unit_test(write_changes_each_key_once_and_deletes_as_many_as_asked),
        cmocka_unit_test(skewed_keys_are_as_popular_as_zipf_says),
        cmocka_unit_test(popular_keys_end_a_write_that_wants_more_of_them),
        cmocka_unit_test(turns_come_at_the_mean_rate),
        cmocka_unit_test(idle_time_is_the_last_part_of_its_period),
        cmocka_unit_test(values_have_the_sizes_that_were_asked_and_tell_their_number),
        cmocka_unit_test(value_is_known_by_all_of_its_bytes),
        cmocka_unit_test(write_stays_below_what_the_core_takes_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
