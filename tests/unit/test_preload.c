/*
 * test_preload.c - libholdfast-faults.so: what counts, and what happens to a call that does.
 *
 * The program runs itself under the library, with a fixed sequence of calls, and looks at how that
 * ended. Position 1 is the open of a file, 2 and 3 are writes, 4 a sync, 5 a rename, 6 an unlink;
 * reads, a pipe and a file outside the directory lie between and must not count.
 */
#include "sim/preload/faults.h"
#include "sim/preload/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALLS 6
static char box[64], self[512], library[512];
static struct hf_faults *page;

/* ---- in the child ---- */

/* Returns how many of its calls failed, plus 100 for an error that is not the one asked for. */
static int act(const char *dir)
{
    char path[600], to[600], outside[600], byte;
    struct iovec iov[2] = {{(void *)(uintptr_t) "cc", 2}, {(void *)(uintptr_t) "dd", 2}};
    int failed = 0, pipe_fd[2];
#define COUNT(call) failed += (call) >= 0 ? 0 : errno == EIO || errno == EBADF ? 1 : 101

    snprintf(path, sizeof path, "%s/counted/file", dir);
    snprintf(to, sizeof to, "%s/counted/renamed", dir);
    snprintf(outside, sizeof outside, "%s/counted-not", dir);
    int other = open(outside, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    COUNT(fd);
    failed += pipe(pipe_fd) != 0 || write(pipe_fd[1], "x", 1) != 1 || write(other, "x", 1) != 1 ||
                      fsync(other) != 0
                  ? 100
                  : 0;
    COUNT(pwrite(fd, "aabb", 4, 0));
    COUNT(writev(fd, iov, 2));
    failed += pread(other, &byte, 1, 0) != 1 ? 100 : 0;
    COUNT(fdatasync(fd));
    COUNT(rename(path, to));
    COUNT(unlink(to));
    return failed;
}

static int as_child(char **argv)
{
    if (strcmp(argv[1], "clock") == 0) {
        return time(NULL) > 4000000000 ? 0 : 1;
    }
    return act(argv[2]);
}

/* ---- the parent ---- */

static int run(const char *what)
{
    char dir[128], page_path[128];
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        snprintf(dir, sizeof dir, "%s/counted", box);
        snprintf(page_path, sizeof page_path, "%s/page", box);
        setenv("LD_PRELOAD", library, 1);
        setenv("HF_FAULTS_DIR", dir, 1);
        setenv("HF_FAULTS_PAGE", page_path, 1);
        execl(self, self, what, box, (char *)NULL);
        _exit(126);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static off_t size_of(const char *name)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof path, "%s/counted/%s", box, name);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static int set_up(void **state)
{
    char path[128];
    (void)state;
    memset((void *)page, 0, sizeof *page);
    page->set = 1;
    snprintf(path, sizeof path, "%s/counted/file", box);
    unlink(path);
    snprintf(path, sizeof path, "%s/counted/renamed", box);
    unlink(path);
    return 0;
}

static void only_changes_below_the_directory_count(void **state)
{
    (void)state;
    assert_int_equal(run("act"), 0);
    assert_int_equal(page->calls, CALLS);
    assert_int_equal(page->failed, 0);
    assert_int_equal(size_of("renamed"), -1);
}

static void kill_comes_in_place_of_the_call(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= CALLS; n++) {
        set_up(NULL);
        page->kill_at = n;
        assert_int_equal(run("act"), -SIGKILL);
        assert_int_equal(page->calls, n);
        assert_int_equal(size_of("file"), n == 1 || n == 6 ? -1 : n == 2 ? 0 : 4);
        assert_int_equal(size_of("renamed"), n == 6 ? 4 : -1);
    }
    page->calls = 0;
    page->kill_at = CALLS + 1;
    assert_int_equal(run("act"), 0);
}

static void kill_can_let_half_of_a_write_through(void **state)
{
    (void)state;
    page->kill_at = 2;
    page->kill_half = 1;
    assert_int_equal(run("act"), -SIGKILL);
    assert_int_equal(size_of("file"), 2);
}

static void one_call_fails_or_all_from_it_on(void **state)
{
    (void)state;
    for (uint64_t n = 2; n <= CALLS; n++) {
        set_up(NULL);
        page->error_at = n;
        page->error = EIO;
        /* A failed rename leaves nothing to unlink under the new name. */
        assert_int_equal(run("act"), n == 5 ? 1 + 101 : 1);
        assert_int_equal(page->failed, 1);
        set_up(NULL);
        page->error_at = n;
        page->error = EIO;
        page->error_stays = 1;
        assert_int_equal(run("act"), (int)(CALLS - n + 1));
    }
}

static void syncs_can_be_slow_or_left_out(void **state)
{
    struct timespec a, b;
    (void)state;
    page->slow_ms = 300;
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(run("act"), 0);
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_true((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= 300);
    set_up(NULL);
    page->nosync = 1;
    assert_int_equal(run("act"), 0);
    assert_int_equal(page->calls, CALLS);
}

static void the_wall_clock_is_shifted(void **state)
{
    (void)state;
    assert_int_equal(run("clock"), 1);
    page->clock_ns = INT64_C(3000000000) * 1000000000;
    assert_int_equal(run("clock"), 0);
}

static void make_box(void)
{
    char path[128];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    assert_true(n > 0);
    strcpy(library, self);
    for (int up = 0; up < 3; up++) {
        *strrchr(library, '/') = '\0';
    }
    strcat(library, "/libholdfast-faults.so");
    strcpy(box, "/tmp/holdfast-preload.XXXXXX");
    assert_non_null(mkdtemp(box));
    snprintf(path, sizeof path, "%s/counted", box);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/page", box);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, sizeof *page), 0);
    page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(page != MAP_FAILED);
    close(fd);
}

static void remove_box(void)
{
    static const char *const names[] = {
        "counted/file", "counted/renamed", "counted", "counted-not", "page", ""};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];

        snprintf(path, sizeof path, "%s/%s", box, names[i]);
        remove(path);
    }
}

/* Each line of `expected` is one record: kind, names, at, bytes, and what was written. */
static void what_has_happened_is_on_record(void **state)
{
    static const char *const expected[] = {"6 file 0 0 ", "1 file 0 4 aabb",     "1 file 0 4 ccdd",
                                           "5 file 0 0 ", "7 file>renamed 0 0 ", "8 renamed 0 0 "};
    char path[128], got[4096];
    struct hf_recorded r;
    (void)state;
    snprintf(path, sizeof path, "%s/record", box);
    setenv("HF_FAULTS_RECORD", path, 1);
    assert_int_equal(run("act"), 0);
    unsetenv("HF_FAULTS_RECORD");
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    long sync_from = 0;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        char name[64] = "", bytes[64] = "";
        long from = ftell(f);
        assert_int_equal(fread(&r, sizeof r, 1, f), 1);
        assert_int_equal(fread(name, 1, r.name_bytes, f), r.name_bytes);
        if (r.kind == HF_RECORDED_RENAME) {
            name[strlen(name)] = '>';
        }
        if (r.kind == HF_RECORDED_WRITE) {
            assert_int_equal(fread(bytes, 1, r.bytes, f), r.bytes);
        }
        if (r.kind == HF_RECORDED_SYNC) {
            sync_from = from;
            assert_int_equal(r.covers, sync_from); /* all that was there */
        }
        snprintf(got, sizeof got, "%u %s %llu %llu %s", r.kind, name, (unsigned long long)r.at,
                 (unsigned long long)r.bytes, bytes);
        assert_string_equal(got, expected[i]);
    }
    assert_true(sync_from > 0);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
    unlink(path);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(only_changes_below_the_directory_count, set_up),
        cmocka_unit_test_setup(kill_comes_in_place_of_the_call, set_up),
        cmocka_unit_test_setup(kill_can_let_half_of_a_write_through, set_up),
        cmocka_unit_test_setup(one_call_fails_or_all_from_it_on, set_up),
        cmocka_unit_test_setup(syncs_can_be_slow_or_left_out, set_up),
        cmocka_unit_test_setup(the_wall_clock_is_shifted, set_up),
        cmocka_unit_test_setup(what_has_happened_is_on_record, set_up),
    };

    if (argc > 1) {
        return as_child(argv);
    }
    make_box();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_box();
    return failed;
}
