/*
 * test_fetch.c - FETCH requests and replies, and chunks: there and back, and each rule
 * broken once, above all those that keep an answer from leading nowhere.
 *
 * messages_box.h has what this shares with test_messages.c.
 */
#include "messages_box.h"

/* ---- samples ---- */

static void sample_log(struct world *w)
{
    begin_request(w, HF_MSG_FETCH);
    memset(w->q.fetch.epoch_id.b, 0xe1, HF_ID_BYTES);
    w->q.fetch.want = HF_WANT_LOG;
    w->q.fetch.first = 813;
    w->q.fetch.last = 900;
    w->q.fetch.data_max = 8192;
}

static void sample_delta(struct world *w)
{
    sample_log(w);
    w->q.fetch.want = HF_WANT_DELTA;
    w->q.fetch.first = 0;
    w->q.fetch.from = (struct hf_bound){.seq = 812, .ordinal = 7, .offset = HF_OFFSET_END};
    w->q.fetch.asof_min = 950;
}

static void sample_keys(struct world *w)
{
    sample_log(w);
    w->q.fetch.want = HF_WANT_KEYS;
    w->q.fetch.from = (struct hf_bound){.offset = 1000, .key = hf_slice_str("k")};
    w->q.fetch.until = hf_slice_str("kz");
    w->q.fetch.asof_min = 950;
}

static void sample_ranges(struct world *w)
{
    sample_keys(w);
    w->q.fetch.want = HF_WANT_RANGES;
    w->q.fetch.from.offset = HF_OFFSET_END;
    w->q.fetch.grain = 2048;
}

/* Sub-ranges up to each of the keys, the last of which may be empty. */
static void ranges_reply(struct world *w, const char *const *last, uint32_t count)
{
    struct hf_writer ranges;

    hf_writer_init(&ranges, w->part, sizeof(w->part));
    for (uint32_t i = 0; i < count; i++) {
        struct hf_subrange s = {.last = hf_slice_str(last[i]), .count = 100 + i};

        memset(s.fingerprint.b, (int)i + 1, HF_HASH_BYTES);
        hf_fetch_put_range(&ranges, &s);
    }
    begin_reply(w, HF_MSG_FETCH, HF_OK);
    w->p.fetch = (struct hf_fetch_reply){.want = HF_WANT_RANGES,
                                         .range_count = count,
                                         .ranges = hf_writer_bytes(&ranges),
                                         .end = true,
                                         .seq = 77};
}

static void sample_ranges_reply(struct world *w)
{
    ranges_reply(w, (const char *const[]){"b", "c", ""}, 3);
}

static void sample_log_reply(struct world *w)
{
    struct hf_writer frames;

    hf_writer_init(&frames, w->part, sizeof(w->part));
    hf_fetch_put_frame(&frames, hf_slice_of(filler, 300));
    hf_fetch_put_frame(&frames, hf_slice_of(filler, 30));
    begin_reply(w, HF_MSG_FETCH, HF_OK);
    w->p.fetch.want = HF_WANT_LOG;
    w->p.fetch.frame_count = 2;
    w->p.fetch.frames = hf_writer_bytes(&frames);
    w->p.fetch.seq = 814;
}

static void sample_body_reply(struct world *w)
{
    begin_reply(w, HF_MSG_FETCH, HF_OK);
    w->p.fetch.want = HF_WANT_BODY;
    w->p.fetch.seq = 814;
    w->p.fetch.offset = 50000;
    w->p.fetch.total = 50100;
    w->p.fetch.body = hf_slice_of(filler, 100);
}

static struct hf_chunk delta_chunk(void)
{
    return (struct hf_chunk){.want = HF_WANT_DELTA,
                             .from = {.seq = 10, .ordinal = 1, .offset = HF_OFFSET_END},
                             .to = {.seq = 20, .ordinal = 3, .offset = 77},
                             .asof = 20,
                             .key_id = 4,
                             .raw_bytes = 5000,
                             .compression = HF_COMPRESSION_ZSTD,
                             .sealed = hf_slice_of(filler, 60)};
}

static struct hf_chunk keys_chunk(void)
{
    return (struct hf_chunk){.want = HF_WANT_KEYS,
                             .from = {.key = hf_slice_str("a"), .offset = HF_OFFSET_END},
                             .to = {.key = hf_slice_str("b"), .seq = 9, .offset = 1},
                             .asof = 20,
                             .sealed = hf_slice_of(filler, 60)};
}

/* A FETCH reply with that chunk, described as it is. */
static void chunk_reply(struct world *w, struct hf_chunk c)
{
    struct hf_writer descriptor;

    hf_writer_init(&descriptor, w->part, sizeof(w->part));
    hf_chunk_describe(&c, &descriptor);
    assert_false(descriptor.failed);
    begin_reply(w, HF_MSG_FETCH, HF_OK);
    c.descriptor = hf_writer_bytes(&descriptor);
    w->p.fetch.want = c.want;
    w->p.fetch.chunk = c;
}

/* ---- requests ---- */

static void fetch_of_each_kind_comes_back(void **state)
{
    struct world *w = *state;

    sample_log(w);
    assert_request_same_bytes(w);
    assert_true(w->q2.fetch.first == 813 && w->q2.fetch.last == 900);
    assert_int_equal(w->q2.fetch.data_max, 8192);
    w->q.fetch.want = HF_WANT_BODY;
    w->q.fetch.last = 0;
    w->q.fetch.offset = 60000;
    assert_request_same_bytes(w);
    assert_true(w->q2.fetch.first == 813 && w->q2.fetch.offset == 60000);
    sample_delta(w);
    assert_request_same_bytes(w);
    assert_true(w->q2.fetch.last == 900 && w->q2.fetch.from.seq == 812);
    assert_true(w->q2.fetch.from.ordinal == 7 && w->q2.fetch.from.offset == HF_OFFSET_END);
    sample_keys(w);
    assert_request_same_bytes(w);
    assert_true(hf_slice_eq(w->q2.fetch.from.key, hf_slice_str("k")));
    assert_int_equal(w->q2.fetch.from.offset, 1000);
    assert_int_equal(w->q2.fetch.last, 0); /* was set, but KEYS has no use for it */
    assert_true(hf_slice_eq(w->q2.fetch.until, hf_slice_str("kz")));
    assert_true(w->q2.fetch.data_max == 8192 && w->q2.fetch.asof_min == 950);
}

static void impossible_fetch_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_fetch_request *q = &w->q.fetch;

    REFUSED_REQUEST(sample_log, q->want = (enum hf_want)0);
    REFUSED_REQUEST(sample_log, q->want = (enum hf_want)6);
    REFUSED_REQUEST(sample_log, q->first = 0);
    REFUSED_REQUEST(sample_log, q->first = 901);
    REFUSED_REQUEST(sample_log, q->last = HF_SEQ_MAX + 1);
    REFUSED_REQUEST(sample_log, q->want = HF_WANT_BODY; q->offset = HF_BODY_SEALED_MAX + 1);
    REFUSED_REQUEST(sample_log, q->want = HF_WANT_BODY; q->first = 0);
    REFUSED_REQUEST(sample_delta, q->from.seq = 901);
    REFUSED_REQUEST(sample_delta, q->from.offset = HF_STORE_VALUE_MAX + 1);
    REFUSED_REQUEST(sample_delta, q->from.key = hf_slice_str("k"));
    REFUSED_REQUEST(sample_keys, q->from.key = hf_slice_of(filler, HF_STORE_KEY_MAX + 1));
}

static void data_max_is_none_or_in_its_range(void **state)
{
    struct world *w = *state;
    const uint32_t good[] = {0, HF_FETCH_DATA_MIN, HF_FETCH_DATA_MAX};

    assert_true(HF_FETCH_DATA_MIN == 1024 && HF_FETCH_DATA_MAX == 63488);
    for (size_t i = 0; i < COUNT(good); i++) {
        sample_log(w);
        w->q.fetch.data_max = good[i];
        assert_request_same_bytes(w);
        assert_int_equal(w->q2.fetch.data_max, good[i]);
    }
    REFUSED_REQUEST(sample_log, w->q.fetch.data_max = 1);
    REFUSED_REQUEST(sample_log, w->q.fetch.data_max = HF_FETCH_DATA_MIN - 1);
    REFUSED_REQUEST(sample_keys, w->q.fetch.data_max = HF_FETCH_DATA_MAX + 1);
}

static void keys_range_ends_at_or_behind_its_beginning(void **state)
{
    struct world *w = *state;
    struct hf_fetch_request *q = &w->q.fetch;

    sample_keys(w);
    q->until = hf_slice_str("k");
    assert_request_same_bytes(w);
    q->until = hf_slice_of(NULL, 0);
    assert_request_same_bytes(w);
    assert_int_equal(w->q2.fetch.until.len, 0);
    REFUSED_REQUEST(sample_keys, q->until = hf_slice_str("jz"));
    REFUSED_REQUEST(sample_keys, q->until = hf_slice_of(filler, HF_STORE_KEY_MAX + 1));
}

static void field_that_a_want_has_no_use_for_is_zero(void **state)
{
    struct world *w = *state;
    struct hf_slice bytes;

    begin_request(w, HF_MSG_FETCH);
    w->q.fetch = (struct hf_fetch_request){.want = HF_WANT_BODY, .first = 5, .offset = 6};
    bytes = encode_request(w);
    assert_memory_equal(bytes.data + bytes.len - 9, "\x02\x05\x00\x06\xc0\xc4\x00\x00\x00", 9);
    w->bytes[bytes.len - 7] = 9; /* last */
    assert_int_equal(hf_request_decode(bytes, &w->q2), HF_MALFORMED);
    bytes = encode_request(w);
    w->bytes[bytes.len - 1] = 9; /* asof min */
    assert_int_equal(hf_request_decode(bytes, &w->q2), HF_MALFORMED);
    begin_request(w, HF_MSG_FETCH);
    w->q.fetch = (struct hf_fetch_request){
        .want = HF_WANT_DELTA, .last = 5, .until = hf_slice_str("k"), .asof_min = 7};
    bytes = encode_request(w); /* without the key */
    assert_memory_equal(bytes.data + bytes.len - 4, "\xc4\x00\x00\x07", 4);
    memcpy(w->bytes + bytes.len - 4, "\xc4\x01k\x00\x07", 5);
    assert_int_equal(hf_request_decode(hf_slice_of(bytes.data, bytes.len + 1), &w->q2),
                     HF_MALFORMED);
}

static void ranges_have_a_grain_and_begin_behind_a_key(void **state)
{
    struct world *w = *state;
    struct hf_fetch_request *q = &w->q.fetch;

    sample_ranges(w);
    assert_request_same_bytes(w);
    assert_int_equal(w->q2.fetch.grain, 2048);
    assert_int_equal(w->q2.fetch.offset, 0);
    assert_true(hf_slice_eq(w->q2.fetch.from.key, hf_slice_str("k")));
    assert_true(hf_slice_eq(w->q2.fetch.until, hf_slice_str("kz")));
    assert_int_equal(w->q2.fetch.asof_min, 950);
    REFUSED_REQUEST(sample_ranges, q->grain = HF_GRAIN_MIN - 1);
    REFUSED_REQUEST(sample_ranges, q->grain = HF_GRAIN_MAX + 1);
    REFUSED_REQUEST(sample_ranges, q->from.offset = 5);
    REFUSED_REQUEST(sample_ranges, q->until = hf_slice_str("jz"));
}

/* ---- replies ---- */

static void ranges_reply_gives_its_sub_ranges_in_order(void **state)
{
    struct world *w = *state;
    struct hf_subrange s;
    struct hf_slice rest;

    sample_ranges_reply(w);
    assert_reply_same_bytes(w);
    assert_true(w->p2.fetch.end && w->p2.fetch.seq == 77 && w->p2.fetch.range_count == 3);
    rest = w->p2.fetch.ranges;
    assert_true(hf_fetch_next_range(&rest, &s));
    assert_true(hf_slice_eq(s.last, hf_slice_str("b")) && s.count == 100);
    assert_true(hf_fetch_next_range(&rest, &s) && s.fingerprint.b[31] == 2);
    assert_true(hf_fetch_next_range(&rest, &s) && s.last.len == 0);
    assert_false(hf_fetch_next_range(&rest, &s));
}

static void ranges_reply_that_leads_nowhere_is_refused(void **state)
{
    static const char *many[HF_SUBRANGES_MAX + 1];
    static char names[HF_SUBRANGES_MAX + 1][8];
    struct world *w = *state;
    struct hf_fetch_reply *p = &w->p.fetch;

    REFUSED_REPLY(sample_ranges_reply, p->end = false); /* who goes on behind the end? */
    REFUSED_REPLY(sample_ranges_reply, p->range_count = 2);
    REFUSED_REPLY(sample_ranges_reply, p->range_count = 0; p->ranges.len = 0);
    REFUSED_REPLY(sample_ranges_reply, p->ranges.len--);
    ranges_reply(w, (const char *const[]){"b", "b"}, 2);
    assert_reply_refused(w);
    ranges_reply(w, (const char *const[]){"", "b"}, 2);
    assert_reply_refused(w);
    for (uint32_t i = 0; i <= HF_SUBRANGES_MAX; i++) {
        snprintf(names[i], sizeof names[i], "n%03u", (unsigned)i);
        many[i] = names[i];
    }
    ranges_reply(w, many, HF_SUBRANGES_MAX);
    p->end = false;
    assert_reply_same_bytes(w);
    ranges_reply(w, many, HF_SUBRANGES_MAX + 1);
    assert_reply_refused(w);
}

static void log_reply_gives_its_frames_in_order(void **state)
{
    struct world *w = *state;
    struct hf_slice frames, message;

    sample_log_reply(w);
    assert_reply_same_bytes(w);
    frames = w->p2.fetch.frames;
    assert_true(hf_fetch_next_frame(&frames, &message));
    assert_int_equal(message.len, 300);
    assert_true(hf_fetch_next_frame(&frames, &message));
    assert_int_equal(message.len, 30);
    assert_false(hf_fetch_next_frame(&frames, &message));
    assert_int_equal(frames.len, 0);
    assert_int_equal(w->p2.fetch.seq, 814);
}

static void log_reply_that_miscounts_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_fetch_reply *p = &w->p.fetch;

    REFUSED_REPLY(sample_log_reply, p->frame_count = 1);
    REFUSED_REPLY(sample_log_reply, p->frame_count = 3);
    REFUSED_REPLY(sample_log_reply, p->frame_count = 0; p->frames.len = 0);
    REFUSED_REPLY(sample_log_reply, p->frames.len--);
    REFUSED_REPLY(sample_log_reply, w->part[p->frames.len] = 0x07; p->frames.len++);
    REFUSED_REPLY(sample_log_reply, p->seq = 1);
    REFUSED_REPLY(sample_log_reply, p->seq = HF_SEQ_MAX + 1);
}

static void more_frames_than_the_bound_are_refused(void **state)
{
    struct world *w = *state;
    struct hf_writer frames;

    hf_writer_init(&frames, w->part, sizeof(w->part));
    for (uint32_t i = 0; i < HF_REPLY_FRAMES_MAX; i++) {
        hf_fetch_put_frame(&frames, hf_slice_of(filler, 20));
    }
    begin_reply(w, HF_MSG_FETCH, HF_OK);
    w->p.fetch = (struct hf_fetch_reply){.want = HF_WANT_LOG,
                                         .frame_count = HF_REPLY_FRAMES_MAX,
                                         .seq = 5000,
                                         .frames = hf_writer_bytes(&frames)};
    assert_reply_same_bytes(w);
    hf_fetch_put_frame(&frames, hf_slice_of(filler, 20));
    w->p.fetch.frames = hf_writer_bytes(&frames);
    w->p.fetch.frame_count++;
    assert_reply_refused(w);
}

static void damaged_frame_list_stays_non_empty(void **state)
{
    struct hf_slice frames = hf_slice_of("\xc4\x02xy\xc4\x05z", 7);
    struct hf_slice message;

    (void)state;
    assert_true(hf_fetch_next_frame(&frames, &message));
    assert_true(hf_slice_eq(message, hf_slice_str("xy")));
    assert_false(hf_fetch_next_frame(&frames, &message));
    assert_int_equal(frames.len, 3);
}

static void body_reply_comes_back(void **state)
{
    struct world *w = *state;

    sample_body_reply(w);
    assert_reply_same_bytes(w);
    assert_true(hf_slice_eq(w->p2.fetch.body, w->p.fetch.body));
    assert_int_equal(w->p2.fetch.seq, 814);
    assert_int_equal(w->p2.fetch.offset, 50000);
    assert_int_equal(w->p2.fetch.total, 50100);
}

static void body_reply_outside_its_total_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_fetch_reply *p = &w->p.fetch;

    REFUSED_REPLY(sample_body_reply, p->offset++);
    REFUSED_REPLY(sample_body_reply, p->offset = 50101);
    REFUSED_REPLY(sample_body_reply, p->body.len = 0);
    REFUSED_REPLY(sample_body_reply, p->seq = 0);
    REFUSED_REPLY(sample_body_reply, p->total = HF_BODY_SEALED_MAX + 1);
}

static void chunk_reply_comes_back(void **state)
{
    struct world *w = *state;
    struct hf_chunk *got = &w->p2.fetch.chunk;
    struct hf_chunk c = delta_chunk();

    chunk_reply(w, c);
    assert_reply_same_bytes(w);
    assert_int_equal(got->want, HF_WANT_DELTA);
    assert_true(got->from.seq == 10 && got->from.ordinal == 1 && got->from.offset == HF_OFFSET_END);
    assert_true(got->to.seq == 20 && got->to.ordinal == 3 && got->to.offset == 77);
    assert_true(got->asof == 20 && got->key_id == 4 && got->raw_bytes == 5000 && !got->end);
    assert_int_equal(got->compression, HF_COMPRESSION_ZSTD);
    assert_int_equal(got->sealed.len, 60);
    c = keys_chunk();
    c.end = true;
    chunk_reply(w, c);
    assert_reply_same_bytes(w);
    assert_true(got->end && hf_slice_eq(got->to.key, hf_slice_str("b")));
    assert_true(hf_slice_eq(got->from.key, hf_slice_str("a")));
    assert_int_equal(got->to.seq, 9);
}

static void assert_chunk_refused(struct world *w, struct hf_chunk c)
{
    chunk_reply(w, c);
    assert_reply_refused(w);
}

static void chunk_that_goes_nowhere_is_refused_unless_it_is_the_end(void **state)
{
    struct world *w = *state;
    struct hf_chunk c = delta_chunk();

    c.to = c.from;
    assert_chunk_refused(w, c);
    c.end = true;
    chunk_reply(w, c);
    assert_reply_same_bytes(w);
    c.to.ordinal--;
    assert_chunk_refused(w, c);
    c = keys_chunk();
    c.to.key = hf_slice_str("a");
    assert_chunk_refused(w, c); /* offset 1 is below the end of the same key */
    c.to.offset = HF_OFFSET_END;
    assert_chunk_refused(w, c);
    c.from.offset = 5;
    chunk_reply(w, c);
    assert_reply_same_bytes(w);
}

static void chunk_out_of_range_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_chunk c = delta_chunk();

    c.asof = 19;
    assert_chunk_refused(w, c);
    c = delta_chunk();
    c.to.key = hf_slice_str("k");
    assert_chunk_refused(w, c);
    c = delta_chunk();
    c.raw_bytes = HF_BATCH_RAW_MAX + 1;
    assert_chunk_refused(w, c);
    c = delta_chunk();
    c.compression = (enum hf_compression)2;
    assert_chunk_refused(w, c);
    c = delta_chunk();
    c.sealed.len = HF_NONCE_BYTES + HF_TAG_BYTES - 1;
    assert_chunk_refused(w, c);
    c = delta_chunk();
    c.to.offset = HF_STORE_VALUE_MAX + 1;
    assert_chunk_refused(w, c);
    chunk_reply(w, delta_chunk());
    w->p.fetch.want = HF_WANT_KEYS;
    assert_reply_refused(w);
    chunk_reply(w, delta_chunk());
    w->p.fetch.chunk.descriptor.len--;
    assert_reply_refused(w);
}

static void largest_chunk_reply_fits_a_message(void **state)
{
    struct world *w = *state;
    struct hf_chunk c = keys_chunk();
    uint8_t from[HF_STORE_KEY_MAX] = {1};
    uint8_t to[HF_STORE_KEY_MAX] = {2};

    c.from = (struct hf_bound){HF_SEQ_MAX, UINT32_MAX, HF_OFFSET_END, {from, sizeof(from)}};
    c.to = (struct hf_bound){HF_SEQ_MAX, UINT32_MAX, HF_OFFSET_END, {to, sizeof(to)}};
    c.asof = HF_SEQ_MAX;
    c.key_id = UINT32_MAX;
    c.raw_bytes = HF_REPLY_DATA_MAX;
    c.sealed = hf_slice_of(filler, HF_NONCE_BYTES + HF_REPLY_DATA_MAX + HF_TAG_BYTES);
    chunk_reply(w, c);
    assert_true(w->p.fetch.chunk.descriptor.len <= HF_DESCRIPTOR_MAX);
    assert_reply_same_bytes(w);
    assert_true(encode_reply(w).len + HF_ENVELOPE_OVERHEAD <= HF_MESSAGE_MAX);
}

/* What the envelope may leave as it is must be sealed already; descriptors and fingerprints, which
 * tell keys and values, are not. */
static void tail_of_a_reply_is_what_was_sealed_before(void **state)
{
    struct world *w = *state;
    struct hf_slice bytes, sealed;

    for (int i = 0; i < 4; i++) {
        if (i == 0) {
            sample_log_reply(w);
            sealed = w->p.fetch.frames;
        } else if (i == 1) {
            sample_body_reply(w);
            sealed = w->p.fetch.body;
        } else {
            chunk_reply(w, i == 2 ? delta_chunk() : keys_chunk());
            sealed = w->p.fetch.chunk.sealed;
        }
        bytes = encode_reply(w);
        assert_int_equal(hf_reply_tail(&w->p), sealed.len);
        assert_memory_equal(bytes.data + bytes.len - sealed.len, sealed.data, sealed.len);
    }
    sample_ranges_reply(w);
    assert_int_equal(hf_reply_tail(&w->p), 0);
    sample_log_reply(w);
    w->p.code = HF_BUSY;
    assert_int_equal(hf_reply_tail(&w->p), 0);
    static const enum hf_message_type others[] = {HF_MSG_COOKIE, HF_MSG_JOIN, HF_MSG_HELLO,
                                                  HF_MSG_PLAN, HF_MSG_REPORT};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        begin_reply(w, others[i], HF_OK);
        assert_int_equal(hf_reply_tail(&w->p), 0);
    }
}

static void fetch_refusal_says_why_and_carries_no_data(void **state)
{
    struct world *w = *state;

    sample_log_reply(w);
    w->p.code = HF_BUSY;
    w->p.fetch.retry_ms = 250;
    assert_reply_same_bytes(w);
    assert_int_equal(w->p2.code, HF_BUSY);
    assert_int_equal(w->p2.fetch.retry_ms, 250);
    assert_int_equal(w->p2.fetch.frames.len, 0);
    w->p.fetch.retry_ms = 60001;
    assert_reply_refused(w);
    sample_log_reply(w);
    w->p.code = HF_FORK;
    w->p.fetch.evidence = hf_slice_of(filler, 500);
    assert_reply_same_bytes(w);
    assert_int_equal(w->p2.fetch.evidence.len, 500);
}

static void refusal_need_not_say_what_was_wanted_but_data_must(void **state)
{
    struct world *w = *state;
    struct hf_slice bytes;

    begin_reply(w, HF_MSG_FETCH, HF_REVOKED);
    assert_reply_same_bytes(w);
    assert_int_equal(w->p2.code, HF_REVOKED);
    sample_log_reply(w);
    bytes = encode_reply(w);
    assert_memory_equal(bytes.data, "\x9a\x04\x00\x01\x02", 5);
    w->bytes[3] = 0;
    assert_int_equal(hf_reply_decode(bytes, &w->p2), HF_MALFORMED);
}

static void fetch_cut_short_or_run_on_is_refused(void **state)
{
    struct world *w = *state;
    void (*const requests[])(struct world *) = {sample_log, sample_delta, sample_keys};

    for (size_t i = 0; i < COUNT(requests); i++) {
        requests[i](w);
        assert_no_other_length(w, encode_request(w), true);
    }
    sample_log_reply(w);
    assert_no_other_length(w, encode_reply(w), false);
    sample_body_reply(w);
    assert_no_other_length(w, encode_reply(w), false);
    chunk_reply(w, delta_chunk());
    assert_no_other_length(w, encode_reply(w), false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fetch_of_each_kind_comes_back),
        TEST(impossible_fetch_is_refused),
        TEST(data_max_is_none_or_in_its_range),
        TEST(keys_range_ends_at_or_behind_its_beginning),
        TEST(field_that_a_want_has_no_use_for_is_zero),
        TEST(ranges_have_a_grain_and_begin_behind_a_key),
        TEST(ranges_reply_gives_its_sub_ranges_in_order),
        TEST(ranges_reply_that_leads_nowhere_is_refused),
        TEST(log_reply_gives_its_frames_in_order),
        TEST(log_reply_that_miscounts_is_refused),
        TEST(more_frames_than_the_bound_are_refused),
        TEST(damaged_frame_list_stays_non_empty),
        TEST(body_reply_comes_back),
        TEST(body_reply_outside_its_total_is_refused),
        TEST(chunk_reply_comes_back),
        TEST(chunk_that_goes_nowhere_is_refused_unless_it_is_the_end),
        TEST(chunk_out_of_range_is_refused),
        TEST(largest_chunk_reply_fits_a_message),
        TEST(tail_of_a_reply_is_what_was_sealed_before),
        TEST(fetch_refusal_says_why_and_carries_no_data),
        TEST(refusal_need_not_say_what_was_wanted_but_data_must),
        TEST(fetch_cut_short_or_run_on_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
