/*
 * chunks.c - DELTA and KEYS: records from a view of the committed state, packed and sealed.
 *
 * Every chunk gets on: at least one record or a piece of one, or the end, or a code that says why
 * not. Bounds are positions, never handles, so a range can be asked for again, elsewhere, or in
 * parallel.
 *
 * A bound with offset HF_OFFSET_END lies behind the record it names, one with offset 0 before it,
 * any other inside its value; there the record must be the same still, else MOVED, and the asker
 * goes on behind it: the newer value has a higher seq, which the tail of the transfer covers.
 *
 * What a chunk is depends on the range and on the state it was read from (asof), not on who asks:
 * it may be given to others (cache.h).
 *
 * It must not read more than one reply's worth of records, nor hold the view's pages beyond the
 * job. Read PROTOCOL.md section 8, plan.c for what a chunk is expected to weigh.
 */
#include "core/transfer_impl.h"

#include "hf/compress.h"
#include "hf/records.h"

/* A value is cut only where at least this much of it fits: fewer, larger pieces. */
#define FRAGMENT_MIN 1024u
/* Records that one request looks at, of which a run of tombstones gives none: 10 ms of reading. */
#define KEYS_LOOKED_AT_MAX 10000u
/* Fewer say little about how others pack. */
#define DENSITY_RAW_MIN 8192u
/* Descriptor, nonce and tag, envelope, framing: what comes on top of the records. */
#define REPLY_OVERHEAD 256u

/* Where a walk stands: behind the record of `to`, which may be none yet. */
struct walk {
    struct hf_transfer *t;
    const struct hf_fetch_request *q;
    size_t limit; /* of raw bytes */
    struct hf_columns columns;
    uint64_t weight; /* of the records, as samples of the store count it */
    struct hf_bound to;
    bool full;
    bool end;
};

static void walk_init(struct walk *k, struct hf_transfer *t, const struct hf_fetch_request *q,
                      size_t raw_max)
{
    *k = (struct walk){.t = t, .q = q, .limit = raw_max, .to = q->from};
    hf_columns_init(&k->columns, t->columns, HF_CHUNK_RAW_MAX);
}

/* Puts as much of a record as fits, from `offset` of its value on; moves `to`. */
static void record_put(struct walk *k, const struct hf_stored *r, uint32_t offset)
{
    size_t used = hf_columns_bytes(&k->columns) + HF_RECORD_OVERHEAD + r->key.len;
    size_t room = used < k->limit ? k->limit - used : 0;
    size_t left = r->value.len - offset;
    if (k->columns.count == 0) {
        room = room > FRAGMENT_MIN ? room : FRAGMENT_MIN; /* the first always gets on */
    } else if (used > k->limit || (left > room && room < FRAGMENT_MIN)) {
        k->full = true;
        return;
    }
    size_t n = left < room ? left : room;
    struct hf_record rec = {.key = r->key,
                            .seq = r->seq,
                            .ordinal = r->ordinal,
                            .tombstone = r->tombstone,
                            .total = (uint32_t)r->value.len,
                            .offset = offset,
                            .value = hf_slice_of(r->value.data + offset, n)};
    hf_columns_add(&k->columns, &rec);
    k->weight += hf_record_weight(r->key.len, n);
    k->full = n < left;
    k->to = (struct hf_bound){.seq = r->seq,
                              .ordinal = r->ordinal,
                              .offset = k->full ? offset + (uint32_t)n : HF_OFFSET_END,
                              .key = r->key};
}

/* ---- DELTA ---- */

/* The first record at or after the bound; HF_MOVED when the bound is inside one that is gone. */
static enum hf_err delta_first(struct hf_view *v, const struct hf_bound *from,
                               struct hf_stored *out)
{
    if (from->offset == HF_OFFSET_END) {
        return hf_view_next_change(v, from->seq, from->ordinal, out);
    }
    hf_seq seq = from->seq;
    uint32_t ordinal = from->ordinal;
    if (ordinal > 0) {
        ordinal--;
    } else if (seq > 0) {
        seq--;
        ordinal = UINT32_MAX;
    }
    enum hf_err err = hf_view_next_change(v, seq, ordinal, out);
    if (from->offset == 0) {
        return err;
    }
    bool same = err == HF_OK && out->seq == from->seq && out->ordinal == from->ordinal;
    if (err == HF_OK || err == HF_NOTFOUND) {
        return same && from->offset < out->value.len ? HF_OK : HF_MOVED;
    }
    return err;
}

static enum hf_err delta_walk(struct walk *k)
{
    const struct hf_bound *from = &k->q->from;
    struct hf_view *v = k->t->view;
    struct hf_stored r;
    enum hf_err err = delta_first(v, from, &r);
    bool inside = from->offset != HF_OFFSET_END;
    while (err == HF_OK && r.seq <= k->q->last) {
        record_put(k, &r, inside ? from->offset : 0);
        inside = false;
        if (k->full) {
            k->to.key = hf_slice_of(NULL, 0);
            return HF_OK;
        }
        err = hf_view_next_change(v, r.seq, r.ordinal, &r);
    }
    if (err != HF_OK && err != HF_NOTFOUND) {
        return err;
    }
    k->end = true;
    k->to = (struct hf_bound){.seq = k->q->last, .ordinal = UINT32_MAX, .offset = HF_OFFSET_END};
    return HF_OK;
}

/* ---- KEYS ---- */

/* The first record, tombstones included; they are stepped over by the walk, which counts them. */
static enum hf_err keys_first(struct hf_view *v, const struct hf_bound *from, struct hf_stored *out)
{
    if (from->key.len == 0 || from->offset == HF_OFFSET_END) {
        return hf_view_next_record(v, from->key, out);
    }
    enum hf_err err = hf_view_get(v, from->key, true, out);
    if (from->offset == 0) {
        return err == HF_NOTFOUND ? hf_view_next_record(v, from->key, out) : err;
    }
    bool same = err == HF_OK && out->seq == from->seq && out->ordinal == from->ordinal;
    if (err == HF_OK || err == HF_NOTFOUND) {
        return same && from->offset < out->value.len ? HF_OK : HF_MOVED;
    }
    return err;
}

static bool behind_until(const struct walk *k, struct hf_slice key)
{
    return k->q->until.len > 0 && hf_slice_cmp(key, k->q->until) > 0;
}

static enum hf_err keys_walk(struct walk *k)
{
    const struct hf_bound *from = &k->q->from;
    struct hf_view *v = k->t->view;
    struct hf_stored r;
    enum hf_err err = keys_first(v, from, &r);
    bool inside = from->key.len > 0 && from->offset != HF_OFFSET_END && from->offset != 0;
    for (uint32_t looked_at = 1; err == HF_OK && !behind_until(k, r.key); looked_at++) {
        if (r.tombstone) {
            k->to = (struct hf_bound){
                .seq = r.seq, .ordinal = r.ordinal, .offset = HF_OFFSET_END, .key = r.key};
        } else {
            record_put(k, &r, inside ? from->offset : 0);
        }
        inside = false;
        if (k->full || looked_at == KEYS_LOOKED_AT_MAX) {
            return HF_OK;
        }
        err = hf_view_next_record(v, r.key, &r);
    }
    if (err != HF_OK && err != HF_NOTFOUND) {
        return err;
    }
    k->end = true;
    if (k->q->until.len > 0) { /* then the descriptor says which range is complete */
        k->to = (struct hf_bound){.offset = HF_OFFSET_END, .key = k->q->until};
    }
    return HF_OK;
}

/* ---- chunks ---- */

struct packed {
    struct hf_slice plain; /* in the slot's memory */
    enum hf_compression compression;
    uint32_t raw_bytes;
};

static struct packed records_pack(const struct walk *k)
{
    struct hf_transfer *t = k->t;
    struct packed p;
    struct hf_slice block[HF_RECORDS_BLOCKS];
    struct hf_writer raw;
    struct hf_writer out;
    hf_writer_init(&raw, t->data, HF_CHUNK_RAW_MAX);
    hf_writer_init(&out, t->packed, t->packed_cap);
    hf_columns_finish(&k->columns, &raw, block);
    HF_ASSERT(!raw.failed);
    p.raw_bytes = (uint32_t)raw.len;
    p.plain = hf_compress(block, HF_RECORDS_BLOCKS, t->cctx, &out, &p.compression);
    return p;
}

static enum hf_err walk(struct walk *k)
{
    return k->q->want == HF_WANT_DELTA ? delta_walk(k) : keys_walk(k);
}

/* As many records as will be asked for once they are packed, going by how the last ones did: half
 * as many would be twice the requests, and the second half of each range a small one. */
static size_t raw_guess(const struct hf_transfer *t, size_t packed_max)
{
    size_t raw = packed_max * atomic_load(t->density) / 272; /* 256, and a sixteenth to spare */
    raw = raw > packed_max ? raw : packed_max;
    return raw < HF_CHUNK_RAW_MAX ? raw : HF_CHUNK_RAW_MAX;
}

static void density_note(const struct hf_transfer *t, const struct packed *p)
{
    if (p->raw_bytes >= DENSITY_RAW_MIN) {
        atomic_store(t->density, (uint32_t)((uint64_t)p->raw_bytes * 256 / p->plain.len));
    }
}

/* Walks from the beginning of the range as far as the reply carries it, and packs that. */
static enum hf_err walk_and_pack(struct walk *k, struct hf_transfer *t,
                                 const struct hf_fetch_request *q, struct packed *p)
{
    size_t packed_max = q->data_max != 0 ? q->data_max : HF_FETCH_DATA_MAX;
    size_t raw_max = raw_guess(t, packed_max);
    for (;;) {
        walk_init(k, t, q, raw_max);
        enum hf_err err = walk(k);
        if (err != HF_OK) {
            return err;
        }
        *p = records_pack(k);
        density_note(t, p);
        if (p->plain.len <= packed_max || raw_max == packed_max) {
            return HF_OK;
        }
        raw_max = packed_max; /* which surely fits */
    }
}

static void chunk_seal(struct hf_transfer *t, const struct walk *k, const struct packed *packed,
                       struct hf_chunk *c)
{
    c->compression = packed->compression;
    c->want = k->q->want;
    c->from = k->q->from;
    c->to = k->to;
    c->end = k->end;
    c->key_id = t->secret->content.id;
    c->raw_bytes = packed->raw_bytes;
    struct hf_writer descriptor;
    struct hf_writer sealed;
    hf_writer_init(&descriptor, t->descriptor, sizeof(t->descriptor));
    hf_writer_init(&sealed, t->sealed, HF_MESSAGE_MAX);
    hf_chunk_describe(c, &descriptor);
    c->descriptor = hf_writer_bytes(&descriptor);
    hf_chunk_seal(&t->secret->content.key, t->chunk_nonce, c->descriptor, packed->plain, &sealed);
    HF_ASSERT(!descriptor.failed && !sealed.failed);
    c->sealed = hf_writer_bytes(&sealed);
}

enum hf_err hf_transfer_chunk(struct hf_transfer *t, struct hf_fetch_reply *p)
{
    const struct hf_fetch_request *q = &t->q.fetch;
    struct hf_applied a;
    struct walk k;
    struct packed packed;
    enum hf_err err = hf_transfer_shown(t, &a);
    if (err != HF_OK) {
        return err;
    }
    if (t->asof_min > a.at.seq || q->last > a.at.seq) {
        return HF_NOT_YET;
    }
    if (q->want == HF_WANT_DELTA && q->from.seq < a.delta_floor) {
        return HF_BELOW_FLOOR;
    }
    err = walk_and_pack(&k, t, q, &packed);
    if (err != HF_OK) {
        return err;
    }
    if (k.to.key.len > 0) { /* the view's bytes are let go before the reply is encoded */
        memcpy(t->to_key, k.to.key.data, k.to.key.len);
        k.to.key.data = t->to_key;
    }
    p->chunk.asof = a.at.seq;
    chunk_seal(t, &k, &packed, &p->chunk);
    return HF_OK;
}

enum hf_err hf_transfer_probe(struct hf_transfer *t, const struct hf_fetch_request *range,
                              struct hf_bound *to, struct hf_probe_result *out)
{
    struct walk k;
    struct packed packed;
    enum hf_err err = walk_and_pack(&k, t, range, &packed);
    if (err == HF_OK) {
        *to = k.to;
        out->end = k.end;
        out->weight = k.weight;
        out->sent_bytes = packed.plain.len + REPLY_OVERHEAD;
    }
    return err;
}
