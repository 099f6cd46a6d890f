/*
 * test_reach.c - the reason that is given for each way in which a core may not be there.
 *
 * The listeners are sockets of the test on loopback; time is real, and short.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hf/reach.h"

#include "tests/raw_tcp.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#define FIRST_MS 20
#define PAUSE_MS 200
#define PATIENCE_MS 3000u

/* hf_url_control: the control port is the one above the stream's. */
struct fixture {
    uv_loop_t loop;
    struct hf_reach *reach;
    uint32_t told;
    char reason[400];
    int listening; /* at the control port */
    uint16_t port; /* of the stream */
};

static void on_reason(void *ctx, const char *reason)
{
    struct fixture *f = ctx;
    f->told++;
    snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static void begin_at(struct fixture *f, const char *url)
{
    struct hf_reach_config c = {.core_url = url,
                                .ctx = f,
                                .on_reason = on_reason,
                                .first_ms = FIRST_MS,
                                .pause_ms = PAUSE_MS};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(hf_reach_new(&f->loop, &c, &f->reach), HF_OK);
    assert_string_equal(hf_reach_reason(f->reach), "");
}

/* They live to the end, as the loops that they are part of do. */
static struct fixture *fixture_new(void)
{
    static struct fixture all[8];
    static size_t count;
    assert_true(count < sizeof(all) / sizeof(all[0]));
    return &all[count++];
}

static struct fixture *begin(void)
{
    struct fixture *f = fixture_new();
    uint16_t control = 0;
    f->listening = tcp_listen(&control, 5);
    assert_int_equal(fcntl(f->listening, F_SETFL, O_NONBLOCK), 0);
    f->port = (uint16_t)(control - 1);
    return f;
}

static void start(struct fixture *f)
{
    char url[64];
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", f->port);
    begin_at(f, url);
}

static void run_until(struct fixture *f, uint32_t told, uint64_t ms)
{
    uint64_t until = uv_hrtime() / 1000000 + ms;
    while (f->told < told && uv_hrtime() / 1000000 < until) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void assert_told(struct fixture *f, const char *part)
{
    run_until(f, 1, PATIENCE_MS);
    assert_int_equal(f->told, 1);
    if (strstr(f->reason, part) == NULL) {
        fail_msg("'%s' does not say '%s'", f->reason, part);
    }
    assert_string_equal(hf_reach_reason(f->reach), f->reason);
}

static void greet(struct fixture *f, const void *bytes, size_t len)
{
    int fd = -1;
    for (uint64_t i = 0; i < PATIENCE_MS && fd < 0; i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        fd = accept4(f->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        usleep(1000);
    }
    assert_true(fd >= 0);
    assert_true(tcp_send(fd, bytes, len));
    shutdown(fd, SHUT_WR);
    run_until(f, 1, PAUSE_MS / 2);
    close(fd);
}

static void a_closed_port_is_named_with_its_reason(void **state)
{
    (void)state;
    struct fixture *f = begin();
    char url[64];
    close(f->listening);
    start(f);
    assert_told(f, "connection refused");
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%d: ", f->port + 1);
    assert_memory_equal(f->reason, url, strlen(url));
    run_until(f, 2, 3 * PAUSE_MS); /* said once, though it is looked at again */
    assert_int_equal(f->told, 1);
}

/* As behind a name with two addresses. */
static void reasons_that_come_in_turns_are_told_once_each(void **state)
{
    (void)state;
    struct fixture *f = begin();
    close(f->listening);
    start(f);
    assert_told(f, "connection refused");
    uint16_t control = (uint16_t)(f->port + 1);
    f->listening = tcp_listen(&control, 5);
    run_until(f, 2, PATIENCE_MS);
    assert_int_equal(f->told, 2);
    assert_non_null(strstr(f->reason, "no answer"));
    close(f->listening);
    run_until(f, 3, 3 * PAUSE_MS);
    assert_int_equal(f->told, 2);
    assert_non_null(strstr(hf_reach_reason(f->reach), "connection refused"));
}

static void a_name_that_nobody_has_is_named(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    char url[128] = "tcp://";
    memset(url + strlen(url), 'x', 70); /* longer than a label may be: no server is asked */
    strcat(url, ".invalid:7410");
    begin_at(f, url);
    assert_told(f, "unknown node or service");
}

static void silence_is_told_from_a_refusal(void **state)
{
    (void)state;
    struct fixture *f = begin();
    start(f); /* the kernel accepts for it */
    assert_told(f, "no answer");
    close(f->listening);
}

static void what_is_no_core_is_told(void **state)
{
    static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    static const uint8_t stream[] = {0, 'S', 'P', 0, 0, SP_PUB, 0, 0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct fixture *f = begin();
        start(f);
        switch (i) {
        case 0:
            greet(f, http, sizeof(http) - 1);
            break;
        case 1:
            greet(f, stream, sizeof(stream));
            break; /* --core names the control port */
        default:
            greet(f, "", 0);
            break;
        }
        assert_told(f, i < 2 ? "no holdfast core" : "turns this edge away");
        close(f->listening);
    }
}

static void a_core_that_greets_is_no_reason_and_a_link_takes_it_back(void **state)
{
    static const uint8_t control[] = {0, 'S', 'P', 0, 0, SP_REP, 0, 0};
    (void)state;
    struct fixture *f = begin();
    start(f);
    greet(f, control, sizeof(control));
    assert_int_equal(f->told, 0);
    close(f->listening);
    assert_told(f, "connection refused"); /* it went */
    hf_reach_link(f->reach, HF_CHANNEL_CONTROL, true);
    assert_string_equal(hf_reach_reason(f->reach), "");
    f->told = 0;
    assert_told(f, "connection refused"); /* the stream */
    hf_reach_link(f->reach, HF_CHANNEL_STREAM, true);
    assert_string_equal(hf_reach_reason(f->reach), "");
    f->told = 0;
    run_until(f, 1, 3 * PAUSE_MS);
    assert_int_equal(f->told, 0);
    hf_reach_link(f->reach, HF_CHANNEL_CONTROL, false);
    assert_told(f, "connection refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_port_is_named_with_its_reason),
        cmocka_unit_test(reasons_that_come_in_turns_are_told_once_each),
        cmocka_unit_test(a_name_that_nobody_has_is_named),
        cmocka_unit_test(silence_is_told_from_a_refusal),
        cmocka_unit_test(what_is_no_core_is_told),
        cmocka_unit_test(a_core_that_greets_is_no_reason_and_a_link_takes_it_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
