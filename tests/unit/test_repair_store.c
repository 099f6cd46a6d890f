/*
 * test_repair_store.c - key ranges in the place of damaged ones: what is healed, what is refused;
 * and walks, which find it.
 *
 * The damage is done with the store's own tables, so that a record can be wrong in every way: bytes
 * that are not what was written, a record that went, or came, an index or a sum that is not theirs.
 */
#include "stage_box.h"

#include "hf/repair.h"
#include "proto/store/state_impl.h"

#define ALL_OF_IT ((struct hf_key_range){.after = {0}})

static void in_range(struct hf_key_ranges *g, const char *after, const char *until)
{
    g->at[g->count++] = (struct hf_key_range){hf_slice_str(after), hf_slice_str(until)};
}

static void begin_repair(struct box *b, const struct hf_key_ranges *g)
{
    struct hf_position at = hf_state_position(b->edge.s);
    assert_ok(hf_state_repair_begin(b->edge.s, &at, g));
    assert_ok(hf_state_commit(b->edge.s));
    assert_int_equal(stage_of(b).kind, HF_PLAN_REPAIR);
}

static void fetch_all(struct box *b)
{
    while (fetch(b, 700)) {
    }
    assert_true(stage_of(b).keys_done);
}

static void heal(struct box *b, const struct hf_key_ranges *g)
{
    begin_repair(b, g);
    fetch_all(b);
    assert_ok(hf_state_repair_switch(b->edge.s));
    assert_ok(hf_state_commit(b->edge.s));
    assert_false(stage_of(b).active);
}

static enum hf_err verified(struct hf_state *s)
{
    struct hf_view *v;
    struct hf_error e = {HF_OK, ""};
    assert_ok(hf_view_open(s, &v));
    enum hf_err err = hf_view_verify(v, &e);
    hf_view_close(v);
    return err;
}

/* The edge has all that the core has: keys a000 to a199, some of them deleted again. */
static void write_keys(struct box *b)
{
    for (int i = 0; i < 200; i++) {
        char key[8];
        char value[32];
        snprintf(key, sizeof(key), "a%03d", i);
        snprintf(value, sizeof(value), "value %03d of all", i);
        core_put(b->core, key, value);
        if (i % 10 == 7) {
            core_put(b->core, key, NULL);
        }
    }
    apply_log(b, core_head(b));
    assert_equal_to_core(b);
}

/* ---- doing damage ---- */

static void flip(struct box *b, const char *value)
{
    hf_state_close(b->edge.s);
    assert_true(damage(b->edge.dir, value, true) > 0);
    b->edge.s = open_edge(b->edge.dir);
    assert_int_equal(verified(b->edge.s), HF_DIGEST);
}

static void lose(struct box *b, const char *key)
{
    struct hf_state *s = b->edge.s;
    MDB_val k = hf_val(hf_slice_str(key));
    assert_ok(hf_state_begin(s));
    assert_int_equal(mdb_del(s->txn, hf_tree_visible(s)->state, &k, NULL), 0);
    assert_ok(hf_state_commit(s));
}

/* A record as good as any, that the core has not. */
static void invent(struct box *b, const char *key, const char *value, struct hf_point at)
{
    struct hf_state *s = b->edge.s;
    struct hf_stored r = {hf_slice_str(key), hf_slice_str(value), at.seq, at.ordinal, false};
    uint8_t bytes[128];
    MDB_val k = hf_val(r.key);
    MDB_val v = {HF_RECORD_HEAD + r.value.len, bytes};
    hf_record_put_head(bytes, &r);
    memcpy(bytes + HF_RECORD_HEAD, r.value.data, r.value.len);
    assert_ok(hf_state_begin(s));
    assert_int_equal(mdb_put(s->txn, hf_tree_visible(s)->state, &k, &v, 0), 0);
    assert_ok(hf_state_commit(s));
}

static void spoil_sum(struct box *b)
{
    assert_ok(hf_state_begin(b->edge.s));
    hf_tree_visible(b->edge.s)->sum.lanes.lane[7]++;
    assert_ok(hf_state_commit(b->edge.s));
}

static void spoil_index(struct box *b)
{
    struct hf_state *s = b->edge.s;
    uint8_t bytes[HF_POINT_BYTES];
    MDB_val k = {sizeof(bytes), bytes};
    MDB_val v = hf_val(hf_slice_str("nobody"));
    hf_point_put(bytes, (struct hf_point){33, 0});
    assert_ok(hf_state_begin(s));
    assert_int_equal(mdb_put(s->txn, hf_tree_visible(s)->byseq, &k, &v, 0), 0);
    assert_ok(hf_state_commit(s));
}

/* ---- what is healed ---- */

static void a_damaged_record_is_replaced_and_its_neighbours_stay(void **state)
{
    struct box *b = *state;
    struct hf_key_ranges g = {.count = 0};
    write_keys(b);
    flip(b, "value 042 of all");
    in_range(&g, "a040", "a045");
    heal(b, &g);
    assert_equal_to_core(b);
    assert_shows(b->edge.s, "a042", "value 042 of all");
    assert_int_equal(stage_of(b).records, 0);
    core_put(b->core, "a042", "goes on"); /* the next batch is added to the right sum */
    apply_log(b, core_head(b));
    assert_equal_to_core(b);
}

static void lost_and_invented_records_are_healed(void **state)
{
    struct box *b = *state;
    struct hf_key_ranges g = {.count = 0};
    write_keys(b);
    lose(b, "a011");
    invent(b, "a0125", "of nobody", (struct hf_point){9000, 1});
    invent(b, "a150", "another value", (struct hf_point){12, 5});
    invent(b, "zzz", "behind all", (struct hf_point){13, 5});
    assert_int_not_equal(verified(b->edge.s), HF_OK);
    in_range(&g, "a010", "a013");
    in_range(&g, "a149", "a150");
    in_range(&g, "a198", "");
    heal(b, &g);
    assert_equal_to_core(b);
    assert_false(shows(b, "zzz"));
}

static void a_wrong_sum_and_a_wrong_index_need_no_range(void **state)
{
    struct box *b = *state;
    struct hf_key_ranges none = {.count = 0};
    write_keys(b);
    spoil_sum(b);
    assert_int_equal(verified(b->edge.s), HF_DIGEST);
    heal(b, &none);
    assert_equal_to_core(b);
    spoil_index(b);
    assert_int_equal(verified(b->edge.s), HF_DIGEST);
    heal(b, &none);
    assert_equal_to_core(b);
    edge_restart(&b->edge);
    core_put(b->core, "a001", "more");
    apply_log(b, core_head(b));
    assert_equal_to_core(b);
}

/* What the core writes meanwhile comes with the tail, inside of the ranges and outside. */
static void a_repair_ends_at_a_later_seq_if_the_core_goes_on(void **state)
{
    struct box *b = *state;
    struct hf_key_ranges g = {.count = 0};
    write_keys(b);
    flip(b, "value 042 of all");
    flip(b, "value 143 of all"); /* outside: the tail brings it anew */
    in_range(&g, "a040", "a045");
    in_range(&g, "a060", "a065");
    begin_repair(b, &g);
    core_put(b->core, "a041", NULL);
    core_put(b->core, "a044", "newer");
    assert_true(fetch(b, 100));
    core_put(b->core, "a043", NULL);
    core_put(b->core, "a047", "was deleted");
    core_put(b->core, "a061", "changed before it was read");
    core_put(b->core, "a143", "new");
    fetch_all(b);
    core_put(b->core, "a062", NULL);
    assert_int_equal(hf_state_repair_switch(b->edge.s), HF_NOT_YET);
    feed_tail(b, core_head(b));
    switch_to(b, core_head(b));
    assert_equal_to_core(b);
}

static void ranges_come_in_turns_when_there_are_more_than_parts(void **state)
{
    struct box *b = *state;
    struct hf_key_ranges g = {.count = 0};
    static char keys[80][8];
    write_keys(b);
    for (int i = 0; i < 40; i++) {
        char value[32];
        snprintf(value, sizeof(value), "value %03d of all", i * 5 + 1);
        flip(b, value);
        snprintf(keys[2 * i], sizeof(keys[0]), "a%03d", i * 5);
        snprintf(keys[2 * i + 1], sizeof(keys[0]), "a%03d", i * 5 + 2);
        in_range(&g, keys[2 * i], keys[2 * i + 1]);
    }
    begin_repair(b, &g);
    assert_int_equal(stage_of(b).part_count, HF_STAGE_PARTS_MAX);
    while (fetch(b, 700)) {
        if (stage_of(b).ranges_done == 2 * HF_STAGE_PARTS_MAX) { /* an abort goes back in turn */
            uint32_t done = stage_of(b).ranges_done;
            take(b, stage_of(b).part_count - 1, 700);
            hf_state_abort(b->edge.s);
            assert_int_equal(stage_of(b).ranges_done, done);
        }
    }
    assert_int_equal(stage_of(b).ranges_done, 40);
    assert_ok(hf_state_repair_switch(b->edge.s));
    assert_ok(hf_state_commit(b->edge.s));
    assert_equal_to_core(b);
}

/* ---- what is refused ---- */

static void a_repair_elsewhere_is_refused_and_nothing_of_it_shows(void **state)
{
    struct box *b = *state;
    struct hf_key_ranges g = {.count = 0};
    write_keys(b);
    invent(b, "a150", "another value", (struct hf_point){12, 5});
    in_range(&g, "a040", "a045");
    begin_repair(b, &g);
    fetch_all(b);
    assert_int_equal(hf_state_repair_switch(b->edge.s), HF_DIGEST);
    hf_state_abort(b->edge.s);
    assert_true(stage_of(b).active);
    assert_shows(b->edge.s, "a150", "another value");
    drop_all(b);
    flip(b, "value 171 of all");
    begin_repair(b, &g);
    fetch_all(b);
    assert_int_equal(hf_state_repair_switch(b->edge.s), HF_CORRUPT);
    hf_state_abort(b->edge.s);
    drop_all(b);
    g.at[0] = ALL_OF_IT;
    heal(b, &g);
    assert_equal_to_core(b);
}

static void a_repair_does_not_outlive_a_restart(void **state)
{
    struct box *b = *state;
    struct hf_key_ranges g = {.count = 0};
    write_keys(b);
    flip(b, "value 042 of all");
    in_range(&g, "a000", "a100");
    begin_repair(b, &g);
    assert_true(fetch(b, 300));
    edge_restart(&b->edge);
    assert_false(stage_of(b).active);
    heal(b, &g);
    assert_equal_to_core(b);
}

static void ranges_must_rise_and_repairs_begin_at_the_position(void **state)
{
    struct box *b = *state;
    struct hf_key_ranges g = {.count = 0};
    struct hf_position at;
    write_keys(b);
    at = hf_state_position(b->edge.s);
    in_range(&g, "b", "a");
    assert_int_equal(hf_state_repair_begin(b->edge.s, &at, &g), HF_ARG);
    g.count = 0;
    in_range(&g, "a", "c");
    in_range(&g, "b", "d");
    assert_int_equal(hf_state_repair_begin(b->edge.s, &at, &g), HF_ARG);
    g.count = 0;
    in_range(&g, "a", "");
    in_range(&g, "b", "d");
    assert_int_equal(hf_state_repair_begin(b->edge.s, &at, &g), HF_ARG);
    g.count = 1;
    at.seq--;
    assert_int_equal(hf_state_repair_begin(b->edge.s, &at, &g), HF_ARG);
    assert_false(stage_of(b).active);
}

/* ---- walks ---- */

static struct hf_walk walked(struct hf_state *s, struct hf_walk w)
{
    struct hf_view *v;
    static uint8_t last[HF_STORE_KEY_MAX];
    assert_ok(hf_view_open(s, &v));
    assert_ok(hf_view_walk(v, &w));
    if (w.last.len > 0) {
        memcpy(last, w.last.data, w.last.len);
        w.last.data = last;
    }
    hf_view_close(v);
    return w;
}

static void a_walk_counts_all_and_goes_on_past_what_is_unreadable(void **state)
{
    struct box *b = *state;
    write_keys(b);
    struct hf_walk w = walked(b->edge.s, (struct hf_walk){.hashed = true});
    assert_true(w.end);
    assert_int_equal(w.records, 200);
    assert_int_equal(w.live, 180);
    assert_int_equal(w.unreadable, 0);
    assert_true(hf_slice_eq(w.last, hf_slice_str("a199")));
    struct hf_hash whole = w.fingerprint;
    flip(b, "value 042 of all");
    w = walked(b->edge.s, (struct hf_walk){.hashed = true});
    assert_int_equal(w.records, 200);
    assert_int_equal(w.live, 179);
    assert_int_equal(w.unreadable, 1);
    assert_memory_not_equal(&w.fingerprint, &whole, sizeof(whole));
}

/* Wherever it is cut, the parts add up to the whole. */
static void walks_of_parts_add_up_to_the_walk_of_the_whole(void **state)
{
    struct box *b = *state;
    struct hf_hash sum = {{0}};
    uint64_t records = 0;
    struct hf_walk w = {.hashed = true};
    write_keys(b);
    struct hf_walk whole = walked(b->edge.s, w);
    uint8_t after[HF_STORE_KEY_MAX];
    for (uint64_t i = 0; !w.end; i++) {
        w.live_max = i % 3 == 0 ? 5 + i : 0;
        w.record_max = i % 3 == 1 ? 7 : 0;
        w.byte_max = i % 3 == 2 ? 100 : 0;
        w = walked(b->edge.s, w);
        hf_fingerprint_add(&sum, &w.fingerprint);
        records += w.records;
        assert_true(w.end || w.records > 0);
        memcpy(after, w.last.data, w.last.len);
        w.after = hf_slice_of(after, w.last.len);
    }
    assert_int_equal(records, whole.records);
    assert_memory_equal(&sum, &whole.fingerprint, sizeof(sum));
}

static void a_walk_stays_between_its_bounds(void **state)
{
    struct box *b = *state;
    write_keys(b);
    struct hf_walk w = walked(
        b->edge.s, (struct hf_walk){.after = hf_slice_str("a010"), .until = hf_slice_str("a020")});
    assert_true(w.end);
    assert_int_equal(w.records, 10);
    w = walked(b->edge.s,
               (struct hf_walk){.after = hf_slice_str("a0105"), .until = hf_slice_str("a0108")});
    assert_true(w.end && w.records == 0 && w.last.len == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_BOX(a_damaged_record_is_replaced_and_its_neighbours_stay),
        IN_BOX(lost_and_invented_records_are_healed),
        IN_BOX(a_wrong_sum_and_a_wrong_index_need_no_range),
        IN_BOX(a_repair_ends_at_a_later_seq_if_the_core_goes_on),
        IN_BOX(ranges_come_in_turns_when_there_are_more_than_parts),
        IN_BOX(a_repair_elsewhere_is_refused_and_nothing_of_it_shows),
        IN_BOX(a_repair_does_not_outlive_a_restart),
        IN_BOX(ranges_must_rise_and_repairs_begin_at_the_position),
        IN_BOX(a_walk_counts_all_and_goes_on_past_what_is_unreadable),
        IN_BOX(walks_of_parts_add_up_to_the_walk_of_the_whole),
        IN_BOX(a_walk_stays_between_its_bounds),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
