/*
 * dialer.c - the edge's side of the transport: the stream, the control connection, and a pool for
 * data.
 *
 * Link 0 is the stream (SUB), link 1 carries the small requests (REQ); both are always wanted, and
 * the owner hears of them as its two channels. Over a lossy long link one TCP connection makes a
 * fraction of the rate (2 to 4 of 20 Mbit/s at 100 ms and 0.5 % loss), so requests for data have up
 * to `data_connections` links of their own. One more is dialled whenever more such requests are
 * open than links are wanted, and closed after 30 s without use. They are dialled only while link 1
 * is up: in an outage two links find out that it is over.
 *
 * A request for data that times out makes the whole pool suspect: a connection that carries one, or
 * has carried none for a while, gets no more until something arrives on it, and is closed once it
 * is quiet, those that carry requests later than the others: what a cut held up may still come.
 * While one is waited for so, another may take its place, so there can be twice as many. What was
 * under way on a closed connection is reported as failed at once. Until the pool is well again one
 * request at a time uses link 1 (requests.c).
 *
 * The guards of nng's faults and the pace of dialling are in link.c.
 *
 * Must not: call nng_close (it can hang), or wait for anything.
 *
 * Read next: link.c, requests.c, then listener.c for the other side.
 */
#include "proto/node/transport_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include <nng/protocol/pubsub0/sub.h>

#define STREAM_MESSAGES_MAX 4096u
#define STREAM_BYTES_MAX ((size_t)64 << 20)
/* Messages delivered in one turn of the loop before others get theirs. */
#define TURN_MAX 512u
#define TAKE_MAX 64u
/* Longer than the pauses of one catch-up; a new connection costs two round trips. */
#define IDLE_MS_DEFAULT 30000
/* A connection that loses a packet twice is quiet for 0.6 s at a round trip of 100 ms; one that is
 * dead, for ever. */
#define SUSPECT_QUIET_MS 1000u
/* One that carries a request may have its reply on the way: after a cut of 5 s TCP sends again
 * within 5 s more, or 10 when that is lost too, and who closes it has all that it held sent anew.
 */
#define CARRIES_QUIET_MS 15000u

/* A core that ends our connections at once is asked again after at most so long; one that refuses
 * further ones for data has no room for them. */
#define PAUSE_MS 1000u
#define DATA_PAUSE_MS 16000u
#define EXPECTED_MS 2000u

#define STREAM 0u
#define CONTROL 1u
#define FIRST_DATA 2u
#define LINKS_MAX (FIRST_DATA + HF_DATA_MAX)

enum item_kind {
    ITEM_MESSAGE = 0,
    ITEM_REPLY = 1,
};

struct hf_dialer {
    struct hf_dialer_config config; /* its URLs are those below */
    uv_loop_t *loop;
    char urls[HF_CHANNELS][HF_URL_BYTES];
    struct hf_inbox inbox;
    uint32_t queued; /* stream messages in the inbox; under its lock */
    struct hf_requests *requests;
    uint32_t expected; /* requests for data that are about to come, until then */
    uint64_t expected_until;
    nng_aio *receiving;
    uv_timer_t guard;
    uv_timer_t expiry;
    bool wedged;
    bool closed;
    struct hf_dialer_counts counts;  /* `dropped` under the lock */
    struct hf_link links[LINKS_MAX]; /* those of the pool are opened when first wanted */
};

static uint32_t link_count(const struct hf_dialer *d)
{
    uint32_t pool = 2u * d->config.data_connections;

    return FIRST_DATA + (pool < HF_DATA_MAX ? pool : HF_DATA_MAX);
}

/* ---- nng's threads ---- */

static void stream_received(void *arg)
{
    struct hf_dialer *d = arg;
    struct hf_link *k = &d->links[STREAM];
    int rv = nng_aio_result(d->receiving);
    nng_msg *msg;

    if (rv == NNG_ECLOSED || rv == NNG_ECANCELED) {
        return;
    }
    if (rv == 0) {
        msg = nng_aio_get_msg(d->receiving);
        nng_aio_set_msg(d->receiving, NULL);
        pthread_mutex_lock(&d->inbox.lock);
        k->heard_ms = hf_transport_now();
        if (d->queued >= STREAM_MESSAGES_MAX || d->inbox.bytes >= STREAM_BYTES_MAX) {
            d->counts.dropped++;
            nng_msg_free(msg);
        } else if (hf_inbox_put(&d->inbox, (struct hf_inbox_item){msg, ITEM_MESSAGE, 0})) {
            d->queued++;
        }
        pthread_mutex_unlock(&d->inbox.lock);
    }
    nng_recv_aio(k->socket, d->receiving);
}

/* ---- links ---- */

/* To requests.c the connections are numbered from link 1 on: the stream takes no requests. */
static void set_usable(struct hf_dialer *d, uint32_t i)
{
    const struct hf_link *k = &d->links[i];

    hf_requests_usable(d->requests, i - CONTROL,
                       k->told != 0 && (i == CONTROL || (k->wanted && !k->suspect)));
}

static bool pool_add(struct hf_dialer *d, uint32_t i)
{
    struct hf_link *k = &d->links[i];

    k->pause_ms_max = DATA_PAUSE_MS;
    if (k->socket.id == 0) {
        int rv = hf_link_open(k, HF_CHANNEL_CONTROL, d->urls[HF_CHANNEL_CONTROL], &d->inbox);

        if (rv == 0) {
            rv = hf_requests_connect(d->requests, i - CONTROL, k->socket);
        }
        if (rv != 0) {
            /* No memory: nothing was dialled, so nng_close has no pipe to hang on. */
            if (k->socket.id != 0) {
                (void)nng_close(k->socket);
                k->socket.id = 0;
            }
            return false;
        }
    }
    hf_link_want(k, true);
    set_usable(d, i);
    return true;
}

/* Those that are used or dialled, without the suspect ones that were not heard of for a while. */
static uint32_t pool_size(const struct hf_dialer *d)
{
    uint64_t now = hf_transport_now();
    uint32_t n = 0;

    for (uint32_t i = FIRST_DATA; i < link_count(d); i++) {
        const struct hf_link *k = &d->links[i];
        bool waits = k->suspect && now - k->used_ms >= 2u * SUSPECT_QUIET_MS;

        n += k->wanted && !waits ? 1u : 0u;
    }
    return n;
}

/* As many links as there are open requests for data, or as will be in a moment. */
static uint32_t pool_need(const struct hf_dialer *d)
{
    uint32_t open = hf_requests_data(d->requests);
    uint32_t soon = hf_transport_now() < d->expected_until ? d->expected : 0;

    return open > soon ? open : soon;
}

static void pool_grow(struct hf_dialer *d)
{
    uint32_t most = d->config.data_connections;
    uint32_t need = pool_need(d) < most ? pool_need(d) : most;
    uint32_t have = pool_size(d);

    if (d->closed || d->links[CONTROL].told == 0) {
        return;
    }
    for (uint32_t i = FIRST_DATA; i < link_count(d) && have < need; i++) {
        if (!d->links[i].wanted) {
            have = pool_add(d, i) ? have + 1u : need;
        }
    }
}

static void pool_drop(struct hf_dialer *d, uint32_t i)
{
    hf_link_want(&d->links[i], false);
    set_usable(d, i);
}

/* Closes what nobody used for long, and dials no longer for requests that are gone. */
static void pool_shrink(struct hf_dialer *d)
{
    bool idle = pool_need(d) == 0;
    uint64_t now = hf_transport_now();

    for (uint32_t i = FIRST_DATA; i < link_count(d); i++) {
        struct hf_link *k = &d->links[i];

        if (k->told == 0 ? k->wanted && idle
                         : hf_requests_flying(d->requests, i - CONTROL) == 0 &&
                               now - k->used_ms >= (uint64_t)d->config.data_idle_ms) {
            pool_drop(d, i);
        }
    }
}

static void pool_suspect(struct hf_dialer *d, uint32_t quiet_ms)
{
    uint64_t now = hf_transport_now();

    for (uint32_t i = FIRST_DATA; i < link_count(d); i++) {
        struct hf_link *k = &d->links[i];
        bool carries = hf_requests_flying(d->requests, i - CONTROL) > 0;

        /* One that rests, and was heard of just before, is as good as any. */
        if (k->told != 0 && (carries || now - k->used_ms >= quiet_ms)) {
            hf_link_suspect(k, carries ? CARRIES_QUIET_MS : quiet_ms);
            set_usable(d, i);
        }
    }
}

static void tell(struct hf_dialer *d, uint32_t i, bool up)
{
    if (up && i < FIRST_DATA) {
        hf_link_hurry(&d->links[i == STREAM ? CONTROL : STREAM]);
    }
    if (i != STREAM) {
        set_usable(d, i);
    }
    if (i < FIRST_DATA) {
        d->config.on_link(d->config.ctx, i == STREAM ? HF_CHANNEL_STREAM : HF_CHANNEL_CONTROL, up);
    }
}

static void link_lost(struct hf_dialer *d, uint32_t i)
{
    /* Otherwise it is dialled again, and closed later if it was one too many: to take a try back
     * costs the core more. */
    if (i >= FIRST_DATA && (d->links[CONTROL].told == 0 || pool_need(d) == 0)) {
        pool_drop(d, i);
    }
    for (uint32_t p = FIRST_DATA; i == CONTROL && p < link_count(d); p++) {
        if (d->links[p].told == 0 && d->links[p].wanted) {
            pool_drop(d, p);
        }
    }
    tell(d, i, false);
}

static void settle(struct hf_dialer *d)
{
    for (uint32_t i = 0; i < link_count(d) && !d->closed; i++) {
        enum hf_link_change change = HF_LINK_UP;

        while (d->links[i].socket.id != 0 && change != HF_LINK_SAME && !d->closed) {
            change = hf_link_settle(&d->links[i]);
            if (change == HF_LINK_DOWN) {
                link_lost(d, i);
            } else if (change == HF_LINK_UP) {
                tell(d, i, true);
            }
        }
    }
    pool_grow(d);
}

static void guard(struct hf_dialer *d, uint32_t i)
{
    if (d->links[i].socket.id != 0 && !d->wedged && !hf_link_guard(&d->links[i])) {
        d->wedged = true;
        d->config.on_wedged(d->config.ctx,
                            "a connection that has ended is still there: nng's reap thread is "
                            "stuck");
    }
}

static void on_guard(uv_timer_t *timer)
{
    struct hf_dialer *d = timer->data;

    settle(d);
    pool_shrink(d);
    for (uint32_t i = 0; i < link_count(d) && !d->closed; i++) {
        guard(d, i);
    }
}

void hf_dialer_redial(struct hf_dialer *d, enum hf_channel channel)
{
    uint32_t first = channel == HF_CHANNEL_STREAM ? STREAM : CONTROL;
    uint32_t last = channel == HF_CHANNEL_STREAM ? STREAM : link_count(d) - 1u;

    hf_link_suspect(&d->links[first], HF_QUIET_MS);
    if (channel == HF_CHANNEL_CONTROL) {
        pool_suspect(d, HF_QUIET_MS);
    }
    for (uint32_t i = first; i <= last && !d->closed; i++) {
        guard(d, i);
    }
}

/* ---- delivery ---- */

static void on_expiry(uv_timer_t *timer);

static void arm_expiry(struct hf_dialer *d)
{
    uint64_t due = hf_requests_deadline(d->requests);
    uint64_t now = hf_transport_now();

    if (d->closed || due == UINT64_MAX) {
        return;
    }
    uv_update_time(d->loop);
    (void)uv_timer_start(&d->expiry, on_expiry, due > now ? due - now : 0, 0);
}

static void on_expiry(uv_timer_t *timer)
{
    struct hf_dialer *d = timer->data;
    uint64_t id = 0;

    while (!d->closed && hf_requests_expired(d->requests, hf_transport_now(), &id)) {
        d->config.on_reply(d->config.ctx, id, hf_slice_of(NULL, 0));
    }
    arm_expiry(d);
}

static struct hf_slice slice_of(nng_msg *msg)
{
    return msg == NULL ? hf_slice_of(NULL, 0) : hf_slice_of(nng_msg_body(msg), nng_msg_len(msg));
}

static void deliver_reply(struct hf_dialer *d, const struct hf_inbox_item *item)
{
    struct hf_request_end end = hf_requests_done(d->requests, item->index);
    uint32_t i = CONTROL + end.connection;

    if (item->msg != NULL) {
        hf_link_heard(&d->links[i]);
        set_usable(d, i);
    } else if (end.timed_out && i >= FIRST_DATA) {
        hf_link_suspect(&d->links[i], HF_QUIET_MS);
        set_usable(d, i);
        pool_suspect(d, SUSPECT_QUIET_MS);
    }
    d->config.on_reply(d->config.ctx, end.id, slice_of(item->msg));
}

static void deliver(struct hf_dialer *d, const struct hf_inbox_item *item)
{
    if (d->closed) {
        return;
    }
    switch ((enum item_kind)item->kind) {
    case ITEM_MESSAGE:
        /* What the owner missed is arriving again; it asks once more if this was not enough. */
        d->links[STREAM].suspect = false;
        d->counts.messages++;
        d->config.on_message(d->config.ctx, slice_of(item->msg));
        break;
    case ITEM_REPLY:
        deliver_reply(d, item);
        break;
    }
}

static uint32_t take(struct hf_dialer *d, struct hf_inbox_item *items, uint32_t max)
{
    uint32_t n;

    pthread_mutex_lock(&d->inbox.lock);
    n = hf_inbox_take(&d->inbox, items, max);
    for (uint32_t i = 0; i < n; i++) {
        d->queued -= items[i].kind == ITEM_MESSAGE ? 1u : 0u;
    }
    if (d->inbox.count > 0) {
        hf_inbox_wake(&d->inbox);
    }
    pthread_mutex_unlock(&d->inbox.lock);
    return n;
}

static void on_wake(uv_async_t *async)
{
    struct hf_dialer *d = async->data;
    struct hf_inbox_item items[TAKE_MAX];
    uint32_t n;

    settle(d);
    for (uint32_t total = 0; total < TURN_MAX && !d->closed; total += n) {
        n = take(d, items, TAKE_MAX);
        if (n == 0) {
            break;
        }
        for (uint32_t i = 0; i < n; i++) {
            deliver(d, &items[i]);
            nng_msg_free(items[i].msg);
        }
    }
}

/* ---- open and close ---- */

static uint16_t url_port(const char *url)
{
    uint32_t port = 0;

    (void)hf_transport_port(url, &port); /* 0 when it has none that could be dialled */
    return (uint16_t)port;
}

static enum hf_err check_config(const struct hf_dialer_config *c, struct hf_error *e)
{
    enum hf_err err = hf_url_check(c->stream_url, e);

    err = err == HF_OK ? hf_url_check(c->control_url, e) : err;
    if (err != HF_OK) {
        return err;
    }
    if (url_port(c->stream_url) == 0 || url_port(c->control_url) == 0) {
        return hf_error_set(e, HF_ARG, "%s: port 0 cannot be dialled", c->stream_url);
    }
    if (c->data_connections > HF_DATA_MAX) {
        return hf_error_set(e, HF_ARG, "%u connections for data: at most %u are possible",
                            c->data_connections, HF_DATA_MAX);
    }
    return HF_OK;
}

static int open_sockets(struct hf_dialer *d)
{
    int rv = nng_aio_alloc(&d->receiving, stream_received, d);

    d->requests = hf_requests_new(&d->inbox, ITEM_REPLY);
    if (rv != 0 || d->requests == NULL) {
        return NNG_ENOMEM;
    }
    d->links[STREAM].pause_ms_max = PAUSE_MS;
    d->links[CONTROL].pause_ms_max = PAUSE_MS;
    d->links[CONTROL].leads = true;
    if ((rv = hf_link_open(&d->links[STREAM], HF_CHANNEL_STREAM, d->urls[HF_CHANNEL_STREAM],
                           &d->inbox)) != 0 ||
        (rv = hf_link_open(&d->links[CONTROL], HF_CHANNEL_CONTROL, d->urls[HF_CHANNEL_CONTROL],
                           &d->inbox)) != 0) {
        return rv;
    }
    return hf_requests_connect(d->requests, 0, d->links[CONTROL].socket);
}

/* Nothing was dialled yet: nng_close has no pipe to hang on. */
static void undo(struct hf_dialer *d)
{
    for (uint32_t i = 0; i < FIRST_DATA; i++) {
        if (d->links[i].socket.id != 0) {
            (void)nng_close(d->links[i].socket);
        }
    }
    hf_requests_free(d->requests);
    if (d->receiving != NULL) {
        nng_aio_free(d->receiving);
    }
    free(d);
}

static void start(struct hf_dialer *d)
{
    (void)uv_timer_init(d->loop, &d->guard);
    (void)uv_timer_init(d->loop, &d->expiry);
    d->guard.data = d;
    d->expiry.data = d;
    (void)uv_timer_start(&d->guard, on_guard, HF_GUARD_MS, HF_GUARD_MS);
    nng_recv_aio(d->links[STREAM].socket, d->receiving);
    hf_link_want(&d->links[STREAM], true);
    hf_link_want(&d->links[CONTROL], true);
}

enum hf_err hf_dialer_open(struct uv_loop_s *loop, const struct hf_dialer_config *c,
                           struct hf_dialer **out, struct hf_error *e)
{
    enum hf_err err = check_config(c, e);
    struct hf_dialer *d;
    int rv;

    if (err != HF_OK) {
        return err;
    }
    d = calloc(1, sizeof(*d));
    if (d == NULL) {
        return hf_error_set(e, HF_NOMEM, "dial %s: out of memory", c->stream_url);
    }
    d->config = *c;
    d->config.data_idle_ms = c->data_idle_ms > 0 ? c->data_idle_ms : IDLE_MS_DEFAULT;
    d->loop = loop;
    (void)snprintf(d->urls[HF_CHANNEL_STREAM], HF_URL_BYTES, "%s", c->stream_url);
    (void)snprintf(d->urls[HF_CHANNEL_CONTROL], HF_URL_BYTES, "%s", c->control_url);
    d->config.stream_url = d->urls[HF_CHANNEL_STREAM];
    d->config.control_url = d->urls[HF_CHANNEL_CONTROL];
    rv = open_sockets(d);
    if (rv != 0) {
        undo(d);
        return hf_transport_error(e, rv, "dial", c->stream_url);
    }
    err = hf_inbox_init(&d->inbox, loop, STREAM_MESSAGES_MAX + HF_REQUESTS_MAX, on_wake, d);
    if (err != HF_OK) {
        undo(d);
        return hf_error_set(e, err, "dial %s: %s", c->stream_url, hf_err_text(err));
    }
    start(d);
    *out = d;
    return HF_OK;
}

enum hf_err hf_dialer_subscribe(struct hf_dialer *d, struct hf_slice prefix)
{
    int rv =
        nng_socket_set(d->links[STREAM].socket, NNG_OPT_SUB_SUBSCRIBE, prefix.data, prefix.len);

    return rv == 0 ? HF_OK : HF_NOMEM;
}

static enum hf_err add(struct hf_dialer *d, const struct hf_request_new *n)
{
    enum hf_err err = hf_requests_add(d->requests, n);

    if (err == HF_OK) {
        pool_grow(d);
        arm_expiry(d);
    }
    return err;
}

enum hf_err hf_dialer_request(struct hf_dialer *d, uint64_t id, struct hf_slice message,
                              hf_ms timeout_ms)
{
    return add(d, &(struct hf_request_new){id, false, message, timeout_ms});
}

enum hf_err hf_dialer_fetch(struct hf_dialer *d, uint64_t id, struct hf_slice message,
                            hf_ms timeout_ms)
{
    return add(d, &(struct hf_request_new){id, true, message, timeout_ms});
}

void hf_dialer_expect(struct hf_dialer *d, uint32_t requests)
{
    d->expected = requests;
    d->expected_until = hf_transport_now() + EXPECTED_MS;
    pool_grow(d);
}

void hf_dialer_counts(const struct hf_dialer *d, struct hf_dialer_counts *out)
{
    struct hf_inbox *in = (struct hf_inbox *)&d->inbox;

    pthread_mutex_lock(&in->lock);
    *out = d->counts;
    pthread_mutex_unlock(&in->lock);
    for (uint32_t i = 0; i < LINKS_MAX; i++) {
        out->closes += d->links[i].counts.closes;
        out->redials += d->links[i].counts.redials;
        out->data_links += i >= FIRST_DATA && d->links[i].told != 0 ? 1u : 0u;
    }
}

void hf_dialer_close(struct hf_dialer *d)
{
    if (d == NULL || d->closed) {
        return;
    }
    d->closed = true;
    hf_inbox_close(&d->inbox, NULL);
    uv_close((uv_handle_t *)&d->guard, NULL);
    uv_close((uv_handle_t *)&d->expiry, NULL);
    /* Stops the redialling in a process that lives on; skipped where nng is known to be stuck. */
    for (uint32_t i = 0; i < LINKS_MAX && !d->wedged; i++) {
        hf_link_close(&d->links[i]);
    }
}
