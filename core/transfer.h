/*
 * transfer.h - PLAN and FETCH: bounded readers of log and state that run on the pool.
 *
 * A fixed number of slots, each with its own view, buffers and compression context: that is the
 * bound on memory and on read transactions (G16). What a slot needs of the owner's thread is copied
 * into it when it starts; the pool touches nothing else of the core but the changelog's and state's
 * readers.
 */
#ifndef CORE_TRANSFER_H
#define CORE_TRANSFER_H

#include "core/registry.h"
#include "core/writer.h"
#include "hf/world.h"

#define HF_TRANSFERS_MAX 16u
/* An edge has four under way, and some more that timed out there: no edge can take all slots (G16).
 */
#define HF_TRANSFERS_PER_EDGE 6u

struct hf_transfers;

struct hf_transfers_config {
    const struct hf_world *world;
    const struct hf_identity *id;
    const struct hf_registry *registry;
    struct hf_state *state;
    const struct hf_changelog *log;
    struct hf_id stream;
    struct hf_id epoch_id;
};

/* A request to answer; all of it is copied. */
struct hf_transfer_order {
    uint64_t handle;
    const struct hf_enrolled *edge;
    const struct hf_request *request; /* PLAN or FETCH, decoded */
    const struct hf_envelope *asked;  /* of the request */
    struct hf_id cookie;              /* for the reply */
    const struct hf_envelope_keys *keys;
    const struct hf_content_key *content; /* that chunks are sealed under */
    hf_seq key_floor;                     /* no frame below can be opened by anyone any more */
};

struct hf_transfers *hf_transfers_new(const struct hf_transfers_config *c);
void hf_transfers_free(struct hf_transfers *t);
/* HF_BUSY when all slots are taken, or the edge has its share of them; HF_NOMEM. Otherwise the
 * reply is sent when it is done. */
enum hf_err hf_transfers_start(struct hf_transfers *t, const struct hf_transfer_order *order);
/* The head that may be given from now on: acknowledged, and never lower than before. */
void hf_transfers_head(struct hf_transfers *t, hf_seq head);
bool hf_transfers_idle(const struct hf_transfers *t);

/* Reads frame `seq` whole, growing the memory; HF_NOTFOUND, HF_CORRUPT, HF_NOMEM. */
enum hf_err hf_transfer_frame(const struct hf_changelog *log, hf_seq seq, struct hf_bytes *out);

#endif
