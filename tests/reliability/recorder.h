/*
 * recorder.h - Redis clients that write down what they ask and what they are answered.
 *
 * The lines are those of sim/README.md, "Histories": holdfast-sim check judges them. An invocation
 * is recorded before the first byte is sent and its end after the last one has come, so the times
 * in a history are never tighter than the truth.
 *
 * Keys, values and ids are plain text without quotes, backslashes and control characters. Threads:
 * a recorder may be shared by any number of clients; one client is used by one thread at a time.
 */
#ifndef TESTS_RELIABILITY_RECORDER_H
#define TESTS_RELIABILITY_RECORDER_H

#include <stddef.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

struct recorder;

/* NULL when the file cannot be made. */
struct recorder *recorder_new(const char *path);
/* Flushes and closes; 0, or -1 when something could not be written. NULL is fine. */
int recorder_free(struct recorder *r);
/* The node's process was started. */
void recorder_start(struct recorder *r, const char *node);
uint64_t recorder_lines(const struct recorder *r);

struct recorder_client {
    struct recorder *recorder;
    unsigned process; /* a number of its own in this history */
    const char *node; /* a name that lives as long as the client */
    int port;
    int netns;       /* the network of the node (tests/e2e/network.h); 0 = that of this program */
    redisContext *c; /* NULL until it is needed, and after a connection broke */
};

struct recorder_change {
    const char *key, *value; /* value NULL: delete */
};

enum recorder_end {
    RECORDER_OK,
    RECORDER_REFUSED, /* an error was answered */
    RECORDER_BROKEN,  /* no connection, or it ended before the answer */
};

#define RECORDER_CHANGES_MAX 16u

/* HF.APPLY. A refused write is recorded as one of unknown outcome: after an I/O error it may come
 * back with the next start. *seq is set when it is OK. */
enum recorder_end recorder_write(struct recorder_client *c, const char *id,
                                 const struct recorder_change *change, size_t count, uint64_t *seq);
/* HF.GET at an edge: with position and staleness. min_seq 0 asks for nothing. */
enum recorder_end recorder_get(struct recorder_client *c, const char *key, uint64_t min_seq);
/* MGET: at one moment, without its position. */
enum recorder_end recorder_mget(struct recorder_client *c, const char *const *key, size_t count);
/* HF.STATUS of an edge; of a core also what each edge reported. */
enum recorder_end recorder_status(struct recorder_client *c);
void recorder_disconnect(struct recorder_client *c);

#endif
