/*
 * test_transport_parts.c - a dialer and a listener alone, where a daemon could not be asked.
 *
 * What happens to hundreds of redials on a busy connection, to a SYN that nobody answers, to a reap
 * thread that is stuck for another's fault, and to descriptors at the very limit: here the test is
 * the owner that gives the orders and hears on_wedged. The daemons are put to the same faults in
 * test_transport_faults.c and test_transport_wedge.c.
 *
 * Each test runs in a child of its own, for a fault wedges nng for the whole process, and nng must
 * not be used on both sides of a fork. With a newer nng the same tests pass.
 */
#include "hf/transport.h"
#include "proto/node/transport_impl.h"
#include "tests/raw_tcp.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <nng/protocol/pubsub0/sub.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:hf_dialer_open\nleak:hf_listener_open\nleak:libnng\n";
}

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
    uint32_t wedged;
    char why[128];
};

struct edge {
    struct hf_dialer *dialer;
    uint32_t ups[HF_CHANNELS];
    uint32_t downs[HF_CHANNELS];
    uint32_t wedged;
};

static bool on_request(void *ctx, uint64_t handle, struct hf_slice message, const char *peer)
{
    struct core *c = ctx;

    (void)peer;
    hf_listener_reply(c->listener, handle, message);
    return true;
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
    (void)ctx;
    (void)message;
}

static void on_reply(void *ctx, uint64_t id, struct hf_slice message)
{
    (void)ctx;
    (void)id;
    (void)message;
}

static void on_edge_wedged(void *ctx, const char *why)
{
    struct edge *e = ctx;

    (void)why;
    e->wedged++;
}

static void core_open(struct core *c)
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

/* ---- B: a dialer whose connection is on its way for too long ---- */

/* Shakes hands with whoever comes, as a core's two ports do. */
static void *serve(void *arg)
{
    const int *fds = arg;
    struct pollfd ready[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};

    for (;;) {
        (void)poll(ready, 2, -1);
        for (int i = 0; i < 2; i++) {
            int fd = (ready[i].revents & POLLIN) != 0 ? accept(fds[i], NULL, NULL) : -1;
            if (fd >= 0) {
                (void)sp_hello(fd, i == 0 ? SP_PUB : SP_REP);
            }
        }
    }
    return NULL;
}

/* nng has no connect time-out. */
static void child_connect_backs_off(void)
{
    int fds[2];
    int fill[8];
    uint16_t port;
    struct edge e;
    uint64_t begin;
    pthread_t thread;

    /* With a full backlog the kernel drops every further SYN, like a link that is down. */
    tcp_listen_pair(fds, &port, 0);
    for (int i = 0; i < 8; i++) {
        struct sockaddr_in in = tcp_loopback(1, (uint16_t)(port + i % 2));
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
    CHECK(listen(fds[0], 16) == 0 && listen(fds[1], 16) == 0);
    CHECK(pthread_create(&thread, NULL, serve, fds) == 0);
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
        core_open(&c);
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

static void track(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    (void)event;
    (void)arg;
    atomic_store(&closing_pipe, pipe.id);
}

/* Closes the pipe of a plain SUB again and again while it receives, until it never
 * comes back. */
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
    core_open(&c);
    edge_dial(&e, hf_listener_port(c.listener));
    edge_wait_up(&e, 3000);
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

static void child_dead_descriptors_are_reported(void)
{
    struct core c;
    uint16_t port = 0;
    int listening = tcp_listen(&port, 600);

    core_open(&c);
    for (int i = 0; i < 250; i++) {
        (void)shutdown(tcp_connect(port), SHUT_RDWR);
    }
    CHECK(!run_until(&c.wedged, 1, 5500));
    for (int i = 0; i < 10; i++) {
        (void)shutdown(tcp_connect(port), SHUT_RDWR);
    }
    CHECK(run_until(&c.wedged, 1, 12000)); /* a look each 5 s; then they are the same for 5 s */
    CHECK(strstr(c.why, "descriptors") != NULL);
    close(listening);
}

/* Always too many, but never the same for long: nng at work after thousands of connections ended.
 */
static void child_dead_descriptors_that_change_are_none(void)
{
    enum { AT_ONCE = 600, EACH_S = 150 };
    static int dead[AT_ONCE];
    struct core c;
    uint16_t port = 0;
    int listening = tcp_listen(&port, 600);

    core_open(&c);
    for (int second = 0; second < 14; second++) {
        for (int i = 0; i < EACH_S; i++) {
            int *fd = &dead[(second * EACH_S + i) % AT_ONCE];
            int fresh = tcp_connect(port); /* before the close: another descriptor */
            if (*fd > 0) {
                close(*fd);
            }
            *fd = fresh;
            (void)shutdown(fresh, SHUT_RDWR);
            int taken = accept(listening, NULL, NULL);
            close(taken);
        }
        CHECK(!run_until(&c.wedged, 1, 1000));
    }
    close(listening);
}

/* The same ones for long, but a few are closed each second. */
static void child_dead_descriptors_that_become_fewer_are_none(void)
{
    enum { DEAD = 600, EACH_S = 20 };
    int dead[DEAD];
    struct core c;
    uint16_t port = 0;
    int listening = tcp_listen(&port, DEAD);

    core_open(&c);
    for (int i = 0; i < DEAD; i++) {
        dead[i] = tcp_connect(port);
        (void)shutdown(dead[i], SHUT_RDWR);
    }
    for (int i = 0; i < 14 * EACH_S; i++) {
        close(dead[i]);
        CHECK(!run_until(&c.wedged, 1, 1000 / EACH_S));
    }
    close(listening);
}

/* ---- the children ---- */

struct child {
    const char *name;
    void (*body)(void);
    bool forks; /* the body forks before it makes the loop */
    pid_t pid;
};

static struct child children[] = {
    {"a_connect_that_backs_off_does_not_delay_the_heal", child_connect_backs_off, false, 0},
    {"a_pipe_on_which_bytes_arrive_is_not_closed", child_busy_pipe_is_not_closed, true, 0},
    {"a_wedged_reap_thread_is_reported_by_edge_and_core", child_wedged_reaper_is_reported, true, 0},
    {"dead_descriptors_above_the_limit_are_reported", child_dead_descriptors_are_reported, false,
     0},
    {"dead_descriptors_that_change_are_no_leak", child_dead_descriptors_that_change_are_none, false,
     0},
    {"dead_descriptors_that_become_fewer_are_no_leak",
     child_dead_descriptors_that_become_fewer_are_none, false, 0},
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
