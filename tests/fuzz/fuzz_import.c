/*
 * fuzz_import.c - whatever a carry file brings, in whatever order, an edge shows nothing but what
 * the core signed.
 *
 * A core writes some hundred batches and exports five files on the way, of every kind. The input is
 * an edge (one that was never there, or one of three that took a file) and a new file, made of
 * records of those:
 *
 *     u8 edge, u8 file, u8 what its head is changed to, then operations of four bytes:
 *     u8 what is done, u8 to which record, u8 and u8 how
 *
 * Records are left out, doubled, moved, taken from other files, and changed before they are sealed:
 * what a core would make that has the keys and lost its mind. The file is sealed and signed as the
 * core would, and imported. Whether or not that goes well, the edge stands at a batch, no earlier
 * one than before, with the digest that the batch's own frame was signed with, and all of its store
 * is sound. And it takes the next good file: nothing bad was left behind. Read next: edge/import.c.
 */
#include "edge/import.h"

#include "core/carry.h"
#include "hf/batch.h"
#include "hf/compress.h"
#include "hf/core.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

enum { FILES = 5, EDGES = 4, RECORDS_MAX = 64, BATCHES_MAX = 160, STORE_MAX = 4 << 20, FIXED = 3 };
enum { LEAVE_OUT, DOUBLE, MOVE, TAKE, CHANGE, FORGE, OPERATIONS };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A record as it was before it was sealed. */
struct record {
    uint8_t *plain;
    size_t len;
};

struct file {
    struct hf_carry_head head;
    struct record record[RECORDS_MAX];
    size_t count;
};

/* How the files come to be, in this order. */
struct plan {
    unsigned batches; /* are written before, ... */
    hf_seq since;
    unsigned meanwhile; /* ... and so many before each of some records */
    unsigned edge;      /* that had nothing, and takes it; 0 = none does */
    enum hf_plan_kind kind;
};

static const struct plan plans[FILES] = {
    {5, 0, 0, 1, HF_PLAN_LOG},    {3, 4, 0, 0, HF_PLAN_LOG},        {0, 0, 0, 2, HF_PLAN_SNAPSHOT},
    {25, 6, 0, 0, HF_PLAN_DELTA}, {25, 0, 13, 3, HF_PLAN_SNAPSHOT},
};

static char dir[64];
static struct hf_core *core;
static struct hf_identity core_id, edge_id;
static struct hf_envelope_keys keys;
static struct hf_job *job_first, **job_end = &job_first;
static hf_ms now = 1000;
static uint64_t random_state = 88172645463325252u;
static struct hf_hash digest[BATCHES_MAX]; /* of each batch, as its frame says */
static hf_seq head;
static struct file file[FILES];
static uint8_t *store[EDGES]; /* data.mdb of an edge that took a file; NULL for one that did not */
static size_t store_len[EDGES];

/* ---- a core ---- */

static hf_ms world_now(void *ctx)
{
    (void)ctx;
    return now;
}

static uint64_t world_wall(void *ctx)
{
    (void)ctx;
    return UINT64_C(1700000000000) + (uint64_t)now;
}

static void world_random(void *ctx, void *buffer, size_t len)
{
    (void)ctx;
    for (size_t i = 0; i < len; i++) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        ((uint8_t *)buffer)[i] = (uint8_t)(random_state >> 32);
    }
}

static void world_run(void *ctx, enum hf_lane lane, struct hf_job *job)
{
    (void)ctx;
    (void)lane;
    job->next = NULL;
    *job_end = job;
    job_end = &job->next;
}

static void world_publish(void *ctx, struct hf_slice message)
{
    struct hf_id stream;
    struct hf_frame f;

    (void)ctx;
    if (hf_frame_decode(message, &stream, &f) == HF_OK) {
        HF_ASSERT(f.h.seq < BATCHES_MAX);
        digest[f.h.seq] = f.h.digest;
        head = f.h.seq;
    }
}

static void world_note(void *ctx, enum hf_level level, const char *text)
{
    (void)ctx;
    (void)level;
    (void)text;
}

static void world_reply(void *ctx, uint64_t request, struct hf_slice message)
{
    (void)ctx;
    (void)request;
    (void)message;
}

static void work(void)
{
    while (job_first != NULL) {
        struct hf_job *j = job_first;
        job_first = j->next;
        if (job_first == NULL) {
            job_end = &job_first;
        }
        j->work(j);
        j->done(j);
    }
}

static void on_admin(void *ctx, const struct hf_admin_result *r)
{
    (void)ctx;
    HF_ASSERT(r->code == HF_OK);
}

static void on_written(struct hf_write *w, const struct hf_write_result *r)
{
    (void)w;
    HF_ASSERT(r->code == HF_OK);
}

/* Every fifth write is a delete; every seventh value is so large that it travels in pieces. */
static void write_keys(unsigned count)
{
    static uint8_t value[150000];
    static unsigned i;

    for (unsigned end = i + count; i < end; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key-%02u", i % 13);
        world_random(NULL, value, sizeof(value));
        struct hf_change c = {.op = i % 5 == 4 ? HF_OP_DEL : HF_OP_PUT,
                              .key = hf_slice_str(key),
                              .value = hf_slice_of(value, i % 7 == 6 ? sizeof(value) : 40 + i)};
        struct hf_write w = {.change = &c, .change_count = 1, .done = on_written};
        c.value.len = c.op == HF_OP_DEL ? 0 : c.value.len;
        hf_core_write(core, &w);
        hf_core_flush(core);
        work();
        now += 1000; /* the log is trimmed now and then */
        hf_core_on_tick(core, now);
        work();
    }
}

/* ---- its files ---- */

struct step {
    enum hf_err code;
    struct hf_slice message, token;
    uint8_t bytes[HF_MESSAGE_MAX], token_bytes[HF_CARRY_TOKEN_MAX];
};

static void on_carry(void *ctx, const struct hf_carry_result *r)
{
    struct step *s = ctx;

    s->code = r->code;
    s->message = hf_slice_of(s->bytes, r->message.len);
    s->token = hf_slice_of(s->token_bytes, r->token.len);
    if (r->message.len > 0) {
        memcpy(s->bytes, r->message.data, r->message.len);
    }
    memcpy(s->token_bytes, r->token.data, r->token.len);
}

/* The nonce is not known before the head is signed, so messages are kept until then. */
static void open_records(struct file *f, const struct record *sealed)
{
    for (size_t i = 0; i < f->count; i++) {
        struct hf_envelope env;
        struct hf_writer w;
        f->record[i].plain = malloc(HF_MESSAGE_MAX);
        HF_ASSERT(f->record[i].plain != NULL);
        hf_writer_init(&w, f->record[i].plain, HF_MESSAGE_MAX);
        HF_ASSERT(hf_reply_open(hf_slice_of(sealed[i].plain, sealed[i].len), &core_id.public_key,
                                &edge_id.public_key, f->head.nonce, &keys, &env, &w) == HF_OK);
        f->record[i].len = w.len;
        free(sealed[i].plain);
    }
}

static void export(struct file *f, const struct plan *p)
{
    static struct step s;
    struct record sealed[RECORDS_MAX];
    struct hf_carry_head written = {.bytes = HF_CARRY_HEAD_BYTES};
    struct hf_carry_ask ask = {
        .edge = "ship", .has_since = p->since > 0, .epoch = 1, .since = p->since};
    uint8_t bytes[HF_CARRY_HEAD_BYTES];
    const char *why;

    hf_core_carry_begin(core, &ask, on_carry, &s);
    work();
    for (f->count = 0; s.code == HF_OK; f->count++) {
        write_keys(f->count > 2 && f->count < 6 ? p->meanwhile : 0);
        hf_core_carry_next(core, s.token, on_carry, &s);
        work();
        if (s.code != HF_OK || s.message.len == 0) {
            break;
        }
        HF_ASSERT(f->count < RECORDS_MAX);
        sealed[f->count] = (struct record){malloc(s.message.len), s.message.len};
        HF_ASSERT(sealed[f->count].plain != NULL);
        memcpy(sealed[f->count].plain, s.bytes, s.message.len);
        written.bytes += HF_CARRY_RECORD_HEAD + s.message.len;
    }
    written.records = f->count;
    HF_ASSERT(s.code == HF_OK && f->count > 0);
    HF_ASSERT(hf_core_carry_end(core, s.token, &written, bytes, &why) == HF_OK);
    HF_ASSERT(hf_carry_head_open(bytes, &f->head) == HF_OK);
    open_records(f, sealed);
}

/* ---- an edge ---- */

static void path_of(const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", dir, name);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

static void remove_all(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void edge_make(unsigned which)
{
    char path[128];

    path_of("edge", path);
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (store[which] == NULL) {
        return;
    }
    HF_ASSERT(mkdir(path, 0700) == 0);
    path_of("edge/state", path);
    HF_ASSERT(mkdir(path, 0700) == 0);
    path_of("edge/state/data.mdb", path);
    FILE *f = fopen(path, "wb");
    HF_ASSERT(f != NULL && fwrite(store[which], store_len[which], 1, f) == 1 && fclose(f) == 0);
}

static void edge_keep(unsigned which)
{
    char path[128];

    path_of("edge/state/data.mdb", path);
    FILE *f = fopen(path, "rb");
    store[which] = malloc(STORE_MAX);
    HF_ASSERT(f != NULL && store[which] != NULL);
    store_len[which] = fread(store[which], 1, STORE_MAX, f);
    HF_ASSERT(store_len[which] < STORE_MAX && fclose(f) == 0);
}

/* Where it stands; all of its store is sound, and is what the core signed for that batch. */
static hf_seq edge_check(void)
{
    char path[128];
    struct hf_state *s;
    struct hf_view *v;
    struct hf_stage stage;
    struct hf_error e = {.code = HF_OK};

    path_of("edge/state", path);
    struct hf_state_config c = {.dir = path, .map_bytes = 1 << 20};
    if (access(path, F_OK) != 0) {
        return 0; /* refused before there was anything */
    }
    HF_ASSERT(hf_state_open(&c, &s, &e) == HF_OK);
    struct hf_position at = hf_state_position(s);
    HF_ASSERT(at.seq <= head);
    HF_ASSERT(at.seq == 0 || hf_hash_eq(&at.digest, &digest[at.seq]));
    HF_ASSERT(hf_view_open(s, &v) == HF_OK);
    HF_ASSERT(hf_view_verify(v, &e) == HF_OK);
    hf_view_close(v);
    hf_state_stage_get(s, &stage);
    HF_ASSERT(!stage.active); /* a failure drops it */
    hf_state_close(s);
    return at.seq;
}

/* As the core would seal and sign it. */
static void write_file(const struct file *f)
{
    static uint8_t message[HF_MESSAGE_MAX + HF_ENVELOPE_OVERHEAD];
    uint8_t record[HF_CARRY_RECORD_HEAD], bytes[HF_CARRY_HEAD_BYTES];
    struct hf_carry_head h = f->head;
    char path[128];

    path_of("file", path);
    FILE *out = fopen(path, "wb");
    HF_ASSERT(out != NULL && fseek(out, HF_CARRY_HEAD_BYTES, SEEK_SET) == 0);
    memset(&h.chain, 0, sizeof(h.chain));
    h.records = f->count;
    h.bytes = HF_CARRY_HEAD_BYTES;
    for (size_t i = 0; i < f->count; i++) {
        struct hf_envelope env = {
            .stream = h.stream, .sender = edge_id.public_key, .cookie = hf_carry_cookie(i)};
        struct hf_writer w;
        world_random(NULL, env.nonce, sizeof(env.nonce));
        hf_writer_init(&w, message, sizeof(message));
        hf_reply_seal(&env, &core_id.public_key, h.nonce, &keys,
                      hf_slice_of(f->record[i].plain, f->record[i].len), f->record[i].len / 2, &w);
        h.chain = hf_carry_chain(&h.chain, hf_writer_bytes(&w));
        hf_carry_record_head((uint32_t)w.len, &h.chain, record);
        HF_ASSERT(fwrite(record, sizeof(record), 1, out) == 1 &&
                  fwrite(message, w.len, 1, out) == 1);
        h.bytes += sizeof(record) + w.len;
    }
    if (hf_carry_head_sign(&h, core_id.secret, bytes) != HF_OK) {
        memset(bytes, 0, sizeof(bytes)); /* a head that no core signs */
    }
    HF_ASSERT(fseek(out, 0, SEEK_SET) == 0 && fwrite(bytes, sizeof(bytes), 1, out) == 1 &&
              fclose(out) == 0);
}

static enum hf_err import(void)
{
    char edge[128], path[128];
    struct hf_error e = {.code = HF_OK};

    path_of("edge", edge);
    path_of("file", path);
    struct edge_import c = {
        .dir = edge, .path = path, .core_key = core_id.public_key, .map_bytes = 1 << 20};
    enum hf_err err = edge_import_run(&c, &edge_id, &e);
    HF_ASSERT(err == HF_OK || e.text[0] != '\0');
    return err;
}

/* ---- once ---- */

static void core_start(void)
{
    static const uint8_t seed[2][32] = {{7}, {42}};
    static const struct hf_world world = {.now = world_now,
                                          .wall_ms = world_wall,
                                          .random = world_random,
                                          .run = world_run,
                                          .note = world_note,
                                          .publish = world_publish,
                                          .reply = world_reply};
    struct hf_error e = {.code = HF_OK};
    char path[128];

    HF_ASSERT(hf_crypto_init() == HF_OK);
    HF_ASSERT(hf_identity_from_seed(&core_id, seed[0]) == HF_OK);
    HF_ASSERT(hf_identity_from_seed(&edge_id, seed[1]) == HF_OK);
    HF_ASSERT(hf_envelope_derive(&core_id, &edge_id.public_key, &keys) == HF_OK);
    path_of("core", path);
    struct hf_core_config c = {.dir = path,
                               .stream = "main",
                               .url = "tcp://127.0.0.1:7410",
                               .log_bytes_max = 256 << 10,
                               .delta_batches = 40,
                               .segment_bytes = 64 << 10,
                               .map_bytes = 16u << 20,
                               .single_thread = true};
    HF_ASSERT(hf_core_open(&c, &world, &core_id, &core, &e) == HF_OK);
    hf_core_edge_add(core, "ship", &edge_id.public_key, on_admin, NULL);
    work();
}

static void make_once(void)
{
    if (dir[0] != '\0') {
        return;
    }
    snprintf(dir, sizeof(dir), "%s/hf-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    HF_ASSERT(mkdtemp(dir) != NULL && freopen("/dev/null", "w", stdout) != NULL);
    atexit(remove_all);
    core_start();
    for (unsigned i = 0; i < FILES; i++) {
        const struct plan *p = &plans[i];
        write_keys(p->batches);
        export(&file[i], p);
        HF_ASSERT(file[i].head.kind == p->kind);
        if (p->edge != 0) {
            edge_make(0);
            write_file(&file[i]);
            HF_ASSERT(import() == HF_OK && edge_check() == file[i].head.last);
            edge_keep(p->edge);
        }
    }
    hf_core_close(core);
}

/* ---- one input ---- */

/* What the head says against what the records are. */
static void change_head(struct hf_carry_head *h, uint8_t how)
{
    static const enum hf_plan_kind kinds[] = {HF_PLAN_LOG, HF_PLAN_DELTA, HF_PLAN_SNAPSHOT};

    if ((how & 1) != 0) {
        h->kind = kinds[(how >> 1) % 3];
    }
    if ((how & 8) != 0) {
        h->last += (hf_seq)(how >> 4) - 8;
    }
    if ((how & 16) != 0) {
        h->first = (hf_seq)(how >> 5);
    }
}

/* A record of the file that may be changed without changing that of others. */
static void own(struct record *r)
{
    static uint8_t owned[RECORDS_MAX][HF_MESSAGE_MAX];
    static unsigned used;
    uint8_t *bytes = owned[used++ % RECORDS_MAX];

    memcpy(bytes, r->plain, r->len);
    r->plain = bytes;
}

static const struct hf_key *content_key_of(uint32_t id)
{
    static struct hf_reply hello; /* of the last file, which has all of them */

    for (size_t i = 0; hello.type != HF_MSG_HELLO; i++) {
        HF_ASSERT(i < file[FILES - 1].count);
        struct record r = file[FILES - 1].record[i];
        HF_ASSERT(hf_reply_decode(hf_slice_of(r.plain, r.len), &hello) == HF_OK);
    }
    for (uint32_t i = 0; i < hello.hello.key_count; i++) {
        if (hello.hello.key[i].id == id) {
            return &hello.hello.key[i].key;
        }
    }
    return NULL;
}

/* A byte of the records in a chunk is changed, and the chunk is sealed again. */
static void forge(struct record *r, size_t at, uint8_t how)
{
    static uint8_t packed[HF_MESSAGE_MAX], raw[HF_MESSAGE_MAX], sealed[HF_MESSAGE_MAX],
        descriptor[HF_DESCRIPTOR_MAX];
    static ZSTD_DCtx *zctx;
    static const uint8_t nonce[HF_NONCE_BYTES] = {1};
    struct hf_reply p;
    struct hf_chunk *c = &p.fetch.chunk;
    struct hf_writer w, d, out;

    if (hf_reply_decode(hf_slice_of(r->plain, r->len), &p) != HF_OK || p.type != HF_MSG_FETCH ||
        p.code != HF_OK || (p.fetch.want != HF_WANT_DELTA && p.fetch.want != HF_WANT_KEYS) ||
        c->raw_bytes == 0 || c->raw_bytes > sizeof(raw) - 4096) {
        return;
    }
    const struct hf_key *key = content_key_of(c->key_id);
    hf_writer_init(&w, packed, sizeof(packed));
    if (key == NULL || hf_chunk_unseal(key, c->descriptor, c->sealed, &w) != HF_OK) {
        return;
    }
    hf_writer_init(&out, raw, c->raw_bytes);
    zctx = zctx == NULL ? ZSTD_createDCtx() : zctx;
    if (c->compression == HF_COMPRESSION_NONE) {
        hf_write_raw(&out, packed, w.len);
    } else if (hf_decompress(hf_writer_bytes(&w), c->raw_bytes, zctx, &out) != HF_OK) {
        return;
    }
    raw[at % out.len] ^= how;
    c->compression = HF_COMPRESSION_NONE;
    c->raw_bytes = (uint32_t)out.len;
    hf_writer_init(&d, descriptor, sizeof(descriptor));
    hf_chunk_describe(c, &d);
    c->descriptor = hf_writer_bytes(&d);
    hf_writer_init(&w, sealed, sizeof(sealed));
    hf_chunk_seal(key, nonce, c->descriptor, hf_writer_bytes(&out), &w);
    c->sealed = hf_writer_bytes(&w);
    own(r);
    hf_writer_init(&w, r->plain, HF_MESSAGE_MAX);
    hf_reply_encode(&p, &w);
    HF_ASSERT(!w.failed);
    r->len = w.len;
}

static void operate(struct file *f, const uint8_t op[4])
{
    size_t at = op[1] % (f->count > 0 ? f->count : 1);
    const struct file *from = &file[op[2] % FILES];
    struct record *r = &f->record[at];
    struct record moved = *r;

    if (f->count == 0 || (f->count == RECORDS_MAX && op[0] % OPERATIONS == DOUBLE)) {
        return;
    }
    switch (op[0] % OPERATIONS) {
    case LEAVE_OUT:
        f->count--;
        memmove(r, r + 1, (f->count - at) * sizeof(*r));
        break;
    case DOUBLE:
        memmove(r + 1, r, (f->count - at) * sizeof(*r));
        f->count++;
        break;
    case MOVE:
        *r = f->record[op[2] % f->count];
        f->record[op[2] % f->count] = moved;
        break;
    case TAKE:
        *r = from->record[op[3] % from->count];
        break;
    case CHANGE:
        own(r);
        /* Most of what matters is at the beginning. */
        r->plain[op[2] % (r->len < 256 ? r->len : 256)] ^= op[3];
        break;
    case FORGE:
        forge(r, op[2] * 31u, op[3]);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct file f;

    make_once();
    if (size < FIXED || size > FIXED + 4 * 32) {
        return 0;
    }
    edge_make(data[0] % EDGES);
    hf_seq before = edge_check();
    f = file[data[1] % FILES];
    bool suits = f.head.first <= before && before <= f.head.last;
    change_head(&f.head, data[2]);
    for (size_t i = FIXED; i + 4 <= size; i += 4) {
        operate(&f, data + i);
    }
    write_file(&f);
    enum hf_err err = import();
    hf_seq after = edge_check();
    HF_ASSERT(after >= before && (err != HF_OK || after == f.head.last));
    HF_ASSERT(err == HF_OK || size > FIXED || data[2] != 0 || !suits);
    write_file(&file[FILES - 1]);
    HF_ASSERT(import() == HF_OK && edge_check() == head);
    return 0;
}
