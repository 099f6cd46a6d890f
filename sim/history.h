/*
 * history.h - what clients saw, checked against what holdfast promises them.
 *
 * A history is the list of operations that clients recorded: writes with a request id and the
 * number they were answered, reads at core and edges with values and positions, states of nodes.
 * Every write has one number and every value is written once to a key, so each rule is checked in
 * linear time after sorting; nothing is searched.
 *
 *   C1 a read shows what the batches up to its position made of the key, and nothing else
 *   C2 what a node shows never goes back
 *   C3 a read shows at least the position it asked for, and its own session's writes
 *   C4 a restart of a node loses nothing that was acknowledged or shown
 *   C5 a request id has one effect and one number, and numbers are given in order
 *   C6 the same position has the same digest on every node
 *   C7 data is never older than the staleness bound that came with it
 *   C8 what was deleted stays deleted
 *   C9 the changes of one write are seen together or not at all
 *
 * The file format is in sim/README.md. Threads: none; the checker is pure but for malloc.
 */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum history_kind {
    HISTORY_WRITE,
    HISTORY_READ,
    HISTORY_STATUS, /* position and digest of a node */
    HISTORY_ACK,    /* what the core says that an edge has reported; no invocation of its own */
    HISTORY_START,  /* the node's process was started */
};

enum history_end {
    HISTORY_UNKNOWN, /* no answer, or one that leaves the outcome open */
    HISTORY_OK,
    HISTORY_FAIL, /* certainly without effect */
};

struct history_pair {
    char *key;
    char *value; /* NULL: deleted by a write, absent in a read */
};

#define HISTORY_NONE UINT64_MAX /* of seq and staleness: not said */

struct history_op {
    enum history_kind kind;
    enum history_end end;
    uint64_t process;          /* a client with one connection and one operation at a time */
    char *node;                /* owned, as all text here */
    char *id;                  /* writes: the request id */
    struct history_pair *pair; /* changes, or keys and what was read */
    size_t pair_count;
    uint64_t from_line, to_line; /* of the file: invocation and end; 0 = no such line */
    int64_t from_us, to_us;      /* INT64_MAX = it never ended */
    uint64_t seq;                /* answered number, or position of what was shown */
    uint64_t min_seq;            /* asked for; 0 = nothing */
    uint64_t staleness_ms;
    bool repeated; /* the answer says that the id was known */
    uint64_t epoch;
    char *digest;
};

struct history {
    struct history_op *op; /* in order of invocation */
    size_t count, cap;
    uint64_t lines;
};

/* What was looked at; a campaign that checked nothing shows it here. */
struct history_counts {
    uint64_t writes, reads, statuses, starts;
};

struct history_violation {
    const char *rule;            /* "C1" to "C9"; NULL = none was violated */
    uint64_t line, against_line; /* the later line, and the earlier one that it contradicts */
    char text[512];
};

/* Reads a file of JSON lines. False with a sentence in `error` that names the line, for anything
 * that is not a history: then nothing needs to be freed. */
bool history_read(FILE *file, struct history *h, char *error, size_t cap);
void history_free(struct history *h);

/* Reports the violation that the earliest line completes. False when memory ran out. */
bool history_check(const struct history *h, struct history_counts *counts,
                   struct history_violation *v);

#endif
