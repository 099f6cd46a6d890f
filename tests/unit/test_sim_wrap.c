/*
 * test_sim_wrap.c - what holdfast-sim remembers of hashes and bodies is what the real functions
 * say: to the byte, for nothing but the same bytes, and never that something damaged is good.
 *
 * Linked as holdfast-sim is, so that each call here meets the memory.
 */
#include "hf/batch.h"
#include "hf/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>
#include <zstd.h>

/* The linker's names of the real ones. */
__typeof__(hf_element_hash) __real_hf_element_hash;
__typeof__(hf_lthash_digest) __real_hf_lthash_digest;

enum { ROOM = 8192 };

struct sealed {
    struct hf_header h;
    struct hf_key key;
    uint8_t bytes[ROOM];
    struct hf_frame frame;
};

static void seal(struct sealed *s, const char *text)
{
    static const uint8_t nonce[HF_NONCE_BYTES];
    uint8_t scratch_bytes[ROOM];
    struct hf_writer scratch;
    struct hf_writer out;
    ZSTD_CCtx *zctx = ZSTD_createCCtx();
    memset(s, 0, sizeof(*s));
    memset(s->key.b, 7, sizeof(s->key.b));
    s->h.seq = 812;
    hf_writer_init(&scratch, scratch_bytes, sizeof(scratch_bytes));
    hf_writer_init(&out, s->bytes, sizeof(s->bytes));
    assert_int_equal(
        hf_body_seal(&s->h, hf_slice_str(text), 1, &s->key, nonce, zctx, &scratch, &out), HF_OK);
    s->frame = (struct hf_frame){.h = s->h, .body = hf_writer_bytes(&out)};
    ZSTD_freeCCtx(zctx);
}

static enum hf_err open_into(const struct sealed *s, struct hf_writer *raw)
{
    uint8_t scratch_bytes[ROOM];
    struct hf_writer scratch;
    ZSTD_DCtx *zctx = ZSTD_createDCtx();
    hf_writer_init(&scratch, scratch_bytes, sizeof(scratch_bytes));
    enum hf_err err = hf_body_unseal(&s->h, s->frame.body, &s->key, zctx, &scratch, raw);
    ZSTD_freeDCtx(zctx);
    return err;
}

static enum hf_err open_it(const struct sealed *s)
{
    uint8_t raw_bytes[ROOM];
    struct hf_writer raw;
    hf_writer_init(&raw, raw_bytes, sizeof(raw_bytes));
    return open_into(s, &raw);
}

static void hashes_are_the_real_ones_each_time(void **state)
{
    struct hf_lthash lanes;
    (void)state;
    hf_lthash_clear(&lanes);
    for (int round = 0; round < 2; round++) {
        for (hf_seq seq = 1; seq <= 300; seq++) {
            struct hf_slice key = hf_slice_of(&seq, 1 + seq % 8);
            struct hf_slice value = hf_slice_of(&lanes, (size_t)seq);
            struct hf_hash got = hf_element_hash(key, seq, value);
            struct hf_hash real = __real_hf_element_hash(key, seq, value);
            assert_true(hf_hash_eq(&got, &real));
        }
        struct hf_hash element = hf_element_hash(hf_slice_str("k"), 1, hf_slice_str("v"));
        hf_lthash_add(&lanes, &element);
        struct hf_hash got = hf_lthash_digest(&lanes);
        struct hf_hash real = __real_hf_lthash_digest(&lanes);
        assert_true(hf_hash_eq(&got, &real));
        hf_lthash_sub(&lanes, &element);
    }
}

static void bytes_that_wander_from_key_to_value_make_another_element(void **state)
{
    struct hf_hash a = hf_element_hash(hf_slice_str("ab"), 1, hf_slice_str("c"));
    struct hf_hash b = hf_element_hash(hf_slice_str("a"), 1, hf_slice_str("bc"));
    struct hf_hash c = hf_element_hash(hf_slice_str("b"), 1, hf_slice_str("bc"));
    (void)state;
    assert_false(hf_hash_eq(&a, &b));
    assert_false(hf_hash_eq(&b, &c));
}

static void a_body_with_any_other_bit_is_refused_after_the_good_one(void **state)
{
    struct sealed s;
    (void)state;
    seal(&s, "a body");
    for (size_t bit = 0; bit < 8 * s.frame.body.len; bit++) {
        assert_true(hf_frame_body_matches(&s.frame));
        assert_int_equal(open_it(&s), HF_OK);
        s.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        for (int round = 0; round < 2; round++) { /* nor is it remembered as good */
            assert_false(hf_frame_body_matches(&s.frame));
            assert_int_equal(open_it(&s), HF_AUTH);
        }
        s.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    s.frame.h.body_hash.b[0] ^= 1;
    assert_false(hf_frame_body_matches(&s.frame));
    s.frame.body.data = NULL;
    assert_false(hf_frame_body_matches(&s.frame));
}

static void a_body_opens_with_its_own_key_and_header_only(void **state)
{
    struct sealed s;
    struct sealed other;
    (void)state;
    seal(&s, "another body");
    assert_int_equal(open_it(&s), HF_OK);
    other = s;
    other.frame.body.data = s.bytes;
    other.key.b[31] ^= 1;
    assert_int_equal(open_it(&other), HF_AUTH);
    other.key = s.key;
    other.h.seq++;
    assert_int_equal(open_it(&other), HF_AUTH);
    other.h = s.h;
    other.h.content_key_id++;
    assert_int_equal(open_it(&other), HF_AUTH);
    other.h = s.h;
    other.h.epoch_id.b[0] ^= 1;
    assert_int_equal(open_it(&other), HF_AUTH);
    other.h = s.h;
    other.h.raw_bytes++;
    assert_int_equal(open_it(&other), HF_MALFORMED);
    other.h = s.h;
    other.h.body_bytes++;
    assert_int_equal(open_it(&other), HF_MALFORMED);
}

static void what_is_remembered_is_written_behind_what_is_there(void **state)
{
    char text[3000];
    uint8_t raw_bytes[ROOM];
    struct hf_writer raw;
    struct sealed s;
    (void)state;
    memset(text, 'x', sizeof(text) - 1); /* compressed, too */
    text[sizeof(text) - 1] = '\0';
    seal(&s, text);
    for (int round = 0; round < 3; round++) {
        hf_writer_init(&raw, raw_bytes, sizeof(raw_bytes));
        hf_write_raw(&raw, (const uint8_t *)"head", 4);
        assert_int_equal(open_into(&s, &raw), HF_OK);
        assert_int_equal(raw.len, 4 + strlen(text));
        assert_memory_equal(raw_bytes, "head", 4);
        assert_memory_equal(raw_bytes + 4, text, strlen(text));
    }
    hf_writer_init(&raw, raw_bytes, 100);
    assert_int_not_equal(open_into(&s, &raw), HF_OK);
    assert_true(raw.len <= 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_the_real_ones_each_time),
        cmocka_unit_test(bytes_that_wander_from_key_to_value_make_another_element),
        cmocka_unit_test(a_body_with_any_other_bit_is_refused_after_the_good_one),
        cmocka_unit_test(a_body_opens_with_its_own_key_and_header_only),
        cmocka_unit_test(what_is_remembered_is_written_behind_what_is_there),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
