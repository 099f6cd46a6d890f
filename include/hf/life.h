/*
 * life.h - a daemon's life as its next start sees it: did it end cleanly, and if not, is the store
 * sound?
 *
 * The order: _examine before any thread, _begin before the store is opened, _on_tick while the loop
 * runs, and _end at a stop that is no crash, or _undo when the start fails. Threads: the loop's,
 * from _begin on. The struct is the caller's, zeroed, and outlives the loop. What a damaged store
 * leads to is the daemon's to decide. Next: hf/doctor.h, which examines and keeps the marker.
 */
#ifndef HF_LIFE_H
#define HF_LIFE_H

#include "hf/doctor.h"
#include "hf/loop.h"

struct hf_life {
    struct hf_job job; /* first */
    struct hf_running running;
    hf_ms lived_at; /* INT64_MAX once it was noted */
};

/* After two unclean ends in a row, each soon after the start, reads the state in a child process.
 * HF_OK: there is nothing to doubt, or nothing could be found out in 60 s: open it. HF_DIGEST,
 * HF_CORRUPT: damaged, as hf_state_examine says it, with the reason in e; until hf_life_begin the
 * marker says that the next start must examine it again. */
enum hf_err hf_life_examine(struct hf_life *l, const char *marker, const char *state,
                            struct hf_error *e);
/* What _examine found was mended: this is the first of a new row. */
void hf_life_forgive(struct hf_life *l);
/* Marks the run as begun, so that an unclean end of it is found by the next. */
void hf_life_begin(struct hf_life *l);
/* Once the run has lasted a minute, an end of any kind is the first of a new row. It asks for no
 * tick of its own. */
void hf_life_on_tick(struct hf_life *l, struct hf_loop *loop, hf_ms now);
/* Makes the next start examine the state; durable. Then the process must end now, without _end or
 * _undo. Anything but HF_OK: the disk takes nothing, and a next start would find nothing either. */
enum hf_err hf_life_doubt(struct hf_life *l);
/* A clean end, or one that the data has no part in. */
void hf_life_end(const struct hf_life *l);
/* The start failed for a reason that is no crash: it does not count. */
void hf_life_undo(const struct hf_life *l);

#endif
