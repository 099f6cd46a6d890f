/*
 * test_life.c - when a daemon that starts has its store examined: what its former ends say.
 *
 * Most of these stores are files that are none, so that an examination is seen by what it finds.
 */
#include "state_fixture.h"

#include "hf/life.h"

#include <uv.h>

#define MINUTE_MS 60000

struct fixture {
    char *dir;
    char marker[96], state[96];
};

/* In place of a store that is there. */
static void no_store_write(const struct fixture *f)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/data.mdb", f->state);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    for (int i = 0; i < 4000; i++) {
        fputs("no store", out);
    }
    fclose(out);
}

static void store_write(const struct fixture *f)
{
    scratch_remove(f->state);
    struct hf_state *s = open_store(f->state);
    begin_history(s);
    hf_state_close(s);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->dir = scratch_new();
    snprintf(f->marker, sizeof(f->marker), "%s/main.running", f->dir);
    snprintf(f->state, sizeof(f->state), "%s/state", f->dir);
    assert_int_equal(mkdir(f->state, 0700), 0);
    no_store_write(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    scratch_remove(f->dir);
    free(f->dir);
    free(f);
    return 0;
}

/* A start; what it says of the store. */
static enum hf_err start(const struct fixture *f, struct hf_life *l)
{
    struct hf_error e = {.code = HF_OK};
    memset(l, 0, sizeof(*l));
    enum hf_err err = hf_life_examine(l, f->marker, f->state, &e);
    assert_int_equal(err, e.code);
    return err;
}

/* `count` runs that end without a word. */
static void die(const struct fixture *f, int count)
{
    struct hf_life l;
    for (int i = 0; i < count; i++) {
        start(f, &l);
        hf_life_begin(&l);
    }
}

static void one_unclean_end_is_no_reason_to_look(void **state)
{
    struct fixture *f = *state;
    struct hf_life l;
    assert_int_equal(start(f, &l), HF_OK);
    die(f, 1);
    assert_int_equal(start(f, &l), HF_OK);
}

static void after_two_in_a_row_the_state_is_examined_until_it_is_mended(void **state)
{
    struct fixture *f = *state;
    struct hf_life l;
    die(f, 2);
    assert_int_equal(start(f, &l), HF_CORRUPT);
    assert_int_equal(start(f, &l), HF_CORRUPT); /* nobody mended it, and it was not opened */
    hf_life_forgive(&l);
    hf_life_begin(&l);
    assert_int_equal(start(f, &l), HF_OK); /* the first of a new row */
}

static void a_state_that_is_sound_begins_a_new_row(void **state)
{
    struct fixture *f = *state;
    struct hf_life l;
    store_write(f);
    die(f, 2);
    assert_int_equal(start(f, &l), HF_OK);
    hf_life_begin(&l);
    no_store_write(f);
    assert_int_equal(start(f, &l), HF_OK);
    die(f, 1);
    assert_int_equal(start(f, &l), HF_CORRUPT);
}

static void a_clean_end_or_a_start_given_up_does_not_count(void **state)
{
    struct fixture *f = *state;
    struct hf_life l;
    die(f, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(start(f, &l), HF_OK);
        hf_life_begin(&l);
        hf_life_undo(&l);
    }
    die(f, 1);
    assert_int_equal(start(f, &l), HF_CORRUPT);
    hf_life_end(&l);
    die(f, 1);
    assert_int_equal(start(f, &l), HF_OK);
}

/* What the next start would count: an examination is for a process without threads. */
static uint32_t unclean_ends(const struct fixture *f)
{
    struct hf_running r;
    assert_int_equal(hf_running_find(&r, f->marker), HF_OK);
    return r.unclean;
}

static hf_ms never(void *ctx, hf_ms now)
{
    (void)ctx;
    (void)now;
    return INT64_MAX;
}

static void a_minute_of_life_begins_a_new_row(void **state)
{
    struct fixture *f = *state;
    struct hf_loop *loop = NULL;
    struct hf_life l;
    const struct hf_loop_config c = {.on_tick = never};
    assert_int_equal(hf_loop_open(&c, &loop, NULL), HF_OK);
    for (int minute = 0; minute < 2; minute++) {
        die(f, 1);
        start(f, &l);
        hf_life_begin(&l);
        hf_life_on_tick(&l, loop, hf_clock_ms() + MINUTE_MS * minute);
        assert_int_equal(l.lived_at == INT64_MAX, minute == 1); /* once: the job is one */
        for (int i = 0; i < 5000 && minute == 1 && unclean_ends(f) > 1; i++) {
            uv_run(hf_loop_uv(loop), UV_RUN_NOWAIT);
            usleep(1000);
        }
        assert_int_equal(unclean_ends(f), minute == 0 ? 2 : 1);
        hf_life_end(&l);
    }
    hf_loop_close(loop);
}

static void a_doubt_makes_the_next_start_look(void **state)
{
    struct fixture *f = *state;
    struct hf_life l;
    start(f, &l);
    hf_life_begin(&l);
    assert_int_equal(hf_life_doubt(&l), HF_OK);
    assert_int_equal(start(f, &l), HF_CORRUPT);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(one_unclean_end_is_no_reason_to_look),
        T(after_two_in_a_row_the_state_is_examined_until_it_is_mended),
        T(a_state_that_is_sound_begins_a_new_row),
        T(a_clean_end_or_a_start_given_up_does_not_count),
        T(a_minute_of_life_begins_a_new_row),
        T(a_doubt_makes_the_next_start_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
