/*
 * test_meta_sync.c - a core's store after a sync that failed, and then a power cut
 * (hf_env_meta_sync).
 *
 * The disk is the simulator's: what was not synced may go back, page by page, and a page whose sync
 * failed counts as clean without being on the disk. So the meta page of the commit before may stay
 * behind, while LMDB goes on from the one that it can read. Each try cuts the power at another of
 * the commits after that; whatever is left of the file must open and be whole.
 */
#include "state_fixture.h"

#include "sim/disk.h"

#include <errno.h>

#define TRIES 60u
#define FAILS 0.1
#define KEYS 40u
#define COMMITS_AFTER_MAX 4u

struct box {
    char dir[64];
    struct disk *disk;
    struct hf_state *s;
};

static struct hf_state_config config_of(const struct box *b)
{
    return (struct hf_state_config){.dir = b->dir, .map_bytes = 1u << 24, .replayed = true};
}

/* Puts a round of all keys and commits it. */
static enum hf_err round_commit(struct box *b, uint32_t round)
{
    char value[32];
    snprintf(value, sizeof(value), "round %u", (unsigned)round);
    for (uint32_t i = 0; i < KEYS; i++) {
        char name[32];
        struct hf_change c = {HF_OP_PUT, key_of(name, i), hf_slice_str(value)};
        write_batch(b->s, &c, 1);
    }
    return hf_state_commit(b->s);
}

/* As the core does after a failed commit: one that found no room is tried again as it is. */
static void mend(struct box *b, enum hf_err failed)
{
    struct hf_error e = {HF_OK, ""};
    hf_state_abort(b->s);
    if (failed == HF_IO) {
        assert_ok(hf_state_reopen(b->s, &e));
    }
}

static struct box box_new(uint64_t seed)
{
    struct box b = {.dir = "/dev/shm/test_meta_sync.XXXXXX"};
    assert_non_null(mkdtemp(b.dir));
    b.disk = disk_new(seed, true);
    disk_use(b.disk);
    struct hf_state_config c = config_of(&b);
    b.s = open_as(&c);
    begin_history(b.s);
    return b;
}

static void box_free(struct box *b)
{
    hf_state_close(b->s);
    disk_use(NULL);
    disk_free(b->disk);
    scratch_remove(b->dir);
}

static hf_seq after_power_cut(struct box *b)
{
    struct hf_state_config c = config_of(b);
    hf_state_close(b->s);
    (void)disk_power_cut(b->disk);
    b->s = open_as(&c);
    assert_verified(b->s);
    return hf_state_position(b->s).seq;
}

static void survive(int trouble, enum hf_err expected)
{
    uint64_t syncs_failed = 0;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct box b = box_new(seed);
        uint32_t round = 0;
        assert_ok(round_commit(&b, round++));
        assert_ok(round_commit(&b, round++));
        hf_seq before = 0;
        (void)disk_counts(b.disk);
        disk_trouble(b.disk, trouble, FAILS); /* of a write, or of the sync behind it */
        enum hf_err err = HF_OK;
        while (err == HF_OK) {
            before = hf_state_position(b.s).seq;
            err = round_commit(&b, round++);
        }
        assert_int_equal(err, expected);
        disk_trouble(b.disk, 0, 0);
        syncs_failed += disk_counts(b.disk).syncs_failed;
        mend(&b, err);
        for (uint64_t i = 0; i < 1 + seed % COMMITS_AFTER_MAX; i++) {
            assert_ok(round_commit(&b, round++));
        }
        /* The last commit may be lost, what the failed one was to follow may not. */
        assert_true(after_power_cut(&b) >= before);
        box_free(&b);
    }
    assert_true(syncs_failed > TRIES / 10);
}

static void store_survives_a_power_cut_after_a_sync_that_failed(void **state)
{
    (void)state;
    survive(EIO, HF_IO);
}

/* A thin volume or a quota has room for a write and none at the sync. */
static void store_survives_a_power_cut_after_a_sync_without_room(void **state)
{
    (void)state;
    survive(EDQUOT, HF_FULL);
}

/* The same without a failure: only the newest commit is not yet on the disk. */
static void power_cut_takes_no_more_than_the_newest_commit(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct box b = box_new(seed);
        hf_seq durable = 0;
        for (uint32_t round = 0; round < 2 + seed % COMMITS_AFTER_MAX; round++) {
            durable = hf_state_position(b.s).seq;
            assert_ok(round_commit(&b, round));
        }
        hf_seq kept = after_power_cut(&b);
        assert_true(kept == durable || kept == durable + KEYS);
        lost += kept == durable;
        box_free(&b);
    }
    assert_in_range(lost, 1, TRIES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_survives_a_power_cut_after_a_sync_that_failed),
        cmocka_unit_test(store_survives_a_power_cut_after_a_sync_without_room),
        cmocka_unit_test(power_cut_takes_no_more_than_the_newest_commit),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
