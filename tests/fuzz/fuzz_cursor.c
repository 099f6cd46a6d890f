/*
 * fuzz_cursor.c - F2: our bounded reader against msgpack-c, and against our own writer.
 *
 * Two properties. What the reader accepts, msgpack-c accepts with the same length and values, and
 * writing it again gives the same bytes. What the writer writes, the reader takes. The second uses
 * the input as a recipe for a value, so that deep and long valid messages are reached at once.
 *
 * Must not: hand msgpack-c anything that our reader has not accepted; it reserves memory by the
 * announced counts, and the limit on memory would end the run.
 *
 * Read next: proto/wire/cursor.c.
 */
#include "hf/cursor.h"

#include "hf/err.h"

#include <msgpack.h>

enum { DEPTH_MAX = 8, OUT_MAX = 1 << 17 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- reader, and its opinion of the type by the first byte ---- */

/* Reads one element of any type and writes it again. Fails like hf_read_skip does. */
static void copy_element(struct hf_reader *r, struct hf_writer *w, unsigned depth)
{
    uint8_t tag = hf_reader_left(r) > 0 ? *r->at : 0xc1;

    if ((tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd) {
        uint32_t count = hf_read_array(r, 0, UINT32_MAX);

        HF_ASSERT(count <= hf_reader_left(r));
        if (depth == DEPTH_MAX) {
            r->failed = true;
        }
        hf_write_array(w, count);
        for (uint32_t i = 0; i < count && !r->failed; i++) {
            copy_element(r, w, depth + 1);
        }
    } else if (tag >= 0xc4 && tag <= 0xc6) {
        hf_write_bin(w, hf_read_bin(r, SIZE_MAX));
    } else if (hf_read_nil(r)) {
        hf_write_nil(w);
    } else {
        hf_write_uint(w, hf_read_uint(r, UINT64_MAX));
    }
}

/* The same element as msgpack-c sees it, compared with our reader's values. */
static void compare(struct hf_reader *r, const msgpack_object *o)
{
    struct hf_slice bin;

    switch ((int)o->type) {
    case MSGPACK_OBJECT_NIL:
        HF_ASSERT(hf_read_nil(r));
        return;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        HF_ASSERT(hf_read_uint(r, UINT64_MAX) == o->via.u64);
        HF_ASSERT(!r->failed);
        return;
    case MSGPACK_OBJECT_BIN:
        bin = hf_read_bin(r, SIZE_MAX);
        HF_ASSERT(!r->failed);
        HF_ASSERT(hf_slice_eq(bin, hf_slice_of(o->via.bin.ptr, o->via.bin.size)));
        return;
    case MSGPACK_OBJECT_ARRAY:
        HF_ASSERT(hf_read_array(r, 0, UINT32_MAX) == o->via.array.size);
        HF_ASSERT(!r->failed);
        for (uint32_t i = 0; i < o->via.array.size; i++) {
            compare(r, &o->via.array.ptr[i]);
        }
        return;
    }
    HF_UNREACHABLE();
}

static void check_against_msgpack(const uint8_t *data, size_t used)
{
    msgpack_unpacked unpacked;
    struct hf_reader r;
    size_t at = 0;

    msgpack_unpacked_init(&unpacked);
    HF_ASSERT(msgpack_unpack_next(&unpacked, (const char *)data, used, &at) ==
              MSGPACK_UNPACK_SUCCESS);
    HF_ASSERT(at == used);
    hf_reader_init(&r, hf_slice_of(data, used));
    compare(&r, &unpacked.data);
    HF_ASSERT(hf_reader_done(&r));
    msgpack_unpacked_destroy(&unpacked);
}

static void read_as_it_came(const uint8_t *data, size_t size)
{
    static uint8_t out[OUT_MAX];
    struct hf_reader r, skipper;
    struct hf_writer w;
    size_t used;

    hf_reader_init(&r, hf_slice_of(data, size));
    hf_writer_init(&w, out, sizeof(out));
    copy_element(&r, &w, 0);
    hf_reader_init(&skipper, hf_slice_of(data, size));
    hf_read_skip(&skipper, 1);
    HF_ASSERT(skipper.failed == r.failed);
    if (r.failed) {
        return;
    }
    used = size - hf_reader_left(&r);
    HF_ASSERT(hf_reader_left(&skipper) == hf_reader_left(&r));
    HF_ASSERT(w.failed || hf_slice_eq(hf_writer_bytes(&w), hf_slice_of(data, used)));
    check_against_msgpack(data, used);
}

/* ---- writer: the input is a recipe ---- */

struct recipe {
    const uint8_t *at;
    size_t left;
};

static uint64_t draw(struct recipe *p, unsigned bytes)
{
    uint64_t value = 0;

    for (; bytes > 0 && p->left > 0; bytes--, p->left--) {
        value = value << 8 | *p->at++;
    }
    return value;
}

static void write_element(struct recipe *p, struct hf_writer *w, unsigned depth)
{
    static const uint8_t zeros[70000];
    uint64_t choice = draw(p, 1);
    uint32_t count;

    switch (choice & 3) {
    case 0:
        hf_write_uint(w, draw(p, (unsigned)(choice >> 2) % 9));
        return;
    case 1:
        hf_write_bin(w, hf_slice_of(zeros, draw(p, (unsigned)(choice >> 2) % 3)));
        return;
    case 2:
        hf_write_nil(w);
        return;
    }
    if (depth == DEPTH_MAX) {
        hf_write_nil(w);
        return;
    }
    count = (uint32_t)(choice >> 2);
    hf_write_array(w, count);
    for (uint32_t i = 0; i < count; i++) {
        write_element(p, w, p->left > 0 ? depth + 1 : DEPTH_MAX);
    }
}

static void read_what_was_written(const uint8_t *data, size_t size)
{
    static uint8_t out[OUT_MAX];
    struct recipe p = {data, size};
    struct hf_reader r;
    struct hf_writer w;

    hf_writer_init(&w, out, sizeof(out));
    write_element(&p, &w, 0);
    if (w.failed) {
        return;
    }
    hf_reader_init(&r, hf_writer_bytes(&w));
    hf_read_skip(&r, 1);
    HF_ASSERT(hf_reader_done(&r));
    check_against_msgpack(out, w.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_as_it_came(data, size);
    read_what_was_written(data, size);
    return 0;
}
