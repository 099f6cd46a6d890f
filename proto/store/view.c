/*
 * view.c - reading: one committed state through a read-only LMDB transaction, and the readers'
 * gate.
 *
 * Invariant: a view that is live holds a place in the gate, so the environment under it is neither
 * resized nor closed. Which generation is visible is read inside the view's own transaction, once,
 * at the renew. Nothing is returned before its checksum was verified (G15).
 *
 * A view must not be live across a wait: grow and reopen wait for it, and the pages that it sees
 * are not reused. A scan through next_key or next_change costs one cursor step a call, not a
 * descent.
 */
#include "view_impl.h"

#include <stdlib.h>

/* ---- the state that is held ---- */

/* After a failed write of its meta page LMDB lets no reader begin before the environment is opened
 * anew, and a file system that came to an end lets nothing be opened. Readers then share this
 * transaction, one thread at a time (G9). It costs no page: the writer spares those of the newest
 * commit anyhow. */
/* LMDB finds the root of a table when a transaction first opens it, on a page that may be gone by
 * the time that this one is shared. */
static void find_roots(void *ctx)
{
    struct hf_state *s = ctx;
    MDB_stat st;
    for (unsigned i = 0; i < HF_TABLE_COUNT; i++) {
        (void)mdb_stat(s->held.txn, s->table[i], &st);
    }
}

void hf_held_renew(struct hf_state *s)
{
    struct hf_held *h = &s->held;
    int rc;
    pthread_mutex_lock(&h->mutex);
    if (h->txn != NULL) {
        mdb_txn_reset(h->txn);
        rc = mdb_txn_renew(h->txn);
    } else {
        rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &h->txn);
    }
    if (rc == 0) {
        (void)hf_guarded(find_roots, s);
    }
    pthread_mutex_unlock(&h->mutex);
    if (rc != 0) {
        hf_held_drop(s);
    }
}

void hf_held_drop(struct hf_state *s)
{
    pthread_mutex_lock(&s->held.mutex);
    if (s->held.txn != NULL) {
        mdb_txn_abort(s->held.txn);
    }
    s->held.txn = NULL;
    pthread_mutex_unlock(&s->held.mutex);
}

static int borrow(struct hf_view *v)
{
    struct hf_held *h = &v->s->held;
    pthread_mutex_lock(&h->mutex);
    if (h->txn == NULL) {
        pthread_mutex_unlock(&h->mutex);
        return MDB_PANIC;
    }
    v->txn = h->txn;
    v->borrows = true;
    return 0;
}

/* ---- life ---- */

static void drop_txn(struct hf_view *v)
{
    for (int i = 0; i < VIEW_CURSORS; i++) {
        if (v->cursor[i] != NULL) {
            mdb_cursor_close(v->cursor[i]);
        }
        v->cursor[i] = NULL;
        v->fresh[i] = false;
    }
    if (v->borrows) {
        pthread_mutex_unlock(&v->s->held.mutex);
    } else if (v->txn != NULL) {
        mdb_txn_abort(v->txn);
    }
    v->borrows = false;
    v->txn = NULL;
}

static enum hf_err read_head(struct hf_view *v)
{
    MDB_val k = hf_val(hf_slice_str("view"));
    MDB_val data;
    int rc = hf_lmdb_get(v->txn, v->s->table[HF_TABLE_META], &k, &data);
    if (rc != 0) {
        return rc == MDB_NOTFOUND ? HF_CORRUPT : hf_env_error(rc);
    }
    enum hf_err e = hf_head_decode(hf_slice_of_val(data), &v->head);
    unsigned generation = 2 * (v->head.generation & 1);
    v->table[VIEW_BY_KEY] = v->s->table[HF_TABLE_STATE_0 + generation];
    v->table[VIEW_BY_SEQ] = v->s->table[HF_TABLE_BYSEQ_0 + generation];
    return e;
}

void hf_view_reset(struct hf_view *v)
{
    if (!v->live) {
        return;
    }
    v->live = false;
    for (int i = 0; i < VIEW_CURSORS; i++) {
        v->fresh[i] = false;
    }
    if (v->borrows) {
        drop_txn(v);
    } else {
        mdb_txn_reset(v->txn);
    }
    hf_gate_leave(&v->s->gate);
}

/* Of a transaction that begins LMDB reads them before it says that there can be none. */
static void touch_metas(void *ctx)
{
    MDB_envinfo info;
    (void)mdb_env_info(ctx, &info);
}

static int begin(struct hf_view *v)
{
    int rc = MDB_PANIC;
    if (v->s->env != NULL && !hf_guarded(touch_metas, v->s->env)) {
        rc = MDB_PANIC;
    } else if (v->txn != NULL) {
        rc = mdb_txn_renew(v->txn);
    } else if (v->s->env != NULL) {
        rc = mdb_txn_begin(v->s->env, NULL, MDB_RDONLY, &v->txn);
    }
    if (rc == MDB_PANIC) {
        drop_txn(v);
        rc = borrow(v);
    }
    return rc;
}

enum hf_err hf_view_renew(struct hf_view *v)
{
    hf_view_reset(v);
    hf_gate_enter(&v->s->gate);
    int rc = begin(v);
    if (rc != 0) {
        drop_txn(v);
        hf_gate_leave(&v->s->gate);
        return hf_env_error(rc);
    }
    enum hf_err e = read_head(v);
    v->live = e == HF_OK;
    if (e != HF_OK) {
        drop_txn(v); /* inside the gate: outside of it the environment may be gone */
        hf_gate_leave(&v->s->gate);
    }
    return e;
}

enum hf_err hf_view_open(struct hf_state *s, struct hf_view **out)
{
    *out = NULL;
    struct hf_view *v = calloc(1, sizeof(*v));
    if (v == NULL) {
        return HF_NOMEM;
    }
    v->s = s;
    enum hf_err e = hf_view_renew(v);
    if (e != HF_OK) {
        free(v);
        return e;
    }
    pthread_mutex_lock(&s->gate.mutex);
    v->next = s->views;
    s->views = v;
    pthread_mutex_unlock(&s->gate.mutex);
    *out = v;
    return HF_OK;
}

void hf_view_close(struct hf_view *v)
{
    if (v == NULL) {
        return;
    }
    struct hf_state *s = v->s;
    hf_view_reset(v);
    /* Entering keeps a reopen from aborting the transaction at the same time. */
    hf_gate_enter(&s->gate);
    drop_txn(v);
    pthread_mutex_lock(&s->gate.mutex);
    struct hf_view **at = &s->views;
    while (*at != v) {
        at = &(*at)->next;
    }
    *at = v->next;
    pthread_mutex_unlock(&s->gate.mutex);
    hf_gate_leave(&s->gate);
    free(v);
}

void hf_views_detach(struct hf_state *s)
{
    pthread_mutex_lock(&s->gate.mutex);
    HF_ASSERT(s->gate.closed && s->gate.live == 0);
    for (struct hf_view *v = s->views; v != NULL; v = v->next) {
        drop_txn(v);
    }
    pthread_mutex_unlock(&s->gate.mutex);
}

void hf_view_applied(const struct hf_view *v, struct hf_applied *a)
{
    HF_ASSERT(v->live);
    a->at = v->head.at;
    a->header = hf_slice_of(v->head.header, v->head.header_bytes);
    a->signature = v->head.signature;
    a->live_count = v->head.live_count;
    a->delta_floor = v->head.delta_floor;
}

/* ---- cursors ---- */

enum hf_err hf_view_cursor(struct hf_view *v, enum view_cursor which, MDB_cursor **out)
{
    HF_ASSERT(v->live);
    MDB_cursor *c = v->cursor[which];
    int rc = 0;
    if (c != NULL && mdb_cursor_dbi(c) != v->table[which]) {
        mdb_cursor_close(c); /* a switch has made the other generation the visible one */
        c = NULL;
    }
    if (c == NULL) {
        rc = mdb_cursor_open(v->txn, v->table[which], &c);
    } else if (!v->fresh[which]) {
        rc = mdb_cursor_renew(v->txn, c);
    }
    v->cursor[which] = rc == 0 ? c : NULL;
    v->fresh[which] = rc == 0;
    *out = c;
    return hf_env_error(rc);
}

int hf_view_seek_after(MDB_cursor *c, MDB_val *k, MDB_val *data)
{
    MDB_val after = *k;
    MDB_val here;
    if (after.mv_size == 0) {
        return hf_lmdb_cursor_get(c, k, data, MDB_FIRST);
    }
    int rc = hf_lmdb_cursor_get(c, &here, data, MDB_GET_CURRENT);
    if (rc == 0 && hf_slice_eq(hf_slice_of_val(here), hf_slice_of_val(after))) {
        return hf_lmdb_cursor_get(c, k, data, MDB_NEXT);
    }
    rc = hf_lmdb_cursor_get(c, k, data, MDB_SET_RANGE);
    if (rc == 0 && hf_slice_eq(hf_slice_of_val(*k), hf_slice_of_val(after))) {
        rc = hf_lmdb_cursor_get(c, k, data, MDB_NEXT);
    }
    return rc;
}

/* ---- records ---- */

/* A record on its own is under a checksum; the way to it is not. One flipped bit in a branch page
 * leads a search to the wrong leaf, where the key is not. So its neighbours are asked: both must be
 * sound, and the key must lie between them. */
static enum hf_err prove_absent(struct hf_view *v, struct hf_slice key)
{
    MDB_cursor *c;
    MDB_val k = hf_val(key);
    MDB_val data;
    struct hf_stored r;
    int rc = mdb_cursor_open(v->txn, v->table[VIEW_BY_KEY], &c);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    bool sound = true;
    rc = hf_lmdb_cursor_get(c, &k, &data, MDB_SET_RANGE);
    bool is_last = rc == MDB_NOTFOUND;
    if (rc == 0) {
        sound = hf_slice_cmp(hf_slice_of_val(k), key) > 0 &&
                hf_record_get(hf_slice_of_val(k), data, &r) == HF_OK;
    }
    if (sound && (rc == 0 || is_last)) {
        rc = hf_lmdb_cursor_get(c, &k, &data, is_last ? MDB_LAST : MDB_PREV);
        sound = rc != 0 || (hf_slice_cmp(hf_slice_of_val(k), key) < 0 &&
                            hf_record_get(hf_slice_of_val(k), data, &r) == HF_OK);
    }
    mdb_cursor_close(c);
    if (!sound) {
        return HF_CORRUPT;
    }
    return rc == 0 ? HF_NOTFOUND : hf_env_error(rc);
}

enum hf_err hf_view_get(struct hf_view *v, struct hf_slice key, bool tombstones,
                        struct hf_stored *out)
{
    HF_ASSERT(v->live);
    if (key.len == 0 || key.len > HF_STORE_KEY_MAX) {
        return HF_ARG;
    }
    MDB_val k = hf_val(key);
    MDB_val data;
    int rc = hf_lmdb_get(v->txn, v->table[VIEW_BY_KEY], &k, &data);
    if (rc != 0) {
        return rc == MDB_NOTFOUND ? prove_absent(v, key) : hf_env_error(rc);
    }
    enum hf_err e = hf_record_get(key, data, out);
    return e == HF_OK && out->tombstone && !tombstones ? HF_NOTFOUND : e;
}

enum hf_err hf_view_next_record(struct hf_view *v, struct hf_slice after, struct hf_stored *out)
{
    MDB_cursor *c;
    MDB_val k = hf_val(after);
    MDB_val data;
    enum hf_err e = hf_view_cursor(v, VIEW_BY_KEY, &c);
    if (e != HF_OK) {
        return e;
    }
    int rc = hf_view_seek_after(c, &k, &data);
    return rc == 0 ? hf_record_get(hf_slice_of_val(k), data, out) : hf_env_error(rc);
}

enum hf_err hf_view_next_change(struct hf_view *v, hf_seq seq, uint32_t ordinal,
                                struct hf_stored *out)
{
    MDB_cursor *c;
    uint8_t bytes[HF_POINT_BYTES];
    MDB_val k = {sizeof(bytes), bytes};
    MDB_val key;
    enum hf_err e = hf_view_cursor(v, VIEW_BY_SEQ, &c);
    if (e != HF_OK) {
        return e;
    }
    hf_point_put(bytes, (struct hf_point){seq, ordinal});
    int rc = hf_view_seek_after(c, &k, &key);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    if (k.mv_size != HF_POINT_BYTES) {
        return HF_CORRUPT;
    }
    struct hf_point at = hf_point_get(k.mv_data);
    e = hf_view_get(v, hf_slice_of_val(key), true, out);
    if (e == HF_OK && out->seq == at.seq && out->ordinal == at.ordinal) {
        return HF_OK;
    }
    return e == HF_OK || e == HF_NOTFOUND || e == HF_ARG ? HF_CORRUPT : e;
}

enum hf_err hf_view_chain(struct hf_view *v, hf_seq seq, struct hf_hash *chain)
{
    HF_ASSERT(v->live);
    uint8_t key[8];
    MDB_val k = {sizeof(key), key};
    MDB_val data;
    hf_store64_be(key, seq);
    int rc = hf_lmdb_get(v->txn, v->s->table[HF_TABLE_CHAIN], &k, &data);
    return rc == 0 ? hf_chain_decode(seq, hf_slice_of_val(data), chain) : hf_env_error(rc);
}

/* ---- objects and inbox ---- */

enum hf_err hf_view_object(struct hf_view *v, struct hf_slice name, struct hf_slice *bytes)
{
    HF_ASSERT(v->live);
    if (name.len == 0 || name.len > HF_STORE_KEY_MAX) {
        return HF_ARG;
    }
    MDB_val k = hf_val(name);
    MDB_val data;
    int rc = hf_lmdb_get(v->txn, v->s->table[HF_TABLE_OBJECT], &k, &data);
    return rc == 0 ? hf_blob_get(name, hf_slice_of_val(data), bytes) : hf_env_error(rc);
}

enum hf_err hf_view_next_object(struct hf_view *v, struct hf_slice prefix, struct hf_slice after,
                                struct hf_slice *name, struct hf_slice *bytes)
{
    HF_ASSERT(v->live);
    MDB_cursor *c;
    MDB_val k = hf_val(after);
    MDB_val data;
    int rc = mdb_cursor_open(v->txn, v->s->table[HF_TABLE_OBJECT], &c);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    if (after.len == 0 && prefix.len > 0) {
        k = hf_val(prefix); /* the first may be named just as the prefix */
        rc = hf_lmdb_cursor_get(c, &k, &data, MDB_SET_RANGE);
    } else {
        rc = hf_view_seek_after(c, &k, &data);
    }
    mdb_cursor_close(c); /* what it found lies in the map and stays */
    if (rc != 0) {
        return hf_env_error(rc);
    }
    struct hf_slice found = hf_slice_of_val(k);
    if (found.len < prefix.len || !hf_slice_eq(hf_slice_of(found.data, prefix.len), prefix)) {
        return HF_NOTFOUND;
    }
    enum hf_err e = hf_blob_get(found, hf_slice_of_val(data), bytes);
    if (e == HF_OK) {
        *name = found;
    }
    return e;
}

enum hf_err hf_view_inbox_next(struct hf_view *v, hf_seq from, hf_seq *seq,
                               struct hf_slice *message)
{
    HF_ASSERT(v->live);
    MDB_cursor *c;
    uint8_t key[8];
    MDB_val k = {sizeof(key), key};
    MDB_val data;
    hf_store64_be(key, from);
    int rc = mdb_cursor_open(v->txn, v->s->table[HF_TABLE_INBOX], &c);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    rc = hf_lmdb_cursor_get(c, &k, &data, MDB_SET_RANGE);
    mdb_cursor_close(c);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    if (k.mv_size != sizeof(key)) {
        return HF_CORRUPT;
    }
    *seq = hf_load64_be(k.mv_data);
    return hf_blob_get(hf_slice_of_val(k), hf_slice_of_val(data), message);
}
