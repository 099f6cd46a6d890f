/*
 * test_err.c - error texts: complete, stable in value, and never longer than their room.
 */
#include "hf/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_error_has_a_name_and_a_sentence(void **state)
{
    (void)state;
    assert_string_equal(hf_err_name(HF_OK), "OK");
    assert_string_equal(hf_err_name(HF_BELOW_FLOOR), "BELOW_FLOOR");
    assert_int_equal(HF_BELOW_FLOOR, 18);
    assert_string_equal(hf_err_text(HF_FORK), "two signed histories for one sequence number");
    /* A number from a later version is printable too. */
    assert_non_null(hf_err_text((enum hf_err)999));
    assert_non_null(hf_err_name((enum hf_err)999));
}

static void wrapped_errors_read_from_the_outside_in(void **state)
{
    struct hf_error e;

    (void)state;
    assert_int_equal(hf_error_set(&e, HF_IO, "open %s: %d", "log", 7), HF_IO);
    assert_int_equal(hf_error_wrap(&e, "stream %s", "main"), HF_IO);
    assert_int_equal(e.code, HF_IO);
    assert_string_equal(e.text, "stream main: open log: 7");
    assert_int_equal(hf_error_set(NULL, HF_FULL, "nobody listens"), HF_FULL);
}

static void text_that_is_too_long_is_cut(void **state)
{
    struct hf_error e;
    char name[600];

    (void)state;
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    (void)hf_error_set(&e, HF_ARG, "%s", name);
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
    (void)hf_error_wrap(&e, "outer");
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
    assert_memory_equal(e.text, "outer: nnn", 10);
    (void)hf_error_wrap(&e, "%s", name);
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_name_and_a_sentence),
        cmocka_unit_test(wrapped_errors_read_from_the_outside_in),
        cmocka_unit_test(text_that_is_too_long_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
