/*
 * main.c - holdfast-sim: runs one seed, a swarm of seeds, or a scenario file; or a command over an
 * emulated network (sim/wan/link.c).
 *
 * Exit status: 0 every promise held, 1 one was violated (printed with the command that replays it),
 * 2 usage.
 */
#include "sim/sim.h"

#include "hf/version.h"
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
    "       holdfast-sim swarm --seeds N [--from N]    many seeds, each with its own faults\n"
    "       holdfast-sim scenario FILE [--seed N]      a scenario file (sim/README.md)\n"
    "       holdfast-sim wan FILE [...]                the same, real daemons (wan --help)\n"
    "       holdfast-sim link [...] -- COMMAND...      real processes over an emulated WAN "
    "(link --help)\n\n"
    "options:\n"
    "  --seed N        the seed; everything follows from it (default 1)\n"
    "  --seeds N       how many seeds (default 100)\n"
    "  --from N        the first seed (default 1)\n"
    "  --edges N       edges of a random run, 1 to 200 (default 4)\n"
    "  --duration S    virtual seconds of the safety phase (default 60)\n"
    "  --every MS      mean virtual time between writes (default 1000)\n"
    "  --no-faults     a quiet world, for measuring speed\n"
    "  --trace         print the timeline\n"
    "  --help, --version\n";

struct arguments {
    uint64_t seed, seeds, from, edges, duration_s, every_ms;
    bool trace, calm, seed_given;
};

static _Noreturn void usage(const char *problem)
{
    fprintf(stderr, "holdfast-sim: %s (see --help)\n", problem);
    exit(2);
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

static void options_of(const struct arguments *a, uint64_t seed, struct sim_options *o)
{
    sim_defaults(o, seed);
    o->edges = (uint32_t)a->edges;
    o->duration = a->duration_s * SIM_S;
    o->write_every = a->every_ms * SIM_MS;
    o->calm = a->calm;
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
    struct sim_options o;
    struct sim_result r;
    char replay[160];
    options_of(a, a->seed, &o);
    double start = seconds();
    sim_run(&o, a->trace ? stdout : NULL, &r);
    double took = seconds() - start;
    printf("seed %" PRIu64 ": %s, trace hash %016" PRIx64 ", %" PRIu64 " events, %" PRIu64
           " batches, %.1f virtual s in %.2f s (%.0fx)\n",
           a->seed, r.ok ? "ok" : "FAILED", r.trace_hash, r.events, r.batches,
           (double)r.virtual_us / 1e6, took, (double)r.virtual_us / 1e6 / took);
    snprintf(replay, sizeof(replay),
             "holdfast-sim run --trace --seed %" PRIu64 " --edges %" PRIu64 " --duration %" PRIu64
             " --every %" PRIu64 "%s",
             a->seed, a->edges, a->duration_s, a->every_ms, a->calm ? " --no-faults" : "");
    return report(&r, replay);
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
    uint64_t seed = s->has_seed && !a->seed_given ? s->seed : a->seed;
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

static void progress(uint64_t done, uint64_t all, uint64_t failed, double took)
{
    double rate = (double)done / took;
    fprintf(stderr,
            "%s%" PRIu64 "/%" PRIu64 " seeds, %" PRIu64 " failed, %.1f seeds/s, %.0f s left%s",
            isatty(2) ? "\r" : "", done, all, failed, rate, (double)(all - done) / rate,
            isatty(2) ? "  " : "\n");
}

static int cmd_swarm(const struct arguments *a)
{
    uint64_t marks[MARK_COUNT] = {0};
    uint64_t failed = 0;
    double virtual_s = 0;
    double start = seconds();
    double shown = start;
    for (uint64_t i = 0; i < a->seeds; i++) {
        struct sim_options o;
        struct sim_result r;
        options_of(a, a->from + i, &o);
        sim_run(&o, NULL, &r);
        virtual_s += (double)r.virtual_us / 1e6;
        for (int m = 0; m < MARK_COUNT; m++) {
            marks[m] += r.marks[m];
        }
        if (!r.ok) {
            failed++;
            printf("seed %" PRIu64
                   ": VIOLATION %s\nreplay: holdfast-sim run --trace --seed %" PRIu64
                   " --edges %" PRIu64 " --duration %" PRIu64 " --every %" PRIu64 "\n",
                   o.seed, r.violation, o.seed, a->edges, a->duration_s, a->every_ms);
            fflush(stdout);
        }
        if (seconds() - shown > (isatty(2) ? 0.5 : 10)) {
            shown = seconds();
            progress(i + 1, a->seeds, failed, shown - start);
        }
    }
    for (int m = 0; m < MARK_COUNT; m++) {
        printf("mark %-20s %" PRIu64 "\n", mark_name((enum mark)m), marks[m]);
    }
    printf("%" PRIu64 " seeds, %" PRIu64 " violations, %.0f virtual s in %.0f s\n", a->seeds,
           failed, virtual_s, seconds() - start);
    return failed == 0 ? 0 : 1;
}

static void parse(int argc, char **argv, struct arguments *a)
{
    enum { SEED = 256, SEEDS, FROM, EDGES, DURATION, EVERY, CALM, TRACE, HELP, VERSION };
    static const struct option longs[] = {{"seed", 1, NULL, SEED},
                                          {"seeds", 1, NULL, SEEDS},
                                          {"from", 1, NULL, FROM},
                                          {"edges", 1, NULL, EDGES},
                                          {"duration", 1, NULL, DURATION},
                                          {"every", 1, NULL, EVERY},
                                          {"no-faults", 0, NULL, CALM},
                                          {"trace", 0, NULL, TRACE},
                                          {"help", 0, NULL, HELP},
                                          {"version", 0, NULL, VERSION},
                                          {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case SEED:
            a->seed = number(optarg, 0, UINT64_MAX);
            a->seed_given = true;
            break;
        case SEEDS:
            a->seeds = number(optarg, 1, UINT64_MAX);
            break;
        case FROM:
            a->from = number(optarg, 0, UINT64_MAX);
            break;
        case EDGES:
            a->edges = number(optarg, 1, 200);
            break;
        case DURATION:
            a->duration_s = number(optarg, 1, 100000000);
            break;
        case EVERY:
            a->every_ms = number(optarg, 1, 100000000);
            break;
        case CALM:
            a->calm = true;
            break;
        case TRACE:
            a->trace = true;
            break;
        case HELP:
            fputs(usage_text, stdout);
            exit(0);
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
    struct arguments a = {
        .seed = 1, .seeds = 100, .from = 1, .edges = 4, .duration_s = 60, .every_ms = 1000};
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
