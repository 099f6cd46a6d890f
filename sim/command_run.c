/*
 * command_run.c - holdfast-sim run: one random world, which its seed decides.
 */
#include "sim/command.h"
#include "sim/trial.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define TIMELINE_LIMIT_S 300u

static const char help_text[] =
    "usage: holdfast-sim run [--seed N] [options]\n\n"
    "Runs one random world. Everything in it follows from the seed.\n\n"
    "  --seed N        the seed (default 1)\n"
    "  --seed canary   a run that must fail, because its oracle is told something wrong;\n"
    "                  canary:N is that of seed N\n"
    "  --edges N       1 to 200 (default 4)\n"
    "  --duration S    virtual seconds of the safety phase (default 60)\n"
    "  --every MS      mean virtual time between writes, at most (default 1000)\n"
    "  --faults LIST   these kinds instead of those that the seed draws: none, all, or some of\n"
    "                  %s\n"
    "  --no-faults     a quiet world, for measuring speed\n"
    "  --twice         run it a second time, and compare the hashes\n"
    "  --trace         print the timeline, and no table\n"
    "  --timeline      print what struck as a scenario file, and nothing else\n"
    "  --all           the table at the end shows all edges, not the worst 20\n"
    "  --json FILE     write the report as JSON; - is standard output\n"
    "  --html FILE     write it as one HTML page, for any browser\n\n"
    "exit status: 0 all held, 1 something was violated, 2 wrong use\n";

struct arguments {
    struct sim_spec spec;
    bool timeline, twice;
    struct report_choice report;
};

static int help(void)
{
    char kinds[FAULTS_TEXT_MAX];
    char wrapped[FAULTS_TEXT_MAX + 100] = "";
    size_t n = 0;
    size_t column = 0;
    faults_text(FAULTS_ALL, kinds);
    for (const char *c = kinds; *c != '\0'; c++, column++) {
        wrapped[n++] = *c;
        if (*c == ',' && column > 56) {
            n += (size_t)snprintf(wrapped + n, sizeof(wrapped) - n, "\n%18s", "");
            column = 0;
        }
    }
    printf(help_text, wrapped);
    return 0;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void set_spec(struct arguments *a, const char *name)
{
    char problem[SPEC_PROBLEM_MAX];
    if (!spec_set(&a->spec, name, optarg, problem)) {
        command_usage("run", problem);
    }
}

/* False: --help was asked for. */
static bool parse(int argc, char **argv, struct arguments *a)
{
    enum { SPEC = 256, TWICE, TIMELINE, HELP };
    static const struct option longs[] = {{"seed", 1, NULL, SPEC},
                                          {"edges", 1, NULL, SPEC},
                                          {"duration", 1, NULL, SPEC},
                                          {"every", 1, NULL, SPEC},
                                          {"faults", 1, NULL, SPEC},
                                          {"no-faults", 0, NULL, SPEC},
                                          {"twice", 0, NULL, TWICE},
                                          {"timeline", 0, NULL, TIMELINE},
                                          REPORT_OPTIONS,
                                          {"help", 0, NULL, HELP},
                                          {NULL, 0, NULL, 0}};
    int c;
    int index = 0;
    while ((c = getopt_long(argc, argv, "", longs, &index)) != -1) {
        if (c == SPEC) {
            set_spec(a, longs[index].name);
        } else if (c == TWICE) {
            a->twice = true;
        } else if (c == TIMELINE) {
            a->timeline = true;
        } else if (c == HELP) {
            return false;
        } else if (!report_option(&a->report, c, optarg)) {
            exit(2); /* getopt has said why */
        }
    }
    if (optind < argc) {
        command_usage("run", "it takes options only");
    }
    const struct report_choice *r = &a->report;
    if (a->timeline && (a->twice || r->trace || r->all || r->json != NULL || r->html != NULL)) {
        command_usage("run",
                      "--timeline prints nothing else, so --twice, --trace, --all, --json and "
                      "--html have no place");
    }
    return true;
}

int command_run(int argc, char **argv)
{
    struct arguments a = {0};
    struct hf_error e;
    struct outcome o;
    char text[SPEC_TEXT_MAX];
    char replay[SPEC_TEXT_MAX + 40];
    char title[40];
    spec_usual(&a.spec, 1);
    if (!parse(argc, argv, &a)) {
        return help();
    }
    if (a.timeline) {
        return trial_timeline(&a.spec, TIMELINE_LIMIT_S) ? 0 : 1;
    }
    if (command_try(&a.report, &e) != HF_OK) {
        command_usage("run", e.text);
    }
    snprintf(title, sizeof(title), "random run, seed %" PRIu64, a.spec.seed);
    struct record *record = command_record(title);
    struct trial t = {.spec = a.spec, .twice = a.twice, .record = record};
    FILE *out = command_out(&a.report);
    double start = seconds();
    trial_run(&t, a.report.trace ? out : NULL, &o);
    double took = seconds() - start;
    const struct sim_result *r = &o.result;
    fprintf(out,
            "seed %" PRIu64 ": %s, trace hash %016" PRIx64 ", %" PRIu64 " events, %" PRIu64
            " batches, %.1f virtual s in %.2f s (%.0fx)\n",
            a.spec.seed, r->ok ? "ok" : "FAILED", r->trace_hash, r->events, r->batches,
            (double)r->virtual_us / 1e6, took, (double)r->virtual_us / 1e6 / took);
    spec_text(&a.spec, text);
    snprintf(replay, sizeof(replay), "holdfast-sim run --trace %s", text);
    return command_report("run", &a.report, r, record, replay);
}
