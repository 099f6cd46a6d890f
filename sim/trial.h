/*
 * trial.h - one random run and what came of it, in this process or apart from it.
 *
 * A run apart may crash (a failed assertion, a sanitizer's abort) or hang: that is an outcome like
 * any other violation, under the rules "crash" and "hang". What the dead process left on the disk
 * is removed.
 */
#ifndef HF_SIM_TRIAL_H
#define HF_SIM_TRIAL_H

#include "sim/spec.h"

#define TRIAL_RULE_MAX 32u

struct trial {
    struct sim_spec spec;
    struct record *record; /* of the first time; or NULL */
    bool twice; /* run it a second time, whose trace must have the same hash ("determinism") */
};

struct outcome {
    struct sim_spec spec;
    struct sim_result result;
    char rule[TRIAL_RULE_MAX]; /* what was violated, "G5"; empty when nothing */
};

/* trace: the timeline of the run, or NULL. */
void trial_run(const struct trial *t, FILE *trace, struct outcome *out);
/* In a process of its own, for limit_s real seconds at most. */
void trial_apart(const struct trial *t, uint32_t limit_s, struct outcome *out);
/* Prints what struck in the run as a scenario file (sim/README.md), which is like it but not the
 * same: a scenario draws other random numbers. False: the run violated something, or died. */
bool trial_timeline(const struct sim_spec *s, uint32_t limit_s);
/* The outcome of a process that ended by itself (status of waitpid), or was ended after limit_s. */
void trial_died(const struct sim_spec *s, int status, bool hung, uint32_t limit_s,
                struct outcome *out);
/* "at 3.120 s: G5: edge2 ..." has the rule "G5". */
void trial_rule(const char *violation, char out[TRIAL_RULE_MAX]);

#endif
