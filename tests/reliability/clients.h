/*
 * clients.h - the load of a campaign: threads that write at the core until answered, and threads
 * that read everywhere, all of them recorded.
 *
 * Writer W sends requests with the ids w<W>-1, w<W>-2, ... one after the other, each again with the
 * same id until it is answered, as a careful client does. Each sets left-W and right-W to its id
 * and sets or deletes one of KEYS shared keys. Reader R reads at node R (0 is the core): single
 * keys with a position, pairs at one moment, states. Their values are their write's id, so
 * everything that was ever read can be judged by holdfast-sim check.
 *
 * Threads: clients_ functions are called by one thread; the load has its own.
 */
#ifndef TESTS_RELIABILITY_CLIENTS_H
#define TESTS_RELIABILITY_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/reliability/recorder.h"

#define CLIENTS_NODES_MAX 4u
#define CLIENTS_KEYS 200u

struct clients_config {
    struct recorder *recorder;
    const char *name[CLIENTS_NODES_MAX]; /* [0] is "core" */
    int port[CLIENTS_NODES_MAX];
    int netns[CLIENTS_NODES_MAX]; /* as in struct recorder_client */
    unsigned node_count;
    unsigned writers;
    unsigned pause_us; /* between two operations of a client */
    uint64_t seed;
};

struct clients;

struct clients *clients_start(const struct clients_config *config);
/* Requests answered so far. */
uint64_t clients_acked(const struct clients *c);
/* The highest number that a request was answered with. */
uint64_t clients_newest(const struct clients *c);
/* Reads answered so far at a node. */
uint64_t clients_read(const struct clients *c, unsigned node);
/* Ends the load: each writer after the request it has under way, or at once. */
void clients_stop(struct clients *c, bool at_once);
/* After the stop: reads every key at every node, for the record. False when a node does not answer.
 */
bool clients_finish(struct clients *c);
/* Ends the load at once, if it goes on. NULL is fine. */
void clients_free(struct clients *c);
/* After the stop: how many of the answered requests are not known any more, or under another
 * number, and how many were asked about: the newest of each writer, at most `newest`. */
uint64_t clients_lost(struct clients *c, uint64_t newest, uint64_t *asked);

#endif
