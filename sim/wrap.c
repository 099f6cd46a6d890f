/*
 * wrap.c - what the linker (--wrap) puts in the place of libsodium's Ed25519 in holdfast-sim.
 *
 * The object files of engines, drivers and store stay those of the daemons; only this program has
 * the memory of memo.h in between.
 */
#include "sim/memo.h"

typedef int signer(unsigned char *sig, unsigned long long *sig_len, const unsigned char *message,
                   unsigned long long len, const unsigned char *secret);

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl*): the linker's names */
signer __wrap_crypto_sign_detached, __real_crypto_sign_detached;
memo_verifier __wrap_crypto_sign_verify_detached, __real_crypto_sign_verify_detached;

int __wrap_crypto_sign_detached(unsigned char *sig, unsigned long long *sig_len,
                                const unsigned char *message, unsigned long long len,
                                const unsigned char *secret)
{
    int rv = __real_crypto_sign_detached(sig, sig_len, message, len, secret);
    if (rv == 0) {
        memo_signed(sig, message, len, secret + MEMO_KEY_BYTES); /* the public half is behind */
    }
    return rv;
}

int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *message,
                                       unsigned long long len, const unsigned char *key)
{
    return memo_verify(__real_crypto_sign_verify_detached, sig, message, len, key);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl*) */
