/*
 * fuzz_request.c - control messages from strangers: the split, both decoders, records.
 *
 * Each input is given to all of them as it is. What decodes must encode again; and when nothing
 * unknown trails, to the very bytes it came from. Whether something trails is found out by
 * counting msgpack tokens in both, which a longer form of the same value would not change: so a
 * decoder that took a second form of anything is caught, which a comparison of lengths would miss.
 *
 * Read next: proto/wire/messages.c, fetch.c and records.c; seeds are in corpus/request.
 */
#include "hf/messages.h"
#include "hf/records.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t again[2 * HF_MESSAGE_MAX];

/* Width of the number behind a tag, or 0; the tags are those of msgpack, ours or not. */
static size_t number_width(uint8_t tag)
{
    switch (tag) {
    case 0xc4:
    case 0xcc:
        return 1;
    case 0xc5:
    case 0xcd:
    case 0xdc:
        return 2;
    case 0xc6:
    case 0xce:
    case 0xdd:
        return 4;
    case 0xcf:
        return 8;
    default:
        return 0;
    }
}

/* Tokens of a sequence of msgpack values: one for each number, nil, bin and array header. */
static size_t token_count(struct hf_slice bytes)
{
    size_t count = 0;
    size_t at = 0;

    while (at < bytes.len) {
        uint8_t tag = bytes.data[at];
        size_t width = number_width(tag);
        uint64_t number = 0;

        HF_ASSERT(width < bytes.len - at);
        for (size_t i = 1; i <= width; i++) {
            number = number << 8 | bytes.data[at + i];
        }
        at += 1 + width + (tag >= 0xc4 && tag <= 0xc6 ? (size_t)number : 0);
        count++;
    }
    HF_ASSERT(at == bytes.len);
    return count;
}

/* True when the two are the same, false when unknown elements trail in `bytes`. */
static bool compare(struct hf_slice bytes, const struct hf_writer *w)
{
    struct hf_slice encoded = hf_writer_bytes(w);

    HF_ASSERT(!w->failed);
    HF_ASSERT(encoded.len <= bytes.len);
    if (token_count(encoded) < token_count(bytes)) {
        return false;
    }
    HF_ASSERT(hf_slice_eq(encoded, bytes));
    return true;
}

static void try_request(struct hf_slice bytes)
{
    static struct hf_request q;
    struct hf_writer w;

    if (hf_request_decode(bytes, &q) != HF_OK) {
        return;
    }
    hf_writer_init(&w, again, sizeof(again));
    hf_request_encode(&q, &w);
    if (!compare(bytes, &w)) {
        HF_ASSERT(hf_request_decode(hf_writer_bytes(&w), &q) == HF_OK);
    }
}

static void try_split(struct hf_slice bytes)
{
    struct hf_envelope e;
    struct hf_slice sealed;

    if (hf_request_split(bytes, &e, &sealed) != HF_OK) {
        return;
    }
    HF_ASSERT(sealed.len >= HF_TAG_BYTES);
    HF_ASSERT(sealed.data + sealed.len == bytes.data + bytes.len);
    try_request(sealed); /* as if it had opened: seeds need no key */
}

/* The descriptor of a chunk is opaque in the reply, so it is compared by itself. */
static void check_descriptor(const struct hf_chunk *c)
{
    uint8_t buffer[HF_DESCRIPTOR_MAX];
    struct hf_writer w;

    hf_writer_init(&w, buffer, sizeof(buffer));
    hf_chunk_describe(c, &w);
    (void)compare(c->descriptor, &w);
}

/* The lists are one bin each in the reply, so they are walked by themselves. */
static void check_frames(const struct hf_fetch_reply *p)
{
    struct hf_slice rest = p->frames;
    struct hf_slice message;
    uint32_t count = 0;

    while (hf_fetch_next_frame(&rest, &message)) {
        count++;
    }
    HF_ASSERT(rest.len == 0 && count == p->frame_count && count <= HF_REPLY_FRAMES_MAX);
}

static void check_ranges(const struct hf_fetch_reply *p)
{
    static uint8_t buffer[HF_MESSAGE_MAX];
    struct hf_slice rest = p->ranges;
    struct hf_subrange s;
    struct hf_writer w;
    uint32_t count = 0;

    hf_writer_init(&w, buffer, sizeof(buffer));
    for (; hf_fetch_next_range(&rest, &s); count++) {
        HF_ASSERT(s.last.len <= HF_STORE_KEY_MAX && s.count <= HF_RANGES_READ_MAX);
        HF_ASSERT(s.last.len > 0 || (rest.len == 0 && p->end));
        hf_fetch_put_range(&w, &s);
    }
    HF_ASSERT(rest.len == 0 && count == p->range_count && count <= HF_SUBRANGES_MAX);
    (void)compare(p->ranges, &w);
}

static void check_data(const struct hf_fetch_reply *p)
{
    switch (p->want) {
    case HF_WANT_LOG:
        check_frames(p);
        return;
    case HF_WANT_BODY:
        HF_ASSERT(p->body.len > 0 && p->offset + p->body.len <= p->total);
        return;
    case HF_WANT_DELTA:
    case HF_WANT_KEYS:
        check_descriptor(&p->chunk);
        return;
    case HF_WANT_RANGES:
        check_ranges(p);
        return;
    }
    HF_UNREACHABLE(); /* data says what it is */
}

static void try_reply(struct hf_slice bytes)
{
    static struct hf_reply p;
    struct hf_writer w;

    if (hf_reply_decode(bytes, &p) != HF_OK) {
        return;
    }
    if (p.type == HF_MSG_FETCH && p.code == HF_OK) {
        check_data(&p.fetch);
    }
    hf_writer_init(&w, again, sizeof(again));
    hf_reply_encode(&p, &w);
    if (!compare(bytes, &w)) {
        HF_ASSERT(hf_reply_decode(hf_writer_bytes(&w), &p) == HF_OK);
    }
}

/* What the reader takes the writer gives back: there is one form only. */
static void try_records(struct hf_slice bytes)
{
    static uint8_t memory[HF_COLUMNS * HF_MESSAGE_MAX];
    struct hf_slice block[HF_RECORDS_BLOCKS];
    struct hf_columns columns;
    struct hf_records r;
    struct hf_record rec;
    struct hf_writer w;
    uint32_t count = 0;

    hf_records_open(&r, bytes);
    hf_columns_init(&columns, memory, HF_MESSAGE_MAX);
    while (hf_records_next(&r, &rec)) {
        HF_ASSERT(rec.key.len >= 1 && rec.key.len <= HF_STORE_KEY_MAX);
        HF_ASSERT(rec.total <= HF_STORE_VALUE_MAX && rec.offset <= rec.total);
        HF_ASSERT(rec.value.len <= rec.total - rec.offset);
        hf_columns_add(&columns, &rec);
        HF_ASSERT(++count <= bytes.len);
    }
    if (r.failed) {
        return;
    }
    hf_writer_init(&w, again, sizeof(again));
    hf_columns_finish(&columns, &w, block);
    HF_ASSERT(!w.failed && hf_slice_eq(hf_writer_bytes(&w), bytes));
    HF_ASSERT(w.len <= hf_columns_bytes(&columns));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hf_slice bytes = hf_slice_of(data, size);

    if (size > HF_MESSAGE_MAX) {
        return 0;
    }
    try_split(bytes);
    try_request(bytes);
    try_reply(bytes);
    try_records(bytes);
    return 0;
}
