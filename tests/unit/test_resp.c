/*
 * test_resp.c - what the RESP server answers, in which order, and where it listens.
 *
 * The parser alone is in test_resp_parse.c; what clients cannot use up is in test_resp_bounds.c.
 * Read next: resp_box.h, proto/node/resp_impl.h.
 */
#include "resp_box.h"

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
    assert_false(TAILQ_FIRST(&f->server->clients)->is_unix);
    assert_true(TAILQ_LAST(&f->server->clients, hf_resp_client_list)->is_unix);
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
    hf_resp_client_close(c);
    turn_for(f, 2);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        SERVER_TEST(the_unix_socket_is_private_and_removed_at_the_end),
        SERVER_TEST(a_stale_socket_is_replaced_a_live_one_and_a_file_are_not),
        SERVER_TEST(bad_addresses_are_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
