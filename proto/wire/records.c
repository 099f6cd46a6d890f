/*
 * records.c - records as columns and back.
 *
 *     raw      nothing, or [count, before, behind, shares, rests, seqs, ordinals, lengths, keys,
 *              values]: three numbers and seven bins, exactly
 *     shares   count uints: bytes that the key has in common with the one before, all of them; the
 *              first has none
 *     rests    count uints: bytes of the key behind those
 *     seqs     count uints: step(seq - seq before); the first counts from 0
 *     ordinals count uints: step(ordinal - the next one), which is 1 + the ordinal before if the
 *              seq is the same, else 0
 *     lengths  count uints: 0 = tombstone, else 1 + bytes of the value in this chunk
 *     keys     the rests, one after the other
 *     values   the values, one after the other
 *     before   bytes of the first record's value that lie in front of those here
 *     behind   bytes of the last record's value that follow those here
 *     step(d)  2d, or -2d - 1 below 0
 *
 * Invariant: one list of records has one form, so what the reader takes the writer gives back byte
 * for byte; every column is used up exactly when the last record is out. No length is believed
 * before it was compared with what is left of its column.
 *
 * Must not: judge the order of records, which is for whoever knows the range (proto/store/stage.c).
 *
 * Read next: include/hf/records.h; compress.c for what zstd makes of the blocks.
 */
#include "hf/records.h"

#include "fields.h"

enum {
    RECORDS_FIELDS = 3 + HF_COLUMNS,
    /* A bin of five bytes at most around each column, five for each number, and the array. */
    RECORDS_HEAD_MAX = 1 + 3 * 5 + HF_COLUMNS * 5,
};

_Static_assert(RECORDS_HEAD_MAX <= HF_RECORDS_OVERHEAD, "what is around the columns");

/* ---- steps ---- */

static uint64_t step_of(uint64_t from, uint64_t to)
{
    return to >= from ? 2 * (to - from) : 2 * (from - to) - 1;
}

/* False when it leads out of 0..max. */
static bool step_take(uint64_t *at, uint64_t step, uint64_t max)
{
    uint64_t by = step / 2;

    if (step % 2 == 0) {
        if (*at > max || by > max - *at) {
            return false;
        }
        *at += by;
        return true;
    }
    if (by >= *at) { /* the expected ordinal may be max + 1, from where this leads back */
        return false;
    }
    *at -= by + 1;
    return true;
}

/* Where the ordinals of `seq` go on. */
static uint64_t next_ordinal(hf_seq seq, hf_seq seq_before, uint32_t ordinal_before)
{
    return seq == seq_before ? (uint64_t)ordinal_before + 1 : 0;
}

/* ---- writing ---- */

void hf_columns_init(struct hf_columns *c, uint8_t *memory, size_t cap)
{
    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < HF_COLUMNS; i++) {
        hf_writer_init(&c->column[i], memory + i * cap, cap);
    }
}

static size_t shared_bytes(const struct hf_columns *c, struct hf_slice key)
{
    size_t most = c->key_len < key.len ? c->key_len : key.len;
    size_t n = 0;

    while (n < most && c->key[n] == key.data[n]) {
        n++;
    }
    return n;
}

void hf_columns_add(struct hf_columns *c, const struct hf_record *rec)
{
    size_t shared = shared_bytes(c, rec->key);
    size_t rest = rec->key.len - shared;

    HF_ASSERT(c->behind == 0 && (c->count == 0 || rec->offset == 0));
    HF_ASSERT(rec->key.len <= HF_STORE_KEY_MAX);
    hf_write_uint(&c->column[HF_COLUMN_SHARES], shared);
    hf_write_uint(&c->column[HF_COLUMN_RESTS], rest);
    hf_write_uint(&c->column[HF_COLUMN_SEQS], step_of(c->seq, rec->seq));
    hf_write_uint(&c->column[HF_COLUMN_ORDINALS],
                  step_of(next_ordinal(rec->seq, c->seq, c->ordinal), rec->ordinal));
    hf_write_uint(&c->column[HF_COLUMN_LENGTHS], rec->tombstone ? 0 : rec->value.len + 1);
    hf_write_raw(&c->column[HF_COLUMN_KEYS], rec->key.data + shared, rest);
    hf_write_raw(&c->column[HF_COLUMN_VALUES], rec->value.data, rec->value.len);
    c->before = c->count == 0 ? rec->offset : c->before;
    c->behind = rec->total - rec->offset - (uint32_t)rec->value.len;
    c->seq = rec->seq;
    c->ordinal = rec->ordinal;
    memcpy(c->key + shared, rec->key.data + shared, rest);
    c->key_len = rec->key.len;
    c->count++;
}

size_t hf_columns_bytes(const struct hf_columns *c)
{
    size_t sum = HF_RECORDS_OVERHEAD;

    for (unsigned i = 0; i < HF_COLUMNS; i++) {
        sum += c->column[i].len;
    }
    return sum;
}

void hf_columns_finish(const struct hf_columns *c, struct hf_writer *raw,
                       struct hf_slice block[HF_RECORDS_BLOCKS])
{
    const uint8_t *from = raw->data + raw->len;
    size_t end[HF_RECORDS_BLOCKS] = {0};
    size_t begin = raw->len;

    if (c->count > 0) {
        hf_write_array(raw, RECORDS_FIELDS);
        hf_write_uint(raw, c->count);
        hf_write_uint(raw, c->before);
        hf_write_uint(raw, c->behind);
    }
    for (unsigned i = 0; i < HF_COLUMNS && c->count > 0; i++) {
        raw->failed = raw->failed || c->column[i].failed;
        hf_write_bin(raw, hf_slice_of(c->column[i].data, c->column[i].len));
        end[i < HF_COLUMN_KEYS ? 0 : i - HF_COLUMN_KEYS + 1] = raw->len - begin;
    }
    for (unsigned i = 0; i < HF_RECORDS_BLOCKS; i++) {
        size_t at = i > 0 ? end[i - 1] : 0;
        block[i] = hf_slice_of(from + at, raw->failed ? 0 : end[i] - at);
    }
}

/* ---- reading ---- */

void hf_records_open(struct hf_records *r, struct hf_slice raw)
{
    struct hf_reader all;

    memset(r, 0, sizeof *r);
    r->bytes = raw.len;
    hf_reader_init(&all, raw);
    if (raw.len > 0) {
        (void)hf_read_array(&all, RECORDS_FIELDS, RECORDS_FIELDS);
        r->left = hf_read_u32(&all, UINT32_MAX);
        r->before = hf_read_u32(&all, HF_STORE_VALUE_MAX);
        r->behind = hf_read_u32(&all, HF_STORE_VALUE_MAX);
        hf_fields_check(&all, r->left > 0);
    }
    for (unsigned i = 0; i < HF_COLUMNS; i++) {
        struct hf_slice column = raw.len > 0 ? hf_read_bin(&all, SIZE_MAX) : hf_slice_of(NULL, 0);
        /* A number takes a byte at least. */
        hf_fields_check(&all, i >= HF_COLUMN_KEYS || r->left <= column.len);
        hf_reader_init(&r->column[i], column);
    }
    r->failed = !hf_reader_done(&all);
    r->left = r->failed ? 0 : r->left;
}

/* The key that shares its beginning with the one before, and must not have more in common with it
 * than it says. */
static bool key_next(struct hf_records *r, struct hf_record *rec)
{
    size_t shared = hf_read_uint(&r->column[HF_COLUMN_SHARES], r->key_len);
    size_t most = HF_STORE_KEY_MAX - shared;
    size_t rest = hf_read_uint(&r->column[HF_COLUMN_RESTS], most);
    struct hf_slice bytes = hf_read_raw(&r->column[HF_COLUMN_KEYS], rest);

    if (shared + rest == 0 || r->column[HF_COLUMN_SHARES].failed ||
        r->column[HF_COLUMN_RESTS].failed || r->column[HF_COLUMN_KEYS].failed) {
        return false;
    }
    if (shared < r->key_len && rest > 0 && bytes.data[0] == r->key[shared]) {
        return false;
    }
    if (rest > 0) {
        memcpy(r->key + shared, bytes.data, rest);
    }
    r->key_len = shared + rest;
    rec->key = hf_slice_of(r->key, r->key_len);
    return true;
}

static bool position_next(struct hf_records *r, struct hf_record *rec)
{
    uint64_t seq = r->seq;
    uint64_t seq_step = hf_read_uint(&r->column[HF_COLUMN_SEQS], UINT64_MAX);
    uint64_t ordinal_step = hf_read_uint(&r->column[HF_COLUMN_ORDINALS], UINT64_MAX);

    if (r->column[HF_COLUMN_SEQS].failed || r->column[HF_COLUMN_ORDINALS].failed ||
        !step_take(&seq, seq_step, HF_SEQ_MAX) || seq == 0) {
        return false;
    }
    uint64_t ordinal = next_ordinal(seq, r->seq, r->ordinal);
    if (!step_take(&ordinal, ordinal_step, HF_BATCH_CHANGES_MAX - 1)) {
        return false;
    }
    r->seq = rec->seq = seq;
    r->ordinal = rec->ordinal = (uint32_t)ordinal;
    return true;
}

/* r->left is still that with this record. */
static bool value_next(struct hf_records *r, struct hf_record *rec)
{
    struct hf_reader *lengths = &r->column[HF_COLUMN_LENGTHS];
    uint64_t length = hf_read_uint(lengths, HF_STORE_VALUE_MAX + 1);
    uint64_t behind = r->left == 1 ? r->behind : 0;

    rec->tombstone = length == 0;
    length -= length > 0;
    rec->value = hf_read_raw(&r->column[HF_COLUMN_VALUES], (size_t)length);
    rec->offset = r->before;
    r->before = 0;
    uint64_t total = rec->offset + length + behind;
    rec->total = (uint32_t)total;
    if (lengths->failed || r->column[HF_COLUMN_VALUES].failed || total > HF_STORE_VALUE_MAX) {
        return false;
    }
    return length >= 1 || total == 0; /* an empty fragment moves nobody on */
}

static bool all_used_up(const struct hf_records *r)
{
    for (unsigned i = 0; i < HF_COLUMNS; i++) {
        if (!hf_reader_done(&r->column[i])) {
            return false;
        }
    }
    return true;
}

bool hf_records_next(struct hf_records *r, struct hf_record *rec)
{
    memset(rec, 0, sizeof *rec);
    if (r->failed || r->left == 0) {
        return false;
    }
    bool sound = key_next(r, rec) && position_next(r, rec) && value_next(r, rec);
    r->left--;
    if (!sound || (r->left == 0 && !all_used_up(r))) {
        r->failed = true;
        memset(rec, 0, sizeof *rec);
    }
    return !r->failed;
}
