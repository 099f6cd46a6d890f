/*
 * test_carry.c - an edge that no link reaches is brought up to date by a file.
 *
 * Real daemons and the real tool: the core writes what one edge misses into a file, the edge's
 * program applies it while its daemon is stopped, and both then show the same digest, whether the
 * file carries batches, what changed, or everything. Each way in which a file can be the wrong one
 * is refused with a sentence, and the state is as before. The edges here have a core port at which
 * nobody listens: all they ever get is in the file. Next: edge/import.c, core/carry.c.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#include <fcntl.h>
#include <sys/wait.h>

#define SOON_MS 4000

/* Runs the edge's program with --import; what it says is in text. */
static int import_with(const struct e2e_node *n, const char *extra, const char *path, char *text,
                       size_t cap)
{
    char command[2048];
    size_t at = (size_t)snprintf(command, sizeof command, "%s/holdfast-edge", box.bin);
    size_t len;
    FILE *f;
    int status;

    for (size_t i = 0; i < n->arg_count; i++) {
        at += (size_t)snprintf(command + at, sizeof command - at, " %s", n->arg[i]);
    }
    snprintf(command + at, sizeof command - at, " %s --import %s 2>&1", extra, path);
    f = popen(command, "re");
    assert_non_null(f);
    len = fread(text, 1, cap - 1, f);
    text[len] = '\0';
    status = pclose(f);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void import_good(const struct e2e_node *n, const char *path, const char *expected)
{
    char text[2048];
    int status = import_with(n, "", path, text, sizeof text);

    if (status != 0 || strstr(text, expected) == NULL) {
        fail_msg("import of %s: exit %d, not '%s': %s", path, status, expected, text);
    }
}

static void import_refused(const struct e2e_node *n, const char *path, const char *expected)
{
    char text[2048];
    int status = import_with(n, "", path, text, sizeof text);

    if (status != 1 || strstr(text, expected) == NULL) {
        fail_msg("import of %s: exit %d, not refused with '%s': %s", path, status, expected, text);
    }
}

/* A path of the box that stays, unlike e2e_path's. */
static const char *path_of(const char *name)
{
    static char path[32][160];
    static int count;
    char *p = path[count++ % 32];

    snprintf(p, sizeof path[0], "%s", e2e_path(name));
    return p;
}

static const char *export_for(const struct e2e_node *core, const char *edge, const char *since,
                              const char *expected)
{
    static int number;
    char name[32], out[512];
    const char *path;

    snprintf(name, sizeof name, "carry-%d", number++);
    path = path_of(name);
    assert_int_equal(E2E_TOOL(core, out, "export", "--for", edge, "--since", since, path), 0);
    if (strstr(out, expected) == NULL) {
        fail_msg("exported '%s', not '%s'", out, expected);
    }
    return path;
}

/* What the edge shows when it is started for a moment. */
static struct e2e_edge_status look(struct e2e_node *n)
{
    struct e2e_edge_status s;
    redisContext *c;

    e2e_start(n);
    c = e2e_connect(n);
    s = e2e_edge_status(c);
    e2e_disconnect(c);
    e2e_stop(n, SIGTERM);
    return s;
}

static void expect_equal(redisContext *core, struct e2e_node *edge)
{
    struct e2e_core_status c = e2e_core_status(core);
    struct e2e_edge_status s = look(edge);

    assert_int_equal(s.applied, c.head);
    assert_string_equal(s.digest, c.digest);
}

static struct e2e_node *dark_edge(struct e2e_node *core, const char *name)
{
    return e2e_edge_new(core, name, e2e_ports(2));
}

static struct e2e_node *small_log_core(const char *name)
{
    struct e2e_node *n = e2e_core_new(name);
    const char *path = e2e_path("small.conf");
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    fputs("[retention]\nlog_bytes = 1MiB\n[store]\nsegment = 1MiB\n", f);
    fclose(f);
    e2e_arg_set(n, "--config", path);
    return n;
}

static void put_random(redisContext *c, const char *key, size_t bytes)
{
    uint8_t *value = malloc(bytes);
    FILE *f = fopen("/dev/urandom", "re");
    redisReply *r;

    assert_true(value != NULL && f != NULL && fread(value, bytes, 1, f) == 1);
    fclose(f);
    r = redisCommand(c, "SET %s %b", key, value, bytes);
    assert_true(r != NULL && r->type == REDIS_REPLY_STATUS);
    freeReplyObject(r);
    free(value);
}

static void put_many(redisContext *c, const char *prefix, int count, size_t bytes)
{
    char key[64];

    for (int i = 0; i < count; i++) {
        snprintf(key, sizeof key, "%s-%d", prefix, i);
        put_random(c, key, bytes);
    }
}

/* ---- the three kinds ---- */

static void batches_are_carried_to_an_edge_that_never_had_a_link(void **state)
{
    struct e2e_node *core_node = e2e_core_new("core");
    struct e2e_node *edge;
    redisContext *core;
    char out[256];

    e2e_begin(state);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    edge = dark_edge(core_node, "ship");
    put_many(core, "small", 20, 200);
    import_good(edge, export_for(core_node, "ship", "0", "for ship"), "applied 0 -> 20, digest ok");
    put_many(core, "small", 30, 200);
    put_random(core, "large", 900000); /* its body comes in parts */
    put_many(core, "more", 20, 200);
    import_good(edge, export_for(core_node, "ship", "1:20", "batches 21..71"),
                "applied 20 -> 71, digest ok");
    expect_equal(core, edge);
    /* With another content key in the middle. */
    e2e_ok(core, "SET a 1");
    dark_edge(core_node, "lost");
    assert_int_equal(E2E_TOOL(core_node, out, "edge", "revoke", "lost"), 0);
    e2e_ok(core, "SET a 2");
    assert_int_equal(e2e_integer(core, "DEL small-1"), 1);
    import_good(edge, export_for(core_node, "ship", "1:71", "batches 72..74"),
                "applied 71 -> 74, digest ok");
    expect_equal(core, edge);
    e2e_passed();
}

static void an_export_of_everything_has_what_was_written_after_the_last_one(void **state)
{
    struct e2e_node *core_node = small_log_core("core");
    redisContext *core;
    const char *path = path_of("twice");
    char out[512];

    e2e_begin(state);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    (void)dark_edge(core_node, "ship");
    put_many(core, "k", 400, 20000);
    put_random(core, "large", 900000);
    E2E_WAIT(SOON_MS, e2e_core_status(core).log_first > 1);
    for (int i = 0; i < 2; i++) {
        long long head = e2e_core_status(core).head;
        const char *said;

        usleep(1500000); /* the state is committed within a second */
        assert_int_equal(E2E_TOOL(core_node, out, "export", "--for", "ship", path), 0);
        said = strstr(out, "all of batch ");
        assert_non_null(said);
        assert_true(atoll(said + strlen("all of batch ")) >= head);
        put_many(core, "later", 10, 100);
    }
    e2e_passed();
}

static void a_snapshot_is_carried_while_the_core_goes_on_writing(void **state)
{
    struct e2e_node *core_node = small_log_core("core");
    struct e2e_node *edge;
    redisContext *core;
    const char *path = path_of("busy");
    char out[512];
    pid_t writer;

    e2e_begin(state);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    edge = dark_edge(core_node, "ship");
    put_many(core, "k", 400, 20000);
    put_random(core, "large", 900000);
    E2E_WAIT(SOON_MS, e2e_core_status(core).log_first > 1);
    writer = fork();
    if (writer == 0) {
        redisContext *c = redisConnect("127.0.0.1", core_node->resp_port);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; c != NULL && c->err == 0; i++) {
            freeReplyObject(redisCommand(c, "SET k-%d again-%d", i % 400, i));
        }
        _exit(0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(E2E_TOOL(core_node, out, "export", "--for", "ship", path), 0);
        assert_non_null(strstr(out, "all of batch"));
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    import_good(edge, path, "digest ok");
    /* What came while it was written is carried as what changed or as batches, on top. */
    snprintf(out, sizeof out, "1:%lld", (long long)look(edge).applied);
    if (e2e_core_status(core).head > atoll(out + 2)) {
        import_good(edge, export_for(core_node, "ship", out, "for ship"), "digest ok");
    }
    expect_equal(core, edge);
    e2e_passed();
}

static void what_changed_is_carried_to_an_edge_that_is_anywhere_above_its_beginning(void **state)
{
    struct e2e_node *core_node = small_log_core("core");
    struct e2e_node *far, *further;
    redisContext *core;
    const char *delta;

    e2e_begin(state);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    far = dark_edge(core_node, "far");
    further = dark_edge(core_node, "further");
    put_many(core, "k", 30, 1000);
    import_good(far, export_for(core_node, "far", "0", "for far"), "applied 0 -> 30");
    put_many(core, "new", 30, 1000);
    assert_int_equal(e2e_integer(core, "DEL k-7"), 1);
    import_good(further, export_for(core_node, "further", "0", "for further"), "applied 0 -> 61");
    put_many(core, "big", 20, 100000);
    for (int i = 0; i < 100; i++) {
        put_random(core, "big-1", 60000);
    }
    E2E_WAIT(SOON_MS, e2e_core_status(core).log_first > 62);
    delta = export_for(core_node, "far", "1:30", "as what changed");
    import_good(far, delta, "applied 30 -> 181, digest ok");
    expect_equal(core, far);
    import_good(far, delta, "nothing to do: this edge is at batch 181 already");
    /* The same changes for one that has some of them. */
    import_good(further, export_for(core_node, "further", "1:30", "as what changed"),
                "applied 61 -> 181, digest ok");
    expect_equal(core, further);
    e2e_passed();
}

/* ---- refusals ---- */

static void copy_file(const char *from, const char *to, long bytes, long flip)
{
    FILE *in = fopen(from, "re");
    FILE *out = fopen(to, "we");
    int c;

    assert_true(in != NULL && out != NULL);
    for (long i = 0; (bytes < 0 || i < bytes) && (c = fgetc(in)) != EOF; i++) {
        fputc(i == flip ? c ^ 1 : c, out);
    }
    fclose(in);
    fclose(out);
}

static void every_wrong_file_is_refused_and_changes_nothing(void **state)
{
    struct e2e_node *core_node = e2e_core_new("core");
    struct e2e_node *other_core = e2e_core_new("other");
    struct e2e_node *edge, *other, *stranger;
    redisContext *core;
    struct e2e_edge_status before, after;
    const char *old, *good, *gap, *bad = path_of("bad");
    char text[2048];

    e2e_begin(state);
    e2e_start(core_node);
    e2e_start(other_core);
    core = e2e_connect(core_node);
    edge = dark_edge(core_node, "ship");
    other = dark_edge(core_node, "school");
    stranger = dark_edge(other_core, "stranger");
    put_many(core, "k", 10, 1000);
    old = export_for(core_node, "ship", "0", "for ship");
    put_many(core, "l", 10, 1000);
    import_good(edge, export_for(core_node, "ship", "0", "for ship"), "applied 0 -> 20");
    before = look(edge);
    put_many(core, "m", 20, 5000);
    good = export_for(core_node, "ship", "1:20", "batches 21..40");
    gap = export_for(core_node, "ship", "1:30", "batches 31..40");

    import_refused(edge, old,
                   "the file is older than this edge: it ends at 10, this edge is at 20");
    import_refused(edge, gap,
                   "the file begins at 30, this edge is at 20: on the core, holdfast export --for "
                   "ship --since 1:20 FILE");
    import_refused(other, good, "the file is for the edge ship with key");
    import_refused(stranger, good, "it comes from another core");
    copy_file(good, bad, 50000, -1);
    import_refused(edge, bad, "it is incomplete: 50000 of ");
    copy_file(good, bad, 700, -1);
    import_refused(edge, bad, "it is incomplete: 700 of at least");
    copy_file(good, bad, -1, 60000);
    import_refused(edge, bad, "it is damaged at byte ");
    copy_file(good, bad, -1, 100);
    import_refused(edge, bad, "its head is damaged");
    import_refused(edge, "/etc/services", "it is no carry file of holdfast");
    import_refused(edge, e2e_path("absent"), "No such file");
    assert_int_equal(import_with(edge, "--join hfjoin1:x", good, text, sizeof text), 2);
    assert_non_null(strstr(text, "joining needs the core"));
    e2e_start(edge);
    import_refused(edge, good, "another holdfast-edge is running on it");
    e2e_stop(edge, SIGTERM);

    after = look(edge);
    assert_int_equal(after.applied, before.applied);
    assert_string_equal(after.digest, before.digest);
    import_good(edge, good, "applied 20 -> 40, digest ok");
    expect_equal(core, edge);
    assert_int_equal(E2E_TOOL(core_node, text, "export", "--for", "nobody", bad), 1);
    assert_int_equal(E2E_TOOL(core_node, text, "export", "--for", "ship", "--since", "2:1", bad),
                     1);
    assert_int_equal(E2E_TOOL(core_node, text, "export", "--since", "1:1", bad), 2);
    e2e_passed();
}

/* ---- a crash in the middle ---- */

static void an_import_that_is_killed_leaves_the_state_before_or_at_a_batch(void **state)
{
    struct e2e_node *core_node = small_log_core("core");
    struct e2e_node *edge;
    redisContext *core;
    const char *snapshot;
    char empty[65];

    e2e_begin(state);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    edge = dark_edge(core_node, "ship");
    put_many(core, "k", 300, 20000);
    E2E_WAIT(SOON_MS, e2e_core_status(core).log_first > 1);
    snapshot = export_for(core_node, "ship", "0", "all of batch 300");
    strcpy(empty, look(edge).digest);
    e2e_arg_set(edge, "--import", snapshot);
    for (int i = 0; i < 8; i++) {
        launch(edge);
        e2e_sleep_ms(15 * i);
        kill(edge->pid, SIGKILL);
        waitpid(edge->pid, NULL, 0);
        edge->pid = 0;
    }
    edge->arg_count -= 2; /* --import and its file were added last */
    struct e2e_edge_status s = look(edge);
    assert_true(s.applied == 300 || (s.applied == 0 && strcmp(s.digest, empty) == 0));
    import_good(edge, snapshot, s.applied == 300 ? "nothing to do" : "applied 0 -> 300, digest ok");
    expect_equal(core, edge);
    e2e_passed();
}

static void copy_core(struct e2e_node *core, const char *to, bool back)
{
    char command[400];

    snprintf(command, sizeof command, "rm -rf %s && cp -a %s %s", back ? core->dir : to,
             back ? to : core->dir, back ? core->dir : to);
    e2e_stop(core, SIGTERM);
    assert_int_equal(system(command), 0);
    e2e_start(core);
}

/* A core was put back to an older copy of its data, mark and all, and went on from there: its files
 * are signed and well-formed, and of another history. */
static void files_of_a_core_that_was_rolled_back_are_refused_by_who_has_more(void **state)
{
    static const char said[] = "one of both is of a core that was rolled back";
    struct e2e_node *core_node = small_log_core("core");
    const char *aside = path_of("core.aside");
    struct e2e_edge_status before, after;
    struct e2e_node *ship;
    redisContext *core;

    e2e_begin(state);
    e2e_start(core_node);
    ship = dark_edge(core_node, "ship");
    core = e2e_connect(core_node);
    put_many(core, "k", 20, 1000);
    e2e_disconnect(core);
    copy_core(core_node, aside, false);
    core = e2e_connect(core_node);
    put_many(core, "true", 10, 1000);
    e2e_disconnect(core);
    import_good(ship, export_for(core_node, "ship", "0", "for ship"), "applied 0 -> 30");
    before = look(ship);
    copy_core(core_node, aside, true);
    core = e2e_connect(core_node);
    put_many(core, "other", 10, 1000);
    import_refused(ship, export_for(core_node, "ship", "0", "for ship"), said);
    put_many(core, "other", 1, 900);
    import_refused(ship, export_for(core_node, "ship", "0", "for ship"), said);
    for (int i = 0; i < 100; i++) {
        put_random(core, "big", 60000);
    }
    E2E_WAIT(SOON_MS, e2e_core_status(core).log_first > 32);
    import_refused(ship, export_for(core_node, "ship", "0", "all of batch"), said);
    after = look(ship);
    assert_int_equal(after.applied, before.applied);
    assert_string_equal(after.digest, before.digest);
    e2e_passed();
}

/* ---- and the link again ---- */

static void an_edge_that_was_carried_to_goes_on_over_a_link(void **state)
{
    struct e2e_node *core_node = e2e_core_new("core");
    struct e2e_node *edge;
    redisContext *core, *c;
    char url[64];

    e2e_begin(state);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    edge = dark_edge(core_node, "ship");
    put_many(core, "k", 20, 1000);
    import_good(edge, export_for(core_node, "ship", "0", "for ship"), "applied 0 -> 20");
    e2e_ok(core, "SET k-1 newer");
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", core_node->port);
    e2e_arg_set(edge, "--core", url);
    e2e_start(edge);
    c = e2e_connect(edge);
    E2E_WAIT(SOON_MS, e2e_equal(core, c));
    assert_string_equal(e2e_text(c, "GET k-1"), "newer");
    e2e_passed();
}

#define T(name) cmocka_unit_test_setup_teardown(name, e2e_setup, e2e_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(batches_are_carried_to_an_edge_that_never_had_a_link),
        T(an_export_of_everything_has_what_was_written_after_the_last_one),
        T(a_snapshot_is_carried_while_the_core_goes_on_writing),
        T(what_changed_is_carried_to_an_edge_that_is_anywhere_above_its_beginning),
        T(every_wrong_file_is_refused_and_changes_nothing),
        T(files_of_a_core_that_was_rolled_back_are_refused_by_who_has_more),
        T(an_import_that_is_killed_leaves_the_state_before_or_at_a_batch),
        T(an_edge_that_was_carried_to_goes_on_over_a_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
