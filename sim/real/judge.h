/*
 * judge.h - whether a run with real daemons held what its script expects.
 *
 * The expectations mean what sim/script.h says, as in the virtual world; here a moment is as exact
 * as the round of questions (watch.c). Measured values are kept whether or not they were good
 * enough, since they are what an operator wants to know.
 */
#ifndef HF_SIM_REAL_JUDGE_H
#define HF_SIM_REAL_JUDGE_H

#include "sim/real/real.h"

struct real_judge;

struct real_judge *real_judge_new(struct real *r);
void real_judge_free(struct real_judge *j);

void real_judge_action(struct real_judge *j, const struct script_action *a); /* it begins now */
void real_judge_sample(struct real_judge *j, const struct real_node *edge);  /* its `last` is new */
/* Fills out[i] for each expectation of the script; returns whether all held. */
bool real_judge_end(struct real_judge *j, struct sim_expectation *out);

#endif
