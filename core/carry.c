/*
 * carry.c - what goes into a carry file, and in which order; PROTOCOL.md section 13.
 *
 * The records are the replies that the edge would get if it asked: HELLO (genesis, content keys),
 * PLAN, then LOG and BODY, or DELTA and KEYS, all made by the readers of transfer.c and sealed for
 * this edge. As in a transfer over the link, the state goes on while chunks are read, so a DELTA or
 * SNAPSHOT closes with the batches from its last range to the largest asof, the last of which is
 * the frame whose digest decides; a PLAN record announces each range.
 *
 * A token is where this stands, in msgpack. It is not secret and not signed: it comes back from a
 * client of the core's own socket, and every number in it is checked before it is used.
 *
 * Invariant: a content key or dictionary that a record needs is in a HELLO record before it, also
 * when a new one comes in the middle. Must not: read the store on the owner's thread. Next:
 * edge/import.c.
 */
#include "core/carry.h"

#include "core/driver_impl.h"
#include "core/hello.h"
#include "core/transfer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TOKEN_FIELDS 18u

enum phase {
    PHASE_PLAN = 0, /* a PLAN record is due, for the range up to `target` */
    PHASE_LOG,      /* frames at..last, the last of all ends the file */
    PHASE_BODY,     /* of frame `at`, from `offset` */
    PHASE_KEYS,
    PHASE_DELTA,
    PHASE_END,
};

struct carry {
    char name[HF_NAME_MAX + 1];
    struct hf_key edge;
    uint8_t nonce[HF_NONCE_BYTES];
    uint64_t index; /* of the next record */
    hf_seq since;
    enum hf_plan_kind kind;
    uint64_t bytes; /* price */
    enum phase phase;
    uint32_t key_id;   /* the newest content key that the file has; 0 = none */
    hf_seq dictionary; /* the same of dictionaries */
    hf_seq at, last;   /* of LOG and BODY */
    uint32_t offset;
    hf_seq covered; /* ranges are complete up to here */
    hf_seq target;  /* of the range that is read */
    hf_seq asof;    /* the largest */
    bool keys_done;
    struct hf_bound from;
    uint8_t key[HF_STORE_KEY_MAX]; /* of from */
};

struct step { /* a step under way */
    struct hf_core *core;
    struct carry c;
    hf_carry_done *done;
    void *ctx;
    struct hf_reply reply; /* to what was asked of the readers; borrows from them */
    uint8_t token[HF_CARRY_TOKEN_MAX];
    uint8_t out[HF_MESSAGE_MAX];
    uint8_t plain[HF_MESSAGE_MAX];
    uint8_t dictionaries[HF_HELLO_ROOM];
};

/* ---- tokens ---- */

static struct hf_slice token_write(const struct carry *c, uint8_t out[HF_CARRY_TOKEN_MAX])
{
    struct hf_writer w;
    hf_writer_init(&w, out, HF_CARRY_TOKEN_MAX);
    hf_write_array(&w, TOKEN_FIELDS);
    hf_write_bin(&w, hf_slice_str(c->name));
    hf_write_fixed(&w, c->edge.b, HF_KEY_BYTES);
    hf_write_fixed(&w, c->nonce, HF_NONCE_BYTES);
    hf_write_uint(&w, c->index);
    hf_write_uint(&w, c->since);
    hf_write_uint(&w, (uint64_t)c->kind);
    hf_write_uint(&w, c->bytes);
    hf_write_uint(&w, (uint64_t)c->phase);
    hf_write_uint(&w, c->key_id);
    hf_write_uint(&w, c->dictionary);
    hf_write_uint(&w, c->at);
    hf_write_uint(&w, c->last);
    hf_write_uint(&w, c->offset);
    hf_write_uint(&w, c->covered);
    hf_write_uint(&w, c->target);
    hf_write_uint(&w, c->asof);
    hf_write_uint(&w, c->keys_done);
    hf_write_array(&w, 4);
    hf_write_uint(&w, c->from.seq);
    hf_write_uint(&w, c->from.ordinal);
    hf_write_uint(&w, c->from.offset);
    hf_write_bin(&w, c->from.key);
    HF_ASSERT(!w.failed);
    return hf_writer_bytes(&w);
}

/* c->from borrows from c afterwards. */
static bool token_read(struct hf_slice token, struct carry *c)
{
    struct hf_reader r;
    memset(c, 0, sizeof(*c));
    hf_reader_init(&r, token);
    hf_read_array(&r, TOKEN_FIELDS, TOKEN_FIELDS);
    struct hf_slice name = hf_read_bin(&r, HF_NAME_MAX);
    hf_read_fixed(&r, c->edge.b, HF_KEY_BYTES);
    hf_read_fixed(&r, c->nonce, HF_NONCE_BYTES);
    c->index = hf_read_uint(&r, HF_CARRY_RECORDS_MAX - 1);
    c->since = hf_read_uint(&r, HF_SEQ_MAX);
    c->kind = (enum hf_plan_kind)hf_read_uint(&r, HF_PLAN_SNAPSHOT);
    c->bytes = hf_read_uint(&r, HF_SEQ_MAX);
    c->phase = (enum phase)hf_read_uint(&r, PHASE_END);
    c->key_id = (uint32_t)hf_read_uint(&r, UINT32_MAX);
    c->dictionary = hf_read_uint(&r, HF_SEQ_MAX);
    c->at = hf_read_uint(&r, HF_SEQ_MAX);
    c->last = hf_read_uint(&r, HF_SEQ_MAX);
    c->offset = (uint32_t)hf_read_uint(&r, UINT32_MAX);
    c->covered = hf_read_uint(&r, HF_SEQ_MAX);
    c->target = hf_read_uint(&r, HF_SEQ_MAX);
    c->asof = hf_read_uint(&r, HF_SEQ_MAX);
    c->keys_done = hf_read_uint(&r, 1) == 1;
    hf_read_array(&r, 4, 4);
    c->from.seq = hf_read_uint(&r, HF_SEQ_MAX);
    c->from.ordinal = (uint32_t)hf_read_uint(&r, UINT32_MAX);
    c->from.offset = (uint32_t)hf_read_uint(&r, UINT32_MAX);
    struct hf_slice key = hf_read_bin(&r, HF_STORE_KEY_MAX);
    bool beyond = c->phase == PHASE_DELTA && (c->from.seq > c->target || key.len > 0);
    if (!hf_reader_done(&r) || !hf_name_valid(name) || beyond) {
        return false;
    }
    memcpy(c->name, name.data, name.len);
    if (key.len > 0) {
        memcpy(c->key, key.data, key.len);
    }
    c->from.key = hf_slice_of(c->key, key.len);
    return true;
}

/* ---- answers ---- */

__attribute__((format(printf, 4, 5))) static void
step_end(struct step *s, enum hf_err code, struct hf_slice message, const char *format, ...)
{
    struct hf_carry_result r = {.code = code, .message = message};
    va_list args;
    va_start(args, format);
    vsnprintf(r.text, sizeof(r.text), format, args);
    va_end(args);
    if (code == HF_OK) {
        r.token = token_write(&s->c, s->token);
    }
    s->done(s->ctx, &r);
    free(s);
}

static void step_fail(struct step *s, enum hf_err code)
{
    step_end(s, code, hf_slice_of(NULL, 0), "%s", hf_err_text(code));
}

static struct hf_enrolled *edge_of(const struct step *s)
{
    struct hf_enrolled *e = hf_registry_by_name(s->core->registry, s->c.name);
    bool same = e != NULL && !e->fact.revoked && hf_key_eq(&e->fact.key, &s->c.edge);
    return same ? e : NULL;
}

static void step_revoked(struct step *s)
{
    step_end(s, HF_REVOKED, hf_slice_of(NULL, 0), "the edge was revoked");
}

/* Whom the readers of the store gave no answer was revoked meanwhile, or it cannot be read. */
static void step_unanswered(struct step *s)
{
    if (edge_of(s) == NULL) {
        step_revoked(s);
    } else {
        step_end(s, HF_IO, hf_slice_of(NULL, 0), "the core cannot read its store now");
    }
}

/* Seals a reply that needs nothing of the store, as the next record. */
static void step_reply(struct step *s, const struct hf_envelope_keys *keys,
                       const struct hf_reply *reply)
{
    struct hf_writer plain;
    struct hf_writer out;
    hf_writer_init(&plain, s->plain, sizeof(s->plain));
    hf_reply_encode(reply, &plain);
    struct hf_envelope env = {.stream = s->core->writer.genesis.stream,
                              .sender = s->c.edge,
                              .cookie = hf_carry_cookie(s->c.index)};
    s->core->world.random(s->core->world.ctx, env.nonce, HF_NONCE_BYTES);
    hf_writer_init(&out, s->out, sizeof(s->out));
    hf_reply_seal(&env, &s->core->id->public_key, s->c.nonce, keys, hf_writer_bytes(&plain), 0,
                  &out);
    HF_ASSERT(!plain.failed && !out.failed);
    s->c.index++;
    step_end(s, HF_OK, hf_writer_bytes(&out), "%s", "");
}

/* ---- records that are made here ---- */

static hf_seq dictionary_newest(const struct hf_core *core)
{
    hf_seq seq[HF_DICTIONARIES_MAX];
    uint32_t count = hf_dictionaries_list(core->writer.dictionaries, seq);
    while (count > 0 && seq[count - 1] > core->head.at.seq) {
        count--; /* not durable yet */
    }
    return count > 0 ? seq[count - 1] : 0;
}

/* Content keys, and the dictionaries behind those that the file has; if a HELLO has no room for all
 * of them, the next record is one, too. */
static void hello_fill(struct step *s, hf_seq first, struct hf_hello_reply *p)
{
    struct hf_core *core = s->core;
    struct hf_dictionaries *t = core->writer.dictionaries;
    struct hf_hello_request have = {.dictionary_count = 0};
    hf_seq seq[HF_DICTIONARIES_MAX];
    hf_seq newest = dictionary_newest(core);
    uint32_t count = hf_dictionaries_list(t, seq);
    while (have.dictionary_count < count && seq[have.dictionary_count] <= s->c.dictionary) {
        have.dictionary[have.dictionary_count] = seq[have.dictionary_count];
        have.dictionary_count++;
    }
    hf_hello_fill(hf_registry_keys(core->registry), t, &have, first, core->head.at.seq,
                  s->dictionaries, p);
    uint32_t behind = have.dictionary_count + p->dictionary_count;
    s->c.dictionary = p->dictionary_count > 0 && behind < count ? seq[behind - 1] : newest;
}

static void hello_record(struct step *s, const struct hf_envelope_keys *keys,
                         const struct hf_content_key *newest)
{
    struct hf_core *core = s->core;
    struct hf_reply *reply = calloc(1, sizeof(*reply));
    if (reply == NULL) {
        step_fail(s, HF_NOMEM);
        return;
    }
    hf_seq floor = hf_changelog_first(core->writer.log);
    hf_seq first = s->c.since + 1 > floor ? s->c.since + 1 : floor;
    reply->type = HF_MSG_HELLO;
    reply->hello.genesis =
        hf_slice_of(core->writer.genesis_signed.data, core->writer.genesis_signed.len);
    hello_fill(s, first, &reply->hello);
    reply->hello.edge_name = hf_slice_str(s->c.name);
    s->c.key_id = newest->id;
    step_reply(s, keys, reply);
    free(reply);
}

/* Announces a range, and turns to reading it. */
static void plan_record(struct step *s, const struct hf_envelope_keys *keys)
{
    struct carry *c = &s->c;
    struct hf_reply reply;
    memset(&reply, 0, sizeof(reply));
    reply.type = HF_MSG_PLAN;
    reply.plan.kind = c->keys_done ? HF_PLAN_DELTA : c->kind;
    reply.plan.bytes = c->bytes;
    reply.plan.head = c->target;
    c->from = (struct hf_bound){
        .seq = c->covered, .ordinal = UINT32_MAX, .offset = HF_OFFSET_END, .key = c->from.key};
    c->from.key.len = 0;
    if (c->kind == HF_PLAN_LOG) {
        c->phase = PHASE_LOG;
    } else if (c->kind == HF_PLAN_SNAPSHOT && !c->keys_done) {
        c->phase = PHASE_KEYS;
        c->from.seq = 0;
        c->from.ordinal = 0;
    } else {
        c->phase = PHASE_DELTA;
    }
    step_reply(s, keys, &reply);
}

/* ---- what follows from a record ---- */

/* A range is complete: another, the batches up to the largest asof, or the one frame that decides.
 */
static void range_ended(const struct step *s, struct carry *c)
{
    bool first_of_two = c->kind == HF_PLAN_SNAPSHOT && !c->keys_done;
    if (!first_of_two) {
        c->covered = c->target;
    }
    c->keys_done = true;
    c->last = c->asof;
    c->at = c->asof > c->covered ? c->covered + 1 : c->covered;
    c->phase = PHASE_LOG;
    /* What changed while KEYS were read is a DELTA: each key once, and no matter how long it took.
     */
    bool in_log = c->at >= hf_changelog_first(s->core->writer.log);
    if ((first_of_two && c->asof > c->covered) || !in_log) {
        c->phase = PHASE_PLAN;
        c->target = c->asof;
    }
}

/* Whether the last frame of the reply is one whose body comes separately. */
static bool is_alone(const struct hf_fetch_reply *p)
{
    struct hf_slice rest = p->frames;
    struct hf_slice message = {NULL, 0};
    struct hf_id stream;
    struct hf_frame f;
    while (hf_fetch_next_frame(&rest, &message)) {
    }
    return hf_frame_decode(message, &stream, &f) == HF_OK && f.body.data == NULL;
}

static void frames_ended(struct carry *c, const struct hf_fetch_reply *p)
{
    bool decides = c->kind != HF_PLAN_LOG && c->at == c->covered; /* its header is enough */
    c->at = p->seq + 1;
    if (is_alone(p) && !decides) {
        c->at = p->seq;
        c->offset = 0;
        c->phase = PHASE_BODY;
    } else if (c->at > c->last) {
        c->phase = PHASE_END;
    }
}

static void chunk_ended(const struct step *s, struct carry *c, const struct hf_fetch_reply *p)
{
    c->asof = p->chunk.asof > c->asof ? p->chunk.asof : c->asof;
    if (p->chunk.end) {
        range_ended(s, c);
        return;
    }
    c->from = p->chunk.to;
    if (p->chunk.to.key.len > 0) {
        memcpy(c->key, p->chunk.to.key.data, p->chunk.to.key.len);
    }
    c->from.key.data = c->key;
}

static void body_ended(struct carry *c, const struct hf_fetch_reply *p)
{
    c->offset = p->offset + (uint32_t)p->body.len;
    if (c->offset >= p->total) {
        c->at++;
        c->phase = c->at > c->last ? PHASE_END : PHASE_LOG;
    }
}

/* The log was trimmed past what closes the transfer: one range more, and it has moved on. */
static bool trimmed_meanwhile(const struct carry *c, enum hf_err code)
{
    return code == HF_BELOW_FLOOR && c->kind != HF_PLAN_LOG && c->phase <= PHASE_BODY &&
           c->asof > c->covered;
}

static void on_fetched(void *ctx, struct hf_slice plain, struct hf_slice message)
{
    struct step *s = ctx;
    struct carry *c = &s->c;
    struct hf_reply *reply = &s->reply;
    const struct hf_fetch_reply *p = &reply->fetch;
    if (message.len == 0) {
        step_unanswered(s);
        return;
    }
    enum hf_err err = hf_reply_decode(plain, reply);
    if (err != HF_OK) {
        step_fail(s, err);
        return;
    }
    if (reply->code == HF_NOT_YET) {
        step_fail(s, HF_BUSY); /* the core is replaying what it could not commit */
        return;
    }
    bool chunk = c->phase == PHASE_KEYS || c->phase == PHASE_DELTA;
    if (chunk && reply->code == HF_OK && p->chunk.key_id != c->key_id) {
        step_fail(s, HF_BUSY); /* the key changed in the line: the next step brings the new one */
        return;
    }
    if (trimmed_meanwhile(c, reply->code)) {
        c->phase = PHASE_PLAN;
        c->target = c->asof;
        step_end(s, HF_OK, hf_slice_of(NULL, 0), "%s", "");
        return;
    }
    if (reply->code == HF_MOVED) {
        c->from.offset = HF_OFFSET_END;
    } else if (reply->code != HF_OK) {
        step_end(s, reply->code, hf_slice_of(NULL, 0),
                 reply->code == HF_BELOW_FLOOR
                     ? "what was being exported is not kept any more; export again"
                     : "%s",
                 hf_err_text(reply->code));
        return;
    } else if (c->phase == PHASE_LOG) {
        frames_ended(c, p);
    } else if (c->phase == PHASE_BODY) {
        body_ended(c, p);
    } else {
        chunk_ended(s, c, p);
    }
    c->index++;
    step_end(s, HF_OK, message, "%s", "");
}

/* Whether an edge could have asked this: what a client made of a token need not make sense. */
static bool is_request(struct step *s, const struct hf_request *q)
{
    struct hf_request *back = calloc(1, sizeof(*back));
    struct hf_writer w;
    hf_writer_init(&w, s->plain, sizeof(s->plain));
    hf_request_encode(q, &w);
    bool good = back != NULL && !w.failed && hf_request_decode(hf_writer_bytes(&w), back) == HF_OK;
    free(back);
    return good;
}

static void fetch(struct step *s, const struct hf_enrolled *edge)
{
    const struct carry *c = &s->c;
    struct hf_envelope asked = {.sender = c->edge};
    struct hf_request q = {.type = HF_MSG_FETCH};
    memcpy(asked.nonce, c->nonce, HF_NONCE_BYTES);
    q.fetch.epoch_id = s->core->writer.genesis.epoch_id;
    q.fetch.from = c->from;
    if (c->phase == PHASE_LOG || c->phase == PHASE_BODY) {
        q.fetch.want = c->phase == PHASE_LOG ? HF_WANT_LOG : HF_WANT_BODY;
        q.fetch.first = c->at;
        q.fetch.last = c->last;
        q.fetch.offset = c->offset;
        q.fetch.from.key.len = 0;
    } else {
        q.fetch.want = c->phase == PHASE_KEYS ? HF_WANT_KEYS : HF_WANT_DELTA;
        q.fetch.last = c->phase == PHASE_KEYS ? 0 : c->target;
        q.fetch.asof_min = c->target; /* what the stage needs */
    }
    if (!is_request(s, &q)) {
        step_end(s, HF_ARG, hf_slice_of(NULL, 0), "not a token of this core");
        return;
    }
    struct hf_transfer_order order = {.edge = edge,
                                      .request = &q,
                                      .asked = &asked,
                                      .cookie = hf_carry_cookie(c->index),
                                      .asker = {.answer = on_fetched, .ctx = s}};
    enum hf_err err = hf_transfers_start(hf_service_transfers(s->core->service), &order);
    if (err != HF_OK) {
        step_fail(s, err);
    }
}

/* ---- begin ---- */

static void on_planned(void *ctx, struct hf_slice plain, struct hf_slice message)
{
    struct step *s = ctx;
    struct carry *c = &s->c;
    const struct hf_plan_reply *p = &s->reply.plan;
    if (message.len == 0) {
        step_unanswered(s);
        return;
    }
    enum hf_err err = hf_reply_decode(plain, &s->reply);
    err = err == HF_OK ? s->reply.code : err;
    if (err != HF_OK) {
        step_fail(s, err == HF_NOT_YET ? HF_BUSY : err);
        return;
    }
    if (p->kind == HF_PLAN_NONE) {
        step_end(s, HF_NOTFOUND, hf_slice_of(NULL, 0),
                 "nothing is missing: the core is at batch %" PRIu64 " too", p->head);
        return;
    }
    c->kind = p->kind;
    c->bytes = p->bytes;
    c->target = p->head;
    c->covered = p->kind == HF_PLAN_SNAPSHOT ? p->head : c->since;
    c->at = c->since + 1;
    c->last = p->head;
    step_end(s, HF_OK, hf_slice_of(NULL, 0), "%.*s", (int)p->reason.len,
             (const char *)p->reason.data);
}

static struct step *step_new(struct hf_core *core, hf_carry_done *done, void *ctx)
{
    struct step *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        struct hf_carry_result r = {.code = HF_NOMEM, .text = "out of memory"};
        done(ctx, &r);
        return NULL;
    }
    s->core = core;
    s->done = done;
    s->ctx = ctx;
    return s;
}

static void plan(struct step *s, const struct hf_enrolled *edge)
{
    struct hf_envelope asked = {.sender = s->c.edge};
    struct hf_request q = {.type = HF_MSG_PLAN};
    q.plan.epoch_id = s->core->writer.genesis.epoch_id;
    q.plan.applied = s->c.since;
    struct hf_transfer_order order = {
        .edge = edge, .request = &q, .asked = &asked, .asker = {.answer = on_planned, .ctx = s}};
    enum hf_err err = hf_transfers_start(hf_service_transfers(s->core->service), &order);
    if (err != HF_OK) {
        step_fail(s, err);
    }
}

void hf_core_carry_begin(struct hf_core *core, const struct hf_carry_ask *ask, hf_carry_done *done,
                         void *ctx)
{
    const struct hf_slice none = {NULL, 0};
    struct hf_enrolled *edge = hf_registry_by_name(core->registry, ask->edge);
    struct step *s = step_new(core, done, ctx);
    if (s == NULL) {
        return;
    }
    if (edge == NULL || edge->fact.revoked) {
        step_end(s, HF_NOTFOUND, none, "no edge of this name is enrolled: holdfast edge list");
        return;
    }
    if (ask->has_since && ask->epoch != core->writer.genesis.epoch) {
        step_end(s, HF_ARG, none, "this core is in epoch %" PRIu64 ", not %" PRIu64,
                 core->writer.genesis.epoch, ask->epoch);
        return;
    }
    if (ask->has_since && ask->since > core->head.at.seq) {
        step_end(s, HF_ARG, none, "this core is at batch %" PRIu64 ", behind %" PRIu64,
                 core->head.at.seq, ask->since);
        return;
    }
    memcpy(s->c.name, edge->fact.name, sizeof(s->c.name));
    s->c.edge = edge->fact.key;
    s->c.since = ask->has_since ? ask->since : 0;
    s->c.from.offset = HF_OFFSET_END;
    core->world.random(core->world.ctx, s->c.nonce, HF_NONCE_BYTES);
    plan(s, edge);
}

/* ---- next and end ---- */

void hf_core_carry_next(struct hf_core *core, struct hf_slice token, hf_carry_done *done, void *ctx)
{
    struct step *s = step_new(core, done, ctx);
    if (s == NULL) {
        return;
    }
    if (!token_read(token, &s->c)) {
        step_end(s, HF_ARG, hf_slice_of(NULL, 0), "not a token of this core");
        return;
    }
    struct hf_enrolled *edge = edge_of(s);
    const struct hf_envelope_keys *keys =
        edge == NULL ? NULL : hf_registry_envelope(core->registry, edge, core->id);
    const struct hf_content_key *newest = hf_keyring_newest(hf_registry_keys(core->registry));
    if (keys == NULL) {
        step_revoked(s);
    } else if (s->c.phase == PHASE_END) {
        step_end(s, HF_OK, hf_slice_of(NULL, 0), "%s", "");
    } else if (s->c.key_id != newest->id || s->c.dictionary < dictionary_newest(core)) {
        hello_record(s, keys, newest);
    } else if (s->c.phase == PHASE_PLAN) {
        plan_record(s, keys);
    } else {
        fetch(s, edge);
    }
}

enum hf_err hf_core_carry_end(struct hf_core *core, struct hf_slice token,
                              const struct hf_carry_head *written, uint8_t out[HF_CARRY_HEAD_BYTES],
                              const char **text)
{
    struct carry c;
    *text = "not the token of a finished export";
    if (!token_read(token, &c) || c.phase != PHASE_END || c.index != written->records) {
        return HF_ARG;
    }
    struct hf_carry_head h = *written;
    h.stream = core->writer.genesis.stream;
    h.epoch_id = core->writer.genesis.epoch_id;
    h.epoch = core->writer.genesis.epoch;
    h.core = core->id->public_key;
    h.edge = c.edge;
    memcpy(h.name, c.name, sizeof(h.name));
    memcpy(h.nonce, c.nonce, HF_NONCE_BYTES);
    h.kind = c.kind;
    h.first = c.kind == HF_PLAN_SNAPSHOT ? 0 : c.since;
    h.last = c.last;
    enum hf_err err = hf_carry_head_sign(&h, core->id->secret, out);
    if (err == HF_OK) {
        hf_core_note(core, HF_LEVEL_INFO,
                     "carry: exported to a file edge=%s first=%" PRIu64 " last=%" PRIu64
                     " bytes=%" PRIu64,
                     h.name, h.first, h.last, h.bytes);
    }
    return err;
}
