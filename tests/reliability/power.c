/*
 * power.c - power cuts: the file system under the daemons stops taking writes between two moments,
 * loses what was not synced, and comes back.
 *
 * A core and an edge run on a disk of their own. A cut is its end, kill -9, unmount and mount
 * again: what the disk then holds is what a machine would find that had lost its power at that
 * moment, except that sectors are neither torn nor reordered within what was flushed. Recorded
 * clients write and read throughout; after each cut the core must know at least the newest number
 * it had acknowledged, and in the end the history must hold under C1 to C9.
 *
 * --control yes is the test of this test: the same with syncs that do nothing (a core alone, empty
 * at each cut). Most cuts must then be noticed: the core does not start, or has lost what it
 * acknowledged.
 *
 * Needs root (loop_disk.h).
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"
#include "tests/reliability/clients.h"
#include "tests/reliability/daemons.h"
#include "tests/reliability/loop_disk.h"
#include "tests/reliability/verdict.h"

#define RUN_MS_MAX 300
#define NEWEST 500u
/* Of the control's cuts, in percent: fewer, and the cut is not one. */
#define CONTROL_MIN 90u

static struct campaign_option options[] = {
    {"--control", "no", "yes: with syncs that do nothing, which must be noticed", NULL},
    {NULL, NULL, NULL, NULL},
};

static struct campaign campaign;
static const char *const name[] = {"core", "edge"};
static struct e2e_node *core_node, *edge_node;
static struct fault_page page;
static struct recorder *recorder;
static struct clients *clients;
static char history[256];
static bool control;

static struct {
    double recovery_ms[1u << 16];
    size_t recovery_count;
    uint64_t cuts, acked, asked, lost, noticed;
    char verdict[1024];
} tally;

/* ---- cuts ---- */

static void start_load(unsigned nodes)
{
    struct e2e_node *const node[] = {core_node, edge_node};
    struct clients_config config = clients_at(node, name, nodes);

    config.recorder = recorder;
    config.writers = 3;
    config.pause_us = 500;
    config.seed = campaign.seed + tally.cuts;

    clients = clients_start(&config);
    assert_non_null(clients);
}

static void run_a_while(void)
{
    uint64_t before = clients_acked(clients);

    E2E_WAIT(SETTLE_MS, clients_acked(clients) > before);
    e2e_sleep_ms((int)campaign_random_below(&campaign, RUN_MS_MAX));
}

/* Both at once, as on a machine that boots. */
static void start_both(void)
{
    struct e2e_node *const node[] = {core_node, edge_node};
    int status;

    for (unsigned i = 0; i < 2; i++) {
        recorder_start(recorder, name[i]);
        launch(node[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (came_up(node[i], &status) != DAEMON_LIVES) {
            show_log(node[i]);
            fail_msg("%s does not start after a power cut", name[i]);
        }
    }
}

/* From the cut to the first answered write. */
static void cut(void)
{
    double began = campaign_now_s();

    disk_stop(false);
    e2e_stop(core_node, SIGKILL);
    e2e_stop(edge_node, SIGKILL);
    disk_unmount();
    uint64_t newest = clients_newest(clients); /* nobody has answered for a while */
    uint64_t acked = clients_acked(clients);
    assert_true(disk_mount());
    start_both();
    redisContext *c = e2e_connect(core_node);
    if ((uint64_t)e2e_core_status(c).head < newest) {
        tally.lost++;
        fprintf(stderr, "power: the core is at %lld and had acknowledged %llu\n",
                (long long)e2e_core_status(c).head, (unsigned long long)newest);
    }
    e2e_disconnect(c);
    E2E_WAIT(SETTLE_MS, clients_acked(clients) > acked);
    if (tally.recovery_count < 1u << 16) {
        tally.recovery_ms[tally.recovery_count++] = (campaign_now_s() - began) * 1e3;
    }
}

/* A start reads the newest segment and makes the next: small ones are quick, and many are cut. */
static void configure(struct e2e_node *core)
{
    const char *path = e2e_path("core.conf");
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    fputs(SMALL_SEGMENTS, f);
    assert_int_equal(fclose(f), 0);
    e2e_arg_set(core, "--config", path);
}

static void cut_again_and_again(void)
{
    redisContext *c[2];

    disk_make();
    assert_true(disk_mount());
    recorder_start(recorder, name[0]);
    e2e_start(core_node);
    edge_node = e2e_edge_new(core_node, "edge", core_node->port);
    disk_take(edge_node);
    recorder_start(recorder, name[1]);
    e2e_start(edge_node);
    start_load(2);
    for (; tally.cuts < campaign.count; tally.cuts++) {
        run_a_while();
        cut();
        campaign_progress(&campaign, tally.cuts + 1);
    }
    clients_stop(clients, false);
    tally.acked = clients_acked(clients);
    c[0] = e2e_connect(core_node);
    c[1] = e2e_connect(edge_node);
    wait_settled(c[0], c[1]);
    assert_true(clients_finish(clients));
    tally.lost += clients_lost(clients, NEWEST, &tally.asked);
}

/* ---- the control ---- */

/* Whether a cut without syncs was noticed: by the mount, by the core, or by its clients. */
static bool control_cut(void)
{
    uint64_t newest;
    int status = 0;
    bool noticed = true;

    disk_make();
    assert_true(disk_mount());
    fault_page_clear(&page);
    page.faults->nosync = 1;
    launch_with_faults(core_node, &page);
    assert_int_equal(came_up(core_node, &status), DAEMON_LIVES);
    start_load(1);
    run_a_while();
    disk_stop(false);
    e2e_stop(core_node, SIGKILL);
    disk_unmount();
    newest = clients_newest(clients);
    clients_stop(clients, true);
    tally.acked += clients_acked(clients);
    clients_free(clients);
    clients = NULL;
    if (!disk_mount()) {
        return true;
    }
    launch(core_node);
    if (came_up(core_node, &status) == DAEMON_LIVES) {
        redisContext *c = e2e_connect(core_node);
        noticed = (uint64_t)e2e_core_status(c).head < newest;
        e2e_disconnect(c);
    }
    e2e_stop(core_node, SIGKILL);
    disk_unmount();
    return noticed;
}

static void cut_without_syncs(void)
{
    fault_page_new(&page, "faults");
    for (; tally.cuts < campaign.count; tally.cuts++) {
        tally.noticed += control_cut();
        campaign_progress(&campaign, tally.cuts + 1);
    }
}

/* ---- the campaign ---- */

static void power_cuts(void **state)
{
    e2e_begin(state);
    alarm(CAMPAIGN_SECONDS_MAX);
    snprintf(history, sizeof(history), "%s", e2e_path("history.jsonl"));
    disk_begin();
    recorder = recorder_new(history);
    assert_non_null(recorder);
    core_node = e2e_core_new("disk/core");
    /* Outputs and config are no part of the disk that is cut. */
    snprintf(core_node->out, sizeof(core_node->out), "%s", e2e_path("core.out"));
    snprintf(core_node->err, sizeof(core_node->err), "%s", e2e_path("core.err"));
    configure(core_node);
    if (control) {
        cut_without_syncs();
        assert_true(tally.noticed * 100 >= tally.cuts * CONTROL_MIN);
        e2e_passed();
        return;
    }
    cut_again_and_again();
    assert_int_equal(recorder_free(recorder), 0);
    recorder = NULL;
    assert_int_equal(tally.lost, 0);
    if (!history_holds(history, tally.verdict, sizeof(tally.verdict))) {
        fail_msg("%s", tally.verdict);
    }
    e2e_passed();
}

static int finish(void **state)
{
    clients_free(clients);
    recorder_free(recorder);
    campaign_set(&campaign, "count", tally.cuts);
    campaign_set(&campaign, "acknowledged", tally.acked);
    if (control) {
        campaign_set(&campaign, "noticed", tally.noticed);
    } else {
        campaign_set(&campaign, "asked_again", tally.asked);
        campaign_set(&campaign, "lost", tally.lost);
        campaign_set_text(&campaign, "history", tally.verdict);
        campaign_set_times(&campaign, "recovery", tally.recovery_ms, tally.recovery_count);
    }
    disk_end();
    return e2e_teardown(state);
}

int main(int argc, char **argv)
{
    campaign_begin(&campaign, "power", "power cuts under a core and an edge", 10, options, argc,
                   argv);
    control = strcmp(campaign_option(&campaign, "--control"), "yes") == 0;
    const char *why = disk_impossible();
    if (why != NULL) {
        return campaign_skip(&campaign, why);
    }
    return campaign_run(&campaign, power_cuts, finish);
}
