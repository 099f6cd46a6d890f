/*
 * test_sim_cubic.c - the congestion window alone: what ends slow start, the curve after a loss, and
 * windows that are not used. What becomes of it on a line is in test_sim_tcp.c.
 */
#include "sim/cubic.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define RTT (100 * SIM_MS)

/* A sender that always has more to send, one round trip after the other. */
struct sender {
    struct cubic w;
    sim_us now;
    uint64_t acked, sent_end;
};

static void begin(struct sender *s)
{
    memset(s, 0, sizeof(*s));
    cubic_begin(&s->w, 0);
}

static void send(struct sender *s, uint32_t in_flight, bool full)
{
    s->sent_end = s->acked + (uint64_t)in_flight * HOP_SEGMENT;
    cubic_sent(&s->w, &(struct cubic_send){.now = s->now,
                                           .timeout = RTT + 200 * SIM_MS,
                                           .segments = in_flight,
                                           .in_flight = in_flight,
                                           .acked = s->acked,
                                           .end = s->sent_end,
                                           .full = full});
}

/* `segments` are acknowledged, the first of them after `rtt`, the last `spread` later. */
static void ack(struct sender *s, uint32_t segments, sim_us rtt, sim_us spread)
{
    s->acked += (uint64_t)segments * HOP_SEGMENT;
    cubic_acked(&s->w, &(struct cubic_ack){.segments = segments,
                                           .acks = (segments + 1) / 2,
                                           .end = s->acked,
                                           .sent_end = s->sent_end,
                                           .written_end = UINT64_MAX,
                                           .first_at = s->now,
                                           .last_at = s->now + spread,
                                           .first_rtt = rtt,
                                           .last_rtt = rtt + spread});
    s->now += spread;
}

/* A whole window at once, each round trip. */
static void rounds(struct sender *s, int count)
{
    while (count-- > 0) {
        uint32_t n = (uint32_t)s->w.window;
        send(s, n, true);
        s->now += RTT;
        ack(s, n, RTT, 0);
    }
}

static void lose(struct sender *s)
{
    cubic_lost(&s->w);
    cubic_mended(&s->w);
}

/* ---- slow start ---- */

static void window_doubles_in_a_round_trip(void **state)
{
    struct sender s;
    (void)state;
    begin(&s);
    rounds(&s, 3);
    assert_true(s.w.window == 80);
    assert_false(s.w.found);
}

/* A millisecond apart for more than half of the round trip; 3 ms apart they say nothing. */
static void long_train_of_acknowledgements_ends_slow_start(void **state)
{
    (void)state;
    for (sim_us gap = 1; gap <= 3; gap += 2) {
        struct sender s;
        begin(&s);
        s.w.window = 80;
        send(&s, 80, true);
        s.now += RTT;
        for (int i = 0; i < 40; i++) {
            ack(&s, 2, RTT, 0);
            s.now += gap * 2 * SIM_MS;
        }
        assert_int_equal(s.w.found, gap == 1);
    }
}

/* The least of a round counts: a queue that is empty again at its begin is no reason. */
static void queue_that_stays_ends_slow_start(void **state)
{
    (void)state;
    for (int stays = 0; stays <= 1; stays++) {
        struct sender s;
        begin(&s);
        rounds(&s, 2);
        for (int i = 0; i < 3; i++) {
            uint32_t n = (uint32_t)s.w.window;
            send(&s, n, true);
            s.now += RTT;
            ack(&s, n / 2, stays ? RTT + 20 * SIM_MS : RTT, 0);
            s.now += 5 * SIM_MS;
            ack(&s, n - n / 2, RTT + 20 * SIM_MS, 0);
        }
        assert_int_equal(s.w.found, stays);
    }
}

static void acknowledgements_that_overtake_each_other_are_no_train(void **state)
{
    struct sender s;
    (void)state;
    begin(&s);
    s.w.window = 80;
    send(&s, 80, true);
    s.now += RTT;
    ack(&s, 2, RTT, 0);
    s.now -= 10 * SIM_MS;
    ack(&s, 2, RTT, 0);
    assert_false(s.w.found);
}

/* ---- the curve ---- */

/* As long as nothing was lost it is not known where to stop: a twentieth each round trip at least.
 */
static void window_without_a_loss_grows_by_a_twentieth(void **state)
{
    struct sender s;
    (void)state;
    begin(&s);
    s.w.window = s.w.threshold = 200;
    rounds(&s, 5);
    assert_true(s.w.window > 200 * 1.2 && s.w.window < 200 * 1.35);
}

/* RFC 9438: from 0.7 of it, level at what it was after cbrt(0.3 W / 0.4) seconds, faster then. */
static void window_after_a_loss_is_what_it_was_when_the_curve_says(void **state)
{
    struct sender s;
    (void)state;
    begin(&s);
    s.w.window = s.w.threshold = 1000;
    lose(&s);
    assert_true(fabs(s.w.window - 700) < 1);
    double k = cbrt(1000 * 0.3 / 0.4);
    rounds(&s, (int)(k * 5)); /* of ten a second: half of it */
    assert_true(s.w.window > 930 && s.w.window < 1000);
    rounds(&s, (int)(k * 5));
    assert_true(fabs(s.w.window - 1000) < 15);
}

static void second_loss_below_the_first_leaves_room_for_others(void **state)
{
    struct sender s;
    (void)state;
    begin(&s);
    s.w.window = s.w.threshold = 1000;
    lose(&s);
    lose(&s); /* at 700 */
    assert_true(fabs(s.w.most - 0.85 * 700) < 1);
}

/* Slow start to 0.7 of what it was, and may be ended sooner again; then a curve that begins there.
 */
static void time_out_begins_with_one_segment(void **state)
{
    struct sender s;
    (void)state;
    begin(&s);
    s.w.window = s.w.threshold = 100;
    s.w.found = true;
    cubic_timed_out(&s.w);
    cubic_timed_out(&s.w); /* one in a row reduces */
    cubic_mended(&s.w);
    assert_true(s.w.window == 1 && s.w.threshold == 70 && !s.w.found);
    rounds(&s, 7);
    assert_true(s.w.window == 70);
    rounds(&s, 5);
    assert_true(s.w.window > 70 && s.w.window < 100);
}

/* One from before the curve's beginning, when flights overtake each other. */
static void late_acknowledgement_does_not_lift_the_window(void **state)
{
    struct sender s;
    (void)state;
    begin(&s);
    s.now = 50 * RTT;
    s.w.window = s.w.threshold = 100;
    lose(&s);
    rounds(&s, 1);
    double before = s.w.window;
    send(&s, 70, true);
    s.now -= 2 * RTT;
    ack(&s, 10, RTT, 0);
    assert_true(s.w.window - before < 1);
}

static void curve_stands_still_while_nothing_is_sent(void **state)
{
    struct sender s;
    (void)state;
    begin(&s);
    s.w.window = s.w.threshold = 1000;
    lose(&s);
    rounds(&s, 2);
    s.now += 60 * SIM_S;
    cubic_rested(&s.w, 60 * SIM_S, 100 * SIM_S); /* shorter than a time-out: the window is kept */
    double before = s.w.window;
    rounds(&s, 1);
    assert_true(s.w.window - before < 0.05 * before);
}

/* ---- windows that are not used ---- */

static void window_that_limits_nobody_does_not_grow(void **state)
{
    struct sender s;
    (void)state;
    begin(&s);
    for (int i = 0; i < 20; i++) {
        send(&s, 4, false);
        s.now += RTT;
        ack(&s, 4, RTT, 0);
    }
    assert_true(s.w.window == 10);
}

static void window_shrinks_towards_what_is_used_of_it(void **state)
{
    struct sender s;
    (void)state;
    begin(&s);
    rounds(&s, 4);
    assert_true(s.w.window == 160);
    s.w.threshold = 50;
    for (int i = 0; i < 40; i++) {
        send(&s, 20, false);
        s.now += RTT;
        ack(&s, 20, RTT, 0);
    }
    assert_true(s.w.window >= 20 && s.w.window < 60); /* slow start, while below twice of it */
    assert_true(s.w.threshold == 120);                /* to be found again soon */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_doubles_in_a_round_trip),
        cmocka_unit_test(long_train_of_acknowledgements_ends_slow_start),
        cmocka_unit_test(queue_that_stays_ends_slow_start),
        cmocka_unit_test(acknowledgements_that_overtake_each_other_are_no_train),
        cmocka_unit_test(window_without_a_loss_grows_by_a_twentieth),
        cmocka_unit_test(window_after_a_loss_is_what_it_was_when_the_curve_says),
        cmocka_unit_test(second_loss_below_the_first_leaves_room_for_others),
        cmocka_unit_test(time_out_begins_with_one_segment),
        cmocka_unit_test(late_acknowledgement_does_not_lift_the_window),
        cmocka_unit_test(curve_stands_still_while_nothing_is_sent),
        cmocka_unit_test(window_that_limits_nobody_does_not_grow),
        cmocka_unit_test(window_shrinks_towards_what_is_used_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
