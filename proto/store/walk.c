/*
 * walk.c - reads records in key order, on past those that are damaged, and adds up what it saw.
 *
 * Invariant: every entry of the visible table between the bounds is counted once, whatever is wrong
 * with its bytes; only what has its checksum goes into the fingerprint. `end` is said exactly when
 * nothing is left, so whoever goes on behind `last` until then has seen all.
 *
 * It writes nothing, and must not be asked for more than a few milliseconds' worth while others
 * wait for the view's pages. Read next: repair.h; verify.c for the check that stops at once.
 */
#include "hf/repair.h"

#include "view_impl.h"

static bool is_full(const struct hf_walk *w)
{
    return (w->live_max != 0 && w->live >= w->live_max) ||
           (w->record_max != 0 && w->records >= w->record_max) ||
           (w->byte_max != 0 && w->bytes >= w->byte_max);
}

static void take(struct hf_walk *w, struct hf_slice key, MDB_val data)
{
    struct hf_stored r;
    w->last = key;
    w->records++;
    w->bytes += key.len + data.mv_size;
    if (hf_record_get(key, data, &r) != HF_OK || key.len > HF_STORE_KEY_MAX) {
        w->damaged = w->unreadable == 0 ? key : w->damaged;
        w->unreadable++;
        return;
    }
    if (r.tombstone) {
        return;
    }
    w->live++;
    if (w->hashed) {
        struct hf_hash element = hf_element_hash(key, r.seq, r.value);
        hf_fingerprint_add(&w->fingerprint, &element);
    }
}

enum hf_err hf_view_walk(struct hf_view *v, struct hf_walk *w)
{
    MDB_cursor *c;
    MDB_val k = hf_val(w->after);
    MDB_val data;
    w->last = w->damaged = hf_slice_of(NULL, 0);
    w->end = false;
    w->records = w->live = w->unreadable = w->bytes = 0;
    memset(&w->fingerprint, 0, sizeof(w->fingerprint));
    enum hf_err e = hf_view_cursor(v, VIEW_BY_KEY, &c);
    if (e != HF_OK) {
        return e;
    }
    int rc = hf_view_seek_after(c, &k, &data);
    while (rc == 0) {
        struct hf_slice key = hf_slice_of_val(k);
        if (w->until.len > 0 && hf_slice_cmp(key, w->until) > 0) {
            break;
        }
        if (is_full(w)) {
            return HF_OK;
        }
        take(w, key, data);
        rc = hf_lmdb_cursor_get(c, &k, &data, MDB_NEXT);
    }
    w->end = rc == 0 || rc == MDB_NOTFOUND;
    return w->end ? HF_OK : hf_env_error(rc);
}

enum hf_err hf_view_size(struct hf_view *v, uint64_t *records, uint64_t *bytes)
{
    MDB_stat st;
    HF_ASSERT(v->live);
    int rc = mdb_stat(v->txn, v->table[VIEW_BY_KEY], &st);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    *records = st.ms_entries;
    *bytes = (uint64_t)(st.ms_leaf_pages + st.ms_overflow_pages) * st.ms_psize;
    return HF_OK;
}
