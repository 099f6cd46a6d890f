/*
 * expect.c - what a scenario expects, measured while it runs and judged at its end.
 *
 * Like the oracle it looks from outside: at what an edge's status says, at when it reached which
 * seq, at what clients got. script.h says what each expectation means. Each measured value is kept
 * whether or not it was good enough, since it is what an operator wants to know.
 *
 * For each expectation and node there is a watch; those of nodes that it is not about stay empty.
 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>

struct watch {
    /* WITHIN */
    bool pending;  /* an action has happened, its result has not */
    bool goal_set; /* goal is known; not so while what a timeline ordered is still being answered */
    hf_seq goal;
    sim_us since;
    bool measured, late;
    sim_us worst;
    /* STALENESS */
    bool apart;     /* cut off, stopped or paused */
    bool rejoining; /* not any more, but not yet live with all of goal */
    bool known;
    uint64_t worst_ms;
};

static struct watch *watch_of(struct sim *sim, uint32_t x, uint32_t node)
{
    return &sim->watches[(size_t)x * (SIM_EDGES_MAX + 1) + node];
}

void expect_init(struct sim *sim)
{
    size_t count = (size_t)sim->opt.script->expectation_count * (SIM_EDGES_MAX + 1);
    sim->watches = calloc(count + 1, sizeof(*sim->watches));
    HF_ASSERT(sim->watches != NULL);
}

void expect_free(struct sim *sim)
{
    free(sim->watches);
    sim->watches = NULL;
}

/* ---- while it runs ---- */

static bool is_apart(const struct sim *sim, const struct node *n)
{
    const struct node *core = &sim->node[SIM_CORE];
    return n->link.down.cut || n->link.up.cut || !n->alive || n->paused || !core->alive ||
           core->paused;
}

/* What the edge says of itself, just before this event may change it: the most it can have been
 * since the last one. */
static void watch_staleness(struct sim *sim, struct node *n, const struct script_expectation *x,
                            struct watch *w)
{
    struct hf_replica_status s;
    if (is_apart(sim, n)) {
        w->apart = true;
    }
    if (!n->alive || n->paused) {
        return;
    }
    hf_edge_status(n->edge, n->world.now(n), &s);
    if (w->apart && !is_apart(sim, n)) {
        w->apart = false;
        w->rejoining = true;
        w->goal = sim->acked;
    }
    if (w->rejoining && s.state == HF_REPLICA_LIVE && s.applied >= w->goal) {
        w->rejoining = false;
    }
    if (s.staleness_ms != UINT64_MAX && !(x->linked && (w->apart || w->rejoining))) {
        w->known = true;
        w->worst_ms = s.staleness_ms > w->worst_ms ? s.staleness_ms : w->worst_ms;
    }
}

void expect_before(struct sim *sim, struct node *n)
{
    const struct script *s = sim->opt.script;
    for (uint32_t i = 0; s != NULL && i < s->expectation_count; i++) {
        const struct script_expectation *x = &s->expectation[i];
        if (x->kind == SCRIPT_EXPECT_STALENESS && script_has(&x->nodes, n->index)) {
            watch_staleness(sim, n, x, watch_of(sim, i, n->index));
        }
    }
}

static bool has_come_true(struct sim *sim, struct node *n, const struct script_expectation *x,
                          struct watch *w)
{
    struct hf_replica_status s;
    if (!n->alive) {
        return false;
    }
    hf_edge_status(n->edge, n->world.now(n), &s);
    if (x->word[0] != '\0') {
        return strcmp(hf_replica_state_name(s.state), x->word) == 0;
    }
    if (!w->goal_set && load_order_done(sim)) {
        w->goal_set = true;
        w->goal = sim->acked;
    }
    return w->goal_set && s.applied >= w->goal;
}

static void conclude(struct sim *sim, const struct script_expectation *x, struct watch *w)
{
    sim_us took = sim->now - w->since;
    w->pending = false;
    w->measured = true;
    w->late |= took > x->limit_us;
    w->worst = took > w->worst ? took : w->worst;
}

void expect_after(struct sim *sim, struct node *n)
{
    const struct script *s = sim->opt.script;
    for (uint32_t i = 0; s != NULL && i < s->expectation_count; i++) {
        const struct script_expectation *x = &s->expectation[i];
        struct watch *w = watch_of(sim, i, n->index);
        if (w->pending && has_come_true(sim, n, x, w)) {
            conclude(sim, x, w);
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

static bool concerns(const struct script_action *a, const struct node *n)
{
    static const struct script_nodes nobody;
    bool everyone =
        script_has(&a->nodes, SCRIPT_CORE) || memcmp(&a->nodes, &nobody, sizeof(nobody)) == 0;
    bool reachable = n->alive && !n->paused && !n->link.down.cut && !n->link.up.cut;
    return script_has(&a->nodes, n->index) || (everyone && reachable);
}

static void begin(struct sim *sim, const struct script_expectation *x, struct watch *w)
{
    if (w->pending && sim->now - w->since > x->limit_us) {
        conclude(sim, x, w); /* it has not come true, and it is too late now */
    }
    w->pending = true;
    w->since = sim->now;
    w->goal_set = load_order_done(sim);
    w->goal = sim->acked;
}

static void action_within(struct sim *sim, const struct script_expectation *x, struct watch *w,
                          enum script_verb verb)
{
    if (verb == x->of) {
        begin(sim, x, w);
    } else if (w->pending && undoes(x->of, verb)) {
        if (sim->now - w->since > x->limit_us) {
            conclude(sim, x, w);
        }
        w->pending = false;
    }
}

void expect_action(struct sim *sim, const struct script_action *a)
{
    const struct script *s = sim->opt.script;
    for (uint32_t i = 0; i < s->expectation_count; i++) {
        const struct script_expectation *x = &s->expectation[i];
        for (uint32_t n = 1; n < sim->node_count; n++) {
            struct watch *w = watch_of(sim, i, n);
            if (!script_has(&x->nodes, n)) {
                continue;
            }
            w->apart |= is_apart(sim, &sim->node[n]); /* nothing reaches it, no event will tell */
            if (x->kind == SCRIPT_EXPECT_WITHIN && concerns(a, &sim->node[n])) {
                action_within(sim, x, w, a->verb);
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

/* Each says whether node n held what x expects, and how much there was of what it measures, of
 * which the most (or least) is shown. */
struct verdict {
    bool held;
    bool measured;
    bool idle; /* nothing happened to this node that would have been measured */
    double amount;
};

static struct verdict judge_within(struct sim *sim, const struct script_expectation *x,
                                   struct watch *w)
{
    if (w->pending) {
        conclude(sim, x, w);
        w->late = true; /* it never came true */
    }
    return (struct verdict){.held = w->measured && !w->late,
                            .measured = w->measured,
                            .idle = !w->measured,
                            .amount = (double)w->worst / 1e6};
}

static struct verdict judge_staleness(const struct script_expectation *x, const struct watch *w)
{
    double s = (double)w->worst_ms / 1e3;
    double limit = (double)x->limit_us / 1e6;
    return (struct verdict){.held = w->known && (x->at_least ? s >= limit : s <= limit),
                            .measured = w->known,
                            .amount = s};
}

static struct verdict judge_bytes(const struct script_expectation *x, const struct node *n)
{
    uint64_t bytes = x->from ? n->link.up.bytes : n->link.down.bytes;
    bool held = x->at_least ? bytes >= x->limit_bytes : bytes <= x->limit_bytes;
    return (struct verdict){.held = held, .measured = true, .amount = (double)bytes};
}

static struct verdict judge_node(struct sim *sim, uint32_t index, struct node *n)
{
    const struct script_expectation *x = &sim->opt.script->expectation[index];
    struct watch *w = watch_of(sim, index, n->index);
    enum hf_plan_kind plan = n->plan == HF_PLAN_NONE ? HF_PLAN_LOG : n->plan;
    struct hf_replica_status s;
    switch (x->kind) {
    case SCRIPT_EXPECT_STATE:
        if (!n->alive) {
            return (struct verdict){0};
        }
        hf_edge_status(n->edge, n->world.now(n), &s);
        return (struct verdict){.held = strcmp(hf_replica_state_name(s.state), x->word) == 0,
                                .measured = true,
                                .amount = (double)s.state};
    case SCRIPT_EXPECT_WITHIN:
        return judge_within(sim, x, w);
    case SCRIPT_EXPECT_STALENESS:
        return judge_staleness(x, w);
    case SCRIPT_EXPECT_BYTES:
        return judge_bytes(x, n);
    case SCRIPT_EXPECT_READS:
        return (struct verdict){.held = n->reads > 0 && n->reads_failed == 0,
                                .measured = n->reads > 0,
                                .amount = (double)n->reads_failed};
    case SCRIPT_EXPECT_PLAN:
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
    static const char *const plans[] = {"none", "log", "delta", "snapshot", "repair"};
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

/* The worst node decides, and is named when there are several. */
static void judge_nodes(struct sim *sim, uint32_t index, struct sim_expectation *out)
{
    const struct script_expectation *x = &sim->opt.script->expectation[index];
    struct verdict worst = {0};
    const struct node *who = NULL;
    char amount[48] = "never happened";
    uint32_t count = 0;
    for (uint32_t i = 1; i < sim->node_count; i++) {
        if (!script_has(&x->nodes, i)) {
            continue;
        }
        struct verdict v = judge_node(sim, index, &sim->node[i]);
        if (count++ == 0 || is_worse(x, &v, &worst)) {
            worst = v;
            who = &sim->node[i];
        }
    }
    if (worst.measured) {
        print_amount(x->kind, worst.amount, amount, sizeof(amount));
    } else if (x->kind == SCRIPT_EXPECT_STATE) {
        snprintf(amount, sizeof(amount), "not running");
    }
    out->held = worst.held;
    snprintf(out->measured, sizeof(out->measured), count > 1 ? "%.47s at %.40s" : "%.47s", amount,
             who->name);
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
        out->held = (x->word[0] != '\0') == (sim->writes_refused > 0);
        snprintf(out->measured, sizeof(out->measured), "%" PRIu64 " of %" PRIu64 " refused",
                 sim->writes_refused, sim->writes_sent);
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
        judge_nodes(sim, index, out);
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
