/*
 * verify.c - reads a whole view: the full check.
 *
 * Invariant: HF_OK from the check means that every record has its checksum, that the index names
 * each record that belongs in it once and at its place, that no record is newer than the position,
 * and that the LtHash of the live records, computed from nothing, is the digest of the signed
 * header, as is that of the sum that is kept. HF_DIGEST names the first of these that does not
 * hold: a repair puts all of them right (repair.c has the list). HF_CORRUPT is for what it does not
 * touch.
 *
 * It writes nothing, and holds one read transaction for as long as it takes (3.4 s for
 * 1,000,000 keys): the daemon runs it on a worker, or in a child after an unclean start. Read
 * tree.c for who keeps up what is checked here.
 */
#include "view_impl.h"

#include <stdio.h>

/* ---- the full check ---- */

#define GIVE_WAY_STEP 1024u /* entries: some milliseconds */

struct check {
    struct hf_view *v;
    struct hf_error *e;
    struct hf_lthash lanes;
    uint64_t records;
    uint64_t indexed;
    uint64_t live;
    uint64_t looked; /* at entries of all tables */
};

static enum hf_err damaged(struct check *c, enum hf_err code, const char *what, struct hf_slice key)
{
    char text[2 * 40 + 1];
    size_t shown = key.len < 40 ? key.len : 40;
    text[0] = '\0';
    for (size_t i = 0; i < shown; i++) {
        snprintf(text + 2 * i, 3, "%02x", key.data[i]);
    }
    return hf_error_set(c->e, code, "%s: %s, key (hex) %s%s", c->v->s->dir, what, text,
                        shown < key.len ? "..." : "");
}

/* Whether the index has what belongs in it. */
static bool is_indexed(struct check *c, const struct hf_stored *r)
{
    uint8_t bytes[HF_POINT_BYTES];
    MDB_val point = {sizeof(bytes), bytes};
    MDB_val named;
    if (!hf_index_has(c->v->s, r->tombstone)) {
        return true;
    }
    c->indexed++;
    hf_point_put(bytes, (struct hf_point){r->seq, r->ordinal});
    int rc = hf_lmdb_get(c->v->txn, c->v->table[VIEW_BY_SEQ], &point, &named);
    return rc == 0 && hf_slice_eq(hf_slice_of_val(named), r->key);
}

static enum hf_err check_record(struct check *c, MDB_val k, MDB_val data)
{
    struct hf_stored r;
    struct hf_slice key = hf_slice_of_val(k);
    if (hf_record_get(key, data, &r) != HF_OK) {
        return damaged(c, HF_DIGEST, "a record does not match its checksum", key);
    }
    if (r.seq > c->v->head.at.seq) {
        return damaged(c, HF_DIGEST, "a record is newer than the position", key);
    }
    if (!is_indexed(c, &r)) {
        return damaged(c, HF_DIGEST, "the index by seq does not have a record", key);
    }
    c->records++;
    if (!r.tombstone) {
        struct hf_hash element = hf_element_hash(key, r.seq, r.value);
        hf_lthash_add(&c->lanes, &element);
        c->live++;
    }
    return HF_OK;
}

/* It takes seconds, and while the environment is to be grown or reopened readers wait for it. */
static enum hf_err give_way(struct check *c)
{
    bool closing = ++c->looked % GIVE_WAY_STEP == 0 && hf_gate_closing(&c->v->s->gate);
    return closing ? hf_error_set(c->e, HF_BUSY, "%s: the store is reopened", c->v->s->dir) : HF_OK;
}

static enum hf_err check_records(struct check *c)
{
    MDB_cursor *cursor;
    MDB_val k;
    MDB_val data;
    MDB_stat st;
    enum hf_err e = hf_view_cursor(c->v, VIEW_BY_KEY, &cursor);
    int rc = 0;
    if (e == HF_OK) {
        rc = hf_lmdb_cursor_get(cursor, &k, &data, MDB_FIRST);
    }
    while (e == HF_OK && rc == 0) {
        e = check_record(c, k, data);
        e = e == HF_OK ? give_way(c) : e;
        rc = hf_lmdb_cursor_get(cursor, &k, &data, MDB_NEXT);
    }
    if (e != HF_OK) {
        return e;
    }
    if (rc == MDB_NOTFOUND) {
        rc = mdb_stat(c->v->txn, c->v->table[VIEW_BY_SEQ], &st);
    }
    if (rc != 0) {
        return hf_error_set(c->e, hf_env_error(rc), "%s: %s", c->v->s->dir, mdb_strerror(rc));
    }
    if (st.ms_entries != c->indexed || c->live != c->v->head.live_count) {
        return hf_error_set(c->e, HF_DIGEST,
                            "%s: %llu records, %llu of them live; the index has %llu instead of "
                            "%llu, the position says %llu live",
                            c->v->s->dir, (unsigned long long)c->records,
                            (unsigned long long)c->live, (unsigned long long)st.ms_entries,
                            (unsigned long long)c->indexed,
                            (unsigned long long)c->v->head.live_count);
    }
    return HF_OK;
}

/* Every entry of inbox, object and request under its checksum; of chain likewise. */
static enum hf_err check_table(struct check *c, enum hf_table table)
{
    MDB_cursor *cursor;
    MDB_val k;
    MDB_val data;
    struct hf_slice bytes;
    struct hf_hash chain;
    enum hf_err e = HF_OK;
    int rc = mdb_cursor_open(c->v->txn, c->v->s->table[table], &cursor);
    if (rc != 0) {
        return hf_error_set(c->e, hf_env_error(rc), "%s: %s", c->v->s->dir, mdb_strerror(rc));
    }
    while (e == HF_OK && (e = give_way(c)) == HF_OK &&
           (rc = hf_lmdb_cursor_get(cursor, &k, &data, MDB_NEXT)) == 0) {
        if (table != HF_TABLE_CHAIN) {
            e = hf_blob_get(hf_slice_of_val(k), hf_slice_of_val(data), &bytes);
        } else if (k.mv_size != 8) {
            e = HF_CORRUPT;
        } else {
            e = hf_chain_decode(hf_load64_be(k.mv_data), hf_slice_of_val(data), &chain);
        }
    }
    mdb_cursor_close(cursor);
    if (e == HF_BUSY) {
        return e;
    }
    if (e != HF_OK) {
        return damaged(c, HF_CORRUPT, "an entry of a small table does not match its checksum",
                       hf_slice_of_val(k));
    }
    if (rc != MDB_NOTFOUND) {
        return hf_error_set(c->e, hf_env_error(rc), "%s: %s", c->v->s->dir, mdb_strerror(rc));
    }
    return HF_OK;
}

/* The sum that is kept beside the records, to which the next batch is added. */
static enum hf_err check_lanes(struct check *c)
{
    struct hf_lthash kept;
    struct hf_hash digest = {{0}};
    MDB_val k = hf_val(hf_slice_str("lanes"));
    MDB_val data;
    int rc = hf_lmdb_get(c->v->txn, c->v->s->table[HF_TABLE_META], &k, &data);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        return hf_error_set(c->e, hf_env_error(rc), "%s: %s", c->v->s->dir, mdb_strerror(rc));
    }
    if (rc == 0 && hf_lanes_decode(hf_slice_of_val(data), c->v->head.at.seq, &kept) == HF_OK) {
        digest = hf_lthash_digest(&kept);
    }
    if (!hf_hash_eq(&digest, &c->v->head.at.digest)) {
        return hf_error_set(c->e, HF_DIGEST, "%s: the sum kept of the records is not theirs",
                            c->v->s->dir);
    }
    return HF_OK;
}

enum hf_err hf_view_verify(struct hf_view *v, struct hf_error *e)
{
    static const enum hf_table small[] = {HF_TABLE_CHAIN, HF_TABLE_INBOX, HF_TABLE_OBJECT,
                                          HF_TABLE_REQUEST};
    struct check c = {.v = v, .e = e};
    HF_ASSERT(v->live);
    hf_lthash_clear(&c.lanes);
    enum hf_err err = check_records(&c);
    /* Also behind records that a repair mends: what is worse decides. */
    for (size_t i = 0; i < sizeof(small) / sizeof(small[0]) && (err == HF_OK || err == HF_DIGEST);
         i++) {
        enum hf_err worse = check_table(&c, small[i]);
        /* What was seen counts, also if the rest was not. */
        bool unseen = worse == HF_BUSY && err != HF_OK;
        err = worse != HF_OK && !unseen ? worse : err;
    }
    if (err != HF_OK) {
        return err;
    }
    struct hf_hash digest = hf_lthash_digest(&c.lanes);
    if (!hf_hash_eq(&digest, &v->head.at.digest)) {
        return hf_error_set(e, HF_DIGEST, "%s: the digest of the records is not that of seq %llu",
                            v->s->dir, (unsigned long long)v->head.at.seq);
    }
    return check_lanes(&c);
}
