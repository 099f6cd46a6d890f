/*
 * measure.c - expectations of a scenario: how long results took, how stale answers were, and what
 * that makes of the whole (measure.h).
 */
#include "sim/measure.h"

#include "hf/replica.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REJOIN_US UINT64_C(60000000)

/* ---- while it runs ---- */

static void conclude(struct measure *m, const struct script_expectation *x, uint64_t now_us)
{
    uint64_t took = now_us - m->since_us;
    m->pending = false;
    m->measured = true;
    m->late |= took > x->limit_us;
    m->worst_us = took > m->worst_us ? took : m->worst_us;
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

bool measure_concerns(const struct script_action *a, uint32_t node, bool reachable)
{
    static const struct script_nodes nobody;
    bool everyone =
        script_has(&a->nodes, SCRIPT_CORE) || memcmp(&a->nodes, &nobody, sizeof(nobody)) == 0;
    return script_has(&a->nodes, node) || (everyone && reachable);
}

void measure_action(struct measure *m, const struct script_expectation *x, enum script_verb verb,
                    uint64_t now_us, const struct measure_load *load)
{
    bool again = verb == x->of;
    if (m->pending && (again || undoes(x->of, verb))) {
        if (now_us - m->since_us > x->limit_us) {
            conclude(m, x, now_us); /* it has not come true, and it is too late now */
        }
        m->pending = false;
    }
    if (again) {
        m->pending = true;
        m->since_us = now_us;
        m->goal_set = load->ordered_done;
        m->goal = load->acked;
    }
}

static bool has_come_true(struct measure *m, const struct script_expectation *x,
                          const struct measure_edge *edge, const struct measure_load *load)
{
    if (x->word[0] != '\0') {
        return strcmp(hf_replica_state_name((enum hf_replica_state)edge->state), x->word) == 0;
    }
    if (!m->goal_set) {
        m->goal_set = load->ordered_done;
        m->goal = load->acked;
    }
    return m->goal_set && edge->applied >= m->goal;
}

void measure_result(struct measure *m, const struct script_expectation *x, uint64_t now_us,
                    const struct measure_edge *edge, const struct measure_load *load)
{
    if (m->pending && has_come_true(m, x, edge, load)) {
        conclude(m, x, now_us);
    }
}

/* An edge that was apart has as long again, or a minute, before its staleness counts. */
static bool is_excused(struct measure *m, uint64_t now_us, bool apart,
                       const struct measure_edge *edge, hf_seq acked)
{
    if (apart && !m->apart) {
        m->apart_us = now_us;
    }
    m->apart |= apart;
    if (edge != NULL && m->apart && !apart) {
        uint64_t was_apart = now_us - m->apart_us;
        m->apart = false;
        m->rejoining = true;
        m->rejoin_until_us = now_us + (was_apart > REJOIN_US ? was_apart : REJOIN_US);
        m->goal = acked;
    }
    bool back = edge != NULL && edge->state == HF_REPLICA_LIVE && edge->applied >= m->goal;
    m->rejoining = m->rejoining && !back && now_us < m->rejoin_until_us;
    return m->apart || m->rejoining;
}

void measure_staleness(struct measure *m, const struct script_expectation *x, uint64_t now_us,
                       bool apart, const struct measure_edge *edge, hf_seq acked)
{
    bool excused = is_excused(m, now_us, apart, edge, acked) && x->linked;
    if (edge == NULL) {
        return;
    }
    uint64_t ms = record_age_at(&m->age, now_us, edge->staleness_ms);
    if (ms != RECORD_UNKNOWN && !excused) {
        m->counted = true;
        m->worst_ms = ms > m->worst_ms ? ms : m->worst_ms;
    }
}

/* ---- at the end ---- */

const char *measure_plan_name(enum hf_plan_kind plan)
{
    static const char *const names[] = {"none", "log", "delta", "snapshot", "repair"};
    return names[plan];
}

static struct verdict judge_within(struct measure *m, const struct script_expectation *x,
                                   uint64_t now_us)
{
    if (m->pending) {
        conclude(m, x, now_us);
        m->late = true; /* it never came true */
    }
    return (struct verdict){.held = m->measured && !m->late,
                            .measured = m->measured,
                            .idle = !m->measured,
                            .amount = (double)m->worst_us / 1e6};
}

static struct verdict judge_staleness(const struct measure *m, const struct script_expectation *x)
{
    double s = (double)m->worst_ms / 1e3;
    double limit = (double)x->limit_us / 1e6;
    return (struct verdict){.held = m->counted && (x->at_least ? s >= limit : s <= limit),
                            .measured = m->counted,
                            .amount = s};
}

static struct verdict judge_bytes(const struct script_expectation *x, const struct measure_end *end)
{
    uint64_t bytes = x->from ? end->bytes_up : end->bytes_down;
    bool held = x->at_least ? bytes >= x->limit_bytes : bytes <= x->limit_bytes;
    return (struct verdict){.held = held, .measured = true, .amount = (double)bytes};
}

static struct verdict judge_state(const struct script_expectation *x, const struct measure_end *end)
{
    const char *state = hf_replica_state_name((enum hf_replica_state)end->state);
    return (struct verdict){.held = end->running && strcmp(state, x->word) == 0,
                            .measured = end->running,
                            .amount = end->running ? end->state : 0};
}

static struct verdict judge(struct measure *m, const struct script_expectation *x, uint64_t now_us,
                            const struct measure_end *end)
{
    enum hf_plan_kind plan = end->plan == HF_PLAN_NONE ? HF_PLAN_LOG : end->plan;
    switch (x->kind) {
    case SCRIPT_EXPECT_STATE:
        return judge_state(x, end);
    case SCRIPT_EXPECT_WITHIN:
        return judge_within(m, x, now_us);
    case SCRIPT_EXPECT_STALENESS:
        return judge_staleness(m, x);
    case SCRIPT_EXPECT_BYTES:
        return judge_bytes(x, end);
    case SCRIPT_EXPECT_READS:
        return (struct verdict){.held = end->reads > 0 && end->reads_failed == 0,
                                .measured = end->reads > 0,
                                .amount = (double)end->reads_failed};
    case SCRIPT_EXPECT_PLAN:
        return (struct verdict){.held = plan == x->plan, .measured = true, .amount = (double)plan};
    case SCRIPT_EXPECT_REFUSING:
    case SCRIPT_EXPECT_WRITES:
    case SCRIPT_EXPECT_MARK:
        break; /* not about edges */
    }
    HF_UNREACHABLE();
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

void measure_judge(struct measure_worst *worst, struct measure *m,
                   const struct script_expectation *x, uint64_t now_us, const char *name,
                   const struct measure_end *end)
{
    struct verdict v = judge(m, x, now_us, end);
    if (worst->count++ == 0 || is_worse(x, &v, &worst->verdict)) {
        worst->verdict = v;
        worst->who = name;
    }
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
        snprintf(out, cap, "%s", measure_plan_name((enum hf_plan_kind)amount));
        break;
    case SCRIPT_EXPECT_REFUSING:
    case SCRIPT_EXPECT_WRITES:
    case SCRIPT_EXPECT_MARK:
        HF_UNREACHABLE();
    }
}

void measure_conclude(const struct measure_worst *worst, const struct script_expectation *x,
                      struct sim_expectation *out)
{
    char amount[48] = "never happened";
    if (worst->verdict.measured) {
        print_amount(x->kind, worst->verdict.amount, amount, sizeof(amount));
    } else if (x->kind == SCRIPT_EXPECT_STATE) {
        snprintf(amount, sizeof(amount), "not running");
    }
    out->held = worst->verdict.held;
    snprintf(out->measured, sizeof(out->measured), worst->count > 1 ? "%.47s at %.40s" : "%.47s",
             amount, worst->who == NULL ? "nobody" : worst->who);
}

void measure_writes(const struct script_expectation *x, uint64_t refused, uint64_t sent,
                    struct sim_expectation *out)
{
    out->held = sent > 0 && (x->word[0] != '\0') == (refused > 0);
    snprintf(out->measured, sizeof(out->measured), "%" PRIu64 " of %" PRIu64 " refused", refused,
             sent);
}
