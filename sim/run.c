/*
 * run.c - one simulation: a safety phase with faults, a liveness phase without, and the verdict.
 *
 * In the liveness phase everything is healed and nothing more is written; all edges that are not
 * revoked must reach the core's head within a bound of virtual time, or the run fails with the
 * reason why not.
 */
#include "sim/sim.h"

#include <dirent.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_EVERY (50 * SIM_MS)
#define READERS 8u /* so many edges are read each time, one after the other */

void sim_defaults(struct sim_options *o, uint64_t seed)
{
    *o = (struct sim_options){
        .seed = seed,
        .edges = 4,
        .duration = 60 * SIM_S,
        .liveness = 120 * SIM_S,
        .keys = 200,
        .write_every = 1 * SIM_S,
        .value_max = 90000,
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
            struct event *again = sim_at(sim, sim->now, EV_JOB, ev->node);
            again->lane = ev->lane; /* under way, for world_abandon to find */
            again->job = ev->job;
            node_crash(sim, &sim->node[ev->node]);
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
        load_write(sim);
        break;
    case EV_FAULT:
        fault_strike(sim, ev);
        break;
    case EV_CHECK:
        for (uint32_t i = 1; i < sim->node_count && i <= READERS; i++) {
            sim->reader = sim->reader % (sim->node_count - 1) + 1;
            oracle_read(sim, &sim->node[sim->reader]);
        }
        sim_at(sim, sim->now + READ_EVERY, EV_CHECK, SIM_CORE)->life = UINT32_MAX;
        break;
    }
}

/* Runs until `until`, or until done says so. */
static void run_until(struct sim *sim, sim_us until, bool stop_converged)
{
    struct event *ev;
    char why[256];
    while (sim->violation[0] == '\0' && sim->heap_count > 0) {
        if (sim->heap[0]->at > until) {
            sim->now = until;
            return;
        }
        (void)sim_next(sim, &ev);
        sim->now = ev->at;
        struct node *n = &sim->node[ev->node];
        bool current = ev->life == UINT32_MAX || (n->alive && ev->life == n->life);
        if (current) {
            sim->events++;
            uint64_t stamp[2] = {sim->now, (uint64_t)ev->type << 32 | ev->node};
            XXH3_64bits_update(sim->trace, stamp, sizeof(stamp));
            XXH3_64bits_update(sim->trace, ev->bytes, ev->len);
            dispatch(sim, ev);
            oracle_node(sim, n);
        }
        sim_event_free(ev);
        if (stop_converged && sim->events % 16 == 0 && oracle_converged(sim, why, sizeof(why))) {
            return;
        }
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
        node_invite(sim, &sim->node[i]);
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
    scenario_expect(sim);
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
        if (n->alive) {
            sim->out = NULL;
            node_crash(sim, n);
        }
        node_free(n);
    }
    while (sim_next(sim, &ev)) {
        sim_event_free(ev);
    }
    hf_identity_free(&sim->forger);
    free(sim->last_frame);
    free(sim->heap);
    free(sim->past);
    load_free(sim);
    scenario_free(sim);
    nftw(sim->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void sim_run(const struct sim_options *o, FILE *trace, struct sim_result *result)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    HF_ASSERT(sim != NULL && o->edges >= 1 && o->edges <= SIM_EDGES_MAX);
    sim->opt = *o;
    sim->out = trace;
    sim->trace = XXH3_createState();
    XXH3_64bits_reset_withSeed(sim->trace, o->seed);
    rng_seed(&sim->rng_net, o->seed, 1);
    rng_seed(&sim->rng_load, o->seed, 2);
    rng_seed(&sim->rng_fault, o->seed, 3);
    hop_init(&sim->hub_down, o->seed, 4);
    hop_init(&sim->hub_up, o->seed, 5);
    make_root(sim);
    make_forger(sim);
    if (o->scenario == NULL) {
        faults_plan(sim);
        start_all(sim);
        load_init(sim);
    } else if (!scenario_load(sim, o->scenario)) {
        goto out;
    }
    sim_at(sim, READ_EVERY, EV_CHECK, SIM_CORE)->life = UINT32_MAX;
    run_until(sim, sim->opt.duration, false);
    if (sim->violation[0] == '\0') {
        liveness(sim);
    }
out:
    *result = (struct sim_result){.ok = sim->violation[0] == '\0',
                                  .trace_hash = XXH3_64bits_digest(sim->trace),
                                  .events = sim->events,
                                  .batches = sim->head,
                                  .virtual_us = sim->now};
    memcpy(result->violation, sim->violation, sizeof(result->violation));
    memcpy(result->marks, sim->marks, sizeof(result->marks));
    tear_down(sim);
    XXH3_freeState(sim->trace);
    free(sim);
}
