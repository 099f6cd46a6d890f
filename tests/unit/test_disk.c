/*
 * test_disk.c - the simulator's disk forgets what was not synced, and refuses while it is told to.
 */
#include "sim/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>

#define TRIES 200 /* a power cut loses all, none or some: enough of them do each */

struct box {
    char path[64];
    int fd;
    struct disk *disk;
};

static struct box *box_new(uint64_t seed)
{
    struct box *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    snprintf(b->path, sizeof(b->path), "/dev/shm/test_disk.XXXXXX");
    b->fd = mkstemp(b->path);
    assert_true(b->fd >= 0);
    b->disk = disk_new(seed, true);
    disk_use(b->disk);
    return b;
}

static void box_free(struct box *b)
{
    disk_use(NULL);
    disk_free(b->disk);
    close(b->fd);
    unlink(b->path);
    free(b);
}

static void put(struct box *b, off_t page, char c)
{
    char bytes[4096];
    memset(bytes, c, sizeof(bytes));
    assert_int_equal(pwrite(b->fd, bytes, sizeof(bytes), page * 4096), 4096);
}

static char get(struct box *b, off_t page)
{
    char c = 0;
    assert_int_equal(pread(b->fd, &c, 1, page * 4096 + 17), 1);
    return c;
}

static void what_was_synced_survives_every_power_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct box *b = box_new(seed);
        put(b, 0, 'a');
        put(b, 1, 'a');
        assert_int_equal(fdatasync(b->fd), 0);
        assert_int_equal(disk_power_cut(b->disk), 0);
        assert_int_equal(get(b, 0), 'a');
        assert_int_equal(get(b, 1), 'a');
        box_free(b);
    }
}

static void what_was_not_synced_goes_back_page_by_page(void **state)
{
    (void)state;
    unsigned kept = 0;
    unsigned lost = 0;
    unsigned mixed = 0;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct box *b = box_new(seed);
        put(b, 0, 'a');
        put(b, 1, 'a');
        assert_int_equal(fsync(b->fd), 0);
        put(b, 0, 'b');
        put(b, 0, 'c');
        put(b, 1, 'c');
        uint64_t count = disk_power_cut(b->disk);
        char first = get(b, 0);
        char second = get(b, 1);
        assert_true(first == 'a' || first == 'c'); /* 'b' was never alone on the disk */
        assert_int_equal(count, (first == 'a') + (second == 'a'));
        kept += first == 'c' && second == 'c';
        lost += first == 'a' && second == 'a';
        mixed += first != second;
        box_free(b);
    }
    assert_true(kept > 0 && lost > 0 && mixed > 0);
}

static void a_synchronous_write_and_a_process_that_only_dies_lose_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct box *b = box_new(seed);
        put(b, 0, 'a');
        disk_keep(b->disk);
        int fd = open(b->path, O_WRONLY | O_DSYNC | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "bbbbbbbbbbbbbbbbbbbb", 20, 0), 20);
        close(fd);
        assert_int_equal(disk_power_cut(b->disk), 0);
        assert_int_equal(get(b, 0), 'b');
        box_free(b);
    }
}

/* LMDB writes an old meta page back without a sync when it could not write a new one. */
static void a_synchronous_write_takes_along_what_its_page_had_before(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct box *b = box_new(seed);
        put(b, 0, 'a');
        assert_int_equal(fdatasync(b->fd), 0);
        put(b, 0, 'b');
        int fd = open(b->path, O_WRONLY | O_DSYNC | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "c", 1, 0), 1);
        close(fd);
        assert_int_equal(disk_power_cut(b->disk), 0);
        assert_int_equal(get(b, 0), 'b');
        box_free(b);
    }
}

static void a_page_whose_sync_failed_is_not_written_by_the_next_one(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < TRIES; seed++) {
        struct box *b = box_new(seed);
        put(b, 0, 'a');
        assert_int_equal(fdatasync(b->fd), 0);
        put(b, 0, 'b');
        disk_trouble(b->disk, EIO, 1);
        assert_int_equal(fdatasync(b->fd), -1);
        assert_int_equal(errno, EIO);
        disk_trouble(b->disk, 0, 0);
        assert_int_equal(fdatasync(b->fd), 0); /* which says nothing about that page */
        assert_int_equal(disk_counts(b->disk).syncs_failed, 1);
        lost += disk_power_cut(b->disk) == 1;
        box_free(b);
    }
    assert_true(lost > 0);
}

static void a_full_disk_takes_what_needs_no_room_and_recovers(void **state)
{
    (void)state;
    struct box *b = box_new(1);
    put(b, 0, 'a');
    disk_trouble(b->disk, ENOSPC, 1);
    put(b, 0, 'b');
    assert_int_equal(pwrite(b->fd, "x", 1, 4096), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(ftruncate(b->fd, 8192), -1);
    assert_int_equal(posix_fallocate(b->fd, 0, 8192), ENOSPC);
    assert_int_equal(lseek(b->fd, 4096, SEEK_SET), 4096);
    assert_int_equal(write(b->fd, "x", 1), -1);
    assert_int_equal(fdatasync(b->fd), 0);
    assert_int_equal(disk_counts(b->disk).full, 4);
    disk_trouble(b->disk, 0, 0);
    put(b, 1, 'c');
    box_free(b);
}

static void without_a_disk_in_use_nothing_fails(void **state)
{
    (void)state;
    struct box *b = box_new(1);
    disk_trouble(b->disk, EIO, 1);
    assert_ptr_equal(disk_use(NULL), b->disk);
    put(b, 0, 'a');
    assert_int_equal(fsync(b->fd), 0);
    assert_int_equal(disk_power_cut(b->disk), 0);
    box_free(b);
}

/* The window of a disk that is well, then the kernel: the same bytes, the same place behind. */
static void writev_leaves_the_place_behind_what_it_wrote(void **state)
{
    (void)state;
    struct box *b = box_new(1);
    struct disk *well = disk_new(1, false);
    char text[] = "abcd";
    struct iovec parts[] = {{text, 2}, {text + 2, 2}};
    char got[9] = "";
    disk_use(well);
    put(b, 0, 'y'); /* makes the file longer, which is the kernel's */
    put(b, 0, 'z'); /* through the window, which stays open */
    for (int round = 0; round < 2; round++) {
        assert_int_equal(lseek(b->fd, 10, SEEK_SET), 10);
        assert_int_equal(writev(b->fd, parts, 2), 4);
        assert_int_equal(writev(b->fd, parts, 2), 4);
        assert_int_equal(lseek(b->fd, 0, SEEK_CUR), 18);
        assert_int_equal(pread(b->fd, got, 8, 10), 8);
        assert_string_equal(got, "abcdabcd");
        put(b, 0, 'z');
        disk_trouble(well, EIO, 0); /* looked at, and let through */
    }
    box_free(b);
    disk_free(well);
}

/* What the window keeps of a descriptor ends with it, and is told to the kernel before that reads.
 */
static void a_well_disk_follows_its_descriptors(void **state)
{
    (void)state;
    struct box *b = box_new(1);
    struct disk *well = disk_new(1, false);
    char other_path[] = "/dev/shm/test_disk.XXXXXX";
    struct iovec part = {(char[]){"ab"}, 2};
    char c = 0;
    disk_use(well);
    put(b, 0, 'y');
    put(b, 1, 'y');
    put(b, 1, 'z');
    assert_int_equal(lseek(b->fd, 4100, SEEK_SET), 4100);
    assert_int_equal(read(b->fd, &c, 1), 1);
    assert_int_equal(c, 'z');
    assert_int_equal(lseek(b->fd, 4096, SEEK_SET), 4096);
    assert_int_equal(writev(b->fd, &part, 1), 2);
    assert_int_equal(write(b->fd, "c", 1), 1);
    assert_int_equal(pread(b->fd, &c, 1, 4098), 1);
    assert_int_equal(c, 'c');
    assert_int_equal(ftruncate(b->fd, 4096), 0);
    put(b, 1, 'x'); /* not into what was cut off */
    assert_int_equal(get(b, 1), 'x');
    int number = b->fd;
    close(b->fd);
    int other = mkstemp(other_path);
    unlink(other_path);
    assert_int_equal(other, number);
    assert_int_equal(ftruncate(other, 8192), 0);
    put(b, 0, 'o');
    assert_int_equal(get(b, 0), 'o');
    int old = open(b->path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(old, &c, 1, 17), 1);
    assert_int_equal(c, 'y');
    close(old);
    box_free(b);
    disk_free(well);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_survives_every_power_cut),
        cmocka_unit_test(what_was_not_synced_goes_back_page_by_page),
        cmocka_unit_test(a_synchronous_write_and_a_process_that_only_dies_lose_nothing),
        cmocka_unit_test(a_synchronous_write_takes_along_what_its_page_had_before),
        cmocka_unit_test(a_page_whose_sync_failed_is_not_written_by_the_next_one),
        cmocka_unit_test(a_full_disk_takes_what_needs_no_room_and_recovers),
        cmocka_unit_test(without_a_disk_in_use_nothing_fails),
        cmocka_unit_test(writev_leaves_the_place_behind_what_it_wrote),
        cmocka_unit_test(a_well_disk_follows_its_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
