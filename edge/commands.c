/*
 * commands.c - the edge's RESP commands: reads, HF.GET, HF.STATUS, HF.REPAIR, INFO; writes answer
 * READONLY.
 *
 * A record that turns out damaged is not shown, and a repair begins.
 *
 * HF.GET promises what its options ask for or says why not: STALE when the staleness bound is above
 * MAXAGE or unknown (G8), NOTYET when fewer than MINSEQ batches are applied (G7). The sequence
 * number in its reply is that of the state the value was read from. An edge that began with nothing
 * answers every read with LOADING until it has what the core had when it first answered: a key that
 * has not come yet must not look like one that does not exist.
 */
#include "edge/commands.h"

#include "hf/loop.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static void text(struct hf_resp_client *c, const char *s)
{
    hf_resp_bulk(c, hf_slice_str(s));
}

static void number_or_nil(struct hf_resp_client *c, uint64_t n)
{
    if (n == UINT64_MAX) {
        hf_resp_nil(c);
    } else {
        hf_resp_integer(c, (int64_t)n);
    }
}

static const char *store_state_name(enum hf_store_state s)
{
    switch (s) {
    case HF_STORE_OK:
        return "ok";
    case HF_STORE_FULL:
        return "full";
    case HF_STORE_FAILED:
        return "failed";
    case HF_STORE_DIVERGED:
        return "diverged";
    }
    HF_UNREACHABLE();
}

/* The clock rounds down, and so would an age. As a bound it may not, so the millisecond that has
 * begun counts (G8). */
static hf_ms clock_up(void)
{
    return hf_clock_ms() + 1;
}

/* ---- HF.GET ---- */

struct hf_get {
    uint64_t maxage;
    uint64_t minseq;
    bool has_maxage;
};

static bool get_options(struct hf_resp_client *c, const struct hf_slice *argv, size_t argc,
                        struct hf_get *o)
{
    bool good = argc % 2 == 0;
    for (size_t i = 2; good && i + 1 < argc; i += 2) {
        if (hf_kv_is(argv[i], "MAXAGE")) {
            good = hf_kv_number(argv[i + 1], INT64_MAX, &o->maxage);
            o->has_maxage = true;
        } else if (hf_kv_is(argv[i], "MINSEQ")) {
            good = hf_kv_number(argv[i + 1], INT64_MAX, &o->minseq);
        } else {
            good = false;
        }
    }
    if (!good) {
        hf_resp_error(c, "ERR syntax error: HF.GET key [MAXAGE ms] [MINSEQ n]");
    }
    return good;
}

static void run_get(struct edge_commands *k, struct hf_resp_client *c, const struct hf_slice *argv,
                    size_t argc)
{
    struct hf_get o = {0};
    struct hf_replica_status s;
    struct hf_applied applied;
    struct hf_stored found = {0};
    if (!get_options(c, argv, argc, &o)) {
        return;
    }
    struct hf_view *v = hf_kv_view(k->kv, c);
    if (v == NULL) {
        return;
    }
    hf_edge_status(k->edge, clock_up(), &s);
    enum hf_err err = hf_view_applied(v, &applied);
    if (err == HF_OK && applied.at.seq < o.minseq) {
        hf_resp_error(c, "NOTYET applied %" PRIu64 " of %" PRIu64, applied.at.seq, o.minseq);
        return;
    }
    if (o.has_maxage && s.staleness_ms == UINT64_MAX) {
        hf_resp_error(c, "STALE the age is unknown: the core has not answered since the start");
        return;
    }
    if (o.has_maxage && s.staleness_ms > o.maxage) {
        hf_resp_error(c, "STALE at most %" PRIu64 " ms old, asked for %" PRIu64, s.staleness_ms,
                      o.maxage);
        return;
    }
    bool possible = argv[1].len > 0 && argv[1].len <= HF_STORE_KEY_MAX;
    if (err == HF_OK) {
        err = possible ? hf_view_get(v, argv[1], false, &found) : HF_NOTFOUND;
    }
    if (err == HF_CORRUPT) {
        hf_edge_repair(k->edge, true);
    }
    if (err != HF_OK && err != HF_NOTFOUND) {
        hf_resp_error(c, "%s %s", err == HF_CORRUPT ? "CORRUPT" : "ERR store:", hf_err_text(err));
        return;
    }
    hf_resp_array(c, 4);
    if (err == HF_OK) {
        hf_resp_bulk(c, found.value);
    } else {
        hf_resp_nil(c);
    }
    hf_resp_integer(c, (int64_t)applied.at.seq);
    number_or_nil(c, s.staleness_ms);
    text(c, hf_replica_state_name(s.state));
}

/* ---- HF.STATUS: columns in PROTOCOL.md section 10 ---- */

static void run_status(struct edge_commands *k, struct hf_resp_client *c)
{
    struct hf_replica_status s;
    struct hf_edge_info info;
    struct hf_applied applied = {0};
    char hex[2 * HF_HASH_BYTES + 1];
    struct hf_view *v = hf_kv_view(k->kv, c);
    if (v == NULL) {
        return;
    }
    hf_edge_status(k->edge, clock_up(), &s);
    hf_edge_info(k->edge, &info);
    if (hf_view_applied(v, &applied) != HF_OK) {
        applied.at = info.position;
    }
    hf_resp_array(c, 17);
    text(c, k->version);
    text(c, info.genesis.name);
    hf_resp_integer(c, (int64_t)info.genesis.epoch);
    hf_hex(applied.at.epoch_id.b, HF_ID_BYTES, hex);
    text(c, hex);
    hf_resp_integer(c, (int64_t)s.head);
    hf_resp_integer(c, (int64_t)applied.at.seq);
    hf_resp_integer(c, (int64_t)s.received);
    hf_hex(applied.at.digest.b, HF_HASH_BYTES, hex);
    text(c, hex);
    text(c, hf_replica_state_name(s.state));
    hf_resp_integer(c, s.holes_total);
    number_or_nil(c, s.staleness_ms);
    hf_resp_integer(c, (int64_t)applied.live_count);
    text(c, store_state_name(s.store_state));
    hf_resp_integer(c, (int64_t)s.transfer_done);
    hf_resp_integer(c, (int64_t)s.transfer_total);
    text(c, k->core_url);
    text(c, info.name);
}

/* ---- HF.REPAIR: PROTOCOL.md section 10 ---- */

/* Begins one, unless it is only asked for STATUS; answers how the newest one stands. */
static void run_repair(struct edge_commands *k, struct hf_resp_client *c,
                       const struct hf_slice *argv, size_t argc)
{
    struct hf_replica_status s;
    if (argc == 1) {
        hf_edge_repair(k->edge, false);
    } else if (!hf_kv_is(argv[1], "STATUS")) {
        hf_resp_error(c, "ERR syntax error: HF.REPAIR [STATUS]");
        return;
    }
    hf_edge_status(k->edge, clock_up(), &s);
    hf_resp_array(c, 6);
    text(c, hf_repair_result_name(s.repair.result));
    hf_resp_integer(c, (int64_t)s.repair.ended);
    hf_resp_integer(c, (int64_t)s.repair.compared);
    hf_resp_integer(c, (int64_t)s.repair.ranges);
    hf_resp_integer(c, (int64_t)s.repair.records);
    hf_resp_integer(c, (int64_t)s.repair.bytes);
}

/* ---- INFO ---- */

struct info {
    struct edge_commands *k;
    struct hf_view *view;
    struct hf_replica_status status;
    char text[4096];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void line(struct info *i, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(i->text + i->len, sizeof(i->text) - i->len, format, args);
    va_end(args);
    HF_ASSERT(n >= 0 && i->len + (size_t)n + 2 < sizeof(i->text));
    i->len += (size_t)n;
    i->text[i->len++] = '\r';
    i->text[i->len++] = '\n';
}

static void info_server(struct info *i)
{
    line(i, "holdfast_version:%s", i->k->version);
    line(i, "redis_mode:standalone");
    line(i, "uptime_in_seconds:%lld", (long long)(hf_clock_ms() - i->k->started) / 1000);
}

static void info_clients(struct info *i)
{
    line(i, "connected_clients:%u", hf_resp_clients(i->k->server));
}

static void info_memory(struct info *i)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    line(i, "used_memory_peak_rss:%ld", usage.ru_maxrss * 1024);
}

static void info_stats(struct info *i)
{
    line(i, "total_commands_processed:%" PRIu64, i->k->served);
}

static void info_replication(struct info *i)
{
    const struct hf_replica_status *s = &i->status;
    const char *url = i->k->core_url;
    const char *authority = strstr(url, "://");
    authority = authority == NULL ? url : authority + 3;
    const char *colon = strrchr(authority, ':');
    int host = colon == NULL ? (int)strlen(authority) : (int)(colon - authority);
    bool up = s->link_up[HF_CHANNEL_STREAM] && s->state != HF_REPLICA_CUT_OFF;
    line(i, "role:slave");
    line(i, "master_host:%.*s", host, authority);
    line(i, "master_port:%s", colon == NULL ? "" : colon + 1);
    line(i, "master_link_status:%s", up ? "up" : "down");
    line(i, "master_last_io_seconds_ago:%lld",
         s->last_heard_ms < 0 ? -1LL : (long long)s->last_heard_ms / 1000);
    line(i, "master_sync_in_progress:%d", s->state == HF_REPLICA_CATCHING_UP);
    line(i, "slave_read_repl_offset:%" PRIu64, s->received);
    line(i, "slave_repl_offset:%" PRIu64, s->applied);
    line(i, "slave_read_only:1");
    line(i, "connected_slaves:0");
    line(i, "master_repl_offset:%" PRIu64, s->head);
}

static void info_keyspace(struct info *i)
{
    struct hf_applied applied;
    if (hf_view_applied(i->view, &applied) == HF_OK) {
        line(i, "db0:keys=%" PRIu64 ",expires=0,avg_ttl=0", applied.live_count);
    }
}

static void info_holdfast(struct info *i)
{
    const struct hf_replica_status *s = &i->status;
    struct hf_edge_info info;
    hf_edge_info(i->k->edge, &info);
    line(i, "state:%s", hf_replica_state_name(s->state));
    line(i, "name:%s", info.name);
    if (s->staleness_ms == UINT64_MAX) {
        line(i, "staleness_ms:unknown");
    } else {
        line(i, "staleness_ms:%" PRIu64, s->staleness_ms);
    }
    line(i, "store_state:%s", store_state_name(s->store_state));
    line(i, "transfer_done:%" PRIu64, s->transfer_done);
    line(i, "transfer_total:%" PRIu64, s->transfer_total);
    if (s->transfer_eta_ms != UINT64_MAX) {
        line(i, "transfer_eta_s:%" PRIu64, s->transfer_eta_ms / 1000);
    }
    line(i, "holes:%u", s->holes_total);
    line(i, "held_frames:%" PRIu64, s->held_now);
    line(i, "held_bytes:%" PRIu64, s->held_bytes);
    line(i, "received_bytes:%" PRIu64, info.received_bytes);
    line(i, "applied_changes:%" PRIu64, info.applied_changes);
    line(i, "duplicates:%" PRIu64, s->duplicates);
    line(i, "bad_frames:%" PRIu64, s->bad_frames);
    line(i, "dropped_messages:%" PRIu64, info.dropped);
    line(i, "requests:%" PRIu64, s->requests);
    line(i, "timeouts:%" PRIu64, s->timeouts);
    line(i, "redials:%" PRIu64, s->redials);
    line(i, "scrub_position:%u.%u", info.scrub.permille / 10, info.scrub.permille % 10);
    line(i, "scrub_records:%" PRIu64, info.scrub.records);
    line(i, "scrub_errors:%" PRIu64, info.scrub.errors);
    line(i, "scrub_rounds:%" PRIu64, info.scrub.rounds);
    line(i, "repairs:%" PRIu64, s->repair.repairs);
    line(i, "repaired_ranges:%" PRIu64, s->repair.ranges_healed);
}

static const struct {
    const char *title, *name;
    void (*print)(struct info *i);
} sections[] = {
    {"Server", "SERVER", info_server},
    {"Clients", "CLIENTS", info_clients},
    {"Memory", "MEMORY", info_memory},
    {"Stats", "STATS", info_stats},
    {"Replication", "REPLICATION", info_replication},
    {"Keyspace", "KEYSPACE", info_keyspace},
    {"Holdfast", "HOLDFAST", info_holdfast},
};

static void run_info(struct edge_commands *k, struct hf_resp_client *c, const struct hf_slice *argv,
                     size_t argc)
{
    struct info i = {.k = k, .view = hf_kv_view(k->kv, c)};
    if (i.view == NULL) {
        return;
    }
    hf_edge_status(k->edge, clock_up(), &i.status);
    for (size_t n = 0; n < sizeof(sections) / sizeof(sections[0]); n++) {
        if (hf_kv_section(argv, argc, sections[n].name)) {
            line(&i, "%s# %s", i.len > 0 ? "\r\n" : "", sections[n].title);
            sections[n].print(&i);
        }
    }
    hf_resp_bulk(c, hf_slice_of(i.text, i.len));
}

/* ---- dispatch ---- */

static bool is_write(struct hf_slice name)
{
    static const char *const writes[] = {
        "SET",    "DEL",   "UNLINK", "MSET",    "SETNX",    "SETEX",   "PSETEX",   "MSETNX",
        "APPEND", "INCR",  "DECR",   "INCRBY",  "DECRBY",   "GETSET",  "GETDEL",   "EXPIRE",
        "RENAME", "MULTI", "EXEC",   "DISCARD", "FLUSHALL", "FLUSHDB", "HF.APPLY",
    };
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        if (hf_kv_is(name, writes[i])) {
            return true;
        }
    }
    return false;
}

void edge_commands_on_command(void *ctx, struct hf_resp_client *c, const struct hf_slice *argv,
                              size_t argc)
{
    struct edge_commands *k = ctx;
    k->served++;
    if (!hf_edge_loaded(k->edge) && (hf_kv_is_read(argv[0]) || hf_kv_is(argv[0], "HF.GET"))) {
        hf_resp_error(c, "LOADING this edge has not received all that the core holds yet");
        return;
    }
    uint64_t damaged = hf_kv_damaged(k->kv);
    if (hf_kv_read(k->kv, c, argv, argc)) {
        if (hf_kv_damaged(k->kv) > damaged) {
            hf_edge_repair(k->edge, true);
        }
        return;
    }
    if (hf_kv_connection(k->kv, c, argv, argc)) {
        return;
    }
    if (hf_kv_is(argv[0], "HF.GET") && argc >= 2) {
        run_get(k, c, argv, argc);
    } else if (hf_kv_is(argv[0], "HF.STATUS")) {
        run_status(k, c);
    } else if (hf_kv_is(argv[0], "HF.REPAIR") && argc <= 2) {
        run_repair(k, c, argv, argc);
    } else if (hf_kv_is(argv[0], "INFO")) {
        run_info(k, c, argv, argc);
    } else if (hf_kv_is(argv[0], "HF.EDGE") || hf_kv_is(argv[0], "HF.CARRY")) {
        hf_resp_error(
            c, "READONLY this is an edge; the core knows the edges: ask it, with its --data");
    } else if (is_write(argv[0])) {
        hf_resp_error(c, "READONLY You can't write against an edge; write to the core");
    } else if (hf_kv_is(argv[0], "HF.GET") || hf_kv_is(argv[0], "HF.REPAIR")) {
        hf_kv_arity(c, argv[0]);
    } else {
        hf_kv_unknown(c, argv[0]);
    }
}

void edge_commands_on_drained(void *ctx)
{
    struct edge_commands *k = ctx;
    hf_kv_drained(k->kv);
}
