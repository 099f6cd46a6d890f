/*
 * kills.c - kill -9, pauses and clock steps of real daemons at random moments, under load.
 *
 * A core and two edges run under recorded clients (clients.h). --fault kill kills one of them,
 * drawn at random, and starts it again; pause stops it (SIGSTOP) for up to --pause-ms and lets it
 * go on; clock shifts its wall clock by up to ten years either way, or back to the truth.
 * Afterwards everything that was recorded must hold under C1 to C9 (holdfast-sim check), the newest
 * requests of each writer must be known under the numbers they were answered, and all digests must
 * be equal.
 *
 * --link wan does all that over emulated links (sim/wan): each daemon in a network of its own, 40
 * ms away from the core each way, 20 Mbit/s, and one packet in a hundred lost, by kernel TCP. The
 * program then starts itself anew as the command of `holdfast-sim link`.
 *
 * Recovery of a kill: from the kill until a client of the campaign is answered again: at the core a
 * write, at an edge a read. What was there before the load counts as nothing: each run begins
 * empty.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"
#include "tests/reliability/clients.h"
#include "tests/reliability/daemons.h"
#include "tests/reliability/verdict.h"

#include "sim/wan/control.h"

#define NODES 3u
#define WRITERS 3u
#define PAUSE_US 1000 /* of a client between two operations */
#define NEWEST 1000u  /* requests of each writer that are asked again at the end */
#define DECADE_S 315360000
#define LINK "--nodes", "2", "--rtt", "80", "--rate", "20", "--loss", "1"

static struct campaign_option options[] = {
    {"--fault", "kill", "kill, pause or clock", NULL},
    {"--link", "loopback", "loopback, or wan: 80 ms, 20 Mbit/s, 1 % of loss; needs root", NULL},
    {"--pause-ms", "2500", "the longest pause", NULL},
    {"--history", "", "keep the recorded history in this file", NULL},
    {NULL, NULL, NULL, NULL},
};

static struct campaign campaign;
static const char *const name[NODES] = {"core", "lagos", "lima"};
static struct e2e_node *node[NODES];
static struct fault_page page[NODES];
static struct recorder *recorder;
static struct clients *clients;
static char history[256];
static bool over_wan;

static struct {
    double core_ms[1u << 16], edge_ms[1u << 16];
    size_t core_count, edge_count;
    uint64_t faults, acked, asked, lost, lines;
    char verdict[1024];
} tally;

/* ---- faults ---- */

static uint64_t answered(unsigned i)
{
    return i == 0 ? clients_acked(clients) : clients_read(clients, i);
}

static void wait_answers(unsigned i, uint64_t more)
{
    uint64_t before = answered(i);

    E2E_WAIT(SETTLE_MS, answered(i) >= before + more);
}

static void start_node(unsigned i)
{
    int status;

    recorder_start(recorder, name[i]);
    launch_with_faults(node[i], &page[i]);
    if (came_up(node[i], &status) != DAEMON_LIVES) {
        fail_msg("%s does not start: status %d", name[i], status);
    }
}

static void kill_one(unsigned i)
{
    double began = campaign_now_s();
    double *ms = i == 0 ? tally.core_ms : tally.edge_ms;
    size_t *count = i == 0 ? &tally.core_count : &tally.edge_count;

    e2e_stop(node[i], SIGKILL);
    start_node(i);
    wait_answers(i, 1);
    if (*count < 1u << 16) {
        ms[(*count)++] = (campaign_now_s() - began) * 1e3;
    }
}

static void pause_one(unsigned i)
{
    uint64_t longest = strtoull(campaign_option(&campaign, "--pause-ms"), NULL, 10);

    kill(node[i]->pid, SIGSTOP);
    e2e_sleep_ms((int)(50 + campaign_random_below(&campaign, longest)));
    kill(node[i]->pid, SIGCONT);
    wait_answers(i, 1);
}

static void shift_clock(unsigned i)
{
    int64_t seconds = (int64_t)campaign_random_below(&campaign, 2 * DECADE_S) - DECADE_S;

    page[i].faults->clock_ns =
        campaign_random_below(&campaign, 4) == 0 ? 0 : seconds * INT64_C(1000000000);
    wait_answers(i, 5);
}

static void harm(void (*one)(unsigned))
{
    for (tally.faults = 0; tally.faults < campaign.count; tally.faults++) {
        /* A random part of a commit interval and of a beacon's, now and then longer. */
        e2e_sleep_ms((int)campaign_random_below(
            &campaign, campaign_random_below(&campaign, 8) == 0 ? 1200 : 150));
        one((unsigned)campaign_random_below(&campaign, NODES));
        for (unsigned i = 0; i < NODES; i++) {
            if (!e2e_alive(node[i])) {
                fail_msg("%s died of nothing that was done to it", name[i]);
            }
        }
        campaign_progress(&campaign, tally.faults + 1);
    }
}

/* ---- what must hold ---- */

static bool all_equal(redisContext **c)
{
    return e2e_equal(c[0], c[1]) && e2e_equal(c[0], c[2]);
}

static void end_and_check(void)
{
    redisContext *c[NODES];

    for (unsigned i = 0; i < NODES; i++) {
        page[i].faults->clock_ns = 0;
        c[i] = e2e_connect(node[i]);
    }
    clients_stop(clients, false);
    tally.acked = clients_acked(clients);
    E2E_WAIT(SETTLE_MS, all_equal(c));
    assert_true(clients_finish(clients));
    tally.lost = clients_lost(clients, NEWEST, &tally.asked);
    tally.lines = recorder_lines(recorder);
    int written = recorder_free(recorder);
    recorder = NULL;
    assert_int_equal(written, 0);
    assert_int_equal(tally.lost, 0);
    assert_true(tally.acked > 0);
    if (!history_holds(history, tally.verdict, sizeof(tally.verdict))) {
        fail_msg("%s", tally.verdict);
    }
}

/* ---- the campaign ---- */

/* The node in its network of the emulator, where the core is at another address. */
static void move_to_wan(unsigned i)
{
    char line[32], url[80], address[HF_WAN_ADDRESS_BYTES];
    struct hf_error e;

    snprintf(line, sizeof(line), "netns %u", i);
    if (hf_wan_ask(getenv("HF_WAN_CONTROL"), line, NULL, &node[i]->netns, &e) != HF_OK) {
        fail_msg("%s: %s", line, e.text);
    }
    hf_wan_address(0, address);
    snprintf(url, sizeof(url), "tcp://%s:%d", address, node[0]->port);
    e2e_arg_set(node[i], i == 0 ? "--listen" : "--core", url);
}

static void start_load(void)
{
    struct clients_config config = clients_at(node, name, NODES);

    config.recorder = recorder;
    config.writers = WRITERS;
    config.pause_us = PAUSE_US;
    config.seed = campaign.seed;
    clients = clients_start(&config);
    assert_non_null(clients);
}

static void harm_under_load(void **state)
{
    const char *fault = campaign_option(&campaign, "--fault");
    const char *kept = campaign_option(&campaign, "--history");

    e2e_begin(state);
    alarm(CAMPAIGN_SECONDS_MAX);
    snprintf(history, sizeof(history), "%s", kept[0] != '\0' ? kept : e2e_path("history.jsonl"));
    recorder = recorder_new(history);
    assert_non_null(recorder);
    for (unsigned i = 0; i < NODES; i++) {
        char file[32];

        snprintf(file, sizeof(file), "%s.faults", name[i]);
        fault_page_new(&page[i], file);
        fault_page_clear(&page[i]);
        node[i] = i == 0 ? e2e_core_new(name[0]) : e2e_edge_new(node[0], name[i], node[0]->port);
        if (over_wan) {
            move_to_wan(i);
        }
        start_node(i);
        if (i == 0) { /* its key is known only now */
            char text[1024];

            read_file(node[0]->out, text, sizeof(text));
            assert_int_equal(sscanf(text, "%*s key %64s", node[0]->key), 1);
        }
    }
    start_load();
    wait_answers(0, 10);
    harm(strcmp(fault, "kill") == 0    ? kill_one
         : strcmp(fault, "pause") == 0 ? pause_one
                                       : shift_clock);
    end_and_check();
    e2e_passed();
}

static int finish(void **state)
{
    clients_free(clients);
    if (recorder != NULL) {
        recorder_free(recorder);
    }
    campaign_set(&campaign, "count", tally.faults);
    campaign_set(&campaign, "acknowledged", tally.acked);
    campaign_set(&campaign, "asked_again", tally.asked);
    campaign_set(&campaign, "lost", tally.lost);
    campaign_set(&campaign, "history_lines", tally.lines);
    campaign_set_text(&campaign, "history", tally.verdict);
    campaign_set_times(&campaign, "recovery_core", tally.core_ms, tally.core_count);
    campaign_set_times(&campaign, "recovery_edge", tally.edge_ms, tally.edge_count);
    return e2e_teardown(state);
}

/* This program once more, as the command of the emulator. */
static int run_in_wan(char **argv)
{
    char sim[600];
    const char *words[32] = {sim, "link", LINK, "--"};
    size_t n = 0;

    if (geteuid() != 0) {
        return campaign_skip(&campaign, "an emulated WAN needs root here");
    }
    find_binaries();
    snprintf(sim, sizeof(sim), "%s/holdfast-sim", box.bin);
    while (words[n] != NULL) {
        n++;
    }
    for (; *argv != NULL && n < 31; argv++) {
        words[n++] = *argv;
    }
    execv(sim, (char *const *)(uintptr_t)words);
    return campaign_skip(&campaign, strerror(errno));
}

int main(int argc, char **argv)
{
    campaign_begin(&campaign, "kills", "kills, pauses or clock steps of real daemons under load",
                   20, options, argc, argv);
    over_wan = strcmp(campaign_option(&campaign, "--link"), "wan") == 0;
    if (over_wan && getenv("HF_WAN_CONTROL") == NULL) {
        return run_in_wan(argv);
    }
    return campaign_run(&campaign, harm_under_load, finish);
}
