/*
 * del.c - `holdfast del KEY...`: deletes keys, all of them in one batch.
 *
 * Prints how many of the keys there were. Exit status 1 when there were none, like get: a script
 * can tell "it was there and is gone" from "there was nothing to do".
 *
 * It must not split its keys over several requests: an edge shows all of them or none gone (G4).
 * Next: apply.c for mixing puts and dels.
 */
#include "core/cli/cli.h"

#include <hiredis/hiredis.h>

#include <stdlib.h>

int hf_cli_del(struct hf_cli *cli, int argc, char **argv)
{
    struct redisReply *reply = NULL;
    struct hf_slice *command;
    size_t count;
    int status = HF_CLI_NO;

    if (!hf_cli_options(cli, NULL, 0, argc, argv)) {
        return cli->status;
    }
    count = (size_t)(argc - cli->first);
    if (count == 0) {
        return hf_cli_usage(cli, "del takes one or more keys");
    }
    command = malloc((count + 1) * sizeof *command);
    if (command == NULL) {
        return hf_cli_fail("out of memory");
    }
    command[0] = hf_slice_str("DEL");
    for (size_t i = 0; i < count; i++) {
        command[i + 1] = hf_slice_str(argv[cli->first + (int)i]);
    }
    if (hf_cli_connect(cli)) {
        reply = hf_cli_call(cli, command, count + 1);
    }
    if (reply != NULL) {
        printf("%lld\n", reply->integer);
        status = reply->integer > 0 ? HF_CLI_OK : HF_CLI_NO;
        freeReplyObject(reply);
    }
    free(command);
    return status;
}
