/*
 * test_transport_faults.c - the connection faults A to E of nng 1.5.2, and the guards against them.
 *
 * Each test runs in a child of its own, for a fault wedges nng for the whole process, and nng must
 * not be used on both sides of a fork. A child reproduces the fault on nng itself where it can (and
 * says on stderr whether this nng has it), then shows that our listener or dialer lives through it
 * or, where nothing can be done any more, says on_wedged. With a newer nng the same tests pass.
 *
 * The attacks are plain TCP: FIN and RST at the wrong moment, requests without reading the answers.
 */
#include "hf/transport.h"
#include "proto/node/transport_impl.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <nng/protocol/pubsub0/sub.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:hf_dialer_open\nleak:hf_listener_open\nleak:libnng\n";
}

#define SP_PUB 0x20
#define SP_REQ 0x30
#define SP_REP 0x31
#define CHILD_SECONDS 28

/* Children have no cmocka: they say what failed and leave. */
#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x);                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static uv_loop_t loop;

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000u;
}

static void on_tock(uv_timer_t *timer)
{
    (void)timer;
}

static bool run_until(const uint32_t *flag, uint32_t wanted, uint64_t timeout_ms)
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

static void run_for(uint64_t ms)
{
    uint32_t never = 0;

    (void)run_until(&never, 1, ms);
}

/* ---- one core and one edge ---- */

struct core {
    struct hf_listener *listener;
    size_t reply_len;
    uint32_t requests;
    uint32_t wedged;
    char why[128];
};

struct edge {
    struct hf_dialer *dialer;
    uint32_t ups[HF_CHANNELS];
    uint32_t downs[HF_CHANNELS];
    uint32_t messages;
    uint32_t replies;
    uint32_t failures;
    uint32_t wedged;
};

static void on_request(void *ctx, uint64_t handle, struct hf_slice message, const char *peer)
{
    static uint8_t answer[HF_MESSAGE_MAX];
    struct core *c = ctx;

    (void)message;
    (void)peer;
    c->requests++;
    hf_listener_reply(c->listener, handle, hf_slice_of(answer, c->reply_len));
}

static void on_core_wedged(void *ctx, const char *why)
{
    struct core *c = ctx;

    c->wedged++;
    snprintf(c->why, sizeof(c->why), "%s", why);
}

static void on_link(void *ctx, enum hf_channel channel, bool up)
{
    struct edge *e = ctx;

    e->ups[channel] += up ? 1 : 0;
    e->downs[channel] += up ? 0 : 1;
}

static void on_message(void *ctx, struct hf_slice message)
{
    struct edge *e = ctx;

    (void)message;
    e->messages++;
}

static void on_reply(void *ctx, uint64_t id, struct hf_slice message)
{
    struct edge *e = ctx;

    (void)id;
    e->replies++;
    e->failures += message.data == NULL ? 1 : 0;
}

static void on_edge_wedged(void *ctx, const char *why)
{
    struct edge *e = ctx;

    (void)why;
    e->wedged++;
}

static void core_open(struct core *c, size_t reply_len)
{
    struct hf_error err;
    struct hf_listener_config config = {
        .stream_url = "tcp://127.0.0.1:0",
        .pipes_per_address = 1000,
        .ctx = c,
        .on_request = on_request,
        .on_wedged = on_core_wedged,
    };

    memset(c, 0, sizeof(*c));
    c->reply_len = reply_len;
    CHECK(hf_listener_open(&loop, &config, &c->listener, &err) == HF_OK);
}

static void edge_dial(struct edge *e, uint16_t port)
{
    char stream[64];
    char control[64];
    struct hf_error err;
    struct hf_dialer_config config = {
        .stream_url = stream,
        .control_url = control,
        .control_connections = 1,
        .ctx = e,
        .on_link = on_link,
        .on_message = on_message,
        .on_reply = on_reply,
        .on_wedged = on_edge_wedged,
    };

    memset(e, 0, sizeof(*e));
    snprintf(stream, sizeof(stream), "tcp://127.0.0.1:%u", port);
    CHECK(hf_url_control(stream, control, sizeof(control)) == HF_OK);
    CHECK(hf_dialer_open(&loop, &config, &e->dialer, &err) == HF_OK);
    CHECK(hf_dialer_subscribe(e->dialer, hf_slice_of(NULL, 0)) == HF_OK);
}

static void edge_wait_up(struct edge *e, uint64_t timeout_ms)
{
    CHECK(run_until(&e->ups[HF_CHANNEL_STREAM], 1, timeout_ms));
    CHECK(run_until(&e->ups[HF_CHANNEL_CONTROL], 1, timeout_ms));
}

static void edge_ask(struct edge *e)
{
    uint32_t replies = e->replies;
    uint32_t failures = e->failures;

    CHECK(hf_dialer_request(e->dialer, 1, hf_slice_str("?"), 3000) == HF_OK);
    CHECK(run_until(&e->replies, replies + 1, 4000));
    CHECK(e->failures == failures);
}

/* ---- raw TCP ---- */

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return in;
}

static int raw_connect(uint16_t port)
{
    struct sockaddr_in in = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0);
    CHECK(connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0);
    return fd;
}

static int raw_listen(uint16_t *port, int backlog)
{
    struct sockaddr_in in = loopback(*port);
    socklen_t len = sizeof(in);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
    if (bind(fd, (struct sockaddr *)&in, sizeof(in)) != 0 || listen(fd, backlog) != 0) {
        close(fd);
        return -1;
    }
    CHECK(getsockname(fd, (struct sockaddr *)&in, &len) == 0);
    *port = ntohs(in.sin_port);
    return fd;
}

static void raw_listen_pair(int fds[2], uint16_t *port, int backlog)
{
    for (;;) {
        uint16_t next;

        *port = 0;
        fds[0] = raw_listen(port, backlog);
        next = (uint16_t)(*port + 1);
        fds[1] = raw_listen(&next, backlog);
        if (fds[1] >= 0) {
            return;
        }
        close(fds[0]);
    }
}

static void close_with_reset(int fd)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
}

/* The end, then a reset: whoever writes now gets EPIPE instead of ECONNRESET, which nng takes for
 * "closed by ourselves". */
static void fin_and_reset(int fd)
{
    (void)shutdown(fd, SHUT_WR);
    close_with_reset(fd);
}

static bool raw_hello(int fd, uint8_t protocol)
{
    uint8_t hello[8] = {0, 'S', 'P', 0, 0, protocol, 0, 0};

    return send(fd, hello, sizeof(hello), MSG_NOSIGNAL) == (ssize_t)sizeof(hello) &&
           recv(fd, hello, sizeof(hello), MSG_WAITALL) == (ssize_t)sizeof(hello);
}

/* ---- A: a listener that one connection kills ---- */

static bool attack_until_relistened(struct core *c, uint16_t port, uint64_t relistens)
{
    struct hf_listener_counts counts;
    uint64_t end = now_ms() + 9000;

    do {
        for (int i = 0; i < 5; i++) {
            fin_and_reset(raw_connect(port));
        }
        run_for(100);
        hf_listener_counts(c->listener, &counts);
    } while (counts.relistens <= relistens && now_ms() < end);
    return counts.relistens > relistens;
}

static void child_listener_killed(void)
{
    struct core c;
    struct edge before;
    struct edge after;
    uint16_t port;

    core_open(&c, 8);
    port = hf_listener_port(c.listener);
    edge_dial(&before, port);
    edge_wait_up(&before, 3000);
    run_for(1000);
    bool stream = attack_until_relistened(&c, port, 0);
    bool control = attack_until_relistened(&c, (uint16_t)(port + 1), stream ? 1 : 0);
    fprintf(stderr, "fault A: this nng %s it\n", stream && control ? "has" : "does not have");
    edge_dial(&after, port);
    edge_wait_up(&after, 5000);
    edge_ask(&after);
    edge_ask(&before);
    for (int i = 0; i < 300 && (before.messages == 0 || after.messages == 0); i++) {
        hf_listener_publish(c.listener, hf_slice_str("to all"));
        run_for(10);
    }
    CHECK(before.messages > 0 && after.messages > 0);
    CHECK(c.wedged == 0);
}

/* ---- B: a dialer that one connection kills ---- */

struct poisoner {
    int fds[2];
    atomic_bool poison;
    atomic_uint poisoned;
};

static void *poison_or_serve(void *arg)
{
    struct poisoner *p = arg;
    struct pollfd ready[2] = {{p->fds[0], POLLIN, 0}, {p->fds[1], POLLIN, 0}};

    for (;;) {
        (void)poll(ready, 2, -1);
        for (int i = 0; i < 2; i++) {
            int fd = (ready[i].revents & POLLIN) != 0 ? accept(p->fds[i], NULL, NULL) : -1;
            if (fd < 0) {
                continue;
            }
            if (atomic_load(&p->poison)) {
                fin_and_reset(fd);
                atomic_fetch_add(&p->poisoned, 1);
            } else {
                (void)raw_hello(fd, i == 0 ? SP_PUB : SP_REP);
            }
        }
    }
    return NULL;
}

static void poisoner_start(struct poisoner *p, uint16_t *port)
{
    pthread_t thread;

    memset(p, 0, sizeof(*p));
    raw_listen_pair(p->fds, port, 16);
    atomic_store(&p->poison, true);
    CHECK(pthread_create(&thread, NULL, poison_or_serve, p) == 0);
}

static void count_event(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    (void)pipe;
    (void)event;
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void child_dialer_killed(void)
{
    static struct poisoner for_nng;
    static struct poisoner for_us;
    static atomic_uint plain_ups;
    uint16_t nng_port;
    uint16_t our_port;
    char url[64];
    nng_socket plain;
    struct edge e;

    poisoner_start(&for_nng, &nng_port);
    poisoner_start(&for_us, &our_port);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", nng_port);
    CHECK(nng_sub0_open(&plain) == 0);
    CHECK(nng_socket_set_ms(plain, NNG_OPT_RECONNMINT, 50) == 0);
    CHECK(nng_pipe_notify(plain, NNG_PIPE_EV_ADD_POST, count_event, &plain_ups) == 0);
    CHECK(nng_dial(plain, url, NULL, NNG_FLAG_NONBLOCK) == 0);
    edge_dial(&e, our_port);
    run_for(7000);
    CHECK(e.ups[HF_CHANNEL_STREAM] == 0);
    CHECK(atomic_load(&for_us.poisoned) >= 6); /* two links, dialled anew more than once */
    atomic_store(&for_nng.poison, false);
    atomic_store(&for_us.poison, false);
    edge_wait_up(&e, 9000);
    run_for(3000);
    fprintf(stderr, "fault B: this nng %s it (plain dialer: %u tries, then %u connections)\n",
            atomic_load(&plain_ups) == 0 ? "has" : "does not have", atomic_load(&for_nng.poisoned),
            atomic_load(&plain_ups));
}

/* Not a fault with a letter, but the same guard: nng has no connect time-out. */
static void child_connect_backs_off(void)
{
    int fds[2];
    int fill[8];
    uint16_t port;
    struct edge e;
    uint64_t begin;

    /* With a full backlog the kernel drops every further SYN, like a link that is down. */
    raw_listen_pair(fds, &port, 0);
    for (int i = 0; i < 8; i++) {
        struct sockaddr_in in = loopback((uint16_t)(port + i % 2));
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (struct sockaddr *)&in, sizeof(in));
    }
    edge_dial(&e, port);
    /* Left to itself the kernel would try again 15 s after the first SYN, or later. */
    run_for(12200);
    CHECK(e.ups[HF_CHANNEL_STREAM] == 0 && e.ups[HF_CHANNEL_CONTROL] == 0);
    for (int i = 0; i < 8; i++) {
        close(fill[i]);
    }
    begin = now_ms();
    for (int i = 0; i < 2; i++) {
        static struct poisoner p;
        pthread_t thread;
        p.fds[i] = fds[i];
        CHECK(listen(fds[i], 16) == 0);
        CHECK(i == 0 || pthread_create(&thread, NULL, poison_or_serve, &p) == 0);
    }
    edge_wait_up(&e, 2300);
    fprintf(stderr, "connect back-off: up %u ms after the heal\n", (unsigned)(now_ms() - begin));
}

/* ---- C: a reap thread that the closing of a busy pipe wedges ---- */

/* A core in a process of its own that publishes without pause, except in the last half second of
 * each period (0: never). Returns the port. */
static pid_t busy_core_start(uint16_t *port, uint64_t quiet_after_ms)
{
    int ends[2];
    pid_t pid;

    CHECK(pipe(ends) == 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        static uint8_t block[8192];
        struct core c;
        uint64_t begin = now_ms();

        alarm(CHILD_SECONDS);
        CHECK(uv_loop_init(&loop) == 0);
        core_open(&c, 8);
        *port = hf_listener_port(c.listener);
        CHECK(write(ends[1], port, sizeof(*port)) == (ssize_t)sizeof(*port));
        for (;;) {
            bool quiet = quiet_after_ms != 0 && now_ms() - begin > quiet_after_ms;
            for (int i = 0; i < 20 && !quiet; i++) {
                hf_listener_publish(c.listener, hf_slice_of(block, sizeof(block)));
            }
            run_for(2);
        }
    }
    close(ends[1]);
    CHECK(read(ends[0], port, sizeof(*port)) == (ssize_t)sizeof(*port));
    close(ends[0]);
    return pid;
}

static void child_busy_pipe_is_not_closed(void)
{
    struct hf_dialer_counts counts;
    struct edge e;
    uint16_t port;
    pid_t publisher = busy_core_start(&port, 6000);
    uint64_t begin = now_ms();

    CHECK(uv_loop_init(&loop) == 0);
    edge_dial(&e, port);
    edge_wait_up(&e, 3000);
    run_for(300);
    while (now_ms() - begin < 5000) {
        hf_dialer_redial(e.dialer, HF_CHANNEL_STREAM);
        run_for(10);
    }
    hf_dialer_counts(e.dialer, &counts);
    fprintf(stderr, "fault C: %llu messages, %llu closes under 500 redials\n",
            (unsigned long long)counts.messages, (unsigned long long)counts.closes);
    CHECK(counts.messages > 1000);
    CHECK(counts.closes == 0 && e.wedged == 0);
    /* Now it falls silent: each redial is done, and the reap thread still works. */
    run_for(2500);
    for (uint32_t i = 1; i <= 3; i++) {
        hf_dialer_redial(e.dialer, HF_CHANNEL_STREAM);
        CHECK(run_until(&e.downs[HF_CHANNEL_STREAM], i, 1500));
        CHECK(run_until(&e.ups[HF_CHANNEL_STREAM], i + 1, 3000));
        run_for(600);
    }
    CHECK(e.wedged == 0);
    kill(publisher, SIGKILL);
}

static atomic_uint closing_pipe;
static atomic_uint removed;

static void track(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    (void)arg;
    if (event == NNG_PIPE_EV_ADD_POST) {
        atomic_store(&closing_pipe, pipe.id);
    } else {
        atomic_fetch_add(&removed, 1);
    }
}

/* Closes the pipe of a plain SUB again and again while it receives, until a removal does not come.
 */
static bool wedge_nng(uint16_t busy_port)
{
    char url[64];
    nng_socket plain;
    uint64_t end = now_ms() + 12000;

    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", busy_port);
    CHECK(nng_sub0_open(&plain) == 0);
    CHECK(nng_socket_set(plain, NNG_OPT_SUB_SUBSCRIBE, "", 0) == 0);
    CHECK(nng_socket_set_ms(plain, NNG_OPT_RECONNMINT, 1) == 0);
    CHECK(nng_pipe_notify(plain, NNG_PIPE_EV_ADD_POST, track, NULL) == 0);
    CHECK(nng_pipe_notify(plain, NNG_PIPE_EV_REM_POST, track, NULL) == 0);
    CHECK(nng_dial(plain, url, NULL, NNG_FLAG_NONBLOCK) == 0);
    for (uint32_t closes = 0; now_ms() < end;) {
        nng_pipe p = {atomic_exchange(&closing_pipe, 0)};
        uint64_t patience = now_ms() + 1500;

        if (p.id != 0) {
            usleep(3000);
            (void)nng_pipe_close(p);
            closes++;
        }
        while (atomic_load(&closing_pipe) == 0 && now_ms() < patience) {
            usleep(200);
        }
        if (atomic_load(&closing_pipe) == 0) {
            fprintf(stderr, "fault C: this nng has it, after %u closes\n", closes);
            return true;
        }
    }
    fprintf(stderr, "fault C: this nng does not have it\n");
    return false;
}

static void child_wedged_reaper_is_reported(void)
{
    struct core c;
    struct edge e;
    uint16_t busy_port;
    pid_t publisher = busy_core_start(&busy_port, 0);
    uint64_t begin;
    bool has_it;

    CHECK(uv_loop_init(&loop) == 0);
    core_open(&c, 8);
    edge_dial(&e, hf_listener_port(c.listener));
    edge_wait_up(&e, 3000);
    edge_ask(&e);
    has_it = wedge_nng(busy_port);
    kill(publisher, SIGKILL);
    run_for(600);
    begin = now_ms();
    hf_dialer_redial(e.dialer, HF_CHANNEL_STREAM);
    CHECK(run_until(&e.wedged, 1, 3500) == has_it);
    fprintf(stderr, "fault C: the edge said wedged after %u ms\n", (unsigned)(now_ms() - begin));
    CHECK(run_until(&c.wedged, 1, 8000) == has_it);
    fprintf(stderr, "fault C: the core said wedged after %u ms\n", (unsigned)(now_ms() - begin));
    /* Closing must not hang, whatever state nng is in. */
    hf_dialer_close(e.dialer);
    hf_listener_close(c.listener);
    run_for(50);
}

/* ---- D: descriptors that abrupt clients leave behind ---- */

/* Clients that ask and reset without reading the answers, in a process of their own. */
static void abrupt_clients(uint16_t port, int clients, uint8_t requests)
{
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        uint8_t frame[13] = {0, 0, 0, 0, 0, 0, 0, 5, 0x80, 0, 0, 0, '?'};
        for (int i = 0; i < clients; i++) {
            int fd = raw_connect(port);
            if (raw_hello(fd, SP_REQ)) {
                for (uint8_t r = 0; r < requests; r++) {
                    frame[11] = r;
                    (void)send(fd, frame, sizeof(frame), MSG_NOSIGNAL);
                }
                usleep((useconds_t)(i % 5) * 100);
            }
            close_with_reset(fd);
        }
        _exit(0);
    }
    for (int status = 0; waitpid(pid, &status, WNOHANG) == 0;) {
        run_for(5);
    }
    run_for(500);
}

static void child_abrupt_clients_leak_nothing(void)
{
    struct core c;
    struct edge e;

    core_open(&c, HF_MESSAGE_MAX - 1024);
    abrupt_clients((uint16_t)(hf_listener_port(c.listener) + 1), 1500, 2);
    fprintf(stderr, "fault D: 1,500 abrupt clients, %u requests, %u dead descriptors\n", c.requests,
            hf_descriptors_dead());
    CHECK(c.requests > 500);
    CHECK(hf_descriptors_dead() < 10);
    CHECK(c.wedged == 0);
    edge_dial(&e, hf_listener_port(c.listener));
    edge_wait_up(&e, 3000);
    edge_ask(&e);
    CHECK(hf_listener_pipes(c.listener) <= 4);
}

/* More than any edge of ours does: eight at once. Either nothing leaks, or it is noticed. */
static void child_hostile_clients_are_noticed(void)
{
    struct core c;
    uint32_t dead;

    core_open(&c, HF_MESSAGE_MAX - 1024);
    abrupt_clients((uint16_t)(hf_listener_port(c.listener) + 1), 1500, 8);
    dead = hf_descriptors_dead();
    fprintf(stderr, "fault D: 1,500 hostile clients, %u dead descriptors, wedged=%u %s\n", dead,
            c.wedged, c.why);
    CHECK(dead < 10 || run_until(&c.wedged, 1, 8000));
}

static void child_dead_descriptors_are_reported(void)
{
    struct core c;
    uint16_t port = 0;
    int listening = raw_listen(&port, 600);

    core_open(&c, 8);
    for (int i = 0; i < 250; i++) {
        (void)shutdown(raw_connect(port), SHUT_RDWR);
    }
    CHECK(!run_until(&c.wedged, 1, 5500));
    for (int i = 0; i < 10; i++) {
        (void)shutdown(raw_connect(port), SHUT_RDWR);
    }
    CHECK(run_until(&c.wedged, 1, 5500));
    CHECK(strstr(c.why, "descriptors") != NULL);
    close(listening);
}

/* ---- E: RESPONDENT sockets crash ---- */

static void child_surveys_are_not_used(void)
{
    static char text[8u << 20];
    char name[64];
    size_t len;
    FILE *self = fopen("/proc/self/exe", "rb");

    CHECK(self != NULL);
    len = fread(text, 1, sizeof(text), self);
    fclose(self);
    /* Put together here, or this file would hold what it looks for. */
    snprintf(name, sizeof(name), "nng_%s0_open", "sub");
    CHECK(memmem(text, len, name, strlen(name)) != NULL);
    snprintf(name, sizeof(name), "nng_%s0_open", "respondent");
    CHECK(memmem(text, len, name, strlen(name)) == NULL);
    snprintf(name, sizeof(name), "nng_%s0_open", "surveyor");
    CHECK(memmem(text, len, name, strlen(name)) == NULL);
}

/* ---- the children ---- */

struct child {
    const char *name;
    void (*body)(void);
    bool forks; /* the body forks before it makes the loop */
    pid_t pid;
};

static struct child children[] = {
    {"a_listener_killed_by_one_connection_listens_anew", child_listener_killed, false, 0},
    {"a_dialer_killed_by_one_connection_dials_anew", child_dialer_killed, false, 0},
    {"a_connect_that_backs_off_does_not_delay_the_heal", child_connect_backs_off, false, 0},
    {"a_pipe_on_which_bytes_arrive_is_not_closed", child_busy_pipe_is_not_closed, true, 0},
    {"a_wedged_reap_thread_is_reported_by_edge_and_core", child_wedged_reaper_is_reported, true, 0},
    {"abrupt_clients_leak_no_descriptors", child_abrupt_clients_leak_nothing, false, 0},
    {"hostile_clients_leak_no_descriptors_unnoticed", child_hostile_clients_are_noticed, false, 0},
    {"dead_descriptors_above_the_limit_are_reported", child_dead_descriptors_are_reported, false,
     0},
    {"surveys_are_not_used", child_surveys_are_not_used, false, 0},
};
#define CHILDREN (sizeof(children) / sizeof(children[0]))

/* All at once: they mostly wait for nng's and our own time-outs. */
static int start_children(void **state)
{
    (void)state;
    for (size_t i = 0; i < CHILDREN; i++) {
        children[i].pid = fork();
        if (children[i].pid < 0) {
            return -1;
        }
        if (children[i].pid == 0) {
            alarm(CHILD_SECONDS);
            if (!children[i].forks) {
                CHECK(uv_loop_init(&loop) == 0);
            }
            children[i].body();
            _exit(0);
        }
    }
    return 0;
}

static void wait_for_child(void **state)
{
    const struct child *c = *state;
    int status = 0;

    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    struct CMUnitTest tests[CHILDREN];

    memset(tests, 0, sizeof(tests));
    for (size_t i = 0; i < CHILDREN; i++) {
        tests[i].name = children[i].name;
        tests[i].test_func = wait_for_child;
        tests[i].initial_state = &children[i];
    }
    return cmocka_run_group_tests_name("transport faults", tests, start_children, NULL);
}
