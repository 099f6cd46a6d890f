/*
 * script_expect.c - what a scenario file says must hold: `expect ...`.
 *
 * Next: script.h for what each expectation measures.
 */
#include "sim/script_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hf/replica.h"

#define STATES ((uint32_t)HF_REPLICA_DIVERGED + 1)

static bool of_nodes(struct parser *p, struct script_expectation *x)
{
    return parse_want(p, "of") && parse_nodes(p, false, &x->nodes);
}

static bool expect_mark(struct parser *p, struct script_expectation *x)
{
    const char *name = parse_peek(p);
    if (name == NULL || strlen(name) >= sizeof(x->word)) {
        return parse_unknown(p, name, "the name of a mark", NULL);
    }
    snprintf(x->word, sizeof(x->word), "%s", name);
    p->at++;
    return true;
}

static bool expect_writes(struct parser *p, struct script_expectation *x)
{
    if (parse_take(p, "never")) {
        return parse_want(p, "refused");
    }
    snprintf(x->word, sizeof(x->word), "refused");
    return parse_take(p, "refused") ||
           parse_unknown(p, parse_peek(p), "`never refused`, or `refused`", NULL);
}

static bool expect_reads(struct parser *p, struct script_expectation *x)
{
    return parse_want(p, "at") && parse_nodes(p, false, &x->nodes) && parse_want(p, "never") &&
           parse_want(p, "fail");
}

static bool bound(struct parser *p, struct script_expectation *x)
{
    x->at_least = parse_take(p, ">=");
    return x->at_least || parse_take(p, "<=") ||
           parse_unknown(p, parse_peek(p), "`<=` or `>=`", NULL);
}

static bool expect_staleness(struct parser *p, struct script_expectation *x)
{
    if (!of_nodes(p, x) || !bound(p, x) || !parse_span(p, &x->limit_us)) {
        return false;
    }
    x->linked = parse_take(p, "while");
    return !x->linked || parse_want(p, "linked");
}

static bool expect_bytes(struct parser *p, struct script_expectation *x)
{
    x->from = parse_take(p, "from");
    return (x->from || parse_want(p, "to")) && parse_nodes(p, false, &x->nodes) && bound(p, x) &&
           parse_size(p, &x->limit_bytes);
}

static bool expect_plan(struct parser *p, struct script_expectation *x)
{
    static const char *const names[] = {"log", "delta", "snapshot", NULL};
    static const enum hf_plan_kind kinds[] = {HF_PLAN_LOG, HF_PLAN_DELTA, HF_PLAN_SNAPSHOT};
    uint32_t which;
    if (!of_nodes(p, x) || !parse_choice(p, "`log`, `delta` or `snapshot`", names, &which)) {
        return false;
    }
    x->plan = kinds[which];
    return true;
}

/* `within TIME of ACTION`, where the verb is any that the timeline knows at that place. */
static bool within(struct parser *p, struct script_expectation *x)
{
    const char *names[SCRIPT_VERBS + 1] = {NULL};
    uint32_t which;
    for (uint32_t i = 0; i < SCRIPT_VERBS; i++) {
        names[i] = script_verb_name((enum script_verb)i);
    }
    if (!parse_want(p, "within") || !parse_span(p, &x->limit_us) || !parse_want(p, "of") ||
        !parse_choice(p, "an action, such as `heal`", names, &which)) {
        return false;
    }
    x->kind = SCRIPT_EXPECT_WITHIN;
    x->of = (enum script_verb)which;
    if (x->of == SCRIPT_RESTORE && (x->word[0] == '\0' || strcmp(x->word, "live") == 0)) {
        return parse_fail(p, "edges that knew more than the restored core diverge; expect "
                             "`diverged within`, or `core refusing`");
    }
    return true;
}

static bool expect_state(struct parser *p, struct script_expectation *x)
{
    const char *names[STATES + 2] = {NULL};
    uint32_t which;
    for (uint32_t i = 0; i < STATES; i++) {
        names[i] = hf_replica_state_name((enum hf_replica_state)i);
    }
    names[STATES] = "converged";
    if (!parse_nodes(p, true, &x->nodes)) {
        return false;
    }
    if (script_has(&x->nodes, SCRIPT_CORE)) {
        x->kind = SCRIPT_EXPECT_REFUSING;
        return parse_want(p, "refusing");
    }
    if (!parse_choice(p, "`converged`, or the state of an edge", names, &which)) {
        return false;
    }
    if (which == STATES) {
        return within(p, x); /* at the end all are, or the run fails */
    }
    snprintf(x->word, sizeof(x->word), "%s", names[which]);
    return parse_peek(p) == NULL || within(p, x);
}

/* As it is written: the words were the line, with the comment cut off. */
static void keep_text(struct parser *p, struct script_expectation *x)
{
    size_t len = 0;
    for (uint32_t i = 1; i < p->words && len < sizeof(x->text); i++) {
        len += (size_t)snprintf(x->text + len, sizeof(x->text) - len, "%s%s", i > 1 ? " " : "",
                                p->word[i]);
    }
}

static bool add(struct parser *p, const struct script_expectation *x)
{
    struct script *s = p->s;
    if (s->expectation_count == SCRIPT_EXPECTATIONS_MAX) {
        return parse_fail(p, "more than %u expectations", SCRIPT_EXPECTATIONS_MAX);
    }
    if (s->expectation == NULL) {
        s->expectation = calloc(SCRIPT_EXPECTATIONS_MAX, sizeof(*s->expectation));
    }
    if (s->expectation == NULL) {
        return parse_fail(p, "out of memory");
    }
    s->expectation[s->expectation_count++] = *x;
    return true;
}

bool parse_expect(struct parser *p)
{
    static const struct {
        const char *word;
        enum script_expect kind;
        bool (*parse)(struct parser *p, struct script_expectation *x);
    } kinds[] = {
        {"mark", SCRIPT_EXPECT_MARK, expect_mark},
        {"writes", SCRIPT_EXPECT_WRITES, expect_writes},
        {"reads", SCRIPT_EXPECT_READS, expect_reads},
        {"staleness", SCRIPT_EXPECT_STALENESS, expect_staleness},
        {"bytes", SCRIPT_EXPECT_BYTES, expect_bytes},
        {"plan", SCRIPT_EXPECT_PLAN, expect_plan},
    };
    struct script_expectation x = {.kind = SCRIPT_EXPECT_STATE, .line = p->line};
    keep_text(p, &x);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (parse_take(p, kinds[i].word)) {
            x.kind = kinds[i].kind;
            return kinds[i].parse(p, &x) && add(p, &x);
        }
    }
    return expect_state(p, &x) && add(p, &x);
}
