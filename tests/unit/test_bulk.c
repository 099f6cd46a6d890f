/*
 * test_bulk.c - KEYS come into full pages, whatever the records are, and none is lost on the way.
 *
 * What a transfer means is in test_stage.c and test_parts.c; these chunks have many pages each.
 */
#include "stage_box.h"

#include <lmdb.h>

#define KEYS 20000u
#define CHUNK_RECORDS 125u

/* ---- the pages of a part ---- */

typedef uint32_t (*sizes)(uint32_t n);

/* 24 of them fit a page. */
static uint32_t alike(uint32_t n)
{
    (void)n;
    return 100;
}

/* 70 of them do. */
static uint32_t empty(uint32_t n)
{
    (void)n;
    return 0;
}

static uint32_t mixed(uint32_t n)
{
    return n * 2654435761u >> 22; /* 0 to 1,023, as if at random */
}

/* Every fourth has pages of its own. */
static uint32_t some_large(uint32_t n)
{
    return n % 4 == 0 ? 2500 : n % 300;
}

static size_t stage_many(struct box *b, uint32_t parts, sizes size)
{
    static char value[2500];
    static char name[HF_STAGE_PARTS_MAX][32];
    struct hf_stage_splits splits = {.count = parts - 1};
    struct hf_position at = hf_state_position(b->edge.s);
    for (uint32_t i = 0; i + 1 < parts; i++) {
        int n = snprintf(name[i], sizeof(name[i]), "bench:key:%014u", KEYS / parts * (i + 1) - 1);
        splits.at[i].key = hf_slice_of(name[i], (size_t)n);
    }
    assert_ok(hf_state_stage_begin(b->edge.s, HF_PLAN_SNAPSHOT, &at, 10, &splits));
    uint32_t step = size == some_large ? CHUNK_RECORDS / 5 : CHUNK_RECORDS;
    for (uint32_t done = 0; done < KEYS / parts; done += step) {
        for (uint32_t part = 0; part < parts; part++) {
            struct hf_stage st = stage_of(b);
            struct hf_chunk c = {.want = HF_WANT_KEYS, .from = st.part[part].cursor, .asof = 10};
            char key[32] = "";
            answer_begin(b->a);
            for (uint32_t i = 0; i < step; i++) {
                uint32_t n = KEYS / parts * part + done + i;
                uint32_t len = size(n);
                snprintf(key, sizeof(key), "bench:key:%014u", n);
                struct hf_record r = {hf_slice_str(key),      1 + n / 5000, n % 5000, false, len, 0,
                                      hf_slice_of(value, len)};
                hf_columns_add(&b->a->columns, &r);
            }
            answer_end(b->a);
            c.to = (struct hf_bound){1, 0, HF_OFFSET_END, hf_slice_str(key)};
            b->a->chunk = c;
            assert_ok(stage_answer(b, part));
        }
    }
    assert_ok(hf_state_commit(b->edge.s));
    hf_state_close(b->edge.s);
    MDB_stat st = table_stat(b->edge.dir, "state.1");
    b->edge.s = open_edge(b->edge.dir);
    assert_int_equal(st.ms_entries, KEYS);
    drop_all(b);
    return st.ms_leaf_pages;
}

static void parts_side_by_side_leave_pages_as_full_as_one_part_does(void **state)
{
    struct box *b = *state;
    assert_in_range(stage_many(b, HF_STAGE_PARTS_MAX, alike), KEYS / 24, KEYS / 24 + 32);
}

static void pages_are_as_full_with_records_of_many_sizes(void **state)
{
    struct box *b = *state;
    sizes kinds[] = {empty, mixed, some_large};
    for (int i = 0; i < 3; i++) {
        size_t one = stage_many(b, 1, kinds[i]);
        size_t many = stage_many(b, HF_STAGE_PARTS_MAX, kinds[i]);
        assert_in_range(many, one - one / 20, one + one / 20 + 32);
    }
}

/* ---- all that a store may have ---- */

#define BATCH 40u

struct many {
    struct hf_change change[BATCH];
    uint8_t key[BATCH][HF_STORE_KEY_MAX];
    uint8_t value[BATCH][3000];
};

/* Mostly short, now and then up to the longest; the first letter says the part. */
static void any_change(struct many *m, uint32_t i, uint64_t *seed)
{
    bool longer = rng_below(seed, 10) == 0;
    size_t key_len = 3 + rng_below(seed, longer ? HF_STORE_KEY_MAX - 2 : 20);
    size_t len = rng_below(seed, longer ? sizeof(m->value[i]) : 120);
    bool gone = rng_below(seed, 12) == 0;
    memset(m->key[i], '.', key_len);
    m->key[i][0] = (uint8_t)('a' + rng_below(seed, 8));
    m->key[i][1] = (uint8_t)rng_below(seed, 256);
    m->key[i][2] = (uint8_t)rng_below(seed, 8);
    memset(m->value[i], (int)rng_below(seed, 256), len);
    m->change[i] = (struct hf_change){gone ? HF_OP_DEL : HF_OP_PUT, hf_slice_of(m->key[i], key_len),
                                      hf_slice_of(m->value[i], gone ? 0 : len)};
}

static void write_any(struct box *b, uint64_t *seed, uint32_t batches)
{
    static struct many m;
    for (uint32_t n = 0; n < batches; n++) {
        for (uint32_t i = 0; i < BATCH; i++) {
            any_change(&m, i, seed);
        }
        core_batch(b->core, m.change, BATCH);
    }
}

static void records_of_any_size_arrive_while_more_are_written(void **state)
{
    struct box *b = *state;
    static const char *const keys[] = {"b", "c", "d", "e", "f", "g", "h"};
    struct hf_stage_splits splits = {.count = 7};
    uint64_t seed = 4711;
    for (uint32_t i = 0; i < splits.count; i++) {
        splits.at[i].key = hf_slice_str(keys[i]);
    }
    for (int round = 0; round < 4; round++) {
        write_any(b, &seed, 60);
        begin_split(b, HF_PLAN_SNAPSHOT, &splits);
        for (struct hf_stage st = stage_of(b); in_keys(&st); st = stage_of(b)) {
            take(b, open_part(&st, &seed), 500 + rng_below(&seed, 40000));
            if (rng_below(&seed, 4) == 0) {
                write_any(b, &seed, 1);
                feed_tail(b, core_head(b)); /* among the records of chunks that come later */
            }
        }
        while (fetch(b, 30000)) {
            ;
        }
        feed_tail(b, core_head(b));
        switch_to(b, core_head(b));
        assert_equal_to_core(b);
        drop_all(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_BOX(parts_side_by_side_leave_pages_as_full_as_one_part_does),
        IN_BOX(pages_are_as_full_with_records_of_many_sizes),
        IN_BOX(records_of_any_size_arrive_while_more_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
