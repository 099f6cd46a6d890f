/*
 * edge.c - `holdfast edge invite|add|list|revoke`: who may follow the stream.
 *
 * Each of them returns when the core has it on disk. invite prints the join token alone on the last
 * line of stdout, so that `holdfast edge invite berlin | tail -1` is the token; the sentence that
 * says what to do with it goes to stderr. The token is a secret until it is used.
 *
 * It must not keep the token anywhere. Next: core/commands_admin.c, which answers.
 */
#include "core/cli/cli.h"
#include "core/cli/text.h"

#include "hf/seal.h"

#include <hiredis/hiredis.h>

/* HF.EDGE with up to three words. */
static struct redisReply *call_edge(struct hf_cli *cli, const char *verb, const char *a,
                                    const char *b)
{
    struct hf_slice command[4] = {hf_slice_str("HF.EDGE"), hf_slice_str(verb)};
    size_t count = 2;

    if (a != NULL) {
        command[count++] = hf_slice_str(a);
    }
    if (b != NULL) {
        command[count++] = hf_slice_str(b);
    }
    if (!hf_cli_connect(cli)) {
        return NULL;
    }
    return hf_cli_call(cli, command, count);
}

/* What edges will dial, if it is not for all of them. */
static void tell_url(const char *text)
{
    struct hf_token t;
    struct hf_error e;

    if (hf_token_parse(text, &t, &e) != HF_OK) {
        return;
    }
    bool any = strncmp(t.url, "tcp://0.0.0.0:", 14) == 0 || strncmp(t.url, "tcp://[::]:", 11) == 0;
    bool own = strncmp(t.url, "tcp://127.", 10) == 0 || strncmp(t.url, "tcp://[::1]:", 12) == 0 ||
               strncmp(t.url, "tcp://localhost:", 16) == 0;
    if (any || own) {
        fprintf(stderr,
                "It says %s, which %s: for edges elsewhere start the core with --listen and\n"
                "--advertise tcp://NAME:PORT, and make another token.\n",
                t.url, any ? "nobody can dial" : "is this machine only");
    }
}

static int run_invite(struct hf_cli *cli, char **operand)
{
    struct redisReply *reply = call_edge(cli, "INVITE", operand[0], NULL);

    if (reply == NULL) {
        return HF_CLI_NO;
    }
    if (reply->type != REDIS_REPLY_STRING) {
        freeReplyObject(reply);
        return hf_cli_fail("the daemon gave no token");
    }
    fprintf(stderr,
            "This token lets one edge join as %s. Keep it secret; on the edge, start:\n"
            "  holdfast-edge --data DIR --join TOKEN\n",
            operand[0]);
    tell_url(reply->str);
    fwrite(reply->str, 1, reply->len, stdout);
    putchar('\n');
    freeReplyObject(reply);
    return HF_CLI_OK;
}

static int run_add(struct hf_cli *cli, char **operand)
{
    struct redisReply *reply = call_edge(cli, "ADD", operand[0], operand[1]);

    if (reply == NULL) {
        return HF_CLI_NO;
    }
    freeReplyObject(reply);
    return HF_CLI_OK;
}

static int run_revoke(struct hf_cli *cli, char **operand)
{
    struct redisReply *reply = call_edge(cli, "REVOKE", operand[0], NULL);

    if (reply == NULL) {
        return HF_CLI_NO;
    }
    freeReplyObject(reply);
    return HF_CLI_OK;
}

static void print_cell(const struct redisReply *r, char end)
{
    char text[200] = "";

    if (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS) {
        hf_text_plain(text, sizeof text, r->str, r->len);
    }
    printf("%s%c", text, end);
}

/* name, public key, state: tab-separated, so that cut and awk can be used on it. An open join token
 * is a row as well: its name, "-", "invited". */
static int run_list(struct hf_cli *cli, char **operand)
{
    struct redisReply *reply = call_edge(cli, "LIST", NULL, NULL);

    (void)operand;
    if (reply == NULL) {
        return HF_CLI_NO;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        const struct redisReply *row = reply->element[i];

        if (row->type != REDIS_REPLY_ARRAY || row->elements < 3) {
            continue;
        }
        print_cell(row->element[0], '\t');
        print_cell(row->element[1], '\t');
        print_cell(row->element[2], '\n');
    }
    freeReplyObject(reply);
    return HF_CLI_OK;
}

static const struct {
    const char *name;
    int operands;
    int (*run)(struct hf_cli *cli, char **operand);
} verbs[] = {
    {"invite", 1, run_invite},
    {"add", 2, run_add},
    {"list", 0, run_list},
    {"revoke", 1, run_revoke},
};

int hf_cli_edge(struct hf_cli *cli, int argc, char **argv)
{
    const char *verb;

    if (!hf_cli_options(cli, NULL, 0, argc, argv)) {
        return cli->status;
    }
    if (cli->first == argc) {
        return hf_cli_usage(cli, "what about edges? invite, add, list or revoke");
    }
    verb = argv[cli->first];
    if (cli->first + 1 < argc && strcmp(argv[cli->first + 1], "--help") == 0) {
        (void)hf_cli_options(cli, NULL, 0, argc - cli->first, argv + cli->first);
        return cli->status;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, verb) != 0) {
            continue;
        }
        if (argc - cli->first - 1 != verbs[i].operands) {
            return hf_cli_usage(cli, "edge %s takes %d operand%s", verb, verbs[i].operands,
                                verbs[i].operands == 1 ? "" : "s");
        }
        return verbs[i].run(cli, argv + cli->first + 1);
    }
    return hf_cli_usage(cli, "there is no subcommand edge %.60s", verb);
}
