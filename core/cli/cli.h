/*
 * cli.h - what the files of the `holdfast` tool share: the table of subcommands, options,
 * connection.
 *
 * Each subcommand is one function of one file. It parses its options with hf_cli_options, connects
 * with hf_cli_connect, prints to stdout what scripts may read and to stderr what people should, and
 * returns an exit status. Messages for people say what to do next.
 */
#ifndef HF_CLI_H
#define HF_CLI_H

#include <stdio.h>

#include "hf/types.h"

enum hf_cli_exit {
    HF_CLI_OK = 0,
    HF_CLI_NO = 1,    /* absent, refused, lagging, not reachable */
    HF_CLI_USAGE = 2, /* the command line is wrong */
};

struct redisContext;
struct redisReply;
struct hf_cli;

struct hf_cli_command {
    const char *name;
    int (*run)(struct hf_cli *cli, int argc, char **argv); /* argv[0] is the subcommand */
    const char *operands;                                  /* for the usage line */
    const char *help; /* one line for the list, then more lines for --help */
};

struct hf_cli {
    const char *data;   /* --data, or NULL */
    const char *socket; /* --socket */
    const char *host;   /* --host ADDR:PORT */
    const struct hf_cli_command *command;
    struct redisContext *redis; /* owned; NULL until connected */
    char target[300];           /* what redis is connected to, for messages */
    bool broken;                /* the connection, and that was said */
    int answer_s;               /* how long an answer is waited for; 0 = 60 */
    int first;                  /* index of the first operand, after hf_cli_options */
    int status;                 /* exit status when hf_cli_options returned false */
};

struct hf_cli_option {
    const char *name;    /* "author" for --author */
    const char *operand; /* "TEXT", or NULL for a flag */
    const char **text;   /* where the operand goes */
    bool *flag;          /* what a flag sets */
    const char *help;
};

/* Takes --name VALUE and --name=VALUE up to the first operand or "--", the connection options and
 * --help included. False: the caller returns cli->status. `options` may be NULL when count is 0. */
bool hf_cli_options(struct hf_cli *cli, const struct hf_cli_option *options, size_t count, int argc,
                    char **argv);
/* "holdfast: ..." on stderr with the usage line; returns HF_CLI_USAGE. */
int hf_cli_usage(const struct hf_cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "holdfast: ..." on stderr; returns HF_CLI_NO. */
int hf_cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- connect.c ---- */

/* ADDR:PORT, or [ADDR]:PORT. */
bool hf_cli_is_host(const char *text);

/* Connects once; false after a message that says what to do. */
bool hf_cli_connect(struct hf_cli *cli);
void hf_cli_disconnect(struct hf_cli *cli);
/* Sends one command and waits. NULL after a message when the connection broke or the answer is an
 * error. Free with freeReplyObject. */
struct redisReply *hf_cli_call(struct hf_cli *cli, const struct hf_slice *argv, size_t argc);
/* Queues one command without waiting; false when there is no memory. */
bool hf_cli_send(struct hf_cli *cli, const struct hf_slice *argv, size_t argc);
/* Writes what is queued; false when the connection is broken. */
bool hf_cli_flush(struct hf_cli *cli);
/* The next answer, errors included; NULL after a message when the connection broke. */
struct redisReply *hf_cli_answer(struct hf_cli *cli);
/* What is read from now on shows all that the daemon had acknowledged before: a core's readers see
 * its last commit otherwise, which may be a moment old. An edge shows what it has in any case. */
bool hf_cli_catch_up(struct hf_cli *cli);
/* True and a message when the reply is an error. */
bool hf_cli_refused(const struct redisReply *reply);

/* ---- subcommands ---- */

int hf_cli_put(struct hf_cli *cli, int argc, char **argv);
int hf_cli_get(struct hf_cli *cli, int argc, char **argv);
int hf_cli_del(struct hf_cli *cli, int argc, char **argv);
int hf_cli_apply(struct hf_cli *cli, int argc, char **argv);
int hf_cli_import(struct hf_cli *cli, int argc, char **argv);
int hf_cli_export(struct hf_cli *cli, int argc, char **argv);
/* `export --for`: a transfer to one edge as a file; since is EPOCH:SEQ, "0" or NULL. */
int hf_cli_carry(struct hf_cli *cli, const char *edge, const char *since, const char *path);
int hf_cli_log(struct hf_cli *cli, int argc, char **argv);
int hf_cli_edge(struct hf_cli *cli, int argc, char **argv);
int hf_cli_status(struct hf_cli *cli, int argc, char **argv);
int hf_cli_repair(struct hf_cli *cli, int argc, char **argv);
int hf_cli_keygen(struct hf_cli *cli, int argc, char **argv);

#endif
