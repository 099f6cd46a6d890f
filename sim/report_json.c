/*
 * report_json.c - a recording as JSON. sim/README.md documents the fields.
 *
 * Points are columns, one array a field, so that 2,000 points of an edge take 50 KB and not 300.
 * Edges come worst first. Invariant: the text holds no '<' (report.h).
 */
#include "sim/report.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#define FORMAT 1

static json_t *text_of(const char *s)
{
    char safe[1024];
    json_t *text = json_string(s);
    if (text != NULL) {
        return text;
    }
    size_t n = 0; /* no UTF-8: what is left of it is better than nothing */
    for (; s[n] != '\0' && n + 1 < sizeof(safe); n++) {
        safe[n] = (unsigned char)s[n] < 0x80 ? s[n] : '?';
    }
    return json_stringn(safe, n);
}

static json_t *number_of(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *known_number(uint64_t n)
{
    return n == RECORD_UNKNOWN ? json_null() : number_of(n);
}

static json_t *time_of(hf_ms ms)
{
    return ms == RECORD_NONE ? json_null() : json_integer(ms);
}

/* Adds what the caller made; memory that cannot be had ends the program. */
static void put(json_t *object, const char *key, json_t *value)
{
    HF_ASSERT(json_object_set_new(object, key, value) == 0);
}

static void push(json_t *array, json_t *value)
{
    HF_ASSERT(json_array_append_new(array, value) == 0);
}

/* ---- tracks ---- */

static json_t *states_of(const struct record_track *t)
{
    json_t *states = json_array();
    for (uint32_t i = 0; i < t->states.count; i++) {
        json_t *s = json_object();
        put(s, "from_ms", time_of(t->states.step[i].from));
        put(s, "state", text_of(record_state_name(t->states.step[i].value)));
        push(states, s);
    }
    return states;
}

static json_t *cuts_of(const struct record *r, const struct record_track *t)
{
    static const char *const ways[] = {"", "down", "up", "both"};
    json_t *cuts = json_array();
    for (uint32_t i = 0; i < t->cuts.count; i++) {
        const struct record_step *s = &t->cuts.step[i];
        if (s->value == 0) {
            continue;
        }
        json_t *c = json_object();
        put(c, "from_ms", time_of(s->from));
        put(c, "until_ms", time_of(i + 1 < t->cuts.count ? s[1].from : r->duration_ms));
        put(c, "way", text_of(ways[s->value]));
        push(cuts, c);
    }
    return cuts;
}

static json_t *events_of(const struct record_track *t)
{
    json_t *events = json_array();
    for (uint32_t i = 0; i < t->event_count; i++) {
        json_t *e = json_object();
        put(e, "at_ms", time_of(t->event[i].at));
        put(e, "kind", text_of(record_kind_name(t->event[i].kind)));
        put(e, "text", text_of(t->event[i].text));
        push(events, e);
    }
    return events;
}

static json_t *plans_of(const struct record_figures *f)
{
    json_t *plans = json_object();
    put(plans, "log", number_of(f->plan[RECORD_PLAN_LOG]));
    put(plans, "delta", number_of(f->plan[RECORD_PLAN_DELTA]));
    put(plans, "snapshot", number_of(f->plan[RECORD_PLAN_SNAPSHOT]));
    return plans;
}

static void put_history(json_t *o, const struct record_track *t)
{
    put(o, "states", states_of(t));
    put(o, "events", events_of(t));
    put(o, "events_omitted", number_of(t->events_omitted));
    put(o, "steps_omitted", number_of(t->states.omitted + t->cuts.omitted));
}

static json_t *core_of(const struct record *r)
{
    const struct record_track *t = &r->track[RECORD_CORE];
    json_t *core = json_object();
    json_t *points = json_object();
    json_t *head[2] = {json_array(), json_array()};
    for (uint32_t i = 0; i < t->point_count; i++) {
        push(head[0], number_of(t->point[i].head.least));
        push(head[1], number_of(t->point[i].head.most));
    }
    put(core, "name", text_of(t->name));
    put(core, "head", number_of(t->last.head));
    put(core, "restarts", number_of(t->figures.restarts));
    put_history(core, t);
    put(points, "head_min", head[0]);
    put(points, "head_max", head[1]);
    put(core, "points", points);
    return core;
}

static json_t *points_of(const struct record_track *t)
{
    static const char *const names[] = {"applied_min",      "applied_max", "staleness_min_ms",
                                        "staleness_max_ms", "bytes_down",  "bytes_up"};
    enum { NAMES = sizeof(names) / sizeof(names[0]) };
    json_t *points = json_object();
    json_t *column[NAMES];
    for (int c = 0; c < NAMES; c++) {
        column[c] = json_array();
    }
    for (uint32_t i = 0; i < t->point_count; i++) {
        const struct record_point *p = &t->point[i];
        push(column[0], number_of(p->applied.least));
        push(column[1], number_of(p->applied.most));
        push(column[2], known_number(p->staleness_ms.least));
        push(column[3], known_number(p->staleness_ms.most));
        push(column[4], number_of(p->bytes_down));
        push(column[5], number_of(p->bytes_up));
    }
    for (int c = 0; c < NAMES; c++) {
        put(points, names[c], column[c]);
    }
    return points;
}

static json_t *edge_of(const struct record *r, const struct record_track *t)
{
    const struct record_figures *f = &t->figures;
    json_t *edge = json_object();
    put(edge, "name", text_of(t->name));
    put(edge, "state", text_of(record_state_name(t->last.state)));
    put(edge, "applied", number_of(t->last.applied));
    put(edge, "head", number_of(t->last.head));
    put(edge, "cuts", number_of(f->cuts));
    put(edge, "cut_ms", time_of(f->cut_ms));
    put(edge, "staleness_max_ms", known_number(f->staleness_most_ms));
    put(edge, "staleness_max_at_ms", time_of(f->staleness_most_at));
    put(edge, "recoveries", number_of(f->recoveries));
    put(edge, "recovery_max_ms", time_of(f->recovery_most_ms));
    put(edge, "recovering", json_boolean(t->recovering_since != RECORD_NONE));
    put(edge, "bytes_down", number_of(t->last.bytes_down));
    put(edge, "bytes_up", number_of(t->last.bytes_up));
    put(edge, "plans", plans_of(f));
    put(edge, "restarts", number_of(f->restarts));
    put(edge, "cut_spans", cuts_of(r, t));
    put_history(edge, t);
    put(edge, "points", points_of(t));
    return edge;
}

/* ---- the whole ---- */

static json_t *expectations_of(const struct record *r)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < r->expectation_count; i++) {
        const struct sim_expectation *e = &r->expectation[i];
        json_t *o = json_object();
        put(o, "text", text_of(e->text));
        put(o, "held", json_boolean(e->held));
        put(o, "measured", text_of(e->measured));
        push(all, o);
    }
    return all;
}

static json_t *edges_of(const struct record *r)
{
    json_t *edges = json_array();
    uint32_t *order = calloc(r->track_count, sizeof(*order));
    HF_ASSERT(order != NULL);
    record_worst(r, order);
    for (uint32_t i = 0; i + 1 < r->track_count; i++) {
        push(edges, edge_of(r, &r->track[order[i]]));
    }
    free(order);
    return edges;
}

/* '<' stands in strings only, so it may be escaped wherever it stands. */
static char *without_angles(const char *json)
{
    size_t angles = 0;
    for (const char *p = json; *p != '\0'; p++) {
        angles += *p == '<';
    }
    char *safe = malloc(strlen(json) + 5 * angles + 1);
    HF_ASSERT(safe != NULL);
    char *out = safe;
    for (const char *p = json; *p != '\0'; p++) {
        if (*p == '<') {
            memcpy(out, "\\u003c", 6);
            out += 6;
        } else {
            *out++ = *p;
        }
    }
    *out = '\0';
    return safe;
}

char *report_json(const struct record *r)
{
    char seed[24];
    json_t *run = json_object();
    put(run, "format", json_integer(FORMAT));
    put(run, "title", text_of(r->title));
    put(run, "world", text_of(r->world));
    put(run, "version", text_of(r->version));
    snprintf(seed, sizeof(seed), "%" PRIu64, r->seed);
    put(run, "seed", text_of(seed)); /* 64 bits are more than a reader of numbers may keep */
    put(run, "duration_ms", time_of(r->duration_ms));
    put(run, "batches", number_of(r->batches));
    put(run, "ok", json_boolean(record_held(r)));
    put(run, "violation", text_of(r->violation));
    put(run, "expectations", expectations_of(r));
    put(run, "interval_ms", time_of(r->interval_ms));
    put(run, "core", core_of(r));
    put(run, "edges", edges_of(r));
    char *json = json_dumps(run, JSON_COMPACT);
    HF_ASSERT(json != NULL);
    json_decref(run);
    char *safe = without_angles(json);
    free(json);
    return safe;
}
