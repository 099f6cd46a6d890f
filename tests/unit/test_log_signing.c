/*
 * test_log_signing.c - frames that are signed while the log is being written: when that happens,
 * what a crash may take of it, and how it is made good.
 *
 * The key of this test is a byte; a signature is that byte and the frame's seq, over and over. Read
 * changelog_box.h first.
 */
#include "changelog_box.h"

#include <xxhash.h>

#define FRAME 200u
#define AT 100u /* where the signature begins */
#define TRAILER 80u
#define RECORD (RECORD_HEAD + FRAME + TRAILER)

/* ---- writes of signatures ---- */

static bool signatures_fail;
static unsigned signatures_written;
static off_t lowest_write; /* since it was set */

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    if (len == TRAILER && signatures_fail) {
        errno = EIO;
        return -1;
    }
    signatures_written += len == TRAILER;
    lowest_write = at < lowest_write ? at : lowest_write;
    return (ssize_t)syscall(SYS_pwrite64, fd, data, len, at);
}

/* ---- a key ---- */

struct signer {
    struct box *b;
    unsigned calls;
    unsigned syncs;    /* that there had been at the last call */
    uint64_t looks_at; /* where the first record of the group stands; 0 = does not look */
    bool looked;
};

static struct signer signer;

static uint8_t *unsigned_frame(hf_seq seq)
{
    static uint8_t p[FRAME];

    fill(p, seq, 0, FRAME);
    memset(p + AT, 0, HF_LOG_SIGNATURE_BYTES);
    return p;
}

static void signature(hf_seq seq, uint8_t *payload)
{
    memset(payload + AT, (uint8_t)(0x80 + seq), HF_LOG_SIGNATURE_BYTES);
}

static uint32_t sign(void *ctx, hf_seq seq, uint8_t *payload, size_t len)
{
    struct signer *s = ctx;
    uint8_t file[SMALL];

    assert_int_equal(len, FRAME);
    assert_memory_equal(payload, unsigned_frame(seq), FRAME);
    s->calls++;
    s->syncs = fdatasyncs;
    if (s->looks_at != 0) { /* it was written before it is signed */
        load(s->b, 1, file, sizeof(file));
        assert_memory_equal(file + s->looks_at + RECORD_HEAD, payload, FRAME);
        s->looked = true;
    }
    signature(seq, payload);
    return AT;
}

static int signing_set_up(void **state)
{
    struct box *b;

    if (box_set_up(state) != 0) {
        return -1;
    }
    b = *state;
    signer = (struct signer){.b = b};
    signatures_fail = false;
    b->config.sign = sign;
    b->config.sign_ctx = &signer;
    return 0;
}

static void append_unsigned(struct box *b, hf_seq seq)
{
    assert_int_equal(
        hf_changelog_append_unsigned(b->log, seq, hf_slice_of(unsigned_frame(seq), FRAME)), HF_OK);
}

static void add_unsigned(struct box *b, hf_seq first, hf_seq last)
{
    for (hf_seq seq = first; seq <= last; seq++) {
        append_unsigned(b, seq);
        sync_log(b);
    }
}

static enum hf_err read_frame(struct box *b, hf_seq seq)
{
    uint8_t got[FRAME], want[FRAME];
    size_t len;
    enum hf_err err = hf_changelog_read(b->log, seq, got, sizeof(got), &len);

    if (err == HF_OK) {
        memcpy(want, unsigned_frame(seq), FRAME);
        signature(seq, want);
        assert_int_equal(len, FRAME);
        assert_memory_equal(got, want, FRAME);
    }
    return err;
}

static void assert_signed(struct box *b, hf_seq first, hf_seq last)
{
    assert_int_equal(hf_changelog_last(b->log), last);
    for (hf_seq seq = first; seq <= last; seq++) {
        assert_int_equal(read_frame(b, seq), HF_OK);
    }
}

/* What who opened the log does; returns how many frames there were to sign. */
static unsigned sign_again(struct box *b)
{
    uint8_t p[FRAME];
    hf_seq from = hf_changelog_unsigned(b->log);
    unsigned count = 0;
    bool is_signed;
    size_t len;

    for (hf_seq seq = hf_changelog_last(b->log); from != 0 && seq >= from; seq--) {
        assert_int_equal(hf_changelog_read_unsigned(b->log, seq, p, sizeof(p), &len, &is_signed),
                         HF_OK);
        assert_int_equal(len, FRAME);
        if (!is_signed) {
            assert_memory_equal(p, unsigned_frame(seq), FRAME);
            signature(seq, p);
            assert_int_equal(hf_changelog_sign_again(b->log, seq, p, AT), HF_OK);
            count++;
        }
    }
    hf_changelog_signed(b->log);
    return count;
}

/* What a power cut makes of a signature that no sync followed. */
static void lose_signature(struct box *b, uint64_t number, uint64_t record)
{
    static const uint8_t zeros[TRAILER];

    poke(b, number, record + RECORD - TRAILER, zeros, sizeof(zeros));
}

/* ---- the usual way ---- */

static void frames_are_signed_between_the_write_and_the_sync(void **state)
{
    struct box *b = *state;

    open_log(b);
    add_unsigned(b, 1, 1);
    signer.looks_at = synced_offset(b);
    append_unsigned(b, 2);
    assert_int_equal(signer.calls, 1);
    assert_int_equal(read_frame(b, 2), HF_NOTFOUND);
    unsigned syncs = fdatasyncs;
    sync_log(b);
    assert_true(signer.looked);
    assert_int_equal(signer.syncs, syncs);
    assert_int_equal(fdatasyncs, syncs + 1);
    assert_signed(b, 1, 2);
    signer.looks_at = 0;
    reopen(b);
    assert_int_equal(hf_changelog_unsigned(b->log), 0);
    assert_signed(b, 1, 2);
    assert_int_equal(signer.calls, 2);
}

static void a_group_may_have_both_kinds_of_frames_and_facts(void **state)
{
    struct box *b = *state;
    uint64_t bytes = 0;

    open_log(b);
    for (hf_seq seq = 0; seq < 80; seq += 4) { /* through several segments */
        append_unsigned(b, seq + 1);
        append_fact(b, seq + 1, "a fact");
        assert_int_equal(append(b, seq + 2, 0, 77), HF_OK);
        append_unsigned(b, seq + 3);
        append_unsigned(b, seq + 4);
        sync_log(b);
        bytes += 3 * FRAME + 77;
    }
    assert_true(segment_exists(b, 3));
    for (int again = 0; again < 2; again++) {
        for (hf_seq seq = 0; seq < 80; seq += 4) {
            assert_int_equal(read_frame(b, seq + 1), HF_OK);
            assert_frame(b, seq + 2, 0, 77);
            assert_int_equal(read_frame(b, seq + 3), HF_OK);
            assert_int_equal(read_frame(b, seq + 4), HF_OK);
        }
        assert_int_equal(hf_changelog_bytes(b->log, 1, 80), bytes);
        reopen(b);
    }
    assert_int_equal(signer.calls, 60);
}

static void without_a_key_nothing_unsigned_is_taken(void **state)
{
    struct box *b = *state;

    open_log(b);
    add_unsigned(b, 1, 3);
    close_log(b);
    b->config.sign = NULL;
    open_log(b);
    assert_signed(b, 1, 3);
    assert_int_equal(hf_changelog_append_unsigned(b->log, 4, hf_slice_of(unsigned_frame(4), FRAME)),
                     HF_ARG);
    close_log(b);
    lose_signature(b, 1, HEAD + RECORD);
    assert_int_equal(try_open(b), HF_CORRUPT);
    assert_non_null(strstr(b->error.text, "without a signature"));
}

/* ---- what a crash leaves ---- */

/* Also of a frame that is not the last: the next group may have failed, or gone elsewhere. */
static void a_signature_that_is_lost_is_made_again(void **state)
{
    struct box *b = *state;

    open_log(b);
    add_unsigned(b, 1, 60); /* 25 to a segment */
    assert_true(segment_exists(b, 3));
    close_log(b);
    lose_signature(b, 1, HEAD + 24 * RECORD); /* 25, the last of its segment */
    lose_signature(b, 2, HEAD + 3 * RECORD);  /* 29 */
    b->config.covered = 60;
    open_log(b);
    assert_int_equal(hf_changelog_unsigned(b->log), 25);
    assert_int_equal(read_frame(b, 24), HF_OK);
    assert_int_equal(read_frame(b, 25), HF_CORRUPT);
    assert_int_equal(read_frame(b, 29), HF_CORRUPT);
    assert_int_equal(sign_again(b), 2);
    assert_int_equal(hf_changelog_unsigned(b->log), 0);
    assert_signed(b, 1, 60);
    reopen(b);
    assert_int_equal(hf_changelog_unsigned(b->log), 0);
    assert_signed(b, 1, 60);
}

/* Any byte of it: one that is half there is not there. */
static void a_damaged_signature_is_made_again_and_a_damaged_frame_is_damage(void **state)
{
    struct box *b = *state;
    uint64_t record = HEAD + RECORD; /* of frame 2 */

    open_log(b);
    add_unsigned(b, 1, 4);
    close_log(b);
    b->config.covered = 4;
    for (uint64_t at = 0; at < RECORD; at++) {
        flip(b, 1, record + at);
        if (at < RECORD - TRAILER) {
            assert_int_equal(try_open(b), HF_CORRUPT);
            flip(b, 1, record + at);
            continue;
        }
        open_log(b);
        assert_int_equal(read_frame(b, 2), HF_CORRUPT);
        assert_int_equal(sign_again(b), 1);
        assert_signed(b, 1, 4);
        close_log(b);
    }
}

/* The file of a log with frames 1 to last, which is closed. */
static void load_closed(struct box *b, hf_seq last, uint8_t file[SMALL])
{
    open_log(b);
    add_unsigned(b, 1, last);
    close_log(b);
    load(b, 1, file, SMALL);
}

/* A file is used again, and a crash may leave any mixture of its pages. */
static void a_signature_of_another_frame_is_none(void **state)
{
    struct box *b = *state;
    uint8_t file[SMALL];

    load_closed(b, 3, file);
    poke(b, 1, HEAD + 2 * RECORD - TRAILER, file + HEAD + RECORD - TRAILER, TRAILER);
    open_log(b);
    assert_int_equal(sign_again(b), 1);
    assert_signed(b, 1, 3);
}

/* Whoever made it: its checksum is right. */
static void a_signature_for_a_place_outside_its_frame_is_none(void **state)
{
    static const uint32_t places[] = {FRAME - HF_LOG_SIGNATURE_BYTES + 1, FRAME + 1, UINT32_MAX};
    struct box *b = *state;
    uint8_t file[SMALL];

    load_closed(b, 3, file);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint8_t *record = file + HEAD + RECORD;
        uint8_t *trailer = record + RECORD - TRAILER;
        uint64_t sum, seed;
        memcpy(trailer + 8, &places[i], sizeof(places[i]));
        memcpy(&seed, record + 32, sizeof(seed));
        sum = XXH3_64bits_withSeed(trailer + 8, TRAILER - 8, seed);
        memcpy(trailer, &sum, sizeof(sum));
        poke(b, 1, HEAD + 2 * RECORD - TRAILER, trailer, TRAILER);
        open_log(b);
        assert_int_equal(read_frame(b, 2), HF_CORRUPT);
        assert_int_equal(sign_again(b), 1);
        assert_signed(b, 1, 3);
        close_log(b);
    }
}

/* The tail is written once more at open, as it was, and with the signatures of the group before. */
static void an_unsigned_tail_is_kept(void **state)
{
    struct box *b = *state;

    open_log(b);
    add_unsigned(b, 1, 2);
    for (hf_seq seq = 3; seq <= 6; seq++) {
        append_unsigned(b, seq);
    }
    sync_log(b);
    close_log(b);
    for (uint64_t i = 1; i < 6; i++) {
        lose_signature(b, 1, HEAD + i * RECORD);
    }
    open_log(b);
    reopen(b); /* a start that ended before it signed */
    assert_int_equal(sign_again(b), 5);
    assert_signed(b, 1, 6);
    add_unsigned(b, 7, 9);
    lowest_write = INT64_MAX;
    reopen(b);
    assert_int_equal(lowest_write, HEAD + 7 * RECORD); /* 8 is there, but maybe not signed */
    assert_signed(b, 1, 9);
}

/* The file ends within the signature of the last frame. */
static void a_record_that_is_cut_off_in_its_signature_is_a_torn_tail(void **state)
{
    struct box *b = *state;

    open_log(b);
    add_unsigned(b, 1, 3);
    uint64_t end = synced_offset(b);
    close_log(b);
    for (off_t cut = 1; cut <= (off_t)TRAILER; cut++) {
        assert_int_equal(truncate(segment_path(b, 1), (off_t)end - cut), 0);
        open_log(b);
        assert_signed(b, 1, 2);
        add_unsigned(b, 3, 3);
        assert_int_equal(synced_offset(b), end);
        close_log(b);
    }
}

/* ---- a disk that fails ---- */

static struct box *losing;
static uint64_t lost_record;

static void signature_goes(void)
{
    lose_signature(losing, 1, lost_record);
}

/* A sync fails, and takes the signature of that record with it. */
static void sync_loses(struct box *b, uint64_t record)
{
    losing = b;
    lost_record = record;
    fdatasync_failed = signature_goes;
    atomic_store(&fdatasync_fails_in, 1);
    assert_int_equal(hf_changelog_sync(b->log), HF_IO);
}

/* They are on pages that the failed sync was to write too. */
static void a_failed_sync_leaves_the_signatures_before_it_in_doubt(void **state)
{
    struct box *b = *state;

    open_log(b);
    add_unsigned(b, 1, 1);
    append_unsigned(b, 2);
    append_unsigned(b, 3);
    sync_log(b);
    append_unsigned(b, 4);
    signatures_written = 0;
    atomic_store(&fdatasync_fails_in, 1);
    assert_int_equal(hf_changelog_sync(b->log), HF_IO);
    assert_int_equal(signatures_written, 2); /* of 2 and 3, once more */
    assert_int_equal(hf_changelog_unsigned(b->log), 0);
    assert_signed(b, 1, 3);
    add_unsigned(b, 4, 5);
    assert_true(segment_exists(b, 2));
    reopen(b);
    assert_signed(b, 1, 5);
}

static void a_signature_that_a_failed_sync_took_is_made_again(void **state)
{
    struct box *b = *state;

    open_log(b);
    add_unsigned(b, 1, 1);
    append_unsigned(b, 2);
    append_unsigned(b, 3);
    sync_log(b);
    append_unsigned(b, 4);
    sync_loses(b, HEAD + RECORD);
    assert_int_equal(hf_changelog_last(b->log), 3);
    assert_int_equal(hf_changelog_unsigned(b->log), 2);
    assert_int_equal(read_frame(b, 2), HF_CORRUPT);
    assert_int_equal(sign_again(b), 1);
    assert_signed(b, 1, 3);
    add_unsigned(b, 4, 5);
    reopen(b);
    assert_signed(b, 1, 5);
}

/* Nothing is left of it to be signed. */
static void a_lost_signature_that_is_trimmed_away_is_no_matter(void **state)
{
    struct box *b = *state;
    bool again;

    open_log(b);
    add_unsigned(b, 1, 2);
    append_unsigned(b, 3);
    sync_loses(b, HEAD + RECORD);
    assert_int_equal(hf_changelog_unsigned(b->log), 2);
    add_unsigned(b, 3, 5);
    assert_int_equal(hf_changelog_trim(b->log, 1, 5, &again), HF_OK);
    assert_int_equal(hf_changelog_first(b->log), 3);
    assert_int_equal(hf_changelog_unsigned(b->log), 3);
    assert_int_equal(sign_again(b), 0);
    assert_int_equal(hf_changelog_unsigned(b->log), 0);
}

/* Those that were made again are synced no sooner than others. */
static void what_was_made_again_is_in_doubt_too(void **state)
{
    struct box *b = *state;
    uint8_t file[SMALL];

    load_closed(b, 4, file);
    lose_signature(b, 1, HEAD + RECORD);
    open_log(b);
    assert_int_equal(sign_again(b), 1);
    append_unsigned(b, 5);
    signatures_written = 0;
    atomic_store(&fdatasync_fails_in, 1);
    assert_int_equal(hf_changelog_sync(b->log), HF_IO);
    assert_int_equal(signatures_written, 3); /* of 2, 3 and 4 */
    assert_signed(b, 1, 4);
}

/* No group follows there that would sync them. */
static void the_signatures_at_the_end_of_a_segment_are_synced(void **state)
{
    struct box *b = *state;

    open_log(b);
    add_unsigned(b, 1, 25);
    append_unsigned(b, 26);
    unsigned syncs = fdatasyncs;
    sync_loses(b, HEAD + 24 * RECORD);
    assert_int_equal(fdatasyncs, syncs + 1);
    assert_false(segment_exists(b, 2));
    assert_int_equal(hf_changelog_unsigned(b->log), 25);
    assert_int_equal(sign_again(b), 1);
    add_unsigned(b, 26, 50);
    syncs = fdatasyncs;
    add_unsigned(b, 51, 51);
    assert_true(segment_exists(b, 3));
    assert_in_range(fdatasyncs, syncs + 2, syncs + 3); /* one may be of the file itself */
    assert_signed(b, 1, 51);
}

static void a_group_whose_signatures_cannot_be_written_is_dropped(void **state)
{
    uint8_t p[FRAME];
    struct box *b = *state;

    open_log(b);
    add_unsigned(b, 1, 2);
    append_unsigned(b, 3);
    signatures_fail = true;
    assert_int_equal(hf_changelog_sync(b->log), HF_IO);
    assert_signed(b, 1, 2);
    append_unsigned(b, 3);
    assert_int_equal(hf_changelog_sync(b->log), HF_IO); /* nor in a new segment */
    assert_false(segment_exists(b, 2));
    signatures_fail = false;
    add_unsigned(b, 3, 4);
    assert_true(segment_exists(b, 2));
    reopen(b);
    assert_signed(b, 1, 4);
    close_log(b);
    lose_signature(b, 2, HEAD);
    open_log(b);
    signatures_fail = true;
    memcpy(p, unsigned_frame(3), FRAME);
    assert_int_equal(hf_changelog_sign_again(b->log, 3, p, AT), HF_IO);
    signatures_fail = false;
    assert_int_equal(sign_again(b), 1);
    assert_signed(b, 1, 4);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, signing_set_up, box_tear_down)
    const struct CMUnitTest tests[] = {
        T(frames_are_signed_between_the_write_and_the_sync),
        T(a_group_may_have_both_kinds_of_frames_and_facts),
        T(without_a_key_nothing_unsigned_is_taken),
        T(a_signature_that_is_lost_is_made_again),
        T(a_damaged_signature_is_made_again_and_a_damaged_frame_is_damage),
        T(a_signature_of_another_frame_is_none),
        T(a_signature_for_a_place_outside_its_frame_is_none),
        T(an_unsigned_tail_is_kept),
        T(a_record_that_is_cut_off_in_its_signature_is_a_torn_tail),
        T(a_failed_sync_leaves_the_signatures_before_it_in_doubt),
        T(a_signature_that_a_failed_sync_took_is_made_again),
        T(a_lost_signature_that_is_trimmed_away_is_no_matter),
        T(what_was_made_again_is_in_doubt_too),
        T(the_signatures_at_the_end_of_a_segment_are_synced),
        T(a_group_whose_signatures_cannot_be_written_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
