/*
 * spec.h - what decides a random run: the seed, and what was changed about it on the command line.
 *
 * Its text is the options of `holdfast-sim run`, so a failing run is reported, kept in a file and
 * given back to the program in the same words. Pure.
 */
#ifndef HF_SIM_SPEC_H
#define HF_SIM_SPEC_H

#include "sim/sim.h"

struct sim_spec {
    uint64_t seed;
    uint32_t edges;
    uint64_t duration_ms; /* of the safety phase */
    uint64_t every_ms;    /* mean time between writes, at most: the seed draws one */
    uint64_t faults;      /* if faults_given, else the seed draws them */
    bool faults_given;
    bool calm;   /* no faults at all */
    bool canary; /* must fail (sim_options) */
};

#define SPEC_TEXT_MAX 512u
#define SPEC_PROBLEM_MAX 160u

void spec_usual(struct sim_spec *s, uint64_t seed);
/* Sets what the option of this name (without --) says. False with a sentence in problem, also for a
 * name that is none of its. value is NULL for an option without one. */
bool spec_set(struct sim_spec *s, const char *name, const char *value,
              char problem[SPEC_PROBLEM_MAX]);
/* "--seed 7 --edges 4 ...", which is cut into words in place. */
bool spec_parse(struct sim_spec *s, char *text, char problem[SPEC_PROBLEM_MAX]);
void spec_text(const struct sim_spec *s, char out[SPEC_TEXT_MAX]);
void spec_options(const struct sim_spec *s, struct sim_options *o);
/* Names the faults that the seed draws by itself, so that single ones can be taken away. */
void spec_name_faults(struct sim_spec *s);

#endif
