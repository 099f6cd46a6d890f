/*
 * repair.c - key ranges of the core in the place of damaged ones, and a recount of everything.
 *
 * What can be wrong with a state whose tables still open, and what heals it:
 *
 *   a record is damaged         its range differs or cannot be read: the range is replaced. Its old
 *                               element cannot be subtracted from the sum, nor its place in the
 *                               index be trusted, which is why both are made anew from the records
 *   a record is lost, or extra  its range differs: replaced; nothing of the old range stays
 *   the sum or count is wrong   no range differs: the recount alone puts it right
 *   the index by seq is wrong   the recount finds that, and writes the whole index again
 *   pages of LMDB are damaged   not here: reads fail with HF_CORRUPT, and a SNAPSHOT into the other
 *                               tables, or a new store beside the old one (main.c), takes its place
 *   small tables are damaged    not here; what the inbox holds of old batches goes with any switch
 *
 * Invariant: after the merge, sum, count and index are those of the records as they are, read one
 * by one with their checksums. Nothing is visible before the caller found the sum to be what the
 * core signed, so a wrong guess about where the damage is costs time and no more (G11, G15).
 *
 * The recount takes 0.8 s for 1,000,000 keys on the writer's lane, and longer when the index must
 * be written again; readers do not wait for it. Read next: stage.c, edge/repair.c.
 */
#include "hf/repair.h"

#include "state_impl.h"

#include <xxhash.h>

#include <stdlib.h>

/* ---- beginning ---- */

static void range_copy(struct hf_repair_range *to, const struct hf_key_range *from)
{
    to->after_len = (uint16_t)from->after.len;
    to->until_len = (uint16_t)from->until.len;
    if (from->after.len > 0) {
        memcpy(to->after, from->after.data, from->after.len);
    }
    if (from->until.len > 0) {
        memcpy(to->until, from->until.data, from->until.len);
    }
}

/* Rising, and only the last one may reach to the end of the key space. */
static bool ranges_sound(const struct hf_key_ranges *g)
{
    bool sound = g->count <= HF_REPAIR_RANGES_MAX;
    for (uint32_t i = 0; sound && i < g->count; i++) {
        const struct hf_key_range *r = &g->at[i];
        bool open = r->until.len == 0;
        sound = r->after.len <= HF_STORE_KEY_MAX && r->until.len <= HF_STORE_KEY_MAX &&
                (open ? i + 1 == g->count : hf_slice_cmp(r->after, r->until) < 0) &&
                (i == 0 || hf_slice_cmp(g->at[i - 1].until, r->after) < 0);
    }
    return sound;
}

enum hf_err hf_state_repair_begin(struct hf_state *s, const struct hf_position *base,
                                  const struct hf_key_ranges *ranges)
{
    if (!ranges_sound(ranges)) {
        return HF_ARG;
    }
    struct hf_repair_range *copy = calloc(ranges->count + 1u, sizeof(*copy));
    if (copy == NULL) {
        return HF_NOMEM;
    }
    enum hf_err e = hf_stage_open(s, HF_PLAN_REPAIR, base, base->seq);
    if (e != HF_OK) {
        free(copy);
        return e;
    }
    for (uint32_t i = 0; i < ranges->count; i++) {
        range_copy(&copy[i], &ranges->at[i]);
    }
    free(s->range);
    s->range = copy;
    s->range_count = ranges->count;
    hf_parts_take(s);
    s->staging.stage.keys_done = ranges->count == 0;
    return HF_OK;
}

/* ---- out with the old ---- */

static struct hf_point point_of(const struct hf_stored *r)
{
    return (struct hf_point){r->seq, r->ordinal};
}

/* Takes a record's entry out of the index, if the place that its head names is its own. The head
 * may be damaged: what stays behind is found by the recount. `key` must not lie in the environment.
 */
static enum hf_err index_forget(struct hf_state *s, struct hf_slice key, MDB_val record)
{
    struct hf_tree *t = hf_tree_visible(s);
    struct hf_stored old;
    uint8_t bytes[HF_POINT_BYTES];
    MDB_val k = {sizeof(bytes), bytes};
    MDB_val named;
    if (record.mv_size < HF_RECORD_HEAD) {
        return HF_OK;
    }
    if (hf_record_look(hf_slice_of_val(record), &old) != HF_OK) {
        return HF_CORRUPT; /* its page cannot be had, and LMDB needs it to replace the record */
    }
    hf_point_put(bytes, point_of(&old));
    int rc = hf_lmdb_get(s->txn, t->byseq, &k, &named);
    if (rc == 0 && hf_slice_eq(hf_slice_of_val(named), key)) {
        rc = mdb_del(s->txn, t->byseq, &k, NULL);
    }
    return rc == MDB_NOTFOUND ? HF_OK : hf_env_error(rc);
}

/* Deletes the first record of the range; HF_NOTFOUND when none is left. */
static enum hf_err remove_first(struct hf_state *s, MDB_cursor *c, const struct hf_repair_range *r)
{
    struct hf_slice after = hf_slice_of(r->after, r->after_len);
    struct hf_slice until = hf_slice_of(r->until, r->until_len);
    uint8_t key[HF_STORE_KEY_MAX];
    MDB_val k = hf_val(after);
    MDB_val data;
    int rc = hf_lmdb_cursor_get(c, &k, &data, after.len > 0 ? MDB_SET_RANGE : MDB_FIRST);
    if (rc == 0 && after.len > 0 && hf_slice_eq(hf_slice_of_val(k), after)) {
        rc = hf_lmdb_cursor_get(c, &k, &data, MDB_NEXT);
    }
    if (rc != 0) {
        return hf_env_error(rc);
    }
    if (until.len > 0 && hf_slice_cmp(hf_slice_of_val(k), until) > 0) {
        return HF_NOTFOUND;
    }
    if (k.mv_size > sizeof(key)) {
        return HF_CORRUPT;
    }
    memcpy(key, k.mv_data, k.mv_size);
    enum hf_err e = index_forget(s, hf_slice_of(key, k.mv_size), data);
    return e == HF_OK ? hf_env_error(mdb_cursor_del(c, 0)) : e;
}

static enum hf_err remove_ranges(struct hf_state *s)
{
    MDB_cursor *c = NULL;
    enum hf_err e = hf_env_error(mdb_cursor_open(s->txn, hf_tree_visible(s)->state, &c));
    if (e != HF_OK) {
        return e;
    }
    for (uint32_t i = 0; i < s->range_count && e == HF_OK; i++) {
        while (e == HF_OK) {
            e = remove_first(s, c, &s->range[i]);
        }
        e = e == HF_NOTFOUND ? HF_OK : e;
    }
    mdb_cursor_close(c);
    return e;
}

/* ---- in with the staged ---- */

/* `r` must not lie in the environment. It always wins: outside of the ranges it is of the tail, and
 * newer than anything that may be visible. */
static enum hf_err put_over(struct hf_state *s, const struct hf_stored *r)
{
    struct hf_tree *t = hf_tree_visible(s);
    uint8_t bytes[HF_POINT_BYTES];
    MDB_val k = hf_val(r->key);
    MDB_val v;
    int rc = hf_lmdb_get(s->txn, t->state, &k, &v);
    if (rc == 0) {
        enum hf_err e = index_forget(s, r->key, v);
        if (e != HF_OK) {
            return e;
        }
    } else if (rc != MDB_NOTFOUND) {
        return hf_env_error(rc);
    }
    v = (MDB_val){HF_RECORD_HEAD + r->value.len, NULL};
    rc = mdb_put(s->txn, t->state, &k, &v, MDB_RESERVE);
    if (rc != 0) {
        return hf_env_error(rc);
    }
    uint8_t *p = v.mv_data;
    hf_record_put_head(p, r);
    if (r->value.len > 0) {
        memcpy(p + HF_RECORD_HEAD, r->value.data, r->value.len);
    }
    if (!hf_index_has(s, r->tombstone)) {
        return HF_OK;
    }
    hf_point_put(bytes, point_of(r));
    MDB_val place = {sizeof(bytes), bytes};
    MDB_val name = hf_val(r->key);
    return hf_env_error(mdb_put(s->txn, t->byseq, &place, &name, 0));
}

static enum hf_err put_staged(struct hf_state *s)
{
    MDB_cursor *c = NULL;
    MDB_val k;
    MDB_val data;
    uint8_t key[HF_STORE_KEY_MAX];
    if (s->scratch == NULL && (s->scratch = malloc(HF_STORE_VALUE_MAX)) == NULL) {
        return HF_NOMEM;
    }
    enum hf_err e = hf_env_error(mdb_cursor_open(s->txn, hf_tree_staged(s)->state, &c));
    while (e == HF_OK && (e = hf_env_error(hf_lmdb_cursor_get(c, &k, &data, MDB_NEXT))) == HF_OK) {
        struct hf_stored r;
        e = hf_record_get(hf_slice_of_val(k), data, &r);
        if (e != HF_OK || r.key.len > sizeof(key) || r.value.len > HF_STORE_VALUE_MAX) {
            e = HF_CORRUPT;
            break;
        }
        memcpy(key, r.key.data, r.key.len); /* a write may free the page that they lie in */
        memcpy(s->scratch, r.value.data, r.value.len);
        r.key.data = key;
        r.value.data = s->scratch;
        e = put_over(s, &r);
    }
    if (c != NULL) {
        mdb_cursor_close(c);
    }
    return e == HF_NOTFOUND ? HF_OK : e;
}

/* ---- the recount ---- */

/* Sums of hashes of (place, key): the index is right when it has the same as the records that
 * belong in it. */
struct places {
    uint64_t count;
    uint64_t sum;
};

static void place_add(struct places *p, const uint8_t point[HF_POINT_BYTES], struct hf_slice key)
{
    p->count++;
    p->sum += XXH3_64bits_withSeed(key.data, key.len, XXH3_64bits(point, HF_POINT_BYTES));
}

/* Calls visit for each entry of a table, in order. */
static enum hf_err each(struct hf_state *s, MDB_dbi table,
                        enum hf_err (*visit)(void *ctx, MDB_val k, MDB_val data), void *ctx)
{
    MDB_cursor *c = NULL;
    MDB_val k;
    MDB_val data;
    enum hf_err e = hf_env_error(mdb_cursor_open(s->txn, table, &c));
    while (e == HF_OK && (e = hf_env_error(hf_lmdb_cursor_get(c, &k, &data, MDB_NEXT))) == HF_OK) {
        e = visit(ctx, k, data);
    }
    if (c != NULL) {
        mdb_cursor_close(c);
    }
    return e == HF_NOTFOUND ? HF_OK : e;
}

struct recount {
    struct hf_state *s;
    struct hf_sum sum;
    struct places records;
    struct places index;
};

static enum hf_err count_record(void *ctx, MDB_val k, MDB_val data)
{
    struct recount *n = ctx;
    struct hf_stored r;
    uint8_t bytes[HF_POINT_BYTES];
    enum hf_err e = hf_record_get(hf_slice_of_val(k), data, &r);
    if (e != HF_OK || k.mv_size > HF_STORE_KEY_MAX) {
        return HF_CORRUPT; /* outside of the ranges: damage that was not found, or is new */
    }
    if (hf_index_has(n->s, r.tombstone)) {
        hf_point_put(bytes, point_of(&r));
        place_add(&n->records, bytes, r.key);
    }
    if (!r.tombstone) {
        struct hf_hash element = hf_element_hash(r.key, r.seq, r.value);
        hf_lthash_add(&n->sum.lanes, &element);
        n->sum.live_count++;
    }
    return HF_OK;
}

static enum hf_err count_place(void *ctx, MDB_val k, MDB_val data)
{
    struct recount *n = ctx;
    if (k.mv_size == HF_POINT_BYTES) {
        place_add(&n->index, k.mv_data, hf_slice_of_val(data));
    } else {
        n->index.count++;
    }
    return HF_OK;
}

static enum hf_err recount(struct hf_state *s)
{
    struct hf_tree *t = hf_tree_visible(s);
    struct recount n = {.s = s};
    hf_lthash_clear(&n.sum.lanes);
    enum hf_err e = each(s, t->state, count_record, &n);
    if (e == HF_OK) {
        e = each(s, t->byseq, count_place, &n);
    }
    bool right = n.records.count == n.index.count && n.records.sum == n.index.sum;
    if (e == HF_OK && !right) {
        e = hf_index_rebuild(s, t);
    }
    if (e == HF_OK) {
        t->sum = n.sum;
        hf_tree_forget(t);
    }
    return e;
}

enum hf_err hf_repair_merge(struct hf_state *s)
{
    enum hf_err e = hf_tree_flush(s, hf_tree_visible(s));
    if (e == HF_OK) {
        e = remove_ranges(s);
    }
    if (e == HF_OK) {
        e = put_staged(s);
    }
    return e == HF_OK ? recount(s) : e;
}

enum hf_err hf_state_repair_switch(struct hf_state *s)
{
    uint8_t header[HF_HEADER_MAX];
    struct hf_frame f = {.signature = s->head.signature};
    if (s->head.header_bytes == 0 || s->staging.stage.kind != HF_PLAN_REPAIR) {
        return HF_ARG;
    }
    memcpy(header, s->head.header, s->head.header_bytes); /* the switch writes there */
    f.header = hf_slice_of(header, s->head.header_bytes);
    enum hf_err e = hf_header_decode(f.header, &f.h);
    return e == HF_OK ? hf_state_stage_switch(s, &f) : e;
}
