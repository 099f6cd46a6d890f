/*
 * test_spec.c - what a run is, in words: options, kinds of faults, and the rule in a violation.
 */
#include "sim/seeds.h"
#include "sim/spec.h"
#include "sim/trial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void the_text_of_a_run_gives_the_same_run(void **state)
{
    (void)state;
    struct sim_spec s;
    struct sim_spec again;
    char text[SPEC_TEXT_MAX];
    char problem[SPEC_PROBLEM_MAX];
    spec_usual(&s, UINT64_MAX);
    s.edges = 200;
    s.duration_ms = 98765432109;
    s.faults_given = true;
    s.faults = FAULTS_ALL;
    spec_text(&s, text);
    assert_true(spec_parse(&again, text, problem));
    /* Member by member: what lies between them may differ. */
    assert_true(again.seed == s.seed && again.edges == s.edges);
    assert_true(again.duration_ms == s.duration_ms && again.every_ms == s.every_ms);
    assert_true(again.faults == s.faults && again.faults_given == s.faults_given);
    assert_true(again.calm == s.calm && again.canary == s.canary);
}

static void each_kind_of_fault_has_a_name_that_is_read_back(void **state)
{
    (void)state;
    for (int f = 0; f < FAULT_KINDS; f++) {
        uint64_t mask = 0;
        assert_true(faults_parse(fault_name((enum fault)f), &mask, NULL));
        assert_int_equal(mask, UINT64_C(1) << f);
    }
    char text[FAULTS_TEXT_MAX];
    uint64_t mask = 0;
    faults_text(FAULTS_ALL, text);
    assert_true(faults_parse(text, &mask, NULL));
    assert_int_equal(mask, FAULTS_ALL);
    faults_text(0, text);
    assert_string_equal(text, "none");
    assert_true(faults_parse("none", &mask, NULL));
    assert_int_equal(mask, 0);
}

static void what_is_no_run_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "--faults cut,cuts", "--faults cut,", "--faults ,",     "--seed x",
        "--seed -1",         "--edges 0",     "--edges 201",    "--duration 0",
        "--duration 1e",     "--every 0",     "--seed",         "--duration nan",
        "--nonsense 1",      "seed 1",        "--seeds 4",      "--duration -3",
        "--faults",          "--edges 1.5",   "--seed canary:", "--seed canaries"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct sim_spec s;
        char text[64];
        char problem[SPEC_PROBLEM_MAX] = "";
        snprintf(text, sizeof(text), "%s", wrong[i]);
        assert_false(spec_parse(&s, text, problem));
        assert_true(strlen(problem) > 10);
    }
}

static void a_canary_is_a_run_of_its_own(void **state)
{
    (void)state;
    struct sim_spec s;
    char words[] = "--seed canary --edges 2";
    char text[SPEC_TEXT_MAX];
    char problem[SPEC_PROBLEM_MAX];
    assert_true(spec_parse(&s, words, problem));
    assert_true(s.canary);
    spec_text(&s, text);
    assert_non_null(strstr(text, "--seed canary --edges"));
}

static void the_text_of_a_canary_keeps_its_seed(void **state)
{
    (void)state;
    struct sim_spec s;
    char text[SPEC_TEXT_MAX];
    char problem[SPEC_PROBLEM_MAX];
    spec_usual(&s, UINT64_MAX);
    s.canary = true;
    spec_text(&s, text);
    assert_true(spec_parse(&s, text, problem));
    assert_true(s.canary && s.seed == UINT64_MAX);
}

static void a_commit_is_one_word(void **state)
{
    static const char *const wrong[] = {"", "my build 7", "a#7", "a\tb", "a\n"};
    char word[SEEDS_COMMIT_MAX + 2];
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(seeds_is_commit(wrong[i]));
    }
    memset(word, 'a', sizeof(word));
    word[SEEDS_COMMIT_MAX + 1] = '\0';
    assert_false(seeds_is_commit(word));
    assert_true(seeds_is_commit(word + 1));
}

static void the_faults_that_a_seed_draws_can_be_named(void **state)
{
    (void)state;
    struct sim_spec s;
    uint64_t all = 0;
    for (uint64_t seed = 0; seed < 64; seed++) {
        spec_usual(&s, seed);
        spec_name_faults(&s);
        assert_true(s.faults_given);
        all |= s.faults;
    }
    assert_int_equal(all, FAULTS_ALL);
    spec_usual(&s, 1);
    s.calm = true;
    spec_name_faults(&s);
    assert_false(s.faults_given);
}

static void the_rule_is_what_stands_before_the_colon(void **state)
{
    (void)state;
    char rule[TRIAL_RULE_MAX];
    trial_rule("at 3.120 s: G5: edge2 has: it twice", rule);
    assert_string_equal(rule, "G5");
    trial_rule("at 3.120 s: G11/G15: the store of edge2", rule);
    assert_string_equal(rule, "G11/G15");
    trial_rule("crash: signal 6 (Aborted)", rule);
    assert_string_equal(rule, "crash");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_of_a_run_gives_the_same_run),
        cmocka_unit_test(each_kind_of_fault_has_a_name_that_is_read_back),
        cmocka_unit_test(what_is_no_run_is_refused_with_a_sentence),
        cmocka_unit_test(a_canary_is_a_run_of_its_own),
        cmocka_unit_test(the_text_of_a_canary_keeps_its_seed),
        cmocka_unit_test(a_commit_is_one_word),
        cmocka_unit_test(the_faults_that_a_seed_draws_can_be_named),
        cmocka_unit_test(the_rule_is_what_stands_before_the_colon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
