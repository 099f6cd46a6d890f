/*
 * test_liveness.c - the replica engine and its links: silence, time-outs, backoff, staleness, and
 * cores that went back, forked or revoked this edge.
 */
#include "replica_box.h"

/* ---- links ---- */

static void silence_for_three_beacons_redials_the_stream(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    for (int i = 0; i < 5; i++) {
        box_pass(b, b->cfg.beacon_ms);
        box_beacon(b, 10);
    }
    assert_int_equal(box_count(b, HF_REPFX_REDIAL), 0);
    box_pass(b, 3 * b->cfg.beacon_ms - 1);
    assert_int_equal(box_count(b, HF_REPFX_REDIAL), 0);
    box_pass(b, 1);
    assert_int_equal(box_count(b, HF_REPFX_REDIAL), 1);
    assert_int_equal(box_nth(b, HF_REPFX_REDIAL, 0)->channel, HF_CHANNEL_STREAM);
    /* Not again before a new connection had the same time. */
    box_pass(b, 3 * b->cfg.beacon_ms - 1);
    assert_int_equal(box_count(b, HF_REPFX_REDIAL), 1);
    box_free(b);
}

static uint32_t times_noted(struct box *b, enum hf_replica_note note)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->log_count; i++) {
        n += b->log[i].type == HF_REPFX_NOTE && b->log[i].note == note;
    }
    return n;
}

/* A core that has no room for another connection takes each, and lets go of it at once. */
static void of_links_that_break_without_a_word_a_few_are_noted_in_a_minute(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_pass(b, 10);
    box_link(b, HF_CHANNEL_CONTROL, false);
    box_clear(b);
    for (int i = 0; i < 100; i++) {
        box_link(b, HF_CHANNEL_CONTROL, true);
        box_link(b, HF_CHANNEL_CONTROL, false);
        box_pass(b, 500);
    }
    assert_int_equal(times_noted(b, HF_NOTE_LINK_UP), 3);
    assert_int_equal(times_noted(b, HF_NOTE_LINK_DOWN), 3);
    box_pass(b, 11000);
    box_link(b, HF_CHANNEL_CONTROL, true); /* another minute */
    box_link(b, HF_CHANNEL_CONTROL, false);
    assert_int_equal(times_noted(b, HF_NOTE_LINK_UP), 4);
    /* A word over another connection does not make this one be up. */
    box_answer_head(b, box_sent(b, HF_REPRQ_HELLO, 0), b->now - 50, 10);
    assert_int_equal(times_noted(b, HF_NOTE_LINK_UP), 4);
    for (int i = 0; i < 4; i++) {
        box_pass(b, 100);
        box_link(b, HF_CHANNEL_CONTROL, true);
        box_link(b, HF_CHANNEL_CONTROL, false);
    }
    assert_int_equal(times_noted(b, HF_NOTE_LINK_UP), 7);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 1000);
    assert_int_equal(times_noted(b, HF_NOTE_LINK_UP), 7);
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now - 50, 10);
    assert_int_equal(times_noted(b, HF_NOTE_LINK_UP), 8); /* a word: so it is up */
    box_link(b, HF_CHANNEL_CONTROL, false);
    assert_int_equal(times_noted(b, HF_NOTE_LINK_DOWN), 8);
    box_free(b);
}

static void a_dead_stream_is_redialled_though_replies_bring_frames(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    hf_seq head = 10;
    for (int i = 0; i < 4; i++) {
        box_clear(b);
        box_pass(b, b->cfg.report_ms + 100);
        if (box_count(b, HF_REPFX_REDIAL) > 0) {
            break;
        }
        box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now - 50, ++head);
        box_pass(b, b->cfg.gap_ms);
        box_grant_log(b, box_sent(b, HF_REPRQ_LOG, 0));
        box_idle(b);
        assert_int_equal(box_status(b).applied, head);
    }
    assert_int_equal(box_count(b, HF_REPFX_REDIAL), 1);
    assert_int_equal(box_nth(b, HF_REPFX_REDIAL, 0)->channel, HF_CHANNEL_STREAM);
    box_free(b);
}

static void two_time_outs_in_a_row_redial_control(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    for (int i = 0; i < 2; i++) {
        box_pass(b, b->cfg.report_ms);
        struct hf_replica_effect q = *box_sent(b, HF_REPRQ_REPORT, 0);
        assert_int_equal(box_count(b, HF_REPFX_REDIAL), 0);
        box_clear(b);
        for (hf_ms left = q.timeout_ms; left > 0; left -= 500) {
            box_pass(b, left < 500 ? left : 500);
            box_beacon(b, 10); /* the stream lives */
        }
        box_timeout(b, &q);
    }
    assert_int_equal(box_count(b, HF_REPFX_REDIAL), 1);
    assert_int_equal(box_nth(b, HF_REPFX_REDIAL, 0)->channel, HF_CHANNEL_CONTROL);
    assert_int_equal(box_status(b).timeouts, 2);
    box_free(b);
}

static void requests_are_abandoned_and_asked_anew_when_the_control_link_comes_back(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_beacon(b, 14);
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect old = *box_sent(b, HF_REPRQ_LOG, 0);
    box_link(b, HF_CHANNEL_CONTROL, false);
    box_clear(b);
    box_pass(b, 300);
    assert_int_equal(box_count(b, HF_REPFX_SEND), 0);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, b->cfg.backoff_ms_min);
    struct hf_replica_effect *again = box_sent(b, HF_REPRQ_LOG, 0);
    assert_int_equal(again->first, 11);
    assert_int_equal(again->last, 14);
    assert_true(again->request > old.request);
    assert_int_equal(box_sends(b, HF_REPRQ_HELLO), 1);
    /* What still comes of the old one is no failure of the new. */
    box_clear(b);
    box_timeout(b, &old);
    box_reply(b, &old, HF_BUSY);
    assert_int_equal(b->log_count, 0);
    assert_int_equal(box_status(b).timeouts, 0);
    box_free(b);
}

static void a_control_link_that_comes_back_is_noted_until_caught_up(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_link(b, HF_CHANNEL_CONTROL, false);
    b->now += 60000;
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_clear(b);
    box_pass(b, 100);
    assert_null(box_noted(b, HF_NOTE_CAUGHT_UP)); /* no beacon yet: the head may be anywhere */
    box_answer_head(b, box_sent(b, HF_REPRQ_HELLO, 0), b->now - 20, 12);
    box_pass(b, b->cfg.gap_ms);
    box_grant_log(b, box_sent(b, HF_REPRQ_LOG, 0));
    box_idle(b);
    assert_int_equal(box_noted(b, HF_NOTE_FIRST_REPAIR)->a, 11);
    assert_int_equal(box_noted(b, HF_NOTE_CAUGHT_UP)->a, 12);
    assert_in_range(box_noted(b, HF_NOTE_CAUGHT_UP)->b, 100, 200);
    box_free(b);
}

/* Those that a cut held off together come back together; who starts comes by itself. */
static void who_starts_greets_at_once_and_who_comes_back_a_little_later(void **state)
{
    (void)state;
    struct box *b = box_new(5);
    box_start(b, true, false);
    box_link(b, HF_CHANNEL_CONTROL, true);
    assert_int_equal(box_sends(b, HF_REPRQ_HELLO), 1);
    box_answer_head(b, box_sent(b, HF_REPRQ_HELLO, 0), b->now, 5);
    box_pass(b, 1000);
    box_link(b, HF_CHANNEL_CONTROL, false);
    box_pass(b, 1000);
    box_clear(b);
    b->entropy = 1;
    box_link(b, HF_CHANNEL_CONTROL, true);
    assert_int_equal(box_sends(b, HF_REPRQ_HELLO), 0);
    box_pass(b, b->cfg.backoff_ms_min / 2);
    assert_int_equal(box_sends(b, HF_REPRQ_HELLO), 1);
    box_free(b);
}

static void what_was_missed_and_is_there_now_is_reported_at_once(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_link(b, HF_CHANNEL_CONTROL, false);
    b->now += 60000;
    box_clear(b);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 100);
    struct hf_replica_effect hello = *box_sent(b, HF_REPRQ_HELLO, 0);
    struct hf_replica_effect report = *box_sent(b, HF_REPRQ_REPORT, 0);
    box_answer_head(b, &hello, b->now - 20, 12);
    box_answer_head(b, &report, b->now - 20, 12);
    box_clear(b);
    box_pass(b, b->cfg.gap_ms);
    assert_int_equal(box_sends(b, HF_REPRQ_REPORT), 0); /* the next is due in a second */
    box_grant_log(b, box_sent(b, HF_REPRQ_LOG, 0));
    box_idle(b);
    assert_int_equal(box_sends(b, HF_REPRQ_REPORT), 1);
    box_free(b);
}

/* ---- time-outs and backoff ---- */

/* Refuses LOG whenever it is asked; gives the waits between. */
static uint32_t refuse(struct box *b, enum hf_err code, hf_ms *wait, uint32_t max)
{
    uint32_t n = 0;
    hf_ms last = -1;
    hf_ms end = b->now + 60000;
    while (n < max && b->now < end) {
        struct hf_replica_effect *sent = box_sent(b, HF_REPRQ_LOG, 0);
        if (sent == NULL) {
            box_pass(b, 1);
            continue;
        }
        struct hf_replica_effect q = *sent;
        if (last >= 0) {
            wait[n++] = b->now - last;
        }
        last = b->now;
        box_clear(b);
        box_reply(b, &q, code);
    }
    return n;
}

static void backoff_grows_and_is_jittered(void **state)
{
    (void)state;
    hf_ms wait[2][8];
    for (uint64_t seed = 0; seed < 2; seed++) {
        struct box *b = box_live(10);
        b->entropy = seed;
        box_pass(b, 2 * b->cfg.stable_ms); /* also on a link that is stable */
        box_beacon(b, 11);
        box_clear(b);
        box_pass(b, b->cfg.gap_ms);
        hf_ms whole = b->cfg.backoff_ms_min;
        assert_int_equal(refuse(b, HF_NOT_YET, wait[seed], 8), 8);
        for (int i = 0; i < 8; i++) {
            assert_in_range(wait[seed][i], whole / 2, whole + 2);
            whole = 2 * whole < b->cfg.backoff_ms_max ? 2 * whole : b->cfg.backoff_ms_max;
        }
        box_free(b);
    }
    assert_memory_not_equal(wait[0], wait[1], sizeof(wait[0]));
}

static void backoff_resets_only_with_progress_on_a_stable_link(void **state)
{
    (void)state;
    for (int stable = 0; stable < 2; stable++) {
        hf_ms wait[7];
        struct box *b = box_live(10);
        box_pass(b, stable ? b->cfg.stable_ms : 0);
        box_beacon(b, 12);
        box_clear(b);
        box_pass(b, b->cfg.gap_ms);
        refuse(b, HF_NOT_YET, wait, 5);
        assert_true(wait[4] > 4 * b->cfg.backoff_ms_min);
        box_frame(b, 11);
        box_idle(b);
        box_pass(b, 4000);
        refuse(b, HF_NOT_YET, wait, 1);
        assert_int_equal(wait[0] <= b->cfg.backoff_ms_min + 2, stable);
        box_free(b);
    }
}

static void failures_of_requests_that_were_under_way_together_count_once(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    hf_ms wait[2];
    box_frame(b, 13);
    box_frame(b, 16);
    box_frame(b, 19);
    box_pass(b, b->cfg.gap_ms);
    assert_int_equal(box_sends(b, HF_REPRQ_LOG), 3);
    struct hf_replica_effect q[3];
    for (uint32_t i = 0; i < 3; i++) {
        q[i] = *box_sent(b, HF_REPRQ_LOG, i);
    }
    box_clear(b);
    for (uint32_t i = 0; i < 3; i++) {
        box_reply(b, &q[i], HF_NOT_YET);
    }
    refuse(b, HF_NOT_YET, wait, 1);
    assert_true(wait[0] <= 2 * b->cfg.backoff_ms_min + 2);
    box_free(b);
}

static void a_busy_core_is_left_alone_for_as_long_as_it_says(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_beacon(b, 11);
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_LOG, 0);
    box_clear(b);
    box_answer(b, &q, (struct hf_replica_event){.code = HF_BUSY, .retry_ms = 3000});
    box_pass(b, 2999);
    assert_int_equal(box_sends(b, HF_REPRQ_LOG), 0);
    box_pass(b, 2);
    assert_int_equal(box_sends(b, HF_REPRQ_LOG), 1);
    box_free(b);
}

/* REPORT is answered in 100 ms all the while; how many times is LOG sent until a reply that takes
 * `takes` arrives in time? */
static uint32_t tries_until_in_time(struct box *b, hf_ms takes)
{
    for (uint32_t tries = 1; tries < 20; tries++) {
        struct hf_replica_effect q = {.request = 0};
        while (q.request == 0) {
            box_pass(b, 50);
            q = box_sent(b, HF_REPRQ_LOG, 0) != NULL ? *box_sent(b, HF_REPRQ_LOG, 0) : q;
        }
        hf_ms end = b->now + (takes < q.timeout_ms ? takes : q.timeout_ms);
        while (b->now < end) {
            box_clear(b);
            box_pass(b, 100);
            box_beacon(b, 11);
            if (box_sent(b, HF_REPRQ_REPORT, 0) != NULL) {
                box_reply(b, box_sent(b, HF_REPRQ_REPORT, 0), HF_OK);
            }
        }
        if (takes < q.timeout_ms) {
            return tries;
        }
        box_timeout(b, &q);
    }
    return 20;
}

static void a_thin_link_gets_time_enough_for_a_reply_full_of_data(void **state)
{
    (void)state;
    struct box *b = box_new(10);
    b->cfg.stall_ms = 1000000;
    box_connect(b);
    box_beacon(b, 11);
    assert_in_range(tries_until_in_time(b, 14000), 2, 6);
    box_free(b);
}

/* ---- staleness ---- */

static void staleness_is_unknown_after_a_restart_and_stream_beacons_never_lower_it(void **state)
{
    (void)state;
    struct box *b = box_new(10);
    box_start(b, true, false);
    assert_true(box_status(b).staleness_ms == UINT64_MAX);
    box_link(b, HF_CHANNEL_STREAM, true);
    box_beacon(b, 10);
    assert_true(box_status(b).staleness_ms == UINT64_MAX);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 100);
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now - 30, 10);
    assert_int_equal(box_status(b).staleness_ms, 30);
    b->now += 500;
    box_beacon(b, 10);
    assert_int_equal(box_status(b).staleness_ms, 530);
    box_free(b);
}

static void an_answer_counts_only_once_its_head_is_applied(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_pass(b, b->cfg.report_ms);
    hf_ms t0 = b->now;
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), t0, 12);
    b->now += 100;
    uint64_t before = box_status(b).staleness_ms;
    box_frame(b, 11);
    box_done(b);
    assert_int_equal(box_status(b).staleness_ms, before);
    box_frame(b, 12);
    assert_int_equal(box_status(b).staleness_ms, before);
    box_done(b);
    assert_int_equal(box_status(b).staleness_ms, 100);
    box_free(b);
}

static void more_answers_than_are_remembered_keep_the_bound_honest(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    hf_ms t0[40];
    for (hf_seq i = 0; i < 40; i++) {
        box_clear(b);
        box_pass(b, b->cfg.report_ms);
        t0[i] = b->now;
        box_beacon(b, 10);
        box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, 11 + i);
    }
    for (hf_seq seq = 11; seq < 51; seq++) {
        box_frame(b, seq);
        box_idle(b);
        /* Head 11 + i was at the core at t0[i]: nothing newer than that may be claimed. */
        assert_true(box_status(b).staleness_ms >= (uint64_t)(b->now - t0[seq - 11]));
    }
    assert_int_equal(box_status(b).staleness_ms, b->now - t0[39]);
    box_free(b);
}

/* ---- states ---- */

static void what_readers_are_told_follows_links_and_head(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    assert_int_equal(box_status(b).state, HF_REPLICA_LIVE);
    box_beacon(b, 12);
    assert_int_equal(box_status(b).state, HF_REPLICA_LAGGING);
    box_beacon(b, 500);
    assert_int_equal(box_status(b).state, HF_REPLICA_CATCHING_UP);
    b->now += 3 * b->cfg.beacon_ms;
    assert_int_equal(box_status(b).state, HF_REPLICA_CUT_OFF);
    box_free(b);
    /* Authentic bytes without a beacon: frozen. */
    b = box_live(10);
    for (hf_seq seq = 11; seq < 15; seq++) {
        box_pass(b, b->cfg.beacon_ms);
        box_frame(b, seq);
        box_idle(b);
    }
    assert_int_equal(box_status(b).state, HF_REPLICA_FROZEN);
    box_free(b);
    /* However far behind it is: nobody answers, and a recorded frame is no sign of the core. */
    b = box_live(10);
    box_beacon(b, 500);
    b->now += 3 * b->cfg.beacon_ms;
    box_frame(b, 11);
    assert_int_equal(box_status(b).state, HF_REPLICA_FROZEN);
    box_free(b);
    b = box_new(0);
    box_start(b, false, false);
    assert_int_equal(box_status(b).state, HF_REPLICA_JOINING);
    box_free(b);
}

static void a_busy_stream_is_live_with_a_short_beacon_interval(void **state)
{
    (void)state;
    struct box *b = box_new(10);
    b->cfg.beacon_ms = 200;
    box_connect(b);
    for (hf_seq seq = 11; seq < 71; seq++) { /* 3 s */
        box_clear(b);
        box_pass(b, 50);
        if (box_sends(b, HF_REPRQ_REPORT) > 0) {
            box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, seq - 1);
        }
        box_frame(b, seq); /* in place of a beacon, as the core has it */
        box_idle(b);
        assert_int_equal(box_status(b).state, HF_REPLICA_LIVE);
    }
    box_free(b);
}

static void a_stream_that_no_answer_of_ours_confirms_is_frozen(void **state)
{
    (void)state;
    /* After a restart nothing tells a recording from the stream. */
    struct box *b = box_new(10);
    box_start(b, true, false);
    box_link(b, HF_CHANNEL_STREAM, true);
    box_beacon(b, 10);
    assert_int_equal(box_status(b).state, HF_REPLICA_FROZEN);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 100);
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, 10);
    box_beacon(b, 10);
    assert_int_equal(box_status(b).state, HF_REPLICA_LIVE);
    /* Later whoever stops the answers may deliver the stream as late as he likes. */
    hf_ms t0 = b->now;
    while (b->now + b->cfg.beacon_ms < t0 + b->cfg.request_ms_max) {
        box_pass(b, b->cfg.beacon_ms);
        box_beacon(b, 10);
        assert_int_equal(box_status(b).state, HF_REPLICA_LIVE);
    }
    for (int i = 0; i < 4; i++) {
        box_pass(b, b->cfg.beacon_ms);
        box_beacon(b, 10);
    }
    assert_int_equal(box_status(b).state, HF_REPLICA_FROZEN);
    box_free(b);
}

static void stall_leads_to_asking_from_the_start(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_beacon(b, 10 + 2 * b->cfg.plan_batches);
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_event ev = {.plan = HF_PLAN_LOG, .seq = 1000};
    box_answer(b, box_sent(b, HF_REPRQ_PLAN, 0), ev);
    box_clear(b);
    hf_ms end = b->now + b->cfg.stall_ms + 5000;
    while (b->now < end) {
        box_pass(b, 100);
        box_beacon(b, 10 + 2 * b->cfg.plan_batches);
        for (uint32_t i = box_sends(b, HF_REPRQ_LOG); i > 0; i--) {
            box_reply(b, box_sent(b, HF_REPRQ_LOG, i - 1), HF_NOT_YET);
        }
    }
    assert_non_null(box_noted(b, HF_NOTE_STALLED));
    assert_true(box_sends(b, HF_REPRQ_HELLO) > 0);
    assert_true(box_sends(b, HF_REPRQ_PLAN) > 0);
    assert_int_equal(box_status(b).state, HF_REPLICA_CATCHING_UP);
    box_free(b);
}

/* Requests may be patient for longer than a stall: what it gives up can never time out, so the link
 * that took all of them must not stay for that. */
static void
control_link_that_answers_nothing_is_dialled_anew_though_stalls_give_up_first(void **state)
{
    (void)state;
    struct box *b = box_new(10);
    b->cfg.request_ms_min = b->cfg.request_ms_max = 4 * b->cfg.stall_ms;
    box_connect(b);
    box_verified(b, box_arrive(b, (struct box_frame){.seq = 11}), HF_SEALED); /* asks for the key */
    hf_ms end = b->now + 4 * b->cfg.stall_ms;
    while (b->now < end && box_count(b, HF_REPFX_REDIAL) == 0) {
        box_pass(b, b->cfg.beacon_ms);
        box_beacon(b, 11);
        box_idle(b); /* HOLD */
    }
    assert_int_equal(box_count(b, HF_REPFX_REDIAL), 1);
    assert_int_equal(box_nth(b, HF_REPFX_REDIAL, 0)->channel, HF_CHANNEL_CONTROL);
    box_free(b);
}

static void a_core_that_refuses_reports_is_asked_less_often(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    uint32_t sent = 0;
    for (int i = 0; i < 6000; i++) {
        struct hf_replica_event survey = {.type = HF_REPEV_SURVEY};
        box_step(b, &survey);
        box_pass(b, 10);
        if (box_sends(b, HF_REPRQ_REPORT) > 0) {
            sent += box_sends(b, HF_REPRQ_REPORT);
            struct hf_replica_effect q = *box_sent(b, HF_REPRQ_REPORT, 0);
            box_clear(b);
            box_reply(b, &q, HF_IO);
        }
    }
    assert_in_range(sent, 12, 25); /* of a minute, whose last 50 s have one in 2.5 to 5 s */
    /* An answer ends that, and so does a new connection. */
    box_link(b, HF_CHANNEL_CONTROL, false);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 10);
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, 10);
    box_clear(b);
    box_pass(b, 2000);
    assert_int_equal(box_sends(b, HF_REPRQ_REPORT), 1);
    box_free(b);
}

static void revoked_edge_asks_seldom_and_keeps_what_it_has(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_link(b, HF_CHANNEL_CONTROL, false);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, 100);
    box_reply(b, box_sent(b, HF_REPRQ_HELLO, 0), HF_REVOKED);
    box_clear(b);
    for (int i = 0; i < 600; i++) {
        box_pass(b, 1000);
        box_beacon(b, 500);
        uint32_t hellos = box_sends(b, HF_REPRQ_HELLO);
        if (hellos > 0 && hf_replica_pending(b->r) != NULL) {
            box_reply(b, box_sent(b, HF_REPRQ_HELLO, hellos - 1), HF_REVOKED);
        }
    }
    assert_in_range(box_sends(b, HF_REPRQ_HELLO), 10, 21);
    assert_int_equal(box_count(b, HF_REPFX_SEND), box_sends(b, HF_REPRQ_HELLO));
    assert_int_equal(box_status(b).state, HF_REPLICA_REVOKED);
    assert_int_equal(box_status(b).applied, 10);
    /* And if it is let in again, it goes on. */
    box_clear(b);
    box_pass(b, 60000);
    box_reply(b, box_sent(b, HF_REPRQ_HELLO, 0), HF_OK);
    box_pass(b, 100);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 1);
    box_free(b);
}

/* ---- cores that cannot be trusted ---- */

static void a_core_that_has_its_newer_batches_again_is_followed_again(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_pass(b, b->cfg.report_ms);
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, 7);
    assert_int_equal(box_status(b).state, HF_REPLICA_DIVERGED);
    box_clear(b);
    box_pass(b, b->cfg.report_ms);
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, 10);
    assert_non_null(box_noted(b, HF_NOTE_ROLLED_FORWARD));
    assert_int_equal(box_status(b).store_state, HF_STORE_OK);
    box_frame(b, 11);
    box_done(b);
    assert_int_equal(box_status(b).applied, 11);
    box_free(b);
}

static void after_a_survey_each_step_is_reported_at_once(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    struct hf_replica_event ev = {.type = HF_REPEV_SURVEY};
    box_clear(b);
    box_step(b, &ev);
    assert_int_equal(box_sends(b, HF_REPRQ_REPORT), 1);
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, 10);
    box_clear(b);
    box_frame(b, 11);
    assert_int_equal(box_sends(b, HF_REPRQ_REPORT), 0); /* not before it is durable */
    box_done(b);
    assert_int_equal(box_sends(b, HF_REPRQ_REPORT), 1);
    box_free(b);
}

static void rollback_is_found_from_an_answer_to_our_own_request_only(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_beacon(b, 7); /* the stream may be late */
    assert_int_equal(box_status(b).store_state, HF_STORE_OK);
    box_pass(b, b->cfg.report_ms);
    struct hf_replica_effect report = *box_sent(b, HF_REPRQ_REPORT, 0);
    struct hf_beacon stray = box_beacon_of(b, 7);
    box_beacon_event(b, &stray, b->now, report.request + 100); /* of a request long given up */
    assert_int_equal(box_status(b).store_state, HF_STORE_OK);
    /* What was applied after the request was sent proves nothing against its answer. */
    box_frame(b, 11);
    box_done(b);
    box_answer_head(b, &report, b->now, 10);
    assert_int_equal(box_status(b).store_state, HF_STORE_OK);
    box_clear(b);
    box_pass(b, b->cfg.report_ms);
    box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, 0), b->now, 10);
    assert_int_equal(box_noted(b, HF_NOTE_ROLLBACK)->a, 10);
    assert_int_equal(box_noted(b, HF_NOTE_ROLLBACK)->b, 11);
    box_pass(b, 200);
    assert_int_equal(box_sends(b, HF_REPRQ_HELLO), 1); /* which has the proof */
    assert_int_equal(box_status(b).state, HF_REPLICA_DIVERGED);
    assert_int_equal(box_status(b).applied, 11);
    box_free(b);
}

static void another_chain_at_the_applied_seq_is_a_fork(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    uint32_t slot = box_arrive(b, (struct box_frame){.seq = 10, .branch = 1});
    assert_true(box_verifies(b, slot));
    assert_int_equal(box_status(b).store_state, HF_STORE_OK); /* anyone can write a header */
    box_verified(b, slot, HF_OK);
    assert_int_equal(box_nth(b, HF_REPFX_EVIDENCE, 0)->slot, slot);
    assert_int_equal(box_noted(b, HF_NOTE_FORK)->a, 10);
    assert_int_equal(box_status(b).state, HF_REPLICA_DIVERGED);
    box_free(b);
}

static void a_forged_frame_at_the_applied_seq_is_no_fork(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    uint32_t slot = box_arrive(b, (struct box_frame){.seq = 10, .branch = 1});
    box_verified(b, slot, HF_AUTH);
    assert_int_equal(box_count(b, HF_REPFX_EVIDENCE), 0);
    assert_int_equal(box_status(b).store_state, HF_STORE_OK);
    box_frame(b, 11);
    box_done(b);
    assert_int_equal(box_status(b).applied, 11);
    box_free(b);
}

static void a_signed_frame_that_does_not_continue_the_chain_is_a_fork(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    uint32_t slot = box_arrive(b, (struct box_frame){.seq = 11, .branch = 1});
    box_verified(b, slot, HF_OK);
    assert_int_equal(box_count(b, HF_REPFX_APPLY), 0);
    assert_int_equal(box_nth(b, HF_REPFX_EVIDENCE, 0)->slot, slot);
    assert_non_null(box_noted(b, HF_NOTE_FORK));
    box_free(b);
}

static void a_beacon_with_another_chain_at_the_applied_seq_is_a_fork(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    struct hf_beacon beacon = box_beacon_of(b, 10);
    beacon.chain = box_chain(10, 1);
    box_beacon_event(b, &beacon, -1, 0);
    assert_non_null(box_noted(b, HF_NOTE_FORK));
    box_free(b);
}

/* ---- the clock ---- */

static void deadline_is_never_in_the_past_and_ticks_are_few(void **state)
{
    (void)state;
    /* box_step asserts the first half after every event. */
    struct box *b = box_live(10);
    box_frame(b, 15);
    box_beacon(b, 90);
    assert_in_range(box_pass(b, 10000), 10, 60);
    box_link(b, HF_CHANNEL_STREAM, false);
    box_link(b, HF_CHANNEL_CONTROL, false);
    assert_in_range(box_pass(b, 10000), 10, 30);
    b->now += 86400000; /* the machine slept */
    box_tick(b);
    assert_in_range(box_pass(b, 10000), 10, 30);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_for_three_beacons_redials_the_stream),
        cmocka_unit_test(of_links_that_break_without_a_word_a_few_are_noted_in_a_minute),
        cmocka_unit_test(a_dead_stream_is_redialled_though_replies_bring_frames),
        cmocka_unit_test(two_time_outs_in_a_row_redial_control),
        cmocka_unit_test(requests_are_abandoned_and_asked_anew_when_the_control_link_comes_back),
        cmocka_unit_test(a_control_link_that_comes_back_is_noted_until_caught_up),
        cmocka_unit_test(who_starts_greets_at_once_and_who_comes_back_a_little_later),
        cmocka_unit_test(what_was_missed_and_is_there_now_is_reported_at_once),
        cmocka_unit_test(backoff_grows_and_is_jittered),
        cmocka_unit_test(backoff_resets_only_with_progress_on_a_stable_link),
        cmocka_unit_test(failures_of_requests_that_were_under_way_together_count_once),
        cmocka_unit_test(a_busy_core_is_left_alone_for_as_long_as_it_says),
        cmocka_unit_test(a_thin_link_gets_time_enough_for_a_reply_full_of_data),
        cmocka_unit_test(staleness_is_unknown_after_a_restart_and_stream_beacons_never_lower_it),
        cmocka_unit_test(an_answer_counts_only_once_its_head_is_applied),
        cmocka_unit_test(more_answers_than_are_remembered_keep_the_bound_honest),
        cmocka_unit_test(what_readers_are_told_follows_links_and_head),
        cmocka_unit_test(a_busy_stream_is_live_with_a_short_beacon_interval),
        cmocka_unit_test(a_stream_that_no_answer_of_ours_confirms_is_frozen),
        cmocka_unit_test(stall_leads_to_asking_from_the_start),
        cmocka_unit_test(
            control_link_that_answers_nothing_is_dialled_anew_though_stalls_give_up_first),
        cmocka_unit_test(a_core_that_refuses_reports_is_asked_less_often),
        cmocka_unit_test(revoked_edge_asks_seldom_and_keeps_what_it_has),
        cmocka_unit_test(rollback_is_found_from_an_answer_to_our_own_request_only),
        cmocka_unit_test(a_core_that_has_its_newer_batches_again_is_followed_again),
        cmocka_unit_test(after_a_survey_each_step_is_reported_at_once),
        cmocka_unit_test(another_chain_at_the_applied_seq_is_a_fork),
        cmocka_unit_test(a_forged_frame_at_the_applied_seq_is_no_fork),
        cmocka_unit_test(a_signed_frame_that_does_not_continue_the_chain_is_a_fork),
        cmocka_unit_test(a_beacon_with_another_chain_at_the_applied_seq_is_a_fork),
        cmocka_unit_test(deadline_is_never_in_the_past_and_ticks_are_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
