/*
 * dialer.c - the edge's side of the transport: one SUB and some REQ connections to a core.
 *
 * A link is one nng socket with at most one dialer and one pipe. nng's threads write `adding` and
 * `pipe` of a link under the inbox's lock; the loop compares `pipe` with what it told its owner
 * last (settle). That is level-triggered: however fast connections come and go, the owner ends up
 * with the truth. REM_POST can overtake ADD_POST, so a pipe is up only if it is still the one of
 * ADD_PRE.
 *
 * The guards, every 250 ms for each link:
 *   B  nng's dialer stops for ever when its peer accepts and sends FIN and RST, and it has no
 *      connect time-out (SYN back-off: 26 s after an outage of 45 s). Without a pipe for GAVE_UP_MS
 *      the kernel is asked: when no connection is being made, the dialer is closed and a new one
 *      made at once. When one is, it gets link_patience_ms: mostly 2 s, but every third try longer,
 *      up to 16 s, for on a link with a round trip above 2 s no shorter try could ever succeed.
 *   C  closing a pipe while bytes arrive can wedge nng's reap thread. nng_pipe_close is called only
 *      on a pipe that was quiet for 500 ms, by our callbacks and by the kernel; nng_dialer_close,
 *      which closes the dialer's pipes, only when there is none. nng itself closes a pipe at the
 *      wrong moment too, when a send fails while replies arrive. The thread is stuck when REM_POST
 *      does not follow a close within 2 s, or when the socket of a pipe that REM_POST has reported
 *      is still there after GAVE_UP_MS: on_wedged.
 *
 * Must not: call nng_close (it can hang), or wait for anything.
 *
 * Read next: requests.c, then listener.c for the other side.
 */
#include "proto/node/transport_impl.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/req.h>

#define STREAM_MESSAGES_MAX 4096u
#define STREAM_BYTES_MAX ((size_t)64 << 20)
#define SUB_QUEUE 8192 /* nng's largest; only used while a callback is late */
#define RECONNECT_MIN_MS 100
#define RECONNECT_MAX_MS 2000
/* With the guard's own 250 ms and a handshake, an edge is back within 2 s of its core, always. */
#define GAVE_UP_MS 1500u
#define LOOK_AGAIN_MS 500u
#define PATIENCE_MS 2000u
#define QUIET_MS 500u
/* Messages delivered in one turn of the loop before others get theirs. */
#define TURN_MAX 512u
#define TAKE_MAX 64u

enum item_kind {
    ITEM_MESSAGE = 0,
    ITEM_REPLY = 1,
};

struct link {
    struct hf_dialer *owner;
    enum hf_channel channel;
    const char *url;
    uint16_t port; /* of the URL */
    nng_socket socket;
    nng_dialer dialer;
    /* Under the inbox's lock. */
    uint32_t adding;
    uint32_t pipe;
    uint64_t adding_ms;
    uint64_t heard_ms; /* last message or reply; also set when the pipe comes up */
    /* The loop's. */
    uint32_t told;       /* the pipe that the owner knows as up, or 0 */
    uint16_t local_port; /* of the last pipe */
    uint64_t lost_ms;    /* without a pipe since, or since the dialer was made anew */
    uint64_t look_ms;    /* when to ask the kernel what became of the dialer */
    uint32_t tries;      /* of this connections that were cut short */
    bool redial;
    uint32_t closing; /* a pipe that we closed and whose REM_POST is due */
    uint64_t closing_ms;
};

struct hf_dialer {
    struct hf_dialer_config config; /* its URLs are those below */
    uv_loop_t *loop;
    char urls[HF_CHANNELS][HF_URL_MAX];
    struct hf_inbox inbox;
    uint32_t queued; /* stream messages in the inbox; under its lock */
    struct hf_requests *requests;
    nng_aio *receiving;
    uv_timer_t guard;
    uv_timer_t expiry;
    uint32_t link_count;
    uint32_t control_up;
    bool wedged;
    bool closed;
    struct hf_dialer_counts counts; /* `dropped` under the lock */
    struct link links[1u + HF_CONTROL_MAX];
};

/* ---- nng's threads ---- */

static void stream_received(void *arg)
{
    struct hf_dialer *d = arg;
    struct link *k = &d->links[0];
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

static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct link *k = arg;
    struct hf_inbox *in = &k->owner->inbox;

    pthread_mutex_lock(&in->lock);
    switch (event) {
    case NNG_PIPE_EV_ADD_PRE:
        k->adding = pipe.id;
        k->adding_ms = hf_transport_now();
        break;
    case NNG_PIPE_EV_ADD_POST:
        if (k->adding == pipe.id) {
            k->adding = 0;
            k->pipe = pipe.id;
            k->heard_ms = hf_transport_now();
        }
        break;
    case NNG_PIPE_EV_REM_POST:
        k->adding = k->adding == pipe.id ? 0 : k->adding;
        k->pipe = k->pipe == pipe.id ? 0 : k->pipe;
        break;
    case NNG_PIPE_EV_NUM:
        break;
    }
    hf_inbox_wake(in);
    pthread_mutex_unlock(&in->lock);
}

/* ---- links ---- */

static uint16_t pipe_port(uint32_t id, const char *option)
{
    nng_pipe pipe = {id};
    nng_sockaddr sa;

    if (nng_pipe_get_addr(pipe, option, &sa) != 0) {
        return 0;
    }
    if (sa.s_family == NNG_AF_INET) {
        return ntohs(sa.s_in.sa_port);
    }
    return sa.s_family == NNG_AF_INET6 ? ntohs(sa.s_in6.sa_port) : 0;
}

static void link_lost(struct link *k, uint64_t now)
{
    k->lost_ms = now;
    k->look_ms = now + GAVE_UP_MS;
}

static void tell_down(struct hf_dialer *d, struct link *k)
{
    k->told = 0;
    k->redial = false;
    link_lost(k, hf_transport_now());
    if (k->channel == HF_CHANNEL_CONTROL) {
        hf_requests_usable(d->requests, (uint32_t)(k - d->links) - 1u, false);
        if (--d->control_up > 0) {
            return;
        }
    }
    d->config.on_link(d->config.ctx, k->channel, false);
}

static void tell_up(struct hf_dialer *d, struct link *k, uint32_t pipe)
{
    k->told = pipe;
    k->tries = 0;
    k->local_port = pipe_port(pipe, NNG_OPT_LOCADDR);
    if (k->channel == HF_CHANNEL_CONTROL) {
        hf_requests_usable(d->requests, (uint32_t)(k - d->links) - 1u, true);
        if (++d->control_up > 1) {
            return;
        }
    }
    d->config.on_link(d->config.ctx, k->channel, true);
}

static void settle(struct hf_dialer *d)
{
    for (uint32_t i = 0; i < d->link_count && !d->closed; i++) {
        struct link *k = &d->links[i];
        uint32_t pipe;

        pthread_mutex_lock(&d->inbox.lock);
        pipe = k->pipe;
        pthread_mutex_unlock(&d->inbox.lock);
        if (pipe != k->told && k->told != 0) {
            tell_down(d, k);
        }
        if (pipe != k->told && !d->closed) {
            tell_up(d, k, pipe);
        }
    }
}

static void wedged(struct hf_dialer *d, const char *why)
{
    if (!d->wedged) {
        d->wedged = true;
        d->config.on_wedged(d->config.ctx, why);
    }
}

static int link_dial(struct link *k)
{
    int rv = nng_dialer_create(&k->dialer, k->socket, k->url);

    return rv != 0 ? rv : nng_dialer_start(k->dialer, NNG_FLAG_NONBLOCK);
}

static uint64_t link_patience_ms(uint32_t tries)
{
    uint32_t long_tries = tries / 3u;

    if (tries % 3u != 2u) {
        return PATIENCE_MS;
    }
    return (uint64_t)PATIENCE_MS << (long_tries < 2u ? long_tries + 1u : 3u);
}

/* Callbacks come after whole messages that match; the kernel knows of every byte (descriptors.c).
 */
static bool link_quiet(uint32_t pipe, uint64_t heard_ms, uint64_t now)
{
    int64_t quiet_ms;

    if (now - heard_ms < QUIET_MS) {
        return false;
    }
    quiet_ms =
        hf_descriptors_quiet_ms(pipe_port(pipe, NNG_OPT_LOCADDR), pipe_port(pipe, NNG_OPT_REMADDR));
    return quiet_ms < 0 || quiet_ms >= (int64_t)QUIET_MS;
}

static void link_close_pipe(struct hf_dialer *d, struct link *k, uint32_t pipe, uint64_t now)
{
    nng_pipe p = {pipe};

    k->redial = false;
    k->closing = pipe;
    k->closing_ms = now;
    d->counts.closes++;
    (void)nng_pipe_close(p);
}

static void link_renew_dialer(struct hf_dialer *d, struct link *k, uint64_t now)
{
    link_lost(k, now);
    d->counts.redials++;
    (void)nng_dialer_close(k->dialer);
    /* Without memory this fails; the next look but one tries again. */
    (void)link_dial(k);
}

/* Beside the connections that are links: is one more on its way to the link's port? */
static bool link_dialling(const struct hf_dialer *d, const struct link *k)
{
    uint32_t known = 0;

    for (uint32_t i = 0; i < d->link_count; i++) {
        known += d->links[i].channel == k->channel && d->links[i].told != 0 ? 1u : 0u;
    }
    return hf_descriptors_dialled(k->port) > known;
}

static void link_recover(struct hf_dialer *d, struct link *k, uint64_t now)
{
    if (now < k->look_ms) {
        return;
    }
    k->look_ms = now + LOOK_AGAIN_MS;
    if (k->local_port != 0 && hf_descriptors_is_dead(k->local_port)) {
        wedged(d, "a connection that has ended was not closed: nng's reap thread is stuck");
        return;
    }
    k->local_port = 0;
    if (!link_dialling(d, k)) {
        link_renew_dialer(d, k, now);
    } else if (now - k->lost_ms >= link_patience_ms(k->tries)) {
        k->tries++;
        link_renew_dialer(d, k, now);
    }
}

static void link_guard(struct hf_dialer *d, struct link *k, uint64_t now)
{
    uint32_t pipe;
    uint32_t adding;
    uint64_t adding_ms;
    uint64_t heard_ms;

    pthread_mutex_lock(&d->inbox.lock);
    pipe = k->pipe;
    adding = k->adding;
    adding_ms = k->adding_ms;
    heard_ms = k->heard_ms;
    pthread_mutex_unlock(&d->inbox.lock);

    /* Between ADD_PRE and ADD_POST, or to REM_POST for a peer of another protocol, pass
     * microseconds. */
    if ((k->closing != 0 && pipe == k->closing && now - k->closing_ms >= HF_WEDGED_MS) ||
        (adding != 0 && now > adding_ms + HF_WEDGED_MS)) {
        wedged(d, "a closed connection was not removed: nng's reap thread is stuck");
        return;
    }
    if (k->closing != 0 && pipe == k->closing) {
        return;
    }
    k->closing = 0;
    if (pipe == 0 && adding == 0) {
        link_recover(d, k, now);
    } else if (pipe != 0 && pipe == k->told && k->redial && link_quiet(pipe, heard_ms, now)) {
        link_close_pipe(d, k, pipe, now);
    }
}

static void on_guard(uv_timer_t *timer)
{
    struct hf_dialer *d = timer->data;
    uint64_t now = hf_transport_now();

    settle(d);
    for (uint32_t i = 0; i < d->link_count && !d->closed; i++) {
        link_guard(d, &d->links[i], now);
    }
}

void hf_dialer_redial(struct hf_dialer *d, enum hf_channel channel)
{
    uint64_t now = hf_transport_now();

    for (uint32_t i = 0; i < d->link_count && !d->closed; i++) {
        struct link *k = &d->links[i];
        if (k->channel == channel && k->told != 0) {
            k->redial = true;
            link_guard(d, k, now);
        }
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
    uint32_t connection = 0;
    uint64_t id = hf_requests_done(d->requests, item->index, &connection);
    struct link *k = &d->links[1u + connection];

    if (item->msg != NULL) {
        k->redial = false;
        pthread_mutex_lock(&d->inbox.lock);
        k->heard_ms = hf_transport_now();
        pthread_mutex_unlock(&d->inbox.lock);
    }
    d->config.on_reply(d->config.ctx, id, slice_of(item->msg));
}

static void deliver(struct hf_dialer *d, const struct hf_inbox_item *item)
{
    if (d->closed) {
        return;
    }
    switch ((enum item_kind)item->kind) {
    case ITEM_MESSAGE:
        /* What the owner missed is arriving again; it asks once more if this was not enough. */
        d->links[0].redial = false;
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
    if (c->control_connections < 1 || c->control_connections > HF_CONTROL_MAX) {
        return hf_error_set(e, HF_ARG, "%u control connections: 1 to %u are possible",
                            c->control_connections, HF_CONTROL_MAX);
    }
    return HF_OK;
}

static int link_open(struct hf_dialer *d, struct link *k, enum hf_channel channel)
{
    bool stream = channel == HF_CHANNEL_STREAM;
    int rv = stream ? nng_sub0_open(&k->socket) : nng_req0_open(&k->socket);

    if (rv != 0) {
        return rv;
    }
    k->owner = d;
    k->channel = channel;
    k->url = d->urls[channel];
    k->port = url_port(k->url);
    if ((rv = nng_socket_set_size(k->socket, NNG_OPT_RECVMAXSZ, HF_RECV_MAX)) != 0 ||
        (rv = nng_socket_set_ms(k->socket, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS)) != 0 ||
        (rv = nng_socket_set_ms(k->socket, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS)) != 0) {
        return rv;
    }
    rv = stream ? nng_socket_set_int(k->socket, NNG_OPT_RECVBUF, SUB_QUEUE)
                : nng_socket_set_ms(k->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    for (int ev = NNG_PIPE_EV_ADD_PRE; ev < NNG_PIPE_EV_NUM && rv == 0; ev++) {
        rv = nng_pipe_notify(k->socket, (nng_pipe_ev)ev, pipe_changed, k);
    }
    return rv != 0 ? rv : nng_dialer_create(&k->dialer, k->socket, k->url);
}

static int open_sockets(struct hf_dialer *d)
{
    nng_socket sockets[HF_CONTROL_MAX];
    struct hf_requests_config c = {
        .inbox = &d->inbox,
        .kind = ITEM_REPLY,
        .sockets = sockets,
        .connections = d->config.control_connections,
    };
    int rv = nng_aio_alloc(&d->receiving, stream_received, d);

    for (uint32_t i = 0; i <= c.connections && rv == 0; i++) {
        d->link_count++;
        rv = link_open(d, &d->links[i], i == 0 ? HF_CHANNEL_STREAM : HF_CHANNEL_CONTROL);
        if (i > 0) {
            sockets[i - 1u] = d->links[i].socket;
        }
    }
    if (rv == 0) {
        (void)hf_requests_new(&c, &d->requests, &rv);
    }
    return rv;
}

/* Nothing was dialled yet: nng_close has no pipe to hang on. */
static void undo(struct hf_dialer *d)
{
    for (uint32_t i = 0; i < d->link_count; i++) {
        if (d->links[i].owner != NULL) {
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
    uint64_t now = hf_transport_now();

    (void)uv_timer_init(d->loop, &d->guard);
    (void)uv_timer_init(d->loop, &d->expiry);
    d->guard.data = d;
    d->expiry.data = d;
    (void)uv_timer_start(&d->guard, on_guard, HF_GUARD_MS, HF_GUARD_MS);
    nng_recv_aio(d->links[0].socket, d->receiving);
    for (uint32_t i = 0; i < d->link_count; i++) {
        link_lost(&d->links[i], now);
        (void)nng_dialer_start(d->links[i].dialer, NNG_FLAG_NONBLOCK);
    }
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
    d->loop = loop;
    (void)snprintf(d->urls[HF_CHANNEL_STREAM], HF_URL_MAX, "%s", c->stream_url);
    (void)snprintf(d->urls[HF_CHANNEL_CONTROL], HF_URL_MAX, "%s", c->control_url);
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
    int rv = nng_socket_set(d->links[0].socket, NNG_OPT_SUB_SUBSCRIBE, prefix.data, prefix.len);

    return rv == 0 ? HF_OK : HF_NOMEM;
}

enum hf_err hf_dialer_request(struct hf_dialer *d, uint64_t id, struct hf_slice message,
                              hf_ms timeout_ms)
{
    enum hf_err err = hf_requests_add(d->requests, id, message, timeout_ms);

    if (err == HF_OK) {
        arm_expiry(d);
    }
    return err;
}

void hf_dialer_counts(const struct hf_dialer *d, struct hf_dialer_counts *out)
{
    struct hf_inbox *in = (struct hf_inbox *)&d->inbox;

    pthread_mutex_lock(&in->lock);
    *out = d->counts;
    pthread_mutex_unlock(&in->lock);
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
    for (uint32_t i = 0; i < d->link_count && !d->wedged; i++) {
        (void)nng_dialer_close(d->links[i].dialer);
    }
}
