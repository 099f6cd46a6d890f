/*
 * main.c - holdfast-core: one libuv loop around the core's driver, nng below it, RESP above it.
 *
 * Start: options, DIR and its lock, key, link, store (the changelog is replayed), local clients;
 * then the readiness lines on stdout. Stop: SIGTERM; new commands are refused, what is under way is
 * answered, the state is committed, and the process leaves with _exit (nng cannot be trusted to
 * close). A wedged nng ends in a re-exec with the addresses in use now, so edges and clients only
 * see a reconnect; whatever was not committed is in the changelog.
 *
 * Invariants: one process to a DIR, held by a lock that the kernel gives up with the process;
 * damaged data is never written to nor replaced: the start is refused until a person has restored
 * it. After two unclean ends in a row, each soon after its start, the state is examined before it
 * is opened (hf/life.h). It must not decide anything about writes or edges: core/driver.c does.
 * Next: options.c, commands.c.
 */
#include "core/commands.h"
#include "core/options.h"

#include "hf/daemon.h"
#include "hf/keyfile.h"
#include "hf/life.h"
#include "hf/log.h"
#include "hf/loop.h"
#include "hf/lost_pages.h"
#include "hf/transport.h"
#include "hf/version.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REAP_READERS_MS 10000
/* A commit of a large state takes seconds on a slow disk; after this the changelog has to do. */
#define STOP_MS_MAX 20000
/* Between the last answer and the end: the loop sends it at its next turn. */
#define STOP_LINGER_MS 50

struct app {
    struct hf_daemon daemon; /* first */
    struct core_options opt;
    struct hf_listener *listener;
    struct hf_core *core;
    struct hf_commands *commands;
    struct hf_resp_server *server;
    struct hf_identity id;
    char url[HF_URL_MAX + 1]; /* of the stream, with the port in use */
    char control_url[HF_URL_MAX + 16];
    char resp[80]; /* "" = off */
    hf_ms reap_at;
    bool stopping, settled;
    hf_ms stop_by;
    struct hf_life life;
};

/* ---- the world's part that is the transport's ---- */

static void world_publish(void *ctx, struct hf_slice message)
{
    struct app *app = ctx;

    hf_listener_publish(app->listener, message);
}

static void world_reply(void *ctx, uint64_t request, struct hf_slice message)
{
    struct app *app = ctx;

    hf_listener_reply(app->listener, request, message);
}

/* ---- callbacks ---- */

static void wake(void *ctx)
{
    struct app *app = ctx;

    hf_loop_wake_at(app->daemon.loop, hf_clock_ms());
}

/* Ends the loop when all is answered and no job runs. Returns when it wants to look again. */
static hf_ms stop_when_settled(struct app *app, hf_ms now)
{
    if (!app->settled && hf_commands_settled(app->commands) && hf_core_idle(app->core)) {
        app->settled = true;
        app->stop_by = now + STOP_LINGER_MS;
    }
    if (now < app->stop_by) {
        return now + STOP_LINGER_MS / 5;
    }
    if (!app->settled) {
        hf_log(HF_LEVEL_WARN, "core: leaving with work under way; the changelog has all of it");
    }
    hf_loop_exit(app->daemon.loop);
    return INT64_MAX;
}

static hf_ms on_tick(void *ctx, hf_ms now)
{
    struct app *app = ctx;
    hf_ms next = hf_core_on_tick(app->core, now);
    hf_ms waiting = hf_commands_run(app->commands);

    if (now >= app->reap_at) {
        hf_state_reap_readers(hf_core_state(app->core));
        app->reap_at = now + REAP_READERS_MS;
    }
    hf_life_on_tick(&app->life, app->daemon.loop, now);
    next = waiting < next ? waiting : next;
    next = app->reap_at < next ? app->reap_at : next;
    if (app->stopping) {
        hf_ms again = stop_when_settled(app, now);

        next = again < next ? again : next;
    }
    return next;
}

static bool on_request(void *ctx, uint64_t handle, struct hf_slice message, const char *peer)
{
    struct app *app = ctx;
    bool authentic;

    if (app->stopping) {
        hf_listener_reply(app->listener, handle, hf_slice_of(NULL, 0));
        return false;
    }
    authentic = hf_core_on_request(app->core, handle, message, peer);
    /* A REPORT may be what a WAIT waits for. */
    if (hf_commands_waiting(app->commands)) {
        wake(app);
    }
    return authentic;
}

static void on_requests_end(void *ctx)
{
    struct app *app = ctx;

    hf_core_requests_end(app->core);
}

static void on_wedged(void *ctx, const char *why)
{
    struct app *app = ctx;

    hf_log(HF_LEVEL_ERROR, "transport: stuck, starting this process anew reason=%s", why);
    hf_life_end(&app->life); /* the data has no part in this */
    hf_state_vouch(hf_core_state(app->core));
    const char *const option[] = {"--listen", "--resp"};
    const char *const value[] = {app->url, app->resp[0] == '\0' ? app->opt.resp : app->resp};
    hf_daemon_again(&app->daemon, option, value, 2);
}

static void on_stop(void *ctx)
{
    struct app *app = ctx;

    hf_notify("STOPPING=1");
    hf_log(HF_LEVEL_INFO, "core: stopping");
    app->stopping = true;
    app->stop_by = hf_clock_ms() + STOP_MS_MAX;
    hf_commands_stop(app->commands);
    hf_core_flush(app->core);
    wake(app);
}

/* What a stuck nng leads to, at an operator's word. */
static void on_again(void *ctx)
{
    on_wedged(ctx, "asked by SIGUSR2");
}

static void on_reload(void *ctx)
{
    (void)ctx;
    hf_log(HF_LEVEL_WARN, "core: nothing to reload; settings are read at start");
}

/* ---- start ---- */

static const char usage[] =
    "holdfast-core - takes writes, keeps them on disk, and streams them to edges\n\n"
    "usage: holdfast-core --data DIR [options]\n\n";

static enum hf_err open_key(struct app *app, struct hf_error *e)
{
    char path[320];

    if (hf_crypto_init() != HF_OK) {
        return hf_error_set(e, HF_IO, "libsodium does not start: no randomness?");
    }
    snprintf(path, sizeof path, "%s/%s", app->opt.data, app->opt.stream);
    bool stream_there = access(path, F_OK) == 0;
    snprintf(path, sizeof path, "%s/core.key", app->opt.data);
    if (stream_there && access(path, F_OK) != 0 && errno == ENOENT) {
        return hf_error_set(
            e, HF_NOTFOUND,
            "%s is missing, and the stream beside it belongs to it: put it back, or "
            "use another --data (RUNBOOK.md, The core does not start)",
            path);
    }
    return hf_keyfile_ensure(path, &app->id, NULL, e);
}

static enum hf_err refuse_damaged(const struct app *app, struct hf_error *e)
{
    return hf_error_wrap(e,
                         "the data in %s/%s is damaged and is left as it is; restore it from a "
                         "backup (RUNBOOK.md, The core does not start)",
                         app->opt.data, app->opt.stream);
}

static enum hf_err examine(struct app *app, struct hf_error *e)
{
    char marker[400];
    char state[400];

    snprintf(marker, sizeof marker, "%s/%s.running", app->opt.data, app->opt.stream);
    snprintf(state, sizeof state, "%s/%s/state", app->opt.data, app->opt.stream);
    enum hf_err err = hf_life_examine(&app->life, marker, state, e);
    return err == HF_OK ? err : refuse_damaged(app, e);
}

static enum hf_err open_link(struct app *app, struct hf_error *e)
{
    const struct core_options *o = &app->opt;
    const struct hf_listener_config c = {.stream_url = o->listen,
                                         .contexts = (uint32_t)o->contexts,
                                         .pipes_per_address = (uint32_t)o->pipes_per_address,
                                         .pipes_max = (uint32_t)o->pipes_max,
                                         .ctx = app,
                                         .on_request = on_request,
                                         .on_requests_end = on_requests_end,
                                         .on_wedged = on_wedged};
    const char *colon = strrchr(o->listen, ':');

    if (colon == NULL || strstr(o->listen, "://") == NULL || colon < strstr(o->listen, "://") + 3) {
        return hf_error_set(e, HF_ARG, "--listen %s: expected tcp://ADDR:PORT", o->listen);
    }
    if (hf_listener_open(hf_loop_uv(app->daemon.loop), &c, &app->listener, e) != HF_OK) {
        return hf_error_wrap(e, "--listen");
    }
    snprintf(app->url, sizeof app->url, "%.*s:%u", (int)(colon - o->listen), o->listen,
             hf_listener_port(app->listener));
    if (hf_url_control(app->url, app->control_url, sizeof app->control_url) != HF_OK) {
        return hf_error_set(e, HF_ARG, "--listen %s: no control port beside it", o->listen);
    }
    return HF_OK;
}

static void on_answered(void *ctx)
{
    struct app *app = ctx;

    hf_resp_send(app->server);
}

/* Whoever mistyped --data gets an empty core, which looks like one that lost its data. */
static void tell_created(const struct app *app, const char *dir)
{
    struct hf_core_status s;

    hf_core_status(app->core, &s);
    if (s.created) {
        hf_log(HF_LEVEL_INFO, "core: made a new stream dir=%s epoch=%llu", dir,
               (unsigned long long)s.epoch);
    }
}

static enum hf_err open_core(struct app *app, struct hf_error *e)
{
    const struct core_options *o = &app->opt;
    struct hf_world world = hf_daemon_world(&app->daemon);
    char dir[384];
    const struct hf_core_config c = {.dir = dir,
                                     .stream = o->stream,
                                     .url = o->advertise[0] != '\0' ? o->advertise : app->url,
                                     .mark_path = o->mark[0] != '\0' ? o->mark : NULL,
                                     .on_answered = on_answered,
                                     .log_bytes_max = o->log_bytes,
                                     .log_age_ms = o->log_age_ms,
                                     .tombstone_ms = o->tombstone_ms,
                                     .segment_bytes = o->segment_bytes,
                                     .map_bytes = o->map_bytes,
                                     .beacon_ms = o->beacon_ms,
                                     .commit_ms = o->commit_ms,
                                     .commit_changes = (uint32_t)o->commit_changes,
                                     .waiting_bytes_max = o->waiting_bytes,
                                     .delta_batches = o->delta_batches,
                                     .dictionary = o->dictionary,
                                     .scrub_ms = o->scrub_ms};

    world.publish = world_publish;
    world.reply = world_reply;
    snprintf(dir, sizeof dir, "%s/%s", o->data, o->stream);
    hf_life_begin(&app->life);
    enum hf_err err = hf_core_open(&c, &world, &app->id, &app->core, e);
    if (err == HF_OK) {
        tell_created(app, dir);
    }
    return err == HF_CORRUPT ? refuse_damaged(app, e) : err;
}

static hf_ms app_now(void *ctx)
{
    (void)ctx;
    return hf_clock_ms();
}

static enum hf_err open_clients(struct app *app, struct hf_error *e)
{
    const struct core_options *o = &app->opt;
    bool off = strcmp(o->resp, "off") == 0;
    const char *colon = strrchr(o->resp, ':');
    struct hf_commands_config commands = {.core = app->core,
                                          .stream = o->stream,
                                          .version = HF_VERSION,
                                          .ctx = app,
                                          .wake = wake,
                                          .now = app_now};
    char path[320];
    struct hf_resp_config c = {.tcp = off ? NULL : o->resp,
                               .unix_path = path,
                               .clients_max = (uint32_t)o->clients_max,
                               .output_bytes_max = o->output_bytes,
                               .client_user_bytes = hf_commands_client_bytes(),
                               .on_command = hf_commands_on_command,
                               .on_drained = hf_commands_on_drained,
                               .on_close = hf_commands_on_close};

    app->commands = hf_commands_new(&commands);
    if (app->commands == NULL) {
        return hf_error_set(e, HF_NOMEM, "out of memory");
    }
    snprintf(path, sizeof path, "%s/holdfast.sock", o->data);
    c.ctx = app->commands;
    if (hf_resp_open(hf_loop_uv(app->daemon.loop), &c, &app->server, e) != HF_OK) {
        return e->code;
    }
    hf_commands_set_ends(app->commands, app->server, app->listener);
    if (!off && colon != NULL) {
        snprintf(app->resp, sizeof app->resp, "%.*s:%u", (int)(colon - o->resp), o->resp,
                 hf_resp_port(app->server));
    }
    return HF_OK;
}

static void announce(const struct app *app)
{
    char hex[2 * HF_KEY_BYTES + 1];

    hf_hex(app->id.public_key.b, HF_KEY_BYTES, hex);
    printf("core key %s\nstream %s\ncontrol %s\n", hex, app->url, app->control_url);
    if (app->resp[0] != '\0') {
        printf("resp %s\n", app->resp);
    }
    puts("ready");
    fflush(stdout);
    hf_notify("READY=1");
}

int main(int argc, char **argv)
{
    static struct app app;
    struct hf_error e = {.code = HF_OK};
    struct hf_loop_config loop_config = {.ctx = &app,
                                         .pair_writer = true,
                                         .on_tick = on_tick,
                                         .on_stop = on_stop,
                                         .on_reload = on_reload,
                                         .on_again = on_again};

    app.daemon = (struct hf_daemon){.name = "holdfast-core", .argc = argc, .argv = argv};
    hf_daemon_options(&app.daemon, &core_options_table, &app.opt, &app.opt.example, usage);
    hf_log_init(app.opt.log);
    hf_daemon_harden();
    hf_lost_pages_outlive();
    loop_config.pool_threads = (uint32_t)app.opt.pool_threads;
    if (hf_daemon_data(&app.daemon, app.opt.data, "edge.key", &e) != HF_OK ||
        open_key(&app, &e) != HF_OK || examine(&app, &e) != HF_OK ||
        hf_loop_open(&loop_config, &app.daemon.loop, &e) != HF_OK || open_link(&app, &e) != HF_OK) {
        hf_daemon_die(&app.daemon, &e);
    }
    if (open_core(&app, &e) != HF_OK || open_clients(&app, &e) != HF_OK) {
        hf_life_undo(&app.life);
        hf_daemon_die(&app.daemon, &e);
    }
    announce(&app);
    wake(&app);
    hf_loop_run(app.daemon.loop);
    hf_resp_close(app.server);
    hf_state_vouch(hf_core_state(app.core)); /* all is committed, or the word is void */
    if (hf_commands_settled(app.commands) && hf_core_idle(app.core)) {
        hf_commands_free(app.commands);
        hf_core_close(app.core);
    }
    hf_life_end(&app.life);
    hf_log(HF_LEVEL_INFO, "core: stopped");
    _exit(0);
}
