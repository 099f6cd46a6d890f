/*
 * edge_box.h - an edge's driver over the real store and wire, against a core written for the test.
 *
 * The core keeps its state in a store of its own, makes signed and sealed frames of it, and answers
 * sealed requests; what it refuses is set by a test. Lanes run inline, in order, when the box is
 * told to; the clock moves when it is told to. The edge's directory outlives the edge, so a crash
 * is a close and an open.
 */
#ifndef HF_TESTS_EDGE_BOX_H
#define HF_TESTS_EDGE_BOX_H

#include "state_fixture.h"

#include "hf/bytes.h"
#include "hf/edge.h"

#include <zstd.h>

#define EDGE_FRAMES_MAX 256u
#define EDGE_REQUESTS_MAX 64u
#define EDGE_REPLY_BYTES (48u << 10)

struct asked {
    uint64_t id;
    struct hf_slice message; /* data is owned */
    struct hf_request q;     /* decoded by the core; borrows from plain */
    struct hf_envelope env;
    uint8_t plain[8192];
};

struct rig {
    /* ---- the core ---- */
    struct core *core;
    struct hf_identity core_id, edge_id, stranger_id;
    struct hf_envelope_keys *keys;
    uint8_t genesis[HF_GENESIS_MAX];
    size_t genesis_len;
    struct hf_id stream;
    struct hf_token token;
    struct hf_content_key key[4];    /* ids 1.. */
    uint32_t beacon_ms;              /* that HELLO says; 0 = nothing */
    uint32_t key_count;              /* how many exist */
    uint32_t keys_given;             /* how many HELLO hands out */
    uint8_t *frame[EDGE_FRAMES_MAX]; /* owned; whole messages, [seq] */
    size_t frame_len[EDGE_FRAMES_MAX];
    uint8_t *body[EDGE_FRAMES_MAX]; /* owned; sealed */
    size_t body_len[EDGE_FRAMES_MAX];
    uint64_t counter; /* of beacons */
    bool forked;      /* they are of another history */
    hf_seq log_floor;
    enum hf_plan_kind plan;
    size_t chunk_bytes;
    uint64_t plan_bytes;
    uint32_t parts;    /* that plans cut a range into */
    bool wants_cookie; /* answers with a cookie until it comes back */
    struct hf_id cookie;
    enum hf_err refuse;       /* every FETCH */
    uint32_t asked_count[16]; /* by hf_message_type */
    uint32_t wants[8];        /* by hf_want */
    bool proof_ok;            /* of the last JOIN */

    /* ---- the world ---- */
    struct hf_world world;
    struct hf_edge_config cfg;
    hf_ms now, wake_at;
    uint64_t x;
    struct hf_job *jobs, **jobs_end;
    struct asked *request[EDGE_REQUESTS_MAX];
    uint32_t request_count;
    uint32_t redials;
    hf_seq published;
    bool subscribed;
    char notes[65536];

    char *dir;
    struct hf_edge *edge;
};

/* ---- the world ---- */

static MAYBE_UNUSED hf_ms rig_now(void *ctx)
{
    return ((struct rig *)ctx)->now;
}

static MAYBE_UNUSED uint64_t rig_wall(void *ctx)
{
    (void)ctx;
    return 1;
}

static MAYBE_UNUSED void rig_random(void *ctx, void *buffer, size_t len)
{
    struct rig *rig = ctx;
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)buffer)[i] = (uint8_t)rng_next(&rig->x);
    }
}

static MAYBE_UNUSED void rig_lane(void *ctx, enum hf_lane lane, struct hf_job *job)
{
    struct rig *rig = ctx;
    (void)lane;
    job->next = NULL;
    *rig->jobs_end = job;
    rig->jobs_end = &job->next;
}

static MAYBE_UNUSED void rig_wake(void *ctx, hf_ms when)
{
    ((struct rig *)ctx)->wake_at = when;
}

static MAYBE_UNUSED void rig_note(void *ctx, enum hf_level level, const char *text)
{
    struct rig *rig = ctx;
    size_t have = strlen(rig->notes);
    (void)level;
    if (have + strlen(text) + 2 < sizeof(rig->notes)) {
        snprintf(rig->notes + have, sizeof(rig->notes) - have, "%s\n", text);
    }
}

static MAYBE_UNUSED void rig_request(void *ctx, uint64_t id, bool data, struct hf_slice message,
                                     hf_ms timeout_ms)
{
    (void)data;
    struct rig *rig = ctx;
    struct asked *a = calloc(1, sizeof(*a));
    uint8_t *copy = malloc(message.len);
    assert_true(timeout_ms > 0 && rig->request_count < EDGE_REQUESTS_MAX);
    memcpy(copy, message.data, message.len);
    a->id = id;
    a->message = hf_slice_of(copy, message.len);
    rig->request[rig->request_count++] = a;
}

static MAYBE_UNUSED void rig_redial(void *ctx, enum hf_channel channel)
{
    (void)channel;
    ((struct rig *)ctx)->redials++;
}

static MAYBE_UNUSED void rig_subscribe(void *ctx, const struct hf_id *stream)
{
    struct rig *rig = ctx;
    assert_true(hf_id_eq(stream, &rig->stream));
    rig->subscribed = true;
}

static MAYBE_UNUSED void rig_applied(void *ctx, hf_seq seq)
{
    struct rig *rig = ctx;
    assert_true(seq >= rig->published);
    rig->published = seq;
}

/* ---- the core: frames ---- */

static MAYBE_UNUSED void rig_genesis(struct rig *rig)
{
    struct hf_genesis g = {.stream = rig->stream,
                           .name = "main",
                           .epoch = 1,
                           .epoch_id = test_epoch,
                           .root = rig->core_id.public_key,
                           .key_list_version = 1,
                           .signer_count = 1,
                           .algorithms = HF_ALGORITHMS_V1};
    struct hf_position at = {.epoch_id = test_epoch};
    struct hf_lthash zero;
    struct hf_writer w;
    hf_lthash_clear(&zero);
    g.digest = hf_lthash_digest(&zero);
    g.signer[0] = (struct hf_signer){1, rig->core_id.public_key, 1, 0, UINT64_MAX};
    hf_writer_init(&w, rig->genesis, sizeof(rig->genesis));
    assert_ok(hf_genesis_sign(&g, rig->core_id.secret, &w));
    rig->genesis_len = w.len;
    assert_ok(hf_genesis_open(hf_writer_bytes(&w), &rig->core_id.public_key, &g, &at.chain));
    at.digest = g.digest;
    assert_ok(hf_state_genesis(rig->core->s, &at));
    assert_ok(hf_state_commit(rig->core->s));
}

static MAYBE_UNUSED void rig_add_key(struct rig *rig)
{
    struct hf_content_key *k = &rig->key[rig->key_count++];
    k->id = rig->key_count;
    k->from = hf_state_position(rig->core->s).seq + 1;
    rig_random(rig, k->key.b, sizeof(k->key.b));
}

/* Publishes one batch and returns its seq. With `alone` the message leaves the body out. */
static MAYBE_UNUSED hf_seq rig_batch(struct rig *rig, const struct hf_change *c, uint32_t n,
                                     bool alone)
{
    struct hf_state *s = rig->core->s;
    hf_seq seq = hf_state_position(s).seq + 1;
    const struct hf_content_key *key = &rig->key[rig->key_count - 1];
    size_t cap = HF_BODY_OVERHEAD;
    struct hf_header h;
    uint8_t header[HF_HEADER_MAX];
    uint8_t nonce[HF_NONCE_BYTES];
    struct hf_signature sig;
    struct hf_writer w;
    struct hf_writer sealed;
    assert_true(seq < EDGE_FRAMES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        bool changed;
        assert_ok(hf_state_upsert(s, seq, i, &c[i], &changed));
        assert_true(changed);
        cap += hf_change_bytes_max(&c[i]);
    }
    uint8_t *raw = malloc(cap);
    hf_writer_init(&w, raw, cap);
    hf_body_begin(&w, n);
    for (uint32_t i = 0; i < n; i++) {
        hf_body_change(&w, &c[i]);
    }
    hf_body_meta_begin(&w, 0);
    header_for(s, &h, header);
    h.change_count = n;
    h.key_list_version = 1;
    rig->body[seq] = malloc(w.len + HF_BODY_SEAL_OVERHEAD);
    hf_writer_init(&sealed, rig->body[seq], w.len + HF_BODY_SEAL_OVERHEAD);
    rig_random(rig, nonce, sizeof(nonce));
    assert_ok(
        hf_body_seal(&h, hf_writer_bytes(&w), key->id, &key->key, nonce, NULL, NULL, &sealed));
    rig->body_len[seq] = sealed.len;
    hf_writer_init(&w, header, sizeof(header));
    hf_header_encode(&h, &w);
    hf_header_sign(hf_writer_bytes(&w), rig->core_id.secret, &sig);
    assert_ok(hf_state_advance(s, &h, hf_writer_bytes(&w), &sig));
    assert_ok(hf_state_commit(s));
    struct hf_slice body = alone ? (struct hf_slice){NULL, 0} : hf_writer_bytes(&sealed);
    size_t size = HF_FRAME_OVERHEAD + w.len + body.len;
    struct hf_writer out;
    rig->frame[seq] = malloc(size);
    hf_writer_init(&out, rig->frame[seq], size);
    hf_frame_encode(&rig->stream, hf_writer_bytes(&w), &sig, body, &out);
    assert_false(out.failed);
    rig->frame_len[seq] = out.len;
    free(raw);
    return seq;
}

static MAYBE_UNUSED hf_seq rig_put(struct rig *rig, const char *key, const char *value)
{
    struct hf_change c = value == NULL ? del_of(key) : put_of(key, value);
    return rig_batch(rig, &c, 1, false);
}

static MAYBE_UNUSED void rig_puts(struct rig *rig, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count; i++) {
        char key[32];
        char value[32];
        snprintf(key, sizeof(key), "key/%u", i % 20);
        snprintf(value, sizeof(value), "value of %u", i);
        rig_put(rig, key, value);
    }
}

static MAYBE_UNUSED struct hf_slice rig_frame(const struct rig *rig, hf_seq seq)
{
    assert_non_null(rig->frame[seq]);
    return hf_slice_of(rig->frame[seq], rig->frame_len[seq]);
}

/* ---- the core: answers ---- */

static MAYBE_UNUSED struct hf_slice rig_sign_beacon(struct rig *rig, const uint8_t *nonce,
                                                    uint8_t out[HF_BEACON_MAX])
{
    struct hf_position at = hf_state_position(rig->core->s);
    struct hf_beacon b = {.epoch_id = at.epoch_id,
                          .head = at.seq,
                          .chain = at.chain,
                          .digest = at.digest,
                          .log_floor = rig->log_floor,
                          .key_list_version = 1,
                          .counter = ++rig->counter,
                          .has_nonce = nonce != NULL,
                          .signer_id = 1};
    struct hf_writer w;
    b.chain.b[0] ^= rig->forked;
    if (nonce != NULL) {
        b.nonce = hf_beacon_leaf(nonce);
    }
    hf_writer_init(&w, out, HF_BEACON_MAX);
    hf_beacon_sign(&b, rig->core_id.secret, &w);
    assert_false(w.failed);
    return hf_writer_bytes(&w);
}

static MAYBE_UNUSED void answer_log(struct rig *rig, const struct hf_fetch_request *q,
                                    struct hf_reply *p, struct hf_writer *data)
{
    hf_seq head = hf_state_position(rig->core->s).seq;
    if (q->first < rig->log_floor || q->first > head) {
        p->code = q->first > head ? HF_NOT_YET : HF_BELOW_FLOOR;
        return;
    }
    for (hf_seq seq = q->first; seq <= q->last && seq <= head; seq++) {
        if (data->len + rig->frame_len[seq] + 8 > EDGE_REPLY_BYTES) {
            break;
        }
        hf_fetch_put_frame(data, rig_frame(rig, seq));
        p->fetch.frame_count++;
        p->fetch.seq = seq;
    }
    p->fetch.frames = hf_writer_bytes(data);
}

static MAYBE_UNUSED void answer_body(struct rig *rig, const struct hf_fetch_request *q,
                                     struct hf_reply *p)
{
    size_t left = rig->body_len[q->first] - q->offset;
    p->fetch.seq = q->first;
    p->fetch.offset = q->offset;
    p->fetch.total = (uint32_t)rig->body_len[q->first];
    p->fetch.body = hf_slice_of(rig->body[q->first] + q->offset,
                                left < EDGE_REPLY_BYTES ? left : EDGE_REPLY_BYTES);
}

static MAYBE_UNUSED void answer_chunk(struct rig *rig, const struct hf_fetch_request *q,
                                      struct hf_reply *p, struct hf_writer *data)
{
    static struct answer a;
    static uint8_t descriptor[HF_DESCRIPTOR_MAX];
    uint8_t nonce[HF_NONCE_BYTES];
    struct hf_writer w;
    struct hf_chunk *c = &p->fetch.chunk;
    const struct hf_content_key *key = &rig->key[rig->key_count - 1];
    const struct hf_stage_part part = {
        .cursor = q->from,
        .until = {.seq = q->last, .ordinal = UINT32_MAX, .offset = HF_OFFSET_END, .key = q->until}};
    answer(rig->core, &part, q->want == HF_WANT_KEYS, rig->chunk_bytes, &a);
    p->code = a.code;
    if (a.code != HF_OK) {
        return;
    }
    *c = a.chunk;
    c->key_id = key->id;
    c->raw_bytes = (uint32_t)a.records.len;
    hf_writer_init(&w, descriptor, sizeof(descriptor));
    hf_chunk_describe(c, &w);
    c->descriptor = hf_writer_bytes(&w);
    rig_random(rig, nonce, sizeof(nonce));
    hf_chunk_seal(&key->key, nonce, c->descriptor, hf_writer_bytes(&a.records), data);
    assert_false(data->failed || w.failed);
    c->sealed = hf_writer_bytes(data);
}

/* Cuts the range into rig->parts parts: seqs, or the keys of rig_puts. */
static MAYBE_UNUSED void rig_split(struct rig *rig, struct hf_plan_reply *p)
{
    static const char *const key[] = {"key/1", "key/13", "key/18", "key/5", "key/7"};
    for (uint32_t i = 0; i + 1 < rig->parts && i < 5; i++) {
        p->split[i] = p->head * (i + 1) / rig->parts;
        p->split_key[i] = hf_slice_str(key[i]);
        p->split_count++;
    }
}

static MAYBE_UNUSED void answer_fetch(struct rig *rig, const struct hf_fetch_request *q,
                                      struct hf_reply *p, struct hf_writer *data)
{
    p->fetch.want = q->want;
    rig->wants[q->want]++;
    if (rig->refuse != HF_OK) {
        p->code = rig->refuse;
    } else if (q->want == HF_WANT_LOG) {
        answer_log(rig, q, p, data);
    } else if (q->want == HF_WANT_BODY) {
        answer_body(rig, q, p);
    } else {
        answer_chunk(rig, q, p, data);
    }
}

static MAYBE_UNUSED void answer_plain(struct rig *rig, const struct asked *a, struct hf_reply *p,
                                      struct hf_writer *data)
{
    static uint8_t beacon[HF_BEACON_MAX];
    struct hf_beacon_proof proof = {.signed_beacon = rig_sign_beacon(rig, a->env.nonce, beacon)};
    p->type = a->q.type;
    switch (a->q.type) {
    case HF_MSG_COOKIE:
        fail();
        break;
    case HF_MSG_JOIN:
    case HF_MSG_HELLO:
        p->hello.beacon = proof;
        p->hello.genesis = hf_slice_of(rig->genesis, rig->genesis_len);
        p->hello.key_count = rig->keys_given;
        memcpy(p->hello.key, rig->key, rig->keys_given * sizeof(rig->key[0]));
        p->hello.edge_name = hf_slice_str("lagos");
        p->hello.limits.beacon_ms = rig->beacon_ms;
        break;
    case HF_MSG_PLAN:
        p->plan.kind = rig->plan;
        p->plan.head = hf_state_position(rig->core->s).seq;
        p->plan.bytes = rig->plan_bytes;
        rig_split(rig, &p->plan);
        break;
    case HF_MSG_FETCH:
        answer_fetch(rig, &a->q.fetch, p, data);
        break;
    case HF_MSG_REPORT:
        p->report = proof;
        break;
    }
}

/* Opens a request as the core does. */
static MAYBE_UNUSED void rig_open(struct rig *rig, struct asked *a)
{
    struct hf_slice sealed;
    struct hf_writer w;
    assert_ok(hf_request_split(a->message, &a->env, &sealed));
    assert_true(hf_key_eq(&a->env.sender, &rig->edge_id.public_key));
    hf_writer_init(&w, a->plain, sizeof(a->plain));
    assert_ok(hf_request_open(&a->env, &rig->core_id.public_key, rig->keys, sealed, &w));
    assert_ok(hf_request_decode(hf_writer_bytes(&w), &a->q));
}

/* Seals p as the answer to a and hands it over. */
static MAYBE_UNUSED void rig_reply(struct rig *rig, const struct asked *a, const struct hf_reply *p)
{
    static uint8_t plain[HF_MESSAGE_MAX];
    static uint8_t message[HF_MESSAGE_MAX + HF_ENVELOPE_OVERHEAD];
    struct hf_writer w;
    struct hf_writer out;
    struct hf_envelope env = {
        .stream = rig->stream, .sender = rig->edge_id.public_key, .cookie = rig->cookie};
    rig_random(rig, env.nonce, sizeof(env.nonce));
    hf_writer_init(&w, plain, sizeof(plain));
    hf_reply_encode(p, &w);
    hf_writer_init(&out, message, sizeof(message));
    hf_reply_seal(&env, &rig->core_id.public_key, a->env.nonce, rig->keys, hf_writer_bytes(&w),
                  hf_reply_tail(p), &out);
    assert_false(w.failed || out.failed);
    hf_edge_on_reply(rig->edge, a->id, hf_writer_bytes(&out));
}

static MAYBE_UNUSED void rig_answer(struct rig *rig, struct asked *a)
{
    static uint8_t bytes[HF_MESSAGE_MAX];
    struct hf_writer data;
    struct hf_reply p = {.type = HF_MSG_COOKIE};
    rig_open(rig, a);
    hf_writer_init(&data, bytes, sizeof(bytes));
    if (rig->wants_cookie && !hf_id_eq(&a->env.cookie, &rig->cookie)) {
        rig->asked_count[HF_MSG_COOKIE]++;
        p.counter = 1000;
    } else {
        rig->asked_count[a->q.type]++;
        if (a->q.type == HF_MSG_JOIN) {
            struct hf_hash v = hf_token_verifier(rig->token.secret);
            struct hf_hash proof = hf_token_proof(&v, &rig->edge_id.public_key,
                                                  &rig->core_id.public_key, a->env.nonce);
            rig->proof_ok = hf_hash_eq(&proof, &a->q.join.proof);
        }
        answer_plain(rig, a, &p, &data);
    }
    rig_reply(rig, a, &p);
}

/* ---- turning the wheel ---- */

/* The oldest job, which is no longer queued; NULL when there is none. */
static MAYBE_UNUSED struct hf_job *rig_next_job(struct rig *rig)
{
    struct hf_job *job = rig->jobs;
    if (job != NULL) {
        rig->jobs = job->next;
        rig->jobs_end = rig->jobs == NULL ? &rig->jobs : rig->jobs_end;
    }
    return job;
}

static MAYBE_UNUSED void rig_jobs(struct rig *rig)
{
    for (struct hf_job *job; (job = rig_next_job(rig)) != NULL;) {
        job->work(job);
        job->done(job);
    }
}

/* The oldest request, which the caller frees with asked_free; NULL when there is none. */
static MAYBE_UNUSED struct asked *rig_take(struct rig *rig)
{
    if (rig->request_count == 0) {
        return NULL;
    }
    struct asked *a = rig->request[0];
    rig->request_count--;
    for (size_t i = 0; i < rig->request_count; i++) {
        rig->request[i] = rig->request[i + 1];
    }
    return a;
}

static MAYBE_UNUSED void asked_free(struct asked *a)
{
    free((void *)(uintptr_t)a->message.data);
    free(a);
}

/* Runs jobs and answers requests until there are none. */
static MAYBE_UNUSED void rig_pump(struct rig *rig)
{
    struct asked *a;
    rig_jobs(rig);
    while ((a = rig_take(rig)) != NULL) {
        rig_answer(rig, a);
        asked_free(a);
        rig_jobs(rig);
    }
}

static MAYBE_UNUSED void rig_tick(struct rig *rig, hf_ms ms)
{
    rig->now += ms;
    rig->wake_at = hf_edge_on_tick(rig->edge, rig->now);
    rig_jobs(rig);
}

/* 10 ms, and the answer to the oldest request if there is one; what becomes of it waits. */
static MAYBE_UNUSED void rig_answer_one(struct rig *rig)
{
    rig_tick(rig, 10);
    struct asked *a = rig_take(rig);
    if (a != NULL) {
        rig_answer(rig, a);
        asked_free(a);
    }
}

/* Answers all up to the next request for KEYS, which the caller gets in place of an answer. */
static MAYBE_UNUSED struct asked *rig_keys_asked(struct rig *rig)
{
    for (int i = 0; i < 1000; i++) {
        rig_tick(rig, 10);
        struct asked *a = rig_take(rig);
        if (a == NULL) {
            continue;
        }
        rig_open(rig, a);
        if (a->q.type == HF_MSG_FETCH && a->q.fetch.want == HF_WANT_KEYS) {
            return a;
        }
        rig_answer(rig, a);
        asked_free(a);
        rig_jobs(rig);
    }
    fail_msg("no request for KEYS");
    return NULL;
}

/* ms go by in which the core answers at once; with a beacon each second if it is `live`. */
static MAYBE_UNUSED void rig_pass(struct rig *rig, hf_ms ms)
{
    for (hf_ms end = rig->now + ms; rig->now < end;) {
        rig_tick(rig, 10);
        rig_pump(rig);
    }
}

static MAYBE_UNUSED void rig_stream(struct rig *rig, hf_seq seq)
{
    hf_edge_on_message(rig->edge, rig_frame(rig, seq));
}

static MAYBE_UNUSED void rig_beacon(struct rig *rig)
{
    uint8_t message[HF_PREFIX_BYTES + HF_BEACON_MAX];
    uint8_t beacon[HF_BEACON_MAX];
    struct hf_writer w;
    struct hf_slice b = rig_sign_beacon(rig, NULL, beacon);
    hf_writer_init(&w, message, sizeof(message));
    hf_prefix_write(&w, HF_KIND_BEACON, &rig->stream);
    hf_write_raw(&w, b.data, b.len);
    hf_edge_on_message(rig->edge, hf_writer_bytes(&w));
}

static MAYBE_UNUSED struct hf_replica_status rig_status(struct rig *rig)
{
    struct hf_replica_status s;
    hf_edge_status(rig->edge, rig->now, &s);
    return s;
}

static MAYBE_UNUSED uint64_t rig_dropped(struct rig *rig)
{
    struct hf_edge_info info;
    hf_edge_info(rig->edge, &info);
    return info.dropped;
}

/* ---- life ---- */

static MAYBE_UNUSED enum hf_err rig_try_open(struct rig *rig, struct hf_error *e)
{
    return hf_edge_open(&rig->cfg, &rig->world, &rig->edge_id, &rig->edge, e);
}

static MAYBE_UNUSED void rig_start(struct rig *rig)
{
    struct hf_error e = {HF_OK, ""};
    if (rig_try_open(rig, &e) != HF_OK) {
        fail_msg("edge: %s", e.text);
    }
    rig_jobs(rig);
}

static MAYBE_UNUSED void rig_forget_requests(struct rig *rig)
{
    struct asked *a;
    while ((a = rig_take(rig)) != NULL) {
        asked_free(a);
    }
}

/* The process dies: what is under way ends or not, as the disk would have it; here it ends. */
static MAYBE_UNUSED void rig_crash(struct rig *rig)
{
    hf_edge_abandon(rig->edge);
    rig_jobs(rig);
    hf_edge_close(rig->edge);
    rig->edge = NULL;
    rig_forget_requests(rig);
    rig->published = 0;
}

static MAYBE_UNUSED void rig_connect(struct rig *rig)
{
    hf_edge_on_link(rig->edge, HF_CHANNEL_STREAM, true);
    hf_edge_on_link(rig->edge, HF_CHANNEL_CONTROL, true);
    rig_pass(rig, 200);
}

static MAYBE_UNUSED int rig_setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    uint8_t seed[32] = {7};
    assert_ok(hf_crypto_init());
    rig->x = 42;
    rig->now = 5000;
    rig->jobs_end = &rig->jobs;
    rig->stream = (struct hf_id){{0x51, 0x0a}};
    rig->cookie = (struct hf_id){{0xc0, 0x0c}};
    rig->log_floor = 1;
    rig->plan = HF_PLAN_LOG;
    rig->chunk_bytes = 200;
    rig->plan_bytes = 1000;
    assert_ok(hf_identity_from_seed(&rig->core_id, seed));
    seed[1] = 1;
    assert_ok(hf_identity_from_seed(&rig->edge_id, seed));
    seed[1] = 2;
    assert_ok(hf_identity_from_seed(&rig->stranger_id, seed));
    rig->keys = hf_secret_new(sizeof(*rig->keys));
    assert_ok(hf_envelope_derive(&rig->core_id, &rig->edge_id.public_key, rig->keys));
    rig->core = calloc(1, sizeof(*rig->core));
    rig->core->dir = scratch_new();
    rig->core->s = open_store(rig->core->dir);
    rig_genesis(rig);
    rig_add_key(rig);
    rig->keys_given = 1;
    rig->dir = scratch_new();
    rig->world = (struct hf_world){.ctx = rig,
                                   .now = rig_now,
                                   .wall_ms = rig_wall,
                                   .random = rig_random,
                                   .run = rig_lane,
                                   .wake_at = rig_wake,
                                   .note = rig_note,
                                   .request = rig_request,
                                   .redial = rig_redial,
                                   .subscribe = rig_subscribe};
    rig->cfg = (struct hf_edge_config){.dir = rig->dir,
                                       .version = "test",
                                       .core_key = rig->core_id.public_key,
                                       .map_bytes = 64u << 20,
                                       .ctx = rig,
                                       .on_applied = rig_applied};
    hf_replica_defaults(&rig->cfg.replica);
    *state = rig;
    return 0;
}

/* How many proofs of a fork the store keeps, each signed by the core and of the seq that its name
 * says (kept.c): headers, or beacons. */
static MAYBE_UNUSED uint32_t rig_evidence(struct rig *rig)
{
    const struct hf_slice prefix = hf_slice_str("evidence/");
    struct hf_slice name = {NULL, 0};
    struct hf_slice bytes;
    struct hf_view *v;
    uint32_t count = 0;
    assert_ok(hf_view_open(hf_edge_state(rig->edge), &v));
    for (; hf_view_next_object(v, prefix, name, &name, &bytes) == HF_OK; count++) {
        hf_seq seq = hf_load64_be(name.data + prefix.len);
        if (name.len > prefix.len + 8) {
            struct hf_beacon b;
            assert_ok(hf_beacon_decode(bytes, &b));
            assert_true(hf_beacon_verify(bytes, &rig->core_id.public_key));
            assert_int_equal(b.head, seq);
            continue;
        }
        struct hf_slice header;
        struct hf_signature sig;
        struct hf_header h;
        assert_ok(hf_signed_split(bytes, HF_HEADER_MAX, &header, &sig));
        assert_true(hf_header_verify(header, &sig, &rig->core_id.public_key));
        assert_ok(hf_header_decode(header, &h));
        assert_int_equal(h.seq, seq);
    }
    hf_view_close(v);
    return count;
}

/* An empty edge meets a core of 100 keys, whose log no longer begins with them. */
static MAYBE_UNUSED void rig_begin_snapshot(struct rig *rig)
{
    rig->plan = HF_PLAN_SNAPSHOT;
    rig_start(rig);
    rig_connect(rig);
    rig_puts(rig, 0, 100);
    rig->log_floor = 90;
    rig_beacon(rig);
}

/* Answers what the edge asks, one at a time, until a transferred state is visible; the most parts
 * of it that were asked for at once. */
static MAYBE_UNUSED uint32_t rig_transfer(struct rig *rig)
{
    uint32_t most = 0;
    rig->notes[0] = '\0';
    for (int step = 0; strstr(rig->notes, "transferred state is visible") == NULL; step++) {
        uint32_t open = 0;
        assert_true(step < 2000);
        rig_tick(rig, 10);
        for (uint32_t i = 0; i < rig->request_count; i++) {
            rig_open(rig, rig->request[i]);
            open += rig->request[i]->q.type == HF_MSG_FETCH &&
                    rig->request[i]->q.fetch.want >= HF_WANT_DELTA;
        }
        most = open > most ? open : most;
        rig_answer_one(rig);
        rig_jobs(rig);
    }
    return most;
}

static MAYBE_UNUSED int rig_teardown(void **state)
{
    struct rig *rig = *state;
    if (rig->edge != NULL) {
        rig_crash(rig);
    }
    for (uint32_t i = 0; i < EDGE_FRAMES_MAX; i++) {
        free(rig->frame[i]);
        free(rig->body[i]);
    }
    core_free(rig->core);
    hf_secret_free(rig->keys);
    hf_identity_free(&rig->core_id);
    hf_identity_free(&rig->edge_id);
    hf_identity_free(&rig->stranger_id);
    scratch_remove(rig->dir);
    free(rig->dir);
    free(rig);
    return 0;
}

#endif
