/*
 * command_scenario.c - holdfast-sim scenario: plays a scenario file in the virtual world.
 */
#include "sim/command.h"
#include "sim/shipped.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>

static const char help_text[] =
    "usage: holdfast-sim scenario FILE|NAME [options]\n"
    "       holdfast-sim scenario --list               those that come with it\n\n"
    "Plays a scenario and measures what it expects.\n\n"
    "  --seed N        other random numbers than the file asks for (default 1)\n"
    "  --trace         print the timeline, and no table\n"
    "  --all           the table at the end shows all edges, not the worst 20\n"
    "  --json FILE     write the report as JSON; - is standard output\n"
    "  --html FILE     write it as one HTML page, for any browser\n\n"
    "exit status: 0 all expectations and promises held, 1 one did not, 2 the file is wrong or\n"
    "missing.\n\n";

struct arguments {
    bool list, seed_given;
    uint64_t seed;
    const char *name;
    struct report_choice report;
};

/* False: --help was asked for. */
static bool parse(int argc, char **argv, struct arguments *a)
{
    enum { SEED = 256, LIST, HELP };
    static const struct option longs[] = {{"seed", 1, NULL, SEED},
                                          {"list", 0, NULL, LIST},
                                          REPORT_OPTIONS,
                                          {"help", 0, NULL, HELP},
                                          {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == SEED) {
            a->seed = command_number("scenario", optarg, 0, UINT64_MAX);
            a->seed_given = true;
        } else if (c == LIST) {
            a->list = true;
        } else if (c == HELP) {
            return false;
        } else if (!report_option(&a->report, c, optarg)) {
            exit(2); /* getopt has said why */
        }
    }
    if (!a->list && optind + 1 != argc) {
        command_usage("scenario", "expected one scenario file, or --list");
    }
    a->name = argv[optind];
    return true;
}

static int refused(const struct hf_error *e)
{
    fprintf(stderr, "holdfast-sim scenario: %s\n", e->text);
    return 2;
}

static int play(const struct arguments *a, const struct script *s)
{
    struct sim_options o;
    struct sim_result r;
    char *replay = NULL;
    char *name = command_quoted(a->name);
    uint64_t seed = s->has_seed && !a->seed_given ? s->seed : a->seed;
    FILE *out = command_out(&a->report);
    sim_defaults(&o, seed);
    o.script = s;
    o.record = command_record(s->title[0] != '\0' ? s->title : a->name);
    sim_run(&o, a->report.trace ? out : NULL, &r);
    fprintf(out, "%s: %s, %" PRIu64 " batches, trace hash %016" PRIx64 "\n", a->name,
            r.ok ? "ok" : "FAILED", r.batches, r.trace_hash);
    int len = asprintf(&replay, "holdfast-sim scenario --trace --seed %" PRIu64 " %s", seed, name);
    HF_ASSERT(len > 0);
    int status = command_report("scenario", &a->report, &r, o.record, replay);
    free(replay);
    free(name);
    return status;
}

int command_scenario(int argc, char **argv)
{
    struct arguments a = {.seed = 1};
    struct hf_error e = {.code = HF_OK};
    struct script *s;
    char path[512];
    if (!parse(argc, argv, &a)) {
        printf("%s%s", help_text, script_help);
        return 0;
    }
    if (a.list) {
        return shipped_list(&e) == HF_OK ? 0 : refused(&e);
    }
    shipped_find(a.name, path, sizeof(path));
    if (script_read(path, &s, &e) != HF_OK) {
        return refused(&e);
    }
    bool good = scenario_check(s, &e) == HF_OK && command_try(&a.report, &e) == HF_OK;
    int status = good ? play(&a, s) : refused(&e);
    script_free(s);
    return status;
}
