/*
 * test_storm.c - many edges that come back together: one read for each range, turns, bounds.
 *
 * Replies are kept by handle, so that it is seen who was answered, in which order, and with what.
 * Jobs run one by one, when the test says so: what is under way and what waits is under control.
 */
#include "transfer_box.h"

#include "core/admission.h"
#include "core/cache.h"
#include "core/queue.h"

/* ---- a fleet ---- */

#define FLEET_MAX 80
#define LATE HF_PLACES /* the edge that comes when all places are taken */
#define HANDLES_MAX 4096

struct answer {
    bool there;
    struct box_message message; /* no data when it was dropped */
    uint32_t order;
};

struct fleet {
    struct fixture f; /* of the first edge */
    struct peer *peer[FLEET_MAX];
    uint32_t count;
    uint64_t handles;
    uint32_t answered;
    uint8_t asker[HANDLES_MAX];
    uint8_t nonce[HANDLES_MAX][HF_NONCE_BYTES];
    struct answer answer[HANDLES_MAX];
};

static struct fleet *fleet;

static void keep_reply(void *ctx, uint64_t handle, struct hf_slice message)
{
    box_reply(ctx, handle, message);
    if (handle < 2) {
        return; /* peer_ask's */
    }
    struct answer *a = &fleet->answer[handle];
    assert_false(a->there); /* once each */
    a->there = true;
    a->order = fleet->answered++;
    a->message = message.len > 0 ? box_copy(message) : (struct box_message){NULL, 0};
}

static int fleet_setup(void **state)
{
    fleet = calloc(1, sizeof(*fleet));
    fleet->handles = 2;
    fleet->f.b = box_new();
    fleet->f.b->world.reply = keep_reply;
    box_open(fleet->f.b);
    *state = fleet;
    return 0;
}

static int fleet_teardown(void **state)
{
    for (uint32_t i = 0; i < fleet->count; i++) {
        peer_free(fleet->peer[i]);
    }
    box_free(fleet->f.b);
    for (uint32_t i = 0; i < HANDLES_MAX; i++) {
        free(fleet->answer[i].message.data);
    }
    free(fleet);
    (void)state;
    return 0;
}

/* Enrols edges until there are n; each has its cookie. */
static void fleet_grow(uint32_t n)
{
    for (; fleet->count < n; fleet->count++) {
        char name[16];
        struct peer *p = peer_new(fleet->f.b, (uint8_t)(fleet->count + 1));
        snprintf(name, sizeof(name), "e%u", fleet->count);
        box_enrol(fleet->f.b, name, p);
        fleet->peer[fleet->count] = p;
        fleet->f.p = p;
        assert_int_equal(plan(&fleet->f, 0)->type, HF_MSG_PLAN);
    }
    fleet->f.p = fleet->peer[0];
}

/* Asks without running a job; returns the handle. */
static uint64_t ask(uint32_t edge, struct hf_request *q)
{
    struct peer *p = fleet->peer[edge];
    uint64_t handle = fleet->handles++;
    assert_true(handle < HANDLES_MAX);
    box_random(fleet->f.b, p->nonce, sizeof(p->nonce));
    memcpy(fleet->nonce[handle], p->nonce, HF_NONCE_BYTES);
    fleet->asker[handle] = (uint8_t)edge;
    q->counter = ++p->counter;
    peer_seal(p, q);
    hf_core_on_request(fleet->f.b->core, handle, hf_slice_of(p->message, p->message_len), NULL);
    return handle;
}

/* Opens the answer as the edge would. */
static const struct hf_reply *answer_of(uint64_t handle)
{
    const struct answer *a = &fleet->answer[handle];
    struct peer *p = fleet->peer[fleet->asker[handle]];
    struct hf_envelope env;
    struct hf_writer w;
    assert_true(a->there);
    assert_non_null(a->message.data);
    hf_writer_init(&w, p->plain, sizeof(p->plain));
    assert_int_equal(hf_reply_open(hf_slice_of(a->message.data, a->message.len),
                                   &fleet->f.b->id.public_key, &p->id.public_key,
                                   fleet->nonce[handle], &p->keys, &env, &w),
                     HF_OK);
    assert_int_equal(hf_reply_decode(hf_writer_bytes(&w), &p->reply), HF_OK);
    return &p->reply;
}

static uint64_t count(const char *name)
{
    return box_counter(fleet->f.b, name);
}

/* n keys of 1,000 bytes that do not compress, committed. */
static void fill(int n)
{
    char key[16];
    for (int i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "k%04d", i);
        box_put_bytes(fleet->f.b, key, 1000);
    }
    box_commit(fleet->f.b);
}

static struct hf_request keys_since(hf_seq asof_min)
{
    struct hf_request q = keys_of(&fleet->f, after(0), "");
    q.fetch.asof_min = asof_min;
    return q;
}

/* ---- one read for all ---- */

static void edges_that_ask_for_one_range_at_once_cause_one_read(void **state)
{
    (void)state;
    fill(20);
    fleet_grow(40);
    struct hf_request q = keys_since(20);
    uint64_t first = fleet->handles;
    for (uint32_t i = 0; i < 40; i++) {
        ask(i, &q);
    }
    assert_int_equal(count("transfer_coalesced"), 39);
    assert_int_equal(count("transfer_waiting"), 39);
    box_work(fleet->f.b);
    struct box_message sealed = {NULL, 0};
    for (uint32_t i = 0; i < 40; i++) {
        const struct hf_reply *r = answer_of(first + i);
        assert_int_equal(r->code, HF_OK);
        if (i == 0) {
            sealed = box_copy(r->fetch.chunk.sealed);
        }
        assert_true(hf_slice_eq(r->fetch.chunk.sealed, hf_slice_of(sealed.data, sealed.len)));
    }
    free(sealed.data);
    assert_int_equal(count("transfer_scans"), 1);
    assert_int_equal(count("transfer_cache_hits"), 39);
    assert_int_equal(count("transfer_waiting"), 0);
    ask(0, &q);
    box_work(fleet->f.b);
    assert_int_equal(count("transfer_scans"), 1);
}

/* Each edge goes through the whole range, part by part, side by side with the others. */
static void whole_transfers_of_a_fleet_cost_the_reads_of_one(void **state)
{
    (void)state;
    static struct hf_bound at[FLEET_MAX];
    static uint8_t key[FLEET_MAX][HF_STORE_KEY_MAX];
    bool end[FLEET_MAX] = {false};
    uint32_t left = 30;
    uint64_t requests = 0;
    fill(300);
    fleet_grow(30);
    for (uint32_t i = 0; i < 30; i++) {
        at[i] = after(0);
    }
    while (left > 0) {
        uint64_t first = fleet->handles;
        for (uint32_t i = 0; i < 30; i++) {
            struct hf_request q = keys_since(300);
            q.fetch.from = at[i];
            q.fetch.data_max = 32768;
            ask(i, &q);
            requests++;
        }
        box_work(fleet->f.b);
        for (uint32_t i = 0; i < 30; i++) {
            const struct hf_chunk *c = &answer_of(first + i)->fetch.chunk;
            memcpy(key[i], c->to.key.data, c->to.key.len);
            at[i] = c->to;
            at[i].key.data = key[i];
            left -= c->end && !end[i];
            end[i] = c->end;
        }
        assert_true(requests < 1000);
    }
    assert_true(requests >= 300);
    assert_int_equal(count("transfer_scans"), requests / 30);
    assert_int_equal(count("busy"), 0);
}

static void kept_chunk_is_given_out_only_if_it_is_new_enough(void **state)
{
    struct fixture *f = &fleet->f;
    (void)state;
    fill(5);
    fleet_grow(1);
    struct hf_request q = keys_since(5);
    assert_int_equal(peer_ask(f->p, &q)->fetch.chunk.asof, 5);
    box_put(f->b, "new", "1");
    box_commit(f->b);
    assert_int_equal(peer_ask(f->p, &q)->fetch.chunk.asof, 5);
    assert_int_equal(count("transfer_scans"), 1);
    q.fetch.asof_min = 6;
    assert_int_equal(peer_ask(f->p, &q)->fetch.chunk.asof, 6);
    q.fetch.asof_min = 5; /* the newer one took its place */
    assert_int_equal(peer_ask(f->p, &q)->fetch.chunk.asof, 6);
    assert_int_equal(count("transfer_scans"), 2);
    box_put(f->b, "newer", "1");
    box_commit(f->b);
    q.fetch.asof_min = 0; /* the newest there is */
    assert_int_equal(peer_ask(f->p, &q)->fetch.chunk.asof, 7);
    assert_int_equal(count("transfer_scans"), 3);
    q.fetch.asof_min = 8;
    assert_int_equal(peer_ask(f->p, &q)->code, HF_NOT_YET);
    struct hf_request d = delta_of(f, after(0), 6);
    d.fetch.asof_min = 1; /* a DELTA is at least as new as its end */
    assert_int_equal(peer_ask(f->p, &d)->fetch.chunk.asof, 7);
}

static void other_ranges_sizes_and_keys_are_other_chunks(void **state)
{
    struct fixture *f = &fleet->f;
    (void)state;
    fill(5);
    fleet_grow(1);
    struct hf_request q = keys_since(5);
    peer_ask(f->p, &q);
    q.fetch.until = hf_slice_str("k0002");
    peer_ask(f->p, &q);
    q.fetch.data_max = 2000;
    peer_ask(f->p, &q);
    q.fetch.from = (struct hf_bound){.key = hf_slice_str("k0001"), .offset = HF_OFFSET_END};
    peer_ask(f->p, &q);
    assert_int_equal(count("transfer_scans"), 4);
    assert_int_equal(box_revoke(f->b, "e0").code, HF_OK); /* which makes a new content key */
    struct peer *other = peer_new(f->b, 9);
    box_enrol(f->b, "other", other);
    const struct hf_reply *r = peer_ask(other, &q);
    assert_int_equal(r->fetch.chunk.key_id, 2);
    assert_int_equal(count("transfer_scans"), 5);
    peer_free(other);
}

/* ---- turns and bounds ---- */

static void more_than_there_are_slots_for_wait_and_are_all_answered(void **state)
{
    (void)state;
    fill(1);
    fleet_grow(5);
    struct hf_request q = fetch_of(&fleet->f, HF_WANT_LOG);
    q.fetch.first = q.fetch.last = 1;
    uint64_t first = fleet->handles;
    for (uint32_t i = 0; i < 5 * HF_TRANSFERS_PER_EDGE; i++) {
        ask(i % 5, &q);
    }
    assert_int_equal(count("transfer_waiting"), 5 * HF_TRANSFERS_PER_EDGE - HF_TRANSFERS_MAX);
    assert_false(hf_core_idle(fleet->f.b->core));
    ask(2, &q); /* one more than an edge may have: told at once, without a job */
    assert_int_equal(answer_of(fleet->handles - 1)->code, HF_BUSY);
    assert_in_range(answer_of(fleet->handles - 1)->fetch.retry_ms, 50, 200);
    box_work(fleet->f.b);
    for (uint64_t h = first; h < fleet->handles - 1; h++) {
        assert_int_equal(answer_of(h)->code, HF_OK);
    }
    box_commit(fleet->f.b);
    box_pass(fleet->f.b, 100);
    assert_true(hf_core_idle(fleet->f.b->core));
    assert_int_equal(count("busy"), 1);
}

/* One edge fills all slots and its line; others that come later are not behind all of it. */
static void edges_take_turns_so_nobody_starves_behind_a_greedy_one(void **state)
{
    (void)state;
    fill(1);
    fleet_grow(21);
    struct hf_request q = fetch_of(&fleet->f, HF_WANT_LOG);
    q.fetch.first = q.fetch.last = 1;
    for (uint32_t i = 0; i < HF_TRANSFERS_PER_EDGE; i++) {
        ask(0, &q);
    }
    for (uint32_t i = 0; i < HF_TRANSFERS_PER_EDGE; i++) {
        ask(1, &q);
    }
    uint64_t first = fleet->handles;
    for (uint32_t i = 2; i < 21; i++) {
        ask(i, &q);
    }
    /* For each that is done the greedy ones ask again at once. */
    for (uint32_t i = 0; i < 100; i++) {
        box_step(fleet->f.b);
        ask(i % 2, &q);
    }
    for (uint64_t h = first; h < first + 19; h++) {
        assert_true(fleet->answer[h].there);
        /* After the 16 that were under way, and at most one of each greedy one between. */
        assert_true(fleet->answer[h].order <= HF_TRANSFERS_MAX + 21 + 21);
    }
    box_work(fleet->f.b);
}

static void line_has_a_bound_and_the_rest_come_back_spread_out(void **state)
{
    bool seen[256] = {false};
    uint32_t kinds = 0;
    (void)state;
    fill(1);
    fleet_grow(40);
    struct hf_request q = fetch_of(&fleet->f, HF_WANT_LOG);
    q.fetch.first = q.fetch.last = 1;
    uint64_t first = fleet->handles;
    for (uint32_t i = 0; i < 40 * HF_TRANSFERS_PER_EDGE; i++) {
        ask(i % 40, &q);
    }
    uint32_t waiting = (uint32_t)count("transfer_waiting");
    uint32_t refused = 40 * HF_TRANSFERS_PER_EDGE - HF_TRANSFERS_MAX - waiting;
    assert_in_range(waiting, HF_WAITING_MAX * 3 / 4, HF_WAITING_MAX);
    assert_int_equal(count("busy"), refused);
    for (uint64_t h = fleet->handles - refused; h < fleet->handles; h++) {
        const struct hf_reply *r = answer_of(h);
        assert_int_equal(r->code, HF_BUSY);
        kinds += !seen[r->fetch.retry_ms];
        seen[r->fetch.retry_ms] = true;
    }
    assert_true(kinds > 30);
    box_work(fleet->f.b);
    for (uint64_t h = first; h < fleet->handles; h++) {
        assert_true(fleet->answer[h].there);
    }
}

/* The same range again and again, from a store that changes under it: everybody gets an answer, in
 * as many jobs as there are requests. */
static struct hf_request log_of(hf_seq first, hf_seq last)
{
    struct hf_request q = fetch_of(&fleet->f, HF_WANT_LOG);
    q.fetch.first = first;
    q.fetch.last = last;
    return q;
}

/* 20 batches of 1,000 bytes are more than a hole. */
static void all_places_taken(void)
{
    fill(20);
    fleet_grow(HF_PLACES + 1);
    for (uint32_t i = 0; i < HF_PLACES; i++) {
        struct hf_request q = i % 2 == 0 ? keys_since(20) : log_of(1, 20);
        assert_int_equal(peer_ask(fleet->peer[i], &q)->code, HF_OK);
    }
    assert_int_equal(count("transfer_edges_placed"), HF_PLACES);
}

static void who_comes_when_all_places_are_taken_waits_and_is_told_how_long(void **state)
{
    (void)state;
    all_places_taken();
    struct hf_request q = keys_since(20);
    for (int i = 0; i < 20; i++) {
        const struct hf_reply *r = peer_ask(fleet->peer[LATE], &q);
        assert_int_equal(r->code, HF_BUSY);
        assert_in_range(r->fetch.retry_ms, HF_PLACE_RETRY_MS / 2, HF_PLACE_RETRY_MS * 3 / 2);
    }
    q = delta_of(&fleet->f, after(0), 20);
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_BUSY);
    q = log_of(1, 1000); /* as far as the head is */
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_BUSY);
    assert_int_equal(count("transfer_edges_waiting"), 1);
    fleet->f.b->now += HF_PLACE_MS;
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_OK);
}

/* What the log does not have any more costs a word, and the edge should hear it now. */
static void what_the_log_has_no_more_needs_no_place(void **state)
{
    struct box *b = fleet->f.b;
    (void)state;
    box_open_small(b);
    for (int i = 0; i < 60; i++) {
        box_put_bytes(b, "large", 20000);
        box_commit(b);
    }
    fleet_grow(HF_PLACES + 1);
    for (uint32_t i = 0; i < HF_PLACES; i++) {
        struct hf_request q = keys_since(60);
        assert_int_equal(peer_ask(fleet->peer[i], &q)->code, HF_OK);
    }
    hf_seq first = box_status(b).log_first;
    struct hf_request q = log_of(first, 60);
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_BUSY);
    q = log_of(first - 1, 60);
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_BELOW_FLOOR);
}

static void revoked_edge_loses_its_turn(void **state)
{
    (void)state;
    all_places_taken();
    struct hf_request q = keys_since(20);
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_BUSY);
    char name[16];
    snprintf(name, sizeof(name), "e%u", LATE);
    assert_int_equal(box_revoke(fleet->f.b, name).code, HF_OK);
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_REVOKED);
    assert_int_equal(count("transfer_edges_waiting"), 0);
}

static void hole_in_the_stream_needs_no_place(void **state)
{
    (void)state;
    all_places_taken();
    struct hf_request q = log_of(3, 6);
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_OK);
    box_put_bytes(fleet->f.b, "large", 20000);
    q = log_of(21, 21); /* one frame, however large */
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_OK);
    fleet->f.p = fleet->peer[LATE];
    assert_int_equal(plan(&fleet->f, 0)->code, HF_OK);
    assert_int_equal(count("transfer_edges_placed"), HF_PLACES);
    assert_int_equal(count("transfer_edges_waiting"), 0);
}

static void report_of_one_that_has_all_makes_room_for_the_next(void **state)
{
    (void)state;
    all_places_taken();
    struct hf_request q = keys_since(20);
    peer_report(fleet->peer[3], 1); /* far behind */
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_BUSY);
    struct hf_request r = {.type = HF_MSG_REPORT};
    r.report = (struct hf_report){.epoch_id = box_status(fleet->f.b).epoch_id,
                                  .applied = 20,
                                  .received = 20,
                                  .digest = peer_digest(fleet->f.b, 20),
                                  .transfer_base = 1,
                                  .version = hf_slice_str("1")};
    peer_ask(fleet->peer[3], &r); /* its transfer goes on */
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_BUSY);
    peer_report(fleet->peer[3], 19); /* what it lacks still is a hole */
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_OK);
    assert_int_equal(peer_ask(fleet->peer[3], &q)->code, HF_BUSY);
}

/* While there is always more to have, a place would else be kept for its whole time. */
static void report_of_one_that_has_what_there_was_makes_room_under_a_load_of_writes(void **state)
{
    (void)state;
    all_places_taken();
    struct hf_request q = keys_since(20);
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_BUSY);
    for (int i = 0; i < 20; i++) {
        box_put_bytes(fleet->f.b, "more", 1000);
    }
    peer_report(fleet->peer[3], 19);
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_BUSY);
    peer_report(fleet->peer[3], 20);
    assert_int_equal(peer_ask(fleet->peer[LATE], &q)->code, HF_OK);
    assert_int_equal(peer_ask(fleet->peer[3], &q)->code, HF_OK);
    assert_int_equal(count("transfer_edges_placed"), HF_PLACES);
}

static void chunk_under_way_that_is_too_old_makes_its_waiters_read_anew(void **state)
{
    struct box *b = fleet->f.b;
    (void)state;
    fill(5);
    fleet_grow(3);
    struct hf_request q = keys_since(5);
    uint64_t first = fleet->handles;
    ask(0, &q);
    struct hf_job *job = b->job_first; /* has read, and is not done */
    b->job_first = NULL;
    b->job_end = &b->job_first;
    job->work(job);
    box_put(b, "new", "1");
    box_commit(b);
    q.fetch.asof_min = 6;
    ask(1, &q);
    ask(2, &q);
    assert_int_equal(count("transfer_coalesced"), 2);
    box_work(b);
    assert_false(fleet->answer[first + 1].there);
    job->done(job);
    box_work(b);
    assert_int_equal(answer_of(first)->fetch.chunk.asof, 5);
    assert_int_equal(answer_of(first + 1)->fetch.chunk.asof, 6);
    assert_int_equal(answer_of(first + 2)->fetch.chunk.asof, 6);
    assert_int_equal(count("transfer_scans"), 2);
}

static void revoked_edge_gets_nothing_of_what_it_waits_for(void **state)
{
    struct told t = {.count = 0};
    (void)state;
    fill(1);
    fleet_grow(2);
    struct hf_request q = keys_since(1);
    uint64_t first = fleet->handles;
    ask(0, &q);
    ask(1, &q);
    hf_core_edge_revoke(fleet->f.b->core, "e1", told_done, &t);
    box_work(fleet->f.b);
    assert_int_equal(answer_of(first)->code, HF_OK);
    assert_true(fleet->answer[first + 1].there);
    assert_null(fleet->answer[first + 1].message.data);
    assert_int_equal(count("transfer_cache_hits"), 0); /* it was not even worked on */
}

/* A crash with jobs under way and requests waiting frees it all; the sanitizers look. */
static void crash_in_the_middle_of_a_storm_leaves_nothing(void **state)
{
    (void)state;
    fill(5);
    fleet_grow(3);
    struct hf_request q = keys_since(5);
    peer_ask(fleet->peer[0], &q);
    for (uint32_t i = 0; i < 30; i++) {
        ask(i % 3, &q); /* sixteen hold the kept chunk */
    }
    assert_true(count("transfer_waiting") > 0);
    box_crash(fleet->f.b);
    box_open(fleet->f.b);
}

/* ---- the cache by itself ---- */

static void name_of(struct hf_range_name *n, hf_seq last)
{
    const struct hf_id hash_key = {{1}};
    struct hf_request q = {.type = HF_MSG_FETCH, .counter = last * 77};
    q.fetch.want = HF_WANT_DELTA;
    q.fetch.from = after(0);
    q.fetch.last = last;
    q.fetch.asof_min = last * 3; /* counter and asof min are no part of the name */
    hf_range_name(&q, &hash_key, n);
}

/* As of batch 9 under content key 1. */
static struct hf_chunk chunk_of(const uint8_t *bytes, size_t len)
{
    return (struct hf_chunk){.asof = 9,
                             .key_id = 1,
                             .descriptor = hf_slice_of(bytes, 30),
                             .sealed = hf_slice_of(bytes, len)};
}

static void cache_keeps_what_was_asked_for_last_within_its_bytes(void **state)
{
    static uint8_t bytes[10000];
    struct hf_cache *c = hf_cache_new(100000);
    struct hf_range_name n;
    struct hf_chunk chunk = chunk_of(bytes, sizeof(bytes));
    const struct hf_cached *held;
    (void)state;
    for (hf_seq i = 1; i <= 50; i++) {
        name_of(&n, i);
        hf_cache_put(c, &n, &chunk, 1);
        assert_true(hf_cache_bytes(c) <= 100000);
        name_of(&n, 1); /* asked for all the time */
        held = hf_cache_find(c, &n, 1, 9, 1);
        assert_non_null(held);
        hf_cache_release(c, held);
    }
    assert_true(hf_cache_bytes(c) > 80000);
    name_of(&n, 40);
    assert_null(hf_cache_find(c, &n, 1, 0, 1));
    name_of(&n, 50);
    assert_null(hf_cache_find(c, &n, 2, 0, 1));
    assert_null(hf_cache_find(c, &n, 1, 10, 1));
    held = hf_cache_find(c, &n, 1, 9, 1);
    for (hf_seq i = 100; i < 120; i++) { /* dropped, and stays for who holds it */
        name_of(&n, i);
        hf_cache_put(c, &n, &chunk, 1);
    }
    assert_int_equal(held->sealed.len, sizeof(bytes));
    assert_memory_equal(held->sealed.data, bytes, sizeof(bytes));
    hf_cache_release(c, held);
    hf_cache_free(c);
}

static bool cached_for(struct hf_cache *c, hf_seq last, uint32_t row)
{
    struct hf_range_name n;
    name_of(&n, last);
    const struct hf_cached *held = hf_cache_find(c, &n, 1, 0, row);
    if (held != NULL) {
        hf_cache_release(c, held);
    }
    return held != NULL;
}

/* Row 1 asks for odd ranges, again and again, as fast as it can; nobody else wants them. */
static void one_edge_drives_out_no_more_than_half_of_what_others_share(void **state)
{
    static uint8_t bytes[10000];
    struct hf_cache *c = hf_cache_new(100000);
    struct hf_range_name n;
    struct hf_chunk chunk = chunk_of(bytes, sizeof(bytes));
    uint32_t kept = 0;
    (void)state;
    for (hf_seq i = 1; i <= 9; i++) {
        name_of(&n, i);
        hf_cache_put(c, &n, &chunk, 2);
        assert_true(cached_for(c, i, 3));
    }
    for (hf_seq i = 100; i < 200; i++) {
        name_of(&n, i);
        hf_cache_put(c, &n, &chunk, 1);
        assert_true(cached_for(c, i, 1));
        assert_true(hf_cache_bytes(c) <= 100000);
    }
    for (hf_seq i = 1; i <= 9; i++) {
        kept += cached_for(c, i, 4);
    }
    assert_in_range(kept, 4, 5);
    assert_true(cached_for(c, 9, 4)); /* those that were asked for last */
    /* A newer one of a range that is shared is shared too, and not the first to go. */
    chunk.asof = 10;
    name_of(&n, 9);
    hf_cache_put(c, &n, &chunk, 2);
    for (hf_seq i = 200; i < 300; i++) {
        name_of(&n, i);
        hf_cache_put(c, &n, &chunk, 1);
    }
    assert_true(cached_for(c, 9, 4));
    hf_cache_free(c);
}

/* Whoever knows no key cannot tell which names share a bucket: under another key they do not. */
static void names_that_share_a_bucket_do_so_under_one_key_only(void **state)
{
    const struct hf_id key[2] = {{{1}}, {{2}}};
    uint32_t alike = 0;
    uint32_t still = 0;
    (void)state;
    for (hf_seq i = 1; i <= 400000; i++) {
        struct hf_range_name n[2];
        struct hf_request q = {.type = HF_MSG_FETCH};
        q.fetch.want = HF_WANT_DELTA;
        q.fetch.from = after(0);
        q.fetch.last = i;
        hf_range_name(&q, &key[0], &n[0]);
        if (n[0].hash % 4096 == 7) {
            hf_range_name(&q, &key[1], &n[1]);
            alike++;
            still += n[1].hash % 4096 == 7;
        }
    }
    assert_in_range(alike, 50, 150);
    assert_in_range(still, 0, 3);
}

#define F(name) cmocka_unit_test_setup_teardown(name, fleet_setup, fleet_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        F(edges_that_ask_for_one_range_at_once_cause_one_read),
        F(whole_transfers_of_a_fleet_cost_the_reads_of_one),
        F(kept_chunk_is_given_out_only_if_it_is_new_enough),
        F(other_ranges_sizes_and_keys_are_other_chunks),
        F(more_than_there_are_slots_for_wait_and_are_all_answered),
        F(edges_take_turns_so_nobody_starves_behind_a_greedy_one),
        F(line_has_a_bound_and_the_rest_come_back_spread_out),
        F(who_comes_when_all_places_are_taken_waits_and_is_told_how_long),
        F(what_the_log_has_no_more_needs_no_place),
        F(revoked_edge_loses_its_turn),
        F(hole_in_the_stream_needs_no_place),
        F(report_of_one_that_has_all_makes_room_for_the_next),
        F(report_of_one_that_has_what_there_was_makes_room_under_a_load_of_writes),
        F(chunk_under_way_that_is_too_old_makes_its_waiters_read_anew),
        F(revoked_edge_gets_nothing_of_what_it_waits_for),
        F(crash_in_the_middle_of_a_storm_leaves_nothing),
        cmocka_unit_test(names_that_share_a_bucket_do_so_under_one_key_only),
        cmocka_unit_test(cache_keeps_what_was_asked_for_last_within_its_bytes),
        cmocka_unit_test(one_edge_drives_out_no_more_than_half_of_what_others_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
