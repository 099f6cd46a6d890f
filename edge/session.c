/*
 * session.c - the edge's side of the control channel: requests sealed, replies opened and unpacked.
 *
 * A request is bound to one reply by its nonce, and to the core's present boot by its cookie; a
 * COOKIE reply is answered by sending the same request again with the new cookie and counter,
 * unseen by the engine. t0 of a request is taken before it is handed to the transport (G8). What a
 * reply brings is handed to the engine as events: first frames and beacons, then the REPLY itself.
 *
 * Nothing in a reply is trusted before the envelope opened; beacons and frames inside carry
 * signatures of their own, which are checked as if they had come over the stream. PROTOCOL.md
 * sections 6 and 7.
 */
#include "edge/driver_impl.h"

#include <stdlib.h>

#define COOKIE_TRIES 3u
/* Connections that are made ahead for an edge that was cut off; the others as its width grows. With
 * all that it may have, 200 edges that returned made 3,200 at one moment, and nng choked on those
 * that ended. */
#define EXPECTED 4u

enum hf_err session_init(struct hf_edge *edge, struct hf_error *e)
{
    edge->keys = hf_secret_new(sizeof(*edge->keys));
    if (edge->keys == NULL) {
        return hf_error_set(e, HF_NOMEM, "edge: no guarded memory for keys");
    }
    enum hf_err err = hf_envelope_derive(edge->id, &edge->cfg.core_key, edge->keys);
    return err == HF_OK ? HF_OK : hf_error_set(e, HF_ARG, "the core key is not a valid key");
}

void session_deinit(struct hf_edge *edge)
{
    hf_secret_free(edge->keys);
    edge->keys = NULL;
}

/* ---- sending ---- */

static void fill_hello(struct hf_edge *edge, struct hf_view *v, struct hf_hello_request *q)
{
    struct hf_applied a;
    *q = (struct hf_hello_request){.wire_min = HF_WIRE_VERSION,
                                   .wire_max = HF_WIRE_VERSION,
                                   .version = hf_slice_str(edge->cfg.version)};
    q->dictionary_count = hf_dictionaries_list(edge->dictionaries, q->dictionary);
    if (edge->has_genesis && v != NULL) {
        hf_view_applied(v, &a);
        q->applied = a.at.seq;
        q->header = a.header;
        q->signature = a.signature;
        q->epoch_id = a.at.epoch_id;
    }
}

static void fill_report(struct hf_edge *edge, struct hf_report *q)
{
    struct hf_replica_status s;
    hf_ms now = edge->world.now(edge->world.ctx);
    hf_replica_status(edge->replica, now, &s);
    *q = (struct hf_report){.epoch_id = edge->position.epoch_id,
                            .applied = edge->position.seq,
                            .received = s.received,
                            .digest = edge->position.digest,
                            .store_state = (uint32_t)s.store_state,
                            .staleness_ms = s.staleness_ms,
                            .applied_total = edge->applied_changes,
                            .received_bytes = edge->received_bytes,
                            .transfer_base = s.transfer_base,
                            .transfer_done = s.transfer_done,
                            .transfer_total = s.transfer_total,
                            .uptime_ms = (uint64_t)(now - edge->opened_at),
                            .hole_count = s.hole_count,
                            .holes_total = s.holes_total,
                            .version = hf_slice_str(edge->cfg.version)};
    q->received = q->received > q->applied ? q->received : q->applied;
    memcpy(q->hole, s.hole, sizeof(q->hole));
}

static void fill_fetch(struct hf_edge *edge, const struct hf_replica_effect *fx,
                       struct hf_fetch_request *q)
{
    *q = (struct hf_fetch_request){
        .epoch_id = edge->position.epoch_id, .first = fx->first, .last = fx->last};
    if (fx->kind == HF_REPRQ_RANGES) {
        compare_fill(edge, q);
        return;
    }
    if (fx->kind == HF_REPRQ_LOG) {
        q->want = HF_WANT_LOG;
    } else if (fx->kind == HF_REPRQ_BODY) {
        /* What is held is the truth: a reply may have come after the engine gave its request up. */
        const struct slot *s = slots_by_seq(edge, fx->first);
        q->want = HF_WANT_BODY;
        q->offset = s == NULL ? 0 : (uint32_t)s->body_have;
        if (s != NULL && s->body_have == s->frame.h.body_bytes) {
            q->offset--; /* whole, but the engine missed that: the last byte again tells it */
        }
    } else {
        q->want = fx->kind == HF_REPRQ_DELTA ? HF_WANT_DELTA : HF_WANT_KEYS;
        HF_ASSERT(fx->part < edge->staged.stage.part_count);
        const struct hf_stage_part *part = &edge->staged.stage.part[fx->part];
        q->first = 0;
        q->from = part->cursor;
        q->until = part->until.key;
        q->last = fx->kind == HF_REPRQ_DELTA ? part->until.seq : 0;
        q->asof_min =
            fx->kind == HF_REPRQ_DELTA ? edge->staged.stage.target : edge->staged.stage.keys_head;
    }
    q->data_max = fx->data_max;
}

/* The plain text of a request; v may be NULL. */
static void fill(struct hf_edge *edge, const struct pending *p, struct hf_view *v,
                 struct hf_request *q)
{
    const struct hf_replica_effect *fx = &p->effect;
    struct hf_hash verifier;
    *q = (struct hf_request){.counter = ++edge->counter};
    switch (fx->kind) {
    case HF_REPRQ_NONE:
        HF_UNREACHABLE();
    case HF_REPRQ_JOIN:
        q->type = HF_MSG_JOIN;
        verifier = hf_token_verifier(edge->token.secret);
        q->join.token = edge->token.id;
        q->join.proof =
            hf_token_proof(&verifier, &edge->id->public_key, &edge->cfg.core_key, p->nonce);
        q->join.name = hf_slice_str(edge->token.name);
        q->join.version = hf_slice_str(edge->cfg.version);
        break;
    case HF_REPRQ_HELLO:
        q->type = HF_MSG_HELLO;
        fill_hello(edge, v, &q->hello);
        break;
    case HF_REPRQ_PLAN:
        q->type = HF_MSG_PLAN;
        q->plan.epoch_id = edge->position.epoch_id;
        q->plan.applied = edge->position.seq;
        break;
    case HF_REPRQ_LOG:
    case HF_REPRQ_BODY:
    case HF_REPRQ_DELTA:
    case HF_REPRQ_KEYS:
    case HF_REPRQ_RANGES:
        q->type = HF_MSG_FETCH;
        fill_fetch(edge, fx, &q->fetch);
        break;
    case HF_REPRQ_REPORT:
        q->type = HF_MSG_REPORT;
        fill_report(edge, &q->report);
        break;
    }
}

static void transmit(struct hf_edge *edge, struct pending *p)
{
    uint8_t plain[4096];
    uint8_t message[sizeof(plain) + HF_ENVELOPE_OVERHEAD];
    struct hf_writer w;
    struct hf_writer out;
    struct hf_request q;
    struct hf_view *v = NULL;
    struct hf_envelope env = {
        .stream = edge->stream, .sender = edge->id->public_key, .cookie = edge->cookie};
    edge->world.random(edge->world.ctx, p->nonce, sizeof(p->nonce));
    memcpy(env.nonce, p->nonce, sizeof(env.nonce));
    if (p->effect.kind == HF_REPRQ_HELLO && hf_view_open(edge->state, &v) != HF_OK) {
        v = NULL;
    }
    fill(edge, p, v, &q);
    hf_writer_init(&w, plain, sizeof(plain));
    hf_request_encode(&q, &w);
    if (v != NULL) {
        hf_view_close(v);
    }
    HF_ASSERT(!w.failed);
    hf_writer_init(&out, message, sizeof(message));
    hf_request_seal(&env, &edge->cfg.core_key, edge->keys, hf_writer_bytes(&w), &out);
    HF_ASSERT(!out.failed);
    p->t0 = edge->world.now(edge->world.ctx);
    if (p->effect.expect && edge->world.expect != NULL) {
        uint32_t most = edge->cfg.replica.fetch_max;
        edge->world.expect(edge->world.ctx, most < EXPECTED ? most : EXPECTED);
    }
    edge->world.request(edge->world.ctx, p->id, q.type == HF_MSG_FETCH, hf_writer_bytes(&out),
                        p->effect.timeout_ms);
}

void session_send(struct hf_edge *edge, const struct hf_replica_effect *fx)
{
    struct pending *p = NULL;
    /* When none is free, the oldest that the engine gave up makes room. */
    for (uint32_t i = 0; i < EDGE_PENDING_MAX; i++) {
        struct pending *q = &edge->pending[i];
        bool awaited = q->id != 0 && hf_replica_awaits(edge->replica, q->id);
        if (!awaited && (p == NULL || q->id < p->id)) {
            p = q;
        }
    }
    HF_ASSERT(p != NULL);
    *p = (struct pending){.id = fx->request, .effect = *fx};
    transmit(edge, p);
}

/* ---- replies ---- */

void session_deliver(struct hf_edge *edge, const struct pending *p, struct hf_replica_event *ev)
{
    ev->type = HF_REPEV_REPLY;
    ev->request = p->id;
    ev->bytes = p->bytes;
    edge_event(edge, ev);
}

/* What is applied here is signed, too: both together prove the fork, which frames may never do if
 * the other history ends here. */
static bool is_of_fork(const struct hf_edge *edge, const struct hf_beacon *b)
{
    const struct hf_position *at = &edge->position;
    return b->head == at->seq && hf_id_eq(&b->epoch_id, &at->epoch_id) &&
           !hf_hash_eq(&b->chain, &at->chain);
}

bool session_beacon(struct hf_edge *edge, struct hf_slice signed_beacon, const struct pending *p)
{
    struct hf_beacon b;
    if (hf_beacon_decode(signed_beacon, &b) != HF_OK || (p == NULL && b.has_nonce)) {
        return false;
    }
    const struct hf_key *signer = hf_genesis_signer(&edge->genesis, b.signer_id, b.head + 1);
    if (signer == NULL || !hf_beacon_verify(signed_beacon, signer)) {
        return false;
    }
    if (is_of_fork(edge, &b)) {
        kept_beacon(edge, b.head, signed_beacon);
    }
    struct hf_replica_event ev = {.type = HF_REPEV_BEACON,
                                  .beacon = &b,
                                  .t0 = p == NULL ? -1 : p->t0,
                                  .request = p == NULL ? 0 : p->id};
    edge_event(edge, &ev);
    return true;
}

/* A beacon in a reply counts as fresh only if its R is ours. */
static void beacon_proof(struct hf_edge *edge, const struct pending *p,
                         const struct hf_beacon_proof *proof)
{
    struct hf_beacon b;
    if (proof->signed_beacon.len == 0 || hf_beacon_decode(proof->signed_beacon, &b) != HF_OK) {
        return;
    }
    struct hf_hash leaf = hf_beacon_leaf(p->nonce);
    struct hf_hash root = hf_merkle_fold(&leaf, proof->index, proof->path, proof->path_len);
    if (!b.has_nonce || !hf_hash_eq(&root, &b.nonce)) {
        edge->dropped++;
        return;
    }
    edge->dropped += !session_beacon(edge, proof->signed_beacon, p);
}

/* ---- HELLO and JOIN ---- */

static bool key_known(const struct hf_edge *edge, const struct hf_content_key *k)
{
    const struct hf_key *have = content_key(edge, k->id);
    return have != NULL && hf_key_eq(have, &k->key);
}

/* What the core said last is right: a key that was wrong once must not stay so. */
void content_add(struct hf_edge *edge, const struct hf_content_key *k)
{
    for (uint32_t i = 0; i < edge->content_count; i++) {
        if (edge->content[i].id == k->id) {
            edge->content[i] = *k;
            return;
        }
    }
    if (edge->content_count == HF_CONTENT_KEYS_MAX) {
        memmove(edge->content, edge->content + 1,
                (HF_CONTENT_KEYS_MAX - 1) * sizeof(edge->content[0]));
        edge->content_count--;
    }
    edge->content[edge->content_count++] = *k;
}

void adoption_free(struct adoption *a)
{
    for (uint32_t i = 0; a != NULL && i < a->dictionary_count; i++) {
        hf_dictionary_unuse(a->dictionary[i]);
    }
    free(a);
}

void adoption_take(struct hf_edge *edge, struct adoption *a)
{
    for (uint32_t i = 0; i < a->key_count; i++) {
        content_add(edge, &a->key[i]);
    }
    for (uint32_t i = 0; i < a->dictionary_count; i++) {
        hf_dictionaries_add(edge->dictionaries, a->dictionary[i]);
    }
    a->dictionary_count = 0;
    memcpy(edge->name, a->name, sizeof(edge->name));
    if (a->first) {
        edge->genesis = a->opened;
        edge->has_genesis = true;
        edge->stream = a->opened.stream;
        edge->position = a->origin;
        edge->world.subscribe(edge->world.ctx, &edge->stream);
    }
}

static void on_adopted(struct hf_edge *edge, struct adoption *a, enum hf_err code)
{
    struct hf_replica_event ev = {.code = code};
    struct pending p = {.id = a->request};
    edge->adopting = false;
    if (edge->abandoned) {
        return;
    }
    if (code == HF_OK) {
        adoption_take(edge, a);
    }
    struct hf_position position = edge->position;
    ev.position = &position;
    session_deliver(edge, &p, &ev);
}

enum hf_err adoption_prepare(struct hf_edge *edge, const struct hf_hello_reply *h,
                             struct adoption *a)
{
    struct hf_hash chain;
    enum hf_err err = hf_genesis_open(h->genesis, &edge->cfg.core_key, &a->opened, &chain);
    if (err != HF_OK) {
        return err;
    }
    if (edge->has_genesis && !hf_id_eq(&a->opened.epoch_id, &edge->genesis.epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    a->first = !edge->has_genesis;
    memcpy(a->genesis, h->genesis.data, h->genesis.len);
    a->genesis_len = h->genesis.len;
    a->origin = (struct hf_position){
        .epoch_id = a->opened.epoch_id, .chain = chain, .digest = a->opened.digest};
    for (uint32_t i = 0; i < h->key_count; i++) {
        if (!key_known(edge, &h->key[i])) {
            a->key[a->key_count++] = h->key[i];
        }
    }
    for (uint32_t i = 0; i < h->dictionary_count && err == HF_OK; i++) {
        err = dictionary_open(edge, &a->opened, a->key, a->key_count, h->dictionary[i],
                              &a->dictionary[i]);
        a->dictionary_count += err == HF_OK;
    }
    if (err != HF_OK) {
        return err;
    }
    memcpy(a->name, edge->name, sizeof(a->name));
    if (hf_name_valid(h->edge_name)) {
        memcpy(a->name, h->edge_name.data, h->edge_name.len);
        a->name[h->edge_name.len] = '\0';
    }
    return HF_OK;
}

/* Told apart, an edge dials an idle stream anew for ever, or notices a dead one late. */
static void beacons_compare(struct hf_edge *edge, hf_ms core_ms)
{
    hf_ms own_ms = edge->cfg.replica.beacon_ms;
    if (core_ms == edge->beacon_told || core_ms == 0) {
        return;
    }
    edge->beacon_told = core_ms;
    if (core_ms != own_ms) {
        edge_note(edge, HF_LEVEL_WARN,
                  "edge: the core's beacons come every %lld ms, here %lld are expected; set [link] "
                  "beacon of the edge as it is at the core",
                  (long long)core_ms, (long long)own_ms);
    }
}

static void on_hello(struct hf_edge *edge, const struct pending *p, const struct hf_hello_reply *h)
{
    struct hf_replica_event ev = {.code = HF_OK};
    beacons_compare(edge, h->limits.beacon_ms);
    if (edge->adopting) {
        ev.code = HF_BUSY;
        session_deliver(edge, p, &ev);
        return;
    }
    struct adoption *a = calloc(1, sizeof(*a));
    ev.code =
        a == NULL || h->genesis.len > HF_GENESIS_MAX ? HF_NOMEM : adoption_prepare(edge, h, a);
    if (ev.code != HF_OK) {
        adoption_free(a);
        session_deliver(edge, p, &ev);
        return;
    }
    if (edge->has_genesis) {
        beacon_proof(edge, p, &h->beacon);
    }
    if (!a->first && a->key_count == 0 && a->dictionary_count == 0 &&
        strcmp(a->name, edge->name) == 0) {
        struct hf_position position = edge->position;
        adoption_free(a);
        ev.position = &position;
        session_deliver(edge, p, &ev);
        return;
    }
    a->request = p->id;
    a->done = on_adopted;
    edge->adopting = true;
    storing_adopt(edge, a);
}

/* ---- FETCH ---- */

static void on_log(struct hf_edge *edge, const struct pending *p, const struct hf_fetch_reply *f)
{
    struct hf_slice rest = f->frames;
    struct hf_slice message;
    hf_seq seq = 0;
    hf_seq last = 0;
    while (hf_fetch_next_frame(&rest, &message)) {
        if (!slots_take(edge, message, p->id, &seq)) {
            edge->dropped++;
            break;
        }
        last = seq;
    }
    struct hf_replica_event ev = {.code = last == 0 ? HF_MALFORMED : HF_OK, .seq = last};
    session_deliver(edge, p, &ev);
}

/* ---- refusals ---- */

/* With FORK the core sends its own signed header of the seq that is applied here. It proves the
 * fork together with the one that the store has for that seq, and only if it is another. */
static void evidence_take(struct hf_edge *edge, struct hf_slice evidence)
{
    struct hf_slice header;
    struct hf_signature signature;
    struct hf_header h;
    if (!edge->has_genesis || evidence.len == 0) {
        return;
    }
    if (hf_signed_split(evidence, HF_HEADER_MAX, &header, &signature) != HF_OK ||
        hf_header_decode(header, &h) != HF_OK) {
        edge->dropped++;
        return;
    }
    const struct hf_key *signer = hf_genesis_signer(&edge->genesis, h.signer_id, h.seq);
    struct hf_hash chain = hf_chain_hash(header);
    bool proves = hf_id_eq(&h.epoch_id, &edge->position.epoch_id) && h.seq == edge->position.seq &&
                  !hf_hash_eq(&chain, &edge->position.chain);
    if (!proves || signer == NULL || !hf_header_verify(header, &signature, signer)) {
        edge->dropped++;
        return;
    }
    kept_evidence(edge, h.seq, header, &signature);
}

static enum hf_want wanted(enum hf_replica_request kind)
{
    return kind == HF_REPRQ_LOG      ? HF_WANT_LOG
           : kind == HF_REPRQ_BODY   ? HF_WANT_BODY
           : kind == HF_REPRQ_DELTA  ? HF_WANT_DELTA
           : kind == HF_REPRQ_RANGES ? HF_WANT_RANGES
                                     : HF_WANT_KEYS;
}

static void on_fetched(struct hf_edge *edge, const struct pending *p,
                       const struct hf_fetch_reply *f, struct hf_slice plain)
{
    struct hf_replica_event ev = {.code = HF_MALFORMED};
    size_t have = 0;
    size_t total = 0;
    if (f->want != wanted(p->effect.kind)) {
        session_deliver(edge, p, &ev);
    } else if (f->want == HF_WANT_LOG) {
        on_log(edge, p, f);
    } else if (f->want == HF_WANT_BODY) {
        if (f->seq == p->effect.first && slots_body(edge, f, &have, &total)) {
            ev.code = HF_OK;
            ev.seq = f->seq;
            ev.offset = have;
            ev.total = total;
        }
        session_deliver(edge, p, &ev);
    } else if (f->want == HF_WANT_RANGES) {
        ev.code = compare_take(edge, plain);
        ev.seq = f->seq;
        session_deliver(edge, p, &ev);
    } else {
        ev.code = chunks_take(edge, p, plain);
        if (ev.code != HF_OK) {
            session_deliver(edge, p, &ev);
        }
    }
}

/* ---- PLAN ---- */

/* What they cut is checked by the store, which leaves out those that make no sense. */
static void splits_take(struct hf_edge *edge, const struct hf_plan_reply *plan)
{
    struct splits *s = &edge->splits;
    s->kind = plan->kind;
    s->at.count = 0;
    for (uint32_t i = 0; i < plan->split_count; i++) {
        struct hf_bound *b = &s->at.at[s->at.count];
        *b = (struct hf_bound){.offset = HF_OFFSET_END};
        if (plan->kind == HF_PLAN_DELTA) {
            b->seq = plan->split[i];
            b->ordinal = UINT32_MAX;
        } else if (plan->split_key[i].len <= HF_STORE_KEY_MAX) {
            memcpy(s->key[s->at.count], plan->split_key[i].data, plan->split_key[i].len);
            b->key = hf_slice_of(s->key[s->at.count], plan->split_key[i].len);
        }
        s->at.count++;
    }
}

/* ---- any reply ---- */

static enum hf_message_type expected(enum hf_replica_request kind)
{
    switch (kind) {
    case HF_REPRQ_JOIN:
        return HF_MSG_JOIN;
    case HF_REPRQ_HELLO:
        return HF_MSG_HELLO;
    case HF_REPRQ_PLAN:
        return HF_MSG_PLAN;
    case HF_REPRQ_REPORT:
        return HF_MSG_REPORT;
    case HF_REPRQ_LOG:
    case HF_REPRQ_BODY:
    case HF_REPRQ_DELTA:
    case HF_REPRQ_KEYS:
    case HF_REPRQ_RANGES:
        return HF_MSG_FETCH;
    case HF_REPRQ_NONE:
        break;
    }
    HF_UNREACHABLE();
}

static void unpack(struct hf_edge *edge, const struct pending *p, const struct hf_reply *reply,
                   struct hf_slice plain)
{
    struct hf_replica_event ev = {.code = reply->code};
    if (reply->type != expected(p->effect.kind)) {
        ev.code = HF_MALFORMED;
        session_deliver(edge, p, &ev);
        return;
    }
    if (reply->code != HF_OK) {
        ev.retry_ms = reply->type == HF_MSG_FETCH ? reply->fetch.retry_ms : 0;
        if (reply->code == HF_FORK && reply->type == HF_MSG_HELLO) {
            evidence_take(edge, reply->hello.evidence);
        }
        session_deliver(edge, p, &ev);
        return;
    }
    switch (reply->type) {
    case HF_MSG_JOIN:
    case HF_MSG_HELLO:
        on_hello(edge, p, &reply->hello);
        break;
    case HF_MSG_PLAN:
        splits_take(edge, &reply->plan);
        ev.plan = reply->plan.kind;
        ev.seq = reply->plan.head;
        ev.total = reply->plan.bytes;
        session_deliver(edge, p, &ev);
        break;
    case HF_MSG_FETCH:
        on_fetched(edge, p, &reply->fetch, plain);
        break;
    case HF_MSG_REPORT:
        beacon_proof(edge, p, &reply->report);
        session_deliver(edge, p, &ev);
        break;
    case HF_MSG_COOKIE:
        HF_UNREACHABLE();
    }
}

static struct pending *pending_find(struct hf_edge *edge, uint64_t request)
{
    for (uint32_t i = 0; i < EDGE_PENDING_MAX; i++) {
        if (edge->pending[i].id == request && request != 0) {
            return &edge->pending[i];
        }
    }
    return NULL;
}

static void timed_out(struct hf_edge *edge, struct pending *p)
{
    struct hf_replica_event ev = {.type = HF_REPEV_TIMEOUT, .request = p->id};
    p->id = 0;
    edge_event(edge, &ev);
}

/* Whether a reply still has a use. A request for a part of a range, or of a comparison, means what
 * was under way when it was asked: once the engine gave it up, its answer could take the place of
 * the one that is waited for, and there may be no such part any more to ask for again. */
static bool is_of_use(const struct hf_edge *edge, const struct pending *p,
                      enum hf_message_type type)
{
    enum hf_replica_request kind = p->effect.kind;
    bool placed = kind == HF_REPRQ_DELTA || kind == HF_REPRQ_KEYS || kind == HF_REPRQ_RANGES;
    return (!placed && type != HF_MSG_COOKIE) || hf_replica_awaits(edge->replica, p->id);
}

void session_reply(struct hf_edge *edge, uint64_t request, struct hf_slice message)
{
    uint8_t plain_bytes[HF_MESSAGE_MAX];
    struct pending *open = pending_find(edge, request);
    struct hf_envelope env;
    struct hf_writer w;
    struct hf_reply reply;
    if (open == NULL) {
        return;
    }
    if (message.data == NULL) {
        timed_out(edge, open);
        return;
    }
    hf_writer_init(&w, plain_bytes, sizeof(plain_bytes));
    enum hf_err err = hf_reply_open(message, &edge->cfg.core_key, &edge->id->public_key,
                                    open->nonce, edge->keys, &env, &w);
    struct hf_slice plain = err == HF_OK ? hf_writer_bytes(&w) : (struct hf_slice){0};
    err = err == HF_OK ? hf_reply_decode(plain, &reply) : err;
    if (err != HF_OK) {
        edge->dropped++;
        timed_out(edge, open); /* what cannot be opened is as good as lost */
        return;
    }
    edge->cookie = env.cookie;
    if (reply.type == HF_MSG_COOKIE) {
        edge->counter = reply.counter > edge->counter ? reply.counter : edge->counter;
    }
    if (!is_of_use(edge, open, reply.type)) {
        open->id = 0;
        return;
    }
    if (reply.type == HF_MSG_COOKIE) {
        if (open->tries++ < COOKIE_TRIES) {
            transmit(edge, open);
        } else {
            timed_out(edge, open);
        }
        return;
    }
    struct pending p = *open;
    p.bytes = (uint32_t)message.len;
    open->id = 0;
    unpack(edge, &p, &reply, plain);
}
