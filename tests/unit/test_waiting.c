/*
 * test_waiting.c - what an edge does that the core tells to wait, or sends round in circles.
 */
#include "replica_box.h"

#include "edge/replica_impl.h"

static struct hf_replica_effect take(struct box *b, enum hf_replica_request kind)
{
    struct hf_replica_effect *sent = box_sent(b, kind, 0);
    assert_non_null(sent);
    struct hf_replica_effect q = *sent;
    box_clear(b);
    return q;
}

/* The next request of a kind, which must come within so long; the stream lives meanwhile. */
static struct hf_replica_effect next(struct box *b, enum hf_replica_request kind, hf_seq head,
                                     hf_ms within)
{
    for (hf_ms end = b->now + within; box_sent(b, kind, 0) == NULL && b->now < end;) {
        box_pass(b, 1);
        if (b->now % 500 == 0) {
            box_beacon(b, head);
        }
    }
    return take(b, kind);
}

static void busy(struct box *b, const struct hf_replica_effect *q, uint32_t told)
{
    box_answer(b, q, (struct hf_replica_event){.code = HF_BUSY, .retry_ms = told, .bytes = 200});
}

static struct box *box_with_hole(struct hf_replica_effect *q)
{
    struct box *b = box_live(10);
    box_beacon(b, 11);
    box_pass(b, b->cfg.gap_ms);
    *q = take(b, HF_REPRQ_LOG);
    return b;
}

/* A DELTA of 32 parts, of which 16 are asked for at once. */
static struct box *box_with_flight(struct hf_replica_effect q[16])
{
    struct box *b = box_live(10);
    box_beacon(b, 1000);
    struct hf_replica_effect plan = take(b, HF_REPRQ_PLAN);
    b->parts = 32;
    box_answer(b, &plan,
               (struct hf_replica_event){.plan = HF_PLAN_DELTA, .seq = 1000, .total = 32u << 16});
    box_idle(b);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 16);
    for (uint32_t i = 0; i < 16; i++) {
        q[i] = *box_sent(b, HF_REPRQ_DELTA, i);
    }
    box_clear(b);
    b->now += 50;
    return b;
}

/* ---- how long ---- */

/* A turn that is minutes away is no standstill: the core answers. */
static void who_waits_for_its_turn_is_told_so_once_and_is_not_frozen(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_beacon(b, 11);
    box_pass(b, b->cfg.gap_ms);
    for (hf_ms waited = 0; waited < 4 * b->cfg.stall_ms; waited += 3000) {
        struct hf_replica_effect q = *box_sent(b, HF_REPRQ_LOG, 0);
        box_answer(b, &q, (struct hf_replica_event){.code = HF_BUSY, .retry_ms = 3000});
        assert_int_equal(waited == 0, box_noted(b, HF_NOTE_WAITS) != NULL);
        box_clear(b);
        for (int i = 0; i < 6; i++) {
            assert_null(box_sent(b, HF_REPRQ_LOG, 0)); /* neither sooner nor later than told */
            box_pass(b, 500);
            box_beacon(b, 11);
            assert_int_equal(box_status(b).state, HF_REPLICA_LAGGING);
            assert_null(box_noted(b, HF_NOTE_STALLED));
        }
        box_pass(b, 1);
    }
    box_grant_log(b, box_sent(b, HF_REPRQ_LOG, 0));
    box_idle(b);
    assert_int_equal(box_status(b).state, HF_REPLICA_LIVE);
    box_free(b);
}

static void who_waits_for_data_greets_at_once(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_beacon(b, 11);
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_LOG, 0);
    box_answer(b, &q, (struct hf_replica_event){.code = HF_BUSY, .retry_ms = 3000});
    box_clear(b);
    box_pass(b, b->cfg.report_ms);
    struct hf_replica_effect report = *box_sent(b, HF_REPRQ_REPORT, 0);
    box_reply(b, &report, HF_UNKNOWN_EPOCH); /* the core has begun another: whose head is it? */
    box_pass(b, 1);
    assert_int_equal(box_sends(b, HF_REPRQ_HELLO), 1);
    assert_int_equal(box_sends(b, HF_REPRQ_LOG), 0);
    box_free(b);
}

/* Whatever failed before: who comes later than it was told holds up those behind it. */
static void a_turn_is_kept_however_often_the_core_was_busy_before(void **state)
{
    static const uint32_t told[] = {125, 90, 125, 150, 1000, 600, 1400, 700, 1200, 500, 500};
    struct hf_replica_effect q;
    (void)state;
    struct box *b = box_with_hole(&q);
    for (uint32_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        hf_ms from = b->now;
        busy(b, &q, told[i]);
        q = next(b, HF_REPRQ_LOG, 11, b->cfg.backoff_ms_max);
        assert_true(b->now - from >= told[i]);
        assert_true(told[i] < 500 || b->now - from <= told[i] + 1);
    }
    box_free(b);
}

/* Each BUSY of a flight has a random wait of its own; by the longest, all edges would come back at
 * nearly the same time. */
static void of_the_waits_of_one_flight_the_first_counts(void **state)
{
    struct hf_replica_effect q[16];
    (void)state;
    struct box *b = box_with_flight(q);
    hf_ms from = b->now;
    for (uint32_t i = 0; i < 16; i++) {
        busy(b, &q[i], i == 0 ? 700 : 1500);
    }
    (void)next(b, HF_REPRQ_DELTA, 1000, 2000);
    assert_in_range(b->now - from, 700, 701);
    box_free(b);
}

static void a_long_wait_is_no_standstill(void **state)
{
    struct hf_replica_effect q;
    (void)state;
    struct box *b = box_with_hole(&q);
    busy(b, &q, 60000);
    for (hf_ms waited = 500; waited < 60000; waited += 500) {
        box_clear(b);
        box_pass(b, 500);
        box_beacon(b, 11);
        assert_null(box_noted(b, HF_NOTE_STALLED));
        assert_null(box_sent(b, HF_REPRQ_HELLO, 0));
        assert_int_equal(box_status(b).state, HF_REPLICA_LAGGING);
    }
    q = next(b, HF_REPRQ_LOG, 11, 600);
    b->now += b->cfg.stall_ms;
    box_answer(b, &q, (struct hf_replica_event){.code = HF_NOT_YET}); /* that is one as ever */
    box_pass(b, 1);
    assert_non_null(box_noted(b, HF_NOTE_STALLED));
    box_free(b);
}

static void a_wait_that_the_stream_has_ended_is_noted_again_the_next_time(void **state)
{
    struct hf_replica_effect q;
    (void)state;
    struct box *b = box_with_hole(&q);
    busy(b, &q, 3000);
    assert_non_null(box_noted(b, HF_NOTE_WAITS));
    box_frame(b, 11);
    box_idle(b);
    assert_int_equal(box_status(b).state, HF_REPLICA_LIVE);
    box_pass(b, 3000);
    box_clear(b);
    box_beacon(b, 12);
    q = next(b, HF_REPRQ_LOG, 12, b->cfg.gap_ms + 1);
    busy(b, &q, 3000);
    assert_non_null(box_noted(b, HF_NOTE_WAITS));
    box_free(b);
}

/* ---- what is learned of it ---- */

static void flight_busy(struct box *b, const struct hf_replica_effect q[16], uint32_t told)
{
    for (uint32_t i = 0; i < 16; i++) {
        busy(b, &q[i], told);
    }
}

static void a_turn_is_asked_for_by_one_request_and_used_by_all(void **state)
{
    struct hf_replica_effect q[16];
    (void)state;
    struct box *b = box_with_flight(q);
    flight_busy(b, q, 1000);
    for (int i = 0; i < 5; i++) {
        box_clear(b);
        box_pass(b, 1001);
        assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 1);
        q[0] = take(b, HF_REPRQ_DELTA);
        busy(b, &q[0], 1000);
    }
    q[0] = next(b, HF_REPRQ_DELTA, 1000, 1001);
    box_answer(b, &q[0], (struct hf_replica_event){.bytes = q[0].data_max});
    assert_in_range(box_sends(b, HF_REPRQ_DELTA), 15, 17);
    box_free(b);
}

/* The core has not forgotten who waits because the link was another. */
static void a_turn_is_asked_for_by_one_request_over_a_new_link_too(void **state)
{
    struct hf_replica_effect q[16];
    (void)state;
    struct box *b = box_with_flight(q);
    flight_busy(b, q, 1000);
    box_link(b, HF_CHANNEL_CONTROL, false);
    box_pass(b, 100);
    box_clear(b);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 10); /* HELLO */
    for (int i = 0; i < 20 && box_sends(b, HF_REPRQ_DELTA) == 0; i++) {
        box_pass(b, 100);
    }
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 1);
    box_free(b);
}

/* Once, not for each request that was under way. */
static void a_full_line_halves_what_is_asked_for(void **state)
{
    struct hf_replica_effect q[16];
    (void)state;
    struct box *b = box_with_flight(q);
    flight_busy(b, q, 100);
    box_pass(b, 200);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 8);
    box_free(b);
}

static void an_answer_that_brings_nothing_does_not_say_how_long_data_takes(void **state)
{
    struct hf_replica_effect q;
    (void)state;
    struct box *b = box_with_hole(&q);
    b->cfg.stall_ms = 1000000;
    b->now += 4000; /* a thin link */
    box_grant_log(b, &q);
    box_idle(b);
    box_beacon(b, 12);
    q = next(b, HF_REPRQ_LOG, 12, 1000);
    hf_ms timeout = q.timeout_ms;
    assert_true(timeout >= 16000);
    for (int i = 0; i < 40; i++) {
        b->now += 100;
        busy(b, &q, 1000);
        q = next(b, HF_REPRQ_LOG, 12, 1001);
    }
    assert_int_equal(q.timeout_ms, timeout);
    box_free(b);
}

/* ---- what does not wait ---- */

static void a_comparison_that_the_core_has_no_room_for_holds_up_no_frames(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_step(b, &(struct hf_replica_event){.type = HF_REPEV_REPAIR});
    for (int i = 0; i < 10; i++) {
        struct hf_replica_effect q = next(b, HF_REPRQ_RANGES, 10, 200);
        busy(b, &q, i < 9 ? 125 : 60000);
    }
    box_beacon(b, 11);
    (void)next(b, HF_REPRQ_LOG, 11, b->cfg.gap_ms + 1);
    box_free(b);
}

/* ---- a core that contradicts itself ---- */

static void a_flight_that_is_refused_asks_for_one_hello(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct hf_replica_effect q[16];
        struct box *b = box_with_flight(q);
        uint32_t hellos = 0;
        for (uint32_t n = 0; n < 16; n++) {
            enum hf_err code = i == 0 ? HF_UNKNOWN_EPOCH : HF_SEALED;
            box_answer(b, &q[n], (struct hf_replica_event){.code = code});
            box_pass(b, 20);
            if (box_sent(b, HF_REPRQ_HELLO, 0) != NULL) {
                struct hf_replica_effect hello = take(b, HF_REPRQ_HELLO);
                hellos++;
                box_reply(b, &hello, HF_OK);
            }
        }
        assert_in_range(hellos, 1, 3);
        box_free(b);
    }
}

struct lie {
    enum hf_plan_kind plan;
    enum hf_err data;
};

/* Whatever is under way is answered within a millisecond. */
static uint32_t requests_in_10_s(const struct lie *lie)
{
    struct box *b = box_live(10);
    uint32_t sends = 0;
    box_beacon(b, 1000);
    for (hf_ms end = b->now + 10000; b->now < end;) {
        struct hf_replica_effect out[64];
        uint32_t count = 0;
        for (uint32_t i = 0; i < b->log_count && count < 64; i++) {
            if (b->log[i].type == HF_REPFX_SEND && b->log[i].kind != HF_REPRQ_REPORT) {
                out[count++] = b->log[i];
            }
        }
        box_clear(b);
        sends += count;
        b->now++;
        for (uint32_t i = 0; i < count; i++) {
            struct hf_replica_event ev = {.plan = lie->plan, .seq = 1000, .total = 1000};
            ev.code = is_data(out[i].kind) ? lie->data : HF_OK;
            box_answer(b, &out[i], ev);
        }
        if (b->busy) {
            box_done(b);
        }
        box_tick(b);
    }
    box_free(b);
    return sends;
}

static void a_core_that_sends_round_in_circles_is_asked_now_and_then(void **state)
{
    static const struct lie lies[] = {
        {HF_PLAN_LOG, HF_BELOW_FLOOR}, {HF_PLAN_DELTA, HF_BELOW_FLOOR}, {HF_PLAN_DELTA, HF_MOVED}};
    (void)state;
    for (uint32_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        assert_in_range(requests_in_10_s(&lies[i]), 5, 150);
    }
}

/* One that is full closes connections as soon as they are made. */
static void a_join_that_is_cut_short_waits_longer_each_time(void **state)
{
    (void)state;
    struct box *b = box_new(0);
    box_start(b, false, true);
    box_link(b, HF_CHANNEL_CONTROL, true);
    uint32_t joins = 0;
    for (hf_ms end = b->now + 120000; b->now < end; joins++) {
        struct hf_replica_effect q = next(b, HF_REPRQ_JOIN, 0, 40000);
        b->now += 5;
        box_timeout(b, &q);
        box_link(b, HF_CHANNEL_CONTROL, false);
        box_link(b, HF_CHANNEL_CONTROL, true);
    }
    assert_in_range(joins, 5, 25);
    box_free(b);
}

/* A token that is used up stays so until somebody looks at it. */
static void a_join_that_is_refused_comes_again_after_half_a_minute(void **state)
{
    (void)state;
    struct box *b = box_new(0);
    box_start(b, false, true);
    box_link(b, HF_CHANNEL_CONTROL, true);
    for (int i = 0; i < 3; i++) {
        struct hf_replica_effect q = next(b, HF_REPRQ_JOIN, 0, 60001);
        hf_ms from = b->now;
        box_answer(b, &q, (struct hf_replica_event){.code = HF_AUTH});
        assert_non_null(box_noted(b, HF_NOTE_JOIN_REFUSED));
        box_link(b, HF_CHANNEL_CONTROL, false);
        box_link(b, HF_CHANNEL_CONTROL, true);
        while (box_sent(b, HF_REPRQ_JOIN, 0) == NULL) {
            box_pass(b, 10);
        }
        assert_in_range(b->now - from, 30000, 60020);
    }
    box_free(b);
}

int main(void)
{
#define TEST(f) cmocka_unit_test(f)
    const struct CMUnitTest tests[] = {
        TEST(who_waits_for_its_turn_is_told_so_once_and_is_not_frozen),
        TEST(who_waits_for_data_greets_at_once),
        TEST(a_turn_is_kept_however_often_the_core_was_busy_before),
        TEST(of_the_waits_of_one_flight_the_first_counts),
        TEST(a_long_wait_is_no_standstill),
        TEST(a_wait_that_the_stream_has_ended_is_noted_again_the_next_time),
        TEST(a_turn_is_asked_for_by_one_request_and_used_by_all),
        cmocka_unit_test(a_turn_is_asked_for_by_one_request_over_a_new_link_too),
        TEST(a_full_line_halves_what_is_asked_for),
        TEST(an_answer_that_brings_nothing_does_not_say_how_long_data_takes),
        TEST(a_comparison_that_the_core_has_no_room_for_holds_up_no_frames),
        TEST(a_flight_that_is_refused_asks_for_one_hello),
        TEST(a_core_that_sends_round_in_circles_is_asked_now_and_then),
        TEST(a_join_that_is_cut_short_waits_longer_each_time),
        TEST(a_join_that_is_refused_comes_again_after_half_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
