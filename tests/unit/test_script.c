/*
 * test_script.c - scenario files: what each statement comes to, and what is said about wrong ones.
 */
#include "sim/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)

static struct script *parsed(const char *text)
{
    struct script *s = NULL;
    struct hf_error e = {.code = HF_OK};
    if (script_parse("dir/x.sim", hf_slice_str(text), &s, &e) != HF_OK) {
        fail_msg("%s", e.text);
    }
    return s;
}

/* The file is refused with exactly this sentence. */
static void assert_refused(const char *text, const char *sentence)
{
    struct script *s = NULL;
    struct hf_error e = {.code = HF_OK};
    assert_int_equal(script_parse("x.sim", hf_slice_str(text), &s, &e), HF_ARG);
    assert_null(s);
    assert_string_equal(e.text, sentence);
}

/* The nodes of action i, as a number: bit n is node n. */
static uint64_t nodes_of(const struct script *s, uint32_t i)
{
    return s->action[i].nodes.bits[0];
}

static void assert_action(const struct script *s, uint32_t i, uint64_t at_us, const char *verb)
{
    assert_true(i < s->action_count);
    assert_string_equal(script_verb_name(s->action[i].verb), verb);
    assert_true(s->action[i].at_us == at_us);
}

/* ---- what holds from the start ---- */

static void first_comment_is_the_title(void **state)
{
    (void)state;
    struct script *s = parsed("# A cable is cut.\nedges lagos # the only one\n# not this\n");
    assert_string_equal(s->title, "A cable is cut.");
    assert_int_equal(s->edge_count, 1);
    assert_string_equal(s->edge[0].name, "core");
    assert_string_equal(s->edge[1].name, "lagos");
    script_free(s);
}

static void title_is_cut_between_characters(void **state)
{
    (void)state;
    for (size_t odd = 0; odd <= 1; odd++) {
        char text[400] = "\xef\xbb\xbf# x"; /* a byte order mark is no statement */
        text[5 + odd] = '\0';
        for (int i = 0; i < 100; i++) {
            strcat(text, "\xc3\xa9");
        }
        struct script *s = parsed(strcat(text, "\nedges a\n"));
        assert_int_equal(strlen(s->title), 158 + odd);
        script_free(s);
    }
}

static void edges_may_be_made_by_the_dozen(void **state)
{
    (void)state;
    struct script *s = parsed("edges lagos shop 1..40 lima\n");
    assert_int_equal(s->edge_count, 42);
    assert_string_equal(s->edge[2].name, "shop-1");
    assert_string_equal(s->edge[41].name, "shop-40");
    assert_string_equal(s->edge[42].name, "lima");
    script_free(s);
}

static void link_changes_what_it_names_and_leaves_the_rest(void **state)
{
    (void)state;
    struct script *s = parsed("edges a b\nlink all delay 100ms rate 20Mbit loss 0.5%\n"
                              "link b burst 5 queue 250ms drop 1% packet-reorder 2%\n"
                              "hub rate 50Mbit queue 200ms\nat 1s half-open a\n");
    assert_true(s->hub_rate_bps == 50000000 && s->hub_queue_us == 200000);
    assert_float_equal(s->edge[2].link.packet_reorder, 0.02, 1e-12);
    assert_action(s, 0, SECOND, "half-open");
    assert_true(s->edge[1].link.delay_us == 100000 && s->edge[2].link.delay_us == 100000);
    assert_true(s->edge[2].link.rate_bps == 20000000);
    assert_float_equal(s->edge[2].link.loss, 0.005, 1e-12);
    assert_float_equal(s->edge[1].link.burst, 1, 1e-12);
    assert_float_equal(s->edge[2].link.burst, 5, 1e-12);
    assert_float_equal(s->edge[2].link.drop, 0.01, 1e-12);
    assert_true(s->edge[1].link.queue_us == 100000 && s->edge[2].link.queue_us == 250000);
    script_free(s);
}

static void link_trace_lies_beside_the_scenario(void **state)
{
    char dir[] = "/tmp/test_script.XXXXXX";
    char path[64];
    char trace[64];
    struct script *s = NULL;
    struct hf_error e = {.code = HF_OK};
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/x.sim", dir);
    snprintf(trace, sizeof(trace), "%s/ship.trace", dir);
    FILE *f = fopen(trace, "w");
    assert_non_null(f);
    fputs("0 600 1%\n", f);
    fclose(f);
    const char *text = "edges a\nlink a trace ship.trace\n";
    assert_int_equal(script_parse(path, hf_slice_str(text), &s, &e), HF_OK);
    assert_string_equal(s->edge[1].link.trace, trace);
    script_free(s);
    unlink(trace);
    assert_int_equal(script_parse(path, hf_slice_str(text), &s, &e), HF_ARG);
    assert_non_null(strstr(e.text, "ship.trace: No such file"));
    rmdir(dir);
}

static void load_is_described_in_words(void **state)
{
    (void)state;
    struct script *s =
        parsed("edges a\nwrite every 200ms steady\nburst 50 every 10m\nidle 8h of every 24h\n"
               "keys 4000 zipf 1.1\nvalue 100..2000\nchanges 8\ndeletes 0%\nread every 1s\n"
               "log 256KiB\nlog age 7d\ntombstones 30d\nbeacon 10s\nseed 7\nconverge within 5m\n");
    const struct script_load *l = &s->load;
    assert_true(l->write_every_us == 200000 && l->steady);
    assert_true(l->burst_writes == 50 && l->burst_every_us == 10 * MINUTE);
    assert_true(l->idle_us == 8 * HOUR && l->idle_every_us == 24 * HOUR);
    assert_int_equal(l->keys, 4000);
    assert_float_equal(l->zipf, 1.1, 1e-12);
    assert_true(l->value_min == 100 && l->value_max == 2000);
    assert_true(l->changes_max == 8 && l->deletes == 0 && l->read_every_us == SECOND);
    assert_true(s->log_bytes == 256 << 10 && s->log_age_us == 168 * HOUR);
    assert_true(s->tombstone_us == 720 * HOUR && s->beacon_us == 10 * SECOND);
    assert_true(s->has_seed && s->seed == 7 && s->converge_us == 5 * MINUTE);
    script_free(s);
}

static void write_never_and_converge_no_are_zero(void **state)
{
    (void)state;
    struct script *s = parsed("edges a\nwrite never\nconverge no\nvalue max 1MB\n");
    assert_true(s->load.write_every_us == 0 && s->converge_us == 0);
    assert_true(s->load.value_min == 0 && s->load.value_max == 1000000);
    script_free(s);
}

/* ---- the timeline ---- */

static void what_lasts_becomes_two_actions(void **state)
{
    (void)state;
    struct script *s = parsed("edges a b\nat 10m cut a down for 1h30m\nat 5m pause b for 10s\n"
                              "at 2m disk slow 200ms at core for 1m\nat 1h restart core\n");
    assert_int_equal(s->action_count, 8);
    assert_action(s, 0, 2 * MINUTE, "disk-slow");
    assert_true(s->action[0].us == 200000);
    assert_action(s, 1, 3 * MINUTE, "disk-well");
    assert_true(nodes_of(s, 1) == 1);
    assert_action(s, 2, 5 * MINUTE, "pause");
    assert_action(s, 3, 5 * MINUTE + 10 * SECOND, "resume");
    assert_action(s, 4, 10 * MINUTE, "cut");
    assert_true(s->action[4].down && !s->action[4].up && nodes_of(s, 4) == 2);
    assert_action(s, 5, HOUR, "crash");
    assert_action(s, 6, HOUR + SECOND, "start");
    assert_action(s, 7, 100 * MINUTE, "heal");
    assert_true(s->duration_us == 101 * MINUTE); /* a minute after the last */
    script_free(s);
}

static void flap_becomes_cuts_and_heals(void **state)
{
    (void)state;
    struct script *s = parsed("edges a\nat 1m flap a every 30s down 5s for 90s\n");
    assert_int_equal(s->action_count, 6);
    for (uint32_t i = 0; i < 3; i++) {
        assert_action(s, 2 * i, MINUTE + i * 30 * SECOND, "cut");
        assert_action(s, 2 * i + 1, MINUTE + (i * 30 + 5) * SECOND, "heal");
    }
    script_free(s);
}

static void groups_lists_and_counts_name_many(void **state)
{
    (void)state;
    struct script *s = parsed("edges a shop 1..3 b\nat 1s half-open shop-*\n"
                              "at 2s half-open a,b\nat 3s half-open 2 of shop-*\n"
                              "at 4s half-open core\nat 5s crash core,a\n");
    assert_true(nodes_of(s, 0) == (4 | 8 | 16));
    assert_true(nodes_of(s, 1) == (2 | 32));
    assert_true(nodes_of(s, 2) == (4 | 8));
    assert_true(nodes_of(s, 3) == (2 | 4 | 8 | 16 | 32)); /* its line carries all others */
    assert_true(nodes_of(s, 4) == (1 | 2));
    script_free(s);
}

/* The last `for` heals, or the first `heal` that stands there; what changes nothing is left out. */
static void what_overlaps_ends_when_the_last_has_ended(void **state)
{
    (void)state;
    struct script *s = parsed("edges a b\nat 10s cut all for 2m\nat 20s cut a for 5s\n"
                              "at 1m cut b for 5m\nat 3m heal b\nat 4m cut b for 10m\n");
    assert_int_equal(s->action_count, 5);
    assert_action(s, 0, 10 * SECOND, "cut");
    assert_action(s, 1, 130 * SECOND, "heal");
    assert_true(nodes_of(s, 1) == 2);
    assert_action(s, 2, 3 * MINUTE, "heal");
    assert_action(s, 3, 4 * MINUTE, "cut");
    assert_action(s, 4, 14 * MINUTE, "heal"); /* not at 6m, when another would have ended */
    script_free(s);
    s = parsed("edges a\nat 10s crash a for 2m\nat 30s restart a\n"
               "at 10s cut a down for 1m\nat 20s cut a up for 10s\n");
    assert_int_equal(s->action_count, 5);
    assert_action(s, 2, 20 * SECOND, "cut");
    assert_action(s, 3, 70 * SECOND, "heal");
    assert_action(s, 4, 130 * SECOND, "start");
    script_free(s);
    s = parsed("edges a\nat 10s pause a for 1m\nat 20s crash a for 10s\n");
    assert_int_equal(s->action_count, 3); /* what came back is not paused */
    script_free(s);
}

static void what_changes_nothing_is_left_out(void **state)
{
    (void)state;
    struct script *s = parsed("edges a b\nat 1s cut a\nat 2s heal all\nat 3s heal b\n"
                              "at 4s resume a\nat 5s start core\nat 6s disk well at a\n");
    assert_int_equal(s->action_count, 2);
    assert_action(s, 1, 2 * SECOND, "heal");
    assert_true(nodes_of(s, 1) == 2);
    script_free(s);
    s = parsed("edges a\nat 1s crash a\nat 1s start a\nat 3s cut a for 2s\nat 5s cut a\n");
    assert_int_equal(s->action_count, 5); /* in the order of the file, but for ends of `for` */
    assert_action(s, 1, SECOND, "start");
    assert_action(s, 3, 5 * SECOND, "heal");
    script_free(s);
    s = parsed("edges a\nat 10s disk full at a for 1m\nat 12s disk slow 5ms at a for 5s\n");
    assert_int_equal(s->action_count, 3); /* the newest goes */
    assert_action(s, 2, 17 * SECOND, "disk-well");
    script_free(s);
    assert_refused("edges a\nlog age 500ms\n", "x.sim:2: an age is at least 1s");
    assert_refused("edges a\ntombstones 500ms\n", "x.sim:2: an age is at least 1s");
    assert_refused("edges a\nat 1s release 100 keys\nkeys 10\n", "x.sim:2: there are only 10 keys");
    assert_refused("edges a 1..5\nexpect 9 of a-* live\n", "x.sim:2: there are only 5 of these");
}

static void links_change_setting_by_setting(void **state)
{
    (void)state;
    struct script *s = parsed("edges a\nat 10s link a rate 64kbit\nat 12s link a loss 10% for 9s\n"
                              "at 15s link a delay 1s\nlink a jitter 3ms\n");
    assert_int_equal(s->action_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        const struct script_link *l = &s->action[i].link;
        assert_true(l->rate_bps == 64000 && l->jitter_us == 3000);
        assert_float_equal(l->loss, i == 1 || i == 2 ? 0.1 : 0, 1e-12);
        assert_int_equal(l->delay_us == 1000000, i >= 2);
    }
    script_free(s);
}

static void link_that_changes_for_a_time_changes_back(void **state)
{
    (void)state;
    struct script *s = parsed("edges a b\nlink a delay 10ms\nlink b delay 20ms\n"
                              "at 1m link all loss 30% for 10s\n");
    assert_int_equal(s->action_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_action(s, i, MINUTE + (i < 2 ? 0 : 10) * SECOND, "link");
        assert_true(s->action[i].link.delay_us == (nodes_of(s, i) == 2 ? 10000u : 20000u));
        assert_float_equal(s->action[i].link.loss, i < 2 ? 0.3 : 0, 1e-12);
    }
    script_free(s);
}

static void restore_finds_its_backup(void **state)
{
    (void)state;
    struct script *s = parsed("edges a\nat 1h backup core\nat 2h backup core\n"
                              "at 3h restore core from backup of 1h\nat 4h restore core\n");
    assert_action(s, 2, 3 * HOUR, "restore");
    assert_true(s->action[2].us == HOUR);
    assert_true(s->action[3].us == 2 * HOUR);
    script_free(s);
}

static void clocks_releases_and_attacks_are_actions(void **state)
{
    (void)state;
    struct script *s =
        parsed("edges a\nat 1s clock step a -1h30m\nat 2s clock drift a 100ppm for 5s\n"
               "at 3s release bad 20 keys for 10s\nat 4s drop a 3\nat 5s damage a\n");
    assert_true(s->action[0].step_us == -(int64_t)(90 * MINUTE));
    assert_float_equal(s->action[1].ppm, 100, 1e-9);
    assert_action(s, 2, 3 * SECOND, "release");
    assert_true(s->action[2].count == 20);
    assert_true(s->action[3].count == 3 && s->action[4].count == 1);
    assert_action(s, 5, 7 * SECOND, "drift");
    assert_float_equal(s->action[5].ppm, 0, 1e-9);
    assert_action(s, 6, 13 * SECOND, "rollback");
    script_free(s);
}

/* ---- expectations ---- */

static void expectations_say_what_they_measure(void **state)
{
    (void)state;
    struct script *s =
        parsed("edges a b\nat 1s cut a for 5s\nexpect a converged within 30s of heal\n"
               "expect staleness of b <= 5s while linked # a comment\n"
               "expect bytes to a <= 20MB\nexpect reads at all never fail\n"
               "expect a live\nexpect core refusing\nexpect plan of a delta\n"
               "expect mark cut\nexpect writes never refused\n"
               "expect a cut-off within 4s of cut\nexpect bytes from b >= 1kB\n");
    const struct script_expectation *x = s->expectation;
    assert_int_equal(s->expectation_count, 11);
    assert_true(x[0].kind == SCRIPT_EXPECT_WITHIN && x[0].of == SCRIPT_HEAL);
    assert_true(x[0].word[0] == '\0' && x[0].limit_us == 30 * SECOND);
    assert_true(x[1].kind == SCRIPT_EXPECT_STALENESS && x[1].linked && !x[1].at_least);
    assert_string_equal(x[1].text, "staleness of b <= 5s while linked");
    assert_true(x[2].kind == SCRIPT_EXPECT_BYTES && x[2].limit_bytes == 20000000 && !x[2].from);
    assert_true(x[3].kind == SCRIPT_EXPECT_READS && x[3].nodes.bits[0] == 6);
    assert_true(x[4].kind == SCRIPT_EXPECT_STATE);
    assert_string_equal(x[4].word, "live");
    assert_true(x[5].kind == SCRIPT_EXPECT_REFUSING);
    assert_true(x[6].kind == SCRIPT_EXPECT_PLAN && x[6].plan == HF_PLAN_DELTA);
    assert_true(x[7].kind == SCRIPT_EXPECT_MARK);
    assert_true(x[8].kind == SCRIPT_EXPECT_WRITES && x[8].word[0] == '\0');
    assert_true(x[9].kind == SCRIPT_EXPECT_WITHIN && x[9].of == SCRIPT_CUT);
    assert_string_equal(x[9].word, "cut-off");
    assert_true(x[10].from && x[10].at_least);
    script_free(s);
}

/* ---- wrong files ---- */

static void wrong_words_are_named_with_their_line_and_the_nearest(void **state)
{
    (void)state;
    assert_refused("edges a\nduraton 5s\n", "x.sim:2: 'duraton': expected a statement "
                                            "(`holdfast-sim scenario --help` lists them); did you "
                                            "mean 'duration'?");
    assert_refused("edges lagos\n\nat 5s cut laos\n",
                   "x.sim:3: 'laos': expected `core`, an edge, a group such as shop-*, or `all`; "
                   "did you mean 'lagos'?");
    assert_refused("edges a\nat 5s cutt a\n",
                   "x.sim:2: 'cutt': expected an action; did you mean 'cut'?");
    assert_refused("edges a\nlink a dealy 5ms\n",
                   "x.sim:2: 'dealy': expected a setting of links; did you mean 'delay'?");
    assert_refused("edges a\nexpect a converged within 5s of hael\n",
                   "x.sim:2: 'hael': expected an action, such as `heal`; did you mean 'heal'?");
    assert_refused("edges a\nexpect a alive\n",
                   "x.sim:2: 'alive': expected `converged`, or the state of an edge; did you mean "
                   "'live'?");
}

static void wrong_numbers_say_what_would_be_right(void **state)
{
    (void)state;
    assert_refused("edges a\nduration 5\n",
                   "x.sim:2: '5': expected a time such as 500ms, 10s, 5m, 1h30m or 30d");
    assert_refused("edges a\nlink a loss 120%\n",
                   "x.sim:2: '120%': expected a percentage from 0% to 100%");
    assert_refused("edges a\nlink a rate fast\n",
                   "x.sim:2: 'fast': expected a rate such as 512kbit or 20Mbit (a second)");
    assert_refused("edges a\nkeys 0\n", "x.sim:2: '0': expected a whole number from 1 to 1000000");
    assert_refused("edges a\nat 5s clock step a 1h\n",
                   "x.sim:2: '1h': expected a step of the clock such as +1h or -30s");
    assert_refused("edges a\nat 1e9d cut a\n",
                   "x.sim:2: '1e9d': expected a time such as 500ms, 10s, 5m, 1h30m or 30d");
    assert_refused("edges a\nat 99999d cut a\n",
                   "x.sim:2: '99999d': expected a time such as 500ms, 10s, 5m, 1h30m or 30d");
}

static void missing_and_surplus_words_are_errors(void **state)
{
    (void)state;
    assert_refused("edges a\nat 5s cut\n",
                   "x.sim:2: expected the name of a node at the end of this line");
    assert_refused("edges a\nat 5s cut a sideways\n",
                   "x.sim:2: 'sideways': the statement is complete before this word");
    assert_refused("edges a\nexpect a converged\n", "x.sim:2: expected 'within' at the end of this "
                                                    "line");
    assert_refused("edges a a\n", "x.sim:1: there is a node called a already");
    assert_refused("edges 1..4\n", "x.sim:1: '1..4': a group needs a name: `edges shop 1..4`");
    assert_refused("edges shop 1..100000\n",
                   "x.sim:1: '1..100000': expected a range as 1..40, the lower number first");
    assert_refused("edges shop 9..1\n",
                   "x.sim:1: '9..1': expected a range as 1..40, the lower number first");
    assert_refused("duration 5s\n", "x.sim:1: no edges; begin with `edges NAME...`");
    assert_refused("at 5s cut a\n",
                   "x.sim:1: 'a': there are no edges yet; begin with `edges NAME...`");
}

static void what_only_the_whole_file_shows_is_checked_too(void **state)
{
    (void)state;
    assert_refused("edges a\nduration 1m\nat 50s cut a for 20s\n",
                   "x.sim:3: this begins or ends 10 s after the end of the run; make `duration` "
                   "longer");
    assert_refused("edges a\nat 1h backup core\nat 2h restore core from backup of 30m\n",
                   "x.sim:3: no backup is taken at that time before; add `at TIME backup core`");
    assert_refused("edges a\nat 1h restore core\n",
                   "x.sim:2: no backup is taken at that time before; add `at TIME backup core`");
    assert_refused("edges a\nat 1h rollback\n",
                   "x.sim:2: there is no release to roll back; precede this by `at TIME release 10 "
                   "keys`");
    assert_refused("edges a\nat 1s flap a every 5s down 5s for 1m\n",
                   "x.sim:2: a link that flaps must be down for less than its period");
    assert_refused("edges a\nat 1s flap a every 1us down 0.6us for 1h\n",
                   "x.sim:2: a link that flaps must be down for less than its period");
    assert_refused("edges a\nat 1s flap a every 1ms down 500us for 1h\n",
                   "x.sim:2: more than 20000 actions in all");
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    static const char nul[] = "edges a\ncut\0a\n";
    struct script *s = NULL;
    struct hf_error e = {.code = HF_OK};
    (void)state;
    assert_int_equal(script_parse("x.sim", hf_slice_of(nul, sizeof(nul) - 1), &s, &e), HF_ARG);
    assert_string_equal(e.text, "x.sim:2: there is a NUL byte in this line; expected text");
    assert_refused("edges a\n\033[2J\n",
                   "x.sim:2: '?[2J': expected a statement (`holdfast-sim scenario --help` lists "
                   "them)");
}

static void missing_file_is_told_from_a_wrong_one(void **state)
{
    struct script *s = NULL;
    struct hf_error e = {.code = HF_OK};
    (void)state;
    assert_int_equal(script_read("/nonexistent/x.sim", &s, &e), HF_NOTFOUND);
    assert_string_equal(e.text, "/nonexistent/x.sim: cannot be read: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_comment_is_the_title),
        cmocka_unit_test(title_is_cut_between_characters),
        cmocka_unit_test(edges_may_be_made_by_the_dozen),
        cmocka_unit_test(link_changes_what_it_names_and_leaves_the_rest),
        cmocka_unit_test(link_trace_lies_beside_the_scenario),
        cmocka_unit_test(load_is_described_in_words),
        cmocka_unit_test(write_never_and_converge_no_are_zero),
        cmocka_unit_test(what_lasts_becomes_two_actions),
        cmocka_unit_test(flap_becomes_cuts_and_heals),
        cmocka_unit_test(groups_lists_and_counts_name_many),
        cmocka_unit_test(what_overlaps_ends_when_the_last_has_ended),
        cmocka_unit_test(what_changes_nothing_is_left_out),
        cmocka_unit_test(links_change_setting_by_setting),
        cmocka_unit_test(link_that_changes_for_a_time_changes_back),
        cmocka_unit_test(restore_finds_its_backup),
        cmocka_unit_test(clocks_releases_and_attacks_are_actions),
        cmocka_unit_test(expectations_say_what_they_measure),
        cmocka_unit_test(wrong_words_are_named_with_their_line_and_the_nearest),
        cmocka_unit_test(wrong_numbers_say_what_would_be_right),
        cmocka_unit_test(missing_and_surplus_words_are_errors),
        cmocka_unit_test(what_only_the_whole_file_shows_is_checked_too),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(missing_file_is_told_from_a_wrong_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
