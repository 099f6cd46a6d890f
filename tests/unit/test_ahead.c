/*
 * test_ahead.c - frames that the edge's driver applies without a commit: who sees them, and what
 * becomes of them when something else needs the store.
 */
#include "edge_box.h"

#include "edge/driver_impl.h"

/* The store is slow: each of its jobs takes 10 ms. */
static void slow_jobs(struct rig *rig)
{
    while (rig->jobs != NULL) {
        struct hf_job *job = rig->jobs;
        rig->jobs = job->next;
        if (rig->jobs == NULL) {
            rig->jobs_end = &rig->jobs;
        }
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
    rig->cfg.replica.ahead_frames_min = 2;
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
    assert_in_range(rig_status(rig).held_ahead, 2, 3);
    assert_int_equal(rig_status(rig).applied, 4);
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
    struct hf_job *job = rig->jobs;
    rig->jobs = NULL;
    rig->jobs_end = &rig->jobs;
    job->work(job);
    assert_int_equal(shown(rig), 6);
    assert_verified(hf_edge_state(rig->edge));
    hf_edge_abandon(rig->edge); /* the engine did not order it */
    job->done(job);
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
    for (struct hf_job *job = rig->jobs; job != NULL; job = rig->jobs) {
        rig->jobs = job->next;
        rig->jobs_end = rig->jobs == NULL ? &rig->jobs : rig->jobs_end;
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
    struct rig *rig = ahead(state);
    rig->log_floor = 11;
    rig->plan = HF_PLAN_DELTA;
    rig_stream(rig, 12); /* 8 to 11 are lost, and no longer in the log */
    rig_jobs(rig);
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

/* The core signed a digest that is not that of its changes. */
static void lie_at(struct rig *rig, hf_seq seq)
{
    struct hf_id stream;
    struct hf_frame f;
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_writer header;
    struct hf_writer out;
    assert_ok(hf_frame_decode(rig_frame(rig, seq), &stream, &f));
    f.h.digest.b[0] ^= 1;
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
    lie_at(rig, 8);
    stream(rig, 5, 6);
    rig_jobs(rig);
    assert_int_equal(rig_status(rig).held_ahead, 2);
    stream(rig, 7, 8);
    rig_jobs(rig);
    assert_int_equal(rig_status(rig).applied, 7);
    assert_int_equal(shown(rig), 7);
    assert_int_equal(rig_status(rig).state, HF_REPLICA_DIVERGED);
    assert_verified(hf_edge_state(rig->edge));
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(readers_see_them_with_their_commit),
        T(a_crash_undoes_them),
        T(a_shorter_run_undoes_them),
        T(what_a_hello_brings_is_committed_without_them),
        T(a_transfer_begins_without_them),
        T(a_full_map_grows_in_the_middle_of_a_run),
        T(those_before_a_false_digest_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
