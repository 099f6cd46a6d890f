/*
 * test_ahead.c - frames that the edge's driver applies without a commit: who sees them, and what
 * becomes of them when something else needs the store.
 */
#include "edge_box.h"

#include "edge/driver_impl.h"

static uint32_t applications;
static enum hf_err refusal; /* of the next one */

enum hf_err __real_hf_state_apply_batch(struct hf_state *s, const struct hf_frame *f,
                                        struct hf_body *body);
enum hf_err __wrap_hf_state_apply_batch(struct hf_state *s, const struct hf_frame *f,
                                        struct hf_body *body);

enum hf_err __wrap_hf_state_apply_batch(struct hf_state *s, const struct hf_frame *f,
                                        struct hf_body *body)
{
    enum hf_err e = refusal;
    applications++;
    refusal = HF_OK;
    return e == HF_OK ? __real_hf_state_apply_batch(s, f, body) : e;
}

/* The store is slow: each of its jobs takes 10 ms. */
static void slow_jobs(struct rig *rig)
{
    for (struct hf_job *job; (job = rig_next_job(rig)) != NULL;) {
        job->work(job);
        rig->now += 10;
        job->done(job);
    }
}

static void stream(struct rig *rig, hf_seq first, hf_seq last)
{
    for (hf_seq seq = first; seq <= last; seq++) {
        rig_stream(rig, seq);
    }
}

/* 4 of 12 frames are applied, and the store rests. */
static struct rig *resting(void **state)
{
    struct rig *rig = *state;
    rig->cfg.replica.ahead_frames_min = 3;
    applications = 0;
    rig_start(rig);
    rig_connect(rig);
    rig_puts(rig, 0, 12);
    stream(rig, 1, 4);
    slow_jobs(rig);
    assert_int_equal(rig_status(rig).applied, 4);
    return rig;
}

/* And 5 to 7 are applied ahead. */
static struct rig *ahead(void **state)
{
    struct rig *rig = resting(state);
    stream(rig, 5, 7);
    rig_jobs(rig);
    assert_int_equal(rig_status(rig).held_ahead, 3);
    assert_int_equal(rig_status(rig).applied, 4);
    assert_int_equal(applications, 7);
    return rig;
}

static hf_seq shown(struct rig *rig)
{
    struct hf_view *v;
    struct hf_applied a;
    assert_ok(hf_view_open(hf_edge_state(rig->edge), &v));
    hf_view_applied(v, &a);
    hf_view_close(v);
    return a.at.seq;
}

/* Of the transfer that is staged. */
static enum hf_plan_kind plan_of(struct rig *rig)
{
    struct hf_stage stage;
    hf_state_stage_get(hf_edge_state(rig->edge), &stage);
    return stage.active ? stage.kind : HF_PLAN_NONE;
}

static void assert_level(struct rig *rig)
{
    rig_pass(rig, 1000);
    assert_int_equal(rig_status(rig).applied, 12);
    assert_int_equal(rig->published, 12);
    assert_same_contents(rig->core->s, hf_edge_state(rig->edge));
    assert_verified(hf_edge_state(rig->edge));
}

static uint64_t changes_of(struct rig *rig)
{
    struct hf_edge_info info;
    hf_edge_info(rig->edge, &info);
    return info.applied_changes;
}

static void readers_see_them_with_their_commit(void **state)
{
    struct rig *rig = ahead(state);
    assert_int_equal(shown(rig), 4);
    assert_int_equal(rig->published, 4);
    assert_int_equal(changes_of(rig), 4);
    rig_tick(rig, 50);
    assert_int_equal(rig_status(rig).applied, 7);
    assert_int_equal(shown(rig), 7);
    assert_int_equal(rig->published, 7);
    assert_int_equal(changes_of(rig), 7);
    assert_int_equal(applications, 7);
    stream(rig, 8, 12);
    assert_level(rig);
    assert_int_equal(changes_of(rig), 12);
}

/* A repair allows frames up to a seq below what is open. The engine orders such a run when a reply
 * to RANGES says so; here it comes from nowhere. */
static void a_shorter_run_undoes_them(void **state)
{
    struct rig *rig = ahead(state);
    struct hf_replica_effect fx = {.type = HF_REPFX_APPLY, .first = 5, .last = 6, .commit = true};
    storing_order(rig->edge, &fx);
    struct hf_job *job = rig_next_job(rig);
    job->work(job);
    assert_int_equal(shown(rig), 6);
    assert_verified(hf_edge_state(rig->edge));
    hf_edge_abandon(rig->edge); /* the engine did not order it */
    job->done(job);
}

/* The engine no longer counts on them, but the store has them still. */
static void a_comparison_that_comes_to_nothing_does_not_undo_them(void **state)
{
    struct rig *rig = *state;
    rig->cfg.replica.hold_ms = 1000000; /* that would undo them */
    rig = ahead(state);
    hf_edge_repair(rig->edge, false);
    rig_tick(rig, 100);
    assert_int_equal(rig_status(rig).held_ahead, 0);
    assert_int_equal(shown(rig), 4);
    for (int i = 0; i < 100 && rig_status(rig).applied < 7; i++) {
        rig_tick(rig, 100); /* no answer comes */
    }
    assert_int_equal(shown(rig), 7);
    assert_int_equal(applications, 7);
}

static void a_refusal_ahead_is_met_by_trying_again(void **state)
{
    static const enum hf_err refusals[] = {HF_FULL, HF_IO, HF_MAP_FULL};
    struct rig *rig = resting(state);
    for (uint32_t i = 0; i < 3; i++) {
        rig_pass(rig, 1000);
        hf_seq first = rig_status(rig).applied + 1;
        rig_puts(rig, 12 + 7 * i, 7);
        stream(rig, first, first + 3);
        slow_jobs(rig); /* and then it rests */
        refusal = refusals[i];
        stream(rig, first + 4, first + 6);
        rig_jobs(rig);
        assert_int_equal(refusal, HF_OK); /* it was met */
        assert_int_equal(rig_status(rig).applied, first + 3);
        rig_pass(rig, 1000);
        assert_int_equal(rig_status(rig).applied, first + 6);
        assert_int_equal(rig_status(rig).store_state, HF_STORE_OK);
        assert_verified(hf_edge_state(rig->edge));
    }
}

static void a_crash_undoes_them(void **state)
{
    struct rig *rig = ahead(state);
    rig_crash(rig);
    rig_start(rig);
    assert_int_equal(rig_status(rig).applied, 4);
    assert_int_equal(shown(rig), 4);
    rig_connect(rig);
    assert_level(rig);
}

/* A new content key comes with a HELLO, whose facts are committed. */
static void what_a_hello_brings_is_committed_without_them(void **state)
{
    struct rig *rig = ahead(state);
    rig_add_key(rig);
    rig->keys_given = 2;
    rig_put(rig, "new", "key");
    rig_stream(rig, 13);
    rig_jobs(rig);
    assert_int_equal(rig->request_count, 1);
    struct asked *a = rig_take(rig);
    rig_answer(rig, a);
    asked_free(a);
    for (struct hf_job *job; (job = rig_next_job(rig)) != NULL;) {
        job->work(job);
        assert_in_range(shown(rig), 4, rig_status(rig).applied); /* nothing before it is told */
        job->done(job);
    }
    stream(rig, 8, 12);
    rig_pass(rig, 1000);
    assert_int_equal(rig_status(rig).applied, 13);
    assert_verified(hf_edge_state(rig->edge));
}

static void a_transfer_begins_without_them(void **state)
{
    struct rig *rig = *state;
    rig->cfg.replica.plan_batches = 1;
    rig->cfg.replica.gap_ms = 1;
    rig = ahead(state);
    rig->log_floor = 11;
    rig->plan = HF_PLAN_DELTA;
    rig_stream(rig, 12); /* 8 to 11 are lost, and no longer in the log */
    rig_jobs(rig);
    struct asked *plan = rig_take(rig);
    assert_non_null(plan);
    rig_answer(rig, plan);
    asked_free(plan);
    assert_int_equal(plan_of(rig), HF_PLAN_NONE);
    assert_int_equal(rig_status(rig).held_ahead, 3);
    rig_jobs(rig);
    assert_int_equal(plan_of(rig), HF_PLAN_DELTA);
    assert_int_equal(rig_status(rig).held_ahead, 0);
    assert_int_equal(shown(rig), 4);
    struct hf_view *v;
    assert_ok(hf_view_open(hf_edge_state(rig->edge), &v));
    assert_level(rig);
    assert_true(rig->wants[HF_WANT_DELTA] > 0);
    hf_view_close(v);
}

/* The map is too small for what is applied ahead: all of the run is done again in a larger one. */
static void a_full_map_grows_in_the_middle_of_a_run(void **state)
{
    struct rig *rig = *state;
    static char large[60000];
    memset(large, 'x', sizeof(large) - 1);
    rig->cfg.map_bytes = 1u << 20;
    rig->cfg.replica.ahead_frames_min = 1;
    rig_start(rig);
    rig_connect(rig);
    rig_puts(rig, 0, 4);
    stream(rig, 1, 4);
    slow_jobs(rig);
    for (hf_seq seq = 5; seq <= 44; seq++) {
        char key[16];
        snprintf(key, sizeof(key), "large/%d", (int)seq);
        rig_put(rig, key, large);
        rig_stream(rig, seq);
        rig_jobs(rig);
    }
    assert_true(rig_status(rig).held_ahead > 20);
    assert_int_equal(shown(rig), 4);
    rig_pass(rig, 1000);
    assert_int_equal(rig_status(rig).applied, 44);
    assert_int_equal(rig_status(rig).bad_frames, 0);
    assert_same_contents(rig->core->s, hf_edge_state(rig->edge));
    assert_verified(hf_edge_state(rig->edge));
}

/* The core signs another frame: one whose digest is not that of its changes, or one of another
 * history. */
static void lie_at(struct rig *rig, hf_seq seq, bool fork)
{
    struct hf_id stream;
    struct hf_frame f;
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_writer header;
    struct hf_writer out;
    assert_ok(hf_frame_decode(rig_frame(rig, seq), &stream, &f));
    f.h.digest.b[0] ^= !fork;
    f.h.prev.b[0] ^= fork;
    hf_writer_init(&header, bytes, sizeof(bytes));
    hf_header_encode(&f.h, &header);
    hf_header_sign(hf_writer_bytes(&header), rig->core_id.secret, &f.signature);
    uint8_t *lie = malloc(rig->frame_len[seq]);
    hf_writer_init(&out, lie, rig->frame_len[seq]);
    hf_frame_encode(&stream, hf_writer_bytes(&header), &f.signature, f.body, &out);
    assert_false(out.failed);
    free(rig->frame[seq]);
    rig->frame[seq] = lie;
}

static void those_before_a_false_digest_are_kept(void **state)
{
    struct rig *rig = resting(state);
    lie_at(rig, 10, false);
    stream(rig, 5, 7);
    rig_jobs(rig);
    assert_int_equal(rig_status(rig).held_ahead, 3);
    stream(rig, 8, 10);
    rig_jobs(rig);
    assert_int_equal(rig_status(rig).applied, 9);
    assert_int_equal(shown(rig), 9);
    assert_int_equal(rig_status(rig).state, HF_REPLICA_DIVERGED);
    assert_verified(hf_edge_state(rig->edge));
}

static void the_proof_of_a_fork_is_kept_without_them(void **state)
{
    struct rig *rig = ahead(state);
    lie_at(rig, 8, true);
    stream(rig, 8, 8);
    rig_jobs(rig);
    assert_int_equal(rig_status(rig).state, HF_REPLICA_DIVERGED);
    assert_int_equal(rig_evidence(rig), 1);
    assert_int_equal(shown(rig), 4);
    assert_int_equal(rig_status(rig).applied, 4);
    assert_verified(hf_edge_state(rig->edge));
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(readers_see_them_with_their_commit),
        T(a_comparison_that_comes_to_nothing_does_not_undo_them),
        T(a_refusal_ahead_is_met_by_trying_again),
        T(a_crash_undoes_them),
        T(a_shorter_run_undoes_them),
        T(what_a_hello_brings_is_committed_without_them),
        T(a_transfer_begins_without_them),
        T(a_full_map_grows_in_the_middle_of_a_run),
        T(those_before_a_false_digest_are_kept),
        T(the_proof_of_a_fork_is_kept_without_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
