/*
 * test_reexec.c - a daemon starts itself anew, as it does when its network library is stuck.
 *
 * SIGUSR2 takes the same way as the transport's on_wedged. The process id stays, the data is there,
 * clients reconnect to the same addresses (also where "any port" was asked for), and the other side
 * of the link goes on by itself. Next: test_crash.c.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#define SOON_MS 5000
#define BACK_MS 1500 /* a reader's longest wait for an edge that starts anew */

static struct e2e_node *core_node, *edge_node;
static redisContext *core, *edge;

static void begin(void **state)
{
    e2e_begin(state);
    core_node = e2e_core_new("core");
    e2e_start(core_node);
    core = e2e_connect(core_node);
    edge_node = e2e_edge_new(core_node, "lagos", core_node->port);
    e2e_start(edge_node);
    edge = e2e_connect(edge_node);
    e2e_ok(core, "SET before 1");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
}

/* A connection that answers; one may still have reached the sockets of the life before. */
static redisContext *answering(struct e2e_node *n)
{
    redisContext *c = e2e_try_connect(n);
    redisReply *r = c == NULL ? NULL : redisCommand(c, "PING");

    if (r == NULL && c != NULL) {
        e2e_disconnect(c);
    }
    c = r == NULL ? NULL : c;
    if (r != NULL) {
        freeReplyObject(r);
    }
    return c;
}

/* Sends the signal and returns a connection that answers, to the same address. */
static redisContext *again(struct e2e_node *n, redisContext *c, int64_t *took)
{
    redisContext *fresh = NULL;
    int64_t start = e2e_now_ms();

    assert_int_equal(kill(n->pid, SIGUSR2), 0);
    /* The old connection breaks: the process has left its sockets. */
    while (true) {
        redisReply *r = redisCommand(c, "PING");

        if (r == NULL) {
            break;
        }
        freeReplyObject(r);
        assert_true(e2e_now_ms() - start < SOON_MS);
    }
    e2e_disconnect(c);
    E2E_WAIT(SOON_MS, (fresh = answering(n)) != NULL);
    *took = e2e_now_ms() - start;
    assert_true(e2e_alive(n));
    return fresh;
}

static void an_edge_that_starts_anew_is_back_at_once(void **state)
{
    int64_t took;
    size_t fds;

    begin(state);
    fds = e2e_fds(edge_node);
    for (int i = 0; i < 3; i++) {
        edge = again(edge_node, edge, &took);
        print_message("edge: readers are served again after %lld ms\n", (long long)took);
        assert_true(took < BACK_MS);
        assert_string_equal(e2e_text(edge, "GET before"), "1");
        e2e_ok(core, "SET after %d", i);
        E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    }
    assert_true(e2e_fds(edge_node) <= fds + 4);
    e2e_passed();
}

static void a_core_that_starts_anew_keeps_its_addresses_and_its_edges(void **state)
{
    int64_t took;

    begin(state);
    for (int i = 0; i < 3; i++) {
        e2e_ok(core, "SET last %d", i);
        core = again(core_node, core, &took);
        print_message("core: clients are served again after %lld ms\n", (long long)took);
        assert_int_equal(e2e_integer(core, "EXISTS before last"), 2);
        e2e_ok(core, "SET after %d", i);
        E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    }
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, e2e_teardown)
        BOXED(an_edge_that_starts_anew_is_back_at_once),
        BOXED(a_core_that_starts_anew_keeps_its_addresses_and_its_edges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
