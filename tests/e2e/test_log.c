/*
 * test_log.c - `holdfast log`: who changed what and why, as far back as the log reaches.
 *
 * Through everything that a batch may have gone through in the meantime: packed with a dictionary,
 * sealed with a key that was replaced when an edge was revoked, written before a restart, trimmed.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#define SOON_MS 15000
#define TRIMMED_WRITES 6000u
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, e2e_teardown)

static struct e2e_node *core_node;
static redisContext *core;
static char out[1u << 20];

static void begin(void **state, const char *config)
{
    e2e_begin(state);
    core_node = e2e_core_new("core");
    if (config != NULL) {
        e2e_config(core_node, config);
    }
    e2e_start(core_node);
    core = e2e_connect(core_node);
}

static void release(const char *id, const char *author, const char *reason, const char *changes)
{
    char path[256];
    snprintf(path, sizeof path, "%s", e2e_path("release.txt"));
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(changes, f);
    fclose(f);
    assert_int_equal(e2e_tool(core_node, NULL, out, sizeof out,
                              (const char *const[]){"apply", "--request-id", id, "--author", author,
                                                    "--reason", reason, path, NULL}),
                     0);
}

static void assert_shows(const char *text)
{
    if (strstr(out, text) == NULL) {
        fail_msg("'%s' is not in: %s", text, out);
    }
}

static unsigned lines(void)
{
    unsigned n = 0;
    for (const char *at = out; (at = strchr(at, '\n')) != NULL; at++) {
        n++;
    }
    return n;
}

static void log_tells_who_changed_what_and_why(void **state)
{
    begin(state, NULL);
    e2e_ok(core, "SET motd first");
    release("rel-42", "ana", "release 42", "put\tflags/dark\ton\nput\tmotd\thello\n");
    release("rel-43", "bob", "the same again", "put\tmotd\thello\n");
    e2e_ok(core, "MSET flags/a 1 flags/b 2 other 3");
    assert_int_equal(e2e_integer(core, "DEL motd"), 1);

    assert_int_equal(E2E_TOOL(core_node, out, "log"), 0);
    assert_shows("\n    put other  1 B\n");
    assert_shows("  by bob  request rel-43  reason: the same again\n    changed nothing\n");
    assert_shows("  by ana  request rel-42  reason: release 42\n    put flags/dark  2 B\n"
                 "    put motd  5 B\n");
    assert_true(strncmp(out, "5  2", 4) == 0); /* the newest first */
    assert_shows("\n    del motd\n4  2");

    assert_int_equal(E2E_TOOL(core_node, out, "log", "motd"), 0);
    assert_int_equal(lines(), 6); /* three batches, a change each */
    assert_null(strstr(out, "flags"));
    assert_int_equal(E2E_TOOL(core_node, out, "log", "--prefix", "flags/", "--last", "1"), 0);
    assert_int_equal(lines(), 3);
    assert_int_equal(E2E_TOOL(core_node, out, "log", "--from", "2", "--json"), 0);
    assert_int_equal(lines(), 2);
    assert_shows("\"requests\":[{\"first\":0,\"count\":2,\"id\":\"rel-42\",\"author\":\"ana\","
                 "\"reason\":\"release 42\"}]");
    assert_shows("{\"ordinal\":1,\"op\":\"put\",\"bytes\":5,\"key\":\"motd\"}");
    assert_int_equal(E2E_TOOL(core_node, out, "log", "never"), 1);
    assert_string_equal(out, "");
    assert_int_equal(E2E_TOOL(core_node, out, "log", "--last", "x"), 2);
    e2e_error(core, "NOTFOUND", "HF.LOG 6");
    e2e_error(core, "ERR", "HF.LOG 0");
    e2e_passed();
}

static void an_edge_has_no_log(void **state)
{
    begin(state, NULL);
    struct e2e_node *edge = e2e_edge_new(core_node, "lagos", core_node->port);
    e2e_start(edge);
    assert_int_equal(E2E_TOOL(edge, out, "log"), 1);
    e2e_passed();
}

/* Small writes, until the core packs them with a dictionary, and for a while on. */
static unsigned write_until_packed(void)
{
    unsigned written = 0;
    int64_t until = e2e_now_ms() + SOON_MS;
    while (e2e_counter(core, "dictionary") == 0) {
        assert_true(e2e_now_ms() < until);
        for (unsigned i = 0; i < 100; i++, written++) {
            e2e_ok(core, "SET site/%u/address 192.0.2.%u:%u,weight=%u,zone=west", written % 997,
                   written % 251, 1000 + written, written % 7);
        }
    }
    for (unsigned i = 0; i < 100; i++, written++) {
        e2e_ok(core, "SET site/%u/address 198.51.100.%u", written % 997, i);
    }
    return written;
}

static void log_reads_what_was_packed_and_sealed_in_any_way(void **state)
{
    begin(state, NULL);
    struct e2e_node *edge = e2e_edge_new(core_node, "lagos", core_node->port);
    unsigned written = write_until_packed();
    assert_int_equal(E2E_TOOL(core_node, out, "edge", "revoke", edge->name), 0); /* another key */
    e2e_ok(core, "SET last 1");
    e2e_disconnect(core);
    e2e_stop(core_node, SIGTERM);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    assert_int_equal(E2E_TOOL(core_node, out, "log", "--last", "0", "--json"), 0);
    assert_int_equal(lines(), e2e_core_status(core).head);
    assert_shows("\"kind\":\"dictionary\"");
    unsigned puts = 0;
    for (const char *at = out; (at = strstr(at, "\"op\":\"put\"")) != NULL; at++) {
        puts++;
    }
    assert_int_equal(puts, written + 1);
    e2e_passed();
}

static void log_begins_where_it_was_trimmed_to(void **state)
{
    begin(state, "[store]\nsegment = 1MiB\n[retention]\nlog_bytes = 2MiB\n");
    uint8_t value[1000];
    unsigned seed = 1;
    for (unsigned i = 0; i < TRIMMED_WRITES; i++) {
        for (size_t at = 0; at < sizeof value; at++) {
            value[at] = (uint8_t)rand_r(&seed);
        }
        redisAppendCommand(core, "SET k%u %b", i, value, sizeof value);
    }
    for (unsigned i = 0; i < TRIMMED_WRITES; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(core, (void **)&r), REDIS_OK);
        freeReplyObject(r);
    }
    E2E_WAIT(SOON_MS, e2e_core_status(core).log_first > 1);
    assert_int_equal(E2E_TOOL(core_node, out, "log", "--last", "0", "--json"), 0);
    struct e2e_core_status s = e2e_core_status(core);
    assert_int_equal(lines(), s.head - s.log_first + 1);
    e2e_error(core, "NOTFOUND", "HF.LOG 1");
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOXED(log_tells_who_changed_what_and_why),
        BOXED(an_edge_has_no_log),
        BOXED(log_reads_what_was_packed_and_sealed_in_any_way),
        BOXED(log_begins_where_it_was_trimmed_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
