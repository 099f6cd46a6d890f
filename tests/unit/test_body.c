/*
 * test_body.c - the inside of a batch: changes, audit trail, seal.
 *
 * What matters is what a signer that errs or lies cannot do: pass a bound of a key or a value, move
 * a body to another seq, or make an edge unpack more bytes than the header was signed for.
 */
#include "hf/batch.h"

#include "hf/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>
#include <zstd.h>

enum { ROOM = 256 << 10 };

struct world {
    struct hf_key content_key;
    uint8_t nonce[HF_NONCE_BYTES];
    ZSTD_CCtx *cctx;
    ZSTD_DCtx *dctx;
    uint8_t raw[ROOM];
    uint8_t scratch[ROOM];
    uint8_t sealed[ROOM];
    uint8_t opened[ROOM];
};

static struct hf_header sample_header(void)
{
    struct hf_header h = {.epoch = 3, .seq = 812};

    memset(h.epoch_id.b, 0xe1, sizeof(h.epoch_id.b));
    return h;
}

/* ---- body ---- */

static struct hf_change put(const char *key, const char *value)
{
    return (struct hf_change){HF_OP_PUT, hf_slice_str(key), hf_slice_str(value)};
}

static struct hf_change del(const char *key)
{
    return (struct hf_change){HF_OP_DEL, hf_slice_str(key), {NULL, 0}};
}

static struct hf_meta meta(const char *id, uint32_t first, uint32_t count)
{
    struct hf_meta m = {
        .request_id = hf_slice_str(id),
        .author = hf_slice_str("ann"),
        .reason = hf_slice_str("because"),
        .first_ordinal = first,
        .count = count,
    };

    memset(m.content_hash.b, 0xcc, sizeof(m.content_hash.b));
    return m;
}

static void body_round_trips_changes_and_audit_trail(void **state)
{
    struct world *x = *state;
    const struct hf_change changes[] = {put("a", "1"), del("b"), put("c", "")};
    const struct hf_meta metas[] = {meta("req-1", 0, 2), meta("", 2, 1), meta("req-2", 3, 0)};
    size_t bound = HF_BODY_OVERHEAD;
    struct hf_change c;
    struct hf_meta m;
    struct hf_writer w;
    struct hf_body b;

    hf_writer_init(&w, x->raw, sizeof(x->raw));
    hf_body_begin(&w, 3);
    for (size_t i = 0; i < 3; i++) {
        hf_body_change(&w, &changes[i]);
        bound += hf_change_bytes_max(&changes[i]);
    }
    hf_body_meta_begin(&w, 3);
    for (size_t i = 0; i < 3; i++) {
        hf_body_meta(&w, &metas[i]);
        bound += hf_meta_bytes_max(&metas[i]);
    }
    assert_true(w.len <= bound);
    assert_int_equal(hf_body_open(hf_writer_bytes(&w), 3, &b), HF_OK);
    assert_int_equal(b.meta_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(hf_body_next_change(&b, &c));
        assert_int_equal(c.op, changes[i].op);
        assert_true(hf_slice_eq(c.key, changes[i].key));
        assert_true(hf_slice_eq(c.value, changes[i].value));
    }
    assert_false(hf_body_next_change(&b, &c));
    for (size_t i = 0; i < 3; i++) {
        assert_true(hf_body_next_meta(&b, &m));
        assert_true(hf_slice_eq(m.request_id, metas[i].request_id));
        assert_true(hf_hash_eq(&m.content_hash, &metas[i].content_hash));
        assert_true(hf_slice_eq(m.author, metas[i].author));
        assert_true(hf_slice_eq(m.reason, metas[i].reason));
        assert_int_equal(m.first_ordinal, metas[i].first_ordinal);
        assert_int_equal(m.count, metas[i].count);
    }
    assert_false(hf_body_next_meta(&b, &m));
}

static void bounds_of_one_change_and_one_meta_hold_at_their_largest(void **state)
{
    struct world *x = *state;
    struct hf_slice most = hf_slice_of(x->sealed, 70000);
    struct hf_change c = {HF_OP_PUT, hf_slice_of(x->sealed, HF_STORE_KEY_MAX), most};
    struct hf_meta m = {.request_id = hf_slice_of(x->sealed, HF_REQUEST_ID_MAX),
                        .author = hf_slice_of(x->sealed, HF_AUTHOR_MAX),
                        .reason = hf_slice_of(x->sealed, HF_REASON_MAX),
                        .first_ordinal = UINT32_MAX,
                        .count = UINT32_MAX};
    struct hf_writer w;

    hf_writer_init(&w, x->raw, sizeof(x->raw));
    hf_body_change(&w, &c);
    assert_true(w.len <= hf_change_bytes_max(&c));
    hf_writer_init(&w, x->raw, sizeof(x->raw));
    hf_body_meta(&w, &m);
    assert_true(w.len <= hf_meta_bytes_max(&m));
}

static enum hf_err open_bytes(const void *bytes, size_t len, uint32_t changes)
{
    struct hf_body b;

    return hf_body_open(hf_slice_of(bytes, len), changes, &b);
}

static void malformed_bodies_are_refused(void **state)
{
    (void)state;
    assert_int_equal(open_bytes("\x92\x90\x90", 3, 0), HF_OK);
    assert_int_equal(open_bytes("\x92\x91\x93\x00\xc4\x01k\xc4\x01v\x90", 11, 1), HF_OK);
    /* Another count than the header's, both ways. */
    assert_int_equal(open_bytes("\x92\x90\x90", 3, 1), HF_MALFORMED);
    assert_int_equal(open_bytes("\x92\x91\x93\x00\xc4\x01k\xc4\x01v\x90", 11, 0), HF_MALFORMED);
    /* Two changes announced, of which the second is where the metas should be. */
    assert_int_equal(open_bytes("\x92\x92\x93\x00\xc4\x01k\xc4\x01v\x90", 11, 1), HF_MALFORMED);
    /* A byte behind the body. */
    assert_int_equal(open_bytes("\x92\x90\x90\x90", 4, 0), HF_MALFORMED);
    /* No list of metas. */
    assert_int_equal(open_bytes("\x91\x90", 2, 0), HF_MALFORMED);
    /* An empty key. */
    assert_int_equal(open_bytes("\x92\x91\x93\x00\xc4\x00\xc4\x01v\x90", 10, 1), HF_MALFORMED);
    /* An unknown operation. */
    assert_int_equal(open_bytes("\x92\x91\x93\x02\xc4\x01k\xc4\x01v\x90", 11, 1), HF_MALFORMED);
    /* A put without a value, a del with one. */
    assert_int_equal(open_bytes("\x92\x91\x92\x00\xc4\x01k\xc4\x01v\x90", 11, 1), HF_MALFORMED);
    assert_int_equal(open_bytes("\x92\x91\x93\x01\xc4\x01k\x90", 8, 1), HF_MALFORMED);
    assert_int_equal(open_bytes("\x92\x91\x93\x01\xc4\x01k\x05\x90", 9, 1), HF_MALFORMED);
}

static void body_may_grow_behind_its_known_elements(void **state)
{
    struct world *x = *state;
    struct hf_meta known = meta("r", 0, 0);
    struct hf_meta m;
    struct hf_change c;
    struct hf_writer w;
    struct hf_body b;
    size_t at;

    hf_writer_init(&w, x->raw, sizeof(x->raw));
    hf_write_array(&w, 3); /* one more than changes and metas */
    hf_write_array(&w, 0);
    hf_write_array(&w, 2);
    at = w.len;
    hf_body_meta(&w, &known);
    x->raw[at]++;            /* an array of seven, */
    hf_write_uint(&w, 1000); /* whose seventh is this */
    hf_body_meta(&w, &known);
    hf_body_meta(&w, &known); /* the third element, which looks like an entry but is none */
    assert_int_equal(hf_body_open(hf_writer_bytes(&w), 0, &b), HF_OK);
    assert_false(hf_body_next_change(&b, &c));
    for (size_t i = 0; i < 2; i++) {
        assert_true(hf_body_next_meta(&b, &m));
        assert_true(hf_slice_eq(m.reason, known.reason));
    }
    assert_false(hf_body_next_meta(&b, &m));
}

static enum hf_err open_with_meta(struct world *x, const struct hf_meta *m)
{
    struct hf_change c = put("k", "v");
    struct hf_writer w;
    struct hf_body b;

    hf_writer_init(&w, x->raw, sizeof(x->raw));
    hf_body_begin(&w, 2);
    hf_body_change(&w, &c);
    hf_body_change(&w, &c);
    hf_body_meta_begin(&w, 1);
    hf_body_meta(&w, m);
    return hf_body_open(hf_writer_bytes(&w), 2, &b);
}

static void audit_entry_outside_the_batch_or_its_bounds_is_refused(void **state)
{
    struct world *x = *state;
    struct hf_meta m = meta("r", 0, 2);

    assert_int_equal(open_with_meta(x, &m), HF_OK);
    m = meta("r", 2, 0);
    assert_int_equal(open_with_meta(x, &m), HF_OK);
    m = meta("r", 1, 2);
    assert_int_equal(open_with_meta(x, &m), HF_MALFORMED);
    m = meta("r", 3, 0);
    assert_int_equal(open_with_meta(x, &m), HF_MALFORMED);
    m = meta("r", 1, UINT32_MAX);
    assert_int_equal(open_with_meta(x, &m), HF_MALFORMED);
    m = meta("r", 0, 0);
    m.request_id = hf_slice_of(x->sealed, HF_REQUEST_ID_MAX + 1);
    assert_int_equal(open_with_meta(x, &m), HF_MALFORMED);
    m.request_id = hf_slice_of(x->sealed, HF_REQUEST_ID_MAX);
    assert_int_equal(open_with_meta(x, &m), HF_OK);
    m.author = hf_slice_of(x->sealed, HF_AUTHOR_MAX + 1);
    assert_int_equal(open_with_meta(x, &m), HF_MALFORMED);
    m.author = hf_slice_of(x->sealed, HF_AUTHOR_MAX);
    m.reason = hf_slice_of(x->sealed, HF_REASON_MAX + 1);
    assert_int_equal(open_with_meta(x, &m), HF_MALFORMED);
    m.reason = hf_slice_of(x->sealed, HF_REASON_MAX);
    assert_int_equal(open_with_meta(x, &m), HF_OK);
}

static void key_and_value_over_their_limits_are_refused(void **state)
{
    size_t room = HF_STORE_VALUE_MAX + 4096;
    uint8_t *big = calloc(1, room);
    uint8_t *bytes = malloc(room + 64);
    struct hf_change c = {HF_OP_PUT, {big, HF_STORE_KEY_MAX}, {big, HF_STORE_VALUE_MAX}};

    (void)state;
    assert_non_null(big);
    assert_non_null(bytes);
    for (unsigned over = 0; over < 3; over++) {
        struct hf_writer w;
        struct hf_body b;

        c.key.len = HF_STORE_KEY_MAX + (over == 1);
        c.value.len = HF_STORE_VALUE_MAX + (over == 2);
        hf_writer_init(&w, bytes, room + 64);
        hf_body_begin(&w, 1);
        hf_body_change(&w, &c);
        hf_body_meta_begin(&w, 0);
        assert_false(w.failed);
        assert_int_equal(hf_body_open(hf_writer_bytes(&w), 1, &b),
                         over == 0 ? HF_OK : HF_MALFORMED);
    }
    free(big);
    free(bytes);
}

/* ---- seal ---- */

static enum hf_err seal(struct world *x, struct hf_header *h, struct hf_slice raw, bool compressed,
                        struct hf_slice *sealed)
{
    struct hf_writer scratch, out;
    enum hf_err err;

    hf_writer_init(&scratch, x->scratch, sizeof(x->scratch));
    hf_writer_init(&out, x->sealed, sizeof(x->sealed));
    err = hf_body_seal(h, raw, 7, &x->content_key, x->nonce, compressed ? x->cctx : NULL, &scratch,
                       &out);
    *sealed = hf_writer_bytes(&out);
    return err;
}

static enum hf_err unseal(struct world *x, const struct hf_header *h, struct hf_slice sealed,
                          struct hf_slice *raw)
{
    struct hf_writer scratch, out;
    enum hf_err err;

    hf_writer_init(&scratch, x->scratch, sizeof(x->scratch));
    hf_writer_init(&out, x->opened, h->raw_bytes);
    err = hf_body_unseal(h, sealed, &x->content_key, x->dctx, &scratch, &out);
    *raw = hf_writer_bytes(&out);
    return err;
}

static void sealed_body_opens_to_the_same_bytes(void **state)
{
    static const size_t lens[] = {0, 1, 511, 512, 5000, 200000};
    struct world *x = *state;

    for (size_t i = 0; i < 2 * sizeof(lens) / sizeof(lens[0]); i++) {
        struct hf_header h = sample_header();
        struct hf_slice raw = hf_slice_of(x->raw, lens[i / 2]);
        struct hf_slice sealed, got;
        struct hf_hash hash;

        memset(x->raw, 'x', raw.len);
        assert_int_equal(seal(x, &h, raw, i % 2 == 0, &sealed), HF_OK);
        assert_int_equal(h.compression, i % 2 == 0 && raw.len >= 512);
        assert_int_equal(h.raw_bytes, raw.len);
        assert_int_equal(h.body_bytes, sealed.len);
        assert_int_equal(h.content_key_id, 7);
        assert_true(sealed.len <= raw.len + HF_BODY_SEAL_OVERHEAD);
        hash = hf_hash_of("", &sealed, 1);
        assert_true(hf_hash_eq(&hash, &h.body_hash));
        assert_int_equal(unseal(x, &h, sealed, &got), HF_OK);
        assert_true(hf_slice_eq(got, raw));
    }
}

static void body_that_does_not_compress_is_sealed_as_it_is(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice sealed, got;

    randombytes_buf(x->raw, 4096);
    assert_int_equal(seal(x, &h, hf_slice_of(x->raw, 4096), true, &sealed), HF_OK);
    assert_int_equal(h.compression, HF_COMPRESSION_NONE);
    assert_int_equal(sealed.len, 4096 + HF_BODY_SEAL_OVERHEAD);
    assert_int_equal(unseal(x, &h, sealed, &got), HF_OK);
    assert_memory_equal(got.data, x->raw, 4096);
}

static void sealing_appends_and_hashes_only_the_body(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice body, raw = hf_slice_str("raw");
    struct hf_hash hash;
    struct hf_writer w;

    hf_writer_init(&w, x->sealed, sizeof(x->sealed));
    hf_write_raw(&w, "before", 6);
    assert_int_equal(hf_body_seal(&h, raw, 7, &x->content_key, x->nonce, NULL, NULL, &w), HF_OK);
    assert_memory_equal(w.data, "before", 6);
    body = hf_slice_of(w.data + 6, w.len - 6);
    assert_int_equal(body.len, 3 + HF_BODY_SEAL_OVERHEAD);
    assert_memory_equal(body.data, x->nonce, HF_NONCE_BYTES);
    hash = hf_hash_of("", &body, 1);
    assert_true(hf_hash_eq(&hash, &h.body_hash));
}

static void sealing_without_room_or_over_the_limit_fails(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    size_t most = HF_BATCH_RAW_MAX + 1;
    uint8_t *big = calloc(2, most + 64);
    struct hf_slice raw = hf_slice_of(big, most);
    struct hf_writer w;

    assert_non_null(big);
    hf_writer_init(&w, x->sealed, 3 + HF_BODY_SEAL_OVERHEAD - 1);
    assert_int_equal(
        hf_body_seal(&h, hf_slice_str("raw"), 7, &x->content_key, x->nonce, NULL, NULL, &w),
        HF_TOO_BIG);
    assert_true(w.failed);
    hf_writer_init(&w, big + most, most + 64);
    assert_int_equal(hf_body_seal(&h, raw, 7, &x->content_key, x->nonce, NULL, NULL, &w),
                     HF_TOO_BIG);
    raw.len--;
    assert_int_equal(hf_body_seal(&h, raw, 7, &x->content_key, x->nonce, NULL, NULL, &w), HF_OK);
    assert_true(h.body_bytes <= HF_BODY_SEALED_MAX);
    free(big);
}

static void every_byte_of_a_sealed_body_is_authenticated(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice sealed, got;

    memset(x->raw, 'y', 600);
    assert_int_equal(seal(x, &h, hf_slice_of(x->raw, 600), true, &sealed), HF_OK);
    for (size_t i = 0; i < sealed.len; i++) {
        x->sealed[i] ^= 1;
        assert_int_equal(unseal(x, &h, sealed, &got), HF_AUTH);
        assert_int_equal(got.len, 0);
        x->sealed[i] ^= 1;
    }
    assert_int_equal(unseal(x, &h, sealed, &got), HF_OK);
}

static void body_is_bound_to_epoch_seq_and_content_key_id(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_header other;
    struct hf_slice sealed, got;

    assert_int_equal(seal(x, &h, hf_slice_str("body"), false, &sealed), HF_OK);
    other = h;
    other.seq++;
    assert_int_equal(unseal(x, &other, sealed, &got), HF_AUTH);
    other = h;
    other.epoch_id.b[15] ^= 1;
    assert_int_equal(unseal(x, &other, sealed, &got), HF_AUTH);
    other = h;
    other.content_key_id++;
    assert_int_equal(unseal(x, &other, sealed, &got), HF_AUTH);
    other = h;
    other.content_key_id += 1u << 24;
    assert_int_equal(unseal(x, &other, sealed, &got), HF_AUTH);
    assert_int_equal(unseal(x, &h, sealed, &got), HF_OK);
}

static void sealed_body_is_what_the_specification_says(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice sealed;
    uint8_t ad[16 + 16 + 8 + 4] = "holdfast/v1/body";
    uint8_t want[4 + HF_TAG_BYTES];

    memset(ad + 16, 0xe1, 16);
    ad[32] = 812 & 0xff;
    ad[33] = 812 >> 8;
    ad[40] = 7;
    assert_int_equal(seal(x, &h, hf_slice_str("body"), false, &sealed), HF_OK);
    crypto_aead_xchacha20poly1305_ietf_encrypt(want, NULL, (const uint8_t *)"body", 4, ad,
                                               sizeof(ad), NULL, x->nonce, x->content_key.b);
    assert_int_equal(sealed.len, HF_NONCE_BYTES + sizeof(want));
    assert_memory_equal(sealed.data + HF_NONCE_BYTES, want, sizeof(want));
}

/* Seals bytes as if they were the compressed form of raw_bytes, as a signer that lies would. */
static enum hf_err unseal_forged(struct world *x, struct hf_slice compressed, uint32_t raw_bytes)
{
    struct hf_header h = sample_header();
    struct hf_slice sealed, got;

    assert_int_equal(seal(x, &h, compressed, false, &sealed), HF_OK);
    h.compression = HF_COMPRESSION_ZSTD;
    h.raw_bytes = raw_bytes;
    return unseal(x, &h, sealed, &got);
}

static void bomb_and_every_other_size_than_the_signed_one_is_refused(void **state)
{
    struct world *x = *state;
    uint8_t bytes[1024];
    size_t len;

    memset(x->raw, 0, ROOM);
    len = ZSTD_compressCCtx(x->cctx, bytes, sizeof(bytes), x->raw, ROOM, 1);
    assert_false(ZSTD_isError(len));
    /* ROOM bytes out of less than a hundred, for a header that says less, nothing, or one more. */
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, len), ROOM), HF_OK);
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, len), ROOM - 1), HF_MALFORMED);
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, len), 0), HF_MALFORMED);
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, len), 100), HF_MALFORMED);
}

static void only_one_whole_zstd_frame_is_taken(void **state)
{
    struct world *x = *state;
    uint8_t bytes[1024];
    size_t len;

    memset(x->raw, 'z', 600);
    len = ZSTD_compressCCtx(x->cctx, bytes, 512, x->raw, 600, 1);
    assert_false(ZSTD_isError(len));
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, len), 600), HF_OK);
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, len - 1), 600), HF_MALFORMED);
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, 0), 0), HF_MALFORMED);
    /* A skippable frame behind it: nothing comes out, but these bytes have no business there. */
    memcpy(bytes + len, "\x50\x2a\x4d\x18\x01\x00\x00\x00!", 9);
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, len + 9), 600), HF_MALFORMED);
    memcpy(bytes + len, bytes, len);
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, 2 * len), 600), HF_MALFORMED);
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, 2 * len), 1200), HF_MALFORMED);
    /* A skippable frame alone states a content size of 0. */
    assert_int_equal(unseal_forged(x, hf_slice_of("\x50\x2a\x4d\x18\x01\x00\x00\x00!", 9), 0),
                     HF_MALFORMED);
}

static void zstd_frame_that_does_not_state_its_size_is_refused(void **state)
{
    struct world *x = *state;
    uint8_t bytes[1024];
    size_t len;

    memset(x->raw, 'z', 600);
    ZSTD_CCtx_setParameter(x->cctx, ZSTD_c_contentSizeFlag, 0);
    len = ZSTD_compress2(x->cctx, bytes, sizeof(bytes), x->raw, 600);
    ZSTD_CCtx_reset(x->cctx, ZSTD_reset_session_and_parameters);
    assert_false(ZSTD_isError(len));
    assert_int_equal(unseal_forged(x, hf_slice_of(bytes, len), 600), HF_MALFORMED);
}

static void uncompressed_body_has_exactly_its_raw_length(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice sealed, got;

    assert_int_equal(seal(x, &h, hf_slice_str("body"), false, &sealed), HF_OK);
    h.raw_bytes = 5;
    assert_int_equal(unseal(x, &h, sealed, &got), HF_MALFORMED);
    h.raw_bytes = 3;
    assert_int_equal(unseal(x, &h, sealed, &got), HF_MALFORMED);
}

static void body_shorter_than_its_seal_is_refused(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice got;

    for (uint32_t len = 0; len < HF_NONCE_BYTES + HF_TAG_BYTES; len++) {
        h.body_bytes = len;
        h.compression = len % 2;
        h.raw_bytes = 0;
        assert_int_equal(unseal(x, &h, hf_slice_of(x->sealed, len), &got), HF_MALFORMED);
    }
}

static void opening_without_room_fails_and_writes_nothing(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice sealed;
    struct hf_writer scratch, raw;

    memset(x->raw, 'w', 1000);
    assert_int_equal(seal(x, &h, hf_slice_of(x->raw, 1000), true, &sealed), HF_OK);
    hf_writer_init(&scratch, x->scratch, sizeof(x->scratch));
    hf_writer_init(&raw, x->opened, 999);
    assert_int_equal(hf_body_unseal(&h, sealed, &x->content_key, x->dctx, &scratch, &raw),
                     HF_TOO_BIG);
    hf_writer_init(&scratch, x->scratch, 3);
    hf_writer_init(&raw, x->opened, 1000);
    assert_int_equal(hf_body_unseal(&h, sealed, &x->content_key, x->dctx, &scratch, &raw),
                     HF_TOO_BIG);
    assert_int_equal(raw.len, 0);
}

static int start_world(void **state)
{
    struct world *x = calloc(1, sizeof(*x));

    if (x == NULL || sodium_init() < 0) {
        free(x);
        return -1;
    }
    memset(x->content_key.b, 0x11, sizeof(x->content_key.b));
    memset(x->nonce, 0x22, sizeof(x->nonce));
    x->cctx = ZSTD_createCCtx();
    x->dctx = ZSTD_createDCtx();
    *state = x;
    return x->cctx != NULL && x->dctx != NULL ? 0 : -1;
}

static int end_world(void **state)
{
    struct world *x = *state;

    ZSTD_freeCCtx(x->cctx);
    ZSTD_freeDCtx(x->dctx);
    free(x);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_round_trips_changes_and_audit_trail),
        cmocka_unit_test(bounds_of_one_change_and_one_meta_hold_at_their_largest),
        cmocka_unit_test(malformed_bodies_are_refused),
        cmocka_unit_test(body_may_grow_behind_its_known_elements),
        cmocka_unit_test(audit_entry_outside_the_batch_or_its_bounds_is_refused),
        cmocka_unit_test(key_and_value_over_their_limits_are_refused),
        cmocka_unit_test(sealed_body_opens_to_the_same_bytes),
        cmocka_unit_test(body_that_does_not_compress_is_sealed_as_it_is),
        cmocka_unit_test(sealing_appends_and_hashes_only_the_body),
        cmocka_unit_test(sealing_without_room_or_over_the_limit_fails),
        cmocka_unit_test(every_byte_of_a_sealed_body_is_authenticated),
        cmocka_unit_test(body_is_bound_to_epoch_seq_and_content_key_id),
        cmocka_unit_test(sealed_body_is_what_the_specification_says),
        cmocka_unit_test(bomb_and_every_other_size_than_the_signed_one_is_refused),
        cmocka_unit_test(only_one_whole_zstd_frame_is_taken),
        cmocka_unit_test(zstd_frame_that_does_not_state_its_size_is_refused),
        cmocka_unit_test(uncompressed_body_has_exactly_its_raw_length),
        cmocka_unit_test(body_shorter_than_its_seal_is_refused),
        cmocka_unit_test(opening_without_room_fails_and_writes_nothing),
    };

    return cmocka_run_group_tests(tests, start_world, end_world);
}
