/*
 * test_record.c - a recording stays bounded and true: points merge without losing an extreme or a
 * byte, figures do not depend on the width of a point, rare events outlive frequent ones.
 */
#include "tests/unit/record_box.h"

/* ---- points ---- */

static void a_point_is_as_wide_as_it_began_while_the_run_is_short(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    for (hf_ms at = 0; at < 1000; at += 5) {
        struct record_sample s = well;
        s.applied = (hf_seq)at;
        s.bytes_down = (uint64_t)at * 100;
        record_sample(r, 1, at, &s);
    }
    assert_int_equal(r->interval_ms, RECORD_INTERVAL_MS);
    assert_int_equal(r->track[1].point_count, 100);
    const struct record_point *p = &r->track[1].point[42];
    assert_int_equal(p->applied.least, 420);
    assert_int_equal(p->applied.most, 425);
    assert_int_equal(p->bytes_down, 1000);
    record_free(r);
}

/* Thirty days, with one second in which something was bad. */
static void a_month_keeps_its_worst_second_and_every_byte(void **state)
{
    (void)state;
    const hf_ms month = INT64_C(30) * 86400 * 1000;
    const hf_ms bad_at = month / 3 / 60000 * 60000;
    struct record *r = record_of(1);
    struct record_sample s = well;
    for (hf_ms at = 0; at <= month; at += 60000) {
        s.bytes_down += 7;
        s.bytes_up += 3;
        s.staleness_ms = at == bad_at ? 987654 : 1000;
        record_sample(r, 1, at, &s);
    }
    const struct record_track *t = &r->track[1];
    assert_true(t->point_count <= RECORD_POINTS_MAX && t->point_count > RECORD_POINTS_MAX / 2);
    uint64_t down = 0;
    uint64_t up = 0;
    for (uint32_t i = 0; i < t->point_count; i++) {
        const struct record_point *p = &t->point[i];
        down += p->bytes_down;
        up += p->bytes_up;
        /* It holds until the next sample, which may lie in the next point. */
        bool worst =
            (hf_ms)i == bad_at / r->interval_ms || (hf_ms)i == (bad_at + 60000) / r->interval_ms;
        assert_int_equal(p->staleness_ms.least, 1000);
        assert_true(worst || p->staleness_ms.most == 1000);
    }
    assert_int_equal(t->point[bad_at / r->interval_ms].staleness_ms.most, 987654);
    assert_int_equal(down, s.bytes_down);
    assert_int_equal(up, s.bytes_up);
    assert_int_equal(t->figures.staleness_most_ms, 987654);
    assert_int_equal(t->figures.staleness_most_at, bad_at);
    record_free(r);
}

static void staleness_that_is_unknown_after_it_was_known_grows(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    struct record_sample s = well;
    s.staleness_ms = RECORD_UNKNOWN;
    record_sample(r, 1, 500, &s);
    assert_true(r->track[1].figures.staleness_most_ms == RECORD_UNKNOWN);
    s.staleness_ms = 300;
    record_sample(r, 1, 1000, &s);
    s.staleness_ms = RECORD_UNKNOWN;
    s.state = RECORD_NOT_RUNNING;
    record_sample(r, 1, 2000, &s);
    assert_int_equal(r->track[1].figures.staleness_most_ms, 300);
    s.state = well.state;
    record_sample(r, 1, 3000, &s);
    assert_int_equal(r->track[1].figures.staleness_most_ms, 2300);
    record_free(r);
}

static void a_pair_keeps_the_least_and_the_most_of_both(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    struct record_sample s = well;
    record_sample(r, 1, 0, &s);
    s.staleness_ms = 200;
    s.applied = s.head = 11;
    record_sample(r, 1, 15, &s);
    s.staleness_ms = 3000;
    s.applied = s.head = 12;
    record_sample(r, 1, 17, &s);
    record_end(r, RECORD_POINTS_MAX * RECORD_INTERVAL_MS);
    assert_int_equal(r->interval_ms, 2 * RECORD_INTERVAL_MS);
    const struct record_point *p = &r->track[1].point[0];
    assert_int_equal(p->staleness_ms.least, 200);
    assert_int_equal(p->staleness_ms.most, 3000);
    assert_int_equal(p->applied.least, 10);
    assert_int_equal(p->applied.most, 12);
    assert_int_equal(p->head.least, 10);
    assert_int_equal(p->head.most, 12);
    record_free(r);
}

static void all_tracks_have_points_of_one_width(void **state)
{
    (void)state;
    struct record *r = record_of(2);
    record_sample(r, 1, 0, &well);
    record_sample(r, 2, 15000, &well);
    assert_int_equal(r->interval_ms, RECORD_INTERVAL_MS);
    record_sample(r, 1, 100000, &well);
    record_end(r, 100000);
    assert_int_equal(r->track[1].point_count, 100000 / r->interval_ms + 1);
    assert_int_equal(r->track[2].point_count, 100000 / r->interval_ms + 1);
    /* Before its first sample nothing is known of an edge. */
    assert_true(r->track[2].point[0].staleness_ms.most == RECORD_UNKNOWN);
    assert_int_equal(r->track[2].point[15000 / r->interval_ms].staleness_ms.most, 1000);
    record_free(r);
}

static void a_sample_holds_until_the_next(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    struct record_sample s = well;
    record_sample(r, 1, 0, &s);
    s.applied = 20;
    record_sample(r, 1, 95, &s);
    for (uint32_t i = 1; i < 9; i++) {
        assert_int_equal(r->track[1].point[i].applied.most, 10);
    }
    assert_int_equal(r->track[1].point[9].applied.least, 10);
    assert_int_equal(r->track[1].point[9].applied.most, 20);
    record_free(r);
}

static void unknown_staleness_does_not_hide_a_known_one(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    struct record_sample s = well;
    s.staleness_ms = RECORD_UNKNOWN;
    record_sample(r, 1, 0, &s);
    record_sample(r, 1, 1, &well);
    record_sample(r, 1, 2, &s);
    assert_int_equal(r->track[1].point[0].staleness_ms.most, 1000);
    record_free(r);
}

static void many_edges_have_fewer_points_each(void **state)
{
    (void)state;
    struct record *r = record_of(250);
    record_sample(r, 1, 0, &well);
    assert_true(r->points_max >= RECORD_POINTS_MIN);
    assert_true((uint64_t)r->points_max * 251 <= RECORD_POINTS_TOTAL);
    assert_int_equal(r->points_max % 2, 0);
    record_free(r);
}

/* ---- cuts, restarts, recoveries ---- */

static void a_cut_is_counted_timed_and_recovered_from(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    struct record_sample s = cut(well);
    record_sample(r, 1, 0, &well);
    record_sample(r, 1, 1000, &s);
    s.head = 50;
    record_sample(r, 1, 5000, &s);
    s.cut_down = s.cut_up = false;
    record_sample(r, 1, 6000, &s);
    assert_true(record_is_recovering(r, 1));
    s.head = 60;
    s.applied = 49;
    record_sample(r, 1, 6400, &s);
    assert_true(record_is_recovering(r, 1));
    s.applied = 50; /* all that there was when the link came back; the core goes on */
    record_sample(r, 1, 6500, &s);
    const struct record_figures *f = &r->track[1].figures;
    assert_false(record_is_recovering(r, 1));
    assert_int_equal(f->cuts, 1);
    assert_int_equal(f->cut_ms, 5000);
    assert_int_equal(f->recoveries, 1);
    assert_int_equal(f->recovery_most_ms, 500);
    assert_true(record_is_behind(&r->track[1]));
    const struct record_band *b = &r->track[1].cuts;
    assert_int_equal(b->count, 3);
    assert_int_equal(b->step[1].from, 1000);
    assert_int_equal(b->step[1].value, RECORD_CUT_DOWN | RECORD_CUT_UP);
    assert_int_equal(b->step[2].from, 6000);
    record_free(r);
}

static void another_cut_ends_a_recovery_without_a_time(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    struct record_sample s = cut(well);
    s.head = 99;
    record_sample(r, 1, 0, &well);
    record_sample(r, 1, 100, &s);
    s.cut_down = s.cut_up = false;
    record_sample(r, 1, 200, &s);
    s = cut(s);
    record_sample(r, 1, 300, &s);
    assert_int_equal(r->track[1].figures.cuts, 2);
    assert_int_equal(r->track[1].figures.recoveries, 0);
    assert_int_equal(r->track[1].figures.recovery_most_ms, RECORD_NONE);
    record_free(r);
}

static void a_first_start_is_no_restart(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    struct record_sample s = stopped(well);
    record_sample(r, 1, 0, &s);
    record_sample(r, 1, 10, &well);
    assert_int_equal(r->track[1].figures.restarts, 0);
    assert_int_equal(r->track[1].figures.recoveries, 0);
    record_sample(r, 1, 20, &s);
    record_sample(r, 1, 30, &well);
    assert_int_equal(r->track[1].figures.restarts, 1);
    assert_int_equal(r->track[1].figures.recoveries, 1);
    record_free(r);
}

static void a_flapping_link_keeps_its_longest_cuts_and_exact_figures(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    struct record_sample s = cut(well);
    hf_ms at = 0;
    record_sample(r, 1, at, &well);
    for (uint32_t i = 0; i < 3000; i++) {
        hf_ms lasts = i == 1234 ? 60000 : 10 + i % 7;
        record_sample(r, 1, at += 100, &s);
        record_sample(r, 1, at += lasts, &well);
    }
    const struct record_track *t = &r->track[1];
    assert_true(t->cuts.count <= RECORD_STEPS_MAX && t->cuts.omitted > 0);
    assert_int_equal(t->figures.cuts, 3000);
    bool longest = false;
    for (uint32_t i = 0; i + 1 < t->cuts.count; i++) {
        assert_true(t->cuts.step[i].value != t->cuts.step[i + 1].value);
        assert_true(t->cuts.step[i].from < t->cuts.step[i + 1].from);
        longest |=
            t->cuts.step[i].value != 0 && t->cuts.step[i + 1].from - t->cuts.step[i].from >= 60000;
    }
    assert_true(longest);
    record_free(r);
}

/* ---- events ---- */

static uint32_t events_of(const struct record_track *t, enum record_kind kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->event_count; i++) {
        n += t->event[i].kind == kind;
    }
    return n;
}

static void rare_events_outlive_frequent_ones(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    for (hf_ms at = 0; at < 10000; at++) {
        record_line(r, 1, at,
                    at == 5000 ? "replica: two signed histories, evidence kept seq=3"
                               : "replica: frame refused seq=9 reason=AUTH");
    }
    /* Both are alarms; what must stay is what is of another kind. */
    record_line(r, 1, 10000, "replica: plan for the gap kind=delta bytes=5");
    for (hf_ms at = 10001; at < 20000; at++) {
        record_line(r, 1, at, "replica: frame refused seq=9 reason=AUTH");
    }
    const struct record_track *t = &r->track[1];
    assert_true(t->event_count <= RECORD_EVENTS_MAX);
    assert_int_equal(t->event_count + t->events_omitted, 20000);
    assert_int_equal(events_of(t, RECORD_PLAN), 1);
    for (uint32_t i = 0; i + 1 < t->event_count; i++) {
        assert_true(t->event[i].at < t->event[i + 1].at);
    }
    record_free(r);
}

static void every_second_of_the_most_frequent_kind_goes(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    for (hf_ms at = 0; at <= RECORD_EVENTS_MAX; at++) {
        record_line(r, 1, at, "replica: nothing moves, asking again head=9 applied=3");
    }
    const struct record_track *t = &r->track[1];
    assert_int_equal(t->event_count, RECORD_EVENTS_MAX / 2 + 1);
    for (uint32_t i = 0; i < t->event_count; i++) {
        assert_int_equal(t->event[i].at, 2 * i);
    }
    record_free(r);
}

static void plans_are_counted_and_a_replay_without_one_is_the_log(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    const char *lines[] = {"replica: first repaired batch seq=5 after_ms=1",
                           "replica: caught up seq=9 after_ms=2",
                           "replica: plan for the gap kind=delta bytes=5",
                           "replica: first repaired batch seq=5 after_ms=1",
                           "replica: caught up seq=9 after_ms=2",
                           "replica: plan for the gap kind=snapshot bytes=5",
                           "replica: caught up seq=9 after_ms=2",
                           "replica: caught up seq=9 after_ms=2",
                           "nothing that anybody knows"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        record_line(r, 1, (hf_ms)i, lines[i]);
    }
    const struct record_track *t = &r->track[1];
    assert_int_equal(t->figures.plan[RECORD_PLAN_LOG], 1);
    assert_int_equal(t->figures.plan[RECORD_PLAN_DELTA], 1);
    assert_int_equal(t->figures.plan[RECORD_PLAN_SNAPSHOT], 1);
    assert_int_equal(events_of(t, RECORD_CAUGHT_UP), 4);
    assert_int_equal(t->event_count, 6);
    record_free(r);
}

/* What the engine really says: a changed sentence must not silently empty the report. */
static void the_engines_own_notes_are_known(void **state)
{
    (void)state;
    static const struct {
        enum hf_replica_note note;
        enum record_kind kind;
    } notes[] = {{HF_NOTE_PLAN, RECORD_PLAN},           {HF_NOTE_CAUGHT_UP, RECORD_CAUGHT_UP},
                 {HF_NOTE_SWITCHED, RECORD_CAUGHT_UP},  {HF_NOTE_DIVERGED, RECORD_ALARM},
                 {HF_NOTE_FORK, RECORD_ALARM},          {HF_NOTE_REVOKED, RECORD_ALARM},
                 {HF_NOTE_STORE_TROUBLE, RECORD_ALARM}, {HF_NOTE_STORE_WELL, RECORD_CAUGHT_UP},
                 {HF_NOTE_ROLLBACK, RECORD_ALARM},      {HF_NOTE_BAD_FRAME, RECORD_ALARM},
                 {HF_NOTE_STALLED, RECORD_ALARM},       {HF_NOTE_REFUSED, RECORD_ALARM},
                 {HF_NOTE_REPAIR_FOUND, RECORD_ALARM},  {HF_NOTE_REPAIR_DONE, RECORD_CAUGHT_UP},
                 {HF_NOTE_STAGE_REFUSED, RECORD_ALARM}, {HF_NOTE_REPAIR_GIVEN_UP, RECORD_ALARM}};
    char line[256];
    struct record *r = record_of(1);
    for (uint32_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++) {
        hf_replica_note_text(notes[i].note, 1, 2, line, sizeof(line));
        record_line(r, 1, i, line);
        assert_int_equal(r->track[1].event_count, i + 1);
        assert_int_equal(r->track[1].event[i].kind, notes[i].kind);
    }
    assert_int_equal(r->track[1].figures.plan[RECORD_PLAN_LOG], 1);
    hf_replica_note_text(HF_NOTE_FIRST_REPAIR, 1, 2, line, sizeof(line));
    record_line(r, 1, 100, line);
    assert_true(r->track[1].repaired);
    record_free(r);
}

/* ---- what is asked of it ---- */

static void states_have_their_names_both_ways(void **state)
{
    (void)state;
    uint8_t s = 0;
    for (int i = 0; i <= HF_REPLICA_DIVERGED; i++) {
        assert_true(record_state_of(record_state_name((uint8_t)i), &s));
        assert_int_equal(s, i);
    }
    assert_true(record_state_of("not-running", &s));
    assert_int_equal(s, RECORD_NOT_RUNNING);
    assert_false(record_state_of("happy", &s));
}

static void the_worst_edge_comes_first(void **state)
{
    (void)state;
    struct record *r = record_of(4);
    struct record_sample behind = well;
    struct record_sample stale = well;
    struct record_sample out = cut(well);
    behind.applied = 9;
    stale.staleness_ms = 5000;
    for (uint32_t i = 0; i <= 4; i++) {
        record_sample(r, i, 0, i == 2 ? &stale : i == 3 ? &out : i == 4 ? &behind : &well);
    }
    out.cut_down = out.cut_up = false;
    record_sample(r, 3, 10, &out);
    uint32_t order[4];
    const uint32_t expected[4] = {4, 3, 2, 1};
    record_worst(r, order);
    assert_memory_equal(order, expected, sizeof(expected));
    record_free(r);
}

static void a_failed_expectation_or_a_violation_is_a_failed_run(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    assert_true(record_held(r));
    record_expect(r, "expect lagos live", true, "");
    assert_true(record_held(r));
    record_expect(r, "expect staleness <= 5s", false, "7.1 s");
    assert_false(record_held(r));
    r->expectation[1].held = true;
    snprintf(r->violation, sizeof(r->violation), "G1: no");
    assert_false(record_held(r));
    record_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_point_is_as_wide_as_it_began_while_the_run_is_short),
        cmocka_unit_test(a_month_keeps_its_worst_second_and_every_byte),
        cmocka_unit_test(staleness_that_is_unknown_after_it_was_known_grows),
        cmocka_unit_test(a_pair_keeps_the_least_and_the_most_of_both),
        cmocka_unit_test(all_tracks_have_points_of_one_width),
        cmocka_unit_test(a_sample_holds_until_the_next),
        cmocka_unit_test(unknown_staleness_does_not_hide_a_known_one),
        cmocka_unit_test(many_edges_have_fewer_points_each),
        cmocka_unit_test(a_cut_is_counted_timed_and_recovered_from),
        cmocka_unit_test(another_cut_ends_a_recovery_without_a_time),
        cmocka_unit_test(a_first_start_is_no_restart),
        cmocka_unit_test(a_flapping_link_keeps_its_longest_cuts_and_exact_figures),
        cmocka_unit_test(rare_events_outlive_frequent_ones),
        cmocka_unit_test(every_second_of_the_most_frequent_kind_goes),
        cmocka_unit_test(plans_are_counted_and_a_replay_without_one_is_the_log),
        cmocka_unit_test(the_engines_own_notes_are_known),
        cmocka_unit_test(states_have_their_names_both_ways),
        cmocka_unit_test(the_worst_edge_comes_first),
        cmocka_unit_test(a_failed_expectation_or_a_violation_is_a_failed_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
