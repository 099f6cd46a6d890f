/*
 * player.c - a run from its start to its verdict, inside the emulated network.
 *
 * The core starts and invites every edge; then all edges start at once, and that is moment 0, as in
 * the virtual world: how they join is part of the run. When the timeline is over everything is
 * healed and nothing more is written; the run ends when all edges equal the core, by digest and
 * then key by key, or when the time for that has passed.
 *
 * Invariant: all handles of the loop are closed and all daemons ended before _play returns.
 */
#include "sim/real/history.h"
#include "sim/real/judge.h"
#include "sim/real/writer.h"

#include "hf/err.h"
#include "hf/replica.h"
#include "hf/version.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define START_MS 20000             /* for the core, and the invitations */
#define STAY_US UINT64_C(20000000) /* how long a run that does not converge is still watched */

uint64_t real_now_us(const struct real *r)
{
    return (uv_hrtime() - r->start_ns) / 1000;
}

void real_fail(struct real *r, const char *format, ...)
{
    va_list args;
    if (r->failure[0] == '\0') {
        va_start(args, format);
        vsnprintf(r->failure, sizeof(r->failure), format, args);
        va_end(args);
    }
    uv_stop(&r->loop);
}

/* ---- the start ---- */

static void node_init(struct real *r, uint32_t index)
{
    struct real_node *n = &r->node[index];
    n->run = r;
    n->index = index;
    n->name = r->script->edge[index].name;
    n->last.staleness_ms = UINT64_MAX;
    snprintf(n->dir, sizeof(n->dir), "%s/%s", r->options.dir, n->name);
}

static void connect_to(struct real_node *n, void (*on_change)(void *owner, bool up))
{
    char path[REAL_DIR_MAX + 16];
    snprintf(path, sizeof(path), "%s/holdfast.sock", n->dir);
    real_client_open(&n->status, &n->run->loop, path, on_change, n);
}

/* Moment 0. */
static void begin(struct real *r)
{
    r->writer = real_writer_new(r);
    r->start_ns = uv_hrtime();
    real_link_hub(r);
    for (uint32_t i = 1; i < r->node_count; i++) {
        struct real_node *n = &r->node[i];
        char path[REAL_DIR_MAX + 16];
        real_link_set(n, &r->script->edge[i].link);
        real_daemon_start(n);
        connect_to(n, NULL);
        snprintf(path, sizeof(path), "%s/holdfast.sock", n->dir);
        real_client_open(&n->reader, &r->loop, path, NULL, n);
        real_reads_start(n);
    }
    real_writer_begin(r->writer);
    real_watch_start(r);
    real_timeline_start(r);
}

static void on_invited(void *ctx, const redisReply *reply)
{
    struct real_node *n = ctx;
    struct real *r = n->run;
    if (reply == NULL || reply->type != REDIS_REPLY_STRING) {
        real_fail(r, "the core does not invite %s: %s", n->name,
                  reply == NULL || reply->str == NULL ? "no answer" : reply->str);
        return;
    }
    n->token = strdup(reply->str);
    HF_ASSERT(n->token != NULL);
    if (++r->tokens + 1 == r->node_count) {
        begin(r);
    }
}

static void on_core(void *owner, bool up)
{
    struct real_node *core = owner;
    struct real *r = core->run;
    if (!up || r->tokens > 0) {
        return;
    }
    for (uint32_t i = 1; i < r->node_count; i++) {
        const char *const words[] = {"HF.EDGE", "INVITE", r->node[i].name, NULL};
        if (!real_client_say(&core->status, on_invited, &r->node[i], words)) {
            on_invited(&r->node[i], NULL);
        }
    }
}

static void on_late(uv_timer_t *timer)
{
    struct real *r = timer->data;
    real_fail(r, "the core was not ready within %d s: see %s.log (--keep)", START_MS / 1000,
              r->node[SCRIPT_CORE].dir);
}

static void start(struct real *r)
{
    for (uint32_t i = 0; i < r->node_count; i++) {
        if (!real_daemon_prepare(&r->node[i])) {
            return;
        }
    }
    (void)uv_timer_start(&r->timeline_timer, on_late, START_MS, 0);
    real_daemon_start(&r->node[SCRIPT_CORE]);
    connect_to(&r->node[SCRIPT_CORE], on_core);
}

/* ---- the end ---- */

static void on_compared(struct real *r)
{
    uv_stop(&r->loop);
}

static void finish(struct real *r)
{
    r->done = true;
    (void)uv_timer_stop(&r->watch_timer);
    for (uint32_t i = 1; i < r->node_count; i++) {
        real_reads_stop(&r->node[i]);
    }
    if (r->equal_us > 0 && !r->rolled_back) {
        real_compare(r, on_compared);
    } else {
        uv_stop(&r->loop);
    }
}

void real_player_timeline_over(struct real *r)
{
    r->ended = true;
    r->ended_us = real_now_us(r);
    real_writer_end(r->writer);
    real_heal_all(r);
}

/* The first edge that is not where the core is, NULL when all are. */
static const struct real_node *behind(const struct real *r)
{
    struct real_writer_status s;
    real_writer_status(r->writer, &s);
    const struct real_node *core = &r->node[SCRIPT_CORE];
    if (s.open || !core->last.running || core->last.applied < core->last.head ||
        (!r->rolled_back && core->last.head < s.acked_seq)) {
        return core;
    }
    for (uint32_t i = 1; i < r->node_count; i++) {
        if (!r->node[i].revoked && !real_is_equal(r, &r->node[i])) {
            return &r->node[i];
        }
    }
    return NULL;
}

static void fail_behind(struct real *r, const struct real_node *n)
{
    uint64_t limit_s = r->script->converge_us / 1000000;
    if (n->index == SCRIPT_CORE) {
        real_fail(r, "not converged in %" PRIu64 " s: the core does not answer all writes",
                  limit_s);
    } else {
        real_fail(r,
                  "not converged in %" PRIu64 " s: %s has applied %" PRIu64 " of %" PRIu64 " (%s)",
                  limit_s, n->name, n->last.applied, n->last.head,
                  n->last.running ? hf_replica_state_name((enum hf_replica_state)n->last.state)
                                  : "not running");
    }
}

void real_player_round(struct real *r)
{
    real_print_progress(r);
    if (!r->ended || r->done) {
        return;
    }
    uint64_t since = real_now_us(r) - r->ended_us;
    if (r->script->converge_us == 0) {
        if (since >= STAY_US) {
            finish(r);
        }
        return;
    }
    const struct real_node *n = behind(r);
    if (n == NULL) {
        r->equal_us = real_now_us(r);
        finish(r);
    } else if (since > r->script->converge_us) {
        fail_behind(r, n);
    }
}

/* ---- the whole ---- */

static void close_handle(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

/* A tmpfs goes with its namespace: with --keep, what was on it is copied beside it. */
static void keep_small_disks(const struct real *r)
{
    for (uint32_t i = 0; r->options.keep && i < r->node_count; i++) {
        char to[REAL_DIR_MAX + 8];
        const char *const words[] = {"cp", "-a", r->node[i].dir, to, NULL};
        snprintf(to, sizeof(to), "%s.kept", r->node[i].dir);
        if (r->node[i].small_disk) {
            (void)real_run(words);
        }
    }
}

static void tear_down(struct real *r)
{
    r->done = true;
    for (uint32_t i = 0; i < r->node_count; i++) {
        real_links_free(&r->node[i]);
        real_client_close(&r->node[i].status);
        real_client_close(&r->node[i].reader);
        real_daemon_kill(&r->node[i], NULL);
    }
    if (r->writer != NULL) {
        real_writer_close(r->writer);
    }
    uv_close((uv_handle_t *)&r->timeline_timer, NULL);
    uv_close((uv_handle_t *)&r->watch_timer, NULL);
    for (uint32_t i = 1; r->writer != NULL && i < r->node_count; i++) {
        uv_close((uv_handle_t *)&r->node[i].read_timer, NULL);
    }
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_walk(&r->loop, close_handle, NULL);
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&r->loop);
    keep_small_disks(r);
}

static void release(struct real *r)
{
    for (uint32_t i = 0; i < r->node_count; i++) {
        free(r->node[i].token);
        real_daemon_release(&r->node[i]);
    }
    if (r->writer != NULL) {
        real_writer_free(r->writer);
    }
    real_judge_free(r->judge);
    record_free(r->record);
    free(r);
}

int real_play(const struct script *s, const struct real_options *o)
{
    struct real *r = calloc(1, sizeof(*r));
    HF_ASSERT(r != NULL && uv_loop_init(&r->loop) == 0);
    signal(SIGPIPE, SIG_IGN); /* a daemon may be killed while it is asked */
    r->script = s;
    r->options = *o;
    r->control = getenv("HF_WAN_CONTROL");
    r->node_count = 1 + s->edge_count;
    r->start_ns = uv_hrtime();
    for (uint32_t i = 0; i < r->node_count; i++) {
        node_init(r, i);
    }
    r->judge = real_judge_new(r);
    r->record = record_new();
    r->record->title = s->title[0] != '\0' ? s->title : o->scenario;
    r->record->world = "real";
    r->record->version = HF_VERSION;
    r->record->seed = o->seed;
    (void)uv_timer_init(&r->loop, &r->timeline_timer);
    (void)uv_timer_init(&r->loop, &r->watch_timer);
    r->timeline_timer.data = r->watch_timer.data = r;
    if (o->history != NULL && (r->history = real_history_new(o->history)) == NULL) {
        real_fail(r, "--history %s: %s", o->history, strerror(errno));
    } else {
        start(r);
    }
    if (r->failure[0] == '\0') {
        (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    }
    bool held = real_print_report(r);
    tear_down(r);
    if (real_history_free(r->history) != 0) {
        fprintf(stderr, "holdfast-sim wan: --history %s: %s\n", o->history, strerror(errno));
        held = false;
    }
    release(r);
    return held ? 0 : 1;
}
