/*
 * test_core.c - a whole core over a test world: writes, groups, request ids, conditions.
 *
 * What survives a restart, and what is refused after one, is in test_core_recovery.c; edges and
 * their requests are in test_service.c, FETCH and PLAN in test_transfer.c.
 */
#include "core_box.h"

/* ---- writes ---- */

static void a_write_is_answered_with_its_seq_and_becomes_visible(void **state)
{
    struct box *b = *state;
    struct hf_write_result r = box_put(b, "k", "v");
    assert_int_equal(r.code, HF_OK);
    assert_int_equal(r.seq, 1);
    box_commit(b);
    assert_string_equal(box_get(b, "k"), "v");
    assert_int_equal(box_status(b).live_count, 1);
}

static void writes_that_wait_together_are_one_batch(void **state)
{
    struct box *b = *state;
    struct box_write w[3] = {{.done = false}};
    box_send(b, box_add(&w[0], "a", "1"));
    box_send(b, box_add(&w[1], "b", "2"));
    box_send(b, box_add(&w[2], "a", "3"));
    hf_core_flush(b->core);
    box_work(b);
    assert_int_equal(box_status(b).head, 1);
    assert_int_equal(b->published_count, 1);
    assert_int_equal(box_frame(b, 0).h.change_count, 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(w[i].result.seq, 1);
    }
    box_commit(b);
    assert_string_equal(box_get(b, "a"), "3");
}

static void nothing_is_answered_or_published_before_the_sync(void **state)
{
    struct box *b = *state;
    struct box_write w = {.done = false};
    box_send(b, box_add(&w, "k", "v"));
    hf_core_flush(b->core);
    assert_false(w.done);
    assert_int_equal(b->published_count, 0);
    struct hf_job *j = b->job_first;
    j->work(j);
    assert_false(w.done);
    assert_int_equal(b->published_count, 0);
    b->job_first = NULL;
    b->job_end = &b->job_first;
    j->done(j);
    assert_true(w.done);
    assert_int_equal(b->published_count, 1);
}

static void a_group_that_waits_joins_what_came_in_the_meantime(void **state)
{
    struct box *b = *state;
    struct box_write w[4] = {{.done = false}};
    box_send(b, box_add(&w[0], "a", "1"));
    hf_core_flush(b->core);
    for (int i = 1; i < 4; i++) {
        box_send(b, box_add(&w[i], i == 1 ? "b" : "c", i == 3 ? "3" : "2"));
        hf_core_flush(b->core);
    }
    box_work(b);
    assert_int_equal(w[0].result.seq, 1);
    assert_int_equal(w[1].result.seq, 2);
    assert_int_equal(w[3].result.seq, 2);
    assert_int_equal(box_counter(b, "groups"), 2);
}

static void writing_what_is_there_spends_no_seq(void **state)
{
    struct box *b = *state;
    box_put(b, "k", "v");
    struct hf_write_result r = box_put(b, "k", "v");
    assert_int_equal(r.code, HF_OK);
    assert_int_equal(r.seq, 1);
    r = box_put(b, "absent", NULL);
    assert_int_equal(r.seq, 1);
    assert_int_equal(r.deleted, 0);
    assert_int_equal(box_status(b).head, 1);
    assert_int_equal(b->published_count, 1);
}

static void deletes_count_the_live_keys_they_found(void **state)
{
    struct box *b = *state;
    struct box_write w[3] = {{.done = false}};
    box_put(b, "a", "1");
    box_add(box_add(&w[0], "a", NULL), "b", NULL);
    box_add(box_add(&w[1], "a", NULL), "c", "1");
    box_add(&w[2], "c", NULL);
    for (int i = 0; i < 3; i++) {
        box_send(b, &w[i]);
    }
    hf_core_flush(b->core);
    box_work(b);
    assert_int_equal(w[0].result.deleted, 1);
    assert_int_equal(w[1].result.deleted, 0);
    assert_int_equal(w[2].result.deleted, 1);
    assert_int_equal(box_status(b).head, 2);
    assert_int_equal(box_frame(b, 1).h.change_count, 1);
}

static void the_changes_of_one_write_are_in_one_batch(void **state)
{
    struct box *b = *state;
    struct box_write big = {.done = false};
    struct box_write after = {.done = false};
    static char value[40000];
    memset(value, 'x', sizeof(value) - 1);
    box_add(box_add(box_add(&big, "a", value), "b", value), "c", value);
    box_send(b, box_add(&after, "d", "1"));
    box_send(b, &big);
    hf_core_flush(b->core);
    box_work(b);
    assert_int_equal(after.result.seq, 1);
    assert_int_equal(big.result.seq, 2);
    assert_int_equal(box_frame(b, 1).h.change_count, 3);
    assert_true(box_frame(b, 1).h.raw_bytes > HF_BATCH_CUT);
}

static void groups_are_cut_into_batches_by_size(void **state)
{
    struct box *b = *state;
    struct box_write w[8] = {{.done = false}};
    static char value[8][20000];
    static const char *const key[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (int i = 0; i < 8; i++) {
        memset(value[i], 'a' + i, sizeof(value[i]) - 1);
        box_send(b, box_add(&w[i], key[i], value[i]));
    }
    hf_core_flush(b->core);
    box_work(b);
    assert_int_equal(box_counter(b, "groups"), 1);
    assert_int_equal(box_status(b).head, 4);
    assert_int_equal(w[0].result.seq, 1);
    assert_int_equal(w[7].result.seq, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(box_frame(b, i).h.raw_bytes <= HF_BATCH_CUT);
    }
}

/* Only the last value of a key is in its batch, so the ones before take no room in it. */
static void values_that_replace_each_other_in_a_group_are_one_batch(void **state)
{
    struct box *b = *state;
    struct box_write w[16] = {{.done = false}};
    static char value[16][20000];
    for (int i = 0; i < 16; i++) {
        memset(value[i], 'a' + i, sizeof(value[i]) - 1);
        box_send(b, box_add(&w[i], "k", value[i]));
    }
    hf_core_flush(b->core);
    box_work(b);
    assert_int_equal(box_status(b).head, 1);
    assert_int_equal(box_frame(b, 0).h.change_count, 1);
    assert_int_equal(w[15].result.seq, 1);
}

static void a_batch_of_four_mebibytes_is_published_as_its_header_alone(void **state)
{
    struct box *b = *state;
    struct box_write w = {.done = false};
    static const char *const key[] = {"a", "b", "c", "d"};
    size_t len = 1000 * 1000;
    uint8_t *value = malloc(4 * len);
    box_random(b, value, 4 * len);
    for (int i = 0; i < 4; i++) {
        box_add(&w, key[i], "");
        w.change[i].value = hf_slice_of(value + (size_t)i * len, len);
    }
    struct hf_write_result r = box_apply(b, &w);
    assert_int_equal(r.code, HF_OK);
    assert_int_equal(b->published_count, 1);
    assert_null(box_frame(b, 0).body.data);
    assert_true(box_frame(b, 0).h.body_bytes > 4 * len);
    struct hf_hash digest = box_status(b).digest;
    box_crash(b);
    box_open(b);
    assert_int_equal(box_status(b).head, 1);
    assert_memory_equal(box_status(b).digest.b, digest.b, HF_HASH_BYTES);
    free(value);
}

static void batches_are_compressed_again_soon_after_some_that_did_not_gain(void **state)
{
    struct box *b = *state;
    static char text[2000];
    memset(text, 'x', sizeof(text) - 1);
    for (int i = 0; i < 40; i++) { /* so many that the pauses would be longer, had they no bound */
        box_put_bytes(b, "k", 2000);
        assert_int_equal(box_frame(b, (uint32_t)i).h.compression, HF_COMPRESSION_NONE);
    }
    int tries = 0;
    do {
        text[0] = (char)('a' + tries);
        box_put(b, "k", text);
        tries++;
    } while (box_frame(b, b->published_count - 1).h.compression == HF_COMPRESSION_NONE);
    assert_in_range(tries, 1, 16);
    text[1] = 'y';
    box_put(b, "k", text);
    assert_int_equal(box_frame(b, b->published_count - 1).h.compression, HF_COMPRESSION_ZSTD);
}

static void what_is_over_the_limits_is_refused_at_once(void **state)
{
    struct box *b = *state;
    static char key[HF_STORE_KEY_MAX + 2];
    memset(key, 'k', sizeof(key) - 1);
    assert_int_equal(box_put(b, key, "v").code, HF_TOO_BIG);
    assert_int_equal(box_put(b, "", "v").code, HF_ARG);
    assert_int_equal(box_put_bytes(b, "k", HF_STORE_VALUE_MAX + 1).code, HF_TOO_BIG);
    assert_int_equal(box_put_bytes(b, "k", HF_STORE_VALUE_MAX).code, HF_OK);
    struct box_write none = {.done = false};
    assert_int_equal(box_apply(b, &none).code, HF_ARG);
    assert_int_equal(box_status(b).head, 1);
}

static void more_waiting_writes_than_the_bound_are_refused_as_busy(void **state)
{
    struct box *b = *state;
    struct box_write w[3] = {{.done = false}};
    box_close(b);
    b->cfg.waiting_bytes_max = 1500;
    box_open(b);
    static char value[600];
    memset(value, 'x', sizeof(value) - 1);
    for (int i = 0; i < 3; i++) {
        box_send(b, box_add(&w[i], "k", value));
    }
    assert_true(w[2].done);
    assert_int_equal(w[2].result.code, HF_BUSY);
    hf_core_flush(b->core);
    box_work(b);
    assert_int_equal(w[0].result.code, HF_OK);
    assert_int_equal(box_put(b, "k", "v").code, HF_OK);
    /* A small write counts with what its owner keeps for it. */
    struct box_write small[3] = {
        {.w.memory_bytes = 600}, {.w.memory_bytes = 600}, {.w.memory_bytes = 600}};
    for (int i = 0; i < 3; i++) {
        box_send(b, box_add(&small[i], "k", "s"));
    }
    assert_int_equal(small[2].result.code, HF_BUSY);
    hf_core_flush(b->core);
    box_work(b);
    assert_int_equal(small[0].result.code, HF_OK);
    assert_int_equal(b->core->waiting_bytes, 0);
}

/* Writes again from its own answer, as a pipelining client does. */
struct chain {
    struct hf_write w;
    struct hf_change change;
    struct box *b;
    int left;
};

static void chain_done(struct hf_write *w, const struct hf_write_result *r)
{
    struct chain *c = (struct chain *)w;
    assert_int_equal(r->code, HF_OK);
    assert_int_equal(c->b->published_count, r->seq - 1); /* its own frame comes after its answer */
    if (c->left-- > 0) {
        c->change.value = hf_slice_of(&"0123456789"[c->left], 1);
        hf_core_write(c->b->core, &c->w);
        hf_core_flush(c->b->core);
    }
}

static void an_answer_may_write_again(void **state)
{
    struct box *b = *state;
    struct chain c = {.b = b, .left = 5};
    c.change = (struct hf_change){
        .op = HF_OP_PUT, .key = hf_slice_str("k"), .value = hf_slice_str("first")};
    c.w = (struct hf_write){.change = &c.change, .change_count = 1, .done = chain_done};
    hf_core_write(b->core, &c.w);
    hf_core_flush(b->core);
    box_work(b);
    assert_int_equal(box_status(b).head, 6);
    assert_int_equal(b->published_count, 6);
}

/* ---- request ids and conditions ---- */

static void a_repeated_request_gets_its_first_answer(void **state)
{
    struct box *b = *state;
    assert_int_equal(box_put_id(b, "r1", "k", "v").seq, 1);
    box_put(b, "k", "w");
    struct hf_write_result r = box_put_id(b, "r1", "k", "v");
    assert_int_equal(r.code, HF_OK);
    assert_true(r.repeated);
    assert_int_equal(r.seq, 1);
    assert_int_equal(box_status(b).head, 2);
}

static void a_request_id_for_other_content_is_refused(void **state)
{
    struct box *b = *state;
    box_put_id(b, "r1", "k", "v");
    assert_int_equal(box_put_id(b, "r1", "k", "w").code, HF_EXISTS);
    assert_int_equal(box_status(b).head, 1);
}

static void a_request_id_for_another_condition_is_refused(void **state)
{
    struct box *b = *state;
    enum hf_err code[3];
    box_put(b, "k", "v");
    for (int i = 0; i < 3; i++) {
        struct box_write w = {.w = {.request_id = hf_slice_str("r"), .has_ifseq = i < 2}};
        w.w.ifseq = i == 0 ? 1 : i == 1 ? 0x100000001 : 0;
        code[i] = box_apply(b, box_add(&w, "k", "w")).code;
    }
    assert_int_equal(code[0], HF_OK);
    assert_int_equal(code[1], HF_EXISTS);
    assert_int_equal(code[2], HF_EXISTS);
}

static void a_request_repeated_within_one_group_is_found(void **state)
{
    struct box *b = *state;
    struct box_write w[3] = {{.w.request_id = hf_slice_str("r")},
                             {.w.request_id = hf_slice_str("r")},
                             {.w.request_id = hf_slice_str("r")}};
    box_send(b, box_add(&w[0], "k", "v"));
    box_send(b, box_add(&w[1], "k", "v"));
    box_send(b, box_add(&w[2], "k", "other"));
    hf_core_flush(b->core);
    box_work(b);
    assert_false(w[0].result.repeated);
    assert_true(w[1].result.repeated);
    assert_int_equal(w[1].result.seq, w[0].result.seq);
    assert_int_equal(w[2].result.code, HF_EXISTS);
}

static void a_request_with_an_id_always_makes_a_frame(void **state)
{
    struct box *b = *state;
    box_put(b, "k", "v");
    struct hf_write_result r = box_put_id(b, "r", "k", "v");
    assert_int_equal(r.seq, 2);
    assert_int_equal(box_frame(b, 1).h.change_count, 0);
    box_crash(b);
    box_open(b);
    r = box_put_id(b, "r", "k", "v");
    assert_true(r.repeated);
    assert_int_equal(r.seq, 2);
}

static void a_request_id_is_remembered_over_a_replay(void **state)
{
    struct box *b = *state;
    box_put(b, "a", "1");
    box_commit(b);
    box_put_id(b, "r1", "k", "v");
    box_crash(b);
    box_open(b);
    struct hf_write_result r = box_put_id(b, "r1", "k", "v");
    assert_true(r.repeated);
    assert_int_equal(r.seq, 2);
    assert_int_equal(box_put_id(b, "r1", "k", "w").code, HF_EXISTS);
}

static void a_request_with_an_id_begins_a_batch_when_its_key_is_in_the_open_one(void **state)
{
    struct box *b = *state;
    struct box_write w[3] = {{.done = false}, {.w.request_id = hf_slice_str("r")}, {.done = false}};
    box_send(b, box_add(&w[0], "k", "1"));
    box_send(b, box_add(&w[1], "k", "2"));
    box_send(b, box_add(&w[2], "k", "3"));
    hf_core_flush(b->core);
    box_work(b);
    assert_int_equal(w[0].result.seq, 1);
    assert_int_equal(w[1].result.seq, 2);
    assert_int_equal(w[2].result.seq, 3);
}

static void the_audit_trail_names_who_why_and_which_changes(void **state)
{
    struct box *b = *state;
    struct box_write plain = {.done = false};
    struct box_write w = {.w.request_id = hf_slice_str("r"),
                          .w.author = hf_slice_str("ann"),
                          .w.reason = hf_slice_str("because")};
    box_put(b, "same", "1");
    box_send(b, box_add(&plain, "p", "1"));
    box_send(b, box_add(box_add(box_add(&w, "x", "1"), "same", "1"), "y", "2"));
    hf_core_flush(b->core);
    box_work(b);
    struct hf_frame f = box_frame(b, 1);
    uint8_t raw[4096];
    struct hf_writer out;
    struct hf_body body;
    struct hf_meta m;
    hf_writer_init(&out, raw, sizeof(raw));
    const struct hf_content_key *key = hf_keyring_newest(hf_registry_keys(b->core->registry));
    assert_int_equal(f.h.compression, HF_COMPRESSION_NONE);
    assert_int_equal(hf_body_unseal(&f.h, f.body, &key->key, NULL, NULL, &out), HF_OK);
    assert_int_equal(hf_body_open(hf_writer_bytes(&out), f.h.change_count, &body), HF_OK);
    assert_int_equal(body.change_count, 3);
    assert_int_equal(body.meta_count, 1);
    assert_true(hf_body_next_meta(&body, &m));
    assert_true(hf_slice_eq(m.author, hf_slice_str("ann")));
    assert_true(hf_slice_eq(m.reason, hf_slice_str("because")));
    assert_int_equal(m.first_ordinal, 1);
    assert_int_equal(m.count, 2);
}

static struct hf_write_result put_if(struct box *b, hf_seq ifseq, const char *key,
                                     const char *value)
{
    struct box_write bw = {.w.has_ifseq = true, .w.ifseq = ifseq};
    return box_apply(b, box_add(&bw, key, value));
}

static void a_condition_holds_while_no_named_key_changed_since(void **state)
{
    struct box *b = *state;
    box_put(b, "a", "1");
    box_put(b, "b", "1");
    assert_int_equal(put_if(b, 1, "a", "2").code, HF_OK);
    struct hf_write_result r = put_if(b, 1, "b", "2");
    assert_int_equal(r.code, HF_CONFLICT);
    assert_non_null(r.changed);
    assert_int_equal(r.changed_at, 2);
    assert_int_equal(put_if(b, 2, "b", "2").code, HF_OK);
    box_put(b, "b", NULL);
    r = put_if(b, 4, "b", "3");
    assert_int_equal(r.code, HF_CONFLICT);
    assert_int_equal(r.changed_at, 5);
    assert_int_equal(put_if(b, 5, "b", "3").code, HF_OK);
    assert_int_equal(put_if(b, 0, "new", "1").code, HF_OK);
}

static void a_condition_sees_what_the_same_group_wrote_before(void **state)
{
    struct box *b = *state;
    struct box_write w[3] = {
        {.done = false}, {.w.has_ifseq = true, .w.ifseq = 0}, {.w.has_ifseq = true, .w.ifseq = 0}};
    box_send(b, box_add(&w[0], "a", "1"));
    box_send(b, box_add(&w[1], "a", "2"));
    box_send(b, box_add(&w[2], "b", "2"));
    hf_core_flush(b->core);
    box_work(b);
    assert_int_equal(w[1].result.code, HF_CONFLICT);
    assert_int_equal(w[2].result.code, HF_OK);
}

static void a_condition_below_the_delta_floor_is_stale(void **state)
{
    struct box *b = *state;
    box_close(b);
    b->cfg.delta_batches = 2;
    box_open(b);
    for (int i = 0; i < 6; i++) {
        box_put(b, "k", i % 2 == 0 ? "x" : NULL);
        box_commit(b);
    }
    assert_int_equal(put_if(b, 3, "other", "1").code, HF_STALE);
    assert_int_equal(put_if(b, 6, "other", "1").code, HF_OK);
}

/* ---- the log ---- */

/* One sync fails, and what follows goes well. How often the log has told of any. */
static unsigned failures_logged(struct box *b, int error)
{
    unsigned count = 0;
    box_sync_error = error;
    box_sync_failed = box_syncs_are_well;
    assert_int_not_equal(box_put(b, "a", "1").code, HF_OK);
    for (const char *at = b->notes; (at = strstr(at, "core: append")) != NULL; at++) {
        count++;
    }
    return count;
}

static void a_failure_is_logged_once_a_minute_and_another_one_at_once(void **state)
{
    struct box *b = *state;
    assert_int_equal(failures_logged(b, EIO), 1);
    assert_int_equal(failures_logged(b, EIO), 1);
    assert_int_equal(failures_logged(b, ENOSPC), 2);
    assert_int_equal(failures_logged(b, EIO), 2); /* they may come in turns */
    assert_int_equal(failures_logged(b, ENOSPC), 2);
    box_pass(b, 60000);
    assert_int_equal(failures_logged(b, ENOSPC), 3);
}

static void added(void *ctx, const struct hf_admin_result *r)
{
    *(enum hf_err *)ctx = r->code;
}

/* What they said meanwhile is still to be read. */
static void edges_are_not_called_cut_off_because_the_core_stood_still(void **state)
{
    struct box *b = *state;
    uint8_t seed[32] = {9};
    enum hf_err code = HF_BUSY;
    struct hf_identity edge;
    struct hf_publisher_effects fx;
    assert_int_equal(hf_identity_from_seed(&edge, seed), HF_OK);
    hf_core_edge_add(b->core, "lagos", &edge.public_key, added, &code);
    box_work(b);
    assert_int_equal(code, HF_OK);
    const struct hf_position *at = &b->core->head.at;
    struct hf_report r = {.epoch_id = at->epoch_id, .digest = at->digest};
    struct hf_publisher_event ev = {.type = HF_PUB_REPORT, .now = b->now, .report = &r};
    hf_publisher_step(b->core->publisher, &ev, &fx);
    box_pass(b, 1500);
    assert_non_null(strstr(b->notes, "heard of name=lagos"));
    b->now += 3600000;
    box_pass(b, 10);
    ev.now = b->now;
    hf_publisher_step(b->core->publisher, &ev, &fx);
    box_pass(b, 2000);
    assert_null(strstr(b->notes, "cut off"));
    box_pass(b, 5000);
    assert_non_null(strstr(b->notes, "cut off name=lagos"));
    hf_identity_free(&edge);
}

#define T(name) cmocka_unit_test_setup_teardown(name, box_setup, box_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_write_is_answered_with_its_seq_and_becomes_visible),
        T(writes_that_wait_together_are_one_batch),
        T(nothing_is_answered_or_published_before_the_sync),
        T(a_group_that_waits_joins_what_came_in_the_meantime),
        T(writing_what_is_there_spends_no_seq),
        T(deletes_count_the_live_keys_they_found),
        T(the_changes_of_one_write_are_in_one_batch),
        T(groups_are_cut_into_batches_by_size),
        T(values_that_replace_each_other_in_a_group_are_one_batch),
        T(a_batch_of_four_mebibytes_is_published_as_its_header_alone),
        T(batches_are_compressed_again_soon_after_some_that_did_not_gain),
        T(what_is_over_the_limits_is_refused_at_once),
        T(more_waiting_writes_than_the_bound_are_refused_as_busy),
        T(an_answer_may_write_again),
        T(a_repeated_request_gets_its_first_answer),
        T(a_request_id_for_other_content_is_refused),
        T(a_request_id_for_another_condition_is_refused),
        T(a_request_repeated_within_one_group_is_found),
        T(a_request_with_an_id_always_makes_a_frame),
        T(a_request_id_is_remembered_over_a_replay),
        T(a_request_with_an_id_begins_a_batch_when_its_key_is_in_the_open_one),
        T(the_audit_trail_names_who_why_and_which_changes),
        T(a_condition_holds_while_no_named_key_changed_since),
        T(a_condition_sees_what_the_same_group_wrote_before),
        T(a_condition_below_the_delta_floor_is_stale),
        T(a_failure_is_logged_once_a_minute_and_another_one_at_once),
        T(edges_are_not_called_cut_off_because_the_core_stood_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
