/*
 * test_records.c - records in columns: there and back, one form only, and each lie about a length
 * found out.
 */
#include "hf/records.h"

#include "hf/compress.h"
#include "hf/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <zstd.h>

enum { ROOM = 96 * 1024, NUMBERS = 5 };

struct world {
    uint8_t memory[HF_COLUMNS * ROOM];
    uint8_t raw[ROOM];
    struct hf_columns columns;
    struct hf_slice block[HF_RECORDS_BLOCKS];
};

static uint8_t filler[HF_STORE_VALUE_MAX + 1];

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct world));
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

/* ---- there and back ---- */

static struct hf_slice raw_of(struct world *w, const struct hf_record *rec, uint32_t count)
{
    struct hf_writer raw;
    hf_columns_init(&w->columns, w->memory, ROOM);
    for (uint32_t i = 0; i < count; i++) {
        hf_columns_add(&w->columns, &rec[i]);
    }
    hf_writer_init(&raw, w->raw, sizeof(w->raw));
    hf_columns_finish(&w->columns, &raw, w->block);
    assert_false(raw.failed);
    assert_true(raw.len <= hf_columns_bytes(&w->columns));
    return hf_writer_bytes(&raw);
}

static void assert_same(const struct hf_record *a, const struct hf_record *b)
{
    assert_true(hf_slice_eq(a->key, b->key) && hf_slice_eq(a->value, b->value));
    assert_true(a->seq == b->seq && a->ordinal == b->ordinal && a->tombstone == b->tombstone);
    assert_true(a->total == b->total && a->offset == b->offset);
}

static void assert_comes_back(struct world *w, const struct hf_record *rec, uint32_t count)
{
    struct hf_records r;
    struct hf_record got;
    hf_records_open(&r, raw_of(w, rec, count));
    for (uint32_t i = 0; i < count; i++) {
        assert_true(hf_records_next(&r, &got));
        assert_same(&got, &rec[i]);
    }
    assert_false(hf_records_next(&r, &got));
    assert_false(r.failed);
}

/* How many come out before the reader finds fault; -1 when it finds none. */
static int faulty_after(struct hf_slice raw)
{
    struct hf_records r;
    struct hf_record got;
    int n = 0;
    hf_records_open(&r, raw);
    while (hf_records_next(&r, &got)) {
        n++;
    }
    if (r.failed) {
        assert_int_equal(got.key.len, 0);
    }
    return r.failed ? n : -1;
}

static const struct hf_record some[] = {
    {{(const uint8_t *)"a/1", 3}, 812, 9999, false, 12, 2, {(const uint8_t *)"0123456789", 10}},
    {{(const uint8_t *)"a/11", 4}, 812, 0, true, 0, 0, {NULL, 0}},
    {{(const uint8_t *)"a", 1}, 813, 0, false, 0, 0, {NULL, 0}},
    {{(const uint8_t *)"b", 1}, 3, 7, false, 9, 0, {(const uint8_t *)"v", 1}},
};

static void records_come_back_in_order(void **state)
{
    assert_comes_back(*state, some, 4);
}

static void no_records_are_no_bytes(void **state)
{
    struct hf_slice raw = raw_of(*state, NULL, 0);
    assert_int_equal(raw.len, 0);
    assert_int_equal(faulty_after(raw), -1);
}

static void extremes_come_back_within_their_overhead(void **state)
{
    struct world *w = *state;
    struct hf_record rec[2] = {{.key = hf_slice_of(filler, HF_STORE_KEY_MAX),
                                .seq = HF_SEQ_MAX,
                                .ordinal = HF_BATCH_CHANGES_MAX - 1,
                                .total = HF_STORE_VALUE_MAX,
                                .offset = 1,
                                .value = hf_slice_of(filler, 1000)},
                               {.key = hf_slice_str("k"), .seq = 1, .tombstone = true}};
    rec[0].value.len = 60000;
    assert_comes_back(w, rec, 1);
    assert_true(raw_of(w, rec, 1).len <=
                HF_STORE_KEY_MAX + 60000 + HF_RECORD_OVERHEAD + HF_RECORDS_OVERHEAD);
    rec[0].offset =
        0; /* whole, so that another may follow; and from the last seq back to the first */
    rec[0].total = 60000;
    assert_comes_back(w, rec, 2);
    struct hf_record swapped[2] = {rec[1], rec[0]};
    assert_comes_back(w, swapped, 2);
}

static void a_copy_goes_on_by_itself(void **state)
{
    struct hf_records r;
    struct hf_records copy;
    struct hf_record got;
    hf_records_open(&r, raw_of(*state, some, 4));
    assert_true(hf_records_next(&r, &got));
    copy = r;
    for (uint32_t i = 1; i < 4; i++) {
        assert_true(hf_records_next(&r, &got));
    }
    assert_false(hf_records_next(&r, &got));
    assert_true(hf_records_next(&copy, &got));
    assert_same(&got, &some[1]);
}

/* ---- damage ---- */

static void raw_cut_short_or_run_on_is_damage(void **state)
{
    struct world *w = *state;
    struct hf_slice raw = raw_of(w, some, 4);
    for (size_t len = 1; len < raw.len; len++) {
        assert_int_equal(faulty_after(hf_slice_of(raw.data, len)), 0);
    }
    w->raw[raw.len] = 0;
    assert_int_equal(faulty_after(hf_slice_of(raw.data, raw.len + 1)), 0);
}

/* Writes raw by hand: numbers, then columns given as text of single bytes. */
static struct hf_slice made(struct world *w, uint32_t count, uint32_t before, uint32_t behind,
                            const struct hf_slice column[HF_COLUMNS])
{
    struct hf_writer raw;
    hf_writer_init(&raw, w->raw, sizeof(w->raw));
    hf_write_array(&raw, 3 + HF_COLUMNS);
    hf_write_uint(&raw, count);
    hf_write_uint(&raw, before);
    hf_write_uint(&raw, behind);
    for (unsigned i = 0; i < HF_COLUMNS; i++) {
        hf_write_bin(&raw, column[i]);
    }
    assert_false(raw.failed);
    return hf_writer_bytes(&raw);
}

#define BYTES(text) hf_slice_of((text), sizeof(text) - 1)

/* Two sound records, `k` and `kl` at (2, 0) and (2, 1), values `v` and `w`. */
static const struct hf_slice sound[HF_COLUMNS] = {
    {(const uint8_t *)"\x00\x01", 2}, {(const uint8_t *)"\x01\x01", 2},
    {(const uint8_t *)"\x04\x00", 2}, {(const uint8_t *)"\x00\x00", 2},
    {(const uint8_t *)"\x02\x02", 2}, {(const uint8_t *)"kl", 2},
    {(const uint8_t *)"vw", 2},
};

static int with_column(struct world *w, enum hf_column which, struct hf_slice bytes)
{
    struct hf_slice column[HF_COLUMNS];
    memcpy(column, sound, sizeof(column));
    column[which] = bytes;
    return faulty_after(made(w, 2, 0, 0, column));
}

static void each_column_ends_with_the_last_record(void **state)
{
    struct world *w = *state;
    assert_int_equal(faulty_after(made(w, 2, 0, 0, sound)), -1);
    assert_int_equal(faulty_after(made(w, 1, 0, 0, sound)), 0);
    assert_int_equal(faulty_after(made(w, 0, 0, 0, sound)), 0);
    assert_int_equal(faulty_after(made(w, 3, 0, 0, sound)), 0);
    assert_int_equal(faulty_after(made(w, UINT32_MAX, 0, 0, sound)), 0);
    for (unsigned i = 0; i < HF_COLUMNS; i++) {
        uint8_t bytes[3] = {sound[i].data[0], sound[i].data[1], 0};
        assert_int_equal(with_column(w, i, hf_slice_of(bytes, 3)), 1);
        assert_int_equal(with_column(w, i, hf_slice_of(bytes, 1)), i < NUMBERS ? 0 : 1);
        assert_int_equal(with_column(w, i, hf_slice_of(bytes, 0)), 0);
    }
}

static void a_key_says_all_that_it_shares_and_no_more(void **state)
{
    struct world *w = *state;
    assert_int_equal(with_column(w, HF_COLUMN_SHARES, BYTES("\x01\x01")), 0);  /* with what? */
    assert_int_equal(with_column(w, HF_COLUMN_SHARES, BYTES("\x00\x02")), 1);  /* k has one byte */
    assert_int_equal(with_column(w, HF_COLUMN_SHARES, BYTES("\x00\x00")), -1); /* k and l */
    assert_int_equal(with_column(w, HF_COLUMN_KEYS, BYTES("kk")), -1);         /* k and kk */
    struct hf_slice column[HF_COLUMNS];
    memcpy(column, sound, sizeof(column));
    column[HF_COLUMN_SHARES] = BYTES("\x00\x00");
    column[HF_COLUMN_KEYS] = BYTES("kk"); /* twice the same key, which it does not say */
    assert_int_equal(faulty_after(made(w, 2, 0, 0, column)), 1);
    assert_int_equal(with_column(w, HF_COLUMN_RESTS, BYTES("\x00\x01")), 0); /* no key at all */
    assert_int_equal(with_column(w, HF_COLUMN_RESTS, BYTES("\x02\x01")), 1);
}

static void a_key_has_480_bytes_at_most(void **state)
{
    struct world *w = *state;
    struct hf_slice column[HF_COLUMNS];
    memcpy(column, sound, sizeof(column));
    column[HF_COLUMN_RESTS] = BYTES("\xcd\x01\xe0\x00"); /* 480, and the same again */
    column[HF_COLUMN_SHARES] = BYTES("\x00\xcd\x01\xe0");
    column[HF_COLUMN_KEYS] = hf_slice_of(filler, 480);
    assert_int_equal(faulty_after(made(w, 2, 0, 0, column)), -1);
    column[HF_COLUMN_RESTS] = BYTES("\xcd\x01\xe0\x01");
    column[HF_COLUMN_KEYS] = hf_slice_of(filler, 481);
    assert_int_equal(faulty_after(made(w, 2, 0, 0, column)), 1);
    column[HF_COLUMN_RESTS] = BYTES("\xcd\x01\xe1\x00");
    assert_int_equal(faulty_after(made(w, 2, 0, 0, column)), 0);
}

static void positions_stay_in_their_range(void **state)
{
    struct world *w = *state;
    assert_int_equal(with_column(w, HF_COLUMN_SEQS, BYTES("\x00\x02")), 0);      /* seq 0 */
    assert_int_equal(with_column(w, HF_COLUMN_SEQS, BYTES("\x04\x03")), 1);      /* 2 - 2 */
    assert_int_equal(with_column(w, HF_COLUMN_SEQS, BYTES("\x04\x01")), -1);     /* 2 - 1 */
    assert_int_equal(with_column(w, HF_COLUMN_SEQS, BYTES("\x01\x04")), 0);      /* 0 - 1 */
    assert_int_equal(with_column(w, HF_COLUMN_ORDINALS, BYTES("\x00\x01")), -1); /* 1 - 1 */
    assert_int_equal(with_column(w, HF_COLUMN_ORDINALS, BYTES("\x00\x03")), 1);  /* 1 - 2 */
    assert_int_equal(with_column(w, HF_COLUMN_ORDINALS, BYTES("\x01\x00")), 0);  /* 0 - 1 */
    /* 2^63 - 1 = HF_SEQ_MAX is a step of 2^64 - 2; one more would be seq 2^63 */
    assert_int_equal(
        with_column(w, HF_COLUMN_SEQS, BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xfe\x00")), -1);
    assert_int_equal(
        with_column(w, HF_COLUMN_SEQS, BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xfe\x02")), 1);
    assert_int_equal(
        with_column(w, HF_COLUMN_SEQS, BYTES("\x04\xcf\xff\xff\xff\xff\xff\xff\xff\xff")), 1);
    /* 9,999 is the last ordinal */
    assert_int_equal(with_column(w, HF_COLUMN_ORDINALS, BYTES("\xcd\x4e\x1c\x02")), 1);
    assert_int_equal(with_column(w, HF_COLUMN_ORDINALS, BYTES("\xcd\x4e\x1e\x01")), -1);
    assert_int_equal(with_column(w, HF_COLUMN_ORDINALS, BYTES("\xcd\x4e\x20\x01")), 0);
}

static void values_stay_inside_their_total(void **state)
{
    struct world *w = *state;
    struct hf_slice column[HF_COLUMNS];
    assert_int_equal(faulty_after(made(w, 2, HF_STORE_VALUE_MAX - 1, 0, sound)), -1);
    assert_int_equal(faulty_after(made(w, 2, HF_STORE_VALUE_MAX, 0, sound)), 0);
    assert_int_equal(faulty_after(made(w, 2, 0, HF_STORE_VALUE_MAX - 1, sound)), -1);
    assert_int_equal(faulty_after(made(w, 2, 0, HF_STORE_VALUE_MAX, sound)), 1);
    assert_int_equal(faulty_after(made(w, 2, HF_STORE_VALUE_MAX + 1, 0, sound)), 0);
    memcpy(column, sound, sizeof(column));
    column[HF_COLUMN_LENGTHS] = BYTES("\x01\x03"); /* empty, then vw */
    assert_int_equal(faulty_after(made(w, 2, 0, 0, column)), -1);
    assert_int_equal(faulty_after(made(w, 2, 1, 0, column)), 0); /* a piece of nothing */
    column[HF_COLUMN_LENGTHS] = BYTES("\x00\x03");
    assert_int_equal(faulty_after(made(w, 2, 0, 0, column)), -1);
    assert_int_equal(faulty_after(made(w, 2, 1, 0, column)), 0); /* a piece of a tombstone */
    column[HF_COLUMN_LENGTHS] = BYTES("\x03\x00");
    assert_int_equal(faulty_after(made(w, 2, 0, 0, column)), -1);
    assert_int_equal(faulty_after(made(w, 2, 0, 1, column)), 1);
}

static void numbers_have_their_shortest_form(void **state)
{
    struct world *w = *state;
    assert_int_equal(with_column(w, HF_COLUMN_LENGTHS, BYTES("\x02\xcc\x02")), 1);
    assert_int_equal(with_column(w, HF_COLUMN_SHARES, BYTES("\x00\xc0")), 1);
}

/* ---- what they are for ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Keys of 24 digits and values of 100 letters, as the benches have them, in the order of change. */
static void columns_in_blocks_pack_to_little_more_than_the_letters(void **state)
{
    struct world *w = *state;
    static char key[500][25], value[500][100];
    static struct hf_record rec[500];
    for (uint32_t i = 0; i < 500; i++) {
        snprintf(key[i], sizeof(key[i]), "bench:key:%014u", (unsigned)(mix(i + 1) % 20000));
        for (uint32_t j = 0; j < 100; j++) {
            value[i][j] = (char)('a' + mix(1000 + 100 * i + j) % 26);
        }
        rec[i] = (struct hf_record){
            hf_slice_of(key[i], 24),   1000 + i / 9, (i * 11) % 100, false, 100, 0,
            hf_slice_of(value[i], 100)};
    }
    static uint8_t packed[2 * ROOM], back[ROOM];
    ZSTD_CCtx *cctx = ZSTD_createCCtx();
    ZSTD_DCtx *dctx = ZSTD_createDCtx();
    struct hf_slice raw = raw_of(w, rec, 500);
    struct hf_writer scratch;
    enum hf_compression how;
    hf_writer_init(&scratch, packed, sizeof(packed));
    struct hf_slice plain = hf_compress(w->block, HF_RECORDS_BLOCKS, cctx, &scratch, &how);
    assert_int_equal(how, HF_COMPRESSION_ZSTD);
    size_t with_blocks = plain.len;
    struct hf_writer out;
    hf_writer_init(&out, back, sizeof(back));
    assert_int_equal(hf_decompress(plain, raw.len, dctx, &out), HF_OK);
    assert_true(hf_slice_eq(hf_writer_bytes(&out), raw));
    hf_writer_init(&scratch, packed, sizeof(packed));
    size_t in_one = hf_compress(&raw, 1, cctx, &scratch, &how).len;
    /* 26 letters are 58.8 bytes in 100, and 5 digits 2.1; a rest of 3 bytes is for the positions.
     */
    assert_in_range(with_blocks, 500 * 59, 500 * 64);
    assert_true(with_blocks * 100 < in_one * 97);
    ZSTD_freeCCtx(cctx);
    ZSTD_freeDCtx(dctx);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_come_back_in_order),
        TEST(no_records_are_no_bytes),
        TEST(extremes_come_back_within_their_overhead),
        TEST(a_copy_goes_on_by_itself),
        TEST(raw_cut_short_or_run_on_is_damage),
        TEST(each_column_ends_with_the_last_record),
        TEST(a_key_says_all_that_it_shares_and_no_more),
        TEST(a_key_has_480_bytes_at_most),
        TEST(positions_stay_in_their_range),
        TEST(values_stay_inside_their_total),
        TEST(numbers_have_their_shortest_form),
        TEST(columns_in_blocks_pack_to_little_more_than_the_letters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
