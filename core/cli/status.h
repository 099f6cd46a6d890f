/*
 * status.h - what HF.STATUS says, in a form to print. Numbers that are not known are HF_UNKNOWN.
 */
#ifndef HF_CLI_STATUS_H
#define HF_CLI_STATUS_H

#include <stdio.h>

#include "hf/types.h"

struct redisReply;

#define HF_UNKNOWN UINT64_MAX

/* Texts are for the terminal: control bytes are replaced. */
struct hf_status_edge {
    char name[64], key[72], state[24], version[40], store[24];
    char floor[24]; /* "clear", "near-log", ...; empty when unknown */
    uint64_t head, received, applied, lag_batches, lag_bytes, lag_ms, holes, staleness_ms;
    uint64_t last_heard_ms, transfer_done, transfer_total;
    int digest_ok; /* 1, 0, -1 unknown */
};

struct hf_status {
    bool is_edge; /* the answer of an edge: its own view is edge[0], and the core's head is in head
                   */
    char version[40], stream[72], epoch_id[40], digest[72], refusing[200], core_url[260];
    char reason[400]; /* an edge: why it cannot reach its core; empty */
    uint64_t epoch, head, committed, log_first, log_bytes, live_keys;
    struct hf_status_edge *edge; /* owned */
    size_t edge_count;
};

/* False when the reply has neither form. */
bool hf_status_read(const struct redisReply *reply, struct hf_status *s);
void hf_status_deinit(struct hf_status *s);
/* Keeps the rows of the named edges, all of them when count is 0. A name that no edge has is
 * returned, and then nothing is changed; else NULL. */
const char *hf_status_choose(struct hf_status *s, char *const *names, size_t count);
/* True when every edge is known to be within both limits, and none has diverged; a core's revoked
 * edges do not count. HF_UNKNOWN is no limit. */
bool hf_status_within(const struct hf_status *s, uint64_t lag_max, uint64_t staleness_ms_max);

void hf_status_print_table(const struct hf_status *s, FILE *out);
void hf_status_print_tsv(const struct hf_status *s, FILE *out);
void hf_status_print_json(const struct hf_status *s, FILE *out);

#endif
