/*
 * test_queue.c - the requests that wait at a core: a line for each edge, and turns among them.
 */
#include "core/queue.h"
#include "core/transfer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static bool may_all(void *ctx, struct hf_waiting *w)
{
    (void)ctx;
    (void)w;
    return true;
}

static bool may_above(void *ctx, struct hf_waiting *w)
{
    return w->asker.handle > *(uint64_t *)ctx;
}

static void sixteen_that_fill_their_lines_leave_a_third_to_others(void **state)
{
    (void)state;
    struct hf_queue *q = hf_queue_new();
    assert_non_null(q);
    for (uint32_t i = 0; i < 16 * HF_TRANSFERS_PER_EDGE; i++) {
        (void)hf_queue_put(q, i % 16);
    }
    assert_in_range(hf_queue_count(q), HF_WAITING_MAX / 2, HF_WAITING_MAX * 2 / 3 + 1);
    for (uint32_t row = 16; row < 32; row++) {
        for (uint32_t i = 0; i < 4; i++) {
            assert_non_null(hf_queue_put(q, row));
        }
    }
    while (hf_queue_count(q) < HF_WAITING_MAX) {
        assert_non_null(hf_queue_put(q, 100 + hf_queue_count(q)));
    }
    assert_null(hf_queue_put(q, 99));
    hf_queue_free(q);
}

static void lines_take_turns_and_are_in_order_inside(void **state)
{
    struct hf_queue *q = hf_queue_new();
    const uint32_t rows[] = {7, 7, 7, 3, 3, 9};
    const uint64_t expected[] = {0, 3, 5, 1, 4, 2};
    (void)state;
    for (uint64_t i = 0; i < 6; i++) {
        hf_queue_put(q, rows[i])->asker.handle = i;
    }
    assert_int_equal(hf_queue_count_of(q, 7), 3);
    assert_int_equal(hf_queue_count_of(q, 1), 0);
    for (uint32_t i = 0; i < 6; i++) {
        struct hf_waiting *w = hf_queue_take(q, may_all, NULL);
        assert_int_equal(w->asker.handle, expected[i]);
        assert_false(w->coalesced);
        w->coalesced = true;
        hf_queue_give_back(q, w);
    }
    assert_false(hf_queue_put(q, 7)->coalesced); /* whatever was said of who had the place before */
    assert_non_null(hf_queue_take(q, may_all, NULL));
    assert_null(hf_queue_take(q, may_all, NULL));
    hf_queue_free(q);
}

static void who_is_not_ready_is_passed_by_and_keeps_his_place(void **state)
{
    struct hf_queue *q = hf_queue_new();
    uint64_t above = 2;
    (void)state;
    for (uint64_t i = 0; i < HF_WAITING_MAX / 2; i++) {
        hf_queue_put(q, (uint32_t)(i / 4))->asker.handle = i;
    }
    struct hf_waiting *w = hf_queue_take(q, may_above, &above);
    assert_int_equal(w->asker.handle, 3);
    hf_queue_give_back(q, w);
    above = HF_WAITING_MAX / 2;
    assert_null(hf_queue_take(q, may_above, &above));
    hf_queue_put(q, 0)->asker.handle = 1000; /* behind the rest of its line */
    assert_int_equal(hf_queue_count_of(q, 0), 4);
    uint64_t last = 0;
    for (uint32_t i = 0; i < HF_WAITING_MAX / 2; i++) {
        w = hf_queue_take(q, may_all, NULL);
        last = w->row == 0 ? w->asker.handle : last;
        hf_queue_give_back(q, w);
    }
    assert_int_equal(last, 1000);
    assert_int_equal(hf_queue_count(q), 0);
    hf_queue_free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_that_fill_their_lines_leave_a_third_to_others),
        cmocka_unit_test(lines_take_turns_and_are_in_order_inside),
        cmocka_unit_test(who_is_not_ready_is_passed_by_and_keeps_his_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
