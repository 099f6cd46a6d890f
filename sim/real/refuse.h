/*
 * refuse.h - what of a script the real world cannot do, found before anything starts.
 *
 * Real daemons speak TCP: no single message can be lost, doubled or forged from outside, and nobody
 * can wait for a run of days. Such a scenario is refused with FILE:LINE and the reason.
 *
 * PURE.
 */
#ifndef HF_SIM_REAL_REFUSE_H
#define HF_SIM_REAL_REFUSE_H

#include "sim/script.h"

#define REAL_FAULTS_LIBRARY "libholdfast-faults.so" /* beside holdfast-sim */

struct real_means {
    uint64_t max_us;     /* the longest run that the user wants to wait for */
    bool faults_library; /* disks that fail or are slow, clocks that step */
    bool history;        /* what clients see is to be judged afterwards */
};

/* A slow or failing disk, a clock that steps: what a preloaded library does to a daemon. */
bool real_needs_faults(enum script_verb verb);

/* HF_OK, or HF_ARG with *e saying which line, what and why. */
enum hf_err real_refuse(const struct script *s, const struct real_means *means, struct hf_error *e);

#endif
