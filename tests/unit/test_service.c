/*
 * test_service.c - enrolment and control requests: JOIN, HELLO, REPORT, cookies, revocation, forks.
 */
#include "peer_box.h"

/* ---- enrolment ---- */

static void an_invited_edge_joins_and_is_enrolled(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct told t = box_invite(b, "edge-1");
    assert_int_equal(t.code, HF_OK);
    const struct hf_reply *r = peer_join(p, t.text);
    assert_non_null(r);
    assert_int_equal(r->type, HF_MSG_JOIN);
    assert_int_equal(r->code, HF_OK);
    assert_false(p->authentic); /* it was a stranger's */
    assert_true(hf_slice_eq(r->hello.edge_name, hf_slice_str("edge-1")));
    assert_int_equal(r->hello.key_count, 1);
    struct hf_genesis g;
    struct hf_hash chain;
    assert_int_equal(hf_genesis_open(r->hello.genesis, &b->id.public_key, &g, &chain), HF_OK);
    assert_string_equal(g.name, "main");
    assert_int_equal(box_status(b).edge_count, 1);
    assert_string_equal(box_row(b, 0).name, "edge-1");
    assert_int_equal(peer_hello(p, NULL)->code, HF_OK);
    assert_true(p->authentic);
    peer_free(p);
}

static void a_join_is_answered_only_when_it_is_durable(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct told t = box_invite(b, "edge-1");
    box_sync_error = EIO;
    assert_null(peer_join(p, t.text));
    box_sync_error = 0;
    assert_int_equal(box_status(b).edge_count, 0);
    assert_int_equal(peer_join(p, t.text)->code, HF_OK);
    box_crash(b);
    box_open(b);
    assert_int_equal(box_status(b).edge_count, 1);
    assert_int_equal(peer_hello(p, NULL)->code, HF_OK);
    peer_free(p);
}

static void a_used_token_gives_the_same_key_the_same_answer_and_another_none(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *thief = peer_new(b, 2);
    struct told t = box_invite(b, "edge-1");
    assert_int_equal(peer_join(p, t.text)->code, HF_OK);
    uint64_t facts = box_counter(b, "facts");
    const struct hf_reply *r = peer_join(p, t.text);
    assert_int_equal(r->code, HF_OK);
    assert_true(hf_slice_eq(r->hello.edge_name, hf_slice_str("edge-1")));
    assert_int_equal(box_counter(b, "facts"), facts);
    assert_int_equal(peer_join(thief, t.text)->code, HF_AUTH);
    assert_non_null(strstr(b->notes, "used by another key"));
    assert_int_equal(box_status(b).edge_count, 1);
    box_crash(b);
    box_open(b);
    assert_int_equal(peer_join(thief, t.text)->code, HF_AUTH);
    assert_int_equal(peer_join(p, t.text)->code, HF_OK);
    peer_free(p);
    peer_free(thief);
}

static void a_token_of_another_core_or_with_another_secret_is_refused(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct told t = box_invite(b, "edge-1");
    struct hf_token token;
    char text[HF_TOKEN_TEXT_MAX];
    assert_int_equal(hf_token_parse(t.text, &token, NULL), HF_OK);
    token.secret[0] ^= 1;
    assert_int_equal(hf_token_print(&token, text), HF_OK);
    assert_int_equal(peer_join(p, text)->code, HF_AUTH);
    token.secret[0] ^= 1;
    token.id.b[0] ^= 1;
    assert_int_equal(hf_token_print(&token, text), HF_OK);
    assert_int_equal(peer_join(p, text)->code, HF_AUTH);
    assert_int_equal(box_counter(b, "joins_refused"), 2);
    peer_free(p);
}

static void two_joins_at_once_with_one_token_enrol_one(void **state)
{
    struct box *b = *state;
    struct peer *p[2] = {peer_new(b, 1), peer_new(b, 2)};
    struct told t = box_invite(b, "edge-1");
    struct hf_token token;
    assert_int_equal(hf_token_parse(t.text, &token, NULL), HF_OK);
    struct hf_hash verifier = hf_token_verifier(token.secret);
    for (int i = 0; i < 4; i++) {
        struct peer *one = p[i % 2];
        struct hf_request q = {.type = HF_MSG_JOIN, .counter = 1};
        box_random(b, one->nonce, sizeof(one->nonce));
        q.join.token = token.id;
        q.join.name = hf_slice_str("edge-1");
        q.join.proof =
            hf_token_proof(&verifier, &one->id.public_key, &b->id.public_key, one->nonce);
        peer_seal(one, &q);
        if (i < 2) {
            assert_true(peer_resend(one)); /* the cookie */
            continue;
        }
        hf_core_on_request(b->core, 1, hf_slice_of(one->message, one->message_len), NULL);
    }
    box_work(b);
    assert_int_equal(box_status(b).edge_count, 1);
    assert_memory_equal(box_row(b, 0).key.b, p[0]->id.public_key.b, HF_KEY_BYTES);
    assert_int_equal(box_counter(b, "joins"), 1);
    peer_free(p[0]);
    peer_free(p[1]);
}

static void names_and_keys_are_enrolled_once(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *q = peer_new(b, 2);
    assert_int_equal(box_enrol(b, "Bad Name", p).code, HF_ARG);
    assert_int_equal(box_enrol(b, "b", p).code, HF_OK);
    assert_int_equal(box_enrol(b, "b", p).code, HF_OK);
    assert_int_equal(box_enrol(b, "b", q).code, HF_EXISTS);
    assert_int_equal(box_enrol(b, "c", p).code, HF_EXISTS);
    assert_int_equal(box_invite(b, "b").code, HF_EXISTS);
    struct told t = {.count = 0};
    hf_core_edge_add(b->core, "core", &b->id.public_key, told_done, &t);
    assert_int_equal(t.code, HF_ARG); /* the core's own */
    t.code = HF_OK;
    hf_core_edge_add(b->core, "zeros", &(struct hf_key){{0}}, told_done, &t);
    assert_int_equal(t.code, HF_ARG);
    assert_int_equal(t.count, 2);
    assert_int_equal(box_enrol(b, "a", q).code, HF_OK);
    assert_string_equal(box_row(b, 0).name, "a");
    assert_string_equal(box_row(b, 1).name, "b");
    assert_int_equal(box_revoke(b, "nobody").code, HF_NOTFOUND);
    peer_free(p);
    peer_free(q);
}

/* ---- revocation ---- */

static void a_revoked_edge_is_refused_and_the_next_frame_has_a_new_key(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *other = peer_new(b, 2);
    box_enrol(b, "gone", p);
    box_enrol(b, "stays", other);
    box_put(b, "k", "1");
    assert_int_equal(peer_hello(p, NULL)->code, HF_OK);
    assert_int_equal(box_revoke(b, "gone").code, HF_OK);
    assert_int_equal(peer_hello(p, NULL)->code, HF_REVOKED);
    assert_false(p->authentic);
    assert_int_equal(box_row(b, 0).state, HF_EDGE_REVOKED);
    box_put(b, "k", "2");
    assert_int_equal(box_frame(b, 0).h.content_key_id, 1);
    assert_int_equal(box_frame(b, 1).h.content_key_id, 2);
    const struct hf_reply *r = peer_hello(other, NULL);
    assert_int_equal(r->hello.key_count, 2);
    assert_int_equal(r->hello.key[1].id, 2);
    assert_int_equal(r->hello.key[1].from, 2);
    box_crash(b);
    box_open(b);
    assert_int_equal(peer_report(p, 0)->code, HF_REVOKED);
    box_put(b, "k", "3");
    assert_int_equal(box_frame(b, 2).h.content_key_id, 2);
    peer_free(p);
    peer_free(other);
}

static void a_revocation_counts_at_once_even_when_it_cannot_be_stored(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct told t = {.count = 0};
    box_enrol(b, "gone", p);
    assert_int_equal(peer_hello(p, NULL)->code, HF_OK);
    hf_core_edge_revoke(b->core, "gone", told_done, &t);
    struct hf_request q = {.type = HF_MSG_REPORT};
    q.report.epoch_id = box_status(b).epoch_id;
    q.report.digest = peer_digest(b, 0);
    box_sync_error = EIO;
    assert_int_equal(peer_ask(p, &q)->code, HF_REVOKED);
    box_sync_error = 0;
    assert_int_equal(t.count, 1);
    assert_int_equal(t.code, HF_IO);
    assert_int_equal(peer_hello(p, NULL)->code, HF_REVOKED);
    assert_int_equal(box_revoke(b, "gone").code, HF_OK);
    peer_free(p);
}

static void facts_outlive_a_failed_group_and_the_trim_of_the_log(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    box_open_small(b);
    box_enrol(b, "e", p);
    box_sync_error = EIO; /* the transaction that has the fact is aborted */
    assert_int_equal(box_put(b, "k", "lost").code, HF_IO);
    box_sync_error = 0;
    for (int i = 0; i < 40; i++) {
        box_put_bytes(b, "k", 20000);
        box_commit(b);
    }
    assert_true(box_status(b).log_first > 10);
    box_crash(b);
    box_open(b);
    assert_int_equal(box_status(b).edge_count, 1);
    assert_int_equal(peer_hello(p, NULL)->code, HF_OK);
    peer_free(p);
}

/* ---- cookies, counters, strangers ---- */

static void a_request_without_a_current_cookie_gets_one_and_moves_nothing(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    box_enrol(b, "e", p);
    struct hf_request q = {.type = HF_MSG_REPORT};
    q.report.epoch_id = box_status(b).epoch_id;
    q.report.digest = peer_digest(b, 0);
    assert_true(peer_send(p, &q));
    assert_int_equal(p->reply.type, HF_MSG_COOKIE);
    assert_true(p->authentic); /* its key is what counts */
    assert_true(b->reply.len <= p->message_len);
    assert_int_equal(box_row(b, 0).state, HF_EDGE_NEVER_SEEN);
    assert_true(peer_send(p, &q));
    assert_int_equal(p->reply.type, HF_MSG_REPORT);
    assert_int_equal(box_row(b, 0).state, HF_EDGE_LIVE);
    peer_free(p);
}

static void a_replayed_request_gets_a_cookie_only(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    box_enrol(b, "e", p);
    assert_int_equal(peer_report(p, 0)->code, HF_OK);
    b->now += 2000;
    assert_true(peer_resend(p));
    assert_int_equal(p->reply.type, HF_MSG_COOKIE);
    assert_true(p->authentic); /* its key is what counts */
    assert_int_equal(p->reply.counter, p->counter);
    assert_int_equal(box_row(b, 0).last_heard_ms, 2000);
    peer_free(p);
}

static void a_cookie_is_good_for_two_slots_and_not_over_a_restart(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    box_enrol(b, "e", p);
    peer_report(p, 0);
    struct hf_id cookie = p->cookie;
    struct hf_request q = {.type = HF_MSG_REPORT};
    q.report.epoch_id = box_status(b).epoch_id;
    q.report.digest = peer_digest(b, 0);
    b->now += 120000;
    assert_true(peer_send(p, &q));
    assert_int_equal(p->reply.type, HF_MSG_REPORT);
    p->cookie = cookie;
    b->now += 120000;
    assert_true(peer_send(p, &q));
    assert_int_equal(p->reply.type, HF_MSG_COOKIE);
    box_close(b);
    box_open(b);
    assert_true(peer_send(p, &q));
    assert_int_equal(p->reply.type, HF_MSG_COOKIE);
    peer_free(p);
}

static void counters_may_come_out_of_order_but_not_twice(void **state)
{
    struct hf_enrolled e = {.row = 0};
    (void)state;
    assert_true(hf_registry_counter_take(&e, 5));
    assert_true(hf_registry_counter_take(&e, 3));
    assert_false(hf_registry_counter_take(&e, 3));
    assert_false(hf_registry_counter_take(&e, 5));
    assert_true(hf_registry_counter_take(&e, 68));
    assert_false(hf_registry_counter_take(&e, 5));
    assert_true(hf_registry_counter_take(&e, 6));
    assert_false(hf_registry_counter_take(&e, 4)); /* below the window */
    assert_true(hf_registry_counter_take(&e, 1000));
    assert_true(hf_registry_counter_take(&e, 999));
    assert_false(hf_registry_counter_take(&e, 68));
}

static void a_stranger_who_does_not_join_is_dropped_silently(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    assert_null(peer_hello(p, NULL));
    assert_false(p->authentic);
    assert_int_equal(box_counter(b, "dropped_stranger"), 1);
    peer_free(p);
}

static void strangers_are_slowed_before_their_keys_cost_anything(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *known = peer_new(b, 2);
    box_enrol(b, "e", known);
    b->now += 10000;
    for (int i = 0; i < 50; i++) {
        assert_null(peer_hello(p, NULL));
    }
    assert_int_equal(box_counter(b, "dropped_stranger"), 40);
    assert_int_equal(box_counter(b, "dropped_rate"), 10);
    assert_int_equal(peer_hello(known, NULL)->code, HF_OK);
    b->now += 100;
    for (int i = 0; i < 5; i++) {
        assert_null(peer_hello(p, NULL));
    }
    assert_int_equal(box_counter(b, "dropped_stranger"), 44);
    peer_free(p);
    peer_free(known);
}

static void what_costs_signatures_is_rationed_to_each_edge(void **state)
{
    struct box *b = *state;
    struct peer *greedy = peer_new(b, 1);
    struct peer *other = peer_new(b, 2);
    struct hf_request hello = {.type = HF_MSG_HELLO};
    uint32_t answered = 0;
    hello.hello.wire_min = hello.hello.wire_max = HF_WIRE_VERSION;
    struct told token = box_invite(b, "e");
    assert_int_equal(peer_join(greedy, token.text)->code, HF_OK);
    box_enrol(b, "f", other);
    box_put(b, "k", "1");
    assert_int_equal(peer_report(greedy, 0)->code, HF_OK);
    for (int i = 0; i < 300; i++) {
        enum hf_err code = peer_ask(greedy, &hello)->code;
        assert_true(code == HF_OK || code == HF_BUSY);
        answered += code == HF_OK;
    }
    assert_in_range(answered, 90, 110);
    assert_int_equal(box_counter(b, "over_quota"), 300 - answered);
    /* A REPORT still counts, but there is no beacon for it. */
    const struct hf_reply *r = peer_report(greedy, 1);
    assert_int_equal(r->code, HF_BUSY);
    assert_int_equal(r->report.signed_beacon.len, 0);
    assert_int_equal(box_row(b, 0).applied, 1);
    assert_int_equal(peer_join(greedy, token.text)->code, HF_BUSY);
    assert_int_equal(peer_report(other, 1)->code, HF_OK);
    b->now += 100;
    assert_int_equal(peer_report(greedy, 1)->code, HF_OK);
    peer_free(greedy);
    peer_free(other);
}

/* Each refusal is a line in the log, and an enrolled edge passes where strangers are slowed. */
static void refused_joins_of_an_enrolled_edge_are_slowed_like_strangers(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct told t = box_invite(b, "other");
    uint64_t refused = 0;
    box_enrol(b, "e", p);
    assert_int_equal(peer_join(p, t.text)->code, HF_AUTH); /* its key has another name */
    for (int i = 0; i < 100; i++) {
        refused += peer_join(p, t.text) != NULL;
    }
    assert_in_range(refused, 20, 40);
    b->now += 1000;
    assert_int_equal(peer_join(p, t.text)->code, HF_AUTH);
    assert_int_equal(peer_hello(p, NULL)->code, HF_OK);
    peer_free(p);
}

static void damaged_and_foreign_messages_are_counted_drops(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    box_enrol(b, "e", p);
    peer_report(p, 0);
    p->message[p->message_len - 1] ^= 1;
    assert_false(peer_resend(p));
    assert_int_equal(box_counter(b, "dropped_auth"), 1);
    p->message[0] ^= 1;
    assert_false(peer_resend(p));
    p->message_len = 10;
    assert_false(peer_resend(p));
    assert_int_equal(box_counter(b, "dropped_malformed"), 2);
    peer_free(p);
}

/* It may dial the wrong core, which its operator finds out sooner when that says so. */
static void an_edge_of_another_stream_is_dropped_and_noted(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    box_enrol(b, "e", p);
    peer_report(p, 0);
    p->message[HF_PREFIX_BYTES - 1] ^= 1; /* the last byte of its id */
    assert_false(peer_resend(p));
    assert_int_equal(box_counter(b, "dropped_malformed"), 1);
    assert_non_null(strstr(b->notes, "another stream"));
    peer_free(p);
}

/* ---- HELLO, REPORT, beacons ---- */

static struct hf_beacon proof_open(const struct peer *p, const struct hf_beacon_proof *proof)
{
    struct hf_beacon bc;
    assert_int_equal(hf_beacon_decode(proof->signed_beacon, &bc), HF_OK);
    assert_true(hf_beacon_verify(proof->signed_beacon, &p->b->id.public_key));
    struct hf_hash leaf = hf_beacon_leaf(p->nonce);
    struct hf_hash root = hf_merkle_fold(&leaf, proof->index, proof->path, proof->path_len);
    assert_true(bc.has_nonce);
    assert_memory_equal(bc.nonce.b, root.b, HF_HASH_BYTES);
    return bc;
}

static void replies_carry_a_fresh_beacon_of_the_head(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    box_enrol(b, "e", p);
    box_put(b, "k", "v");
    struct hf_beacon first = proof_open(p, &peer_report(p, 0)->report);
    assert_int_equal(first.head, 1);
    assert_int_equal(first.log_floor, 1);
    assert_memory_equal(first.digest.b, box_status(b).digest.b, HF_HASH_BYTES);
    struct hf_beacon second = proof_open(p, &peer_hello(p, NULL)->hello.beacon);
    assert_true(second.counter > first.counter);
    box_crash(b);
    box_open(b);
    struct hf_beacon third = proof_open(p, &peer_report(p, 0)->report);
    assert_true(third.counter > second.counter + 1000000);
    peer_free(p);
}

/* What the core replies, by handle: many edges wait at the same time. */
static struct box_message gathered_reply[32];

static void keep_reply(void *ctx, uint64_t request, struct hf_slice message)
{
    (void)ctx;
    assert_true(request < 32 && gathered_reply[request].data == NULL);
    gathered_reply[request] = box_copy(message);
}

/* Opens the reply to p and checks that its beacon proves p's nonce. */
static struct hf_beacon proven_beacon(struct peer *p, struct box_message reply)
{
    struct hf_envelope env;
    struct hf_writer w;
    struct hf_beacon beacon;
    const struct hf_beacon_proof *proof = &p->reply.report;
    hf_writer_init(&w, p->plain, sizeof(p->plain));
    assert_int_equal(hf_reply_open(hf_slice_of(reply.data, reply.len), &p->b->id.public_key,
                                   &p->id.public_key, p->nonce, &p->keys, &env, &w),
                     HF_OK);
    assert_int_equal(hf_reply_decode(hf_writer_bytes(&w), &p->reply), HF_OK);
    assert_int_equal(hf_beacon_decode(proof->signed_beacon, &beacon), HF_OK);
    assert_true(hf_beacon_verify(proof->signed_beacon, &p->b->id.public_key));
    struct hf_hash leaf = hf_beacon_leaf(p->nonce);
    struct hf_hash root = hf_merkle_fold(&leaf, proof->index, proof->path, proof->path_len);
    assert_true(hf_hash_eq(&root, &beacon.nonce));
    return beacon;
}

static void reports_that_come_together_share_one_signature(void **state)
{
    enum { PEERS = 19 }; /* one group of 16 and what is left */
    struct box *b = *state;
    struct peer *p[PEERS];
    uint64_t first = 0;
    char name[8];
    for (uint32_t i = 0; i < PEERS; i++) {
        p[i] = peer_new(b, (uint8_t)(i + 1));
        snprintf(name, sizeof(name), "e%u", i);
        box_enrol(b, name, p[i]);
        peer_hello(p[i], NULL); /* for its cookie */
    }
    b->core->world.reply = keep_reply;
    for (uint32_t i = 0; i < PEERS; i++) {
        struct hf_request q = {.type = HF_MSG_REPORT, .counter = ++p[i]->counter};
        q.report.epoch_id = box_status(b).epoch_id;
        box_random(b, p[i]->nonce, sizeof(p[i]->nonce));
        peer_seal(p[i], &q);
        assert_true(gathered_reply[0].data == NULL || i >= 16);
        hf_core_on_request(b->core, i, hf_slice_of(p[i]->message, p[i]->message_len), NULL);
    }
    hf_core_requests_end(b->core);
    for (uint32_t i = 0; i < PEERS; i++) {
        struct hf_beacon beacon = proven_beacon(p[i], gathered_reply[i]);
        first = i == 0 ? beacon.counter : first;
        assert_int_equal(beacon.counter - first, i < 16 ? 0 : 1);
        free(gathered_reply[i].data);
        peer_free(p[i]);
    }
    memset(gathered_reply, 0, sizeof(gathered_reply));
}

static void an_idle_stream_has_a_beacon_each_second(void **state)
{
    struct box *b = *state;
    box_pass(b, 3500);
    assert_int_equal(b->published_count, 4);
    struct hf_reader r;
    enum hf_kind kind;
    struct hf_id stream;
    struct hf_beacon bc;
    hf_reader_init(&r, hf_slice_of(b->published[3].data, b->published[3].len));
    assert_int_equal(hf_prefix_read(&r, &kind, &stream), HF_OK);
    assert_int_equal(kind, HF_KIND_BEACON);
    assert_int_equal(hf_beacon_decode(hf_slice_of(r.at, hf_reader_left(&r)), &bc), HF_OK);
    assert_false(bc.has_nonce);
    assert_int_equal(bc.head, 0);
}

static void reports_make_edges_durable_at_a_seq(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    box_enrol(b, "e", p);
    box_put(b, "k", "1");
    box_put(b, "k", "2");
    peer_report(p, 1);
    assert_int_equal(hf_core_edges_at(b->core, 1), 1);
    assert_int_equal(hf_core_edges_at(b->core, 2), 0);
    struct hf_edge_row row = box_row(b, 0);
    assert_int_equal(row.applied, 1);
    assert_int_equal(row.lag_batches, 1);
    assert_int_equal(row.lag_bytes, b->published[1].len);
    peer_free(p);
}

static void
a_transfer_that_never_ends_holds_back_tombstones_for_twice_their_time_at_most(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct hf_request q = {.type = HF_MSG_REPORT};
    box_close(b);
    b->cfg.delta_batches = 10;
    box_open(b);
    box_enrol(b, "e", p);
    for (int i = 1; i <= 60; i++) {
        q.report.epoch_id = box_status(b).epoch_id;
        q.report.transfer_base = 1;
        assert_int_equal(peer_ask(p, &q)->code, HF_OK);
        box_put(b, "k", i % 2 == 0 ? NULL : "v");
        box_commit(b);
        hf_seq floor = b->core->head.delta_floor;
        assert_true(i <= 21 ? floor <= 1 : floor == (hf_seq)i - 20);
    }
    peer_free(p);
}

static void a_hello_with_a_foreign_header_marks_that_edge_as_diverged(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    box_enrol(b, "e", p);
    box_put(b, "k", "1");
    struct hf_frame f = box_frame(b, 0);
    assert_int_equal(peer_hello(p, &f)->code, HF_OK);
    f.signature.b[0] ^= 1;
    assert_int_equal(peer_hello(p, &f)->code, HF_AUTH);
    assert_int_equal(box_row(b, 0).state, HF_EDGE_DIVERGED);
    assert_null(box_status(b).refusing);
    f.signature.b[0] ^= 1;
    f.h.epoch_id.b[0] ^= 1;
    assert_int_equal(peer_hello(p, &f)->code, HF_UNKNOWN_EPOCH);
    assert_int_equal(box_put(b, "k", "2").code, HF_OK);
    peer_free(p);
}

/* Rolls the core back to where it was at batch 1, without its mark; frame 1 was then published. */
static void roll_back_to_one(struct box *b, struct peer *p)
{
    box_enrol(b, "e", p);
    box_put(b, "k", "1");
    box_close(b);
    box_cp(b, "main", "copy");
    box_open(b);
    box_put(b, "k", "2");
    box_close(b);
    box_cp(b, "copy", "main");
    box_rm(b, "main.mark");
    b->now += 5000;
    box_open(b);
    assert_null(box_status(b).refusing);
}

static void an_edge_that_knows_more_fences_a_core_that_was_rolled_back(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    roll_back_to_one(b, p);
    struct hf_frame f = box_frame(b, 1);
    struct box_write waiting = {.done = false};
    box_send(b, box_add(&waiting, "k", "waits"));
    const struct hf_reply *r = peer_hello(p, &f);
    assert_int_equal(r->code, HF_OK);
    assert_int_equal(proof_open(p, &r->hello.beacon).head, 1);
    assert_non_null(box_status(b).refusing);
    assert_int_equal(box_row(b, 0).state, HF_EDGE_DIVERGED);
    hf_core_flush(b->core);
    box_work(b);
    assert_true(waiting.done);
    assert_int_equal(waiting.result.code, HF_FORK);
    assert_int_equal(box_status(b).head, 1);
    assert_int_equal(box_put(b, "k", "3").code, HF_FORK);
    assert_string_equal(box_get(b, "k"), "1");
    box_crash(b);
    box_open(b); /* the evidence was stored */
    assert_int_equal(box_put(b, "k", "3").code, HF_FORK);
    peer_free(p);
}

/* Such a batch is not given to anyone before the owner has heard of it; but it is not lost. */
static void a_batch_that_is_only_in_the_log_yet_is_no_evidence(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct box_write w = {.done = false};
    struct hf_id stream;
    struct hf_frame f;
    uint8_t copy[4096];
    size_t len;
    box_enrol(b, "e", p);
    box_send(b, box_add(&w, "k", "1"));
    hf_core_flush(b->core);
    struct hf_job *group = b->job_first;
    b->job_first = NULL;
    b->job_end = &b->job_first;
    group->work(group);
    struct hf_request q = {.type = HF_MSG_FETCH};
    q.fetch = (struct hf_fetch_request){
        .epoch_id = box_status(b).epoch_id, .want = HF_WANT_LOG, .first = 1, .last = 1};
    assert_int_equal(peer_ask(p, &q)->code, HF_NOT_YET);
    assert_int_equal(hf_changelog_read(b->core->writer.log, 1, copy, sizeof(copy), &len), HF_OK);
    assert_int_equal(hf_frame_decode(hf_slice_of(copy, len), &stream, &f), HF_OK);
    assert_int_equal(box_status(b).head, 0);
    assert_int_equal(peer_hello(p, &f)->code, HF_OK);
    assert_null(box_status(b).refusing);
    group->done(group);
    box_work(b);
    assert_int_equal(w.result.code, HF_OK);
    assert_int_equal(peer_ask(p, &q)->code, HF_OK);
    assert_int_equal(box_put(b, "k", "2").seq, 2);
    peer_free(p);
}

static void an_edge_with_another_batch_at_the_same_seq_proves_a_fork(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    roll_back_to_one(b, p);
    box_put(b, "k", "other");
    struct hf_frame theirs = box_frame(b, 1);
    struct hf_frame mine = box_frame(b, 2);
    assert_int_equal(theirs.h.seq, mine.h.seq);
    const struct hf_reply *r = peer_hello(p, &theirs);
    assert_int_equal(r->code, HF_FORK);
    struct hf_slice header;
    struct hf_signature sig;
    assert_int_equal(hf_signed_split(r->hello.evidence, HF_HEADER_MAX, &header, &sig), HF_OK);
    assert_true(hf_slice_eq(header, mine.header));
    assert_int_equal(box_put(b, "k", "3").code, HF_FORK);
    peer_free(p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, box_setup, box_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_invited_edge_joins_and_is_enrolled),
        T(a_join_is_answered_only_when_it_is_durable),
        T(a_used_token_gives_the_same_key_the_same_answer_and_another_none),
        T(a_token_of_another_core_or_with_another_secret_is_refused),
        T(two_joins_at_once_with_one_token_enrol_one),
        T(names_and_keys_are_enrolled_once),
        T(a_revoked_edge_is_refused_and_the_next_frame_has_a_new_key),
        T(a_revocation_counts_at_once_even_when_it_cannot_be_stored),
        T(facts_outlive_a_failed_group_and_the_trim_of_the_log),
        T(a_request_without_a_current_cookie_gets_one_and_moves_nothing),
        T(a_replayed_request_gets_a_cookie_only),
        T(a_cookie_is_good_for_two_slots_and_not_over_a_restart),
        cmocka_unit_test(counters_may_come_out_of_order_but_not_twice),
        T(a_stranger_who_does_not_join_is_dropped_silently),
        T(strangers_are_slowed_before_their_keys_cost_anything),
        T(what_costs_signatures_is_rationed_to_each_edge),
        T(refused_joins_of_an_enrolled_edge_are_slowed_like_strangers),
        T(damaged_and_foreign_messages_are_counted_drops),
        T(an_edge_of_another_stream_is_dropped_and_noted),
        T(replies_carry_a_fresh_beacon_of_the_head),
        T(reports_that_come_together_share_one_signature),
        T(an_idle_stream_has_a_beacon_each_second),
        T(reports_make_edges_durable_at_a_seq),
        T(a_transfer_that_never_ends_holds_back_tombstones_for_twice_their_time_at_most),
        T(a_hello_with_a_foreign_header_marks_that_edge_as_diverged),
        T(an_edge_that_knows_more_fences_a_core_that_was_rolled_back),
        T(a_batch_that_is_only_in_the_log_yet_is_no_evidence),
        T(an_edge_with_another_batch_at_the_same_seq_proves_a_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
