/*
 * reach.c - one look at a time: resolve, connect, be greeted; a timer bounds the whole of it.
 *
 * Invariant: `looking` is set from the start of a look until its last libuv request and its handle
 * are gone, so none is ever used twice at once. A verdict may be given before that.
 *
 * Must not: send anything, or log. Read next: transport.c for what URLs there are.
 */
#include "hf/reach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/node/transport_impl.h"

#define FIRST_MS 5000
#define PAUSE_MS 10000
#define ANSWER_MS 5000
#define REPEAT_MS 600000u
#define TOLD_MAX 4u /* reasons that come in turns: of a name with several addresses, say */

struct told {
    char reason[HF_URL_BYTES + 128];
    uint64_t at;
};

struct hf_reach {
    struct hf_reach_config config;
    uv_loop_t *loop;
    char url[HF_CHANNELS][HF_URL_BYTES];
    bool up[HF_CHANNELS];
    char reason[HF_URL_BYTES + 128];
    struct told told[TOLD_MAX];

    bool looking;
    bool resolving;
    bool judged; /* this look has its verdict */
    enum hf_channel at;
    uv_timer_t timer;
    uv_getaddrinfo_t resolve;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uint8_t greeting[HF_SP_BYTES];
    size_t greeting_len;
};

static void on_timer(uv_timer_t *timer);

static void wait_for(struct hf_reach *r, hf_ms ms)
{
    (void)uv_timer_start(&r->timer, on_timer, (uint64_t)ms, 0);
}

static bool all_up(const struct hf_reach *r)
{
    return r->up[HF_CHANNEL_STREAM] && r->up[HF_CHANNEL_CONTROL];
}

/* ---- the verdict ---- */

static void tell(struct hf_reach *r)
{
    uint64_t now = uv_now(r->loop);
    struct told *in = &r->told[0]; /* the same, or else the oldest */
    for (uint32_t i = 0; i < TOLD_MAX && strcmp(in->reason, r->reason) != 0; i++) {
        struct told *t = &r->told[i];
        in = strcmp(t->reason, r->reason) == 0 || t->at < in->at ? t : in;
    }
    if (strcmp(in->reason, r->reason) == 0 && now - in->at < REPEAT_MS) {
        return;
    }
    memcpy(in->reason, r->reason, sizeof(in->reason));
    in->at = now;
    r->config.on_reason(r->config.ctx, r->reason);
}

/* NULL: it is there, and nng will connect. */
static void judge(struct hf_reach *r, const char *why)
{
    if (r->judged) {
        return;
    }
    r->judged = true;
    r->reason[0] = '\0';
    if (why != NULL && !r->up[r->at]) {
        (void)snprintf(r->reason, sizeof(r->reason), "%s: %s", r->url[r->at], why);
        tell(r);
    }
    wait_for(r, r->config.pause_ms);
}

/* ---- a look ---- */

static void on_closed(uv_handle_t *h)
{
    ((struct hf_reach *)h->data)->looking = false;
}

static void end(struct hf_reach *r, const char *why)
{
    judge(r, why);
    if (!uv_is_closing((uv_handle_t *)&r->tcp)) {
        uv_close((uv_handle_t *)&r->tcp, on_closed);
    }
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct hf_reach *r = h->data;
    (void)suggested;
    *buf = uv_buf_init((char *)r->greeting + r->greeting_len,
                       (unsigned)(HF_SP_BYTES - r->greeting_len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct hf_reach *r = stream->data;
    uint8_t expected[HF_SP_BYTES];
    hf_sp_greeting(r->at == HF_CHANNEL_STREAM ? HF_SP_PUB : HF_SP_REP, expected);
    (void)buf;
    if (n < 0) {
        end(r, r->greeting_len > 0 ? "what listens there is no holdfast core"
                                   : "it accepts and says nothing: no holdfast core, or one that "
                                     "turns this edge away");
        return;
    }
    r->greeting_len += (size_t)n;
    if (r->greeting_len == HF_SP_BYTES) {
        bool good = memcmp(r->greeting, expected, HF_SP_BYTES) == 0;
        end(r, good ? NULL : "what listens there is no holdfast core");
    }
}

static void on_connect(uv_connect_t *connect, int status)
{
    struct hf_reach *r = connect->data;
    if (status == UV_ECANCELED) {
        return; /* it was closed for want of an answer */
    }
    if (status == 0) {
        status = uv_read_start((uv_stream_t *)&r->tcp, on_alloc, on_read);
    }
    if (status != 0) {
        end(r, uv_strerror(status));
    }
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *found)
{
    struct hf_reach *r = resolve->data;
    r->resolving = false;
    if (status == 0 && !r->judged) {
        r->connect.data = r;
        status = uv_tcp_connect(&r->connect, &r->tcp, found->ai_addr, on_connect);
    }
    if (status != 0 || r->judged) {
        end(r, uv_strerror(status));
    }
    uv_freeaddrinfo(found);
}

/* tcp://HOST:PORT or tcp://[HOST]:PORT, as hf_url_check has found it to be. */
static void split(const char *url, char host[HF_URL_BYTES], char port[HF_URL_BYTES])
{
    const char *begin = url + strlen("tcp://");
    const char *colon = strrchr(url, ':');
    size_t len = (size_t)(colon - begin);
    if (*begin == '[' && len >= 2) {
        begin++;
        len -= 2;
    }
    (void)snprintf(host, HF_URL_BYTES, "%.*s", (int)len, begin);
    (void)snprintf(port, HF_URL_BYTES, "%s", colon + 1);
}

static void look(struct hf_reach *r)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char host[HF_URL_BYTES];
    char port[HF_URL_BYTES];
    r->looking = true;
    r->judged = false;
    r->greeting_len = 0;
    r->at = r->up[HF_CHANNEL_CONTROL] ? HF_CHANNEL_STREAM : HF_CHANNEL_CONTROL;
    (void)uv_tcp_init(r->loop, &r->tcp); /* fails for flags only */
    r->tcp.data = r;
    r->resolve.data = r;
    split(r->url[r->at], host, port);
    wait_for(r, r->config.pause_ms < ANSWER_MS ? r->config.pause_ms : ANSWER_MS);
    int rc = uv_getaddrinfo(r->loop, &r->resolve, on_resolved, host, port, &hints);
    r->resolving = rc == 0;
    if (rc != 0) {
        end(r, uv_strerror(rc));
    }
}

/* A name that takes longer than that to resolve has its verdict, and its look goes on. */
static void give_up(struct hf_reach *r)
{
    if (r->resolving) {
        judge(r, "no answer from the name service");
    } else {
        end(r, "no answer: nothing routes there, or a firewall is in between");
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct hf_reach *r = timer->data;
    if (r->looking && !r->judged) {
        give_up(r);
    } else if (r->looking) {
        wait_for(r, r->config.pause_ms);
    } else if (!all_up(r)) {
        look(r);
    }
}

/* ---- for the owner ---- */

enum hf_err hf_reach_new(struct uv_loop_s *loop, const struct hf_reach_config *c,
                         struct hf_reach **out)
{
    struct hf_reach *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return HF_NOMEM;
    }
    enum hf_err err = hf_url_control(c->core_url, r->url[HF_CHANNEL_CONTROL], HF_URL_BYTES);
    if (err != HF_OK) {
        free(r);
        return err;
    }
    (void)snprintf(r->url[HF_CHANNEL_STREAM], HF_URL_BYTES, "%s", c->core_url);
    r->config = *c;
    r->config.first_ms = c->first_ms > 0 ? c->first_ms : FIRST_MS;
    r->config.pause_ms = c->pause_ms > 0 ? c->pause_ms : PAUSE_MS;
    r->loop = loop;
    (void)uv_timer_init(loop, &r->timer);
    r->timer.data = r;
    wait_for(r, r->config.first_ms);
    *out = r;
    return HF_OK;
}

void hf_reach_link(struct hf_reach *r, enum hf_channel channel, bool up)
{
    r->up[channel] = up;
    if (up && channel == r->at) {
        r->reason[0] = '\0';
        memset(r->told, 0, sizeof(r->told)); /* said anew when it is lost again */
    }
    if (!up && !r->looking) {
        wait_for(r, r->config.first_ms);
    }
}

const char *hf_reach_reason(const struct hf_reach *r)
{
    return r != NULL ? r->reason : "";
}
