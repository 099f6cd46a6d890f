/*
 * oracle.c - the promises of README.md, checked from outside while everything runs.
 *
 * The oracle knows what clients were told and what went over the wire; it never asks an engine
 * whether it did well. Positions are checked after every event (G1 by chain and digest, G2, G6,
 * G11), contents by clients that read at random (G1, G4, C1, G15), the staleness bound at every
 * read (G8), the core at every restart (G3, G13), what it refuses (G17), and everything once more,
 * with all checksums, at the end.
 */
#include "sim/disk.h"
#include "sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#define FAULT_BIT(f) (UINT64_C(1) << (f))
#define DISK_FAULTS (FAULT_BIT(FAULT_DISK_FULL) | FAULT_BIT(FAULT_DISK_ERROR))
#define CANARY_FROM 5u
/* A store that could not write its meta page is opened anew before it can be read again. */
#define UNREAD_MAX (300 * SIM_MS)
/* Beyond three beacons: the tick after that, and what was under way. */
#define DEAF_SLACK (5 * SIM_S)
#define USUAL_BEACON SIM_S
/* A trim follows a commit and takes whole segments of 256 KiB; the newest ones stay. */
#define LOG_SLACK (1u << 20)
/* A core whose commit failed tries the next one after a second. */
#define REFUSING_MAX (3 * SIM_S)

void violate(struct sim *sim, const char *format, ...)
{
    if (sim->violation[0] != '\0') {
        return; /* the first one counts */
    }
    va_list args;
    va_start(args, format);
    int n =
        snprintf(sim->violation, sizeof(sim->violation),
                 "at %" PRIu64 ".%03" PRIu64 " s: ", sim->now / SIM_S, sim->now / SIM_MS % 1000);
    vsnprintf(sim->violation + n, sizeof(sim->violation) - (size_t)n, format, args);
    va_end(args);
    sim_trace(sim, NULL, "VIOLATION %s", sim->violation);
    if (sim->opt.timeline != NULL) {
        fprintf(sim->opt.timeline, "# VIOLATION %s\n", sim->violation);
    }
}

struct past *oracle_past(struct sim *sim, hf_seq seq)
{
    if (seq >= sim->past_cap) {
        hf_seq cap = sim->past_cap == 0 ? 1024 : sim->past_cap;
        while (cap <= seq) {
            cap *= 2;
        }
        sim->past = realloc(sim->past, cap * sizeof(*sim->past));
        HF_ASSERT(sim->past != NULL);
        memset(sim->past + sim->past_cap, 0, (cap - sim->past_cap) * sizeof(*sim->past));
        sim->past_cap = cap;
    }
    return &sim->past[seq];
}

/* Clients of a scenario go on writing after a restore. Then there are two histories, and what is
 * known here is of one. */
bool oracle_forked(const struct sim *sim)
{
    return sim->opt.script != NULL && sim->rolled_back;
}

/* One history: whoever says something about seq n says the same. */
static void agree(struct sim *sim, const char *who, hf_seq seq, const struct hf_hash *chain,
                  const struct hf_hash *digest)
{
    if (oracle_forked(sim)) {
        return;
    }
    struct past *p = oracle_past(sim, seq);
    if (!p->known) {
        p->known = true;
        p->chain = *chain;
        p->durable_at = sim->now;
        sim->head = seq > sim->head ? seq : sim->head;
    } else if (!hf_hash_eq(&p->chain, chain)) {
        violate(sim, "G1/G13: %s has another chain at batch %" PRIu64, who, seq);
    }
    if (!p->digest_known) {
        p->digest_known = true;
        p->digest = *digest;
        /* A wrong memory, so that an oracle that has gone blind is found out. Of more than one
         * batch, since an edge may never stop at that one. */
        p->digest.b[0] ^= sim->opt.canary && seq >= CANARY_FROM;
    } else if (!hf_hash_eq(&p->digest, digest)) {
        violate(sim, "G11: %s has another digest at batch %" PRIu64, who, seq);
    }
}

void oracle_published(struct sim *sim, const struct hf_header *h, struct hf_slice header)
{
    struct hf_hash chain = hf_chain_hash(header);
    if (sim->rolled_back) {
        return;
    }
    agree(sim, "a published frame", h->seq, &chain, &h->digest);
}

void oracle_core_opened(struct sim *sim)
{
    struct node *core = &sim->node[SIM_CORE];
    struct hf_core_status s;
    hf_core_status(core->core, &s);
    if (s.refusing != NULL) {
        mark_hit(sim, MARK_FENCED);
    }
    if (sim->rolled_back) {
        return;
    }
    if (s.head < sim->acked) {
        violate(sim, "G3: core came back at %" PRIu64 ", had acknowledged %" PRIu64, s.head,
                sim->acked);
    }
    if (s.head < sim->head) {
        violate(sim, "G3: core came back at %" PRIu64 ", had sent %" PRIu64, s.head, sim->head);
    }
}

void oracle_node(struct sim *sim, struct node *n)
{
    if (n->index == SIM_CORE) {
        bool well = n->alive && !n->paused && n->disk < SIM_MS && !disk_in_trouble(n->disk_io);
        sim->hampered_at = well ? sim->hampered_at : sim->now;
        return;
    }
    if (!n->alive) {
        return;
    }
    const struct hf_position *at = hf_edge_position(n->edge);
    hf_seq seq = at->seq;
    if (seq < n->reached) {
        violate(sim, "G2/G6: %s went back from %" PRIu64 " to %" PRIu64, n->name, n->reached, seq);
    }
    if (seq == n->reached) {
        return;
    }
    if (n->revoked && seq > n->revoked_head) {
        violate(sim, "G12: revoked %s reached %" PRIu64 ", revoked at %" PRIu64, n->name, seq,
                n->revoked_head);
    }
    n->reached = seq;
    agree(sim, n->name, seq, &at->chain, &at->digest);
}

/* G7: who waits for seq is woken by this, and must find it. */
void oracle_shown(void *ctx, hf_seq seq)
{
    struct node *n = ctx;
    struct hf_view *v;
    struct hf_applied a;
    if (n->edge == NULL || hf_view_open(hf_edge_state(n->edge), &v) != HF_OK) {
        return; /* it is just opening; oracle_read complains of what cannot be read */
    }
    hf_view_applied(v, &a);
    if (a.at.seq < seq) {
        violate(n->sim, "G7: %s tells readers of %" PRIu64 ", which they cannot see", n->name, seq);
    }
    hf_view_close(v);
}

/* G17: a full or failing disk may cost a write; once it is well again, the core takes writes. */
void oracle_refused(struct sim *sim, enum hf_err code)
{
    if (sim->now - sim->hampered_at > REFUSING_MAX && !sim->rolled_back) {
        violate(sim,
                "G17: the core refuses a write (%s), and nothing has been wrong for %" PRIu64 " ms",
                hf_err_name(code), (sim->now - sim->hampered_at) / SIM_MS);
    }
}

void oracle_core(struct sim *sim)
{
    const struct node *core = &sim->node[SIM_CORE];
    struct hf_core_status s;
    if (!core->alive || sim->opt.script != NULL) {
        return;
    }
    hf_core_status(core->core, &s);
    if (s.log_first > 1) {
        mark_hit(sim, MARK_LOG_TRIMMED);
    }
    if ((sim->opt.faults & DISK_FAULTS) != 0) {
        return; /* writes are refused and the log has to wait for a commit, and rightly so */
    }
    if (s.refusing != NULL && !sim->rolled_back) {
        violate(sim, "G13: the core refuses writes, and nobody turned it back: %s", s.refusing);
    }
    if (s.log_bytes > sim->opt.log_bytes + LOG_SLACK) {
        violate(sim, "G16: the log has %" PRIu64 " bytes, its bound is %" PRIu64, s.log_bytes,
                sim->opt.log_bytes);
    }
}

/* ---- a client reads ---- */

static void check_value(struct sim *sim, struct node *n, struct hf_view *v, hf_seq at, uint32_t k)
{
    char key[WORKLOAD_KEY_BYTES];
    uint64_t expected;
    struct hf_stored s;
    workload_key(k, key);
    if (!load_expect(sim, k, at, &expected)) {
        return;
    }
    enum hf_err err = hf_view_get(v, hf_slice_str(key), false, &s);
    if (err == HF_CORRUPT && n->damaged) {
        n->reads_failed++;
        mark_hit(sim, MARK_DAMAGE_SEEN);
        hf_edge_repair(n->edge, true); /* refused, and what the daemon does then */
        return;
    }
    if (err == HF_NOTFOUND ? expected != 0 : err != HF_OK) {
        violate(sim, "G1: %s reads %s at %" PRIu64 ": %s, expected value %" PRIu64, n->name, key,
                at, hf_err_name(err), expected);
    } else if (err == HF_OK && (expected == 0 || !workload_value_ok(s.value, expected))) {
        violate(sim, "G1: %s reads another value of %s at %" PRIu64, n->name, key, at);
    } else if (err == HF_OK && s.seq > at) {
        violate(sim, "G4: %s shows a change of %" PRIu64 " at %" PRIu64, n->name, s.seq, at);
    }
}

/* What its clock has lost in all: no node can know of that, and its bounds are short by as much. */
static uint64_t slow_by(const struct node *n)
{
    sim_us own = node_clock(n);
    return own < n->sim->now ? (n->sim->now - own) / SIM_MS + 1 : 0;
}

static void check_staleness(struct sim *sim, struct node *n, const struct hf_replica_status *s,
                            hf_seq at)
{
    if (s->staleness_ms == UINT64_MAX) {
        mark_hit(sim, MARK_STALE_UNKNOWN);
        return;
    }
    if (sim->rolled_back || at + 1 >= sim->past_cap || !sim->past[at + 1].known) {
        return; /* how far the core had been before is nothing that an edge behind could know */
    }
    uint64_t age = (sim->now - sim->past[at + 1].durable_at) / SIM_MS;
    age -= age < slow_by(n) ? age : slow_by(n);
    if (s->staleness_ms + 1 < age) { /* both are cut to whole milliseconds */
        violate(sim, "G8: %s says at most %" PRIu64 " ms, true age is %" PRIu64, n->name,
                s->staleness_ms, age);
    }
}

static sim_us later_of(sim_us a, sim_us b)
{
    return a > b ? a : b;
}

/* G14: who hears nothing for three beacons says so. */
static void check_state(struct sim *sim, struct node *n, const struct hf_replica_status *s)
{
    const struct node *core = &sim->node[SIM_CORE];
    bool core_silent = !core->alive || core->paused;
    if (!n->link.down.cut && !core_silent) {
        n->deaf_since = 0;
        return;
    }
    n->deaf_since = n->deaf_since == 0 ? sim->now : n->deaf_since;
    sim_us since = later_of(later_of(n->deaf_since, n->healed_at), n->started_at);
    since = later_of(since, core->started_at);
    since = later_of(since, later_of(n->resumed_at, core->resumed_at));
    since = later_of(since, n->told_at);
    bool fine = s->state == HF_REPLICA_LIVE || s->state == HF_REPLICA_LAGGING ||
                s->state == HF_REPLICA_CATCHING_UP;
    sim_us beacon = sim->opt.beacon > 0 ? sim->opt.beacon : USUAL_BEACON;
    if (sim->now - since > 3 * beacon + DEAF_SLACK && fine) {
        violate(sim, "G14: %s says %s, and nothing can reach it for %" PRIu64 " ms", n->name,
                hf_replica_state_name(s->state), (sim->now - since) / SIM_MS);
    }
}

/* G16 */
static void check_bounds(struct sim *sim, struct node *n, const struct hf_replica_status *s)
{
    bool full = s->held_now > 1 && s->held_bytes > sim->limits.hold_bytes_max; /* one always fits */
    if (s->held_now > sim->limits.hold_frames_max || full) {
        violate(sim, "G16: %s holds %" PRIu64 " frames of %" PRIu64 " bytes, more than it may",
                n->name, s->held_now, s->held_bytes);
    }
}

static void read_marks(struct sim *sim, const struct hf_replica_status *s)
{
    if (s->state == HF_REPLICA_CUT_OFF) {
        mark_hit(sim, MARK_READ_CUT_OFF);
    } else if (s->state == HF_REPLICA_CATCHING_UP) {
        mark_hit(sim, MARK_READ_STAGED);
    } else if (s->state == HF_REPLICA_REVOKED) {
        mark_hit(sim, MARK_READ_REVOKED);
    }
    if (s->store_state != HF_STORE_OK) {
        mark_hit(sim, MARK_READ_TROUBLED);
    }
    if (s->held_ahead > 0) {
        mark_hit(sim, MARK_READ_AHEAD);
    }
}

void oracle_read(struct sim *sim, struct node *n)
{
    struct hf_view *v;
    struct hf_applied a;
    struct hf_edge_info info;
    struct hf_replica_status s;
    bool served = n->reads > 0;
    n->reads += served;
    if (!n->alive || n->paused) {
        n->reads_failed += served;
        return;
    }
    hf_edge_info(n->edge, &info);
    if (!info.has_genesis) {
        return;
    }
    n->reads += !served && hf_edge_loaded(n->edge);
    hf_edge_status(n->edge, n->world.now(n), &s);
    read_marks(sim, &s);
    check_state(sim, n, &s);
    check_bounds(sim, n, &s);
    enum hf_err err = hf_view_open(hf_edge_state(n->edge), &v);
    if (err != HF_OK) {
        n->reads_failed += served;
        n->unread_since = n->unread_since == 0 ? sim->now : n->unread_since;
        if (sim->now - n->unread_since > UNREAD_MAX) {
            violate(sim, "G9: %s cannot be read: %s", n->name, hf_err_name(err));
        }
        return;
    }
    n->unread_since = 0;
    hf_view_applied(v, &a);
    if (a.at.seq < n->reached) {
        violate(sim, "G6: %s shows readers an older state than before", n->name);
    }
    for (int i = 0; i < 4; i++) {
        check_value(sim, n, v, a.at.seq, (uint32_t)rng_below(&sim->rng_read, sim->opt.load.keys));
    }
    hf_view_close(v);
    check_staleness(sim, n, &s, info.position.seq);
}

void oracle_read_all(struct sim *sim, struct node *n)
{
    struct hf_view *v;
    struct hf_applied a;
    if (n->alive && hf_view_open(hf_edge_state(n->edge), &v) == HF_OK) {
        hf_view_applied(v, &a);
        for (uint32_t k = 0; k < sim->opt.load.keys; k++) {
            check_value(sim, n, v, a.at.seq, k);
        }
        hf_view_close(v);
    }
}

/* ---- the end ---- */

/* G15: what was damaged is whole again, or a scrub, which the world has none of, begins a repair.
 */
static bool is_whole(struct node *n)
{
    struct hf_view *v;
    struct hf_replica_status s;
    struct hf_error e = {.code = HF_OK};
    if (!n->damaged) {
        return true;
    }
    hf_edge_status(n->edge, n->world.now(n), &s);
    bool under_way = s.repair.result >= HF_REPAIR_WAITING && s.repair.result <= HF_REPAIR_FETCHING;
    if (under_way || hf_edge_pending(n->edge) != NULL ||
        hf_view_open(hf_edge_state(n->edge), &v) != HF_OK) {
        return false;
    }
    n->damaged = hf_view_verify(v, &e) != HF_OK;
    hf_view_close(v);
    if (n->damaged) {
        hf_edge_repair(n->edge, true);
    }
    return !n->damaged;
}

static bool says(struct node *n, enum hf_replica_state state)
{
    struct hf_replica_status s;
    hf_edge_status(n->edge, n->world.now(n), &s);
    return s.state == state;
}

/* The core was told to, and may have died before it could say that it has: then the edge knows. Nor
 * can one join whose token became void with an order that its core could not write down. */
static bool is_revoked(struct node *n)
{
    return n->revoked || (n->revoke_asked && n->alive &&
                          (says(n, HF_REPLICA_REVOKED) || says(n, HF_REPLICA_JOINING)));
}

bool oracle_converged(struct sim *sim, char *why, size_t cap)
{
    struct hf_core_status core;
    if (sim->writes_open > 0 || !load_order_done(sim)) {
        snprintf(why, cap, "%u writes are not answered", sim->writes_open);
        return false;
    }
    hf_core_status(sim->node[SIM_CORE].core, &core);
    for (uint32_t i = 1; i < sim->node_count; i++) {
        struct node *n = &sim->node[i];
        if (is_revoked(n)) {
            continue;
        }
        if (!n->alive) {
            snprintf(why, cap, "%s is not running", n->name);
            return false;
        }
        const struct hf_position *at = hf_edge_position(n->edge);
        if (at->seq != core.head || !hf_hash_eq(&at->digest, &core.digest)) {
            const char *pending = hf_edge_pending(n->edge);
            snprintf(why, cap, "%s at %" PRIu64 " of %" PRIu64 ": %s", n->name, at->seq, core.head,
                     pending == NULL ? "does not know the head" : pending);
            return false;
        }
        if (!is_whole(n)) {
            snprintf(why, cap, "%s is damaged", n->name);
            return false;
        }
        if (sim->opt.script == NULL && !says(n, HF_REPLICA_LIVE)) {
            snprintf(why, cap, "%s has everything, and does not say that it is live", n->name);
            return false;
        }
    }
    return true;
}

void oracle_mark(struct sim *sim, hf_seq committed)
{
    const struct node *core = &sim->node[SIM_CORE];
    struct hf_core_status s;
    /* The mark is not synced, and one that cannot be written is done without. */
    if (!core->alive || (sim->opt.faults & (DISK_FAULTS | FAULT_BIT(FAULT_POWER_CUT))) != 0) {
        return;
    }
    hf_core_status(core->core, &s);
    if (s.head < committed && s.refusing == NULL) {
        violate(sim,
                "G13: the core is back at %" PRIu64 ", its mark says %" PRIu64
                ", and it takes writes",
                s.head, committed);
    }
}

/* G13: an edge that the old core knows has told it of what it does not know. */
static void check_fenced(struct sim *sim)
{
    struct hf_core_status s;
    hf_core_status(sim->node[SIM_CORE].core, &s);
    for (uint32_t i = 1; i < sim->node_count; i++) {
        const struct node *n = &sim->node[i];
        if (n->in_backup && !n->revoke_asked && n->alive && n->reached > s.head &&
            s.refusing == NULL) {
            violate(sim, "G13: %s has %" PRIu64 ", the restored core %" PRIu64 " and takes writes",
                    n->name, n->reached, s.head);
        }
    }
}

void oracle_final(struct sim *sim)
{
    if (sim->restored && sim->node[SIM_CORE].alive) {
        check_fenced(sim);
    }
    for (uint32_t i = 1; i < sim->node_count; i++) {
        struct node *n = &sim->node[i];
        struct hf_view *v;
        struct hf_applied a;
        struct hf_error e = {.code = HF_OK};
        /* One that is revoked gets nothing any more that could heal it. */
        if (!n->alive || (n->damaged && (is_revoked(n) || sim->may_stay_apart)) ||
            hf_view_open(hf_edge_state(n->edge), &v) != HF_OK) {
            continue;
        }
        hf_view_applied(v, &a);
        if (a.at.seq > 0) {
            if (hf_view_verify(v, &e) != HF_OK) {
                violate(sim, "G11/G15: the store of %s: %s", n->name, e.text);
            }
            for (uint32_t k = 0; k < sim->opt.load.keys; k++) {
                check_value(sim, n, v, a.at.seq, k);
            }
        }
        hf_view_close(v);
    }
}
