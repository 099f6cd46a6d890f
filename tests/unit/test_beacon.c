/*
 * test_beacon.c - beacons, and that a Merkle path proves exactly the leaf it was made for.
 *
 * The golden hashes were computed with Python's hashlib.
 */
#include "hf/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LEAVES = 256 };

struct world {
    struct hf_identity core;
    struct hf_beacon b;
    uint8_t bytes[2 * HF_BEACON_MAX];
    struct hf_hash leaf[LEAVES];
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    const uint8_t seed[32] = {1};

    assert_non_null(w);
    assert_int_equal(hf_identity_from_seed(&w->core, seed), HF_OK);
    w->b.head = 812;
    w->b.log_floor = 400;
    w->b.delta_floor = 20;
    w->b.key_list_version = 2;
    w->b.counter = 99;
    w->b.time_ms = UINT64_C(1700000000000);
    w->b.signer_id = 1;
    memset(w->b.epoch_id.b, 0xe1, HF_ID_BYTES);
    memset(w->b.chain.b, 0xcc, HF_HASH_BYTES);
    memset(w->b.digest.b, 0xdd, HF_HASH_BYTES);
    for (size_t i = 0; i < LEAVES; i++) {
        uint8_t nonce[HF_NONCE_BYTES] = {(uint8_t)i};

        w->leaf[i] = hf_beacon_leaf(nonce);
    }
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    hf_identity_free(&w->core);
    free(w);
    return 0;
}

static struct hf_slice sign(struct world *w)
{
    struct hf_writer out;

    hf_writer_init(&out, w->bytes, sizeof(w->bytes));
    hf_beacon_sign(&w->b, w->core.secret, &out);
    assert_false(out.failed);
    return hf_writer_bytes(&out);
}

static void assert_hash(struct hf_hash h, const char *expected)
{
    char text[2 * HF_HASH_BYTES + 1];

    hf_hex(h.b, sizeof(h.b), text);
    assert_string_equal(text, expected);
}

static void beacon_comes_back_as_it_was_signed(void **state)
{
    struct world *w = *state;
    struct hf_beacon got;
    struct hf_slice bytes = sign(w);

    assert_int_equal(hf_beacon_decode(bytes, &got), HF_OK);
    assert_memory_equal(&got, &w->b, sizeof(got));
    assert_true(hf_beacon_verify(bytes, &w->core.public_key));
    w->b.has_nonce = true;
    w->b.nonce = w->leaf[3];
    bytes = sign(w);
    assert_int_equal(hf_beacon_decode(bytes, &got), HF_OK);
    assert_memory_equal(&got, &w->b, sizeof(got));
    assert_true(hf_beacon_verify(bytes, &w->core.public_key));
}

static void largest_beacon_fits_its_limit(void **state)
{
    struct world *w = *state;
    struct hf_beacon got;
    struct hf_slice bytes;

    w->b.has_nonce = true;
    w->b.head = w->b.delta_floor = HF_SEQ_MAX;
    w->b.log_floor = HF_SEQ_MAX + 1;
    w->b.counter = UINT64_MAX;
    w->b.time_ms = INT64_MAX;
    w->b.key_list_version = w->b.signer_id = UINT32_MAX;
    bytes = sign(w);
    assert_true(bytes.len <= HF_BEACON_MAX);
    assert_int_equal(hf_beacon_decode(bytes, &got), HF_OK);
    assert_memory_equal(&got, &w->b, sizeof(got));
}

static void any_byte_changed_is_noticed(void **state)
{
    struct world *w = *state;
    struct hf_slice bytes = sign(w);
    static const struct hf_beacon none;
    struct hf_beacon got;

    for (size_t i = 0; i < bytes.len; i++) {
        w->bytes[i] ^= 1;
        assert_false(hf_beacon_verify(bytes, &w->core.public_key));
        w->bytes[i] ^= 1;
    }
    for (size_t len = 0; len < bytes.len; len++) {
        assert_int_equal(hf_beacon_decode(hf_slice_of(bytes.data, len), &got), HF_MALFORMED);
        assert_memory_equal(&got, &none, sizeof(got));
    }
}

static void impossible_floors_are_malformed(void **state)
{
    struct world *w = *state;
    struct hf_beacon got;

    w->b.log_floor = w->b.head + 1;
    assert_int_equal(hf_beacon_decode(sign(w), &got), HF_OK);
    w->b.log_floor = w->b.head + 2;
    assert_int_equal(hf_beacon_decode(sign(w), &got), HF_MALFORMED);
    w->b.log_floor = 400;
    w->b.delta_floor = w->b.head + 1;
    assert_int_equal(hf_beacon_decode(sign(w), &got), HF_MALFORMED);
    w->b.delta_floor = 0;
    w->b.head = HF_SEQ_MAX + 1;
    assert_int_equal(hf_beacon_decode(sign(w), &got), HF_MALFORMED);
}

static void unknown_trailing_fields_are_skipped(void **state)
{
    struct world *w = *state;
    struct hf_slice body;
    struct hf_signature sig;
    struct hf_writer out;
    struct hf_beacon got;
    uint8_t longer[HF_BEACON_MAX];
    uint8_t again[HF_BEACON_MAX];

    assert_int_equal(hf_signed_split(sign(w), HF_BEACON_MAX, &body, &sig), HF_OK);
    memcpy(longer, body.data, body.len);
    assert_int_equal(longer[0], 0x9b);
    longer[0] = 0x9c;
    longer[body.len] = 0x2a;
    body = hf_slice_of(longer, body.len + 1);
    assert_true(hf_sign("holdfast/v1/beacon", body, w->core.secret, &sig));
    hf_writer_init(&out, again, sizeof(again));
    hf_signed_write(&out, body, &sig);
    assert_int_equal(hf_beacon_decode(hf_writer_bytes(&out), &got), HF_OK);
    assert_memory_equal(&got, &w->b, sizeof(got));
    assert_true(hf_beacon_verify(hf_writer_bytes(&out), &w->core.public_key));
}

static void leaf_and_node_have_their_golden_values(void **state)
{
    uint8_t nonce[HF_NONCE_BYTES];
    struct hf_hash pair[2];

    (void)state;
    for (uint8_t i = 0; i < HF_NONCE_BYTES; i++) {
        nonce[i] = i;
    }
    assert_hash(hf_beacon_leaf(nonce),
                "22e0362fc827f4885b1e5be21f042a208d6707d2de2d826b2d43ee99a95a56c1");
    memset(pair[0].b, 1, HF_HASH_BYTES);
    memset(pair[1].b, 2, HF_HASH_BYTES);
    assert_hash(hf_merkle_root(pair, 2),
                "12282573c91b69139cc61ce69e3cae98782d5c96cd57f6ab9212e630e3e2ef66");
    assert_memory_equal(hf_merkle_root(pair, 1).b, pair[0].b, HF_HASH_BYTES);
}

static void odd_node_is_promoted_not_doubled(void **state)
{
    struct world *w = *state;
    struct hf_hash doubled[4] = {w->leaf[0], w->leaf[1], w->leaf[2], w->leaf[2]};
    struct hf_hash three = hf_merkle_root(w->leaf, 3);
    struct hf_hash four = hf_merkle_root(doubled, 4);
    struct hf_hash by_hand[2] = {hf_merkle_root(w->leaf, 2), w->leaf[2]};
    struct hf_hash expected = hf_merkle_root(by_hand, 2);

    assert_false(hf_hash_eq(&three, &four));
    assert_true(hf_hash_eq(&three, &expected));
}

static void every_leaf_of_every_tree_folds_to_the_root(void **state)
{
    struct world *w = *state;

    for (size_t count = 1; count <= LEAVES; count += count < 40 ? 1 : 27) {
        struct hf_hash root = hf_merkle_root(w->leaf, count);

        for (size_t i = 0; i < count; i++) {
            struct hf_hash path[HF_PROOF_MAX];
            size_t len = hf_merkle_path(w->leaf, count, i, path);
            struct hf_hash folded = hf_merkle_fold(&w->leaf[i], i, path, len);

            assert_true(len <= HF_PROOF_MAX);
            assert_true(hf_hash_eq(&folded, &root));
        }
    }
}

static void path_does_not_prove_another_leaf_index_or_length(void **state)
{
    struct world *w = *state;
    struct hf_hash root = hf_merkle_root(w->leaf, 13);

    for (size_t i = 0; i < 13; i++) {
        struct hf_hash path[HF_PROOF_MAX] = {{{0}}};
        size_t len = hf_merkle_path(w->leaf, 13, i, path);
        struct hf_hash folded = hf_merkle_fold(&w->leaf[(i + 1) % 13], i, path, len);

        assert_false(hf_hash_eq(&folded, &root));
        folded = hf_merkle_fold(&w->leaf[i], i, path, len - 1);
        assert_false(hf_hash_eq(&folded, &root));
        folded = hf_merkle_fold(&w->leaf[i], i, path, len + 1);
        assert_false(hf_hash_eq(&folded, &root));
        folded = hf_merkle_fold(&w->leaf[i], i ^ 1, path, len);
        assert_false(hf_hash_eq(&folded, &root));
    }
}

static void path_that_fits_no_tree_folds_to_zero(void **state)
{
    struct world *w = *state;
    struct hf_hash path[HF_PROOF_MAX] = {{{0}}};
    const struct hf_hash zero = {{0}};
    struct hf_hash h = hf_merkle_fold(&w->leaf[0], 3, path, 1);

    assert_true(hf_hash_eq(&h, &zero));
    h = hf_merkle_fold(&w->leaf[0], LEAVES, path, HF_PROOF_MAX);
    assert_true(hf_hash_eq(&h, &zero));
    h = hf_merkle_fold(&w->leaf[0], 0, path, HF_PROOF_MAX + 1);
    assert_true(hf_hash_eq(&h, &zero));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(beacon_comes_back_as_it_was_signed),
        TEST(largest_beacon_fits_its_limit),
        TEST(any_byte_changed_is_noticed),
        TEST(impossible_floors_are_malformed),
        TEST(unknown_trailing_fields_are_skipped),
        TEST(leaf_and_node_have_their_golden_values),
        TEST(odd_node_is_promoted_not_doubled),
        TEST(every_leaf_of_every_tree_folds_to_the_root),
        TEST(path_does_not_prove_another_leaf_index_or_length),
        TEST(path_that_fits_no_tree_folds_to_zero),
    };

    if (hf_crypto_init() != HF_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
