/*
 * run.c - one simulation: a safety phase with faults, a liveness phase without, and the verdict.
 *
 * In the liveness phase everything is healed and nothing more is written; all edges that are not
 * revoked must reach the core's head within a bound of virtual time, or the run fails with the
 * reason why not.
 */
#include "sim/sim.h"

#include "sim/disk.h"
#include "sim/interrupt.h"

#include <dirent.h>
#include <ftw.h>
#include <glob.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define READERS 8u /* so many edges are read each time, one after the other */

void sim_defaults(struct sim_options *o, uint64_t seed)
{
    *o = (struct sim_options){
        .seed = seed,
        .edges = 4,
        .duration = 60 * SIM_S,
        .liveness = 120 * SIM_S,
        .load = script_load_usual,
        .log_bytes = 64u << 20,
        .profile = {.delay = 25 * SIM_MS, .jitter = 5 * SIM_MS},
    };
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void make_root(struct sim *sim)
{
    static uint32_t runs;
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(sim->root, sizeof(sim->root), "%s/holdfast-sim.%ld.%u", base, (long)getpid(), ++runs);
    HF_ASSERT(mkdir(sim->root, 0700) == 0);
}

static void on_tick(struct sim *sim, struct event *ev)
{
    struct node *n = &sim->node[ev->node];
    if (ev->at != n->tick_at) {
        return; /* an earlier one has taken its place */
    }
    n->tick_at = 0;
    hf_ms now = n->world.now(n);
    hf_ms next =
        n->index == SIM_CORE ? hf_core_on_tick(n->core, now) : hf_edge_on_tick(n->edge, now);
    n->world.wake_at(n, next > now ? next : now + 1);
}

static void dispatch(struct sim *sim, struct event *ev)
{
    switch (ev->type) {
    case EV_JOB:
        if (sim->node[ev->node].crash_at_job && !sim->quiet && ev->lane == HF_LANE_WRITER) {
            struct event *end = sim_at(sim, sim->now + SIM_S, EV_FAULT, ev->node);
            end->life = UINT32_MAX;
            end->a = fault_end_of_crash();
            sim->node[ev->node].crash_at_job = false;
            bool power = sim->node[ev->node].power_at_job;
            struct event *again = sim_at(sim, sim->now, EV_JOB, ev->node);
            again->lane = ev->lane; /* under way, for world_abandon to find */
            again->job = ev->job;
            if (power) {
                node_power_cut(sim, &sim->node[ev->node]);
            } else {
                node_crash(sim, &sim->node[ev->node]);
            }
        } else if (ev->job != NULL) {
            ev->job->work(ev->job);
            ev->job->done(ev->job);
        }
        break;
    case EV_TICK:
        on_tick(sim, ev);
        break;
    case EV_STREAM:
        net_on_stream(sim, ev);
        break;
    case EV_REQUEST:
        net_on_request(sim, ev);
        break;
    case EV_TIMEOUT:
        net_on_timeout(sim, ev);
        break;
    case EV_FLOW:
        net_on_flow(sim, ev);
        break;
    case EV_LINK:
        net_on_link(sim, ev);
        break;
    case EV_WRITE:
        load_event(sim, (enum load_event)ev->a);
        break;
    case EV_FAULT:
        fault_strike(sim, ev);
        break;
    case EV_CHECK:
        for (uint32_t i = 1; i < sim->node_count && i <= READERS; i++) {
            sim->reader = sim->reader % (sim->node_count - 1) + 1;
            oracle_read(sim, &sim->node[sim->reader]);
        }
        oracle_core(sim);
        sim_at(sim, sim->now + sim->opt.load.read_every_us, EV_CHECK, SIM_CORE)->life = UINT32_MAX;
        break;
    }
}

/* Runs until `until`, or until all has converged where that ends it. */
static void run_until(struct sim *sim, sim_us until, bool stop_converged)
{
    struct event *ev;
    char why[256];
    while (sim->violation[0] == '\0' && sim->heap_count > 0 && !interrupt_seen()) {
        if (sim->heap[0].at > until) {
            sim->now = until;
            return;
        }
        (void)sim_next(sim, &ev);
        sim->now = ev->at;
        struct node *n = &sim->node[ev->node];
        bool current = ev->life == UINT32_MAX || (n->alive && ev->life == n->life);
        if (current && node_holds(n, ev)) {
            continue;
        }
        if (current) {
            sim->events++;
            uint64_t stamp[2] = {sim->now, (uint64_t)ev->type << 32 | ev->node};
            XXH3_64bits_update(sim->trace, stamp, sizeof(stamp));
            XXH3_64bits_update(sim->trace, ev->bytes, ev->len);
            /* Faults and clients' reads are not the doing of a node. */
            bool own = ev->type != EV_FAULT && ev->type != EV_CHECK;
            expect_before(sim, n);
            (void)disk_use(own ? n->disk_io : NULL);
            dispatch(sim, ev);
            (void)disk_use(NULL);
            oracle_node(sim, n);
            expect_after(sim, n);
            recorder_step(sim, n);
        }
        sim_event_free(ev);
        if (stop_converged && sim->events % 16 == 0 && oracle_converged(sim, why, sizeof(why))) {
            return;
        }
    }
}

void sim_clean_after(long pid)
{
    char pattern[2][64];
    glob_t found;
    snprintf(pattern[0], sizeof(pattern[0]), "/dev/shm/holdfast-sim.%ld.*", pid);
    snprintf(pattern[1], sizeof(pattern[1]), "/tmp/holdfast-sim.%ld.*", pid);
    for (int i = 0; i < 2; i++) {
        if (glob(pattern[i], 0, NULL, &found) == 0) {
            for (size_t p = 0; p < found.gl_pathc; p++) {
                nftw(found.gl_pathv[p], remove_one, 16, FTW_DEPTH | FTW_PHYS);
            }
        }
        globfree(&found);
    }
}

static void make_forger(struct sim *sim)
{
    uint8_t seed[32] = "nobody trusts this key";
    HF_ASSERT(hf_identity_from_seed(&sim->forger, seed) == HF_OK);
}

static void start_all(struct sim *sim)
{
    char name[16];
    node_init(sim, SIM_CORE, "core");
    sim->node_count = 1 + sim->opt.edges;
    if (!node_start(sim, &sim->node[SIM_CORE])) {
        return;
    }
    for (uint32_t i = 1; i <= sim->opt.edges; i++) {
        snprintf(name, sizeof(name), "edge%u", i);
        node_init(sim, i, name);
        sim_us at = faults_invite_at(sim, i);
        if (at == 0) {
            node_invite(sim, &sim->node[i]);
        } else {
            faults_invite(sim, i, at);
        }
    }
}

static void liveness(struct sim *sim)
{
    char why[256] = "";
    sim->load_on = false;
    faults_heal_all(sim);
    sim_trace(sim, NULL, "liveness phase");
    run_until(sim, sim->now + (sim->may_stay_apart ? 20 * SIM_S : sim->opt.liveness),
              !sim->may_stay_apart);
    if (interrupt_seen()) {
        return;
    }
    if (sim->violation[0] == '\0' && !sim->may_stay_apart &&
        !oracle_converged(sim, why, sizeof(why))) {
        violate(sim, "G10: not converged in %" PRIu64 " s: %s", sim->opt.liveness / SIM_S, why);
    }
    oracle_final(sim);
}

static void tear_down(struct sim *sim)
{
    struct event *ev;
    for (uint32_t i = 0; i < sim->node_count; i++) {
        struct node *n = &sim->node[i];
        sim->out = NULL;
        node_resume(sim, n);
        if (n->alive) {
            node_crash(sim, n);
        }
        node_free(n);
    }
    while (sim_next(sim, &ev)) {
        sim_event_free(ev);
    }
    for (uint32_t i = 0; i < SIM_CAPTURED; i++) {
        free(sim->captured[i].bytes);
    }
    hf_identity_free(&sim->forger);
    for (uint32_t i = 0; i < sim->trace_count; i++) {
        hop_trace_free(&sim->trace_of[i]);
    }
    free(sim->last_frame);
    free(sim->heap);
    free(sim->past);
    load_free(sim);
    expect_free(sim);
    nftw(sim->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Of the daemons, but for a table that is to overflow. */
static void usual_limits(struct sim *sim)
{
    struct hf_replica_config c;
    hf_replica_defaults(&c);
    sim->limits =
        (struct sim_limits){.hold_frames_max = sim->opt.script == NULL ? 128 : c.hold_frames_max,
                            .hold_bytes_max = c.hold_bytes_max,
                            .fetch_max = c.fetch_max,
                            .apply_frames_max = c.apply_frames_max,
                            .ahead_frames_min = c.ahead_frames_min,
                            .plan_batches = c.plan_batches,
                            .stage_bytes = c.stage_bytes,
                            .take_next = c.take_next,
                            .commit_changes = 500,
                            .edge_disk = SIM_DISK_WELL};
}

void sim_run(const struct sim_options *o, FILE *trace, struct sim_result *result)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    HF_ASSERT(sim != NULL && o->edges >= 1 && o->edges <= SIM_EDGES_MAX);
    sim->opt = *o;
    memset(result, 0, sizeof(*result));
    usual_limits(sim);
    sim->out = trace;
    sim->trace = XXH3_createState();
    XXH3_64bits_reset_withSeed(sim->trace, o->seed);
    rng_seed(&sim->rng_net, o->seed, SIM_RNG_NET);
    rng_seed(&sim->rng_fault, o->seed, SIM_RNG_FAULT);
    rng_seed(&sim->rng_read, o->seed, SIM_RNG_READ);
    hop_init(&sim->hub_down, o->seed, SIM_RNG_HUB_DOWN);
    hop_init(&sim->hub_up, o->seed, SIM_RNG_HUB_UP);
    interrupt_begin();
    make_root(sim);
    make_forger(sim);
    if (o->script == NULL) {
        faults_plan(sim);
        start_all(sim);
        load_init(sim);
    } else if (!scenario_load(sim)) {
        goto out;
    }
    recorder_begin(sim);
    sim_at(sim, sim->opt.load.read_every_us, EV_CHECK, SIM_CORE)->life = UINT32_MAX;
    run_until(sim, sim->opt.duration, false);
    if (sim->violation[0] == '\0' && !interrupt_seen()) {
        if (o->script == NULL || o->script->converge_us > 0) {
            liveness(sim);
        } else {
            oracle_final(sim); /* of what the timeline left */
        }
    }
out:
    if (o->script != NULL) {
        expect_judge(sim, result->expectation);
        result->expectation_count = o->script->expectation_count;
    }
    if (interrupt_seen()) {
        violate(sim, "interrupted");
    }
    result->ok = sim->violation[0] == '\0';
    result->trace_hash = XXH3_64bits_digest(sim->trace);
    result->events = sim->events;
    result->batches = sim->head;
    result->faults = sim->opt.faults;
    result->virtual_us = sim->now;
    memcpy(result->violation, sim->violation, sizeof(result->violation));
    memcpy(result->marks, sim->marks, sizeof(result->marks));
    recorder_end(sim, result);
    tear_down(sim);
    XXH3_freeState(sim->trace);
    free(sim);
    interrupt_end();
}
