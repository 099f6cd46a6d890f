/*
 * test_resp.c - the RESP server over real sockets, in one thread with its loop.
 *
 * The commands of the test's own server: PING, ECHO x, ARGC ..., BIG n (a bulk of n bytes), LATER n
 * (deferred until the test ends slot n), SET k v (deferred, ended by on_drained), NIL, MAP, FORGE,
 * QUIT, STOP (closes the server from within a command).
 *
 * Read next: proto/node/resp_impl.h.
 */
#include "proto/node/resp_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SLOTS 40000u

struct fixture {
    uv_loop_t loop;
    struct hf_resp_server *server;
    char folder[64];
    char path[96];
    struct hf_resp_slot *slot[SLOTS];
    struct hf_resp_slot *drained_slot[1000];
    size_t drained_count;
    size_t drains;
    size_t commands;
    size_t closes;
    char *seen; /* owned; the arguments of the last command, with "|" after each */
    size_t seen_len;
};

static void note_args(struct fixture *f, const struct hf_slice *argv, size_t argc)
{
    size_t need = 1;
    for (size_t i = 0; i < argc; i++) {
        need += argv[i].len + 1;
    }
    f->seen = realloc(f->seen, need);
    f->seen_len = 0;
    for (size_t i = 0; i < argc; i++) {
        memcpy(f->seen + f->seen_len, argv[i].data, argv[i].len);
        f->seen_len += argv[i].len;
        f->seen[f->seen_len++] = '|';
    }
    f->seen[f->seen_len] = '\0';
}

static bool is(struct hf_slice arg, const char *name)
{
    return hf_slice_eq(arg, hf_slice_str(name));
}

static uint64_t number(struct hf_slice s)
{
    char text[32] = "";
    memcpy(text, s.data, s.len < 31 ? s.len : 31);
    return strtoull(text, NULL, 10);
}

static void reply_big(struct hf_resp_client *c, size_t len)
{
    uint8_t *bytes = malloc(len + 1);
    memset(bytes, 'b', len + 1);
    hf_resp_bulk(c, hf_slice_of(bytes, len));
    free(bytes);
}

static void on_command(void *ctx, struct hf_resp_client *c, const struct hf_slice *argv,
                       size_t argc)
{
    struct fixture *f = ctx;
    f->commands++;
    note_args(f, argv, argc);
    (*(int *)hf_resp_user(c))++;
    if (is(argv[0], "PING")) {
        hf_resp_simple(c, "PONG");
    } else if (is(argv[0], "ECHO") && argc == 2) {
        hf_resp_bulk(c, argv[1]);
    } else if (is(argv[0], "ARGC")) {
        hf_resp_integer(c, (int64_t)argc);
    } else if (is(argv[0], "BIG") && argc == 2) {
        reply_big(c, number(argv[1]));
    } else if (is(argv[0], "LATER") && argc == 2) {
        f->slot[number(argv[1])] = hf_resp_defer(c);
    } else if (is(argv[0], "SET")) {
        f->drained_slot[f->drained_count++] = hf_resp_defer(c);
    } else if (is(argv[0], "NIL")) {
        hf_resp_nil(c);
    } else if (is(argv[0], "MAP")) {
        hf_resp_map(c, 1);
        hf_resp_integer(c, -7);
        hf_resp_integer(c, INT64_MIN);
    } else if (is(argv[0], "FORGE")) {
        hf_resp_error(c, "ERR %s", "a\r\n+OK");
    } else if (is(argv[0], "THREE")) {
        hf_resp_set_version(c, 3);
        hf_resp_simple(c, "OK");
    } else if (is(argv[0], "QUIT")) {
        hf_resp_simple(c, "OK");
        hf_resp_quit(c);
    } else if (is(argv[0], "STOP")) {
        hf_resp_close(f->server);
        f->server = NULL;
        hf_resp_simple(c, "OK");
    } else {
        hf_resp_error(c, "ERR unknown");
    }
}

static void on_drained(void *ctx)
{
    struct fixture *f = ctx;
    f->drains++;
    for (size_t i = 0; i < f->drained_count; i++) {
        struct hf_resp_client *c = hf_resp_slot_begin(f->drained_slot[i]);
        if (c != NULL) {
            hf_resp_simple(c, "OK");
        }
        hf_resp_slot_end(f->drained_slot[i]);
    }
    f->drained_count = 0;
}

static void on_close(void *ctx, struct hf_resp_client *c)
{
    struct fixture *f = ctx;
    f->closes++;
    assert_true(*(int *)hf_resp_user(c) >= 0);
}

static struct hf_resp_config config_of(struct fixture *f)
{
    return (struct hf_resp_config){.tcp = "127.0.0.1:0",
                                   .unix_path = f->path,
                                   .command_bytes_max = 8u << 20,
                                   .client_user_bytes = sizeof(int),
                                   .ctx = f,
                                   .on_command = on_command,
                                   .on_drained = on_drained,
                                   .on_close = on_close};
}

static void restart_with(struct fixture *f, const struct hf_resp_config *c)
{
    struct hf_error e = {0};
    hf_resp_close(f->server);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(hf_resp_open(&f->loop, c, &f->server, &e), HF_OK);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->folder, sizeof(f->folder), "/tmp/holdfast-resp-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/s", f->folder);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    struct hf_resp_config c = config_of(f);
    assert_int_equal(hf_resp_open(&f->loop, &c, &f->server, NULL), HF_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    hf_resp_close(f->server);
    for (int i = 0; i < 3; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f->seen);
    unlink(f->path);
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

/* ---- a client ---- */

static void turn_for(struct fixture *f, unsigned ms)
{
    uint64_t end = uv_hrtime() + (uint64_t)ms * 1000000;
    do {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(200);
    } while (uv_hrtime() < end);
}

static int dial_unix(struct fixture *f)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    turn_for(f, 2);
    return fd;
}

static int dial_tcp(struct fixture *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(hf_resp_port(f->server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    turn_for(f, 2);
    return fd;
}

static void say_bytes(struct fixture *f, int fd, const void *bytes, size_t len)
{
    const char *at = bytes;
    for (int tries = 0; len > 0 && tries < 20000; tries++) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(len, 0);
}

static void say(struct fixture *f, int fd, const char *text)
{
    say_bytes(f, fd, text, strlen(text));
    turn_for(f, 2);
}

/* Reads exactly len bytes, or what comes until the peer closes or 2 s pass. */
static size_t hear_bytes(struct fixture *f, int fd, char *out, size_t len)
{
    size_t at = 0;
    uint64_t end = uv_hrtime() + 2000000000u;
    while (at < len && uv_hrtime() < end) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        ssize_t n = recv(fd, out + at, len - at, 0);
        if (n > 0) {
            at += (size_t)n;
        } else if (n == 0 || errno != EAGAIN) {
            break;
        }
    }
    return at;
}

static void expect(struct fixture *f, int fd, const char *text)
{
    char got[4096] = "";
    size_t len = strlen(text);
    assert_true(len < sizeof(got));
    size_t n = hear_bytes(f, fd, got, len);
    got[n] = '\0';
    assert_string_equal(got, text);
}

static void expect_nothing(struct fixture *f, int fd)
{
    char c;
    turn_for(f, 5);
    assert_int_equal(recv(fd, &c, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void expect_closed(struct fixture *f, int fd)
{
    char c;
    size_t n = hear_bytes(f, fd, &c, 1);
    assert_int_equal(n, 0);
    ssize_t r = recv(fd, &c, 1, 0);
    assert_true(r == 0 || (r < 0 && errno != EAGAIN));
}

static void end_slot(struct fixture *f, size_t i, const char *text)
{
    struct hf_resp_client *c = hf_resp_slot_begin(f->slot[i]);
    if (c != NULL) {
        hf_resp_simple(c, text);
    }
    hf_resp_slot_end(f->slot[i]);
    f->slot[i] = NULL;
}

static struct hf_resp_client *only_client(struct fixture *f)
{
    assert_int_equal(hf_resp_clients(f->server), 1);
    return TAILQ_FIRST(&f->server->clients);
}

/* ---- the parser ---- */

/* Feeds bytes in pieces of `step` and prints the commands: "a|b|\n" each, then "BAD text" or
 * "MORE". */
static char *parse_all(const char *bytes, size_t len, size_t step, size_t bytes_max)
{
    struct hf_resp_parser p;
    hf_resp_parser_init(&p, bytes_max);
    char *out = calloc(1, 3 * len + 200);
    uint8_t *data = malloc(len + 1);
    memcpy(data, bytes, len);
    size_t at = 0;
    size_t have = 0;
    enum hf_resp_step last = HF_RESP_MORE;
    while (have < len && last != HF_RESP_BAD) {
        have = have + step < len ? have + step : len;
        size_t used = 0;
        while (at < have) {
            /* A copy of exactly what has arrived, so that a sanitizer sees a look beyond it. */
            uint8_t *now = malloc(have - at);
            memcpy(now, data + at, have - at);
            last = hf_resp_parse(&p, now, have - at, &used);
            for (size_t i = 0; last == HF_RESP_COMMAND && i < p.argc; i++) {
                strncat(out, (char *)now + p.arg[i].offset, p.arg[i].len);
                strcat(out, "|");
            }
            free(now);
            if (last != HF_RESP_COMMAND) {
                break;
            }
            strcat(out, "\n");
            at += used;
        }
    }
    if (last == HF_RESP_BAD) {
        strcat(out, "BAD ");
        strcat(out, p.error);
    } else if (at < have) {
        strcat(out, "MORE");
    }
    hf_resp_parser_deinit(&p);
    free(data);
    return out;
}

static void check_parse(const char *bytes, const char *expected)
{
    for (size_t step = 1; step <= strlen(bytes) + 1; step++) {
        char *got = parse_all(bytes, strlen(bytes), step, 1000);
        assert_string_equal(got, expected);
        free(got);
    }
}

static void commands_come_out_the_same_however_the_bytes_are_cut(void **state)
{
    (void)state;
    check_parse("*1\r\n$4\r\nPING\r\n", "PING|\n");
    check_parse("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
                "SET|k||\nGET|k|\n");
    check_parse("*2\r\n$3\r\nGET\r\n$5\r\na\r\nb\r\r\n", "GET|a\r\nb\r|\n");
    check_parse("PING\r\n\r\n*0\r\n*-1\r\nECHO x\n", "PING|\n\n\n\nECHO|x|\n");
    check_parse("*2\r\n$3\r\nGET\r\n$5\r\nab", "MORE");
}

static void inline_words_are_unquoted_as_redis_does(void **state)
{
    (void)state;
    check_parse("set \"a b\" 'c d'\r\n", "set|a b|c d|\n");
    check_parse("set \"\\x41\\n\\\"\\q\" 'it\\'s \\n'\r\n", "set|A\n\"q|it's \\n|\n");
    check_parse("set \"\" x\r\n", "set||x|\n");
    check_parse("set \"a\r\n", "BAD unbalanced quotes in request");
    check_parse("set 'a'b\r\n", "BAD unbalanced quotes in request");
    check_parse("set \"\\x4\" \"\\xzz\"\n", "set|x4|xzz|\n");
}

static void protocol_errors_are_named(void **state)
{
    (void)state;
    check_parse("*x\r\n", "BAD invalid multibulk length");
    check_parse("*65537\r\n", "BAD invalid multibulk length");
    check_parse("*99999999999999999999\r\n", "BAD invalid multibulk length");
    check_parse("*1\r\n:1\r\n", "BAD expected '$', got ':'");
    check_parse("*1\r\n\x01", "BAD expected '$', got '?'");
    check_parse("*1\r\n$-1\r\n", "BAD invalid bulk length");
    check_parse("*1\r\n$1001\r\n", "BAD invalid bulk length, the command is too large");
    check_parse("*2\r\n$600\r\n", "MORE");
    check_parse("*1\r\n$1\r\nabc", "BAD expected CRLF after a bulk string");
    check_parse("*1\n$4\r\nPING\r\n", "BAD invalid multibulk length");
    check_parse("POST / HTTP/1.1\r\n", "BAD this is not an HTTP port");
    check_parse("host: x\r\n", "BAD this is not an HTTP port");
}

static void the_limit_is_of_all_arguments_together(void **state)
{
    (void)state;
    const char *bytes = "*2\r\n$6\r\nabcdef\r\n$5\r\n";
    char *got = parse_all(bytes, strlen(bytes), 100, 10);
    assert_string_equal(got, "BAD invalid bulk length, the command is too large");
    free(got);
    got = parse_all(bytes, strlen(bytes), 100, 11);
    assert_string_equal(got, "MORE");
    free(got);
}

static void an_announced_count_allocates_nothing(void **state)
{
    (void)state;
    struct hf_resp_parser p;
    uint8_t bytes[] = "*65536\r\n$3\r\n";
    size_t used = 0;
    hf_resp_parser_init(&p, 1u << 20);
    assert_int_equal(hf_resp_parse(&p, bytes, sizeof(bytes) - 1, &used), HF_RESP_MORE);
    assert_int_equal(p.arg_cap, 0);
    hf_resp_parser_deinit(&p);
}

static void an_inline_command_ends_at_64_kib(void **state)
{
    (void)state;
    struct hf_resp_parser p;
    size_t used = 0;
    uint8_t *bytes = malloc(HF_RESP_INLINE_MAX + 1);
    memset(bytes, 'x', HF_RESP_INLINE_MAX + 1);
    hf_resp_parser_init(&p, 1u << 20);
    assert_int_equal(hf_resp_parse(&p, bytes, HF_RESP_INLINE_MAX - 1, &used), HF_RESP_MORE);
    assert_int_equal(hf_resp_parse(&p, bytes, HF_RESP_INLINE_MAX + 1, &used), HF_RESP_BAD);
    assert_string_equal(p.error, "too big inline request");
    hf_resp_parser_deinit(&p);
    free(bytes);
}

/* ---- replies ---- */

static void every_kind_of_reply_is_encoded(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    say(f, fd, "PING\r\nECHO abc\r\nECHO \"\"\r\nARGC 1 2\r\nNIL\r\nMAP\r\nFORGE\r\n");
    expect(f, fd, "+PONG\r\n$3\r\nabc\r\n$0\r\n\r\n:3\r\n$-1\r\n");
    expect(f, fd, "*2\r\n:-7\r\n:-9223372036854775808\r\n-ERR a  +OK\r\n");
    say(f, fd, "THREE\r\nNIL\r\nMAP\r\n");
    expect(f, fd, "+OK\r\n_\r\n%1\r\n:-7\r\n:-9223372036854775808\r\n");
    close(fd);
}

static void tcp_and_unix_clients_are_served_alike(void **state)
{
    struct fixture *f = *state;
    int a = dial_tcp(f);
    int b = dial_unix(f);
    assert_int_equal(hf_resp_clients(f->server), 2);
    assert_false(hf_resp_is_unix(TAILQ_FIRST(&f->server->clients)));
    assert_true(hf_resp_is_unix(TAILQ_LAST(&f->server->clients, hf_resp_client_list)));
    say(f, a, "*2\r\n$4\r\nECHO\r\n$1\r\na\r\n");
    say(f, b, "*2\r\n$4\r\nECHO\r\n$1\r\nb\r\n");
    expect(f, a, "$1\r\na\r\n");
    expect(f, b, "$1\r\nb\r\n");
    close(a);
    close(b);
    turn_for(f, 5);
    assert_int_equal(hf_resp_clients(f->server), 0);
    assert_int_equal(f->closes, 2);
}

static void replies_keep_the_order_of_commands_when_slots_end_backwards(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    say(f, fd, "LATER 0\r\nPING\r\nLATER 1\r\n");
    expect_nothing(f, fd);
    end_slot(f, 1, "C");
    expect_nothing(f, fd);
    end_slot(f, 0, "A");
    expect(f, fd, "+A\r\n+PONG\r\n+C\r\n");
    say(f, fd, "PING\r\nLATER 0\r\nPING\r\nPING\r\n");
    expect(f, fd, "+PONG\r\n");
    expect_nothing(f, fd);
    end_slot(f, 0, "A");
    expect(f, fd, "+A\r\n+PONG\r\n+PONG\r\n");
    close(fd);
}

static void texts_between_slots_are_one_piece(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    say(f, fd, "LATER 0\r\n");
    for (int i = 0; i < 100; i++) {
        say_bytes(f, fd, "PING\r\n", 6);
    }
    say(f, fd, "LATER 1\r\nPING\r\n");
    size_t pieces = 0;
    for (struct hf_resp_slot *p = only_client(f)->head; p != NULL; p = p->next) {
        pieces++;
    }
    assert_int_equal(pieces, 4);
    end_slot(f, 0, "A");
    end_slot(f, 1, "B");
    expect(f, fd, "+A\r\n+PONG\r\n");
    close(fd);
}

/* A model beside the server: what each command must answer is known when it is sent. */
static void any_order_of_ends_keeps_the_order_of_replies(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    srandom(7);
    for (int round = 0; round < 60; round++) {
        char commands[8192] = "";
        char expected[8192] = "";
        size_t open[200];
        size_t count = 0;
        for (size_t i = 0; i < 150; i++) {
            char line[32];
            bool later = random() % 2 == 0;
            snprintf(line, sizeof(line), later ? "LATER %zu\r\n" : "ECHO %03zu\r\n", i);
            strcat(commands, line);
            snprintf(line, sizeof(line), later ? "+%zu\r\n" : "$3\r\n%03zu\r\n", i);
            strcat(expected, line);
            if (later) {
                open[count++] = i;
            }
        }
        say_bytes(f, fd, commands, strlen(commands));
        turn_for(f, 1);
        while (count > 0) {
            size_t pick = (size_t)random() % count;
            char text[16];
            snprintf(text, sizeof(text), "%zu", open[pick]);
            end_slot(f, open[pick], text);
            open[pick] = open[--count];
            if (random() % 10 == 0) {
                uv_run(&f->loop, UV_RUN_NOWAIT);
            }
        }
        char got[8192] = "";
        got[hear_bytes(f, fd, got, strlen(expected))] = '\0';
        assert_string_equal(got, expected);
    }
    assert_int_equal(only_client(f)->queued_bytes, 0);
    assert_int_equal(only_client(f)->slot_count, 0);
    assert_int_equal(f->server->live_slot_count, 0);
    close(fd);
}

static void a_slot_may_hold_a_large_reply(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    say(f, fd, "LATER 0\r\nPING\r\n");
    struct hf_resp_client *c = hf_resp_slot_begin(f->slot[0]);
    hf_resp_array(c, 2);
    reply_big(c, 3u << 20);
    hf_resp_integer(c, 5);
    hf_resp_slot_end(f->slot[0]);
    size_t len = 4 + 10 + (3u << 20) + 2 + 4 + 7;
    char *got = malloc(len);
    assert_int_equal(hear_bytes(f, fd, got, len), len);
    assert_memory_equal(got, "*2\r\n$3145728\r\nbbb", 17);
    assert_memory_equal(got + len - 14, "b\r\n:5\r\n+PONG\r\n", 14);
    free(got);
    expect_nothing(f, fd);
    close(fd);
}

static void drained_is_called_once_after_all_commands_of_a_turn(void **state)
{
    struct fixture *f = *state;
    int a = dial_unix(f);
    int b = dial_unix(f);
    char window[4096] = "";
    char answers[1024] = "";
    for (int i = 0; i < 100; i++) {
        strcat(window, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n");
        strcat(answers, "+OK\r\n");
    }
    assert_int_equal(send(a, window, strlen(window), 0), strlen(window));
    assert_int_equal(send(b, window, strlen(window), 0), strlen(window));
    size_t before = f->drains;
    turn_for(f, 5);
    assert_int_equal(f->commands, 200);
    assert_int_equal(f->drains, before + 1);
    expect(f, a, answers);
    expect(f, b, answers);
    close(a);
    close(b);
}

static void a_slot_outlives_its_client(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    say(f, fd, "LATER 0\r\nPING\r\nLATER 1\r\n");
    end_slot(f, 1, "x");
    struct hf_resp_client *c = only_client(f);
    assert_ptr_equal(hf_resp_slot_client(f->slot[0]), c);
    hf_resp_client_close(c);
    turn_for(f, 2);
    assert_null(hf_resp_slot_client(f->slot[0]));
    assert_null(hf_resp_slot_begin(f->slot[0]));
    hf_resp_slot_end(f->slot[0]);
    assert_int_equal(f->server->live_slot_count, 0);
    expect_closed(f, fd);
    close(fd);
}

static void a_slot_outlives_the_server(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    say(f, fd, "LATER 0\r\nLATER 1\r\n");
    hf_resp_close(f->server);
    f->server = NULL;
    assert_int_equal(f->closes, 1);
    turn_for(f, 5);
    end_slot(f, 0, "x");
    end_slot(f, 1, "x"); /* frees the server: the sanitizer's leak check is the assertion */
    close(fd);
}

static void the_server_may_be_closed_by_a_command(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    say(f, fd, "PING\r\nSTOP\r\nPING\r\n");
    turn_for(f, 5);
    assert_int_equal(f->commands, 2);
    assert_int_equal(f->closes, 1);
    close(fd);
}

/* ---- bounds ---- */

static void a_large_command_grows_the_buffer_and_idleness_gives_it_back(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    size_t len = 5u << 20;
    char *value = malloc(len);
    memset(value, 'v', len);
    say_bytes(f, fd, "*2\r\n$4\r\nARGC\r\n$5242880\r\n", 24);
    say_bytes(f, fd, value, len);
    assert_true(only_client(f)->in.cap >= len - HF_RESP_READ_BYTES);
    assert_true(only_client(f)->in.cap <= 4 * len);
    say(f, fd, "\r\nPING\r\n");
    expect(f, fd, ":2\r\n+PONG\r\n");
    assert_memory_equal(f->seen, "PING|", 5);
    turn_for(f, 1200);
    assert_int_equal(only_client(f)->in.cap, 0);
    free(value);
    close(fd);
}

static void half_a_frame_and_silence_hold_little_memory(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    say(f, fd, "*65536\r\n$8000000\r\nabc");
    turn_for(f, 10);
    assert_true(only_client(f)->in.cap <= 32768);
    assert_int_equal(only_client(f)->parser.arg_cap, 0);
    close(fd);
}

static void half_commands_of_all_clients_share_one_bound(void **state)
{
    enum { CLIENTS = 24 };
    struct fixture *f = *state;
    struct hf_resp_config c = config_of(f);
    c.command_bytes_max = 1u << 20;
    c.input_bytes_max = 4u << 20;
    restart_with(f, &c);
    size_t len = 400u << 10;
    char *half = malloc(len);
    int fd[CLIENTS];
    memset(half, 'v', len);
    memcpy(half, "*2\r\n$4\r\nARGC\r\n$1000000\r\n", 24);
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = dial_unix(f);
        say_bytes(f, fd[i], half, len);
        assert_true(f->server->input_bytes <= 2 * c.input_bytes_max);
    }
    uint32_t left = hf_resp_clients(f->server);
    assert_true(left >= 4 && left < CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        close(fd[i]);
    }
    turn_for(f, 50);
    assert_int_equal(f->server->input_bytes, 0);
    free(half);
}

static void a_protocol_error_is_answered_in_order_and_closes(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    say(f, fd, "LATER 0\r\n*1\r\n!\r\nPING\r\n");
    expect_nothing(f, fd);
    end_slot(f, 0, "A");
    expect(f, fd, "+A\r\n-ERR Protocol error: expected '$', got '!'\r\n");
    expect_closed(f, fd);
    assert_int_equal(f->commands, 1);
    assert_int_equal(f->closes, 1);
    close(fd);
}

static void quit_sends_what_is_queued_and_ignores_the_rest(void **state)
{
    struct fixture *f = *state;
    int fd = dial_tcp(f);
    say(f, fd, "LATER 0\r\nQUIT\r\nPING\r\n");
    end_slot(f, 0, "A");
    expect(f, fd, "+A\r\n+OK\r\n");
    expect_closed(f, fd);
    assert_int_equal(f->commands, 2);
    close(fd);
}

static void a_client_that_shuts_down_its_side_gets_its_deferred_replies(void **state)
{
    struct fixture *f = *state;
    int fd = dial_tcp(f);
    say(f, fd, "LATER 0\r\nPING\r\n");
    shutdown(fd, SHUT_WR);
    turn_for(f, 10);
    end_slot(f, 0, "A");
    expect(f, fd, "+A\r\n+PONG\r\n");
    expect_closed(f, fd);
    close(fd);
}

static void a_client_that_does_not_read_is_not_read_from(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    size_t n = 2000;
    size_t reply = strlen("$10000\r\n") + 10000 + 2;
    char *commands = malloc(n * 11 + 1);
    for (size_t i = 0; i < n; i++) {
        memcpy(commands + i * 11, "BIG 10000\r\n", 12);
    }
    say_bytes(f, fd, commands, n * 11);
    free(commands);
    turn_for(f, 50);
    assert_true(f->commands < n / 2);
    assert_true(only_client(f)->queued_bytes <= HF_RESP_PAUSE_BYTES + 2 * reply);
    char *got = malloc(n * reply);
    assert_int_equal(hear_bytes(f, fd, got, n * reply), n * reply);
    assert_int_equal(f->commands, n);
    assert_memory_equal(got + (n - 1) * reply, "$10000\r\nbb", 10);
    free(got);
    say(f, fd, "PING\r\n");
    expect(f, fd, "+PONG\r\n");
    assert_int_equal(only_client(f)->queued_bytes, 0);
    close(fd);
}

static void too_many_deferred_replies_pause_and_then_go_on(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    size_t n = HF_RESP_SLOTS_MAX + 500;
    char *commands = malloc(n * 16);
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        len += (size_t)sprintf(commands + len, "LATER %zu\r\n", i);
    }
    say_bytes(f, fd, commands, len);
    free(commands);
    turn_for(f, 5);
    assert_int_equal(f->commands, HF_RESP_SLOTS_MAX);
    for (size_t i = 0; i < HF_RESP_SLOTS_MAX; i++) {
        end_slot(f, i, "OK");
    }
    turn_for(f, 5);
    assert_int_equal(f->commands, n);
    for (size_t i = HF_RESP_SLOTS_MAX; i < n; i++) {
        end_slot(f, i, "OK");
    }
    char *got = malloc(n * 5);
    assert_int_equal(hear_bytes(f, fd, got, n * 5), n * 5);
    free(got);
    close(fd);
}

static void a_client_over_its_output_limit_is_closed(void **state)
{
    struct fixture *f = *state;
    struct hf_resp_config c = config_of(f);
    c.output_bytes_max = 2u << 20;
    restart_with(f, &c);
    int fd = dial_unix(f);
    say(f, fd, "BIG 3000000\r\n");
    turn_for(f, 5);
    assert_int_equal(hf_resp_clients(f->server), 0);
    assert_int_equal(f->closes, 1);
    close(fd);
}

static void a_stuck_client_is_closed_and_a_slow_one_is_not(void **state)
{
    struct fixture *f = *state;
    struct hf_resp_config c = config_of(f);
    c.stuck_ms_max = 120;
    restart_with(f, &c);
    int stuck = dial_unix(f);
    int slow = dial_unix(f);
    say(f, stuck, "BIG 3000000\r\n");
    say(f, slow, "BIG 3000000\r\n");
    char *sip = malloc(100000);
    for (int i = 0; i < 15; i++) {
        turn_for(f, 20);
        assert_true(recv(slow, sip, 100000, 0) > 0);
    }
    free(sip);
    assert_int_equal(hf_resp_clients(f->server), 1);
    close(stuck);
    close(slow);
}

static void writing_to_a_closed_peer_ends_the_client_only(void **state)
{
    struct fixture *f = *state;
    int fd = dial_unix(f);
    say(f, fd, "LATER 0\r\nLATER 1\r\n");
    int other = dial_unix(f);
    close(fd);
    end_slot(f, 0, "x");
    turn_for(f, 5);
    end_slot(f, 1, "x");
    turn_for(f, 5);
    assert_int_equal(hf_resp_clients(f->server), 1);
    say(f, other, "PING\r\n");
    expect(f, other, "+PONG\r\n");
    close(other);
}

static void one_client_too_many_is_told_so(void **state)
{
    struct fixture *f = *state;
    struct hf_resp_config c = config_of(f);
    c.clients_max = 1;
    restart_with(f, &c);
    int a = dial_unix(f);
    int b = dial_unix(f);
    expect(f, b, "-ERR max number of clients reached\r\n");
    expect_closed(f, b);
    close(a);
    turn_for(f, 5);
    close(b);
    b = dial_tcp(f);
    say(f, b, "PING\r\n");
    expect(f, b, "+PONG\r\n");
    close(b);
}

static void accepting_rests_while_descriptors_are_lacking(void **state)
{
    struct fixture *f = *state;
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct rlimit none = {.rlim_cur = (rlim_t)fd + 1, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    uint64_t end = uv_hrtime() + 350000000u;
    size_t turns = 0;
    while (uv_hrtime() < end) {
        uv_run(&f->loop, UV_RUN_ONCE);
        turns++;
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_true(turns < 20);
    assert_int_equal(hf_resp_clients(f->server), 0);
    turn_for(f, 150);
    say(f, fd, "PING\r\n");
    expect(f, fd, "+PONG\r\n");
    close(fd);
}

/* ---- listening ---- */

static enum hf_err try_open(struct fixture *f, const char *tcp, const char *path,
                            struct hf_error *e)
{
    struct hf_resp_config c = config_of(f);
    struct hf_resp_server *s = NULL;
    c.tcp = tcp;
    c.unix_path = path;
    enum hf_err rc = hf_resp_open(&f->loop, &c, &s, e);
    hf_resp_close(s);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    return rc;
}

static void the_unix_socket_is_private_and_removed_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    hf_resp_close(f->server);
    f->server = NULL;
    assert_int_equal(stat(f->path, &st), -1);
}

static void a_stale_socket_is_replaced_a_live_one_and_a_file_are_not(void **state)
{
    struct fixture *f = *state;
    struct hf_error e = {0};
    assert_int_equal(try_open(f, NULL, f->path, &e), HF_LOCKED);
    assert_non_null(strstr(e.text, "another process listens"));
    hf_resp_close(f->server);
    f->server = NULL;
    turn_for(f, 1);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    close(fd);
    assert_int_equal(try_open(f, NULL, f->path, &e), HF_OK);
    fd = open(f->path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(try_open(f, NULL, f->path, &e), HF_EXISTS);
    assert_int_equal(access(f->path, F_OK), 0);
}

static void bad_addresses_are_refused_with_a_reason(void **state)
{
    struct fixture *f = *state;
    struct hf_error e = {0};
    char path[300];
    memset(path, 'x', sizeof(path));
    path[299] = '\0';
    assert_int_equal(try_open(f, NULL, path, &e), HF_ARG);
    assert_non_null(strstr(e.text, "1 to 107 bytes"));
    assert_int_equal(try_open(f, "nonsense", NULL, &e), HF_ARG);
    assert_int_equal(try_open(f, "example.org:1", NULL, &e), HF_ARG);
    assert_int_equal(try_open(f, "127.0.0.1:70000", NULL, &e), HF_ARG);
    assert_int_equal(try_open(f, "127.0.0.1:", NULL, &e), HF_ARG);
    char taken[32];
    snprintf(taken, sizeof(taken), "127.0.0.1:%u", hf_resp_port(f->server));
    assert_int_equal(try_open(f, taken, NULL, &e), HF_LOCKED);
    assert_int_equal(try_open(f, "[::1]:0", NULL, &e), HF_OK);
}

#define SERVER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_come_out_the_same_however_the_bytes_are_cut),
        cmocka_unit_test(inline_words_are_unquoted_as_redis_does),
        cmocka_unit_test(protocol_errors_are_named),
        cmocka_unit_test(the_limit_is_of_all_arguments_together),
        cmocka_unit_test(an_announced_count_allocates_nothing),
        cmocka_unit_test(an_inline_command_ends_at_64_kib),
        SERVER_TEST(every_kind_of_reply_is_encoded),
        SERVER_TEST(tcp_and_unix_clients_are_served_alike),
        SERVER_TEST(replies_keep_the_order_of_commands_when_slots_end_backwards),
        SERVER_TEST(texts_between_slots_are_one_piece),
        SERVER_TEST(any_order_of_ends_keeps_the_order_of_replies),
        SERVER_TEST(a_slot_may_hold_a_large_reply),
        SERVER_TEST(drained_is_called_once_after_all_commands_of_a_turn),
        SERVER_TEST(a_slot_outlives_its_client),
        SERVER_TEST(a_slot_outlives_the_server),
        SERVER_TEST(the_server_may_be_closed_by_a_command),
        SERVER_TEST(a_large_command_grows_the_buffer_and_idleness_gives_it_back),
        SERVER_TEST(half_a_frame_and_silence_hold_little_memory),
        SERVER_TEST(half_commands_of_all_clients_share_one_bound),
        SERVER_TEST(a_protocol_error_is_answered_in_order_and_closes),
        SERVER_TEST(quit_sends_what_is_queued_and_ignores_the_rest),
        SERVER_TEST(a_client_that_shuts_down_its_side_gets_its_deferred_replies),
        SERVER_TEST(a_client_that_does_not_read_is_not_read_from),
        SERVER_TEST(too_many_deferred_replies_pause_and_then_go_on),
        SERVER_TEST(a_client_over_its_output_limit_is_closed),
        SERVER_TEST(a_stuck_client_is_closed_and_a_slow_one_is_not),
        SERVER_TEST(writing_to_a_closed_peer_ends_the_client_only),
        SERVER_TEST(one_client_too_many_is_told_so),
        SERVER_TEST(accepting_rests_while_descriptors_are_lacking),
        SERVER_TEST(the_unix_socket_is_private_and_removed_at_the_end),
        SERVER_TEST(a_stale_socket_is_replaced_a_live_one_and_a_file_are_not),
        SERVER_TEST(bad_addresses_are_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
