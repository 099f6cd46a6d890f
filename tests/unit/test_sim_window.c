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
    close(fd);
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
    close(fd);
}

static void a_file_is_followed_as_it_grows_and_shrinks(void **state)
{
    int fd = file_of(1);
    (void)state;
    assert_true(put(fd, "one", 0));
    assert_int_equal(ftruncate(fd, 5 << 20), 0); /* beyond the first mapping */
    assert_true(put(fd, "far", (5 << 20) - 3));
    assert_there(fd, "far", (5 << 20) - 3);
    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_false(put(fd, "far", (5 << 20) - 3));
    assert_true(put(fd, "two", 0));
    assert_there(fd, "two", 0);
    close(fd);
}

static void a_descriptor_that_means_another_file_writes_to_that_one(void **state)
{
    int first = file_of(1);
    int second = file_of(1);
    int again = dup(first);
    (void)state;
    assert_true(put(first, "first", 0));
    assert_int_equal(dup2(second, first), first);
    assert_true(put(first, "other", 0));
    assert_there(second, "other", 0);
    assert_there(again, "first", 0);
    close(first);
    close(second);
    close(again);
}

static void what_cannot_be_mapped_is_left_alone(void **state)
{
    int fd = file_of(1);
    char path[64];
    int pipes[2];
    (void)state;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int write_only = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(write_only >= 0);
    assert_false(put(write_only, "x", 0));
    assert_false(put(write_only, "x", 0));
    assert_int_equal(pipe(pipes), 0);
    assert_false(put(pipes[1], "x", 0));
    assert_false(put(-1, "x", 0));
    close(pipes[0]);
    close(pipes[1]);
    close(write_only);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_written_one_behind_the_other),
        cmocka_unit_test(what_would_make_the_file_longer_is_left_alone),
        cmocka_unit_test(a_file_is_followed_as_it_grows_and_shrinks),
        cmocka_unit_test(a_descriptor_that_means_another_file_writes_to_that_one),
        cmocka_unit_test(what_cannot_be_mapped_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
