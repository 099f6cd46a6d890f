/*
 * test_health.c - whether an edge vouches for its store when it ends: only if nothing speaks
 * against it. What a damaged store leads to is in tests/e2e/test_damage.c.
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
    struct edge_health h = {.data = rig->dir};
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
    struct edge_health h = {.data = rig->dir};
    rig_start(rig);
    h.edge = rig->edge;
    edge_health_note(&h, HF_LEVEL_ERROR);
    edge_health_note(&h, HF_LEVEL_INFO); /* which does not take it back */
    assert_false(vouched_after(rig, &h));
}

static void end_while_the_pages_are_looked_at_does_not(void **state)
{
    struct rig *rig = *state;
    struct edge_health h = {.data = rig->dir};
    rig_start(rig);
    h.edge = rig->edge;
    h.looking = true;
    assert_false(vouched_after(rig, &h));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        T(clean_end_vouches_for_the_store),
        T(end_after_an_error_that_nobody_looked_into_does_not),
        T(end_while_the_pages_are_looked_at_does_not),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
