/*
 * script_timeline.c - the timeline of a scenario file once all of it is known: what its actions are
 * to each other.
 *
 * What lasts may overlap: a link is healed, and a process back, when the last `for` has ended, or
 * at the first `heal` or `start` that stands in the file itself. So of each action only the nodes
 * are left at which it changes something, and what happens to nobody is left out: an expectation
 * that waits for it says that it never happened. Links are resolved setting by setting: `for` puts
 * those back that it changed.
 */
#include "sim/script_parse.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TAIL_US (60 * US_S) /* what follows the last action when there is no `duration` */

/* How many actions hold it, and when all of them were ended at once. */
struct trouble {
    uint32_t count;
    uint64_t ended_us;
};

/* What is the matter with a node. */
struct standing {
    struct trouble cut, down, paused, disk;
    bool cut_down, cut_up; /* which directions */
    struct script_link link;
};

struct timeline {
    struct parser *p;
    struct standing node[SCRIPT_EDGES_MAX + 1];
    uint64_t backup_us;
    uint32_t releases;
};

/* The end of a `for` goes before what begins at that moment. */
static int by_time(const void *x, const void *y)
{
    const struct script_action *a = x;
    const struct script_action *b = y;
    if (a->at_us != b->at_us) {
        return a->at_us < b->at_us ? -1 : 1;
    }
    if (a->ends != b->ends) {
        return a->ends ? -1 : 1;
    }
    return a->line < b->line ? -1 : a->line > b->line;
}

/* ---- one node ---- */

/* Whether the action changes anything there. */
static bool begin(struct trouble *x)
{
    return x->count++ == 0;
}

static void end_all(struct trouble *x, uint64_t now_us)
{
    *x = (struct trouble){.ended_us = now_us};
}

static bool end(struct trouble *x, const struct script_action *a)
{
    if (a->ends && x->count > 0 && a->since_us >= x->ended_us) {
        return --x->count == 0;
    }
    if (a->ends || x->count == 0) {
        return false; /* it has ended before, or never begun */
    }
    end_all(x, a->at_us);
    return true;
}

static bool cut(struct standing *n, const struct script_action *a)
{
    bool more = (a->down && !n->cut_down) || (a->up && !n->cut_up);
    n->cut.count++;
    n->cut_down |= a->down;
    n->cut_up |= a->up;
    return more;
}

static bool heal(struct standing *n, const struct script_action *a)
{
    bool ended = end(&n->cut, a);
    n->cut_down = n->cut_down && n->cut.count > 0;
    n->cut_up = n->cut_up && n->cut.count > 0;
    return ended;
}

/* `a` becomes the whole profile; what ends it, the settings from before. */
static void relink(struct script *s, uint32_t index, struct standing *n)
{
    struct script_action *a = &s->action[index];
    struct script_link before = n->link;
    link_overlay(&n->link, &a->link, a->link_set);
    a->link = n->link;
    for (uint32_t i = index + 1; i < s->action_count && !a->ends; i++) {
        struct script_action *later = &s->action[i];
        if (later->verb == SCRIPT_LINK && later->ends && later->line == a->line &&
            memcmp(&later->nodes, &a->nodes, sizeof(a->nodes)) == 0) {
            later->link = before;
            return;
        }
    }
}

/* A disk has one trouble at a time, the newest. */
static bool disk_trouble(struct trouble *x, const struct script_action *a)
{
    end_all(x, a->at_us);
    return begin(x);
}

/* What the action is to a node of it: whether it changes anything there. */
static bool follow(struct timeline *t, uint32_t index, uint32_t node)
{
    const struct script_action *a = &t->p->s->action[index];
    struct standing *n = &t->node[node];
    switch (a->verb) {
    case SCRIPT_CUT:
        return cut(n, a);
    case SCRIPT_HEAL:
        return heal(n, a);
    case SCRIPT_CRASH:
        end_all(&n->paused, a->at_us);
        return begin(&n->down);
    case SCRIPT_START:
        return end(&n->down, a);
    case SCRIPT_PAUSE:
        return n->down.count == 0 && begin(&n->paused);
    case SCRIPT_RESUME:
        return end(&n->paused, a);
    case SCRIPT_DISK_SLOW:
    case SCRIPT_DISK_FULL:
    case SCRIPT_DISK_FAILING:
        return disk_trouble(&n->disk, a);
    case SCRIPT_DISK_WELL:
        return end(&n->disk, a);
    case SCRIPT_LINK:
        relink(t->p->s, index, n);
        return true;
    case SCRIPT_BACKUP:
    case SCRIPT_RESTORE: /* who does that starts it, too */
        end_all(&n->down, a->at_us);
        end_all(&n->paused, a->at_us);
        return true;
    case SCRIPT_HALF_OPEN:
    case SCRIPT_DAMAGE:
    case SCRIPT_CLOCK:
    case SCRIPT_DRIFT:
    case SCRIPT_WRITE:
    case SCRIPT_RELEASE:
    case SCRIPT_ROLLBACK:
    case SCRIPT_REVOKE:
    case SCRIPT_READ:
    case SCRIPT_DROP:
    case SCRIPT_FORGE:
    case SCRIPT_REPLAY:
    case SCRIPT_VERBS:
        return true;
    }
    HF_UNREACHABLE();
}

/* ---- one action ---- */

static bool releases(struct timeline *t, const struct script_action *a)
{
    if (a->verb == SCRIPT_RELEASE) {
        t->releases++;
        return a->count <= t->p->s->load.keys ||
               parse_fail(t->p, "there are only %" PRIu32 " keys", t->p->s->load.keys);
    }
    return a->verb != SCRIPT_ROLLBACK || t->releases-- > 0 ||
           parse_fail(t->p, "there is no release to roll back; precede this by "
                            "`at TIME release 10 keys`");
}

/* Which one is meant, now that all are known. */
static bool backups(struct timeline *t, uint32_t index)
{
    struct script *s = t->p->s;
    struct script_action *a = &s->action[index];
    if (a->verb == SCRIPT_BACKUP) {
        t->backup_us = a->at_us;
    }
    if (a->verb != SCRIPT_RESTORE) {
        return true;
    }
    a->us = a->us == UINT64_MAX ? t->backup_us : a->us;
    for (uint32_t i = 0; i < index; i++) {
        if (s->action[i].verb == SCRIPT_BACKUP && s->action[i].at_us == a->us) {
            return true;
        }
    }
    return parse_fail(t->p, "no backup is taken at that time before; add `at TIME backup core`");
}

static bool in_time(struct timeline *t, const struct script_action *a)
{
    uint64_t duration = t->p->s->duration_us;
    return a->at_us <= duration ||
           parse_fail(t->p,
                      "this begins or ends %" PRIu64 " s after the end of the run; make "
                      "`duration` longer",
                      (a->at_us - duration + US_S - 1) / US_S);
}

/* Leaves the nodes at which it changes something; false: there were some, and none is left. */
static bool narrow(struct timeline *t, uint32_t index)
{
    struct script_action *a = &t->p->s->action[index];
    struct script_nodes left = {0};
    bool any = false;
    bool some = false;
    for (uint32_t i = 0; i <= t->p->s->edge_count; i++) {
        if (script_has(&a->nodes, i)) {
            some = true;
            if (follow(t, index, i)) {
                any = true;
                nodes_add(&left, i);
            }
        }
    }
    a->nodes = left;
    return any || !some;
}

static bool follow_all(struct timeline *t)
{
    struct script *s = t->p->s;
    uint32_t kept = 0;
    for (uint32_t i = 1; i <= s->edge_count; i++) {
        t->node[i].link = s->edge[i].link;
    }
    for (uint32_t i = 0; i < s->action_count; i++) {
        t->p->line = s->action[i].line;
        if (!releases(t, &s->action[i]) || !backups(t, i) || !in_time(t, &s->action[i])) {
            return false;
        }
        if (narrow(t, i)) {
            s->action[kept++] = s->action[i];
        }
    }
    s->action_count = kept;
    return true;
}

bool parse_timeline_end(struct parser *p)
{
    struct script *s = p->s;
    struct timeline *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return parse_fail(p, "out of memory");
    }
    if (s->action_count > 0) {
        qsort(s->action, s->action_count, sizeof(s->action[0]), by_time);
    }
    if (s->duration_us == 0) {
        s->duration_us = TAIL_US;
        s->duration_us += s->action_count == 0 ? 0 : s->action[s->action_count - 1].at_us;
    }
    t->p = p;
    t->backup_us = UINT64_MAX;
    bool good = follow_all(t);
    free(t);
    return good;
}
