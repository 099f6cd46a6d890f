/*
 * probe.c - connects to one of our own listeners and looks whether nng makes a pipe of it (guard
 * A).
 *
 * One peer that sends FIN and RST before nng has written its 8 bytes ends the accept loop of nng's
 * listener for good. TCP still accepts after that, and nng still answers the SP handshake; only no
 * new pipe is ever added. So the answer to the handshake proves nothing: a probe has succeeded when
 * ADD_PRE reports a pipe whose peer is the probe's own address and port.
 *
 * The pipe is then closed in ADD_PRE, before its protocol has started. That way it counts against
 * no cap, is never sent a message, and cannot meet fault C; and since every closed pipe has to pass
 * nng's one reap thread, its REM_POST shows that this thread is not stuck.
 *
 * Verdicts: DEAD after two failures in a row, the second 250 ms after the first; listening anew
 * drops every edge, so one late second under load must not cause it. STUCK after a probe's pipe was
 * not reaped for two intervals.
 *
 * Must not: count a failure that is our own, like having no descriptor left.
 *
 * Read next: listener.c (on_tick, pipe_changed).
 */
#include "proto/node/transport_impl.h"

#include <netinet/in.h>

#define INTERVAL_MS 2000u
#define ANSWER_MS 1000u
#define FAILURES_MAX 2u
#define UNREAPED_MAX 2u

void hf_probe_init(struct hf_probe *p, uv_loop_t *loop, enum hf_sp self)
{
    memset(p, 0, sizeof(*p));
    p->loop = loop;
    hf_sp_greeting(self, p->hello);
    p->off = true;
    p->reaped = true;
}

static void target_in(struct sockaddr_storage *to, const nng_sockaddr *bound)
{
    struct sockaddr_in in;

    memset(&in, 0, sizeof(in));
    in.sin_family = AF_INET;
    in.sin_port = bound->s_in.sa_port;
    in.sin_addr.s_addr = bound->s_in.sa_addr;
    if (in.sin_addr.s_addr == htonl(INADDR_ANY)) {
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    memcpy(to, &in, sizeof(in));
}

static void target_in6(struct sockaddr_storage *to, const nng_sockaddr *bound)
{
    struct sockaddr_in6 in6;

    memset(&in6, 0, sizeof(in6));
    in6.sin6_family = AF_INET6;
    in6.sin6_port = bound->s_in6.sa_port;
    memcpy(&in6.sin6_addr, bound->s_in6.sa_addr, sizeof(in6.sin6_addr));
    in6.sin6_scope_id = bound->s_in6.sa_scope;
    if (IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr)) {
        in6.sin6_addr = in6addr_loopback;
    }
    memcpy(to, &in6, sizeof(in6));
}

void hf_probe_target(struct hf_probe *p, const nng_sockaddr *bound)
{
    memset(&p->to, 0, sizeof(p->to));
    p->off = false;
    if (bound->s_family == NNG_AF_INET) {
        target_in(&p->to, bound);
    } else if (bound->s_family == NNG_AF_INET6) {
        target_in6(&p->to, bound);
    } else {
        p->off = true;
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct hf_probe *p = handle->data;

    p->open = false;
}

static void hang_up(struct hf_probe *p)
{
    if (p->open && !uv_is_closing((uv_handle_t *)&p->tcp)) {
        uv_close((uv_handle_t *)&p->tcp, on_closed);
    }
}

static void lend_sink(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct hf_probe *p = handle->data;

    (void)suggested;
    *buf = uv_buf_init(p->sink, sizeof(p->sink));
}

/* Reads nng's header and the end that follows, so that our close sends no RST (it sets off fault
 * A). */
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct hf_probe *p = stream->data;

    (void)buf;
    if (n < 0) {
        hang_up(p);
    }
}

static void on_connect(uv_connect_t *request, int status)
{
    struct hf_probe *p = request->data;
    uv_buf_t hello = uv_buf_init((char *)p->hello, sizeof(p->hello));

    if (status == UV_ECANCELED) {
        return;
    }
    if (status != 0) {
        p->refused = true;
        hang_up(p);
        return;
    }
    (void)uv_read_start((uv_stream_t *)&p->tcp, lend_sink, on_read);
    if (uv_write(&p->writing, (uv_stream_t *)&p->tcp, &hello, 1, NULL) != 0) {
        hang_up(p);
    }
}

static void start(struct hf_probe *p, uint64_t now, pthread_mutex_t *lock)
{
    struct sockaddr_storage from;
    int from_len = sizeof(from);

    memset(&from, 0, sizeof(from));
    if (uv_tcp_init(p->loop, &p->tcp) != 0) {
        return;
    }
    p->open = true;
    p->tcp.data = p;
    p->connecting.data = p;
    if (uv_tcp_connect(&p->connecting, &p->tcp, (const struct sockaddr *)&p->to, on_connect) != 0 ||
        uv_tcp_getsockname(&p->tcp, (struct sockaddr *)&from, &from_len) != 0) {
        hang_up(p);
        return;
    }
    /* nng cannot report the pipe before our header, which on_connect sends, later and here. */
    pthread_mutex_lock(lock);
    p->from = hf_endpoint_of_kernel(&from);
    p->pipe = 0;
    p->reaped = false;
    pthread_mutex_unlock(lock);
    p->running = true;
    p->refused = false;
    p->started_ms = now;
}

static enum hf_probe_verdict finish(struct hf_probe *p, uint64_t now, bool seen)
{
    p->running = false;
    hang_up(p);
    if (seen) {
        p->failures = 0;
        p->count++;
        return HF_PROBE_WAIT;
    }
    p->next_ms = now + HF_GUARD_MS;
    p->failures++;
    if (p->failures < FAILURES_MAX) {
        return HF_PROBE_WAIT;
    }
    p->failures = 0;
    p->next_ms = now + INTERVAL_MS;
    return HF_PROBE_DEAD;
}

enum hf_probe_verdict hf_probe_tick(struct hf_probe *p, uint64_t now, pthread_mutex_t *lock)
{
    bool seen;
    bool reaped;

    if (p->off) {
        return HF_PROBE_WAIT;
    }
    pthread_mutex_lock(lock);
    seen = p->pipe != 0;
    reaped = p->reaped;
    pthread_mutex_unlock(lock);
    if (p->running) {
        bool over = seen || p->refused || now - p->started_ms >= ANSWER_MS;
        return over ? finish(p, now, seen) : HF_PROBE_WAIT;
    }
    if (now < p->next_ms || p->open) {
        return HF_PROBE_WAIT;
    }
    p->next_ms = now + INTERVAL_MS;
    p->unreaped = seen && !reaped ? p->unreaped + 1u : 0;
    if (p->unreaped >= UNREAPED_MAX) {
        return HF_PROBE_STUCK;
    }
    if (p->unreaped == 0) {
        start(p, now, lock);
    }
    return HF_PROBE_WAIT;
}

bool hf_probe_claim(struct hf_probe *p, uint32_t pipe, const struct hf_endpoint *peer)
{
    if (p->pipe != 0 || p->from.family == 0 || memcmp(&p->from, peer, sizeof(p->from)) != 0) {
        return false;
    }
    p->pipe = pipe;
    return true;
}

void hf_probe_removed(struct hf_probe *p, uint32_t pipe)
{
    if (pipe != 0 && p->pipe == pipe) {
        p->reaped = true;
    }
}

void hf_probe_close(struct hf_probe *p)
{
    p->off = true;
    hang_up(p);
}
