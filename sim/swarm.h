/*
 * swarm.h - a campaign: many seeds over several processes, and what is to be learned from it.
 *
 * Each worker is a process that runs one seed after another and is given the next one when it has
 * answered: one that crashes or hangs is a finding, and another takes its place. Results do not
 * depend on how many workers there are. The first failure of each rule is shrunk (shrink.h) and
 * printed with the command that replays it. Marks (marks.h) are summed over all seeds.
 */
#ifndef HF_SIM_SWARM_H
#define HF_SIM_SWARM_H

#include "sim/trial.h"

#define SWARM_JOBS_MAX 256u

struct swarm_config {
    struct sim_spec usual; /* what all runs have in common; the seed is put in */
    uint64_t from, count;
    uint32_t jobs;    /* 1 to SWARM_JOBS_MAX */
    uint32_t limit_s; /* real seconds; a seed that takes longer hangs */
    bool twice;       /* each seed twice, with equal hashes */
    bool need_marks;  /* a mark that was never hit is a failure */
    bool stop;        /* at the first violation */
    bool no_shrink;
    const char *save;   /* file that failures are added to (seeds.h), or NULL */
    const char *commit; /* what that file is to say of the source */
};

/* Returns the exit status: 0, or 1 when something was violated, a mark missed or it was
 * interrupted.
 */
int swarm_run(const struct swarm_config *c);

#endif
