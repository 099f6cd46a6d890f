/*
 * seal.h - identities, genesis, beacons, and the envelope of control messages.
 *
 * A node has one Ed25519 identity. The envelope's keys are derived from the X25519 forms of two
 * identities, one key for each direction, so a message cannot be reflected. All signatures and
 * hashes carry a domain string. Randomness comes in as an argument. PROTOCOL.md sections 1 and 6.
 */
#ifndef HF_SEAL_H
#define HF_SEAL_H

#include "hf/batch.h"
#include "hf/err.h"
#include "hf/types.h"

/* ---- identity ---- */

struct hf_identity {
    struct hf_key public_key;
    uint8_t *secret; /* owned; HF_SECRET_BYTES in sodium_malloc memory */
};

/* Must be called once before anything else of this header. */
enum hf_err hf_crypto_init(void);
/* From a 32-byte seed; HF_NOMEM when guarded memory cannot be had. */
enum hf_err hf_identity_from_seed(struct hf_identity *id, const uint8_t seed[32]);
void hf_identity_free(struct hf_identity *id); /* wipes */
/* Guarded memory of any length for other secrets. */
void *hf_secret_new(size_t len);
void hf_secret_free(void *p);

/* Ed25519 over domain || message, which is at most HF_SIGNED_MAX bytes (else false). */
#define HF_SIGNED_MAX 4096u
bool hf_sign(const char *domain, struct hf_slice message, const uint8_t secret[HF_SECRET_BYTES],
             struct hf_signature *out);
bool hf_verify(const char *domain, struct hf_slice message, const struct hf_signature *sig,
               const struct hf_key *signer);
/* The form of everything signed that travels or is kept alone: msgpack [bin body, bin signature].
 * Exactly two elements, nothing behind them: what is not signed has no place there. */
#define HF_SIGNED_OVERHEAD (1u + 3u + 2u + HF_SIGNATURE_BYTES)
void hf_signed_write(struct hf_writer *w, struct hf_slice body, const struct hf_signature *sig);
/* Checks the form only. `body` is borrowed and at most max bytes. HF_MALFORMED. */
enum hf_err hf_signed_split(struct hf_slice bytes, size_t max, struct hf_slice *body,
                            struct hf_signature *sig);
/* Keyed BLAKE2b of out_len (16..64) bytes over domain and parts. */
void hf_keyed_hash(const char *domain, const uint8_t *key, size_t key_len,
                   const struct hf_slice *parts, size_t count, uint8_t *out, size_t out_len);
/* Constant time. */
bool hf_secret_eq(const void *a, const void *b, size_t len);

/* Keys and ids as text: lower-case hex; hash and key parse fails with HF_ARG on any other form. */
void hf_hex(const void *bytes, size_t len, char *out /* 2*len+1 */);
enum hf_err hf_unhex(const char *text, void *out, size_t len);

/* ---- genesis: seq 0 of an epoch, signed by the root key ---- */

/* Ed25519, BLAKE2b-256, XChaCha20-Poly1305, LtHash16. */
#define HF_ALGORITHMS_V1 1u
#define HF_SIGNERS_MAX 16u
#define HF_GENESIS_MAX 4096u /* signed, as it travels */

/* Sequence numbers from outside stay below this, so that adding to one never wraps. */
#define HF_SEQ_MAX ((hf_seq)INT64_MAX)

#define HF_SIGNER_PUBLISH 1u /* role: batches and beacons */

struct hf_signer {
    uint32_t id;
    struct hf_key key;
    uint32_t role;
    hf_seq from;
    hf_seq to; /* inclusive; UINT64_MAX = open */
};

struct hf_position { /* a point of a history */
    struct hf_id epoch_id;
    hf_seq seq;
    struct hf_hash chain;
    struct hf_hash digest;
};

struct hf_genesis {
    struct hf_id stream;
    char name[HF_NAME_MAX + 1];
    uint64_t epoch;
    struct hf_id epoch_id;
    struct hf_key root;
    uint32_t key_list_version;
    uint32_t signer_count;
    struct hf_signer signer[HF_SIGNERS_MAX];
    bool has_parent;
    struct hf_position parent;
    struct hf_hash digest; /* starting digest */
    uint32_t algorithms;   /* HF_ALGORITHMS_V1 */
    uint32_t flags_critical;
};

/* Encodes msgpack [bin genesis, bin signature]. HF_ARG when g is not valid or root_secret is not
 * the secret of g->root; HF_TOO_BIG when w is too small. */
enum hf_err hf_genesis_sign(const struct hf_genesis *g, const uint8_t root_secret[HF_SECRET_BYTES],
                            struct hf_writer *w);
/* Checks the signature under the root key that the caller pinned. chain = the `prev` of seq 1.
 * HF_MALFORMED, HF_AUTH, HF_VERSION (other algorithms), HF_UPGRADE (unknown critical flag). */
enum hf_err hf_genesis_open(struct hf_slice signed_bytes, const struct hf_key *pinned_root,
                            struct hf_genesis *g, struct hf_hash *chain);
/* The key of signer id at seq for role 1; NULL when there is none. Borrowed from g. */
const struct hf_key *hf_genesis_signer(const struct hf_genesis *g, uint32_t signer_id, hf_seq seq);

/* ---- beacon ---- */

#define HF_BEACON_MAX 512u /* signed, as it travels */
#define HF_PROOF_MAX 8u    /* Merkle path: up to 256 requests under one signature */

struct hf_beacon {
    struct hf_id epoch_id;
    hf_seq head;
    struct hf_hash chain;
    struct hf_hash digest;
    hf_seq log_floor;   /* the lowest seq that LOG can still give; head+1 when none */
    hf_seq delta_floor; /* DELTA (lo, ...] works for lo >= this */
    uint32_t key_list_version;
    uint64_t counter; /* grows with every beacon of a core, over its restarts */
    uint64_t time_ms; /* wall clock of the core, for display only */
    bool has_nonce;
    struct hf_hash nonce; /* R: hash of a request's nonce, or the Merkle root of several */
    uint32_t signer_id;
};

/* Encodes msgpack [bin beacon, bin signature] (no prefix). */
void hf_beacon_sign(const struct hf_beacon *b, const uint8_t secret[HF_SECRET_BYTES],
                    struct hf_writer *w);
/* Decodes without checking the signature (to find the signer), then hf_beacon_verify. */
enum hf_err hf_beacon_decode(struct hf_slice signed_bytes, struct hf_beacon *b);
bool hf_beacon_verify(struct hf_slice signed_bytes, const struct hf_key *signer);
/* R of one request: hash of its nonce. */
struct hf_hash hf_beacon_leaf(const uint8_t nonce[HF_NONCE_BYTES]);
/* Root of the Merkle tree over count (1..256) leaves, and the path of leaf `index`. An odd node is
 * promoted, so a path may be shorter than the tree is high; (index, length) still say on which
 * levels it has an entry, and fold needs no count. A path that fits no tree folds to all zero. */
struct hf_hash hf_merkle_root(const struct hf_hash *leaves, size_t count);
size_t hf_merkle_path(const struct hf_hash *leaves, size_t count, size_t index,
                      struct hf_hash path[HF_PROOF_MAX]);
struct hf_hash hf_merkle_fold(const struct hf_hash *leaf, size_t index, const struct hf_hash *path,
                              size_t path_len);

/* ---- envelope ---- */

#define HF_COOKIE_BYTES HF_ID_BYTES

/* The two keys between an edge and a core. Keep in guarded memory. */
struct hf_envelope_keys {
    uint8_t request[32];
    uint8_t reply[32];
};

/* Whether hf_envelope_derive takes it as the other's. */
bool hf_key_is_point(const struct hf_key *key);
/* From one's own secret identity and the other's public one; the same on both sides.
 * HF_AUTH when the public key is not a valid point. */
enum hf_err hf_envelope_derive(const struct hf_identity *self, const struct hf_key *other,
                               struct hf_envelope_keys *keys);

struct hf_envelope {
    struct hf_id stream;  /* all zero while an edge does not know it yet */
    struct hf_key sender; /* edge identity; requests carry it, replies leave it out */
    struct hf_id cookie;
    uint8_t nonce[HF_NONCE_BYTES];
};

/* REQUEST message = prefix || sender key || cookie || nonce || sealed plain. Associated data:
 * magic, version, direction, stream, sender, recipient, cookie. */
void hf_request_seal(const struct hf_envelope *e, const struct hf_key *recipient,
                     const struct hf_envelope_keys *keys, struct hf_slice plain,
                     struct hf_writer *w);
/* Splits a request without decrypting it. `sealed` is borrowed from the message. HF_MALFORMED,
 * HF_VERSION, HF_TOO_BIG. */
enum hf_err hf_request_split(struct hf_slice message, struct hf_envelope *e,
                             struct hf_slice *sealed);
/* HF_AUTH when it does not open, HF_TOO_BIG when w is too small. Writes the plain text into w. */
enum hf_err hf_request_open(const struct hf_envelope *e, const struct hf_key *recipient,
                            const struct hf_envelope_keys *keys, struct hf_slice sealed,
                            struct hf_writer *w);

/* e->sender is the edge that asked, here the recipient.
 * REPLY message = prefix || cookie || nonce || length of the tail || sealed plain || tail. The last
 * tail_len bytes of plain, which are sealed under a content key already (hf_reply_tail), travel as
 * they are. The associated data also has the request's nonce, so a reply answers one request only,
 * and the tail. */
void hf_reply_seal(const struct hf_envelope *e, const struct hf_key *sender,
                   const uint8_t request_nonce[HF_NONCE_BYTES], const struct hf_envelope_keys *keys,
                   struct hf_slice plain, size_t tail_len, struct hf_writer *w);
/* Writes all of plain into w. On success e->cookie is the fresh cookie and e->stream the stream id
 * of the reply. HF_AUTH when it does not open, HF_TOO_BIG (or w is too small), HF_MALFORMED,
 * HF_VERSION. */
enum hf_err hf_reply_open(struct hf_slice message, const struct hf_key *sender,
                          const struct hf_key *recipient,
                          const uint8_t request_nonce[HF_NONCE_BYTES],
                          const struct hf_envelope_keys *keys, struct hf_envelope *e,
                          struct hf_writer *w);
/* Bytes that an envelope adds to its plain text, either direction, at most. */
#define HF_ENVELOPE_OVERHEAD                                                                       \
    (HF_PREFIX_BYTES + HF_KEY_BYTES + HF_COOKIE_BYTES + HF_NONCE_BYTES + HF_TAG_BYTES)

/* AEAD for chunks of DELTA and KEYS: out = nonce || ciphertext || tag. The associated data is
 * "holdfast/v1/chunk" || descriptor, since batch bodies are sealed under the same keys. */
#define HF_DESCRIPTOR_MAX 1280u
void hf_chunk_seal(const struct hf_key *key, const uint8_t nonce[HF_NONCE_BYTES],
                   struct hf_slice descriptor, struct hf_slice plain, struct hf_writer *out);
enum hf_err hf_chunk_unseal(const struct hf_key *key, struct hf_slice descriptor,
                            struct hf_slice sealed, struct hf_writer *out);

/* ---- join token ---- */

#define HF_TOKEN_TEXT_MAX 1024u
#define HF_URL_MAX 255u

struct hf_token {
    char url[HF_URL_MAX + 1]; /* stream URL; control is the next port */
    struct hf_key root;       /* pinned by the edge */
    struct hf_id id;
    uint8_t secret[32];
    char name[HF_NAME_MAX + 1]; /* of the edge */
};

/* "hfjoin1:" and base64url of the msgpack form with a checksum. The text holds the secret: wipe it.
 * HF_ARG when a field of t is not valid. */
enum hf_err hf_token_print(const struct hf_token *t, char out[HF_TOKEN_TEXT_MAX]);
/* White space around the text is ignored. HF_ARG: no token at all; HF_VERSION: of another version;
 * HF_MALFORMED: damaged. */
enum hf_err hf_token_parse(const char *text, struct hf_token *t, struct hf_error *e);
/* What a core keeps instead of the secret. */
struct hf_hash hf_token_verifier(const uint8_t secret[32]);
/* Proof in JOIN: keyed BLAKE2b of (edge key, core key, request nonce) under the verifier. */
struct hf_hash hf_token_proof(const struct hf_hash *verifier, const struct hf_key *edge,
                              const struct hf_key *core, const uint8_t nonce[HF_NONCE_BYTES]);

/* Edge and stream names: 1..63 of [a-z0-9._-], beginning with a letter or digit. */
bool hf_name_valid(struct hf_slice name);

#endif
