/*
 * queue.h - requests that wait for a slot, in one line for each edge that has any.
 *
 * The lines take turns, so an edge that asks for much waits for itself and not others for it;
 * inside of a line it is first come, first served, except that a request which would only repeat
 * work that is under way lets others go before it. Nothing waits for ever: each turn that takes
 * somebody goes on to the next line, and what holds a request back ends with a job.
 *
 * Bounded: HF_WAITING_MAX requests in all, 0.7 MB. Owner's thread. Read next: transfer.c.
 */
#ifndef CORE_QUEUE_H
#define CORE_QUEUE_H

#include "core/cache.h"
#include "core/transfer.h"

#include "hf/seal.h"

/* At the 1 to 2 ms of CPU that a chunk takes, the last of so many waits less than a second, which
 * is before its edge gives up. */
#define HF_WAITING_MAX 512u

struct hf_waiting {
    struct hf_asker asker;
    uint32_t row;
    struct hf_key edge_key;
    uint8_t nonce[HF_NONCE_BYTES]; /* of the request */
    struct hf_id cookie;           /* for the reply */
    hf_seq asof_min;               /* of a chunk: what was asked, with 0 made good */
    bool coalesced;                /* it was held back because the same is being read */
    bool comparison;               /* RANGES */
    struct hf_range_name name;     /* the request itself, encoded */
    struct hf_waiting *next;       /* the queue's own */
};

struct hf_queue;

struct hf_queue *hf_queue_new(void);
void hf_queue_free(struct hf_queue *q);
uint32_t hf_queue_count(const struct hf_queue *q);
/* How many wait for this edge. */
uint32_t hf_queue_count_of(const struct hf_queue *q, uint32_t row);
/* A place at the end of the edge's line, to be filled in; NULL when there is none for it. A line
 * may have an eighth of the places that are free, so a few edges cannot take them all: 16 that try
 * leave a third (Choudhury and Hahne, "Dynamic queue length thresholds", 1998). */
struct hf_waiting *hf_queue_put(struct hf_queue *q, uint32_t row);
/* The first whose turn it is and that is ready, taken out of its line; NULL when nobody is. It must
 * be given back. */
struct hf_waiting *hf_queue_take(struct hf_queue *q, bool (*ready)(void *ctx, struct hf_waiting *w),
                                 void *ctx);
void hf_queue_give_back(struct hf_queue *q, struct hf_waiting *w);

#endif
