/*
 * test_status.c - `holdfast status` for those who watch: rows of some edges, and limits that become
 * an exit status.
 *
 * One core and three edges serve all tests: two follow, the third is enrolled and was never
 * started, as one that gets only files. Each test leaves them equal. Next: test_main_path.c for the
 * forms of the output.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#include <jansson.h>

#define SOON_MS 4000

static struct e2e_node *core_node, *berlin_node, *lima_node;
static redisContext *core, *berlin, *lima;
static char out[8192];

#define STATUS(node, ...) E2E_TOOL(node, out, "status", __VA_ARGS__)

static int set_up(void **state)
{
    if (e2e_setup(state) != 0) {
        return -1;
    }
    core_node = e2e_core_new("core");
    e2e_start(core_node);
    core = e2e_connect(core_node);
    berlin_node = e2e_edge_new(core_node, "berlin", core_node->port);
    lima_node = e2e_edge_new(core_node, "lima", core_node->port);
    e2e_edge_new(core_node, "ship", core_node->port);
    e2e_start(berlin_node);
    e2e_start(lima_node);
    berlin = e2e_connect(berlin_node);
    lima = e2e_connect(lima_node);
    e2e_ok(core, "SET k v");
    E2E_WAIT(SOON_MS, e2e_equal(core, berlin) && e2e_equal(core, lima));
    E2E_WAIT(SOON_MS, e2e_core_says(core, "berlin", "live") && e2e_core_says(core, "lima", "live"));
    assert_int_equal(e2e_integer(core, "WAIT 2 3000"), 2);
    return 0;
}

/* Whether the last call of the tool told people this. */
static bool told(const char *words)
{
    char text[4096];

    read_file(e2e_path("tool.err"), text, sizeof text);
    return strstr(text, words) != NULL;
}

static size_t lines(void)
{
    size_t n = 0;

    for (const char *c = out; *c != '\0'; c++) {
        n += *c == '\n';
    }
    return n;
}

static void names_leave_only_these_rows(void **state)
{
    e2e_begin(state);
    assert_int_equal(STATUS(core_node, "--tsv"), 0);
    assert_int_equal(lines(), 4);
    assert_int_equal(STATUS(core_node, "--tsv", "lima"), 0);
    assert_int_equal(lines(), 2);
    assert_non_null(strstr(out, "\tlima\t"));
    assert_int_equal(STATUS(core_node, "--tsv", "ship", "lima", "ship"), 0);
    assert_int_equal(lines(), 3);
    assert_null(strstr(out, "berlin"));
    assert_int_equal(STATUS(core_node, "--json", "lima"), 0);
    assert_non_null(strstr(out, "\"edges\":[{\"name\":\"lima\""));
    assert_null(strstr(out, "berlin"));
    assert_int_equal(STATUS(core_node, "lima"), 0);
    assert_non_null(strstr(out, "digest "));
    assert_non_null(strstr(out, "lima"));
    assert_null(strstr(out, "berlin"));
    assert_int_equal(STATUS(berlin_node, "--tsv", "berlin"), 0);
    assert_int_equal(lines(), 2);
    e2e_passed();
}

static void a_name_that_no_edge_has_is_an_error(void **state)
{
    e2e_begin(state);
    assert_int_equal(STATUS(core_node, "lima", "oslo"), 1);
    assert_string_equal(out, "");
    assert_true(told("no edge is called oslo (holdfast edge list)"));
    assert_int_equal(STATUS(berlin_node, "lima"), 1);
    assert_true(told("no edge is called lima here: this is the edge berlin"));
    assert_int_equal(STATUS(core_node, "lima", "--max-lag", "1"), 2);
    assert_true(told("options stand before names"));
    e2e_passed();
}

static void limits_are_for_the_named_edges_alone(void **state)
{
    e2e_begin(state);
    assert_int_equal(STATUS(core_node, "--max-lag", "100"), 1);
    assert_int_equal(STATUS(core_node, "--max-staleness", "60"), 1);
    assert_int_equal(STATUS(core_node, "--max-lag", "0", "berlin", "lima"), 0);
    assert_int_equal(STATUS(core_node, "--max-staleness", "60", "berlin", "lima"), 0);
    assert_int_equal(STATUS(core_node, "--max-staleness", "60", "ship"), 1);
    assert_int_equal(STATUS(core_node, "--max-lag", "0", "lima", "ship"), 1);
    assert_int_equal(STATUS(berlin_node, "--max-lag", "0", "--max-staleness", "60", "berlin"), 0);
    assert_int_equal(STATUS(core_node, "--max-staleness", "soon"), 2);
    assert_int_equal(STATUS(core_node, "--max-staleness", "18446744073709552"), 2);
    e2e_passed();
}

static const json_t *edge_of(const json_t *root, size_t i, const char *name)
{
    const json_t *e = json_array_get(json_object_get(root, "edges"), i);

    assert_string_equal(json_string_value(json_object_get(e, "name")), name);
    return e;
}

static void json_has_what_the_core_knows_of_an_edge(void **state)
{
    static const char *const reported[] = {"store_state", "transfer_done", "transfer_total"};
    const json_t *e;
    json_t *root;

    e2e_begin(state);
    assert_int_equal(STATUS(core_node, "--json", "berlin", "ship"), 0);
    root = json_loads(out, 0, NULL);
    assert_non_null(root);
    e = edge_of(root, 0, "berlin");
    assert_string_equal(json_string_value(json_object_get(e, "key")), berlin_node->key);
    assert_string_equal(json_string_value(json_object_get(e, "store_state")), "ok");
    assert_true(json_is_integer(json_object_get(e, "transfer_done")));
    assert_true(json_is_integer(json_object_get(e, "transfer_total")));
    e = edge_of(root, 1, "ship");
    assert_int_equal(json_string_length(json_object_get(e, "key")), 64);
    for (size_t i = 0; i < sizeof reported / sizeof reported[0]; i++) {
        assert_true(json_is_null(json_object_get(e, reported[i])));
    }
    json_decref(root);
    /* What was there before stays where it was. */
    assert_non_null(strstr(out, ",\"floor\":\"clear\",\"key\":\""));
    e2e_passed();
}

/* It lacks nothing, so that its lag says nothing. */
static void an_edge_that_is_cut_off_on_a_quiet_stream_is_stale(void **state)
{
    struct e2e_row row;

    e2e_begin(state);
    assert_int_equal(kill(lima_node->pid, SIGSTOP), 0);
    E2E_WAIT(3 * SOON_MS, e2e_row(core, "lima", &row) && row.staleness_ms > 4000);
    assert_int_equal(STATUS(core_node, "--max-lag", "0", "lima"), 0);
    assert_int_equal(STATUS(core_node, "--max-staleness", "4", "lima"), 1);
    assert_int_equal(STATUS(core_node, "--max-lag", "0", "--max-staleness", "4", "lima"), 1);
    assert_int_equal(STATUS(core_node, "--max-staleness", "60", "lima"), 0);
    assert_int_equal(kill(lima_node->pid, SIGCONT), 0);
    E2E_WAIT(SOON_MS, e2e_core_says(core, "lima", "live"));
    e2e_passed();
}

static void an_edge_that_is_asked_itself_says_when_it_is_stale(void **state)
{
    e2e_begin(state);
    E2E_WAIT(SOON_MS, e2e_edge_says(lima, "live"));
    assert_int_equal(kill(core_node->pid, SIGSTOP), 0);
    E2E_WAIT(3 * SOON_MS, e2e_edge_status(lima).staleness_ms > 3000);
    assert_int_equal(STATUS(lima_node, "--max-staleness", "3"), 1);
    assert_int_equal(STATUS(lima_node, "--max-staleness", "60"), 0);
    assert_int_equal(kill(core_node->pid, SIGCONT), 0);
    E2E_WAIT(2 * SOON_MS, e2e_edge_says(lima, "live") && e2e_edge_says(berlin, "live"));
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_leave_only_these_rows),
        cmocka_unit_test(a_name_that_no_edge_has_is_an_error),
        cmocka_unit_test(limits_are_for_the_named_edges_alone),
        cmocka_unit_test(json_has_what_the_core_knows_of_an_edge),
        cmocka_unit_test(an_edge_that_is_cut_off_on_a_quiet_stream_is_stale),
        cmocka_unit_test(an_edge_that_is_asked_itself_says_when_it_is_stale),
    };

    return cmocka_run_group_tests(tests, set_up, e2e_teardown);
}
