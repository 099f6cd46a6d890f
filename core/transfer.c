/*
 * transfer.c - who is worked on: slots, the line before them, and chunks given out again.
 *
 * A request goes into the line and from there to a slot, at once if one is free. When its turn
 * comes it is looked at again: is the edge still enrolled, is there a chunk of its range already,
 * is one being made. In the last case it lets others go first and takes the chunk when it is there.
 * So the work that N edges cause is one read for each distinct range, and N envelopes.
 *
 * Invariant: every request that hf_transfers_start took is answered exactly once, with an empty
 * reply if it is dropped, since the world keeps a place for it until it hears. While somebody
 * waits, either all slots are busy or a job is under way that he waits for; whenever a slot becomes
 * free the line is looked at again.
 *
 * Nothing above the acknowledged head is given, though the log may have it, and the state too while
 * a failed append is being replayed: an edge that held more than the next beacon names would take
 * the core for rolled back. What is committed in the ordinary course was acknowledged before, so
 * the head, read after the view was renewed, is not below it.
 *
 * Must not: touch the registry, the engine, the cache, the line or the world while on the pool.
 *
 * Read next: queue.c, cache.c; frames.c, chunks.c, ranges.c and plan.c for the work itself.
 */
#include "core/transfer_impl.h"

#include "core/admission.h"
#include "core/queue.h"

#include "hf/digest.h"
#include "hf/records.h"

#include <stdlib.h>

/* What a hole in the stream is at most: a frame, or this much; who asks for more was cut off. */
#define HOLE_BYTES (16u << 10)

struct hf_transfers {
    struct hf_transfers_config cfg;
    _Atomic hf_seq head;               /* acknowledged: the owner writes it, the pool reads it */
    _Atomic uint32_t density;          /* see struct hf_transfer */
    struct hf_transfer_secret *secret; /* owned, guarded; HF_TRANSFERS_MAX */
    struct hf_planner *planner;        /* owned, as are the next three */
    struct hf_cache *cache;
    struct hf_queue *queue;
    struct hf_admission *admission;
    struct hf_id name_key; /* known to nobody else */
    bool starting;         /* a world that runs jobs at once comes back here from inside */
    struct hf_transfers_counts n;
    struct hf_transfer slot[HF_TRANSFERS_MAX];
};

/* A carry file, which anyone may find: its replies have no tail. */
static bool is_for_a_file(const struct hf_asker *a)
{
    return a->answer != NULL;
}

/* ---- the job ---- */

static enum hf_err fetch(struct hf_transfer *t, struct hf_fetch_reply *p)
{
    p->want = t->q.fetch.want;
    if (!hf_id_eq(&t->q.fetch.epoch_id, &t->cfg->epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    if (t->cached != NULL) {
        p->chunk.descriptor = t->cached->descriptor;
        p->chunk.sealed = t->cached->sealed;
        return HF_OK;
    }
    enum hf_err err = HF_OK;
    switch (t->q.fetch.want) {
    case HF_WANT_LOG:
        return hf_transfer_log(t, p);
    case HF_WANT_BODY:
        return hf_transfer_body(t, p);
    case HF_WANT_DELTA:
    case HF_WANT_KEYS:
        err = hf_view_renew(t->view);
        if (err == HF_OK) {
            err = hf_transfer_chunk(t, p);
        }
        hf_view_reset(t->view);
        t->made = err == HF_OK;
        t->chunk = p->chunk;
        return err;
    case HF_WANT_RANGES:
        err = hf_view_renew(t->view);
        if (err == HF_OK) {
            err = hf_transfer_ranges(t, p);
        }
        hf_view_reset(t->view);
        return err;
    }
    HF_UNREACHABLE();
}

static void work(struct hf_job *job)
{
    struct hf_transfer *t = (struct hf_transfer *)job;
    struct hf_reply reply;
    memset(&reply, 0, sizeof(reply));
    reply.type = t->q.type;
    if (t->q.type == HF_MSG_PLAN) {
        reply.code = hf_transfer_plan(t, &reply.plan);
    } else {
        reply.code = fetch(t, &reply.fetch);
    }
    struct hf_writer plain;
    struct hf_writer out;
    hf_writer_init(&plain, t->plain, HF_MESSAGE_MAX);
    hf_reply_encode(&reply, &plain);
    hf_writer_init(&out, t->out, HF_MESSAGE_MAX);
    hf_reply_seal(&t->reply_env, &t->cfg->id->public_key, t->asked_nonce, &t->secret->keys,
                  hf_writer_bytes(&plain), is_for_a_file(&t->asker) ? 0 : hf_reply_tail(&reply),
                  &out);
    HF_ASSERT(!plain.failed && !out.failed);
    t->out_len = out.len;
    t->plain_len = plain.len;
}

static void respond(struct hf_transfers *s, const struct hf_asker *to, struct hf_slice plain,
                    struct hf_slice message)
{
    if (is_for_a_file(to)) {
        to->answer(to->ctx, plain, message);
    } else {
        s->cfg.world->reply(s->cfg.world->ctx, to->handle, message);
    }
}

/* ---- slots ---- */

static enum hf_err slot_ready(struct hf_transfer *t)
{
    if (t->view != NULL) {
        return HF_OK;
    }
    t->packed_cap = ZSTD_compressBound(HF_CHUNK_RAW_MAX);
    t->data = t->data != NULL ? t->data : malloc(HF_CHUNK_RAW_MAX);
    t->columns = t->columns != NULL ? t->columns : malloc(HF_COLUMNS * HF_CHUNK_RAW_MAX);
    t->packed = t->packed != NULL ? t->packed : malloc(t->packed_cap);
    t->sealed = t->sealed != NULL ? t->sealed : malloc(HF_MESSAGE_MAX);
    t->plain = t->plain != NULL ? t->plain : malloc(HF_MESSAGE_MAX);
    t->out = t->out != NULL ? t->out : malloc(HF_MESSAGE_MAX);
    t->cctx = t->cctx != NULL ? t->cctx : ZSTD_createCCtx();
    if (t->data == NULL || t->columns == NULL || t->packed == NULL || t->sealed == NULL ||
        t->plain == NULL || t->out == NULL || t->cctx == NULL) {
        return HF_NOMEM;
    }
    enum hf_err err = hf_view_open(t->cfg->state, &t->view);
    if (err == HF_OK) {
        hf_view_reset(t->view);
    }
    return err;
}

static void slot_free(struct hf_transfer *t)
{
    if (t->view != NULL) {
        hf_view_close(t->view);
    }
    ZSTD_freeCCtx(t->cctx);
    hf_bytes_free(&t->frame);
    free(t->sample);
    free(t->data);
    free(t->columns);
    free(t->packed);
    free(t->sealed);
    free(t->plain);
    free(t->out);
}

static bool slot_free_one(const struct hf_transfers *s)
{
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        if (!s->slot[i].busy) {
            return true;
        }
    }
    return false;
}

/* A free slot, the one that holds the frame whose body is asked for if there is one. */
static struct hf_transfer *slot_pick(struct hf_transfers *s, const struct hf_request *q)
{
    struct hf_transfer *found = NULL;
    bool body = q->type == HF_MSG_FETCH && q->fetch.want == HF_WANT_BODY;
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        struct hf_transfer *t = &s->slot[i];
        if (t->busy) {
            continue;
        }
        if (body && t->frame_seq == q->fetch.first) {
            return t;
        }
        found = found == NULL ? t : found;
    }
    HF_ASSERT(found != NULL);
    hf_transfer_let_go(found);
    return found;
}

static uint32_t under_way(const struct hf_transfers *s, uint32_t row)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        n += s->slot[i].busy && s->slot[i].row == row;
    }
    return n;
}

/* ---- from the line to a slot ---- */

static bool is_comparison(const struct hf_request *q)
{
    return q->type == HF_MSG_FETCH && q->fetch.want == HF_WANT_RANGES;
}

static bool is_range(const struct hf_request *q)
{
    return q->type == HF_MSG_FETCH &&
           (q->fetch.want == HF_WANT_DELTA || q->fetch.want == HF_WANT_KEYS);
}

/* False while a chunk is being made that it can have. A chunk is newer than its job's beginning, so
 * one that is under way was begun with what is committed now, or nearly: should it be too old after
 * all, this one is next. */
static bool may_start(void *ctx, struct hf_waiting *w)
{
    struct hf_transfers *s = ctx;
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        const struct hf_transfer *t = &s->slot[i];
        if (t->busy && t->row == w->row && w->comparison && is_comparison(&t->q)) {
            return false; /* it reads much for little: one at a time */
        }
        if (t->busy && t->cached == NULL && is_range(&t->q) &&
            hf_range_name_eq(&t->name, &w->name)) {
            s->n.coalesced += !w->coalesced;
            w->coalesced = true;
            return false;
        }
    }
    return true;
}

static void drop(struct hf_transfers *s, const struct hf_waiting *w)
{
    const struct hf_slice none = {NULL, 0};
    respond(s, &w->asker, none, none);
}

/* The edge's row, if it may still have an answer under the keys that it asked with. */
static const struct hf_envelope_keys *keys_of(const struct hf_transfers *s,
                                              const struct hf_waiting *w)
{
    struct hf_enrolled *edge = hf_registry_by_key(s->cfg.registry, &w->edge_key);
    bool wanted = edge != NULL && edge->row == w->row && !edge->fact.revoked;
    return wanted ? hf_registry_envelope(s->cfg.registry, edge, s->cfg.id) : NULL;
}

/* With the newest content key, and nonces that were used for nothing. */
static void job_run(struct hf_transfers *s, struct hf_transfer *t)
{
    const struct hf_world *world = s->cfg.world;
    s->n.scans += is_range(&t->q) && t->cached == NULL;
    t->secret->content = *hf_keyring_newest(hf_registry_keys(s->cfg.registry));
    t->key_floor = hf_keyring_floor(hf_registry_keys(s->cfg.registry));
    world->random(world->ctx, t->reply_env.nonce, HF_NONCE_BYTES);
    world->random(world->ctx, t->chunk_nonce, HF_NONCE_BYTES);
    t->made = false;
    world->run(world->ctx, HF_LANE_POOL, &t->job);
}

static void slot_start(struct hf_transfers *s, struct hf_transfer *t, const struct hf_waiting *w)
{
    const struct hf_world *world = s->cfg.world;
    t->asker = w->asker;
    t->row = w->row;
    t->now = world->now(world->ctx);
    t->edge_key = w->edge_key;
    t->reply_env =
        (struct hf_envelope){.stream = s->cfg.stream, .sender = w->edge_key, .cookie = w->cookie};
    memcpy(t->asked_nonce, w->nonce, HF_NONCE_BYTES);
    t->name = w->name;
    enum hf_err err = hf_request_decode(hf_slice_of(t->name.bytes, t->name.len), &t->q);
    HF_ASSERT(err == HF_OK); /* it was encoded from one that decoded */
    t->asof_min = w->asof_min;
    t->cached = NULL;
    if (is_range(&t->q)) {
        uint32_t key_id = hf_keyring_newest(hf_registry_keys(s->cfg.registry))->id;
        t->cached = hf_cache_find(s->cache, &t->name, key_id, t->asof_min, t->row);
        s->n.cache_hits += t->cached != NULL;
    }
    t->busy = true;
    job_run(s, t);
}

static void request_start(struct hf_transfers *s, const struct hf_waiting *w)
{
    struct hf_request q;
    const struct hf_envelope_keys *keys = keys_of(s, w);
    enum hf_err err = hf_request_decode(hf_slice_of(w->name.bytes, w->name.len), &q);
    HF_ASSERT(err == HF_OK);
    struct hf_transfer *t = keys != NULL ? slot_pick(s, &q) : NULL;
    if (t == NULL || slot_ready(t) != HF_OK) {
        drop(s, w);
        return;
    }
    t->secret->keys = *keys;
    slot_start(s, t, w);
}

/* Gives free slots to those whose turn it is. */
static void slots_fill(struct hf_transfers *s)
{
    if (s->starting) {
        return;
    }
    s->starting = true;
    while (slot_free_one(s)) {
        struct hf_waiting *w = hf_queue_take(s->queue, may_start, s);
        if (w == NULL) {
            break;
        }
        request_start(s, w);
        hf_queue_give_back(s->queue, w);
    }
    s->starting = false;
}

/* What was written after a revocation must not be read with the key of before it: who was revoked
 * has that, and the chunk's bytes travel as they are, but for a file. */
static bool is_outdated(const struct hf_transfers *s, const struct hf_transfer *t)
{
    if (!t->made || is_for_a_file(&t->asker)) {
        return false;
    }
    const struct hf_content_key *due =
        hf_keyring_at(hf_registry_keys(s->cfg.registry), t->chunk.asof);
    return due != NULL && due->id > t->chunk.key_id;
}

static void done(struct hf_job *job)
{
    struct hf_transfer *t = (struct hf_transfer *)job;
    struct hf_transfers *s = t->owner;
    const struct hf_enrolled *edge = hf_registry_row(s->cfg.registry, t->row);
    /* It may have been revoked, or given another key, since it asked. Then there is no answer. */
    bool wanted = !edge->fact.revoked && hf_key_eq(&edge->fact.key, &t->edge_key);
    if (wanted && is_outdated(s, t)) {
        job_run(s, t);
        return;
    }
    memset(t->secret, 0, sizeof(*t->secret));
    t->busy = false;
    if (t->cached != NULL) {
        hf_cache_release(s->cache, t->cached);
        t->cached = NULL;
    }
    if (t->made) {
        hf_cache_put(s->cache, &t->name, &t->chunk, t->row);
    }
    struct hf_slice message = hf_slice_of(t->out, wanted ? t->out_len : 0);
    respond(s, &t->asker, hf_slice_of(t->plain, wanted ? t->plain_len : 0), message);
    slots_fill(s);
}

/* ---- for service.c ---- */

/* 0 means the newest state there was when it was asked. */
static hf_seq asof_of(const struct hf_transfers *s, const struct hf_request *q)
{
    if (is_comparison(q)) {
        return q->fetch.asof_min;
    }
    if (!is_range(q)) {
        return 0;
    }
    return q->fetch.asof_min != 0 ? q->fetch.asof_min : s->cfg.head->committed;
}

/* Several frames are none where the log does not have them all. */
static bool is_hole(const struct hf_transfers *s, hf_seq first, hf_seq last)
{
    hf_seq head = s->cfg.head->at.seq;
    last = last < head ? last : head;
    if (first >= last) {
        return true;
    }
    return first >= hf_changelog_first(s->cfg.log) &&
           hf_changelog_bytes(s->cfg.log, first, last) <= HOLE_BYTES;
}

bool hf_transfers_admit(struct hf_transfers *s, const struct hf_transfer_order *order,
                        uint32_t *wait_ms)
{
    const struct hf_request *q = order->request;
    bool log = q->type == HF_MSG_FETCH && q->fetch.want == HF_WANT_LOG;
    bool gone = log && q->fetch.first < hf_changelog_first(s->cfg.log); /* a word says so */
    bool heavy = is_range(q) || (log && !gone && !is_hole(s, q->fetch.first, q->fetch.last));
    hf_ms now = s->cfg.world->now(s->cfg.world->ctx);
    return !heavy ||
           hf_admission_ask(s->admission, order->edge->row, s->cfg.head->at.seq, now, wait_ms);
}

void hf_transfers_reported(struct hf_transfers *s, uint32_t row, const struct hf_report *r)
{
    if (r->transfer_base != 0) {
        return;
    }
    if (is_hole(s, r->applied + 1, UINT64_MAX)) {
        hf_admission_leave(s->admission, row);
    } else {
        hf_admission_has(s->admission, row, r->applied, s->cfg.world->now(s->cfg.world->ctx));
    }
}

void hf_transfers_revoked(struct hf_transfers *s, uint32_t row)
{
    hf_admission_leave(s->admission, row);
}

enum hf_err hf_transfers_start(struct hf_transfers *s, const struct hf_transfer_order *order)
{
    uint32_t row = order->edge->row;
    if (under_way(s, row) + hf_queue_count_of(s->queue, row) >= HF_TRANSFERS_PER_EDGE) {
        return HF_BUSY;
    }
    uint32_t before = hf_queue_count(s->queue);
    struct hf_waiting *w = hf_queue_put(s->queue, row);
    if (w == NULL) {
        return HF_BUSY;
    }
    w->asker = order->asker;
    w->edge_key = order->edge->fact.key;
    memcpy(w->nonce, order->asked->nonce, HF_NONCE_BYTES);
    w->cookie = order->cookie;
    w->asof_min = asof_of(s, order->request);
    w->comparison = is_comparison(order->request);
    hf_range_name(order->request, &s->name_key, &w->name);
    slots_fill(s);
    s->n.waited += hf_queue_count(s->queue) > before;
    return HF_OK;
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
    return hf_queue_count(s->queue) == 0;
}

void hf_transfers_counts(const struct hf_transfers *s, struct hf_transfers_counts *out)
{
    *out = s->n;
    hf_admission_counts(s->admission, s->cfg.world->now(s->cfg.world->ctx), &out->edges_placed,
                        &out->edges_waiting);
    out->waiting = hf_queue_count(s->queue);
    out->cache_bytes = hf_cache_bytes(s->cache);
}

struct hf_transfers *hf_transfers_new(const struct hf_transfers_config *c)
{
    struct hf_transfers *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->cfg = *c;
    s->density = HF_DENSITY_NONE;
    struct hf_slice secret = hf_slice_of(c->id->secret, HF_SECRET_BYTES);
    struct hf_hash name_key = hf_hash_of("holdfast/v1/range-name-key", &secret, 1);
    memcpy(s->name_key.b, name_key.b, HF_ID_BYTES);
    s->secret = hf_secret_new(HF_TRANSFERS_MAX * sizeof(*s->secret));
    s->planner = hf_planner_new();
    s->cache = hf_cache_new(HF_TRANSFERS_CACHE_BYTES);
    s->queue = hf_queue_new();
    s->admission = hf_admission_new(hf_registry_max(c->registry));
    if (s->secret == NULL || s->planner == NULL || s->cache == NULL || s->queue == NULL ||
        s->admission == NULL) {
        hf_transfers_free(s);
        return NULL;
    }
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        struct hf_transfer *t = &s->slot[i];
        t->owner = s;
        t->cfg = &s->cfg;
        t->head = &s->head;
        t->density = &s->density;
        t->planner = s->planner;
        t->secret = &s->secret[i];
        t->job = (struct hf_job){.work = work, .done = done};
    }
    return s;
}

void hf_transfers_free(struct hf_transfers *s)
{
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < HF_TRANSFERS_MAX; i++) {
        if (s->slot[i].cached != NULL) {
            hf_cache_release(s->cache, s->slot[i].cached); /* its job was lost in a crash */
        }
        slot_free(&s->slot[i]);
    }
    hf_cache_free(s->cache);
    hf_queue_free(s->queue);
    hf_admission_free(s->admission);
    hf_planner_free(s->planner);
    hf_secret_free(s->secret);
    free(s);
}
