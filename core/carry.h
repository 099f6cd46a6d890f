/*
 * carry.h - a transfer to one edge in the form of a file: one step, one record, at a time.
 *
 * The core keeps nothing between two steps: where a transfer stands is in a token that the caller
 * gets with each record and brings back for the next. A token is a position, like the bounds of
 * FETCH; whoever may write to this core may hold one. Owner's thread.
 *
 * begin   whom it is for and since when -> the token of the first record, and what is coming
 * next    a token -> a record and the next token; or, at the end, only a token
 * end     that token, and what was written -> the signed head of the file
 */
#ifndef CORE_CARRY_H
#define CORE_CARRY_H

#include "hf/carry.h"
#include "hf/core.h"

#define HF_CARRY_TOKEN_MAX 1024u

struct hf_carry_ask {
    const char *edge; /* its name */
    bool has_since;   /* else everything */
    uint64_t epoch;
    hf_seq since; /* what the edge has */
};

struct hf_carry_result {
    enum hf_err code;        /* HF_BUSY: the same again, later */
    char text[256];          /* why not; for begin also what is coming */
    struct hf_slice message; /* of next: the record; empty at the end. Borrowed */
    struct hf_slice token;   /* borrowed */
};
/* Once, perhaps before the call returns. */
typedef void hf_carry_done(void *ctx, const struct hf_carry_result *r);

void hf_core_carry_begin(struct hf_core *core, const struct hf_carry_ask *ask, hf_carry_done *done,
                         void *ctx);
void hf_core_carry_next(struct hf_core *core, struct hf_slice token, hf_carry_done *done,
                        void *ctx);
/* *text says why not. */
enum hf_err hf_core_carry_end(struct hf_core *core, struct hf_slice token,
                              const struct hf_carry_head *written, uint8_t out[HF_CARRY_HEAD_BYTES],
                              const char **text);

#endif
