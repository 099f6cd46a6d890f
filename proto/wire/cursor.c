/*
 * cursor.c - the bounded reader and writer of the wire's msgpack subset.
 *
 * The subset, byte by byte (lengths and values big-endian, always the shortest form that fits):
 *     uint   00..7f | cc u8 | cd u16 | ce u32 | cf u64
 *     bin    c4 u8 | c5 u16 | c6 u32, then that many bytes
 *     array  90..9f | dc u16 | dd u32, then that many elements
 *     nil    c0
 *
 * Invariant: the reader never looks past `end`, and hands out no count or length that it has not
 * compared with the bytes that are left; a five-byte message can thus not announce four billion
 * elements to anyone. What it accepts, the writer gives back byte for byte.
 *
 * Must not: allocate, or use msgpack-c's unpacker on the way in. That one reserves memory by the
 * announced count before it has seen the elements, and takes forms that we would not write.
 *
 * Read next: include/hf/cursor.h; tests/fuzz/fuzz_cursor.c compares the reader with msgpack-c.
 */
#include "hf/cursor.h"

#include "hf/err.h"

#include <msgpack.h>

enum {
    TAG_NIL = 0xc0,
    TAG_BIN8 = 0xc4,
    TAG_BIN16 = 0xc5,
    TAG_BIN32 = 0xc6,
    TAG_UINT8 = 0xcc,
    TAG_UINT16 = 0xcd,
    TAG_UINT32 = 0xce,
    TAG_UINT64 = 0xcf,
    TAG_ARRAY16 = 0xdc,
    TAG_ARRAY32 = 0xdd,
    FIXINT_MAX = 0x7f,
    FIXARRAY = 0x90, /* and the count in the low four bits */
    FIXARRAY_COUNT_MAX = 15,
    /* Deeper than any message of ours nests (5), small enough for a stack of counters. */
    SKIP_DEPTH_MAX = 8,
};

/* Stands in for an absent buffer, so that no arithmetic is ever done on a null pointer. */
static const uint8_t no_bytes[1];

/* ---- reader ---- */

void hf_reader_init(struct hf_reader *r, struct hf_slice bytes)
{
    HF_ASSERT(bytes.data != NULL || bytes.len == 0);
    r->at = bytes.data != NULL ? bytes.data : no_bytes;
    r->end = r->at + bytes.len;
    r->failed = false;
}

bool hf_reader_done(const struct hf_reader *r)
{
    return !r->failed && r->at == r->end;
}

size_t hf_reader_left(const struct hf_reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->at);
}

/* The next n bytes, or NULL and a failed reader. */
static const uint8_t *take(struct hf_reader *r, size_t n)
{
    const uint8_t *p = r->at;

    if (n > hf_reader_left(r) || r->failed) {
        r->failed = true;
        return NULL;
    }
    r->at += n;
    return p;
}

/* A big-endian number of `width` bytes that must be at least `least`: a smaller one has a shorter
 * form, and one value has one encoding. */
static uint64_t take_number(struct hf_reader *r, size_t width, uint64_t least)
{
    const uint8_t *p = take(r, width);
    uint64_t value = 0;

    if (p == NULL) {
        return 0;
    }
    for (size_t i = 0; i < width; i++) {
        value = value << 8 | p[i];
    }
    if (value < least) {
        r->failed = true;
        return 0;
    }
    return value;
}

uint32_t hf_read_array(struct hf_reader *r, uint32_t min, uint32_t max)
{
    const uint8_t *tag = take(r, 1);
    uint32_t count = 0;

    if (tag == NULL) {
        return 0;
    }
    if ((*tag & 0xf0) == FIXARRAY) {
        count = *tag & 0x0fu;
    } else if (*tag == TAG_ARRAY16) {
        count = (uint32_t)take_number(r, 2, FIXARRAY_COUNT_MAX + 1);
    } else if (*tag == TAG_ARRAY32) {
        count = (uint32_t)take_number(r, 4, UINT64_C(1) << 16);
    } else {
        r->failed = true;
    }
    /* Each element takes a byte at least, so a count above the bytes left is a lie. */
    if (r->failed || count < min || count > max || count > hf_reader_left(r)) {
        r->failed = true;
        return 0;
    }
    return count;
}

uint64_t hf_read_uint(struct hf_reader *r, uint64_t max)
{
    const uint8_t *tag = take(r, 1);
    uint64_t value = 0;

    if (tag == NULL) {
        return 0;
    }
    if (*tag <= FIXINT_MAX) {
        value = *tag;
    } else if (*tag == TAG_UINT8) {
        value = take_number(r, 1, FIXINT_MAX + 1);
    } else if (*tag == TAG_UINT16) {
        value = take_number(r, 2, UINT64_C(1) << 8);
    } else if (*tag == TAG_UINT32) {
        value = take_number(r, 4, UINT64_C(1) << 16);
    } else if (*tag == TAG_UINT64) {
        value = take_number(r, 8, UINT64_C(1) << 32);
    } else {
        r->failed = true;
    }
    if (r->failed || value > max) {
        r->failed = true;
        return 0;
    }
    return value;
}

struct hf_slice hf_read_bin(struct hf_reader *r, size_t max)
{
    const uint8_t *tag = take(r, 1);
    const uint8_t *data;
    uint64_t len = 0;

    if (tag == NULL) {
        return hf_slice_of(NULL, 0);
    }
    if (*tag == TAG_BIN8) {
        len = take_number(r, 1, 0);
    } else if (*tag == TAG_BIN16) {
        len = take_number(r, 2, UINT64_C(1) << 8);
    } else if (*tag == TAG_BIN32) {
        len = take_number(r, 4, UINT64_C(1) << 16);
    } else {
        r->failed = true;
    }
    if (r->failed || len > max) {
        r->failed = true;
        return hf_slice_of(NULL, 0);
    }
    data = take(r, (size_t)len);
    return hf_slice_of(data, data == NULL ? 0 : (size_t)len);
}

void hf_read_fixed(struct hf_reader *r, void *out, size_t len)
{
    struct hf_slice bytes = hf_read_bin(r, len);

    if (r->failed || bytes.len != len) {
        r->failed = true;
        memset(out, 0, len);
        return;
    }
    memcpy(out, bytes.data, len);
}

bool hf_read_nil(struct hf_reader *r)
{
    if (hf_reader_left(r) == 0 || *r->at != TAG_NIL) {
        return false;
    }
    r->at++;
    return true;
}

static bool at_array(const struct hf_reader *r)
{
    return hf_reader_left(r) > 0 &&
           ((*r->at & 0xf0) == FIXARRAY || *r->at == TAG_ARRAY16 || *r->at == TAG_ARRAY32);
}

static void skip_scalar(struct hf_reader *r)
{
    if (hf_reader_left(r) > 0 && *r->at >= TAG_BIN8 && *r->at <= TAG_BIN32) {
        (void)hf_read_bin(r, SIZE_MAX);
    } else if (!hf_read_nil(r)) {
        (void)hf_read_uint(r, UINT64_MAX);
    }
}

void hf_read_skip(struct hf_reader *r, uint32_t count)
{
    /* left[d] elements are still to come at depth d. A loop, not recursion: the input must not
     * choose how much stack we use. */
    uint32_t left[SKIP_DEPTH_MAX + 1] = {count};
    size_t depth = 0;

    while (!r->failed) {
        if (left[depth] == 0) {
            if (depth == 0) {
                return;
            }
            depth--;
            continue;
        }
        left[depth]--;
        if (!at_array(r)) {
            skip_scalar(r);
            continue;
        }
        if (depth == SKIP_DEPTH_MAX) {
            r->failed = true;
            return;
        }
        depth++;
        left[depth] = hf_read_array(r, 0, UINT32_MAX);
    }
}

struct hf_slice hf_read_raw(struct hf_reader *r, size_t len)
{
    const uint8_t *data = take(r, len);

    return hf_slice_of(data, data == NULL ? 0 : len);
}

/* ---- writer ---- */

void hf_writer_init(struct hf_writer *w, void *buffer, size_t cap)
{
    HF_ASSERT(buffer != NULL || cap == 0);
    w->data = buffer;
    w->cap = cap;
    w->len = 0;
    w->failed = false;
}

struct hf_slice hf_writer_bytes(const struct hf_writer *w)
{
    return w->failed ? hf_slice_of(NULL, 0) : hf_slice_of(w->data, w->len);
}

void hf_write_raw(struct hf_writer *w, const void *bytes, size_t len)
{
    if (w->failed || len > w->cap - w->len) {
        w->failed = true;
        return;
    }
    if (len > 0) {
        memcpy(w->data + w->len, bytes, len);
        w->len += len;
    }
}

/* msgpack-c's write callback. Always "fine": the writer remembers the failure itself. */
static int pack_bytes(void *data, const char *bytes, size_t len)
{
    struct hf_writer *w = data;

    hf_write_raw(w, bytes, len);
    return 0;
}

void hf_write_array(struct hf_writer *w, uint32_t count)
{
    msgpack_packer packer = {w, pack_bytes};

    (void)msgpack_pack_array(&packer, count);
}

void hf_write_uint(struct hf_writer *w, uint64_t value)
{
    msgpack_packer packer = {w, pack_bytes};

    (void)msgpack_pack_uint64(&packer, value);
}

void hf_write_bin(struct hf_writer *w, struct hf_slice bytes)
{
    msgpack_packer packer = {w, pack_bytes};

    /* msgpack has no longer bin, and the packer would cut the length without a word. */
    if (bytes.len > UINT32_MAX) {
        w->failed = true;
        return;
    }
    (void)msgpack_pack_bin(&packer, bytes.len);
    hf_write_raw(w, bytes.data, bytes.len);
}

void hf_write_fixed(struct hf_writer *w, const void *bytes, size_t len)
{
    hf_write_bin(w, hf_slice_of(bytes, len));
}

void hf_write_nil(struct hf_writer *w)
{
    msgpack_packer packer = {w, pack_bytes};

    (void)msgpack_pack_nil(&packer);
}
