/*
 * fuzz_header.c - F1: the bytes that anyone can send us before a signature was looked at.
 *
 * The input is taken as a header, as a frame message and as a bare prefix. Properties:
 * what is accepted is inside the bounds that batch.h states, and encoding the decoded form again
 * gives the same bytes (for a header without elements of later versions).
 *
 * Must not: need the signature to be good; fuzz_batch.c goes on behind it.
 */
#include "hf/batch.h"

#include <sodium.h>

enum { FIELDS_KNOWN = 17 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_bounds(const struct hf_header *h)
{
    HF_ASSERT(h->kind == HF_BATCH_DATA || (h->kind == HF_BATCH_DICTIONARY && h->change_count == 0));
    HF_ASSERT(h->seq >= 1 && h->seq <= INT64_MAX);
    HF_ASSERT(h->body_bytes <= HF_BODY_SEALED_MAX);
    HF_ASSERT(h->raw_bytes <= HF_BATCH_RAW_MAX);
    HF_ASSERT(h->change_count <= HF_BATCH_CHANGES_MAX);
    HF_ASSERT(h->compression <= HF_COMPRESSION_DICTIONARY);
    HF_ASSERT((h->flags_critical & ~HF_FLAGS_CRITICAL_KNOWN) == 0);
}

/* The known fields begin behind the array's head and are the whole header when there are 17. */
static void check_encoding(struct hf_slice header, const struct hf_header *h)
{
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_slice again;
    struct hf_writer w;

    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_header_encode(h, &w);
    HF_ASSERT(!w.failed);
    again = hf_writer_bytes(&w);
    HF_ASSERT(header.len >= again.len);
    HF_ASSERT(memcmp(header.data + 3, again.data + 3, again.len - 3) == 0);
    HF_ASSERT(header.data[2] != FIELDS_KNOWN || hf_slice_eq(header, again));
}

static void as_header(struct hf_slice input)
{
    struct hf_header h;
    enum hf_err err = hf_header_decode(input, &h);

    switch ((int)err) {
    case HF_OK:
        check_bounds(&h);
        check_encoding(input, &h);
        return;
    case HF_UPGRADE:
        check_encoding(input, &h);
        return;
    case HF_MALFORMED:
        return;
    }
    HF_UNREACHABLE();
}

static void as_frame(struct hf_slice input)
{
    static const struct hf_key nobody;
    static uint8_t bytes[1 << 16];
    struct hf_frame f;
    struct hf_id stream;
    struct hf_writer w;
    enum hf_err err = hf_frame_decode(input, &stream, &f);

    if (err != HF_OK) {
        HF_ASSERT(err == HF_MALFORMED || err == HF_VERSION || err == HF_UPGRADE);
        return;
    }
    check_bounds(&f.h);
    check_encoding(f.header, &f.h);
    HF_ASSERT(f.body.data == NULL || f.body.len == f.h.body_bytes);
    HF_ASSERT(!hf_header_verify(f.header, &f.signature, &nobody));
    (void)hf_frame_body_matches(&f);
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_frame_encode(&stream, f.header, &f.signature, f.body, &w);
    HF_ASSERT(w.failed || hf_slice_eq(hf_writer_bytes(&w), input));
}

static void as_prefix(struct hf_slice input)
{
    struct hf_reader r;
    struct hf_id stream;
    enum hf_kind kind;

    hf_reader_init(&r, input);
    if (hf_prefix_read(&r, &kind, &stream) == HF_OK) {
        uint8_t bytes[HF_PREFIX_BYTES];
        struct hf_writer w;

        hf_writer_init(&w, bytes, sizeof(bytes));
        hf_prefix_write(&w, kind, &stream);
        HF_ASSERT(!w.failed && memcmp(bytes, input.data, sizeof(bytes)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hf_slice input = hf_slice_of(data, size);

    HF_ASSERT(sodium_init() >= 0);
    as_header(input);
    as_frame(input);
    as_prefix(input);
    return 0;
}
