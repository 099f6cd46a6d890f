/*
 * request.h - an HF.APPLY request that is being collected, and its answer.
 */
#ifndef HF_CLI_REQUEST_H
#define HF_CLI_REQUEST_H

#include "core/cli/parse.h"

#include "hf/types.h"

struct hf_cli;
struct redisReply;

struct hf_cli_request {
    uint8_t *bytes; /* owned: all words, one after the other */
    size_t len, cap;
    size_t *words; /* owned: length of each */
    size_t word_count, word_cap;
    uint32_t changes;
    size_t change_bytes; /* keys and values */
};

struct hf_cli_request_head {
    const char *id;
    const char *author, *reason, *ifseq; /* NULL = not given */
};

void hf_cli_request_deinit(struct hf_cli_request *r);
void hf_cli_request_clear(struct hf_cli_request *r);
/* False when there is no memory. */
bool hf_cli_request_add(struct hf_cli_request *r, const struct hf_line_change *c);
/* Queues the request on the connection; nothing of `r` is needed afterwards. */
bool hf_cli_request_send(const struct hf_cli_request *r, const struct hf_cli_request_head *head,
                         struct hf_cli *cli);
/* Reads [seq, "applied" | "repeated"]; false when the reply has another form. */
bool hf_cli_request_read(const struct redisReply *reply, uint64_t *seq, bool *repeated);
/* Checks author, reason and ifseq; false after a message. */
bool hf_cli_request_head_check(const struct hf_cli_request_head *head);

#endif
