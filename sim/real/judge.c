/*
 * judge.c - expectations, measured from samples and actions and judged at the end.
 *
 * For each expectation and edge there is a measure; those of edges that it is not about stay empty.
 * Next: sim/expect.c, the same for the virtual world, where every event is looked at.
 */
#include "sim/real/judge.h"

#include "sim/real/writer.h"

#include "hf/err.h"
#include "hf/replica.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_MARK "plan for the gap kind="

struct measure {
    /* WITHIN */
    bool pending;  /* an action has happened, its result has not */
    bool goal_set; /* not before all that the timeline ordered was answered */
    hf_seq goal;
    uint64_t since_us;
    bool measured, late;
    uint64_t worst_us;
    /* STALENESS */
    bool apart;     /* cut off, stopped or paused */
    bool rejoining; /* not any more, but not yet live with all of goal */
    bool known;
    uint64_t worst_ms;
};

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

static void conclude(struct real_judge *j, const struct script_expectation *x, struct measure *m)
{
    uint64_t took = real_now_us(j->run) - m->since_us;
    m->pending = false;
    m->measured = true;
    m->late |= took > x->limit_us;
    m->worst_us = took > m->worst_us ? took : m->worst_us;
}

static bool has_come_true(struct real_judge *j, const struct real_node *n,
                          const struct script_expectation *x, struct measure *m)
{
    if (!n->last.running) {
        return false;
    }
    if (x->word[0] != '\0') {
        return strcmp(hf_replica_state_name((enum hf_replica_state)n->last.state), x->word) == 0;
    }
    if (!m->goal_set) {
        struct real_writer_status s;
        real_writer_status(j->run->writer, &s);
        m->goal_set = s.ordered_done;
        m->goal = s.acked_seq;
    }
    return m->goal_set && n->last.applied >= m->goal;
}

static void measure_staleness(struct real_judge *j, const struct real_node *n,
                              const struct script_expectation *x, struct measure *m)
{
    const struct real_sample *s = &n->last;
    bool apart = s->cut_down || s->cut_up || !s->running || !j->run->node[SCRIPT_CORE].last.running;
    if (m->apart && !apart) {
        struct real_writer_status w;
        real_writer_status(j->run->writer, &w);
        m->rejoining = true;
        m->goal = w.acked_seq;
    }
    m->apart = apart;
    if (m->rejoining && s->state == HF_REPLICA_LIVE && s->applied >= m->goal) {
        m->rejoining = false;
    }
    if (s->staleness_ms != UINT64_MAX && !(x->linked && (m->apart || m->rejoining))) {
        m->known = true;
        m->worst_ms = s->staleness_ms > m->worst_ms ? s->staleness_ms : m->worst_ms;
    }
}

void real_judge_sample(struct real_judge *j, const struct real_node *n)
{
    const struct script *s = j->run->script;
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        const struct script_expectation *x = &s->expectation[i];
        struct measure *m = measure_of(j, i, n->index);
        if (x->kind == SCRIPT_EXPECT_STALENESS && script_has(&x->nodes, n->index)) {
            measure_staleness(j, n, x, m);
        } else if (m->pending && has_come_true(j, n, x, m)) {
            conclude(j, x, m);
        }
    }
}

/* After `verb` it says nothing any more how long the result of `of` takes. */
static bool undoes(enum script_verb of, enum script_verb verb)
{
    bool ends = (of == SCRIPT_CUT && verb == SCRIPT_HEAL) ||
                (of == SCRIPT_CRASH && verb == SCRIPT_START) ||
                (of == SCRIPT_PAUSE && verb == SCRIPT_RESUME) ||
                (of >= SCRIPT_DISK_SLOW && of <= SCRIPT_DISK_FAILING && verb == SCRIPT_DISK_WELL);
    return ends || verb == SCRIPT_CUT || verb == SCRIPT_CRASH || verb == SCRIPT_PAUSE ||
           verb == SCRIPT_RESTORE || verb == SCRIPT_REVOKE;
}

static bool concerns(const struct script_action *a, const struct real_node *n)
{
    static const struct script_nodes nobody;
    bool everyone =
        script_has(&a->nodes, SCRIPT_CORE) || memcmp(&a->nodes, &nobody, sizeof(nobody)) == 0;
    bool reachable = n->alive && !n->ending && !n->paused && !n->cut_down && !n->cut_up;
    return script_has(&a->nodes, n->index) || (everyone && reachable);
}

static void begin(struct real_judge *j, struct measure *m)
{
    struct real_writer_status s;
    real_writer_status(j->run->writer, &s);
    m->pending = true;
    m->since_us = real_now_us(j->run);
    m->goal_set = s.ordered_done;
    m->goal = s.acked_seq;
}

static void action_within(struct real_judge *j, const struct script_expectation *x,
                          struct measure *m, enum script_verb verb)
{
    bool again = verb == x->of;
    if (m->pending && (again || undoes(x->of, verb))) {
        if (real_now_us(j->run) - m->since_us > x->limit_us) {
            conclude(j, x, m); /* it has not come true, and it is too late now */
        }
        m->pending = false;
    }
    if (again) {
        begin(j, m);
    }
}

void real_judge_action(struct real_judge *j, const struct script_action *a)
{
    const struct script *s = j->run->script;
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        const struct script_expectation *x = &s->expectation[i];
        for (uint32_t n = 1; n < j->run->node_count; n++) {
            if (x->kind == SCRIPT_EXPECT_WITHIN && script_has(&x->nodes, n) &&
                concerns(a, &j->run->node[n])) {
                action_within(j, x, measure_of(j, i, n), a->verb);
            }
        }
    }
}

/* ---- at the end ---- */

/* Whether an edge held what x expects, and how much there was of what it measures. */
struct verdict {
    bool held, measured;
    bool idle; /* nothing happened to this edge that would have been measured */
    double amount;
};

static struct verdict judge_within(struct real_judge *j, const struct script_expectation *x,
                                   struct measure *m)
{
    if (m->pending) {
        conclude(j, x, m);
        m->late = true; /* it never came true */
    }
    return (struct verdict){.held = m->measured && !m->late,
                            .measured = m->measured,
                            .idle = !m->measured,
                            .amount = (double)m->worst_us / 1e6};
}

static struct verdict judge_staleness(const struct script_expectation *x, const struct measure *m)
{
    double s = (double)m->worst_ms / 1e3;
    double limit = (double)x->limit_us / 1e6;
    return (struct verdict){.held = m->known && (x->at_least ? s >= limit : s <= limit),
                            .measured = m->known,
                            .amount = s};
}

static struct verdict judge_bytes(const struct script_expectation *x, const struct real_node *n)
{
    uint64_t bytes = x->from ? n->last.bytes_up : n->last.bytes_down;
    bool held = x->at_least ? bytes >= x->limit_bytes : bytes <= x->limit_bytes;
    return (struct verdict){.held = held, .measured = true, .amount = (double)bytes};
}

static const char *const plans[] = {"none", "log", "delta", "snapshot", "repair"};

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
            if (strncmp(kind + strlen(PLAN_MARK), plans[i], strlen(plans[i])) == 0) {
                newest = (enum hf_plan_kind)i;
            }
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return newest;
}

static struct verdict judge_edge(struct real_judge *j, uint32_t index, const struct real_node *n)
{
    const struct script_expectation *x = &j->run->script->expectation[index];
    struct measure *m = measure_of(j, index, n->index);
    enum hf_plan_kind plan;
    switch (x->kind) {
    case SCRIPT_EXPECT_STATE:
        return (struct verdict){
            .held =
                n->last.running &&
                strcmp(hf_replica_state_name((enum hf_replica_state)n->last.state), x->word) == 0,
            .measured = n->last.running,
            .amount = n->last.state};
    case SCRIPT_EXPECT_WITHIN:
        return judge_within(j, x, m);
    case SCRIPT_EXPECT_STALENESS:
        return judge_staleness(x, m);
    case SCRIPT_EXPECT_BYTES:
        return judge_bytes(x, n);
    case SCRIPT_EXPECT_READS:
        return (struct verdict){.held = n->reads > 0 && n->reads_failed == 0,
                                .measured = n->reads > 0,
                                .amount = (double)n->reads_failed};
    case SCRIPT_EXPECT_PLAN:
        plan = newest_plan(n);
        return (struct verdict){.held = plan == x->plan, .measured = true, .amount = (double)plan};
    case SCRIPT_EXPECT_REFUSING:
    case SCRIPT_EXPECT_WRITES:
    case SCRIPT_EXPECT_MARK:
        break; /* not about edges */
    }
    HF_UNREACHABLE();
}

static void print_amount(enum script_expect kind, double amount, char *out, size_t cap)
{
    switch (kind) {
    case SCRIPT_EXPECT_STATE:
        snprintf(out, cap, "%s", hf_replica_state_name((enum hf_replica_state)amount));
        break;
    case SCRIPT_EXPECT_WITHIN:
    case SCRIPT_EXPECT_STALENESS:
        snprintf(out, cap, "%.3f s", amount);
        break;
    case SCRIPT_EXPECT_BYTES:
        snprintf(out, cap, "%.0f bytes", amount);
        break;
    case SCRIPT_EXPECT_READS:
        snprintf(out, cap, "%.0f failed", amount);
        break;
    case SCRIPT_EXPECT_PLAN:
        snprintf(out, cap, "%s", plans[(int)amount]);
        break;
    case SCRIPT_EXPECT_REFUSING:
    case SCRIPT_EXPECT_WRITES:
    case SCRIPT_EXPECT_MARK:
        HF_UNREACHABLE();
    }
}

static bool is_worse(const struct script_expectation *x, const struct verdict *a,
                     const struct verdict *b)
{
    if (a->idle != b->idle) {
        return b->idle; /* that it happened at one of them is enough */
    }
    if (a->held != b->held) {
        return !a->held;
    }
    return x->at_least ? a->amount < b->amount : a->amount > b->amount;
}

/* The worst edge decides, and is named when there are several. */
static void judge_edges(struct real_judge *j, uint32_t index, struct sim_expectation *out)
{
    const struct script_expectation *x = &j->run->script->expectation[index];
    const struct real_node *who = NULL;
    struct verdict worst = {0};
    char amount[48] = "never happened";
    uint32_t count = 0;
    for (uint32_t i = 1; i < j->run->node_count; i++) {
        if (!script_has(&x->nodes, i)) {
            continue;
        }
        struct verdict v = judge_edge(j, index, &j->run->node[i]);
        if (count++ == 0 || is_worse(x, &v, &worst)) {
            worst = v;
            who = &j->run->node[i];
        }
    }
    if (worst.measured) {
        print_amount(x->kind, worst.amount, amount, sizeof(amount));
    } else if (x->kind == SCRIPT_EXPECT_STATE) {
        snprintf(amount, sizeof(amount), "not running");
    }
    out->held = worst.held;
    snprintf(out->measured, sizeof(out->measured), count > 1 ? "%.47s at %.40s" : "%.47s", amount,
             who == NULL ? "nobody" : who->name);
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
        out->held = (x->word[0] != '\0') == (s.refused > 0);
        snprintf(out->measured, sizeof(out->measured), "%" PRIu64 " of %" PRIu64 " refused",
                 s.refused, s.sent);
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
