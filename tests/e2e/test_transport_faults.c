/*
 * test_transport_faults.c - faults A, B, D and E of nng 1.5.2 (PROTOCOL.md appendix A), set off
 * from outside against a core and edges that run.
 *
 * The stimulus is always plain TCP from a stranger (tests/raw_tcp.h). Where it is possible, the
 * same stimulus also meets a bare nng socket (faults.h): that one must fail, or the test shows
 * nothing. TLS is refused here too. Fault C and a wedge that ends in a new start are in
 * test_transport_wedge.c.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#include "tests/e2e/faults.h"

#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>

#define ATTACKS 5
#define ATTACK_ROUNDS 40
#define ABRUPT_CLIENTS 5000
/* Two probes that fail, 2 s apart at most, and the edge's own dialling. */
#define RELISTENED_MS 6000
#define STREAMING_MS 2000
/* Descriptors that may come and go by themselves: a reconnecting edge, a probe of the transport. */
#define FDS_SLACK 8u

static void begin(void **state)
{
    pair_begin(state, NULL, NULL);
}

/* ---- A: a listener that one connection kills ---- */

static void attack_listener(uint16_t port)
{
    for (int i = 0; i < ATTACKS; i++) {
        int fd = tcp_connect(port);

        if (fd >= 0) {
            tcp_fin_and_reset(fd);
        }
    }
}

static atomic_uint added;

static void count_added(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    (void)pipe;
    (void)event;
    (void)arg;
    atomic_fetch_add(&added, 1);
}

static uint16_t bare_rep(nng_socket *rep)
{
    nng_listener listener;
    nng_sockaddr at;

    if (nng_rep0_open(rep) != 0 ||
        nng_pipe_notify(*rep, NNG_PIPE_EV_ADD_POST, count_added, NULL) != 0 ||
        nng_listen(*rep, "tcp://127.0.0.1:0", &listener, 0) != 0 ||
        nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &at) != 0) {
        _exit(2);
    }
    return ntohs(at.s_in.sa_port);
}

/* Whether a new peer still becomes a pipe. It may shake hands all the same. */
static bool accepts(uint16_t port)
{
    unsigned before = atomic_load(&added);
    int fd = tcp_connect(port);

    if (fd >= 0) {
        (void)sp_hello(fd, SP_REQ);
    }
    for (int i = 0; i < 100 && atomic_load(&added) == before; i++) {
        usleep(10000);
    }
    close(fd);
    return atomic_load(&added) != before;
}

static bool bare_listener_dies(void)
{
    nng_socket rep;
    uint16_t port = bare_rep(&rep);
    bool dead = !accepts(port);

    for (int i = 0; i < 5 && !dead; i++) {
        attack_listener(port);
        usleep(100000);
        dead = !accepts(port);
    }
    return dead;
}

static struct control control_a = {"a listener and FIN, RST", bare_listener_dies, 0};

/* A connection that waits half a second for what the core says of itself or answers. */
static int impatient(int port, uint8_t protocol)
{
    const struct timeval patience = {0, 500000};
    int fd = tcp_connect((uint16_t)port);

    assert_true(fd >= 0 && sp_hello(fd, protocol));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static bool stream_speaks(const struct recording *r)
{
    int fd = impatient(core_node->port, SP_SUB);
    uint8_t byte;
    bool speaks;

    (void)r;
    e2e_sleep_ms(20); /* the core may know of the connection later than we do */
    e2e_ok(core, "SET said 1");
    speaks = recv(fd, &byte, 1, 0) == 1;
    close(fd);
    return speaks;
}

static bool control_answers(const struct recording *r)
{
    uint8_t frame[sizeof(r->message) + 12];
    int fd = impatient(core_node->port + 1, SP_REQ);
    bool answers;

    assert_true(tcp_send(fd, frame, sp_frame(frame, 1, r->message, r->len)));
    answers = recv(fd, frame, 1, 0) == 1;
    close(fd);
    return answers;
}

/* Whether the listener is dead for a new peer, however many connections that took. */
static bool kill_listener(int port, bool (*is_well)(const struct recording *),
                          const struct recording *r)
{
    bool dead = false;

    for (int i = 0; i < ATTACK_ROUNDS && !dead; i++) {
        attack_listener((uint16_t)port);
        e2e_sleep_ms(20);
        dead = !is_well(r);
    }
    return dead;
}

static void a_listener_killed_by_one_connection_is_opened_again(void **state)
{
    struct recording recording = {.len = 0};
    struct e2e_node *late;
    redisContext *c;
    int64_t start;
    bool dead;

    begin(state);
    record_request(core_node, &recording);
    assert_true(stream_speaks(&recording) && control_answers(&recording));
    late = e2e_edge_new(core_node, "late", core_node->port);
    dead = kill_listener(core_node->port, stream_speaks, &recording);
    dead = kill_listener(core_node->port + 1, control_answers, &recording) && dead;
    assert_true(dead || strcmp(nng_version(), "1.5.2") != 0);
    start = e2e_now_ms();
    e2e_start(late);
    c = e2e_connect(late);
    E2E_WAIT(RELISTENED_MS, e2e_equal(core, c));
    print_message("A: both ports %s; a new edge has all data after %lld ms\n",
                  dead ? "were dead" : "never died", (long long)(e2e_now_ms() - start));
    E2E_WAIT(RELISTENED_MS, stream_speaks(&recording) && control_answers(&recording));
    E2E_WAIT(SOON_MS, e2e_equal(core, c) && e2e_equal(core, edge));
    E2E_WAIT(SOON_MS, e2e_edge_says(c, "live") && e2e_edge_says(edge, "live"));
    assert_false(e2e_logged(core_node, "starting this process anew"));
    control_check(&control_a);
    e2e_passed();
}

/* ---- B: a dialer that one connection kills ---- */

struct poison {
    int fds[2];
    _Atomic bool stop;
    atomic_uint met;
    pthread_t thread;
};

static void *poison_run(void *arg)
{
    struct poison *p = arg;
    struct pollfd ready[2] = {{p->fds[0], POLLIN, 0}, {p->fds[1], POLLIN, 0}};

    while (!atomic_load(&p->stop)) {
        (void)poll(ready, 2, 10);
        for (int i = 0; i < 2; i++) {
            int fd = (ready[i].revents & POLLIN) != 0 ? accept(p->fds[i], NULL, NULL) : -1;

            if (fd >= 0) {
                tcp_fin_and_reset(fd);
                atomic_fetch_add(&p->met, 1);
            }
        }
    }
    return NULL;
}

static bool poison_start(struct poison *p, int port)
{
    uint16_t stream = (uint16_t)port;
    uint16_t control = (uint16_t)(port + 1);

    memset(p, 0, sizeof(*p));
    p->fds[0] = tcp_listen(&stream, 64);
    p->fds[1] = tcp_listen(&control, 64);
    return p->fds[0] >= 0 && p->fds[1] >= 0 && pthread_create(&p->thread, NULL, poison_run, p) == 0;
}

static void poison_stop(struct poison *p)
{
    atomic_store(&p->stop, true);
    pthread_join(p->thread, NULL);
    close(p->fds[0]);
    close(p->fds[1]);
}

/* Once it has met the poison, does a plain dialer ever find a peer that is well? */
static bool bare_dialer_dies(void)
{
    static struct poison p;
    int fds[2];
    uint16_t port;
    char url[64];
    nng_socket sub;

    tcp_listen_pair(fds, &port, 16);
    close(fds[0]);
    close(fds[1]);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    if (!poison_start(&p, port) || nng_sub0_open(&sub) != 0 ||
        nng_socket_set_ms(sub, NNG_OPT_RECONNMINT, 50) != 0 ||
        nng_dial(sub, url, NULL, NNG_FLAG_NONBLOCK) != 0) {
        _exit(2);
    }
    usleep(3000000);
    poison_stop(&p);
    fds[0] = tcp_listen(&port, 16);
    struct pollfd ready = {fds[0], POLLIN, 0};
    return atomic_load(&p.met) > 0 && poll(&ready, 1, 4000) == 0;
}

static struct control control_b = {"a dialer and FIN, RST", bare_dialer_dies, 0};

/* The core's ports answer with poison for so long; then the core is back. */
static void poison_round(int ms)
{
    struct poison p;
    int64_t reachable;

    e2e_stop(core_node, SIGKILL);
    E2E_WAIT(SOON_MS, poison_start(&p, core_node->port));
    e2e_sleep_ms(ms);
    E2E_WAIT(SOON_MS, atomic_load(&p.met) >= 2);
    poison_stop(&p);
    e2e_start(core_node);
    reachable = e2e_now_ms();
    core = e2e_connect(core_node);
    e2e_ok(core, "SET poisoned %d", ms);
    E2E_WAIT(STREAMING_MS, e2e_equal(core, edge) && e2e_edge_says(edge, "live"));
    print_message("B: %u poisoned dials in %d ms; in step %lld ms after the core was reachable\n",
                  atomic_load(&p.met), ms, (long long)(e2e_now_ms() - reachable));
    assert_true(e2e_alive(edge_node));
    assert_false(e2e_logged(edge_node, "starting this process anew"));
}

static void a_dialer_that_gave_up_is_replaced_within_two_seconds(void **state)
{
    begin(state);
    poison_round(1000);
    poison_round(2200);
    /* Patience that grows with the number of tries would show here: it would wait until 8 s. */
    poison_round(4500);
    control_check(&control_b);
    e2e_passed();
}

/* ---- D: descriptors that abrupt clients leave behind ---- */

/* Each asks, and resets without reading the answer; the addresses of 250 hosts take turns. */
static void abrupt_clients(uint16_t port, int clients, const uint8_t *frames, size_t len)
{
    for (int i = 0; i < clients; i++) {
        int fd = tcp_connect_from((uint8_t)(2 + i % 250), port);

        if (fd < 0) {
            continue;
        }
        if (sp_hello(fd, SP_REQ)) {
            (void)tcp_send(fd, frames, len);
            usleep((useconds_t)(i % 5) * 50);
        }
        tcp_reset(fd);
    }
}

static size_t requests_of(const struct recording *r, uint8_t *frames, int count)
{
    size_t len = 0;

    for (int i = 0; i < count; i++) {
        len += sp_frame(frames + len, (uint32_t)i, r->message, r->len);
    }
    return len;
}

static void *answer_all(void *arg)
{
    nng_socket *rep = arg;
    nng_msg *msg;

    while (nng_recvmsg(*rep, &msg, 0) == 0) {
        if (nng_sendmsg(*rep, msg, 0) != 0) {
            nng_msg_free(msg);
        }
    }
    return NULL;
}

static size_t own_fds(void)
{
    const struct e2e_node self = {.pid = getpid()};

    return e2e_fds(&self);
}

/* The same clients, at a plain REP socket that answers all. */
static bool bare_rep_leaks(void)
{
    static struct recording r = {.message = "?", .len = 200};
    static uint8_t frames[4 * sizeof(r.message)];
    nng_socket rep;
    pthread_t thread;
    uint16_t port = bare_rep(&rep);
    size_t before = own_fds();

    if (pthread_create(&thread, NULL, answer_all, &rep) != 0) {
        _exit(2);
    }
    /* With two requests it takes up to some thousands of clients, with four a few hundred. */
    for (int i = 0; i < 8 && own_fds() < before + 100; i++) {
        abrupt_clients(port, 1000, frames, requests_of(&r, frames, i < 5 ? 2 : 4));
        usleep(300000);
    }
    return own_fds() >= before + 100;
}

static struct control control_d = {"a REP socket and abrupt clients", bare_rep_leaks, 0};

/* The core has its descriptors back, and is there. */
static bool descriptors_are_back(size_t before)
{
    redisContext *c = e2e_fds(core_node) <= before + FDS_SLACK ? e2e_try_connect(core_node) : NULL;
    redisReply *reply = c == NULL ? NULL : redisCommand(c, "PING");
    bool answers = reply != NULL;

    freeReplyObject(reply);
    if (c != NULL) {
        e2e_disconnect(c);
    }
    return answers;
}

static void descriptors_come_back_after_five_thousand_abrupt_clients(void **state)
{
    struct recording r = {.len = 0};
    uint8_t frames[4 * sizeof(r.message)];
    size_t len, before, after;

    begin(state);
    record_request(core_node, &r);
    len = requests_of(&r, frames, 2);
    e2e_sleep_ms(300);
    before = e2e_fds(core_node);
    abrupt_clients((uint16_t)(core_node->port + 1), ABRUPT_CLIENTS, frames, len);
    after = e2e_fds(core_node);
    E2E_WAIT(15000, descriptors_are_back(before));
    print_message("D: descriptors %zu, after %d abrupt clients %zu, then %zu (%s)\n", before,
                  ABRUPT_CLIENTS, after, e2e_fds(core_node),
                  e2e_logged(core_node, "starting this process anew") ? "by starting anew"
                                                                      : "none leaked");
    if (!e2e_logged(core_node, "starting this process anew")) {
        assert_true(e2e_counter(core, "cookies") > ABRUPT_CLIENTS); /* it did answer them */
    }
    core = e2e_connect(core_node);
    e2e_ok(core, "SET after 2");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge) && e2e_edge_says(edge, "live"));
    control_check(&control_d);
    e2e_passed();
}

/* ---- E: RESPONDENT sockets crash ---- */

static bool program_has(const char *program, const char *text)
{
    static char bytes[16u << 20];
    char path[600];

    snprintf(path, sizeof(path), "%s/%s", box.bin, program);
    size_t len = read_file(path, bytes, sizeof(bytes));
    assert_in_range(len, 1000, sizeof(bytes) - 2);
    return memmem(bytes, len, text, strlen(text)) != NULL;
}

static void survey_sockets_are_not_used_and_their_peers_not_let_in(void **state)
{
    static const uint8_t protocols[] = {SP_SURVEYOR, SP_RESPONDENT};

    begin(state);
    assert_true(program_has("holdfast-core", "nng_pub0_open"));
    assert_true(program_has("holdfast-edge", "nng_sub0_open"));
    assert_false(program_has("holdfast-core", "surveyor0") ||
                 program_has("holdfast-core", "respondent0"));
    assert_false(program_has("holdfast-edge", "surveyor0") ||
                 program_has("holdfast-edge", "respondent0"));
    for (int i = 0; i < 100; i++) {
        uint8_t survey[16], byte;
        size_t len = sp_frame(survey, (uint32_t)i, "?", 1);
        int fd = tcp_connect((uint16_t)(core_node->port + i % 2));

        assert_true(fd >= 0 && sp_hello(fd, protocols[i / 2 % 2]));
        (void)tcp_send(fd, survey, len);
        assert_true(recv(fd, &byte, 1, 0) <= 0);
        close(fd);
    }
    e2e_ok(core, "SET after 2");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge) && e2e_edge_says(edge, "live"));
    assert_false(e2e_logged(core_node, "starting this process anew"));
    e2e_passed();
}

/* ---- TLS, which nng would take and could not guard ---- */

static void refuse_tls(struct e2e_node *n, const char *option)
{
    char text[4096];

    e2e_arg_set(n, option, "tls+tcp://127.0.0.1:7410");
    assert_int_equal(e2e_start_refused(n, text, sizeof(text)), 2);
    assert_non_null(strstr(text, "tls+tcp://127.0.0.1:7410: TLS is not supported; use tcp://"));
}

static void tls_urls_are_refused_with_a_sentence(void **state)
{
    struct e2e_node *late;

    begin(state);
    refuse_tls(e2e_core_new("listening"), "--listen");
    refuse_tls(e2e_core_new("advertising"), "--advertise");
    late = e2e_edge_new(core_node, "late", core_node->port);
    refuse_tls(late, "--core");
    e2e_passed();
}

static int start_controls(void **state)
{
    (void)state;
    control_start(&control_a);
    control_start(&control_b);
    control_start(&control_d);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, e2e_teardown)
        BOXED(a_listener_killed_by_one_connection_is_opened_again),
        BOXED(a_dialer_that_gave_up_is_replaced_within_two_seconds),
        BOXED(descriptors_come_back_after_five_thousand_abrupt_clients),
        BOXED(tls_urls_are_refused_with_a_sentence),
        BOXED(survey_sockets_are_not_used_and_their_peers_not_let_in),
    };

    return cmocka_run_group_tests_name("transport faults", tests, start_controls, NULL);
}
