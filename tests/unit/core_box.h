/*
 * core_box.h - a whole core in a box for tests: real store in a temporary directory, a clock that
 * moves when told, jobs that run when told, and what was published and replied kept for looking at.
 *
 * box_work runs jobs until none is left; box_step runs one, so that a test can look in between. The
 * same seed gives the same run. Included by the tests of core/ only.
 */
#ifndef TEST_CORE_BOX_H
#define TEST_CORE_BOX_H

#include "core/driver_impl.h"
#include "hf/core.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define BOX_PUBLISHED_MAX 4096u
#define UNUSED __attribute__((unused))

struct box_message {
    uint8_t *data;
    size_t len;
};

struct box {
    char root[64];
    char dir[80];
    struct hf_core_config cfg;
    struct hf_world world;
    struct hf_identity id;
    struct hf_core *core;
    hf_ms now;
    uint64_t random;
    struct hf_job *job_first;
    struct hf_job **job_end;
    struct box_message published[BOX_PUBLISHED_MAX];
    uint32_t published_count;
    struct box_message reply; /* the last; data == NULL when there was none */
    char notes[4096];
};

/* ---- syncs that fail ---- */

/* While not 0, fdatasync fails with it. Defined here, before the C library's. */
static int box_sync_error;
static void (*box_sync_failed)(void); /* what it does beside that; NULL = nothing */

int fdatasync(int fd)
{
    int error = box_sync_error;
    if (error != 0) {
        if (box_sync_failed != NULL) {
            box_sync_failed();
        }
        errno = error;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

UNUSED static void box_syncs_are_well(void)
{
    box_sync_error = 0;
    box_sync_failed = NULL;
}

/* ---- the world ---- */

UNUSED static hf_ms box_now(void *ctx)
{
    return ((struct box *)ctx)->now;
}

UNUSED static uint64_t box_wall(void *ctx)
{
    return 1700000000000u + (uint64_t)((struct box *)ctx)->now;
}

UNUSED static void box_random(void *ctx, void *buffer, size_t len)
{
    struct box *b = ctx;
    for (size_t i = 0; i < len; i++) {
        b->random ^= b->random << 13;
        b->random ^= b->random >> 7;
        b->random ^= b->random << 17;
        ((uint8_t *)buffer)[i] = (uint8_t)(b->random >> 32);
    }
}

UNUSED static void box_run(void *ctx, enum hf_lane lane, struct hf_job *job)
{
    struct box *b = ctx;
    (void)lane;
    job->next = NULL;
    *b->job_end = job;
    b->job_end = &job->next;
}

UNUSED static void box_note(void *ctx, enum hf_level level, const char *text)
{
    struct box *b = ctx;
    size_t n = strlen(b->notes);
    (void)level;
    snprintf(b->notes + n, sizeof(b->notes) - n, "%s\n", text);
}

UNUSED static struct box_message box_copy(struct hf_slice s)
{
    struct box_message m = {malloc(s.len), s.len};
    assert_non_null(m.data);
    memcpy(m.data, s.data, s.len);
    return m;
}

UNUSED static void box_publish(void *ctx, struct hf_slice message)
{
    struct box *b = ctx;
    assert_true(message.len <= HF_MESSAGE_MAX);
    assert_true(b->published_count < BOX_PUBLISHED_MAX);
    b->published[b->published_count++] = box_copy(message);
}

UNUSED static void box_reply(void *ctx, uint64_t request, struct hf_slice message)
{
    struct box *b = ctx;
    (void)request;
    assert_true(message.len <= HF_MESSAGE_MAX);
    free(b->reply.data);
    /* An empty reply says that there is none. */
    b->reply = message.len > 0 ? box_copy(message) : (struct box_message){NULL, 0};
}

/* Runs one job; false when there is none. */
UNUSED static bool box_step(struct box *b)
{
    struct hf_job *j = b->job_first;
    if (j == NULL) {
        return false;
    }
    b->job_first = j->next;
    if (b->job_first == NULL) {
        b->job_end = &b->job_first;
    }
    j->work(j);
    j->done(j);
    return true;
}

/* Takes the one job that waits, for the test to run. */
UNUSED static struct hf_job *box_hold(struct box *b)
{
    struct hf_job *held = b->job_first;
    assert_non_null(held);
    assert_null(held->next);
    b->job_first = NULL;
    b->job_end = &b->job_first;
    return held;
}

UNUSED static void box_work(struct box *b)
{
    while (box_step(b)) {
    }
}

/* ---- life ---- */

UNUSED static enum hf_err box_try_open(struct box *b, struct hf_error *e)
{
    return hf_core_open(&b->cfg, &b->world, &b->id, &b->core, e);
}

UNUSED static void box_open(struct box *b)
{
    struct hf_error e = {.code = HF_OK};
    enum hf_err err = box_try_open(b, &e);
    if (err != HF_OK) {
        fail_msg("open: %s", e.text);
    }
}

UNUSED static struct box *box_new(void)
{
    uint8_t seed[32] = {7};
    struct box *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    assert_int_equal(hf_crypto_init(), HF_OK);
    assert_int_equal(hf_identity_from_seed(&b->id, seed), HF_OK);
    strcpy(b->root, "/tmp/hf-core-XXXXXX");
    assert_non_null(mkdtemp(b->root));
    snprintf(b->dir, sizeof(b->dir), "%s/main", b->root);
    b->now = 1000;
    b->random = 88172645463325252u;
    b->job_end = &b->job_first;
    b->world = (struct hf_world){.ctx = b,
                                 .now = box_now,
                                 .wall_ms = box_wall,
                                 .random = box_random,
                                 .run = box_run,
                                 .note = box_note,
                                 .publish = box_publish,
                                 .reply = box_reply};
    b->cfg = (struct hf_core_config){.dir = b->dir,
                                     .stream = "main",
                                     .url = "tcp://127.0.0.1:7410",
                                     .log_bytes_max = 1u << 30,
                                     .segment_bytes = 8u << 20,
                                     .map_bytes = 256u << 20,
                                     .single_thread = true};
    return b;
}

UNUSED static void box_forget(struct box *b)
{
    for (uint32_t i = 0; i < b->published_count; i++) {
        free(b->published[i].data);
    }
    b->published_count = 0;
    free(b->reply.data);
    b->reply.data = NULL;
}

UNUSED static void box_close(struct box *b)
{
    box_work(b);
    hf_core_close(b->core);
    b->core = NULL;
}

UNUSED static void box_crash(struct box *b)
{
    b->job_first = NULL;
    b->job_end = &b->job_first;
    hf_core_crash(b->core);
    b->core = NULL;
}

UNUSED static int box_remove(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

UNUSED static void box_free(struct box *b)
{
    if (b->core != NULL) {
        box_close(b);
    }
    box_forget(b);
    hf_identity_free(&b->id);
    nftw(b->root, box_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(b);
}

/* Another stream in its place, of which only the last 256 KiB of the log are kept. */
UNUSED static void box_open_small(struct box *b)
{
    box_close(b);
    snprintf(b->dir, sizeof(b->dir), "%s/small", b->root);
    b->cfg.stream = "small";
    b->cfg.segment_bytes = 64 << 10;
    b->cfg.log_bytes_max = 256 << 10;
    box_open(b);
}

UNUSED static int box_setup(void **state)
{
    struct box *b = box_new();
    box_open(b);
    *state = b;
    return 0;
}

UNUSED static int box_teardown(void **state)
{
    box_free(*state);
    return 0;
}

/* Lets time pass in ticks of 10 ms. */
UNUSED static void box_pass(struct box *b, hf_ms ms)
{
    for (hf_ms end = b->now + ms; b->now < end;) {
        b->now += 10;
        hf_core_on_tick(b->core, b->now);
        box_work(b);
    }
}

/* ---- writing and reading ---- */

struct box_write {
    struct hf_write w; /* first */
    struct hf_change change[8];
    bool done;
    struct hf_write_result result;
};

UNUSED static void box_written(struct hf_write *w, const struct hf_write_result *r)
{
    struct box_write *bw = (struct box_write *)w;
    assert_false(bw->done);
    bw->done = true;
    bw->result = *r;
}

/* Adds a change: value == NULL deletes. The strings must stay. */
UNUSED static struct box_write *box_add(struct box_write *bw, const char *key, const char *value)
{
    assert_true(bw->w.change_count < 8);
    bw->change[bw->w.change_count++] =
        (struct hf_change){.op = value != NULL ? HF_OP_PUT : HF_OP_DEL,
                           .key = hf_slice_str(key),
                           .value = hf_slice_str(value != NULL ? value : "")};
    bw->w.change = bw->change;
    bw->w.done = box_written;
    return bw;
}

UNUSED static void box_send(struct box *b, struct box_write *bw)
{
    bw->w.change = bw->change;
    bw->w.done = box_written;
    hf_core_write(b->core, &bw->w);
}

UNUSED static struct hf_write_result box_apply(struct box *b, struct box_write *bw)
{
    box_send(b, bw);
    hf_core_flush(b->core);
    box_work(b);
    assert_true(bw->done);
    return bw->result;
}

UNUSED static struct hf_write_result box_put(struct box *b, const char *key, const char *value)
{
    struct box_write bw = {.done = false};
    box_add(&bw, key, value);
    return box_apply(b, &bw);
}

UNUSED static struct hf_write_result box_put_id(struct box *b, const char *id, const char *key,
                                                const char *value)
{
    struct box_write bw = {.w.request_id = hf_slice_str(id)};
    box_add(&bw, key, value);
    return box_apply(b, &bw);
}

/* A put of `len` bytes that do not compress. */
UNUSED static struct hf_write_result box_put_bytes(struct box *b, const char *key, size_t len)
{
    struct box_write bw = {.done = false};
    uint8_t *value = malloc(len);
    box_random(b, value, len);
    box_add(&bw, key, "");
    bw.change[0].value = hf_slice_of(value, len);
    struct hf_write_result r = box_apply(b, &bw);
    free(value);
    return r;
}

UNUSED static void box_seen(void *ctx)
{
    *(bool *)ctx = true;
}

UNUSED static void box_commit(struct box *b)
{
    bool seen = false;
    hf_core_when_visible(b->core, box_seen, &seen);
    box_work(b);
    assert_true(seen);
}

/* The committed value as text; NULL when there is none. */
UNUSED static const char *box_get(struct box *b, const char *key)
{
    static char text[256];
    struct hf_view *v;
    struct hf_stored s;
    assert_int_equal(hf_view_open(hf_core_state(b->core), &v), HF_OK);
    enum hf_err err = hf_view_get(v, hf_slice_str(key), false, &s);
    if (err == HF_OK) {
        snprintf(text, sizeof(text), "%.*s", (int)s.value.len, (const char *)s.value.data);
    }
    hf_view_close(v);
    return err == HF_OK ? text : NULL;
}

UNUSED static struct hf_core_status box_status(struct box *b)
{
    struct hf_core_status st;
    hf_core_status(b->core, &st);
    return st;
}

UNUSED static uint64_t box_counter(struct box *b, const char *name)
{
    char text[4096];
    char want[64];
    size_t n = hf_core_counters(b->core, text, sizeof(text) - 1);
    text[n] = '\0';
    snprintf(want, sizeof(want), "%s ", name);
    for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1) {
        if (strncmp(line, want, strlen(want)) == 0) {
            return strtoull(line + strlen(want), NULL, 10);
        }
    }
    fail_msg("no counter %s", name);
    return 0;
}

/* How many objects of a store have names that begin so. */
UNUSED static uint32_t box_objects(struct hf_state *s, struct hf_slice prefix)
{
    struct hf_slice name = {NULL, 0};
    struct hf_slice bytes;
    struct hf_view *v;
    uint32_t n = 0;
    assert_int_equal(hf_view_open(s, &v), HF_OK);
    while (hf_view_next_object(v, prefix, name, &name, &bytes) == HF_OK) {
        n++;
    }
    hf_view_close(v);
    return n;
}

/* Frame number i of what was published. */
UNUSED static struct hf_frame box_frame(struct box *b, uint32_t i)
{
    struct hf_id stream;
    struct hf_frame f;
    assert_true(i < b->published_count);
    assert_int_equal(
        hf_frame_decode(hf_slice_of(b->published[i].data, b->published[i].len), &stream, &f),
        HF_OK);
    return f;
}

/* ---- the files of a core that is closed, by their names below the root ---- */

UNUSED static void box_rm(const struct box *b, const char *name)
{
    char command[256];
    snprintf(command, sizeof(command), "rm -r %s/%s", b->root, name);
    assert_int_equal(system(command), 0);
}

/* Puts a copy of one in the other's place. */
UNUSED static void box_cp(const struct box *b, const char *from, const char *to)
{
    char command[256];
    snprintf(command, sizeof(command), "rm -rf %s/%s && cp -a %s/%s %s/%s", b->root, to, b->root,
             from, b->root, to);
    assert_int_equal(system(command), 0);
}

#endif
