/*
 * test_orders.c - what a timeline ordered comes out in its order, whole, and a roll-back gives back
 * what the release found.
 */
#include "sim/orders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEYS 40u

struct box {
    struct script_load load;
    struct workload w;
    struct orders o;
    struct workload_change out[SCRIPT_CHANGES_MAX];
};

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    b->load = script_load_usual;
    assert_int_equal(workload_init(&b->w, &b->load, 7), HF_OK);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    orders_deinit(&b->o);
    workload_deinit(&b->w);
    free(b);
    return 0;
}

/* Takes one order about keys 0 to KEYS - 1: each comes once, in its order. */
static void take_keys(struct box *b, uint64_t value[KEYS])
{
    for (uint32_t next = 0; next < KEYS;) {
        assert_true(orders_wait(&b->o));
        uint32_t count = orders_take(&b->o, &b->w, b->out);
        assert_in_range(count, 1, SCRIPT_CHANGES_MAX);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(b->out[i].key, next);
            value[next++] = b->out[i].value;
        }
    }
}

static void release(struct box *b, uint64_t first)
{
    uint64_t *before = orders_release(&b->o, KEYS);
    for (uint32_t k = 0; k < KEYS; k++) {
        before[k] = k % 3 == 0 ? 0 : first + k;
    }
}

static void orders_come_one_after_the_other(void **state)
{
    struct box *b = *state;
    uint64_t value[KEYS];
    assert_false(orders_wait(&b->o));
    orders_writes(&b->o, 0);
    assert_false(orders_wait(&b->o));
    orders_writes(&b->o, 3);
    release(b, 1);
    orders_writes(&b->o, 1);
    for (int i = 0; i < 3; i++) {
        assert_in_range(orders_take(&b->o, &b->w, b->out), 1, b->load.changes_max);
    }
    take_keys(b, value);
    for (uint32_t k = 0; k < KEYS; k++) {
        assert_int_not_equal(value[k], 0); /* new ones, no deletes */
    }
    assert_true(orders_wait(&b->o));
    assert_in_range(orders_take(&b->o, &b->w, b->out), 1, b->load.changes_max);
    assert_false(orders_wait(&b->o));
}

static void the_newest_release_is_rolled_back_first(void **state)
{
    struct box *b = *state;
    uint64_t value[KEYS];
    release(b, 1000);
    release(b, 5000);
    take_keys(b, value);
    take_keys(b, value);
    orders_rollback(&b->o);
    orders_rollback(&b->o);
    static const uint64_t first[] = {5000, 1000};
    for (int i = 0; i < 2; i++) {
        take_keys(b, value);
        for (uint32_t k = 0; k < KEYS; k++) {
            assert_int_equal(value[k], k % 3 == 0 ? 0 : first[i] + k);
        }
    }
    assert_false(orders_wait(&b->o));
}

/* The sanitizers tell whether anything is left. */
static void what_was_not_sent_is_freed(void **state)
{
    struct box *b = *state;
    release(b, 1);
    orders_rollback(&b->o);
    release(b, 2);
    orders_writes(&b->o, 5);
    assert_in_range(orders_take(&b->o, &b->w, b->out), 1, SCRIPT_CHANGES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(orders_come_one_after_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_release_is_rolled_back_first, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_sent_is_freed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
