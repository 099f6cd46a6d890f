/*
 * import.c - applies a carry file to the store of an edge whose daemon does not run.
 *
 * The records are replies of the control channel, so they are opened, verified, applied and staged
 * by the same functions as those: session.c adopts a HELLO, slots.c verifies frames, the state
 * compares the digest of each batch and of the switch. Only the order is simpler: what the file
 * says next is next. PROTOCOL.md section 13.
 *
 * Invariant: whether the file suits this edge is known before the store is touched, but for another
 * history of the same epoch, which shows in what it brings (history.c), before it is visible. LOG
 * records are a transaction each, at whole batches; DELTA and SNAPSHOT are staged and become
 * visible with the one that ends the file, so a crash in between leaves the old state, and a
 * failure drops the stage.
 *
 * It must not send, or trust anything that the pinned core key did not sign. Next: carried.c.
 */
#include "edge/import.h"

#include "edge/carried.h"
#include "edge/driver_impl.h"
#include "edge/history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PROGRESS_S 2

struct import {
    struct hf_edge *edge;
    struct carried file;
    struct hf_error *e;
    struct hf_reply reply; /* of the record under way; borrows from plain */
    uint8_t plain[HF_MESSAGE_MAX];
    struct slot slot; /* the frame under way; a large one over some records */
    bool body_comes;  /* slot is one of those */
    bool staging;
    bool switched;
    struct hf_chunk chunk; /* the one under way, from where this edge has nothing of it */
    struct hf_records records;
    struct hf_sum sum;
    time_t told_at;
};

static enum hf_err refuse(struct import *im, enum hf_err code, const char *what)
{
    /* What a function below said already is more exact. */
    if (im->e->code != HF_OK) {
        return im->e->code;
    }
    code = code == HF_ARG ? HF_MALFORMED : code; /* records in an order that makes no sense */
    return hf_error_set(im->e, code, "%s (record %" PRIu64 ", batch %" PRIu64 "): %s", what,
                        im->file.index, im->slot.frame.h.seq, hf_err_text(code));
}

/* ---- the world: nothing but lanes that run at once ---- */

static void world_run(void *ctx, enum hf_lane lane, struct hf_job *job)
{
    (void)ctx;
    (void)lane;
    job->work(job);
    job->done(job);
}

static void world_subscribe(void *ctx, const struct hf_id *stream)
{
    (void)ctx;
    (void)stream;
}

/* ---- frames ---- */

/* Stages the frame, if it is above the stage, and switches with the last of the file. */
static enum hf_err frame_stage(struct import *im)
{
    struct hf_state *s = im->edge->state;
    const struct hf_frame *f = &im->slot.frame;
    struct hf_body body = im->slot.opened;
    struct hf_stage stage;
    hf_state_stage_get(s, &stage);
    enum hf_err err = HF_OK;
    if (f->h.seq > stage.tail) {
        err = hf_state_stage_frame(s, f, &body);
    }
    if (err != HF_OK || f->h.seq < im->file.head.last) {
        return err;
    }
    err = hf_state_stage_switch(s, f);
    err = err == HF_OK ? hf_state_inbox_del(s, 0, f->h.seq) : err;
    im->switched = err == HF_OK;
    return err;
}

static enum hf_err frame_apply(struct import *im)
{
    struct hf_state *s = im->edge->state;
    const struct hf_frame *f = &im->slot.frame;
    struct hf_body body = im->slot.opened;
    struct hf_position at = hf_state_position(s);
    if (f->h.seq != at.seq + 1) {
        return HF_MALFORMED;
    }
    if (!hf_hash_eq(&f->h.prev, &at.chain)) {
        return HF_FORK; /* inside of the file: history_frame has seen to where it begins */
    }
    enum hf_err err = hf_state_apply_batch(s, f, &body);
    return err == HF_OK ? hf_state_inbox_del(s, 0, f->h.seq) : err;
}

/* A whole frame, or one whose header is all that is needed. */
static enum hf_err frame_use(struct import *im)
{
    slot_prepare(im->edge, &im->slot);
    enum hf_err err = slot_verify(&im->slot);
    if (err != HF_OK) {
        return err;
    }
    return im->staging ? frame_stage(im) : frame_apply(im);
}

/* Whether the store has it already, or the stage does: a file may begin below where this edge is.
 */
static bool frame_known(const struct import *im, hf_seq seq)
{
    struct hf_stage stage;
    if (!im->staging) {
        return seq <= hf_state_position(im->edge->state).seq;
    }
    hf_state_stage_get(im->edge->state, &stage);
    return seq < stage.tail;
}

static enum hf_err frame_take(struct import *im, struct hf_slice message)
{
    struct hf_id stream;
    slot_clear(&im->slot);
    im->slot.message = malloc(message.len);
    if (im->slot.message == NULL) {
        return HF_NOMEM;
    }
    memcpy(im->slot.message, message.data, message.len);
    enum hf_err err =
        hf_frame_decode(hf_slice_of(im->slot.message, message.len), &stream, &im->slot.frame);
    if (err == HF_UPGRADE) {
        im->slot.upgrade = true;
        err = HF_OK;
    }
    if (err == HF_OK && !hf_id_eq(&stream, &im->edge->stream)) {
        err = HF_MISMATCH;
    }
    err = err == HF_OK ? history_frame(im->edge, &im->slot.frame, im->e) : err;
    if (err != HF_OK || frame_known(im, im->slot.frame.h.seq)) {
        return err;
    }
    struct hf_stage stage;
    hf_state_stage_get(im->edge->state, &stage);
    bool decides = im->staging && im->slot.frame.h.seq == stage.tail;
    im->body_comes = im->slot.frame.body.data == NULL && !decides;
    return im->body_comes ? HF_OK : frame_use(im);
}

/* One record of LOG is one transaction. */
static enum hf_err log_once(void *arg)
{
    struct import *im = arg;
    struct hf_slice rest = im->reply.fetch.frames;
    struct hf_slice message;
    enum hf_err err = HF_OK;
    while (err == HF_OK && hf_fetch_next_frame(&rest, &message)) {
        err = frame_take(im, message);
    }
    return err == HF_OK ? hf_state_commit(im->edge->state) : err;
}

static enum hf_err body_once(void *arg)
{
    struct import *im = arg;
    enum hf_err err = frame_use(im);
    return err == HF_OK ? hf_state_commit(im->edge->state) : err;
}

static enum hf_err body_take(struct import *im)
{
    const struct hf_fetch_reply *p = &im->reply.fetch;
    struct slot *s = &im->slot;
    if (!im->body_comes) {
        return HF_OK; /* of a frame that was known */
    }
    enum hf_err err = p->seq == s->frame.h.seq ? slot_body_add(s, p) : HF_MALFORMED;
    if (err != HF_OK || s->frame.body.data == NULL) {
        return err;
    }
    im->body_comes = false;
    return with_room(im->edge->state, body_once, im);
}

/* ---- ranges and chunks ---- */

static enum hf_err drop_once(void *arg)
{
    struct import *im = arg;
    return stage_drop(im->edge->state);
}

static enum hf_err plan_once(void *arg)
{
    struct import *im = arg;
    struct hf_state *s = im->edge->state;
    const struct hf_plan_reply *p = &im->reply.plan;
    const struct hf_stage_splits whole = {.count = 0};
    struct hf_position at = hf_state_position(s);
    enum hf_err err = im->staging ? hf_state_stage_target_whole(s, p->head)
                                  : hf_state_stage_begin(s, p->kind, &at, p->head, &whole);
    return err == HF_OK ? hf_state_commit(s) : err;
}

/* A range is announced. One that ends below this edge has nothing for it. */
static enum hf_err plan_take(struct import *im)
{
    const struct hf_plan_reply *p = &im->reply.plan;
    enum hf_err err = HF_OK;
    if (!im->staging) {
        /* Whatever the daemon had staged is behind what comes now. */
        err = with_room(im->edge->state, drop_once, im);
    }
    bool needed = p->kind == HF_PLAN_SNAPSHOT ||
                  (p->kind == HF_PLAN_DELTA && p->head > hf_state_position(im->edge->state).seq);
    if (err != HF_OK || (!needed && !im->staging)) {
        return err;
    }
    err = with_room(im->edge->state, plan_once, im);
    im->staging |= err == HF_OK;
    return err;
}

/* A DELTA from below where this edge is: what it has is left out, and the chunk begins here. False:
 * all of it is known. */
static bool chunk_trim(struct hf_chunk *c, const struct hf_stage *stage, struct hf_records *records)
{
    const struct hf_bound *cursor = &stage->part[0].cursor;
    if (c->want != HF_WANT_DELTA || c->from.seq >= cursor->seq) {
        return true;
    }
    if (c->to.seq <= cursor->seq) {
        return false;
    }
    struct hf_records ahead = *records;
    struct hf_record rec;
    while (hf_records_next(&ahead, &rec) && rec.seq <= cursor->seq) {
        *records = ahead;
    }
    c->from = *cursor;
    return true;
}

static enum hf_err chunk_once(void *arg)
{
    struct import *im = arg;
    struct hf_state *s = im->edge->state;
    enum hf_err err = hf_state_stage_chunk(s, 0, &im->chunk, &im->records, &im->sum);
    return err == HF_OK ? hf_state_commit(s) : err;
}

static enum hf_err chunk_stage(struct import *im)
{
    struct hf_stage stage;
    enum hf_err err = history_records(im->edge, &im->chunk, im->records, im->e);
    hf_state_stage_get(im->edge->state, &stage);
    if (err != HF_OK || !chunk_trim(&im->chunk, &stage, &im->records)) {
        return err;
    }
    hf_records_sum(&im->records, &im->sum);
    return with_room(im->edge->state, chunk_once, im);
}

static enum hf_err chunk_take(struct import *im)
{
    const struct hf_chunk *c = &im->reply.fetch.chunk;
    const struct hf_key *key = content_key(im->edge, c->key_id);
    struct hf_writer raw;
    if (!im->staging) {
        return HF_OK; /* of a range that has nothing for this edge */
    }
    enum hf_err err = key == NULL ? HF_SEALED : chunk_open(im->edge, c, key, &raw);
    if (err != HF_OK) {
        return err;
    }
    im->chunk = *c;
    hf_records_open(&im->records, hf_writer_bytes(&raw));
    err = chunk_stage(im);
    free(raw.data);
    return err;
}

/* A value changed while it was read in pieces; what is newer comes further down. */
static enum hf_err skip_once(void *arg)
{
    struct import *im = arg;
    struct hf_stage stage;
    hf_state_stage_get(im->edge->state, &stage);
    bool inside = stage.part_count > 0 && stage.part[0].cursor.offset != HF_OFFSET_END;
    if (!im->staging || !inside) {
        return HF_OK;
    }
    enum hf_err err = hf_state_stage_skip(im->edge->state, 0);
    return err == HF_OK ? hf_state_commit(im->edge->state) : err;
}

/* ---- HELLO ---- */

static void on_adopted(struct hf_edge *edge, struct adoption *a, enum hf_err code)
{
    if (code == HF_OK) {
        adoption_take(edge, a);
    }
    *(enum hf_err *)(uintptr_t)a->request = code;
}

static enum hf_err hello_take(struct import *im)
{
    enum hf_err code = HF_NOMEM;
    struct adoption *a = calloc(1, sizeof(*a));
    if (a == NULL) {
        return HF_NOMEM;
    }
    enum hf_err err = im->reply.hello.genesis.len > HF_GENESIS_MAX
                          ? HF_MALFORMED
                          : adoption_prepare(im->edge, &im->reply.hello, a);
    if (err != HF_OK) {
        adoption_free(a);
        return err;
    }
    /* The lane runs at once, and this frame outlives it. */
    a->request = (uint64_t)(uintptr_t)&code;
    a->done = on_adopted;
    storing_adopt(im->edge, a);
    return code;
}

/* ---- records ---- */

static enum hf_err record_open(struct import *im, struct hf_slice message)
{
    struct hf_edge *edge = im->edge;
    struct hf_envelope env;
    struct hf_writer w;
    hf_writer_init(&w, im->plain, sizeof(im->plain));
    enum hf_err err = hf_reply_open(message, &edge->cfg.core_key, &edge->id->public_key,
                                    im->file.head.nonce, edge->keys, &env, &w);
    if (err != HF_OK) {
        return err;
    }
    struct hf_id cookie = hf_carry_cookie(im->file.index - 1);
    if (!hf_id_eq(&env.cookie, &cookie) || !hf_id_eq(&env.stream, &im->file.head.stream)) {
        return HF_MALFORMED;
    }
    return hf_reply_decode(hf_writer_bytes(&w), &im->reply);
}

static enum hf_err record_take(struct import *im)
{
    const struct hf_reply *r = &im->reply;
    struct hf_state *s = im->edge->state;
    if (r->type == HF_MSG_FETCH && r->code == HF_MOVED) {
        return with_room(s, skip_once, im);
    }
    if (r->code != HF_OK) {
        return HF_MALFORMED;
    }
    if (r->type == HF_MSG_HELLO) {
        return hello_take(im);
    }
    if (!im->edge->has_genesis || (r->type != HF_MSG_PLAN && r->type != HF_MSG_FETCH)) {
        return HF_MALFORMED;
    }
    if (r->type == HF_MSG_PLAN) {
        return plan_take(im);
    }
    switch (r->fetch.want) {
    case HF_WANT_LOG:
        return with_room(s, log_once, im);
    case HF_WANT_BODY:
        return body_take(im);
    case HF_WANT_DELTA:
    case HF_WANT_KEYS:
        return chunk_take(im);
    case HF_WANT_RANGES:
        return HF_MALFORMED; /* an answer, but no material */
    }
    HF_UNREACHABLE();
}

static void tell_progress(struct import *im)
{
    time_t now = time(NULL);
    if (now - im->told_at >= PROGRESS_S) {
        im->told_at = now;
        fprintf(stderr, "importing: %.0f %% of %" PRIu64 " bytes, at batch %" PRIu64 "\n",
                100 * (double)im->file.at / (double)im->file.head.bytes, im->file.head.bytes,
                hf_state_position(im->edge->state).seq);
    }
}

static enum hf_err records_take(struct import *im)
{
    struct hf_slice message;
    enum hf_err err = HF_OK;
    im->told_at = time(NULL);
    while ((err = carried_next(&im->file, &message, im->e)) == HF_OK) {
        err = record_open(im, message);
        if (err != HF_OK) {
            return refuse(im, err, "the file cannot be opened with this edge's key");
        }
        err = record_take(im);
        if (err != HF_OK) {
            return refuse(im, err, "the file cannot be applied");
        }
        tell_progress(im);
    }
    if (err != HF_NOTFOUND) {
        return err;
    }
    bool reached = hf_state_position(im->edge->state).seq == im->file.head.last;
    return reached && (!im->staging || im->switched)
               ? HF_OK
               : refuse(im, HF_MALFORMED, "the file ends before the batch that it promises");
}

/* It ends where this edge is: in the same batch? */
static enum hf_err ends_alike(struct import *im)
{
    struct hf_slice message;
    enum hf_err err = HF_OK;
    while (err == HF_OK && (err = carried_next(&im->file, &message, im->e)) == HF_OK) {
        err = record_open(im, message);
        const struct hf_reply *r = &im->reply;
        bool frames = err == HF_OK && r->type == HF_MSG_FETCH && r->code == HF_OK &&
                      r->fetch.want == HF_WANT_LOG;
        struct hf_slice rest = r->fetch.frames;
        while (err == HF_OK && frames && hf_fetch_next_frame(&rest, &message)) {
            struct hf_id stream;
            struct hf_frame f;
            bool good = hf_frame_decode(message, &stream, &f) == HF_OK;
            err = good ? history_frame(im->edge, &f, im->e) : HF_OK;
        }
    }
    return err == HF_NOTFOUND ? HF_OK : refuse(im, err, "the file cannot be read");
}

/* ---- does it suit this edge ---- */

static enum hf_err key_check(const struct import *im, struct hf_error *e)
{
    const struct hf_carry_head *h = &im->file.head;
    char theirs[2 * HF_KEY_BYTES + 1];
    char own[2 * HF_KEY_BYTES + 1];
    if (hf_key_eq(&h->edge, &im->edge->id->public_key)) {
        return HF_OK;
    }
    hf_hex(h->edge.b, HF_KEY_BYTES, theirs);
    hf_hex(im->edge->id->public_key.b, HF_KEY_BYTES, own);
    return hf_error_set(e, HF_MISMATCH,
                        "the file is for the edge %s with key %s; this edge has the key %s",
                        h->name, theirs, own);
}

static enum hf_err position_check(const struct import *im, struct hf_error *e)
{
    const struct hf_edge *edge = im->edge;
    const struct hf_carry_head *h = &im->file.head;
    hf_seq at = edge->position.seq;
    uint64_t epoch = edge->has_genesis ? edge->genesis.epoch : h->epoch;
    if (edge->has_genesis && !hf_id_eq(&h->stream, &edge->stream)) {
        return hf_error_set(e, HF_MISMATCH, "the file is of another stream than this edge's '%s'",
                            edge->genesis.name);
    }
    if (edge->has_genesis && !hf_id_eq(&h->epoch_id, &edge->genesis.epoch_id)) {
        return hf_error_set(e, HF_MISMATCH,
                            "the file is of epoch %" PRIu64 ", this edge is in epoch %" PRIu64
                            " of another history",
                            h->epoch, epoch);
    }
    if (h->kind != HF_PLAN_SNAPSHOT && h->first > at) {
        return hf_error_set(e, HF_MISMATCH,
                            "the file begins at %" PRIu64 ", this edge is at %" PRIu64
                            ": on the core, holdfast export --for %s --since %" PRIu64 ":%" PRIu64
                            " FILE",
                            h->first, at, h->name, epoch, at);
    }
    if (h->last < at) {
        return hf_error_set(e, HF_MISMATCH,
                            "the file is older than this edge: it ends at %" PRIu64
                            ", this edge is at %" PRIu64,
                            h->last, at);
    }
    return HF_OK;
}

/* ---- run ---- */

static struct hf_edge *edge_new(const struct edge_import *c, const struct hf_identity *id)
{
    struct hf_edge *edge = calloc(1, sizeof(*edge));
    if (edge == NULL) {
        return NULL;
    }
    edge->cfg.dir = c->dir;
    edge->cfg.core_key = c->core_key;
    edge->cfg.map_bytes = c->map_bytes;
    edge->id = id;
    edge->world.run = world_run;
    edge->world.subscribe = world_subscribe;
    return edge;
}

static enum hf_err apply(struct import *im, struct hf_error *e)
{
    hf_seq from = im->edge->position.seq;
    hf_seq last = im->file.head.last;
    if (from == last) {
        if (ends_alike(im) != HF_OK) {
            return e->code;
        }
        printf("nothing to do: this edge is at batch %" PRIu64 " already\n", from);
        return HF_OK;
    }
    enum hf_err err = records_take(im);
    hf_seq at = hf_state_position(im->edge->state).seq;
    if (err != HF_OK) {
        if (im->staging) {
            (void)with_room(im->edge->state, drop_once, im);
        }
        return hf_error_wrap(e, "this edge is at batch %" PRIu64 "%s", at,
                             at == from ? " as before" : "");
    }
    (void)with_room(im->edge->state, drop_once, im); /* what the switch left behind */
    printf("applied %" PRIu64 " -> %" PRIu64 ", digest ok\n", from, at);
    return HF_OK;
}

enum hf_err edge_import_run(const struct edge_import *c, const struct hf_identity *id,
                            struct hf_error *e)
{
    struct import *im = calloc(1, sizeof(*im));
    if (im == NULL) {
        return hf_error_set(e, HF_NOMEM, "out of memory");
    }
    im->e = e;
    im->edge = edge_new(c, id);
    enum hf_err err = im->edge == NULL ? hf_error_set(e, HF_NOMEM, "out of memory")
                                       : carried_open(&im->file, c->path, &c->core_key, e);
    err = err == HF_OK ? key_check(im, e) : err;
    err = err == HF_OK ? edge_open_store(im->edge, e) : err;
    err = err == HF_OK ? position_check(im, e) : err;
    err = err == HF_OK ? apply(im, e) : err;
    slot_clear(&im->slot);
    carried_close(&im->file);
    hf_edge_close(im->edge);
    free(im);
    return err;
}
