/*
 * resp.h - a RESP server (the Redis protocol, versions 2 and 3) on TCP and a unix socket.
 *
 * It parses commands, keeps replies in the order of the commands also when some are answered later,
 * and bounds everything a client can make it hold: command size, arguments, unread replies,
 * clients. It knows no command.
 *
 * Threads: the loop's thread only.
 */
#ifndef HF_RESP_H
#define HF_RESP_H

#include "hf/err.h"
#include "hf/types.h"

struct uv_loop_s;
struct hf_resp_server;
struct hf_resp_client;
struct hf_resp_slot; /* the place of a reply that comes later */

/* What commands may take of one iteration of the loop: the server's, of those that it delivers, and
 * the owner's, of those that it has kept until now. */
#define HF_RESP_TURN_US 4000u

struct hf_resp_config {
    const char *tcp;          /* "127.0.0.1:7412", "[::1]:0" (port 0 picks one), or NULL */
    const char *unix_path;    /* mode 0600; a stale socket file is replaced; or NULL */
    uint32_t clients_max;     /* 0 = 1024; 32 more over the unix socket */
    size_t command_bytes_max; /* 0 = 8 MiB: all arguments of one command; at most 1 GiB */
    size_t input_bytes_max;  /* 0 = 64 MiB: half-received commands of all clients together; who asks
                              * for  more room is closed. At least twice command_bytes_max. */
    size_t output_bytes_max; /* 0 = 64 MiB: a client with more unread reply bytes is closed */
    size_t output_total_max; /* 0 = four times that, and at least that: of all clients, beside
                              * 64 KiB of each */
    hf_ms stuck_ms_max;      /* 0 = 60 s: so is one that reads nothing while it has replies */
    size_t client_user_bytes; /* zeroed memory of the owner's for each client */
    void *ctx;
    void (*on_command)(void *ctx, struct hf_resp_client *c, const struct hf_slice *argv,
                       size_t argc);
    /* All commands that one turn of the loop brought, from all clients, have been delivered and
     * nothing has been sent yet: a good moment to start a group, or to end slots. */
    void (*on_drained)(void *ctx);
    void (*on_close)(void *ctx, struct hf_resp_client *c); /* its user memory goes after this */
};

/* HF_ARG, with a sentence for who configured it, unless it is a numeric address and port. */
enum hf_err hf_resp_address_check(const char *text, struct hf_error *e);
enum hf_err hf_resp_open(struct uv_loop_s *loop, const struct hf_resp_config *c,
                         struct hf_resp_server **s, struct hf_error *e);
uint16_t hf_resp_port(const struct hf_resp_server *s);
uint32_t hf_resp_clients(const struct hf_resp_server *s);
/* Flushes nothing; closes all, with on_close for each client before it returns. NULL is fine. The
 * memory goes while the loop still runs, so run it once more; slots may be ended after that too. */
void hf_resp_close(struct hf_resp_server *s);

/* Sends now what is ready, instead of at the end of the loop's turn. Not from within on_command. */
void hf_resp_send(struct hf_resp_server *s);

void *hf_resp_user(struct hf_resp_client *c);
int hf_resp_version(const struct hf_resp_client *c); /* 2 or 3 */
void hf_resp_set_version(struct hf_resp_client *c, int version);
uint64_t hf_resp_client_id(const struct hf_resp_client *c);
/* After what is queued has been sent, the connection is closed. */
void hf_resp_quit(struct hf_resp_client *c);

/* ---- replies to the command being delivered, in order ---- */

/* Before a reply that may be large: false when there is no room for so many bytes, and then the
 * reply has been made, an error that says whether the reply is too big or the others have too much.
 * A reply for which nobody asked here has its client closed instead. */
bool hf_resp_fits(struct hf_resp_client *c, size_t bytes);
/* More than so many bytes never fit. */
size_t hf_resp_reply_max(const struct hf_resp_client *c);

void hf_resp_simple(struct hf_resp_client *c, const char *text);
/* "ERR ...", "READONLY ..."; no newline. */
void hf_resp_error(struct hf_resp_client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void hf_resp_integer(struct hf_resp_client *c, int64_t value);
void hf_resp_number(struct hf_resp_client *c, uint64_t n); /* nil for UINT64_MAX: unknown */
void hf_resp_bulk(struct hf_resp_client *c, struct hf_slice bytes);
void hf_resp_nil(struct hf_resp_client *c);
void hf_resp_array(struct hf_resp_client *c, size_t count); /* then count replies */
void hf_resp_map(struct hf_resp_client *c, size_t pairs);   /* flat array in version 2 */

/* ---- replies that come later ---- */

/* Reserves the place of this command's reply. Later commands may be answered meanwhile; what they
 * reply waits behind it. The slot lives until it is completed, also when the client goes. Never
 * NULL: memory for it was set aside before the command was delivered. */
struct hf_resp_slot *hf_resp_defer(struct hf_resp_client *c);
/* Between begin and end the reply functions above write into the slot. begin returns NULL when the
 * client is gone (then end must still be called). One at a time may be begun; end alone completes a
 * slot without a reply, also while another one is begun. */
struct hf_resp_client *hf_resp_slot_begin(struct hf_resp_slot *slot);
void hf_resp_slot_end(struct hf_resp_slot *slot);

#endif
