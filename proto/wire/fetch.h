/*
 * fetch.h - the fields of FETCH, for messages.c, which owns the array around them.
 *
 * A put writes exactly the number of fields that the constant says; a get reads as many and leaves
 * its verdict in the reader. Private to proto/wire; everyone else calls hf_request_encode and the
 * like. Must not: look past its own fields, since what trails behind them belongs to the caller.
 *
 * Read next: fetch.c for the format, include/hf/messages.h for what the fields mean.
 */
#ifndef HF_WIRE_FETCH_H
#define HF_WIRE_FETCH_H

#include "hf/messages.h"

enum {
    HF_FETCH_REQUEST_FIELDS = 9,
    HF_FETCH_REPLY_FIELDS = 8,
};

/* A stretch of evidence is [header, signature] of one frame. */
#define HF_EVIDENCE_MAX (HF_HEADER_MAX + HF_SIGNED_OVERHEAD)

void hf_fetch_request_put(const struct hf_fetch_request *q, struct hf_writer *w);
void hf_fetch_request_get(struct hf_reader *r, struct hf_fetch_request *q);
void hf_fetch_reply_put(const struct hf_fetch_reply *p, enum hf_err code, struct hf_writer *w);
/* Of the data that a put with HF_OK ends with: bytes at its end that are sealed already. */
size_t hf_fetch_reply_tail(const struct hf_fetch_reply *p);
void hf_fetch_reply_get(struct hf_reader *r, enum hf_err code, struct hf_fetch_reply *p);

#endif
