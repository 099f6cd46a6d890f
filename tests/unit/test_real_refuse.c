/*
 * test_real_refuse.c - scenarios that real daemons cannot play, each refused with its line and why;
 * and those that they can.
 */
#include "sim/real/refuse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MINUTE UINT64_C(60000000)

static struct hf_error refused(const char *text, uint64_t max_us, struct real_means means)
{
    means.max_us = max_us;
    struct script *s = NULL;
    struct hf_error e = {.code = HF_OK};
    if (script_parse("x.sim", hf_slice_str(text), &s, &e) != HF_OK) {
        fail_msg("%s", e.text);
    }
    e.code = real_refuse(s, &means, &e);
    script_free(s);
    return e;
}

static void assert_played(const char *line, bool library)
{
    char text[200];
    snprintf(text, sizeof(text), "edges lagos\n%s\n", line);
    struct hf_error e = refused(text, 10 * MINUTE, (struct real_means){.faults_library = library});
    if (e.code != HF_OK) {
        fail_msg("%s: %s", line, e.text);
    }
}

/* The second line is refused, by its number and a sentence that has these words. */
static void assert_refused(const char *line, const char *words)
{
    char text[200];
    snprintf(text, sizeof(text), "edges lagos\n%s\n", line);
    struct hf_error e = refused(text, 10 * MINUTE, (struct real_means){0});
    if (e.code != HF_ARG || strncmp(e.text, "x.sim:", 6) != 0 || strstr(e.text, words) == NULL) {
        fail_msg("%s: %s", line, e.code == HF_OK ? "was not refused" : e.text);
    }
}

static void all_that_happens_to_processes_and_links_is_played(void **state)
{
    static const char *const lines[] = {
        "at 1s cut lagos up for 5s",
        "at 1s half-open lagos",
        "at 1s flap lagos every 4s down 1s for 12s",
        "at 1s link lagos loss 30% burst 5 rate 2Mbit for 5s",
        "at 1s crash core for 2s",
        "at 1s restart lagos",
        "at 1s pause lagos for 2s",
        "at 1s disk full at lagos for 5s",
        "link lagos packet-reorder 1% packet-duplicate 1%",
        "hub rate 50Mbit",
        "at 1s damage lagos 3",
        "at 1s write 100",
        "at 1s release bad 10 keys for 3s",
        "at 1s revoke lagos",
        "at 1s read lagos",
        "expect lagos converged within 5s of heal",
        "log 1MiB",
        "beacon 100ms",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_played(lines[i], false);
    }
}

static void what_needs_the_faults_library_is_played_only_with_it(void **state)
{
    static const char *const lines[] = {
        "at 1s disk slow 200ms at lagos",
        "at 1s disk failing at core for 2s",
        "at 1s clock step lagos +1h",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_refused(lines[i], "libholdfast-faults.so");
        assert_played(lines[i], true);
    }
}

static void single_messages_cannot_be_reached(void **state)
{
    (void)state;
    assert_refused("at 1s drop lagos 3", "x.sim:2: `drop`");
    assert_refused("at 1s forge lagos", "x.sim:2: `forge`");
    assert_refused("at 1s replay lagos", "x.sim:2: `replay`");
    assert_refused("link lagos drop 1%", "`drop` of the link of lagos");
    assert_refused("link lagos duplicate 1%", "`duplicate` of the link of lagos");
    assert_refused("link lagos reorder 1%", "`reorder` of the link of lagos");
    assert_refused("link lagos corrupt 1%", "`corrupt` of the link of lagos");
    assert_refused("at 1s link lagos corrupt 1%", "x.sim:2: `corrupt`");
}

static void clocks_of_another_speed_and_marks_are_of_the_virtual_world(void **state)
{
    (void)state;
    assert_refused("at 1s clock drift lagos 100ppm", "x.sim:2: `drift`");
    assert_refused("expect mark cut", "x.sim:2: `expect mark`");
}

static void settings_that_no_daemon_takes_are_refused(void **state)
{
    (void)state;
    assert_refused("log 256KiB", "`log` below 1MiB");
    assert_refused("link lagos delay 61s", "`delay` of the link of lagos");
    assert_refused("link lagos queue 2m", "`queue` of the link of lagos");
}

static void run_that_is_longer_than_the_user_wants_is_refused(void **state)
{
    struct hf_error e = refused("edges lagos\nduration 11m\n", 10 * MINUTE, (struct real_means){0});
    (void)state;
    assert_int_equal(e.code, HF_ARG);
    assert_non_null(strstr(e.text, "x.sim: takes 660 s of real time, and --max allows 600 s"));
    e = refused("edges lagos\nduration 10m\n", 10 * MINUTE, (struct real_means){0});
    assert_int_equal(e.code, HF_OK);
}

static void what_no_history_can_tell_is_refused_when_one_is_asked_for(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"edges lagos\nat 1s release 10 keys\nat 2s rollback\n", "x.sim:3: `rollback` gives keys"},
        {"edges lagos\nat 1s backup core\nat 2s restore core\n", "x.sim:3: `restore` takes back"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hf_error e =
            refused(cases[i].text, 10 * MINUTE, (struct real_means){.history = true});
        assert_int_equal(e.code, HF_ARG);
        assert_non_null(strstr(e.text, cases[i].words));
        e = refused(cases[i].text, 10 * MINUTE, (struct real_means){.history = false});
        assert_int_equal(e.code, HF_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_happens_to_processes_and_links_is_played),
        cmocka_unit_test(what_needs_the_faults_library_is_played_only_with_it),
        cmocka_unit_test(single_messages_cannot_be_reached),
        cmocka_unit_test(clocks_of_another_speed_and_marks_are_of_the_virtual_world),
        cmocka_unit_test(settings_that_no_daemon_takes_are_refused),
        cmocka_unit_test(run_that_is_longer_than_the_user_wants_is_refused),
        cmocka_unit_test(what_no_history_can_tell_is_refused_when_one_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
