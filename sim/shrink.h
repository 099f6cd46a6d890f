/*
 * shrink.h - makes a failing run smaller while it keeps failing for the same reason.
 *
 * What is left afterwards is needed: each kind of fault alone, the number of edges, the length. The
 * search knows nothing of simulations; it asks `fails` of smaller and smaller specs. Since every
 * kind of fault draws for itself (faults.h) most of them can be taken away without disturbing the
 * others. PURE.
 */
#ifndef HF_SIM_SHRINK_H
#define HF_SIM_SHRINK_H

#include "sim/spec.h"

/* Whether this run breaks the same rule. */
typedef bool shrink_fails(void *ctx, const struct sim_spec *s);

/* s fails and names its faults (spec_name_faults). It is made smaller in place; fails is asked at
 * most SHRINK_TRIES_MAX times. Returns how often. */
#define SHRINK_TRIES_MAX 120u
uint32_t shrink(struct sim_spec *s, shrink_fails *fails, void *ctx);

#endif
