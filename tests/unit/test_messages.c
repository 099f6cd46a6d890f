/*
 * test_messages.c - control messages but for FETCH: each type there and back, each rule broken
 * once.
 *
 * FETCH has test_fetch.c; messages_box.h has what both share.
 */
#include "messages_box.h"

/* ---- samples ---- */

static void sample_join(struct world *w)
{
    begin_request(w, HF_MSG_JOIN);
    memset(w->q.join.token.b, 0x70, HF_ID_BYTES);
    memset(w->q.join.proof.b, 0x71, HF_HASH_BYTES);
    w->q.join.name = hf_slice_str("edge-7");
    w->q.join.version = hf_slice_str("0.1.0");
}

static void sample_hello(struct world *w)
{
    begin_request(w, HF_MSG_HELLO);
    w->q.hello.applied = 812;
    w->q.hello.header = hf_slice_of(filler, 200);
    memset(w->q.hello.signature.b, 0x5e, HF_SIGNATURE_BYTES);
    memset(w->q.hello.epoch_id.b, 0xe1, HF_ID_BYTES);
    w->q.hello.wire_min = 1;
    w->q.hello.wire_max = 2;
    w->q.hello.features = UINT64_MAX;
    w->q.hello.dictionary_count = 2;
    w->q.hello.dictionary[0] = 5;
    w->q.hello.dictionary[1] = 800;
    w->q.hello.version = hf_slice_str("0.1.0");
}

static void sample_report(struct world *w)
{
    struct hf_report *q = &w->q.report;

    begin_request(w, HF_MSG_REPORT);
    memset(q->epoch_id.b, 0xe1, HF_ID_BYTES);
    memset(q->digest.b, 0xdd, HF_HASH_BYTES);
    q->applied = 812;
    q->received = 900;
    q->store_state = HF_STORE_FULL;
    q->staleness_ms = UINT64_MAX;
    q->applied_total = 5000;
    q->received_bytes = 1 << 20;
    q->transfer_base = 700;
    q->transfer_done = 10;
    q->transfer_total = 20;
    q->uptime_ms = 86400000;
    q->hole_count = 3;
    q->hole[0] = (struct hf_range){813, 820};
    q->hole[1] = (struct hf_range){822, 822};
    q->hole[2] = (struct hf_range){823, 899};
    q->holes_total = 40;
    q->version = hf_slice_str("0.1.0");
}

static void sample_proof(struct hf_beacon_proof *p)
{
    p->signed_beacon = hf_slice_of(filler, 250);
    p->index = 255;
    p->path_len = HF_PROOF_MAX;
    for (uint32_t i = 0; i < HF_PROOF_MAX; i++) {
        memset(p->path[i].b, (int)i, HF_HASH_BYTES);
    }
}

static void sample_hello_reply(struct world *w)
{
    struct hf_hello_reply *p = &w->p.hello;

    begin_reply(w, HF_MSG_HELLO, HF_OK);
    sample_proof(&p->beacon);
    p->genesis = hf_slice_of(filler, HF_GENESIS_MAX);
    p->key_count = HF_CONTENT_KEYS_MAX;
    for (uint32_t i = 0; i < p->key_count; i++) {
        p->key[i] = (struct hf_content_key){10 + i, 100 * i, {{(uint8_t)i}}};
    }
    p->limits = (struct hf_limits){HF_MESSAGE_MAX, 2, 1000, 1000};
    p->edge_name = hf_slice_str("edge-7");
    p->dictionary_count = HF_HELLO_DICTIONARIES_MAX;
    for (uint32_t i = 0; i < p->dictionary_count; i++) {
        p->dictionary[i] = hf_slice_of(filler, HF_DICTIONARY_FRAME_MAX);
    }
}

static void sample_plan_reply(struct world *w)
{
    begin_reply(w, HF_MSG_PLAN, HF_OK);
    w->p.plan = (struct hf_plan_reply){.kind = HF_PLAN_DELTA,
                                       .bytes = 1 << 30,
                                       .head = 900,
                                       .reason = hf_slice_str("cheaper than 12 MB of log"),
                                       .split_count = 3,
                                       .split = {100, 200, 300}};
}

static void sample_snapshot_reply(struct world *w)
{
    sample_plan_reply(w);
    w->p.plan.kind = HF_PLAN_SNAPSHOT;
    w->p.plan.split_key[0] = hf_slice_str("a");
    w->p.plan.split_key[1] = hf_slice_str("ab");
    w->p.plan.split_key[2] = hf_slice_of(memset(w->part, 'b', sizeof(w->part)), HF_STORE_KEY_MAX);
}

/* ---- requests ---- */

static void join_comes_back(void **state)
{
    struct world *w = *state;

    sample_join(w);
    assert_request_same_bytes(w);
    assert_int_equal(w->q2.type, HF_MSG_JOIN);
    assert_int_equal(w->q2.counter, 1234567);
    assert_memory_equal(&w->q2.join.token, &w->q.join.token, sizeof(w->q.join.token));
    assert_memory_equal(&w->q2.join.proof, &w->q.join.proof, sizeof(w->q.join.proof));
    assert_true(hf_slice_eq(w->q2.join.name, w->q.join.name));
    assert_true(hf_slice_eq(w->q2.join.version, w->q.join.version));
}

static void join_with_a_bad_name_is_refused(void **state)
{
    struct world *w = *state;

    REFUSED_REQUEST(sample_join, w->q.join.name = hf_slice_str(""));
    REFUSED_REQUEST(sample_join, w->q.join.name = hf_slice_str("../../etc"));
    REFUSED_REQUEST(sample_join, w->q.join.version = hf_slice_of(filler, HF_VERSION_TEXT_MAX + 1));
    REFUSED_REQUEST(sample_join, w->q.counter = (uint64_t)INT64_MAX + 1);
}

static void hello_comes_back(void **state)
{
    struct world *w = *state;

    sample_hello(w);
    assert_request_same_bytes(w);
    assert_int_equal(w->q2.hello.applied, 812);
    assert_true(hf_slice_eq(w->q2.hello.header, w->q.hello.header));
    assert_memory_equal(&w->q2.hello.signature, &w->q.hello.signature, HF_SIGNATURE_BYTES);
    assert_memory_equal(&w->q2.hello.epoch_id, &w->q.hello.epoch_id, HF_ID_BYTES);
    assert_int_equal(w->q2.hello.wire_min, 1);
    assert_int_equal(w->q2.hello.wire_max, 2);
    assert_true(w->q2.hello.features == UINT64_MAX);
    assert_int_equal(w->q2.hello.dictionary_count, 2);
    assert_true(w->q2.hello.dictionary[0] == 5 && w->q2.hello.dictionary[1] == 800);
    assert_true(hf_slice_eq(w->q2.hello.version, w->q.hello.version));
}

static void hello_of_a_new_edge_has_neither_header_nor_signature(void **state)
{
    struct world *w = *state;
    static const struct hf_signature none;

    sample_hello(w);
    w->q.hello.applied = 0;
    w->q.hello.header = hf_slice_of(NULL, 0);
    assert_request_same_bytes(w);
    assert_memory_equal(&w->q2.hello.signature, &none, sizeof(none));
}

static void hello_that_contradicts_itself_is_refused(void **state)
{
    struct world *w = *state;

    REFUSED_REQUEST(sample_hello, w->q.hello.applied = 0);
    REFUSED_REQUEST(sample_hello, w->q.hello.header = hf_slice_of(NULL, 0));
    REFUSED_REQUEST(sample_hello, w->q.hello.header = hf_slice_of(filler, HF_HEADER_MAX + 1));
    REFUSED_REQUEST(sample_hello, w->q.hello.wire_min = 3);
    REFUSED_REQUEST(sample_hello, w->q.hello.wire_max = 256);
    REFUSED_REQUEST(sample_hello, w->q.hello.applied = HF_SEQ_MAX + 1);
}

static void plan_comes_back(void **state)
{
    struct world *w = *state;

    begin_request(w, HF_MSG_PLAN);
    memset(w->q.plan.epoch_id.b, 0xe1, HF_ID_BYTES);
    w->q.plan.applied = HF_SEQ_MAX;
    assert_request_same_bytes(w);
    assert_memory_equal(&w->q2, &w->q, sizeof(w->q));
    w->q.plan.applied = HF_SEQ_MAX + 1;
    assert_request_refused(w);
}

static void report_comes_back(void **state)
{
    struct world *w = *state;
    struct hf_report *got = &w->q2.report;

    sample_report(w);
    assert_request_same_bytes(w);
    assert_true(hf_slice_eq(got->version, w->q.report.version));
    got->version = w->q.report.version; /* the pointer alone differs */
    assert_memory_equal(got, &w->q.report, sizeof(*got));
    w->q.report.hole_count = 0;
    assert_request_same_bytes(w);
}

static void report_with_holes_out_of_order_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_range *hole = w->q.report.hole;

    REFUSED_REQUEST(sample_report, hole[1] = ((struct hf_range){820, 822}));
    REFUSED_REQUEST(sample_report, hole[1] = ((struct hf_range){1, 2}));
    REFUSED_REQUEST(sample_report, hole[1] = ((struct hf_range){822, 821}));
    REFUSED_REQUEST(sample_report, hole[0] = ((struct hf_range){0, 5}));
    REFUSED_REQUEST(sample_report, hole[2].last = HF_SEQ_MAX + 1);
    REFUSED_REQUEST(sample_report, w->q.report.holes_total = 2);
}

static void report_out_of_range_is_refused(void **state)
{
    struct world *w = *state;
    const uint64_t over = (uint64_t)INT64_MAX + 1;

    REFUSED_REQUEST(sample_report, w->q.report.applied = over);
    REFUSED_REQUEST(sample_report, w->q.report.received = over);
    REFUSED_REQUEST(sample_report, w->q.report.store_state = 256);
    REFUSED_REQUEST(sample_report, w->q.report.applied_total = over);
    REFUSED_REQUEST(sample_report, w->q.report.received_bytes = over);
    REFUSED_REQUEST(sample_report, w->q.report.transfer_base = over);
    REFUSED_REQUEST(sample_report, w->q.report.transfer_done = over);
    REFUSED_REQUEST(sample_report, w->q.report.transfer_total = over);
    REFUSED_REQUEST(sample_report, w->q.report.uptime_ms = over);
}

static void more_holes_than_the_bound_are_refused(void **state)
{
    struct world *w = *state;
    struct hf_slice bytes;
    uint8_t *list;
    size_t tail;

    sample_report(w);
    w->q.report.hole_count = HF_REPORT_HOLES_MAX;
    for (uint32_t i = 0; i < HF_REPORT_HOLES_MAX; i++) {
        w->q.report.hole[i] = (struct hf_range){1 + 2 * i, 1 + 2 * i};
    }
    assert_request_same_bytes(w);
    bytes = encode_request(w);
    list = memmem(bytes.data, bytes.len, "\xdc\x00\x10\x92\x01\x01", 6);
    assert_non_null(list);
    tail = (size_t)(bytes.data + bytes.len - list) - 3 - 3 * HF_REPORT_HOLES_MAX;
    memmove(list + 3 + 3 * 17, list + 3 + 3 * 16, tail);
    memcpy(list + 3 + 3 * 16, "\x92\x77\x77", 3);
    list[2] = 17;
    assert_int_equal(hf_request_decode(hf_slice_of(bytes.data, bytes.len + 3), &w->q2),
                     HF_MALFORMED);
}

static void nobody_asks_for_a_cookie_alone(void **state)
{
    struct world *w = *state;

    assert_int_equal(hf_request_decode(hf_slice_of("\x92\x01\x00", 3), &w->q2), HF_MALFORMED);
    assert_int_equal(hf_request_decode(hf_slice_of("\x93\x01\x00\x01", 4), &w->q2), HF_MALFORMED);
    assert_int_equal(hf_request_decode(hf_slice_of("\x93\x01\x06\x01", 4), &w->q2), HF_MALFORMED);
    assert_int_equal(hf_request_decode(hf_slice_of(NULL, 0), &w->q2), HF_MALFORMED);
}

static void request_cut_short_or_run_on_is_refused(void **state)
{
    struct world *w = *state;
    void (*const samples[])(struct world *) = {sample_join, sample_hello, sample_report};

    for (size_t i = 0; i < COUNT(samples); i++) {
        samples[i](w);
        assert_no_other_length(w, encode_request(w), true);
    }
}

static void unknown_trailing_elements_are_skipped_up_to_eight(void **state)
{
    struct world *w = *state;
    struct hf_slice bytes;

    begin_request(w, HF_MSG_PLAN);
    w->q.plan.applied = 812;
    bytes = encode_request(w);
    assert_int_equal(bytes.data[0], 0x94);
    memset(w->bytes + bytes.len, 0xc0, 9);
    for (uint8_t extra = 1; extra <= 9; extra++) {
        struct hf_slice longer = hf_slice_of(bytes.data, bytes.len + extra);

        w->bytes[0] = (uint8_t)(0x94 + extra);
        assert_int_equal(hf_request_decode(longer, &w->q2), extra <= 8 ? HF_OK : HF_MALFORMED);
        assert_int_equal(w->q2.plan.applied, extra <= 8 ? 812 : 0);
    }
}

/* ---- replies ---- */

static void cookie_reply_is_smaller_than_any_request(void **state)
{
    struct world *w = *state;
    size_t smallest;

    begin_request(w, HF_MSG_PLAN);
    w->q.counter = 0;
    smallest = encode_request(w).len + HF_KEY_BYTES - 4; /* no sender, but a tail's length */
    begin_reply(w, HF_MSG_COOKIE, HF_AGAIN);
    w->p.counter = INT64_MAX;
    assert_reply_same_bytes(w);
    assert_true(w->p2.counter == INT64_MAX && w->p2.code == HF_AGAIN);
    assert_true(encode_reply(w).len <= smallest);
    w->p.counter++;
    assert_reply_refused(w);
}

static void hello_reply_comes_back_at_its_largest(void **state)
{
    struct world *w = *state;
    struct hf_hello_reply *got = &w->p2.hello;

    sample_hello_reply(w);
    w->p.hello.evidence = hf_slice_of(filler, HF_HEADER_MAX);
    assert_true(encode_reply(w).len <= HF_REPLY_DATA_MAX);
    assert_reply_same_bytes(w);
    assert_true(hf_slice_eq(got->beacon.signed_beacon, w->p.hello.beacon.signed_beacon));
    assert_int_equal(got->beacon.index, 255);
    assert_memory_equal(got->beacon.path, w->p.hello.beacon.path, sizeof(got->beacon.path));
    assert_true(hf_slice_eq(got->genesis, w->p.hello.genesis));
    assert_int_equal(got->key_count, HF_CONTENT_KEYS_MAX);
    assert_memory_equal(&got->limits, &w->p.hello.limits, sizeof(got->limits));
    assert_true(hf_slice_eq(got->edge_name, hf_slice_str("edge-7")));
    for (uint32_t i = 0; i < got->key_count; i++) {
        assert_int_equal(got->key[i].id, 10 + i);
        assert_int_equal(got->key[i].from, 100 * i);
        assert_int_equal(got->key[i].key.b[0], i);
    }
}

static void refusal_of_hello_or_join_may_be_empty(void **state)
{
    struct world *w = *state;

    begin_reply(w, HF_MSG_JOIN, HF_REVOKED);
    assert_reply_same_bytes(w);
    assert_int_equal(w->p2.code, HF_REVOKED);
    assert_int_equal(w->p2.type, HF_MSG_JOIN);
    begin_reply(w, HF_MSG_HELLO, HF_UNKNOWN_EPOCH);
    assert_reply_same_bytes(w);
}

static void hello_reply_out_of_range_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_hello_reply *p = &w->p.hello;

    REFUSED_REPLY(sample_hello_reply, p->key[1].id = 10);
    REFUSED_REPLY(sample_hello_reply, p->key[1].from = HF_SEQ_MAX + 1);
    REFUSED_REPLY(sample_hello_reply, p->genesis = hf_slice_of(filler, HF_GENESIS_MAX + 1));
    REFUSED_REPLY(sample_hello_reply, p->edge_name = hf_slice_str("A b"));
    REFUSED_REPLY(sample_hello_reply, p->limits.message_max = HF_MESSAGE_MAX + 1);
    REFUSED_REPLY(sample_hello_reply, p->limits.in_flight_max = 1025);
    REFUSED_REPLY(sample_hello_reply, p->limits.report_ms = 86400001);
    REFUSED_REPLY(sample_hello_reply, p->limits.beacon_ms = 86400001);
    REFUSED_REPLY(sample_hello_reply, p->beacon.index = 256);
    REFUSED_REPLY(sample_hello_reply, p->beacon.signed_beacon = hf_slice_of(filler, 513));
    REFUSED_REPLY(sample_hello_reply, p->evidence = hf_slice_of(filler, 700));
    REFUSED_REPLY(sample_hello_reply, w->p.code = (enum hf_err)31);
}

static void plan_reply_comes_back(void **state)
{
    struct world *w = *state;
    struct hf_plan_reply *got = &w->p2.plan;

    sample_plan_reply(w);
    assert_reply_same_bytes(w);
    assert_int_equal(got->kind, HF_PLAN_DELTA);
    assert_int_equal(got->bytes, 1 << 30);
    assert_int_equal(got->head, 900);
    assert_true(hf_slice_eq(got->reason, w->p.plan.reason));
    assert_int_equal(got->split_count, 3);
    assert_memory_equal(got->split, w->p.plan.split, sizeof(got->split));
}

static void plan_reply_out_of_range_is_refused(void **state)
{
    struct world *w = *state;

    REFUSED_REPLY(sample_plan_reply, w->p.plan.split[1] = 100);
    REFUSED_REPLY(sample_plan_reply, w->p.plan.kind = (enum hf_plan_kind)4);
    REFUSED_REPLY(sample_plan_reply, w->p.plan.head = HF_SEQ_MAX + 1);
    REFUSED_REPLY(sample_plan_reply, w->p.plan.bytes = (uint64_t)INT64_MAX + 1);
    REFUSED_REPLY(sample_plan_reply, w->p.plan.reason = hf_slice_of(filler, HF_REASON_MAX + 1));
}

static void snapshot_is_cut_at_keys_and_a_delta_at_seqs(void **state)
{
    struct world *w = *state;
    struct hf_plan_reply *p = &w->p.plan;

    sample_snapshot_reply(w);
    assert_reply_same_bytes(w);
    assert_int_equal(w->p2.plan.split_count, 3);
    assert_true(hf_slice_eq(w->p2.plan.split_key[1], hf_slice_str("ab")));
    assert_int_equal(w->p2.plan.split_key[2].len, HF_STORE_KEY_MAX);
    sample_snapshot_reply(w);
    p->split_count = HF_PLAN_SPLITS_MAX;
    for (uint32_t i = 0; i < HF_PLAN_SPLITS_MAX; i++) {
        p->split_key[i] = hf_slice_of(w->part, HF_STORE_KEY_MAX - HF_PLAN_SPLITS_MAX + i);
    }
    assert_reply_same_bytes(w);
    REFUSED_REPLY(sample_snapshot_reply, p->split_key[1] = p->split_key[0]);
    REFUSED_REPLY(sample_snapshot_reply, p->split_key[1] = hf_slice_str("Z"));
    REFUSED_REPLY(sample_snapshot_reply, p->split_key[0].len = 0);
    REFUSED_REPLY(sample_snapshot_reply, p->split_key[2].len++);
}

/* The encoder asserts its bound, so the list of 32 is written by hand. */
static void split_that_a_kind_has_no_use_for_is_refused(void **state)
{
    struct world *w = *state;
    struct hf_slice bytes;

    REFUSED_REPLY(sample_plan_reply, w->p.plan.kind = HF_PLAN_LOG);
    REFUSED_REPLY(sample_plan_reply, w->p.plan.kind = HF_PLAN_NONE);
    REFUSED_REPLY(sample_plan_reply, w->p.plan.split[2] = 900); /* nothing lies behind the head */
    REFUSED_REPLY(sample_plan_reply, w->p.plan.split[0] = 0);
    sample_plan_reply(w);
    w->p.plan.split_count = HF_PLAN_SPLITS_MAX;
    for (uint32_t i = 0; i < HF_PLAN_SPLITS_MAX; i++) {
        w->p.plan.split[i] = i + 1;
    }
    assert_reply_same_bytes(w);
    bytes = encode_reply(w);
    assert_memory_equal(w->bytes + bytes.len - HF_PLAN_SPLITS_MAX - 3, "\xdc\0\x1f", 3);
    sample_plan_reply(w);
    w->p.plan.split_count = 0;
    bytes = encode_reply(w);
    memcpy(w->bytes + bytes.len - 1, "\xdc\0\x20", 3);
    for (uint8_t k = 1; k <= 32; k++) {
        w->bytes[bytes.len + 1u + k] = k;
    }
    assert_int_equal(hf_reply_decode(hf_slice_of(w->bytes, bytes.len + 34), &w->p2), HF_MALFORMED);
}

static void report_reply_comes_back(void **state)
{
    struct world *w = *state;

    begin_reply(w, HF_MSG_REPORT, HF_OK);
    sample_proof(&w->p.report);
    assert_reply_same_bytes(w);
    assert_memory_equal(w->p2.report.path, w->p.report.path, sizeof(w->p.report.path));
    w->p.report.path_len = 0;
    assert_reply_same_bytes(w);
}

static void reply_cut_short_or_run_on_is_refused(void **state)
{
    struct world *w = *state;

    sample_hello_reply(w);
    assert_no_other_length(w, encode_reply(w), false);
    sample_plan_reply(w);
    assert_no_other_length(w, encode_reply(w), false);
    sample_snapshot_reply(w);
    assert_no_other_length(w, encode_reply(w), false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(join_comes_back),
        TEST(join_with_a_bad_name_is_refused),
        TEST(hello_comes_back),
        TEST(hello_of_a_new_edge_has_neither_header_nor_signature),
        TEST(hello_that_contradicts_itself_is_refused),
        TEST(plan_comes_back),
        TEST(report_comes_back),
        TEST(report_with_holes_out_of_order_is_refused),
        TEST(report_out_of_range_is_refused),
        TEST(more_holes_than_the_bound_are_refused),
        TEST(nobody_asks_for_a_cookie_alone),
        TEST(request_cut_short_or_run_on_is_refused),
        TEST(unknown_trailing_elements_are_skipped_up_to_eight),
        TEST(cookie_reply_is_smaller_than_any_request),
        TEST(hello_reply_comes_back_at_its_largest),
        TEST(refusal_of_hello_or_join_may_be_empty),
        TEST(hello_reply_out_of_range_is_refused),
        TEST(plan_reply_comes_back),
        TEST(plan_reply_out_of_range_is_refused),
        TEST(snapshot_is_cut_at_keys_and_a_delta_at_seqs),
        TEST(split_that_a_kind_has_no_use_for_is_refused),
        TEST(report_reply_comes_back),
        TEST(reply_cut_short_or_run_on_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
