/*
 * test_number.c - what is a number where people and clients write one.
 */
#include "hf/number.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void a_number_is_digits_that_fit(void **state)
{
    static const char *const wrong[] = {
        "18446744073709551616", "99999999999999999999999", "+8", "-8", "8 ", " 8", "0x8", "1x", "",
        "000000000000000000008"};
    uint64_t n = 1;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(hf_number_parse(hf_slice_str(wrong[i]), 0, UINT64_MAX, &n));
    }
    assert_false(hf_number_parse(hf_slice_str("6"), 7, 100, &n));
    assert_false(hf_number_parse(hf_slice_str("101"), 7, 100, &n));
    assert_int_equal(n, 1);
    assert_true(hf_number_parse(hf_slice_str("007"), 7, 100, &n) && n == 7);
    assert_true(hf_number_parse(hf_slice_str("18446744073709551615"), 0, UINT64_MAX, &n));
    assert_true(n == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_digits_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
