/*
 * digest.c - hashes with a domain, and LtHash16 over BLAKE2b and ChaCha20.
 *
 *     element hash = see elements.c
 *     lanes        = ChaCha20 stream (key = element hash, nonce = 8 zero bytes, from block 0),
 *                    2,048 bytes taken as 1,024 u16 little-endian
 *     fingerprint  = sum of element hashes as little-endian numbers, modulo 2^256
 *     state digest = BLAKE2b-256("holdfast/v1/state" || 2,048 bytes of the summed lanes, u16le)
 *
 * Invariant: adding and then subtracting an element leaves every lane as it was, and the order of
 * additions does not matter; the digest of a state is a function of its live elements alone. The
 * domain and both lengths are hashed, so no two elements share an encoding.
 *
 * Must not: allocate, or know in which order expand.c keeps the lanes in memory.
 *
 * Read next: elements.c for the hashes, expand.c for the lanes; include/hf/digest.h;
 * tests/unit/test_digest.c has golden vectors of another hand.
 */
#include "hf/digest.h"

#include "expand.h"

#include "hf/err.h"

#include <sodium.h>

#define LANE_BYTES (HF_LTHASH_LANES * sizeof(uint16_t))

static const char state_domain[] = "holdfast/v1/state";

struct hf_hash hf_hash_of(const char *domain, const struct hf_slice *parts, size_t count)
{
    crypto_generichash_state state;
    struct hf_hash out;

    crypto_generichash_init(&state, NULL, 0, HF_HASH_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)domain, strlen(domain));
    for (size_t i = 0; i < count; i++) {
        crypto_generichash_update(&state, parts[i].data, parts[i].len);
    }
    crypto_generichash_final(&state, out.b, HF_HASH_BYTES);
    return out;
}

void hf_fingerprint_add(struct hf_hash *sum, const struct hf_hash *element)
{
    unsigned carry = 0;

    for (size_t i = 0; i < HF_HASH_BYTES; i++) {
        carry += (unsigned)sum->b[i] + element->b[i];
        sum->b[i] = (uint8_t)carry;
        carry >>= 8;
    }
}

void hf_lthash_clear(struct hf_lthash *h)
{
    memset(h, 0, sizeof(*h));
}

void hf_lthash_add(struct hf_lthash *h, const struct hf_hash *element)
{
    hf_expand_add(element, h->lane);
}

void hf_lthash_sub(struct hf_lthash *h, const struct hf_hash *element)
{
    hf_expand_sub(element, h->lane);
}

void hf_lthash_merge(struct hf_lthash *h, const struct hf_lthash *other)
{
    /* A copy cannot overlap h, and only then does gcc 12 add whole vectors at -O2. */
    struct hf_lthash copy = *other;

    for (size_t i = 0; i < HF_LTHASH_LANES; i++) {
        h->lane[i] = (uint16_t)(h->lane[i] + copy.lane[i]);
    }
}

void hf_lthash_save(const struct hf_lthash *h, uint8_t out[2048])
{
    hf_expand_save(h->lane, out);
}

void hf_lthash_load(struct hf_lthash *h, const uint8_t in[2048])
{
    hf_expand_load(in, h->lane);
}

struct hf_hash hf_lthash_digest(const struct hf_lthash *h)
{
    uint8_t bytes[LANE_BYTES];
    struct hf_slice part = hf_slice_of(bytes, sizeof(bytes));

    hf_lthash_save(h, bytes);
    return hf_hash_of(state_domain, &part, 1);
}
