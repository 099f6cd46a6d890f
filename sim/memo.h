/*
 * memo.h - remembers results: 200 edges ask for the same one, of the same bytes, in this process.
 *
 * A virtual world with many edges would spend most of its time in Ed25519, BLAKE2b and ChaCha20, on
 * the same frame, the same beacon, for each edge anew. These results depend on the bytes that go in
 * and on nothing else, so one is taken from memory when all of them have been there before: a
 * signature that was verified, or made here with the secret half of the key; the hash of a record
 * or of a state; a body that was opened with that key. (128 bits of XXH3 stand for the bytes;
 * nobody in a simulation searches for collisions.) Anything else, a forged or damaged message among
 * them, goes to the real function, and a body that did not open is never remembered.
 *
 * wrap.c puts this between the unchanged object files when holdfast-sim is linked. Tables of fixed
 * size, one set for each thread; what falls out of them is computed again.
 */
#ifndef HF_SIM_MEMO_H
#define HF_SIM_MEMO_H

#include "hf/types.h"

#define MEMO_KEY_BYTES 32u
#define MEMO_SIGNATURE_BYTES 64u
/* Of longer bodies there are few, and the memory of them would not be small. */
#define MEMO_BODY_MAX (64u << 10)

/* ---- signatures ---- */

/* crypto_sign_verify_detached: 0 = the signature is right. */
typedef int memo_verifier(const unsigned char *sig, const unsigned char *message,
                          unsigned long long len, const unsigned char *key);

int memo_verify(memo_verifier *real, const unsigned char *sig, const unsigned char *message,
                unsigned long long len, const unsigned char *key);

/* That this signature is right, from who has just made it. */
void memo_signed(const unsigned char *sig, const unsigned char *message, unsigned long long len,
                 const unsigned char *key);

/* ---- hashes and bodies ---- */

/* What is asked, so that equal bytes of two questions stay apart. */
enum memo_question { MEMO_SIGNATURE = 1, MEMO_ELEMENT, MEMO_LANES, MEMO_BODY_HASH, MEMO_BODY };

/* A question with everything that its answer follows from. */
struct memo_name {
    uint64_t low, high;
};
struct memo_name memo_name(enum memo_question question, const struct hf_slice *parts, size_t count);

/* False: it has to be computed, and told with _put. */
bool memo_hash_get(struct memo_name name, struct hf_hash *out);
void memo_hash_put(struct memo_name name, const struct hf_hash *hash);

/* Likewise the bytes of an opened body, borrowed until the next _put. Those that are longer than
 * MEMO_BODY_MAX are not kept. */
bool memo_body_get(struct memo_name name, struct hf_slice *out);
void memo_body_put(struct memo_name name, struct hf_slice raw);

#endif
