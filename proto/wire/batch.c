/*
 * batch.c - prefix, header and frame: the outside of a batch, up to its signature.
 *
 *     message = "HF" || u8 wire version (1) || u8 kind || stream id (16)       the prefix, 20 bytes
 *               || msgpack [bin header, bin(64) signature, bin body | nil]
 *     header  = msgpack [kind, bin(16) epoch id, epoch, seq, bin(32) prev, signer id,
 *               key list version, bin(32) body hash, body bytes, raw bytes, compression,
 *               content key id, bin(32) state digest, published ms, change count,
 *               critical flags, optional flags, ...up to 15 elements of later versions]
 *     signature  = Ed25519("holdfast/v1/batch" || header)
 *     chain hash = BLAKE2b-256("holdfast/v1/chain" || header)
 *
 * Invariant: signature, chain and evidence are always over the header's bytes as they came, never
 * over bytes encoded again, so elements that this version does not know stay under the signature.
 * The three elements of a frame are exact: nothing unsigned can be carried along with it.
 *
 * Must not: allocate, decide whether a signer is allowed, or look into the body (body.c).
 *
 * Read next: include/hf/batch.h; proto/wire/body.c; proto/PROTOCOL.md sections 3 and 4.
 */
#include "hf/batch.h"

#include "hf/dictionary.h"

#include "fields.h"

#include "hf/digest.h"

#include <sodium.h>

enum {
    HEADER_FIELDS = 17,
    /* Room for what later versions add; HF_HEADER_MAX is the bound that matters. */
    HEADER_FIELDS_MAX = 32,
    FRAME_FIELDS = 3,
    DICTIONARY_RAW_MAX = HF_DICTIONARY_BYTES_MAX + 512, /* and what later versions add to it */
};

static const char signature_domain[] = "holdfast/v1/batch";
static const char chain_domain[] = "holdfast/v1/chain";
static const uint8_t magic[2] = {'H', 'F'};

/* ---- messages ---- */

static bool kind_known(uint8_t kind)
{
    switch ((enum hf_kind)kind) {
    case HF_KIND_BATCH:
    case HF_KIND_BEACON:
    case HF_KIND_SURVEY:
    case HF_KIND_REQUEST:
    case HF_KIND_REPLY:
        return true;
    }
    return false;
}

void hf_prefix_write(struct hf_writer *w, enum hf_kind kind, const struct hf_id *stream)
{
    const uint8_t fixed[4] = {magic[0], magic[1], HF_WIRE_VERSION, (uint8_t)kind};

    hf_write_raw(w, fixed, sizeof(fixed));
    hf_write_raw(w, stream->b, HF_ID_BYTES);
}

enum hf_err hf_prefix_read(struct hf_reader *r, enum hf_kind *kind, struct hf_id *stream)
{
    struct hf_slice prefix = hf_read_raw(r, HF_PREFIX_BYTES);

    if (r->failed || memcmp(prefix.data, magic, sizeof(magic)) != 0) {
        return HF_MALFORMED;
    }
    /* Before the kind: another version may have kinds that we cannot know. */
    if (prefix.data[2] != HF_WIRE_VERSION) {
        return HF_VERSION;
    }
    if (!kind_known(prefix.data[3])) {
        return HF_MALFORMED;
    }
    *kind = (enum hf_kind)prefix.data[3];
    memcpy(stream->b, prefix.data + 4, HF_ID_BYTES);
    return HF_OK;
}

/* ---- header ---- */

void hf_header_encode(const struct hf_header *h, struct hf_writer *w)
{
    hf_write_array(w, HEADER_FIELDS);
    hf_write_uint(w, h->kind);
    hf_write_fixed(w, h->epoch_id.b, HF_ID_BYTES);
    hf_write_uint(w, h->epoch);
    hf_write_uint(w, h->seq);
    hf_write_fixed(w, h->prev.b, HF_HASH_BYTES);
    hf_write_uint(w, h->signer_id);
    hf_write_uint(w, h->key_list_version);
    hf_write_fixed(w, h->body_hash.b, HF_HASH_BYTES);
    hf_write_uint(w, h->body_bytes);
    hf_write_uint(w, h->raw_bytes);
    hf_write_uint(w, h->compression);
    hf_write_uint(w, h->content_key_id);
    hf_write_fixed(w, h->digest.b, HF_HASH_BYTES);
    hf_write_uint(w, h->published_ms);
    hf_write_uint(w, h->change_count);
    hf_write_uint(w, h->flags_critical);
    hf_write_uint(w, h->flags_optional);
}

static uint32_t read_u32(struct hf_reader *r)
{
    return (uint32_t)hf_read_uint(r, UINT32_MAX);
}

/* Reads all fields and steps over those of later versions; the reader tells whether it worked. */
static void read_fields(struct hf_reader *r, struct hf_header *h)
{
    uint32_t fields = hf_read_array(r, HEADER_FIELDS, HEADER_FIELDS_MAX);

    h->kind = read_u32(r);
    hf_read_fixed(r, h->epoch_id.b, HF_ID_BYTES);
    h->epoch = hf_read_uint(r, UINT64_MAX);
    h->seq = hf_read_seq(r);
    hf_read_fixed(r, h->prev.b, HF_HASH_BYTES);
    h->signer_id = read_u32(r);
    h->key_list_version = read_u32(r);
    hf_read_fixed(r, h->body_hash.b, HF_HASH_BYTES);
    h->body_bytes = read_u32(r);
    h->raw_bytes = read_u32(r);
    h->compression = read_u32(r);
    h->content_key_id = read_u32(r);
    hf_read_fixed(r, h->digest.b, HF_HASH_BYTES);
    h->published_ms = hf_read_uint(r, UINT64_MAX);
    h->change_count = read_u32(r);
    h->flags_critical = read_u32(r);
    h->flags_optional = read_u32(r);
    if (!r->failed) {
        hf_read_skip(r, fields - HEADER_FIELDS);
    }
}

static bool compression_known(uint32_t compression)
{
    switch ((enum hf_compression)compression) {
    case HF_COMPRESSION_NONE:
    case HF_COMPRESSION_ZSTD:
    case HF_COMPRESSION_DICTIONARY:
        return true;
    }
    return false;
}

/* The reserved kinds are refused until a version says what they mean: as data they would be applied
 * as what they are not. */
static bool in_bounds(const struct hf_header *h)
{
    bool kind =
        h->kind == HF_BATCH_DATA || (h->kind == HF_BATCH_DICTIONARY && h->change_count == 0 &&
                                     h->raw_bytes <= DICTIONARY_RAW_MAX);

    return kind && compression_known(h->compression) && h->seq >= 1 &&
           h->body_bytes <= HF_BODY_SEALED_MAX && h->raw_bytes <= HF_BATCH_RAW_MAX &&
           h->change_count <= HF_BATCH_CHANGES_MAX;
}

enum hf_err hf_header_decode(struct hf_slice bytes, struct hf_header *h)
{
    struct hf_header decoded;
    struct hf_reader r;

    if (bytes.len > HF_HEADER_MAX) {
        return HF_MALFORMED;
    }
    hf_reader_init(&r, bytes);
    read_fields(&r, &decoded);
    if (!hf_reader_done(&r)) {
        return HF_MALFORMED;
    }
    /* Before the bounds: a later version that sets a critical flag may also have new kinds and
     * limits, and "upgrade needed" is then the truer answer. */
    if ((decoded.flags_critical & ~HF_FLAGS_CRITICAL_KNOWN) != 0) {
        *h = decoded;
        return HF_UPGRADE;
    }
    if (!in_bounds(&decoded)) {
        return HF_MALFORMED;
    }
    *h = decoded;
    return HF_OK;
}

struct hf_hash hf_chain_hash(struct hf_slice header)
{
    return hf_hash_of(chain_domain, &header, 1);
}

/* Writes domain || header, what is signed, and returns its length. */
static size_t signed_text(struct hf_slice header,
                          uint8_t out[sizeof(signature_domain) + HF_HEADER_MAX])
{
    size_t domain_len = sizeof(signature_domain) - 1;

    memcpy(out, signature_domain, domain_len);
    if (header.len > 0) {
        memcpy(out + domain_len, header.data, header.len);
    }
    return domain_len + header.len;
}

void hf_header_sign(struct hf_slice header, const uint8_t secret[HF_SECRET_BYTES],
                    struct hf_signature *out)
{
    uint8_t text[sizeof(signature_domain) + HF_HEADER_MAX];

    HF_ASSERT(header.len <= HF_HEADER_MAX);
    (void)crypto_sign_detached(out->b, NULL, text, signed_text(header, text), secret);
}

bool hf_header_verify(struct hf_slice header, const struct hf_signature *sig,
                      const struct hf_key *signer)
{
    uint8_t text[sizeof(signature_domain) + HF_HEADER_MAX];

    if (header.len > HF_HEADER_MAX) {
        return false;
    }
    return crypto_sign_verify_detached(sig->b, text, signed_text(header, text), signer->b) == 0;
}

/* ---- frame ---- */

void hf_frame_encode(const struct hf_id *stream, struct hf_slice header,
                     const struct hf_signature *sig, struct hf_slice body, struct hf_writer *w)
{
    hf_prefix_write(w, HF_KIND_BATCH, stream);
    hf_write_array(w, FRAME_FIELDS);
    hf_write_bin(w, header);
    hf_write_fixed(w, sig->b, HF_SIGNATURE_BYTES);
    if (body.data == NULL) {
        hf_write_nil(w);
    } else {
        hf_write_bin(w, body);
    }
}

enum hf_err hf_frame_decode(struct hf_slice message, struct hf_id *stream, struct hf_frame *f)
{
    struct hf_frame decoded = {.body = {NULL, 0}};
    struct hf_id id;
    struct hf_reader r;
    enum hf_kind kind;
    enum hf_err err;

    hf_reader_init(&r, message);
    err = hf_prefix_read(&r, &kind, &id);
    if (err != HF_OK) {
        return err;
    }
    if (kind != HF_KIND_BATCH) {
        return HF_MALFORMED;
    }
    (void)hf_read_array(&r, FRAME_FIELDS, FRAME_FIELDS);
    decoded.header = hf_read_bin(&r, HF_HEADER_MAX);
    hf_read_fixed(&r, decoded.signature.b, HF_SIGNATURE_BYTES);
    if (!hf_read_nil(&r)) {
        decoded.body = hf_read_bin(&r, HF_BODY_SEALED_MAX);
    }
    if (!hf_reader_done(&r)) {
        return HF_MALFORMED;
    }
    err = hf_header_decode(decoded.header, &decoded.h);
    if (err != HF_OK && err != HF_UPGRADE) {
        return err;
    }
    if (err == HF_OK && decoded.body.data != NULL && decoded.body.len != decoded.h.body_bytes) {
        return HF_MALFORMED;
    }
    *stream = id;
    *f = decoded;
    return err;
}

uint32_t hf_frame_sign(uint8_t *message, size_t len, const uint8_t secret[HF_SECRET_BYTES],
                       struct hf_signature *sig)
{
    struct hf_id stream;
    struct hf_frame f;
    enum hf_err err = hf_frame_decode(hf_slice_of(message, len), &stream, &f);
    uint32_t at;

    HF_ASSERT(err == HF_OK);
    at = (uint32_t)(f.header.data + f.header.len + 2 - message); /* a bin 8 has two bytes before */
    hf_header_sign(f.header, secret, sig);
    memcpy(message + at, sig->b, HF_SIGNATURE_BYTES);
    return at;
}

enum hf_err hf_frame_alone(struct hf_slice message, struct hf_writer *out)
{
    struct hf_id stream;
    struct hf_frame f;
    enum hf_err err = hf_frame_decode(message, &stream, &f);
    if (err != HF_OK) {
        return err;
    }
    hf_frame_encode(&stream, f.header, &f.signature, (struct hf_slice){NULL, 0}, out);
    return out->failed ? HF_TOO_BIG : HF_OK;
}

bool hf_frame_body_matches(const struct hf_frame *f)
{
    struct hf_hash hash;

    if (f->body.data == NULL) {
        return false;
    }
    hash = hf_hash_of("", &f->body, 1);
    return hf_hash_eq(&hash, &f->h.body_hash);
}
