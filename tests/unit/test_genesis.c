/*
 * test_genesis.c - the founding of an epoch: under the pinned root, complete, or not at all.
 */
#include "hf/seal.h"

#include "hf/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct world {
    struct hf_identity root;
    struct hf_identity other;
    struct hf_genesis g;
    struct hf_genesis got;
    struct hf_hash chain;
    uint8_t bytes[2 * HF_GENESIS_MAX];
    uint8_t body[2 * HF_GENESIS_MAX];
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    uint8_t seed[32] = {1};

    assert_non_null(w);
    assert_int_equal(hf_identity_from_seed(&w->root, seed), HF_OK);
    seed[0] = 2;
    assert_int_equal(hf_identity_from_seed(&w->other, seed), HF_OK);
    memset(w->g.stream.b, 0x51, HF_ID_BYTES);
    memset(w->g.epoch_id.b, 0xe1, HF_ID_BYTES);
    (void)snprintf(w->g.name, sizeof(w->g.name), "main");
    w->g.epoch = 1;
    w->g.root = w->root.public_key;
    w->g.key_list_version = 3;
    w->g.signer_count = 2;
    w->g.signer[0] = (struct hf_signer){1, w->root.public_key, 1, 1, 100};
    w->g.signer[1] = (struct hf_signer){2, w->other.public_key, 1, 101, UINT64_MAX};
    w->g.algorithms = HF_ALGORITHMS_V1;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    hf_identity_free(&w->root);
    hf_identity_free(&w->other);
    free(w);
    return 0;
}

static struct hf_slice sign(struct world *w)
{
    struct hf_writer out;

    hf_writer_init(&out, w->bytes, sizeof(w->bytes));
    assert_int_equal(hf_genesis_sign(&w->g, w->root.secret, &out), HF_OK);
    return hf_writer_bytes(&out);
}

static enum hf_err open_pinned(struct world *w, struct hf_slice bytes)
{
    return hf_genesis_open(bytes, &w->root.public_key, &w->got, &w->chain);
}

/* Signs a body that the encoder would not make. */
static struct hf_slice sign_raw(struct world *w, struct hf_slice body)
{
    struct hf_signature sig;
    struct hf_writer out;

    assert_true(hf_sign("holdfast/v1/genesis", body, w->root.secret, &sig));
    hf_writer_init(&out, w->bytes, sizeof(w->bytes));
    hf_signed_write(&out, body, &sig);
    assert_false(out.failed);
    return hf_writer_bytes(&out);
}

/* A copy of the body of a genesis, to be tampered with and signed again. */
static struct hf_slice body_of(struct world *w, struct hf_slice bytes)
{
    struct hf_signature sig;
    struct hf_slice body;

    assert_int_equal(hf_signed_split(bytes, HF_GENESIS_MAX, &body, &sig), HF_OK);
    memcpy(w->body, body.data, body.len);
    return hf_slice_of(w->body, body.len);
}

static void genesis_comes_back_as_it_was_signed(void **state)
{
    struct world *w = *state;

    assert_int_equal(open_pinned(w, sign(w)), HF_OK);
    assert_memory_equal(&w->got, &w->g, sizeof(w->g));
}

static void genesis_with_a_parent_comes_back(void **state)
{
    struct world *w = *state;

    w->g.has_parent = true;
    w->g.parent.seq = 812;
    memset(w->g.parent.epoch_id.b, 0xe0, HF_ID_BYTES);
    memset(w->g.parent.chain.b, 0xcc, HF_HASH_BYTES);
    memset(w->g.parent.digest.b, 0xdd, HF_HASH_BYTES);
    w->g.digest = w->g.parent.digest;
    assert_int_equal(open_pinned(w, sign(w)), HF_OK);
    assert_memory_equal(&w->got, &w->g, sizeof(w->g));
}

static void chain_of_the_genesis_is_the_prev_of_seq_1(void **state)
{
    struct world *w = *state;
    struct hf_slice bytes = sign(w);
    struct hf_slice body = body_of(w, bytes);
    struct hf_hash expected = hf_hash_of("holdfast/v1/chain", &body, 1);

    assert_int_equal(open_pinned(w, bytes), HF_OK);
    assert_true(hf_hash_eq(&w->chain, &expected));
}

static void largest_genesis_fits_its_limit(void **state)
{
    struct world *w = *state;
    struct hf_slice bytes;

    memset(w->g.name, 'n', HF_NAME_MAX);
    w->g.signer_count = HF_SIGNERS_MAX;
    for (uint32_t i = 0; i < HF_SIGNERS_MAX; i++) {
        w->g.signer[i] = (struct hf_signer){
            UINT32_MAX - HF_SIGNERS_MAX + i, {{7}}, UINT32_MAX, HF_SEQ_MAX, UINT64_MAX};
    }
    w->g.has_parent = true;
    w->g.parent.seq = HF_SEQ_MAX;
    w->g.epoch = HF_SEQ_MAX;
    w->g.key_list_version = UINT32_MAX;
    bytes = sign(w);
    assert_true(bytes.len <= HF_GENESIS_MAX);
    assert_int_equal(open_pinned(w, bytes), HF_OK);
    assert_memory_equal(&w->got, &w->g, sizeof(w->g));
}

static void genesis_under_another_root_is_refused(void **state)
{
    struct world *w = *state;
    static const struct hf_genesis none;
    struct hf_slice bytes = sign(w);

    assert_int_equal(hf_genesis_open(bytes, &w->other.public_key, &w->got, &w->chain), HF_AUTH);
    assert_memory_equal(&w->got, &none, sizeof(none));
}

static void genesis_that_names_another_root_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_slice body;

    w->g.signer_count = 1;
    body = body_of(w, sign(w));
    for (size_t i = 0; i + HF_KEY_BYTES <= body.len; i++) {
        if (memcmp(w->body + i, w->root.public_key.b, HF_KEY_BYTES) == 0) {
            memcpy(w->body + i, w->other.public_key.b, HF_KEY_BYTES);
            break;
        }
    }
    assert_int_equal(open_pinned(w, sign_raw(w, body)), HF_AUTH);
}

static void any_byte_changed_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_slice bytes = sign(w);

    for (size_t i = 0; i < bytes.len; i++) {
        w->bytes[i] ^= 1;
        assert_int_not_equal(open_pinned(w, bytes), HF_OK);
        w->bytes[i] ^= 1;
    }
    for (size_t len = 0; len < bytes.len; len++) {
        assert_int_not_equal(open_pinned(w, hf_slice_of(bytes.data, len)), HF_OK);
    }
    assert_int_equal(open_pinned(w, bytes), HF_OK);
}

static void unknown_trailing_fields_are_kept_under_the_signature(void **state)
{
    struct world *w = *state;
    struct hf_slice body = body_of(w, sign(w));
    struct hf_hash before;
    size_t extra;

    assert_int_equal(open_pinned(w, sign(w)), HF_OK);
    before = w->chain;
    assert_int_equal(w->body[0], 0x9b); /* eleven fields */
    w->body[0] = 0x9d;
    w->body[body.len] = 0x2a;
    w->body[body.len + 1] = 0xc0;
    assert_int_equal(open_pinned(w, sign_raw(w, hf_slice_of(w->body, body.len + 2))), HF_OK);
    assert_memory_equal(&w->got, &w->g, sizeof(w->g));
    assert_false(hf_hash_eq(&w->chain, &before));

    /* Nine of them are more than a later version would add. */
    memmove(w->body + 3, w->body + 1, body.len - 1);
    memcpy(w->body, "\xdc\x00\x14", 3);
    extra = body.len + 2;
    memset(w->body + extra, 0xc0, 9);
    assert_int_equal(open_pinned(w, sign_raw(w, hf_slice_of(w->body, extra + 9))), HF_MALFORMED);
    w->body[2] = 0x13;
    assert_int_equal(open_pinned(w, sign_raw(w, hf_slice_of(w->body, extra + 8))), HF_OK);
}

static void unknown_critical_flag_asks_for_an_upgrade(void **state)
{
    struct world *w = *state;
    struct hf_slice body = body_of(w, sign(w));

    assert_int_equal(w->body[body.len - 1], 0);
    w->body[body.len - 1] = 1;
    assert_int_equal(open_pinned(w, sign_raw(w, body)), HF_UPGRADE);
}

static void other_algorithms_are_another_version(void **state)
{
    struct world *w = *state;
    struct hf_slice body = body_of(w, sign(w));

    assert_int_equal(w->body[body.len - 2], 1);
    w->body[body.len - 2] = 2;
    assert_int_equal(open_pinned(w, sign_raw(w, body)), HF_VERSION);
}

static void name_with_a_nul_inside_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_slice body = body_of(w, sign(w));

    assert_memory_equal(w->body + 1 + 18, "\xc4\x04main", 6);
    w->body[1 + 18 + 4] = '\0';
    assert_int_equal(open_pinned(w, sign_raw(w, body)), HF_MALFORMED);
}

static void what_an_edge_would_refuse_is_not_signed(void **state)
{
    struct world *w = *state;
    struct hf_genesis good = w->g;
    struct hf_writer out;

#define REFUSED(change)                                                                            \
    do {                                                                                           \
        w->g = good;                                                                               \
        change;                                                                                    \
        hf_writer_init(&out, w->bytes, sizeof(w->bytes));                                          \
        assert_int_equal(hf_genesis_sign(&w->g, w->root.secret, &out), HF_ARG);                    \
        assert_int_equal(out.len, 0);                                                              \
    } while (0)
    REFUSED(w->g.name[0] = '\0');
    REFUSED(w->g.name[0] = '-');
    REFUSED(memset(w->g.name, 'n', sizeof(w->g.name)));
    REFUSED(w->g.signer_count = 0);
    REFUSED(w->g.signer_count = HF_SIGNERS_MAX + 1);
    REFUSED(w->g.signer[1].id = 1);
    REFUSED(w->g.signer[0].from = 101);
    REFUSED(w->g.signer[1].from = HF_SEQ_MAX + 1);
    REFUSED(w->g.epoch = HF_SEQ_MAX + 1);
    REFUSED(w->g.algorithms = 2);
    REFUSED(w->g.flags_critical = 1);
    REFUSED(w->g.root = w->other.public_key);
#undef REFUSED
    w->g = good;
    hf_writer_init(&out, w->bytes, 100);
    assert_int_equal(hf_genesis_sign(&w->g, w->root.secret, &out), HF_TOO_BIG);
}

static void duplicate_signer_id_is_refused_on_the_way_in(void **state)
{
    struct world *w = *state;
    struct hf_slice body = body_of(w, sign(w));
    size_t second = 0;

    for (size_t i = 0; i + 4 <= body.len; i++) {
        if (memcmp(w->body + i, "\x95\x02\xc4\x20", 4) == 0) {
            second = i + 1;
        }
    }
    assert_true(second > 0);
    w->body[second] = 1;
    assert_int_equal(open_pinned(w, sign_raw(w, body)), HF_MALFORMED);
}

static void signer_counts_in_its_own_range_and_role_only(void **state)
{
    struct world *w = *state;

    assert_ptr_equal(hf_genesis_signer(&w->g, 1, 1), &w->g.signer[0].key);
    assert_ptr_equal(hf_genesis_signer(&w->g, 1, 100), &w->g.signer[0].key);
    assert_null(hf_genesis_signer(&w->g, 1, 101));
    assert_null(hf_genesis_signer(&w->g, 2, 100));
    assert_ptr_equal(hf_genesis_signer(&w->g, 2, UINT64_MAX), &w->g.signer[1].key);
    assert_null(hf_genesis_signer(&w->g, 3, 1));
    w->g.signer[0].role = 2;
    assert_null(hf_genesis_signer(&w->g, 1, 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(genesis_comes_back_as_it_was_signed),
        TEST(genesis_with_a_parent_comes_back),
        TEST(chain_of_the_genesis_is_the_prev_of_seq_1),
        TEST(largest_genesis_fits_its_limit),
        TEST(genesis_under_another_root_is_refused),
        TEST(genesis_that_names_another_root_is_refused),
        TEST(any_byte_changed_is_refused),
        TEST(unknown_trailing_fields_are_kept_under_the_signature),
        TEST(unknown_critical_flag_asks_for_an_upgrade),
        TEST(other_algorithms_are_another_version),
        TEST(name_with_a_nul_inside_is_refused),
        TEST(what_an_edge_would_refuse_is_not_signed),
        TEST(duplicate_signer_id_is_refused_on_the_way_in),
        TEST(signer_counts_in_its_own_range_and_role_only),
    };

    if (hf_crypto_init() != HF_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
