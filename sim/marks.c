/*
 * marks.c - counting the rare states of marks.h.
 */
#include "sim/marks.h"

#include "sim/sim.h"

static const struct {
    const char *name, *words;
} rows[MARK_COUNT] = {
#define X(id, name, words) {name, words},
    SIM_MARKS(X)
#undef X
};

const char *mark_name(enum mark m)
{
    return rows[m].name;
}

void mark_hit(struct sim *sim, enum mark m)
{
    sim->marks[m]++;
}

void mark_note(struct sim *sim, const char *text)
{
    for (int m = 0; m < MARK_COUNT; m++) {
        if (rows[m].words != NULL && strstr(text, rows[m].words) != NULL) {
            mark_hit(sim, (enum mark)m);
        }
    }
}
