/*
 * resp_parse.h - cutting a byte stream into RESP commands; internal to the RESP server.
 *
 * The parser works in place on bytes that the caller owns and grows. It remembers how far it has
 * looked, so a command that arrives byte by byte is looked at once, and it keeps offsets rather
 * than pointers, so the caller may move the bytes between two calls. It allocates only its table of
 * arguments, which grows with arguments that have arrived and never with a count that was
 * announced.
 */
#ifndef HF_RESP_PARSE_H
#define HF_RESP_PARSE_H

#include "hf/types.h"

/* An MSET of 32,767 pairs; far above any batch (HF_BATCH_CHANGES_MAX), and 512 KiB of table. */
#define HF_RESP_ARGS_MAX 65536u
#define HF_RESP_INLINE_MAX (64u << 10) /* as Redis has it: for people and health checks */

enum hf_resp_step {
    HF_RESP_MORE = 0,    /* all bytes looked at, the command is not whole yet */
    HF_RESP_COMMAND = 1, /* arguments are in arg[0..argc); argc may be 0: nothing to do */
    HF_RESP_BAD = 2,     /* protocol error, sentence in `error`; the stream cannot be followed */
};

enum hf_resp_state {
    HF_RESP_BEGIN = 0, /* at the first byte of a command */
    HF_RESP_HEAD = 1,  /* at the "$" line of an argument */
    HF_RESP_BODY = 2,  /* in an argument */
    HF_RESP_LINE = 3,  /* in an inline command */
};

struct hf_resp_arg {
    uint32_t offset; /* from the first byte of the command */
    uint32_t len;
};

struct hf_resp_parser {
    size_t bytes_max; /* of all arguments of a command together */
    enum hf_resp_state state;
    size_t at;               /* next byte to look at */
    size_t total;            /* argument bytes announced so far */
    uint32_t want;           /* arguments still to come */
    uint32_t bulk;           /* length of the argument being read */
    struct hf_resp_arg *arg; /* owned */
    uint32_t argc;
    uint32_t arg_cap;
    char error[64];
};

void hf_resp_parser_init(struct hf_resp_parser *p, size_t bytes_max);
void hf_resp_parser_deinit(struct hf_resp_parser *p);
/* Gives back a large table of arguments; only between commands, else nothing happens. */
void hf_resp_parser_shrink(struct hf_resp_parser *p);
/* `data` begins at the first byte of the current command, `len` is what has arrived since. After
 * HF_RESP_COMMAND *used bytes belong to the command, and the next call is for the one after it.
 * Inline commands are unquoted in place. */
enum hf_resp_step hf_resp_parse(struct hf_resp_parser *p, uint8_t *data, size_t len, size_t *used);

#endif
