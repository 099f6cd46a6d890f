/*
 * batch.h - the batch frame: a signed header, and a sealed body of changes with their audit trail.
 *
 * A frame message = prefix (20 bytes) || msgpack [bin header, bin signature, bin body or nil]. A
 * frame that would pass HF_MESSAGE_MAX travels with nil for a body, which is then fetched by (seq,
 * offset). The header is what is signed, hashed into the chain and kept as evidence; it is decoded
 * from, and compared as, the very bytes that were signed. PROTOCOL.md sections 3 and 4.
 *
 * Nothing here allocates. Decoders borrow from their input. "Pure": no clock, no randomness.
 */
#ifndef HF_BATCH_H
#define HF_BATCH_H

#include "hf/cursor.h"
#include "hf/err.h"
#include "hf/types.h"

#define HF_WIRE_VERSION 1u
#define HF_PREFIX_BYTES 20u /* "HF", version, kind, stream id */
#define HF_HEADER_MAX 512u  /* encoded header, unknown trailing elements included */
/* What sealing adds to a body. */
#define HF_BODY_SEAL_OVERHEAD (HF_NONCE_BYTES + HF_TAG_BYTES)
#define HF_BODY_SEALED_MAX (HF_BATCH_RAW_MAX + 4096u)
/* What a frame message adds to its header and body: prefix, array, three bin headers, signature. */
#define HF_FRAME_OVERHEAD (HF_PREFIX_BYTES + 1u + 5u + 5u + 5u + HF_SIGNATURE_BYTES)
#define HF_FRAME_MESSAGE_MAX (HF_FRAME_OVERHEAD + HF_HEADER_MAX + HF_BODY_SEALED_MAX)

enum hf_kind {
    HF_KIND_BATCH = 1,   /* stream and FETCH LOG */
    HF_KIND_BEACON = 2,  /* stream */
    HF_KIND_SURVEY = 3,  /* stream: a nonce; every edge answers with a REPORT at once */
    HF_KIND_REQUEST = 4, /* control, edge to core */
    HF_KIND_REPLY = 5,   /* control, core to edge */
};

enum hf_batch_kind {
    HF_BATCH_DATA = 0,
    HF_BATCH_KEYS = 1,       /* reserved: key list change */
    HF_BATCH_DICTIONARY = 2, /* no changes, but a dictionary for later bodies (hf/dictionary.h) */
    HF_BATCH_EPOCH_END = 3,  /* reserved */
};

enum hf_compression {
    HF_COMPRESSION_NONE = 0,
    HF_COMPRESSION_ZSTD = 1,
    HF_COMPRESSION_DICTIONARY = 2, /* bodies only: zstd with a dictionary, which it names */
};

struct hf_header {
    uint32_t kind; /* enum hf_batch_kind */
    struct hf_id epoch_id;
    uint64_t epoch;
    hf_seq seq;
    struct hf_hash prev; /* chain hash of the header before; genesis hash for seq 1 */
    uint32_t signer_id;
    uint32_t key_list_version;
    struct hf_hash body_hash; /* BLAKE2b-256 of the sealed body */
    uint32_t body_bytes;      /* of the sealed body */
    uint32_t raw_bytes;       /* of the encoded changes and meta */
    uint32_t compression;
    uint32_t content_key_id;
    struct hf_hash digest; /* state digest after this batch */
    uint64_t published_ms; /* wall clock of the core, for display only */
    uint32_t change_count;
    uint32_t flags_critical; /* an unknown one stops an edge: HF_UPGRADE */
    uint32_t flags_optional; /* an unknown one is ignored */
};

#define HF_FLAGS_CRITICAL_KNOWN 0u

struct hf_frame {
    struct hf_slice header; /* the signed bytes */
    struct hf_signature signature;
    struct hf_slice body; /* sealed; data == NULL when the frame travels alone */
    struct hf_header h;   /* decoded header */
};

/* ---- messages ---- */

/* Writes the 20-byte prefix. */
void hf_prefix_write(struct hf_writer *w, enum hf_kind kind, const struct hf_id *stream);
/* Reads it; HF_MALFORMED on a foreign magic or unknown kind, HF_VERSION on another wire version. */
enum hf_err hf_prefix_read(struct hf_reader *r, enum hf_kind *kind, struct hf_id *stream);

/* ---- header and frame ---- */

void hf_header_encode(const struct hf_header *h, struct hf_writer *w);
/* Checks shape, bounds and canonicality of the known fields. HF_MALFORMED, HF_UPGRADE. With
 * HF_UPGRADE (only then is a failed *h written) the fields are there but their bounds unchecked, so
 * that the caller finds the signer and verifies before it believes that an upgrade is needed. */
enum hf_err hf_header_decode(struct hf_slice bytes, struct hf_header *h);
/* BLAKE2b-256("holdfast/v1/chain" || header bytes). */
struct hf_hash hf_chain_hash(struct hf_slice header);

void hf_header_sign(struct hf_slice header, const uint8_t secret[HF_SECRET_BYTES],
                    struct hf_signature *out);
bool hf_header_verify(struct hf_slice header, const struct hf_signature *sig,
                      const struct hf_key *signer);

/* The whole message. body.data == NULL writes nil. */
void hf_frame_encode(const struct hf_id *stream, struct hf_slice header,
                     const struct hf_signature *sig, struct hf_slice body, struct hf_writer *w);
/* Signs a frame message of this process in place, which has any bytes for a signature; *sig is a
 * copy. Returns where in it the signature begins. */
uint32_t hf_frame_sign(uint8_t *message, size_t len, const uint8_t secret[HF_SECRET_BYTES],
                       struct hf_signature *sig);
/* Parses a whole frame message (prefix included) and its header; checks no signature. If a body is
 * there its length equals h.body_bytes. HF_MALFORMED, HF_VERSION; HF_UPGRADE as above: *stream and
 * *f are filled, and nothing in them may be believed before the signature is verified. */
enum hf_err hf_frame_decode(struct hf_slice message, struct hf_id *stream, struct hf_frame *f);
/* Writes the frame message without its body: what travels when the whole would be too large. As
 * hf_frame_decode; HF_TOO_BIG when out is too small. */
enum hf_err hf_frame_alone(struct hf_slice message, struct hf_writer *out);
/* True when BLAKE2b-256 of the body is what the header says. */
bool hf_frame_body_matches(const struct hf_frame *f);

/* ---- body: msgpack [[change...], [meta...]] ---- */

enum hf_op {
    HF_OP_PUT = 0,
    HF_OP_DEL = 1,
};

struct hf_change {
    enum hf_op op;
    struct hf_slice key;
    struct hf_slice value; /* empty for a del */
};

/* One request of the batch: what was asked, by whom and why, and which changes it made. */
struct hf_meta {
    struct hf_slice request_id;
    struct hf_hash
        content_hash; /* of the request as it came: finds a reused id with other content */
    struct hf_slice author;
    struct hf_slice reason;
    uint32_t first_ordinal;
    uint32_t count;
};

/* A batch may carry requests that changed nothing, so metas have a bound of their own. */
#define HF_BODY_METAS_MAX HF_BATCH_CHANGES_MAX
/* Bytes of a raw body beside its changes and metas, at most: three array headers. */
#define HF_BODY_OVERHEAD (1u + 5u + 5u)

/* Bytes that one change or meta entry adds to the raw body, at most. */
size_t hf_change_bytes_max(const struct hf_change *c);
size_t hf_meta_bytes_max(const struct hf_meta *m);

/* Usage: body_begin(changes), put each change, body_meta(count), put each meta. */
void hf_body_begin(struct hf_writer *w, uint32_t change_count);
void hf_body_change(struct hf_writer *w, const struct hf_change *c);
void hf_body_meta_begin(struct hf_writer *w, uint32_t meta_count);
void hf_body_meta(struct hf_writer *w, const struct hf_meta *m);

struct hf_body {
    uint32_t change_count;
    uint32_t meta_count;
    struct hf_reader changes; /* at the first change */
    struct hf_reader metas;   /* at the first meta entry */
};

/* Walks the raw body once and checks all of it (ops, key and value bounds, keys distinct is the
 * digest's business, meta ordinals inside change_count, nothing trailing). */
enum hf_err hf_body_open(struct hf_slice raw, uint32_t change_count, struct hf_body *b);
/* Iterators over an opened body; false at the end. */
bool hf_body_next_change(struct hf_body *b, struct hf_change *c);
bool hf_body_next_meta(struct hf_body *b, struct hf_meta *m);

/* ---- sealed body: nonce || XChaCha20-Poly1305(zstd(raw) or raw) ---- */

/* Seals raw into out. The associated data binds (epoch id, seq, content key id). Compresses with
 * zstd level 1 when raw is 512 bytes or more and that gains 5 %. `zctx` is a ZSTD_CCtx (reused, may
 * be NULL: then no compression) and `scratch` holds ZSTD_compressBound(raw.len) bytes. Fills the
 * header's body_hash, body_bytes, raw_bytes, compression and content_key_id; epoch_id and seq must
 * be set before. */
enum hf_err hf_body_seal(struct hf_header *h, struct hf_slice raw, uint32_t key_id,
                         const struct hf_key *key, const uint8_t nonce[HF_NONCE_BYTES], void *zctx,
                         struct hf_writer *scratch, struct hf_writer *out);
/* Opens a body whose hash was already checked. `raw` must have room for h->raw_bytes, `scratch` for
 * h->body_bytes (used only when compressed). `zctx` is a ZSTD_DCtx. HF_AUTH, HF_MALFORMED. */
enum hf_err hf_body_unseal(const struct hf_header *h, struct hf_slice sealed,
                           const struct hf_key *key, void *zctx, struct hf_writer *scratch,
                           struct hf_writer *raw);
/* The two halves of them: seals what is packed already, h->raw_bytes and h->compression set; and
 * decrypts, to the beginning of plain. */
enum hf_err hf_body_seal_plain(struct hf_header *h, struct hf_slice plain, uint32_t key_id,
                               const struct hf_key *key, const uint8_t nonce[HF_NONCE_BYTES],
                               struct hf_writer *out);
enum hf_err hf_body_decrypt(const struct hf_header *h, struct hf_slice sealed,
                            const struct hf_key *key, struct hf_writer *plain);

#endif
