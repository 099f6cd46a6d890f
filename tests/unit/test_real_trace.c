/*
 * test_real_trace.c - recorded links: what holds when, and what is said about files that are wrong.
 */
#include "sim/real/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000)

static enum hf_err load(const char *text, struct real_trace **t, struct hf_error *e)
{
    char path[] = "/tmp/holdfast-trace.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    enum hf_err rc = real_trace_load(path, t, e);
    unlink(path);
    return rc;
}

static void line_holds_until_the_next_and_the_whole_begins_again(void **state)
{
    struct real_trace *t;
    struct hf_error e;
    (void)state;
    assert_int_equal(load("# a link\n10 100 0\n12 300 5% 2.5 # worse\n\n15 80 1\n", &t, &e), HF_OK);
    assert_int_equal(t->count, 3);
    assert_true(t->period_us == 8 * SECOND); /* the last holds as long as the one before it */
    assert_true(real_trace_at(t, 0)->rtt_ms == 100);
    assert_true(real_trace_wait(t, 0) == 2 * SECOND);
    assert_true(real_trace_at(t, 2 * SECOND - 1)->rtt_ms == 100);
    assert_true(real_trace_at(t, 2 * SECOND)->loss == 0.05);
    assert_true(real_trace_at(t, 2 * SECOND)->rate_bps == 2500000);
    assert_true(real_trace_at(t, 7 * SECOND)->rtt_ms == 80);
    assert_true(real_trace_wait(t, 7 * SECOND) == SECOND);
    assert_true(real_trace_at(t, 8 * SECOND)->rtt_ms == 100);
    assert_true(real_trace_at(t, 19 * SECOND)->rtt_ms == 300);
    real_trace_free(t);
}

static void single_line_holds_for_ever(void **state)
{
    struct real_trace *t;
    struct hf_error e;
    (void)state;
    assert_int_equal(load("0 50 0.5", &t, &e), HF_OK);
    assert_true(real_trace_at(t, 123 * SECOND)->rtt_ms == 50);
    assert_true(real_trace_wait(t, 0) > 0);
    real_trace_free(t);
}

static void wrong_lines_are_refused_by_their_number(void **state)
{
    static const struct {
        const char *text, *words;
    } wrong[] = {
        {"0 50 0\n1 fifty 0\n", ":2: expected `SECONDS RTT_MS LOSS%"},
        {"0 50 101\n", ":1: expected `SECONDS"},
        {"0 50 1 10 more\n", ":1: expected `SECONDS"},
        {"0 -1 0\n", ":1: expected `SECONDS"},
        {"0 nan 0\n", ":1: expected `SECONDS"},
        {"5 50 0\n5 60 0\n", ":2: expected a later time than before"},
        {"# nothing\n", "there is no line in it"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct real_trace *t = NULL;
        struct hf_error e;
        assert_int_equal(load(wrong[i].text, &t, &e), HF_ARG);
        assert_null(t);
        if (strstr(e.text, wrong[i].words) == NULL) {
            fail_msg("%s: %s", wrong[i].text, e.text);
        }
    }
}

static void missing_file_is_named(void **state)
{
    struct real_trace *t = NULL;
    struct hf_error e;
    (void)state;
    assert_int_equal(real_trace_load("/nonexistent/link.txt", &t, &e), HF_NOTFOUND);
    assert_non_null(strstr(e.text, "/nonexistent/link.txt"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_holds_until_the_next_and_the_whole_begins_again),
        cmocka_unit_test(single_line_holds_for_ever),
        cmocka_unit_test(wrong_lines_are_refused_by_their_number),
        cmocka_unit_test(missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
