/*
 * connect.c - the tool's connection to a daemon: which one, and words for why it cannot be reached.
 *
 * Order: --host, --socket, --data, $HOLDFAST_SOCKET, ./holdfast.sock. Two of the first three
 * together are refused by main.c, because a write to the wrong daemon cannot be taken back.
 *
 * It must not retry: a subcommand knows whether its request may be sent twice, this file does not.
 * Next: main.c for the options, apply.c for how a retry is made safe.
 */
#include "core/cli/cli.h"
#include "core/cli/text.h"
#include "hf/err.h"
#include "hf/number.h"

#include <hiredis/hiredis.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Long enough for a commit of a large state on a slow disk; short enough that a script ends. */
#define ANSWER_S 60
static const struct timeval connect_timeout = {5, 0};

/* Splits "127.0.0.1:7412" or "[::1]:7412". */
static bool split_host(const char *host, char *address, size_t cap, int *port)
{
    const char *colon = strrchr(host, ':');
    size_t len = colon == NULL ? 0 : (size_t)(colon - host);
    uint64_t number;

    if (len == 0 || !hf_number_parse(hf_slice_str(colon + 1), 1, 65535, &number)) {
        return false;
    }
    if (host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len == 0 || len >= cap) {
        return false;
    }
    memcpy(address, host, len);
    address[len] = '\0';
    *port = (int)number;
    return true;
}

bool hf_cli_is_host(const char *text)
{
    char address[256];
    int port;

    return split_host(text, address, sizeof address, &port);
}

static void connect_host(struct hf_cli *cli)
{
    char address[256];
    int port;

    HF_ASSERT(split_host(cli->host, address, sizeof address, &port));
    snprintf(cli->target, sizeof cli->target, "%.280s", cli->host);
    cli->redis = redisConnectWithTimeout(address, port, connect_timeout);
}

static bool connect_unix(struct hf_cli *cli)
{
    const char *fallback = getenv("HOLDFAST_SOCKET");
    char path[sizeof cli->target];
    int n;

    if (cli->socket != NULL) {
        n = snprintf(path, sizeof path, "%s", cli->socket);
    } else if (cli->data == NULL && fallback != NULL && fallback[0] != '\0') {
        n = snprintf(path, sizeof path, "%s", fallback);
    } else {
        n = snprintf(path, sizeof path, "%s/holdfast.sock", cli->data == NULL ? "." : cli->data);
    }
    if (n < 0 || (size_t)n >= sizeof((struct sockaddr_un *)0)->sun_path) {
        hf_cli_fail("the socket path %.60s... is longer than a socket path may be; use a shorter "
                    "directory or a symbolic link to it",
                    path);
        return false;
    }
    memcpy(cli->target, path, (size_t)n + 1);
    cli->redis = redisConnectUnixWithTimeout(path, connect_timeout);
    return true;
}

/* Says why the daemon cannot be reached, and what would help. */
static void explain(const struct hf_cli *cli, int error)
{
    const char *why = cli->redis == NULL ? "out of memory" : cli->redis->errstr;
    bool chosen = cli->host != NULL || cli->socket != NULL || cli->data != NULL;

    if (error == EACCES) {
        hf_cli_fail("%s: %s: run as the user of the daemon", cli->target, why);
    } else if (!chosen && error == ENOENT) {
        hf_cli_fail("%s: %s: name the daemon with --data DIR, --socket PATH, --host ADDR:PORT or "
                    "$HOLDFAST_SOCKET",
                    cli->target, why);
    } else {
        hf_cli_fail("%s: %s: is the daemon running?", cli->target, why);
    }
}

bool hf_cli_connect(struct hf_cli *cli)
{
    if (cli->redis != NULL) {
        return true;
    }
    if (cli->host != NULL) {
        connect_host(cli);
    } else if (!connect_unix(cli)) {
        return false;
    }
    if (cli->redis == NULL || cli->redis->err != 0) {
        explain(cli, errno);
        hf_cli_disconnect(cli);
        return false;
    }
    cli->answer_s = cli->answer_s > 0 ? cli->answer_s : ANSWER_S;
    redisSetTimeout(cli->redis, (struct timeval){cli->answer_s, 0});
    cli->broken = false;
    return true;
}

void hf_cli_disconnect(struct hf_cli *cli)
{
    if (cli->redis != NULL) {
        redisFree(cli->redis);
    }
    cli->redis = NULL;
}

bool hf_cli_send(struct hf_cli *cli, const struct hf_slice *argv, size_t argc)
{
    const char **text = malloc(argc * sizeof *text);
    size_t *len = malloc(argc * sizeof *len);
    bool sent = false;

    if (text == NULL || len == NULL) {
        goto out;
    }
    for (size_t i = 0; i < argc; i++) {
        text[i] = (const char *)argv[i].data;
        len[i] = argv[i].len;
    }
    sent = redisAppendCommandArgv(cli->redis, (int)argc, text, len) == REDIS_OK;
out:
    free(text);
    free(len);
    if (!sent) {
        hf_cli_fail("out of memory");
    }
    return sent;
}

/* Once: what is still asked of a broken connection breaks again. */
static void explain_break(struct hf_cli *cli)
{
    const struct redisContext *redis = cli->redis;

    if (cli->broken) {
        return;
    }
    cli->broken = true;
    if (redis->err == REDIS_ERR_PROTOCOL) {
        hf_cli_fail("%s does not speak RESP; give the address that the daemon printed as resp, not "
                    "that of its stream or control",
                    cli->target);
        return;
    }
    bool late = redis->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK);

    if (late) {
        hf_cli_fail("%s: no answer for %d s; the daemon may still do what was asked", cli->target,
                    cli->answer_s);
    } else {
        hf_cli_fail("%s: %s", cli->target, redis->errstr);
    }
}

bool hf_cli_flush(struct hf_cli *cli)
{
    int done = 0;

    while (!done) {
        if (redisBufferWrite(cli->redis, &done) != REDIS_OK) {
            explain_break(cli);
            return false;
        }
    }
    return true;
}

struct redisReply *hf_cli_answer(struct hf_cli *cli)
{
    void *reply = NULL;

    if (redisGetReply(cli->redis, &reply) == REDIS_OK) {
        return reply;
    }
    explain_break(cli);
    return NULL;
}

bool hf_cli_refused(const struct redisReply *reply)
{
    char text[600];

    if (reply->type != REDIS_REPLY_ERROR) {
        return false;
    }
    hf_text_plain(text, sizeof text, reply->str, reply->len);
    hf_cli_fail("refused: %s", text);
    return true;
}

struct redisReply *hf_cli_call(struct hf_cli *cli, const struct hf_slice *argv, size_t argc)
{
    struct redisReply *reply;

    if (!hf_cli_send(cli, argv, argc)) {
        return NULL;
    }
    reply = hf_cli_answer(cli);
    if (reply != NULL && hf_cli_refused(reply)) {
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

bool hf_cli_catch_up(struct hf_cli *cli)
{
    const struct hf_slice command[] = {hf_slice_str("WAIT"), hf_slice_str("0"), hf_slice_str("0")};
    struct redisReply *reply;

    if (!hf_cli_send(cli, command, 3)) {
        return false;
    }
    reply = hf_cli_answer(cli);
    if (reply == NULL) {
        return false;
    }
    freeReplyObject(reply); /* an edge does not know WAIT, which is all right */
    return true;
}
