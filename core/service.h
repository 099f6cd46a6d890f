/*
 * service.h - what the core answers to edges: who is asking, and HELLO, JOIN, REPORT, PLAN, FETCH.
 *
 * Everything is called on the owner's thread. PLAN and FETCH read the store on the pool
 * (transfer.h); the rest is answered before hf_service_on_request returns, except JOIN, which waits
 * for its facts to be durable. Bad input is a counted drop, never an error.
 */
#ifndef CORE_SERVICE_H
#define CORE_SERVICE_H

#include "core/registry.h"
#include "core/writer.h"
#include "hf/publisher.h"
#include "hf/world.h"

struct hf_service;
struct hf_transfers;

/* ---- facts to be made durable, then told ---- */

/* The first member of something that malloc gave, which has the facts as well. */
struct hf_fact_order {
    struct hf_job job;
    void *owner;          /* the driver's own */
    struct hf_fact *fact; /* count of them, one sync */
    uint32_t count;
    bool rotate;         /* the last is a new content key, used from the next frame on; the lane
                            fills it in */
    struct hf_key fresh; /* its key */
    enum hf_err code;    /* out */
    char text[400];      /* out: why not */
    /* Owner's thread, once; the registry has learned the facts if code is HF_OK. Frees the order.
     */
    void (*recorded)(struct hf_fact_order *order);
    void *ctx;
    struct hf_fact_order *next; /* of those under way */
};

struct hf_service_config {
    const struct hf_world *world;
    const struct hf_identity *id;
    struct hf_registry *registry;
    struct hf_publisher *publisher;
    struct hf_state *state;
    const struct hf_changelog *log;
    struct hf_dictionaries *dictionaries;
    const struct hf_core_head *head; /* the owner's copy */
    const struct hf_genesis *genesis;
    struct hf_slice genesis_signed;
    uint64_t boot;
    hf_ms beacon_ms;
    void *ctx;
    void (*record)(void *ctx, struct hf_fact_order *order);
    /* Why a name may not be enrolled with a key; NULL: it may. */
    const char *(*objection)(void *ctx, const char *name, const struct hf_key *key,
                             enum hf_err *code);
    /* An edge proved that this core's data was rolled back or forked. */
    void (*fence)(void *ctx, const char *why, const struct hf_evidence_fact *evidence);
};

struct hf_service *hf_service_new(const struct hf_service_config *c);
/* JOINs that wait are the driver's orders. No pool job may be running. */
void hf_service_free(struct hf_service *s);

/* Whether it was authentic: sealed with the key of an edge that is enrolled and not revoked. It may
 * still be a repetition: whoever can record one sits on the edge's line. */
bool hf_service_on_request(struct hf_service *s, uint64_t handle, struct hf_slice message,
                           const char *peer);
/* Answers the REPORTs that were gathered, with one signature. */
void hf_service_requests_end(struct hf_service *s);
/* Signs a beacon of now into w (HF_BEACON_MAX). r: a leaf or root; NULL: without R. */
void hf_service_beacon(struct hf_service *s, const struct hf_hash *r, struct hf_writer *w);
/* The owner's head has moved: PLAN and FETCH may give what it covers. */
void hf_service_head(struct hf_service *s);
/* The readers behind PLAN and FETCH, for a transfer that goes to a file. */
struct hf_transfers *hf_service_transfers(struct hf_service *s);
/* True when no pool job is under way. */
bool hf_service_idle(const struct hf_service *s);
/* Appends "name value\n" lines. */
void hf_service_counters(const struct hf_service *s, struct hf_writer *w);

#endif
