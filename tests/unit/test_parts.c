/*
 * test_parts.c - a range fetched in parts side by side arrives where one part does, in whatever
 * order its chunks come, over aborts and restarts in the middle.
 *
 * stage_box.h has the core and the edge; test_stage.c has what does not depend on parts.
 */
#include "stage_box.h"

#include <lmdb.h>
#include <xxhash.h>

static struct hf_stage_splits seq_splits(const hf_seq *seqs, uint32_t count)
{
    struct hf_stage_splits splits = {.count = count};
    for (uint32_t i = 0; i < count; i++) {
        splits.at[i].seq = seqs[i];
    }
    return splits;
}

static struct hf_stage_splits key_splits(const char *const *keys, uint32_t count)
{
    struct hf_stage_splits splits = {.count = count};
    for (uint32_t i = 0; i < count; i++) {
        splits.at[i].key = hf_slice_str(keys[i]);
    }
    return splits;
}

/* Keys a0 to d9, one batch each. */
static void write_letters(struct box *b)
{
    char key[3] = "";
    for (key[0] = 'a'; key[0] <= 'd'; key[0]++) {
        for (key[1] = '0'; key[1] <= '9'; key[1]++) {
            core_put(b->core, key, "value");
        }
    }
}

static const char *const letters[] = {"a9", "b9", "c9"};
static const hf_seq tens[] = {10, 20, 30};

static void begin_letters(struct box *b, enum hf_plan_kind kind)
{
    struct hf_stage_splits splits =
        kind == HF_PLAN_DELTA ? seq_splits(tens, 3) : key_splits(letters, 3);
    begin_split(b, kind, &splits);
    assert_int_equal(stage_of(b).part_count, 4);
}

/* Fetches a part to its end, in the open transaction. */
static void finish(struct box *b, uint32_t part, size_t limit)
{
    for (struct hf_stage st = stage_of(b); part < st.part_count && !st.part[part].done;
         st = stage_of(b)) {
        take(b, part, limit);
    }
}

static bool same_slice(struct hf_slice a, struct hf_slice b)
{
    return hf_slice_eq(a, b);
}

static void assert_same_bound(const struct hf_bound *a, const struct hf_bound *b)
{
    assert_true(a->seq == b->seq && a->ordinal == b->ordinal && a->offset == b->offset);
    assert_true(same_slice(a->key, b->key));
}

/* A copy of the progress that outlives the next stage call. */
struct kept {
    struct hf_stage st;
    uint8_t key[HF_STAGE_PARTS_MAX][2][HF_STORE_KEY_MAX];
};

static void keep(struct box *b, struct kept *k)
{
    k->st = stage_of(b);
    for (uint32_t i = 0; i < k->st.part_count; i++) {
        struct hf_bound *bound[2] = {&k->st.part[i].cursor, &k->st.part[i].until};
        for (int j = 0; j < 2; j++) {
            memcpy(k->key[i][j], bound[j]->key.data, bound[j]->key.len);
            bound[j]->key.data = k->key[i][j];
        }
    }
}

static void assert_kept(struct box *b, const struct kept *k)
{
    struct hf_stage st = stage_of(b);
    assert_int_equal(st.active, k->st.active);
    assert_int_equal(st.keys_done, k->st.keys_done);
    assert_int_equal(st.part_count, k->st.part_count);
    assert_true(st.covered == k->st.covered && st.target == k->st.target);
    assert_true(st.asof == k->st.asof && st.tail == k->st.tail && st.bytes == k->st.bytes);
    for (uint32_t i = 0; i < st.part_count; i++) {
        assert_int_equal(st.part[i].done, k->st.part[i].done);
        assert_same_bound(&st.part[i].cursor, &k->st.part[i].cursor);
        assert_same_bound(&st.part[i].until, &k->st.part[i].until);
    }
}

/* ---- cutting ---- */

static void splits_that_do_not_rise_or_lie_outside_are_left_out(void **state)
{
    struct box *b = *state;
    bool again;
    write_letters(b);
    hf_seq seqs[] = {0, 5, 5, 3, 20, 12, 40, 41, 7};
    struct hf_stage_splits splits = seq_splits(seqs, 9);
    begin_split(b, HF_PLAN_DELTA, &splits);
    struct hf_stage st = stage_of(b);
    assert_int_equal(st.part_count, 3);
    assert_true(st.part[0].until.seq == 5 && st.part[1].until.seq == 20);
    assert_true(st.part[2].until.seq == 40 && st.part[2].until.ordinal == UINT32_MAX);
    assert_same_bound(&st.part[1].cursor, &st.part[0].until);
    assert_ok(hf_state_stage_drop(b->edge.s, &again));
    const char *const keys[] = {"", "b", "b", "a", "c", "bb"};
    splits = key_splits(keys, 6);
    begin_split(b, HF_PLAN_SNAPSHOT, &splits);
    st = stage_of(b);
    assert_int_equal(st.part_count, 3);
    assert_true(same_slice(st.part[0].until.key, hf_slice_str("b")));
    assert_true(same_slice(st.part[2].cursor.key, hf_slice_str("c")));
    assert_int_equal(st.part[2].until.key.len, 0);
}

static void splits_beyond_the_most_parts_are_left_out(void **state)
{
    struct box *b = *state;
    write_letters(b);
    struct hf_stage_splits splits = {.count = 99};
    for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX - 1; i++) {
        splits.at[i].seq = i + 1;
    }
    begin_split(b, HF_PLAN_DELTA, &splits);
    assert_int_equal(stage_of(b).part_count, HF_STAGE_PARTS_MAX);
    while (fetch(b, 300)) {
        ;
    }
    switch_to(b, 40);
    assert_equal_to_core(b);
}

static void empty_range_has_no_parts(void **state)
{
    struct box *b = *state;
    core_put(b->core, "a", "1");
    apply_log(b, 1);
    begin(b, HF_PLAN_DELTA);
    assert_int_equal(stage_of(b).part_count, 0);
    assert_ok(hf_state_stage_target(b->edge.s, 1));
    assert_int_equal(stage_of(b).part_count, 0);
    core_put(b->core, "a", "2");
    assert_ok(hf_state_stage_target(b->edge.s, 2)); /* the next range */
    assert_int_equal(stage_of(b).part_count, 1);
    assert_int_equal(hf_state_stage_target(b->edge.s, 3), HF_ARG); /* not longer while it runs */
    finish(b, 0, 1000);
    switch_to(b, 2);
    assert_equal_to_core(b);
}

/* ---- order ---- */

static void in_any_order(struct box *b, enum hf_plan_kind kind)
{
    static const uint32_t order[] = {2, 0, 3, 1};
    bool again;
    begin_letters(b, kind);
    for (uint32_t i = 0; i < 4; i++) {
        struct hf_stage st = stage_of(b);
        assert_int_equal(st.part_count, 4);
        for (uint32_t j = 0; j < i; j++) {
            assert_true(st.part[order[j]].done);
        }
        assert_false(st.part[order[i]].done);
        assert_false(st.keys_done);
        finish(b, order[i], 60);
        assert_ok(hf_state_commit(b->edge.s));
    }
    struct hf_stage st = stage_of(b);
    assert_int_equal(st.part_count, 0);
    assert_true(st.covered == core_head(b) && st.tail == core_head(b));
    assert_int_equal(st.keys_done, kind == HF_PLAN_SNAPSHOT);
    switch_to(b, core_head(b));
    assert_equal_to_core(b);
    for (again = true; again;) {
        assert_ok(hf_state_stage_drop(b->edge.s, &again));
    }
}

static void parts_are_done_in_any_order_and_the_range_when_all_are(void **state)
{
    struct box *b = *state;
    write_letters(b);
    in_any_order(b, HF_PLAN_DELTA);
    in_any_order(b, HF_PLAN_SNAPSHOT);
}

static void chunk_for_a_part_that_is_done_or_not_there_is_refused(void **state)
{
    struct box *b = *state;
    write_letters(b);
    begin_letters(b, HF_PLAN_DELTA);
    ask(b, 1, 1000);
    assert_int_equal(stage_answer(b, 0), HF_ARG); /* not at the cursor of that part */
    assert_int_equal(stage_answer(b, 4), HF_ARG);
    assert_int_equal(stage_answer(b, UINT32_MAX), HF_ARG);
    assert_ok(stage_answer(b, 1));
    struct hf_stage st = stage_of(b);
    assert_true(st.part[1].done);
    b->a->chunk.from = st.part[1].cursor;
    assert_int_equal(stage_answer(b, 1), HF_ARG);
    assert_int_equal(hf_state_stage_skip(b->edge.s, 1), HF_ARG);
    assert_int_equal(hf_state_stage_skip(b->edge.s, 4), HF_ARG);
    assert_true(stage_of(b).bytes == st.bytes);
    assert_ok(hf_state_commit(b->edge.s)); /* nothing was touched by what was refused */
}

static void record_outside_of_its_part_is_malformed(void **state)
{
    struct box *b = *state;
    bool again;
    write_letters(b);
    begin_letters(b, HF_PLAN_DELTA);
    struct hf_record r = {hf_slice_str("b5"), 10, 0, false, 5, 0, hf_slice_str("value")};
    assert_int_equal(stage_record(b, 1, &r, 40), HF_MALFORMED); /* of the part before */
    r.seq = 21;
    assert_int_equal(stage_record(b, 1, &r, 40), HF_MALFORMED); /* of the part behind */
    r.seq = 20;
    assert_ok(stage_record(b, 1, &r, 40));
    assert_ok(hf_state_stage_drop(b->edge.s, &again));
    begin_letters(b, HF_PLAN_SNAPSHOT);
    r.key = hf_slice_str("a9");
    assert_int_equal(stage_record(b, 1, &r, 40), HF_MALFORMED); /* the last of the one before */
    r.key = hf_slice_str("b90");
    assert_int_equal(stage_record(b, 1, &r, 40), HF_MALFORMED);
    r.key = hf_slice_str("b9");
    assert_ok(stage_record(b, 1, &r, 40));
    assert_true(stage_of(b).part[1].done); /* nothing can lie behind it */
}

static void records_out_of_order_are_malformed(void **state)
{
    struct box *b = *state;
    write_letters(b);
    begin_letters(b, HF_PLAN_SNAPSHOT);
    struct hf_record r = {hf_slice_str("b5"), 16, 0, false, 5, 0, hf_slice_str("value")};
    struct hf_record before = {hf_slice_str("b4"), 15, 0, false, 5, 0, hf_slice_str("value")};
    ask(b, 1, 1000);
    answer_begin(b->a);
    hf_columns_add(&b->a->columns, &r);
    hf_columns_add(&b->a->columns, &before);
    answer_end(b->a);
    assert_int_equal(stage_answer(b, 1), HF_MALFORMED);
    hf_state_abort(b->edge.s);
    answer_begin(b->a);
    hf_columns_add(&b->a->columns, &before);
    hf_columns_add(&b->a->columns, &r);
    answer_end(b->a);
    assert_ok(stage_answer(b, 1));
}

/* ---- restarts, aborts, fragments ---- */

static void restart_in_the_middle_goes_on_in_each_part(void **state)
{
    struct box *b = *state;
    static struct kept k;
    enum hf_plan_kind kinds[] = {HF_PLAN_DELTA, HF_PLAN_SNAPSHOT};
    for (int i = 0; i < 2; i++) {
        write_letters(b);
        core_put(b->core, "a5", i == 0 ? "x" : "y");
        begin_letters(b, kinds[i]);
        take(b, 3, 60);
        take(b, 1, 60);
        take(b, 1, 60);
        finish(b, 2, 100);
        assert_ok(hf_state_commit(b->edge.s));
        keep(b, &k);
        edge_restart(&b->edge);
        assert_kept(b, &k);
        while (fetch(b, 100)) {
            edge_restart(&b->edge);
        }
        switch_to(b, core_head(b));
        assert_equal_to_core(b);
        drop_all(b);
        if (i == 0) { /* the tens of the second turn lie behind the base of the first */
            core_free(b->core);
            b->core = core_new();
            hf_state_close(b->edge.s);
            scratch_remove(b->edge.dir);
            b->edge.s = open_edge(b->edge.dir);
            begin_history(b->edge.s);
        }
    }
}

static int meta_open(const char *dir, MDB_env **env, MDB_txn **txn, MDB_dbi *meta)
{
    int rc = mdb_env_create(env);
    rc = rc == 0 ? mdb_env_set_maxdbs(*env, 16) : rc;
    rc = rc == 0 ? mdb_env_open(*env, dir, 0, 0600) : rc;
    rc = rc == 0 ? mdb_txn_begin(*env, NULL, 0, txn) : rc;
    return rc == 0 ? mdb_dbi_open(*txn, "meta", 0, meta) : rc;
}

/* Closes the store of the edge for a moment. */
static bool meta_has(struct box *b, const char *name)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi meta;
    MDB_val k = {strlen(name), (void *)(uintptr_t)name};
    MDB_val v;
    hf_state_close(b->edge.s);
    assert_int_equal(meta_open(b->edge.dir, &env, &txn, &meta), 0);
    int rc = mdb_get(txn, meta, &k, &v);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    b->edge.s = open_edge(b->edge.dir);
    return rc == 0;
}

/* Two values of 90,000 bytes, each the only one of its part. */
static void write_large_pair(struct box *b)
{
    static char value[90000];
    fill(value, sizeof(value), 'v');
    core_put(b->core, "a", value);
    fill(value, sizeof(value), 'w');
    core_put(b->core, "b", value);
}

static void begin_large_pair(struct box *b, enum hf_plan_kind kind)
{
    static const char *const keys[] = {"a"};
    hf_seq seqs[] = {core_head(b) - 1};
    struct hf_stage_splits splits =
        kind == HF_PLAN_DELTA ? seq_splits(seqs, 1) : key_splits(keys, 1);
    write_large_pair(b);
    seqs[0] = core_head(b) - 1;
    splits.at[0].seq = kind == HF_PLAN_DELTA ? seqs[0] : 0;
    begin_split(b, kind, &splits);
    assert_int_equal(stage_of(b).part_count, 2);
}

static void fragments_of_two_parts_are_joined_side_by_side(void **state)
{
    struct box *b = *state;
    enum hf_plan_kind kinds[] = {HF_PLAN_DELTA, HF_PLAN_SNAPSHOT};
    for (int i = 0; i < 2; i++) {
        begin_large_pair(b, kinds[i]);
        for (int turn = 0; stage_of(b).part_count > 0; turn++) {
            for (uint32_t part = 0; part < 2; part++) {
                struct hf_stage st = stage_of(b);
                if (part < st.part_count && !st.part[part].done) {
                    take(b, part, 20000);
                    st = stage_of(b);
                    assert_true(turn >= 4 || st.part[part].cursor.offset != HF_OFFSET_END);
                }
            }
            assert_ok(hf_state_commit(b->edge.s));
            if (turn == 1 || turn == 3) {
                edge_restart(&b->edge);
            }
        }
        assert_false(meta_has(b, "fragment.00") || meta_has(b, "fragment.01"));
        switch_to(b, core_head(b));
        assert_equal_to_core(b);
        drop_all(b);
    }
}

/* Between two commits the fragment of part 0 ends and part 1 begins one, or gives one up. */
static void abort_after(struct box *b, uint32_t takes_0, uint32_t takes_1, bool ends)
{
    static struct kept k;
    keep(b, &k);
    for (uint32_t i = 0; i < takes_0; i++) {
        take(b, 0, 20000);
    }
    for (uint32_t i = 0; i < takes_1; i++) {
        take(b, 1, 20000);
    }
    if (ends && stage_of(b).part[0].cursor.offset != HF_OFFSET_END) {
        assert_ok(hf_state_stage_skip(b->edge.s, 0));
    }
    hf_state_abort(b->edge.s);
    assert_kept(b, &k);
}

static void abort_brings_the_fragments_of_all_parts_back(void **state)
{
    struct box *b = *state;
    bool again;
    begin_large_pair(b, HF_PLAN_DELTA);
    abort_after(b, 1, 1, false); /* to none */
    take(b, 0, 20000);
    assert_ok(hf_state_commit(b->edge.s));
    abort_after(b, 1, 1, false); /* one goes on, the other begins */
    abort_after(b, 1, 0, true);  /* given up */
    take(b, 1, 20000);
    assert_ok(hf_state_commit(b->edge.s));
    abort_after(b, 4, 2, false);                       /* one ends */
    abort_after(b, 0, 4, true);                        /* the other ends, the first is given up */
    assert_ok(hf_state_stage_drop(b->edge.s, &again)); /* the stage is */
    hf_state_abort(b->edge.s);
    while (fetch(b, 20000)) { /* any byte that is not as it was fails the switch */
        ;
    }
    switch_to(b, 2);
    assert_equal_to_core(b);
}

static void value_that_moved_at_the_end_of_its_part_ends_the_part(void **state)
{
    struct box *b = *state;
    begin_large_pair(b, HF_PLAN_SNAPSHOT);
    take(b, 0, 20000);
    core_put(b->core, "a", "short");
    ask(b, 0, 20000);
    assert_int_equal(b->a->code, HF_MOVED);
    assert_ok(hf_state_stage_skip(b->edge.s, 0));
    assert_true(stage_of(b).part[0].done);
    finish(b, 1, 50000);
    assert_true(stage_of(b).keys_done);
    feed_tail(b, 3);
    switch_to(b, 3);
    assert_equal_to_core(b);
}

/* ---- beside a split ---- */

static void keys_just_behind_a_split_are_staged_like_any_other(void **state)
{
    struct box *b = *state;
    static const char *const keys[] = {"k", "m"};
    struct hf_stage_splits splits = key_splits(keys, 2);
    for (size_t zeros = 0; zeros < 9; zeros += 3) {
        struct hf_change c = put_of("k\0\0\0\0\0\0\0\0", "1");
        c.key.len = 1 + zeros;
        core_batch(b->core, &c, 1);
    }
    core_put(b->core, "z", "1");
    begin_split(b, HF_PLAN_SNAPSHOT, &splits);
    ask(b, 2, 1000);
    struct hf_change late = put_of("m\0\0", "1");
    late.key.len = 3;
    core_batch(b->core, &late, 1);
    feed_tail(b, 5); /* just behind the other split, and not in the chunk that was under way */
    assert_ok(stage_answer(b, 2));
    for (uint32_t part = 2; part > 0; part--) {
        finish(b, part - 1, 1000);
    }
    switch_to(b, 5);
    assert_equal_to_core(b);
}

/* ---- a stage of the form without parts ---- */

/* 2048 lanes, then the fields of a DELTA in which half a value is there. */
static void put_old_form(struct box *b)
{
    uint8_t bytes[2048 + 112 + 24 + 1 + 8] = {0};
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi meta;
    memcpy(bytes + 2048, test_epoch.b, sizeof(test_epoch.b));
    bytes[2048 + 24] = HF_PLAN_DELTA;
    bytes[2048 + 24 + 8 + 24] = 1; /* target */
    size_t len = sizeof(bytes) - 8;
    uint64_t sum = XXH3_64bits_withSeed(bytes, len, 2);
    memcpy(bytes + len, &sum, 8);
    MDB_val k = {strlen("stage"), (void *)(uintptr_t) "stage"};
    MDB_val v = {sizeof(bytes), bytes};
    hf_state_close(b->edge.s);
    assert_int_equal(meta_open(b->edge.dir, &env, &txn, &meta), 0);
    assert_int_equal(mdb_put(txn, meta, &k, &v, 0), 0);
    k = (MDB_val){strlen("fragment"), (void *)(uintptr_t) "fragment"};
    assert_int_equal(mdb_put(txn, meta, &k, &v, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    b->edge.s = open_edge(b->edge.dir);
}

static void stage_of_the_form_without_parts_is_given_up_at_open(void **state)
{
    struct box *b = *state;
    write_letters(b);
    put_old_form(b);
    assert_false(stage_of(b).active);
    begin_letters(b, HF_PLAN_DELTA);
    assert_false(meta_has(b, "fragment"));
    assert_true(meta_has(b, "stage"));
    while (fetch(b, 100)) {
        ;
    }
    switch_to(b, 40);
    assert_equal_to_core(b);
}

/* ---- any number of parts, any order ---- */

/* Splits at seqs or keys that may or may not be there, in order. */
static struct hf_stage_splits random_splits(struct box *b, uint64_t *seed, enum hf_plan_kind kind)
{
    static char name[HF_STAGE_PARTS_MAX][32];
    struct hf_stage_splits splits = {.count = rng_below(seed, HF_STAGE_PARTS_MAX)};
    hf_seq base = hf_state_position(b->edge.s).seq;
    uint32_t range = (uint32_t)(core_head(b) - base) + 1;
    for (uint32_t i = 0; i < splits.count; i++) {
        splits.at[i].seq = base + (uint64_t)range * (i + 1) / (splits.count + 1);
        int n = snprintf(name[i], sizeof(name[i]), "key/%02x", 255 * (i + 1) / (splits.count + 1));
        splits.at[i].key = hf_slice_of(name[i], (size_t)n);
        if (kind == HF_PLAN_DELTA) {
            splits.at[i].key = hf_slice_of(NULL, 0);
        }
    }
    return splits;
}

/* What happens between two chunks; the last commit is in `k`. */
static void disturb(struct box *b, uint64_t *seed, struct kept *k)
{
    switch (rng_below(seed, 24)) {
    case 0:
        hf_state_abort(b->edge.s);
        assert_kept(b, k);
        break;
    case 1:
        edge_restart(&b->edge);
        assert_kept(b, k);
        break;
    case 2:
        if (core_head(b) < CORE_FRAMES_MAX - 40) {
            core_random(b->core, seed, 1, 150);
        }
        break;
    case 3:
    case 4:
    case 5:
        assert_ok(hf_state_commit(b->edge.s));
        keep(b, k);
        break;
    }
}

static void transfer_in_parts(struct box *b, uint64_t *seed, enum hf_plan_kind kind)
{
    static struct kept k;
    struct hf_stage_splits splits = random_splits(b, seed, kind);
    begin_split(b, kind, &splits);
    keep(b, &k);
    for (struct hf_stage st = stage_of(b); st.part_count > 0; st = stage_of(b)) {
        take(b, open_part(&st, seed), 200 + rng_below(seed, 4000));
        disturb(b, seed, &k);
    }
    assert_ok(hf_state_commit(b->edge.s));
    struct hf_stage st = stage_of(b);
    feed_tail(b, st.asof > st.tail ? st.asof : st.tail);
    switch_to(b, stage_of(b).tail);
    assert_verified(b->edge.s);
    apply_log(b, core_head(b));
    assert_equal_to_core(b);
    drop_all(b);
}

static void any_number_of_parts_in_any_order_arrives_where_the_log_does(void **state)
{
    struct box *b = *state;
    uint64_t seed = 77;
    core_random(b->core, &seed, 30, 150);
    apply_log(b, 5);
    for (int round = 0; round < 16; round++) {
        transfer_in_parts(b, &seed, round % 2 == 1 ? HF_PLAN_SNAPSHOT : HF_PLAN_DELTA);
        core_random(b->core, &seed, 10, 150);
    }
}

/* ---- tombstones at an edge ---- */

static hf_seq collected_to(struct box *b, hf_seq floor)
{
    struct hf_view *v;
    struct hf_applied a;
    struct hf_stored r = {.seq = 0};
    for (bool again = true; again;) {
        assert_ok(hf_state_collect(b->edge.s, floor, 5, &again));
        assert_ok(hf_state_commit(b->edge.s));
    }
    assert_ok(hf_view_open(b->edge.s, &v));
    hf_view_applied(v, &a);
    while (hf_view_next_change(v, r.seq, r.ordinal, &r) == HF_OK) {
        assert_true(!r.tombstone || r.seq > floor);
    }
    hf_view_close(v);
    assert_verified(b->edge.s);
    return a.delta_floor;
}

static void edge_collects_tombstones_with_the_floor_of_the_core_after_any_transfer(void **state)
{
    struct box *b = *state;
    uint64_t seed = 99;
    core_random(b->core, &seed, 30, 60);
    apply_log(b, 30);
    assert_int_equal(collected_to(b, 20), 20);
    core_random(b->core, &seed, 30, 60);
    transfer_in_parts(b, &seed, HF_PLAN_DELTA);
    assert_int_equal(collected_to(b, 45), 45);
    core_random(b->core, &seed, 30, 60);
    begin(b, HF_PLAN_SNAPSHOT);
    core_random(b->core, &seed, 10, 60);
    hf_seq head = core_head(b);
    feed_tail(b, head); /* with tombstones; KEYS has none */
    while (fetch(b, 2000)) {
        ;
    }
    switch_to(b, head);
    assert_int_equal(collected_to(b, head - 3), head); /* the floor never goes back */
    core_random(b->core, &seed, 10, 60);
    apply_log(b, core_head(b));
    assert_int_equal(collected_to(b, head + 5), head + 5);
    assert_equal_to_core(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_BOX(splits_that_do_not_rise_or_lie_outside_are_left_out),
        IN_BOX(splits_beyond_the_most_parts_are_left_out),
        IN_BOX(empty_range_has_no_parts),
        IN_BOX(parts_are_done_in_any_order_and_the_range_when_all_are),
        IN_BOX(chunk_for_a_part_that_is_done_or_not_there_is_refused),
        IN_BOX(record_outside_of_its_part_is_malformed),
        IN_BOX(records_out_of_order_are_malformed),
        IN_BOX(restart_in_the_middle_goes_on_in_each_part),
        IN_BOX(fragments_of_two_parts_are_joined_side_by_side),
        IN_BOX(abort_brings_the_fragments_of_all_parts_back),
        IN_BOX(value_that_moved_at_the_end_of_its_part_ends_the_part),
        IN_BOX(keys_just_behind_a_split_are_staged_like_any_other),
        IN_BOX(stage_of_the_form_without_parts_is_given_up_at_open),
        IN_BOX(any_number_of_parts_in_any_order_arrives_where_the_log_does),
        IN_BOX(edge_collects_tombstones_with_the_floor_of_the_core_after_any_transfer),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
