/*
 * test_seal.c - identities, signatures, envelopes and chunks: what opens, and all that must not.
 *
 * Golden values were computed from the byte-level description with Python's hashlib and a textbook
 * X25519, not with the code under test.
 */
#include "hf/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

enum { ROOM = 4096 };

struct world {
    struct hf_identity edge, core, other;
    struct hf_envelope_keys keys; /* between edge and core */
    struct hf_envelope e;
    uint8_t message[ROOM];
    uint8_t plain[ROOM];
};

static const char *const hello = "applied 812";

static struct hf_identity identity(uint8_t fill)
{
    struct hf_identity id;
    uint8_t seed[32];

    memset(seed, fill, sizeof(seed));
    assert_int_equal(hf_identity_from_seed(&id, seed), HF_OK);
    return id;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->edge = identity(1);
    w->core = identity(2);
    w->other = identity(3);
    assert_int_equal(hf_envelope_derive(&w->edge, &w->core.public_key, &w->keys), HF_OK);
    memset(w->e.stream.b, 0x57, sizeof(w->e.stream.b));
    memset(w->e.cookie.b, 0xcc, sizeof(w->e.cookie.b));
    memset(w->e.nonce, 0x11, sizeof(w->e.nonce));
    w->e.sender = w->edge.public_key;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    hf_identity_free(&w->edge);
    hf_identity_free(&w->core);
    hf_identity_free(&w->other);
    free(w);
    return 0;
}

static void assert_hex(const void *bytes, size_t len, const char *expected)
{
    char text[2 * 64 + 1];

    hf_hex(bytes, len, text);
    assert_string_equal(text, expected);
}

static struct hf_slice seal_request(struct world *w, const char *text)
{
    struct hf_writer out;

    hf_writer_init(&out, w->message, sizeof(w->message));
    hf_request_seal(&w->e, &w->core.public_key, &w->keys, hf_slice_str(text), &out);
    assert_false(out.failed);
    return hf_writer_bytes(&out);
}

static enum hf_err open_request(struct world *w, struct hf_slice message, struct hf_slice *plain)
{
    struct hf_envelope e;
    struct hf_slice sealed;
    struct hf_writer out;
    enum hf_err err = hf_request_split(message, &e, &sealed);

    hf_writer_init(&out, w->plain, sizeof(w->plain));
    *plain = hf_slice_of(NULL, 0);
    if (err == HF_OK) {
        err = hf_request_open(&e, &w->core.public_key, &w->keys, sealed, &out);
        *plain = hf_writer_bytes(&out);
    }
    return err;
}

static struct hf_slice seal_reply_tail(struct world *w, const uint8_t *request_nonce, size_t tail)
{
    struct hf_writer out;

    hf_writer_init(&out, w->message, sizeof(w->message));
    hf_reply_seal(&w->e, &w->core.public_key, request_nonce, &w->keys, hf_slice_str(hello), tail,
                  &out);
    assert_false(out.failed);
    return hf_writer_bytes(&out);
}

static struct hf_slice seal_reply(struct world *w, const uint8_t *request_nonce)
{
    return seal_reply_tail(w, request_nonce, 0);
}

static enum hf_err open_reply(struct world *w, struct hf_slice message,
                              const uint8_t *request_nonce, struct hf_envelope *e)
{
    struct hf_writer out;

    hf_writer_init(&out, w->plain, sizeof(w->plain));
    return hf_reply_open(message, &w->core.public_key, &w->edge.public_key, request_nonce, &w->keys,
                         e, &out);
}

/* ---- identity and text ---- */

static void identity_comes_from_its_seed_alone(void **state)
{
    struct world *w = *state;
    struct hf_identity again = identity(1);

    assert_hex(w->edge.public_key.b, HF_KEY_BYTES,
               "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c");
    assert_memory_equal(again.secret, w->edge.secret, HF_SECRET_BYTES);
    hf_identity_free(&again);
    assert_null(again.secret);
    hf_identity_free(&again); /* twice does no harm */
}

static void hex_goes_there_and_back(void **state)
{
    const uint8_t bytes[4] = {0x00, 0x9f, 0xa0, 0xff};
    uint8_t back[4];
    char text[9];

    (void)state;
    hf_hex(bytes, sizeof(bytes), text);
    assert_string_equal(text, "009fa0ff");
    assert_int_equal(hf_unhex(text, back, sizeof(back)), HF_OK);
    assert_memory_equal(back, bytes, sizeof(bytes));
}

static void hex_of_any_other_form_is_refused(void **state)
{
    const char *const bad[] = {"",         "009fa0f",  "009fa0fff", "009fA0ff",
                               "009fg0ff", " 09fa0ff", "009fa0f\n", "0x9fa0ff"};
    const uint8_t zero[4] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t out[4] = {1, 1, 1, 1};

        assert_int_equal(hf_unhex(bad[i], out, sizeof(out)), HF_ARG);
        assert_memory_equal(out, zero, sizeof(out));
    }
}

static void names_keep_to_their_alphabet(void **state)
{
    const char *const good[] = {"a", "0", "edge-7", "shop.berlin_2", "9-"};
    const char *const bad[] = {"", "-a", ".a", "_a", "A", "a b", "a/b", "caf\xc3\xa9", "a\n"};
    char longest[HF_NAME_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(hf_name_valid(hf_slice_str(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(hf_name_valid(hf_slice_str(bad[i])));
    }
    assert_false(hf_name_valid(hf_slice_of("a\0b", 3)));
    memset(longest, 'x', sizeof(longest));
    assert_true(hf_name_valid(hf_slice_of(longest, HF_NAME_MAX)));
    assert_false(hf_name_valid(hf_slice_of(longest, HF_NAME_MAX + 1)));
}

/* ---- signatures and hashes ---- */

static void signature_is_over_domain_and_message(void **state)
{
    struct world *w = *state;
    const char *joined = "holdfast/v1/testmessage";
    struct hf_signature sig;

    assert_true(hf_sign("holdfast/v1/test", hf_slice_str("message"), w->core.secret, &sig));
    assert_int_equal(crypto_sign_verify_detached(sig.b, (const uint8_t *)joined, strlen(joined),
                                                 w->core.public_key.b),
                     0);
    assert_true(hf_verify("holdfast/v1/test", hf_slice_str("message"), &sig, &w->core.public_key));
}

static void signature_of_other_domain_message_or_signer_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_signature sig;

    assert_true(hf_sign("holdfast/v1/test", hf_slice_str("message"), w->core.secret, &sig));
    assert_false(hf_verify("holdfast/v1/tent", hf_slice_str("message"), &sig, &w->core.public_key));
    assert_false(hf_verify("holdfast/v1/test", hf_slice_str("messagf"), &sig, &w->core.public_key));
    assert_false(hf_verify("holdfast/v1/test", hf_slice_str("message"), &sig, &w->edge.public_key));
}

static void any_flipped_bit_of_a_signature_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_signature sig;

    assert_true(hf_sign("holdfast/v1/test", hf_slice_str("message"), w->core.secret, &sig));
    for (size_t i = 0; i < 8 * sizeof(sig.b); i++) {
        sig.b[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_false(
            hf_verify("holdfast/v1/test", hf_slice_str("message"), &sig, &w->core.public_key));
        sig.b[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}

static void malleated_signature_is_refused(void **state)
{
    /* The group order L, little-endian. S + L satisfies the same equation as S. */
    static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                      0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                      0,    0,    0,    0,    0,    0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0x10};
    struct world *w = *state;
    struct hf_signature sig;
    unsigned carry = 0;

    assert_true(hf_sign("holdfast/v1/test", hf_slice_str("message"), w->core.secret, &sig));
    for (size_t i = 0; i < 32; i++) {
        carry += (unsigned)sig.b[32 + i] + order[i];
        sig.b[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    assert_int_equal(carry, 0);
    assert_false(hf_verify("holdfast/v1/test", hf_slice_str("message"), &sig, &w->core.public_key));
}

static void small_order_key_signs_nothing(void **state)
{
    /* The neutral element, and the point of order two. With the first as key and as R, and S = 0,
     * the equation of Ed25519 holds for every message. */
    struct hf_key neutral = {{1}};
    struct hf_key order_two = {{0}};
    struct hf_signature sig = {{1}};

    (void)state;
    assert_false(hf_verify("holdfast/v1/test", hf_slice_str("message"), &sig, &neutral));
    memset(order_two.b, 0xff, sizeof(order_two.b));
    order_two.b[0] = 0xec;
    order_two.b[31] = 0x7f;
    assert_false(hf_verify("holdfast/v1/test", hf_slice_str("message"), &sig, &order_two));
}

static void message_over_the_limit_is_not_signed(void **state)
{
    static const uint8_t big[HF_SIGNED_MAX + 1];
    struct world *w = *state;
    struct hf_signature sig;

    assert_true(hf_sign("holdfast/v1/test", hf_slice_of(big, HF_SIGNED_MAX), w->core.secret, &sig));
    assert_true(
        hf_verify("holdfast/v1/test", hf_slice_of(big, HF_SIGNED_MAX), &sig, &w->core.public_key));
    assert_false(hf_sign("holdfast/v1/test", hf_slice_of(big, sizeof(big)), w->core.secret, &sig));
}

static void signed_pair_has_two_elements_and_nothing_behind(void **state)
{
    struct hf_signature sig = {{7}};
    struct hf_signature got;
    struct hf_slice body;
    struct hf_writer w;
    uint8_t buffer[128];

    (void)state;
    hf_writer_init(&w, buffer, sizeof(buffer));
    hf_signed_write(&w, hf_slice_str("body"), &sig);
    assert_true(w.len <= 4 + HF_SIGNED_OVERHEAD);
    assert_int_equal(hf_signed_split(hf_writer_bytes(&w), 4, &body, &got), HF_OK);
    assert_true(hf_slice_eq(body, hf_slice_str("body")));
    assert_memory_equal(&got, &sig, sizeof(sig));
    assert_int_equal(hf_signed_split(hf_writer_bytes(&w), 3, &body, &got), HF_MALFORMED);
    hf_write_nil(&w);
    assert_int_equal(hf_signed_split(hf_writer_bytes(&w), 4, &body, &got), HF_MALFORMED);
    buffer[0] = 0x93; /* nor as a third element */
    assert_int_equal(hf_signed_split(hf_writer_bytes(&w), 4, &body, &got), HF_MALFORMED);
    assert_int_equal(body.len, 0);
}

static void keyed_hash_is_blake2b_over_domain_and_parts(void **state)
{
    struct hf_slice parts[2] = {hf_slice_str("one"), hf_slice_str("two")};
    uint8_t key[16];
    uint8_t out[16];

    (void)state;
    memset(key, 'k', sizeof(key));
    hf_keyed_hash("holdfast/v1/test", key, sizeof(key), parts, 2, out, sizeof(out));
    assert_hex(out, sizeof(out), "100f95bc89dee77e2e45036c31fe2e1c");
    assert_true(hf_secret_eq("abc", "abc", 3));
    assert_false(hf_secret_eq("abc", "abd", 3));
}

/* ---- envelope ---- */

static void both_sides_derive_the_same_two_keys(void **state)
{
    struct world *w = *state;
    struct hf_envelope_keys mine;

    assert_int_equal(hf_envelope_derive(&w->core, &w->edge.public_key, &mine), HF_OK);
    assert_memory_equal(&mine, &w->keys, sizeof(mine));
    assert_hex(mine.request, 32,
               "b8d29f3ed8dcfcec4fc6d2839f7f33e525ec703a0c5ad106cec4769d16201168");
    assert_hex(mine.reply, 32, "c60e2f9fe1f80c6246383302f056b0f8de867a4ae6dd628eae3d9a5d4fea4c2f");
}

static void derivation_refuses_what_is_no_good_point(void **state)
{
    struct world *w = *state;
    static const struct hf_envelope_keys none;
    struct hf_key bad[3] = {{{0}}, {{1}}, {{2}}}; /* order four, order one, not on the curve */

    for (size_t i = 0; i < 3; i++) {
        struct hf_envelope_keys keys = w->keys;

        assert_int_equal(hf_envelope_derive(&w->edge, &bad[i], &keys), HF_AUTH);
        assert_memory_equal(&keys, &none, sizeof(keys));
    }
}

static void request_opens_at_the_core(void **state)
{
    struct world *w = *state;
    struct hf_slice message = seal_request(w, hello);
    struct hf_slice plain, sealed;
    struct hf_envelope e;

    assert_int_equal(message.len, strlen(hello) + HF_ENVELOPE_OVERHEAD);
    assert_int_equal(hf_request_split(message, &e, &sealed), HF_OK);
    assert_memory_equal(&e, &w->e, sizeof(e));
    assert_int_equal(open_request(w, message, &plain), HF_OK);
    assert_true(hf_slice_eq(plain, hf_slice_str(hello)));
}

static void request_with_any_byte_changed_stays_shut(void **state)
{
    struct world *w = *state;
    struct hf_slice message = seal_request(w, hello);
    struct hf_slice plain;

    for (size_t i = 0; i < message.len; i++) {
        w->message[i] ^= 1;
        assert_int_not_equal(open_request(w, message, &plain), HF_OK);
        assert_int_equal(plain.len, 0);
        w->message[i] ^= 1;
    }
    assert_int_equal(open_request(w, message, &plain), HF_OK);
}

static void request_to_another_core_stays_shut(void **state)
{
    struct world *w = *state;
    struct hf_slice message = seal_request(w, hello);
    struct hf_envelope e;
    struct hf_slice sealed;
    struct hf_writer out;

    hf_writer_init(&out, w->plain, sizeof(w->plain));
    assert_int_equal(hf_request_split(message, &e, &sealed), HF_OK);
    assert_int_equal(hf_request_open(&e, &w->other.public_key, &w->keys, sealed, &out), HF_AUTH);
    assert_int_equal(out.len, 0);
}

static void request_cut_short_is_malformed(void **state)
{
    struct world *w = *state;
    struct hf_slice message = seal_request(w, "");
    static const struct hf_envelope none;

    for (size_t len = 0; len < message.len; len++) {
        struct hf_envelope e;
        struct hf_slice sealed;

        assert_int_equal(hf_request_split(hf_slice_of(message.data, len), &e, &sealed),
                         HF_MALFORMED);
        assert_memory_equal(&e, &none, sizeof(e));
        assert_int_equal(sealed.len, 0);
    }
}

static void message_over_the_limit_is_not_split(void **state)
{
    struct world *w = *state;
    static uint8_t big[HF_MESSAGE_MAX + 1];
    struct hf_envelope e;
    struct hf_slice sealed;

    memcpy(big, seal_request(w, hello).data, 200);
    assert_int_equal(hf_request_split(hf_slice_of(big, HF_MESSAGE_MAX), &e, &sealed), HF_OK);
    assert_int_equal(hf_request_split(hf_slice_of(big, sizeof(big)), &e, &sealed), HF_TOO_BIG);
}

static void plain_text_needs_room(void **state)
{
    struct world *w = *state;
    struct hf_slice message = seal_request(w, hello);
    struct hf_envelope e;
    struct hf_slice sealed;
    struct hf_writer out;

    assert_int_equal(hf_request_split(message, &e, &sealed), HF_OK);
    hf_writer_init(&out, w->plain, strlen(hello) - 1);
    assert_int_equal(hf_request_open(&e, &w->core.public_key, &w->keys, sealed, &out), HF_TOO_BIG);
    hf_writer_init(&out, w->plain, strlen(hello));
    assert_int_equal(hf_request_open(&e, &w->core.public_key, &w->keys, sealed, &out), HF_OK);
    hf_writer_init(&out, w->plain, HF_ENVELOPE_OVERHEAD + strlen(hello) - 1);
    hf_request_seal(&w->e, &w->core.public_key, &w->keys, hf_slice_str(hello), &out);
    assert_true(out.failed);
}

static void reply_opens_at_the_edge_and_brings_a_cookie(void **state)
{
    struct world *w = *state;
    const uint8_t asked[HF_NONCE_BYTES] = {9};
    struct hf_slice message = seal_reply(w, asked);
    struct hf_envelope e;

    assert_true(message.len <= strlen(hello) + HF_ENVELOPE_OVERHEAD);
    assert_int_equal(open_reply(w, message, asked, &e), HF_OK);
    assert_memory_equal(&e, &w->e, sizeof(e));
    assert_memory_equal(w->plain, hello, strlen(hello));
}

/* Also those of its tail, and of the tail's length: no byte may change sides. */
static void reply_with_any_byte_changed_stays_shut(void **state)
{
    struct world *w = *state;
    const uint8_t asked[HF_NONCE_BYTES] = {9};
    static const struct hf_envelope none;
    struct hf_envelope e;

    for (size_t tail = 0; tail <= strlen(hello); tail++) {
        struct hf_slice message = seal_reply_tail(w, asked, tail);

        for (size_t i = 0; i < message.len; i++) {
            w->message[i] ^= 1;
            assert_int_not_equal(open_reply(w, message, asked, &e), HF_OK);
            assert_memory_equal(&e, &none, sizeof(e));
            w->message[i] ^= 1;
        }
        assert_int_equal(open_reply(w, message, asked, &e), HF_OK);
    }
}

static bool shows(struct hf_slice message, const char *text, size_t len)
{
    return memmem(message.data, message.len, text, len) != NULL;
}

static void only_the_tail_of_a_reply_shows(void **state)
{
    struct world *w = *state;
    const uint8_t asked[HF_NONCE_BYTES] = {9};
    const size_t tail = 3; /* "812" */
    size_t head = strlen(hello) - tail;
    struct hf_slice message = seal_reply(w, asked);
    struct hf_envelope e;

    assert_false(shows(message, hello, head));
    assert_false(shows(message, hello + head, tail));
    size_t len = message.len;
    message = seal_reply_tail(w, asked, tail);
    assert_int_equal(message.len, len);
    assert_false(shows(message, hello, head));
    assert_memory_equal(message.data + message.len - tail, hello + head, tail);
    memset(w->plain, 0, sizeof(w->plain));
    assert_int_equal(open_reply(w, message, asked, &e), HF_OK);
    assert_memory_equal(w->plain, hello, strlen(hello));
}

static void reply_cut_short_stays_shut(void **state)
{
    struct world *w = *state;
    const uint8_t asked[HF_NONCE_BYTES] = {9};
    size_t least = HF_PREFIX_BYTES + HF_COOKIE_BYTES + HF_NONCE_BYTES + 4 + HF_TAG_BYTES;
    struct hf_slice message = seal_reply_tail(w, asked, 4);
    struct hf_envelope e;

    for (size_t len = 0; len < message.len; len++) {
        uint8_t *cut = malloc(len + 1); /* so that a byte too many is noticed */
        assert_non_null(cut);
        memcpy(cut, message.data, len);
        enum hf_err err = open_reply(w, hf_slice_of(cut, len), asked, &e);
        assert_int_equal(err, len < least + 4 ? HF_MALFORMED : HF_AUTH);
        free(cut);
    }
}

static void plain_text_of_a_reply_needs_room_for_its_tail_too(void **state)
{
    struct world *w = *state;
    const uint8_t asked[HF_NONCE_BYTES] = {9};
    struct hf_slice message = seal_reply_tail(w, asked, 4);
    struct hf_envelope e;
    struct hf_writer out;

    for (size_t room = 0; room <= strlen(hello); room++) {
        bool enough = room == strlen(hello);

        hf_writer_init(&out, w->plain, room);
        assert_int_equal(hf_reply_open(message, &w->core.public_key, &w->edge.public_key, asked,
                                       &w->keys, &e, &out),
                         enough ? HF_OK : HF_TOO_BIG);
        assert_int_equal(out.len, enough ? room : 0);
    }
}

static void reply_to_another_request_stays_shut(void **state)
{
    struct world *w = *state;
    const uint8_t asked[HF_NONCE_BYTES] = {9};
    const uint8_t now[HF_NONCE_BYTES] = {10};
    struct hf_envelope e;

    assert_int_equal(open_reply(w, seal_reply(w, asked), now, &e), HF_AUTH);
}

static void request_cannot_be_reflected_as_a_reply(void **state)
{
    struct world *w = *state;
    struct hf_envelope e = w->e;
    struct hf_slice message = seal_request(w, hello);
    struct hf_slice sealed;
    struct hf_envelope_keys swapped;
    struct hf_writer out;

    assert_int_equal(open_reply(w, message, w->e.nonce, &e), HF_MALFORMED);
    /* Even under the other direction's key, as if both were one. */
    memcpy(swapped.request, w->keys.reply, 32);
    assert_int_equal(hf_request_split(message, &e, &sealed), HF_OK);
    hf_writer_init(&out, w->plain, sizeof(w->plain));
    assert_int_equal(hf_request_open(&e, &w->core.public_key, &swapped, sealed, &out), HF_AUTH);
}

/* ---- chunks ---- */

static void chunk_opens_with_its_descriptor_only(void **state)
{
    struct world *w = *state;
    const struct hf_key key = {{5}};
    const uint8_t nonce[HF_NONCE_BYTES] = {6};
    struct hf_writer sealed, plain;

    hf_writer_init(&sealed, w->message, sizeof(w->message));
    hf_chunk_seal(&key, nonce, hf_slice_str("range 1..9"), hf_slice_str(hello), &sealed);
    assert_int_equal(sealed.len, HF_NONCE_BYTES + strlen(hello) + HF_TAG_BYTES);
    assert_memory_equal(w->message, nonce, sizeof(nonce));
    hf_writer_init(&plain, w->plain, sizeof(w->plain));
    assert_int_equal(
        hf_chunk_unseal(&key, hf_slice_str("range 1..8"), hf_writer_bytes(&sealed), &plain),
        HF_AUTH);
    assert_int_equal(
        hf_chunk_unseal(&key, hf_slice_str("range 1..9"), hf_writer_bytes(&sealed), &plain), HF_OK);
    assert_true(hf_slice_eq(hf_writer_bytes(&plain), hf_slice_str(hello)));
    for (size_t i = 0; i < sealed.len; i++) {
        w->message[i] ^= 1;
        assert_int_equal(
            hf_chunk_unseal(&key, hf_slice_str("range 1..9"), hf_writer_bytes(&sealed), &plain),
            HF_AUTH);
        w->message[i] ^= 1;
    }
    assert_int_equal(hf_chunk_unseal(&key, hf_slice_str("range 1..9"),
                                     hf_slice_of(w->message, HF_NONCE_BYTES + HF_TAG_BYTES - 1),
                                     &plain),
                     HF_MALFORMED);
}

static void chunk_is_not_taken_for_something_else_under_its_key(void **state)
{
    struct world *w = *state;
    const struct hf_key key = {{5}};
    const uint8_t nonce[HF_NONCE_BYTES] = {6};
    struct hf_slice bound = hf_slice_str("descriptor");
    struct hf_writer sealed;

    hf_writer_init(&sealed, w->message, sizeof(w->message));
    hf_chunk_seal(&key, nonce, bound, hf_slice_str(hello), &sealed);
    assert_int_not_equal(crypto_aead_xchacha20poly1305_ietf_decrypt(
                             w->plain, NULL, NULL, w->message + HF_NONCE_BYTES,
                             sealed.len - HF_NONCE_BYTES, bound.data, bound.len, nonce, key.b),
                         0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(identity_comes_from_its_seed_alone, setup, teardown),
        cmocka_unit_test(hex_goes_there_and_back),
        cmocka_unit_test(hex_of_any_other_form_is_refused),
        cmocka_unit_test(names_keep_to_their_alphabet),
        cmocka_unit_test_setup_teardown(signature_is_over_domain_and_message, setup, teardown),
        cmocka_unit_test_setup_teardown(signature_of_other_domain_message_or_signer_is_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(any_flipped_bit_of_a_signature_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(malleated_signature_is_refused, setup, teardown),
        cmocka_unit_test(small_order_key_signs_nothing),
        cmocka_unit_test_setup_teardown(message_over_the_limit_is_not_signed, setup, teardown),
        cmocka_unit_test(signed_pair_has_two_elements_and_nothing_behind),
        cmocka_unit_test(keyed_hash_is_blake2b_over_domain_and_parts),
        cmocka_unit_test_setup_teardown(both_sides_derive_the_same_two_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(derivation_refuses_what_is_no_good_point, setup, teardown),
        cmocka_unit_test_setup_teardown(request_opens_at_the_core, setup, teardown),
        cmocka_unit_test_setup_teardown(request_with_any_byte_changed_stays_shut, setup, teardown),
        cmocka_unit_test_setup_teardown(request_to_another_core_stays_shut, setup, teardown),
        cmocka_unit_test_setup_teardown(request_cut_short_is_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(message_over_the_limit_is_not_split, setup, teardown),
        cmocka_unit_test_setup_teardown(plain_text_needs_room, setup, teardown),
        cmocka_unit_test_setup_teardown(reply_opens_at_the_edge_and_brings_a_cookie, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(reply_with_any_byte_changed_stays_shut, setup, teardown),
        cmocka_unit_test_setup_teardown(only_the_tail_of_a_reply_shows, setup, teardown),
        cmocka_unit_test_setup_teardown(reply_cut_short_stays_shut, setup, teardown),
        cmocka_unit_test_setup_teardown(plain_text_of_a_reply_needs_room_for_its_tail_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(reply_to_another_request_stays_shut, setup, teardown),
        cmocka_unit_test_setup_teardown(request_cannot_be_reflected_as_a_reply, setup, teardown),
        cmocka_unit_test_setup_teardown(chunk_opens_with_its_descriptor_only, setup, teardown),
        cmocka_unit_test_setup_teardown(chunk_is_not_taken_for_something_else_under_its_key, setup,
                                        teardown),
    };

    if (hf_crypto_init() != HF_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
