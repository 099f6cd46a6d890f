/*
 * test_dictionary.c - dictionaries: the table, the trainer's judgement, and a core that puts one
 * into its stream, packs with it, keeps it over a crash and gives it to whoever says HELLO.
 */
#include "peer_box.h"

#include "core/trainer.h"
#include "edge/driver_impl.h"

#include "hf/bytes.h"
#include "hf/compress.h"
#include "hf/dictionary.h"

#include <zstd.h>

enum { SAMPLES = 16 << 10, RECORD_MAX = 200, LOG_BYTES = 64 << 10 };

/* A row of an inventory: what differs between two is a third of it. */
static size_t row_make(uint32_t n, char out[RECORD_MAX])
{
    static const char *const state[] = {"running", "stopped", "draining", "unreachable"};
    int len = snprintf(out, RECORD_MAX,
                       "{\"service\":\"checkout-%u\",\"address\":\"10.%u.%u.%u\",\"port\":%u,"
                       "\"state\":\"%s\",\"weight\":%u,\"zone\":\"eu-west-%u\"}",
                       n * 7919 % 997, n % 250, n * 31 % 250, n * 17 % 250, 8000 + n * 13 % 1000,
                       state[n % 4], n * 3 % 100, n % 3);
    return (size_t)len;
}

/* ---- trainer ---- */

static void show_rows(struct hf_trainer *t, uint32_t first)
{
    char row[RECORD_MAX];
    for (uint32_t n = first; !hf_trainer_ready(t); n++) {
        size_t len = row_make(n, row);
        hf_trainer_show(t, hf_slice_of(row, len), len);
        assert_true(n - first < 100000);
    }
}

static void what_repeats_becomes_a_dictionary_the_same_each_time(void **state)
{
    uint8_t first[HF_DICTIONARY_BYTES_MAX];
    size_t first_len = 0;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct hf_trainer *t = hf_trainer_new(SAMPLES);
        struct hf_slice bytes;
        uint32_t gain;
        assert_false(hf_trainer_take(t, &bytes, &gain));
        show_rows(t, 0);
        hf_trainer_train(t);
        assert_true(hf_trainer_take(t, &bytes, &gain));
        assert_in_range(gain, 30, 95);
        assert_in_range(bytes.len, 256, HF_DICTIONARY_BYTES_MAX);
        if (i == 0) {
            memcpy(first, bytes.data, first_len = bytes.len);
        } else {
            assert_true(hf_slice_eq(bytes, hf_slice_of(first, first_len)));
        }
        assert_false(hf_trainer_take(t, &bytes, &gain)); /* once */
        assert_false(hf_trainer_ready(t));
        hf_trainer_free(t);
    }
}

static void what_does_not_repeat_becomes_none_and_is_tried_less_and_less(void **state)
{
    struct box *b = *state;
    struct hf_trainer *t = hf_trainer_new(SAMPLES);
    struct hf_slice bytes;
    uint32_t gain;
    uint64_t shown[3] = {0};
    for (int i = 0; i < 3; i++) {
        while (!hf_trainer_ready(t)) {
            uint8_t body[200];
            box_random(b, body, sizeof(body));
            hf_trainer_show(t, hf_slice_of(body, sizeof(body)), sizeof(body));
            shown[i] += sizeof(body);
            assert_true(shown[i] < 100u << 20);
        }
        hf_trainer_train(t);
        assert_false(hf_trainer_ready(t));
        assert_false(hf_trainer_take(t, &bytes, &gain));
    }
    assert_true(shown[1] > 2 * shown[0] && shown[2] > 3 * shown[1] / 2);
    hf_trainer_free(t);
}

static void a_dictionary_that_gains_little_over_the_last_is_none(void **state)
{
    struct hf_trainer *t = hf_trainer_new(SAMPLES);
    struct hf_slice bytes;
    char row[RECORD_MAX];
    uint32_t gain;
    (void)state;
    for (uint32_t n = 0; !hf_trainer_ready(t); n++) {
        size_t len = row_make(n, row);
        hf_trainer_show(t, hf_slice_of(row, len), len / 4); /* packed well as it is */
    }
    hf_trainer_train(t);
    assert_false(hf_trainer_take(t, &bytes, &gain));
    hf_trainer_free(t);
}

static void large_bodies_say_nothing_of_small_ones(void **state)
{
    static uint8_t body[HF_SMALL_BODY_MAX + 1];
    struct hf_trainer *t = hf_trainer_new(SAMPLES);
    (void)state;
    for (int i = 0; i < 100; i++) {
        hf_trainer_show(t, hf_slice_of(body, sizeof(body)), sizeof(body));
    }
    assert_false(hf_trainer_ready(t));
    hf_trainer_free(t);
}

/* ---- one, and the table ---- */

struct made {
    uint8_t raw[HF_DICTIONARY_FRAME_MAX];
    size_t raw_len;
};

static void made_for(hf_seq seq, struct made *m)
{
    struct hf_trainer *t = hf_trainer_new(SAMPLES);
    struct hf_slice bytes;
    struct hf_writer w;
    uint32_t gain;
    show_rows(t, 0);
    hf_trainer_train(t);
    assert_true(hf_trainer_take(t, &bytes, &gain));
    hf_writer_init(&w, m->raw, sizeof(m->raw));
    hf_dictionary_encode(seq, bytes, &w);
    assert_false(w.failed);
    m->raw_len = w.len;
    hf_trainer_free(t);
}

static struct hf_dictionary *dictionary_at(hf_seq seq)
{
    static struct made m;
    struct hf_dictionary *d;
    made_for(seq, &m);
    assert_int_equal(
        hf_dictionary_new(seq, hf_slice_of(m.raw, m.raw_len), hf_slice_str("frame"), &d), HF_OK);
    return d;
}

static void raw_of_a_dictionary_is_a_body_without_changes(void **state)
{
    struct made m;
    struct hf_body body;
    (void)state;
    made_for(7, &m);
    assert_int_equal(hf_body_open(hf_slice_of(m.raw, m.raw_len), 0, &body), HF_OK);
    assert_int_equal(body.change_count + body.meta_count, 0);
}

static void only_a_dictionary_of_that_seq_is_one(void **state)
{
    struct made m;
    struct hf_dictionary *d;
    struct hf_slice frame = hf_slice_str("frame");
    (void)state;
    made_for(7, &m);
    assert_int_equal(hf_dictionary_new(8, hf_slice_of(m.raw, m.raw_len), frame, &d), HF_MALFORMED);
    assert_null(d);
    for (size_t len = 0; len < m.raw_len; len += len < 64 ? 1 : 997) {
        assert_int_equal(hf_dictionary_new(7, hf_slice_of(m.raw, len), frame, &d), HF_MALFORMED);
    }
    m.raw[6] ^= 1; /* zstd's magic: raw content is no dictionary */
    assert_int_equal(hf_dictionary_new(7, hf_slice_of(m.raw, m.raw_len), frame, &d), HF_MALFORMED);
}

static void a_table_keeps_the_four_newest_in_order(void **state)
{
    struct hf_dictionaries *t = hf_dictionaries_new();
    const hf_seq order[] = {300, 100, 500, 300, 400, 600, 200};
    hf_seq seq[HF_DICTIONARIES_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        hf_dictionaries_add(t, dictionary_at(order[i]));
    }
    assert_int_equal(hf_dictionaries_list(t, seq), 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(seq[i], 300 + 100 * i);
    }
    assert_null(hf_dictionaries_at(t, 200));
    assert_null(hf_dictionaries_for(t, 300 + HF_DICTIONARY_LEAD - 1));
    struct hf_dictionary *d = hf_dictionaries_for(t, 400 + HF_DICTIONARY_LEAD - 1);
    assert_int_equal(hf_dictionary_seq(d), 300);
    hf_dictionaries_trim(t, 400 + HF_DICTIONARY_LEAD - 1); /* such a frame uses 300 */
    assert_int_equal(hf_dictionaries_list(t, seq), 4);
    hf_dictionaries_trim(t, 400 + HF_DICTIONARY_LEAD);
    assert_int_equal(hf_dictionaries_list(t, seq), 3);
    assert_int_equal(hf_dictionary_frame(d).len, 5); /* held, though the table let it go */
    hf_dictionary_unuse(d);
    hf_dictionaries_cut(t, 500);
    assert_int_equal(hf_dictionaries_list(t, seq), 2);
    hf_dictionaries_trim(t, HF_SEQ_MAX); /* the newest stays: later frames use it */
    assert_int_equal(hf_dictionaries_list(t, seq), 1);
    assert_int_equal(seq[0], 500);
    hf_dictionaries_free(t);
}

static void a_body_needs_the_dictionary_that_it_names(void **state)
{
    struct hf_dictionaries *t = hf_dictionaries_new();
    struct hf_dictionary *d = dictionary_at(7);
    ZSTD_CCtx *cctx = ZSTD_createCCtx();
    ZSTD_DCtx *dctx = ZSTD_createDCtx();
    struct hf_key key = {{1}};
    uint8_t nonce[HF_NONCE_BYTES] = {2};
    uint8_t packed[512], sealed[512], plain[512], back[RECORD_MAX];
    char row[RECORD_MAX];
    struct hf_slice raw = hf_slice_of(row, row_make(123456, row));
    struct hf_header h = {.seq = 100, .raw_bytes = (uint32_t)raw.len};
    enum hf_compression how;
    struct hf_writer w;
    (void)state;
    hf_writer_init(&w, packed, sizeof(packed));
    struct hf_slice small = hf_dictionary_pack(d, raw, cctx, &w, &how);
    assert_int_equal(how, HF_COMPRESSION_DICTIONARY);
    assert_true(small.len * 10 < raw.len * 6);
    h.compression = how;
    hf_writer_init(&w, sealed, sizeof(sealed));
    assert_int_equal(hf_body_seal_plain(&h, small, 1, &key, nonce, &w), HF_OK);
    struct hf_slice body = hf_writer_bytes(&w);
    struct hf_writer scratch, out;
    for (int i = 0; i < 3; i++) { /* none, another, the right one */
        hf_writer_init(&scratch, plain, sizeof(plain));
        hf_writer_init(&out, back, sizeof(back));
        enum hf_err err = hf_dictionaries_unseal(t, &h, body, &key, dctx, &scratch, &out);
        assert_int_equal(err, i < 2 ? HF_SEALED : HF_OK);
        hf_dictionaries_add(t, i == 0 ? dictionary_at(8) : dictionary_at(7));
    }
    assert_true(hf_slice_eq(hf_writer_bytes(&out), raw));
    h.raw_bytes++; /* the signed header says more than comes out */
    hf_writer_init(&scratch, plain, sizeof(plain));
    hf_writer_init(&out, back, sizeof(back));
    assert_int_equal(hf_dictionaries_unseal(t, &h, body, &key, dctx, &scratch, &out), HF_MALFORMED);
    hf_dictionary_unuse(d);
    hf_dictionaries_free(t);
    ZSTD_freeCCtx(cctx);
    ZSTD_freeDCtx(dctx);
}

/* ---- an edge's store ---- */

static void put_some(struct hf_state *s, const hf_seq *seq, uint32_t count)
{
    struct hf_dictionary *d[HF_HELLO_DICTIONARIES_MAX];
    for (uint32_t i = 0; i < count; i++) {
        d[i] = dictionary_at(seq[i]);
    }
    assert_int_equal(dictionaries_put(s, d, count), HF_OK);
    assert_int_equal(hf_state_commit(s), HF_OK);
    for (uint32_t i = 0; i < count; i++) {
        hf_dictionary_unuse(d[i]);
    }
}

/* Also when a HELLO brings several at once. */
static void a_store_keeps_the_four_newest(void **state)
{
    static const hf_seq one[] = {100, 200, 300, 400};
    static const hf_seq more[] = {500, 600, 700};
    static const hf_seq again[] = {600};
    static const hf_seq older[] = {400, 800};
    static const hf_seq kept[] = {400, 600, 700, 800};
    struct box *b = *state;
    char dir[200];
    struct hf_state_config c = {.dir = dir};
    struct hf_error err = {.code = HF_OK};
    struct hf_state *s;
    uint8_t name[HF_DICTIONARY_NAME_BYTES];
    snprintf(dir, sizeof(dir), "%s/edge", b->root);
    assert_int_equal(hf_state_open(&c, &s, &err), HF_OK);
    for (uint32_t i = 0; i < 4; i++) {
        put_some(s, &one[i], 1);
    }
    assert_int_equal(box_objects(s, hf_slice_str(HF_DICTIONARY_PREFIX)), 4);
    put_some(s, more, 3);
    assert_int_equal(box_objects(s, hf_slice_str(HF_DICTIONARY_PREFIX)), 4);
    put_some(s, again, 1);
    assert_int_equal(box_objects(s, hf_slice_str(HF_DICTIONARY_PREFIX)), 4);
    assert_int_equal(box_objects(s, hf_dictionary_name(400, name)), 1);
    put_some(s, older, 2);
    assert_int_equal(box_objects(s, hf_slice_str(HF_DICTIONARY_PREFIX)), 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(box_objects(s, hf_dictionary_name(kept[i], name)), 1);
    }
    hf_state_close(s);
}

/* ---- a core ---- */

static int core_setup(void **state)
{
    struct box *b = box_new();
    b->cfg.dictionary = true;
    b->cfg.dictionary_samples = SAMPLES;
    box_open(b);
    *state = b;
    return 0;
}

/* It soon has a dictionary, and soon forgets. */
static int small_core_setup(void **state)
{
    struct box *b = box_new();
    b->cfg.dictionary = true;
    b->cfg.dictionary_samples = SAMPLES / 4;
    b->cfg.segment_bytes = b->cfg.log_bytes_max = LOG_BYTES;
    box_open(b);
    *state = b;
    return 0;
}

static void put_rows(struct box *b, uint32_t first, uint32_t count)
{
    char key[16], row[RECORD_MAX];
    for (uint32_t n = first; n < first + count; n++) {
        snprintf(key, sizeof(key), "row/%06u", n);
        row_make(n, row);
        assert_int_equal(box_put(b, key, row).code, HF_OK);
    }
}

/* The first frame of that kind or compression that was published at or after i. */
static uint32_t frame_find(struct box *b, uint32_t i, bool dictionary)
{
    for (; i < b->published_count; i++) {
        if (b->published[i].data[3] != HF_KIND_BATCH) {
            continue;
        }
        struct hf_frame f = box_frame(b, i);
        if (dictionary ? f.h.kind == HF_BATCH_DICTIONARY
                       : f.h.compression == HF_COMPRESSION_DICTIONARY) {
            return i;
        }
    }
    fail_msg("no such frame");
    return 0;
}

static void small_batches_shrink_once_their_dictionary_is_in_the_stream(void **state)
{
    struct box *b = *state;
    put_rows(b, 0, 200);
    uint32_t at = frame_find(b, 0, true);
    struct hf_frame d = box_frame(b, at);
    struct hf_frame first = box_frame(b, frame_find(b, 0, false));
    assert_int_equal(d.h.change_count, 0);
    assert_true(hf_header_verify(d.header, &d.signature, &b->id.public_key));
    assert_int_equal(first.h.seq, d.h.seq + HF_DICTIONARY_LEAD);
    assert_true(first.h.body_bytes * 10 < box_frame(b, at - 1).h.body_bytes * 7);
    assert_non_null(strstr(b->notes, "dictionary"));
}

/* The log has frames that use each of those that are there; training took thousands of batches. */
static void a_dictionary_that_finds_no_room_waits_for_it(void **state)
{
    struct box *b = *state;
    struct hf_dictionaries *t = b->core->writer.dictionaries;
    const hf_seq far = 1000000; /* no frame of this test uses them */
    for (hf_seq i = 0; i < HF_DICTIONARIES_MAX; i++) {
        hf_dictionaries_add(t, dictionary_at(far + i));
    }
    put_rows(b, 0, 200);
    for (uint32_t i = 0; i < b->published_count; i++) {
        assert_true(b->published[i].data[3] != HF_KIND_BATCH ||
                    box_frame(b, i).h.kind == HF_BATCH_DATA);
    }
    hf_dictionaries_cut(t, far - 1);
    put_rows(b, 1000, 2);
    (void)frame_find(b, 0, true);
}

/* Also when it has one from before. */
static void a_core_that_is_not_to_makes_and_uses_none(void **state)
{
    struct box *b = *state;
    put_rows(b, 0, 200);
    (void)frame_find(b, 0, true);
    box_close(b);
    box_forget(b);
    b->cfg.dictionary = false;
    box_open(b);
    put_rows(b, 1000, 200);
    for (uint32_t i = 0; i < b->published_count; i++) {
        if (b->published[i].data[3] == HF_KIND_BATCH) {
            assert_int_equal(box_frame(b, i).h.kind, HF_BATCH_DATA);
            assert_int_equal(box_frame(b, i).h.compression, HF_COMPRESSION_NONE);
        }
    }
}

/* Each second group fails, the dictionary's among them: its seq becomes that of another batch, and
 * nothing may be packed with what nobody has. */
static void a_dictionary_whose_group_failed_is_forgotten(void **state)
{
    struct box *b = *state;
    char row[RECORD_MAX];
    for (uint32_t n = 0; n < 160; n++) {
        row_make(n, row);
        box_sync_error = EIO;
        assert_int_not_equal(box_put(b, "lost", row).code, HF_OK);
        box_sync_error = 0;
        put_rows(b, n, 1);
    }
    assert_int_equal(box_counter(b, "dictionary"), 0);
    for (uint32_t i = 0; i < b->published_count; i++) {
        if (b->published[i].data[3] == HF_KIND_BATCH) {
            assert_int_equal(box_frame(b, i).h.kind, HF_BATCH_DATA);
            assert_int_equal(box_frame(b, i).h.compression, HF_COMPRESSION_NONE);
        }
    }
}

static uint32_t dictionary_objects(struct box *b)
{
    return box_objects(hf_core_state(b->core), hf_slice_str(HF_DICTIONARY_PREFIX));
}

/* Rows of a fashion of their own get a dictionary of their own, once the log has room for one. */
static void next_fashion(struct box *b, uint32_t *x)
{
    char row[RECORD_MAX];
    char fashion[100] = "";
    for (uint32_t i = 0; i < sizeof(fashion) - 1; i++) {
        *x = *x * 1664525 + 1013904223;
        fashion[i] = (char)('a' + (*x >> 16) % 26);
    }
    uint64_t newest = box_counter(b, "dictionary");
    for (uint32_t n = 0; box_counter(b, "dictionary") == newest; n++) {
        assert_true(n < 5000);
        box_forget(b);
        snprintf(row, sizeof(row), "%s %u %u", fashion, n, n * 7919 % 997);
        assert_int_equal(box_put(b, "row", row).code, HF_OK);
        box_pass(b, 20);
    }
}

static void a_dictionary_goes_with_the_frames_that_use_it(void **state)
{
    struct box *b = *state;
    uint32_t x = 1;
    for (uint32_t made = 1; made <= 6; made++) {
        next_fashion(b, &x);
        box_pass(b, 2000); /* a commit, and one behind it */
        assert_in_range(dictionary_objects(b), 1, HF_DICTIONARIES_MAX);
    }
}

static uint32_t dictionaries(const struct box *b)
{
    hf_seq seq[HF_DICTIONARIES_MAX];
    return hf_dictionaries_list(b->core->writer.dictionaries, seq);
}

/* What memory let go of and the store did not would be found by a later start, without its key. */
static void a_dictionary_goes_though_the_commit_fails_that_deletes_it(void **state)
{
    struct box *b = *state;
    struct peer *gone = peer_new(b, 2);
    struct hf_error err = {.code = HF_OK};
    char row[RECORD_MAX];
    uint32_t x = 1;
    next_fashion(b, &x);
    next_fashion(b, &x);
    assert_int_equal(box_revoke_another(b, gone).code, HF_OK);
    uint32_t had = dictionaries(b);
    assert_int_equal(had, 2);
    for (uint32_t n = 0; dictionaries(b) == had; n++) {
        assert_true(n < 5000);
        box_forget(b);
        snprintf(row, sizeof(row), "v %u", n * 7919 % 100003);
        (void)box_put(b, "row", row);
        box_sync_error = EIO; /* of the commit that follows; then all is well again */
        box_pass(b, 60);
        box_sync_error = 0;
        if (dictionaries(b) == had) {
            box_pass(b, 1500);
        }
    }
    box_pass(b, 4000);
    assert_int_equal(dictionary_objects(b), dictionaries(b));
    box_close(b);
    assert_int_equal(box_try_open(b, &err), HF_OK);
    peer_free(gone);
}

/* It is sealed under the key of its time, and kept as long as it is the newest. */
static void a_dictionary_keeps_its_key_alone(void **state)
{
    struct box *b = *state;
    struct peer *gone = peer_new(b, 2);
    struct peer *e = peer_new(b, 3);
    struct hf_error err = {.code = HF_OK};
    uint32_t x = 1;
    next_fashion(b, &x);
    hf_seq seq = box_counter(b, "dictionary");
    for (uint32_t n = 0; hf_changelog_first(b->core->writer.log) < seq + 200; n++) {
        assert_true(n < 1000);
        box_forget(b);
        put_rows(b, 100 + n, 10);
        assert_int_equal(box_revoke_another(b, gone).code, HF_OK);
        box_pass(b, 1000);
    }
    assert_int_equal(b->core->writer.keys.key[0].id, 1);
    assert_true(b->core->writer.keys.key[1].id > 5);
    assert_in_range(hf_keyring_floor(hf_registry_keys(b->core->registry)), seq + 1,
                    hf_changelog_first(b->core->writer.log));
    box_enrol(b, "e", e);
    struct hf_request q = {.type = HF_MSG_HELLO};
    q.hello.wire_min = q.hello.wire_max = HF_WIRE_VERSION;
    const struct hf_reply *r = peer_ask(e, &q);
    struct hf_id stream;
    struct hf_frame f;
    assert_int_equal(r->hello.dictionary_count, 1);
    assert_int_equal(hf_frame_decode(r->hello.dictionary[0], &stream, &f), HF_OK);
    assert_int_equal(f.h.content_key_id, r->hello.key[0].id);
    box_close(b);
    assert_int_equal(box_try_open(b, &err), HF_OK);
    assert_int_equal(box_counter(b, "dictionary"), seq);
    assert_int_equal(b->core->writer.keys.key[0].id, 1);
    peer_free(gone);
    peer_free(e);
}

/* The store of an older core may have such a one. */
static void a_dictionary_without_its_key_is_left_out(void **state)
{
    struct box *b = *state;
    struct peer *gone = peer_new(b, 2);
    struct hf_fact key = {.type = HF_FACT_CONTENT_KEY, .content_key = {.id = 1}};
    struct hf_error err = {.code = HF_OK};
    uint8_t name[HF_FACT_NAME_MAX];
    char dir[200];
    struct hf_state_config c = {.dir = dir};
    struct hf_state *s;
    uint32_t x = 1;
    next_fashion(b, &x);
    hf_seq seq = box_counter(b, "dictionary");
    assert_int_equal(box_revoke_another(b, gone).code, HF_OK);
    for (uint32_t n = 0; hf_changelog_first(b->core->writer.log) < seq + 200; n++) {
        assert_true(n < 1000);
        box_forget(b);
        put_rows(b, 100 + n, 10);
        box_pass(b, 1000);
    }
    box_close(b);
    snprintf(dir, sizeof(dir), "%s/state", b->cfg.dir);
    assert_int_equal(hf_state_open(&c, &s, &err), HF_OK);
    assert_int_equal(hf_state_begin(s), HF_OK);
    assert_int_equal(hf_state_object_del(s, hf_fact_name(&key, name)), HF_OK);
    assert_int_equal(hf_state_commit(s), HF_OK);
    hf_state_close(s);
    box_open(b);
    assert_int_equal(b->core->writer.keys.key[0].id, 2);
    assert_int_equal(dictionaries(b), 0);
    put_rows(b, 5000, 200); /* and another is made */
    assert_int_equal(dictionaries(b), 1);
    peer_free(gone);
}

/* From the log, then from the state's object, then by a core that would train none. */
static void a_dictionary_outlives_its_core(void **state)
{
    struct box *b = *state;
    put_rows(b, 0, 200);
    hf_seq seq = box_frame(b, frame_find(b, 0, true)).h.seq;
    for (int i = 0; i < 3; i++) {
        if (i == 0) {
            box_crash(b);
        } else {
            box_close(b);
        }
        box_forget(b);
        box_open(b);
        put_rows(b, 1000 + 10 * (uint32_t)i, 1);
        struct hf_frame f = box_frame(b, frame_find(b, 0, false));
        assert_true(f.h.seq > seq);
        char key[16], row[RECORD_MAX];
        snprintf(key, sizeof(key), "row/%06u", 150u);
        row_make(150, row);
        assert_string_equal(box_get(b, key), row);
    }
}

static void hello_brings_the_dictionaries_that_an_edge_has_not(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    box_enrol(b, "e", p);
    put_rows(b, 0, 200);
    struct hf_frame d = box_frame(b, frame_find(b, 0, true));
    struct hf_request q = {.type = HF_MSG_HELLO};
    q.hello.wire_min = q.hello.wire_max = HF_WIRE_VERSION;
    const struct hf_reply *r = peer_ask(p, &q);
    assert_int_equal(r->hello.dictionary_count, 1);
    struct hf_frame got;
    struct hf_id stream;
    assert_int_equal(hf_frame_decode(r->hello.dictionary[0], &stream, &got), HF_OK);
    assert_true(hf_slice_eq(got.header, d.header) && hf_frame_body_matches(&got));
    q.hello.dictionary_count = 1;
    q.hello.dictionary[0] = d.h.seq;
    assert_int_equal(peer_ask(p, &q)->hello.dictionary_count, 0);
    peer_free(p);
}

/* What an edge needs for the dictionary itself: the key of its time, though frames have another. */
static void hello_brings_the_key_of_a_dictionary_along(void **state)
{
    struct box *b = *state;
    struct peer *p = peer_new(b, 1);
    struct peer *gone = peer_new(b, 2);
    box_enrol(b, "e", p);
    box_enrol(b, "gone", gone);
    put_rows(b, 0, 200);
    hf_seq seq = box_frame(b, frame_find(b, 0, true)).h.seq;
    box_revoke(b, "gone");
    box_forget(b);
    put_rows(b, 500, 1);
    struct hf_frame last = box_frame(b, frame_find(b, 0, false));
    assert_int_equal(last.h.content_key_id, 2);
    struct hf_request q = {.type = HF_MSG_HELLO};
    q.hello = (struct hf_hello_request){.applied = last.h.seq,
                                        .header = last.header,
                                        .signature = last.signature,
                                        .epoch_id = last.h.epoch_id,
                                        .wire_min = HF_WIRE_VERSION,
                                        .wire_max = HF_WIRE_VERSION};
    const struct hf_reply *r = peer_ask(p, &q);
    assert_int_equal(r->hello.dictionary_count, 1);
    assert_int_equal(r->hello.key[0].id, 1);
    q.hello.dictionary_count = 1;
    q.hello.dictionary[0] = seq;
    r = peer_ask(p, &q);
    assert_int_equal(r->hello.dictionary_count, 0);
    assert_int_equal(r->hello.key[0].id, 2);
    peer_free(p);
    peer_free(gone);
}

#define IN_CORE(f) cmocka_unit_test_setup_teardown(f, core_setup, box_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_repeats_becomes_a_dictionary_the_same_each_time),
        IN_CORE(what_does_not_repeat_becomes_none_and_is_tried_less_and_less),
        cmocka_unit_test(a_dictionary_that_gains_little_over_the_last_is_none),
        cmocka_unit_test(large_bodies_say_nothing_of_small_ones),
        cmocka_unit_test(raw_of_a_dictionary_is_a_body_without_changes),
        cmocka_unit_test(only_a_dictionary_of_that_seq_is_one),
        cmocka_unit_test(a_table_keeps_the_four_newest_in_order),
        cmocka_unit_test(a_body_needs_the_dictionary_that_it_names),
        IN_CORE(a_store_keeps_the_four_newest),
        IN_CORE(small_batches_shrink_once_their_dictionary_is_in_the_stream),
        IN_CORE(a_dictionary_that_finds_no_room_waits_for_it),
        IN_CORE(a_core_that_is_not_to_makes_and_uses_none),
        IN_CORE(a_dictionary_whose_group_failed_is_forgotten),
        cmocka_unit_test_setup_teardown(a_dictionary_goes_with_the_frames_that_use_it,
                                        small_core_setup, box_teardown),
        cmocka_unit_test_setup_teardown(a_dictionary_goes_though_the_commit_fails_that_deletes_it,
                                        small_core_setup, box_teardown),
        cmocka_unit_test_setup_teardown(a_dictionary_keeps_its_key_alone, small_core_setup,
                                        box_teardown),
        cmocka_unit_test_setup_teardown(a_dictionary_without_its_key_is_left_out, small_core_setup,
                                        box_teardown),
        IN_CORE(a_dictionary_outlives_its_core),
        IN_CORE(hello_brings_the_dictionaries_that_an_edge_has_not),
        IN_CORE(hello_brings_the_key_of_a_dictionary_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
