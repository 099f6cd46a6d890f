/*
 * flips.c - one bit of a file at rest is flipped, as a disk may do it; then the file is used.
 *
 *   --what state   the LMDB file of a node's state: opened, every key read and the whole key space
 *                  scanned, in a child process of its own
 *   --what log     the changelog of a core: opened and replayed, in a child
 *   --what edge    the state file of a real edge, which is started on it, as often as a supervisor
 *                  would, and must end with the core's digest and all of its values
 *   --what core    state file or changelog of a real core, which must refuse to start or serve
 * right answers only
 *
 * Each outcome is counted under one of these names:
 *
 *   right      everything was as before: the bit meant nothing, or was mended
 *   refused    opening it said what is wrong, or at least one key did, and no key was wrong
 *   missing    a key was absent and nothing said why: a wrong answer, counted apart
 *   wrong      a value, a key or a batch that never was
 *   deaths     the process ended by a signal: LMDB trusts its pages, so all are looked at first
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"
#include "tests/reliability/daemons.h"

#include "hf/changelog.h"
#include "hf/state.h"

#include <sys/resource.h>

#include <xxhash.h>

#define KEYS 2000
#define PER_BATCH 20
#define CHILD_SECONDS 20u
#define STARTS_MAX 6
#define FILE_MAX (32u << 20)

static struct campaign_option options[] = {
    {"--what", "state", "state, log, edge or core", NULL},
    {NULL, NULL, NULL, NULL},
};

enum outcome { RIGHT, REFUSED, MISSING, WRONG, DEATH };

static struct campaign campaign;
static struct e2e_node *core_node, *edge_node;
static redisContext *core;
static uint64_t tally[DEATH + 1], flips, healed, restarts, deaths, ticks;

/* ---- what is right ---- */

static const char *key_of(int i)
{
    static char text[32];

    snprintf(text, sizeof(text), "key-%05d", i);
    return text;
}

static const char *value_of(int i)
{
    static char text[160];

    snprintf(text, sizeof(text), "value %d of a key that is %0*d", i, 20 + i % 100, i);
    return text;
}

static void write_keys(void)
{
    for (int from = 0; from < KEYS; from += PER_BATCH) {
        static char key[PER_BATCH][32], value[PER_BATCH][160];
        const char *argv[1 + 2 * PER_BATCH] = {"MSET"};

        for (int i = 0; i < PER_BATCH; i++) {
            snprintf(key[i], sizeof(key[i]), "%s", key_of(from + i));
            snprintf(value[i], sizeof(value[i]), "%s", value_of(from + i));
            argv[1 + 2 * i] = key[i];
            argv[2 + 2 * i] = value[i];
        }
        redisReply *r = redisCommandArgv(core, 1 + 2 * PER_BATCH, argv, NULL);
        assert_non_null(r);
        assert_int_equal(r->type, REDIS_REPLY_STATUS);
        freeReplyObject(r);
    }
}

static enum outcome worse(enum outcome a, enum outcome b)
{
    return a > b ? a : b;
}

/* ---- one bit ---- */

struct victim {
    char path[256];
    uint8_t *bytes; /* as it was */
    size_t size;
};

static void victim_read(struct victim *v, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    free(v->bytes);
    snprintf(v->path, sizeof(v->path), "%s", path);
    v->bytes = malloc(FILE_MAX);
    assert_non_null(v->bytes);
    n = pread(fd, v->bytes, FILE_MAX, 0);
    assert_true(n > 0 && n < (ssize_t)FILE_MAX);
    v->size = (size_t)n;
    close(fd);
}

/* Changelog files are preallocated: behind the last record they are zeros that nobody reads. */
static size_t used_bytes(const struct victim *v)
{
    size_t n = v->size;

    while (n > 1 && v->bytes[n - 1] == 0) {
        n--;
    }
    return n;
}

/* Returns where. */
static size_t flip(const struct victim *v)
{
    size_t at = (size_t)campaign_random_below(&campaign, used_bytes(v));
    uint8_t byte = (uint8_t)(v->bytes[at] ^ (1u << campaign_random_below(&campaign, 8)));
    int fd = open(v->path, O_WRONLY | O_CLOEXEC);

    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
    return at;
}

static void put_back(const struct victim *v)
{
    int fd = open(v->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(ftruncate(fd, (off_t)v->size), 0);
    assert_int_equal(pwrite(fd, v->bytes, v->size, 0), (ssize_t)v->size);
    close(fd);
}

/* ---- in a child ---- */

static enum outcome read_key(struct hf_view *v, int i)
{
    struct hf_stored r;
    enum hf_err e = hf_view_get(v, hf_slice_str(key_of(i)), false, &r);

    if (e == HF_NOTFOUND) {
        return MISSING;
    }
    if (e != HF_OK) {
        return REFUSED;
    }
    return hf_slice_eq(r.value, hf_slice_str(value_of(i))) ? RIGHT : WRONG;
}

/* In key order each key once, with its value; what is not there was counted above. */
static enum outcome scan(struct hf_view *v)
{
    struct hf_slice after = hf_slice_of(NULL, 0);
    struct hf_stored r;

    for (int n = 0; n <= KEYS; n++) {
        char key[32] = "";
        int i = -1;
        enum hf_err e = hf_view_next_record(v, after, &r);

        if (e != HF_OK) {
            return e == HF_NOTFOUND ? RIGHT : REFUSED;
        }
        if (r.key.len < sizeof(key)) {
            memcpy(key, r.key.data, r.key.len);
            i = strncmp(key, "key-", 4) == 0 ? atoi(key + 4) : -1;
        }
        if (i < 0 || i >= KEYS || strcmp(key, key_of(i)) != 0 ||
            !hf_slice_eq(r.value, hf_slice_str(value_of(i)))) {
            return WRONG;
        }
        after = r.key;
    }
    return WRONG;
}

static enum outcome use_state(const char *dir)
{
    struct hf_state_config c = {.dir = dir};
    struct hf_error e;
    struct hf_state *s;
    struct hf_view *v;
    enum outcome all = RIGHT, scanned;

    if (hf_state_open(&c, &s, &e) != HF_OK || hf_view_open(s, &v) != HF_OK) {
        return REFUSED;
    }
    for (int i = 0; i < KEYS; i++) {
        all = worse(all, read_key(v, i));
    }
    scanned = scan(v);
    hf_view_close(v);
    hf_state_close(s);
    return worse(all, scanned);
}

struct replay {
    XXH64_state_t *sum;
    hf_seq last;
};

static enum hf_err take_record(void *ctx, enum hf_record_type type, hf_seq seq,
                               struct hf_slice payload)
{
    struct replay *r = ctx;
    uint64_t head[2] = {(uint64_t)type, seq};

    XXH64_update(r->sum, head, sizeof(head));
    XXH64_update(r->sum, payload.data, payload.len);
    r->last = seq;
    return HF_OK;
}

static uint64_t log_sum;
static hf_seq log_last;

/* All records, in order. `covered` is what the committed state covers. */
static enum outcome use_log(const char *dir, hf_seq covered, uint64_t *sum, hf_seq *last)
{
    struct replay r = {XXH64_createState(), 0};
    struct hf_changelog_config c = {.dir = dir, .covered = covered, .single_thread = true};
    struct hf_changelog *log;
    struct hf_error e;

    XXH64_reset(r.sum, 0);
    if (hf_changelog_open(&c, 0, take_record, &r, &log, &e) != HF_OK) {
        return REFUSED;
    }
    hf_changelog_close(log);
    *sum = XXH64_digest(r.sum);
    *last = r.last;
    return *sum == log_sum ? RIGHT : r.last < log_last ? MISSING : WRONG;
}

static enum outcome in_child(bool is_log, const char *dir)
{
    const struct rlimit no_core = {0, 0};
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        uint64_t sum;
        hf_seq last;
        static const int fatal[] = {SIGBUS, SIGSEGV, SIGABRT, SIGALRM};

        for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
            signal(fatal[i], SIG_DFL);
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setrlimit(RLIMIT_CORE, &no_core);
        alarm(CHILD_SECONDS);
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        dup2(null, 2); /* LMDB's last words, thousands of times */
        _exit((int)(is_log ? use_log(dir, log_last, &sum, &last) : use_state(dir)));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? (enum outcome)WEXITSTATUS(status) : DEATH;
}

/* The segment that is written to. */
static void newest_file(const char *dir, char path[256])
{
    char newest[128] = "";
    DIR *d = opendir(dir);
    const struct dirent *entry;

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "spare") != 0 &&
            strcmp(entry->d_name, newest) > 0) {
            snprintf(newest, sizeof(newest), "%.100s", entry->d_name);
        }
    }
    closedir(d);
    snprintf(path, 256, "%.120s/%.100s", dir, newest);
}

/* What was answered wrongly is kept for whoever is to mend it, once. */
static void save_damaged(const char *path, size_t at, enum outcome o)
{
    static bool saved;

    fprintf(stderr, "flips: %s after a flip in byte %zu of %s\n",
            o == WRONG ? "a wrong answer" : "an absent key", at, path);
    if (!saved) {
        copy_tree(path, "/tmp/holdfast-flips.damaged");
        fprintf(stderr, "flips: the file is kept as /tmp/holdfast-flips.damaged\n");
        saved = true;
    }
}

static void flip_files(bool is_log)
{
    struct victim v = {.size = 0};
    char dir[128], path[256];

    snprintf(dir, sizeof(dir), "%.120s", e2e_path(is_log ? "core/main/log" : "edge/main/state"));
    if (is_log) {
        newest_file(dir, path);
        (void)use_log(dir, 0, &log_sum, &log_last);
        assert_true(log_last >= KEYS / PER_BATCH);
    } else {
        snprintf(path, sizeof(path), "%s/data.mdb", dir);
    }
    victim_read(&v, path);
    assert_int_equal(in_child(is_log, dir), RIGHT);
    for (; flips < campaign.count; flips++) {
        size_t at = flip(&v);
        enum outcome o = in_child(is_log, dir);

        tally[o]++;
        if (o == MISSING || o == WRONG) {
            save_damaged(path, at, o);
        }
        put_back(&v);
        campaign_progress(&campaign, flips + 1);
    }
    assert_int_equal(in_child(is_log, dir), RIGHT);
    free(v.bytes);
}

/* ---- daemons ---- */

/* Reads all keys; DEATH when the connection ended. */
static enum outcome read_all(redisContext *c)
{
    enum outcome all = RIGHT;

    for (int i = 0; i < KEYS; i++) {
        redisAppendCommand(c, "GET %s", key_of(i));
    }
    for (int i = 0; i < KEYS; i++) {
        void *reply = NULL;
        const redisReply *r;

        if (redisGetReply(c, &reply) != REDIS_OK) {
            return DEATH;
        }
        r = reply;
        all = worse(all, r->type == REDIS_REPLY_NIL         ? MISSING
                         : r->type == REDIS_REPLY_ERROR     ? REFUSED
                         : strcmp(r->str, value_of(i)) == 0 ? RIGHT
                                                            : WRONG);
        freeReplyObject(reply);
    }
    return all;
}

static bool edge_is_equal(redisContext *edge)
{
    struct e2e_core_status c = e2e_core_status(core);
    redisReply *r = redisCommand(edge, "HF.STATUS");
    bool equal = r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements >= 17 &&
                 number_at(r, 5) == c.head && r->element[7]->type == REDIS_REPLY_STRING &&
                 strcmp(r->element[7]->str, c.digest) == 0;

    freeReplyObject(r);
    return equal;
}

/* From its start until all is right again; false when its process ended. *seen is the worst answer
 * that a client got on the way. */
static bool edge_heals(redisContext *edge, enum outcome *seen)
{
    int64_t until = e2e_now_ms() + SETTLE_MS;

    for (;;) {
        enum outcome now = read_all(edge);

        *seen = worse(*seen, now == DEATH ? RIGHT : now);
        if (now == DEATH) {
            return false;
        }
        if (now == RIGHT && edge_is_equal(edge)) {
            return true;
        }
        if (edge->err != 0) {
            return false;
        }
        if (e2e_now_ms() > until) {
            fail_msg("the edge does not heal: %s, digest %s",
                     now == MISSING   ? "a key is missing"
                     : now == REFUSED ? "a key is refused"
                                      : "values right",
                     edge_is_equal(edge) ? "equal" : "different");
        }
        e2e_sleep_ms(5);
    }
}

/* A client's connection; NULL when the process has ended. One that replaces itself by exec takes no
 * clients for a moment. */
static redisContext *reach_edge(bool *died)
{
    int64_t until = e2e_now_ms() + SETTLE_MS;
    int status = 0;

    if (came_up(edge_node, &status) != DAEMON_LIVES) {
        *died = *died || WIFSIGNALED(status);
        return NULL;
    }
    while (e2e_now_ms() < until) {
        enum daemon_end end = daemon_end_of(edge_node, &status);
        redisContext *c = end == DAEMON_LIVES ? e2e_try_connect(edge_node) : NULL;

        if (c != NULL || end != DAEMON_LIVES) {
            *died = *died || end == DAEMON_DIED;
            return c;
        }
        e2e_sleep_ms(5);
    }
    fail_msg("the edge lives and takes no clients");
    return NULL;
}

/* As a supervisor would. */
static void flip_edge(void)
{
    enum outcome seen = RIGHT;
    bool good = false, died = false;

    e2e_ok(core, "SET tick %llu", (unsigned long long)ticks++);
    for (int start = 0; start < STARTS_MAX && !good; start++) {
        if (edge_node->pid == 0) {
            launch(edge_node);
        }
        redisContext *edge = reach_edge(&died);
        good = edge != NULL && edge_heals(edge, &seen);
        if (edge != NULL) {
            e2e_disconnect(edge);
        }
        restarts += !good;
    }
    if (!good) {
        fail_msg("the edge was given up after %d starts", STARTS_MAX);
    }
    healed++;
    deaths += died;
    tally[died && seen < MISSING ? DEATH : seen]++;
    e2e_stop(edge_node, SIGTERM);
}

static void flip_core(void)
{
    int status = 0;
    enum outcome seen = REFUSED;

    launch(core_node);
    if (came_up(core_node, &status) == DAEMON_LIVES) {
        redisContext *c = e2e_try_connect(core_node);
        seen = c == NULL ? DEATH : read_all(c);
        if (c != NULL) {
            e2e_disconnect(c);
        }
        e2e_stop(core_node, SIGKILL);
    } else if (WIFSIGNALED(status)) {
        seen = DEATH;
    }
    tally[seen]++;
}

static void flip_daemons(bool is_edge)
{
    struct victim v = {.size = 0};
    char path[256];
    const char *copy = e2e_path("core.aside");

    if (is_edge) {
        e2e_start(core_node);
        core = e2e_connect(core_node);
    } else {
        copy_tree(core_node->dir, copy);
    }
    for (; flips < campaign.count; flips++) {
        if (is_edge || flips % 2 == 0) {
            snprintf(path, sizeof(path), "%.120s/main/state/data.mdb",
                     is_edge ? edge_node->dir : core_node->dir);
        } else {
            newest_file(e2e_path("core/main/log"), path);
        }
        victim_read(&v, path);
        flip(&v);
        if (is_edge) {
            flip_edge();
        } else {
            flip_core();
            copy_tree(e2e_path("core.aside"), core_node->dir);
        }
        campaign_progress(&campaign, flips + 1);
    }
    free(v.bytes);
}

/* ---- the campaign ---- */

static void prepare(void)
{
    redisContext *edge;

    core_node = e2e_core_new("core");
    e2e_config(core_node, SMALL_SEGMENTS);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    edge_node = e2e_edge_new(core_node, "edge", core_node->port);
    /* What no read runs into is found by the scrub, in a week unless it is told to hurry. */
    e2e_arg_set(edge_node, "--scrub", "2s");
    e2e_start(edge_node);
    edge = e2e_connect(edge_node);
    write_keys();
    wait_settled(core, edge);
    e2e_disconnect(edge);
    e2e_disconnect(core);
    e2e_stop(edge_node, SIGTERM);
    e2e_stop(core_node, SIGTERM);
}

static void flip_and_look(void **state)
{
    const char *what = campaign_option(&campaign, "--what");
    bool is_daemon = strcmp(what, "edge") == 0 || strcmp(what, "core") == 0;

    e2e_begin(state);
    alarm(CAMPAIGN_SECONDS_MAX);
    prepare();
    if (is_daemon) {
        flip_daemons(strcmp(what, "edge") == 0);
    } else {
        flip_files(strcmp(what, "log") == 0);
    }
    assert_int_equal(tally[WRONG], 0);
    assert_int_equal(tally[MISSING], 0);
    assert_int_equal(tally[DEATH], 0);
    e2e_passed();
}

static int finish(void **state)
{
    static const char *const names[] = {"right", "refused", "missing", "wrong", "deaths"};

    campaign_set(&campaign, "count", flips);
    for (int i = RIGHT; i <= DEATH; i++) {
        campaign_set(&campaign, names[i], tally[i]);
    }
    if (strcmp(campaign_option(&campaign, "--what"), "edge") == 0) {
        campaign_set(&campaign, "healed", healed);
        campaign_set(&campaign, "restarts", restarts);
    }
    return e2e_teardown(state);
}

int main(int argc, char **argv)
{
    campaign_begin(&campaign, "flips", "single bits flipped in files at rest", 100, options, argc,
                   argv);
    return campaign_run(&campaign, flip_and_look, finish);
}
