/*
 * commands_impl.h - what the files commands*.c share: sessions, calls, and the handlers' rules.
 *
 * A handler gets a struct hf_call. An ordinary one replies into call->client, once. One whose
 * command has CMD_DEFERS gets call->slot instead and completes it, now or later, once. hf_call_fail
 * does the right one of both. argv is borrowed: valid until the handler returns.
 */
#ifndef HF_CORE_COMMANDS_IMPL_H
#define HF_CORE_COMMANDS_IMPL_H

#include "core/commands.h"

#include "hf/kv.h"

struct hf_session;
struct hf_call;

enum hf_command_flags {
    CMD_READS = 1u << 0,  /* shows state: waits until the connection's own writes are visible */
    CMD_DEFERS = 1u << 1, /* answers through a slot */
    CMD_MULTI = 1u << 2,  /* runs at once inside MULTI instead of being queued or refused */
    CMD_QUEUES = 1u << 3, /* a write that MULTI may hold */
    CMD_WAIT = 1u << 4,   /* waits for edges */
};

struct hf_command {
    const char *name; /* upper case */
    void (*run)(struct hf_call *call);
    size_t argc_min, argc_max; /* with the name; 0 = any number */
    unsigned flags;
};

/* What commands make of a transaction that were refused behind a held one: it must not be applied
 * without them. In this order. */
struct hf_spoiled {
    bool ended;  /* EXEC, DISCARD: it is given up */
    bool begun;  /* MULTI: one that can only fail */
    bool failed; /* any other */
};

/* A command that is kept: its words are copied behind it in the same allocation. */
struct hf_held {
    struct hf_held *next;
    struct hf_spoiled spoiled;
    const struct hf_command *command; /* NULL: unknown */
    struct hf_resp_slot *slot;        /* NULL inside MULTI */
    size_t bytes;
    size_t argc;
    struct hf_slice argv[];
};

struct hf_held_list {
    struct hf_held *first, *last;
    size_t count, bytes;
    size_t *all; /* bytes of such lists of all sessions */
};

/* What waits inside MULTI, and what waits behind a read that waits, each of all connections
 * together: one alone may hold 16 MiB, and there may be 1,024. */
#define HF_HELD_BYTES_ALL ((size_t)64 << 20)

/* One connection. It outlives its client while answers of the core are due to it. */
struct hf_session {
    struct hf_commands *owner;
    struct hf_resp_client *client;  /* NULL once closed */
    struct hf_session *next, *prev; /* all sessions */
    struct hf_session *next_runnable;
    uint32_t refs;
    uint32_t writes_open; /* handed to the core, not answered */
    hf_seq write_seq;     /* of its newest answered write: what WAIT counts */
    hf_seq read_seq;      /* what its reads must show: its writes, and what WAIT saw */
    bool wrote;           /* read_seq may not be visible yet */
    bool visible_asked;
    bool unseen; /* it is not: the commit that the held reads waited for failed */
    bool runnable;
    bool in_multi, multi_failed;
    hf_ms wait_until; /* deadline of the WAIT at the head of `held`; 0 = none */
    struct hf_held_list held;
    struct hf_held_list multi;
};

struct hf_call {
    struct hf_commands *owner;
    struct hf_session *session;
    struct hf_resp_client *client; /* for commands without CMD_DEFERS */
    struct hf_resp_slot *slot;     /* for commands with it */
    const struct hf_command *command;
    const struct hf_slice *argv;
    size_t argc;
};

enum hf_reply_form {
    REPLY_OK = 0,  /* +OK */
    REPLY_DELETED, /* how many keys were deleted */
    REPLY_EXEC,    /* an array with the reply of each command */
    REPLY_APPLY,   /* [seq, "applied" or "repeated"] */
};

/* One command of an EXEC: what it replies, and how many of the changes are its own. */
struct hf_op_part {
    enum hf_reply_form form;
    uint32_t changes;
};

struct hf_write_op {
    struct hf_write write; /* first: on_done gets its address */
    struct hf_write_op *next_free;
    struct hf_session *session;
    struct hf_resp_slot *slot;
    enum hf_reply_form form;
    bool kept_size; /* the block has BLOCK_BYTES */
    struct hf_op_part *part;
    uint32_t part_count;
    /* While it is filled. */
    struct hf_change *change;
    uint8_t *bytes;
};

/* What a block for a write must have room for. */
struct hf_op_size {
    size_t changes, parts, bytes;
};

struct hf_commands {
    struct hf_commands_config config;
    const struct hf_resp_server *server;
    const struct hf_listener *listener; /* or NULL */
    struct hf_kv *kv;                   /* owned: what core and edge have in common */
    struct hf_session *sessions;
    struct hf_session *runnable;
    struct hf_write_op *free_ops;
    uint32_t free_op_count;
    uint32_t writes_open;
    uint32_t waits; /* sessions with wait_until set */
    bool stopping;
    bool wrote_in_run;
    size_t held_bytes, multi_bytes; /* of all sessions; HF_HELD_BYTES_ALL at most, each */
    uint64_t command_count, session_count, refused_count;
    hf_ms started;
};

/* ---- commands_session.c ---- */

/* The client's session, made at its first command; NULL when there is no memory. */
struct hf_session *hf_session_of(struct hf_commands *o, struct hf_resp_client *c);
void hf_session_ref(struct hf_session *s);
void hf_session_unref(struct hf_session *s);
/* hf_commands_run will look at it; wake also asks for that to be soon. */
void hf_session_runnable(struct hf_session *s);
void hf_session_wake(struct hf_session *s);
void hf_held_clear(struct hf_held_list *list);
/* Copies a command; NULL when there is no memory, or too much is held. */
struct hf_held *hf_held_new(const struct hf_call *call, const struct hf_held_list *list);
struct hf_held *hf_held_take(struct hf_held_list *list);
void hf_held_append(struct hf_held_list *list, struct hf_held *h);

/* Answers with an error, through the slot or the client, whichever the call has. */
void hf_call_fail(const struct hf_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Bytes of a client inside an error text: cut at 40, and with escapes. */
struct hf_shown {
    char text[176];
};
struct hf_shown hf_show_bytes(const void *bytes, size_t len);

/* ---- commands_write.c ---- */

void hf_run_set(struct hf_call *call);
void hf_run_mset(struct hf_call *call);
void hf_run_del(struct hf_call *call);
void hf_run_multi(struct hf_call *call);
void hf_run_exec(struct hf_call *call);
void hf_run_discard(struct hf_call *call);
void hf_run_apply(struct hf_call *call);
/* A command that arrives inside MULTI: queued, or refused for the whole transaction. */
void hf_multi_queue(struct hf_call *call);
void hf_multi_end(struct hf_session *s);
/* Adds what it means that this command was refused before it could run. */
void hf_multi_refused(struct hf_call *call, struct hf_spoiled *spoiled);
void hf_multi_spoil(struct hf_session *s, const struct hf_spoiled *by);

/* ---- commands_op.c ---- */

/* A block for one write of the call's connection; NULL when there is no memory. */
struct hf_write_op *hf_op_new(const struct hf_call *call, enum hf_reply_form form,
                              struct hf_op_size size);
/* Copies bytes into the block. */
struct hf_slice hf_op_copy(struct hf_write_op *op, struct hf_slice s);
/* Adds a change; value is ignored for a del. */
void hf_op_change(struct hf_write_op *op, enum hf_op kind, struct hf_slice key,
                  struct hf_slice value);
/* Hands it to the core, which owns it until it is answered; perhaps before this returns. */
void hf_op_start(struct hf_write_op *op);
void hf_op_pool_free(struct hf_commands *s);
/* "CONFLICT", "FULL", ...: the first word of an error reply. */
const char *hf_error_word(enum hf_err code);

/* ---- commands_info.c, commands_admin.c ---- */

void hf_run_info(struct hf_call *call);
void hf_run_status(struct hf_call *call);
void hf_run_edge(struct hf_call *call);
void hf_run_carry(struct hf_call *call); /* commands_carry.c */
void hf_run_log(struct hf_call *call);   /* commands_log.c */
void hf_run_wait(struct hf_call *call);
/* Number of edges that a WAIT asks for; false when the call is malformed. */
bool hf_wait_arguments(const struct hf_slice *argv, size_t argc, uint64_t *edges, uint64_t *ms);

#endif
