/*
 * script_action.c - the timeline of a scenario file: `at TIME VERB ...`.
 *
 * A statement becomes one action, or several where it lasts (`for`) or repeats (`flap`): what plays
 * a script needs to know of moments only. Next: script.h for what each action means,
 * script_timeline.c for what they mean to each other.
 */
#include "sim/script_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESTART_US (1 * US_S) /* how long a restarted process is away */

const char *script_verb_name(enum script_verb verb)
{
    static const char *const names[SCRIPT_VERBS] = {
        [SCRIPT_CUT] = "cut",
        [SCRIPT_HEAL] = "heal",
        [SCRIPT_HALF_OPEN] = "half-open",
        [SCRIPT_LINK] = "link",
        [SCRIPT_CRASH] = "crash",
        [SCRIPT_START] = "start",
        [SCRIPT_PAUSE] = "pause",
        [SCRIPT_RESUME] = "resume",
        [SCRIPT_DISK_SLOW] = "disk-slow",
        [SCRIPT_DISK_FULL] = "disk-full",
        [SCRIPT_DISK_FAILING] = "disk-failing",
        [SCRIPT_DISK_WELL] = "disk-well",
        [SCRIPT_DAMAGE] = "damage",
        [SCRIPT_CLOCK] = "clock",
        [SCRIPT_DRIFT] = "drift",
        [SCRIPT_WRITE] = "write",
        [SCRIPT_RELEASE] = "release",
        [SCRIPT_ROLLBACK] = "rollback",
        [SCRIPT_BACKUP] = "backup",
        [SCRIPT_RESTORE] = "restore",
        [SCRIPT_REVOKE] = "revoke",
        [SCRIPT_READ] = "read",
        [SCRIPT_DROP] = "drop",
        [SCRIPT_FORGE] = "forge",
        [SCRIPT_REPLAY] = "replay",
    };
    return names[verb];
}

static bool add(struct parser *p, const struct script_action *a, uint64_t after_us)
{
    struct script *s = p->s;
    if (s->action_count == SCRIPT_ACTIONS_MAX) {
        return parse_fail(p, "more than %u actions in all", SCRIPT_ACTIONS_MAX);
    }
    if (s->action_count == p->action_cap) {
        uint32_t cap = p->action_cap == 0 ? 64 : 2 * p->action_cap;
        struct script_action *grown = realloc(s->action, cap * sizeof(*grown));
        if (grown == NULL) {
            return parse_fail(p, "out of memory");
        }
        s->action = grown;
        p->action_cap = cap;
    }
    s->action[s->action_count] = *a;
    s->action[s->action_count].at_us += after_us;
    s->action[s->action_count].line = p->line;
    s->action_count++;
    return true;
}

/* What an action began ends after so long. */
static bool then(struct parser *p, const struct script_action *a, enum script_verb verb,
                 uint64_t after_us)
{
    struct script_action end = *a;
    end.verb = verb;
    end.ends = true;
    end.since_us = a->at_us;
    return add(p, &end, after_us);
}

/* An action that may last: `for TIME` adds the one that ends it. */
static bool lasting(struct parser *p, const struct script_action *a, enum script_verb end)
{
    uint64_t us;
    if (!add(p, a, 0)) {
        return false;
    }
    return !parse_take(p, "for") || (parse_span(p, &us) && then(p, a, end, us));
}

/* ---- links ---- */

/* A cut of the core's line is one of every edge's. */
static bool linked_nodes(struct parser *p, struct script_nodes *nodes)
{
    if (!parse_nodes(p, true, nodes)) {
        return false;
    }
    if (script_has(nodes, SCRIPT_CORE)) {
        *nodes = nodes_all_edges(p->s);
    }
    return true;
}

static bool at_cut(struct parser *p, struct script_action *a)
{
    if (!linked_nodes(p, &a->nodes)) {
        return false;
    }
    bool down = parse_take(p, "down");
    bool up = !down && parse_take(p, "up");
    a->down = !up;
    a->up = !down;
    return lasting(p, a, SCRIPT_HEAL);
}

/* heal, half-open */
static bool at_heal(struct parser *p, struct script_action *a)
{
    return linked_nodes(p, &a->nodes) && add(p, a, 0);
}

static bool at_flap(struct parser *p, struct script_action *a)
{
    uint64_t every;
    uint64_t down;
    uint64_t length;
    if (!linked_nodes(p, &a->nodes) || !parse_want(p, "every") || !parse_span(p, &every) ||
        !parse_want(p, "down") || !parse_span(p, &down) || !parse_want(p, "for") ||
        !parse_span(p, &length)) {
        return false;
    }
    if (down >= every) {
        return parse_fail(p, "a link that flaps must be down for less than its period");
    }
    a->verb = SCRIPT_CUT;
    a->down = a->up = true;
    for (uint64_t t = 0; t < length; t += every) {
        if (!add(p, a, 0) || !then(p, a, SCRIPT_HEAL, down)) {
            return false;
        }
        a->at_us += every;
    }
    return true;
}

/* Which profile that makes is known when the timeline is (script_timeline.c). */
static bool at_link(struct parser *p, struct script_action *a)
{
    struct script_nodes nodes;
    uint64_t us = 0;
    if (!parse_nodes(p, false, &nodes) || !parse_link(p, &a->link, &a->link_set) ||
        (parse_take(p, "for") && !parse_span(p, &us))) {
        return false;
    }
    for (uint32_t i = 1; i <= p->s->edge_count; i++) {
        memset(&a->nodes, 0, sizeof(a->nodes));
        nodes_add(&a->nodes, i);
        if (script_has(&nodes, i) && (!add(p, a, 0) || (us > 0 && !then(p, a, SCRIPT_LINK, us)))) {
            return false;
        }
    }
    return true;
}

/* ---- processes, disks and clocks ---- */

static bool at_crash(struct parser *p, struct script_action *a)
{
    return parse_nodes(p, true, &a->nodes) && lasting(p, a, SCRIPT_START);
}

static bool at_node(struct parser *p, struct script_action *a)
{
    return parse_nodes(p, true, &a->nodes) && add(p, a, 0);
}

static bool at_restart(struct parser *p, struct script_action *a)
{
    a->verb = SCRIPT_CRASH;
    return parse_nodes(p, true, &a->nodes) && add(p, a, 0) && then(p, a, SCRIPT_START, RESTART_US);
}

static bool at_pause(struct parser *p, struct script_action *a)
{
    return parse_nodes(p, true, &a->nodes) && lasting(p, a, SCRIPT_RESUME);
}

static bool at_disk(struct parser *p, struct script_action *a)
{
    static const char *const names[] = {"slow", "full", "failing", "well", NULL};
    static const enum script_verb verbs[] = {SCRIPT_DISK_SLOW, SCRIPT_DISK_FULL,
                                             SCRIPT_DISK_FAILING, SCRIPT_DISK_WELL};
    uint32_t which;
    if (!parse_choice(p, "`full`, `failing`, `slow TIME` or `well`", names, &which)) {
        return false;
    }
    a->verb = verbs[which];
    return (a->verb != SCRIPT_DISK_SLOW || parse_span(p, &a->us)) && parse_want(p, "at") &&
           parse_nodes(p, true, &a->nodes) && lasting(p, a, SCRIPT_DISK_WELL);
}

static bool at_clock(struct parser *p, struct script_action *a)
{
    static const char *const names[] = {"step", "drift", NULL};
    uint32_t which;
    uint64_t us;
    if (!parse_choice(p, "`step NODES +1h` or `drift NODES 100ppm`", names, &which) ||
        !parse_nodes(p, true, &a->nodes)) {
        return false;
    }
    if (which == 0) {
        return parse_step(p, &a->step_us) && add(p, a, 0);
    }
    a->verb = SCRIPT_DRIFT;
    if (!parse_ppm(p, &a->ppm) || !add(p, a, 0)) {
        return false;
    }
    a->ppm = 0;
    return !parse_take(p, "for") || (parse_span(p, &us) && add(p, a, us));
}

/* ---- writers and operators ---- */

static bool at_write(struct parser *p, struct script_action *a)
{
    return parse_count(p, &a->count, 1, 1000000) && add(p, a, 0);
}

static bool at_release(struct parser *p, struct script_action *a)
{
    (void)parse_take(p, "bad"); /* all that can be rolled back are */
    if (!parse_count(p, &a->count, 1, 1000000) || !parse_want(p, "keys")) {
        return false;
    }
    return lasting(p, a, SCRIPT_ROLLBACK);
}

static bool at_rollback(struct parser *p, struct script_action *a)
{
    return add(p, a, 0);
}

static bool at_backup(struct parser *p, struct script_action *a)
{
    a->us = a->at_us;
    nodes_add(&a->nodes, SCRIPT_CORE);
    return parse_want(p, "core") && add(p, a, 0);
}

static bool at_restore(struct parser *p, struct script_action *a)
{
    a->us = UINT64_MAX; /* the newest before, found at the end of the file */
    nodes_add(&a->nodes, SCRIPT_CORE);
    if (!parse_want(p, "core")) {
        return false;
    }
    if (parse_take(p, "from") &&
        !(parse_want(p, "backup") && parse_want(p, "of") && parse_time(p, &a->us))) {
        return false;
    }
    return add(p, a, 0);
}

/* ---- single edges, and who attacks them ---- */

static bool at_edge(struct parser *p, struct script_action *a)
{
    return parse_nodes(p, false, &a->nodes) && add(p, a, 0);
}

static bool at_edge_count(struct parser *p, struct script_action *a)
{
    a->count = 1;
    return parse_nodes(p, false, &a->nodes) &&
           (parse_peek(p) == NULL || parse_count(p, &a->count, 1, 1000000)) && add(p, a, 0);
}

static const struct {
    const char *word;
    enum script_verb verb;
    bool (*parse)(struct parser *p, struct script_action *a);
} verbs[] = {
    {"cut", SCRIPT_CUT, at_cut},
    {"heal", SCRIPT_HEAL, at_heal},
    {"half-open", SCRIPT_HALF_OPEN, at_heal},
    {"flap", SCRIPT_CUT, at_flap},
    {"link", SCRIPT_LINK, at_link},
    {"crash", SCRIPT_CRASH, at_crash},
    {"start", SCRIPT_START, at_node},
    {"restart", SCRIPT_CRASH, at_restart},
    {"pause", SCRIPT_PAUSE, at_pause},
    {"resume", SCRIPT_RESUME, at_node},
    {"disk", SCRIPT_DISK_WELL, at_disk},
    {"clock", SCRIPT_CLOCK, at_clock},
    {"damage", SCRIPT_DAMAGE, at_edge_count},
    {"write", SCRIPT_WRITE, at_write},
    {"release", SCRIPT_RELEASE, at_release},
    {"rollback", SCRIPT_ROLLBACK, at_rollback},
    {"backup", SCRIPT_BACKUP, at_backup},
    {"restore", SCRIPT_RESTORE, at_restore},
    {"revoke", SCRIPT_REVOKE, at_edge},
    {"read", SCRIPT_READ, at_edge},
    {"drop", SCRIPT_DROP, at_edge_count},
    {"forge", SCRIPT_FORGE, at_edge},
    {"replay", SCRIPT_REPLAY, at_edge},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

bool parse_at(struct parser *p)
{
    const char *names[VERBS + 1] = {NULL};
    struct script_action a = {.at_us = 0};
    uint32_t which;
    for (size_t i = 0; i < VERBS; i++) {
        names[i] = verbs[i].word;
    }
    if (!parse_time(p, &a.at_us) || !parse_choice(p, "an action", names, &which)) {
        return false;
    }
    a.verb = verbs[which].verb;
    return verbs[which].parse(p, &a);
}
