/*
 * link.c - one connection of an edge: an nng socket, the attempts to dial it, and at most one pipe.
 *
 * nng's threads write `adding` and `pipe` under the inbox's lock; the loop compares `pipe` with
 * what it told its owner last (hf_link_settle). That is level-triggered: however fast connections
 * come and go, the owner ends up with the truth. REM_POST can overtake ADD_POST, so a pipe is up
 * only if it is still the one of ADD_PRE.
 *
 * Attempts. nng's dialer has no connect time-out, and the kernel sends its SYN again 1, 3, 7, 15 s
 * after the first: too late by seconds when a blackhole ends. So a dialer here is one try, and a
 * link that is down begins a new one every 250 ms without waiting for the last, several side by
 * side: each lives 700 ms or four round trips, long enough for an answer and, on most links, too
 * short for the kernel to send its SYN again. Whatever connects first wins; ADD_PRE turns later
 * ones away. One attempt among them is patient (4, 8, then 16 s), for a round trip that has become
 * longer than was ever seen. After one minute the link that leads (control) falls to one in 0.7 s
 * for good, so that an outage of a month is over as soon as one of a minute; the other to one a
 * second, after five minutes to one in 10 s, and is hurried when the leading one comes up. A
 * connection that ends within 2 s is dialled again with pauses that double, for a core that refuses
 * us must not be asked four times a second.
 *
 * The guards of nng's faults: B  a dialer whose peer accepts and sends FIN and RST is dead; here it
 * ends with its attempt. C  closing a pipe while bytes arrive can wedge nng's reap thread, so
 * nng_pipe_close, and nng_dialer_close, which closes the dialer's pipe, are called only on a pipe
 * that was quiet, by our callbacks and by the kernel (descriptors.c), or when there is none.
 * nng itself closes a pipe at the wrong moment too, when a send fails while replies arrive. The
 * thread is stuck when REM_POST does not follow a close within 2 s, or when the socket of a pipe
 * that REM_POST has reported is still there 1.5 s later.
 *
 * Must not: call nng_close (it can hang), wait for anything, or call back.
 *
 * Read next: dialer.c.
 */
#include "proto/node/transport_impl.h"

#include <arpa/inet.h>
#include <stdio.h>

#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/util/platform.h>

#define SUB_QUEUE 8192 /* nng's largest; only used while a callback is late */
/* A dialer is one try; nng's own next one comes long after we have closed it. */
#define RECONNECT_MS 10000
#define PACE_MS 250u
/* The guard's ticks come a little early or late; none of them may be missed for that. */
#define SLACK_MS (HF_GUARD_MS / 2u)
#define LIFE_MS_MIN 700u
#define LIFE_MS_MAX 4000u
#define PATIENT_MS_MIN 4000u
#define PATIENT_MS_MAX 16000u
#define MINUTE_MS 60000u
#define LEAD_MS 700u
#define FOLLOW_MS 1000u
#define SLOW_AFTER_MS 300000u
#define SLOW_MS 10000u
#define FLAP_MS 2000u
#define FLAPS_MAX 8u
#define CLOSED_MS 1500u

/* ---- nng's threads ---- */

/* Closing a pipe in ADD_PRE is safe: its protocol has not started. */
static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct hf_link *k = arg;
    bool second = false;

    pthread_mutex_lock(&k->inbox->lock);
    switch (event) {
    case NNG_PIPE_EV_ADD_PRE:
        second = k->pipe != 0 || k->adding != 0;
        k->adding = second ? k->adding : pipe.id;
        k->adding_ms = second ? k->adding_ms : hf_transport_now();
        break;
    case NNG_PIPE_EV_ADD_POST:
        if (k->adding == pipe.id) {
            k->adding = 0;
            k->pipe = pipe.id;
            k->added++;
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
    hf_inbox_wake(k->inbox);
    pthread_mutex_unlock(&k->inbox->lock);
    if (second) {
        (void)nng_pipe_close(pipe);
    }
}

/* ---- attempts ---- */

static uint64_t life_ms(const struct hf_link *k)
{
    uint64_t life = 4u * (uint64_t)k->rtt_ms;

    if (life > LIFE_MS_MAX) {
        return LIFE_MS_MAX;
    }
    return life > LIFE_MS_MIN ? life : LIFE_MS_MIN;
}

/* Jittered in a long outage, so that the edges behind one broken link do not keep step. */
static uint64_t pace_ms(const struct hf_link *k, uint64_t now)
{
    uint64_t down_ms = now - k->lost_ms;
    uint64_t slow = down_ms < SLOW_AFTER_MS ? FOLLOW_MS : SLOW_MS;
    uint64_t mean = k->leads ? LEAD_MS : slow;
    uint64_t fast = life_ms(k) / (HF_ATTEMPTS_MAX - 2u);

    if (down_ms < MINUTE_MS) {
        return fast > PACE_MS ? fast : PACE_MS;
    }
    return mean - mean / 4u + nng_random() % (mean / 2u);
}

static void attempt_end(struct hf_link *k, uint32_t i)
{
    (void)nng_dialer_close(k->attempts[i].dialer);
    k->attempts[i] = k->attempts[--k->attempt_count];
}

static void attempts_end(struct hf_link *k)
{
    while (k->attempt_count > 0) {
        attempt_end(k, k->attempt_count - 1u);
    }
}

/* The patient attempt asks for the name again; the others need no resolver, which an outage may
 * have cut off as well. */
static void attempt_begin(struct hf_link *k, uint64_t now)
{
    struct hf_attempt *a = &k->attempts[k->attempt_count];
    const char *url = k->url;

    a->patient = true;
    for (uint32_t i = 0; i < k->attempt_count; i++) {
        a->patient = a->patient && !k->attempts[i].patient;
    }
    if (!a->patient && k->numeric_url[0] != '\0') {
        url = k->numeric_url;
    }
    a->until_ms = now + life_ms(k);
    if (a->patient) {
        uint64_t patience = (uint64_t)PATIENT_MS_MIN << (k->patients < 2u ? k->patients : 2u);
        a->until_ms = now + (patience < PATIENT_MS_MAX ? patience : PATIENT_MS_MAX);
        k->patients++;
    }
    k->counts.redials += k->tried ? 1u : 0u;
    k->tried = true;
    /* Without memory this fails, and the next one is due soon. */
    if (nng_dialer_create(&a->dialer, k->socket, url) == 0) {
        k->attempt_count++;
        (void)nng_dialer_start(a->dialer, NNG_FLAG_NONBLOCK);
    }
}

static void dial(struct hf_link *k, uint64_t now)
{
    for (uint32_t i = k->attempt_count; i-- > 0;) {
        if (now >= k->attempts[i].until_ms) {
            attempt_end(k, i);
        }
    }
    if (k->wanted && now + SLACK_MS >= k->next_ms && k->attempt_count < HF_ATTEMPTS_MAX) {
        k->next_ms = now + pace_ms(k, now);
        attempt_begin(k, now);
    }
}

/* ---- what the kernel says ---- */

static uint16_t pipe_port(uint32_t id, const char *option)
{
    nng_pipe pipe = {id};
    nng_sockaddr sa;

    return nng_pipe_get_addr(pipe, option, &sa) == 0 ? hf_endpoint_of_nng(&sa).port : 0;
}

static struct hf_connection_state look(struct hf_link *k, uint32_t pipe)
{
    struct hf_connection_state s =
        hf_descriptors_look(k->local_port, pipe_port(pipe, NNG_OPT_REMADDR));

    k->rtt_ms = s.found ? s.rtt_us / 1000u : k->rtt_ms;
    return s;
}

/* Callbacks come after whole messages that match; the kernel knows of every byte. */
static bool is_quiet(struct hf_link *k, uint32_t pipe, uint64_t heard_ms, uint64_t now)
{
    struct hf_connection_state s;

    if (now - heard_ms < k->quiet_ms) {
        return false;
    }
    s = look(k, pipe);
    return !s.found || s.quiet_ms >= k->quiet_ms;
}

static void remember_address(struct hf_link *k, uint32_t pipe)
{
    nng_pipe p = {pipe};
    nng_sockaddr sa;
    char text[INET6_ADDRSTRLEN];

    if (nng_pipe_get_addr(p, NNG_OPT_REMADDR, &sa) != 0) {
        return;
    }
    if (sa.s_family == NNG_AF_INET &&
        inet_ntop(AF_INET, &sa.s_in.sa_addr, text, sizeof(text)) != NULL) {
        (void)snprintf(k->numeric_url, sizeof(k->numeric_url), "tcp://%s:%u", text,
                       ntohs(sa.s_in.sa_port));
    } else if (sa.s_family == NNG_AF_INET6 && sa.s_in6.sa_scope == 0 &&
               inet_ntop(AF_INET6, sa.s_in6.sa_addr, text, sizeof(text)) != NULL) {
        (void)snprintf(k->numeric_url, sizeof(k->numeric_url), "tcp://[%s]:%u", text,
                       ntohs(sa.s_in6.sa_port));
    }
}

/* ---- up and down ---- */

static void on_up(struct hf_link *k, uint32_t pipe, uint64_t now)
{
    nng_pipe p = {pipe};
    uint32_t winner = (uint32_t)nng_pipe_dialer(p).id;

    k->told = pipe;
    k->up_ms = now;
    k->used_ms = now;
    k->patients = 0;
    k->suspect = false;
    k->local_port = pipe_port(pipe, NNG_OPT_LOCADDR);
    (void)look(k, pipe);
    remember_address(k, pipe);
    for (uint32_t i = 0; i < k->attempt_count; i++) {
        if (k->attempts[i].dialer.id == winner) {
            k->dialer = k->attempts[i].dialer;
            k->attempts[i] = k->attempts[--k->attempt_count];
            break;
        }
    }
    attempts_end(k);
}

static void pause_after(struct hf_link *k, bool flapped, uint64_t now)
{
    uint64_t pause;

    k->flaps = flapped ? k->flaps + 1u : 0;
    k->lost_ms = now;
    k->next_ms = now;
    if (flapped) {
        pause = (uint64_t)PACE_MS << (k->flaps < FLAPS_MAX ? k->flaps : FLAPS_MAX);
        k->next_ms += pause < k->pause_ms_max ? pause : k->pause_ms_max;
    }
}

static void on_down(struct hf_link *k, uint64_t now)
{
    bool flapped = now - k->up_ms < FLAP_MS && k->closing != k->told;

    k->told = 0;
    k->suspect = false;
    if (k->ended_port == 0) {
        k->ended_port = k->local_port;
        k->ended_ms = now;
    }
    pause_after(k, flapped, now);
    /* nng dials again by itself, at once in every other case: that is our first attempt. */
    if (k->dialer.id != 0) {
        HF_ASSERT(k->attempt_count < HF_ATTEMPTS_MAX);
        k->attempts[k->attempt_count++] =
            (struct hf_attempt){.dialer = k->dialer, .until_ms = now + life_ms(k)};
        k->dialer.id = 0;
        k->next_ms = flapped ? k->next_ms : now + PACE_MS;
    }
}

enum hf_link_change hf_link_settle(struct hf_link *k)
{
    uint64_t now = hf_transport_now();
    uint32_t pipe;
    uint32_t added;

    pthread_mutex_lock(&k->inbox->lock);
    pipe = k->pipe;
    added = k->added - k->added_seen;
    k->added_seen = k->added;
    pthread_mutex_unlock(&k->inbox->lock);
    if (pipe == k->told) {
        /* It came and went before we looked. */
        if (added > 0 && pipe == 0) {
            pause_after(k, true, now);
        }
        return HF_LINK_SAME;
    }
    if (k->told != 0) {
        on_down(k, now);
        return HF_LINK_DOWN;
    }
    on_up(k, pipe, now);
    return HF_LINK_UP;
}

/* ---- what the owner wants ---- */

void hf_link_want(struct hf_link *k, bool wanted)
{
    uint64_t now = hf_transport_now();

    if (wanted && !k->wanted) {
        k->lost_ms = now;
        k->next_ms = k->next_ms > now && k->flaps > 0 ? k->next_ms : now;
        k->tried = false;
    }
    k->suspect = k->suspect && !(wanted && !k->wanted);
    k->wanted = wanted;
    if (!wanted) {
        attempts_end(k);
        hf_link_suspect(k, HF_QUIET_MS);
    } else if (k->told == 0) {
        dial(k, now);
    }
}

void hf_link_hurry(struct hf_link *k)
{
    uint64_t now = hf_transport_now();
    bool pauses = k->flaps > 0 && now < k->lost_ms + k->pause_ms_max;

    if (k->told != 0 || !k->wanted) {
        return;
    }
    k->lost_ms = now;
    k->next_ms = pauses ? k->next_ms : now;
}

void hf_link_suspect(struct hf_link *k, uint32_t quiet_ms)
{
    if (k->told != 0) {
        k->quiet_ms = k->suspect && k->quiet_ms < quiet_ms ? k->quiet_ms : quiet_ms;
        k->suspect = true;
    }
}

void hf_link_heard(struct hf_link *k)
{
    k->suspect = k->suspect && !k->wanted;
    k->used_ms = hf_transport_now();
    pthread_mutex_lock(&k->inbox->lock);
    k->heard_ms = k->used_ms;
    pthread_mutex_unlock(&k->inbox->lock);
}

static void close_pipe(struct hf_link *k, uint32_t pipe, uint64_t now)
{
    nng_pipe p = {pipe};

    k->suspect = false;
    k->closing = pipe;
    k->closing_ms = now;
    k->counts.closes++;
    if (k->wanted || k->dialer.id == 0) {
        (void)nng_pipe_close(p);
        return;
    }
    /* With its pipe, or nng would dial again by itself. */
    (void)nng_dialer_close(k->dialer);
    k->dialer.id = 0;
}

/* One pipe at a time is enough: when the thread is stuck, those after it stay as well. */
static bool is_leaked(struct hf_link *k, uint64_t now)
{
    uint16_t port = k->ended_port;

    if (port == 0 || now - k->ended_ms < CLOSED_MS) {
        return false;
    }
    k->ended_port = 0;
    return hf_descriptors_is_dead(port);
}

bool hf_link_guard(struct hf_link *k)
{
    uint64_t now = hf_transport_now();
    uint32_t pipe;
    uint32_t adding;
    uint64_t adding_ms;
    uint64_t heard_ms;

    pthread_mutex_lock(&k->inbox->lock);
    pipe = k->pipe;
    adding = k->adding;
    adding_ms = k->adding_ms;
    heard_ms = k->heard_ms;
    pthread_mutex_unlock(&k->inbox->lock);

    /* Between ADD_PRE and ADD_POST, or to REM_POST for a peer of another protocol, pass
     * microseconds. */
    if ((k->closing != 0 && pipe == k->closing && now - k->closing_ms >= HF_WEDGED_MS) ||
        (adding != 0 && now > adding_ms + HF_WEDGED_MS) || is_leaked(k, now)) {
        return false;
    }
    if (k->closing != 0 && pipe == k->closing) {
        return true;
    }
    k->closing = 0;
    if (pipe == 0 && adding == 0 && k->told == 0) {
        dial(k, now);
    } else if (pipe != 0 && pipe == k->told && k->suspect && is_quiet(k, pipe, heard_ms, now)) {
        close_pipe(k, pipe, now);
    }
    return true;
}

/* ---- open and close ---- */

int hf_link_open(struct hf_link *k, enum hf_channel channel, const char *url, struct hf_inbox *in)
{
    bool stream = channel == HF_CHANNEL_STREAM;
    int rv = stream ? nng_sub0_open(&k->socket) : nng_req0_open(&k->socket);

    if (rv != 0) {
        return rv;
    }
    k->inbox = in;
    k->url = url;
    k->quiet_ms = HF_QUIET_MS;
    if ((rv = nng_socket_set_size(k->socket, NNG_OPT_RECVMAXSZ, HF_RECV_MAX)) != 0 ||
        (rv = nng_socket_set_ms(k->socket, NNG_OPT_RECONNMINT, RECONNECT_MS)) != 0 ||
        (rv = nng_socket_set_bool(k->socket, NNG_OPT_TCP_NODELAY, true)) != 0) {
        return rv;
    }
    /* A request that nng sent again would be worked on twice; ours fails with its connection. */
    rv = stream ? nng_socket_set_int(k->socket, NNG_OPT_RECVBUF, SUB_QUEUE)
                : nng_socket_set_ms(k->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE);
    for (int ev = NNG_PIPE_EV_ADD_PRE; ev < NNG_PIPE_EV_NUM && rv == 0; ev++) {
        rv = nng_pipe_notify(k->socket, (nng_pipe_ev)ev, pipe_changed, k);
    }
    return rv;
}

void hf_link_close(struct hf_link *k)
{
    attempts_end(k);
    if (k->dialer.id != 0) {
        (void)nng_dialer_close(k->dialer);
        k->dialer.id = 0;
    }
}
