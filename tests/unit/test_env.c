/*
 * test_env.c - the store's environment: damage, truncation, locks, full maps and disks, reopening.
 *
 * Damage is done to the data file of a closed store. The full disk is a small tmpfs in a mount
 * namespace of this process, so it needs root and is skipped otherwise; that test comes last
 * because the namespace stays.
 */
#include "state_fixture.h"

#include "hf/doctor.h"

#include "proto/store/state_impl.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>

static enum hf_err fill_batch(struct hf_state *s, uint32_t from, uint32_t n);

/* ---- damage ---- */

static void what_lmdb_says_of_its_own_pages_is_damage_and_no_failing_disk(void **state)
{
    static const int damage[] = {MDB_CORRUPTED, MDB_PAGE_NOTFOUND, MDB_INVALID,
                                 MDB_PAGE_FULL, MDB_CURSOR_FULL,   MDB_BAD_TXN};
    (void)state;
    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        assert_int_equal(hf_env_error(damage[i]), HF_CORRUPT);
    }
    assert_int_equal(hf_env_error(MDB_PANIC), HF_IO);
    assert_int_equal(hf_env_error(EIO), HF_IO);
    assert_int_equal(hf_env_error(ENOSPC), HF_FULL);
}

static void flipped_bit_is_found_when_the_record_is_read(void **state)
{
    struct store *b = *state;
    struct hf_stored r;
    struct hf_view *v;
    struct hf_error e = {HF_OK, ""};
    write_one(b->s, "good", "still fine");
    write_one(b->s, "bad", "precious value");
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    assert_true(damage(b->dir, "precious value", true) > 0);
    b->s = open_store(b->dir);
    assert_shows(b->s, "good", "still fine");
    assert_ok(hf_view_open(b->s, &v));
    assert_int_equal(hf_view_get(v, hf_slice_str("bad"), false, &r), HF_CORRUPT);
    assert_int_equal(hf_view_verify(v, &e), HF_DIGEST);
    assert_non_null(strstr(e.text, "626164")); /* "bad" */
    hf_view_close(v);
    struct hf_change c = put_of("bad", "new");
    assert_int_equal(hf_state_apply(b->s, 3, 0, &c), HF_CORRUPT);
}

#define BRANCH_KEYS 1000u

static void key_behind_a_damaged_branch_page_is_never_called_absent(void **state)
{
    struct store *b = *state;
    uint32_t refused = 0;
    assert_ok(fill_batch(b->s, 0, BRANCH_KEYS));
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    int places = damage_branches(b->dir, SIZE_MAX >> 1);
    assert_true(places > 2);
    for (size_t n = 0; n < (size_t)places; n++) {
        struct hf_view *v;
        struct hf_state_config c = {.dir = b->dir};
        struct hf_error e = {HF_OK, ""};
        b->s = open_store(b->dir);
        (void)damage_branches(b->dir, n);
        assert_ok(hf_view_open(b->s, &v));
        for (uint32_t i = 0; i < BRANCH_KEYS; i++) {
            char name[32];
            struct hf_stored r;
            enum hf_err got = hf_view_get(v, key_of(name, i), false, &r);
            assert_true(got == HF_OK || got == HF_CORRUPT);
            refused += got == HF_CORRUPT;
        }
        hf_view_close(v);
        hf_state_close(b->s);
        /* Met at a start, it is no state at all. */
        assert_int_equal(hf_state_open(&c, &b->s, &e), HF_CORRUPT);
        assert_non_null(strstr(e.text, "page "));
        (void)damage_branches(b->dir, n); /* the same bit again: as it was */
    }
    assert_true(refused > 0);
    b->s = open_store(b->dir);
    assert_verified(b->s);
}

/* The page in which LMDB looks for a table before anything else: its first look can be its last. */
static void damage_to_the_page_of_the_tables_is_found_before_lmdb_reads_it(void **state)
{
    struct store *b = *state;
    const off_t lower = 12; /* where its list of entries ends */
    uint8_t meta[2][4096];
    uint8_t bytes[2];
    uint64_t txn[2];
    uint64_t root;
    char path[256];
    assert_ok(fill_batch(b->s, 0, BRANCH_KEYS));
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    snprintf(path, sizeof(path), "%s/data.mdb", b->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, meta, sizeof(meta), 0), sizeof(meta));
    memcpy(&txn[0], meta[0] + 144, 8);
    memcpy(&txn[1], meta[1] + 144, 8);
    memcpy(&root, meta[txn[1] > txn[0]] + 128, 8);
    assert_int_equal(pread(fd, bytes, 2, (off_t)root * 4096 + lower), 2);
    for (unsigned bit = 0; bit < 16; bit++) {
        struct hf_state_config c = {.dir = b->dir};
        struct hf_error e = {HF_OK, ""};
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(pwrite(fd, bytes, 2, (off_t)root * 4096 + lower), 2);
        assert_int_equal(hf_state_open(&c, &b->s, &e), HF_CORRUPT);
        assert_non_null(strstr(e.text, "page "));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(pwrite(fd, bytes, 2, (off_t)root * 4096 + lower), 2);
    close(fd);
    b->s = open_store(b->dir);
    assert_verified(b->s);
}

static void damage_to_objects_inbox_and_position_is_found(void **state)
{
    struct store *b = *state;
    struct hf_slice bytes;
    struct hf_view *v;
    struct hf_error e = {HF_OK, ""};
    hf_seq seq;
    assert_ok(hf_state_object_put(b->s, hf_slice_str("genesis"), hf_slice_str("object bytes")));
    assert_ok(hf_state_inbox_put(b->s, 9, hf_slice_str("frame message")));
    write_one(b->s, "bad", "precious value");
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    assert_true(damage(b->dir, "precious value", true) > 0);
    assert_true(damage(b->dir, "object bytes", true) > 0);
    assert_true(damage(b->dir, "frame message", true) > 0);
    b->s = open_store(b->dir);
    assert_ok(hf_view_open(b->s, &v));
    assert_int_equal(hf_view_object(v, hf_slice_str("genesis"), &bytes), HF_CORRUPT);
    assert_int_equal(hf_view_inbox_next(v, 0, &seq, &bytes), HF_CORRUPT);
    assert_int_equal(hf_view_verify(v, &e), HF_CORRUPT); /* which is worse than the record */
    hf_view_close(v);
    hf_state_close(b->s);

    char epoch[5] = {(char)0xe9, 1, 2, 3, 0};
    assert_true(damage(b->dir, epoch, true) > 0);
    struct hf_state_config c = {.dir = b->dir, .map_bytes = 1 << 30};
    assert_int_equal(hf_state_open(&c, &b->s, &e), HF_CORRUPT);
    assert_non_null(strstr(e.text, "meta"));
}

static off_t data_size(const char *dir, char path[256])
{
    struct stat st;
    snprintf(path, 256, "%s/data.mdb", dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void truncated_file_is_refused_instead_of_killing_the_process(void **state)
{
    struct store *b = *state;
    char path[256];
    char value[3000];
    struct hf_error e = {HF_OK, ""};
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%d", i);
        write_one(b->s, key, value);
    }
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    struct hf_state_config c = {.dir = b->dir, .map_bytes = 1 << 30};
    off_t whole = data_size(b->dir, path);
    off_t cuts[] = {whole - 4096 * 8, whole / 2, 4096 * 2, 100, 0};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        assert_int_equal(truncate(path, cuts[i]), 0);
        assert_int_equal(hf_state_open(&c, &b->s, &e), HF_CORRUPT);
        assert_null(b->s);
        assert_non_null(strstr(e.text, "data.mdb"));
    }
}

/* LMDB may promise a last page that it never wrote, because it was free again by the commit. */
static void file_that_lacks_only_free_pages_is_opened_and_made_whole(void **state)
{
    struct store *b = *state;
    char path[256];
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    off_t whole = data_size(b->dir, path);
    int fd = open(path, O_RDWR);
    for (int i = 0; i < 2; i++) {
        uint64_t last = (uint64_t)whole / 4096; /* one page more than there is */
        assert_int_equal(pwrite(fd, &last, sizeof(last), 4096 * i + 136), sizeof(last));
    }
    close(fd);
    b->s = open_store(b->dir);
    assert_shows(b->s, "a", "1");
    assert_int_equal(data_size(b->dir, path), whole + 4096);
    write_one(b->s, "b", "2");
    assert_ok(hf_state_commit(b->s));
    assert_verified(b->s);
}

static void leftover_of_an_interrupted_creation_is_no_obstacle(void **state)
{
    char *dir = scratch_new();
    char path[256];
    (void)state;
    snprintf(path, sizeof(path), "%s/new", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/new/data.mdb", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "torn", 4), 4);
    close(fd);
    struct hf_state *s = open_store(dir);
    begin_history(s);
    assert_int_equal(access(path, F_OK), -1);
    hf_state_close(s);
    scratch_remove(dir);
    free(dir);
}

static void second_opener_is_told_who_has_it(void **state)
{
    struct store *b = *state;
    struct hf_state_config c = {.dir = b->dir, .map_bytes = 1 << 30};
    struct hf_state *second;
    struct hf_error e = {HF_OK, ""};
    char pid[32];
    assert_int_equal(hf_state_open(&c, &second, &e), HF_LOCKED);
    assert_null(second);
    snprintf(pid, sizeof(pid), "pid %ld", (long)getpid());
    assert_non_null(strstr(e.text, pid));
    pid_t child = fork();
    if (child == 0) {
        _exit(hf_state_open(&c, &second, &e) == HF_LOCKED ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    write_one(b->s, "a", "1"); /* and the first is none the worse for it */
    assert_ok(hf_state_commit(b->s));
    store_reopen(b);
}

/* Puts one entry into a table of a closed store, past all of the store's own care. */
static void raw_put(const char *dir, const char *table, MDB_val k, MDB_val v)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 16), 0);
    assert_int_equal(mdb_env_open(env, dir, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, table, 0, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void newer_format_is_refused_not_guessed(void **state)
{
    struct store *b = *state;
    uint8_t newer[4] = {HF_STATE_FORMAT + 1, 0, 0, 0};
    struct hf_error e = {HF_OK, ""};
    hf_state_close(b->s);
    raw_put(b->dir, "meta", (MDB_val){6, (void *)(uintptr_t) "format"}, (MDB_val){4, newer});
    struct hf_state_config c = {.dir = b->dir, .map_bytes = 1 << 30};
    assert_int_equal(hf_state_open(&c, &b->s, &e), HF_MISMATCH);
    assert_non_null(strstr(e.text, "format 3"));
}

static void index_entry_too_many_is_found_by_the_check(void **state)
{
    struct store *b = *state;
    uint8_t point[12] = {0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9};
    struct hf_error e = {HF_OK, ""};
    struct hf_stored r;
    struct hf_view *v;
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    hf_state_close(b->s);
    raw_put(b->dir, "byseq.0", (MDB_val){sizeof(point), point},
            (MDB_val){1, (void *)(uintptr_t) "a"});
    b->s = open_store(b->dir);
    assert_ok(hf_view_open(b->s, &v));
    assert_int_equal(hf_view_verify(v, &e), HF_DIGEST);
    assert_int_equal(hf_view_next_change(v, 1, 0, &r), HF_CORRUPT); /* and never served */
    hf_view_close(v);
}

/* ---- calls that fail ---- */

static int access_error; /* of all calls; 0: none fails */
static bool no_addresses;

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
int __wrap_access(const char *path, int mode)
{
    errno = access_error;
    return access_error != 0 ? -1 : __real_access(path, mode);
}

static bool no_processes, killed_at_once;

pid_t __real_fork(void);
pid_t __wrap_fork(void);
pid_t __wrap_fork(void)
{
    errno = EAGAIN;
    pid_t child = no_processes ? -1 : __real_fork();
    if (child == 0 && killed_at_once) {
        raise(SIGKILL); /* as by the kernel that has no memory left */
    }
    return child;
}

void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    errno = ENOMEM;
    return no_addresses ? MAP_FAILED : __real_mmap(at, len, prot, flags, fd, offset);
}

/* Whatever cannot be looked for may be there. */
static void a_store_that_cannot_be_found_is_not_made_anew(void **state)
{
    static const int errors[] = {ENOMEM, EIO, ESTALE, EACCES};
    struct store *b = *state;
    struct hf_state_config c = {.dir = b->dir, .map_bytes = 1 << 30};
    struct hf_error e = {HF_OK, ""};
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        hf_state_close(b->s);
        access_error = errors[i];
        enum hf_err opened = hf_state_open(&c, &b->s, &e);
        access_error = 0;
        assert_int_not_equal(opened, HF_OK);
        assert_non_null(strstr(e.text, strerror(errors[i])));
        b->s = open_store(b->dir);
        assert_shows(b->s, "a", "1");
    }
    hide_data(b, true); /* nor is one that was open made anew */
    assert_int_equal(hf_state_reopen(b->s, &e), HF_IO);
    assert_shows(b->s, "a", "1");
    hide_data(b, false);
    assert_ok(hf_state_reopen(b->s, &e));
    assert_shows(b->s, "a", "1");
}

/* ---- full maps and full disks ---- */

static enum hf_err fill_batch(struct hf_state *s, uint32_t from, uint32_t n)
{
    static char value[2000];
    char name[32];
    hf_seq seq = hf_state_position(s).seq + 1;
    memset(value, 'f', sizeof(value));
    for (uint32_t i = 0; i < n; i++) {
        struct hf_change c = {HF_OP_PUT, key_of(name, from + i), hf_slice_of(value, sizeof(value))};
        bool changed;
        enum hf_err e = hf_state_upsert(s, seq, i, &c, &changed);
        if (e != HF_OK) {
            return e;
        }
    }
    advance(s);
    return hf_state_commit(s);
}

static void full_map_is_grown_and_the_batch_replayed(void **state)
{
    struct store *b = *state;
    hf_state_close(b->s);
    b->s = open_sized(b->dir, 1 << 20);
    uint32_t grown = 0;
    for (uint32_t i = 0; i < 20; i++) {
        enum hf_err e = fill_batch(b->s, i * 100, 100);
        while (e == HF_MAP_FULL) {
            hf_state_abort(b->s);
            assert_ok(hf_state_grow(b->s));
            grown++;
            e = fill_batch(b->s, i * 100, 100);
        }
        assert_ok(e);
    }
    assert_true(grown >= 2);
    assert_int_equal(shown_seq(b->s), 20);
    assert_verified(b->s);
    hf_state_close(b->s);
    b->s = open_sized(b->dir, 1 << 20); /* configured smaller than it has become */
    assert_verified(b->s);
}

/* Under a limit on addresses; LMDB would be left without any map. */
static void a_map_that_cannot_grow_stays_as_it_is(void **state)
{
    struct store *b = *state;
    enum hf_err e = HF_OK;
    uint32_t done = 0;
    hf_state_close(b->s);
    b->s = open_sized(b->dir, 1 << 20);
    for (; e == HF_OK; done++) {
        e = fill_batch(b->s, done * 100, 100);
    }
    assert_int_equal(e, HF_MAP_FULL);
    hf_state_abort(b->s);
    no_addresses = true;
    assert_int_equal(hf_state_grow(b->s), HF_NOMEM);
    no_addresses = false;
    assert_int_equal(shown_seq(b->s), done - 1);
    assert_verified(b->s);
    assert_ok(hf_state_grow(b->s));
    assert_ok(fill_batch(b->s, (done - 1) * 100, 100));
}

static void full_disk_is_reported_and_recovers_without_a_restart(void **state)
{
    struct store *b = *state;
    char dir[128];
    char path[160];
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        skip();
    }
    snprintf(dir, sizeof(dir), "%s/disk", b->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    if (mount("none", dir, "tmpfs", 0, "size=4m") != 0) {
        skip();
    }
    snprintf(path, sizeof(path), "%s/ballast", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(posix_fallocate(fd, 0, 2 << 20), 0);
    close(fd);
    snprintf(path, sizeof(path), "%s/s", dir);
    struct hf_state *s = open_store(path);
    begin_history(s);
    enum hf_err e = HF_OK;
    uint32_t done = 0;
    for (; e == HF_OK && done < 100; done++) {
        e = fill_batch(s, done * 50, 50);
    }
    assert_int_equal(e, HF_FULL);
    hf_state_abort(s);
    assert_int_equal(shown_seq(s), done - 1);
    assert_verified(s);
    snprintf(path, sizeof(path), "%s/ballast", dir);
    assert_int_equal(unlink(path), 0);
    assert_ok(fill_batch(s, (done - 1) * 50, 50));
    assert_int_equal(shown_seq(s), done);
    assert_verified(s);
    hf_state_close(s);
    assert_int_equal(umount2(dir, MNT_DETACH), 0);
}

static void view_goes_on_after_a_reopen(void **state)
{
    struct store *b = *state;
    struct hf_view *v;
    struct hf_stored r;
    struct hf_error e = {HF_OK, ""};
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &v));
    assert_ok(next_live(v, hf_slice_of(NULL, 0), &r));
    hf_view_reset(v);
    write_one(b->s, "a", "2");
    assert_ok(hf_state_reopen(b->s, &e));
    assert_int_equal(hf_state_position(b->s).seq, 1);
    assert_ok(hf_view_renew(v));
    assert_ok(next_live(v, hf_slice_of(NULL, 0), &r));
    assert_true(hf_slice_eq(r.value, hf_slice_str("1")));
    hf_view_close(v);
    write_one(b->s, "a", "3");
    assert_ok(hf_state_commit(b->s));
    assert_shows(b->s, "a", "3");
    hf_state_reap_readers(b->s);
}

/* Adds to what both meta pages say of the last page of the file. */
static void promise_pages(int fd, int64_t more)
{
    for (off_t meta = 0; meta < 2; meta++) {
        uint64_t last;
        off_t at = meta * 4096 + 136;
        assert_int_equal(pread(fd, &last, sizeof(last), at), sizeof(last));
        last += (uint64_t)more;
        assert_int_equal(pwrite(fd, &last, sizeof(last), at), sizeof(last));
    }
}

/* LMDB does not write a page that was freed in the transaction that took it. */
static void a_page_that_nobody_names_need_not_be_in_the_file(void **state)
{
    struct store *b = *state;
    struct hf_error e = {HF_OK, ""};
    struct stat st;
    char path[256];
    uint8_t page[4096];
    char value[3 * sizeof(page)]; /* which has pages of its own */
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    write_one(b->s, "a", "1");
    write_one(b->s, "long", value);
    assert_ok(hf_state_commit(b->s));
    snprintf(path, sizeof(path), "%s/data.mdb", b->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    promise_pages(fd, 3);
    assert_ok(hf_state_check_pages(b->s, true, &e));
    promise_pages(fd, -3);
    /* But of those that are there the last ones are somebody's: a leaf's, or a long value's. */
    size_t bytes = (size_t)st.st_size;
    uint8_t *whole = malloc(bytes);
    assert_non_null(whole);
    assert_int_equal(pread(fd, whole, bytes, 0), bytes);
    for (size_t left = bytes - sizeof(page); left > 2 * sizeof(page); left -= sizeof(page)) {
        assert_int_equal(ftruncate(fd, (off_t)left), 0);
        assert_int_equal(hf_state_check_pages(b->s, true, &e), HF_CORRUPT);
        assert_non_null(strstr(e.text, "the file ends before it"));
    }
    assert_int_equal(pwrite(fd, whole, bytes, 0), bytes);
    assert_ok(hf_state_check_pages(b->s, true, &e));
    free(whole);
    close(fd);
}

/* The file is short, and who is to see whether anything is missing cannot be started. */
static void what_cannot_be_looked_at_is_not_called_damaged(void **state)
{
    struct store *b = *state;
    struct hf_state_config c = {.dir = b->dir, .map_bytes = 1 << 30};
    struct hf_error e = {HF_OK, ""};
    char path[256];
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    snprintf(path, sizeof(path), "%s/data.mdb", b->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    promise_pages(fd, 3);
    close(fd);
    no_processes = true;
    assert_int_equal(hf_state_reopen(b->s, &e), HF_IO);
    assert_shows(b->s, "a", "1");
    hf_state_close(b->s);
    assert_int_equal(hf_state_open(&c, &b->s, &e), HF_IO);
    no_processes = false;
    killed_at_once = true;
    assert_int_equal(hf_state_open(&c, &b->s, &e), HF_IO);
    killed_at_once = false;
    b->s = open_store(b->dir);
    assert_shows(b->s, "a", "1");
}

static void *reopen_it(void *arg)
{
    struct hf_error e = {HF_OK, ""};
    return hf_state_reopen(arg, &e) == HF_OK ? arg : NULL;
}

/* The loop's thread has a view for its clients, and opens another for an edge. */
static void who_has_a_view_gets_another_while_the_owner_waits_for_it(void **state)
{
    struct store *b = *state;
    struct hf_view *first, *second;
    pthread_t owner;
    void *done;
    write_one(b->s, "a", "1");
    assert_ok(hf_state_commit(b->s));
    assert_ok(hf_view_open(b->s, &first));
    assert_int_equal(pthread_create(&owner, NULL, reopen_it, b->s), 0);
    usleep(20000); /* it waits for the view by now */
    alarm(10);
    assert_ok(hf_view_open(b->s, &second));
    hf_view_close(second);
    hf_view_reset(first);
    assert_int_equal(pthread_join(owner, &done), 0);
    alarm(0);
    assert_ptr_equal(done, b->s);
    assert_ok(hf_view_renew(first));
    hf_view_close(first);
    assert_shows(b->s, "a", "1");
}

struct readers {
    struct hf_state *s;
    atomic_bool stop;
    atomic_uint reads;
    atomic_uint bad;
};

/* Every state that a reader sees is whole: the counter of batch n is n. */
static void *read_on(void *arg)
{
    struct readers *r = arg;
    struct hf_view *v = NULL;
    if (hf_view_open(r->s, &v) != HF_OK) {
        atomic_fetch_add(&r->bad, 1);
        return NULL;
    }
    while (!atomic_load(&r->stop)) {
        struct hf_stored rec;
        struct hf_applied a = {0};
        hf_seq n = 0;
        if (hf_view_renew(v) != HF_OK ||
            hf_view_get(v, hf_slice_str("counter"), false, &rec) != HF_OK ||
            rec.value.len != sizeof(n)) {
            atomic_fetch_add(&r->bad, 1);
        } else {
            memcpy(&n, rec.value.data, sizeof(n));
            hf_view_applied(v, &a);
        }
        if (n != a.at.seq) {
            atomic_fetch_add(&r->bad, 1);
        }
        atomic_fetch_add(&r->reads, 1);
        hf_view_reset(v);
    }
    hf_view_close(v);
    return NULL;
}

static void readers_never_see_half_a_batch_nor_stop_growth(void **state)
{
    struct store *b = *state;
    struct readers r = {.s = b->s};
    pthread_t thread[3];
    struct hf_error e;
    for (hf_seq seq = 1; seq <= 60; seq++) {
        struct hf_change c = {HF_OP_PUT, hf_slice_str("counter"), hf_slice_of(&seq, sizeof(seq))};
        write_batch(b->s, &c, 1);
        assert_ok(hf_state_commit(b->s));
        for (int i = 0; i < 3 && seq == 1; i++) {
            assert_int_equal(pthread_create(&thread[i], NULL, read_on, &r), 0);
        }
        if (seq == 20) {
            assert_ok(hf_state_grow(b->s));
        }
        if (seq % 10 == 0) {
            assert_ok(hf_state_reopen(b->s, &e));
        }
    }
    while (atomic_load(&r.reads) < 100) {
        sched_yield();
    }
    atomic_store(&r.stop, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(thread[i], NULL);
    }
    assert_int_equal(atomic_load(&r.bad), 0);
}

#define IN_STORE(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lmdb_says_of_its_own_pages_is_damage_and_no_failing_disk),
        IN_STORE(flipped_bit_is_found_when_the_record_is_read),
        IN_STORE(key_behind_a_damaged_branch_page_is_never_called_absent),
        IN_STORE(damage_to_the_page_of_the_tables_is_found_before_lmdb_reads_it),
        IN_STORE(damage_to_objects_inbox_and_position_is_found),
        IN_STORE(truncated_file_is_refused_instead_of_killing_the_process),
        IN_STORE(file_that_lacks_only_free_pages_is_opened_and_made_whole),
        cmocka_unit_test(leftover_of_an_interrupted_creation_is_no_obstacle),
        IN_STORE(second_opener_is_told_who_has_it),
        IN_STORE(newer_format_is_refused_not_guessed),
        IN_STORE(index_entry_too_many_is_found_by_the_check),
        IN_STORE(a_store_that_cannot_be_found_is_not_made_anew),
        IN_STORE(full_map_is_grown_and_the_batch_replayed),
        IN_STORE(a_map_that_cannot_grow_stays_as_it_is),
        IN_STORE(view_goes_on_after_a_reopen),
        IN_STORE(a_page_that_nobody_names_need_not_be_in_the_file),
        IN_STORE(what_cannot_be_looked_at_is_not_called_damaged),
        IN_STORE(who_has_a_view_gets_another_while_the_owner_waits_for_it),
        IN_STORE(readers_never_see_half_a_batch_nor_stop_growth),
        IN_STORE(full_disk_is_reported_and_recovers_without_a_restart),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
