/*
 * storm.c - many edges come back at once, over one line that the core has to all of them.
 *
 *   storm CORE CORE_PID EDGES KEYS CHANGED SECONDS "HUB WORDS" EDGE_SOCKET_FORMAT
 *
 * Waits until all edges have all keys, cuts all links, writes CHANGED keys evenly over SECONDS,
 * sets the hub (sim/wan/control.h), heals all links at one moment, and asks every edge, ten times a
 * second, for the last key. An edge is done when it has that key: the order of changes makes it the
 * last one. At the end every key of every edge is read, and
 * one that differs ends it with an error. A thread reads the core's memory from /proc meanwhile.
 *
 * Prints "name value" lines for wan.sh: times since the heal, bytes on the links, the core's memory
 * and its counters before and after, the share of the processors that was busy. It must not trust
 * what an edge says about itself. Next: storm.sh, which starts all of it.
 */
#include "tests/bench/keys.h"
#include "tests/bench/wire.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EDGES_MAX 250u
/* Asking 200 edges without such a pause takes half of two processors, which they need themselves.
 */
#define POLL_US 100000u
#define MEMORY_EVERY_US 10000u
#define SETTLE_US 5000000u
#define PATIENCE_S 10
#define LIMIT_US 300000000u

struct storm {
    const char *core, *control, *hub, *edge_format;
    int pid; /* of the core */
    uint64_t edges, keys, changed, cut_us;
    uint32_t *version;
    uint64_t last_key;
    redisContext *edge[EDGES_MAX];
    uint64_t done_us[EDGES_MAX]; /* 0 = not yet */
};

struct memory {
    int pid;
    atomic_bool stop;
    uint64_t rss, own; /* the most so far, in bytes */
};

/* ---- what the machine says ---- */

/* A line "Name:  N kB" of /proc/PID/status. */
static uint64_t status_bytes(int pid, const char *name)
{
    char path[64];
    char line[200];
    uint64_t kb = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        hf_keys_die(path, "the core is gone");
    }
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            (void)sscanf(line + strlen(name), ": %" SCNu64, &kb);
        }
    }
    fclose(f);
    return kb * 1024;
}

static void *memory_main(void *arg)
{
    struct memory *m = arg;
    while (!m->stop) {
        uint64_t rss = status_bytes(m->pid, "VmRSS");
        uint64_t own = status_bytes(m->pid, "RssAnon");
        m->rss = rss > m->rss ? rss : m->rss;
        m->own = own > m->own ? own : m->own;
        hf_sleep_us(MEMORY_EVERY_US);
    }
    return NULL;
}

/* Ticks of all processors since the start: all of them, and those in which there was work. */
static void processors(uint64_t *all, uint64_t *busy)
{
    uint64_t n[8] = {0};
    FILE *f = fopen("/proc/stat", "re");
    *all = *busy = 0;
    if (f == NULL || fscanf(f,
                            "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                            " %" SCNu64 " %" SCNu64 " %" SCNu64,
                            &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7]) != 8) {
        hf_keys_die("/proc/stat", "not as expected");
    }
    fclose(f);
    for (unsigned i = 0; i < 8; i++) {
        *all += n[i];
        *busy += i == 3 || i == 4 ? 0 : n[i]; /* idle, and waiting for a disk */
    }
}

/* Prints counters of the core that say what it did for edges that catch up. */
static void print_counters(const char *core, const char *when)
{
    static const char *const names[] = {"transfer_scans:",
                                        "transfer_cache_hits:",
                                        "transfer_coalesced:",
                                        "transfer_waited:",
                                        "busy:",
                                        "plans:",
                                        "fetches:",
                                        "over_quota:"};
    redisContext *c = hf_keys_dial(core, PATIENCE_S);
    redisReply *r = c == NULL ? NULL : redisCommand(c, "INFO HOLDFAST");
    if (r == NULL || r->type != REDIS_REPLY_STRING) {
        hf_keys_die(core, "no INFO");
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *at = strstr(r->str, names[i]);
        while (at != NULL && at > r->str && at[-1] != '\n') {
            at = strstr(at + 1, names[i]);
        }
        if (at != NULL) {
            printf("%s_%.*s %llu\n", when, (int)strlen(names[i]) - 1, names[i],
                   strtoull(at + strlen(names[i]), NULL, 10));
        }
    }
    freeReplyObject(r);
    redisFree(c);
}

/* ---- the edges ---- */

static void edge_path(const struct storm *s, uint64_t i, char path[200])
{
    const char *mark = strchr(s->edge_format, '%');
    int before = (int)(mark - s->edge_format);
    snprintf(path, 200, "%.*s%" PRIu64 "%s", before, s->edge_format, i + 1, mark + 1);
}

/* Asks those that are not done for the last key, until all have it. */
static bool wait_all(struct storm *s, uint64_t from_us)
{
    uint64_t left = s->edges;
    memset(s->done_us, 0, sizeof(s->done_us));
    while (left > 0 && hf_now_us() - from_us < LIMIT_US) {
        for (uint64_t i = 0; i < s->edges; i++) {
            char path[200];
            if (s->done_us[i] > 0) {
                continue;
            }
            edge_path(s, i, path);
            redisReply *r = hf_keys_ask(&s->edge[i], path, s->last_key, PATIENCE_S);
            if (hf_keys_is(r, s->last_key, s->version[s->last_key])) {
                s->done_us[i] = hf_now_us() - from_us;
                left--;
            }
            if (r != NULL) {
                freeReplyObject(r);
            }
        }
        hf_sleep_us(POLL_US);
    }
    return left == 0;
}

static void check_all(struct storm *s)
{
    for (uint64_t i = 0; i < s->edges; i++) {
        if (s->edge[i] == NULL || !hf_keys_all(&s->edge[i], s->version, s->keys)) {
            char path[200];
            edge_path(s, i, path);
            hf_keys_die(path, "has the last key, but differs");
        }
    }
}

static void write_changed(struct storm *s)
{
    redisContext *c = hf_keys_dial(s->core, PATIENCE_S);
    uint64_t start = hf_now_us();
    if (c == NULL) {
        hf_keys_die(s->core, "no server");
    }
    for (uint64_t i = 0; i < s->changed; i += 10) {
        uint64_t key[10];
        uint32_t version[10];
        unsigned n = s->changed - i < 10 ? (unsigned)(s->changed - i) : 10;
        uint64_t due = start + i * s->cut_us / s->changed;
        uint64_t now = hf_now_us();
        hf_sleep_us(now < due ? due - now : 0);
        for (unsigned j = 0; j < n; j++) {
            key[j] = i + j;
            version[j] = ++s->version[key[j]];
            s->last_key = key[j];
        }
        hf_keys_write(c, key, version, n);
    }
    redisFree(c);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int run(struct storm *s)
{
    struct memory m = {.pid = s->pid};
    pthread_t thread;
    uint64_t all[2];
    uint64_t busy[2];
    hf_sleep_us(SETTLE_US);
    hf_wire_do(s->control, "cut all");
    write_changed(s);
    hf_wire_do(s->control, s->hub);
    struct hf_wire before = hf_wire_read(s->control, "all");
    printf("rss_before_bytes %" PRIu64 "\nown_before_bytes %" PRIu64 "\n",
           status_bytes(s->pid, "VmRSS"), status_bytes(s->pid, "RssAnon"));
    print_counters(s->core, "before");
    if (pthread_create(&thread, NULL, memory_main, &m) != 0) {
        hf_keys_die("pthread_create", "failed");
    }
    processors(&all[0], &busy[0]);
    uint64_t healed = hf_now_us();
    hf_wire_do(s->control, "heal all");
    bool done = wait_all(s, healed);
    processors(&all[1], &busy[1]);
    struct hf_wire after = hf_wire_read(s->control, "all");
    m.stop = true;
    (void)pthread_join(thread, NULL);
    print_counters(s->core, "after");
    qsort(s->done_us, s->edges, sizeof(s->done_us[0]), compare);
    uint64_t median_us = s->done_us[s->edges / 2];
    printf("rss_most_bytes %" PRIu64 "\nown_most_bytes %" PRIu64 "\n", m.rss, m.own);
    printf("down_bytes %" PRIu64 "\nup_bytes %" PRIu64 "\noverflowed %" PRIu64 "\noverrun %" PRIu64
           "\n",
           after.down - before.down, after.up - before.up, after.overflowed - before.overflowed,
           after.overrun - before.overrun);
    printf("packed_bytes %" PRIu64 "\n", hf_keys_packed_bytes(s->version, s->changed) * s->edges);
    printf("processors_busy %.2f\n", (double)(busy[1] - busy[0]) / (double)(all[1] - all[0]));
    if (!done) {
        printf("last_s never\n");
        return 1;
    }
    printf("first_s %.3f\nmedian_s %.3f\nlast_s %.3f\n", (double)s->done_us[0] / 1e6,
           (double)median_us / 1e6, (double)s->done_us[s->edges - 1] / 1e6);
    check_all(s);
    return 0;
}

int main(int argc, char **argv)
{
    struct storm s = {.control = getenv("HF_WAN_CONTROL")};
    if (argc != 9 || s.control == NULL || strchr(argv[8], '%') == NULL) {
        fprintf(stderr, "usage: storm CORE CORE_PID EDGES KEYS CHANGED SECONDS HUB_WORDS "
                        "EDGE_SOCKET_WITH_%%   (storm.sh, under holdfast-sim link)\n");
        return 2;
    }
    s.core = argv[1];
    s.pid = atoi(argv[2]);
    s.edges = strtoull(argv[3], NULL, 10);
    s.keys = strtoull(argv[4], NULL, 10);
    s.changed = strtoull(argv[5], NULL, 10);
    s.cut_us = (uint64_t)(strtod(argv[6], NULL) * 1e6);
    s.hub = argv[7];
    s.edge_format = argv[8];
    s.version = calloc(s.keys, sizeof(*s.version));
    s.last_key = s.keys - 1;
    if (s.version == NULL || s.edges == 0 || s.edges > EDGES_MAX || s.changed > s.keys) {
        hf_keys_die("storm", "1 to 250 edges, and not more changed keys than keys");
    }
    uint64_t start = hf_now_us();
    if (!wait_all(&s, start)) {
        hf_keys_die("storm", "an edge did not get the first state");
    }
    printf("joined_s %.1f\n", (double)(hf_now_us() - start) / 1e6);
    return run(&s);
}
