/*
 * record.c - the recording of a run: points, bands, events and figures, all from samples and lines.
 *
 * Invariant: whatever the length of the run, memory is that of its first minute (record.h). It must
 * not know who runs the scenario, read a clock or print. Next: record_events.c, which keeps events
 * and reads lines; report.c, which prints it.
 */
#include "sim/record.h"

#include "sim/record_impl.h"

#include "hf/err.h"
#include "hf/replica.h"

#include <stdio.h>
#include <stdlib.h>

const char *record_state_name(uint8_t state)
{
    return state == RECORD_NOT_RUNNING ? "not-running"
                                       : hf_replica_state_name((enum hf_replica_state)state);
}

bool record_state_of(const char *name, uint8_t *state)
{
    for (int s = 0; s <= HF_REPLICA_DIVERGED; s++) {
        if (strcmp(name, record_state_name((uint8_t)s)) == 0) {
            *state = (uint8_t)s;
            return true;
        }
    }
    *state = RECORD_NOT_RUNNING;
    return strcmp(name, record_state_name(RECORD_NOT_RUNNING)) == 0;
}

struct record *record_new(void)
{
    struct record *r = calloc(1, sizeof(*r));
    HF_ASSERT(r != NULL);
    r->title = r->world = r->version = "";
    r->interval_ms = RECORD_INTERVAL_MS;
    (void)record_add(r, "core");
    return r;
}

void record_free(struct record *r)
{
    for (uint32_t i = 0; r != NULL && i < r->track_count; i++) {
        free(r->track[i].point);
        free(r->track[i].event);
    }
    if (r != NULL) {
        free(r->track);
        free(r->expectation);
    }
    free(r);
}

uint32_t record_add(struct record *r, const char *name)
{
    HF_ASSERT(r->points_max == 0);
    r->track = realloc(r->track, (r->track_count + 1) * sizeof(*r->track));
    HF_ASSERT(r->track != NULL);
    struct record_track *t = &r->track[r->track_count];
    memset(t, 0, sizeof(*t));
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->last_at = t->recovering_since = RECORD_NONE;
    t->figures.recovery_most_ms = t->figures.staleness_most_at = RECORD_NONE;
    t->figures.staleness_most_ms = RECORD_UNKNOWN;
    return r->track_count++;
}

void record_interval(struct record *r, hf_ms interval_ms)
{
    HF_ASSERT(r->points_max == 0 && interval_ms > 0);
    r->interval_ms = interval_ms > r->interval_ms ? interval_ms : r->interval_ms;
}

static void allocate_points(struct record *r)
{
    uint32_t each = RECORD_POINTS_TOTAL / r->track_count;
    each = each > RECORD_POINTS_MAX ? RECORD_POINTS_MAX : each;
    each = each < RECORD_POINTS_MIN ? RECORD_POINTS_MIN : each;
    r->points_max = each & ~1u;
    for (uint32_t i = 0; i < r->track_count; i++) {
        r->track[i].point = calloc(r->points_max, sizeof(struct record_point));
        HF_ASSERT(r->track[i].point != NULL);
    }
}

/* ---- points ---- */

static void extend(struct record_extent *e, uint64_t value)
{
    e->least = value < e->least ? value : e->least;
    e->most = value > e->most ? value : e->most;
}

/* An unknown staleness says nothing about the known ones beside it. */
static void extend_known(struct record_extent *e, uint64_t value)
{
    if (value != RECORD_UNKNOWN && e->least == RECORD_UNKNOWN) {
        *e = (struct record_extent){value, value};
    } else if (value != RECORD_UNKNOWN) {
        extend(e, value);
    }
}

static struct record_point merged(const struct record_point *a, const struct record_point *b)
{
    struct record_point p = *a;
    extend(&p.head, b->head.least);
    extend(&p.head, b->head.most);
    extend(&p.applied, b->applied.least);
    extend(&p.applied, b->applied.most);
    extend_known(&p.staleness_ms, b->staleness_ms.least);
    extend_known(&p.staleness_ms, b->staleness_ms.most);
    p.bytes_down += b->bytes_down;
    p.bytes_up += b->bytes_up;
    return p;
}

static void halve(struct record_track *t)
{
    uint32_t count = (t->point_count + 1) / 2;
    for (uint32_t i = 0; i < count; i++) {
        bool pair = 2 * i + 1 < t->point_count;
        t->point[i] = pair ? merged(&t->point[2 * i], &t->point[2 * i + 1]) : t->point[2 * i];
    }
    t->point_count = count;
}

static struct record_point point_of(const struct record_sample *s)
{
    return (struct record_point){.head = {s->head, s->head},
                                 .applied = {s->applied, s->applied},
                                 .staleness_ms = {s->staleness_ms, s->staleness_ms}};
}

static void add_point(struct record *r, struct record_track *t, hf_ms at,
                      const struct record_sample *s)
{
    while (at / r->interval_ms >= (hf_ms)r->points_max) {
        for (uint32_t i = 0; i < r->track_count; i++) {
            halve(&r->track[i]);
        }
        r->interval_ms *= 2;
    }
    uint32_t index = (uint32_t)(at / r->interval_ms);
    /* Between two samples the earlier one holds; before the first there was nothing. */
    struct record_sample before = {.staleness_ms = RECORD_UNKNOWN};
    struct record_point held = point_of(t->last_at == RECORD_NONE ? &before : &t->last);
    bool fresh = t->point_count <= index;
    while (t->point_count <= index) {
        t->point[t->point_count++] = held;
    }
    struct record_point p = point_of(s);
    p.bytes_down = s->bytes_down - t->last.bytes_down;
    p.bytes_up = s->bytes_up - t->last.bytes_up;
    /* Of a point that begins with this sample only the moment before is known from the last one. */
    bool first = fresh && (t->last_at == RECORD_NONE || at % r->interval_ms == 0);
    t->point[index] = first ? p : merged(&t->point[index], &p);
}

/* ---- bands ---- */

static void thin(struct record_band *b)
{
    uint32_t shortest = 1;
    for (uint32_t i = 2; i + 1 < b->count; i++) {
        if (b->step[i + 1].from - b->step[i].from <
            b->step[shortest + 1].from - b->step[shortest].from) {
            shortest = i;
        }
    }
    /* With its time, its neighbour may have become a continuation of the one before. */
    uint32_t gone = b->step[shortest - 1].value == b->step[shortest + 1].value ? 2 : 1;
    b->count -= gone;
    b->omitted++;
    memmove(&b->step[shortest], &b->step[shortest + gone],
            (b->count - shortest) * sizeof(b->step[0]));
}

static void add_step(struct record_band *b, hf_ms at, uint8_t value)
{
    if (b->count > 0 && b->step[b->count - 1].value == value) {
        return;
    }
    if (b->count > 0 && b->step[b->count - 1].from == at) {
        b->count--; /* it did not last */
        add_step(b, at, value);
        return;
    }
    if (b->count == RECORD_STEPS_MAX) {
        thin(b);
    }
    b->step[b->count++] = (struct record_step){at, value};
}

/* ---- figures ---- */

static bool is_cut(const struct record_sample *s)
{
    return s->cut_down || s->cut_up;
}

static bool is_out(const struct record_sample *s)
{
    return is_cut(s) || s->state == RECORD_NOT_RUNNING;
}

static void follow_recovery(struct record_track *t, hf_ms at, const struct record_sample *s,
                            bool was_out)
{
    if (is_out(s)) {
        t->recovering_since = RECORD_NONE;
        return;
    }
    if (was_out) {
        t->recovering_since = at;
        t->recovering_to = s->head;
    }
    if (t->recovering_since != RECORD_NONE && s->applied >= t->recovering_to) {
        hf_ms took = at - t->recovering_since;
        struct record_figures *f = &t->figures;
        f->recoveries++;
        f->recovery_most_ms = took > f->recovery_most_ms ? took : f->recovery_most_ms;
        t->recovering_since = RECORD_NONE;
    }
}

static const char *way_of(const struct record_sample *s)
{
    return s->cut_down && s->cut_up ? "both ways" : s->cut_down ? "core to edge" : "edge to core";
}

uint64_t record_age_at(struct record_age *a, uint64_t now_us, uint64_t said_ms)
{
    if (said_ms != RECORD_UNKNOWN) {
        *a = (struct record_age){.known = true, .ms = said_ms, .at_us = now_us};
    }
    return a->known ? a->ms + (now_us - a->at_us) / 1000 : RECORD_UNKNOWN;
}

static void follow_staleness(struct record_track *t, hf_ms at, uint64_t ms)
{
    struct record_figures *f = &t->figures;
    uint64_t age = record_age_at(&t->age, (uint64_t)at * 1000, ms);
    bool worst = f->staleness_most_ms == RECORD_UNKNOWN || age > f->staleness_most_ms;
    if (age != RECORD_UNKNOWN && worst) {
        f->staleness_most_ms = age;
        f->staleness_most_at = at;
    }
}

/* What changed since the last sample, as events and counts. */
static void follow(struct record_track *t, hf_ms at, const struct record_sample *s)
{
    const struct record_sample *last = &t->last;
    struct record_figures *f = &t->figures;
    bool known = t->last_at != RECORD_NONE;
    bool was_cut = known && is_cut(last);
    bool ran = known && last->state != RECORD_NOT_RUNNING;
    bool was_out = t->ran && is_out(last);
    bool runs = s->state != RECORD_NOT_RUNNING;
    if (was_cut) {
        f->cut_ms += at - t->last_at;
    }
    if (is_cut(s) && !was_cut) {
        f->cuts++;
        record_event_add(t, at, RECORD_CUT, "link cut, %s", way_of(s));
    } else if (was_cut && !is_cut(s)) {
        record_event_add(t, at, RECORD_HEAL, "link healed");
    }
    if (ran && !runs) {
        record_event_add(t, at, RECORD_CRASH, "stopped");
    } else if (t->ran && !ran && runs) {
        f->restarts++;
        record_event_add(t, at, RECORD_START, "started again");
    }
    follow_recovery(t, at, s, was_out);
    t->ran = t->ran || runs;
    if (runs) {
        follow_staleness(t, at, s->staleness_ms);
    }
}

void record_sample(struct record *r, uint32_t track, hf_ms at, const struct record_sample *s)
{
    HF_ASSERT(track < r->track_count);
    struct record_track *t = &r->track[track];
    HF_ASSERT(at >= 0 && at >= t->last_at && s->bytes_down >= t->last.bytes_down &&
              s->bytes_up >= t->last.bytes_up);
    if (r->points_max == 0) {
        allocate_points(r);
    }
    follow(t, at, s);
    add_point(r, t, at, s);
    add_step(&t->states, at, s->state);
    add_step(&t->cuts, at,
             (uint8_t)((s->cut_down ? RECORD_CUT_DOWN : 0) | (s->cut_up ? RECORD_CUT_UP : 0)));
    t->last = *s;
    t->last_at = at;
    r->duration_ms = at > r->duration_ms ? at : r->duration_ms;
}

void record_expect(struct record *r, const char *text, bool held, const char *measured)
{
    size_t bytes = (r->expectation_count + 1) * sizeof(*r->expectation);
    r->expectation = realloc(r->expectation, bytes);
    HF_ASSERT(r->expectation != NULL);
    struct sim_expectation *e = &r->expectation[r->expectation_count++];
    e->held = held;
    snprintf(e->text, sizeof(e->text), "%s", text);
    snprintf(e->measured, sizeof(e->measured), "%s", measured);
}

void record_end(struct record *r, hf_ms at)
{
    for (uint32_t i = 0; i < r->track_count; i++) {
        struct record_track *t = &r->track[i];
        if (t->last_at != RECORD_NONE && at > t->last_at) {
            struct record_sample last = t->last;
            record_sample(r, i, at, &last);
        }
    }
    r->duration_ms = at > r->duration_ms ? at : r->duration_ms;
}

/* ---- asking it ---- */

bool record_is_recovering(const struct record *r, uint32_t track)
{
    return r->track[track].recovering_since != RECORD_NONE;
}

bool record_held(const struct record *r)
{
    bool held = r->violation[0] == '\0';
    for (uint32_t i = 0; i < r->expectation_count; i++) {
        held = held && r->expectation[i].held;
    }
    return held;
}

bool record_is_behind(const struct record_track *t)
{
    bool revoked = t->last.state == HF_REPLICA_REVOKED;
    return !revoked && (t->last.applied < t->last.head || t->last.state == RECORD_NOT_RUNNING);
}

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b ? 1 : 0;
}

static int worse_first(const void *left, const void *right, void *ctx)
{
    const struct record *r = ctx;
    uint32_t first = *(const uint32_t *)left;
    uint32_t second = *(const uint32_t *)right;
    const struct record_track *a = &r->track[first];
    const struct record_track *b = &r->track[second];
    int c = compare(record_is_behind(b), record_is_behind(a));
    if (c == 0) { /* RECORD_NONE is the least, RECORD_UNKNOWN the most */
        c = compare((uint64_t)(b->figures.recovery_most_ms + 1),
                    (uint64_t)(a->figures.recovery_most_ms + 1));
    }
    if (c == 0) {
        c = compare(b->figures.staleness_most_ms, a->figures.staleness_most_ms);
    }
    return c != 0 ? c : compare(first, second);
}

void record_worst(const struct record *r, uint32_t *order)
{
    uint32_t count = r->track_count - 1;
    for (uint32_t i = 0; i < count; i++) {
        order[i] = 1 + i;
    }
    qsort_r(order, count, sizeof(*order), worse_first, (void *)(uintptr_t)r);
}
