/*
 * compress.c - one zstd frame or none.
 *
 * Invariant: what hf_compress made hf_decompress takes, and nothing else: not two frames, not one
 * that hides its size, not a format from before 1.0.
 *
 * Must not: trust a size before it was compared with what a signed header or a sealed descriptor
 * says. Read next: body.c and fetch.c, which seal.
 */
#include "hf/compress.h"

#include <zstd.h>

enum {
    /* Below this zstd gains little: measured ratio 1.6 at 512 bytes, 2.4 to 3.4 at 4 KiB. */
    COMPRESS_BYTES_MIN = 512,
    /* Level 3 gains 0 to 13 % over level 1 for half the speed, and the link is shared anyway. */
    COMPRESS_LEVEL = 1,
    COMPRESS_PERCENT_MAX = 95,
};

struct hf_slice hf_compress(struct hf_slice raw, void *zctx, struct hf_writer *scratch,
                            enum hf_compression *compression)
{
    size_t len;

    *compression = HF_COMPRESSION_NONE;
    if (zctx == NULL || scratch == NULL || raw.len < COMPRESS_BYTES_MIN) {
        return raw;
    }
    len = ZSTD_compressCCtx(zctx, scratch->data, scratch->cap, raw.data, raw.len, COMPRESS_LEVEL);
    if (ZSTD_isError(len) || len > raw.len * COMPRESS_PERCENT_MAX / 100) {
        return raw;
    }
    scratch->len = len;
    *compression = HF_COMPRESSION_ZSTD;
    return hf_slice_of(scratch->data, len);
}

/* Debian's libzstd also decodes the formats from before 1.0, with code that nobody hardens any
 * more; the signer has no use for it, so it is not reachable. */
static bool zstd_frame(struct hf_slice plain)
{
    static const uint8_t frame_magic[4] = {0x28, 0xb5, 0x2f, 0xfd};

    return plain.len >= sizeof(frame_magic) &&
           memcmp(plain.data, frame_magic, sizeof(frame_magic)) == 0;
}

enum hf_err hf_decompress(struct hf_slice plain, size_t want, void *zctx, struct hf_writer *raw)
{
    size_t len;

    if (zctx == NULL) {
        return HF_ARG;
    }
    if (raw->failed || want > raw->cap - raw->len) {
        return HF_TOO_BIG;
    }
    if (!zstd_frame(plain) || ZSTD_getFrameContentSize(plain.data, plain.len) != want ||
        ZSTD_findFrameCompressedSize(plain.data, plain.len) != plain.len) {
        return HF_MALFORMED;
    }
    len = ZSTD_decompressDCtx(zctx, raw->data + raw->len, want, plain.data, plain.len);
    if (ZSTD_isError(len) || len != want) {
        return HF_MALFORMED;
    }
    raw->len += want;
    return HF_OK;
}
