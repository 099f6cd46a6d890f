/*
 * stage_box.h - what the tests of transfers share: a core that writes (state_fixture.h), and an
 * edge that stages its chunks part by part and is fed its frames.
 *
 * Nothing here checks more than that calls succeed; the tests say what the edge shows.
 */
#ifndef HF_TESTS_STAGE_BOX_H
#define HF_TESTS_STAGE_BOX_H

#include "state_fixture.h"

struct edge {
    char *dir;
    struct hf_state *s;
};

struct box {
    struct core *core;
    struct edge edge;
    struct answer *a;
};

static MAYBE_UNUSED int box_setup(void **state)
{
    struct box *b = calloc(1, sizeof(*b));
    b->core = core_new();
    b->a = calloc(1, sizeof(*b->a));
    b->edge.dir = scratch_new();
    b->edge.s = open_edge(b->edge.dir);
    begin_history(b->edge.s);
    *state = b;
    return 0;
}

static MAYBE_UNUSED int box_teardown(void **state)
{
    struct box *b = *state;
    hf_state_close(b->edge.s);
    scratch_remove(b->edge.dir);
    core_free(b->core);
    free(b->edge.dir);
    free(b->a);
    free(b);
    return 0;
}

static MAYBE_UNUSED void edge_restart(struct edge *e)
{
    hf_state_close(e->s);
    e->s = open_store(e->dir);
}

static MAYBE_UNUSED hf_seq core_head(struct box *b)
{
    return hf_state_position(b->core->s).seq;
}

static MAYBE_UNUSED void apply_log(struct box *b, hf_seq last)
{
    for (hf_seq seq = hf_state_position(b->edge.s).seq + 1; seq <= last; seq++) {
        struct hf_body body = core_body(b->core, seq);
        assert_ok(hf_state_apply_batch(b->edge.s, &b->core->frame[seq].f, &body));
    }
    assert_ok(hf_state_commit(b->edge.s));
}

static MAYBE_UNUSED struct hf_stage stage_of(struct box *b)
{
    struct hf_stage st;
    hf_state_stage_get(b->edge.s, &st);
    return st;
}

static MAYBE_UNUSED bool in_keys(const struct hf_stage *st)
{
    return st->kind != HF_PLAN_DELTA && !st->keys_done;
}

static MAYBE_UNUSED struct hf_bound cursor_of(struct box *b, uint32_t part)
{
    struct hf_stage st = stage_of(b);
    assert_true(part < st.part_count);
    return st.part[part].cursor;
}

static MAYBE_UNUSED void begin_split(struct box *b, enum hf_plan_kind kind,
                                     const struct hf_stage_splits *splits)
{
    struct hf_position at = hf_state_position(b->edge.s);
    assert_ok(hf_state_stage_begin(b->edge.s, kind, &at, core_head(b), splits));
    assert_ok(hf_state_commit(b->edge.s));
}

static MAYBE_UNUSED void begin(struct box *b, enum hf_plan_kind kind)
{
    begin_split(b, kind, NULL);
}

/* Asks for the next chunk of a part; a->chunk and a->records have it. */
static MAYBE_UNUSED void ask(struct box *b, uint32_t part, size_t limit)
{
    struct hf_stage st = stage_of(b);
    assert_true(part < st.part_count);
    answer(b->core, &st.part[part], in_keys(&st), limit, b->a);
}

static MAYBE_UNUSED enum hf_err stage_answer(struct box *b, uint32_t part)
{
    struct hf_records records;
    hf_records_open(&records, hf_writer_bytes(&b->a->records));
    struct hf_sum sum;
    hf_records_sum(&records, &sum);
    return hf_state_stage_chunk(b->edge.s, part, &b->a->chunk, &records, &sum);
}

/* Stages the next chunk of a part, in the open transaction. */
static MAYBE_UNUSED void take(struct box *b, uint32_t part, size_t limit)
{
    ask(b, part, limit);
    if (b->a->code == HF_MOVED) {
        assert_ok(hf_state_stage_skip(b->edge.s, part));
    } else {
        assert_ok(stage_answer(b, part));
    }
}

/* Any part that is open. */
static MAYBE_UNUSED uint32_t open_part(const struct hf_stage *st, uint64_t *seed)
{
    uint32_t part = rng_below(seed, st->part_count);
    while (st->part[part].done) {
        part = (part + 1) % st->part_count;
    }
    return part;
}

/* Fetches one chunk of the first part that is open; false when no range is. */
static MAYBE_UNUSED bool fetch(struct box *b, size_t limit)
{
    struct hf_stage st = stage_of(b);
    uint32_t part = 0;
    while (part < st.part_count && st.part[part].done) {
        part++;
    }
    if (part == st.part_count) {
        assert_int_equal(st.part_count, 0);
        return false;
    }
    take(b, part, limit);
    assert_ok(hf_state_commit(b->edge.s));
    return true;
}

static MAYBE_UNUSED void feed_tail(struct box *b, hf_seq last)
{
    for (hf_seq seq = stage_of(b).tail + 1; seq <= last; seq++) {
        struct hf_body body = core_body(b->core, seq);
        assert_ok(hf_state_stage_frame(b->edge.s, &b->core->frame[seq].f, &body));
    }
    assert_ok(hf_state_commit(b->edge.s));
}

static MAYBE_UNUSED void switch_to(struct box *b, hf_seq seq)
{
    assert_ok(hf_state_stage_switch(b->edge.s, &b->core->frame[seq].f));
    assert_ok(hf_state_commit(b->edge.s));
    assert_false(stage_of(b).active);
}

static MAYBE_UNUSED void drop_all(struct box *b)
{
    bool again = true;
    while (again) {
        assert_ok(hf_state_stage_drop(b->edge.s, &again));
        assert_ok(hf_state_commit(b->edge.s));
    }
}

static MAYBE_UNUSED void assert_equal_to_core(struct box *b)
{
    assert_same_contents(b->core->s, b->edge.s);
    assert_verified(b->edge.s);
}

static MAYBE_UNUSED bool shows(struct box *b, const char *key)
{
    struct hf_view *v;
    struct hf_stored r;
    assert_ok(hf_view_open(b->edge.s, &v));
    enum hf_err e = hf_view_get(v, hf_slice_str(key), false, &r);
    hf_view_close(v);
    return e == HF_OK;
}

static MAYBE_UNUSED void fill(char *value, size_t len, char c)
{
    memset(value, c, len - 1);
    value[len - 1] = '\0';
}

/* A chunk of one record for a part. */
static MAYBE_UNUSED enum hf_err stage_record(struct box *b, uint32_t part,
                                             const struct hf_record *rec, hf_seq asof)
{
    struct hf_stage st = stage_of(b);
    bool keys = in_keys(&st);
    answer_begin(b->a);
    hf_columns_add(&b->a->columns, rec);
    answer_end(b->a);
    struct hf_chunk *c = &b->a->chunk;
    *c = (struct hf_chunk){.want = keys ? HF_WANT_KEYS : HF_WANT_DELTA, .asof = asof};
    c->from = st.part[part].cursor;
    c->to = (struct hf_bound){rec->seq, rec->ordinal, HF_OFFSET_END, rec->key};
    enum hf_err e = stage_answer(b, part);
    if (e != HF_OK) {
        hf_state_abort(b->edge.s);
    }
    return e;
}

#define IN_BOX(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)

#endif
