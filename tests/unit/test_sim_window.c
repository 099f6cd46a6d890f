/*
 * test_sim_window.c - a write through a window is where a write is, or it is left to the kernel.
 */
#include "sim/window.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096

/* A file of some pages of zeros without a name. */
static int file_of(off_t pages)
{
    char path[] = "/tmp/test_sim_window.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(ftruncate(fd, pages * PAGE), 0);
    return fd;
}

/* What disk.c does in the place of close. */
static void end(int fd)
{
    window_forget(fd);
    close(fd);
}

static bool put(int fd, const char *text, off_t at)
{
    struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
    return window_write(fd, &part, 1, at);
}

static void assert_there(int fd, const char *text, off_t at)
{
    char got[64] = "";
    assert_int_equal(pread(fd, got, strlen(text), at), strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void parts_are_written_one_behind_the_other(void **state)
{
    int fd = file_of(2);
    char text[] = "abcde";
    struct iovec parts[] = {{text, 2}, {text, 0}, {text + 2, 3}};
    (void)state;
    assert_true(window_write(fd, parts, 3, PAGE - 2));
    assert_there(fd, "abcde", PAGE - 2);
    assert_true(put(fd, "last", 2 * PAGE - 4));
    assert_there(fd, "last", 2 * PAGE - 4);
    end(fd);
}

static void what_would_make_the_file_longer_is_left_alone(void **state)
{
    int fd = file_of(1);
    (void)state;
    assert_false(put(fd, "xy", PAGE - 1));
    assert_int_equal(lseek(fd, 0, SEEK_END), PAGE);
    char last = 1;
    assert_int_equal(pread(fd, &last, 1, PAGE - 1), 1);
    assert_int_equal(last, 0);
    end(fd);
}

static void a_file_is_followed_as_it_grows_and_shrinks(void **state)
{
    int fd = file_of(1);
    (void)state;
    assert_true(put(fd, "one", 0));
    assert_int_equal(ftruncate(fd, 5 << 20), 0); /* beyond the first mapping */
    assert_true(put(fd, "far", (5 << 20) - 3));
    assert_there(fd, "far", (5 << 20) - 3);
    window_forget(fd);
    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_false(put(fd, "far", (5 << 20) - 3));
    assert_true(put(fd, "two", 0));
    assert_there(fd, "two", 0);
    end(fd);
}

static void a_descriptor_that_means_another_file_writes_to_that_one(void **state)
{
    int first = file_of(1);
    int second = file_of(1);
    int again = dup(first);
    (void)state;
    assert_true(put(first, "first", 0));
    window_forget(first);
    assert_int_equal(dup2(second, first), first);
    assert_true(put(first, "other", 0));
    assert_there(second, "other", 0);
    assert_there(again, "first", 0);
    end(first);
    end(second);
    end(again);
}

/* LMDB's meta pages. */
static void a_descriptor_for_writing_only_writes_too(void **state)
{
    int fd = file_of(1);
    char path[64];
    (void)state;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int write_only = open(path, O_WRONLY | O_DSYNC | O_CLOEXEC);
    assert_true(write_only >= 0);
    assert_true(put(write_only, "meta", 7));
    assert_there(fd, "meta", 7);
    end(write_only);
    end(fd);
}

static void what_is_no_file_is_left_alone(void **state)
{
    int pipes[2];
    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_false(put(pipes[1], "x", 0));
    assert_false(put(-1, "x", 0));
    assert_false(put(1 << 20, "x", 0));
    assert_false(window_seek(pipes[1], 0));
    close(pipes[0]);
    close(pipes[1]);
}

static void a_position_is_kept_until_the_kernel_needs_it(void **state)
{
    int fd = file_of(2);
    char text[] = "run";
    struct iovec part = {text, 3};
    (void)state;
    assert_false(window_seek(fd, 5)); /* nothing is mapped */
    assert_false(window_write_here(fd, &part, 1));
    assert_true(put(fd, "x", 0));
    assert_true(window_seek(fd, 5));
    assert_true(window_write_here(fd, &part, 1));
    assert_true(window_write_here(fd, &part, 1));
    assert_there(fd, "runrun", 5);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    window_settle(fd);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 11);
    assert_false(window_write_here(fd, &part, 1)); /* the kernel may have moved it since */
    assert_true(window_seek(fd, 2 * PAGE - 2));
    assert_false(window_write_here(fd, &part, 1)); /* beyond the end */
    window_settle(fd);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 2 * PAGE - 2);
    end(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_written_one_behind_the_other),
        cmocka_unit_test(what_would_make_the_file_longer_is_left_alone),
        cmocka_unit_test(a_file_is_followed_as_it_grows_and_shrinks),
        cmocka_unit_test(a_descriptor_that_means_another_file_writes_to_that_one),
        cmocka_unit_test(a_descriptor_for_writing_only_writes_too),
        cmocka_unit_test(what_is_no_file_is_left_alone),
        cmocka_unit_test(a_position_is_kept_until_the_kernel_needs_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
