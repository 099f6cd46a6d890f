/*
 * test_tables.c - objects, inbox, answered requests, tombstones, chain.
 *
 * What they share is that they are kept beside the records and bounded by floors and windows.
 */
#include "state_fixture.h"

#include <lmdb.h>

/* ---- the small tables ---- */

static void objects_are_kept_found_and_listed_by_prefix(void **state)
{
    struct store *b = *state;
    const char *names[] = {"edge", "edge/a", "edge/b", "edgf", "zone"};
    struct hf_view *v;
    struct hf_slice name = {NULL, 0};
    struct hf_slice bytes;
    for (size_t i = 0; i < 5; i++) {
        assert_ok(hf_state_object_put(b->s, hf_slice_str(names[i]), hf_slice_str(names[4 - i])));
    }
    assert_ok(hf_state_object_put(b->s, hf_slice_str("zone"), hf_slice_of(NULL, 0)));
    assert_ok(hf_state_object_del(b->s, hf_slice_str("edgf")));
    assert_int_equal(hf_state_object_del(b->s, hf_slice_str("edgf")), HF_NOTFOUND);
    assert_int_equal(hf_state_object_put(b->s, hf_slice_of(NULL, 0), bytes = name), HF_ARG);
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    assert_ok(hf_view_object(v, hf_slice_str("edge"), &bytes));
    assert_true(hf_slice_eq(bytes, hf_slice_str("zone")));
    assert_ok(hf_view_object(v, hf_slice_str("zone"), &bytes));
    assert_int_equal(bytes.len, 0);
    assert_int_equal(hf_view_object(v, hf_slice_str("edgf"), &bytes), HF_NOTFOUND);
    struct hf_slice prefix = hf_slice_str("edge/");
    assert_ok(hf_view_next_object(v, prefix, name, &name, &bytes));
    assert_true(hf_slice_eq(name, hf_slice_str("edge/a")));
    assert_ok(hf_view_next_object(v, prefix, name, &name, &bytes));
    assert_true(hf_slice_eq(name, hf_slice_str("edge/b")));
    assert_int_equal(hf_view_next_object(v, prefix, name, &name, &bytes), HF_NOTFOUND);
    int all = 0;
    for (name.len = 0;
         hf_view_next_object(v, hf_slice_of(NULL, 0), name, &name, &bytes) == HF_OK;) {
        all++;
    }
    assert_int_equal(all, 4);
    hf_view_close(v);
}

static void inbox_keeps_frames_by_seq_until_they_are_deleted(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    struct hf_slice m;
    hf_seq seq;
    for (hf_seq i = 5; i <= 9; i++) {
        assert_ok(hf_state_inbox_put(b->s, i * 100, hf_slice_of(&i, sizeof(i))));
    }
    assert_ok(hf_state_inbox_del(b->s, 1, 600));
    assert_ok(hf_state_inbox_del(b->s, 850, 899));
    assert_ok(hf_state_commit(b->s));
    store_reopen(b);
    assert_ok(hf_view_open(b->s, &v));
    assert_ok(hf_view_inbox_next(v, 0, &seq, &m));
    assert_int_equal(seq, 700);
    assert_int_equal(m.len, 8);
    assert_int_equal(m.data[0], 7);
    assert_ok(hf_view_inbox_next(v, 701, &seq, &m));
    assert_int_equal(seq, 800);
    assert_int_equal(m.data[0], 8);
    assert_int_equal(hf_view_inbox_next(v, 901, &seq, &m), HF_NOTFOUND);
    hf_view_close(v);
}

/* Puts the position at seq without 100,000 batches: by a header that says so. */
static void jump_to(struct store *b, hf_seq seq)
{
    struct core *c = core_new();
    struct hf_position at = hf_state_position(b->s);
    struct hf_frame f = c->frame[0].f;
    uint8_t bytes[HF_HEADER_MAX];
    assert_ok(hf_state_stage_begin(b->s, HF_PLAN_DELTA, &at, seq, NULL));
    struct hf_chunk chunk = {.want = HF_WANT_DELTA, .end = true, .asof = seq};
    struct hf_stage st;
    hf_state_stage_get(b->s, &st);
    chunk.from = st.part[0].cursor;
    chunk.to = st.part[0].until;
    struct hf_records none = {.left = 0};
    struct hf_sum sum;
    hf_records_sum(&none, &sum);
    assert_ok(hf_state_stage_chunk(b->s, 0, &chunk, &none, &sum));
    f.header = header_for(b->s, &f.h, bytes);
    f.h.seq = seq;
    assert_ok(hf_state_stage_switch(b->s, &f));
    core_free(c);
}

/* How many entries a table of a closed store has. */
static size_t entries(const char *dir, const char *table)
{
    return table_stat(dir, table).ms_entries;
}

static void request_id_is_known_inside_its_window_only(void **state)
{
    struct store *b = *state;
    struct hf_slice id = hf_slice_str("order-1");
    struct hf_slice late = hf_slice_str("order-2");
    struct hf_answered a = {1, {{0xaa}}};
    struct hf_answered got;
    assert_int_equal(hf_state_request_get(b->s, id, &got), HF_NOTFOUND);
    assert_ok(hf_state_request_put(b->s, id, &a));
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    store_reopen(b);
    assert_ok(hf_state_request_get(b->s, id, &got));
    assert_true(got.seq == 1 && got.content_hash.b[0] == 0xaa);
    jump_to(b, HF_REQUEST_WINDOW);
    assert_ok(hf_state_request_get(b->s, id, &got));
    jump_to(b, HF_REQUEST_WINDOW + 1);
    assert_int_equal(hf_state_request_get(b->s, id, &got), HF_NOTFOUND);
    a.seq = HF_REQUEST_WINDOW + 2;
    assert_ok(hf_state_request_put(b->s, late, &a)); /* which forgets the old one for good */
    assert_ok(hf_state_request_get(b->s, late, &got));
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    assert_int_equal(entries(b->dir, "request"), 1);
    assert_int_equal(entries(b->dir, "requestseq"), 1);
    b->s = open_store(b->dir);
}

static void reused_request_id_takes_the_new_answer(void **state)
{
    struct store *b = *state;
    struct hf_slice id = hf_slice_str("again");
    struct hf_answered a = {1, {{1}}};
    struct hf_answered got;
    assert_ok(hf_state_request_put(b->s, id, &a));
    a = (struct hf_answered){2, {{2}}};
    assert_ok(hf_state_request_put(b->s, id, &a));
    assert_ok(hf_state_request_get(b->s, id, &got));
    assert_true(got.seq == 2 && got.content_hash.b[0] == 2);
    char big[HF_REQUEST_ID_MAX + 1] = {'x'};
    assert_int_equal(hf_state_request_put(b->s, hf_slice_of(big, sizeof(big)), &a), HF_ARG);
    hf_state_abort(b->s);
    assert_int_equal(hf_state_request_get(b->s, id, &got), HF_NOTFOUND);
}

static void two_keys_that_meet_at_one_place_are_indexed_where_they_end(void **state)
{
    struct store *b = *state;
    struct hf_change first = put_of("first", "1");
    struct hf_change second = put_of("second", "1");
    assert_ok(hf_state_apply(b->s, 1, 0, &first));
    assert_ok(hf_state_apply(b->s, 1, 0, &second));
    assert_ok(hf_state_apply(b->s, 1, 1, &second)); /* it leaves what the other has as well */
    advance(b->s);
    assert_ok(hf_state_commit(b->s));
    assert_verified(b->s);
}

static void old_tombstones_are_collected_in_steps_and_young_ones_stay(void **state)
{
    struct store *b = *state;
    char key[16];
    struct hf_view *v;
    struct hf_applied a;
    struct hf_stored r;
    bool again = true;
    int calls = 0;
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "k%02d", i);
        write_one(b->s, key, "v");
    }
    for (int i = 0; i < 40; i += 2) {
        snprintf(key, sizeof(key), "k%02d", i);
        write_one(b->s, key, NULL); /* seqs 41..60 */
    }
    assert_ok(hf_state_commit(b->s));
    struct hf_hash before = hf_state_digest(b->s);
    for (; again; calls++) {
        assert_ok(hf_state_collect(b->s, 50, 7, &again));
        if (calls == 1) {
            hf_state_abort(b->s); /* an aborted step is done again */
        }
        assert_ok(hf_state_commit(b->s));
        assert_true(calls < 50);
    }
    assert_true(calls >= 5);
    struct hf_hash after = hf_state_digest(b->s);
    assert_true(hf_hash_eq(&before, &after));
    assert_ok(hf_view_open(b->s, &v));
    hf_view_applied(v, &a);
    assert_int_equal(a.delta_floor, 50);
    assert_int_equal(a.live_count, 20);
    assert_int_equal(hf_view_get(v, hf_slice_str("k18"), true, &r), HF_NOTFOUND); /* seq 50 */
    assert_ok(hf_view_get(v, hf_slice_str("k20"), true, &r));                     /* seq 51 */
    hf_view_close(v);
    assert_verified(b->s);
    store_reopen(b);
    assert_ok(hf_state_collect(b->s, 1000, 1000, &again)); /* a floor above the position */
    assert_ok(hf_state_commit(b->s));
    assert_false(again);
    assert_ok(hf_view_open(b->s, &v));
    hf_view_applied(v, &a);
    assert_int_equal(a.delta_floor, 60);
    assert_int_equal(hf_view_get(v, hf_slice_str("k38"), true, &r), HF_NOTFOUND);
    hf_view_close(v);
    assert_verified(b->s);
}

static void chain_is_forgotten_below_a_floor_and_kept_above(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    struct hf_hash chain;
    for (int i = 0; i < 20; i++) {
        write_one(b->s, "k", i % 2 == 0 ? "a" : "b");
    }
    assert_ok(hf_state_forget_chain(b->s, 15, 10));
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    assert_int_equal(hf_view_chain(v, 9, &chain), HF_NOTFOUND);
    assert_ok(hf_view_chain(v, 10, &chain));
    hf_view_close(v);
    assert_ok(hf_state_forget_chain(b->s, 15, 10));
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    assert_int_equal(hf_view_chain(v, 14, &chain), HF_NOTFOUND);
    assert_ok(hf_view_chain(v, 15, &chain));
    assert_ok(hf_view_chain(v, 20, &chain));
    hf_view_close(v);
}

static void chainless_store_keeps_no_hash_of_a_past_seq(void **state)
{
    struct store *b = *state;
    char dir[] = "/tmp/hf-chainless-XXXXXX";
    struct hf_state *s = NULL;
    struct hf_view *v;
    struct hf_hash chain;
    struct hf_error e;
    (void)b;
    assert_non_null(mkdtemp(dir));
    char path[64];
    snprintf(path, sizeof(path), "%s/state", dir);
    struct hf_state_config c = {.dir = path, .map_bytes = 1 << 28, .chainless = true};
    assert_ok(hf_state_open(&c, &s, &e));
    begin_history(s);
    write_one(s, "k", "a");
    assert_ok(hf_state_commit(s));
    assert_ok(hf_view_open(s, &v));
    assert_int_equal(hf_view_chain(v, 0, &chain), HF_NOTFOUND);
    assert_int_equal(hf_view_chain(v, 1, &chain), HF_NOTFOUND);
    hf_view_close(v);
    assert_verified(s);
    hf_state_close(s);
    scratch_remove(path);
    scratch_remove(dir);
}

#define IN_STORE(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_STORE(objects_are_kept_found_and_listed_by_prefix),
        IN_STORE(inbox_keeps_frames_by_seq_until_they_are_deleted),
        IN_STORE(request_id_is_known_inside_its_window_only),
        IN_STORE(reused_request_id_takes_the_new_answer),
        IN_STORE(two_keys_that_meet_at_one_place_are_indexed_where_they_end),
        IN_STORE(old_tombstones_are_collected_in_steps_and_young_ones_stay),
        IN_STORE(chain_is_forgotten_below_a_floor_and_kept_above),
        IN_STORE(chainless_store_keeps_no_hash_of_a_past_seq),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
