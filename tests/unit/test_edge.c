/*
 * test_edge.c - the edge's driver over the real store, envelope and frames, against a core that
 * answers as well or as badly as a test wants.
 */
#include "edge_box.h"

/* The edge shows what the core has, up to the same seq. */
/* An edge that is started and has both links. */
static struct rig *linked(void **state)
{
    struct rig *rig = *state;
    rig_start(rig);
    rig_connect(rig);
    return rig;
}

static void assert_caught_up(struct rig *rig)
{
    assert_int_equal(rig_status(rig).applied, hf_state_position(rig->core->s).seq);
    assert_same_contents(rig->core->s, hf_edge_state(rig->edge));
    assert_verified(hf_edge_state(rig->edge));
    assert_int_equal(rig->published, rig_status(rig).applied);
    assert_null(hf_edge_pending(rig->edge));
}

/* ---- joining ---- */

static void hello_brings_genesis_keys_and_name_which_are_durable(void **state)
{
    struct rig *rig = *state;
    struct hf_edge_info info;
    rig_start(rig);
    hf_edge_info(rig->edge, &info);
    assert_false(info.has_genesis || rig->subscribed);
    rig_connect(rig);
    hf_edge_info(rig->edge, &info);
    assert_true(info.has_genesis && rig->subscribed);
    assert_string_equal(info.name, "lagos");
    assert_true(hf_id_eq(&info.position.epoch_id, &test_epoch));
    assert_int_equal(rig->asked_count[HF_MSG_JOIN], 0);
    rig_crash(rig);
    rig->subscribed = false;
    rig_start(rig);
    hf_edge_info(rig->edge, &info);
    assert_true(info.has_genesis && rig->subscribed);
    assert_string_equal(info.name, "lagos");
    /* The content key too: a frame can be applied before any HELLO of this run. */
    rig_put(rig, "a", "1");
    rig_stream(rig, 1);
    rig_jobs(rig);
    assert_caught_up(rig);
}

static void a_token_is_proved_and_spent_once(void **state)
{
    struct rig *rig = *state;
    rig->token = (struct hf_token){.id = {{9}}, .secret = {1, 2, 3}, .name = "lagos"};
    rig->cfg.token = &rig->token;
    rig_start(rig);
    rig_connect(rig);
    assert_int_equal(rig->asked_count[HF_MSG_JOIN], 1);
    assert_true(rig->proof_ok);
    rig_crash(rig);
    rig_start(rig);
    rig_connect(rig);
    assert_int_equal(rig->asked_count[HF_MSG_JOIN], 1);
}

static void wrong_core_key_is_refused(void **state)
{
    struct rig *rig = *state;
    struct hf_error e = {HF_OK, ""};
    rig_start(rig);
    rig_connect(rig);
    rig_crash(rig);
    rig->cfg.core_key = rig->stranger_id.public_key;
    assert_int_equal(rig_try_open(rig, &e), HF_MISMATCH);
    assert_non_null(strstr(e.text, "another core"));
}

static void a_genesis_of_another_root_is_not_adopted(void **state)
{
    struct rig *rig = *state;
    struct hf_edge_info info;
    rig_start(rig);
    rig->genesis[rig->genesis_len - 1] ^= 1;
    rig_connect(rig);
    rig_pass(rig, 2000);
    hf_edge_info(rig->edge, &info);
    assert_false(info.has_genesis);
    assert_non_null(strstr(rig->notes, "refused a request"));
}

static void a_cookie_is_taken_and_the_same_request_sent_again(void **state)
{
    struct rig *rig = *state;
    rig->wants_cookie = true;
    rig_start(rig);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
    rig_pass(rig, 100);
    assert_int_equal(rig->asked_count[HF_MSG_COOKIE], 1);
    assert_int_equal(rig->asked_count[HF_MSG_HELLO], 1);
    assert_int_equal(rig_status(rig).timeouts, 0);
    /* A core that started anew has a new cookie, and one more round trip is all it costs. */
    rig->cookie.b[5] ^= 1;
    rig_pass(rig, 3000);
    assert_int_equal(rig->asked_count[HF_MSG_COOKIE], 2);
    assert_int_equal(rig_status(rig).timeouts, 0);
}

static void a_core_that_gives_nothing_but_cookies_is_given_up_like_a_silent_one(void **state)
{
    struct rig *rig = *state;
    rig_start(rig);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
    rig_tick(rig, 100);
    struct hf_reply cookie = {.type = HF_MSG_COOKIE, .counter = 5};
    uint32_t sent = 0;
    for (struct asked *a; sent < 20 && (a = rig_take(rig)) != NULL; sent++) {
        rig_open(rig, a);
        rig_reply(rig, a, &cookie);
        asked_free(a);
    }
    assert_in_range(sent, 2, 5);
    assert_int_equal(rig_status(rig).timeouts, 1);
}

/* ---- frames ---- */

static void frames_of_the_stream_are_applied_and_shown(void **state)
{
    struct rig *rig = linked(state);
    rig_puts(rig, 0, 10);
    rig_put(rig, "key/3", NULL);
    for (hf_seq seq = 1; seq <= 11; seq++) {
        rig_stream(rig, seq);
    }
    rig_jobs(rig);
    assert_caught_up(rig);
    assert_int_equal(rig->wants[HF_WANT_LOG], 0);
    assert_shows(hf_edge_state(rig->edge), "key/3", NULL);
}

static void what_the_stream_lost_comes_by_log(void **state)
{
    struct rig *rig = linked(state);
    rig_puts(rig, 0, 30);
    rig_stream(rig, 20);
    rig_beacon(rig);
    rig_jobs(rig);
    rig_pass(rig, 200);
    assert_caught_up(rig);
    assert_in_range(rig->wants[HF_WANT_LOG], 1, 6);
}

static void a_frame_too_large_for_a_message_comes_as_header_and_body(void **state)
{
    struct rig *rig = *state;
    static uint8_t value[150000];
    for (size_t i = 0; i < sizeof(value); i++) {
        value[i] = (uint8_t)rng_next(&rig->x);
    }
    struct hf_change c = {HF_OP_PUT, hf_slice_str("large"), hf_slice_of(value, sizeof(value))};
    rig_start(rig);
    rig_connect(rig);
    rig_batch(rig, &c, 1, true);
    rig_put(rig, "small", "1");
    rig_stream(rig, 1);
    rig_stream(rig, 2);
    rig_jobs(rig);
    rig_pass(rig, 100);
    assert_caught_up(rig);
    assert_int_equal(rig->wants[HF_WANT_BODY], 4);
}

static void a_body_goes_on_where_a_reply_that_was_given_up_got_to(void **state)
{
    struct rig *rig = *state;
    static uint8_t value[150000];
    struct hf_change c = {HF_OP_PUT, hf_slice_str("large"), hf_slice_of(value, sizeof(value))};
    rig_start(rig);
    rig_connect(rig);
    rig_batch(rig, &c, 1, true);
    rig_stream(rig, 1);
    rig_jobs(rig);
    /* The last part, and every one before, is answered only after its request was given up. */
    for (int i = 0; i < 12 && rig_status(rig).applied == 0; i++) {
        struct asked *a = rig_take(rig);
        hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, false);
        hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
        if (a != NULL) {
            rig_answer(rig, a);
            asked_free(a);
        }
        rig_jobs(rig);
        rig_tick(rig, 60);
        rig_tick(rig, 60);
    }
    rig_pass(rig, 20000);
    assert_caught_up(rig);
    assert_null(strstr(rig->notes, "nothing moves"));
}

static void a_forged_frame_changes_nothing(void **state)
{
    struct rig *rig = linked(state);
    hf_seq seq = rig_put(rig, "a", "1");
    uint8_t *copy = malloc(rig->frame_len[seq]);
    for (size_t i = 0; i < rig->frame_len[seq]; i++) {
        memcpy(copy, rig->frame[seq], rig->frame_len[seq]);
        copy[i] ^= 0x01;
        hf_edge_on_message(rig->edge, hf_slice_of(copy, rig->frame_len[seq]));
        rig_jobs(rig);
        assert_int_equal(rig_status(rig).applied, 0);
        assert_int_equal(rig_status(rig).held_now, 0);
        assert_int_equal(rig_status(rig).head, 0);
    }
    free(copy);
    struct hf_replica_status s = rig_status(rig);
    assert_int_equal(rig_dropped(rig) + s.bad_frames + s.duplicates, rig->frame_len[seq]);
    rig_stream(rig, seq);
    rig_jobs(rig);
    assert_caught_up(rig);
}

static void a_frame_signed_by_a_stranger_is_refused(void **state)
{
    struct rig *rig = linked(state);
    hf_seq seq = rig_put(rig, "a", "1");
    struct hf_frame f;
    struct hf_id stream;
    struct hf_signature sig;
    assert_ok(hf_frame_decode(rig_frame(rig, seq), &stream, &f));
    hf_header_sign(f.header, rig->stranger_id.secret, &sig);
    uint8_t *message = malloc(rig->frame_len[seq] + 16);
    struct hf_writer w;
    hf_writer_init(&w, message, rig->frame_len[seq] + 16);
    hf_frame_encode(&stream, f.header, &sig, f.body, &w);
    hf_edge_on_message(rig->edge, hf_writer_bytes(&w));
    rig_jobs(rig);
    assert_int_equal(rig_status(rig).bad_frames, 1);
    assert_int_equal(rig_status(rig).applied, 0);
    free(message);
}

static void a_damaged_body_is_refused_though_its_key_is_missing(void **state)
{
    struct rig *rig = linked(state);
    uint32_t hellos = rig->asked_count[HF_MSG_HELLO];
    rig_add_key(rig);
    hf_seq seq = rig_put(rig, "a", "1");
    rig->frame[seq][rig->frame_len[seq] - 1] ^= 1;
    rig_stream(rig, seq);
    rig_pump(rig);
    assert_int_equal(rig_status(rig).bad_frames, 1);
    assert_int_equal(rig->asked_count[HF_MSG_HELLO], hellos);
}

static void a_frame_of_another_stream_is_dropped_unread(void **state)
{
    struct rig *rig = linked(state);
    hf_seq seq = rig_put(rig, "a", "1");
    uint64_t before = rig_dropped(rig);
    rig->frame[seq][HF_PREFIX_BYTES - 1] ^= 1;
    rig_stream(rig, seq);
    assert_int_equal(rig_dropped(rig), before + 1);
    assert_null(rig->jobs);
}

static void a_new_content_key_is_fetched_by_one_hello(void **state)
{
    struct rig *rig = linked(state);
    uint32_t hellos = rig->asked_count[HF_MSG_HELLO];
    rig_add_key(rig);
    rig->keys_given = 2;
    rig_put(rig, "a", "1");
    rig_put(rig, "b", "2");
    rig_stream(rig, 1);
    rig_stream(rig, 2);
    rig_pump(rig);
    rig_pass(rig, 100);
    assert_caught_up(rig);
    assert_int_equal(rig->asked_count[HF_MSG_HELLO], hellos + 1);
}

static void beacons_that_core_and_edge_tell_apart_are_noted_once(void **state)
{
    struct rig *rig = *state;
    rig->beacon_ms = 1000;
    rig_start(rig);
    rig_connect(rig);
    assert_null(strstr(rig->notes, "beacons"));
    rig->beacon_ms = 10000;
    for (int i = 0; i < 3; i++) {
        hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, false);
        hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
        rig_pass(rig, 1000);
    }
    const char *note = strstr(rig->notes, "the core's beacons come every 10000 ms, here 1000");
    assert_non_null(note);
    assert_null(strstr(note + 1, "the core's beacons"));
}

/* A bit that fell over in the core's memory, say. */
static void a_content_key_that_was_wrong_is_replaced_by_the_next_hello(void **state)
{
    struct rig *rig = linked(state);
    rig_add_key(rig);
    rig->keys_given = 2;
    hf_seq seq = rig_put(rig, "a", "1");
    rig->key[1].key.b[0] ^= 1;
    rig_stream(rig, seq);
    rig_pump(rig);
    rig_pass(rig, 100);
    assert_int_equal(rig_status(rig).applied, seq - 1);
    rig->key[1].key.b[0] ^= 1;
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, false);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
    rig_pass(rig, 10000);
    assert_caught_up(rig);
}

static void a_frame_that_needs_an_upgrade_is_not_taken_for_a_forgery(void **state)
{
    struct rig *rig = linked(state);
    hf_seq seq = rig_put(rig, "a", "1");
    struct hf_frame f;
    struct hf_id stream;
    struct hf_signature sig;
    uint8_t header[HF_HEADER_MAX];
    uint8_t message[4096];
    struct hf_writer w;
    assert_ok(hf_frame_decode(rig_frame(rig, seq), &stream, &f));
    f.h.flags_critical = 1u << 30;
    hf_writer_init(&w, header, sizeof(header));
    hf_header_encode(&f.h, &w);
    f.header = hf_writer_bytes(&w);
    for (int forged = 1; forged >= 0; forged--) {
        hf_header_sign(f.header, forged ? rig->stranger_id.secret : rig->core_id.secret, &sig);
        hf_writer_init(&w, message, sizeof(message));
        hf_frame_encode(&stream, f.header, &sig, f.body, &w);
        hf_edge_on_message(rig->edge, hf_writer_bytes(&w));
        rig_jobs(rig);
        assert_int_equal(strstr(rig->notes, "reason=UPGRADE") == NULL, forged);
        assert_int_equal(rig_status(rig).applied, 0);
    }
}

/* ---- replies ---- */

static void replies_that_do_not_open_count_as_lost(void **state)
{
    struct rig *rig = linked(state);
    rig_tick(rig, 1000);
    struct asked *a = rig_take(rig);
    assert_non_null(a);
    uint64_t before = rig_dropped(rig);
    hf_edge_on_reply(rig->edge, a->id, hf_slice_str("not a reply"));
    assert_int_equal(rig_dropped(rig), before + 1);
    assert_int_equal(rig_status(rig).timeouts, 1);
    /* The true answer comes too late, and a second time: nobody waits for it. */
    rig_answer(rig, a);
    rig_answer(rig, a);
    asked_free(a);
    assert_int_equal(rig_status(rig).timeouts, 1);
}

static void an_answer_to_another_request_does_not_open(void **state)
{
    struct rig *rig = linked(state);
    rig_tick(rig, 1000);
    struct asked *a = rig_take(rig);
    rig_open(rig, a);
    a->env.nonce[0] ^= 1;
    uint8_t beacon[HF_BEACON_MAX];
    struct hf_reply p = {.type = HF_MSG_REPORT,
                         .report = {.signed_beacon = rig_sign_beacon(rig, a->env.nonce, beacon)}};
    uint64_t before = rig_status(rig).staleness_ms;
    rig_reply(rig, a, &p);
    assert_int_equal(rig_status(rig).timeouts, 1);
    assert_true(rig_status(rig).staleness_ms >= before);
    asked_free(a);
}

static void a_beacon_for_another_request_proves_no_freshness(void **state)
{
    struct rig *rig = linked(state);
    rig_tick(rig, 1000);
    struct asked *a = rig_take(rig);
    rig_open(rig, a);
    uint8_t other[HF_NONCE_BYTES] = {1};
    uint8_t beacon[HF_BEACON_MAX];
    struct hf_reply p = {.type = HF_MSG_REPORT,
                         .report = {.signed_beacon = rig_sign_beacon(rig, other, beacon)}};
    rig->now += 50;
    uint64_t before = rig_status(rig).staleness_ms;
    uint64_t dropped = rig_dropped(rig);
    rig_reply(rig, a, &p);
    assert_int_equal(rig_status(rig).staleness_ms, before);
    assert_int_equal(rig_dropped(rig), dropped + 1);
    asked_free(a);
}

static void staleness_counts_from_before_the_request_was_sent(void **state)
{
    struct rig *rig = linked(state);
    rig_tick(rig, 1000);
    struct asked *a = rig_take(rig);
    assert_non_null(a);
    rig->now += 70; /* on the wire, both ways */
    rig_answer(rig, a);
    asked_free(a);
    assert_int_equal(rig_status(rig).staleness_ms, 70);
}

/* ---- transfers ---- */

static void a_report_says_for_how_long_the_edge_has_run(void **state)
{
    struct rig *rig = *state;
    struct asked *a;
    rig_start(rig);
    hf_ms began = rig->now;
    rig_connect(rig);
    rig_pass(rig, 5000);
    uint32_t reports = 0;
    while (reports == 0) {
        rig_tick(rig, 10);
        while ((a = rig_take(rig)) != NULL) {
            rig_open(rig, a);
            if (a->q.type == HF_MSG_REPORT) {
                assert_int_equal(a->q.report.uptime_ms, rig->now - began);
                reports++;
            }
            asked_free(a);
        }
    }
}

static void a_delta_is_staged_chunk_by_chunk_and_becomes_visible_at_once(void **state)
{
    struct rig *rig = *state;
    rig_puts(rig, 0, 5);
    rig_start(rig);
    rig_connect(rig);
    rig_beacon(rig);
    rig_pass(rig, 100);
    assert_int_equal(rig_status(rig).applied, 5);
    rig->plan = HF_PLAN_DELTA;
    rig_puts(rig, 5, 100);
    rig_put(rig, "key/7", NULL);
    rig->log_floor = 100;
    rig_beacon(rig);
    rig_pass(rig, 500);
    assert_caught_up(rig);
    assert_true(rig->wants[HF_WANT_DELTA] > 2);
    assert_non_null(strstr(rig->notes, "transferred state is visible seq=106"));
    rig_put(rig, "after", "1");
    rig_stream(rig, 107);
    rig_jobs(rig);
    assert_caught_up(rig);
}

static void parts_of_a_range_are_fetched_side_by_side(void **state)
{
    struct rig *rig = *state;
    static const enum hf_plan_kind kinds[] = {HF_PLAN_SNAPSHOT, HF_PLAN_DELTA};
    rig->parts = 5;
    rig_start(rig);
    rig_connect(rig);
    for (uint32_t i = 0; i < 2; i++) {
        rig->plan = kinds[i];
        rig_puts(rig, 100 * i, 100);
        rig->log_floor = 100 * i + 90;
        rig_beacon(rig);
        assert_true(rig_transfer(rig) >= 3);
        assert_caught_up(rig);
    }
}

static void a_snapshot_goes_on_where_a_crash_left_it(void **state)
{
    struct rig *rig = *state;
    rig_begin_snapshot(rig);
    for (int i = 0; i < 50 && rig->wants[HF_WANT_KEYS] < 2; i++) {
        rig_answer_one(rig);
        rig_jobs(rig);
    }
    assert_int_equal(rig_status(rig).applied, 0);
    uint32_t plans = rig->asked_count[HF_MSG_PLAN];
    rig_crash(rig);
    rig_start(rig);
    rig_puts(rig, 100, 3);
    rig_connect(rig);
    rig_beacon(rig);
    rig_pass(rig, 500);
    assert_caught_up(rig);
    assert_int_equal(rig->asked_count[HF_MSG_PLAN], plans);
}

static void a_late_cookie_does_not_ask_again_for_a_part_of_a_transfer_that_ended(void **state)
{
    const struct hf_reply cookie = {.type = HF_MSG_COOKIE, .counter = 1000};
    struct rig *rig = *state;
    rig_begin_snapshot(rig);
    struct asked *late = rig_keys_asked(rig);
    /* Only one of its connections broke: the answer is still on its way over another. */
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, false);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
    rig_pass(rig, 8000);
    assert_caught_up(rig);
    uint32_t asked = rig->wants[HF_WANT_KEYS];
    rig_forget_requests(rig);
    rig_reply(rig, late, &cookie);
    assert_int_equal(rig->request_count, 0);
    assert_int_equal(rig->wants[HF_WANT_KEYS], asked);
    asked_free(late);
}

static void a_chunk_that_comes_after_its_request_was_given_up_harms_nothing(void **state)
{
    struct rig *rig = *state;
    rig_begin_snapshot(rig);
    struct asked *late = rig_keys_asked(rig);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, false);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
    /* A frame far ahead is being written to the inbox when both answers come. */
    rig_puts(rig, 100, 20);
    rig_stream(rig, 115);
    rig_jobs(rig);
    struct asked *second = NULL;
    for (int i = 0; i < 600 && second == NULL; i++) {
        rig->now += 10;
        hf_edge_on_tick(rig->edge, rig->now);
        struct asked *a = rig_take(rig);
        if (a == NULL) {
            continue;
        }
        rig_open(rig, a);
        if (a->q.type == HF_MSG_FETCH && a->q.fetch.want == HF_WANT_KEYS) {
            second = a;
            break;
        }
        rig_answer(rig, a);
        asked_free(a);
    }
    assert_non_null(second);
    for (int i = 0; i < 200 && rig->jobs == NULL; i++) {
        rig->now += 10;
        hf_edge_on_tick(rig->edge, rig->now);
    }
    assert_non_null(rig->jobs); /* HOLD */
    rig_answer(rig, second);
    rig_answer(rig, late);
    asked_free(second);
    asked_free(late);
    rig_jobs(rig);
    rig_pass(rig, 8000);
    assert_caught_up(rig);
}

/* ---- forks ---- */

/* The next HELLO is answered with FORK and a header of `seq` that is not the one of the frame. */
static void fork_at(struct rig *rig, hf_seq seq, const struct hf_identity *signer)
{
    uint8_t bytes[HF_HEADER_MAX];
    uint8_t evidence[HF_HEADER_MAX + HF_SIGNED_OVERHEAD];
    struct hf_frame f;
    struct hf_id stream;
    struct hf_signature sig;
    struct hf_writer w;
    struct hf_writer out;
    struct asked *a;
    assert_ok(hf_frame_decode(rig_frame(rig, seq), &stream, &f));
    f.h.published_ms++;
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_header_encode(&f.h, &w);
    hf_header_sign(hf_writer_bytes(&w), signer->secret, &sig);
    hf_writer_init(&out, evidence, sizeof(evidence));
    hf_signed_write(&out, hf_writer_bytes(&w), &sig);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, false);
    rig_forget_requests(rig);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
    rig_tick(rig, 200);
    while ((a = rig_take(rig)) != NULL) {
        struct hf_reply p = {.type = HF_MSG_HELLO, .code = HF_FORK};
        p.hello.evidence = hf_writer_bytes(&out);
        rig_open(rig, a);
        if (a->q.type == HF_MSG_HELLO) {
            rig_reply(rig, a, &p);
        }
        asked_free(a);
        rig_jobs(rig);
    }
    assert_int_equal(rig_status(rig).state, HF_REPLICA_DIVERGED);
}

static void the_header_by_which_a_core_forked_is_kept(void **state)
{
    struct rig *rig = linked(state);
    rig_stream(rig, rig_put(rig, "a", "1"));
    rig_stream(rig, rig_put(rig, "a", "2"));
    rig_jobs(rig);
    fork_at(rig, 2, &rig->stranger_id);
    assert_int_equal(rig_evidence(rig), 0);
    fork_at(rig, 1, &rig->core_id); /* not of what is applied here: it contradicts nothing */
    assert_int_equal(rig_evidence(rig), 0);
    fork_at(rig, 2, &rig->core_id);
    assert_int_equal(rig_evidence(rig), 1);
    fork_at(rig, 2, &rig->core_id);
    assert_int_equal(rig_evidence(rig), 1);
    rig_crash(rig);
    rig_start(rig);
    assert_int_equal(rig_evidence(rig), 1);
}

static void a_core_that_forks_again_and_again_does_not_fill_the_disk(void **state)
{
    struct rig *rig = *state;
    for (uint32_t i = 1; i <= 20; i++) {
        char value[8];
        snprintf(value, sizeof(value), "%u", i);
        rig_start(rig);
        rig_connect(rig);
        rig_stream(rig, rig_put(rig, "a", value));
        rig_jobs(rig);
        fork_at(rig, i, &rig->core_id);
        assert_int_equal(rig_evidence(rig), i < 16 ? i : 16);
        rig_crash(rig);
    }
}

/* ---- crashes ---- */

static void crash_and_reopen_keeps_the_position(void **state)
{
    struct rig *rig = linked(state);
    rig_puts(rig, 0, 10);
    for (hf_seq seq = 1; seq <= 10; seq++) {
        rig_stream(rig, seq);
        rig_jobs(rig);
        hf_seq applied = rig_status(rig).applied;
        rig_crash(rig);
        rig_start(rig);
        assert_int_equal(rig_status(rig).applied, applied);
        assert_int_equal(applied, seq);
        assert_true(rig_status(rig).staleness_ms == UINT64_MAX);
    }
    assert_same_contents(rig->core->s, hf_edge_state(rig->edge));
}

static void frames_behind_a_hole_are_restored_from_the_inbox(void **state)
{
    struct rig *rig = linked(state);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, false);
    rig_puts(rig, 0, 10);
    for (hf_seq seq = 2; seq <= 10; seq++) {
        rig_stream(rig, seq);
    }
    rig_jobs(rig);
    for (int i = 0; i < 300; i++) {
        rig_tick(rig, 10);
    }
    rig_crash(rig);
    rig_start(rig);
    assert_int_equal(rig_status(rig).held_now, 9);
    assert_int_equal(rig_status(rig).received, 10);
    rig_connect(rig);
    rig_pass(rig, 200);
    assert_caught_up(rig);
    assert_int_equal(rig->wants[HF_WANT_LOG], 1);
    struct hf_view *v;
    struct hf_slice message;
    hf_seq seq;
    assert_ok(hf_view_open(hf_edge_state(rig->edge), &v));
    assert_int_equal(hf_view_inbox_next(v, 0, &seq, &message), HF_NOTFOUND);
    hf_view_close(v);
}

static void nothing_is_sent_or_ordered_once_the_edge_is_abandoned(void **state)
{
    struct rig *rig = *state;
    rig_start(rig);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
    rig_tick(rig, 100);
    struct asked *a = rig_take(rig);
    rig_put(rig, "a", "1");
    hf_edge_abandon(rig->edge);
    struct hf_reply cookie = {.type = HF_MSG_COOKIE, .counter = 5};
    rig_open(rig, a);
    rig_reply(rig, a, &cookie);
    rig_stream(rig, 1);
    assert_int_equal(rig->request_count, 0);
    assert_null(rig->jobs);
    assert_false(rig->subscribed);
    asked_free(a);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(hello_brings_genesis_keys_and_name_which_are_durable),
        T(a_token_is_proved_and_spent_once),
        T(wrong_core_key_is_refused),
        T(a_genesis_of_another_root_is_not_adopted),
        T(a_cookie_is_taken_and_the_same_request_sent_again),
        T(a_core_that_gives_nothing_but_cookies_is_given_up_like_a_silent_one),
        T(frames_of_the_stream_are_applied_and_shown),
        T(what_the_stream_lost_comes_by_log),
        T(a_frame_too_large_for_a_message_comes_as_header_and_body),
        T(a_body_goes_on_where_a_reply_that_was_given_up_got_to),
        T(a_forged_frame_changes_nothing),
        T(a_frame_signed_by_a_stranger_is_refused),
        T(a_damaged_body_is_refused_though_its_key_is_missing),
        T(a_frame_of_another_stream_is_dropped_unread),
        T(a_new_content_key_is_fetched_by_one_hello),
        T(beacons_that_core_and_edge_tell_apart_are_noted_once),
        T(a_content_key_that_was_wrong_is_replaced_by_the_next_hello),
        T(a_frame_that_needs_an_upgrade_is_not_taken_for_a_forgery),
        T(replies_that_do_not_open_count_as_lost),
        T(an_answer_to_another_request_does_not_open),
        T(a_beacon_for_another_request_proves_no_freshness),
        T(staleness_counts_from_before_the_request_was_sent),
        T(a_report_says_for_how_long_the_edge_has_run),
        T(a_delta_is_staged_chunk_by_chunk_and_becomes_visible_at_once),
        T(parts_of_a_range_are_fetched_side_by_side),
        T(a_snapshot_goes_on_where_a_crash_left_it),
        T(a_late_cookie_does_not_ask_again_for_a_part_of_a_transfer_that_ended),
        T(a_chunk_that_comes_after_its_request_was_given_up_harms_nothing),
        T(the_header_by_which_a_core_forked_is_kept),
        T(a_core_that_forks_again_and_again_does_not_fill_the_disk),
        T(crash_and_reopen_keeps_the_position),
        T(frames_behind_a_hole_are_restored_from_the_inbox),
        T(nothing_is_sent_or_ordered_once_the_edge_is_abandoned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
