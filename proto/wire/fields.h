/*
 * fields.h - what every decoder of proto/wire needs on top of the cursor.
 *
 * A structure is an array of known fields, behind which a newer version may add some that this one
 * skips. The cap on those is small: a peer that has more to add raises the wire version. Private to
 * proto/wire. Must not: accept a second form of anything that the cursor has one form for.
 *
 * Read next: include/hf/cursor.h for the sticky error that all of this leans on.
 */
#ifndef HF_WIRE_FIELDS_H
#define HF_WIRE_FIELDS_H

#include "hf/cursor.h"
#include "hf/seal.h"

/* Room for what later versions append to one structure. */
#define HF_FIELDS_UNKNOWN_MAX 8u

/* Header of an array of `known` fields and perhaps more; returns what close needs. */
static inline uint32_t hf_fields_open(struct hf_reader *r, uint32_t known)
{
    return hf_read_array(r, known, known + HF_FIELDS_UNKNOWN_MAX);
}

/* Skips what lies behind the known fields. A failed open returned 0 and skips nothing. */
static inline void hf_fields_close(struct hf_reader *r, uint32_t count, uint32_t known)
{
    if (count > known) {
        hf_read_skip(r, count - known);
    }
}

/* Makes a value that does not make sense an error of the reader. */
static inline void hf_fields_check(struct hf_reader *r, bool sound)
{
    if (!sound) {
        r->failed = true;
    }
}

static inline uint32_t hf_read_u32(struct hf_reader *r, uint32_t max)
{
    return (uint32_t)hf_read_uint(r, max);
}

static inline bool hf_read_bool(struct hf_reader *r)
{
    return hf_read_uint(r, 1) == 1;
}

static inline hf_seq hf_read_seq(struct hf_reader *r)
{
    return hf_read_uint(r, HF_SEQ_MAX);
}

#endif
