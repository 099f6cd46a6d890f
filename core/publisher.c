/*
 * publisher.c - the core's pure engine: the order of writing, answering, publishing, committing.
 *
 * Invariant (G3): ANSWER and PUBLISH name only what a START, GROUP_DONE, COMMITTED or RECOVERED
 * event reported as durable, and PUBLISH of a group follows its ANSWER in the same list. The writer
 * lane has one piece of work at a time, so a commit never sees half a group and a recovery never
 * races an append.
 *
 * PURE: no I/O, no clock, no randomness, no allocation after _new; `make lint` checks the object's
 * imports. Time comes in with each event. Spurious ticks are harmless: whatever is due is
 * recomputed from the state at each event (level-triggered), so a lost wake-up costs a tick, never
 * a write.
 *
 * Lag needs to know when a seq became the head. The history keeps (seq, time, digest) of heads;
 * when it is full, neighbours in its older half are joined, keeping the earlier time, so that a lag
 * taken from it is never too small for what the history spans. An edge's digest is compared when
 * its seq is in it.
 *
 * Read next: core/driver.c (runs the effects), core/group.c and core/writer.c (what
 * GROUP, COMMIT and RECOVER do).
 */
#include "hf/publisher.h"

#include <stdlib.h>

#define HISTORY_MAX 4096u
/* Heads closer than this share an entry: 4,096 entries then span 41 s of full load before thinning.
 */
#define HISTORY_MS 10
/* Quiet time after which the state is committed: long enough that one client's sequential writes do
 * not each pay a commit (0.4 ms at least), short beside the beacon and the 1 s bound. */
#define IDLE_COMMIT_MS 50
#define COMMIT_RETRY_MS 1000
#define COMMIT_RETRY_DAMAGED_MS 60000 /* it replays all that it can read, and that stays bad */
#define HEARD_MS 3000                 /* three reports */
#define LIVE_LAG_MS 2000

enum lane_work {
    LANE_IDLE,
    LANE_GROUP,
    LANE_COMMIT,
    LANE_RECOVER,
};

struct past_head {
    hf_seq seq;
    hf_ms since; /* when the first head of this entry came */
    struct hf_hash digest;
};

struct edge {
    bool enrolled;
    bool revoked;
    bool heard;
    bool reported;
    bool diverged;
    hf_ms heard_at;
    hf_ms reported_at;
    hf_ms base_since; /* when the transfer base of the last report was first reported */
    hf_seq applied;
    int digest_ok;
    struct hf_report report; /* the last; its slices are not used */
    char version[HF_VERSION_TEXT_MAX + 1];
};

struct hf_publisher {
    struct hf_publisher_config cfg;
    bool started;
    enum lane_work lane;
    bool group_ready; /* a FLUSH or TICK came since the first waiting write */
    bool read_waits;
    bool recorded; /* facts wait for a commit, or a recovery that failed does */
    uint32_t waiting;
    struct hf_position head;
    hf_seq committed;
    uint64_t uncommitted_changes;
    hf_ms dirty_since;
    hf_ms quiet_since;
    hf_ms commit_not_before;
    hf_ms beacon_at;
    uint32_t history_count;
    struct past_head *history; /* owned; ascending seq */
    struct edge *edge;         /* owned; cfg.edges_max rows */
};

struct hf_publisher *hf_publisher_new(const struct hf_publisher_config *c)
{
    HF_ASSERT(c->beacon_ms > 0 && c->commit_ms > 0 && c->commit_changes > 0);
    struct hf_publisher *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        return NULL;
    }
    p->cfg = *c;
    p->history = calloc(HISTORY_MAX, sizeof(*p->history));
    p->edge = calloc(c->edges_max, sizeof(*p->edge));
    if (p->history == NULL || p->edge == NULL) {
        hf_publisher_free(p);
        return NULL;
    }
    return p;
}

void hf_publisher_free(struct hf_publisher *p)
{
    if (p == NULL) {
        return;
    }
    free(p->history);
    free(p->edge);
    free(p);
}

/* ---- history of heads ---- */

static void history_thin(struct hf_publisher *p)
{
    uint32_t half = p->history_count / 2;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->history_count; i++) {
        struct past_head next = p->history[i];
        if (i + 1 < half) {
            /* The pair becomes one entry: the later seq and digest, the earlier time. */
            next = p->history[i + 1];
            next.since = p->history[i].since;
            i++;
        }
        p->history[kept++] = next;
    }
    p->history_count = kept;
}

static void history_add(struct hf_publisher *p, hf_ms now)
{
    struct past_head *last = p->history_count > 0 ? &p->history[p->history_count - 1] : NULL;
    if (last != NULL && p->history_count > 1 && now - last->since < HISTORY_MS) {
        last->seq = p->head.seq;
        last->digest = p->head.digest;
        return;
    }
    if (p->history_count == HISTORY_MAX) {
        history_thin(p);
    }
    p->history[p->history_count++] =
        (struct past_head){.seq = p->head.seq, .since = now, .digest = p->head.digest};
}

/* The first entry with seq >= `seq`; NULL when the head is below it. */
static const struct past_head *history_at(const struct hf_publisher *p, hf_seq seq)
{
    uint32_t lo = 0;
    uint32_t hi = p->history_count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (p->history[mid].seq < seq) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < p->history_count ? &p->history[lo] : NULL;
}

static uint64_t lag_ms(const struct hf_publisher *p, hf_seq applied, hf_ms now)
{
    if (applied >= p->head.seq) {
        return 0;
    }
    const struct past_head *h = history_at(p, applied + 1);
    HF_ASSERT(h != NULL);
    return now > h->since ? (uint64_t)(now - h->since) : 0;
}

/* ---- the writer lane ---- */

static void fx_add(struct hf_publisher_effects *fx, struct hf_publisher_effect e)
{
    HF_ASSERT(fx->count < HF_PUBLISHER_EFFECTS_MAX);
    fx->at[fx->count++] = e;
}

static bool dirty(const struct hf_publisher *p)
{
    return p->head.seq > p->committed || p->recorded;
}

/* When the commit of what is uncommitted is due; only asked while dirty. */
static hf_ms commit_at(const struct hf_publisher *p)
{
    hf_ms at = p->dirty_since + p->cfg.commit_ms;
    hf_ms idle = p->quiet_since + IDLE_COMMIT_MS;
    if (p->waiting == 0 && idle < at) {
        at = idle;
    }
    if (p->read_waits || p->uncommitted_changes >= p->cfg.commit_changes) {
        at = 0;
    }
    return at > p->commit_not_before ? at : p->commit_not_before;
}

static void lane_next(struct hf_publisher *p, hf_ms now, struct hf_publisher_effects *fx)
{
    if (!p->started || p->lane != LANE_IDLE) {
        return;
    }
    /* A due commit goes before the next group, or it would never come under steady load. */
    if (dirty(p) && now >= commit_at(p)) {
        p->lane = LANE_COMMIT;
        fx_add(fx, (struct hf_publisher_effect){.type = HF_PUBFX_COMMIT});
    } else if (p->waiting > 0 && p->group_ready) {
        p->lane = LANE_GROUP;
        fx_add(fx, (struct hf_publisher_effect){.type = HF_PUBFX_GROUP});
    }
}

static void readers_go(struct hf_publisher *p, struct hf_publisher_effects *fx)
{
    if (!p->read_waits) {
        return;
    }
    p->read_waits = false;
    fx_add(fx, (struct hf_publisher_effect){.type = HF_PUBFX_VISIBLE});
}

/* What waited for the log to be whole again need not wait any longer. */
static void log_is_whole(struct hf_publisher *p, hf_ms now)
{
    if (p->commit_not_before > now + COMMIT_RETRY_MS) {
        p->commit_not_before = 0;
    }
}

/* A failed lane leaves a transaction that must be aborted and replayed before anything else. */
static void lane_failed(struct hf_publisher *p, struct hf_publisher_effects *fx)
{
    p->lane = LANE_RECOVER;
    fx_add(fx, (struct hf_publisher_effect){.type = HF_PUBFX_RECOVER});
}

static void on_start(struct hf_publisher *p, const struct hf_publisher_event *ev)
{
    HF_ASSERT(!p->started && ev->seq <= ev->position.seq);
    p->started = true;
    p->head = ev->position;
    p->committed = ev->seq;
    p->dirty_since = ev->now;
    p->quiet_since = ev->now;
    p->beacon_at = ev->now; /* edges that wait for the core hear of it at the first tick */
    history_add(p, ev->now);
}

static void on_group_done(struct hf_publisher *p, const struct hf_publisher_event *ev,
                          struct hf_publisher_effects *fx)
{
    HF_ASSERT(p->lane == LANE_GROUP && ev->answered <= p->waiting);
    p->waiting -= ev->answered;
    p->lane = LANE_IDLE;
    p->quiet_since = ev->now;
    fx_add(fx, (struct hf_publisher_effect){.type = HF_PUBFX_ANSWER, .code = ev->code});
    if (ev->code != HF_OK) {
        lane_failed(p, fx);
        return;
    }
    HF_ASSERT(ev->position.seq >= p->head.seq);
    log_is_whole(p, ev->now);
    if (ev->position.seq == p->head.seq) {
        return;
    }
    if (!dirty(p)) {
        p->dirty_since = ev->now;
    }
    p->head = ev->position;
    p->uncommitted_changes += ev->count;
    history_add(p, ev->now);
    p->beacon_at = ev->now + p->cfg.beacon_ms;
    fx_add(fx, (struct hf_publisher_effect){.type = HF_PUBFX_PUBLISH});
}

/* A group failed after some of its frames had become durable, and what replayed the log met them.
 * They count. They were not published: a beacon tells the edges. */
static void head_found(struct hf_publisher *p, const struct hf_publisher_event *ev)
{
    HF_ASSERT(ev->position.seq >= p->head.seq);
    if (ev->position.seq > p->head.seq) {
        p->head = ev->position;
        history_add(p, ev->now);
        p->beacon_at = ev->now;
        p->dirty_since = ev->now;
    }
}

static void on_committed(struct hf_publisher *p, const struct hf_publisher_event *ev,
                         struct hf_publisher_effects *fx)
{
    HF_ASSERT(p->lane == LANE_COMMIT);
    p->lane = LANE_IDLE;
    if (ev->code != HF_OK) {
        p->commit_not_before = ev->now + COMMIT_RETRY_MS;
        readers_go(p, fx);
        lane_failed(p, fx);
        return;
    }
    head_found(p, ev);                 /* a broken state is replayed before it is committed */
    HF_ASSERT(ev->seq == p->head.seq); /* nothing else is on the lane meanwhile */
    p->committed = ev->seq;
    p->recorded = false;
    p->uncommitted_changes = 0;
    p->commit_not_before = 0;
    readers_go(p, fx);
}

/* Also a fact is committed soon: the writer lane's transaction, which it opened, does not stay
 * open. */
static void on_recorded(struct hf_publisher *p, hf_ms now)
{
    if (!dirty(p)) {
        p->dirty_since = now;
    }
    p->recorded = true;
    p->quiet_since = now;
}

static void on_recovered(struct hf_publisher *p, const struct hf_publisher_event *ev,
                         struct hf_publisher_effects *fx)
{
    HF_ASSERT(p->lane == LANE_RECOVER);
    p->lane = LANE_IDLE;
    if (ev->code != HF_OK) {
        /* The next group or commit tries again, and answers with its failure. One must come, also
         * if nobody writes: the state may not even be open to readers. */
        on_recorded(p, ev->now);
        if (hf_err_is_damage(ev->code)) {
            p->commit_not_before = ev->now + COMMIT_RETRY_DAMAGED_MS;
            readers_go(p, fx);
        }
        return;
    }
    log_is_whole(p, ev->now);
    head_found(p, ev);
    p->committed = ev->seq; /* less than before on a disk that took back what it had synced */
    if (!dirty(p)) {        /* a replay that committed all: no other commit will follow */
        readers_go(p, fx);
    }
}

static void on_read_waits(struct hf_publisher *p, hf_ms now, struct hf_publisher_effects *fx)
{
    bool in_vain = p->commit_not_before > now + COMMIT_RETRY_MS;
    p->read_waits = true;
    if ((!dirty(p) || in_vain) && p->lane != LANE_COMMIT) {
        readers_go(p, fx);
    }
}

/* ---- edges ---- */

static struct edge *edge_of(struct hf_publisher *p, uint32_t row)
{
    HF_ASSERT(row < p->cfg.edges_max);
    return &p->edge[row];
}

static void on_edge(struct hf_publisher *p, const struct hf_publisher_event *ev)
{
    struct edge *e = edge_of(p, ev->edge);
    if (ev->ok) {
        memset(e, 0, sizeof(*e));
        e->digest_ok = -1;
    }
    e->enrolled = true;
    e->revoked = !ev->ok;
}

static void on_hello(struct hf_publisher *p, const struct hf_publisher_event *ev)
{
    struct edge *e = edge_of(p, ev->edge);
    e->heard = true;
    e->heard_at = ev->now;
    e->diverged = !ev->ok || ev->ahead;
    if (ev->ok) {
        /* Its disk may have been replaced: what it says now counts, also when it is lower. */
        e->applied = ev->seq;
        e->reported = e->reported && e->report.applied == ev->seq;
    }
}

static int digest_check(const struct hf_publisher *p, const struct hf_report *r)
{
    const struct past_head *h = history_at(p, r->applied);
    if (h == NULL || h->seq != r->applied) {
        return -1;
    }
    return memcmp(h->digest.b, r->digest.b, HF_HASH_BYTES) == 0 ? 1 : 0;
}

static void on_report(struct hf_publisher *p, const struct hf_publisher_event *ev)
{
    struct edge *e = edge_of(p, ev->edge);
    const struct hf_report *r = ev->report;
    e->heard = true;
    e->heard_at = ev->now;
    if (!e->reported || e->report.transfer_base != r->transfer_base) {
        e->base_since = ev->now;
    }
    e->reported = true;
    e->reported_at = ev->now;
    e->report = *r;
    e->applied = r->applied;
    size_t n = r->version.len < HF_VERSION_TEXT_MAX ? r->version.len : HF_VERSION_TEXT_MAX;
    memset(e->version, 0, sizeof(e->version));
    for (size_t i = 0; i < n; i++) {
        uint8_t c = r->version.data[i];
        e->version[i] = (char)(c > 0x20 && c < 0x7f ? c : '?');
    }
    bool same_epoch = memcmp(r->epoch_id.b, p->head.epoch_id.b, HF_ID_BYTES) == 0;
    e->digest_ok = same_epoch ? digest_check(p, r) : -1;
    if (!same_epoch || r->applied > p->head.seq || e->digest_ok == 0 ||
        r->store_state == HF_STORE_DIVERGED) {
        e->diverged = true;
    } else if (e->digest_ok == 1) {
        e->diverged = false;
    }
}

static bool transfers(const struct edge *e)
{
    const struct hf_report *r = &e->report;
    return e->reported && (r->transfer_base > 0 || r->transfer_done < r->transfer_total);
}

static enum hf_edge_state edge_state(const struct hf_publisher *p, const struct edge *e, hf_ms now)
{
    if (e->revoked) {
        return HF_EDGE_REVOKED;
    }
    if (!e->heard) {
        return HF_EDGE_NEVER_SEEN;
    }
    /* Before CUT_OFF: silence does not make a wrong history right. */
    if (e->diverged) {
        return HF_EDGE_DIVERGED;
    }
    if (now - e->heard_at > HEARD_MS) {
        return HF_EDGE_CUT_OFF;
    }
    if (transfers(e)) {
        return HF_EDGE_CATCHING_UP;
    }
    return lag_ms(p, e->applied, now) < LIVE_LAG_MS ? HF_EDGE_LIVE : HF_EDGE_LAGGING;
}

static uint64_t aged(uint64_t ms, hf_ms at, hf_ms now)
{
    uint64_t age = now > at ? (uint64_t)(now - at) : 0;
    return ms > UINT64_MAX - age ? UINT64_MAX : ms + age;
}

static void row_of_report(const struct edge *e, hf_ms now, struct hf_edge_row *row)
{
    const struct hf_report *r = &e->report;
    row->received = r->received;
    row->holes = r->holes_total;
    row->staleness_ms = aged(r->staleness_ms, e->reported_at, now);
    row->transfer_done = r->transfer_done;
    row->transfer_total = r->transfer_total;
    row->store_state = r->store_state;
    memcpy(row->version, e->version, sizeof(row->version));
}

void hf_publisher_edge(const struct hf_publisher *p, uint32_t edge, hf_ms now,
                       struct hf_edge_row *row)
{
    HF_ASSERT(edge < p->cfg.edges_max);
    const struct edge *e = &p->edge[edge];
    row->state = edge_state(p, e, now);
    row->head = p->head.seq;
    row->received = row->applied = UINT64_MAX;
    row->lag_batches = row->lag_bytes = row->lag_ms = UINT64_MAX;
    row->holes = row->staleness_ms = row->last_heard_ms = UINT64_MAX;
    row->digest_ok = -1;
    row->transfer_done = row->transfer_total = 0;
    row->store_state = HF_STORE_OK;
    memset(row->version, 0, sizeof(row->version));
    if (!e->heard) {
        return;
    }
    row->last_heard_ms = aged(0, e->heard_at, now);
    row->applied = e->applied;
    row->lag_batches = p->head.seq > e->applied ? p->head.seq - e->applied : 0;
    row->lag_ms = lag_ms(p, e->applied, now);
    if (e->reported) {
        row_of_report(e, now, row);
        row->digest_ok = e->digest_ok;
    }
    /* What a silent edge holds now is unknown: never show it as checked and equal. */
    if (row->last_heard_ms > HEARD_MS && row->digest_ok == 1) {
        row->digest_ok = -1;
    }
}

uint32_t hf_publisher_edges_at(const struct hf_publisher *p, hf_seq seq)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->cfg.edges_max; i++) {
        const struct edge *e = &p->edge[i];
        n += e->enrolled && !e->revoked && !e->diverged && e->reported && e->applied >= seq;
    }
    return n;
}

hf_seq hf_publisher_transfer_base(const struct hf_publisher *p, hf_ms since)
{
    hf_seq base = UINT64_MAX;
    for (uint32_t i = 0; i < p->cfg.edges_max; i++) {
        const struct edge *e = &p->edge[i];
        if (e->enrolled && !e->revoked && e->reported && e->report.transfer_base > 0 &&
            e->base_since >= since && e->report.transfer_base < base) {
            base = e->report.transfer_base;
        }
    }
    return base;
}

hf_seq hf_publisher_passed(const struct hf_publisher *p)
{
    hf_seq passed = UINT64_MAX;
    for (uint32_t i = 0; i < p->cfg.edges_max; i++) {
        const struct edge *e = &p->edge[i];
        if (!e->enrolled || e->revoked) {
            continue;
        }
        hf_seq has = e->heard && !e->diverged ? e->applied : 0;
        passed = has < passed ? has : passed;
    }
    return passed;
}

const char *hf_edge_floor_name(enum hf_edge_floor f)
{
    switch (f) {
    case HF_FLOOR_UNKNOWN:
        return NULL;
    case HF_FLOOR_CLEAR:
        return "clear";
    case HF_FLOOR_NEAR_LOG:
        return "near-log";
    case HF_FLOOR_BELOW_LOG:
        return "below-log";
    case HF_FLOOR_NEAR_DELTA:
        return "near-delta";
    case HF_FLOOR_BELOW_DELTA:
        return "below-delta";
    }
    HF_UNREACHABLE();
}

const char *hf_edge_state_name(enum hf_edge_state s)
{
    switch (s) {
    case HF_EDGE_NEVER_SEEN:
        return "never-seen";
    case HF_EDGE_LIVE:
        return "live";
    case HF_EDGE_LAGGING:
        return "lagging";
    case HF_EDGE_CATCHING_UP:
        return "catching-up";
    case HF_EDGE_CUT_OFF:
        return "cut-off";
    case HF_EDGE_REVOKED:
        return "revoked";
    case HF_EDGE_DIVERGED:
        return "diverged";
    }
    HF_UNREACHABLE();
}

/* ---- step ---- */

static void on_tick(struct hf_publisher *p, hf_ms now, struct hf_publisher_effects *fx)
{
    p->group_ready = p->waiting > 0;
    if (p->started && now >= p->beacon_at) {
        p->beacon_at = now + p->cfg.beacon_ms;
        fx_add(fx, (struct hf_publisher_effect){.type = HF_PUBFX_BEACON});
    }
}

void hf_publisher_step(struct hf_publisher *p, const struct hf_publisher_event *ev,
                       struct hf_publisher_effects *fx)
{
    fx->count = 0;
    switch (ev->type) {
    case HF_PUB_START:
        on_start(p, ev);
        break;
    case HF_PUB_WRITE:
        p->waiting += ev->count;
        p->quiet_since = ev->now;
        return; /* FLUSH says when no more is coming; until then others may join. */
    case HF_PUB_FLUSH:
        p->group_ready = p->waiting > 0;
        break;
    case HF_PUB_GROUP_DONE:
        on_group_done(p, ev, fx);
        break;
    case HF_PUB_COMMITTED:
        on_committed(p, ev, fx);
        break;
    case HF_PUB_RECOVERED:
        on_recovered(p, ev, fx);
        break;
    case HF_PUB_RECORDED:
        on_recorded(p, ev->now);
        break;
    case HF_PUB_READ_WAITS:
        on_read_waits(p, ev->now, fx);
        break;
    case HF_PUB_REPORT:
        on_report(p, ev);
        return;
    case HF_PUB_HELLO:
        on_hello(p, ev);
        return;
    case HF_PUB_EDGE:
        on_edge(p, ev);
        return;
    case HF_PUB_TICK:
        on_tick(p, ev->now, fx);
        break;
    }
    /* What came while a group was under way is one group more, at once. */
    p->group_ready = p->group_ready || (ev->type == HF_PUB_GROUP_DONE && p->waiting > 0);
    lane_next(p, ev->now, fx);
}

hf_ms hf_publisher_deadline(const struct hf_publisher *p)
{
    if (!p->started) {
        return INT64_MAX;
    }
    hf_ms at = p->beacon_at;
    if (p->lane == LANE_IDLE && p->waiting > 0) {
        return 0; /* a flush was forgotten: now */
    }
    if (p->lane == LANE_IDLE && dirty(p) && commit_at(p) < at) {
        at = commit_at(p);
    }
    return at;
}

bool hf_publisher_settled(const struct hf_publisher *p)
{
    return p->lane == LANE_IDLE && p->waiting == 0 && !dirty(p);
}

bool hf_publisher_may_end(const struct hf_publisher *p)
{
    return p->lane == LANE_IDLE && p->waiting == 0 && (!dirty(p) || p->commit_not_before > 0);
}
