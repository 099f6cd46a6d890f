/*
 * test_core_recovery.c - what a core is after a crash, a failed sync, a full disk, an old backup.
 *
 * What was answered is there again, what was not may be gone, and data that went back behind the
 * mark is fenced instead of served (G2, G3, G13, G17). Read test_core.c first.
 */
#include "core_box.h"

#include "proto/store/segment.h"

#include <fcntl.h>

/* ---- restart ---- */

static void a_restart_replays_exactly(void **state)
{
    struct box *b = *state;
    char key[16];
    for (int i = 0; i < 200; i++) {
        char value[16];
        snprintf(key, sizeof(key), "k%d", i * 7 % 50);
        snprintf(value, sizeof(value), "v%d", i);
        box_put(b, key, i % 3 == 0 ? NULL : value);
        if (i == 120) {
            box_commit(b);
        }
    }
    struct hf_core_status before = box_status(b);
    struct hf_hash chain = b->core->head.at.chain;
    assert_true(before.committed < before.head);
    box_crash(b);
    box_open(b);
    struct hf_core_status after = box_status(b);
    assert_int_equal(after.head, before.head);
    assert_int_equal(after.committed, before.head);
    assert_memory_equal(after.digest.b, before.digest.b, HF_HASH_BYTES);
    assert_memory_equal(after.epoch_id.b, before.epoch_id.b, HF_ID_BYTES);
    assert_memory_equal(b->core->head.at.chain.b, chain.b, HF_HASH_BYTES);
    struct hf_view *v;
    assert_int_equal(hf_view_open(hf_core_state(b->core), &v), HF_OK);
    assert_int_equal(hf_view_verify(v, NULL), HF_OK);
    hf_view_close(v);
}

static void a_torn_tail_costs_only_what_was_not_answered(void **state)
{
    struct box *b = *state;
    char path[512];
    uint64_t offset;
    box_put(b, "a", "1");
    box_put(b, "b", "2");
    struct hf_core_status before = box_status(b);
    hf_changelog_synced_at(b->core->writer.log, path, &offset);
    box_crash(b);
    uint8_t junk[300];
    box_random(b, junk, sizeof(junk));
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, junk, sizeof(junk), (off_t)offset), sizeof(junk));
    close(fd);
    box_open(b);
    assert_int_equal(box_status(b).head, before.head);
    assert_memory_equal(box_status(b).digest.b, before.digest.b, HF_HASH_BYTES);
    assert_int_equal(box_put(b, "c", "3").seq, 3);
}

static void a_group_that_was_not_run_is_gone_after_a_crash(void **state)
{
    struct box *b = *state;
    struct box_write w = {.done = false};
    box_put(b, "a", "1");
    box_send(b, box_add(&w, "b", "2"));
    hf_core_flush(b->core);
    box_crash(b);
    assert_false(w.done);
    box_open(b);
    assert_int_equal(box_status(b).head, 1);
}

static void a_crash_right_after_the_first_start_loses_nothing(void **state)
{
    struct box *b = *state;
    struct hf_id epoch = box_status(b).epoch_id;
    box_crash(b);
    box_open(b);
    assert_memory_equal(box_status(b).epoch_id.b, epoch.b, HF_ID_BYTES);
}

static void a_state_without_its_log_is_refused(void **state)
{
    struct box *b = *state;
    struct hf_error e;
    box_put(b, "a", "1");
    box_close(b);
    box_rm(b, "main/log");
    assert_int_equal(box_try_open(b, &e), HF_CORRUPT);
    assert_non_null(strstr(e.text, "no segment"));
    b->core = NULL;
}

static void a_log_without_its_state_makes_the_state_again(void **state)
{
    struct box *b = *state;
    box_put(b, "a", "1");
    struct hf_hash digest = box_status(b).digest;
    box_close(b);
    box_rm(b, "main/state");
    box_open(b);
    assert_int_equal(box_status(b).head, 1);
    assert_memory_equal(box_status(b).digest.b, digest.b, HF_HASH_BYTES);
    assert_string_equal(box_get(b, "a"), "1");
}

static void another_core_key_or_stream_name_is_refused(void **state)
{
    struct box *b = *state;
    struct hf_error e;
    struct hf_identity mine = b->id;
    uint8_t seed[32] = {9};
    box_close(b);
    assert_int_equal(hf_identity_from_seed(&b->id, seed), HF_OK);
    assert_int_equal(box_try_open(b, &e), HF_MISMATCH);
    assert_non_null(strstr(e.text, "another core key"));
    hf_identity_free(&b->id);
    b->id = mine;
    b->cfg.stream = "other";
    assert_int_equal(box_try_open(b, &e), HF_MISMATCH);
    assert_non_null(strstr(e.text, "'main'"));
    b->cfg.stream = "main";
    box_open(b);
}

/* Closes the stream and makes the configuration that of a new one, which the caller opens. */
static void begin_another(struct box *b)
{
    box_close(b);
    snprintf(b->dir, sizeof(b->dir), "%s/other", b->root);
    b->cfg.stream = "other";
}

static void trimming_keeps_what_is_not_committed_and_the_facts(void **state)
{
    struct box *b = *state;
    begin_another(b);
    b->cfg.segment_bytes = 64 << 10;
    b->cfg.log_bytes_max = 256 << 10;
    box_open(b);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(box_put_bytes(b, "k", 20000).code, HF_OK);
        box_commit(b);
    }
    assert_true(box_status(b).log_first > 30);
    assert_true(box_status(b).log_bytes < 640 << 10);
    box_crash(b);
    box_open(b);
    assert_int_equal(box_status(b).head, 60);
    assert_int_equal(box_put(b, "k", "v").seq, 61);
}

/* The second frame of a log, with another batch named as the one before it: its record is sound,
 * and its body opens as ever. */
static size_t another_before(const struct box *b, uint32_t i, uint8_t out[4096])
{
    struct hf_id stream;
    struct hf_frame f;
    struct hf_signature sig;
    struct hf_writer header;
    struct hf_writer w;
    uint8_t bytes[HF_HEADER_MAX];
    assert_int_equal(
        hf_frame_decode(hf_slice_of(b->published[i].data, b->published[i].len), &stream, &f),
        HF_OK);
    f.h.prev.b[0] ^= 1;
    hf_writer_init(&header, bytes, sizeof(bytes));
    hf_header_encode(&f.h, &header);
    hf_header_sign(hf_writer_bytes(&header), b->id.secret, &sig);
    hf_writer_init(&w, out, 4096);
    hf_frame_encode(&stream, hf_writer_bytes(&header), &sig, f.body, &w);
    assert_false(w.failed);
    return w.len;
}

static void a_log_whose_frames_are_no_chain_is_refused(void **state)
{
    struct box *b = *state;
    char dir[128];
    uint8_t frame[4096];
    struct hf_error e;
    struct hf_changelog *log;
    for (int other = 0; other < 2; other++) {
        hf_seq seq = box_put(b, "a", other ? "1" : "2").seq;
        size_t len = b->published[b->published_count - 1].len;
        memcpy(frame, b->published[b->published_count - 1].data, len);
        len = other ? another_before(b, b->published_count - 1, frame) : len;
        box_crash(b);
        /* In its place, behind what was committed before it. */
        snprintf(dir, sizeof(dir), "%s/log", b->dir);
        box_rm(b, "main/log");
        struct hf_changelog_config c = {.dir = dir, .base_seq = seq - 1, .single_thread = true};
        assert_int_equal(hf_changelog_open(&c, 0, NULL, NULL, &log, &e), HF_OK);
        assert_int_equal(hf_changelog_append(log, HF_RECORD_FRAME, seq, hf_slice_of(frame, len)),
                         HF_OK);
        assert_int_equal(hf_changelog_sync(log), HF_OK);
        hf_changelog_close(log);
        if (!other) {
            box_open(b); /* as it was, it is taken */
            assert_int_equal(box_status(b).head, seq);
            box_commit(b);
        }
    }
    assert_int_equal(box_try_open(b, &e), HF_CORRUPT);
    assert_non_null(strstr(e.text, "does not continue the chain"));
    b->core = NULL;
}

/* The pages that name what is committed: read, or put back as a disk does that lost a commit. */
static void meta_copy(struct box *b, uint8_t page[8192], bool back)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/state/data.mdb", b->dir);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(back ? pwrite(fd, page, 8192, 0) : pread(fd, page, 8192, 0), 8192);
    close(fd);
}

static void a_state_that_the_log_does_not_reach_back_to_is_refused(void **state)
{
    struct box *b = *state;
    struct hf_error e = {.code = HF_OK};
    uint8_t meta[8192];
    begin_another(b);
    b->cfg.segment_bytes = 64 << 10;
    b->cfg.log_bytes_max = 64 << 10;
    box_open(b);
    assert_int_equal(box_put(b, "a", "1").code, HF_OK);
    box_commit(b);
    meta_copy(b, meta, false);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(box_put_bytes(b, "k", 20000).code, HF_OK);
    }
    box_commit(b);
    box_pass(b, 3000);
    assert_true(box_status(b).log_first > 2);
    box_crash(b);
    meta_copy(b, meta, true);
    assert_int_equal(box_try_open(b, &e), HF_CORRUPT);
    assert_non_null(strstr(e.text, "the log does not reach to the committed state"));
    b->core = NULL;
}

/* ---- failures ---- */

static void a_failed_sync_fails_the_group_and_the_next_write_goes_on(void **state)
{
    struct box *b = *state;
    struct box_write lost = {.w.request_id = hf_slice_str("r")};
    box_put(b, "a", "1");
    struct hf_hash digest = box_status(b).digest;
    box_sync_error = EIO;
    struct hf_write_result r = box_apply(b, box_add(&lost, "a", "lost"));
    box_sync_error = 0;
    assert_int_equal(r.code, HF_IO);
    assert_non_null(r.text);
    assert_int_equal(b->published_count, 1);
    assert_int_equal(box_status(b).head, 1);
    assert_memory_equal(box_status(b).digest.b, digest.b, HF_HASH_BYTES);
    assert_non_null(box_status(b).refusing);
    assert_int_equal(box_put_id(b, "r", "a", "2").seq, 2);
    assert_null(box_status(b).refusing);
    box_commit(b);
    assert_string_equal(box_get(b, "a"), "2");
    box_crash(b);
    box_open(b);
    assert_int_equal(box_status(b).head, 2);
    assert_string_equal(box_get(b, "a"), "2");
}

/* Nothing is left to commit, so nothing will go well until somebody writes. */
static void a_write_that_failed_is_told_of_for_a_minute(void **state)
{
    struct box *b = *state;
    box_put(b, "a", "1");
    box_commit(b);
    box_sync_error = EIO;
    box_sync_failed = box_syncs_are_well; /* again, so that the recovery has nothing to do */
    assert_int_equal(box_put(b, "a", "2").code, HF_IO);
    box_pass(b, 50000);
    assert_non_null(box_status(b).refusing);
    box_pass(b, 11000);
    assert_null(box_status(b).refusing);
}

static void told(void *ctx, const struct hf_admin_result *r)
{
    *(enum hf_err *)ctx = r->code;
}

/* What comes of an edge that is added while the disk fails. */
static enum hf_err add_edge_in_vain(struct box *b)
{
    uint8_t seed[32] = {9};
    struct hf_identity edge;
    enum hf_err code = HF_OK;
    assert_int_equal(hf_identity_from_seed(&edge, seed), HF_OK);
    box_sync_error = EIO;
    hf_core_edge_add(b->core, "lagos", &edge.public_key, told, &code);
    box_work(b);
    box_sync_error = 0;
    hf_identity_free(&edge);
    return code;
}

/* Nor does it come back with what is recorded later. */
static void an_edge_whose_fact_was_refused_is_not_enrolled(void **state)
{
    struct box *b = *state;
    box_put(b, "a", "1");
    assert_int_equal(add_edge_in_vain(b), HF_IO);
    assert_int_equal(b->core->writer.facts.len, 0);
    box_put(b, "a", "2");
    box_commit(b);
    box_crash(b);
    box_open(b);
    assert_null(hf_registry_by_name(b->core->registry, "lagos"));
}

/* With the sync, the state's file goes away, as with a disk that is pulled out; and comes back. */
static char state_file[128], state_file_hidden[128];

static void state_goes(void)
{
    (void)rename(state_file, state_file_hidden);
}

static void
a_state_that_cannot_be_opened_again_is_read_and_is_once_it_can_without_a_write(void **state)
{
    struct box *b = *state;
    snprintf(state_file, sizeof(state_file), "%s/state/data.mdb", b->dir);
    snprintf(state_file_hidden, sizeof(state_file_hidden), "%s/state/hidden", b->dir);
    box_put(b, "a", "1");
    box_commit(b);
    box_sync_error = EIO;
    box_sync_failed = state_goes;
    assert_int_equal(box_put(b, "a", "2").code, HF_IO);
    box_syncs_are_well();
    box_pass(b, 5000);
    assert_non_null(box_status(b).refusing);
    assert_string_equal(box_get(b, "a"), "1"); /* what is open stays open until then */
    assert_int_equal(rename(state_file_hidden, state_file), 0);
    box_pass(b, 2000);
    assert_string_equal(box_get(b, "a"), "1");
    assert_null(box_status(b).refusing);
    assert_int_equal(box_put(b, "a", "2").code, HF_OK);
}

static void a_full_disk_refuses_writes_and_recovers_by_itself(void **state)
{
    struct box *b = *state;
    box_put(b, "a", "1");
    box_sync_error = ENOSPC;
    assert_int_equal(box_put(b, "a", "2").code, HF_FULL);
    bool seen = false;
    hf_core_when_visible(b->core, box_seen, &seen);
    box_work(b);
    assert_true(seen); /* readers go on, though the commit cannot */
    assert_non_null(box_status(b).refusing);
    /* What cannot be committed would pile up behind the log, so writes wait for a commit. */
    box_sync_error = 0;
    assert_int_equal(box_put(b, "a", "2").code, HF_FULL);
    box_pass(b, 3000);
    assert_int_equal(box_put(b, "a", "3").seq, 2);
    box_pass(b, 3000);
    assert_string_equal(box_get(b, "a"), "3");
    assert_null(box_status(b).refusing);
}

static void a_replay_that_commits_everything_ends_the_refusal(void **state)
{
    struct box *b = *state;
    struct box_write one = {.w = {0}};
    begin_another(b);
    b->cfg.commit_changes = 1; /* a replay commits as it goes, after each batch */
    box_open(b);
    box_send(b, box_add(&one, "a", "1"));
    hf_core_flush(b->core);
    assert_true(box_step(b)); /* the group is in the log */
    assert_int_equal(one.result.code, HF_OK);
    box_sync_error = ENOSPC;
    assert_true(box_step(b)); /* its commit fails */
    box_sync_error = 0;
    assert_non_null(box_status(b).refusing);
    bool seen = false;
    hf_core_when_visible(b->core, box_seen, &seen);
    assert_false(seen);
    box_work(b); /* the replay is all that was left to do: no other commit will follow */
    assert_true(seen);
    assert_int_equal(box_status(b).committed, 1);
    assert_null(box_status(b).refusing);
    assert_int_equal(box_put(b, "a", "2").seq, 2);
}

static void a_small_map_grows_and_the_group_is_run_again(void **state)
{
    struct box *b = *state;
    char key[16];
    begin_another(b);
    b->cfg.map_bytes = 1 << 20;
    box_open(b);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_int_equal(box_put_bytes(b, key, 40000).code, HF_OK);
        if (i % 30 == 0) {
            box_commit(b);
        }
    }
    assert_int_equal(box_status(b).head, 200);
    box_commit(b);
    assert_int_equal(box_status(b).live_count, 200);
    struct hf_hash digest = box_status(b).digest;
    box_crash(b);
    b->cfg.map_bytes = 1 << 20;
    box_open(b);
    assert_memory_equal(box_status(b).digest.b, digest.b, HF_HASH_BYTES);
}

/* ---- fences ---- */

/* Leaves the core closed, with the data as they were at batch 1 and the mark of batch 2. */
static void roll_back(struct box *b)
{
    box_put(b, "a", "1");
    box_close(b);
    box_cp(b, "main", "copy");
    box_open(b);
    box_put(b, "a", "2");
    box_close(b);
    box_cp(b, "copy", "main");
}

static void data_that_was_rolled_back_is_fenced_by_the_mark(void **state)
{
    struct box *b = *state;
    roll_back(b);
    box_open(b);
    assert_non_null(box_status(b).refusing);
    assert_non_null(strstr(box_status(b).refusing, "rolled back"));
    assert_int_equal(box_put(b, "a", "3").code, HF_FORK);
    assert_string_equal(box_get(b, "a"), "1");
    box_close(b);
    box_open(b); /* the mark was left as it was */
    assert_int_equal(box_put(b, "a", "3").code, HF_FORK);
}

static void a_new_stream_beside_an_old_mark_is_fenced(void **state)
{
    struct box *b = *state;
    box_put(b, "a", "1");
    box_close(b);
    box_rm(b, "main");
    box_open(b);
    assert_non_null(strstr(box_status(b).refusing, "another epoch"));
}

static void a_mark_with_another_history_at_the_same_seq_fences(void **state)
{
    struct box *b = *state;
    roll_back(b);
    char mark[128];
    snprintf(mark, sizeof(mark), "%s/main.mark", b->root);
    char saved[140];
    snprintf(saved, sizeof(saved), "%s.saved", mark);
    assert_int_equal(rename(mark, saved), 0);
    b->now += 5000; /* another published_ms: another header */
    box_open(b);
    box_put(b, "a", "other");
    box_close(b);
    assert_int_equal(rename(saved, mark), 0);
    box_open(b);
    assert_non_null(strstr(box_status(b).refusing, "another history"));
}

static void a_torn_mark_is_reported_and_kept_aside(void **state)
{
    struct box *b = *state;
    char mark[128];
    box_close(b);
    snprintf(mark, sizeof(mark), "%s/main.mark", b->root);
    FILE *f = fopen(mark, "w");
    fputs("0011", f);
    fclose(f);
    b->notes[0] = '\0';
    box_open(b);
    assert_non_null(strstr(b->notes, "main.mark cannot be read"));
    assert_int_equal(box_put(b, "a", "1").code, HF_OK);
    char aside[160], text[8] = "";
    snprintf(aside, sizeof(aside), "%s.unreadable", mark);
    f = fopen(aside, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof(text), f));
    fclose(f);
    assert_string_equal(text, "0011");
    /* The first one stays: a later one may be torn by this very core. */
    box_close(b);
    f = fopen(mark, "w");
    fputs("0022", f);
    fclose(f);
    box_open(b);
    f = fopen(aside, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof(text), f));
    fclose(f);
    assert_string_equal(text, "0011");
}

static void a_mark_that_cannot_be_written_is_reported(void **state)
{
    struct box *b = *state;
    char in_its_way[128];
    box_close(b);
    snprintf(in_its_way, sizeof(in_its_way), "%s/main.mark.new", b->root);
    assert_int_equal(mkdir(in_its_way, 0700), 0);
    b->notes[0] = '\0';
    box_open(b);
    assert_non_null(strstr(b->notes, "main.mark cannot be written"));
    assert_int_equal(box_put(b, "a", "1").code, HF_OK);
}

#define T(name) cmocka_unit_test_setup_teardown(name, box_setup, box_teardown)

/* ---- signatures ---- */

/* One record of the log, in its file and in memory. */
struct logged {
    char path[512];
    uint64_t at;
    size_t size;
    uint8_t bytes[4096];
};

static void record_put(const struct logged *l)
{
    int fd = open(l->path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, l->bytes, l->size, (off_t)l->at), l->size);
    close(fd);
}

static void record_take(struct box *b, hf_seq seq, struct logged *l)
{
    struct hf_log_record r = {.seq = 0};
    uint64_t end;
    hf_changelog_synced_at(b->core->writer.log, l->path, &end);
    int fd = open(l->path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    l->size = 0;
    l->at = HF_SEGMENT_HEAD;
    while (r.type != HF_RECORD_FRAME || r.seq != seq) {
        l->at += l->size;
        assert_true(l->at < end);
        assert_true(pread(fd, l->bytes, sizeof(l->bytes), (off_t)l->at) >= 0);
        assert_true(hf_log_record_decode(l->bytes, &r));
        l->size = hf_log_record_size(&r);
        assert_true(l->size <= sizeof(l->bytes));
    }
    assert_true(r.trailer);
    close(fd);
}

static void record_unsign(struct logged *l)
{
    memset(l->bytes + l->size - HF_LOG_TRAILER, 0, HF_LOG_TRAILER);
}

/* The frame in the log is the one that was published, with its signature. */
static void assert_as_published(struct box *b, hf_seq seq)
{
    uint8_t frame[4096];
    struct hf_id stream;
    struct hf_frame f;
    size_t len;
    for (uint32_t i = 0; i < b->published_count; i++) {
        struct hf_slice m = hf_slice_of(b->published[i].data, b->published[i].len);
        if (hf_frame_decode(m, &stream, &f) != HF_OK || f.h.seq != seq) {
            continue;
        }
        assert_true(hf_header_verify(f.header, &f.signature, &b->id.public_key));
        assert_int_equal(hf_changelog_read(b->core->writer.log, seq, frame, sizeof(frame), &len),
                         HF_OK);
        assert_int_equal(len, m.len);
        assert_memory_equal(frame, m.data, m.len);
        return;
    }
    fail_msg("not published");
}

static void assert_state_signed(struct box *b, hf_seq seq)
{
    struct hf_applied applied;
    struct hf_view *v;
    assert_int_equal(hf_view_open(hf_core_state(b->core), &v), HF_OK);
    hf_view_applied(v, &applied);
    assert_int_equal(applied.at.seq, seq);
    assert_true(hf_header_verify(applied.header, &applied.signature, &b->id.public_key));
    hf_view_close(v);
}

/* They are on the disk only with the sync of the next group. Nobody but the stream's own key may
 * make them, and they are the same: an edge may have the frames already. */
static void signatures_that_a_crash_took_are_made_again(void **state)
{
    struct box *b = *state;
    struct hf_identity mine = b->id;
    struct hf_error e;
    struct logged l[4];
    uint8_t seed[32] = {9};
    for (hf_seq seq = 1; seq <= 3; seq++) {
        box_put(b, "a", seq == 1 ? "1" : seq == 2 ? "2" : "3");
        if (seq == 2) {
            box_commit(b);
        }
    }
    for (hf_seq seq = 1; seq <= 3; seq++) {
        record_take(b, seq, &l[seq]);
        record_unsign(&l[seq]);
    }
    box_crash(b);
    for (hf_seq seq = 1; seq <= 3; seq++) {
        record_put(&l[seq]);
    }
    assert_int_equal(hf_identity_from_seed(&b->id, seed), HF_OK);
    assert_int_equal(box_try_open(b, &e), HF_MISMATCH);
    hf_identity_free(&b->id);
    b->id = mine;
    box_open(b);
    for (hf_seq seq = 1; seq <= 3; seq++) {
        assert_as_published(b, seq);
    }
    assert_state_signed(b, 3);
    assert_int_equal(box_put(b, "a", "4").seq, 4);
}

/* An unsigned record with a right checksum is no reason to sign what it holds. */
static void only_what_the_chain_has_is_signed(void **state)
{
    struct box *b = *state;
    struct hf_error e;
    struct logged l, bad;
    struct hf_log_record r;
    struct hf_id stream;
    struct hf_frame f;
    uint64_t salt, synced_at;
    box_put(b, "a", "1");
    box_put(b, "b", "2");
    box_put(b, "c", "3");
    box_commit(b);
    record_take(b, 2, &l);
    box_crash(b);
    record_unsign(&l);
    assert_true(hf_log_record_decode(l.bytes, &r));
    uint8_t *payload = l.bytes + HF_LOG_RECORD_HEAD;
    assert_int_equal(hf_frame_decode(hf_slice_of(payload, r.len), &stream, &f), HF_OK);
    const void *prev = memmem(f.header.data, f.header.len, f.h.prev.b, HF_HASH_BYTES);
    assert_non_null(prev);
    size_t places[] = {
        0,                                                /* the prefix: no frame */
        HF_PREFIX_BYTES - 1,                              /* another stream */
        (size_t)((const uint8_t *)prev - payload),        /* another header */
        (size_t)(f.body.data - payload) + f.body.len - 1, /* another body */
    };
    salt = r.salt;
    synced_at = r.synced_at;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        bad = l;
        bad.bytes[HF_LOG_RECORD_HEAD + places[i]] ^= 1;
        hf_log_record_stamp(bad.bytes, salt, synced_at);
        record_put(&bad);
        assert_int_equal(box_try_open(b, &e), HF_CORRUPT);
        assert_non_null(strstr(e.text, "seq=2"));
    }
    record_put(&l);
    box_open(b);
    assert_as_published(b, 2);
}

static struct logged losing;

static void signature_goes(void)
{
    record_put(&losing);
}

/* Two batches; from now on a sync fails, and takes the signature of the second. */
static void syncs_fail(struct box *b)
{
    box_put(b, "a", "1");
    box_put(b, "b", "2");
    record_take(b, 2, &losing);
    record_unsign(&losing);
    box_sync_failed = signature_goes;
    box_sync_error = EIO;
}

/* A fact is synced without a group. */
static void signatures_that_the_failed_sync_of_a_fact_took_are_made_again(void **state)
{
    struct box *b = *state;
    enum hf_err code = HF_OK;
    syncs_fail(b);
    hf_core_edge_invite(b->core, "edge", told, &code);
    box_work(b);
    box_syncs_are_well();
    assert_int_equal(code, HF_IO);
    assert_int_equal(box_put(b, "c", "3").code, HF_OK);
    assert_as_published(b, 2);
    box_commit(b);
    assert_state_signed(b, 3);
}

static void signatures_that_a_failed_sync_took_are_made_again(void **state)
{
    struct box *b = *state;
    syncs_fail(b);
    assert_int_equal(box_put(b, "c", "3").code, HF_IO);
    box_syncs_are_well();
    box_pass(b, 3000);
    assert_as_published(b, 2);
    assert_int_equal(box_put(b, "c", "3").code, HF_OK);
    box_commit(b);
    assert_state_signed(b, 3);
}

static void a_log_that_reads_back_damaged_is_not_replayed_for_each_write(void **state)
{
    struct box *b = *state;
    box_put(b, "a", "1");
    record_take(b, 1, &losing);
    losing.bytes[HF_LOG_RECORD_HEAD] ^= 1;
    box_sync_failed = signature_goes; /* and more than that */
    box_sync_error = EIO;
    assert_int_equal(box_put(b, "b", "2").code, HF_IO);
    box_syncs_are_well();
    assert_int_equal(box_put(b, "c", "3").code, HF_CORRUPT);
    uint64_t replays = b->core->n.recoveries;
    assert_int_equal(box_put(b, "d", "4").code, HF_CORRUPT);
    assert_int_equal(b->core->n.recoveries, replays);
}

/* Also of a group with several. */
static void the_state_keeps_the_signature_of_its_newest_batch(void **state)
{
    static const char *const ids[] = {"a", "b", "c"};
    struct box *b = *state;
    struct box_write w[3] = {{.done = false}};
    for (int i = 0; i < 3; i++) { /* a key that is audited begins a new batch */
        w[i].w.request_id = hf_slice_str(ids[i]);
        box_send(b, box_add(&w[i], "k", ids[i]));
    }
    hf_core_flush(b->core);
    box_work(b);
    box_commit(b);
    assert_state_signed(b, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_restart_replays_exactly),
        T(a_torn_tail_costs_only_what_was_not_answered),
        T(signatures_that_a_crash_took_are_made_again),
        T(only_what_the_chain_has_is_signed),
        T(signatures_that_a_failed_sync_took_are_made_again),
        T(signatures_that_the_failed_sync_of_a_fact_took_are_made_again),
        T(a_log_that_reads_back_damaged_is_not_replayed_for_each_write),
        T(the_state_keeps_the_signature_of_its_newest_batch),
        T(a_group_that_was_not_run_is_gone_after_a_crash),
        T(a_crash_right_after_the_first_start_loses_nothing),
        T(a_state_without_its_log_is_refused),
        T(a_log_without_its_state_makes_the_state_again),
        T(a_log_whose_frames_are_no_chain_is_refused),
        T(another_core_key_or_stream_name_is_refused),
        T(trimming_keeps_what_is_not_committed_and_the_facts),
        T(a_state_that_the_log_does_not_reach_back_to_is_refused),
        T(a_failed_sync_fails_the_group_and_the_next_write_goes_on),
        T(a_write_that_failed_is_told_of_for_a_minute),
        T(an_edge_whose_fact_was_refused_is_not_enrolled),
        T(a_state_that_cannot_be_opened_again_is_read_and_is_once_it_can_without_a_write),
        T(a_full_disk_refuses_writes_and_recovers_by_itself),
        T(a_replay_that_commits_everything_ends_the_refusal),
        T(a_small_map_grows_and_the_group_is_run_again),
        T(data_that_was_rolled_back_is_fenced_by_the_mark),
        T(a_new_stream_beside_an_old_mark_is_fenced),
        T(a_mark_with_another_history_at_the_same_seq_fences),
        T(a_torn_mark_is_reported_and_kept_aside),
        T(a_mark_that_cannot_be_written_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
