/*
 * test_transport_links.c - an edge's connections for data, and how a lost link is dialled anew.
 *
 * Which request goes over which connection, what a dead one does to the others, when connections
 * are opened and closed; a core that does not answer a SYN, for which a listener with a full
 * backlog stands; and what the core does for connections whose edge has gone. Over a real blackhole
 * these are measured by tests/bench/redial.sh.
 */
#include "tests/unit/transport_peers.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>

/* ---- a REP on raw TCP, which can go deaf on one connection ---- */

#define PEERS_MAX 64

struct server {
    int listening;
    pthread_t thread;
    atomic_bool stop;
    atomic_int
        deaf; /* this connection's requests are read and not answered; -1: all are answered */
    atomic_int slow_ms;
    atomic_uint count;
    int fds[PEERS_MAX];
    atomic_uint requests[PEERS_MAX];
};

/* Sends a request back, which with its id makes it the reply. */
static bool echo(struct server *s, unsigned i)
{
    uint8_t frame[64];

    if (!tcp_receive(s->fds[i], frame, 8) || frame[7] > 56 ||
        !tcp_receive(s->fds[i], frame + 8, frame[7])) {
        return false;
    }
    atomic_fetch_add(&s->requests[i], 1);
    if (atomic_load(&s->deaf) == (int)i) {
        return true;
    }
    usleep((useconds_t)atomic_load(&s->slow_ms) * 1000);
    return tcp_send(s->fds[i], frame, 8u + frame[7]);
}

static void serve_once(struct server *s)
{
    struct pollfd p[1 + PEERS_MAX] = {{.fd = s->listening, .events = POLLIN}};
    unsigned n = atomic_load(&s->count);

    for (unsigned i = 0; i < n; i++) {
        p[1 + i] = (struct pollfd){.fd = s->fds[i], .events = POLLIN};
    }
    poll(p, 1 + n, 10);
    for (unsigned i = 0; i < n; i++) {
        if (p[1 + i].revents != 0 && !echo(s, i)) {
            close(s->fds[i]);
            s->fds[i] = -1;
        }
    }
    if (p[0].revents != 0 && n < PEERS_MAX) {
        int fd = accept4(s->listening, NULL, NULL, SOCK_CLOEXEC);

        s->fds[n] = fd;
        if (fd >= 0 && sp_hello(fd, SP_REP)) {
            atomic_store(&s->count, n + 1);
        } else {
            close(fd);
        }
    }
}

static void *serve(void *arg)
{
    struct server *s = arg;

    while (!atomic_load(&s->stop)) {
        serve_once(s);
    }
    return NULL;
}

static void server_open(struct server *s, struct edge *e, uint32_t connections)
{
    uint16_t port;

    memset(s, 0, sizeof(*s));
    s->deaf = -1;
    s->listening = raw_listen_above_free(&port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    edge_dial(e, "127.0.0.1", port, connections);
    assert_true(run_until(&e->ups[HF_CHANNEL_CONTROL], 1, 2000));
}

static void server_close(struct server *s, struct edge *e)
{
    hf_dialer_close(e->dialer);
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
    for (unsigned i = 0; i < s->count; i++) {
        close(s->fds[i]);
    }
    close(s->listening);
    run_for(20);
}

/* Fetches until so many connections for data are up. */
static void warm_up(struct edge *e, uint32_t connections)
{
    struct hf_dialer_counts counts = {.messages = 0};

    for (int tries = 0; tries < 50 && counts.data_links < connections; tries++) {
        uint32_t replies = e->replies;
        for (uint32_t i = 0; i < 2 * connections; i++) {
            fetch(e, 100, "warm", 5000);
        }
        assert_true(run_until(&e->replies, replies + 2 * connections, 6000));
        run_for(10);
        hf_dialer_counts(e->dialer, &counts);
    }
    assert_int_equal(counts.data_links, connections);
    e->replies = 0;
}

/* ---- which request goes where ---- */

static void requests_for_data_spread_over_connections(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 4);
    warm_up(&e, 4);
    assert_int_equal(hf_listener_pipes(c.listener), 6);
    c.hold = true;
    for (uint64_t id = 0; id < 10; id++) {
        fetch(&e, id, "x", 5000);
    }
    /* Two on each; the connection of the small ones takes no data now. */
    assert_true(run_until(&c.held_count, 8, 2000));
    run_for(200);
    assert_int_equal(c.held_count, 8);
    c.hold = false;
    for (uint32_t i = 0; i < 8; i++) {
        hf_listener_reply(c.listener, c.held[i], hf_slice_str("ok"));
    }
    assert_true(run_until(&e.replies, 10, 2000));
    assert_int_equal(e.failures, 0);
    assert_int_equal(hf_listener_pipes(c.listener), 6);
    pair_close(&c, &e);
}

static void one_request_each_before_any_connection_has_two(void **state)
{
    struct server s;
    struct edge e;

    (void)state;
    server_open(&s, &e, 3);
    warm_up(&e, 3);
    for (unsigned i = 0; i < s.count; i++) {
        s.requests[i] = 0;
    }
    s.slow_ms = 50;
    for (uint64_t id = 0; id < 3; id++) {
        fetch(&e, id, "x", 5000);
    }
    assert_true(run_until(&e.replies, 3, 2000));
    assert_int_equal(s.requests[0], 0);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(s.requests[i], 1);
    }
    server_close(&s, &e);
}

static void no_more_connections_than_open_requests(void **state)
{
    struct hf_dialer_counts counts;
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 8);
    for (uint64_t id = 0; id < 20; id++) {
        fetch(&e, id, "x", 2000);
        assert_true(run_until(&e.replies, (uint32_t)id + 1, 3000));
        run_for(10);
    }
    hf_dialer_counts(e.dialer, &counts);
    assert_int_equal(counts.data_links, 1);
    pair_close(&c, &e);
}

static void the_first_request_for_data_does_not_wait_for_a_connection(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 0);
    c.hold = true;
    fetch(&e, 1, "x", 2000);
    fetch(&e, 2, "x", 2000);
    assert_true(run_until(&c.held_count, 1, 1000));
    run_for(100);
    assert_int_equal(c.held_count, 1); /* one at a time: there is no other connection */
    hf_listener_reply(c.listener, c.held[0], hf_slice_str("ok"));
    assert_true(run_until(&c.held_count, 2, 1000));
    pair_close(&c, &e);
}

static void small_requests_are_not_stuck_behind_data(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 2);
    warm_up(&e, 2);
    c.hold = true;
    for (uint64_t id = 0; id < 20; id++) {
        fetch(&e, id, "data", 5000);
    }
    assert_true(run_until(&c.held_count, 4, 2000));
    c.hold = false;
    for (uint64_t id = 30; id < 40; id++) {
        uint64_t begin = now_ms();
        request(&e, id, "small", 1000);
        assert_true(run_until(&e.replies, (uint32_t)id - 29, 1000));
        assert_true(now_ms() - begin < 200);
        assert_string_equal(e.reply, "small");
    }
    assert_int_equal(e.failures, 0);
    pair_close(&c, &e);
}

static void the_pool_closes_when_it_is_idle(void **state)
{
    struct hf_dialer_counts counts;
    struct core c;
    struct edge e;

    (void)state;
    edge_idle_ms = 1000;
    pair_open(&c, &e, 0, 4);
    edge_idle_ms = 0;
    warm_up(&e, 4);
    run_for(500);
    assert_int_equal(hf_listener_pipes(c.listener), 6);
    run_for(1500);
    assert_int_equal(hf_listener_pipes(c.listener), 2);
    hf_dialer_counts(e.dialer, &counts);
    assert_int_equal(counts.data_links, 0);
    assert_int_equal(e.downs[HF_CHANNEL_STREAM] + e.downs[HF_CHANNEL_CONTROL], 0);
    /* And opens again. */
    warm_up(&e, 4);
    assert_false(e.wedged);
    pair_close(&c, &e);
}

/* ---- connections that die ---- */

static void one_dead_connection_does_not_stall_the_others(void **state)
{
    struct server s;
    struct edge e;
    uint64_t next = 0;
    unsigned before;

    (void)state;
    server_open(&s, &e, 4);
    warm_up(&e, 4);
    before = s.count;
    s.deaf = 2;
    /* As an engine does: whatever fails is asked again. */
    for (uint64_t end = now_ms() + 2500; now_ms() < end; run_for(5)) {
        while (next - e.replies < 4) {
            fetch(&e, 100 + next % 20, "x", 700);
            next++;
        }
    }
    assert_in_range(e.failures, 1, 6);
    assert_true(e.replies - e.failures > 300);
    /* The dead one was replaced, and by one. */
    assert_int_equal(s.count, before + 1);
    assert_int_equal(e.downs[HF_CHANNEL_CONTROL], 0);
    server_close(&s, &e);
}

/* As after a short cut: the control connection is given up, and TCP brings what it held up. */
static void a_reply_that_was_on_its_way_outlives_the_redial(void **state)
{
    struct server s;
    struct edge e;

    (void)state;
    server_open(&s, &e, 2);
    warm_up(&e, 2);
    s.slow_ms = 2000;
    fetch(&e, 7, "late", 8000);
    run_for(700);
    hf_dialer_redial(e.dialer, HF_CHANNEL_CONTROL);
    assert_true(run_until(&e.downs[HF_CHANNEL_CONTROL], 1, 5000));
    s.slow_ms = 0;
    assert_true(run_until(&e.replies, 1, 4000));
    assert_int_equal(e.failures, 0);
    assert_int_equal(e.reply_id, 7);
    assert_true(run_until(&e.ups[HF_CHANNEL_CONTROL], 2, 3000));
    server_close(&s, &e);
}

static void requests_on_a_connection_that_breaks_fail_alone_and_at_once(void **state)
{
    struct server s;
    struct edge e;
    uint64_t begin;

    (void)state;
    server_open(&s, &e, 3);
    warm_up(&e, 3);
    s.deaf = 1;
    for (uint64_t id = 0; id < 3; id++) {
        fetch(&e, id, "x", 10000);
    }
    assert_true(run_until(&e.replies, 2, 2000));
    assert_int_equal(e.failures, 0);
    begin = now_ms();
    assert_int_equal(shutdown(s.fds[1], SHUT_RDWR), 0);
    assert_true(run_until(&e.replies, 3, 2000));
    assert_int_equal(e.failures, 1);
    assert_true(now_ms() - begin < 500);
    server_close(&s, &e);
}

/* ---- a core that answers no SYN ---- */

struct hole {
    int listening;
    int fillers[2];
};

/* A listener whose backlog is full drops each SYN without a word. */
static void hole_open(struct hole *h, uint16_t *stream_port)
{
    int fds[2];
    uint16_t port;

    tcp_listen_pair(fds, &port, 0);
    close(fds[0]);
    h->listening = fds[1];
    *stream_port = port;
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in in = tcp_loopback(1, (uint16_t)(port + 1));
        h->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(h->fillers[i], (struct sockaddr *)&in, sizeof(in));
    }
}

/* The loop turns while we wait. */
static int greet_next(int listening)
{
    struct pollfd p = {.fd = listening, .events = POLLIN};
    int fd;

    for (int i = 0; i < 40 && poll(&p, 1, 0) == 0; i++) {
        run_for(10);
    }
    fd = accept(listening, NULL, NULL);
    assert_true(fd >= 0);
    (void)sp_hello(fd, SP_REP);
    return fd;
}

static void a_connect_without_an_answer_is_tried_again_four_times_a_second(void **state)
{
    struct hf_dialer_counts before;
    struct hf_dialer_counts after;
    struct hole h;
    struct edge e;
    uint16_t port;
    uint64_t healed;
    int fds[3] = {-1, -1, -1};

    (void)state;
    hole_open(&h, &port);
    edge_dial(&e, "127.0.0.1", port, 0);
    /* The kernel's own SYNs are sent 1, 3 and 7 s after the first. */
    run_for(1000);
    hf_dialer_counts(e.dialer, &before);
    run_for(3000);
    hf_dialer_counts(e.dialer, &after);
    /* Both links, the stream's being refused. */
    assert_in_range(after.redials - before.redials, 16, 26);
    assert_int_equal(e.ups[HF_CHANNEL_CONTROL], 0);
    close(h.fillers[1]);
    close(accept(h.listening, NULL, NULL));
    healed = now_ms();
    close(h.fillers[0]);
    /* The first to come may be a try that is just being given up. */
    for (int i = 0; i < 3 && e.ups[HF_CHANNEL_CONTROL] == 0; i++) {
        fds[i] = greet_next(h.listening);
        (void)run_until(&e.ups[HF_CHANNEL_CONTROL], 1, 50);
    }
    assert_int_equal(e.ups[HF_CHANNEL_CONTROL], 1);
    assert_true(now_ms() - healed < 600);
    assert_false(e.wedged);
    hf_dialer_close(e.dialer);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
    close(h.listening);
    run_for(10);
}

/* How often a link to a core that is not there is dialled within `ms`. */
static uint32_t dialled_within(struct hf_link *k, uint32_t ms)
{
    uint32_t before = k->counts.redials;
    uint64_t end = now_ms() + ms;

    while (now_ms() < end) {
        assert_true(hf_link_guard(k));
        run_for(HF_GUARD_MS);
    }
    return k->counts.redials - before;
}

static void a_link_that_leads_is_dialled_after_an_hour_as_after_a_minute(void **state)
{
    struct hf_link links[2] = {{.pause_ms_max = 4000, .leads = true}, {.pause_ms_max = 4000}};
    struct hf_inbox inbox;
    char url[64];
    uint16_t port;
    int fds[2];

    (void)state;
    tcp_listen_pair(fds, &port, 1);
    close(fds[0]);
    close(fds[1]);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    assert_int_equal(hf_inbox_init(&inbox, &loop, 16, NULL, NULL), HF_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hf_link_open(&links[i], HF_CHANNEL_CONTROL, url, &inbox), 0);
        hf_link_want(&links[i], true);
        (void)dialled_within(&links[i], 300);
        links[i].lost_ms -= 3600 * 1000;
        (void)dialled_within(&links[i], 300); /* the last of the old pace */
    }
    assert_in_range(dialled_within(&links[0], 2500), 2, 6);
    assert_in_range(dialled_within(&links[1], 2000), 0, 1);
    hf_link_hurry(&links[1]); /* the other one is up */
    assert_in_range(dialled_within(&links[1], 2000), 6, 9);
    /* A core that turns us away is not asked again for that. */
    links[1].flaps = 3;
    links[1].next_ms = hf_transport_now() + 1500;
    hf_link_hurry(&links[1]);
    assert_int_equal(dialled_within(&links[1], 1000), 0);
    for (int i = 0; i < 2; i++) {
        hf_link_close(&links[i]);
    }
    hf_inbox_close(&inbox, NULL);
    run_for(10);
}

/* The transport's clock can be put forward: nobody waits an hour here. */
static uint64_t forward_ms;
uint64_t __real_uv_hrtime(void);
uint64_t __wrap_uv_hrtime(void);
uint64_t __wrap_uv_hrtime(void)
{
    return __real_uv_hrtime() + forward_ms * 1000000u;
}

static uint64_t redials_within(struct edge *e, int ms)
{
    struct hf_dialer_counts before;
    struct hf_dialer_counts after;

    hf_dialer_counts(e->dialer, &before);
    run_for(ms);
    hf_dialer_counts(e->dialer, &after);
    return after.redials - before.redials;
}

static void control_finds_out_that_the_core_is_back_and_hurries_the_stream(void **state)
{
    struct hole h;
    struct edge e;
    uint16_t port;
    int fds[3] = {-1, -1, -1};

    (void)state;
    hole_open(&h, &port);
    edge_dial(&e, "127.0.0.1", port, 0);
    run_for(600);
    forward_ms = 3600 * 1000;
    run_for(600);
    assert_in_range(redials_within(&e, 3000), 3, 8); /* control's */
    close(h.fillers[1]);
    close(accept(h.listening, NULL, NULL));
    close(h.fillers[0]);
    for (int i = 0; i < 3 && e.ups[HF_CHANNEL_CONTROL] == 0; i++) {
        fds[i] = greet_next(h.listening);
        (void)run_until(&e.ups[HF_CHANNEL_CONTROL], 1, 50);
    }
    assert_int_equal(e.ups[HF_CHANNEL_CONTROL], 1);
    assert_in_range(redials_within(&e, 2000), 5, 9); /* the stream's, which is refused */
    forward_ms = 0;
    hf_dialer_close(e.dialer);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
    close(h.listening);
    run_for(10);
}

/* A core over a cap greets us and closes at once: each try succeeds. */
static void a_core_that_turns_us_away_is_asked_less_and_less_often(void **state)
{
    struct hf_dialer_counts counts;
    struct core c;
    struct edge a;
    struct edge b;

    (void)state;
    core_open(&c, "tcp://127.0.0.1:0", 0, 2);
    edge_dial(&a, "127.0.0.1", hf_listener_port(c.listener), 0);
    edge_wait_up(&a);
    run_for(100);
    edge_dial(&b, "127.0.0.1", hf_listener_port(c.listener), 0);
    run_for(4000);
    hf_dialer_counts(b.dialer, &counts);
    assert_in_range(counts.redials, 2, 16);
    hf_dialer_close(b.dialer);
    pair_close(&c, &a);
}

/* ---- at the core ---- */

/* The accepted end of a connection to this port, in this process. */
static int accepted_fd(uint16_t port)
{
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_in in;
        struct sockaddr_in peer;
        socklen_t len = sizeof(in);
        socklen_t peer_len = sizeof(peer);

        if (getsockname(fd, (struct sockaddr *)&in, &len) == 0 && in.sin_family == AF_INET &&
            ntohs(in.sin_port) == port &&
            getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0) {
            return fd;
        }
    }
    return -1;
}

static int option_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

static void what_a_dead_edge_leaves_at_the_core_is_given_up_after_half_a_minute(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 0);
    run_for(50);
    for (uint16_t i = 0; i < HF_CHANNELS; i++) {
        int fd = accepted_fd((uint16_t)(hf_listener_port(c.listener) + i));

        assert_true(fd >= 0);
        assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 30000);
        assert_int_equal(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
        assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 15);
        assert_int_equal(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    }
    pair_close(&c, &e);
}

static void a_peer_that_reads_nothing_holds_no_context(void **state)
{
    static const uint8_t message[] = {'q'};
    uint8_t frame[2][16];
    int small = 4096;
    int segment = 1400; /* as on a real link: it decides the buffer that a connection begins with */
    struct sockaddr_in to;
    struct core c;
    struct edge e;
    int fd = tcp_socket();

    (void)state;
    pair_open(&c, &e, 1, 0);
    c.much = true;
    to = tcp_loopback(1, (uint16_t)(hf_listener_port(c.listener) + 1));
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    raw_hello(fd, SP_REQ);
    for (uint32_t i = 0; i < 2; i++) {
        raw_send(fd, frame[i], sp_frame(frame[i], i, message, sizeof(message)));
    }
    assert_true(run_until(&c.requests, 2, 1000));
    run_for(50);
    request(&e, 1, "small", 500);
    assert_true(run_until(&e.replies, 1, 1000));
    assert_int_equal(e.failures, 0);
    close(fd);
    pair_close(&c, &e);
}

static uint32_t roll(uint32_t *dice)
{
    *dice = *dice * 1664525u + 1013904223u;
    return *dice >> 8;
}

static struct hf_endpoint address_of(uint32_t host)
{
    struct hf_endpoint e = {
        {10, (uint8_t)(host >> 16), (uint8_t)(host >> 8), (uint8_t)host}, AF_INET, 0};

    return e;
}

enum {
    IDS = 400,
    HOSTS = 1000,
    BUSY_HOSTS = 4,
    STRANGE = 0, /* the one that is never trusted */
    ALL = 150,
    OF_ADDRESS = 30,
    STREAMS = 20,
    CONTROLS = 95,
};

/* What pipes.c has to know, counted the slow way. */
static struct known {
    bool open;
    uint32_t host;
    enum hf_channel channel;
    bool trusted;
    uint32_t since;
} known[IDS];

struct tally {
    uint32_t count, streams, trusted, strangers;
};

static struct tally of_host[HOSTS];

/* Their sums; streams are those beyond two for each trusted connection of control. */
static struct tally tally(void)
{
    struct tally all = {0};

    memset(of_host, 0, sizeof(of_host));
    for (uint32_t id = 1; id < IDS; id++) {
        const struct known *k = &known[id];
        struct tally *t = &of_host[k->host];
        bool stream = k->channel == HF_CHANNEL_STREAM;

        t->count += k->open;
        t->streams += k->open && stream;
        t->trusted += k->open && !stream && k->trusted;
        t->strangers += k->open && !stream && !k->trusted;
    }
    for (uint32_t host = 0; host < HOSTS; host++) {
        const struct tally *t = &of_host[host];

        all.count += t->count;
        all.streams += t->streams > 2 * t->trusted ? t->streams - 2 * t->trusted : 0;
        all.strangers += t->strangers;
    }
    return all;
}

/* The stranger of control that came next after this one; 0: there is none. */
static uint32_t next_stranger(uint32_t after)
{
    uint32_t best = 0;

    for (uint32_t id = 1; id < IDS; id++) {
        const struct known *k = &known[id];

        if (k->open && k->channel == HF_CHANNEL_CONTROL && !k->trusted && k->since > after &&
            (best == 0 || k->since < known[best].since)) {
            best = id;
        }
    }
    return best;
}

/* Those that have to go: of all beyond CONTROLS, of one host beyond half of what it may have. */
static void check_ended(struct hf_pipes *p, struct tally all)
{
    static struct hf_connection ended[ALL];
    uint32_t n = hf_pipes_end_strangers(p, UINT64_MAX, ended);
    uint32_t at = 0;

    for (uint32_t id = next_stranger(0); id != 0; id = next_stranger(known[id].since)) {
        uint32_t *left = &of_host[known[id].host].strangers;

        if (all.strangers > CONTROLS || *left > OF_ADDRESS / 2) {
            assert_true(at < n);
            assert_int_equal(ended[at++].id, id);
            all.strangers--;
            --*left;
        }
    }
    assert_int_equal(at, n);
}

static void connections_are_counted_for_each_address(void **state)
{
    struct hf_pipes_caps caps = {ALL, OF_ADDRESS, STREAMS, CONTROLS};
    struct hf_pipes *p = hf_pipes_new(&caps);
    struct tally all = {0};

    (void)state;
    uint32_t dice = 7;
    for (uint32_t step = 1; step < 20000; step++) {
        uint32_t id = roll(&dice) % (IDS - 1) + 1;
        struct known *k = &known[id];

        if (k->open && k->channel == HF_CHANNEL_CONTROL && roll(&dice) % 2 == 0) {
            k->trusted = k->host != STRANGE && roll(&dice) % 2 == 0;
            hf_pipes_trust(p, id, k->trusted);
        } else if (k->open) {
            hf_pipes_remove(p, id);
            k->open = false;
        } else {
            uint32_t host = roll(&dice) % (roll(&dice) % 2 == 0 ? HOSTS : BUSY_HOSTS);
            enum hf_channel channel =
                host == STRANGE ? HF_CHANNEL_CONTROL : (enum hf_channel)(roll(&dice) % HF_CHANNELS);
            struct hf_endpoint a = address_of(host);
            const struct tally *t = &of_host[host];
            bool room = all.count < ALL && t->count < OF_ADDRESS &&
                        (channel == HF_CHANNEL_CONTROL || t->streams < 2 * t->trusted ||
                         all.streams < STREAMS);

            assert_int_equal(hf_pipes_add(p, id, channel, &a, step) == HF_PIPES_TAKEN, room);
            *k = (struct known){room, host, channel, false, step};
        }
        all = tally();
        assert_int_equal(hf_pipes_count(p), all.count);
        check_ended(p, all);
        all = tally();
    }
    hf_pipes_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_for_data_spread_over_connections),
        cmocka_unit_test(one_request_each_before_any_connection_has_two),
        cmocka_unit_test(no_more_connections_than_open_requests),
        cmocka_unit_test(the_first_request_for_data_does_not_wait_for_a_connection),
        cmocka_unit_test(small_requests_are_not_stuck_behind_data),
        cmocka_unit_test(the_pool_closes_when_it_is_idle),
        cmocka_unit_test(one_dead_connection_does_not_stall_the_others),
        cmocka_unit_test(a_reply_that_was_on_its_way_outlives_the_redial),
        cmocka_unit_test(requests_on_a_connection_that_breaks_fail_alone_and_at_once),
        cmocka_unit_test(a_connect_without_an_answer_is_tried_again_four_times_a_second),
        cmocka_unit_test(a_link_that_leads_is_dialled_after_an_hour_as_after_a_minute),
        cmocka_unit_test(control_finds_out_that_the_core_is_back_and_hurries_the_stream),
        cmocka_unit_test(a_core_that_turns_us_away_is_asked_less_and_less_often),
        cmocka_unit_test(what_a_dead_edge_leaves_at_the_core_is_given_up_after_half_a_minute),
        cmocka_unit_test(a_peer_that_reads_nothing_holds_no_context),
        cmocka_unit_test(connections_are_counted_for_each_address),
    };

    return cmocka_run_group_tests(tests, loop_open, NULL);
}
