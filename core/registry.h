/*
 * registry.h - who may talk to this core: enrolled edges, join tokens, content keys.
 *
 * Filled from durable facts only (hf_registry_learn): what it holds is what a restart would find,
 * but for revocations, which take effect here before they are durable and stay if that fails. Rows
 * are never removed, so a row number names the same edge name as long as the process lives. Owner's
 * thread.
 */
#ifndef CORE_REGISTRY_H
#define CORE_REGISTRY_H

#include "core/facts.h"
#include "core/keyring.h"

struct hf_registry;

/* A token bucket: so many a second, and as many at once. All zero is a full one. */
struct hf_quota {
    int64_t credit; /* thousandths of one */
    hf_ms at;
};
bool hf_quota_take(struct hf_quota *q, hf_ms now, uint32_t per_s);

struct hf_enrolled {
    struct hf_edge_fact fact;
    uint32_t row;          /* of the publisher engine's table */
    bool keys_ready;       /* the envelope keys were derived */
    uint64_t counter_top;  /* the highest counter accepted since the start */
    uint64_t counter_seen; /* bit i: counter_top - i was accepted */
    struct hf_quota quota; /* of requests whose answer costs a signature */
};

struct hf_registry *hf_registry_new(uint32_t edges_max);
void hf_registry_free(struct hf_registry *r); /* wipes */

/* Takes in an absolute fact. HF_FULL when the table is: whoever records a fact leaves room. Types
 * that are not the registry's business are ignored. A name that gets another key begins anew:
 * counters, cached keys. */
enum hf_err hf_registry_learn(struct hf_registry *r, const struct hf_fact *f);

uint32_t hf_registry_count(const struct hf_registry *r);
uint32_t hf_registry_max(const struct hf_registry *r); /* rows are below this */
/* NULL when unknown. Borrowed until the next learn. */
struct hf_enrolled *hf_registry_by_key(const struct hf_registry *r, const struct hf_key *key);
struct hf_enrolled *hf_registry_by_name(const struct hf_registry *r, const char *name);
/* The edge at place i of 0..count-1, in name order; and by row. */
const struct hf_enrolled *hf_registry_at(const struct hf_registry *r, uint32_t i);
const struct hf_enrolled *hf_registry_row(const struct hf_registry *r, uint32_t row);

const struct hf_token_fact *hf_registry_token(const struct hf_registry *r, const struct hf_id *id);
/* The token at place i from 0 on, NULL behind the last. */
const struct hf_token_fact *hf_registry_token_at(const struct hf_registry *r, uint32_t i);
/* Whether one that is open would find no room behind `more` others; those that are used give way.
 */
bool hf_registry_tokens_full(const struct hf_registry *r, uint32_t more);

struct hf_keyring *hf_registry_keys(struct hf_registry *r);
/* Derived at first use. NULL when the edge's key is not a valid point. */
const struct hf_envelope_keys *hf_registry_envelope(struct hf_registry *r, struct hf_enrolled *e,
                                                    const struct hf_identity *self);

/* True when the counter was not seen, which marks it as seen; a window of 64 below the highest. */
bool hf_registry_counter_take(struct hf_enrolled *e, uint64_t counter);

#endif
