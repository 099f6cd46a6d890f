/*
 * memo.h - remembers signatures: 200 edges check the same one, and it was made in this process.
 *
 * A virtual world with many edges would spend most of its time in Ed25519, on the same frame, the
 * same beacon, for each edge anew. The result depends on signature, message and key alone, so it is
 * taken from memory when all three have been there before, to the byte: they were verified, or the
 * signature was made here, with the secret half of the key. (128 bits of XXH3 over all of them
 * stand for the bytes; nobody in a simulation searches for collisions.) Anything else, a forged or
 * damaged message among them, goes to the real function.
 *
 * wrap.c puts this between the unchanged object files and libsodium when holdfast-sim is linked.
 * One table for each thread.
 */
#ifndef HF_SIM_MEMO_H
#define HF_SIM_MEMO_H

#include <stdint.h>

#define MEMO_KEY_BYTES 32u
#define MEMO_SIGNATURE_BYTES 64u

/* crypto_sign_verify_detached: 0 = the signature is right. */
typedef int memo_verifier(const unsigned char *sig, const unsigned char *message,
                          unsigned long long len, const unsigned char *key);

int memo_verify(memo_verifier *real, const unsigned char *sig, const unsigned char *message,
                unsigned long long len, const unsigned char *key);

/* That this signature is right, from who has just made it. */
void memo_signed(const unsigned char *sig, const unsigned char *message, unsigned long long len,
                 const unsigned char *key);

#endif
