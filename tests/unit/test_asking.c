/*
 * test_asking.c - what the replica engine asks for next after a refusal, a silence or a plan.
 */
#include "replica_box.h"

/* The lowest of the next requests for frames, of which there must be one within so long. */
static struct hf_replica_effect next_log(struct box *b, hf_ms within)
{
    hf_ms end = b->now + within;
    while (box_sends(b, HF_REPRQ_LOG) == 0 && b->now < end) {
        box_pass(b, 1);
    }
    assert_true(box_sends(b, HF_REPRQ_LOG) >= 1);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_LOG, 0);
    box_clear(b);
    return q;
}

static struct box *box_behind(hf_seq applied, hf_seq head, uint32_t rate_max)
{
    struct box *b = box_new(applied);
    b->cfg.catchup_rate_max = rate_max;
    box_connect(b);
    box_beacon(b, head);
    return b;
}

/* The core knows better how far back its log reaches than a beacon that was on its way. */
static void log_that_a_plan_chose_is_asked_for_whatever_a_beacon_said(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    struct hf_beacon beacon = box_beacon_of(b, 14);
    beacon.log_floor = 13;
    box_beacon_event(b, &beacon, -1, 0);
    box_pass(b, b->cfg.gap_ms);
    assert_int_equal(box_sends(b, HF_REPRQ_LOG), 0);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 1);
    struct hf_replica_effect plan = *box_sent(b, HF_REPRQ_PLAN, 0);
    box_clear(b);
    box_answer(b, &plan, (struct hf_replica_event){.plan = HF_PLAN_LOG, .seq = 14});
    struct hf_replica_effect q = next_log(b, b->cfg.gap_ms);
    assert_int_equal(q.first, 11);
    assert_int_equal(q.last, 14);
    assert_int_equal(box_sends(b, HF_REPRQ_PLAN), 0);
    box_free(b);
}

static void after_a_silence_fewer_frames_are_asked_for_at_once(void **state)
{
    (void)state;
    struct box *b = box_behind(10, 26, 0);
    hf_seq last = 26;
    for (int i = 0; i < 5; i++) {
        struct hf_replica_effect q = next_log(b, b->cfg.backoff_ms_max);
        assert_int_equal(q.first, 11);
        assert_int_equal(q.last, last);
        last = 10 + (last - 10) / 2;
        box_timeout(b, &q);
    }
    box_free(b);
}

/* Nothing of it came, so it must not be paid for: on a thin link that would take longest. */
static void what_was_asked_for_in_vain_is_not_charged_for(void **state)
{
    (void)state;
    struct box *b = box_behind(10, 11, 1000);
    for (int i = 0; i < 6; i++) {
        struct hf_replica_effect q = next_log(b, b->cfg.backoff_ms_max);
        box_timeout(b, &q);
    }
    box_free(b);
}

static void answer_ends_the_patience_that_silence_taught(void **state)
{
    (void)state;
    struct box *b = box_behind(10, 11, 0);
    struct hf_replica_effect q = next_log(b, b->cfg.backoff_ms_max);
    hf_ms first = q.timeout_ms;
    for (int i = 0; i < 3; i++) {
        b->now += q.timeout_ms;
        box_timeout(b, &q);
        q = next_log(b, b->cfg.backoff_ms_max);
        assert_int_equal(q.timeout_ms, first << (i + 1));
    }
    box_pass(b, 10);
    box_grant_log(b, &q);
    box_idle(b);
    box_beacon(b, 12);
    q = next_log(b, b->cfg.backoff_ms_max);
    assert_int_equal(q.first, 12);
    assert_int_equal(q.timeout_ms, b->cfg.request_ms_min);
    box_free(b);
}

/* What a broken link takes along comes back at once, and was not too slow. */
static void broken_link_teaches_no_patience(void **state)
{
    (void)state;
    struct box *b = box_behind(10, 11, 0);
    struct hf_replica_effect q = next_log(b, b->cfg.backoff_ms_max);
    hf_ms first = q.timeout_ms;
    for (int i = 0; i < 3; i++) {
        b->now += first / 2;
        box_timeout(b, &q);
        q = next_log(b, b->cfg.backoff_ms_max);
        assert_int_equal(q.timeout_ms, first);
    }
    box_free(b);
}

/* The next REPORT, within a while of beacons. */
static struct hf_replica_effect next_report(struct box *b)
{
    for (int i = 0; i < 30 && box_sends(b, HF_REPRQ_REPORT) == 0; i++) {
        box_beacon(b, 10);
        box_pass(b, 100);
    }
    assert_int_equal(box_sends(b, HF_REPRQ_REPORT), 1);
    return *box_sent(b, HF_REPRQ_REPORT, 0);
}

static void lost_hello_is_asked_again_when_later_answers_come(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    box_link(b, HF_CHANNEL_CONTROL, false);
    box_clear(b);
    box_link(b, HF_CHANNEL_CONTROL, true);
    hf_ms since = b->now;
    uint32_t hellos = 0;
    while (hellos < 2 && b->now - since < 3000) {
        struct hf_replica_effect report = next_report(b);
        hellos += box_sends(b, HF_REPRQ_HELLO);
        box_clear(b);
        box_answer_head(b, &report, b->now, 10);
    }
    box_beacon(b, 10);
    assert_int_equal(hellos + box_sends(b, HF_REPRQ_HELLO), 2);
    assert_in_range(b->now - since, b->cfg.request_ms_min, 3000);
    box_free(b);
}

/* A core that stood still for eight seconds. */
static void new_connection_does_not_wait_as_the_old_one_did(void **state)
{
    (void)state;
    struct box *b = box_live(10);
    struct hf_replica_effect report = next_report(b);
    box_answer_head(b, &report, b->now, 10);
    box_clear(b);
    report = next_report(b);
    b->now += 8000;
    box_clear(b);
    box_answer_head(b, &report, b->now - 8000, 10);
    report = next_report(b);
    assert_true(report.timeout_ms > 20000);
    box_link(b, HF_CHANNEL_CONTROL, false);
    box_clear(b);
    box_link(b, HF_CHANNEL_CONTROL, true);
    assert_true(next_report(b).timeout_ms < 3000);
    box_free(b);
}

/* The core has not even the frame of its own head: neither a longer transfer nor haste helps. */
static void core_without_the_frame_that_decides_is_not_asked_in_a_loop(void **state)
{
    (void)state;
    struct box *b = box_behind(10, 500, 0);
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_PLAN, 0);
    box_answer(b, &q, (struct hf_replica_event){.plan = HF_PLAN_SNAPSHOT, .seq = 500});
    box_done(b);
    q = *box_sent(b, HF_REPRQ_KEYS, 0);
    box_reply(b, &q, HF_OK);
    box_clear(b);
    box_chunk_done(b, 500, true);
    hf_ms waited = 0;
    for (int i = 0; i < 6; i++) {
        hf_ms since = b->now;
        q = next_log(b, b->cfg.backoff_ms_max + b->cfg.gap_ms);
        waited += b->now - since;
        assert_int_equal(q.first, 500);
        box_reply(b, &q, HF_BELOW_FLOOR);
        assert_int_equal(box_count(b, HF_REPFX_STAGE_TARGET), 0);
        box_idle(b);
    }
    assert_true(waited >= 10 * b->cfg.backoff_ms_min);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_that_a_plan_chose_is_asked_for_whatever_a_beacon_said),
        cmocka_unit_test(after_a_silence_fewer_frames_are_asked_for_at_once),
        cmocka_unit_test(what_was_asked_for_in_vain_is_not_charged_for),
        cmocka_unit_test(answer_ends_the_patience_that_silence_taught),
        cmocka_unit_test(broken_link_teaches_no_patience),
        cmocka_unit_test(lost_hello_is_asked_again_when_later_answers_come),
        cmocka_unit_test(new_connection_does_not_wait_as_the_old_one_did),
        cmocka_unit_test(core_without_the_frame_that_decides_is_not_asked_in_a_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
