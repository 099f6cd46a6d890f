/*
 * test_adder.c - what is added up beside the writer is what the writer would have added up.
 *
 * First the queue alone, in every rhythm of giving and taking; then a store that uses it, through
 * commits and transactions that are given up, against the digest of its records.
 */
#include "proto/store/adder.h"

#include "hf/seal.h"
#include "state_fixture.h"

#include <time.h>

static uint32_t roll(uint32_t *x, uint32_t below)
{
    *x = *x * 1664525 + 1013904223;
    return (*x >> 8) % below;
}

static void eight_of(uint32_t n, struct hf_elements *q)
{
    struct hf_lthash unused;
    char key[16];
    q->count = 0;
    while (!hf_elements_full(q)) {
        snprintf(key, sizeof(key), "key %u %u", n, q->count);
        struct hf_element e = {
            .key = hf_slice_str(key), .value = hf_slice_str("value"), .seq = n, .gone = n % 3 == 0};
        hf_elements_note(q, &unused, &e);
    }
}

/* As one who has no room must. */
static void give(struct hf_adder *a, struct hf_lthash *sum, const struct hf_elements *q)
{
    struct hf_elements own = *q;
    if (!hf_adder_give(a, q)) {
        hf_elements_settle(&own, sum);
    }
}

static void a_moment(uint32_t us)
{
    struct timespec t = {0, us * 1000};
    nanosleep(&t, NULL);
}

static void what_was_given_is_in_the_sum_once_it_is_taken(void **state)
{
    struct hf_adder *a = hf_adder_new();
    struct hf_lthash got, want;
    struct hf_elements q;
    uint32_t x = 7;
    (void)state;
    assert_non_null(a);
    hf_lthash_clear(&got);
    hf_lthash_clear(&want);
    hf_adder_take(a, &got);
    hf_adder_drop(a);
    for (uint32_t n = 0, batch = 0; batch < 400; batch++) {
        for (uint32_t i = roll(&x, 80); i > 0; i--) { /* more than there is room for */
            eight_of(++n, &q);
            give(a, &got, &q);
            hf_elements_settle(&q, &want);
            if (roll(&x, 30) == 0) {
                a_moment(roll(&x, 100));
            }
        }
        hf_adder_take(a, &got);
        assert_memory_equal(&got, &want, sizeof(got));
    }
    hf_adder_free(a);
}

static void what_was_dropped_is_in_no_sum(void **state)
{
    struct hf_adder *a = hf_adder_new();
    struct hf_lthash got, want;
    struct hf_elements q;
    uint32_t x = 7;
    (void)state;
    hf_lthash_clear(&want);
    for (uint32_t n = 0; n < 400; n++) {
        struct hf_lthash lost;
        hf_lthash_clear(&got);
        for (uint32_t i = roll(&x, 30); i > 0; i--) {
            eight_of(n, &q);
            give(a, &lost, &q);
        }
        if (roll(&x, 3) == 0) {
            a_moment(roll(&x, 100));
        }
        hf_adder_drop(a);
        hf_adder_take(a, &got);
        assert_memory_equal(&got, &want, sizeof(got));
    }
    eight_of(1, &q);
    assert_true(hf_adder_give(a, &q)); /* and is freed with something in it */
    hf_adder_free(a);
}

/* ---- a store ---- */

/* One of four transactions is given up, at any point of a batch. */
static void a_store_that_adds_beside_has_the_digest_of_its_records(void **state)
{
    char *dir = scratch_new();
    struct hf_state_config c = {.dir = dir, .map_bytes = 64u << 20, .adds_beside = true};
    struct hf_state *s = open_as(&c);
    char key[200][32], value[16];
    uint32_t x = 7;
    (void)state;
    begin_history(s);
    for (uint32_t batch = 0; batch < 200; batch++) {
        struct hf_change change[200];
        uint32_t count = 1 + roll(&x, 200);
        uint32_t first = roll(&x, 500);
        bool changed;
        snprintf(value, sizeof(value), "value %u", batch);
        for (uint32_t i = 0; i < count; i++) {
            struct hf_slice k = key_of(key[i], first + 7 * i);
            bool del = roll(&x, 4) == 0;
            change[i] = (struct hf_change){del ? HF_OP_DEL : HF_OP_PUT, k,
                                           del ? hf_slice_of(NULL, 0) : hf_slice_str(value)};
        }
        if (roll(&x, 4) == 0) {
            for (uint32_t i = 0; i < count; i++) {
                hf_seq next = hf_state_position(s).seq + 1;
                assert_ok(hf_state_upsert(s, next, i, &change[i], &changed));
            }
            hf_state_abort(s);
        } else {
            write_batch(s, change, count);
            assert_ok(hf_state_commit(s));
            assert_verified(s);
        }
    }
    assert_true(hf_state_position(s).seq > 100);
    write_one(s, "key", "and is closed with something open");
    hf_state_close(s);
    scratch_remove(dir);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_given_is_in_the_sum_once_it_is_taken),
        cmocka_unit_test(what_was_dropped_is_in_no_sum),
        cmocka_unit_test(a_store_that_adds_beside_has_the_digest_of_its_records),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
