/*
 * requests.c - at most two requests in flight on each REQ connection, the others wait here.
 *
 * A request is WAITING in the table or FLYING in a slot. A slot is one nng context with one aio,
 * which sends and then, from the completion of the send, receives: a receive that is started
 * earlier can meet a recycled context. Invariant: a flying request has exactly one slot and each
 * start of a slot produces exactly one item in the inbox, so every id ends exactly once, here or in
 * hf_requests_expired.
 *
 * Requests are handed to nng only while their connection is up: what waits in nng cannot move to
 * another connection. Should it break in between, nng ends the request with an error (resending is
 * off), or at its time-out if it was not sent yet.
 *
 * Must not: call back. The dialer does, after the table is consistent again.
 *
 * Read next: dialer.c.
 */
#include "proto/node/transport_impl.h"

#include <stdlib.h>

#define NO_REQUEST UINT32_MAX

enum request_state {
    REQUEST_FREE = 0,
    REQUEST_WAITING = 1,
    REQUEST_FLYING = 2,
};

struct request {
    uint64_t id;
    uint64_t order;
    uint64_t deadline_ms;
    nng_msg *msg; /* owned while it waits */
    enum request_state state;
};

struct slot {
    struct hf_requests *owner;
    uint32_t index;
    uint32_t connection;
    uint32_t request;
    nng_ctx ctx;
    nng_aio *aio;
    /* From the start to the item in the inbox these two belong to nng's thread. */
    bool receiving;
    uint64_t deadline_ms;
};

struct hf_requests {
    struct hf_inbox *inbox;
    uint32_t kind;
    uint32_t slot_count;
    uint64_t orders;
    bool usable[HF_CONTROL_MAX];
    struct slot slots[HF_CONTROL_MAX * HF_SLOTS_PER_CONNECTION];
    struct request requests[HF_REQUESTS_MAX];
};

static nng_duration time_left(uint64_t deadline_ms)
{
    uint64_t now = hf_transport_now();

    /* 0 would mean "fail at once" to nng and leave the context's state as it is. */
    return deadline_ms > now ? (nng_duration)(deadline_ms - now) : 1;
}

/* nng's thread. */
static void slot_completed(void *arg)
{
    struct slot *s = arg;
    struct hf_inbox *in = s->owner->inbox;
    int rv = nng_aio_result(s->aio);
    nng_msg *msg;

    if (rv == 0 && !s->receiving) {
        s->receiving = true;
        nng_aio_set_timeout(s->aio, time_left(s->deadline_ms));
        nng_ctx_recv(s->ctx, s->aio);
        return;
    }
    msg = nng_aio_get_msg(s->aio);
    nng_aio_set_msg(s->aio, NULL);
    if (rv != 0 && msg != NULL) {
        nng_msg_free(msg);
        msg = NULL;
    }
    pthread_mutex_lock(&in->lock);
    (void)hf_inbox_put(in, (struct hf_inbox_item){msg, s->owner->kind, s->index});
    pthread_mutex_unlock(&in->lock);
}

static int slot_open(struct hf_requests *r, uint32_t index, uint32_t connection, nng_socket socket)
{
    struct slot *s = &r->slots[index];
    int rv = nng_aio_alloc(&s->aio, slot_completed, s);

    if (rv != 0) {
        return rv;
    }
    s->owner = r;
    s->index = index;
    s->connection = connection;
    s->request = NO_REQUEST;
    return nng_ctx_open(&s->ctx, socket);
}

enum hf_err hf_requests_new(const struct hf_requests_config *c, struct hf_requests **out, int *rv)
{
    struct hf_requests *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        *rv = NNG_ENOMEM;
        return HF_NOMEM;
    }
    HF_ASSERT(c->connections >= 1 && c->connections <= HF_CONTROL_MAX);
    r->inbox = c->inbox;
    r->kind = c->kind;
    r->slot_count = c->connections * HF_SLOTS_PER_CONNECTION;
    /* The first slots lie on different connections, so that load spreads before it doubles up. */
    for (uint32_t i = 0; i < r->slot_count; i++) {
        *rv = slot_open(r, i, i % c->connections, c->sockets[i % c->connections]);
        if (*rv != 0) {
            hf_requests_free(r);
            return HF_IO;
        }
    }
    *out = r;
    return HF_OK;
}

void hf_requests_free(struct hf_requests *r)
{
    if (r == NULL) {
        return;
    }
    for (uint32_t i = 0; i < r->slot_count; i++) {
        if (r->slots[i].aio != NULL) {
            nng_aio_free(r->slots[i].aio);
        }
    }
    free(r);
}

static struct slot *free_slot(struct hf_requests *r)
{
    for (uint32_t i = 0; i < r->slot_count; i++) {
        struct slot *s = &r->slots[i];
        if (s->request == NO_REQUEST && r->usable[s->connection]) {
            return s;
        }
    }
    return NULL;
}

static uint32_t oldest_waiting(const struct hf_requests *r)
{
    uint32_t best = NO_REQUEST;

    for (uint32_t i = 0; i < HF_REQUESTS_MAX; i++) {
        const struct request *q = &r->requests[i];
        if (q->state == REQUEST_WAITING &&
            (best == NO_REQUEST || q->order < r->requests[best].order)) {
            best = i;
        }
    }
    return best;
}

static void start_waiting(struct hf_requests *r)
{
    for (;;) {
        struct slot *s = free_slot(r);
        uint32_t index = s == NULL ? NO_REQUEST : oldest_waiting(r);

        if (index == NO_REQUEST) {
            return;
        }
        struct request *q = &r->requests[index];
        q->state = REQUEST_FLYING;
        s->request = index;
        s->receiving = false;
        s->deadline_ms = q->deadline_ms;
        nng_aio_set_timeout(s->aio, time_left(q->deadline_ms));
        nng_aio_set_msg(s->aio, q->msg);
        q->msg = NULL;
        nng_ctx_send(s->ctx, s->aio);
    }
}

enum hf_err hf_requests_add(struct hf_requests *r, uint64_t id, struct hf_slice message,
                            hf_ms timeout_ms)
{
    struct request *q = NULL;

    if (timeout_ms <= 0 || timeout_ms > INT32_MAX) {
        return HF_ARG;
    }
    if (message.len > HF_MESSAGE_MAX) {
        return HF_TOO_BIG;
    }
    for (uint32_t i = 0; i < HF_REQUESTS_MAX && q == NULL; i++) {
        q = r->requests[i].state == REQUEST_FREE ? &r->requests[i] : NULL;
    }
    if (q == NULL) {
        return HF_BUSY;
    }
    q->msg = hf_transport_message(message);
    if (q->msg == NULL) {
        return HF_NOMEM;
    }
    q->id = id;
    q->order = r->orders++;
    q->deadline_ms = hf_transport_now() + (uint64_t)timeout_ms;
    q->state = REQUEST_WAITING;
    start_waiting(r);
    return HF_OK;
}

void hf_requests_usable(struct hf_requests *r, uint32_t connection, bool usable)
{
    HF_ASSERT(connection < HF_CONTROL_MAX);
    r->usable[connection] = usable;
    start_waiting(r);
}

uint64_t hf_requests_done(struct hf_requests *r, uint32_t slot, uint32_t *connection)
{
    struct slot *s = &r->slots[slot];
    struct request *q;
    uint64_t id;

    HF_ASSERT(slot < r->slot_count && s->request != NO_REQUEST);
    q = &r->requests[s->request];
    HF_ASSERT(q->state == REQUEST_FLYING);
    q->state = REQUEST_FREE;
    id = q->id;
    s->request = NO_REQUEST;
    *connection = s->connection;
    start_waiting(r);
    return id;
}

bool hf_requests_expired(struct hf_requests *r, uint64_t now, uint64_t *id)
{
    for (uint32_t i = 0; i < HF_REQUESTS_MAX; i++) {
        struct request *q = &r->requests[i];
        if (q->state == REQUEST_WAITING && q->deadline_ms <= now) {
            nng_msg_free(q->msg);
            q->msg = NULL;
            q->state = REQUEST_FREE;
            *id = q->id;
            return true;
        }
    }
    return false;
}

uint64_t hf_requests_deadline(const struct hf_requests *r)
{
    uint64_t soonest = UINT64_MAX;

    for (uint32_t i = 0; i < HF_REQUESTS_MAX; i++) {
        const struct request *q = &r->requests[i];
        if (q->state == REQUEST_WAITING && q->deadline_ms < soonest) {
            soonest = q->deadline_ms;
        }
    }
    return soonest;
}
