/*
 * test_refusals.c - wrong keys, wrong directories, revoked edges and full disks: what is refused,
 * with which words, and what goes on meanwhile.
 *
 * A refusal names the thing that is wrong, so that an operator need not guess, and changes nothing:
 * what was served is served on (G9, G12, G17). A full disk is no reason to restart anything: writes
 * are refused with FULL, reads go on, and all recovers once there is room. The disks are small
 * tmpfs mounts, and those tests are skipped where mounting is not allowed. Next: test_bad_input.c.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"
#include "tests/raw_tcp.h"

#include <fcntl.h>
#include <lmdb.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/wait.h>

#define SOON_MS 4000
#define EXIT_USAGE 2
#define EXIT_FAILED 1

static struct e2e_node *start_core(redisContext **c)
{
    struct e2e_node *n = e2e_core_new("core");

    e2e_start(n);
    *c = e2e_connect(n);
    return n;
}

static struct e2e_node *start_edge(struct e2e_node *core_node, const char *name, redisContext **c)
{
    struct e2e_node *n = e2e_edge_new(core_node, name, core_node->port);

    e2e_start(n);
    *c = e2e_connect(n);
    E2E_WAIT(SOON_MS, e2e_edge_says(*c, "live"));
    return n;
}

static void refused(struct e2e_node *n, int status, const char *words)
{
    char text[4096];

    assert_int_equal(e2e_start_refused(n, text, sizeof text), status);
    if (strstr(text, words) == NULL) {
        fail_msg("expected '%s' in: %s", words, text);
    }
}

/* ---- who may follow ---- */

static void an_edge_with_the_wrong_core_key_gets_nothing(void **state)
{
    redisContext *core, *edge;
    struct e2e_node *core_node = start_core(&core), *n = e2e_edge_bare("edge");
    char key[256], url[64], out[4096];

    e2e_begin(state);
    e2e_ok(core, "SET k v");
    assert_int_equal(E2E_TOOL(NULL, key, "keygen", e2e_path("other.key")), 0);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", core_node->port);
    e2e_arg_set(n, "--core", url);
    key[64] = '\0';
    e2e_arg_set(n, "--core-key", key);
    e2e_start(n);
    assert_int_equal(E2E_TOOL(core_node, key, "edge", "add", "edge", n->key), 0);
    edge = e2e_connect(n);
    E2E_WAIT(SOON_MS, e2e_logged(core_node, "not sealed for this core"));
    E2E_WAIT(SOON_MS, e2e_logged(n, "is core_key the core's?"));
    assert_true(e2e_edge_says(edge, "joining"));
    e2e_error(edge, "LOADING", "GET k");
    /* It knows of no head, so its lag is not 0. */
    assert_int_equal(E2E_TOOL(n, out, "status", "--max-lag", "0", "--json"), 1);
    assert_non_null(strstr(out, "\"head\":null"));
    assert_int_equal(E2E_TOOL(n, out, "repair"), 1); /* which says so after a while */
    assert_true(e2e_core_says(core, "edge", "never-seen"));
    e2e_passed();
}

static void an_edge_that_is_not_enrolled_gets_nothing_until_it_is(void **state)
{
    redisContext *core, *edge;
    struct e2e_node *core_node = start_core(&core), *n = e2e_edge_bare("late");
    char out[256], url[64];

    e2e_begin(state);
    e2e_ok(core, "SET k v");
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", core_node->port);
    e2e_arg_set(n, "--core", url);
    e2e_arg_set(n, "--core-key", core_node->key);
    e2e_start(n);
    edge = e2e_connect(n);
    E2E_WAIT(SOON_MS, e2e_logged(core_node, "no answer to a key that is not enrolled"));
    E2E_WAIT(SOON_MS, e2e_logged(n, "does it know this edge's key"));
    assert_true(e2e_edge_says(edge, "joining"));
    e2e_error(edge, "LOADING", "GET k");
    assert_int_equal(e2e_core_status(core).edge_count, 0);
    assert_int_equal(E2E_TOOL(core_node, out, "edge", "add", "late", n->key), 0);
    E2E_WAIT(2 * SOON_MS, e2e_equal(core, edge));
    e2e_passed();
}

static void a_join_token_serves_one_key_only(void **state)
{
    redisContext *core, *first, *second;
    struct e2e_node *core_node = start_core(&core);
    struct e2e_node *a = e2e_edge_bare("first"), *b = e2e_edge_bare("second");
    char token[1024];

    e2e_begin(state);
    e2e_ok(core, "SET k v");
    assert_int_equal(E2E_TOOL(core_node, token, "edge", "invite", "berlin"), 0);
    token[strcspn(token, "\n")] = '\0';
    for (int i = 0; i < 2; i++) {
        e2e_arg_set(i == 0 ? a : b, "--join", token);
    }
    e2e_start(a);
    first = e2e_connect(a);
    E2E_WAIT(SOON_MS, e2e_equal(core, first));
    e2e_start(b);
    second = e2e_connect(b);
    E2E_WAIT(SOON_MS, e2e_logged(b, "refused"));
    e2e_error(second, "LOADING", "GET k");
    assert_int_equal(e2e_core_status(core).edge_count, 1);
    /* The same key may use it again: an answer may have been lost. */
    e2e_stop(a, SIGKILL);
    e2e_start(a);
    first = e2e_connect(a);
    e2e_ok(core, "SET k w");
    E2E_WAIT(SOON_MS, e2e_equal(core, first));
    e2e_passed();
}

static void a_revoked_edge_keeps_what_it_has_and_gets_nothing_more(void **state)
{
    redisContext *core, *bad, *good;
    struct e2e_node *core_node = start_core(&core), *bad_node;
    char out[4096];
    int64_t revoked;

    e2e_begin(state);
    bad_node = start_edge(core_node, "bad", &bad);
    start_edge(core_node, "good", &good);
    e2e_ok(core, "SET k before");
    E2E_WAIT(SOON_MS, e2e_equal(core, bad) && e2e_equal(core, good));
    assert_int_equal(E2E_TOOL(core_node, out, "edge", "revoke", "bad"), 0);
    revoked = e2e_now_ms();
    assert_true(e2e_core_says(core, "bad", "revoked"));
    e2e_ok(core, "SET k after");
    E2E_WAIT(SOON_MS, e2e_equal(core, good));
    /* The stream still reaches its socket; without the new content key it is of no use. */
    E2E_WAIT(SOON_MS, e2e_edge_says(bad, "revoked"));
    print_message("a revoked edge knows after %lld ms\n", (long long)(e2e_now_ms() - revoked));
    assert_string_equal(e2e_text(bad, "GET k"), "before");
    /* It is out of the core's count; asked itself, it does not pass for one that follows. */
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--max-staleness", "0", "bad"), 0);
    assert_int_equal(E2E_TOOL(bad_node, out, "status", "--max-lag", "1000"), 1);
    e2e_stop(bad_node, SIGTERM);
    e2e_start(bad_node);
    bad = e2e_connect(bad_node);
    e2e_ok(core, "SET k later");
    e2e_sleep_ms(1500);
    assert_string_equal(e2e_text(bad, "GET k"), "before");
    assert_int_equal(e2e_integer(core, "WAIT 2 300"), 1);
    assert_true(e2e_core_says(core, "bad", "revoked"));
    E2E_WAIT(SOON_MS, e2e_equal(core, good));
    e2e_passed();
}

/* ---- what is wrong at the start ---- */

static void wrong_settings_are_refused_with_their_place(void **state)
{
    struct e2e_node *n = e2e_core_new("core"), *e = e2e_edge_bare("edge");
    const char *path;
    char words[512];

    e2e_begin(state);
    path = e2e_config(n, "[core]\n\n# a comment\nlog = info\ncolour = red\n");
    snprintf(words, sizeof words, "%s:5:", path);
    refused(n, EXIT_USAGE, words);
    refused(n, EXIT_USAGE, "colour: unknown key, expected one of data, listen, advertise,");
    refused(n, EXIT_USAGE, ", dictionary, pool_threads"); /* all of the longest section */
    e2e_config(n, "[log]\nlevel = info\n");
    refused(n, EXIT_USAGE,
            "unknown section, expected one of [core], [link], [retention], [store]\n");
    refused(e, EXIT_USAGE, "which core?");
    e2e_arg_set(e, "--join", "no-token-at-all");
    refused(e, EXIT_USAGE, "token");
    e2e_passed();
}

static void move(const char *from, const char *to)
{
    assert_int_equal(rename(e2e_path(from), e2e_path(to)), 0);
}

static void a_key_that_others_can_read_is_refused(void **state)
{
    redisContext *core, *edge;
    struct e2e_node *core_node = start_core(&core);
    struct e2e_node *edge_node = start_edge(core_node, "edge", &edge);

    e2e_begin(state);
    e2e_stop(edge_node, SIGTERM);
    e2e_stop(core_node, SIGTERM);
    assert_int_equal(chmod(e2e_path("core/core.key"), 0644), 0);
    refused(core_node, EXIT_FAILED, "core.key: mode 0644");
    assert_int_equal(chmod(e2e_path("core/core.key"), 0600), 0);
    assert_int_equal(chmod(e2e_path("edge/edge.key"), 0640), 0);
    refused(edge_node, EXIT_FAILED, "edge.key: mode 0640");
    e2e_start(core_node);
    e2e_passed();
}

static void a_directory_without_its_key_or_of_another_kind_is_left_as_it_is(void **state)
{
    redisContext *core, *edge;
    struct e2e_node *core_node = start_core(&core),
                    *edge_node = start_edge(core_node, "edge", &edge);
    struct e2e_node *on_core = e2e_edge_bare("on-core"), *on_edge = e2e_core_new("on-edge");

    e2e_begin(state);
    e2e_arg_set(on_core, "--data", core_node->dir);
    e2e_arg_set(on_edge, "--data", edge_node->dir);
    refused(on_core, EXIT_FAILED, "it belongs to another kind of daemon");
    e2e_stop(edge_node, SIGTERM);
    refused(on_edge, EXIT_FAILED, "has an edge.key");
    assert_int_not_equal(access(e2e_path("edge/core.key"), F_OK), 0);
    e2e_stop(core_node, SIGTERM);
    move("core/core.key", "kept.key");
    refused(core_node, EXIT_FAILED, "core.key is missing");
    assert_int_not_equal(access(e2e_path("core/core.key"), F_OK), 0);
    move("kept.key", "core/core.key");
    e2e_start(core_node);
    assert_int_equal(kill(core_node->pid, SIGUSR1), 0); /* which means nothing to it */
    core = e2e_connect(core_node);
    e2e_ok(core, "SET k v");
    e2e_passed();
}

/* An empty core looks like one that lost its data. */
static void a_directory_without_a_stream_is_pointed_out(void **state)
{
    redisContext *core;
    struct e2e_node *core_node = start_core(&core);
    char words[256];

    e2e_begin(state);
    snprintf(words, sizeof words, " info core: made a new stream dir=%s/main epoch=1\n",
             core_node->dir);
    assert_true(e2e_logged(core_node, words));
    for (int i = 0; i < 2; i++) {
        e2e_stop(core_node, i == 0 ? SIGKILL : SIGTERM);
        assert_int_equal(unlink(core_node->err), 0);
        e2e_start(core_node);
        assert_false(e2e_logged(core_node, "new stream"));
    }
    e2e_passed();
}

static void a_port_in_use_and_a_directory_in_use_are_refused(void **state)
{
    redisContext *core, *edge;
    struct e2e_node *core_node = start_core(&core), *other = e2e_core_new("other");
    struct e2e_node *edge_node = start_edge(core_node, "edge", &edge);
    struct e2e_node *twin = e2e_edge_bare("twin"), *same = e2e_core_new("same");
    char text[64];

    e2e_begin(state);
    snprintf(text, sizeof text, "tcp://127.0.0.1:%d", core_node->port);
    e2e_arg_set(other, "--listen", text);
    refused(other, EXIT_FAILED, "in use");
    e2e_arg_set(same, "--data", core_node->dir);
    refused(same, EXIT_FAILED, "another holdfast-core is running on it");
    e2e_arg_set(twin, "--data", edge_node->dir);
    refused(twin, EXIT_FAILED, "another holdfast-edge is running on it");
    e2e_ok(core, "SET k v");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    e2e_passed();
}

/* As of a killed run, whose examination of the store ends a moment after it. */
static void a_directory_that_is_let_go_of_is_taken(void **state)
{
    redisContext *core;
    struct e2e_node *node = start_core(&core);
    e2e_begin(state);
    e2e_stop(node, SIGKILL);
    int fd = open(node->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    pid_t holder = fork();
    if (holder == 0) {
        (void)poll(NULL, 0, 300);
        _exit(0);
    }
    assert_true(holder > 0);
    close(fd); /* the child has it */
    e2e_start(node);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
    e2e_passed();
}

/* DIR/core says whom an edge follows that is started without a word about it. */
static void an_edge_that_has_forgotten_its_core_says_so(void **state)
{
    struct e2e_node *n = e2e_edge_bare("edge");
    char path[300];
    FILE *f;

    e2e_begin(state);
    refused(n, EXIT_USAGE, "which core?");
    snprintf(path, sizeof path, "%s/core", n->dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("garbage", f);
    fclose(f);
    refused(n, EXIT_FAILED, "/core is damaged");
    e2e_passed();
}

static void a_directory_of_another_core_or_stream_is_refused(void **state)
{
    redisContext *core, *edge;
    struct e2e_node *core_node = start_core(&core), *other = e2e_core_new("other");
    struct e2e_node *edge_node = start_edge(core_node, "edge", &edge);

    e2e_begin(state);
    e2e_start(other);
    e2e_stop(other, SIGTERM);
    e2e_stop(core_node, SIGTERM);
    e2e_stop(edge_node, SIGTERM);
    /* An edge's state under another core's key: the last --core-key given is the one that counts.
     */
    e2e_arg_set(edge_node, "--core-key", other->key);
    refused(edge_node, EXIT_FAILED, "another core");
    /* A core's stream under another core's key. */
    move("other/core.key", "other.key");
    move("core/core.key", "other/core.key");
    refused(other, EXIT_FAILED, "other");
    move("other/core.key", "core/core.key");
    /* A stream under another name. */
    move("core/main", "core/else");
    e2e_arg_set(core_node, "--stream", "else");
    refused(core_node, EXIT_FAILED, "'main', not 'else'");
    move("core/else", "core/main");
    e2e_arg_set(core_node, "--stream", "main");
    e2e_start(core_node);
    e2e_passed();
}

/* Writes the format number of a later version into the store of a stopped daemon. */
static void make_format_newer(const char *dir)
{
    uint8_t newer[4];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi meta;
    static char name[] = "format";
    MDB_val k = {sizeof name - 1, name}, v;

    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 32), 0);
    assert_int_equal(mdb_env_open(env, dir, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "meta", 0, &meta), 0);
    assert_int_equal(mdb_get(txn, meta, &k, &v), 0);
    assert_int_equal(v.mv_size, sizeof newer);
    memcpy(newer, v.mv_data, sizeof newer);
    /* Byte order does not matter for "not the number that is known". */
    newer[0]++;
    newer[3]++;
    v.mv_data = newer;
    assert_int_equal(mdb_put(txn, meta, &k, &v, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void a_store_of_a_newer_format_is_refused_and_left_alone(void **state)
{
    redisContext *core, *edge;
    struct e2e_node *core_node = start_core(&core);
    struct e2e_node *edge_node = start_edge(core_node, "edge", &edge);

    e2e_begin(state);
    e2e_ok(core, "SET k v");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    e2e_stop(edge_node, SIGTERM);
    e2e_stop(core_node, SIGTERM);
    make_format_newer(e2e_path("edge/main/state"));
    make_format_newer(e2e_path("core/main/state"));
    for (int i = 0; i < 2; i++) {
        refused(edge_node, EXIT_FAILED, "format");
        refused(core_node, EXIT_FAILED, "format");
    }
    e2e_passed();
}

/* From the edge it looks like a broken link, so the core must say what it is. */
static void connections_over_the_cap_are_refused_and_told_of(void **state)
{
    struct e2e_node *core_node = e2e_core_new("core");
    redisContext *core, *first;

    e2e_begin(state);
    e2e_config(core_node, "[link]\npipes_max = 3\n"); /* an edge has two */
    e2e_start(core_node);
    core = e2e_connect(core_node);
    start_edge(core_node, "first", &first);
    e2e_ok(core, "SET k v");
    E2E_WAIT(SOON_MS, e2e_equal(core, first));
    assert_false(e2e_logged(core_node, "connections are turned away"));
    e2e_start(e2e_edge_new(core_node, "second", core_node->port));
    E2E_WAIT(SOON_MS, e2e_logged(core_node, "connections are turned away"));
    e2e_ok(core, "SET k w");
    E2E_WAIT(SOON_MS, e2e_equal(core, first));
    e2e_passed();
}

static int stranger(uint16_t port, uint8_t protocol)
{
    uint8_t frame[16];
    int fd = tcp_connect_from(2, port);

    assert_true(fd >= 0);
    assert_true(sp_hello(fd, protocol));
    if (protocol == SP_REQ) { /* that it asks makes it no edge */
        assert_true(tcp_send(fd, frame, sp_frame(frame, 1, "?", 1)));
    }
    return fd;
}

/* A newcomer gets in on both ports, and strangers that go on coming do not push it out. */
static void strangers_who_hold_every_place_keep_no_edge_out(void **state)
{
    enum { PLACES = 64 };
    struct e2e_node *core_node = e2e_core_new("core");
    redisContext *core, *edge;
    uint16_t port;
    int fd[2 * PLACES];

    e2e_begin(state);
    e2e_config(core_node, "[link]\npipes_max = 64\n");
    e2e_start(core_node);
    core = e2e_connect(core_node);
    port = (uint16_t)core_node->port;
    for (int i = 0; i < PLACES; i++) {
        bool stream = i < 8;
        fd[i] = stranger(stream ? port : (uint16_t)(port + 1), stream ? SP_SUB : SP_REQ);
    }
    E2E_WAIT(SOON_MS, strstr(e2e_text(core, "INFO holdfast"), "\nconnections:64\r") != NULL);
    start_edge(core_node, "edge", &edge);
    for (int i = PLACES; i < 2 * PLACES; i++) {
        fd[i] = stranger((uint16_t)(port + 1), SP_REQ);
    }
    e2e_ok(core, "SET k v");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    assert_true(e2e_logged(core_node, "connections are turned away"));
    E2E_WAIT(SOON_MS, strstr(e2e_text(core, "INFO holdfast"), "\nconnections:14\r") != NULL);
    for (int i = 0; i < 2 * PLACES; i++) {
        close(fd[i]);
    }
    e2e_passed();
}

/* ---- a core that was rolled back ---- */

/* Neither it nor the edge that has more is within any lag. */
static void a_core_that_was_rolled_back_is_found_out_and_told_apart(void **state)
{
    struct e2e_node *core_node = e2e_core_new("core");
    redisContext *core, *edge;
    char command[600], out[4096];

    e2e_begin(state);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    start_edge(core_node, "edge", &edge);
    e2e_ok(core, "SET k 1");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    e2e_disconnect(core);
    e2e_stop(core_node, SIGTERM);
    snprintf(command, sizeof command, "cp -a %s %s.older", core_node->dir, core_node->dir);
    assert_int_equal(system(command), 0);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    e2e_ok(core, "SET k 2");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    e2e_disconnect(core);
    e2e_stop(core_node, SIGTERM);
    snprintf(command, sizeof command, "rm -r %s && mv %s.older %s", core_node->dir, core_node->dir,
             core_node->dir);
    assert_int_equal(system(command), 0);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    E2E_WAIT(SOON_MS, e2e_core_says(core, "edge", "diverged"));
    E2E_WAIT(SOON_MS, strlen(e2e_core_status(core).refusing) > 0); /* its proof comes behind */
    e2e_error(core, "FENCED", "SET k 3");
    assert_non_null(strstr(e2e_text(core, "SET k 3"), " (RUNBOOK.md, The core says FENCED)"));
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--max-lag", "1000"), 1);
    assert_string_equal(e2e_text(edge, "GET k"), "2");
    e2e_passed();
}

/* ---- full disks ---- */

/* Fills a mount to the last block and returns the file to remove. */
static const char *fill_up(const char *dir)
{
    static char path[256];
    static char block[65536];
    int fd;

    snprintf(path, sizeof path, "%s/ballast", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t len = sizeof block; len > 0; len /= 2) {
        while (write(fd, block, len) == (ssize_t)len) {
            ;
        }
    }
    close(fd);
    return path;
}

/* Writes what does not compress until a write is refused; the words of the refusal. */
static const char *write_until_refused(redisContext *c, int *accepted)
{
    static char value[16384];

    for (int i = 0; i < 5000; i++) {
        const char *answer;

        for (size_t at = 0; at < sizeof value; at += 256) {
            assert_true(getrandom(value + at, 256, 0) == 256);
        }
        answer = e2e_text(c, "SET fill-%d %b", i, value, sizeof value);
        if (strcmp(answer, "OK") != 0) {
            return answer;
        }
        ++*accepted;
    }
    fail_msg("the disk does not become full");
    return "";
}

/* A disk that is soon full; skips the test where mounting is not allowed. */
static void mount_or_skip(const char *path)
{
    if (!e2e_mount(path, 24u << 20)) {
        print_message("mounting a tmpfs is not allowed here\n");
        e2e_passed();
        skip();
    }
}

/* With segments to match it. */
static void start_on_a_small_disk(struct e2e_node *n)
{
    mount_or_skip(n->dir);
    e2e_config(n, "[retention]\nlog_bytes = 64MiB\n[store]\nsegment = 1MiB\n");
    e2e_start(n);
}

static void a_full_disk_at_the_core_refuses_writes_and_nothing_else(void **state)
{
    struct e2e_node *core_node = e2e_core_new("core"), *edge_node;
    redisContext *core, *edge, *reader;
    struct e2e_core_status before;
    const char *refusal, *ballast;
    int accepted = 0;
    int64_t began;

    e2e_begin(state);
    start_on_a_small_disk(core_node);
    core = e2e_connect(core_node);
    edge_node = start_edge(core_node, "edge", &edge);
    e2e_ok(core, "SET kept 1");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    /* Readers of a core see what is committed, and a full disk commits nothing more. */
    E2E_WAIT(SOON_MS, e2e_core_status(core).committed == e2e_core_status(core).head);
    ballast = fill_up(core_node->dir);
    refusal = write_until_refused(core, &accepted);
    print_message("refused after %d writes: %s\n", accepted, refusal);
    assert_int_equal(strncmp(refusal, "FULL ", 5), 0);
    before = e2e_core_status(core);
    assert_true(strlen(before.refusing) > 0);
    char json[4096];
    assert_int_equal(E2E_TOOL(core_node, json, "status", "--json"), 0);
    assert_non_null(strstr(json, before.refusing));
    reader = e2e_connect(core_node);
    assert_string_equal(e2e_text(reader, "GET kept"), "1");
    assert_true(before.committed <
                before.head); /* so this connection's writes are not to be seen */
    e2e_error(core, "NOTYET", "GET kept");
    assert_string_equal(e2e_text(edge, "GET kept"), "1");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    e2e_sleep_ms(1200);
    assert_true(e2e_alive(core_node) && e2e_edge_says(edge, "live"));
    assert_int_equal(unlink(ballast), 0);
    began = e2e_now_ms();
    E2E_WAIT(2 * SOON_MS, strcmp(e2e_text(core, "SET again 1"), "OK") == 0);
    print_message("core writes again %lld ms after there was room\n",
                  (long long)(e2e_now_ms() - began));
    assert_string_equal(e2e_core_status(core).refusing, "");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    assert_int_equal(e2e_edge_status(edge).live_keys, accepted + 2);
    /* And what was acknowledged before, in between and after is there when it comes back. */
    e2e_stop(core_node, SIGKILL);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    assert_true(e2e_alive(edge_node));
    e2e_passed();
}

/* What compresses a thousandfold in the log does not in the state: the disk is full for one of
 * them. */
static void a_core_that_cannot_commit_takes_no_more_writes(void **state)
{
    static char value[16384];
    struct e2e_node *core_node = e2e_core_new("core");
    struct e2e_core_status s;
    redisContext *core;
    int64_t refused_at, began;
    char options[64];
    int accepted = 0;

    e2e_begin(state);
    start_on_a_small_disk(core_node);
    core = e2e_connect(core_node);
    e2e_ok(core, "SET kept 1");
    assert_string_equal(e2e_text(core, "GET kept"), "1"); /* which waits for a commit */
    memset(value, 'a', sizeof value);
    while (accepted < 20000 &&
           strcmp(e2e_text(core, "SET zip-%d %b", accepted, value, sizeof value), "OK") == 0) {
        accepted++;
    }
    /* A fast client may find the log full before the first commit fails. */
    E2E_WAIT(SOON_MS, strncmp(e2e_text(core, "SET more 1"), "FULL commit", 11) == 0);
    s = e2e_core_status(core);
    assert_true(strncmp(s.refusing, "commit", 6) == 0);
    print_message("refused after %d writes\n", accepted);
    refused_at = s.head;
    /* Nor does it show who wrote what is not committed that it were not there. */
    e2e_error(core, "NOTYET", "GET kept");
    redisContext *other = e2e_connect(core_node);
    assert_string_equal(e2e_text(other, "GET kept"), "1");
    e2e_sleep_ms(1500);
    e2e_error(core, "NOTYET", "GET kept");
    e2e_error(core, "FULL commit", "SET more 1");
    assert_int_equal(e2e_core_status(core).head, refused_at);
    /* A restart changes nothing of that, though it has to replay what is not committed. */
    e2e_stop(core_node, SIGKILL);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    assert_string_equal(e2e_text(core, "GET kept"), "1");
    e2e_error(core, "FULL commit", "SET more 1");
    s = e2e_core_status(core);
    assert_int_equal(s.head, refused_at);
    assert_true(strncmp(s.refusing, "commit", 6) == 0);
    snprintf(options, sizeof options, "size=%u", 1u << 30);
    assert_int_equal(mount("holdfast", core_node->dir, "tmpfs", MS_REMOUNT, options), 0);
    began = e2e_now_ms();
    E2E_WAIT(2 * SOON_MS, strcmp(e2e_text(core, "SET again 1"), "OK") == 0);
    print_message("core writes again %lld ms after there was room\n",
                  (long long)(e2e_now_ms() - began));
    assert_int_equal(e2e_integer(core, "DBSIZE"), accepted + 2);
    assert_string_equal(e2e_core_status(core).refusing, "");
    e2e_passed();
}

static void a_full_disk_at_the_edge_is_served_from_and_recovers(void **state)
{
    redisContext *core, *edge;
    struct e2e_node *core_node = start_core(&core), *edge_node;
    const char *ballast;
    int64_t began, applied;
    struct e2e_row row;
    char path[160];
    char token[1024];

    e2e_begin(state);
    snprintf(path, sizeof path, "%s", e2e_path("edge"));
    mount_or_skip(path);
    /* e2e_edge_new makes the directory itself: join by token into the mount instead. */
    edge_node = e2e_edge_bare("edge");
    assert_int_equal(E2E_TOOL(core_node, token, "edge", "invite", "edge"), 0);
    token[strcspn(token, "\n")] = '\0';
    e2e_arg_set(edge_node, "--join", token);
    e2e_start(edge_node);
    edge = e2e_connect(edge_node);
    e2e_ok(core, "SET kept 1");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    applied = e2e_edge_status(edge).applied;
    ballast = fill_up(path);
    for (int i = 0; i < 100; i++) {
        e2e_ok(core, "SET more-%d %0500d", i, i);
    }
    E2E_WAIT(SOON_MS, strcmp(e2e_edge_status(edge).store, "full") == 0);
    E2E_WAIT(SOON_MS, e2e_row(core, "edge", &row) && strcmp(row.store, "full") == 0);
    assert_string_equal(e2e_text(edge, "GET kept"), "1");
    assert_true(e2e_edge_status(edge).applied >= applied);
    assert_true(e2e_edge_status(edge).staleness_ms != 0);
    e2e_sleep_ms(1200);
    assert_true(e2e_alive(edge_node));
    assert_string_equal(e2e_text(edge, "GET kept"), "1");
    assert_int_equal(unlink(ballast), 0);
    began = e2e_now_ms();
    E2E_WAIT(2 * SOON_MS, e2e_equal(core, edge));
    print_message("edge equal %lld ms after there was room\n", (long long)(e2e_now_ms() - began));
    E2E_WAIT(SOON_MS, strcmp(e2e_edge_status(edge).store, "ok") == 0);
    E2E_WAIT(SOON_MS, e2e_core_says(core, "edge", "live"));
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, e2e_teardown)
        BOXED(an_edge_with_the_wrong_core_key_gets_nothing),
        BOXED(an_edge_that_is_not_enrolled_gets_nothing_until_it_is),
        BOXED(a_join_token_serves_one_key_only),
        BOXED(a_revoked_edge_keeps_what_it_has_and_gets_nothing_more),
        BOXED(wrong_settings_are_refused_with_their_place),
        BOXED(a_key_that_others_can_read_is_refused),
        BOXED(a_directory_without_its_key_or_of_another_kind_is_left_as_it_is),
        BOXED(a_directory_without_a_stream_is_pointed_out),
        BOXED(a_port_in_use_and_a_directory_in_use_are_refused),
        BOXED(a_directory_that_is_let_go_of_is_taken),
        BOXED(an_edge_that_has_forgotten_its_core_says_so),
        BOXED(a_directory_of_another_core_or_stream_is_refused),
        BOXED(a_store_of_a_newer_format_is_refused_and_left_alone),
        BOXED(connections_over_the_cap_are_refused_and_told_of),
        BOXED(strangers_who_hold_every_place_keep_no_edge_out),
        BOXED(a_core_that_was_rolled_back_is_found_out_and_told_apart),
        BOXED(a_full_disk_at_the_core_refuses_writes_and_nothing_else),
        BOXED(a_core_that_cannot_commit_takes_no_more_writes),
        BOXED(a_full_disk_at_the_edge_is_served_from_and_recovers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
