/*
 * facts.h - the durable facts that frames depend on, and their bytes.
 *
 * A fact is absolute ("edge X is now ..."): writing it twice or replaying it over an older state
 * gives the same result. It is a record of the changelog, synced before anyone is answered, and the
 * same bytes are an object of the state, so that a trimmed log loses nothing. The format is at the
 * top of facts.c.
 */
#ifndef CORE_FACTS_H
#define CORE_FACTS_H

#include "hf/cursor.h"
#include "hf/err.h"
#include "hf/messages.h"
#include "hf/seal.h"
#include "hf/types.h"

#define HF_FACT_MAX (HF_GENESIS_MAX + 64u) /* encoded bytes, at most */
#define HF_FACT_NAME_MAX 80u               /* bytes of the state object's name */

enum hf_fact_type {
    HF_FACT_GENESIS = 1,
    HF_FACT_CONTENT_KEY = 2,
    HF_FACT_EDGE = 3,
    HF_FACT_TOKEN = 4,
    HF_FACT_BOOT = 5,     /* how often this stream's core was started */
    HF_FACT_EVIDENCE = 6, /* a signed header that contradicts this core's history */
};

enum hf_edge_role {
    HF_ROLE_EDGE = 1,
};

struct hf_edge_fact {
    struct hf_key key;
    char name[HF_NAME_MAX + 1];
    uint32_t role;
    bool revoked;
    uint64_t enrolled_wall_ms;
    bool has_token;
    struct hf_id token;
};

struct hf_token_fact {
    struct hf_id id;
    struct hf_hash verifier;
    char name[HF_NAME_MAX + 1];
    bool used; /* by used_by; a void token has an all-zero key there */
    struct hf_key used_by;
    uint64_t expires_wall_ms; /* 0 = never; shown and warned about, no decision depends on it */
};

struct hf_evidence_fact {
    struct hf_slice header; /* borrowed */
    struct hf_signature signature;
};

struct hf_fact {
    enum hf_fact_type type;
    union {
        struct hf_slice genesis; /* signed; borrowed */
        struct hf_content_key content_key;
        struct hf_edge_fact edge;
        struct hf_token_fact token;
        uint64_t boot;
        struct hf_evidence_fact evidence;
    };
};

/* w needs room for HF_FACT_MAX. */
void hf_fact_encode(const struct hf_fact *f, struct hf_writer *w);
/* Borrows from bytes. HF_MALFORMED; HF_VERSION for a type that this version does not know. */
enum hf_err hf_fact_decode(struct hf_slice bytes, struct hf_fact *f);
/* The name of the state object that holds it. Returns a slice of `name`. */
struct hf_slice hf_fact_name(const struct hf_fact *f, uint8_t name[HF_FACT_NAME_MAX]);
#define HF_FACT_CONTENT_KEY_PREFIX "ckey/" /* and the id, big-endian */
/* What the names of objects that hold facts begin with. */
#define HF_FACT_PREFIXES 6u
extern const char *const hf_fact_prefix[HF_FACT_PREFIXES];

#endif
