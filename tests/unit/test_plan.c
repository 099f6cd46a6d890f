/*
 * test_plan.c - PLAN: prices against what the transfer then takes, and where it is cut.
 *
 * The truth is the transfer itself: all replies are fetched and their messages counted.
 */
#include "transfer_box.h"

#include <math.h>

static char reason_text[HF_REASON_MAX + 1];

static struct hf_plan_reply plan_of(struct fixture *f, hf_seq applied)
{
    const struct hf_reply *r = plan(f, applied);
    assert_int_equal(r->code, HF_OK);
    snprintf(reason_text, sizeof(reason_text), "%.*s", (int)r->plan.reason.len,
             (const char *)r->plan.reason.data);
    return r->plan;
}

/* Batches of 8 puts. Values are of skewed sizes, and half of each is text that compresses. */
static void write_keys(struct fixture *f, uint32_t first, uint32_t count)
{
    static uint8_t value[8][20000];
    char key[8][16];
    for (uint32_t i = 0; i < count; i += 8) {
        struct box_write bw = {.done = false};
        for (uint32_t j = 0; j < 8; j++) {
            uint32_t n = first + i + j;
            size_t len = n % 17 == 0 ? 15000 : 100 + n * 37 % 900;
            snprintf(key[j], sizeof(key[j]), "k%06u", n * 7919 % 100000);
            box_random(f->b, value[j], len / 2);
            memset(value[j] + len / 2, 'a' + (int)(n % 5), len - len / 2);
            box_add(&bw, key[j], "");
            bw.change[j].value = hf_slice_of(value[j], len);
        }
        assert_int_equal(box_apply(f->b, &bw).code, HF_OK);
    }
    box_commit(f->b);
}

/* Records that end in this chunk: a value in pieces counts once. */
static uint32_t count_ends(struct hf_slice records)
{
    struct hf_records r;
    struct hf_record rec;
    uint32_t n = 0;
    hf_records_open(&r, records);
    while (hf_records_next(&r, &rec)) {
        n += rec.offset + rec.value.len == rec.total;
    }
    assert_false(r.failed);
    return n;
}

/* Fetches a range to its end; returns the bytes of all messages. */
static uint64_t fetch_all(struct fixture *f, struct hf_request q, uint32_t *records)
{
    static uint8_t raw[CHUNK_RAW_MAX];
    uint8_t key[HF_STORE_KEY_MAX];
    uint64_t bytes = 0;
    *records = 0;
    for (bool end = false; !end;) {
        const struct hf_reply *r = peer_ask(f->p, &q);
        assert_int_equal(r->code, HF_OK);
        const struct hf_chunk *c = &r->fetch.chunk;
        bytes += f->b->reply.len;
        *records += count_ends(chunk_open(f, c, raw));
        end = c->end;
        if (c->to.key.len > 0) {
            memcpy(key, c->to.key.data, c->to.key.len);
        }
        q.fetch.from = c->to;
        q.fetch.from.key.data = key;
    }
    return bytes;
}

static void assert_within(uint64_t guess, uint64_t exact, double part)
{
    double off = (double)guess / (double)exact - 1;
    if (fabs(off) > part) {
        fail_msg("%llu for %llu: off by %.1f%%", (unsigned long long)guess,
                 (unsigned long long)exact, 100 * off);
    }
}

/* ---- prices ---- */

static void prices_are_those_of_the_bytes_that_then_travel(void **state)
{
    struct fixture *f = *state;
    uint32_t records;
    write_keys(f, 0, 4000);
    write_keys(f, 0, 2000);
    for (int i = 0; i < 20; i++) { /* so that the log is dearer than anything else */
        box_put_bytes(f->b, "hot", 100000);
    }
    box_commit(f->b);
    hf_seq head = box_status(f->b).head;
    const hf_seq from[] = {1, 100, 400, 600, 740, 760};
    for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
        struct hf_plan_reply p = plan_of(f, from[i]);
        assert_int_equal(p.kind, HF_PLAN_DELTA);
        assert_within(p.bytes, fetch_all(f, delta_of(f, after(from[i]), head), &records), 0.1);
    }
    struct hf_plan_reply p = plan_of(f, 0);
    assert_int_equal(p.kind, HF_PLAN_SNAPSHOT);
    assert_within(p.bytes, fetch_all(f, keys_of(f, after(0), ""), &records), 0.1);
    assert_int_equal(records, 4001);
}

static void log_is_priced_to_the_byte_and_the_reason_has_both_figures(void **state)
{
    struct fixture *f = *state;
    uint64_t frames = 0;
    unsigned long long log = 0;
    unsigned long long other = 0;
    char kind[16];
    write_keys(f, 0, 800);
    for (hf_seq seq = 41; seq <= 100; seq++) {
        struct hf_bytes b = {.data = NULL};
        assert_int_equal(hf_transfer_frame(f->b->core->writer.log, seq, &b), HF_OK);
        frames += b.len;
        hf_bytes_free(&b);
    }
    struct hf_plan_reply p = plan_of(f, 40);
    assert_int_equal(p.kind, HF_PLAN_LOG);
    assert_int_equal(p.bytes, frames);
    assert_int_equal(sscanf(reason_text,
                            "log of %llu bytes is hardly dearer than a %15s of about %llu", &log,
                            kind, &other),
                     3);
    assert_int_equal(log, frames);
    assert_string_equal(kind, "delta");
    uint32_t records;
    assert_within(other, fetch_all(f, delta_of(f, after(40), 100), &records), 0.1);
    for (int i = 0; i < 10; i++) {
        box_put_bytes(f->b, "hot", 200000);
    }
    box_commit(f->b);
    p = plan_of(f, 40);
    assert_int_equal(p.kind, HF_PLAN_DELTA);
    assert_int_equal(sscanf(reason_text, "delta of about %llu bytes is cheaper than a log of %llu",
                            &other, &log),
                     2);
    assert_int_equal(other, p.bytes);
    assert_true(log > frames + 10 * 200000);
}

/* ---- cuts of a DELTA ---- */

/* A part for each 32 KiB, none of them more than two of those, up to 32 larger ones. */
static void a_delta_is_cut_into_parts_of_about_the_same_bytes(void **state)
{
    struct fixture *f = *state;
    const uint32_t keys[] = {40, 240, 1600, 4000};
    uint32_t done = 0;
    uint32_t records;
    box_put(f->b, "first", "1");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        write_keys(f, done, keys[i] - done);
        done = keys[i];
        f->b->now += 100000;
        for (int j = 0; j < 5; j++) {
            box_put_bytes(f->b, "hot", 500000);
        }
        box_put(f->b, "hot", "x");
        box_commit(f->b);
        struct hf_plan_reply p = plan_of(f, 1);
        assert_int_equal(p.kind, HF_PLAN_DELTA);
        double step = 32768;
        while ((double)p.bytes > 32 * step) {
            step *= 2;
        }
        assert_in_range(p.split_count, (uint64_t)((double)p.bytes / step * 0.7),
                        (uint64_t)((double)p.bytes / step));
        for (uint32_t s = 0; s <= p.split_count; s++) {
            hf_seq lo = s == 0 ? 1 : p.split[s - 1];
            hf_seq hi = s == p.split_count ? p.head : p.split[s];
            assert_true(lo < hi);
            uint64_t bytes = fetch_all(f, delta_of(f, after(lo), hi), &records);
            assert_true(bytes < 1.5 * step + 20000);
            assert_true(s == 0 || (double)bytes > step / 2);
        }
    }
}

static void edges_with_other_bases_and_heads_are_told_the_same_places(void **state)
{
    struct fixture *f = *state;
    write_keys(f, 0, 2400);
    for (int j = 0; j < 15; j++) {
        box_put_bytes(f->b, "hot", 100000);
    }
    box_commit(f->b);
    struct hf_plan_reply a = plan_of(f, 40);
    assert_true(a.kind == HF_PLAN_DELTA && a.split_count > 4);
    for (hf_seq base = 10; base < 90; base += 10) {
        if (base % 40 == 0) { /* the head moves on a little */
            box_put(f->b, "more", base == 40 ? "1" : "2");
            box_commit(f->b);
        }
        struct hf_plan_reply b = plan_of(f, base);
        assert_int_equal(b.kind, HF_PLAN_DELTA);
        uint32_t n = a.split_count < b.split_count ? a.split_count : b.split_count;
        assert_true(n >= 3);
        for (uint32_t i = 1; i < n; i++) { /* from above; the lowest may be below the base */
            assert_int_equal(a.split[a.split_count - i], b.split[b.split_count - i]);
        }
    }
}

static void places_are_made_anew_after_a_minute_or_when_much_was_written(void **state)
{
    struct fixture *f = *state;
    write_keys(f, 0, 1600);
    for (int j = 0; j < 15; j++) {
        box_put_bytes(f->b, "hot", 100000);
    }
    box_commit(f->b);
    hf_seq top = plan_of(f, 10).split[plan_of(f, 10).split_count - 1];
    write_keys(f, 1600, 40);
    struct hf_plan_reply p = plan_of(f, 10);
    assert_int_equal(p.split[p.split_count - 1], top);
    f->b->now += 61000;
    p = plan_of(f, 10);
    assert_true(p.split[p.split_count - 1] > top);
    top = p.split[p.split_count - 1];
    write_keys(f, 2000, 1600);
    p = plan_of(f, 10);
    assert_true(p.split[p.split_count - 1] > top);
}

static void nothing_small_is_cut(void **state)
{
    struct fixture *f = *state;
    write_keys(f, 0, 40);
    for (int j = 0; j < 10; j++) {
        box_put_bytes(f->b, "hot", 4000);
    }
    box_commit(f->b);
    assert_int_equal(plan_of(f, 1).split_count, 0);
    assert_int_equal(plan_of(f, 0).split_count, 0);
}

/* One batch has most of the bytes: it cannot be cut, and is not cut twice. */
static void a_batch_is_never_cut(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 8; i++) {
        box_put_bytes(f->b, "hot", 900000);
    }
    struct box_write bw = {.done = false};
    static uint8_t value[8][400000];
    const char *keys[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (uint32_t j = 0; j < 8; j++) {
        box_random(f->b, value[j], sizeof(value[j]));
        box_add(&bw, keys[j], "");
        bw.change[j].value = hf_slice_of(value[j], sizeof(value[j]));
    }
    bw.w.request_id = hf_slice_str("one");
    assert_int_equal(box_apply(f->b, &bw).code, HF_OK);
    box_put(f->b, "z", "1");
    box_commit(f->b);
    struct hf_plan_reply p = plan_of(f, 2);
    assert_int_equal(p.kind, HF_PLAN_DELTA);
    assert_in_range(p.split_count, 0, 2);
    for (uint32_t i = 0; i < p.split_count; i++) {
        assert_true(p.split[i] > 2 && p.split[i] < p.head && (i == 0 || p.split[i] > p.split[0]));
    }
}

/* ---- cuts of a SNAPSHOT ---- */

static void parts_of_a_snapshot_hold_about_the_same_and_all_keys_once(void **state)
{
    struct fixture *f = *state;
    static uint8_t keys[HF_PLAN_SPLITS_MAX][HF_STORE_KEY_MAX];
    uint32_t all = 0;
    box_put_bytes(f->b, "hot", 100);
    write_keys(f, 0, 3200);
    for (int j = 0; j < 5; j++) {
        box_put_bytes(f->b, "hot", 500000);
    }
    box_put(f->b, "hot", "x");
    box_commit(f->b);
    struct hf_plan_reply p = plan_of(f, 0);
    assert_int_equal(p.kind, HF_PLAN_SNAPSHOT);
    assert_int_equal(p.split_count, HF_PLAN_SPLITS_MAX);
    for (uint32_t s = 0; s < p.split_count; s++) {
        memcpy(keys[s], p.split_key[s].data, p.split_key[s].len);
        p.split_key[s].data = keys[s];
    }
    for (uint32_t s = 0; s <= p.split_count; s++) {
        struct hf_request q = keys_of(f, after(0), "");
        uint32_t records;
        if (s > 0) {
            q.fetch.from.key = p.split_key[s - 1];
        }
        if (s < p.split_count) {
            q.fetch.until = p.split_key[s];
        }
        uint64_t bytes = fetch_all(f, q, &records);
        assert_in_range(bytes, p.bytes / 32 / 2, p.bytes / 32 * 2);
        all += records;
    }
    assert_int_equal(all, 3201);
}

static void snapshots_of_one_minute_begin_at_one_head_with_the_same_keys(void **state)
{
    struct fixture *f = *state;
    uint8_t key[HF_STORE_KEY_MAX];
    write_keys(f, 0, 800);
    for (int j = 0; j < 5; j++) {
        box_put_bytes(f->b, "hot", 500000);
    }
    box_put(f->b, "hot", "x");
    box_commit(f->b);
    struct hf_plan_reply a = plan_of(f, 0);
    assert_true(a.kind == HF_PLAN_SNAPSHOT && a.split_count > 2);
    memcpy(key, a.split_key[1].data, a.split_key[1].len);
    a.split_key[1].data = key;
    write_keys(f, 800, 80);
    struct hf_plan_reply b = plan_of(f, 0);
    assert_int_equal(b.head, a.head);
    assert_int_equal(b.split_count, a.split_count);
    assert_true(hf_slice_eq(b.split_key[1], a.split_key[1]));
    f->b->now += 61000;
    b = plan_of(f, 0);
    assert_true(b.head > a.head);
    a = b;
    write_keys(f, 1000, 800); /* much more */
    b = plan_of(f, 0);
    assert_true(b.head > a.head && b.split_count > a.split_count);
}

/* ---- what one FETCH brings ---- */

static void keys_end_at_until_and_say_so(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[CHUNK_RAW_MAX];
    const char *keys[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++) {
        box_put(f->b, keys[i], "1");
    }
    box_commit(f->b);
    const char *until[] = {"b", "bb", "a", "A", "z"};
    const uint32_t expected[] = {2, 2, 1, 0, 4};
    for (size_t i = 0; i < 5; i++) {
        struct hf_request q = keys_of(f, after(0), until[i]);
        const struct hf_reply *r = peer_ask(f->p, &q);
        assert_int_equal(r->code, HF_OK);
        assert_int_equal(count_records(chunk_open(f, &r->fetch.chunk, raw)), expected[i]);
        assert_true(r->fetch.chunk.end);
        assert_true(hf_slice_eq(r->fetch.chunk.to.key, hf_slice_str(until[i])));
        assert_int_equal(r->fetch.chunk.to.offset, HF_OFFSET_END);
        q.fetch.from = r->fetch.chunk.to; /* nothing is left, which is no error */
        q.fetch.from.key = hf_slice_str(until[i]);
        r = peer_ask(f->p, &q);
        assert_true(r->code == HF_OK && r->fetch.chunk.end && r->fetch.chunk.raw_bytes == 0);
    }
}

/* 800 keys with values of 100 letters, which pack to two thirds, or of bytes that do not pack. */
static void write_group(struct fixture *f, char name, bool letters)
{
    static uint8_t value[8][100];
    char key[8][16];
    for (uint32_t i = 0; i < 800; i += 8) {
        struct box_write bw = {.done = false};
        for (uint32_t j = 0; j < 8; j++) {
            box_random(f->b, value[j], sizeof(value[j]));
            for (uint32_t k = 0; letters && k < sizeof(value[j]); k++) {
                value[j][k] = (uint8_t)('a' + value[j][k] % 26);
            }
            snprintf(key[j], sizeof(key[j]), "%c%06u", name, i + j);
            box_add(&bw, key[j], "");
            bw.change[j].value = hf_slice_of(value[j], sizeof(value[j]));
        }
        assert_int_equal(box_apply(f->b, &bw).code, HF_OK);
    }
    box_commit(f->b);
}

/* Letters, then bytes that do not pack where letters are expected, then letters again. */
static void a_chunk_is_as_much_as_its_reply_carries(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[CHUNK_RAW_MAX];
    struct hf_request q = keys_of(f, after(0), "");
    uint8_t key[HF_STORE_KEY_MAX];
    uint32_t chunks = 0;
    uint32_t records = 0;
    uint64_t sealed = 0;
    for (int name = 'a'; name <= 'i'; name++) {
        write_group(f, (char)name, name <= 'd' || name >= 'f');
    }
    for (bool end = false; !end; chunks++) {
        const struct hf_reply *r = peer_ask(f->p, &q);
        assert_int_equal(r->code, HF_OK);
        const struct hf_chunk *c = &r->fetch.chunk;
        assert_in_range(c->sealed.len, 1, HF_FETCH_DATA_MAX + HF_NONCE_BYTES + HF_TAG_BYTES);
        sealed += c->sealed.len;
        records += count_records(chunk_open(f, c, raw));
        end = c->end;
        memcpy(key, c->to.key.data, c->to.key.len);
        q.fetch.from = c->to;
        q.fetch.from.key.data = key;
    }
    assert_int_equal(records, 9 * 800);
    /* Nearly full on the average, were it not for the first, and the one that met the bytes. */
    assert_in_range(chunks, sealed / HF_FETCH_DATA_MAX + 1, sealed / HF_FETCH_DATA_MAX + 3);
    q.fetch.from = after(0);
    q.fetch.data_max = 8192;
    const struct hf_chunk *c = &peer_ask(f->p, &q)->fetch.chunk;
    assert_in_range(c->sealed.len, 6500, 8192 + HF_NONCE_BYTES + HF_TAG_BYTES);
}

/* How many of the first `most` frames fit into so many bytes. */
static uint32_t frames_in(struct fixture *f, size_t bytes, uint32_t most)
{
    uint32_t n = 0;
    for (size_t sum = 0; n < most; n++) {
        sum += f->b->published[n].len + 5;
        if (sum > bytes) {
            break;
        }
    }
    return n;
}

static void no_reply_has_more_than_was_wanted_but_each_gets_on(void **state)
{
    struct fixture *f = *state;
    const uint32_t sizes[] = {1024, 5000, HF_FETCH_DATA_MAX};
    static char key[HF_STORE_KEY_MAX + 1];
    memset(key, 'k', HF_STORE_KEY_MAX);
    for (int i = 0; i < 40; i++) {
        snprintf(key, 8, "%07d", i);
        key[7] = 'k';
        box_put_bytes(f->b, key, i == 20 ? 100000 : 600);
    }
    box_commit(f->b);
    hf_seq head = box_status(f->b).head;
    for (size_t i = 0; i < 3; i++) {
        struct hf_request q[] = {keys_of(f, after(0), ""), delta_of(f, after(0), head)};
        uint32_t records;
        for (size_t k = 0; k < 2; k++) {
            q[k].fetch.data_max = sizes[i];
            const struct hf_reply *r = peer_ask(f->p, &q[k]);
            assert_in_range(r->fetch.chunk.raw_bytes, 1, sizes[i] + 600);
            /* A value of 600 bytes is not cut although its key leaves less room. */
            assert_true(i > 0 || r->fetch.chunk.to.offset == HF_OFFSET_END);
            fetch_all(f, q[k], &records);
            assert_true(records >= 40);
        }
        struct hf_request log = fetch_of(f, HF_WANT_LOG);
        log.fetch.first = 1;
        log.fetch.last = 10;
        log.fetch.data_max = sizes[i];
        const struct hf_reply *r = peer_ask(f->p, &log);
        assert_int_equal(r->code, HF_OK);
        assert_int_equal(r->fetch.seq, i == 0 ? 1 : frames_in(f, sizes[i], 10));
        struct hf_request body = fetch_of(f, HF_WANT_BODY);
        body.fetch.first = 21;
        body.fetch.data_max = sizes[i];
        assert_int_equal(peer_ask(f->p, &body)->fetch.body.len, sizes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(prices_are_those_of_the_bytes_that_then_travel),
        T(log_is_priced_to_the_byte_and_the_reason_has_both_figures),
        T(a_delta_is_cut_into_parts_of_about_the_same_bytes),
        T(edges_with_other_bases_and_heads_are_told_the_same_places),
        T(places_are_made_anew_after_a_minute_or_when_much_was_written),
        T(nothing_small_is_cut),
        T(a_batch_is_never_cut),
        T(parts_of_a_snapshot_hold_about_the_same_and_all_keys_once),
        T(snapshots_of_one_minute_begin_at_one_head_with_the_same_keys),
        T(keys_end_at_until_and_say_so),
        T(a_chunk_is_as_much_as_its_reply_carries),
        T(no_reply_has_more_than_was_wanted_but_each_gets_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
