/*
 * test_carry.c - the bytes of a carry file, and a core that makes one step by step.
 *
 * That an edge takes what the core makes is tests/e2e/test_carry.c; here are the edges of the
 * format, and tokens that a client made up: whatever one says, the core answers or refuses. Next:
 * proto/wire/carry.c, core/carry.c.
 */
#include "core_box.h"

#include "core/carry.h"
#include "hf/bytes.h"

static struct hf_carry_head sound_head(const struct hf_identity *core)
{
    return (struct hf_carry_head){.epoch = 3,
                                  .core = core->public_key,
                                  .edge = {{7}},
                                  .name = "ship",
                                  .nonce = {1, 2, 3},
                                  .kind = HF_PLAN_DELTA,
                                  .first = 10,
                                  .last = 20,
                                  .records = 5,
                                  .bytes = 4000,
                                  .chain = {{9}}};
}

static void a_head_comes_back_as_it_was_signed(void **state)
{
    struct box *b = *state;
    uint8_t bytes[HF_CARRY_HEAD_BYTES];
    struct hf_carry_head h = sound_head(&b->id), back;
    assert_int_equal(hf_carry_head_sign(&h, b->id.secret, bytes), HF_OK);
    assert_int_equal(hf_carry_head_open(bytes, &back), HF_OK);
    assert_string_equal(back.name, "ship");
    assert_memory_equal(back.nonce, h.nonce, HF_NONCE_BYTES);
    assert_true(back.kind == h.kind && back.first == 10 && back.last == 20);
    assert_true(back.records == 5 && back.bytes == 4000 && back.epoch == 3);
    assert_memory_equal(back.chain.b, h.chain.b, HF_HASH_BYTES);
    assert_true(hf_key_eq(&back.edge, &h.edge) && hf_key_eq(&back.core, &h.core));
}

static void no_byte_of_a_head_can_be_changed(void **state)
{
    struct box *b = *state;
    uint8_t bytes[HF_CARRY_HEAD_BYTES];
    struct hf_carry_head h = sound_head(&b->id), back;
    assert_int_equal(hf_carry_head_sign(&h, b->id.secret, bytes), HF_OK);
    for (uint32_t i = 0; i < HF_CARRY_HEAD_BYTES; i++) { /* nor of the zeros behind it */
        bytes[i] ^= 1;
        assert_int_not_equal(hf_carry_head_open(bytes, &back), HF_OK);
        bytes[i] ^= 1;
    }
}

static void a_head_that_makes_no_sense_is_not_signed(void **state)
{
    struct box *b = *state;
    uint8_t bytes[HF_CARRY_HEAD_BYTES];
    struct hf_carry_head h = sound_head(&b->id);
    h.last = h.first;
    assert_int_equal(hf_carry_head_sign(&h, b->id.secret, bytes), HF_ARG);
    h = sound_head(&b->id);
    h.kind = HF_PLAN_SNAPSHOT; /* needs no beginning */
    assert_int_equal(hf_carry_head_sign(&h, b->id.secret, bytes), HF_ARG);
    h.first = 0;
    assert_int_equal(hf_carry_head_sign(&h, b->id.secret, bytes), HF_OK);
}

static void a_record_is_bound_to_its_place_in_the_chain(void **state)
{
    struct hf_hash none = {{0}};
    struct hf_slice a = hf_slice_str("a"), c = hf_slice_str("c");
    uint8_t head[HF_CARRY_RECORD_HEAD], check[HF_CARRY_CHECK_BYTES];
    uint32_t len;
    (void)state;
    struct hf_hash first = hf_carry_chain(&none, a);
    struct hf_hash second = hf_carry_chain(&first, c);
    struct hf_hash alone = hf_carry_chain(&none, c);
    assert_memory_not_equal(second.b, alone.b, HF_HASH_BYTES);
    hf_carry_record_head(HF_MESSAGE_MAX, &first, head);
    assert_true(hf_carry_record_read(head, &len, check));
    assert_int_equal(len, HF_MESSAGE_MAX);
    assert_memory_equal(check, first.b, sizeof(check));
    hf_carry_record_head(HF_MESSAGE_MAX + 1, &first, head);
    assert_false(hf_carry_record_read(head, &len, check));
    hf_carry_record_head(0, &first, head);
    assert_false(hf_carry_record_read(head, &len, check));
}

/* ---- a core that makes one ---- */

struct answer {
    bool came;
    enum hf_err code;
    char text[256];
    size_t message_len;
    uint32_t tail_len; /* of the reply that it is */
    uint8_t token[HF_CARRY_TOKEN_MAX];
    size_t token_len;
};

static void on_carry(void *ctx, const struct hf_carry_result *r)
{
    struct answer *a = ctx;
    assert_false(a->came);
    a->came = true;
    a->code = r->code;
    memcpy(a->text, r->text, sizeof(a->text));
    a->message_len = r->message.len;
    if (r->message.len > 0) {
        a->tail_len =
            hf_load32(r->message.data + HF_PREFIX_BYTES + HF_COOKIE_BYTES + HF_NONCE_BYTES);
    }
    assert_true(r->token.len <= sizeof(a->token));
    if (r->token.len > 0) {
        memcpy(a->token, r->token.data, r->token.len);
    }
    a->token_len = r->token.len;
}

static struct answer carry_begin(struct box *b, const struct hf_carry_ask *ask)
{
    struct answer a = {.came = false};
    hf_core_carry_begin(b->core, ask, on_carry, &a);
    box_work(b);
    assert_true(a.came);
    return a;
}

static struct answer carry_next(struct box *b, const uint8_t *token, size_t len)
{
    struct answer a = {.came = false};
    hf_core_carry_next(b->core, hf_slice_of(token, len), on_carry, &a);
    box_work(b);
    assert_true(a.came);
    return a;
}

static void on_admin(void *ctx, const struct hf_admin_result *r)
{
    (void)ctx;
    assert_int_equal(r->code, HF_OK);
}

static void enrol(struct box *b)
{
    uint8_t seed[32] = {42};
    struct hf_identity edge;
    assert_int_equal(hf_identity_from_seed(&edge, seed), HF_OK);
    hf_core_edge_add(b->core, "ship", &edge.public_key, on_admin, NULL);
    box_work(b);
    hf_identity_free(&edge);
    for (int i = 0; i < 30; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        box_put_bytes(b, key, 10000);
    }
    box_commit(b);
}

static void the_steps_end_and_the_head_says_what_they_made(void **state)
{
    struct box *b = *state;
    enrol(b);
    struct hf_carry_ask ask = {.edge = "ship", .has_since = true, .epoch = 1, .since = 2};
    struct answer a = carry_begin(b, &ask);
    assert_int_equal(a.code, HF_OK);
    struct hf_carry_head h = {.bytes = HF_CARRY_HEAD_BYTES}, back;
    uint8_t head[HF_CARRY_HEAD_BYTES];
    const char *text;
    for (;;) {
        struct answer n = carry_next(b, a.token, a.token_len);
        assert_int_equal(n.code, HF_OK);
        if (n.message_len == 0 && n.token_len == a.token_len &&
            memcmp(n.token, a.token, n.token_len) == 0) {
            break;
        }
        assert_int_equal(n.tail_len, 0); /* whoever finds the file can read nothing of it */
        h.records += n.message_len > 0;
        h.bytes += n.message_len > 0 ? HF_CARRY_RECORD_HEAD + n.message_len : 0;
        assert_int_equal(
            hf_core_carry_end(b->core, hf_slice_of(a.token, a.token_len), &h, head, &text),
            HF_ARG); /* not yet */
        a = n;
        assert_true(h.records < 100);
    }
    assert_true(h.records > 6 && h.bytes > 280000);
    assert_int_equal(hf_core_carry_end(b->core, hf_slice_of(a.token, a.token_len), &h, head, &text),
                     HF_OK);
    assert_int_equal(hf_carry_head_open(head, &back), HF_OK);
    assert_int_equal(back.kind, HF_PLAN_LOG);
    assert_true(back.first == 2 && back.last == 30 && back.records == h.records);
    h.records++; /* one that the core did not make */
    assert_int_equal(hf_core_carry_end(b->core, hf_slice_of(a.token, a.token_len), &h, head, &text),
                     HF_ARG);
}

/* Records of an export; before record `at` something happens. */
static uint32_t records_of(struct box *b, uint32_t at, void (*happens)(struct box *b))
{
    struct answer a = carry_begin(b, &(struct hf_carry_ask){.edge = "ship"});
    uint32_t records = 0;
    for (size_t len = 1; len > 0; records += len > 0) {
        if (happens != NULL && records == at) {
            happens(b);
        }
        a = carry_next(b, a.token, a.token_len);
        assert_int_equal(a.code, HF_OK);
        len = a.message_len;
    }
    return records;
}

static void key_changes(struct box *b)
{
    hf_core_edge_revoke(b->core, "other", on_admin, NULL);
    box_work(b);
}

static void dictionary_comes(struct box *b)
{
    b->notes[0] = '\0';
    for (int i = 0; strstr(b->notes, "dictionary") == NULL; i++) {
        char key[16], value[128];
        snprintf(key, sizeof(key), "row%d", i % 50);
        snprintf(value, sizeof(value), "{\"service\":\"checkout\",\"port\":%d,\"zone\":\"eu-%d\"}",
                 i, i % 7);
        assert_int_equal(box_put(b, key, value).code, HF_OK);
        assert_true(i < 10000);
    }
}

static void enrol_other(struct box *b)
{
    uint8_t seed[32] = {43};
    struct hf_identity other;
    assert_int_equal(hf_identity_from_seed(&other, seed), HF_OK);
    hf_core_edge_add(b->core, "other", &other.public_key, on_admin, NULL);
    box_work(b);
    hf_identity_free(&other);
}

static void a_content_key_that_comes_in_the_middle_is_in_a_record_of_its_own(void **state)
{
    struct box *b = *state;
    enrol(b);
    enrol_other(b);
    uint32_t usual = records_of(b, UINT32_MAX, NULL);
    assert_int_equal(records_of(b, 3, key_changes), usual + 1);
}

/* On the line it would be read again. In a file there is nothing to see for who was revoked. */
static void a_chunk_read_while_the_content_key_changes_is_in_the_file(void **state)
{
    struct box *b = *state;
    struct hf_job *held = NULL;
    enrol(b);
    enrol(b); /* the same keys again: their chunks are less than the log */
    enrol_other(b);
    struct answer a = carry_begin(b, &(struct hf_carry_ask){.edge = "ship"});
    assert_non_null(strstr(a.text, "snapshot"));
    for (int i = 0; held == NULL; i++) {
        struct answer n = {.came = false};
        assert_true(i < 100);
        hf_core_carry_next(b->core, hf_slice_of(a.token, a.token_len), on_carry, &n);
        if (b->job_first != NULL) { /* past what is said before the chunks */
            held = box_hold(b);
            key_changes(b);
            box_put_bytes(b, "k0", 10000);
            box_commit(b);
            held->work(held);
            held->done(held); /* and not read again: its key is in the file, the new one is not */
        }
        a = n;
        assert_true(a.came);
        assert_int_equal(a.code, HF_OK);
    }
    assert_true(a.message_len > 0);
}

static void a_step_whose_edge_is_revoked_meanwhile_says_so(void **state)
{
    struct box *b = *state;
    enrol(b);
    struct answer a = carry_begin(b, &(struct hf_carry_ask){.edge = "ship"});
    for (int record = 0; record < 2; record++) { /* HELLO and PLAN */
        a = carry_next(b, a.token, a.token_len);
    }
    struct answer n = {.came = false};
    hf_core_carry_next(b->core, hf_slice_of(a.token, a.token_len), on_carry, &n);
    struct hf_job *held = box_hold(b);
    hf_core_edge_revoke(b->core, "ship", on_admin, NULL);
    box_work(b);
    held->work(held);
    held->done(held);
    box_work(b);
    assert_true(n.came);
    assert_int_equal(n.code, HF_REVOKED);
}

/* Of two exports of the same chunk one waits for the other's, and its turn comes when the key has
 * changed: the new one goes into the file first. */
static void wait_while_the_key_changes(struct box *b, const struct hf_carry_ask *ask,
                                       const char *plan)
{
    struct answer a[2];
    enrol_other(b);
    for (int i = 0; i < 2; i++) {
        a[i] = carry_begin(b, ask);
        assert_memory_equal(a[i].text, plan, strlen(plan));
        for (int record = 0; record < 2; record++) { /* HELLO and PLAN */
            a[i] = carry_next(b, a[i].token, a[i].token_len);
            assert_true(a[i].message_len > 0);
        }
    }
    struct answer first = {.came = false}, second = {.came = false};
    hf_core_carry_next(b->core, hf_slice_of(a[0].token, a[0].token_len), on_carry, &first);
    hf_core_carry_next(b->core, hf_slice_of(a[1].token, a[1].token_len), on_carry, &second);
    struct hf_job *held = box_hold(b); /* one for both */
    key_changes(b);
    held->work(held);
    held->done(held);
    assert_true(first.came && !second.came);
    box_work(b);
    assert_true(second.came);
    assert_int_equal(second.code, HF_BUSY);
    for (int record = 0; record < 2; record++) { /* the same again: HELLO, and the chunk */
        a[1] = carry_next(b, a[1].token, a[1].token_len);
        assert_int_equal(a[1].code, HF_OK);
        assert_in_range(a[1].message_len, record == 0 ? 1 : 10000, record == 0 ? 9999 : 65536);
    }
}

static void a_chunk_that_waited_while_the_content_key_changed_comes_after_the_new_one(void **state)
{
    struct box *b = *state;
    enrol(b);
    enrol(b);
    wait_while_the_key_changes(b, &(struct hf_carry_ask){.edge = "ship"}, "snapshot");
}

static void so_does_one_of_a_delta(void **state)
{
    struct box *b = *state;
    enrol(b);
    enrol(b);
    enrol(b);
    struct hf_carry_ask ask = {.edge = "ship", .has_since = true, .epoch = 1, .since = 30};
    wait_while_the_key_changes(b, &ask, "delta");
}

/* It begins the file where it is there from the start, and comes again where it is new. The chunks
 * that follow are the same in number: it is short. */
static void a_dictionary_that_comes_in_the_middle_is_in_a_record_of_its_own(void **state)
{
    struct box *b = *state;
    box_close(b);
    b->cfg.dictionary = true;
    b->cfg.dictionary_samples = 16 << 10;
    box_open(b);
    enrol(b);
    uint32_t before = records_of(b, 3, dictionary_comes);
    assert_int_equal(before, records_of(b, UINT32_MAX, NULL) + 1);
}

static void a_core_refuses_what_it_cannot_export(void **state)
{
    struct box *b = *state;
    enrol(b);
    assert_int_equal(carry_begin(b, &(struct hf_carry_ask){.edge = "nobody"}).code, HF_NOTFOUND);
    struct hf_carry_ask ask = {.edge = "ship", .has_since = true, .epoch = 2};
    assert_int_equal(carry_begin(b, &ask).code, HF_ARG);
    ask.epoch = 1;
    ask.since = 31;
    assert_int_equal(carry_begin(b, &ask).code, HF_ARG);
    ask.since = 30;
    assert_int_equal(carry_begin(b, &ask).code, HF_NOTFOUND);
    ask.since = 3;
    struct answer a = carry_begin(b, &ask);
    assert_int_equal(a.code, HF_OK);
    hf_core_edge_revoke(b->core, "ship", on_admin, NULL);
    box_work(b);
    assert_int_equal(carry_next(b, a.token, a.token_len).code, HF_REVOKED);
}

static void a_token_that_was_made_up_is_answered_or_refused(void **state)
{
    struct box *b = *state;
    enrol(b);
    struct answer a = carry_begin(b, &(struct hf_carry_ask){.edge = "ship"});
    uint32_t refused = 0;
    for (int step = 0; step < 12 && a.code == HF_OK; step++) {
        for (size_t i = 0; i < a.token_len; i++) {
            for (int bit = 0; bit < 8; bit += 1) {
                uint8_t token[HF_CARRY_TOKEN_MAX];
                memcpy(token, a.token, a.token_len);
                token[i] ^= (uint8_t)(1u << bit);
                refused += carry_next(b, token, a.token_len).code != HF_OK;
            }
        }
        assert_int_equal(carry_next(b, a.token, (size_t)step * 7).code, HF_ARG);
        a = carry_next(b, a.token, a.token_len);
    }
    assert_true(refused > 500);
    assert_int_equal(box_put(b, "still", "here").code, HF_OK);
}

#define T(name) cmocka_unit_test_setup_teardown(name, box_setup, box_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_head_comes_back_as_it_was_signed),
        T(no_byte_of_a_head_can_be_changed),
        T(a_head_that_makes_no_sense_is_not_signed),
        T(a_record_is_bound_to_its_place_in_the_chain),
        T(the_steps_end_and_the_head_says_what_they_made),
        T(a_content_key_that_comes_in_the_middle_is_in_a_record_of_its_own),
        T(a_chunk_that_waited_while_the_content_key_changed_comes_after_the_new_one),
        T(so_does_one_of_a_delta),
        T(a_chunk_read_while_the_content_key_changes_is_in_the_file),
        T(a_step_whose_edge_is_revoked_meanwhile_says_so),
        T(a_dictionary_that_comes_in_the_middle_is_in_a_record_of_its_own),
        T(a_core_refuses_what_it_cannot_export),
        T(a_token_that_was_made_up_is_answered_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
