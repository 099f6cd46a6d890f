/*
 * fuzz_batch.c - F3: what lies behind the signature and the seal.
 *
 * A fuzzer cannot sign, so three of four inputs are signed or sealed here, with fixed keys, as a
 * core that errs (or was taken over) might. The first byte chooses how much:
 *     0  the rest is a frame message: decode and verify, which has to fail
 *     1  the rest is a header: sign it, and go through a frame and back
 *     2  the rest is a raw body: seal, sign, frame, verify, unseal, open, walk, and write again
 *     3  u24 raw length, then bytes sealed as if zstd had made them: the decompressor's limits
 *
 * The buffer for the raw body is exactly as large as the header says, so the sanitizer sees the
 * first byte too many.
 *
 * Read next: proto/wire/body.c.
 */
#include "hf/batch.h"

#include <sodium.h>
#include <stdlib.h>
#include <zstd.h>

enum { ROOM = 1 << 18 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct hf_key signer, stranger;
static uint8_t secret[HF_SECRET_BYTES];
static const struct hf_key content_key = {{9, 9, 9}};
static const uint8_t nonce[HF_NONCE_BYTES] = {4, 5, 6};
static const struct hf_id stream = {{1, 2, 3}};
static ZSTD_CCtx *cctx;
static ZSTD_DCtx *dctx;
static uint8_t scratch_bytes[ROOM];
static uint8_t sealed_bytes[ROOM];
static uint8_t message_bytes[ROOM + 1024];

static void start(void)
{
    static const uint8_t seed[crypto_sign_SEEDBYTES] = {7};
    static const uint8_t other[crypto_sign_SEEDBYTES] = {8};
    uint8_t unused[HF_SECRET_BYTES];

    if (cctx != NULL) {
        return;
    }
    HF_ASSERT(sodium_init() >= 0);
    (void)crypto_sign_seed_keypair(signer.b, secret, seed);
    (void)crypto_sign_seed_keypair(stranger.b, unused, other);
    cctx = ZSTD_createCCtx();
    dctx = ZSTD_createDCtx();
    HF_ASSERT(cctx != NULL && dctx != NULL);
}

static struct hf_header plain_header(void)
{
    return (struct hf_header){.epoch = 1, .seq = 5, .signer_id = 1, .key_list_version = 1};
}

/* ---- 0 and 1: outside ---- */

/* The other modes sign, and libFuzzer puts what it saw compared into its inputs: signatures, too.
 * So the key here is one that nobody has signed with. */
static void unsigned_frame(struct hf_slice input)
{
    struct hf_frame f;
    struct hf_id id;

    if (hf_frame_decode(input, &id, &f) == HF_OK) {
        HF_ASSERT(!hf_header_verify(f.header, &f.signature, &stranger));
        (void)hf_frame_body_matches(&f);
    }
}

/* Signs the header, frames it with the body, and takes the frame apart again. */
static enum hf_err through_a_frame(struct hf_slice header, struct hf_slice body, struct hf_frame *f)
{
    struct hf_signature sig;
    struct hf_writer w;
    struct hf_id id;
    enum hf_err err;

    hf_header_sign(header, secret, &sig);
    hf_writer_init(&w, message_bytes, sizeof(message_bytes));
    hf_frame_encode(&stream, header, &sig, body, &w);
    HF_ASSERT(!w.failed);
    err = hf_frame_decode(hf_writer_bytes(&w), &id, f);
    if (err == HF_OK || err == HF_UPGRADE) {
        HF_ASSERT(hf_id_eq(&id, &stream));
        HF_ASSERT(hf_slice_eq(f->header, header));
        HF_ASSERT(hf_header_verify(f->header, &f->signature, &signer));
    }
    return err;
}

static void signed_header(struct hf_slice input)
{
    struct hf_frame f;
    struct hf_header h;

    if (input.len > HF_HEADER_MAX) {
        return;
    }
    HF_ASSERT(through_a_frame(input, hf_slice_of(NULL, 0), &f) == hf_header_decode(input, &h));
}

/* ---- 2: a raw body ---- */

/* Walks an opened body and writes what it finds; equal to raw unless later versions added to it. */
static void walk(struct hf_body *b, struct hf_slice raw)
{
    uint32_t changes = 0;
    uint32_t metas = 0;
    struct hf_change c;
    struct hf_meta m;
    struct hf_writer w;

    hf_writer_init(&w, scratch_bytes, sizeof(scratch_bytes));
    hf_body_begin(&w, b->change_count);
    for (; hf_body_next_change(b, &c); changes++) {
        size_t before = w.len;

        HF_ASSERT(c.key.len >= 1 && c.key.len <= HF_STORE_KEY_MAX);
        HF_ASSERT(c.value.len <= HF_STORE_VALUE_MAX);
        hf_body_change(&w, &c);
        HF_ASSERT(w.failed || w.len - before <= hf_change_bytes_max(&c));
    }
    HF_ASSERT(changes == b->change_count && !b->changes.failed);
    hf_body_meta_begin(&w, b->meta_count);
    for (; hf_body_next_meta(b, &m); metas++) {
        size_t before = w.len;

        HF_ASSERT(m.first_ordinal + m.count <= b->change_count);
        hf_body_meta(&w, &m);
        HF_ASSERT(w.failed || w.len - before <= hf_meta_bytes_max(&m));
    }
    HF_ASSERT(metas == b->meta_count && !b->metas.failed);
    HF_ASSERT(!w.failed && w.len <= raw.len);
    HF_ASSERT(w.len < raw.len || hf_slice_eq(hf_writer_bytes(&w), raw));
}

/* The count of changes as the body itself announces it, to get past the comparison. */
static uint32_t announced_changes(struct hf_slice raw)
{
    struct hf_reader r;

    hf_reader_init(&r, raw);
    (void)hf_read_array(&r, 0, UINT32_MAX);
    return hf_read_array(&r, 0, HF_BATCH_CHANGES_MAX);
}

/* Unseals into a buffer of exactly raw_bytes; the caller frees. NULL when it fails. */
static uint8_t *unseal_exactly(const struct hf_header *h, struct hf_slice sealed)
{
    uint8_t *opened = malloc(h->raw_bytes > 0 ? h->raw_bytes : 1);
    struct hf_writer scratch, raw;
    enum hf_err err;

    HF_ASSERT(opened != NULL);
    hf_writer_init(&scratch, scratch_bytes, sizeof(scratch_bytes));
    hf_writer_init(&raw, opened, h->raw_bytes);
    err = hf_body_unseal(h, sealed, &content_key, dctx, &scratch, &raw);
    if (err == HF_OK) {
        HF_ASSERT(raw.len == h->raw_bytes);
        return opened;
    }
    HF_ASSERT(err == HF_MALFORMED);
    free(opened);
    return NULL;
}

static void sealed_body(struct hf_slice raw)
{
    struct hf_header h = plain_header();
    uint8_t header[HF_HEADER_MAX];
    struct hf_writer scratch, sealed, w;
    struct hf_frame f;
    struct hf_body b;
    uint8_t *opened;

    if (ZSTD_compressBound(raw.len) + 64 > ROOM) {
        return;
    }
    h.change_count = announced_changes(raw);
    hf_writer_init(&scratch, scratch_bytes, sizeof(scratch_bytes));
    hf_writer_init(&sealed, sealed_bytes, sizeof(sealed_bytes));
    HF_ASSERT(hf_body_seal(&h, raw, 3, &content_key, nonce, cctx, &scratch, &sealed) == HF_OK);
    hf_writer_init(&w, header, sizeof(header));
    hf_header_encode(&h, &w);
    HF_ASSERT(through_a_frame(hf_writer_bytes(&w), hf_writer_bytes(&sealed), &f) == HF_OK);
    HF_ASSERT(hf_frame_body_matches(&f));
    opened = unseal_exactly(&f.h, f.body);
    HF_ASSERT(opened != NULL);
    HF_ASSERT(hf_slice_eq(hf_slice_of(opened, f.h.raw_bytes), raw));
    if (hf_body_open(hf_slice_of(opened, f.h.raw_bytes), f.h.change_count, &b) == HF_OK) {
        walk(&b, raw);
    }
    free(opened);
}

/* ---- 3: what claims to be compressed ---- */

static void sealed_as_if_compressed(struct hf_slice input)
{
    struct hf_header h = plain_header();
    struct hf_writer sealed;
    uint32_t claimed;

    if (input.len < 3 || input.len > ROOM / 2) {
        return;
    }
    claimed = (uint32_t)input.data[0] << 16 | (uint32_t)input.data[1] << 8 | input.data[2];
    hf_writer_init(&sealed, sealed_bytes, sizeof(sealed_bytes));
    HF_ASSERT(hf_body_seal(&h, hf_slice_of(input.data + 3, input.len - 3), 3, &content_key, nonce,
                           NULL, NULL, &sealed) == HF_OK);
    h.compression = HF_COMPRESSION_ZSTD;
    h.raw_bytes = claimed % (HF_BATCH_RAW_MAX + 1);
    free(unseal_exactly(&h, hf_writer_bytes(&sealed)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hf_slice rest;

    start();
    if (size == 0) {
        return 0;
    }
    rest = hf_slice_of(data + 1, size - 1);
    switch (data[0] & 3) {
    case 0:
        unsigned_frame(rest);
        return 0;
    case 1:
        signed_header(rest);
        return 0;
    case 2:
        sealed_body(rest);
        return 0;
    }
    sealed_as_if_compressed(rest);
    return 0;
}
