/*
 * test_log.c - lines of the log, read back from a file that stands in for stderr.
 */
#include "hf/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char path[64];
    int saved;
    char text[400000];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->path, sizeof(f->path), "/tmp/holdfast-log-XXXXXX");
    int fd = mkstemp(f->path);
    fcntl(fd, F_SETFL, O_APPEND);
    f->saved = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
    unsetenv("JOURNAL_STREAM");
    hf_log_init(HF_LEVEL_INFO);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    dup2(f->saved, STDERR_FILENO);
    close(f->saved);
    unlink(f->path);
    free(f);
    return 0;
}

static const char *logged(struct fixture *f)
{
    FILE *in = fopen(f->path, "r");
    size_t n = fread(f->text, 1, sizeof(f->text) - 1, in);
    f->text[n] = '\0';
    fclose(in);
    return f->text;
}

static void a_line_has_utc_time_level_and_text(void **state)
{
    struct fixture *f = *state;
    int year = 0;
    int rest = 0;
    hf_log(HF_LEVEL_WARN, "store: put seq=%d failed: %s", 812, "no space");
    const char *line = logged(f);
    assert_int_equal(sscanf(line, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ %n", &year, &rest), 1);
    assert_true(year >= 2024);
    assert_int_equal(rest, 25);
    assert_string_equal(line + rest, "warn store: put seq=812 failed: no space\n");
}

static void levels_below_the_lowest_are_silent(void **state)
{
    struct fixture *f = *state;
    hf_log(HF_LEVEL_DEBUG, "a: hidden");
    assert_string_equal(logged(f), "");
    hf_log_init(HF_LEVEL_DEBUG);
    hf_log(HF_LEVEL_DEBUG, "a: shown");
    assert_non_null(strstr(logged(f), " debug a: shown\n"));
    hf_log_init(HF_LEVEL_ERROR);
    hf_log(HF_LEVEL_WARN, "a: hidden");
    assert_null(strstr(logged(f), "hidden"));
}

static void control_bytes_cannot_forge_a_line_or_steer_a_terminal(void **state)
{
    struct fixture *f = *state;
    hf_log(HF_LEVEL_INFO, "a: %s", "x\n<0>forged\r\t\x1b[2J\x7f\xc2\x9b gr\xc3\xbc\xc3\x9f");
    assert_non_null(strstr(logged(f), "a: x?<0>forged???[2J??? gr\xc3\xbc\xc3\x9f\n"));
}

static void a_long_line_is_cut_at_1000_bytes(void **state)
{
    struct fixture *f = *state;
    char *text = malloc(5001);
    memset(text, 'x', 5000);
    text[5000] = '\0';
    hf_log(HF_LEVEL_INFO, "%s", text);
    free(text);
    size_t len = strlen(logged(f));
    assert_in_range(len, 990, 1000);
    assert_string_equal(logged(f) + len - 5, "x...\n");
}

static void the_journal_gets_a_level_and_no_time(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char name[64];
    fstat(STDERR_FILENO, &st);
    snprintf(name, sizeof(name), "%lu:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
    setenv("JOURNAL_STREAM", name, 1);
    hf_log_init(HF_LEVEL_DEBUG);
    hf_log(HF_LEVEL_ERROR, "a: e");
    hf_log(HF_LEVEL_WARN, "a: w");
    hf_log(HF_LEVEL_INFO, "a: i");
    hf_log(HF_LEVEL_DEBUG, "a: d");
    assert_string_equal(logged(f), "<3>a: e\n<4>a: w\n<6>a: i\n<7>a: d\n");
}

static void a_journal_that_is_not_our_stderr_changes_nothing(void **state)
{
    struct fixture *f = *state;
    setenv("JOURNAL_STREAM", "1:2", 1);
    hf_log_init(HF_LEVEL_INFO);
    hf_log(HF_LEVEL_INFO, "a: i");
    assert_non_null(strstr(logged(f), "Z info a: i\n"));
}

static void errno_is_kept(void **state)
{
    (void)state;
    errno = ENOSPC;
    hf_log(HF_LEVEL_INFO, "a: b");
    assert_int_equal(errno, ENOSPC);
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        hf_log(HF_LEVEL_INFO, "t: %s", (const char *)arg);
    }
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    struct fixture *f = *state;
    char word[3][64];
    pthread_t t[3];
    for (int i = 0; i < 3; i++) {
        memset(word[i], 'a' + i, 60);
        word[i][60] = '\0';
        pthread_create(&t[i], NULL, log_many, word[i]);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
    }
    size_t lines = 0;
    logged(f);
    for (char *line = strtok(f->text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        const char *at = strstr(line, "t: ");
        assert_non_null(at);
        assert_int_equal(strlen(at + 3), 60);
        assert_int_equal(strspn(at + 3, (char[]){at[3], 0}), 60);
        lines++;
    }
    assert_int_equal(lines, 3000);
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(a_line_has_utc_time_level_and_text),
        LOG_TEST(levels_below_the_lowest_are_silent),
        LOG_TEST(control_bytes_cannot_forge_a_line_or_steer_a_terminal),
        LOG_TEST(a_long_line_is_cut_at_1000_bytes),
        LOG_TEST(the_journal_gets_a_level_and_no_time),
        LOG_TEST(a_journal_that_is_not_our_stderr_changes_nothing),
        LOG_TEST(errno_is_kept),
        LOG_TEST(lines_of_several_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
