/*
 * test_index.c - a store whose index by seq has tombstones only: what comes into it and leaves it,
 * that the check knows what belongs there, and that a store which has all records is changed over.
 *
 * What transfers do to such a store is in test_stage.c, test_parts.c and test_repair_store.c, whose
 * edges all have one.
 */
#include "state_fixture.h"

static int edge_setup(void **state)
{
    struct store *b = calloc(1, sizeof(*b));
    b->dir = scratch_new();
    b->s = open_edge(b->dir);
    begin_history(b->s);
    *state = b;
    return 0;
}

static uint64_t entries(struct store *b)
{
    hf_state_close(b->s);
    MDB_stat st = table_stat(b->dir, "byseq.0");
    b->s = open_edge(b->dir);
    assert_verified(b->s);
    return st.ms_entries;
}

static void only_what_is_deleted_has_a_place_in_the_index(void **state)
{
    struct store *b = *state;
    write_one(b->s, "a", "1");
    write_one(b->s, "b", "1");
    write_one(b->s, "a", "2");
    assert_ok(hf_state_commit(b->s));
    assert_int_equal(entries(b), 0);
    write_one(b->s, "a", NULL);
    assert_ok(hf_state_commit(b->s));
    assert_int_equal(entries(b), 1);
    write_one(b->s, "a", "3"); /* it lives again */
    assert_ok(hf_state_commit(b->s));
    assert_int_equal(entries(b), 0);
    assert_shows(b->s, "a", "3");
}

static void what_dies_and_lives_again_between_two_commits_leaves_nothing(void **state)
{
    struct store *b = *state;
    write_one(b->s, "a", "1");
    write_one(b->s, "a", NULL);
    write_one(b->s, "a", "2");
    write_one(b->s, "b", "1");
    write_one(b->s, "b", NULL);
    assert_ok(hf_state_commit(b->s));
    assert_int_equal(entries(b), 1);
    write_one(b->s, "b", "2");
    write_one(b->s, "b", NULL); /* from one place to another */
    assert_ok(hf_state_commit(b->s));
    assert_int_equal(entries(b), 1);
}

static void a_sweep_finds_each_tombstone_without_passing_live_records(void **state)
{
    struct store *b = *state;
    struct hf_stored r;
    bool again;
    char key[16];
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "k%02d", i);
        write_one(b->s, key, "v");
    }
    write_one(b->s, "k10", NULL);
    write_one(b->s, "k20", NULL);
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_state_collect(b->s, 52, 3, &again)); /* 3 looks: two tombstones and the end */
    assert_false(again);
    assert_ok(hf_state_commit(b->s));
    assert_int_equal(entries(b), 0);
    assert_int_equal(view_read(b->s, "k10", &r), HF_NOTFOUND);
    assert_shows(b->s, "k11", "v");
}

/* ---- the check ---- */

static void index_put(struct store *b, hf_seq seq, const char *key)
{
    uint8_t bytes[12] = {0};
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val k = {sizeof(bytes), bytes};
    MDB_val v = {strlen(key), (void *)(uintptr_t)key};
    bytes[7] = (uint8_t)seq;
    hf_state_close(b->s);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 16), 0);
    assert_int_equal(mdb_env_open(env, b->dir, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "byseq.0", 0, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    b->s = open_edge(b->dir);
}

static void a_live_record_in_the_index_is_found_by_the_check(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    struct hf_error e = {HF_OK, ""};
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    index_put(b, 1, "a");
    assert_ok(hf_view_open(b->s, &v));
    assert_int_equal(hf_view_verify(v, &e), HF_DIGEST);
    assert_non_null(strstr(e.text, "index"));
    hf_view_close(v);
}

/* ---- changing over ---- */

static void a_store_that_indexes_all_is_changed_over_once(void **state)
{
    struct store *b = *state; /* as a core's */
    for (uint32_t i = 0; i < 300; i++) {
        char key[32];
        struct hf_slice k = key_of(key, i);
        struct hf_change c[2] = {{HF_OP_PUT, k, hf_slice_str("v")}, {HF_OP_DEL, k, {NULL, 0}}};
        write_batch(b->s, &c[0], 1);
        if (i % 10 == 0) {
            write_batch(b->s, &c[1], 1);
        }
    }
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    assert_int_equal(table_stat(b->dir, "byseq.0").ms_entries, 300);
    b->s = open_edge(b->dir);
    assert_int_equal(entries(b), 30);
    store_reopen(b); /* who does not ask for it leaves it as it is: it says itself what it has */
    assert_verified(b->s);
    write_one(b->s, "a", "1");
    write_one(b->s, "a", NULL);
    assert_ok(hf_state_commit(b->s));
    assert_int_equal(entries(b), 31);
}

static void a_snapshot_under_way_goes_on_after_the_change(void **state)
{
    struct store *b = *state;
    struct core *core = core_new();
    struct hf_position base = hf_state_position(b->s);
    struct hf_stage stage;
    struct hf_stage_splits none = {.count = 0};
    struct hf_change c[2] = {put_of("a", "1"), put_of("b", "1")};
    hf_seq seq = core_batch(core, c, 2);
    struct hf_body body = core_body(core, seq);
    assert_ok(hf_state_stage_begin(b->s, HF_PLAN_SNAPSHOT, &base, 0, &none));
    assert_ok(hf_state_stage_frame(b->s, &core->frame[seq].f, &body));
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    assert_int_equal(table_stat(b->dir, "byseq.1").ms_entries, 2);
    b->s = open_edge(b->dir);
    hf_state_stage_get(b->s, &stage);
    assert_true(stage.active);
    assert_verified(b->s);
    hf_state_close(b->s);
    assert_int_equal(table_stat(b->dir, "byseq.1").ms_entries, 0);
    assert_int_equal(table_stat(b->dir, "state.1").ms_entries, 2);
    b->s = open_edge(b->dir);
    core_free(core);
}

#define AT_EDGE(f) cmocka_unit_test_setup_teardown(f, edge_setup, store_teardown)
#define IN_STORE(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AT_EDGE(only_what_is_deleted_has_a_place_in_the_index),
        AT_EDGE(what_dies_and_lives_again_between_two_commits_leaves_nothing),
        AT_EDGE(a_sweep_finds_each_tombstone_without_passing_live_records),
        AT_EDGE(a_live_record_in_the_index_is_found_by_the_check),
        IN_STORE(a_store_that_indexes_all_is_changed_over_once),
        IN_STORE(a_snapshot_under_way_goes_on_after_the_change),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
