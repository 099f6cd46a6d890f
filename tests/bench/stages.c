/*
 * stages.c - where the time of a change goes: microseconds per change in each stage of its path.
 *
 *   stages                     prints a table: stage, in batches of 100, alone in its batch
 *
 * Calls the functions that the daemons call, in the same order, on one thread, over the data that
 * client.c sends: 20,000 keys of 24 bytes, values of 100 random letters. The core's side ends in a
 * synced changelog and one commit of its state at the end, the edge's side in a synced commit of
 * each batch (first half) or of 16 together (second half, as under load). Directories are under
 * /tmp, or under $TMPDIR when that is set.
 *
 * Figures are medians over the batches, divided by the changes in one: what else the machine did is
 * not in them, so they do not add up to a mean. The core's commit happens once. Two are derived:
 * hf_state_upsert also keeps the digest, so `put` is its time less that of the same digest work
 * done beside it, and likewise `apply`. A frame is signed while the disk writes it: `append, sync`
 * is without that time, which the disk needs anyway. Not in the table: wake-ups between threads and
 * sockets. `hand-off` is the one that can be had alone: an empty job, from the loop to the writer
 * lane and back.
 *
 * It must not print what it could not do: every error ends it. Next: README.md beside it.
 */
#include "hf/changelog.h"
#include "hf/loop.h"
#include "hf/state.h"
#include "hf/transport.h"
#include "proto/node/resp_parse.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>
#include <zstd.h>

#define KEYS 20000u
#define KEY_BYTES 24u
#define VALUE_BYTES 100u
#define GROUP 100u
#define GROUP_ROUNDS 500u   /* 50,000 changes: one commit at the core */
#define SINGLE_ROUNDS 2000u /* about a second's worth: likewise */
#define EDGE_TOGETHER 16u
#define COMMAND_BYTES 192u
#define HAND_OFFS 5000u
#define LINK_TRIES 5000u
#define FRAME_BYTES (64u << 10)

enum stage {
    PARSE,
    PUT,
    DIGEST,
    SEAL,
    SIGN,
    SYNC,
    PUBLISH,
    CORE_COMMIT,
    VERIFY,
    APPLY,
    EDGE_DIGEST,
    EDGE_COMMIT,
    EDGE_COMMIT_TOGETHER,
    STAGES
};

static const char *const names[STAGES] = {
    "parse",  "put",    "digest", "seal",   "sign",   "append, sync",       "publish",
    "commit", "verify", "apply",  "digest", "commit", "commit, 16 together"};

struct data {
    uint8_t wire[GROUP * COMMAND_BYTES]; /* n SET commands as they arrive */
    size_t wire_len;
    struct hf_change change[GROUP];
    uint32_t n;
};

struct bench {
    char dir[300];
    struct hf_identity id;
    struct hf_state *core, *edge;
    struct hf_changelog *log;
    struct hf_resp_parser parser;
    ZSTD_CCtx *cctx;
    ZSTD_DCtx *dctx;
    struct hf_key content;
    struct hf_id stream;
    struct hf_elements waiting;
    struct hf_lthash lanes; /* beside the store's: what the digest costs */
    uv_loop_t loop;
    struct hf_listener *listener;
    struct hf_dialer *dialer;
    bool link_up;
    uint64_t delivered;
    uint64_t sign_ns; /* of the last frame */
    uint8_t raw[FRAME_BYTES], scratch[FRAME_BYTES], sealed[FRAME_BYTES], frame[FRAME_BYTES];
    size_t frame_len;
    uint64_t ns[STAGES][SINGLE_ROUNDS]; /* a sample for each batch or commit */
    uint32_t taken[STAGES];
    struct data data;
};

/* ---- small things ---- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static char box_dir[256];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void box_remove(void)
{
    if (box_dir[0] != '\0') {
        nftw(box_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

/* Leaves by _exit: nng's threads must not meet the handlers of exit. */
static _Noreturn void leave(int status)
{
    fflush(stdout);
    box_remove();
    _exit(status);
}

static void must(enum hf_err err, const char *what)
{
    if (err != HF_OK) {
        fprintf(stderr, "stages: %s: %s\n", what, hf_err_text(err));
        leave(1);
    }
}

static uint64_t draw(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

/* The command of a SET of key k, as a client library writes it. */
static void command_add(struct data *d, uint64_t k)
{
    char value[VALUE_BYTES + 1];
    for (size_t i = 0; i < VALUE_BYTES; i++) {
        value[i] = (char)('a' + draw() % 26);
    }
    value[VALUE_BYTES] = '\0';
    int len = snprintf((char *)d->wire + d->wire_len, COMMAND_BYTES,
                       "*3\r\n$3\r\nSET\r\n$%u\r\nbench:key:%014llu\r\n$%u\r\n%s\r\n", KEY_BYTES,
                       (unsigned long long)k, VALUE_BYTES, value);
    d->wire_len += (size_t)len;
    d->n++;
}

static void took(struct bench *b, enum stage s, uint64_t ns)
{
    if (b->taken[s] < SINGLE_ROUNDS) {
        b->ns[s][b->taken[s]++] = ns;
    }
}

/* ---- the core's side ---- */

static void parse(struct bench *b)
{
    struct data *d = &b->data;
    size_t at = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        size_t used = 0;
        uint8_t *begin = d->wire + at;
        if (hf_resp_parse(&b->parser, begin, d->wire_len - at, &used) != HF_RESP_COMMAND) {
            must(HF_MALFORMED, "parse");
        }
        const struct hf_resp_arg *a = b->parser.arg;
        d->change[i] = (struct hf_change){.op = HF_OP_PUT,
                                          .key = hf_slice_of(begin + a[1].offset, a[1].len),
                                          .value = hf_slice_of(begin + a[2].offset, a[2].len)};
        at += used;
    }
}

static void put(struct bench *b, hf_seq seq)
{
    bool changed;
    for (uint32_t i = 0; i < b->data.n; i++) {
        must(hf_state_upsert(b->core, seq, i, &b->data.change[i], &changed), "put");
    }
}

/* The digest work of one batch over again: the old element out, the new one in. */
static void digest(struct bench *b, hf_seq seq)
{
    for (uint32_t i = 0; i < b->data.n; i++) {
        const struct hf_change *c = &b->data.change[i];
        struct hf_element e = {.key = c->key, .value = c->value, .seq = seq - 1, .gone = true};
        hf_elements_note(&b->waiting, &b->lanes, &e);
        e.seq = seq;
        e.gone = false;
        hf_elements_note(&b->waiting, &b->lanes, &e);
    }
    hf_elements_settle(&b->waiting, &b->lanes);
    (void)hf_lthash_digest(&b->lanes);
}

static struct hf_slice seal(struct bench *b, struct hf_header *h)
{
    static const uint8_t nonce[HF_NONCE_BYTES] = {7};
    struct hf_writer raw, scratch, sealed;
    hf_writer_init(&raw, b->raw, sizeof(b->raw));
    hf_body_begin(&raw, b->data.n);
    for (uint32_t i = 0; i < b->data.n; i++) {
        hf_body_change(&raw, &b->data.change[i]);
    }
    hf_body_meta_begin(&raw, 0);
    hf_writer_init(&scratch, b->scratch, sizeof(b->scratch));
    hf_writer_init(&sealed, b->sealed, sizeof(b->sealed));
    must(hf_body_seal(h, hf_writer_bytes(&raw), 1, &b->content, nonce, b->cctx, &scratch, &sealed),
         "seal");
    return hf_writer_bytes(&sealed);
}

/* While the disk writes. */
static uint32_t sign(void *ctx, hf_seq seq, uint8_t *payload, size_t len)
{
    struct bench *b = ctx;
    struct hf_signature sig;
    uint64_t begin = now_ns();
    uint32_t at = hf_frame_sign(payload, len, b->id.secret, &sig);
    (void)seq;
    memcpy(b->frame + at, sig.b, sizeof(sig.b));
    hf_state_sign(b->core, &sig);
    b->sign_ns = now_ns() - begin;
    return at;
}

static void frame_sync(struct bench *b, struct hf_slice header, struct hf_slice body)
{
    static const struct hf_signature none;
    struct hf_writer out;
    hf_writer_init(&out, b->frame, sizeof(b->frame));
    hf_frame_encode(&b->stream, header, &none, body, &out);
    b->frame_len = out.len;
    hf_seq seq = hf_state_position(b->core).seq;
    must(hf_changelog_append_unsigned(b->log, seq, hf_writer_bytes(&out)), "append");
    must(hf_changelog_sync(b->log), "sync");
}

static void core_batch(struct bench *b)
{
    struct hf_position at = hf_state_position(b->core);
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_writer header;
    const struct hf_signature none = {{0}};
    uint64_t t[8];
    t[0] = now_ns();
    parse(b);
    t[1] = now_ns();
    put(b, at.seq + 1);
    struct hf_header h = {.kind = HF_BATCH_DATA,
                          .epoch_id = at.epoch_id,
                          .epoch = 1,
                          .seq = at.seq + 1,
                          .prev = at.chain,
                          .signer_id = 1,
                          .digest = hf_state_digest(b->core),
                          .change_count = b->data.n};
    t[2] = now_ns();
    digest(b, at.seq + 1);
    t[3] = now_ns();
    struct hf_slice body = seal(b, &h);
    t[4] = now_ns();
    hf_writer_init(&header, bytes, sizeof(bytes));
    hf_header_encode(&h, &header);
    must(hf_state_advance(b->core, &h, hf_writer_bytes(&header), &none), "advance");
    t[5] = now_ns();
    frame_sync(b, hf_writer_bytes(&header), body);
    t[6] = now_ns();
    hf_listener_publish(b->listener, hf_slice_of(b->frame, b->frame_len));
    t[7] = now_ns();
    uint64_t kept = t[3] - t[2];
    uint64_t put_all = t[2] - t[1] + t[5] - t[4];
    took(b, PARSE, t[1] - t[0]);
    took(b, PUT, put_all > kept ? put_all - kept : 0);
    took(b, DIGEST, kept);
    took(b, SEAL, t[4] - t[3]);
    took(b, SIGN, b->sign_ns);
    took(b, SYNC, t[6] - t[5] - b->sign_ns);
    took(b, PUBLISH, t[7] - t[6]);
}

/* ---- the edge's side ---- */

static void edge_commit(struct bench *b, enum stage stage)
{
    uint64_t begin = now_ns();
    must(hf_state_commit(b->edge), "edge commit");
    took(b, stage, now_ns() - begin);
}

static void edge_batch(struct bench *b)
{
    struct hf_frame f;
    struct hf_id stream;
    struct hf_body body;
    struct hf_writer scratch, raw;
    uint64_t begin = now_ns();
    must(hf_frame_decode(hf_slice_of(b->frame, b->frame_len), &stream, &f), "decode");
    if (!hf_header_verify(f.header, &f.signature, &b->id.public_key) ||
        !hf_frame_body_matches(&f)) {
        must(HF_AUTH, "verify");
    }
    hf_writer_init(&scratch, b->scratch, sizeof(b->scratch));
    hf_writer_init(&raw, b->raw, sizeof(b->raw));
    must(hf_body_unseal(&f.h, f.body, &b->content, b->dctx, &scratch, &raw), "unseal");
    must(hf_body_open(hf_writer_bytes(&raw), f.h.change_count, &body), "open");
    uint64_t verified = now_ns();
    must(hf_state_apply_batch(b->edge, &f, &body), "apply");
    uint64_t applied = now_ns();
    digest(b, f.h.seq);
    uint64_t kept = now_ns() - applied;
    uint64_t apply_all = applied - verified;
    took(b, VERIFY, verified - begin);
    took(b, APPLY, apply_all > kept ? apply_all - kept : 0);
    took(b, EDGE_DIGEST, kept);
}

/* ---- a run ---- */

static void data_make(struct data *d, uint32_t n)
{
    d->n = 0;
    d->wire_len = 0;
    uint64_t first = draw() % KEYS;
    for (uint32_t i = 0; i < n; i++) {
        command_add(d, (first + i * 7919u) % KEYS); /* distinct: a batch holds a key once */
    }
}

static void fill(struct bench *b)
{
    for (uint32_t k = 0; k < KEYS; k += GROUP) {
        b->data.n = 0;
        b->data.wire_len = 0;
        for (uint32_t i = 0; i < GROUP; i++) {
            command_add(&b->data, k + i);
        }
        core_batch(b);
        edge_batch(b);
    }
    must(hf_state_commit(b->core), "commit");
    must(hf_state_commit(b->edge), "commit");
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double median_us(struct bench *b, int s)
{
    size_t middle = b->taken[s] / 2;
    qsort(b->ns[s], b->taken[s], sizeof(b->ns[s][0]), compare);
    return b->taken[s] == 0 ? 0 : (double)b->ns[s][middle] / 1e3;
}

static void rounds(struct bench *b, uint32_t count, uint32_t n, double us[STAGES])
{
    memset(b->taken, 0, sizeof(b->taken));
    for (uint32_t i = 0; i < count; i++) {
        data_make(&b->data, n);
        core_batch(b);
        edge_batch(b);
        if (i < count / 2) {
            edge_commit(b, EDGE_COMMIT);
        } else if (i % EDGE_TOGETHER == EDGE_TOGETHER - 1 || i + 1 == count) {
            edge_commit(b, EDGE_COMMIT_TOGETHER);
        }
        uv_run(&b->loop, UV_RUN_NOWAIT);
    }
    uint64_t begin = now_ns();
    must(hf_state_commit(b->core), "core commit");
    took(b, CORE_COMMIT, now_ns() - begin);
    for (int s = 0; s < STAGES; s++) {
        us[s] = median_us(b, s) / n;
    }
    us[CORE_COMMIT] /= count;
    us[EDGE_COMMIT_TOGETHER] /= EDGE_TOGETHER;
}

static double total(const double us[STAGES], int first, int last)
{
    double sum = 0;
    for (int s = first; s <= last; s++) {
        sum += us[s];
    }
    return sum;
}

static void print(const double many[STAGES], const double one[STAGES])
{
    printf("%-6s %-20s %12s %12s\n", "where", "us per change", "100 a batch", "1 a batch");
    for (int s = 0; s < STAGES; s++) {
        printf("%-6s %-20s %12.2f %12.1f\n", s <= CORE_COMMIT ? "core" : "edge", names[s], many[s],
               one[s]);
        if (s == CORE_COMMIT || s == EDGE_COMMIT) {
            int first = s == CORE_COMMIT ? PARSE : VERIFY;
            printf("%-6s %-20s %12.2f %12.1f\n", s == CORE_COMMIT ? "core" : "edge", "= in all",
                   total(many, first, s), total(one, first, s));
        }
    }
}

/* ---- hand-offs between the loop and the writer lane ---- */

struct hand_off {
    struct hf_job job; /* first */
    struct hf_loop *loop;
    uint32_t left;
    uint64_t sent_ns;
    uint64_t sum_ns;
};

static void hand_off_work(struct hf_job *job)
{
    (void)job;
}

static void hand_off_done(struct hf_job *job)
{
    struct hand_off *h = (struct hand_off *)job;
    uint64_t now = now_ns();
    h->sum_ns += now - h->sent_ns;
    h->sent_ns = now;
    if (--h->left == 0) {
        hf_loop_exit(h->loop);
        return;
    }
    hf_loop_job(h->loop, HF_LANE_WRITER, job);
}

static double hand_off_us(void)
{
    struct hf_loop_config c = {.pool_threads = 1};
    struct hf_error e;
    struct hand_off h = {.job = {.work = hand_off_work, .done = hand_off_done}, .left = HAND_OFFS};
    must(hf_loop_open(&c, &h.loop, &e), "loop");
    h.sent_ns = now_ns();
    hf_loop_job(h.loop, HF_LANE_WRITER, &h.job);
    hf_loop_run(h.loop);
    hf_loop_close(h.loop);
    return (double)h.sum_ns / 1e3 / HAND_OFFS;
}

/* ---- start ---- */

static struct hf_state *state_new(const struct bench *b, const char *name, bool core)
{
    char path[320];
    struct hf_state *s = NULL;
    struct hf_error e;
    snprintf(path, sizeof(path), "%s/%s", b->dir, name);
    struct hf_state_config c = {.dir = path, .chainless = !core, .tombstone_index = !core};
    must(hf_state_open(&c, &s, &e), name);
    struct hf_position at = {.epoch_id = {{1, 2, 3}}, .chain = {{4, 5, 6}}};
    must(hf_state_genesis(s, &at), "genesis");
    must(hf_state_commit(s), "genesis");
    return s;
}

static void on_link(void *ctx, enum hf_channel channel, bool up)
{
    struct bench *b = ctx;
    b->link_up |= channel == HF_CHANNEL_STREAM && up;
}

static void on_message(void *ctx, struct hf_slice message)
{
    struct bench *b = ctx;
    b->delivered += message.len > 0;
}

static void on_reply(void *ctx, uint64_t id, struct hf_slice message)
{
    (void)ctx;
    (void)id;
    (void)message;
}

static bool on_request(void *ctx, uint64_t handle, struct hf_slice message, const char *peer)
{
    struct bench *b = ctx;
    (void)message;
    (void)peer;
    hf_listener_reply(b->listener, handle, hf_slice_of(NULL, 0));
    return true;
}

static void on_wedged(void *ctx, const char *why)
{
    (void)ctx;
    (void)why;
}

/* One subscriber on loopback, in this process: publishing without one costs nothing. */
static void link_open(struct bench *b)
{
    struct hf_error e;
    char stream[64], control[64];
    struct hf_listener_config lc = {.stream_url = "tcp://127.0.0.1:0",
                                    .ctx = b,
                                    .on_request = on_request,
                                    .on_wedged = on_wedged};
    uv_loop_init(&b->loop);
    must(hf_listener_open(&b->loop, &lc, &b->listener, &e), "listen");
    unsigned port = hf_listener_port(b->listener);
    snprintf(stream, sizeof(stream), "tcp://127.0.0.1:%u", port);
    snprintf(control, sizeof(control), "tcp://127.0.0.1:%u", port + 1);
    struct hf_dialer_config dc = {.stream_url = stream,
                                  .control_url = control,
                                  .ctx = b,
                                  .on_link = on_link,
                                  .on_message = on_message,
                                  .on_reply = on_reply,
                                  .on_wedged = on_wedged};
    must(hf_dialer_open(&b->loop, &dc, &b->dialer, &e), "dial");
    must(hf_dialer_subscribe(b->dialer, hf_slice_str("HF")), "subscribe");
    for (uint32_t i = 0; i < LINK_TRIES && !b->link_up; i++) {
        uv_run(&b->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    must(b->link_up ? HF_OK : HF_IO, "link");
}

static void bench_open(struct bench *b)
{
    const char *tmp = getenv("TMPDIR");
    uint8_t seed[32] = {42};
    struct hf_error e;
    char path[320];
    snprintf(box_dir, sizeof(box_dir), "%s/holdfast-stages.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(box_dir) == NULL) {
        box_dir[0] = '\0';
        must(HF_IO, "temporary directory");
    }
    memcpy(b->dir, box_dir, sizeof(box_dir));
    must(hf_crypto_init(), "crypto");
    must(hf_identity_from_seed(&b->id, seed), "identity");
    b->core = state_new(b, "core", true);
    b->edge = state_new(b, "edge", false);
    snprintf(path, sizeof(path), "%s/log", b->dir);
    struct hf_changelog_config lc = {.dir = path, .sign = sign, .sign_ctx = b};
    must(hf_changelog_open(&lc, 0, NULL, NULL, &b->log, &e), "log");
    hf_resp_parser_init(&b->parser, 1u << 20);
    b->cctx = ZSTD_createCCtx();
    b->dctx = ZSTD_createDCtx();
    if (b->cctx == NULL || b->dctx == NULL) {
        must(HF_NOMEM, "zstd");
    }
    link_open(b);
}

int main(void)
{
    static struct bench b;
    double many[STAGES], one[STAGES];
    double hand_off = hand_off_us();
    bench_open(&b);
    fill(&b);
    rounds(&b, GROUP_ROUNDS, GROUP, many);
    rounds(&b, SINGLE_ROUNDS, 1, one);
    print(many, one);
    printf("hand-off to the writer lane and back: %.1f us\n", hand_off);
    leave(0);
}
