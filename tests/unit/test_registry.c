/*
 * test_registry.c - what the core remembers of each edge and each token, and for how long:
 * counters, quotas, cookies. What follows for requests is in test_service.c.
 */
#include "peer_box.h"

#include "core/cookie.h"

#define DAY_MS ((hf_ms)24 * 3600 * 1000)

static struct hf_fact edge_fact(const char *name, uint8_t key)
{
    struct hf_fact f = {.type = HF_FACT_EDGE};
    snprintf(f.edge.name, sizeof(f.edge.name), "%s", name);
    f.edge.key.b[0] = key;
    return f;
}

static struct hf_fact token_fact(uint32_t id, bool used)
{
    struct hf_fact f = {.type = HF_FACT_TOKEN};
    memcpy(f.token.id.b, &id, sizeof(id));
    f.token.used = used;
    return f;
}

static void counter_is_remembered_for_as_many_as_the_window_has(void **state)
{
    struct hf_enrolled e = {.row = 0};
    (void)state;
    assert_true(hf_registry_counter_take(&e, 100));
    assert_false(hf_registry_counter_take(&e, 36)); /* 64 below */
    assert_true(hf_registry_counter_take(&e, 37));
    assert_false(hf_registry_counter_take(&e, 37));
}

/* A machine that was replaced counts from 1, and what the old one recorded is not its own. */
static void another_key_begins_with_counters_of_its_own(void **state)
{
    (void)state;
    struct hf_registry *r = hf_registry_new(4);
    struct hf_fact old = edge_fact("lagos", 1);
    struct hf_fact young = edge_fact("lagos", 2);
    assert_int_equal(hf_registry_learn(r, &old), HF_OK);
    assert_true(hf_registry_counter_take(hf_registry_by_name(r, "lagos"), 1000));
    assert_int_equal(hf_registry_learn(r, &old), HF_OK); /* the same again changes nothing */
    assert_false(hf_registry_counter_take(hf_registry_by_name(r, "lagos"), 1000));
    assert_int_equal(hf_registry_learn(r, &young), HF_OK);
    assert_true(hf_registry_counter_take(hf_registry_by_name(r, "lagos"), 1));
    assert_null(hf_registry_by_key(r, &old.edge.key));
    assert_non_null(hf_registry_by_key(r, &young.edge.key));
    hf_registry_free(r);
}

static void quota_saves_up_no_more_than_a_second(void **state)
{
    struct hf_quota q = {.credit = 0};
    (void)state;
    hf_ms now = 1000;
    assert_true(hf_quota_take(&q, now, 10));
    for (int i = 0; i < 20; i++) { /* half of what there is, so that it would pile up */
        now += 200;
        assert_true(hf_quota_take(&q, now, 10));
    }
    int taken = 0;
    while (hf_quota_take(&q, now, 10)) {
        taken++;
    }
    assert_in_range(taken, 8, 10);
}

/* At the bound, what is used up goes; what is open is a promise to somebody. */
static void open_token_never_gives_way(void **state)
{
    (void)state;
    struct hf_registry *r = hf_registry_new(4);
    struct hf_fact f;
    uint32_t count = 0;
    enum hf_err e = HF_OK;
    for (; e == HF_OK && count < 100000; count++) {
        f = token_fact(count, false);
        e = hf_registry_learn(r, &f);
    }
    assert_int_equal(e, HF_FULL);
    f = token_fact(5, true);
    assert_int_equal(hf_registry_learn(r, &f), HF_OK);
    f = token_fact(count, false);
    assert_int_equal(hf_registry_learn(r, &f), HF_OK);
    for (uint32_t id = 0; id <= count; id++) {
        f = token_fact(id, false);
        bool gone = id == 5 || id == count - 1; /* the one used up, and the one refused */
        assert_int_equal(hf_registry_token(r, &f.token.id) == NULL, gone);
    }
    hf_registry_free(r);
}

static void cookie_is_of_one_edge(void **state)
{
    struct box *b = *state;
    struct hf_cookies *c = hf_cookies_new(&b->world);
    struct hf_key one = {{1}};
    struct hf_key other = {{2}};
    struct hf_id cookie = hf_cookies_give(c, &one);
    assert_true(hf_cookies_current(c, &one, &cookie));
    assert_false(hf_cookies_current(c, &other, &cookie));
    hf_cookies_free(c);
}

/* Clocks decide nothing: a person decides what to make of it. */
static void token_that_is_used_after_a_week_is_noted(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *q = peer_new(b, 2);
    struct told first = box_invite(b, "lagos");
    struct told second = box_invite(b, "lima");
    b->now += 7 * DAY_MS - 60000;
    assert_int_equal(peer_join(p, first.text)->code, HF_OK);
    assert_null(strstr(b->notes, "after its time"));
    b->now += 120000;
    assert_int_equal(peer_join(q, second.text)->code, HF_OK);
    assert_non_null(strstr(b->notes, "after its time"));
    peer_free(p);
    peer_free(q);
}

static int start(void **state)
{
    (void)state;
    return hf_crypto_init() == HF_OK ? 0 : -1;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, box_setup, box_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counter_is_remembered_for_as_many_as_the_window_has),
        cmocka_unit_test(another_key_begins_with_counters_of_its_own),
        cmocka_unit_test(quota_saves_up_no_more_than_a_second),
        cmocka_unit_test(open_token_never_gives_way),
        T(cookie_is_of_one_edge),
        T(token_that_is_used_after_a_week_is_noted),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
