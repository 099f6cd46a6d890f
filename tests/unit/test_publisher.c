/*
 * test_publisher.c - the pure engine of the core, driven event by event.
 *
 * A trace is the list of effects of one step as text, so a test reads like the rule it checks.
 */
#include "hf/publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct hf_publisher *engine;
static char trace[256];

static int setup(void **state)
{
    struct hf_publisher_config c = {
        .beacon_ms = 1000, .commit_ms = 1000, .commit_changes = 100, .edges_max = 4};
    (void)state;
    engine = hf_publisher_new(&c);
    return engine == NULL;
}

static int teardown(void **state)
{
    (void)state;
    hf_publisher_free(engine);
    return 0;
}

static const char *effect_name(enum hf_publisher_effect_type t)
{
    static const char *const name[] = {"group",   "answer", "publish", "commit",
                                       "visible", "beacon", "recover"};
    return name[t];
}

static const char *step(struct hf_publisher_event ev)
{
    struct hf_publisher_effects fx;
    size_t n = 0;
    trace[0] = '\0';
    hf_publisher_step(engine, &ev, &fx);
    for (uint32_t i = 0; i < fx.count; i++) {
        const struct hf_publisher_effect *e = &fx.at[i];
        n += (size_t)snprintf(trace + n, sizeof(trace) - n, "%s%s", i > 0 ? " " : "",
                              effect_name(e->type));
        if (e->code != HF_OK) {
            n += (size_t)snprintf(trace + n, sizeof(trace) - n, "(%s)", hf_err_name(e->code));
        }
    }
    return trace;
}

static struct hf_position at(hf_seq seq)
{
    struct hf_position p = {.epoch_id = {{1}}, .seq = seq};
    p.digest.b[0] = (uint8_t)seq;
    return p;
}

static const char *start(hf_seq head, hf_seq committed, hf_ms now)
{
    return step((struct hf_publisher_event){
        .type = HF_PUB_START, .now = now, .position = at(head), .seq = committed});
}

static const char *happens(enum hf_publisher_event_type type, hf_ms now)
{
    return step((struct hf_publisher_event){.type = type, .now = now, .count = 1});
}

static const char *group_done(hf_seq head, uint32_t answered, uint32_t changes, hf_ms now)
{
    return step((struct hf_publisher_event){.type = HF_PUB_GROUP_DONE,
                                            .now = now,
                                            .position = at(head),
                                            .count = changes,
                                            .answered = answered});
}

static const char *committed(hf_seq seq, hf_ms now)
{
    return step((struct hf_publisher_event){
        .type = HF_PUB_COMMITTED, .now = now, .position = at(seq), .seq = seq});
}

/* One write that becomes batch `head`; a commit that is due goes first. */
static void write_one(hf_seq head, hf_ms now)
{
    happens(HF_PUB_WRITE, now);
    const char *effects = happens(HF_PUB_FLUSH, now);
    if (strcmp(effects, "commit") == 0) {
        effects = committed(head - 1, now);
    }
    assert_string_equal(effects, "group");
    group_done(head, 1, 1, now);
}

/* ---- groups ---- */

static void a_group_begins_at_the_flush_and_not_before(void **state)
{
    (void)state;
    start(0, 0, 0);
    assert_string_equal(happens(HF_PUB_WRITE, 0), "");
    assert_string_equal(happens(HF_PUB_WRITE, 0), "");
    assert_string_equal(happens(HF_PUB_FLUSH, 0), "group");
}

static void a_forgotten_flush_is_made_up_for_by_the_tick(void **state)
{
    (void)state;
    start(0, 0, 0);
    happens(HF_PUB_TICK, 0);
    happens(HF_PUB_WRITE, 5);
    assert_int_equal(hf_publisher_deadline(engine), 0);
    assert_string_equal(happens(HF_PUB_TICK, 6), "group");
}

static void nothing_is_answered_or_published_before_the_group_is_durable(void **state)
{
    (void)state;
    start(0, 0, 0);
    happens(HF_PUB_WRITE, 0);
    assert_string_equal(happens(HF_PUB_FLUSH, 0), "group");
    assert_string_equal(happens(HF_PUB_FLUSH, 1), "");
    assert_string_equal(happens(HF_PUB_READ_WAITS, 1), "visible");
    assert_string_equal(group_done(3, 1, 5, 2), "answer publish");
}

static void what_came_during_a_group_is_the_next_one_at_once(void **state)
{
    (void)state;
    start(7, 7, 0);
    happens(HF_PUB_WRITE, 0);
    happens(HF_PUB_FLUSH, 0);
    assert_string_equal(happens(HF_PUB_WRITE, 1), "");
    assert_string_equal(happens(HF_PUB_FLUSH, 1), "");
    assert_string_equal(group_done(8, 1, 1, 2), "answer publish group");
    assert_string_equal(group_done(9, 1, 1, 3), "answer publish");
}

static void a_group_that_changes_nothing_publishes_nothing(void **state)
{
    (void)state;
    start(7, 7, 0);
    happens(HF_PUB_WRITE, 0);
    happens(HF_PUB_FLUSH, 0);
    assert_string_equal(group_done(7, 1, 0, 2), "answer");
}

static void a_failed_group_is_answered_with_its_error_and_recovered_before_the_next(void **state)
{
    (void)state;
    start(7, 7, 0);
    happens(HF_PUB_WRITE, 0);
    happens(HF_PUB_FLUSH, 0);
    happens(HF_PUB_WRITE, 1);
    assert_string_equal(step((struct hf_publisher_event){.type = HF_PUB_GROUP_DONE,
                                                         .code = HF_FULL,
                                                         .now = 2,
                                                         .answered = 1,
                                                         .position = at(7)}),
                        "answer(FULL) recover");
    assert_string_equal(happens(HF_PUB_FLUSH, 3), "");
    assert_string_equal(step((struct hf_publisher_event){
                            .type = HF_PUB_RECOVERED, .now = 4, .position = at(7), .seq = 7}),
                        "group");
}

/* ---- commits ---- */

static void the_state_is_committed_when_it_was_quiet_for_a_moment(void **state)
{
    (void)state;
    start(0, 0, 0);
    happens(HF_PUB_TICK, 0);
    write_one(1, 0);
    assert_string_equal(happens(HF_PUB_TICK, 40), "");
    assert_int_equal(hf_publisher_deadline(engine), 50);
    assert_string_equal(happens(HF_PUB_TICK, 50), "commit");
    assert_string_equal(committed(1, 52), "");
    assert_string_equal(happens(HF_PUB_TICK, 200), "");
}

static void under_load_the_state_is_committed_by_count(void **state)
{
    (void)state;
    start(0, 0, 0);
    happens(HF_PUB_TICK, 0);
    happens(HF_PUB_WRITE, 0);
    happens(HF_PUB_FLUSH, 0);
    happens(HF_PUB_WRITE, 0);
    assert_string_equal(group_done(1, 1, 100, 1), "answer publish commit");
    assert_string_equal(committed(1, 2), "group");
}

static void under_load_the_state_is_committed_by_age(void **state)
{
    (void)state;
    start(0, 0, 0);
    happens(HF_PUB_WRITE, 0);
    happens(HF_PUB_FLUSH, 0);
    for (hf_seq n = 1; n <= 99; n++) {
        happens(HF_PUB_WRITE, (hf_ms)n * 10);
        assert_non_null(strstr(group_done(n, 1, 1, (hf_ms)n * 10), "group"));
    }
    happens(HF_PUB_WRITE, 1020);
    assert_non_null(strstr(group_done(100, 1, 1, 1020), "commit"));
}

static void a_waiting_reader_makes_the_commit_come_and_goes_on_after_it(void **state)
{
    (void)state;
    start(0, 0, 0);
    write_one(1, 0);
    assert_string_equal(happens(HF_PUB_READ_WAITS, 1), "commit");
    assert_string_equal(happens(HF_PUB_READ_WAITS, 1), "");
    assert_string_equal(committed(1, 2), "visible");
    assert_string_equal(happens(HF_PUB_READ_WAITS, 3), "visible");
}

static void a_failed_commit_lets_readers_go_recovers_and_is_not_repeated_at_once(void **state)
{
    (void)state;
    start(0, 0, 0);
    happens(HF_PUB_TICK, 0);
    write_one(1, 0);
    happens(HF_PUB_READ_WAITS, 1);
    assert_string_equal(
        step((struct hf_publisher_event){.type = HF_PUB_COMMITTED, .code = HF_FULL, .now = 2}),
        "visible recover");
    assert_string_equal(step((struct hf_publisher_event){
                            .type = HF_PUB_RECOVERED, .now = 3, .position = at(1), .seq = 0}),
                        "");
    assert_string_equal(happens(HF_PUB_FLUSH, 900), "");
    assert_string_equal(happens(HF_PUB_FLUSH, 1002), "commit");
}

static void what_recovery_finds_durable_above_the_head_counts(void **state)
{
    (void)state;
    start(0, 0, 0);
    assert_string_equal(happens(HF_PUB_TICK, 0), "beacon"); /* the next one is due in a second */
    happens(HF_PUB_WRITE, 0);
    happens(HF_PUB_FLUSH, 0);
    step((struct hf_publisher_event){
        .type = HF_PUB_GROUP_DONE, .code = HF_NOMEM, .now = 2, .answered = 1, .position = at(0)});
    step((struct hf_publisher_event){
        .type = HF_PUB_RECOVERED, .now = 4, .position = at(2), .seq = 0});
    assert_string_equal(happens(HF_PUB_TICK, 4), "beacon");
    happens(HF_PUB_WRITE, 5);
    happens(HF_PUB_FLUSH, 5);
    assert_string_equal(group_done(3, 1, 1, 6), "answer publish");
}

/* A disk took back what it had synced: the state is as it was two commits ago, and the log was
 * replayed from there. */
static void what_recovery_finds_below_the_last_commit_is_committed_again(void **state)
{
    (void)state;
    start(3, 3, 0);
    happens(HF_PUB_TICK, 0);
    write_one(4, 1);
    assert_string_equal(happens(HF_PUB_TICK, 1002), "beacon commit");
    assert_string_equal(committed(4, 1003), "");
    assert_true(hf_publisher_settled(engine));
    happens(HF_PUB_WRITE, 1004);
    happens(HF_PUB_FLUSH, 1004);
    assert_string_equal(step((struct hf_publisher_event){.type = HF_PUB_GROUP_DONE,
                                                         .code = HF_IO,
                                                         .now = 1005,
                                                         .answered = 1,
                                                         .position = at(4)}),
                        "answer(IO) recover");
    assert_string_equal(step((struct hf_publisher_event){
                            .type = HF_PUB_RECOVERED, .now = 1006, .position = at(4), .seq = 3}),
                        "commit");
    assert_string_equal(happens(HF_PUB_READ_WAITS, 1007), "");
    assert_false(hf_publisher_settled(engine));
    assert_string_equal(committed(4, 1008), "visible");
    assert_true(hf_publisher_settled(engine));
}

/* The recovery fails, too, and the commit that comes next replays the log by itself. */
static void what_a_commit_finds_durable_above_the_head_counts(void **state)
{
    (void)state;
    start(0, 0, 0);
    happens(HF_PUB_TICK, 0);
    write_one(1, 1);
    happens(HF_PUB_WRITE, 2);
    assert_string_equal(happens(HF_PUB_FLUSH, 2), "group");
    step((struct hf_publisher_event){
        .type = HF_PUB_GROUP_DONE, .code = HF_NOMEM, .now = 2, .answered = 1, .position = at(1)});
    step((struct hf_publisher_event){.type = HF_PUB_RECOVERED, .code = HF_NOMEM, .now = 3});
    assert_string_equal(happens(HF_PUB_READ_WAITS, 4), "commit");
    assert_string_equal(committed(3, 5), "visible");
    assert_true(hf_publisher_settled(engine));
    assert_string_equal(happens(HF_PUB_TICK, 5), "beacon");
    happens(HF_PUB_WRITE, 6);
    happens(HF_PUB_FLUSH, 6);
    assert_string_equal(group_done(4, 1, 1, 6), "answer publish");
}

/* Without a write, too: the state may be closed to readers until then. */
static void a_recovery_that_failed_is_tried_again_by_a_commit(void **state)
{
    (void)state;
    start(1, 1, 0);
    happens(HF_PUB_TICK, 0);
    happens(HF_PUB_WRITE, 1);
    assert_string_equal(happens(HF_PUB_FLUSH, 1), "group");
    assert_string_equal(
        step((struct hf_publisher_event){
            .type = HF_PUB_GROUP_DONE, .code = HF_IO, .now = 2, .answered = 1, .position = at(1)}),
        "answer(IO) recover");
    step((struct hf_publisher_event){.type = HF_PUB_RECOVERED, .code = HF_IO, .now = 3});
    assert_false(hf_publisher_settled(engine));
    assert_int_equal(hf_publisher_deadline(engine), 53);
    assert_string_equal(happens(HF_PUB_TICK, 53), "commit");
    assert_string_equal(
        step((struct hf_publisher_event){.type = HF_PUB_COMMITTED, .code = HF_IO, .now = 54}),
        "recover");
    assert_false(hf_publisher_may_end(engine));
    step((struct hf_publisher_event){.type = HF_PUB_RECOVERED, .code = HF_IO, .now = 55});
    assert_true(hf_publisher_may_end(engine)); /* a disk that is dead keeps no process */
    assert_string_equal(happens(HF_PUB_TICK, 1053), "beacon");
    assert_string_equal(happens(HF_PUB_TICK, 1054), "commit");
    committed(1, 1055);
    assert_true(hf_publisher_settled(engine));
    assert_true(hf_publisher_may_end(engine));
}

/* Each try replays the log up to the damage. */
static void a_recovery_that_met_damage_is_tried_again_seldom(void **state)
{
    (void)state;
    start(2, 1, 0);
    assert_string_equal(happens(HF_PUB_TICK, 0), "beacon");
    assert_string_equal(happens(HF_PUB_TICK, 50), "commit");
    assert_string_equal(
        step((struct hf_publisher_event){.type = HF_PUB_COMMITTED, .code = HF_CORRUPT, .now = 51}),
        "recover");
    step((struct hf_publisher_event){.type = HF_PUB_RECOVERED, .code = HF_CORRUPT, .now = 52});
    assert_true(hf_publisher_may_end(engine));
    assert_string_equal(happens(HF_PUB_READ_WAITS, 53), "visible"); /* what was committed */
    assert_string_equal(happens(HF_PUB_TICK, 60051), "beacon");
    assert_string_equal(happens(HF_PUB_TICK, 60052), "commit");
    committed(2, 60053);
    assert_true(hf_publisher_settled(engine));
    assert_true(hf_publisher_may_end(engine));
}

static void what_waits_while_damage_is_met_does_not_wait_for_the_next_try(void **state)
{
    (void)state;
    start(2, 1, 0);
    happens(HF_PUB_TICK, 0);
    assert_string_equal(happens(HF_PUB_TICK, 50), "commit");
    step((struct hf_publisher_event){.type = HF_PUB_COMMITTED, .code = HF_CORRUPT, .now = 51});
    assert_string_equal(happens(HF_PUB_READ_WAITS, 52), "");
    assert_string_equal(
        step((struct hf_publisher_event){.type = HF_PUB_RECOVERED, .code = HF_DIGEST, .now = 53}),
        "visible");
    happens(HF_PUB_WRITE, 54); /* it found the log whole again */
    assert_string_equal(happens(HF_PUB_FLUSH, 54), "group");
    assert_string_equal(group_done(3, 1, 1, 55), "answer publish");
    assert_string_equal(happens(HF_PUB_READ_WAITS, 56), "commit");
    assert_string_equal(committed(3, 57), "visible");
}

static void recorded_facts_are_committed_soon_too(void **state)
{
    (void)state;
    start(0, 0, 0);
    happens(HF_PUB_TICK, 0);
    assert_true(hf_publisher_settled(engine));
    assert_string_equal(happens(HF_PUB_RECORDED, 10), "");
    assert_false(hf_publisher_settled(engine));
    assert_int_equal(hf_publisher_deadline(engine), 60);
    assert_string_equal(happens(HF_PUB_TICK, 60), "commit");
    committed(0, 61);
    assert_true(hf_publisher_settled(engine));
}

/* ---- beacons ---- */

static void beacons_come_each_second_of_silence(void **state)
{
    (void)state;
    start(0, 0, 0);
    assert_string_equal(happens(HF_PUB_TICK, 0), "beacon");
    assert_string_equal(happens(HF_PUB_TICK, 500), "");
    write_one(1, 600);
    assert_string_equal(happens(HF_PUB_READ_WAITS, 600), "commit");
    committed(1, 601);
    assert_string_equal(happens(HF_PUB_TICK, 1100), "");
    assert_string_equal(happens(HF_PUB_TICK, 1600), "beacon");
}

static void spurious_ticks_are_harmless(void **state)
{
    (void)state;
    assert_string_equal(happens(HF_PUB_TICK, 0), "");
    start(0, 0, 1);
    happens(HF_PUB_TICK, 1);
    for (int i = 0; i < 100; i++) {
        assert_string_equal(happens(HF_PUB_TICK, 2), "");
    }
}

/* ---- edges ---- */

static void report(uint32_t edge, hf_seq applied, uint8_t digest, hf_ms now)
{
    struct hf_report r = {.epoch_id = {{1}},
                          .applied = applied,
                          .received = applied,
                          .staleness_ms = 20,
                          .version = hf_slice_str("1.0\n")};
    r.digest.b[0] = digest;
    struct hf_publisher_event ev = {.type = HF_PUB_REPORT, .now = now, .edge = edge, .report = &r};
    assert_string_equal(step(ev), "");
}

static void hello(uint32_t edge, hf_seq applied, bool ok, hf_ms now)
{
    step((struct hf_publisher_event){
        .type = HF_PUB_HELLO, .now = now, .edge = edge, .seq = applied, .ok = ok});
}

static void enrol(uint32_t edge)
{
    step((struct hf_publisher_event){.type = HF_PUB_EDGE, .edge = edge, .ok = true});
}

static struct hf_edge_row row_of(uint32_t edge, hf_ms now)
{
    struct hf_edge_row row;
    memset(&row, 0xee, sizeof(row));
    hf_publisher_edge(engine, edge, now, &row);
    return row;
}

static void an_edge_that_never_spoke_is_unknown(void **state)
{
    (void)state;
    start(5, 5, 0);
    enrol(1);
    struct hf_edge_row row = row_of(1, 10);
    assert_int_equal(row.state, HF_EDGE_NEVER_SEEN);
    assert_true(row.applied == UINT64_MAX && row.lag_ms == UINT64_MAX);
    assert_int_equal(row.digest_ok, -1);
}

static void an_edge_at_the_head_is_live_and_its_digest_is_compared(void **state)
{
    (void)state;
    start(5, 5, 0);
    enrol(1);
    report(1, 5, 5, 100);
    struct hf_edge_row row = row_of(1, 150);
    assert_int_equal(row.state, HF_EDGE_LIVE);
    assert_int_equal(row.digest_ok, 1);
    assert_int_equal(row.lag_batches, 0);
    assert_int_equal(row.lag_ms, 0);
    assert_int_equal(row.staleness_ms, 70);
    assert_string_equal(row.version, "1.0?");
}

static void lag_is_how_long_the_core_has_had_the_first_missing_batch(void **state)
{
    (void)state;
    start(5, 5, 0);
    enrol(1);
    write_one(6, 1000);
    write_one(7, 2500);
    report(1, 5, 5, 2600);
    assert_int_equal(row_of(1, 2600).lag_ms, 1600);
    assert_int_equal(row_of(1, 2600).state, HF_EDGE_LIVE);
    assert_int_equal(row_of(1, 3100).state, HF_EDGE_LAGGING);
    report(1, 6, 6, 3200);
    assert_int_equal(row_of(1, 3200).lag_ms, 700);
    assert_int_equal(row_of(1, 3200).digest_ok, 1);
}

static void lag_is_never_too_small_after_the_history_was_thinned(void **state)
{
    (void)state;
    start(0, 0, 0);
    enrol(1);
    for (hf_seq n = 1; n <= 20000; n++) {
        write_one(n, (hf_ms)n * 20);
    }
    for (hf_seq applied = 1; applied < 20000; applied += 37) {
        report(1, applied, 0, 400000);
        uint64_t real = 400000 - (applied + 1) * 20;
        assert_true(row_of(1, 400000).lag_ms >= real);
    }
}

static void a_silent_edge_is_cut_off_and_never_shown_as_in_sync(void **state)
{
    (void)state;
    start(5, 5, 0);
    enrol(1);
    report(1, 5, 5, 100);
    assert_int_equal(row_of(1, 3100).state, HF_EDGE_LIVE);
    struct hf_edge_row row = row_of(1, 3101);
    assert_int_equal(row.state, HF_EDGE_CUT_OFF);
    assert_int_equal(row.digest_ok, -1);
    assert_int_equal(row.applied, 5);
}

static void another_digest_at_the_same_seq_is_divergence(void **state)
{
    (void)state;
    start(5, 5, 0);
    enrol(1);
    report(1, 5, 9, 100);
    assert_int_equal(row_of(1, 100).state, HF_EDGE_DIVERGED);
    assert_int_equal(row_of(1, 100).digest_ok, 0);
    assert_int_equal(hf_publisher_edges_at(engine, 5), 0);
    report(1, 5, 5, 200);
    assert_int_equal(row_of(1, 200).state, HF_EDGE_LIVE);
}

static void an_edge_above_the_head_is_not_the_cores(void **state)
{
    (void)state;
    start(5, 5, 0);
    enrol(1);
    report(1, 6, 6, 100);
    assert_int_equal(row_of(1, 100).state, HF_EDGE_DIVERGED);
}

/* Its digest may well be ours by chance of an equal state; it says nothing about this history. */
static void digest_of_another_epoch_is_not_compared(void **state)
{
    struct hf_report r = {.epoch_id = {{2}}, .applied = 5, .digest = {{5}}};
    (void)state;
    start(5, 5, 0);
    enrol(1);
    step((struct hf_publisher_event){.type = HF_PUB_REPORT, .now = 100, .edge = 1, .report = &r});
    assert_int_equal(row_of(1, 100).digest_ok, -1);
    assert_int_equal(row_of(1, 100).state, HF_EDGE_DIVERGED);
}

static void a_hello_with_another_history_marks_that_edge_only(void **state)
{
    (void)state;
    start(5, 5, 0);
    enrol(1);
    enrol(2);
    hello(1, 5, false, 100);
    hello(2, 3, true, 100);
    assert_int_equal(row_of(1, 100).state, HF_EDGE_DIVERGED);
    assert_int_equal(row_of(2, 100).state, HF_EDGE_LIVE);
    assert_int_equal(row_of(2, 100).lag_batches, 2);
    hello(1, 5, true, 200);
    assert_int_equal(row_of(1, 200).state, HF_EDGE_LIVE);
    /* The edge is right, and this core was rolled back: not one history. */
    step((struct hf_publisher_event){
        .type = HF_PUB_HELLO, .now = 300, .edge = 1, .seq = 6, .ok = true, .ahead = true});
    assert_int_equal(row_of(1, 300).state, HF_EDGE_DIVERGED);
}

static void a_transfer_shows_as_catching_up_and_holds_its_base(void **state)
{
    struct hf_report r = {
        .epoch_id = {{1}}, .applied = 2, .transfer_base = 4, .transfer_total = 100};
    (void)state;
    start(5, 5, 0);
    enrol(1);
    step((struct hf_publisher_event){.type = HF_PUB_REPORT, .now = 100, .edge = 1, .report = &r});
    assert_int_equal(row_of(1, 100).state, HF_EDGE_CATCHING_UP);
    assert_int_equal(hf_publisher_transfer_base(engine, 50), 4);
    assert_true(hf_publisher_transfer_base(engine, 101) == UINT64_MAX);
    /* Its age is that of the base: the same one grows old, and another one is new. */
    step((struct hf_publisher_event){.type = HF_PUB_REPORT, .now = 200, .edge = 1, .report = &r});
    assert_true(hf_publisher_transfer_base(engine, 101) == UINT64_MAX);
    r.transfer_base = 5;
    step((struct hf_publisher_event){.type = HF_PUB_REPORT, .now = 300, .edge = 1, .report = &r});
    assert_int_equal(hf_publisher_transfer_base(engine, 300), 5);
}

/* Tombstones wait for those who may still need them, and for nobody who was sent away. */
static void passed_is_what_every_enrolled_edge_has(void **state)
{
    (void)state;
    start(5, 5, 0);
    assert_true(hf_publisher_passed(engine) == UINT64_MAX);
    for (uint32_t i = 0; i < 3; i++) {
        enrol(i);
        assert_int_equal(hf_publisher_passed(engine), 0);
        report(i, 5 - i, (uint8_t)(5 - i), 100);
        assert_int_equal(hf_publisher_passed(engine), 5 - i);
    }
    step((struct hf_publisher_event){.type = HF_PUB_EDGE, .edge = 2, .ok = false});
    assert_int_equal(hf_publisher_passed(engine), 4);
    hello(1, 4, false, 200); /* of another history: what it has is not ours */
    assert_int_equal(hf_publisher_passed(engine), 0);
}

static void only_enrolled_edges_count_as_durable(void **state)
{
    (void)state;
    start(5, 5, 0);
    for (uint32_t i = 0; i < 3; i++) {
        enrol(i);
        report(i, 3 + i, (uint8_t)(3 + i), 100);
    }
    assert_int_equal(hf_publisher_edges_at(engine, 3), 3);
    assert_int_equal(hf_publisher_edges_at(engine, 4), 2);
    step((struct hf_publisher_event){.type = HF_PUB_EDGE, .edge = 2, .ok = false});
    assert_int_equal(hf_publisher_edges_at(engine, 4), 1);
    assert_int_equal(row_of(2, 100).state, HF_EDGE_REVOKED);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_group_begins_at_the_flush_and_not_before),
        T(a_forgotten_flush_is_made_up_for_by_the_tick),
        T(nothing_is_answered_or_published_before_the_group_is_durable),
        T(what_came_during_a_group_is_the_next_one_at_once),
        T(a_group_that_changes_nothing_publishes_nothing),
        T(a_failed_group_is_answered_with_its_error_and_recovered_before_the_next),
        T(the_state_is_committed_when_it_was_quiet_for_a_moment),
        T(under_load_the_state_is_committed_by_count),
        T(under_load_the_state_is_committed_by_age),
        T(a_waiting_reader_makes_the_commit_come_and_goes_on_after_it),
        T(a_failed_commit_lets_readers_go_recovers_and_is_not_repeated_at_once),
        T(what_recovery_finds_durable_above_the_head_counts),
        T(what_recovery_finds_below_the_last_commit_is_committed_again),
        T(what_a_commit_finds_durable_above_the_head_counts),
        T(a_recovery_that_failed_is_tried_again_by_a_commit),
        T(a_recovery_that_met_damage_is_tried_again_seldom),
        T(what_waits_while_damage_is_met_does_not_wait_for_the_next_try),
        T(recorded_facts_are_committed_soon_too),
        T(beacons_come_each_second_of_silence),
        T(spurious_ticks_are_harmless),
        T(an_edge_that_never_spoke_is_unknown),
        T(an_edge_at_the_head_is_live_and_its_digest_is_compared),
        T(lag_is_how_long_the_core_has_had_the_first_missing_batch),
        T(lag_is_never_too_small_after_the_history_was_thinned),
        T(a_silent_edge_is_cut_off_and_never_shown_as_in_sync),
        T(another_digest_at_the_same_seq_is_divergence),
        T(an_edge_above_the_head_is_not_the_cores),
        T(digest_of_another_epoch_is_not_compared),
        T(a_hello_with_another_history_marks_that_edge_only),
        T(a_transfer_shows_as_catching_up_and_holds_its_base),
        T(passed_is_what_every_enrolled_edge_has),
        T(only_enrolled_edges_count_as_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
