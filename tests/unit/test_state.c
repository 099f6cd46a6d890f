/*
 * test_state.c - the keyed state: transactions, positions, and the digest against a model.
 *
 * Each test makes its own store under /tmp and removes it. Read test_env.c for what a disk and
 * other processes can do to it, test_tables.c for the small tables, test_stage.c for transfers.
 */
#include "state_fixture.h"

/* ---- transactions ---- */

static void new_store_is_empty_at_genesis_with_the_digest_of_nothing(void **state)
{
    struct store *b = *state;
    struct hf_lthash nothing;
    struct hf_view *v;
    struct hf_applied a;
    struct hf_stored r;
    struct hf_hash chain;
    hf_lthash_clear(&nothing);
    struct hf_hash digest = hf_lthash_digest(&nothing);
    assert_ok(hf_view_open(b->s, &v));
    hf_view_applied(v, &a);
    assert_int_equal(a.at.seq, 0);
    assert_int_equal(a.header.len, 0);
    assert_int_equal(a.live_count, 0);
    assert_true(hf_id_eq(&a.at.epoch_id, &test_epoch));
    assert_true(hf_hash_eq(&a.at.digest, &digest));
    assert_ok(hf_view_chain(v, 0, &chain));
    assert_true(hf_hash_eq(&chain, &test_genesis));
    assert_int_equal(next_live(v, hf_slice_of(NULL, 0), &r), HF_NOTFOUND);
    assert_int_equal(hf_view_next_change(v, 0, 0, &r), HF_NOTFOUND);
    hf_view_close(v);
    write_one(b->s, "a", "1");
    struct hf_position again = {.epoch_id = test_epoch};
    assert_int_equal(hf_state_genesis(b->s, &again), HF_ARG);
}

static void batch_position_and_digest_become_visible_together(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    struct hf_applied a;
    struct hf_stored r;
    struct hf_hash chain;
    assert_ok(hf_view_open(b->s, &v));
    write_one(b->s, "a", "1");
    assert_ok(hf_state_get(b->s, hf_slice_str("a"), false, &r));
    assert_true(hf_slice_eq(r.value, hf_slice_str("1")));
    assert_int_equal(shown_seq(b->s), 0);
    assert_ok(hf_state_commit(b->s));

    assert_int_equal(hf_view_get(v, hf_slice_str("a"), false, &r), HF_NOTFOUND);
    assert_ok(hf_view_renew(v));
    assert_ok(hf_view_get(v, hf_slice_str("a"), false, &r));
    assert_int_equal(r.seq, 1);
    hf_view_applied(v, &a);
    assert_int_equal(a.at.seq, 1);
    assert_int_equal(a.live_count, 1);
    assert_true(a.header.len > 0);
    assert_int_equal(a.signature.b[0], 0x51);
    struct hf_hash expected = hf_chain_hash(a.header);
    assert_ok(hf_view_chain(v, 1, &chain));
    assert_true(hf_hash_eq(&chain, &expected) && hf_hash_eq(&a.at.chain, &expected));
    struct hf_hash digest = hf_state_digest(b->s);
    assert_true(hf_hash_eq(&a.at.digest, &digest));
    hf_view_close(v);
    assert_verified(b->s);
}

static void abort_and_crash_both_show_the_state_of_the_last_commit(void **state)
{
    struct store *b = *state;
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    struct hf_hash before = hf_state_digest(b->s);

    write_one(b->s, "a", "2");
    write_one(b->s, "b", "3");
    hf_state_abort(b->s);
    struct hf_hash after = hf_state_digest(b->s);
    assert_true(hf_hash_eq(&before, &after));
    assert_int_equal(hf_state_position(b->s).seq, 1);
    assert_shows(b->s, "a", "1");
    assert_shows(b->s, "b", NULL);

    write_one(b->s, "a", "4");
    store_reopen(b); /* closing aborts, as a crash does */
    after = hf_state_digest(b->s);
    assert_true(hf_hash_eq(&before, &after));
    assert_int_equal(hf_state_position(b->s).seq, 1);
    assert_shows(b->s, "a", "1");
    write_one(b->s, "a", "5");
    assert_ok(hf_state_commit(b->s));
    assert_shows(b->s, "a", "5");
    assert_verified(b->s);
}

static void change_that_changes_nothing_is_elided(void **state)
{
    struct store *b = *state;
    struct hf_change same = put_of("a", "1");
    struct hf_change gone = del_of("never");
    bool changed = true;
    write_one(b->s, "a", "1");
    struct hf_hash before = hf_state_digest(b->s);
    assert_ok(hf_state_upsert(b->s, 2, 0, &same, &changed));
    assert_false(changed);
    assert_ok(hf_state_upsert(b->s, 2, 0, &gone, &changed));
    assert_false(changed);
    struct hf_hash after = hf_state_digest(b->s);
    assert_true(hf_hash_eq(&before, &after));
    assert_ok(hf_state_commit(b->s)); /* nothing of batch 2 is in, so this is no half */
    write_one(b->s, "a", NULL);
    gone = del_of("a");
    assert_ok(hf_state_upsert(b->s, 3, 0, &gone, &changed));
    assert_false(changed);
    struct hf_change empty = put_of("a", "");
    assert_ok(hf_state_upsert(b->s, 3, 0, &empty, &changed));
    assert_true(changed);
    advance(b->s);
    assert_ok(hf_state_commit(b->s));
    assert_shows(b->s, "a", "");
    assert_verified(b->s);
}

static void edge_writes_a_tombstone_even_for_an_absent_key(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    struct hf_stored r;
    struct hf_change gone = del_of("never");
    assert_ok(hf_state_apply(b->s, 1, 7, &gone));
    advance(b->s);
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    assert_int_equal(hf_view_get(v, hf_slice_str("never"), false, &r), HF_NOTFOUND);
    assert_ok(hf_view_get(v, hf_slice_str("never"), true, &r));
    assert_true(r.tombstone && r.seq == 1 && r.ordinal == 7);
    hf_view_close(v);
    assert_verified(b->s);
}

static void half_a_batch_is_not_committed(void **state)
{
    struct store *b = *state;
    struct hf_change c = put_of("a", "1");
    bool changed;
    assert_ok(hf_state_upsert(b->s, 1, 0, &c, &changed));
    assert_int_equal(hf_state_commit(b->s), HF_ARG);
    hf_state_abort(b->s);
    assert_shows(b->s, "a", NULL);
}

static void only_the_next_seq_of_this_epoch_is_taken(void **state)
{
    struct store *b = *state;
    struct hf_change c = put_of("a", "1");
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_signature sig = {{0}};
    struct hf_header h;
    bool changed;
    assert_int_equal(hf_state_upsert(b->s, 2, 0, &c, &changed), HF_ARG);
    assert_int_equal(hf_state_apply(b->s, 0, 0, &c), HF_ARG);
    struct hf_slice header = header_for(b->s, &h, bytes);
    h.seq = 2;
    assert_int_equal(hf_state_advance(b->s, &h, header, &sig), HF_ARG);
    h.seq = 1;
    h.epoch_id.b[0] ^= 1;
    assert_int_equal(hf_state_advance(b->s, &h, header, &sig), HF_UNKNOWN_EPOCH);
    char big[HF_STORE_KEY_MAX + 1] = {'x'};
    c.key = hf_slice_of(big, sizeof(big));
    assert_int_equal(hf_state_upsert(b->s, 1, 0, &c, &changed), HF_TOO_BIG);
    c.key.len = 0;
    assert_int_equal(hf_state_upsert(b->s, 1, 0, &c, &changed), HF_ARG);
}

static void batch_with_another_digest_is_refused_and_leaves_no_trace(void **state)
{
    struct store *b = *state;
    struct core *c = core_new();
    core_put(c, "a", "1");
    core_put(c, "a", "2");
    struct hf_body body = core_body(c, 1);
    assert_ok(hf_state_apply_batch(b->s, &c->frame[1].f, &body));
    assert_ok(hf_state_commit(b->s));

    struct hf_frame wrong = c->frame[2].f;
    wrong.h.digest.b[5] ^= 1;
    body = core_body(c, 2);
    assert_int_equal(hf_state_apply_batch(b->s, &wrong, &body), HF_DIGEST);
    assert_int_equal(hf_state_commit(b->s), HF_DIGEST); /* sticky */
    hf_state_abort(b->s);
    assert_shows(b->s, "a", "1");
    body = core_body(c, 2);
    assert_ok(hf_state_apply_batch(b->s, &c->frame[2].f, &body));
    assert_ok(hf_state_commit(b->s));
    assert_same_contents(c->s, b->s);
    body = core_body(c, 2);
    assert_int_equal(hf_state_apply_batch(b->s, &c->frame[2].f, &body), HF_ARG);
    core_free(c);
}

/* ---- against a model ---- */

#define MODEL_KEYS 150u

struct model_key {
    bool live;
    hf_seq seq; /* 0 = never seen */
    uint32_t ordinal;
    size_t len;
    uint8_t value[5000];
};

struct model {
    struct model_key key[MODEL_KEYS];
    hf_seq seq;
};

static struct hf_hash model_digest(const struct model *m, uint64_t *live)
{
    struct hf_lthash sum;
    char name[32];
    *live = 0;
    hf_lthash_clear(&sum);
    for (uint32_t i = 0; i < MODEL_KEYS; i++) {
        const struct model_key *k = &m->key[i];
        if (!k->live) {
            continue;
        }
        struct hf_hash e = hf_element_hash(key_of(name, i), k->seq, hf_slice_of(k->value, k->len));
        hf_lthash_add(&sum, &e);
        (*live)++;
    }
    return hf_lthash_digest(&sum);
}

static void model_batch(struct model *m, struct hf_state *s, uint64_t *seed)
{
    bool core = rng_below(seed, 2) == 0;
    uint32_t ordinal = 0;
    char name[32];
    m->seq++;
    for (uint32_t n = rng_below(seed, 12); n > 0; n--) {
        uint32_t i = rng_below(seed, MODEL_KEYS);
        struct model_key *k = &m->key[i];
        bool del = rng_below(seed, 3) == 0;
        struct model_key next = {!del, m->seq, ordinal, 0, {0}};
        if (!del) {
            next.len = rng_below(seed, rng_below(seed, 12) == 0 ? sizeof(next.value) : 4);
        }
        for (size_t at = 0; at < next.len; at++) {
            next.value[at] = (uint8_t)rng_below(seed, 2);
        }
        struct hf_change c = {del ? HF_OP_DEL : HF_OP_PUT, key_of(name, i),
                              hf_slice_of(next.value, next.len)};
        bool changed = true;
        bool same = core && k->live == next.live &&
                    (del || (k->len == next.len && memcmp(k->value, next.value, k->len) == 0));
        if (core) {
            assert_ok(hf_state_upsert(s, m->seq, ordinal, &c, &changed));
        } else {
            assert_ok(hf_state_apply(s, m->seq, ordinal, &c));
        }
        assert_int_equal(changed, !same);
        if (changed) {
            *k = next;
            ordinal++;
        }
    }
    advance(s);
}

static void assert_model(const struct model *m, struct hf_state *s)
{
    struct hf_view *v;
    struct hf_stored r;
    struct hf_applied a;
    uint64_t live;
    char name[32];
    uint32_t seen = 0;
    uint32_t known = 0;
    struct hf_hash digest = model_digest(m, &live);
    assert_ok(hf_view_open(s, &v));
    hf_view_applied(v, &a);
    assert_int_equal(a.at.seq, m->seq);
    assert_int_equal(a.live_count, live);
    assert_true(hf_hash_eq(&a.at.digest, &digest));
    for (uint32_t i = 0; i < MODEL_KEYS; i++) {
        const struct model_key *k = &m->key[i];
        enum hf_err e = hf_view_get(v, key_of(name, i), true, &r);
        assert_int_equal(e, k->seq != 0 ? HF_OK : HF_NOTFOUND);
        known += k->seq != 0;
        if (e != HF_OK) {
            continue;
        }
        assert_true(r.seq == k->seq && r.ordinal == k->ordinal && r.tombstone == !k->live);
        assert_true(hf_slice_eq(r.value, hf_slice_of(k->value, k->live ? k->len : 0)));
    }
    hf_seq seq = 0;
    uint32_t ordinal = 0;
    while (hf_view_next_change(v, seq, ordinal, &r) == HF_OK) {
        assert_true(r.seq > seq || (r.seq == seq && (r.ordinal > ordinal || seen == 0)));
        seq = r.seq;
        ordinal = r.ordinal;
        seen++;
    }
    assert_int_equal(seen, known); /* each key once */
    r.key = hf_slice_of(NULL, 0);
    while (next_live(v, r.key, &r) == HF_OK) {
        live--;
    }
    assert_int_equal(live, 0);
    hf_view_close(v);
    assert_verified(s);
}

static void random_batches_commits_aborts_and_restarts_match_the_model(void **state)
{
    struct store *b = *state;
    struct model *m = calloc(1, sizeof(*m));
    struct model *committed = calloc(1, sizeof(*m));
    uint64_t seed = 20240607;
    for (int round = 0; round < 120; round++) {
        for (uint32_t n = 1 + rng_below(&seed, 6); n > 0; n--) {
            model_batch(m, b->s, &seed);
        }
        if (rng_below(&seed, 4) == 0) {
            hf_state_abort(b->s);
            *m = *committed;
        } else {
            assert_ok(hf_state_commit(b->s));
            *committed = *m;
        }
        if (rng_below(&seed, 10) == 0) {
            store_reopen(b);
        }
        if (round % 8 == 0) {
            assert_model(m, b->s);
        }
    }
    assert_model(m, b->s);
    free(m);
    free(committed);
}

static void key_changed_many_times_stands_once_in_the_order_of_changes(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    struct hf_stored r;
    char value[16];
    write_one(b->s, "other", "x");
    for (int i = 0; i < 50; i++) {
        snprintf(value, sizeof(value), "%d", i);
        write_one(b->s, "hot", value);
        if (i == 20) {
            assert_ok(hf_state_commit(b->s));
        }
    }
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    assert_ok(hf_view_next_change(v, 0, 0, &r));
    assert_int_equal(r.seq, 1);
    assert_ok(hf_view_next_change(v, r.seq, r.ordinal, &r));
    assert_int_equal(r.seq, 51);
    assert_true(hf_slice_eq(r.value, hf_slice_str("49")));
    assert_int_equal(hf_view_next_change(v, r.seq, r.ordinal, &r), HF_NOTFOUND);
    hf_view_close(v);
}

static void scan_goes_on_in_the_state_that_a_renew_brings(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    struct hf_stored r;
    write_one(b->s, "a", "1");
    write_one(b->s, "c", "1");
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    assert_ok(next_live(v, hf_slice_of(NULL, 0), &r));
    assert_true(hf_slice_eq(r.key, hf_slice_str("a")));
    for (int i = 0; i < 10; i++) { /* often enough that the pages seen before are used again */
        write_one(b->s, "b", "here");
        assert_ok(hf_state_commit(b->s));
        assert_ok(hf_view_renew(v));
        assert_ok(next_live(v, hf_slice_str("a"), &r));
        assert_true(hf_slice_eq(r.key, hf_slice_str("b")));
        assert_ok(next_live(v, hf_slice_of(NULL, 0), &r));
        write_one(b->s, "b", NULL);
        assert_ok(hf_state_commit(b->s));
        assert_ok(hf_view_renew(v));
        assert_ok(next_live(v, hf_slice_str("a"), &r));
        assert_true(hf_slice_eq(r.key, hf_slice_str("c")));
        assert_ok(next_live(v, hf_slice_of(NULL, 0), &r));
    }
    hf_view_close(v);
}

static void verify_tells_a_wrong_digest_from_damage(void **state)
{
    struct store *b = *state;
    struct hf_error e = {HF_OK, ""};
    struct hf_signature sig = {{0}};
    struct hf_header h;
    struct hf_view *v;
    uint8_t bytes[HF_HEADER_MAX];
    write_one(b->s, "a", "1");
    struct hf_slice header = header_for(b->s, &h, bytes);
    h.digest.b[0] ^= 1;
    assert_ok(hf_state_advance(b->s, &h, header, &sig));
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    assert_int_equal(hf_view_verify(v, &e), HF_DIGEST);
    assert_non_null(strstr(e.text, "seq 2"));
    hf_view_close(v);
}

/* More distinct keys in one transaction than the moves hold: the early flush must lose nothing. */
static void very_large_transaction_flushes_its_index_early(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    struct hf_applied a;
    char name[32];
    bool changed;
    for (uint32_t i = 0; i < 201000; i++) {
        struct hf_change c = {HF_OP_PUT, key_of(name, i % 200700), hf_slice_of(&i, sizeof(i))};
        assert_ok(hf_state_upsert(b->s, 1, i, &c, &changed));
    }
    advance(b->s);
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    hf_view_applied(v, &a);
    assert_int_equal(a.live_count, 200700);
    hf_view_close(v);
    assert_verified(b->s);
}

#define IN_STORE(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_STORE(new_store_is_empty_at_genesis_with_the_digest_of_nothing),
        IN_STORE(batch_position_and_digest_become_visible_together),
        IN_STORE(abort_and_crash_both_show_the_state_of_the_last_commit),
        IN_STORE(change_that_changes_nothing_is_elided),
        IN_STORE(edge_writes_a_tombstone_even_for_an_absent_key),
        IN_STORE(half_a_batch_is_not_committed),
        IN_STORE(only_the_next_seq_of_this_epoch_is_taken),
        IN_STORE(batch_with_another_digest_is_refused_and_leaves_no_trace),
        IN_STORE(random_batches_commits_aborts_and_restarts_match_the_model),
        IN_STORE(key_changed_many_times_stands_once_in_the_order_of_changes),
        IN_STORE(scan_goes_on_in_the_state_that_a_renew_brings),
        IN_STORE(verify_tells_a_wrong_digest_from_damage),
        IN_STORE(very_large_transaction_flushes_its_index_early),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
