/*
 * test_log_signing.c - frames that are signed while the log is being written: when that happens,
 * what a crash may take of it, and how it is made good.
 *
 * The key of this test is a byte; a signature is that byte and the frame's seq, over and over. Read
 * changelog_box.h first.
 */
#include "changelog_box.h"

#define FRAME 200u
#define AT 100u /* where the signature begins */
#define RECORD (RECORD_HEAD + FRAME + TRAILER)
#define TRAILER 80u

/* ---- writes that fail ---- */

static bool signatures_fail;

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    if (signatures_fail && len == TRAILER) {
        errno = EIO;
        return -1;
    }
    return (ssize_t)syscall(SYS_pwrite64, fd, data, len, at);
}

/* ---- a key ---- */

struct signer {
    struct box *b;
    unsigned calls;
    uint64_t looks_at; /* where the first record of the group stands; 0 = does not look */
    bool looked;
};

static uint8_t *unsigned_frame(hf_seq seq)
{
    static uint8_t p[FRAME];

    fill(p, seq, 0, FRAME);
    memset(p + AT, 0, HF_LOG_SIGNATURE_BYTES);
    return p;
}

static uint32_t sign(void *ctx, hf_seq seq, uint8_t *payload, size_t len)
{
    struct signer *s = ctx;
    uint8_t file[SMALL];

    assert_int_equal(len, FRAME);
    assert_memory_equal(payload, unsigned_frame(seq), FRAME);
    s->calls++;
    if (s->looks_at != 0) { /* it was written before it is signed */
        load(s->b, 1, file, sizeof(file));
        assert_memory_equal(file + s->looks_at + RECORD_HEAD, payload, FRAME);
        s->looked = true;
    }
    memset(payload + AT, (uint8_t)(0x80 + seq), HF_LOG_SIGNATURE_BYTES);
    return AT;
}

static struct signer *signer_of(struct box *b)
{
    static struct signer s;

    s = (struct signer){.b = b};
    b->config.sign = sign;
    b->config.sign_ctx = &s;
    return &s;
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
        memset(want + AT, (uint8_t)(0x80 + seq), HF_LOG_SIGNATURE_BYTES);
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
    struct signer *s = signer_of(b);

    open_log(b);
    add_unsigned(b, 1, 1);
    s->looks_at = synced_offset(b);
    append_unsigned(b, 2);
    assert_int_equal(s->calls, 1);
    assert_int_equal(read_frame(b, 2), HF_NOTFOUND);
    sync_log(b);
    assert_true(s->looked);
    assert_signed(b, 1, 2);
    s->looks_at = 0;
    reopen(b);
    assert_int_equal(hf_changelog_sign_rest(b->log), HF_OK);
    assert_signed(b, 1, 2);
    assert_int_equal(s->calls, 2);
}

static void a_group_may_have_both_kinds_of_frames_and_facts(void **state)
{
    struct box *b = *state;
    struct signer *s = signer_of(b);
    uint64_t bytes = 0;

    open_log(b);
    for (int round = 0; round < 20; round++) { /* through several segments */
        hf_seq seq = (hf_seq)(4 * round);
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
    assert_int_equal(s->calls, 60);
}

static void without_a_key_nothing_unsigned_is_taken(void **state)
{
    struct box *b = *state;

    signer_of(b);
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
    struct signer *s = signer_of(b);

    open_log(b);
    add_unsigned(b, 1, 60); /* 25 to a segment */
    assert_true(segment_exists(b, 3));
    close_log(b);
    lose_signature(b, 1, HEAD + 24 * RECORD); /* 25, the last of its segment */
    lose_signature(b, 2, HEAD + 3 * RECORD);  /* 29 */
    s->calls = 0;
    b->config.covered = 60;
    open_log(b);
    assert_int_equal(s->calls, 0); /* not before it is told to */
    assert_int_equal(read_frame(b, 24), HF_OK);
    assert_int_equal(read_frame(b, 25), HF_CORRUPT);
    assert_int_equal(read_frame(b, 29), HF_CORRUPT);
    assert_int_equal(hf_changelog_sign_rest(b->log), HF_OK);
    assert_int_equal(s->calls, 2);
    assert_signed(b, 1, 60);
    assert_int_equal(hf_changelog_sign_rest(b->log), HF_OK);
    reopen(b);
    assert_signed(b, 1, 60);
    assert_int_equal(s->calls, 2);
}

/* Any byte of it: one that is half there is not there. */
static void a_damaged_signature_is_made_again_and_a_damaged_frame_is_damage(void **state)
{
    struct box *b = *state;
    struct signer *s = signer_of(b);
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
        s->calls = 0;
        open_log(b);
        assert_int_equal(read_frame(b, 2), HF_CORRUPT);
        assert_int_equal(hf_changelog_sign_rest(b->log), HF_OK);
        assert_int_equal(s->calls, 1);
        assert_signed(b, 1, 4);
        close_log(b);
    }
}

/* A file is used again, and a crash may leave any mixture of its pages. */
static void a_signature_of_another_frame_is_none(void **state)
{
    struct box *b = *state;
    struct signer *s = signer_of(b);
    uint8_t file[SMALL];

    open_log(b);
    add_unsigned(b, 1, 3);
    close_log(b);
    load(b, 1, file, sizeof(file));
    poke(b, 1, HEAD + 2 * RECORD - TRAILER, file + HEAD + RECORD - TRAILER, TRAILER);
    s->calls = 0;
    open_log(b);
    assert_int_equal(hf_changelog_sign_rest(b->log), HF_OK);
    assert_int_equal(s->calls, 1);
    assert_signed(b, 1, 3);
}

/* The tail is written once more at open, as it was. */
static void an_unsigned_tail_is_kept(void **state)
{
    struct box *b = *state;

    signer_of(b);
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
    assert_int_equal(hf_changelog_sign_rest(b->log), HF_OK);
    assert_signed(b, 1, 6);
    add_unsigned(b, 7, 9);
    reopen(b);
    assert_signed(b, 1, 9);
}

/* ---- a disk that fails ---- */

static void a_group_whose_sync_fails_is_dropped(void **state)
{
    struct box *b = *state;

    signer_of(b);
    open_log(b);
    add_unsigned(b, 1, 2);
    append_unsigned(b, 3);
    atomic_store(&fdatasync_fails_in, 1);
    assert_int_equal(hf_changelog_sync(b->log), HF_IO);
    assert_signed(b, 1, 2);
    add_unsigned(b, 3, 4);
    assert_true(segment_exists(b, 2));
    reopen(b);
    assert_signed(b, 1, 4);
}

static void a_group_whose_signatures_cannot_be_written_is_dropped(void **state)
{
    struct box *b = *state;

    signer_of(b);
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
    assert_int_equal(hf_changelog_sign_rest(b->log), HF_IO);
    signatures_fail = false;
    assert_int_equal(hf_changelog_sign_rest(b->log), HF_OK);
    assert_signed(b, 1, 4);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, box_set_up, box_tear_down)
    const struct CMUnitTest tests[] = {
        T(frames_are_signed_between_the_write_and_the_sync),
        T(a_group_may_have_both_kinds_of_frames_and_facts),
        T(without_a_key_nothing_unsigned_is_taken),
        T(a_signature_that_is_lost_is_made_again),
        T(a_damaged_signature_is_made_again_and_a_damaged_frame_is_damage),
        T(a_signature_of_another_frame_is_none),
        T(an_unsigned_tail_is_kept),
        T(a_group_whose_sync_fails_is_dropped),
        T(a_group_whose_signatures_cannot_be_written_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
