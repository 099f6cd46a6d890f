/*
 * fetch.c - FETCH: what an edge asks for, and frames, bodies and chunks in answer.
 *
 *     request     [..., epoch id, want, first, last, offset, bound or nil, until, data max,
 *                 asof min]
 *                 LOG: first..last; BODY: first = seq, offset; DELTA: last = hi, bound, asof min;
 *                 KEYS: bound, until, asof min; RANGES: the same, and the grain in the place of
 *                 offset; whatever a want has no use for is zero, empty or nil
 *     bound       [seq, ordinal, offset, key]
 *     reply       [..., want, frame count, seq, offset, total, retry ms, evidence, data]
 *                 want may be 0 in a refusal, which a core may send before it looked that far
 *     data        nil unless the code is OK; LOG: bin of frames; BODY: bin; DELTA and KEYS: chunk;
 *                 RANGES: [end, bin of sub-ranges], frame count is theirs, seq the state's
 *     sub-range   [last key, count, fingerprint], one after the other
 *     frames      one bin after the other, each a whole frame message
 *     chunk       [descriptor, sealed]
 *     descriptor  [want, from bound, to bound, end, asof, key id, raw bytes, compression], all of
 *                 it associated data of the sealed bytes, so a chunk means the same wherever it is
 *                 kept; the records inside are those of records.c
 *
 * Invariant: every answer moves the asker on. Frames are at least one; a body or a fragment has at
 * least one byte and stays inside its total; a chunk gets past where it began, or is the end. So a
 * decoder that accepts cannot be kept asking for the same thing for ever.
 *
 * Must not: trust a number further than its range; whether it is true is for the signed header of
 * the seq that the transfer ends at.
 *
 * Read next: include/hf/messages.h, PROTOCOL.md section 7.
 */
#include "fetch.h"

#include "fields.h"

enum {
    BOUND_FIELDS = 4,
    CHUNK_FIELDS = 2,
    DESCRIPTOR_FIELDS = 8,
    RANGES_FIELDS = 2,
    SUBRANGE_FIELDS = 3,
    /* A minute is longer than any queue of a core that still answers. */
    RETRY_MS_MAX = 60 * 1000,
};

/* ---- wants and bounds ---- */

static bool has_keys(enum hf_want want)
{
    return want == HF_WANT_KEYS || want == HF_WANT_RANGES;
}

static enum hf_want get_want(struct hf_reader *r)
{
    uint32_t want = hf_read_u32(r, HF_WANT_RANGES);

    hf_fields_check(r, want >= HF_WANT_LOG);
    return (enum hf_want)want;
}

static void put_bound(const struct hf_bound *b, struct hf_writer *w)
{
    hf_write_array(w, BOUND_FIELDS);
    hf_write_uint(w, b->seq);
    hf_write_uint(w, b->ordinal);
    hf_write_uint(w, b->offset);
    hf_write_bin(w, b->key);
}

static void get_bound(struct hf_reader *r, enum hf_want want, struct hf_bound *b)
{
    uint32_t count = hf_fields_open(r, BOUND_FIELDS);

    b->seq = hf_read_seq(r);
    b->ordinal = hf_read_u32(r, UINT32_MAX);
    b->offset = hf_read_u32(r, UINT32_MAX);
    b->key = hf_read_bin(r, has_keys(want) ? HF_STORE_KEY_MAX : 0);
    hf_fields_close(r, count, BOUND_FIELDS);
    hf_fields_check(r, b->offset <= HF_STORE_VALUE_MAX || b->offset == HF_OFFSET_END);
}

/* Order of two bounds of one range. */
static int bound_cmp(enum hf_want want, const struct hf_bound *a, const struct hf_bound *b)
{
    int by_key = hf_slice_cmp(a->key, b->key);

    if (want == HF_WANT_KEYS && by_key != 0) {
        return by_key;
    }
    if (want == HF_WANT_DELTA && a->seq != b->seq) {
        return a->seq < b->seq ? -1 : 1;
    }
    if (want == HF_WANT_DELTA && a->ordinal != b->ordinal) {
        return a->ordinal < b->ordinal ? -1 : 1;
    }
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* ---- request ---- */

void hf_fetch_request_put(const struct hf_fetch_request *q, struct hf_writer *w)
{
    bool frames = q->want == HF_WANT_LOG || q->want == HF_WANT_BODY;

    hf_write_fixed(w, q->epoch_id.b, HF_ID_BYTES);
    hf_write_uint(w, q->want);
    hf_write_uint(w, frames ? q->first : 0);
    hf_write_uint(w, q->want == HF_WANT_LOG || q->want == HF_WANT_DELTA ? q->last : 0);
    hf_write_uint(w, q->want == HF_WANT_BODY     ? q->offset
                     : q->want == HF_WANT_RANGES ? q->grain
                                                 : 0);
    if (frames) {
        hf_write_nil(w);
    } else {
        put_bound(&q->from, w);
    }
    hf_write_bin(w, has_keys(q->want) ? q->until : hf_slice_of(NULL, 0));
    hf_write_uint(w, q->data_max);
    hf_write_uint(w, frames ? 0 : q->asof_min);
}

static bool until_sound(const struct hf_fetch_request *q)
{
    return q->until.len == 0 || hf_slice_cmp(q->from.key, q->until) <= 0;
}

static bool request_sound(const struct hf_fetch_request *q)
{
    switch (q->want) {
    case HF_WANT_LOG:
        return q->first >= 1 && q->first <= q->last && q->offset == 0 && q->asof_min == 0;
    case HF_WANT_BODY:
        return q->first >= 1 && q->last == 0 && q->asof_min == 0;
    case HF_WANT_DELTA:
        return q->first == 0 && q->offset == 0 && q->from.seq <= q->last;
    case HF_WANT_KEYS:
        return q->first == 0 && q->last == 0 && q->offset == 0 && until_sound(q);
    case HF_WANT_RANGES:
        return q->first == 0 && q->last == 0 && q->grain >= HF_GRAIN_MIN &&
               q->grain <= HF_GRAIN_MAX && q->from.offset == HF_OFFSET_END && until_sound(q);
    }
    return false;
}

void hf_fetch_request_get(struct hf_reader *r, struct hf_fetch_request *q)
{
    hf_read_fixed(r, q->epoch_id.b, HF_ID_BYTES);
    q->want = get_want(r);
    q->first = hf_read_seq(r);
    q->last = hf_read_seq(r);
    q->offset = hf_read_u32(r, HF_BODY_SEALED_MAX);
    if (q->want == HF_WANT_RANGES) {
        q->grain = q->offset;
        q->offset = 0;
    }
    if (q->want == HF_WANT_LOG || q->want == HF_WANT_BODY) {
        hf_fields_check(r, hf_read_nil(r));
    } else {
        get_bound(r, q->want, &q->from);
    }
    q->until = hf_read_bin(r, has_keys(q->want) ? HF_STORE_KEY_MAX : 0);
    q->data_max = hf_read_u32(r, HF_FETCH_DATA_MAX);
    q->asof_min = hf_read_seq(r);
    hf_fields_check(r, q->data_max == 0 || q->data_max >= HF_FETCH_DATA_MIN);
    hf_fields_check(r, request_sound(q));
}

/* ---- frames of a LOG reply ---- */

void hf_fetch_put_frame(struct hf_writer *frames, struct hf_slice message)
{
    hf_write_bin(frames, message);
}

bool hf_fetch_next_frame(struct hf_slice *frames, struct hf_slice *message)
{
    struct hf_reader r;

    if (frames->len == 0) {
        return false;
    }
    hf_reader_init(&r, *frames);
    *message = hf_read_bin(&r, HF_MESSAGE_MAX);
    if (r.failed) {
        return false;
    }
    *frames = hf_slice_of(r.at, hf_reader_left(&r));
    return true;
}

/* True when `frames` is count whole bins and nothing else. */
static bool frames_sound(struct hf_slice frames, uint32_t count)
{
    struct hf_slice message;
    uint32_t seen = 0;

    while (hf_fetch_next_frame(&frames, &message)) {
        seen++;
    }
    return frames.len == 0 && seen == count;
}

/* ---- sub-ranges of a RANGES reply ---- */

void hf_fetch_put_range(struct hf_writer *ranges, const struct hf_subrange *s)
{
    hf_write_array(ranges, SUBRANGE_FIELDS);
    hf_write_bin(ranges, s->last);
    hf_write_uint(ranges, s->count);
    hf_write_fixed(ranges, s->fingerprint.b, HF_HASH_BYTES);
}

bool hf_fetch_next_range(struct hf_slice *ranges, struct hf_subrange *s)
{
    struct hf_reader r;
    uint32_t count;

    if (ranges->len == 0) {
        return false;
    }
    hf_reader_init(&r, *ranges);
    count = hf_fields_open(&r, SUBRANGE_FIELDS);
    s->last = hf_read_bin(&r, HF_STORE_KEY_MAX);
    s->count = hf_read_u32(&r, HF_RANGES_READ_MAX);
    hf_read_fixed(&r, s->fingerprint.b, HF_HASH_BYTES);
    hf_fields_close(&r, count, SUBRANGE_FIELDS);
    if (r.failed) {
        return false;
    }
    *ranges = hf_slice_of(r.at, hf_reader_left(&r));
    return true;
}

/* True when they are whole, rise, and only the last one of all reaches to the end of the key space.
 */
static bool ranges_sound(const struct hf_fetch_reply *p)
{
    struct hf_slice rest = p->ranges;
    struct hf_subrange s;
    struct hf_slice before = hf_slice_of(NULL, 0);
    uint32_t seen = 0;

    while (hf_fetch_next_range(&rest, &s)) {
        bool open = s.last.len == 0;

        if (open ? rest.len != 0 || !p->end : seen > 0 && hf_slice_cmp(before, s.last) >= 0) {
            return false;
        }
        before = s.last;
        seen++;
    }
    return rest.len == 0 && seen == p->range_count && seen >= 1 && seen <= HF_SUBRANGES_MAX;
}

/* ---- chunks ---- */

void hf_chunk_describe(const struct hf_chunk *c, struct hf_writer *w)
{
    hf_write_array(w, DESCRIPTOR_FIELDS);
    hf_write_uint(w, c->want);
    put_bound(&c->from, w);
    put_bound(&c->to, w);
    hf_write_uint(w, c->end);
    hf_write_uint(w, c->asof);
    hf_write_uint(w, c->key_id);
    hf_write_uint(w, c->raw_bytes);
    hf_write_uint(w, c->compression);
}

static bool descriptor_sound(const struct hf_chunk *c)
{
    int moved = bound_cmp(c->want, &c->from, &c->to);

    if (c->want == HF_WANT_RANGES) {
        return false; /* fingerprints are no records */
    }
    if (c->want == HF_WANT_DELTA && c->to.seq > c->asof) {
        return false;
    }
    return moved < 0 || (moved == 0 && c->end);
}

static bool descriptor_read(struct hf_chunk *c)
{
    struct hf_reader r;
    uint32_t count;

    hf_reader_init(&r, c->descriptor);
    count = hf_fields_open(&r, DESCRIPTOR_FIELDS);
    c->want = get_want(&r);
    get_bound(&r, c->want, &c->from);
    get_bound(&r, c->want, &c->to);
    c->end = hf_read_bool(&r);
    c->asof = hf_read_seq(&r);
    c->key_id = hf_read_u32(&r, UINT32_MAX);
    c->raw_bytes = hf_read_u32(&r, HF_BATCH_RAW_MAX);
    c->compression = hf_read_u32(&r, HF_COMPRESSION_ZSTD);
    hf_fields_close(&r, count, DESCRIPTOR_FIELDS);
    return hf_reader_done(&r) && descriptor_sound(c);
}

static void get_chunk(struct hf_reader *r, enum hf_want want, struct hf_chunk *c)
{
    uint32_t count = hf_fields_open(r, CHUNK_FIELDS);

    c->descriptor = hf_read_bin(r, HF_DESCRIPTOR_MAX);
    c->sealed = hf_read_bin(r, HF_MESSAGE_MAX);
    hf_fields_close(r, count, CHUNK_FIELDS);
    hf_fields_check(r, !r->failed && c->sealed.len >= HF_NONCE_BYTES + HF_TAG_BYTES &&
                           descriptor_read(c) && c->want == want);
}

/* ---- reply ---- */

static void put_data(const struct hf_fetch_reply *p, struct hf_writer *w)
{
    switch (p->want) {
    case HF_WANT_LOG:
        hf_write_bin(w, p->frames);
        return;
    case HF_WANT_BODY:
        hf_write_bin(w, p->body);
        return;
    case HF_WANT_DELTA:
    case HF_WANT_KEYS:
        hf_write_array(w, CHUNK_FIELDS);
        hf_write_bin(w, p->chunk.descriptor);
        hf_write_bin(w, p->chunk.sealed);
        return;
    case HF_WANT_RANGES:
        hf_write_array(w, RANGES_FIELDS);
        hf_write_uint(w, p->end);
        hf_write_bin(w, p->ranges);
        return;
    }
    HF_UNREACHABLE();
}

void hf_fetch_reply_put(const struct hf_fetch_reply *p, enum hf_err code, struct hf_writer *w)
{
    bool log = code == HF_OK && p->want == HF_WANT_LOG;
    bool body = code == HF_OK && p->want == HF_WANT_BODY;
    bool ranges = code == HF_OK && p->want == HF_WANT_RANGES;

    hf_write_uint(w, p->want);
    hf_write_uint(w, log ? p->frame_count : ranges ? p->range_count : 0);
    hf_write_uint(w, log || body || ranges ? p->seq : 0);
    hf_write_uint(w, body ? p->offset : 0);
    hf_write_uint(w, body ? p->total : 0);
    hf_write_uint(w, code == HF_OK ? 0 : p->retry_ms);
    hf_write_bin(w, code == HF_OK ? hf_slice_of(NULL, 0) : p->evidence);
    if (code == HF_OK) {
        put_data(p, w);
    } else {
        hf_write_nil(w);
    }
}

size_t hf_fetch_reply_tail(const struct hf_fetch_reply *p)
{
    switch (p->want) {
    case HF_WANT_LOG:
        return p->frames.len;
    case HF_WANT_BODY:
        return p->body.len;
    case HF_WANT_DELTA:
    case HF_WANT_KEYS:
        return p->chunk.sealed.len; /* not the descriptor: it may name keys */
    case HF_WANT_RANGES:
        return 0;
    }
    HF_UNREACHABLE();
}

static bool no_position(const struct hf_fetch_reply *p)
{
    return p->frame_count == 0 && p->seq == 0 && p->offset == 0 && p->total == 0;
}

static bool log_sound(const struct hf_fetch_reply *p)
{
    return p->frame_count >= 1 && p->seq >= p->frame_count && p->offset == 0 && p->total == 0 &&
           frames_sound(p->frames, p->frame_count);
}

static bool body_sound(const struct hf_fetch_reply *p)
{
    return p->frame_count == 0 && p->seq >= 1 && p->body.len >= 1 && p->offset <= p->total &&
           p->body.len <= p->total - p->offset;
}

static void get_ranges(struct hf_reader *r, struct hf_fetch_reply *p)
{
    uint32_t count = hf_fields_open(r, RANGES_FIELDS);

    p->range_count = p->frame_count;
    p->frame_count = 0;
    p->end = hf_read_bool(r);
    p->ranges = hf_read_bin(r, HF_MESSAGE_MAX);
    hf_fields_close(r, count, RANGES_FIELDS);
    hf_fields_check(r, !r->failed && p->offset == 0 && p->total == 0 && ranges_sound(p));
}

static void get_data(struct hf_reader *r, struct hf_fetch_reply *p)
{
    hf_fields_check(r, p->retry_ms == 0 && p->evidence.len == 0);
    switch (p->want) {
    case HF_WANT_LOG:
        p->frames = hf_read_bin(r, HF_MESSAGE_MAX);
        hf_fields_check(r, log_sound(p));
        return;
    case HF_WANT_BODY:
        p->body = hf_read_bin(r, HF_MESSAGE_MAX);
        hf_fields_check(r, body_sound(p));
        return;
    case HF_WANT_DELTA:
    case HF_WANT_KEYS:
        get_chunk(r, p->want, &p->chunk);
        hf_fields_check(r, no_position(p));
        return;
    case HF_WANT_RANGES:
        get_ranges(r, p);
        return;
    }
    r->failed = true; /* data must say what it is; only a refusal need not */
}

void hf_fetch_reply_get(struct hf_reader *r, enum hf_err code, struct hf_fetch_reply *p)
{
    p->want = (enum hf_want)hf_read_u32(r, HF_WANT_RANGES);
    p->frame_count = hf_read_u32(r, HF_REPLY_FRAMES_MAX);
    p->seq = hf_read_seq(r);
    p->offset = hf_read_u32(r, HF_BODY_SEALED_MAX);
    p->total = hf_read_u32(r, HF_BODY_SEALED_MAX);
    p->retry_ms = hf_read_u32(r, RETRY_MS_MAX);
    p->evidence = hf_read_bin(r, HF_EVIDENCE_MAX);
    if (code == HF_OK) {
        get_data(r, p);
    } else {
        hf_fields_check(r, hf_read_nil(r) && no_position(p));
    }
}
