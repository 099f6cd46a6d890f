/*
 * test_transport_wedge.c - fault C of nng 1.5.2 (PROTOCOL.md appendix A), and what is left when its
 * reap thread is stuck: a daemon that starts anew, and readers that hardly notice.
 *
 * A busy connection is not closed by us, on neither side, and one that does not move takes nothing
 * from the others. Strangers can still wedge nng: whoever floods a connection and resets it makes
 * nng itself close a pipe on which bytes arrive, as soon as it sends. Here a peer of an edge and
 * one of a core do just that, and a reader measures the longest time without an answer. The same
 * flood wedges a bare nng socket for good: that is the control.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#include "tests/e2e/faults.h"

#include <netinet/tcp.h>
#include <nng/protocol/reqrep0/req.h>

#define STALLED 8 /* as many as the stream takes of strangers */
#define FLOOD_FRAMES 40000
/* From the flood to the new start: two intervals of the core's probe, the 1.5 s of an edge's look,
 * and floods that wedged nothing: it is a matter of microseconds, it took 1 to 50 of them, and an
 * edge rests up to 1 s after a connection that ended at once. */
#define ANEW_MS 180000
/* What a reader may wait for an answer while its daemon starts anew; 20 to 100 ms were seen. */
#define SILENCE_US (E2E_SANITIZED ? 1500000 : 500000)
#define MEMORY_MAX_KIB ((size_t)(E2E_SANITIZED ? 1500 : 200) << 10)

static void begin(void **state)
{
    /* Its descriptors at the core are to be two, whatever it has to fetch. */
    pair_begin(state, "--catchup-connections", "0");
}

static void set_random(const char *key, size_t len)
{
    static uint8_t value[1u << 16];
    redisReply *r;

    for (size_t at = 0; at < len; at += 256) {
        assert_true(getrandom(value + at, 256, 0) > 0);
    }
    r = redisCommand(core, "SET %s %b", key, value, len);
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_STATUS);
    freeReplyObject(r);
}

/* ---- C: a busy connection is not closed ---- */

/* Plays the core that is gone, on its ports. */
struct false_core {
    int fds[2];
};

static void false_core_open(struct false_core *f)
{
    uint16_t stream = (uint16_t)core_node->port;
    uint16_t control = (uint16_t)(stream + 1);

    e2e_stop(core_node, SIGKILL);
    E2E_WAIT(SOON_MS, (f->fds[0] = tcp_listen(&stream, 16)) >= 0);
    E2E_WAIT(SOON_MS, (f->fds[1] = tcp_listen(&control, 16)) >= 0);
}

/* The core is back in its place, and edge and core are in step. */
static void false_core_close(struct false_core *f)
{
    close(f->fds[0]);
    close(f->fds[1]);
    e2e_start(core_node);
    core = e2e_connect(core_node);
    edge = e2e_connect(edge_node);
    e2e_ok(core, "SET after 2");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge) && e2e_edge_says(edge, "live"));
}

static bool is_closed(int fd)
{
    uint8_t byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

static void an_edge_does_not_close_a_connection_on_which_bytes_trickle(void **state)
{
    const uint8_t head[8] = {0, 0, 0, 0, 0, 0, 0xff, 0}; /* of a message of 65,280 bytes */
    struct false_core f;
    int64_t start;
    int fd;

    begin(state);
    false_core_open(&f);
    fd = accept(f.fds[0], NULL, NULL);
    assert_true(fd >= 0 && sp_hello(fd, SP_PUB) && tcp_send(fd, head, sizeof(head)));
    /* The edge hears nothing that counts for twice as long as it takes to want a new connection. */
    for (start = e2e_now_ms(); e2e_now_ms() - start < 6000; e2e_sleep_ms(100)) {
        assert_true(tcp_send(fd, "z", 1));
        assert_false(is_closed(fd));
    }
    assert_true(e2e_logged(edge_node, "link silent, dialling again channel=0"));
    start = e2e_now_ms();
    E2E_WAIT(2000, is_closed(fd));
    print_message("C: closed %lld ms after the last of the bytes, not before\n",
                  (long long)(e2e_now_ms() - start));
    close(fd);
    false_core_close(&f);
    assert_false(e2e_logged(edge_node, "starting this process anew"));
    e2e_passed();
}

static int stalled_subscriber(void)
{
    int small = 4096;
    int fd = tcp_connect((uint16_t)core_node->port);

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_true(sp_hello(fd, SP_SUB));
    return fd;
}

static bool is_established(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           info.tcpi_state == TCP_ESTABLISHED;
}

static void subscribers_that_do_not_read_take_nothing_from_the_others(void **state)
{
    int fd[STALLED];
    size_t fds;

    begin(state);
    fds = e2e_fds(core_node);
    for (int i = 0; i < STALLED; i++) {
        fd[i] = stalled_subscriber();
    }
    for (int i = 0; i < 300; i++) { /* 12 MB: more than the kernel takes for any of them */
        set_random("busy", 40000);
    }
    E2E_WAIT(SOON_MS, e2e_equal(core, edge) && e2e_edge_says(edge, "live"));
    for (int i = 0; i < STALLED; i++) {
        assert_true(is_established(fd[i]));
    }
    assert_in_range(e2e_memory_kib(core_node, "VmHWM"), 1, MEMORY_MAX_KIB);
    /* They leave in the middle of a send. */
    for (int i = 0; i < STALLED; i++) {
        tcp_reset(fd[i]);
        set_random("busy", 40000);
    }
    E2E_WAIT(SOON_MS, e2e_fds(core_node) <= fds + 4);
    E2E_WAIT(SOON_MS, e2e_equal(core, edge) && e2e_edge_says(edge, "live"));
    assert_false(e2e_logged(core_node, "starting this process anew"));
    e2e_passed();
}

/* ---- a reap thread that is really stuck ---- */

static bool is_anew(const struct e2e_node *n)
{
    return e2e_logged(n, "starting this process anew");
}

/* Reads until the daemon is said to start anew and then serves again. Returns how long it took. */
static int64_t read_until_anew(struct reader *r, void (*attack)(void *), void *arg)
{
    int64_t start = e2e_now_ms();

    while (!is_anew(r->node)) {
        assert_true(e2e_now_ms() - start < ANEW_MS);
        attack(arg);
        reader_for(r, 50);
    }
    int64_t took = e2e_now_ms() - start;
    reader_for(r, 1000);
    /* It was nng, and not a person or the store that wanted it. */
    assert_true(e2e_logged(r->node, "nng's reap thread is stuck") ||
                e2e_logged(r->node, "nng leaks them"));
    assert_true(e2e_alive(r->node));
    /* A connection may still have reached the sockets of the life before. */
    assert_in_range(r->broken, 1, 2);
    return took;
}

static void said(const char *who, int64_t took, const struct reader *r)
{
    print_message("wedge: the %s started anew %lld ms after the first flood; its reader was "
                  "without an answer for %.1f ms at most\n",
                  who, (long long)took, (double)r->silence_us / 1000);
    assert_in_range(r->silence_us, 1, SILENCE_US);
}

static void flood_core(void *arg)
{
    static uint8_t host = 1;
    const struct recording *recording = arg;
    uint8_t frame[sizeof(recording->message) + 12];
    size_t len = sp_frame(frame, 1, recording->message, recording->len);
    int fd;

    host = host == 250 ? 2 : (uint8_t)(host + 1);
    fd = tcp_connect_from(host, (uint16_t)(core_node->port + 1));
    if (fd >= 0) {
        (void)sp_flood_and_reset(fd, SP_REQ, frame, len, 4000);
    }
}

static void a_wedged_core_starts_anew_and_its_readers_hardly_notice(void **state)
{
    struct recording recording = {.len = 0};
    size_t fds;

    begin(state);
    record_request(core_node, &recording);
    e2e_sleep_ms(300);
    fds = e2e_fds(core_node);
    struct reader r = {.node = core_node};
    reader_for(&r, 200);
    said("core", read_until_anew(&r, flood_core, &recording), &r);
    E2E_WAIT(SOON_MS, e2e_fds(core_node) <= fds + 8);
    core = e2e_connect(core_node);
    e2e_ok(core, "SET after 2");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge) && e2e_edge_says(edge, "live"));
    e2e_passed();
}

/* Takes what the edge dials and floods it on the control's connections. */
static void flood_edge(void *arg)
{
    const struct false_core *f = arg;
    uint8_t frame[16];
    size_t len = sp_frame(frame, 0x7ffffff0u, "?", 1);

    for (int i = 0; i < 2; i++) {
        struct pollfd ready = {f->fds[i], POLLIN, 0};
        int fd = poll(&ready, 1, 0) == 1 ? accept(f->fds[i], NULL, NULL) : -1;

        if (fd < 0) {
            continue;
        }
        if (i == 0) {
            (void)sp_hello(fd, SP_PUB); /* and silence: it stays open */
        } else {
            (void)sp_flood_and_reset(fd, SP_REP, frame, len, FLOOD_FRAMES);
        }
    }
}

/* Sends all the time, as an edge does that wants an answer. */
static void *ask_on(void *arg)
{
    nng_socket *req = arg;
    nng_msg *msg;

    while (nng_msg_alloc(&msg, 100) == 0) {
        if (nng_sendmsg(*req, msg, 0) != 0) {
            nng_msg_free(msg);
        }
        usleep(500);
    }
    return NULL;
}

/* Whether a plain dialer stays away for good after such floods. */
static bool bare_req_wedges(void)
{
    uint8_t frame[16];
    size_t len = sp_frame(frame, 0x7ffffff0u, "?", 1);
    struct pollfd ready = {.fd = -1, .events = POLLIN};
    uint16_t port = 0;
    char url[64];
    nng_socket req;
    pthread_t thread;

    ready.fd = tcp_listen(&port, 16);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    if (nng_req0_open(&req) != 0 || nng_socket_set_ms(req, NNG_OPT_SENDTIMEO, 100) != 0 ||
        nng_socket_set_ms(req, NNG_OPT_RECONNMINT, 10) != 0 ||
        nng_dial(req, url, NULL, NNG_FLAG_NONBLOCK) != 0 ||
        pthread_create(&thread, NULL, ask_on, &req) != 0) {
        _exit(2);
    }
    for (int64_t until = e2e_now_ms() + 12000; e2e_now_ms() < until;) {
        if (poll(&ready, 1, 4000) == 0) {
            return true;
        }
        (void)sp_flood_and_reset(accept(ready.fd, NULL, NULL), SP_REP, frame, len, FLOOD_FRAMES);
    }
    return false;
}

static struct control control_c = {"a REQ socket, a flood of replies and RST", bare_req_wedges, 0};

static void a_wedged_edge_starts_anew_and_its_readers_hardly_notice(void **state)
{
    struct false_core f;

    begin(state);
    false_core_open(&f);
    struct reader r = {.node = edge_node};
    reader_for(&r, 200);
    said("edge", read_until_anew(&r, flood_edge, &f), &r);
    false_core_close(&f);
    control_check(&control_c);
    e2e_passed();
}

static int start_control(void **state)
{
    (void)state;
    control_start(&control_c);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, e2e_teardown)
        BOXED(an_edge_does_not_close_a_connection_on_which_bytes_trickle),
        BOXED(subscribers_that_do_not_read_take_nothing_from_the_others),
        BOXED(a_wedged_core_starts_anew_and_its_readers_hardly_notice),
        BOXED(a_wedged_edge_starts_anew_and_its_readers_hardly_notice),
    };

    return cmocka_run_group_tests_name("transport wedge", tests, start_control, NULL);
}
