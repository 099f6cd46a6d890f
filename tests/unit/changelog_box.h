/*
 * changelog_box.h - what the tests of the changelog share: a log in a directory of its own,
 * payloads that can be checked, access to the bytes of the files, and syncs that fail when told to.
 *
 * fsync and fdatasync are defined here, in front of the C library's, which is why each test program
 * includes this once and links to nothing else that defines them. Helpers are static inline so that
 * a program may leave some unused. Everything lives under /tmp and is removed by box_tear_down.
 */
#ifndef HF_TEST_CHANGELOG_BOX_H
#define HF_TEST_CHANGELOG_BOX_H

#include "hf/changelog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HEAD 128u       /* of a segment */
#define RECORD_HEAD 40u /* of a record */
#define VERSION 2u      /* of the format */
#define SMALL 8192u     /* segment size of most tests */

/* ---- syncs that fail ---- */

/* The n-th call from now fails, once; 0 for none. */
static atomic_int fdatasync_fails_in;
static atomic_int fsync_fails_in;

static inline int fails(atomic_int *calls)
{
    if (atomic_load(calls) == 0 || atomic_fetch_sub(calls, 1) != 1) {
        return 0;
    }
    errno = EIO;
    return 1;
}

static atomic_uint fdatasyncs;         /* calls so far */
static void (*fdatasync_failed)(void); /* what a failed one does beside that; NULL = nothing */

int fdatasync(int fd)
{
    atomic_fetch_add(&fdatasyncs, 1);
    if (!fails(&fdatasync_fails_in)) {
        return (int)syscall(SYS_fdatasync, fd);
    }
    if (fdatasync_failed != NULL) {
        fdatasync_failed();
        errno = EIO;
    }
    return -1;
}

/* The file that a failing fsync finds under the first name gets the second, too. */
static char fsync_links[2][160];

int fsync(int fd)
{
    if (!fails(&fsync_fails_in)) {
        return (int)syscall(SYS_fsync, fd);
    }
    (void)!link(fsync_links[0], fsync_links[1]);
    errno = EIO;
    return -1;
}

/* ---- the directory and the log of a test ---- */

struct box {
    char root[64];
    char dir[80];
    struct hf_changelog_config config;
    struct hf_changelog *log;
    struct hf_error error;
};

static inline int box_set_up(void **state)
{
    struct box *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    strcpy(b->root, "/tmp/hf-changelog-XXXXXX");
    if (mkdtemp(b->root) == NULL) {
        free(b);
        return -1;
    }
    snprintf(b->dir, sizeof(b->dir), "%s/log", b->root);
    b->config.dir = b->dir;
    b->config.segment_bytes = SMALL;
    b->config.single_thread = true;
    *state = b;
    return 0;
}

static inline int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static inline int box_tear_down(void **state)
{
    struct box *b = *state;

    atomic_store(&fdatasync_fails_in, 0);
    atomic_store(&fsync_fails_in, 0);
    fdatasync_failed = NULL;
    hf_changelog_close(b->log);
    nftw(b->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(b);
    return 0;
}

static inline enum hf_err try_open(struct box *b)
{
    memset(&b->error, 0, sizeof(b->error));
    return hf_changelog_open(&b->config, 0, NULL, NULL, &b->log, &b->error);
}

static inline void open_log(struct box *b)
{
    if (try_open(b) != HF_OK) {
        fail_msg("%s", b->error.text);
    }
}

static inline void close_log(struct box *b)
{
    hf_changelog_close(b->log);
    b->log = NULL;
}

static inline void reopen(struct box *b)
{
    close_log(b);
    open_log(b);
}

/* ---- payloads ---- */

static inline size_t fill(uint8_t *p, hf_seq seq, unsigned variant, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t)(seq * 31 + variant * 101 + i * 7 + (i >> 8));
    }
    return len;
}

static inline enum hf_err append(struct box *b, hf_seq seq, unsigned variant, size_t len)
{
    uint8_t *p = malloc(len + 1);
    enum hf_err err;

    fill(p, seq, variant, len);
    err = hf_changelog_append(b->log, HF_RECORD_FRAME, seq, hf_slice_of(p, len));
    free(p);
    return err;
}

static inline void append_fact(struct box *b, hf_seq seq, const char *text)
{
    assert_int_equal(hf_changelog_append(b->log, HF_RECORD_FACT, seq, hf_slice_str(text)), HF_OK);
}

static inline void sync_log(struct box *b)
{
    assert_int_equal(hf_changelog_sync(b->log), HF_OK);
}

/* Each frame in a group of its own. */
static inline void add_frames(struct box *b, hf_seq first, hf_seq last, size_t len)
{
    for (hf_seq seq = first; seq <= last; seq++) {
        assert_int_equal(append(b, seq, 0, len), HF_OK);
        sync_log(b);
    }
}

/* An open log with frames 1 to last. */
static inline void open_with(struct box *b, hf_seq last, size_t len)
{
    open_log(b);
    add_frames(b, 1, last, len);
}

static inline struct box *box_with(void **state, hf_seq last, size_t len)
{
    struct box *b = *state;

    open_with(b, last, len);
    return b;
}

static inline void assert_frame(struct box *b, hf_seq seq, unsigned variant, size_t want)
{
    uint8_t *got = malloc(want + 1), *expected = malloc(want + 1);
    size_t len;

    fill(expected, seq, variant, want);
    assert_int_equal(hf_changelog_read(b->log, seq, got, want, &len), HF_OK);
    assert_int_equal(len, want);
    assert_memory_equal(got, expected, want);
    free(got);
    free(expected);
}

static inline void assert_frames(struct box *b, hf_seq first, hf_seq last, size_t len)
{
    assert_int_equal(hf_changelog_first(b->log), first);
    assert_int_equal(hf_changelog_last(b->log), last);
    for (hf_seq seq = first; seq <= last; seq++) {
        assert_frame(b, seq, 0, len);
    }
}

/* ---- files ---- */

static inline char *segment_path(struct box *b, uint64_t number)
{
    static char path[160];

    snprintf(path, sizeof(path), "%s/%016llx.seg", b->dir, (unsigned long long)number);
    return path;
}

static inline bool segment_exists(struct box *b, uint64_t number)
{
    return access(segment_path(b, number), F_OK) == 0;
}

static inline uint64_t synced_offset(struct box *b)
{
    char path[512];
    uint64_t offset;

    hf_changelog_synced_at(b->log, path, &offset);
    return offset;
}

static inline void poke(struct box *b, uint64_t number, uint64_t at, const void *data, size_t len)
{
    int fd = open(segment_path(b, number), O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, (off_t)at), len);
    close(fd);
}

static inline size_t load(struct box *b, uint64_t number, uint8_t *bytes, size_t cap)
{
    int fd = open(segment_path(b, number), O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    n = pread(fd, bytes, cap, 0);
    assert_true(n >= 0);
    close(fd);
    return (size_t)n;
}

static inline void flip(struct box *b, uint64_t number, uint64_t at)
{
    uint8_t bytes[SMALL];

    load(b, number, bytes, sizeof(bytes));
    bytes[at] ^= 0x10;
    poke(b, number, at, bytes + at, 1);
}

#define BOX_TEST(name) cmocka_unit_test_setup_teardown(name, box_set_up, box_tear_down)

#endif
