/*
 * test_vouch.c - when the check of all pages at an open is left out, and when it is not.
 *
 * Each store here has a branch page that is damaged while it is open, which nothing but that check
 * finds: an open that succeeds has left it out.
 */
#include "state_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEYS 1000u
#define TICK_US 20000u /* the kernel stamps files by its tick, of 10 ms at most */

static void damaged_store(struct store *b)
{
    hf_seq seq = hf_state_position(b->s).seq + 1;
    for (uint32_t i = 0; i < KEYS; i++) {
        char name[32];
        struct hf_change c = {HF_OP_PUT, key_of(name, i), hf_slice_str("v")};
        assert_ok(hf_state_apply(b->s, seq, i, &c));
    }
    advance(b->s);
    assert_ok(hf_state_commit(b->s));
    assert_true(damage_branches(b->dir, 1) > 1);
    usleep(TICK_US);
}

static enum hf_err open_again(struct store *b)
{
    struct hf_state_config c = {.dir = b->dir, .map_bytes = 1u << 30};
    struct hf_error e = {HF_OK, ""};
    return hf_state_open(&c, &b->s, &e);
}

static void end(struct store *b, bool vouch)
{
    if (vouch) {
        hf_state_vouch(b->s);
    }
    hf_state_close(b->s);
    b->s = NULL;
}

static void file_that_nobody_touched_since_a_clean_end_is_not_checked(void **state)
{
    struct store *b = *state;
    damaged_store(b);
    end(b, true);
    assert_ok(open_again(b));
}

static void word_is_believed_once(void **state)
{
    struct store *b = *state;
    damaged_store(b);
    end(b, true);
    assert_ok(open_again(b));
    end(b, false); /* as by a crash */
    assert_int_equal(open_again(b), HF_CORRUPT);
}

static void without_it_all_pages_are_checked(void **state)
{
    struct store *b = *state;
    damaged_store(b);
    end(b, false);
    assert_int_equal(open_again(b), HF_CORRUPT);
}

static void commit_voids_it(void **state)
{
    struct store *b = *state;
    damaged_store(b);
    hf_state_vouch(b->s);
    assert_ok(hf_state_object_put(b->s, hf_slice_str("name"), hf_slice_str("bytes")));
    assert_ok(hf_state_commit(b->s));
    end(b, false);
    assert_int_equal(open_again(b), HF_CORRUPT);
}

/* Even one that changes nothing, and puts the times back that can be put back. */
static void write_by_anybody_voids_it(void **state)
{
    struct store *b = *state;
    struct stat st;
    char path[256];
    uint8_t byte;
    damaged_store(b);
    end(b, true);
    snprintf(path, sizeof(path), "%s/data.mdb", b->dir);
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, 100), 1);
    assert_int_equal(pwrite(fd, &byte, 1, 100), 1);
    assert_int_equal(futimens(fd, (struct timespec[2]){st.st_atim, st.st_mtim}), 0);
    close(fd);
    assert_int_equal(open_again(b), HF_CORRUPT);
}

static void another_boot_voids_it(void **state)
{
    struct store *b = *state;
    char path[256];
    damaged_store(b);
    end(b, true);
    snprintf(path, sizeof(path), "%s/sound", b->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char digit;
    assert_int_equal(pread(fd, &digit, 1, 0), 1);
    digit = digit == '0' ? '1' : '0';
    assert_int_equal(pwrite(fd, &digit, 1, 0), 1);
    close(fd);
    assert_int_equal(open_again(b), HF_CORRUPT);
}

static void half_a_line_is_no_word(void **state)
{
    struct store *b = *state;
    char path[256];
    struct stat st;
    damaged_store(b);
    end(b, true);
    snprintf(path, sizeof(path), "%s/sound", b->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 1), 0);
    assert_int_equal(open_again(b), HF_CORRUPT);
}

static void store_that_was_reopened_after_an_error_is_not_vouched_for(void **state)
{
    struct store *b = *state;
    struct hf_error e = {HF_OK, ""};
    damaged_store(b);
    assert_ok(hf_state_reopen(b->s, &e));
    end(b, true);
    assert_int_equal(open_again(b), HF_CORRUPT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(file_that_nobody_touched_since_a_clean_end_is_not_checked),
        T(word_is_believed_once),
        T(without_it_all_pages_are_checked),
        T(commit_voids_it),
        T(write_by_anybody_voids_it),
        T(another_boot_voids_it),
        T(half_a_line_is_no_word),
        T(store_that_was_reopened_after_an_error_is_not_vouched_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
