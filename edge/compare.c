/*
 * compare.c - own records against the fingerprints that the core answered RANGES with.
 *
 * The engine says when (repair.c); here is where: the list of ranges that are asked about, how far
 * that has got, and the list of those that differ. A range differs when the number of its live
 * records or their fingerprint does, or when one of them cannot be read. Differing neighbours
 * become one range.
 *
 * Invariant: what is asked about is covered from its beginning to its end, in order, and each part
 * of it is judged once; the place moves when a comparison ended and at no other time, so a request
 * that was lost is the same when it is sent again. While a job is under way the lists are its.
 *
 * It must not judge what follows from it. Half a megabyte once there was a comparison.
 */
#include "edge/driver_impl.h"

#include <stdlib.h>

/* Live records of a range. The first says in 50 bytes that 2,048 keys of 100 bytes are the same;
 * the second is about what one request for KEYS brings anyway. */
static const uint32_t grains[] = {2048, 64};

struct key_list {
    struct hf_key_ranges ranges; /* point into key */
    uint8_t key[HF_REPAIR_RANGES_MAX][2][HF_STORE_KEY_MAX];
};

struct comparison {
    struct hf_job job; /* first */
    struct hf_edge *edge;
    uint32_t level;
    struct key_list list[2]; /* `asked` says which is asked about; the other is found */
    uint32_t asked;
    uint32_t at; /* the range of the list that is under way, from behind this key on: */
    size_t after_len;
    uint8_t after[HF_STORE_KEY_MAX];
    bool busy;      /* a job is under way */
    uint8_t *plain; /* owned; reply borrows from it */
    struct hf_fetch_reply reply;
    /* What came of the job. */
    enum hf_err code;
    uint64_t records;
};

static struct key_list *asked_of(struct comparison *c)
{
    return &c->list[c->asked];
}

static struct key_list *found_of(struct comparison *c)
{
    return &c->list[1 - c->asked];
}

static struct hf_slice key_put(uint8_t room[HF_STORE_KEY_MAX], struct hf_slice key)
{
    HF_ASSERT(key.len <= HF_STORE_KEY_MAX);
    if (key.len > 0) {
        memcpy(room, key.data, key.len);
    }
    return hf_slice_of(room, key.len);
}

/* ---- where ---- */

static void go_to(struct comparison *c, struct hf_slice after)
{
    c->after_len = after.len;
    key_put(c->after, after);
}

static void go_to_range(struct comparison *c, uint32_t at)
{
    c->at = at;
    if (at < asked_of(c)->ranges.count) {
        go_to(c, asked_of(c)->ranges.at[at].after);
    }
}

enum hf_err compare_init(struct hf_edge *edge)
{
    /* 500 KiB, untouched until the first repair. */
    edge->comparison = calloc(1, sizeof(*edge->comparison));
    if (edge->comparison == NULL) {
        return HF_NOMEM;
    }
    edge->comparison->edge = edge;
    return HF_OK;
}

void compare_narrow(struct hf_edge *edge, uint32_t level)
{
    struct comparison *c = edge->comparison;
    HF_ASSERT(level < sizeof(grains) / sizeof(grains[0]));
    c->level = level;
    if (level == 0) {
        asked_of(c)->ranges.count = 1;
        asked_of(c)->ranges.at[0] = (struct hf_key_range){.after = {0}};
    } else {
        c->asked = 1 - c->asked;
    }
    found_of(c)->ranges.count = 0;
    go_to_range(c, 0);
}

void compare_fill(const struct hf_edge *edge, struct hf_fetch_request *q)
{
    const struct comparison *c = edge->comparison;
    const struct hf_key_ranges *asked = &c->list[c->asked].ranges;
    HF_ASSERT(c->at < asked->count);
    *q = (struct hf_fetch_request){
        .epoch_id = edge->position.epoch_id,
        .want = HF_WANT_RANGES,
        .grain = grains[c->level],
        .from = {.offset = HF_OFFSET_END, .key = hf_slice_of(c->after, c->after_len)},
        .until = asked->at[c->at].until,
        .asof_min = edge->position.seq};
}

enum hf_err compare_take(struct hf_edge *edge, struct hf_slice plain)
{
    struct comparison *c = edge->comparison;
    struct hf_reply copy;
    if (c->busy) {
        return HF_BUSY; /* late, and not waited for any more */
    }
    uint8_t *bytes = malloc(plain.len);
    if (bytes == NULL) {
        return HF_NOMEM;
    }
    memcpy(bytes, plain.data, plain.len);
    enum hf_err err = hf_reply_decode(hf_slice_of(bytes, plain.len), &copy);
    HF_ASSERT(err == HF_OK); /* the same bytes decoded a moment ago */
    free(c->plain);
    c->plain = bytes;
    c->reply = copy.fetch;
    return HF_OK;
}

/* ---- the job ---- */

/* False when there is no room for it. */
static bool found_add(struct key_list *l, struct hf_slice after, struct hf_slice until)
{
    struct hf_key_ranges *r = &l->ranges;
    uint32_t i = r->count;
    if (i > 0 && hf_slice_eq(r->at[i - 1].until, after)) {
        r->at[i - 1].until = key_put(l->key[i - 1][1], until);
        return true;
    }
    if (i == HF_REPAIR_RANGES_MAX) {
        return false;
    }
    r->at[i].after = key_put(l->key[i][0], after);
    r->at[i].until = key_put(l->key[i][1], until);
    r->count++;
    return true;
}

/* Whether a sub-range lies where the next one must: behind `after`, and inside of what was asked.
 */
static bool in_place(const struct comparison *c, struct hf_slice after, const struct hf_subrange *s,
                     bool last)
{
    struct hf_slice until = c->list[c->asked].ranges.at[c->at].until;
    if (last && c->reply.end) {
        return hf_slice_eq(s->last, until);
    }
    return s->last.len > 0 && hf_slice_cmp(s->last, after) > 0 &&
           (until.len == 0 || hf_slice_cmp(s->last, until) <= 0);
}

static enum hf_err compare_one(struct comparison *c, struct hf_view *v, struct hf_slice after,
                               const struct hf_subrange *s)
{
    struct hf_walk w = {.after = after, .until = s->last, .hashed = true};
    enum hf_err err = hf_view_walk(v, &w);
    if (err != HF_OK) {
        return err;
    }
    c->records += w.records;
    bool same =
        w.unreadable == 0 && w.live == s->count && hf_hash_eq(&w.fingerprint, &s->fingerprint);
    return same || found_add(found_of(c), after, s->last) ? HF_OK : HF_TOO_BIG;
}

static enum hf_err compare_all(struct comparison *c, struct hf_view *v)
{
    struct hf_slice rest = c->reply.ranges;
    struct hf_slice after = hf_slice_of(c->after, c->after_len);
    struct hf_subrange s;
    enum hf_err err = HF_OK;
    while (err == HF_OK && hf_fetch_next_range(&rest, &s)) {
        err = in_place(c, after, &s, rest.len == 0) ? compare_one(c, v, after, &s) : HF_MALFORMED;
        after = s.last;
    }
    if (err == HF_OK && c->reply.end) {
        go_to_range(c, c->at + 1);
    } else if (err == HF_OK) {
        go_to(c, after);
    }
    return err;
}

static void compare_work(struct hf_job *job)
{
    struct comparison *c = (struct comparison *)job;
    struct hf_view *v;
    c->records = 0;
    c->code = hf_view_open(c->edge->state, &v);
    if (c->code == HF_OK) {
        c->code = compare_all(c, v);
        hf_view_close(v);
    }
}

static void compare_done(struct hf_job *job)
{
    struct comparison *c = (struct comparison *)job;
    struct hf_edge *edge = c->edge;
    struct hf_replica_event ev = {.type = HF_REPEV_COMPARED,
                                  .code = c->code,
                                  .ok = c->at >= asked_of(c)->ranges.count,
                                  .offset = c->records,
                                  .total = found_of(c)->ranges.count};
    free(c->plain);
    c->plain = NULL;
    c->busy = false;
    edge_job_ended(edge);
    edge_event(edge, &ev);
}

void compare_run(struct hf_edge *edge)
{
    struct comparison *c = edge->comparison;
    HF_ASSERT(c->plain != NULL && !c->busy);
    c->busy = true;
    c->job = (struct hf_job){.work = compare_work, .done = compare_done};
    edge_run(edge, HF_LANE_POOL, &c->job);
}

const struct hf_key_ranges *compare_found(const struct hf_edge *edge)
{
    const struct comparison *c = edge->comparison;
    return &c->list[1 - c->asked].ranges;
}

void compare_deinit(struct hf_edge *edge)
{
    if (edge->comparison != NULL) {
        free(edge->comparison->plain);
        free(edge->comparison);
    }
}
