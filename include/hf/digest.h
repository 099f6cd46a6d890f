/*
 * digest.h - hashes with a domain, and the homomorphic state digest (LtHash16).
 *
 * The digest of a state is the lane-wise sum, modulo 2^16, of one 2,048-byte expansion per live
 * key, so it is updated by the changes alone and is the same whichever way a state was reached
 * (Bellare and Micciancio 1997; Lewi et al., "Securing Update Propagation with Homomorphic
 * Hashing", 2019). PROTOCOL.md section 5 has the byte-level definition and golden vectors. All
 * functions are pure.
 */
#ifndef HF_DIGEST_H
#define HF_DIGEST_H

#include "hf/types.h"

#define HF_LTHASH_LANES 1024u

struct hf_lthash {
    /* In an order that suits the machine: only _save and _load say which lane is which. */
    uint16_t lane[HF_LTHASH_LANES];
};

/* BLAKE2b-256 over domain (its characters, no terminator) and then each of the slices. */
struct hf_hash hf_hash_of(const char *domain, const struct hf_slice *parts, size_t count);

/* Hash of one live element: key, the seq of its last change, value. */
struct hf_hash hf_element_hash(struct hf_slice key, hf_seq seq, struct hf_slice value);

/* Elements on their way into or out of a sum, hashed together (elements.c). An element that was
 * noted is in the sum for sure only once the queue is settled: do so before the sum is used in any
 * way, and clear the queue when the sum goes back to what it was. Belongs to one sum. */
#define HF_ELEMENTS_WIDE 8u
#define HF_ELEMENT_WORDS 48u
struct hf_elements {
    uint32_t count;
    uint32_t len[HF_ELEMENTS_WIDE];
    bool gone[HF_ELEMENTS_WIDE];
    uint64_t message[HF_ELEMENTS_WIDE][HF_ELEMENT_WORDS]; /* the bytes, zeros behind them */
};
struct hf_element {
    struct hf_slice key;
    struct hf_slice value;
    hf_seq seq;
    bool gone; /* it is taken out */
};
/* Settles a full queue first. */
void hf_elements_note(struct hf_elements *q, struct hf_lthash *sum, const struct hf_element *e);
static inline bool hf_elements_full(const struct hf_elements *q)
{
    return q->count == HF_ELEMENTS_WIDE;
}
void hf_elements_settle(struct hf_elements *q, struct hf_lthash *sum);
void hf_elements_clear(struct hf_elements *q);

/* sum += element, as little-endian numbers modulo 2^256: the fingerprint of a range (PROTOCOL.md
 * section 8.5). An attacker can make two ranges agree in it: nothing but where to look may follow
 * from it. */
void hf_fingerprint_add(struct hf_hash *sum, const struct hf_hash *element);

void hf_lthash_clear(struct hf_lthash *h);
void hf_lthash_add(struct hf_lthash *h, const struct hf_hash *element);
void hf_lthash_sub(struct hf_lthash *h, const struct hf_hash *element);
/* h += other, lane by lane: joins the digests of disjoint sets. */
void hf_lthash_merge(struct hf_lthash *h, const struct hf_lthash *other);
/* The 32 bytes that headers and beacons carry. */
struct hf_hash hf_lthash_digest(const struct hf_lthash *h);
/* Lanes to and from 2,048 bytes little-endian, as the store keeps them. */
void hf_lthash_save(const struct hf_lthash *h, uint8_t out[2048]);
void hf_lthash_load(struct hf_lthash *h, const uint8_t in[2048]);

#endif
