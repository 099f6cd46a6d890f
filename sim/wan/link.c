/*
 * link.c - `holdfast-sim link`: an emulated network for as long as a command runs.
 *
 *   link [options] -- COMMAND...    sets up the network, runs the command, prints the counters
 *   link-exec NODE COMMAND...       in the command: runs another in a node
 *   link-do WORDS...                in the command: a line for the control socket (control.h)
 *
 * The command stays in the caller's network and finds in its environment: HF_WAN_CONTROL (the
 * socket), HF_WAN_NODES (how many edges), HF_WAN_ADDRESS_0 (the core) to _N, and HF_WAN_SIM (this
 * program, for link-exec). Sockets with a path in the file system cross all nodes.
 *
 * Invariant: the forwarder's process does nothing else, and all that it made ends with it: devices
 * and namespaces by their descriptors, processes by nest.c, the control socket's directory by
 * whichever of the two processes lives longer. Next: control.c, tests/e2e/test_wan.c.
 */
#include "sim/wan/link.h"

#include "hf/number.h"
#include "sim/wan/control.h"
#include "sim/wan/nest.h"
#include "sim/wan/profile.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED 125
#define SETTINGS_MAX 16u
/* Packets are late by what others take of the processor before the forwarder gets it. */
#define FORWARDER_NICE (-15)

struct link_run {
    struct hf_wan_config config;
    char **command;
    struct hf_wan *wan;
    struct hf_wan_control *control;
    pid_t init;
    int signals;
    int status; /* of the command, -1 while it runs */
    bool quiet, told_to_end;
    char dir[64], socket[80];
};

static const char usage_text[] =
    "usage: holdfast-sim link [options] -- COMMAND...\n"
    "       holdfast-sim link-exec NODE COMMAND...   in COMMAND: run something in a node, 0 = "
    "core\n"
    "       holdfast-sim link-do WORDS...            in COMMAND: change the links, read "
    "counters\n\n"
    "A core and edges in network namespaces of their own, joined by links as these say; all links\n"
    "are alike at first. COMMAND itself stays in this network. Needs root or a user namespace.\n"
    "Exit status: COMMAND's; 125 the network could not be made, 126 and 127 as of a shell.\n\n";

static const char usage_end[] =
    "  --nodes N           edges, 1 to 250 (1)\n"
    "  --hub-rate X        Mbit/s that the core sends at most, to all edges together\n"
    "  --congestion NAME   TCP congestion control in the nodes: cubic, bbr, reno (the system's)\n"
    "  --seed N            of losses and jitter (random)\n"
    "  --quiet             no counters at the end\n\n"
    "link-do:  set WHICH [up|down] NAME=VALUE...   cut WHICH [up|down]   heal WHICH [up|down]\n"
    "          half-open WHICH   hub NAME=VALUE...   stats [WHICH]   nodes\n"
    "          WHICH is an edge's number or all; the hub has rate and queue\n";

/* ---- options ---- */

static int usage(int status)
{
    FILE *out = status == 0 ? stdout : stderr;
    const char *help;
    const char *name;
    fputs(usage_text, out);
    for (size_t i = 0; (name = hf_wan_profile_name(i, &help)) != NULL; i++) {
        char option[32];
        snprintf(option, sizeof(option), "--%s X", name);
        fprintf(out, "  %-19s %s\n", option, help);
    }
    fputs(usage_end, out);
    return status;
}

static int wrong(const char *what, const char *why)
{
    fprintf(stderr, "holdfast-sim link: %s: %s (see --help)\n", what, why);
    return 2;
}

enum { NODES = 256, HUB, CONGESTION, SEED, QUIET, HELP, SETTING };

static void options_make(struct option *longs)
{
    static const struct option fixed[] = {
        {"nodes", 1, NULL, NODES}, {"hub-rate", 1, NULL, HUB}, {"congestion", 1, NULL, CONGESTION},
        {"seed", 1, NULL, SEED},   {"quiet", 0, NULL, QUIET},  {"help", 0, NULL, HELP}};
    const char *help;
    const char *name;
    size_t n = 0;
    for (; (name = hf_wan_profile_name(n, &help)) != NULL; n++) {
        HF_ASSERT(n < SETTINGS_MAX);
        longs[n] = (struct option){name, 1, NULL, SETTING};
    }
    memcpy(longs + n, fixed, sizeof(fixed));
}

/* Returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, struct link_run *l)
{
    struct option longs[SETTINGS_MAX + 8] = {0};
    struct hf_wan_profile hub = {0};
    struct hf_error e;
    uint64_t n;
    int c;
    int index = 0;
    options_make(longs);
    /* The plus ends options at the command's name: its own options are not ours. */
    while ((c = getopt_long(argc, argv, "+", longs, &index)) != -1) {
        switch (c) {
        case NODES:
            if (!hf_number_parse(hf_slice_str(optarg), 1, HF_WAN_EDGES_MAX, &n)) {
                return wrong(optarg, "expected 1 to 250 nodes");
            }
            l->config.edges = (unsigned)n;
            break;
        case SEED:
            if (!hf_number_parse(hf_slice_str(optarg), 0, UINT64_MAX, &l->config.seed)) {
                return wrong(optarg, "expected a number below 2^64");
            }
            break;
        case SETTING:
            if (hf_wan_profile_set(&l->config.profile, longs[index].name, optarg, &e) != HF_OK) {
                return wrong(longs[index].name, e.text);
            }
            break;
        case HUB:
            if (hf_wan_profile_set(&hub, "rate", optarg, &e) != HF_OK) {
                return wrong("hub-rate", e.text);
            }
            l->config.hub_bps = hub.rate_bps;
            break;
        case CONGESTION:
            l->config.congestion = optarg;
            break;
        case QUIET:
            l->quiet = true;
            break;
        case HELP:
            return usage(0);
        default:
            return 2; /* getopt has said why */
        }
    }
    l->command = argv + optind;
    return optind < argc ? -1 : wrong("COMMAND", "is missing");
}

/* ---- the network and the command ---- */

/* Not deep: the path of a unix socket has room for 107 bytes. */
static enum hf_err directory_make(struct link_run *l, struct hf_error *e)
{
    const char *parent = getenv("TMPDIR");
    if (parent == NULL || strlen(parent) > 32) {
        parent = "/tmp";
    }
    snprintf(l->dir, sizeof(l->dir), "%s/holdfast-wan.XXXXXX", parent);
    if (mkdtemp(l->dir) == NULL) {
        (void)hf_error_set(e, HF_IO, "%s: %s", l->dir, strerror(errno));
        l->dir[0] = '\0';
        return HF_IO;
    }
    snprintf(l->socket, sizeof(l->socket), "%s/control", l->dir);
    return HF_OK;
}

static void environment_set(const struct link_run *l)
{
    char name[32];
    char value[4096];
    (void)setenv("HF_WAN_CONTROL", l->socket, 1);
    snprintf(value, sizeof(value), "%u", l->config.edges);
    (void)setenv("HF_WAN_NODES", value, 1);
    for (unsigned i = 0; i <= l->config.edges; i++) {
        snprintf(name, sizeof(name), "HF_WAN_ADDRESS_%u", i);
        hf_wan_address(i, value);
        (void)setenv(name, value, 1);
    }
    ssize_t n = readlink("/proc/self/exe", value, sizeof(value) - 1);
    if (n > 0) {
        value[n] = '\0';
        (void)setenv("HF_WAN_SIM", value, 1);
    }
}

static void on_signal(void *ctx, int fd)
{
    struct link_run *l = ctx;
    struct signalfd_siginfo info;
    int status;
    if (read(fd, &info, sizeof(info)) != sizeof(info)) {
        return;
    }
    if (info.ssi_signo == SIGCHLD) {
        if (waitpid(l->init, &status, WNOHANG) == l->init) {
            l->status = hf_wan_nest_status(status);
        }
        return;
    }
    /* Who asks twice does not want to wait for a command that takes its time. */
    (void)kill(l->init, l->told_to_end ? SIGKILL : SIGTERM);
    l->told_to_end = true;
}

static enum hf_err set_up(struct link_run *l, struct hf_error *e)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    enum hf_err rc = hf_wan_privilege(e);
    if (rc == HF_OK) {
        rc = hf_wan_new(&l->config, &l->wan, e);
    }
    if (rc == HF_OK) {
        rc = directory_make(l, e);
    }
    if (rc == HF_OK) {
        rc = hf_wan_control_new(l->wan, l->socket, &l->control, e);
    }
    if (rc != HF_OK) {
        return rc;
    }
    environment_set(l);
    (void)sigprocmask(SIG_BLOCK, &mask, NULL);
    l->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (l->signals < 0 || !hf_wan_watch(l->wan, l->signals, on_signal, l)) {
        return hf_error_set(e, HF_IO, "signalfd: %s", strerror(errno));
    }
    return hf_wan_nest_start(l->command, l->dir, l->socket, &l->init, e);
}

static void tear_down(struct link_run *l)
{
    hf_wan_control_free(l->control);
    hf_wan_free(l->wan);
    if (l->signals >= 0) {
        close(l->signals);
    }
    if (l->dir[0] != '\0') {
        (void)rmdir(l->dir);
    }
}

static int run(struct link_run *l, const char *who)
{
    struct hf_error e;
    if (set_up(l, &e) != HF_OK) {
        fprintf(stderr, "holdfast-sim %s: %s\n", who, e.text);
        tear_down(l);
        return FAILED;
    }
    (void)setpriority(PRIO_PROCESS, 0, FORWARDER_NICE); /* without the privilege it does without */
    while (l->status < 0) {
        hf_wan_step(l->wan);
    }
    if (!l->quiet) {
        hf_wan_stats_print(l->wan, 1, hf_wan_edges(l->wan), stderr);
    }
    tear_down(l);
    return l->status;
}

int hf_wan_link_run(const struct hf_wan_config *config, char **argv, const char *who)
{
    struct link_run l = {
        .config = *config, .command = argv, .signals = -1, .status = -1, .quiet = true};
    return run(&l, who);
}

static int command_link(int argc, char **argv)
{
    struct link_run l = {.signals = -1, .status = -1};
    l.config.edges = 1;
    hf_wan_profile_default(&l.config.profile);
    if (getrandom(&l.config.seed, sizeof(l.config.seed), 0) != sizeof(l.config.seed)) {
        return wrong("getrandom", strerror(errno));
    }
    int status = parse(argc, argv, &l);
    return status >= 0 ? status : run(&l, "link");
}

/* ---- in the command ---- */

static const char *control_path(void)
{
    const char *path = getenv("HF_WAN_CONTROL");
    if (path == NULL) {
        fputs("holdfast-sim: no HF_WAN_CONTROL: this is for commands under holdfast-sim link\n",
              stderr);
    }
    return path;
}

static int command_exec(int argc, char **argv)
{
    const char *path = control_path();
    char line[64];
    struct hf_error e;
    int at = argc > 2 && strcmp(argv[2], "--") == 0 ? 3 : 2;
    int fd = -1;
    if (path == NULL) {
        return FAILED;
    }
    if (argc <= at || strlen(argv[1]) > 8) {
        return usage(2);
    }
    snprintf(line, sizeof(line), "netns %s", argv[1]);
    if (hf_wan_ask(path, line, NULL, &fd, &e) != HF_OK) {
        fprintf(stderr, "holdfast-sim link-exec: %s\n", e.text);
        return FAILED;
    }
    if (setns(fd, CLONE_NEWNET) != 0) {
        fprintf(stderr, "holdfast-sim link-exec: setns: %s\n", strerror(errno));
        return FAILED;
    }
    (void)setenv("HF_WAN_NODE", argv[1], 1);
    execvp(argv[at], argv + at);
    fprintf(stderr, "holdfast-sim link-exec: %s: %s\n", argv[at], strerror(errno));
    return errno == ENOENT ? 127 : 126;
}

static int command_do(int argc, char **argv)
{
    const char *path = control_path();
    char line[500] = "";
    struct hf_error e;
    size_t len = 0;
    if (argc < 2) {
        return usage(2);
    }
    for (int i = 1; i < argc && path != NULL; i++) {
        int n = snprintf(line + len, sizeof(line) - len, "%s%s", i > 1 ? " " : "", argv[i]);
        if (n < 0 || (size_t)n >= sizeof(line) - len) {
            return wrong("link-do", "too long a line");
        }
        len += (size_t)n;
    }
    if (path == NULL || hf_wan_ask(path, line, stdout, NULL, &e) != HF_OK) {
        fprintf(stderr, "holdfast-sim link-do: %s\n", path == NULL ? "no network" : e.text);
        return 1;
    }
    return 0;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"link", command_link}, {"link-exec", command_exec}, {"link-do", command_do}};

bool hf_wan_is_command(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return true;
        }
    }
    return false;
}

int hf_wan_command(const char *name, int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return commands[i].run(argc, argv);
        }
    }
    HF_UNREACHABLE();
}
