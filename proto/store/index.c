/*
 * index.c - what belongs in the index by seq of a tree, and making it anew.
 *
 * A core prices and serves DELTAs, so it has every record in its index. Nobody asks an edge for
 * one: it only looks for tombstones to forget, and so it has no others there. With all records in
 * it, each change would take its entry out of one page and put it into another, and at random keys
 * that was half of the pages that an edge writes under load. Format 2 says so: software that knows
 * only format 1 would take such an index for a damaged one, and refuses it.
 *
 * Invariant: which of the two it is never changes while a store is open. Read tree.c and moves.c
 * for how changes keep it up, repair.c and verify.c for how it is checked.
 */
#include "state_impl.h"

bool hf_index_has(const struct hf_state *s, bool tombstone)
{
    return tombstone || !s->tombstone_index;
}

static enum hf_err index_put(struct hf_state *s, struct hf_tree *t, MDB_val k, MDB_val data)
{
    struct hf_stored r;
    uint8_t bytes[HF_POINT_BYTES];
    uint8_t key[HF_STORE_KEY_MAX];
    enum hf_err e = hf_record_look(hf_slice_of_val(data), &r);
    if (e != HF_OK || k.mv_size > sizeof(key)) {
        return HF_CORRUPT;
    }
    if (!hf_index_has(s, r.tombstone)) {
        return HF_OK;
    }
    hf_point_put(bytes, (struct hf_point){r.seq, r.ordinal});
    memcpy(key, k.mv_data, k.mv_size); /* a write may free the page that it lies in */
    MDB_val place = {sizeof(bytes), bytes};
    MDB_val name = {k.mv_size, key};
    e = hf_env_error(mdb_put(s->txn, t->byseq, &place, &name, MDB_NOOVERWRITE));
    return e == HF_EXISTS ? HF_CORRUPT : e; /* two keys at one point */
}

enum hf_err hf_index_rebuild(struct hf_state *s, struct hf_tree *t)
{
    MDB_cursor *c = NULL;
    MDB_val k;
    MDB_val data;
    enum hf_err e = hf_env_error(mdb_drop(s->txn, t->byseq, 0));
    if (e == HF_OK) {
        e = hf_env_error(mdb_cursor_open(s->txn, t->state, &c));
    }
    while (e == HF_OK && (e = hf_env_error(hf_lmdb_cursor_get(c, &k, &data, MDB_NEXT))) == HF_OK) {
        e = index_put(s, t, k, data);
    }
    if (c != NULL) {
        mdb_cursor_close(c);
    }
    return e == HF_NOTFOUND ? HF_OK : e;
}

/* The staged tree too: a transfer goes on where it was. */
static enum hf_err change_over(struct hf_state *s)
{
    uint8_t format[4];
    MDB_val k = hf_val(hf_slice_str("format"));
    MDB_val v = {sizeof(format), format};
    hf_store32(format, FORMAT_TOMBSTONES);
    enum hf_err e = hf_state_writable(s);
    for (int i = 0; i < 2 && e == HF_OK; i++) {
        if (!s->tree[i].overlay) {
            e = hf_index_rebuild(s, &s->tree[i]);
        }
    }
    if (e == HF_OK) {
        e = hf_env_error(mdb_put(s->txn, s->table[HF_TABLE_META], &k, &v, 0));
    }
    return e == HF_OK ? hf_state_commit(s) : e;
}

enum hf_err hf_index_change_over(struct hf_state *s, struct hf_error *e)
{
    s->tombstone_index = true;
    enum hf_err err = change_over(s);
    if (err == HF_MAP_FULL) {
        hf_state_abort(s);
        err = hf_state_grow(s);
        err = err == HF_OK ? change_over(s) : err;
    }
    if (err == HF_OK) {
        return HF_OK;
    }
    hf_state_abort(s);
    return hf_error_set(e, err, "%s: cannot change the index of the store over: %s", s->dir,
                        hf_err_text(err));
}
