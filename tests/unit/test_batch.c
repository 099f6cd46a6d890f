/*
 * test_batch.c - prefix, header and frame: what is accepted, and what never is.
 *
 * The refusals are the point: each bound of the header, each byte that is signed, each byte that
 * could travel with a frame unsigned. The body has test_body.c.
 */
#include "hf/batch.h"
#include "hf/dictionary.h"

#include "hf/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

enum { ROOM = 4096 };

struct world {
    struct hf_key signer;
    uint8_t secret[HF_SECRET_BYTES];
    struct hf_id stream;
    uint8_t raw[ROOM];
    uint8_t message[ROOM];
};

static struct hf_header sample_header(void)
{
    struct hf_header h = {
        .kind = HF_BATCH_DATA,
        .epoch = 3,
        .seq = 812,
        .signer_id = 1,
        .key_list_version = 2,
        .body_bytes = 1000,
        .raw_bytes = 4000,
        .compression = HF_COMPRESSION_ZSTD,
        .content_key_id = 7,
        .published_ms = UINT64_C(1700000000000),
        .change_count = 12,
        .flags_optional = 0x80000000u,
    };

    memset(h.epoch_id.b, 0xe1, sizeof(h.epoch_id.b));
    memset(h.prev.b, 0xaa, sizeof(h.prev.b));
    memset(h.body_hash.b, 0xbb, sizeof(h.body_hash.b));
    memset(h.digest.b, 0xdd, sizeof(h.digest.b));
    return h;
}

static struct hf_slice encode(const struct hf_header *h, uint8_t out[HF_HEADER_MAX])
{
    struct hf_writer w;

    hf_writer_init(&w, out, HF_HEADER_MAX);
    hf_header_encode(h, &w);
    assert_false(w.failed);
    return hf_writer_bytes(&w);
}

/* The header's encoding with `extra` behind its 17 fields. */
static struct hf_slice encode_extended(const struct hf_header *h, uint32_t count,
                                       struct hf_slice extra, uint8_t out[2 * HF_HEADER_MAX])
{
    uint8_t plain[HF_HEADER_MAX];
    struct hf_slice bytes = encode(h, plain);
    struct hf_writer w;

    hf_writer_init(&w, out, 2 * HF_HEADER_MAX);
    hf_write_array(&w, 17 + count);
    hf_write_raw(&w, bytes.data + 3, bytes.len - 3);
    hf_write_raw(&w, extra.data, extra.len);
    assert_false(w.failed);
    return hf_writer_bytes(&w);
}

static enum hf_err decode_of(const struct hf_header *h)
{
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_header got;

    return hf_header_decode(encode(h, bytes), &got);
}

/* ---- prefix ---- */

static void prefix_is_twenty_fixed_bytes(void **state)
{
    struct world *x = *state;
    struct hf_id stream;
    enum hf_kind kind;
    uint8_t bytes[HF_PREFIX_BYTES];
    struct hf_writer w;
    struct hf_reader r;

    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_prefix_write(&w, HF_KIND_REPLY, &x->stream);
    assert_int_equal(w.len, HF_PREFIX_BYTES);
    assert_memory_equal(bytes, "HF\x01\x05", 4);
    hf_reader_init(&r, hf_writer_bytes(&w));
    assert_int_equal(hf_prefix_read(&r, &kind, &stream), HF_OK);
    assert_int_equal(kind, HF_KIND_REPLY);
    assert_true(hf_id_eq(&stream, &x->stream));
    assert_true(hf_reader_done(&r));
}

static enum hf_err prefix_with(size_t at, uint8_t byte, size_t len)
{
    uint8_t bytes[HF_PREFIX_BYTES] = {'H', 'F', 1, 1};
    struct hf_id stream;
    enum hf_kind kind;
    struct hf_reader r;

    bytes[at] = byte;
    hf_reader_init(&r, hf_slice_of(bytes, len));
    return hf_prefix_read(&r, &kind, &stream);
}

static void foreign_prefixes_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(prefix_with(0, 'H', 20), HF_OK);
    assert_int_equal(prefix_with(0, 'h', 20), HF_MALFORMED);
    assert_int_equal(prefix_with(1, 'X', 20), HF_MALFORMED);
    assert_int_equal(prefix_with(2, 2, 20), HF_VERSION);
    assert_int_equal(prefix_with(2, 0, 20), HF_VERSION);
    assert_int_equal(prefix_with(3, 0, 20), HF_MALFORMED);
    assert_int_equal(prefix_with(3, 5, 20), HF_OK);
    assert_int_equal(prefix_with(3, 6, 20), HF_MALFORMED);
    assert_int_equal(prefix_with(0, 'H', 19), HF_MALFORMED);
    assert_int_equal(prefix_with(0, 'H', 0), HF_MALFORMED);
}

/* ---- header ---- */

static void header_round_trips_every_field(void **state)
{
    struct hf_header h = sample_header();
    struct hf_header got;
    uint8_t bytes[HF_HEADER_MAX];
    uint8_t again[HF_HEADER_MAX];
    struct hf_slice first = encode(&h, bytes);

    (void)state;
    assert_int_equal(hf_header_decode(first, &got), HF_OK);
    assert_int_equal(got.kind, h.kind);
    assert_true(hf_id_eq(&got.epoch_id, &h.epoch_id));
    assert_true(got.epoch == h.epoch && got.seq == h.seq && got.published_ms == h.published_ms);
    assert_true(hf_hash_eq(&got.prev, &h.prev));
    assert_true(hf_hash_eq(&got.body_hash, &h.body_hash));
    assert_true(hf_hash_eq(&got.digest, &h.digest));
    assert_int_equal(got.signer_id, h.signer_id);
    assert_int_equal(got.key_list_version, h.key_list_version);
    assert_int_equal(got.body_bytes, h.body_bytes);
    assert_int_equal(got.raw_bytes, h.raw_bytes);
    assert_int_equal(got.compression, h.compression);
    assert_int_equal(got.content_key_id, h.content_key_id);
    assert_int_equal(got.change_count, h.change_count);
    assert_int_equal(got.flags_critical, 0);
    assert_true(got.flags_optional == h.flags_optional);
    assert_true(hf_slice_eq(encode(&got, again), first));
}

static void header_begins_as_the_specification_says(void **state)
{
    /* Array of 17, kind 0, bin of 16. */
    static const uint8_t start[] = {0xdc, 0, 17, 0, 0xc4, 16, 0xe1};
    struct hf_header h = sample_header();
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_slice got = encode(&h, bytes);

    (void)state;
    assert_memory_equal(got.data, start, sizeof(start));
    /* The last three: 12 changes, no critical flags, the optional ones. */
    assert_memory_equal(got.data + got.len - 7, "\x0c\x00\xce\x80\x00\x00\x00", 7);
}

static void largest_header_fits_its_limit(void **state)
{
    struct hf_header h;
    uint8_t bytes[HF_HEADER_MAX];

    (void)state;
    memset(&h, 0xff, sizeof(h));
    assert_true(encode(&h, bytes).len <= 256);
}

static void every_bound_of_the_header_is_checked(void **state)
{
    struct hf_header h = sample_header();

    (void)state;
    assert_int_equal(decode_of(&h), HF_OK);
    h.seq = 0;
    assert_int_equal(decode_of(&h), HF_MALFORMED);
    h = sample_header();
    h.seq = INT64_MAX;
    h.body_bytes = HF_BODY_SEALED_MAX;
    h.raw_bytes = HF_BATCH_RAW_MAX;
    h.change_count = HF_BATCH_CHANGES_MAX;
    assert_int_equal(decode_of(&h), HF_OK);
    h.seq++;
    assert_int_equal(decode_of(&h), HF_MALFORMED);
    h.flags_critical = 1u << 31; /* no version counts further */
    assert_int_equal(decode_of(&h), HF_MALFORMED);
    h = sample_header();
    h.body_bytes = HF_BODY_SEALED_MAX + 1;
    assert_int_equal(decode_of(&h), HF_MALFORMED);
    h = sample_header();
    h.raw_bytes = HF_BATCH_RAW_MAX + 1;
    assert_int_equal(decode_of(&h), HF_MALFORMED);
    h = sample_header();
    h.change_count = HF_BATCH_CHANGES_MAX + 1;
    assert_int_equal(decode_of(&h), HF_MALFORMED);
    h = sample_header();
    h.compression = HF_COMPRESSION_DICTIONARY + 1;
    assert_int_equal(decode_of(&h), HF_MALFORMED);
}

static void reserved_kinds_are_not_taken_for_data(void **state)
{
    struct hf_header h = sample_header();

    (void)state;
    const uint32_t reserved[] = {HF_BATCH_KEYS, HF_BATCH_EPOCH_END, HF_BATCH_EPOCH_END + 1};
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        h.kind = reserved[i];
        assert_int_equal(decode_of(&h), HF_MALFORMED);
    }
}

static void dictionary_has_no_changes_and_a_bound_of_its_own(void **state)
{
    struct hf_header h = sample_header();

    (void)state;
    h.kind = HF_BATCH_DICTIONARY;
    h.raw_bytes = HF_DICTIONARY_BYTES_MAX + 512;
    h.change_count = 0;
    assert_int_equal(decode_of(&h), HF_OK);
    h.change_count = 1;
    assert_int_equal(decode_of(&h), HF_MALFORMED);
    h.change_count = 0;
    h.raw_bytes++;
    assert_int_equal(decode_of(&h), HF_MALFORMED);
}

static void unknown_critical_flag_needs_an_upgrade_and_names_the_signer(void **state)
{
    struct hf_header h = sample_header();
    struct hf_header got;
    uint8_t bytes[HF_HEADER_MAX];

    (void)state;
    h.flags_critical = 1u << 31;
    h.kind = 99; /* a kind of the version that set the flag */
    memset(&got, 0, sizeof(got));
    assert_int_equal(hf_header_decode(encode(&h, bytes), &got), HF_UPGRADE);
    assert_int_equal(got.signer_id, h.signer_id);
    assert_true(got.seq == h.seq);
}

static void elements_of_a_later_version_are_skipped(void **state)
{
    struct hf_header h = sample_header();
    struct hf_header got;
    uint8_t bytes[2 * HF_HEADER_MAX];
    struct hf_slice extra = hf_slice_of("\xc0\x92\x01\xc4\x01z\x05", 7);

    (void)state;
    assert_int_equal(hf_header_decode(encode_extended(&h, 3, extra, bytes), &got), HF_OK);
    assert_true(got.seq == h.seq);
    assert_int_equal(hf_header_decode(encode_extended(&h, 2, extra, bytes), &got), HF_MALFORMED);
    assert_int_equal(hf_header_decode(encode_extended(&h, 4, extra, bytes), &got), HF_MALFORMED);
}

static void header_past_its_size_or_element_limit_is_refused(void **state)
{
    struct hf_header h = sample_header();
    struct hf_header got;
    uint8_t bytes[2 * HF_HEADER_MAX];
    uint8_t extra[HF_HEADER_MAX] = {0};
    struct hf_slice many = hf_slice_of(extra, 16);
    size_t own = encode(&h, bytes).len;
    size_t room = HF_HEADER_MAX - own - 3;

    (void)state;
    assert_int_equal(hf_header_decode(encode_extended(&h, 15, hf_slice_of(extra, 15), bytes), &got),
                     HF_OK);
    assert_int_equal(hf_header_decode(encode_extended(&h, 16, many, bytes), &got), HF_MALFORMED);
    /* One bin that fills the header to its last byte, and then one byte more. */
    extra[0] = 0xc5;
    extra[1] = 1;
    extra[2] = (uint8_t)(room - 256);
    assert_in_range(room, 256, 511);
    assert_int_equal(
        hf_header_decode(encode_extended(&h, 1, hf_slice_of(extra, room + 3), bytes), &got), HF_OK);
    extra[2]++;
    assert_int_equal(
        hf_header_decode(encode_extended(&h, 1, hf_slice_of(extra, room + 4), bytes), &got),
        HF_MALFORMED);
}

static void every_truncation_of_a_header_is_refused(void **state)
{
    struct hf_header h = sample_header();
    struct hf_header got;
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_slice whole = encode(&h, bytes);

    (void)state;
    for (size_t len = 0; len < whole.len; len++) {
        assert_int_equal(hf_header_decode(hf_slice_of(whole.data, len), &got), HF_MALFORMED);
    }
    bytes[whole.len] = 0;
    assert_int_equal(hf_header_decode(hf_slice_of(bytes, whole.len + 1), &got), HF_MALFORMED);
}

/* ---- signature and chain ---- */

static void signature_covers_every_byte_of_the_header(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_slice header = encode(&h, bytes);
    struct hf_signature sig;

    hf_header_sign(header, x->secret, &sig);
    assert_true(hf_header_verify(header, &sig, &x->signer));
    for (size_t i = 0; i < header.len; i++) {
        bytes[i] ^= 1;
        assert_false(hf_header_verify(header, &sig, &x->signer));
        bytes[i] ^= 1;
    }
    assert_false(hf_header_verify(hf_slice_of(bytes, header.len - 1), &sig, &x->signer));
    for (size_t i = 0; i < sizeof(sig.b); i++) {
        sig.b[i] ^= 0x10;
        assert_false(hf_header_verify(header, &sig, &x->signer));
        sig.b[i] ^= 0x10;
    }
}

static void signature_is_plain_ed25519_over_domain_and_header(void **state)
{
    struct world *x = *state;
    struct hf_signature sig;
    uint8_t text[] = "holdfast/v1/batch....";
    uint8_t want[64];

    hf_header_sign(hf_slice_str("...."), x->secret, &sig);
    crypto_sign_detached(want, NULL, text, sizeof(text) - 1, x->secret);
    assert_memory_equal(sig.b, want, sizeof(want));
    /* Without its domain a signature is for something else. */
    crypto_sign_detached(sig.b, NULL, text + sizeof(text) - 5, 4, x->secret);
    assert_false(hf_header_verify(hf_slice_str("...."), &sig, &x->signer));
}

static void oversized_header_never_verifies(void **state)
{
    struct world *x = *state;
    struct hf_signature sig;
    uint8_t text[17 + HF_HEADER_MAX + 1] = "holdfast/v1/batch";

    /* A good signature, of a signer that does not keep to the limit. */
    crypto_sign_detached(sig.b, NULL, text, sizeof(text), x->secret);
    assert_false(hf_header_verify(hf_slice_of(text + 17, HF_HEADER_MAX + 1), &sig, &x->signer));
    crypto_sign_detached(sig.b, NULL, text, sizeof(text) - 1, x->secret);
    assert_true(hf_header_verify(hf_slice_of(text + 17, HF_HEADER_MAX), &sig, &x->signer));
}

static void chain_hash_has_its_domain(void **state)
{
    struct hf_slice header = hf_slice_of("\x91\x01", 2);
    struct hf_hash got = hf_chain_hash(header);
    struct hf_hash want = hf_hash_of("holdfast/v1/chain", &header, 1);
    struct hf_hash bare = hf_hash_of("", &header, 1);

    (void)state;
    assert_true(hf_hash_eq(&got, &want));
    assert_false(hf_hash_eq(&got, &bare));
}

/* ---- frame ---- */

/* A signed frame message around body, which may be absent. */
static struct hf_slice frame_of(struct world *x, const struct hf_header *h, struct hf_slice body)
{
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_slice header = encode(h, bytes);
    struct hf_signature sig;
    struct hf_writer w;

    hf_header_sign(header, x->secret, &sig);
    hf_writer_init(&w, x->message, sizeof(x->message));
    hf_frame_encode(&x->stream, header, &sig, body, &w);
    assert_false(w.failed);
    assert_true(w.len <= HF_FRAME_OVERHEAD + header.len + body.len);
    return hf_writer_bytes(&w);
}

static void frame_round_trips_with_its_body(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice body = hf_slice_of(x->raw, 1000);
    struct hf_slice message;
    struct hf_frame f;
    struct hf_id stream;

    memset(x->raw, 0x77, 1000);
    h.body_hash = hf_hash_of("", &body, 1);
    message = frame_of(x, &h, body);
    assert_int_equal(hf_frame_decode(message, &stream, &f), HF_OK);
    assert_true(hf_id_eq(&stream, &x->stream));
    assert_true(hf_slice_eq(f.body, body));
    assert_true(hf_header_verify(f.header, &f.signature, &x->signer));
    assert_true(f.h.seq == h.seq);
    assert_true(hf_frame_body_matches(&f));
    x->message[message.len - 1] ^= 1;
    assert_false(hf_frame_body_matches(&f));
}

static void frame_may_travel_without_its_body(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_frame f;
    struct hf_id stream;

    assert_int_equal(hf_frame_decode(frame_of(x, &h, hf_slice_of(NULL, 0)), &stream, &f), HF_OK);
    assert_null(f.body.data);
    assert_false(hf_frame_body_matches(&f));
}

static void body_of_another_length_than_the_header_says_is_refused(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_frame f;
    struct hf_id stream;

    assert_int_equal(hf_frame_decode(frame_of(x, &h, hf_slice_of(x->raw, 999)), &stream, &f),
                     HF_MALFORMED);
    assert_int_equal(hf_frame_decode(frame_of(x, &h, hf_slice_of(x->raw, 1001)), &stream, &f),
                     HF_MALFORMED);
    /* An empty body is not an absent one. */
    assert_int_equal(hf_frame_decode(frame_of(x, &h, hf_slice_of(x->raw, 0)), &stream, &f),
                     HF_MALFORMED);
}

static void every_truncation_of_a_frame_is_refused(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice message;
    struct hf_frame f;
    struct hf_id stream;

    h.body_bytes = 50;
    message = frame_of(x, &h, hf_slice_of(x->raw, 50));
    for (size_t len = 0; len < message.len; len++) {
        assert_int_equal(hf_frame_decode(hf_slice_of(message.data, len), &stream, &f),
                         HF_MALFORMED);
    }
    /* A byte behind the frame would travel unsigned. */
    x->message[message.len] = 0xc0;
    assert_int_equal(hf_frame_decode(hf_slice_of(message.data, message.len + 1), &stream, &f),
                     HF_MALFORMED);
}

static void frame_with_a_fourth_element_is_refused(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice message = frame_of(x, &h, hf_slice_of(NULL, 0));
    struct hf_frame f;
    struct hf_id stream;

    x->message[HF_PREFIX_BYTES] = 0x94;
    x->message[message.len] = 0xc0;
    assert_int_equal(hf_frame_decode(hf_slice_of(message.data, message.len + 1), &stream, &f),
                     HF_MALFORMED);
}

static void message_of_another_kind_is_no_frame(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_slice message = frame_of(x, &h, hf_slice_of(NULL, 0));
    struct hf_frame f;
    struct hf_id stream;

    x->message[3] = HF_KIND_BEACON;
    assert_int_equal(hf_frame_decode(message, &stream, &f), HF_MALFORMED);
}

static void frame_that_needs_an_upgrade_can_still_be_verified(void **state)
{
    struct world *x = *state;
    struct hf_header h = sample_header();
    struct hf_frame f;
    struct hf_id stream;

    h.flags_critical = 2;
    assert_int_equal(hf_frame_decode(frame_of(x, &h, hf_slice_of(x->raw, 3)), &stream, &f),
                     HF_UPGRADE);
    assert_true(hf_header_verify(f.header, &f.signature, &x->signer));
}

static int start_world(void **state)
{
    struct world *x = calloc(1, sizeof(*x));
    uint8_t seed[crypto_sign_SEEDBYTES] = {1, 2, 3};

    if (x == NULL || sodium_init() < 0) {
        free(x);
        return -1;
    }
    crypto_sign_seed_keypair(x->signer.b, x->secret, seed);
    memset(x->stream.b, 0x33, sizeof(x->stream.b));
    *state = x;
    return 0;
}

static int end_world(void **state)
{
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefix_is_twenty_fixed_bytes),
        cmocka_unit_test(foreign_prefixes_are_told_apart),
        cmocka_unit_test(header_round_trips_every_field),
        cmocka_unit_test(header_begins_as_the_specification_says),
        cmocka_unit_test(largest_header_fits_its_limit),
        cmocka_unit_test(every_bound_of_the_header_is_checked),
        cmocka_unit_test(reserved_kinds_are_not_taken_for_data),
        cmocka_unit_test(dictionary_has_no_changes_and_a_bound_of_its_own),
        cmocka_unit_test(unknown_critical_flag_needs_an_upgrade_and_names_the_signer),
        cmocka_unit_test(elements_of_a_later_version_are_skipped),
        cmocka_unit_test(header_past_its_size_or_element_limit_is_refused),
        cmocka_unit_test(every_truncation_of_a_header_is_refused),
        cmocka_unit_test(signature_covers_every_byte_of_the_header),
        cmocka_unit_test(signature_is_plain_ed25519_over_domain_and_header),
        cmocka_unit_test(oversized_header_never_verifies),
        cmocka_unit_test(chain_hash_has_its_domain),
        cmocka_unit_test(frame_round_trips_with_its_body),
        cmocka_unit_test(frame_may_travel_without_its_body),
        cmocka_unit_test(body_of_another_length_than_the_header_says_is_refused),
        cmocka_unit_test(every_truncation_of_a_frame_is_refused),
        cmocka_unit_test(frame_with_a_fourth_element_is_refused),
        cmocka_unit_test(message_of_another_kind_is_no_frame),
        cmocka_unit_test(frame_that_needs_an_upgrade_can_still_be_verified),
    };

    return cmocka_run_group_tests(tests, start_world, end_world);
}
