/*
 * test_transport.c - the transport over loopback, with real sockets and nng's real threads.
 *
 * Opening and ports, the stream, requests and their replies. Each test opens a core's listener on a
 * free pair of ports and edges that dial it. Caps and guards are in test_transport_guards.c; the
 * faults of nng, which can wedge a whole process, in tests/e2e/test_transport_faults.c.
 */
#include "tests/unit/transport_peers.h"

/* ---- URLs and opening ---- */

static void control_url_is_the_next_port(void **state)
{
    char out[64];

    (void)state;
    assert_int_equal(hf_url_control("tcp://127.0.0.1:7410", out, sizeof(out)), HF_OK);
    assert_string_equal(out, "tcp://127.0.0.1:7411");
    assert_int_equal(hf_url_control("tcp://[::1]:7410", out, sizeof(out)), HF_OK);
    assert_string_equal(out, "tcp://[::1]:7411");
    assert_int_equal(hf_url_control("tcp://core.example:99", out, sizeof(out)), HF_OK);
    assert_string_equal(out, "tcp://core.example:100");
}

static void tls_is_refused_with_a_sentence(void **state)
{
    struct hf_dialer_config dial = {.stream_url = "tls+tcp://127.0.0.1:7410",
                                    .control_url = "tls+tcp://127.0.0.1:7411"};
    struct hf_listener_config listen = {.stream_url = "tls+tcp://127.0.0.1:0"};
    struct hf_listener *l;
    struct hf_dialer *d;
    struct hf_error e;

    (void)state;
    assert_int_equal(hf_dialer_open(&loop, &dial, &d, &e), HF_ARG);
    assert_non_null(strstr(e.text, "TLS is not supported"));
    assert_int_equal(hf_listener_open(&loop, &listen, &l, &e), HF_ARG);
    assert_non_null(strstr(e.text, "TLS is not supported"));
    assert_int_equal(hf_url_check("tcp://127.0.0.1:0", &e), HF_OK);
}

static void urls_without_a_usable_port_are_refused(void **state)
{
    static const char *const bad[] = {
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65535",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1",
        "tcp://[::1]",
        "tcp://127.0.0.1:",
        "ipc:///tmp/x:1",
        "tcp://127.0.0.1:12x",
        "tcp://a:123456",
        "tls+tcp://127.0.0.1:7410",
        "",
    };
    char out[64];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(hf_url_control(bad[i], out, sizeof(out)), HF_ARG);
    }
    assert_int_equal(hf_url_control("tcp://127.0.0.1:7410", out, 20), HF_TOO_BIG);
}

static void port_zero_finds_a_free_pair(void **state)
{
    struct core c;
    int stream;
    int control;

    (void)state;
    core_open(&c, "tcp://127.0.0.1:0", 0, 0);
    assert_true(hf_listener_port(c.listener) > 0);
    stream = raw_connect(hf_listener_port(c.listener));
    control = raw_connect((uint16_t)(hf_listener_port(c.listener) + 1));
    close(stream);
    close(control);
    hf_listener_close(c.listener);
    run_for(10);
}

static void a_taken_port_is_named(void **state)
{
    uint16_t port;
    uint16_t above;
    int fd;
    char url[64];
    char expected[64];
    struct hf_error err;
    struct hf_listener *l = NULL;
    struct hf_listener_config config = {.stream_url = url, .on_request = on_request};

    (void)state;
    fd = raw_listen_above_free(&port);
    above = (uint16_t)(port + 1);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    snprintf(expected, sizeof(expected), "127.0.0.1:%u: the port is in use", above);
    assert_int_equal(hf_listener_open(&loop, &config, &l, &err), HF_LOCKED);
    assert_non_null(strstr(err.text, expected));
    run_for(50);
    /* The first port, which was free, is free again. */
    close(raw_listen(&port));
    close(fd);
}

static void a_core_opens_again_on_its_port(void **state)
{
    struct core c;
    struct edge e;
    char url[64];

    (void)state;
    pair_open(&c, &e, 0, 1);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", hf_listener_port(c.listener));
    hf_listener_close(c.listener);
    assert_true(run_until(&e.downs[HF_CHANNEL_STREAM], 1, 3000));
    assert_true(run_until(&e.downs[HF_CHANNEL_CONTROL], 1, 3000));
    core_open(&c, url, 0, 0);
    assert_true(run_until(&e.ups[HF_CHANNEL_STREAM], 2, 5000));
    assert_true(run_until(&e.ups[HF_CHANNEL_CONTROL], 2, 5000));
    request(&e, 1, "again", 2000);
    assert_true(run_until(&e.replies, 1, 3000));
    assert_string_equal(e.reply, "again");
    pair_close(&c, &e);
}

/* ---- the stream ---- */

static void only_subscribed_prefixes_are_delivered(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 1);
    assert_int_equal(hf_dialer_subscribe(e.dialer, hf_slice_str("aa")), HF_OK);
    publish_until_heard(&c, &e, "aa-first");
    assert_string_equal(e.last, "aa-first");
    run_for(50);
    e.messages = 0;
    hf_listener_publish(c.listener, hf_slice_str("bb-other"));
    hf_listener_publish(c.listener, hf_slice_str("aa-second"));
    assert_true(run_until(&e.messages, 1, 2000));
    run_for(50);
    assert_int_equal(e.messages, 1);
    assert_string_equal(e.last, "aa-second");
    pair_close(&c, &e);
}

static void a_message_of_the_largest_size_arrives(void **state)
{
    static uint8_t big[HF_MESSAGE_MAX];
    struct core c;
    struct edge e;

    (void)state;
    memset(big, 'x', sizeof(big));
    pair_open(&c, &e, 0, 1);
    hf_dialer_subscribe(e.dialer, hf_slice_of(NULL, 0));
    publish_until_heard(&c, &e, "small");
    hf_listener_publish(c.listener, hf_slice_of(big, sizeof(big)));
    run_for(200);
    assert_int_equal(e.last_len, sizeof(big));
    assert_int_equal(hf_dialer_request(e.dialer, 1, hf_slice_of(big, sizeof(big)), 2000), HF_OK);
    assert_true(run_until(&e.replies, 1, 3000));
    assert_int_equal(e.failures, 0);
    assert_int_equal(hf_dialer_request(e.dialer, 2, hf_slice_of(big, sizeof(big) + 1), 2000),
                     HF_TOO_BIG);
    pair_close(&c, &e);
}

static void a_late_loop_loses_stream_messages_but_counts_them(void **state)
{
    struct hf_dialer_counts counts;
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 1);
    hf_dialer_subscribe(e.dialer, hf_slice_of(NULL, 0));
    publish_until_heard(&c, &e, "first");
    run_for(50);
    e.messages = 0;
    /* The loop does not run here, nng's threads do. */
    for (int i = 0; i < 6000; i++) {
        hf_listener_publish(c.listener, hf_slice_str("many"));
        if (i % 100 == 99) {
            usleep(2000);
        }
    }
    usleep(100000);
    run_for(200);
    hf_dialer_counts(e.dialer, &counts);
    assert_int_equal(e.messages, 4096);
    assert_true(counts.dropped > 0 && counts.dropped <= 6000 - 4096);
    pair_close(&c, &e);
}

static void an_ipv6_core_is_reached(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    core_open(&c, "tcp://[::1]:0", 0, 0);
    edge_dial(&e, "[::1]", hf_listener_port(c.listener), 1);
    edge_wait_up(&e);
    request(&e, 1, "six", 2000);
    assert_true(run_until(&e.replies, 1, 3000));
    assert_string_equal(e.reply, "six");
    assert_string_equal(c.peer, "::1");
    pair_close(&c, &e);
}

/* ---- requests ---- */

static void a_request_is_answered_and_names_its_peer(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 1);
    request(&e, 77, "hello", 2000);
    assert_true(run_until(&e.replies, 1, 3000));
    assert_int_equal(e.reply_id, 77);
    assert_string_equal(e.reply, "hello");
    assert_string_equal(c.peer, "127.0.0.1");
    pair_close(&c, &e);
}

static void at_most_two_requests_fly_on_a_connection(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 0);
    c.hold = true;
    for (uint64_t id = 1; id <= 10; id++) {
        request(&e, id, "x", 5000);
    }
    run_for(300);
    assert_int_equal(c.held_count, 2);
    c.hold = false;
    for (uint32_t i = 0; i < 2; i++) {
        hf_listener_reply(c.listener, c.held[i], hf_slice_str("ok"));
    }
    assert_true(run_until(&e.replies, 10, 3000));
    for (uint64_t id = 1; id <= 10; id++) {
        assert_int_equal(e.per_id[id], 1);
    }
    assert_int_equal(e.failures, 0);
    pair_close(&c, &e);
}

/* Those for data leave places to the others. */
static void a_request_too_many_is_refused(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 1);
    c.hold = true;
    for (uint64_t id = 0; id < 112; id++) {
        assert_int_equal(hf_dialer_fetch(e.dialer, id, hf_slice_str("x"), 500), HF_OK);
    }
    assert_int_equal(hf_dialer_fetch(e.dialer, 112, hf_slice_str("x"), 500), HF_BUSY);
    for (uint64_t id = 112; id < 128; id++) {
        request(&e, id, "x", 500);
    }
    assert_int_equal(hf_dialer_request(e.dialer, 128, hf_slice_str("x"), 500), HF_BUSY);
    assert_true(run_until(&e.replies, 128, 3000));
    assert_int_equal(e.failures, 128);
    assert_int_equal(hf_dialer_fetch(e.dialer, 128, hf_slice_str("x"), 500), HF_OK);
    pair_close(&c, &e);
}

static void a_request_without_a_core_ends_at_its_timeout(void **state)
{
    struct edge e;
    uint16_t port = 0;
    uint64_t begin = now_ms();
    uint64_t took;

    (void)state;
    close(raw_listen(&port));
    edge_dial(&e, "127.0.0.1", (uint16_t)(port - 1), 1);
    request(&e, 5, "anyone", 300);
    assert_true(run_until(&e.replies, 1, 3000));
    took = now_ms() - begin;
    assert_int_equal(e.failures, 1);
    assert_int_equal(e.reply_id, 5);
    assert_true(took >= 295 && took < 700);
    run_for(300);
    assert_int_equal(e.replies, 1);
    hf_dialer_close(e.dialer);
    run_for(10);
}

static void a_request_without_a_core_is_sent_once_it_is_there(void **state)
{
    struct core c;
    struct edge e;
    char url[64];
    uint16_t port;

    (void)state;
    core_open(&c, "tcp://127.0.0.1:0", 0, 0);
    port = hf_listener_port(c.listener);
    hf_listener_close(c.listener);
    edge_dial(&e, "127.0.0.1", port, 1);
    request(&e, 9, "later", 8000);
    run_for(300);
    assert_int_equal(e.replies, 0);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    core_open(&c, url, 0, 0);
    assert_true(run_until(&e.replies, 1, 8000));
    assert_string_equal(e.reply, "later");
    pair_close(&c, &e);
}

static void a_request_on_a_connection_that_breaks_fails_at_once(void **state)
{
    struct core c;
    struct edge e;
    uint64_t begin;

    (void)state;
    pair_open(&c, &e, 0, 1);
    c.hold = true;
    request(&e, 3, "x", 10000);
    assert_true(run_until(&c.held_count, 1, 2000));
    begin = now_ms();
    hf_listener_close(c.listener);
    assert_true(run_until(&e.replies, 1, 3000));
    assert_true(now_ms() - begin < 1000);
    assert_int_equal(e.failures, 1);
    pair_close(&c, &e);
}

static void an_empty_reply_drops_the_request_and_frees_its_context(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 1, 1);
    c.drop = true;
    request(&e, 1, "dropped", 300);
    assert_true(run_until(&e.replies, 1, 2000));
    assert_int_equal(e.failures, 1);
    c.drop = false;
    request(&e, 2, "answered", 2000);
    assert_true(run_until(&e.replies, 2, 3000));
    assert_int_equal(e.failures, 1);
    assert_string_equal(e.reply, "answered");
    pair_close(&c, &e);
}

static void a_reply_after_the_timeout_is_not_delivered(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 0, 1);
    c.hold = true;
    request(&e, 1, "slow", 200);
    assert_true(run_until(&e.replies, 1, 2000));
    assert_int_equal(e.failures, 1);
    request(&e, 2, "next", 2000);
    assert_true(run_until(&c.held_count, 2, 2000));
    hf_listener_reply(c.listener, c.held[0], hf_slice_str("late"));
    run_for(200);
    assert_int_equal(e.replies, 1);
    hf_listener_reply(c.listener, c.held[1], hf_slice_str("right"));
    assert_true(run_until(&e.replies, 2, 2000));
    assert_int_equal(e.reply_id, 2);
    assert_string_equal(e.reply, "right");
    pair_close(&c, &e);
}

static void a_second_reply_to_one_request_goes_nowhere(void **state)
{
    struct core c;
    struct edge e;

    (void)state;
    pair_open(&c, &e, 1, 1);
    c.hold = true;
    request(&e, 1, "a", 2000);
    assert_true(run_until(&c.held_count, 1, 2000));
    hf_listener_reply(c.listener, c.held[0], hf_slice_str("one"));
    assert_true(run_until(&e.replies, 1, 2000));
    request(&e, 2, "b", 2000);
    assert_true(run_until(&c.held_count, 2, 2000));
    /* The only context is busy again, with another request: the old handle must not answer it. */
    hf_listener_reply(c.listener, c.held[0], hf_slice_str("stale"));
    hf_listener_reply(c.listener, c.held[1], hf_slice_str("two"));
    assert_true(run_until(&e.replies, 2, 2000));
    assert_string_equal(e.reply, "two");
    pair_close(&c, &e);
}

static void *reply_from_here(void *arg)
{
    struct core *c = arg;

    for (uint32_t i = 0; i < c->held_count; i++) {
        hf_listener_reply(c->listener, c->held[i], hf_slice_str("threaded"));
    }
    return NULL;
}

static void another_thread_may_reply(void **state)
{
    struct core c;
    struct edge e;
    pthread_t thread;

    (void)state;
    pair_open(&c, &e, 0, 0);
    c.hold = true;
    for (uint64_t id = 0; id < 2; id++) {
        request(&e, id, "x", 3000);
    }
    assert_true(run_until(&c.held_count, 2, 2000));
    assert_int_equal(pthread_create(&thread, NULL, reply_from_here, &c), 0);
    assert_true(run_until(&e.replies, 2, 2000));
    pthread_join(thread, NULL);
    assert_int_equal(e.failures, 0);
    assert_string_equal(e.reply, "threaded");
    pair_close(&c, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_url_is_the_next_port),
        cmocka_unit_test(tls_is_refused_with_a_sentence),
        cmocka_unit_test(urls_without_a_usable_port_are_refused),
        cmocka_unit_test(port_zero_finds_a_free_pair),
        cmocka_unit_test(a_taken_port_is_named),
        cmocka_unit_test(a_core_opens_again_on_its_port),
        cmocka_unit_test(only_subscribed_prefixes_are_delivered),
        cmocka_unit_test(a_message_of_the_largest_size_arrives),
        cmocka_unit_test(a_late_loop_loses_stream_messages_but_counts_them),
        cmocka_unit_test(an_ipv6_core_is_reached),
        cmocka_unit_test(a_request_is_answered_and_names_its_peer),
        cmocka_unit_test(at_most_two_requests_fly_on_a_connection),
        cmocka_unit_test(a_request_too_many_is_refused),
        cmocka_unit_test(a_request_without_a_core_ends_at_its_timeout),
        cmocka_unit_test(a_request_without_a_core_is_sent_once_it_is_there),
        cmocka_unit_test(a_request_on_a_connection_that_breaks_fails_at_once),
        cmocka_unit_test(an_empty_reply_drops_the_request_and_frees_its_context),
        cmocka_unit_test(a_reply_after_the_timeout_is_not_delivered),
        cmocka_unit_test(a_second_reply_to_one_request_goes_nowhere),
        cmocka_unit_test(another_thread_may_reply),
    };

    return cmocka_run_group_tests(tests, loop_open, NULL);
}
