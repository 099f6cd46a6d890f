/*
 * main.c - holdfast-sim: runs one seed, a swarm of seeds, or a scenario file; or a command over an
 * emulated network (sim/wan/link.c).
 *
 * Exit status: 0 every promise held, 1 one was violated (printed with the command that replays it),
 * 2 usage.
 */
#include "sim/seeds.h"
#include "sim/swarm.h"

#include "hf/version.h" /* after hf/err.h, which has a code of that name */
#include "sim/real/command.h"
#include "sim/wan/link.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char usage_text[] =
    "holdfast-sim - the engines, the drivers and the store in a virtual world\n\n"
    "usage: holdfast-sim run --seed N [options]        one seed; --trace prints its timeline\n"
    "       holdfast-sim swarm --seeds N [options]     many seeds, each with its own faults\n"
    "       holdfast-sim swarm --replay FILE           runs that failed once (tests/seeds)\n"
    "       holdfast-sim scenario FILE [--seed N]      a scenario file (sim/README.md)\n"
    "       holdfast-sim wan FILE [...]                the same, real daemons (wan --help)\n"
    "       holdfast-sim link [...] -- COMMAND...      real processes over an emulated WAN "
    "(link --help)\n\n"
    "a run, also each one of a swarm:\n"
    "  --seed N        the seed; everything follows from it (default 1)\n"
    "  --seed canary   a run that must fail, because its oracle is told something wrong\n"
    "  --edges N       edges of a random run, 1 to 200 (default 4)\n"
    "  --duration S    virtual seconds of the safety phase (default 60)\n"
    "  --every MS      mean virtual time between writes, at most (default 1000)\n"
    "  --faults LIST   these kinds instead of those that the seed draws: none, all, or some of\n"
    "                  %s\n"
    "  --no-faults     a quiet world, for measuring speed\n"
    "  --twice         run it a second time, and compare the hashes\n"
    "  --trace         print the timeline (run, scenario)\n"
    "  --timeline      print what struck as a scenario file (run)\n\n"
    "a swarm:\n"
    "  --seeds N       how many (default 100)\n"
    "  --from N        the first one (default 1)\n"
    "  --jobs N        processes (default: as many as processors)\n"
    "  --marks         fail when a rare state was never reached (from 1,000 seeds on by itself)\n"
    "  --no-marks      never do that\n"
    "  --stop          end with the first violation\n"
    "  --no-shrink     do not look for a smaller run that fails alike\n"
    "  --limit S       real seconds after which a run hangs (default 300)\n"
    "  --save FILE     add failures to FILE, for --replay\n"
    "  --commit TEXT   what FILE is to call this version (default: unknown)\n\n"
    "  --help, --version\n\n"
    "exit status: 0 all held, 1 something was violated, 2 wrong use\n";

#define MARKS_FROM 1000u /* seeds; fewer may miss a rare state by chance */

enum choice { UNSAID = 0, YES, NO };

struct arguments {
    struct sim_spec spec;
    struct swarm_config swarm;
    enum choice marks;
    bool trace, timeline, twice, seed_given;
    const char *replay;
};

static _Noreturn void usage(const char *problem)
{
    fprintf(stderr, "holdfast-sim: %s (see --help)\n", problem);
    exit(2);
}

static _Noreturn void help(void)
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
    printf(usage_text, wrapped);
    exit(0);
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (*text == '\0' || *text == '-' || *end != '\0' || n < min || n > max) {
        fprintf(stderr, "holdfast-sim: '%s': expected a number from %" PRIu64 " to %" PRIu64 "\n",
                text, min, max);
        exit(2);
    }
    return n;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int report(const struct sim_result *r, const char *replay)
{
    if (r->ok) {
        return 0;
    }
    printf("VIOLATION %s\nreplay: %s\n", r->violation, replay);
    return 1;
}

static int cmd_run(const struct arguments *a)
{
    struct trial t = {.spec = a->spec, .twice = a->twice};
    struct outcome o;
    char text[SPEC_TEXT_MAX];
    char replay[SPEC_TEXT_MAX + 40];
    if (a->timeline) {
        trial_timeline(&a->spec, a->swarm.limit_s);
        return 0;
    }
    double start = seconds();
    trial_run(&t, a->trace ? stdout : NULL, &o);
    double took = seconds() - start;
    const struct sim_result *r = &o.result;
    printf("seed %" PRIu64 ": %s, trace hash %016" PRIx64 ", %" PRIu64 " events, %" PRIu64
           " batches, %.1f virtual s in %.2f s (%.0fx)\n",
           a->spec.seed, r->ok ? "ok" : "FAILED", r->trace_hash, r->events, r->batches,
           (double)r->virtual_us / 1e6, took, (double)r->virtual_us / 1e6 / took);
    spec_text(&a->spec, text);
    snprintf(replay, sizeof(replay), "holdfast-sim run --trace %s", text);
    return report(r, replay);
}

static void print_expectations(const struct sim_result *r)
{
    for (uint32_t i = 0; i < r->expectation_count; i++) {
        const struct sim_expectation *x = &r->expectation[i];
        printf("%-6s expect %s: %s\n", x->held ? "ok" : "FAILED", x->text,
               x->measured[0] == '\0' ? "the run ended before" : x->measured);
    }
}

static int cmd_scenario(const struct arguments *a, const char *path)
{
    struct sim_options o;
    struct sim_result r;
    struct script *s;
    struct hf_error e = {.code = HF_OK};
    char replay[400];
    if (script_read(path, &s, &e) != HF_OK) {
        fprintf(stderr, "holdfast-sim: %s\n", e.text);
        return 2;
    }
    uint64_t seed = s->has_seed && !a->seed_given ? s->seed : a->spec.seed;
    sim_defaults(&o, seed);
    o.script = s;
    sim_run(&o, a->trace ? stdout : NULL, &r);
    print_expectations(&r);
    printf("%s: %s, %" PRIu64 " batches, trace hash %016" PRIx64 "\n", path, r.ok ? "ok" : "FAILED",
           r.batches, r.trace_hash);
    snprintf(replay, sizeof(replay), "holdfast-sim scenario --trace --seed %" PRIu64 " %s", seed,
             path);
    script_free(s);
    return report(&r, replay);
}

static int cmd_swarm(struct arguments *a)
{
    if (a->replay != NULL) {
        return seeds_replay(a->replay, a->swarm.limit_s);
    }
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct swarm_config *c = &a->swarm;
    if (c->jobs == 0) {
        c->jobs = processors < 1                ? 1
                  : processors > SWARM_JOBS_MAX ? SWARM_JOBS_MAX
                                                : (uint32_t)processors;
    }
    c->usual = a->spec;
    c->twice = a->twice;
    c->need_marks = a->marks == YES || (a->marks == UNSAID && c->count >= MARKS_FROM);
    return swarm_run(c);
}

enum option_id {
    SPEC = 256, /* an option of spec.h, by its name */
    SEEDS,
    FROM,
    JOBS,
    MARKS,
    NO_MARKS,
    STOP,
    NO_SHRINK,
    LIMIT,
    SAVE,
    COMMIT,
    REPLAY,
    TWICE,
    TRACE,
    TIMELINE,
    HELP,
    VERSION
};

static const struct option longs[] = {{"seed", 1, NULL, SPEC},
                                      {"edges", 1, NULL, SPEC},
                                      {"duration", 1, NULL, SPEC},
                                      {"every", 1, NULL, SPEC},
                                      {"faults", 1, NULL, SPEC},
                                      {"no-faults", 0, NULL, SPEC},
                                      {"seeds", 1, NULL, SEEDS},
                                      {"from", 1, NULL, FROM},
                                      {"jobs", 1, NULL, JOBS},
                                      {"marks", 0, NULL, MARKS},
                                      {"no-marks", 0, NULL, NO_MARKS},
                                      {"stop", 0, NULL, STOP},
                                      {"no-shrink", 0, NULL, NO_SHRINK},
                                      {"limit", 1, NULL, LIMIT},
                                      {"save", 1, NULL, SAVE},
                                      {"commit", 1, NULL, COMMIT},
                                      {"replay", 1, NULL, REPLAY},
                                      {"twice", 0, NULL, TWICE},
                                      {"trace", 0, NULL, TRACE},
                                      {"timeline", 0, NULL, TIMELINE},
                                      {"help", 0, NULL, HELP},
                                      {"version", 0, NULL, VERSION},
                                      {NULL, 0, NULL, 0}};

static void set_spec(struct arguments *a, const char *name)
{
    char problem[SPEC_PROBLEM_MAX];
    if (!spec_set(&a->spec, name, optarg, problem)) {
        usage(problem);
    }
}

static void parse(int argc, char **argv, struct arguments *a)
{
    int c;
    int index = 0;
    while ((c = getopt_long(argc, argv, "", longs, &index)) != -1) {
        switch (c) {
        case SPEC:
            set_spec(a, longs[index].name);
            a->seed_given |= strcmp(longs[index].name, "seed") == 0;
            break;
        case SEEDS:
            a->swarm.count = number(optarg, 1, UINT64_MAX);
            break;
        case FROM:
            a->swarm.from = number(optarg, 0, UINT64_MAX);
            break;
        case JOBS:
            a->swarm.jobs = (uint32_t)number(optarg, 1, SWARM_JOBS_MAX);
            break;
        case MARKS:
        case NO_MARKS:
            a->marks = c == MARKS ? YES : NO;
            break;
        case STOP:
            a->swarm.stop = true;
            break;
        case NO_SHRINK:
            a->swarm.no_shrink = true;
            break;
        case LIMIT:
            a->swarm.limit_s = (uint32_t)number(optarg, 1, 86400);
            break;
        case SAVE:
            a->swarm.save = optarg;
            break;
        case COMMIT:
            a->swarm.commit = optarg;
            break;
        case REPLAY:
            a->replay = optarg;
            break;
        case TWICE:
            a->twice = true;
            break;
        case TRACE:
            a->trace = true;
            break;
        case TIMELINE:
            a->timeline = true;
            break;
        case HELP:
            help();
        case VERSION:
            puts("holdfast-sim " HF_VERSION);
            exit(0);
        default:
            exit(2); /* getopt has said why */
        }
    }
}

int main(int argc, char **argv)
{
    struct arguments a = {.swarm = {.from = 1, .count = 100, .limit_s = 300, .commit = "unknown"}};
    spec_usual(&a.spec, 1);
    if (argc > 1 && hf_wan_is_command(argv[1])) {
        return hf_wan_command(argc - 1, argv + 1);
    }
    if (argc > 1 && real_is_command(argv[1])) {
        return real_command(argc - 1, argv + 1);
    }
    parse(argc, argv, &a);
    if (hf_crypto_init() != HF_OK) {
        fputs("holdfast-sim: libsodium does not start\n", stderr);
        return 1;
    }
    const char *command = optind < argc ? argv[optind] : "";
    if (strcmp(command, "run") == 0 && optind + 1 == argc) {
        return cmd_run(&a);
    }
    if (strcmp(command, "swarm") == 0 && optind + 1 == argc) {
        return cmd_swarm(&a);
    }
    if (strcmp(command, "scenario") == 0 && optind + 2 == argc) {
        return cmd_scenario(&a, argv[optind + 1]);
    }
    usage("expected run, swarm, scenario FILE, or link");
}
