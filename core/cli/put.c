/*
 * put.c - `holdfast put KEY VALUE`: writes one key.
 *
 * It returns when the core has the change on disk (G3), so exit status 0 may be relied on. A value
 * too long for the command line, or one with zero bytes, comes from standard input.
 *
 * It must not send the value again by itself: without a request id a retry could undo someone
 * else's later change. `holdfast apply` is for that. Next: apply.c.
 */
#include "core/cli/cli.h"

#include <hiredis/hiredis.h>

#include <errno.h>
#include <stdlib.h>

/* Reads all of standard input, at most one byte more than a value may have. */
static bool read_value(char *buffer, size_t cap, size_t *len)
{
    *len = fread(buffer, 1, cap, stdin);
    if (ferror(stdin)) {
        hf_cli_fail("standard input: %s", strerror(errno));
        return false;
    }
    if (*len > HF_STORE_VALUE_MAX) {
        hf_cli_fail("the value is longer than %u bytes", HF_STORE_VALUE_MAX);
        return false;
    }
    return true;
}

int hf_cli_put(struct hf_cli *cli, int argc, char **argv)
{
    struct hf_slice command[3] = {hf_slice_str("SET")};
    struct redisReply *reply = NULL;
    char *buffer = NULL;
    size_t len = 0;

    if (!hf_cli_options(cli, NULL, 0, argc, argv)) {
        return cli->status;
    }
    if (argc - cli->first != 2) {
        return hf_cli_usage(cli, "put takes a key and a value");
    }
    command[1] = hf_slice_str(argv[cli->first]);
    command[2] = hf_slice_str(argv[cli->first + 1]);
    if (strcmp(argv[cli->first + 1], "-") == 0) {
        buffer = malloc(HF_STORE_VALUE_MAX + 1);
        if (buffer == NULL) {
            return hf_cli_fail("out of memory");
        }
        if (!read_value(buffer, HF_STORE_VALUE_MAX + 1, &len)) {
            goto out;
        }
        command[2] = hf_slice_of(buffer, len);
    }
    if (hf_cli_connect(cli)) {
        reply = hf_cli_call(cli, command, 3);
    }
out:
    free(buffer);
    if (reply == NULL) {
        return HF_CLI_NO;
    }
    freeReplyObject(reply);
    return HF_CLI_OK;
}
