/*
 * pipes.c - the connections of a listener: who they are, and the caps on them.
 *
 * A peer that has finished the SP handshake is kept by nng for ever, so the number of connections
 * is bounded here: in all, and per address. nng tells the peer's address only while a pipe lives,
 * not in REM_POST, hence a table. Lookup by pipe id is one step in a hash of chains, since each
 * request makes one. Each address has an entry of its own with a count: 200 edges behind one
 * address dial thousands of connections at once when their link heals, and none of them may cost a
 * look at all the others.
 *
 * Whoever reaches the ports can open connections and leave them open. So those of strangers have
 * caps of their own. On the control channel a stranger is a connection whose last request was not
 * authentic; there are always places for new ones, for the oldest go: an edge proves itself within
 * a round trip, long before its turn comes. On the stream nobody can prove anything, and each
 * connection costs a send for each message; there those of an address are strangers that are more
 * than two for each of its trusted connections of control, and beyond a few they are refused: an
 * edge that is dials again, and by then its control has spoken for it.
 *
 * Invariant: every entry is in the chain of its id, or in the free list; an address is in the table
 * while its count, that of its entries, is not 0.
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
/* Of an edge that came back, one is new and one is what its last outage left. */
#define STREAMS_EACH 2u

/* There is one for every address that has a connection, so at most as many as connections. */
struct address {
    struct hf_endpoint host; /* port 0 */
    uint32_t count;          /* the sum of the next three */
    uint32_t streams;        /* of the stream */
    uint32_t trusted;        /* of control, whose last request was authentic */
    uint32_t strangers;      /* of control, the others */
    uint32_t staying;        /* of these; only in hf_pipes_end_strangers */
    uint32_t next;
};

struct hf_pipes {
    struct hf_pipes_caps caps;
    uint32_t count;
    uint32_t stranger_streams;
    uint32_t stranger_controls;
    uint32_t unused;         /* head of the free list */
    uint32_t unused_address; /* and of that of addresses */
    uint32_t buckets[BUCKETS];
    uint32_t address_buckets[BUCKETS];
    struct address *addresses; /* owned */
    struct hf_pipe at[];
};

struct hf_pipes *hf_pipes_new(const struct hf_pipes_caps *caps)
{
    uint32_t max = caps->all;
    struct hf_pipes *p = calloc(1, sizeof(*p) + (size_t)max * sizeof(p->at[0]));

    if (p == NULL) {
        return NULL;
    }
    p->addresses = calloc(max, sizeof(p->addresses[0]));
    if (p->addresses == NULL) {
        free(p);
        return NULL;
    }
    p->caps = *caps;
    for (uint32_t i = 0; i < max; i++) {
        p->at[i].next = i + 1u < max ? i + 1u : NONE;
        p->addresses[i].next = p->at[i].next;
    }
    p->unused = max > 0 ? 0 : NONE;
    p->unused_address = p->unused;
    for (uint32_t i = 0; i < BUCKETS; i++) {
        p->buckets[i] = NONE;
        p->address_buckets[i] = NONE;
    }
    return p;
}

void hf_pipes_free(struct hf_pipes *p)
{
    if (p != NULL) {
        free(p->addresses);
        free(p);
    }
}

/* ---- addresses ---- */

static uint32_t *bucket_of(struct hf_pipes *p, const struct hf_endpoint *host)
{
    uint32_t h = host->family;

    for (size_t i = 0; i < sizeof(host->address); i++) {
        h = h * 31u + host->address[i];
    }
    return &p->address_buckets[h % BUCKETS];
}

/* The entry of this peer's address, made when it has none. There is always room: see struct
 * address. */
static uint32_t address_find(struct hf_pipes *p, const struct hf_endpoint *peer)
{
    struct hf_endpoint host = *peer;
    uint32_t *bucket = bucket_of(p, peer);
    uint32_t i = *bucket;

    host.port = 0;
    while (i != NONE && memcmp(&p->addresses[i].host, &host, sizeof(host)) != 0) {
        i = p->addresses[i].next;
    }
    if (i == NONE) {
        i = p->unused_address;
        HF_ASSERT(i != NONE);
        p->unused_address = p->addresses[i].next;
        p->addresses[i] = (struct address){.host = host, .next = *bucket};
        *bucket = i;
    }
    return i;
}

static void address_drop_if_unused(struct hf_pipes *p, uint32_t index)
{
    struct address *a = &p->addresses[index];
    uint32_t *link = bucket_of(p, &a->host);

    if (a->count > 0) {
        return;
    }
    while (*link != index) {
        HF_ASSERT(*link != NONE);
        link = &p->addresses[*link].next;
    }
    *link = a->next;
    a->next = p->unused_address;
    p->unused_address = index;
}

/* ---- connections ---- */

/* What an address adds to the strangers of the stream. */
static uint32_t strange_streams(const struct address *a)
{
    return a->streams > STREAMS_EACH * a->trusted ? a->streams - STREAMS_EACH * a->trusted : 0;
}

/* Every change of a count: the pipe comes (1) or goes (-1). */
static void count(struct hf_pipes *p, const struct hf_pipe *pipe, int by)
{
    struct address *a = &p->addresses[pipe->address];

    p->stranger_streams -= strange_streams(a);
    p->count += (uint32_t)by;
    a->count += (uint32_t)by;
    if (pipe->channel == HF_CHANNEL_STREAM) {
        a->streams += (uint32_t)by;
    } else if (pipe->trusted) {
        a->trusted += (uint32_t)by;
    } else {
        a->strangers += (uint32_t)by;
        p->stranger_controls += (uint32_t)by;
    }
    p->stranger_streams += strange_streams(a);
}

static enum hf_pipes_answer answer_to(const struct hf_pipes *p, const struct hf_pipe *pipe)
{
    const struct address *a = &p->addresses[pipe->address];

    if (a->count >= p->caps.per_address) {
        return HF_PIPES_FULL;
    }
    if (pipe->channel == HF_CHANNEL_STREAM && a->streams >= STREAMS_EACH * a->trusted &&
        p->stranger_streams >= p->caps.stranger_streams) {
        return HF_PIPES_STRANGE;
    }
    return HF_PIPES_TAKEN;
}

enum hf_pipes_answer hf_pipes_add(struct hf_pipes *p, uint32_t id, enum hf_channel channel,
                                  const struct hf_endpoint *peer, uint64_t now)
{
    uint32_t index = p->unused;
    uint32_t *bucket = &p->buckets[id % BUCKETS];
    struct hf_pipe *pipe;
    enum hf_pipes_answer answer;
    uint32_t unused;

    if (index == NONE) {
        return HF_PIPES_FULL;
    }
    pipe = &p->at[index];
    unused = pipe->next;
    *pipe = (struct hf_pipe){
        .peer = *peer, .channel = channel, .id = id, .next = unused, .since_ms = now};
    if (inet_ntop(peer->family, peer->address, pipe->text, sizeof(pipe->text)) == NULL) {
        (void)snprintf(pipe->text, sizeof(pipe->text), "?");
    }
    pipe->address = address_find(p, peer);
    answer = answer_to(p, pipe);
    if (answer != HF_PIPES_TAKEN) {
        pipe->id = 0;
        address_drop_if_unused(p, pipe->address);
        return answer;
    }
    count(p, pipe, 1);
    p->unused = unused;
    pipe->next = *bucket;
    *bucket = index;
    return HF_PIPES_TAKEN;
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
    struct hf_pipe *pipe = &p->at[index];
    count(p, pipe, -1);
    address_drop_if_unused(p, pipe->address);
    *link = pipe->next;
    pipe->next = p->unused;
    pipe->id = 0; /* nng gives it to none */
    p->unused = index;
}

uint32_t hf_pipes_count(const struct hf_pipes *p)
{
    return p->count;
}

/* ---- strangers ---- */

void hf_pipes_trust(struct hf_pipes *p, uint32_t id, bool trusted)
{
    struct hf_pipe *pipe = hf_pipes_find(p, id);

    if (pipe != NULL) {
        count(p, pipe, -1);
        pipe->trusted = trusted;
        count(p, pipe, 1);
    }
}

static int by_age(const void *a, const void *b)
{
    const struct hf_connection *x = a;
    const struct hf_connection *y = b;

    return (x->since_ms > y->since_ms) - (x->since_ms < y->since_ms);
}

static struct hf_connection connection_of(const struct hf_pipe *pipe)
{
    return (struct hf_connection){pipe->peer, pipe->channel, pipe->id, pipe->since_ms, pipe->ended};
}

uint32_t hf_pipes_list(const struct hf_pipes *p, struct hf_connection *out)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->caps.all; i++) {
        if (p->at[i].id != 0) {
            out[n++] = connection_of(&p->at[i]);
        }
    }
    return n;
}

/* All of them, by age. */
static uint32_t list_strangers(struct hf_pipes *p, struct hf_connection *out)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->caps.all; i++) {
        const struct hf_pipe *pipe = &p->at[i];
        if (pipe->id != 0 && pipe->channel == HF_CHANNEL_CONTROL && !pipe->trusted) {
            out[n++] = connection_of(pipe);
            p->addresses[pipe->address].staying = p->addresses[pipe->address].strangers;
        }
    }
    HF_ASSERT(n == p->stranger_controls);
    qsort(out, n, sizeof(*out), by_age);
    return n;
}

uint32_t hf_pipes_end_strangers(struct hf_pipes *p, uint64_t before_ms, struct hf_connection *out)
{
    uint32_t of_address = p->caps.per_address / 2;
    uint32_t staying = p->stranger_controls;
    uint32_t ended = 0;
    uint32_t n;

    if (staying <= p->caps.stranger_controls && staying <= of_address) {
        return 0;
    }
    n = list_strangers(p, out);
    for (uint32_t i = 0; i < n && out[i].since_ms < before_ms; i++) {
        struct hf_pipe *pipe = hf_pipes_find(p, out[i].id);
        struct address *a = &p->addresses[pipe->address];
        if (staying > p->caps.stranger_controls || a->staying > of_address) {
            pipe->ended = true;
            staying--;
            a->staying--;
            out[ended++] = out[i];
        }
    }
    return ended;
}
