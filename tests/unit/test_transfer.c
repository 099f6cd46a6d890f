/*
 * test_transfer.c - PLAN and FETCH: frames, bodies, chunks with fragments, floors, bounds.
 *
 * Whole transfers are staged into a second, empty state by the functions that an edge uses, and its
 * digest is compared with the core's: the two sides agree on what a bound means (G11).
 */
#include "transfer_box.h"

/* ---- LOG and BODY ---- */

static void log_gives_the_very_frames_that_were_published(void **state)
{
    struct fixture *f = *state;
    char value[16];
    for (int i = 0; i < 10; i++) {
        snprintf(value, sizeof(value), "%d", i);
        box_put(f->b, "k", value);
    }
    const struct hf_reply *r = fetch_log(f, 3, 8);
    assert_int_equal(r->code, HF_OK);
    assert_int_equal(r->fetch.frame_count, 6);
    assert_int_equal(r->fetch.seq, 8);
    struct hf_slice rest = r->fetch.frames;
    struct hf_slice m;
    for (uint32_t i = 2; hf_fetch_next_frame(&rest, &m); i++) {
        assert_true(hf_slice_eq(m, hf_slice_of(f->b->published[i].data, f->b->published[i].len)));
    }
    assert_int_equal(fetch_log(f, 9, 99)->fetch.seq, 10);
}

static void frames_may_be_fetched_before_the_state_is_committed(void **state)
{
    struct fixture *f = *state;
    box_put(f->b, "k", "v");
    assert_int_equal(box_status(f->b).committed, 0);
    assert_int_equal(fetch_log(f, 1, 1)->code, HF_OK);
}

static void log_replies_hold_whole_frames_up_to_their_size(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 8; i++) {
        box_put_bytes(f->b, "k", 20000);
    }
    hf_seq at = 1;
    int replies = 0;
    while (at <= 8) {
        const struct hf_reply *r = fetch_log(f, at, 8);
        assert_int_equal(r->code, HF_OK);
        assert_int_equal(r->fetch.frame_count, r->fetch.seq - at + 1);
        at = r->fetch.seq + 1;
        replies++;
    }
    assert_int_equal(replies, 3);
}

static void a_large_frame_comes_as_its_header_and_its_body_in_pieces(void **state)
{
    struct fixture *f = *state;
    box_put(f->b, "a", "1");
    box_put_bytes(f->b, "k", 1000 * 1000);
    box_put(f->b, "a", "2");
    assert_int_equal(fetch_log(f, 1, 3)->fetch.seq, 2);
    struct hf_reply r = *fetch_log(f, 2, 3);
    assert_int_equal(r.fetch.frame_count, 1);
    struct hf_slice m;
    struct hf_id stream;
    struct hf_frame frame;
    assert_true(hf_fetch_next_frame(&r.fetch.frames, &m));
    static uint8_t copy[HF_HEADER_MAX + HF_FRAME_OVERHEAD];
    memcpy(copy, m.data, m.len);
    assert_int_equal(hf_frame_decode(hf_slice_of(copy, m.len), &stream, &frame), HF_OK);
    assert_null(frame.body.data);
    uint8_t *body = malloc(frame.h.body_bytes);
    uint32_t at = 0;
    while (at < frame.h.body_bytes) {
        r = *fetch_body(f, 2, at);
        assert_int_equal(r.code, HF_OK);
        assert_int_equal(r.fetch.total, frame.h.body_bytes);
        assert_int_equal(r.fetch.offset, at);
        memcpy(body + at, r.fetch.body.data, r.fetch.body.len);
        at += (uint32_t)r.fetch.body.len;
    }
    frame.body = hf_slice_of(body, at);
    assert_true(hf_frame_body_matches(&frame));
    assert_int_equal(fetch_body(f, 2, at)->code, HF_MALFORMED);
    free(body);
}

static void what_the_log_does_not_have_is_said_so(void **state)
{
    struct fixture *f = *state;
    box_put(f->b, "k", "v");
    assert_int_equal(fetch_log(f, 2, 5)->code, HF_NOT_YET);
    assert_int_equal(fetch_body(f, 2, 0)->code, HF_NOT_YET);
    struct hf_request q = fetch_of(f, HF_WANT_LOG);
    q.fetch.epoch_id.b[0] ^= 1;
    q.fetch.first = q.fetch.last = 1;
    assert_int_equal(peer_ask(f->p, &q)->code, HF_UNKNOWN_EPOCH);
}

/* A small log whose beginning is trimmed away. */
static void begin_small(struct fixture *f)
{
    struct box *b = f->b;
    b->cfg.delta_batches = 40;
    box_open_small(b);
    f->p->cookie = (struct hf_id){{0}};
    box_enrol(b, "e", f->p);
    for (int i = 0; i < 60; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", i % 4);
        box_put_bytes(b, key, 20000);
        box_commit(b);
    }
}

static void below_the_floors_there_is_neither_log_nor_delta(void **state)
{
    struct fixture *f = *state;
    begin_small(f);
    hf_seq first = box_status(f->b).log_first;
    assert_int_equal(fetch_log(f, first - 1, 60)->code, HF_BELOW_FLOOR);
    assert_int_equal(fetch_log(f, first, 60)->code, HF_OK);
    assert_int_equal(fetch_body(f, first - 1, 0)->code, HF_BELOW_FLOOR);
    hf_seq floor = f->b->core->head.delta_floor;
    assert_true(floor > 0 && floor < first);
    assert_int_equal(fetch_delta(f, after(floor - 1), 60)->code, HF_BELOW_FLOOR);
    assert_int_equal(fetch_delta(f, after(floor), 60)->code, HF_OK);
    assert_int_equal(plan(f, 0)->plan.kind, HF_PLAN_SNAPSHOT);
    assert_int_equal(plan(f, floor - 1)->plan.kind, HF_PLAN_SNAPSHOT);
    assert_int_equal(plan(f, floor)->plan.kind, HF_PLAN_DELTA);
    assert_int_equal(plan(f, 59)->plan.kind, HF_PLAN_LOG);
}

/* ---- PLAN ---- */

static void a_plan_names_the_cheaper_way_and_both_prices(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(plan(f, 0)->plan.kind, HF_PLAN_NONE);
    for (int i = 0; i < 300; i++) {
        box_put_bytes(f->b, "hot", 1000);
    }
    assert_int_equal(plan(f, 300)->plan.kind, HF_PLAN_NONE);
    assert_int_equal(plan(f, 299)->plan.kind, HF_PLAN_LOG); /* nothing of it is committed */
    box_commit(f->b);
    const struct hf_reply *r = plan(f, 10);
    assert_int_equal(r->plan.kind, HF_PLAN_DELTA);
    assert_int_equal(r->plan.head, 300);
    assert_true(r->plan.bytes > 900 && r->plan.bytes < 5000);
    char reason[256];
    snprintf(reason, sizeof(reason), "%.*s", (int)r->plan.reason.len,
             (const char *)r->plan.reason.data);
    assert_non_null(strstr(reason, "is cheaper than a log of"));
    for (int i = 0; i < 20; i++) {
        char key[8];
        snprintf(key, sizeof(key), "d%d", i);
        box_put(f->b, key, "x");
    }
    box_commit(f->b);
    r = plan(f, 319);
    assert_int_equal(r->plan.head, 320);
}

/* More revocations than keys are kept: a frame that nobody can open any more is not of the log. */
static void frames_whose_key_is_gone_are_below_the_floor(void **state)
{
    struct fixture *f = *state;
    struct peer *x = peer_new(f->b, 2);
    struct hf_beacon beacon;
    char value[16];
    box_enrol(f->b, "x", x);
    for (int i = 0; i < (int)HF_KEYRING_MAX + 20; i++) {
        snprintf(value, sizeof(value), "%d", i);
        assert_int_equal(box_put(f->b, "k", value).code, HF_OK);
        assert_int_equal(box_revoke(f->b, "x").code, HF_OK);
    }
    box_commit(f->b);
    hf_seq head = box_status(f->b).head;
    assert_int_equal(fetch_log(f, 1, head)->code, HF_BELOW_FLOOR);
    assert_int_equal(plan(f, 1)->plan.kind, HF_PLAN_DELTA);
    assert_int_equal(plan(f, 0)->plan.kind, HF_PLAN_SNAPSHOT);
    const struct hf_reply *r = peer_hello(f->p, NULL);
    assert_int_equal(hf_beacon_decode(r->hello.beacon.signed_beacon, &beacon), HF_OK);
    assert_int_equal(beacon.log_floor, 22);
    /* From there on the log goes as ever, and HELLO brings the key of its first frame. */
    assert_int_equal(r->hello.key[0].from, 22);
    assert_int_equal(fetch_log(f, 21, head)->code, HF_BELOW_FLOOR);
    assert_int_equal(fetch_log(f, 22, head)->code, HF_OK);
    peer_free(x);
}

static void a_large_delta_has_points_to_split_it_at(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) {
        char key[8];
        snprintf(key, sizeof(key), "d%d", i);
        box_put_bytes(f->b, "hot", 200000);
        box_put_bytes(f->b, key, 100000);
    }
    box_commit(f->b);
    const struct hf_reply *r = plan(f, 1);
    assert_int_equal(r->plan.kind, HF_PLAN_DELTA);
    assert_in_range(r->plan.split_count, 5, HF_PLAN_SPLITS_MAX);
    for (uint32_t i = 0; i < r->plan.split_count; i++) {
        assert_in_range(r->plan.split[i], 2, 199);
    }
}

/* ---- DELTA and KEYS ---- */

static void a_delta_has_each_key_once_at_its_newest_and_the_deletes(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[CHUNK_RAW_MAX];
    box_put(f->b, "a", "1");
    box_put(f->b, "b", "1");
    box_put(f->b, "a", "2");
    box_put(f->b, "b", NULL);
    box_put(f->b, "c", "1");
    box_commit(f->b);
    const struct hf_reply *r = fetch_delta(f, after(1), 4);
    assert_int_equal(r->code, HF_OK);
    assert_true(r->fetch.chunk.end);
    assert_int_equal(r->fetch.chunk.asof, 5);
    struct hf_slice records = chunk_open(f, &r->fetch.chunk, raw);
    assert_int_equal(count_records(records), 2);
    struct hf_records reader;
    struct hf_record rec;
    hf_records_open(&reader, records);
    assert_true(hf_records_next(&reader, &rec));
    assert_true(hf_slice_eq(rec.key, hf_slice_str("a")) && rec.seq == 3 && !rec.tombstone);
    assert_true(hf_records_next(&reader, &rec));
    assert_true(hf_slice_eq(rec.key, hf_slice_str("b")) && rec.seq == 4 && rec.tombstone);
}

static void an_empty_range_is_an_end_and_no_error(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[CHUNK_RAW_MAX];
    const struct hf_reply *r = fetch_keys(f, after(0));
    assert_int_equal(r->code, HF_OK);
    assert_true(r->fetch.chunk.end);
    assert_int_equal(count_records(chunk_open(f, &r->fetch.chunk, raw)), 0);
    r = fetch_delta(f, after(0), 0);
    assert_int_equal(r->code, HF_OK);
    assert_true(r->fetch.chunk.end);
}

static void a_delta_above_the_committed_state_is_not_there_yet(void **state)
{
    struct fixture *f = *state;
    box_put(f->b, "a", "1");
    assert_int_equal(fetch_delta(f, after(0), 1)->code, HF_NOT_YET);
    box_commit(f->b);
    assert_int_equal(fetch_delta(f, after(0), 1)->code, HF_OK);
}

/* A group whose frames are synced fails behind them, and its replay commits on the way: the state
 * is ahead of what the owner acknowledged and names in beacons. */
static void nothing_above_the_acknowledged_head_is_given(void **state)
{
    struct fixture *f = *state;
    struct box_write w = {.done = false};
    struct hf_core_writer *writer = &f->b->core->writer;
    box_put(f->b, "a", "1");
    box_commit(f->b);
    f->b->core->cfg.commit_changes = 1;
    box_send(f->b, box_add(&w, "b", "2"));
    hf_core_flush(f->b->core);
    struct hf_job *group = f->b->job_first;
    f->b->job_first = NULL;
    f->b->job_end = &f->b->job_first;
    group->work(group);
    assert_int_equal(hf_core_writer_recover(writer), HF_OK);
    assert_int_equal(writer->head.committed, 2);
    assert_int_equal(box_status(f->b).head, 1);
    assert_int_equal(fetch_keys(f, (struct hf_bound){0})->code, HF_NOT_YET);
    assert_int_equal(fetch_delta(f, after(0), 1)->code, HF_NOT_YET);
    assert_int_equal(fetch_delta(f, after(0), 2)->code, HF_NOT_YET);
    assert_int_equal(fetch_log(f, 1, 2)->fetch.seq, 1);
    assert_int_equal(fetch_body(f, 2, 0)->code, HF_NOT_YET);
    assert_int_equal(plan(f, 0)->code, HF_NOT_YET);
    group->done(group);
    box_work(f->b);
    assert_int_equal(fetch_keys(f, (struct hf_bound){0})->code, HF_OK);
    assert_int_equal(fetch_delta(f, after(0), 2)->code, HF_OK);
    assert_int_equal(fetch_log(f, 1, 2)->fetch.seq, 2);
}

static void chunks_are_compressed_when_that_gains(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[CHUNK_RAW_MAX];
    static char value[5000];
    memset(value, 'x', sizeof(value) - 1);
    box_put(f->b, "a", value);
    box_commit(f->b);
    const struct hf_reply *r = fetch_delta(f, after(0), 1);
    assert_int_equal(r->fetch.chunk.compression, HF_COMPRESSION_ZSTD);
    assert_true(r->fetch.chunk.sealed.len < 500);
    assert_int_equal(count_records(chunk_open(f, &r->fetch.chunk, raw)), 1);
}

/* What packs well is cut where the raw bytes end, not where the reply does. */
static void a_long_value_that_packs_well_comes_in_pieces(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[CHUNK_RAW_MAX];
    static char value[300000];
    struct hf_bound from = after(0);
    uint32_t offset = 0;
    memset(value, 'x', sizeof(value) - 1);
    box_put(f->b, "long", value);
    box_commit(f->b);
    while (from.seq == 0 || from.offset != HF_OFFSET_END) {
        struct hf_reply r = *fetch_delta(f, from, 1);
        struct hf_records reader;
        struct hf_record rec;
        assert_int_equal(r.code, HF_OK);
        hf_records_open(&reader, chunk_open(f, &r.fetch.chunk, raw));
        assert_true(hf_records_next(&reader, &rec));
        assert_int_equal(rec.offset, offset);
        offset += (uint32_t)rec.value.len;
        from = r.fetch.chunk.to;
    }
    assert_int_equal(offset, sizeof(value) - 1);
}

static void a_fragment_whose_record_changed_has_moved(void **state)
{
    struct fixture *f = *state;
    box_put_bytes(f->b, "big", 200000);
    box_commit(f->b);
    struct hf_reply d = *fetch_delta(f, after(0), 1);
    assert_int_equal(d.code, HF_OK);
    assert_false(d.fetch.chunk.end);
    struct hf_bound mid = d.fetch.chunk.to;
    assert_true(mid.offset > 0 && mid.offset < 200000);
    struct hf_reply k = *fetch_keys(f, after(0));
    struct hf_bound mid_key = k.fetch.chunk.to;
    mid_key.key = hf_slice_str("big");
    assert_int_equal(mid_key.offset, mid.offset);
    assert_int_equal(fetch_delta(f, mid, 1)->code, HF_OK);
    assert_int_equal(fetch_keys(f, mid_key)->code, HF_OK);
    box_put_bytes(f->b, "big", 200000);
    box_commit(f->b);
    assert_int_equal(fetch_delta(f, mid, 1)->code, HF_MOVED);
    assert_int_equal(fetch_keys(f, mid_key)->code, HF_MOVED);
    box_put(f->b, "big", NULL);
    box_commit(f->b);
    assert_int_equal(fetch_keys(f, mid_key)->code, HF_MOVED);
}

/* ---- whole transfers ---- */

static struct hf_state *edge_state(struct fixture *f)
{
    char dir[128];
    struct hf_state *s;
    snprintf(dir, sizeof(dir), "%s/edge", f->b->root);
    struct hf_state_config c = {.dir = dir, .map_bytes = 256u << 20};
    assert_int_equal(hf_state_open(&c, &s, NULL), HF_OK);
    const struct hf_genesis *g = &f->b->core->writer.genesis;
    struct hf_hash chain;
    struct hf_genesis opened;
    assert_int_equal(hf_genesis_open(hf_slice_of(f->b->core->writer.genesis_signed.data,
                                                 f->b->core->writer.genesis_signed.len),
                                     &f->b->id.public_key, &opened, &chain),
                     HF_OK);
    struct hf_position at = {.epoch_id = g->epoch_id, .chain = chain, .digest = g->digest};
    assert_int_equal(hf_state_begin(s), HF_OK);
    assert_int_equal(hf_state_genesis(s, &at), HF_OK);
    assert_int_equal(hf_state_commit(s), HF_OK);
    return s;
}

/* Asks for what comes next of a part, in pieces of its own size. */
static const struct hf_reply *fetch_part(struct fixture *f, const struct hf_stage *g, uint32_t part)
{
    const struct hf_stage_part *p = &g->part[part];
    bool keys = g->kind == HF_PLAN_SNAPSHOT && !g->keys_done;
    struct hf_request q = fetch_of(f, keys ? HF_WANT_KEYS : HF_WANT_DELTA);
    q.fetch.from = p->cursor;
    q.fetch.until = keys ? p->until.key : hf_slice_of(NULL, 0);
    q.fetch.last = keys ? 0 : p->until.seq;
    q.fetch.asof_min = keys ? g->keys_head : g->target;
    q.fetch.data_max = part * 3000;
    return peer_ask(f->p, &q);
}

/* Fetches and stages a chunk of each part in turn until the current range is done; `between` may
 * write at the core. */
static void stage_range(struct fixture *f, struct hf_state *s, void (*between)(struct fixture *))
{
    static uint8_t raw[CHUNK_RAW_MAX];
    struct hf_stage g;
    uint32_t part = 0;
    assert_int_equal(hf_state_begin(s), HF_OK);
    for (hf_state_stage_get(s, &g); g.part_count > 0; hf_state_stage_get(s, &g)) {
        part = (part + 1) % g.part_count;
        if (g.part[part].done) {
            continue;
        }
        const struct hf_reply *r = fetch_part(f, &g, part);
        if (r->code == HF_MOVED) {
            assert_int_equal(hf_state_stage_skip(s, part), HF_OK);
        } else {
            assert_int_equal(r->code, HF_OK);
            struct hf_slice records = chunk_open(f, &r->fetch.chunk, raw);
            struct hf_records it;
            hf_records_open(&it, records);
            struct hf_sum sum;
            hf_records_sum(&it, &sum);
            assert_int_equal(hf_state_stage_chunk(s, part, &r->fetch.chunk, &it, &sum), HF_OK);
        }
        assert_int_equal(hf_state_commit(s), HF_OK);
        if (between != NULL) {
            between(f);
        }
        assert_int_equal(hf_state_begin(s), HF_OK);
    }
    assert_int_equal(hf_state_commit(s), HF_OK);
}

/* Opens the frame of seq from the core's log, as an edge would after FETCH. */
static void stage_frames(struct fixture *f, struct hf_state *s)
{
    static struct hf_bytes message;
    static uint8_t raw[HF_BATCH_RAW_MAX];
    static uint8_t scratch[HF_BODY_SEALED_MAX];
    struct hf_stage g;
    struct hf_id stream;
    struct hf_frame frame;
    struct hf_body body;
    hf_seq head = box_status(f->b).head;
    ZSTD_DCtx *dctx = ZSTD_createDCtx();
    assert_int_equal(hf_state_begin(s), HF_OK);
    for (hf_state_stage_get(s, &g); g.tail < head; hf_state_stage_get(s, &g)) {
        struct hf_writer out;
        struct hf_writer aside;
        hf_writer_init(&out, raw, sizeof(raw));
        hf_writer_init(&aside, scratch, sizeof(scratch));
        assert_int_equal(hf_transfer_frame(f->b->core->writer.log, g.tail + 1, &message), HF_OK);
        assert_int_equal(hf_frame_decode(hf_slice_of(message.data, message.len), &stream, &frame),
                         HF_OK);
        const struct hf_content_key *key =
            hf_keyring_find(hf_registry_keys(f->b->core->registry), frame.h.content_key_id);
        assert_int_equal(hf_body_unseal(&frame.h, frame.body, &key->key, dctx, &aside, &out),
                         HF_OK);
        assert_int_equal(hf_body_open(hf_writer_bytes(&out), frame.h.change_count, &body), HF_OK);
        assert_int_equal(hf_state_stage_frame(s, &frame, &body), HF_OK);
    }
    assert_int_equal(hf_transfer_frame(f->b->core->writer.log, head, &message), HF_OK);
    assert_int_equal(hf_frame_decode(hf_slice_of(message.data, message.len), &stream, &frame),
                     HF_OK);
    assert_int_equal(hf_state_stage_switch(s, &frame), HF_OK);
    assert_int_equal(hf_state_commit(s), HF_OK);
    hf_bytes_free(&message);
    ZSTD_freeDCtx(dctx);
}

static void busy_core(struct fixture *f)
{
    static int n;
    char key[16];
    char value[16];
    n++;
    snprintf(key, sizeof(key), "k%d", n * 13 % 40);
    snprintf(value, sizeof(value), "n%d", n);
    box_put(f->b, key, n % 4 == 0 ? NULL : value);
    if (n % 2 == 0) {
        box_put_bytes(f->b, "big1", 150000);
    }
    box_commit(f->b);
}

static void fill(struct fixture *f)
{
    char key[16];
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        box_put_bytes(f->b, key, (size_t)i * (size_t)i * 20);
    }
    box_put_bytes(f->b, "big1", 300000);
    box_put_bytes(f->b, "big2", HF_STORE_VALUE_MAX);
    box_put(f->b, "k7", NULL);
    box_put(f->b, "k8", "");
    box_commit(f->b);
}

static void assert_as_the_core(struct fixture *f, struct hf_state *s)
{
    struct hf_view *v;
    struct hf_applied a;
    assert_int_equal(hf_view_open(s, &v), HF_OK);
    hf_view_applied(v, &a);
    assert_int_equal(a.at.seq, box_status(f->b).head);
    assert_memory_equal(a.at.digest.b, box_status(f->b).digest.b, HF_HASH_BYTES);
    assert_int_equal(hf_view_verify(v, NULL), HF_OK);
    hf_view_close(v);
}

static void a_snapshot_gives_the_digest_of_the_core_while_it_writes_on(void **state)
{
    struct fixture *f = *state;
    fill(f);
    struct hf_state *s = edge_state(f);
    assert_int_equal(hf_state_begin(s), HF_OK);
    struct hf_position base = hf_state_position(s);
    hf_seq head = box_status(f->b).committed;
    const struct hf_stage_splits splits = {.count = 3,
                                           .at = {{.key = hf_slice_str("big1")},
                                                  {.key = hf_slice_str("k15")},
                                                  {.key = hf_slice_str("k32x")}}};
    assert_int_equal(hf_state_stage_begin(s, HF_PLAN_SNAPSHOT, &base, head, &splits), HF_OK);
    assert_int_equal(hf_state_commit(s), HF_OK);
    stage_range(f, s, busy_core);
    assert_int_equal(hf_state_begin(s), HF_OK);
    assert_int_equal(hf_state_stage_target(s, box_status(f->b).committed), HF_OK);
    assert_int_equal(hf_state_commit(s), HF_OK);
    stage_range(f, s, busy_core);
    stage_frames(f, s);
    assert_as_the_core(f, s);
    hf_state_close(s);
}

static void no_number_of_deleted_keys_makes_one_request_long(void **state)
{
    enum { DELETED = 25000, PER_WRITE = 5000 };
    struct fixture *f = *state;
    static char name[PER_WRITE][8];
    static struct hf_change change[PER_WRITE];
    uint8_t raw[CHUNK_RAW_MAX];
    for (int from = 0; from < DELETED; from += PER_WRITE) {
        for (int del = 0; del <= 1; del++) {
            struct box_write w = {.done = false};
            for (int i = 0; i < PER_WRITE; i++) {
                snprintf(name[i], sizeof(name[i]), "%06d", from + i);
                change[i] = (struct hf_change){.op = del ? HF_OP_DEL : HF_OP_PUT,
                                               .key = hf_slice_str(name[i])};
            }
            w.w =
                (struct hf_write){.change = change, .change_count = PER_WRITE, .done = box_written};
            hf_core_write(f->b->core, &w.w);
            hf_core_flush(f->b->core);
            box_work(f->b);
            assert_int_equal(w.result.code, HF_OK);
        }
    }
    box_put(f->b, "last", "1");
    box_commit(f->b);
    struct hf_bound at = {0};
    uint8_t key[HF_STORE_KEY_MAX];
    for (int i = 0; i < 2; i++) {
        const struct hf_reply *r = fetch_keys(f, at);
        assert_int_equal(r->code, HF_OK);
        assert_false(r->fetch.chunk.end);
        assert_int_equal(count_records(chunk_open(f, &r->fetch.chunk, raw)), 0);
        at = r->fetch.chunk.to;
        snprintf(name[0], sizeof(name[0]), "%06d", (i + 1) * 10000 - 1);
        assert_true(hf_slice_eq(at.key, hf_slice_str(name[0])));
        memcpy(key, at.key.data, at.key.len);
        at.key.data = key;
    }
    const struct hf_reply *r = fetch_keys(f, at);
    assert_int_equal(count_records(chunk_open(f, &r->fetch.chunk, raw)), 1);
    assert_true(r->fetch.chunk.end);
    /* An edge goes on from there too. */
    struct hf_state *s = edge_state(f);
    assert_int_equal(hf_state_begin(s), HF_OK);
    struct hf_position base = hf_state_position(s);
    hf_seq head = box_status(f->b).committed;
    assert_int_equal(hf_state_stage_begin(s, HF_PLAN_SNAPSHOT, &base, head, NULL), HF_OK);
    assert_int_equal(hf_state_commit(s), HF_OK);
    stage_range(f, s, NULL);
    struct hf_stage g;
    hf_state_stage_get(s, &g);
    assert_true(g.keys_done);
    hf_state_close(s);
}

static void a_delta_gives_the_digest_of_the_core_while_it_writes_on(void **state)
{
    struct fixture *f = *state;
    struct hf_state *s = edge_state(f);
    assert_int_equal(hf_state_begin(s), HF_OK);
    struct hf_position base = hf_state_position(s);
    fill(f);
    const struct hf_stage_splits splits = {.count = 2, .at = {after(20), after(41)}};
    assert_int_equal(
        hf_state_stage_begin(s, HF_PLAN_DELTA, &base, box_status(f->b).committed, &splits), HF_OK);
    assert_int_equal(hf_state_commit(s), HF_OK);
    stage_range(f, s, busy_core);
    stage_frames(f, s);
    assert_as_the_core(f, s);
    hf_state_close(s);
}

static void revoke_and_write(struct box *b, const char *name)
{
    box_revoke(b, name);
    box_put(b, "k", "secret");
    box_commit(b);
}

/* Asks for a chunk, and revokes two edges while it is on its way. It is read once `read_after` of
 * them are. The box has the reply then, if there is one. */
static void fetch_across_revocations(struct fixture *f, struct hf_request *q, int read_after)
{
    static const char *const name[] = {"gone", "gone-too"};
    struct box *b = f->b;
    struct peer *gone[2];
    for (int i = 0; i < 2; i++) {
        gone[i] = peer_new(b, (uint8_t)(9 + i));
        box_enrol(b, name[i], gone[i]);
    }
    box_put(b, "k", "w");
    box_commit(b);
    q->fetch.asof_min = box_status(b).head; /* not a chunk that is kept */
    box_random(b, f->p->nonce, sizeof(f->p->nonce));
    q->counter = ++f->p->counter;
    peer_seal(f->p, q);
    hf_core_on_request(b->core, 1, hf_slice_of(f->p->message, f->p->message_len), NULL);
    struct hf_job *held = box_hold(b); /* it has the key */
    for (int i = 0; i <= 2; i++) {
        if (i == read_after) {
            held->work(held);
        }
        if (i < 2) {
            revoke_and_write(b, name[i]);
        }
    }
    free(b->reply.data);
    b->reply.data = NULL;
    held->done(held);
    box_work(b);
    peer_free(gone[0]);
    peer_free(gone[1]);
}

/* The key of a chunk that the core gives now. */
static uint32_t key_of_chunks(struct fixture *f, struct hf_request *q)
{
    const struct hf_reply *p = peer_ask(f->p, q);
    assert_int_equal(p->code, HF_OK);
    return p->fetch.chunk.key_id;
}

/* The chunk would have what was written after the revocation, under a key that the revoked edge
 * has. */
static void a_chunk_read_after_a_revocation_is_read_again_for_the_new_key(void **state)
{
    struct fixture *f = *state;
    struct hf_request q = keys_of(f, (struct hf_bound){.offset = HF_OFFSET_END}, "");
    for (int read_after = 1; read_after <= 2; read_after++) {
        uint32_t before = key_of_chunks(f, &q);
        fetch_across_revocations(f, &q, read_after);
        assert_true(peer_open(f->p));
        assert_int_equal(f->p->reply.code, HF_OK);
        assert_int_equal(f->p->reply.fetch.chunk.key_id, before + 2);
        assert_int_equal(f->p->reply.fetch.chunk.asof, box_status(f->b).head);
    }
}

/* Nothing in it is newer than the revocations: who was revoked could read all of it before. */
static void a_chunk_read_before_a_revocation_is_given_under_the_key_of_before(void **state)
{
    struct fixture *f = *state;
    struct hf_request q = keys_of(f, (struct hf_bound){.offset = HF_OFFSET_END}, "");
    uint32_t before = key_of_chunks(f, &q);
    fetch_across_revocations(f, &q, 0);
    assert_true(peer_open(f->p));
    assert_int_equal(f->p->reply.code, HF_OK);
    assert_int_equal(f->p->reply.fetch.chunk.key_id, before);
}

/* Two plain texts under one key and one nonce would give both away. */
static void no_nonce_is_used_twice(void **state)
{
    enum { ASKED = 6 };
    struct fixture *f = *state;
    struct hf_request q = keys_of(f, (struct hf_bound){.offset = HF_OFFSET_END}, "");
    uint8_t reply[ASKED][HF_NONCE_BYTES], chunk[ASKED][HF_NONCE_BYTES];
    for (int i = 0; i < ASKED; i++) {
        if (i % 3 == 2) { /* read twice */
            fetch_across_revocations(f, &q, 1);
            assert_true(peer_open(f->p));
        } else {
            box_put(f->b, "k", i % 3 == 0 ? "v" : "x");
            box_commit(f->b);
            q.fetch.asof_min = box_status(f->b).head; /* not a chunk that is kept */
            assert_int_equal(peer_ask(f->p, &q)->code, HF_OK);
        }
        memcpy(reply[i], f->b->reply.data + HF_PREFIX_BYTES + HF_COOKIE_BYTES, HF_NONCE_BYTES);
        memcpy(chunk[i], f->p->reply.fetch.chunk.sealed.data, HF_NONCE_BYTES);
        for (int k = 0; k < i; k++) {
            assert_memory_not_equal(reply[k], reply[i], HF_NONCE_BYTES);
            assert_memory_not_equal(chunk[k], chunk[i], HF_NONCE_BYTES);
        }
    }
}

static void an_edge_revoked_while_its_data_was_read_does_not_get_it(void **state)
{
    struct fixture *f = *state;
    struct hf_request q = fetch_of(f, HF_WANT_LOG);
    struct told t = {.count = 0};
    box_put(f->b, "k", "v");
    q.fetch.first = q.fetch.last = 1;
    peer_ask(f->p, &q);
    box_random(f->b, f->p->nonce, sizeof(f->p->nonce));
    q.counter = ++f->p->counter;
    peer_seal(f->p, &q);
    free(f->b->reply.data);
    f->b->reply.data = NULL;
    hf_core_on_request(f->b->core, 1, hf_slice_of(f->p->message, f->p->message_len), NULL);
    hf_core_edge_revoke(f->b->core, "e", told_done, &t);
    box_work(f->b);
    assert_null(f->b->reply.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(log_gives_the_very_frames_that_were_published),
        T(frames_may_be_fetched_before_the_state_is_committed),
        T(log_replies_hold_whole_frames_up_to_their_size),
        T(a_large_frame_comes_as_its_header_and_its_body_in_pieces),
        T(what_the_log_does_not_have_is_said_so),
        T(below_the_floors_there_is_neither_log_nor_delta),
        T(a_plan_names_the_cheaper_way_and_both_prices),
        T(frames_whose_key_is_gone_are_below_the_floor),
        T(a_large_delta_has_points_to_split_it_at),
        T(a_delta_has_each_key_once_at_its_newest_and_the_deletes),
        T(an_empty_range_is_an_end_and_no_error),
        T(a_delta_above_the_committed_state_is_not_there_yet),
        T(no_number_of_deleted_keys_makes_one_request_long),
        T(nothing_above_the_acknowledged_head_is_given),
        T(chunks_are_compressed_when_that_gains),
        T(a_long_value_that_packs_well_comes_in_pieces),
        T(a_fragment_whose_record_changed_has_moved),
        T(a_snapshot_gives_the_digest_of_the_core_while_it_writes_on),
        T(a_delta_gives_the_digest_of_the_core_while_it_writes_on),
        T(a_chunk_read_after_a_revocation_is_read_again_for_the_new_key),
        T(a_chunk_read_before_a_revocation_is_given_under_the_key_of_before),
        T(no_nonce_is_used_twice),
        T(an_edge_revoked_while_its_data_was_read_does_not_get_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
