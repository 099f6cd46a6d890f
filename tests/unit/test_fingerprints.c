/*
 * test_fingerprints.c - RANGES at the core: what it answers is what its records add up to, covers
 * all that was asked about, and costs no more than it may.
 */
#include "transfer_box.h"

#include "hf/repair.h"

#include <stdio.h>

#define KEYS 300

static void write_keys(struct fixture *f)
{
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%04d", i);
        box_put(f->b, key, "some value");
    }
    box_commit(f->b);
}

static struct hf_request ranges_of(struct fixture *f, const char *from, const char *until,
                                   uint32_t grain)
{
    struct hf_request q = fetch_of(f, HF_WANT_RANGES);
    q.fetch.from = (struct hf_bound){.offset = HF_OFFSET_END, .key = hf_slice_str(from)};
    q.fetch.until = hf_slice_str(until);
    q.fetch.grain = grain;
    return q;
}

/* Asks, and compares each sub-range with a walk of its own. Returns how many there were; the last
 * key goes to `last`. */
static uint32_t ask_and_compare(struct fixture *f, const struct hf_request *q, char last[16])
{
    struct hf_request copy = *q;
    const struct hf_reply *p = peer_ask(f->p, &copy);
    struct hf_slice after = q->fetch.from.key;
    struct hf_slice rest;
    struct hf_subrange s;
    struct hf_view *v;
    uint32_t n = 0;
    assert_int_equal(p->code, HF_OK);
    assert_int_equal(p->fetch.seq, box_status(f->b).committed);
    rest = p->fetch.ranges;
    assert_int_equal(hf_view_open(hf_core_state(f->b->core), &v), HF_OK);
    while (hf_fetch_next_range(&rest, &s)) {
        struct hf_walk w = {.after = after, .until = s.last, .hashed = true};
        assert_int_equal(hf_view_walk(v, &w), HF_OK);
        assert_int_equal(w.live, s.count);
        assert_true(s.count <= q->fetch.grain);
        assert_memory_equal(&w.fingerprint, &s.fingerprint, sizeof(s.fingerprint));
        after = s.last;
        n++;
    }
    hf_view_close(v);
    assert_true(!p->fetch.end || hf_slice_eq(s.last, q->fetch.until));
    snprintf(last, 16, "%.*s", (int)after.len, (const char *)after.data);
    return n;
}

static void ranges_add_up_and_cover_all_of_what_was_asked(void **state)
{
    struct fixture *f = *state;
    struct hf_request q;
    char last[16] = "";
    write_keys(f);
    q = ranges_of(f, "", "", 2048);
    assert_int_equal(ask_and_compare(f, &q, last), 1);
    assert_string_equal(last, "");
    q = ranges_of(f, "", "", 100); /* the third ends with the last key, and is the end */
    assert_int_equal(ask_and_compare(f, &q, last), 3);
    q = ranges_of(f, "k0100", "k0149x", 8);
    assert_int_equal(ask_and_compare(f, &q, last), 7);
    assert_string_equal(last, "k0149x");
    q = ranges_of(f, "x", "y", 8); /* of nothing */
    assert_int_equal(ask_and_compare(f, &q, last), 1);
    assert_string_equal(last, "y");
}

static void a_reply_has_64_sub_ranges_and_the_next_begins_behind_it(void **state)
{
    struct fixture *f = *state;
    struct hf_request q;
    char last[16] = "";
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "m%04d", i);
        box_put(f->b, key, "other");
    }
    write_keys(f);
    q = ranges_of(f, "", "", 8);
    assert_int_equal(ask_and_compare(f, &q, last), 64);
    assert_string_equal(last, "m0211");
    q = ranges_of(f, "m0211", "", 8);
    assert_int_equal(ask_and_compare(f, &q, last), 11);
    assert_string_equal(last, "");
}

static void ranges_of_a_state_that_is_not_there_yet_are_not_given(void **state)
{
    struct fixture *f = *state;
    struct hf_request q;
    write_keys(f);
    q = ranges_of(f, "", "", 64);
    q.fetch.asof_min = box_status(f->b).committed;
    assert_int_equal(peer_ask(f->p, &q)->code, HF_OK);
    q.fetch.asof_min++;
    assert_int_equal(peer_ask(f->p, &q)->code, HF_NOT_YET);
}

static void deleted_keys_are_no_elements(void **state)
{
    struct fixture *f = *state;
    struct hf_request q;
    struct hf_subrange s;
    char last[16] = "";
    write_keys(f);
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%04d", i);
        box_put(f->b, key, NULL);
    }
    box_commit(f->b);
    q = ranges_of(f, "", "", 2048);
    assert_int_equal(ask_and_compare(f, &q, last), 1);
    struct hf_slice rest = peer_ask(f->p, &q)->fetch.ranges;
    assert_true(hf_fetch_next_range(&rest, &s));
    assert_int_equal(s.count, KEYS - 50);
}

static void long_values_end_a_reply_before_its_records_do(void **state)
{
    static char value[1000001];
    struct fixture *f = *state;
    struct hf_request q;
    char last[16] = "";
    memset(value, 'v', sizeof(value) - 1);
    for (int i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%04d", i);
        box_put(f->b, key, value);
    }
    box_commit(f->b);
    q = ranges_of(f, "", "", 30);
    assert_int_equal(ask_and_compare(f, &q, last), 2);
    assert_string_equal(last, "k0033"); /* the first that reaches 32 MiB */
    q = ranges_of(f, last, "", 30);
    assert_int_equal(ask_and_compare(f, &q, last), 1);
    assert_string_equal(last, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(ranges_add_up_and_cover_all_of_what_was_asked),
        T(a_reply_has_64_sub_ranges_and_the_next_begins_behind_it),
        T(ranges_of_a_state_that_is_not_there_yet_are_not_given),
        T(deleted_keys_are_no_elements),
        T(long_values_end_a_reply_before_its_records_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
