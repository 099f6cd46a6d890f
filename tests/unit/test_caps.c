/*
 * test_caps.c - lengths and counts that a hostile peer chooses: each at its cap, and one beyond.
 *
 * An encoder asserts its own caps, so the messages here are written field by field. What has its
 * cap tested where it is at home is not tested again; tests/fuzz/README.md has the whole list.
 */
#include "messages_box.h"

#include "hf/carry.h"
#include "hf/dictionary.h"
#include "hf/digest.h"
#include "proto/wire/fetch.h"

#include <sodium.h>
#include <zdict.h>

static struct hf_writer out;

static void begin(struct world *w, uint32_t fields)
{
    hf_writer_init(&out, w->bytes, sizeof(w->bytes));
    hf_write_array(&out, fields);
}

static void put_filled(size_t len)
{
    hf_write_bin(&out, hf_slice_of(filler, len));
}

static void put_zeros(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        hf_write_uint(&out, 0);
    }
}

static enum hf_err request_result(struct world *w)
{
    assert_false(out.failed);
    return hf_request_decode(hf_writer_bytes(&out), &w->q2);
}

static enum hf_err reply_result(struct world *w)
{
    assert_false(out.failed);
    return hf_reply_decode(hf_writer_bytes(&out), &w->p2);
}

/* ---- requests ---- */

/* A HELLO of a new edge. */
static enum hf_err hello(struct world *w, size_t version_len, uint32_t dictionaries)
{
    begin(w, 2 + 9);
    hf_write_uint(&out, 1);
    hf_write_uint(&out, HF_MSG_HELLO);
    hf_write_uint(&out, 0);
    put_filled(0);
    hf_write_nil(&out);
    put_filled(HF_ID_BYTES);
    put_zeros(3);
    put_filled(version_len);
    hf_write_array(&out, dictionaries);
    for (uint32_t i = 1; i <= dictionaries; i++) {
        hf_write_uint(&out, i);
    }
    return request_result(w);
}

static void a_hello_names_four_dictionaries_at_most(void **state)
{
    struct world *w = *state;

    assert_int_equal(HF_DICTIONARIES_MAX, 4);
    assert_int_equal(hello(w, 0, HF_DICTIONARIES_MAX), HF_OK);
    assert_int_equal(hello(w, 0, HF_DICTIONARIES_MAX + 1), HF_MALFORMED);
    assert_int_equal(hello(w, 0, 40000), HF_MALFORMED);
}

static void a_hello_names_each_dictionary_once_and_in_order(void **state)
{
    struct world *w = *state;

    assert_int_equal(hello(w, 0, 2), HF_OK);
    w->bytes[out.len - 1] = 1;
    assert_int_equal(request_result(w), HF_MALFORMED);
    w->bytes[out.len - 2] = 0;
    assert_int_equal(request_result(w), HF_MALFORMED);
}

static enum hf_err report(struct world *w, size_t version_len)
{
    begin(w, 2 + 15);
    hf_write_uint(&out, 1);
    hf_write_uint(&out, HF_MSG_REPORT);
    put_filled(HF_ID_BYTES);
    put_zeros(2);
    put_filled(HF_HASH_BYTES);
    put_zeros(8);
    hf_write_array(&out, 0);
    put_zeros(1);
    put_filled(version_len);
    return request_result(w);
}

static void a_version_is_a_short_text(void **state)
{
    struct world *w = *state;

    assert_int_equal(HF_VERSION_TEXT_MAX, 31);
    assert_int_equal(hello(w, HF_VERSION_TEXT_MAX, 0), HF_OK);
    assert_int_equal(hello(w, HF_VERSION_TEXT_MAX + 1, 0), HF_MALFORMED);
    assert_int_equal(report(w, HF_VERSION_TEXT_MAX), HF_OK);
    assert_int_equal(report(w, HF_VERSION_TEXT_MAX + 1), HF_MALFORMED);
}

/* ---- replies ---- */

struct hello_sizes {
    uint32_t path, keys, dictionaries;
    size_t dictionary, evidence;
};

static void put_proof(uint32_t path)
{
    hf_write_array(&out, 3);
    put_filled(100);
    put_zeros(1);
    hf_write_array(&out, path);
    for (uint32_t i = 0; i < path; i++) {
        put_filled(HF_HASH_BYTES);
    }
}

static void put_keys(uint32_t count)
{
    hf_write_array(&out, count);
    for (uint32_t i = 0; i < count; i++) {
        hf_write_array(&out, 3);
        hf_write_uint(&out, i);
        hf_write_uint(&out, 1);
        put_filled(HF_KEY_BYTES);
    }
}

static enum hf_err hello_reply(struct world *w, struct hello_sizes s)
{
    begin(w, 2 + 7);
    hf_write_uint(&out, HF_MSG_HELLO);
    hf_write_uint(&out, HF_OK);
    put_proof(s.path);
    put_filled(0);
    put_keys(s.keys);
    hf_write_array(&out, 4);
    put_zeros(4);
    put_filled(0);
    put_filled(s.evidence);
    hf_write_array(&out, s.dictionaries);
    for (uint32_t i = 0; i < s.dictionaries; i++) {
        put_filled(s.dictionary);
    }
    return reply_result(w);
}

static void no_list_of_a_hello_reply_outgrows_its_place(void **state)
{
    struct world *w = *state;
    struct hello_sizes most = {.path = 8,
                               .keys = 64,
                               .dictionaries = 3,
                               .dictionary = HF_DICTIONARY_FRAME_MAX,
                               .evidence = HF_EVIDENCE_MAX};

    assert_int_equal(HF_DICTIONARY_FRAME_MAX, 17408);
    assert_int_equal(HF_EVIDENCE_MAX, 582);
    assert_int_equal(hello_reply(w, most), HF_OK);
    assert_int_equal(w->p2.hello.key_count, 64);
    assert_int_equal(w->p2.hello.dictionary_count, 3);
#define ONE_BEYOND(field)                                                                          \
    do {                                                                                           \
        struct hello_sizes more = most;                                                            \
        more.field++;                                                                              \
        assert_int_equal(hello_reply(w, more), HF_MALFORMED);                                      \
    } while (0)
    ONE_BEYOND(path);
    ONE_BEYOND(keys);
    ONE_BEYOND(dictionaries);
    ONE_BEYOND(dictionary);
    ONE_BEYOND(evidence);
#undef ONE_BEYOND
}

static enum hf_err refusal_of_fetch(struct world *w, size_t evidence)
{
    begin(w, 2 + 8);
    hf_write_uint(&out, HF_MSG_FETCH);
    hf_write_uint(&out, HF_FORK);
    put_zeros(6);
    put_filled(evidence);
    hf_write_nil(&out);
    return reply_result(w);
}

/* Good in all but the length of its descriptor, which unknown elements fill. */
static enum hf_err chunk(struct world *w, size_t descriptor_len)
{
    struct hf_writer d;

    hf_writer_init(&d, w->part, sizeof(w->part));
    hf_write_array(&d, 8 + 4);
    hf_write_uint(&d, HF_WANT_DELTA);
    for (int i = 0; i < 2; i++) {
        hf_write_array(&d, 4);
        hf_write_uint(&d, 1);
        hf_write_uint(&d, (uint64_t)i);
        hf_write_uint(&d, 0);
        hf_write_bin(&d, hf_slice_of(filler, 0));
    }
    for (uint64_t field = 0; field < 5; field++) {
        hf_write_uint(&d, field == 1 ? 9 : 0);
    }
    hf_write_bin(&d, hf_slice_of(filler, 300));
    hf_write_bin(&d, hf_slice_of(filler, 300));
    hf_write_bin(&d, hf_slice_of(filler, 300));
    hf_write_bin(&d, hf_slice_of(filler, descriptor_len - d.len - 3));
    assert_int_equal(d.len, descriptor_len);
    begin(w, 2 + 8);
    hf_write_uint(&out, HF_MSG_FETCH);
    hf_write_uint(&out, HF_OK);
    hf_write_uint(&out, HF_WANT_DELTA);
    put_zeros(5);
    put_filled(0);
    hf_write_array(&out, 2);
    hf_write_bin(&out, hf_writer_bytes(&d));
    put_filled(HF_NONCE_BYTES + HF_TAG_BYTES);
    return reply_result(w);
}

static void evidence_and_descriptor_of_a_fetch_have_their_caps(void **state)
{
    struct world *w = *state;

    assert_int_equal(refusal_of_fetch(w, HF_EVIDENCE_MAX), HF_OK);
    assert_int_equal(refusal_of_fetch(w, HF_EVIDENCE_MAX + 1), HF_MALFORMED);
    assert_int_equal(HF_DESCRIPTOR_MAX, 1280);
    assert_int_equal(chunk(w, HF_DESCRIPTOR_MAX), HF_OK);
    assert_int_equal(chunk(w, HF_DESCRIPTOR_MAX + 1), HF_MALFORMED);
}

static enum hf_err sub_range(struct world *w, size_t key_len, uint32_t count)
{
    struct hf_writer list;
    struct hf_subrange s = {.last = hf_slice_of(filler, key_len), .count = count};

    hf_writer_init(&list, w->part, sizeof(w->part));
    hf_fetch_put_range(&list, &s);
    begin_reply(w, HF_MSG_FETCH, HF_OK);
    w->p.fetch = (struct hf_fetch_reply){.want = HF_WANT_RANGES,
                                         .range_count = 1,
                                         .ranges = hf_writer_bytes(&list),
                                         .seq = 5,
                                         .end = true};
    return hf_reply_decode(encode_reply(w), &w->p2);
}

static void a_sub_range_ends_with_a_key_and_has_as_many_records_as_are_read(void **state)
{
    struct world *w = *state;

    assert_int_equal(HF_RANGES_READ_MAX, 131072);
    assert_int_equal(sub_range(w, HF_STORE_KEY_MAX, HF_RANGES_READ_MAX), HF_OK);
    assert_int_equal(sub_range(w, HF_STORE_KEY_MAX + 1, 1), HF_MALFORMED);
    assert_int_equal(sub_range(w, 1, HF_RANGES_READ_MAX + 1), HF_MALFORMED);
}

/* ---- what is signed ---- */

static struct hf_slice sign(struct world *w, const char *domain, const struct hf_identity *id)
{
    struct hf_slice body = hf_writer_bytes(&out);
    struct hf_signature sig;
    struct hf_writer whole;

    assert_false(out.failed);
    assert_true(hf_sign(domain, body, id->secret, &sig));
    hf_writer_init(&whole, w->again, sizeof(w->again));
    hf_signed_write(&whole, body, &sig);
    return hf_writer_bytes(&whole);
}

/* A genesis with so many signers and a name of so many letters, and behind its fields one element
 * more that brings it to `len` bytes. */
static enum hf_err genesis(struct world *w, uint32_t signers, size_t name_len, size_t len)
{
    const size_t around = 3 + HF_SIGNED_OVERHEAD;
    struct hf_identity id;
    struct hf_genesis g;
    struct hf_hash chain;

    assert_int_equal(hf_identity_from_seed(&id, filler), HF_OK);
    begin(w, 11 + 1);
    put_filled(HF_ID_BYTES);
    memset(w->part, 'n', name_len);
    hf_write_bin(&out, hf_slice_of(w->part, name_len));
    hf_write_uint(&out, 1);
    put_filled(HF_ID_BYTES);
    hf_write_fixed(&out, id.public_key.b, HF_KEY_BYTES);
    hf_write_uint(&out, 1);
    hf_write_array(&out, signers);
    for (uint32_t i = 0; i < signers; i++) {
        hf_write_array(&out, 5);
        hf_write_uint(&out, i);
        hf_write_fixed(&out, id.public_key.b, HF_KEY_BYTES);
        put_zeros(2);
        hf_write_uint(&out, UINT64_MAX);
    }
    hf_write_nil(&out);
    put_filled(HF_HASH_BYTES);
    hf_write_uint(&out, 1);
    hf_write_uint(&out, 0);
    put_filled(len - out.len - around);
    struct hf_slice whole = sign(w, "holdfast/v1/genesis", &id);
    assert_int_equal(whole.len, len);
    enum hf_err err = hf_genesis_open(whole, &id.public_key, &g, &chain);
    hf_identity_free(&id);
    return err;
}

static void a_genesis_is_bounded_in_signers_name_and_length(void **state)
{
    struct world *w = *state;

    assert_int_equal(genesis(w, 16, HF_NAME_MAX, 4096), HF_OK);
    assert_int_equal(genesis(w, 17, HF_NAME_MAX, 4096), HF_MALFORMED);
    assert_int_equal(genesis(w, 0, HF_NAME_MAX, 4096), HF_MALFORMED);
    assert_int_equal(genesis(w, 16, HF_NAME_MAX + 1, 4096), HF_MALFORMED);
    assert_int_equal(genesis(w, 16, HF_NAME_MAX, 4097), HF_MALFORMED);
}

static enum hf_err beacon(struct world *w, size_t len)
{
    struct hf_identity id;
    struct hf_beacon b;

    assert_int_equal(hf_identity_from_seed(&id, filler), HF_OK);
    begin(w, 11 + 1);
    put_filled(HF_ID_BYTES);
    hf_write_uint(&out, 7);
    put_filled(HF_HASH_BYTES);
    put_filled(HF_HASH_BYTES);
    put_zeros(5);
    hf_write_nil(&out);
    hf_write_uint(&out, 1);
    put_filled(len - out.len - 3 - HF_SIGNED_OVERHEAD);
    struct hf_slice whole = sign(w, "holdfast/v1/beacon", &id);
    hf_identity_free(&id);
    /* A bin of up to 255 bytes has a head that is one shorter. */
    assert_in_range(whole.len, len - 1, len);
    return hf_beacon_decode(whole, &b);
}

static void a_beacon_is_bounded_in_length(void **state)
{
    struct world *w = *state;

    assert_int_equal(beacon(w, HF_BEACON_MAX), HF_OK);
    assert_int_equal(beacon(w, HF_BEACON_MAX + 2), HF_MALFORMED);
}

/* ---- dictionaries ---- */

/* A dictionary of exactly that length: tables and as much of the content as there is room for. */
static struct hf_slice dictionary_make(struct world *w, size_t len)
{
    static uint8_t content[2 * HF_DICTIONARY_BYTES_MAX]; /* samples, too */
    size_t size[COUNT(content) / 64];
    ZDICT_params_t params = {.dictID = hf_dictionary_id(7)};

    for (size_t i = 0; i < sizeof(content); i++) {
        content[i] = (uint8_t)(i * i / 7 + i % 13);
    }
    for (size_t i = 0; i < COUNT(size); i++) {
        size[i] = 64;
    }
    size_t n = ZDICT_finalizeDictionary(w->part, len, content, len, content, size,
                                        (unsigned)COUNT(size), params);
    assert_int_equal(n, len);
    return hf_slice_of(w->part, len);
}

static enum hf_err dictionary(struct world *w, size_t len, size_t frame_len)
{
    struct hf_slice frame = hf_slice_of(filler, frame_len);
    struct hf_dictionary *d;

    begin(w, 3);
    hf_write_array(&out, 0);
    hf_write_array(&out, 0);
    hf_write_bin(&out, dictionary_make(w, len));
    enum hf_err err = hf_dictionary_new(7, hf_writer_bytes(&out), frame, &d);
    assert_true((err == HF_OK) == (d != NULL));
    hf_dictionary_unuse(d);
    return err;
}

static void a_dictionary_has_16_kib_at_most_and_so_has_its_frame(void **state)
{
    struct world *w = *state;

    assert_int_equal(HF_DICTIONARY_BYTES_MAX, 16384);
    assert_int_equal(dictionary(w, HF_DICTIONARY_BYTES_MAX, HF_DICTIONARY_FRAME_MAX), HF_OK);
    assert_int_equal(dictionary(w, HF_DICTIONARY_BYTES_MAX + 1, 300), HF_MALFORMED);
    assert_int_equal(dictionary(w, 1000, HF_DICTIONARY_FRAME_MAX + 1), HF_MALFORMED);
}

/* ---- token, carry file ---- */

static enum hf_err token(struct world *w, size_t url_len, size_t name_len)
{
    char text[2048] = "hfjoin1:";
    struct hf_token t;
    struct hf_error e = {0};

    begin(w, 6);
    memset(w->part, 'u', url_len > name_len ? url_len : name_len);
    hf_write_bin(&out, hf_slice_of(w->part, url_len));
    put_filled(HF_KEY_BYTES);
    put_filled(HF_ID_BYTES);
    put_filled(32);
    hf_write_bin(&out, hf_slice_of(w->part, name_len));
    struct hf_slice bytes = hf_writer_bytes(&out);
    struct hf_hash sum = hf_hash_of("holdfast/v1/token-text", &bytes, 1);
    hf_write_fixed(&out, sum.b, 4);
    (void)sodium_bin2base64(text + 8, sizeof(text) - 8, w->bytes, out.len,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    return hf_token_parse(text, &t, &e);
}

static void a_token_is_bounded_in_url_and_name(void **state)
{
    struct world *w = *state;

    assert_int_equal(token(w, HF_URL_MAX, HF_NAME_MAX), HF_OK);
    assert_int_equal(token(w, HF_URL_MAX + 1, 1), HF_MALFORMED);
    assert_int_equal(token(w, 1, HF_NAME_MAX + 1), HF_MALFORMED);
}

/* Head of a carry file that announces so many records, in `len` signed bytes. */
static enum hf_err carry(struct world *w, uint64_t records, size_t name_len, uint32_t len)
{
    uint8_t head[HF_CARRY_HEAD_BYTES] = "HFCARRY\0\1";
    struct hf_identity id;
    struct hf_carry_head h;

    assert_int_equal(hf_identity_from_seed(&id, filler), HF_OK);
    begin(w, 13);
    put_filled(HF_ID_BYTES);
    put_filled(HF_ID_BYTES);
    hf_write_uint(&out, 1);
    hf_write_fixed(&out, id.public_key.b, HF_KEY_BYTES);
    put_filled(HF_KEY_BYTES);
    memset(w->part, 'n', name_len);
    hf_write_bin(&out, hf_slice_of(w->part, name_len));
    put_filled(HF_NONCE_BYTES);
    hf_write_uint(&out, HF_PLAN_LOG);
    hf_write_uint(&out, 1);
    hf_write_uint(&out, 2);
    hf_write_uint(&out, records);
    hf_write_uint(&out, 5000);
    put_filled(HF_HASH_BYTES);
    struct hf_slice whole = sign(w, "holdfast/v1/carry", &id);
    hf_identity_free(&id);
    assert_true(16 + whole.len <= sizeof(head));
    memcpy(head + 16, whole.data, whole.len);
    len = len == 0 ? (uint32_t)whole.len : len;
    memcpy(head + 12, &len, sizeof(len)); /* little-endian, as the machines that tests run on */
    return hf_carry_head_open(head, &h);
}

static void the_head_of_a_carry_file_stays_inside_itself(void **state)
{
    struct world *w = *state;

    assert_int_equal(carry(w, HF_CARRY_RECORDS_MAX, HF_NAME_MAX, 0), HF_OK);
    assert_int_equal(carry(w, HF_CARRY_RECORDS_MAX + 1, 1, 0), HF_MALFORMED);
    assert_int_equal(carry(w, 1, HF_NAME_MAX + 1, 0), HF_MALFORMED);
    assert_int_equal(carry(w, 1, 1, HF_CARRY_HEAD_BYTES - 15), HF_MALFORMED);
    assert_int_equal(carry(w, 1, 1, UINT32_MAX), HF_MALFORMED);
}

/* ---- bodies ---- */

/* One put whose body, or whose one meta, has so many elements behind what is known. */
static enum hf_err body(struct world *w, uint32_t unknown, uint32_t unknown_of_meta)
{
    struct hf_body b;

    begin(w, 2 + unknown);
    hf_write_array(&out, 1);
    hf_write_array(&out, 3);
    hf_write_uint(&out, HF_OP_PUT);
    put_filled(1);
    put_filled(0);
    hf_write_array(&out, 1);
    hf_write_array(&out, 6 + unknown_of_meta);
    put_filled(1);
    put_filled(HF_HASH_BYTES);
    put_filled(0);
    put_filled(0);
    put_zeros(2 + unknown_of_meta + unknown);
    return hf_body_open(hf_writer_bytes(&out), 1, &b);
}

static void a_body_grows_by_a_few_elements_only(void **state)
{
    struct world *w = *state;

    assert_int_equal(body(w, 0, 0), HF_OK);
    assert_int_equal(body(w, 30, 26), HF_OK);
    assert_int_equal(body(w, 31, 0), HF_MALFORMED);
    assert_int_equal(body(w, 0, 27), HF_MALFORMED);
}

static enum hf_err metas(struct world *w, uint32_t announced)
{
    struct hf_body b;
    uint8_t *bytes = calloc(HF_BATCH_RAW_MAX, 1);
    struct hf_writer big;

    (void)w;
    assert_non_null(bytes);
    hf_writer_init(&big, bytes, HF_BATCH_RAW_MAX);
    hf_body_begin(&big, 0);
    hf_write_array(&big, announced);
    for (uint32_t i = 0; i < announced; i++) {
        hf_body_meta(&big, &(struct hf_meta){.request_id = hf_slice_of(filler, 1)});
    }
    assert_false(big.failed);
    enum hf_err err = hf_body_open(hf_writer_bytes(&big), 0, &b);
    free(bytes);
    return err;
}

static void a_body_has_no_more_audit_entries_than_changes_are_allowed(void **state)
{
    struct world *w = *state;

    assert_int_equal(HF_BODY_METAS_MAX, 10000);
    assert_int_equal(metas(w, HF_BODY_METAS_MAX), HF_OK);
    assert_int_equal(metas(w, HF_BODY_METAS_MAX + 1), HF_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_hello_names_four_dictionaries_at_most),
        TEST(a_hello_names_each_dictionary_once_and_in_order),
        TEST(a_version_is_a_short_text),
        TEST(no_list_of_a_hello_reply_outgrows_its_place),
        TEST(evidence_and_descriptor_of_a_fetch_have_their_caps),
        TEST(a_sub_range_ends_with_a_key_and_has_as_many_records_as_are_read),
        TEST(a_genesis_is_bounded_in_signers_name_and_length),
        TEST(a_beacon_is_bounded_in_length),
        TEST(a_dictionary_has_16_kib_at_most_and_so_has_its_frame),
        TEST(a_token_is_bounded_in_url_and_name),
        TEST(the_head_of_a_carry_file_stays_inside_itself),
        TEST(a_body_grows_by_a_few_elements_only),
        TEST(a_body_has_no_more_audit_entries_than_changes_are_allowed),
    };

    assert_int_equal(hf_crypto_init(), HF_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
