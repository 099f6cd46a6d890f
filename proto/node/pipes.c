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

/* There is one for every address that has a connection, so at most as many as connections. */
struct address {
    uint16_t family;
    uint8_t bytes[16];
    uint32_t count;
    uint32_t next;
};

struct hf_pipes {
    uint32_t per_address;
    uint32_t max;
    uint32_t count;
    uint32_t unused;         /* head of the free list */
    uint32_t unused_address; /* and of that of addresses */
    uint32_t buckets[BUCKETS];
    uint32_t address_buckets[BUCKETS];
    struct address *addresses; /* owned */
    struct hf_pipe at[];
};

struct hf_pipes *hf_pipes_new(uint32_t per_address, uint32_t max)
{
    struct hf_pipes *p = calloc(1, sizeof(*p) + (size_t)max * sizeof(p->at[0]));

    if (p == NULL) {
        return NULL;
    }
    p->addresses = calloc(max, sizeof(p->addresses[0]));
    if (p->addresses == NULL) {
        free(p);
        return NULL;
    }
    p->per_address = per_address;
    p->max = max;
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

static void describe(const nng_sockaddr *peer, struct address *a, char *text, size_t cap)
{
    memset(a, 0, sizeof(*a));
    a->family = peer->s_family;
    if (peer->s_family == NNG_AF_INET) {
        memcpy(a->bytes, &peer->s_in.sa_addr, sizeof(peer->s_in.sa_addr));
        (void)inet_ntop(AF_INET, a->bytes, text, (socklen_t)cap);
    } else if (peer->s_family == NNG_AF_INET6) {
        memcpy(a->bytes, peer->s_in6.sa_addr, sizeof(a->bytes));
        (void)inet_ntop(AF_INET6, a->bytes, text, (socklen_t)cap);
    } else {
        (void)snprintf(text, cap, "?");
    }
}

static uint32_t *bucket_of(struct hf_pipes *p, const struct address *a)
{
    uint32_t h = a->family;

    for (size_t i = 0; i < sizeof(a->bytes); i++) {
        h = h * 31u + a->bytes[i];
    }
    return &p->address_buckets[h % BUCKETS];
}

/* The entry of this address, made when it has none. There is always room: see struct address. */
static uint32_t address_find(struct hf_pipes *p, const struct address *a)
{
    uint32_t *bucket = bucket_of(p, a);
    uint32_t i = *bucket;

    while (i != NONE && (p->addresses[i].family != a->family ||
                         memcmp(p->addresses[i].bytes, a->bytes, sizeof(a->bytes)) != 0)) {
        i = p->addresses[i].next;
    }
    if (i == NONE) {
        i = p->unused_address;
        HF_ASSERT(i != NONE);
        p->unused_address = p->addresses[i].next;
        p->addresses[i] = *a;
        p->addresses[i].next = *bucket;
        *bucket = i;
    }
    return i;
}

static void address_drop_if_unused(struct hf_pipes *p, uint32_t index)
{
    struct address *a = &p->addresses[index];
    uint32_t *link = bucket_of(p, a);

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

bool hf_pipes_add(struct hf_pipes *p, uint32_t id, const nng_sockaddr *peer)
{
    uint32_t index = p->unused;
    uint32_t *bucket = &p->buckets[id % BUCKETS];
    struct address described;
    struct hf_pipe *pipe;

    if (index == NONE) {
        return false;
    }
    pipe = &p->at[index];
    describe(peer, &described, pipe->text, sizeof(pipe->text));
    pipe->address = address_find(p, &described);
    if (p->addresses[pipe->address].count >= p->per_address) {
        address_drop_if_unused(p, pipe->address);
        return false;
    }
    p->addresses[pipe->address].count++;
    p->unused = pipe->next;
    pipe->id = id;
    pipe->busy = 0;
    pipe->next = *bucket;
    *bucket = index;
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
    p->addresses[p->at[index].address].count--;
    address_drop_if_unused(p, p->at[index].address);
    *link = p->at[index].next;
    p->at[index].next = p->unused;
    p->unused = index;
    p->count--;
}

uint32_t hf_pipes_count(const struct hf_pipes *p)
{
    return p->count;
}
