/*
 * transfer.h - PLAN and FETCH: bounded readers of log and state that run on the pool.
 *
 * HF_TRANSFERS_MAX requests are worked on at a time, each in a slot with its own view, buffers and
 * compression context; more wait in line (queue.h), and those that come when the line is full, or
 * that one edge has too many of, are told to come back. A range that several edges ask for is read
 * once: who asks while it is being read waits for that, who asks later gets the chunk that was kept
 * (cache.h). Only the envelope is sealed for each.
 *
 * The bound (G16), whatever 200 edges of 16 requests each do: 32 MiB of chunks, 16 slots of 0.5 MiB
 * and a compressor of 0.6 MiB each, 1 MiB of requests that wait: less than 64 MiB. A slot that
 * sends the body of a large frame keeps that frame for the next piece, 4 MiB at most: as much again
 * if all 16 do.
 *
 * Of the edges that ask over the line only some begin at a time (admission.h): a FETCH of the
 * state, or of more of the log than a hole in the stream is, needs a turn.
 *
 * What a request needs of the owner's thread is copied when it comes; the pool touches nothing else
 * of the core but the changelog's and state's readers.
 */
#ifndef CORE_TRANSFER_H
#define CORE_TRANSFER_H

#include "core/registry.h"
#include "core/writer.h"
#include "hf/world.h"

#define HF_TRANSFERS_MAX 16u
/* Under way or waiting. An edge has as many parts of a range in flight; that one edge may take all
 * slots costs the others a turn, no more, since those that wait take turns by edge. */
#define HF_TRANSFERS_PER_EDGE 32u
#define HF_TRANSFERS_CACHE_BYTES (32u << 20)

struct hf_transfers;

struct hf_transfers_config {
    const struct hf_world *world;
    const struct hf_identity *id;
    struct hf_registry *registry;
    const struct hf_core_head *head; /* the owner's copy */
    struct hf_state *state;
    const struct hf_changelog *log;
    struct hf_id stream;
    struct hf_id epoch_id;
};

/* Where an answer goes: to the world, which knows the request by `handle`; or to `answer`, with the
 * plain text and the message, both borrowed until it returns, and empty when the request was
 * dropped. */
struct hf_asker {
    uint64_t handle;
    void (*answer)(void *ctx, struct hf_slice plain, struct hf_slice message); /* or NULL */
    void *ctx;
};

/* A request to answer; all of it is copied. */
struct hf_transfer_order {
    struct hf_asker asker;
    const struct hf_enrolled *edge;
    const struct hf_request *request; /* PLAN or FETCH, decoded */
    const struct hf_envelope *asked;  /* of the request */
    struct hf_id cookie;              /* for the reply */
};

struct hf_transfers_counts {
    uint64_t scans;      /* chunks that were read from the state */
    uint64_t cache_hits; /* that were there already */
    uint64_t coalesced;  /* requests that waited for a chunk under way */
    uint64_t waited;     /* requests that found no slot free, or waited for such a chunk */
    uint64_t waiting;    /* now */
    uint64_t cache_bytes;
    uint32_t edges_placed, edges_waiting; /* now (admission.h) */
};

struct hf_transfers *hf_transfers_new(const struct hf_transfers_config *c);
void hf_transfers_free(struct hf_transfers *t);
/* Whether it is the turn of an edge that asks over the line (admission.h). False: it should ask
 * again in about *wait_ms. */
bool hf_transfers_admit(struct hf_transfers *t, const struct hf_transfer_order *order,
                        uint32_t *wait_ms);
/* HF_BUSY when no more may wait, of all or of this edge. Otherwise the reply is sent when it is
 * done, or the request dropped, if the edge was revoked or memory is short. */
enum hf_err hf_transfers_start(struct hf_transfers *t, const struct hf_transfer_order *order);
/* An edge that says it has all but a little makes room for another. */
void hf_transfers_reported(struct hf_transfers *t, uint32_t row, const struct hf_report *r);
/* An edge that is refused everything needs no turn. */
void hf_transfers_revoked(struct hf_transfers *t, uint32_t row);
/* The head that may be given from now on: acknowledged, and never lower than before. */
void hf_transfers_head(struct hf_transfers *t, hf_seq head);
bool hf_transfers_idle(const struct hf_transfers *t);
void hf_transfers_counts(const struct hf_transfers *t, struct hf_transfers_counts *out);

/* Reads frame `seq` whole, growing the memory; HF_NOTFOUND, HF_CORRUPT, HF_NOMEM. */
enum hf_err hf_transfer_frame(const struct hf_changelog *log, hf_seq seq, struct hf_bytes *out);

#endif
