/*
 * test_cut.c - links that go silent, daemons that restart, edges that fall far behind.
 *
 * The link is a hole (hole.c): cut, it says nothing to either end, which is what TCP cannot tell
 * from a quiet peer for a quarter of an hour. The edge must notice within three beacons (G14),
 * serve what it has with an age that is never too low (G8, G9), and come back by itself to the same
 * digest (G10, G11), whether the log still reaches back to it or not. Transfers resume, and show
 * nothing before they are whole (G1, G4). Times from heal to repair are printed. Next:
 * test_crash.c.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#define SOON_MS 4000
#define BEACON_MS 1000
/* Three missed beacons, and what is left of the one under way and of a client's polling. */
#define NOTICE_MS (3 * BEACON_MS + 500)

struct link {
    struct e2e_node *core_node, *edge_node;
    struct e2e_hole *hole;
    redisContext *core, *edge;
};

/* A core, an edge behind a hole, and both in step. */
static struct link open_link(struct e2e_node *core_node)
{
    struct link l = {.core_node = core_node};

    e2e_start(core_node);
    l.core = e2e_connect(core_node);
    l.hole = e2e_hole_new(core_node->port);
    l.edge_node = e2e_edge_new(core_node, "far", e2e_hole_port(l.hole));
    e2e_start(l.edge_node);
    l.edge = e2e_connect(l.edge_node);
    E2E_WAIT(SOON_MS, e2e_edge_says(l.edge, "live"));
    return l;
}

/* Writes count keys with values that do not compress, many commands in flight. */
static void pump(redisContext *c, const char *prefix, int count, size_t bytes)
{
    static uint8_t value[1u << 20];
    int open_count = 0;

    assert_true(bytes <= sizeof value);
    for (int i = 0; i < count; i++) {
        for (size_t at = 0; at < bytes; at += 256) {
            assert_true(getrandom(value + at, bytes - at < 256 ? bytes - at : 256, 0) > 0);
        }
        redisAppendCommand(c, "SET %s-%d %b", prefix, i, value, bytes);
        if (++open_count < 100 && i + 1 < count) {
            continue;
        }
        for (; open_count > 0; open_count--) {
            redisReply *r;

            assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
            assert_int_equal(r->type, REDIS_REPLY_STATUS);
            freeReplyObject(r);
        }
    }
}

/* A core that keeps as little log as it can, so that an edge soon falls out of it. */
static struct e2e_node *forgetful_core(void)
{
    struct e2e_node *n = e2e_core_new("core");

    e2e_config(n, "[retention]\nlog_bytes = 1MiB\n[store]\nsegment = 1MiB\n");
    return n;
}

/* ---- silence ---- */

static void silence_is_noticed_within_three_beacons_and_healed(void **state)
{
    struct link l = open_link(e2e_core_new("core"));
    int64_t cut, noticed_edge = 0, noticed_core = 0, healed, first;
    struct e2e_edge_status s;
    int64_t before;

    e2e_begin(state);
    e2e_ok(l.core, "SET k before");
    E2E_WAIT(SOON_MS, e2e_equal(l.core, l.edge) && e2e_edge_status(l.edge).staleness_ms >= 0);
    before = e2e_edge_status(l.edge).applied;
    e2e_hole_set(l.hole, E2E_HOLE_SILENT);
    cut = e2e_now_ms();
    for (int i = 0; noticed_edge == 0 || noticed_core == 0; i++) {
        int64_t since = e2e_now_ms() - cut;

        assert_true(since < NOTICE_MS * (E2E_SANITIZED ? 3 : 1));
        e2e_ok(l.core, "SET k during-%d", i);
        assert_string_equal(e2e_text(l.edge, "GET k"), "before");
        /* Messages that were under way may still have made it fresh when the cut began. */
        s = e2e_edge_status(l.edge);
        assert_true(s.staleness_ms + 50 >= since);
        if (noticed_edge == 0 && strcmp(s.state, "cut-off") == 0) {
            noticed_edge = e2e_now_ms() - cut;
        }
        if (noticed_core == 0 && e2e_core_says(l.core, "far", "cut-off")) {
            noticed_core = e2e_now_ms() - cut;
        }
        e2e_sleep_ms(10);
    }
    assert_non_null(strstr(e2e_text(l.edge, "INFO replication"), "master_link_status:down"));
    e2e_error(l.edge, "STALE", "HF.GET k MAXAGE 1000");
    assert_int_equal(e2e_integer(l.core, "WAIT 1 100"), 0);
    e2e_sleep_ms(1000);
    e2e_hole_set(l.hole, E2E_HOLE_PASS);
    healed = e2e_now_ms();
    E2E_WAIT(SOON_MS, e2e_edge_status(l.edge).applied > before);
    first = e2e_now_ms() - healed;
    E2E_WAIT(SOON_MS, e2e_equal(l.core, l.edge));
    print_message("silence noticed after %lld ms at the edge, %lld ms at the core; healed: first "
                  "batch after %lld ms, equal after %lld ms\n",
                  (long long)noticed_edge, (long long)noticed_core, (long long)first,
                  (long long)(e2e_now_ms() - healed));
    E2E_WAIT(SOON_MS, e2e_edge_says(l.edge, "live") && e2e_core_says(l.core, "far", "live"));
    assert_int_equal(e2e_integer(l.core, "WAIT 1 2000"), 1);
    e2e_passed();
}

static void short_cuts_under_writes_end_equal(void **state)
{
    struct link l = open_link(e2e_core_new("core"));

    e2e_begin(state);
    for (int i = 0; i < 8; i++) {
        e2e_hole_set(l.hole, i % 2 == 0 ? E2E_HOLE_SILENT : E2E_HOLE_PASS);
        pump(l.core, i % 2 == 0 ? "cut" : "open", 400, 200);
        e2e_sleep_ms(150 + 50 * i % 200);
    }
    e2e_hole_set(l.hole, E2E_HOLE_PASS);
    E2E_WAIT(SOON_MS, e2e_equal(l.core, l.edge));
    e2e_passed();
}

static void a_core_that_hangs_is_noticed_and_forgiven(void **state)
{
    struct link l = open_link(e2e_core_new("core"));
    int64_t began = e2e_now_ms();

    e2e_begin(state);
    assert_int_equal(kill(l.core_node->pid, SIGSTOP), 0);
    E2E_WAIT(NOTICE_MS, e2e_edge_says(l.edge, "cut-off"));
    print_message("hung core noticed after %lld ms\n", (long long)(e2e_now_ms() - began));
    assert_string_equal(e2e_text(l.edge, "PING"), "PONG");
    assert_int_equal(kill(l.core_node->pid, SIGCONT), 0);
    e2e_ok(l.core, "SET k after");
    E2E_WAIT(SOON_MS, e2e_equal(l.core, l.edge) && e2e_edge_says(l.edge, "live"));
    e2e_passed();
}

/* ---- restarts ---- */

static void an_edge_follows_a_core_that_restarts(void **state)
{
    static const int signals[] = {SIGTERM, SIGKILL};
    struct link l = open_link(e2e_core_new("core"));

    e2e_begin(state);
    for (int i = 0; i < 2; i++) {
        int64_t epoch = e2e_core_status(l.core).epoch, head, began;

        pump(l.core, "r", 200, 100);
        head = e2e_core_status(l.core).head;
        e2e_stop(l.core_node, signals[i]);
        assert_string_equal(e2e_text(l.edge, "PING"), "PONG");
        e2e_start(l.core_node);
        began = e2e_now_ms();
        l.core = e2e_connect(l.core_node);
        assert_int_equal(e2e_core_status(l.core).head, head);
        assert_int_equal(e2e_core_status(l.core).epoch, epoch);
        e2e_ok(l.core, "SET after-restart %d", i);
        E2E_WAIT(2 * SOON_MS, e2e_equal(l.core, l.edge));
        print_message("core restarted: equal %lld ms after it was ready\n",
                      (long long)(e2e_now_ms() - began));
    }
    E2E_WAIT(SOON_MS, e2e_core_says(l.core, "far", "live"));
    e2e_passed();
}

static void an_edge_killed_while_it_catches_up_goes_on_from_there(void **state)
{
    struct link l = open_link(e2e_core_new("core"));
    int64_t applied, target;
    uint64_t sent;

    e2e_begin(state);
    /* At a draw of the prices an edge that serves follows the log; an empty one takes a snapshot.
     */
    e2e_ok(l.core, "SET first 1");
    E2E_WAIT(SOON_MS, e2e_equal(l.core, l.edge));
    e2e_stop(l.edge_node, SIGTERM);
    pump(l.core, "big", 3000, 2000);
    target = e2e_core_status(l.core).head;
    e2e_hole_rate(l.hole, 2u << 20);
    sent = e2e_hole_bytes(l.hole);
    for (int i = 0; i < 3; i++) {
        e2e_start(l.edge_node);
        l.edge = e2e_connect(l.edge_node);
        applied = e2e_edge_status(l.edge).applied;
        /* Spans are fetched side by side, so it moves in leaps, and the last may reach the head. */
        E2E_WAIT(SOON_MS, e2e_edge_status(l.edge).applied > applied + target / 8 ||
                              e2e_edge_status(l.edge).applied == target);
        applied = e2e_edge_status(l.edge).applied;
        e2e_stop(l.edge_node, SIGKILL);
        e2e_start(l.edge_node);
        l.edge = e2e_connect(l.edge_node);
        assert_true(e2e_edge_status(l.edge).applied >= applied);
        assert_true(applied == target || e2e_edge_status(l.edge).staleness_ms == E2E_UNKNOWN ||
                    e2e_edge_status(l.edge).applied > applied);
        e2e_stop(l.edge_node, SIGKILL);
    }
    e2e_hole_rate(l.hole, 0);
    e2e_start(l.edge_node);
    l.edge = e2e_connect(l.edge_node);
    E2E_WAIT(SOON_MS, e2e_equal(l.core, l.edge));
    sent = e2e_hole_bytes(l.hole) - sent;
    print_message("six kills in 6.0 MB: %.1f MB crossed the link\n", (double)sent / 1e6);
    /* What was fetched and not committed at a kill is fetched again, and no more than that. */
    assert_true(sent < 15000000);
    e2e_passed();
}

/* ---- further behind than the log reaches ---- */

/* The edge is down meanwhile: one that is only cut off would find megabytes of the stream in the
 * buffers of its connections. It is started again behind a link that is still silent. */
static void fall_behind(struct link *l)
{
    int64_t applied, until;

    e2e_ok(l->core, "MSET stays 1 goes 1 pair-a old pair-b old");
    pump(l->core, "was", 300, 1000);
    E2E_WAIT(SOON_MS, e2e_equal(l->core, l->edge));
    applied = e2e_edge_status(l->edge).applied;
    e2e_stop(l->edge_node, SIGTERM);
    e2e_hole_set(l->hole, E2E_HOLE_SILENT);
    e2e_ok(l->core, "MULTI");
    e2e_text(l->core, "MSET pair-a new pair-b new");
    e2e_text(l->core, "DEL goes was-7");
    e2e_text(l->core, "EXEC");
    for (int i = 0; i < 3; i++) {
        pump(l->core, "now", 2000, 1000);
    }
    /* The log is trimmed up to the commit before the last one, so there must be a few of them. */
    until = e2e_now_ms() + SOON_MS;
    for (int i = 0; e2e_core_status(l->core).log_first <= applied + 1; i++) {
        redisReply *r = redisCommand(l->core, "SET nudge %d", i);

        assert_non_null(r);
        freeReplyObject(r);
        e2e_sleep_ms(50);
        assert_true(e2e_now_ms() < until);
    }
    e2e_start(l->edge_node);
    l->edge = e2e_connect(l->edge_node);
    assert_string_equal(e2e_text(l->edge, "GET pair-a"), "old");
}

/* The old state is served until the new one is there, never a mixture. */
static void watch_until_equal(struct link *l, int ms)
{
    int64_t until = e2e_now_ms() + ms;
    bool was_new = false;

    while (!e2e_equal(l->core, l->edge)) {
        redisReply *r = redisCommand(l->edge, "MGET pair-a pair-b goes stays");
        bool is_new;

        assert_non_null(r);
        assert_string_equal(r->element[0]->str, r->element[1]->str);
        is_new = strcmp(r->element[0]->str, "new") == 0;
        assert_int_equal(r->element[2]->type == REDIS_REPLY_NIL, is_new);
        assert_string_equal(r->element[3]->str, "1");
        assert_true(is_new || !was_new);
        was_new = is_new;
        freeReplyObject(r);
        if (e2e_now_ms() > until) {
            fail_msg("not equal within %d ms", ms);
        }
        e2e_sleep_ms(2);
    }
    assert_int_equal(e2e_integer(l->edge, "EXISTS goes was-7"), 0);
    assert_string_equal(e2e_text(l->edge, "GET pair-a"), "new");
}

static void an_edge_beyond_the_log_catches_up_by_delta(void **state)
{
    struct link l = open_link(forgetful_core());
    int64_t healed;

    e2e_begin(state);
    fall_behind(&l);
    e2e_hole_set(l.hole, E2E_HOLE_PASS);
    healed = e2e_now_ms();
    watch_until_equal(&l, SOON_MS * 2);
    print_message("delta: equal %lld ms after heal\n", (long long)(e2e_now_ms() - healed));
    assert_true(e2e_logged(l.edge_node, "kind=delta"));
    assert_false(e2e_logged(l.edge_node, "kind=snapshot"));
    pump(l.core, "after", 50, 100);
    E2E_WAIT(SOON_MS, e2e_equal(l.core, l.edge));
    e2e_passed();
}

static void an_edge_beyond_the_delta_floor_gets_a_snapshot(void **state)
{
    struct e2e_node *core_node = forgetful_core();
    struct link l;
    int64_t healed;
    char out[8192];

    e2e_begin(state);
    e2e_arg_set(core_node, "--delta-batches", "1");
    l = open_link(core_node);
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--json"), 0);
    assert_non_null(strstr(out, "\"floor\":\"clear\""));
    fall_behind(&l);
    assert_int_equal(E2E_TOOL(core_node, out, "status", "--json"), 0);
    assert_non_null(strstr(out, "\"floor\":\"below-delta\""));
    assert_int_equal(E2E_TOOL(core_node, out, "status"), 0);
    assert_non_null(strstr(out, "far: WARNING: it needs a copy of everything (SNAPSHOT)"));
    e2e_hole_set(l.hole, E2E_HOLE_PASS);
    healed = e2e_now_ms();
    watch_until_equal(&l, SOON_MS * 2);
    print_message("snapshot: equal %lld ms after heal\n", (long long)(e2e_now_ms() - healed));
    assert_true(e2e_logged(l.edge_node, "kind=snapshot"));
    pump(l.core, "after", 50, 100);
    E2E_WAIT(SOON_MS, e2e_equal(l.core, l.edge));
    e2e_passed();
}

/* The transfer is cut, and the edge killed in the middle, and what was staged is not sent again. */
static void a_transfer_that_is_cut_resumes(void **state)
{
    struct link l = open_link(forgetful_core());
    uint64_t sent, whole = 2000 * 1000;

    e2e_begin(state);
    fall_behind(&l);
    e2e_hole_rate(l.hole, 1500000);
    sent = e2e_hole_bytes(l.hole);
    e2e_hole_set(l.hole, E2E_HOLE_PASS);
    E2E_WAIT(SOON_MS, e2e_hole_bytes(l.hole) - sent > whole / 2);
    e2e_hole_set(l.hole, E2E_HOLE_SILENT);
    assert_string_equal(e2e_text(l.edge, "GET pair-a"), "old");
    assert_true(e2e_edge_says(l.edge, "catching-up"));
    e2e_stop(l.edge_node, SIGKILL);
    e2e_start(l.edge_node);
    l.edge = e2e_connect(l.edge_node);
    assert_string_equal(e2e_text(l.edge, "GET pair-a"), "old");
    assert_string_equal(e2e_text(l.edge, "GET goes"), "1");
    e2e_hole_set(l.hole, E2E_HOLE_PASS);
    watch_until_equal(&l, SOON_MS * 2);
    sent = e2e_hole_bytes(l.hole) - sent;
    print_message("a transfer of 2.0 MB cut in the middle: %.1f MB crossed the link\n",
                  (double)sent / 1e6);
    assert_true(sent < whole * 3 / 2);
    e2e_passed();
}

/* ---- large things ---- */

static void the_largest_value_and_the_largest_batch_cross_the_link(void **state)
{
    struct link l = open_link(e2e_core_new("core"));
    static char value[1u << 20];
    int64_t began = e2e_now_ms(), head;

    e2e_begin(state);
    for (size_t at = 0; at < sizeof value; at += 256) {
        assert_true(getrandom(value + at, 256, 0) == 256);
    }
    e2e_ok(l.core, "SET large %b", value, sizeof value);
    E2E_WAIT(SOON_MS, e2e_equal(l.core, l.edge));
    print_message("1 MiB value: equal after %lld ms\n", (long long)(e2e_now_ms() - began));
    assert_int_equal(e2e_integer(l.edge, "STRLEN large"), sizeof value);
    head = e2e_core_status(l.core).head;
    e2e_ok(l.core, "MULTI");
    for (int i = 0; i < 4; i++) {
        e2e_text(l.core, "SET part-%d %b", i, value + i, (size_t)1048000);
    }
    began = e2e_now_ms();
    e2e_text(l.core, "EXEC");
    assert_int_equal(e2e_core_status(l.core).head, head + 1);
    E2E_WAIT(SOON_MS, e2e_equal(l.core, l.edge));
    print_message("4 MiB batch: equal after %lld ms\n", (long long)(e2e_now_ms() - began));
    assert_int_equal(e2e_integer(l.edge, "EXISTS part-0 part-1 part-2 part-3"), 4);
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, e2e_teardown)
        BOXED(silence_is_noticed_within_three_beacons_and_healed),
        BOXED(short_cuts_under_writes_end_equal),
        BOXED(a_core_that_hangs_is_noticed_and_forgiven),
        BOXED(an_edge_follows_a_core_that_restarts),
        BOXED(an_edge_killed_while_it_catches_up_goes_on_from_there),
        BOXED(an_edge_beyond_the_log_catches_up_by_delta),
        BOXED(an_edge_beyond_the_delta_floor_gets_a_snapshot),
        BOXED(a_transfer_that_is_cut_resumes),
        BOXED(the_largest_value_and_the_largest_batch_cross_the_link),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
