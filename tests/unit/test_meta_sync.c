/*
 * test_meta_sync.c - a store after syncs and writes that failed, and then a power cut
 * (hf_env_meta_sync).
 *
 * The disk is the simulator's: what was not synced may go back, page by page, and a page whose sync
 * failed counts as clean without being on the disk, or is gone at once. A meta page whose write
 * failed may be on the disk, while LMDB goes on from the one before it, which it put back, and
 * writes over the tree that the disk names. Whatever is left of the file must open and be whole.
 */
#include "state_fixture.h"

#include "sim/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define TRIES 200u
#define FAILURES_MAX 4u
#define KEYS 40u
#define VALUE_MAX 400u
#define COMMITS_AFTER_MAX 3u

struct box {
    char dir[64];
    struct disk *disk;
    struct hf_state *s;
};

static struct hf_state_config config_of(const struct box *b)
{
    return (struct hf_state_config){.dir = b->dir, .map_bytes = 1u << 24};
}

/* Puts a round of all keys and commits it. Each round makes another tree. */
static enum hf_err round_commit(struct box *b, uint32_t round)
{
    char value[VALUE_MAX];
    memset(value, 'a' + (int)(round % 26), sizeof(value));
    value[round * 67 % VALUE_MAX] = '\0';
    enum hf_err err = hf_state_begin(b->s); /* writes the meta pages again if it must */
    if (err != HF_OK) {
        return err;
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        char name[32];
        struct hf_change c = {HF_OP_PUT, key_of(name, i), hf_slice_str(value)};
        write_batch(b->s, &c, 1);
    }
    return hf_state_commit(b->s);
}

/* One that found no room is tried again as it is. If it was the meta page, the next says HF_IO. */
static void mend(struct box *b, enum hf_err failed)
{
    struct hf_error e = {HF_OK, ""};
    hf_state_abort(b->s);
    if (failed == HF_IO) {
        assert_ok(hf_state_reopen(b->s, &e));
    }
}

/* On a disk that is well again. */
static void recover(struct box *b, uint32_t round)
{
    enum hf_err err = round_commit(b, round);
    if (err == HF_IO) {
        mend(b, err);
        err = round_commit(b, round);
    }
    assert_ok(err);
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

/* Until the disk failed so often; the position after the last commit that did not. */
static hf_seq fail_often(struct box *b, uint64_t failures, enum hf_err expected)
{
    hf_seq acknowledged = hf_state_position(b->s).seq;
    uint32_t round = 1000;
    while (failures > 0) {
        enum hf_err err = round_commit(b, round++);
        if (err == HF_OK) {
            acknowledged = hf_state_position(b->s).seq;
            continue;
        }
        assert_true(err == expected || err == HF_IO); /* that: what is read is not what was */
        failures--;
        mend(b, err);
    }
    return acknowledged;
}

static void survive(int trouble, double chance, enum hf_err expected)
{
    uint64_t syncs_failed = 0;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct box b = box_new(seed);
        assert_ok(round_commit(&b, 0));
        assert_ok(round_commit(&b, 1));
        (void)disk_counts(b.disk);
        disk_trouble(b.disk, trouble, chance);
        hf_seq acknowledged = fail_often(&b, 1 + seed % FAILURES_MAX, expected);
        if (seed % 2 == 0) { /* the power fails in the middle of a commit */
            disk_trouble(b.disk, trouble, 0.9);
            acknowledged = fail_often(&b, 1, expected);
        }
        disk_trouble(b.disk, 0, 0);
        syncs_failed += disk_counts(b.disk).syncs_failed;
        for (uint64_t i = 0; seed % 2 != 0 && i < seed / FAILURES_MAX % COMMITS_AFTER_MAX; i++) {
            recover(&b, 2 + (uint32_t)i);
            acknowledged = hf_state_position(b.s).seq;
        }
        assert_true(after_power_cut(&b) >= acknowledged);
        box_free(&b);
    }
    assert_true(syncs_failed > TRIES / 10);
}

static void store_survives_a_power_cut_after_a_sync_that_failed(void **state)
{
    (void)state;
    survive(EIO, 0.1, HF_IO);
}

/* A thin volume or a quota has room for a write and none at the sync. */
static void store_survives_a_power_cut_after_a_sync_without_room(void **state)
{
    (void)state;
    survive(EDQUOT, 0.3, HF_FULL);
}

static void a_power_cut_takes_no_commit(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct box b = box_new(seed);
        for (uint32_t round = 0; round < 1 + seed % FAILURES_MAX; round++) {
            assert_ok(round_commit(&b, round));
        }
        hf_seq last = hf_state_position(b.s).seq;
        assert_true(after_power_cut(&b) == last);
        box_free(&b);
    }
}

static int data_open(const struct box *b, int flags)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/data.mdb", b->dir);
    int fd = open(path, flags);
    assert_true(fd >= 0);
    return fd;
}

struct metas {
    uint8_t bytes[2 * 4096];
};

static struct metas metas_read(const struct box *b)
{
    struct metas m;
    int fd = data_open(b, O_RDONLY);
    assert_int_equal(pread(fd, m.bytes, sizeof(m.bytes), 0), sizeof(m.bytes));
    close(fd);
    return m;
}

static void metas_write(const struct box *b, const struct metas *m)
{
    int fd = data_open(b, O_WRONLY);
    assert_int_equal(pwrite(fd, m->bytes, sizeof(m->bytes), 0), sizeof(m->bytes));
    close(fd);
}

/* The meta page of a commit reached the disk though its write failed, and the kernel forgets the
 * older one that LMDB put in its place. LMDB must not go on from what it read there. */
static void what_only_the_disk_knows_is_taken_up(void **state)
{
    (void)state;
    struct box b = box_new(0);
    struct hf_state_config c = config_of(&b);
    struct hf_error e = {HF_OK, ""};
    assert_ok(round_commit(&b, 0));
    struct metas older = metas_read(&b);
    assert_ok(round_commit(&b, 1));
    struct metas newest = metas_read(&b);
    hf_seq seq = hf_state_position(b.s).seq;
    hf_state_close(b.s);
    metas_write(&b, &older);
    b.s = open_as(&c);
    assert_true(hf_state_position(b.s).seq < seq);
    metas_write(&b, &newest);
    assert_int_equal(round_commit(&b, 2), HF_IO);
    assert_ok(hf_state_reopen(b.s, &e));
    assert_true(hf_state_position(b.s).seq == seq);
    assert_ok(round_commit(&b, 2));
    assert_verified(b.s);
    box_free(&b);
}

/* Or an edge would set its store aside, and a core refuse to start for good. */
static void what_cannot_be_read_now_is_not_called_damaged(void **state)
{
    (void)state;
    struct box b = box_new(0);
    struct hf_state_config c = config_of(&b);
    struct hf_error e;
    assert_ok(round_commit(&b, 0));
    hf_seq seq = hf_state_position(b.s).seq;
    unsigned failed = 0;
    for (unsigned i = 0; i < TRIES; i++) {
        hf_state_close(b.s);
        (void)disk_power_cut(b.disk); /* or the kernel has it in memory */
        disk_trouble(b.disk, EIO, 0.2);
        enum hf_err err = hf_state_open(&c, &b.s, &e);
        assert_true(err == HF_OK || err == HF_IO);
        failed += err != HF_OK;
        disk_trouble(b.disk, 0, 0);
        b.s = err == HF_OK ? b.s : open_as(&c);
        assert_true(hf_state_position(b.s).seq == seq);
    }
    assert_in_range(failed, TRIES / 10, TRIES - 1);
    box_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_survives_a_power_cut_after_a_sync_that_failed),
        cmocka_unit_test(store_survives_a_power_cut_after_a_sync_without_room),
        cmocka_unit_test(a_power_cut_takes_no_commit),
        cmocka_unit_test(what_only_the_disk_knows_is_taken_up),
        cmocka_unit_test(what_cannot_be_read_now_is_not_called_damaged),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
