/*
 * wrap.c - what the linker (--wrap) puts in the place of libsodium's Ed25519 in holdfast-sim, and
 * of the hashes and the opening of bodies in proto/wire.
 *
 * The object files of engines, drivers and store stay those of the daemons; only this program has
 * the memory of memo.h in between. A function belongs here when its result is the same for 200
 * edges, and what it costs is more than the XXH3 of all that it depends on.
 */
#include "hf/batch.h"
#include "hf/digest.h"
#include "sim/memo.h"

typedef int signer(unsigned char *sig, unsigned long long *sig_len, const unsigned char *message,
                   unsigned long long len, const unsigned char *secret);

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl*): the linker's names */
signer __wrap_crypto_sign_detached, __real_crypto_sign_detached;
memo_verifier __wrap_crypto_sign_verify_detached, __real_crypto_sign_verify_detached;
__typeof__(hf_element_hash) __wrap_hf_element_hash, __real_hf_element_hash;
__typeof__(hf_lthash_digest) __wrap_hf_lthash_digest, __real_hf_lthash_digest;
__typeof__(hf_frame_body_matches) __wrap_hf_frame_body_matches, __real_hf_frame_body_matches;
__typeof__(hf_body_unseal) __wrap_hf_body_unseal, __real_hf_body_unseal;

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

struct hf_hash __wrap_hf_element_hash(struct hf_slice key, hf_seq seq, struct hf_slice value)
{
    struct hf_slice parts[] = {key, hf_slice_of(&seq, sizeof(seq)), value};
    struct memo_name name = memo_name(MEMO_ELEMENT, parts, 3);
    struct hf_hash hash;
    if (!memo_hash_get(name, &hash)) {
        hash = __real_hf_element_hash(key, seq, value);
        memo_hash_put(name, &hash);
    }
    return hash;
}

struct hf_hash __wrap_hf_lthash_digest(const struct hf_lthash *lanes)
{
    struct hf_slice part = hf_slice_of(lanes->lane, sizeof(lanes->lane));
    struct memo_name name = memo_name(MEMO_LANES, &part, 1);
    struct hf_hash hash;
    if (!memo_hash_get(name, &hash)) {
        hash = __real_hf_lthash_digest(lanes);
        memo_hash_put(name, &hash);
    }
    return hash;
}

/* Only that it matches is remembered, by the body and the hash that its header names. */
bool __wrap_hf_frame_body_matches(const struct hf_frame *f)
{
    struct hf_slice parts[] = {f->body, hf_slice_of(&f->h.body_hash, sizeof(f->h.body_hash))};
    struct memo_name name = memo_name(MEMO_BODY_HASH, parts, 2);
    struct hf_hash hash;
    if (f->body.data != NULL && memo_hash_get(name, &hash)) {
        return true;
    }
    bool matches = __real_hf_frame_body_matches(f);
    if (matches) {
        memo_hash_put(name, &f->h.body_hash);
    }
    return matches;
}

/* The name has the key and each field of the header that opening looks at. */
enum hf_err __wrap_hf_body_unseal(const struct hf_header *h, struct hf_slice sealed,
                                  const struct hf_key *key, void *zctx, struct hf_writer *scratch,
                                  struct hf_writer *raw)
{
    uint64_t fields[] = {h->seq, h->content_key_id, h->compression, h->body_bytes, h->raw_bytes};
    struct hf_slice parts[] = {hf_slice_of(fields, sizeof(fields)),
                               hf_slice_of(&h->epoch_id, sizeof(h->epoch_id)),
                               hf_slice_of(key, sizeof(*key)), sealed};
    struct memo_name name = memo_name(MEMO_BODY, parts, 4);
    struct hf_slice known;
    if (memo_body_get(name, &known) && !raw->failed && known.len <= raw->cap - raw->len) {
        hf_write_raw(raw, known.data, known.len);
        return HF_OK;
    }
    size_t before = raw->len;
    enum hf_err err = __real_hf_body_unseal(h, sealed, key, zctx, scratch, raw);
    if (err == HF_OK) {
        memo_body_put(name, hf_slice_of(raw->data + before, raw->len - before));
    }
    return err;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl*) */
