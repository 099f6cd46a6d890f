/*
 * measure.h - what a scenario expects, measured and judged alike in both worlds.
 *
 * A world tells what happens and what an edge says of itself at that moment; there is a measure for
 * each expectation and edge. Measured values are kept whether or not they were good enough, since
 * they are what an operator wants to know. script.h says what each expectation means.
 *
 * Times are microseconds since the start of the run. PURE: no clock, no I/O, nothing is allocated.
 * Next: expect.c, which asks the virtual world after every event; real/judge.c, which has samples.
 */
#ifndef HF_SIM_MEASURE_H
#define HF_SIM_MEASURE_H

#include "sim/record.h"
#include "sim/script.h"

struct measure {
    /* WITHIN */
    bool pending;  /* an action has happened, its result has not */
    bool goal_set; /* goal is known; not so while what a timeline ordered is still being answered */
    hf_seq goal;
    uint64_t since_us;
    bool measured, late;
    uint64_t worst_us;
    /* STALENESS */
    bool apart;     /* cut off, stopped or paused */
    bool rejoining; /* not any more, but not yet live with all of goal */
    uint64_t apart_us, rejoin_until_us;
    struct record_age age;
    bool counted;
    uint64_t worst_ms;
};

/* What the writers of the load have got. */
struct measure_load {
    bool ordered_done; /* all that the timeline ordered was answered */
    hf_seq acked;      /* the highest number */
};

/* What an edge says of itself. */
struct measure_edge {
    uint8_t state; /* enum hf_replica_state */
    hf_seq applied;
    uint64_t staleness_ms; /* UINT64_MAX = nobody can tell */
};

/* ---- while it runs ---- */

/* Whether an action is about this edge; `reachable`: nothing keeps it from the core just now. */
bool measure_concerns(const struct script_action *a, uint32_t node, bool reachable);
/* WITHIN: an action that concerns the edge begins now. */
void measure_action(struct measure *m, const struct script_expectation *x, enum script_verb verb,
                    uint64_t now_us, const struct measure_load *load);
/* WITHIN, while pending: has it come true? */
void measure_result(struct measure *m, const struct script_expectation *x, uint64_t now_us,
                    const struct measure_edge *edge, const struct measure_load *load);
/* STALENESS; edge is NULL when it says nothing, because it does not run. Of one that gave a bound
 * before and cannot now, the answers are older than that bound by all the time since. */
void measure_staleness(struct measure *m, const struct script_expectation *x, uint64_t now_us,
                       bool apart, const struct measure_edge *edge, hf_seq acked);

/* ---- at the end ---- */

/* What an edge has come to. */
struct measure_end {
    bool running;
    uint8_t state;
    uint64_t bytes_down, bytes_up; /* to it and from it */
    uint64_t reads, reads_failed;
    enum hf_plan_kind plan; /* the newest; NONE = it needed none */
};

/* Whether an edge held what x expects, and how much there was of what it measures. */
struct verdict {
    bool held, measured;
    bool idle; /* nothing happened to this edge that would have been measured */
    double amount;
};

/* The worst edge decides, and is named when there are several. Begins as zeros. */
struct measure_worst {
    struct verdict verdict;
    const char *who; /* borrowed */
    uint32_t count;
};

/* Judges an edge that x, which is about edges, names. */
void measure_judge(struct measure_worst *worst, struct measure *m,
                   const struct script_expectation *x, uint64_t now_us, const char *name,
                   const struct measure_end *end);
void measure_conclude(const struct measure_worst *worst, const struct script_expectation *x,
                      struct sim_expectation *out);
/* WRITES */
void measure_writes(const struct script_expectation *x, uint64_t refused, uint64_t sent,
                    struct sim_expectation *out);

/* "log", "delta", ... */
const char *measure_plan_name(enum hf_plan_kind plan);

#endif
