/*
 * repair.h - what finds damage in a state and what heals it: reading on past it, and ranges that
 * replace.
 *
 * A walk reads records in key order, does not stop at one that is unreadable, and adds up what it
 * read: a scrub takes small steps of it, a core answers RANGES with it, an edge compares its own
 * records with such an answer. A repair is a stage (state.h) of key ranges that were fetched from
 * the core: at the switch they take the place of all that is visible in them, and the digest of the
 * result, computed anew from every record, must be the signed one (PROTOCOL.md section 8.5).
 *
 * Threads as in state.h: a walk needs a view of its own, the rest is the writer's.
 */
#ifndef HF_REPAIR_H
#define HF_REPAIR_H

#include "hf/state.h"

struct hf_walk {
    /* Where: behind `after`, up to and including `until`; of no length: from the first, to the
     * last. */
    struct hf_slice after, until;
    /* It stops when so much was read; 0 = no limit. */
    uint64_t live_max, record_max, byte_max;
    bool hashed; /* add up the fingerprint, which costs a hash of each live record */
    /* What came of it. */
    struct hf_slice last; /* the last record read, borrowed from the view; empty = none */
    bool end;             /* nothing is left */
    uint64_t records;     /* tombstones and unreadable ones included */
    uint64_t live;
    uint64_t unreadable;     /* their checksum fails */
    struct hf_slice damaged; /* the first of them, borrowed from the view; empty = none */
    uint64_t bytes;          /* of keys and values */
    struct hf_hash fingerprint;
};

/* HF_CORRUPT only when the table itself is damaged. */
enum hf_err hf_view_walk(struct hf_view *v, struct hf_walk *w);
/* Records that the visible table has, and the bytes of its pages. */
enum hf_err hf_view_size(struct hf_view *v, uint64_t *records, uint64_t *bytes);

#define HF_REPAIR_RANGES_MAX 256u

struct hf_key_range {
    struct hf_slice after, until; /* as in a walk */
};
struct hf_key_ranges { /* rising, none touching the next */
    uint32_t count;
    struct hf_key_range at[HF_REPAIR_RANGES_MAX];
};

/* Begins a stage of kind REPAIR at the position, in parts of one range each; none at all is a
 * recount. The ranges are copied. Errors as hf_state_stage_begin; HF_NOMEM. It does not outlive a
 * restart. */
enum hf_err hf_state_repair_begin(struct hf_state *s, const struct hf_position *base,
                                  const struct hf_key_ranges *ranges);
/* hf_state_stage_switch against the signed header of the position itself, when nothing has changed
 * at the core since: no frame is needed for it. */
enum hf_err hf_state_repair_switch(struct hf_state *s);

#endif
