/*
 * resp_box.h - a RESP server in a box for tests: real sockets, in one thread with its loop.
 *
 * The commands of the test's own server: PING, ECHO x, ARGC ..., BIG n (a bulk of n bytes), FITS n
 * (the same if it fits), LATER n (deferred until the test ends slot n), SET k v (deferred, ended by
 * on_drained), NIL, MAP, FORGE, QUIT, STOP (closes the server from within a command).
 *
 * The server takes its turns only while a test says or hears something or lets time pass, so
 * nothing happens between two statements. Included by the tests of RESP and of the edge's commands.
 */
#ifndef TEST_RESP_BOX_H
#define TEST_RESP_BOX_H

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

static inline void note_args(struct fixture *f, const struct hf_slice *argv, size_t argc)
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

static inline bool is(struct hf_slice arg, const char *name)
{
    return hf_slice_eq(arg, hf_slice_str(name));
}

static inline uint64_t number(struct hf_slice s)
{
    char text[32] = "";
    memcpy(text, s.data, s.len < 31 ? s.len : 31);
    return strtoull(text, NULL, 10);
}

static inline void reply_big(struct hf_resp_client *c, size_t len)
{
    uint8_t *bytes = malloc(len + 1);
    memset(bytes, 'b', len + 1);
    hf_resp_bulk(c, hf_slice_of(bytes, len));
    free(bytes);
}

static inline void on_command(void *ctx, struct hf_resp_client *c, const struct hf_slice *argv,
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
    } else if (is(argv[0], "FITS") && argc == 2) {
        if (hf_resp_fits(c, number(argv[1]) + 32)) {
            reply_big(c, number(argv[1]));
        }
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

static inline void on_drained(void *ctx)
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

static inline void on_close(void *ctx, struct hf_resp_client *c)
{
    struct fixture *f = ctx;
    f->closes++;
    assert_true(*(int *)hf_resp_user(c) >= 0);
}

static inline struct hf_resp_config config_of(struct fixture *f)
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

static inline void restart_with(struct fixture *f, const struct hf_resp_config *c)
{
    struct hf_error e = {0};
    hf_resp_close(f->server);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(hf_resp_open(&f->loop, c, &f->server, &e), HF_OK);
}

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

static inline void turn_for(struct fixture *f, unsigned ms)
{
    uint64_t end = uv_hrtime() + (uint64_t)ms * 1000000;
    do {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(200);
    } while (uv_hrtime() < end);
}

static inline int dial_unix(struct fixture *f)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    turn_for(f, 2);
    return fd;
}

static inline int dial_tcp(struct fixture *f)
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

static inline void say_bytes(struct fixture *f, int fd, const void *bytes, size_t len)
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

static inline void say(struct fixture *f, int fd, const char *text)
{
    say_bytes(f, fd, text, strlen(text));
    turn_for(f, 2);
}

/* Reads exactly len bytes, or what comes until the peer closes or 2 s pass. */
static inline size_t hear_bytes(struct fixture *f, int fd, char *out, size_t len)
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

static inline void expect(struct fixture *f, int fd, const char *text)
{
    char got[4096] = "";
    size_t len = strlen(text);
    assert_true(len < sizeof(got));
    size_t n = hear_bytes(f, fd, got, len);
    got[n] = '\0';
    assert_string_equal(got, text);
}

static inline void expect_nothing(struct fixture *f, int fd)
{
    char c;
    turn_for(f, 5);
    assert_int_equal(recv(fd, &c, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static inline void expect_closed(struct fixture *f, int fd)
{
    char c;
    size_t n = hear_bytes(f, fd, &c, 1);
    assert_int_equal(n, 0);
    ssize_t r = recv(fd, &c, 1, 0);
    assert_true(r == 0 || (r < 0 && errno != EAGAIN));
}

static inline void end_slot(struct fixture *f, size_t i, const char *text)
{
    struct hf_resp_client *c = hf_resp_slot_begin(f->slot[i]);
    if (c != NULL) {
        hf_resp_simple(c, text);
    }
    hf_resp_slot_end(f->slot[i]);
    f->slot[i] = NULL;
}

static inline struct hf_resp_client *only_client(struct fixture *f)
{
    assert_int_equal(hf_resp_clients(f->server), 1);
    return TAILQ_FIRST(&f->server->clients);
}

#define SERVER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
