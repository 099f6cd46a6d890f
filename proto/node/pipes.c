/*
 * pipes.c - the connections of a listener: who they are, and the caps on them.
 *
 * A peer that has finished the SP handshake is kept by nng for ever, so the number of connections
 * is bounded here: in all, and per address. nng tells the peer's address only while a pipe lives,
 * not in REM_POST, hence a table. Lookup by pipe id is one step in a hash of chains, since each
 * request makes one; the count per address is a scan over all, since only a new connection makes
 * one.
 *
 * Invariant: every entry is in the chain of its id, or in the free list.
 *
 * Must not: allocate after hf_pipes_new, or lock: the caller holds the lock of the listener.
 *
 * Read next: listener.c (pipe_changed).
 */
#include "proto/node/transport_impl.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define NONE UINT32_MAX
#define BUCKETS 1024u

struct hf_pipes {
    uint32_t per_address;
    uint32_t max;
    uint32_t count;
    uint32_t unused; /* head of the free list */
    uint32_t buckets[BUCKETS];
    struct hf_pipe at[];
};

struct hf_pipes *hf_pipes_new(uint32_t per_address, uint32_t max)
{
    struct hf_pipes *p = calloc(1, sizeof(*p) + (size_t)max * sizeof(p->at[0]));

    if (p == NULL) {
        return NULL;
    }
    p->per_address = per_address;
    p->max = max;
    for (uint32_t i = 0; i < max; i++) {
        p->at[i].next = i + 1u < max ? i + 1u : NONE;
    }
    p->unused = max > 0 ? 0 : NONE;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        p->buckets[i] = NONE;
    }
    return p;
}

void hf_pipes_free(struct hf_pipes *p)
{
    free(p);
}

static void describe(struct hf_pipe *pipe, const nng_sockaddr *peer)
{
    memset(pipe->address, 0, sizeof(pipe->address));
    pipe->family = peer->s_family;
    if (peer->s_family == NNG_AF_INET) {
        memcpy(pipe->address, &peer->s_in.sa_addr, sizeof(peer->s_in.sa_addr));
        (void)inet_ntop(AF_INET, pipe->address, pipe->text, sizeof(pipe->text));
    } else if (peer->s_family == NNG_AF_INET6) {
        memcpy(pipe->address, peer->s_in6.sa_addr, sizeof(pipe->address));
        (void)inet_ntop(AF_INET6, pipe->address, pipe->text, sizeof(pipe->text));
    } else {
        (void)snprintf(pipe->text, sizeof(pipe->text), "?");
    }
}

static uint32_t count_same_address(const struct hf_pipes *p, const struct hf_pipe *pipe)
{
    uint32_t n = 0;

    for (uint32_t b = 0; b < BUCKETS; b++) {
        for (uint32_t i = p->buckets[b]; i != NONE; i = p->at[i].next) {
            const struct hf_pipe *q = &p->at[i];
            n += q->family == pipe->family &&
                         memcmp(q->address, pipe->address, sizeof(q->address)) == 0
                     ? 1u
                     : 0u;
        }
    }
    return n;
}

bool hf_pipes_add(struct hf_pipes *p, uint32_t id, const nng_sockaddr *peer)
{
    uint32_t index = p->unused;
    uint32_t bucket = id % BUCKETS;
    uint32_t next;

    if (index == NONE) {
        return false;
    }
    struct hf_pipe *pipe = &p->at[index];
    next = pipe->next;
    describe(pipe, peer);
    if (count_same_address(p, pipe) >= p->per_address) {
        return false;
    }
    p->unused = next;
    pipe->id = id;
    pipe->busy = 0;
    pipe->next = p->buckets[bucket];
    p->buckets[bucket] = index;
    p->count++;
    return true;
}

struct hf_pipe *hf_pipes_find(struct hf_pipes *p, uint32_t id)
{
    for (uint32_t i = p->buckets[id % BUCKETS]; i != NONE; i = p->at[i].next) {
        if (p->at[i].id == id) {
            return &p->at[i];
        }
    }
    return NULL;
}

void hf_pipes_remove(struct hf_pipes *p, uint32_t id)
{
    uint32_t *link = &p->buckets[id % BUCKETS];

    while (*link != NONE && p->at[*link].id != id) {
        link = &p->at[*link].next;
    }
    if (*link == NONE) {
        return;
    }
    uint32_t index = *link;
    *link = p->at[index].next;
    p->at[index].next = p->unused;
    p->unused = index;
    p->count--;
}

uint32_t hf_pipes_count(const struct hf_pipes *p)
{
    return p->count;
}
