/*
 * test_spare.c - the next segment's file, and the thread that makes it.
 *
 * What becomes of a spare in a log is in test_changelog.c.
 */
#include "proto/store/spare.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES 65536u

struct fixture {
    char dir[64];
    int dirfd;
    struct hf_spare *spare;
    cpu_set_t all;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/holdfast-spare.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->dirfd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->dirfd >= 0);
    assert_int_equal(sched_getaffinity(0, sizeof(f->all), &f->all), 0);
    f->spare = hf_spare_new(f->dirfd, BYTES, true);
    assert_non_null(f->spare);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    hf_spare_free(f->spare);
    assert_int_equal(sched_setaffinity(0, sizeof(f->all), &f->all), 0);
    close(f->dirfd);
    assert_int_equal(rmdir(f->dir), 0); /* nothing is left in it */
    free(f);
    return 0;
}

static void take(struct fixture *f, uint64_t bytes, const char *name, uint64_t size)
{
    int fd = -1;
    uint64_t got = 0;
    const char *called = "";
    struct stat st;
    assert_int_equal(hf_spare_take(f->spare, bytes, &fd, &got, &called), HF_OK);
    assert_string_equal(called, name);
    assert_int_equal(got, size);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, size);
    close(fd);
    assert_int_equal(unlinkat(f->dirfd, name, 0), 0);
}

static void one_that_was_wanted_is_taken_and_another_can_be_wanted(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        hf_spare_want(f->spare);
        hf_spare_want(f->spare); /* there is one at most */
        take(f, BYTES, HF_SPARE_NAME, BYTES);
        assert_true(hf_spare_empty(f->spare));
    }
}

static void one_that_is_too_small_or_was_not_wanted_is_made_on_the_spot(void **state)
{
    struct fixture *f = *state;
    take(f, BYTES, HF_FRESH_NAME, BYTES);
    hf_spare_want(f->spare);
    take(f, 2 * BYTES, HF_FRESH_NAME, 2 * BYTES);
    take(f, BYTES, HF_SPARE_NAME, BYTES);
}

static void one_that_nobody_took_goes_with_it(void **state)
{
    struct fixture *f = *state;
    hf_spare_want(f->spare);
}

/* How many threads there are beside the caller's; each of them may run everywhere. */
static int free_threads(const struct fixture *f)
{
    DIR *d = opendir("/proc/self/task");
    struct dirent *e;
    int count = 0;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        cpu_set_t set;
        pid_t thread = (pid_t)atoi(e->d_name);
        if (thread > 0 && thread != gettid()) {
            assert_int_equal(sched_getaffinity(thread, sizeof(set), &set), 0);
            assert_true(CPU_EQUAL(&set, &f->all));
            count++;
        }
    }
    closedir(d);
    return count;
}

static void a_writer_that_is_bound_to_a_processor_does_not_bind_the_thread(void **state)
{
    struct fixture *f = *state;
    cpu_set_t one;
    if (CPU_COUNT(&f->all) < 2) {
        skip();
    }
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    hf_spare_want(f->spare);
    assert_true(free_threads(f) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        BOXED(one_that_was_wanted_is_taken_and_another_can_be_wanted),
        BOXED(one_that_is_too_small_or_was_not_wanted_is_made_on_the_spot),
        BOXED(one_that_nobody_took_goes_with_it),
        BOXED(a_writer_that_is_bound_to_a_processor_does_not_bind_the_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
