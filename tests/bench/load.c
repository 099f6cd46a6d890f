/*
 * load.c - what staging a transfer costs beside the plainest load of the same records into LMDB,
 * and what readers notice of the switch.
 *
 *   load [KEYS [ROUNDS]]       1,000,000 keys, 3 rounds; ends 1 when a figure could not be had
 *
 * `plain` puts sorted records (head with checksum, value) into one table with a cursor, adds each
 * to an LtHash, and commits with a sync every 16 MiB of records. `staged` is hf_records_sum, which
 * an edge runs beside the writer, and hf_state_stage_chunk over the same records: KEYS in 16 parts,
 * one chunk of 450 records of each part in turn, a commit every 16 MiB. Keys have 24 bytes, values
 * 100; points are spread at random over the keys. Only the calls are timed, not the making of
 * chunks. A round is plain, then staged, in new directories under $TMPDIR or /tmp.
 *
 * After the last round the SNAPSHOT is switched to; then a DELTA that changes every key is staged
 * and switched to, and a SNAPSHOT of as many keys again, after which the generation before is
 * freed. Beside each of these a second thread reads: a round of it is hf_view_renew and ten
 * hf_view_get. `alone` is the same with nothing beside it, for what the machine itself does.
 *
 * It must not print what it could not do: every error ends it. Next: README.md beside it.
 */
#include "hf/state.h"

#include <lmdb.h>
#include <xxhash.h>

#include <endian.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEY_BYTES 24u
#define VALUE_BYTES 100u
#define HEAD_BYTES 24u
#define BATCH_CHANGES 100u
#define CHUNK_RECORDS 450u
#define CHUNK_BYTES (128u << 10)
#define COMMIT_BYTES (16u << 20)
#define PARTS HF_STAGE_PARTS_MAX
#define ROUNDS_MAX 9u
#define PAUSES_MAX 4000000u
#define GETS 10u

static const struct hf_id epoch = {{0xe9}};
static const struct hf_hash genesis = {{0x9e}};

static uint32_t keys = 1000000;
static char box_dir[256];

/* ---- small things ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static _Noreturn void leave(int status)
{
    fflush(stdout);
    if (box_dir[0] != '\0') {
        nftw(box_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    _exit(status);
}

static void must(enum hf_err e, const char *what)
{
    if (e != HF_OK) {
        fprintf(stderr, "load: %s: %s\n", what, hf_err_text(e));
        leave(1);
    }
}

static void must_db(int rc, const char *what)
{
    if (rc != 0) {
        fprintf(stderr, "load: %s: %s\n", what, mdb_strerror(rc));
        leave(1);
    }
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double spent_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_THREAD, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Adds up wall and processor time of the calls between begin and end. */
struct watch {
    double wall, cpu, wall_at, cpu_at;
};

static void watch_begin(struct watch *w)
{
    w->wall_at = now_s();
    w->cpu_at = spent_s();
}

static void watch_end(struct watch *w)
{
    w->wall += now_s() - w->wall_at;
    w->cpu += spent_s() - w->cpu_at;
}

/* ---- the data: versions 1 and 3 come as a SNAPSHOT, version 2 as a DELTA ---- */

static bool is_snapshot(uint32_t version)
{
    return version != 2;
}

struct item {
    char key[KEY_BYTES + 1];
    char value[VALUE_BYTES];
    hf_seq seq;
    uint32_t ordinal;
};

static uint64_t mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint32_t batches(void)
{
    return (keys + BATCH_CHANGES - 1) / BATCH_CHANGES;
}

static void key_write(char out[KEY_BYTES + 1], uint32_t i)
{
    snprintf(out, KEY_BYTES + 1, "bench:key:%014u", i);
}

/* The place of key i in the order of changes, or the key at place i: it is its own inverse. */
static uint32_t *spread;

static void spread_make(void)
{
    spread = malloc(keys * sizeof(*spread));
    for (uint32_t i = 0; i < keys; i++) {
        spread[i] = UINT32_MAX;
    }
    for (uint32_t i = 0; i < keys; i++) {
        uint32_t j = (uint32_t)(mixed(i) % keys);
        if (spread[i] == UINT32_MAX && spread[j] == UINT32_MAX) {
            spread[i] = j;
            spread[j] = i;
        }
    }
    for (uint32_t i = 0; i < keys; i++) {
        spread[i] = spread[i] == UINT32_MAX ? i : spread[i];
    }
}

static void item_make(struct item *it, uint32_t i, uint32_t version)
{
    key_write(it->key, i);
    for (uint32_t at = 0; at < VALUE_BYTES; at += 4) {
        uint64_t x = mixed(((uint64_t)version << 40) + (uint64_t)i * 32 + at / 4);
        for (uint32_t b = 0; b < 4; b++) {
            it->value[at + b] = (char)('a' + (x >> (b * 8) & 0xff) % 26);
        }
    }
    it->seq = 1 + spread[i] / BATCH_CHANGES + (version - 1) * batches();
    it->ordinal = spread[i] % BATCH_CHANGES;
}

static struct hf_record record_of(const struct item *it)
{
    return (struct hf_record){
        hf_slice_of(it->key, KEY_BYTES),    it->seq, it->ordinal, false, VALUE_BYTES, 0,
        hf_slice_of(it->value, VALUE_BYTES)};
}

static struct hf_hash digest_of(uint32_t version)
{
    struct hf_lthash sum;
    hf_lthash_clear(&sum);
    for (uint32_t i = 0; i < keys; i++) {
        struct item it;
        item_make(&it, i, version);
        struct hf_hash h = hf_element_hash(hf_slice_of(it.key, KEY_BYTES), it.seq,
                                           hf_slice_of(it.value, VALUE_BYTES));
        hf_lthash_add(&sum, &h);
    }
    return hf_lthash_digest(&sum);
}

/* ---- plain: sorted puts ---- */

struct plain {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi state;
    MDB_cursor *cursor;
    struct hf_elements waiting; /* for the sum */
    struct hf_lthash sum;
};

static void plain_begin(struct plain *p)
{
    must_db(mdb_txn_begin(p->env, NULL, 0, &p->txn), "begin");
    must_db(mdb_dbi_open(p->txn, "state", MDB_CREATE, &p->state), "table");
    must_db(mdb_cursor_open(p->txn, p->state, &p->cursor), "cursor");
}

static void plain_put(struct plain *p, const struct item *it)
{
    struct hf_slice key = hf_slice_of(it->key, KEY_BYTES);
    struct hf_slice value = hf_slice_of(it->value, VALUE_BYTES);
    MDB_val k = {KEY_BYTES, (void *)(uintptr_t)it->key};
    MDB_val v = {HEAD_BYTES + VALUE_BYTES, NULL};
    struct hf_element e = {.key = key, .value = value, .seq = it->seq};
    hf_elements_note(&p->waiting, &p->sum, &e);
    must_db(mdb_cursor_put(p->cursor, &k, &v, MDB_RESERVE), "put");
    uint8_t *out = v.mv_data;
    uint64_t seq = htole64(it->seq);
    uint32_t words[2] = {htole32(it->ordinal), 0};
    memcpy(out, &seq, 8);
    memcpy(out + 8, words, 8);
    uint64_t check = XXH3_64bits(out, 16);
    check = XXH3_64bits_withSeed(key.data, key.len, check);
    check = htole64(XXH3_64bits_withSeed(value.data, value.len, check));
    memcpy(out + 16, &check, 8);
    memcpy(out + HEAD_BYTES, value.data, value.len);
}

static void plain_commit(struct plain *p)
{
    hf_elements_settle(&p->waiting, &p->sum);
    must_db(mdb_txn_commit(p->txn), "commit");
}

static struct watch plain_load(const char *dir)
{
    static struct item block[CHUNK_RECORDS];
    struct plain p = {.env = NULL};
    struct watch w = {0, 0, 0, 0};
    size_t bytes = 0;
    must(mkdir(dir, 0700) == 0 ? HF_OK : HF_IO, "directory");
    must_db(mdb_env_create(&p.env), "environment");
    must_db(mdb_env_set_mapsize(p.env, 16ull << 30), "map");
    must_db(mdb_env_set_maxdbs(p.env, 1), "tables");
    must_db(mdb_env_open(p.env, dir, MDB_NOTLS, 0600), "open");
    hf_lthash_clear(&p.sum);
    plain_begin(&p);
    for (uint32_t i = 0; i < keys; i += CHUNK_RECORDS) {
        uint32_t n = keys - i < CHUNK_RECORDS ? keys - i : CHUNK_RECORDS;
        for (uint32_t j = 0; j < n; j++) {
            item_make(&block[j], i + j, 1);
        }
        watch_begin(&w);
        for (uint32_t j = 0; j < n; j++) {
            plain_put(&p, &block[j]);
        }
        bytes += n * (KEY_BYTES + VALUE_BYTES + 16);
        if (bytes >= COMMIT_BYTES || i + n == keys) {
            plain_commit(&p);
            plain_begin(&p);
            bytes = 0;
        }
        watch_end(&w);
    }
    mdb_txn_abort(p.txn);
    mdb_env_close(p.env);
    return w;
}

/* ---- staged ---- */

struct feed {
    struct hf_state *s;
    uint32_t version;
    uint32_t at[PARTS], last[PARTS]; /* places in key order (KEYS) or of changes (DELTA) */
    size_t waiting;                  /* bytes since the last commit */
    struct watch sums, chunks, commits;
    double commit_max;
};

static struct hf_state *store_open(const char *dir)
{
    struct hf_state_config c = {.dir = dir, .chainless = true, .tombstone_index = true};
    struct hf_state *s = NULL;
    struct hf_error e = {HF_OK, ""};
    if (hf_state_open(&c, &s, &e) != HF_OK) {
        fprintf(stderr, "load: %s\n", e.text);
        leave(1);
    }
    return s;
}

static void feed_commit(struct feed *f)
{
    double before = f->commits.wall;
    watch_begin(&f->commits);
    must(hf_state_commit(f->s), "commit");
    watch_end(&f->commits);
    double took = f->commits.wall - before;
    f->commit_max = took > f->commit_max ? took : f->commit_max;
    f->waiting = 0;
}

/* Stages the next chunk of a part, if it is open. */
static bool feed_part(struct feed *f, uint32_t part)
{
    static uint8_t bytes[CHUNK_BYTES], column_bytes[HF_COLUMNS * CHUNK_BYTES];
    static struct hf_stage st;
    struct item it = {.seq = 0};
    struct hf_columns columns;
    struct hf_slice block[HF_RECORDS_BLOCKS];
    struct hf_records records;
    struct hf_writer w;
    bool in_keys = is_snapshot(f->version);
    if (f->at[part] == f->last[part]) {
        return false;
    }
    hf_state_stage_get(f->s, &st);
    hf_columns_init(&columns, column_bytes, CHUNK_BYTES);
    for (uint32_t i = 0; i < CHUNK_RECORDS && f->at[part] < f->last[part]; i++) {
        item_make(&it, in_keys ? f->at[part] : spread[f->at[part]], f->version);
        struct hf_record r = record_of(&it);
        hf_columns_add(&columns, &r);
        f->at[part]++;
    }
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_columns_finish(&columns, &w, block);
    struct hf_chunk c = {.want = in_keys ? HF_WANT_KEYS : HF_WANT_DELTA,
                         .from = st.part[part].cursor,
                         .to = {it.seq, it.ordinal, HF_OFFSET_END, hf_slice_of(NULL, 0)},
                         .asof = f->version * batches()};
    c.end = f->at[part] == f->last[part];
    if (in_keys) {
        c.to.key = hf_slice_of(it.key, KEY_BYTES);
    } else if (c.end) {
        c.to = st.part[part].until;
    }
    struct hf_sum sum;
    watch_begin(&f->sums);
    hf_records_open(&records, hf_writer_bytes(&w));
    hf_records_sum(&records, &sum);
    watch_end(&f->sums);
    watch_begin(&f->chunks);
    must(hf_state_stage_chunk(f->s, part, &c, &records, &sum), "chunk");
    watch_end(&f->chunks);
    f->waiting += w.len;
    if (f->waiting >= COMMIT_BYTES) {
        feed_commit(f);
    }
    return true;
}

static void feed_begin(struct feed *f, struct hf_state *s, uint32_t version)
{
    struct hf_stage_splits splits = {.count = PARTS - 1};
    char key[PARTS][KEY_BYTES + 1];
    struct hf_position at = hf_state_position(s);
    uint32_t first = 0;
    memset(f, 0, sizeof(*f));
    f->s = s;
    f->version = version;
    for (uint32_t i = 0; i < PARTS; i++) {
        f->at[i] = first;
        uint32_t batch = (uint32_t)((uint64_t)batches() * (i + 1) / PARTS);
        first = i + 1 == PARTS ? keys : batch * BATCH_CHANGES;
        f->last[i] = first;
        if (i + 1 < PARTS) {
            key_write(key[i], first - 1);
            splits.at[i] = (struct hf_bound){.seq = batch + (version - 1) * batches(),
                                             .key = hf_slice_of(key[i], KEY_BYTES)};
        }
    }
    enum hf_plan_kind kind = is_snapshot(version) ? HF_PLAN_SNAPSHOT : HF_PLAN_DELTA;
    must(hf_state_stage_begin(s, kind, &at, version * batches(), &splits), "begin");
}

static void feed_all(struct feed *f)
{
    for (bool more = true; more;) {
        more = false;
        for (uint32_t part = 0; part < PARTS; part++) {
            more |= feed_part(f, part);
        }
    }
    feed_commit(f);
}

/* ---- the reader beside it ---- */

struct reader {
    pthread_t thread;
    struct hf_state *s;
    atomic_bool stop;
    uint32_t count;
    float *us;
};

static void *reader_run(void *arg)
{
    struct reader *r = arg;
    struct hf_view *v;
    uint64_t x = 1;
    must(hf_view_open(r->s, &v), "view");
    while (!atomic_load(&r->stop) && r->count < PAUSES_MAX) {
        double at = now_s();
        must(hf_view_renew(v), "renew");
        for (uint32_t i = 0; i < GETS; i++) {
            char key[KEY_BYTES + 1];
            struct hf_stored out;
            key_write(key, (uint32_t)(mixed(x++) % keys));
            enum hf_err e = hf_view_get(v, hf_slice_of(key, KEY_BYTES), false, &out);
            must(e == HF_NOTFOUND ? HF_OK : e, "get");
        }
        r->us[r->count++] = (float)((now_s() - at) * 1e6);
    }
    hf_view_close(v);
    return NULL;
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* It reads for a while before and after, so that what is short has its neighbours beside it. */
static void reader_start(struct reader *r, struct hf_state *s)
{
    memset(r, 0, sizeof(*r));
    r->s = s;
    r->us = malloc(PAUSES_MAX * sizeof(*r->us));
    must(pthread_create(&r->thread, NULL, reader_run, r) == 0 ? HF_OK : HF_NOMEM, "thread");
    pause_ms(100);
}

static int float_cmp(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;
    return (x > y) - (x < y);
}

static void reader_report(struct reader *r, const char *what, double s)
{
    pause_ms(100);
    atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    qsort(r->us, r->count, sizeof(*r->us), float_cmp);
    float none = 0;
    const float *us = r->count > 0 ? r->us : &none;
    uint32_t n = r->count > 0 ? r->count : 1;
    printf("%-28s %7.3f s   reader: %u rounds, p50 %.0f us, p99 %.0f us, max %.2f ms\n", what, s,
           (unsigned)r->count, (double)us[n / 2], (double)us[(size_t)n * 99 / 100],
           (double)us[n - 1] / 1000);
    free(r->us);
}

/* ---- switch and drop ---- */

static void switch_to(struct hf_state *s, uint32_t version, const struct hf_hash *digest)
{
    struct hf_position at = hf_state_position(s);
    struct hf_frame f;
    struct hf_writer w;
    struct reader r;
    uint8_t header[HF_HEADER_MAX];
    memset(&f, 0, sizeof(f));
    f.h = (struct hf_header){.epoch_id = epoch,
                             .epoch = 1,
                             .seq = version * batches(),
                             .prev = at.chain,
                             .signer_id = 1,
                             .digest = *digest};
    hf_writer_init(&w, header, sizeof(header));
    hf_header_encode(&f.h, &w);
    f.header = hf_writer_bytes(&w);
    reader_start(&r, s);
    struct watch merge = {0, 0, 0, 0};
    struct watch commit = {0, 0, 0, 0};
    watch_begin(&merge);
    must(hf_state_stage_switch(s, &f), "switch");
    watch_end(&merge);
    watch_begin(&commit);
    must(hf_state_commit(s), "commit of the switch");
    watch_end(&commit);
    reader_report(&r, is_snapshot(version) ? "switch, SNAPSHOT" : "switch, DELTA",
                  merge.wall + commit.wall);
    printf("%-28s %7.3f s   merge %.3f (cpu %.3f), commit %.3f (cpu %.3f)\n", "  of it",
           merge.wall + commit.wall, merge.wall, merge.cpu, commit.wall, commit.cpu);
}

static void drop_all(struct hf_state *s, const char *what)
{
    struct reader r;
    reader_start(&r, s);
    double began = now_s();
    double longest = 0;
    for (bool again = true; again;) {
        double step = now_s();
        must(hf_state_stage_drop(s, &again), "drop");
        must(hf_state_commit(s), "commit of the drop");
        step = now_s() - step;
        longest = step > longest ? step : longest;
    }
    reader_report(&r, what, now_s() - began);
    printf("%-28s %7.3f s\n", "  longest step", longest);
}

static void verify(struct hf_state *s)
{
    struct hf_view *v;
    struct hf_error e = {HF_OK, ""};
    must(hf_view_open(s, &v), "view");
    if (hf_view_verify(v, &e) != HF_OK) {
        fprintf(stderr, "load: %s\n", e.text);
        leave(1);
    }
    hf_view_close(v);
}

static void print_feed(const char *what, const struct feed *f)
{
    double wall = f->sums.wall + f->chunks.wall + f->commits.wall;
    printf("%-28s %7.3f s   sums %.3f (cpu %.3f), chunks %.3f (cpu %.3f), commits %.3f (cpu %.3f), "
           "longest %.3f\n",
           what, wall, f->sums.wall, f->sums.cpu, f->chunks.wall, f->chunks.cpu, f->commits.wall,
           f->commits.cpu, f->commit_max);
}

/* ---- rounds ---- */

static struct hf_state *staged_load(const char *dir, struct feed *f)
{
    struct hf_state *s = store_open(dir);
    struct hf_position at = {.epoch_id = epoch, .seq = 0, .chain = genesis};
    must(hf_state_genesis(s, &at), "genesis");
    must(hf_state_commit(s), "commit");
    feed_begin(f, s, 1);
    feed_all(f);
    return s;
}

static int double_cmp(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct hf_state *rounds_run(uint32_t rounds)
{
    struct hf_state *s = NULL;
    double ratio[ROUNDS_MAX] = {0};
    for (uint32_t i = 0; i < rounds; i++) {
        static struct feed f;
        char dir[300];
        if (s != NULL) {
            hf_state_close(s);
        }
        snprintf(dir, sizeof(dir), "%s/plain%u", box_dir, (unsigned)i);
        struct watch w = plain_load(dir);
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        printf("%-28s %7.3f s   cpu %.3f\n", "plain load", w.wall, w.cpu);
        snprintf(dir, sizeof(dir), "%s/staged%u", box_dir, (unsigned)i);
        s = staged_load(dir, &f);
        print_feed("staged, 16 parts of KEYS", &f);
        ratio[i] = (f.sums.wall + f.chunks.wall + f.commits.wall) / w.wall;
        printf("%-28s %7.2f     cpu %.2f\n", "  staged / plain", ratio[i],
               (f.sums.cpu + f.chunks.cpu + f.commits.cpu) / w.cpu);
    }
    qsort(ratio, rounds, sizeof(*ratio), double_cmp);
    printf("%-28s %7.2f   [%.2f-%.2f] of %u, target 1.3%s\n", "staged / plain, median",
           ratio[rounds / 2], ratio[0], ratio[rounds - 1], (unsigned)rounds,
           ratio[rounds / 2] > 1.3 ? "   NOT MET" : "");
    return s;
}

static void alone(struct hf_state *s)
{
    struct reader r;
    reader_start(&r, s);
    pause_ms(1000);
    reader_report(&r, "alone", 1);
}

/* Stages one more version over what is visible, and switches to it. */
static void transfer(struct hf_state *s, uint32_t version, const char *what)
{
    static struct feed f;
    feed_begin(&f, s, version);
    feed_all(&f);
    print_feed(what, &f);
    struct hf_hash digest = digest_of(version);
    switch_to(s, version, &digest);
}

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    keys = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : keys;
    uint32_t rounds = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 3;
    if (keys < 10000 || rounds < 1 || rounds > ROUNDS_MAX || hf_crypto_init() != HF_OK) {
        fprintf(stderr, "usage: load [KEYS, 10000 at least [ROUNDS, 9 at most]]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(box_dir, sizeof(box_dir), "%s/hf-load-XXXXXX", tmp != NULL ? tmp : "/tmp");
    must(mkdtemp(box_dir) != NULL ? HF_OK : HF_IO, "directory");
    spread_make();
    struct hf_state *s = rounds_run(rounds);
    struct hf_hash digest = digest_of(1);
    switch_to(s, 1, &digest);
    alone(s);
    transfer(s, 2, "staged, 16 parts of DELTA");
    drop_all(s, "drop of the overlay");
    transfer(s, 3, "staged, SNAPSHOT again");
    drop_all(s, "drop of the old generation");
    verify(s);
    hf_state_close(s);
    free(spread);
    leave(0);
}
