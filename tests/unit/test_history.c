/*
 * test_history.c - the checker of recorded histories: a right one passes, and for each rule one
 * that breaks it, and nothing else, is refused with that rule and both lines.
 */
#include "sim/history.h"

#include <stdarg.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

/* Lines are joined; single quotes stand for double ones, so that histories can be read here. The
 * time of a line is its number in milliseconds unless it has one. */
static FILE *file_of(const char *const *line, char *text, size_t cap)
{
    size_t len = 0;

    for (size_t i = 0; line[i] != NULL; i++) {
        const char *timed = strstr(line[i], "time_us");
        int n = timed == NULL
                    ? snprintf(text + len, cap - len, "{'time_us':%zu000,%s}\n", i + 1, line[i])
                    : snprintf(text + len, cap - len, "{%s}\n", line[i]);
        len += (size_t)n;
        assert_true(len < cap);
    }
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    return fmemopen(text, len, "r");
}

static void expect(const char *rule, uint64_t against, uint64_t line, const char *const *lines)
{
    static char text[65536];
    struct history h;
    struct history_counts n;
    struct history_violation v;
    char error[256] = "";
    FILE *f = file_of(lines, text, sizeof text);
    bool read = history_read(f, &h, error, sizeof error);

    fclose(f);
    if (!read) {
        fail_msg("%s", error);
    }
    assert_true(history_check(&h, &n, &v));
    history_free(&h);
    if (rule == NULL) {
        if (v.rule != NULL) {
            fail_msg("%s: %s", v.rule, v.text);
        }
        return;
    }
    if (v.rule == NULL) {
        fail_msg("%s was not noticed", rule);
    }
    print_message("%s: lines %d and %d: %s\n", v.rule, (int)v.against_line, (int)v.line, v.text);
    assert_string_equal(v.rule, rule);
    assert_int_equal(v.against_line, against);
    assert_int_equal(v.line, line);
}
#define EXPECT(rule, against, line, ...)                                                           \
    expect(rule, against, line, (const char *const[]){__VA_ARGS__, NULL})

#define WRITE(process, id, changes)                                                                \
    "'type':'invoke','op':'write','node':'core','process':" #process ",'id':'" id                  \
    "','changes':[" changes "]"
#define WROTE(process, seq) "'type':'ok','process':" #process ",'seq':" #seq ",'repeated':false"
#define REPEATED(process, seq) "'type':'ok','process':" #process ",'seq':" #seq ",'repeated':true"
#define LOST(process) "'type':'info','process':" #process
#define READ(process, node, keys)                                                                  \
    "'type':'invoke','op':'read','node':'" node "','process':" #process ",'keys':[" keys "]"
#define READ_MIN(process, node, keys, min)                                                         \
    "'type':'invoke','op':'read','node':'" node "','process':" #process ",'keys':[" keys           \
    "],'min_seq':" #min
#define SHOWN(process, values, seq)                                                                \
    "'type':'ok','process':" #process ",'values':[" values "],'seq':" #seq
#define SHOWN_AGE(process, values, seq, ms)                                                        \
    "'type':'ok','process':" #process ",'values':[" values "],'seq':" #seq ",'staleness_ms':" #ms
#define SEEN(process, values) "'type':'ok','process':" #process ",'values':[" values "]"
#define STATUS(process, node) "'type':'invoke','op':'status','node':'" node "','process':" #process
#define STATE(process, seq, digest)                                                                \
    "'type':'ok','process':" #process ",'seq':" #seq ",'epoch':1,'digest':'" digest "'"
#define START(node) "'type':'start','node':'" node "'"
#define ACK(node, seq) "'type':'ack','node':'" node "','seq':" #seq

static void right_history_passes(void **state)
{
    (void)state;
    EXPECT(NULL, 0, 0, START("core"), START("lagos"), WRITE(1, "a", "['k','1'],['l','1']"),
           WROTE(1, 1), READ(2, "lagos", "'k'"), SHOWN_AGE(2, "'1'", 1, 2),
           WRITE(1, "b", "['k','2']"), LOST(1), /* and retried: */ WRITE(1, "b", "['k','2']"),
           REPEATED(1, 2), START("core"), READ(2, "lagos", "'k','l'"), SHOWN(2, "'1','1'", 1),
           ACK("lagos", 2), START("lagos"), READ_MIN(2, "lagos", "'k','l'", 2),
           SHOWN(2, "'2','1'", 2), WRITE(1, "c", "['k',null]"), WROTE(1, 3), READ(1, "core", "'k'"),
           SEEN(1, "null"), STATUS(3, "core"), STATE(3, 3, "ff"), STATUS(3, "lagos"),
           STATE(3, 3, "ff"), READ(2, "lagos", "'k'"), SHOWN(2, "null", 3));
}

static void write_of_unknown_outcome_may_be_seen_or_not(void **state)
{
    (void)state;
    EXPECT(NULL, 0, 0, WRITE(1, "a", "['k','1']"), WROTE(1, 1), WRITE(1, "b", "['k','2']"), LOST(1),
           READ(2, "lagos", "'k'"), SHOWN(2, "'1'", 2), READ(2, "lagos", "'k'"),
           SHOWN(2, "'2'", 2));
    EXPECT(NULL, 0, 0, WRITE(1, "a", "['k','1']"), WROTE(1, 1), WRITE(1, "b", "['k',null]"),
           LOST(1), READ(2, "lagos", "'k'"), SHOWN(2, "null", 2));
}

static void c1_a_read_shows_its_position(void **state)
{
    (void)state;
    /* A change that the position covers is not shown. */
    EXPECT("C1", 4, 6, WRITE(1, "a", "['k','1']"), WROTE(1, 1), WRITE(1, "b", "['k','2']"),
           WROTE(1, 2), READ(2, "lagos", "'k'"), SHOWN(2, "'1'", 2));
    /* One that it does not cover is. */
    EXPECT("C1", 4, 6, WRITE(1, "a", "['k','1']"), WROTE(1, 1), WRITE(1, "b", "['k','2']"),
           WROTE(1, 2), READ(2, "lagos", "'k'"), SHOWN(2, "'2'", 1));
    EXPECT("C1", 2, 4, WRITE(1, "a", "['k','1']"), WROTE(1, 1), READ(2, "lagos", "'k'"),
           SHOWN(2, "null", 1));
    EXPECT("C1", 1, 2, READ(2, "lagos", "'k'"), SHOWN(2, "'x'", 1));
    EXPECT("C1", 2, 3, READ(2, "lagos", "'k'"), SHOWN(2, "'1'", 1), WRITE(1, "a", "['k','1']"),
           WROTE(1, 1));
    /* A write that was refused is shown. */
    EXPECT("C1", 3, 4, WRITE(1, "a", "['k','1']"), "'type':'fail','process':1",
           READ(2, "lagos", "'k'"), SHOWN(2, "'1'", 1));
}

static void c2_positions_never_go_back(void **state)
{
    (void)state;
    EXPECT("C2", 2, 4, READ(1, "lagos", "'k'"), SHOWN(1, "null", 5), READ(1, "lagos", "'k'"),
           SHOWN(1, "null", 4));
    /* Another client's read that began after the first had ended; one that overlapped may differ.
     */
    EXPECT("C2", 2, 4, READ(1, "lagos", "'k'"), SHOWN(1, "null", 5), READ(2, "lagos", "'k'"),
           SHOWN(2, "null", 4));
    EXPECT(NULL, 0, 0, READ(1, "lagos", "'k'"), READ(2, "lagos", "'k'"), SHOWN(1, "null", 5),
           SHOWN(2, "null", 4));
    EXPECT(NULL, 0, 0, READ(1, "lagos", "'k'"), SHOWN(1, "null", 5), ACK("lagos", 4));
    EXPECT(NULL, 0, 0, READ(1, "lagos", "'k'"), SHOWN(1, "null", 5), READ(1, "lima", "'k'"),
           SHOWN(1, "null", 4));
}

static void c3_a_read_shows_what_it_asked_for(void **state)
{
    (void)state;
    EXPECT("C3", 1, 2, READ_MIN(1, "lagos", "'k'", 3), SHOWN(1, "null", 2));
    EXPECT("C3", 4, 6, WRITE(1, "a", "['k','1']"), WROTE(1, 1), WRITE(1, "b", "['k','2']"),
           WROTE(1, 2), READ(1, "core", "'k'"), SEEN(1, "'1'"));
}

static void c4_a_restart_loses_nothing(void **state)
{
    (void)state;
    EXPECT("C4", 2, 5, WRITE(1, "a", "['k','1']"), WROTE(1, 7), START("core"), STATUS(2, "core"),
           STATE(2, 6, "ff"));
    EXPECT("C4", 1, 4, ACK("lagos", 9), START("lagos"), READ(1, "lagos", "'k'"),
           SHOWN(1, "null", 8));
}

static void c5_a_request_has_one_effect(void **state)
{
    (void)state;
    EXPECT("C5", 4, 6, WRITE(1, "a", "['k','1']"), LOST(1), WRITE(1, "a", "['k','1']"), WROTE(1, 1),
           WRITE(1, "a", "['k','1']"), REPEATED(1, 2));
    EXPECT("C5", 2, 4, WRITE(1, "a", "['k','1']"), WROTE(1, 1), WRITE(1, "a", "['k','1']"),
           WROTE(1, 1));
    EXPECT("C5", 1, 2, WRITE(1, "a", "['k','1']"), REPEATED(1, 1));
    EXPECT("C5", 2, 4, WRITE(1, "a", "['k','1']"), WROTE(1, 5), WRITE(1, "b", "['l','1']"),
           WROTE(1, 4));
    EXPECT("C5", 2, 4, WRITE(1, "a", "['k','1']"), WROTE(1, 5), WRITE(1, "b", "['k','2']"),
           WROTE(1, 5));
}

static void c6_one_position_has_one_digest(void **state)
{
    (void)state;
    EXPECT("C6", 2, 4, STATUS(1, "core"), STATE(1, 3, "aa"), STATUS(1, "lagos"), STATE(1, 3, "ab"));
}

static void c7_data_is_not_older_than_it_says(void **state)
{
    (void)state;
    /* Acknowledged at 2 ms, read begun at 10 ms: 7 ms is a lie, 9 ms is not. */
    EXPECT("C7", 2, 4, WRITE(1, "a", "['k','1']"), WROTE(1, 1),
           "'time_us':10000," READ(2, "lagos", "'k'"),
           "'time_us':11000," SHOWN_AGE(2, "null", 0, 7));
    EXPECT(NULL, 0, 0, WRITE(1, "a", "['k','1']"), WROTE(1, 1),
           "'time_us':10000," READ(2, "lagos", "'k'"),
           "'time_us':11000," SHOWN_AGE(2, "null", 0, 9));
}

static void c8_what_was_deleted_stays_deleted(void **state)
{
    (void)state;
    EXPECT("C8", 4, 6, WRITE(1, "a", "['k','1']"), WROTE(1, 1), WRITE(1, "b", "['k',null]"),
           WROTE(1, 2), READ(2, "lagos", "'k'"), SHOWN(2, "'1'", 2));
}

static void c9_a_write_is_seen_as_a_whole(void **state)
{
    (void)state;
    EXPECT("C9", 3, 6, WRITE(1, "a", "['k','1'],['l','1']"), WROTE(1, 1),
           WRITE(1, "b", "['k','2'],['l','2']"), WROTE(1, 2), READ(2, "core", "'k','l'"),
           SEEN(2, "'2','1'"));
    EXPECT("C9", 1, 4, WRITE(1, "a", "['k','1'],['l','1']"), WROTE(1, 1),
           READ(2, "core", "'k','l'"), SEEN(2, "'1',null"));
}

static void refused(const char *words, const char *line)
{
    static char text[4096];
    struct history h;
    char error[256] = "";
    FILE *f = file_of((const char *const[]){START("core"), line, NULL}, text, sizeof text);

    assert_false(history_read(f, &h, error, sizeof error));
    fclose(f);
    if (strstr(error, "line 2: ") == NULL || strstr(error, words) == NULL) {
        fail_msg("%s", error);
    }
}

static void what_is_no_history_is_refused_with_its_line(void **state)
{
    (void)state;
    refused("\"type\" must be", "'type':'begin','process':1");
    refused("not a JSON object", "'type'");
    refused("no operation under way", "'type':'ok','process':1");
    refused("\"process\" must be", "'type':'invoke','process':5000");
    refused("\"op\" must be", "'type':'invoke','process':1,'node':'core','op':'eat'");
    refused("\"changes\"", "'type':'invoke','process':1,'node':'core','op':'write','id':'a'");
    refused("\"keys\"", "'type':'invoke','process':1,'node':'core','op':'read'");
    refused("goes back", "'time_us':1,'type':'start','node':'core'");
    refused("0 or above", "'time_us':-1,'type':'start','node':'core'");
}

/* The reader stopped there once, and what followed the zero byte was never looked at. */
static void nothing_is_skipped_behind_a_zero_byte(void **state)
{
    static char text[2][100] = {
        "{\"time_us\":1,\"type\":\"start\",\"node\":\"core\"}\n"
        "{\"time_us\":2,\"type\":\"start\",\"node\":\"core\"}\0, and more\n",
        "{\"time_us\":1,\"type\":\"start\",\"node\":\"core\"}\n"
        "{\"time_us\":2\0,\"type\":\"start\",\"node\":\"core\"}\n"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct history h;
        char error[256] = "";
        FILE *f = fmemopen(text[i], sizeof(text[i]), "r");

        assert_false(history_read(f, &h, error, sizeof error));
        fclose(f);
        assert_non_null(strstr(error, "line 2: not a JSON object"));
    }
}

static void a_bound_of_a_million_years_bounds_nothing(void **state)
{
    (void)state;
    EXPECT(NULL, 0, 0, WRITE(1, "a", "['k','1']"), WROTE(1, 1), READ(2, "lagos", "'k'"),
           SHOWN_AGE(2, "null", 0, 9223372036854775807));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_history_passes),
        cmocka_unit_test(write_of_unknown_outcome_may_be_seen_or_not),
        cmocka_unit_test(c1_a_read_shows_its_position),
        cmocka_unit_test(c2_positions_never_go_back),
        cmocka_unit_test(c3_a_read_shows_what_it_asked_for),
        cmocka_unit_test(c4_a_restart_loses_nothing),
        cmocka_unit_test(c5_a_request_has_one_effect),
        cmocka_unit_test(c6_one_position_has_one_digest),
        cmocka_unit_test(c7_data_is_not_older_than_it_says),
        cmocka_unit_test(c8_what_was_deleted_stays_deleted),
        cmocka_unit_test(c9_a_write_is_seen_as_a_whole),
        cmocka_unit_test(what_is_no_history_is_refused_with_its_line),
        cmocka_unit_test(nothing_is_skipped_behind_a_zero_byte),
        cmocka_unit_test(a_bound_of_a_million_years_bounds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
