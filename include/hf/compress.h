/*
 * compress.h - zstd for what is sealed: batch bodies and chunks of a transfer.
 *
 * One frame that states its content size, or the bytes as they are when that gains too little
 * (PROTOCOL.md sections 4 and 8.3). The contexts are zstd's, as void, so that whoever includes this
 * need not know it; one is used by one thread at a time.
 */
#ifndef HF_COMPRESS_H
#define HF_COMPRESS_H

#include "hf/batch.h"
#include "hf/cursor.h"
#include "hf/err.h"
#include "hf/types.h"

/* What to seal, and how it is compressed: the raw bytes themselves unless zstd gains enough. They
 * are `count` blocks that lie side by side, in order; each gets a literal code of its own, which
 * pays when they differ in nature, and costs up to 100 bytes where they do not. Borrows from them
 * or from scratch. A failing compressor is no error, for there are always the raw bytes; so are no
 * context (ZSTD_CCtx) and no scratch. */
struct hf_slice hf_compress(const struct hf_slice *block, uint32_t count, void *zctx,
                            struct hf_writer *scratch, enum hf_compression *compression);

/* Exactly one zstd frame that gives exactly `want` bytes, put at the end of raw. Both sizes are
 * asked first, so that a bomb costs nothing; the output is bounded by `want` in any case. zctx is a
 * ZSTD_DCtx: HF_ARG without. HF_TOO_BIG, HF_MALFORMED. */
enum hf_err hf_decompress(struct hf_slice plain, size_t want, void *zctx, struct hf_writer *raw);

/* The same two with a dictionary, a ZSTD_CDict or a ZSTD_DDict, for bytes of any size:
 * HF_COMPRESSION_DICTIONARY unless it does not gain. */
struct hf_slice hf_compress_with(struct hf_slice raw, const void *dictionary, void *zctx,
                                 struct hf_writer *scratch, enum hf_compression *compression);
enum hf_err hf_decompress_with(struct hf_slice plain, size_t want, const void *dictionary,
                               void *zctx, struct hf_writer *raw);
/* The dictionary that such a frame names; 0 when it names none. */
uint32_t hf_compress_dictionary_id(struct hf_slice plain);

#endif
