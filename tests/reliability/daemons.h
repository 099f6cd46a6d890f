/*
 * daemons.h - what the campaigns that harm daemons share: a core and edges in the e2e box, started
 * with or without libholdfast-faults.so, and their recovery.
 *
 * A campaign is one cmocka test in the harness's box, so that whatever ends it ends its daemons
 * too; its result line comes after the test.
 *
 * It must not be included before harness.c and hole.c, of which it is a part, nor without
 * campaign.h.
 */
#ifndef TESTS_RELIABILITY_DAEMONS_H
#define TESTS_RELIABILITY_DAEMONS_H

#include "sim/preload/faults.h"
#include "tests/reliability/campaign.h"
#include "tests/reliability/clients.h"

#include <sys/mman.h>

/* Of a campaign; one that hangs ends. */
#define CAMPAIGN_SECONDS_MAX (6 * 3600u)
/* No measurement: a disk that several campaigns share stalled for 24 s. */
#define SETTLE_MS 60000
/* Small files, so that a copy of a node is quick. */
#define SMALL_SEGMENTS "[store]\nsegment = 1MiB\n"

/* ---- load ---- */

/* For clients at these nodes, of which the first is the core. */
static inline struct clients_config clients_at(struct e2e_node *const node[],
                                               const char *const name[], unsigned count)
{
    struct clients_config config = {.node_count = count};

    for (unsigned i = 0; i < count; i++) {
        config.name[i] = name[i];
        config.port[i] = node[i]->resp_port;
        config.netns[i] = node[i]->netns;
    }
    return config;
}

/* ---- faults ---- */

struct fault_page {
    struct hf_faults *faults; /* shared with the daemon */
    char path[160];
};

static inline void fault_page_new(struct fault_page *p, const char *name)
{
    snprintf(p->path, sizeof(p->path), "%s", e2e_path(name));
    int fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, sizeof(*p->faults)), 0);
    p->faults = mmap(NULL, sizeof(*p->faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(p->faults != MAP_FAILED);
    close(fd);
}

/* No fault; nothing counted. */
static inline void fault_page_clear(struct fault_page *p)
{
    memset((void *)p->faults, 0, sizeof(*p->faults));
    p->faults->set = 1;
}

/* Starts a daemon whose calls on files below its directory count; does not wait for anything. */
static inline void launch_with_faults(struct e2e_node *n, const struct fault_page *p)
{
    char library[600];

    snprintf(library, sizeof(library), "%s/libholdfast-faults.so", box.bin);
    assert_int_equal(access(library, R_OK), 0);
    setenv("HF_FAULTS_PAGE", p->path, 1);
    setenv("HF_FAULTS_DIR", n->dir, 1);
    setenv("LD_PRELOAD", library, 1);
    launch(n);
    unsetenv("LD_PRELOAD");
    unsetenv("HF_FAULTS_DIR");
    unsetenv("HF_FAULTS_PAGE");
}

/* ---- life and death ---- */

static inline bool says_ready(const struct e2e_node *n)
{
    char text[1024];

    read_file(n->out, text, sizeof(text));
    return strstr(text, "\nready\n") != NULL;
}

/* The end of a daemon that nobody asked for: by a signal, or by itself. */
enum daemon_end { DAEMON_LIVES, DAEMON_EXITED, DAEMON_DIED };

/* *status is that of waitpid once it has ended; the node is forgotten then. */
static inline enum daemon_end daemon_end_of(struct e2e_node *n, int *status)
{
    if (n->pid > 0 && waitpid(n->pid, status, WNOHANG) == n->pid) {
        n->pid = 0;
        return WIFSIGNALED(*status) ? DAEMON_DIED : DAEMON_EXITED;
    }
    return DAEMON_LIVES;
}

/* Waits until a launched daemon is ready (DAEMON_LIVES) or has ended. */
static inline enum daemon_end came_up(struct e2e_node *n, int *status)
{
    int64_t until = e2e_now_ms() + SETTLE_MS;
    enum daemon_end end = DAEMON_LIVES;

    while (!says_ready(n) && end == DAEMON_LIVES) {
        if (e2e_now_ms() > until) {
            fail_msg("%s is neither ready nor dead", n->name);
        }
        e2e_sleep_ms(1);
        end = daemon_end_of(n, status);
    }
    return end;
}

/* Until the edge has all that the core has, and knows it: then it answers reads. */
static inline void wait_settled(redisContext *core, redisContext *edge)
{
    int64_t until = e2e_now_ms() + SETTLE_MS;

    while (!e2e_equal(core, edge) || !e2e_edge_says(edge, "live")) {
        struct e2e_edge_status s = e2e_edge_status(edge);

        if (e2e_now_ms() > until) {
            fail_msg("the edge is %s, at %lld of %lld; received %lld, store %s", s.state,
                     (long long)s.applied, (long long)e2e_core_status(core).head,
                     (long long)s.received, s.store);
        }
        e2e_sleep_ms(5);
    }
}

/* ---- files ---- */

/* A NULL-terminated list of words; fails the campaign unless the program ends with 0. */
static inline void run_program(const char *const *words)
{
    int status = -1;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t pid = spawn((char *const *)(uintptr_t)words, null, null, 2);

    close(null);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0) {
        fail_msg("%s: status %d", words[0], status);
    }
}

static inline void remove_tree(const char *path)
{
    if (access(path, F_OK) == 0) {
        nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

static inline void copy_tree(const char *from, const char *to)
{
    remove_tree(to);
    run_program((const char *const[]){"/bin/cp", "-a", from, to, NULL});
}

/* ---- running a campaign ---- */

/* The test's body and teardown; the result's `ok` is whether it passed. As root, in a network of
 * its own. */
static inline int campaign_run(struct campaign *c, CMUnitTestFunction body,
                               CMFixtureFunction teardown)
{
    const struct CMUnitTest tests[] = {
        {c->name, body, e2e_setup, teardown, NULL},
    };

    /* Campaigns run beside each other, and a daemon that is killed leaves its port for a while. */
    network_own();
    return campaign_end(c, cmocka_run_group_tests(tests, NULL, NULL) == 0);
}

#endif
