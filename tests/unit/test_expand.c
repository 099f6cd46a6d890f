/*
 * test_expand.c - both ways of making lanes against libsodium's stream, and against each other.
 *
 * The portable way is compiled into this test once more under other names, so that a machine with
 * AVX-512 tests it as well. On one without, both are the portable one.
 */
#include "proto/wire/expand.h"

#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#define HAS_WIDE 0
#define hf_expand_add plain_add
#define hf_expand_sub plain_sub
#define hf_expand_save plain_save
#define hf_expand_load plain_load
void plain_add(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES]);
void plain_sub(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES]);
void plain_save(const uint16_t lane[HF_LTHASH_LANES], uint8_t out[2048]);
void plain_load(const uint8_t in[2048], uint16_t lane[HF_LTHASH_LANES]);
#include "proto/wire/expand.c"
#undef hf_expand_add
#undef hf_expand_sub
#undef hf_expand_save
#undef hf_expand_load

static struct hf_hash element(uint32_t i)
{
    struct hf_slice part = hf_slice_of(&i, sizeof(i));
    return hf_hash_of("test", &part, 1);
}

static void one_element_is_the_stream_of_its_hash(void **state)
{
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    (void)state;
    for (uint32_t i = 0; i < 200; i++) {
        uint16_t lane[HF_LTHASH_LANES] = {0};
        uint16_t plain[HF_LTHASH_LANES] = {0};
        uint8_t want[2048], got[2048];
        struct hf_hash e = element(i);
        crypto_stream_chacha20(want, sizeof(want), nonce, e.b);
        hf_expand_add(&e, lane);
        hf_expand_save(lane, got);
        assert_memory_equal(got, want, sizeof(want));
        plain_add(&e, plain);
        plain_save(plain, got);
        assert_memory_equal(got, want, sizeof(want));
    }
}

static void both_ways_sum_and_take_away_alike(void **state)
{
    uint16_t lane[HF_LTHASH_LANES] = {0};
    uint16_t plain[HF_LTHASH_LANES] = {0};
    uint8_t a[2048], b[2048];
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        struct hf_hash e = element(i);
        struct hf_hash gone = element(i / 2);
        hf_expand_add(&e, lane);
        plain_add(&e, plain);
        if (i % 2 == 0) {
            hf_expand_sub(&gone, lane);
            plain_sub(&gone, plain);
        }
    }
    hf_expand_save(lane, a);
    plain_save(plain, b);
    assert_memory_equal(a, b, sizeof(a));
}

static void what_one_way_saved_the_other_loads(void **state)
{
    uint16_t lane[HF_LTHASH_LANES] = {0};
    uint16_t plain[HF_LTHASH_LANES] = {0};
    uint16_t back[HF_LTHASH_LANES];
    uint8_t saved[2048], again[2048];
    struct hf_hash e = element(7);
    (void)state;
    hf_expand_add(&e, lane);
    hf_expand_save(lane, saved);
    plain_load(saved, plain);
    plain_save(plain, again);
    assert_memory_equal(saved, again, sizeof(saved));
    hf_expand_load(again, back);
    assert_memory_equal(back, lane, sizeof(lane));
}

static void unaligned_lanes_are_summed_too(void **state)
{
    uint16_t room[HF_LTHASH_LANES + 1] = {0};
    uint16_t lane[HF_LTHASH_LANES] = {0};
    struct hf_hash e = element(3);
    (void)state;
    hf_expand_add(&e, room + 1);
    hf_expand_add(&e, lane);
    assert_memory_equal(room + 1, lane, sizeof(lane));
}

static int start_crypto(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_element_is_the_stream_of_its_hash),
        cmocka_unit_test(both_ways_sum_and_take_away_alike),
        cmocka_unit_test(what_one_way_saved_the_other_loads),
        cmocka_unit_test(unaligned_lanes_are_summed_too),
    };
    return cmocka_run_group_tests(tests, start_crypto, NULL);
}
