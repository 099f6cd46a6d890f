/*
 * test_resp_parse.c - how bytes of clients become commands, and which bytes never do.
 *
 * The parser alone, without a socket: each text goes in cut at every place, and each piece is a
 * copy of exactly what has arrived, so that a sanitizer sees a look beyond it. Next: test_resp.c.
 */
#include "proto/node/resp_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_come_out_the_same_however_the_bytes_are_cut),
        cmocka_unit_test(inline_words_are_unquoted_as_redis_does),
        cmocka_unit_test(protocol_errors_are_named),
        cmocka_unit_test(the_limit_is_of_all_arguments_together),
        cmocka_unit_test(an_announced_count_allocates_nothing),
        cmocka_unit_test(an_inline_command_ends_at_64_kib),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
