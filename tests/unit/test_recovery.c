/*
 * test_recovery.c - what a changelog holds after a stop: torn tails, voids, and what is refused.
 *
 * Damage is made on the bytes of real files, at offsets and with checksums computed here from the
 * format that proto/store/segment.c specifies, not with its functions. The fixture is
 * changelog_box.h.
 */
#include "changelog_box.h"

#include <xxhash.h>

/* ---- records made by hand ---- */

static void put64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

/* A whole frame record, made by hand; the salt is copied from the segment and changed by `other`.
 */
static size_t craft(struct box *b, uint8_t *out, hf_seq seq, uint64_t other)
{
    uint8_t head[HEAD];
    uint64_t salt;

    load(b, 1, head, sizeof(head));
    memcpy(&salt, head + 24, 8); /* the hosts of the tests are little-endian */
    memset(out, 0, RECORD_HEAD);
    memcpy(out, "HFr\1\x10", 5);
    put64(out + 8, seq);
    put64(out + 16, salt ^ other);
    put64(out + 24, HEAD);
    fill(out + RECORD_HEAD, seq, 0, 16);
    put64(out + 32, XXH3_64bits_withSeed(out + RECORD_HEAD, 16, XXH3_64bits(out, 32)));
    return RECORD_HEAD + 16;
}

static void assert_refused(struct box *b, enum hf_err code, uint64_t number, uint64_t offset)
{
    char name[32], place[64];

    assert_int_equal(try_open(b), code);
    assert_null(b->log);
    assert_int_equal(b->error.code, code);
    snprintf(name, sizeof(name), "%016llx.seg", (unsigned long long)number);
    snprintf(place, sizeof(place), "offset %llu ", (unsigned long long)offset);
    if (strstr(b->error.text, name) == NULL || strstr(b->error.text, place) == NULL) {
        fail_msg("does not name %s and %s: %s", name, place, b->error.text);
    }
}

/* ---- replay ---- */

struct replay {
    char text[400];
    hf_seq refuse;
};

static enum hf_err note_record(void *ctx, enum hf_record_type type, hf_seq seq,
                               struct hf_slice payload)
{
    struct replay *r = ctx;
    size_t used = strlen(r->text);

    if (type == HF_RECORD_FRAME && seq == r->refuse) {
        return HF_FORK;
    }
    snprintf(r->text + used, sizeof(r->text) - used, "%s%d:%d ",
             type == HF_RECORD_FRAME ? "frame" : "fact", (int)seq, (int)payload.len);
    return HF_OK;
}

static void replay_gives_every_fact_and_the_frames_after_from_in_order(void **state)
{
    struct box *b = *state;
    struct replay r = {.text = ""};

    open_log(b);
    append_fact(b, 0, "join");
    add_frames(b, 1, 2, 8);
    append_fact(b, 2, "revoke");
    append_fact(b, 2, "");
    add_frames(b, 3, 3, 6000); /* begins the second segment */
    add_frames(b, 4, 4, 9);
    close_log(b);
    assert_int_equal(hf_changelog_open(&b->config, 2, note_record, &r, &b->log, &b->error), HF_OK);
    assert_string_equal(r.text, "fact0:4 fact2:6 fact2:0 frame3:6000 frame4:9 ");
}

static void refusal_of_a_record_ends_the_open_and_changes_nothing(void **state)
{
    struct box *b = *state;
    struct replay r = {.text = "", .refuse = 2};

    open_with(b, 3, 8);
    close_log(b);
    assert_int_equal(hf_changelog_open(&b->config, 0, note_record, &r, &b->log, &b->error),
                     HF_FORK);
    assert_null(b->log);
    assert_string_equal(r.text, "frame1:8 ");
    open_log(b);
    assert_frames(b, 1, 3, 8);
}

/* ---- torn tails ---- */

static void assert_zero_after(struct box *b, uint64_t number, uint64_t from)
{
    uint8_t bytes[SMALL];

    assert_int_equal(load(b, number, bytes, sizeof(bytes)), sizeof(bytes));
    for (uint64_t at = from; at < sizeof(bytes); at++) {
        assert_int_equal(bytes[at], 0);
    }
}

/* Frames 1 to 3 and the bytes of their file; frame 4 begins at the offset that is returned. */
static uint64_t make_tail(struct box *b, uint8_t bytes[SMALL])
{
    uint64_t end;

    open_with(b, 3, 64);
    end = synced_offset(b);
    add_frames(b, 4, 4, 64);
    load(b, 1, bytes, SMALL);
    close_log(b);
    return end;
}

static void record_torn_at_any_byte_is_zeroed_and_the_log_goes_on(void **state)
{
    struct box *b = *state;
    uint8_t whole[SMALL], torn[SMALL];
    uint64_t end = make_tail(b, whole);

    for (uint64_t cut = 0; cut < RECORD_HEAD + 64; cut++) {
        /* What did not reach the disk is zeros, or what stood there before. */
        memcpy(torn, whole, sizeof(torn));
        memset(torn + end + cut, cut % 2 == 0 ? 0 : 0xa5, SMALL - end - cut);
        poke(b, 1, 0, torn, sizeof(torn));
        open_log(b);
        assert_frames(b, 1, 3, 64);
        assert_zero_after(b, 1, end);
        assert_int_equal(append(b, 4, 1, 56), HF_OK);
        sync_log(b);
        reopen(b);
        assert_int_equal(hf_changelog_last(b->log), 4);
        assert_frame(b, 4, 1, 56);
        close_log(b);
    }
}

/* The process before may have ended after a sync that failed, and left pages that only look
 * written. */
static void untorn_last_record_is_kept_and_written_and_synced_again(void **state)
{
    const struct timespec long_ago[2] = {{0, 0}, {0, 0}};
    struct box *b = *state;
    uint8_t whole[SMALL];
    struct stat st;

    make_tail(b, whole);
    utimensat(AT_FDCWD, segment_path(b, 1), long_ago, 0);
    atomic_store(&fdatasync_fails_in, 1);
    assert_int_equal(try_open(b), HF_IO);
    stat(segment_path(b, 1), &st);
    assert_true(st.st_mtime > 0);
    open_log(b);
    assert_frames(b, 1, 4, 64);
}

static void file_cut_short_is_grown_back(void **state)
{
    struct box *b = *state;
    uint8_t whole[SMALL];
    uint64_t end = make_tail(b, whole);

    for (int more = 0; more < 100; more += 50) {
        poke(b, 1, 0, whole, sizeof(whole));
        assert_int_equal(truncate(segment_path(b, 1), (off_t)end + more), 0);
        open_log(b);
        assert_frames(b, 1, 3, 64);
        assert_zero_after(b, 1, end);
        close_log(b);
    }
    open_log(b);
    add_frames(b, 4, 9, 64);
    reopen(b);
    assert_frames(b, 1, 9, 64);
}

static void group_torn_in_the_middle_loses_its_end_and_never_regains_it(void **state)
{
    struct box *b = *state;
    uint64_t end;

    open_with(b, 1, 64);
    end = synced_offset(b);
    for (hf_seq seq = 2; seq <= 4; seq++) {
        assert_int_equal(append(b, seq, 0, 64), HF_OK);
    }
    sync_log(b);
    close_log(b);
    flip(b, 1, end + 104 + 60); /* in frame 3 */
    open_log(b);
    assert_frames(b, 1, 2, 64);
    /* Frame 3 comes again, of the same size: the old frame 4 must not follow it. */
    assert_int_equal(append(b, 3, 1, 64), HF_OK);
    sync_log(b);
    reopen(b);
    assert_int_equal(hf_changelog_last(b->log), 3);
    assert_frame(b, 3, 1, 64);
}

static void whole_record_with_a_gap_in_seq_is_not_accepted(void **state)
{
    struct box *b = *state;
    uint8_t record[64];
    uint64_t end;

    open_with(b, 2, 16);
    end = synced_offset(b);
    close_log(b);
    poke(b, 1, end, record, craft(b, record, 4, 0));
    open_log(b);
    assert_frames(b, 1, 2, 16);
    close_log(b);
    poke(b, 1, end, record, craft(b, record, 3, 0)); /* the control: nothing else was wrong */
    open_log(b);
    assert_frames(b, 1, 3, 16);
}

static void whole_record_of_an_older_use_of_the_file_is_not_accepted(void **state)
{
    struct box *b = *state;
    uint8_t record[64];
    uint64_t end;

    open_with(b, 2, 16);
    end = synced_offset(b);
    close_log(b);
    poke(b, 1, end, record, craft(b, record, 3, 1));
    open_log(b);
    assert_frames(b, 1, 2, 16);
}

static void sync_that_fails_at_open_fails_the_open(void **state)
{
    struct box *b = *state;
    uint8_t whole[SMALL];
    uint64_t end = make_tail(b, whole);

    flip(b, 1, end + 20);
    atomic_store(&fdatasync_fails_in, 1);
    assert_int_equal(try_open(b), HF_IO);
    atomic_store(&fsync_fails_in, 1);
    assert_int_equal(try_open(b), HF_IO);
    open_log(b);
    assert_frames(b, 1, 3, 64);
}

static void void_left_by_a_failed_sync_is_not_replayed(void **state)
{
    struct box *b = *state;
    struct replay r = {.text = ""};

    open_with(b, 2, 64);
    assert_int_equal(append(b, 3, 1, 64), HF_OK);
    assert_int_equal(append(b, 4, 1, 64), HF_OK);
    atomic_store(&fdatasync_fails_in, 1);
    assert_int_equal(hf_changelog_sync(b->log), HF_IO);
    assert_frames(b, 1, 2, 64);
    sync_log(b); /* nothing is left to be synced */
    assert_int_equal(hf_changelog_last(b->log), 2);
    assert_int_equal(append(b, 3, 2, 40), HF_OK);
    sync_log(b);
    assert_true(segment_exists(b, 2));
    assert_frame(b, 3, 2, 40);
    close_log(b);
    b->config.covered = 3;
    assert_int_equal(hf_changelog_open(&b->config, 0, note_record, &r, &b->log, &b->error), HF_OK);
    assert_string_equal(r.text, "frame1:64 frame2:64 frame3:40 ");
    assert_frame(b, 3, 2, 40);
}

/* The group may be whole on the disk, or not be there: both are right, but nothing in between. */
static void stop_after_a_failed_sync_recovers_and_goes_on(void **state)
{
    struct box *b = box_with(state, 2, 64);

    assert_int_equal(append(b, 3, 0, 64), HF_OK);
    atomic_store(&fdatasync_fails_in, 1);
    assert_int_equal(hf_changelog_sync(b->log), HF_IO);
    reopen(b);
    add_frames(b, hf_changelog_last(b->log) + 1, 5, 64);
    reopen(b);
    assert_frames(b, 1, 5, 64);
}

/* ---- damage ---- */

static void damaged_record_that_the_state_covers_is_corruption(void **state)
{
    struct box *b = *state;
    uint8_t whole[SMALL], after[SMALL];
    uint64_t end = make_tail(b, whole);

    b->config.covered = 4;
    flip(b, 1, end + 60);
    load(b, 1, whole, sizeof(whole));
    assert_refused(b, HF_CORRUPT, 1, end);
    load(b, 1, after, sizeof(after));
    assert_memory_equal(whole, after, SMALL); /* the evidence is as it was */
    b->config.covered = 3;
    open_log(b);
    assert_frames(b, 1, 3, 64);
}

static void damaged_record_that_was_synced_before_a_later_one_is_corruption(void **state)
{
    struct box *b = *state;
    uint8_t whole[SMALL], after[SMALL];
    uint64_t end = make_tail(b, whole) - 104; /* of frame 2 */

    for (uint64_t at = end; at < end + 104; at++) {
        flip(b, 1, at);
        assert_refused(b, HF_CORRUPT, 1, end);
        flip(b, 1, at);
    }
    flip(b, 1, end);
    assert_refused(b, HF_CORRUPT, 1, end);
    load(b, 1, after, sizeof(after));
    after[end] ^= 0x10;
    assert_memory_equal(whole, after, SMALL);
}

static void damaged_fact_that_was_synced_before_a_later_one_is_corruption(void **state)
{
    struct box *b = *state;
    uint64_t end;

    open_with(b, 1, 16);
    end = synced_offset(b);
    append_fact(b, 1, "edge seven is revoked");
    sync_log(b);
    append_fact(b, 1, "edge eight is revoked");
    sync_log(b);
    close_log(b);
    flip(b, 1, end + RECORD_HEAD + 2);
    assert_refused(b, HF_CORRUPT, 1, end);
}

static void damaged_first_group_of_a_segment_is_corruption(void **state)
{
    struct box *b = box_with(state, 1, 64);

    close_log(b);
    flip(b, 1, HEAD + 50);
    assert_refused(b, HF_CORRUPT, 1, HEAD);
}

static void damaged_end_of_an_older_segment_is_corruption(void **state)
{
    struct box *b = *state;
    uint64_t frame, fact;

    open_with(b, 2, 64);
    frame = synced_offset(b);
    add_frames(b, 3, 3, 64);
    fact = synced_offset(b);
    append_fact(b, 3, "edge seven is revoked");
    sync_log(b);
    add_frames(b, 4, 4, 8000);
    assert_true(segment_exists(b, 2));
    close_log(b);
    flip(b, 1, frame + 3);
    assert_refused(b, HF_CORRUPT, 1, frame);
    flip(b, 1, frame + 3);
    flip(b, 1, fact + 3);
    assert_refused(b, HF_CORRUPT, 1, fact);
}

static void damaged_head_is_corruption(void **state)
{
    struct box *b = box_with(state, 1, 64);

    close_log(b);
    for (uint64_t at = 0; at < HEAD; at++) {
        flip(b, 1, at);
        assert_int_equal(try_open(b), at >= 8 && at < 12 ? HF_MISMATCH : HF_CORRUPT);
        assert_non_null(strstr(b->error.text, "0000000000000001.seg"));
        flip(b, 1, at);
    }
    open_log(b);
}

static void missing_middle_segment_is_corruption(void **state)
{
    struct box *b = box_with(state, 4, 6000);

    close_log(b);
    unlink(segment_path(b, 3));
    assert_int_equal(try_open(b), HF_CORRUPT);
    assert_non_null(strstr(b->error.text, "0000000000000003.seg"));
}

static void missing_oldest_segment_is_only_a_shorter_log(void **state)
{
    struct box *b = box_with(state, 4, 6000);

    close_log(b);
    unlink(segment_path(b, 1));
    open_log(b);
    assert_frames(b, 2, 4, 6000);
}

static void missing_end_of_the_log_that_the_state_covers_is_corruption(void **state)
{
    struct box *b = box_with(state, 2, 6000);

    close_log(b);
    b->config.covered = 2;
    unlink(segment_path(b, 2));
    assert_int_equal(try_open(b), HF_CORRUPT);
    unlink(segment_path(b, 1));
    assert_int_equal(try_open(b), HF_CORRUPT);
    b->config.base_seq = 2;
    open_log(b);
}

static void segment_of_another_log_is_corruption(void **state)
{
    struct box *b = *state;
    uint8_t other[SMALL];

    open_with(b, 2, 6000);
    close_log(b);
    load(b, 2, other, sizeof(other));
    unlink(segment_path(b, 1));
    unlink(segment_path(b, 2));
    open_with(b, 2, 6000);
    close_log(b);
    poke(b, 2, 0, other, sizeof(other));
    assert_int_equal(try_open(b), HF_CORRUPT);
    assert_non_null(strstr(b->error.text, "0000000000000002.seg"));
}

static void set_version(struct box *b, uint64_t number, uint8_t version)
{
    uint8_t head[HEAD];

    load(b, number, head, sizeof(head));
    head[8] = version;
    put64(head + 120, XXH3_64bits(head, 120));
    poke(b, number, 0, head, sizeof(head));
}

static void newer_format_is_refused(void **state)
{
    struct box *b = *state;

    open_with(b, 1, 8);
    close_log(b);
    set_version(b, 1, VERSION + 1);
    assert_int_equal(try_open(b), HF_MISMATCH);
    set_version(b, 1, 0);
    assert_int_equal(try_open(b), HF_MISMATCH);
}

/* Who wrote it would take what is new in this version for a torn tail. */
static void older_format_is_read_and_gone_on_from_in_a_new_segment(void **state)
{
    struct box *b = *state;
    uint8_t before[SMALL], after[SMALL];

    open_with(b, 3, 64);
    close_log(b);
    set_version(b, 1, 1);
    open_log(b);
    assert_frames(b, 1, 3, 64);
    load(b, 1, before, sizeof(before));
    add_frames(b, 4, 5, 64);
    load(b, 1, after, sizeof(after));
    assert_memory_equal(before, after, SMALL);
    load(b, 2, after, sizeof(after));
    assert_int_equal(after[8], VERSION);
    reopen(b);
    assert_frames(b, 1, 5, 64);
    add_frames(b, 6, 6, 64);
    assert_false(segment_exists(b, 3));
}

/* ---- the directory ---- */

static void what_an_earlier_process_prepared_is_removed(void **state)
{
    struct box *b = *state;
    char path[160];

    open_with(b, 1, 8);
    close_log(b);
    snprintf(path, sizeof(path), "%s/spare", b->dir);
    assert_int_equal(truncate(path, 0), -1);
    assert_int_equal(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
    open_log(b);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(hf_changelog_disk_bytes(b->log), SMALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOX_TEST(replay_gives_every_fact_and_the_frames_after_from_in_order),
        BOX_TEST(refusal_of_a_record_ends_the_open_and_changes_nothing),
        BOX_TEST(record_torn_at_any_byte_is_zeroed_and_the_log_goes_on),
        BOX_TEST(untorn_last_record_is_kept_and_written_and_synced_again),
        BOX_TEST(file_cut_short_is_grown_back),
        BOX_TEST(group_torn_in_the_middle_loses_its_end_and_never_regains_it),
        BOX_TEST(whole_record_with_a_gap_in_seq_is_not_accepted),
        BOX_TEST(whole_record_of_an_older_use_of_the_file_is_not_accepted),
        BOX_TEST(sync_that_fails_at_open_fails_the_open),
        BOX_TEST(void_left_by_a_failed_sync_is_not_replayed),
        BOX_TEST(stop_after_a_failed_sync_recovers_and_goes_on),
        BOX_TEST(damaged_record_that_the_state_covers_is_corruption),
        BOX_TEST(damaged_record_that_was_synced_before_a_later_one_is_corruption),
        BOX_TEST(damaged_fact_that_was_synced_before_a_later_one_is_corruption),
        BOX_TEST(damaged_first_group_of_a_segment_is_corruption),
        BOX_TEST(damaged_end_of_an_older_segment_is_corruption),
        BOX_TEST(damaged_head_is_corruption),
        BOX_TEST(missing_middle_segment_is_corruption),
        BOX_TEST(missing_oldest_segment_is_only_a_shorter_log),
        BOX_TEST(missing_end_of_the_log_that_the_state_covers_is_corruption),
        BOX_TEST(segment_of_another_log_is_corruption),
        BOX_TEST(newer_format_is_refused),
        BOX_TEST(older_format_is_read_and_gone_on_from_in_a_new_segment),
        BOX_TEST(what_an_earlier_process_prepared_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
