/*
 * commands.h - what an edge answers to local readers. PROTOCOL.md section 10.
 *
 * Reads never wait for the writer or the link: they go to the newest committed state. Writes are
 * refused with READONLY. Threads: the loop's thread only.
 */
#ifndef HF_EDGE_COMMANDS_H
#define HF_EDGE_COMMANDS_H

#include "hf/edge.h"
#include "hf/kv.h"
#include "hf/resp.h"

struct hf_dialer;

struct edge_commands {
    struct hf_edge *edge;
    struct hf_kv *kv;
    const char *core_url;
    const char *version;
    hf_ms started;
    struct hf_resp_server *server;
    struct hf_dialer *dialer;
    const struct hf_reach *reach;
    uint64_t served;
};

/* For hf_resp_config; ctx is the struct. */
void edge_commands_on_command(void *ctx, struct hf_resp_client *c, const struct hf_slice *argv,
                              size_t argc);
void edge_commands_on_drained(void *ctx);

#endif
