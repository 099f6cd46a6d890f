/*
 * stage.c - a transfer into the tables that are not visible, and the switch that makes it visible.
 *
 * The closing rule (DESIGN section 4): of one key the record with the higher point is kept,
 * whatever brought it, and the stage may become visible only at a seq N that is at least the
 * largest asof of its chunks, when everything up to N is in it, against the digest that the core
 * signed for N. States in between are no prefixes of the history (G1) and are never shown.
 *
 * A SNAPSHOT is a whole generation with its own sum and index; the switch names it the visible one.
 * A DELTA is an overlay of records; the switch writes each of them over the visible one, in the
 * same transaction. Either way a wrong record shows as HF_DIGEST before anything became visible
 * (G11, G15).
 *
 * It must not decide when to ask, stop or switch: that is the replica engine. staging.c keeps how
 * far a transfer got.
 */
#include "state_impl.h"

#include <stdlib.h>

/* ---- beginning and ranges ---- */

/* The lower bound of a range that nothing was taken of: all up to and including seq. */
static void cursor_after(struct hf_staging *st, hf_seq seq)
{
    st->stage.cursor = (struct hf_bound){
        .seq = seq, .ordinal = UINT32_MAX, .offset = HF_OFFSET_END, .key = {NULL, 0}};
}

static void fragment_forget(struct hf_state *s)
{
    s->fragment_dirty |= s->staging.fragment.active;
    s->staging.fragment.active = false;
}

static void range_done(struct hf_state *s)
{
    struct hf_stage *g = &s->staging.stage;
    fragment_forget(s); /* a value that was not finished moved away; the tail covers it */
    if (g->kind == HF_PLAN_SNAPSHOT && !g->keys_done) {
        g->keys_done = true;
    } else {
        g->covered = g->target;
    }
    if (g->tail < g->covered) {
        g->tail = g->covered;
    }
    cursor_after(&s->staging, g->covered);
}

enum hf_err hf_state_stage_begin(struct hf_state *s, enum hf_plan_kind kind,
                                 const struct hf_position *base, hf_seq head)
{
    struct hf_stage *g = &s->staging.stage;
    if (kind != HF_PLAN_DELTA && kind != HF_PLAN_SNAPSHOT) {
        return HF_ARG;
    }
    if (!hf_id_eq(&base->epoch_id, &s->head.at.epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    if (kind == HF_PLAN_DELTA && (base->seq != s->head.at.seq || head < base->seq)) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    if (g->active) {
        return HF_EXISTS;
    }
    for (bool again = true; again && e == HF_OK;) {
        e = hf_tree_drop(s, hf_tree_staged(s), &again); /* what an earlier one left */
    }
    if (e != HF_OK) {
        return hf_state_fail(s, e);
    }
    hf_staging_clear(s);
    g->active = true;
    g->kind = kind;
    g->epoch_id = base->epoch_id;
    g->base = base->seq;
    g->keys_head = kind == HF_PLAN_SNAPSHOT ? head : 0;
    g->covered = kind == HF_PLAN_SNAPSHOT ? head : base->seq;
    g->tail = g->covered;
    g->target = head;
    cursor_after(&s->staging, kind == HF_PLAN_SNAPSHOT ? 0 : g->covered);
    hf_tree_staged(s)->overlay = kind == HF_PLAN_DELTA;
    return HF_OK;
}

enum hf_err hf_state_stage_target(struct hf_state *s, hf_seq target)
{
    struct hf_stage *g = &s->staging.stage;
    bool in_keys = g->kind == HF_PLAN_SNAPSHOT && !g->keys_done;
    if (!g->active || in_keys || target < g->covered) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    g->target = target;
    s->staging_dirty = true;
    /* A transfer may stop at any seq that its cursor has passed. */
    if (target < g->cursor.seq) {
        range_done(s);
    }
    return HF_OK;
}

/* ---- chunks ---- */

static bool bound_eq(const struct hf_bound *a, const struct hf_bound *b, bool keys)
{
    if (a->offset != b->offset) {
        return false;
    }
    return keys ? hf_slice_eq(a->key, b->key) : a->seq == b->seq && a->ordinal == b->ordinal;
}

static enum hf_err put_staged(struct hf_state *s, const struct hf_stored *r)
{
    bool changed;
    return hf_tree_write(s, hf_tree_staged(s), r, HF_RULE_IF_NEWER, &changed);
}

static enum hf_err fragment_begin(struct hf_state *s, const struct hf_record *r)
{
    struct hf_fragment *f = &s->staging.fragment;
    if (s->fragment == NULL && (s->fragment = malloc(HF_STORE_VALUE_MAX)) == NULL) {
        return HF_NOMEM;
    }
    f->active = true;
    f->at = (struct hf_point){r->seq, r->ordinal};
    f->total = r->total;
    f->have = 0;
    f->key_len = (uint32_t)r->key.len;
    memcpy(f->key, r->key.data, r->key.len);
    return HF_OK;
}

static bool fragment_goes_on(const struct hf_fragment *f, const struct hf_record *r)
{
    return f->active && f->have == r->offset && f->total == r->total && f->at.seq == r->seq &&
           f->at.ordinal == r->ordinal && hf_slice_eq(hf_slice_of(f->key, f->key_len), r->key);
}

/* A piece of another version of the key than the one under way means that the key changed since:
 * the new version has a seq behind this range, and a later range or the tail brings it. */
static enum hf_err stage_fragment(struct hf_state *s, const struct hf_record *r)
{
    struct hf_fragment *f = &s->staging.fragment;
    enum hf_err e = HF_OK;
    if (r->offset == 0) {
        e = fragment_begin(s, r);
    } else if (!fragment_goes_on(f, r)) {
        fragment_forget(s);
    }
    s->fragment_dirty = true;
    if (e != HF_OK || !f->active) {
        return e;
    }
    memcpy(s->fragment + f->have, r->value.data, r->value.len);
    f->have += (uint32_t)r->value.len;
    if (f->have < f->total) {
        return HF_OK;
    }
    struct hf_stored whole = {r->key, hf_slice_of(s->fragment, f->total), r->seq, r->ordinal,
                              false};
    e = put_staged(s, &whole);
    fragment_forget(s);
    return e;
}

static bool record_fits(const struct hf_stage *g, const struct hf_chunk *c,
                        const struct hf_record *r)
{
    bool keys = c->want == HF_WANT_KEYS;
    bool in_range = keys ? r->seq <= c->asof : r->seq > g->covered && r->seq <= g->target;
    bool sized = r->key.len > 0 && r->key.len <= HF_STORE_KEY_MAX &&
                 r->total <= HF_STORE_VALUE_MAX && r->offset <= r->total &&
                 r->value.len <= r->total - r->offset;
    bool empty_if_gone = !r->tombstone || (!keys && r->total == 0);
    return in_range && r->seq > 0 && sized && empty_if_gone;
}

static enum hf_err stage_records(struct hf_state *s, const struct hf_chunk *c,
                                 struct hf_slice records)
{
    struct hf_reader reader;
    struct hf_record r;
    enum hf_err e = HF_OK;
    hf_reader_init(&reader, records);
    while (e == HF_OK && hf_record_next(&reader, &r)) {
        if (!record_fits(&s->staging.stage, c, &r)) {
            e = HF_MALFORMED;
        } else if (r.offset > 0 || r.value.len < r.total) {
            e = stage_fragment(s, &r);
        } else {
            struct hf_stored whole = {r.key, r.value, r.seq, r.ordinal, r.tombstone};
            fragment_forget(s);
            e = put_staged(s, &whole);
        }
    }
    return e == HF_OK && reader.failed ? HF_MALFORMED : e;
}

enum hf_err hf_state_stage_chunk(struct hf_state *s, const struct hf_chunk *c,
                                 struct hf_slice records)
{
    struct hf_stage *g = &s->staging.stage;
    struct hf_stage now;
    bool keys = g->kind == HF_PLAN_SNAPSHOT && !g->keys_done;
    hf_state_stage_get(s, &now);
    if (!g->active || c->want != (keys ? HF_WANT_KEYS : HF_WANT_DELTA) ||
        !bound_eq(&c->from, &now.cursor, keys) || c->to.key.len > HF_STORE_KEY_MAX) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    /* Older than the range that it claims to fill: its reader could not know all of it. */
    if (c->asof < (keys ? g->keys_head : g->target)) {
        return hf_state_fail(s, HF_MALFORMED);
    }
    e = stage_records(s, c, records);
    if (e != HF_OK) {
        return hf_state_fail(s, e);
    }
    g->asof = c->asof > g->asof ? c->asof : g->asof;
    g->bytes += records.len;
    s->staging_dirty = true;
    if (c->end) {
        range_done(s);
        return HF_OK;
    }
    g->cursor = c->to;
    g->cursor.key.data = NULL;
    if (!keys) {
        g->cursor.key.len = 0;
    } else {
        memmove(s->staging.key, c->to.key.data, c->to.key.len);
    }
    return HF_OK;
}

enum hf_err hf_state_stage_skip(struct hf_state *s)
{
    struct hf_bound *at = &s->staging.stage.cursor;
    if (!s->staging.stage.active || at->offset == HF_OFFSET_END) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    at->offset = HF_OFFSET_END;
    fragment_forget(s);
    s->staging_dirty = true;
    return HF_OK;
}

/* ---- the tail ---- */

enum hf_err hf_state_stage_frame(struct hf_state *s, const struct hf_frame *f, struct hf_body *body)
{
    struct hf_stage *g = &s->staging.stage;
    struct hf_change c;
    uint32_t ordinal = 0;
    if (!g->active || f->h.seq != g->tail + 1) {
        return HF_ARG;
    }
    if (!hf_id_eq(&f->h.epoch_id, &g->epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    enum hf_err e = hf_state_writable(s);
    while (e == HF_OK && hf_body_next_change(body, &c)) {
        bool del = c.op == HF_OP_DEL;
        struct hf_stored r = {c.key, c.value, f->h.seq, ordinal++, del};
        if (del) {
            r.value = hf_slice_of(NULL, 0);
        }
        e = put_staged(s, &r);
    }
    if (e != HF_OK) {
        return hf_state_fail(s, e);
    }
    g->tail = f->h.seq;
    s->staging_dirty = true;
    return HF_OK;
}

/* ---- the switch ---- */

/* Writes every staged record over the visible one, unless that is newer. The value is copied first:
 * a write may free the page that it lies in. */
static enum hf_err merge(struct hf_state *s)
{
    struct hf_tree *from = hf_tree_staged(s);
    MDB_cursor *c = NULL;
    MDB_val k;
    MDB_val data;
    uint8_t key[HF_STORE_KEY_MAX];
    if (s->scratch == NULL && (s->scratch = malloc(HF_STORE_VALUE_MAX)) == NULL) {
        return HF_NOMEM;
    }
    enum hf_err e = hf_env_error(mdb_cursor_open(s->txn, from->state, &c));
    if (e != HF_OK) {
        return e;
    }
    while ((e = hf_env_error(mdb_cursor_get(c, &k, &data, MDB_NEXT))) == HF_OK) {
        struct hf_stored r;
        bool changed;
        e = hf_record_get(hf_slice_of_val(k), data, &r);
        if (e == HF_OK && (r.key.len > sizeof(key) || r.value.len > HF_STORE_VALUE_MAX)) {
            e = HF_CORRUPT;
        }
        if (e != HF_OK) {
            break;
        }
        memcpy(key, r.key.data, r.key.len);
        memcpy(s->scratch, r.value.data, r.value.len);
        r.key.data = key;
        r.value.data = s->scratch;
        e = hf_tree_write(s, hf_tree_visible(s), &r, HF_RULE_IF_NEWER, &changed);
        if (e != HF_OK) {
            break;
        }
    }
    mdb_cursor_close(c);
    return e == HF_NOTFOUND ? HF_OK : e;
}

static enum hf_err may_switch(const struct hf_state *s, const struct hf_frame *f)
{
    const struct hf_stage *g = &s->staging.stage;
    bool whole = g->active && (g->kind == HF_PLAN_DELTA || g->keys_done);
    if (!whole || s->half || f->header.len > HF_HEADER_MAX || f->h.seq != g->tail) {
        return HF_ARG;
    }
    if (!hf_id_eq(&f->h.epoch_id, &g->epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    if (f->h.seq < s->head.at.seq) {
        return HF_ARG; /* never back (G6); the same seq again is a repair */
    }
    return f->h.seq < g->asof ? HF_NOT_YET : HF_OK;
}

enum hf_err hf_state_stage_switch(struct hf_state *s, const struct hf_frame *f)
{
    bool snapshot = s->staging.stage.kind == HF_PLAN_SNAPSHOT;
    enum hf_err e = may_switch(s, f);
    if (e == HF_OK) {
        e = hf_state_writable(s);
    }
    if (e != HF_OK) {
        return e;
    }
    if (!snapshot) {
        e = merge(s);
    }
    for (int i = 0; i < 2 && e == HF_OK; i++) {
        e = hf_tree_flush(s, &s->tree[i]);
    }
    if (e != HF_OK) {
        return hf_state_fail(s, e);
    }
    struct hf_tree *t = snapshot ? hf_tree_staged(s) : hf_tree_visible(s);
    struct hf_hash digest = hf_lthash_digest(&t->sum.lanes);
    if (!hf_hash_eq(&digest, &f->h.digest)) {
        return hf_state_fail(s, HF_DIGEST);
    }
    if (snapshot) {
        s->head.generation++;
        s->head.delta_floor = f->h.seq; /* of what was deleted before, nothing is known here */
        s->head.swept = (struct hf_point){0, 0};
    }
    hf_staging_clear(s); /* of the tree that is not visible now */
    return hf_state_settle(s, &f->h, f->header, &f->signature);
}

enum hf_err hf_state_stage_drop(struct hf_state *s, bool *again)
{
    *again = false;
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    if (s->staging.stage.active) {
        hf_staging_clear(s);
    }
    return hf_state_fail(s, hf_tree_drop(s, hf_tree_staged(s), again));
}
