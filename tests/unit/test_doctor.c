/*
 * test_doctor.c - a state is examined in a child, a damaged one set aside, unclean ends counted.
 *
 * Damage is done to the data file of a closed store, at places that are found by LMDB's published
 * page layout or by what is written there. The bound of the last test is what the examination is
 * for: what it calls sound must not kill the process that reads and writes it.
 */
#include "state_fixture.h"

#include "hf/doctor.h"

#include <signal.h>
#include <sys/wait.h>

#define PAGE 4096
#define LIMIT_MS 20000
#define KEYS 400
#define FLIPS 160

static void fill(struct hf_state *s)
{
    uint64_t seed = 7;
    for (int round = 0; round < 6; round++) {
        for (uint32_t i = 0; i < KEYS; i += 8) {
            char name[8][32];
            char value[8][64];
            struct hf_change c[8];
            for (uint32_t k = 0; k < 8; k++) {
                snprintf(value[k], sizeof(value[k]), "value of %u in round %d", i + k, round);
                c[k] = put_of("", value[k]);
                c[k].key = key_of(name[k], i + k);
                if (rng_below(&seed, 9) == 0) {
                    c[k] = (struct hf_change){HF_OP_DEL, c[k].key, {NULL, 0}};
                }
            }
            write_batch(s, c, 8);
            assert_ok(hf_state_commit(s));
        }
    }
}

static void close_store(struct store *b)
{
    hf_state_close(b->s);
    b->s = NULL; /* the teardown of a failed test closes it, too */
}

/* ---- files ---- */

static void data_path(const char *dir, char path[256])
{
    snprintf(path, 256, "%s/data.mdb", dir);
}

static uint8_t *data_read(const char *dir, size_t *len)
{
    char path[256];
    struct stat st;
    data_path(dir, path);
    int fd = open(path, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *bytes = malloc((size_t)st.st_size);
    assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
    close(fd);
    *len = (size_t)st.st_size;
    return bytes;
}

static void data_write(const char *dir, const void *bytes, size_t len, size_t at)
{
    char path[256];
    data_path(dir, path);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, bytes, len, (off_t)at), len);
    close(fd);
}

static uint64_t word_at(const uint8_t *bytes, size_t at)
{
    uint64_t v;
    memcpy(&v, bytes + at, sizeof(v));
    return v;
}

/* Where the newer meta page names the root of the list of free pages: page header, magic, version,
 * address, map size, then the list's own record, whose last word is its root. */
static size_t free_root(const uint8_t *file)
{
    const uint8_t *meta = word_at(file, 144) > word_at(file, PAGE + 144) ? file : file + PAGE;
    uint64_t root = word_at(meta, 16 + 24 + 40);
    assert_in_range(root, 2, 100000);
    return (size_t)root * PAGE;
}

/* ---- the examination ---- */

static void sound_state_passes_and_is_left_as_it_was(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    size_t len[2];
    fill(b->s);
    close_store(b);
    uint8_t *before = data_read(b->dir, &len[0]);
    if (hf_state_examine(b->dir, LIMIT_MS, &e) != HF_OK) {
        fail_msg("%s", e.text);
    }
    uint8_t *after = data_read(b->dir, &len[1]);
    assert_int_equal(len[0], len[1]);
    assert_memory_equal(before, after, len[0]);
    free(before);
    free(after);
    b->s = open_store(b->dir); /* the child's lock is gone */
    assert_verified(b->s);
}

/* The list of free pages, staged tables and the inbox of a store in use must not be taken for
 * damage: a wrong alarm costs an edge its data. */
static void store_at_any_moment_of_its_use_passes(void **state)
{
    struct store *b = *state;
    uint64_t seed = 11;
    for (int round = 0; round < 40; round++) {
        struct hf_error e;
        for (uint32_t n = rng_below(&seed, 30); n > 0; n--) {
            char name[32];
            static char value[9000];
            size_t bytes = rng_below(&seed, 10) == 0 ? rng_below(&seed, sizeof(value)) : 40;
            struct hf_change c = {HF_OP_PUT, key_of(name, rng_below(&seed, 500)), {NULL, 0}};
            memset(value, (int)('a' + n), sizeof(value));
            c.value = hf_slice_of(value, bytes);
            if (rng_below(&seed, 3) == 0) {
                c = (struct hf_change){HF_OP_DEL, c.key, {NULL, 0}};
            }
            write_batch(b->s, &c, 1);
            assert_ok(hf_state_inbox_put(b->s, 100000 + n, hf_slice_of(value, bytes)));
            assert_ok(hf_state_commit(b->s));
        }
        bool again = true;
        assert_ok(hf_state_inbox_del(b->s, 0, 100000 + rng_below(&seed, 30)));
        assert_ok(hf_state_collect(b->s, hf_state_position(b->s).seq / 2, 100, &again));
        assert_ok(hf_state_commit(b->s));
        close_store(b);
        if (hf_state_examine(b->dir, LIMIT_MS, &e) != HF_OK) {
            fail_msg("round %d: %s", round, e.text);
        }
        b->s = open_store(b->dir);
    }
}

static void state_that_is_not_there_is_sound_and_stays_away(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    char path[300];
    snprintf(path, sizeof(path), "%s/none", b->dir);
    assert_int_equal(hf_state_examine(path, LIMIT_MS, &e), HF_OK);
    assert_int_equal(access(path, F_OK), -1);
}

static void damaged_record_is_reported_with_its_place(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    fill(b->s);
    write_one(b->s, "bad", "precious value");
    assert_ok(hf_state_commit(b->s));
    close_store(b);
    assert_true(damage(b->dir, "precious value", true) > 0);
    assert_int_equal(hf_state_examine(b->dir, LIMIT_MS, &e), HF_DIGEST);
    assert_non_null(strstr(e.text, "checksum"));
    assert_non_null(strstr(e.text, "626164")); /* "bad" */
    b->s = open_store(b->dir);
}

static void state_that_kills_its_reader_is_reported_as_damaged(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    fill(b->s);
    close_store(b);
    size_t len;
    uint8_t *file = data_read(b->dir, &len);
    /* Every page but the meta pages: a branch or leaf whose entries point far outside of it. */
    memset(file + 2 * PAGE + 16, 0xff, len - 2 * PAGE - 16);
    for (size_t at = 2 * PAGE; at < len; at += PAGE) {
        memcpy(file + at + 10, "\x02\x00\xf0\x0f\xff\x0f", 6); /* leaf, lower, upper */
    }
    data_write(b->dir, file, len, 0);
    free(file);
    assert_int_equal(hf_state_examine(b->dir, LIMIT_MS, &e), HF_CORRUPT);
    assert_true(e.text[0] != '\0');
    scratch_remove(b->dir);
    b->s = open_store(b->dir);
}

static void truncated_state_is_reported_as_damaged(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    char path[256];
    size_t len;
    fill(b->s);
    close_store(b);
    free(data_read(b->dir, &len));
    data_path(b->dir, path);
    assert_int_equal(truncate(path, (off_t)(len / 2)), 0);
    assert_int_equal(hf_state_examine(b->dir, LIMIT_MS, &e), HF_CORRUPT);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(hf_state_examine(b->dir, LIMIT_MS, &e), HF_CORRUPT);
    scratch_remove(b->dir);
    b->s = open_store(b->dir);
}

/* Where the list of free pages has two numbers, the first at least two above the second. */
static size_t free_gap(const uint8_t *file)
{
    size_t root = free_root(file);
    uint16_t lower;
    memcpy(&lower, file + root + 12, sizeof(lower));
    for (size_t slot = 16; slot < lower; slot += 2) {
        uint16_t node; /* its entry: 8 bytes of sizes, 8 of the key, then count and page numbers */
        memcpy(&node, file + root + slot, sizeof(node));
        size_t list = root + node + 16;
        for (uint64_t i = 1; file[root + node + 4] == 0 && i < word_at(file, list); i++) {
            if (word_at(file, list + 8 * i) > word_at(file, list + 8 * i + 8) + 1) {
                return list + 8 * i;
            }
        }
    }
    fail_msg("no free pages with others between them");
    return 0;
}

static void assert_free_list_refused(const struct store *b, size_t at, const uint64_t pages[2],
                                     const char *why)
{
    struct hf_error e;
    data_write(b->dir, pages, 16, at);
    assert_int_equal(hf_state_examine(b->dir, LIMIT_MS, &e), HF_CORRUPT);
    if (strstr(e.text, why) == NULL) {
        fail_msg("expected \"%s\", got \"%s\"", why, e.text);
    }
}

/* No read sees it, so the check of the records passes; a commit would die of it, or write over
 * what is in use. */
static void damaged_list_of_free_pages_is_found(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    size_t len;
    fill(b->s);
    close_store(b);
    uint8_t *file = data_read(b->dir, &len);
    size_t at = free_gap(file);
    uint64_t first = word_at(file, at);
    uint64_t second = word_at(file, at + 8);
    assert_free_list_refused(b, at, (uint64_t[]){len / PAGE + 1000, second}, "does not exist");
    assert_free_list_refused(b, at, (uint64_t[]){second, first}, "out of order");
    assert_free_list_refused(b, at, (uint64_t[]){first, 1}, "does not exist"); /* a meta page */
    assert_free_list_refused(b, at, (uint64_t[]){first, first - 1}, "named twice");
    data_write(b->dir, file, len, 0);
    assert_int_equal(hf_state_examine(b->dir, LIMIT_MS, &e), HF_OK);
    free(file);
    b->s = open_store(b->dir);
}

static void state_in_use_is_not_called_damaged(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    assert_int_equal(hf_state_examine(b->dir, LIMIT_MS, &e), HF_LOCKED);
    assert_non_null(strstr(e.text, "in use"));
}

static void newer_format_is_not_called_damaged(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    size_t len;
    close_store(b);
    uint8_t *file = data_read(b->dir, &len);
    for (size_t i = 0; i + 10 < len; i++) {
        if (memcmp(file + i, "format\x01\0\0\0", 10) == 0) {
            data_write(b->dir, "\x03", 1, i + 6);
        }
    }
    free(file);
    assert_int_equal(hf_state_examine(b->dir, LIMIT_MS, &e), HF_MISMATCH);
    scratch_remove(b->dir);
    b->s = open_store(b->dir);
}

static void examination_that_takes_too_long_is_ended_and_says_nothing(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    fill(b->s);
    close_store(b);
    assert_int_equal(hf_state_examine(b->dir, 0, &e), HF_TIMEOUT);
    /* It is gone, and its lock with it. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(hf_state_examine(b->dir, LIMIT_MS, &e), HF_OK);
    b->s = open_store(b->dir);
}

/* ---- setting aside ---- */

static int entries(const char *dir, const char *prefix)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;
    while ((e = readdir(d)) != NULL) {
        n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    }
    closedir(d);
    return n;
}

static void damaged_state_is_kept_under_another_name_and_one_at_most(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    char dir[300], to[320], first[320], path[340];
    snprintf(dir, sizeof(dir), "%s/state", b->dir);
    for (int i = 0; i < 3; i++) {
        struct hf_state *s = open_store(dir);
        begin_history(s);
        hf_state_close(s);
        assert_ok(hf_state_set_aside(dir, 1700000000u + (i == 2), to, sizeof(to), &e));
        assert_int_equal(access(dir, F_OK), -1);
        snprintf(path, sizeof(path), "%s/data.mdb", to);
        assert_int_equal(access(path, F_OK), 0);
        assert_int_equal(entries(b->dir, "state.damaged-"), 1);
        if (i == 0) {
            strcpy(first, to);
        } else {
            assert_string_not_equal(first, to); /* also in the same second */
        }
    }
    assert_int_equal(entries(b->dir, "data.mdb"), 1); /* what has another name is left alone */
}

static void nothing_is_removed_when_setting_aside_fails(void **state)
{
    struct store *b = *state;
    struct hf_error e;
    char dir[300], old[320], to[320];
    snprintf(dir, sizeof(dir), "%s/state", b->dir);
    snprintf(old, sizeof(old), "%s/state.damaged-1", b->dir);
    assert_int_equal(mkdir(old, 0700), 0);
    assert_int_not_equal(hf_state_set_aside(dir, 2, to, sizeof(to), &e), HF_OK);
    assert_non_null(strstr(e.text, "state"));
    assert_int_equal(access(old, F_OK), 0);
}

/* ---- the marker ---- */

static uint32_t found(const char *path)
{
    struct hf_running r;
    assert_ok(hf_running_find(&r, path));
    return r.unclean;
}

static void unclean_ends_in_a_row_are_counted(void **state)
{
    struct store *b = *state;
    struct hf_running r;
    char path[300];
    snprintf(path, sizeof(path), "%s/main.running", b->dir);
    for (uint32_t i = 0; i < 12; i++) {
        assert_ok(hf_running_find(&r, path));
        assert_int_equal(r.unclean, i);
        assert_ok(hf_running_begin(&r));
    }
    hf_running_undo(&r); /* a start that failed for another reason changes nothing */
    assert_int_equal(found(path), 11);
    hf_running_lived(&r);
    assert_int_equal(found(path), 1);
    hf_running_end(&r);
    assert_int_equal(found(path), 0);
    hf_running_lived(&r); /* too late: the end was clean */
    assert_int_equal(found(path), 0);
}

static void given_up_start_after_a_clean_end_leaves_no_marker(void **state)
{
    struct store *b = *state;
    struct hf_running r;
    char path[300];
    snprintf(path, sizeof(path), "%s/main.running", b->dir);
    assert_ok(hf_running_find(&r, path));
    assert_ok(hf_running_begin(&r));
    assert_int_equal(found(path), 1);
    hf_running_undo(&r);
    assert_int_equal(found(path), 0);
}

static void unreadable_marker_counts_as_one_unclean_end(void **state)
{
    static const char *const texts[] = {"", "\xff\xff", "-1", "99999999999999999999"};
    struct store *b = *state;
    char path[300];
    snprintf(path, sizeof(path), "%s/main.running", b->dir);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        FILE *f = fopen(path, "w");
        fputs(texts[i], f);
        fclose(f);
        assert_int_equal(found(path), 1);
    }
}

/* ---- what it is for ---- */

/* As an edge does: reads every key, writes every key, commits. 0 = alive, whatever it was told. */
static int use(const char *dir)
{
    struct hf_state_config c = {.dir = dir, .map_bytes = 1 << 30};
    struct hf_state *s;
    struct hf_view *v;
    struct hf_stored r = {.seq = 0};
    struct hf_error e;
    if (hf_state_open(&c, &s, &e) != HF_OK || hf_view_open(s, &v) != HF_OK) {
        return 0;
    }
    while (hf_view_next_record(v, r.key, &r) == HF_OK) {
        ;
    }
    hf_view_close(v);
    for (uint32_t i = 0; i < KEYS; i++) {
        static const struct hf_signature signature;
        uint8_t bytes[HF_HEADER_MAX];
        char name[32];
        bool changed;
        struct hf_header h;
        struct hf_change change = {HF_OP_PUT, key_of(name, i), hf_slice_str("another value")};
        hf_seq seq = hf_state_position(s).seq + 1;
        if (hf_state_upsert(s, seq, 0, &change, &changed) != HF_OK) {
            break;
        }
        struct hf_slice header = header_for(s, &h, bytes);
        if (hf_state_advance(s, &h, header, &signature) != HF_OK ||
            (i % 50 == 0 && hf_state_commit(s) != HF_OK)) {
            break;
        }
    }
    hf_state_abort(s);
    return 0;
}

/* As LMDB would be used if nobody looked first: reads every key, writes every key, commits. */
static int use_unlooked(const char *dir)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cursor;
    MDB_val k = {0, NULL}, v;
    if (mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 16) != 0 ||
        mdb_env_open(env, dir, MDB_NOSYNC | MDB_NOLOCK, 0600) != 0 ||
        mdb_txn_begin(env, NULL, 0, &txn) != 0 || mdb_dbi_open(txn, "state.0", 0, &dbi) != 0 ||
        mdb_cursor_open(txn, dbi, &cursor) != 0) {
        return 0;
    }
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
        ;
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        char name[32];
        struct hf_slice key = key_of(name, i);
        char value[] = "another value, and so long that a page is split somewhere";
        k = (MDB_val){key.len, name};
        v = (MDB_val){sizeof(value), value};
        if (mdb_put(txn, dbi, &k, &v, 0) != 0) {
            break;
        }
    }
    (void)mdb_txn_commit(txn);
    return 0;
}

static bool kills(int (*use_of)(const char *dir), const char *dir)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGBUS, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        _exit(use_of(dir));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0; /* a sanitizer exits */
}

/* Flips that kill whoever does not look first are the control. */
static void state_that_is_called_sound_does_not_kill_its_user(void **state)
{
    struct store *b = *state;
    uint64_t seed = 3;
    int killing = 0, missed = 0, damaged = 0;
    size_t len;
    fill(b->s);
    close_store(b);
    uint8_t *file = data_read(b->dir, &len);
    for (int i = 0; i < FLIPS; i++) {
        struct hf_error e;
        /* Half of them in the first bytes of a page, where LMDB keeps what it trusts. */
        size_t page = 1 + rng_below(&seed, (uint32_t)(len / PAGE - 1));
        size_t at = page * PAGE + rng_below(&seed, i % 2 == 0 ? PAGE : 64);
        uint8_t flipped = file[at] ^ (uint8_t)(1u << rng_below(&seed, 8));
        data_write(b->dir, &flipped, 1, at);
        bool sound = hf_state_examine(b->dir, LIMIT_MS, &e) != HF_CORRUPT;
        bool killed = kills(use, b->dir);
        bool unlooked = kills(use_unlooked, b->dir);
        damaged += !sound;
        killing += unlooked;
        missed += killed || (unlooked && sound);
        if (killed || (unlooked && sound)) {
            print_message("missed: page %zu byte %zu\n", page, at % PAGE);
        }
        char path[256];
        data_path(b->dir, path);
        assert_int_equal(truncate(path, (off_t)len), 0);
        data_write(b->dir, file, len, 0);
    }
    free(file);
    print_message("%d flips: %d called damaged, %d kill who does not look, %d missed\n", FLIPS,
                  damaged, killing, missed);
    assert_true(damaged > 0 && killing > 0);
    assert_int_equal(missed, 0);
    b->s = open_store(b->dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, store_setup, store_teardown)
        WITH_STORE(sound_state_passes_and_is_left_as_it_was),
        WITH_STORE(store_at_any_moment_of_its_use_passes),
        WITH_STORE(state_that_is_not_there_is_sound_and_stays_away),
        WITH_STORE(damaged_record_is_reported_with_its_place),
        WITH_STORE(state_that_kills_its_reader_is_reported_as_damaged),
        WITH_STORE(truncated_state_is_reported_as_damaged),
        WITH_STORE(damaged_list_of_free_pages_is_found),
        WITH_STORE(state_in_use_is_not_called_damaged),
        WITH_STORE(newer_format_is_not_called_damaged),
        WITH_STORE(examination_that_takes_too_long_is_ended_and_says_nothing),
        WITH_STORE(damaged_state_is_kept_under_another_name_and_one_at_most),
        WITH_STORE(nothing_is_removed_when_setting_aside_fails),
        WITH_STORE(unclean_ends_in_a_row_are_counted),
        WITH_STORE(given_up_start_after_a_clean_end_leaves_no_marker),
        WITH_STORE(unreadable_marker_counts_as_one_unclean_end),
        WITH_STORE(state_that_is_called_sound_does_not_kill_its_user),
    };
    return cmocka_run_group_tests(tests, crypto_ready, NULL);
}
