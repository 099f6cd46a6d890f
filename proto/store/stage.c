/*
 * stage.c - a transfer into the tables that are not visible, and the switch that makes it visible.
 *
 * The closing rule (PROTOCOL.md 8.4): of one key the record with the higher point is kept,
 * whatever brought it, and the stage may become visible only at a seq N that is at least the
 * largest asof of its chunks, when everything up to N is in it, against the digest that the core
 * signed for N. States in between are no prefixes of the history (G1) and are never shown.
 *
 * A SNAPSHOT is a whole generation with its own sum and index; the switch names it the visible one.
 * A DELTA is an overlay of records; the switch writes each of them over the visible one, in the
 * same transaction. So is a REPAIR, whose key ranges replace all that is visible there (repair.c).
 * In each case a wrong record shows as HF_DIGEST before anything became visible (G11, G15).
 *
 * It must not decide when to ask, stop or switch: that is the replica engine. bulk.c puts KEYS into
 * pages, parts.c keeps how far each part of a range got, staging.c writes that down.
 */
#include "state_impl.h"

#include <stdlib.h>

/* ---- beginning and ranges ---- */

static void range_done(struct hf_state *s)
{
    struct hf_stage *g = &s->staging.stage;
    memset(g->part, 0, sizeof(g->part));
    g->part_count = 0;
    if (g->kind == HF_PLAN_REPAIR && !g->keys_done) {
        hf_parts_take(s);
        g->keys_done = g->part_count == 0;
    } else if (hf_stage_in_keys(g)) {
        g->keys_done = true;
    } else {
        g->covered = g->target;
    }
    if (g->tail < g->covered) {
        g->tail = g->covered;
    }
}

enum hf_err hf_stage_open(struct hf_state *s, enum hf_plan_kind kind,
                          const struct hf_position *base, hf_seq head)
{
    struct hf_stage *g = &s->staging.stage;
    if (!hf_id_eq(&base->epoch_id, &s->head.at.epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    if (kind != HF_PLAN_SNAPSHOT && (base->seq != s->head.at.seq || head < base->seq)) {
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
    g->keys_head = kind == HF_PLAN_DELTA ? 0 : head;
    g->covered = kind == HF_PLAN_SNAPSHOT ? head : base->seq;
    g->tail = g->covered;
    g->target = head;
    hf_tree_staged(s)->overlay = hf_stage_is_overlay(g);
    return HF_OK;
}

enum hf_err hf_state_stage_begin(struct hf_state *s, enum hf_plan_kind kind,
                                 const struct hf_position *base, hf_seq head,
                                 const struct hf_stage_splits *splits)
{
    if (kind != HF_PLAN_DELTA && kind != HF_PLAN_SNAPSHOT) {
        return HF_ARG;
    }
    enum hf_err e = hf_stage_open(s, kind, base, head);
    if (e == HF_OK) {
        hf_parts_cut(&s->staging, splits);
    }
    return e;
}

static enum hf_err stage_target(struct hf_state *s, hf_seq target, bool whole)
{
    struct hf_stage *g = &s->staging.stage;
    if (!g->active || hf_stage_in_keys(g) || target < g->covered || g->part_count > 0) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    s->staging_dirty = true;
    g->target = target;
    if (whole) {
        hf_parts_cut(&s->staging, NULL);
    } else {
        hf_parts_cut_evenly(&s->staging);
    }
    return HF_OK;
}

enum hf_err hf_state_stage_target(struct hf_state *s, hf_seq target)
{
    return stage_target(s, target, false);
}

enum hf_err hf_state_stage_target_whole(struct hf_state *s, hf_seq target)
{
    return stage_target(s, target, true);
}

/* ---- chunks ---- */

enum hf_err hf_stage_put(struct hf_state *s, const struct hf_stored *r, enum hf_rule rule)
{
    bool changed;
    return hf_tree_write(s, hf_tree_staged(s), r, rule, &changed);
}

static bool is_whole(const struct hf_record *r)
{
    return r->offset == 0 && r->value.len == r->total;
}

void hf_records_sum(const struct hf_records *records, struct hf_sum *sum)
{
    struct hf_records at = *records;
    struct hf_record r;
    struct hf_elements waiting;
    memset(sum, 0, sizeof(*sum));
    hf_elements_clear(&waiting);
    while (hf_records_next(&at, &r)) {
        if (is_whole(&r) && !r.tombstone) {
            struct hf_element e = {.key = r.key, .value = r.value, .seq = r.seq};
            hf_elements_note(&waiting, &sum->lanes, &e);
            sum->live_count++;
        }
    }
    hf_elements_settle(&waiting, &sum->lanes);
}

static bool record_sound(const struct hf_record *r, bool keys, hf_seq asof)
{
    bool sized = r->key.len > 0 && r->key.len <= HF_STORE_KEY_MAX &&
                 r->total <= HF_STORE_VALUE_MAX && r->offset <= r->total &&
                 r->value.len <= r->total - r->offset;
    bool empty_if_gone = !r->tombstone || (!keys && r->total == 0);
    return r->seq > 0 && r->seq <= asof && sized && empty_if_gone;
}

static enum hf_err stage_record(struct hf_state *s, uint32_t part, const struct hf_record *r,
                                struct hf_bulk *bulk)
{
    struct hf_stored whole = {r->key, r->value, r->seq, r->ordinal, r->tombstone};
    if (is_whole(r)) {
        hf_part_forget(s, part);
        return bulk != NULL ? hf_bulk_put(s, bulk, &whole) : hf_stage_put(s, &whole, HF_RULE_MERGE);
    }
    enum hf_err e = hf_part_join(s, part, r, &whole);
    return e == HF_OK && whole.seq != 0 ? hf_stage_put(s, &whole, HF_RULE_IF_NEWER) : e;
}

/* `bulk` is NULL for a DELTA, whose keys come in no order. */
static enum hf_err stage_records(struct hf_state *s, uint32_t part, const struct hf_chunk *c,
                                 struct hf_records records, struct hf_bulk *bulk)
{
    bool keys = c->want == HF_WANT_KEYS;
    struct hf_bound at = c->from;
    struct hf_record r;
    uint8_t key[HF_STORE_KEY_MAX]; /* of `at`: the reader has only that of the newest record */
    enum hf_err e = HF_OK;
    while (e == HF_OK && hf_records_next(&records, &r)) {
        if (!record_sound(&r, keys, c->asof) || !hf_part_holds(&s->staging, part, &at, &r)) {
            return HF_MALFORMED;
        }
        uint32_t taken = r.offset + (uint32_t)r.value.len;
        memcpy(key, r.key.data, r.key.len);
        at = (struct hf_bound){r.seq, r.ordinal, taken < r.total ? taken : HF_OFFSET_END,
                               hf_slice_of(key, r.key.len)};
        e = stage_record(s, part, &r, bulk);
        s->staging.stage.records++;
    }
    return e == HF_OK && records.failed ? HF_MALFORMED : e;
}

static enum hf_err stage_in_order(struct hf_state *s, uint32_t part, const struct hf_chunk *c,
                                  const struct hf_records *records)
{
    struct hf_bulk bulk;
    enum hf_err e = hf_bulk_begin(s, &bulk, c, records, hf_part_untouched(&s->staging, part));
    if (e == HF_OK) {
        e = stage_records(s, part, c, *records, &bulk);
    }
    return e == HF_OK ? hf_bulk_end(s, &bulk) : e;
}

enum hf_err hf_state_stage_chunk(struct hf_state *s, uint32_t part, const struct hf_chunk *c,
                                 const struct hf_records *records, const struct hf_sum *sum)
{
    struct hf_stage *g = &s->staging.stage;
    bool keys = hf_stage_in_keys(g);
    if (!g->active || c->want != (keys ? HF_WANT_KEYS : HF_WANT_DELTA) ||
        !hf_part_begins(&s->staging, part, &c->from) || c->to.key.len > HF_STORE_KEY_MAX) {
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
    s->staging_dirty = true; /* from here on an abort has something to restore */
    hf_tree_join(hf_tree_staged(s), sum);
    e = keys ? stage_in_order(s, part, c, records) : stage_records(s, part, c, *records, NULL);
    if (e != HF_OK) {
        return hf_state_fail(s, e);
    }
    g->asof = c->asof > g->asof ? c->asof : g->asof;
    g->bytes += records->bytes;
    hf_part_advance(s, part, c);
    if (hf_parts_done(g)) {
        range_done(s);
    }
    return HF_OK;
}

enum hf_err hf_state_stage_skip(struct hf_state *s, uint32_t part)
{
    struct hf_stage *g = &s->staging.stage;
    if (!g->active || part >= g->part_count || g->part[part].cursor.offset == HF_OFFSET_END) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    s->staging_dirty = true;
    hf_part_skip(s, part);
    if (hf_parts_done(g)) {
        range_done(s);
    }
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
        e = hf_stage_put(s, &r, HF_RULE_IF_NEWER);
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
 * a write may free the page that it lies in. What is staged was summed as it came: the sums are
 * joined, and each record that is replaced or left out goes from that, one hash for each key. */
static enum hf_err merge(struct hf_state *s)
{
    struct hf_tree *from = hf_tree_staged(s);
    struct hf_tree *to = hf_tree_visible(s);
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
    hf_tree_join(to, hf_tree_sum(from));
    while ((e = hf_env_error(hf_lmdb_cursor_get(c, &k, &data, MDB_NEXT))) == HF_OK) {
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
        e = hf_tree_write(s, to, &r, HF_RULE_MERGE, &changed);
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
    bool whole = g->active && !hf_stage_in_keys(g);
    if (!whole || s->half || f->header.len > HF_HEADER_MAX || f->h.seq != g->tail) {
        return HF_ARG;
    }
    if (!hf_id_eq(&f->h.epoch_id, &g->epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    if (f->h.seq < s->head.at.seq) {
        return HF_NOT_YET; /* never back (G6); the same seq again is a repair */
    }
    return f->h.seq < g->asof ? HF_NOT_YET : HF_OK;
}

enum hf_err hf_state_stage_switch(struct hf_state *s, const struct hf_frame *f)
{
    enum hf_plan_kind kind = s->staging.stage.kind;
    bool snapshot = kind == HF_PLAN_SNAPSHOT;
    enum hf_err e = may_switch(s, f);
    if (e == HF_OK) {
        e = hf_state_writable(s);
    }
    if (e != HF_OK) {
        return e;
    }
    if (kind == HF_PLAN_DELTA) {
        e = merge(s);
    } else if (kind == HF_PLAN_REPAIR) {
        e = hf_repair_merge(s);
    }
    for (int i = 0; i < 2 && e == HF_OK; i++) {
        e = hf_tree_flush(s, &s->tree[i]);
    }
    if (e != HF_OK) {
        return hf_state_fail(s, e);
    }
    struct hf_tree *t = snapshot ? hf_tree_staged(s) : hf_tree_visible(s);
    struct hf_hash digest = hf_lthash_digest(&hf_tree_sum(t)->lanes);
    if (!hf_hash_eq(&digest, &f->h.digest)) {
        return hf_state_fail(s, HF_DIGEST);
    }
    if (snapshot) {
        s->head.generation++;
    }
    if (kind != HF_PLAN_DELTA) {
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
