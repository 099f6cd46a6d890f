/*
 * pace.c - the table of requests, and their pace: time-outs, backoff, how many and how large.
 *
 * A TCP connection over a long link that loses a little carries a fraction of what the link could
 * (at 100 ms and 0.5 % loss 2 to 4 Mbit/s), so several requests are under way, each on a connection
 * of its own; how many is up to width.c. What one of them asks for follows how long the last ones
 * took, so that a cut wastes little and a thin link is not blocked for long. Loss says nothing
 * about how much the link can carry, so a time-out closes the width only when nothing else came
 * meanwhile.
 *
 * A request for a part of a transfer outlives the link that it was sent over: its connection may
 * recover, and its reply is wanted as before. It is called late then, does not count, and says
 * nothing about the link. Other parts are asked for meanwhile; only when none is left is it asked
 * for again.
 *
 * Failures back off with jitter (S16: many edges must not herd).
 */
#include "edge/replica_impl.h"

#define DATA_MAX_FIRST (32u << 10)
#define DATA_MAX_LEAST (4u << 10)
#define DATA_MAX_MOST 63488u           /* that fits into a message ... */
#define DATA_MAX_STEP_MOST (64u << 10) /* ... is what this stands for */
/* Most replies should take this long beyond a round trip. A few of them say nothing: on a lossy
 * link one is back at once, and another waits for TCP to send again. */
#define TRANSFER_MS_LEAST 250
#define TRANSFER_MS_MOST 2000
#define TRANSFER_REPLIES 8u
/* A part of a transfer can wait, others are asked for meanwhile. A link that loses, or was cut for
 * a few seconds, holds its answer up until TCP sends again; who asks sooner over another connection
 * has it sent twice. */
#define CHUNK_MS_LEAST 20000
/* When nothing else is left to ask for, one that waits for TCP is asked over another connection: a
 * transfer ends with its last reply. */
#define LATE_MS 3000
/* A BUSY that names so long a wait is about a turn, others are about a full line (PROTOCOL 7.4). */
#define TURN_MS 500
#define JOIN_DOUBLES 3u /* a random part of 6 s first, then of 12, then of 24 */
/* After so long without a word there is likely much to fetch. */
#define LONG_CUT_MS 10000

void pace_begin(struct hf_replica *r)
{
    r->size.data_max = DATA_MAX_FIRST;
    r->pace[0].backoff = r->pace[1].backoff = r->cfg.backoff_ms_min;
    pace_transfer(r, 0);
    r->throttle.live_at = -1;
}

void pace_transfer(struct hf_replica *r, uint64_t bytes)
{
    width_begin(r, bytes);
    share_measure(r);
    r->pace[1].rtt_mean = 0;
    if (r->size.data_max > DATA_MAX_FIRST) {
        r->size = (struct size){.data_max = DATA_MAX_FIRST};
    }
}

/* ---- the table ---- */

static const struct request *find(const struct hf_replica *r, uint64_t id)
{
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        if (r->request[i].id == id) {
            return &r->request[i];
        }
    }
    return NULL;
}

struct request *request_sent(struct hf_replica *r, uint64_t id)
{
    return hf_replica_awaits(r, id) ? &r->request[find(r, id) - r->request] : NULL;
}

struct request *request_unused(struct hf_replica *r)
{
    const struct request *q = find(r, 0);
    HF_ASSERT(q != NULL); /* the window and one of each other kind are fewer */
    return &r->request[q - r->request];
}

bool hf_replica_awaits(const struct hf_replica *r, uint64_t request)
{
    const struct request *q = request != 0 ? find(r, request) : NULL;
    return q != NULL && q->state == REQUEST_SENT;
}

bool request_open(const struct hf_replica *r, enum hf_replica_request kind)
{
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        if (r->request[i].id != 0 && r->request[i].kind == kind) {
            return true;
        }
    }
    return false;
}

static bool is_chunk(const struct request *q)
{
    return q->id != 0 && (q->kind == HF_REPRQ_DELTA || q->kind == HF_REPRQ_KEYS);
}

bool request_of_part(const struct hf_replica *r, uint32_t part)
{
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        if (is_chunk(&r->request[i]) && r->request[i].part == part) {
            return true;
        }
    }
    return false;
}

struct request *request_waiting(struct hf_replica *r)
{
    struct request *first = NULL;
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        struct request *q = &r->request[i];
        if (q->id != 0 && q->state == REQUEST_WAITS && (first == NULL || q->id < first->id)) {
            first = q;
        }
    }
    return first;
}

bool is_data(enum hf_replica_request kind)
{
    return kind == HF_REPRQ_LOG || kind == HF_REPRQ_BODY || kind == HF_REPRQ_DELTA ||
           kind == HF_REPRQ_KEYS;
}

void requests_abandon(struct hf_replica *r)
{
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        if (r->request[i].state == REQUEST_SENT) {
            r->request[i].id = 0;
        }
    }
}

uint32_t stage_parts_left(const struct hf_replica *r)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < r->stage.part_count; i++) {
        left += !r->stage.part[i].done;
    }
    return left;
}

void requests_outlive_link(struct hf_replica *r)
{
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        struct request *q = &r->request[i];
        q->late |= is_chunk(q) && q->state == REQUEST_SENT;
        if (q->state == REQUEST_SENT && !q->late) {
            q->id = 0;
        }
    }
}

/* While replies come, those that hang are left to TCP: asked again, what it brings of them has come
 * for nothing. Only those of a lost link are not, once all else is asked for. */
void requests_give_up_late(struct hf_replica *r, bool all_asked)
{
    struct pace *p = &r->pace[1];
    hf_ms up = r->link_since[HF_CHANNEL_CONTROL];
    hf_ms silence = later(p->rtt_mean, LATE_MS);
    bool silent = r->now - later(p->replied_at, up) >= silence;
    if (r->now - r->heard[HF_CHANNEL_CONTROL] >= r->cfg.request_ms_min) {
        return; /* it is the link that is silent: what is asked now would be lost as well */
    }
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        struct request *q = &r->request[i];
        hf_ms waited = r->now - (q->late ? up : q->sent);
        bool lost = q->late && all_asked && waited >= later(2 * p->rtt, LATE_MS);
        if (is_chunk(q) && q->state == REQUEST_SENT && (lost || (silent && waited >= silence))) {
            q->id = 0;
            p->rtt_mean = silence + silence / 2; /* or a slow link would be given up for ever */
        }
    }
}

void requests_abandon_stage(struct hf_replica *r)
{
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        if (is_chunk(&r->request[i])) {
            r->request[i].id = 0;
        }
    }
}

/* True when a reply with data may still be on its way: the request was sent long ago and has not
 * timed out. */
bool reply_is_slow(const struct hf_replica *r, hf_ms since)
{
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        const struct request *q = &r->request[i];
        if (q->id != 0 && q->kind >= HF_REPRQ_PLAN && q->kind <= HF_REPRQ_KEYS && !q->late &&
            r->now - q->sent >= since) {
            return true;
        }
    }
    return false;
}

/* ---- time-outs and backoff ---- */

/* A reply full of data takes its time on a thin link; one to REPORT does not, and comes each
 * second. So each class has a round trip and time-outs in a row of its own. */
static struct pace *pace_of(struct hf_replica *r, enum hf_replica_request kind)
{
    return &r->pace[is_data(kind)];
}

static hf_ms timeout_of(const struct hf_replica *r, const struct request *q)
{
    const struct pace *p = &r->pace[is_data(q->kind)];
    hf_ms least = is_chunk(q) ? CHUNK_MS_LEAST : r->cfg.request_ms_min;
    hf_ms t = p->rtt == 0 ? 2 * r->cfg.request_ms_min : 4 * p->rtt;
    t = t > least ? t : least;
    /* The silence of a core that is asked to JOIN mostly says that too many did, but the answer may
     * also be long and the link thin. */
    uint32_t again = q->kind == HF_REPRQ_JOIN ? p->timeouts_in_row / 2 : p->timeouts_in_row;
    t <<= again < 6 ? again : 6;
    return t < r->cfg.request_ms_max ? t : r->cfg.request_ms_max;
}

void back_off(struct hf_replica *r, enum hf_replica_request kind, hf_ms told)
{
    struct pace *p = pace_of(r, kind);
    if (r->now < p->retry_at) {
        return; /* what was under way together fails together: that counts once */
    }
    if (told >= TURN_MS) {
        p->retry_at = r->now + told; /* nothing failed, and who comes later holds up the others */
        return;
    }
    p->failed_at = r->now;
    p->retry_at = r->now + later(told, jitter(r, p->backoff));
    p->backoff = sooner(2 * p->backoff, r->cfg.backoff_ms_max);
}

void back_off_all(struct hf_replica *r, hf_ms wait)
{
    r->pace[0].retry_at = r->pace[1].retry_at = r->now + wait;
}

bool is_held_back(const struct hf_replica *r, enum hf_replica_request kind)
{
    return r->now < r->pace[0].retry_at || (is_data(kind) && r->now < r->pace[1].retry_at);
}

/* Not with the others: a core that refuses data may well hear how things are here, and the other
 * way round. A survey or a step forward does not shorten it. BUSY only says that it was too many.
 */
void report_back_off(struct hf_replica *r, enum hf_err code)
{
    if (code == HF_BUSY) {
        r->report_hold = r->now + jitter(r, r->cfg.backoff_ms_min);
        return;
    }
    r->report_hold = r->now + jitter(r, r->report_wait);
    r->report_wait = 2 * r->report_wait;
    if (r->report_wait > r->cfg.backoff_ms_max) {
        r->report_wait = r->cfg.backoff_ms_max;
    }
}

/* A reply alone is no reason to hurry: a core may go on to answer, and what it answers be useless.
 */
void backoff_reset(struct hf_replica *r)
{
    if (r->now - r->link_since[HF_CHANNEL_CONTROL] >= r->cfg.stable_ms) {
        r->pace[0].backoff = r->pace[1].backoff = r->cfg.backoff_ms_min;
    }
}

/* ---- how many, how large ---- */

static uint32_t data_most(uint32_t step)
{
    return step < DATA_MAX_MOST ? step : DATA_MAX_MOST;
}

/* A reply that was filled says something about the link, another one only that there was no more.
 * What was asked for is counted before compression, what came after it: text packs to a fifth. */
bool reply_is_filled(const struct request *q, uint32_t bytes)
{
    return bytes >= q->data_max / 8;
}

static uint32_t data_open(const struct hf_replica *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        const struct request *q = &r->request[i];
        n += q->id != 0 && q->state == REQUEST_SENT && is_data(q->kind) && !q->late;
    }
    return n;
}

bool data_room(const struct hf_replica *r)
{
    uint32_t most = r->waits ? 1 : r->width.now; /* one is enough to ask whether it is our turn */
    return data_open(r) < most && share_room(r);
}

/* Who was cut off for long has much to fetch, and connections take round trips to make. */
static bool expects_data(const struct hf_replica *r, enum hf_replica_request kind)
{
    hf_ms heard = later(r->heard[0], r->heard[1]);
    bool cut_off = heard >= 0 && r->now - heard >= LONG_CUT_MS;
    return kind == HF_REPRQ_PLAN || (kind == HF_REPRQ_HELLO && cut_off);
}

/* Each part of a transfer is asked for by one request at a time. When much fewer parts are left
 * than requests may be under way, each asks for more: the end has fewer round trips then. But not
 * where replies take long as it is: a cut would waste more, and a hanging one is the end of all. */
static uint32_t chunk_step(const struct hf_replica *r)
{
    bool quick = 2 * (r->pace[1].rtt_mean - r->pace[0].rtt_least) < TRANSFER_MS_MOST;
    bool few = quick && 2 * stage_parts_left(r) <= r->width.now;
    uint32_t step = few ? 2 * r->size.data_max : r->size.data_max;
    return step < DATA_MAX_STEP_MOST ? step : DATA_MAX_STEP_MOST;
}

struct hf_replica_effect *request_send(struct hf_replica *r, const struct request *what)
{
    struct request *q = request_unused(r);
    *q = *what;
    q->id = r->next_id++;
    q->state = REQUEST_SENT;
    q->applied = r->applied.seq;
    q->sent = r->now;
    if (is_data(q->kind)) {
        q->data_max = data_most(is_chunk(q) ? chunk_step(r) : r->size.data_max);
        share_charge(r, q->data_max);
    }
    struct hf_replica_effect *e = fx_add(r, HF_REPFX_SEND);
    e->request = q->id;
    e->kind = q->kind;
    e->first = q->first;
    e->last = q->last;
    e->part = q->part;
    e->data_max = q->data_max;
    e->expect = expects_data(r, q->kind);
    e->timeout_ms = q->timeout_ms = timeout_of(r, q);
    r->requests++;
    return e;
}

/* Sizes are powers of two, so that edges which fetch the same ask for the same pieces. */
static void size_adapt(struct hf_replica *r, const struct request *q, uint32_t bytes, hf_ms took)
{
    struct size *s = &r->size;
    hf_ms transfer = took - r->pace[0].rtt_least;
    if (!reply_is_filled(q, bytes) || q->data_max != data_most(s->data_max)) {
        return;
    }
    s->replies++;
    s->quick += transfer < TRANSFER_MS_LEAST;
    s->slow += transfer > TRANSFER_MS_MOST;
    if (s->slow > TRANSFER_REPLIES / 2 && s->data_max > DATA_MAX_LEAST) {
        s->data_max /= 2;
    } else if (s->quick > TRANSFER_REPLIES / 2 && s->data_max < DATA_MAX_STEP_MOST) {
        s->data_max *= 2;
    } else if (s->replies < TRANSFER_REPLIES) {
        return;
    }
    *s = (struct size){.data_max = s->data_max};
}

/* The answers of a new connection stand in no queue yet, whatever those of the old one waited for.
 */
void pace_restart(struct hf_replica *r)
{
    r->pace[0].rtt = r->pace[0].rtt_least;
}

/* HELLO and PLAN are answered at once. One that the answer to something asked much later has
 * overtaken is lost, for however long the link has taught to wait. */
static void give_up_overtaken(struct hf_replica *r, const struct request *by)
{
    for (uint32_t i = 0; i < HF_REPLICA_REQUESTS_MAX; i++) {
        struct request *q = &r->request[i];
        bool prompt = q->kind == HF_REPRQ_HELLO || q->kind == HF_REPRQ_PLAN;
        if (prompt && q->state == REQUEST_SENT && by->sent - q->sent >= r->cfg.request_ms_min) {
            q->id = 0;
        }
    }
}

static void rtt_learn(struct pace *pace, hf_ms took)
{
    /* It rises at once and falls slowly: too long a time-out costs less than asking twice. */
    pace->rtt = took > pace->rtt ? took : (7 * pace->rtt + took) / 8;
    /* ... and what a reply takes on a lossy link tells of the way there only when it is least. */
    pace->rtt_least =
        pace->rtt_least == 0 || took < pace->rtt_least ? took : (15 * pace->rtt_least + took) / 16;
    pace->rtt_mean = pace->rtt_mean == 0 ? took : (7 * pace->rtt_mean + took) / 8;
}

void pace_replied(struct hf_replica *r, const struct request *q, uint32_t bytes, bool granted)
{
    hf_ms took = r->now - q->sent;
    struct pace *pace = pace_of(r, q->kind);
    bool data = is_data(q->kind);
    share_heard(r, data ? bytes : 0);
    if (q->late) {
        share_replied(r, q, bytes);
        return; /* what it took says how long the link was cut */
    }
    took = took > 0 ? took : 1;
    if (granted || !data) { /* data that is refused takes as long as any small answer */
        rtt_learn(pace, took);
    }
    pace->timeouts_in_row = 0;
    pace->replied_at = r->now;
    r->timeouts_in_row = 0;
    if (r->now - later(r->pace[0].failed_at, r->pace[1].failed_at) >= r->cfg.stable_ms) {
        backoff_reset(r);
    }
    give_up_overtaken(r, q);
    if (data) {
        share_replied(r, q, bytes);
        size_adapt(r, q, bytes, took);
    }
    if (data && granted) {
        r->waits = false;
        width_replied(r, q->sent, data_open(r) + 1);
    }
}

/* The core has more to do than it has room for, or others to serve first: that is no standstill,
 * and it has said when to come again. */
void pace_busy(struct hf_replica *r, const struct request *q, hf_ms told)
{
    if (q->kind == HF_REPRQ_REPORT) {
        return;
    }
    r->progress_at = later(r->progress_at, r->now + told);
    if (is_data(q->kind) && told < TURN_MS) {
        width_refused(r, q->sent);
    } else if (is_data(q->kind) && !r->waits) {
        r->waits = true;
        note(r, HF_NOTE_WAITS, r->head, r->applied.seq);
    }
}

void pace_timed_out(struct hf_replica *r, const struct request *q)
{
    struct pace *pace = pace_of(r, q->kind);
    if (is_data(q->kind)) {
        share_refund(r, q->data_max);
        if (q->late || pace->replied_at > q->sent) {
            return; /* one connection hangs, the others carry: the same is asked over another */
        }
        width_close(r);
        r->size.data_max =
            r->size.data_max > 2 * DATA_MAX_LEAST ? r->size.data_max / 2 : DATA_MAX_LEAST;
    }
    /* One that came back early broke with its link, which says nothing of how long answers take: a
     * restart of the core made the next ones wait four times as long. */
    bool join = q->kind == HF_REPRQ_JOIN;
    pace->timeouts_in_row += join || r->now - q->sent >= q->timeout_ms - q->timeout_ms / 8;
    if (join) {
        /* A core lets in so many strangers a second and does not answer the others. Who came with
         * many shall not come back with all of them. */
        uint32_t again =
            pace->timeouts_in_row < JOIN_DOUBLES ? pace->timeouts_in_row : JOIN_DOUBLES;
        hf_ms most = 2 * r->cfg.request_ms_min << again;
        back_off(r, q->kind, jitter(r, 2 * most) - most);
    } else if (q->kind != HF_REPRQ_REPORT) {
        back_off(r, q->kind, 0);
    }
}
