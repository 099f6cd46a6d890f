/*
 * scenario.c - plays a parsed scenario (script.h) in the virtual world.
 *
 * Before the run its settings become options, nodes and links; each action of its timeline becomes
 * an event, and one function of the table below when it strikes. What it expects is measured in
 * expect.c. Nothing here reads text: what can be wrong with a scenario, the parser has refused.
 */
#include "sim/disk.h"
#include "sim/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* An invitation takes a few writes of the core. */
#define JOIN_US (30 * SIM_MS)

/* ---- settings ---- */

/* The recording of that file, which each is read once. */
static const struct hop_trace *trace_of(struct sim *sim, const char *path)
{
    struct hf_error e = {.code = HF_OK};
    uint32_t i = 0;
    while (i < sim->trace_count && strcmp(sim->trace_path[i], path) != 0) {
        i++;
    }
    if (i == sim->trace_count) {
        HF_ASSERT(i < SCRIPT_TRACES_MAX); /* a script has no more */
        if (hop_trace_load(&sim->trace_of[i], path, &e) != HF_OK) {
            violate(sim, "%s", e.text);
            return NULL;
        }
        sim->trace_path[i] = path;
        sim->trace_count++;
    }
    return &sim->trace_of[i];
}

static struct link_profile profile_of(struct sim *sim, const struct script_link *l)
{
    return (struct link_profile){.delay = l->delay_us,
                                 .jitter = l->jitter_us,
                                 .rate_bps = l->rate_bps,
                                 .queue = l->queue_us,
                                 .loss = l->loss,
                                 .burst = l->burst,
                                 .packet_reorder = l->packet_reorder,
                                 .packet_duplicate = l->packet_duplicate,
                                 .trace = l->trace == NULL ? NULL : trace_of(sim, l->trace),
                                 .drop = l->drop,
                                 .duplicate = l->duplicate,
                                 .reorder = l->reorder,
                                 .corrupt = l->corrupt};
}

static void settings(struct sim *sim, const struct script *s)
{
    struct sim_options *o = &sim->opt;
    o->duration = s->duration_us;
    o->liveness = s->converge_us;
    sim->may_stay_apart = s->converge_us == 0;
    o->log_bytes = s->log_bytes > 0 ? s->log_bytes : o->log_bytes;
    o->log_age = s->log_age_us;
    o->tombstone = s->tombstone_us;
    o->beacon = s->beacon_us;
    o->load = s->load;
    o->hub.rate_bps = s->hub_rate_bps;
    o->hub.queue = s->hub_queue_us;
}

static void schedule(struct sim *sim, sim_us at, uint64_t action)
{
    struct event *ev = sim_at(sim, at, EV_FAULT, SIM_CORE);
    ev->life = UINT32_MAX;
    ev->a = scenario_event();
    ev->b = action;
}

static bool is_mark(const char *name)
{
    for (int m = 0; m < MARK_COUNT; m++) {
        if (strcmp(mark_name((enum mark)m), name) == 0) {
            return true;
        }
    }
    return false;
}

static enum hf_err traces_check(const struct script *s, struct hf_error *e)
{
    struct hop_trace t;
    for (uint32_t i = 0; i < s->trace_count; i++) {
        enum hf_err err = hop_trace_load(&t, s->trace[i], e);
        if (err != HF_OK) {
            return err;
        }
        hop_trace_free(&t);
    }
    return HF_OK;
}

/* What happens to a process before it runs would happen to nobody. */
static enum hf_err joins_check(const struct script *s, struct hf_error *e)
{
    for (uint32_t i = 0; i < s->action_count; i++) {
        const struct script_action *a = &s->action[i];
        bool to_process = a->verb == SCRIPT_CRASH || a->verb == SCRIPT_PAUSE ||
                          a->verb == SCRIPT_REVOKE || a->verb == SCRIPT_DAMAGE ||
                          a->verb == SCRIPT_BACKUP || a->verb == SCRIPT_RESTORE;
        for (uint32_t n = s->edge_count; to_process && n > 0; n--) {
            bool meant = script_has(&a->nodes, n) || script_has(&a->nodes, SCRIPT_CORE);
            if (meant && a->at_us < node_joins_at(n) + JOIN_US) {
                return hf_error_set(e, HF_ARG,
                                    "%s:%" PRIu32 ": %s has not joined by then: the virtual world "
                                    "begins without edges and lets in %u a second; do this from "
                                    "%" PRIu64 "s on",
                                    s->path, a->line, s->edge[n].name, JOINS_PER_S,
                                    node_joins_at(n) / SIM_S + 1);
            }
        }
    }
    return HF_OK;
}

enum hf_err scenario_check(const struct script *s, struct hf_error *e)
{
    if (s->load.keys > SIM_KEYS_MAX) {
        return hf_error_set(e, HF_ARG, "%s: the virtual world has %u keys at most, not %" PRIu32,
                            s->path, SIM_KEYS_MAX, s->load.keys);
    }
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        const struct script_expectation *x = &s->expectation[i];
        if (x->kind == SCRIPT_EXPECT_MARK && !is_mark(x->word)) {
            return hf_error_set(e, HF_ARG,
                                "%s:%" PRIu32 ": there is no mark called '%s'; `holdfast-sim swarm "
                                "--seeds 1` lists them",
                                s->path, x->line, x->word);
        }
    }
    enum hf_err err = joins_check(s, e);
    return err == HF_OK ? traces_check(s, e) : err;
}

bool scenario_load(struct sim *sim)
{
    const struct script *s = sim->opt.script;
    settings(sim, s);
    node_init(sim, SIM_CORE, "core");
    for (uint32_t i = 1; i <= s->edge_count; i++) {
        node_init(sim, i, s->edge[i].name);
        sim->node[i].link.profile = profile_of(sim, &s->edge[i].link);
    }
    sim->node_count = 1 + s->edge_count;
    if (!node_start(sim, &sim->node[SIM_CORE])) {
        return false;
    }
    for (uint32_t i = 1; i < sim->node_count; i++) {
        node_invite(sim, &sim->node[i]);
    }
    load_init(sim);
    expect_init(sim);
    for (uint32_t i = 0; i < s->action_count; i++) {
        schedule(sim, s->action[i].at_us, i);
    }
    return true;
}

/* ---- actions on a node ---- */

typedef void action(struct sim *sim, struct node *n, const struct script_action *a);

static void do_cut(struct sim *sim, struct node *n, const struct script_action *a)
{
    net_cut(sim, n, a->down, a->up);
}

static void do_link(struct sim *sim, struct node *n, const struct script_action *a)
{
    n->link.profile = profile_of(sim, &a->link);
    sim_trace(sim, n, "net: another profile");
}

static void do_disk(struct sim *sim, struct node *n, const struct script_action *a)
{
    int error = a->verb == SCRIPT_DISK_FULL ? ENOSPC : a->verb == SCRIPT_DISK_FAILING ? EIO : 0;
    n->disk = a->verb == SCRIPT_DISK_SLOW ? a->us : node_disk_well(n);
    disk_trouble(n->disk_io, error, 1);
    if (a->verb == SCRIPT_DISK_SLOW) {
        sim_trace(sim, n, "disk: a write takes %" PRIu64 "ms", a->us / SIM_MS);
    } else {
        sim_trace(sim, n, "disk: %s", script_verb_name(a->verb) + strlen("disk-"));
    }
}

static void do_damage(struct sim *sim, struct node *n, const struct script_action *a)
{
    fault_damage(sim, n, a->count);
}

static void do_clock(struct sim *sim, struct node *n, const struct script_action *a)
{
    n->wall_step_ms += a->step_us / (int64_t)SIM_MS;
    sim_trace(sim, n, "clock: steps by %" PRId64 " ms", a->step_us / (int64_t)SIM_MS);
}

static void do_drift(struct sim *sim, struct node *n, const struct script_action *a)
{
    node_drift(n, a->ppm);
    sim_trace(sim, n, "clock: drifts by %.0f ppm", a->ppm);
}

static void do_backup(struct sim *sim, struct node *n, const struct script_action *a)
{
    node_save(sim, n, a->us);
}

static void do_restore(struct sim *sim, struct node *n, const struct script_action *a)
{
    node_restore(sim, n, a->us);
}

static void do_read(struct sim *sim, struct node *n, const struct script_action *a)
{
    (void)a;
    if (n->alive && !n->paused) {
        oracle_read_all(sim, n);
    } else {
        n->reads_failed += n->reads > 0; /* from the first full copy on */
    }
}

static void do_drop(struct sim *sim, struct node *n, const struct script_action *a)
{
    n->link.lose_next = (uint32_t)a->count;
    sim_trace(sim, n, "net: loses the next %" PRIu64, a->count);
}

static void do_forge(struct sim *sim, struct node *n, const struct script_action *a)
{
    (void)a;
    sim_trace(sim, n, "net: a forged frame arrives");
    fault_forge(sim, n);
}

static void do_replay(struct sim *sim, struct node *n, const struct script_action *a)
{
    (void)a;
    sim_trace(sim, n, "net: the newest frame arrives again");
    if (n->alive && !n->paused && sim->last_frame != NULL) {
        hf_edge_on_message(n->edge, hf_slice_of(sim->last_frame, sim->last_frame_len));
    }
}

/* ---- actions of clients ---- */

static void do_write(struct sim *sim, struct node *n, const struct script_action *a)
{
    (void)n;
    sim_trace(sim, NULL, "client: writes %" PRIu64, a->count);
    load_order_writes(sim, a->count);
}

static void do_release(struct sim *sim, struct node *n, const struct script_action *a)
{
    (void)n;
    sim_trace(sim, NULL, "operator: releases new values of %" PRIu64 " keys", a->count);
    load_order_release(sim, (uint32_t)a->count);
}

static void do_rollback(struct sim *sim, struct node *n, const struct script_action *a)
{
    (void)n;
    (void)a;
    sim_trace(sim, NULL, "operator: takes the release back");
    load_order_rollback(sim);
}

static void start(struct sim *sim, struct node *n)
{
    (void)node_start(sim, n); /* what is wrong when it does not open is a violation already */
}

/* What a verb does, if it says no more than at which nodes ... */
static void (*const plain_actions[SCRIPT_VERBS])(struct sim *sim, struct node *n) = {
    [SCRIPT_HEAL] = net_heal,
    [SCRIPT_HALF_OPEN] = net_half_open, /* as when a router forgets them: neither end is told */
    [SCRIPT_CRASH] = node_crash,
    [SCRIPT_START] = start,
    [SCRIPT_PAUSE] = node_pause,
    [SCRIPT_RESUME] = node_resume,
    [SCRIPT_REVOKE] = node_revoke,
};

/* ... and if it says more. */
static action *const actions[SCRIPT_VERBS] = {
    [SCRIPT_CUT] = do_cut,        [SCRIPT_LINK] = do_link,         [SCRIPT_DISK_SLOW] = do_disk,
    [SCRIPT_DISK_FULL] = do_disk, [SCRIPT_DISK_FAILING] = do_disk, [SCRIPT_DISK_WELL] = do_disk,
    [SCRIPT_DAMAGE] = do_damage,  [SCRIPT_CLOCK] = do_clock,       [SCRIPT_DRIFT] = do_drift,
    [SCRIPT_WRITE] = do_write,    [SCRIPT_RELEASE] = do_release,   [SCRIPT_ROLLBACK] = do_rollback,
    [SCRIPT_BACKUP] = do_backup,  [SCRIPT_RESTORE] = do_restore,   [SCRIPT_READ] = do_read,
    [SCRIPT_DROP] = do_drop,      [SCRIPT_FORGE] = do_forge,       [SCRIPT_REPLAY] = do_replay,
};

static void strike(struct sim *sim, struct node *n, const struct script_action *a)
{
    if (plain_actions[a->verb] != NULL) {
        plain_actions[a->verb](sim, n);
    } else {
        actions[a->verb](sim, n, a);
    }
}

static bool of_clients(enum script_verb verb)
{
    return verb == SCRIPT_WRITE || verb == SCRIPT_RELEASE || verb == SCRIPT_ROLLBACK;
}

static void strike_all(struct sim *sim, const struct script_action *a)
{
    for (uint32_t i = 0; i < sim->node_count; i++) {
        if (script_has(&a->nodes, i)) {
            strike(sim, &sim->node[i], a);
        }
    }
}

void scenario_strike(struct sim *sim, uint64_t index)
{
    const struct script *s = sim->opt.script;
    const struct node *core = &sim->node[SIM_CORE];
    const struct script_action *a = &s->action[index];
    bool again = a->verb == SCRIPT_REVOKE && sim->now != a->at_us;
    if (a->verb == SCRIPT_REVOKE && (!core->alive || core->paused)) {
        schedule(sim, sim->now + SIM_S, index); /* who tries again until the core answers */
    } else if (of_clients(a->verb)) {
        actions[a->verb](sim, NULL, a);
    } else {
        strike_all(sim, a);
    }
    if (!again) {
        expect_action(sim, a);
    }
}
