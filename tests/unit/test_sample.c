/*
 * test_sample.c - the estimates behind PLAN: within a tenth of the truth, whatever keys, sizes and
 * batches are like.
 *
 * The truth is a scan that encodes each record. Sizes and keys come from a seeded generator, so a
 * test that passes always does; the spread of sizes is that of the worst store that we promise
 * anything about (a standard deviation of four times the mean).
 */
#include "state_fixture.h"

#include <math.h>

/* ---- histories ---- */

static uint8_t zeros[HF_STORE_VALUE_MAX];

enum sizes { SIZES_EQUAL, SIZES_MIXED, SIZES_SKEWED, SIZES_COUNT };
enum keys { KEYS_ONCE, KEYS_EVEN, KEYS_HOT, KEYS_COUNT };

static double unit(uint64_t *seed)
{
    return ((double)(rng_next(seed) >> 11) + 0.5) / 9007199254740992.0;
}

static uint32_t size_of(uint64_t *seed, enum sizes how)
{
    switch (how) {
    case SIZES_EQUAL:
        return 100;
    case SIZES_MIXED: /* one of twenty takes pages of its own, and most of the bytes */
        return rng_below(seed, 20) == 0 ? 10000 : 100;
    case SIZES_SKEWED: /* log-normal, deviation 3 times the mean */
        return (uint32_t)(200 *
                          exp(1.5 * sqrt(-2 * log(unit(seed))) * cos(6.2831853 * unit(seed)))) %
               200000;
    case SIZES_COUNT:
        break;
    }
    return 0;
}

static uint32_t key_number(uint64_t *seed, enum keys how, uint32_t n)
{
    switch (how) {
    case KEYS_ONCE:
        return n;
    case KEYS_EVEN:
        return rng_below(seed, 20000);
    case KEYS_HOT: /* the k-th is written about 1/k times as often as the first */
        return (uint32_t)pow(20000, unit(seed));
    case KEYS_COUNT:
        break;
    }
    return 0;
}

static void write_change(struct hf_state *s, uint32_t ordinal, uint32_t key, uint32_t size)
{
    char name[32];
    bool gone = size % 13 == 12;
    struct hf_change c = {gone ? HF_OP_DEL : HF_OP_PUT, key_of(name, key),
                          hf_slice_of(zeros, gone ? 0 : size)};
    assert_ok(hf_state_apply(s, hf_state_position(s).seq + 1, ordinal, &c));
}

/* Batches of one change to 3,000: the lengths are as skewed as the rest. */
static void write_history(struct hf_state *s, enum sizes sizes, enum keys keys, uint32_t changes)
{
    uint64_t seed = 7;
    for (uint32_t n = 0; n < changes;) {
        uint32_t length = rng_below(&seed, 200) == 0 ? 3000 : 1 + rng_below(&seed, 20);
        for (uint32_t i = 0; i < length && keys != KEYS_COUNT; i++) {
            uint32_t key = key_number(&seed, keys, n + i);
            bool twice = false; /* a batch has a key once */
            struct hf_stored r;
            char name[32];
            if (hf_state_get(s, key_of(name, key), true, &r) == HF_OK) {
                twice = r.seq == hf_state_position(s).seq + 1;
            }
            if (!twice) {
                write_change(s, i, key, size_of(&seed, sizes));
            }
        }
        n += length;
        advance(s);
    }
    assert_ok(hf_state_commit(s));
}

/* ---- the truth ---- */

static uint64_t weight_of(const struct hf_stored *r)
{
    return hf_record_weight(r->key.len, r->value.len);
}

static uint64_t exact_changes(struct hf_view *v, hf_seq lo)
{
    struct hf_stored r = {.seq = lo, .ordinal = UINT32_MAX};
    uint64_t sum = 0;
    while (hf_view_next_change(v, r.seq, r.ordinal, &r) == HF_OK) {
        sum += weight_of(&r);
    }
    return sum;
}

static uint64_t exact_keys(struct hf_view *v, struct hf_slice after, struct hf_slice until)
{
    struct hf_stored r = {.key = after};
    uint64_t sum = 0;
    while (next_live(v, r.key, &r) == HF_OK &&
           (until.len == 0 || hf_slice_cmp(r.key, until) <= 0)) {
        sum += weight_of(&r);
    }
    return sum;
}

static void assert_near(double guess, uint64_t exact, const char *what, int a, int b)
{
    double off = exact == 0 ? guess : guess / (double)exact - 1;
    if (off > 0.1 || off < -0.1) {
        fail_msg("%s (sizes %d, keys %d): %.0f for %llu, off by %.1f%%", what, a, b, guess,
                 (unsigned long long)exact, 100 * off);
    }
}

/* ---- tests ---- */

static struct hf_sample sample;

/* Every distribution, and a DELTA from near, far and the beginning. */
static void estimate_is_within_a_tenth_whatever_is_in_the_store(void **state)
{
    (void)state;
    for (int i = 0; i < SIZES_COUNT * KEYS_COUNT; i++) {
        struct store *b;
        struct hf_view *v;
        int sizes = i / KEYS_COUNT;
        int keys = i % KEYS_COUNT;
        store_setup((void **)&b);
        write_history(b->s, (enum sizes)sizes, (enum keys)keys, 40000);
        assert_ok(hf_view_open(b->s, &v));
        hf_seq head = hf_state_position(b->s).seq;
        hf_seq from[] = {0, 1, head / 4, head / 2, head - head / 8, head - 40, head - 1, head};
        for (size_t f = 0; f < sizeof(from) / sizeof(from[0]); f++) {
            assert_ok(hf_view_sample_changes(v, from[f], &sample));
            assert_near(sample.bytes, exact_changes(v, from[f]), "delta", sizes, keys);
        }
        struct hf_slice none = {NULL, 0};
        assert_ok(hf_view_sample_keys(v, &sample));
        assert_near(sample.bytes, exact_keys(v, none, none), "snapshot", sizes, keys);
        hf_view_close(v);
        store_teardown((void **)&b);
    }
}

static void few_records_are_counted_to_the_byte(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    for (uint32_t i = 0; i < HF_SAMPLE_POINTS / 2; i++) {
        write_change(b->s, i, i, i % 97);
    }
    advance(b->s);
    write_change(b->s, 0, 1, HF_STORE_VALUE_MAX - 5);
    advance(b->s);
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    struct hf_slice none = {NULL, 0};
    assert_ok(hf_view_sample_changes(v, 0, &sample));
    assert_int_equal((uint64_t)sample.bytes, exact_changes(v, 0));
    assert_int_equal(sample.count, HF_SAMPLE_POINTS / 2);
    assert_ok(hf_view_sample_changes(v, 1, &sample));
    assert_int_equal((uint64_t)sample.bytes, exact_changes(v, 1));
    assert_int_equal(sample.count, 1);
    assert_ok(hf_view_sample_changes(v, 2, &sample));
    assert_int_equal(sample.count, 0);
    assert_near(sample.bytes, 0, "nothing", 0, 0);
    assert_ok(hf_view_sample_keys(v, &sample));
    assert_near(sample.bytes, exact_keys(v, none, none), "few keys", 0, 0);
    hf_view_close(v);
}

static void empty_store_costs_nothing(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    assert_ok(hf_view_open(b->s, &v));
    assert_ok(hf_view_sample_changes(v, 0, &sample));
    assert_true(sample.count == 0 && sample.bytes < 1);
    assert_ok(hf_view_sample_keys(v, &sample));
    assert_true(sample.count == 0 && sample.bytes < 1);
    hf_view_close(v);
}

/* One batch of 5,000 among batches of one, and half of it overwritten since. */
static void one_huge_batch_among_small_ones_is_seen_as_large_as_it_is(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    for (uint32_t i = 0; i < 5000; i++) {
        write_change(b->s, i, i, 100);
    }
    advance(b->s);
    for (uint32_t i = 0; i < 2500; i++) {
        write_change(b->s, 0, 2 * i, 100);
        advance(b->s);
    }
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    hf_seq from[] = {0, 1, 100, 2000};
    for (size_t i = 0; i < 4; i++) {
        assert_ok(hf_view_sample_changes(v, from[i], &sample));
        assert_near(sample.bytes, exact_changes(v, from[i]), "huge batch", 0, (int)from[i]);
    }
    hf_view_close(v);
}

/* Places are in order, and what lies up to each of them is what the points before it stand for. */
static void points_cut_the_keys_where_they_say(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    double sum = 0;
    struct hf_slice none = {NULL, 0};
    write_history(b->s, SIZES_MIXED, KEYS_EVEN, 40000);
    assert_ok(hf_view_open(b->s, &v));
    assert_ok(hf_view_sample_keys(v, &sample));
    double whole = sample.bytes;
    for (uint32_t i = 0; i < sample.count; i++) {
        sum += sample.point[i].bytes;
        assert_true(i == 0 || hf_slice_cmp(sample.point[i - 1].key, sample.point[i].key) <= 0);
        if (i % (sample.count / 8) == sample.count / 16) {
            double exact = (double)exact_keys(v, none, sample.point[i].key);
            assert_true(fabs(sum - exact) < 0.05 * whole);
        }
    }
    hf_view_close(v);
}

#define IN_STORE(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(estimate_is_within_a_tenth_whatever_is_in_the_store),
        IN_STORE(few_records_are_counted_to_the_byte),
        IN_STORE(empty_store_costs_nothing),
        IN_STORE(one_huge_batch_among_small_ones_is_seen_as_large_as_it_is),
        IN_STORE(points_cut_the_keys_where_they_say),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
