/*
 * test_invites.c - open join tokens: what a revocation makes of them, and how one is withdrawn.
 */
#include "peer_box.h"

static void open_tokens_of_a_revoked_name_are_void_and_a_new_one_works(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *q = peer_new(b, 2);
    struct told first = box_invite(b, "e");
    struct told second = box_invite(b, "e");
    assert_int_equal(peer_join(p, first.text)->code, HF_OK);
    box_revoke(b, "e");
    assert_int_equal(peer_join(q, second.text)->code, HF_AUTH);
    assert_int_equal(peer_join(p, first.text)->code, HF_REVOKED);
    struct told third = box_invite(b, "e");
    assert_int_equal(third.code, HF_OK);
    assert_int_equal(peer_join(q, third.text)->code, HF_OK);
    assert_int_equal(box_status(b).edge_count, 1);
    assert_null(peer_hello(p, NULL)); /* its key is no longer known at all */
    assert_int_equal(peer_hello(q, NULL)->code, HF_OK);
    peer_free(p);
    peer_free(q);
}

static void an_open_token_is_void_from_the_moment_of_the_revocation(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *q = peer_new(b, 2);
    struct told t = {.count = 0};
    struct told used = box_invite(b, "e");
    struct told open = box_invite(b, "e");
    assert_int_equal(peer_join(p, used.text)->code, HF_OK);
    assert_int_equal(peer_join(q, used.text)->code, HF_AUTH); /* and q has its cookie */
    hf_core_edge_revoke(b->core, "e", told_done, &t);
    assert_int_equal(t.count, 0); /* not durable yet */
    peer_join(q, open.text);
    box_work(b);
    assert_int_equal(t.code, HF_OK);
    assert_int_equal(box_row(b, 0).state, HF_EDGE_REVOKED);
    assert_null(peer_hello(q, NULL));
    peer_free(p);
    peer_free(q);
}

/* What is on its way to the disk counts: or one key would have two rows, and go on when one of them
 * is revoked. */
static void one_key_or_name_is_enrolled_once_however_fast(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *q = peer_new(b, 2);
    struct told first = {.count = 0}, second = {.count = 0}, third = {.count = 0};
    hf_core_edge_add(b->core, "e", &p->id.public_key, told_done, &first);
    hf_core_edge_add(b->core, "f", &p->id.public_key, told_done, &second);
    hf_core_edge_add(b->core, "e", &q->id.public_key, told_done, &third);
    box_work(b);
    assert_int_equal(first.code, HF_OK);
    assert_int_equal(second.code, HF_BUSY);
    assert_int_equal(third.code, HF_BUSY);
    assert_int_equal(box_status(b).edge_count, 1);
    assert_int_equal(peer_hello(p, NULL)->code, HF_OK);
    assert_null(peer_hello(q, NULL));
    peer_free(p);
    peer_free(q);
}

/* What is promised must be kept over a restart, for which the table has to have room. */
static void no_more_tokens_are_open_than_a_restart_takes(void **state)
{
    struct box *b = *state;
    struct hf_fact f = {.type = HF_FACT_TOKEN, .token = {.name = "e"}};
    enum hf_err code = HF_OK;
    for (uint32_t i = 0; i < 16383; i++) {
        memcpy(f.token.id.b, &i, sizeof(i));
        assert_int_equal(hf_registry_learn(b->core->registry, &f), HF_OK);
    }
    struct told first = {.count = 0}, second = {.count = 0};
    hf_core_edge_invite(b->core, "e", told_done, &first);
    hf_core_edge_invite(b->core, "f", told_done, &second);
    box_work(b);
    assert_int_equal(first.code, HF_OK);
    assert_int_equal(second.code, HF_FULL);
    f.token.used = true; /* one that is used takes no room */
    f.token.id.b[8] = 1;
    code = hf_registry_learn(b->core->registry, &f);
    assert_int_equal(code, HF_OK);
}

static uint32_t invited(const struct box *b)
{
    uint32_t n = 0;
    for (uint32_t at = 0; hf_core_invited(b->core, &at) != NULL;) {
        n++;
    }
    return n;
}

/* One call, however many there are: whoever holds one could bring the name back under another key.
 */
static void all_open_tokens_of_a_revoked_name_are_void_however_many(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *q = peer_new(b, 2);
    struct told used = box_invite(b, "e");
    struct told open[40];
    for (int i = 0; i < 40; i++) {
        open[i] = box_invite(b, "e");
    }
    struct told other = box_invite(b, "f");
    assert_int_equal(peer_join(p, used.text)->code, HF_OK);
    assert_int_equal(invited(b), 41);
    assert_int_equal(box_revoke(b, "e").code, HF_OK);
    assert_int_equal(invited(b), 1);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(peer_join(q, open[i].text)->code, HF_AUTH);
        b->now += 1000; /* refusals are rationed */
    }
    box_crash(b);
    box_open(b);
    assert_int_equal(invited(b), 1);
    assert_int_equal(peer_join(q, open[39].text)->code, HF_AUTH);
    b->now += 1000;
    assert_int_equal(peer_join(q, other.text)->code, HF_OK);
    assert_int_equal(invited(b), 0);
    peer_free(p);
    peer_free(q);
}

static void a_token_of_a_name_that_nobody_has_can_be_withdrawn(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct told t = box_invite(b, "lost");
    uint32_t at = 0;
    assert_string_equal(hf_core_invited(b->core, &at), "lost");
    assert_null(hf_core_invited(b->core, &at));
    assert_int_equal(box_revoke(b, "lost").code, HF_OK);
    assert_int_equal(peer_join(p, t.text)->code, HF_AUTH);
    assert_int_equal(invited(b), 0);
    assert_int_equal(box_revoke(b, "lost").code, HF_OK); /* it is what was asked for */
    assert_int_equal(box_revoke(b, "nobody").code, HF_NOTFOUND);
    assert_int_equal(box_status(b).edge_count, 0);
    box_put(b, "k", "1");
    assert_int_equal(box_frame(b, 0).h.content_key_id, 1); /* nobody knew the key */
    box_crash(b);
    box_open(b);
    assert_int_equal(peer_join(p, t.text)->code, HF_AUTH);
    peer_free(p);
}

/* Void at once, and after a disk that failed as durable as if it had not. */
static void what_could_not_be_stored_is_made_good_by_the_next_revocation(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *q = peer_new(b, 2);
    struct told lost = box_invite(b, "lost");
    struct told used = box_invite(b, "e");
    struct told open = box_invite(b, "e");
    assert_int_equal(peer_join(p, used.text)->code, HF_OK);
    for (int i = 0; i < 2; i++) {
        box_sync_error = i == 0 ? EIO : 0;
        assert_int_equal(box_revoke(b, "lost").code, i == 0 ? HF_IO : HF_OK);
        assert_int_equal(box_revoke(b, "e").code, i == 0 ? HF_IO : HF_OK);
        assert_int_equal(peer_join(q, open.text)->code, HF_AUTH);
        b->now += 1000;
    }
    box_crash(b);
    box_open(b);
    assert_int_equal(invited(b), 0);
    assert_int_equal(peer_join(q, lost.text)->code, HF_AUTH);
    b->now += 1000;
    assert_int_equal(peer_join(q, open.text)->code, HF_AUTH);
    assert_int_equal(box_row(b, 0).state, HF_EDGE_REVOKED);
    peer_free(p);
    peer_free(q);
}

static void who_joins_while_its_token_is_withdrawn_is_told_of(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct told t = {.count = 0};
    struct told gone = box_invite(b, "e");
    assert_int_equal(box_revoke(b, "e").code, HF_OK);
    assert_int_equal(peer_join(p, gone.text)->code, HF_AUTH); /* and p has its cookie */
    struct told token = box_invite(b, "e");
    peer_join_seal(p, token.text);
    hf_core_on_request(b->core, 1, hf_slice_of(p->message, p->message_len), "10.0.0.1");
    hf_core_requests_end(b->core); /* recorded, but not durable yet */
    hf_core_edge_revoke(b->core, "e", told_done, &t);
    assert_int_equal(t.count, 0);
    box_work(b);
    assert_int_equal(t.code, HF_EXISTS);
    assert_int_equal(box_row(b, 0).state, HF_EDGE_NEVER_SEEN);
    assert_int_equal(box_revoke(b, "e").code, HF_OK);
    peer_free(p);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, box_setup, box_teardown)
    static const struct CMUnitTest tests[] = {
        T(open_tokens_of_a_revoked_name_are_void_and_a_new_one_works),
        T(an_open_token_is_void_from_the_moment_of_the_revocation),
        T(all_open_tokens_of_a_revoked_name_are_void_however_many),
        T(one_key_or_name_is_enrolled_once_however_fast),
        T(no_more_tokens_are_open_than_a_restart_takes),
        T(a_token_of_a_name_that_nobody_has_can_be_withdrawn),
        T(what_could_not_be_stored_is_made_good_by_the_next_revocation),
        T(who_joins_while_its_token_is_withdrawn_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
