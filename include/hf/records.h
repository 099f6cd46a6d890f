/*
 * records.h - the records of a DELTA or KEYS chunk, in columns: what is alike lies side by side.
 *
 * Raw bytes of a chunk are one array of numbers and columns, or nothing at all for no records.
 * Keys lean on the key before them, positions on the position before. So 24-byte keys with 100-byte
 * values become 12 % smaller than as rows, once zstd has given each block a code of its own
 * (compress.h). PROTOCOL.md sections 8.1 and 8.3.
 *
 * A chunk may begin and end inside a value: only its first record can be without its beginning, and
 * only its last without its end.
 *
 * Nothing here allocates.
 */
#ifndef HF_RECORDS_H
#define HF_RECORDS_H

#include "hf/batch.h"
#include "hf/cursor.h"
#include "hf/types.h"

/* A record of DELTA or KEYS, or a fragment of one when offset > 0 or offset + value.len < total. */
struct hf_record {
    struct hf_slice key;
    hf_seq seq;
    uint32_t ordinal;
    bool tombstone;
    uint32_t total; /* bytes of the whole value */
    uint32_t offset;
    struct hf_slice value;
};

enum hf_column {
    HF_COLUMN_SHARES,   /* bytes of the key that are those of the key before */
    HF_COLUMN_RESTS,    /* bytes of the key that follow them */
    HF_COLUMN_SEQS,     /* steps from the seq before, either way */
    HF_COLUMN_ORDINALS, /* steps from the place behind the one before, or from 0 in another batch */
    HF_COLUMN_LENGTHS,  /* 0 for a tombstone, else 1 + bytes of the value that are here */
    HF_COLUMN_KEYS,     /* the bytes themselves, as are the values */
    HF_COLUMN_VALUES,
    HF_COLUMNS,
};

/* What a record takes beside key and value at most, and what the array around all of them does. */
#define HF_RECORD_OVERHEAD 24u
#define HF_RECORDS_OVERHEAD 64u

/* ---- writing ---- */

struct hf_columns {
    struct hf_writer column[HF_COLUMNS];
    uint32_t count;
    uint32_t before; /* bytes of the first value that are in an earlier chunk */
    uint32_t behind; /* bytes of the last value that are in a later one */
    hf_seq seq;      /* of the last record, as are ordinal and key */
    uint32_t ordinal;
    size_t key_len;
    uint8_t key[HF_STORE_KEY_MAX];
};

/* Each column gets `cap` bytes of memory, which has HF_COLUMNS * cap and outlives c. */
void hf_columns_init(struct hf_columns *c, uint8_t *memory, size_t cap);
/* Nothing follows a record whose value has no end yet, and only the first may lack its beginning.
 * A column that is full makes hf_columns_finish fail. */
void hf_columns_add(struct hf_columns *c, const struct hf_record *rec);
/* What hf_columns_finish would write now, at most; of no records that is what their array takes, so
 * that whoever asks how much of the first one fits leaves room for it. */
size_t hf_columns_bytes(const struct hf_columns *c);
/* Blocks of different nature, side by side: numbers, keys, values. */
#define HF_RECORDS_BLOCKS 3u
/* Writes the raw bytes of the chunk to the end of raw, whose parts block[] names: together they are
 * all of it. */
void hf_columns_finish(const struct hf_columns *c, struct hf_writer *raw,
                       struct hf_slice block[HF_RECORDS_BLOCKS]);

/* ---- reading ---- */

/* A copy of it goes on by itself from where it was taken. */
struct hf_records {
    struct hf_reader column[HF_COLUMNS];
    size_t bytes;  /* of all of them, as they were opened */
    uint32_t left; /* records */
    uint32_t before;
    uint32_t behind;
    hf_seq seq;
    uint32_t ordinal;
    size_t key_len;
    bool failed;
    uint8_t key[HF_STORE_KEY_MAX];
};

/* Bytes that are no records show in `failed`, at once or when they are met. */
void hf_records_open(struct hf_records *r, struct hf_slice raw);
/* False at the end or on damage. The key is r's and valid until the next call, the value is
 * borrowed from raw. */
bool hf_records_next(struct hf_records *r, struct hf_record *rec);

#endif
