/*
 * test_edge_restart.c - what an edge knows after a crash of what it was about.
 *
 * The process dies at an awkward moment and another one opens the same directory. That data and
 * position are there is tested elsewhere (test_edge.c); here it is what status shows, and what is
 * done without being told again.
 */
#include "edge_box.h"

#define PLAN_BYTES 40000u

/* Answers requests until so many for `want` were answered, and leaves the next ones unanswered. */
static void answer_some(struct rig *rig, enum hf_want want, uint32_t count)
{
    for (int i = 0; i < 500 && rig->wants[want] < count; i++) {
        rig_answer_one(rig);
        rig_jobs(rig);
    }
    assert_int_equal(rig->wants[want], count);
}

/* What was staged is committed meanwhile. */
static void pass_in_silence(struct rig *rig)
{
    for (int i = 0; i < 60; i++) {
        rig_tick(rig, 10);
    }
}

static void transfer_shows_its_total_and_an_eta_after_a_crash(void **state)
{
    struct rig *rig = *state;
    rig->plan_bytes = PLAN_BYTES;
    rig->chunk_bytes = 60;
    rig_begin_snapshot(rig);
    answer_some(rig, HF_WANT_KEYS, 3);
    pass_in_silence(rig);
    struct hf_replica_status before = rig_status(rig);
    assert_int_equal(before.transfer_total, PLAN_BYTES);
    assert_in_range(before.transfer_done, 600, PLAN_BYTES / 2);
    rig_crash(rig);
    rig_start(rig);
    hf_ms began = rig->now;
    struct hf_replica_status after = rig_status(rig);
    assert_int_equal(after.transfer_total, PLAN_BYTES);
    assert_int_equal(after.transfer_done, before.transfer_done);
    assert_true(after.transfer_eta_ms == UINT64_MAX); /* at what speed? */
    hf_edge_on_link(rig->edge, HF_CHANNEL_STREAM, true);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
    answer_some(rig, HF_WANT_KEYS, 5);
    after = rig_status(rig);
    assert_true(after.transfer_done > before.transfer_done);
    assert_int_equal(after.transfer_total, PLAN_BYTES);
    uint64_t rest = PLAN_BYTES - after.transfer_done;
    uint64_t came = after.transfer_done - before.transfer_done; /* at the speed of this start */
    assert_int_equal(after.transfer_eta_ms, rest * (uint64_t)(rig->now - began) / came);
}

/* What was not committed comes again, and is counted once. */
static void what_went_with_the_crash_is_not_counted_as_done(void **state)
{
    struct rig *rig = *state;
    rig->plan_bytes = PLAN_BYTES;
    rig->chunk_bytes = 60;
    rig_begin_snapshot(rig);
    answer_some(rig, HF_WANT_KEYS, 2);
    pass_in_silence(rig);
    uint64_t saved = rig_status(rig).transfer_done;
    answer_some(rig, HF_WANT_KEYS, 4);
    assert_true(rig_status(rig).transfer_done > saved);
    rig_crash(rig);
    rig_start(rig);
    assert_int_equal(rig_status(rig).transfer_done, saved);
}

/* Compared with the core after a start at which nobody said a word. */
static bool compares(struct rig *rig)
{
    rig->refuse = HF_BUSY;
    rig->wants[HF_WANT_RANGES] = 0;
    rig_connect(rig);
    rig_pass(rig, 1000);
    rig->refuse = HF_OK;
    return rig->wants[HF_WANT_RANGES] > 0;
}

static struct rig *at_batch_3(void **state)
{
    struct rig *rig = *state;
    rig_start(rig);
    rig_connect(rig);
    rig_puts(rig, 0, 3);
    rig_beacon(rig);
    rig_pass(rig, 500);
    assert_int_equal(rig_status(rig).applied, 3);
    return rig;
}

static void damage_is_remembered_by_the_store(void **state)
{
    struct rig *rig = at_batch_3(state);
    rig_crash(rig);
    rig_start(rig);
    assert_false(compares(rig));
    hf_edge_repair(rig->edge, true);
    rig_crash(rig);
    rig_start(rig);
    assert_true(compares(rig));
    rig_crash(rig);
    rig_start(rig);
    assert_true(compares(rig));
}

static void put_long(struct rig *rig, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        char key[32], value[2000];
        snprintf(key, sizeof(key), "key/%u", i);
        memset(value, 'a' + (int)(i % 26), sizeof(value) - 1);
        value[sizeof(value) - 1] = '\0';
        rig_put(rig, key, value);
    }
    rig->log_floor = first + count - 10;
    rig_beacon(rig);
}

/* The core cannot compare, and no plan says where to cut what is then fetched anew: the keys that
 * are there do. A plan that cuts nothing is taken at its word, before and after. */
static void what_replaces_a_damaged_state_comes_in_parts(void **state)
{
    struct rig *rig = *state;
    rig->plan = HF_PLAN_SNAPSHOT;
    rig_start(rig);
    rig_connect(rig);
    put_long(rig, 0, 100);
    assert_int_equal(rig_transfer(rig), 1);
    rig->refuse = HF_NOTFOUND;
    hf_edge_repair(rig->edge, true);
    while (strstr(rig->notes, "cannot be repaired in place") == NULL) {
        assert_true(rig->now < 100000);
        rig_pass(rig, 100);
    }
    rig->refuse = HF_OK;
    assert_in_range(rig_transfer(rig), 3, 32);
    assert_same_contents(rig->core->s, hf_edge_state(rig->edge));
    put_long(rig, 100, 20);
    assert_int_equal(rig_transfer(rig), 1);
    assert_same_contents(rig->core->s, hf_edge_state(rig->edge));
}

/* The core has another batch 3, and nothing above it: no frame will ever show that. */
static void fork_that_only_a_beacon_shows_is_kept_as_evidence(void **state)
{
    struct rig *rig = at_batch_3(state);
    assert_int_equal(rig_evidence(rig), 0);
    rig->forked = true;
    for (int i = 0; i < 3; i++) {
        rig_beacon(rig);
        rig_jobs(rig);
    }
    assert_int_equal(rig_status(rig).state, HF_REPLICA_DIVERGED);
    assert_int_equal(rig_evidence(rig), 1);
    rig_crash(rig);
    rig_start(rig);
    assert_int_equal(rig_evidence(rig), 1);
}

/* Records, digest and position are as they were, so there is nothing to begin anew for. */
static void a_content_key_that_cannot_be_read_is_given_again(void **state)
{
    struct rig *rig = at_batch_3(state);
    struct hf_state *s = hf_edge_state(rig->edge);
    assert_ok(hf_state_object_put(s, hf_slice_str("ckey/1234"), hf_slice_str("no key")));
    assert_ok(hf_state_object_del(s, hf_slice_of("ckey/\0\0\0\1", 9)));
    assert_ok(hf_state_commit(s));
    rig_crash(rig);
    rig_start(rig);
    assert_non_null(strstr(rig->notes, "content keys cannot be read"));
    assert_int_equal(rig_status(rig).applied, 3);
    rig_connect(rig);
    rig_stream(rig, rig_put(rig, "a", "1"));
    rig_pass(rig, 500);
    assert_int_equal(rig_status(rig).applied, 4);
}

static bool inbox_is_damaged;

enum hf_err __real_hf_state_inbox_del(struct hf_state *s, hf_seq first, hf_seq last);
enum hf_err __wrap_hf_state_inbox_del(struct hf_state *s, hf_seq first, hf_seq last);

enum hf_err __wrap_hf_state_inbox_del(struct hf_state *s, hf_seq first, hf_seq last)
{
    return inbox_is_damaged ? HF_CORRUPT : __real_hf_state_inbox_del(s, first, last);
}

/* None of the batches is to blame, so there is no first bad one to stop before. */
static void a_damaged_inbox_stops_the_edge_where_it_is(void **state)
{
    struct rig *rig = at_batch_3(state);
    rig_puts(rig, 3, 5);
    inbox_is_damaged = true;
    for (hf_seq seq = 4; seq <= 8; seq++) {
        rig_stream(rig, seq);
    }
    rig_jobs(rig);
    inbox_is_damaged = false;
    rig_pass(rig, 1000);
    assert_int_equal(rig_status(rig).applied, 3);
    assert_int_equal(rig_status(rig).state, HF_REPLICA_DIVERGED);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(transfer_shows_its_total_and_an_eta_after_a_crash),
        T(what_went_with_the_crash_is_not_counted_as_done),
        T(damage_is_remembered_by_the_store),
        T(what_replaces_a_damaged_state_comes_in_parts),
        T(fork_that_only_a_beacon_shows_is_kept_as_evidence),
        T(a_content_key_that_cannot_be_read_is_given_again),
        T(a_damaged_inbox_stops_the_edge_where_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
