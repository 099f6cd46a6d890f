/*
 * requests.c - at most two requests in flight on each REQ connection, the others wait here.
 *
 * Connection 0 carries the small ones, HELLO, REPORT and their like, which must not stand behind
 * replies full of data. Those that ask for data go to the connections after it, one each while
 * there are enough, two at most. Only while none of these is up one data request at a time may go
 * over connection 0: the first hole after an outage is repaired two round trips sooner, and an edge
 * whose further connections are refused still catches up.
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
    bool data;
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
    int result;
    uint64_t deadline_ms;
};

struct hf_requests {
    struct hf_inbox *inbox;
    uint32_t kind;
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
    s->result = rv;
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

struct hf_requests *hf_requests_new(struct hf_inbox *in, uint32_t kind)
{
    struct hf_requests *r = calloc(1, sizeof(*r));

    if (r != NULL) {
        r->inbox = in;
        r->kind = kind;
    }
    return r;
}

int hf_requests_connect(struct hf_requests *r, uint32_t connection, nng_socket socket)
{
    HF_ASSERT(connection < HF_CONTROL_MAX);
    for (uint32_t i = 0; i < HF_SLOTS_PER_CONNECTION; i++) {
        uint32_t index = connection * HF_SLOTS_PER_CONNECTION + i;
        struct slot *s = &r->slots[index];
        int rv = s->aio == NULL ? nng_aio_alloc(&s->aio, slot_completed, s) : 0;

        if (rv != 0 || (rv = nng_ctx_open(&s->ctx, socket)) != 0) {
            return rv;
        }
        s->owner = r;
        s->index = index;
        s->connection = connection;
        s->request = NO_REQUEST;
    }
    return 0;
}

void hf_requests_free(struct hf_requests *r)
{
    if (r == NULL) {
        return;
    }
    for (uint32_t i = 0; i < HF_CONTROL_MAX * HF_SLOTS_PER_CONNECTION; i++) {
        if (r->slots[i].aio != NULL) {
            nng_aio_free(r->slots[i].aio);
        }
    }
    free(r);
}

/* ---- which request goes where ---- */

uint32_t hf_requests_flying(const struct hf_requests *r, uint32_t connection)
{
    const struct slot *s = &r->slots[connection * HF_SLOTS_PER_CONNECTION];
    uint32_t n = 0;

    for (uint32_t i = 0; s->owner != NULL && i < HF_SLOTS_PER_CONNECTION; i++) {
        n += s[i].request != NO_REQUEST ? 1u : 0u;
    }
    return n;
}

static struct slot *slot_of(struct hf_requests *r, uint32_t connection)
{
    struct slot *s = &r->slots[connection * HF_SLOTS_PER_CONNECTION];

    for (uint32_t i = 0; i < HF_SLOTS_PER_CONNECTION; i++) {
        if (s[i].request == NO_REQUEST) {
            return &s[i];
        }
    }
    return NULL;
}

static bool carries_data(const struct hf_requests *r, uint32_t connection)
{
    const struct slot *s = &r->slots[connection * HF_SLOTS_PER_CONNECTION];
    bool data = false;

    for (uint32_t i = 0; i < HF_SLOTS_PER_CONNECTION; i++) {
        data = data || (s[i].request != NO_REQUEST && r->requests[s[i].request].data);
    }
    return data;
}

static struct slot *slot_for_data(struct hf_requests *r)
{
    bool any = false;

    for (uint32_t load = 0; load < HF_SLOTS_PER_CONNECTION; load++) {
        for (uint32_t c = 1; c < HF_CONTROL_MAX; c++) {
            any = any || r->usable[c];
            if (r->usable[c] && hf_requests_flying(r, c) == load) {
                return slot_of(r, c);
            }
        }
    }
    return !any && r->usable[0] && !carries_data(r, 0) ? slot_of(r, 0) : NULL;
}

static struct slot *slot_for(struct hf_requests *r, bool data)
{
    if (data) {
        return slot_for_data(r);
    }
    return r->usable[0] ? slot_of(r, 0) : NULL;
}

static uint32_t oldest_waiting(const struct hf_requests *r, bool data)
{
    uint32_t best = NO_REQUEST;

    for (uint32_t i = 0; i < HF_REQUESTS_MAX; i++) {
        const struct request *q = &r->requests[i];
        if (q->state == REQUEST_WAITING && q->data == data &&
            (best == NO_REQUEST || q->order < r->requests[best].order)) {
            best = i;
        }
    }
    return best;
}

static void start_class(struct hf_requests *r, bool data)
{
    for (;;) {
        struct slot *s = slot_for(r, data);
        uint32_t index = s == NULL ? NO_REQUEST : oldest_waiting(r, data);

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

static void start_waiting(struct hf_requests *r)
{
    start_class(r, false);
    start_class(r, true);
}

enum hf_err hf_requests_add(struct hf_requests *r, const struct hf_request_new *n)
{
    struct request *q = NULL;

    if (n->timeout_ms <= 0 || n->timeout_ms > INT32_MAX) {
        return HF_ARG;
    }
    if (n->message.len > HF_MESSAGE_MAX) {
        return HF_TOO_BIG;
    }
    uint32_t data = 0;
    for (uint32_t i = 0; i < HF_REQUESTS_MAX; i++) {
        bool taken = r->requests[i].state != REQUEST_FREE;
        q = q == NULL && !taken ? &r->requests[i] : q;
        data += taken && r->requests[i].data;
    }
    if (q == NULL || (n->data && data == HF_REQUESTS_MAX - HF_REQUESTS_SMALL)) {
        return HF_BUSY;
    }
    q->msg = hf_transport_message(n->message);
    if (q->msg == NULL) {
        return HF_NOMEM;
    }
    q->id = n->id;
    q->data = n->data;
    q->order = r->orders++;
    q->deadline_ms = hf_transport_now() + (uint64_t)n->timeout_ms;
    q->state = REQUEST_WAITING;
    start_waiting(r);
    return HF_OK;
}

void hf_requests_usable(struct hf_requests *r, uint32_t connection, bool usable)
{
    HF_ASSERT(connection < HF_CONTROL_MAX);
    if (r->usable[connection] != usable) {
        r->usable[connection] = usable;
        start_waiting(r);
    }
}

struct hf_request_end hf_requests_done(struct hf_requests *r, uint32_t slot)
{
    struct slot *s = &r->slots[slot];
    struct request *q;
    struct hf_request_end end;

    HF_ASSERT(slot < HF_CONTROL_MAX * HF_SLOTS_PER_CONNECTION && s->owner == r);
    HF_ASSERT(s->request != NO_REQUEST);
    q = &r->requests[s->request];
    HF_ASSERT(q->state == REQUEST_FLYING);
    end = (struct hf_request_end){
        .id = q->id, .connection = s->connection, .timed_out = s->result == NNG_ETIMEDOUT};
    q->state = REQUEST_FREE;
    s->request = NO_REQUEST;
    /* What waits must not follow onto a connection that may be dead; the owner finds out. */
    if (end.timed_out && end.connection > 0) {
        r->usable[end.connection] = false;
    }
    start_waiting(r);
    return end;
}

uint32_t hf_requests_data(const struct hf_requests *r)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < HF_REQUESTS_MAX; i++) {
        n += r->requests[i].state != REQUEST_FREE && r->requests[i].data ? 1u : 0u;
    }
    return n;
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
