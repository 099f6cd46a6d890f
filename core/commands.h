/*
 * commands.h - the RESP commands of a core: what a client may ask, and in which order it is
 * answered.
 *
 * It stands between hf/resp.h, which knows no command, and hf/core.h, which knows no client. The
 * functions that begin with hf_commands_on_ have the form of the callbacks in struct
 * hf_resp_config, with the struct hf_commands as ctx.
 *
 * Threads: the loop's thread only.
 */
#ifndef HF_CORE_COMMANDS_H
#define HF_CORE_COMMANDS_H

#include "hf/core.h"
#include "hf/resp.h"
#include "hf/types.h"

struct hf_commands;
struct hf_listener;

struct hf_commands_config {
    struct hf_core *core;
    const char *stream;
    const char *version;
    void *ctx;
    /* hf_commands_run wants to be called soon, from the loop and not from a callback of the core.
     */
    void (*wake)(void *ctx);
    hf_ms (*now)(void *ctx);
};

/* NULL when there is no memory. The texts are borrowed and must outlive it. */
struct hf_commands *hf_commands_new(const struct hf_commands_config *c);
/* After the server is closed and no write is open. */
void hf_commands_free(struct hf_commands *s);
/* For INFO; borrowed, the listener may be NULL. */
void hf_commands_set_ends(struct hf_commands *s, const struct hf_resp_server *server,
                          const struct hf_listener *listener);

size_t hf_commands_client_bytes(void);
void hf_commands_on_command(void *commands, struct hf_resp_client *c, const struct hf_slice *argv,
                            size_t argc);
void hf_commands_on_drained(void *commands);
void hf_commands_on_close(void *commands, struct hf_resp_client *c);

/* Runs commands that had to wait and need not any more. Returns when it must be called next at the
 * latest, INT64_MAX when only an event can bring it something to do. */
hf_ms hf_commands_run(struct hf_commands *s);

/* From now on new commands are refused; what is under way goes on. */
void hf_commands_stop(struct hf_commands *s);
/* True while a WAIT is open: reports of edges are then worth a hf_commands_run. */
bool hf_commands_waiting(const struct hf_commands *s);
/* True when no write waits for its answer. */
bool hf_commands_settled(const struct hf_commands *s);

#endif
