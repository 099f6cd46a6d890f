/*
 * test_token.c - join tokens: printed, copied badly by people, parsed, and proven.
 */
#include "hf/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <sodium.h>

static struct hf_token sample(void)
{
    struct hf_token t = {.url = "tcp://core.example:7410", .name = "edge-7"};

    memset(t.root.b, 0x0a, sizeof(t.root.b));
    memset(t.id.b, 0x0b, sizeof(t.id.b));
    memset(t.secret, 0x0c, sizeof(t.secret));
    return t;
}

static void assert_refused(const char *text, enum hf_err code, const char *why)
{
    static const struct hf_token none;
    struct hf_token t;
    struct hf_error e;

    assert_int_equal(hf_token_parse(text, &t, &e), code);
    assert_int_equal(e.code, code);
    assert_string_equal(e.text, why);
    assert_memory_equal(&t, &none, sizeof(t));
}

/* The text of arbitrary bytes with a right checksum behind them. */
static void print_raw(struct hf_writer *w, char out[HF_TOKEN_TEXT_MAX])
{
    static const char domain[] = "holdfast/v1/token-text";
    crypto_generichash_state state;
    uint8_t sum[32];

    (void)crypto_generichash_init(&state, NULL, 0, sizeof(sum));
    (void)crypto_generichash_update(&state, (const uint8_t *)domain, sizeof(domain) - 1);
    (void)crypto_generichash_update(&state, w->data, w->len);
    (void)crypto_generichash_final(&state, sum, sizeof(sum));
    hf_write_fixed(w, sum, 4);
    assert_false(w->failed);
    (void)snprintf(out, HF_TOKEN_TEXT_MAX, "hfjoin1:");
    (void)sodium_bin2base64(out + 8, HF_TOKEN_TEXT_MAX - 8, w->data, w->len,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static void write_fields(struct hf_writer *w, const struct hf_token *t, struct hf_slice url,
                         struct hf_slice name)
{
    hf_write_array(w, 6);
    hf_write_bin(w, url);
    hf_write_fixed(w, t->root.b, sizeof(t->root.b));
    hf_write_fixed(w, t->id.b, sizeof(t->id.b));
    hf_write_fixed(w, t->secret, sizeof(t->secret));
    hf_write_bin(w, name);
}

static void token_comes_back_as_it_was_printed(void **state)
{
    struct hf_token t = sample();
    struct hf_token got;
    struct hf_error e;
    char text[HF_TOKEN_TEXT_MAX];

    (void)state;
    assert_int_equal(hf_token_print(&t, text), HF_OK);
    assert_memory_equal(text, "hfjoin1:", 8);
    assert_int_equal(strspn(text + 8, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789-_"),
                     strlen(text + 8));
    assert_int_equal(hf_token_parse(text, &got, &e), HF_OK);
    assert_memory_equal(&got, &t, sizeof(t));
    assert_int_equal(hf_token_parse(text, &got, NULL), HF_OK);
}

static void longest_token_fits_its_limit(void **state)
{
    struct hf_token t = sample();
    struct hf_token got;
    struct hf_error e;
    char text[HF_TOKEN_TEXT_MAX];

    (void)state;
    memset(t.url, 'u', HF_URL_MAX);
    memset(t.name, 'n', HF_NAME_MAX);
    assert_int_equal(hf_token_print(&t, text), HF_OK);
    assert_int_equal(hf_token_parse(text, &got, &e), HF_OK);
    assert_memory_equal(&got, &t, sizeof(t));
}

static void format_is_the_documented_one(void **state)
{
    struct hf_token t = sample();
    struct hf_writer w;
    uint8_t buffer[512];
    char text[HF_TOKEN_TEXT_MAX];
    char by_hand[HF_TOKEN_TEXT_MAX];

    (void)state;
    hf_writer_init(&w, buffer, sizeof(buffer));
    write_fields(&w, &t, hf_slice_str(t.url), hf_slice_str(t.name));
    print_raw(&w, by_hand);
    assert_int_equal(hf_token_print(&t, text), HF_OK);
    assert_string_equal(text, by_hand);
}

static void white_space_around_a_token_is_ignored(void **state)
{
    struct hf_token t = sample();
    struct hf_token got;
    struct hf_error e;
    char text[HF_TOKEN_TEXT_MAX];
    char padded[HF_TOKEN_TEXT_MAX + 8];

    (void)state;
    assert_int_equal(hf_token_print(&t, text), HF_OK);
    (void)snprintf(padded, sizeof(padded), " \t%s\r\n\n", text);
    assert_int_equal(hf_token_parse(padded, &got, &e), HF_OK);
    assert_memory_equal(&got, &t, sizeof(t));
}

static void other_text_is_not_a_token(void **state)
{
    (void)state;
    assert_refused("", HF_ARG, "join token: not a holdfast token");
    assert_refused("   \n", HF_ARG, "join token: not a holdfast token");
    assert_refused("hfjoi", HF_ARG, "join token: not a holdfast token");
    assert_refused("K10abc::server:1234", HF_ARG, "join token: not a holdfast token");
}

static void token_of_another_version_is_named_as_such(void **state)
{
    (void)state;
    assert_refused("hfjoin2:AAAA", HF_VERSION,
                   "join token: of another version (this one reads \"hfjoin1:\")");
}

static void any_changed_character_is_noticed(void **state)
{
    struct hf_token t = sample();
    struct hf_token got;
    struct hf_error e;
    char text[HF_TOKEN_TEXT_MAX];

    (void)state;
    assert_int_equal(hf_token_print(&t, text), HF_OK);
    for (size_t i = 8; text[i] != '\0'; i++) {
        char was = text[i];

        text[i] = was == 'x' ? 'y' : 'x';
        assert_int_equal(hf_token_parse(text, &got, &e), HF_MALFORMED);
        text[i] = was;
    }
    text[20] = text[20] == 'x' ? 'y' : 'x';
    assert_refused(text, HF_MALFORMED, "join token: damaged (checksum)");
    text[20] = '!';
    assert_refused(text, HF_MALFORMED, "join token: damaged (characters or length)");
}

static void token_cut_short_or_run_on_is_noticed(void **state)
{
    struct hf_token t = sample();
    struct hf_token got;
    struct hf_error e;
    char text[HF_TOKEN_TEXT_MAX];
    size_t len;

    (void)state;
    assert_int_equal(hf_token_print(&t, text), HF_OK);
    len = strlen(text);
    memcpy(text + len, "AAAA", 5);
    assert_int_equal(hf_token_parse(text, &got, &e), HF_MALFORMED);
    while (len > 8) {
        text[--len] = '\0';
        assert_int_equal(hf_token_parse(text, &got, &e), HF_MALFORMED);
    }
}

static void endless_text_is_refused(void **state)
{
    static char text[100000];

    (void)state;
    memset(text, 'A', sizeof(text) - 1);
    memcpy(text, "hfjoin1:", 8);
    assert_refused(text, HF_MALFORMED, "join token: damaged (characters or length)");
}

static void bad_fields_under_a_good_checksum_are_refused(void **state)
{
    struct hf_token t = sample();
    const struct hf_slice urls[] = {hf_slice_str(""), hf_slice_str("tcp://a b"),
                                    hf_slice_of("tcp://a\0b", 9), hf_slice_str("tcp://\x1b[2J")};
    struct hf_writer w;
    uint8_t buffer[512];
    char text[HF_TOKEN_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        hf_writer_init(&w, buffer, sizeof(buffer));
        write_fields(&w, &t, urls[i], hf_slice_str(t.name));
        print_raw(&w, text);
        assert_refused(text, HF_MALFORMED, "join token: damaged (fields)");
    }
    hf_writer_init(&w, buffer, sizeof(buffer));
    write_fields(&w, &t, hf_slice_str(t.url), hf_slice_str("../etc"));
    print_raw(&w, text);
    assert_refused(text, HF_MALFORMED, "join token: damaged (fields)");
}

static void what_could_not_be_parsed_is_not_printed(void **state)
{
    struct hf_token t = sample();
    char text[HF_TOKEN_TEXT_MAX];

    (void)state;
    t.name[0] = 'E';
    assert_int_equal(hf_token_print(&t, text), HF_ARG);
    assert_string_equal(text, "");
    t = sample();
    t.url[0] = '\0';
    assert_int_equal(hf_token_print(&t, text), HF_ARG);
    t = sample();
    memset(t.url, 'u', sizeof(t.url));
    assert_int_equal(hf_token_print(&t, text), HF_ARG);
    t = sample();
    memset(t.name, 'n', sizeof(t.name));
    assert_int_equal(hf_token_print(&t, text), HF_ARG);
}

static void proof_has_its_golden_value_and_binds_all_it_names(void **state)
{
    struct hf_key edge, core;
    struct hf_hash verifier, proof, other;
    uint8_t secret[32];
    uint8_t nonce[HF_NONCE_BYTES];
    char text[2 * HF_HASH_BYTES + 1];

    (void)state;
    for (uint8_t i = 0; i < 32; i++) {
        secret[i] = i;
    }
    memcpy(nonce, secret, sizeof(nonce));
    memset(edge.b, 0xe1, sizeof(edge.b));
    memset(core.b, 0xc0, sizeof(core.b));
    verifier = hf_token_verifier(secret);
    hf_hex(verifier.b, sizeof(verifier.b), text);
    assert_string_equal(text, "91eb5198075bee1a47cf531500dd0daa703e280d7ee261996ec863e48aa045ec");
    proof = hf_token_proof(&verifier, &edge, &core, nonce);
    hf_hex(proof.b, sizeof(proof.b), text);
    assert_string_equal(text, "ed8565173c4f38201bfad0fa5c362911ddd273107cf0ad56a6f3ee093224df15");
    other = hf_token_proof(&verifier, &core, &edge, nonce);
    assert_false(hf_hash_eq(&proof, &other));
    nonce[0] ^= 1;
    other = hf_token_proof(&verifier, &edge, &core, nonce);
    assert_false(hf_hash_eq(&proof, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_comes_back_as_it_was_printed),
        cmocka_unit_test(longest_token_fits_its_limit),
        cmocka_unit_test(format_is_the_documented_one),
        cmocka_unit_test(white_space_around_a_token_is_ignored),
        cmocka_unit_test(other_text_is_not_a_token),
        cmocka_unit_test(token_of_another_version_is_named_as_such),
        cmocka_unit_test(any_changed_character_is_noticed),
        cmocka_unit_test(token_cut_short_or_run_on_is_noticed),
        cmocka_unit_test(endless_text_is_refused),
        cmocka_unit_test(bad_fields_under_a_good_checksum_are_refused),
        cmocka_unit_test(what_could_not_be_parsed_is_not_printed),
        cmocka_unit_test(proof_has_its_golden_value_and_binds_all_it_names),
    };

    if (hf_crypto_init() != HF_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
