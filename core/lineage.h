/*
 * lineage.h - whether what an edge has applied is a part of this core's history (PROTOCOL.md 7.2).
 *
 * Owner's thread.
 */
#ifndef CORE_LINEAGE_H
#define CORE_LINEAGE_H

#include "core/writer.h"
#include "hf/messages.h"

struct hf_lineage_config {
    struct hf_state *state;
    const struct hf_changelog *log;
    const struct hf_genesis *genesis;
    const struct hf_core_head *head; /* the owner's copy */
    void *ctx;
    /* An edge proved that this core's data was rolled back or forked. */
    void (*fence)(void *ctx, const char *why, const struct hf_evidence_fact *evidence);
};

struct hf_lineage;

struct hf_lineage *hf_lineage_new(const struct hf_lineage_config *c); /* NULL: memory, readers */
void hf_lineage_free(struct hf_lineage *l);                           /* NULL is fine */

/* HF_OK, also when the edge is ahead, which fences; HF_FORK, which fences too; HF_UNKNOWN_EPOCH;
 * HF_MALFORMED and HF_AUTH for a header that is none of this stream. */
enum hf_err hf_lineage_check(struct hf_lineage *l, const struct hf_hello_request *q);
/* After HF_FORK: the core's own signed header at that seq, or empty. Valid until the next check. */
struct hf_slice hf_lineage_evidence(struct hf_lineage *l);

#endif
