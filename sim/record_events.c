/*
 * record_events.c - the events of a recording: kept in bounded number, and found in the lines that
 * daemons and simulator log.
 *
 * Both log the same sentences (hf_replica_note_text and what drivers and core note), so one table
 * serves for both. A line that no row of it knows is no event.
 */
#include "sim/record_impl.h"

#include "hf/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *record_kind_name(enum record_kind kind)
{
    static const char *const names[RECORD_KINDS] = {"cut",  "heal",      "crash",    "start",
                                                    "plan", "caught-up", "operator", "alarm"};
    HF_ASSERT(kind < RECORD_KINDS);
    return names[kind];
}

static enum record_kind most_frequent(const struct record_track *t)
{
    uint32_t count[RECORD_KINDS] = {0};
    uint32_t most = 0;
    for (uint32_t i = 0; i < t->event_count; i++) {
        count[t->event[i].kind]++;
    }
    for (uint32_t k = 1; k < RECORD_KINDS; k++) {
        most = count[k] > count[most] ? k : most;
    }
    return (enum record_kind)most;
}

static void thin(struct record_track *t)
{
    enum record_kind kind = most_frequent(t);
    uint32_t kept = 0;
    bool drop = false;
    for (uint32_t i = 0; i < t->event_count; i++) {
        if (t->event[i].kind != kind || !drop) {
            t->event[kept++] = t->event[i];
        }
        drop ^= t->event[i].kind == kind;
    }
    t->events_omitted += t->event_count - kept;
    t->event_count = kept;
}

void record_event_add(struct record_track *t, hf_ms at, enum record_kind kind, const char *format,
                      ...)
{
    va_list args;
    if (t->event == NULL) {
        t->event = calloc(RECORD_EVENTS_MAX, sizeof(*t->event));
        HF_ASSERT(t->event != NULL);
    }
    if (t->event_count == RECORD_EVENTS_MAX) {
        thin(t);
    }
    struct record_event *e = &t->event[t->event_count++];
    e->at = at;
    e->kind = kind;
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
}

/* ---- lines ---- */

static const struct {
    const char *words;
    enum record_kind kind;
} known[] = {
    {"replica: plan for the gap", RECORD_PLAN},
    {"replica: caught up", RECORD_CAUGHT_UP},
    {"replica: transferred state is visible", RECORD_CAUGHT_UP},
    {"replica: repaired, the digest is right", RECORD_CAUGHT_UP},
    {"replica: store writes again", RECORD_CAUGHT_UP},
    {"operator: ", RECORD_OPERATOR},
    {"disk: ", RECORD_OPERATOR},
    {"client: writes ", RECORD_OPERATOR},
    {"net: loses the next", RECORD_OPERATOR},
    {"net: a forged frame", RECORD_OPERATOR},
    {"net: the newest frame arrives again", RECORD_OPERATOR},
    {"VIOLATION ", RECORD_ALARM},
    {"writes are refused", RECORD_ALARM},
    {"replica: transferred state is refused", RECORD_ALARM},
    {"replica: frame refused", RECORD_ALARM},
    {"replica: store refused", RECORD_ALARM},
    {"replica: state differs", RECORD_ALARM},
    {"replica: core is behind this edge", RECORD_ALARM},
    {"replica: two signed histories", RECORD_ALARM},
    {"replica: this edge is revoked", RECORD_ALARM},
    {"replica: core refused a request", RECORD_ALARM},
    {"replica: nothing moves", RECORD_ALARM},
    {"replica: own records differ", RECORD_ALARM},
    {"replica: cannot be repaired in place", RECORD_ALARM},
};

/* Missing batches that were asked for without a plan are a replay of the log: an edge asks for a
 * plan only when much is missing. */
static void count_plan(struct record_track *t, const char *line)
{
    static const char *const kinds[RECORD_PLANS] = {"kind=log", "kind=delta", "kind=snapshot"};
    if (strstr(line, "replica: first repaired batch") != NULL) {
        t->repaired = true;
    }
    for (int k = 0; k < RECORD_PLANS && strstr(line, "replica: plan for the gap") != NULL; k++) {
        if (strstr(line, kinds[k]) != NULL) {
            t->figures.plan[k]++;
            t->planned = true;
        }
    }
    if (strstr(line, "replica: caught up") != NULL) {
        t->figures.plan[RECORD_PLAN_LOG] += t->repaired && !t->planned;
        t->repaired = t->planned = false;
    }
}

void record_line(struct record *r, uint32_t track, hf_ms at, const char *line)
{
    HF_ASSERT(track < r->track_count);
    struct record_track *t = &r->track[track];
    count_plan(t, line);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strstr(line, known[i].words) != NULL) {
            record_event_add(t, at, known[i].kind, "%s", line);
            return;
        }
    }
}
