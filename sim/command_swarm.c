/*
 * command_swarm.c - holdfast-sim swarm: many seeds, or the runs that failed once.
 */
#include "sim/command.h"
#include "sim/report.h"
#include "sim/seeds.h"
#include "sim/swarm.h"

#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#define MARKS_FROM 1000u /* seeds; fewer may miss a rare state by chance */

static const char help_text[] =
    "usage: holdfast-sim swarm [--seeds N] [options]   many seeds, each with its own faults\n"
    "       holdfast-sim swarm --replay FILE           runs that failed once (tests/seeds)\n\n"
    "  --seeds N       how many (default 100)\n"
    "  --from N        the first one (default 1)\n"
    "  --jobs N        processes (default: as many as processors)\n"
    "  --marks         fail when a rare state was never reached (from 1,000 seeds on by itself)\n"
    "  --no-marks      never do that\n"
    "  --twice         run each seed a second time, and compare the hashes\n"
    "  --seed canary   runs that must fail, because their oracle is told something wrong\n"
    "  --stop          end with the first violation\n"
    "  --no-shrink     do not look for a smaller run that fails alike\n"
    "  --limit S       real seconds after which a run hangs (default 300)\n"
    "  --save FILE     add failures to FILE, for --replay\n"
    "  --commit WORD   what FILE is to call this version (default: unknown)\n"
    "  --edges N, --duration S, --every MS, --faults LIST, --no-faults\n"
    "                  of every run; holdfast-sim run --help tells what they do\n\n"
    "exit status: 0 all held, 1 something was violated or a mark missed, 2 wrong use\n";

enum choice { UNSAID = 0, YES, NO };

struct arguments {
    struct sim_spec spec;
    struct swarm_config swarm;
    enum choice marks;
    const char *replay;
};

static uint64_t number(uint64_t min, uint64_t max)
{
    return command_number("swarm", optarg, min, max);
}

static void set_spec(struct arguments *a, const char *name)
{
    char problem[SPEC_PROBLEM_MAX];
    if (!spec_set(&a->spec, name, optarg, problem)) {
        command_usage("swarm", problem);
    }
}

/* The seeds themselves are those of --from and --seeds. */
static void set_canary(struct arguments *a)
{
    if (strcmp(optarg, "canary") != 0) {
        command_usage("swarm", "--seed takes only 'canary' here; --from N is the first seed");
    }
    set_spec(a, "seed");
}

enum option_id {
    SPEC = 256, /* an option of spec.h, by its name */
    CANARY,
    SEEDS,
    FROM,
    JOBS,
    MARKS,
    NO_MARKS,
    TWICE,
    STOP,
    NO_SHRINK,
    LIMIT,
    SAVE,
    COMMIT,
    REPLAY,
    HELP,
};

static const struct option longs[] = {
    {"seed", 1, NULL, CANARY},       {"edges", 1, NULL, SPEC},
    {"duration", 1, NULL, SPEC},     {"every", 1, NULL, SPEC},
    {"faults", 1, NULL, SPEC},       {"no-faults", 0, NULL, SPEC},
    {"seeds", 1, NULL, SEEDS},       {"from", 1, NULL, FROM},
    {"jobs", 1, NULL, JOBS},         {"marks", 0, NULL, MARKS},
    {"no-marks", 0, NULL, NO_MARKS}, {"twice", 0, NULL, TWICE},
    {"stop", 0, NULL, STOP},         {"no-shrink", 0, NULL, NO_SHRINK},
    {"limit", 1, NULL, LIMIT},       {"save", 1, NULL, SAVE},
    {"commit", 1, NULL, COMMIT},     {"replay", 1, NULL, REPLAY},
    {"help", 0, NULL, HELP},         {NULL, 0, NULL, 0}};

/* False: --help was asked for. */
static bool option(struct arguments *a, enum option_id id, const char *name)
{
    struct swarm_config *c = &a->swarm;
    switch (id) {
    case SPEC:
        set_spec(a, name);
        break;
    case CANARY:
        set_canary(a);
        break;
    case SEEDS:
        c->count = number(1, UINT64_MAX);
        break;
    case FROM:
        c->from = number(0, UINT64_MAX);
        break;
    case JOBS:
        c->jobs = (uint32_t)number(1, SWARM_JOBS_MAX);
        break;
    case MARKS:
    case NO_MARKS:
        a->marks = id == MARKS ? YES : NO;
        break;
    case TWICE:
        c->twice = true;
        break;
    case STOP:
        c->stop = true;
        break;
    case NO_SHRINK:
        c->no_shrink = true;
        break;
    case LIMIT:
        c->limit_s = (uint32_t)number(1, 86400);
        break;
    case SAVE:
        c->save = optarg;
        break;
    case COMMIT:
        if (!seeds_is_commit(optarg)) {
            command_usage("swarm", "--commit takes one word of at most 64 characters, without '#'");
        }
        c->commit = optarg;
        break;
    case REPLAY:
        a->replay = optarg;
        break;
    case HELP:
        return false;
    }
    return true;
}

static bool parse(int argc, char **argv, struct arguments *a)
{
    int c;
    int index = 0;
    while ((c = getopt_long(argc, argv, "", longs, &index)) != -1) {
        if (c == '?') {
            exit(2); /* getopt has said why */
        }
        if (!option(a, (enum option_id)c, longs[index].name)) {
            return false;
        }
    }
    if (optind < argc) {
        command_usage("swarm", "it takes options only");
    }
    return true;
}

int command_swarm(int argc, char **argv)
{
    struct arguments a = {.swarm = {.from = 1, .count = 100, .limit_s = 300, .commit = "unknown"}};
    struct swarm_config *c = &a.swarm;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    spec_usual(&a.spec, 1);
    if (!parse(argc, argv, &a)) {
        fputs(help_text, stdout);
        return 0;
    }
    struct hf_error e;
    if (report_try(c->save, &e) != HF_OK) { /* after hours of seeds it would be too late */
        command_usage("swarm", e.text);
    }
    if (a.replay != NULL) {
        return seeds_replay(a.replay, c->limit_s);
    }
    if (c->jobs == 0) {
        c->jobs = processors < 1                ? 1
                  : processors > SWARM_JOBS_MAX ? SWARM_JOBS_MAX
                                                : (uint32_t)processors;
    }
    c->usual = a.spec;
    c->need_marks = a.marks == YES || (a.marks == UNSAID && c->count >= MARKS_FROM);
    return swarm_run(c);
}
