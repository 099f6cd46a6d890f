/*
 * tables.c - the writer's side of the small tables: chain, inbox, objects, answered requests.
 *
 * Invariant: a request id is known for exactly HF_REQUEST_WINDOW seqs. What the window has passed
 * is not found, whether or not it was deleted yet, so a replay of the changelog gives the same
 * answers as the first run did.
 *
 * The inbox has no bound of its own here: how many frames are worth keeping is the engine's
 * decision. Read view.c for the readers of these tables.
 */
#include "state_impl.h"

#include <stdlib.h>

#define INBOX_MESSAGE_MAX ((size_t)HF_BODY_SEALED_MAX + HF_HEADER_MAX + HF_FRAME_OVERHEAD)
#define ANSWER_BYTES (8u + HF_HASH_BYTES)
#define REQUESTSEQ_MAX (8u + HF_REQUEST_ID_MAX)
/* Old request ids deleted for each new one: more than one, so that the window does catch up. */
#define EXPIRE_STEP 4u

/* Writes xxh3 || bytes under a key. */
static enum hf_err blob_put(struct hf_state *s, enum hf_table table, struct hf_slice key,
                            struct hf_slice bytes)
{
    MDB_val k = hf_val(key);
    MDB_val v = {8 + bytes.len, NULL};
    uint64_t check = hf_blob_sum(key, bytes);
    int rc = mdb_put(s->txn, s->table[table], &k, &v, MDB_RESERVE);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    uint8_t *p = v.mv_data;
    hf_store64(p, check);
    if (bytes.len > 0) {
        memcpy(p + 8, bytes.data, bytes.len);
    }
    return HF_OK;
}

static enum hf_err blob_get(struct hf_state *s, enum hf_table table, struct hf_slice key,
                            struct hf_slice *bytes)
{
    MDB_val k = hf_val(key);
    MDB_val v;
    int rc = hf_lmdb_get(s->txn, s->table[table], &k, &v);
    return rc == 0 ? hf_blob_get(key, hf_slice_of_val(v), bytes) : hf_env_error(rc);
}

static enum hf_err entry_del(struct hf_state *s, enum hf_table table, struct hf_slice key)
{
    MDB_val k = hf_val(key);
    return hf_env_error(mdb_del(s->txn, s->table[table], &k, NULL));
}

/* The key of the first entry at or behind `from`, copied to `key`. */
static enum hf_err first_key(struct hf_state *s, enum hf_table table, struct hf_slice from,
                             uint8_t *key, size_t *len)
{
    MDB_cursor *c = NULL;
    MDB_val k = hf_val(from);
    MDB_val v;
    size_t cap = *len;
    int rc = mdb_cursor_open(s->txn, s->table[table], &c);
    if (rc == 0) {
        rc = hf_lmdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
    }
    enum hf_err e = hf_env_error(rc);
    if (e == HF_OK && (k.mv_size > cap || k.mv_size < 8)) {
        e = HF_CORRUPT;
    }
    if (e == HF_OK) {
        memcpy(key, k.mv_data, k.mv_size);
        *len = k.mv_size;
    }
    if (c != NULL) {
        mdb_cursor_close(c);
    }
    return e;
}

/* ---- chain ---- */

enum hf_err hf_chain_put(struct hf_state *s, hf_seq seq, const struct hf_hash *chain)
{
    uint8_t key[8];
    uint8_t bytes[HF_CHAIN_BYTES];
    if (s->chainless) {
        return HF_OK;
    }
    hf_store64_be(key, seq);
    hf_chain_encode(seq, chain, bytes);
    MDB_val k = {sizeof(key), key};
    MDB_val v = {sizeof(bytes), bytes};
    return hf_env_error(mdb_put(s->txn, s->table[HF_TABLE_CHAIN], &k, &v, 0));
}

/* Deletes entries with seq in first..last, at most max of them. */
static enum hf_err seqs_del(struct hf_state *s, enum hf_table table, hf_seq first, hf_seq last,
                            uint32_t max)
{
    uint8_t key[8];
    hf_store64_be(key, first);
    for (uint32_t i = 0; i < max; i++) {
        size_t len = sizeof(key);
        enum hf_err e = first_key(s, table, hf_slice_of(key, sizeof(key)), key, &len);
        if (e == HF_NOTFOUND || (e == HF_OK && hf_load64_be(key) > last)) {
            return HF_OK;
        }
        if (e == HF_OK) {
            e = entry_del(s, table, hf_slice_of(key, sizeof(key)));
        }
        if (e != HF_OK) {
            return e;
        }
    }
    return HF_OK;
}

enum hf_err hf_state_forget_chain(struct hf_state *s, hf_seq floor, uint32_t max)
{
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK || floor == 0) {
        return e;
    }
    return hf_state_fail(s, seqs_del(s, HF_TABLE_CHAIN, 0, floor - 1, max));
}

/* ---- objects ---- */

enum hf_err hf_state_object_put(struct hf_state *s, struct hf_slice name, struct hf_slice bytes)
{
    if (name.len == 0 || name.len > HF_STORE_KEY_MAX) {
        return HF_ARG;
    }
    if (bytes.len > HF_STORE_VALUE_MAX) {
        return HF_TOO_BIG;
    }
    enum hf_err e = hf_state_writable(s);
    return e == HF_OK ? hf_state_fail(s, blob_put(s, HF_TABLE_OBJECT, name, bytes)) : e;
}

enum hf_err hf_state_object_del(struct hf_state *s, struct hf_slice name)
{
    if (name.len == 0 || name.len > HF_STORE_KEY_MAX) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    return e == HF_OK ? hf_state_fail(s, entry_del(s, HF_TABLE_OBJECT, name)) : e;
}

/* ---- inbox ---- */

enum hf_err hf_state_inbox_put(struct hf_state *s, hf_seq seq, struct hf_slice message)
{
    uint8_t key[8];
    if (message.len > INBOX_MESSAGE_MAX) {
        return HF_TOO_BIG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    hf_store64_be(key, seq);
    return hf_state_fail(s, blob_put(s, HF_TABLE_INBOX, hf_slice_of(key, sizeof(key)), message));
}

enum hf_err hf_state_inbox_del(struct hf_state *s, hf_seq first, hf_seq last)
{
    enum hf_err e = hf_state_writable(s);
    if (e != HF_OK) {
        return e;
    }
    return hf_state_fail(s, seqs_del(s, HF_TABLE_INBOX, first, last, UINT32_MAX));
}

/* ---- answered requests ---- */

static bool forgotten(const struct hf_state *s, hf_seq seq)
{
    return s->head.at.seq > HF_REQUEST_WINDOW && seq <= s->head.at.seq - HF_REQUEST_WINDOW;
}

static enum hf_err answer_read(struct hf_state *s, struct hf_slice id, struct hf_answered *a)
{
    struct hf_slice bytes;
    enum hf_err e = blob_get(s, HF_TABLE_REQUEST, id, &bytes);
    if (e != HF_OK) {
        return e;
    }
    if (bytes.len != ANSWER_BYTES) {
        return HF_CORRUPT;
    }
    a->seq = hf_load64(bytes.data);
    memcpy(a->content_hash.b, bytes.data + 8, HF_HASH_BYTES);
    return HF_OK;
}

enum hf_err hf_state_request_get(struct hf_state *s, struct hf_slice id, struct hf_answered *a)
{
    struct hf_answered found;
    if (id.len == 0 || id.len > HF_REQUEST_ID_MAX) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e == HF_OK) {
        e = answer_read(s, id, &found);
    }
    if (e == HF_OK && forgotten(s, found.seq)) {
        return HF_NOTFOUND;
    }
    if (e == HF_OK) {
        *a = found;
    }
    return hf_state_fail(s, e);
}

static struct hf_slice requestseq_key(uint8_t out[REQUESTSEQ_MAX], hf_seq seq, struct hf_slice id)
{
    hf_store64_be(out, seq);
    memcpy(out + 8, id.data, id.len);
    return hf_slice_of(out, 8 + id.len);
}

/* Deletes a few of the oldest ids that the window has passed. */
static enum hf_err expire(struct hf_state *s)
{
    static const uint8_t lowest[8];
    for (unsigned i = 0; i < EXPIRE_STEP; i++) {
        uint8_t key[REQUESTSEQ_MAX];
        size_t len = sizeof(key);
        enum hf_err e = first_key(s, HF_TABLE_REQUESTSEQ, hf_slice_of(lowest, 8), key, &len);
        if (e == HF_NOTFOUND || (e == HF_OK && !forgotten(s, hf_load64_be(key)))) {
            return HF_OK;
        }
        if (e == HF_OK) {
            e = entry_del(s, HF_TABLE_REQUEST, hf_slice_of(key + 8, len - 8));
        }
        if (e == HF_OK || e == HF_NOTFOUND) {
            e = entry_del(s, HF_TABLE_REQUESTSEQ, hf_slice_of(key, len));
        }
        if (e != HF_OK) {
            return e;
        }
    }
    return HF_OK;
}

static enum hf_err answer_write(struct hf_state *s, struct hf_slice id, const struct hf_answered *a)
{
    uint8_t key[REQUESTSEQ_MAX];
    uint8_t bytes[ANSWER_BYTES];
    struct hf_answered old;
    enum hf_err e = answer_read(s, id, &old);
    if (e == HF_OK) { /* an id that the window had passed comes again */
        e = entry_del(s, HF_TABLE_REQUESTSEQ, requestseq_key(key, old.seq, id));
    }
    if (e != HF_OK && e != HF_NOTFOUND) {
        return e;
    }
    hf_store64(bytes, a->seq);
    memcpy(bytes + 8, a->content_hash.b, HF_HASH_BYTES);
    e = blob_put(s, HF_TABLE_REQUEST, id, hf_slice_of(bytes, sizeof(bytes)));
    if (e != HF_OK) {
        return e;
    }
    MDB_val k = hf_val(requestseq_key(key, a->seq, id));
    MDB_val nothing = {0, NULL};
    return hf_env_error(mdb_put(s->txn, s->table[HF_TABLE_REQUESTSEQ], &k, &nothing, 0));
}

enum hf_err hf_state_request_put(struct hf_state *s, struct hf_slice id,
                                 const struct hf_answered *a)
{
    if (id.len == 0 || id.len > HF_REQUEST_ID_MAX) {
        return HF_ARG;
    }
    enum hf_err e = hf_state_writable(s);
    if (e == HF_OK) {
        e = answer_write(s, id, a);
    }
    if (e == HF_OK) {
        e = expire(s);
    }
    return hf_state_fail(s, e);
}
