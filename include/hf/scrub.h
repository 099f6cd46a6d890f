/*
 * scrub.h - reads a state through from time to time, slowly, so that damage is found while a sound
 * copy is still about.
 *
 * The pool reads a small step of records, verifies their checksums, and rests; the rests are so
 * long that all records are read once in period_ms, but never so short that more than 1 MB is read
 * in a second. What is done about damage is the owner's business: an edge repairs itself, a core
 * says so.
 *
 * Threads: one owner thread calls everything here, the one that owns the world.
 */
#ifndef HF_SCRUB_H
#define HF_SCRUB_H

#include "hf/state.h"
#include "hf/world.h"

struct hf_scrub;

struct hf_scrub_config {
    const struct hf_world *world; /* copied */
    struct hf_state *state;
    hf_ms period_ms; /* 0 = off */
    void *ctx;
    /* A step met so many records, or a part of the table, that cannot be read. `key` names the
     * first of them, or where the step began. */
    void (*on_damage)(void *ctx, uint64_t count, struct hf_slice key);
};

struct hf_scrub_status {
    uint64_t records; /* read since the start */
    uint64_t errors;  /* unreadable ones met since the start; one that stays counts in each round */
    uint64_t rounds;  /* ends of the table reached */
    uint32_t permille; /* of the table that this round has behind it, about */
};

/* NULL without memory. */
struct hf_scrub *hf_scrub_new(const struct hf_scrub_config *c);
void hf_scrub_free(struct hf_scrub *s); /* not while it is busy, unless its job will never end */
/* Begins a step if one is due; returns when it wants to be called again. */
hf_ms hf_scrub_tick(struct hf_scrub *s, hf_ms now);
/* A job is under way. */
bool hf_scrub_busy(const struct hf_scrub *s);
void hf_scrub_status(const struct hf_scrub *s, struct hf_scrub_status *out);

#endif
