/*
 * test_digest.c - the state digest: golden vectors, and the algebra that repair relies on.
 *
 * The golden vectors were computed by a second implementation (BLAKE2b of another library and a
 * ChaCha20 written from its paper). If one of them changes, every store and every peer in the field
 * disagrees: that is a new wire format, never a test to be brought up to date.
 */
#include "hf/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <sodium.h>

static struct hf_hash element(const char *key, hf_seq seq, const char *value)
{
    return hf_element_hash(hf_slice_str(key), seq, hf_slice_str(value));
}

static void assert_hex(struct hf_hash hash, const char *want)
{
    char hex[2 * HF_HASH_BYTES + 1];

    sodium_bin2hex(hex, sizeof(hex), hash.b, sizeof(hash.b));
    assert_string_equal(hex, want);
}

static void state_digests_match_the_golden_vectors(void **state)
{
    struct hf_hash a = element("a", 1, "1");
    struct hf_hash b = element("b", 2, "22");
    struct hf_lthash h;

    (void)state;
    hf_lthash_clear(&h);
    assert_hex(hf_lthash_digest(&h),
               "15eff6371b4ac703a6dac0854e64b23afd3597265ad92d1d21af031f7aee415d");
    hf_lthash_add(&h, &a);
    assert_hex(hf_lthash_digest(&h),
               "77cc865a944f929f51538f250cd6fbf2869cb36f2872ac687f949eaf1b330b17");
    hf_lthash_add(&h, &b);
    assert_hex(hf_lthash_digest(&h),
               "03460c957f4cffa0cd52a93ad005df63a99757f1c29e34088eee1a6e73508efb");
    /* seq 3 deletes a. */
    hf_lthash_sub(&h, &a);
    assert_hex(hf_lthash_digest(&h),
               "c22c03848e41b17c2bca3bb1a1d37ffff8b19e3700183f480633e837e7264982");
}

static void element_hash_and_first_lanes_match_the_golden_vectors(void **state)
{
    static const uint8_t lanes[16] = {0x70, 0xe9, 0xb8, 0x01, 0x46, 0x9f, 0x33, 0xdc,
                                      0x91, 0xc6, 0x1d, 0x70, 0x73, 0x46, 0xa1, 0x99};
    struct hf_hash a = element("a", 1, "1");
    uint8_t saved[2048];
    struct hf_lthash h;

    (void)state;
    assert_hex(a, "f622a8b5a9e7902c3df9979c773b6a13f5ee5d61a39ca09d91155565f2309429");
    hf_lthash_clear(&h);
    hf_lthash_add(&h, &a);
    hf_lthash_save(&h, saved);
    assert_memory_equal(saved, lanes, sizeof(lanes));
}

static void hash_covers_the_domain_and_all_parts_in_order(void **state)
{
    struct hf_slice whole = hf_slice_of("\x91\x01", 2);
    struct hf_slice parts[] = {hf_slice_of("\x91", 1), hf_slice_of(NULL, 0),
                               hf_slice_of("\x01", 1)};
    struct hf_slice turned[] = {parts[2], parts[0]};
    struct hf_hash of_whole = hf_hash_of("holdfast/v1/chain", &whole, 1);
    struct hf_hash of_parts = hf_hash_of("holdfast/v1/chain", parts, 3);
    struct hf_hash of_turned = hf_hash_of("holdfast/v1/chain", turned, 2);
    struct hf_hash of_other = hf_hash_of("holdfast/v1/chaim", &whole, 1);

    (void)state;
    assert_hex(of_whole, "dc6dec1044202aee563aa8535f9c70e47659f6f81ca936991b7d0cd61c5565fc");
    assert_true(hf_hash_eq(&of_whole, &of_parts));
    assert_false(hf_hash_eq(&of_whole, &of_turned));
    assert_false(hf_hash_eq(&of_whole, &of_other));
}

static void key_seq_and_value_each_change_the_element(void **state)
{
    struct hf_hash base = element("ab", 1, "c");
    struct hf_hash others[] = {element("a", 1, "bc"), element("ab", 2, "c"), element("ab", 1, "d"),
                               element("abc", 1, ""), element("ab", (UINT64_C(1) << 32) + 1, "c")};

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(hf_hash_eq(&base, &others[i]));
    }
}

static void longest_key_and_a_value_with_zeroes_are_hashed_whole(void **state)
{
    uint8_t key[HF_STORE_KEY_MAX] = {0};
    uint8_t value[3000] = {0};
    struct hf_hash one, two, three;

    (void)state;
    one = hf_element_hash(hf_slice_of(key, sizeof(key)), 1, hf_slice_of(value, sizeof(value)));
    key[sizeof(key) - 1] = 1;
    two = hf_element_hash(hf_slice_of(key, sizeof(key)), 1, hf_slice_of(value, sizeof(value)));
    value[sizeof(value) - 1] = 1;
    three = hf_element_hash(hf_slice_of(key, sizeof(key)), 1, hf_slice_of(value, sizeof(value)));
    assert_false(hf_hash_eq(&one, &two));
    assert_false(hf_hash_eq(&two, &three));
}

static void order_of_changes_does_not_matter(void **state)
{
    struct hf_hash e[20];
    struct hf_lthash up, down;

    (void)state;
    hf_lthash_clear(&up);
    hf_lthash_clear(&down);
    for (size_t i = 0; i < 20; i++) {
        char key[8];

        (void)snprintf(key, sizeof(key), "k%zu", i);
        e[i] = element(key, i + 1, "v");
        hf_lthash_add(&up, &e[i]);
    }
    for (size_t i = 20; i > 0; i--) {
        hf_lthash_add(&down, &e[i - 1]);
    }
    assert_memory_equal(&up, &down, sizeof(up));
}

static void removing_everything_gives_the_empty_state(void **state)
{
    struct hf_hash a = element("a", 1, "1");
    struct hf_hash b = element("b", 2, "2");
    struct hf_lthash h, empty;

    (void)state;
    hf_lthash_clear(&h);
    hf_lthash_clear(&empty);
    /* Lanes wrap: b leaves before it has come. */
    hf_lthash_sub(&h, &b);
    hf_lthash_add(&h, &a);
    assert_memory_not_equal(&h, &empty, sizeof(h));
    hf_lthash_add(&h, &b);
    hf_lthash_sub(&h, &a);
    assert_memory_equal(&h, &empty, sizeof(h));
}

static void merge_joins_the_digests_of_disjoint_sets(void **state)
{
    struct hf_hash a = element("a", 1, "1");
    struct hf_hash b = element("b", 2, "2");
    struct hf_lthash left, right, both;

    (void)state;
    hf_lthash_clear(&left);
    hf_lthash_clear(&right);
    hf_lthash_clear(&both);
    hf_lthash_add(&left, &a);
    hf_lthash_add(&right, &b);
    hf_lthash_add(&both, &a);
    hf_lthash_add(&both, &b);
    hf_lthash_merge(&left, &right);
    assert_memory_equal(&left, &both, sizeof(both));
}

static void saved_lanes_load_again(void **state)
{
    struct hf_lthash h, loaded;
    uint8_t saved[2048], again[2048];

    (void)state;
    for (size_t i = 0; i < sizeof(saved); i++) {
        saved[i] = (uint8_t)(i * 7 + i / 256);
    }
    hf_lthash_load(&h, saved);
    hf_lthash_save(&h, again);
    assert_memory_equal(saved, again, sizeof(saved));
    hf_lthash_load(&loaded, again);
    assert_memory_equal(&h, &loaded, sizeof(h));
}

static int start_crypto(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_digests_match_the_golden_vectors),
        cmocka_unit_test(element_hash_and_first_lanes_match_the_golden_vectors),
        cmocka_unit_test(hash_covers_the_domain_and_all_parts_in_order),
        cmocka_unit_test(key_seq_and_value_each_change_the_element),
        cmocka_unit_test(longest_key_and_a_value_with_zeroes_are_hashed_whole),
        cmocka_unit_test(order_of_changes_does_not_matter),
        cmocka_unit_test(removing_everything_gives_the_empty_state),
        cmocka_unit_test(merge_joins_the_digests_of_disjoint_sets),
        cmocka_unit_test(saved_lanes_load_again),
    };

    return cmocka_run_group_tests(tests, start_crypto, NULL);
}
