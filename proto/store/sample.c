/*
 * sample.c - what a range of records would cost to send, from an even sample of them.
 *
 * Invariant: each record of the range is as likely to be counted as any other, however the changes
 * are spread over seqs, batches, keys and sizes; each point stands for as many bytes as its chance
 * was small, so the sum has no bias. Nothing is scanned: the tree is taken apart from the root down
 * to TWIGS_MAX branches of equal height, which read their upper pages only, and from each of them
 * the same number of ways is gone down at random. Few records are taken as they are, which makes
 * the figure exact.
 *
 * Of changes, HF_SAMPLE_POINTS entries of the index are drawn and the size of each record is looked
 * up: the error is that of such a sample (one part in 64, times how far sizes spread around their
 * mean). Of keys, a point is a whole leaf page of records, so fewer of them know more; where the
 * range is a good part of the store they correct the sum of the changes too. A few thousand pages
 * are touched, which takes 5 ms when they are in memory. The same state gives the same sample.
 *
 * LMDB has no call that counts entries before a key or goes to the n-th, so this reads its pages
 * (lmdb_layout.h); they are those of a live transaction, which nobody writes to. What lies outside
 * of a page is HF_CORRUPT.
 *
 * It must not write, nor keep an address beyond the view. Read core/plan.c for its use.
 */
#include "lmdb_layout.h"
#include "view_impl.h"

#include <stdlib.h>

#define TWIGS_MAX 1024u
/* Of keys; a leaf has some 20 to 100 records. More would cost more than they tell. */
#define LEAVES_MAX 2048u
/* Long values whose page is looked at for their seq. When they are many their sizes spread less. */
#define LOOKS_MAX 8192u
/* LMDB's own number for the table of tables, which is open in every transaction. */
#define MAIN_TABLE 1u

struct entry {
    struct hf_slice key;
    const uint8_t
        *value;     /* of a leaf; a page number when flag 1 says that it has pages of its own */
    uint64_t bytes; /* of the whole value */
    bool big;
    uint64_t child; /* of a branch */
};

struct walk {
    struct hf_view *v;
    enum view_cursor table;
    const uint8_t *map;
    uint64_t page_bytes;
    uint64_t page_count;
    struct hf_slice low; /* only keys above it count; empty = all */
    bool changes;        /* tombstones count, and records above `above` only */
    hf_seq above;
    uint64_t random;
    uint32_t height; /* of the twigs; a leaf has 0 */
    uint32_t twig_count;
    uint64_t twig[TWIGS_MAX]; /* pages, in order; only the first may reach below `low` */
    struct hf_sample *out;    /* NULL = only the sum is wanted */
    double sum;
    uint64_t seen;  /* records that were counted */
    uint32_t looks; /* at pages of long values */
};

/* An open page, and its entries that may count. */
struct page {
    const uint8_t *at;
    uint32_t first;
    uint32_t count; /* of all */
};

static uint16_t load16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof(v));
    return le16toh(v);
}

static uint64_t draw(struct walk *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 11) % below;
}

/* ---- pages ---- */

static bool entry_read(const struct walk *w, const struct page *p, uint32_t i, struct entry *out)
{
    uint64_t offset = load16(p->at + LMDB_HEAD_BYTES + 2 * i);
    if (offset < LMDB_HEAD_BYTES || offset + LMDB_ENTRY_BYTES > w->page_bytes) {
        return false;
    }
    const uint8_t *at = p->at + offset;
    uint64_t number = (uint64_t)load16(at) | (uint64_t)load16(at + 2) << 16;
    uint16_t flags = load16(at + 4);
    uint64_t key_bytes = load16(at + 6);
    bool leaf = load16(p->at + 10) == LMDB_PAGE_LEAF;
    out->big = leaf && (flags & LMDB_ENTRY_BIG) != 0;
    out->bytes = leaf ? number : 0;
    out->child = number | (uint64_t)flags << 32;
    out->key = hf_slice_of(at + LMDB_ENTRY_BYTES, key_bytes);
    out->value = at + LMDB_ENTRY_BYTES + key_bytes;
    return offset + LMDB_ENTRY_BYTES + key_bytes + (out->big ? 8 : out->bytes) <= w->page_bytes;
}

/* The first entry that `low` does not rule out: in a branch, the last that begins at or below it.
 */
static bool find_first(const struct walk *w, struct page *p, bool leaf)
{
    uint32_t from = leaf ? 0 : 1; /* the first key of a branch is none */
    uint32_t to = p->count;
    struct entry e;
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        if (!entry_read(w, p, mid, &e)) {
            return false;
        }
        if (hf_slice_cmp(e.key, w->low) <= 0) {
            from = mid + 1;
        } else {
            to = mid;
        }
    }
    p->first = leaf ? from : from - 1;
    return true;
}

/* `edge`: it may reach below `low`. */
static enum hf_err page_open(const struct walk *w, uint64_t number, uint32_t height, bool edge,
                             struct page *p)
{
    if (number < 2 || number >= w->page_count) {
        return HF_CORRUPT;
    }
    p->at = w->map + number * w->page_bytes;
    uint16_t lower = load16(p->at + 12);
    bool leaf = height == 0;
    if (hf_load64(p->at) != number ||
        load16(p->at + 10) != (leaf ? LMDB_PAGE_LEAF : LMDB_PAGE_BRANCH) ||
        lower < LMDB_HEAD_BYTES || lower > w->page_bytes) {
        return HF_CORRUPT;
    }
    p->count = (lower - LMDB_HEAD_BYTES) / 2;
    p->first = 0;
    if (p->count == 0 || (edge && w->low.len > 0 && !find_first(w, p, leaf))) {
        return HF_CORRUPT;
    }
    return HF_OK;
}

/* Finds the map and the root of the table by the record that the main table has of it. */
static enum hf_err root_find(struct walk *w)
{
    MDB_stat st;
    MDB_envinfo info;
    MDB_val data;
    unsigned generation = 2 * (w->v->head.generation & 1);
    enum hf_table table = w->table == VIEW_BY_KEY ? HF_TABLE_STATE_0 : HF_TABLE_BYSEQ_0;
    MDB_val name = hf_val(hf_slice_str(hf_table_name(table + generation)));
    mdb_env_stat(w->v->s->env, &st);
    mdb_env_info(w->v->s->env, &info);
    w->page_bytes = st.ms_psize;
    w->page_count = info.me_last_pgno + 1;
    int rc = hf_lmdb_get(w->v->txn, MAIN_TABLE, &name, &data);
    if (rc != 0 || data.mv_size != LMDB_TABLE_BYTES) {
        return rc != 0 ? hf_env_error(rc) : HF_CORRUPT;
    }
    const uint8_t *record = data.mv_data;
    const uint8_t *leaf = record - (uintptr_t)record % w->page_bytes;
    uint32_t depth = load16(record + 6);
    uint64_t number = hf_load64(leaf);
    if (load16(leaf + 10) != LMDB_PAGE_LEAF || number >= w->page_count || depth > LMDB_DEPTH_MAX) {
        return HF_CORRUPT; /* or made with pages larger than this machine's, which no core does */
    }
    w->map = leaf - number * w->page_bytes;
    w->twig_count = depth > 0;
    w->twig[0] = hf_load64(record + 40);
    w->height = depth > 0 ? depth - 1 : 0;
    return HF_OK;
}

/* ---- points ---- */

static void point_put(struct walk *w, struct hf_slice key, hf_seq seq, double bytes)
{
    w->sum += bytes;
    if (w->out == NULL) {
        return;
    }
    HF_ASSERT(w->out->count < HF_SAMPLE_POINTS);
    w->out->point[w->out->count++] =
        (struct hf_sample_point){.key = key, .seq = seq, .bytes = bytes};
}

/* An entry of the index, which stands for `weight` of them. The record itself is not read. */
static enum hf_err put_change(struct walk *w, const struct page *p, uint32_t i, double weight)
{
    struct entry e;
    MDB_val data;
    if (!entry_read(w, p, i, &e) || e.key.len != HF_POINT_BYTES || e.big) {
        return HF_CORRUPT;
    }
    struct hf_point at = hf_point_get(e.key.data);
    MDB_val key = {e.bytes, (void *)(uintptr_t)e.value};
    int rc = hf_lmdb_get(w->v->txn, w->v->table[VIEW_BY_KEY], &key, &data);
    if (rc != 0 || data.mv_size < HF_RECORD_HEAD) {
        return rc == 0 || rc == MDB_NOTFOUND ? HF_CORRUPT : hf_env_error(rc);
    }
    uint64_t bytes = hf_record_weight(e.bytes, data.mv_size - HF_RECORD_HEAD);
    point_put(w, hf_slice_of(e.value, e.bytes), at.seq, weight * (double)bytes);
    return HF_OK;
}

/* The head of a record. That of a long value is on another page and is looked at only for its seq:
 * no tombstone is long. */
static enum hf_err record_look(struct walk *w, const struct entry *e, struct hf_stored *r)
{
    *r = (struct hf_stored){.seq = UINT32_MAX}; /* takes as many bytes as most */
    if (e->bytes < HF_RECORD_HEAD) {
        return HF_CORRUPT;
    }
    if (!e->big) {
        return hf_record_look(hf_slice_of(e->value, e->bytes), r);
    }
    if (!w->changes || w->above == 0) {
        return HF_OK;
    }
    uint64_t number = hf_load64(e->value);
    if (number < 2 || number >= w->page_count) {
        return HF_CORRUPT;
    }
    w->looks++;
    const uint8_t *page = w->map + number * w->page_bytes;
    return hf_record_look(hf_slice_of(page + LMDB_HEAD_BYTES, HF_RECORD_HEAD), r);
}

/* All records of a leaf that count, as one point at the last key. */
static enum hf_err put_leaf(struct walk *w, const struct page *p, double weight)
{
    struct entry e = {.bytes = 0};
    struct hf_stored r;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        if (!entry_read(w, p, i, &e) || record_look(w, &e, &r) != HF_OK) {
            return HF_CORRUPT;
        }
        if (w->changes ? r.seq > w->above : !r.tombstone) {
            w->seen++;
            bytes += hf_record_weight(e.key.len, e.bytes - HF_RECORD_HEAD);
        }
    }
    point_put(w, e.key, 0, weight * (double)bytes);
    return HF_OK;
}

/* ---- drawing ---- */

/* Evenly spread entries of one leaf of the index. */
static enum hf_err draw_entries(struct walk *w, const struct page *p, uint32_t draws)
{
    uint32_t count = p->count - p->first;
    uint32_t taken = count < draws ? count : draws;
    double step = taken > 0 ? (double)count / taken : 0;
    double at = (double)draw(w, 1024) / 1024;
    enum hf_err err = HF_OK;
    for (uint32_t i = 0; i < taken && err == HF_OK; i++) {
        err = put_change(w, p, p->first + (uint32_t)((i + at) * step), step);
    }
    return err;
}

/* From entry i of a branch down to a leaf, at random; `weight` is what the entry stands for. */
static enum hf_err draw_below(struct walk *w, struct page p, uint32_t i, double weight, bool edge)
{
    struct entry e;
    for (uint32_t height = w->height; height > 0; height--) {
        if (!entry_read(w, &p, i, &e)) {
            return HF_CORRUPT;
        }
        edge = edge && i == p.first;
        enum hf_err err = page_open(w, e.child, height - 1, edge, &p);
        if (err != HF_OK) {
            return err;
        }
        if (p.first == p.count) {
            return HF_OK; /* a leaf on the edge whose entries are all below */
        }
        if (height == 1 && w->table == VIEW_BY_KEY) {
            return put_leaf(w, &p, weight);
        }
        i = p.first + (uint32_t)draw(w, p.count - p.first);
        weight *= p.count - p.first;
    }
    return put_change(w, &p, i, weight);
}

static enum hf_err draw_twig(struct walk *w, uint32_t which, uint32_t draws)
{
    struct page p;
    bool edge = which == 0;
    enum hf_err err = page_open(w, w->twig[which], w->height, edge, &p);
    if (err != HF_OK) {
        return err;
    }
    if (w->height == 0) {
        return w->table == VIEW_BY_KEY ? put_leaf(w, &p, 1) : draw_entries(w, &p, draws);
    }
    double count = p.count - p.first;
    for (uint32_t i = 0; i < draws && err == HF_OK; i++) {
        double at = (i + (double)draw(w, 1024) / 1024) * count / draws;
        err = draw_below(w, p, p.first + (uint32_t)at, count / draws, edge);
    }
    return err;
}

/* The children of a branch, from its first entry on, into out, which has room for them. */
static bool children_read(const struct walk *w, const struct page *p, uint64_t *out)
{
    struct entry e;
    for (uint32_t i = p->first; i < p->count; i++) {
        if (!entry_read(w, p, i, &e)) {
            return false;
        }
        *out++ = e.child;
    }
    return true;
}

/* Takes the twigs apart as long as there are not too many. */
static enum hf_err twigs_grow(struct walk *w)
{
    uint64_t next[TWIGS_MAX];
    struct page p;
    while (w->height > 0) {
        uint32_t count = 0;
        for (uint32_t t = 0; t < w->twig_count; t++) {
            enum hf_err err = page_open(w, w->twig[t], w->height, t == 0, &p);
            if (err != HF_OK) {
                return err;
            }
            if (count + p.count - p.first > TWIGS_MAX) {
                return HF_OK;
            }
            if (!children_read(w, &p, next + count)) {
                return HF_CORRUPT;
            }
            count += p.count - p.first;
        }
        memcpy(w->twig, next, count * sizeof(next[0]));
        w->twig_count = count;
        w->height--;
    }
    return HF_OK;
}

struct sampling {
    struct walk *w;
    uint32_t points;
    enum hf_err err;
};

static void sample_read(void *ctx)
{
    struct sampling *s = ctx;
    struct walk *w = s->w;
    s->err = root_find(w);
    s->err = s->err == HF_OK ? twigs_grow(w) : s->err;
    for (uint32_t t = 0; t < w->twig_count && s->err == HF_OK && w->looks < LOOKS_MAX; t++) {
        s->err = draw_twig(w, t, s->points / w->twig_count);
    }
}

/* Draws about `points` in all. */
static enum hf_err sample(struct walk *w, uint32_t points)
{
    HF_ASSERT(w->v->live && points >= TWIGS_MAX && points <= HF_SAMPLE_POINTS);
    struct sampling s = {.w = w, .points = points};
    w->random = 0x9e3779b97f4a7c15u ^ w->v->head.at.seq;
    return hf_guarded(sample_read, &s) ? s.err : HF_CORRUPT;
}

static int by_key(const void *a, const void *b)
{
    return hf_slice_cmp(((const struct hf_sample_point *)a)->key,
                        ((const struct hf_sample_point *)b)->key);
}

static int by_seq(const void *a, const void *b)
{
    const struct hf_sample_point *x = a;
    const struct hf_sample_point *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

/* Takes the sum that the pages of the keys give when they know more of the range than the points,
 * which are then only how it is spread. */
static enum hf_err correct(struct hf_view *v, hf_seq lo, struct hf_sample *out)
{
    struct walk w = {.v = v, .table = VIEW_BY_KEY, .changes = true, .above = lo};
    enum hf_err err = sample(&w, LEAVES_MAX);
    if (err != HF_OK || w.looks >= LOOKS_MAX || w.seen <= HF_SAMPLE_POINTS) {
        return err;
    }
    for (uint32_t i = 0; i < out->count; i++) {
        out->point[i].bytes *= w.sum / out->bytes;
    }
    out->bytes = w.sum;
    return HF_OK;
}

enum hf_err hf_view_sample_changes(struct hf_view *v, hf_seq lo, struct hf_sample *out)
{
    uint8_t low[HF_POINT_BYTES];
    struct walk w = {.v = v, .table = VIEW_BY_SEQ, .low = {low, sizeof(low)}, .out = out};
    hf_point_put(low, (struct hf_point){lo, UINT32_MAX});
    out->count = 0;
    enum hf_err err = sample(&w, HF_SAMPLE_POINTS);
    out->bytes = w.sum;
    qsort(out->point, out->count, sizeof(out->point[0]), by_seq);
    return err == HF_OK && out->count > HF_SAMPLE_POINTS / 2 ? correct(v, lo, out) : err;
}

enum hf_err hf_view_sample_keys(struct hf_view *v, struct hf_sample *out)
{
    struct walk w = {.v = v, .table = VIEW_BY_KEY, .out = out};
    out->count = 0;
    enum hf_err err = sample(&w, LEAVES_MAX);
    out->bytes = w.sum;
    qsort(out->point, out->count, sizeof(out->point[0]), by_key);
    return err;
}

uint32_t hf_sample_cut_keys(const struct hf_sample *s, uint32_t part_bytes, uint32_t max,
                            struct hf_slice *place)
{
    double parts = (double)(uint64_t)(s->bytes / part_bytes + 0.75);
    double step = s->bytes / (parts < 1 ? 1 : parts < max + 1.0 ? parts : max + 1.0);
    double sum = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i + 1 < s->count && count < max; i++) {
        sum += s->point[i].bytes;
        /* A place is worth it unless less than half a step lies behind it. */
        if (sum >= step * (count + 1) && s->bytes - sum > step / 2 &&
            hf_slice_cmp(s->point[i].key, s->point[i + 1].key) < 0) {
            place[count++] = s->point[i].key;
        }
    }
    return count;
}
