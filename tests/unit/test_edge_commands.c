/*
 * test_edge_commands.c - the age that an edge tells is that of the state it shows, also when a
 * batch becomes visible between two commands of one turn of the loop.
 *
 * A read opens a view, which the turn's later reads share; BATCH makes the next batch visible
 * there. Read next: edge_box.h, resp_box.h.
 */
#include "edge_box.h"

#include "resp_box.h"

#include "edge/commands.h"
#include "hf/loop.h"

struct fresh {
    struct fixture *f;
    struct rig *rig;
    struct edge_commands commands;
    hf_seq seq;
    int fd;
};

static void next_batch(struct fresh *t)
{
    char value[32];
    snprintf(value, sizeof(value), "value %d", (int)++t->seq);
    rig_put(t->rig, "x", value);
    rig_stream(t->rig, t->seq);
    rig_jobs(t->rig);
}

static void on_command_of_edge(void *ctx, struct hf_resp_client *c, const struct hf_slice *argv,
                               size_t argc)
{
    struct fresh *t = ctx;
    if (is(argv[0], "BATCH")) {
        next_batch(t);
        hf_resp_simple(c, "OK");
    } else {
        edge_commands_on_command(&t->commands, c, argv, argc);
    }
}

static void on_drained_of_edge(void *ctx)
{
    edge_commands_on_drained(&((struct fresh *)ctx)->commands);
}

static int fresh_setup(void **state)
{
    struct fresh *t = calloc(1, sizeof(*t));
    void *part;
    setup(&part);
    t->f = part;
    rig_setup(&part);
    t->rig = part;
    t->rig->now = hf_clock_ms() - 20000; /* by which commands tell ages; it runs ahead */
    rig_start(t->rig);
    rig_connect(t->rig);
    next_batch(t);
    rig_beacon(t->rig);
    rig_pass(t->rig, 1000);
    t->commands = (struct edge_commands){.edge = t->rig->edge, .core_url = "", .version = "1"};
    struct hf_kv_config kc = {.state = hf_edge_state(t->rig->edge), .server = "e", .version = "1"};
    assert_int_equal(hf_kv_new(&kc, &t->commands.kv), HF_OK);
    struct hf_resp_config c = {.unix_path = t->f->path,
                               .ctx = t,
                               .on_command = on_command_of_edge,
                               .on_drained = on_drained_of_edge};
    restart_with(t->f, &c);
    t->commands.server = t->f->server;
    t->fd = dial_unix(t->f);
    *state = t;
    return 0;
}

static int fresh_teardown(void **state)
{
    struct fresh *t = *state;
    void *part = t->f;
    close(t->fd);
    teardown(&part);
    hf_kv_free(t->commands.kv);
    part = t->rig;
    rig_teardown(&part);
    free(t);
    return 0;
}

/* All in one turn; what the last command answers. */
static const char *after_a_batch(struct fresh *t, const char *command)
{
    static char got[4096];
    char said[200];
    char old[64];
    snprintf(said, sizeof(said), "GET x\r\nBATCH\r\n%s\r\nGET x\r\n", command);
    snprintf(old, sizeof(old), "$7\r\nvalue %d\r\n+OK\r\n", (int)t->seq);
    say(t->f, t->fd, said);
    expect(t->f, t->fd, old);
    ssize_t n = recv(t->fd, got, sizeof(got) - 1, 0);
    assert_true(n > 0);
    got[n] = '\0';
    return got;
}

static void what_is_told_with_an_age_is_as_new_as_the_age(void **state)
{
    struct fresh *t = *state;
    assert_non_null(strstr(after_a_batch(t, "HF.GET x MAXAGE 60000"), "value 2\r\n:2\r\n"));
    assert_non_null(strstr(after_a_batch(t, "HF.GET x MINSEQ 3"), "value 3\r\n:3\r\n"));
    assert_non_null(strstr(after_a_batch(t, "HF.STATUS"), "\r\n:4\r\n:4\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_told_with_an_age_is_as_new_as_the_age, fresh_setup,
                                        fresh_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
