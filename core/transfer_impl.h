/*
 * transfer_impl.h - a slot: what one PLAN or FETCH needs while it is worked on, for the files that
 * share the work.
 *
 * transfer.c gives out slots and owns all but the middle part of them; frames.c reads LOG and BODY,
 * chunks.c DELTA and KEYS, ranges.c RANGES, plan.c makes plans. These run on the pool, and touch
 * nothing but the slot, the readers of log and state, and the planner, which has a lock. What they
 * put into a reply is borrowed from the slot and valid until its next request.
 */
#ifndef CORE_TRANSFER_IMPL_H
#define CORE_TRANSFER_IMPL_H

#include "core/cache.h"
#include "core/transfer.h"

#include <stdatomic.h>
#include <zstd.h>

struct hf_planner;

struct hf_transfer_secret {
    struct hf_envelope_keys keys;
    struct hf_content_key content;
};

struct hf_transfer {
    struct hf_job job;
    struct hf_transfers *owner;
    const struct hf_transfers_config *cfg;
    const _Atomic hf_seq *head; /* nothing above it is given */
    _Atomic uint32_t *density;  /* of the last large chunk: raw bytes for 256 packed ones */
    struct hf_planner *planner;
    bool busy;
    /* Set by the owner's thread. */
    struct hf_asker asker;
    uint32_t row;
    hf_ms now;
    struct hf_key edge_key;
    struct hf_envelope reply_env;
    uint8_t asked_nonce[HF_NONCE_BYTES];
    uint8_t chunk_nonce[HF_NONCE_BYTES];
    struct hf_transfer_secret *secret; /* in the guarded block */
    hf_seq key_floor;                  /* no frame below can be opened by anyone any more */
    struct hf_range_name name;
    struct hf_request q;            /* borrows from name */
    hf_seq asof_min;                /* of q, with 0 made good */
    const struct hf_cached *cached; /* held: the chunk is here already */
    /* What came of it. */
    bool made; /* a chunk that others may ask for, too */
    struct hf_chunk chunk;
    size_t out_len;
    size_t plain_len;
    /* The slot's own memory, owned. */
    struct hf_view *view;
    ZSTD_CCtx *cctx;
    uint8_t *data;    /* frames; or records, HF_CHUNK_RAW_MAX of them */
    uint8_t *columns; /* of records, before they are put together in data */
    uint8_t *packed;  /* records compressed */
    uint8_t *sealed;  /* a chunk; HF_MESSAGE_MAX, as are the next two */
    uint8_t *plain;   /* the reply */
    uint8_t *out;     /* the message */
    size_t packed_cap;
    struct hf_sample *sample; /* for a PLAN; NULL before the first */
    struct hf_bytes frame;
    hf_seq frame_seq; /* of a large frame kept between BODY requests; 0 = none */
    uint8_t descriptor[HF_DESCRIPTOR_MAX];
    uint8_t to_key[HF_STORE_KEY_MAX];
    uint8_t split_key[HF_PLAN_SPLITS_MAX][HF_STORE_KEY_MAX];
    char reason[HF_REASON_MAX];
};

/* What the view, which is live, shows; HF_NOT_YET while that is above the head. */
static inline enum hf_err hf_transfer_shown(const struct hf_transfer *t, struct hf_applied *a)
{
    hf_view_applied(t->view, a);
    return a->at.seq > atomic_load(t->head) ? HF_NOT_YET : HF_OK;
}

/* ---- frames.c ---- */

/* The last frame that may be given. */
hf_seq hf_transfer_log_last(const struct hf_transfer *t);
/* The first one that is of use to anyone. */
hf_seq hf_transfer_log_first(const struct hf_transfer *t);

enum hf_err hf_transfer_log(struct hf_transfer *t, struct hf_fetch_reply *p);
enum hf_err hf_transfer_body(struct hf_transfer *t, struct hf_fetch_reply *p);
/* Frees a large frame that was kept for its body. */
void hf_transfer_let_go(struct hf_transfer *t);

/* ---- chunks.c ---- */

/* Records of a chunk before they are packed. They are as many as a reply can carry once they are,
 * and what packs to less than half is not worth the memory at both ends. */
#define HF_CHUNK_RAW_MAX (128u << 10)
/* Of a slot's `density` while nothing was packed. */
#define HF_DENSITY_NONE 256u

/* The view is live. */
enum hf_err hf_transfer_chunk(struct hf_transfer *t, struct hf_fetch_reply *p);

struct hf_probe_result {
    uint64_t weight;     /* of its records, as in a sample of the store (hf/state.h) */
    uint64_t sent_bytes; /* of the reply that would carry them */
    bool end;
};
/* Makes a chunk of the range as hf_transfer_chunk does, but seals and keeps nothing: `to` is how
 * far it would get, its key borrowed from the view. */
enum hf_err hf_transfer_probe(struct hf_transfer *t, const struct hf_fetch_request *range,
                              struct hf_bound *to, struct hf_probe_result *out);

/* ---- ranges.c ---- */

/* The view is live. */
enum hf_err hf_transfer_ranges(struct hf_transfer *t, struct hf_fetch_reply *p);

/* ---- plan.c ---- */

struct hf_planner *hf_planner_new(void);
void hf_planner_free(struct hf_planner *p);
enum hf_err hf_transfer_plan(struct hf_transfer *t, struct hf_plan_reply *p);

#endif
