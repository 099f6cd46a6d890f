/*
 * fuzz_replica.c - F7: the replica engine driven by bytes, against an honest core, a network that
 * does what it likes, and a disk that fails and rots.
 *
 * Each byte pair chooses what happens next: a frame, true or forged, arrives; a verification ends;
 * a request is answered, late or not at all; the store succeeds or fails; time passes; a link
 * breaks; the process dies. The adversary has no key: only frames of the true history verify, and
 * beacons and replies are the core's own, if old.
 *
 * Checked after every event: what is ordered is a valid prefix (G1), applied never goes back (G6),
 * only what is durable is published, the staleness bound is honest (G8), no honest core is called a
 * fork (G13), tables and effects keep their bounds (G16), and the next tick is in the future. Then
 * the faults stop, and the edge must reach the head (G10): what was in its way is printed.
 *
 * Read next: edge/replica.c.
 */
#include "hf/replica.h"

#include <stdio.h>
#include <stdlib.h>

enum { SLOTS = 256, HELD_MAX = 32, REQUESTS = 128, HEAD_MAX = 4000, KEY_SPAN = 40, CHUNKS = 3 };

struct slot {
    bool used, verifying, whole, sealed;
    hf_seq seq;
    uint8_t branch; /* 0 = the true history */
    uint8_t parts;  /* of the body, 2 make it whole */
};

struct sent {
    struct hf_replica_effect fx; /* type SEND; request 0 = free */
    hf_ms at;
    hf_seq head; /* of the core at that time: a reply may be as old as its request */
};

#define PARTS 3u

struct chunk {
    bool waits;
    bool keys;
    uint8_t index;
    hf_seq asof;
};

struct staged {
    struct hf_stage stage;
    uint8_t chunks[PARTS]; /* staged of each part of the range under way */
};

struct sim {
    const uint8_t *at, *end;
    struct hf_replica *r;
    struct hf_replica_config cfg;
    hf_ms now;
    /* ---- the core ---- */
    hf_seq head, floor;
    uint64_t counter;
    hf_ms published_at[HEAD_MAX + 2];
    /* ---- the edge's driver and store ---- */
    struct slot slot[SLOTS];
    struct sent sent[REQUESTS];
    uint64_t overflow;         /* a request that found no room: it times out */
    struct chunk chunk[PARTS]; /* the newest of each part */
    struct chunk taken[PARTS]; /* by the order under way */
    struct hf_position position;
    struct staged staged, committed; /* an abort makes the first the second again */
    bool inbox[HEAD_MAX + 2];
    bool busy, rotten;
    bool rotten_through; /* beyond repair in place */
    bool comparing;
    uint32_t checks; /* under way */
    struct hf_replica_effect op;
    hf_seq keys_to; /* content keys are known up to here */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t draw(struct sim *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

/* ---- history ---- */

static struct hf_hash hash_of(char what, hf_seq seq, uint8_t branch)
{
    struct hf_hash h = {{(uint8_t)what, branch}};
    memcpy(h.b + 8, &seq, sizeof(seq));
    return h;
}

static const struct hf_id epoch = {{0xe1}};

static struct hf_position position_of(hf_seq seq)
{
    return (struct hf_position){epoch, seq, hash_of('c', seq, 0), hash_of('d', seq, 0)};
}

/* ---- effects ---- */

static struct slot *held_at(struct sim *s, hf_seq seq)
{
    for (int i = 0; i < SLOTS; i++) {
        struct slot *x = &s->slot[i];
        if (x->used && x->seq == seq && x->branch == 0 && !x->verifying) {
            return x;
        }
    }
    return NULL;
}

static void on_send(struct sim *s, const struct hf_replica_effect *fx)
{
    HF_ASSERT(fx->timeout_ms > 0 && fx->timeout_ms <= s->cfg.request_ms_max);
    for (int i = 0; i < REQUESTS; i++) {
        if (s->sent[i].fx.request == 0) {
            s->sent[i] = (struct sent){*fx, s->now, s->head};
            return;
        }
    }
    s->overflow = fx->request;
}

/* What a store operation may be about. */
static void check_order(struct sim *s, const struct hf_replica_effect *fx)
{
    HF_ASSERT(!s->busy);
    s->busy = true;
    s->op = *fx;
    if (fx->type == HF_REPFX_APPLY) {
        HF_ASSERT(fx->first == s->position.seq + 1 && fx->last >= fx->first &&
                  !s->staged.stage.active);
        for (hf_seq seq = fx->first; seq <= fx->last; seq++) {
            const struct slot *x = held_at(s, seq);
            HF_ASSERT(x != NULL && x->whole && !x->sealed);
        }
    } else if (fx->type == HF_REPFX_TAKE) {
        const struct slot *x = &s->slot[fx->slot];
        HF_ASSERT(x->used && x->whole && !x->verifying && !s->staged.stage.active);
        HF_ASSERT(x->seq == s->position.seq + 1 && fx->first == x->seq && fx->last == x->seq);
    } else if (fx->type == HF_REPFX_STAGE_SWITCH && fx->slot == UINT32_MAX) {
        const struct hf_stage *g = &s->staged.stage;
        HF_ASSERT(g->active && g->kind == HF_PLAN_REPAIR && g->part_count == 0);
        HF_ASSERT(g->tail == s->position.seq && g->asof <= g->tail);
    } else if (fx->type == HF_REPFX_STAGE_FRAME || fx->type == HF_REPFX_STAGE_SWITCH) {
        const struct slot *x = &s->slot[fx->slot];
        bool closing = fx->type == HF_REPFX_STAGE_SWITCH;
        HF_ASSERT(s->staged.stage.active && x->used && x->branch == 0 && !x->verifying);
        HF_ASSERT(x->seq == s->staged.stage.tail + !closing);
        HF_ASSERT(closing ? x->seq >= s->staged.stage.asof : x->whole && !x->sealed);
    } else if (fx->type == HF_REPFX_STAGE_BEGIN || fx->type == HF_REPFX_STAGE_DROP) {
        memset(s->chunk, 0, sizeof(s->chunk));
    } else if (fx->type == HF_REPFX_STAGE_CHUNK) {
        HF_ASSERT(fx->parts != 0);
        memset(s->taken, 0, sizeof(s->taken));
        for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX; i++) {
            if ((fx->parts >> i & 1) != 0) {
                HF_ASSERT(i < PARTS && s->chunk[i].waits);
                s->taken[i] = s->chunk[i];
                s->chunk[i].waits = false;
            }
        }
    }
}

static void carry_out(struct sim *s, const struct hf_replica_effect *fx)
{
    struct slot *x = &s->slot[fx->slot % SLOTS];
    if (fx->type >= HF_REPFX_APPLY) {
        check_order(s, fx);
    } else if (fx->type == HF_REPFX_VERIFY) {
        HF_ASSERT(x->used && !x->verifying);
        x->verifying = true;
    } else if (fx->type == HF_REPFX_DROP) {
        HF_ASSERT(x->used);
        x->used = false;
    } else if (fx->type == HF_REPFX_RELEASE) {
        for (int i = 0; i < SLOTS; i++) {
            s->slot[i].used &= s->slot[i].seq > fx->last;
        }
    } else if (fx->type == HF_REPFX_SEND) {
        on_send(s, fx);
    } else if (fx->type == HF_REPFX_APPLIED) {
        HF_ASSERT(fx->last == s->position.seq);
    } else if (fx->type == HF_REPFX_CHECK) {
        s->checks++;
    } else if (fx->type == HF_REPFX_NARROW) {
        HF_ASSERT(!s->comparing && fx->first <= 1);
    } else if (fx->type == HF_REPFX_COMPARE) {
        HF_ASSERT(!s->comparing);
        s->comparing = true;
    } else if (fx->type == HF_REPFX_NOTE) {
        HF_ASSERT(fx->note != HF_NOTE_FORK && fx->note != HF_NOTE_ROLLBACK &&
                  fx->note != HF_NOTE_DIVERGED);
    }
}

static void check_status(struct sim *s)
{
    struct hf_replica_status now;
    hf_replica_status(s->r, s->now, &now);
    HF_ASSERT(now.applied == s->position.seq);
    HF_ASSERT(now.head <= s->head && now.head >= now.applied && now.received <= s->head);
    for (hf_seq i = 1; i <= now.held_ahead; i++) { /* it may have to be applied again */
        const struct slot *x = held_at(s, s->position.seq + i);
        HF_ASSERT(x != NULL && x->whole && !x->sealed);
    }
    HF_ASSERT(now.held_now <= s->cfg.hold_frames_max && now.state != HF_REPLICA_DIVERGED);
    hf_ms superseded = s->published_at[now.applied + 1];
    if (now.applied < s->head && now.staleness_ms != UINT64_MAX) {
        HF_ASSERT((hf_ms)now.staleness_ms >= s->now - superseded);
    }
    HF_ASSERT(hf_replica_deadline(s->r) > s->now);
}

static void step(struct sim *s, struct hf_replica_event ev)
{
    struct hf_replica_effects fx;
    ev.now = s->now;
    ev.entropy = (uint64_t)s->now * 0x9e3779b97f4a7c15u;
    hf_replica_step(s->r, &ev, &fx);
    HF_ASSERT(fx.count <= HF_REPLICA_EFFECTS_MAX);
    for (uint32_t i = 0; i < fx.count; i++) {
        carry_out(s, &fx.at[i]);
    }
    if (s->overflow != 0) {
        struct hf_replica_event lost = {.type = HF_REPEV_TIMEOUT, .request = s->overflow};
        s->overflow = 0;
        step(s, lost);
    }
    check_status(s);
}

/* ---- frames ---- */

struct arrival {
    hf_seq seq;
    uint8_t branch;
    bool alone, restored;
    uint64_t request;
};

static void arrive(struct sim *s, struct arrival a)
{
    struct hf_header h = {
        .epoch_id = epoch, .seq = a.seq, .prev = hash_of('c', a.seq - 1, a.branch)};
    uint32_t i = 0;
    while (i < SLOTS && (s->slot[i].used || s->slot[i].verifying)) {
        i++;
    }
    if (i == SLOTS) {
        return;
    }
    s->slot[i] = (struct slot){.used = true, .whole = !a.alone, .seq = a.seq, .branch = a.branch};
    step(s, (struct hf_replica_event){.type = a.restored ? HF_REPEV_RESTORED : HF_REPEV_FRAME,
                                      .slot = i,
                                      .header = &h,
                                      .bytes = 100,
                                      .chain = hash_of('c', a.seq, a.branch),
                                      .ok = !a.alone,
                                      .request = a.request});
}

static bool alone(hf_seq seq)
{
    return seq % 11 == 0; /* too large for a message */
}

/* A verification ends; one of a slot that was dropped meanwhile is not told. */
static bool verify(struct sim *s, uint32_t from)
{
    for (uint32_t n = 0; n < SLOTS; n++) {
        uint32_t i = (from + n) % SLOTS;
        struct slot *x = &s->slot[i];
        if (!x->verifying) {
            continue;
        }
        x->verifying = false;
        if (!x->used) {
            continue;
        }
        x->sealed = x->whole && x->seq > s->keys_to;
        enum hf_err code = x->branch != 0 ? HF_AUTH : x->sealed ? HF_SEALED : HF_OK;
        step(s, (struct hf_replica_event){.type = HF_REPEV_VERIFIED, .slot = i, .code = code});
        return true;
    }
    return false;
}

/* The first half of a TAKE: what its verification came to. */
static enum hf_err take_verify(struct sim *s)
{
    struct slot *x = &s->slot[s->op.slot];
    x->sealed = x->seq > s->keys_to;
    return x->branch != 0 ? HF_AUTH : x->sealed ? HF_SEALED : HF_OK;
}

/* ---- replies ---- */

static void beacon(struct sim *s, const struct sent *q, hf_seq head, bool old)
{
    hf_ms t0 = q == NULL ? -1 : q->at;
    uint64_t request = q == NULL ? 0 : q->fx.request;
    struct hf_beacon b = {.epoch_id = epoch,
                          .head = head,
                          .chain = hash_of('c', head, 0),
                          .digest = hash_of('d', head, 0),
                          .log_floor = s->floor,
                          .counter = old ? s->counter / 2 : ++s->counter};
    step(s, (struct hf_replica_event){
                .type = HF_REPEV_BEACON, .beacon = &b, .t0 = t0, .request = request});
}

static void answer_log(struct sim *s, const struct hf_replica_effect *q,
                       struct hf_replica_event *ev, uint8_t how_many)
{
    if (q->first < s->floor || q->first > s->head) {
        ev->code = q->first > s->head ? HF_NOT_YET : HF_BELOW_FLOOR;
        return;
    }
    for (hf_seq seq = q->first; seq <= q->last && seq <= s->head; seq++) {
        arrive(s, (struct arrival){.seq = seq, .alone = alone(seq), .request = q->request});
        ev->seq = seq;
        if (seq - q->first == how_many) {
            break;
        }
    }
}

static void answer_body(struct sim *s, const struct hf_replica_effect *q,
                        struct hf_replica_event *ev)
{
    struct slot *x = held_at(s, q->first);
    if (x == NULL || (x->whole && x->parts == 0)) {
        ev->code = HF_MALFORMED;
        return;
    }
    /* Replies to requests long given up count too: the last part may be there already. */
    x->parts += x->parts < 2;
    x->whole = x->parts == 2;
    ev->seq = q->first;
    ev->offset = x->parts;
    ev->total = 2;
}

static void answer_chunk(struct sim *s, const struct hf_replica_effect *q,
                         struct hf_replica_event *ev)
{
    bool keys = q->kind == HF_REPRQ_KEYS;
    if (!keys && s->staged.stage.target > s->head) {
        ev->code = HF_NOT_YET;
    } else {
        HF_ASSERT(q->part < PARTS);
        s->chunk[q->part] = (struct chunk){true, keys, s->staged.chunks[q->part], s->head};
    }
}

static void answer(struct sim *s, struct sent *open, uint8_t how)
{
    struct sent q = *open;
    struct hf_position at = s->position;
    struct hf_replica_event ev = {
        .type = HF_REPEV_REPLY, .request = q.fx.request, .position = &at, .seq = s->head};
    bool reaches = s->position.seq + 1 >= s->floor;
    open->fx.request = 0;
    if ((how & 0xe0) == 0xe0) {
        ev.code = HF_BUSY;
        ev.retry_ms = how & 31u;
    } else if (q.fx.kind == HF_REPRQ_HELLO || q.fx.kind == HF_REPRQ_REPORT) {
        s->keys_to =
            q.fx.kind == HF_REPRQ_HELLO ? s->head / KEY_SPAN * KEY_SPAN + KEY_SPAN : s->keys_to;
        beacon(s, &q, how & 16u ? q.head : s->head, how & 16u);
    } else if (q.fx.kind == HF_REPRQ_PLAN) {
        ev.plan = reaches ? HF_PLAN_LOG : how & 1u ? HF_PLAN_DELTA : HF_PLAN_SNAPSHOT;
    } else if (q.fx.kind == HF_REPRQ_LOG) {
        answer_log(s, &q.fx, &ev, how);
    } else if (q.fx.kind == HF_REPRQ_BODY) {
        answer_body(s, &q.fx, &ev);
    } else if (q.fx.kind == HF_REPRQ_RANGES) {
        ev.code = (how & 0xe0) == 0xc0 ? HF_MALFORMED : HF_OK;
    } else if ((how & 0xe0) == 0xc0) {
        ev.code = HF_MOVED;
    } else {
        answer_chunk(s, &q.fx, &ev);
    }
    step(s, ev);
}

static struct sent *sent_at(struct sim *s, uint32_t from)
{
    for (uint32_t n = 0; n < REQUESTS; n++) {
        struct sent *q = &s->sent[(from + n) % REQUESTS];
        if (q->fx.request != 0) {
            return q;
        }
    }
    return NULL;
}

static void time_out(struct sim *s, struct sent *q)
{
    uint64_t id = q->fx.request;
    q->fx.request = 0;
    step(s, (struct hf_replica_event){.type = HF_REPEV_TIMEOUT, .request = id});
}

/* ---- the store ---- */

static bool in_keys(const struct hf_stage *g)
{
    return g->kind != HF_PLAN_DELTA && !g->keys_done;
}

/* The range up to the target is in progress from the start of each part, unless it is empty. */
static void range_begin(struct sim *s)
{
    struct hf_stage *g = &s->staged.stage;
    bool keys = in_keys(g);
    memset(s->staged.chunks, 0, sizeof(s->staged.chunks));
    g->part_count = keys || g->target > g->covered ? PARTS : 0;
    for (uint32_t i = 0; i < PARTS; i++) {
        g->part[i] = (struct hf_stage_part){.until = {.seq = g->target}};
    }
}

static void range_end(struct sim *s, bool keys)
{
    struct hf_stage *g = &s->staged.stage;
    for (uint32_t i = 0; i < g->part_count; i++) {
        if (!g->part[i].done) {
            return;
        }
    }
    g->part_count = 0;
    g->keys_done |= keys;
    g->covered = keys ? g->covered : g->target;
    g->tail = g->tail > g->covered ? g->tail : g->covered;
}

static enum hf_err store_chunk(struct sim *s, uint32_t part)
{
    struct hf_stage *g = &s->staged.stage;
    const struct chunk *c = &s->taken[part];
    bool keys = in_keys(g);
    if (!g->active || part >= g->part_count || g->part[part].done || c->keys != keys ||
        c->index != s->staged.chunks[part]) {
        return HF_OK; /* late: left out */
    }
    if (c->asof < (keys ? g->keys_head : g->target)) {
        return HF_MALFORMED;
    }
    g->asof = c->asof > g->asof ? c->asof : g->asof;
    g->bytes += 1000;
    g->part[part].done = ++s->staged.chunks[part] == CHUNKS;
    range_end(s, keys);
    return HF_OK;
}

static enum hf_err store_chunks(struct sim *s)
{
    enum hf_err err = HF_OK;
    for (uint32_t i = 0; i < PARTS && err == HF_OK; i++) {
        err = s->taken[i].waits ? store_chunk(s, i) : HF_OK;
    }
    return err;
}

static enum hf_err store_switch(struct sim *s)
{
    enum hf_plan_kind kind = s->staged.stage.kind;
    hf_seq seq = s->op.slot == UINT32_MAX ? s->position.seq : s->slot[s->op.slot].seq;
    if ((s->rotten && kind == HF_PLAN_DELTA) || (s->rotten_through && kind == HF_PLAN_REPAIR)) {
        return HF_DIGEST;
    }
    if (seq < s->position.seq) {
        return HF_ARG;
    }
    s->rotten = s->rotten_through = false;
    s->position = position_of(seq);
    s->staged.stage = (struct hf_stage){0};
    return HF_OK;
}

static enum hf_err store_begin(struct sim *s)
{
    bool snapshot = s->op.plan == HF_PLAN_SNAPSHOT;
    if (s->staged.stage.active) {
        return HF_EXISTS;
    }
    if (!snapshot && s->op.last < s->position.seq) {
        return HF_ARG;
    }
    hf_seq covered = snapshot ? s->op.last : s->position.seq;
    s->staged.stage = (struct hf_stage){.active = true,
                                        .kind = s->op.plan,
                                        .epoch_id = epoch,
                                        .base = s->position.seq,
                                        .keys_head = s->op.plan == HF_PLAN_DELTA ? 0 : covered,
                                        .covered = covered,
                                        .tail = covered,
                                        .target = s->op.last};
    range_begin(s);
    return HF_OK;
}

static void store_hold(struct sim *s)
{
    for (int i = 0; i < SLOTS; i++) {
        const struct slot *x = &s->slot[i];
        bool in = x->used && x->seq >= s->op.first && x->seq <= s->op.last;
        if (in && x->whole && !x->verifying && x->branch == 0) {
            s->inbox[x->seq] = true;
        }
    }
}

/* What the store does of the operation under way. */
static enum hf_err store_work(struct sim *s)
{
    switch ((int)s->op.type) {
    case HF_REPFX_APPLY:
    case HF_REPFX_TAKE:
        if (s->rotten) {
            return HF_DIGEST;
        }
        s->position = s->op.commit ? position_of(s->op.last) : s->position;
        return HF_OK;
    case HF_REPFX_HOLD:
        store_hold(s);
        return HF_OK;
    case HF_REPFX_STAGE_BEGIN:
        return store_begin(s);
    case HF_REPFX_STAGE_CHUNK:
        return store_chunks(s);
    case HF_REPFX_STAGE_SKIP:
        return s->op.part >= s->staged.stage.part_count ? HF_ARG : HF_OK;
    case HF_REPFX_STAGE_TARGET:
        if (s->op.last < s->staged.stage.covered) {
            return HF_ARG;
        }
        s->staged.stage.target = s->op.last;
        range_begin(s);
        return HF_OK;
    case HF_REPFX_STAGE_FRAME:
        s->staged.stage.tail++;
        return HF_OK;
    case HF_REPFX_STAGE_SWITCH:
        return store_switch(s);
    case HF_REPFX_STAGE_DROP:
        s->staged.stage = (struct hf_stage){0};
        return HF_OK;
    }
    return HF_OK; /* REOPEN */
}

static void store_done(struct sim *s, enum hf_err fails)
{
    if (!s->busy) {
        return;
    }
    struct hf_replica_event ev = {
        .type = HF_REPEV_STORE_DONE, .op = s->op.type, .seq = s->op.first};
    enum hf_err bad = s->op.type == HF_REPFX_TAKE ? take_verify(s) : HF_OK;
    bool open = s->op.type == HF_REPFX_STAGE_CHUNK || s->op.type == HF_REPFX_STAGE_FRAME;
    ev.code = bad != HF_OK ? bad : fails != HF_OK ? fails : store_work(s);
    ev.ok = s->op.type == HF_REPFX_TAKE && bad == HF_OK;
    if (ev.code != HF_OK) {
        s->staged = s->committed;
    } else if (!open) {
        s->committed = s->staged;
    }
    if (ev.code == HF_FULL && s->op.type == HF_REPFX_APPLY && s->op.last > s->op.first) {
        s->position = position_of(s->op.first); /* in part */
        ev.seq = s->op.first + 1;
    }
    struct hf_position at = s->position;
    struct hf_stage stage = s->staged.stage;
    ev.position = &at;
    ev.stage = &stage;
    s->busy = false;
    step(s, ev);
}

static void compared(struct sim *s, uint8_t how)
{
    static const enum hf_err codes[] = {HF_TOO_BIG, HF_CORRUPT, HF_MALFORMED, HF_NOMEM};
    if (!s->comparing) {
        return;
    }
    s->comparing = false;
    step(s, (struct hf_replica_event){.type = HF_REPEV_COMPARED,
                                      .code = (how & 0x1cu) == 0x1cu ? codes[how & 3u] : HF_OK,
                                      .ok = (how & 1u) != 0,
                                      .offset = 10,
                                      .total = s->rotten || (how & 2u) != 0});
}

static void checked(struct sim *s)
{
    if (s->checks > 0) {
        s->checks--;
        step(s, (struct hf_replica_event){.type = HF_REPEV_CHECKED,
                                          .code = s->rotten ? HF_CORRUPT : HF_NOMEM});
    }
}

/* ---- life ---- */

static void start(struct sim *s)
{
    struct hf_position at = s->position;
    if (s->committed.stage.kind == HF_PLAN_REPAIR) { /* does not outlive its process */
        memset(&s->committed, 0, sizeof(s->committed));
    }
    s->staged = s->committed;
    struct hf_stage stage = s->staged.stage;
    memset(s->slot, 0, sizeof(s->slot));
    memset(s->sent, 0, sizeof(s->sent));
    memset(s->chunk, 0, sizeof(s->chunk));
    s->busy = s->comparing = false;
    s->checks = 0;
    hf_replica_free(s->r);
    s->r = hf_replica_new(&s->cfg);
    HF_ASSERT(s->r != NULL);
    step(s, (struct hf_replica_event){
                .type = HF_REPEV_START, .position = &at, .stage = &stage, .ok = true});
    for (hf_seq seq = at.seq + 1; seq <= s->head; seq++) {
        if (s->inbox[seq]) {
            arrive(s, (struct arrival){.seq = seq, .restored = true});
        }
    }
}

static void crash(struct sim *s, bool written)
{
    if (s->busy && written && store_work(s) == HF_OK) {
        s->committed = s->staged;
    }
    start(s);
}

static void publish(struct sim *s, uint32_t count)
{
    for (; count > 0 && s->head < HEAD_MAX; count--) {
        s->published_at[++s->head] = s->now;
    }
}

static void link_is(struct sim *s, enum hf_channel channel, bool up)
{
    step(s, (struct hf_replica_event){.type = HF_REPEV_LINK, .channel = channel, .ok = up});
}

static void fault(struct sim *s, uint8_t how)
{
    static const enum hf_err codes[] = {HF_FULL, HF_IO, HF_NOMEM, HF_FULL};
    switch (how >> 6) {
    case 0:
        store_done(s, codes[how & 3u]);
        break;
    case 1:
        if ((how & 6u) == 0) {
            crash(s, how & 1u);
        }
        break;
    case 2:
        s->rotten |= (how & 7u) == 0;
        s->rotten_through |= (how & 31u) == 0;
        if ((how & 7u) == 1) {
            step(s, (struct hf_replica_event){.type = HF_REPEV_REPAIR, .ok = how & 8u});
        } else if ((how & 7u) >= 4) {
            compared(s, how);
        } else {
            checked(s);
        }
        break;
    case 3:
        s->floor = s->floor + how % 64u < s->head ? s->floor + how % 64u : s->floor;
        break;
    }
}

static void tick(struct sim *s, hf_ms ms)
{
    s->now += ms;
    step(s, (struct hf_replica_event){.type = HF_REPEV_TICK});
}

static void chosen_event(struct sim *s, uint8_t what, uint8_t how)
{
    hf_seq near = s->position.seq + 1 + how % 64u;
    struct sent *q = sent_at(s, how);
    near = near <= s->head ? near : s->head;
    switch (what % 12u) {
    case 0:
        publish(s, how % 128u);
        break;
    case 1:
        arrive(s, (struct arrival){.seq = near > 0 ? near : 1, .branch = 1 + how % 2u});
        break;
    case 2:
        if (near > 0) {
            arrive(s, (struct arrival){.seq = near, .alone = alone(near)});
        }
        break;
    case 3:
    case 4:
        verify(s, how);
        break;
    case 5:
    case 6:
        if (q != NULL) {
            answer(s, q, how);
        }
        break;
    case 7:
        store_done(s, HF_OK);
        break;
    case 8:
        tick(s, how < 200 ? how : (how - 190) * 100);
        break;
    case 9:
        if (q != NULL) {
            time_out(s, q);
        }
        break;
    case 10:
        if (how < 192) {
            beacon(s, NULL, s->head, how & 1u);
        } else {
            link_is(s, (enum hf_channel)(how & 1u), how & 6u);
        }
        break;
    case 11:
        fault(s, how);
        break;
    }
}

/* No more faults: everything is answered in 20 ms. */
static void heal(struct sim *s)
{
    struct sent *q;
    s->floor = s->floor < s->head ? s->floor : s->head;
    link_is(s, HF_CHANNEL_CONTROL, false);
    link_is(s, HF_CHANNEL_CONTROL, true);
    link_is(s, HF_CHANNEL_STREAM, true);
    hf_ms end = s->now + 300000;
    while (s->now < end && (hf_replica_pending(s->r) != NULL || s->position.seq < s->head)) {
        while (verify(s, 0)) {
        }
        store_done(s, HF_OK);
        checked(s);
        compared(s, 1);
        if ((q = sent_at(s, 0)) != NULL) {
            answer(s, q, 15);
        }
        tick(s, 20);
    }
    const char *why = hf_replica_pending(s->r);
    if (s->position.seq < s->head) {
        fprintf(stderr, "stuck at %u of %u: %s\n", (unsigned)s->position.seq, (unsigned)s->head,
                why == NULL ? "believes to be done" : why);
    }
    HF_ASSERT(s->position.seq == s->head && why == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim *s = calloc(1, sizeof(*s));
    HF_ASSERT(s != NULL);
    s->at = data;
    s->end = data + (size < 4096 ? size : 4096);
    s->now = 1000;
    s->floor = 1;
    s->keys_to = KEY_SPAN;
    s->position = position_of(0);
    hf_replica_defaults(&s->cfg);
    s->cfg.hold_frames_max = HELD_MAX;
    s->cfg.ahead_frames_min = 1;
    s->cfg.hold_bytes_max = 2500;
    start(s);
    link_is(s, HF_CHANNEL_STREAM, true);
    link_is(s, HF_CHANNEL_CONTROL, true);
    while (s->at < s->end) {
        uint8_t what = draw(s);
        chosen_event(s, what, draw(s));
    }
    heal(s);
    hf_replica_free(s->r);
    free(s);
    return 0;
}
