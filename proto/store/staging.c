/*
 * staging.c - how far a transfer got: kept in memory, in meta, and told to the engine.
 *
 * Invariant: the progress in meta is that of the records in the staged tables, because both are
 * written by the same commit. A transfer therefore goes on after a crash where its last commit was,
 * in each of its parts, in the middle of a value if need be (G10). The same holds for an abort:
 * cursors come back from their committed twin, the bytes of fragments from meta.
 *
 * A stage that cannot be read or that belongs to another history is given up at open, without an
 * error: what it loses is time. parts.c moves the cursors; nothing here touches a staged record.
 */
#include "state_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define FRAGMENT_PREFIX "fragment"
#define ALL_FRAGMENTS UINT32_MAX /* also those of parts that there are none of now */

struct fragment_name {
    char text[24];
};

static struct hf_slice fragment_name(uint32_t part, struct fragment_name *out)
{
    snprintf(out->text, sizeof(out->text), FRAGMENT_PREFIX ".%02u", (unsigned)part);
    return hf_slice_str(out->text);
}

void hf_staging_clear(struct hf_state *s)
{
    struct hf_tree *t = hf_tree_staged(s);
    memset(&s->staging, 0, sizeof(s->staging));
    memset(&t->sum, 0, sizeof(t->sum));
    hf_tree_forget(t);
    hf_moves_clear(&t->moves);
    t->overlay = false;
    for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX; i++) {
        free(s->fragment[i]);
        s->fragment[i] = NULL;
    }
    s->staging_dirty = true;
    s->fragments_dirty = ALL_FRAGMENTS;
}

/* ---- reading ---- */

static enum hf_err load_fragment(struct hf_state *s, uint32_t part, MDB_txn *txn)
{
    struct fragment_name text;
    struct hf_slice name = fragment_name(part, &text);
    struct hf_slice bytes;
    MDB_val k = hf_val(name);
    MDB_val v;
    int rc = hf_lmdb_get(txn, s->table[HF_TABLE_META], &k, &v);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    enum hf_err e = hf_blob_get(name, hf_slice_of_val(v), &bytes);
    if (e == HF_OK && bytes.len != s->staging.fragment[part].have) {
        e = HF_CORRUPT;
    }
    if (e == HF_OK && s->fragment[part] == NULL &&
        (s->fragment[part] = malloc(HF_STORE_VALUE_MAX)) == NULL) {
        e = HF_NOMEM;
    }
    if (e == HF_OK) {
        memcpy(s->fragment[part], bytes.data, bytes.len);
    }
    return e;
}

static enum hf_err load_fragments(struct hf_state *s, MDB_txn *txn, uint32_t which)
{
    enum hf_err e = HF_OK;
    for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX && e == HF_OK; i++) {
        if ((which >> i & 1) != 0 && s->staging.fragment[i].active) {
            e = load_fragment(s, i, txn);
        }
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
    s->fragments_dirty = 0;
    int rc = hf_lmdb_get(txn, s->table[HF_TABLE_META], &k, &v);
    if (rc == MDB_NOTFOUND) {
        return;
    }
    enum hf_err e = hf_env_error(rc);
    if (e == HF_OK) {
        e = hf_staging_decode(hf_slice_of_val(v), &s->staging, &t->sum);
    }
    if (e == HF_OK) {
        e = load_fragments(s, txn, ALL_FRAGMENTS);
    }
    if (e != HF_OK || !useful(s)) {
        hf_staging_clear(s);
    } else {
        t->overlay = hf_stage_is_overlay(&s->staging.stage);
    }
}

/* A fragment that cannot be had again takes the stage with it, as it would at open. */
void hf_staging_restore(struct hf_state *s)
{
    uint32_t lost = s->fragments_dirty;
    MDB_txn *txn = NULL;
    enum hf_err e = HF_OK;
    if (s->staging_dirty || lost != 0) {
        s->staging = s->staging_committed;
    }
    hf_tree_staged(s)->overlay = hf_stage_is_overlay(&s->staging.stage);
    s->staging_dirty = false;
    s->fragments_dirty = 0;
    if (lost == 0 || !s->staging.stage.active || s->env == NULL) {
        return;
    }
    e = hf_env_error(mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn));
    if (e == HF_OK) {
        e = load_fragments(s, txn, lost);
        mdb_txn_abort(txn);
    }
    if (e != HF_OK) {
        hf_staging_clear(s);
        s->staging_committed = s->staging;
        s->sum_committed[(s->head.generation + 1) & 1] = hf_tree_staged(s)->sum;
    }
}

/* ---- writing ---- */

static enum hf_err meta_del(struct hf_state *s, struct hf_slice name)
{
    MDB_val k = hf_val(name);
    int rc = mdb_del(s->txn, s->table[HF_TABLE_META], &k, NULL);
    return rc == MDB_NOTFOUND ? HF_OK : hf_env_error(rc);
}

static enum hf_err save_fragment(struct hf_state *s, uint32_t part)
{
    struct fragment_name text;
    struct hf_slice name = fragment_name(part, &text);
    const struct hf_fragment *f = &s->staging.fragment[part];
    if (!f->active) {
        return meta_del(s, name);
    }
    MDB_val k = hf_val(name);
    MDB_val v = {8 + (size_t)f->have, NULL};
    int rc = mdb_put(s->txn, s->table[HF_TABLE_META], &k, &v, MDB_RESERVE);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    uint8_t *p = v.mv_data;
    hf_store64(p, hf_blob_sum(name, hf_slice_of(s->fragment[part], f->have)));
    memcpy(p + 8, s->fragment[part], f->have);
    return HF_OK;
}

/* Whatever an earlier transfer left, by whatever number, that of a form without parts included. */
static enum hf_err sweep_fragments(struct hf_state *s)
{
    struct hf_slice prefix = hf_slice_str(FRAGMENT_PREFIX);
    MDB_cursor *c = NULL;
    MDB_val k = hf_val(prefix);
    MDB_val v;
    int rc = mdb_cursor_open(s->txn, s->table[HF_TABLE_META], &c);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    rc = hf_lmdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
    while (rc == 0 && k.mv_size >= prefix.len &&
           hf_slice_eq(hf_slice_of(k.mv_data, prefix.len), prefix)) {
        rc = mdb_cursor_del(c, 0);
        if (rc == 0) {
            k = hf_val(prefix);
            rc = hf_lmdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
        }
    }
    mdb_cursor_close(c);
    return rc == MDB_NOTFOUND ? HF_OK : hf_env_error(rc);
}

static enum hf_err save_fragments(struct hf_state *s)
{
    uint32_t dirty = s->fragments_dirty;
    enum hf_err e = HF_OK;
    if (dirty == ALL_FRAGMENTS) {
        e = sweep_fragments(s);
    }
    for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX && e == HF_OK; i++) {
        if ((dirty >> i & 1) != 0) {
            e = save_fragment(s, i);
        }
    }
    return e;
}

enum hf_err hf_staging_save(struct hf_state *s)
{
    uint8_t bytes[HF_META_STAGE_MAX];
    enum hf_err e = save_fragments(s);
    if (e != HF_OK || !s->staging_dirty) {
        return e;
    }
    /* A repair is short, and what is known of the damage is not kept: it does not outlive its
     * process. */
    if (!s->staging.stage.active || s->staging.stage.kind == HF_PLAN_REPAIR) {
        return meta_del(s, hf_slice_str("stage"));
    }
    MDB_val k = hf_val(hf_slice_str("stage"));
    MDB_val v = {hf_staging_encode(&s->staging, &hf_tree_staged(s)->sum, bytes), bytes};
    return hf_env_error(mdb_put(s->txn, s->table[HF_TABLE_META], &k, &v, 0));
}

void hf_state_stage_get(const struct hf_state *s, struct hf_stage *out)
{
    *out = s->staging.stage;
    for (uint32_t i = 0; i < out->part_count; i++) {
        out->part[i].cursor.key.data = s->staging.cursor[i];
        out->part[i].until.key.data = s->staging.until[i];
    }
}
