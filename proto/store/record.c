/*
 * record.c - the bytes of the state store: records, points, and what meta holds.
 *
 * Invariant (G15): nothing is decoded whose checksum does not match, and every checksum also covers
 * the key (or the seq) that the bytes were found under, so that a record in the wrong place is as
 * damaged as one with a flipped bit.
 *
 * Pure functions over bytes; no LMDB call is made here. The formats are specified at the top of
 * state.c. Chained xxh3 calls are used instead of the streaming form,
 * which sets up 576 bytes of state for every record.
 */
#include "state_impl.h"

#include <xxhash.h>

#define RECORD_TOMBSTONE 1u

/* ---- records of state.G ---- */

static uint64_t record_sum(struct hf_slice key, const uint8_t head[16], struct hf_slice value)
{
    uint64_t h = XXH3_64bits(head, 16);
    h = XXH3_64bits_withSeed(key.data, key.len, h);
    return XXH3_64bits_withSeed(value.data, value.len, h);
}

void hf_record_put_head(uint8_t out[HF_RECORD_HEAD], const struct hf_stored *r)
{
    hf_store64(out, r->seq);
    hf_store32(out + 8, r->ordinal);
    hf_store32(out + 12, r->tombstone ? RECORD_TOMBSTONE : 0);
    hf_store64(out + 16, record_sum(r->key, out, r->value));
}

/* A record where the store has it. LMDB has not touched the pages of a long value. */
struct mapped_record {
    struct hf_slice key;
    struct hf_slice bytes;
    bool sound;
    struct hf_stored *out;
};

static void head_read(void *ctx)
{
    const struct mapped_record *m = ctx;
    const uint8_t *p = m->bytes.data;
    m->out->seq = hf_load64(p);
    m->out->ordinal = hf_load32(p + 8);
    m->out->tombstone = (hf_load32(p + 12) & RECORD_TOMBSTONE) != 0;
}

static void record_read(void *ctx)
{
    struct mapped_record *m = ctx;
    const uint8_t *p = m->bytes.data;
    m->out->key = m->key;
    m->out->value = hf_slice_of(p + HF_RECORD_HEAD, m->bytes.len - HF_RECORD_HEAD);
    m->sound = hf_load64(p + 16) == record_sum(m->key, p, m->out->value);
    head_read(m);
}

enum hf_err hf_record_get(struct hf_slice key, MDB_val data, struct hf_stored *out)
{
    struct mapped_record m = {.key = key, .bytes = hf_slice_of_val(data), .out = out};
    bool there = data.mv_size >= HF_RECORD_HEAD && hf_guarded(record_read, &m);
    return there && m.sound ? HF_OK : HF_CORRUPT;
}

enum hf_err hf_record_look(struct hf_slice record, struct hf_stored *out)
{
    struct mapped_record m = {.bytes = record, .out = out};
    return record.len >= HF_RECORD_HEAD && hf_guarded(head_read, &m) ? HF_OK : HF_CORRUPT;
}

/* ---- points: keys of byseq.G ---- */

void hf_point_put(uint8_t out[HF_POINT_BYTES], struct hf_point p)
{
    hf_store64_be(out, p.seq);
    hf_store32_be(out + 8, p.ordinal);
}

struct hf_point hf_point_get(const uint8_t in[HF_POINT_BYTES])
{
    return (struct hf_point){hf_load64_be(in), hf_load32_be(in + 8)};
}

int hf_point_cmp(struct hf_point a, struct hf_point b)
{
    if (a.seq != b.seq) {
        return a.seq < b.seq ? -1 : 1;
    }
    return (a.ordinal > b.ordinal) - (a.ordinal < b.ordinal);
}

/* ---- fixed layouts of meta: a sequence of fields, in and out ---- */

static uint8_t *out_bytes(uint8_t *p, const void *bytes, size_t len)
{
    memcpy(p, bytes, len);
    return p + len;
}

static uint8_t *out_u64(uint8_t *p, uint64_t v)
{
    hf_store64(p, v);
    return p + 8;
}

static uint8_t *out_u32(uint8_t *p, uint32_t v)
{
    hf_store32(p, v);
    return p + 4;
}

static void in_bytes(const uint8_t **p, void *bytes, size_t len)
{
    memcpy(bytes, *p, len);
    *p += len;
}

static uint64_t in_u64(const uint8_t **p)
{
    *p += 8;
    return hf_load64(*p - 8);
}

static uint32_t in_u32(const uint8_t **p)
{
    *p += 4;
    return hf_load32(*p - 4);
}

/* Ends a meta record: xxh3 of all before it, seeded with its place. */
static size_t out_sum(const uint8_t *start, uint8_t *end, uint64_t seed)
{
    size_t len = (size_t)(end - start);
    hf_store64(end, XXH3_64bits_withSeed(start, len, seed));
    return len + 8;
}

struct mapped_meta {
    struct hf_slice in;
    uint64_t seed;
    bool sound;
};

static void meta_read(void *ctx)
{
    struct mapped_meta *m = ctx;
    size_t len = m->in.len - 8;
    m->sound = hf_load64(m->in.data + len) == XXH3_64bits_withSeed(m->in.data, len, m->seed);
}

static bool sum_holds(struct hf_slice in, size_t least, uint64_t seed)
{
    struct mapped_meta m = {.in = in, .seed = seed};
    return in.len >= least + 8 && hf_guarded(meta_read, &m) && m.sound;
}

#define SEED_HEAD 1u
#define SEED_STAGE 3u /* 2 was the form without parts */
#define HEAD_FIXED 192u
#define PART_FIXED 36u
#define FRAGMENT_FIXED 24u
#define PART_DONE 1u
#define PART_FRAGMENT 2u

size_t hf_head_encode(const struct hf_head *h, uint8_t out[HF_META_HEAD_MAX])
{
    uint8_t *p = out_u32(out, h->generation);
    p = out_u32(p, h->header_bytes);
    p = out_bytes(p, h->at.epoch_id.b, HF_ID_BYTES);
    p = out_u64(p, h->at.seq);
    p = out_bytes(p, h->at.chain.b, HF_HASH_BYTES);
    p = out_bytes(p, h->at.digest.b, HF_HASH_BYTES);
    p = out_bytes(p, h->signature.b, HF_SIGNATURE_BYTES);
    p = out_u64(p, h->live_count);
    p = out_u64(p, h->delta_floor);
    p = out_u64(p, h->swept.seq);
    p = out_u32(p, h->swept.ordinal);
    p = out_u32(p, 0);
    HF_ASSERT(p == out + HEAD_FIXED);
    p = out_bytes(p, h->header, h->header_bytes);
    return out_sum(out, p, SEED_HEAD);
}

enum hf_err hf_head_decode(struct hf_slice in, struct hf_head *h)
{
    const uint8_t *p = in.data;
    if (!sum_holds(in, HEAD_FIXED, SEED_HEAD)) {
        return HF_CORRUPT;
    }
    h->generation = in_u32(&p);
    h->header_bytes = in_u32(&p);
    if (h->header_bytes > HF_HEADER_MAX || in.len != HEAD_FIXED + h->header_bytes + 8) {
        return HF_CORRUPT;
    }
    in_bytes(&p, h->at.epoch_id.b, HF_ID_BYTES);
    h->at.seq = in_u64(&p);
    in_bytes(&p, h->at.chain.b, HF_HASH_BYTES);
    in_bytes(&p, h->at.digest.b, HF_HASH_BYTES);
    in_bytes(&p, h->signature.b, HF_SIGNATURE_BYTES);
    h->live_count = in_u64(&p);
    h->delta_floor = in_u64(&p);
    h->swept.seq = in_u64(&p);
    h->swept.ordinal = in_u32(&p);
    memcpy(h->header, in.data + HEAD_FIXED, h->header_bytes);
    return HF_OK;
}

/* The seed is the seq, so that lanes of another commit are not taken for those of this one. */
void hf_lanes_encode(const struct hf_lthash *l, hf_seq seq, uint8_t out[HF_META_LANES])
{
    hf_lthash_save(l, out);
    out_sum(out, out + HF_LANES_BYTES, seq);
}

enum hf_err hf_lanes_decode(struct hf_slice in, hf_seq seq, struct hf_lthash *l)
{
    if (in.len != HF_META_LANES || !sum_holds(in, HF_LANES_BYTES, seq)) {
        return HF_CORRUPT;
    }
    hf_lthash_load(l, in.data);
    return HF_OK;
}

/* ---- the stage of meta ---- */

static uint8_t *part_encode(const struct hf_staging *st, uint32_t i, uint8_t *p)
{
    const struct hf_stage_part *part = &st->stage.part[i];
    const struct hf_fragment *f = &st->fragment[i];
    p = out_u64(p, part->cursor.seq);
    p = out_u32(p, part->cursor.ordinal);
    p = out_u32(p, part->cursor.offset);
    p = out_u32(p, (uint32_t)part->cursor.key.len);
    p = out_u64(p, part->until.seq);
    p = out_u32(p, (uint32_t)part->until.key.len);
    p = out_u32(p, (part->done ? PART_DONE : 0) | (f->active ? PART_FRAGMENT : 0));
    p = out_bytes(p, st->cursor[i], part->cursor.key.len);
    p = out_bytes(p, st->until[i], part->until.key.len);
    if (f->active) {
        p = out_u64(p, f->at.seq);
        p = out_u32(p, f->at.ordinal);
        p = out_u32(p, f->total);
        p = out_u32(p, f->have);
        p = out_u32(p, f->key_len);
        p = out_bytes(p, f->key, f->key_len);
    }
    return p;
}

size_t hf_staging_encode(const struct hf_staging *st, const struct hf_sum *sum,
                         uint8_t out[HF_META_STAGE_MAX])
{
    const struct hf_stage *g = &st->stage;
    uint8_t *p = out;
    hf_lthash_save(&sum->lanes, p);
    p = out_bytes(p + HF_LANES_BYTES, g->epoch_id.b, HF_ID_BYTES);
    p = out_u64(p, sum->live_count);
    p = out_u32(p, (uint32_t)g->kind);
    p = out_u32(p, g->keys_done ? 1 : 0);
    p = out_u64(p, g->base);
    p = out_u64(p, g->keys_head);
    p = out_u64(p, g->covered);
    p = out_u64(p, g->target);
    p = out_u64(p, g->asof);
    p = out_u64(p, g->tail);
    p = out_u64(p, g->bytes);
    p = out_u32(p, g->part_count);
    HF_ASSERT(p == out + HF_META_STAGE_FIXED);
    for (uint32_t i = 0; i < g->part_count; i++) {
        p = part_encode(st, i, p);
    }
    return out_sum(out, p, SEED_STAGE);
}

static enum hf_err fragment_decode(struct hf_slice *in, struct hf_fragment *f)
{
    const uint8_t *p = in->data;
    if (in->len < FRAGMENT_FIXED) {
        return HF_CORRUPT;
    }
    f->active = true;
    f->at.seq = in_u64(&p);
    f->at.ordinal = in_u32(&p);
    f->total = in_u32(&p);
    f->have = in_u32(&p);
    f->key_len = in_u32(&p);
    if (f->key_len > HF_STORE_KEY_MAX || in->len - FRAGMENT_FIXED < f->key_len) {
        return HF_CORRUPT;
    }
    if (f->total > HF_STORE_VALUE_MAX || f->have > f->total) {
        return HF_CORRUPT;
    }
    in_bytes(&p, f->key, f->key_len);
    *in = hf_slice_of(p, in->len - FRAGMENT_FIXED - f->key_len);
    return HF_OK;
}

static enum hf_err part_decode(struct hf_slice *in, struct hf_staging *st, uint32_t i)
{
    struct hf_stage_part *part = &st->stage.part[i];
    const uint8_t *p = in->data;
    if (in->len < PART_FIXED) {
        return HF_CORRUPT;
    }
    part->cursor.seq = in_u64(&p);
    part->cursor.ordinal = in_u32(&p);
    part->cursor.offset = in_u32(&p);
    part->cursor.key.len = in_u32(&p);
    part->until = (struct hf_bound){.ordinal = UINT32_MAX, .offset = HF_OFFSET_END};
    part->until.seq = in_u64(&p);
    part->until.key.len = in_u32(&p);
    uint32_t flags = in_u32(&p);
    size_t cursor_len = part->cursor.key.len;
    size_t until_len = part->until.key.len;
    if (cursor_len > HF_STORE_KEY_MAX || until_len > HF_STORE_KEY_MAX ||
        in->len - PART_FIXED < cursor_len + until_len) {
        return HF_CORRUPT;
    }
    in_bytes(&p, st->cursor[i], cursor_len);
    in_bytes(&p, st->until[i], until_len);
    part->done = (flags & PART_DONE) != 0;
    *in = hf_slice_of(p, in->len - PART_FIXED - cursor_len - until_len);
    return (flags & PART_FRAGMENT) != 0 ? fragment_decode(in, &st->fragment[i]) : HF_OK;
}

enum hf_err hf_staging_decode(struct hf_slice in, struct hf_staging *st, struct hf_sum *sum)
{
    struct hf_stage *g = &st->stage;
    memset(st, 0, sizeof(*st));
    if (!sum_holds(in, HF_META_STAGE_FIXED, SEED_STAGE)) {
        return HF_CORRUPT;
    }
    const uint8_t *p = in.data + HF_LANES_BYTES;
    hf_lthash_load(&sum->lanes, in.data);
    in_bytes(&p, g->epoch_id.b, HF_ID_BYTES);
    sum->live_count = in_u64(&p);
    uint32_t kind = in_u32(&p);
    g->keys_done = in_u32(&p) != 0;
    g->base = in_u64(&p);
    g->keys_head = in_u64(&p);
    g->covered = in_u64(&p);
    g->target = in_u64(&p);
    g->asof = in_u64(&p);
    g->tail = in_u64(&p);
    g->bytes = in_u64(&p);
    g->part_count = in_u32(&p);
    if ((kind != HF_PLAN_DELTA && kind != HF_PLAN_SNAPSHOT) || g->part_count > HF_STAGE_PARTS_MAX) {
        return HF_CORRUPT;
    }
    g->kind = kind == HF_PLAN_DELTA ? HF_PLAN_DELTA : HF_PLAN_SNAPSHOT;
    g->active = true;
    struct hf_slice rest = hf_slice_of(p, in.len - HF_META_STAGE_FIXED - 8);
    enum hf_err e = HF_OK;
    for (uint32_t i = 0; i < g->part_count && e == HF_OK; i++) {
        e = part_decode(&rest, st, i);
    }
    return e == HF_OK && rest.len > 0 ? HF_CORRUPT : e;
}

/* ---- chain, inbox, object ---- */

void hf_chain_encode(hf_seq seq, const struct hf_hash *chain, uint8_t out[HF_CHAIN_BYTES])
{
    memcpy(out, chain->b, HF_HASH_BYTES);
    out_sum(out, out + HF_HASH_BYTES, seq);
}

enum hf_err hf_chain_decode(hf_seq seq, struct hf_slice in, struct hf_hash *chain)
{
    if (in.len != HF_CHAIN_BYTES || !sum_holds(in, HF_HASH_BYTES, seq)) {
        return HF_CORRUPT;
    }
    memcpy(chain->b, in.data, HF_HASH_BYTES);
    return HF_OK;
}

uint64_t hf_blob_sum(struct hf_slice key, struct hf_slice bytes)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.len, XXH3_64bits(key.data, key.len));
}

struct mapped_blob {
    struct hf_slice key;
    struct hf_slice in;
    struct hf_slice rest;
    bool sound;
};

static void blob_read(void *ctx)
{
    struct mapped_blob *m = ctx;
    m->sound = hf_load64(m->in.data) == hf_blob_sum(m->key, m->rest);
}

enum hf_err hf_blob_get(struct hf_slice key, struct hf_slice in, struct hf_slice *bytes)
{
    if (in.len < 8) {
        return HF_CORRUPT;
    }
    struct mapped_blob m = {.key = key, .in = in, .rest = hf_slice_of(in.data + 8, in.len - 8)};
    if (!hf_guarded(blob_read, &m) || !m.sound) {
        return HF_CORRUPT;
    }
    *bytes = m.rest;
    return HF_OK;
}
