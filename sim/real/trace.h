/*
 * trace.h - a recorded link, to be replayed: lines `SECONDS RTT_MS LOSS% [RATE_MBIT]`.
 *
 * Each line holds until the next one's time; the last holds as long as the one before it, and then
 * the recording begins again. '#' begins a comment. Times are microseconds since its begin.
 * PURE but for reading the file.
 */
#ifndef HF_SIM_REAL_TRACE_H
#define HF_SIM_REAL_TRACE_H

#include <stdint.h>

#include <uv.h>

#include "hf/err.h"

#define REAL_TRACE_POINTS_MAX 100000u

struct real_trace_point {
    uint64_t at_us;
    double rtt_ms;
    double loss;       /* 0 to 1 */
    uint64_t rate_bps; /* 0 = the link's own */
};

struct real_trace {
    uv_timer_t timer;  /* links.c */
    uint64_t since_us; /* when the replay began */
    uint64_t period_us;
    uint32_t count;
    struct real_trace_point *point; /* owned; times rise from 0 */
};

/* HF_NOTFOUND, HF_IO or HF_ARG with "FILE:LINE: what is wrong". */
enum hf_err real_trace_load(const char *path, struct real_trace **out, struct hf_error *e);
void real_trace_free(struct real_trace *t);

/* What holds so long after the begin of the replay, and for how long still (above 0). */
const struct real_trace_point *real_trace_at(const struct real_trace *t, uint64_t since_us);
uint64_t real_trace_wait(const struct real_trace *t, uint64_t since_us);

#endif
