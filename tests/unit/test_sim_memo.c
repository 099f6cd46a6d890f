/*
 * test_sim_memo.c - the memory of signatures never takes one for another: what was not checked,
 * byte for byte, is checked by the real function.
 */
#include "sim/memo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

static unsigned real_calls;

static int real(const unsigned char *sig, const unsigned char *message, unsigned long long len,
                const unsigned char *key)
{
    real_calls++;
    return crypto_sign_verify_detached(sig, message, len, key);
}

struct signed_text {
    unsigned char text[40], sig[64], key[32], secret[64];
};

static struct signed_text sign(unsigned char text)
{
    struct signed_text s;
    memset(s.text, text, sizeof(s.text));
    crypto_sign_keypair(s.key, s.secret);
    crypto_sign_detached(s.sig, NULL, s.text, sizeof(s.text), s.secret);
    real_calls = 0;
    return s;
}

static int verify(const struct signed_text *s)
{
    return memo_verify(real, s->sig, s->text, sizeof(s->text), s->key);
}

static void same_bytes_are_verified_once(void **state)
{
    struct signed_text s = sign(1);
    (void)state;
    assert_int_equal(verify(&s), 0);
    assert_int_equal(verify(&s), 0);
    assert_int_equal(real_calls, 1);
}

static void any_other_bit_is_verified_and_refused(void **state)
{
    struct signed_text s = sign(2);
    unsigned char *parts[] = {s.text, s.sig, s.key};
    size_t lens[] = {sizeof(s.text), sizeof(s.sig), sizeof(s.key)};
    (void)state;
    assert_int_equal(verify(&s), 0);
    for (size_t p = 0; p < 3; p++) {
        for (size_t bit = 0; bit < 8 * lens[p]; bit++) {
            parts[p][bit / 8] ^= (unsigned char)(1u << bit % 8);
            real_calls = 0;
            assert_int_not_equal(verify(&s), 0);
            assert_int_not_equal(verify(&s), 0); /* remembered as wrong */
            assert_int_equal(real_calls, 1);
            parts[p][bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
    }
    assert_int_equal(memo_verify(real, s.sig, s.text, sizeof(s.text) - 1, s.key), -1);
    assert_int_equal(verify(&s), 0);
}

static void what_was_signed_here_is_known_for_that_key_only(void **state)
{
    struct signed_text s = sign(3);
    struct signed_text other = sign(3);
    (void)state;
    memo_signed(s.sig, s.text, sizeof(s.text), s.key);
    assert_int_equal(verify(&s), 0);
    assert_int_equal(real_calls, 0);
    memcpy(other.sig, s.sig, sizeof(s.sig));
    assert_int_not_equal(verify(&other), 0);
    assert_int_equal(real_calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes_are_verified_once),
        cmocka_unit_test(any_other_bit_is_verified_and_refused),
        cmocka_unit_test(what_was_signed_here_is_known_for_that_key_only),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
