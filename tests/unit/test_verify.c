/*
 * test_verify.c - the full check of a view: each thing that it promises, broken alone.
 *
 * What is broken is written through LMDB itself, so that its pages are sound and nothing else
 * differs. A repair mends what HF_DIGEST stands for; HF_CORRUPT is what it does not touch.
 */
#include "state_fixture.h"

#include "proto/store/state_impl.h"

#include <pthread.h>
#include <sched.h>

#define KEYS 20u

/* One live record for each key but the last, which is a tombstone; an entry in each small table. */
static void fill(struct hf_state *s)
{
    struct hf_answered a = {.seq = 1};
    for (uint32_t i = 0; i < KEYS; i++) {
        char name[32];
        struct hf_change c = {HF_OP_PUT, key_of(name, i), hf_slice_str("a value")};
        write_batch(s, &c, 1);
    }
    char name[32];
    struct hf_change gone = {HF_OP_DEL, key_of(name, KEYS - 1), {NULL, 0}};
    write_batch(s, &gone, 1);
    assert_ok(hf_state_inbox_put(s, 1000, hf_slice_str("a frame")));
    assert_ok(hf_state_object_put(s, hf_slice_str("name"), hf_slice_str("an object")));
    assert_ok(hf_state_request_put(s, hf_slice_str("an id"), &a));
    assert_ok(hf_state_commit(s));
}

/* ---- hands on the tables ---- */

struct hands {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
};

/* The store is closed for as long as they are on it. */
static struct hands hands_on(struct store *b, const char *table)
{
    struct hands h;
    hf_state_close(b->s);
    b->s = NULL;
    assert_int_equal(mdb_env_create(&h.env), 0);
    assert_int_equal(mdb_env_set_maxdbs(h.env, 16), 0);
    assert_int_equal(mdb_env_set_mapsize(h.env, 1u << 30), 0);
    assert_int_equal(mdb_env_open(h.env, b->dir, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(h.env, NULL, 0, &h.txn), 0);
    assert_int_equal(mdb_dbi_open(h.txn, table, 0, &h.dbi), 0);
    return h;
}

static void hands_off(struct store *b, struct hands *h)
{
    assert_int_equal(mdb_txn_commit(h->txn), 0);
    mdb_env_close(h->env);
    b->s = open_store(b->dir);
}

/* Flips a bit in the last byte of the value of the first key, or of the one that is named. */
static void flip(struct store *b, const char *table, const char *name)
{
    struct hands h = hands_on(b, table);
    static uint8_t copy[8192];
    MDB_val k = {name == NULL ? 0 : strlen(name), (void *)(uintptr_t)name};
    MDB_val v;
    MDB_cursor *c;
    assert_int_equal(mdb_cursor_open(h.txn, h.dbi, &c), 0);
    assert_int_equal(mdb_cursor_get(c, &k, &v, name == NULL ? MDB_FIRST : MDB_SET_KEY), 0);
    assert_in_range(v.mv_size, 1, sizeof(copy));
    memcpy(copy, v.mv_data, v.mv_size);
    copy[v.mv_size - 1] ^= 1;
    v.mv_data = copy;
    assert_int_equal(mdb_cursor_put(c, &k, &v, MDB_CURRENT), 0);
    mdb_cursor_close(c);
    hands_off(b, &h);
}

static void del_first(struct store *b, const char *table)
{
    struct hands h = hands_on(b, table);
    MDB_val k;
    MDB_val v;
    MDB_cursor *c;
    assert_int_equal(mdb_cursor_open(h.txn, h.dbi, &c), 0);
    assert_int_equal(mdb_cursor_get(c, &k, &v, MDB_FIRST), 0);
    assert_int_equal(mdb_cursor_del(c, 0), 0);
    mdb_cursor_close(c);
    hands_off(b, &h);
}

static void put(struct store *b, const char *table, struct hf_slice key, struct hf_slice value)
{
    struct hands h = hands_on(b, table);
    MDB_val k = {key.len, (void *)(uintptr_t)key.data};
    MDB_val v = {value.len, (void *)(uintptr_t)value.data};
    assert_int_equal(mdb_put(h.txn, h.dbi, &k, &v, 0), 0);
    hands_off(b, &h);
}

/* A record with its checksum, over the one that the key has. */
static void put_record(struct store *b, const struct hf_stored *r)
{
    uint8_t bytes[HF_RECORD_HEAD + 32];
    assert_true(r->value.len <= 32);
    hf_record_put_head(bytes, r);
    memcpy(bytes + HF_RECORD_HEAD, r->value.data, r->value.len);
    put(b, "state.0", r->key, hf_slice_of(bytes, HF_RECORD_HEAD + r->value.len));
}

/* ---- what the check says ---- */

static void assert_says(struct hf_state *s, enum hf_err code, const char *what)
{
    struct hf_error e = {HF_OK, ""};
    struct hf_view *v;
    assert_ok(hf_view_open(s, &v));
    enum hf_err said = hf_view_verify(v, &e);
    hf_view_close(v);
    assert_int_equal(said, code);
    if (strstr(e.text, what) == NULL) {
        fail_msg("\"%s\" does not say: %s", e.text, what);
    }
}

static void record_with_another_byte_is_for_a_repair(void **state)
{
    struct store *b = *state;
    fill(b->s);
    assert_verified(b->s);
    flip(b, "state.0", NULL);
    assert_says(b->s, HF_DIGEST, "does not match its checksum");
}

/* The checksum is right, and the index has it: only its seq is not of this history. */
static void record_from_the_future_is_for_a_repair(void **state)
{
    struct store *b = *state;
    struct hf_stored r = {.key = hf_slice_str("future"), .value = hf_slice_str("v"), .seq = 999};
    uint8_t point[HF_POINT_BYTES];
    fill(b->s);
    put_record(b, &r);
    hf_point_put(point, (struct hf_point){r.seq, r.ordinal});
    put(b, "byseq.0", hf_slice_of(point, sizeof(point)), r.key);
    assert_says(b->s, HF_DIGEST, "newer than the position");
}

static void record_that_the_index_lacks_is_for_a_repair(void **state)
{
    struct store *b = *state;
    fill(b->s);
    del_first(b, "byseq.0");
    assert_says(b->s, HF_DIGEST, "the index by seq does not have a record");
}

static void entry_of_the_index_without_a_record_is_for_a_repair(void **state)
{
    struct store *b = *state;
    uint8_t point[HF_POINT_BYTES];
    fill(b->s);
    hf_point_put(point, (struct hf_point){1, 7});
    put(b, "byseq.0", hf_slice_of(point, sizeof(point)), hf_slice_str("nobody"));
    assert_says(b->s, HF_DIGEST, "the index has 21 instead of 20");
}

/* With what the index had of it: then only their number tells, before any hash is compared. */
static void record_that_is_gone_is_for_a_repair(void **state)
{
    struct store *b = *state;
    fill(b->s);
    del_first(b, "state.0");
    struct hands h = hands_on(b, "byseq.0");
    MDB_cursor *c;
    MDB_val k;
    MDB_val v;
    char name[32];
    assert_int_equal(mdb_cursor_open(h.txn, h.dbi, &c), 0);
    while (mdb_cursor_get(c, &k, &v, MDB_NEXT) == 0) {
        if (hf_slice_eq(hf_slice_of(v.mv_data, v.mv_size), key_of(name, 0))) {
            assert_int_equal(mdb_cursor_del(c, 0), 0);
        }
    }
    mdb_cursor_close(c);
    hands_off(b, &h);
    assert_says(b->s, HF_DIGEST, "19 records, 18 of them live; the index has 19 instead of 19");
}

/* Its checksum is right, and so are all numbers: the sum alone shows it. */
static void record_with_another_value_is_for_a_repair(void **state)
{
    struct store *b = *state;
    char name[32];
    struct hf_stored r;
    fill(b->s);
    struct hf_slice key = key_of(name, 3);
    struct hf_view *v;
    assert_ok(hf_view_open(b->s, &v));
    assert_ok(hf_view_get(v, key, false, &r));
    r = (struct hf_stored){key, hf_slice_str("b value"), r.seq, r.ordinal, false};
    hf_view_close(v);
    put_record(b, &r);
    assert_says(b->s, HF_DIGEST, "the digest of the records is not that of seq 21");
}

static void sum_that_is_kept_wrong_is_for_a_repair(void **state)
{
    struct store *b = *state;
    fill(b->s);
    struct hands h = hands_on(b, "meta");
    MDB_val k = {5, (void *)(uintptr_t) "lanes"};
    MDB_val v;
    static uint8_t copy[HF_META_LANES];
    struct hf_lthash lanes;
    assert_int_equal(mdb_get(h.txn, h.dbi, &k, &v), 0);
    assert_int_equal(v.mv_size, sizeof(copy));
    hf_lthash_clear(&lanes);
    hf_lanes_encode(&lanes, 21, copy);
    v.mv_data = copy;
    assert_int_equal(mdb_put(h.txn, h.dbi, &k, &v, 0), 0);
    hands_off(b, &h);
    assert_says(b->s, HF_DIGEST, "the sum kept of the records is not theirs");
}

static void no_small_table_is_left_out_and_none_is_for_a_repair(void **state)
{
    static const char *const table[] = {"chain", "inbox", "object", "request"};
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct store *b = NULL;
        assert_int_equal(store_setup((void **)&b), 0);
        fill(b->s);
        flip(b, table[i], NULL);
        assert_says(b->s, HF_CORRUPT, "an entry of a small table");
        flip(b, "state.0", NULL); /* what a repair would mend does not hide what it would not */
        assert_says(b->s, HF_CORRUPT, "an entry of a small table");
        store_teardown((void **)&b);
    }
}

static void *grow(void *arg)
{
    return hf_state_grow(arg) == HF_OK ? arg : NULL;
}

/* So many batches, each of which has an entry in the table of chain hashes, of `keys` keys. */
static void many_batches(struct hf_state *s, uint32_t keys)
{
    for (uint32_t i = 0; i < 1100; i++) {
        char name[32];
        struct hf_change c = {HF_OP_PUT, key_of(name, i % keys), hf_slice_str("a value")};
        write_batch(s, &c, 1);
    }
    assert_ok(hf_state_commit(s));
}

/* What a check says that has a view when the store is about to grow. */
static enum hf_err checked_while_it_grows(struct hf_state *s)
{
    struct hf_error e;
    struct hf_view *v;
    pthread_t writer;
    void *good;
    assert_ok(hf_view_open(s, &v));
    assert_int_equal(pthread_create(&writer, NULL, grow, s), 0);
    while (!hf_gate_closing(&s->gate)) {
        sched_yield();
    }
    enum hf_err said = hf_view_verify(v, &e);
    hf_view_close(v);
    assert_int_equal(pthread_join(writer, &good), 0);
    assert_non_null(good);
    return said;
}

/* Who waits for the store to grow keeps every reader waiting. */
static void check_gives_way_to_a_store_that_grows(void **state)
{
    struct store *b = *state;
    many_batches(b->s, 1100);
    assert_verified(b->s);
    assert_int_equal(checked_while_it_grows(b->s), HF_BUSY);
    assert_verified(b->s);
}

static void check_gives_way_among_small_entries_and_damage_that_it_saw_counts(void **state)
{
    struct store *b = *state;
    many_batches(b->s, 1);
    assert_int_equal(checked_while_it_grows(b->s), HF_BUSY);
    flip(b, "state.0", NULL);
    assert_int_equal(checked_while_it_grows(b->s), HF_DIGEST);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(check_gives_way_to_a_store_that_grows),
        T(check_gives_way_among_small_entries_and_damage_that_it_saw_counts),
        T(record_with_another_byte_is_for_a_repair),
        T(record_from_the_future_is_for_a_repair),
        T(record_that_the_index_lacks_is_for_a_repair),
        T(entry_of_the_index_without_a_record_is_for_a_repair),
        T(record_that_is_gone_is_for_a_repair),
        T(record_with_another_value_is_for_a_repair),
        T(sum_that_is_kept_wrong_is_for_a_repair),
        cmocka_unit_test(no_small_table_is_left_out_and_none_is_for_a_repair),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
