/*
 * listener.c - the core's side of the transport: one PUB and one REP socket on ports P and P+1.
 *
 * A context of the REP socket is RECEIVING, HELD (its request is with the owner) or SENDING. It is
 * busy until its answer is out, so contexts bound the requests in flight; a handle is (generation,
 * index) and stands for one HELD period, so a late or second answer finds nothing. A connection
 * holds at most BUSY_MAX contexts, or one stalled peer that pipelines requests could hold them all;
 * once a quarter of them wait for connections of one address to read, the answers after that are
 * given up soon, or sixteen such connections could.
 *
 * The guards, on one timer:
 *   A  each listener is probed every 2 s (probe.c) and opened again when it is dead. nng closes all
 *      connections of a listener with it; the edges dial again.
 *   C  the probes' own pipes have to come out of nng's reap thread, else on_wedged.
 *   D  nothing is sent to a connection that was reset, for the failure could wedge nng; and
 *      sockets that are shut down but not closed are counted every 5 s, else on_wedged. A flood of
 *      abrupt peers must not use up the descriptors while the probe still counts its intervals.
 *
 * And one against strangers (pipes.c, strangers.c): connections of control that bring no authentic
 * request are ended when they are too many. The owner says of each request whether it was
 * authentic.
 *
 * Must not: call nng_close (it can hang), or answer from nng's threads.
 *
 * Read next: probe.c, pipes.c, strangers.c.
 */
#include "proto/node/transport_impl.h"

#include "hf/log.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/reqrep0/rep.h>

/* More than the owner lets FETCHes wait for, so that some are always left for HELLO and REPORT. */
#define CONTEXTS_DEFAULT 1024u
#define CONTEXTS_MAX 8192u
/* 200 edges behind one address catch up over 18 connections each, and what they had before a cut is
 * still there for half a minute. A connection is 4 KiB here. */
#define PER_ADDRESS_DEFAULT 8192u
#define PIPES_DEFAULT 16384u
#define PIPES_MAX (1u << 20)
#define STRANGER_CONTROLS_PART 16u /* of all places */
/* Some edges reach us from two addresses. More than these few could make each message cost
 * thousands of sends, or wedge nng by leaving while one is under way (fault C). */
#define STRANGER_STREAMS_MAX 8u
/* Edges keep 2 requests in flight; the others have timed out there and are still being worked on.
 */
#define BUSY_MAX 4u
#define PUB_QUEUE                                                                                  \
    1024 /* messages a connection; 64 MiB in all at the worst, for they are shared                 \
          */
#define REPLY_MS 2000
/* A peer that reads takes its answer in microseconds; this is ample for one that is just late. */
#define REPLY_CROWDED_MS 50
#define LEAK_CHECK_MS 5000u
#define LEAK_MAX 256u
/* When hundreds of edges come back thousands of connections end in one moment, while nng's one reap
 * thread shares the processors with all that these edges ask for. */
#define LEAK_MS 5000u
/* A free pair of ports is found at the first or second try, unless somebody uses very many. */
#define PAIR_TRIES 64u
#define TAKE_MAX 64u
/* Between two lines of the log about connections that are refused or ended. */
#define TURNED_AWAY_NOTE_MS 60000u

enum context_state {
    CONTEXT_IDLE = 0,
    CONTEXT_RECEIVING = 1,
    CONTEXT_HELD = 2,
    CONTEXT_SENDING = 3,
};

struct context {
    struct hf_listener *owner;
    uint32_t index;
    nng_ctx ctx;
    nng_aio *aio;
    /* Under the inbox's lock. */
    enum context_state state;
    uint32_t generation;
    uint32_t pipe;
    char peer[HF_PEER_TEXT_MAX];
};

struct side {
    struct hf_listener *owner;
    nng_socket socket;
    nng_listener listener;
    char url[HF_URL_BYTES];
    struct hf_probe probe;
};

struct hf_listener {
    struct hf_listener_config config; /* its URL is that of the stream's side */
    uv_loop_t *loop;
    uint16_t port;
    struct hf_inbox inbox;
    struct side sides[HF_CHANNELS];
    struct hf_pipes *pipes;   /* under the inbox's lock */
    struct context *contexts; /* config.contexts of them */
    uv_timer_t tick;
    uint32_t sending; /* contexts in that state; under the inbox's lock */
    struct hf_strangers strangers;
    uint64_t turned_away_noted; /* connections refused or ended until the last note */
    uint64_t turned_away_note_ms;
    uint64_t leak_check_ms;
    struct hf_dead dead; /* descriptors of connections that have been dead ... */
    uint64_t dead_ms;    /* ... since then, and none of them was closed */
    uint32_t dead_still; /* how many they were */
    bool wedged;
    bool closed;
    struct hf_listener_counts counts; /* under the inbox's lock */
};

/* ---- contexts ---- */

/* Under the lock. */
static void release_pipe(struct hf_listener *l, struct context *c)
{
    struct hf_pipe *pipe = hf_pipes_find(l->pipes, c->pipe);

    if (pipe != NULL && pipe->busy > 0) {
        pipe->busy--;
    }
    c->pipe = 0;
}

static void receive_next(struct context *c)
{
    nng_aio_set_timeout(c->aio, NNG_DURATION_INFINITE);
    nng_ctx_recv(c->ctx, c->aio);
}

/* Under the lock. False: not taken, and freed. */
static bool take_request(struct hf_listener *l, struct context *c, nng_msg *msg)
{
    uint32_t id = nng_msg_get_pipe(msg).id;
    struct hf_pipe *pipe = hf_pipes_find(l->pipes, id);

    if (pipe == NULL || pipe->busy >= BUSY_MAX) {
        l->counts.refused_requests++;
        nng_msg_free(msg);
        return false;
    }
    pipe->busy++;
    c->pipe = id;
    memcpy(c->peer, pipe->text, sizeof(c->peer));
    c->generation++;
    c->state = CONTEXT_HELD;
    return hf_inbox_put(&l->inbox, (struct hf_inbox_item){msg, 0, c->index});
}

/* nng's thread. */
static void context_completed(void *arg)
{
    struct context *c = arg;
    struct hf_listener *l = c->owner;
    int rv = nng_aio_result(c->aio);
    nng_msg *msg = nng_aio_get_msg(c->aio);
    bool again = true;

    nng_aio_set_msg(c->aio, NULL);
    pthread_mutex_lock(&l->inbox.lock);
    if (c->state == CONTEXT_RECEIVING && rv == 0) {
        again = !take_request(l, c, msg);
    } else {
        /* A reply that could not be sent in time comes back to us. */
        if (msg != NULL) {
            nng_msg_free(msg);
        }
        release_pipe(l, c);
        l->sending -= c->state == CONTEXT_SENDING ? 1u : 0u;
        c->state = CONTEXT_RECEIVING;
    }
    again = again && !l->inbox.closed && rv != NNG_ECLOSED && rv != NNG_ECANCELED;
    pthread_mutex_unlock(&l->inbox.lock);
    if (again) {
        receive_next(c);
    }
}

/* A send that fails makes nng close the pipe, and while its next request is being read that wedges
 * nng (fault D). So the kernel is asked first: it knows no peer of a connection that was reset.
 * What is left is a reset in the microseconds between the two. */
static bool is_connected(struct hf_listener *l, const struct context *c)
{
    nng_pipe pipe = {0};
    nng_sockaddr peer;

    pthread_mutex_lock(&l->inbox.lock);
    pipe.id = c->pipe;
    pthread_mutex_unlock(&l->inbox.lock);
    return nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &peer) == 0;
}

/* Under the lock. How long an answer may wait for its connection to take it. */
static nng_duration reply_patience(const struct hf_listener *l, const struct context *c)
{
    uint32_t waiting = 0;

    for (uint32_t i = 0; i < l->config.contexts && l->sending > l->config.contexts / 4; i++) {
        const struct context *other = &l->contexts[i];
        waiting += other->state == CONTEXT_SENDING && strcmp(other->peer, c->peer) == 0;
    }
    return waiting > l->config.contexts / 4 ? REPLY_CROWDED_MS : REPLY_MS;
}

void hf_listener_reply(struct hf_listener *l, uint64_t handle, struct hf_slice message)
{
    uint32_t index = (uint32_t)handle;
    nng_msg *msg = message.len == 0 ? NULL : hf_transport_message(message);
    struct context *c;
    nng_duration patience = REPLY_MS;
    bool current;

    HF_ASSERT(index < l->config.contexts);
    c = &l->contexts[index];
    if (msg != NULL && !is_connected(l, c)) {
        nng_msg_free(msg);
        msg = NULL;
    }
    pthread_mutex_lock(&l->inbox.lock);
    current = !l->inbox.closed && c->state == CONTEXT_HELD && c->generation == handle >> 32;
    if (current && msg != NULL) {
        c->state = CONTEXT_SENDING;
        l->sending++;
        patience = reply_patience(l, c);
    } else if (current) {
        release_pipe(l, c);
        c->state = CONTEXT_RECEIVING;
    }
    pthread_mutex_unlock(&l->inbox.lock);

    if (!current) {
        nng_msg_free(msg);
    } else if (msg != NULL) {
        nng_aio_set_msg(c->aio, msg);
        nng_aio_set_timeout(c->aio, patience);
        nng_ctx_send(c->ctx, c->aio);
    } else {
        receive_next(c);
    }
}

/* ---- connections ---- */

/* nng's thread. Closing a pipe in ADD_PRE is safe: its protocol has not started. */
static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct side *s = arg;
    struct hf_listener *l = s->owner;
    enum hf_channel channel = (enum hf_channel)(s - l->sides);
    struct hf_endpoint peer = {.family = 0};
    nng_sockaddr a;
    bool close = false;

    if (event == NNG_PIPE_EV_ADD_PRE && nng_pipe_get_addr(pipe, NNG_OPT_REMADDR, &a) == 0) {
        peer = hf_endpoint_of_nng(&a);
    }
    pthread_mutex_lock(&l->inbox.lock);
    if (event == NNG_PIPE_EV_REM_POST) {
        const struct hf_pipe *ended = hf_pipes_find(l->pipes, pipe.id);

        l->counts.ended_pipes += ended != NULL && ended->ended;
        hf_pipes_remove(l->pipes, pipe.id);
        hf_probe_removed(&s->probe, pipe.id);
    } else if (hf_probe_claim(&s->probe, pipe.id, &peer) || l->inbox.closed) {
        close = true;
    } else {
        enum hf_pipes_answer answer =
            hf_pipes_add(l->pipes, pipe.id, channel, &peer, hf_transport_now());

        l->counts.refused_pipes += answer == HF_PIPES_FULL;
        l->counts.refused_streams += answer == HF_PIPES_STRANGE;
        close = answer != HF_PIPES_TAKEN;
    }
    pthread_mutex_unlock(&l->inbox.lock);
    if (close) {
        (void)nng_pipe_close(pipe);
    }
}

uint32_t hf_listener_pipes(const struct hf_listener *l)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&l->inbox.lock;
    uint32_t n;

    pthread_mutex_lock(lock);
    n = hf_pipes_count(l->pipes);
    pthread_mutex_unlock(lock);
    return n;
}

/* ---- the loop ---- */

static void deliver(struct hf_listener *l, const struct hf_inbox_item *item)
{
    struct context *c = &l->contexts[item->index];
    struct hf_slice message = hf_slice_of(nng_msg_body(item->msg), nng_msg_len(item->msg));
    char peer[HF_PEER_TEXT_MAX];
    uint64_t handle;
    uint32_t pipe;
    bool authentic;

    pthread_mutex_lock(&l->inbox.lock);
    handle = (uint64_t)c->generation << 32 | item->index;
    pipe = c->pipe;
    memcpy(peer, c->peer, sizeof(peer));
    pthread_mutex_unlock(&l->inbox.lock);
    authentic = l->config.on_request(l->config.ctx, handle, message, peer);
    pthread_mutex_lock(&l->inbox.lock);
    hf_pipes_trust(l->pipes, pipe, authentic);
    pthread_mutex_unlock(&l->inbox.lock);
}

static void on_wake(uv_async_t *async)
{
    struct hf_listener *l = async->data;
    struct hf_inbox_item items[TAKE_MAX];
    uint32_t n;

    pthread_mutex_lock(&l->inbox.lock);
    n = hf_inbox_take(&l->inbox, items, TAKE_MAX);
    if (l->inbox.count > 0) {
        hf_inbox_wake(&l->inbox);
    }
    pthread_mutex_unlock(&l->inbox.lock);
    for (uint32_t i = 0; i < n; i++) {
        if (!l->closed) {
            deliver(l, &items[i]);
        }
        nng_msg_free(items[i].msg);
    }
    if (n > 0 && !l->closed && l->config.on_requests_end != NULL) {
        l->config.on_requests_end(l->config.ctx);
    }
}

static void wedged(struct hf_listener *l, const char *why)
{
    if (!l->wedged) {
        l->wedged = true;
        l->config.on_wedged(l->config.ctx, why);
    }
}

static int side_listen(struct side *s, bool probed)
{
    nng_sockaddr bound;
    int rv = nng_listen(s->socket, s->url, &s->listener, 0);

    if (rv != 0) {
        return rv;
    }
    if (nng_listener_get_addr(s->listener, NNG_OPT_LOCADDR, &bound) == 0) {
        bool replies = s == &s->owner->sides[HF_CHANNEL_CONTROL];

        (void)hf_descriptors_tune(hf_endpoint_of_nng(&bound).port, replies);
        if (probed) {
            hf_probe_target(&s->probe, &bound);
        }
    }
    return 0;
}

static void relisten(struct hf_listener *l, struct side *s)
{
    hf_log(HF_LEVEL_WARN, "transport: a listener is dead and opened again, with all its"
                          " connections; see PROTOCOL.md, appendix A");
    (void)nng_listener_close(s->listener);
    /* Should this fail, the probes go on failing and it is tried again. */
    (void)side_listen(s, false);
    pthread_mutex_lock(&l->inbox.lock);
    l->counts.relistens++;
    pthread_mutex_unlock(&l->inbox.lock);
}

static void side_guard(struct hf_listener *l, struct side *s, uint64_t now)
{
    switch (hf_probe_tick(&s->probe, now, &l->inbox.lock)) {
    case HF_PROBE_WAIT:
        break;
    case HF_PROBE_DEAD:
        relisten(l, s);
        break;
    case HF_PROBE_STUCK:
        wedged(l, "a probe's connection was not removed: nng's reap thread is stuck");
        break;
    }
}

/* Too many that are the same ones as long ago are a leak; others are nng at work. Returns whether
 * to look again soon. */
static bool leak_look(struct hf_listener *l, uint64_t now)
{
    struct hf_dead dead;
    uint32_t count = hf_descriptors_dead(&dead);
    uint32_t still = hf_descriptors_still(&l->dead, &dead);
    bool fewer = still < l->dead_still;

    l->dead_still = still;
    if (still <= LEAK_MAX) {
        l->dead = dead;
        l->dead_still = count;
        l->dead_ms = now;
    } else if (fewer) {
        l->dead_ms = now; /* slowly, but nng is at work */
    } else if (now - l->dead_ms >= LEAK_MS) {
        wedged(l, "descriptors of dead connections are not closed: nng leaks them");
    }
    return count > LEAK_MAX;
}

/* To an edge that is refused it looks like a link that breaks. Streams that nobody spoke for yet
 * are only counted: many edges that come at once have some. */
static void turned_away_note(struct hf_listener *l, uint64_t now)
{
    struct hf_listener_counts n;
    uint32_t open;

    hf_listener_counts(l, &n);
    open = hf_listener_pipes(l);
    if (n.refused_pipes + n.ended_pipes == l->turned_away_noted || now < l->turned_away_note_ms) {
        return;
    }
    hf_log(HF_LEVEL_WARN,
           "transport: connections are turned away, see RUNBOOK.md, Ports and firewall;"
           " open=%" PRIu32 " refused=%" PRIu64 " strangers_ended=%" PRIu64,
           open, n.refused_pipes, n.ended_pipes);
    l->turned_away_noted = n.refused_pipes + n.ended_pipes;
    l->turned_away_note_ms = now + TURNED_AWAY_NOTE_MS;
}

static void on_tick(uv_timer_t *timer)
{
    struct hf_listener *l = timer->data;
    uint64_t now = hf_transport_now();

    hf_strangers_tick(&l->strangers, l->port, now);
    turned_away_note(l, now);
    for (uint32_t i = 0; i < HF_CHANNELS && !l->closed; i++) {
        side_guard(l, &l->sides[i], now);
    }
    if (!l->closed && now >= l->leak_check_ms) {
        l->leak_check_ms = now + (leak_look(l, now) ? HF_GUARD_MS : LEAK_CHECK_MS);
    }
}

void hf_listener_publish(struct hf_listener *l, struct hf_slice message)
{
    nng_msg *msg = hf_transport_message(message);

    /* PUB drops instead of waiting, and so do we without memory: the stream may lose anything. */
    if (msg != NULL &&
        nng_sendmsg(l->sides[HF_CHANNEL_STREAM].socket, msg, NNG_FLAG_NONBLOCK) != 0) {
        nng_msg_free(msg);
    }
}

/* ---- open and close ---- */

static int side_open(struct hf_listener *l, enum hf_channel channel)
{
    struct side *s = &l->sides[channel];
    bool stream = channel == HF_CHANNEL_STREAM;
    int rv = stream ? nng_pub0_open(&s->socket) : nng_rep0_open(&s->socket);

    if (rv != 0) {
        return rv;
    }
    s->owner = l;
    hf_probe_init(&s->probe, l->loop, stream ? HF_SP_SUB : HF_SP_REQ);
    if ((rv = nng_socket_set_size(s->socket, NNG_OPT_RECVMAXSZ, HF_RECV_MAX)) != 0 ||
        (rv = nng_socket_set_bool(s->socket, NNG_OPT_TCP_NODELAY, true)) != 0 ||
        (rv = nng_socket_set_bool(s->socket, NNG_OPT_TCP_KEEPALIVE, true)) != 0 ||
        (rv = nng_pipe_notify(s->socket, NNG_PIPE_EV_ADD_PRE, pipe_changed, s)) != 0 ||
        (rv = nng_pipe_notify(s->socket, NNG_PIPE_EV_REM_POST, pipe_changed, s)) != 0) {
        return rv;
    }
    return stream ? nng_socket_set_int(s->socket, NNG_OPT_SENDBUF, PUB_QUEUE) : 0;
}

static int contexts_open(struct hf_listener *l)
{
    l->contexts = calloc(l->config.contexts, sizeof(*l->contexts));
    if (l->contexts == NULL) {
        return NNG_ENOMEM;
    }
    for (uint32_t i = 0; i < l->config.contexts; i++) {
        struct context *c = &l->contexts[i];
        int rv = nng_aio_alloc(&c->aio, context_completed, c);

        c->owner = l;
        c->index = i;
        if (rv != 0 || (rv = nng_ctx_open(&c->ctx, l->sides[HF_CHANNEL_CONTROL].socket)) != 0) {
            return rv;
        }
    }
    return 0;
}

static uint32_t bound_port(const struct side *s)
{
    nng_sockaddr bound;
    int rv = nng_listener_get_addr(s->listener, NNG_OPT_LOCADDR, &bound);

    return rv == 0 ? hf_endpoint_of_nng(&bound).port : 0;
}

/* Listens on P and P+1, P chosen by the kernel. */
static int listen_on_free_pair(struct hf_listener *l, const struct hf_listener_config *c)
{
    struct side *stream = &l->sides[HF_CHANNEL_STREAM];
    struct side *control = &l->sides[HF_CHANNEL_CONTROL];
    int rv = NNG_EADDRINUSE;

    for (uint32_t i = 0; i < PAIR_TRIES && rv == NNG_EADDRINUSE; i++) {
        (void)snprintf(stream->url, sizeof(stream->url), "%s", c->stream_url);
        rv = side_listen(stream, true);
        if (rv != 0) {
            return rv;
        }
        uint32_t port = bound_port(stream);
        rv = NNG_EADDRINUSE;
        if (port != 0 && port < UINT16_MAX &&
            hf_transport_url(c->stream_url, port, stream->url, HF_URL_BYTES) == HF_OK &&
            hf_transport_url(c->stream_url, port + 1u, control->url, HF_URL_BYTES) == HF_OK) {
            rv = side_listen(control, true);
        }
        if (rv != 0) {
            (void)nng_listener_close(stream->listener);
        }
        l->port = (uint16_t)port;
    }
    return rv;
}

static enum hf_err listen_both(struct hf_listener *l, const struct hf_listener_config *c,
                               uint32_t port, struct hf_error *e)
{
    int rv;

    if (port == 0) {
        rv = listen_on_free_pair(l, c);
        return rv == 0 ? HF_OK : hf_transport_error(e, rv, "listen on", c->stream_url);
    }
    l->port = (uint16_t)port;
    (void)snprintf(l->sides[HF_CHANNEL_STREAM].url, HF_URL_BYTES, "%s", c->stream_url);
    if (hf_url_control(c->stream_url, l->sides[HF_CHANNEL_CONTROL].url, HF_URL_BYTES) != HF_OK) {
        return hf_error_set(e, HF_ARG, "%s: no port above it for control", c->stream_url);
    }
    for (uint32_t i = 0; i < HF_CHANNELS; i++) {
        rv = side_listen(&l->sides[i], true);
        if (rv != 0) {
            return hf_transport_error(e, rv, "listen on", l->sides[i].url);
        }
    }
    return HF_OK;
}

/* Safe only here: whoever is connected by now was never sent anything. */
static void close_sockets(struct hf_listener *l)
{
    for (uint32_t i = 0; i < HF_CHANNELS; i++) {
        if (l->sides[i].owner != NULL) {
            (void)nng_close(l->sides[i].socket);
        }
    }
}

static void release(struct hf_listener *l)
{
    for (uint32_t i = 0; l->contexts != NULL && i < l->config.contexts; i++) {
        if (l->contexts[i].aio != NULL) {
            nng_aio_free(l->contexts[i].aio);
        }
    }
    free(l->contexts);
    hf_strangers_deinit(&l->strangers);
    hf_pipes_free(l->pipes);
    free(l);
}

static void on_undone(uv_handle_t *async)
{
    release(async->data);
}

static int open_sockets(struct hf_listener *l)
{
    int rv;
    struct hf_pipes_caps caps = {
        .all = l->config.pipes_max,
        .per_address = l->config.pipes_per_address,
        .stranger_controls = l->config.pipes_max / STRANGER_CONTROLS_PART,
        .stranger_streams = STRANGER_STREAMS_MAX,
    };

    l->pipes = hf_pipes_new(&caps);
    if (l->pipes == NULL ||
        !hf_strangers_init(&l->strangers, l->loop, l->pipes, l->config.pipes_max, &l->inbox.lock)) {
        return NNG_ENOMEM;
    }
    if ((rv = side_open(l, HF_CHANNEL_STREAM)) != 0 ||
        (rv = side_open(l, HF_CHANNEL_CONTROL)) != 0) {
        return rv;
    }
    return contexts_open(l);
}

/* nng makes its threads with the first socket of a process, and they inherit the policy of who
 * opens that. SCHED_BATCH: woken, they wait until the processor is free or its time slice over. As
 * they are by default, each of the loop's sends wakes one that takes the processor away, to run
 * into a lock of nng that the loop still holds, three times for every message published. */
static int open_behind(struct hf_listener *l)
{
    static const struct sched_param none;
    bool batch =
        sched_getscheduler(0) == SCHED_OTHER && sched_setscheduler(0, SCHED_BATCH, &none) == 0;
    int rv = open_sockets(l);

    if (batch) {
        (void)sched_setscheduler(0, SCHED_OTHER, &none);
    }
    return rv;
}

static void start(struct hf_listener *l)
{
    (void)uv_timer_init(l->loop, &l->tick);
    l->tick.data = l;
    (void)uv_timer_start(&l->tick, on_tick, HF_GUARD_MS, HF_GUARD_MS);
    /* The pool's threads are made with its first work, and are to be bound to no processor: later
     * the loop may be (pair.h). */
    hf_strangers_tick(&l->strangers, l->port, hf_transport_now());
    for (uint32_t i = 0; i < l->config.contexts; i++) {
        l->contexts[i].state = CONTEXT_RECEIVING;
        receive_next(&l->contexts[i]);
    }
}

static struct hf_listener *new_listener(uv_loop_t *loop, const struct hf_listener_config *c)
{
    struct hf_listener *l = calloc(1, sizeof(*l));

    if (l == NULL) {
        return NULL;
    }
    l->config = *c;
    l->config.contexts = c->contexts == 0 ? CONTEXTS_DEFAULT : c->contexts;
    l->config.pipes_per_address =
        c->pipes_per_address == 0 ? PER_ADDRESS_DEFAULT : c->pipes_per_address;
    l->config.pipes_max = c->pipes_max == 0 ? PIPES_DEFAULT : c->pipes_max;
    l->config.stream_url = l->sides[HF_CHANNEL_STREAM].url;
    l->loop = loop;
    return l;
}

enum hf_err hf_listener_open(struct uv_loop_s *loop, const struct hf_listener_config *c,
                             struct hf_listener **out, struct hf_error *e)
{
    uint32_t port = 0;
    enum hf_err err;
    struct hf_listener *l;
    int rv;

    err = hf_url_check(c->stream_url, e);
    if (err != HF_OK) {
        return err;
    }
    (void)hf_transport_port(c->stream_url, &port);
    if (c->contexts > CONTEXTS_MAX || c->pipes_max > PIPES_MAX) {
        return hf_error_set(e, HF_ARG, "listen on %s: limits out of range", c->stream_url);
    }
    l = new_listener(loop, c);
    if (l == NULL) {
        return hf_error_set(e, HF_NOMEM, "listen on %s: out of memory", c->stream_url);
    }
    rv = open_behind(l);
    if (rv != 0) {
        close_sockets(l);
        release(l);
        return hf_transport_error(e, rv, "listen on", c->stream_url);
    }
    /* From the first listen on, nng's threads use the inbox's lock. */
    err = hf_inbox_init(&l->inbox, loop, l->config.contexts, on_wake, l);
    if (err != HF_OK) {
        close_sockets(l);
        release(l);
        return hf_error_set(e, err, "listen on %s: %s", c->stream_url, hf_err_text(err));
    }
    err = listen_both(l, c, port, e);
    if (err != HF_OK) {
        close_sockets(l);
        hf_inbox_close(&l->inbox, on_undone);
        return err;
    }
    start(l);
    *out = l;
    return HF_OK;
}

uint16_t hf_listener_port(const struct hf_listener *l)
{
    return l->port;
}

void hf_listener_counts(const struct hf_listener *l, struct hf_listener_counts *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&l->inbox.lock;

    pthread_mutex_lock(lock);
    *out = l->counts;
    pthread_mutex_unlock(lock);
    out->ended_pipes += l->strangers.handshakes_ended;
    out->probes =
        l->sides[HF_CHANNEL_STREAM].probe.count + l->sides[HF_CHANNEL_CONTROL].probe.count;
}

void hf_listener_close(struct hf_listener *l)
{
    if (l == NULL || l->closed) {
        return;
    }
    l->closed = true;
    hf_inbox_close(&l->inbox, NULL);
    uv_close((uv_handle_t *)&l->tick, NULL);
    for (uint32_t i = 0; i < HF_CHANNELS; i++) {
        hf_probe_close(&l->sides[i].probe);
        if (!l->wedged) {
            (void)nng_listener_close(l->sides[i].listener);
        }
    }
}
