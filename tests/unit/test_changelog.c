/*
 * test_changelog.c - the changelog while it runs: appending, reading, a failing disk, trimming.
 *
 * What it keeps over a stop is in test_recovery.c. The shared fixture is changelog_box.h.
 */
#include "changelog_box.h"

#include "proto/store/segment.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

/* ---- appending and reading ---- */

static void new_log_is_empty_and_begins_after_base(void **state)
{
    struct box *b = *state;
    uint8_t byte;
    size_t len;

    b->config.base_seq = 41;
    open_log(b);
    assert_int_equal(hf_changelog_first(b->log), 42);
    assert_int_equal(hf_changelog_last(b->log), 41);
    assert_int_equal(hf_changelog_read(b->log, 41, &byte, 1, &len), HF_NOTFOUND);
    assert_int_equal(hf_changelog_bytes(b->log, 42, 42), 0);
    add_frames(b, 42, 43, 24);
    b->config.base_seq = 7; /* means nothing to a log that exists */
    reopen(b);
    assert_frames(b, 42, 43, 24);
}

static void frame_is_readable_once_synced_and_not_before(void **state)
{
    struct box *b = *state;
    uint8_t byte;
    size_t len;

    open_log(b);
    assert_int_equal(append(b, 1, 0, 100), HF_OK);
    assert_int_equal(hf_changelog_last(b->log), 0);
    assert_int_equal(hf_changelog_read(b->log, 1, &byte, 1, &len), HF_NOTFOUND);
    sync_log(b);
    assert_frames(b, 1, 1, 100);
    assert_int_equal(append(b, 2, 0, 100), HF_OK);
    reopen(b);
    assert_frames(b, 1, 1, 100);
}

static void sequence_that_does_not_follow_is_refused(void **state)
{
    struct box *b = *state;

    open_log(b);
    assert_int_equal(append(b, 2, 0, 8), HF_ARG);
    assert_int_equal(append(b, 0, 0, 8), HF_ARG);
    assert_int_equal(append(b, 1, 0, 8), HF_OK);
    assert_int_equal(append(b, 1, 0, 8), HF_ARG);
    assert_int_equal(hf_changelog_append(b->log, HF_RECORD_FACT, 2, hf_slice_str("too early")),
                     HF_ARG);
    assert_int_equal(hf_changelog_append(b->log, (enum hf_record_type)3, 2, hf_slice_str("")),
                     HF_ARG);
    assert_int_equal(append(b, 2, 0, 8), HF_OK);
    sync_log(b);
    assert_frames(b, 1, 2, 8);
}

static void payload_over_the_limit_is_refused_and_the_group_goes_on(void **state)
{
    struct box *b = *state;

    open_log(b);
    assert_int_equal(append(b, 1, 0, 8), HF_OK);
    assert_int_equal(append(b, 2, 0, HF_LOG_RECORD_MAX + 1), HF_TOO_BIG);
    assert_int_equal(append(b, 2, 0, 8), HF_OK);
    sync_log(b);
    assert_frames(b, 1, 2, 8);
}

static void record_larger_than_a_segment_gets_its_own(void **state)
{
    struct box *b = box_with(state, 2, 100);

    add_frames(b, 3, 3, HF_LOG_RECORD_MAX);
    add_frames(b, 4, 4, 4096);
    reopen(b);
    assert_int_equal(hf_changelog_last(b->log), 4);
    assert_frame(b, 2, 0, 100);
    assert_frame(b, 3, 0, HF_LOG_RECORD_MAX);
    assert_frame(b, 4, 0, 4096);
}

static void small_buffer_learns_the_size_it_needs(void **state)
{
    struct box *b = *state;
    uint8_t bytes[99];
    size_t len = 0;

    open_with(b, 1, 100);
    assert_int_equal(hf_changelog_read(b->log, 1, bytes, sizeof(bytes), &len), HF_TOO_BIG);
    assert_int_equal(len, 100);
}

/* Sizes from 0 to 700 bytes with facts between them, over some 30 segments. */
static size_t mixed_size(hf_seq seq)
{
    return (size_t)(seq * 37 % 701);
}

static void add_mixed(struct box *b, hf_seq first, hf_seq last)
{
    for (hf_seq seq = first; seq <= last; seq++) {
        assert_int_equal(append(b, seq, 0, mixed_size(seq)), HF_OK);
        for (hf_seq i = 0; i < seq % 13; i++) {
            append_fact(b, seq, "edge seven is now enrolled");
        }
        if (seq % 3 == 0) {
            sync_log(b);
        }
    }
    sync_log(b);
}

static void bytes_of_every_range_are_exact(void **state)
{
    struct box *b = *state;
    uint64_t want;

    open_log(b);
    add_mixed(b, 1, 400);
    for (int round = 0; round < 2; round++) {
        for (hf_seq first = 1; first <= 400; first += 9) {
            want = 0;
            for (hf_seq last = first; last <= 400; last++) {
                want += mixed_size(last);
                assert_int_equal(hf_changelog_bytes(b->log, first, last), want);
            }
        }
        reopen(b);
    }
    assert_int_equal(hf_changelog_bytes(b->log, 0, 3), 0);
    assert_int_equal(hf_changelog_bytes(b->log, 3, 401), 0);
    assert_int_equal(hf_changelog_bytes(b->log, 4, 3), 0);
}

static void every_frame_of_many_segments_reads_back(void **state)
{
    struct box *b = *state;

    open_log(b);
    add_mixed(b, 1, 400);
    for (int round = 0; round < 2; round++) {
        for (hf_seq seq = 1; seq <= 400; seq++) {
            assert_frame(b, seq, 0, mixed_size(seq));
        }
        reopen(b);
    }
}

static void flipped_bit_of_a_stored_frame_is_never_read_back(void **state)
{
    struct box *b = *state;
    uint8_t bytes[64];
    size_t len;

    open_with(b, 2, 64);
    for (uint64_t at = HEAD; at < HEAD + RECORD_HEAD + 64; at++) {
        enum hf_err err;
        flip(b, 1, at);
        err = hf_changelog_read(b->log, 1, bytes, sizeof(bytes), &len);
        if (err != HF_CORRUPT && err != HF_TOO_BIG) {
            fail_msg("offset %d: %s", (int)at, hf_err_name(err));
        }
        flip(b, 1, at);
    }
    assert_frames(b, 1, 2, 64);
}

/* ---- failures of the disk ---- */

static void failure_while_a_segment_begins_leaves_the_log_as_it_was(void **state)
{
    struct box *b = *state;
    char path[160];

    snprintf(path, sizeof(path), "%s/fresh", b->dir);
    open_with(b, 1, 64);
    /* Its zeros, the group, and what it is made of. */
    for (int sync = 0; sync < 3; sync++) {
        assert_int_equal(append(b, 2, 1, 8000), HF_OK);
        atomic_store(sync < 2 ? &fdatasync_fails_in : &fsync_fails_in, sync % 2 + 1);
        assert_int_equal(hf_changelog_sync(b->log), HF_IO);
        assert_int_equal(fdatasync_fails_in, 0);
        assert_int_equal(fsync_fails_in, 0);
        assert_frames(b, 1, 1, 64);
        assert_false(segment_exists(b, 2));
        assert_int_equal(access(path, F_OK), -1);
    }
    add_frames(b, 2, 2, 64); /* the first segment was not hurt */
    assert_false(segment_exists(b, 2));
    add_frames(b, 3, 3, 8000);
    reopen(b);
    assert_int_equal(hf_changelog_last(b->log), 3);
}

/* When the sync of the directory fails, the new segment's name may be on the disk or not, and stay
 * there although it was removed. It says that nothing follows in the segment before it. */
static void what_a_name_left_on_the_disk_would_void_is_not_acknowledged(void **state)
{
    struct box *b = *state;
    char left[160];

    snprintf(left, sizeof(left), "%s/left", b->root);
    open_with(b, 1, 64);
    assert_int_equal(append(b, 2, 1, 8000), HF_OK);
    snprintf(fsync_links[0], sizeof(fsync_links[0]), "%s", segment_path(b, 2));
    snprintf(fsync_links[1], sizeof(fsync_links[1]), "%s", left);
    atomic_store(&fsync_fails_in, 2);
    assert_int_equal(hf_changelog_sync(b->log), HF_IO);
    assert_frames(b, 1, 1, 64);
    assert_false(segment_exists(b, 2));
    assert_int_equal(access(left, F_OK), 0);
    add_frames(b, 2, 2, 64);
    close_log(b);
    /* A power cut: a name that was not replaced since is there again. */
    if (!segment_exists(b, 2)) {
        assert_int_equal(rename(left, segment_path(b, 2)), 0);
    }
    open_log(b);
    assert_frames(b, 1, 2, 64);
}

/* Whether a name came or went is not known then, so nobody is told that it did. */
static void failed_sync_of_a_directory_is_told(void **state)
{
    struct box *b = *state;
    bool again;

    atomic_store(&fsync_fails_in, 1);
    assert_int_equal(try_open(b), HF_IO);
    assert_non_null(strstr(b->error.text, "parent"));
    open_with(b, 3, 7000);
    atomic_store(&fsync_fails_in, 1);
    assert_int_equal(hf_changelog_trim(b->log, 0, 100, &again), HF_IO);
    assert_int_equal(fsync_fails_in, 0);
    assert_false(again);
    assert_frames(b, 2, 3, 7000);
}

/* A sector that was acknowledged and not written has what a recycled file had there. */
static void record_of_an_earlier_life_of_the_file_is_not_stepped_over(void **state)
{
    struct box *b = *state;
    uint8_t record[256];
    size_t size = hf_log_record_size(&(struct hf_log_record){.len = (uint32_t)strlen("a fact")});
    size_t at = HEAD + hf_log_record_size(&(struct hf_log_record){.len = 64});
    size_t len;
    struct hf_log_record r;

    open_with(b, 1, 64);
    append_fact(b, 1, "a fact");
    sync_log(b);
    add_frames(b, 2, 2, 64);
    assert_frames(b, 1, 2, 64);
    int fd = open(segment_path(b, 1), O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, record, size, (off_t)at), size);
    assert_true(hf_log_record_decode(record, &r));
    assert_int_equal(r.type, HF_RECORD_FACT);
    hf_log_record_stamp(record, r.salt + 1, r.synced_at);
    assert_int_equal(pwrite(fd, record, size, (off_t)at), size);
    close(fd);
    assert_int_equal(hf_changelog_read(b->log, 2, record, sizeof(record), &len), HF_CORRUPT);
}

static enum hf_err head_of(uint64_t bytes, uint64_t synced_at, hf_seq first)
{
    uint8_t out[HEAD];
    struct hf_segment_head h = {.version = HF_SEGMENT_VERSION,
                                .number = 1,
                                .first = first,
                                .bytes = bytes,
                                .synced_at = synced_at};

    hf_segment_head_encode(&h, out);
    return hf_segment_head_decode(out, &h);
}

/* Whoever made it: its checksum is right. */
static void head_that_contradicts_itself_is_none(void **state)
{
    (void)state;
    assert_int_equal(head_of(SMALL, SMALL, 1), HF_OK);
    assert_int_equal(head_of(SMALL, SMALL + 1, 1), HF_CORRUPT);
    assert_int_equal(head_of(SMALL, HEAD, 1), HF_OK);
    assert_int_equal(head_of(SMALL, HEAD - 1, 1), HF_CORRUPT);
    assert_int_equal(head_of(HF_SEGMENT_MAX + 1, HEAD, 1), HF_CORRUPT);
    assert_int_equal(head_of(SMALL, SMALL, 0), HF_CORRUPT);
}

static void write_over_the_file_size_limit_is_full_and_drops_the_group(void **state)
{
    struct box *b = *state;
    struct rlimit old, low;

    open_with(b, 3, 64);
    assert_int_equal(append(b, 4, 1, 64), HF_OK);
    assert_int_equal(append(b, 5, 1, 64), HF_OK);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    low = old;
    low.rlim_cur = synced_offset(b) + 110; /* frame 4 is written, frame 5 begun */
    setrlimit(RLIMIT_FSIZE, &low);
    assert_int_equal(hf_changelog_sync(b->log), HF_FULL);
    assert_int_equal(append(b, 4, 1, 64), HF_OK);
    assert_int_equal(hf_changelog_sync(b->log), HF_FULL);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_frames(b, 1, 3, 64);
    add_frames(b, 4, 6, 64);
    reopen(b);
    assert_frames(b, 1, 6, 64);
}

static void full_disk_is_told_and_left_without_a_restart(void **state)
{
    struct box *b = *state;
    hf_seq last = 0;
    bool again;

    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mkdir(b->dir, 0700) != 0 || mount("none", b->dir, "tmpfs", 0, "size=256k") != 0) {
        print_message("no tmpfs can be mounted here\n");
        skip();
    }
    open_log(b);
    while (append(b, last + 1, 0, 3000) == HF_OK && hf_changelog_sync(b->log) == HF_OK) {
        last++;
    }
    assert_true(last > 50);
    assert_int_equal(append(b, last + 1, 0, 3000), HF_OK);
    assert_int_equal(hf_changelog_sync(b->log), HF_FULL);
    assert_frames(b, 1, last, 3000);
    assert_int_equal(hf_changelog_trim(b->log, 0, 2, &again), HF_OK);
    add_frames(b, last + 1, last + 1, 3000);
    reopen(b);
    assert_frames(b, 3, last + 1, 3000);
    close_log(b);
    umount2(b->dir, MNT_DETACH);
}

static void second_open_is_refused_while_the_first_lives(void **state)
{
    struct box *b = *state;
    struct hf_changelog *first;

    open_log(b);
    first = b->log;
    assert_int_equal(try_open(b), HF_LOCKED);
    assert_null(b->log);
    b->log = first;
    add_frames(b, 1, 1, 8);
    reopen(b);
}

/* ---- trimming ---- */

static void recycled_file_shows_nothing_of_its_older_use(void **state)
{
    struct box *b = *state;
    bool again;

    open_with(b, 100, 64);
    do {
        assert_int_equal(hf_changelog_trim(b->log, 0, 100, &again), HF_OK);
    } while (again);
    assert_int_equal(hf_changelog_disk_bytes(b->log), 2 * SMALL); /* one of them is the spare */
    add_frames(b, 101, 160, 64);
    add_frames(b, 161, 161, 40);
    assert_int_equal(hf_changelog_disk_bytes(b->log), 2 * SMALL);
    reopen(b);
    assert_int_equal(hf_changelog_last(b->log), 161);
    assert_frame(b, 160, 0, 64);
    assert_frame(b, 161, 0, 40);
}

static void trim_keeps_what_is_above_keep_and_the_newest_segment(void **state)
{
    struct box *b = *state;
    bool again;

    open_log(b);
    add_frames(b, 1, 6, 6000); /* a segment each */
    assert_int_equal(hf_changelog_trim(b->log, 6 * SMALL, 6, &again), HF_OK);
    assert_false(again);
    assert_int_equal(hf_changelog_first(b->log), 1);
    assert_int_equal(hf_changelog_trim(b->log, 4 * SMALL, 6, &again), HF_OK);
    assert_true(again);
    assert_int_equal(hf_changelog_trim(b->log, 4 * SMALL, 6, &again), HF_OK);
    assert_false(again);
    assert_frames(b, 3, 6, 6000);
    assert_int_equal(hf_changelog_trim(b->log, 0, 2, &again), HF_OK);
    assert_frames(b, 3, 6, 6000);
    do {
        assert_int_equal(hf_changelog_trim(b->log, 0, 100, &again), HF_OK);
    } while (again);
    assert_frames(b, 6, 6, 6000);
    assert_int_equal(hf_changelog_bytes(b->log, 5, 6), 0);
    assert_int_equal(hf_changelog_bytes(b->log, 6, 6), 6000);
    reopen(b);
    assert_frames(b, 6, 6, 6000);
    add_frames(b, 7, 7, 6000);
    assert_frames(b, 6, 7, 6000);
}

static void fact_at_the_end_of_a_segment_outlives_the_frame_before_it(void **state)
{
    struct box *b = *state;
    bool again;

    open_with(b, 1, 6000);
    append_fact(b, 1, "edge seven is revoked");
    sync_log(b);
    add_frames(b, 2, 2, 6000);
    assert_int_equal(hf_changelog_trim(b->log, 0, 1, &again), HF_OK);
    assert_int_equal(hf_changelog_first(b->log), 1);
    assert_int_equal(hf_changelog_trim(b->log, 0, 2, &again), HF_OK);
    assert_int_equal(hf_changelog_first(b->log), 2);
}

static void newest_frame_stays_when_only_facts_follow_it(void **state)
{
    struct box *b = *state;
    char fact[6001];
    bool again;

    memset(fact, 'f', 6000);
    fact[6000] = '\0';
    open_with(b, 2, 6000);
    for (int i = 0; i < 3; i++) {
        append_fact(b, 2, fact);
        sync_log(b);
    }
    do {
        assert_int_equal(hf_changelog_trim(b->log, 0, 2, &again), HF_OK);
    } while (again);
    assert_frames(b, 2, 2, 6000);
}

static void segment_of_facts_alone_is_stepped_over_by_readers(void **state)
{
    struct box *b = *state;
    char fact[6001];

    memset(fact, 'f', 6000);
    fact[6000] = '\0';
    open_log(b);
    for (int i = 0; i < 3; i++) {
        append_fact(b, 0, fact);
        sync_log(b);
    }
    assert_int_equal(hf_changelog_first(b->log), 1);
    assert_int_equal(hf_changelog_last(b->log), 0);
    add_frames(b, 1, 1, 64);
    for (int i = 0; i < 3; i++) {
        append_fact(b, 1, fact);
        sync_log(b);
    }
    add_frames(b, 2, 3, 64);
    assert_frames(b, 1, 3, 64);
    assert_int_equal(hf_changelog_bytes(b->log, 1, 2), 128);
    reopen(b);
    assert_frames(b, 1, 3, 64);
}

/* ---- threads ---- */

struct reader {
    struct box *box;
    atomic_bool *stop;
    unsigned seed;
    size_t reads;
    size_t wrong;
};

static void *read_at_random(void *arg)
{
    struct reader *r = arg;
    uint8_t got[800], want[800];
    size_t len;

    while (!atomic_load(r->stop)) {
        hf_seq first = hf_changelog_first(r->box->log), last = hf_changelog_last(r->box->log);
        hf_seq seq = first + (hf_seq)rand_r(&r->seed) % (last - first + 2);
        enum hf_err err = hf_changelog_read(r->box->log, seq, got, sizeof(got), &len);
        hf_changelog_bytes(r->box->log, seq, last);
        if (err == HF_NOTFOUND) {
            continue;
        }
        r->reads++;
        r->wrong += err != HF_OK || len != mixed_size(seq) ||
                    memcmp(got, want, fill(want, seq, 0, len)) != 0;
    }
    return NULL;
}

static void readers_see_whole_frames_while_the_log_grows_and_is_trimmed(void **state)
{
    struct box *b = *state;
    atomic_bool stop = false;
    struct reader readers[2];
    pthread_t threads[2];
    bool again;

    b->config.single_thread = false; /* the spare is made by its thread or recycled */
    open_log(b);
    add_mixed(b, 1, 30);
    for (int i = 0; i < 2; i++) {
        readers[i] = (struct reader){.box = b, .stop = &stop, .seed = 7u + (unsigned)i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_at_random, &readers[i]), 0);
    }
    for (hf_seq seq = 31; seq < 600; seq += 3) {
        add_mixed(b, seq, seq + 2);
        assert_int_equal(hf_changelog_trim(b->log, 4 * SMALL, seq, &again), HF_OK);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_true(readers[i].reads > 0);
        assert_int_equal(readers[i].wrong, 0);
    }
    assert_true(hf_changelog_first(b->log) > 300);
    reopen(b);
    assert_frame(b, 599, 0, mixed_size(599));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOX_TEST(new_log_is_empty_and_begins_after_base),
        BOX_TEST(frame_is_readable_once_synced_and_not_before),
        BOX_TEST(sequence_that_does_not_follow_is_refused),
        BOX_TEST(payload_over_the_limit_is_refused_and_the_group_goes_on),
        BOX_TEST(record_larger_than_a_segment_gets_its_own),
        BOX_TEST(small_buffer_learns_the_size_it_needs),
        BOX_TEST(bytes_of_every_range_are_exact),
        BOX_TEST(every_frame_of_many_segments_reads_back),
        BOX_TEST(flipped_bit_of_a_stored_frame_is_never_read_back),
        BOX_TEST(failure_while_a_segment_begins_leaves_the_log_as_it_was),
        BOX_TEST(failed_sync_of_a_directory_is_told),
        cmocka_unit_test(head_that_contradicts_itself_is_none),
        BOX_TEST(record_of_an_earlier_life_of_the_file_is_not_stepped_over),
        BOX_TEST(what_a_name_left_on_the_disk_would_void_is_not_acknowledged),
        BOX_TEST(write_over_the_file_size_limit_is_full_and_drops_the_group),
        BOX_TEST(full_disk_is_told_and_left_without_a_restart),
        BOX_TEST(second_open_is_refused_while_the_first_lives),
        BOX_TEST(recycled_file_shows_nothing_of_its_older_use),
        BOX_TEST(trim_keeps_what_is_above_keep_and_the_newest_segment),
        BOX_TEST(fact_at_the_end_of_a_segment_outlives_the_frame_before_it),
        BOX_TEST(newest_frame_stays_when_only_facts_follow_it),
        BOX_TEST(segment_of_facts_alone_is_stepped_over_by_readers),
        BOX_TEST(readers_see_whole_frames_while_the_log_grows_and_is_trimmed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
