/*
 * state.c - the writer's transaction over the keyed state, and the layout of its tables.
 *
 * Invariant (G4): records, position, lanes and stage of a commit are written in one LMDB
 * transaction. What the writer keeps in memory (head, sums, staging) is copied from and to its
 * committed twin only at begin, commit and abort. A commit with half a batch in it is refused.
 *
 * Tables. Integers of values are little-endian, those of keys big-endian. G & 1 numbers the tables
 * of generation G. sum(x; seed) is xxh3-64 with that seed.
 *
 *   state.0/1    key -> u64 seq, u32 ordinal, u32 flags (1 = tombstone), u64 check, value
 *                check = sum(value; sum(key; sum(the first 16 bytes; 0)))
 *   byseq.0/1    u64 seq, u32 ordinal -> key; each key once, at its last change; in format 2 those
 *                of tombstones only
 *   chain        u64 seq -> 32-byte chain hash, u64 sum(hash; seq)
 *   inbox        u64 seq -> u64 check, frame message; check = sum(message; sum(key; 0))
 *   object       name -> u64 check, bytes; as inbox
 *   request      id -> u64 check, u64 seq, 32-byte content hash; as inbox
 *   requestseq   u64 seq, id -> nothing
 *   meta         four records, and a fragment for each part of a transfer that has one:
 *
 *   "format"     u32, 1 or 2
 *   "view"       u32 visible generation, u32 length of the header, 16 epoch id, u64 seq, 32 chain,
 *                32 digest, 64 signature, u64 live count, u64 delta floor, u64 and u32 the point
 *                that tombstones are collected up to, u32 0, header, u64 sum(all before; 1)
 *   "lanes"      2048 lanes of the visible generation, u64 sum(lanes; seq)
 *   "stage"      while a transfer is staged: 2048 lanes, 16 epoch id, u64 live count, u32 kind,
 *                u32 keys done, u64 base, keys head, covered, target, asof, tail, bytes, u32 number
 *                of parts, the parts, u64 sum(all before; 3). With seed 2 it is a form that had no
 *                parts, and is given up. A part is: cursor (u64 seq, u32 ordinal, u32 offset, u32
 *                length of its key), until (u64 seq, u32 length of its key), u32 flags (1 = done,
 *                2 = a fragment follows), key of the cursor, key of until, fragment (u64 seq, u32
 *                ordinal, u32 total, u32 have, u32 length of its key, key)
 *   "fragment.N" u64 check, what is there of the fragment of part N, 00 to 31; as inbox
 *
 * It must not read a clock or log. Read tree.c for what a change does, stage.c for transfers.
 */
#include "state_impl.h"

#include <stdlib.h>

/* ---- begin, commit, abort ---- */

enum hf_err hf_state_fail(struct hf_state *s, enum hf_err e)
{
    /* These are raised before anything was touched. */
    bool harmless = e == HF_OK || e == HF_NOTFOUND || e == HF_ARG || e == HF_EXISTS ||
                    e == HF_TOO_BIG || e == HF_UNKNOWN_EPOCH || e == HF_NOT_YET;
    if (harmless || !s->open) {
        return e;
    }
    if (s->error == HF_OK) {
        s->error = hf_env_judge(s, e);
    }
    if (s->error == HF_IO || s->error == HF_CORRUPT) {
        atomic_store(&s->doubtful, true);
    }
    return s->error;
}

enum hf_err hf_state_writable(struct hf_state *s)
{
    if (s->error != HF_OK) {
        return s->error;
    }
    return s->open ? HF_OK : hf_state_begin(s);
}

enum hf_err hf_state_begin(struct hf_state *s)
{
    if (s->open) {
        return s->error;
    }
    if (s->env == NULL || s->broken) {
        return HF_IO;
    }
    int rc = mdb_txn_begin(s->env, NULL, 0, &s->txn);
    enum hf_err e = rc == 0 ? hf_env_meta_sync(s) : hf_env_error(rc);
    if (e != HF_OK) {
        if (rc == 0) {
            mdb_txn_abort(s->txn);
        }
        s->txn = NULL;
        s->broken = e == HF_IO;
        return e;
    }
    s->open = true;
    s->error = HF_OK;
    return HF_OK;
}

static enum hf_err meta_put(struct hf_state *s, const char *name, const uint8_t *bytes, size_t len)
{
    MDB_val k = hf_val(hf_slice_str(name));
    MDB_val v = {len, (void *)(uintptr_t)bytes};
    return hf_env_error(mdb_put(s->txn, s->table[HF_TABLE_META], &k, &v, 0));
}

static enum hf_err save_head(struct hf_state *s)
{
    uint8_t head[HF_META_HEAD_MAX];
    uint8_t lanes[HF_META_LANES];
    struct hf_tree *t = hf_tree_visible(s);
    const struct hf_sum *sum = hf_tree_sum(t);
    s->head.live_count = sum->live_count;
    size_t len = hf_head_encode(&s->head, head);
    enum hf_err e = meta_put(s, "view", head, len);
    if (e != HF_OK) {
        return e;
    }
    hf_lanes_encode(&sum->lanes, s->head.at.seq, lanes);
    return meta_put(s, "lanes", lanes, sizeof(lanes));
}

/* The transaction and its cursors are gone; nothing may wait for it. */
static void forget_txn(struct hf_state *s)
{
    for (int i = 0; i < 2; i++) {
        s->tree[i].cursor = NULL;
        hf_moves_clear(&s->tree[i].moves);
        hf_tree_forget(&s->tree[i]);
    }
    s->txn = NULL;
    s->half = false;
}

enum hf_err hf_state_commit(struct hf_state *s)
{
    if (!s->open) {
        return HF_OK;
    }
    if (s->error != HF_OK) {
        return s->error;
    }
    if (s->half) {
        return HF_ARG;
    }
    enum hf_err e = HF_OK;
    for (int i = 0; i < 2 && e == HF_OK; i++) {
        (void)hf_tree_sum(&s->tree[i]); /* what it is now is what is kept */
        e = hf_tree_flush(s, &s->tree[i]);
    }
    if (e == HF_OK) {
        e = save_head(s);
    }
    if (e == HF_OK) {
        e = hf_staging_save(s);
    }
    if (e != HF_OK) {
        return hf_state_fail(s, e);
    }
    int rc = mdb_txn_commit(s->txn);
    forget_txn(s);
    if (rc != 0) {
        /* Pages that a failed sync lost are of this transaction only, which is void; the next one
         * writes its own again. */
        s->error = hf_env_judge(s, hf_env_error(rc));
        s->broken = s->error == HF_IO;
        atomic_store(&s->doubtful, true);
        return s->error;
    }
    hf_held_renew(s);
    s->open = false;
    s->head_committed = s->head;
    for (int i = 0; i < 2; i++) {
        s->sum_committed[i] = s->tree[i].sum;
    }
    if (s->staging_dirty || s->fragments_dirty != 0) { /* 25 KB: not for each batch of the log */
        s->staging_committed = s->staging;
    }
    s->staging_dirty = false;
    s->fragments_dirty = 0;
    return HF_OK;
}

void hf_state_abort(struct hf_state *s)
{
    if (!s->open) {
        return;
    }
    if (s->txn != NULL) {
        mdb_txn_abort(s->txn);
    }
    forget_txn(s);
    s->open = false;
    s->error = HF_OK;
    s->head = s->head_committed;
    for (int i = 0; i < 2; i++) {
        s->tree[i].sum = s->sum_committed[i];
    }
    hf_tree_visible(s)->overlay = false;
    hf_staging_restore(s);
}

static enum hf_err load_from(struct hf_state *s, MDB_txn *txn)
{
    MDB_val k = hf_val(hf_slice_str("view"));
    MDB_val v;
    enum hf_err err = hf_env_error(hf_lmdb_get(txn, s->table[HF_TABLE_META], &k, &v));
    if (err == HF_OK) {
        err = hf_head_decode(hf_slice_of_val(v), &s->head);
    }
    if (err != HF_OK) {
        return err;
    }
    for (unsigned i = 0; i < 2; i++) {
        struct hf_tree *t = &s->tree[i];
        t->state = s->table[HF_TABLE_STATE_0 + 2 * i];
        t->byseq = s->table[HF_TABLE_BYSEQ_0 + 2 * i];
        memset(&t->sum, 0, sizeof(t->sum));
        t->overlay = false;
    }
    struct hf_tree *t = hf_tree_visible(s);
    k = hf_val(hf_slice_str("lanes"));
    err = hf_env_error(hf_lmdb_get(txn, s->table[HF_TABLE_META], &k, &v));
    if (err == HF_OK) {
        err = hf_lanes_decode(hf_slice_of_val(v), s->head.at.seq, &t->sum.lanes);
    }
    t->sum.live_count = s->head.live_count;
    return err;
}

enum hf_err hf_state_load(struct hf_state *s, struct hf_error *e)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    enum hf_err err = hf_env_error(rc);
    if (err == HF_OK) {
        err = load_from(s, txn);
    }
    if (err == HF_NOTFOUND) {
        err = HF_CORRUPT;
    }
    if (err == HF_OK) {
        hf_staging_load(s, txn);
    }
    if (rc == 0) {
        mdb_txn_abort(txn);
    }
    if (err != HF_OK) {
        return hf_error_set(e, err, "%s: meta records: %s", s->dir, hf_err_text(err));
    }
    s->head_committed = s->head;
    for (int i = 0; i < 2; i++) {
        s->sum_committed[i] = s->tree[i].sum;
    }
    s->staging_committed = s->staging;
    return HF_OK;
}

/* ---- changes ---- */

static enum hf_err write_change(struct hf_state *s, struct hf_point at, const struct hf_change *c,
                                enum hf_rule rule, bool *changed)
{
    bool del = c->op == HF_OP_DEL;
    *changed = false;
    if (c->key.len == 0 || at.seq != s->head.at.seq + 1) {
        return HF_ARG;
    }
    if (c->key.len > HF_STORE_KEY_MAX || c->value.len > HF_STORE_VALUE_MAX) {
        return HF_TOO_BIG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    struct hf_stored fresh = {c->key, c->value, at.seq, at.ordinal, del};
    if (del) {
        fresh.value = hf_slice_of(NULL, 0);
    }
    e = hf_tree_write(s, hf_tree_visible(s), &fresh, rule, changed);
    s->half |= *changed;
    return hf_state_fail(s, e);
}

enum hf_err hf_state_upsert(struct hf_state *s, hf_seq seq, uint32_t ordinal,
                            const struct hf_change *c, bool *changed)
{
    return write_change(s, (struct hf_point){seq, ordinal}, c, HF_RULE_UNLESS_SAME, changed);
}

enum hf_err hf_state_apply(struct hf_state *s, hf_seq seq, uint32_t ordinal,
                           const struct hf_change *c)
{
    bool changed;
    return write_change(s, (struct hf_point){seq, ordinal}, c, HF_RULE_ALWAYS, &changed);
}

enum hf_err hf_state_get(struct hf_state *s, struct hf_slice key, bool tombstones,
                         struct hf_stored *out)
{
    if (key.len == 0 || key.len > HF_STORE_KEY_MAX) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e == HF_OK) {
        e = hf_tree_find(s, hf_tree_visible(s), key, out);
    }
    if (e == HF_OK && out->tombstone && !tombstones) {
        return HF_NOTFOUND;
    }
    return hf_state_fail(s, e);
}

/* ---- the position ---- */

struct hf_hash hf_state_digest(struct hf_state *s)
{
    return hf_lthash_digest(&hf_tree_sum(hf_tree_visible(s))->lanes);
}

struct hf_position hf_state_position(const struct hf_state *s)
{
    return s->head.at;
}

struct hf_position hf_state_committed(const struct hf_state *s)
{
    return s->head_committed.at;
}

enum hf_err hf_state_genesis(struct hf_state *s, const struct hf_position *at)
{
    if (at->seq != 0 || s->head.at.seq != 0 || s->head.live_count != 0 || s->half) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    s->head.at = *at;
    s->head.at.digest = hf_state_digest(s);
    return hf_state_fail(s, hf_chain_put(s, 0, &at->chain));
}

enum hf_err hf_state_settle(struct hf_state *s, const struct hf_header *h, struct hf_slice header,
                            const struct hf_signature *signature)
{
    struct hf_head *v = &s->head;
    HF_ASSERT(header.len <= HF_HEADER_MAX);
    v->at.epoch_id = h->epoch_id;
    v->at.seq = h->seq;
    v->at.chain = hf_chain_hash(header);
    v->at.digest = h->digest;
    v->signature = *signature;
    v->header_bytes = (uint32_t)header.len;
    memcpy(v->header, header.data, header.len);
    s->half = false;
    return hf_state_fail(s, hf_chain_put(s, h->seq, &v->at.chain));
}

static enum hf_err next_is(const struct hf_state *s, const struct hf_header *h,
                           struct hf_slice header)
{
    if (!hf_id_eq(&h->epoch_id, &s->head.at.epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    return h->seq == s->head.at.seq + 1 && header.len <= HF_HEADER_MAX ? HF_OK : HF_ARG;
}

enum hf_err hf_state_advance(struct hf_state *s, const struct hf_header *h, struct hf_slice header,
                             const struct hf_signature *signature)
{
    enum hf_err e = next_is(s, h, header);
    if (e == HF_OK) {
        e = hf_state_writable(s);
    }
    return e == HF_OK ? hf_state_settle(s, h, header, signature) : e;
}

void hf_state_sign(struct hf_state *s, const struct hf_signature *signature)
{
    HF_ASSERT(s->open);
    s->head.signature = *signature;
}

enum hf_err hf_state_apply_batch(struct hf_state *s, const struct hf_frame *f, struct hf_body *body)
{
    struct hf_change c;
    uint32_t ordinal = 0;
    enum hf_err e = next_is(s, &f->h, f->header);
    if (e == HF_OK) {
        e = s->half ? HF_ARG : hf_state_writable(s);
    }
    if (e != HF_OK) {
        return e;
    }
    while (e == HF_OK && hf_body_next_change(body, &c)) {
        e = hf_state_apply(s, f->h.seq, ordinal++, &c);
    }
    if (e != HF_OK) {
        /* Whatever it was, part of the batch is in. */
        s->error = s->error == HF_OK ? e : s->error;
        return e;
    }
    struct hf_hash digest = hf_state_digest(s);
    if (!hf_hash_eq(&digest, &f->h.digest)) {
        return hf_state_fail(s, HF_DIGEST);
    }
    return hf_state_settle(s, &f->h, f->header, &f->signature);
}
