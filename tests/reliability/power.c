/*
 * power.c - power cuts: the file system under the daemons stops taking writes between two moments,
 * loses what was not synced, and comes back.
 *
 * A core and an edge run on an ext4 of their own, in memory, behind a loop device. A cut is
 * EXT4_IOC_SHUTDOWN without flushing the journal, kill -9, unmount and mount again: what the disk
 * then holds is what a machine would find that had lost its power at that moment, except that
 * sectors are neither torn nor reordered within what was flushed. Recorded clients write and read
 * throughout; after each cut the core must know at least the newest number it had acknowledged, and
 * in the end the history must hold under C1 to C9.
 *
 * --control yes is the test of this test: the same with syncs that do nothing (a core alone, empty
 * at each cut). Most cuts must then be noticed: the core does not start, or has lost what it
 * acknowledged.
 *
 * Needs root. Nothing is left behind, whatever ends this program: the disk is anonymous memory, the
 * loop device frees itself with its last user, and the mounts are in a namespace of their own.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"
#include "tests/reliability/clients.h"
#include "tests/reliability/daemons.h"
#include "tests/reliability/verdict.h"

#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>

#define DISK_BYTES (512u << 20)   /* of which only what is written takes memory */
#define IOC_SHUTDOWN 0x8004587dUL /* EXT4_IOC_SHUTDOWN, in no header of user space */
#define NO_LOG_FLUSH 2u
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
static int disk = -1; /* a memfd */
static char mount_point[128], history[256];
static bool control;

static struct {
    double recovery_ms[1u << 16];
    size_t recovery_count;
    uint64_t cuts, acked, asked, lost, noticed;
    char verdict[1024];
} tally;

/* ---- the disk ---- */

static void make_disk(void)
{
    char path[64];

    if (disk >= 0) {
        close(disk);
    }
    disk = memfd_create("holdfast-disk", MFD_CLOEXEC);
    assert_true(disk >= 0);
    assert_int_equal(ftruncate(disk, DISK_BYTES), 0);
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), disk);
    run_program((const char *const[]){"/sbin/mkfs.ext4", "-q", "-F", path, NULL});
}

/* A loop device on the disk, gone with its last user. */
static int loop_open(char path[32])
{
    for (int tries = 0; tries < 100; tries++) {
        struct loop_config config = {.fd = (uint32_t)disk, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
        int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        int number = ioctl(control_fd, LOOP_CTL_GET_FREE);

        close(control_fd);
        assert_true(number >= 0);
        snprintf(path, 32, "/dev/loop%d", number);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            return fd;
        }
        if (fd >= 0) {
            close(fd);
        }
        e2e_sleep_ms(2); /* another program was faster */
    }
    fail_msg("no free loop device");
    return -1;
}

static bool mount_disk(void)
{
    char path[32];
    int fd = loop_open(path);
    bool good = mount(path, mount_point, "ext4", MS_NOATIME, "") == 0;

    close(fd);
    if (good) {
        snprintf(box.mounted, sizeof(box.mounted), "%s", mount_point);
    }
    return good;
}

static void unmount_disk(void)
{
    int64_t until = e2e_now_ms() + SETTLE_MS;

    while (umount2(mount_point, 0) != 0) {
        assert_true(errno == EBUSY && e2e_now_ms() < until);
        e2e_sleep_ms(1);
    }
    box.mounted[0] = '\0';
}

static void stop_disk(void)
{
    uint32_t flags = NO_LOG_FLUSH;
    int fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ioctl(fd, IOC_SHUTDOWN, &flags), 0);
    close(fd);
}

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

    stop_disk();
    e2e_stop(core_node, SIGKILL);
    e2e_stop(edge_node, SIGKILL);
    unmount_disk();
    uint64_t newest = clients_newest(clients); /* nobody has answered for a while */
    uint64_t acked = clients_acked(clients);
    assert_true(mount_disk());
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

/* The harness makes its directory in the box. */
static void move_to_disk(struct e2e_node *n)
{
    char path[sizeof(n->dir)];

    snprintf(path, sizeof(path), "%.90s/%.31s", mount_point, n->name);
    copy_tree(n->dir, path);
    snprintf(n->dir, sizeof(n->dir), "%s", path);
    e2e_arg_set(n, "--data", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(syncfs(fd), 0); /* the cuts are to find what the daemons sync, not cp */
    close(fd);
}

static void cut_again_and_again(void)
{
    redisContext *c[2];

    make_disk();
    assert_true(mount_disk());
    recorder_start(recorder, name[0]);
    e2e_start(core_node);
    edge_node = e2e_edge_new(core_node, "edge", core_node->port);
    move_to_disk(edge_node);
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

    make_disk();
    assert_true(mount_disk());
    fault_page_clear(&page);
    page.faults->nosync = 1;
    launch_with_faults(core_node, &page);
    assert_int_equal(came_up(core_node, &status), DAEMON_LIVES);
    start_load(1);
    run_a_while();
    stop_disk();
    e2e_stop(core_node, SIGKILL);
    unmount_disk();
    newest = clients_newest(clients);
    clients_stop(clients, true);
    tally.acked += clients_acked(clients);
    clients_free(clients);
    clients = NULL;
    if (!mount_disk()) {
        return true;
    }
    launch(core_node);
    if (came_up(core_node, &status) == DAEMON_LIVES) {
        redisContext *c = e2e_connect(core_node);
        noticed = (uint64_t)e2e_core_status(c).head < newest;
        e2e_disconnect(c);
    }
    e2e_stop(core_node, SIGKILL);
    unmount_disk();
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
    snprintf(mount_point, sizeof(mount_point), "%s", e2e_path("disk"));
    snprintf(history, sizeof(history), "%s", e2e_path("history.jsonl"));
    assert_int_equal(mkdir(mount_point, 0700), 0);
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
    for (size_t i = 0; i < box.node_count; i++) {
        e2e_stop(&box.node[i], SIGKILL); /* or the disk is busy */
    }
    return e2e_teardown(state);
}

int main(int argc, char **argv)
{
    campaign_begin(&campaign, "power", "power cuts under a core and an edge", 10, options, argc,
                   argv);
    control = strcmp(campaign_option(&campaign, "--control"), "yes") == 0;
    if (geteuid() != 0) {
        return campaign_skip(&campaign, "power cuts need root: a loop device and a mount");
    }
    if (unshare(CLONE_NEWNS) != 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        access("/dev/loop-control", R_OK | W_OK) != 0) {
        return campaign_skip(&campaign, "no mounts or no loop devices are allowed here");
    }
    return campaign_run(&campaign, power_cuts, finish);
}
