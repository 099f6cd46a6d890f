/*
 * judge.c - expectations of a run with real daemons, from samples and actions (sim/measure.h).
 */
#include "sim/real/judge.h"

#include "sim/measure.h"
#include "sim/real/writer.h"

#include "hf/err.h"

#include <stdlib.h>
#include <string.h>

#define PLAN_MARK "plan for the gap kind="

struct real_judge {
    struct real *run;
    struct measure *measure; /* owned; of expectation x and node n at x * node_count + n */
};

struct real_judge *real_judge_new(struct real *r)
{
    struct real_judge *j = calloc(1, sizeof(*j));
    HF_ASSERT(j != NULL);
    j->run = r;
    j->measure =
        calloc((size_t)r->script->expectation_count * r->node_count + 1, sizeof(*j->measure));
    HF_ASSERT(j->measure != NULL);
    return j;
}

void real_judge_free(struct real_judge *j)
{
    if (j != NULL) {
        free(j->measure);
        free(j);
    }
}

static struct measure *measure_of(const struct real_judge *j, uint32_t x, uint32_t node)
{
    return &j->measure[(size_t)x * j->run->node_count + node];
}

/* ---- while it runs ---- */

static struct measure_load load_now(const struct real_judge *j)
{
    struct real_writer_status s;
    real_writer_status(j->run->writer, &s);
    return (struct measure_load){.ordered_done = s.ordered_done, .acked = s.acked_seq};
}

void real_judge_sample(struct real_judge *j, const struct real_node *n)
{
    const struct script *s = j->run->script;
    const struct real_sample *now = &n->last;
    struct measure_edge e = {
        .state = now->state, .applied = now->applied, .staleness_ms = now->staleness_ms};
    struct measure_load l = load_now(j);
    bool apart =
        now->cut_down || now->cut_up || !now->running || !j->run->node[SCRIPT_CORE].last.running;
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        const struct script_expectation *x = &s->expectation[i];
        struct measure *m = measure_of(j, i, n->index);
        if (x->kind == SCRIPT_EXPECT_STALENESS && script_has(&x->nodes, n->index)) {
            measure_staleness(m, x, real_now_us(j->run), apart, now->running ? &e : NULL, l.acked);
        } else if (now->running) {
            measure_result(m, x, real_now_us(j->run), &e, &l);
        }
    }
}

void real_judge_action(struct real_judge *j, const struct script_action *a)
{
    const struct script *s = j->run->script;
    struct measure_load l = load_now(j);
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        const struct script_expectation *x = &s->expectation[i];
        for (uint32_t k = 1; k < j->run->node_count; k++) {
            const struct real_node *n = &j->run->node[k];
            bool reachable = n->alive && !n->ending && !n->paused && !n->cut_down && !n->cut_up;
            if (x->kind == SCRIPT_EXPECT_WITHIN && script_has(&x->nodes, k) &&
                measure_concerns(a, k, reachable)) {
                measure_action(measure_of(j, i, k), x, a->verb, real_now_us(j->run), &l);
            }
        }
    }
}

/* ---- at the end ---- */

static bool is_plan(const char *text, enum hf_plan_kind plan)
{
    const char *name = measure_plan_name(plan);
    return strncmp(text, name, strlen(name)) == 0;
}

/* The newest plan is in the edge's own log, and nowhere else. */
static enum hf_plan_kind newest_plan(const struct real_node *n)
{
    char path[REAL_DIR_MAX + 8];
    char line[1024];
    enum hf_plan_kind newest = HF_PLAN_LOG;
    snprintf(path, sizeof(path), "%s.log", n->dir);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        const char *kind = strstr(line, PLAN_MARK);
        for (int i = HF_PLAN_LOG; kind != NULL && i <= HF_PLAN_SNAPSHOT; i++) {
            if (is_plan(kind + strlen(PLAN_MARK), (enum hf_plan_kind)i)) {
                newest = (enum hf_plan_kind)i;
            }
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return newest;
}

static struct measure_end end_of(const struct real_node *n, enum script_expect kind)
{
    return (struct measure_end){.running = n->last.running,
                                .state = n->last.state,
                                .bytes_down = n->last.bytes_down,
                                .bytes_up = n->last.bytes_up,
                                .reads = n->reads,
                                .reads_failed = n->reads_failed,
                                .plan = kind == SCRIPT_EXPECT_PLAN ? newest_plan(n) : HF_PLAN_NONE};
}

static void judge_edges(struct real_judge *j, uint32_t index, struct sim_expectation *out)
{
    const struct script_expectation *x = &j->run->script->expectation[index];
    struct measure_worst worst = {.count = 0};
    for (uint32_t i = 1; i < j->run->node_count; i++) {
        const struct real_node *n = &j->run->node[i];
        if (script_has(&x->nodes, i)) {
            struct measure_end end = end_of(n, x->kind);
            measure_judge(&worst, measure_of(j, index, i), x, real_now_us(j->run), n->name, &end);
        }
    }
    measure_conclude(&worst, x, out);
}

static void judge_one(struct real_judge *j, uint32_t index, struct sim_expectation *out)
{
    const struct script_expectation *x = &j->run->script->expectation[index];
    const struct real *r = j->run;
    struct real_writer_status s;
    switch (x->kind) {
    case SCRIPT_EXPECT_REFUSING:
        out->held = r->refusing[0] != '\0';
        snprintf(out->measured, sizeof(out->measured), "%.95s",
                 !r->node[SCRIPT_CORE].last.running ? "not running"
                 : out->held                        ? r->refusing
                                                    : "takes writes");
        break;
    case SCRIPT_EXPECT_WRITES:
        real_writer_status(r->writer, &s);
        measure_writes(x, s.refused, s.sent, out);
        break;
    case SCRIPT_EXPECT_MARK:
        HF_UNREACHABLE(); /* was refused */
    case SCRIPT_EXPECT_STATE:
    case SCRIPT_EXPECT_WITHIN:
    case SCRIPT_EXPECT_STALENESS:
    case SCRIPT_EXPECT_BYTES:
    case SCRIPT_EXPECT_READS:
    case SCRIPT_EXPECT_PLAN:
        judge_edges(j, index, out);
        break;
    }
}

bool real_judge_end(struct real_judge *j, struct sim_expectation *out)
{
    const struct script *s = j->run->script;
    bool all = true;
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        snprintf(out[i].text, sizeof(out[i].text), "%s", s->expectation[i].text);
        judge_one(j, i, &out[i]);
        all &= out[i].held;
    }
    return all;
}
