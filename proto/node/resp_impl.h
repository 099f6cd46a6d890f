/*
 * resp_impl.h - what the files of the RESP server share; internal.
 *
 *   resp_listen.c  listening sockets, accepting
 *   resp.c         server and clients: reading, delivering, turns of the loop, closing
 *   resp_reply.c   replies, their order, and sending them
 *   resp_parse.c   bytes to commands
 *
 * A client's output is `out`, bytes that may be sent, followed by a queue of pieces. A piece is a
 * slot (a deferred reply) or text (what was replied at once behind a slot); text is always ready, a
 * slot when it has ended. Ready pieces at the head of the queue move to `out`, so order is kept by
 * construction. Two texts never touch: pieces <= 2 * slots.
 *
 * Invariant: queued_bytes is all reply bytes a client holds, wherever they are.
 */
#ifndef HF_RESP_IMPL_H
#define HF_RESP_IMPL_H

#include <stddef.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <uv.h>

#include "hf/loop.h"
#include "hf/resp.h"
#include "proto/node/resp_parse.h"

/* One read takes at most this; also the largest buffer a client keeps while it is idle. */
#define HF_RESP_READ_BYTES (64u << 10)
/* Above this a client is not read from and its buffered commands wait. One reply may go past it. */
#define HF_RESP_PAUSE_BYTES (1u << 20)
/* So much each client may hold, whatever the others do: small replies are never refused. */
#define HF_RESP_OUTPUT_FREE (64u << 10)
/* Deferred replies of one client. A window larger than this gains nothing and costs memory. */
#define HF_RESP_SLOTS_MAX 16384u
/* Holds "+OK\r\n", an integer, or a short error, so that the common slot needs no second block. */
#define HF_RESP_PIECE_BYTES 72u

struct hf_resp_bytes {
    uint8_t *data; /* owned, except when it is the `small` of a piece */
    size_t len;
    size_t cap;
};

struct hf_resp_slot { /* a piece of output */
    struct hf_resp_server *server;
    struct hf_resp_client *client; /* NULL when it is gone */
    struct hf_resp_slot *next;     /* behind it in the client's queue, or in the freelist */
    bool deferred;                 /* a slot; else text */
    bool ready;
    struct hf_resp_bytes bytes;
    uint8_t small[HF_RESP_PIECE_BYTES];
};

struct hf_resp_client {
    union {
        uv_handle_t base;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } handle;
    uv_write_t write;
    struct hf_resp_server *server;
    TAILQ_ENTRY(hf_resp_client) link;
    TAILQ_ENTRY(hf_resp_client) dirty_link;
    TAILQ_ENTRY(hf_resp_client) waiting_link;
    uint64_t id;
    int version;
    bool is_unix;
    bool closed; /* on its way out: nothing more may be done with it */
    bool quit;   /* no more commands; closed when all is sent */
    bool failed; /* over a limit or out of memory; closed at the next turn */
    bool dirty;  /* in the server's list of clients that a turn must look at */
    bool reading;
    bool waits; /* in the server's queue: there are commands in `in`, and was no time for them */

    struct hf_resp_parser parser;
    struct hf_resp_bytes
        in;          /* an unfinished command, or commands that wait; empty in most clients */
    size_t in_start; /* of `in`: bytes before it are done */

    struct hf_resp_slot *target; /* between slot_begin and slot_end */
    struct hf_resp_slot *head;
    struct hf_resp_slot *tail;
    uint32_t slot_count; /* deferred in the queue */
    struct hf_resp_bytes out;
    struct hf_resp_bytes sending; /* in the hands of uv_write */
    size_t queued_bytes;
    size_t stuck_size;    /* libuv's write queue when it last shrank */
    uint64_t stuck_since; /* loop time of that */
    uint64_t quit_by;     /* loop time, 0 = none */

    _Alignas(max_align_t) uint8_t user[];
};

struct hf_resp_listener {
    struct hf_resp_server *server;
    uv_poll_t poll;
    int fd; /* -1 = unused */
    bool is_unix;
};

TAILQ_HEAD(hf_resp_client_list, hf_resp_client);

struct hf_resp_server {
    struct hf_resp_config config;
    uv_loop_t *loop;
    uv_prepare_t prepare; /* what completed since the last poll is sent before the loop blocks */
    uv_check_t check;     /* what a poll brought is answered after it */
    uv_idle_t idle;       /* keeps the loop from blocking while clients are dirty */
    uv_timer_t sweep;
    uv_timer_t accept_pause;
    uint32_t handle_count; /* open handles of the server and of clients: it is freed at 0 */
    bool closed;
    bool delivered;      /* commands since the last on_drained */
    uint64_t turn_until; /* hf_clock_us: the time of commands in this iteration; 0: none ran yet */
    bool owed_given;     /* the first that waits had its command in this iteration */
    struct hf_resp_listener listener[2];
    char unix_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    dev_t unix_dev;
    ino_t unix_ino;
    uint16_t port;

    struct hf_resp_client_list clients;
    struct hf_resp_client_list dirty;
    struct hf_resp_client_list waiting; /* for time to run their commands */
    uint32_t dirty_count;
    uint32_t client_count;
    uint64_t next_id;

    struct hf_resp_slot *free_slots;
    uint32_t free_slot_count;
    uint32_t live_slot_count; /* handed out; they may outlive their client and the server */

    size_t input_bytes;    /* capacity of all clients' `in` */
    size_t output_bytes;   /* what all clients hold of replies beyond HF_RESP_OUTPUT_FREE each */
    uint8_t *read_buffer;  /* owned; HF_RESP_READ_BYTES, for all clients in turn */
    struct hf_slice *argv; /* owned; of the command being delivered */
    size_t argv_cap;
};

/* ---- resp.c ---- */

/* Takes over fd; false when it had to be closed. */
bool hf_resp_client_add(struct hf_resp_server *s, int fd, bool is_unix);
void hf_resp_client_close(struct hf_resp_client *c);
/* The next turn will look at this client. */
void hf_resp_client_dirty(struct hf_resp_client *c);
/* To be the close callback of every handle that handle_count counts, with data = the server. */
void hf_resp_handle_closed(uv_handle_t *h);
void hf_resp_server_release(struct hf_resp_server *s);

/* ---- resp_reply.c ---- */

/* Room for `extra` more bytes, by doubling. `small` is memory that must not be given to free. */
bool hf_resp_bytes_room(struct hf_resp_bytes *b, const uint8_t *small, size_t extra);
void hf_resp_bytes_free(struct hf_resp_bytes *b);
/* Marks the client to be closed at the next turn. */
void hf_resp_fail(struct hf_resp_client *c);
/* Makes sure of the pieces that one command can need: a slot, and the text behind it. */
bool hf_resp_reserve(struct hf_resp_server *s);
/* Sends what is ready. May close the client. */
void hf_resp_flush(struct hf_resp_client *c);
/* Lets go of all pieces; slots that have not ended live on without a client. */
void hf_resp_drop_output(struct hf_resp_client *c);

/* ---- resp_listen.c ---- */

enum hf_err hf_resp_listen(struct hf_resp_server *s, struct hf_error *e);
void hf_resp_unlisten(struct hf_resp_server *s);

#endif
