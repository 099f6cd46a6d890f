/*
 * test_retention.c - what the core throws away, and when: by bytes, by age, and never because
 * somebody set a clock.
 *
 * The ages alone first, then a core in a box whose wall clock the test moves. One step of trimming
 * and one of collecting are timed on the real disk and printed. Next: core/retention.c.
 */
#include "core_box.h"

#include "core/ages.h"
#include "tests/standstill.h"

#define HOUR_MS ((uint64_t)3600 * 1000)
#define DAY_MS (24 * HOUR_MS)
#define WALL ((uint64_t)1700000000000)
#define STEP_MS_MAX 20.0

/* ---- the age clock ---- */

static void the_age_clock_follows_the_wall_clock(void **state)
{
    struct hf_ages a;
    (void)state;
    hf_ages_init(&a);
    assert_int_equal(hf_ages_tell(&a, 5000, WALL), 0);
    assert_int_equal(hf_ages_tell(&a, 6000, WALL + 1000), 0);
    assert_int_equal(a.clock_ms, WALL + 1000);
}

static void a_clock_that_jumps_ahead_ages_by_a_day_each_hour(void **state)
{
    struct hf_ages a;
    (void)state;
    hf_ages_init(&a);
    hf_ages_tell(&a, 0, WALL);
    assert_true(hf_ages_mark(&a, 7, 1000));
    for (uint64_t t = 0; t <= HOUR_MS; t += 1000) {
        hf_ages_tell(&a, (hf_ms)t, WALL + 3650 * DAY_MS + t);
    }
    assert_int_equal(a.clock_ms, WALL + DAY_MS);
    assert_int_equal(hf_ages_before(&a, DAY_MS), 7);
    assert_int_equal(hf_ages_before(&a, DAY_MS + 1), 0);
}

static void a_clock_that_jumps_back_ages_nothing_and_goes_on_when_it_is_right(void **state)
{
    struct hf_ages a;
    (void)state;
    hf_ages_init(&a);
    hf_ages_tell(&a, 0, WALL);
    assert_int_equal(hf_ages_tell(&a, 1000, 12345), 0);
    assert_int_equal(a.clock_ms, WALL);
    assert_int_equal(hf_ages_tell(&a, 2000, WALL + 2000), 0);
    assert_int_equal(a.clock_ms, WALL + 2000);
}

static void no_batch_looks_older_than_it_is_after_marks_were_thinned(void **state)
{
    struct hf_ages a;
    struct hf_ages b;
    uint8_t bytes[HF_AGES_BYTES_MAX];
    (void)state;
    hf_ages_init(&a);
    for (uint64_t i = 1; i <= 5000; i++) {
        hf_ages_tell(&a, (hf_ms)(i * 1000), WALL + i * 1000);
        hf_ages_mark(&a, i, 1000); /* batch i came at second i */
    }
    assert_true(a.count <= HF_AGES_MAX);
    for (uint64_t age = 0; age < 5000; age += 7) {
        assert_true(hf_ages_before(&a, age * 1000) <= 5000 - age);
        assert_true(hf_ages_of(&a, age + 1) <= (5000 - (age + 1)) * 1000);
    }
    assert_true(hf_ages_before(&a, 1000000) > 3900);
    assert_int_equal(hf_ages_decode(hf_ages_encode(&a, bytes), &b), HF_OK);
    assert_int_equal(b.count, a.count);
    assert_memory_equal(b.mark, a.mark, a.count * sizeof(a.mark[0]));
    bytes[0] ^= 1;
    assert_int_equal(hf_ages_decode(hf_slice_of(bytes, sizeof(bytes)), &b), HF_MALFORMED);
    assert_int_equal(b.count, 0);
}

/* ---- a core whose clock is set ---- */

static uint64_t wall_ahead; /* of the box's own clock */

static uint64_t set_wall(void *ctx)
{
    return WALL + (uint64_t)((struct box *)ctx)->now + wall_ahead;
}

static void pass_in_steps(struct box *b, uint64_t ms, uint64_t step)
{
    for (uint64_t t = 0; t < ms; t += step) {
        b->now += (hf_ms)step;
        for (int i = 0; i < 40; i++) { /* an idle commit comes 50 ms after the tick that wants it */
            b->now += 10;
            hf_core_on_tick(b->core, b->now);
            box_work(b);
        }
    }
}

static int aged_setup(void **state)
{
    struct box *b = box_new();
    wall_ahead = 0;
    b->world.wall_ms = set_wall;
    b->cfg.segment_bytes = 64 << 10;
    b->cfg.log_age_ms = (hf_ms)(7 * DAY_MS);
    b->cfg.tombstone_ms = (hf_ms)(30 * DAY_MS);
    box_open(b);
    *state = b;
    return 0;
}

/* So many batches of 20 KB, one each `every`: three to a segment. */
static void batches(struct box *b, uint32_t count, uint64_t every)
{
    for (uint32_t i = 0; i < count; i++) {
        char key[24];
        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(box_put_bytes(b, key, 20000).code, HF_OK);
        pass_in_steps(b, every, every);
    }
    box_forget(b);
}

static void the_log_goes_by_age_while_nobody_writes(void **state)
{
    struct box *b = *state;
    batches(b, 12, HOUR_MS);
    assert_int_equal(box_status(b).log_first, 1);
    pass_in_steps(b, 6 * DAY_MS, DAY_MS / 4);
    assert_int_equal(box_status(b).log_first, 1);
    pass_in_steps(b, 2 * DAY_MS, DAY_MS / 4);
    assert_int_equal(box_status(b).log_first, 10); /* the newest segment always stays */
    assert_string_equal(b->notes, "");
}

/* Else a restart would forget the age of what was written meanwhile. */
static void marks_that_a_commit_did_not_keep_are_kept_by_the_next(void **state)
{
    struct box *b = *state;
    box_put(b, "a", "1");
    box_commit(b);
    box_sync_error = EIO;
    pass_in_steps(b, 12 * HOUR_MS, HOUR_MS);
    assert_true(b->core->retention.unsaved);
    box_sync_error = 0;
    pass_in_steps(b, 2 * HOUR_MS, HOUR_MS);
    assert_false(b->core->retention.unsaved);
}

/* Or it would grow until the disk is full, and nobody know why. */
static void a_log_that_cannot_be_trimmed_is_noted_once(void **state)
{
    struct box *b = *state;
    char oldest[200];
    batches(b, 12, HOUR_MS);
    pass_in_steps(b, 6 * DAY_MS, DAY_MS / 4);
    snprintf(oldest, sizeof(oldest), "%s/log/0000000000000001.seg", b->dir);
    assert_int_equal(unlink(oldest), 0); /* somebody else's hands */
    pass_in_steps(b, 2 * DAY_MS, DAY_MS / 4);
    const char *note = strstr(b->notes, "retention: the log cannot be trimmed");
    assert_non_null(note);
    assert_null(strstr(note + 1, "retention:"));
}

static void a_clock_that_jumps_does_not_empty_the_log(void **state)
{
    struct box *b = *state;
    batches(b, 12, HOUR_MS);
    wall_ahead = 3650 * DAY_MS;
    pass_in_steps(b, 6 * HOUR_MS, HOUR_MS);
    assert_int_equal(box_status(b).log_first, 1);
    assert_non_null(strstr(b->notes, "the clock jumped ahead"));
    box_close(b);
    box_open(b); /* the clock is kept */
    pass_in_steps(b, HOUR_MS / 4, HOUR_MS / 4);
    assert_int_equal(box_status(b).log_first, 1);
    wall_ahead = 0; /* set right again: nothing goes before its time */
    batches(b, 3, HOUR_MS);
    pass_in_steps(b, HOUR_MS, HOUR_MS);
    assert_int_equal(box_status(b).log_first, 1);
    wall_ahead = 10 * DAY_MS; /* and a real week goes by faster, but does */
    pass_in_steps(b, 12 * HOUR_MS, HOUR_MS);
    assert_true(box_status(b).log_first > 1);
}

/* The ages are saved once, with a commit of their own if need be. */
static void a_core_that_nobody_writes_to_writes_nothing(void **state)
{
    struct box *b = *state;
    box_put(b, "a", "1");
    pass_in_steps(b, HOUR_MS, HOUR_MS / 4);
    uint64_t commits = box_counter(b, "commits");
    pass_in_steps(b, 2 * DAY_MS, HOUR_MS);
    assert_int_equal(box_counter(b, "commits"), commits);
}

/* ---- tombstones ---- */

static hf_seq delta_floor(struct box *b)
{
    return b->core->head.delta_floor;
}

static void tombstones_go_after_their_time(void **state)
{
    struct box *b = *state;
    uint8_t seed[32] = {9};
    struct hf_identity edge;
    assert_int_equal(hf_identity_from_seed(&edge, seed), HF_OK);
    struct hf_publisher_event ev = {.type = HF_PUB_EDGE, .now = b->now, .ok = true};
    struct hf_publisher_effects fx;
    hf_publisher_step(b->core->publisher, &ev, &fx); /* one edge, never heard of */
    box_put(b, "a", "1");
    box_put(b, "a", NULL);
    pass_in_steps(b, 29 * DAY_MS, DAY_MS);
    assert_int_equal(delta_floor(b), 0);
    pass_in_steps(b, 3 * DAY_MS, DAY_MS);
    assert_int_equal(delta_floor(b), 2);
    hf_identity_free(&edge);
}

/* A condition looks back as far as a request id is remembered, whoever has the tombstone. */
static void tombstones_that_every_edge_has_stay_for_conditions(void **state)
{
    struct box *b = *state;
    struct hf_publisher_effects fx;
    struct hf_publisher_event ev = {.type = HF_PUB_EDGE, .now = b->now, .ok = true};
    hf_publisher_step(b->core->publisher, &ev, &fx);
    box_put(b, "a", "1");
    box_put(b, "a", NULL);
    const struct hf_position *at = &b->core->head.at;
    struct hf_report r = {.epoch_id = at->epoch_id, .applied = 2, .digest = at->digest};
    ev = (struct hf_publisher_event){.type = HF_PUB_REPORT, .now = b->now, .report = &r};
    hf_publisher_step(b->core->publisher, &ev, &fx);
    assert_int_equal(hf_publisher_passed(b->core->publisher), 2);
    pass_in_steps(b, 2 * DAY_MS, DAY_MS / 4);
    assert_int_equal(delta_floor(b), 0);
}

static enum hf_err chain_of(struct box *b, hf_seq seq)
{
    struct hf_hash chain;
    struct hf_view *v;
    assert_int_equal(hf_view_open(b->core->writer.state, &v), HF_OK);
    enum hf_err e = hf_view_chain(v, seq, &chain);
    hf_view_close(v);
    return e;
}

/* Nobody can ask for what lies below the floor. They go with the collection after the next. */
static void chain_hashes_go_with_the_tombstones(void **state)
{
    struct box *b = *state;
    for (int i = 0; i < 2; i++) {
        box_put(b, "a", "1");
        box_put(b, "a", NULL);
        pass_in_steps(b, 32 * DAY_MS, DAY_MS);
    }
    assert_int_equal(delta_floor(b), 4);
    assert_int_equal(chain_of(b, 1), HF_NOTFOUND);
    assert_int_equal(chain_of(b, 4), HF_OK);
}

static void told(void *ctx, const struct hf_admin_result *r)
{
    assert_int_equal(r->code, HF_OK);
    ++*(int *)ctx;
}

/* Else a core would have all of them in memory, and put all of them again after each failure. */
static void facts_are_remembered_until_the_commit(void **state)
{
    struct box *b = *state;
    uint8_t seed[32] = {9};
    struct hf_identity edge;
    int done = 0;
    assert_int_equal(hf_identity_from_seed(&edge, seed), HF_OK);
    hf_core_edge_add(b->core, "lagos", &edge.public_key, told, &done);
    box_work(b);
    assert_int_equal(done, 1);
    assert_true(b->core->writer.facts.len > 0);
    box_pass(b, 1000);
    assert_int_equal(b->core->writer.facts.len, 0);
    hf_identity_free(&edge);
}

static void a_transfer_holds_tombstones_for_a_day(void **state)
{
    struct box *b = *state;
    struct hf_publisher_effects fx;
    struct hf_report r = {.epoch_id = b->core->head.at.epoch_id, .transfer_base = 1};
    struct hf_publisher_event ev = {.type = HF_PUB_EDGE, .now = b->now, .ok = true};
    hf_publisher_step(b->core->publisher, &ev, &fx);
    box_put(b, "a", "1");
    box_put(b, "a", NULL);
    pass_in_steps(b, 30 * DAY_MS - HOUR_MS, HOUR_MS * 12 - 400);
    ev = (struct hf_publisher_event){.type = HF_PUB_REPORT, .now = b->now, .report = &r};
    hf_publisher_step(b->core->publisher, &ev, &fx);
    pass_in_steps(b, 20 * HOUR_MS, HOUR_MS);
    assert_int_equal(delta_floor(b), 1);
    for (int i = 0; i < 10; i++) { /* it goes on reporting the same base: that is no reason */
        ev.now = b->now;
        hf_publisher_step(b->core->publisher, &ev, &fx);
        pass_in_steps(b, HOUR_MS, HOUR_MS);
    }
    assert_int_equal(delta_floor(b), 2);
}

/* The bases are only an edge's word: one that names another each hour cannot hold them for good. */
static void no_transfer_holds_tombstones_for_longer_than_that(void **state)
{
    struct box *b = *state;
    struct hf_publisher_effects fx;
    struct hf_report r = {.epoch_id = b->core->head.at.epoch_id};
    struct hf_publisher_event ev = {.type = HF_PUB_EDGE, .now = b->now, .ok = true};
    hf_publisher_step(b->core->publisher, &ev, &fx);
    for (int i = 0; i < 2; i++) {
        box_put(b, "a", "1");
        box_put(b, "a", NULL);
    }
    pass_in_steps(b, 28 * DAY_MS, DAY_MS);
    for (uint32_t i = 0; i < 5 * 24; i++) {
        r.transfer_base = 1 + i % 2;
        ev = (struct hf_publisher_event){.type = HF_PUB_REPORT, .now = b->now, .report = &r};
        hf_publisher_step(b->core->publisher, &ev, &fx);
        pass_in_steps(b, HOUR_MS, HOUR_MS);
    }
    assert_int_equal(delta_floor(b), 4);
}

/* ---- how near an edge is ---- */

static void an_edge_near_the_end_of_what_is_kept_is_told_apart(void **state)
{
    struct box *b = *state;
    b->core->cfg.log_bytes_max = 10 * 20000;
    struct hf_edge_row row = {.applied = 4, .head = 12, .lag_bytes = 8 * 20000, .lag_batches = 8};
    for (int i = 0; i < 12; i++) {
        box_put(b, "k", i % 2 == 0 ? "1" : "2");
    }
    assert_int_equal(hf_core_floor_of(b->core, &row), HF_FLOOR_NEAR_LOG);
    row.lag_bytes = 7 * 20000;
    assert_int_equal(hf_core_floor_of(b->core, &row), HF_FLOOR_CLEAR);
    pass_in_steps(b, 1000, 1000);
    pass_in_steps(b, 6 * DAY_MS, DAY_MS);
    assert_int_equal(hf_core_floor_of(b->core, &row), HF_FLOOR_NEAR_LOG); /* by age */
    row.applied = 12;
    assert_int_equal(hf_core_floor_of(b->core, &row), HF_FLOOR_CLEAR);
    row.applied = UINT64_MAX;
    assert_int_equal(hf_core_floor_of(b->core, &row), HF_FLOOR_UNKNOWN);
}

static enum hf_edge_floor floor_at(struct box *b, hf_seq applied)
{
    struct hf_edge_row row = {.applied = applied, .head = 12, .lag_batches = 12 - applied};
    return hf_core_floor_of(b->core, &row);
}

static void an_edge_below_the_log_or_the_delta_floor_is_told_apart(void **state)
{
    struct box *b = *state;
    batches(b, 12, HOUR_MS);
    assert_int_equal(floor_at(b, 0), HF_FLOOR_CLEAR); /* the log has all that it needs */
    pass_in_steps(b, 8 * DAY_MS, DAY_MS / 4);
    assert_int_equal(box_status(b).log_first, 10);
    b->core->cfg.log_age_ms = 0; /* nothing is near: only where it is counts */
    b->core->cfg.tombstone_ms = 0;
    b->core->head.delta_floor = 5;
    assert_int_equal(floor_at(b, 9), HF_FLOOR_CLEAR);
    assert_int_equal(floor_at(b, 8), HF_FLOOR_BELOW_LOG);
    assert_int_equal(floor_at(b, 5), HF_FLOOR_BELOW_LOG);
    assert_int_equal(floor_at(b, 4), HF_FLOOR_BELOW_DELTA);
}

/* ---- how long a step takes ---- */

static double clock_ms(void)
{
    return (double)standstill_clock_us() / 1000;
}

static void a_step_holds_the_writer_for_under_twenty_milliseconds(void **state)
{
    struct box *b = *state;
    double longest = 0;
    uint32_t steps = 0;
    batches(b, 240, 1000); /* 80 segments */
    b->core->cfg.log_bytes_max = 1;
    hf_core_on_tick(b->core, b->now += 10);
    for (;;) {
        double still = standstill_ms();
        double began = clock_ms();
        if (!box_step(b)) {
            break;
        }
        double took = clock_ms() - began;
        took -= standstill_ms() - still;
        longest = took > longest ? took : longest;
        steps++;
    }
    assert_true(steps >= 70);
    assert_true(box_status(b).log_first > 230);
    print_message("trimming: %u steps, the longest took %.2f ms\n", steps, longest);
    assert_true(longest < STEP_MS_MAX * 5); /* a shared disk may have a moment of its own */
}

static void a_step_of_collecting_is_short_too(void **state)
{
    struct box *b = *state;
    double longest = 0;
    for (int put = 1; put >= 0; put--) {
        for (int i = 0; i < 10000; i += 1) {
            char key[24];
            struct box_write bw = {.done = false};
            snprintf(key, sizeof(key), "key-%d", i);
            box_add(&bw, key, put ? "value" : NULL);
            box_send(b, &bw);
            hf_core_flush(b->core);
            box_work(b);
            box_forget(b);
        }
    }
    box_commit(b);
    bool again = true;
    uint32_t steps = 0;
    while (again) {
        double still = standstill_ms();
        double began = clock_ms();
        assert_int_equal(hf_state_collect(b->core->writer.state, 20000, 2000, &again), HF_OK);
        double took = clock_ms() - began;
        took -= standstill_ms() - still;
        longest = took > longest ? took : longest;
        steps++;
    }
    print_message("collecting: %u steps of 2,000 tombstones, the longest took %.2f ms\n", steps,
                  longest);
    assert_true(steps > 4 && longest < STEP_MS_MAX * 5);
    hf_state_abort(b->core->writer.state);
    b->core->writer.broken = true;
}

#define AGED(name) cmocka_unit_test_setup_teardown(name, aged_setup, box_teardown)

int main(void)
{
    standstill_watch();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_age_clock_follows_the_wall_clock),
        cmocka_unit_test(a_clock_that_jumps_ahead_ages_by_a_day_each_hour),
        cmocka_unit_test(a_clock_that_jumps_back_ages_nothing_and_goes_on_when_it_is_right),
        cmocka_unit_test(no_batch_looks_older_than_it_is_after_marks_were_thinned),
        AGED(the_log_goes_by_age_while_nobody_writes),
        AGED(marks_that_a_commit_did_not_keep_are_kept_by_the_next),
        AGED(a_log_that_cannot_be_trimmed_is_noted_once),
        AGED(a_clock_that_jumps_does_not_empty_the_log),
        AGED(a_core_that_nobody_writes_to_writes_nothing),
        AGED(tombstones_go_after_their_time),
        AGED(tombstones_that_every_edge_has_stay_for_conditions),
        AGED(chain_hashes_go_with_the_tombstones),
        AGED(facts_are_remembered_until_the_commit),
        AGED(a_transfer_holds_tombstones_for_a_day),
        AGED(no_transfer_holds_tombstones_for_longer_than_that),
        AGED(an_edge_near_the_end_of_what_is_kept_is_told_apart),
        AGED(an_edge_below_the_log_or_the_delta_floor_is_told_apart),
        AGED(a_step_holds_the_writer_for_under_twenty_milliseconds),
        AGED(a_step_of_collecting_is_short_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
