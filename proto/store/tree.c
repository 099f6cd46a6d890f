/*
 * tree.c - writes changes into one generation: its record, its sum and its index move together.
 *
 * Invariant: after every call the sum of a tree, with what waits for it, is the LtHash of the live
 * records of its state table, and the index table with the moves that wait is the order of all its
 * records, or of its tombstones where no others are indexed (index.c). One lookup finds the old
 * record and the place of the new one. An overlay (a staged DELTA) has no index; that comes into
 * being when the switch writes its records into the visible tree.
 *
 * An error leaves the tree as it happens to be: the caller makes it sticky and the transaction is
 * aborted. Read moves.c for the index, stage.c for who writes into the staged tree.
 */
#include "state_impl.h"

static enum hf_err cursor_of(struct hf_state *s, struct hf_tree *t)
{
    if (t->cursor != NULL) {
        return HF_OK;
    }
    return hf_env_error(mdb_cursor_open(s->txn, t->state, &t->cursor));
}

enum hf_err hf_tree_find(struct hf_state *s, struct hf_tree *t, struct hf_slice key,
                         struct hf_stored *out)
{
    MDB_val k = hf_val(key);
    MDB_val v;
    enum hf_err e = cursor_of(s, t);
    if (e == HF_OK) {
        e = hf_env_error(hf_lmdb_cursor_get(t->cursor, &k, &v, MDB_SET));
    }
    return e == HF_OK ? hf_record_get(key, v, out) : e;
}

static struct hf_point point_of(const struct hf_stored *r)
{
    return (struct hf_point){r->seq, r->ordinal};
}

static bool wanted(enum hf_rule rule, const struct hf_stored *old, const struct hf_stored *fresh)
{
    bool was_live = old != NULL && !old->tombstone;
    switch (rule) {
    case HF_RULE_ALWAYS:
        return true;
    case HF_RULE_UNLESS_SAME:
        if (!was_live) {
            return !fresh->tombstone;
        }
        return fresh->tombstone || !hf_slice_eq(old->value, fresh->value);
    case HF_RULE_IF_NEWER:
    case HF_RULE_MERGE:
        return old == NULL || hf_point_cmp(point_of(old), point_of(fresh)) < 0;
    }
    HF_UNREACHABLE();
}

static void sum_note(struct hf_tree *t, const struct hf_stored *r, bool gone)
{
    if (r->tombstone) {
        return;
    }
    struct hf_element e = {.key = r->key, .value = r->value, .seq = r->seq, .gone = gone};
    if (t->adder != NULL && hf_elements_full(&t->waiting) && hf_adder_give(t->adder, &t->waiting)) {
        hf_elements_clear(&t->waiting);
    }
    hf_elements_note(&t->waiting, &t->sum.lanes, &e);
    t->sum.live_count = gone ? t->sum.live_count - 1 : t->sum.live_count + 1;
}

static void sum_add(struct hf_tree *t, const struct hf_stored *r)
{
    sum_note(t, r, false);
}

static void sum_sub(struct hf_tree *t, const struct hf_stored *r)
{
    sum_note(t, r, true);
}

struct hf_sum *hf_tree_sum(struct hf_tree *t)
{
    hf_elements_settle(&t->waiting, &t->sum.lanes);
    if (t->adder != NULL) {
        hf_adder_take(t->adder, &t->sum.lanes);
    }
    return &t->sum;
}

void hf_tree_forget(struct hf_tree *t)
{
    hf_elements_clear(&t->waiting);
    if (t->adder != NULL) {
        hf_adder_drop(t->adder);
    }
}

void hf_tree_join(struct hf_tree *t, const struct hf_sum *sum)
{
    hf_lthash_merge(&t->sum.lanes, &sum->lanes);
    t->sum.live_count += sum->live_count;
}

static void record_fill(MDB_val place, const struct hf_stored *fresh)
{
    uint8_t *p = place.mv_data;
    hf_record_put_head(p, fresh);
    if (fresh->value.len > 0) {
        memcpy(p + HF_RECORD_HEAD, fresh->value.data, fresh->value.len);
    }
}

/* One descent for a key that is new, which all are in a SNAPSHOT: it is looked up by putting it.
 * HF_EXISTS when it is there, with its record. */
static enum hf_err record_add(struct hf_tree *t, const struct hf_stored *fresh,
                              struct hf_stored *there)
{
    MDB_val k = hf_val(fresh->key);
    MDB_val v = {HF_RECORD_HEAD + fresh->value.len, NULL};
    int rc = mdb_cursor_put(t->cursor, &k, &v, MDB_RESERVE | MDB_NOOVERWRITE);
    if (rc == MDB_KEYEXIST) {
        enum hf_err e = hf_record_get(fresh->key, v, there);
        return e == HF_OK ? HF_EXISTS : e;
    }
    if (rc != 0) {
        return hf_env_error(rc);
    }
    record_fill(v, fresh);
    return HF_OK;
}

/* MDB_CURRENT saves the second descent: the cursor is on the key. The value is written once, in
 * place. */
static enum hf_err record_replace(struct hf_tree *t, const struct hf_stored *fresh)
{
    MDB_val k = hf_val(fresh->key);
    MDB_val v = {HF_RECORD_HEAD + fresh->value.len, NULL};
    int rc = mdb_cursor_put(t->cursor, &k, &v, MDB_RESERVE | MDB_CURRENT);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    record_fill(v, fresh);
    return HF_OK;
}

static enum hf_err note_move(struct hf_state *s, struct hf_tree *t, const struct hf_stored *old,
                             const struct hf_stored *fresh)
{
    struct hf_point from = {0, 0};
    struct hf_point to = {0, 0};
    if (old != NULL && hf_index_has(s, old->tombstone)) {
        from = point_of(old);
    }
    if (hf_index_has(s, fresh->tombstone)) {
        to = point_of(fresh);
    }
    if (from.seq == 0 && to.seq == 0) {
        return HF_OK;
    }
    if (hf_moves_full(&t->moves)) {
        enum hf_err e = hf_tree_flush(s, t);
        if (e != HF_OK) {
            return e;
        }
    }
    return hf_moves_note(&t->moves, fresh->key, from, to);
}

/* What a record does to the sum and the index of its tree, `old` being the one that it replaces. */
static enum hf_err account(struct hf_state *s, struct hf_tree *t, const struct hf_stored *old,
                           const struct hf_stored *fresh, enum hf_rule rule)
{
    if (old != NULL) {
        sum_sub(t, old);
    }
    if (rule != HF_RULE_MERGE) {
        sum_add(t, fresh);
    }
    return t->overlay ? HF_OK : note_move(s, t, old, fresh);
}

enum hf_err hf_tree_write(struct hf_state *s, struct hf_tree *t, const struct hf_stored *fresh,
                          enum hf_rule rule, bool *changed)
{
    struct hf_stored old;
    *changed = false;
    enum hf_err e = cursor_of(s, t);
    if (e == HF_OK && wanted(rule, NULL, fresh)) {
        e = record_add(t, fresh, &old);
        if (e == HF_OK) {
            *changed = true;
            return account(s, t, NULL, fresh, rule);
        }
    } else if (e == HF_OK) {
        e = hf_tree_find(s, t, fresh->key, &old);
        e = e == HF_OK ? HF_EXISTS : e;
    }
    if (e != HF_EXISTS) {
        return e == HF_NOTFOUND ? HF_OK : e;
    }
    if (!wanted(rule, &old, fresh)) {
        if (rule == HF_RULE_MERGE) {
            sum_sub(t, fresh);
        }
        return HF_OK;
    }
    e = account(s, t, &old, fresh, rule);
    if (e == HF_OK) {
        e = record_replace(t, fresh);
    }
    *changed = e == HF_OK;
    return e;
}

enum hf_err hf_tree_flush(struct hf_state *s, struct hf_tree *t)
{
    return hf_moves_flush(&t->moves, s->txn, t->byseq);
}

/* mdb_drop reads branch pages only, unless values have pages of their own: 1,000,000 keys of 100
 * bytes take 13 ms with the commit, against 10 s for deleting them one by one. */
enum hf_err hf_tree_drop(struct hf_state *s, struct hf_tree *t, bool *again)
{
    MDB_dbi tables[2] = {t->state, t->byseq};
    bool dropped = false;
    *again = false;
    hf_moves_clear(&t->moves);
    if (t->cursor != NULL) {
        mdb_cursor_close(t->cursor);
    }
    t->cursor = NULL;
    for (int i = 0; i < 2; i++) {
        MDB_stat st;
        int rc = mdb_stat(s->txn, tables[i], &st);
        if (rc == 0 && st.ms_entries > 0) {
            *again = dropped;
            rc = dropped ? 0 : mdb_drop(s->txn, tables[i], 0);
            dropped = true;
        }
        if (rc != 0) {
            return hf_env_error(rc);
        }
    }
    return HF_OK;
}

/* ---- collecting tombstones ---- */

/* Looks at the first entry of the index behind *at. HF_NOTFOUND when none is left up to floor. */
static enum hf_err sweep_one(struct hf_state *s, struct hf_tree *t, MDB_cursor *index, hf_seq floor,
                             struct hf_point *at)
{
    uint8_t bytes[HF_POINT_BYTES];
    uint8_t key[HF_STORE_KEY_MAX];
    MDB_val k = {sizeof(bytes), bytes};
    MDB_val v;
    struct hf_stored r;
    hf_point_put(bytes, *at);
    int rc = hf_lmdb_cursor_get(index, &k, &v, MDB_SET_RANGE);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    if (k.mv_size != HF_POINT_BYTES || v.mv_size > sizeof(key)) {
        return HF_CORRUPT;
    }
    struct hf_point here = hf_point_get(k.mv_data);
    if (here.seq > floor) {
        return HF_NOTFOUND;
    }
    *at = here;
    memcpy(key, v.mv_data, v.mv_size); /* the pages may move under the deletes */
    enum hf_err e = hf_tree_find(s, t, hf_slice_of(key, v.mv_size), &r);
    if (e != HF_OK || hf_point_cmp(point_of(&r), here) != 0) {
        return e == HF_OK || e == HF_NOTFOUND ? HF_CORRUPT : e;
    }
    if (!r.tombstone) {
        return HF_OK;
    }
    rc = mdb_cursor_del(t->cursor, 0);
    if (rc == 0) {
        rc = mdb_cursor_del(index, 0);
    }
    s->head.delta_floor = here.seq > s->head.delta_floor ? here.seq : s->head.delta_floor;
    return hf_env_error(rc);
}

/* Live records are passed over, which costs as much as a tombstone, so `max` bounds both together.
 * How far the sweep got is kept: a record that it passed can only become a tombstone at a later
 * point. */
enum hf_err hf_state_collect(struct hf_state *s, hf_seq floor, uint32_t max, bool *again)
{
    MDB_cursor *index = NULL;
    *again = false;
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    struct hf_tree *t = hf_tree_visible(s);
    struct hf_point at = s->head.swept;
    if (floor > s->head.at.seq) {
        floor = s->head.at.seq;
    }
    e = hf_tree_flush(s, t);
    if (e == HF_OK) {
        e = hf_env_error(mdb_cursor_open(s->txn, t->byseq, &index));
    }
    for (uint32_t i = 0; i < max && e == HF_OK; i++) {
        struct hf_point next = {at.seq, at.ordinal + 1};
        if (at.ordinal == UINT32_MAX) {
            next = (struct hf_point){at.seq + 1, 0};
        }
        e = sweep_one(s, t, index, floor, &next);
        if (e == HF_OK) {
            at = next;
        }
    }
    if (index != NULL) {
        mdb_cursor_close(index);
    }
    *again = e == HF_OK;
    if (e == HF_NOTFOUND) {
        if (floor > s->head.delta_floor) {
            s->head.delta_floor = floor;
        }
        at = (struct hf_point){floor, UINT32_MAX};
        e = HF_OK;
    }
    if (e == HF_OK && hf_point_cmp(at, s->head.swept) > 0) {
        s->head.swept = at;
    }
    return hf_state_fail(s, e);
}
