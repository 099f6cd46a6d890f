/*
 * test_lost_pages.c - pages of the data file that the disk does not give: each of them in turn.
 *
 * A page is lost by mapping an empty file of the same name over it: touching that is SIGBUS, as
 * touching a bad sector is. Each try has a process of its own, for what is left of it, and begins
 * with the same file. All reads must come back; a write may die of a page that LMDB needs for it,
 * and must leave the file as it was.
 */
#include "state_fixture.h"

#include "hf/doctor.h"
#include "hf/lost_pages.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096u
#ifdef __SANITIZE_ADDRESS__
#define STEP 5u /* a fork is slow then; the plain build tries every page */
#else
#define STEP 1u
#endif
#define KEYS 600u
#define LONG_VALUE 9000u /* has pages of its own */

/* What a try ends with, besides a signal. */
enum tried {
    SERVED,
    NOT_TRIED,
    READ_WRONG,
    LISTED_WRONG,
    CHANGES_WRONG,
    NOT_COUNTED,
    NOT_READ_AGAIN,
    VOUCHED_FOR,
};

struct box {
    char *dir;
    char *lost_dir; /* has an empty data.mdb */
    char lost[256], data[256];
    uint8_t *image; /* of the data file */
    size_t image_bytes;
    bool *all_read; /* by the try; shared with it */
};

/* ---- the store ---- */

static struct hf_slice value_of(uint8_t buf[LONG_VALUE], uint32_t i)
{
    size_t len = i % 20 == 0 ? LONG_VALUE : 100;
    memset(buf, (int)('a' + i % 23), len);
    return hf_slice_of(buf, len);
}

static void fill(struct hf_state *s, uint32_t step)
{
    static uint8_t value[LONG_VALUE];
    char name[32];
    hf_seq seq = hf_state_position(s).seq + 1;
    uint32_t ordinal = 0;
    for (uint32_t i = 0; i < KEYS; i += step) {
        struct hf_change c = {HF_OP_DEL, key_of(name, i), {NULL, 0}};
        bool changed;
        if (step != 3) { /* what is deleted by 3 comes again by 1, so pages were freed */
            c = (struct hf_change){HF_OP_PUT, c.key, value_of(value, i)};
        }
        assert_ok(hf_state_upsert(s, seq, ordinal, &c, &changed));
        ordinal += changed;
    }
    advance(s);
    assert_ok(hf_state_commit(s));
}

static void write_file(const char *path, const uint8_t *bytes, size_t len)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, 0), len);
    close(fd);
}

static void take_image(struct box *b)
{
    struct stat st;
    int fd = open(b->data, O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    b->image_bytes = (size_t)st.st_size;
    b->image = malloc(b->image_bytes);
    assert_int_equal(pread(fd, b->image, b->image_bytes, 0), b->image_bytes);
    close(fd);
}

static int setup(void **state)
{
    struct box *b = calloc(1, sizeof(*b));
    b->dir = scratch_new();
    b->lost_dir = scratch_new();
    snprintf(b->data, sizeof(b->data), "%s/data.mdb", b->dir);
    snprintf(b->lost, sizeof(b->lost), "%s/data.mdb", b->lost_dir);
    write_file(b->lost, NULL, 0);
    struct hf_state *s = open_store(b->dir); /* a core's: its index loses entries, too */
    begin_history(s);
    fill(s, 1);
    fill(s, 3);
    fill(s, 2);
    fill(s, 1);
    hf_state_close(s);
    take_image(b);
    b->all_read = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(b->all_read, MAP_FAILED);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct box *b = *state;
    scratch_remove(b->dir);
    scratch_remove(b->lost_dir);
    free(b->dir);
    free(b->lost_dir);
    free(b->image);
    munmap(b->all_read, PAGE);
    free(b);
    return 0;
}

/* ---- a try, in a process of its own: no assertions of cmocka ---- */

/* Where the data file of this process is mapped; NULL: nowhere. */
static uint8_t *map_of(const struct box *b)
{
    char line[512];
    unsigned long begin = 0;
    bool found = false;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
        found = strstr(line, b->data) != NULL && sscanf(line, "%lx-", &begin) == 1;
    }
    if (f != NULL) {
        fclose(f);
    }
    return found ? (uint8_t *)begin : NULL; // NOLINT(performance-no-int-to-ptr)
}

/* Maps that page of the other file in its place. */
static bool replace(const struct box *b, uint64_t page, const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    uint8_t *map = map_of(b);
    void *at = map == NULL ? MAP_FAILED
                           : mmap(map + page * PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
                                  (off_t)(page * PAGE));
    close(fd);
    return at != MAP_FAILED;
}

static bool right(const struct hf_stored *r, uint32_t i)
{
    static uint8_t value[LONG_VALUE];
    return !r->tombstone && hf_slice_eq(r->value, value_of(value, i));
}

/* Of each key, whether it or its entry in the index lies on the lost page. */
static bool lost_with_it[KEYS];

static bool is_indexed(struct hf_view *v, const struct hf_stored *r)
{
    struct hf_stored found;
    hf_seq seq = r->ordinal > 0 ? r->seq : r->seq - 1;
    uint32_t ordinal = r->ordinal > 0 ? r->ordinal - 1 : UINT32_MAX;
    return hf_view_next_change(v, seq, ordinal, &found) == HF_OK && hf_slice_eq(found.key, r->key);
}

/* Each key is right or damaged, never wrong and never absent. */
static enum tried read_all(struct hf_view *v, uint32_t *damaged)
{
    struct hf_stored r;
    char name[32];
    for (uint32_t i = 0; i < KEYS; i++) {
        enum hf_err e = hf_view_get(v, key_of(name, i), false, &r);
        *damaged += e == HF_CORRUPT;
        if (e != HF_CORRUPT && (e != HF_OK || !right(&r, i))) {
            return READ_WRONG;
        }
        r.key = key_of(name, i);
        lost_with_it[i] = e == HF_CORRUPT || !is_indexed(v, &r);
        if (lost_with_it[i] && hf_view_renew(v) != HF_OK) {
            return NOT_TRIED;
        }
    }
    return SERVED;
}

/* All of them, or damage where it ends. */
static enum tried list_all(struct hf_view *v)
{
    struct hf_stored r;
    struct hf_slice after = {NULL, 0};
    enum hf_err e;
    uint32_t seen = 0;
    while ((e = next_live(v, after, &r)) == HF_OK) {
        after = r.key;
        seen++;
    }
    if (e != HF_CORRUPT && (e != HF_NOTFOUND || seen != KEYS)) {
        return LISTED_WRONG;
    }
    hf_seq seq = 0;
    uint32_t ordinal = 0;
    while ((e = hf_view_next_change(v, seq, ordinal, &r)) == HF_OK) {
        seq = r.seq;
        ordinal = r.ordinal;
    }
    return e == HF_CORRUPT || e == HF_NOTFOUND ? SERVED : CHANGES_WRONG;
}

/* A few are put, or most deleted, for which LMDB joins pages. */
static struct hf_change later(uint32_t i, bool deletes, char name[32])
{
    struct hf_change c = {HF_OP_PUT, key_of(name, i), hf_slice_str("later")};
    return deletes ? (struct hf_change){HF_OP_DEL, c.key, {NULL, 0}} : c;
}

static bool is_written(uint32_t i, bool deletes)
{
    return deletes ? i % 5 != 0 : i % 50 == 0;
}

/* Of what is well: LMDB may still need the page, to join another one with it. */
static void write_more(struct hf_state *s, bool deletes)
{
    static const struct hf_signature sig = {{0x51}};
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_header h;
    hf_seq seq = hf_state_position(s).seq + 1;
    enum hf_err e = HF_OK;
    uint32_t ordinal = 0;
    for (uint32_t i = 0; i < KEYS && e == HF_OK; i++) {
        char name[32];
        bool changed = false;
        struct hf_change c = later(i, deletes, name);
        if (is_written(i, deletes) && !lost_with_it[i]) {
            e = hf_state_upsert(s, seq, ordinal, &c, &changed);
            ordinal += changed;
        }
    }
    if (e == HF_OK) {
        struct hf_slice header = header_for(s, &h, bytes);
        e = hf_state_advance(s, &h, header, &sig);
    }
    if (e == HF_OK) {
        (void)hf_state_commit(s);
    } else {
        hf_state_abort(s);
    }
}

static enum tried read_and_write(const struct box *b, uint64_t page, bool deletes)
{
    struct hf_state_config c = {.dir = b->dir, .map_bytes = 1ull << 30};
    struct hf_error e = {HF_OK, ""};
    struct hf_state *s;
    struct hf_view *v;
    uint32_t damaged = 0;
    if (hf_state_open(&c, &s, &e) != HF_OK || !replace(b, page, b->lost)) {
        return NOT_TRIED;
    }
    if (hf_view_open(s, &v) == HF_OK) { /* or the page is on the way to everything */
        enum tried t = list_all(v);
        t = t == SERVED && hf_view_renew(v) == HF_OK ? read_all(v, &damaged) : t;
        if (t != SERVED) {
            return t;
        }
        static struct hf_sample sample; /* looks at pages without LMDB */
        if (hf_view_renew(v) == HF_OK) {
            (void)hf_view_sample_keys(v, &sample);
            (void)hf_view_sample_changes(v, 0, &sample);
            (void)hf_view_verify(v, &e);
        }
        hf_view_close(v);
        if (damaged > 0 && hf_lost_pages_count() == 0) {
            return NOT_COUNTED;
        }
    }
    *b->all_read = true;
    write_more(s, deletes);
    return SERVED;
}

static enum tried lose_and_find(const struct box *b, uint64_t page, bool unused)
{
    struct hf_state_config c = {.dir = b->dir, .map_bytes = 1ull << 30};
    struct hf_error e = {HF_OK, ""};
    struct hf_state *s;
    struct hf_view *v;
    uint32_t before = 0;
    uint32_t after = 0;
    (void)unused;
    if (hf_state_open(&c, &s, &e) != HF_OK || !replace(b, page, b->lost)) {
        return NOT_TRIED;
    }
    enum tried t = hf_view_open(s, &v) == HF_OK ? read_all(v, &before) : SERVED;
    if (!replace(b, page, b->data) ||
        (before > 0 && (hf_view_renew(v) != HF_OK || read_all(v, &after) != SERVED || after > 0))) {
        return NOT_READ_AGAIN;
    }
    hf_state_vouch(s);
    char path[300];
    snprintf(path, sizeof(path), "%s/sound", b->dir);
    return (access(path, F_OK) == 0) == (hf_lost_pages_count() > 0) ? VOUCHED_FOR : t;
}

typedef enum tried do_with(const struct box *b, uint64_t page, bool deletes);

static int try_page(const struct box *b, do_with *what, uint64_t page, bool deletes)
{
    int status = 0;
    write_file(b->data, b->image, b->image_bytes);
    *b->all_read = false;
    pid_t child = fork();
    if (child == 0) {
        hf_lost_pages_outlive();
        (void)!freopen("/dev/null", "w", stderr); /* it is told there, each time */
        _exit((int)what(b, page, deletes));       /* as a kill: nothing is closed */
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

/* ---- all of them ---- */

/* The disk gives the page again: all is there, and what was written is whole. */
static void assert_all_there(const struct box *b, unsigned page, bool deletes)
{
    struct hf_error e = {HF_OK, ""};
    struct hf_view *v;
    struct hf_stored r;
    char name[32];
    struct hf_state *s = open_store(b->dir);
    if (hf_state_check_pages(s, true, &e) != HF_OK) {
        fail_msg("page %u, afterwards: %s", page, e.text);
    }
    assert_ok(hf_view_open(s, &v));
    if (hf_view_verify(v, &e) != HF_OK) {
        fail_msg("page %u, afterwards: %s", page, e.text);
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_ok(hf_view_get(v, key_of(name, i), true, &r));
        struct hf_slice value = later(i, deletes, name).value;
        bool written = is_written(i, deletes) && r.tombstone == deletes;
        assert_true(right(&r, i) || (written && hf_slice_eq(r.value, value)));
    }
    hf_view_close(v);
    hf_state_close(s);
}

static unsigned pages_of(const struct box *b)
{
    unsigned pages = (unsigned)(b->image_bytes / PAGE);
    assert_true(pages > 100);
    return pages;
}

static void nothing_is_lost_with_a_page_but_what_lies_on_it(void **state)
{
    const struct box *b = *state;
    for (unsigned i = 0; i < 2 * pages_of(b); i += STEP) {
        unsigned page = i / 2;
        bool deletes = i % 2 != 0;
        int status = try_page(b, read_and_write, page, deletes);
        bool died = *b->all_read && WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
        if (page >= 2 && !died && (!WIFEXITED(status) || WEXITSTATUS(status) != SERVED)) {
            fail_msg("page %u: status %x", page, (unsigned)status);
        }
        assert_all_there(b, page, deletes);
    }
}

static void a_page_that_can_be_had_again_is_read_again(void **state)
{
    const struct box *b = *state;
    for (unsigned page = 2; page < pages_of(b); page += STEP) {
        int status = try_page(b, lose_and_find, page, false);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != SERVED) {
            fail_msg("page %u: status %x", page, (unsigned)status);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_lost_with_a_page_but_what_lies_on_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_page_that_can_be_had_again_is_read_again, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("lost_pages", tests, crypto_ready, NULL);
}
