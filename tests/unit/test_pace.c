/*
 * test_pace.c - how many requests are under way, how large they are, and the stream's share.
 *
 * The core is played by rounds: every DELTA request that is out is answered after some time with
 * as many bytes as it asked for, and stored at once.
 */
#include "replica_box.h"

#include "edge/replica_impl.h"

static struct box *box_planned(uint32_t rate_max, uint64_t total)
{
    struct box *b = box_new(10);
    b->cfg.catchup_rate_max = rate_max;
    b->cfg.hold_ms = 1000000; /* frames of the stream stay in memory */
    b->parts = HF_STAGE_PARTS_MAX;
    box_connect(b);
    box_beacon(b, 5000);
    box_pass(b, b->cfg.gap_ms);
    struct hf_replica_effect q = *box_sent(b, HF_REPRQ_PLAN, 0);
    box_clear(b);
    b->now += 100;
    box_answer(b, &q,
               (struct hf_replica_event){.plan = HF_PLAN_DELTA, .seq = 5000, .total = total});
    box_done(b);
    return b;
}

static struct box *box_of(uint32_t rate_max)
{
    return box_planned(rate_max, 100 << 20);
}

static void drain(struct box *b)
{
    while (b->busy) {
        if (b->op.type == HF_REPFX_STAGE_CHUNK) {
            box_chunk_done(b, 5000, false);
        } else {
            box_done(b);
        }
    }
}

/* Answers what is out after `took` ms. Returns the bytes, and how many requests there were. */
static uint64_t round_trip(struct box *b, hf_ms took, uint32_t *count)
{
    struct hf_replica_effect out[64];
    uint64_t bytes = 0;
    *count = box_sends(b, HF_REPRQ_DELTA);
    for (uint32_t i = 0; i < *count; i++) {
        out[i] = *box_sent(b, HF_REPRQ_DELTA, i);
    }
    box_clear(b);
    box_pass(b, took);
    for (uint32_t i = 0; i < *count; i++) {
        box_answer(b, &out[i], (struct hf_replica_event){.bytes = out[i].data_max});
        bytes += out[i].data_max;
        drain(b);
    }
    box_pass(b, 1);
    drain(b);
    return bytes;
}

static void a_transfer_begins_with_one_request_for_each_64_kib(void **state)
{
    (void)state;
    static const struct {
        uint64_t total;
        uint32_t requests;
    } plans[] = {{0, 4}, {100000, 4}, {640 << 10, 10}, {100 << 20, 16}};
    for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
        struct box *b = box_planned(0, plans[i].total);
        assert_int_equal(box_sends(b, HF_REPRQ_DELTA), plans[i].requests);
        box_free(b);
    }
}

static void the_rest_of_a_transfer_is_told_in_time_however_large_it_is(void **state)
{
    (void)state;
    static const uint64_t totals[] = {2000000, UINT64_C(1) << 38, UINT64_C(1) << 62};
    for (size_t i = 0; i < 3; i++) {
        struct box *b = box_planned(0, totals[i]);
        struct hf_replica_effect q = *box_sent(b, HF_REPRQ_DELTA, 0);
        assert_true(box_status(b).transfer_eta_ms == UINT64_MAX); /* nothing came yet */
        b->now += 1000000000;                                     /* twelve days */
        box_answer(b, &q, (struct hf_replica_event){.bytes = 500000});
        uint64_t eta = box_status(b).transfer_eta_ms;
        if (totals[i] >> 62 != 0) {
            assert_true(eta == UINT64_MAX); /* a core that is out of its mind */
        } else {
            uint64_t right = (totals[i] / 500000 - 1) * 1000000000;
            assert_in_range(eta, right - right / 100, right + right / 100);
        }
        box_free(b);
    }
}

static void width_opens_to_all_parts_as_answers_come(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    uint32_t count;
    (void)round_trip(b, 100, &count);
    assert_int_equal(count, 16);
    (void)round_trip(b, 100, &count);
    assert_int_equal(count, 31); /* and one for the header that decides */
    box_free(b);
}

static void width_opens_no_further_once_an_answer_was_slow(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    uint32_t count;
    (void)round_trip(b, 2500, &count);
    assert_int_equal(count, 16);
    (void)round_trip(b, 2500, &count);
    assert_in_range(count, 16, 17); /* one may be for the header that decides */
    box_free(b);
}

static struct hf_replica_effect *last_asked(struct box *b)
{
    return box_sent(b, HF_REPRQ_DELTA, box_sends(b, HF_REPRQ_DELTA) - 1);
}

/* What was learned may be of another link: much would be under way when that turns out. */
static void each_transfer_begins_with_requests_of_32_kib_at_most(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    uint32_t count;
    assert_int_equal(box_sent(b, HF_REPRQ_DELTA, 0)->data_max, 32 << 10);
    (void)round_trip(b, 100, &count);
    assert_int_equal(last_asked(b)->data_max, 63488);
    pace_transfer(b->r, 100 << 20);
    (void)round_trip(b, 1000, &count);
    assert_int_equal(last_asked(b)->data_max, 32 << 10);
    box_free(b);
}

static void requests_shrink_on_a_thin_link_and_grow_on_a_wide_one(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    uint32_t count;
    for (int i = 0; i < 6; i++) {
        (void)round_trip(b, 3000, &count);
    }
    assert_true(box_sent(b, HF_REPRQ_DELTA, 0)->data_max <= 4096);
    for (int i = 0; i < 10; i++) {
        (void)round_trip(b, 120, &count);
    }
    assert_true(box_sent(b, HF_REPRQ_DELTA, 0)->data_max >= 63488);
    box_free(b);
}

static void one_hanging_connection_does_not_slow_the_others(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    uint32_t count;
    (void)round_trip(b, 100, &count);
    struct hf_replica_effect hangs = *box_sent(b, HF_REPRQ_DELTA, 0);
    struct hf_replica_effect other = *box_sent(b, HF_REPRQ_DELTA, 1);
    box_clear(b);
    b->now += 100;
    box_answer(b, &other, (struct hf_replica_event){.bytes = other.data_max});
    drain(b);
    b->now += 1400;
    box_clear(b);
    box_timeout(b, &hangs);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 1); /* at once, and over another connection */
    assert_int_equal(box_sent(b, HF_REPRQ_DELTA, 0)->part, hangs.part);
    box_free(b);
}

static void silence_of_all_closes_the_width_and_backs_off(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    struct hf_replica_effect out[16];
    for (uint32_t i = 0; i < 16; i++) {
        out[i] = *box_sent(b, HF_REPRQ_DELTA, i);
    }
    b->now += 3000;
    box_clear(b);
    for (uint32_t i = 0; i < 16; i++) {
        box_timeout(b, &out[i]);
    }
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 0);
    box_pass(b, b->cfg.backoff_ms_min);
    assert_in_range(box_sends(b, HF_REPRQ_DELTA), 1, 8);
    box_free(b);
}

/* All that wait taken at once would leave the core with nothing to do until all of them are stored.
 */
static void the_store_takes_eight_chunks_at_a_time_those_asked_for_first(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    struct hf_replica_effect out[16];
    for (uint32_t i = 0; i < 16; i++) {
        out[i] = *box_sent(b, HF_REPRQ_DELTA, i);
    }
    for (uint32_t i = 16; i-- > 0;) { /* the last that was asked for is answered first */
        box_reply(b, &out[i], HF_OK);
    }
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    assert_int_equal(b->op.parts, 1u << out[15].part);
    box_chunk_done(b, 5000, false);
    assert_int_equal(b->op.parts, 0x00ff);
    box_chunk_done(b, 5000, false);
    assert_int_equal(b->op.parts, 0x7f00);
    box_free(b);
}

/* All of them end together, so that no connection rests while the last one is carried. */
static void parts_have_turns_when_there_are_more_than_requests(void **state)
{
    (void)state;
    struct box *b = box_planned(0, 0);
    uint32_t asked[HF_STAGE_PARTS_MAX] = {0};
    uint32_t count;
    for (int n = 0; n < 12; n++) {
        for (uint32_t i = 0; i < box_sends(b, HF_REPRQ_DELTA); i++) {
            asked[box_sent(b, HF_REPRQ_DELTA, i)->part]++;
        }
        (void)round_trip(b, 400, &count);
    }
    for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX; i++) {
        assert_in_range(asked[i], 2, 6);
    }
    box_free(b);
}

/* The control link is lost with 16 parts asked for, and is back; `lost` has what was asked. */
static struct box *box_cut(struct hf_replica_effect *lost)
{
    struct box *b = box_of(0);
    for (uint32_t i = 0; i < 16; i++) {
        lost[i] = *box_sent(b, HF_REPRQ_DELTA, i);
    }
    box_link(b, HF_CHANNEL_CONTROL, false);
    b->now += 5000;
    box_clear(b);
    box_link(b, HF_CHANNEL_CONTROL, true);
    box_pass(b, b->cfg.backoff_ms_min);
    return b;
}

static void parts_asked_for_before_a_cut_are_waited_for_while_others_are_left(void **state)
{
    (void)state;
    struct hf_replica_effect lost[16];
    struct hf_replica_effect q;
    struct box *b = box_cut(lost);
    assert_int_equal(box_sends(b, HF_REPRQ_DELTA), 16);
    for (uint32_t i = 0; i < 16; i++) {
        q = *box_sent(b, HF_REPRQ_DELTA, i);
        for (uint32_t k = 0; k < 16; k++) {
            assert_int_not_equal(q.part, lost[k].part);
        }
    }
    /* TCP brings what the cut held up. */
    box_clear(b);
    box_answer(b, &lost[3], (struct hf_replica_event){.bytes = lost[3].data_max});
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    box_free(b);
}

/* It was on its way for as long as the cut: time-outs would be as long for minutes. */
static void answer_that_a_cut_held_up_does_not_slow_what_is_asked_for_next(void **state)
{
    (void)state;
    struct hf_replica_effect lost[16];
    struct box *b = box_cut(lost);
    uint32_t count;
    (void)round_trip(b, 400, &count);
    hf_ms before = box_sent(b, HF_REPRQ_DELTA, 0)->timeout_ms;
    b->now += 9000; /* less than makes it ask from the start */
    box_answer(b, &lost[3], (struct hf_replica_event){.bytes = lost[3].data_max});
    drain(b);
    assert_int_equal(box_sent(b, HF_REPRQ_DELTA, box_sends(b, HF_REPRQ_DELTA) - 1)->timeout_ms,
                     before);
    box_free(b);
}

static void what_a_cut_swallowed_is_asked_for_when_nothing_else_is_left(void **state)
{
    (void)state;
    struct hf_replica_effect lost[16];
    struct box *b = box_cut(lost);
    uint32_t count;
    for (int i = 0; i < 4; i++) {
        (void)round_trip(b, 400, &count);
        for (uint32_t k = 0; k < count; k++) {
            assert_int_not_equal(box_sent(b, HF_REPRQ_DELTA, k)->part, lost[0].part);
        }
    }
    for (int i = 0; i < 20 && count < 31; i++) {
        (void)round_trip(b, 400, &count);
    }
    assert_int_equal(count, 31);
    box_free(b);
}

/* As after a dial into a link that swallowed what was sent first: no time-out of TCP tells. */
static void parts_that_all_hang_are_asked_for_again_while_the_core_answers_reports(void **state)
{
    struct box *b = box_of(0);
    uint32_t asked = box_sends(b, HF_REPRQ_DELTA);
    (void)state;
    for (int i = 0; i < 10; i++) {
        uint32_t reports = box_sends(b, HF_REPRQ_REPORT);
        if (reports > 0) {
            box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, reports - 1), b->now,
                            box_status(b).head);
        }
        assert_true(i > 4 || box_sends(b, HF_REPRQ_DELTA) == asked);
        box_pass(b, 500);
    }
    assert_in_range(box_sends(b, HF_REPRQ_DELTA), asked + 1, 2 * asked);
    box_free(b);
}

/* Answers a report if one is out: the link lives. */
static void report_answered(struct box *b)
{
    uint32_t reports = box_sends(b, HF_REPRQ_REPORT);
    if (reports > 0) {
        box_answer_head(b, box_sent(b, HF_REPRQ_REPORT, reports - 1), b->now, box_status(b).head);
    }
}

/* Over a link that loses, a reply can take ten times as long as another. */
static void one_that_hangs_is_left_to_tcp_while_others_are_answered(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    struct hf_replica_effect hangs = *box_sent(b, HF_REPRQ_DELTA, 0);
    struct hf_replica_effect next = *box_sent(b, HF_REPRQ_DELTA, 1);
    for (int i = 0; i < 16; i++) {
        report_answered(b);
        box_clear(b);
        box_pass(b, 400);
        box_answer(b, &next, (struct hf_replica_event){.bytes = next.data_max});
        drain(b);
        next = *box_sent(b, HF_REPRQ_DELTA, 0);
        assert_int_not_equal(next.part, hangs.part);
    }
    box_clear(b);
    box_answer(b, &hangs, (struct hf_replica_event){.bytes = hangs.data_max});
    assert_true(b->busy);
    assert_int_equal(b->op.type, HF_REPFX_STAGE_CHUNK);
    box_free(b);
}

/* A link: replies come one behind the other. 1,000 bytes a ms and 20 ms there and back when 0. */
struct link {
    uint32_t bytes_per_ms;
    hf_ms rtt;
    struct hf_replica_effect out[128];
    hf_ms due[128];
    uint32_t first, end;
    hf_ms free_at;
};

static void link_take(struct link *l, struct box *b)
{
    struct hf_replica_effect *q;
    l->rtt = l->rtt > 0 ? l->rtt : 20;
    l->bytes_per_ms = l->bytes_per_ms > 0 ? l->bytes_per_ms : 1000;
    for (uint32_t i = 0; (q = box_sent(b, HF_REPRQ_DELTA, i)) != NULL; i++) {
        hf_ms begins = l->free_at > b->now + l->rtt / 2 ? l->free_at : b->now + l->rtt / 2;
        l->free_at = begins + (hf_ms)(q->data_max / l->bytes_per_ms);
        l->out[l->end % 128] = *q;
        l->due[l->end++ % 128] = l->free_at + l->rtt / 2;
    }
    box_clear(b);
}

static void stream_frame(struct box *b, hf_seq seq)
{
    uint32_t slot = box_arrive(b, (struct box_frame){.seq = seq});
    if (box_verifies(b, slot)) {
        box_verified(b, slot, HF_OK);
    }
    drain(b);
}

/* Bytes a second over `ms`. */
static uint64_t rate_over(struct link *l, struct box *b, hf_ms ms, bool stream)
{
    hf_ms began = b->now;
    hf_ms frame_at = b->now;
    hf_seq seq = 5001;
    uint64_t bytes = 0;
    while (b->now - began < ms) {
        link_take(l, b);
        hf_ms step = b->now + 50;
        hf_ms due = l->first < l->end ? l->due[l->first % 128] : step;
        due = due < step ? due : step;
        box_pass(b, due > b->now ? due - b->now : 0);
        if (l->first < l->end && l->due[l->first % 128] <= b->now) {
            const struct hf_replica_effect q = l->out[l->first++ % 128];
            box_answer(b, &q, (struct hf_replica_event){.bytes = q.data_max});
            bytes += q.data_max;
        }
        if (stream && b->now - frame_at >= 200) {
            frame_at = b->now;
            l->free_at = (l->free_at > b->now ? l->free_at : b->now) + 1000 / l->bytes_per_ms;
            stream_frame(b, seq++);
        }
        drain(b);
    }
    return bytes * 1000 / (uint64_t)(b->now - began);
}

/* How many requests are on the link after so long. */
static uint32_t width_after(struct box *b, struct link *l, hf_ms ms)
{
    (void)rate_over(l, b, ms, false);
    link_take(l, b);
    return l->end - l->first;
}

static void width_narrows_where_fewer_bring_as_much(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    struct link l = {.free_at = b->now};
    uint64_t wide = rate_over(&l, b, 2000, false);
    assert_in_range(width_after(b, &l, 58000), 2, 10);
    assert_true(rate_over(&l, b, 10000, false) > wide * 9 / 10);
    box_free(b);
}

static void width_grows_where_each_connection_is_slow(void **state)
{
    (void)state;
    struct box *b = box_planned(0, 0);
    uint32_t count;
    for (int i = 0; i < 60; i++) {
        (void)round_trip(b, 400, &count);
    }
    assert_true(count >= 24);
    box_free(b);
}

static void busy_stream_keeps_its_share_of_the_link(void **state)
{
    (void)state;
    static const struct link links[] = {
        {.bytes_per_ms = 1000, .rtt = 20}, {.bytes_per_ms = 2500, .rtt = 100},
        {.bytes_per_ms = 250, .rtt = 300}, {.bytes_per_ms = 12000, .rtt = 20},
        {.bytes_per_ms = 30, .rtt = 600},
    };
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        struct box *b = box_of(0);
        struct link l = links[i];
        l.free_at = b->now;
        uint64_t alone = rate_over(&l, b, 20000, false);
        uint64_t shared = rate_over(&l, b, 240000, true);
        print_message("alone %lu B/s, beside a busy stream %lu B/s\n", (unsigned long)alone,
                      (unsigned long)shared);
        assert_in_range(shared * 100 / (1000 * links[i].bytes_per_ms), 63, 77);
        box_free(b);
    }
}

/* Else the rest of the transfer would crawl, at a share of what came over the cut. */
static void cut_while_the_link_is_measured_does_not_count(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    struct link l = {.free_at = b->now, .bytes_per_ms = 250};
    (void)rate_over(&l, b, 300, true);
    box_pass(b, 2500);
    l.free_at = b->now;
    uint64_t shared = rate_over(&l, b, 20000, true);
    print_message("after a cut, beside a busy stream %lu B/s\n", (unsigned long)shared);
    assert_true(shared > 150000);
    box_free(b);
}

/* Nothing is known of the link yet, and the first replies come while few requests are out. */
static void stream_that_is_busy_from_the_beginning_does_not_make_the_link_look_thin(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    struct link l = {.free_at = b->now, .bytes_per_ms = 2500, .rtt = 100};
    stream_frame(b, 5001);
    uint64_t rate = rate_over(&l, b, 25000, true);
    assert_in_range(rate * 100 / 2500000, 63, 80);
    box_free(b);
}

/* The first reply takes longer than a second, and its bytes were on the way all that time. */
static void reply_that_ends_a_silence_does_not_make_the_link_look_wide(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    struct link l = {.free_at = b->now, .bytes_per_ms = 30, .rtt = 600};
    for (int i = 0; i < 4; i++) {
        link_take(&l, b);
        box_pass(b, l.due[i] - b->now);
        const struct hf_replica_effect q = l.out[i];
        box_answer(b, &q, (struct hf_replica_event){.bytes = q.data_max});
        drain(b);
    }
    assert_in_range(b->r->throttle.link_rate, 27000, 31000);
    box_free(b);
}

/* Holes of a few bytes say how little was missing, not how little the link can. */
static void small_replies_do_not_make_a_link_look_thin(void **state)
{
    (void)state;
    struct box *b = box_of(0);
    for (hf_ms began = b->now; b->now - began < 4000;) {
        struct hf_replica_effect out[64];
        uint32_t count = box_sends(b, HF_REPRQ_DELTA);
        for (uint32_t i = 0; i < count; i++) {
            out[i] = *box_sent(b, HF_REPRQ_DELTA, i);
        }
        box_clear(b);
        box_pass(b, 50);
        for (uint32_t i = 0; i < count; i++) {
            box_answer(b, &out[i], (struct hf_replica_event){.bytes = 20});
            drain(b);
        }
        box_pass(b, 1);
        drain(b);
    }
    assert_true(rate_over(&(struct link){.free_at = b->now}, b, 10000, true) > 300000);
    box_free(b);
}

static void catching_up_stays_below_the_configured_rate(void **state)
{
    (void)state;
    struct box *b = box_of(100000);
    uint64_t rate = rate_over(&(struct link){.free_at = b->now}, b, 30000, false);
    assert_in_range(rate, 80000, 105000);
    box_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transfer_begins_with_one_request_for_each_64_kib),
        cmocka_unit_test(width_opens_to_all_parts_as_answers_come),
        cmocka_unit_test(the_rest_of_a_transfer_is_told_in_time_however_large_it_is),
        cmocka_unit_test(width_opens_no_further_once_an_answer_was_slow),
        cmocka_unit_test(each_transfer_begins_with_requests_of_32_kib_at_most),
        cmocka_unit_test(requests_shrink_on_a_thin_link_and_grow_on_a_wide_one),
        cmocka_unit_test(one_hanging_connection_does_not_slow_the_others),
        cmocka_unit_test(silence_of_all_closes_the_width_and_backs_off),
        cmocka_unit_test(the_store_takes_eight_chunks_at_a_time_those_asked_for_first),
        cmocka_unit_test(parts_have_turns_when_there_are_more_than_requests),
        cmocka_unit_test(parts_asked_for_before_a_cut_are_waited_for_while_others_are_left),
        cmocka_unit_test(answer_that_a_cut_held_up_does_not_slow_what_is_asked_for_next),
        cmocka_unit_test(one_that_hangs_is_left_to_tcp_while_others_are_answered),
        cmocka_unit_test(parts_that_all_hang_are_asked_for_again_while_the_core_answers_reports),
        cmocka_unit_test(what_a_cut_swallowed_is_asked_for_when_nothing_else_is_left),
        cmocka_unit_test(width_narrows_where_fewer_bring_as_much),
        cmocka_unit_test(width_grows_where_each_connection_is_slow),
        cmocka_unit_test(busy_stream_keeps_its_share_of_the_link),
        cmocka_unit_test(cut_while_the_link_is_measured_does_not_count),
        cmocka_unit_test(stream_that_is_busy_from_the_beginning_does_not_make_the_link_look_thin),
        cmocka_unit_test(reply_that_ends_a_silence_does_not_make_the_link_look_wide),
        cmocka_unit_test(small_replies_do_not_make_a_link_look_thin),
        cmocka_unit_test(catching_up_stays_below_the_configured_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
