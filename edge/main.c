/*
 * main.c - holdfast-edge: one libuv loop around the edge's driver, nng below it, RESP above it.
 *
 * Start: options, key, what to follow (a join token, a core's URL and key, or what DIR remembers),
 * store, link, local readers. It serves what it has from the first moment, with or without a link;
 * only when health.c doubts the store is that looked at first, and replaced if it is damaged.
 * Stop: SIGTERM; everything that counts is committed already, so the process leaves with _exit (nng
 * cannot be trusted to close). A wedged nng ends in a re-exec of the same command line: readers see
 * a reconnect.
 */
#include "edge/commands.h"
#include "edge/health.h"
#include "edge/import.h"
#include "edge/options.h"

#include "hf/daemon.h"
#include "hf/keyfile.h"
#include "hf/log.h"
#include "hf/loop.h"
#include "hf/lost_pages.h"
#include "hf/reach.h"
#include "hf/stdio.h"
#include "hf/transport.h"
#include "hf/version.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAP_READERS_MS 10000
/* Where a catch-up uses up the processors, readers and the writer come before the pool, which opens
 * and verifies: while the writer syncs, that has then something left to do. */
#define POOL_NICE 5
#define LOST_MAX HF_REPLICA_REQUESTS_MAX
struct app {
    struct hf_daemon daemon; /* first */
    struct edge_options opt;
    char dir[300]; /* of the stream, in opt.data */
    struct hf_dialer *dialer;
    struct hf_reach *reach;
    struct hf_edge *edge;
    struct hf_identity id;
    struct hf_token token;
    bool has_token;
    struct hf_key core_key;
    char core_url[HF_URL_MAX + 1];
    char control_url[HF_URL_MAX + 16];
    struct edge_commands commands;
    char resp[80];           /* in use; "off" */
    uint64_t lost[LOST_MAX]; /* requests that the transport refused: answered at the next tick */
    uint32_t lost_count;
    hf_ms reap_at;
    struct edge_health health;
};

/* ---- the world's part that is the transport's ---- */

static void world_expect(void *ctx, uint32_t requests)
{
    struct app *app = ctx;
    hf_dialer_expect(app->dialer, requests);
}

static void world_request(void *ctx, uint64_t id, bool data, struct hf_slice message,
                          hf_ms timeout_ms)
{
    struct app *app = ctx;
    enum hf_err err = data ? hf_dialer_fetch(app->dialer, id, message, timeout_ms)
                           : hf_dialer_request(app->dialer, id, message, timeout_ms);
    if (err != HF_OK) {
        HF_ASSERT(app->lost_count < LOST_MAX); /* the engine has no more open */
        app->lost[app->lost_count++] = id;
        hf_loop_wake_at(app->daemon.loop, hf_clock_ms() + 1);
    }
}

static void world_redial(void *ctx, enum hf_channel channel)
{
    struct app *app = ctx;
    hf_dialer_redial(app->dialer, channel);
}

static void world_subscribe(void *ctx, const struct hf_id *stream)
{
    static const enum hf_kind kinds[] = {HF_KIND_BATCH, HF_KIND_BEACON, HF_KIND_SURVEY};
    struct app *app = ctx;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        uint8_t bytes[HF_PREFIX_BYTES];
        struct hf_writer w;
        hf_writer_init(&w, bytes, sizeof(bytes));
        hf_prefix_write(&w, kinds[i], stream);
        enum hf_err err = hf_dialer_subscribe(app->dialer, hf_writer_bytes(&w));
        if (err != HF_OK) {
            hf_log(HF_LEVEL_ERROR, "transport: cannot subscribe reason=%s", hf_err_text(err));
        }
    }
}

/* ---- callbacks of the transport and the loop ---- */

static _Noreturn void start_anew(struct app *app)
{
    const char *const option[] = {"--resp"};
    const char *const value[] = {app->resp};
    hf_daemon_again(&app->daemon, option, value, 1);
}

static void world_note(void *ctx, enum hf_level level, const char *text)
{
    struct app *app = ctx;
    edge_health_note(&app->health, level);
    hf_log(level, "%s", text);
}

static void on_damaged(void *ctx)
{
    start_anew(ctx);
}

static hf_ms on_tick(void *ctx, hf_ms now)
{
    struct app *app = ctx;
    uint64_t lost[LOST_MAX]; /* what follows may add to the list */
    uint32_t count = app->lost_count;
    memcpy(lost, app->lost, count * sizeof(lost[0]));
    app->lost_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        hf_edge_on_reply(app->edge, lost[i], (struct hf_slice){0});
    }
    if (now >= app->reap_at) {
        hf_state_reap_readers(hf_edge_state(app->edge));
        app->reap_at = now + REAP_READERS_MS;
    }
    edge_health_on_tick(&app->health, now);
    hf_ms next = hf_edge_on_tick(app->edge, now);
    next = next < app->reap_at ? next : app->reap_at;
    return app->lost_count > 0 ? now + 1 : next;
}

static void on_link(void *ctx, enum hf_channel channel, bool up)
{
    struct app *app = ctx;
    hf_edge_on_link(app->edge, channel, up);
    hf_reach_link(app->reach, channel, up);
}

static void on_reason(void *ctx, const char *reason)
{
    (void)ctx;
    hf_log(HF_LEVEL_WARN, "edge: cannot reach the core reason=\"%s\"", reason);
}

static void on_message(void *ctx, struct hf_slice message)
{
    struct app *app = ctx;
    hf_edge_on_message(app->edge, message);
}

static void on_reply(void *ctx, uint64_t id, struct hf_slice message)
{
    struct app *app = ctx;
    hf_edge_on_reply(app->edge, id, message);
}

static void on_wedged(void *ctx, const char *why)
{
    struct app *app = ctx;
    hf_log(HF_LEVEL_ERROR, "transport: stuck, starting this process anew reason=%s", why);
    edge_health_end(&app->health); /* the store has no part in this */
    start_anew(app);
}

static void on_stop(void *ctx)
{
    struct app *app = ctx;
    hf_notify("STOPPING=1");
    hf_log(HF_LEVEL_INFO, "edge: stopping");
    hf_loop_exit(app->daemon.loop);
}

/* What a stuck nng leads to, at an operator's word. */
static void on_again(void *ctx)
{
    on_wedged(ctx, "asked by SIGUSR2");
}

static void on_reload(void *ctx)
{
    (void)ctx;
    hf_log(HF_LEVEL_WARN, "edge: nothing to reload; settings are read at start");
}

/* ---- what to follow ---- */

static void core_path(const struct app *app, char *path, size_t cap)
{
    snprintf(path, cap, "%s/core", app->opt.data);
}

/* DIR/core: "url keyhex\n" of the core that this directory follows. */
static enum hf_err recall(struct app *app, struct hf_error *e)
{
    char path[320];
    char hex[2 * HF_KEY_BYTES + 1];
    core_path(app, path, sizeof(path));
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return hf_error_set(e, HF_ARG,
                            "which core? give --join TOKEN (from `holdfast edge invite NAME` on "
                            "the core), or --core URL and --core-key KEY");
    }
    bool good = fscanf(f, "%255s %64s", app->core_url, hex) == 2 &&
                hf_unhex(hex, app->core_key.b, HF_KEY_BYTES) == HF_OK;
    fclose(f);
    return good ? HF_OK
                : hf_error_set(e, HF_MALFORMED,
                               "%s is damaged, which said what core this edge follows: give --core "
                               "URL and --core-key KEY once",
                               path);
}

static void remember(const struct app *app)
{
    char path[320];
    char temp[336];
    char hex[2 * HF_KEY_BYTES + 1];
    core_path(app, path, sizeof(path));
    snprintf(temp, sizeof(temp), "%s.new", path);
    hf_hex(app->core_key.b, HF_KEY_BYTES, hex);
    FILE *f = fopen(temp, "we");
    bool good = f != NULL && fprintf(f, "%s %s\n", app->core_url, hex) > 0 && fflush(f) == 0 &&
                fsync(fileno(f)) == 0;
    if (f != NULL) {
        good = fclose(f) == 0 && good;
    }
    if (!good || rename(temp, path) != 0 || !hf_sync_folder_of(path)) {
        hf_log(HF_LEVEL_WARN, "edge: cannot write %s: %s; give --core and --core-key next time",
               path, strerror(errno));
    }
}

static enum hf_err follow_token(struct app *app, struct hf_error *e)
{
    if (hf_token_parse(app->opt.join, &app->token, e) != HF_OK) {
        e->code = HF_ARG; /* it was typed: starting again does not help */
        return e->code;
    }
    if (app->opt.name[0] != '\0' && strcmp(app->opt.name, app->token.name) != 0) {
        return hf_error_set(e, HF_ARG, "the join token is for edge '%s', not '%s'", app->token.name,
                            app->opt.name);
    }
    app->has_token = true;
    app->core_key = app->token.root;
    snprintf(app->core_url, sizeof(app->core_url), "%s", app->token.url);
    return HF_OK;
}

static enum hf_err follow(struct app *app, struct hf_error *e)
{
    const struct edge_options *o = &app->opt;
    enum hf_err err = HF_OK;
    if (o->join[0] != '\0') {
        err = follow_token(app, e);
    } else if (o->core[0] != '\0' || o->core_key[0] != '\0') {
        if (o->core[0] == '\0' || o->core_key[0] == '\0') {
            return hf_error_set(e, HF_ARG, "--core and --core-key go together");
        }
        snprintf(app->core_url, sizeof(app->core_url), "%s", o->core);
        HF_ASSERT(hf_unhex(o->core_key, app->core_key.b, HF_KEY_BYTES) == HF_OK); /* a KEY */
    } else {
        err = recall(app, e);
    }
    if (err == HF_OK && hf_url_check(app->core_url, e) != HF_OK) {
        return hf_error_wrap(e, "core URL");
    }
    if (err == HF_OK &&
        hf_url_control(app->core_url, app->control_url, sizeof(app->control_url)) != HF_OK) {
        return hf_error_set(e, HF_ARG, "core URL '%s': expected tcp://ADDR:PORT", app->core_url);
    }
    return err;
}

/* ---- import ---- */

/* Instead of serving. Exit status 1 when the file was refused. */
static _Noreturn void import_and_exit(struct app *app)
{
    char key[320];
    struct hf_error e = {.code = HF_OK};
    snprintf(key, sizeof(key), "%s/edge.key", app->opt.data);
    struct edge_import c = {
        .dir = app->dir, .path = app->opt.import, .map_bytes = app->opt.map_bytes};
    if (app->opt.join[0] != '\0') {
        hf_error_set(&e, HF_ARG,
                     "joining needs the core: start once with --join where it can be reached, or "
                     "let it know this edge's key (holdfast edge add NAME KEY) and import without");
        hf_daemon_die(&app->daemon, &e);
    }
    if (hf_daemon_data(&app->daemon, app->opt.data, "core.key", &e) != HF_OK ||
        follow(app, &e) != HF_OK || hf_keyfile_ensure(key, &app->id, NULL, &e) != HF_OK) {
        hf_daemon_die(&app->daemon, &e);
    }
    c.core_key = app->core_key;
    if (edge_import_run(&c, &app->id, &e) != HF_OK) {
        hf_daemon_die(&app->daemon, &e);
    }
    remember(app);
    exit(hf_stdio_finish(app->daemon.name) ? 0 : 1);
}

/* ---- start ---- */

static const char usage[] =
    "holdfast-edge - keeps a copy of a core's data, serves it locally, survives bad links\n\n"
    "usage: holdfast-edge --data DIR (--join TOKEN | --core URL --core-key KEY) [options]\n\n"
    "       holdfast-edge --data DIR --import FILE\n\n"
    "After the first start --data DIR is enough: the directory remembers its core.\n\n";

static enum hf_err open_link(struct app *app, struct hf_error *e)
{
    struct hf_dialer_config c = {.stream_url = app->core_url,
                                 .control_url = app->control_url,
                                 .data_connections = (uint32_t)app->opt.catchup_connections,
                                 .ctx = app,
                                 .on_link = on_link,
                                 .on_message = on_message,
                                 .on_reply = on_reply,
                                 .on_wedged = on_wedged};
    struct hf_reach_config r = {.core_url = app->core_url, .ctx = app, .on_reason = on_reason};
    enum hf_err err = hf_reach_new(hf_loop_uv(app->daemon.loop), &r, &app->reach);
    if (err != HF_OK) {
        return hf_error_set(e, err, "%s: %s", app->core_url, hf_err_text(err));
    }
    return hf_dialer_open(hf_loop_uv(app->daemon.loop), &c, &app->dialer, e);
}

static enum hf_err open_edge(struct app *app, struct hf_error *e)
{
    struct hf_world world = hf_daemon_world(&app->daemon);
    world.note = world_note;
    world.request = world_request;
    world.expect = world_expect;
    world.redial = world_redial;
    world.subscribe = world_subscribe;
    struct hf_edge_config c = {.dir = app->dir,
                               .version = HF_VERSION,
                               .core_key = app->core_key,
                               .token = app->has_token ? &app->token : NULL,
                               .map_bytes = app->opt.map_bytes,
                               .scrub_ms = app->opt.scrub_ms};
    hf_replica_defaults(&c.replica);
    c.replica.beacon_ms = app->opt.beacon_ms;
    c.replica.catchup_share = (uint32_t)app->opt.catchup_share;
    c.replica.catchup_rate_max = app->opt.catchup_rate_max;
    c.replica.hold_bytes_max = app->opt.hold_bytes;
    /* A request that waits for its turn on a connection would time out there. */
    uint32_t places =
        app->opt.catchup_connections == 0 ? 1 : 2 * (uint32_t)app->opt.catchup_connections;
    c.replica.fetch_max = places < c.replica.fetch_max ? places : c.replica.fetch_max;
    return hf_edge_open(&c, &world, &app->id, &app->edge, e);
}

/* So badly damaged that it does not even open: no examination is needed to know it. */
static enum hf_err open_edge_or_anew(struct app *app, struct hf_error *e)
{
    edge_health_begin(&app->health);
    enum hf_err err = open_edge(app, e);
    if (err != HF_CORRUPT) {
        return err;
    }
    err = edge_health_set_aside(&app->health, e->text, e);
    return err == HF_OK ? open_edge(app, e) : err;
}

static enum hf_err open_readers(struct app *app, struct hf_error *e)
{
    char path[320];
    bool off = strcmp(app->opt.resp, "off") == 0;
    struct edge_commands *k = &app->commands;
    struct hf_kv_config kc = {.state = hf_edge_state(app->edge),
                              .server = "holdfast-edge",
                              .version = HF_VERSION,
                              .role = "replica"};
    k->edge = app->edge;
    k->core_url = app->core_url;
    k->version = HF_VERSION;
    k->started = hf_clock_ms();
    k->dialer = app->dialer;
    k->reach = app->reach;
    enum hf_err err = hf_kv_new(&kc, &k->kv);
    if (err != HF_OK) {
        return hf_error_set(e, err, "local commands: %s", hf_err_text(err));
    }
    snprintf(path, sizeof(path), "%s/holdfast.sock", app->opt.data);
    struct hf_resp_config c = {.tcp = off ? NULL : app->opt.resp,
                               .unix_path = path,
                               .clients_max = (uint32_t)app->opt.clients_max,
                               .ctx = k,
                               .on_command = edge_commands_on_command,
                               .on_drained = edge_commands_on_drained};
    err = hf_resp_open(hf_loop_uv(app->daemon.loop), &c, &k->server, e);
    const char *colon = strrchr(app->opt.resp, ':');
    if (err == HF_OK && !off && colon != NULL) { /* with the port in use */
        snprintf(app->resp, sizeof(app->resp), "%.*s:%u", (int)(colon - app->opt.resp),
                 app->opt.resp, hf_resp_port(k->server));
    } else {
        snprintf(app->resp, sizeof(app->resp), "off");
    }
    return err;
}

static void announce(const struct app *app)
{
    char hex[2 * HF_KEY_BYTES + 1];
    hf_hex(app->id.public_key.b, HF_KEY_BYTES, hex);
    printf("edge key %s\ncore %s\n", hex, app->core_url);
    if (strcmp(app->resp, "off") != 0) {
        printf("resp %s\n", app->resp);
    }
    printf("ready\n");
    fflush(stdout);
    hf_notify("READY=1");
}

int main(int argc, char **argv)
{
    static struct app app;
    struct hf_error e = {.code = HF_OK};
    char key[320];
    app.daemon = (struct hf_daemon){.name = "holdfast-edge", .argc = argc, .argv = argv};
    hf_daemon_options(&app.daemon, &edge_options_table, &app.opt, &app.opt.example, usage);
    hf_log_init(app.opt.log);
    hf_daemon_harden();
    hf_lost_pages_outlive();
    snprintf(key, sizeof(key), "%s/edge.key", app.opt.data);
    snprintf(app.dir, sizeof(app.dir), "%s/main", app.opt.data);
    app.health = (struct edge_health){.dir = app.dir, .ctx = &app, .on_damaged = on_damaged};
    struct hf_loop_config lc = {.ctx = &app,
                                .pool_nice = POOL_NICE,
                                .on_tick = on_tick,
                                .on_stop = on_stop,
                                .on_reload = on_reload,
                                .on_again = on_again};
    if (hf_crypto_init() != HF_OK) {
        hf_error_set(&e, HF_IO, "libsodium does not start: no randomness?");
        hf_daemon_die(&app.daemon, &e);
    }
    if (app.opt.import[0] != '\0') {
        import_and_exit(&app);
    }
    if (hf_daemon_data(&app.daemon, app.opt.data, "core.key", &e) != HF_OK ||
        follow(&app, &e) != HF_OK || hf_keyfile_ensure(key, &app.id, NULL, &e) != HF_OK ||
        edge_health_examine(&app.health, &e) != HF_OK ||
        hf_loop_open(&lc, &app.daemon.loop, &e) != HF_OK || open_link(&app, &e) != HF_OK) {
        hf_daemon_die(&app.daemon, &e);
    }
    if (open_edge_or_anew(&app, &e) != HF_OK || open_readers(&app, &e) != HF_OK) {
        edge_health_undo(&app.health);
        hf_daemon_die(&app.daemon, &e);
    }
    edge_health_watch(&app.health, app.daemon.loop, app.edge);
    remember(&app);
    announce(&app);
    hf_loop_wake_at(app.daemon.loop, hf_clock_ms());
    hf_loop_run(app.daemon.loop);
    edge_health_end(&app.health);
    _exit(0);
}
