/*
 * service.c - requests of edges: cheap checks first, and no effect before all of them passed.
 *
 * Order: shape of the message, stream, known sender, envelope, message, cookie and counter, then
 * what is asked. A sender who is not enrolled may only JOIN, and passes a token bucket before its
 * public key costs anything. Only a request with a current cookie and an unseen counter moves
 * liveness, data or quota; any other that opens gets a COOKIE reply, which is never longer than
 * what was sent, so the core cannot be used to amplify.
 *
 * Beacons: the counter is boot number << 40 | count. The boot number is a durable fact, synced
 * before the first beacon, so the counter grows over restarts whatever clocks do; 2^24 starts and
 * 2^40 beacons of one start (34 years at 1,000 a second) are enough.
 *
 * HELLO: only a header with a valid signature of this core is evidence (G13). Above the log, or
 * with another chain at a seq that is known, it fences the core; anything else that does not fit
 * marks that one edge as diverged.
 *
 * Read next: core/lineage.h, core/cookie.h, core/transfer.c (PLAN and FETCH), PROTOCOL.md 6 and 7.
 */
#include "core/service.h"

#include "core/cookie.h"
#include "core/hello.h"
#include "core/lineage.h"
#include "core/transfer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BOOT_SHIFT 40
/* Requests of strangers, of which a JOIN takes two: a fleet of a thousand enrols in a minute, and
 * the public-key work is 1 %. */
#define STRANGERS_PER_S 40
/* HELLOs and REPORTs of one edge, each of which costs a signature or two: an edge sends one REPORT
 * a second, or up to ten where beacons are that frequent, and more only while a WAIT is open; at
 * this rate it takes 1 % of a processor. */
#define SIGNED_PER_S 100
/* REPORTs that share a signature. A signature takes 25 us, a node of the tree 0.5 us: with 16 each
 * costs a quarter of one, and more would gain little, for the paths grow with the square. */
#define GATHER_MAX 16u
#define REPORT_MS 1000u
#define STRANGER_NOTE_MS 60000 /* one line of the log about them in so long */
#define BUSY_MS 125u           /* who found no room for a request asks again, about */

#define COUNTERS(X)                                                                                \
    X(requests)                                                                                    \
    X(replies)                                                                                     \
    X(dropped_malformed)                                                                           \
    X(dropped_stranger)                                                                            \
    X(dropped_rate)                                                                                \
    X(dropped_auth)                                                                                \
    X(over_quota)                                                                                  \
    X(cookies)                                                                                     \
    X(refused_revoked)                                                                             \
    X(hellos)                                                                                      \
    X(reports)                                                                                     \
    X(joins)                                                                                       \
    X(joins_refused)                                                                               \
    X(plans)                                                                                       \
    X(fetches)                                                                                     \
    X(busy)

/* A REPORT that was taken in and waits for the signature that it shares. */
struct gathered {
    uint64_t handle;
    struct hf_envelope asked;
    const struct hf_envelope_keys *keys;
};

struct counters {
#define X(name) uint64_t name;
    COUNTERS(X)
#undef X
};

struct hf_service {
    struct hf_service_config cfg;
    struct hf_transfers *transfers;
    struct hf_lineage *lineage;        /* owned */
    struct hf_cookies *cookies;        /* owned */
    struct hf_envelope_keys *stranger; /* owned, guarded: of a sender who is not enrolled */
    uint8_t *in;                       /* owned; HF_MESSAGE_MAX each */
    uint8_t *plain;
    uint8_t *out;
    uint8_t *dictionaries; /* owned; HF_HELLO_ROOM */
    uint8_t beacon[HF_BEACON_MAX];
    uint64_t beacons;
    struct gathered gathered[GATHER_MAX];
    uint32_t gathered_count;
    struct hf_quota strangers;
    hf_ms stranger_due; /* the next line of the log about one */
    struct counters n;
};

/* One request on its way to its answer. */
struct exchange {
    uint64_t handle;
    size_t asked_bytes;
    const char *peer;
    struct hf_envelope env;
    struct hf_slice sealed;
    struct hf_enrolled *edge; /* NULL: not enrolled */
    const struct hf_envelope_keys *keys;
    struct hf_request q;
};

struct join {
    struct hf_fact_order order; /* first: the driver frees it at a crash */
    struct hf_fact fact[2];     /* the edge, its token */
    struct hf_service *s;
    uint64_t handle;
    struct hf_envelope env;
};

struct hf_service *hf_service_new(const struct hf_service_config *c)
{
    struct hf_service *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return NULL;
    }
    s->cfg = *c;
    s->cookies = hf_cookies_new(c->world);
    s->stranger = hf_secret_new(sizeof(*s->stranger));
    s->in = malloc(HF_MESSAGE_MAX);
    s->dictionaries = malloc(HF_HELLO_ROOM);
    s->plain = malloc(HF_MESSAGE_MAX);
    s->out = malloc(HF_MESSAGE_MAX);
    struct hf_transfers_config tc = {.world = c->world,
                                     .id = c->id,
                                     .registry = c->registry,
                                     .head = c->head,
                                     .state = c->state,
                                     .log = c->log,
                                     .stream = c->genesis->stream,
                                     .epoch_id = c->genesis->epoch_id};
    s->transfers = hf_transfers_new(&tc);
    struct hf_lineage_config lc = {.state = c->state,
                                   .log = c->log,
                                   .genesis = c->genesis,
                                   .head = c->head,
                                   .ctx = c->ctx,
                                   .fence = c->fence};
    s->lineage = hf_lineage_new(&lc);
    if (s->cookies == NULL || s->stranger == NULL || s->in == NULL || s->dictionaries == NULL ||
        s->plain == NULL || s->out == NULL || s->transfers == NULL || s->lineage == NULL) {
        hf_service_free(s);
        return NULL;
    }
    hf_service_head(s);
    return s;
}

void hf_service_free(struct hf_service *s)
{
    if (s == NULL) {
        return;
    }
    hf_transfers_free(s->transfers);
    hf_lineage_free(s->lineage);
    hf_cookies_free(s->cookies);
    hf_secret_free(s->stranger);
    free(s->in);
    free(s->dictionaries);
    free(s->plain);
    free(s->out);
    free(s);
}

void hf_service_head(struct hf_service *s)
{
    hf_transfers_head(s->transfers, s->cfg.head->at.seq);
}

struct hf_transfers *hf_service_transfers(struct hf_service *s)
{
    return s->transfers;
}

bool hf_service_idle(const struct hf_service *s)
{
    return hf_transfers_idle(s->transfers);
}

static void counter_put(struct hf_writer *w, const char *name, uint64_t value)
{
    char line[64];
    int len = snprintf(line, sizeof(line), "%s %" PRIu64 "\n", name, value);
    hf_write_raw(w, line, (size_t)len);
}

void hf_service_counters(const struct hf_service *s, struct hf_writer *w)
{
    struct hf_transfers_counts t;
#define X(name) counter_put(w, #name, s->n.name);
    COUNTERS(X)
#undef X
    hf_transfers_counts(s->transfers, &t);
    counter_put(w, "transfer_scans", t.scans);
    counter_put(w, "transfer_cache_hits", t.cache_hits);
    counter_put(w, "transfer_cache_bytes", t.cache_bytes);
    counter_put(w, "transfer_coalesced", t.coalesced);
    counter_put(w, "transfer_waited", t.waited);
    counter_put(w, "transfer_waiting", t.waiting);
    counter_put(w, "transfer_edges_placed", t.edges_placed);
    counter_put(w, "transfer_edges_waiting", t.edges_waiting);
}

/* ---- replies ---- */

/* Encodes and seals into s->out. */
static struct hf_slice reply_seal(struct hf_service *s, const struct hf_envelope *asked,
                                  const struct hf_envelope_keys *keys, const struct hf_reply *reply)
{
    struct hf_writer plain;
    struct hf_writer out;
    hf_writer_init(&plain, s->plain, HF_MESSAGE_MAX);
    hf_reply_encode(reply, &plain);
    HF_ASSERT(!plain.failed);
    struct hf_envelope env = {.stream = s->cfg.genesis->stream,
                              .sender = asked->sender,
                              .cookie = hf_cookies_give(s->cookies, &asked->sender)};
    s->cfg.world->random(s->cfg.world->ctx, env.nonce, HF_NONCE_BYTES);
    hf_writer_init(&out, s->out, HF_MESSAGE_MAX);
    hf_reply_seal(&env, &s->cfg.id->public_key, asked->nonce, keys, hf_writer_bytes(&plain),
                  hf_reply_tail(reply), &out);
    HF_ASSERT(!out.failed);
    return hf_writer_bytes(&out);
}

static void reply_send(struct hf_service *s, const struct exchange *x, const struct hf_reply *reply)
{
    s->n.replies++;
    s->cfg.world->reply(s->cfg.world->ctx, x->handle, reply_seal(s, &x->env, x->keys, reply));
}

/* What a refusal of this request looks like; the shape of a reply follows its type. */
static struct hf_reply reply_to(const struct exchange *x, enum hf_err code)
{
    struct hf_reply reply;
    memset(&reply, 0, sizeof(reply));
    reply.type = x->q.type;
    reply.code = code;
    if (x->q.type == HF_MSG_FETCH) {
        reply.fetch.want = x->q.fetch.want;
    }
    return reply;
}

static void refuse(struct hf_service *s, const struct exchange *x, enum hf_err code)
{
    struct hf_reply reply = reply_to(x, code);
    reply_send(s, x, &reply);
}

/* No answer. The world is told, because it keeps a place for each request until it hears: without
 * this a few dozen worthless requests would shut the port for everyone. */
static void drop(struct hf_service *s, uint64_t handle)
{
    s->cfg.world->reply(s->cfg.world->ctx, handle, hf_slice_of(NULL, 0));
}

static void cookie_send(struct hf_service *s, const struct exchange *x)
{
    struct hf_reply reply;
    memset(&reply, 0, sizeof(reply));
    reply.type = HF_MSG_COOKIE;
    reply.counter = x->edge != NULL ? x->edge->counter_top : 0;
    struct hf_slice message = reply_seal(s, &x->env, x->keys, &reply);
    if (message.len > x->asked_bytes) {
        drop(s, x->handle);
        return;
    }
    s->n.cookies++;
    s->cfg.world->reply(s->cfg.world->ctx, x->handle, message);
}

/* ---- beacons ---- */

void hf_service_beacon(struct hf_service *s, const struct hf_hash *r, struct hf_writer *w)
{
    const struct hf_core_head *head = s->cfg.head;
    hf_seq log_first = hf_changelog_first(s->cfg.log);
    hf_seq key_floor = hf_keyring_floor(hf_registry_keys(s->cfg.registry));
    struct hf_beacon b = {.epoch_id = head->at.epoch_id,
                          .head = head->at.seq,
                          .chain = head->at.chain,
                          .digest = head->at.digest,
                          .log_floor = log_first > key_floor ? log_first : key_floor,
                          .delta_floor = head->delta_floor,
                          .key_list_version = s->cfg.genesis->key_list_version,
                          .counter = s->cfg.boot << BOOT_SHIFT | ++s->beacons,
                          .time_ms = s->cfg.world->wall_ms(s->cfg.world->ctx),
                          .has_nonce = r != NULL,
                          .signer_id = HF_SIGNER_ID};
    if (r != NULL) {
        b.nonce = *r;
    }
    hf_beacon_sign(&b, s->cfg.id->secret, w);
}

/* A beacon with this R, in s->beacon. */
static struct hf_beacon_proof proof_make(struct hf_service *s, const struct hf_hash *r)
{
    struct hf_writer w;
    hf_writer_init(&w, s->beacon, sizeof(s->beacon));
    hf_service_beacon(s, r, &w);
    HF_ASSERT(!w.failed);
    return (struct hf_beacon_proof){.signed_beacon = hf_writer_bytes(&w)};
}

/* ---- engine ---- */

static void engine_tell(struct hf_service *s, struct hf_publisher_event *ev)
{
    struct hf_publisher_effects fx;
    ev->now = s->cfg.world->now(s->cfg.world->ctx);
    hf_publisher_step(s->cfg.publisher, ev, &fx);
    HF_ASSERT(fx.count == 0); /* what is known of edges orders nothing */
}

/* ---- HELLO ---- */

/* q: NULL for a JOIN. */
static void hello_fill(struct hf_service *s, const struct hf_envelope *asked,
                       const struct hf_hello_request *q, struct hf_hello_reply *p)
{
    const struct hf_enrolled *edge = hf_registry_by_key(s->cfg.registry, &asked->sender);
    hf_seq floor = hf_changelog_first(s->cfg.log);
    hf_seq applied = q != NULL ? q->applied : 0;
    struct hf_hash leaf = hf_beacon_leaf(asked->nonce);
    p->beacon = proof_make(s, &leaf); /* a tree of one: HELLOs are few */
    p->genesis = s->cfg.genesis_signed;
    hf_hello_fill(hf_registry_keys(s->cfg.registry), s->cfg.dictionaries, q,
                  applied + 1 > floor ? applied + 1 : floor, s->cfg.head->at.seq, s->dictionaries,
                  p);
    uint32_t beacon_ms = (uint32_t)s->cfg.beacon_ms;
    p->limits = (struct hf_limits){.message_max = HF_MESSAGE_MAX,
                                   .in_flight_max = HF_TRANSFERS_PER_EDGE,
                                   .report_ms = beacon_ms < REPORT_MS ? beacon_ms : REPORT_MS,
                                   .beacon_ms = beacon_ms};
    p->edge_name = edge != NULL ? hf_slice_str(edge->fact.name) : hf_slice_str("");
}

/* False: what the answer would cost is not worth it; a BUSY costs no signature. */
static bool within_quota(struct hf_service *s, const struct exchange *x)
{
    hf_ms now = s->cfg.world->now(s->cfg.world->ctx);
    bool within = hf_quota_take(&x->edge->quota, now, SIGNED_PER_S);
    s->n.over_quota += !within;
    return within;
}

static void on_hello(struct hf_service *s, const struct exchange *x)
{
    const struct hf_hello_request *q = &x->q.hello;
    s->n.hellos++;
    if (!within_quota(s, x)) {
        refuse(s, x, HF_BUSY);
        return;
    }
    if (q->wire_min > HF_WIRE_VERSION || q->wire_max < HF_WIRE_VERSION) {
        refuse(s, x, HF_VERSION);
        return;
    }
    enum hf_err code = hf_lineage_check(s->lineage, q);
    /* The log is ahead of the head while a group is under way: what is in it is not lost. */
    bool ahead = q->applied > s->cfg.head->at.seq && q->applied > hf_changelog_last(s->cfg.log);
    struct hf_publisher_event ev = {.type = HF_PUB_HELLO,
                                    .edge = x->edge->row,
                                    .seq = q->applied,
                                    .ok = code == HF_OK,
                                    .ahead = ahead};
    engine_tell(s, &ev);
    struct hf_reply reply = reply_to(x, code);
    if (code == HF_OK) {
        hello_fill(s, &x->env, q, &reply.hello);
    } else if (code == HF_FORK) {
        reply.hello.evidence = hf_lineage_evidence(s->lineage);
    }
    reply_send(s, x, &reply);
}

static void on_report(struct hf_service *s, const struct exchange *x)
{
    s->n.reports++;
    struct hf_publisher_event ev = {
        .type = HF_PUB_REPORT, .edge = x->edge->row, .report = &x->q.report};
    engine_tell(s, &ev);
    if (!within_quota(s, x)) { /* what it says costs nothing and counts; the beacon is the price */
        refuse(s, x, HF_BUSY);
        return;
    }
    hf_transfers_reported(s->transfers, x->edge->row, &x->q.report);
    s->gathered[s->gathered_count++] =
        (struct gathered){.handle = x->handle, .asked = x->env, .keys = x->keys};
    if (s->gathered_count == GATHER_MAX) {
        hf_service_requests_end(s);
    }
}

void hf_service_requests_end(struct hf_service *s)
{
    struct hf_hash leaf[GATHER_MAX];
    uint32_t count = s->gathered_count;
    if (count == 0) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        leaf[i] = hf_beacon_leaf(s->gathered[i].asked.nonce);
    }
    struct hf_hash root = hf_merkle_root(leaf, count);
    struct hf_beacon_proof proof = proof_make(s, &root);
    s->gathered_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct gathered *g = &s->gathered[i];
        struct exchange x = {.handle = g->handle, .env = g->asked, .keys = g->keys};
        x.q.type = HF_MSG_REPORT;
        struct hf_reply reply = reply_to(&x, HF_OK);
        proof.index = i;
        proof.path_len = (uint32_t)hf_merkle_path(leaf, count, i, proof.path);
        reply.report = proof;
        reply_send(s, &x, &reply);
    }
}

/* ---- JOIN ---- */

static bool stranger_admitted(struct hf_service *s)
{
    return hf_quota_take(&s->strangers, s->cfg.world->now(s->cfg.world->ctx), STRANGERS_PER_S);
}

static void note_sender(struct hf_service *s, const struct exchange *x, const char *done_to,
                        const char *what)
{
    char text[256];
    char key[2 * HF_KEY_BYTES + 1];
    hf_hex(x->env.sender.b, HF_KEY_BYTES, key);
    snprintf(text, sizeof(text), "enrolment: %s %s key=%s peer=%s", done_to, what, key,
             x->peer != NULL ? x->peer : "?");
    s->cfg.world->note(s->cfg.world->ctx, HF_LEVEL_WARN, text);
}

static void note_join(struct hf_service *s, const struct exchange *x, const char *why)
{
    note_sender(s, x, "refused a join:", why);
}

/* Who is refused by silence looks like a broken link from the other side, so somebody must say it.
 */
static void note_stranger(struct hf_service *s, const struct exchange *x, const char *what)
{
    hf_ms now = s->cfg.world->now(s->cfg.world->ctx);
    if (now < s->stranger_due) {
        return;
    }
    s->stranger_due = now + STRANGER_NOTE_MS;
    note_sender(s, x, "no answer to", what);
}

/* NULL when the token may be bound to the sender, now or already; else why not, and HF_BUSY when
 * that may change. */
static const char *join_objection(struct hf_service *s, const struct exchange *x,
                                  const struct hf_token_fact *t, enum hf_err *code)
{
    const struct hf_join_request *q = &x->q.join;
    *code = HF_AUTH;
    if (t == NULL) {
        return "unknown token";
    }
    struct hf_hash proof =
        hf_token_proof(&t->verifier, &x->env.sender, &s->cfg.id->public_key, x->env.nonce);
    if (!hf_secret_eq(proof.b, q->proof.b, HF_HASH_BYTES)) {
        return "wrong proof";
    }
    if (!hf_slice_eq(q->name, hf_slice_str(t->name))) {
        return "another name than the token's";
    }
    if (t->used && !hf_key_eq(&t->used_by, &x->env.sender)) {
        return "the token was used by another key or is void";
    }
    return s->cfg.objection(s->cfg.ctx, t->name, &x->env.sender, code);
}

static void join_answer(struct hf_service *s, uint64_t handle, const struct hf_envelope *env)
{
    struct hf_enrolled *edge = hf_registry_by_key(s->cfg.registry, &env->sender);
    const struct hf_envelope_keys *keys =
        edge == NULL ? NULL : hf_registry_envelope(s->cfg.registry, edge, s->cfg.id);
    if (keys == NULL) {
        drop(s, handle);
        return;
    }
    struct exchange x = {.handle = handle, .env = *env, .keys = keys};
    x.q.type = HF_MSG_JOIN;
    struct hf_reply reply = reply_to(&x, edge->fact.revoked ? HF_REVOKED : HF_OK);
    if (!edge->fact.revoked) {
        hello_fill(s, env, NULL, &reply.hello);
    }
    reply_send(s, &x, &reply);
}

static void on_joined(struct hf_fact_order *order)
{
    struct join *j = (struct join *)order->ctx;
    struct hf_service *s = j->s;
    if (order->code == HF_OK) {
        s->n.joins++;
        join_answer(s, j->handle, &j->env);
    } else {
        drop(s, j->handle); /* not durable: the edge asks again */
    }
    free(j);
}

static void join_record(struct hf_service *s, const struct exchange *x,
                        const struct hf_token_fact *t)
{
    struct join *j = calloc(1, sizeof(*j));
    if (j == NULL) {
        drop(s, x->handle);
        return;
    }
    j->s = s;
    j->handle = x->handle;
    j->env = x->env;
    /* The edge before its token: if only the first survives, the name is taken by the right key. */
    j->fact[0] = (struct hf_fact){.type = HF_FACT_EDGE};
    struct hf_edge_fact *e = &j->fact[0].edge;
    e->key = x->env.sender;
    memcpy(e->name, t->name, sizeof(e->name));
    e->role = HF_ROLE_EDGE;
    e->enrolled_wall_ms = s->cfg.world->wall_ms(s->cfg.world->ctx);
    e->has_token = true;
    e->token = t->id;
    j->fact[1] = (struct hf_fact){.type = HF_FACT_TOKEN, .token = *t};
    j->fact[1].token.used = true;
    j->fact[1].token.used_by = x->env.sender;
    j->order.fact = j->fact;
    j->order.count = 2;
    j->order.ctx = j;
    j->order.recorded = on_joined;
    s->cfg.record(s->cfg.ctx, &j->order);
}

static void on_join(struct hf_service *s, const struct exchange *x)
{
    const struct hf_token_fact *t = hf_registry_token(s->cfg.registry, &x->q.join.token);
    enum hf_err code;
    const char *why = join_objection(s, x, t, &code);
    if (why != NULL && code == HF_BUSY) {
        drop(s, x->handle); /* the edge asks again */
        return;
    }
    if (why != NULL) {
        /* Each refusal is a line in the log; a stranger's has passed here already. */
        if (x->edge != NULL && !stranger_admitted(s)) {
            s->n.dropped_rate++;
            drop(s, x->handle);
            return;
        }
        s->n.joins_refused++;
        note_join(s, x, why);
        refuse(s, x, HF_AUTH);
        return;
    }
    if (x->edge != NULL && !within_quota(s, x)) {
        refuse(s, x, HF_BUSY);
        return;
    }
    if (t->used) {
        join_answer(s, x->handle, &x->env); /* the same key gets the same answer again */
        return;
    }
    if (t->expires_wall_ms != 0 && s->cfg.world->wall_ms(s->cfg.world->ctx) > t->expires_wall_ms) {
        /* Wall clocks decide nothing here; a person decides what to make of the warning. */
        s->cfg.world->note(s->cfg.world->ctx, HF_LEVEL_WARN,
                           "enrolment: a token is used after its time");
    }
    join_record(s, x, t);
}

/* ---- PLAN and FETCH ---- */

static void on_transfer(struct hf_service *s, const struct exchange *x)
{
    *(x->q.type == HF_MSG_PLAN ? &s->n.plans : &s->n.fetches) += 1;
    struct hf_transfer_order order = {
        .asker = {.handle = x->handle},
        .edge = x->edge,
        .request = &x->q,
        .asked = &x->env,
        .cookie = hf_cookies_give(s->cookies, &x->env.sender),
    };
    uint32_t wait_ms = BUSY_MS;
    if (hf_transfers_admit(s->transfers, &order, &wait_ms) &&
        hf_transfers_start(s->transfers, &order) == HF_OK) {
        s->n.replies++;
        return;
    }
    s->n.busy++;
    struct hf_reply reply = reply_to(x, HF_BUSY);
    if (x->q.type == HF_MSG_FETCH) {
        /* Spread, so that what was refused together does not come back together. */
        uint8_t spread;
        s->cfg.world->random(s->cfg.world->ctx, &spread, sizeof(spread));
        reply.fetch.retry_ms = wait_ms / 2 + wait_ms * spread / UINT8_MAX;
    }
    reply_send(s, x, &reply);
}

/* ---- any request ---- */

static void dispatch(struct hf_service *s, const struct exchange *x)
{
    switch (x->q.type) {
    case HF_MSG_JOIN:
        on_join(s, x);
        return;
    case HF_MSG_HELLO:
        on_hello(s, x);
        return;
    case HF_MSG_REPORT:
        on_report(s, x);
        return;
    case HF_MSG_PLAN:
    case HF_MSG_FETCH:
        on_transfer(s, x);
        return;
    case HF_MSG_COOKIE:
        return; /* the decoder lets no such request through */
    }
    HF_UNREACHABLE();
}

/* Finds the envelope keys of the sender; false is a counted drop. */
static bool keys_find(struct hf_service *s, struct exchange *x)
{
    x->edge = hf_registry_by_key(s->cfg.registry, &x->env.sender);
    if (x->edge != NULL) {
        x->keys = hf_registry_envelope(s->cfg.registry, x->edge, s->cfg.id);
        s->n.dropped_auth += x->keys == NULL;
        return x->keys != NULL;
    }
    if (!stranger_admitted(s)) {
        s->n.dropped_rate++;
        return false;
    }
    if (hf_envelope_derive(s->cfg.id, &x->env.sender, s->stranger) != HF_OK) {
        s->n.dropped_stranger++;
        return false;
    }
    x->keys = s->stranger;
    return true;
}

static bool request_open(struct hf_service *s, struct hf_slice message, struct exchange *x)
{
    static const struct hf_id none;
    if (hf_request_split(message, &x->env, &x->sealed) != HF_OK) {
        s->n.dropped_malformed++;
        return false;
    }
    if (!hf_id_eq(&x->env.stream, &none) && !hf_id_eq(&x->env.stream, &s->cfg.genesis->stream)) {
        s->n.dropped_malformed++;
        note_stranger(s, x, "a request for another stream");
        return false;
    }
    if (!keys_find(s, x)) {
        return false;
    }
    struct hf_writer in;
    hf_writer_init(&in, s->in, HF_MESSAGE_MAX);
    if (hf_request_open(&x->env, &s->cfg.id->public_key, x->keys, x->sealed, &in) != HF_OK) {
        s->n.dropped_auth++;
        note_stranger(s, x, "a request that is not sealed for this core");
        return false;
    }
    if (hf_request_decode(hf_writer_bytes(&in), &x->q) != HF_OK) {
        s->n.dropped_malformed++;
        return false;
    }
    if (x->edge == NULL && x->q.type != HF_MSG_JOIN) {
        s->n.dropped_stranger++;
        note_stranger(s, x, "a key that is not enrolled");
        return false;
    }
    return true;
}

bool hf_service_on_request(struct hf_service *s, uint64_t handle, struct hf_slice message,
                           const char *peer)
{
    struct exchange x = {.handle = handle, .asked_bytes = message.len, .peer = peer};
    bool authentic;
    s->n.requests++;
    if (message.len > HF_MESSAGE_MAX) {
        s->n.dropped_malformed++;
        drop(s, handle);
        return false;
    }
    if (!request_open(s, message, &x)) {
        drop(s, handle);
        return false;
    }
    authentic = x.edge != NULL && !x.edge->fact.revoked;
    /* A stranger's JOIN has no counter to compare: repeating it has no effect that the first had
     * not. */
    if (!hf_cookies_current(s->cookies, &x.env.sender, &x.env.cookie) ||
        (x.edge != NULL && !hf_registry_counter_take(x.edge, x.q.counter))) {
        cookie_send(s, &x);
        return authentic;
    }
    if (x.edge != NULL && !authentic && x.q.type != HF_MSG_JOIN) {
        s->n.refused_revoked++;
        hf_transfers_revoked(s->transfers, x.edge->row);
        refuse(s, &x, HF_REVOKED);
        return false;
    }
    dispatch(s, &x);
    return authentic;
}
