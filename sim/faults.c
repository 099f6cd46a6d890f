/*
 * faults.c - which faults a seed gets, when they strike, and when they end.
 *
 * Every fault that lasts schedules its own end; the liveness phase ends them all. What strikes is
 * also written down as lines of the scenario language where options.timeline says so; what that
 * language has no word for becomes a comment. Forging, replaying and damaging are in attacks.c.
 */
#include "sim/faults.h"

#include "sim/disk.h"
#include "sim/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

enum { ENDS = 100, SCENARIO = 1000, INVITE }; /* event.a: kind, kind + ENDS, or one of these */

uint64_t fault_end_of_crash(void)
{
    return ENDS + FAULT_EDGE_CRASH;
}

uint64_t scenario_event(void)
{
    return SCENARIO;
}

/* ---- names ---- */

static const char *const names[FAULT_KINDS] = {
#define X(id, name, every, lasts) [FAULT_##id] = name,
    SIM_STRIKES(X)
#undef X
#define X(id, name) [FAULT_##id] = name,
        SIM_PROPERTIES(X)
#undef X
};

const char *fault_name(enum fault f)
{
    return names[f];
}

static bool name_bit(const char *name, size_t len, uint64_t *mask)
{
    for (int f = 0; f < FAULT_KINDS; f++) {
        if (strlen(names[f]) == len && memcmp(names[f], name, len) == 0) {
            *mask |= UINT64_C(1) << f;
            return true;
        }
    }
    return false;
}

bool faults_parse(const char *text, uint64_t *mask, char bad[32])
{
    uint64_t found = 0;
    if (strcmp(text, "none") == 0 || strcmp(text, "all") == 0) {
        *mask = text[0] == 'n' ? 0 : FAULTS_ALL;
        return true;
    }
    for (;;) {
        size_t len = strcspn(text, ",");
        if (!name_bit(text, len, &found)) {
            if (bad != NULL) {
                snprintf(bad, 32, "%.*s", len < 31 ? (int)len : 31, text);
            }
            return false;
        }
        if (text[len] == '\0') {
            *mask = found;
            return true;
        }
        text += len + 1;
    }
}

void faults_text(uint64_t mask, char out[FAULTS_TEXT_MAX])
{
    size_t n = 0;
    out[0] = '\0';
    for (int f = 0; f < FAULT_KINDS; f++) {
        if ((mask >> f & 1u) != 0) {
            n +=
                (size_t)snprintf(out + n, FAULTS_TEXT_MAX - n, "%s%s", n == 0 ? "" : ",", names[f]);
            HF_ASSERT(n < FAULTS_TEXT_MAX);
        }
    }
    if (n == 0) {
        snprintf(out, FAULTS_TEXT_MAX, "none");
    }
}

/* ---- planning ---- */

static const struct {
    sim_us every, lasts;
} tempo[FAULT_STRIKES] = {
#define X(id, name, every, lasts) {every * SIM_S, lasts * SIM_S},
    SIM_STRIKES(X)
#undef X
};

static bool has(const struct sim *sim, int fault)
{
    return (sim->opt.faults >> fault & 1u) != 0;
}

static struct node *random_edge(struct sim *sim, struct rng *r)
{
    return &sim->node[1 + rng_below(r, sim->node_count - 1)];
}

static void schedule(struct sim *sim, sim_us at, uint64_t what, uint32_t node)
{
    struct event *ev = sim_at(sim, at, EV_FAULT, node);
    ev->life = UINT32_MAX; /* faults strike whichever life the node is in */
    ev->a = what;
}

__attribute__((format(printf, 2, 3))) static void struck(struct sim *sim, const char *format, ...)
{
    bool wordless = format[0] == '#';
    bool late = sim->now > sim->opt.duration; /* a fault's end, which a scenario has no time for */
    if (sim->opt.timeline == NULL) {
        return;
    }
    va_list args;
    va_start(args, format);
    fprintf(sim->opt.timeline, "%sat %.3fs ", wordless || late ? "# " : "",
            (double)sim->now / (double)SIM_S);
    vfprintf(sim->opt.timeline, wordless ? format + 1 : format, args);
    fputc('\n', sim->opt.timeline);
    va_end(args);
}

/* Without a rate there is no limit to say, nor a queue to wait in. */
static void timeline_link(const struct link_profile *p, FILE *out)
{
    fprintf(out, "link all delay %" PRIu64 "ms jitter %" PRIu64 "ms", p->delay / SIM_MS,
            p->jitter / SIM_MS);
    if (p->rate_bps > 0) {
        fprintf(out, " rate %" PRIu64 "kbit queue %" PRIu64 "ms", p->rate_bps / 1000,
                p->queue / SIM_MS);
    }
    fprintf(out, " loss %g%% burst %g drop %g%% duplicate %g%% reorder %g%% corrupt %g%%\n",
            100 * p->loss, p->burst > 1 ? p->burst : 1, 100 * p->drop, 100 * p->duplicate,
            100 * p->reorder, 100 * p->corrupt);
}

/* The beginning of the timeline: the world as the seed made it. */
static void timeline_begin(struct sim *sim)
{
    const struct sim_options *o = &sim->opt;
    if (o->timeline == NULL) {
        return;
    }
    fputs(
        "# Like that run, but with other random numbers; only the command above replays it.\nedges",
        o->timeline);
    for (uint32_t i = 1; i <= o->edges; i++) {
        fprintf(o->timeline, " edge%u", i);
    }
    fprintf(o->timeline,
            "\nduration %.3fs\nkeys %u\nvalue max %u\nwrite every %" PRIu64 "ms\nlog %" PRIu64
            "KiB\n",
            (double)o->duration / (double)SIM_S, o->load.keys, o->load.value_max,
            o->load.write_every_us / SIM_MS, o->log_bytes >> 10);
    timeline_link(&o->profile, o->timeline);
    if (has(sim, FAULT_LIMITS)) {
        const struct sim_limits *l = &sim->limits;
        fprintf(
            o->timeline,
            "# limits: %u frames or %" PRIu64 " bytes held, %u fetches, %u frames applied at "
            "once, %u ahead of a commit, plans from %u batches, a commit each %u changes, a job "
            "of an edge's disk %" PRIu64 " us\n",
            l->hold_frames_max, l->hold_bytes_max, l->fetch_max, l->apply_frames_max,
            l->ahead_frames_min, l->plan_batches, l->commit_changes, l->edge_disk);
    }
}

static double some_percent(struct sim *sim, int f, uint64_t max)
{
    return has(sim, f) ? (double)rng_between(&sim->rng_kind[f], 1, max) / 100 : 0;
}

static void link_faults(struct sim *sim)
{
    struct link_profile *p = &sim->opt.profile;
    p->delay = rng_between(&sim->rng_fault, 1 * SIM_MS, 150 * SIM_MS);
    p->jitter = rng_below(&sim->rng_fault, p->delay);
    p->drop = some_percent(sim, FAULT_DROP, 20);
    p->duplicate = some_percent(sim, FAULT_DUPLICATE, 20);
    p->reorder = some_percent(sim, FAULT_REORDER, 20);
    p->corrupt = some_percent(sim, FAULT_CORRUPT, 5);
    if (has(sim, FAULT_PACKET_LOSS)) {
        struct rng *r = &sim->rng_kind[FAULT_PACKET_LOSS];
        p->loss = (double)rng_between(r, 1, 50) / 1000;
        p->burst = (double)rng_between(r, 1, 8);
    }
    if (has(sim, FAULT_THIN)) {
        struct rng *r = &sim->rng_kind[FAULT_THIN];
        p->rate_bps = rng_between(r, 200000, 20000000);
        p->queue = rng_between(r, 20 * SIM_MS, 500 * SIM_MS);
    }
}

static uint32_t one_of(struct rng *r, uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t choice[] = {a, b, c};
    return choice[rng_below(r, 3)];
}

/* Limits as nobody would set them, each at its smallest, at its usual, or in between: what is only
 * reached at the edge of a table is reached all the time. */
static void silly_limits(struct sim *sim)
{
    struct rng *r = &sim->rng_kind[FAULT_LIMITS];
    struct sim_limits *l = &sim->limits;
    l->hold_frames_max = one_of(r, 2, 16, l->hold_frames_max);
    l->hold_bytes_max = one_of(r, 1 << 10, 200 << 10, 32 << 20);
    l->fetch_max = one_of(r, 1, 2, l->fetch_max);
    l->apply_frames_max = one_of(r, 1, 3, l->apply_frames_max);
    l->plan_batches = one_of(r, 1, 8, l->plan_batches);
    l->stage_bytes = one_of(r, 1, 64 << 10, 16 << 20);
    l->commit_changes = one_of(r, 1, 20, l->commit_changes);
    l->take_next = rng_chance(r, 0.5);
    sim->opt.liveness *= 5; /* a batch a round trip, where only two may be held */
    sim->opt.load.value_max = one_of(r, 0, 1000, sim->opt.load.value_max);
    l->ahead_frames_min = one_of(r, 1, 2, l->ahead_frames_min);
    /* Slower than the frames come: the edge rests, and applies ahead of its commits. */
    l->edge_disk = rng_chance(r, 0.5) ? 20 * SIM_MS : l->edge_disk;
}

uint64_t faults_drawn(uint64_t seed)
{
    struct rng r;
    rng_seed(&r, seed, SIM_RNG_FAULT);
    return rng_next(&r) & FAULTS_ALL;
}

void faults_plan(struct sim *sim)
{
    struct rng *r = &sim->rng_fault;
    if (sim->opt.calm) {
        timeline_begin(sim);
        return;
    }
    for (uint32_t f = 0; f < FAULT_KINDS; f++) {
        rng_seed(&sim->rng_kind[f], sim->opt.seed, 100 + f);
    }
    uint64_t drawn = rng_next(r) & FAULTS_ALL; /* also when it is not used: what follows is drawn */
    sim->opt.faults = sim->opt.faults_given ? sim->opt.faults : drawn;
    link_faults(sim);
    struct script_load *load = &sim->opt.load;
    sim_us least = 50 * SIM_MS < load->write_every_us ? 50 * SIM_MS : load->write_every_us;
    load->write_every_us = rng_between(r, least, load->write_every_us + 1);
    /* Many keys written fast make transfers of several chunks, which can be cut in between. */
    load->keys = rng_chance(r, 0.3) ? SIM_KEYS_MAX : load->keys;
    if (load->keys == SIM_KEYS_MAX) {
        load->write_every_us /= 4;
    }
    if (has(sim, FAULT_SMALL_LOG)) {
        sim->opt.log_bytes = 300 << 10;
        sim->opt.delta_batches = rng_chance(&sim->rng_kind[FAULT_SMALL_LOG], 0.5) ? 100 : 0;
    }
    if (has(sim, FAULT_LIMITS)) {
        silly_limits(sim);
    }
    timeline_begin(sim);
    for (uint32_t f = 0; f < FAULT_STRIKES; f++) {
        if (has(sim, (int)f)) {
            schedule(sim, rng_exponential(&sim->rng_kind[f], tempo[f].every), f, SIM_CORE);
        }
    }
}

sim_us faults_invite_at(struct sim *sim, uint32_t edge)
{
    struct rng *r = &sim->rng_kind[FAULT_LATE_EDGES];
    if (!has(sim, FAULT_LATE_EDGES) || edge == 1 || rng_chance(r, 0.5)) {
        return 0;
    }
    return rng_below(r, sim->opt.duration);
}

void faults_invite(struct sim *sim, uint32_t edge, sim_us at)
{
    schedule(sim, at, INVITE, edge);
}

/* ---- striking ---- */

static void swizzle(struct sim *sim, struct rng *r)
{
    mark_hit(sim, MARK_SWIZZLE);
    for (uint32_t i = 1; i < sim->node_count; i++) {
        net_cut(sim, &sim->node[i], true, true);
        struck(sim, "cut %s", sim->node[i].name);
        schedule(sim, sim->now + rng_exponential(r, tempo[FAULT_SWIZZLE].lasts),
                 ENDS + FAULT_SWIZZLE, i);
    }
}

static void cut_one_way(struct sim *sim, struct node *edge, struct rng *r)
{
    bool down = rng_chance(r, 0.5);
    net_cut(sim, edge, down, !down);
    struck(sim, "cut %s %s", edge->name, down ? "down" : "up");
}

/* Returns false when it is to die later, at its next write. */
static bool crash_now(struct sim *sim, struct node *n, bool power, struct rng *r)
{
    if (n->alive && rng_chance(r, 0.5)) {
        n->crash_at_job = true;
        n->power_at_job = power;
        struck(sim, "#%s %s at its next write", power ? "power cut of" : "crash", n->name);
        return false;
    }
    struck(sim, "crash %s%s", n->name, power ? "  # and what was not synced is lost" : "");
    if (power) {
        node_power_cut(sim, n);
    } else {
        node_crash(sim, n);
    }
    return true;
}

static void step_clock(struct sim *sim, struct node *n, struct rng *r)
{
    static const int64_t spans_ms[] = {500, 60000, 3600000, INT64_C(315360000000)};
    /* Ten years at the core would let a token expire, and an operator would have to invite again.
     */
    int64_t step = spans_ms[rng_below(r, n->index == SIM_CORE ? 3 : 4)];
    step = rng_chance(r, 0.5) ? step : -step;
    n->wall_step_ms += step;
    if (step < 0) {
        mark_hit(sim, MARK_CLOCK_BACK);
    }
    sim_trace(sim, n, "clock: the wall clock steps by %" PRId64 " ms", step);
    struck(sim, "clock step %s %+" PRId64 "ms", n->name, step);
}

/* Full: half of the time only the sync says so. */
static void disk_begin(struct sim *sim, struct node *n, bool full, struct rng *r)
{
    int error = full ? ENOSPC : EIO;
    const char *how = full ? "full" : "errors";
    if (full && !rng_chance(r, 0.5)) {
        error = EDQUOT;
        how = "full, late";
    }
    disk_trouble(n->disk_io, error, rng_chance(r, 0.5) ? 1 : 0.2);
    sim_trace(sim, n, "disk: %s", how);
    struck(sim, "disk %s at %s", full ? "full" : "failing", n->name);
}

/* An old copy of the core: the mark beside it may be old, too, and then only an edge can tell. */
static void restore(struct sim *sim, struct rng *r)
{
    struct node *core = &sim->node[SIM_CORE];
    if (!sim->saved) {
        node_save(sim, core, 0);
        sim->saved = core->alive;
        struck(sim, "backup core");
    } else if (!sim->restored) {
        struck(sim, "restore core\nconverge no");
        node_roll_back(sim, core, rng_chance(r, 0.5));
    }
}

static void lasting(struct sim *sim, enum fault f, struct node *n, struct rng *r)
{
    sim_us end = sim->now + rng_exponential(r, tempo[f].lasts) + 1;
    if (rng_chance(r, 0.1)) {
        end += 20 * SIM_S;
    }
    if (f == FAULT_PAUSE) {
        mark_hit(sim, MARK_PAUSE);
        struck(sim, "pause %s", n->name);
        node_pause(sim, n);
    }
    schedule(sim, end, f + ENDS, n->index);
}

static void crash(struct sim *sim, enum fault f, struct node *n, struct rng *r)
{
    if (crash_now(sim, n, f == FAULT_POWER_CUT, r)) {
        lasting(sim, f, n, r);
    }
}

static void slow_disk(struct sim *sim, struct node *n, struct rng *r)
{
    n->disk = 50 * SIM_MS;
    sim_trace(sim, n, "disk: slow");
    struck(sim, "disk slow 50ms at %s", n->name);
    lasting(sim, FAULT_SLOW_DISK, n, r);
}

static void reconnect(struct sim *sim, struct node *edge, struct rng *r)
{
    if (!edge->alive) {
        return;
    }
    net_redial(sim, edge, HF_CHANNEL_CONTROL);
    struck(sim, "#%s dials its control link again", edge->name);
    if (rng_chance(r, 0.1)) { /* and somebody has it compared, for no reason */
        struck(sim, "#%s is told to compare itself with the core", edge->name);
        hf_edge_repair(edge->edge, false);
    }
}

static void revoke(struct sim *sim, struct node *edge)
{
    if (edge->index > 1 && !sim->restored) { /* somebody must be left to converge */
        struck(sim, "revoke %s", edge->name);
        node_revoke(sim, edge);
    }
}

static void begin(struct sim *sim, enum fault f)
{
    struct rng *r = &sim->rng_kind[f];
    struct node *core = &sim->node[SIM_CORE];
    struct node *edge = random_edge(sim, r);
    struct node *any = rng_chance(r, 0.3) ? core : edge;
    switch (f) {
    case FAULT_CUT:
        net_cut(sim, edge, true, true);
        struck(sim, "cut %s", edge->name);
        lasting(sim, f, edge, r);
        break;
    case FAULT_ONE_WAY:
        cut_one_way(sim, edge, r);
        lasting(sim, f, edge, r);
        break;
    case FAULT_SWIZZLE:
        swizzle(sim, r);
        break;
    case FAULT_EDGE_CRASH:
    case FAULT_CORE_CRASH:
    case FAULT_POWER_CUT:
        crash(sim, f, f == FAULT_POWER_CUT ? any : f == FAULT_CORE_CRASH ? core : edge, r);
        break;
    case FAULT_PAUSE:
        lasting(sim, f, any, r);
        break;
    case FAULT_CLOCK:
        step_clock(sim, any, r);
        break;
    case FAULT_SLOW_DISK:
        slow_disk(sim, any, r);
        break;
    case FAULT_DISK_FULL:
    case FAULT_DISK_ERROR:
        disk_begin(sim, any, f == FAULT_DISK_FULL, r);
        lasting(sim, f, any, r);
        break;
    case FAULT_DAMAGE:
        struck(sim, "damage %s 10", edge->name);
        fault_damage(sim, edge, rng_between(r, 1, 20));
        break;
    case FAULT_RECONNECT:
        reconnect(sim, edge, r);
        break;
    case FAULT_FORGE:
        struck(sim, "forge %s", edge->name);
        fault_forge(sim, edge);
        break;
    case FAULT_REPLAY:
        struck(sim, "replay %s", edge->name);
        fault_replay(sim, edge, r);
        break;
    case FAULT_REVOKE:
        revoke(sim, edge);
        break;
    case FAULT_RESTORE:
        restore(sim, r);
        break;
    case FAULT_STRIKES:
    case FAULT_DUPLICATE:
    case FAULT_REORDER:
    case FAULT_CORRUPT:
    case FAULT_SMALL_LOG:
    case FAULT_LIMITS:
    case FAULT_LATE_EDGES:
    case FAULT_PACKET_LOSS:
    case FAULT_THIN:
    case FAULT_KINDS:
        HF_UNREACHABLE();
    }
}

#define SHATTERED 0.2 /* of the restarts of an edge, where its disk is a bad one */

static void start_again(struct sim *sim, struct node *n)
{
    struct rng *r = &sim->rng_kind[FAULT_DAMAGE];
    bool bad = has(sim, FAULT_DAMAGE) && n->index != SIM_CORE;
    if (bad && !n->alive && !sim->quiet && rng_chance(r, SHATTERED)) {
        struck(sim, "#a page of the store of %s is damaged", n->name);
        fault_shatter(sim, n, r);
    }
    struck(sim, "start %s", n->name);
    node_start(sim, n);
}

static void end(struct sim *sim, uint32_t f, struct node *n)
{
    switch (f) {
    case FAULT_CUT:
    case FAULT_ONE_WAY:
    case FAULT_SWIZZLE:
        net_heal(sim, n);
        struck(sim, "heal %s", n->name);
        break;
    case FAULT_PAUSE:
        node_resume(sim, n);
        struck(sim, "resume %s", n->name);
        break;
    case FAULT_SLOW_DISK:
        n->disk = node_disk_well(n);
        struck(sim, "disk well at %s", n->name);
        break;
    case FAULT_DISK_FULL:
    case FAULT_DISK_ERROR:
        disk_trouble(n->disk_io, 0, 0);
        sim_trace(sim, n, "disk: well again");
        struck(sim, "disk well at %s", n->name);
        break;
    default: /* f is a number: what is left are the three crashes */
        if (n->index == SIM_CORE || n->invited) {
            start_again(sim, n);
        }
    }
}

static void invite_late(struct sim *sim, struct node *edge)
{
    if (sim->restored || edge->invited) {
        return;
    }
    if (!sim->node[SIM_CORE].alive) {
        schedule(sim, sim->now + SIM_S, INVITE, edge->index);
        return;
    }
    mark_hit(sim, MARK_LATE_EDGE);
    struck(sim, "#%s is invited", edge->name);
    node_invite(sim, edge);
}

void fault_strike(struct sim *sim, struct event *ev)
{
    if (ev->a == SCENARIO) {
        scenario_strike(sim, ev->b);
    } else if (ev->a == INVITE) {
        invite_late(sim, &sim->node[ev->node]);
    } else if (ev->a >= ENDS) {
        end(sim, (uint32_t)ev->a - ENDS, &sim->node[ev->node]);
    } else if (!sim->quiet) {
        uint32_t f = (uint32_t)ev->a;
        begin(sim, (enum fault)f);
        schedule(sim, sim->now + rng_exponential(&sim->rng_kind[f], tempo[f].every), f, SIM_CORE);
    }
}

void faults_heal_all(struct sim *sim)
{
    sim->quiet = true;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct node *n = &sim->node[i];
        n->disk = node_disk_well(n);
        disk_trouble(n->disk_io, 0, 0);
        node_drift(n, 0);
        node_resume(sim, n);
        n->link.profile.drop = n->link.profile.corrupt = 0;
        n->link.profile.duplicate = n->link.profile.reorder = 0;
        if (sim->opt.script == NULL) { /* a scenario's links stay what they are */
            n->link.profile.loss = 0;
            n->link.profile.rate_bps = 0;
        }
        net_heal(sim, n);
        if (!n->alive && (i == SIM_CORE || n->invited)) {
            node_start(sim, n);
        }
        if (i != SIM_CORE && !n->invited && !sim->restored && sim->node[SIM_CORE].alive) {
            node_invite(sim, n); /* its turn had not come, or the core died over it */
        }
    }
}
