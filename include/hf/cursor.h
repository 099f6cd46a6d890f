/*
 * cursor.h - canonical msgpack, read and written through cursors with a sticky error.
 *
 * The wire uses a subset of msgpack: unsigned integers, byte strings (bin), arrays and nil, each in
 * its shortest form. The reader refuses everything else, so that one value has one encoding
 * (decode then encode gives the same bytes). Every count and length is compared with the bytes that
 * are left before the caller sees it: an array of n elements needs at least n bytes. Nothing is
 * allocated. After the first failure every read returns zero and `failed` stays set, so a decoder
 * reads all its fields and asks once at the end (Knot's wire_ctx).
 *
 * The writer packs with msgpack-c into a buffer of the caller's. PROTOCOL.md section 2.
 */
#ifndef HF_CURSOR_H
#define HF_CURSOR_H

#include "hf/types.h"

struct hf_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

struct hf_writer {
    uint8_t *data;
    size_t cap;
    size_t len;  /* bytes that were wanted; meaningful only while !failed */
    bool failed; /* the buffer was too small */
};

void hf_reader_init(struct hf_reader *r, struct hf_slice bytes);
/* True when nothing failed and every byte was read. */
bool hf_reader_done(const struct hf_reader *r);
size_t hf_reader_left(const struct hf_reader *r);

/* Array header. Fails when fewer than min or more than max elements are announced. */
uint32_t hf_read_array(struct hf_reader *r, uint32_t min, uint32_t max);
uint64_t hf_read_uint(struct hf_reader *r, uint64_t max);
/* A bin of at most max bytes, borrowed from the input. */
struct hf_slice hf_read_bin(struct hf_reader *r, size_t max);
/* A bin of exactly len bytes, copied out; out is zeroed on failure. */
void hf_read_fixed(struct hf_reader *r, void *out, size_t len);
/* Consumes a nil if one is next and says so. */
bool hf_read_nil(struct hf_reader *r);
/* Skips count whole elements of any type of the subset, nested at most 8 deep. */
void hf_read_skip(struct hf_reader *r, uint32_t count);
/* len raw bytes that are not msgpack (the fixed prefix of a message). */
struct hf_slice hf_read_raw(struct hf_reader *r, size_t len);

void hf_writer_init(struct hf_writer *w, void *buffer, size_t cap);
struct hf_slice hf_writer_bytes(const struct hf_writer *w);
void hf_write_array(struct hf_writer *w, uint32_t count);
void hf_write_uint(struct hf_writer *w, uint64_t value);
void hf_write_bin(struct hf_writer *w, struct hf_slice bytes);
void hf_write_fixed(struct hf_writer *w, const void *bytes, size_t len); /* as a bin */
void hf_write_nil(struct hf_writer *w);
void hf_write_raw(struct hf_writer *w, const void *bytes, size_t len); /* no header */

#endif
