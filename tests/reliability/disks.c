/*
 * disks.c - disks that are slow or hang, and maps of the state that are full.
 *
 *   --what slow   each sync of one daemon takes --slow-ms longer, for a second: the core and the
 * edge in turn
 *   --what hang   one sync of it takes --slow-ms, 3 s say, and all that wait for it wait
 *   --what map    core and edge begin with the smallest map, 1 MiB; the data grows by a MiB a time,
 *                 and every fifth time one of them is killed (kill -9) right after
 *
 * A reader at the harmed daemon must not notice a slow disk: data that is there is served from
 * memory, and readers never wait for a writer. A read that waits for the disk takes about as long
 * as a sync does, so of all reads meanwhile 99 in 100 must take less than half of that; how long
 * they take before is in the result beside it. Memory must stay bounded while writes wait.
 * Recovery: from the end of the fault until a write is answered, or the edge has what the core has.
 *
 * A full map must be no more than a pause: nothing is refused, nobody ends, all are equal.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"
#include "tests/reliability/clients.h"
#include "tests/reliability/daemons.h"
#include "tests/reliability/verdict.h"

#define NODES 2u
#define WRITERS 3u
#define PAUSE_US 1000
#define NEWEST 1000u
#define WELL_MS 300
#define SLOW_FOR_MS 1000
#define READS_MAX (1u << 18)
/* What waits may take: 64 MiB of writes at the core, 32 MiB of batches at an edge, and their copies
 * are bounds of the daemons; this load comes nowhere near them. */
#define GROWTH_KIB_MAX (64u << 10)
#define MAP_MIN "[store]\nmap = 1MiB\n"
#define VALUE_BYTES 100000u
#define VALUES_PER_MIB 10u

static struct campaign_option options[] = {
    {"--what", "slow", "slow, hang or map", NULL},
    {"--slow-ms", "200", "how much longer a sync takes", NULL},
    {NULL, NULL, NULL, NULL},
};

static struct campaign campaign;
static const char *const name[NODES] = {"core", "edge"};
static struct e2e_node *node[NODES];
static struct fault_page page[NODES];
static struct recorder *recorder;
static struct clients *clients;
static char history[160];

struct reads {
    double ms[READS_MAX];
    size_t count;
};

static struct {
    struct reads well, harmed;
    double recovery_ms[1u << 12];
    size_t recovery_count;
    uint64_t done, acked, asked, lost, growth_kib, kills, file_mib;
    char verdict[1024];
} tally;

/* ---- reads at one daemon ---- */

static void read_for(struct e2e_node *n, struct reads *r, int ms)
{
    redisContext *c = e2e_connect(n);
    int64_t until = e2e_now_ms() + ms;

    while (e2e_now_ms() < until) {
        double began = campaign_now_s();
        redisReply *reply = redisCommand(c, "GET before");

        assert_non_null(reply);
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        assert_string_equal(reply->str, "1");
        freeReplyObject(reply);
        if (r->count < READS_MAX) {
            r->ms[r->count++] = (campaign_now_s() - began) * 1e3;
        }
        usleep(500);
    }
    e2e_disconnect(c);
}

/* ---- slow and hanging disks ---- */

static bool all_equal(void)
{
    redisContext *core = e2e_connect(node[0]), *edge = e2e_connect(node[1]);
    bool equal = e2e_equal(core, edge);

    e2e_disconnect(core);
    e2e_disconnect(edge);
    return equal;
}

static void note_growth(unsigned i, size_t before_kib)
{
    size_t now_kib = e2e_memory_kib(node[i], "VmRSS");

    if (now_kib > before_kib + tally.growth_kib) {
        tally.growth_kib = now_kib - before_kib;
    }
}

/* Until the harmed daemon does again what its disk kept it from. */
static void wait_recovery(unsigned i)
{
    double began = campaign_now_s();
    uint64_t acked = clients_acked(clients);
    redisContext *edge = e2e_connect(node[1]);
    int64_t newest = (int64_t)clients_newest(clients);

    if (i == 0) {
        E2E_WAIT(SETTLE_MS, clients_acked(clients) > acked);
    } else {
        E2E_WAIT(SETTLE_MS, e2e_edge_status(edge).applied >= newest);
    }
    e2e_disconnect(edge);
    if (tally.recovery_count < sizeof(tally.recovery_ms) / sizeof(tally.recovery_ms[0])) {
        tally.recovery_ms[tally.recovery_count++] = (campaign_now_s() - began) * 1e3;
    }
}

static void be_slow(unsigned i, uint32_t slow_ms, bool hang)
{
    size_t before_kib = e2e_memory_kib(node[i], "VmRSS");

    read_for(node[i], &tally.well, WELL_MS);
    page[i].faults->slow_ms = slow_ms;
    if (hang) { /* the sync that has begun by then goes on; the next ones are quick again */
        e2e_sleep_ms(100);
        page[i].faults->slow_ms = 0;
    }
    uint64_t acked = clients_acked(clients);
    read_for(node[i], &tally.harmed, hang ? (int)slow_ms : SLOW_FOR_MS);
    page[i].faults->slow_ms = 0;
    if (i == 0 && !hang) { /* the fault is there: no more than a write of each for each sync */
        assert_true(clients_acked(clients) - acked <= WRITERS * (SLOW_FOR_MS / slow_ms + 2));
    }
    note_growth(i, before_kib);
    wait_recovery(i);
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
    E2E_WAIT(SETTLE_MS, clients_acked(clients) > 10);
}

static void slow_disks(bool hang)
{
    uint32_t slow_ms = (uint32_t)strtoul(campaign_option(&campaign, "--slow-ms"), NULL, 10);

    start_load();
    for (; tally.done < campaign.count; tally.done++) {
        be_slow((unsigned)tally.done % NODES, slow_ms, hang);
        campaign_progress(&campaign, tally.done + 1);
    }
    clients_stop(clients, false);
    tally.acked = clients_acked(clients);
    E2E_WAIT(SETTLE_MS, all_equal());
    assert_true(clients_finish(clients));
    tally.lost = clients_lost(clients, NEWEST, &tally.asked);
    int written = recorder_free(recorder);
    recorder = NULL;
    assert_int_equal(written, 0);
    assert_int_equal(tally.lost, 0);
    if (!history_holds(history, tally.verdict, sizeof(tally.verdict))) {
        fail_msg("%s", tally.verdict);
    }
    assert_true(tally.harmed.count > 0);
    assert_true(campaign_p99(tally.harmed.ms, tally.harmed.count) < slow_ms / 2.0);
    assert_true(tally.growth_kib < GROWTH_KIB_MAX);
}

/* ---- full maps ---- */

static void fill_value(char *value, uint64_t i)
{
    for (size_t at = 0; at < VALUE_BYTES; at++) {
        value[at] = (char)('a' + (i * 31 + at * at) % 26);
    }
}

static void check_value(unsigned at_node, uint64_t i)
{
    static char want[VALUE_BYTES];
    redisContext *c = e2e_connect(node[at_node]);
    redisReply *r = redisCommand(c, "GET big-%llu", (unsigned long long)i);

    fill_value(want, i);
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_STRING);
    assert_int_equal(r->len, VALUE_BYTES);
    assert_memory_equal(r->str, want, VALUE_BYTES);
    freeReplyObject(r);
    e2e_disconnect(c);
}

/* A MiB in single writes; the edge is still taking them in when the last is answered. */
static void grow(redisContext *core, uint64_t mib)
{
    static char value[VALUE_BYTES];

    for (unsigned j = 0; j < VALUES_PER_MIB; j++) {
        uint64_t i = mib * VALUES_PER_MIB + j;

        fill_value(value, i);
        redisReply *r = redisCommand(core, "SET big-%llu %b", (unsigned long long)i, value,
                                     (size_t)VALUE_BYTES);
        assert_non_null(r);
        if (r->type != REDIS_REPLY_STATUS) {
            fail_msg("a write was refused while the map grows: %s", r->str);
        }
        freeReplyObject(r);
        tally.acked++;
    }
}

static void kill_and_start(unsigned i)
{
    int status;

    e2e_stop(node[i], SIGKILL);
    launch(node[i]);
    if (came_up(node[i], &status) != DAEMON_LIVES) {
        show_log(node[i]);
        fail_msg("%s does not start on a map that was full", name[i]);
    }
    tally.kills++;
}

static void full_maps(void)
{
    struct stat st;
    uint64_t written;

    for (; tally.done < campaign.count; tally.done++) {
        redisContext *core = e2e_connect(node[0]);

        grow(core, tally.done);
        e2e_disconnect(core);
        if (tally.done % 5 == 4) {
            kill_and_start((unsigned)(tally.done / 5) % NODES);
        }
        if (!e2e_alive(node[0]) || !e2e_alive(node[1])) {
            fail_msg("a daemon ended over a full map");
        }
        campaign_progress(&campaign, tally.done + 1);
    }
    E2E_WAIT(SETTLE_MS, all_equal());
    written = campaign.count * VALUES_PER_MIB;
    for (uint64_t i = 0; i < written; i++) {
        check_value((unsigned)i % NODES, i);
    }
    assert_int_equal(stat(e2e_path("core/main/state/data.mdb"), &st), 0);
    tally.file_mib = (uint64_t)st.st_size >> 20;
    assert_true(tally.file_mib > 1); /* or nothing was ever full */
}

/* ---- the campaign ---- */

static void start_nodes(const char *config)
{
    redisContext *core;

    for (unsigned i = 0; i < NODES; i++) {
        char file[32];
        int status;

        snprintf(file, sizeof(file), "%s.faults", name[i]);
        fault_page_new(&page[i], file);
        fault_page_clear(&page[i]);
        node[i] = i == 0 ? e2e_core_new(name[0]) : e2e_edge_new(node[0], name[1], node[0]->port);
        e2e_config(node[i], config);
        recorder_start(recorder, name[i]);
        launch_with_faults(node[i], &page[i]);
        assert_int_equal(came_up(node[i], &status), DAEMON_LIVES);
        if (i == 0) { /* its key is known only now */
            char text[1024];

            read_file(node[0]->out, text, sizeof(text));
            assert_int_equal(sscanf(text, "%*s key %64s", node[0]->key), 1);
        }
    }
    core = e2e_connect(node[0]);
    e2e_ok(core, "SET before 1");
    e2e_disconnect(core);
    E2E_WAIT(SETTLE_MS, all_equal());
    core = e2e_connect(node[0]); /* who has not written sees the last commit of its state */
    E2E_WAIT(SETTLE_MS, e2e_integer(core, "EXISTS before") == 1);
    e2e_disconnect(core);
}

static void harm_disks(void **state)
{
    const char *what = campaign_option(&campaign, "--what");

    e2e_begin(state);
    alarm(CAMPAIGN_SECONDS_MAX);
    snprintf(history, sizeof(history), "%s", e2e_path("history.jsonl"));
    recorder = recorder_new(history);
    assert_non_null(recorder);
    if (strcmp(what, "map") == 0) {
        start_nodes(MAP_MIN);
        full_maps();
    } else {
        start_nodes("[store]\n");
        slow_disks(strcmp(what, "hang") == 0);
    }
    e2e_passed();
}

static int finish(void **state)
{
    clients_free(clients);
    recorder_free(recorder);
    campaign_set(&campaign, "count", tally.done);
    campaign_set(&campaign, "acknowledged", tally.acked);
    if (strcmp(campaign_option(&campaign, "--what"), "map") == 0) {
        campaign_set(&campaign, "kills", tally.kills);
        campaign_set(&campaign, "state_file_mib", tally.file_mib);
        return e2e_teardown(state);
    }
    campaign_set(&campaign, "asked_again", tally.asked);
    campaign_set(&campaign, "lost", tally.lost);
    campaign_set(&campaign, "memory_growth_kib", tally.growth_kib);
    campaign_set_text(&campaign, "history", tally.verdict);
    campaign_set_times(&campaign, "reads_before", tally.well.ms, tally.well.count);
    campaign_set_times(&campaign, "reads_meanwhile", tally.harmed.ms, tally.harmed.count);
    campaign_set_times(&campaign, "recovery", tally.recovery_ms, tally.recovery_count);
    return e2e_teardown(state);
}

int main(int argc, char **argv)
{
    campaign_begin(&campaign, "disks", "slow and hanging disks, full maps", 4, options, argc, argv);
    const char *what = campaign_option(&campaign, "--what");
    if ((strcmp(what, "slow") != 0 && strcmp(what, "hang") != 0 && strcmp(what, "map") != 0) ||
        strtoul(campaign_option(&campaign, "--slow-ms"), NULL, 10) < 50) {
        fprintf(stderr, "disks: --what is slow, hang or map; --slow-ms 50 or more\n");
        return 2;
    }
    return campaign_run(&campaign, harm_disks, finish);
}
