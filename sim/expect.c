/*
 * expect.c - what a scenario expects of the virtual world, asked after every event (measure.h).
 *
 * Like the oracle it looks from outside: at what an edge's status says, at when it reached which
 * seq, at what clients got.
 */
#include "sim/measure.h"
#include "sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>

static struct measure *measure_of(struct sim *sim, uint32_t x, uint32_t node)
{
    return &sim->measures[(size_t)x * (SIM_EDGES_MAX + 1) + node];
}

void expect_init(struct sim *sim)
{
    size_t count = (size_t)sim->opt.script->expectation_count * (SIM_EDGES_MAX + 1);
    sim->measures = calloc(count + 1, sizeof(*sim->measures));
    HF_ASSERT(sim->measures != NULL);
}

void expect_free(struct sim *sim)
{
    free(sim->measures);
    sim->measures = NULL;
}

/* ---- while it runs ---- */

static bool is_apart(const struct sim *sim, const struct node *n)
{
    const struct node *core = &sim->node[SIM_CORE];
    return n->link.down.cut || n->link.up.cut || !n->alive || n->paused || !core->alive ||
           core->paused;
}

static struct measure_edge edge_now(struct node *n)
{
    struct hf_replica_status s;
    hf_edge_status(n->edge, n->world.now(n), &s);
    return (struct measure_edge){
        .state = (uint8_t)s.state, .applied = s.applied, .staleness_ms = s.staleness_ms};
}

static struct measure_load load_now(const struct sim *sim)
{
    return (struct measure_load){.ordered_done = load_order_done(sim), .acked = sim->acked};
}

/* What the edge says of itself, just before this event may change it: the most it can have been
 * since the last one. */
void expect_before(struct sim *sim, struct node *n)
{
    const struct script *s = sim->opt.script;
    for (uint32_t i = 0; s != NULL && i < s->expectation_count; i++) {
        const struct script_expectation *x = &s->expectation[i];
        if (x->kind != SCRIPT_EXPECT_STALENESS || !script_has(&x->nodes, n->index)) {
            continue;
        }
        bool says = n->alive && !n->paused;
        struct measure_edge e = says ? edge_now(n) : (struct measure_edge){0};
        measure_staleness(measure_of(sim, i, n->index), x, sim->now, is_apart(sim, n),
                          says ? &e : NULL, sim->acked);
    }
}

void expect_after(struct sim *sim, struct node *n)
{
    const struct script *s = sim->opt.script;
    for (uint32_t i = 0; s != NULL && i < s->expectation_count; i++) {
        struct measure *m = measure_of(sim, i, n->index);
        if (m->pending && n->alive) {
            struct measure_edge e = edge_now(n);
            struct measure_load l = load_now(sim);
            measure_result(m, &s->expectation[i], sim->now, &e, &l);
        }
    }
}

void expect_action(struct sim *sim, const struct script_action *a)
{
    const struct script *s = sim->opt.script;
    struct measure_load l = load_now(sim);
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        const struct script_expectation *x = &s->expectation[i];
        for (uint32_t k = 1; k < sim->node_count; k++) {
            const struct node *n = &sim->node[k];
            struct measure *m = measure_of(sim, i, k);
            if (!script_has(&x->nodes, k)) {
                continue;
            }
            m->apart |= is_apart(sim, n); /* nothing reaches it, no event will tell */
            bool reachable = n->alive && !n->paused && !n->link.down.cut && !n->link.up.cut;
            if (x->kind == SCRIPT_EXPECT_WITHIN && measure_concerns(a, k, reachable)) {
                measure_action(m, x, a->verb, sim->now, &l);
            }
        }
    }
}

/* ---- at the end ---- */

static bool mark_was_hit(const struct sim *sim, const char *name)
{
    for (int m = 0; m < MARK_COUNT; m++) {
        if (strcmp(mark_name((enum mark)m), name) == 0) {
            return sim->marks[m] > 0;
        }
    }
    return false;
}

static struct measure_end end_of(struct node *n)
{
    return (struct measure_end){.running = n->alive,
                                .state = n->alive ? edge_now(n).state : 0,
                                .bytes_down = n->link.down.bytes,
                                .bytes_up = n->link.up.bytes,
                                .reads = n->reads,
                                .reads_failed = n->reads_failed,
                                .plan = n->plan};
}

static void judge_edges(struct sim *sim, uint32_t index, struct sim_expectation *out)
{
    const struct script_expectation *x = &sim->opt.script->expectation[index];
    struct measure_worst worst = {.count = 0};
    for (uint32_t i = 1; i < sim->node_count; i++) {
        struct node *n = &sim->node[i];
        if (script_has(&x->nodes, i)) {
            struct measure_end end = end_of(n);
            measure_judge(&worst, measure_of(sim, index, i), x, sim->now, n->name, &end);
        }
    }
    measure_conclude(&worst, x, out);
}

static void judge(struct sim *sim, uint32_t index, struct sim_expectation *out)
{
    const struct script_expectation *x = &sim->opt.script->expectation[index];
    const struct node *core = &sim->node[SIM_CORE];
    struct hf_core_status s = {0};
    switch (x->kind) {
    case SCRIPT_EXPECT_REFUSING:
        if (core->alive) {
            hf_core_status(core->core, &s);
        }
        out->held = s.refusing != NULL;
        snprintf(out->measured, sizeof(out->measured), "%s",
                 !core->alive         ? "not running"
                 : s.refusing == NULL ? "takes writes"
                                      : s.refusing);
        break;
    case SCRIPT_EXPECT_WRITES:
        measure_writes(x, sim->writes_refused, sim->writes_sent, out);
        break;
    case SCRIPT_EXPECT_MARK:
        out->held = mark_was_hit(sim, x->word);
        snprintf(out->measured, sizeof(out->measured), "%s", out->held ? "reached" : "not reached");
        break;
    case SCRIPT_EXPECT_STATE:
    case SCRIPT_EXPECT_WITHIN:
    case SCRIPT_EXPECT_STALENESS:
    case SCRIPT_EXPECT_BYTES:
    case SCRIPT_EXPECT_READS:
    case SCRIPT_EXPECT_PLAN:
        judge_edges(sim, index, out);
        break;
    }
}

void expect_judge(struct sim *sim, struct sim_expectation *out)
{
    const struct script *s = sim->opt.script;
    bool cut_short = sim->violation[0] != '\0';
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        snprintf(out[i].text, sizeof(out[i].text), "%s", s->expectation[i].text);
        if (!cut_short) {
            judge(sim, i, &out[i]);
        }
        if (!out[i].held) {
            violate(sim, "%s:%" PRIu32 ": expected: %s; measured: %s", s->path,
                    s->expectation[i].line, out[i].text, out[i].measured);
        }
    }
}
