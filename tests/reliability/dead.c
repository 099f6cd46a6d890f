/*
 * dead.c - the file system under a daemon comes to an end, and the daemon goes on answering reads.
 *
 * One daemon, --node, has its data on a disk of its own (loop_disk.h). --count times the disk ends
 * at a random moment: in turns while the daemon idles, and in the midst of commits. From then on:
 *
 * - every read at that daemon is answered right, for DEAD_MS: what it serves is mapped, and it must
 *   not be closed when nothing can be opened any more
 * - a core refuses what is written and says why; an edge says that its store failed
 * - it ends at SIGTERM as soon as ever
 * - once the disk is back and the daemon was started anew, it goes on, and both are equal
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"
#include "tests/reliability/daemons.h"
#include "tests/reliability/loop_disk.h"

#define DEAD_MS 1500
#define MOMENT_MS_MAX 500u
#define STOP_MS_MAX 5000
#define OLD_KEYS 8u

static struct campaign_option options[] = {
    {"--node", "edge", "whose disk: core or edge", NULL},
    {"--fs", "ext4", "what is on it: ext4 or xfs", NULL},
    {NULL, NULL, NULL, NULL},
};

static struct campaign campaign;
static struct e2e_node *core_node, *edge_node, *victim;

static struct {
    double recovery_ms[1u << 12];
    size_t recovery_count;
    uint64_t done, reads, refused;
} tally;

/* ---- before ---- */

static void settle(void)
{
    redisContext *core = e2e_connect(core_node), *edge = e2e_connect(edge_node);

    wait_settled(core, edge);
    e2e_disconnect(core);
    e2e_disconnect(edge);
}

static bool victim_has(const char *key, uint64_t value)
{
    char want[32];
    redisContext *c = e2e_connect(victim); /* one that has not written sees what is committed */
    redisReply *r = redisCommand(c, "GET %s", key);

    snprintf(want, sizeof(want), "%llu", (unsigned long long)value);
    bool has = r != NULL && r->type == REDIS_REPLY_STRING && strcmp(r->str, want) == 0;
    freeReplyObject(r);
    e2e_disconnect(c);
    return has;
}

static void write_old_keys(void)
{
    redisContext *c = e2e_connect(core_node);

    for (unsigned i = 0; i < OLD_KEYS; i++) {
        e2e_ok(c, "SET old-%u %llu", i, (unsigned long long)tally.done);
    }
    e2e_disconnect(c);
    settle();
    E2E_WAIT(SETTLE_MS, victim_has("old-7", tally.done));
}

/* ---- meanwhile ---- */

/* A process that makes commits at both nodes, one after another, until it is killed. */
static pid_t load_begin(void)
{
    pid_t pid = fork();

    if (pid != 0) {
        assert_true(pid > 0);
        return pid;
    }
    redisContext *c = e2e_connect(core_node);
    for (unsigned i = 0;; i++) {
        redisReply *w = redisCommand(c, "SET load-%u %u", i % 1000, i);
        redisReply *r = redisCommand(c, "GET load-0"); /* makes a core commit */

        if (w == NULL || r == NULL) {
            _exit(0);
        }
        freeReplyObject(w);
        freeReplyObject(r);
    }
}

static void load_end(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_true(waitpid(pid, NULL, 0) == pid);
}

static void try_to_write(redisContext *core)
{
    redisReply *r = redisCommand(core, "SET new %llu", (unsigned long long)tally.done);

    assert_non_null(r);
    assert_int_equal(r->type, victim == core_node ? REDIS_REPLY_ERROR : REDIS_REPLY_STATUS);
    tally.refused += r->type == REDIS_REPLY_ERROR;
    freeReplyObject(r);
}

static void read_and_write(void)
{
    char key[32];
    redisContext *core = e2e_connect(core_node);
    int64_t until = e2e_now_ms() + DEAD_MS;

    for (unsigned i = 0; e2e_now_ms() < until; i++) {
        if (i % 64 == 0) {
            try_to_write(core);
        }
        snprintf(key, sizeof(key), "old-%u", i % OLD_KEYS);
        if (!victim_has(key, tally.done)) {
            fail_msg("%s of the %s cannot be read %lld ms after the end of its disk", key,
                     victim->name, (long long)(DEAD_MS - (until - e2e_now_ms())));
        }
        tally.reads++;
    }
    e2e_disconnect(core);
}

static bool says_so(void)
{
    redisContext *c = e2e_connect(victim);
    bool says = victim == core_node ? e2e_core_status(c).refusing[0] != '\0'
                                    : strcmp(e2e_edge_status(c).store, "failed") == 0;

    e2e_disconnect(c);
    return says;
}

/* ---- the campaign ---- */

static void end_victim(void)
{
    int64_t began = e2e_now_ms();

    e2e_stop(victim, SIGTERM);
    assert_in_range(e2e_now_ms() - began, 0, STOP_MS_MAX);
}

static void end_and_come_back(bool busy)
{
    int status;
    pid_t load = busy ? load_begin() : 0;

    e2e_sleep_ms((int)campaign_random_below(&campaign, MOMENT_MS_MAX));
    disk_stop(!busy);
    read_and_write();
    assert_true(says_so());
    if (busy) {
        load_end(load);
    }
    end_victim();
    disk_unmount();
    assert_true(disk_mount());
    double began = campaign_now_s();
    launch(victim);
    assert_int_equal(came_up(victim, &status), DAEMON_LIVES);
    settle();
    if (tally.recovery_count < sizeof(tally.recovery_ms) / sizeof(tally.recovery_ms[0])) {
        tally.recovery_ms[tally.recovery_count++] = (campaign_now_s() - began) * 1e3;
    }
}

static void dead_disks(void **state)
{
    bool at_edge = strcmp(campaign_option(&campaign, "--node"), "edge") == 0;

    e2e_begin(state);
    alarm(CAMPAIGN_SECONDS_MAX);
    disk_begin();
    disk_make();
    assert_true(disk_mount());
    core_node = e2e_core_new("core");
    e2e_config(core_node, SMALL_SEGMENTS);
    if (!at_edge) {
        disk_take(core_node);
    }
    e2e_start(core_node);
    edge_node = e2e_edge_new(core_node, "edge", core_node->port);
    if (at_edge) {
        disk_take(edge_node);
    }
    e2e_start(edge_node);
    victim = at_edge ? edge_node : core_node;
    for (; tally.done < campaign.count; tally.done++) {
        write_old_keys();
        end_and_come_back(tally.done % 2 != 0);
        campaign_progress(&campaign, tally.done + 1);
    }
    e2e_passed();
}

static int finish(void **state)
{
    campaign_set(&campaign, "count", tally.done);
    campaign_set(&campaign, "reads", tally.reads);
    campaign_set(&campaign, "refused", tally.refused);
    campaign_set_times(&campaign, "recovery", tally.recovery_ms, tally.recovery_count);
    disk_end();
    return e2e_teardown(state);
}

int main(int argc, char **argv)
{
    campaign_begin(&campaign, "dead", "a file system that ends under a daemon", 3, options, argc,
                   argv);
    disk_fs = campaign_option(&campaign, "--fs");
    const char *why = disk_impossible();
    if (why != NULL) {
        return campaign_skip(&campaign, why);
    }
    return campaign_run(&campaign, dead_disks, finish);
}
