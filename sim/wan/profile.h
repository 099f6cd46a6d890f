/*
 * profile.h - how the settings of an emulated link are written: `rtt=100 rate=20 loss=0.5`.
 *
 * The same names are options of `holdfast-sim link` (--rtt 100) and words of the control socket's
 * `set`. Times are milliseconds, rates Mbit/s, chances percent; fractions are fine.
 *
 * It must not keep state: a profile goes in and comes out. Next: shaper.h for what they mean.
 */
#ifndef HF_WAN_PROFILE_H
#define HF_WAN_PROFILE_H

#include <stddef.h>

#include "hf/err.h"
#include "sim/wan/shaper.h"

/* No rate, no delay; a queue of 100 ms for when there is a rate. */
void hf_wan_profile_default(struct hf_wan_profile *p);

/* Sets one value. Returns HF_NOTFOUND for a name that there is not and HF_ARG for a value that
 * cannot be, with *e filled; the profile is then unchanged. */
enum hf_err hf_wan_profile_set(struct hf_wan_profile *p, const char *name, const char *value,
                               struct hf_error *e);

/* Name and help of setting i, NULL past the last. */
const char *hf_wan_profile_name(size_t i, const char **help);

#endif
