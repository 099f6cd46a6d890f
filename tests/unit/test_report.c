/*
 * test_report.c - the three forms of a recording: its JSON says what was recorded and harms no page
 * that carries it, the page is one file that asks for nothing, the table is short and names what
 * failed. What a browser makes of the page is tests/e2e/test_report.sh's.
 */
#include "tests/unit/record_box.h"

#include "sim/report.h"

#include <stdlib.h>

#include <jansson.h>

/* ---- JSON and page ---- */

static json_t *json_of(const struct record *r)
{
    char *text = report_json(r);
    assert_null(strchr(text, '<'));
    json_error_t e;
    json_t *j = json_loads(text, 0, &e);
    assert_non_null(j);
    free(text);
    return j;
}

static json_int_t integer(json_t *o, const char *key)
{
    json_t *n = json_object_get(o, key);
    assert_true(json_is_integer(n));
    return json_integer_value(n);
}

static void json_says_what_was_recorded(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    struct record_sample s = well;
    r->title = "a run";
    r->seed = UINT64_MAX;
    record_sample(r, RECORD_CORE, 0, &well);
    record_sample(r, 1, 0, &s);
    s.bytes_down = 4096;
    s = cut(s);
    record_sample(r, 1, 2000, &s);
    s = stopped(s);
    record_sample(r, 1, 3000, &s);
    record_expect(r, "expect lagos live", false, "not-running");
    record_end(r, 4000);
    json_t *j = json_of(r);
    json_t *edge = json_array_get(json_object_get(j, "edges"), 0);
    json_t *points = json_object_get(edge, "points");
    json_t *span = json_array_get(json_object_get(edge, "cut_spans"), 0);
    assert_string_equal(json_string_value(json_object_get(j, "seed")), "18446744073709551615");
    assert_int_equal(integer(j, "duration_ms"), 4000);
    assert_true(json_is_false(json_object_get(j, "ok")));
    assert_string_equal(json_string_value(json_object_get(edge, "state")), "not-running");
    assert_int_equal(integer(edge, "cut_ms"), 2000);
    assert_int_equal(integer(span, "from_ms"), 2000);
    assert_int_equal(integer(span, "until_ms"), 4000);
    assert_int_equal(integer(edge, "bytes_down"), 4096);
    assert_true(json_is_null(json_object_get(edge, "recovery_max_ms")));
    size_t count = json_array_size(json_object_get(points, "applied_max"));
    assert_int_equal(count, 401);
    assert_int_equal(json_array_size(json_object_get(points, "staleness_min_ms")), count);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(points, "bytes_down"), 200)),
                     4096);
    assert_true(json_is_null(json_array_get(json_object_get(points, "staleness_max_ms"), 400)));
    json_decref(j);
    record_free(r);
}

static void hostile_text_is_text(void **state)
{
    (void)state;
    struct record *r = record_new();
    r->title = "</script><script>alert(1)</script><!--";
    record_add(r, "\xff<b>");
    record_expect(r, "\"</script>", true, "\xc3\x28");
    json_t *j = json_of(r);
    assert_string_equal(json_string_value(json_object_get(j, "title")), r->title);
    json_t *edge = json_array_get(json_object_get(j, "edges"), 0);
    assert_string_equal(json_string_value(json_object_get(edge, "name")), "?<b>");
    json_decref(j);
    record_free(r);
}

/* The page is one file: what it carries ends where it should, and nothing is fetched. */
static void the_page_carries_the_json_and_asks_for_nothing(void **state)
{
    (void)state;
    struct record *r = record_of(2);
    r->title = "</script>";
    record_sample(r, 1, 0, &well);
    char *json = report_json(r);
    char *page = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&page, &len);
    report_html(json, f);
    fclose(f);
    assert_non_null(strstr(page, json));
    assert_null(strstr(page, "src="));
    assert_null(strstr(page, "@import"));
    assert_null(strstr(page, "url(http"));
    uint32_t ends = 0;
    for (const char *p = page; (p = strstr(p, "</script")) != NULL; p++) {
        ends++;
    }
    assert_int_equal(ends, 2);
    free(page);
    free(json);
    record_free(r);
}

/* ---- the table ---- */

static void table_of(const struct record *r, bool all, char **text)
{
    size_t len = 0;
    FILE *f = open_memstream(text, &len);
    report_text(r, all, f);
    fclose(f);
}

static uint32_t lines_with(const char *text, const char *word)
{
    uint32_t n = 0;
    for (const char *p = text; (p = strstr(p, word)) != NULL; p++) {
        n++;
    }
    return n;
}

static void the_table_shows_the_worst_twenty_or_all(void **state)
{
    (void)state;
    struct record *r = record_of(200);
    struct record_sample behind = well;
    behind.applied = 3;
    for (uint32_t i = 1; i <= 200; i++) {
        record_sample(r, i, 0, i == 137 ? &behind : &well);
    }
    char *text = NULL;
    table_of(r, false, &text);
    assert_int_equal(lines_with(text, "\nedge"), REPORT_EDGES_SHOWN);
    assert_true(strstr(text, "\nedge137 ") != NULL &&
                strstr(text, "\nedge137 ") < strstr(text, "\nedge1 "));
    assert_non_null(strstr(text, "and 180 edges that did better"));
    free(text);
    table_of(r, true, &text);
    assert_int_equal(lines_with(text, "\nedge"), 200);
    free(text);
    record_free(r);
}

static void the_table_names_what_failed_and_by_how_much(void **state)
{
    (void)state;
    struct record *r = record_of(1);
    record_sample(r, 1, 0, &well);
    record_expect(r, "expect edge1 live", true, "");
    record_expect(r, "expect staleness \x1b[31m", false, "7.1 s");
    char *text = NULL;
    table_of(r, false, &text);
    assert_non_null(strstr(text, "ok      expect edge1 live\n"));
    assert_non_null(strstr(text, "FAILED  expect staleness ?[31m  7.1 s\n"));
    free(text);
    record_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_says_what_was_recorded),
        cmocka_unit_test(hostile_text_is_text),
        cmocka_unit_test(the_page_carries_the_json_and_asks_for_nothing),
        cmocka_unit_test(the_table_shows_the_worst_twenty_or_all),
        cmocka_unit_test(the_table_names_what_failed_and_by_how_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
