/*
 * test_reexec.c - a daemon starts itself anew, as it does when its network library is stuck.
 *
 * SIGUSR2 takes the same way as the transport's on_wedged. The process id stays, the data is there,
 * clients reconnect to the same addresses (also where "any port" was asked for), and the other side
 * of the link goes on by itself. That a stuck library
 * does lead here is shown in test_transport_wedge.c.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#include "tests/e2e/faults.h"

#include <sys/inotify.h>

/* What a reader may wait for an answer while its daemon starts anew; 20 to 100 ms were seen, and
 * 470 with a load of 27 on two processors. With sanitizers, ten of these tests at once, it was 2.5
 * s. */
#define SILENCE_US (E2E_SANITIZED ? 5000000 : 1000000)

static void begin(void **state)
{
    pair_begin(state, NULL, NULL);
}

/* Sends the signal and reads on until the connection has broken and another one answers, however
 * long that takes: how long it may is judged by the caller. */
static int64_t silence_of_reader(struct e2e_node *n)
{
    struct reader r = {.node = n};
    int64_t until = e2e_now_ms() + SOON_MS;
    int64_t last_us = 0;

    reader_for(&r, 100);
    assert_int_equal(kill(n->pid, SIGUSR2), 0);
    while (r.broken == 0 || r.answered_us == last_us) {
        assert_true(e2e_now_ms() < until);
        last_us = r.broken == 0 ? r.answered_us : last_us;
        reader_step(&r);
    }
    /* A connection may still have reached the sockets of the life before: then it breaks too. */
    reader_for(&r, 500);
    assert_in_range(r.broken, 1, 2);
    assert_true(e2e_alive(n));
    return r.silence_us;
}

static void said(const char *who, int64_t silence_us)
{
    print_message("%s: its reader was without an answer for %.1f ms at most\n", who,
                  (double)silence_us / 1000);
    assert_in_range(silence_us, 1, SILENCE_US);
}

static void an_edge_that_starts_anew_is_back_at_once(void **state)
{
    size_t fds;

    begin(state);
    fds = e2e_fds(edge_node);
    for (int i = 0; i < 3; i++) {
        said("edge", silence_of_reader(edge_node));
        edge = e2e_connect(edge_node);
        assert_string_equal(e2e_text(edge, "GET before"), "1");
        e2e_ok(core, "SET after %d", i);
        E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    }
    assert_true(e2e_fds(edge_node) <= fds + 4);
    e2e_passed();
}

static void a_core_that_starts_anew_keeps_its_addresses_and_its_edges(void **state)
{
    begin(state);
    for (int i = 0; i < 3; i++) {
        e2e_ok(core, "SET last %d", i);
        said("core", silence_of_reader(core_node));
        core = e2e_connect(core_node);
        assert_int_equal(e2e_integer(core, "EXISTS before last"), 2);
        e2e_ok(core, "SET after %d", i);
        E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    }
    e2e_passed();
}

static bool vouched(const struct e2e_node *n)
{
    char path[256];

    snprintf(path, sizeof path, "%.200s/main/state/sound", n->dir);
    return access(path, F_OK) == 0;
}

static void a_store_is_vouched_for_at_a_clean_end_and_not_by_a_crash(void **state)
{
    struct e2e_node *nodes[2];

    begin(state);
    nodes[0] = edge_node;
    nodes[1] = core_node;
    for (int i = 0; i < 2; i++) {
        e2e_stop(nodes[i], SIGTERM);
        assert_true(vouched(nodes[i]));
        e2e_start(nodes[i]);
        assert_false(vouched(nodes[i]));
        e2e_stop(nodes[i], SIGKILL);
        assert_false(vouched(nodes[i]));
    }
    e2e_passed();
}

/* How often the vouching line was written since `watch` began to look at the directory. */
static int vouched_count(int watch)
{
    char bytes[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    int count = 0;
    ssize_t n;

    while ((n = read(watch, bytes, sizeof bytes)) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const void *)(bytes + at);

            count += e->len > 0 && strcmp(e->name, "sound") == 0;
            at += (ssize_t)(sizeof *e + e->len);
        }
    }
    return count;
}

/* Its next life has taken the line away by the time it answers, so the directory is watched. */
static void a_store_is_vouched_for_by_a_daemon_that_starts_anew(void **state)
{
    struct e2e_node *nodes[2];

    begin(state);
    nodes[0] = edge_node;
    nodes[1] = core_node;
    for (int i = 0; i < 2; i++) {
        int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        char path[256];

        snprintf(path, sizeof path, "%.200s/main/state", nodes[i]->dir);
        assert_true(inotify_add_watch(watch, path, IN_CLOSE_WRITE) >= 0);
        silence_of_reader(nodes[i]);
        assert_int_equal(vouched_count(watch), 1);
        assert_false(vouched(nodes[i]));
        close(watch);
    }
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, e2e_teardown)
        BOXED(an_edge_that_starts_anew_is_back_at_once),
        BOXED(a_core_that_starts_anew_keeps_its_addresses_and_its_edges),
        BOXED(a_store_is_vouched_for_at_a_clean_end_and_not_by_a_crash),
        BOXED(a_store_is_vouched_for_by_a_daemon_that_starts_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
