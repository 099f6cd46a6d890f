/*
 * shrink.c - takes away faults, then edges, then time (shrink.h).
 *
 * Faults go first: a run without them is a faster one, and a shorter run may not reach what two of
 * them do together. One by one is enough, since few are needed at once (delta debugging, Zeller and
 * Hildebrandt, 2002, would begin with halves). Time goes by bisection, as if a longer run failed
 * whenever a shorter one does; where that is wrong the result is longer than it could be, but
 * fails.
 */
#include "sim/shrink.h"

#define DURATION_STEP_MS 100u

struct search {
    struct sim_spec *best;
    shrink_fails *fails;
    void *ctx;
    uint32_t tries;
};

static bool try(struct search *s, const struct sim_spec *smaller)
{
    if (s->tries == SHRINK_TRIES_MAX) {
        return false;
    }
    s->tries++;
    if (!s->fails(s->ctx, smaller)) {
        return false;
    }
    *s->best = *smaller;
    return true;
}

/* Until each that is left is needed: without one of them another may have become idle. */
static void fewer_faults(struct search *s)
{
    bool again = true;
    while (again) {
        again = false;
        for (uint32_t f = 0; f < FAULT_KINDS; f++) {
            struct sim_spec without = *s->best;
            without.faults &= ~(UINT64_C(1) << f);
            if (without.faults != s->best->faults) {
                again |= try(s, &without);
            }
        }
    }
}

static void fewer_edges(struct search *s)
{
    for (uint32_t edges = 1; edges < s->best->edges; edges = edges < 4 ? edges + 1 : 2 * edges) {
        struct sim_spec smaller = *s->best;
        smaller.edges = edges;
        if (try(s, &smaller)) {
            return;
        }
    }
}

static void less_time(struct search *s)
{
    uint64_t too_short = 0;
    while (s->best->duration_ms - too_short > DURATION_STEP_MS) {
        struct sim_spec shorter = *s->best;
        shorter.duration_ms = too_short + (s->best->duration_ms - too_short) / 2;
        if (!try(s, &shorter)) {
            too_short = shorter.duration_ms;
        }
    }
}

uint32_t shrink(struct sim_spec *spec, shrink_fails *fails, void *ctx)
{
    struct search s = {.best = spec, .fails = fails, .ctx = ctx};
    fewer_faults(&s);
    fewer_edges(&s);
    less_time(&s);
    fewer_faults(&s); /* what struck only late in the run is not needed in a short one */
    return s.tries;
}
