/*
 * test_pipelines.c - what one client sends in one write: any commands in any order are answered in
 * that order, and slow ones leave the others their turn.
 *
 * A core holds commands that must see their connection's own writes, or that stand behind a WAIT,
 * so what is sent together is not run together.
 */
#include "tests/e2e/harness.c"
#include "tests/e2e/hole.c"

#include "tests/e2e/faults.h"

#include <poll.h>

#define MIXES 400u
#define COMMANDS_MAX 12u
#define BYTES_MAX (64u << 10) /* one read of a daemon */
#define KEYS 20000u
#define FEW_KEYS 100u
#define BOXED(test) cmocka_unit_test_setup_teardown(test, e2e_setup, e2e_teardown)
#define SLOW_KEYS (E2E_SANITIZED ? KEYS / 10 : KEYS)
#define OTHERS_MS_MAX 300
#define FEW_SLOW 4u

/* Sends all and reads replies until the daemon closes; how many there were. */
static unsigned replies_to(const struct e2e_node *n, const char *bytes, size_t len)
{
    char buffer[4096];
    redisReader *reader = redisReaderCreate();
    unsigned count = 0;
    void *reply;
    int fd = tcp_connect((uint16_t)n->resp_port);

    assert_true(fd >= 0 && tcp_send(fd, bytes, len));
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, SOON_MS), 1);
        ssize_t got = read(fd, buffer, sizeof buffer);
        if (got <= 0) {
            break;
        }
        assert_int_equal(redisReaderFeed(reader, buffer, (size_t)got), REDIS_OK);
        while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
            freeReplyObject(reply);
            count++;
        }
    }
    redisReaderFree(reader);
    close(fd);
    return count;
}

static void mix_at(const struct e2e_node *n, unsigned *seed)
{
    static const char *const commands[] = {
        "SET a 1",   "SET b 2",  "DEL a",      "GET a",    "MGET a b",
        "SCAN 0",    "WAIT 9 1", "WAIT 0 0",   "MULTI",    "EXEC",
        "DISCARD",   "RESET",    "PING",       "EXISTS a", "DBSIZE",
        "INFO",      "HELLO 2",  "HF.GET a",   "GET",      "NONE such",
        "HF.STATUS", "QUIT",     "MSET a 1 c", "SELECT 0", "HF.APPLY id SET a 3",
        "HF.LOG 1",
    };
    const unsigned kinds = sizeof commands / sizeof commands[0];
    char text[1024] = "";
    unsigned count = 1 + (unsigned)rand_r(seed) % COMMANDS_MAX;
    unsigned expected = 0;
    bool over = false;

    for (unsigned i = 0; i <= count; i++) {
        const char *c = i < count ? commands[(unsigned)rand_r(seed) % kinds] : "QUIT";
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\r\n", c);
        expected += !over;
        over |= strcmp(c, "QUIT") == 0;
    }
    unsigned replies = replies_to(n, text, strlen(text));
    if (replies != expected) {
        fail_msg("%s: %u replies, not %u, to\n%s", n->name, replies, expected, text);
    }
}

static void any_commands_in_any_order_have_a_reply_each_until_quit(void **state)
{
    unsigned seed = (unsigned)getpid();
    pid_t pids[2];

    pair_begin(state, NULL, NULL);
    pids[0] = core_node->pid;
    pids[1] = edge_node->pid;
    print_message("seed %u\n", seed);
    for (unsigned i = 0; i < MIXES; i++) {
        mix_at(i % 4 == 0 ? edge_node : core_node, &seed);
    }
    assert_true(e2e_alive(core_node) && core_node->pid == pids[0]);
    assert_true(e2e_alive(edge_node) && edge_node->pid == pids[1]);
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
    e2e_passed();
}

static void fill(unsigned keys)
{
    for (unsigned i = 0; i < keys; i += FEW_KEYS) {
        for (unsigned k = 0; k < FEW_KEYS; k++) {
            redisAppendCommand(core, "SET d%u %u", i + k, i);
        }
        for (unsigned k = 0; k < FEW_KEYS; k++) {
            redisReply *r;
            assert_int_equal(redisGetReply(core, (void **)&r), REDIS_OK);
            freeReplyObject(r);
        }
    }
    assert_string_equal(e2e_text(core, "GET d0"), "0"); /* makes it commit: others read that */
    E2E_WAIT(SOON_MS, e2e_equal(core, edge));
}

static int64_t get_beside(redisContext *c)
{
    int64_t began = e2e_now_ms();
    assert_string_equal(e2e_text(c, "GET d0"), "0");
    return e2e_now_ms() - began;
}

/* Slow ones themselves, and more than there is time for at once: they wait in the same queue. */
static int64_t few_slow_beside(redisContext *c)
{
    int64_t began = e2e_now_ms();
    for (unsigned i = 0; i < FEW_SLOW; i++) {
        redisAppendCommand(c, "SCAN 0 COUNT 100000 MATCH zz*");
    }
    for (unsigned i = 0; i < FEW_SLOW; i++) {
        redisReply *r;
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_int_equal(r->type, REDIS_REPLY_ARRAY);
        freeReplyObject(r);
    }
    return e2e_now_ms() - began;
}

static int64_t longest_of(int64_t (*beside)(redisContext *c), redisContext *c)
{
    int64_t longest = 0;
    for (int i = 0; i < 5; i++) {
        int64_t took = beside(c);
        longest = took > longest ? took : longest;
    }
    return longest;
}

/* `first` comes before all of them. */
static void slow_commands_at(const struct e2e_node *n, const char *first)
{
    static const char scan[] = "SCAN 0 COUNT 100000 MATCH zz*\r\n";
    static char bytes[BYTES_MAX];
    redisContext *other = e2e_connect(n);
    int fd = tcp_connect((uint16_t)n->resp_port);
    size_t len = (size_t)snprintf(bytes, sizeof bytes, "%s", first);

    for (; len + sizeof scan < sizeof bytes; len += sizeof scan - 1) {
        memcpy(bytes + len, scan, sizeof scan - 1);
    }
    assert_true(fd >= 0 && tcp_send(fd, bytes, len));
    e2e_sleep_ms(50);
    int64_t get = longest_of(get_beside, other);
    int64_t slow = longest_of(few_slow_beside, other);
    print_message("%s: %lld ms at most for a GET beside, %lld for %u slow ones\n", n->name,
                  (long long)get, (long long)slow, FEW_SLOW);
    assert_in_range(get, 0, OTHERS_MS_MAX);
    assert_in_range(slow, 0, FEW_SLOW * OTHERS_MS_MAX);
    close(fd);
    e2e_disconnect(other);
}

static void slow_commands_leave_others_their_turn(void **state)
{
    pair_begin(state, NULL, NULL);
    fill(SLOW_KEYS);
    slow_commands_at(core_node, "");
    slow_commands_at(core_node, "SET a 1\r\nGET a\r\n"); /* they are held, and run later */
    slow_commands_at(edge_node, "");
    assert_true(e2e_edge_says(edge, "live"));
    e2e_passed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOXED(any_commands_in_any_order_have_a_reply_each_until_quit),
        BOXED(slow_commands_leave_others_their_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
