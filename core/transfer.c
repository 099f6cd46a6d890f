/*
 * transfer.c - the readers behind PLAN and FETCH.
 *
 * LOG and BODY come from the changelog: frames may be fetched as soon as they are synced. DELTA and
 * KEYS come from a view of the committed state, and `asof` says which. Every answer moves the asker
 * on: at least one frame, one byte or one record, or the end, or a code that says why not. Bounds
 * are positions, never handles, so a range can be asked for again, elsewhere, or in parallel.
 *
 * A bound with offset HF_OFFSET_END lies behind the record it names, one with offset 0 before it,
 * any other inside its value; there the record must be the same still, else MOVED, and the asker
 * goes on behind it: the newer value has a higher seq, which the tail of the transfer covers.
 *
 * The price of SNAPSHOT is that of a DELTA from 0. PLAN compares prices, and says both in a
 * sentence.
 *
 * Nothing above the acknowledged head is given, though the log may have it, and the state too while
 * a failed append is being replayed: an edge that held more than the next beacon names would take
 * the core for rolled back. What is committed in the ordinary course was acknowledged before, so
 * the head, read after the view was renewed, is not below it.
 *
 * Must not: touch the registry, the engine or the world while on the pool.
 */
#include "core/transfer.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

/* What a chunk's records may take: a message less envelope, descriptor with two keys, framing. */
#define CHUNK_RAW_MAX (HF_MESSAGE_MAX - 2048u)
/* A value is cut only where at least this much of it fits: fewer, larger pieces. */
#define FRAGMENT_MIN 1024u
#define COMPRESS_MIN 512u
/* Records that one request looks at, of which a run of tombstones gives none: 10 ms of reading. */
#define KEYS_LOOKED_AT_MAX 10000u
#define SPLITS_MAX 16u
/* A part of a DELTA is worth a connection of its own above about 16 chunks. */
#define SPLIT_BYTES (1u << 20)
/* A DELTA is staged and merged, a LOG applied as it comes, and prices are estimates: a DELTA must
 * be cheaper by an eighth and more than one message to be worth it. */
#define LOG_BONUS(price) ((price) / 8 + HF_MESSAGE_MAX)
#define SPLIT_STEPS 8 /* prices are samples: a finer cut would be no truer */

struct secrets {
    struct hf_envelope_keys keys;
    struct hf_content_key content;
};

struct transfer {
    struct hf_job job;
    struct hf_transfers *owner;
    bool busy;
    /* Set by the owner's thread. */
    uint64_t handle;
    uint32_t row;
    struct hf_key edge_key;
    struct hf_envelope reply_env;
    uint8_t asked_nonce[HF_NONCE_BYTES];
    uint8_t chunk_nonce[HF_NONCE_BYTES];
    struct secrets *secret; /* in the guarded block */
    hf_seq key_floor;
    struct hf_request q;
    uint8_t key[HF_STORE_KEY_MAX]; /* of q.fetch.from */
    /* The slot's own memory, owned. */
    struct hf_view *view;
    ZSTD_CCtx *cctx;
    uint8_t *data;   /* HF_MESSAGE_MAX each: frames or records */
    uint8_t *packed; /* records compressed */
    uint8_t *sealed; /* a chunk */
    uint8_t *plain;  /* the reply */
    uint8_t *out;    /* the message */
    size_t packed_cap;
    size_t out_len;
    struct hf_bytes frame;
    hf_seq frame_seq; /* of a large frame kept between BODY requests; 0 = none */
    uint8_t descriptor[HF_DESCRIPTOR_MAX];
    uint8_t to_key[HF_STORE_KEY_MAX];
    char reason[HF_REASON_MAX];
};

struct hf_transfers {
    struct hf_transfers_config cfg;
    struct secrets *secret; /* owned, guarded; HF_TRANSFERS_MAX */
    _Atomic hf_seq head;    /* acknowledged: the owner writes it, the pool reads it */
    struct transfer slot[HF_TRANSFERS_MAX];
};

/* ---- frames ---- */

enum hf_err hf_transfer_frame(const struct hf_changelog *log, hf_seq seq, struct hf_bytes *out)
{
    size_t len = 0;
    out->len = 0;
    enum hf_err err = hf_bytes_reserve(out, HF_MESSAGE_MAX);
    if (err != HF_OK) {
        return err;
    }
    err = hf_changelog_read(log, seq, out->data, out->cap, &len);
    if (err == HF_TOO_BIG) {
        err = hf_bytes_reserve(out, len);
        err = err == HF_OK ? hf_changelog_read(log, seq, out->data, out->cap, &len) : err;
    }
    out->len = err == HF_OK ? len : 0;
    return err;
}

static enum hf_err frame_load(struct transfer *t, hf_seq seq)
{
    if (t->frame_seq == seq) {
        return HF_OK;
    }
    t->frame_seq = 0;
    enum hf_err err = hf_transfer_frame(t->owner->cfg.log, seq, &t->frame);
    t->frame_seq = err == HF_OK ? seq : 0;
    return err;
}

/* A large frame is kept only while its body is being fetched, piece by piece. */
static void frame_let_go(struct transfer *t)
{
    if (t->frame.cap > HF_MESSAGE_MAX) {
        hf_bytes_free(&t->frame);
    }
    t->frame_seq = 0;
}

/* The last frame that may be given. */
static hf_seq log_last(const struct transfer *t)
{
    hf_seq last = hf_changelog_last(t->owner->cfg.log);
    hf_seq head = atomic_load(&t->owner->head);
    return last < head ? last : head;
}

/* The first one that is of use to anyone. */
static hf_seq log_first(const struct transfer *t)
{
    hf_seq first = hf_changelog_first(t->owner->cfg.log);
    return first > t->key_floor ? first : t->key_floor;
}

static enum hf_err log_bounds(const struct transfer *t, hf_seq seq)
{
    if (seq > log_last(t)) {
        return HF_NOT_YET;
    }
    return seq < log_first(t) ? HF_BELOW_FLOOR : HF_OK;
}

/* Puts frame seq if it fits. *ends: nothing may follow it in this reply. */
static enum hf_err frame_put(struct transfer *t, hf_seq seq, struct hf_writer *frames, bool *ends)
{
    const size_t bin_header = 5;
    uint8_t alone[HF_HEADER_MAX + HF_FRAME_OVERHEAD];
    enum hf_err err = frame_load(t, seq);
    if (err != HF_OK) {
        return err == HF_NOTFOUND ? HF_BELOW_FLOOR : err;
    }
    struct hf_slice message = hf_slice_of(t->frame.data, t->frame.len);
    if (message.len + bin_header > HF_REPLY_DATA_MAX) {
        struct hf_writer w;
        hf_writer_init(&w, alone, sizeof(alone));
        err = hf_frame_alone(message, &w);
        if (err != HF_OK) {
            return HF_CORRUPT;
        }
        message = hf_writer_bytes(&w);
        *ends = true;
    }
    if (frames->len + message.len + bin_header > HF_REPLY_DATA_MAX) {
        return HF_TOO_BIG;
    }
    hf_fetch_put_frame(frames, message);
    return HF_OK;
}

static enum hf_err fetch_log(struct transfer *t, struct hf_fetch_reply *p)
{
    const struct hf_fetch_request *q = &t->q.fetch;
    enum hf_err err = log_bounds(t, q->first);
    if (err != HF_OK) {
        return err;
    }
    hf_seq head = log_last(t);
    hf_seq last = q->last < head ? q->last : head;
    struct hf_writer frames;
    hf_writer_init(&frames, t->data, HF_MESSAGE_MAX);
    bool ends = false;
    for (hf_seq seq = q->first; seq <= last && !ends && p->frame_count < HF_REPLY_FRAMES_MAX;
         seq++) {
        err = frame_put(t, seq, &frames, &ends);
        if (err != HF_OK) {
            break;
        }
        p->frame_count++;
        p->seq = seq;
    }
    frame_let_go(t);
    p->frames = hf_writer_bytes(&frames);
    return p->frame_count > 0 ? HF_OK : err;
}

static enum hf_err fetch_body(struct transfer *t, struct hf_fetch_reply *p)
{
    const struct hf_fetch_request *q = &t->q.fetch;
    enum hf_err err = log_bounds(t, q->first);
    if (err == HF_OK) {
        err = frame_load(t, q->first);
    }
    if (err != HF_OK) {
        return err == HF_NOTFOUND ? HF_BELOW_FLOOR : err;
    }
    struct hf_id stream;
    struct hf_frame f;
    if (hf_frame_decode(hf_slice_of(t->frame.data, t->frame.len), &stream, &f) != HF_OK) {
        return HF_CORRUPT;
    }
    if (q->offset >= f.body.len) {
        return HF_MALFORMED;
    }
    size_t left = f.body.len - q->offset;
    p->seq = q->first;
    p->offset = q->offset;
    p->total = (uint32_t)f.body.len;
    p->body =
        hf_slice_of(f.body.data + q->offset, left < HF_REPLY_DATA_MAX ? left : HF_REPLY_DATA_MAX);
    return HF_OK;
}

/* ---- records ---- */

/* Where a walk stands: behind the record of `at`, which may be none yet. */
struct walk {
    struct hf_writer records;
    struct hf_bound to;
    bool full;
};

/* Puts as much of a record as fits, from `offset` of its value on; moves `to`. */
static void record_put(struct walk *k, const struct hf_stored *r, uint32_t offset)
{
    size_t used = k->records.len + HF_RECORD_OVERHEAD + r->key.len;
    size_t room = used < CHUNK_RAW_MAX ? CHUNK_RAW_MAX - used : 0;
    size_t left = r->value.len - offset;
    if (used > CHUNK_RAW_MAX || (left > room && room < FRAGMENT_MIN)) {
        k->full = true; /* never the first: key and overhead leave room for much of any value */
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
    hf_record_encode(&rec, &k->records);
    HF_ASSERT(!k->records.failed);
    k->full = n < left;
    k->to = (struct hf_bound){.seq = r->seq,
                              .ordinal = r->ordinal,
                              .offset = k->full ? offset + (uint32_t)n : HF_OFFSET_END,
                              .key = r->key};
}

/* ---- DELTA ---- */

/* The first record at or after the bound; HF_MOVED when the bound is inside one that is gone. */
static enum hf_err delta_first(struct transfer *t, const struct hf_bound *from,
                               struct hf_stored *out)
{
    if (from->offset == HF_OFFSET_END) {
        return hf_view_next_change(t->view, from->seq, from->ordinal, out);
    }
    hf_seq seq = from->seq;
    uint32_t ordinal = from->ordinal;
    if (ordinal > 0) {
        ordinal--;
    } else if (seq > 0) {
        seq--;
        ordinal = UINT32_MAX;
    }
    enum hf_err err = hf_view_next_change(t->view, seq, ordinal, out);
    if (from->offset == 0) {
        return err;
    }
    bool same = err == HF_OK && out->seq == from->seq && out->ordinal == from->ordinal;
    if (err == HF_OK || err == HF_NOTFOUND) {
        return same && from->offset < out->value.len ? HF_OK : HF_MOVED;
    }
    return err;
}

static enum hf_err delta_walk(struct transfer *t, struct walk *k, bool *end)
{
    const struct hf_fetch_request *q = &t->q.fetch;
    struct hf_stored r;
    enum hf_err err = delta_first(t, &q->from, &r);
    bool inside = q->from.offset != HF_OFFSET_END;
    while (err == HF_OK && r.seq <= q->last) {
        record_put(k, &r, inside ? q->from.offset : 0);
        inside = false;
        if (k->full) {
            return HF_OK;
        }
        err = hf_view_next_change(t->view, r.seq, r.ordinal, &r);
    }
    if (err != HF_OK && err != HF_NOTFOUND) {
        return err;
    }
    *end = true;
    k->to = (struct hf_bound){.seq = q->last, .ordinal = UINT32_MAX, .offset = HF_OFFSET_END};
    return HF_OK;
}

/* ---- KEYS ---- */

/* The first record, tombstones included; they are stepped over by the walk, which counts them. */
static enum hf_err keys_first(struct transfer *t, const struct hf_bound *from,
                              struct hf_stored *out)
{
    if (from->key.len == 0 || from->offset == HF_OFFSET_END) {
        return hf_view_next_record(t->view, from->key, out);
    }
    enum hf_err err = hf_view_get(t->view, from->key, true, out);
    if (from->offset == 0) {
        return err == HF_NOTFOUND ? hf_view_next_record(t->view, from->key, out) : err;
    }
    bool same = err == HF_OK && out->seq == from->seq && out->ordinal == from->ordinal;
    if (err == HF_OK || err == HF_NOTFOUND) {
        return same && from->offset < out->value.len ? HF_OK : HF_MOVED;
    }
    return err;
}

static enum hf_err keys_walk(struct transfer *t, struct walk *k, bool *end)
{
    const struct hf_bound *from = &t->q.fetch.from;
    struct hf_stored r;
    enum hf_err err = keys_first(t, from, &r);
    bool inside = from->key.len > 0 && from->offset != HF_OFFSET_END && from->offset != 0;
    for (uint32_t looked_at = 1; err == HF_OK; looked_at++) {
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
        err = hf_view_next_record(t->view, r.key, &r);
    }
    if (err != HF_NOTFOUND) {
        return err;
    }
    *end = true;
    return HF_OK;
}

/* ---- chunks ---- */

static struct hf_slice records_pack(struct transfer *t, struct hf_slice raw, uint32_t *compression)
{
    *compression = HF_COMPRESSION_NONE;
    if (raw.len < COMPRESS_MIN) {
        return raw;
    }
    size_t n = ZSTD_compressCCtx(t->cctx, t->packed, t->packed_cap, raw.data, raw.len, 1);
    if (ZSTD_isError(n) || n > raw.len - raw.len / 20) {
        return raw;
    }
    *compression = HF_COMPRESSION_ZSTD;
    return hf_slice_of(t->packed, n);
}

static void chunk_make(struct transfer *t, const struct walk *k, struct hf_chunk *c)
{
    struct hf_slice raw = hf_writer_bytes(&k->records);
    struct hf_slice packed = records_pack(t, raw, &c->compression);
    c->want = t->q.fetch.want;
    c->from = t->q.fetch.from;
    c->to = k->to;
    c->key_id = t->secret->content.id;
    c->raw_bytes = (uint32_t)raw.len;
    struct hf_writer descriptor;
    struct hf_writer sealed;
    hf_writer_init(&descriptor, t->descriptor, sizeof(t->descriptor));
    hf_writer_init(&sealed, t->sealed, HF_MESSAGE_MAX);
    hf_chunk_describe(c, &descriptor);
    c->descriptor = hf_writer_bytes(&descriptor);
    hf_chunk_seal(&t->secret->content.key, t->chunk_nonce, c->descriptor, packed, &sealed);
    HF_ASSERT(!descriptor.failed && !sealed.failed);
    c->sealed = hf_writer_bytes(&sealed);
}

/* What the view shows; HF_NOT_YET while that is above the acknowledged head. */
static enum hf_err shown(struct transfer *t, struct hf_applied *a)
{
    enum hf_err err = hf_view_applied(t->view, a);
    return err == HF_OK && a->at.seq > atomic_load(&t->owner->head) ? HF_NOT_YET : err;
}

static enum hf_err fetch_records(struct transfer *t, struct hf_fetch_reply *p)
{
    const struct hf_fetch_request *q = &t->q.fetch;
    struct hf_applied a;
    struct walk k = {.to = q->from};
    hf_writer_init(&k.records, t->data, HF_MESSAGE_MAX);
    enum hf_err err = shown(t, &a);
    if (err != HF_OK) {
        return err;
    }
    p->chunk.asof = a.at.seq;
    if (q->want == HF_WANT_DELTA) {
        if (q->last > a.at.seq) {
            return HF_NOT_YET;
        }
        if (q->from.seq < a.delta_floor) {
            return HF_BELOW_FLOOR;
        }
        err = delta_walk(t, &k, &p->chunk.end);
        k.to.key = hf_slice_of(NULL, 0);
    } else {
        err = keys_walk(t, &k, &p->chunk.end);
        if (err == HF_OK && k.to.key.len > 0) {
            memcpy(t->to_key, k.to.key.data, k.to.key.len);
            k.to.key.data = t->to_key; /* the view's bytes are let go before the reply is encoded */
        }
    }
    if (err == HF_OK) {
        chunk_make(t, &k, &p->chunk);
    }
    return err;
}

static enum hf_err fetch(struct transfer *t, struct hf_fetch_reply *p)
{
    p->want = t->q.fetch.want;
    if (!hf_id_eq(&t->q.fetch.epoch_id, &t->owner->cfg.epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    enum hf_err err = HF_OK;
    switch (t->q.fetch.want) {
    case HF_WANT_LOG:
        return fetch_log(t, p);
    case HF_WANT_BODY:
        return fetch_body(t, p);
    case HF_WANT_DELTA:
    case HF_WANT_KEYS:
        err = hf_view_renew(t->view);
        if (err == HF_OK) {
            err = fetch_records(t, p);
        }
        hf_view_reset(t->view);
        return err;
    }
    HF_UNREACHABLE();
}

/* ---- PLAN ---- */

struct prices {
    bool log_reaches;
    uint64_t log;
    bool delta_reaches;
    uint64_t delta;
    uint64_t snapshot;
};

/* The seq above which about `bytes` of the DELTA lie; found by halving, so it is never far off. */
static hf_seq split_at(struct transfer *t, hf_seq lo, hf_seq hi, uint64_t bytes)
{
    for (int i = 0; i < SPLIT_STEPS && hi - lo > 1; i++) {
        hf_seq mid = lo + (hi - lo) / 2;
        uint64_t above = 0;
        if (hf_view_delta_bytes(t->view, mid, &above) != HF_OK) {
            break;
        }
        if (above > bytes) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return hi;
}

static void splits_find(struct transfer *t, uint64_t bytes, struct hf_plan_reply *p)
{
    hf_seq lo = t->q.plan.applied;
    uint64_t parts = bytes / SPLIT_BYTES;
    parts = parts < SPLITS_MAX ? parts : SPLITS_MAX;
    for (uint64_t i = 1; i < parts; i++) {
        hf_seq at = split_at(t, lo, p->head, bytes - bytes / parts * i);
        if (at > lo && at < p->head) {
            p->split[p->split_count++] = at;
            lo = at;
        }
    }
}

static enum hf_err prices_find(struct transfer *t, hf_seq last, struct prices *c,
                               struct hf_applied *a)
{
    const struct hf_changelog *log = t->owner->cfg.log;
    hf_seq applied = t->q.plan.applied;
    enum hf_err err = shown(t, a);
    if (err != HF_OK) {
        return err;
    }
    c->log_reaches = applied + 1 >= log_first(t);
    c->log = c->log_reaches ? hf_changelog_bytes(log, applied + 1, last) : 0;
    c->delta_reaches = applied > 0 && applied >= a->delta_floor && applied < a->at.seq;
    if (c->delta_reaches) {
        err = hf_view_delta_bytes(t->view, applied, &c->delta);
    }
    return err == HF_OK ? hf_view_delta_bytes(t->view, 0, &c->snapshot) : err;
}

static void plan_choose(struct transfer *t, const struct prices *c, hf_seq last,
                        struct hf_plan_reply *p)
{
    uint64_t other = c->delta_reaches ? c->delta : c->snapshot;
    const char *name = c->delta_reaches ? "delta" : "snapshot";
    int n;
    if (c->log_reaches && (c->log <= other + LOG_BONUS(other) || p->head <= t->q.plan.applied)) {
        p->kind = HF_PLAN_LOG;
        p->bytes = c->log;
        p->head = last;
        n = snprintf(t->reason, sizeof(t->reason),
                     "log of %" PRIu64 " bytes is hardly dearer than a %s of %" PRIu64, c->log,
                     name, other);
    } else {
        p->kind = c->delta_reaches ? HF_PLAN_DELTA : HF_PLAN_SNAPSHOT;
        p->bytes = other;
        if (c->log_reaches) {
            n = snprintf(t->reason, sizeof(t->reason),
                         "%s of %" PRIu64 " bytes is cheaper than a log of %" PRIu64, name, other,
                         c->log);
        } else {
            n = snprintf(t->reason, sizeof(t->reason),
                         "%s of %" PRIu64 " bytes, since the log begins at %" PRIu64, name, other,
                         log_first(t));
        }
    }
    p->reason = hf_slice_of(t->reason, (size_t)n);
}

static enum hf_err plan(struct transfer *t, struct hf_plan_reply *p)
{
    if (!hf_id_eq(&t->q.plan.epoch_id, &t->owner->cfg.epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    hf_seq last = log_last(t);
    if (t->q.plan.applied >= last) {
        p->kind = HF_PLAN_NONE;
        p->head = last;
        p->reason = hf_slice_str("nothing is missing");
        return HF_OK;
    }
    struct hf_applied a;
    struct prices c = {.log = 0};
    enum hf_err err = hf_view_renew(t->view);
    if (err == HF_OK) {
        err = prices_find(t, last, &c, &a);
    }
    if (err == HF_OK) {
        p->head = a.at.seq;
        plan_choose(t, &c, last, p);
        if (p->kind == HF_PLAN_DELTA) {
            splits_find(t, p->bytes, p);
        }
    }
    hf_view_reset(t->view);
    return err;
}

/* ---- jobs ---- */

static void work(struct hf_job *job)
{
    struct transfer *t = (struct transfer *)job;
    struct hf_reply reply;
    memset(&reply, 0, sizeof(reply));
    reply.type = t->q.type;
    if (t->q.type == HF_MSG_PLAN) {
        reply.code = plan(t, &reply.plan);
    } else {
        reply.code = fetch(t, &reply.fetch);
    }
    struct hf_writer plain;
    struct hf_writer out;
    hf_writer_init(&plain, t->plain, HF_MESSAGE_MAX);
    hf_reply_encode(&reply, &plain);
    hf_writer_init(&out, t->out, HF_MESSAGE_MAX);
    hf_reply_seal(&t->reply_env, &t->owner->cfg.id->public_key, t->asked_nonce, &t->secret->keys,
                  hf_writer_bytes(&plain), &out);
    HF_ASSERT(!plain.failed && !out.failed);
    t->out_len = out.len;
}

static void done(struct hf_job *job)
{
    struct transfer *t = (struct transfer *)job;
    struct hf_transfers_config *c = &t->owner->cfg;
    const struct hf_enrolled *edge = hf_registry_row(c->registry, t->row);
    memset(t->secret, 0, sizeof(*t->secret));
    t->busy = false;
    /* It may have been revoked, or given another key, since it asked: then there is no answer, and
     * the world is told, which keeps a place for the request until it hears. */
    bool wanted = !edge->fact.revoked && hf_key_eq(&edge->fact.key, &t->edge_key);
    c->world->reply(c->world->ctx, t->handle, hf_slice_of(t->out, wanted ? t->out_len : 0));
}

static enum hf_err slot_ready(struct transfer *t)
{
    if (t->view != NULL) {
        return HF_OK;
    }
    t->packed_cap = ZSTD_compressBound(HF_MESSAGE_MAX);
    t->data = t->data != NULL ? t->data : malloc(HF_MESSAGE_MAX);
    t->packed = t->packed != NULL ? t->packed : malloc(t->packed_cap);
    t->sealed = t->sealed != NULL ? t->sealed : malloc(HF_MESSAGE_MAX);
    t->plain = t->plain != NULL ? t->plain : malloc(HF_MESSAGE_MAX);
    t->out = t->out != NULL ? t->out : malloc(HF_MESSAGE_MAX);
    t->cctx = t->cctx != NULL ? t->cctx : ZSTD_createCCtx();
    if (t->data == NULL || t->packed == NULL || t->sealed == NULL || t->plain == NULL ||
        t->out == NULL || t->cctx == NULL) {
        return HF_NOMEM;
    }
    enum hf_err err = hf_view_open(t->owner->cfg.state, &t->view);
    if (err == HF_OK) {
        hf_view_reset(t->view);
    }
    return err;
}

static void slot_free(struct transfer *t)
{
    if (t->view != NULL) {
        hf_view_close(t->view);
    }
    ZSTD_freeCCtx(t->cctx);
    hf_bytes_free(&t->frame);
    free(t->data);
    free(t->packed);
    free(t->sealed);
    free(t->plain);
    free(t->out);
}

/* A free slot, the one that holds the frame whose body is asked for if there is one. */
static struct transfer *slot_pick(struct hf_transfers *s, const struct hf_request *q)
{
    struct transfer *found = NULL;
    bool body = q->type == HF_MSG_FETCH && q->fetch.want == HF_WANT_BODY;
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        struct transfer *t = &s->slot[i];
        if (t->busy) {
            continue;
        }
        if (body && t->frame_seq == q->fetch.first) {
            return t;
        }
        found = found == NULL ? t : found;
    }
    if (found != NULL) {
        frame_let_go(found);
    }
    return found;
}

struct hf_transfers *hf_transfers_new(const struct hf_transfers_config *c)
{
    struct hf_transfers *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->cfg = *c;
    s->secret = hf_secret_new(HF_TRANSFERS_MAX * sizeof(*s->secret));
    if (s->secret == NULL) {
        free(s);
        return NULL;
    }
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        s->slot[i].owner = s;
        s->slot[i].secret = &s->secret[i];
    }
    return s;
}

void hf_transfers_free(struct hf_transfers *s)
{
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        slot_free(&s->slot[i]);
    }
    hf_secret_free(s->secret);
    free(s);
}

void hf_transfers_head(struct hf_transfers *s, hf_seq head)
{
    atomic_store(&s->head, head);
}

bool hf_transfers_idle(const struct hf_transfers *s)
{
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        if (s->slot[i].busy) {
            return false;
        }
    }
    return true;
}

static uint32_t under_way(const struct hf_transfers *s, uint32_t row)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        n += s->slot[i].busy && s->slot[i].row == row;
    }
    return n;
}

enum hf_err hf_transfers_start(struct hf_transfers *s, const struct hf_transfer_order *order)
{
    const struct hf_world *world = s->cfg.world;
    if (under_way(s, order->edge->row) >= HF_TRANSFERS_PER_EDGE) {
        return HF_BUSY;
    }
    struct transfer *t = slot_pick(s, order->request);
    if (t == NULL) {
        return HF_BUSY;
    }
    enum hf_err err = slot_ready(t);
    if (err != HF_OK) {
        return err;
    }
    t->job = (struct hf_job){.work = work, .done = done};
    t->handle = order->handle;
    t->row = order->edge->row;
    t->edge_key = order->edge->fact.key;
    t->reply_env = (struct hf_envelope){
        .stream = s->cfg.stream, .sender = order->asked->sender, .cookie = order->cookie};
    world->random(world->ctx, t->reply_env.nonce, HF_NONCE_BYTES);
    world->random(world->ctx, t->chunk_nonce, HF_NONCE_BYTES);
    memcpy(t->asked_nonce, order->asked->nonce, HF_NONCE_BYTES);
    t->secret->keys = *order->keys;
    t->secret->content = *order->content;
    t->key_floor = order->key_floor;
    t->q = *order->request;
    if (t->q.type == HF_MSG_FETCH && t->q.fetch.from.key.len > 0) {
        HF_ASSERT(t->q.fetch.from.key.len <= sizeof(t->key));
        memcpy(t->key, t->q.fetch.from.key.data, t->q.fetch.from.key.len);
        t->q.fetch.from.key.data = t->key;
    }
    t->busy = true;
    world->run(world->ctx, HF_LANE_POOL, &t->job);
    return HF_OK;
}
