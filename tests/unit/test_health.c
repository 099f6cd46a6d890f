/*
 * test_health.c - whether an edge vouches for its store when it ends: only if nothing speaks
 * against it; that it repairs what the examination has seen, and nothing else; that it gives up a
 * store only where it can have another. The rest of what a damaged store leads to is in
 * tests/e2e/test_damage.c.
 */
#include "edge_box.h"

#include "edge/health.h"

static bool vouched_after(struct rig *rig, const struct edge_health *h)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/state/sound", rig->dir);
    assert_int_equal(access(path, F_OK), -1);
    edge_health_end(h);
    return unlink(path) == 0;
}

static void clean_end_vouches_for_the_store(void **state)
{
    struct rig *rig = *state;
    struct edge_health h = {.dir = rig->dir};
    rig_start(rig);
    h.edge = rig->edge;
    assert_true(vouched_after(rig, &h));
    edge_health_note(&h, HF_LEVEL_INFO);
    edge_health_note(&h, HF_LEVEL_WARN);
    assert_true(vouched_after(rig, &h));
}

static void end_after_an_error_that_nobody_looked_into_does_not(void **state)
{
    struct rig *rig = *state;
    struct edge_health h = {.dir = rig->dir};
    rig_start(rig);
    h.edge = rig->edge;
    edge_health_note(&h, HF_LEVEL_ERROR);
    edge_health_note(&h, HF_LEVEL_INFO); /* which does not take it back */
    assert_false(vouched_after(rig, &h));
}

static void end_while_the_pages_are_looked_at_does_not(void **state)
{
    struct rig *rig = *state;
    struct edge_health h = {.dir = rig->dir};
    rig_start(rig);
    h.edge = rig->edge;
    h.looking = true;
    assert_false(vouched_after(rig, &h));
}

/* Without a link it cannot begin, but it waits for one. */
static enum hf_repair_result repair_of(struct rig *rig, bool records_damaged)
{
    struct edge_health h = {.dir = rig->dir, .records_damaged = records_damaged};
    edge_health_watch(&h, NULL, rig->edge);
    return rig_status(rig).repair.result;
}

static void what_the_examination_saw_is_repaired(void **state)
{
    struct rig *rig = *state;
    rig_start(rig);
    assert_int_equal(repair_of(rig, false), HF_REPAIR_NONE);
    assert_int_equal(repair_of(rig, true), HF_REPAIR_WAITING);
}

static void count_ends(void *ctx)
{
    ++*(int *)ctx;
}

static void damaged_store_on_a_disk_that_takes_nothing_is_served_on(void **state)
{
    struct rig *rig = *state;
    int ends = 0;
    struct edge_health h = {.dir = rig->dir, .ctx = &ends, .on_damaged = count_ends};
    rig_start(rig);
    edge_health_watch(&h, NULL, rig->edge);
    for (int takes = 0; takes < 2; takes++) {
        snprintf(h.life.running.path, sizeof(h.life.running.path), "%s%s/running", rig->dir,
                 takes ? "" : "/nowhere");
        h.looking = true;
        h.found = HF_CORRUPT;
        h.look.done(&h.look);
        assert_int_equal(ends, takes);
        assert_false(h.looking);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(clean_end_vouches_for_the_store),
        T(end_after_an_error_that_nobody_looked_into_does_not),
        T(end_while_the_pages_are_looked_at_does_not),
        T(what_the_examination_saw_is_repaired),
        T(damaged_store_on_a_disk_that_takes_nothing_is_served_on),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
