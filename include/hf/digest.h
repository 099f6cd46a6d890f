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
