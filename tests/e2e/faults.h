/*
 * faults.h - what the two programs about nng's faults share: controls, a recorded request, and the
 * longest silence that a reader sees.
 *
 * A control is the same stimulus on a bare nng socket in a child process. It shows that this nng
 * has the fault, and so that the test of the daemon could fail. With 1.5.2 it must have it; with a
 * newer one the daemons pass just the same, and the control only says so.
 *
 * Invariant: nng is used in children only, for it must not be used on both sides of a fork, and a
 * fault wedges it for its whole process. A child ends with its parent, or by its own alarm.
 *
 * Must not: be included before harness.c and hole.c, of which it is a part.
 *
 * Read next: test_transport_faults.c, test_transport_wedge.c.
 */
#ifndef HF_TESTS_E2E_FAULTS_H
#define HF_TESTS_E2E_FAULTS_H

#include "tests/raw_tcp.h"

#include <nng/nng.h>

#define CONTROL_SECONDS 25
#define SOON_MS 8000

/* ---- a core and an edge, and a client of each ---- */

static struct e2e_node *core_node, *edge_node;
static redisContext *core, *edge;

/* `option` of the edge may be NULL. */
static inline void pair_begin(void **state, const char *option, const char *value)
{
    e2e_begin(state);
    core_node = e2e_core_new("core");
    e2e_start(core_node);
    core = e2e_connect(core_node);
    edge_node = e2e_edge_new(core_node, "lagos", core_node->port);
    if (option != NULL) {
        e2e_arg_set(edge_node, option, value);
    }
    e2e_start(edge_node);
    edge = e2e_connect(edge_node);
    e2e_ok(core, "SET before 1");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge) && e2e_edge_says(edge, "live"));
}

/* ---- controls ---- */

struct control {
    const char *what;
    bool (*has_fault)(void);
    pid_t pid;
};

/* All controls run beside the tests: they mostly wait. */
static inline void control_start(struct control *c)
{
    pid_t parent = getpid();

    c->pid = fork();
    if (c->pid != 0) {
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(CONTROL_SECONDS);
    _exit(getppid() == parent && c->has_fault() ? 0 : 1);
}

static inline void control_check(struct control *c)
{
    int status = 0;
    bool has_it;

    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_true(WIFEXITED(status));
    has_it = WEXITSTATUS(status) == 0;
    print_message("control: nng %s without guards %s: %s\n", nng_version(),
                  has_it ? "fails" : "stands", c->what);
    assert_true(has_it || strcmp(nng_version(), "1.5.2") != 0);
}

/* ---- a request that the core answers ---- */

struct recording {
    uint8_t message[4096];
    size_t len;
};

/* Plays the core for a moment to an edge that is enrolled, and keeps its first request. Sent by
 * anybody, it makes the core answer with a COOKIE, as often as it is sent. */
static inline void record_request(struct e2e_node *node, struct recording *r)
{
    int fds[2];
    uint16_t port;
    int64_t until = e2e_now_ms() + SOON_MS;
    struct e2e_node *victim;

    tcp_listen_pair(fds, &port, 16);
    victim = e2e_edge_new(node, "recorded", port);
    e2e_start(victim);
    while (r->len == 0 && e2e_now_ms() < until) {
        int fd = accept(fds[1], NULL, NULL);

        if (fd >= 0 && sp_hello(fd, SP_REP)) {
            r->len = sp_receive(fd, r->message, sizeof(r->message));
        }
        close(fd);
    }
    assert_true(r->len > 0);
    e2e_stop(victim, SIGKILL);
    close(fds[0]);
    close(fds[1]);
}

/* ---- what a reader sees of a daemon that starts anew ---- */

struct reader {
    struct e2e_node *node;
    redisContext *c;
    int64_t answered_us;
    int64_t silence_us; /* the longest between two answers */
    uint32_t broken;    /* connections */
};

static inline int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* One read, of the key "before" with the value "1"; a new connection where the old one broke. */
static inline void reader_step(struct reader *r)
{
    redisReply *reply = NULL;
    int64_t now;

    if (r->c == NULL) {
        r->c = e2e_try_connect(r->node);
    }
    if (r->c != NULL) {
        reply = redisCommand(r->c, "GET before");
    }
    now = now_us();
    if (reply == NULL) {
        if (r->c != NULL) {
            e2e_disconnect(r->c);
            r->c = NULL;
            r->broken++;
        }
        e2e_sleep_ms(1);
        return;
    }
    if (reply->type == REDIS_REPLY_NIL && r->answered_us == 0) {
        freeReplyObject(reply); /* who has not written sees a core's state of the last commit */
        e2e_sleep_ms(1);
        return;
    }
    assert_int_equal(reply->type, REDIS_REPLY_STRING);
    assert_string_equal(reply->str, "1");
    freeReplyObject(reply);
    if (r->answered_us != 0 && now - r->answered_us > r->silence_us) {
        r->silence_us = now - r->answered_us;
    }
    r->answered_us = now;
    usleep(200);
}

/* For so long, and until there was a first answer. */
static inline void reader_for(struct reader *r, int ms)
{
    int64_t start = e2e_now_ms();

    while (e2e_now_ms() - start < ms || r->answered_us == 0) {
        assert_true(e2e_now_ms() - start < SOON_MS);
        reader_step(r);
    }
}

#endif
