/*
 * test_transport_guards.c - what the transport does against greedy peers and silent connections.
 *
 * Caps on connections, on those of strangers, and on requests of one connection; the probe of our
 * own listeners; when a connection is closed for silence and when it must not be; the count of dead
 * descriptors. The faults of nng behind these guards are reproduced in
 * tests/e2e/test_transport_faults.c.
 */
#include "tests/unit/transport_peers.h"

#include <dirent.h>
#include <sched.h>

static uint32_t dead_now(void)
{
    struct hf_dead d;

    return hf_descriptors_dead(&d);
}

static uint16_t local_port(int fd)
{
    struct sockaddr_in in;
    socklen_t len = sizeof(in);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    return ntohs(in.sin_port);
}

/* ---- names of ends ---- */

/* Whoever nng names and the kernel lists must be the same one, or it could not be ended. */
static void nng_and_the_kernel_mean_the_same_end(void **state)
{
    struct sockaddr_storage a[3];
    nng_sockaddr n[3];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(7410)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(7411)};

    (void)state;
    memset(a, 0, sizeof(a));
    memset(n, 0, sizeof(n));
    assert_int_equal(inet_pton(AF_INET, "192.0.2.7", &in.sin_addr), 1);
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::9:7", &in6.sin6_addr), 1);
    memcpy(&a[0], &in, sizeof(in));
    memcpy(&a[1], &in6, sizeof(in6));
    a[2].ss_family = AF_UNIX;
    n[0].s_in = (nng_sockaddr_in){NNG_AF_INET, in.sin_port, in.sin_addr.s_addr};
    n[1].s_in6.sa_family = NNG_AF_INET6;
    n[1].s_in6.sa_port = in6.sin6_port;
    memcpy(n[1].s_in6.sa_addr, &in6.sin6_addr, sizeof(in6.sin6_addr));
    n[2].s_ipc.sa_family = NNG_AF_IPC;
    for (int i = 0; i < 3; i++) {
        static const uint16_t port[] = {7410, 7411, 0};
        static const uint16_t family[] = {AF_INET, AF_INET6, 0};
        static const uint8_t last[] = {7, 7, 0};
        struct hf_endpoint kernel = hf_endpoint_of_kernel(&a[i]);
        struct hf_endpoint nng = hf_endpoint_of_nng(&n[i]);

        assert_memory_equal(&kernel, &nng, sizeof(nng));
        assert_int_equal(nng.port, port[i]);
        assert_int_equal(nng.family, family[i]);
        assert_int_equal(nng.address[i == 0 ? 3 : 15], last[i]);
    }
}

/* ---- threads ---- */

static uint32_t threads_of(int policy)
{
    DIR *tasks = opendir("/proc/self/task");
    uint32_t n = 0;

    assert_non_null(tasks);
    for (struct dirent *t = readdir(tasks); t != NULL; t = readdir(tasks)) {
        n += t->d_name[0] != '.' && sched_getscheduler((pid_t)atoi(t->d_name)) == policy;
    }
    closedir(tasks);
    return n;
}

/* The first of all tests: nng makes its threads once. */
static void threads_of_nng_do_not_push_in(void **state)
{
    struct core c;
    uint32_t others = threads_of(SCHED_OTHER);

    (void)state;
    assert_int_equal(threads_of(SCHED_BATCH), 0);
    core_open(&c, "tcp://127.0.0.1:0", 0, 2);
    assert_true(threads_of(SCHED_BATCH) > 4);
    assert_in_range(threads_of(SCHED_OTHER), others, others + 4); /* libuv's pool */
    assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
    hf_listener_close(c.listener);
    run_for(10);
}

/* ---- caps ---- */

static void connections_of_one_address_are_capped(void **state)
{
    struct hf_listener_counts counts;
    struct core c;
    struct edge a;
    struct edge b;

    (void)state;
    core_open(&c, "tcp://127.0.0.1:0", 0, 2);
    edge_dial(&a, "127.0.0.1", hf_listener_port(c.listener), 1);
    edge_wait_up(&a);
    run_for(100); /* the edge may know of its connections before the core does */
    assert_int_equal(hf_listener_pipes(c.listener), 2);
    edge_dial(&b, "127.0.0.1", hf_listener_port(c.listener), 1);
    run_for(500);
    hf_listener_counts(c.listener, &counts);
    assert_true(counts.refused_pipes >= 2);
    assert_int_equal(hf_listener_pipes(c.listener), 2);
    /* The first edge is not disturbed, and when it leaves there is room. */
    assert_int_equal(a.downs[HF_CHANNEL_STREAM] + a.downs[HF_CHANNEL_CONTROL], 0);
    hf_dialer_close(a.dialer);
    b.messages = 0;
    hf_dialer_subscribe(b.dialer, hf_slice_of(NULL, 0));
    publish_until_heard(&c, &b, "room");
    pair_close(&c, &b);
}

static void one_connection_cannot_hold_all_contexts(void **state)
{
    uint8_t frame[13] = {0, 0, 0, 0, 0, 0, 0, 5, 0x80, 0, 0, 1, 'q'};
    struct core c;
    struct edge e;
    int fd;

    (void)state;
    pair_open(&c, &e, 8, 1);
    c.hold = true;
    fd = raw_connect((uint16_t)(hf_listener_port(c.listener) + 1));
    raw_hello(fd, 0x30);
    for (uint8_t i = 0; i < 20; i++) {
        frame[11] = i;
        raw_send(fd, frame, sizeof(frame));
    }
    run_for(300);
    assert_int_equal(c.held_count, 4);
    c.hold = false;
    request(&e, 1, "other", 2000);
    assert_true(run_until(&e.replies, 1, 2000));
    assert_int_equal(e.failures, 0);
    close(fd);
    pair_close(&c, &e);
}

/* Four requests more on each of two connections that read nothing. */
static void ask_more(const int fd[2])
{
    static uint16_t asked;
    uint8_t frame[13] = {0, 0, 0, 0, 0, 0, 0, 5, 0x80, 0, 0, 0, 'q'};

    for (int i = 0; i < 8; i++) {
        frame[10] = (uint8_t)(++asked >> 8);
        frame[11] = (uint8_t)asked;
        raw_send(fd[i % 2], frame, sizeof(frame));
    }
}

/* Their answers fill the kernel's buffers and then all eight contexts, which must be free for
 * others again long before an answer is given up. */
static void connections_that_do_not_read_cannot_hold_all_contexts(void **state)
{
    struct core c;
    struct edge e;
    int fd[2];

    (void)state;
    pair_open(&c, &e, 8, 1);
    c.much = true;
    for (int i = 0; i < 2; i++) {
        fd[i] = raw_connect((uint16_t)(hf_listener_port(c.listener) + 1));
        raw_hello(fd[i], 0x30);
    }
    for (int i = 0; i < 300; i++) {
        ask_more(fd);
        run_for(5);
    }
    for (uint32_t i = 1; i <= 5; i++) {
        uint64_t began = now_ms();

        request(&e, i, "other", 4000);
        while (e.replies < i) {
            ask_more(fd);
            run_for(5);
        }
        assert_true(now_ms() - began < 500);
    }
    assert_int_equal(e.failures, 0);
    close(fd[0]);
    close(fd[1]);
    pair_close(&c, &e);
}

static void too_large_a_request_ends_its_connection(void **state)
{
    uint8_t frame[8] = {0, 0, 0, 0, 0, 2, 0, 0};
    char byte;
    struct core c;
    struct timeval patience = {.tv_sec = 2};
    int fd;

    (void)state;
    core_open(&c, "tcp://127.0.0.1:0", 0, 0);
    fd = raw_connect((uint16_t)(hf_listener_port(c.listener) + 1));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    raw_hello(fd, 0x30);
    raw_send(fd, frame, sizeof(frame));
    assert_true(recv(fd, &byte, 1, 0) == 0);
    close(fd);
    hf_listener_close(c.listener);
    run_for(10);
}

/* ---- strangers ---- */

static struct hf_listener_counts counts_of(const struct core *c)
{
    struct hf_listener_counts counts;

    hf_listener_counts(c->listener, &counts);
    return counts;
}

/* Sends more than is read, until then or until so many connections have been ended. What did not
 * fit comes first the next time, from *at on: half a frame would be an offence of its own. */
static void flood_until(const struct core *c, int fd, uint64_t until, uint64_t ended, size_t *at)
{
    static uint8_t block[64 * 1024];
    size_t len = 0;

    while (len + 64 < sizeof(block)) {
        len += sp_frame(block + len, 1, "?", 1);
    }
    while (now_ms() < until && counts_of(c).ended_pipes < ended) {
        ssize_t n = send(fd, block + *at, len - *at, MSG_NOSIGNAL | MSG_DONTWAIT);
        *at = n > 0 ? (*at + (size_t)n) % len : *at;
        run_for(5);
    }
}

/* A connection to the control channel, the core's nth, which has taken it in when this returns:
 * those made one after the other are of that order to it too. */
static int stranger_in(const struct core *c, uint32_t nth)
{
    int fd = raw_peer(2, (uint16_t)(hf_listener_port(c->listener) + 1), SP_REQ);

    for (int i = 0; i < 3000 && hf_listener_pipes(c->listener) < nth; i++) {
        run_for(1);
    }
    assert_int_equal(hf_listener_pipes(c->listener), nth);
    run_for(2); /* ages are in milliseconds */
    return fd;
}

/* Of 32 places strangers keep two, while more than eight are taken: those that are known see to
 * that, however many ticks it takes to end the others. */
static void too_many_strangers_are_ended_the_oldest_first(void **state)
{
    enum { KNOWN = 4, HALF = 4, FLOOD = 5, COUNT = 10 };
    const uint8_t head[8] = {0, 0, 0, 0, 0, 0, 0xea, 0x60};
    uint8_t answer[64];
    struct core c;
    struct edge e;
    int fd[COUNT];
    int stream;
    uint64_t began;
    size_t at = 0;

    (void)state;
    core_open_places(&c, "tcp://127.0.0.1:0", 0, 0, 32);
    c.drop = true;
    edge_dial(&e, "127.0.0.1", hf_listener_port(c.listener), 0);
    edge_wait_up(&e);
    request(&e, 1, "mine", 2000);
    began = now_ms();
    for (uint32_t i = 0; i < COUNT; i++) {
        fd[i] = stranger_in(&c, HF_CHANNELS + 1 + i); /* the edge's come first */
    }
    /* Behind an address translator two may even have one port, though not to the same of ours. */
    stream = tcp_connect_between(2, local_port(fd[HALF]), hf_listener_port(c.listener));
    raw_hello(stream, SP_SUB);
    for (int i = 0; i < KNOWN; i++) {
        raw_request(fd[i], "known");
    }
    raw_send(fd[HALF], head, sizeof(head));
    flood_until(&c, fd[FLOOD], began + 1900, 1, &at);
    assert_int_equal(counts_of(&c).ended_pipes, 0); /* none before its time */
    flood_until(&c, fd[FLOOD], began + 6000, COUNT - KNOWN - 2, &at);
    run_for(500); /* and no more */
    assert_int_equal(counts_of(&c).ended_pipes, COUNT - KNOWN - 2);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(tcp_is_open(fd[i]), i < KNOWN || i >= COUNT - 2);
    }
    assert_true(tcp_is_open(stream));
    assert_int_equal(e.downs[HF_CHANNEL_STREAM] + e.downs[HF_CHANNEL_CONTROL], 0);
    c.drop = false;
    for (int i = 0; i < KNOWN; i++) {
        raw_request(fd[i], "again");
        run_for(50);
        assert_int_equal(sp_receive(fd[i], answer, sizeof(answer)), strlen("again"));
    }
    for (int i = 0; i < COUNT; i++) {
        close(fd[i]);
    }
    close(stream);
    pair_close(&c, &e);
}

/* Of 64 places strangers keep four, but nobody needs those of the others. One more on each port is
 * in its handshake, and sends a byte of it half way, for which nng would wait on. */
static void while_there_is_room_strangers_have_ten_seconds(void **state)
{
    enum { COUNT = 6 };
    struct core c;
    uint8_t head[8];
    int fd[COUNT];
    int half[HF_CHANNELS];
    uint64_t began;

    (void)state;
    core_open_places(&c, "tcp://127.0.0.1:0", 0, 0, 64);
    began = now_ms();
    for (uint32_t i = 0; i < COUNT; i++) {
        fd[i] = stranger_in(&c, i + 1);
    }
    for (uint16_t i = 0; i < HF_CHANNELS; i++) {
        half[i] = raw_connect((uint16_t)(hf_listener_port(c.listener) + i));
        assert_true(tcp_receive(half[i], head, sizeof(head)));
    }
    run_for(5000);
    raw_send(half[0], head, 1);
    raw_send(half[1], head, 1);
    run_for(began + 9800 - now_ms());
    assert_int_equal(counts_of(&c).ended_pipes, 0);
    run_for(3200);
    assert_int_equal(counts_of(&c).ended_pipes, COUNT - 4 + HF_CHANNELS);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(tcp_is_open(fd[i]), i >= COUNT - 4);
        close(fd[i]);
    }
    for (uint32_t i = 0; i < HF_CHANNELS; i++) {
        assert_false(tcp_is_open(half[i]));
        close(half[i]);
    }
    hf_listener_close(c.listener);
    run_for(10);
}

/* Else nng would read it first, and who sends without a pause would never be ended. Of the others
 * nothing is touched; a second time no more can be sent to them either. */
static void what_a_stranger_sent_is_thrown_away(void **state)
{
    enum { COUNT = 30, ENDED = 20 };
    static const uint8_t bytes[100000];
    struct hf_connection list[ENDED];
    uint16_t ports[HF_CHANNELS] = {0, 0};
    uint8_t byte;
    int listening = raw_listen(&ports[HF_CHANNEL_CONTROL]);
    int peers[COUNT];
    int fds[COUNT];

    (void)state;
    memset(list, 0, sizeof(list));
    for (int i = 0; i < COUNT; i++) {
        peers[i] = tcp_connect_from((uint8_t)(COUNT - i), ports[HF_CHANNEL_CONTROL]);
        fds[i] = accept(listening, NULL, NULL);
        raw_send(peers[i], bytes, sizeof(bytes));
    }
    for (int i = 0; i < ENDED; i++) {
        list[i].channel = HF_CHANNEL_CONTROL;
        list[i].peer =
            (struct hf_endpoint){{127, 0, 0, (uint8_t)(COUNT - i)}, AF_INET, local_port(peers[i])};
    }
    for (int again = 0; again < 2; again++) {
        hf_descriptors_end(list, ENDED, ports);
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(recv(fds[i], &byte, 1, MSG_DONTWAIT), i < ENDED ? 0 : 1);
            assert_int_equal(send(fds[i], &byte, 1, MSG_NOSIGNAL),
                             i < ENDED && again == 1 ? -1 : 1);
        }
        for (int i = 0; i < ENDED; i++) {
            list[i].again = true;
        }
    }
    for (int i = 0; i < COUNT; i++) {
        close(peers[i]);
        close(fds[i]);
    }
    close(listening);
}

/* A second after the last byte was sent to them: not those that are known, and not the new one. */
static void who_is_stuck_in_the_handshake_is_ended(void **state)
{
    struct hf_connection known;
    uint16_t ports[HF_CHANNELS] = {0, 0};
    int listening = raw_listen(&ports[HF_CHANNEL_STREAM]);
    int peers[3];
    int fds[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        run_for(i == 2 ? 1000 : 0);
        peers[i] = raw_connect(ports[HF_CHANNEL_STREAM]);
        fds[i] = accept(listening, NULL, NULL);
        raw_send(fds[i], "\0SP", 4);
    }
    memset(&known, 0, sizeof(known));
    known.peer = (struct hf_endpoint){{127, 0, 0, 1}, AF_INET, local_port(peers[1])};
    known.channel = HF_CHANNEL_STREAM;
    assert_int_equal(hf_descriptors_end_others(&known, 1, ports, 700), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tcp_is_open(fds[i]), i != 0);
        close(peers[i]);
        close(fds[i]);
    }
    close(listening);
}

/* How many of these the core lets onto the stream, beside those that are there. */
static uint32_t streams_taken(const struct core *c, uint8_t host, int *fd, uint32_t count)
{
    uint32_t before = hf_listener_pipes(c->listener);

    for (uint32_t i = 0; i < count; i++) {
        fd[i] = raw_peer(host, hf_listener_port(c->listener), SP_SUB);
    }
    run_for(200);
    return hf_listener_pipes(c->listener) - before;
}

static void the_stream_takes_few_that_nobody_spoke_for(void **state)
{
    enum { FREE = 8 };
    uint16_t control;
    int strangers[FREE + 2];
    int more[10];
    int known;
    int late;
    struct core c;

    (void)state;
    core_open(&c, "tcp://127.0.0.1:0", 0, 0);
    control = (uint16_t)(hf_listener_port(c.listener) + 1);
    assert_int_equal(streams_taken(&c, 2, strangers, FREE + 2), FREE);
    assert_int_equal(counts_of(&c).refused_streams, 2);
    assert_int_equal(counts_of(&c).refused_pipes, 0);
    assert_int_equal(streams_taken(&c, 3, &late, 1), 0);
    known = raw_peer(3, control, SP_REQ);
    raw_request(known, "?");
    assert_true(run_until(&c.requests, 1, 1000));
    assert_int_equal(streams_taken(&c, 3, &late, 1), 0);
    raw_request(known, "known");
    assert_true(run_until(&c.requests, 2, 1000));
    assert_int_equal(streams_taken(&c, 3, more, 10), 2);
    assert_int_equal(streams_taken(&c, 2, &late, 1), 0);
    for (int i = 0; i < FREE + 2; i++) {
        close(strangers[i]);
    }
    run_for(200);
    assert_int_equal(streams_taken(&c, 2, strangers, 1), 1);
    /* Who came while they were spoken for stay, but are strangers from then on. */
    raw_request(known, "?");
    assert_true(run_until(&c.requests, 3, 1000));
    assert_int_equal(hf_listener_pipes(c.listener), 4);
    assert_int_equal(streams_taken(&c, 2, strangers, FREE), FREE - 3);
    close(known);
    hf_listener_close(c.listener);
    run_for(10);
}

/* ---- guards ---- */

static void probes_succeed_and_count_against_no_cap(void **state)
{
    uint32_t before = dead_now(); /* what earlier tests abandoned in a handshake */
    struct hf_listener_counts counts;
    struct core c;
    struct edge e;

    (void)state;
    core_open(&c, "tcp://127.0.0.1:0", 0, 2);
    edge_dial(&e, "127.0.0.1", hf_listener_port(c.listener), 1);
    edge_wait_up(&e);
    run_for(4900);
    hf_listener_counts(c.listener, &counts);
    assert_in_range(counts.probes, 4, 6);
    assert_int_equal(counts.refused_pipes, 0);
    assert_int_equal(counts.relistens, 0);
    assert_int_equal(hf_listener_pipes(c.listener), 2);
    /* What is left of a probe for a moment must be gone with the next look. */
    for (int i = 0; i < 50 && dead_now() > before; i++) {
        run_for(10);
    }
    assert_true(dead_now() <= before);
    assert_int_equal(e.downs[HF_CHANNEL_STREAM] + e.downs[HF_CHANNEL_CONTROL], 0);
    pair_close(&c, &e);
}

static void a_silent_connection_is_dialled_anew_on_request(void **state)
{
    struct hf_dialer_counts counts;
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 1);
    run_for(700);
    hf_dialer_redial(e.dialer, HF_CHANNEL_STREAM);
    assert_true(run_until(&e.downs[HF_CHANNEL_STREAM], 1, 500));
    assert_true(run_until(&e.ups[HF_CHANNEL_STREAM], 2, 3000));
    assert_int_equal(e.downs[HF_CHANNEL_CONTROL], 0);
    hf_dialer_redial(e.dialer, HF_CHANNEL_CONTROL);
    assert_true(run_until(&e.downs[HF_CHANNEL_CONTROL], 1, 500));
    assert_true(run_until(&e.ups[HF_CHANNEL_CONTROL], 2, 3000));
    hf_dialer_counts(e.dialer, &counts);
    assert_int_equal(counts.closes, 2);
    request(&e, 1, "anew", 2000);
    assert_true(run_until(&e.replies, 1, 3000));
    assert_int_equal(e.failures, 0);
    assert_false(e.wedged);
    pair_close(&c, &e);
}

/* A raw publisher that sends one message so slowly that no callback comes for seconds. */
static void a_connection_on_which_bytes_trickle_is_not_closed(void **state)
{
    uint8_t head[8] = {0, 0, 0, 0, 0, 0, 0xff, 0};
    uint8_t byte = 'z';
    uint16_t port = 0;
    int listening = raw_listen(&port);
    struct edge e;
    int fd;

    (void)state;
    edge_dial(&e, "127.0.0.1", port, 1);
    run_for(100);
    fd = accept(listening, NULL, NULL);
    raw_hello(fd, 0x20);
    assert_true(run_until(&e.ups[HF_CHANNEL_STREAM], 1, 2000));
    raw_send(fd, head, sizeof(head));
    for (int i = 0; i < 20; i++) {
        raw_send(fd, &byte, 1);
        run_for(100);
        hf_dialer_redial(e.dialer, HF_CHANNEL_STREAM);
        assert_int_equal(e.downs[HF_CHANNEL_STREAM], 0);
    }
    /* The sender stalls: now it is silent, and goes. */
    assert_true(run_until(&e.downs[HF_CHANNEL_STREAM], 1, 1200));
    assert_false(e.wedged);
    hf_dialer_close(e.dialer);
    close(fd);
    close(listening);
    run_for(10);
}

static void a_message_that_arrives_takes_the_redial_back(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 1);
    hf_dialer_subscribe(e.dialer, hf_slice_of(NULL, 0));
    publish_until_heard(&c, &e, "one");
    hf_dialer_redial(e.dialer, HF_CHANNEL_STREAM);
    publish_until_heard(&c, &e, "two");
    run_for(1200);
    assert_int_equal(e.downs[HF_CHANNEL_STREAM], 0);
    pair_close(&c, &e);
}

static void sockets_that_are_shut_down_but_open_are_counted(void **state)
{
    uint16_t port = 0;
    int listening = raw_listen(&port);
    uint32_t before = dead_now();
    struct hf_dead first;
    struct hf_dead later;
    int fds[4];

    (void)state;
    for (int i = 0; i < 3; i++) {
        fds[i] = raw_connect(port);
    }
    assert_int_equal(dead_now(), before);
    for (int i = 0; i < 3; i++) {
        shutdown(fds[i], SHUT_RDWR);
    }
    assert_int_equal(hf_descriptors_dead(&first), before + 3);
    /* As many a moment later, but not the same: something closes them. */
    close(fds[0]);
    fds[3] = raw_connect(port);
    assert_int_equal(fds[3], fds[0]); /* and a descriptor is given out again */
    shutdown(fds[3], SHUT_RDWR);
    assert_int_equal(hf_descriptors_dead(&later), before + 3);
    assert_int_equal(hf_descriptors_still(&first, &later), before + 2);
    for (int i = 1; i < 4; i++) {
        close(fds[i]);
    }
    assert_int_equal(hf_descriptors_dead(&later), before);
    assert_int_equal(hf_descriptors_still(&first, &later), before);
    close(listening);
}

/* What nng leaves behind of a connection that its peer has reset. */
static void a_socket_that_was_reset_is_found_dead_by_its_port(void **state)
{
    uint16_t port = 0;
    int listening = raw_listen(&port);
    int fd = raw_connect(port);
    uint16_t local = local_port(fd);

    (void)state;
    assert_false(hf_descriptors_is_dead(local));
    tcp_reset(accept(listening, NULL, NULL));
    assert_true(hf_descriptors_is_dead(local));
    assert_false(hf_descriptors_is_dead(port));
    close(fd);
    assert_false(hf_descriptors_is_dead(local));
    close(listening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_of_nng_do_not_push_in),
        cmocka_unit_test(nng_and_the_kernel_mean_the_same_end),
        cmocka_unit_test(connections_of_one_address_are_capped),
        cmocka_unit_test(one_connection_cannot_hold_all_contexts),
        cmocka_unit_test(connections_that_do_not_read_cannot_hold_all_contexts),
        cmocka_unit_test(too_large_a_request_ends_its_connection),
        cmocka_unit_test(too_many_strangers_are_ended_the_oldest_first),
        cmocka_unit_test(while_there_is_room_strangers_have_ten_seconds),
        cmocka_unit_test(what_a_stranger_sent_is_thrown_away),
        cmocka_unit_test(who_is_stuck_in_the_handshake_is_ended),
        cmocka_unit_test(the_stream_takes_few_that_nobody_spoke_for),
        cmocka_unit_test(probes_succeed_and_count_against_no_cap),
        cmocka_unit_test(a_silent_connection_is_dialled_anew_on_request),
        cmocka_unit_test(a_connection_on_which_bytes_trickle_is_not_closed),
        cmocka_unit_test(a_message_that_arrives_takes_the_redial_back),
        cmocka_unit_test(sockets_that_are_shut_down_but_open_are_counted),
        cmocka_unit_test(a_socket_that_was_reset_is_found_dead_by_its_port),
    };

    return run_each_apart(tests, sizeof(tests) / sizeof(tests[0]));
}
