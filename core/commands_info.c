/*
 * commands_info.c - INFO: the core in the words that Redis' operators and their agents know.
 *
 * Field names of the sections server to keyspace are Redis' own, with holdfast's meaning where it
 * has one: an offset is a sequence number, a slave is an enrolled edge. The section holdfast has
 * the rest. What is not known is left out, so that no agent takes a 0 for an answer.
 *
 * It must not make numbers: hf_core_status, _edge and _counters do. Next: commands_admin.c.
 */
#include "core/commands_impl.h"

#include "hf/lost_pages.h"
#include "hf/transport.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

struct info {
    struct hf_call *call;
    struct hf_core_status status;
    hf_ms now;
};

static void info_server(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    const struct hf_commands *o = i->call->owner;
    const struct hf_commands_config *c = &o->config;

    /* Client libraries compare redis_version to know what a server can do: RESP3 and UNLINK need 6.
     */
    fprintf(out,
            "redis_version:7.0.0\r\nredis_mode:standalone\r\nholdfast_version:%s\r\n"
            "process_id:%ld\r\ntcp_port:%u\r\nuptime_in_seconds:%" PRId64 "\r\nstream:%s\r\n",
            c->version, (long)getpid(), o->server != NULL ? hf_resp_port(o->server) : 0,
            (i->now - o->started) / 1000, c->stream);
}

static void info_clients(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    const struct hf_commands *o = i->call->owner;

    fprintf(out, "connected_clients:%" PRIu32 "\r\nblocked_clients:%" PRIu32 "\r\n",
            o->server != NULL ? hf_resp_clients(o->server) : 0, o->waits);
}

static void info_stats(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    const struct hf_commands *o = i->call->owner;

    fprintf(out,
            "total_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
            "\r\ntotal_error_replies:%" PRIu64 "\r\nwrites_in_flight:%" PRIu32 "\r\n",
            o->session_count, o->command_count, o->refused_count, o->writes_open);
}

static void info_slave(FILE *out, uint32_t n, const struct hf_edge_row *row)
{
    fprintf(out, "slave%" PRIu32 ":name=%s,state=%s", n, row->name, hf_edge_state_name(row->state));
    if (row->applied != UINT64_MAX) {
        fprintf(out, ",offset=%" PRIu64, row->applied);
    }
    if (row->lag_ms != UINT64_MAX) {
        fprintf(out, ",lag=%" PRIu64, row->lag_ms / 1000);
    }
    fputs("\r\n", out);
}

static void info_replication(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    struct hf_core *core = i->call->owner->config.core;
    uint32_t connected = 0;
    struct hf_edge_row row;

    for (uint32_t n = 0; n < i->status.edge_count; n++) {
        hf_core_edge(core, n, i->now, &row);
        connected += row.state == HF_EDGE_LIVE || row.state == HF_EDGE_LAGGING ||
                     row.state == HF_EDGE_CATCHING_UP;
    }
    fprintf(out, "role:master\r\nconnected_slaves:%" PRIu32 "\r\n", connected);
    for (uint32_t n = 0; n < i->status.edge_count; n++) {
        hf_core_edge(core, n, i->now, &row);
        info_slave(out, n, &row);
    }
    fprintf(out, "master_repl_offset:%" PRIu64 "\r\n", i->status.head);
}

static void info_keyspace(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    if (i->status.live_count > 0) {
        fprintf(out, "db0:keys=%" PRIu64 ",expires=0,avg_ttl=0\r\n", i->status.live_count);
    }
}

/* Counters come as lines of "name value". */
static void print_counters(const struct info *i, FILE *out)
{
    char text[8192];
    size_t len = hf_core_counters(i->call->owner->config.core, text, sizeof text - 1);
    char *rest = text, *line;

    text[len < sizeof text ? len : sizeof text - 1] = '\0';
    while ((line = strsep(&rest, "\n")) != NULL) {
        char *blank = strchr(line, ' ');

        if (blank == NULL) {
            continue;
        }
        *blank = ':';
        fprintf(out, "%s\r\n", line);
    }
}

static void print_connections(const struct hf_listener *l, FILE *out)
{
    struct hf_listener_counts n;

    if (l == NULL) {
        return;
    }
    hf_listener_counts(l, &n);
    fprintf(out,
            "connections:%" PRIu32 "\r\nrefused_connections:%" PRIu64 "\r\nrefused_streams:%" PRIu64
            "\r\nended_connections:%" PRIu64 "\r\nrefused_requests:%" PRIu64
            "\r\nrelistens:%" PRIu64 "\r\n",
            hf_listener_pipes(l), n.refused_pipes, n.refused_streams, n.ended_pipes,
            n.refused_requests, n.relistens);
}

static void info_holdfast(void *ctx, FILE *out)
{
    const struct info *i = ctx;
    const struct hf_core_status *s = &i->status;
    char epoch[2 * HF_ID_BYTES + 1], digest[2 * HF_HASH_BYTES + 1];

    hf_hex(s->epoch_id.b, HF_ID_BYTES, epoch);
    hf_hex(s->digest.b, HF_HASH_BYTES, digest);
    fprintf(out,
            "epoch:%" PRIu64 "\r\nepoch_id:%s\r\nhead:%" PRIu64 "\r\ncommitted:%" PRIu64
            "\r\ndigest:%s\r\nlog_first:%" PRIu64 "\r\nlog_bytes:%" PRIu64 "\r\nedges:%" PRIu32
            "\r\nlost_pages:%" PRIu64 "\r\nrefusing:%s\r\n",
            s->epoch, epoch, s->head, s->committed, digest, s->log_first, s->log_bytes,
            s->edge_count, hf_lost_pages_count(), s->refusing != NULL ? s->refusing : "");
    print_counters(i, out);
    print_connections(i->call->owner->listener, out);
}

static hf_kv_info_print *const sections[HF_INFO_SECTIONS] = {
    [HF_INFO_SERVER] = info_server,           [HF_INFO_CLIENTS] = info_clients,
    [HF_INFO_MEMORY] = hf_kv_info_memory,     [HF_INFO_STATS] = info_stats,
    [HF_INFO_REPLICATION] = info_replication, [HF_INFO_KEYSPACE] = info_keyspace,
    [HF_INFO_HOLDFAST] = info_holdfast,
};

void hf_run_info(struct hf_call *call)
{
    const struct hf_commands_config *c = &call->owner->config;
    struct info i = {.call = call, .now = c->now(c->ctx)};

    hf_core_status(c->core, &i.status);
    hf_kv_info(call->client, call->argv, call->argc, sections, &i);
}
