/*
 * flight.c - a binary heap over a pool; see flight.h.
 *
 * The pool is used last in, first out: a link that carries little keeps to a few warm pages of it,
 * though it is large enough for a second of 500 Mbit/s.
 */
#include "sim/wan/flight.h"

#include <stdlib.h>

/* 96 MiB of address space; 1 Gbit/s over 100 ms of delay needs 8,500. */
#define PACKETS_MAX 65536u

struct entry {
    uint64_t at_ns, order;
    uint32_t slot;
};

struct hf_wan_flight {
    struct hf_wan_packet *pool; /* owned */
    uint32_t free[PACKETS_MAX];
    uint32_t free_count;
    struct entry heap[PACKETS_MAX];
    uint32_t count;
    uint64_t order;
};

struct hf_wan_flight *hf_wan_flight_new(void)
{
    struct hf_wan_flight *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        return NULL;
    }
    f->pool = malloc(PACKETS_MAX * sizeof(*f->pool));
    if (f->pool == NULL) {
        free(f);
        return NULL;
    }
    for (uint32_t i = 0; i < PACKETS_MAX; i++) {
        f->free[i] = PACKETS_MAX - 1 - i;
    }
    f->free_count = PACKETS_MAX;
    return f;
}

void hf_wan_flight_free(struct hf_wan_flight *f)
{
    if (f != NULL) {
        free(f->pool);
        free(f);
    }
}

struct hf_wan_packet *hf_wan_flight_take(struct hf_wan_flight *f)
{
    return f->free_count == 0 ? NULL : &f->pool[f->free[--f->free_count]];
}

void hf_wan_flight_return(struct hf_wan_flight *f, struct hf_wan_packet *p)
{
    HF_ASSERT(f->free_count < PACKETS_MAX);
    f->free[f->free_count++] = (uint32_t)(p - f->pool);
}

static bool before(const struct entry *a, const struct entry *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void hf_wan_flight_add(struct hf_wan_flight *f, struct hf_wan_packet *p, uint64_t at_ns)
{
    HF_ASSERT(f->count < PACKETS_MAX);
    struct entry e = {at_ns, f->order++, (uint32_t)(p - f->pool)};
    uint32_t i = f->count++;
    while (i > 0) {
        uint32_t parent = (i - 1) / 2;
        if (!before(&e, &f->heap[parent])) {
            break;
        }
        f->heap[i] = f->heap[parent];
        i = parent;
    }
    f->heap[i] = e;
}

uint64_t hf_wan_flight_next(const struct hf_wan_flight *f)
{
    return f->count == 0 ? UINT64_MAX : f->heap[0].at_ns;
}

struct hf_wan_packet *hf_wan_flight_pop(struct hf_wan_flight *f)
{
    HF_ASSERT(f->count > 0);
    struct hf_wan_packet *first = &f->pool[f->heap[0].slot];
    struct entry last = f->heap[--f->count];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= f->count) {
            break;
        }
        if (child + 1 < f->count && before(&f->heap[child + 1], &f->heap[child])) {
            child++;
        }
        if (!before(&f->heap[child], &last)) {
            break;
        }
        f->heap[i] = f->heap[child];
        i = child;
    }
    f->heap[i] = last;
    return first;
}
