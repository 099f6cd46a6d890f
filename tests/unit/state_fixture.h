/*
 * state_fixture.h - what the tests of the state store share: a scratch directory, a generator, and
 * a core that writes batches and answers DELTA and KEYS from its views.
 *
 * The core here signs nothing and seals nothing: the store checks digests and checksums only. Its
 * frames are kept in memory, raw, so that an edge can be fed from them in any way a transfer may
 * go.
 */
#ifndef HF_TESTS_STATE_FIXTURE_H
#define HF_TESTS_STATE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hf/state.h"

#include <dirent.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAYBE_UNUSED __attribute__((unused))
#define assert_ok(x) assert_int_equal((x), HF_OK)
#define CORE_FRAMES_MAX 512

static const struct hf_id test_epoch = {{0xe9, 1, 2, 3}};
static const struct hf_hash test_genesis = {{0x9e, 7}};

static MAYBE_UNUSED int crypto_ready(void **state)
{
    (void)state;
    return hf_crypto_init() == HF_OK ? 0 : -1;
}

/* ---- scratch ---- */

static MAYBE_UNUSED char *scratch_new(void)
{
    char *dir = strdup("/tmp/hf-state-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static MAYBE_UNUSED void scratch_remove(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    char path[512];
    while (d != NULL && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (unlink(path) != 0) {
            scratch_remove(path);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
    rmdir(dir);
}

/* The first live key after `after` (exclusive; len 0 = from the start). */
static MAYBE_UNUSED enum hf_err next_live(struct hf_view *v, struct hf_slice after,
                                          struct hf_stored *out)
{
    enum hf_err e;
    do {
        e = hf_view_next_record(v, after, out);
        after = out->key;
    } while (e == HF_OK && out->tombstone);
    return e;
}

static MAYBE_UNUSED struct hf_state *open_as(const struct hf_state_config *c)
{
    struct hf_state *s = NULL;
    struct hf_error e = {HF_OK, ""};
    if (hf_state_open(c, &s, &e) != HF_OK) {
        fail_msg("open: %s", e.text);
    }
    return s;
}

static MAYBE_UNUSED struct hf_state *open_sized(const char *dir, uint64_t map_bytes)
{
    struct hf_state_config c = {.dir = dir, .map_bytes = map_bytes};
    return open_as(&c);
}

/* As an edge opens it, but with a chain to look at. */
static MAYBE_UNUSED struct hf_state *open_edge(const char *dir)
{
    struct hf_state_config c = {.dir = dir, .map_bytes = 1ull << 30, .tombstone_index = true};
    return open_as(&c);
}

static MAYBE_UNUSED struct hf_state *open_store(const char *dir)
{
    return open_sized(dir, 1ull << 30);
}

static MAYBE_UNUSED void begin_history(struct hf_state *s)
{
    struct hf_position at = {.epoch_id = test_epoch, .seq = 0, .chain = test_genesis};
    assert_ok(hf_state_genesis(s, &at));
    assert_ok(hf_state_commit(s));
}

/* The keys of branch pages say where to go; nothing of a record is in them. Flips a bit of the nth
 * one, of keys as key_of makes them, and returns how many there are. */
static MAYBE_UNUSED int damage_branches(const char *dir, size_t nth)
{
    static uint8_t page[4096];
    char path[256];
    int hits = 0;
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (off_t at = 2 * 4096; pread(fd, page, sizeof(page), at) == sizeof(page); at += 4096) {
        bool is_branch = page[10] == 1 && page[11] == 0;
        for (size_t i = 16; is_branch && i + 9 < sizeof(page); i++) {
            /* The digit behind it is the first that differs, see key_of. */
            if (memcmp(page + i, "key/", 4) == 0 && hits++ == (int)nth) {
                page[i + 4] ^= 1;
                assert_int_equal(pwrite(fd, page, sizeof(page), at), sizeof(page));
            }
        }
    }
    close(fd);
    return hits;
}

/* What LMDB says of a table of a closed store. */
static MAYBE_UNUSED MDB_stat table_stat(const char *dir, const char *table)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_stat st;
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 16), 0);
    assert_int_equal(mdb_env_open(env, dir, MDB_RDONLY, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, table, 0, &dbi), 0);
    assert_int_equal(mdb_stat(txn, dbi, &st), 0);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    return st;
}

/* ---- generator ---- */

static MAYBE_UNUSED uint64_t rng_next(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static MAYBE_UNUSED uint32_t rng_below(uint64_t *x, uint32_t n)
{
    return (uint32_t)(rng_next(x) % n);
}

static MAYBE_UNUSED struct hf_slice key_of(char buf[32], uint32_t i)
{
    return hf_slice_of(buf, (size_t)snprintf(buf, 32, "key/%02x/%06u", (i * 37) & 0xff, i));
}

static MAYBE_UNUSED struct hf_change put_of(const char *key, const char *value)
{
    return (struct hf_change){HF_OP_PUT, hf_slice_str(key), hf_slice_str(value)};
}

static MAYBE_UNUSED struct hf_change del_of(const char *key)
{
    return (struct hf_change){HF_OP_DEL, hf_slice_str(key), {NULL, 0}};
}

/* ---- a batch without a frame: for tests of the state alone ---- */

static MAYBE_UNUSED struct hf_slice header_for(struct hf_state *s, struct hf_header *h,
                                               uint8_t out[HF_HEADER_MAX])
{
    struct hf_position at = hf_state_position(s);
    struct hf_writer w;
    memset(h, 0, sizeof(*h));
    h->epoch_id = at.epoch_id;
    h->epoch = 1;
    h->seq = at.seq + 1;
    h->prev = at.chain;
    h->signer_id = 1;
    h->digest = hf_state_digest(s);
    hf_writer_init(&w, out, HF_HEADER_MAX);
    hf_header_encode(h, &w);
    assert_false(w.failed);
    return hf_writer_bytes(&w);
}

static MAYBE_UNUSED void advance(struct hf_state *s)
{
    static const struct hf_signature sig = {{0x51}};
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_header h;
    struct hf_slice header = header_for(s, &h, bytes);
    assert_ok(hf_state_advance(s, &h, header, &sig));
}

/* Upserts the changes as one batch, advances, does not commit. */
static MAYBE_UNUSED void write_batch(struct hf_state *s, const struct hf_change *c, uint32_t n)
{
    hf_seq seq = hf_state_position(s).seq + 1;
    uint32_t ordinal = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool changed;
        assert_ok(hf_state_upsert(s, seq, ordinal, &c[i], &changed));
        ordinal += changed;
    }
    advance(s);
}

static MAYBE_UNUSED void write_one(struct hf_state *s, const char *key, const char *value)
{
    struct hf_change c = value != NULL ? put_of(key, value) : del_of(key);
    write_batch(s, &c, 1);
}

static MAYBE_UNUSED void assert_verified(struct hf_state *s)
{
    struct hf_view *v;
    struct hf_error e = {HF_OK, ""};
    assert_ok(hf_view_open(s, &v));
    if (hf_view_verify(v, &e) != HF_OK) {
        fail_msg("verify: %s", e.text);
    }
    hf_view_close(v);
}

/* Key by key, with the place of each in the history: all that is live is the same. */
static MAYBE_UNUSED void assert_same_contents(struct hf_state *a, struct hf_state *b)
{
    struct hf_view *va;
    struct hf_view *vb;
    struct hf_stored ra = {.seq = 0};
    struct hf_stored rb = {.seq = 0};
    struct hf_applied pa;
    struct hf_applied pb;
    assert_ok(hf_view_open(a, &va));
    assert_ok(hf_view_open(b, &vb));
    hf_view_applied(va, &pa);
    hf_view_applied(vb, &pb);
    assert_int_equal(pa.at.seq, pb.at.seq);
    assert_int_equal(pa.live_count, pb.live_count);
    assert_memory_equal(&pa.at.digest, &pb.at.digest, sizeof(pa.at.digest));
    assert_memory_equal(&pa.at.chain, &pb.at.chain, sizeof(pa.at.chain));
    for (;;) {
        enum hf_err ea = next_live(va, ra.key, &ra);
        enum hf_err eb = next_live(vb, rb.key, &rb);
        assert_int_equal(ea, eb);
        if (ea != HF_OK) {
            break;
        }
        assert_true(hf_slice_eq(ra.key, rb.key) && hf_slice_eq(ra.value, rb.value));
        assert_true(ra.seq == rb.seq && ra.ordinal == rb.ordinal);
    }
    hf_view_close(va);
    hf_view_close(vb);
}

/* ---- a store in a directory ---- */

struct store {
    char *dir;
    struct hf_state *s;
};

static MAYBE_UNUSED int store_setup(void **state)
{
    struct store *b = calloc(1, sizeof(*b));
    b->dir = scratch_new();
    b->s = open_store(b->dir);
    begin_history(b->s);
    *state = b;
    return 0;
}

static MAYBE_UNUSED int store_teardown(void **state)
{
    struct store *b = *state;
    hf_state_close(b->s);
    scratch_remove(b->dir);
    free(b->dir);
    free(b);
    return 0;
}

static MAYBE_UNUSED void store_reopen(struct store *b)
{
    hf_state_close(b->s);
    b->s = open_store(b->dir);
}

static MAYBE_UNUSED enum hf_err view_read(struct hf_state *s, const char *key,
                                          struct hf_stored *out)
{
    static char value[256];
    struct hf_view *v;
    assert_ok(hf_view_open(s, &v));
    enum hf_err e = hf_view_get(v, hf_slice_str(key), false, out);
    if (e == HF_OK) {
        assert_true(out->value.len < sizeof(value));
        memcpy(value, out->value.data, out->value.len);
        out->value.data = (const uint8_t *)value; /* outlives the view */
    }
    hf_view_close(v);
    return e;
}

static MAYBE_UNUSED void assert_shows(struct hf_state *s, const char *key, const char *value)
{
    struct hf_stored r;
    enum hf_err e = view_read(s, key, &r);
    assert_int_equal(e, value != NULL ? HF_OK : HF_NOTFOUND);
    if (value != NULL) {
        assert_true(hf_slice_eq(r.value, hf_slice_str(value)));
    }
}

static MAYBE_UNUSED hf_seq shown_seq(struct hf_state *s)
{
    struct hf_view *v;
    struct hf_applied a;
    assert_ok(hf_view_open(s, &v));
    hf_view_applied(v, &a);
    hf_view_close(v);
    return a.at.seq;
}

/* Changes the first place in the data file where `bytes` stand, or all of them. */
static MAYBE_UNUSED int damage(const char *dir, const char *bytes, bool all)
{
    char path[256];
    int hits = 0;
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    int fd = open(path, O_RDWR);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *file = malloc((size_t)st.st_size);
    assert_int_equal(pread(fd, file, (size_t)st.st_size, 0), st.st_size);
    size_t n = strlen(bytes);
    for (size_t i = 0; i + n <= (size_t)st.st_size && (hits == 0 || all); i++) {
        if (memcmp(file + i, bytes, n) != 0) {
            continue;
        }
        uint8_t flipped = file[i + n - 1] ^ 0x10;
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)(i + n - 1)), 1);
        hits++;
    }
    free(file);
    close(fd);
    return hits;
}

/* ---- a core with frames ---- */

struct core_frame {
    struct hf_frame f;
    uint8_t header[HF_HEADER_MAX];
    uint8_t *raw; /* owned */
    size_t raw_len;
};

struct core {
    char *dir;
    struct hf_state *s;
    struct core_frame frame[CORE_FRAMES_MAX]; /* [seq] */
};

static MAYBE_UNUSED struct core *core_new(void)
{
    struct core *c = calloc(1, sizeof(*c));
    c->dir = scratch_new();
    c->s = open_store(c->dir);
    begin_history(c->s);
    return c;
}

static MAYBE_UNUSED void core_free(struct core *c)
{
    hf_state_close(c->s);
    scratch_remove(c->dir);
    for (int i = 0; i < CORE_FRAMES_MAX; i++) {
        free(c->frame[i].raw);
    }
    free(c->dir);
    free(c);
}

/* One batch: committed at once and kept as a frame. Returns its seq. */
static MAYBE_UNUSED hf_seq core_batch(struct core *c, const struct hf_change *change, uint32_t n)
{
    hf_seq seq = hf_state_position(c->s).seq + 1;
    struct core_frame *f = &c->frame[seq];
    struct hf_change *kept = calloc(n + 1, sizeof(*kept));
    struct hf_writer w;
    uint32_t count = 0;
    size_t cap = 64;
    assert_true(seq < CORE_FRAMES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        bool changed;
        assert_ok(hf_state_upsert(c->s, seq, count, &change[i], &changed));
        if (changed) {
            kept[count++] = change[i];
        }
        cap += hf_change_bytes_max(&change[i]);
    }
    f->raw = malloc(cap);
    hf_writer_init(&w, f->raw, cap);
    hf_body_begin(&w, count);
    for (uint32_t i = 0; i < count; i++) {
        hf_body_change(&w, &kept[i]);
    }
    hf_body_meta_begin(&w, 0);
    assert_false(w.failed);
    f->raw_len = w.len;
    free(kept);
    header_for(c->s, &f->f.h, f->header);
    f->f.h.change_count = count;
    f->f.h.raw_bytes = (uint32_t)w.len;
    hf_writer_init(&w, f->header, sizeof(f->header));
    hf_header_encode(&f->f.h, &w);
    f->f.header = hf_writer_bytes(&w);
    memset(f->f.signature.b, 0x51, sizeof(f->f.signature.b));
    assert_ok(hf_state_advance(c->s, &f->f.h, f->f.header, &f->f.signature));
    assert_ok(hf_state_commit(c->s));
    return seq;
}

static MAYBE_UNUSED void core_put(struct core *c, const char *key, const char *value)
{
    struct hf_change change = value != NULL ? put_of(key, value) : del_of(key);
    core_batch(c, &change, 1);
}

static MAYBE_UNUSED struct hf_body core_body(struct core *c, hf_seq seq)
{
    struct core_frame *f = &c->frame[seq];
    struct hf_body body;
    assert_ok(hf_body_open(hf_slice_of(f->raw, f->raw_len), f->f.h.change_count, &body));
    return body;
}

/* Random batches over `keys` keys: a third deletes; now and then a value that needs fragments. */
static MAYBE_UNUSED void core_random(struct core *c, uint64_t *seed, uint32_t batches,
                                     uint32_t keys)
{
    enum { PER_BATCH = 20 };
    static uint8_t values[PER_BATCH][9000];
    static char names[PER_BATCH][32];
    for (uint32_t b = 0; b < batches; b++) {
        struct hf_change change[PER_BATCH];
        uint32_t start = rng_below(seed, keys);
        uint32_t n = 1 + rng_below(seed, PER_BATCH);
        for (uint32_t i = 0; i < n; i++) {
            size_t len = rng_below(seed, 20) == 0 ? rng_below(seed, 9000) : rng_below(seed, 60);
            for (size_t at = 0; at < len; at++) {
                values[i][at] = (uint8_t)rng_next(seed);
            }
            change[i].key = key_of(names[i], (start + i * 7) % keys);
            change[i].op = rng_below(seed, 3) == 0 ? HF_OP_DEL : HF_OP_PUT;
            change[i].value = hf_slice_of(values[i], change[i].op == HF_OP_PUT ? len : 0);
        }
        core_batch(c, change, n);
    }
}

/* ---- chunks ---- */

struct answer {
    struct hf_chunk chunk;
    uint8_t bytes[96 * 1024];
    struct hf_writer records; /* once answer_end was called */
    uint8_t column_bytes[HF_COLUMNS * 96 * 1024];
    struct hf_columns columns;
    uint8_t to_key[HF_STORE_KEY_MAX];
    enum hf_err code; /* HF_MOVED */
};

static MAYBE_UNUSED void answer_begin(struct answer *a)
{
    hf_columns_init(&a->columns, a->column_bytes, sizeof(a->column_bytes) / HF_COLUMNS);
}

static MAYBE_UNUSED void answer_end(struct answer *a)
{
    struct hf_slice block[HF_RECORDS_BLOCKS];
    hf_writer_init(&a->records, a->bytes, sizeof(a->bytes));
    hf_columns_finish(&a->columns, &a->records, block);
    assert_false(a->records.failed);
}

/* Nothing, before the first record: however small the limit, each chunk gets on. */
static MAYBE_UNUSED size_t answer_bytes(const struct answer *a)
{
    return a->columns.count > 0 ? hf_columns_bytes(&a->columns) : 0;
}

/* Puts what fits of the record from `offset`; true when all of it did. */
static MAYBE_UNUSED bool answer_record(struct answer *a, const struct hf_stored *r, uint32_t offset,
                                       size_t limit)
{
    struct hf_record rec = {r->key, r->seq,  r->ordinal, r->tombstone, (uint32_t)r->value.len,
                            offset, r->value};
    size_t used = answer_bytes(a);
    size_t room = used < limit ? limit - used : 0;
    rec.value.data += offset;
    rec.value.len -= offset;
    if (rec.value.len > room) {
        rec.value.len = room;
    }
    memcpy(a->to_key, r->key.data, r->key.len);
    a->chunk.to =
        (struct hf_bound){r->seq, r->ordinal, HF_OFFSET_END, hf_slice_of(a->to_key, r->key.len)};
    if (room == 0) {
        return false;
    }
    hf_columns_add(&a->columns, &rec);
    if (offset + rec.value.len == r->value.len) {
        return true;
    }
    a->chunk.to.offset = offset + (uint32_t)rec.value.len;
    return false;
}

/* The next chunk of a part, of KEYS or of a DELTA; about `limit` bytes of records. */
static MAYBE_UNUSED void answer(struct core *c, const struct hf_stage_part *part, bool keys,
                                size_t limit, struct answer *a)
{
    const struct hf_bound *from = &part->cursor;
    struct hf_slice until = part->until.key;
    hf_seq hi = part->until.seq;
    struct hf_view *v;
    struct hf_applied at;
    struct hf_stored r = {.key = from->key, .seq = from->seq, .ordinal = from->ordinal};
    struct hf_bound was = *from;
    bool more = true;
    assert_ok(hf_view_open(c->s, &v));
    hf_view_applied(v, &at);
    memset(&a->chunk, 0, sizeof(a->chunk));
    a->code = HF_OK;
    a->chunk.want = keys ? HF_WANT_KEYS : HF_WANT_DELTA;
    a->chunk.from = *from;
    a->chunk.asof = at.at.seq;
    answer_begin(a);
    if (from->offset != HF_OFFSET_END) {
        enum hf_err e =
            keys ? hf_view_get(v, from->key, false, &r)
                 : hf_view_next_change(v, from->seq - (from->ordinal == 0), from->ordinal - 1, &r);
        if (e != HF_OK || (!keys && (r.seq != from->seq || r.ordinal != from->ordinal)) ||
            from->offset > r.value.len) {
            a->code = HF_MOVED;
            goto out;
        }
        more = answer_record(a, &r, from->offset, limit);
        was = a->chunk.to;
    }
    while (more) {
        struct hf_bound before = was;
        enum hf_err e =
            keys ? next_live(v, r.key, &r) : hf_view_next_change(v, r.seq, r.ordinal, &r);
        bool past = keys ? until.len > 0 && hf_slice_cmp(r.key, until) > 0 : r.seq > hi;
        if (e == HF_NOTFOUND || (e == HF_OK && past)) {
            a->chunk.end = true;
            a->chunk.to = keys ? was : (struct hf_bound){hi, UINT32_MAX, HF_OFFSET_END, {NULL, 0}};
            break;
        }
        assert_ok(e);
        if (answer_bytes(a) >= limit) {
            a->chunk.to = before;
            break;
        }
        more = answer_record(a, &r, 0, limit);
        was = a->chunk.to;
    }
    if (!keys) {
        a->chunk.to.key.len = 0;
    }
out:
    answer_end(a);
    hf_view_close(v);
}

/* The data file of an open store is gone, or back: it cannot be opened anew. */
MAYBE_UNUSED static void hide_data(const struct store *b, bool hide)
{
    char path[256], hidden[256];
    snprintf(path, sizeof(path), "%s/data.mdb", b->dir);
    snprintf(hidden, sizeof(hidden), "%s/hidden", b->dir);
    assert_int_equal(hide ? rename(path, hidden) : rename(hidden, path), 0);
}

#endif
