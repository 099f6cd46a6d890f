/*
 * edge.h - the edge of one stream: its driver, over the pure replica engine and the real store.
 *
 * The driver decodes messages, keeps frames in numbered slots, verifies them on the pool (or, when
 * nothing else waits, on the writer lane right before they are written), writes on the writer lane,
 * seals requests and opens replies, and turns effects into these. The same object runs in
 * holdfast-edge and in the simulator (world.h). Local readers use views of the state directly and
 * never wait for it.
 *
 * Threads: one owner thread calls everything here.
 */
#ifndef HF_EDGE_H
#define HF_EDGE_H

#include "hf/err.h"
#include "hf/replica.h"
#include "hf/scrub.h"
#include "hf/seal.h"
#include "hf/state.h"
#include "hf/types.h"
#include "hf/world.h"

struct hf_edge;

struct hf_edge_config {
    const char *dir;              /* DATA/main; made when missing */
    const char *version;          /* software version text */
    struct hf_key core_key;       /* the pinned root key */
    const struct hf_token *token; /* to enrol with; NULL = already enrolled by key */
    uint64_t map_bytes;           /* 0 = default */
    hf_ms scrub_ms;               /* all records are read through once in so long; 0 = never */
    struct hf_replica_config replica;
    void *ctx;
    /* Up to seq is applied, durably; readers see it without being told. May be NULL. */
    void (*on_applied)(void *ctx, hf_seq seq);
};

enum hf_err hf_edge_open(const struct hf_edge_config *c, const struct hf_world *world,
                         const struct hf_identity *id, struct hf_edge **edge, struct hf_error *e);
void hf_edge_close(struct hf_edge *edge); /* no job may be under way */
/* The simulator's crash, first half: from now on events are ignored and nothing is sent or ordered;
 * jobs under way may still end (with their work done or not), and then hf_edge_close frees it. */
void hf_edge_abandon(struct hf_edge *edge);

void hf_edge_on_link(struct hf_edge *edge, enum hf_channel channel, bool up);
void hf_edge_on_message(struct hf_edge *edge, struct hf_slice message);
/* message.data == NULL: timed out. */
void hf_edge_on_reply(struct hf_edge *edge, uint64_t request, struct hf_slice message);
/* Returns when it wants the next tick. */
hf_ms hf_edge_on_tick(struct hf_edge *edge, hf_ms now);

/* Compares all keys with the core and heals what differs; `damaged` = damage was seen, else the
 * state is thought to be sound. hf_edge_status tells how far it is and what came of it. */
void hf_edge_repair(struct hf_edge *edge, bool damaged);

struct hf_state *hf_edge_state(struct hf_edge *edge);
void hf_edge_status(const struct hf_edge *edge, hf_ms now, struct hf_replica_status *out);
/* False while a reader would take what is not here yet for absent (hf/replica.h). */
bool hf_edge_loaded(const struct hf_edge *edge);
struct hf_edge_info {
    struct hf_position position; /* durable */
    bool has_genesis;
    struct hf_genesis genesis;
    char name[HF_NAME_MAX + 1]; /* as the core knows this edge; empty until HELLO */
    uint64_t received_bytes, applied_changes;
    uint64_t dropped; /* messages that were not for us or not well-formed */
    struct hf_scrub_status scrub;
};
void hf_edge_info(const struct hf_edge *edge, struct hf_edge_info *out);
/* That of hf_edge_info, without the rest; borrowed until the next event. */
const struct hf_position *hf_edge_position(const struct hf_edge *edge);
const char *hf_edge_pending(const struct hf_edge *edge);

#endif
