/*
 * carry.h - the carry file: what an edge missed, taken to it by hand. PROTOCOL.md section 13.
 *
 * A head of fixed size and then records. Each record is a reply as it travels over the control
 * channel, sealed to one edge under the file's nonce, with the number of the record as cookie: so
 * the file is worth nothing to anybody else, and no record can be changed, moved or left out. The
 * head says how many records and bytes there are and ends their chain of hashes, and is signed: so
 * a file that was cut short is known as such before anything of it is used.
 *
 * PURE: bytes in, bytes out.
 */
#ifndef HF_CARRY_H
#define HF_CARRY_H

#include "hf/err.h"
#include "hf/messages.h"
#include "hf/seal.h"

#define HF_CARRY_VERSION 1u
#define HF_CARRY_HEAD_BYTES 1024u
/* Before each message: u32le length, and the first bytes of the chain after this record. */
#define HF_CARRY_CHECK_BYTES 8u
#define HF_CARRY_RECORD_HEAD (4u + HF_CARRY_CHECK_BYTES)
#define HF_CARRY_RECORDS_MAX UINT64_C(0xffffffffff)

struct hf_carry_head {
    struct hf_id stream;
    struct hf_id epoch_id;
    uint64_t epoch;
    struct hf_key core; /* who signed it */
    struct hf_key edge; /* whom it is for */
    char name[HF_NAME_MAX + 1];
    uint8_t nonce[HF_NONCE_BYTES];
    enum hf_plan_kind kind; /* LOG, DELTA or SNAPSHOT */
    hf_seq first;           /* the edge must have applied this much; 0 for a SNAPSHOT */
    hf_seq last;            /* and has this much afterwards */
    uint64_t records;
    uint64_t bytes;       /* of the whole file */
    struct hf_hash chain; /* after the last record */
};

/* Signs under h->core's secret. HF_ARG when a field does not make sense. */
enum hf_err hf_carry_head_sign(const struct hf_carry_head *h, const uint8_t secret[HF_SECRET_BYTES],
                               uint8_t out[HF_CARRY_HEAD_BYTES]);
/* HF_MALFORMED: no carry file, or damaged; HF_VERSION: of a later version; HF_AUTH: the signature
 * is not that of h->core, which the caller compares with the key it trusts. */
enum hf_err hf_carry_head_open(const uint8_t in[HF_CARRY_HEAD_BYTES], struct hf_carry_head *h);

/* The chain after a record; before the first it is all zero. */
struct hf_hash hf_carry_chain(const struct hf_hash *before, struct hf_slice message);
void hf_carry_record_head(uint32_t len, const struct hf_hash *after,
                          uint8_t out[HF_CARRY_RECORD_HEAD]);
/* False when the length is none of a message. */
bool hf_carry_record_read(const uint8_t in[HF_CARRY_RECORD_HEAD], uint32_t *len,
                          uint8_t check[HF_CARRY_CHECK_BYTES]);
/* What stands in the place of a cookie in record number `index`, from 0. */
struct hf_id hf_carry_cookie(uint64_t index);

#endif
