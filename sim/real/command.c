/*
 * command.c - `holdfast-sim wan SCENARIO`: reads and judges the scenario, makes the work directory
 * and the emulated network, and runs the player in it.
 *
 * The player is this program again, as `wan-play`, with the same words and the directory before
 * them; nobody else calls it. When it has ended, however it did, its daemons and their mounts are
 * gone with its namespaces, and the directory is removed.
 */
#include "sim/real/command.h"

#include "hf/err.h"
#include "hf/number.h"
#include "sim/real/real.h"
#include "sim/real/refuse.h"
#include "sim/report.h"
#include "sim/shipped.h"
#include "sim/wan/link.h"
#include "sim/wan/profile.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DEFAULT_US (UINT64_C(600) * 1000000)

static const char usage_text[] =
    "usage: holdfast-sim wan FILE|NAME [options]\n\n"
    "Plays a scenario file in real time: a core and edges, each in a network of its own, joined "
    "by\n"
    "emulated links (holdfast-sim link). Exit status: 0 all that the scenario expects has held,\n"
    "1 it has not, 2 wrong use, 125 the network could not be made.\n"
    "Needs root or a user namespace. What has no real counterpart is refused before it starts.\n\n"
    "  --seed N            of the load, of losses and jitter (the scenario's, else 1)\n"
    "  --max TIME          refuse a longer timeline, such as 90s or 30m (10m)\n"
    "  --congestion NAME   TCP congestion control in the nodes: cubic, bbr, reno (the system's)\n"
    "  --json FILE         the report as JSON; - is standard output\n"
    "  --html FILE         the report as a page with a timeline of each edge\n"
    "  --history FILE      what clients asked and saw, for holdfast-sim check\n"
    "  --all               all edges in the table, not only the 20 with most trouble\n"
    "  --keep              leave the work directory, with the daemons' logs and data\n"
    "  --quiet             no progress\n";

struct arguments {
    uint64_t seed, max_us;
    bool seed_given, keep, quiet, all;
    const char *congestion, *json, *html, *history;
    const char *scenario;
};

static int wrong(const char *what, const char *why)
{
    fprintf(stderr, "holdfast-sim wan: %s: %s (see --help)\n", what, why);
    return 2;
}

/* ---- options ---- */

/* Returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct arguments *a)
{
    enum { SEED = 256, MAX, CONGESTION, JSON, HTML, HISTORY, ALL, KEEP, QUIET, HELP };
    static const struct option longs[] = {
        {"seed", 1, NULL, SEED}, {"max", 1, NULL, MAX},   {"congestion", 1, NULL, CONGESTION},
        {"json", 1, NULL, JSON}, {"html", 1, NULL, HTML}, {"history", 1, NULL, HISTORY},
        {"all", 0, NULL, ALL},   {"keep", 0, NULL, KEEP}, {"quiet", 0, NULL, QUIET},
        {"help", 0, NULL, HELP}, {NULL, 0, NULL, 0}};
    int c;
    *a = (struct arguments){.seed = 1, .max_us = MAX_DEFAULT_US};
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case SEED:
            a->seed_given = true;
            if (!hf_number_parse(hf_slice_str(optarg), 0, UINT64_MAX, &a->seed)) {
                return wrong(optarg, "expected a number below 2^64");
            }
            break;
        case MAX:
            if (!script_time(optarg, &a->max_us) || a->max_us == 0) {
                return wrong(optarg, "expected a time such as 90s, 30m or 1h30m");
            }
            break;
        case CONGESTION:
            a->congestion = optarg;
            break;
        case JSON:
            a->json = optarg;
            break;
        case HTML:
            a->html = optarg;
            break;
        case HISTORY:
            a->history = optarg;
            break;
        case ALL:
            a->all = true;
            break;
        case KEEP:
            a->keep = true;
            break;
        case QUIET:
            a->quiet = true;
            break;
        case HELP:
            fputs(usage_text, stdout);
            return 0;
        default:
            return 2; /* getopt has said why */
        }
    }
    a->scenario = argv[optind];
    return optind + 1 == argc ? -1 : wrong("SCENARIO", "one file or name is expected");
}

/* ---- where the programs are ---- */

static bool own_path(char *path, size_t cap)
{
    ssize_t n = readlink("/proc/self/exe", path, cap - 1);
    path[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool is_there(const char *bin, const char *program)
{
    char path[REAL_DIR_MAX + 64];
    snprintf(path, sizeof(path), "%s/%s", bin, program);
    return access(path, X_OK) == 0;
}

static bool find_daemons(char *bin, size_t cap)
{
    if (!own_path(bin, cap)) {
        return false;
    }
    char *slash = strrchr(bin, '/');
    *slash = '\0';
    return is_there(bin, "holdfast-core") && is_there(bin, "holdfast-edge");
}

/* ---- the work directory ---- */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

/* The paths of all daemons' sockets must fit what a unix socket can have. */
static bool directory_make(const struct script *s, char *dir, size_t cap)
{
    const char *parent = getenv("TMPDIR");
    size_t longest = 0;
    for (uint32_t i = 0; i <= s->edge_count; i++) {
        size_t len = strlen(s->edge[i].name);
        longest = len > longest ? len : longest;
    }
    int len = snprintf(dir, cap, "%s/holdfast.XXXXXX", parent == NULL ? "/tmp" : parent);
    if (len < 0 || (size_t)len + 1 + longest + strlen("/holdfast.sock") > REAL_SOCKET_PATH_MAX) {
        errno = ENAMETOOLONG; /* of TMPDIR, or of an edge */
        return false;
    }
    return mkdtemp(dir) != NULL;
}

static void directory_end(const char *dir, bool keep)
{
    if (keep) {
        fprintf(stderr, "logs and data: %s\n", dir);
    } else {
        (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

/* ---- outside and inside ---- */

static int load(const struct arguments *a, const char *bin, struct script **s)
{
    struct hf_error e = {.code = HF_OK};
    struct real_means means = {.max_us = a->max_us,
                               .faults_library = is_there(bin, REAL_FAULTS_LIBRARY),
                               .history = a->history != NULL};
    char path[512];
    shipped_find(a->scenario, path, sizeof(path));
    if (script_read(path, s, &e) != HF_OK || real_refuse(*s, &means, &e) != HF_OK) {
        fprintf(stderr, "holdfast-sim wan: %s\n", e.text);
        script_free(*s);
        return 2;
    }
    return -1;
}

static uint64_t seed_of(const struct arguments *a, const struct script *s)
{
    return s->has_seed && !a->seed_given ? s->seed : a->seed;
}

static int run_player(const struct arguments *a, const struct script *s, char **argv, int argc)
{
    char self[REAL_DIR_MAX];
    char dir[REAL_DIR_MAX];
    char *words[32] = {self, (char[]){"wan-play"}, dir};
    struct hf_wan_config config = {
        .edges = s->edge_count, .seed = seed_of(a, s), .congestion = a->congestion};
    hf_wan_profile_default(&config.profile);
    if (argc > 28 || !own_path(self, sizeof(self))) {
        return wrong("arguments", "too many");
    }
    for (int i = 1; i < argc; i++) {
        words[2 + i] = argv[i];
    }
    if (!directory_make(s, dir, sizeof(dir))) {
        return wrong(dir, strerror(errno));
    }
    int status = hf_wan_link_run(&config, words, "wan");
    if (status > 128) {
        fprintf(stderr, "holdfast-sim wan: ended by a signal: %s\n", strsignal(status - 128));
    }
    directory_end(dir, a->keep);
    return status;
}

/* Returns -1 to go on, else the exit status. */
static int try_files(const struct arguments *a)
{
    struct hf_error e;
    if (report_try(a->json, &e) != HF_OK || report_try(a->html, &e) != HF_OK ||
        report_try(a->history, &e) != HF_OK) {
        fprintf(stderr, "holdfast-sim wan: %s\n", e.text);
        return 2;
    }
    return -1;
}

static int command_wan(int argc, char **argv)
{
    struct arguments a;
    struct script *s = NULL;
    char bin[REAL_DIR_MAX];
    int status = parse(argc, argv, &a);
    if (status >= 0) {
        return status;
    }
    if (!find_daemons(bin, sizeof(bin))) {
        return wrong(bin, "holdfast-core and holdfast-edge are not in this directory; build them");
    }
    status = load(&a, bin, &s);
    if (status >= 0) {
        return status;
    }
    status = try_files(&a);
    if (status < 0) {
        status = run_player(&a, s, argv, argc);
    }
    script_free(s);
    return status;
}

/* argv[1] is the directory; the words of `wan` follow. */
static int command_play(int argc, char **argv)
{
    struct arguments a;
    struct script *s = NULL;
    char bin[REAL_DIR_MAX];
    if (argc < 3 || getenv("HF_WAN_CONTROL") == NULL) {
        return wrong("wan-play", "is a part of `holdfast-sim wan`, and nothing to be called");
    }
    int status = parse(argc - 1, argv + 1, &a);
    if (status >= 0 || !find_daemons(bin, sizeof(bin))) {
        return 2;
    }
    status = load(&a, bin, &s);
    if (status >= 0) {
        return status;
    }
    struct real_options o = {.scenario = a.scenario,
                             .dir = argv[1],
                             .bin = bin,
                             .seed = seed_of(&a, s),
                             .keep = a.keep,
                             .quiet = a.quiet,
                             .all = a.all,
                             .json = a.json,
                             .html = a.html,
                             .history = a.history};
    status = real_play(s, &o);
    script_free(s);
    return status;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"wan", command_wan}, {"wan-play", command_play}};

bool real_is_command(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return true;
        }
    }
    return false;
}

int real_command(const char *name, int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return commands[i].run(argc, argv);
        }
    }
    HF_UNREACHABLE();
}
