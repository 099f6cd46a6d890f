/*
 * moves.c - the by-seq index of the open transaction, held back until the commit.
 *
 * A key stands in byseq.G at most once, at its last change, so each change would delete one entry
 * and append another. Between two commits only the first place and the last one of a key matter.
 * The moves are noted one behind the other, without a look at what is there; the flush sorts the
 * places that were left and those that were taken, strikes out what is among both with the same
 * key, then deletes the old places in order and puts the new ones. A key changed a thousand times
 * costs one delete and one put, and the deletes walk the table from left to right instead of
 * jumping: 0.35 us a change at 20,000 keys, commit included. A hash of the keys would strike out at
 * once, and cost each new key of a SNAPSHOT more than all the rest of its move.
 *
 * Invariant: of the moves of one key each begins where the one before it ended, and the first where
 * the table in the open transaction has the key. Whoever reads byseq.G inside the transaction
 * flushes first.
 *
 * It must not outlive its transaction: abort clears it.
 */
#include "state_impl.h"

#include <stdlib.h>

#define CAP_FIRST 1024u

void hf_moves_free(struct hf_moves *m)
{
    free(m->move);
    free(m->keys);
    memset(m, 0, sizeof(*m));
}

void hf_moves_clear(struct hf_moves *m)
{
    m->count = 0;
    m->keys_len = 0;
}

bool hf_moves_full(const struct hf_moves *m)
{
    return m->count >= HF_MOVES_MAX || m->keys_len + HF_STORE_KEY_MAX > HF_MOVES_KEYS_MAX;
}

static enum hf_err grow(struct hf_moves *m)
{
    uint32_t cap = m->cap == 0 ? CAP_FIRST : m->cap * 2;
    struct hf_move *move = realloc(m->move, cap * sizeof(*move));
    if (move == NULL) {
        return HF_NOMEM;
    }
    m->move = move;
    m->cap = cap;
    return HF_OK;
}

static enum hf_err keep_key(struct hf_moves *m, struct hf_slice key, struct hf_move *move)
{
    uint32_t len = (uint32_t)key.len;
    if (m->keys_len + len > m->keys_cap) {
        uint32_t cap = m->keys_cap == 0 ? CAP_FIRST * 64 : m->keys_cap * 2;
        uint8_t *keys = realloc(m->keys, cap);
        if (keys == NULL) {
            return HF_NOMEM;
        }
        m->keys = keys;
        m->keys_cap = cap;
    }
    memcpy(m->keys + m->keys_len, key.data, key.len);
    move->key_at = m->keys_len;
    move->key_len = len;
    m->keys_len += len;
    return HF_OK;
}

enum hf_err hf_moves_note(struct hf_moves *m, struct hf_slice key, struct hf_point old,
                          struct hf_point new)
{
    enum hf_err e = HF_OK;
    HF_ASSERT(!hf_moves_full(m) && key.len <= HF_STORE_KEY_MAX);
    if (m->count == m->cap) {
        e = grow(m);
    }
    if (e == HF_OK) {
        e = keep_key(m, key, &m->move[m->count]);
    }
    if (e != HF_OK) {
        return e;
    }
    struct hf_move *move = &m->move[m->count++];
    move->old_seq = old.seq;
    move->old_ordinal = old.ordinal;
    move->new_seq = new.seq;
    move->new_ordinal = new.ordinal;
    return HF_OK;
}

/* ---- writing ---- */

#define STRUCK UINT32_MAX

struct place {
    hf_seq seq;
    uint32_t ordinal;
    uint32_t move; /* whose key is left here, or put here; or STRUCK */
};

/* The places that the moves leave, and those that they take, each in order. */
struct places {
    struct place *old; /* owned */
    struct place *new; /* owned */
    uint32_t old_count;
    uint32_t new_count;
};

static int place_cmp(const struct place *a, const struct place *b)
{
    if (a->seq != b->seq) {
        return a->seq < b->seq ? -1 : 1;
    }
    return (a->ordinal > b->ordinal) - (a->ordinal < b->ordinal);
}

static int sort_cmp(const void *a, const void *b)
{
    return place_cmp(a, b);
}

/* What the log brings is in order as it comes. */
static void sort(struct place *places, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        if (place_cmp(&places[i - 1], &places[i]) > 0) {
            qsort(places, count, sizeof(*places), sort_cmp);
            return;
        }
    }
}

static enum hf_err places_init(struct places *p, const struct hf_moves *m)
{
    p->old = malloc(m->count * sizeof(*p->old));
    p->new = malloc(m->count * sizeof(*p->new));
    p->old_count = 0;
    p->new_count = 0;
    if (p->old == NULL || p->new == NULL) {
        return HF_NOMEM;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        const struct hf_move *move = &m->move[i];
        if (move->new_seq != 0) {
            p->new[p->new_count++] = (struct place){move->new_seq, move->new_ordinal, i};
        }
        if (move->old_seq != 0) {
            p->old[p->old_count++] = (struct place){move->old_seq, move->old_ordinal, i};
        }
    }
    sort(p->old, p->old_count);
    sort(p->new, p->new_count);
    return HF_OK;
}

static struct hf_slice key_at(const struct hf_moves *m, const struct place *p)
{
    const struct hf_move *move = &m->move[p->move];
    return hf_slice_of(m->keys + move->key_at, move->key_len);
}

/* Strikes out what the same key takes and leaves again: the table never had it. */
static void strike(const struct hf_moves *m, struct places *p)
{
    uint32_t kept = 0;
    uint32_t first = 0;
    for (uint32_t i = 0; i < p->old_count; i++) {
        const struct place left = p->old[i];
        bool struck = false;
        while (first < p->new_count && place_cmp(&p->new[first], &left) < 0) {
            first++;
        }
        for (uint32_t j = first; j < p->new_count && !struck; j++) {
            struct place *taken = &p->new[j];
            if (place_cmp(taken, &left) != 0) {
                break;
            }
            if (taken->move != STRUCK && hf_slice_eq(key_at(m, taken), key_at(m, &left))) {
                taken->move = STRUCK;
                struck = true;
            }
        }
        if (!struck) {
            p->old[kept++] = left;
        }
    }
    p->old_count = kept;
}

static MDB_val place_key(const struct place *p, uint8_t bytes[HF_POINT_BYTES])
{
    hf_point_put(bytes, (struct hf_point){p->seq, p->ordinal});
    return (MDB_val){HF_POINT_BYTES, bytes};
}

static enum hf_err delete_old(const struct places *p, MDB_cursor *cursor)
{
    for (uint32_t i = 0; i < p->old_count; i++) {
        uint8_t bytes[HF_POINT_BYTES];
        MDB_val k = place_key(&p->old[i], bytes);
        MDB_val unused;
        int rc = hf_lmdb_cursor_get(cursor, &k, &unused, MDB_SET);
        if (rc == MDB_NOTFOUND) {
            return HF_CORRUPT; /* the record is there and its index entry is not */
        }
        if (rc == 0) {
            rc = mdb_cursor_del(cursor, 0);
        }
        if (rc != 0) {
            return hf_env_error(rc);
        }
    }
    return HF_OK;
}

/* Everything goes behind the last entry, except while KEYS of a SNAPSHOT come in. */
static enum hf_err append_flag(MDB_cursor *cursor, const struct place *first, unsigned *flag)
{
    MDB_val k;
    MDB_val unused;
    int rc = hf_lmdb_cursor_get(cursor, &k, &unused, MDB_LAST);
    struct hf_point at = {first->seq, first->ordinal};
    *flag = MDB_NOOVERWRITE;
    if (rc == MDB_NOTFOUND ||
        (rc == 0 && k.mv_size == HF_POINT_BYTES && hf_point_cmp(hf_point_get(k.mv_data), at) < 0)) {
        *flag = MDB_APPEND;
    }
    return rc == MDB_NOTFOUND ? HF_OK : hf_env_error(rc);
}

static enum hf_err put_new(const struct hf_moves *m, const struct places *p, MDB_cursor *cursor)
{
    unsigned flag = MDB_NOOVERWRITE;
    enum hf_err e = HF_OK;
    if (p->new_count > 0) {
        e = append_flag(cursor, &p->new[0], &flag);
    }
    for (uint32_t i = 0; i < p->new_count && e == HF_OK; i++) {
        uint8_t bytes[HF_POINT_BYTES];
        if (p->new[i].move != STRUCK) {
            MDB_val k = place_key(&p->new[i], bytes);
            MDB_val v = hf_val(key_at(m, &p->new[i]));
            e = hf_env_error(mdb_cursor_put(cursor, &k, &v, flag));
        }
    }
    /* Two keys at one point: ordinals are not in the digest, so a stage may bring that. */
    return e == HF_EXISTS ? HF_CORRUPT : e;
}

enum hf_err hf_moves_flush(struct hf_moves *m, MDB_txn *txn, MDB_dbi byseq)
{
    MDB_cursor *cursor = NULL;
    struct places p;
    if (m->count == 0) {
        return HF_OK;
    }
    enum hf_err e = places_init(&p, m);
    if (e == HF_OK) {
        strike(m, &p);
        e = hf_env_error(mdb_cursor_open(txn, byseq, &cursor));
    }
    if (e == HF_OK) {
        e = delete_old(&p, cursor);
    }
    if (e == HF_OK) {
        e = put_new(m, &p, cursor);
    }
    if (e == HF_OK) {
        hf_moves_clear(m);
    }
    if (cursor != NULL) {
        mdb_cursor_close(cursor);
    }
    free(p.old);
    free(p.new);
    return e;
}
