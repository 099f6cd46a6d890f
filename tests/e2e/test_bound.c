/*
 * test_bound.c - a core under load, whose loop and writer share a processor for moments.
 *
 * With the daemons as they are shipped: with sanitizers the loop does so much beside the writer
 * that it is not bound (proto/node/pair.h).
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#include "tests/e2e/faults.h"

#include <dirent.h>
#include <sched.h>

static int cpus_of(pid_t thread)
{
    cpu_set_t set;

    return sched_getaffinity(thread, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

/* A write at a time, until the core's loop is bound to its writer's processor for 10 ms. */
static bool bound_by_writes(void)
{
    int64_t until = e2e_now_ms() + SOON_MS;

    while (e2e_now_ms() < until) {
        e2e_ok(core, "SET last 0");
        if (cpus_of(core_node->pid) == 1) {
            return true;
        }
    }
    return false;
}

/* Threads of the core that have only one. */
static int bound_threads(void)
{
    char path[64];
    struct dirent *e;
    int count = 0;

    snprintf(path, sizeof path, "/proc/%d/task", (int)core_node->pid);
    DIR *d = opendir(path);
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        pid_t thread = (pid_t)atoi(e->d_name);
        count += thread > 0 && cpus_of(thread) == 1;
    }
    closedir(d);
    return count;
}

/* The loop and the writer, and no other; and not for long. */
static void two_threads_of_a_core_under_load_share_a_processor(void **state)
{
    pair_begin(state, NULL, NULL);
    if (cpus_of(core_node->pid) < 2) {
        skip();
    }
    for (int i = 0; i < 10; i++) {
        assert_true(bound_by_writes());
        assert_in_range(bound_threads(), 0, 2);
        E2E_WAIT(SOON_MS, bound_threads() == 0);
    }
    e2e_passed();
}

static bool is_broken(redisContext *c)
{
    redisReply *reply = redisCommand(c, "PING");

    if (reply != NULL) {
        freeReplyObject(reply);
    }
    return reply == NULL;
}

/* What a thread is bound to outlives an exec. */
static void a_core_that_starts_anew_under_load_has_all_processors(void **state)
{
    int all;

    pair_begin(state, NULL, NULL);
    all = cpus_of(core_node->pid);
    if (all < 2) {
        skip();
    }
    assert_true(bound_by_writes());
    assert_int_equal(kill(core_node->pid, SIGUSR2), 0);
    E2E_WAIT(SOON_MS, is_broken(core));
    /* A connection may still reach the sockets of the life before. */
    E2E_WAIT(SOON_MS, (core = e2e_try_connect(core_node)) != NULL && !is_broken(core));
    usleep(200000);
    core = is_broken(core) ? e2e_connect(core_node) : core;
    e2e_ok(core, "SET after 1");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    E2E_WAIT(SOON_MS, cpus_of(core_node->pid) == all);
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, e2e_teardown)
        BOXED(two_threads_of_a_core_under_load_share_a_processor),
        BOXED(a_core_that_starts_anew_under_load_has_all_processors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
