/*
 * transport_peers.h - a core, edges and raw TCP peers for the tests of the transport.
 *
 * All of a test runs in one loop, in one process. run_until turns that loop until something has
 * happened or the time is over; nothing else waits. A raw peer (tests/raw_tcp.h) plays what nng
 * would do too well.
 *
 * Sockets are abandoned by design, so the leak check of ASan is off for them; nng is not
 * instrumented, so TSan does not see its reference counts.
 *
 * Read next: ../raw_tcp.h, test_transport.c, test_transport_links.c, test_transport_guards.c.
 */
#ifndef HF_TESTS_TRANSPORT_PEERS_H
#define HF_TESTS_TRANSPORT_PEERS_H

#include "hf/transport.h"
#include "proto/node/transport_impl.h"
#include "tests/raw_tcp.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:hf_dialer_open\nleak:hf_listener_open\nleak:libnng\n";
}

/* nng is not instrumented: TSan does not see its reference counts. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libnng.so\n";
}

#define REPLIES_MAX 128

struct core {
    struct hf_listener *listener;
    bool hold; /* keep requests instead of answering */
    bool drop; /* answer with nothing */
    bool much; /* answer a request of one byte with 60,000 */
    uint32_t held_count;
    uint64_t held[256];
    char peer[64];
    uint32_t requests;
};

struct edge {
    struct hf_dialer *dialer;
    bool up[HF_CHANNELS];
    uint32_t ups[HF_CHANNELS];
    uint32_t downs[HF_CHANNELS];
    uint32_t messages;
    size_t last_len;
    char last[64];
    uint32_t replies;
    uint32_t failures;
    uint64_t reply_id;
    uint32_t per_id[REPLIES_MAX];
    char reply[64];
    bool wedged;
};

static uv_loop_t loop;
static hf_ms edge_idle_ms; /* 0: as in the daemon */

static inline uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

static inline void on_tock(uv_timer_t *timer)
{
    (void)timer;
}

/* Runs the loop until *flag >= wanted; false: the time is over. */
static inline bool run_until(const uint32_t *flag, uint32_t wanted, uint64_t timeout_ms)
{
    uint64_t end = now_ms() + timeout_ms;
    uv_timer_t tock;

    uv_timer_init(&loop, &tock);
    uv_timer_start(&tock, on_tock, 5, 5);
    while (*flag < wanted && now_ms() < end) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&tock, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    return *flag >= wanted;
}

static inline void run_for(uint64_t ms)
{
    uint32_t never = 0;

    (void)run_until(&never, 1, ms);
}

/* Authentic is what does not begin with a question mark. */
static inline bool on_request(void *ctx, uint64_t handle, struct hf_slice message, const char *peer)
{
    struct core *c = ctx;

    c->requests++;
    snprintf(c->peer, sizeof(c->peer), "%s", peer);
    if (c->hold) {
        assert_true(c->held_count < 256);
        c->held[c->held_count++] = handle;
    } else if (c->much && message.len == 1) {
        static const uint8_t bytes[60000];
        hf_listener_reply(c->listener, handle, hf_slice_of(bytes, sizeof(bytes)));
    } else if (c->drop) {
        hf_listener_reply(c->listener, handle, hf_slice_of(NULL, 0));
    } else {
        hf_listener_reply(c->listener, handle, message);
    }
    return message.len > 0 && message.data[0] != '?';
}

static inline void on_core_wedged(void *ctx, const char *why)
{
    (void)ctx;
    fail_msg("core wedged: %s", why);
}

static inline void on_link(void *ctx, enum hf_channel channel, bool up)
{
    struct edge *e = ctx;

    assert_true(e->up[channel] != up);
    e->up[channel] = up;
    e->ups[channel] += up ? 1 : 0;
    e->downs[channel] += up ? 0 : 1;
}

static inline void on_message(void *ctx, struct hf_slice message)
{
    struct edge *e = ctx;

    e->messages++;
    e->last_len = message.len;
    snprintf(e->last, sizeof(e->last), "%.*s", (int)(message.len < 60 ? message.len : 60),
             (const char *)message.data);
}

static inline void on_reply(void *ctx, uint64_t id, struct hf_slice message)
{
    struct edge *e = ctx;

    e->replies++;
    e->failures += message.data == NULL ? 1 : 0;
    e->reply_id = id;
    if (id < REPLIES_MAX) {
        e->per_id[id]++;
    }
    if (message.data != NULL) {
        snprintf(e->reply, sizeof(e->reply), "%.*s", (int)(message.len < 60 ? message.len : 60),
                 (const char *)message.data);
    }
}

static inline void on_edge_wedged(void *ctx, const char *why)
{
    struct edge *e = ctx;

    (void)why;
    e->wedged = true;
}

static inline void core_open_places(struct core *c, const char *url, uint32_t contexts,
                                    uint32_t per_address, uint32_t places)
{
    struct hf_error err;
    struct hf_listener_config config = {
        .stream_url = url,
        .contexts = contexts,
        .pipes_per_address = per_address,
        .pipes_max = places,
        .ctx = c,
        .on_request = on_request,
        .on_wedged = on_core_wedged,
    };

    memset(c, 0, sizeof(*c));
    if (hf_listener_open(&loop, &config, &c->listener, &err) != HF_OK) {
        fail_msg("%s", err.text);
    }
}

static inline void core_open(struct core *c, const char *url, uint32_t contexts,
                             uint32_t per_address)
{
    core_open_places(c, url, contexts, per_address, 0);
}

static inline void edge_dial(struct edge *e, const char *host, uint16_t port, uint32_t connections)
{
    char stream[64];
    char control[64];
    struct hf_error err;
    struct hf_dialer_config config = {
        .stream_url = stream,
        .control_url = control,
        .data_connections = connections,
        .data_idle_ms = edge_idle_ms,
        .ctx = e,
        .on_link = on_link,
        .on_message = on_message,
        .on_reply = on_reply,
        .on_wedged = on_edge_wedged,
    };

    memset(e, 0, sizeof(*e));
    snprintf(stream, sizeof(stream), "tcp://%s:%u", host, port);
    assert_int_equal(hf_url_control(stream, control, sizeof(control)), HF_OK);
    if (hf_dialer_open(&loop, &config, &e->dialer, &err) != HF_OK) {
        fail_msg("%s", err.text);
    }
}

static inline void edge_wait_up(struct edge *e)
{
    assert_true(run_until(&e->ups[HF_CHANNEL_STREAM], 1, 3000));
    assert_true(run_until(&e->ups[HF_CHANNEL_CONTROL], 1, 3000));
}

static inline void pair_open(struct core *c, struct edge *e, uint32_t contexts,
                             uint32_t connections)
{
    core_open(c, "tcp://127.0.0.1:0", contexts, 0);
    edge_dial(e, "127.0.0.1", hf_listener_port(c->listener), connections);
    edge_wait_up(e);
}

static inline void pair_close(struct core *c, struct edge *e)
{
    hf_dialer_close(e->dialer);
    hf_listener_close(c->listener);
    run_for(20);
}

static inline void request(struct edge *e, uint64_t id, const char *text, hf_ms timeout_ms)
{
    assert_int_equal(hf_dialer_request(e->dialer, id, hf_slice_str(text), timeout_ms), HF_OK);
}

static inline void fetch(struct edge *e, uint64_t id, const char *text, hf_ms timeout_ms)
{
    assert_int_equal(hf_dialer_fetch(e->dialer, id, hf_slice_str(text), timeout_ms), HF_OK);
}

/* Publishes until the edge has it: PUB does not know of a new subscriber at once. */
static inline void publish_until_heard(struct core *c, struct edge *e, const char *text)
{
    uint32_t before = e->messages;

    for (int i = 0; i < 300 && e->messages == before; i++) {
        hf_listener_publish(c->listener, hf_slice_str(text));
        run_for(10);
    }
    assert_true(e->messages > before);
}

/* ---- raw TCP peers, whose failures are the test's ---- */

static inline int raw_connect(uint16_t port)
{
    int fd = tcp_connect(port);

    assert_true(fd >= 0);
    return fd;
}

static inline int raw_listen(uint16_t *port)
{
    int fd = tcp_listen(port, 16);

    assert_true(fd >= 0);
    return fd;
}

/* Listens on *port + 1, where *port is free. */
static inline int raw_listen_above_free(uint16_t *port)
{
    int fds[2];

    tcp_listen_pair(fds, port, 16);
    close(fds[0]);
    return fds[1];
}

static inline void raw_send(int fd, const void *data, size_t len)
{
    assert_true(tcp_send(fd, data, len));
}

static inline void raw_hello(int fd, uint8_t protocol)
{
    assert_true(sp_hello(fd, protocol));
}

/* From 127.0.0.host. */
static inline int raw_peer(uint8_t host, uint16_t port, uint8_t protocol)
{
    int fd = tcp_connect_from(host, port);

    assert_true(fd >= 0);
    raw_hello(fd, protocol);
    return fd;
}

static inline void raw_request(int fd, const char *text)
{
    uint8_t frame[64];

    raw_send(fd, frame, sp_frame(frame, 1, text, strlen(text)));
}

static inline int loop_open(void **state)
{
    (void)state;
    return uv_loop_init(&loop);
}

/* Each in a process of its own. Peers that end abruptly may leave nng's one reap thread stuck for
 * good (fault D), which a daemon mends by starting anew; the next test could not go on with it. */
static inline int run_each_apart(const struct CMUnitTest *tests, size_t count)
{
    int failed = 0;

    for (size_t i = 0; i < count; i++) {
        int status = -1;
        pid_t child;

        fflush(NULL);
        child = fork();
        if (child == 0) {
            exit(_cmocka_run_group_tests(tests[i].name, &tests[i], 1, loop_open, NULL));
        }
        failed += child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    return failed;
}

#endif
