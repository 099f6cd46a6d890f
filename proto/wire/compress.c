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
    /* Bodies: level 3 gains 0 to 13 % for half the speed, and the link is shared anyway. Chunks in
     * columns: levels 1 to 3 differ by 0.1 %, level 6 is larger and ten times as slow. */
    COMPRESS_LEVEL = 1,
    COMPRESS_PERCENT_MAX = 95,
};

static bool set_up(ZSTD_CCtx *zctx, size_t raw_len)
{
    return !ZSTD_isError(ZSTD_CCtx_reset(zctx, ZSTD_reset_session_and_parameters)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(zctx, ZSTD_c_compressionLevel, COMPRESS_LEVEL)) &&
           !ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(zctx, raw_len));
}

/* One frame. A flush ends a block of zstd, whose literals all share one Huffman table: letters
 * would pay for the digits of the keys, and they for the letters. False when it does not fit. */
static bool frame_make(const struct hf_slice *block, uint32_t count, ZSTD_CCtx *zctx,
                       ZSTD_outBuffer *out)
{
    for (uint32_t i = 0; i < count; i++) {
        ZSTD_inBuffer in = {block[i].data, block[i].len, 0};
        ZSTD_EndDirective then = i + 1 < count ? ZSTD_e_flush : ZSTD_e_end;
        if (ZSTD_compressStream2(zctx, out, &in, then) != 0) {
            return false;
        }
    }
    return true;
}

static struct hf_slice joined(const struct hf_slice *block, uint32_t count)
{
    struct hf_slice all = block[0];

    for (uint32_t i = 1; i < count; i++) {
        HF_ASSERT(block[i].data == all.data + all.len);
        all.len += block[i].len;
    }
    return all;
}

struct hf_slice hf_compress(const struct hf_slice *block, uint32_t count, void *zctx,
                            struct hf_writer *scratch, enum hf_compression *compression)
{
    struct hf_slice raw = joined(block, count);

    *compression = HF_COMPRESSION_NONE;
    if (zctx == NULL || scratch == NULL || raw.len < COMPRESS_BYTES_MIN) {
        return raw;
    }
    ZSTD_outBuffer out = {scratch->data, scratch->cap, 0};
    if (!set_up(zctx, raw.len) || !frame_make(block, count, zctx, &out) ||
        out.pos > raw.len * COMPRESS_PERCENT_MAX / 100) {
        return raw;
    }
    scratch->len = out.pos;
    *compression = HF_COMPRESSION_ZSTD;
    return hf_slice_of(scratch->data, out.pos);
}

/* Debian's libzstd also decodes the formats from before 1.0, with code that nobody hardens any
 * more; the signer has no use for it, so it is not reachable. */
static bool zstd_frame(struct hf_slice plain)
{
    static const uint8_t frame_magic[4] = {0x28, 0xb5, 0x2f, 0xfd};

    return plain.len >= sizeof(frame_magic) &&
           memcmp(plain.data, frame_magic, sizeof(frame_magic)) == 0;
}

/* Whether it is one frame of `want` bytes, and they have room. */
static enum hf_err frame_check(struct hf_slice plain, size_t want, const void *zctx,
                               const struct hf_writer *raw)
{
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
    return HF_OK;
}

static enum hf_err frame_take(size_t len, size_t want, struct hf_writer *raw)
{
    if (ZSTD_isError(len) || len != want) {
        return HF_MALFORMED;
    }
    raw->len += want;
    return HF_OK;
}

enum hf_err hf_decompress(struct hf_slice plain, size_t want, void *zctx, struct hf_writer *raw)
{
    enum hf_err err = frame_check(plain, want, zctx, raw);

    if (err != HF_OK) {
        return err;
    }
    return frame_take(ZSTD_decompressDCtx(zctx, raw->data + raw->len, want, plain.data, plain.len),
                      want, raw);
}

/* ---- with a dictionary ---- */

struct hf_slice hf_compress_with(struct hf_slice raw, const void *dictionary, void *zctx,
                                 struct hf_writer *scratch, enum hf_compression *compression)
{
    size_t len =
        ZSTD_compress_usingCDict(zctx, scratch->data, scratch->cap, raw.data, raw.len, dictionary);

    *compression = HF_COMPRESSION_NONE;
    if (ZSTD_isError(len) || len > raw.len * COMPRESS_PERCENT_MAX / 100) {
        return raw;
    }
    scratch->len = len;
    *compression = HF_COMPRESSION_DICTIONARY;
    return hf_slice_of(scratch->data, len);
}

enum hf_err hf_decompress_with(struct hf_slice plain, size_t want, const void *dictionary,
                               void *zctx, struct hf_writer *raw)
{
    enum hf_err err = frame_check(plain, want, zctx, raw);

    if (err != HF_OK) {
        return err;
    }
    return frame_take(ZSTD_decompress_usingDDict(zctx, raw->data + raw->len, want, plain.data,
                                                 plain.len, dictionary),
                      want, raw);
}

uint32_t hf_compress_dictionary_id(struct hf_slice plain)
{
    return zstd_frame(plain) ? ZSTD_getDictID_fromFrame(plain.data, plain.len) : 0;
}
