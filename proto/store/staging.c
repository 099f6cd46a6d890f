/*
 * staging.c - how far a transfer got: kept in memory, in meta, and told to the engine.
 *
 * Invariant: the progress in meta is that of the records in the staged tables, because both are
 * written by the same commit. A transfer therefore goes on after a crash where its last commit was,
 * in the middle of a value if need be (G10).
 *
 * A stage that cannot be read or that belongs to another history is given up at open, without an
 * error: what it loses is time. stage.c moves the cursor; nothing here touches a staged record.
 */
#include "state_impl.h"

#include <stdlib.h>

void hf_staging_clear(struct hf_state *s)
{
    struct hf_tree *t = hf_tree_staged(s);
    memset(&s->staging, 0, sizeof(s->staging));
    memset(&t->sum, 0, sizeof(t->sum));
    hf_moves_clear(&t->moves);
    t->overlay = false;
    s->staging_dirty = true;
    s->fragment_dirty = true;
}

static enum hf_err load_fragment(struct hf_state *s, MDB_txn *txn)
{
    struct hf_slice name = hf_slice_str("fragment");
    struct hf_slice bytes;
    MDB_val k = hf_val(name);
    MDB_val v;
    int rc = mdb_get(txn, s->table[HF_TABLE_META], &k, &v);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    enum hf_err e = hf_blob_get(name, hf_slice_of_val(v), &bytes);
    if (e == HF_OK && bytes.len != s->staging.fragment.have) {
        e = HF_CORRUPT;
    }
    if (e == HF_OK && s->fragment == NULL && (s->fragment = malloc(HF_STORE_VALUE_MAX)) == NULL) {
        e = HF_NOMEM;
    }
    if (e == HF_OK) {
        memcpy(s->fragment, bytes.data, bytes.len);
    }
    return e;
}

/* The visible state may have moved on from the base of a DELTA, but not back behind it. */
static bool useful(const struct hf_state *s)
{
    const struct hf_stage *g = &s->staging.stage;
    if (!hf_id_eq(&g->epoch_id, &s->head.at.epoch_id)) {
        return false;
    }
    return g->kind == HF_PLAN_SNAPSHOT || g->base <= s->head.at.seq;
}

void hf_staging_load(struct hf_state *s, MDB_txn *txn)
{
    struct hf_tree *t = hf_tree_staged(s);
    MDB_val k = hf_val(hf_slice_str("stage"));
    MDB_val v;
    memset(&s->staging, 0, sizeof(s->staging));
    s->staging_dirty = false;
    s->fragment_dirty = false;
    int rc = mdb_get(txn, s->table[HF_TABLE_META], &k, &v);
    if (rc == MDB_NOTFOUND) {
        return;
    }
    enum hf_err e = hf_env_error(rc);
    if (e == HF_OK) {
        e = hf_staging_decode(hf_slice_of_val(v), &s->staging, &t->sum);
    }
    if (e == HF_OK && s->staging.fragment.active) {
        e = load_fragment(s, txn);
    }
    if (e != HF_OK || !useful(s)) {
        hf_staging_clear(s);
    } else {
        t->overlay = s->staging.stage.kind == HF_PLAN_DELTA;
    }
}

static enum hf_err meta_del(struct hf_state *s, const char *name)
{
    MDB_val k = hf_val(hf_slice_str(name));
    int rc = mdb_del(s->txn, s->table[HF_TABLE_META], &k, NULL);
    return rc == MDB_NOTFOUND ? HF_OK : hf_env_error(rc);
}

static enum hf_err save_fragment(struct hf_state *s)
{
    struct hf_slice name = hf_slice_str("fragment");
    const struct hf_fragment *f = &s->staging.fragment;
    if (!f->active) {
        return meta_del(s, "fragment");
    }
    MDB_val k = hf_val(name);
    MDB_val v = {8 + (size_t)f->have, NULL};
    int rc = mdb_put(s->txn, s->table[HF_TABLE_META], &k, &v, MDB_RESERVE);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    uint8_t *p = v.mv_data;
    hf_store64(p, hf_blob_sum(name, hf_slice_of(s->fragment, f->have)));
    memcpy(p + 8, s->fragment, f->have);
    return HF_OK;
}

enum hf_err hf_staging_save(struct hf_state *s)
{
    uint8_t bytes[HF_META_STAGE_MAX];
    enum hf_err e = HF_OK;
    if (s->fragment_dirty) {
        e = save_fragment(s);
    }
    if (e != HF_OK || !s->staging_dirty) {
        return e;
    }
    if (!s->staging.stage.active) {
        return meta_del(s, "stage");
    }
    MDB_val k = hf_val(hf_slice_str("stage"));
    MDB_val v = {hf_staging_encode(&s->staging, &hf_tree_staged(s)->sum, bytes), bytes};
    return hf_env_error(mdb_put(s->txn, s->table[HF_TABLE_META], &k, &v, 0));
}

void hf_state_stage_get(const struct hf_state *s, struct hf_stage *out)
{
    *out = s->staging.stage;
    out->cursor.key.data = s->staging.key;
}
