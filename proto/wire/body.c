/*
 * body.c - the inside of a batch: its changes, its audit trail, and how both are sealed.
 *
 *     raw    = msgpack [[change, ...], [meta, ...], ...elements of later versions]
 *     change = [0, bin key, bin value] (put) | [1, bin key] (del)
 *     meta   = [bin request id, bin(32) content hash, bin author, bin reason, first ordinal, count,
 *              ...elements of later versions]
 *     plain  = raw | zstd(raw), one frame that states its content size
 *     sealed = nonce (24) || XChaCha20-Poly1305-IETF(plain) with its tag (16)
 *     associated data = "holdfast/v1/body" || epoch id || u64le seq || u32le content key id
 *
 * Invariant: after hf_body_open has said HF_OK the iterators cannot fail, and every key, value and
 * ordinal that they give is inside its bounds. A change has exactly its fields: one that a version
 * could ignore would let two versions show different states for one seq, so anything that adds to a
 * change needs a critical flag. The audit trail may grow, for it is not part of the state.
 *
 * Must not: allocate, or trust a length that the plain text states about itself: raw_bytes of the
 * signed header bounds the decompressor's output, and must be met exactly.
 *
 * Read next: include/hf/batch.h; proto/wire/batch.c; proto/PROTOCOL.md section 4.
 */
#include "hf/batch.h"

#include "hf/bytes.h"
#include "hf/compress.h"
#include "hf/digest.h"

#include <sodium.h>

enum {
    BODY_FIELDS = 2,
    META_FIELDS = 6,
    FIELDS_MAX = 32, /* with those of later versions */
    ARRAY_HEAD = 1,  /* of an array of fewer than 16 */
    BIN_HEAD_MAX = 5,
    UINT32_FORM_MAX = 5,
};

static const char body_domain[] = "holdfast/v1/body";

#define AD_BYTES (sizeof(body_domain) - 1 + HF_ID_BYTES + 8 + 4)

_Static_assert(HF_NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");
_Static_assert(HF_TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(HF_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key");

/* ---- writing ---- */

size_t hf_change_bytes_max(const struct hf_change *c)
{
    return ARRAY_HEAD + 1 + BIN_HEAD_MAX + c->key.len + BIN_HEAD_MAX + c->value.len;
}

size_t hf_meta_bytes_max(const struct hf_meta *m)
{
    return ARRAY_HEAD + 4 * BIN_HEAD_MAX + m->request_id.len + HF_HASH_BYTES + m->author.len +
           m->reason.len + 2 * UINT32_FORM_MAX;
}

void hf_body_begin(struct hf_writer *w, uint32_t change_count)
{
    hf_write_array(w, BODY_FIELDS);
    hf_write_array(w, change_count);
}

void hf_body_change(struct hf_writer *w, const struct hf_change *c)
{
    switch (c->op) {
    case HF_OP_PUT:
        hf_write_array(w, 3);
        hf_write_uint(w, HF_OP_PUT);
        hf_write_bin(w, c->key);
        hf_write_bin(w, c->value);
        return;
    case HF_OP_DEL:
        hf_write_array(w, 2);
        hf_write_uint(w, HF_OP_DEL);
        hf_write_bin(w, c->key);
        return;
    }
    HF_UNREACHABLE();
}

void hf_body_meta_begin(struct hf_writer *w, uint32_t meta_count)
{
    hf_write_array(w, meta_count);
}

void hf_body_meta(struct hf_writer *w, const struct hf_meta *m)
{
    hf_write_array(w, META_FIELDS);
    hf_write_bin(w, m->request_id);
    hf_write_fixed(w, m->content_hash.b, HF_HASH_BYTES);
    hf_write_bin(w, m->author);
    hf_write_bin(w, m->reason);
    hf_write_uint(w, m->first_ordinal);
    hf_write_uint(w, m->count);
}

/* ---- reading ---- */

static void read_change(struct hf_reader *r, struct hf_change *c)
{
    uint32_t fields = hf_read_array(r, 2, 3);
    uint64_t op = hf_read_uint(r, HF_OP_DEL);

    c->op = op == HF_OP_PUT ? HF_OP_PUT : HF_OP_DEL;
    c->key = hf_read_bin(r, HF_STORE_KEY_MAX);
    c->value = hf_slice_of(NULL, 0);
    if (c->op == HF_OP_PUT) {
        c->value = hf_read_bin(r, HF_STORE_VALUE_MAX);
    }
    if (c->key.len == 0 || fields != (c->op == HF_OP_PUT ? 3 : 2)) {
        r->failed = true;
    }
}

static void read_meta(struct hf_reader *r, struct hf_meta *m)
{
    uint32_t fields = hf_read_array(r, META_FIELDS, FIELDS_MAX);

    m->request_id = hf_read_bin(r, HF_REQUEST_ID_MAX);
    hf_read_fixed(r, m->content_hash.b, HF_HASH_BYTES);
    m->author = hf_read_bin(r, HF_AUTHOR_MAX);
    m->reason = hf_read_bin(r, HF_REASON_MAX);
    m->first_ordinal = (uint32_t)hf_read_uint(r, HF_BATCH_CHANGES_MAX);
    m->count = (uint32_t)hf_read_uint(r, HF_BATCH_CHANGES_MAX);
    if (!r->failed) {
        hf_read_skip(r, fields - META_FIELDS);
    }
}

enum hf_err hf_body_open(struct hf_slice raw, uint32_t change_count, struct hf_body *b)
{
    struct hf_body opened = {.change_count = change_count};
    struct hf_reader r;
    uint32_t fields;

    if (raw.len > HF_BATCH_RAW_MAX || change_count > HF_BATCH_CHANGES_MAX) {
        return HF_MALFORMED;
    }
    hf_reader_init(&r, raw);
    fields = hf_read_array(&r, BODY_FIELDS, FIELDS_MAX);
    (void)hf_read_array(&r, change_count, change_count);
    opened.changes = r;
    for (uint32_t i = 0; i < change_count && !r.failed; i++) {
        struct hf_change c;

        read_change(&r, &c);
    }
    opened.changes.end = r.at;
    opened.meta_count = hf_read_array(&r, 0, HF_BODY_METAS_MAX);
    opened.metas = r;
    for (uint32_t i = 0; i < opened.meta_count && !r.failed; i++) {
        struct hf_meta m;

        read_meta(&r, &m);
        if (m.first_ordinal > change_count || m.count > change_count - m.first_ordinal) {
            return HF_MALFORMED;
        }
    }
    opened.metas.end = r.at;
    if (!r.failed) {
        hf_read_skip(&r, fields - BODY_FIELDS);
    }
    if (!hf_reader_done(&r)) {
        return HF_MALFORMED;
    }
    *b = opened;
    return HF_OK;
}

bool hf_body_next_change(struct hf_body *b, struct hf_change *c)
{
    if (hf_reader_left(&b->changes) == 0) {
        return false;
    }
    read_change(&b->changes, c);
    return !b->changes.failed;
}

bool hf_body_next_meta(struct hf_body *b, struct hf_meta *m)
{
    if (hf_reader_left(&b->metas) == 0) {
        return false;
    }
    read_meta(&b->metas, m);
    return !b->metas.failed;
}

/* ---- sealing ---- */

static void associated_data(const struct hf_header *h, uint8_t out[AD_BYTES])
{
    size_t at = sizeof(body_domain) - 1;

    memcpy(out, body_domain, at);
    memcpy(out + at, h->epoch_id.b, HF_ID_BYTES);
    at += HF_ID_BYTES;
    hf_store64(out + at, h->seq);
    hf_store32(out + at + 8, h->content_key_id);
}

enum hf_err hf_body_seal_plain(struct hf_header *h, struct hf_slice plain, uint32_t key_id,
                               const struct hf_key *key, const uint8_t nonce[HF_NONCE_BYTES],
                               struct hf_writer *out)
{
    uint8_t ad[AD_BYTES];
    struct hf_slice sealed;

    if (out->failed || plain.len + HF_BODY_SEAL_OVERHEAD > out->cap - out->len) {
        out->failed = true;
        return HF_TOO_BIG;
    }
    h->content_key_id = key_id;
    associated_data(h, ad);
    sealed = hf_slice_of(out->data + out->len, plain.len + HF_BODY_SEAL_OVERHEAD);
    hf_write_raw(out, nonce, HF_NONCE_BYTES);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(
        out->data + out->len, NULL, plain.data, plain.len, ad, sizeof(ad), NULL, nonce, key->b);
    out->len += plain.len + HF_TAG_BYTES;
    h->body_hash = hf_hash_of("", &sealed, 1);
    h->body_bytes = (uint32_t)sealed.len;
    return HF_OK;
}

enum hf_err hf_body_seal(struct hf_header *h, struct hf_slice raw, uint32_t key_id,
                         const struct hf_key *key, const uint8_t nonce[HF_NONCE_BYTES], void *zctx,
                         struct hf_writer *scratch, struct hf_writer *out)
{
    enum hf_compression compression;
    struct hf_slice plain;

    if (raw.len > HF_BATCH_RAW_MAX) {
        return HF_TOO_BIG;
    }
    plain = hf_compress(&raw, 1, zctx, scratch, &compression);
    h->raw_bytes = (uint32_t)raw.len;
    h->compression = compression;
    return hf_body_seal_plain(h, plain, key_id, key, nonce, out);
}

/* Decrypts into w, at its end. */
static enum hf_err decrypt(const struct hf_header *h, struct hf_slice sealed,
                           const struct hf_key *key, struct hf_writer *w)
{
    size_t plain_len = sealed.len - HF_BODY_SEAL_OVERHEAD;
    uint8_t ad[AD_BYTES];

    if (w->failed || plain_len > w->cap - w->len) {
        return HF_TOO_BIG;
    }
    associated_data(h, ad);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            w->data + w->len, NULL, NULL, sealed.data + HF_NONCE_BYTES, sealed.len - HF_NONCE_BYTES,
            ad, sizeof(ad), sealed.data, key->b) != 0) {
        return HF_AUTH;
    }
    w->len += plain_len;
    return HF_OK;
}

enum hf_err hf_body_decrypt(const struct hf_header *h, struct hf_slice sealed,
                            const struct hf_key *key, struct hf_writer *plain)
{
    if (sealed.len < HF_BODY_SEAL_OVERHEAD || sealed.len != h->body_bytes ||
        h->raw_bytes > HF_BATCH_RAW_MAX) {
        return HF_MALFORMED;
    }
    plain->len = 0;
    return decrypt(h, sealed, key, plain);
}

enum hf_err hf_body_unseal(const struct hf_header *h, struct hf_slice sealed,
                           const struct hf_key *key, void *zctx, struct hf_writer *scratch,
                           struct hf_writer *raw)
{
    enum hf_err err;

    if (sealed.len < HF_BODY_SEAL_OVERHEAD || sealed.len != h->body_bytes ||
        h->raw_bytes > HF_BATCH_RAW_MAX) {
        return HF_MALFORMED;
    }
    switch ((enum hf_compression)h->compression) {
    case HF_COMPRESSION_NONE:
        if (sealed.len - HF_BODY_SEAL_OVERHEAD != h->raw_bytes) {
            return HF_MALFORMED;
        }
        return decrypt(h, sealed, key, raw);
    case HF_COMPRESSION_ZSTD:
        err = hf_body_decrypt(h, sealed, key, scratch);
        if (err != HF_OK) {
            return err;
        }
        return hf_decompress(hf_writer_bytes(scratch), h->raw_bytes, zctx, raw);
    case HF_COMPRESSION_DICTIONARY:
        return HF_SEALED;
    }
    return HF_MALFORMED;
}
