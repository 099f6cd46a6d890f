/*
 * test_meta_page.c - the write of a meta page, LMDB's last step of a commit: it fails, or the
 * process ends right behind it.
 */
#include "state_fixture.h"

#include "proto/store/state_impl.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- it fails ---- */

/* LMDB writes meta pages through a descriptor of their own, opened with O_DSYNC. Afterwards this
 * one can only be read. */
static void break_meta_writes(void)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int broken = 0;
    for (int fd = 3; fd < 64; fd++) {
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && (flags & O_DSYNC) != 0) {
            assert_int_equal(dup2(null, fd), fd);
            broken++;
        }
    }
    assert_int_equal(broken, 1);
    close(null);
}

static void *read_a(void *arg)
{
    assert_shows(arg, "a", "1");
    return arg;
}

static void read_beside(struct hf_state *s)
{
    pthread_t thread;
    void *good = NULL;
    assert_int_equal(pthread_create(&thread, NULL, read_a, s), 0);
    assert_int_equal(pthread_join(thread, &good), 0);
    assert_non_null(good);
}

/* Then LMDB lets nobody begin to read, and at the end of a file system nothing can be opened. */
static void fail_and_read(struct store *b)
{
    struct hf_view *old, *second;
    struct hf_stored r;
    struct hf_error e = {HF_OK, ""};
    assert_ok(hf_view_open(b->s, &old));
    hf_view_reset(old);
    write_one(b->s, "a", "2");
    break_meta_writes();
    hide_data(b, true);
    assert_int_equal(hf_state_commit(b->s), HF_IO);
    read_beside(b->s); /* the writer has not reopened yet, and may take its time */
    /* Its own duties are as before: abort, reopen, and nothing is written in between. */
    assert_int_equal(hf_state_commit(b->s), HF_IO);
    hf_state_abort(b->s);
    assert_int_equal(hf_state_begin(b->s), HF_IO);
    assert_int_equal(hf_state_reopen(b->s, &e), HF_IO);
    hide_data(b, false);
    read_beside(b->s);
    for (int i = 0; i < 2; i++) { /* over and over, and two views of one thread */
        assert_ok(hf_view_renew(old));
        assert_ok(next_live(old, hf_slice_of(NULL, 0), &r));
        assert_ok(hf_view_open(b->s, &second));
        assert_ok(hf_view_get(second, hf_slice_str("a"), false, &r));
        assert_true(hf_slice_eq(r.value, hf_slice_str("1")));
        hf_view_close(second);
        assert_ok(hf_view_get(old, hf_slice_str("a"), false, &r));
        hf_view_reset(old);
    }
    read_beside(b->s);
    assert_ok(hf_state_reopen(b->s, &e));
    hf_view_close(old);
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    read_beside(b->s);
}

static void readers_do_not_notice_a_failed_write_of_the_meta_page(void **state)
{
    struct store *b = *state;
    struct hf_error e = {HF_OK, ""};
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    fail_and_read(b);
    assert_ok(hf_state_reopen(b->s, &e)); /* the first commit since the store was opened */
    fail_and_read(b);
    assert_ok(hf_state_grow(b->s));
    fail_and_read(b);
}

/* ---- a writer that was killed ---- */

static bool die_after_meta;

/* LMDB's: the process ends between the write of a meta page and the note of it in shared memory. */
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    ssize_t written = syscall(SYS_pwrite64, fd, bytes, n, at);
    if (die_after_meta && (fcntl(fd, F_GETFL) & O_DSYNC) != 0) {
        kill(getpid(), SIGKILL);
    }
    return written;
}

static void say(int fd)
{
    assert_int_equal(write(fd, "", 1), 1);
}

static void hear(int fd)
{
    char c;
    assert_int_equal(read(fd, &c, 1), 1);
}

/* Until `fd` ends. */
static void read_from_outside(const char *dir, int ready, int fd)
{
    MDB_env *env;
    char c;
    if (mdb_env_create(&env) != 0 || mdb_env_open(env, dir, MDB_RDONLY, 0600) != 0) {
        _exit(1);
    }
    say(ready);
    _exit(read(fd, &c, 1) == 0 ? 0 : 1);
}

/* One that is looked at from outside, by mdb_stat or so, keeps the shared memory of the process
 * that was killed: LMDB makes that right when it takes the lock of the dead writer. */
static void a_store_with_a_reader_from_outside_survives_a_kill(void **state)
{
    struct store *b = *state;
    int ready[2], go[2], stay[2], status;
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(stay), 0);
    pid_t writer = fork();
    if (writer == 0) {
        b->s = open_store(b->dir);
        write_one(b->s, "a", "2");
        say(ready[1]);
        hear(go[0]);
        die_after_meta = true;
        (void)hf_state_commit(b->s);
        _exit(1);
    }
    hear(ready[0]);
    pid_t reader = fork();
    if (reader == 0) {
        close(stay[1]);
        read_from_outside(b->dir, ready[1], stay[0]);
    }
    hear(ready[0]);
    say(go[1]);
    assert_true(waitpid(writer, &status, 0) == writer && WIFSIGNALED(status));
    b->s = open_store(b->dir);
    write_one(b->s, "a", "3");
    assert_ok(hf_state_commit(b->s));
    assert_shows(b->s, "a", "3");
    close(stay[1]);
    assert_true(waitpid(reader, &status, 0) == reader);
    int ends[] = {stay[0], go[0], go[1], ready[0], ready[1]};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        close(ends[i]);
    }
}

#define IN_STORE(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_STORE(readers_do_not_notice_a_failed_write_of_the_meta_page),
        IN_STORE(a_store_with_a_reader_from_outside_survives_a_kill),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
