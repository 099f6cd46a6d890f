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
#include "hf/lost_pages.h"
#include "hf/number.h"
#include "hf/reach.h"
#include "hf/transport.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static void text(struct hf_resp_client *c, const char *s)
{
    hf_resp_bulk(c, hf_slice_str(s));
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
            good = hf_number_parse(argv[i + 1], 0, INT64_MAX, &o->maxage);
            o->has_maxage = true;
        } else if (hf_kv_is(argv[i], "MINSEQ")) {
            good = hf_number_parse(argv[i + 1], 0, INT64_MAX, &o->minseq);
        } else {
            good = false;
        }
    }
    if (!good) {
        hf_resp_error(c, "ERR syntax error: HF.GET key [MAXAGE ms] [MINSEQ n]");
    }
    return good;
}

/* How old the state is, and then a view of it. One that another connection opened in this turn may
 * be older than what the age was told of (G8). */
static struct hf_view *view_and_status(struct edge_commands *k, struct hf_resp_client *c,
                                       struct hf_replica_status *s)
{
    hf_edge_status(k->edge, clock_up(), s);
    hf_kv_drained(k->kv);
    return hf_kv_view(k->kv, c);
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
    struct hf_view *v = view_and_status(k, c, &s);
    if (v == NULL) {
        return;
    }
    hf_view_applied(v, &applied);
    if (applied.at.seq < o.minseq) {
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
    enum hf_err err = hf_kv_get(k->kv, c, v, argv[1], &found);
    if (err != HF_OK && err != HF_NOTFOUND) {
        return;
    }
    if (!hf_resp_fits(c, found.value.len + 256)) {
        return;
    }
    hf_resp_array(c, 4);
    if (err == HF_OK) {
        hf_resp_bulk(c, found.value);
    } else {
        hf_resp_nil(c);
    }
    hf_resp_integer(c, (int64_t)applied.at.seq);
    hf_resp_number(c, s.staleness_ms);
    text(c, hf_replica_state_name(s.state));
}

/* ---- HF.STATUS: columns in PROTOCOL.md section 10 ---- */

static void run_status(struct edge_commands *k, struct hf_resp_client *c)
{
    struct hf_replica_status s;
    struct hf_edge_info info;
    struct hf_applied applied;
    char hex[2 * HF_HASH_BYTES + 1];
    struct hf_view *v = view_and_status(k, c, &s);
    if (v == NULL) {
        return;
    }
    hf_edge_info(k->edge, &info);
    hf_view_applied(v, &applied);
    hf_resp_array(c, 18);
    text(c, k->version);
    text(c, info.genesis.name);
    hf_resp_number(c, info.has_genesis ? info.genesis.epoch : UINT64_MAX);
    hf_hex(applied.at.epoch_id.b, HF_ID_BYTES, hex);
    text(c, hex);
    /* One that is still joining at batch 0 has not been told of any. */
    bool told = s.state != HF_REPLICA_JOINING || s.head > 0;
    hf_resp_number(c, told ? s.head : UINT64_MAX);
    hf_resp_integer(c, (int64_t)applied.at.seq);
    hf_resp_integer(c, (int64_t)s.received);
    hf_hex(applied.at.digest.b, HF_HASH_BYTES, hex);
    text(c, hex);
    text(c, hf_replica_state_name(s.state));
    hf_resp_integer(c, s.holes_total);
    hf_resp_number(c, s.staleness_ms);
    hf_resp_integer(c, (int64_t)applied.live_count);
    text(c, hf_store_state_name(s.store_state));
    hf_resp_integer(c, (int64_t)s.transfer_done);
    hf_resp_integer(c, (int64_t)s.transfer_total);
    text(c, k->core_url);
    text(c, info.name);
    text(c, hf_reach_reason(k->reach));
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
};

__attribute__((format(printf, 2, 3))) static void line(FILE *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    fputs("\r\n", out);
}

static void info_server(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    line(out, "holdfast_version:%s", i->k->version);
    line(out, "redis_mode:standalone");
    line(out, "uptime_in_seconds:%lld", (long long)(hf_clock_ms() - i->k->started) / 1000);
}

static void info_clients(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    line(out, "connected_clients:%u", hf_resp_clients(i->k->server));
}

static void info_stats(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    line(out, "total_commands_processed:%" PRIu64, i->k->served);
}

static void info_replication(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    const struct hf_replica_status *s = &i->status;
    const char *url = i->k->core_url;
    const char *authority = strstr(url, "://");
    authority = authority == NULL ? url : authority + 3;
    const char *colon = strrchr(authority, ':');
    int host = colon == NULL ? (int)strlen(authority) : (int)(colon - authority);
    bool up = s->link_up[HF_CHANNEL_STREAM] && s->state != HF_REPLICA_CUT_OFF;
    line(out, "role:slave");
    line(out, "master_host:%.*s", host, authority);
    line(out, "master_port:%s", colon == NULL ? "" : colon + 1);
    line(out, "master_link_status:%s", up ? "up" : "down");
    line(out, "master_last_io_seconds_ago:%lld",
         s->last_heard_ms < 0 ? -1LL : (long long)s->last_heard_ms / 1000);
    line(out, "master_sync_in_progress:%d", s->state == HF_REPLICA_CATCHING_UP);
    line(out, "slave_read_repl_offset:%" PRIu64, s->received);
    line(out, "slave_repl_offset:%" PRIu64, s->applied);
    line(out, "slave_read_only:1");
    line(out, "connected_slaves:0");
    line(out, "master_repl_offset:%" PRIu64, s->head);
}

static void info_keyspace(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    struct hf_applied applied;
    hf_view_applied(i->view, &applied);
    line(out, "db0:keys=%" PRIu64 ",expires=0,avg_ttl=0", applied.live_count);
}

static void info_link(const struct hf_dialer *d, FILE *out)
{
    struct hf_dialer_counts n;
    hf_dialer_counts(d, &n);
    line(out, "stream_messages:%" PRIu64, n.messages);
    line(out, "stream_messages_lost:%" PRIu64, n.dropped);
    line(out, "data_connections:%u", n.data_links);
}

static void info_holdfast(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    const struct hf_replica_status *s = &i->status;
    struct hf_edge_info info;
    hf_edge_info(i->k->edge, &info);
    line(out, "state:%s", hf_replica_state_name(s->state));
    line(out, "name:%s", info.name);
    if (s->staleness_ms == UINT64_MAX) {
        line(out, "staleness_ms:unknown");
    } else {
        line(out, "staleness_ms:%" PRIu64, s->staleness_ms);
    }
    line(out, "store_state:%s", hf_store_state_name(s->store_state));
    line(out, "lost_pages:%" PRIu64, hf_lost_pages_count());
    line(out, "transfer_done:%" PRIu64, s->transfer_done);
    line(out, "transfer_total:%" PRIu64, s->transfer_total);
    if (s->transfer_eta_ms != UINT64_MAX) {
        line(out, "transfer_eta_s:%" PRIu64, s->transfer_eta_ms / 1000);
    }
    line(out, "holes:%u", s->holes_total);
    line(out, "held_frames:%" PRIu64, s->held_now);
    line(out, "held_bytes:%" PRIu64, s->held_bytes);
    line(out, "received_bytes:%" PRIu64, info.received_bytes);
    line(out, "applied_changes:%" PRIu64, info.applied_changes);
    line(out, "duplicates:%" PRIu64, s->duplicates);
    line(out, "bad_frames:%" PRIu64, s->bad_frames);
    line(out, "dropped_messages:%" PRIu64, info.dropped);
    line(out, "requests:%" PRIu64, s->requests);
    line(out, "timeouts:%" PRIu64, s->timeouts);
    line(out, "redials:%" PRIu64, s->redials);
    info_link(i->k->dialer, out);
    line(out, "scrub_position:%u.%u", info.scrub.permille / 10, info.scrub.permille % 10);
    line(out, "scrub_records:%" PRIu64, info.scrub.records);
    line(out, "scrub_errors:%" PRIu64, info.scrub.errors);
    line(out, "scrub_rounds:%" PRIu64, info.scrub.rounds);
    line(out, "repairs:%" PRIu64, s->repair.repairs);
    line(out, "repaired_ranges:%" PRIu64, s->repair.ranges_healed);
}

static hf_kv_info_print *const sections[HF_INFO_SECTIONS] = {
    [HF_INFO_SERVER] = info_server,           [HF_INFO_CLIENTS] = info_clients,
    [HF_INFO_MEMORY] = hf_kv_info_memory,     [HF_INFO_STATS] = info_stats,
    [HF_INFO_REPLICATION] = info_replication, [HF_INFO_KEYSPACE] = info_keyspace,
    [HF_INFO_HOLDFAST] = info_holdfast,
};

static void run_info(struct edge_commands *k, struct hf_resp_client *c, const struct hf_slice *argv,
                     size_t argc)
{
    struct info i = {.k = k};
    i.view = view_and_status(k, c, &i.status);
    if (i.view != NULL) {
        hf_kv_info(c, argv, argc, sections, &i);
    }
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

static void run(struct edge_commands *k, struct hf_resp_client *c, const struct hf_slice *argv,
                size_t argc)
{
    if (!hf_edge_loaded(k->edge) && (hf_kv_is_read(argv[0]) || hf_kv_is(argv[0], "HF.GET"))) {
        const char *reason = hf_reach_reason(k->reach);
        hf_resp_error(c, "LOADING this edge has not received all that the core holds yet%s%s",
                      reason[0] != '\0' ? "; it cannot reach " : "", reason);
        return;
    }
    if (hf_kv_read(k->kv, c, argv, argc) || hf_kv_connection(k->kv, c, argv, argc)) {
        return;
    }
    if (hf_kv_is(argv[0], "HF.GET") && argc >= 2) {
        run_get(k, c, argv, argc);
    } else if (hf_kv_is(argv[0], "HF.STATUS") && argc == 1) {
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
    } else if (hf_kv_is(argv[0], "HF.GET") || hf_kv_is(argv[0], "HF.REPAIR") ||
               hf_kv_is(argv[0], "HF.STATUS")) {
        hf_kv_arity(c, argv[0]);
    } else {
        hf_kv_unknown(c, argv[0]);
    }
}

void edge_commands_on_command(void *ctx, struct hf_resp_client *c, const struct hf_slice *argv,
                              size_t argc)
{
    struct edge_commands *k = ctx;
    uint64_t damaged = hf_kv_damaged(k->kv);
    k->served++;
    run(k, c, argv, argc);
    if (hf_kv_damaged(k->kv) > damaged) {
        hf_edge_repair(k->edge, true);
    }
}

void edge_commands_on_drained(void *ctx)
{
    struct edge_commands *k = ctx;
    hf_kv_drained(k->kv);
}
