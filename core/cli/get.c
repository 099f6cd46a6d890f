/*
 * get.c - `holdfast get KEY`: prints the value, byte for byte, and a newline.
 *
 * Exit status 1 without output means that there is no such key; with a message on stderr, that the
 * question could not be answered. --raw leaves the newline out, so that `get --raw k >file` gives
 * back what `put k - <file` took. It works against a core and an edge alike.
 *
 * It must not judge freshness: `holdfast status` against the edge shows it. Next: connect.c.
 */
#include "core/cli/cli.h"

#include <hiredis/hiredis.h>

int hf_cli_get(struct hf_cli *cli, int argc, char **argv)
{
    bool raw = false;
    const struct hf_cli_option options[] = {
        {"raw", NULL, NULL, &raw, "print no newline after the value"},
    };
    struct hf_slice command[2] = {hf_slice_str("GET")};
    struct redisReply *reply;
    int status = HF_CLI_NO;

    if (!hf_cli_options(cli, options, 1, argc, argv)) {
        return cli->status;
    }
    if (argc - cli->first != 1) {
        return hf_cli_usage(cli, "get takes one key");
    }
    command[1] = hf_slice_str(argv[cli->first]);
    if (!hf_cli_connect(cli) || !hf_cli_catch_up(cli)) {
        return HF_CLI_NO;
    }
    reply = hf_cli_call(cli, command, 2);
    if (reply == NULL) {
        return HF_CLI_NO;
    }
    if (reply->type == REDIS_REPLY_STRING) {
        fwrite(reply->str, 1, reply->len, stdout);
        if (!raw) {
            putchar('\n');
        }
        status = HF_CLI_OK;
    }
    freeReplyObject(reply);
    return status;
}
