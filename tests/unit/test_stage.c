/*
 * test_stage.c - transfers: DELTA and SNAPSHOT arrive where the log does, or nothing becomes
 * visible.
 *
 * A core (state_fixture.h) writes; edges are fed its frames and chunks in the ways a link may bring
 * them: in small pieces, with writes going on, with restarts in between, and wrong.
 */
#include "stage_box.h"

#include <fcntl.h>

/* ---- path independence ---- */

static void log_delta_and_snapshot_arrive_at_the_same_state(void **state)
{
    struct box *b = *state;
    uint64_t seed = 11;
    core_random(b->core, &seed, 20, 120);
    apply_log(b, 20);
    assert_equal_to_core(b);
    core_random(b->core, &seed, 30, 120);
    begin(b, HF_PLAN_DELTA);
    while (fetch(b, 3000)) {
        ;
    }
    switch_to(b, core_head(b));
    assert_equal_to_core(b);
    drop_all(b);
    core_random(b->core, &seed, 30, 120);
    begin(b, HF_PLAN_SNAPSHOT);
    while (fetch(b, 3000)) {
        ;
    }
    switch_to(b, core_head(b));
    assert_equal_to_core(b);
    drop_all(b);
    assert_equal_to_core(b);
    core_random(b->core, &seed, 10, 120);
    apply_log(b, core_head(b)); /* and the log goes on from there */
    assert_equal_to_core(b);
}

/* The core writes between any two chunks; the edge follows with ranges and frames in any mixture.
 */
static void transfer(struct box *b, uint64_t *seed, enum hf_plan_kind kind)
{
    begin(b, kind);
    for (int writes = 12; fetch(b, 500 + rng_below(seed, 6000));) {
        if (writes > 0 && rng_below(seed, 2) == 0) {
            core_random(b->core, seed, 1, 150);
            writes--;
        }
        if (rng_below(seed, 12) == 0) {
            edge_restart(&b->edge);
        }
        if (rng_below(seed, 12) == 0 && stage_of(b).tail < core_head(b)) {
            feed_tail(b, stage_of(b).tail + 1);
        }
        struct hf_stage st = stage_of(b);
        bool ranged = kind == HF_PLAN_DELTA || st.keys_done;
        if (ranged && st.part_count == 0 && writes > 0 && rng_below(seed, 2) == 0) {
            assert_ok(hf_state_stage_target(b->edge.s, core_head(b)));
            assert_ok(hf_state_commit(b->edge.s));
        }
    }
    struct hf_stage st = stage_of(b);
    feed_tail(b, st.asof > st.tail ? st.asof : st.tail);
    hf_seq at = stage_of(b).tail;
    if (rng_below(seed, 2) == 0) {
        edge_restart(&b->edge);
    }
    switch_to(b, at);
    assert_verified(b->edge.s);
    apply_log(b, core_head(b));
    assert_equal_to_core(b);
}

static void transfers_under_writes_and_restarts_arrive_by_the_closing_rule(void **state)
{
    struct box *b = *state;
    uint64_t seed = 424242;
    core_random(b->core, &seed, 25, 150);
    apply_log(b, 10);
    for (int round = 0; round < 12; round++) {
        transfer(b, &seed, round % 3 == 1 ? HF_PLAN_SNAPSHOT : HF_PLAN_DELTA);
        if (rng_below(&seed, 2) == 0) {
            drop_all(b); /* else the next stage finds old tables, and empties them */
        }
        core_random(b->core, &seed, 6, 150);
    }
}

static void snapshot_forgets_what_the_core_deleted_and_collected(void **state)
{
    struct box *b = *state;
    struct hf_view *v;
    struct hf_applied a;
    bool again;
    core_put(b->core, "old", "1");
    core_put(b->core, "kept", "1");
    apply_log(b, 2);
    core_put(b->core, "old", NULL);
    assert_ok(hf_state_collect(b->core->s, 3, 100, &again));
    assert_ok(hf_state_commit(b->core->s));
    begin(b, HF_PLAN_SNAPSHOT);
    while (fetch(b, 1000)) {
        ;
    }
    assert_true(shows(b, "old"));
    switch_to(b, 3);
    assert_false(shows(b, "old"));
    assert_true(shows(b, "kept"));
    assert_ok(hf_view_open(b->edge.s, &v));
    hf_view_applied(v, &a);
    assert_int_equal(a.delta_floor, 3);
    assert_int_equal(a.at.seq, 3);
    assert_true(hf_slice_eq(a.header, b->core->frame[3].f.header));
    struct hf_hash chain;
    assert_ok(hf_view_chain(v, 3, &chain));
    assert_true(hf_hash_eq(&chain, &a.at.chain));
    hf_view_close(v);
    assert_equal_to_core(b);
}

static void range_that_no_plan_cut_is_cut_at_round_numbers(void **state)
{
    struct box *b = *state;
    char key[16];
    core_put(b->core, "a", "1");
    apply_log(b, 1);
    begin(b, HF_PLAN_DELTA);
    for (int i = 0; i < 99; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        core_put(b->core, key, "value");
    }
    assert_ok(hf_state_stage_target(b->edge.s, 100));
    struct hf_stage st = stage_of(b);
    assert_int_equal(st.part_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(st.part[i].until.seq, i < 3 ? 32 * (i + 1) : 100);
    }
    while (fetch(b, 300)) {
        ;
    }
    switch_to(b, 100);
    assert_equal_to_core(b);
}

static void delta_brings_deletes(void **state)
{
    struct box *b = *state;
    core_put(b->core, "gone", "1");
    core_put(b->core, "back", "1");
    apply_log(b, 2);
    core_put(b->core, "gone", NULL);
    core_put(b->core, "back", NULL);
    core_put(b->core, "back", "2");
    begin(b, HF_PLAN_DELTA);
    while (fetch(b, 1000)) {
        ;
    }
    switch_to(b, 5);
    assert_false(shows(b, "gone"));
    assert_true(shows(b, "back"));
    assert_equal_to_core(b);
}

static void open_view_keeps_its_generation_over_the_switch(void **state)
{
    struct box *b = *state;
    struct hf_view *v;
    struct hf_stored r;
    core_put(b->core, "a", "1");
    apply_log(b, 1);
    assert_ok(hf_view_open(b->edge.s, &v));
    assert_ok(next_live(v, hf_slice_of(NULL, 0), &r));
    core_put(b->core, "a", "2");
    begin(b, HF_PLAN_SNAPSHOT);
    while (fetch(b, 1000)) {
        ;
    }
    switch_to(b, 2);
    drop_all(b);
    assert_ok(hf_view_get(v, hf_slice_str("a"), false, &r));
    assert_true(hf_slice_eq(r.value, hf_slice_str("1")));
    assert_ok(hf_view_renew(v));
    assert_ok(next_live(v, hf_slice_of(NULL, 0), &r));
    assert_true(hf_slice_eq(r.value, hf_slice_str("2")));
    hf_view_close(v);
}

/* ---- what must not become visible ---- */

static void wrong_record(struct box *b, enum hf_plan_kind kind)
{
    struct hf_hash before = hf_state_digest(b->edge.s);
    begin(b, kind);
    ask(b, 0, 60000);
    b->a->bytes[b->a->records.len - 1] ^= 1; /* the last byte of the last value */
    assert_ok(stage_answer(b, 0));
    while (fetch(b, 1000)) {
        ;
    }
    assert_ok(hf_state_commit(b->edge.s));
    assert_int_equal(hf_state_stage_switch(b->edge.s, &b->core->frame[core_head(b)].f), HF_DIGEST);
    assert_int_equal(hf_state_commit(b->edge.s), HF_DIGEST);
    hf_state_abort(b->edge.s);
    struct hf_hash after = hf_state_digest(b->edge.s);
    assert_true(hf_hash_eq(&before, &after));
    assert_verified(b->edge.s);
    drop_all(b);
    assert_false(stage_of(b).active);
    edge_restart(&b->edge);
    assert_false(stage_of(b).active);
    assert_verified(b->edge.s);
}

static void wrong_record_fails_the_switch_and_leaves_the_visible_state(void **state)
{
    struct box *b = *state;
    core_put(b->core, "a", "1");
    core_put(b->core, "b", "2");
    apply_log(b, 1);
    core_put(b->core, "z", "last");
    wrong_record(b, HF_PLAN_DELTA);
    wrong_record(b, HF_PLAN_SNAPSHOT);
    apply_log(b, 3);
    assert_equal_to_core(b);
}

static void switch_waits_for_the_largest_asof(void **state)
{
    struct box *b = *state;
    core_put(b->core, "a", "1");
    core_put(b->core, "b", "1");
    begin(b, HF_PLAN_DELTA);
    core_put(b->core, "a", "2"); /* the chunk comes from a state of 3, without a's old value */
    while (fetch(b, 1000)) {
        ;
    }
    assert_int_equal(stage_of(b).asof, 3);
    assert_int_equal(stage_of(b).tail, 2);
    assert_int_equal(hf_state_stage_switch(b->edge.s, &b->core->frame[2].f), HF_NOT_YET);
    assert_int_equal(hf_state_stage_switch(b->edge.s, &b->core->frame[3].f), HF_ARG);
    struct hf_body body = core_body(b->core, 2);
    assert_int_equal(hf_state_stage_frame(b->edge.s, &b->core->frame[2].f, &body), HF_ARG);
    struct hf_frame gap = b->core->frame[3].f;
    gap.h.seq = 4;
    body = core_body(b->core, 3);
    assert_int_equal(hf_state_stage_frame(b->edge.s, &gap, &body), HF_ARG);
    feed_tail(b, 3);
    switch_to(b, 3);
    assert_equal_to_core(b);
}

static void snapshot_is_not_switched_before_its_keys_are_done(void **state)
{
    struct box *b = *state;
    uint64_t seed = 3;
    core_random(b->core, &seed, 5, 100);
    begin(b, HF_PLAN_SNAPSHOT);
    assert_true(fetch(b, 300));
    assert_int_equal(hf_state_stage_target(b->edge.s, 9), HF_ARG);
    assert_int_equal(hf_state_stage_switch(b->edge.s, &b->core->frame[5].f), HF_ARG);
    ask(b, 0, 1000);
    b->a->chunk.want = HF_WANT_DELTA;
    assert_int_equal(stage_answer(b, 0), HF_ARG);
    while (fetch(b, 300)) {
        ;
    }
    switch_to(b, 5);
    assert_equal_to_core(b);
}

static void chunk_that_is_not_at_the_cursor_is_refused(void **state)
{
    struct box *b = *state;
    uint64_t seed = 5;
    core_random(b->core, &seed, 10, 100);
    begin(b, HF_PLAN_DELTA);
    ask(b, 0, 800);
    assert_ok(stage_answer(b, 0));
    assert_int_equal(stage_answer(b, 0), HF_ARG); /* twice */
    assert_ok(hf_state_commit(b->edge.s));
    assert_int_equal(stage_of(b).bytes, b->a->records.len);
    while (fetch(b, 800)) {
        ;
    }
    switch_to(b, 10);
    assert_equal_to_core(b);
}

static void record_outside_of_its_range_is_refused(void **state)
{
    struct box *b = *state;
    for (int i = 0; i < 6; i++) {
        core_put(b->core, "a", i % 2 == 0 ? "x" : "y");
    }
    apply_log(b, 3);
    begin(b, HF_PLAN_DELTA);
    struct hf_record r = {hf_slice_str("a"), 3, 0, false, 1, 0, hf_slice_str("x")};
    assert_int_equal(stage_record(b, 0, &r, 6), HF_MALFORMED); /* not above the base */
    r.seq = 7;
    assert_int_equal(stage_record(b, 0, &r, 7), HF_MALFORMED); /* above the target */
    r.seq = 5;
    assert_int_equal(stage_record(b, 0, &r, 5), HF_MALFORMED); /* read before the target was */
    r.seq = 6;
    r.tombstone = true;
    assert_int_equal(stage_record(b, 0, &r, 6), HF_MALFORMED); /* deleted, with a value */
    r.tombstone = false;
    r.value = hf_slice_str("y");
    assert_ok(stage_record(b, 0, &r, 6));
}

/* It would be newer than the state that the switch makes; and a chunk that is older than the
 * transfer cannot have all of it. */
static void record_that_is_newer_than_its_chunk_is_refused(void **state)
{
    struct box *b = *state;
    core_put(b->core, "a", "x");
    core_put(b->core, "a", "y");
    begin(b, HF_PLAN_SNAPSHOT);
    struct hf_record r = {hf_slice_str("a"), 3, 0, false, 1, 0, hf_slice_str("y")};
    assert_int_equal(stage_record(b, 0, &r, 2), HF_MALFORMED);
    r.seq = 1;
    assert_int_equal(stage_record(b, 0, &r, 1), HF_MALFORMED);
    r.seq = 2;
    assert_ok(stage_record(b, 0, &r, 2));
}

static void damaged_chunk_is_malformed_and_moves_nothing(void **state)
{
    struct box *b = *state;
    core_put(b->core, "a", "1");
    begin(b, HF_PLAN_DELTA);
    ask(b, 0, 800);
    b->a->records.len--;
    assert_int_equal(stage_answer(b, 0), HF_MALFORMED);
    hf_state_abort(b->edge.s);
    assert_int_equal(cursor_of(b, 0).seq, 0);
    assert_int_equal(stage_of(b).bytes, 0);
    b->a->records.len++;
    assert_ok(stage_answer(b, 0));
    assert_ok(hf_state_commit(b->edge.s));
    switch_to(b, 1);
}

static void stage_belongs_to_one_base_and_one_epoch(void **state)
{
    struct box *b = *state;
    struct hf_position at = hf_state_position(b->edge.s);
    core_put(b->core, "a", "1");
    at.seq = 1;
    assert_int_equal(hf_state_stage_begin(b->edge.s, HF_PLAN_DELTA, &at, 5, NULL), HF_ARG);
    at.seq = 0;
    at.epoch_id.b[0] ^= 1;
    assert_int_equal(hf_state_stage_begin(b->edge.s, HF_PLAN_SNAPSHOT, &at, 5, NULL),
                     HF_UNKNOWN_EPOCH);
    begin(b, HF_PLAN_DELTA);
    at = hf_state_position(b->edge.s);
    assert_int_equal(hf_state_stage_begin(b->edge.s, HF_PLAN_DELTA, &at, 5, NULL), HF_EXISTS);
    struct hf_frame f = b->core->frame[1].f;
    f.h.epoch_id.b[0] ^= 1;
    struct hf_body body = core_body(b->core, 1);
    assert_int_equal(hf_state_stage_frame(b->edge.s, &f, &body), HF_UNKNOWN_EPOCH);
    while (fetch(b, 1000)) {
        ;
    }
    assert_int_equal(hf_state_stage_switch(b->edge.s, &f), HF_UNKNOWN_EPOCH);
}

static void switch_never_goes_back(void **state)
{
    struct box *b = *state;
    core_put(b->core, "a", "1");
    begin(b, HF_PLAN_SNAPSHOT);
    while (fetch(b, 1000)) {
        ;
    }
    core_put(b->core, "a", "2");
    apply_log(b, 2); /* the log was faster */
    assert_int_equal(hf_state_stage_switch(b->edge.s, &b->core->frame[1].f), HF_NOT_YET);
    drop_all(b);
    assert_equal_to_core(b);
}

/* As after a full map: the parts come again that were not committed, and no others. */
static void a_switch_that_is_aborted_leaves_what_was_committed(void **state)
{
    struct box *b = *state;
    uint64_t seed = 23;
    core_random(b->core, &seed, 50, 100);
    begin(b, HF_PLAN_DELTA);
    assert_true(fetch(b, 1000));
    assert_ok(hf_state_commit(b->edge.s));
    struct hf_stage kept = stage_of(b);
    while (stage_of(b).part_count > 0) {
        take(b, 0, 1000);
    }
    hf_seq last = stage_of(b).tail;
    hf_state_abort(b->edge.s);
    assert_ok(hf_state_grow(b->edge.s));
    assert_int_equal(hf_state_stage_switch(b->edge.s, &b->core->frame[last].f), HF_ARG);
    assert_int_equal(stage_of(b).bytes, kept.bytes);
    while (fetch(b, 1000)) {
        ;
    }
    assert_int_equal(stage_of(b).tail, last);
    switch_to(b, last);
    assert_equal_to_core(b);
}

static void snapshot_at_the_same_seq_repairs(void **state)
{
    struct box *b = *state;
    uint64_t seed = 17;
    core_random(b->core, &seed, 8, 60);
    apply_log(b, 8);
    begin(b, HF_PLAN_SNAPSHOT);
    while (fetch(b, 1000)) {
        ;
    }
    switch_to(b, 8);
    assert_equal_to_core(b);
}

/* ---- progress and fragments ---- */

static void large_value_comes_in_pieces_and_goes_on_after_a_restart(void **state)
{
    struct box *b = *state;
    static char value[400000];
    struct hf_view *v;
    struct hf_stored r;
    enum hf_plan_kind kinds[] = {HF_PLAN_DELTA, HF_PLAN_SNAPSHOT};
    int fragments = 0;
    for (int i = 0; i < 2; i++) {
        fill(value, sizeof(value), (char)('a' + i));
        core_put(b->core, "before", i == 0 ? "1" : "2");
        core_put(b->core, "large", value);
        core_put(b->core, "later", i == 0 ? "1" : "2");
        begin(b, kinds[i]);
        while (fetch(b, 50000)) {
            struct hf_stage st = stage_of(b);
            fragments += st.part_count > 0 && st.part[0].cursor.offset != HF_OFFSET_END;
            edge_restart(&b->edge);
            struct hf_stage again = stage_of(b);
            assert_int_equal(st.part[0].cursor.offset, again.part[0].cursor.offset);
            assert_int_equal(st.bytes, again.bytes);
        }
        switch_to(b, core_head(b));
        assert_ok(hf_view_open(b->edge.s, &v));
        assert_ok(hf_view_get(v, hf_slice_str("large"), false, &r));
        assert_true(hf_slice_eq(r.value, hf_slice_str(value)));
        hf_view_close(v);
        drop_all(b);
    }
    assert_true(fragments >= 12);
    assert_equal_to_core(b);
}

static void aborted_chunk_leaves_cursor_fragment_and_records_as_they_were(void **state)
{
    struct box *b = *state;
    static char value[90000];
    static char other[90000];
    fill(value, sizeof(value), 'v');
    fill(other, sizeof(other), 'w');
    core_put(b->core, "large", value);
    core_put(b->core, "other", other);
    begin(b, HF_PLAN_DELTA);
    assert_true(fetch(b, 40000));
    struct hf_bound before = cursor_of(b, 0);
    uint64_t bytes = stage_of(b).bytes;
    assert_int_not_equal(before.offset, HF_OFFSET_END);
    for (int i = 0; i < 3; i++) { /* far enough to overwrite the fragment with that of `other` */
        take(b, 0, 40000);
    }
    assert_int_equal(cursor_of(b, 0).seq, 2);
    hf_state_abort(b->edge.s);
    assert_int_equal(cursor_of(b, 0).seq, before.seq);
    assert_int_equal(cursor_of(b, 0).offset, before.offset);
    assert_int_equal(stage_of(b).bytes, bytes);
    while (fetch(b, 40000)) {
        ;
    }
    switch_to(b, 2);
    assert_equal_to_core(b);
}

static void aborted_chunk_is_asked_for_again(void **state)
{
    struct box *b = *state;
    uint64_t seed = 41;
    core_random(b->core, &seed, 10, 60);
    begin(b, HF_PLAN_SNAPSHOT);
    for (int i = 0; i < 200; i++) {
        struct hf_stage before = stage_of(b);
        if (before.keys_done) {
            break;
        }
        take(b, 0, 700);
        if (i % 2 == 0) {
            assert_ok(hf_state_commit(b->edge.s));
        } else {
            hf_state_abort(b->edge.s);
        }
        assert_true(i % 2 == 0 || stage_of(b).bytes == before.bytes);
    }
    assert_true(stage_of(b).keys_done);
    switch_to(b, 10);
    assert_equal_to_core(b);
}

/* The core changes the value between two of its pieces. */
static void moved_under_way(struct box *b, enum hf_plan_kind kind, const char *next)
{
    static char value[60000];
    fill(value, sizeof(value), 'v');
    core_put(b->core, "a", "small");
    core_put(b->core, "large", value);
    core_put(b->core, "z", next);
    begin(b, kind);
    while (cursor_of(b, 0).offset == HF_OFFSET_END) {
        assert_true(fetch(b, 20000));
    }
    if (next[0] == 'x') {
        fill(value, sizeof(value), 'n'); /* the same length: only the point tells */
    } else {
        fill(value, 100, 'n');
    }
    core_put(b->core, "large", value);
    while (fetch(b, 20000)) {
        ;
    }
    hf_seq head = core_head(b);
    feed_tail(b, head);
    switch_to(b, head);
    assert_equal_to_core(b);
    drop_all(b);
}

static void value_that_changes_between_its_pieces_is_left_to_the_tail(void **state)
{
    struct box *b = *state;
    moved_under_way(b, HF_PLAN_DELTA, "x1");
    moved_under_way(b, HF_PLAN_SNAPSHOT, "x2");
    moved_under_way(b, HF_PLAN_DELTA, "y1");
    moved_under_way(b, HF_PLAN_SNAPSHOT, "y2");
}

static void skip_needs_a_fragment(void **state)
{
    struct box *b = *state;
    core_put(b->core, "a", "1");
    assert_int_equal(hf_state_stage_skip(b->edge.s, 0), HF_ARG);
    begin(b, HF_PLAN_DELTA);
    assert_int_equal(hf_state_stage_skip(b->edge.s, 0), HF_ARG);
}

static void higher_point_wins_in_whatever_order_they_come(void **state)
{
    struct box *b = *state;
    core_put(b->core, "a", "1");
    core_put(b->core, "b", "1");
    core_put(b->core, "a", "2");
    begin(b, HF_PLAN_SNAPSHOT);
    assert_int_equal(stage_of(b).tail, 3);
    core_put(b->core, "a", NULL);
    core_put(b->core, "b", "2");
    feed_tail(b, 5); /* the tail first, then the keys as they were at 3: only b is newer there */
    while (fetch(b, 20)) {
        ;
    }
    switch_to(b, 5);
    assert_equal_to_core(b);
}

static void delta_merges_over_a_state_that_moved_on(void **state)
{
    struct box *b = *state;
    uint64_t seed = 29;
    core_random(b->core, &seed, 20, 100);
    apply_log(b, 5);
    begin(b, HF_PLAN_DELTA);
    while (fetch(b, 2000)) {
        ;
    }
    apply_log(b, 12);
    edge_restart(&b->edge);
    assert_true(stage_of(b).active);
    switch_to(b, 20);
    assert_equal_to_core(b);
}

static void damaged_progress_is_given_up_at_open(void **state)
{
    struct box *b = *state;
    static char value[60000];
    char path[256];
    fill(value, sizeof(value), 'Q');
    core_put(b->core, "large", value);
    begin(b, HF_PLAN_DELTA);
    assert_true(fetch(b, 20000));
    hf_state_close(b->edge.s);
    snprintf(path, sizeof(path), "%s/data.mdb", b->edge.dir);
    int fd = open(path, O_RDWR);
    char page[4096];
    for (off_t at = 0; pread(fd, page, sizeof(page), at) == sizeof(page); at += 4096) {
        if (memcmp(page + 2000, "QQQQ", 4) == 0) {
            assert_int_equal(pwrite(fd, "q", 1, at + 2000), 1);
        }
    }
    close(fd);
    b->edge.s = open_edge(b->edge.dir);
    assert_false(stage_of(b).active);
    begin(b, HF_PLAN_DELTA);
    while (fetch(b, 20000)) {
        ;
    }
    switch_to(b, 1);
    assert_equal_to_core(b);
}

static void drop_frees_in_steps_and_leaves_the_visible_state(void **state)
{
    struct box *b = *state;
    uint64_t seed = 31;
    bool again;
    core_random(b->core, &seed, 20, 100);
    apply_log(b, 20);
    begin(b, HF_PLAN_SNAPSHOT);
    while (fetch(b, 1000)) {
        ;
    }
    switch_to(b, 20);
    assert_ok(hf_state_stage_drop(b->edge.s, &again)); /* the old records */
    assert_true(again);
    assert_ok(hf_state_commit(b->edge.s));
    edge_restart(&b->edge);
    assert_ok(hf_state_stage_drop(b->edge.s, &again)); /* the old index */
    assert_false(again);
    assert_ok(hf_state_commit(b->edge.s));
    assert_equal_to_core(b);
}

/* A carry file has one chunk after the other of what changed while its keys were read. */
static void range_of_a_carry_file_is_one_part(void **state)
{
    struct box *b = *state;
    uint64_t seed = 3;
    core_random(b->core, &seed, 20, 20);
    begin(b, HF_PLAN_SNAPSHOT);
    while (!stage_of(b).keys_done) {
        assert_true(fetch(b, 1000));
    }
    core_random(b->core, &seed, 20, 100);
    assert_ok(hf_state_stage_target_whole(b->edge.s, core_head(b)));
    assert_int_equal(stage_of(b).part_count, 1);
    while (fetch(b, 1000)) {
        ;
    }
    switch_to(b, core_head(b));
    assert_equal_to_core(b);
}

static void sum_of_a_chunk_is_that_of_its_whole_and_live_records(void **state)
{
    (void)state;
    static uint8_t memory[HF_COLUMNS * 4096];
    uint8_t bytes[4096];
    struct hf_slice block[HF_RECORDS_BLOCKS];
    struct hf_columns columns;
    struct hf_records records;
    struct hf_writer w;
    struct hf_sum sum;
    struct hf_lthash want;
    hf_columns_init(&columns, memory, 4096);
    const struct hf_record r[] = {
        {hf_slice_str("a"), 3, 0, false, 9, 4, hf_slice_str("rests")},
        {hf_slice_str("b"), 3, 1, false, 5, 0, hf_slice_str("value")},
        {hf_slice_str("c"), 4, 0, true, 0, 0, hf_slice_str("")},
        {hf_slice_str("d"), 5, 0, false, 0, 0, hf_slice_str("")},
        {hf_slice_str("e"), 6, 0, false, 9, 0, hf_slice_str("begins")},
    };
    for (size_t i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
        hf_columns_add(&columns, &r[i]);
    }
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_columns_finish(&columns, &w, block);
    hf_records_open(&records, hf_writer_bytes(&w));
    hf_records_sum(&records, &sum);
    hf_lthash_clear(&want);
    for (size_t i = 1; i < 4; i += 2) {
        struct hf_hash element = hf_element_hash(r[i].key, r[i].seq, r[i].value);
        hf_lthash_add(&want, &element);
    }
    assert_int_equal(sum.live_count, 2);
    assert_memory_equal(&sum.lanes, &want, sizeof(want));
    hf_records_open(&records, hf_slice_of(bytes, w.len - 1));
    hf_records_sum(&records, &sum);
    assert_int_equal(sum.live_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_BOX(log_delta_and_snapshot_arrive_at_the_same_state),
        IN_BOX(transfers_under_writes_and_restarts_arrive_by_the_closing_rule),
        IN_BOX(snapshot_forgets_what_the_core_deleted_and_collected),
        IN_BOX(range_that_no_plan_cut_is_cut_at_round_numbers),
        IN_BOX(delta_brings_deletes),
        IN_BOX(open_view_keeps_its_generation_over_the_switch),
        IN_BOX(wrong_record_fails_the_switch_and_leaves_the_visible_state),
        IN_BOX(switch_waits_for_the_largest_asof),
        IN_BOX(snapshot_is_not_switched_before_its_keys_are_done),
        IN_BOX(chunk_that_is_not_at_the_cursor_is_refused),
        IN_BOX(record_outside_of_its_range_is_refused),
        IN_BOX(record_that_is_newer_than_its_chunk_is_refused),
        IN_BOX(damaged_chunk_is_malformed_and_moves_nothing),
        IN_BOX(stage_belongs_to_one_base_and_one_epoch),
        IN_BOX(switch_never_goes_back),
        IN_BOX(a_switch_that_is_aborted_leaves_what_was_committed),
        IN_BOX(snapshot_at_the_same_seq_repairs),
        IN_BOX(large_value_comes_in_pieces_and_goes_on_after_a_restart),
        IN_BOX(aborted_chunk_leaves_cursor_fragment_and_records_as_they_were),
        IN_BOX(aborted_chunk_is_asked_for_again),
        IN_BOX(value_that_changes_between_its_pieces_is_left_to_the_tail),
        IN_BOX(skip_needs_a_fragment),
        IN_BOX(higher_point_wins_in_whatever_order_they_come),
        IN_BOX(delta_merges_over_a_state_that_moved_on),
        IN_BOX(damaged_progress_is_given_up_at_open),
        IN_BOX(drop_frees_in_steps_and_leaves_the_visible_state),
        IN_BOX(range_of_a_carry_file_is_one_part),
        cmocka_unit_test(sum_of_a_chunk_is_that_of_its_whole_and_live_records),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
