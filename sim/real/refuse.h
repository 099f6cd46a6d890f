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

struct real_means {
    uint64_t max_us;     /* the longest run that the user wants to wait for */
    bool faults_library; /* disks that fail or are slow, clocks that step */
};

/* HF_OK, or HF_ARG with *e saying which line, what and why. */
enum hf_err real_refuse(const struct script *s, const struct real_means *means, struct hf_error *e);

#endif
