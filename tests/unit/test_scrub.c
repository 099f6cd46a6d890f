/*
 * test_scrub.c - a scrub reads everything once in its period, slowly, and says what is damaged.
 *
 * The world is a clock that the test moves; a job runs when the test says so.
 */
#include "stage_box.h"

#include "hf/scrub.h"

#define HOUR (3600 * 1000)

struct rig {
    struct box *b;
    struct hf_world world;
    struct hf_scrub *s;
    hf_ms now;
    hf_ms due;
    struct hf_job *job;
    uint64_t random;
    uint64_t damaged;
    char first[64];
    uint32_t steps;
};

static hf_ms rig_now(void *ctx)
{
    return ((struct rig *)ctx)->now;
}

static void rig_random(void *ctx, void *buffer, size_t len)
{
    assert_true(len <= sizeof(uint64_t));
    memcpy(buffer, &((struct rig *)ctx)->random, len);
}

static void rig_run(void *ctx, enum hf_lane lane, struct hf_job *job)
{
    struct rig *r = ctx;
    assert_int_equal(lane, HF_LANE_POOL);
    assert_null(r->job);
    r->job = job;
}

static void rig_wake(void *ctx, hf_ms when)
{
    ((struct rig *)ctx)->due = when;
}

static void rig_damage(void *ctx, uint64_t count, struct hf_slice key)
{
    struct rig *r = ctx;
    r->damaged += count;
    snprintf(r->first, sizeof(r->first), "%.*s", (int)key.len, (const char *)key.data);
}

static void rig_open(struct rig *r, struct box *b, hf_ms period)
{
    struct hf_scrub_config c = {.world = &r->world,
                                .state = b->edge.s,
                                .period_ms = period,
                                .ctx = r,
                                .on_damage = rig_damage};
    r->b = b;
    r->now = 1000;
    r->world = (struct hf_world){
        .ctx = r, .now = rig_now, .random = rig_random, .run = rig_run, .wake_at = rig_wake};
    r->s = hf_scrub_new(&c);
    assert_non_null(r->s);
}

/* One step, at the time that it is due. */
static void rig_step(struct rig *r)
{
    hf_ms at = hf_scrub_tick(r->s, r->now);
    assert_true(at < INT64_MAX && r->job == NULL);
    r->now = at;
    assert_int_equal(hf_scrub_tick(r->s, r->now), INT64_MAX);
    assert_true(hf_scrub_busy(r->s) && r->job != NULL);
    struct hf_job *job = r->job;
    r->job = NULL;
    job->work(job);
    job->done(job);
    r->steps++;
}

static struct hf_scrub_status status_of(struct rig *r)
{
    struct hf_scrub_status s;
    hf_scrub_status(r->s, &s);
    return s;
}

/* 2,000 keys of 300 bytes. */
static void write_keys(struct box *b)
{
    static char value[300];
    static char keys[20][16];
    fill(value, sizeof(value), 'v');
    for (int i = 0; i < 100; i++) {
        struct hf_change c[20];
        for (int k = 0; k < 20; k++) {
            snprintf(keys[k], sizeof(keys[k]), "k%04d", i * 20 + k);
            c[k] = put_of(keys[k], value);
        }
        core_batch(b->core, c, 20);
    }
    core_put(b->core, "k0777", "the one that is damaged");
    apply_log(b, core_head(b));
}

static void everything_is_read_once_in_the_period(void **state)
{
    struct rig r = {.random = 0};
    write_keys(*state);
    rig_open(&r, *state, HOUR);
    hf_ms began = r.now;
    do {
        rig_step(&r);
        assert_true(r.due - r.now >= 64);
    } while (status_of(&r).rounds == 0);
    assert_int_equal(status_of(&r).records, 2000);
    assert_int_equal(status_of(&r).errors, 0);
    assert_in_range(r.steps, 8, 20);
    assert_in_range(r.due - began, HOUR / 2, HOUR * 11 / 10);
    hf_scrub_free(r.s);
}

/* However short the period is. */
static void no_more_than_a_megabyte_a_second_is_read(void **state)
{
    struct rig r = {.random = 0};
    write_keys(*state);
    rig_open(&r, *state, 1);
    for (int i = 0; i < 100; i++) {
        hf_ms from = r.now;
        rig_step(&r);
        assert_true(i == 0 || r.now - from >= 64);
    }
    hf_scrub_free(r.s);
}

/* A daemon that never lives for a period reads all of it all the same. */
static void the_first_round_begins_anywhere(void **state)
{
    write_keys(*state);
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    for (uint64_t i = 0; i < 20; i++) {
        struct rig r = {.random = i * 97};
        rig_open(&r, *state, HOUR);
        while (status_of(&r).rounds == 0) {
            rig_step(&r);
        }
        uint64_t n = status_of(&r).records;
        least = n < least ? n : least;
        most = n > most ? n : most;
        while (status_of(&r).rounds == 1) {
            rig_step(&r);
        }
        assert_int_equal(status_of(&r).records - n, 2000);
        hf_scrub_free(r.s);
    }
    assert_true(least < 500 && most > 1500);
}

static void damage_is_told_each_time_it_is_met_and_does_not_stop_the_scrub(void **state)
{
    struct box *b = *state;
    struct rig r = {.random = 0};
    write_keys(b);
    hf_state_close(b->edge.s);
    assert_true(damage(b->edge.dir, "the one that is damaged", true) > 0);
    b->edge.s = open_store(b->edge.dir);
    rig_open(&r, b, HOUR);
    while (status_of(&r).rounds < 2) {
        rig_step(&r);
    }
    assert_int_equal(r.damaged, 2);
    assert_string_equal(r.first, "k0777");
    assert_int_equal(status_of(&r).errors, 2);
    assert_int_equal(status_of(&r).records, 4000);
    hf_scrub_free(r.s);
}

static void an_empty_store_and_a_period_of_0_are_left_alone(void **state)
{
    struct rig r = {.random = 5};
    rig_open(&r, *state, 0);
    assert_int_equal(hf_scrub_tick(r.s, r.now), INT64_MAX);
    hf_scrub_free(r.s);
    rig_open(&r, *state, HOUR);
    for (int i = 0; i < 3; i++) {
        rig_step(&r);
    }
    assert_int_equal(status_of(&r).rounds, 3);
    assert_true(r.due - r.now >= HOUR / 2);
    hf_scrub_free(r.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_BOX(everything_is_read_once_in_the_period),
        IN_BOX(no_more_than_a_megabyte_a_second_is_read),
        IN_BOX(the_first_round_begins_anywhere),
        IN_BOX(damage_is_told_each_time_it_is_met_and_does_not_stop_the_scrub),
        IN_BOX(an_empty_store_and_a_period_of_0_are_left_alone),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
