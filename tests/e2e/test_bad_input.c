/*
 * test_bad_input.c - hostile bytes on every port: garbage, bombs, silence, floods.
 *
 * One core and one edge stand in all tests and must stand after each: the same processes, in step,
 * with no more descriptors than before, and never more memory than a stated bound (G12, G16). What
 * the SP framing of nng lets through is made here by hand, so that nothing polite stands between
 * the attack and the daemon: 8 bytes of handshake, then messages behind a length of 8 bytes.
 *
 * The bounds: an idle daemon has 10 to 30 MiB resident. RESP may hold one command of 8 MiB for a
 * client, nng one message of 64 KiB for a connection, and there are fewer than 200 clients here.
 * Next: test_refusals.c.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"
#include "tests/raw_tcp.h"

#include <sys/un.h>

#define SOON_MS 6000
/* Unfinished commands, replies and waiting writes may have 64 MiB each; the rest is the daemon. */
#define MEMORY_MAX_KIB ((size_t)(E2E_SANITIZED ? 1500 : 250) << 10)
#define FLOOD 5000
/* Descriptors that may come and go by themselves: a reconnecting edge, a probe of the transport. */
#define FDS_SLACK 8u

static struct e2e_node *core_node, *edge_node;
static redisContext *core, *edge;
static size_t core_fds, edge_fds;
static pid_t core_pid, edge_pid;

/* ---- targets ---- */

struct target {
    const char *name;
    struct e2e_node **node;
    int offset;       /* from the stream's port; -1 = RESP, -2 = the unix socket */
    uint8_t sp_proto; /* what a peer there calls itself, 0 = RESP */
};

static const struct target targets[] = {
    {"core stream", &core_node, 0, SP_SUB}, {"core control", &core_node, 1, SP_REQ},
    {"core RESP", &core_node, -1, 0},       {"core socket", &core_node, -2, 0},
    {"edge RESP", &edge_node, -1, 0},       {"edge socket", &edge_node, -2, 0},
};
#define TARGETS (sizeof targets / sizeof targets[0])

static int connect_unix(const char *dir)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%.90s/holdfast.sock", dir);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) {
        return fd;
    }
    close(fd);
    return -1;
}

static int reach(const struct target *t)
{
    const struct e2e_node *n = *t->node;
    int fd;

    if (t->offset == -2) {
        return connect_unix(n->dir);
    }
    fd = connect_to(t->offset == -1 ? n->resp_port : n->port + t->offset);
    /* connect_to makes it non-blocking for the hole; an attacker here may wait a little. */
    if (fd >= 0) {
        struct timeval patience = {1, 0};

        fcntl(fd, F_SETFL, 0);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    return fd;
}

/* A connection that has shaken hands as nng does. */
static int reach_sp(const struct target *t)
{
    int fd = reach(t);

    if (fd >= 0 && sp_hello(fd, t->sp_proto)) {
        return fd;
    }
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

static void throw_message(int fd, uint64_t announced, const void *bytes, size_t len)
{
    uint8_t head[8];

    for (int i = 0; i < 8; i++) {
        head[i] = (uint8_t)(announced >> (56 - 8 * i));
    }
    tcp_send(fd, head, sizeof head);
    tcp_send(fd, bytes, len);
}

static void fill_random(uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len; at += 256) {
        assert_true(getrandom(bytes + at, len - at < 256 ? len - at : 256, 0) > 0);
    }
}

/* ---- after each attack ---- */

static void all_stands(void)
{
    static int n;

    assert_true(e2e_alive(core_node) && e2e_alive(edge_node));
    assert_int_equal(core_node->pid, core_pid);
    assert_int_equal(edge_node->pid, edge_pid);
    e2e_ok(core, "SET stands %d", ++n);
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    E2E_WAIT(SOON_MS, e2e_edge_says(edge, "live") && e2e_core_says(core, "edge", "live"));
    E2E_WAIT(SOON_MS, e2e_fds(core_node) <= core_fds + FDS_SLACK);
    E2E_WAIT(SOON_MS, e2e_fds(edge_node) <= edge_fds + FDS_SLACK);
    assert_in_range(e2e_memory_kib(core_node, "VmHWM"), 1, MEMORY_MAX_KIB);
    assert_in_range(e2e_memory_kib(edge_node, "VmHWM"), 1, MEMORY_MAX_KIB);
}

/* A cap that a test can reach. */
static struct e2e_node *narrow_core(void)
{
    struct e2e_node *n = e2e_core_new("core");
    const char *path = e2e_path("core.conf");
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    fputs("[link]\npipes_per_address = 64\n", f);
    fclose(f);
    e2e_arg_set(n, "--config", path);
    return n;
}

static int set_up(void **state)
{
    if (e2e_setup(state) != 0) {
        return -1;
    }
    core_node = narrow_core();
    e2e_start(core_node);
    core = e2e_connect(core_node);
    edge_node = e2e_edge_new(core_node, "edge", core_node->port);
    e2e_start(edge_node);
    edge = e2e_connect(edge_node);
    e2e_ok(core, "SET k v");
    E2E_WAIT(SOON_MS, e2e_equal(core, edge) && e2e_edge_says(edge, "live"));
    core_fds = e2e_fds(core_node);
    edge_fds = e2e_fds(edge_node);
    core_pid = core_node->pid;
    edge_pid = edge_node->pid;
    return 0;
}

static int tear_down(void **state)
{
    print_message("most memory: core %zu KiB, edge %zu KiB\n", e2e_memory_kib(core_node, "VmHWM"),
                  e2e_memory_kib(edge_node, "VmHWM"));
    return e2e_teardown(state);
}

/* ---- bytes without sense ---- */

static void garbage_on_every_port_does_nothing(void **state)
{
    static uint8_t junk[65536];

    e2e_begin(state);
    for (size_t i = 0; i < TARGETS; i++) {
        for (int round = 0; round < 60; round++) {
            int fd = reach(&targets[i]);

            assert_true(fd >= 0);
            fill_random(junk, sizeof junk);
            tcp_send(fd, junk, (size_t)1 << (round % 17));
            close(fd);
        }
    }
    all_stands();
    e2e_passed();
}

static void garbage_behind_a_good_handshake_does_nothing(void **state)
{
    static uint8_t junk[60000];

    e2e_begin(state);
    for (size_t i = 0; i < 2; i++) {
        for (int round = 0; round < 60; round++) {
            int fd = reach_sp(&targets[i]);
            size_t len = (size_t)round * 1000;

            assert_true(fd >= 0);
            fill_random(junk, sizeof junk);
            throw_message(fd, len, junk, len);
            throw_message(fd, len, junk, len / 2);
            close(fd);
        }
    }
    all_stands();
    e2e_passed();
}

/* ---- hostile messages on the control port ---- */

/* A request of REQ: four bytes of request id, then the message. */
static void ask(int fd, uint32_t id, const uint8_t *message, size_t len)
{
    static uint8_t whole[65536 + 4];

    assert_true(len <= sizeof whole - 4);
    for (int i = 0; i < 4; i++) {
        whole[i] = (uint8_t)((id | 0x80000000u) >> (24 - 8 * i));
    }
    memcpy(whole + 4, message, len);
    throw_message(fd, len + 4, whole, len + 4);
}

static void bombs_of_msgpack_are_dropped_unopened(void **state)
{
    static uint8_t message[65000];
    /* Arrays, maps, strings and extensions that announce what nobody could hold. */
    static const uint8_t bombs[][6] = {
        {0xdd, 0x10, 0, 0, 0, 0},          {0xdf, 0xff, 0xff, 0xff, 0xff, 0},
        {0xdb, 0xff, 0xff, 0xff, 0xff, 0}, {0xc6, 0x7f, 0xff, 0xff, 0xff, 0},
        {0xc9, 0x7f, 0xff, 0xff, 0xff, 0}, {0xdd, 0xff, 0xff, 0xff, 0xff, 0}};
    int64_t before = e2e_counter(core, "dropped_malformed") +
                     e2e_counter(core, "dropped_stranger") + e2e_counter(core, "dropped_auth");
    int sent = 0;

    e2e_begin(state);
    for (size_t lead = 0; lead < 64; lead += 9) {
        int fd = reach_sp(&targets[1]);

        assert_true(fd >= 0);
        for (size_t b = 0; b < sizeof bombs / sizeof bombs[0]; b++) {
            fill_random(message, 256);
            memcpy(message, "HF\1", 3);
            memcpy(message + lead, bombs[b], sizeof bombs[b]);
            ask(fd, (uint32_t)++sent, message, 256);
        }
        memset(message, lead % 2 == 0 ? 0x91 : 0x81, sizeof message);
        memcpy(message, "HF\1", 3);
        ask(fd, (uint32_t)++sent, message, sizeof message);
        e2e_sleep_ms(20);
        close(fd);
    }
    E2E_WAIT(SOON_MS, e2e_counter(core, "dropped_malformed") +
                              e2e_counter(core, "dropped_stranger") +
                              e2e_counter(core, "dropped_auth") >=
                          before + sent / 4);
    all_stands();
    e2e_passed();
}

/* Each request takes one of 64 places at the core until it is answered or given up. */
static void worthless_requests_do_not_use_up_the_control_port(void **state)
{
    static uint8_t message[300];
    int64_t before = e2e_counter(core, "requests");

    e2e_begin(state);
    for (int i = 0; i < 100; i++) {
        int fd = reach_sp(&targets[1]);

        assert_true(fd >= 0);
        fill_random(message, sizeof message);
        for (uint32_t k = 0; k < 4; k++) {
            ask(fd, k + 1, message, (size_t)(i % 2 == 0 ? 5 : 300));
        }
        if (i % 10 == 9) {
            e2e_sleep_ms(5);
        }
        close(fd);
    }
    E2E_WAIT(SOON_MS, e2e_counter(core, "requests") > before + 200);
    all_stands();
    e2e_passed();
}

static void announced_lengths_are_not_believed(void **state)
{
    static const uint64_t lengths[] = {65537, 1u << 24, UINT64_C(1) << 32, UINT64_C(1) << 62,
                                       UINT64_MAX};
    static const char *const resp[] = {"*2147483647\r\n",
                                       "*1048577\r\n$1\r\na\r\n",
                                       "*2\r\n$9999999999\r\n",
                                       "*1\r\n$536870912\r\nxx",
                                       "*-5\r\n",
                                       "*1\r\n$-7\r\n",
                                       "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$104857600\r\n"};
    int fd[128];
    size_t n = 0;

    e2e_begin(state);
    for (size_t i = 0; i < TARGETS; i++) {
        size_t count = targets[i].sp_proto != 0 ? 5 : sizeof resp / sizeof resp[0];

        for (size_t k = 0; k < count; k++) {
            fd[n] = targets[i].sp_proto != 0 ? reach_sp(&targets[i]) : reach(&targets[i]);
            assert_true(fd[n] >= 0);
            if (targets[i].sp_proto != 0) {
                throw_message(fd[n], lengths[k], "x", 1);
            } else {
                tcp_send(fd[n], resp[k], strlen(resp[k]));
            }
            n++;
        }
    }
    e2e_sleep_ms(300);
    assert_in_range(e2e_memory_kib(core_node, "VmRSS"), 1, MEMORY_MAX_KIB);
    assert_in_range(e2e_memory_kib(edge_node, "VmRSS"), 1, MEMORY_MAX_KIB);
    while (n > 0) {
        close(fd[--n]);
    }
    all_stands();
    e2e_passed();
}

static const char megabyte[1000000];

/* The answer to the next command of a pipeline: no error (NULL), or one that begins so. */
static void expect_reply(redisContext *c, const char *error)
{
    redisReply *r = NULL;

    assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
    assert_int_equal(r->type == REDIS_REPLY_ERROR, error != NULL);
    if (error != NULL) {
        assert_int_equal(strncmp(r->str, error, strlen(error)), 0);
    }
    freeReplyObject(r);
}

/* A WAIT in vain holds what comes behind it, up to 16 MiB: room for 16 of these and some words. */
static void behind_a_wait(redisContext *c, int megabytes)
{
    redisAppendCommand(c, "SET x 1");
    redisAppendCommand(c, "WAIT 100 1500");
    for (int i = 0; i < megabytes; i++) {
        redisAppendCommand(c, "PING %b", megabyte, sizeof megabyte);
    }
}

static void waited(redisContext *c, int megabytes)
{
    for (int i = 0; i < megabytes + 2; i++) {
        expect_reply(c, NULL);
    }
}

/* Each client stays far below its own limit. */
static void transactions_that_are_never_executed_share_one_bound(void **state)
{
    enum { CLIENTS = 60 };
    redisContext *c[CLIENTS];
    int refused = 0;

    e2e_begin(state);
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = e2e_connect(core_node);
        e2e_ok(c[i], "MULTI");
        for (int k = 0; k < 4; k++) {
            redisReply *r = redisCommand(c[i], "SET open %b", megabyte, sizeof megabyte);

            assert_non_null(r);
            refused += r->type == REDIS_REPLY_ERROR && strncmp(r->str, "BUSY", 4) == 0;
            freeReplyObject(r);
        }
    }
    assert_in_range(refused, 4 * CLIENTS - 70, 4 * CLIENTS - 50);
    e2e_error(c[CLIENTS - 1], "EXECABORT", "EXEC");
    e2e_ok(c[CLIENTS - 1], "SET open 1"); /* others write on, and read what they wrote */
    assert_string_equal(e2e_text(c[CLIENTS - 1], "GET open"), "1");
    behind_a_wait(c[CLIENTS - 1], 2); /* nor do they take the room of what waits */
    waited(c[CLIENTS - 1], 2);
    assert_in_range(e2e_memory_kib(core_node, "VmRSS"), 1, MEMORY_MAX_KIB);
    for (int i = 0; i < CLIENTS; i++) {
        e2e_disconnect(c[i]);
    }
    e2e_sleep_ms(100);
    e2e_ok(core, "MULTI");
    assert_string_equal(e2e_text(core, "SET open 2"), "QUEUED");
    e2e_ok(core, "DISCARD");
    all_stands();
    e2e_passed();
}

/* Of these the last is refused: MULTI, a SET that takes what room there is, and one command more.
 */
static void refused_in_multi(redisContext *c, const char *command)
{
    behind_a_wait(c, 16);
    redisAppendCommand(c, "MULTI");
    redisAppendCommand(c, "SET part %b", megabyte, sizeof megabyte);
    redisAppendCommand(c, command);
    waited(c, 16 + 2);
    expect_reply(c, "BUSY");
}

static void a_transaction_that_lost_a_command_is_not_applied(void **state)
{
    redisContext *c = e2e_connect(core_node);

    e2e_begin(state);
    refused_in_multi(c, "SET more 1");
    assert_string_equal(e2e_text(c, "SET most 1"), "QUEUED");
    e2e_error(c, "EXECABORT", "EXEC");

    refused_in_multi(c, "EXEC");
    assert_int_equal(e2e_integer(c, "EXISTS part more most"), 0);

    behind_a_wait(c, 17);
    redisAppendCommand(c, "MULTI");
    waited(c, 17);
    expect_reply(c, "BUSY");
    assert_string_equal(e2e_text(c, "SET most 1"), "QUEUED");
    e2e_error(c, "EXECABORT", "EXEC");
    assert_int_equal(e2e_integer(c, "EXISTS part more most"), 0);
    e2e_ok(c, "SET most 2");
    e2e_disconnect(c);
    all_stands();
    e2e_passed();
}

static void one_command_reads_no_more_than_it_may(void **state)
{
    enum { KEYS = 20, MANY = 60000 };
    static const char *argv[MANY];
    redisReply *r;

    e2e_begin(state);
    for (int i = 0; i < KEYS; i++) {
        r = redisCommand(core, "SET long-%d %b", i, megabyte, sizeof megabyte);
        assert_int_equal(r->type, REDIS_REPLY_STATUS);
        freeReplyObject(r);
    }
    r = redisCommand(core, "SCAN 0 COUNT 100000 MATCH long-*");
    assert_true(r->element[1]->elements < KEYS);
    assert_string_not_equal(r->element[0]->str, "0");
    freeReplyObject(r);
    for (int i = 1; i < MANY; i++) {
        argv[i] = "long-1";
    }
    argv[0] = "EXISTS";
    r = redisCommandArgv(core, 60, argv, NULL);
    assert_int_equal(r->integer, 59);
    freeReplyObject(r);
    for (int k = 0; k < 2; k++) {
        argv[0] = k == 0 ? "EXISTS" : "MGET";
        for (int argc = 80; argc <= MANY; argc += MANY - 80) {
            int64_t began = e2e_now_ms();

            r = redisCommandArgv(core, argc, argv, NULL);
            assert_in_range(e2e_now_ms() - began, 0, 1500); /* all 60 GB would take seconds */
            assert_int_equal(r->type, REDIS_REPLY_ERROR);
            assert_int_equal(strncmp(r->str, "TOOBIG", 6), 0);
            freeReplyObject(r);
        }
    }
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(e2e_integer(core, "DEL long-%d", i), 1);
    }
    all_stands();
    e2e_passed();
}

/* ---- silence in the middle ---- */

static void half_a_message_and_silence_hold_up_nobody(void **state)
{
    static uint8_t part[30000];
    int fd[TARGETS * 20];
    size_t n = 0;
    int64_t began;

    e2e_begin(state);
    for (size_t i = 0; i < TARGETS; i++) {
        for (int k = 0; k < 20; k++) {
            bool shaken = targets[i].sp_proto != 0 && k % 2 == 0;

            fd[n] = shaken ? reach_sp(&targets[i]) : reach(&targets[i]);
            assert_true(fd[n] >= 0);
            if (shaken) {
                throw_message(fd[n], 60000, part, sizeof part);
            } else if (targets[i].sp_proto != 0) {
                tcp_send(fd[n], "\0SP", 3);
            } else {
                tcp_send(fd[n], "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nabc", 33);
            }
            n++;
        }
    }
    began = e2e_now_ms();
    for (int i = 0; i < 50; i++) {
        e2e_ok(core, "SET meanwhile %d", i);
    }
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    print_message("50 writes beside %zu silent clients: %lld ms\n", n,
                  (long long)(e2e_now_ms() - began));
    /* An edge that starts now must get in too. */
    e2e_stop(edge_node, SIGTERM);
    e2e_start(edge_node);
    edge = e2e_connect(edge_node);
    edge_pid = edge_node->pid;
    E2E_WAIT(SOON_MS, e2e_edge_says(edge, "live"));
    while (n > 0) {
        close(fd[--n]);
    }
    all_stands();
    e2e_passed();
}

/* ---- too large ---- */

static void what_is_too_large_is_refused_by_name(void **state)
{
    static char value[9u << 20];
    const char *argv[20100];
    size_t len[20100];
    redisContext *c = e2e_connect(core_node);
    int64_t head = e2e_core_status(core).head;
    redisReply *r;

    e2e_begin(state);
    memset(value, 'v', sizeof value);
    e2e_error(c, "TOOBIG", "SET %b v", value, (size_t)481);
    e2e_error(c, "ERR", "SET %b v", value, (size_t)0);
    e2e_error(c, "TOOBIG", "SET k %b", value, (size_t)(1u << 20) + 1);
    e2e_error(c, "TOOBIG", "HF.APPLY %b SET k v", value, (size_t)65);
    e2e_error(c, "TOOBIG", "MSET a %b b %b c %b d %b e %b", value, (size_t)1000000, value,
              (size_t)1000000, value, (size_t)1000000, value, (size_t)1000000, value,
              (size_t)1000000);
    argv[0] = "MSET";
    len[0] = 4;
    for (size_t i = 0; i < 10001; i++) {
        argv[1 + 2 * i] = value + i % 400;
        len[1 + 2 * i] = 1 + i % 480;
        argv[2 + 2 * i] = "1";
        len[2 + 2 * i] = 1;
    }
    r = redisCommandArgv(c, 1 + 2 * 10001, argv, len);
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_ERROR);
    assert_int_equal(strncmp(r->str, "TOOBIG", 6), 0);
    freeReplyObject(r);
    assert_int_equal(e2e_core_status(core).head, head);
    /* Beyond a command's limit the connection ends, with the reason if the client reads it. */
    r = redisCommand(c, "SET k %b", value, sizeof value);
    assert_true(r == NULL || r->type == REDIS_REPLY_ERROR);
    freeReplyObject(r);
    assert_int_equal(e2e_core_status(core).head, head);
    e2e_disconnect(c);
    all_stands();
    e2e_passed();
}

static void a_line_without_end_is_cut_off(void **state)
{
    static char endless[1u << 20];
    bool closed;

    e2e_begin(state);
    memset(endless, 'x', sizeof endless);
    for (size_t i = 2; i < TARGETS; i++) {
        int fd = reach(&targets[i]);
        int sent = 0;

        assert_true(fd >= 0);
        while (sent < 64 && tcp_send(fd, endless, sizeof endless)) {
            sent++;
        }
        closed = sent < 64;
        close(fd);
        if (!closed) {
            fail_msg("%s took 64 MiB without a line end", targets[i].name);
        }
    }
    all_stands();
    e2e_passed();
}

/* A client that asks for much and reads nothing must not make the daemon hold the answers. */
static void a_client_that_never_reads_is_bounded(void **state)
{
    static char value[1u << 20];
    static const char get[] = "*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n";
    int fd[2];

    e2e_begin(state);
    memset(value, 'v', sizeof value);
    e2e_ok(core, "SET big %b", value, sizeof value);
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    e2e_integer(core, "WAIT 0 0");
    assert_int_equal(e2e_integer(core, "STRLEN big"), sizeof value);
    for (int i = 0; i < 2; i++) {
        fd[i] = reach(&targets[i == 0 ? 2 : 4]);
        for (int k = 0; k < 400; k++) {
            tcp_send(fd[i], get, sizeof get - 1);
        }
    }
    e2e_sleep_ms(500);
    assert_string_equal(e2e_text(edge, "PING"), "PONG");
    assert_in_range(e2e_memory_kib(core_node, "VmHWM"), 1, MEMORY_MAX_KIB);
    assert_in_range(e2e_memory_kib(edge_node, "VmHWM"), 1, MEMORY_MAX_KIB);
    close(fd[0]);
    close(fd[1]);
    assert_int_equal(e2e_integer(core, "DEL big"), 1);
    all_stands();
    e2e_passed();
}

/* ---- floods ---- */

/* From 127.0.0.2, which is another address to the core than the edge's. */
static int reach_from_elsewhere(int port)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002)};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const uint8_t hello[8] = {0, 'S', 'P', 0, 0, SP_REQ, 0, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&from, sizeof from) == 0 &&
        connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && tcp_send(fd, hello, sizeof hello)) {
        return fd;
    }
    close(fd);
    return -1;
}

static void one_address_cannot_take_all_connections(void **state)
{
    int fd[300];
    size_t fds;

    e2e_begin(state);
    for (int i = 0; i < 300; i++) {
        fd[i] = reach_from_elsewhere(core_node->port + 1);
        assert_true(fd[i] >= 0);
        if (i % 32 == 31) {
            e2e_sleep_ms(2);
        }
    }
    /* 64 of them stay. */
    E2E_WAIT(SOON_MS, e2e_fds(core_node) <= core_fds + 64 + FDS_SLACK);
    fds = e2e_fds(core_node);
    assert_true(fds >= core_fds + 32);
    e2e_stop(edge_node, SIGTERM);
    e2e_start(edge_node);
    edge = e2e_connect(edge_node);
    edge_pid = edge_node->pid;
    E2E_WAIT(SOON_MS, e2e_edge_says(edge, "live"));
    for (int i = 0; i < 300; i++) {
        close(fd[i]);
    }
    all_stands();
    e2e_passed();
}

static void clients_beyond_the_limit_are_turned_away(void **state)
{
    int fd[1100];
    int answered = 0;

    e2e_begin(state);
    for (int i = 0; i < 1100; i++) {
        fd[i] = reach(&targets[i % 2 == 0 ? 4 : 5]);
        assert_true(fd[i] >= 0);
    }
    for (int i = 0; i < 1100; i++) {
        char answer[7];

        tcp_send(fd[i], "PING\r\n", 6);
        answered += recv(fd[i], answer, 7, MSG_WAITALL) == 7 && memcmp(answer, "+PONG", 5) == 0;
    }
    assert_in_range(answered, 900, 1024 + 32); /* the unix socket has some of its own */
    assert_true(e2e_fds(edge_node) <= edge_fds + 1024 + 32 + FDS_SLACK);
    assert_string_equal(e2e_text(edge, "PING"), "PONG");
    for (int i = 0; i < 1100; i++) {
        close(fd[i]);
    }
    all_stands();
    e2e_passed();
}

static void thousands_of_abrupt_clients_leave_no_descriptor_behind(void **state)
{
    static const char ping[] = "*1\r\n$4\r\nPING\r\n";

    e2e_begin(state);
    for (size_t i = 0; i < TARGETS; i++) {
        int64_t began = e2e_now_ms();
        int refusals = 0;

        for (int k = 0; k < FLOOD / (E2E_SANITIZED ? 10 : 1); k++) {
            int fd = reach(&targets[i]);

            refusals += fd < 0;
            if (fd < 0) {
                continue;
            }
            if (targets[i].sp_proto == 0) {
                tcp_send(fd, ping, k % 2 == 0 ? sizeof ping - 1 : 5);
            } else if (k % 2 == 0) {
                tcp_send(fd, "\0SP\0\0\x21\0\0", (size_t)(k % 9));
            }
            tcp_reset(fd);
            /* A full backlog would only make this client wait a second for its next SYN. */
            if (k % 32 == 31) {
                e2e_sleep_ms(1);
            }
        }
        print_message("%s: %d connections reset in %lld ms, %d refused\n", targets[i].name, FLOOD,
                      (long long)(e2e_now_ms() - began), refusals);
        all_stands();
    }
    /* Those that are connected stand; those that connect now must get in. */
    e2e_stop(edge_node, SIGTERM);
    e2e_start(edge_node);
    edge = e2e_connect(edge_node);
    edge_pid = edge_node->pid;
    all_stands();
    e2e_passed();
}

/* More requests than may be in flight, and no answer to any of them. */
static void an_import_whose_core_ends_says_so_once(void **state)
{
    char command[sizeof box.bin + 100], text[1000], where[32];
    uint16_t port = 0;
    int listening = tcp_listen(&port, 1);
    const char *said;
    size_t len;
    FILE *f;

    e2e_begin(state);
    snprintf(where, sizeof where, "127.0.0.1:%u", port);
    snprintf(command, sizeof command,
             "seq 6000 | %s/holdfast --host %s import --format lines - 2>&1", box.bin, where);
    f = popen(command, "re");
    assert_non_null(f);
    close(accept(listening, NULL, NULL));
    close(listening);
    len = fread(text, 1, sizeof text - 1, f);
    text[len] = '\0';
    assert_int_not_equal(pclose(f), 0);
    said = strstr(text, where);
    assert_non_null(said);
    assert_null(strstr(said + 1, where));
    assert_non_null(strstr(text, "stopped after 0 keys"));
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_on_every_port_does_nothing),
        cmocka_unit_test(garbage_behind_a_good_handshake_does_nothing),
        cmocka_unit_test(bombs_of_msgpack_are_dropped_unopened),
        cmocka_unit_test(worthless_requests_do_not_use_up_the_control_port),
        cmocka_unit_test(announced_lengths_are_not_believed),
        cmocka_unit_test(transactions_that_are_never_executed_share_one_bound),
        cmocka_unit_test(a_transaction_that_lost_a_command_is_not_applied),
        cmocka_unit_test(one_command_reads_no_more_than_it_may),
        cmocka_unit_test(half_a_message_and_silence_hold_up_nobody),
        cmocka_unit_test(what_is_too_large_is_refused_by_name),
        cmocka_unit_test(a_line_without_end_is_cut_off),
        cmocka_unit_test(a_client_that_never_reads_is_bounded),
        cmocka_unit_test(one_address_cannot_take_all_connections),
        cmocka_unit_test(clients_beyond_the_limit_are_turned_away),
        cmocka_unit_test(thousands_of_abrupt_clients_leave_no_descriptor_behind),
        cmocka_unit_test(an_import_whose_core_ends_says_so_once),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
