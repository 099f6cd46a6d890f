/*
 * test_resp_bounds.c - no client of the RESP server takes more than its share.
 *
 * Memory for half commands and unread replies, deferred answers, descriptors, connections: each has
 * a bound, and reaching it costs the client that did, not the others. Read resp_box.h first.
 */
#include "resp_box.h"

#include <errno.h>

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

#define INPUT_BYTES_MAX (4u << 20)

static void restart_with_little_room(struct fixture *f)
{
    struct hf_resp_config c = config_of(f);
    c.command_bytes_max = 1u << 20;
    c.input_bytes_max = INPUT_BYTES_MAX;
    restart_with(f, &c);
}

/* Until all is sent, or the server has closed. */
static void say_while_open(struct fixture *f, int fd, const char *at, size_t len)
{
    bool closed = false;
    for (int tries = 0; len > 0 && !closed && tries < 20000; tries++) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        closed = n < 0 && errno == EPIPE;
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_true(len == 0 || closed);
}

static void half_commands_of_all_clients_share_one_bound(void **state)
{
    enum { CLIENTS = 24 };
    struct fixture *f = *state;
    restart_with_little_room(f);
    size_t len = 400u << 10;
    char *half = malloc(len);
    int fd[CLIENTS];
    memset(half, 'v', len);
    memcpy(half, "*2\r\n$4\r\nARGC\r\n$1000000\r\n", 24);
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = dial_unix(f);
        say_while_open(f, fd[i], half, len);
        assert_true(f->server->input_bytes <= 2 * INPUT_BYTES_MAX);
    }
    uint32_t left = hf_resp_clients(f->server);
    assert_true(left >= 4 && left < CLIENTS);
    expect(f, fd[CLIENTS - 1], "-BUSY too much of unfinished commands of all clients\r\n");
    for (int i = 0; i < CLIENTS; i++) {
        close(fd[i]);
    }
    turn_for(f, 50);
    assert_int_equal(f->server->input_bytes, 0);
    free(half);
}

/* A buffer is kept for the next command; who is in the middle of one has the first claim to it. */
static void clients_that_are_done_take_no_room_from_others(void **state)
{
    enum { CLIENTS = 24 };
    struct fixture *f = *state;
    restart_with_little_room(f);
    size_t len = 600000;
    char *whole = malloc(len);
    int fd[CLIENTS];
    memset(whole, 'v', len);
    memcpy(whole, "*2\r\n$4\r\nARGC\r\n$599975\r\n", 23);
    memcpy(whole + len - 2, "\r\n", 2);
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = dial_unix(f);
        say_bytes(f, fd[i], whole, len);
        expect(f, fd[i], ":2\r\n");
    }
    for (int i = 0; i < CLIENTS; i++) {
        close(fd[i]);
    }
    free(whole);
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
    turn_for(f, 100); /* more than HF_RESP_TURN_US where a sanitizer is in it */
    assert_int_equal(f->commands, HF_RESP_SLOTS_MAX);
    for (size_t i = 0; i < HF_RESP_SLOTS_MAX; i++) {
        end_slot(f, i, "OK");
    }
    turn_for(f, 100);
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
    c.stuck_ms_max = 500; /* this program may stand still for nearly as long */
    restart_with(f, &c);
    int stuck = dial_unix(f);
    int slow = dial_unix(f);
    say(f, stuck, "BIG 3000000\r\n");
    say(f, slow, "BIG 3000000\r\n");
    static char got[3000000];
    size_t at = 0;
    for (int i = 0; i < 150 && hf_resp_clients(f->server) > 1; i++) {
        turn_for(f, 10);
        ssize_t n = recv(slow, got, 20000, 0);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_int_equal(hf_resp_clients(f->server), 1);
    assert_int_equal(hear_bytes(f, slow, got, sizeof(got) - at), sizeof(got) - at); /* and not it */
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

static void replies_that_nobody_reads_are_bounded_over_all_clients(void **state)
{
    struct fixture *f = *state;
    struct hf_resp_config c = config_of(f);
    static char got[2000000];
    c.output_bytes_max = 2u << 20;
    c.output_total_max = 6u << 20;
    restart_with(f, &c);
    int fd[40];
    for (int i = 0; i < 40; i++) {
        fd[i] = dial_unix(f);
        say(f, fd[i], "FITS 1900000\r\n");
        turn_for(f, 1);
    }
    size_t held = f->server->output_bytes;
    assert_in_range(held, 4u << 20, 6u << 20);
    assert_int_equal(hf_resp_clients(f->server), 40);
    expect(f, fd[39], "-BUSY clients have not read");
    assert_int_equal(hear_bytes(f, fd[0], got, 1900012), 1900012); /* what is read is room again */
    turn_for(f, 5);
    assert_true(f->server->output_bytes < held - 1500000);
    say(f, fd[0], "FITS 1900000\r\n");
    turn_for(f, 1);
    int small = dial_unix(f); /* others are served as ever, and who asks for too much is told */
    say(f, small, "PING\r\nFITS 60000\r\n");
    expect(f, small, "+PONG\r\n$60000\r\n");
    assert_int_equal(hear_bytes(f, small, got, 60002), 60002);
    say(f, small, "FITS 3000000\r\n");
    expect(f, small,
           "-TOOBIG a reply of 3000032 bytes; output_max is 2097152: ask for less at once\r\n");
    static char many[6000 * 10 + 1]; /* also who sends very many small ones at once */
    for (int i = 0; i < 6000; i++) {
        memcpy(many + (size_t)i * 10, "FITS 100\r\n", 10);
    }
    int more[20];
    int n = 0;
    while (n < 20 && c.output_total_max - f->server->output_bytes > 400000) {
        more[n] = dial_unix(f);
        say(f, more[n++], "FITS 400000\r\n");
        turn_for(f, 1);
    }
    assert_true(c.output_total_max - f->server->output_bytes <= 400000);
    say_bytes(f, small, many, 6000 * 10);
    assert_int_equal(hear_bytes(f, small, got, 6000 * 108), 6000 * 108);
    while (n > 0) {
        close(more[--n]);
    }
    for (int i = 0; i < 40; i++) {
        close(fd[i]);
    }
    turn_for(f, 20);
    assert_int_equal(f->server->output_bytes, 0);
    close(small);
}

static void one_client_too_many_is_told_so(void **state)
{
    struct fixture *f = *state;
    struct hf_resp_config c = config_of(f);
    c.clients_max = 1;
    restart_with(f, &c);
    int a = dial_tcp(f);
    int b = dial_tcp(f);
    expect(f, b, "-ERR max number of clients reached\r\n");
    expect_closed(f, b);
    int tool = dial_unix(f); /* has places of its own */
    say(f, tool, "PING\r\n");
    expect(f, tool, "+PONG\r\n");
    close(tool);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(a_large_command_grows_the_buffer_and_idleness_gives_it_back),
        SERVER_TEST(half_a_frame_and_silence_hold_little_memory),
        SERVER_TEST(half_commands_of_all_clients_share_one_bound),
        SERVER_TEST(clients_that_are_done_take_no_room_from_others),
        SERVER_TEST(a_protocol_error_is_answered_in_order_and_closes),
        SERVER_TEST(quit_sends_what_is_queued_and_ignores_the_rest),
        SERVER_TEST(a_client_that_shuts_down_its_side_gets_its_deferred_replies),
        SERVER_TEST(a_client_that_does_not_read_is_not_read_from),
        SERVER_TEST(too_many_deferred_replies_pause_and_then_go_on),
        SERVER_TEST(a_client_over_its_output_limit_is_closed),
        SERVER_TEST(a_stuck_client_is_closed_and_a_slow_one_is_not),
        SERVER_TEST(writing_to_a_closed_peer_ends_the_client_only),
        SERVER_TEST(replies_that_nobody_reads_are_bounded_over_all_clients),
        SERVER_TEST(one_client_too_many_is_told_so),
        SERVER_TEST(accepting_rests_while_descriptors_are_lacking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
